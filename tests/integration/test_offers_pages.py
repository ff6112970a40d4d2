"""B65 on the page in the Dashboard, and what doctor and the settings say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from saleor_personalize.enums import MessageStatus, OfferKind, OfferReason, OfferStatus
from saleor_personalize.ingestion.permissions import needed_permissions
from saleor_personalize.models import Installation, Message, Offer, Profile
from saleor_personalize.offers.terms import read
from saleor_personalize.saleor_api import client as saleor_client
from saleor_personalize.saleor_api.client import AppIdentity
from saleor_personalize.tasks.offers import refresh_permissions
from tests.conftest import NOW
from tests.integration.test_dashboard import headers, outcome

URL = "/dashboard/offers/"


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


def make(profile: Profile, code: str, **changes: Any) -> Offer:
    now = timezone.now()
    return Offer.objects.create(
        **{
            "installation": profile.installation,
            "profile": profile,
            "key": code,
            "code": code,
            "kind": OfferKind.PERCENT,
            "terms": read({"percent": 10, "expires": timedelta(days=7)}, name="Welcome").as_json(),
            "listings": [
                {
                    "channel_id": "1",
                    "slug": "us",
                    "currency": "USD",
                    "value": "10",
                    "minimum_spend": None,
                }
            ],
            "status": OfferStatus.MADE,
            "reserved_at": now,
            "expires_at": now + timedelta(days=7),
            **changes,
        }
    )


def shown(client: Client, signed: dict[str, str], query: str = "") -> str:
    response = client.get(URL + query, headers=signed)
    assert response.status_code == 200
    return response.content.decode()


def test_b65_staff_see_what_became_of_each_offer_and_why(
    client: Client, signed: dict[str, str], alice: Profile, other_installation: Installation
) -> None:
    assert "No offer yet" in shown(client, signed)
    make(alice, "AAAA-AAAA-AAAA-MADE")
    make(
        alice,
        "AAAA-AAAA-AAAA-BACK",
        status=OfferStatus.WITHDRAWN,
        reason=OfferReason.MESSAGE_FAILED,
        gone_at=timezone.now(),
    )
    make(
        alice,
        "AAAA-AAAA-AAAA-HELD",
        status=OfferStatus.WITHDRAWN,
        reason=OfferReason.ORDERED,
        attempts=2,
        error="Saleor answered 503.",
    )
    html = shown(client, signed)
    for text in ("10%", "…-MADE", "Its message was not sent.", "Saleor still has it", "503"):
        assert text in html
    assert "1 code that was taken back is still in Saleor" in html
    # Whoever may look at this page need not be allowed to use codes.
    assert "AAAA-AAAA" not in html
    assert html.count("alice@example.com") == 3
    looks = headers(alice.installation, permissions=["MANAGE_ORDERS"])
    assert "alice" not in shown(client, looks)
    assert "-MADE" not in shown(client, signed, "?status=withdrawn")
    assert "-BACK" not in shown(client, signed, "?status=made")
    assert "-MADE" in shown(client, signed, "?status=nonsense&before=nonsense")
    assert "No offer yet" in shown(client, headers(other_installation))


def test_b65_older_offers_follow_page_by_page(
    client: Client, signed: dict[str, str], alice: Profile
) -> None:
    rows = [make(alice, f"AAAA-AAAA-AAAA-{number:04}") for number in range(30)]
    first = shown(client, signed)
    assert "-0029" in first
    assert "-0004" not in first
    assert f"before={rows[5].pk}" in first
    older = shown(client, signed, f"?before={rows[5].pk}")
    assert "-0004" in older
    assert "-0005" not in older


def test_b65_staff_take_an_offer_back(
    client: Client, signed: dict[str, str], alice: Profile, other_installation: Installation
) -> None:
    offer = make(alice, "AAAA-AAAA-AAAA-MADE")
    url = f"{URL}{offer.pk}/take-back/"
    assert client.get(url, headers=signed).status_code == 405
    assert client.post(url, headers=headers(other_installation)).status_code == 404
    offer.refresh_from_db()
    assert offer.status == OfferStatus.MADE
    assert outcome(client.post(url, headers=signed))["title"] == "Taken back"
    offer.refresh_from_db()
    assert (offer.status, offer.reason) == (OfferStatus.WITHDRAWN, OfferReason.STAFF)
    assert offer.due_at == offer.withdrawn_at
    assert outcome(client.post(url, headers=signed))["title"] == "Not taken back"


def test_b65_before_a_code_is_taken_back_it_is_asked_whose_it_is(
    client: Client,
    signed: dict[str, str],
    installation: Installation,
    alice: Profile,
    other_installation: Installation,
) -> None:
    alice.first_name = "Alice"
    alice.save()
    offer = make(alice, "AAAA-AAAA-AAAA-MADE")
    url = f"{URL}{offer.pk}/"
    assert f'hx-get="{url}sure/"' in shown(client, signed)
    asked = client.get(f"{url}sure/", headers=signed).content.decode()
    assert "Take back the code …-MADE?" in asked
    assert "It belongs to Alice · alice@example.com." in asked
    assert f'hx-post="{url}take-back/"' in asked
    looks = headers(installation, permissions=["MANAGE_ORDERS"])
    asked = client.get(f"{url}sure/", headers=looks).content.decode()
    assert "alice" not in asked.lower()
    assert ' disabled aria-describedby="sure-why-not">Take back for good' in asked
    for path in (url, f"{url}sure/"):
        assert client.get(path, headers=headers(other_installation)).status_code == 404
    offer.refresh_from_db()
    assert offer.status == OfferStatus.MADE


def test_b65_a_code_that_was_taken_back_is_followed_until_saleor_has_it_no_more(
    client: Client, signed: dict[str, str], alice: Profile
) -> None:
    offer = make(alice, "AAAA-AAAA-AAAA-MADE")
    url = f"{URL}{offer.pk}/"
    html = client.post(f"{url}take-back/", headers=signed).content.decode()
    assert "It is being taken out of Saleor." in html
    assert f'data-poll hx-get="{url}?' in html
    assert "Saleor still has it" not in html
    # Without a worker nobody takes it out.
    Offer.objects.update(withdrawn_at=timezone.now() - timedelta(minutes=3))
    line = client.get(url, headers=signed).content.decode()
    assert "being taken out" not in line
    assert "Saleor still has it" in line
    Offer.objects.update(gone_at=timezone.now())
    line = client.get(url, headers=signed).content.decode()
    assert "Taken back by staff." in line
    assert "data-poll" not in line
    assert "being taken out" not in line
    # Of one that is gone there is nothing to decide any more.
    asked = client.get(f"{url}sure/", headers=signed).content.decode()
    assert "It cannot be used any more." in asked
    assert ' disabled aria-describedby="sure-why-not">Take back for good' in asked


def test_b65_the_message_says_what_became_of_its_code(
    client: Client, signed: dict[str, str], alice: Profile
) -> None:
    message = Message.objects.create(
        installation=alice.installation,
        profile=alice,
        idempotency_key="welcome",
        template="welcome",
        status=MessageStatus.SENT,
        decided_at=NOW,
    )

    def told() -> str:
        url = reverse("dashboard-message", args=[message.public_id])
        html = client.get(url, headers=signed).content.decode()
        return " ".join(
            html.partition("What was decided")[2].partition("</ul>")[0].split()
        ).replace("> <", "><")

    assert "code of their own" not in told()
    offer = make(alice, "AAAA-AAAA-AAAA-MADE", message=message)
    assert '<span class="state good">Usable</span></div><p class="small wrap">10%</p>' in told()
    client.post(f"{URL}{offer.pk}/take-back/", headers=signed)
    assert "Usable" not in told()
    assert "Taken back</span></div><p" in told()
    assert "10% · Taken back by staff.</p>" in told()
    assert "AAAA" not in told()


def test_b65_the_page_says_when_no_offer_can_be_made(
    client: Client, signed: dict[str, str], installation: Installation, settings: Any
) -> None:
    Installation.objects.update(permissions=["MANAGE_ORDERS"])
    assert "Grant it MANAGE_DISCOUNTS" in shown(client, signed)
    Installation.objects.update(permissions=["MANAGE_DISCOUNTS"])
    assert "MANAGE_DISCOUNTS" not in shown(client, signed)
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "OFFERS": False}
    assert "switched off" in shown(client, signed)


# -- permission ---------------------------------------------------------------------------------------


def test_b127_vouchers_need_a_permission_only_while_there_are_offers(settings: Any) -> None:
    assert "MANAGE_DISCOUNTS" in needed_permissions()
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "OFFERS": False}
    assert "MANAGE_DISCOUNTS" not in needed_permissions()


def test_b65_a_permission_that_staff_grant_or_take_back_is_noticed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = ["MANAGE_DISCOUNTS", "MANAGE_ORDERS"]
    monkeypatch.setattr(
        saleor_client.SaleorClient,
        "identity",
        lambda self: AppIdentity("QXBwOjE=", "saleor.personalize", granted, "3.24"),
    )
    refresh_permissions()
    installation.refresh_from_db()
    assert installation.permissions == granted
    granted = ["MANAGE_ORDERS"]
    refresh_permissions()
    installation.refresh_from_db()
    assert installation.permissions == ["MANAGE_ORDERS"]


# -- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"INCENTIVE_GUARD": {"days": 3}}, "E110"),
        ({"INCENTIVE_GUARD": {"offers_per_year": -1}}, "E111"),
        ({"INCENTIVE_GUARD": {"days_after_full_price": 1.5}}, "E111"),
        ({"OFFER_URL": "https://store.example/"}, "E112"),
        ({"OFFER_URL": "javascript:{code}"}, "E112"),
        ({"PROMO_CODE_PARAMETER": "a b"}, "E113"),
        ({"RETENTION": {"offers": timedelta(days=300)}}, "E114"),
        ({"INCENTIVE_GUARD": {"offers_per_year": None}}, None),
        ({"OFFER_URL": "https://store.example/?promoCode={code}"}, None),
    ],
)
def test_b66_settings_of_offers_are_checked(
    settings: Any, changes: dict[str, Any], fault: str | None
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **changes}
    found = {message.id for message in run_checks() if message.id and ".E11" in message.id}
    assert found == ({f"saleor_personalize.{fault}"} if fault else set())
