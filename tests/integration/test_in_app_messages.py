"""B69: a journey that speaks in the shop: decided like any other message, then an item and a banner."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.events import operations as events
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.definitions import InvalidJourney
from saleor_personalize.messaging import inbox
from saleor_personalize.models import Consent, InboxItem, Installation, Message, Profile
from saleor_personalize.profiles import consent
from tests.conftest import NOW
from tests.integration.reminders import Saleor, order_data
from tests.integration.signal_trigger import Signal, come_in, message, publish

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def _shop(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRIGGERS": {"signal": "tests.integration.signal_trigger.Signal"},
        "FREQUENCY_CAPS": {"*": None},
    }
    Signal.over, Signal.entries = set(), []
    mail.outbox = []


def advance(at: datetime) -> None:
    with time_machine.travel(at, tick=False):
        journeys.advance_due(now=at, ask=Saleor())


def allow(profile: Profile, state: ConsentState = ConsentState.GRANTED) -> None:
    Consent.objects.create(
        installation=profile.installation,
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.IN_APP,
        state=state,
        source="test",
        recorded_at=NOW,
    )


def outcomes() -> list[tuple[str, str, str]]:
    return list(Message.objects.order_by("pk").values_list("delivery_channel", "status", "reason"))


def test_b69_a_journey_speaks_in_the_shop_and_sends_no_mail(
    installation: Installation, alice: Profile
) -> None:
    allow(alice)
    journey = publish(
        installation, message("first", delivery_channel="in_app", placement="home_top")
    )
    come_in(journey, alice)
    advance(NOW)
    item = InboxItem.objects.get()
    assert (item.profile, item.placement, item.read_at) == (alice, "home_top", None)
    assert (item.link, item.expires_at) == ("https://store.test/", NOW + 30 * DAY)
    assert item.title
    assert item.text
    assert outcomes() == [("in_app", MessageStatus.SENT, "")]
    assert Message.objects.get().provider_message_id == item.public_id.hex
    assert mail.outbox == []


@pytest.mark.parametrize("state", [None, ConsentState.DENIED, ConsentState.PENDING])
def test_b69_without_a_yes_for_the_app_nothing_stands_in_it(
    installation: Installation, alice: Profile, state: ConsentState | None
) -> None:
    if state is not None:
        allow(alice, state)
    come_in(publish(installation, message("first", delivery_channel="in_app")), alice)
    advance(NOW)
    assert outcomes() == [("in_app", MessageStatus.NOT_SENT, NotSentReason.NO_CONSENT)]
    assert not InboxItem.objects.exists()


def test_b69_who_has_no_address_is_told_in_the_shop(
    installation: Installation, carol: Profile
) -> None:
    allow(carol)
    come_in(publish(installation, message("first", delivery_channel="in_app")), carol)
    advance(NOW)
    assert InboxItem.objects.get().profile == carol


def test_b69_the_journey_sets_how_long_it_is_shown(
    installation: Installation, alice: Profile
) -> None:
    allow(alice)
    journey = publish(installation, message("first", delivery_channel="in_app", shown_for="3 days"))
    come_in(journey, alice)
    advance(NOW)
    assert InboxItem.objects.get().expires_at == NOW + 3 * DAY
    for at, count in ((NOW + 3 * DAY - HOUR, 1), (NOW + 3 * DAY, 0)):
        assert len(inbox.page(profile=alice, now=at).items) == count


@pytest.mark.parametrize(("is_read", "mails"), [(True, 0), (False, 1)])
def test_b69_what_is_not_read_in_the_shop_comes_by_mail(
    installation: Installation, alice: Profile, is_read: bool, mails: int
) -> None:
    allow(alice)
    journey = publish(
        installation,
        message("first", delivery_channel="in_app", fallback={"to": "email", "after": "4 hours"}),
    )
    come_in(journey, alice)
    advance(NOW)
    if is_read:
        inbox.report(profile=alice, kind=MessageEventKind.READ, ids=None, now=NOW + HOUR)
    advance(NOW + 3 * HOUR)
    assert mail.outbox == []
    advance(NOW + 4 * HOUR)
    assert len(mail.outbox) == mails
    assert InboxItem.objects.count() == 1


@pytest.mark.parametrize("given", [{"placement": "home_top"}, {"shown_for": "3 days"}])
def test_b69_a_mail_has_no_place_in_the_shop(
    installation: Installation, given: dict[str, Any]
) -> None:
    with pytest.raises(InvalidJourney, match="only a message in the app has it"):
        publish(installation, message("first", **given))


@pytest.mark.parametrize(
    ("topic", "left"),
    [
        ("", {"alice": 0, "bob": 1}),
        ("other", {"alice": 1, "bob": 1}),
        ("reminders", {"alice": 0, "bob": 1}),
    ],
)
def test_b69_who_wants_nothing_more_in_the_shop_sees_nothing_more(
    installation: Installation, alice: Profile, bob: Profile, topic: str, left: dict[str, int]
) -> None:
    """What asks for a sale ends with the no, on all devices; what an order needs stays."""
    journey = publish(
        installation, message("first", delivery_channel="in_app", placement="home_top")
    )
    for person in (alice, bob):
        allow(person)
        come_in(journey, person, f"object-{person.pk}")
    advance(NOW)
    needed = Message.objects.create(
        installation=installation, idempotency_key="needed", profile=alice, template="thanks",
        purpose=Purpose.TRANSACTIONAL, delivery_channel=DeliveryChannel.IN_APP,
        status=MessageStatus.SENT, decided_at=NOW,
    )  # fmt: skip
    inbox.deliver(message=needed, words=inbox.Words(text="It is on its way."), now=NOW)
    version = Profile.objects.get(pk=alice.pk).inbox_version

    no = consent.Choice(Purpose.MARKETING, DeliveryChannel.IN_APP, topic, is_allowed=False)
    consent.choose(profile=alice, choices=[no], source="test", now=NOW + HOUR)

    shown = inbox.page(profile=alice, now=NOW + HOUR).items
    assert [item.message.purpose for item in shown].count(Purpose.MARKETING) == left["alice"]
    assert needed in [item.message for item in shown]
    assert len(inbox.page(profile=bob, now=NOW + HOUR).items) == left["bob"]
    # Pages that poll see it as well.
    changed = Profile.objects.get(pk=alice.pk).inbox_version > version
    assert changed == (left["alice"] == 0)


@pytest.mark.parametrize("is_over", [True, False])
def test_b69_after_an_order_nothing_stands_in_the_shop_that_asks_for_one(
    installation: Installation, alice: Profile, bob: Profile, is_over: bool
) -> None:
    """Whether the journey still waited for it or was over; what thanks for it stays."""
    steps: list[Any] = [message("first", delivery_channel="in_app", placement="home_top")]
    if not is_over:
        steps += [{"wait": {"for": "2 days"}}, message("second", delivery_channel="in_app")]
    reminder = publish(installation, *steps)
    thanks = publish(
        installation, message("thanks", delivery_channel="in_app"), key="thanks", goals=[]
    )
    for person in (alice, bob):
        allow(person)
        come_in(reminder, person, f"object-{person.pk}")
    advance(NOW)
    come_in(thanks, alice, at=NOW + 2 * HOUR)
    advance(NOW + 2 * HOUR)
    version = Profile.objects.get(pk=alice.pk).inbox_version
    assert len(inbox.page(profile=alice, now=NOW + 2 * HOUR).items) == 2

    data = order_data(email="alice@example.com", at=NOW + 3 * HOUR)
    ids = events.record_orders(installation=installation, data=[data], now=data.placed_at)
    journeys.follow_orders(installation=installation, ids=ids, now=data.placed_at)
    (left,) = inbox.page(profile=alice, now=NOW + 3 * HOUR).items
    assert "thanks" in left.message.idempotency_key
    # Pages that poll see it as well.
    assert Profile.objects.get(pk=alice.pk).inbox_version > version
    assert len(inbox.page(profile=bob, now=NOW + 3 * HOUR).items) == 1
