"""B78: a message goes at the hour in which its person most likely looks; never too late, never in quiet hours."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import time_machine
from django.core import mail
from django.core.management import call_command

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EnrollmentStatus,
    MessageEventKind,
    MessageStatus,
    Purpose,
    TimeReason,
)
from saleor_personalize.events import operations as events
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.triggers import About
from saleor_personalize.messaging import outcomes, rhythms
from saleor_personalize.ml import hours as curves
from saleor_personalize.models import (
    Enrollment,
    Installation,
    Message,
    Profile,
    Rhythm,
    Session,
)
from saleor_personalize.profiles import consent
from saleor_personalize.tasks import messaging as tasks
from tests.conftest import NOW, make_profile
from tests.integration.phones import give_phone
from tests.integration.reminders import Saleor, order_data
from tests.integration.signal_trigger import Signal, come_in, message, publish

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BERLIN = "Europe/Berlin"
TIMED = message("first", send_at="best")


class Fleeting(Signal):
    """Too late so many hours after it happened as the entry says."""

    key = "fleeting"

    def about(self, enrollment: Enrollment) -> About:
        hours = enrollment.context["hours"]
        return About(expires_at=enrollment.occurred_at + hours * HOUR)


@pytest.fixture(autouse=True)
def shop(installation: Installation, alice: Profile, settings: Any) -> Iterator[None]:
    set_to(
        settings,
        TRIGGERS={
            "signal": "tests.integration.signal_trigger.Signal",
            "fleeting": "tests.integration.test_best_hour.Fleeting",
        },
        FREQUENCY_CAPS={"*": None},
        QUIET_HOURS={"*": None},
    )
    mail.outbox = []
    live_in(alice, BERLIN)
    with time_machine.travel(NOW, tick=False):
        yield


def set_to(settings: Any, **changes: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **changes}


def live_in(profile: Profile, zone: str) -> None:
    Profile.objects.filter(pk=profile.pk).update(traits={"time_zone": zone})
    profile.refresh_from_db()


def curve_with(**shares: float) -> list[float]:
    """A curve that is flat, but for some hours of every day: h19=9.0 is nine times as much."""
    flat = [shares.get(f"h{hour % 24}", 1.0) for hour in range(168)]
    return [one / sum(flat) for one in flat]


def knows(
    installation: Installation,
    *,
    delivery_channel: str = "email",
    personal: bool = False,
    strength: float = 5.0,
    **shares: float,
) -> Rhythm:
    return Rhythm.objects.create(
        installation=installation,
        delivery_channel=delivery_channel,
        learnt_at=NOW,
        curve=curve_with(**shares),
        is_personal=personal,
        strength=strength,
    )


def visit(profile: Profile, *times: datetime) -> None:
    Session.objects.bulk_create(
        Session(
            installation_id=profile.installation_id,
            profile=profile,
            session_id=f"visit-{at.isoformat()}",
            started_at=at,
            last_seen_at=at,
        )
        for at in times
    )


def evenings(hour: int, count: int = 20, zone: str = BERLIN) -> list[datetime]:
    """Visits at an hour of the wall, on each of the days before."""
    today = NOW.astimezone(ZoneInfo(zone)).replace(hour=hour, minute=5)
    return [(today - n * DAY).astimezone(UTC) for n in range(1, count + 1)]


def advance(at: datetime) -> None:
    journeys.advance_due(now=at, ask=Saleor())


def the_one() -> Enrollment:
    return Enrollment.objects.get()


def within(profile: Profile) -> timedelta:
    """The minute of the hour at which a person is written to."""
    return profile.pk % 50 * MINUTE


def sent() -> Message:
    return Message.objects.get(status=MessageStatus.SENT)


# -- when a message goes ----------------------------------------------------------------------------------


def test_b78_it_waits_for_the_hour_at_which_most_people_look(
    installation: Installation, alice: Profile
) -> None:
    knows(installation, h19=9.0)
    come_in(publish(installation, TIMED), alice)
    advance(NOW)
    # 19:00 in Berlin is 18:00 in UTC, in winter.
    at = NOW + 6 * HOUR + within(alice)
    assert (mail.outbox, the_one().due_at, the_one().held_by) == ([], at, "")
    advance(at - MINUTE)
    assert mail.outbox == []
    advance(at)
    assert len(mail.outbox) == 1
    assert sent().content["timed"] == TimeReason.SHOP_HOURS
    assert the_one().status == EnrollmentStatus.DONE
    assert the_one().branches == {}


def test_b78_a_persons_own_hours_come_before_those_of_all(
    installation: Installation, alice: Profile
) -> None:
    knows(installation, personal=True, h19=9.0)
    visit(alice, *evenings(7))
    come_in(publish(installation, TIMED), alice)
    advance(NOW)
    assert the_one().due_at == NOW + 18 * HOUR + within(alice)
    advance(the_one().due_at)
    assert sent().content["timed"] == TimeReason.OWN_HOURS


def test_b78_one_visit_is_no_habit(installation: Installation, alice: Profile) -> None:
    knows(installation, personal=True, strength=50.0, h19=9.0)
    visit(alice, *evenings(7, count=1))
    come_in(publish(installation, TIMED), alice)
    advance(NOW)
    assert the_one().due_at == NOW + 6 * HOUR + within(alice)


@pytest.mark.parametrize("is_proved", [True, False])
def test_b78_own_hours_count_only_where_they_proved_better_and_of_who_lets_us(
    installation: Installation, alice: Profile, is_proved: bool
) -> None:
    knows(installation, personal=is_proved, h19=9.0)
    visit(alice, *evenings(7))
    if is_proved:
        consent.record(
            profile=alice,
            purpose=Purpose.PROFILING,
            delivery_channel="",
            state=ConsentState.DENIED,
            source="test",
            now=NOW,
        )
    come_in(publish(installation, TIMED), alice)
    advance(NOW)
    assert the_one().due_at == NOW + 6 * HOUR + within(alice)


def test_b78_opens_and_clicks_of_the_person_teach_and_those_of_machines_do_not(
    installation: Installation, alice: Profile
) -> None:
    knows(installation, personal=True, h19=9.0)
    for number, at in enumerate(evenings(7)):
        row = Message.objects.create(
            installation=installation,
            profile=alice,
            idempotency_key=f"old:{number}",
            template="welcome",
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            status=MessageStatus.SENT,
            decided_at=at,
        )
        for hours, is_machine in ((0, False), (6, True), (6, True)):
            outcomes.record(
                message=row,
                kind=MessageEventKind.OPENED,
                at=at + hours * HOUR,
                now=at + hours * HOUR,
                is_machine=is_machine,
            )
    come_in(publish(installation, TIMED), alice)
    advance(NOW)
    assert the_one().due_at == NOW + 18 * HOUR + within(alice)


def test_b78_the_clock_is_that_of_the_wall_also_after_it_changed(
    installation: Installation, alice: Profile
) -> None:
    """At 19:00 in winter is at 19:00 in summer, an hour earlier in UTC."""
    knows(installation, personal=True)
    visit(alice, *evenings(19))
    journey = publish(installation, TIMED)
    summer = datetime(2026, 3, 30, 12, 0, tzinfo=UTC)
    come_in(journey, alice, at=summer)
    advance(summer)
    assert the_one().due_at == summer + 5 * HOUR + within(alice)


def test_b78_of_an_unknown_place_it_is_the_clock_of_the_shop(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, TIME_ZONE="Pacific/Auckland")
    live_in(alice, "Mars/Base")
    knows(installation, h19=9.0)
    come_in(publish(installation, TIMED), alice)
    advance(NOW)
    # 19:00 in Auckland is 6:00 in UTC, in their summer.
    assert the_one().due_at == NOW + 18 * HOUR + within(alice)


@pytest.mark.parametrize(
    ("hours", "waits"),
    [
        # The best hour is six hours off; an hour before it is too late is the last moment.
        (24, True),
        (8, True),
        (6, False),
        (1, False),
    ],
)
def test_b78_never_later_than_the_deadline(
    installation: Installation, alice: Profile, hours: int, waits: bool
) -> None:
    knows(installation, h19=9.0)
    journey = publish(installation, TIMED, trigger="fleeting")
    come_in(journey, alice, hours=hours)
    advance(NOW)
    if waits:
        assert NOW < the_one().due_at <= NOW + (hours - 1) * HOUR
        advance(the_one().due_at)
    assert len(mail.outbox) == 1
    assert sent().content["timed"] == (TimeReason.SHOP_HOURS if waits else TimeReason.NO_BETTER)


def test_b78_no_longer_than_the_shop_wants_to_wait(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, SEND_TIME_WINDOW=3 * HOUR)
    knows(installation, h19=9.0, h15=2.0)
    come_in(publish(installation, TIMED), alice)
    advance(NOW)
    assert the_one().due_at == NOW + 2 * HOUR + within(alice)


def test_b78_b77_never_into_quiet_hours(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    """Three in the morning is when they are up, and nobody is written to then."""
    set_to(settings, QUIET_HOURS={"*": ("21:00", "08:00")})
    knows(installation, personal=True, h10=2.0)
    visit(alice, *evenings(3))
    come_in(publish(installation, TIMED), alice)
    advance(NOW)
    due = the_one().due_at.astimezone(ZoneInfo(BERLIN))
    assert (due.day, due.hour) == (3, 10)
    advance(the_one().due_at)
    assert len(mail.outbox) == 1


def test_b78_without_knowledge_and_without_a_better_hour_it_goes_at_once(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    journey = publish(installation, TIMED)
    come_in(journey, alice)
    advance(NOW)
    assert sent().content["timed"] == TimeReason.UNKNOWN
    knows(installation, h13=9.0)
    come_in(journey, alice, "object-2", at=NOW + 2 * HOUR - 2 * HOUR)
    consent.record(
        profile=bob,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=ConsentState.GRANTED,
        source="test",
        now=NOW,
    )
    live_in(bob, BERLIN)
    come_in(journey, bob, "object-3")
    advance(NOW)
    # It is 13:00 in Berlin.
    assert Message.objects.get(profile=bob).content["timed"] == TimeReason.NO_BETTER


def test_b78_what_holds_it_back_at_its_hour_begins_no_new_search(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    knows(installation, h19=9.0)
    come_in(publish(installation, TIMED), alice)
    advance(NOW)
    due = the_one().due_at
    journeys.stop_sends(installation=installation, now=due)
    advance(due)
    journeys.resume_sends(installation=installation)
    advance(due + 3 * HOUR)
    assert len(mail.outbox) == 1


def test_b78_d4_who_buys_meanwhile_gets_nothing(installation: Installation, alice: Profile) -> None:
    knows(installation, h19=9.0)
    come_in(publish(installation, TIMED), alice)
    advance(NOW)
    data = order_data(email="alice@example.com", at=NOW + HOUR)
    ids = events.record_orders(installation=installation, data=[data], now=data.placed_at)
    journeys.follow_orders(installation=installation, ids=ids, now=data.placed_at)
    advance(NOW + 7 * HOUR)
    assert mail.outbox == []
    assert Message.objects.get().reason == "ordered"


def test_b78_each_message_of_a_journey_finds_an_hour_of_its_own(
    installation: Installation, alice: Profile
) -> None:
    knows(installation, h19=9.0)
    come_in(
        publish(
            installation, TIMED, {"wait": {"for": "2 hours"}}, message("second", send_at="best")
        ),
        alice,
    )
    advance(NOW)
    first = the_one().due_at
    advance(first)
    advance(first + 2 * HOUR)
    assert the_one().due_at == first + DAY
    advance(first + DAY)
    assert len(mail.outbox) == 2


def test_b78_b76_what_an_order_needs_waits_for_no_hour(
    installation: Installation, alice: Profile
) -> None:
    knows(installation, h19=9.0)
    needed = message("first", template="thanks", send_at="best")
    come_in(publish(installation, needed, topic="orders", goals=[]), alice)
    advance(NOW)
    assert len(mail.outbox) + Message.objects.filter(reason="template_incomplete").count() == 1
    assert the_one().status != EnrollmentStatus.WAITING


def test_b78_another_way_goes_after_its_time_and_waits_for_no_hour_again(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, CHANNELS={"push": "tests.integration.phones.Phones"})
    knows(installation, h19=9.0)
    knows(installation, delivery_channel="push", h15=9.0)
    give_phone(alice)
    consent.record(
        profile=alice,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.PUSH,
        state=ConsentState.GRANTED,
        source="test",
        now=NOW,
    )
    fallback = {"to": "email", "after": "1 hour"}
    timed = message("first", delivery_channel="push", send_at="best", fallback=fallback)
    come_in(publish(installation, timed), alice)
    advance(NOW)
    # 15:00 in Berlin, by the curve of push.
    due = NOW + 2 * HOUR + within(alice)
    assert the_one().due_at == due
    advance(due)
    advance(due + HOUR)
    rows = Message.objects.filter(status=MessageStatus.SENT).order_by("pk")
    assert [(row.delivery_channel, row.content.get("timed")) for row in rows] == [
        ("push", TimeReason.SHOP_HOURS),
        ("email", None),
    ]


def test_b78_messages_of_one_hour_do_not_leave_all_at_once(installation: Installation) -> None:
    knows(installation, h19=9.0)
    moments = {
        rhythms.best_moment(
            profile=make_profile(installation, email=f"shopper{n}@example.com"),
            delivery_channel=DeliveryChannel.EMAIL,
            expires_at=None,
            now=NOW,
        ).at
        for n in range(20)
    }
    assert len(moments) == 20
    assert {at.hour for at in moments} == {19}


def test_b78_a_definition_says_so_by_a_word_that_is_checked(installation: Installation) -> None:
    with pytest.raises(definitions.InvalidJourney, match="one of once, best is needed") as refused:
        publish(installation, message("first", send_at="noon"))
    assert refused.value.faults[0].path == "steps[0].message.send_at"


# -- what is learnt -----------------------------------------------------------------------------------------


def people_who_come(
    installation: Installation, hour_of: Callable[[int, int], int], *, zone: str = BERLIN
) -> list[Profile]:
    """Sixty people with a visit every other day of the last four months."""
    made = []
    for number in range(60):
        profile = make_profile(installation, anonymous_id=f"visitor-{number}")
        live_in(profile, zone)
        made.append(profile)
        midnight = NOW.astimezone(ZoneInfo(zone)).replace(hour=0)
        visit(
            profile,
            *(
                (midnight - day * DAY + hour_of(number, day) * HOUR).astimezone(UTC)
                for day in range(2, 120, 2)
            ),
        )
    return made


def test_b78_own_hours_are_gone_by_where_people_have_some(installation: Installation) -> None:
    people_who_come(installation, lambda person, day: 7 if person % 2 else 20)
    rhythm = next(row for row in learn(installation) if row.delivery_channel == "email")
    assert rhythm.is_personal
    assert rhythm.figures["people"] == 60
    # Of two hours the right one is known: about log 2 better.
    assert 0.6 < rhythm.figures["gain"] < 0.75
    assert rhythm.figures["reactions"] == 60 * 59
    top = sorted(range(168), key=lambda hour: -rhythm.curve[hour])[:14]
    assert {hour % 24 for hour in top} == {7, 20}
    assert sum(rhythm.curve) == pytest.approx(1, abs=1e-3)


def test_b78_own_hours_are_not_gone_by_where_everybody_comes_as_chance_has_it(
    installation: Installation,
) -> None:
    people_who_come(installation, lambda person, day: (person * 7 + day * 13) % 24)
    rhythm = next(row for row in learn(installation) if row.delivery_channel == "email")
    assert rhythm.curve
    assert not rhythm.is_personal


def test_b78_hours_are_learnt_by_the_clock_where_people_are(installation: Installation) -> None:
    people_who_come(installation, lambda person, day: 19, zone="Pacific/Auckland")
    rhythm = next(row for row in learn(installation) if row.delivery_channel == "email")
    assert max(range(168), key=lambda hour: rhythm.curve[hour]) % 24 == 19


def test_b78_few_reactions_teach_nothing_and_of_who_refused_none_is_looked_at(
    installation: Installation,
) -> None:
    made = people_who_come(installation, lambda person, day: 7)
    for profile in made[:-5]:
        consent.record(
            profile=profile,
            purpose=Purpose.PROFILING,
            delivery_channel="",
            state=ConsentState.DENIED,
            source="test",
            now=NOW,
        )
    rhythm = next(row for row in learn(installation) if row.delivery_channel == "email")
    assert (rhythm.curve, rhythm.is_personal) == ([], False)
    assert rhythm.figures == {"reactions": 5 * 59}


def test_b71_b78_how_much_people_look_is_counted_per_delivery_channel_without_machines(
    installation: Installation, alice: Profile, other_installation: Installation, dave: Profile
) -> None:
    for number, (profile, channel, kind, is_machine) in enumerate(
        [
            (alice, "email", MessageEventKind.OPENED, False),
            (alice, "email", MessageEventKind.OPENED, True),
            (alice, "email", None, False),
            (alice, "push", MessageEventKind.DISMISSED, False),
            (dave, "email", MessageEventKind.OPENED, False),
        ]
    ):
        row = Message.objects.create(
            installation=profile.installation,
            profile=profile,
            idempotency_key=f"old:{number}",
            template="welcome",
            purpose=Purpose.MARKETING,
            delivery_channel=channel,
            status=MessageStatus.SENT,
            decided_at=NOW - 2 * DAY,
        )
        if kind:
            outcomes.record(message=row, kind=kind, at=NOW, now=NOW, is_machine=is_machine)
    found = {row.delivery_channel: (row.sent, row.seen) for row in learn(installation)}
    assert (found["email"], found["push"]) == ((3, 1), (1, 0))
    assert not Rhythm.objects.of(other_installation).exists()


def test_b78_beat_learns_every_week_and_a_command_shows_the_figures(
    installation: Installation,
) -> None:
    people_who_come(installation, lambda person, day: 7 if person % 2 else 20)
    assert command("show") == "Nothing is learnt yet: run `saleor-personalize rhythms learn`.\n"
    assert tasks.learn_rhythms() == Rhythm.objects.count() > 0
    shown = command("show")
    line = next(one for one in shown.splitlines() if one.startswith("email: "))
    assert line.startswith("email: 0 of 0 messages looked at (-); most of 3540 reactions ")
    assert "; by own hours (gain +" in line
    assert line.endswith(", 60 people)")
    told = json.loads(command("learn", "--json"))
    email = next(one for one in told if one["deliveryChannel"] == "email")
    assert (email["isPersonal"], len(email["curve"])) == (True, 168)


def test_b78_nothing_is_locked_while_it_learns(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two million reactions take their time, and are numbers by then, not rows."""
    people_who_come(installation, lambda person, day: 7)
    said: list[str] = []
    learnt = curves.learn

    def noted(**given: Any) -> Any:
        said.append("learn")
        assert all(type(each) is np.ndarray for each in given.values())
        return learnt(**given)

    monkeypatch.setattr(curves, "learn", noted)
    monkeypatch.setattr(rhythms, "lock", lambda *_: said.append("lock"))
    rows = learn(installation)
    assert said == ["learn"] * len(rows) + ["lock"]
    monkeypatch.setattr(rhythms, "_MOST", 500)
    assert learn(installation)[0].figures["reactions"] == 500


def test_b78_the_fault_of_one_shop_stops_no_other(
    installation: Installation,
    other_installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted, address = rhythms._counts, "alice@example.com"

    def faulty(of: Installation, now: datetime) -> Any:
        if of == installation:
            raise ValueError(address)
        return counted(of, now)

    monkeypatch.setattr(rhythms, "_counts", faulty)
    assert tasks.learn_rhythms() == Rhythm.objects.of(other_installation).count() > 0
    assert not Rhythm.objects.of(installation).exists()
    assert (
        f"The rhythms of installation {installation.pk} were not learnt: ValueError" in caplog.text
    )
    assert address not in caplog.text


def learn(installation: Installation) -> list[Rhythm]:
    return rhythms.learn(installation=installation, now=NOW)


def command(*words: str) -> str:
    out = io.StringIO()
    call_command("personalize_rhythms", *words, stdout=out)
    return out.getvalue()
