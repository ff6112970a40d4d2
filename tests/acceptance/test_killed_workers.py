"""B87, C1, D5: real Celery workers are killed with SIGKILL amid their work; nobody is told twice, or forgotten.

Prefork workers over a real Redis, a real PostgreSQL, and a mail server that takes its time, so that they die
at every step of a hand-over. Time passes by moving the rows, not the clock.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery import Celery

from saleor_personalize.testing.saleor import FakeSaleor, InstalledApp
from saleor_personalize.testing.stack import Mailbox, Stack, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

PEOPLE = 100
#: Workers at once: so many messages at most can be under way when all are killed.
WORKERS = 2
#: How often all are killed, and how many mails have to arrive before.
KILLS, EACH = 3, 20
#: Longer than a claim, and than a hand-over may take.
LATER = """
UPDATE saleor_personalize_enrollment SET due_at = due_at - interval '11 minutes' WHERE status = 'waiting';
UPDATE saleor_personalize_message SET decided_at = decided_at - interval '11 minutes' WHERE status = 'handing_over'
"""
OPEN = """
SELECT (SELECT count(*) FROM saleor_personalize_enrollment WHERE status = 'waiting')
     + (SELECT count(*) FROM saleor_personalize_message WHERE status = 'handing_over')
"""
DUE = "SELECT count(*) FROM saleor_personalize_enrollment WHERE status = 'waiting' AND due_at <= now()"
MESSAGES = """
SELECT replace(public_id::text, '-', ''), status, reason, error FROM saleor_personalize_message
"""
ENDINGS = """
SELECT enrollment.status, enrollment.exit_reason, count(message.id)
FROM saleor_personalize_enrollment AS enrollment
LEFT JOIN saleor_personalize_message AS message ON message.enrollment_id = enrollment.id
GROUP BY enrollment.id
"""


class SlowMailbox(Mailbox):
    """Takes a moment before it has a mail, and another one before it says so."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        await asyncio.sleep(0.02)
        answer = await super().handle_DATA(server, session, envelope)
        await asyncio.sleep(0.02)
        return answer


class Shop:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.celery = Celery(broker=stack.environment["REDIS_URL"], set_as_current=False)
        self.rows = psycopg.connect(stack.environment["DATABASE_URL"], autocommit=True)

    def count(self, query: str) -> int:
        row = self.rows.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def mails(self) -> int:
        return len(self.stack.mailbox.messages)

    def start(self) -> None:
        self.stack.spawn("worker", "--concurrency", str(WORKERS), "--loglevel", "WARNING")
        self.wake()

    def wake(self) -> None:
        for _ in range(WORKERS):
            self.celery.send_task("personalize.advance_journeys", queue="personalize")

    def pool(self) -> list[int]:
        """Return the processes that do the work; the first one watches over them."""
        pid = self.stack.processes["worker"].pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill_one(self) -> None:
        os.kill(self.pool()[-1], signal.SIGKILL)

    def kill_all(self) -> None:
        pool, watcher = self.pool(), self.stack.processes.pop("worker")
        watcher.kill()
        for pid in pool:
            os.kill(pid, signal.SIGKILL)
        watcher.wait()
        wait_until(
            lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in pool),
            seconds=20,
            what="killed workers to be gone",
        )

    def wait_for(self, mails: int) -> None:
        wait_until(lambda: self.mails() >= mails, seconds=120, what=f"{mails} mails")


@pytest.fixture
def shop() -> Iterator[Shop]:
    app = InstalledApp("QXBwOjE=", "saleor.personalize", "a-working-token", ["MANAGE_ORDERS"], [])
    with (
        tempfile.TemporaryDirectory(prefix="personalize-killed-") as name,
        FakeSaleor() as saleor,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        saleor.apps[app.id] = app
        stack = Stack(folder, is_idle=True, ALLOWED_SALEOR_API_URLS=".*")
        stack.mailbox = SlowMailbox()
        with stack:
            subprocess.run(
                [sys.executable, "-m", "tests.acceptance.due_people", saleor.api_url, app.token, str(PEOPLE)],
                check=True,
                env={**stack.environment, "PYTHONPATH": str(Path(__file__).parents[2])},
            )  # fmt: skip
            made = Shop(stack)
            yield made
            made.rows.close()


def test_b87_c1_d5_killed_workers_tell_nobody_twice_and_forget_nobody(shop: Shop) -> None:
    for number in range(KILLS):
        shop.start()
        shop.wait_for(number * 2 * EACH + EACH)
        # One of the pool: Celery starts another one and hands its task out again.
        shop.kill_one()
        shop.wait_for(number * 2 * EACH + 2 * EACH)
        shop.kill_all()
        assert shop.count(OPEN), "they were killed when nothing was left to do"
    for _ in range(10):
        shop.rows.execute(LATER)
        shop.start()
        wait_until(
            lambda: not shop.count(DUE), seconds=120, what="everybody due to be decided about"
        )
        shop.stack.end("worker")
        if not shop.count(OPEN):
            break
    assert shop.count(OPEN) == 0

    given = Counter(str(mail["Message-ID"]) for mail in shop.stack.mailbox.messages)
    assert set(given.values()) == {1}, "the same message went twice"
    keys = {id_.removeprefix("<").partition("@")[0] for id_ in given}
    told = Counter((str(mail["To"]), str(mail["Subject"])) for mail in shop.stack.mailbox.messages)
    assert set(told.values()) == {1}, "somebody was told the same twice"

    messages = shop.rows.execute(MESSAGES).fetchall()
    by_status = Counter(status for _key, status, _reason, _error in messages)
    sent = {key for key, status, _reason, _error in messages if status == "sent"}
    unknown = {key for key, status, _reason, _error in messages if status == "uncertain"}
    assert sent <= keys <= sent | unknown
    # At most one for each process that was killed.
    assert len(unknown) <= KILLS * (1 + WORKERS)
    assert all(error for key, _status, _reason, error in messages if key in unknown)
    silent = PEOPLE // 10
    refused = Counter(reason for _key, status, reason, _error in messages if status == "not_sent")
    assert refused == {"no_consent": silent}
    assert by_status.total() == 2 * (PEOPLE - silent) + silent

    endings = Counter(shop.rows.execute(ENDINGS).fetchall())
    assert endings == {("done", "", 2): PEOPLE - silent, ("exited", "no_consent", 1): silent}
    print(f"{len(keys)} mails, {len(unknown)} of which nobody knows, {dict(by_status)}")
