"""B44, B87: a worker that is killed between the decision and the hand-over loses nobody, and doubles nothing.

Through the tick that beat wakes (`advance_journeys`), with a clock of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection

from saleor_personalize.enums import ConsentState, EnrollmentStatus, MessageStatus, NotSentReason
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging import opt_in
from saleor_personalize.messaging.channels.email import EmailChannel
from saleor_personalize.models import Enrollment, Message
from saleor_personalize.profiles.privacy import export
from saleor_personalize.signals import message_not_sent
from saleor_personalize.tasks.journeys import advance_journeys
from tests.conftest import NOW
from tests.integration.reminders import HOUR, MINUTE, World

DUE = NOW + 2 * HOUR
LEASE = messaging.HAND_OVER_LEASE
SENT = (MessageStatus.SENT, "")
Wake = Callable[[datetime], None]


class Killed(BaseException):
    """SIGKILL, as far as a test can: nothing catches it."""


@contextmanager
def killed() -> Iterator[None]:
    """Whoever decides now is killed after the commit, before the hand-over."""

    def die(**_: Any) -> bool:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messaging, "call", die)
        yield


@pytest.fixture
def wake(world: World, monkeypatch: pytest.MonkeyPatch) -> Wake:
    """Wake a worker at a moment."""
    with_saleor = functools.partial(journeys.advance_due, ask=world.saleor)
    monkeypatch.setattr(journeys, "advance_due", with_saleor)

    def at(moment: datetime) -> None:
        with time_machine.travel(moment, tick=False), suppress(Killed):
            advance_journeys()

    return at


@pytest.fixture
def left(world: World, wake: Wake) -> Message:
    """A reminder whose worker was killed before the hand-over."""
    world.checkout()
    with killed():
        wake(DUE)
    message = Message.objects.get()
    assert (message.status, message.handed_over_at) == (MessageStatus.HANDING_OVER, None)
    assert world.mails() == []
    return message


def test_b44_whoever_was_interrupted_before_the_hand_over_gets_it_once(
    world: World, wake: Wake, left: Message
) -> None:
    wake(DUE + LEASE - MINUTE)
    assert world.mails() == []
    wake(DUE + LEASE)
    message = Message.objects.get()
    assert (message.status, message.attempts, message.pk) == (MessageStatus.SENT, 2, left.pk)
    assert len(world.mails()) == 1
    for hours in (1, 5, 22):
        wake(DUE + hours * HOUR)
    assert len(world.mails()) == 1
    # The wait before the second reminder begins with the message that went.
    wake(DUE + timedelta(hours=23) + LEASE - MINUTE)
    assert len(world.mails()) == 1
    wake(DUE + timedelta(hours=23) + LEASE)
    assert len(world.mails()) == 2


def test_b44_killed_again_and_again_it_still_goes_once(
    world: World, wake: Wake, left: Message
) -> None:
    with killed():
        wake(DUE + LEASE)
        wake(DUE + 2 * LEASE)
    assert world.mails() == []
    wake(DUE + 3 * LEASE)
    wake(DUE + 4 * LEASE)
    assert world.decision() == SENT
    assert len(world.mails()) == 1


def test_b44_a_message_that_was_begun_is_not_taken_up(
    world: World, wake: Wake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> Any:
        raise Killed

    world.checkout()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmailChannel, "send", die)
        wake(DUE)
    wake(DUE + LEASE)
    wake(DUE + 5 * HOUR)
    assert world.decision() == (MessageStatus.UNCERTAIN, "")
    assert world.mails() == []


#: Writes down which rows wait for the disk when they are committed.
_WATCH = """
CREATE TABLE watched (id serial, what text, waits text);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO watched (what, waits) VALUES (
    CASE TG_TABLE_NAME
      WHEN 'saleor_personalize_enrollment' THEN 'person ' || (to_jsonb(NEW) ->> 'status')
      ELSE 'message ' || (to_jsonb(NEW) ->> 'status') ||
           CASE WHEN to_jsonb(NEW) ->> 'handed_over_at' IS NULL THEN '' ELSE ', called' END
    END, current_setting('synchronous_commit'));
  RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON saleor_personalize_message
  FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch AFTER UPDATE ON saleor_personalize_enrollment
  FOR EACH ROW EXECUTE FUNCTION watch();
"""
_UNWATCH = "DROP FUNCTION watch CASCADE; DROP TABLE watched"


@pytest.fixture
def watched(db: None) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """Return what was written and whether it waited for the disk."""

    def told() -> list[tuple[str, str]]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT what, waits FROM watched ORDER BY id")
            return list(cursor.fetchall())

    with connection.cursor() as cursor:
        # As a database is out of the box; the other tests wait for no disk.
        cursor.execute("SET synchronous_commit TO on")
        cursor.execute(_WATCH)
    yield told
    with connection.cursor() as cursor:
        cursor.execute(_UNWATCH)
        cursor.execute("SET synchronous_commit TO off")


@pytest.mark.django_db(transaction=True)
def test_b87_what_stops_a_second_message_waits_for_the_disk(
    world: World, wake: Wake, watched: Callable[[], list[tuple[str, str]]]
) -> None:
    """A database that crashes keeps the decision and the claim. What it may lose is that somebody was taken up,
    and nothing came of that yet, or the outcome: then the message becomes UNCERTAIN."""
    world.checkout()
    before = len(watched())
    wake(DUE)
    assert world.decision() == SENT
    assert watched()[before:] == [
        ("person waiting", "off"),
        ("person waiting", "on"),
        ("message handing_over", "on"),
        ("message handing_over, called", "on"),
        ("message sent, called", "off"),
    ]


def refuse(world: World) -> None:
    world.allow("alice@example.com", ConsentState.DENIED)


def order(world: World) -> None:
    world.order(email="alice@example.com", at=DUE + MINUTE)


def order_in_saleor(world: World) -> None:
    """We have not heard of it."""
    world.saleor.gone.add("checkout-1")
    world.saleor.ordered.add("checkout-1")


def let_go(world: World) -> None:
    journeys.pause(journey=world.journey, now=DUE + MINUTE, on_pause="exit")


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (order, NotSentReason.ORDERED),
        (order_in_saleor, NotSentReason.ORDERED),
        (refuse, NotSentReason.NO_CONSENT),
        (let_go, NotSentReason.JOURNEY_PAUSED),
    ],
)
def test_d2_what_happened_meanwhile_counts(
    world: World,
    wake: Wake,
    left: Message,
    happens: Callable[[World], Any],
    reason: NotSentReason,
) -> None:
    happens(world)
    wake(DUE + LEASE)
    wake(DUE + LEASE + MINUTE)
    left.refresh_from_db()
    assert (left.status, left.reason) == (MessageStatus.NOT_SENT, reason)
    assert world.enrollment().exit_reason == reason
    assert world.mails() == []


def test_d2_its_deadline_counts(world: World, wake: Wake, left: Message) -> None:
    """No worker was there for three days."""
    wake(DUE + timedelta(days=3))
    assert world.decision() == (MessageStatus.NOT_SENT, NotSentReason.TOO_LATE)
    assert world.mails() == []


def test_b44_a_journey_that_is_paused_holds_it(world: World, wake: Wake, left: Message) -> None:
    journeys.pause(journey=world.journey, now=DUE + MINUTE)
    wake(DUE + LEASE)
    assert world.decision() == (MessageStatus.FAILED, NotSentReason.INTERRUPTED)
    journeys.resume(journey=world.journey, now=DUE + HOUR)
    wake(DUE + HOUR)
    assert world.decision() == SENT
    assert len(world.mails()) == 1


@pytest.mark.parametrize("comes_back", ["before another worker", "after another worker"])
def test_d5_a_worker_that_was_only_slow_sends_nothing_when_it_comes_back(
    world: World, wake: Wake, monkeypatch: pytest.MonkeyPatch, comes_back: str
) -> None:
    call = messaging.call
    calls = []

    def late(**given: Any) -> messaging.Call:
        monkeypatch.setattr(messaging, "call", call)
        with time_machine.travel(DUE + LEASE, tick=False):
            assert journeys.resume_interrupted(now=DUE + LEASE) == 1
        if comes_back == "after another worker":
            wake(DUE + LEASE)
        calls.append(call(**given))
        return calls[0]

    monkeypatch.setattr(messaging, "call", late)
    world.checkout()
    wake(DUE)
    assert [(one.sending, one.wants_retry) for one in calls] == [(None, False)]
    assert len(world.mails()) == (1 if comes_back == "after another worker" else 0)
    wake(DUE + LEASE)
    wake(DUE + 5 * HOUR)
    assert world.decision() == SENT
    assert len(world.mails()) == 1
    assert world.enrollment().path == [2]


def test_d5_a_slow_worker_gives_nothing_up_that_another_one_has_sent(
    world: World, wake: Wake, left: Message
) -> None:
    """Between its question and its answer, the message is taken back and goes."""
    stale = Message.objects.get(pk=left.pk)
    wake(DUE + LEASE)
    assert not messaging.give_up(
        message=stale,
        reason=NotSentReason.OFFER_NOT_MADE,
        error="Saleor did not answer.",
        is_retryable=True,
        now=DUE + LEASE,
    )
    assert world.decision() == SENT


def test_b44_it_is_not_tried_for_ever(world: World, wake: Wake, left: Message) -> None:
    Message.objects.update(attempts=messaging.MAX_ATTEMPTS)
    wake(DUE + LEASE)
    wake(DUE + 5 * HOUR)
    assert world.decision() == (MessageStatus.FAILED, NotSentReason.INTERRUPTED)
    assert world.enrollment().status == EnrollmentStatus.EXITED
    assert world.mails() == []


def test_b44_who_was_through_and_came_in_again_is_not_put_back(
    world: World, wake: Wake, left: Message
) -> None:
    Enrollment.objects.update(status=EnrollmentStatus.DONE, finished_at=DUE)
    again = world.enrollment()
    again.pk, again.entry, again.status = None, 2, EnrollmentStatus.WAITING
    again.due_at = DUE + 5 * HOUR
    again.save()
    wake(DUE + LEASE)
    left.refresh_from_db()
    assert (left.status, left.reason) == (MessageStatus.FAILED, NotSentReason.INTERRUPTED)
    assert set(Enrollment.objects.values_list("status", flat=True)) == {"done", "waiting"}


def test_b44_one_that_cannot_be_taken_back_holds_up_nobody(
    world: World, wake: Wake, left: Message, caplog: pytest.LogCaptureFixture
) -> None:
    world.checkout("checkout-2", email="guest@example.com")
    world.allow("guest@example.com")
    came_from = left.came_from
    Message.objects.update(came_from={"path": [0]})
    wake(DUE + LEASE)
    assert [mail["To"] for mail in world.mails()] == ["guest@example.com"]
    assert "was not taken back" in caplog.text
    Message.objects.filter(pk=left.pk).update(came_from=came_from)
    wake(DUE + LEASE + MINUTE)
    assert len(world.mails()) == 2


def test_b44_integrators_hear_of_it_and_nothing_personal_is_kept(
    world: World, wake: Wake, left: Message, run_on_commit: Callable[..., Any]
) -> None:
    assert set(left.came_from) == {"path", "branches", "step_since"}
    heard: list[tuple[str, str]] = []

    def listen(signal: Any, message: Message, **_: Any) -> None:
        heard.append((message.status, message.reason))

    message_not_sent.connect(listen)
    try:
        with run_on_commit():
            journeys.resume_interrupted(now=DUE + LEASE)
    finally:
        message_not_sent.disconnect(listen)
    assert heard == [("failed", "interrupted")]
    assert "came_from" not in str(export(profile=left.profile, now=NOW))


def test_b73_the_question_whether_a_yes_was_theirs_is_asked_after_all(world: World) -> None:
    opt_in.subscribe(
        installation=world.installation,
        address="ann@example.com",
        topics=["news"],
        now=NOW,
        country_code="DE",
        language_code="EN",
    )
    with killed(), pytest.raises(Killed):
        opt_in.send_due(now=NOW)
    messaging.settle_interrupted(now=NOW + LEASE)
    opt_in.send_due(now=NOW + LEASE)
    opt_in.send_due(now=NOW + LEASE + 5 * MINUTE)
    opt_in.send_due(now=NOW + LEASE + HOUR)
    assert world.decision() == SENT
    assert [mail["To"] for mail in world.mails()] == ["ann@example.com"]
