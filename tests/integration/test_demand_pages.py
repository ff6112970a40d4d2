"""saleor#4041, #4040: the page "Demand" in the Dashboard, and its file."""

from __future__ import annotations

import csv
import html
import io
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.formats import date_format

from saleor_personalize.catalog import operations as catalog
from saleor_personalize.dashboard import demand
from saleor_personalize.enums import AuditAction
from saleor_personalize.models import (
    AuditEntry,
    Favourite,
    Installation,
    ProductVariant,
    Profile,
    SalesChannel,
    Stock,
    VariantPrice,
)
from saleor_personalize.saleor_api.nodes import StockData
from tests.catalogue import Catalogue
from tests.conftest import make_profile
from tests.integration.test_dashboard import headers
from tests.integration.test_widgets import sign_up

URL = "/dashboard/demand/"
NOW = timezone.now()
DAY = timedelta(days=1)


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


@pytest.fixture
def shop(installation: Installation) -> Catalogue:
    made = Catalogue(installation, NOW)
    made.channel("us")
    made.channel("pl", currency="PLN")
    return made


def variant(shop: Catalogue, number: int, name: str, **prices: str) -> str:
    product = shop.product(number, name, channels=tuple(prices))
    row = ProductVariant.objects.get(product_saleor_id=product)
    ProductVariant.objects.filter(pk=row.pk).update(name="Large", sku=f"SKU-{number}")
    for channel, price in prices.items():
        VariantPrice.objects.create(
            installation=shop.installation,
            variant_saleor_id=row.saleor_id,
            channel_slug=channel,
            currency=SalesChannel.objects.get(slug=channel).currency,
            price=Decimal(price) + 5,
            discounted_price=Decimal(price),
            recorded_at=NOW,
        )
    return row.saleor_id


def stock(shop: Catalogue, variant_id: str, quantity: int, at: Any) -> None:
    catalog.record_stocks(
        installation=shop.installation,
        variant_id=variant_id,
        product_id=ProductVariant.objects.get(saleor_id=variant_id).product_saleor_id,
        stocks=[StockData(warehouse_id="w1", quantity=quantity, quantity_allocated=0)],
        seen_at=at,
    )


def rows_of(client: Client, signed: dict[str, str], query: str = "") -> list[list[str]]:
    response = client.get(URL + query, headers=signed)
    assert response.status_code == 200
    body = response.content.decode()
    table = re.search(r"<tbody>(.*?)</tbody>", body, flags=re.S)
    lines = re.findall(r"<tr>(.*?)</tr>", table[1] if table else "", flags=re.S)
    return [
        [
            html.unescape(" ".join(re.sub(r"<[^>]+>", " ", cell).split()))
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, flags=re.S)
        ]
        for line in lines
    ]


@pytest.fixture
def wanted(shop: Catalogue, alice: Profile, bob: Profile, carol: Profile) -> tuple[str, str]:
    """Two wait for shoes in the US, one in Poland; one for laces, who has not confirmed; one was told."""
    shoes = variant(shop, 1, "Red shoe", us="20", pl="80")
    laces = variant(shop, 2, "=Laces", us="3")
    product = ProductVariant.objects.get(saleor_id=shoes).product_saleor_id
    for profile in (alice, bob):
        sign_up(profile, shoes, product, confirmed_at=NOW)
    # The same person by another form counts once.
    sign_up(alice, shoes, product, confirmed_at=NOW, email_hash="typed")
    sign_up(carol, shoes, product, channel_slug="pl", confirmed_at=NOW)
    sign_up(carol, shoes, product, confirmed_at=NOW, told_at=NOW - DAY)
    sign_up(carol, shoes, product, confirmed_at=NOW, told_at=NOW - 40 * DAY)
    sign_up(carol, laces, "laces")
    for profile in (alice, bob):
        Favourite.objects.create(
            installation=shop.installation,
            profile=profile,
            product_saleor_id=product,
            added_at=NOW,
        )
    stock(shop, shoes, 4, NOW - 5 * DAY)
    stock(shop, shoes, 0, NOW - 2 * DAY)
    stock(shop, shoes, 0, NOW - DAY)  # seen again: it was sold out before
    return shoes, laces


def test_4041_who_waits_for_what_since_when_it_is_sold_out_and_what_that_is_worth(
    client: Client,
    signed: dict[str, str],
    wanted: tuple[str, str],
    other_installation: Installation,
) -> None:
    first, second, third = rows_of(client, signed)
    since = first.pop(7)
    assert first == ["Red shoe Large", "us", "2", "0", "1", "2", "0", "40.00 USD"]
    assert since == f"{date_format(NOW - 2 * DAY, 'DATETIME_FORMAT')} UTC"
    assert second[:3] == ["Red shoe Large", "pl", "1"]
    assert second[-1] == "80.00 PLN"
    # Nothing was ever seen of its stock.
    assert third[:4] == ["=Laces Large", "us", "0", "1"]
    assert third[7:] == ["not known", "0.00 USD"]

    page = client.get(URL, headers=signed).content.decode()
    assert "us: 2 wait" in page
    assert "40.00\N{NO-BREAK SPACE}USD" in page
    assert "Red shoe</span><span>2 people" in page
    assert [row[1] for row in rows_of(client, signed, "?channel=pl")] == ["pl"]
    assert rows_of(client, signed, "?channel=%00") == rows_of(client, signed)
    elsewhere = client.get(URL, headers=headers(other_installation)).content.decode()
    assert "Nobody waits for anything." in elsewhere
    assert "Nobody keeps anything yet." in elsewhere


def test_4041_pieces_that_come_back_end_the_time_of_none(
    shop: Catalogue, wanted: tuple[str, str]
) -> None:
    shoes, _laces = wanted
    assert Stock.objects.get(variant_saleor_id=shoes).emptied_at == NOW - 2 * DAY
    stock(shop, shoes, 7, NOW)
    assert Stock.objects.get(variant_saleor_id=shoes).emptied_at is None


def test_4040_the_file_has_all_rows_and_runs_in_no_spreadsheet(
    client: Client, signed: dict[str, str], wanted: tuple[str, str]
) -> None:
    response = client.get(f"{URL}export/", headers=signed)
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(response).decode()  # type: ignore[arg-type]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["product"], row["channel"], row["waiting"]) for row in rows] == [
        ("Red shoe", "us", "2"),
        ("Red shoe", "pl", "1"),
        ("'=Laces", "us", "0"),
    ]
    assert rows[0]["sold_out_since"] == (NOW - 2 * DAY).isoformat()
    assert Decimal(rows[0]["potential_value"]) == 40
    assert rows[0]["currency"] == "USD"
    assert "alice" not in text
    (entry,) = AuditEntry.objects.filter(action=AuditAction.REPORT_EXPORTED)
    assert entry.detail == {"report": "demand"}
    few = headers(AuditEntry.objects.get().installation, permissions=[], user_permissions=[])
    assert client.get(f"{URL}export/", headers=few).status_code == 403


def test_4041_the_page_goes_on_and_asks_no_more_for_more_people(
    client: Client, signed: dict[str, str], shop: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 31):
        id_ = variant(shop, number, f"Product {number:02}", us="1")
        for person in range(1 if number > 1 else 3):
            profile = make_profile(shop.installation, anonymous_id=f"{number}-{person}")
            sign_up(profile, id_, f"p{number}", confirmed_at=NOW)
    names = [row[0] for row in rows_of(client, signed)]
    rest = [row[0] for row in rows_of(client, signed, "?page=2")]
    assert names[0] == "Product 01 Large"
    assert (len(names), len(rest), len({*names, *rest})) == (25, 5, 30)
    # The file is described piece by piece, and counted once.
    monkeypatch.setattr(demand, "BATCH", 10)
    with CaptureQueriesContext(connection) as caught:
        file = b"".join(client.get(f"{URL}export/", headers=signed)).decode()  # type: ignore[arg-type]
    assert len(list(csv.DictReader(io.StringIO(file)))) == 30
    assert sum('MIN("saleor_personalize_stockalert"' in each["sql"] for each in caught) == 1
    with CaptureQueriesContext(connection) as caught:
        page = client.get(URL, headers=signed)
    assert len(caught) <= 25
    assert len(page.content) < 100_000
