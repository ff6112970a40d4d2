"""The page in the Dashboard and its fragments, asked for as `bridge.js` asks."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from saleor_personalize.enums import (
    BackfillStatus,
    DeliveryChannel,
    DeliveryStatus,
    EnrollmentStatus,
    InstallationStatus,
    JourneySource,
    MessageStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import (
    Backfill,
    BackfillStage,
    Installation,
    Journey,
    Message,
    Profile,
    TrainedModel,
    WebhookDelivery,
)
from saleor_personalize.saleor_api import auth
from saleor_personalize.testing.keys import TEST_KEY, SigningKey
from tests.conftest import make_enrollment

FRAGMENTS = ["overview", "webhooks", "backfill", "messages"]
ACTIONS = [
    "journeys/abandoned_checkout/go-live/",
    "journeys/abandoned_checkout/pause/",
    "journeys/abandoned_checkout/resume/",
    "sends/stop/",
    "sends/resume/",
    "settings/",
    "webhooks/replay/",
    "backfill/start/",
    "backfill/1/pause/",
    "backfill/1/resume/",
]
GO_LIVE = "/dashboard/journeys/abandoned_checkout/go-live/"
ALL = ["MANAGE_CHECKOUTS", "MANAGE_ORDERS", "MANAGE_PRODUCTS", "MANAGE_USERS"]


def staff_claims(installation: Installation, **changes: Any) -> dict[str, Any]:
    """Return what Saleor puts into the token of an app's frame."""
    issued = int(timezone.now().timestamp())
    return {
        "iat": issued,
        "exp": issued + 300,
        "iss": installation.saleor_api_url,
        "owner": "saleor",
        "token": "vpe4zgOH9GlB",
        "email": "staff@example.com",
        "type": "thirdparty",
        "user_id": "VXNlcjox",
        "is_staff": True,
        "app": installation.app_id,
        "permissions": ALL,
        "user_permissions": [*ALL, "MANAGE_STAFF"],
        **changes,
    }


def headers(installation: Installation, **changes: Any) -> dict[str, str]:
    return {
        "authorization-bearer": TEST_KEY.jwt(staff_claims(installation, **changes)),
        "saleor-api-url": installation.saleor_api_url,
    }


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    cache.clear()


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


def outcome(response: Any) -> dict[str, str]:
    found: dict[str, str] = json.loads(response.headers["HX-Trigger-After-Settle"])[
        "personalize:outcome"
    ]
    return found


def make_delivery(installation: Installation, number: int, **changes: Any) -> WebhookDelivery:
    received = timezone.now() - timedelta(minutes=5)
    return WebhookDelivery.objects.create(
        **{
            "installation": installation,
            "event": "product_updated",
            "body": b"{}",
            "body_hash": number.to_bytes(32, "big"),
            "received_at": received,
            "processed_at": received + timedelta(seconds=2),
            "status": DeliveryStatus.PROCESSED,
            **changes,
        }
    )


def make_message(profile: Profile, status: MessageStatus, reason: str = "") -> Message:
    return Message.objects.create(
        installation=profile.installation,
        idempotency_key=f"test:{Message.objects.count()}",
        profile=profile,
        template="abandoned_checkout",
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        status=status,
        reason=reason,
        decided_at=timezone.now(),
    )


# -- the empty page --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/"])
def test_b97_the_page_is_empty_and_sets_no_cookie(
    client: Client, installation: Installation, path: str
) -> None:
    response = client.get(path, {"saleorApiUrl": installation.saleor_api_url, "theme": "dark"})
    assert response.status_code == 200
    assert not response.cookies
    assert b'data-theme="dark"' in response.content
    assert b"Cart reminder" not in response.content
    assert "X-Frame-Options" not in response.headers


def test_b97_only_the_shops_own_dashboard_may_frame_the_page(
    client: Client, installation: Installation
) -> None:
    response = client.get("/dashboard", {"saleorApiUrl": installation.saleor_api_url})
    policy = response.headers["Content-Security-Policy"]
    assert policy.endswith("frame-ancestors https://main.saleor.test")
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


def test_a_stranger_may_not_frame_the_page(client: Client, installation: Installation) -> None:
    response = client.get("/dashboard", {"saleorApiUrl": "https://evil.test/graphql/"})
    assert response.headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")


def test_dashboard_origins_say_who_may_frame_the_page(
    client: Client, installation: Installation, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DASHBOARD_ORIGINS": ["https://dashboard.test", "http://localhost:9000"],
    }
    # The Dashboard may know Saleor under another address than the one that was registered.
    response = client.get("/dashboard", {"saleorApiUrl": "http://localhost:8000/graphql/"})
    assert response.headers["Content-Security-Policy"].endswith(
        "frame-ancestors https://dashboard.test http://localhost:9000"
    )


@pytest.mark.parametrize(
    ("locale", "language"), [("pl", "pl"), ("de-CH", "de"), ("xx", "en"), ("it", "en")]
)
def test_b97_the_page_follows_the_dashboards_language(
    client: Client, installation: Installation, settings: Any, locale: str, language: str
) -> None:
    settings.LANGUAGES = [*settings.LANGUAGES, ("it", "Italiano")]
    response = client.get("/dashboard", {"locale": locale}, headers={"accept-language": "en"})
    assert response.headers["Content-Language"] == language
    assert f'<html lang="{language}"'.encode() in response.content


# -- who may look and act ----------------------------------------------------------------------------


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_b97_staff_are_signed_in_by_the_dashboards_token(
    client: Client, signed: dict[str, str], fragment: str
) -> None:
    response = client.get(f"/dashboard/{fragment}/", headers=signed)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert not response.cookies


def refused_tokens(installation: Installation) -> dict[str, str]:
    issued = int(timezone.now().timestamp())
    customer = {
        **staff_claims(installation, type="access", is_staff=False),
        "email": "alice@example.com",
    }
    for name in ("app", "permissions", "user_permissions"):
        del customer[name]
    return {
        "none": "",
        "junk": "not.a.token",
        "customer": TEST_KEY.jwt(customer),
        "staff outside the app": TEST_KEY.jwt(staff_claims(installation, type="access")),
        "another app": TEST_KEY.jwt(staff_claims(installation, app="QXBwOjk5")),
        "another shop": TEST_KEY.jwt(staff_claims(installation, iss="https://x.test/graphql/")),
        "not staff": TEST_KEY.jwt(staff_claims(installation, is_staff=False)),
        "expired": TEST_KEY.jwt(staff_claims(installation, exp=issued - 1)),
        "another key": SigningKey.generate("test-key").jwt(staff_claims(installation)),
        "app token": installation.auth_token,
    }


@pytest.mark.parametrize(
    "kind",
    [
        "none", "junk", "customer", "staff outside the app", "another app", "another shop",
        "not staff", "expired", "another key", "app token",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["get", "post"])
def test_b97_any_other_token_opens_nothing(
    client: Client,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    method: str,
) -> None:
    monkeypatch.setattr("saleor_personalize.saleor_api.auth.refresh_jwks", lambda *a, **k: None)
    given = {"authorization-bearer": refused_tokens(installation)[kind]}
    paths = [f"{f}/" for f in FRAGMENTS] if method == "get" else ACTIONS
    for path in paths:
        response = getattr(client, method)(f"/dashboard/{path}", headers=given)
        assert response.status_code == 401, path
        assert b"Cart reminder" not in response.content
    assert not Journey.objects.exists()
    assert not Backfill.objects.exists()


@pytest.mark.parametrize("odd", ["\x00", "\ud800", "x" * 5_000], ids=["nul", "half", "long"])
def test_texts_that_no_database_holds_open_nothing(
    client: Client, installation: Installation, odd: str
) -> None:
    """What a forged token or address says is looked up before it is proven."""
    for claim in ("iss", "app"):
        given = headers(installation, **{claim: odd})
        assert client.get("/dashboard/overview/", headers=given).status_code == 401
    page = client.get("/dashboard", {"saleorApiUrl": odd.replace("\ud800", "?")})
    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page["Content-Security-Policy"]


def test_without_the_shops_keys_staff_are_asked_to_try_again(
    client: Client, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell whether the token is good: it is not called bad, and it opens nothing."""

    def unreachable(*_: object, **__: object) -> None:
        raise SaleorApiError("no route", is_retryable=True)

    auth.refresh_limit.clear()
    monkeypatch.setattr(auth, "fetch_jwks", unreachable)
    token = SigningKey.generate("new").jwt(staff_claims(installation))
    given = {"authorization-bearer": token}
    answers = [client.get(f"/dashboard/{path}/", headers=given) for path in FRAGMENTS]
    answers += [client.post(f"/dashboard/{path}", headers=given) for path in ACTIONS]
    assert {answer.status_code for answer in answers} == {503}
    assert not any(b"Cart reminder" in answer.content for answer in answers)
    assert not Journey.objects.exists()
    assert not Backfill.objects.exists()


def test_staff_without_orders_or_checkouts_see_nothing(
    client: Client, installation: Installation
) -> None:
    given = headers(installation, permissions=["MANAGE_PRODUCTS"], user_permissions=ALL)
    for fragment in FRAGMENTS:
        response = client.get(f"/dashboard/{fragment}/", headers=given)
        assert response.status_code == 403
        assert b"one of these permissions" in response.content
        assert b"Manage orders, Manage checkouts" in response.content


@pytest.mark.parametrize("permission", ["MANAGE_ORDERS", "MANAGE_CHECKOUTS"])
def test_staff_with_one_permission_look_and_change_nothing(
    client: Client, installation: Installation, permission: str
) -> None:
    given = headers(installation, permissions=[permission])
    response = client.get("/dashboard/overview/", headers=given)
    assert response.status_code == 200
    assert b"You may look but not change anything here" in response.content
    for path in ACTIONS:
        assert client.post(f"/dashboard/{path}", headers=given).status_code == 403, path
    assert not Journey.objects.exists()
    assert not Backfill.objects.exists()


def test_an_action_takes_no_get_and_a_fragment_no_post(
    client: Client, signed: dict[str, str]
) -> None:
    for path in ACTIONS:
        assert client.get(f"/dashboard/{path}", headers=signed).status_code == 405
    for fragment in FRAGMENTS:
        assert client.post(f"/dashboard/{fragment}/", headers=signed).status_code == 405


# -- what it shows -----------------------------------------------------------------------------------


def test_empty_states_say_what_to_do_next(client: Client, signed: dict[str, str]) -> None:
    page = client.get("/dashboard/overview/", headers=signed).content.decode()
    assert "Nothing received yet" in page
    assert "Change something small, such as a product&#x27;s name." in page
    assert "Your products, customers and past orders are not here yet." in page
    assert "No message yet." in page
    assert "Not trained yet." in page
    assert "Not live" in page


def test_b100_webhook_health_with_lag_failures_and_their_fix(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    received = timezone.now() - timedelta(minutes=5)
    for number, seconds in enumerate([1.0, 2.0, 3.0]):
        make_delivery(
            installation,
            number,
            received_at=received,
            processed_at=received + timedelta(seconds=seconds),
        )
    make_delivery(installation, 9, status=DeliveryStatus.RECEIVED, received_at=timezone.now())
    failed = make_delivery(
        installation,
        10,
        event="checkout_updated",
        status=DeliveryStatus.FAILED,
        error="checkout.lines: missing",
        attempts=3,
    )
    response = client.get("/dashboard/webhooks/", headers=signed)
    page = response.content.decode()
    assert response.context["webhooks"].received == 5
    assert response.context["webhooks"].waiting == 1
    assert response.context["webhooks"].lag_p50 == timedelta(seconds=2)
    assert response.context["webhooks"].lag_p95 == timedelta(seconds=2.9)
    assert "1 could not be processed" in page
    assert "checkout_updated" in page
    assert "checkout.lines: missing" in page
    assert "Tried 3 times" in page
    assert f'id="replay-{failed.pk}"' in page
    assert "Remove the cause named below, then replay them." in page


def test_b100_deliveries_that_no_worker_takes_are_told(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    make_delivery(
        installation,
        1,
        status=DeliveryStatus.RECEIVED,
        received_at=timezone.now() - timedelta(minutes=2),
        processed_at=None,
    )
    page = client.get("/dashboard/webhooks/", headers=signed).content.decode()
    assert "Received, but not processed" in page
    assert "saleor-personalize worker" in page


def test_b100_a_quiet_day_is_told(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    make_delivery(installation, 1, received_at=timezone.now() - timedelta(days=2))
    page = client.get("/dashboard/webhooks/", headers=signed).content.decode()
    assert "Quiet for a day" in page


def test_b100_replay_puts_one_failed_delivery_back_in_line(
    client: Client, installation: Installation, other_installation: Installation
) -> None:
    signed = headers(installation)
    mine, rest = (
        make_delivery(installation, n, status=DeliveryStatus.FAILED, error="x") for n in (1, 2)
    )
    foreign = make_delivery(other_installation, 3, status=DeliveryStatus.FAILED, error="x")
    response = client.post(
        "/dashboard/webhooks/replay/", {"delivery": str(mine.pk)}, headers=signed
    )
    assert outcome(response) == {
        "status": "info",
        "title": "Replaying",
        "text": "1 is processed again.",
    }
    stati = {d.pk: d.status for d in WebhookDelivery.objects.all()}
    assert stati == {
        mine.pk: DeliveryStatus.RECEIVED,
        rest.pk: DeliveryStatus.FAILED,
        foreign.pk: DeliveryStatus.FAILED,
    }
    client.post("/dashboard/webhooks/replay/", {"delivery": str(foreign.pk)}, headers=signed)
    foreign.refresh_from_db()
    assert foreign.status == DeliveryStatus.FAILED
    for odd in ("x", "-1", "9" * 20, "9" * 5_000):
        asked = {"delivery": odd}
        assert client.post("/dashboard/webhooks/replay/", asked, headers=signed).status_code == 404
    client.post("/dashboard/webhooks/replay/", {"delivery": "9" * 19}, headers=signed)
    rest.refresh_from_db()
    assert rest.status == DeliveryStatus.FAILED


def test_backfill_progress_stage_by_stage(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    run = Backfill.objects.create(
        installation=installation, status=BackfillStatus.RUNNING, created_at=timezone.now()
    )
    for position, (name, rows, total, done) in enumerate(
        [("products", 120, 120, True), ("orders", 1500, 4000, False), ("checkouts", 0, None, False)]
    ):
        BackfillStage.objects.create(
            installation=installation, backfill=run, name=name, position=position,
            row_count=rows, total_count=total, is_done=done,
        )  # fmt: skip
    response = client.get("/dashboard/backfill/", headers=signed)
    page = response.content.decode()
    assert "120 of 120" in page
    assert "1,500 of 4,000" in page
    assert '<progress aria-labelledby="stage-2" value="1500" max="4000">' in page
    assert "Running" in page
    assert response.context["backfill_poll"].seconds == 2


def test_polling_slows_while_nothing_changes_and_wakes_again(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    first = client.get("/dashboard/webhooks/", headers=signed).context["webhooks_poll"]
    assert (first.times, first.seconds) == (0, 10)
    query = {"seen": first.seen, "times": str(first.times)}
    second = client.get("/dashboard/webhooks/", query, headers=signed).context["webhooks_poll"]
    assert (second.times, second.seconds) == (1, 15)
    query = {"seen": first.seen, "times": "12"}
    late = client.get("/dashboard/webhooks/", query, headers=signed).context["webhooks_poll"]
    assert late.seconds == 60
    make_delivery(installation, 1)
    awake = client.get("/dashboard/webhooks/", query, headers=signed).context["webhooks_poll"]
    assert (awake.times, awake.seconds) == (0, 10)


def test_a_backfill_is_started_paused_and_resumed(
    client: Client, installation: Installation, other_installation: Installation
) -> None:
    signed = headers(installation)
    client.post("/dashboard/backfill/start/", headers=signed)
    run = Backfill.objects.get()
    assert (run.installation, run.status) == (installation, BackfillStatus.PENDING)
    client.post(f"/dashboard/backfill/{run.pk}/pause/", headers=signed)
    run.refresh_from_db()
    assert run.is_pause_requested
    # Staff of another shop, whose app has the same rights there, reach nothing of this one.
    foreign = headers(other_installation)
    path = f"/dashboard/backfill/{run.pk}/resume/"
    assert client.post(path, headers=foreign).status_code == 404
    run.refresh_from_db()
    assert run.is_pause_requested
    client.post(path, headers=signed)
    run.refresh_from_db()
    assert not run.is_pause_requested


def test_messages_say_what_became_of_them_without_naming_anybody_to_who_may_not_see_people(
    client: Client, installation: Installation, alice: Profile, bob: Profile, dave: Profile
) -> None:
    seen = ["MANAGE_ORDERS", "MANAGE_CHECKOUTS"]
    signed = headers(installation, permissions=seen, user_permissions=seen)
    make_message(alice, MessageStatus.SENT)
    make_message(bob, MessageStatus.NOT_SENT, NotSentReason.NO_CONSENT)
    make_message(alice, MessageStatus.NOT_SENT, NotSentReason.ORDERED)
    make_message(dave, MessageStatus.FAILED, NotSentReason.CHANNEL_ERROR)
    response = client.get("/dashboard/messages/", headers=signed)
    page = response.content.decode()
    assert len(response.context["messages"]) == 3
    counts = response.context["counts"]
    assert (counts.sent, counts.not_sent, counts.failed) == (1, 2, 0)
    assert "The person did not allow e-mails of this kind." in page
    assert "The person has ordered since." in page
    assert "@example.com" not in page


def test_models_are_listed_by_sales_channel(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    TrainedModel.objects.create(
        installation=installation, channel_slug="default-channel", version="1", path="x",
        metrics={"aliases": {"bought_together": {}, "popular": {}}},
        trained_at=timezone.now(), is_published=True,
    )  # fmt: skip
    page = client.get("/dashboard/overview/", headers=signed).content.decode()
    assert "default-channel" in page
    assert "Bought together, Popular" in page


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        (InstallationStatus.INACTIVE, "Activate the app under Extensions"),
        (InstallationStatus.TOKEN_REFUSED, "Activate the app under Extensions"),
    ],
)
def test_b100_an_app_that_is_off_says_how_to_switch_it_on(
    client: Client, installation: Installation, signed: dict[str, str], status: str, fix: str
) -> None:
    Installation.objects.update(status=status)
    page = client.get("/dashboard/overview/", headers=signed).content.decode()
    assert fix in page


@pytest.mark.parametrize(
    ("language", "words"),
    [("de", "Noch nichts empfangen"), ("fr", "Aucun message"),
     ("es", "Aún no se ha recibido nada"), ("pl", "Jeszcze nic nie przyszło")],
)  # fmt: skip
def test_b97_fragments_speak_the_readers_language(
    client: Client, signed: dict[str, str], language: str, words: str
) -> None:
    response = client.get("/dashboard/overview/", headers={**signed, "accept-language": language})
    assert words in response.content.decode()
    assert response.headers["Content-Language"] == language


# -- what it changes -----------------------------------------------------------------------------------


def test_go_live_and_pause(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    response = client.post(GO_LIVE, headers=signed)
    assert outcome(response)["title"] == "The journey is live"
    journey = Journey.objects.get()
    assert (journey.installation, journey.key) == (installation, "abandoned_checkout")
    assert journey.is_live
    assert b"Pause" in response.content
    response = client.post("/dashboard/journeys/abandoned_checkout/pause/", headers=signed)
    journey.refresh_from_db()
    assert not journey.is_live
    assert b"Go live" in response.content


def test_pausing_from_the_overview_holds_who_is_inside_whatever_its_definition_says(
    client: Client, installation: Installation, alice: Profile, signed: dict[str, str]
) -> None:
    """That everybody leaves cannot be taken back: it is asked once more, on the page of the journey."""
    built_in = journeys.built_in()["abandoned_checkout"]
    journeys.publish(
        installation=installation,
        definition=replace(built_in, on_pause="exit"),
        source=JourneySource.FILE,
        now=timezone.now(),
    )
    client.post(GO_LIVE, headers=signed)
    inside = make_enrollment(alice, "checkout-1", timezone.now())
    page = client.get("/dashboard/overview/", headers=signed).content.decode()
    (button,) = re.findall(r'<button id="journey-button"[^>]*>', page)
    url, given = re.findall(r"""hx-post="([^"]+)" hx-vals='([^']+)'""", button)[0]
    response = client.post(url, json.loads(given), headers=signed)
    assert outcome(response)["title"] == "The journey is paused"
    assert not Journey.objects.get().is_live
    inside.refresh_from_db()
    assert inside.status == EnrollmentStatus.WAITING


def test_b110_what_waits_for_a_segment_that_is_not_there_does_not_go_live(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    built_in = journeys.built_in()["abandoned_checkout"]
    journeys.publish(
        installation=installation,
        definition=replace(built_in, exits=("segment_entered:vip",)),
        source=JourneySource.FILE,
        now=timezone.now(),
    )
    response = client.post(GO_LIVE, headers=signed)
    assert outcome(response)["title"] == "Not live yet"
    assert "'vip' is no segment of the shop (it has: none)" in outcome(response)["text"]
    assert not Journey.objects.get().is_live


def test_b64_who_is_held_goes_on(
    client: Client, installation: Installation, alice: Profile, signed: dict[str, str]
) -> None:
    client.post(GO_LIVE, headers=signed)
    live_at = Journey.objects.get().live_at
    make_enrollment(alice, "checkout-1", timezone.now())
    response = client.post("/dashboard/journeys/abandoned_checkout/pause/", headers=signed)
    assert b"Go on with who is held" in response.content
    response = client.post("/dashboard/journeys/abandoned_checkout/resume/", headers=signed)
    assert outcome(response)["title"] == "The journey goes on"
    journey = Journey.objects.get()
    assert (journey.is_live, journey.live_at) == (True, live_at)


def test_b64_every_page_shows_the_switch_that_stops_all_sends(
    client: Client,
    installation: Installation,
    other_installation: Installation,
    signed: dict[str, str],
) -> None:
    for page in ("overview", "people", "segments", "models", "rules", "imports", "data"):
        response = client.get(f"/dashboard/{page}/", headers=signed)
        assert b'hx-get="/dashboard/sends/" hx-trigger="load, every 30s"' in response.content, page
    assert b"Stop all sends" in client.get("/dashboard/sends/", headers=signed).content
    response = client.post("/dashboard/sends/stop/", headers=signed)
    assert outcome(response)["title"] == "All sends are stopped"
    installation.refresh_from_db()
    other_installation.refresh_from_db()
    assert installation.sends_stopped_at is not None
    assert other_installation.sends_stopped_at is None
    shown = client.get("/dashboard/sends/", headers=signed)
    assert b"All sends are stopped: no message leaves, whatever it is." in shown.content
    response = client.post("/dashboard/sends/resume/", headers=signed)
    assert outcome(response)["title"] == "Sends go on"
    installation.refresh_from_db()
    assert installation.sends_stopped_at is None


def test_a_journey_without_sender_or_cart_link_does_not_go_live(
    client: Client, signed: dict[str, str], settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DEFAULT_SENDER": None,
        "CHECKOUT_URL": None,
    }
    response = client.post(GO_LIVE, headers=signed)
    assert outcome(response)["title"] == "Not live yet"
    assert b"set the sender" in response.content
    assert b"set the cart link" in response.content
    assert b'hx-get="/dashboard/settings/page/"' in response.content
    assert not Journey.objects.filter(is_live=True).exists()


def test_settings_are_kept_for_this_installation_only(
    client: Client, installation: Installation, other_installation: Installation
) -> None:
    given = {
        "sender": "Example shop <hello@example.com>",
        "checkout_url": "https://store.test/cart/{checkout_id}",
    }
    response = client.post("/dashboard/settings/", given, headers=headers(installation))
    assert outcome(response)["title"] == "Settings saved"
    installation.refresh_from_db()
    other_installation.refresh_from_db()
    assert installation.sender == given["sender"]
    assert installation.checkout_url == given["checkout_url"]
    assert (other_installation.sender, other_installation.checkout_url) == ("", "")


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("sender", "not an address", "This is no e-mail address."),
        ("sender", "a@b.test\r\nBcc: x@y.test", "This is no e-mail address."),
        ("checkout_url", "javascript:alert(1)//{checkout_id}", "This is no web address."),
        ("checkout_url", "https://store.test/cart", "Put {checkout_id} where"),
        ("checkout_url", "https://[broken/{checkout_id}", "This is no web address."),
        ("storefront_origins", "https://a.test *", "* is no address of a site."),
        ("storefront_origins", "https://a.test/shop", "https://a.test/shop is no address"),
        ("storefront_origins", "store.test", "store.test is no address of a site."),
    ],
)
def test_wrong_settings_are_refused_with_what_to_write(
    client: Client,
    installation: Installation,
    signed: dict[str, str],
    field: str,
    value: str,
    error: str,
) -> None:
    response = client.post("/dashboard/settings/", {field: value}, headers=signed)
    assert outcome(response)["status"] == "error"
    assert error in response.content.decode()
    assert b'aria-invalid="true"' in response.content
    installation.refresh_from_db()
    assert (installation.sender, installation.checkout_url) == ("", "")
    assert installation.storefront_origins == []


def test_b7_the_pages_that_may_send_events_are_set_per_installation(
    client: Client,
    installation: Installation,
    other_installation: Installation,
    signed: dict[str, str],
) -> None:
    given = "https://Store.test/, http://localhost:3000 https://b.test:443 https://store.test"
    response = client.post("/dashboard/settings/", {"storefront_origins": given}, headers=signed)
    assert outcome(response)["title"] == "Settings saved"
    installation.refresh_from_db()
    other_installation.refresh_from_db()
    kept = ["https://store.test", "http://localhost:3000", "https://b.test"]
    assert installation.storefront_origins == kept
    assert other_installation.storefront_origins == []
    assert f'value="{" ".join(kept)}"'.encode() in response.content
    response = client.post("/dashboard/settings/", {"storefront_origins": ""}, headers=signed)
    assert outcome(response)["title"] == "Settings saved"
    installation.refresh_from_db()
    assert installation.storefront_origins == []


def test_what_saleor_sends_is_shown_as_text(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    make_delivery(installation, 1, status=DeliveryStatus.FAILED, error="<script>alert(1)</script>")
    page = client.get("/dashboard/webhooks/", headers=signed).content
    assert b"<script>alert(1)" not in page
    assert b"&lt;script&gt;" in page


# -- how much it costs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fragment", "queries"), [("overview", 23), ("webhooks", 6), ("backfill", 3), ("messages", 6)]
)
def test_number_of_queries_does_not_grow_with_rows(
    client: Client,
    installation: Installation,
    alice: Profile,
    signed: dict[str, str],
    django_assert_num_queries: Any,
    fragment: str,
    queries: int,
) -> None:
    run = Backfill.objects.create(
        installation=installation, status=BackfillStatus.RUNNING, created_at=timezone.now()
    )
    for n in range(5):
        make_delivery(installation, n, status=DeliveryStatus.FAILED, error="x")
        make_message(alice, MessageStatus.NOT_SENT, NotSentReason.values[n])
        BackfillStage.objects.create(
            installation=installation, backfill=run, name=f"stage {n}", position=n
        )
    Journey.objects.create(installation=installation, key="abandoned_checkout")
    with django_assert_num_queries(queries):
        assert client.get(f"/dashboard/{fragment}/", headers=signed).status_code == 200
