"""Every page of the Dashboard, taken from its URLs, and a shop with something on each of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.urls import URLPattern, reverse

from saleor_personalize.analytics import operations as analytics
from saleor_personalize.audit import operations as audit
from saleor_personalize.dashboard.urls import urlpatterns
from saleor_personalize.enums import (
    AuditAction,
    DeliveryChannel,
    DeliveryStatus,
    EventSource,
    EventType,
    ExperimentKind,
    ImportStatus,
    MessageStatus,
    NotSentReason,
    OfferKind,
    OfferStatus,
    Purpose,
    RuleEffect,
)
from saleor_personalize.journeys.operations import ensure_journey
from saleor_personalize.models import (
    Checkout,
    Event,
    Experiment,
    Import,
    Installation,
    MerchandisingRule,
    Message,
    Offer,
    OutgoingWebhook,
    Profile,
    RefusedEvent,
    Segment,
    ServerKey,
    WebhookDelivery,
)
from saleor_personalize.offers.terms import read as read_terms
from saleor_personalize.profiles import retention

#: Fragments that are not asked for here, and why.
ELSEWHERE = {
    "dashboard": "the empty page itself: tests/integration/test_dashboard.py",
    "dashboard-open": "the empty page, for a link of a widget: tests/integration/test_widgets.py",
    "dashboard-experiment-ask-decide": "asks about a winner: tests/integration/test_experiments_page.py",
    "dashboard-health-outside": "asks the shop's Saleor: tests/integration/test_health_page.py",
    "dashboard-go-live-check": "asks the DNS: tests/integration/test_go_live.py",
}


def patterns() -> list[URLPattern]:
    """Return what staff may ask for, but what is tested elsewhere."""
    return [
        pattern
        for pattern in urlpatterns
        if pattern.name is not None
        and pattern.name.startswith("dashboard")
        and pattern.name not in ELSEWHERE
    ]


def urls(known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (name, URL) of each; `known` has a value for every parameter, so that none is left out."""
    for pattern in patterns():
        needed = pattern.pattern.regex.groupindex
        assert needed.keys() <= known.keys(), f"{pattern.name}: give tests.pages.fill a value"
        assert pattern.name is not None
        yield pattern.name, reverse(pattern.name, kwargs={name: known[name] for name in needed})


def fill(
    installation: Installation, profile: Profile, *, count: int, now: datetime
) -> dict[str, Any]:
    """Make `count` of whatever pages list; return a value for each parameter of a URL."""
    begin = Message.objects.of(installation).count()
    numbers = range(begin, begin + count)
    journey = ensure_journey(installation=installation, key="abandoned_checkout")

    def ago(number: int) -> datetime:
        return now - timedelta(minutes=number)

    messages = Message.objects.bulk_create(
        Message(
            installation=installation, idempotency_key=f"page-{n}", profile=profile, journey=journey,
            template="abandoned_checkout", purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            status=MessageStatus.NOT_SENT if n % 3 else MessageStatus.SENT,
            reason=NotSentReason.NO_CONSENT if n % 3 else "", decided_at=ago(n),
            handed_over_at=None if n % 3 else ago(n),
        )
        for n in numbers
    )  # fmt: skip
    carts = Checkout.objects.bulk_create(
        Checkout(
            installation=installation, profile=profile, saleor_id=f"cart-{n}", token=f"t{n}",
            channel_slug="us", currency="USD", total=10, last_changed_at=ago(n + 90),
            lines=[{"id": "l", "variant_id": "v", "product_id": "p", "quantity": 1, "unit_price": "10"}],
        )
        for n in numbers
    )  # fmt: skip
    Event.objects.bulk_create(
        Event(
            installation=installation, profile=profile, event_id=f"page-{n}",
            type=EventType.PRODUCT_VIEWED, occurred_at=ago(n), received_at=ago(n),
            month=ago(n).date().replace(day=1), source=EventSource.STOREFRONT,
            channel_slug="us", product_saleor_id=f"UHJvZHVjdDo{n}",
        )
        for n in numbers
    )  # fmt: skip
    RefusedEvent.objects.bulk_create(
        RefusedEvent(
            installation=installation, at=ago(n), source=EventSource.STOREFRONT, type="searched",
            code="QUERY_REQUIRED", message="SEARCHED needs `query`.", field="query",
            shape={"id": "text of 2", "type": "text of 8"},
        )
        for n in numbers
    )  # fmt: skip
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(
            installation=installation, event="product_updated", body=b"{}",
            body_hash=n.to_bytes(32, "big"), received_at=ago(n), processed_at=ago(n),
            status=DeliveryStatus.PROCESSED if n % 5 else DeliveryStatus.FAILED, error="" if n % 5 else "Broken.",
        )
        for n in numbers
    )  # fmt: skip
    for n in numbers:
        audit.record(
            installation=installation, action=AuditAction.JOURNEY_PAUSED, now=ago(n),
            actor=audit.Actor("VXNlcjox", "staff@example.com"), on=journey, detail={"number": n},
        )  # fmt: skip
    segments = Segment.objects.bulk_create(
        Segment(
            installation=installation, key=f"s{n}", name=f"Segment {n}", definition={"all": []},
            created_at=now, updated_at=now,
        )
        for n in numbers
    )  # fmt: skip
    imports = Import.objects.bulk_create(
        Import(
            installation=installation, status=ImportStatus.DONE, file_name=f"{n}.csv", digest=f"{n}",
            created_at=ago(n), started_at=ago(n), finished_at=ago(n), row_count=3, position=3,
        )
        for n in numbers
    )  # fmt: skip
    rules = MerchandisingRule.objects.bulk_create(
        MerchandisingRule(
            installation=installation, name=f"Rule {n}", effect=RuleEffect.BOOST,
            conditions={}, updated_at=now,
        )
        for n in numbers
    )  # fmt: skip
    keys = ServerKey.objects.bulk_create(
        ServerKey(
            installation=installation,
            name=f"Key {n}",
            prefix=f"k{n}",
            secret_hash="0",
            created_at=now,
        )
        for n in numbers
    )
    webhooks = OutgoingWebhook.objects.bulk_create(
        OutgoingWebhook(
            installation=installation, alias=f"app {n}", url="https://app.test/in",
            events=["message.sent"], secret="s", created_at=now,
        )
        for n in numbers
    )  # fmt: skip
    experiments = Experiment.objects.bulk_create(
        Experiment(
            installation=installation, key=f"placement:p{n}", kind=ExperimentKind.PLACEMENT,
            arms=["as usual", "other"], began_at=ago(n),
        )
        for n in numbers
    )  # fmt: skip
    offers = Offer.objects.bulk_create(
        Offer(
            installation=installation, profile=profile, message=messages[n - begin], key=f"page-{n}",
            code=f"PAGE-{n:05}", kind=OfferKind.PERCENT, status=OfferStatus.MADE,
            terms=read_terms({"percent": 10, "expires": timedelta(days=7)}, name="Welcome").as_json(),
            listings=[{"channel_id": "1", "slug": "us", "currency": "USD", "value": "10", "minimum_spend": None}],
            reserved_at=ago(n), expires_at=now + timedelta(days=7),
        )
        for n in numbers
    )  # fmt: skip
    analytics.refresh(installation=installation, now=now)
    retention.count(installation=installation, now=now)
    return {
        "deed": "go-live",
        "who": profile.public_id, "other": profile.public_id, "merge_id": 1,
        "message_id": messages[0].public_id, "checkout_id": carts[0].pk,
        "segment_id": segments[0].pk, "import_id": imports[0].pk, "rule_id": rules[0].pk,
        "key_id": keys[0].pk, "webhook_id": webhooks[0].pk, "experiment_id": experiments[0].pk,
        "key": "abandoned_checkout", "field": "product", "number": 1, "backfill_id": 1,
        "approval_id": 1, "kind": "events", "model_id": 1, "offer_id": offers[0].pk,
    }  # fmt: skip
