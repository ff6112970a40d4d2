"""The webhook door: what is true is stored once, what is not leaves no trace."""

import json
import threading
from types import SimpleNamespace
from typing import Any

import django.db
import pytest
from django.test import Client

from saleor_personalize.enums import DeliveryStatus, InstallationStatus
from saleor_personalize.ingestion import deliveries
from saleor_personalize.models import Installation, PendingToken, WebhookDelivery
from saleor_personalize.tasks import broker
from saleor_personalize.testing.keys import TEST_KEY, SigningKey
from saleor_personalize.webhooks import wake
from tests.conftest import NOW, make_installation
from tests.loopback import LoopbackShop
from tests.webhooks.conftest import ISSUED_AT, Deliver, payload_of

OTHER_KEY = SigningKey.generate("other-key")


def refused(response: Any) -> tuple[int, str]:
    """Return status and code of a refusal, once it is sure that nothing was stored."""
    assert WebhookDelivery.objects.count() == 0
    return response.status_code, response.json()["error"]["code"]


def test_b116_a_signed_delivery_is_stored_as_it_came(
    installation: Installation, deliver: Deliver, run_on_commit: Any, sent_tasks: list[str]
) -> None:
    body = json.dumps(payload_of(), ensure_ascii=False, indent=1).encode()
    with run_on_commit():
        response = deliver(installation, body=body)
    assert (response.status_code, response.json()) == (200, {"success": True})
    stored = WebhookDelivery.objects.get()
    assert stored.installation == installation
    assert stored.event == "product_updated"
    assert bytes(stored.body) == body
    assert stored.issued_at is not None
    assert stored.issued_at.isoformat() == ISSUED_AT
    assert (stored.status, stored.attempts, stored.error) == (DeliveryStatus.RECEIVED, 0, "")
    assert sent_tasks == ["personalize.process_deliveries"]


def test_b116_a_retry_of_saleor_is_stored_once(
    installation: Installation, deliver: Deliver
) -> None:
    for _ in range(3):
        assert deliver(installation).status_code == 200
    assert WebhookDelivery.objects.count() == 1
    later = payload_of(issuedAt="2026-03-02T12:00:00+00:00")
    assert deliver(installation, payload=later).status_code == 200
    assert WebhookDelivery.objects.count() == 2


def test_b116_one_delivery_costs_one_statement(
    installation: Installation, deliver: Deliver, django_assert_num_queries: Any
) -> None:
    deliver(installation)
    with django_assert_num_queries(1) as asked:
        deliver(installation, payload=payload_of(issuedAt="2026-03-02T12:00:00+00:00"))
    assert asked[0]["sql"].lstrip().startswith("INSERT INTO")


def test_b116_a_burst_rings_twice(monkeypatch: pytest.MonkeyPatch, sent_tasks: list[str]) -> None:
    """Once for its start, once for whatever arrives while the worker is busy with that."""
    rests, may_go_on = threading.Semaphore(0), threading.Semaphore(0)

    def sleep(seconds: float) -> None:
        rests.release()
        may_go_on.acquire()

    monkeypatch.setattr(wake, "time", SimpleNamespace(sleep=sleep))
    bell = wake.Bell("x")
    bell.ring()
    assert rests.acquire(timeout=10)
    assert sent_tasks == ["x"]
    for _ in range(19):
        bell.ring()
    assert sent_tasks == ["x"]
    may_go_on.release()
    assert rests.acquire(timeout=10)
    assert sent_tasks == ["x"] * 2
    may_go_on.release()
    bell.ring()
    assert rests.acquire(timeout=10)
    assert sent_tasks == ["x"] * 3


def test_b116_a_dead_broker_fails_no_delivery(
    installation: Installation,
    deliver: Deliver,
    run_on_commit: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class DeadBroker:
        def send_task(self, name: str, **_: object) -> None:
            raise ConnectionRefusedError("redis://:secret@broker:6379")

    monkeypatch.setattr(broker, "current_app", DeadBroker())
    with run_on_commit():
        assert deliver(installation).status_code == 200
    assert WebhookDelivery.objects.get().status == DeliveryStatus.RECEIVED
    (record,) = [r for r in caplog.records if r.name.endswith("broker")]
    assert "Check CELERY_BROKER_URL" in record.getMessage()
    assert "secret" not in record.getMessage()


def test_b116_a_dead_database_makes_saleor_try_again(
    installation: Installation, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(rows: Any) -> None:
        raise django.db.OperationalError("connection refused")

    monkeypatch.setattr(deliveries, "store", fail)
    assert refused(deliver(installation)) == (503, "STORE_UNAVAILABLE")


def test_b116_keys_out_of_reach_make_saleor_try_again(
    shop: LoopbackShop, db: None, deliver: Deliver
) -> None:
    installation = make_installation(saleor_api_url=shop.api_url)
    shop.instead["/.well-known/jwks.json"] = (500, {}, b"")
    assert refused(deliver(installation, key=OTHER_KEY)) == (503, "JWKS_NOT_AVAILABLE")


def test_a_rotated_key_is_fetched(shop: LoopbackShop, db: None, deliver: Deliver) -> None:
    installation = make_installation(saleor_api_url=shop.api_url)
    shop.key = OTHER_KEY
    assert deliver(installation, key=OTHER_KEY).status_code == 200
    assert WebhookDelivery.objects.get().installation == installation


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_post_is_taken(installation: Installation, deliver: Deliver, method: str) -> None:
    assert deliver(installation, method=method).status_code == 405
    assert WebhookDelivery.objects.count() == 0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Saleor-Api-Url": None}, (400, "MISSING_API_URL_HEADER")),
        ({"Saleor-Api-Url": ""}, (400, "MISSING_API_URL_HEADER")),
        ({"Saleor-Signature": None}, (400, "MISSING_SIGNATURE_HEADER")),
        ({"Saleor-Event": "product_created"}, (400, "WRONG_EVENT")),
        ({"Saleor-Api-Url": "https://unknown.saleor.test/graphql/"}, (401, "NOT_REGISTERED")),
        ({"Saleor-Api-Url": "https://MAIN.saleor.test/graphql/"}, (401, "NOT_REGISTERED")),
        ({"Saleor-Signature": "abc"}, (401, "INVALID_SIGNATURE")),
        (
            {"Saleor-Signature": TEST_KEY.sign_webhook(b"another body")},
            (503, "JWKS_NOT_AVAILABLE"),  # main.saleor.test gives no keys to compare with
        ),
    ],
)
def test_b127_a_delivery_with_wrong_headers_leaves_no_trace(
    installation: Installation,
    deliver: Deliver,
    headers: dict[str, str | None],
    expected: tuple[int, str],
) -> None:
    assert refused(deliver(installation, headers=headers)) == expected


def test_b127_a_forged_signature_leaves_no_trace(
    shop: LoopbackShop, db: None, deliver: Deliver, sent_tasks: list[str], run_on_commit: Any
) -> None:
    installation = make_installation(saleor_api_url=shop.api_url)
    forger = SigningKey(OTHER_KEY.private_key, "test-key")
    with run_on_commit():
        response = deliver(installation, key=forger)
    assert refused(response) == (401, "SIGNATURE_VERIFICATION_FAILED")
    assert sent_tasks == []


def test_the_event_header_may_be_missing_but_not_the_event(
    installation: Installation, deliver: Deliver
) -> None:
    assert refused(deliver(installation, "made_up_event")) == (400, "WRONG_EVENT")
    assert deliver(installation, headers={"Saleor-Event": None}).status_code == 200


@pytest.mark.parametrize("typename", ["ProductCreated", "OrderUpdated", "", None, 7])
def test_b127_a_signed_body_cannot_be_replayed_as_another_event(
    installation: Installation, deliver: Deliver, typename: Any
) -> None:
    """Saleor signs the body alone; the event's name in the header and the URL is anybody's."""
    body = payload_of(typename)
    assert refused(deliver(installation, payload=body)) == (400, "WRONG_EVENT")


@pytest.mark.parametrize(
    "recipient",
    [
        {"id": "QXBwOjk=", "identifier": "saleor.personalize"},
        {"id": "", "identifier": "saleor.personalize"},
        {"id": None},
        {},
        None,
        "QXBwOjE=",
    ],
)
def test_b127_a_body_made_for_another_app_is_refused(
    installation: Installation, deliver: Deliver, recipient: Any
) -> None:
    """Another app of the same shop gets bodies that are signed with the same key."""
    body = payload_of(recipient=recipient)
    assert refused(deliver(installation, payload=body)) == (401, "NOT_REGISTERED")


def test_b113_a_delivery_of_one_shop_is_nothing_to_another(
    installation: Installation, other_installation: Installation, deliver: Deliver
) -> None:
    """Both sign with the same key here; the app's id in the body still tells them apart."""
    assert refused(deliver(other_installation)) == (401, "NOT_REGISTERED")
    theirs = payload_of(app_id=other_installation.app_id)
    assert refused(deliver(installation, payload=theirs)) == (401, "NOT_REGISTERED")
    assert deliver(other_installation, payload=theirs).status_code == 200
    assert WebhookDelivery.objects.of(installation).count() == 0
    assert WebhookDelivery.objects.of(other_installation).count() == 1


def test_b113_two_shops_with_keys_of_their_own(
    installation: Installation, db: None, shop: LoopbackShop, deliver: Deliver
) -> None:
    shop.key = OTHER_KEY
    other = make_installation(saleor_api_url=shop.api_url, jwks=OTHER_KEY.jwks())
    assert refused(deliver(other, key=TEST_KEY)) == (401, "SIGNATURE_VERIFICATION_FAILED")
    assert deliver(other, key=OTHER_KEY).status_code == 200
    assert deliver(installation, key=TEST_KEY).status_code == 200
    assert [d.installation_id for d in WebhookDelivery.objects.order_by("pk")] == [
        other.pk,
        installation.pk,
    ]


def test_b127_a_body_has_a_greatest_size(
    installation: Installation, deliver: Deliver, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "WEBHOOK_MAX_BYTES": 600}
    assert deliver(installation).status_code == 200
    WebhookDelivery.objects.all().delete()
    big = payload_of(description="x" * 600)
    assert refused(deliver(installation, payload=big)) == (413, "PAYLOAD_TOO_LARGE")


def test_an_empty_body_is_refused(installation: Installation, deliver: Deliver) -> None:
    assert refused(deliver(installation, body=b"")) == (400, "MISSING_REQUEST_BODY")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<html>", "The body is not JSON."),
        (b"\xff\xfe{", "The body is not JSON."),
        (b"[" * 100_000, "The body is nested too deeply."),
        (b'[{"type": "Product"}]', "The body is a JSON list, not an object."),
        (b"null", "The body is a JSON NoneType, not an object."),
    ],
)
def test_b116_a_signed_body_that_nobody_can_read_is_kept_as_failed(
    installation: Installation, deliver: Deliver, body: bytes, error: str
) -> None:
    assert deliver(installation, body=body).status_code == 200
    stored = WebhookDelivery.objects.get()
    assert (stored.status, stored.error) == (DeliveryStatus.FAILED, error)
    assert bytes(stored.body) == body
    assert stored.issued_at is None


@pytest.mark.parametrize("issued_at", [None, 7, "yesterday", "2026-02-31T00:00:00Z"])
def test_an_unreadable_moment_of_issue_is_no_reason_to_lose_a_delivery(
    installation: Installation, deliver: Deliver, issued_at: Any
) -> None:
    assert deliver(installation, payload=payload_of(issuedAt=issued_at)).status_code == 200
    assert WebhookDelivery.objects.get().issued_at is None


def test_b119_no_refusal_logs_what_a_body_says(
    installation: Installation, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    body = payload_of("CustomerUpdated", user={"email": "alice@example.com"})
    deliver(installation, payload=body)
    deliver(installation, payload=payload_of(recipient=None, user={"email": "alice@example.com"}))
    assert len(caplog.records) >= 2
    assert "alice" not in caplog.text


# -- the life of an installation -------------------------------------------------------------------


@pytest.mark.parametrize("status", [InstallationStatus.INACTIVE, InstallationStatus.TOKEN_REFUSED])
def test_what_the_shop_signs_for_us_is_stored_whatever_we_believe_of_the_app(
    db: None, deliver: Deliver, status: InstallationStatus
) -> None:
    """Saleor sends nothing for a deactivated app, so our belief would be outdated."""
    installation = make_installation(status=status)
    assert deliver(installation).status_code == 200
    assert WebhookDelivery.objects.count() == 1


def test_a_deleted_app_takes_only_what_concerns_the_app_itself(db: None, deliver: Deliver) -> None:
    installation = make_installation(status=InstallationStatus.UNINSTALLED)
    assert refused(deliver(installation)) == (401, "NOT_REGISTERED")
    for event, typename in (
        ("app_status_changed", "AppStatusChanged"),
        ("app_deleted", "AppDeleted"),
    ):
        assert deliver(installation, event, payload_of(typename)).status_code == 200
    assert WebhookDelivery.objects.count() == 2


def test_an_app_installed_inactive_is_known_by_its_identifier(db: None, deliver: Deliver) -> None:
    waiting = make_installation(app_id="", auth_token="", status=InstallationStatus.INACTIVE)
    event, body = "app_status_changed", payload_of("AppStatusChanged", app_id="QXBwOjc=")
    assert refused(deliver(waiting, event, body)) == (401, "NOT_REGISTERED")
    PendingToken.objects.create(installation=waiting, token="t", received_at=NOW)
    foreign = {**body, "recipient": {"id": "QXBwOjc=", "identifier": "another.app"}}
    assert refused(deliver(waiting, event, foreign)) == (401, "NOT_REGISTERED")
    assert deliver(waiting, event, body).status_code == 200
    assert WebhookDelivery.objects.get().event == "app_status_changed"


def test_an_app_installed_anew_is_known_at_once(
    installation: Installation, deliver: Deliver
) -> None:
    """A process that still remembers the old app's id looks again before it refuses."""
    assert deliver(installation).status_code == 200
    Installation.objects.update(app_id="QXBwOjc=")
    body = payload_of(app_id="QXBwOjc=", issuedAt="2026-03-02T12:00:00+00:00")
    assert deliver(installation, payload=body).status_code == 200
    assert WebhookDelivery.objects.count() == 2


def test_the_door_needs_no_csrf_token(installation: Installation) -> None:
    body = json.dumps(payload_of()).encode()
    response = Client(enforce_csrf_checks=True).post(
        "/webhooks/saleor/product_updated/",
        data=body,
        content_type="application/json",
        headers={
            "Saleor-Api-Url": installation.saleor_api_url,
            "Saleor-Signature": TEST_KEY.sign_webhook(body),
        },
    )
    assert response.status_code == 200
