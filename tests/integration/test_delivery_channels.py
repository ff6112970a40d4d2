"""Which way a message takes, and another one when the first did nothing (B71); restraint over all ways (B76, D5);
what an order needs, kept apart (B76); and silence (B86)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.test import Client

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EnrollmentStatus,
    EventSource,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.events import operations as events
from saleor_personalize.exceptions import ChannelError
from saleor_personalize.journeys import definitions, outlook
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.triggers import Content
from saleor_personalize.journeys.versions import known
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging import outcomes
from saleor_personalize.models import (
    Consent,
    Device,
    Enrollment,
    Event,
    Installation,
    Message,
    MessageEvent,
    Pace,
    Profile,
    Suppression,
    email_hash,
)
from saleor_personalize.profiles import consent, devices
from saleor_personalize.profiles.devices import token_hash
from saleor_personalize.profiles.privacy import export
from tests.conftest import NOW, make_profile
from tests.integration.phones import Phones, give_phone
from tests.integration.reminders import Saleor, order_data
from tests.integration.signal_trigger import Signal, come_in, message, publish

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ALICE = "alice@example.com"
SALEOR = Saleor()
IN_TURN = {"to": "email", "after": "4 hours"}


@pytest.fixture(autouse=True)
def shop(installation: Installation, alice: Profile, settings: Any) -> None:
    set_to(
        settings,
        TRIGGERS={"signal": "tests.integration.signal_trigger.Signal"},
        CHANNELS={"push": "tests.integration.phones.Phones", "in_app": None},
        FREQUENCY_CAPS={"*": None},
        QUIET_HOURS={"push": None, "sms": None},
    )
    Signal.over, Signal.entries = set(), []
    Phones.reset()
    mail.outbox = []
    SALEOR.ordered, SALEOR.asked, SALEOR.is_down = set(), [], False


def set_to(settings: Any, **changes: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **changes}


def allow(
    profile: Profile,
    channel: DeliveryChannel = DeliveryChannel.PUSH,
    state: ConsentState = ConsentState.GRANTED,
    at: datetime = NOW,
) -> None:
    consent.record(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=channel,
        state=state,
        source="test",
        now=at,
    )


def with_phone(profile: Profile) -> Profile:
    give_phone(profile)
    allow(profile)
    return profile


def pushed(id_: str = "first", **fallback: str) -> dict[str, Any]:
    return message(id_, delivery_channel="push", fallback={**IN_TURN, **fallback})


def advance(at: datetime) -> None:
    journeys.advance_due(now=at, ask=SALEOR)


def came(at: MessageEventKind, when: datetime, *, is_machine: bool = False) -> None:
    """A provider, a link or an inbox tells what became of the first message."""
    first = Message.objects.select_related("installation", "enrollment").get(
        idempotency_key__endswith=":first"
    )
    outcomes.record(message=first, kind=at, at=when, now=when, is_machine=is_machine)


def told() -> list[tuple[str, str, str]]:
    """(step, delivery channel, status or reason) of every message, in the order of decision."""
    return [
        (
            ":".join(row.idempotency_key.split(":")[2:]),
            row.delivery_channel,
            row.reason or row.status,
        )
        for row in Message.objects.order_by("pk")
    ]


def the_one() -> Enrollment:
    return Enrollment.objects.get()


def reached() -> tuple[int, int]:
    """How many pushes and how many e-mails the provider took."""
    return len(Phones.taken), len(mail.outbox)


# -- another way -----------------------------------------------------------------------------------------


def test_b71_what_was_not_opened_is_said_by_mail(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    journey = publish(installation, pushed(), {"wait": {"for": "1 day"}}, message("second"))
    come_in(journey, alice)
    advance(NOW)
    (push,) = Phones.taken
    assert push.recipients == ("token-of-a-phone",)
    assert (push.title, push.link) == ("Your cart is waiting for you", "https://store.test/")
    assert push.text == "You left something in your cart. We kept it for you."
    assert push.data["deep_link"] == "https://store.test/"
    assert push.data["message_id"] == push.key == Message.objects.get().public_id.hex
    assert the_one().due_at == NOW + 4 * HOUR
    advance(NOW + 4 * HOUR - timedelta(seconds=1))
    assert reached() == (1, 0)
    advance(NOW + 4 * HOUR)
    assert reached() == (1, 1)
    assert mail.outbox[0].to == [ALICE]
    # The wait begins with the last message that went.
    assert the_one().due_at == NOW + 28 * HOUR
    advance(NOW + 28 * HOUR)
    assert told() == [
        ("first", "push", "sent"),
        ("first:fallback", "email", "sent"),
        ("second", "email", "sent"),
    ]
    assert the_one().status == EnrollmentStatus.DONE


@pytest.mark.parametrize(
    "kind",
    [
        MessageEventKind.OPENED,
        MessageEventKind.CLICKED,
        MessageEventKind.READ,
        MessageEventKind.DISMISSED,
        MessageEventKind.COMPLAINED,
    ],
)
def test_b71_what_was_seen_is_not_said_again(
    installation: Installation, alice: Profile, kind: MessageEventKind
) -> None:
    with_phone(alice)
    journey = publish(installation, pushed(), {"wait": {"for": "1 day"}}, message("second"))
    come_in(journey, alice)
    advance(NOW)
    came(kind, NOW + HOUR)
    asked = len(SALEOR.asked)
    advance(NOW + 4 * HOUR)
    assert reached() == (1, 0)
    assert len(SALEOR.asked) == asked
    # The wait begins with the last message that went.
    assert the_one().due_at == NOW + DAY
    advance(NOW + DAY)
    assert told() == [("first", "push", "sent"), ("second", "email", "sent")]


@pytest.mark.parametrize(
    ("kind", "is_machine", "unless", "mails"),
    [
        (MessageEventKind.DELIVERED, False, "opened", 1),
        (MessageEventKind.DELIVERED, False, "delivered", 0),
        (MessageEventKind.OPENED, True, "opened", 1),
        (MessageEventKind.OPENED, True, "delivered", 1),
        (MessageEventKind.CLICKED, False, "delivered", 0),
        (MessageEventKind.BOUNCED, False, "delivered", 1),
        (MessageEventKind.DEAD_TOKEN, False, "delivered", 1),
    ],
)
def test_b71_what_counts_is_what_the_definition_says_and_never_what_a_scanner_did(
    installation: Installation,
    alice: Profile,
    kind: MessageEventKind,
    is_machine: bool,
    unless: str,
    mails: int,
) -> None:
    with_phone(alice)
    come_in(publish(installation, pushed(unless=unless)), alice)
    advance(NOW)
    came(kind, NOW + HOUR, is_machine=is_machine)
    advance(NOW + 4 * HOUR)
    assert reached() == (1, mails)
    assert the_one().status == EnrollmentStatus.DONE


def test_b71_after_an_order_the_other_way_is_never_taken(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    come_in(publish(installation, pushed(), message("second")), alice)
    advance(NOW)
    data = order_data(email=ALICE, at=NOW + HOUR)
    ids = events.record_orders(installation=installation, data=[data], now=data.placed_at)
    journeys.follow_orders(installation=installation, ids=ids, now=data.placed_at)
    advance(NOW + 4 * HOUR)
    advance(NOW + DAY)
    assert reached() == (1, 0)
    assert the_one().status == EnrollmentStatus.REACHED
    assert told() == [("first", "push", "sent"), ("first:fallback", "email", "ordered")]


def test_b71_an_order_that_only_saleor_knows_yet_keeps_the_mail_from_going(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    come_in(publish(installation, pushed()), alice)
    advance(NOW)
    SALEOR.ordered = {"orders"}
    advance(NOW + 4 * HOUR)
    assert reached() == (1, 0)
    assert told()[1:] == [("first:fallback", "email", "ordered")]
    assert the_one().status == EnrollmentStatus.REACHED


@pytest.mark.parametrize(
    ("has_phone", "state", "reason"),
    [
        (False, ConsentState.GRANTED, NotSentReason.NO_ADDRESS),
        (True, None, NotSentReason.NO_CONSENT),
        (True, ConsentState.DENIED, NotSentReason.NO_CONSENT),
    ],
)
def test_b71_who_cannot_be_pushed_gets_the_mail_at_once(
    installation: Installation,
    alice: Profile,
    has_phone: bool,
    state: ConsentState | None,
    reason: NotSentReason,
) -> None:
    if has_phone:
        give_phone(alice)
    if state:
        allow(alice, state=state)
    come_in(publish(installation, pushed()), alice)
    advance(NOW)
    assert reached() == (0, 1)
    assert told() == [("first", "push", reason), ("first:fallback", "email", "sent")]
    assert the_one().status == EnrollmentStatus.DONE


def test_b71_who_can_be_reached_in_no_way_gets_nothing_and_each_way_says_why(
    installation: Installation, bob: Profile
) -> None:
    come_in(publish(installation, pushed()), bob)
    advance(NOW)
    assert reached() == (0, 0)
    assert SALEOR.asked == []
    assert told() == [("first", "push", "no_address"), ("first:fallback", "email", "no_consent")]
    row = the_one()
    assert (row.status, row.exit_reason) == (EnrollmentStatus.EXITED, NotSentReason.NO_CONSENT)


def test_b71_what_is_foretold_names_the_way_that_comes_nearest(
    installation: Installation, bob: Profile
) -> None:
    come_in(publish(installation, pushed()), bob)
    (found,) = outlook.of_person(profile=bob, now=NOW, limit=1)
    assert (found.delivery_channel, found.objection) == ("email", NotSentReason.NO_CONSENT)


def test_b71_a_no_meanwhile_closes_the_other_way_alone(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    come_in(
        publish(
            installation,
            pushed(),
            {"wait": {"for": "1 day"}},
            message("second", delivery_channel="push"),
        ),
        alice,
    )
    advance(NOW)
    allow(alice, DeliveryChannel.EMAIL, ConsentState.DENIED, NOW + HOUR)
    advance(NOW + 4 * HOUR)
    assert reached() == (1, 0)
    advance(NOW + DAY)
    assert told() == [
        ("first", "push", "sent"),
        ("first:fallback", "email", "no_consent"),
        ("second", "push", "sent"),
    ]


def test_b71_what_the_provider_may_have_is_not_sent_again_but_said_another_way(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    Phones.errors.append(ChannelError("The line went dead.", is_ambiguous=True))
    come_in(publish(installation, pushed()), alice)
    advance(NOW)
    assert told() == [("first", "push", "uncertain")]
    advance(NOW + 3 * HOUR)
    assert reached() == (0, 0)
    advance(NOW + 4 * HOUR)
    assert reached() == (0, 1)
    assert told() == [("first", "push", "uncertain"), ("first:fallback", "email", "sent")]


def test_b71_what_the_provider_refused_for_good_goes_the_other_way_at_once(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    Phones.errors.append(ChannelError("This project is gone.", is_permanent=True))
    come_in(publish(installation, pushed()), alice)
    advance(NOW)
    assert reached() == (0, 1)
    assert told() == [("first", "push", "channel_error"), ("first:fallback", "email", "sent")]


def test_b71_a_provider_that_asks_for_patience_gets_it_and_nobody_gets_it_twice(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    Phones.errors.append(ChannelError("Too many.", retry_after=7 * MINUTE))
    come_in(publish(installation, pushed()), alice)
    advance(NOW)
    assert the_one().due_at == NOW + 7 * MINUTE
    advance(NOW + 6 * MINUTE)
    assert reached() == (0, 0)
    advance(NOW + 7 * MINUTE)
    assert reached() == (1, 0)
    assert the_one().due_at == NOW + 4 * HOUR + 7 * MINUTE
    advance(NOW + 4 * HOUR + 7 * MINUTE)
    assert reached() == (1, 1)


def test_b71_a_provider_is_left_alone_from_its_answer_on_however_late_that_came(
    installation: Installation, alice: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_phone(alice)
    Phones.errors.append(ChannelError("Nobody answers.", retry_after=MINUTE / 4))
    come_in(publish(installation, pushed()), alice)
    clock = itertools.chain([100.0, 180.0], itertools.repeat(180.0))
    monkeypatch.setattr(messaging, "monotonic", lambda: next(clock))
    advance(NOW)
    assert Pace.objects.get(key="push").paused_until == NOW + timedelta(seconds=95)
    assert Message.objects.get().retry_at == NOW + timedelta(seconds=95)
    assert the_one().due_at == NOW + timedelta(seconds=95)


def test_b71_while_the_first_is_under_way_the_other_one_waits(
    installation: Installation, alice: Profile
) -> None:
    """Its worker was killed in the middle: what it did is settled first."""
    with_phone(alice)
    come_in(publish(installation, pushed(after="1 minute")), alice)
    advance(NOW)
    Message.objects.update(status=MessageStatus.HANDING_OVER)
    advance(NOW + MINUTE)
    assert reached() == (1, 0)
    assert the_one().due_at == NOW + 2 * MINUTE
    messaging.settle_interrupted(now=NOW + HOUR)
    advance(NOW + HOUR)
    assert told() == [("first", "push", "uncertain"), ("first:fallback", "email", "sent")]


@pytest.mark.parametrize("way", ["push", "email"])
def test_b71_a_worker_killed_before_either_way_costs_neither(
    installation: Installation, alice: Profile, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The other way waits until the first is settled, and each goes once."""
    call = messaging.call
    dying = [way]

    def die(*, message: Message, **given: Any) -> messaging.Call:
        if message.delivery_channel in dying:
            dying.clear()
            raise SystemExit
        return call(message=message, **given)

    monkeypatch.setattr(messaging, "call", die)
    with_phone(alice)
    come_in(publish(installation, pushed(after="5 minutes")), alice)
    for minutes in range(60):
        try:
            journeys.resume_interrupted(now=NOW + minutes * MINUTE)
            messaging.settle_interrupted(now=NOW + minutes * MINUTE)
            advance(NOW + minutes * MINUTE)
        except SystemExit:
            assert dying == []
        if minutes == 9:
            assert reached() == ((0, 0) if way == "push" else (1, 0))
    assert reached() == (1, 1)
    assert told() == [("first", "push", "sent"), ("first:fallback", "email", "sent")]
    assert the_one().status == EnrollmentStatus.DONE


def test_b71_a_pause_of_the_person_counts_for_every_way(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    Profile.objects.filter(pk=alice.pk).update(paused_until=NOW + DAY)
    come_in(publish(installation, pushed()), alice)
    advance(NOW)
    assert reached() == (0, 0)
    assert told() == [("first", "push", "paused")]


# -- whichever is best -----------------------------------------------------------------------------------


def test_b71_best_is_the_closest_that_is_allowed_and_reaches_the_person(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    journey = publish(installation, message("first", delivery_channel="best"))
    with_phone(alice)
    # Bob refused mail, and allows push.
    with_phone_of_his_own = make_profile(installation, email="carol@example.com")
    allow(with_phone_of_his_own, DeliveryChannel.EMAIL)
    give_phone(with_phone_of_his_own, "token-not-allowed")
    allow(bob)
    give_phone(bob, "token-of-bob")
    for person in (alice, bob, with_phone_of_his_own):
        come_in(journey, person, f"object-{person.pk}")
    advance(NOW)
    assert [one.recipients for one in Phones.taken] == [("token-of-a-phone",), ("token-of-bob",)]
    assert [one.to for one in mail.outbox] == [["carol@example.com"]]
    advance(NOW + DAY)
    assert reached() == (2, 1)


def test_b71_best_leaves_the_way_whose_messages_were_ignored(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    publish(installation, message("first", delivery_channel="best"))
    journey = publish(
        installation,
        message("first", delivery_channel="best"),
        reentry={"per": "object", "cool_down": "1 day"},
    )
    for number in range(3):
        at = NOW + number * 2 * DAY
        come_in(journey, alice, f"object-{number}", at=at)
        advance(at)
    assert reached() == (3, 0)
    come_in(journey, alice, "object-3", at=NOW + 6 * DAY)
    advance(NOW + 6 * DAY)
    assert reached() == (3, 1)
    # A look at one of them, and push is the closest again.
    row = Message.objects.filter(delivery_channel="push").last()
    assert row is not None
    outcomes.record(message=row, kind=MessageEventKind.CLICKED, at=NOW + 7 * DAY, now=NOW + 7 * DAY)
    come_in(journey, alice, "object-4", at=NOW + 8 * DAY)
    advance(NOW + 8 * DAY)
    assert reached() == (4, 1)


def test_b71_when_no_way_is_open_the_reason_is_the_persons_own_word(
    installation: Installation, bob: Profile
) -> None:
    come_in(publish(installation, message("first", delivery_channel="best")), bob)
    advance(NOW)
    assert told() == [("first", "email", "no_consent")]


def test_b71_best_falls_back_where_it_is_another_way(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    with_phone(alice)
    allow(bob, DeliveryChannel.EMAIL)
    step = message("first", delivery_channel="best", fallback=IN_TURN)
    journey = publish(installation, step)
    come_in(journey, alice, "object-1")
    come_in(journey, bob, "object-2")
    advance(NOW)
    assert reached() == (1, 1)
    advance(NOW + 4 * HOUR)
    # Bob had the mail already.
    assert reached() == (1, 2)
    assert [one.to for one in mail.outbox] == [["bob@example.com"], [ALICE]]


# -- words and definitions -------------------------------------------------------------------------------


def test_b71_a_definition_tells_what_is_wrong_with_its_ways(
    installation: Installation, settings: Any
) -> None:
    def refused(**step: Any) -> str:
        with pytest.raises(definitions.InvalidJourney) as error:
            publish(installation, message("first", **step))
        return str(error.value)

    assert "'pusch' there is no such delivery channel" in refused(delivery_channel="pusch")
    assert "fallback.to: 'email' another delivery channel" in refused(fallback=IN_TURN)
    assert "fallback.to: 'best' another delivery channel" in refused(
        delivery_channel="push", fallback={**IN_TURN, "to": "best"}
    )
    assert "fallback.unless: 'seen' one of delivered, opened" in refused(
        delivery_channel="push", fallback={**IN_TURN, "unless": "seen"}
    )
    assert "at least 1 minute" in refused(
        delivery_channel="push", fallback={**IN_TURN, "after": "30 seconds"}
    )
    assert "no words for push: it needs push_title.txt, push.txt" in refused(
        template="confirm_opt_in", delivery_channel="push"
    )


def test_b71_without_words_for_its_way_a_message_stops_with_the_file_named(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    journey = publish(installation, pushed())
    journey.published.definition["steps"][0]["message"]["template"] = "confirm_opt_in"  # type: ignore[union-attr]
    journey.published.save()  # type: ignore[union-attr]
    come_in(journey, alice)
    advance(NOW)
    assert reached() == (0, 0)
    (row,) = Message.objects.all()
    assert row.reason == NotSentReason.TEMPLATE_INCOMPLETE
    assert "confirm_opt_in/push_title.txt" in row.error


# -- restraint over all ways -----------------------------------------------------------------------------


def test_b76_d5_the_cap_counts_every_way_and_the_other_one_is_asked_again_when_it_may_go(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, FREQUENCY_CAPS={"*": [(1, DAY)]})
    with_phone(alice)
    come_in(publish(installation, pushed()), alice)
    advance(NOW)
    advance(NOW + 4 * HOUR)
    assert reached() == (1, 0)
    row = the_one()
    assert (row.due_at, row.held_by) == (NOW + DAY, NotSentReason.FREQUENCY_CAP)
    came(MessageEventKind.CLICKED, NOW + 5 * HOUR)
    advance(NOW + DAY)
    assert reached() == (1, 0)
    assert the_one().status == EnrollmentStatus.DONE


def test_d5_six_flows_in_an_hour_over_two_ways_keep_to_one_cap(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, FREQUENCY_CAPS={"*": [(2, DAY)]}, ARBITRATION_WINDOW=timedelta(0))
    with_phone(alice)
    for number in range(6):
        journey = publish(
            installation,
            message("first", delivery_channel="push" if number % 2 else "email"),
            key=f"flow_{number}",
            priority=10 * number,
        )
        come_in(journey, alice, f"object-{number}")
    for minutes in range(61):
        advance(NOW + minutes * MINUTE)
    went = Message.objects.filter(status=MessageStatus.SENT).order_by("pk")
    assert sorted(row.idempotency_key.split(":")[0] for row in went) == ["flow_4", "flow_5"]
    assert reached() == (1, 1)


# -- what an order needs ---------------------------------------------------------------------------------


def needed(installation: Installation, *steps: Any, **more: Any) -> Any:
    return publish(
        installation,
        *(steps or (message("first", template="thanks"),)),
        topic="orders",
        goals=[],
        **more,
    )


def test_b76_what_an_order_needs_goes_without_a_yes_and_carries_no_promotion(
    installation: Installation, bob: Profile, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob refused marketing, has had all that a cap allows, and it is night."""
    content = {
        "lines": [{"name": "Blue shoe"}],
        "products": [{"name": "Socks that go with it"}],
        "similar": [{"name": "Red shoe"}],
    }
    monkeypatch.setattr(Signal, "content", lambda *_: Content(content))
    set_to(settings, FREQUENCY_CAPS={"*": [(1, DAY)]}, QUIET_HOURS={"*": ("00:00", "23:59")})
    journey = needed(installation)
    for number in range(3):
        come_in(journey, bob, f"object-{number}")
    advance(NOW)
    assert len(mail.outbox) == 3
    sent = mail.outbox[0]
    assert "List-Unsubscribe" not in sent.extra_headers
    assert "Blue shoe" in sent.body
    assert "You get this message because of your order." in sent.body
    for words in ("Socks", "Red shoe", "Unsubscribe"):
        assert words not in str(sent.message())
    assert set(Message.objects.values_list("purpose", "status")) == {("transactional", "sent")}


def test_b76_what_an_order_needs_counts_for_no_cap_of_marketing(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, FREQUENCY_CAPS={"*": [(1, DAY)]})
    come_in(needed(installation, key="needed"), alice)
    advance(NOW)
    come_in(publish(installation, message("first")), alice)
    advance(NOW)
    assert len(mail.outbox) == 2


@pytest.mark.parametrize(
    ("reason", "mails"),
    [
        (SuppressionReason.UNSUBSCRIBED, 1),
        (SuppressionReason.HARD_BOUNCE, 0),
        (SuppressionReason.COMPLAINT, 0),
    ],
)
def test_b76_out_of_marketing_is_not_out_of_what_an_order_needs(
    installation: Installation, alice: Profile, reason: SuppressionReason, mails: int
) -> None:
    consent.suppress(
        installation=installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=email_hash(ALICE),
        reason=reason,
        now=NOW,
    )
    come_in(needed(installation), alice)
    advance(NOW)
    assert len(mail.outbox) == mails


def test_b76_what_an_order_needs_can_be_refused_by_its_own_name_and_stops_with_all_sends(
    installation: Installation, alice: Profile, bob: Profile
) -> None:
    journey = needed(installation)
    journeys.stop_sends(installation=installation, now=NOW)
    come_in(journey, bob, "object-1")
    advance(NOW)
    assert mail.outbox == []
    journeys.resume_sends(installation=installation)
    consent.record(
        profile=alice,
        purpose=Purpose.TRANSACTIONAL,
        delivery_channel=DeliveryChannel.EMAIL,
        state=ConsentState.DENIED,
        source="test",
        now=NOW,
    )
    come_in(journey, alice, "object-2")
    advance(NOW)
    assert [one.to for one in mail.outbox] == [["bob@example.com"]]
    assert [one for one in told() if one[2] != "sent"] == [("first", "email", "no_consent")]


def test_b76_no_offer_fits_into_what_an_order_needs(installation: Installation) -> None:
    offer = {"offer": {"id": "present", "percent": 10}}
    with pytest.raises(definitions.InvalidJourney, match="carries no offer"):
        needed(installation, offer, message("first", template="thanks"))


@pytest.mark.parametrize("trigger", ["abandoned_checkout", "win_back", "segment_entered"])
def test_b76_a_reminder_is_not_called_what_an_order_needs(
    installation: Installation, trigger: str
) -> None:
    """Or it would go without a yes, by night, over every cap."""
    options = {"segment": "everybody"} if trigger == "segment_entered" else {}
    written = {
        "journey": "test", "topic": "orders", "trigger": {"type": trigger, **options},
        "goals": [], "steps": [message("first", template="thanks")],
    }  # fmt: skip
    with pytest.raises(definitions.InvalidJourney, match="a trigger that follows an order"):
        definitions.parse(written, known=known(installation))
    definitions.parse({**written, "topic": "news"}, known=known(installation))


# -- silence ---------------------------------------------------------------------------------------------


def ignore(profile: Profile, count: int = 5, until: datetime = NOW + 200 * DAY) -> None:
    """So many messages went, and nothing came of them."""
    for number in range(count):
        Message.objects.create(
            installation=profile.installation,
            profile=profile,
            idempotency_key=f"old:{profile.pk}:{number}",
            template="welcome",
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            status=MessageStatus.SENT,
            decided_at=until - (number + 1) * DAY,
        )


LATER = NOW + 200 * DAY


def test_b86_who_lets_everything_pass_for_long_gets_nothing_more(
    installation: Installation, alice: Profile
) -> None:
    ignore(alice)
    come_in(publish(installation, message("first")), alice, at=LATER)
    advance(LATER)
    assert mail.outbox == []
    assert told()[-1] == ("first", "email", "unengaged")
    assert SALEOR.asked == []


@pytest.mark.parametrize(
    ("count", "after", "mails"), [(4, 180, 1), (5, 300, 1), (5, None, 1), (5, 180, 0)]
)
def test_b86_only_after_so_long_and_so_many(
    installation: Installation,
    alice: Profile,
    settings: Any,
    count: int,
    after: int | None,
    mails: int,
) -> None:
    set_to(settings, SUNSET_AFTER=after and timedelta(days=after))
    ignore(alice, count)
    come_in(publish(installation, message("first")), alice, at=LATER)
    advance(LATER)
    assert len(mail.outbox) == mails


@pytest.mark.parametrize("sign", ["visit", "order", "click", "yes", "scanner"])
def test_b86_whoever_shows_up_is_written_to_again_and_a_scanner_is_nobody(
    installation: Installation, alice: Profile, sign: str
) -> None:
    ignore(alice)
    at = LATER - HOUR
    if sign == "visit":
        Event.objects.create(
            installation=installation,
            profile=alice,
            event_id="visit",
            type="product_viewed",
            occurred_at=at,
            received_at=at,
            source=EventSource.STOREFRONT,
        )
    elif sign == "order":
        data = order_data(email=ALICE, at=at)
        events.record_orders(installation=installation, data=[data], now=at)
    elif sign == "yes":
        allow(alice, DeliveryChannel.EMAIL, at=at)
    else:
        outcomes.record(
            message=Message.objects.order_by("decided_at")[0],
            kind=MessageEventKind.CLICKED,
            at=at,
            now=at,
            is_machine=sign == "scanner",
        )
    come_in(publish(installation, message("first")), alice, at=LATER)
    advance(LATER)
    assert len(mail.outbox) == (0 if sign == "scanner" else 1)


def test_b86_they_are_asked_once_ever_and_their_yes_counts(
    installation: Installation, alice: Profile
) -> None:
    ask = journeys.ensure_journey(installation=installation, key="re_permission")
    journeys.go_live(journey=ask, now=NOW)
    journey = publish(
        installation, message("first"), reentry={"per": "object", "cool_down": "1 day"}
    )
    ignore(alice)

    def tell(number: int, at: datetime) -> None:
        with time_machine.travel(at, tick=False):
            come_in(journey, alice, f"object-{number}", at=at)
            advance(at)
            journeys.enter_due(now=at + MINUTE)
            advance(at + MINUTE)

    journeys.enter_due(now=LATER - HOUR)
    tell(1, LATER)
    (asked,) = mail.outbox
    assert asked.subject == "May we go on writing to you?"
    assert "List-Unsubscribe" in asked.extra_headers
    # Nothing came back: nothing more goes, and they are not asked again.
    tell(2, LATER + 10 * DAY)
    assert len(mail.outbox) == 1
    assert told()[-1] == ("first", "email", "unengaged")
    # They open their choices and save them as they are.
    (url,) = re.findall(r"https://personalize\.test(/preferences/\S+)", str(asked.body))
    client = Client()
    with time_machine.travel(LATER + 11 * DAY, tick=False):
        page = client.get(url).content.decode()
        assert "so we stopped writing to you" in page
        assert not Consent.objects.filter(source="preferences").exists()
        ticked = re.findall(r'name="allow" value="([a-z_:]+)" checked', page)
        assert "email:reminders" in ticked
        client.post(url, {"allow": ticked, "profiling": "on"})
        assert "so we stopped writing to you" not in client.get(url).content.decode()
    tell(3, LATER + 12 * DAY)
    assert len(mail.outbox) == 2
    assert told()[-1] == ("first", "email", "sent")


def test_b86_who_refused_everything_is_not_even_asked(
    installation: Installation, bob: Profile
) -> None:
    ask = journeys.ensure_journey(installation=installation, key="re_permission")
    journeys.go_live(journey=ask, now=NOW)
    ignore(bob)
    Message.objects.create(
        installation=installation,
        profile=bob,
        idempotency_key="held:back:first",
        template="welcome",
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        status=MessageStatus.NOT_SENT,
        reason=NotSentReason.UNENGAGED,
        decided_at=LATER,
    )
    journeys.enter_due(now=LATER - HOUR)
    journeys.enter_due(now=LATER + MINUTE)
    advance(LATER + MINUTE)
    assert mail.outbox == []
    assert told()[-1][2] == NotSentReason.NO_CONSENT


# -- what became of messages -----------------------------------------------------------------------------


def test_b79_what_a_provider_tells_twice_is_kept_once_and_an_arrival_settles_a_doubt(
    installation: Installation, alice: Profile, other_installation: Installation, dave: Profile
) -> None:
    Phones.errors.append(ChannelError("The line went dead.", is_ambiguous=True))
    with_phone(alice)
    come_in(publish(installation, pushed()), alice)
    advance(NOW)
    row = Message.objects.select_related("installation", "enrollment").get()
    assert row.status == MessageStatus.UNCERTAIN

    def tell(about: Message) -> MessageEvent | None:
        return outcomes.record(
            message=about,
            kind=MessageEventKind.DELIVERED,
            at=NOW,
            now=NOW + MINUTE,
            provider_event_id="event-1",
        )

    assert tell(row) is not None
    assert tell(row) is None
    assert MessageEvent.objects.count() == 1
    assert Message.objects.get().status == MessageStatus.SENT
    ignore(dave, 1)
    assert tell(Message.objects.get(profile=dave)) is not None
    assert [each["kind"] for each in export(profile=alice, now=NOW)["message_events"]] == [
        "delivered"
    ]


def test_b68_a_device_that_changed_hands_since_the_decision_gets_nothing(
    installation: Installation, alice: Profile, bob: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Saleor makes a code, Alice signs out on one device and Bob signs in on another of hers."""
    with_phone(alice)
    give_phone(alice, "token-of-a-tablet")
    give_phone(alice, "token-of-a-browser")
    call = messaging.call

    def late(**given: Any) -> messaging.Call:
        if not Phones.taken:
            devices.unregister(installation=installation, token="token-of-a-tablet", now=NOW)
            Device.objects.filter(token_hash=token_hash("token-of-a-phone")).update(profile=bob)
        return call(**given)

    monkeypatch.setattr(messaging, "call", late)
    come_in(publish(installation, message("first", delivery_channel="push")), alice)
    advance(NOW)
    (taken,) = Phones.taken
    assert (taken.recipient, taken.recipients) == (
        "token-of-a-browser",
        ("token-of-a-browser",),
    )
    assert told() == [("first", "push", "sent")]


def test_b68_when_every_device_changed_hands_it_is_decided_anew(
    installation: Installation, alice: Profile, bob: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_phone(alice)
    call = messaging.call

    def late(**given: Any) -> messaging.Call:
        Device.objects.update(profile=bob)
        return call(**given)

    monkeypatch.setattr(messaging, "call", late)
    come_in(publish(installation, message("first", delivery_channel="push")), alice)
    advance(NOW)
    advance(NOW + 5 * MINUTE)
    assert (reached(), told()) == ((0, 0), [("first", "push", "no_address")])


def test_b68_b79_an_address_or_a_device_that_is_gone_is_not_used_again(
    installation: Installation, alice: Profile
) -> None:
    with_phone(alice)
    give_phone(alice, "token-of-a-tablet")
    Phones.dead = ("token-of-a-phone",)
    journey = publish(installation, message("first", delivery_channel="push"))
    come_in(journey, alice)
    advance(NOW)
    assert [row.gone_at is None for row in Device.objects.order_by("pk")] == [False, True]
    event = MessageEvent.objects.get()
    assert (event.kind, event.detail) == (MessageEventKind.DEAD_TOKEN, "1")
    come_in(journey, alice, "object-2", at=NOW + 2 * HOUR)
    advance(NOW + 2 * HOUR)
    assert Phones.taken[-1].recipients == ("token-of-a-tablet",)


def test_b79_an_address_of_which_the_provider_says_that_nobody_is_there_is_suppressed(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, CHANNELS={"email": "tests.integration.phones.Phones", "in_app": None})
    Phones.errors.append(ChannelError("No such mailbox.", is_address_dead=True))
    come_in(publish(installation, message("first")), alice)
    advance(NOW)
    (row,) = Suppression.objects.all()
    assert (row.address_hash, row.reason) == (email_hash(ALICE), SuppressionReason.HARD_BOUNCE)
    assert the_one().status == EnrollmentStatus.EXITED


def test_b60_a_wait_as_long_as_a_claim_is_waited_for(
    installation: Installation, alice: Profile
) -> None:
    come_in(
        publish(installation, message("first"), {"wait": {"for": "5 minutes"}}, message("second")),
        alice,
    )
    advance(NOW)
    assert the_one().due_at == NOW + 5 * MINUTE
    advance(NOW + 4 * MINUTE)
    assert len(mail.outbox) == 1


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield
