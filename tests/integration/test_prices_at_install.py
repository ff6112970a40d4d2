"""A promotion that runs when the app is installed: Saleor tells of it in no event, so its prices are asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.core.cache import cache
from django.test import Client

from saleor_personalize.enums import (
    BackfillStatus,
    ConsentState,
    DeliveryChannel,
    EventSource,
    EventType,
    InstallationStatus,
    Purpose,
)
from saleor_personalize.events import callers
from saleor_personalize.ingestion import backfill, reconcile
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import (
    Backfill,
    BackfillStage,
    Enrollment,
    Event,
    Installation,
    PriceChange,
)
from saleor_personalize.profiles import consent
from saleor_personalize.recommendations import service
from saleor_personalize.saleor_api.client import SaleorClient
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.saleor import shop as made_up
from tests.conftest import NOW, make_profile
from tests.integration.test_backfill import installed
from tests.payloads import Recorded
from tests.webhooks.deliver import deliver

US, PL = "default-channel", "channel-pln"
HOUR = timedelta(hours=1)
CARDS = """query($channel: String!) {
  recommendations(placement: "new_arrivals", channel: $channel, first: 100) {
    variantId price { amount currency } undiscountedPrice { amount currency }
  }
}"""


@pytest.fixture
def shop(settings: Any) -> Iterator[FakeSaleor]:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "ALLOW_PRIVATE_ADDRESSES": True,
        "BACKFILL_PAGE_SIZE": 20,
        "PRODUCT_URL": "https://store.test/{channel}/{slug}",
    }
    with FakeSaleor() as shop:
        shop.clock = lambda: NOW
        shop.fill(products=25, customers=0, orders=0, checkouts=0)
        yield shop


@pytest.fixture
def cup(shop: FakeSaleor) -> str:
    """A variant that costs 20.00 USD or 80.00 PLN; a promotion makes that 15.00 USD, and 70.00 PLN."""
    variant = next(iter(shop.variants))
    for listing, amount in zip(shop.variants[variant]["channelListings"], (20, 80), strict=True):
        listing["price"]["amount"] = amount
    shop.start_promotion(variant, US, 15)
    shop.start_promotion(variant, PL, 70)
    return variant


@pytest.fixture
def installation(db: None, shop: FakeSaleor, cup: str) -> Installation:
    return installed(shop)


def read_history(installation: Installation, *, at: Any = NOW, **changes: Any) -> Backfill:
    run = backfill.request(installation=installation, now=at, **changes)
    claimed = backfill.claim_next(now=at)
    assert claimed is not None
    assert backfill.work(claimed, clock=lambda: at) == BackfillStatus.DONE
    return run


def card(installation: Installation, variant: str, channel: str) -> dict[str, Any]:
    """Ask for the product cards of a sales channel as a storefront does; return that of a variant."""
    cache.clear()
    callers.active.clear()
    service.forget()
    answer = Client().post(
        "/graphql/",
        {"query": CARDS, "variables": {"channel": channel}},
        content_type="application/json",
        headers={"Saleor-Api-Url": installation.saleor_api_url},
    )
    rows = {row.pop("variantId"): row for row in answer.json()["data"]["recommendations"]}
    return dict(rows[variant])


def shown(paid: float, full: float | None, currency: str) -> dict[str, Any]:
    return {
        "price": {"amount": paid, "currency": currency},
        "undiscountedPrice": None if full is None else {"amount": full, "currency": currency},
    }


def tell_price(
    shop: FakeSaleor, installation: Installation, variant: str, amount: float, *, at: Any
) -> None:
    """Deliver what Saleor sends when a promotion changes what a variant costs in the first sales channel."""
    payload = {
        "issuedAt": at.isoformat(),
        "productVariant": {
            "id": variant,
            "product": {"id": shop.variants[variant]["product_id"]},
        },
        "channel": {"slug": US},
        "newPrice": {"amount": amount, "currency": "USD"},
    }
    event = "product_variant_discounted_price_updated"
    deliver(installation, [Recorded(event, json.dumps(payload).encode())], now=at)


def tell_full_price(
    shop: FakeSaleor, installation: Installation, variant: str, amount: float, *, at: Any
) -> None:
    """Deliver what Saleor sends when a variant is changed: what it costs without promotions."""
    changed = shop.variants[variant]
    payload = {
        "issuedAt": at.isoformat(),
        "productVariant": {
            **{name: changed[name] for name in ("id", "name", "sku", "updatedAt")},
            "trackInventory": True,
            "product": {"id": changed["product_id"]},
            "stocks": [],
            "channelListings": [
                {
                    "channel": {"slug": US, "currencyCode": "USD"},
                    "price": {"amount": amount, "currency": "USD"},
                    "costPrice": None,
                }
            ],
        },
    }
    row = Recorded("product_variant_updated", json.dumps(payload).encode())
    assert deliver(installation, [row], now=at) == 1


def interested(shop: FakeSaleor, installation: Installation, variant: str, *, at: Any) -> None:
    """Somebody who may be written to looks at a product; whoever waits for lower prices is written to."""
    profile = make_profile(installation, email="alice@example.com")
    consent.record(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        topic="",
        state=ConsentState.GRANTED,
        source="test",
        now=at,
    )
    Event.objects.create(
        installation=installation,
        profile=profile,
        event_id="look",
        type=EventType.PRODUCT_VIEWED,
        occurred_at=at,
        received_at=at,
        source=EventSource.STOREFRONT,
        channel_slug=US,
        product_saleor_id=shop.variants[variant]["product_id"],
        properties={},
    )
    journey = journeys.ensure_journey(installation=installation, key="price_drop")
    journeys.go_live(journey=journey, now=NOW - timedelta(days=1))


def pass_by(until: Any) -> None:
    """Look for whom a lower price concerns, and two hours later send what is due."""
    journeys.enter_due(now=until)
    journeys.advance_due(now=until + 2 * HOUR)


def history(variant: str) -> list[tuple[str, Decimal]]:
    rows = PriceChange.objects.filter(variant_saleor_id=variant).order_by("pk")
    return list(rows.values_list("channel_slug", "price"))


def test_b53_the_cards_show_what_saleor_shows_in_each_sales_channel(
    installation: Installation, cup: str
) -> None:
    read_history(installation)
    assert card(installation, cup, US) == shown(15.0, 20.0, "USD")
    assert card(installation, cup, PL) == shown(70.0, 80.0, "PLN")
    assert history(cup) == [(PL, Decimal(70)), (US, Decimal(15))]
    before = PriceChange.objects.count()
    run = read_history(installation, at=NOW + HOUR)
    assert run.stages.get(name="prices").changed_count == 0
    assert PriceChange.objects.count() == before


def test_b53_prices_that_are_entered_without_tax_stay_so(
    shop: FakeSaleor, installation: Installation, cup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taxed(amount: float, currency: str) -> dict[str, Any]:
        net, gross = (amount, amount * 1.2) if currency == "USD" else (amount / 1.2, amount)
        return {
            "currency": currency,
            "gross": {"amount": gross, "currency": currency},
            "net": {"amount": net, "currency": currency},
        }

    monkeypatch.setattr(made_up, "_taxed", taxed)
    shop.channels[0]["taxConfiguration"] = {"pricesEnteredWithTax": False}
    read_history(installation)
    assert card(installation, cup, US) == shown(15.0, 20.0, "USD")
    assert card(installation, cup, PL) == shown(70.0, 80.0, "PLN")


def test_b53_the_price_that_was_known_already_is_no_news(
    shop: FakeSaleor, installation: Installation, cup: str
) -> None:
    read_history(installation)
    interested(shop, installation, cup, at=NOW)
    tell_price(shop, installation, cup, 15, at=NOW + HOUR)
    pass_by(NOW + 2 * HOUR)
    assert Enrollment.objects.count() == 0
    assert mail.outbox == []
    assert history(cup) == [(PL, Decimal(70)), (US, Decimal(15))]


def test_b53_the_end_of_the_promotion_is_no_lower_price(
    shop: FakeSaleor, installation: Installation, cup: str
) -> None:
    read_history(installation)
    interested(shop, installation, cup, at=NOW)
    shop.end_promotion(cup, US)
    tell_price(shop, installation, cup, 20, at=NOW + HOUR)
    pass_by(NOW + 2 * HOUR)
    assert Enrollment.objects.count() == 0
    assert mail.outbox == []
    assert card(installation, cup, US) == shown(20.0, None, "USD")


def test_b53_a_deeper_promotion_names_what_shoppers_paid_before(
    shop: FakeSaleor, installation: Installation, cup: str
) -> None:
    read_history(installation)
    interested(shop, installation, cup, at=NOW)
    shop.start_promotion(cup, US, 12)
    tell_price(shop, installation, cup, 12, at=NOW + HOUR)
    pass_by(NOW + 2 * HOUR)
    (message,) = mail.outbox
    assert message.to == ["alice@example.com"]
    assert "12.00\xa0USD, before 15.00\xa0USD" in message.body
    assert "20.00" not in message.body


def test_b53_a_webhook_that_comes_before_the_prices_were_read_begins_no_history(
    shop: FakeSaleor, installation: Installation, cup: str
) -> None:
    """PRODUCT_VARIANT_UPDATED tells no promotion: 20 was never what a shopper paid."""
    tell_full_price(shop, installation, cup, 20, at=NOW)
    assert history(cup) == [(US, Decimal(20))]
    interested(shop, installation, cup, at=NOW)
    read_history(installation, at=NOW + HOUR)
    pass_by(NOW + 2 * HOUR)
    assert history(cup) == [(PL, Decimal(70)), (US, Decimal(15))]
    assert Enrollment.objects.count() == 0
    assert mail.outbox == []


def test_b53_a_webhook_that_comes_while_saleor_answers_hides_no_promotion(
    shop: FakeSaleor, installation: Installation, cup: str
) -> None:
    tell_full_price(shop, installation, cup, 20, at=NOW + timedelta(seconds=1))
    interested(shop, installation, cup, at=NOW + timedelta(minutes=1))
    read_history(installation, at=NOW)
    assert history(cup) == [(PL, Decimal(70)), (US, Decimal(15))]
    tell_price(shop, installation, cup, 15, at=NOW + HOUR)
    pass_by(NOW + 2 * HOUR)
    assert Enrollment.objects.count() == 0
    assert mail.outbox == []


def test_b53_a_price_that_changes_while_saleor_answers_is_the_one_that_counts(
    shop: FakeSaleor, installation: Installation, cup: str
) -> None:
    tell_full_price(shop, installation, cup, 14, at=NOW + timedelta(seconds=1))
    read_history(installation, at=NOW)
    assert history(cup) == [(US, Decimal(14)), (PL, Decimal(70))]


def test_b53_what_cost_less_before_the_prices_were_read_is_remembered(
    shop: FakeSaleor, installation: Installation, cup: str
) -> None:
    """Whatever promotion ran, nobody paid more than that: 12 is not the lowest price in a while."""
    tell_full_price(shop, installation, cup, 10, at=NOW)
    tell_full_price(shop, installation, cup, 20, at=NOW + HOUR)
    read_history(installation, at=NOW + 2 * HOUR)
    assert history(cup) == [(US, Decimal(10)), (PL, Decimal(70)), (US, Decimal(15))]
    interested(shop, installation, cup, at=NOW + 2 * HOUR)
    shop.start_promotion(cup, US, 12)
    tell_price(shop, installation, cup, 12, at=NOW + 3 * HOUR)
    pass_by(NOW + 4 * HOUR)
    assert Enrollment.objects.count() == 0
    assert mail.outbox == []


def test_b53_a_price_that_fell_while_the_app_was_away_is_no_news(
    shop: FakeSaleor, installation: Installation, cup: str, settings: Any
) -> None:
    """Nobody knows when it fell, nor whether it was lower still meanwhile."""
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "ALLOWED_SALEOR_API_URLS": [re.escape(shop.api_url)],
    }
    read_history(installation)
    interested(shop, installation, cup, at=NOW)
    (app,) = shop.apps.values()
    gone = {"issuedAt": (NOW + HOUR).isoformat(), "app": {"id": app.id, "isActive": False}}
    deliver(installation, [Recorded("app_deleted", json.dumps(gone).encode())], now=NOW + HOUR)
    installation.refresh_from_db()
    assert installation.status == InstallationStatus.UNINSTALLED
    shop.start_promotion(cup, US, 12)
    back = NOW + timedelta(days=10)
    with time_machine.travel(back, tick=False):
        answer = Client().post(
            "/api/register",
            {"auth_token": app.token},
            content_type="application/json",
            headers={"Saleor-Api-Url": shop.api_url},
        )
    assert answer.json() == {"success": True}
    read_history(installation, at=back)
    pass_by(back + HOUR)
    assert history(cup) == [(PL, Decimal(70)), (US, Decimal(12))]
    assert Enrollment.objects.count() == 0
    assert mail.outbox == []


def test_b53_a_promotion_whose_webhook_was_lost_is_found_at_night(
    shop: FakeSaleor, installation: Installation, cup: str
) -> None:
    read_history(installation)
    interested(shop, installation, cup, at=NOW)
    shop.start_promotion(cup, US, 12)
    run = reconcile.reconcile(installation=installation, now=NOW + HOUR)
    assert run is not None
    claimed = backfill.claim_next(now=NOW + HOUR)
    assert claimed is not None
    assert backfill.work(claimed, clock=lambda: NOW + HOUR) == BackfillStatus.DONE
    assert run.stages.get(name="prices").changed_count == 1
    assert card(installation, cup, US) == shown(12.0, 20.0, "USD")
    pass_by(NOW + 2 * HOUR)
    (message,) = mail.outbox
    assert "12.00\xa0USD, before 15.00\xa0USD" in message.body


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The pages of prices that Saleor was asked for: sales channel, and after what."""
    pages: list[tuple[str, str]] = []
    real = SaleorClient.page

    def page(self: SaleorClient, name: str, *args: Any, **given: Any) -> Any:
        if name == "Prices":
            pages.append((given["variables"]["channel"], given["after"]))
        return real(self, name, *args, **given)

    monkeypatch.setattr(SaleorClient, "page", page)
    return pages


def test_b6_a_sales_channel_that_is_gone_is_passed_over(
    installation: Installation, asked: list[tuple[str, str]]
) -> None:
    run = backfill.request(installation=installation, now=NOW)
    run.stages.filter(name="prices").update(cursor="channel-closed\n20")
    claimed = backfill.claim_next(now=NOW)
    assert claimed is not None
    assert backfill.work(claimed, clock=lambda: NOW) == BackfillStatus.DONE
    assert asked == [(PL, ""), (PL, "20"), (US, ""), (US, "20")]
    assert run.stages.get(name="prices").row_count == 50


class Killed(BaseException):
    """The worker is gone, whatever it was about to do."""


def test_b6_a_worker_that_is_killed_between_pages_of_prices_asks_for_none_again(
    shop: FakeSaleor,
    installation: Installation,
    cup: str,
    asked: list[tuple[str, str]],
) -> None:
    def die_in_the_second_channel(row: BackfillStage) -> None:
        if row.name == "prices" and row.cursor == f"{US}\n20":
            raise Killed

    run = backfill.request(installation=installation, now=NOW)
    claimed = backfill.claim_next(now=NOW)
    assert claimed is not None
    with pytest.raises(Killed):
        backfill.work(claimed, clock=lambda: NOW, on_page=die_in_the_second_channel)
    stage = run.stages.get(name="prices")
    assert (stage.cursor, stage.is_done, stage.row_count) == (f"{US}\n20", False, 45)
    assert backfill.claim_next(now=NOW) is None, "its lease still holds"
    asked.clear()

    later = NOW + backfill.LEASE + timedelta(seconds=1)
    again = backfill.claim_next(now=later)
    assert again is not None
    assert backfill.work(again, clock=lambda: later) == BackfillStatus.DONE
    stage.refresh_from_db()
    assert asked == [(US, "20")]
    assert (stage.is_done, stage.row_count, stage.changed_count) == (True, 50, 50)
    assert card(installation, cup, US) == shown(15.0, 20.0, "USD")
