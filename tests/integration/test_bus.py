"""B109: other apps are told what happened, signed, at least once, and nothing about who it was."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from saleor_personalize import bus
from saleor_personalize.bus import client, delivery, operations, signing
from saleor_personalize.enums import (
    BusEvent,
    ConsentState,
    DeliveryChannel,
    InstallationStatus,
    MergeProof,
    NotSentReason,
    OutgoingStatus,
    Purpose,
)
from saleor_personalize.events import operations as events
from saleor_personalize.events.abandoned import publish_abandoned
from saleor_personalize.exceptions import OutgoingRefused, SaleorApiError, UnknownAlias
from saleor_personalize.health import problems
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.messaging.outgoing import described
from saleor_personalize.models import (
    Installation,
    Message,
    OutgoingDelivery,
    OutgoingWebhook,
    Profile,
    Segment,
)
from saleor_personalize.profiles import consent, merging, privacy, retention
from saleor_personalize.saleor_api import network
from saleor_personalize.saleor_api.client import SaleorClient
from saleor_personalize.segments import operations as segments
from saleor_personalize.testing.saleor import FakeSaleor
from tests.conftest import NOW, make_profile
from tests.integration.reminders import HOUR, MINUTE, checkout_data, order_data
from tests.integration.test_backfill import installed
from tests.receiver import Receiver, receiving

DAY = timedelta(days=1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(autouse=True)
def _loopback(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "BUS_ALLOW_PRIVATE_ADDRESSES": True,
    }


def listen(
    installation: Installation, receiver: Receiver, *events: str, **changes: Any
) -> OutgoingWebhook:
    return operations.add(
        **{
            "installation": installation,
            "alias": "crm",
            "url": receiver.url,
            "events": events or BusEvent.values,
            "now": NOW - DAY,
            **changes,
        }
    )


def deliver(now: datetime = NOW, **changes: Any) -> int:
    return delivery.deliver_due(
        **{"now": now, "describe": described, "jitter": lambda: 0.0, **changes}
    )


def tell(installation: Installation, number: int = 1, **changes: Any) -> None:
    bus.publish(
        **{
            "installation": installation,
            "event": BusEvent.STOCK_ALERT_REQUESTED,
            "data": {"variantId": f"variant-{number}"},
            "now": NOW,
            **changes,
        }
    )


# -- what is told --------------------------------------------------------------------------------------


def test_b109_a_delivery_is_signed_and_names_nobody(
    alice: Profile, installation: Installation, receiver: Receiver
) -> None:
    webhook = listen(installation, receiver)
    tell(installation, profile_id=alice.pk)
    assert deliver() == 1
    (got,) = receiver.received
    assert got.content == {
        "id": got.headers["Personalize-Event-Id"],
        "event": "stock_alert.requested",
        "occurredAt": "2026-03-02T12:00:00+00:00",
        "saleorApiUrl": installation.saleor_api_url,
        "person": {"reference": str(alice.public_id), "saleorUserId": "VXNlcjox"},
        "data": {"variantId": "variant-1"},
    }
    assert got.headers["Personalize-Event"] == "stock_alert.requested"
    assert got.headers["Personalize-Attempt"] == "1"
    assert got.headers["Content-Type"] == "application/json; charset=utf-8"
    timestamp = int(NOW.timestamp())
    signed = hmac.new(
        webhook.secret.encode(), f"{timestamp}.".encode() + got.body, "sha256"
    ).hexdigest()
    assert got.headers["Personalize-Signature"] == f"t={timestamp},v1={signed}"
    row = OutgoingDelivery.objects.get()
    assert (row.status, row.answer_status, row.attempts) == (OutgoingStatus.DELIVERED, 200, 1)
    assert deliver(NOW + DAY) == 0


def test_b109_who_it_is_is_told_only_where_the_shop_switched_it_on(
    alice: Profile, installation: Installation, receiver: Receiver
) -> None:
    Profile.objects.filter(pk=alice.pk).update(first_name="Alice", language_code="de")
    listen(installation, receiver, has_personal_data=True)
    tell(installation, profile_id=alice.pk)
    (waiting,) = OutgoingDelivery.objects.values_list("data", flat=True)
    assert waiting == {"variantId": "variant-1"}
    deliver()
    assert receiver.contents[0]["person"] == {
        "reference": str(alice.public_id),
        "saleorUserId": "VXNlcjox",
        "email": "alice@example.com",
        "firstName": "Alice",
        "languageCode": "de",
        "countryCode": "",
    }


@pytest.mark.django_db(transaction=True)
def test_b109_a_fact_that_is_rolled_back_is_told_to_nobody(
    installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver)
    with transaction.atomic():
        tell(installation)
        transaction.set_rollback(True)
    assert deliver() == 0
    assert receiver.received == []


def test_b109_nobody_listens_so_nothing_is_kept(
    installation: Installation, receiver: Receiver, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        tell(installation)
    listen(installation, receiver, BusEvent.MESSAGE_SENT)
    off = listen(installation, receiver, alias="off")
    operations.switch_off(webhook=off)
    tell(installation)
    assert not OutgoingDelivery.objects.exists()


def test_b109_one_fact_has_one_id_for_all_and_is_told_once(
    installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver)
    listen(installation, receiver, alias="other")
    tell(installation, key="alert-1")
    tell(installation, key="alert-1")
    tell(installation, 2, key="alert-2")
    assert deliver() == 4
    ids = [each["id"] for each in receiver.contents]
    assert len(set(ids)) == 2
    assert all(ids.count(each) == 2 for each in ids)


def test_b109_no_shop_hears_of_another(
    installation: Installation, other_installation: Installation, receiver: Receiver
) -> None:
    listen(other_installation, receiver)
    tell(installation)
    assert deliver() == 0
    assert not OutgoingDelivery.objects.exists()


def test_b109_a_switched_off_app_tells_nothing_until_it_is_back(
    installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver)
    tell(installation)
    Installation.objects.update(status=InstallationStatus.INACTIVE)
    assert deliver() == 0
    Installation.objects.update(status=InstallationStatus.ACTIVE)
    assert deliver(NOW + 2 * DAY) == 1
    assert len(receiver.received) == 1


# -- the facts of today --------------------------------------------------------------------------------


def test_b109_consent_changed(bob: Profile, installation: Installation, receiver: Receiver) -> None:
    listen(installation, receiver, BusEvent.CONSENT_CHANGED)
    consent.record(
        profile=bob,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=ConsentState.GRANTED,
        source="preference_centre",
        topic="offers",
        now=NOW,
    )
    deliver()
    (told,) = receiver.contents
    assert told["event"] == "consent.changed"
    assert told["person"]["reference"] == str(bob.public_id)
    assert told["data"] == {
        "purpose": "marketing",
        "deliveryChannel": "email",
        "topic": "offers",
        "state": "granted",
        "source": "preference_centre",
    }


def test_b109_profile_merged_once(
    alice: Profile, carol: Profile, installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver, BusEvent.PROFILE_MERGED)
    for proof in (MergeProof.LOGIN, MergeProof.DEVICE_TOKEN):
        merging.prove(installation=installation, first=carol, second=alice, proof=proof, now=NOW)
    deliver()
    (told,) = receiver.contents
    assert told["person"] == {"reference": str(alice.public_id), "saleorUserId": "VXNlcjox"}
    assert told["data"] == {
        "references": [str(alice.public_id), str(carol.public_id)],
        "proof": "login",
    }


def test_b109_segment_entered(
    alice: Profile, bob: Profile, installation: Installation, receiver: Receiver
) -> None:
    segment = Segment.objects.create(
        installation=installation,
        key="germans",
        name="Germans",
        definition={"rule": "country", "code": "DE"},
        created_at=NOW,
        updated_at=NOW,
        full_evaluation_due_at=NOW,
    )
    segments.evaluate_full(segment=segment, now=NOW - HOUR)
    listen(installation, receiver, BusEvent.SEGMENT_ENTERED)
    Profile.objects.filter(pk=alice.pk).update(country_code="DE")
    segment.refresh_from_db()
    segments.evaluate_full(segment=segment, now=NOW)
    deliver()
    (told,) = receiver.contents
    assert told["data"] == {"segment": "germans"}
    assert told["person"]["reference"] == str(alice.public_id)


def draft(profile: Profile, key: str) -> messaging.Draft:
    return messaging.Draft(key=key, profile=profile, template="abandoned_checkout")


def hand_over(profile: Profile, key: str, attempts: int = 0) -> bool:
    message = messaging.prepare(draft=draft(profile, key))
    message.attempts = attempts
    messaging.begin_hand_over(message=message, content={}, now=NOW)
    outgoing = OutgoingMessage(
        key=message.public_id.hex,
        recipient="alice@example.com",
        sender="shop@example.com",
        subject="Your cart",
        text="It waits.",
        html="",
        headers={},
    )
    return messaging.hand_over(message=message, outgoing=outgoing, now=NOW)


@pytest.mark.django_db(transaction=True)
def test_b109_message_sent_and_not_sent(
    alice: Profile, bob: Profile, installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver, BusEvent.MESSAGE_SENT, BusEvent.MESSAGE_NOT_SENT)
    hand_over(alice, "one")
    messaging.record_not_sent(
        draft=draft(bob, "two"), reason=NotSentReason.NO_CONSENT, now=NOW + MINUTE
    )
    deliver(NOW + HOUR)
    sent, refused = receiver.contents
    assert (sent["event"], refused["event"]) == ("message.sent", "message.not_sent")
    assert sent["data"] == {
        "messageId": str(Message.objects.get(profile=alice).public_id),
        "template": "abandoned_checkout",
        "purpose": "marketing",
        "deliveryChannel": "email",
        "status": "sent",
        "reason": None,
        "subjectId": None,
    }
    assert refused["person"]["reference"] == str(bob.public_id)
    assert (refused["data"]["status"], refused["data"]["reason"]) == ("not_sent", "no_consent")


@pytest.mark.django_db(transaction=True)
def test_b109_a_message_that_is_tried_again_is_not_told_of_until_it_is_decided(
    alice: Profile, installation: Installation, receiver: Receiver, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    listen(installation, receiver)
    assert hand_over(alice, "one")
    assert not OutgoingDelivery.objects.exists()
    assert not hand_over(alice, "two", attempts=messaging.MAX_ATTEMPTS - 1)
    row = OutgoingDelivery.objects.get()
    assert row.event == "message.not_sent"
    assert (row.data["status"], row.data["reason"]) == ("failed", "channel_error")


def test_b109_a_hand_over_that_was_interrupted_is_told_of_once(
    alice: Profile, installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver)
    message = messaging.prepare(draft=draft(alice, "one"))
    messaging.begin_hand_over(message=message, content={}, now=NOW)
    assert messaging.settle_interrupted(now=NOW + messaging.HAND_OVER_LEASE) == 1
    assert messaging.settle_interrupted(now=NOW + messaging.HAND_OVER_LEASE) == 0
    row = OutgoingDelivery.objects.get()
    assert (row.event, row.data["status"]) == ("message.not_sent", "uncertain")


def test_b109_checkout_abandoned_once_per_change_and_never_after_an_order(
    installation: Installation, receiver: Receiver
) -> None:
    one = checkout_data(email="carl@example.com")
    two = checkout_data("checkout-2", email="dora@example.com")
    row, ordered = (
        recorded.row
        for recorded in events.record_checkouts(installation=installation, data=[one, two], now=NOW)
    )
    events.record_orders(
        installation=installation,
        data=[order_data(email="dora@example.com", placed_at=NOW + MINUTE)],
        now=NOW,
    )
    listen(installation, receiver, BusEvent.CHECKOUT_ABANDONED)
    assert publish_abandoned(now=row.last_changed_at + 59 * MINUTE) == 0
    assert publish_abandoned(now=row.last_changed_at + 61 * MINUTE) == 1
    assert publish_abandoned(now=row.last_changed_at + 62 * MINUTE) == 0
    deliver(NOW + DAY)
    (told,) = receiver.contents
    assert told["occurredAt"] == (row.last_changed_at + HOUR).isoformat()
    assert told["data"]["checkoutId"] == "checkout-1"
    assert told["data"]["lines"][0].keys() == {"productId", "variantId", "quantity"}
    assert "carl" not in str(told)
    assert ordered.saleor_id not in str(told)
    type(row).objects.filter(pk=row.pk).update(last_changed_at=NOW + 3 * HOUR)
    assert publish_abandoned(now=NOW + 5 * HOUR) == 1


# -- trying again --------------------------------------------------------------------------------------


def test_b109_a_receiver_that_is_down_is_tried_for_a_day_and_then_it_is_replayed(
    installation: Installation, receiver: Receiver, settings: Any
) -> None:
    webhook = listen(installation, receiver)
    receiver.answers = [503]
    tell(installation)
    waits, at = [], NOW
    for _ in range(20):
        row = OutgoingDelivery.objects.get()
        if row.status != OutgoingStatus.WAITING:
            break
        at = max(row.due_at, OutgoingWebhook.objects.get().rests_until or row.due_at)
        assert deliver(at) == 1
        waits.append(at - NOW)
    row = OutgoingDelivery.objects.get()
    assert (row.status, row.answer_status) == (OutgoingStatus.FAILED, 503)
    assert row.attempts == len(receiver.received) == 10
    assert timedelta(hours=20) < waits[-1] < DAY
    assert row.error == "The receiver answered 503."
    first, *others = [each.headers["Personalize-Event-Id"] for each in receiver.received]
    assert {first} == set(others)
    assert receiver.received[-1].headers["Personalize-Attempt"] == "10"

    receiver.answers = [204]
    webhook.refresh_from_db()
    assert operations.replay(webhook=webhook, now=NOW + 2 * DAY) == 1
    assert deliver(NOW + 2 * DAY) == 1
    assert receiver.received[-1].headers["Personalize-Event-Id"] == first
    webhook.refresh_from_db()
    assert (webhook.failing_since, webhook.failures, webhook.rests_until) == (None, 0, None)


def test_b109_all_waits_with_the_longest_jitter_fit_into_a_day() -> None:
    longest = sum(delivery.DELAYS, timedelta()) * (1 + delivery.JITTER)
    assert timedelta(hours=22) < longest < DAY


def test_b109_jitter_parts_what_failed_together(
    installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver)
    receiver.answers = [500]
    tell(installation, 1)
    tell(installation, 2)
    shares = iter((0.0, 1.0))
    deliver(jitter=lambda: next(shares))
    one, two = OutgoingDelivery.objects.order_by("pk").values_list("due_at", flat=True)
    assert (one - NOW, two - NOW) == (timedelta(seconds=30), timedelta(seconds=33))


def test_b109_a_worker_that_dies_in_between_tells_again_with_the_same_id(
    installation: Installation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(installation, receiver)
    tell(installation)
    with monkeypatch.context() as patch:

        def die(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(delivery, "_record", die)
        with pytest.raises(KeyboardInterrupt):
            deliver()
    assert deliver(NOW + MINUTE) == 0
    assert deliver(NOW + delivery.CLAIM) == 1
    one, two = receiver.contents
    assert one["id"] == two["id"]
    assert OutgoingDelivery.objects.get().status == OutgoingStatus.DELIVERED


def test_b109_while_nothing_arrives_the_receiver_is_left_in_peace(
    installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver)
    receiver.answers = [500]
    for number in range(50):
        tell(installation, number)
    assert deliver() == delivery.PATIENT_FAILURES
    assert deliver(NOW + timedelta(seconds=59)) == 0
    assert deliver(NOW + timedelta(seconds=60)) == 1
    receiver.answers = [200]
    assert deliver(NOW + 10 * MINUTE) == 50
    statuses = OutgoingDelivery.objects.values_list("status", flat=True)
    assert set(statuses) == {OutgoingStatus.DELIVERED}


def test_b109_one_receiver_that_is_down_does_not_hold_up_another(
    installation: Installation, receiver: Receiver
) -> None:
    with receiving() as other:
        listen(installation, receiver)
        listen(installation, other, alias="other", url=other.url)
        receiver.answers = [500]
        for number in range(5):
            tell(installation, number)
        deliver()
    assert len(receiver.received) == 3
    assert len(other.received) == 5


def test_b109_switched_off_after_long_with_a_problem_in_the_dashboard(
    receiver: Receiver, settings: Any, db: None
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "ALLOW_PRIVATE_ADDRESSES": True,
    }
    with FakeSaleor() as shop:
        installation = installed(shop)
        webhook = listen(installation, receiver)
        receiver.answers = [500]
        for day in range(4):
            tell(installation, day, now=NOW + day * DAY)
            assert OutgoingWebhook.objects.get().is_active, day
            deliver(NOW + day * DAY)
            assert problems.show(now=NOW + day * DAY) == int(day == 3)
        webhook.refresh_from_db()
        assert (webhook.is_active, webhook.disabled_at) == (False, NOW + 3 * DAY)
        statuses = OutgoingDelivery.objects.values_list("status", flat=True)
        assert set(statuses) == {OutgoingStatus.FAILED}
        (message,) = shop.problems.values()
        assert "“crm” was switched off" in message
        assert problems.show(now=NOW + 3 * DAY) == 0
        tell(installation, 9, now=NOW + 4 * DAY)
        assert deliver(NOW + 4 * DAY) == 0
        with pytest.raises(OutgoingRefused, match="switch it on first"):
            operations.replay(webhook=webhook, now=NOW + 4 * DAY)

        receiver.answers = [200]
        operations.switch_on(webhook=webhook)
        assert problems.show(now=NOW + 4 * DAY) == 1
        assert shop.problems == {}
        assert operations.replay(webhook=webhook, now=NOW + 4 * DAY) == 4
        assert deliver(NOW + 4 * DAY) == 4
        assert {each["data"]["variantId"] for each in receiver.contents[-4:]} == {
            f"variant-{day}" for day in range(4)
        }


def test_b109_a_saleor_without_a_list_of_problems_is_not_asked_for_ever(
    installation: Installation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = listen(installation, receiver)
    OutgoingWebhook.objects.filter(pk=webhook.pk).update(is_active=False, disabled_at=NOW)
    asked: list[str] = []

    def refuse(self: SaleorClient, name: str, variables: Any) -> Any:
        asked.append(name)
        raise SaleorApiError("Cannot query field", is_retryable=len(asked) == 1)

    monkeypatch.setattr(SaleorClient, "execute", refuse)
    assert [problems.show(now=NOW) for _ in range(3)] == [0, 1, 0]
    assert asked == ["AppProblemCreate"] * 2


# -- secrets -------------------------------------------------------------------------------------------


def test_b109_both_secrets_sign_while_one_replaces_the_other(
    installation: Installation, receiver: Receiver
) -> None:
    webhook = listen(installation, receiver)
    before = webhook.secret
    after = operations.rotate(webhook=webhook, now=NOW)
    assert before != after
    assert re.fullmatch(r"spw_[0-9a-f]{64}", after)
    for number, at in enumerate((NOW, NOW + signing.ROTATION)):
        tell(installation, number, now=at)
        deliver(at)
    during, later = receiver.received
    stamp = int(NOW.timestamp())
    assert during.headers["Personalize-Signature"] == (
        f"t={stamp},v1={signing.sign(during.body, after, stamp)},"
        f"v1={signing.sign(during.body, before, stamp)}"
    )
    assert later.headers["Personalize-Signature"].count("v1=") == 1


def test_b109_secrets_and_addresses_are_encrypted_at_rest(
    installation: Installation, receiver: Receiver
) -> None:
    webhook = listen(installation, receiver)
    with connection.cursor() as cursor:
        cursor.execute("SELECT url, secret FROM saleor_personalize_outgoingwebhook")
        (row,) = cursor.fetchall()
    assert webhook.url not in row
    assert webhook.secret not in row
    assert all(text.startswith("gAAAA") for text in row)


# -- where it may go -----------------------------------------------------------------------------------


def resolves(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let every name resolve to these, one answer after the other; the last stays."""
    waiting = list(answers)
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    monkeypatch.setattr(network, "resolve", resolve)
    return asked


PRIVATE = [
    "127.0.0.1",
    "10.0.0.8",
    "192.168.1.1",
    "172.16.0.1",
    "::1",
    "fc00::1",
    "::ffff:10.0.0.1",
]
NEVER = [
    "169.254.169.254",
    "fe80::1",
    "fd00:ec2::254",
    "100.100.100.200",
    "::ffff:169.254.169.254",
    # The same one by way of NAT64 and of 6to4.
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
]


@pytest.mark.parametrize("address", [*PRIVATE, *NEVER])
def test_b109_private_addresses_are_refused_when_a_webhook_is_made(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, settings: Any, address: str
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "BUS_ALLOW_PRIVATE_ADDRESSES": False,
        # What shops may is no licence for webhooks.
        "ALLOW_PRIVATE_ADDRESSES": True,
    }
    resolves(monkeypatch, ["93.184.216.34", address])
    with pytest.raises(OutgoingRefused) as refused:
        listen(installation, Receiver(url="https://hooks.example.com/x"))
    assert refused.value.field == "url"
    assert not OutgoingWebhook.objects.exists()


@pytest.mark.parametrize("address", NEVER)
def test_b109_what_clouds_tell_their_machines_is_never_reached(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolves(monkeypatch, [address])
    with pytest.raises(OutgoingRefused, match="link-local"):
        listen(installation, Receiver(url="http://hooks.example.com/x"))


def test_b109_a_name_that_changes_its_mind_gains_nothing(
    installation: Installation,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    """DNS rebinding: public when the webhook is made and when it is checked, ours when it is called."""
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "BUS_ALLOW_PRIVATE_ADDRESSES": False,
    }
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    asked = resolves(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    listen(installation, Receiver(url=f"https://rebind.example.com:{port}/hook"))
    tell(installation)
    assert deliver() == 1
    assert receiver.received == []
    assert asked == ["rebind.example.com", "rebind.example.com"]
    assert "private, loopback" in OutgoingDelivery.objects.get().error


def test_b109_the_connection_goes_to_the_address_that_was_checked(
    installation: Installation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolves(monkeypatch, ["127.0.0.1"])
    url = receiver.url.replace("127.0.0.1", "internal.example")
    listen(installation, Receiver(url=url))
    tell(installation)
    deliver()
    assert asked == ["internal.example"] * 2  # made, tried; and never behind our back
    assert receiver.received[0].headers["Host"].startswith("internal.example:")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_b109_a_redirect_is_a_failure_and_is_not_followed(
    installation: Installation, receiver: Receiver, status: int
) -> None:
    with receiving() as inside:
        listen(installation, receiver)
        receiver.answers, receiver.answer_headers = [status], {"Location": inside.url}
        tell(installation)
        deliver()
        assert inside.received == []
    row = OutgoingDelivery.objects.get()
    assert (row.status, row.answer_status) == (OutgoingStatus.WAITING, status)
    assert "redirect" in row.error


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/x",
        "https://user:password@example.com/",
        "file:///etc/passwd",
        "https://",
        "https://example.com:99999/",
        "nonsense",
        "https://example.com/" + "x" * 1_000,
    ],
)
def test_b109_what_is_no_address_is_refused(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    resolves(monkeypatch, ["93.184.216.34"])
    with pytest.raises(OutgoingRefused) as refused:
        listen(installation, Receiver(url=url))
    assert refused.value.field == "url"
    assert not OutgoingWebhook.objects.exists()


def test_b109_the_internet_is_spoken_to_in_secret_only(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves(monkeypatch, ["93.184.216.34"])
    with pytest.raises(OutgoingRefused, match="https"):
        listen(installation, Receiver(url="http://hooks.example.com/x"))


def test_b109_a_receiver_that_never_stops_answering_is_cut_off(
    installation: Installation, receiver: Receiver
) -> None:
    receiver.answer_body = b"x" * (client.MAX_ANSWER_BYTES * 4)
    listen(installation, receiver)
    tell(installation)
    deliver()
    assert OutgoingDelivery.objects.get().status == OutgoingStatus.DELIVERED


def test_b109_a_fault_tells_no_address(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as gone:
        pass
    listen(installation, Receiver(url=f"{gone.url}/token-in-the-path"))
    tell(installation)
    deliver()
    row = OutgoingDelivery.objects.get()
    assert row.error == "The connection failed (ConnectError)."
    assert "token-in-the-path" not in caplog.text


# -- what cannot be ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"alias": "Not Good"}, "alias"),
        ({"alias": ""}, "alias"),
        ({"alias": "x" * 61}, "alias"),
        ({"events": ["message.read"]}, "events"),
    ],
)
def test_b109_what_a_webhook_cannot_be(
    installation: Installation, receiver: Receiver, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(OutgoingRefused) as refused:
        listen(installation, receiver, **changes)
    assert refused.value.field == field
    assert not OutgoingWebhook.objects.exists()


def test_b109_names_are_unique_in_a_shop_and_few(
    installation: Installation, other_installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver)
    listen(other_installation, receiver)
    with pytest.raises(OutgoingRefused, match="already"):
        listen(installation, receiver)
    for number in range(operations.MAX_WEBHOOKS - 1):
        listen(installation, receiver, alias=f"w{number}")
    with pytest.raises(OutgoingRefused, match="too many"):
        listen(installation, receiver, alias="more")


# -- the step of a journey -----------------------------------------------------------------------------


def test_b109_b60_a_step_calls_a_webhook_by_its_name(
    alice: Profile, installation: Installation, receiver: Receiver
) -> None:
    webhook = listen(installation, receiver, BusEvent.MESSAGE_SENT)
    for _ in range(2):
        assert bus.send_to(
            installation=installation,
            alias="crm",
            data={"journey": "win_back", "step": "tell"},
            profile_id=alice.pk,
            key="enrollment-7:tell",
            now=NOW,
        )
    assert deliver() == 1
    (told,) = receiver.contents
    assert (told["event"], told["data"]["step"]) == ("journey.step", "tell")
    operations.switch_off(webhook=webhook)
    assert not bus.send_to(installation=installation, alias="crm", data={}, now=NOW)
    with pytest.raises(UnknownAlias, match=r"'crn'\. Known: crm"):
        bus.send_to(installation=installation, alias="crn", data={}, now=NOW)
    assert bus.aliases(installation=installation) == ["crm"]


# -- people's rights -----------------------------------------------------------------------------------


def test_b109_an_erased_person_is_told_of_no_more_and_is_in_no_log(
    alice: Profile, bob: Profile, installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver, created_by="VXNlcjox")
    tell(installation, 1, profile_id=alice.pk)
    deliver()
    tell(installation, 2, profile_id=alice.pk)
    tell(installation, 3, profile_id=bob.pk)
    exported = privacy.export(profile=alice, now=NOW)["outgoing_deliveries"]
    assert [row["data"] for row in exported] == [
        {"variantId": "variant-1"},
        {"variantId": "variant-2"},
    ]
    assert exported[0]["webhook"] == "crm"
    assert UUID(exported[0]["id"])
    privacy.erase(profile=alice, requested_by="staff", now=NOW)  # type: ignore[arg-type]
    deliver()
    assert [each["data"] for each in receiver.contents[1:]] == [{"variantId": "variant-3"}]
    assert OutgoingDelivery.objects.get().profile == bob
    assert OutgoingWebhook.objects.get().created_by == ""


def test_b109_the_log_goes_after_its_time_and_what_waits_stays(
    installation: Installation, receiver: Receiver
) -> None:
    listen(installation, receiver)
    tell(installation, 1)
    deliver()
    receiver.answers = [500]
    tell(installation, 2)
    deliver()
    assert retention.purge(now=NOW + 29 * DAY)["outgoing_deliveries"] == 0
    assert retention.purge(now=NOW + 31 * DAY)["outgoing_deliveries"] == 1
    assert OutgoingDelivery.objects.get().status == OutgoingStatus.WAITING


def test_b109_profiles_of_one_person_are_told_of_as_one(
    alice: Profile, installation: Installation, receiver: Receiver
) -> None:
    phone = make_profile(installation, anonymous_id="3f0d6e0e-phone-of-alice")
    merging.prove(
        installation=installation, first=phone, second=alice, proof=MergeProof.LOGIN, now=NOW
    )
    listen(installation, receiver)
    tell(installation, profile_id=phone.pk)
    deliver()
    assert receiver.contents[0]["person"]["reference"] == str(alice.public_id)
