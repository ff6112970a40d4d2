"""`saleor-personalize doctor` on good and on broken set-ups, each with its fix."""

import io
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import DatabaseError
from django.utils import timezone
from kombu import Connection

from saleor_personalize.enums import BackfillStatus, DeliveryStatus, InstallationStatus
from saleor_personalize.health import operations as health
from saleor_personalize.ingestion.permissions import events_of, needed_permissions
from saleor_personalize.management import doctor
from saleor_personalize.models import (
    Backfill,
    Erasure,
    Heartbeat,
    Installation,
    Offer,
    OutgoingWebhook,
)
from saleor_personalize.saleor_api import documents
from tests.conftest import make_installation
from tests.integration.test_dashboard import make_delivery
from tests.loopback import LoopbackShop, loopback_shop, with_loopback


def webhooks(**changes: Any) -> list[dict[str, Any]]:
    """Return our webhooks as a healthy shop knows them."""
    return [
        {
            "name": documents.typename(event),
            "isActive": True,
            "targetUrl": f"https://personalize.test/webhooks/saleor/{event}/",
            **changes,
        }
        for event in events_of((3, 24))
    ]


def knows(shop: LoopbackShop, found: list[dict[str, Any]]) -> None:
    shop.answers["AppWebhooks"] = [{"data": {"app": {"id": "QXBwOjE=", "webhooks": found}}}]


@pytest.fixture
def shop(settings: Any) -> Iterator[LoopbackShop]:
    settings.SALEOR_PERSONALIZE = with_loopback(settings.SALEOR_PERSONALIZE)
    with loopback_shop() as served:
        served.accept("token-of-main")
        served.permissions = needed_permissions()
        knows(served, webhooks())
        yield served


@pytest.fixture
def installed(db: None, shop: LoopbackShop) -> Installation:
    """A shop in good order, with a worker that answers and that beat wakes."""
    installation = make_installation(saleor_api_url=shop.api_url)
    health.beat(now=timezone.now())
    make_delivery(installation, 1)
    Backfill.objects.create(
        installation=installation, status=BackfillStatus.DONE, created_at=timezone.now()
    )
    return installation


@pytest.fixture(autouse=True)
def _worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "workers_seen", lambda: ["celery@test"])


def examine(expect_exit: int = 0) -> dict[str, dict[str, str]]:
    """Run the command and return its findings that are not OK, by check."""
    out = io.StringIO()
    if expect_exit:
        with pytest.raises(SystemExit) as ended:
            call_command("personalize_doctor", json=True, stdout=out)
        assert ended.value.code == expect_exit
    else:
        call_command("personalize_doctor", json=True, stdout=out)
    answer = json.loads(out.getvalue())
    assert answer["is_well"] is (expect_exit == 0)
    found = {f["check"].partition(" (")[0]: f for f in answer["findings"] if f["level"] != "ok"}
    assert all(f["fix"] for f in found.values()), "every finding has a fix"
    return found


def without_key_warning(found: dict[str, dict[str, str]]) -> set[str]:
    """The test settings derive the encryption key, which is told: W004."""
    return set(found) - {"settings saleor_personalize.W004"}


def test_a_service_in_good_order_has_nothing_to_mend(installed: Installation) -> None:
    assert without_key_warning(examine()) == set()


def test_it_reads_well_in_a_terminal(installed: Installation) -> None:
    out = io.StringIO()
    call_command("personalize_doctor", stdout=out, no_color=True)
    text = out.getvalue()
    host = installed.saleor_api_url.split("/")[2]
    assert f"OK    token ({host}): Saleor 3.24.1 accepts our token." in text
    assert f"OK    webhooks ({host}): {len(events_of((3, 24)))} webhooks are on." in text


@pytest.mark.django_db
def test_a_service_that_no_shop_installed_says_where_to_install(settings: Any) -> None:
    found = examine()
    assert "https://personalize.test/api/manifest" in found["installation"]["fix"]


def test_a_refused_token(installed: Installation, shop: LoopbackShop) -> None:
    shop.apps.clear()
    found = examine(expect_exit=1)
    assert without_key_warning(found) == {"token"}
    assert "Activate the app" in found["token"]["fix"]


def test_a_shop_out_of_reach(installed: Installation) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    Installation.objects.update(saleor_api_url=f"http://127.0.0.1:{port}/graphql/")
    assert without_key_warning(examine(expect_exit=1)) == {"saleor", "jwks"}


def test_missing_keys_of_the_shop(installed: Installation, shop: LoopbackShop) -> None:
    shop.instead["/.well-known/jwks.json"] = (404, {}, b"")
    found = examine(expect_exit=1)
    assert without_key_warning(found) == {"jwks"}
    assert "/.well-known/jwks.json" in found["jwks"]["fix"]


def test_b65_a_shop_that_never_granted_discounts_is_told_and_works(
    installed: Installation, shop: LoopbackShop, settings: Any
) -> None:
    shop.permissions = [*set(needed_permissions()) - {"MANAGE_DISCOUNTS"}]
    found = examine()
    assert without_key_warning(found) == {"offers"}
    assert "MANAGE_DISCOUNTS" in found["offers"]["text"]
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "OFFERS": False}
    assert without_key_warning(examine()) == set()


def test_c2_a_code_that_stays_in_saleor_is_told(installed: Installation) -> None:
    now = timezone.now()
    Offer.objects.create(
        installation=installed,
        key="one",
        code="K7QD-4MXA-RT9H-CE36",
        kind="percent",
        status="withdrawn",
        withdrawn_at=now - timedelta(hours=2),
        error="Saleor answered 503.",
        reserved_at=now,
        expires_at=now,
    )
    found = examine()
    assert without_key_warning(found) == {"codes"}
    assert "503" in found["codes"]["text"]
    assert "K7QD" not in found["codes"]["text"]
    Offer.objects.update(gone_at=now)
    assert without_key_warning(examine()) == set()


def test_b109_an_outgoing_webhook_that_gets_nothing_through_is_told(
    installed: Installation,
) -> None:
    since = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
    OutgoingWebhook.objects.create(
        installation=installed,
        alias="crm",
        url="https://crm.test/hooks/a-secret-path",
        secret="a-secret",
        created_at=since,
    )
    assert without_key_warning(examine()) == set()
    OutgoingWebhook.objects.update(failing_since=since, failures=12)
    (failing,) = told_of_webhook(examine())
    assert (
        failing["level"],
        "“crm” has taken nothing since 2026-05-04 09:30 UTC (12 tries)." in failing["text"],
    ) == ("warn", True)
    assert "bus log crm" in failing["fix"]
    OutgoingWebhook.objects.update(is_active=False, disabled_at=since)
    (off,) = told_of_webhook(examine(expect_exit=1))
    assert (off["level"], "“crm” was switched off at 2026-05-04 09:30 UTC" in off["text"]) == (
        "fail",
        True,
    )
    assert "bus on crm" in off["fix"]
    assert "a-secret" not in str([failing, off])
    # Whoever switched it off themselves knows.
    OutgoingWebhook.objects.update(disabled_at=None)
    assert without_key_warning(examine()) == set()


def told_of_webhook(found: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    assert without_key_warning(found) == {"outgoing webhook"}
    return [found["outgoing webhook"]]


def test_b26_an_app_installed_before_pages_were_taken_is_told_to_be_installed_again(
    installed: Installation, shop: LoopbackShop
) -> None:
    shop.permissions = sorted(set(needed_permissions()) - {"MANAGE_PAGES"})
    knows(shop, [webhook for webhook in webhooks() if not webhook["name"].startswith("Page")])
    found = examine(expect_exit=1)
    assert without_key_warning(found) == {"permissions", "webhooks"}
    assert "MANAGE_PAGES" in found["permissions"]["text"]
    assert "PageCreated, PageDeleted, PageUpdated" in found["webhooks"]["text"]
    assert "Install the app again" in found["webhooks"]["fix"]


def test_a_withheld_and_an_unneeded_permission(installed: Installation, shop: LoopbackShop) -> None:
    shop.permissions = [*set(needed_permissions()) - {"MANAGE_ORDERS"}, "MANAGE_STAFF"]
    found = examine(expect_exit=1)
    assert without_key_warning(found) == {"permissions", "permissions unused"}
    assert "MANAGE_ORDERS" in found["permissions"]["text"]
    assert found["permissions unused"]["level"] == "warn"
    assert "MANAGE_STAFF" in found["permissions unused"]["text"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (webhooks()[1:], "Saleor lacks 1 of our webhooks: "),
        (webhooks(isActive=False), "Switched off in Saleor: "),
        (webhooks(targetUrl="https://old.test/x"), "go to another address than APP_URL"),
    ],
)
def test_webhooks_that_bring_nothing(
    installed: Installation, shop: LoopbackShop, found: list[dict[str, Any]], text: str
) -> None:
    knows(shop, found)
    findings = examine(expect_exit=1)
    assert without_key_warning(findings) == {"webhooks"}
    assert text in findings["webhooks"]["text"]


def test_deliveries_that_nobody_takes(installed: Installation) -> None:
    make_delivery(
        installed, 2, status=DeliveryStatus.RECEIVED, processed_at=None,
        received_at=timezone.now() - timedelta(minutes=5),
    )  # fmt: skip
    assert "worker" in examine(expect_exit=1)["deliveries"]["fix"]


def test_failed_deliveries_are_a_warning(installed: Installation) -> None:
    make_delivery(installed, 2, status=DeliveryStatus.FAILED, error="x")
    assert "webhooks replay" in examine()["deliveries"]["fix"]


def test_a_backfill_that_stopped(installed: Installation) -> None:
    Backfill.objects.update(status=BackfillStatus.FAILED, error="Saleor answered 502.")
    assert "Saleor answered 502." in examine(expect_exit=1)["back-fill"]["text"]


def test_a_shop_that_left_is_not_examined(installed: Installation, shop: LoopbackShop) -> None:
    Installation.objects.update(status=InstallationStatus.UNINSTALLED)
    assert without_key_warning(examine()) == {"installation"}
    assert shop.requests == []


def test_a_missing_sender_and_cart_link(installed: Installation, settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DEFAULT_SENDER": None,
        "CHECKOUT_URL": None,
    }
    assert without_key_warning(examine()) == {"sender", "cart link"}


def test_a_mail_server_out_of_reach(installed: Installation, settings: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings.EMAIL_PORT = free.getsockname()[1]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_HOST_PASSWORD = "do-not-tell"
    found = examine(expect_exit=1)
    assert without_key_warning(found) == {"mail"}
    assert "ConnectionRefusedError" in found["mail"]["text"]
    assert "do-not-tell" not in json.dumps(found)


def test_b67_the_second_mail_server_is_tried_too(installed: Installation, settings: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    locmem = "django.core.mail.backends.locmem.EmailBackend"
    second = {"BACKEND": smtp, "OPTIONS": {"host": "127.0.0.1", "port": port, "password": "secret"}}
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CHANNELS": {
            "email": {
                "BACKEND": "saleor_personalize.messaging.channels.email.EmailChannel",
                "OPTIONS": {"providers": [locmem, second]},
            }
        },
    }
    found = examine(expect_exit=1)
    assert without_key_warning(found) == {"mail 2"}
    assert found["mail 2"]["text"] == f"127.0.0.1:{port} takes no mail: ConnectionRefusedError."
    assert "EMAIL_FALLBACK_BACKEND" in found["mail 2"]["fix"]
    assert "secret" not in json.dumps(found)


def test_b100_beat_that_stopped_and_work_that_stays_undone(installed: Installation) -> None:
    at = timezone.now() - timedelta(hours=13)
    Heartbeat.objects.of(installed).update(at=at)
    Erasure.objects.create(
        installation=installed, requested_by="staff", fingerprints=[], facts_until=at, erased_at=at
    )
    found = examine(expect_exit=1)
    assert without_key_warning(found) >= {"beat", "late erasures"}
    assert found["beat"]["text"] == f"Beat has woken no worker since {at:%Y-%m-%d %H:%M} UTC."
    assert found["late erasures"]["fix"].startswith("See that workers run")
    Heartbeat.objects.of(installed).delete()
    Erasure.objects.of(installed).delete()
    assert examine()["beat"]["level"] == "warn"


def test_no_worker(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "workers_seen", list)
    assert "saleor-personalize worker" in examine(expect_exit=1)["worker"]["fix"]


def test_a_broker_out_of_reach(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"redis://:do-not-tell@127.0.0.1:{free.getsockname()[1]}/0"
    monkeypatch.setattr(current_app, "connection_for_write", lambda: Connection(url))
    found = examine(expect_exit=1)
    assert without_key_warning(found) == {"broker"}
    assert "CELERY_BROKER_URL" in found["broker"]["fix"]
    assert "do-not-tell" not in json.dumps(found)


def test_a_model_folder_that_cannot_be_written(
    installed: Installation, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "MODEL_DIRECTORY": str(tmp_path / "file" / "models"),
    }
    assert "MODEL_DIRECTORY" in examine(expect_exit=1)["models"]["fix"]


def test_a_database_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise DatabaseError("connection to server failed: password do-not-tell")

    monkeypatch.setattr(doctor.connection, "ensure_connection", refuse)
    found = examine(expect_exit=1)
    assert "DATABASE_URL" in found["database"]["fix"]
    assert "do-not-tell" not in json.dumps(found)


@pytest.mark.django_db
def test_migrations_that_are_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.MigrationExecutor, "migration_plan", lambda *_: [("one", False)])
    assert "saleor-personalize migrate" in examine(expect_exit=1)["migrations"]["fix"]


def test_an_unknown_setting_is_told_with_a_suggestion(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {"APP_ULR": "https://personalize.test"}
    found = examine(expect_exit=1)
    assert found["settings saleor_personalize.E001"]["fix"] == "Did you mean APP_URL?"
