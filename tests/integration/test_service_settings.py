"""The ready-made service as its image runs it: production settings in a process of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client

ROOT = Path(__file__).parents[2]

ASK = """
import json, sys, django
django.setup()
from django.test import Client
statuses = [Client().get(path, headers={"host": host}).status_code for host, path in json.load(sys.stdin)]
print(json.dumps(statuses))
"""


def statuses(*asked: tuple[str, str]) -> list[int]:
    """Return what a fresh process answers each (host, path); a warning is a fault."""
    ran = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", ASK],
        input=json.dumps(asked),
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "saleor_personalize.project.settings",
            "SECRET_KEY": "a-secret-of-the-test",
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
            "ALLOWED_HOSTS": "personalize.example.com",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: list[int] = json.loads(ran.stdout)
    return found


def test_its_own_hosts_are_answered_and_files_need_no_collecting() -> None:
    script = "/static/saleor_personalize/bridge.js"
    assert statuses(
        ("personalize.example.com", script),
        ("personalize.example.com", "/dashboard"),
        ("127.0.0.1:8787", "/dashboard"),
        ("evil.example.com", "/dashboard"),
    ) == [200, 200, 200, 400]


@pytest.mark.django_db
def test_the_images_health_check_asks_what_decides_over_webhooks(client: Client) -> None:
    """By loopback, and not `/health/`: no broker is a reason to end a process that takes webhooks."""
    urls = re.findall(
        r"urlopen\('http://127\.0\.0\.1:8787(/[^']+)'", (ROOT / "Dockerfile").read_text()
    )
    assert [client.get(url).json() for url in urls] == [{"status": "ok", "database": "ok"}]
