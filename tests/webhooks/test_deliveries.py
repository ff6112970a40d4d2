"""Stored first, believed later: nothing is lost, nothing counts twice, poison does not spread."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saleor_personalize.enums import DeliveryStatus, Lane
from saleor_personalize.ingestion import deliveries, queries
from saleor_personalize.models import (
    Checkout,
    Identity,
    Installation,
    Order,
    OrderLine,
    Product,
    ProductListing,
    ProductVariant,
    Stock,
    VariantPrice,
    WebhookDelivery,
)
from tests.conftest import make_installation
from tests.payloads import Recorded, one, scenario
from tests.webhooks.deliver import deliver

NOW = datetime.now(UTC)


def store(installation: Installation, *rows: Recorded, now: datetime = NOW) -> None:
    deliveries.store(
        [
            deliveries.row(
                installation_id=installation.pk,
                event=row.event,
                body=row.body,
                issued_at=None,
                now=now,
            )
            for row in rows
        ]
    )


@pytest.mark.django_db
def test_b8_five_times_the_same_is_stored_and_counted_once(installation: Installation) -> None:
    row = one("order", "order_created")
    for _ in range(5):
        deliver(installation, [row], now=NOW)
    assert WebhookDelivery.objects.count() == 1
    assert Order.objects.count() == 1
    assert OrderLine.objects.count() == 1


@pytest.mark.django_db
def test_b116_a_poison_delivery_is_kept_and_holds_up_nobody(installation: Installation) -> None:
    poison = Recorded("order_created", b'{"__typename": "OrderCreated", "order": {"id": "T3Jk"}}')
    good = one("order", "order_created")
    store(installation, poison, good)

    assert deliveries.process_waiting(now=NOW) == 2

    failed = deliveries.failed(installation=installation).get()
    assert failed.error == "An order has no field 'user'."
    assert failed.status == DeliveryStatus.FAILED
    assert bytes(failed.body) == poison.body
    assert Order.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-01T00:00:00Z"]
)
def test_b116_a_moment_that_cannot_be_read_back_holds_up_nobody(
    installation: Installation, moment: str
) -> None:
    """PostgreSQL stores the year 0, Python fails on reading it: the queue of all shops would stand."""
    assert deliveries.issued_at_of({"issuedAt": moment}) is None
    row = one("order", "order_created")
    store(installation, row.changed(updatedAt=moment), row.changed(created=moment), row)

    assert deliveries.process_waiting(now=NOW) == 3

    errors = [delivery.error for delivery in deliveries.failed(installation=installation)]
    assert errors == ["An order (dict) cannot be read: ValueError in one of its fields."] * 2
    assert Order.objects.get().saleor_updated_at is not None


@pytest.mark.django_db
def test_b116_replay_after_the_cause_is_mended(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`saleor-personalize webhooks failed|replay`, as an operator types it."""
    address = "alice@example.com"
    with monkeypatch.context() as broken:
        broken.setattr(
            "saleor_personalize.events.operations.record_orders",
            lambda **_: (_ for _ in ()).throw(ZeroDivisionError(address)),
        )
        deliver(installation, [one("order", "order_created")], now=NOW)
    failed = deliveries.failed(installation=installation).get()
    assert failed.error == "ZeroDivisionError: a fault of this app; see its log."
    assert f"Delivery {failed.pk} (order_created): ZeroDivisionError at" in caplog.text
    assert "in apply" in caplog.text
    assert address not in caplog.text

    call_command("personalize_webhooks", "failed")
    at = f"{NOW:%Y-%m-%d %H:%M} UTC"
    assert f"{failed.pk}  {at}  order_created: ZeroDivisionError" in capsys.readouterr().out
    with pytest.raises(CommandError, match=f"has the id {failed.pk + 1}; nothing was tried"):
        call_command(
            "personalize_webhooks", "replay", "--id", str(failed.pk), "--id", str(failed.pk + 1)
        )
    assert WebhookDelivery.objects.get().status == DeliveryStatus.FAILED
    call_command("personalize_webhooks", "replay", "--id", str(failed.pk))
    assert capsys.readouterr().out.splitlines() == [
        "1 put back in line. Of 1: 1 done, 0 failed again, 0 under way. 0 have failed in all."
    ]
    assert Order.objects.count() == 1
    assert WebhookDelivery.objects.get().status == DeliveryStatus.PROCESSED


@pytest.mark.django_db
def test_b116_who_replays_hears_what_failed_again(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    for body in (b"[5]", b'{"RecordType": "Delivery", "MessageID": "1", "Recipient": "a@b.cd"}'):
        deliveries.store_provider(
            installation=installation,
            provider="postmark",
            body=body,
            content_type="application/json",
            now=NOW,
        )
    WebhookDelivery.objects.update(status=DeliveryStatus.FAILED, error="A fault that was mended.")
    bad = deliveries.failed(installation=installation).earliest("id")
    with pytest.raises(CommandError, match="webhooks failed"):
        call_command("personalize_webhooks", "replay")
    assert capsys.readouterr().out.splitlines() == [
        "2 put back in line. Of 2: 1 done, 1 failed again, 0 under way. 1 have failed in all."
    ]
    assert [each.pk for each in deliveries.failed(installation=installation)] == [bad.pk]
    call_command("personalize_webhooks", "failed", "--json")
    (told,) = json.loads(capsys.readouterr().out)
    assert told == {
        "id": bad.pk,
        "received_at": f"{NOW:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        "event": bad.event,
        "error": "Not what postmark sends (TypeError): see its documentation of webhooks.",
    }


@pytest.mark.django_db
def test_a_passing_fault_is_tried_again_after_a_while_and_not_for_ever(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(**_: Any) -> None:
        raise OperationalError("deadlock detected: Key (email)=(alice@example.com)")

    monkeypatch.setattr("saleor_personalize.events.operations.record_orders", fault)
    store(installation, one("order", "order_created"))
    now, tries = NOW, []
    while WebhookDelivery.objects.get().status == DeliveryStatus.RECEIVED:
        tries.append(deliveries.process_waiting(now=now))
        assert deliveries.process_waiting(now=now) == 0, "not at once again"
        now += deliveries.RETRY_AFTER
    assert tries == [1] * deliveries.MAX_ATTEMPTS
    failed = WebhookDelivery.objects.get()
    assert (failed.status, failed.error) == (DeliveryStatus.FAILED, "OperationalError")


def reports(installation: Installation, count: int) -> None:
    for number in range(count):
        deliveries.store_provider(
            installation=installation,
            provider="postmark",
            body=b'{"RecordType": "Delivery", "MessageID": "%d", "Recipient": "a@b.cd", "Metadata": {}}'
            % number,
            content_type="application/json",
            now=NOW,
        )


@pytest.mark.django_db
def test_b79_a_campaigns_reports_hold_up_no_order_and_are_read_all_the_same(
    installation: Installation,
) -> None:
    reports(installation, 30)
    row = one("order", "order_created")
    store(installation, *(row.changed(number=str(number)) for number in range(12)))

    def left() -> tuple[int, int]:
        waiting = WebhookDelivery.objects.filter(status=DeliveryStatus.RECEIVED)
        return (
            waiting.filter(lane=Lane.URGENT).count(),
            waiting.filter(lane=Lane.PATIENT).count(),
        )

    assert left() == (12, 30)
    assert deliveries.process_waiting(now=NOW, limit=1) == 1
    assert left() == (11, 30)
    # Neither waits until the other is empty.
    assert deliveries.process_waiting(now=NOW, limit=10) == 10
    assert left() == (3, 28)
    assert deliveries.process_waiting(now=NOW) == 31
    assert left() == (0, 0)


@pytest.mark.django_db
def test_b119_reports_that_wait_are_no_worker_that_is_gone(installation: Installation) -> None:
    reports(installation, 2)
    deliver(installation, [one("order", "order_created")], now=NOW)
    reports(installation, 5)
    later = NOW + timedelta(minutes=30)
    found = queries.webhook_health(installation=installation, now=later)
    assert (found.waiting, found.is_stuck(later)) == (3, False)
    assert found.lag_p95 == timedelta(0)
    # Nobody reads them at all.
    assert found.is_stuck(NOW + timedelta(minutes=61))
    # An order that waits tells so at once.
    store(installation, one("order", "order_created").changed(number="2"))
    found = queries.webhook_health(installation=installation, now=later)
    assert found.is_stuck(NOW + timedelta(seconds=61))
    assert not found.is_stuck(NOW + timedelta(seconds=59))


@pytest.mark.django_db
def test_only_processed_deliveries_are_purged(installation: Installation) -> None:
    deliver(installation, [one("order", "order_created")], now=NOW)
    store(installation, Recorded("order_created", b"[]"))
    deliveries.process_waiting(now=NOW)
    assert deliveries.purge(now=NOW + timedelta(days=13)) == 0
    assert deliveries.purge(now=NOW + timedelta(days=15)) == 1
    assert WebhookDelivery.objects.get().status == DeliveryStatus.FAILED


@pytest.mark.django_db(transaction=True)
def test_b116_many_workers_take_each_delivery_once() -> None:
    """Workers were away for an hour; four come back at once."""
    installation = make_installation()
    rows = [
        one("order", "order_created").changed(id=f"T3JkZXI6{number}", checkoutId=None, lines=[])
        for number in range(40)
    ]
    store(installation, *rows)
    taken: list[int] = []

    def work() -> None:
        try:
            while count := deliveries.process_waiting(now=NOW + timedelta(hours=1), limit=3):
                taken.append(count)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(taken) == 40
    assert set(WebhookDelivery.objects.values_list("status", "attempts")) == {("processed", 1)}
    assert Order.objects.count() == 40
    # All forty show the same address: one person, however many workers met them.
    assert Identity.objects.filter(kind="email").count() == 1


STORY = [*scenario("order_cancelled"), *scenario("price_change")]


def tables() -> dict[str, list[Any]]:
    """Return everything the deliveries recorded, without ids and arrival times of ours."""
    return {
        "checkouts": sorted(
            Checkout.objects.values_list(
                "saleor_id", "email_hash", "close_reason", "total", "last_changed_at"
            )
        ),
        "orders": sorted(Order.objects.values_list("saleor_id", "status", "saleor_updated_at")),
        "lines": sorted(OrderLine.objects.values_list("saleor_id", "quantity", "unit_price")),
        "products": sorted(Product.objects.values_list("saleor_id", "name", "saleor_updated_at")),
        "variants": sorted(ProductVariant.objects.values_list("saleor_id", "product_saleor_id")),
        "listings": sorted(
            ProductListing.objects.values_list("product_saleor_id", "is_in_stock", "price")
        ),
        "stocks": sorted(Stock.objects.values_list("variant_saleor_id", "quantity")),
        "prices": sorted(VariantPrice.objects.values_list("variant_saleor_id", "price")),
        "people": sorted(Identity.objects.values_list("kind", "value")),
    }


def after(installation: Installation, rows: list[Recorded]) -> dict[str, list[Any]]:
    """Return the tables after some deliveries, which are undone."""
    with transaction.atomic():
        deliver(installation, rows, now=NOW)
        found = tables()
        transaction.set_rollback(True)
    return found


@pytest.fixture
def in_order(installation: Installation) -> dict[str, list[Any]]:
    return after(installation, STORY)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_b8_any_order_of_arrival_with_repeats_ends_the_same(
    installation: Installation, in_order: dict[str, list[Any]], data: st.DataObject
) -> None:
    """Retries come minutes late, and two workers never agree on an order: the tables still do."""
    extra = data.draw(st.lists(st.sampled_from(STORY), max_size=4))
    shuffled = data.draw(st.permutations([*STORY, *extra]))
    assert after(installation, shuffled) == in_order
