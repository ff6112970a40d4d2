"""The page "First steps": what is done, what is next, and the way to a first live journey (B99)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from saleor_personalize.dashboard.navigation import GROUPS
from saleor_personalize.enums import BackfillStatus
from saleor_personalize.messaging import go_live
from saleor_personalize.messaging.go_live import Finding
from saleor_personalize.models import (
    Backfill,
    Checkout,
    Consent,
    DryRun,
    Enrollment,
    FirstStep,
    Installation,
    Journey,
    Message,
    Offer,
    Order,
    PriceChange,
    ProductVariant,
    Profile,
    Session,
    StockAlert,
    VariantPrice,
)
from saleor_personalize.onboarding.recipes import RECIPES
from saleor_personalize.tasks.journeys import make_dry_runs
from tests.catalogue import Catalogue
from tests.integration.test_dashboard import headers, outcome
from tests.integration.test_journeys_pages import text_of

PAGE = "/dashboard/first-steps/"
STATE = re.compile(r"\d\. ([^<]+)</h3><span class=\"state (\w*)\">([^<]+)<")


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


def states(client: Client, signed: dict[str, str]) -> dict[str, str]:
    page = client.get(PAGE, headers=signed).content.decode()
    return {title: state for title, _tone, state in STATE.findall(page)}


def test_b99_a_new_shop_is_told_what_comes_next_and_nothing_is_wrong_with_it(
    client: Client, installation: Installation, signed: dict[str, str], settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DEFAULT_SENDER": None,
        "CHECKOUT_URL": None,
    }
    assert states(client, signed) == {
        "Read the history of your shop": "Open",
        "Connect your storefront": "Recommended",
        "Set the sender and the cart link": "Open",
        "Make the go-live check": "Recommended",
        "Choose a first journey": "Open",
        "Look at its dry run": "Recommended",
        "Send its message to yourself": "Recommended",
        "Go live": "Open",
    }
    overview = text_of(client.get("/dashboard/overview/", headers=signed))
    assert "Nothing is sent yet. Next: Read the history of your shop" in overview
    assert not Journey.objects.filter(is_live=True).exists()


def test_b99_each_step_is_read_from_what_is_there(
    client: Client, installation: Installation, alice: Profile, signed: dict[str, str]
) -> None:
    now = timezone.now()
    Backfill.objects.create(
        installation=installation, status=BackfillStatus.DONE, created_at=now, finished_at=now
    )
    Session.objects.create(
        installation=installation, profile=alice, session_id="1", started_at=now, last_seen_at=now
    )
    installation.storefront_origins = ["https://shop.example"]
    installation.save()
    assert list(states(client, signed).values()) == [
        *("Done", "Done", "Done", "Recommended"),
        *("Open", "Recommended", "Recommended", "Open"),
    ]
    # A reconciliation is no history.
    Backfill.objects.update(changed_since=now)
    assert states(client, signed)["Read the history of your shop"] == "Open"


def test_b99_from_the_first_look_to_a_live_journey(
    client: Client,
    installation: Installation,
    alice: Profile,
    signed: dict[str, str],
    monkeypatch: Any,
) -> None:
    now = timezone.now()
    Backfill.objects.create(
        installation=installation, status=BackfillStatus.DONE, created_at=now, finished_at=now
    )
    response = client.post(f"{PAGE}choose/", {"recipe": "abandoned_checkout"}, headers=signed)
    assert outcome(response)["title"] == "“Cart reminder” is chosen"
    assert not Journey.objects.filter(is_live=True).exists()
    # The check finds one thing in the way, then none.
    for found, state in (
        ([Finding("dmarc", go_live.FAIL, "No DMARC.", "Add one.")], "1 thing to mend"),
        ([Finding("dmarc", go_live.WARN, "Weak.", "Mend it.")], "Done"),
    ):
        monkeypatch.setattr(go_live, "examine", lambda found=found, **_: iter(found))
        client.get("/dashboard/go-live/check/", headers=signed)
        assert states(client, signed)["Make the go-live check"] == state
    client.post("/dashboard/journeys/abandoned_checkout/dry-run/ask/", headers=signed)
    assert states(client, signed)["Look at its dry run"] == "Recommended"
    assert make_dry_runs() == 1
    assert states(client, signed)["Look at its dry run"] == "Done"
    response = client.post("/dashboard/journeys/abandoned_checkout/go-live/", headers=signed)
    assert outcome(response)["title"] == "The journey is live"
    assert states(client, signed)["Go live"] == "Done"
    assert "A journey is live." in text_of(client.get(PAGE, headers=signed))
    overview = text_of(client.get("/dashboard/overview/", headers=signed))
    assert "Nothing is sent yet" not in overview
    # Nothing was sent, nor decided, by all of that.
    assert mail.outbox == []
    assert not Message.objects.exists()


def test_b99_that_another_journey_is_live_is_not_said_of_the_chosen_one(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    client.post("/dashboard/journeys/abandoned_checkout/go-live/", headers=signed)
    assert "What is left makes it better." in text_of(client.get(PAGE, headers=signed))
    client.post(f"{PAGE}choose/", {"recipe": "welcome"}, headers=signed)
    shown = text_of(client.get(PAGE, headers=signed))
    assert "Another journey is live. “Welcome”, which you chose, sends nothing" in shown
    assert "What is left makes it better." not in shown
    assert states(client, signed)["Go live"] == "Open"


@pytest.mark.parametrize("recipe", RECIPES)
def test_b99_a_recipe_is_tried_before_anybody_was_in_it(
    client: Client, installation: Installation, signed: dict[str, str], recipe: str
) -> None:
    """About a product of the shop's own, for somebody who is made up; and all of that is gone after it."""
    now = timezone.now()
    catalogue = Catalogue(installation, now)
    catalogue.channel("us")
    catalogue.product(1, "Grey Hoodie")
    client.post(f"{PAGE}choose/", {"recipe": recipe}, headers=signed)
    page = client.get(PAGE, headers=signed).content.decode()
    (url,) = re.findall(r'id="step-test_sent"[^>]* hx-get="([^"]+)"', page)
    form = client.get(url, headers=signed).content.decode()
    assert f'<option value="{recipe}" selected>' in form
    before = rows()
    shown = text_of(client.post("/dashboard/previews/show/", {"journey": recipe}, headers=signed))
    assert "This is an example, made up from your own catalog." in shown
    assert "It would not be sent now" not in shown
    assert "Alex" in shown
    if recipe not in {"welcome", "win_back"}:
        assert "Grey Hoodie" in shown
    assert states(client, signed)["Send its message to yourself"] == "Recommended"
    response = client.post("/dashboard/previews/send/", {"journey": recipe}, headers=signed)
    assert outcome(response) == {
        "status": "success",
        "title": "Sent",
        "text": "Look into your own mailbox: staff@example.com.",
    }
    assert [sent.to for sent in mail.outbox] == [["staff@example.com"]]
    assert states(client, signed)["Send its message to yourself"] == "Done"
    assert rows() == before


def rows() -> dict[str, int]:
    models = (Profile, Checkout, Order, StockAlert, ProductVariant, VariantPrice, PriceChange)
    return {
        model.__name__: model.objects.count()
        for model in (*models, Enrollment, Message, Offer, Consent)
    }


def test_b99_without_a_product_there_is_no_example(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    response = client.post("/dashboard/previews/send/", {"journey": "welcome"}, headers=signed)
    assert outcome(response) == {
        "status": "error",
        "title": "Nothing was sent",
        "text": "No product that is for sale is known yet: read the history of your shop first.",
    }
    assert mail.outbox == []
    assert not Journey.objects.exclude(tested_at=None).exists()


def test_b99_steps_are_those_of_the_chosen_journey(
    client: Client, installation: Installation, alice: Profile, signed: dict[str, str]
) -> None:
    """Another journey that was tried, and is live, ticks neither; a storefront is one that was set."""
    now = timezone.now()
    client.post(f"{PAGE}choose/", {"recipe": "post_purchase"}, headers=signed)
    catalogue = Catalogue(installation, now)
    catalogue.channel("us")
    catalogue.product(1, "Grey Hoodie")
    client.post("/dashboard/previews/send/", {"journey": "welcome"}, headers=signed)
    assert len(mail.outbox) == 1
    client.post("/dashboard/journeys/welcome/go-live/", headers=signed)
    Session.objects.create(
        installation=installation, profile=alice, session_id="1", started_at=now, last_seen_at=now
    )
    found = states(client, signed)
    assert found["Connect your storefront"] == "Recommended"
    assert found["Send its message to yourself"] == "Recommended"
    assert found["Go live"] == "Open"
    page = text_of(client.get(PAGE, headers=signed))
    assert "Another journey is live." in page
    installation.storefront_origins = ["https://shop.example"]
    installation.save()
    client.post(f"{PAGE}choose/", {"recipe": "welcome"}, headers=signed)
    found = states(client, signed)
    assert found["Connect your storefront"] == "Done"
    assert found["Send its message to yourself"] == "Done"
    assert found["Go live"] == "Done"


def test_b99_recipes_say_how_much_they_would_send(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    response = client.post(f"{PAGE}estimate/", headers=signed)
    assert text_of(response).count("Being worked out…") == 6
    assert DryRun.objects.count() == 6
    assert make_dry_runs() == 6
    page = text_of(client.get(f"{PAGE}recipes/", headers=signed))
    assert page.count("About 0 messages in the next 7 days") == 6
    assert not Journey.objects.filter(is_live=True).exists()
    assert not Message.objects.exists()


def test_b99_only_a_recipe_is_chosen_and_only_by_who_may_act(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    choose = f"{PAGE}choose/"
    assert client.post(choose, {"recipe": "lapsed"}, headers=signed).status_code == 404
    looker = headers(
        installation, permissions=["MANAGE_ORDERS"], user_permissions=["MANAGE_ORDERS"]
    )
    assert client.post(choose, {"recipe": "welcome"}, headers=looker).status_code == 403
    assert not FirstStep.objects.exists()


def test_b99_another_shops_steps_are_not_ours(
    client: Client, other_installation: Installation, signed: dict[str, str]
) -> None:
    theirs = headers(other_installation)
    client.post(f"{PAGE}choose/", {"recipe": "welcome"}, headers=theirs)
    assert states(client, theirs)["Choose a first journey"] == "Done"
    assert states(client, signed)["Choose a first journey"] == "Open"


def test_first_steps_stand_in_the_menu() -> None:
    assert [entry.key for entry in GROUPS[0].entries] == ["overview", "first-steps"]
