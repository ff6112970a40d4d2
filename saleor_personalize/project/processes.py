"""The long-running processes of the service: web server, worker, beat."""

import argparse
import os
import sys


def _replace_process(command: list[str]) -> int:
    os.execv(sys.executable, [sys.executable, "-m", *command])  # noqa: S606 (fixed arguments)
    return 0


def serve(argv: list[str]) -> int:
    """Serve the app over HTTP with Granian."""
    parser = argparse.ArgumentParser(prog="saleor-personalize serve", description=serve.__doc__)
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("PORT") or "8787")
    parser.add_argument("--workers", type=int, default=os.environ.get("WEB_CONCURRENCY") or "2")
    parser.add_argument("--threads", type=int, default=16, help="threads of each worker")
    options = parser.parse_args(argv)
    return _replace_process(
        [
            "granian",
            "--interface", "wsgi",
            "--host", options.host,
            "--port", str(options.port),
            "--workers", str(options.workers),
            "--blocking-threads", str(options.threads),
            "--no-ws",
            "saleor_personalize.project.wsgi:application",
        ]
    )  # fmt: skip


def worker(argv: list[str]) -> int:
    """Run a Celery worker; further options are Celery's own. `-Q` says which queues, if not both."""
    return _replace_process(
        [
            "celery",
            "-A",
            "saleor_personalize.project.celeryconf",
            "worker",
            "-Q",
            "personalize,personalize-training",
            *argv,
        ]
    )


def beat(argv: list[str]) -> int:
    """Run Celery beat, which wakes the workers when something may be due."""
    return _replace_process(
        ["celery", "-A", "saleor_personalize.project.celeryconf", "beat", *argv]
    )
