"""B96: the rows behind the figures, by the page, by command and by the API."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from saleor_personalize.analytics import operations
from saleor_personalize.enums import AuditAction, EventType, MessageEventKind
from saleor_personalize.models import AuditEntry, Installation, Message, Order, Profile
from tests.api.conftest import Ask
from tests.integration.measuring import DAY, Shop
from tests.integration.test_dashboard import headers

OPEN, CLICK = MessageEventKind.OPENED, MessageEventKind.CLICKED
LAMP = "product-lamp"


@pytest.fixture
def shop(installation: Installation, alice: Profile, bob: Profile) -> Shop:
    """Yesterday: Alice bought after a mail, Bob after a recommendation whose placement is a formula."""
    shop = Shop(installation, timezone.now() - DAY)
    mail = shop.message(alice, 0)
    shop.became(mail, MessageEventKind.DELIVERED, 0)
    shop.became(mail, OPEN, 0.5, is_machine=True)
    shop.became(mail, CLICK, 1)
    shop.order(alice, 2, total=Decimal(50), total_refunded=Decimal(20))
    shop.recommended(
        bob, EventType.RECOMMENDATION_CLICKED, LAMP, 1, placement="=1+1", answer="answer"
    )
    shop.order(bob, 2, LAMP, total=Decimal(10))
    shop.order(bob, 3, LAMP, status="CANCELED")
    operations.refresh(installation=installation, now=timezone.now())
    return shop


def download(
    client: Client, installation: Installation, kind: str, *, query: str = "", **claims: Any
) -> Any:
    return client.get(
        f"/dashboard/results/export/{kind}/{query}", headers=headers(installation, **claims)
    )


def rows_of(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200
    text = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_b96_what_orders_followed_as_csv(
    client: Client, shop: Shop, alice: Profile, bob: Profile
) -> None:
    response = download(client, shop.installation, "attributions")
    assert response["Content-Disposition"] == 'attachment; filename="attributions.csv"'
    mine, theirs = sorted(rows_of(response), key=lambda row: row["kind"])
    order, message = Order.objects.get(profile=alice), Message.objects.get()
    assert mine == {
        "order": order.saleor_id,
        "placed_at": order.placed_at.isoformat(),
        "channel": "us",
        "currency": "USD",
        "net": "30.000",
        "person": str(alice.public_id),
        "kind": "message",
        "touch": "click",
        "touched_at": shop.at(1).isoformat(),
        "journey": "abandoned_checkout",
        "template": "abandoned_checkout",
        "delivery_channel": "email",
        "message": str(message.public_id),
        "placement": "",
        "strategy": "",
    }
    # No spreadsheet runs it.
    assert (theirs["placement"], theirs["net"]) == ("'=1+1", "10.000")
    assert theirs["person"] == str(bob.public_id)


def test_b96_messages_events_and_figures_as_csv(
    client: Client, shop: Shop, alice: Profile, bob: Profile
) -> None:
    (message,) = rows_of(download(client, shop.installation, "messages"))
    assert message["status"] == "sent"
    assert message["opened_at"] == ""
    assert message["opened_by_machine_at"] == shop.at(0.5).isoformat()
    assert message["clicked_at"] == shop.at(1).isoformat()
    assert message["person"] == str(alice.public_id)
    (event,) = rows_of(download(client, shop.installation, "events"))
    assert (event["type"], event["person"], event["product_saleor_id"]) == (
        "recommendation_clicked",
        str(bob.public_id),
        LAMP,
    )
    assert event["placement"] == "'=1+1"
    figures = rows_of(download(client, shop.installation, "figures"))
    told = {(row["channel"], row["name"]): row["value"] for row in figures}
    assert told["us", "orders.revenue"] == "40.000"
    assert told["", "journeys.abandoned_checkout.sent"] == "1"


def test_b96_the_same_as_json(client: Client, shop: Shop, other_installation: Installation) -> None:
    response = download(client, shop.installation, "attributions", query="?format=json")
    assert response["Content-Type"] == "application/json"
    rows = json.loads(b"".join(response.streaming_content))
    assert sorted(row["placement"] for row in rows) == ["", "=1+1"]
    # Of another shop: nothing.
    theirs = download(client, other_installation, "attributions", query="?format=json")
    assert json.loads(b"".join(theirs.streaming_content)) == []


def test_b96_a_download_holds_the_period_that_was_asked_for(
    client: Client, shop: Shop, alice: Profile
) -> None:
    Message.objects.update(decided_at=timezone.now() - timedelta(days=20))
    assert rows_of(download(client, shop.installation, "messages", query="?days=7")) == []
    assert len(rows_of(download(client, shop.installation, "messages", query="?days=30"))) == 1


@pytest.mark.parametrize("kind", ["attributions", "messages", "events"])
def test_b96_b113_rows_about_people_take_the_permission_for_customers_and_are_audited(
    client: Client, shop: Shop, kind: str
) -> None:
    few = {"permissions": ["MANAGE_ORDERS"], "user_permissions": ["MANAGE_ORDERS"]}
    assert download(client, shop.installation, kind, **few).status_code == 403
    assert not AuditEntry.objects.exists()
    assert rows_of(download(client, shop.installation, "figures", **few))
    rows_of(download(client, shop.installation, kind, query="?days=7"))
    assert list(
        AuditEntry.objects.order_by("pk").values_list("action", "detail__report", "detail__days")
    ) == [
        (AuditAction.REPORT_EXPORTED, "figures", 30),
        (AuditAction.REPORT_EXPORTED, kind, 7),
    ]
    page = client.get("/dashboard/results/", headers=headers(shop.installation, **few))
    assert b"export/figures/" in page.content
    assert f"export/{kind}/".encode() not in page.content


def test_b96_an_export_that_there_is_not_is_not_found(client: Client, shop: Shop) -> None:
    assert download(client, shop.installation, "everything").status_code == 404
    assert not AuditEntry.objects.exists()


def test_b96_no_name_and_no_address_is_in_any_row(client: Client, shop: Shop) -> None:
    for kind in ("attributions", "messages", "events", "figures"):
        response = download(client, shop.installation, kind)
        assert b"example.com" not in b"".join(response.streaming_content)


# -- by command ------------------------------------------------------------------------------------------


def report(*words: str) -> str:
    out = io.StringIO()
    call_command("personalize_report", *words, stdout=out)
    return out.getvalue()


def test_b92_b96_the_command_tells_and_writes_the_same(shop: Shop) -> None:
    told = report("show", "--days", "7")
    assert "USD: 2 orders, 40.00; after messages 1, 30.00; after recommendations 1, 10.00" in told
    assert "journey abandoned_checkout: entered 1, sent 1, not sent 0, delivered 1" in told
    document = json.loads(report("--json"))
    assert document["journeys"][0]["led"]["USD"] == {
        "orders": 1,
        "revenue": "30.000",
        "after_view": 0,
    }
    rows = list(csv.DictReader(io.StringIO(report("attributions"))))
    assert sorted(row["placement"] for row in rows) == ["", "'=1+1"]
    assert [row["status"] for row in json.loads(report("messages", "--format", "json"))] == ["sent"]


def test_b94_the_command_counts_what_is_due(installation: Installation) -> None:
    assert "Nothing is counted yet" in report()
    assert report("count") == "15 days counted, 0 experiments measured.\n"
    assert "Nothing is counted yet" not in report()
    with pytest.raises(CommandError):
        report("show", "--days", "8")


# -- by the API ------------------------------------------------------------------------------------------

QUERY = """query($period: PersonalizeReportPeriod) {
  report(period: $period) {
    countedAt
    shop { sessions recommendationShare }
    money { currency orders revenue afterMessage { orders revenue } recovered { orders } perSession }
    journeys { key sent opened openedByMachine clicked notSent { reason count } led { currency orders revenue } }
    placements { key clicked led { orders afterView } }
  }
}"""


def test_b92_b96_a_server_of_the_shop_reads_the_report(
    gql: Ask, shop: Shop, other_installation: Installation
) -> None:
    data = gql(QUERY, {"period": "WEEK"}, token=shop.installation.auth_token).data["report"]
    assert data.pop("countedAt")
    assert data == {
        "shop": {"sessions": 0, "recommendationShare": None},
        "money": [
            {
                "currency": "USD",
                "orders": 2,
                "revenue": 40.0,
                "afterMessage": {"orders": 1, "revenue": 30.0},
                "recovered": {"orders": 1},
                "perSession": None,
            }
        ],
        "journeys": [
            {
                "key": "abandoned_checkout",
                "sent": 1,
                "opened": 1,
                "openedByMachine": 1,
                "clicked": 1,
                "notSent": [],
                "led": [{"currency": "USD", "orders": 1, "revenue": 30.0}],
            }
        ],
        "placements": [{"key": "=1+1", "clicked": 1, "led": [{"orders": 1, "afterView": 0}]}],
    }
    theirs = gql(QUERY, token=other_installation.auth_token, shop=other_installation)
    assert theirs.data["report"]["money"] == []
    assert gql(QUERY, anonymous_id="3f0d6e0e-somebody").refusal == (200, "FORBIDDEN")
