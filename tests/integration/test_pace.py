"""B80: how fast messages leave: per provider and recipients' domain, warm-up, daily maximum; nothing lost.

Real decisions of the scheduler, a real SMTP server, real threads; time is a parameter.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from saleor_personalize.enums import ConsentState, DeliveryChannel, IdentityKind, Purpose
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys import queries
from saleor_personalize.journeys.triggers import About
from saleor_personalize.messaging import opt_in, pace
from saleor_personalize.models import Enrollment, Installation, Message, Pace, Profile
from saleor_personalize.tasks import journeys as tasks
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.reminders import MINUTE, MoodyMailbox, Saleor, mailbox, run_threads, use_smtp
from tests.integration.signal_trigger import Signal, come_in, message, publish

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def shop(installation: Installation, settings: Any) -> None:
    set_to(
        settings,
        TRIGGERS={"signal": "tests.integration.signal_trigger.Signal"},
        FREQUENCY_CAPS={"*": None},
        ARBITRATION_WINDOW=timedelta(0),
    )
    Signal.over, Signal.entries = set(), []


@pytest.fixture
def box(settings: Any) -> Iterator[MoodyMailbox]:
    with mailbox() as made:
        use_smtp(settings, made.port)
        yield made


def set_to(settings: Any, **changes: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **changes}


def take(
    installation: Installation,
    at: datetime = NOW,
    *,
    recipient: str = "ann@example.com",
    purpose: str = Purpose.MARKETING,
    channel: str = DeliveryChannel.EMAIL,
    queue: str = "",
) -> datetime | None:
    turn = turn_of(installation, at, recipient, purpose, channel, queue)
    return turn and turn.at


def turn_of(
    installation: Installation,
    at: datetime,
    recipient: str = "ann@example.com",
    purpose: str = Purpose.MARKETING,
    channel: str = DeliveryChannel.EMAIL,
    queue: str = "",
) -> pace.Turn | None:
    with transaction.atomic():
        return pace.take(
            installation=installation,
            delivery_channel=channel,
            recipient=recipient,
            purpose=purpose,
            queue=queue,
            now=at,
        )


# -- what may leave -----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_b80_a_provider_gets_no_more_than_its_rate_in_any_such_time(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, PACE={"email": (20, SECOND)})
    went: list[datetime] = []
    at = NOW
    while at < NOW + 10 * SECOND:
        if take(installation, at, queue="email") is None:
            went.append(at)
        at += timedelta(milliseconds=10)
    for first in went:
        assert sum(first <= other < first + SECOND for other in went) <= 20
    # And hardly less: what one may have is had.
    assert len(went) >= 180


@pytest.mark.django_db
def test_b80_without_limits_nothing_is_written_and_everything_goes(
    installation: Installation, django_assert_num_queries: Any
) -> None:
    with transaction.atomic(), django_assert_num_queries(1):
        assert (
            pace.take(
                installation=installation,
                delivery_channel="email",
                recipient="ann@example.com",
                purpose="marketing",
                queue="",
                now=NOW,
            )
            is None
        )
    assert Pace.objects.count() == 0


@pytest.mark.django_db
def test_b80_a_decision_costs_one_statement(
    installation: Installation, settings: Any, django_assert_num_queries: Any
) -> None:
    set_to(
        settings,
        PACE={"email": (20, SECOND)},
        DOMAIN_PACE={"gmail": (5, SECOND)},
        DAILY_MAXIMUM={"email": 1000},
    )
    take(installation, recipient="ann@gmail.com")
    with transaction.atomic(), django_assert_num_queries(1):
        pace.take(
            installation=installation,
            delivery_channel="email",
            recipient="ann@gmail.com",
            purpose="marketing",
            queue="",
            now=NOW + SECOND,
        )


@pytest.mark.django_db
def test_b80_a_receiver_is_all_its_domains_and_holds_nobody_else(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, DOMAIN_PACE={"gmail": (1, MINUTE), "*": (2, MINUTE)})
    assert take(installation, recipient="ann@gmail.com") is None
    assert take(installation, recipient="bob@GoogleMail.com") == NOW + 2 * MINUTE
    assert take(installation, recipient="cid@family.example") is None
    assert take(installation, recipient="dan@other.example") is None
    assert take(installation, recipient="eve@family.example") is not None
    # The domain of a person of their own is nowhere to be read.
    assert not Pace.objects.filter(key__contains="family").exists()
    assert pace.purge(now=NOW + 3 * DAY) == 3


@pytest.mark.django_db
def test_b80_what_is_held_by_one_limit_takes_nothing_of_the_others(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, DAILY_MAXIMUM={"email": 2}, DOMAIN_PACE={"gmail": (1, HOUR)})
    assert take(installation, recipient="ann@gmail.com") is None
    assert take(installation, recipient="bob@gmail.com") is not None
    assert take(installation, recipient="cid@gmx.net") is None
    assert Pace.objects.get(key="email/day").taken == 2


@pytest.mark.django_db
def test_b80_a_day_has_a_maximum_by_the_clock_of_the_shop(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, DAILY_MAXIMUM={"email": 2}, TIME_ZONE="Pacific/Auckland")
    assert [take(installation), take(installation)] == [None, None]
    until = take(installation)
    there = NOW.astimezone(ZoneInfo("Pacific/Auckland"))
    midnight = (there + DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    assert until is not None
    assert timedelta(0) <= until - midnight <= HOUR
    assert take(installation, until, queue="email/day") is None


@pytest.mark.django_db
def test_b80_a_new_sender_warms_up(installation: Installation, settings: Any) -> None:
    start = NOW.date()
    plan = {"START": start.isoformat(), "FIRST": 10, "GROWTH": 2, "LAST": 50}
    set_to(settings, WARM_UP={"email": plan})
    days = [
        pace.most_today(delivery_channel="email", today=start + timedelta(days=day))
        for day in range(-1, 5)
    ]
    assert days == [10, 10, 20, 40, None, None]
    set_to(settings, DAILY_MAXIMUM={"email": 15})
    assert [
        pace.most_today(delivery_channel="email", today=start + timedelta(days=day))
        for day in range(4)
    ] == [10, 15, 15, 15]


@pytest.mark.django_db
def test_b80_what_an_order_needs_waits_for_the_provider_alone(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, PACE={"email": (2, MINUTE)}, DAILY_MAXIMUM={"email": 1})
    assert take(installation) is None
    assert take(installation, NOW + MINUTE) is not None
    order = {"purpose": Purpose.TRANSACTIONAL}
    assert take(installation, NOW + MINUTE, **order) is None  # type: ignore[arg-type]
    # The provider's rate holds for it as well.
    assert take(installation, NOW + MINUTE, **order) == NOW + MINUTE + 30 * SECOND  # type: ignore[arg-type]


@pytest.mark.django_db
def test_b80_who_waits_keeps_a_place_in_the_queue(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, PACE={"email": (1, MINUTE)})
    assert take(installation) is None
    first, second = take(installation), take(installation)
    assert first == NOW + 2 * MINUTE
    assert second == NOW + 3 * MINUTE
    # Whoever comes later does not jump it, though nothing has left for a minute.
    late = take(installation, NOW + 90 * SECOND)
    assert late == NOW + 4 * MINUTE
    assert take(installation, first, queue="email") is None


@pytest.mark.django_db
def test_b80_a_pause_is_no_longer_than_an_hour_and_never_cut_short(
    installation: Installation,
) -> None:
    for wait in (30 * DAY, MINUTE):
        pace.pause(
            installation_id=installation.pk, delivery_channel="email", until=NOW + wait, now=NOW
        )
    assert take(installation) == NOW + HOUR
    assert take(installation, purpose=Purpose.TRANSACTIONAL) == NOW + HOUR
    assert take(installation, channel="push") is None
    assert take(installation, channel="in_app") is None
    assert take(installation, NOW + HOUR) is None


@pytest.mark.django_db
def test_b80_a_provider_of_all_shops_rests_for_all_and_an_account_of_one_for_one(
    installation: Installation, other_installation: Installation
) -> None:
    other = other_installation
    for channel in ("email", "push"):
        pace.pause(
            installation_id=installation.pk, delivery_channel=channel, until=NOW + MINUTE, now=NOW
        )
    assert take(other, channel="email") == NOW + MINUTE
    assert take(other, channel="push") is None
    assert take(installation, channel="push") == NOW + MINUTE


@pytest.mark.django_db
@pytest.mark.parametrize(
    "rates",
    [{"PACE": {"email": (1, MINUTE)}}, {"DOMAIN_PACE": {"*": (1, MINUTE)}}],
    ids=["provider", "domain"],
)
def test_b80_shops_that_share_an_account_share_its_rate_and_its_queue(
    installation: Installation,
    other_installation: Installation,
    settings: Any,
    rates: dict[str, Any],
) -> None:
    set_to(settings, **rates)
    assert take(installation) is None
    turn = turn_of(other_installation, NOW)
    assert turn is not None
    assert turn.at == NOW + 2 * MINUTE
    assert take(installation) == NOW + 3 * MINUTE
    assert take(other_installation, turn.at, queue=turn.queue) is None


@pytest.mark.django_db
def test_b80_a_shop_has_its_own_day_and_its_own_account_for_push(
    installation: Installation, other_installation: Installation, settings: Any
) -> None:
    set_to(settings, PACE={"push": (1, MINUTE)}, DAILY_MAXIMUM={"email": 1, "push": 2})
    for channel in ("email", "push"):
        assert take(installation, channel=channel) is None
        assert take(installation, channel=channel) is not None
        assert take(other_installation, channel=channel) is None
    assert take(installation, NOW + MINUTE, channel="push", queue="push") is None
    # Its rate would let it go now; its day does not.
    tomorrow = take(installation, NOW + 2 * MINUTE, channel="push", queue="push")
    assert tomorrow is not None
    assert tomorrow > NOW + HOUR


@pytest.mark.django_db
@pytest.mark.parametrize(
    "limits", [{"DOMAIN_PACE": {"*": (60, MINUTE)}}, {"DAILY_MAXIMUM": {"email": 9}}, {}]
)
def test_b80_a_pause_holds_whatever_else_is_limited_and_when_the_shop_it_came_from_goes(
    installation: Installation,
    other_installation: Installation,
    settings: Any,
    limits: dict[str, Any],
) -> None:
    set_to(settings, **limits)
    pace.pause(
        installation_id=other_installation.pk,
        delivery_channel="email",
        until=NOW + MINUTE,
        now=NOW,
    )
    other_installation.delete()
    until = take(installation)
    assert until is not None
    assert NOW + MINUTE <= until <= NOW + HOUR
    assert take(installation, until, queue="email") is None


@pytest.mark.django_db
def test_b80_a_short_pause_uses_up_no_day(installation: Installation, settings: Any) -> None:
    set_to(settings, PACE={"email": (10, SECOND)}, DAILY_MAXIMUM={"email": 100})
    given = {"installation_id": installation.pk, "delivery_channel": "email", "now": NOW}
    pace.pause(until=NOW + 15 * SECOND, **given)
    places = [take(installation) for _ in range(50)]
    # As far apart as the rate wants it, and not as the day does.
    assert places[0] == NOW + 15.1 * SECOND
    assert places[-1] == NOW + 20 * SECOND
    assert take(installation, NOW + 21 * SECOND) is None


@pytest.mark.django_db
def test_b80_nobody_waits_behind_those_who_never_come(
    installation: Installation, other_installation: Installation, settings: Any
) -> None:
    set_to(settings, PACE={"email": (1, MINUTE)})
    assert take(installation) is None
    places = [take(installation) for _ in range(100)]
    assert places[-1] == NOW + 101 * MINUTE
    # While they come, others stand behind them,
    for place in places[:5]:
        assert place is not None
        assert take(installation, place, queue="email") is None
    assert take(other_installation, NOW + 7 * MINUTE) == NOW + 102 * MINUTE
    # also when what an order needs goes in between. Then their shop stops.
    order = {"purpose": Purpose.TRANSACTIONAL}
    assert take(other_installation, NOW + 8 * MINUTE, **order) is None  # type: ignore[arg-type]
    assert take(other_installation, NOW + 8.5 * MINUTE) == NOW + 103 * MINUTE
    assert take(other_installation, NOW + 10 * MINUTE) is None
    assert take(other_installation, NOW + 10 * MINUTE) == NOW + 12 * MINUTE


@pytest.mark.django_db
def test_b80_a_queue_of_nobody_is_not_kept_by_those_of_another_one(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, PACE={"email": (1, MINUTE)}, DOMAIN_PACE={"gmail": (1, 10 * MINUTE)})
    ann, bob = "ann@gmail.com", "bob@other.example"
    assert take(installation, recipient=ann) is None
    # They stand in both queues, and wait for the longer one.
    first, second = (turn_of(installation, NOW, recipient=ann) for _ in range(2))
    assert first == (NOW + 20 * MINUTE, "email:gmail")
    assert second == (NOW + 30 * MINUTE, "email:gmail")
    # Then come many whose shop stops.
    places = [take(installation, recipient=bob) for _ in range(100)]
    assert places[-1] == NOW + 103 * MINUTE
    assert take(installation, first.at, recipient=ann, queue=first.queue) is None
    assert take(installation, NOW + 21 * MINUTE, recipient=bob) is None
    late = turn_of(installation, NOW + 21 * MINUTE, recipient=bob)
    assert late == (NOW + 23 * MINUTE, "email")
    # The one that people come out of is still there, and nobody jumps it.
    assert take(installation, NOW + 25 * MINUTE, recipient=ann) == NOW + 40 * MINUTE


@pytest.mark.django_db
def test_b80_whoever_comes_out_of_a_queue_a_moment_early_keeps_the_place(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, PACE={"email": (1, MINUTE)})
    assert take(installation) is None
    places = [take(installation) for _ in range(3)]
    assert places == [NOW + n * MINUTE for n in (2, 3, 4)]
    late = 20 * timedelta(milliseconds=1)
    assert take(installation, NOW + 2 * MINUTE + late, queue="email") is None
    early = turn_of(installation, NOW + 3 * MINUTE, queue="email")
    assert early == (NOW + 3 * MINUTE + late, "email")
    assert take(installation, NOW + 3 * MINUTE + late, queue="email") is None
    # The end of the queue is where it was; whoever is held by more than that goes there.
    assert take(installation, NOW + 3 * MINUTE + late) == NOW + 5 * MINUTE + late
    pace.pause(
        installation_id=installation.pk,
        delivery_channel="email",
        until=NOW + 5 * MINUTE,
        now=NOW + 4 * MINUTE,
    )
    assert take(installation, NOW + 4 * MINUTE, queue="email") == NOW + 6 * MINUTE + late


@pytest.mark.django_db
def test_b80_who_is_late_together_is_not_asked_again_and_again(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, PACE={"email": (14, SECOND)})
    at, decisions = NOW, 0
    due = [(NOW, "email")] * 60
    while due:
        due.sort()
        began, queue = due.pop(0)
        at = max(at + timedelta(milliseconds=10), began)
        turn = turn_of(installation, at, queue=queue)
        decisions += 1
        if turn is not None:
            due.append(turn)
    assert decisions < 60 * 2.5
    assert at < NOW + 60 * SECOND / 14 + SECOND


@pytest.mark.django_db
def test_b80_a_day_is_not_held_up_by_a_worker_whose_clock_was_read_earlier(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, DAILY_MAXIMUM={"email": 3})
    late = timedelta(milliseconds=50)
    assert take(installation, NOW) is None
    assert take(installation, NOW - late) is None
    midnight = (NOW + DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    assert [take(installation, midnight) for _ in range(2)] == [None, None]
    # Nor is the day before counted anew.
    assert take(installation, midnight - late) is None
    assert take(installation, midnight) is not None
    assert Pace.objects.get().taken == 3


@pytest.mark.django_db
def test_b80_who_stood_in_one_queue_is_a_newcomer_in_that_of_another_channel(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, PACE={"email": (1, MINUTE), "push": (1, MINUTE)})
    assert take(installation) is None
    assert take(installation) == NOW + 2 * MINUTE
    assert take(installation, NOW + MINUTE, queue="push") == NOW + 3 * MINUTE
    assert take(installation, NOW + MINUTE, queue="email") is None


@pytest.mark.django_db
def test_b80_the_pause_of_a_shop_that_is_gone_is_nobodys(other_installation: Installation) -> None:
    gone = other_installation.pk
    other_installation.delete()
    pace.pause(installation_id=gone, delivery_channel="push", until=NOW + MINUTE, now=NOW)
    assert Pace.objects.count() == 0


# -- several workers ----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_b80_workers_at_once_never_let_more_go(installation: Installation, settings: Any) -> None:
    set_to(settings, DAILY_MAXIMUM={"email": 25}, DOMAIN_PACE={"gmail": (1000, SECOND)})
    together = threading.Barrier(4)

    def work() -> int:
        together.wait(10)
        return sum(take(installation, recipient="a@gmail.com") is None for _ in range(20))

    assert sum(run_threads(*[work] * 4)) == 25


@pytest.mark.django_db(transaction=True)
def test_b80_workers_of_two_shops_at_once_never_let_more_go(
    installation: Installation, other_installation: Installation, settings: Any
) -> None:
    set_to(settings, PACE={"email": (250, DAY)}, DOMAIN_PACE={"*": (1000, SECOND)})
    together = threading.Barrier(4)

    def work(shop: Installation, domain: str) -> int:
        together.wait(10)
        return sum(take(shop, recipient=f"a@{domain}") is None for _ in range(20))

    shops = [installation, other_installation]
    works = [partial(work, shop, domain) for shop in shops for domain in ("a.test", "b.test")]
    assert sum(run_threads(*works)) == 25
    assert Pace.objects.count() == 3
    assert not Pace.objects.exclude(installation=None).exists()


@pytest.mark.django_db(transaction=True)
def test_b80_workers_at_once_write_down_what_they_let_go(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, DAILY_MAXIMUM={"email": 25})
    together = threading.Barrier(4)

    def work() -> int:
        together.wait(10)
        return sum(take(installation, recipient="a@gmail.com") is None for _ in range(20))

    assert sum(run_threads(*[work] * 4)) == 25
    assert Pace.objects.get(key="email/day").taken == 25


@pytest.mark.django_db(transaction=True)
def test_b80_what_is_rolled_back_was_never_taken(installation: Installation, settings: Any) -> None:
    set_to(settings, DAILY_MAXIMUM={"email": 1})
    with transaction.atomic():
        assert take(installation) is None
        transaction.set_rollback(True)
    assert take(installation) is None


# -- through the scheduler ----------------------------------------------------------------------------------


def people(installation: Installation, count: int) -> list[Profile]:
    found = []
    for number in range(count):
        profile = make_profile(installation, **{IdentityKind.EMAIL: f"p{number}@gmail.com"})
        make_consent(profile, ConsentState.GRANTED)
        found.append(profile)
    return found


def advance(at: datetime) -> int:
    return journeys.advance_due(now=at, ask=Saleor())


@pytest.mark.django_db
def test_b80_nobody_is_lost_by_a_pace_and_everybody_gets_one_mail(
    installation: Installation, settings: Any, box: MoodyMailbox
) -> None:
    set_to(settings, PACE={"email": (2, MINUTE)})
    journey = publish(installation, message("first"))
    for number, profile in enumerate(people(installation, 5)):
        come_in(journey, profile, f"object-{number}")
    at = NOW
    advance(at)
    assert len(box.messages) == 1
    waiting = Enrollment.objects.filter(status="waiting")
    assert {row.held_by for row in waiting} == {"throttled"}
    assert len({row.due_at for row in waiting}) == 4
    assert Message.objects.count() == 1
    for _ in range(10):
        at += 30 * SECOND
        advance(at)
    assert sorted(mail["To"] for mail in box.messages) == [f"p{n}@gmail.com" for n in range(5)]
    assert set(Message.objects.values_list("status", flat=True)) == {"sent"}


@pytest.mark.django_db
def test_b80_past_its_moment_it_says_that_the_pace_held_it(
    installation: Installation, settings: Any, box: MoodyMailbox
) -> None:
    set_to(settings, DAILY_MAXIMUM={"email": 1})
    journey = publish(installation, message("first"))
    about = Signal.about
    Signal.about = lambda self, row: About(expires_at=NOW + HOUR)  # type: ignore[method-assign]
    try:
        for number, profile in enumerate(people(installation, 2)):
            come_in(journey, profile, f"object-{number}")
        advance(NOW)
        (waits,) = Enrollment.objects.filter(status="waiting")
        assert waits.due_at == NOW + HOUR
        advance(NOW + HOUR)
    finally:
        Signal.about = about  # type: ignore[method-assign]
    assert len(box.messages) == 1
    assert list(Message.objects.order_by("pk").values_list("status", "reason")) == [
        ("sent", ""),
        ("not_sent", "throttled"),
    ]


@pytest.mark.django_db
def test_b80_a_try_again_does_not_count_the_time_in_the_queue(
    installation: Installation, settings: Any, box: MoodyMailbox
) -> None:
    set_to(settings, PACE={"email": (1, HOUR)})
    journey = publish(installation, message("first"))
    for number, profile in enumerate(people(installation, 2)):
        come_in(journey, profile, f"object-{number}")
    advance(NOW)
    second = Enrollment.objects.get(status="waiting")
    assert (second.due_at, second.queue) == (NOW + 2 * HOUR, "email")
    box.recipient_answer = "450 busy"
    for wait in (timedelta(0), MINUTE, 3 * MINUTE, 7 * MINUTE):
        Pace.objects.update(free_at=NOW)
        advance(NOW + 2 * HOUR + wait)
        second.refresh_from_db()
        assert second.due_at == NOW + 2 * HOUR + 2 * wait + MINUTE
    assert len(box.messages) == 1


@pytest.mark.django_db
def test_b80_saleor_that_is_silent_at_somebodys_turn_costs_them_a_minute(
    installation: Installation, settings: Any, box: MoodyMailbox
) -> None:
    set_to(settings, PACE={"email": (1, HOUR)})
    journey = publish(installation, message("first"))
    for number, profile in enumerate(people(installation, 2)):
        come_in(journey, profile, f"object-{number}")
    advance(NOW)
    turn = NOW + 2 * HOUR
    saleor = Saleor()
    saleor.is_down = True
    journeys.advance_due(now=turn, ask=saleor)
    second = Enrollment.objects.get(status="waiting")
    assert (second.due_at, second.held_by) == (turn + MINUTE, "throttled")
    advance(turn + MINUTE)
    assert len(box.messages) == 2


@pytest.mark.django_db
@pytest.mark.parametrize("answer", ["421 4.7.0 slow down", "450 4.7.1 too fast", "452 too many"])
def test_b80_a_provider_that_is_busy_is_left_alone_by_everybody(
    installation: Installation, box: MoodyMailbox, answer: str
) -> None:
    journey = publish(installation, message("first"))
    for number, profile in enumerate(people(installation, 3)):
        come_in(journey, profile, f"object-{number}")
    box.recipient_answer = answer
    advance(NOW)
    # One tried; the others were spared.
    assert Message.objects.count() == 1
    assert Pace.objects.get(key="email").paused_until == NOW + MINUTE
    box.recipient_answer = None
    advance(NOW + 30 * SECOND)
    assert box.messages == []
    advance(NOW + 2 * MINUTE)
    assert len(box.messages) == 3
    assert set(Message.objects.values_list("status", flat=True)) == {"sent"}


@pytest.mark.django_db
@pytest.mark.parametrize("answer", ["452 4.2.2 mailbox full", "450 mailbox busy"])
def test_b80_a_mailbox_that_takes_nothing_slows_nobody_else_down(
    installation: Installation, box: MoodyMailbox, answer: str
) -> None:
    journey = publish(installation, message("first"))
    for number, profile in enumerate(people(installation, 2)):
        come_in(journey, profile, f"object-{number}")
    box.recipient_answer = answer
    advance(NOW)
    assert Message.objects.filter(status="failed").count() == 2
    assert Pace.objects.count() == 0


@pytest.mark.django_db
def test_b80_a_confirmation_waits_for_the_provider_and_is_asked_once(
    installation: Installation, box: MoodyMailbox
) -> None:
    opt_in.subscribe(
        installation=installation,
        address="new@example.com",
        topics=["news"],
        language_code="de",
        country_code="DE",
        now=NOW,
    )
    pace.pause(
        installation_id=installation.pk, delivery_channel="email", until=NOW + MINUTE, now=NOW
    )
    opt_in.send_due(now=NOW)
    assert (Message.objects.count(), box.messages) == (0, [])
    opt_in.send_due(now=NOW + MINUTE)
    opt_in.send_due(now=NOW + 2 * MINUTE)
    assert len(box.messages) == 1


@pytest.mark.django_db
def test_b80_a_worker_waits_for_the_next_place_in_the_pace_if_it_comes_soon(
    installation: Installation,
    settings: Any,
    box: MoodyMailbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_to(settings, PACE={"email": (4, SECOND)})
    journey = publish(installation, message("first"))
    for number, profile in enumerate(people(installation, 3)):
        come_in(journey, profile, f"object-{number}")
    clock = time_machine.travel(NOW, tick=False)
    with clock as moment:
        monkeypatch.setattr(tasks.time, "sleep", lambda seconds: moment.shift(seconds))
        monkeypatch.setattr(journeys, "advance_due", partial(journeys.advance_due, ask=Saleor()))
        tasks.advance_journeys()
    assert len(box.messages) == 3
    # The last of three went with its own place: three quarters of a second after the first.
    last = Message.objects.order_by("-decided_at").first()
    assert last is not None
    assert timedelta(milliseconds=500) <= last.decided_at - NOW <= SECOND


@pytest.mark.django_db
def test_b80_the_next_place_is_found_without_looking_at_all_who_wait(
    installation: Installation,
) -> None:
    with CaptureQueriesContext(connection) as caught:
        queries.next_place(now=NOW, within=timedelta(seconds=30))
    (asked,) = caught.captured_queries
    with connection.cursor() as cursor:
        # So few rows may be sorted just as well: asked is whether the index has their order.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {asked['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "enrollment_throttled" in plan
    assert "Sort" not in plan
