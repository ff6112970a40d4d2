"""Steps, goals, versions, re-entry, switches and arbitration of journeys, on PostgreSQL and the real scheduler."""

import contextlib
import json
import re
import threading
from collections import Counter
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection

from saleor_personalize.enums import (
    ConsentState,
    EnrollmentStatus,
    EventSource,
    ExperimentKind,
    JourneySource,
    MessageStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.events import operations as events
from saleor_personalize.exceptions import ChannelError, UnknownAlias
from saleor_personalize.experiments import drawing
from saleor_personalize.experiments import operations as experiments
from saleor_personalize.journeys import definitions, splitting
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutOrders
from saleor_personalize.journeys.outside import Outside
from saleor_personalize.journeys.triggers import Entry, OrderChanged, Subject
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage, SendResult
from saleor_personalize.models import (
    Enrollment,
    Event,
    Installation,
    Journey,
    Message,
    OutgoingDelivery,
    OutgoingWebhook,
    Profile,
    Segment,
    SegmentMembership,
)
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.reminders import Saleor, order_data
from tests.integration.signal_trigger import MESSAGE, Signal, come_in, message, publish

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TRIGGERS = {
    "signal": "tests.integration.signal_trigger.Signal",
    "browsed": "tests.integration.signal_trigger.Browsed",
    "viewed": "tests.integration.signal_trigger.Viewed",
}


@pytest.fixture(autouse=True)
def shop(installation: Installation, alice: Profile, settings: Any) -> None:
    set_to(settings, TRIGGERS=TRIGGERS, FREQUENCY_CAPS={"*": None})
    Signal.over, Signal.entries = set(), []
    mail.outbox = []
    SALEOR.ordered, SALEOR.asked, SALEOR.is_down = set(), [], False


def set_to(settings: Any, **changes: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **changes}


#: What Saleor answers just before a message.
SALEOR = Saleor()


def advance(at: datetime) -> None:
    journeys.advance_due(now=at, ask=SALEOR)


def sent() -> list[str]:
    """Ids of the steps whose messages went, in order."""
    rows = Message.objects.filter(status=MessageStatus.SENT).order_by("pk")
    assert len(rows) == len(mail.outbox)
    return [row.idempotency_key.split(":")[2] for row in rows]


def not_sent() -> dict[str, str]:
    rows = Message.objects.filter(status=MessageStatus.NOT_SENT)
    return {row.idempotency_key.split(":")[2]: row.reason for row in rows}


def the_one() -> Enrollment:
    return Enrollment.objects.select_related("version").get()


def order(installation: Installation, **changes: Any) -> None:
    data = order_data(**{"email": "alice@example.com", **changes})
    ids = events.record_orders(installation=installation, data=[data], now=data.placed_at)
    journeys.follow_orders(installation=installation, ids=ids, now=data.placed_at)


def happened(profile: Profile, type_: str, at: datetime, **properties: Any) -> None:
    Event.objects.create(
        installation=profile.installation,
        profile=profile,
        event_id=f"{type_}-{at}",
        type=type_,
        occurred_at=at,
        received_at=at,
        source=EventSource.STOREFRONT,
        properties=properties,
    )
    journeys.enter_due(now=at)


# -- steps -------------------------------------------------------------------------------------------


def test_b60_messages_and_waits_follow_one_another(
    installation: Installation, alice: Profile
) -> None:
    journey = publish(
        installation, MESSAGE, {"wait": {"for": "1 day"}}, message("second"), message("third")
    )
    come_in(journey, alice)
    advance(NOW)
    assert sent() == ["first"]
    assert the_one().due_at == NOW + DAY
    advance(NOW + DAY - timedelta(seconds=1))
    assert sent() == ["first"]
    advance(NOW + DAY)
    assert sent() == ["first", "second", "third"]
    assert the_one().status == EnrollmentStatus.DONE


@pytest.mark.parametrize(("buys", "way"), [(True, "thanks"), (False, "please")])
def test_b60_wait_for_goes_one_way_or_the_other(
    installation: Installation, alice: Profile, buys: bool, way: str
) -> None:
    step = {"event": "ordered", "for": "2 days", "then": [message("thanks")], "otherwise": [message("please")]}  # fmt: skip
    journey = publish(installation, MESSAGE, {"wait_for": step}, message("after"), goals=[])
    come_in(journey, alice)
    advance(NOW)
    advance(NOW + HOUR)
    assert the_one().waits_for == "ordered"
    if buys:
        order(installation, at=NOW + DAY)
        advance(NOW + DAY)
    else:
        advance(NOW + DAY)
        assert sent() == ["first"]
        advance(NOW + HOUR + 2 * DAY)
    assert sent() == ["first", way, "after"]
    assert the_one().status == EnrollmentStatus.DONE


def or_please(*before: Any) -> dict[str, Any]:
    """Thanks for whoever orders within two days, and a request for the others."""
    return {
        "wait_for": {
            "event": "ordered",
            "for": "2 days",
            "then": [message("thanks")],
            "otherwise": [*before, message("please")],
        }
    }


def test_d2_b60_an_order_turns_who_went_otherwise_back_to_thanks(
    installation: Installation, alice: Profile
) -> None:
    """The time was over, but what was to be said then has not been said when the order comes."""
    step = or_please({"wait": {"for": "9 hours"}})
    come_in(publish(installation, step, goals=[]), alice)
    advance(NOW)
    advance(NOW + 2 * DAY)
    order(installation, at=NOW + 2 * DAY + HOUR)
    advance(NOW + 2 * DAY + HOUR)
    assert sent() == ["thanks"]
    assert not_sent() == {"please": "ordered"}
    assert the_one().status == EnrollmentStatus.DONE


def test_d2_b60_an_order_whose_webhook_is_late_is_not_taken_for_none(
    installation: Installation, alice: Profile
) -> None:
    come_in(publish(installation, or_please(), goals=[]), alice)
    advance(NOW)
    SALEOR.ordered = {"orders"}
    advance(NOW + 2 * DAY)
    assert SALEOR.asked == [("orders", "alice@example.com")]
    assert sent() == ["thanks"]
    assert not_sent() == {"please": "ordered"}


def test_d2_the_shop_is_asked_for_every_address_and_account_of_the_person(
    installation: Installation, alice: Profile
) -> None:
    work = make_profile(installation, email="work@example.com", saleor_user="VXNlcjo3")
    Profile.objects.filter(pk=work.pk).update(merged_into=alice)
    come_in(publish(installation, MESSAGE), alice)
    asked: list[object] = []

    def ask(question: object) -> bool:
        asked.append(question)
        return False

    journeys.advance_due(now=NOW, ask=ask)
    (question,) = asked
    assert isinstance(question, AboutOrders)
    assert {question.address, *(address for address, _user in question.others)} == {
        "alice@example.com",
        "work@example.com",
    }
    assert "VXNlcjo3" in {question.user_id, *(user for _address, user in question.others)}


def test_b60_wait_for_hears_of_events_of_the_person(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    step = {"event": "custom:quiz", "for": "2 days", "then": [message("thanks")]}
    come_in(publish(installation, {"wait_for": step}), alice)
    advance(NOW)
    happened(bob, "custom", NOW + HOUR, name="quiz")
    happened(alice, "custom", NOW + HOUR, name="other")
    advance(NOW + HOUR)
    assert sent() == []
    happened(alice, "custom", NOW + 2 * HOUR, name="quiz")
    advance(NOW + 2 * HOUR)
    assert sent() == ["thanks"]


def test_b60_wait_for_hears_of_a_segment_and_of_another_profile_of_the_person(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    segment = Segment.objects.create(
        installation=installation,
        key="vip",
        name="VIP",
        definition={"rule": "order_count", "at_least": 3},
        created_at=NOW,
        updated_at=NOW,
    )
    waits = {"for": "2 days", "then": [message("thanks")]}
    made_vip = publish(installation, {"wait_for": {"event": "segment_entered:vip", **waits}})
    make_consent(bob, ConsentState.GRANTED)
    for profile in (alice, bob):
        come_in(made_vip, profile)
    advance(NOW)
    phone = make_profile(installation, anonymous_id="phone")
    Profile.objects.filter(pk=phone.pk).update(merged_into=alice)
    SegmentMembership.objects.create(
        installation=installation, segment=segment, profile=phone, entered_at=NOW + HOUR
    )
    advance(NOW + HOUR)
    assert sent() == []
    journeys.enter_due(now=NOW + HOUR)
    advance(NOW + HOUR)
    assert sent() == ["thanks"]
    (still,) = Enrollment.objects.filter(status=EnrollmentStatus.WAITING)
    assert (still.profile, still.due_at) == (bob, NOW + 2 * DAY)


def test_b60_a_look_from_a_terminal_does_not_wait_for_the_next_round(
    installation: Installation, alice: Profile
) -> None:
    publish(installation, MESSAGE)
    Signal.entries = [Entry(alice, Subject(), NOW, NOW)]
    with time_machine.travel(NOW, tick=False):
        # Looked at a minute ago: by itself it would be so again in nine.
        Journey.objects.update(looked_at=NOW - timedelta(minutes=1))
        assert journeys.enter_due(now=NOW) == 0
        out = StringIO()
        call_command("personalize_journeys", "look", as_json=True, stdout=out)
    assert json.loads(out.getvalue()) == [{"came_in": 1}]
    assert the_one().profile == alice


def test_b60_a_split_by_rule_asks_the_segments_rules(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    make_consent(bob, ConsentState.GRANTED)
    rule = {"rule": "language", "code": "DE"}
    split = {"by": "rule", "id": "vip", "rule": rule, "then": [message("gold")], "otherwise": [message("others")]}  # fmt: skip
    Profile.objects.filter(pk=alice.pk).update(language_code="DE")
    journey = publish(installation, {"split": split})
    for profile in (alice, bob):
        come_in(journey, profile)
    advance(NOW)
    ways = {row.profile_id: row.branches for row in Enrollment.objects.all()}
    assert ways == {alice.pk: {"vip": "then"}, bob.pk: {"vip": "otherwise"}}
    assert sorted(sent()) == ["gold", "others"]


def test_b60_a_split_by_chance_is_fixed_and_keeps_its_weights(
    installation: Installation, alice: Profile
) -> None:
    step = definitions.Split(
        "random", "half", branches=(definitions.Branch("a", weight=3), definitions.Branch("b"))
    )
    drawn = [splitting.way(step, Enrollment(pk=n, profile=alice), NOW) for n in range(4000)]
    assert drawn == [splitting.way(step, Enrollment(pk=n, profile=alice), NOW) for n in range(4000)]
    assert Counter(drawn)["a"] == pytest.approx(3000, abs=100)


def test_b60_an_experiment_keeps_a_person_on_one_side_in_every_journey(
    installation: Installation, alice: Profile
) -> None:
    branches = (definitions.Branch("a"), definitions.Branch("b"))
    first = definitions.Split("experiment", "one", experiment="copy", branches=branches)
    other = definitions.Split("experiment", "two", experiment="copy", branches=branches)
    copy = experiments.Test(
        key="copy", kind=ExperimentKind.JOURNEY, arms=(drawing.Arm("a", 1), drawing.Arm("b", 1))
    )
    experiments.begin(tests=[copy], installation=installation, now=NOW)
    people = [make_profile(installation, anonymous_id=f"visitor-{n}") for n in range(20)]
    sides = []
    for number, profile in enumerate(people):
        row = Enrollment(pk=number, profile=profile)
        later = Enrollment(pk=number + 500, profile=profile)
        sides.append(splitting.way(first, row, NOW))
        assert splitting.way(other, later, NOW) == sides[-1]
    assert set(sides) == {"a", "b"}


def test_b60_b109_a_webhook_is_told_once_and_stops_nobody(
    installation: Installation, alice: Profile
) -> None:
    OutgoingWebhook.objects.create(
        installation=installation, alias="erp", url="https://erp.test/", secret="x" * 32,
        events=[], is_active=True, created_at=NOW,
    )  # fmt: skip
    steps = [{"webhook": {"url_alias": "erp"}}, {"webhook": {"url_alias": "gone"}}, MESSAGE]
    come_in(publish(installation, *steps), alice)
    advance(NOW)
    (told,) = OutgoingDelivery.objects.all()
    assert told.data == {
        "journey": "test", "step": "steps[0]", "subjectKind": "thing", "subjectId": "object-1",
    }  # fmt: skip
    assert sent() == ["first"]


def test_b60_exit_ends_it(installation: Installation, alice: Profile) -> None:
    come_in(publish(installation, MESSAGE, "exit", message("never")), alice)
    advance(NOW)
    advance(NOW + HOUR)
    assert sent() == ["first"]
    assert the_one().status == EnrollmentStatus.DONE


# -- goals, exits, re-entry --------------------------------------------------------------------------


def test_b61_an_order_is_the_goal_at_any_step(installation: Installation, alice: Profile) -> None:
    journey = publish(installation, MESSAGE, {"wait": {"for": "1 day"}}, message("second"))
    come_in(journey, alice)
    advance(NOW)
    order(installation, at=NOW + HOUR)
    assert (the_one().status, the_one().exit_reason) == ("reached", "ordered")
    advance(NOW + 2 * DAY)
    assert sent() == ["first"]
    assert not_sent() == {"second": "ordered"}


def test_b61_an_order_that_nobody_told_of_is_seen_at_the_next_step(
    installation: Installation, alice: Profile
) -> None:
    journey = publish(installation, MESSAGE, {"wait": {"for": "1 day"}}, message("second"))
    come_in(journey, alice)
    advance(NOW)
    events.record_orders(
        installation=installation, data=[order_data(email="alice@example.com")], now=NOW
    )
    advance(NOW + DAY)
    assert sent() == ["first"]
    assert not_sent() == {"second": "ordered"}


def test_d2_the_scheduler_asks_the_shop_for_orders_whatever_the_trigger_forgets(
    installation: Installation, alice: Profile
) -> None:
    """Saleor's webhook is ten minutes late; the trigger asks nothing at all."""
    come_in(publish(installation, MESSAGE), alice)
    SALEOR.ordered = {"orders"}
    advance(NOW)
    assert SALEOR.asked == [("orders", "alice@example.com")]
    assert (the_one().status, not_sent()) == ("reached", {"first": "ordered"})
    assert mail.outbox == []


def test_d2_unverified_is_unsent(installation: Installation, alice: Profile) -> None:
    come_in(publish(installation, {"wait": {"for": "1 hour"}}, MESSAGE), alice)
    SALEOR.is_down = True
    advance(NOW)
    # Nobody is asked about before a message is next.
    assert SALEOR.asked == []
    advance(NOW + HOUR)
    assert (sent(), the_one().due_at) == ([], NOW + HOUR + timedelta(minutes=1))
    SALEOR.is_down = False
    advance(NOW + 2 * HOUR)
    assert sent() == ["first"]


def test_d2_a_message_after_an_order_asks_for_none(
    installation: Installation, alice: Profile
) -> None:
    come_in(publish(installation, MESSAGE, goals=[]), alice)
    advance(NOW)
    assert (SALEOR.asked, sent()) == ([], ["first"])


def test_d2_an_order_ends_what_it_can_whatever_another_journey_cannot_do(
    installation: Installation,
    alice: Profile,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The trigger of one journey was taken out of the settings, and that of another one fails."""
    gone = publish(installation, MESSAGE, key="gone", trigger="browsed")
    kept = publish(installation, MESSAGE, key="kept")
    for journey in (gone, kept):
        come_in(journey, alice, due=DAY)

    address = "alice@example.com"

    def fails(self: Signal, fact: object) -> list[Entry]:
        raise ValueError(address)

    monkeypatch.setattr(Signal, "facts", (OrderChanged,))
    monkeypatch.setattr(Signal, "candidates", fails)
    set_to(settings, TRIGGERS={"signal": TRIGGERS["signal"]})
    order(installation, at=NOW + HOUR)
    rows = dict(Enrollment.objects.values_list("journey__key", "status"))
    assert rows == {"gone": "waiting", "kept": "reached"}
    assert address not in caplog.text
    journeys.pause(journey=gone, now=NOW + HOUR, on_pause="exit")
    assert Enrollment.objects.get(journey=gone).status == EnrollmentStatus.EXITED


def test_b49_an_occasion_whose_trigger_is_gone_holds_up_no_other(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    gone = publish(installation, MESSAGE, key="gone", trigger="browsed", priority=99)
    come_in(gone, alice)
    come_in(publish(installation, MESSAGE, key="other", trigger="viewed"), alice, "object-2")
    set_to(settings, TRIGGERS={key: path for key, path in TRIGGERS.items() if key != "browsed"})
    for _ in range(2):
        with contextlib.suppress(UnknownAlias):
            advance(NOW)
    assert sent() == ["first"]


def test_b61_a_condition_of_the_trigger_ends_it_with_its_reason(
    installation: Installation, alice: Profile
) -> None:
    come_in(publish(installation, MESSAGE, exits=["sold_out"]), alice)
    Signal.over.add("object-1")
    advance(NOW)
    assert (the_one().status, not_sent()) == ("exited", {"first": "checkout_empty"})


def test_b61_consent_that_is_lost_ends_it_at_a_step_that_sends_nothing(
    installation: Installation, alice: Profile
) -> None:
    steps = [{"wait": {"for": "1 day"}}, {"wait": {"for": "1 day"}}, MESSAGE]
    come_in(publish(installation, *steps, exits=["consent_lost"]), alice)
    advance(NOW)
    make_consent(alice, ConsentState.DENIED)
    advance(NOW + DAY)
    assert (the_one().status, not_sent()) == ("exited", {"first": "no_consent"})


def test_b61_the_same_object_comes_in_once_until_it_has_cooled_down(
    installation: Installation, alice: Profile
) -> None:
    journey = publish(installation, MESSAGE, reentry={"cool_down": "30 days"})
    come_in(journey, alice)
    advance(NOW)
    assert come_in(journey, alice, at=NOW + 29 * DAY) is None
    assert come_in(journey, alice, "object-2", at=NOW + 29 * DAY) is not None
    again = come_in(journey, alice, at=NOW + 30 * DAY)
    assert again is not None
    assert again.entry == 2
    advance(NOW + 30 * DAY)
    # Each entry has messages of its own; those of the two objects keep their distance.
    advance(NOW + 31 * DAY)
    assert Message.objects.filter(status="sent").count() == 3


def test_b61_without_a_cool_down_an_object_comes_in_once_ever(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    journey = publish(installation, MESSAGE)
    come_in(journey, alice)
    advance(NOW)
    assert come_in(journey, alice, at=NOW + 3000 * DAY) is None
    # Of another person it is another occasion.
    assert come_in(journey, bob, at=NOW + DAY) is not None


def test_b61_per_person_whatever_the_object(installation: Installation, alice: Profile) -> None:
    reentry = {"per": "person", "cool_down": "7 days"}
    journey = publish(installation, MESSAGE, reentry=reentry)
    first = come_in(journey, alice, due=HOUR)
    # Somebody who waits waits anew, for the latest object.
    same = come_in(journey, alice, "object-2", at=NOW + HOUR / 2, due=HOUR)
    assert first is not None
    assert same is not None
    assert (same.pk, same.subject_saleor_id) == (first.pk, "object-2")
    assert same.due_at == NOW + HOUR / 2 + HOUR
    advance(NOW + 2 * HOUR)
    assert come_in(journey, alice, "object-3", at=NOW + DAY) is None
    assert come_in(journey, alice, "object-3", at=NOW + 8 * DAY) is not None


@pytest.mark.parametrize(("per", "mails"), [("object", 1), ("person", 1)])
def test_d5_who_turns_out_to_be_one_person_inside_is_told_once(
    installation: Installation, alice: Profile, per: str, mails: int
) -> None:
    """Both profiles came in before a login proved that they are one person."""
    guest = make_profile(installation, email="guest@example.com")
    make_consent(guest, ConsentState.GRANTED)
    journey = publish(installation, MESSAGE, reentry={"per": per})
    come_in(journey, alice)
    come_in(journey, guest, due=2 * HOUR)
    Profile.objects.filter(pk=guest.pk).update(merged_into=alice)
    advance(NOW)
    advance(NOW + 3 * HOUR)
    assert len(sent()) == mails
    assert not_sent() == {"first": "already_sent"}


def test_b61_who_became_one_person_may_come_again_under_either_profile(
    installation: Installation, alice: Profile
) -> None:
    guest = make_profile(installation, email="guest@example.com")
    journey = publish(installation, MESSAGE, reentry={"per": "person", "cool_down": "1 day"})
    for profile in (alice, guest):
        come_in(journey, profile)
    advance(NOW)
    Profile.objects.filter(pk=guest.pk).update(merged_into=alice)
    again = come_in(journey, alice, at=NOW + 10 * DAY)
    assert again is not None
    assert (again.status, again.entry) == (EnrollmentStatus.WAITING, 2)
    advance(NOW + 10 * DAY)
    assert sent() == ["first", "first"]


def test_b61_least_time_between_two_objects_of_a_person(
    installation: Installation, alice: Profile
) -> None:
    journey = publish(installation, MESSAGE, reentry={"person_cool_down": "1 day"})
    assert come_in(journey, alice) is not None
    assert come_in(journey, alice, "object-2", at=NOW + HOUR) is None
    assert come_in(journey, alice, "object-2", at=NOW + DAY) is not None


def test_b61_time_alone_brings_people_in_and_a_look_that_was_missed_is_made_up_for(
    installation: Installation, alice: Profile
) -> None:
    publish(installation, MESSAGE)
    assert journeys.enter_due(now=NOW) == 0
    Signal.entries = [
        Entry(alice, Subject("thing", str(n)), NOW + n * HOUR, NOW + n * HOUR) for n in (1, 5, 9)
    ]
    assert journeys.enter_due(now=NOW + timedelta(minutes=5)) == 0
    assert journeys.enter_due(now=NOW + 6 * HOUR) == 2
    assert journeys.enter_due(now=NOW + 7 * HOUR) == 0
    assert journeys.enter_due(now=NOW + 9 * HOUR) == 1


@pytest.mark.django_db(transaction=True)
def test_b61_a_look_that_takes_long_holds_up_nobody_whom_a_fact_brings(
    installation: Installation, bob: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey = publish(installation, MESSAGE)
    came: list[Enrollment | None] = []

    def fact() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '5s'")
            came.append(come_in(journey, bob))
        except OperationalError:
            came.append(None)
        finally:
            connection.close()

    def slow(self: Signal, **_: Any) -> list[Entry]:
        thread = threading.Thread(target=fact)
        thread.start()
        thread.join()
        return []

    monkeypatch.setattr(Signal, "due", slow)
    journeys.enter_due(now=NOW)
    assert came == [Enrollment.objects.get()]


# -- versions ----------------------------------------------------------------------------------------


def test_b60_b110_people_inside_keep_their_version(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    make_consent(bob, ConsentState.GRANTED)
    journey = publish(installation, MESSAGE, {"wait": {"for": "1 day"}}, message("second"))
    come_in(journey, alice)
    advance(NOW)
    publish(installation, message("other"))
    come_in(journey, bob, "object-2")
    advance(NOW + 2 * DAY)
    assert sorted(sent()) == ["first", "other", "second"]
    numbers = dict(Enrollment.objects.values_list("profile", "version__number"))
    assert numbers == {alice.pk: 1, bob.pk: 2}


def test_b110_an_unchanged_definition_is_no_new_version_and_one_can_go_back(
    installation: Installation,
) -> None:
    journey = publish(installation, MESSAGE)
    publish(installation, MESSAGE)
    assert journey.versions.count() == 1
    publish(installation, message("other"))
    back = journeys.roll_back(journey=journey, number=1, source=JourneySource.FILE, now=NOW)
    assert back.number == 3
    journey.refresh_from_db()
    assert journey.published == back
    assert back.definition == journey.versions.get(number=1).definition


def run(*words: str) -> str:
    out = StringIO()
    call_command("personalize_journeys", *words, stdout=out)
    return out.getvalue()


def test_b60_going_live_names_the_journeys_that_begin_alike(
    installation: Installation, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    mine = run("export", "abandoned_checkout").replace("abandoned_checkout\n", "mine\n", 1)
    path.write_text(mine)
    run("apply", str(path))
    assert "same trigger" not in run("go-live", "abandoned_checkout")
    assert "same trigger" not in run("go-live", "browsed_product")
    told = run("go-live", "mine").splitlines()
    assert told[1:] == [
        "Live on the same trigger: abandoned_checkout. People may get the messages of both; "
        "`saleor-personalize journeys pause abandoned_checkout` ends that."
    ]
    run("pause", "abandoned_checkout")
    assert len(run("go-live", "mine").splitlines()) == 1


def test_b110_journeys_are_files_that_are_checked_applied_and_printed(
    installation: Installation, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(run("export", "abandoned_checkout").replace("80", "81"))
    checked = run("check", str(path))
    assert "abandoned_checkout" in checked
    assert "text_messages" not in checked
    assert checked.endswith(f"Next: saleor-personalize journeys apply {path}\n")
    applied = run("apply", str(path))
    assert "version=2" in applied
    assert applied.endswith("Next: saleor-personalize journeys go-live abandoned_checkout\n")
    run("go-live", "abandoned_checkout")
    assert "Next" not in run("apply", str(path))
    run("pause", "abandoned_checkout")
    assert "Next: saleor-personalize journeys resume abandoned_checkout" in run("apply", str(path))
    assert "priority: 81" in run("export", "abandoned_checkout")
    assert "source=file" in run("versions", "abandoned_checkout")
    assert "version=3" in run("roll-back", "abandoned_checkout", "1")
    assert "priority: 80" in run("export", "abandoned_checkout")
    path.write_text("journey: mine\nsteps: [{mesage: {}}]\n")
    with pytest.raises(CommandError, match=r"(?s)mine\.yaml.*steps\[0\].*Did you mean 'message'"):
        run("apply", str(path))
    assert not Journey.objects.filter(key="mine").exists()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"goals": ["segment_entered:vpi"]}, "goals[0]"),
        ({"exits": ["consent_lost", "segment_left:vpi"]}, "exits[1]"),
        ({"steps": [{"wait_for": {"event": "segment_left:vpi", "for": "1 day"}}]}, "steps[0]"),
        ({"trigger": {"type": "segment_entered", "segment": "vpi"}}, "trigger.segment"),
    ],
)
def test_b110_a_segment_that_the_shop_has_not_is_told_before_anything_waits_for_it(
    installation: Installation, tmp_path: Path, changes: dict[str, Any], where: str
) -> None:
    Segment.objects.create(
        installation=installation,
        key="vip",
        name="VIP",
        definition={"rule": "order_count", "at_least": 3},
        created_at=NOW,
        updated_at=NOW,
    )
    path = tmp_path / "mine.json"
    written = {
        "journey": "mine",
        "topic": "news",
        "trigger": {"type": "signal"},
        "steps": [MESSAGE],
        **changes,
    }
    path.write_text(json.dumps(written))
    told = f"{re.escape(where)}.*'vpi' is no segment of the shop.*Did you mean 'vip'"
    for action in ("check", "apply"):
        with pytest.raises(CommandError, match=f"(?s){told}"):
            run(action, str(path))
    assert not Journey.objects.filter(key="mine").exists()
    # One that was published before its segment was taken away does not go live either.
    journeys.publish(
        installation=installation,
        definition=definitions.parse(written),
        source=JourneySource.FILE,
        now=NOW,
    )
    for action in ("go-live", "resume"):
        with pytest.raises(CommandError, match=f"(?s){told}"):
            run(action, "mine")
    assert not Journey.objects.get(key="mine").is_live
    path.write_text(path.read_text().replace("vpi", "vip"))
    run("apply", str(path))
    run("go-live", "mine")
    assert Journey.objects.get(key="mine").is_live


def test_b60_one_person_who_fails_keeps_nobody_else_out(
    installation: Installation, alice: Profile, bob: Profile, caplog: pytest.LogCaptureFixture
) -> None:
    journey = publish(installation, MESSAGE)
    Signal.entries = [
        Entry(alice, Subject("checkout", "x" * 300), NOW, NOW),
        Entry(bob, Subject(), NOW, NOW),
    ]
    assert journeys.enter_due(now=NOW) == 1
    assert the_one().profile == bob
    assert f"Profile {alice.pk} does not enter journey {journey.key}." in caplog.text
    journey.refresh_from_db()
    assert journey.looked_at == NOW


def test_d2_no_step_sends_where_no_permission_is_asked_for(
    installation: Installation, settings: Any
) -> None:
    """A channel of one's own is there, but nobody has an address or a permission for it."""
    set_to(settings, CHANNELS={"pigeon": "saleor_personalize.messaging.channels.console.Console"})
    with pytest.raises(definitions.InvalidJourney, match="delivery_channel: 'pigeon'"):
        publish(installation, message("first", delivery_channel="pigeon"))


def test_b60_an_order_during_a_refused_hand_over_stays_the_reason(
    installation: Installation, alice: Profile
) -> None:
    class Refusing(Channel):
        def send(self, message: OutgoingMessage) -> SendResult:
            order(installation, at=NOW + timedelta(seconds=1))
            raise ChannelError("No such mailbox.", is_permanent=True)

    come_in(publish(installation, MESSAGE, {"wait": {"for": "1 day"}}, message("second")), alice)
    journeys.advance_due(now=NOW, outside=Outside(ask=SALEOR, channel=Refusing()))
    assert (the_one().status, the_one().exit_reason) == ("reached", "ordered")
    assert sent() == []


# -- pause, and the one switch -------------------------------------------------------------------------


def test_b64_held_people_go_on_after_resume_and_are_let_go_by_a_new_go_live(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    journey = publish(installation, {"wait": {"for": "1 hour"}}, MESSAGE)
    come_in(journey, alice)
    journeys.pause(journey=journey, now=NOW)
    advance(NOW + 2 * HOUR)
    assert the_one().status == EnrollmentStatus.WAITING
    journeys.resume(journey=journey, now=NOW + 3 * HOUR)
    advance(NOW + 3 * HOUR)
    advance(NOW + 4 * HOUR)
    assert sent() == ["first"]


def test_b64_pausing_with_exit_lets_everybody_go_at_once(
    installation: Installation, alice: Profile
) -> None:
    journey = publish(installation, MESSAGE, on_pause="exit")
    come_in(journey, alice)
    journeys.pause(journey=journey, now=NOW)
    assert (the_one().status, not_sent()) == ("exited", {"first": "journey_paused"})
    journeys.resume(journey=journey, now=NOW + HOUR)
    advance(NOW + HOUR)
    assert sent() == []


def test_b64_one_switch_stops_every_send_of_the_shop(
    installation: Installation, alice: Profile
) -> None:
    for key in ("one", "two"):
        come_in(publish(installation, MESSAGE, key=key), alice)
    assert run("stop-sends").startswith("All sends are stopped since 2")
    assert run("list").startswith("All sends are stopped since 2")
    advance(NOW)
    assert sent() == []
    assert not Message.objects.exists()
    assert run("resume-sends") == "Sends go on.\n"
    assert "stopped" not in run("list")
    advance(NOW + HOUR)
    assert sent() == ["first"]


def test_b64_the_switch_also_stops_what_is_about_to_be_handed_over(
    installation: Installation, alice: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    come_in(publish(installation, MESSAGE), alice)
    call = messaging.call

    def pressed(**arguments: Any) -> messaging.Call:
        journeys.stop_sends(installation=installation, now=NOW)
        return call(**arguments)

    monkeypatch.setattr(messaging, "call", pressed)
    advance(NOW)
    assert mail.outbox == []
    row = Message.objects.get()
    assert (row.status, row.reason) == (MessageStatus.FAILED, NotSentReason.SENDS_STOPPED)
    monkeypatch.undo()
    journeys.resume_sends(installation=installation)
    advance(NOW + 2 * HOUR)
    assert sent() == ["first"]


# -- arbitration -------------------------------------------------------------------------------------


def test_b62_the_higher_priority_goes_first_and_the_other_is_delayed(
    installation: Installation, alice: Profile
) -> None:
    low = publish(installation, MESSAGE, key="low", priority=10)
    high = publish(installation, MESSAGE, key="high", priority=90)
    come_in(low, alice)
    come_in(high, alice, due=HOUR / 2)
    advance(NOW)
    row = Enrollment.objects.get(journey=low)
    assert (row.held_by, row.due_at) == ("outranked", NOW + HOUR / 2 + timedelta(minutes=1))
    advance(NOW + HOUR / 2)
    advance(NOW + HOUR)
    assert Message.objects.get().enrollment.journey_id == high.pk  # type: ignore[union-attr]
    # They keep their distance.
    advance(NOW + HOUR / 2 + HOUR)
    assert sent() == ["first", "first"]


def test_b62_the_loser_is_dropped_if_it_says_so(installation: Installation, alice: Profile) -> None:
    come_in(publish(installation, message("a", when_outranked="drop"), key="low"), alice)
    come_in(publish(installation, message("b"), key="high", priority=90), alice)
    advance(NOW)
    advance(NOW)
    assert sent() == ["b"]
    assert not_sent() == {"a": "outranked"}


def test_b62_the_shop_can_set_a_priority_without_a_new_version(
    installation: Installation, alice: Profile
) -> None:
    low = publish(installation, message("a"), key="low", priority=10)
    come_in(low, alice)
    come_in(publish(installation, message("b"), key="high", priority=90), alice)
    journeys.set_priority(journey=low, priority=95)
    advance(NOW)
    assert sent() == ["a"]


def test_b62_a_rival_of_somebody_else_or_much_later_is_none(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    high = publish(installation, message("b"), key="high", priority=90)
    come_in(publish(installation, message("a"), key="low"), alice)
    come_in(high, bob)
    come_in(high, alice, due=2 * HOUR)
    advance(NOW)
    assert sent() == ["a"]


def test_b62_d5_six_journeys_in_an_hour_keep_the_cap_of_the_shop(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, FREQUENCY_CAPS={"*": [(2, DAY), (3, 7 * DAY)]}, ARBITRATION_WINDOW=timedelta())
    for number in range(6):
        journey = publish(installation, MESSAGE, key=f"j{number}", priority=number)
        come_in(journey, alice, due=timedelta(minutes=number))
    for minute in range(0, 120, 10):
        advance(NOW + timedelta(minutes=minute))
    assert len(sent()) == 2
    held = Enrollment.objects.filter(status="waiting")
    assert set(held.values_list("held_by", flat=True)) == {"frequency_cap"}
    for hour in range(0, 24 * 6, 6):
        advance(NOW + DAY + hour * HOUR)
    assert len(sent()) == 3
    for minute in range(5):
        # Who is looked at first of those that are due at once gives way to the more important ones.
        advance(NOW + 8 * DAY + minute * timedelta(minutes=1))
    assert len(sent()) == 5
    assert len({row.enrollment_id for row in Message.objects.filter(status="sent")}) == 5


def test_b62_caps_count_the_person_and_marketing_alone(
    installation: Installation, alice: Profile, bob: Profile, settings: Any
) -> None:
    set_to(settings, FREQUENCY_CAPS={"email": [(1, DAY)], "*": None})
    common = {
        "installation": installation, "template": "x", "status": MessageStatus.SENT,
        "delivery_channel": "email", "decided_at": NOW - 2 * HOUR,
    }  # fmt: skip
    Message.objects.create(
        profile=alice, purpose=Purpose.TRANSACTIONAL, idempotency_key="1", **common
    )
    Message.objects.create(profile=bob, purpose=Purpose.MARKETING, idempotency_key="2", **common)
    come_in(publish(installation, MESSAGE), alice)
    advance(NOW)
    assert len(mail.outbox) == 1


def test_b62_nobody_is_written_to_at_night_where_they_are(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, QUIET_HOURS={"*": ("21:00", "08:00")})
    Profile.objects.filter(pk=alice.pk).update(traits={"time_zone": "Asia/Tokyo"})
    # NOW is noon UTC: nine in the evening in Tokyo.
    come_in(publish(installation, MESSAGE), Profile.objects.get(pk=alice.pk))
    advance(NOW)
    assert sent() == []
    assert (the_one().held_by, the_one().due_at) == ("quiet_hours", NOW + 11 * HOUR)
    advance(NOW + 11 * HOUR)
    assert sent() == ["first"]


def test_b49_checkout_before_browsing(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    """A person who got as far as the checkout is not asked about what they looked at."""
    browsed = publish(installation, message("browsed"), key="browse", trigger="browsed")
    set_to(settings, ABANDONED_CHECKOUT_DELAY=HOUR)
    cart = journeys.ensure_journey(installation=installation, key="abandoned_checkout")
    assert cart.published is not None
    journeys.go_live(journey=cart, now=NOW - DAY)
    come_in(browsed, alice, due=HOUR)
    waiting = Enrollment.objects.create(
        installation=installation, journey=cart, version=cart.published, profile=alice,
        subject_kind="checkout", subject_saleor_id="c", entry_key="c", occurred_at=NOW,
        due_at=NOW + 3 * HOUR, step_since=NOW + 3 * HOUR, path=[0], created_at=NOW,
    )  # fmt: skip
    advance(NOW + HOUR)
    row = Enrollment.objects.get(journey=browsed)
    assert (row.held_by, row.due_at) == ("outshone", NOW + 3 * HOUR + timedelta(minutes=1))
    # It was told: the lesser story is over.
    Message.objects.create(
        installation=installation, profile=alice, enrollment=waiting, template="x",
        purpose=Purpose.MARKETING, delivery_channel="email", status=MessageStatus.UNCERTAIN,
        idempotency_key="told", decided_at=NOW + 3 * HOUR,
    )  # fmt: skip
    Enrollment.objects.filter(pk=waiting.pk).update(path=[2], due_at=NOW + DAY)
    advance(NOW + 4 * HOUR)
    assert not_sent() == {"browsed": "outshone"}
    assert mail.outbox == []


def test_b95_every_reason_is_a_sentence(installation: Installation, alice: Profile) -> None:
    for reason in NotSentReason:
        assert len(reason.label.split()) > 1
    come_in(publish(installation, MESSAGE), alice, stop=True)
    advance(NOW)
    assert Message.objects.get().get_reason_display() == "The moment has passed"


def test_b60_dry_run_walks_the_whole_way_and_sends_nothing(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, DRY_RUN=True)
    OutgoingWebhook.objects.create(
        installation=installation, alias="erp", url="https://erp.test/", secret="x" * 32,
        events=[], is_active=True, created_at=NOW,
    )  # fmt: skip
    steps = [{"webhook": {"url_alias": "erp"}}, {"wait": {"for": "1 day"}}, message("second")]
    come_in(publish(installation, MESSAGE, *steps), alice)
    advance(NOW)
    advance(NOW + DAY)
    assert not_sent() == {"first": "dry_run", "second": "dry_run"}
    assert mail.outbox == []
    assert not OutgoingDelivery.objects.exists()
