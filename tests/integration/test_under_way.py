"""B68, B80, B87: many pushes are under way at once, and every promise about one message still holds.

By the task that beat wakes, with the real firebase-admin and a Firebase on loopback.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
import time_machine
from django.db import connection, transaction
from django.utils import timezone

from saleor_personalize.enums import ConsentState, DeliveryChannel, NotSentReason, Purpose
from saleor_personalize.events import operations as events
from saleor_personalize.journeys import handing_over
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging import push_accounts
from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage, SendResult
from saleor_personalize.models import Device, Enrollment, Installation, Message, Profile
from saleor_personalize.profiles import consent
from saleor_personalize.tasks.journeys import advance_journeys
from saleor_personalize.testing import fcm as fake
from saleor_personalize.testing.fcm import FakeFcm, serving
from tests.conftest import NOW, make_profile
from tests.integration.phones import give_phone
from tests.integration.reminders import Saleor, order_data
from tests.integration.signal_trigger import Signal, come_in, message, publish
from tests.integration.test_push import point_push_at

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MANY = 20
Wake = Callable[[datetime], None]
_IS_WAITED_FOR = """
SELECT EXISTS (SELECT FROM pg_locks WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))
"""


@dataclass
class Firebase(FakeFcm):
    """A project that answers when a test says so: `came` counts the messages that wait for their answer."""

    came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    answers: threading.Event = field(default_factory=threading.Event)

    def take(self, project: str, bearer: str, body: Any) -> fake.Answer:
        self.came.release()
        if not self.answers.wait(60):
            return fake.silence()
        return super().take(project, bearer, body)

    def per_device(self) -> list[int]:
        """How often each device was told, fewest first; those that were not are missing."""
        return sorted(Counter(one["token"] for one in self.sent).values())


@pytest.fixture
def fcm() -> Iterator[Firebase]:
    firebase = Firebase()
    firebase.answers.set()
    with serving(firebase):
        yield firebase


@pytest.fixture
def shop(fcm: Firebase, installation: Installation, settings: Any) -> Installation:
    point_push_at(settings, fcm.url)
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRIGGERS": {"signal": "tests.integration.signal_trigger.Signal"},
        "QUIET_HOURS": {"push": None},
    }
    Signal.over, Signal.entries = set(), []
    push_accounts.save(installation=installation, text=fcm.service_account(), now=NOW)
    return installation


@pytest.fixture
def people(shop: Installation, fcm: Firebase) -> list[Profile]:
    """Twenty who wait for a push, due one after the other."""
    journey = publish(shop, message("first", delivery_channel="push"))
    found = []
    for number in range(MANY):
        profile = make_profile(shop, email=f"shopper{number}@example.com")
        give_phone(profile, fcm.device())
        say(profile, ConsentState.GRANTED)
        come_in(journey, profile, f"object-{number}", at=NOW - (MANY - number) * MINUTE)
        found.append(profile)
    return found


@pytest.fixture
def wake(monkeypatch: pytest.MonkeyPatch) -> Wake:
    """Wake a worker at a moment."""
    with_saleor = functools.partial(journeys.advance_due, ask=Saleor())
    monkeypatch.setattr(journeys, "advance_due", with_saleor)

    def at(moment: datetime) -> None:
        with time_machine.travel(moment, tick=False):
            advance_journeys()

    return at


def say(profile: Profile, state: ConsentState) -> None:
    consent.record(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.PUSH,
        state=state,
        source="test",
        now=NOW,
    )


def token_of(profile: Profile) -> str:
    return Device.objects.get(profile=profile).token


def told() -> Counter[tuple[str, str]]:
    return Counter(Message.objects.values_list("status", "reason"))


def test_b68_others_are_decided_about_while_firebase_is_asked(
    fcm: Firebase, people: list[Profile], wake: Wake
) -> None:
    """Nobody is answered before ten are asked: one after the other, the first would wait for ever."""
    fcm.answers.clear()

    def answer() -> None:
        for _ in range(handing_over.MOST_UNDER_WAY):
            fcm.came.acquire(timeout=60)
        fcm.answers.set()

    firebase = threading.Thread(target=answer)
    firebase.start()
    wake(NOW)
    firebase.join()
    assert told() == {("sent", ""): MANY}
    assert fcm.per_device() == [1] * MANY
    names = Message.objects.values_list("provider_message_id", flat=True)
    assert len(set(names)) == MANY
    assert set(Enrollment.objects.values_list("status", flat=True)) == {"done"}
    wake(NOW + HOUR)
    assert len(fcm.sent) == MANY


def test_d2_nothing_comes_between_a_decision_and_its_call(
    people: list[Profile], wake: Wake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are under way, nobody's message waits for another one's."""
    steps: list[tuple[str, int]] = []
    begin, call = messaging.begin_hand_over, messaging.call

    def decided(*, message: Message, **given: Any) -> None:
        begin(message=message, **given)
        steps.append(("decided", message.pk))

    def called(*, message: Message, **given: Any) -> messaging.Call:
        begun = call(message=message, **given)
        steps.append(("called", message.pk))
        return begun

    monkeypatch.setattr(messaging, "begin_hand_over", decided)
    monkeypatch.setattr(messaging, "call", called)
    wake(NOW)
    keys = Message.objects.order_by("pk").values_list("pk", flat=True)
    assert steps == [(what, pk) for pk in keys for what in ("decided", "called")]


def test_d2_each_decision_is_made_by_a_clock_that_was_read_after_the_wait(
    people: list[Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a provider takes a minute: what is said of quiet hours and limits then is of a minute ago."""
    make_room, begin = handing_over.UnderWay.make_room, messaging.begin_hand_over
    late: list[timedelta] = []

    def decided(*, now: datetime, **given: Any) -> None:
        late.append(timezone.now() - now)
        begin(now=now, **given)

    monkeypatch.setattr(messaging, "begin_hand_over", decided)
    with_saleor = functools.partial(journeys.advance_due, ask=Saleor())
    monkeypatch.setattr(journeys, "advance_due", with_saleor)
    with time_machine.travel(NOW, tick=False) as clock:

        def waited(under_way: handing_over.UnderWay) -> None:
            make_room(under_way)
            clock.shift(MINUTE)

        monkeypatch.setattr(handing_over.UnderWay, "make_room", waited)
        advance_journeys()
    assert late == [timedelta(0)] * MANY


def test_d2_an_order_or_a_no_counts_while_others_are_under_way(
    shop: Installation,
    fcm: Firebase,
    people: list[Profile],
    wake: Wake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With three on their way and not answered, one who is due next buys, and another one says no."""
    fcm.answers.clear()
    call, calls = messaging.call, Counter[str]()
    buyer, refuser = people[3], people[4]
    silenced = {token_of(buyer), token_of(refuser)}

    def meanwhile(**given: Any) -> messaging.Call:
        calls["all"] += 1
        begun = call(**given)
        if calls["all"] == 3:
            assert told() == {("handing_over", ""): 3}
            say(refuser, ConsentState.DENIED)
            data = order_data(email="shopper3@example.com", at=NOW)
            ids = events.record_orders(installation=shop, data=[data], now=NOW)
            journeys.follow_orders(installation=shop, ids=ids, now=NOW)
            fcm.answers.set()
        return begun

    monkeypatch.setattr(messaging, "call", meanwhile)
    wake(NOW)
    wake(NOW + HOUR)
    assert told() == {
        ("sent", ""): MANY - 2,
        ("not_sent", "ordered"): 1,
        ("not_sent", "no_consent"): 1,
    }
    assert {one["token"] for one in fcm.sent}.isdisjoint(silenced)
    assert fcm.per_device() == [1] * (MANY - 2)


def test_b68_b80_each_of_twenty_gets_its_own_outcome(
    fcm: Firebase, people: list[Profile], wake: Wake
) -> None:
    """One device is gone, one message is refused, of one nobody knows, one is asked to wait: all others have it."""
    gone, refused, unclear, busy = (
        token_of(people[number]) for number in (2, 5, MANY - 2, MANY - 1)
    )
    fcm.uninstall(gone)
    fcm.answer(refused, fake.invalid("message.data", "Invalid data payload key"))
    fcm.answer(unclear, fake.silence())
    fcm.answer(busy, fake.quota_exceeded("120"))
    wake(NOW)
    assert told() == {
        ("sent", ""): MANY - 4,
        ("failed", "channel_error"): 3,
        ("uncertain", ""): 1,
    }
    assert Device.objects.get(profile=people[2]).gone_at is not None
    assert Device.objects.filter(gone_at=None).count() == MANY - 1
    fcm.instead.clear()
    wake(NOW + MINUTE)
    assert len(fcm.sent) == MANY - 4
    # The one that was asked to wait goes when the wait is over; the others never again.
    wake(NOW + 2 * MINUTE)
    wake(NOW + HOUR)
    assert told() == {
        ("sent", ""): MANY - 3,
        ("failed", "channel_error"): 2,
        ("uncertain", ""): 1,
    }
    assert fcm.per_device() == [1] * (MANY - 3)
    assert len(fcm.got(busy)) == 1


class Postbox(Channel):
    """Answers before anybody else is decided about, as an SMTP server does; notes what was written down then."""

    seen: ClassVar[list[Counter[tuple[str, str]]]] = []

    def send(self, message: OutgoingMessage) -> SendResult:
        self.seen.append(told())
        return SendResult("")


def test_b87_a_channel_that_answers_at_once_leaves_no_more_than_one_in_doubt(
    shop: Installation, settings: Any, wake: Wake
) -> None:
    """Its outcome is on record before the next one goes: a worker that is killed loses sight of one message only."""
    Postbox.seen.clear()
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CHANNELS": {"email": "tests.integration.test_under_way.Postbox"},
    }
    journey = publish(shop, message("first"))
    for number in range(4):
        profile = make_profile(shop, email=f"shopper{number}@example.com")
        consent.record(
            profile=profile,
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            state=ConsentState.GRANTED,
            source="test",
            now=NOW,
        )
        come_in(journey, profile, f"object-{number}", at=NOW - MINUTE)
    wake(NOW)
    under_way = ("handing_over", "")
    assert Postbox.seen == [
        {under_way: 1},
        {("sent", ""): 1, under_way: 1},
        {("sent", ""): 2, under_way: 1},
        {("sent", ""): 3, under_way: 1},
    ]
    assert told() == {("sent", ""): 4}


def test_b68_when_firebase_is_down_for_all_nobody_is_lost_and_nobody_gets_it_twice(
    fcm: Firebase, people: list[Profile], wake: Wake
) -> None:
    fcm.answer("", fake.unavailable())
    wake(NOW)
    assert told() == {("failed", "channel_error"): MANY}
    fcm.instead.clear()
    wake(NOW + 10 * MINUTE)
    wake(NOW + HOUR)
    assert told() == {("sent", ""): MANY}
    assert fcm.per_device() == [1] * MANY


@pytest.mark.django_db(transaction=True)
def test_b80_outcomes_and_reports_about_the_same_messages_never_wait_for_each_other(
    fcm: Firebase, people: list[Profile], wake: Wake
) -> None:
    """Both hold several messages at once: whoever has the first one gets the second one too."""
    Enrollment.objects.exclude(profile__in=people[:2]).delete()
    fcm.answers.clear()
    got: list[int] = []

    def report() -> None:
        assert all(fcm.came.acquire(timeout=60) for _ in range(2))
        later, first = Message.objects.order_by("pk").values_list("pk", flat=True)
        Message.objects.filter(pk=first).update(public_id=UUID(int=1))
        Message.objects.filter(pk=later).update(public_id=UUID(int=2))
        with transaction.atomic(), connection.cursor() as cursor:
            Message.objects.select_for_update(no_key=True).get(pk=first)
            fcm.answers.set()
            ends_at = time.monotonic() + 60
            is_waited_for = False
            while not is_waited_for and time.monotonic() < ends_at:
                cursor.execute(_IS_WAITED_FOR)
                (is_waited_for,) = cursor.fetchone()
            got.append(Message.objects.select_for_update(no_key=True, nowait=True).get(pk=later).pk)
        connection.close()

    reporter = threading.Thread(target=report)
    reporter.start()
    wake(NOW)
    reporter.join(60)
    assert len(got) == 1
    assert told() == {("sent", ""): 2}


@pytest.mark.django_db(transaction=True)
def test_b87_a_worker_killed_with_many_under_way_doubles_none_and_loses_none_that_were_not_called(
    fcm: Firebase, people: list[Profile], wake: Wake
) -> None:
    """SIGKILL while ten wait for their answer: those may be there; the other ten go once."""
    fcm.answers.clear()
    database = connection.settings_dict
    url = "postgresql://{USER}@/{NAME}?host={HOST}".format(**database)
    if database["HOST"] and not database["HOST"].startswith("/"):
        url = "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.hanging_worker", fcm.url],
        env={**os.environ, "TEST_DATABASE_URL": url, "DATABASE_URL": url},
    )
    for _ in range(handing_over.MOST_UNDER_WAY):
        assert fcm.came.acquire(timeout=120)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(30)
    assert told() == {("handing_over", ""): handing_over.MOST_UNDER_WAY}
    fcm.answers.set()
    wake(NOW + messaging.HAND_OVER_LEASE)
    wake(NOW + HOUR)
    rest = MANY - handing_over.MOST_UNDER_WAY
    assert told() == {("uncertain", ""): handing_over.MOST_UNDER_WAY, ("sent", ""): rest}
    later = set(Message.objects.filter(status="sent").values_list("profile", flat=True))
    assert {person.pk for person in people[handing_over.MOST_UNDER_WAY :]} == later
    assert all(count == 1 for count in fcm.per_device())


def test_b64_the_switch_stops_what_is_not_under_way(
    shop: Installation, people: list[Profile], wake: Wake, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, calls = messaging.call, Counter[str]()

    def pressed(**given: Any) -> messaging.Call:
        calls["all"] += 1
        if calls["all"] == 4:
            journeys.stop_sends(installation=shop, now=NOW)
        return call(**given)

    monkeypatch.setattr(messaging, "call", pressed)
    wake(NOW)
    assert told() == {("sent", ""): 3, ("failed", NotSentReason.SENDS_STOPPED): 1}
