"""B126: what lies in a sensitive category stands in no message, no subject and no reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.events import callers
from saleor_personalize.models import Category, Collection, Installation, Message, Product
from saleor_personalize.recommendations import service, training, versions
from tests.catalogue import Phones, gid
from tests.conftest import NOW
from tests.integration.reminders import World, mailbox, use_smtp
from tests.integration.test_dashboard import headers, outcome

HEALTH, TESTS, LAMPS = gid("Category", "Health"), gid("Category", "Tests"), gid("Category", "Lamps")


@pytest.fixture
def world(installation: Installation, settings: Any) -> Iterator[World]:
    """Two products in carts: one lies two categories below "Health", the other is a lamp."""
    for id_, parent in ((HEALTH, ""), (TESTS, HEALTH), (LAMPS, "")):
        Category.objects.create(
            installation=installation, saleor_id=id_, name=id_, parent_saleor_id=parent
        )
    for variant, category in (("variant-1", TESTS), ("variant-2", LAMPS)):
        Product.objects.create(
            installation=installation,
            saleor_id=f"product-of-{variant}",
            name=variant,
            category_saleor_id=category,
        )
    with mailbox() as box:
        use_smtp(settings, box.port)
        world = World(installation, box)
        world.go_live()
        yield world


def choose(client: Client, installation: Installation, *ids: str) -> Any:
    """Staff tick categories on the page."""
    return client.post(
        "/dashboard/data/sensitive/", {"sensitive": list(ids)}, headers=headers(installation)
    )


def text_of(mail: Any) -> str:
    parts = [
        part.get_payload(decode=True).decode() for part in mail.walk() if not part.is_multipart()
    ]
    return "\n".join([mail["Subject"], *parts])


def test_b126_a_reminder_leaves_out_what_is_sensitive(
    world: World, client: Client, installation: Installation
) -> None:
    assert outcome(choose(client, installation, HEALTH))["title"] == "Sensitive categories saved"
    world.checkout()
    world.allow("alice@example.com")
    world.advance()
    (mail,) = world.mails()
    assert "Product variant-2" in text_of(mail)
    assert "variant-1" not in text_of(mail)
    message = Message.objects.get()
    assert [line["variant_id"] for line in message.content["lines"]] == ["variant-2"]


def test_b126_a_cart_of_nothing_else_is_not_written_about(
    world: World, client: Client, installation: Installation
) -> None:
    choose(client, installation, HEALTH)
    world.checkout(variants={"variant-1": 1})
    world.allow("alice@example.com")
    world.advance()
    assert world.mails() == []
    assert world.decision() == ("not_sent", "sensitive")
    html = client.get("/dashboard/messages/", headers=headers(installation)).content.decode()
    assert "Nothing in the cart but products that no message speaks of." in html


def test_b126_without_a_choice_nothing_is_sensitive(world: World) -> None:
    world.checkout()
    world.allow("alice@example.com")
    world.advance()
    (mail,) = world.mails()
    assert "Product variant-1" in text_of(mail)


def test_b126_a_product_that_we_do_not_know_may_be_sensitive(
    world: World, client: Client, installation: Installation
) -> None:
    choose(client, installation, HEALTH)
    world.checkout(variants={"variant-2": 1, "variant-9": 1})
    world.allow("alice@example.com")
    world.advance()
    (mail,) = world.mails()
    assert "variant-9" not in text_of(mail)


@pytest.mark.parametrize("by", ["setting", "collection"])
def test_b126_by_setting_and_by_collection(
    world: World, client: Client, installation: Installation, settings: Any, by: str
) -> None:
    if by == "setting":
        settings.SALEOR_PERSONALIZE = {
            **settings.SALEOR_PERSONALIZE,
            "SENSITIVE_CATEGORIES": [HEALTH],
        }
    else:
        Collection.objects.create(
            installation=installation, saleor_id="Q29sbGVjdGlvbjox", name="Discreet"
        )
        Product.objects.filter(saleor_id="product-of-variant-1").update(
            collection_saleor_ids=["Q29sbGVjdGlvbjox"]
        )
        choose(client, installation, "Q29sbGVjdGlvbjox")
    world.checkout()
    world.allow("alice@example.com")
    world.advance()
    (mail,) = world.mails()
    assert "variant-1" not in text_of(mail)
    assert "variant-2" in text_of(mail)


def test_b126_only_what_the_shop_has_is_kept_and_only_by_those_who_may(
    world: World, client: Client, installation: Installation, other_installation: Installation
) -> None:
    choose(client, installation, HEALTH, "Q2F0ZWdvcnk6OTk5")
    installation.refresh_from_db()
    assert installation.sensitive_ids == [HEALTH]
    few = headers(installation, permissions=["MANAGE_ORDERS"], user_permissions=["MANAGE_ORDERS"])
    answer = client.post("/dashboard/data/sensitive/", {"sensitive": []}, headers=few)
    assert answer.status_code == 403
    choose(client, other_installation, HEALTH)
    for shop, ids in ((installation, [HEALTH]), (other_installation, [])):
        shop.refresh_from_db()
        assert shop.sensitive_ids == ids
    html = client.get("/dashboard/data/", headers=headers(installation)).content.decode()
    assert f'value="{HEALTH}" checked' in html
    assert f'value="{TESTS}"' in html
    assert f'value="{TESTS}" checked' not in html


# -- recommendations -----------------------------------------------------------------------------------


@pytest.fixture
def phones(installation: Installation, settings: Any, tmp_path: Path) -> Phones:
    """Cases are bought with phones, chargers with cases."""
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "MODEL_DIRECTORY": str(tmp_path / "models"),
    }
    service.forget()
    callers.active.clear()
    shop = Phones(installation, NOW)
    shop.sell()
    training.train(installation=installation, now=NOW)
    return shop


def recommended(
    client: Client, shop: Phones, placement: str, product: str
) -> list[tuple[str, str]]:
    """(product, reason) as a storefront or a mail program asks for it."""
    query = (
        f'{{ recommendations(placement: "{placement}", channel: "us", productId: "{product}",'
        " first: 8) { productId reason { text } } }"
    )
    answer = client.post(
        "/graphql/",
        json.dumps({"query": query}),
        content_type="application/json",
        headers={"Saleor-Api-Url": shop.installation.saleor_api_url},
    ).json()
    return [(row["productId"], row["reason"]["text"]) for row in answer["data"]["recommendations"]]


def test_b126_no_reason_names_a_sensitive_product(
    client: Client, installation: Installation, phones: Phones
) -> None:
    before = recommended(client, phones, "product_page_related", phones.case)
    assert before[0] == (phones.charger, "Often bought together with Leather case")
    choose(client, installation, gid("Category", "Cases"))
    callers.active.clear()
    after = recommended(client, phones, "product_page_related", phones.case)
    assert [product for product, _ in after] == [product for product, _ in before]
    assert after[0] == (phones.charger, "Recommended by the shop")
    assert "Leather case" not in str(after)


@pytest.mark.parametrize("channel", DeliveryChannel.values)
def test_b126_no_message_recommends_a_sensitive_product(
    client: Client, installation: Installation, phones: Phones, settings: Any, channel: str
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "PLACEMENTS": {f"{channel}_more": ["bought_together", "similar", "popular", "newest"]},
    }
    placement = f"{channel}_more"
    assert phones.case in dict(recommended(client, phones, placement, phones.phone))
    choose(client, installation, gid("Category", "Cases"))
    callers.active.clear()
    found = recommended(client, phones, placement, phones.phone)
    assert phones.case not in dict(found)
    assert len(found) == 6, "the others fill its place"
    # Nor does it show what goes with one: that tells what was looked at.
    because = recommended(client, phones, placement, phones.case)
    assert phones.case not in dict(because)
    assert not any("together" in reason for _, reason in because)
    # In the shop itself it is sold as before.
    assert phones.case in dict(recommended(client, phones, "home", phones.phone))


def test_b126_the_catalogue_itself_fills_messages_without_it(
    client: Client, installation: Installation, phones: Phones
) -> None:
    """Nothing was trained: what is newest is shown, and nothing sensitive."""
    versions.forget(installation_id=installation.pk)
    installation.refresh_from_db()
    from saleor_personalize.models import TrainedModel

    TrainedModel.objects.all().delete()
    service.forget()
    choose(client, installation, gid("Category", "Lamps"))
    callers.active.clear()
    found = dict(recommended(client, phones, "email", phones.phone))
    assert set(found) == {phones.mini, phones.case, phones.charger, phones.cable}
