"""What the app tells Saleor about itself (row B5: everything flows after the install alone)."""

import struct
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.staticfiles import finders
from django.test import Client, override_settings
from graphql import OperationDefinitionNode, parse

from saleor_personalize.ingestion.subscriptions import SUBSCRIPTIONS
from saleor_personalize.saleor_api import documents


def fetch(client: Client, version: str | None = "3.24") -> dict[str, Any]:
    headers = {"Saleor-Schema-Version": version} if version is not None else {}
    response = client.get("/api/manifest", headers=headers)
    assert response.status_code == 200
    return response.json()


def events(manifest: dict[str, Any]) -> set[str]:
    return {event for webhook in manifest["webhooks"] for event in webhook["asyncEvents"]}


def test_who_we_are(client: Client) -> None:
    manifest = fetch(client)
    assert {
        name: manifest[name]
        for name in ("id", "name", "author", "requiredSaleorVersion", "appUrl", "tokenTargetUrl")
    } == {
        "id": "saleor.personalize",
        "name": "Personalize",
        "author": "The saleor-personalize maintainers",
        "requiredSaleorVersion": ">=3.20 <4",
        "appUrl": "https://personalize.test/dashboard",
        "tokenTargetUrl": "https://personalize.test/api/register",
    }
    assert manifest["version"] == "0.1.0"
    assert "audience" not in manifest  # a token is recognised by its `app`


def test_b127_no_permission_is_asked_that_nothing_uses(client: Client) -> None:
    assert fetch(client)["permissions"] == [
        "MANAGE_CHANNELS",
        "MANAGE_CHECKOUTS",
        "MANAGE_DISCOUNTS",
        "MANAGE_ORDERS",
        "MANAGE_PAGES",
        "MANAGE_PRODUCTS",
        "MANAGE_TRANSLATIONS",
        "MANAGE_USERS",
    ]


def test_b5_every_event_has_a_webhook_with_the_query_of_its_class(client: Client) -> None:
    webhooks = fetch(client)["webhooks"]
    assert [webhook["asyncEvents"] for webhook in webhooks] == [
        [event.upper()] for subscription in SUBSCRIPTIONS for event in subscription.events
    ]
    for webhook in webhooks:
        (event,) = webhook["asyncEvents"]
        assert webhook["targetUrl"] == f"https://personalize.test/webhooks/saleor/{event.lower()}/"
        assert webhook["name"] == documents.typename(event)
        assert webhook["isActive"] is True
        (operation, *_) = parse(webhook["query"]).definitions
        assert isinstance(operation, OperationDefinitionNode)
        assert operation.operation.value == "subscription"
        assert f"... on {webhook['name']} {{" in webhook["query"]
        for field in ("__typename", "issuedAt", "recipient { id identifier }"):
            assert field in webhook["query"]
    assert len({webhook["name"] for webhook in webhooks}) == len(webhooks)


def test_b5_what_flows_in_after_the_install(client: Client) -> None:
    assert events(fetch(client)) >= {
        "ORDER_CREATED",
        "ORDER_UPDATED",
        "CHECKOUT_CREATED",
        "CHECKOUT_METADATA_UPDATED",
        "CHECKOUT_UPDATED",
        "CUSTOMER_CREATED",
        "CUSTOMER_UPDATED",
        "CUSTOMER_DELETED",
        "ACCOUNT_DELETED",
        "PRODUCT_CREATED",
        "PRODUCT_UPDATED",
        "PRODUCT_DELETED",
        "PRODUCT_VARIANT_UPDATED",
        "PRODUCT_VARIANT_STOCK_UPDATED",
        "PRODUCT_VARIANT_BACK_IN_STOCK",
        "PRODUCT_VARIANT_OUT_OF_STOCK",
        "PRODUCT_VARIANT_DISCOUNTED_PRICE_UPDATED",
        "APP_STATUS_CHANGED",
        "APP_DELETED",
    }


@pytest.mark.parametrize(
    ("version", "prices", "stock_in_channel"),
    [
        ("3.20", False, False),
        ("3.21", False, False),
        ("3.22", True, False),
        ("3.23", True, False),
        ("3.24", True, True),
        ("3.24.0-a.0", True, True),
        ("3.31", True, True),
        ("4.0", True, True),
        (None, False, False),
        ("", False, False),
        ("newest", False, False),
        ("3", False, False),
    ],
)
def test_events_that_a_saleor_does_not_know_are_left_out(
    client: Client, version: str | None, prices: bool, stock_in_channel: bool
) -> None:
    """One unknown event makes Saleor refuse the whole manifest."""
    found = events(fetch(client, version))
    assert ("PRODUCT_VARIANT_DISCOUNTED_PRICE_UPDATED" in found) is prices
    assert ("PRODUCT_VARIANT_BACK_IN_STOCK_IN_CHANNEL" in found) is stock_in_channel
    assert ("PRODUCT_VARIANT_OUT_OF_STOCK_IN_CHANNEL" in found) is stock_in_channel
    assert "PRODUCT_UPDATED" in found


def test_extension_urls_are_appended_to_the_app_url(client: Client) -> None:
    assert fetch(client, "3.20")["extensions"] == [
        {
            "label": "Personalize",
            "mount": "NAVIGATION_CUSTOMERS",
            "target": "APP_PAGE",
            "url": "/",
            "permissions": [],
        },
        {
            "label": "Abandoned checkouts",
            "mount": "NAVIGATION_ORDERS",
            "target": "APP_PAGE",
            "url": "/open/abandoned-checkouts",
            "permissions": [],
        },
        {
            "label": "Demand",
            "mount": "NAVIGATION_CATALOG",
            "target": "APP_PAGE",
            "url": "/open/demand",
            "permissions": [],
        },
        {
            "label": "Show in Personalize",
            "mount": "CUSTOMER_DETAILS_MORE_ACTIONS",
            "target": "POPUP",
            "url": "/",
            "permissions": [],
        },
    ]


@pytest.mark.parametrize(
    ("version", "pages"),
    [
        ("3.21", []),
        ("3.22", ["customer", "product", "order", "voucher"]),
        ("3.23", ["customer", "product", "order", "voucher", "home"]),
        ("3.24", ["customer", "product", "order", "voucher", "home"]),
    ],
)
def test_b98_widgets_are_named_to_a_saleor_that_has_room_for_them(
    client: Client, version: str, pages: list[str]
) -> None:
    """Older Saleors refuse a whole manifest over a mount that they do not know."""
    found = [one for one in fetch(client, version)["extensions"] if one["target"] == "WIDGET"]
    assert [one["url"] for one in found] == [f"/widgets/{page}/" for page in pages]
    for one in found:
        is_home = one["mount"] == "HOMEPAGE_WIDGETS"
        assert one["permissions"] == []
        assert one["options"] == (
            {"homeWidgetTarget": {"method": "POST", "fullscreen": False}}
            if is_home
            else {"widgetTarget": {"method": "POST"}}
        )
        # The form is posted there as it stands: a redirect to a slash would lose it.
        assert client.post(f"/dashboard{one['url']}").status_code == 401
    mounts = [one["mount"] for one in found if one["mount"] != "HOMEPAGE_WIDGETS"]
    assert mounts == [f"{page.upper()}_DETAILS_WIDGETS" for page in pages if page != "home"]


def test_under_a_prefix_static_files_stay_where_the_project_serves_them(client: Client) -> None:
    given = {**django_settings.SALEOR_PERSONALIZE, "APP_URL": "https://shop.test/personalize"}
    with override_settings(SALEOR_PERSONALIZE=given):
        manifest = fetch(client)
    assert manifest["tokenTargetUrl"].startswith("https://shop.test/personalize/")
    logo = "https://shop.test/static/saleor_personalize/logo.png"
    assert manifest["brand"]["logo"]["default"] == logo


def test_the_logo_is_a_png_that_saleor_takes(client: Client) -> None:
    url = fetch(client)["brand"]["logo"]["default"]
    assert url == "https://personalize.test/static/saleor_personalize/logo.png"
    data = Path(str(finders.find("saleor_personalize/logo.png"))).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (256, 256)


def test_pages_about_the_app_exist(client: Client) -> None:
    manifest = fetch(client)
    page = "https://personalize.test/static/saleor_personalize/about.html"
    assert manifest["homepageUrl"] == page
    assert manifest["dataPrivacyUrl"] == f"{page}#privacy"
    assert manifest["supportUrl"] == f"{page}#support"
    text = Path(str(finders.find("saleor_personalize/about.html"))).read_text()
    assert 'id="privacy"' in text
    assert 'id="support"' in text


def test_without_an_address_of_its_own_the_app_says_what_is_missing(
    client: Client, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "APP_URL": None}
    response = client.get("/api/manifest")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "APP_URL_NOT_SET"
    assert "SALEOR_PERSONALIZE['APP_URL'] is not set" in response.json()["error"]["message"]


def test_a_slash_at_the_end_of_the_address_does_no_harm(client: Client, settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "APP_URL": "https://personalize.test/",
    }
    assert fetch(client)["appUrl"] == "https://personalize.test/dashboard"


def test_the_manifest_is_only_read(client: Client) -> None:
    assert client.post("/api/manifest").status_code == 405
    assert "Saleor-Schema-Version" in client.get("/api/manifest")["Vary"]
