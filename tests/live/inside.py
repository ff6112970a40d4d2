"""Code run inside the service that the live tests started, for what has no door."""

import subprocess
import sys

from saleor_personalize.testing.stack import Stack


def inside(stack: Stack, code: str) -> str:
    """Run Python with the service's settings and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{code}"],
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
