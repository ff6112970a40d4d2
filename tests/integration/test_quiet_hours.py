"""D4 B77: nobody is written to at night where they are; the message waits, is looked at anew, and is never lost.
D5 B76: what waited for the morning keeps to one cap over all journeys and delivery channels."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.core.management import call_command

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EnrollmentStatus,
    MessageStatus,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.events import operations as events
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.triggers import About
from saleor_personalize.models import (
    Enrollment,
    Installation,
    Message,
    Profile,
    email_hash,
)
from saleor_personalize.profiles import consent
from tests.conftest import NOW
from tests.integration.phones import Phones, give_phone
from tests.integration.reminders import Saleor, order_data
from tests.integration.signal_trigger import Signal, come_in, message, publish

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
DAY = timedelta(days=1)
#: Half past ten in the evening in Berlin, in winter; and eight in the morning.
EVENING = datetime(2026, 3, 3, 21, 30, tzinfo=UTC)
MORNING = datetime(2026, 3, 4, 7, 0, tzinfo=UTC)


class Fleeting(Signal):
    """Too late an hour before the night is over."""

    key = "fleeting"

    def about(self, enrollment: Enrollment) -> About:
        return About(expires_at=MORNING - HOUR)


@pytest.fixture(autouse=True)
def shop(installation: Installation, alice: Profile, settings: Any) -> Iterator[None]:
    here = "tests.integration.test_quiet_hours.Fleeting"
    set_to(
        settings,
        TRIGGERS={"signal": "tests.integration.signal_trigger.Signal", "fleeting": here},
        CHANNELS={"push": "tests.integration.phones.Phones"},
        FREQUENCY_CAPS={"*": None},
        QUIET_HOURS={"*": ("22:00", "08:00"), "push": None},
    )
    Signal.over, Signal.entries = set(), []
    Phones.reset()
    mail.outbox = []
    live_in(alice, "Europe/Berlin")
    with time_machine.travel(NOW, tick=False):
        yield


def set_to(settings: Any, **changes: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **changes}


def live_in(profile: Profile, zone: str, country: str = "") -> None:
    Profile.objects.filter(pk=profile.pk).update(
        traits={"time_zone": zone} if zone else {}, country_code=country
    )
    profile.refresh_from_db()


def advance(at: datetime, saleor: Saleor | None = None) -> None:
    journeys.advance_due(now=at, ask=saleor or Saleor())


def the_one() -> Enrollment:
    return Enrollment.objects.get()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# -- whose night it is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "country", "now", "until"),
    [
        # Clocks go back in the night to 5 April, and forward in that to 27 September.
        ("Pacific/Auckland", "", "2026-04-04T09:30", "2026-04-04T20:00"),
        ("Pacific/Auckland", "", "2026-09-26T10:30", "2026-09-26T19:00"),
        ("Pacific/Auckland", "DE", "2026-06-01T10:30", "2026-06-01T20:00"),
        # Forward in the night to 29 March, back in that to 25 October.
        ("Europe/Berlin", "", "2026-03-28T21:30", "2026-03-29T06:00"),
        ("Europe/Berlin", "", "2026-10-24T20:30", "2026-10-25T07:00"),
        # The hour that comes twice, its second time; and just after midnight.
        ("Europe/Berlin", "", "2026-10-25T01:30", "2026-10-25T07:00"),
        ("Europe/Berlin", "", "2026-03-28T23:00", "2026-03-29T06:00"),
        # Only the country is known; nothing is, or nothing that exists: the clock of the shop.
        ("", "DE", "2026-03-28T21:30", "2026-03-29T06:00"),
        ("", "", "2026-06-02T03:00", "2026-06-02T12:00"),
        ("Mars/Base", "", "2026-06-02T03:00", "2026-06-02T12:00"),
        # A country with several clocks says nothing.
        ("", "US", "2026-06-02T03:00", "2026-06-02T12:00"),
    ],
)
def test_d4_b77_it_waits_until_the_night_is_over_where_the_person_is(
    installation: Installation,
    alice: Profile,
    settings: Any,
    zone: str,
    country: str,
    now: str,
    until: str,
) -> None:
    set_to(settings, TIME_ZONE="America/New_York")
    live_in(alice, zone, country)
    come_in(publish(installation, message("first")), alice, at=at(now))
    advance(at(now))
    assert mail.outbox == []
    row = the_one()
    assert (row.status, row.held_by, row.due_at) == ("waiting", "quiet_hours", at(until))
    assert not Message.objects.exists()
    advance(at(until) - SECOND)
    assert mail.outbox == []
    advance(at(until))
    assert len(mail.outbox) == 1
    assert the_one().status == EnrollmentStatus.DONE
    advance(at(until) + DAY)
    assert len(mail.outbox) == 1


def test_d4_b77_where_a_country_has_several_clocks_that_of_their_device_counts(
    installation: Installation, alice: Profile
) -> None:
    live_in(alice, "", "US")
    Profile.objects.filter(pk=alice.pk).update(time_zone="America/Los_Angeles")
    midnight, morning = at("2026-06-02T07:00"), at("2026-06-02T15:00")
    come_in(publish(installation, message("first")), alice, at=midnight)
    advance(midnight)
    assert (the_one().held_by, the_one().due_at, mail.outbox) == ("quiet_hours", morning, [])
    advance(morning)
    assert len(mail.outbox) == 1


@pytest.mark.parametrize("now", ["2026-03-03T20:59", "2026-03-04T07:00", "2026-03-03T12:00"])
def test_d4_b77_by_day_it_goes_at_once(
    installation: Installation, alice: Profile, now: str
) -> None:
    come_in(publish(installation, message("first")), alice, at=at(now))
    advance(at(now))
    assert len(mail.outbox) == 1


def test_d4_b77_each_delivery_channel_has_nights_of_its_own(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    """A push may come here at any time; what it falls back to may not."""
    set_to(settings, QUIET_HOURS={"email": ("22:00", "08:00"), "push": None})
    give_phone(alice)
    allow(alice, DeliveryChannel.PUSH)
    step = message("first", delivery_channel="push", fallback={"to": "email", "after": "2 hours"})
    come_in(publish(installation, step), alice, at=EVENING)
    advance(EVENING)
    assert len(Phones.taken) == 1
    advance(EVENING + 2 * HOUR)
    assert (mail.outbox, the_one().due_at) == ([], MORNING)
    advance(MORNING)
    assert len(mail.outbox) == 1


def test_d4_b77_the_shop_sees_who_waits_for_the_morning(
    installation: Installation, alice: Profile
) -> None:
    come_in(publish(installation, message("first")), alice, at=EVENING)
    advance(EVENING)
    out = io.StringIO()
    call_command("personalize_journeys", "waiting", stdout=out)
    assert "held_by=quiet_hours" in out.getvalue()
    assert f"due_at={MORNING}" in out.getvalue()


# -- looked at anew -------------------------------------------------------------------------------------------


def allow(
    profile: Profile, channel: DeliveryChannel, state: ConsentState = ConsentState.GRANTED
) -> None:
    consent.record(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=channel,
        state=state,
        source="test",
        now=EVENING + HOUR,
    )


def buys(alice: Profile) -> None:
    data = order_data(email="alice@example.com", at=EVENING + HOUR)
    ids = events.record_orders(installation=alice.installation, data=[data], now=data.placed_at)
    journeys.follow_orders(installation=alice.installation, ids=ids, now=data.placed_at)


def refuses(alice: Profile) -> None:
    allow(alice, DeliveryChannel.EMAIL, ConsentState.DENIED)


def bounces(alice: Profile) -> None:
    consent.suppress(
        installation=alice.installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=email_hash("alice@example.com"),
        reason=SuppressionReason.HARD_BOUNCE,
        now=EVENING + HOUR,
    )


def is_sold_out(alice: Profile) -> None:
    Signal.over = {"object-1"}


def pauses(alice: Profile) -> None:
    Profile.objects.filter(pk=alice.pk).update(paused_until=MORNING + DAY)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (buys, "ordered"),
        (refuses, "no_consent"),
        (bounces, "suppressed"),
        (is_sold_out, "checkout_empty"),
        (pauses, "paused"),
    ],
)
def test_d4_b77_what_changed_in_the_night_counts_in_the_morning(
    installation: Installation, alice: Profile, happens: Callable[[Profile], None], reason: str
) -> None:
    come_in(publish(installation, message("first"), exits=["sold_out"]), alice, at=EVENING)
    advance(EVENING)
    assert the_one().due_at == MORNING
    happens(alice)
    advance(MORNING)
    advance(MORNING + DAY)
    assert mail.outbox == []
    (told,) = Message.objects.all()
    assert (told.status, told.reason) == (MessageStatus.NOT_SENT, reason)


def test_d4_b77_an_order_that_only_saleor_knows_in_the_morning_keeps_it_from_going(
    installation: Installation, alice: Profile
) -> None:
    come_in(publish(installation, message("first")), alice, at=EVENING)
    advance(EVENING)
    advance(MORNING, Saleor(ordered={"orders"}))
    assert mail.outbox == []
    assert Message.objects.get().reason == "ordered"


def test_d4_b77_whoever_flew_west_meanwhile_sleeps_on(
    installation: Installation, alice: Profile
) -> None:
    come_in(publish(installation, message("first")), alice, at=EVENING)
    advance(EVENING)
    live_in(alice, "America/New_York")
    advance(MORNING)
    assert (mail.outbox, the_one().due_at) == ([], MORNING + 6 * HOUR)
    advance(MORNING + 6 * HOUR)
    assert len(mail.outbox) == 1


def test_d4_b77_what_is_too_late_by_the_morning_is_told_with_its_reason(
    installation: Installation, alice: Profile
) -> None:
    come_in(publish(installation, message("first"), trigger="fleeting"), alice, at=EVENING)
    advance(EVENING)
    advance(MORNING)
    assert mail.outbox == []
    (told,) = Message.objects.all()
    assert (told.status, told.reason) == (MessageStatus.NOT_SENT, "quiet_hours")
    assert the_one().status == EnrollmentStatus.EXITED


# -- one cap over all -------------------------------------------------------------------------------------------


def test_d5_b76_six_flows_that_waited_for_the_morning_keep_to_one_cap_over_all_ways(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    """Two a day over all: the two most important ones, and the others on the days after. None is lost, none comes
    twice."""
    set_to(
        settings,
        FREQUENCY_CAPS={"*": [(2, DAY)]},
        ARBITRATION_WINDOW=10 * MINUTE,
        QUIET_HOURS={"*": ("22:00", "08:00"), "push": ("22:00", "08:00")},
    )
    give_phone(alice)
    allow(alice, DeliveryChannel.PUSH)
    for number in range(6):
        channel = "push" if number % 2 else "email"
        journey = publish(
            installation,
            message("first", delivery_channel=channel),
            key=f"flow_{number}",
            priority=number * 10,
        )
        come_in(journey, alice, f"object-{number}", at=EVENING)
    advance(EVENING)
    assert (len(mail.outbox), len(Phones.taken)) == (0, 0)

    def went() -> list[str]:
        rows = Message.objects.filter(status=MessageStatus.SENT).order_by("decided_at", "pk")
        return [row.idempotency_key.split(":")[0] for row in rows]

    moment = EVENING
    days: list[list[str]] = []
    for day in range(3):
        before = len(went())
        while moment < MORNING + day * DAY + 12 * HOUR:
            moment += 5 * MINUTE
            advance(moment)
            advance(moment)
        days.append(went()[before:])
    assert days == [["flow_5", "flow_4"], ["flow_3", "flow_2"], ["flow_1", "flow_0"]]
    assert (len(mail.outbox), len(Phones.taken)) == (3, 3)
    for row in Message.objects.filter(status=MessageStatus.SENT):
        local = row.decided_at + HOUR
        assert 8 <= local.hour < 22
    assert not Enrollment.objects.filter(status=EnrollmentStatus.WAITING).exists()
