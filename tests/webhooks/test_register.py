"""The install handshake, row by row: who is believed, who waits, who is refused (ADR 1)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from saleor_personalize import signals
from saleor_personalize.enums import BackfillStatus, DeliveryStatus, InstallationStatus
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.ingestion import deliveries
from saleor_personalize.models import (
    Backfill,
    Installation,
    PendingToken,
    Product,
    WebhookDelivery,
)
from saleor_personalize.saleor_api import installations
from saleor_personalize.tasks import backfill as tasks
from saleor_personalize.testing.keys import TEST_KEY
from tests.conftest import NOW, make_installation
from tests.loopback import LoopbackShop
from tests.webhooks.conftest import Deliver, payload_of

pytestmark = pytest.mark.django_db


def handshake(
    client: Client, shop: LoopbackShop | str, token: Any = "new-token", **headers: str
) -> Any:
    """Send the handshake as Saleor sends it."""
    url = shop if isinstance(shop, str) else shop.api_url
    return client.post(
        "/api/register",
        data=json.dumps({"auth_token": token}),
        content_type="application/json",
        headers={"Saleor-Api-Url": url, "Saleor-Schema-Version": "3.24", **headers},
    )


def refused(response: Any) -> tuple[int, str, str]:
    answer = response.json()
    assert answer["success"] is False
    return response.status_code, answer["error"]["code"], answer["error"]["message"]


@pytest.fixture
def installed() -> Iterator[list[Installation]]:
    """Installations that integrators were told of."""
    told: list[Installation] = []

    def receive(installation: Installation, **_: object) -> None:
        told.append(installation)

    signals.app_installed.connect(receive)
    yield told
    signals.app_installed.disconnect(receive)


# -- installs --------------------------------------------------------------------------------------


def test_b5_an_install_stores_the_shop_and_starts_the_back_fill(
    client: Client,
    shop: LoopbackShop,
    run_on_commit: Any,
    sent_tasks: list[str],
    installed: list[Installation],
) -> None:
    shop.accept("new-token", app_id="QXBwOjc=")
    with run_on_commit():
        response = handshake(client, shop)
    assert (response.status_code, response.json()) == (200, {"success": True})
    installation = Installation.objects.get()
    assert installation.saleor_api_url == shop.api_url
    assert installation.app_id == "QXBwOjc="
    assert installation.auth_token == "new-token"
    assert installation.jwks == TEST_KEY.jwks()
    assert installation.permissions == ["MANAGE_ORDERS", "MANAGE_PRODUCTS"]
    assert installation.saleor_version == "3.24.1"
    assert installation.status == InstallationStatus.ACTIVE
    assert shop.requests == ["App", "/.well-known/jwks.json"]
    backfill = Backfill.objects.get()
    assert backfill.installation == installation
    assert (backfill.status, backfill.changed_since) == (BackfillStatus.PENDING, None)
    assert sent_tasks == ["personalize.run_backfills"]
    assert installed == [installation]


def test_b127_the_token_is_encrypted_in_the_database(client: Client, shop: LoopbackShop) -> None:
    shop.accept("new-token")
    handshake(client, shop)
    with connection.cursor() as cursor:
        cursor.execute("SELECT auth_token FROM saleor_personalize_installation")
        (stored,) = cursor.fetchone()
    assert "new-token" not in stored
    assert Installation.objects.get().auth_token == "new-token"


def test_an_install_anew_replaces_the_token_and_loses_nothing(
    client: Client, shop: LoopbackShop
) -> None:
    old = make_installation(
        saleor_api_url=shop.api_url, status=InstallationStatus.UNINSTALLED, sender="us@example.com"
    )
    Product.objects.create(
        installation=old, saleor_id="UHJvZHVjdDox", name="Mug", saleor_updated_at=NOW
    )
    shop.accept("new-token", app_id="QXBwOjc=")
    assert handshake(client, shop).status_code == 200
    installation = Installation.objects.get()
    assert installation.pk == old.pk
    assert (installation.app_id, installation.auth_token) == ("QXBwOjc=", "new-token")
    assert installation.status == InstallationStatus.ACTIVE
    assert installation.sender == "us@example.com"
    assert Product.objects.of(installation).count() == 1


def test_the_same_handshake_twice_changes_nothing(client: Client, shop: LoopbackShop) -> None:
    shop.accept("new-token")
    for _ in range(2):
        assert handshake(client, shop).status_code == 200
    assert Installation.objects.count() == 1


def test_b113_two_shops_install_beside_each_other(
    client: Client, shop: LoopbackShop, installation: Installation
) -> None:
    shop.accept("new-token")
    assert handshake(client, shop).status_code == 200
    assert Installation.objects.count() == 2
    installation.refresh_from_db()
    assert installation.auth_token == "token-of-main"
    assert Backfill.objects.of(installation).count() == 0


# -- refusals --------------------------------------------------------------------------------------


def nothing_changed() -> bool:
    return not (
        Installation.objects.exists() or PendingToken.objects.exists() or Backfill.objects.exists()
    )


def test_b127_a_shop_that_is_not_on_the_allow_list_is_not_even_called(
    client: Client, shop: LoopbackShop, settings: Any
) -> None:
    shop.accept("new-token")
    for patterns in ([], [r"http://127\.0\.0\.1:\d+/graphql"], [r"127\.0\.0\.1"]):
        settings.SALEOR_PERSONALIZE = {
            **settings.SALEOR_PERSONALIZE,
            "ALLOWED_SALEOR_API_URLS": patterns,
        }
        status, code, message = refused(handshake(client, shop))
        assert (status, code) == (403, "SALEOR_API_URL_PROHIBITED")
        assert message == (
            f"{shop.api_url} may not install this app. Whoever runs the app adds it to "
            "ALLOWED_SALEOR_API_URLS."
        )
    assert shop.requests == []
    assert nothing_changed()


def test_an_address_too_long_to_be_stored_is_refused(
    client: Client, shop: LoopbackShop, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "ALLOWED_SALEOR_API_URLS": [".*"]}
    status, code, _ = refused(handshake(client, f"{shop.api_url}?{'x' * 500}"))
    assert (status, code) == (403, "SALEOR_API_URL_PROHIBITED")
    assert shop.requests == []
    assert nothing_changed()


def test_b127_a_private_address_is_not_called_unless_allowed(
    client: Client, shop: LoopbackShop, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "ALLOW_PRIVATE_ADDRESSES": False}
    status, code, message = refused(handshake(client, shop))
    assert (status, code) == (403, "SALEOR_API_URL_PROHIBITED")
    assert "ALLOW_PRIVATE_ADDRESSES" in message
    assert shop.requests == []
    assert nothing_changed()


def test_b127_a_working_token_of_another_app_is_not_ours(
    client: Client, shop: LoopbackShop
) -> None:
    shop.accept("their-token", app_id="QXBwOjk=", identifier="another.app")
    status, code, message = refused(handshake(client, shop, "their-token"))
    assert (status, code) == (403, "UNKNOWN_APP_ID")
    assert message == "The token belongs to the app 'another.app', not to 'saleor.personalize'."
    assert nothing_changed()


@pytest.mark.parametrize(
    ("path", "answer", "code"),
    [
        ("/graphql/", (500, {}, b""), "SALEOR_API_UNAVAILABLE"),
        ("/graphql/", (200, {}, b"<html>"), "SALEOR_API_UNAVAILABLE"),
        ("/graphql/", (302, {"Location": "http://127.0.0.1:1/"}, b""), "SALEOR_API_UNAVAILABLE"),
        ("/.well-known/jwks.json", (404, {}, b""), "JWKS_NOT_AVAILABLE"),
        ("/.well-known/jwks.json", (200, {}, b'{"keys": []}'), "JWKS_NOT_AVAILABLE"),
    ],
)
def test_a_shop_that_does_not_answer_as_saleor_is_refused(
    client: Client,
    shop: LoopbackShop,
    path: str,
    answer: tuple[int, dict[str, str], bytes],
    code: str,
) -> None:
    shop.accept("new-token")
    shop.instead[path] = answer
    status, found, message = refused(handshake(client, shop))
    assert (status, found) == (503, code)
    assert shop.url in message
    assert "new-token" not in message
    assert nothing_changed()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"token",
        b"[]",
        b"{}",
        b'"auth_token"',
        b'{"auth_token": null}',
        b'{"auth_token": ""}',
        b'{"auth_token": 7}',
        b'{"auth_token": "a\\r\\nHost: b"}',
        b'{"auth_token": "caf\\u00e9"}',
        json.dumps({"auth_token": "x" * 501}).encode(),
        json.dumps({"auth_token": "x", "more": "y" * 10_000}).encode(),
        b"[" * 9_999,
    ],
)
def test_a_body_that_is_no_handshake_is_refused(
    client: Client, shop: LoopbackShop, body: bytes
) -> None:
    response = client.post(
        "/api/register",
        data=body,
        content_type="application/json",
        headers={"Saleor-Api-Url": shop.api_url},
    )
    assert refused(response)[:2] == (400, "MISSING_AUTH_TOKEN")
    assert shop.requests == []
    assert nothing_changed()


def test_a_handshake_without_a_shop_is_refused(client: Client) -> None:
    status, code, message = refused(handshake(client, ""))
    assert (status, code) == (400, "MISSING_SALEOR_API_URL")
    assert message == "The header Saleor-Api-Url is missing: is this Saleor?"
    assert client.get("/api/register").status_code == 405
    assert nothing_changed()


def test_b127_handshakes_are_counted(client: Client, shop: LoopbackShop) -> None:
    shop.accept("new-token")
    for _ in range(20):
        assert handshake(client, shop).status_code == 200
    asked = len(shop.requests)
    assert refused(handshake(client, shop))[:2] == (429, "TOO_MANY_REQUESTS")
    assert len(shop.requests) == asked


# -- tokens that wait ------------------------------------------------------------------------------


def test_an_app_installed_inactive_waits_and_nothing_is_fetched_for_it(
    client: Client, shop: LoopbackShop, sent_tasks: list[str], installed: list[Installation]
) -> None:
    response = handshake(client, shop, "inactive-token")
    assert (response.status_code, response.json()) == (200, {"success": True})
    installation = Installation.objects.get()
    assert installation.status == InstallationStatus.INACTIVE
    assert (installation.app_id, installation.auth_token) == ("", "")
    assert installation.jwks == TEST_KEY.jwks()
    assert [p.token for p in PendingToken.objects.of(installation)] == ["inactive-token"]
    assert installations.active_installation(shop.api_url) is None
    assert not Backfill.objects.exists()
    assert (sent_tasks, installed) == ([], [])


def test_an_app_installed_inactive_starts_when_it_is_activated(
    client: Client,
    shop: LoopbackShop,
    deliver: Deliver,
    run_on_commit: Any,
    installed: list[Installation],
) -> None:
    handshake(client, shop, "inactive-token")
    shop.accept("inactive-token", app_id="QXBwOjc=")
    with run_on_commit():
        body = payload_of(
            "AppStatusChanged", app_id="QXBwOjc=", app={"id": "QXBwOjc=", "isActive": True}
        )
        assert deliver(shop.api_url, "app_status_changed", body).status_code == 200
        assert deliveries.process_waiting(now=NOW) == 1
    assert WebhookDelivery.objects.get().status == DeliveryStatus.PROCESSED
    installation = Installation.objects.get()
    assert installation.status == InstallationStatus.ACTIVE
    assert (installation.app_id, installation.auth_token) == ("QXBwOjc=", "inactive-token")
    assert installation.permissions == ["MANAGE_ORDERS", "MANAGE_PRODUCTS"]
    assert not PendingToken.objects.exists()
    assert Backfill.objects.get().installation == installation
    assert installed == [installation]


def test_b127_junk_never_replaces_a_token_that_works(client: Client, shop: LoopbackShop) -> None:
    shop.accept("good-token")
    installation = make_installation(saleor_api_url=shop.api_url, auth_token="good-token")
    assert handshake(client, shop, "junk").status_code == 200
    installation.refresh_from_db()
    assert (installation.auth_token, installation.app_id) == ("good-token", "QXBwOjE=")
    assert installation.status == InstallationStatus.ACTIVE
    assert installations.confirm(installation=installation, now=NOW) == InstallationStatus.ACTIVE
    installation.refresh_from_db()
    assert installation.auth_token == "good-token"
    assert not PendingToken.objects.exists()


def test_b127_junk_costs_a_waiting_app_nothing(client: Client, shop: LoopbackShop) -> None:
    handshake(client, shop, "inactive-token")
    for number in range(4):
        assert handshake(client, shop, f"junk-{number}").status_code == 200
    assert handshake(client, shop, "inactive-token").status_code == 200  # known already
    status, code, message = refused(handshake(client, shop, "junk-5"))
    assert (status, code) == (409, "TOKEN_NOT_ACCEPTED")
    assert "Install the app with activation" in message
    installation = Installation.objects.get()
    shop.accept("inactive-token", app_id="QXBwOjc=")
    assert installations.confirm(installation=installation, now=NOW) == InstallationStatus.ACTIVE
    assert Installation.objects.get().auth_token == "inactive-token"
    assert not PendingToken.objects.exists()


def test_an_active_install_clears_what_waits(client: Client, shop: LoopbackShop) -> None:
    handshake(client, shop, "junk")
    shop.accept("new-token")
    assert handshake(client, shop).status_code == 200
    installation = Installation.objects.get()
    assert (installation.auth_token, installation.status) == ("new-token", "active")
    assert not PendingToken.objects.exists()


def test_a_waiting_token_of_another_app_is_never_taken(client: Client, shop: LoopbackShop) -> None:
    handshake(client, shop, "their-token")
    shop.accept("their-token", app_id="QXBwOjk=", identifier="another.app")
    installation = Installation.objects.get()
    assert installations.confirm(installation=installation, now=NOW) == InstallationStatus.INACTIVE
    installation.refresh_from_db()
    assert (installation.app_id, installation.auth_token) == ("", "")


def test_installed_anew_inactive_while_the_old_app_is_gone(
    client: Client, shop: LoopbackShop, deliver: Deliver
) -> None:
    """We missed APP_DELETED; the new app announces itself with an id that we do not know."""
    installation = make_installation(saleor_api_url=shop.api_url, auth_token="dead-token")
    assert handshake(client, shop, "inactive-token").status_code == 200
    shop.accept("inactive-token", app_id="QXBwOjc=")
    body = payload_of(
        "AppStatusChanged", app_id="QXBwOjc=", app={"id": "QXBwOjc=", "isActive": True}
    )
    assert deliver(shop.api_url, "app_status_changed", body).status_code == 200
    assert deliveries.process_waiting(now=NOW) == 1
    installation.refresh_from_db()
    assert (installation.app_id, installation.auth_token) == ("QXBwOjc=", "inactive-token")
    assert installation.status == InstallationStatus.ACTIVE
    assert Backfill.objects.of(installation).count() == 1


# -- what becomes of the app -----------------------------------------------------------------------


def app_event(deliver: Deliver, url: str, event: str, typename: str, is_active: bool) -> None:
    body = payload_of(typename, app={"id": "QXBwOjE=", "isActive": is_active})
    assert deliver(url, event, body).status_code == 200
    assert deliveries.process_waiting(now=NOW) == 1


def test_deactivated_and_activated_again(shop: LoopbackShop, deliver: Deliver) -> None:
    installation = make_installation(saleor_api_url=shop.api_url, auth_token="good-token")
    app_event(deliver, shop.api_url, "app_status_changed", "AppStatusChanged", is_active=False)
    installation.refresh_from_db()
    assert installation.status == InstallationStatus.INACTIVE
    assert installations.active_installation(shop.api_url) is None
    shop.accept("good-token")
    app_event(deliver, shop.api_url, "app_status_changed", "AppStatusChanged", is_active=True)
    installation.refresh_from_db()
    assert installation.status == InstallationStatus.ACTIVE
    # What happened meanwhile was sent to nobody: it is fetched.
    assert Backfill.objects.of(installation).count() == 1


def test_a_late_announcement_of_deactivation_does_not_switch_off_a_living_app(
    shop: LoopbackShop, deliver: Deliver
) -> None:
    """Switched off and on again within minutes; the first announcement came by a retry, last."""
    shop.accept("good-token")
    installation = make_installation(saleor_api_url=shop.api_url, auth_token="good-token")
    app_event(deliver, shop.api_url, "app_status_changed", "AppStatusChanged", is_active=False)
    installation.refresh_from_db()
    assert installation.status == InstallationStatus.ACTIVE
    assert not Backfill.objects.exists()


def test_an_old_announcement_of_activation_does_not_wake_a_dead_app(
    shop: LoopbackShop, deliver: Deliver
) -> None:
    installation = make_installation(
        saleor_api_url=shop.api_url, status=InstallationStatus.UNINSTALLED
    )
    app_event(deliver, shop.api_url, "app_status_changed", "AppStatusChanged", is_active=True)
    installation.refresh_from_db()
    assert installation.status == InstallationStatus.UNINSTALLED
    assert not Backfill.objects.exists()


def test_app_deleted_is_followed(shop: LoopbackShop, deliver: Deliver) -> None:
    installation = make_installation(saleor_api_url=shop.api_url)
    app_event(deliver, shop.api_url, "app_deleted", "AppDeleted", is_active=False)
    installation.refresh_from_db()
    assert installation.status == InstallationStatus.UNINSTALLED
    assert installations.active_installation(shop.api_url) is None


def test_a_refused_token_is_followed(shop: LoopbackShop) -> None:
    installation = make_installation(saleor_api_url=shop.api_url)
    assert (
        installations.confirm(installation=installation, now=NOW)
        == InstallationStatus.TOKEN_REFUSED
    )
    shop.accept("token-of-main")
    assert installations.confirm(installation=installation, now=NOW) == InstallationStatus.ACTIVE
    installation.refresh_from_db()
    assert installation.status == InstallationStatus.ACTIVE


@pytest.mark.parametrize(
    "status",
    [
        InstallationStatus.INACTIVE,
        InstallationStatus.UNINSTALLED,
        InstallationStatus.TOKEN_REFUSED,
    ],
)
def test_the_daily_look_finds_an_app_that_is_on_again(
    shop: LoopbackShop, monkeypatch: pytest.MonkeyPatch, status: InstallationStatus
) -> None:
    """The announcement was lost, or the deletion was imitated (ADR 1): the token tells."""
    monkeypatch.setattr(tasks.run_backfills, "delay", lambda: None)
    shop.accept("good-token")
    back = make_installation(saleor_api_url=shop.api_url, auth_token="good-token", status=status)
    gone = make_installation(saleor_api_url=shop.api_url + "gone", auth_token="x", status=status)
    shop.answers["ProductIds"] = [
        {"data": {"products": {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": ""}}}}
    ]
    assert tasks.reconcile() == 1
    back.refresh_from_db()
    gone.refresh_from_db()
    assert (back.status, gone.status) == (InstallationStatus.ACTIVE, status)
    assert Backfill.objects.get().installation == back


def test_a_shop_out_of_reach_changes_no_status(shop: LoopbackShop) -> None:
    installation = make_installation(saleor_api_url=shop.api_url)
    shop.instead["/graphql/"] = (503, {}, b"")
    with pytest.raises(SaleorApiError):
        installations.confirm(installation=installation, now=NOW)
    installation.refresh_from_db()
    assert installation.status == InstallationStatus.ACTIVE
