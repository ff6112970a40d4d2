"""B26: categories and brands instead of products, for this person, and none that has nothing to sell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from saleor_personalize.enums import EventSource, EventType
from saleor_personalize.events import tracking
from saleor_personalize.events.attribution import read
from saleor_personalize.models import Category, Installation, Product, ProductListing, Profile
from saleor_personalize.recommendations import training
from tests.api.conftest import ALICE, ANONYMOUS, Ask
from tests.catalogue import Catalogue, Phones, gid

QUERY = """query(
  $channel: String = "us", $placement: String, $first: Int, $language: String, $user: ID
) {
  recommendedCategories(
    channel: $channel, placement: $placement, first: $first, languageCode: $language, userId: $user
  ) {
    categoryId name slug slot score category { id }
    items { productId slot name isAvailable attributionId reason { text } }
  }
  recommendedBrands(channel: $channel, placement: $placement, first: $first, userId: $user) {
    name slot score items { productId slot }
  }
}"""
SOMEBODY = "5b1d6e0e-4b1c-somebody"


@pytest.fixture
def trained(shop: Phones, now: datetime) -> Phones:
    shop.sell()
    training.train(installation=shop.installation, now=now)
    for id_, brand in ((shop.phone, "Aurora"), (shop.mini, "Aurora"), (shop.lamp, "Lumen")):
        Product.objects.filter(saleor_id=id_).update(
            attributes=[{"attribute": "brand", "values": [brand]}]
        )
    return shop


@pytest.fixture
def groups(gql: Ask) -> Callable[..., tuple[list[Any], list[Any]]]:
    def ask(anonymous_id: str = ANONYMOUS, **variables: Any) -> tuple[list[Any], list[Any]]:
        caller = variables.pop("caller", {"anonymous_id": anonymous_id})
        data = gql(QUERY, variables, **caller).data
        return data["recommendedCategories"], data["recommendedBrands"]

    return ask


def look_at(installation: Installation, anonymous_id: str, now: datetime, *products: str) -> None:
    tracking.track(
        installation=installation,
        shown=tracking.anonymous(anonymous_id),
        rows=[
            tracking.Row(f"e{n}", EventType.PRODUCT_VIEWED, channel_slug="us", product_id=id_)
            for n, id_ in enumerate(products)
        ],
        source=EventSource.STOREFRONT,
        now=now,
    )


def test_b26_categories_come_with_what_to_show_of_them(groups: Any, trained: Phones) -> None:
    categories, brands = groups()
    assert {row["name"] for row in categories} == {"Phones", "Cases", "Chargers", "Lamps"}
    assert [row["slot"] for row in categories] == [1, 2, 3, 4]
    assert [row["score"] for row in categories] == sorted(
        (row["score"] for row in categories), reverse=True
    )
    for row in categories:
        assert row["categoryId"] == row["category"]["id"] == gid("Category", row["name"])
        assert [item["slot"] for item in row["items"]] == list(range(1, len(row["items"]) + 1))
        for item in row["items"]:
            product = Product.objects.get(saleor_id=item["productId"])
            assert product.category_saleor_id == row["categoryId"]
            assert (item["name"], item["isAvailable"]) == (product.name, True)
            assert item["reason"]["text"]
            said = read(installation=trained.installation, attribution_id=item["attributionId"])
            assert said is not None
            assert said.placement == "home"
    assert {row["name"] for row in brands} == {"Aurora", "Lumen"}
    aurora = next(row for row in brands if row["name"] == "Aurora")
    assert {item["productId"] for item in aurora["items"]} == {trained.phone, trained.mini}


def test_b26_two_people_with_different_interests_get_different_ones(
    groups: Any, trained: Phones, now: datetime
) -> None:
    look_at(trained.installation, ANONYMOUS, now, trained.lamp, trained.bulb, trained.stand)
    look_at(trained.installation, SOMEBODY, now, trained.phone)
    lamps, phones = groups()[0], groups(SOMEBODY)[0]
    assert lamps[0]["name"] == "Lamps"
    assert phones[0]["name"] != "Lamps"
    assert [row["name"] for row in lamps] != [row["name"] for row in phones]


def test_b26_a_category_with_nothing_to_sell_is_not_shown(groups: Any, trained: Phones) -> None:
    ProductListing.objects.filter(product_saleor_id=trained.case).update(is_in_stock=False)
    assert "Cases" not in {row["name"] for row in groups()[0]}
    polish, brands = groups(channel="pl")
    assert {row["name"] for row in polish} == {"Phones", "Chargers"}
    assert [row["name"] for row in brands] == ["Aurora"]


def test_b26_no_sensitive_and_no_deleted_category_is_named(
    groups: Any, trained: Phones, now: datetime
) -> None:
    trained.installation.sensitive_ids = [gid("Category", "Lamps")]
    trained.installation.save()
    Category.objects.filter(name="Cases").update(deleted_at=now)
    assert {row["name"] for row in groups()[0]} == {"Phones", "Chargers"}


def test_b26_b38_categories_are_named_in_the_language_asked_for(
    groups: Any, gql: Ask, trained: Phones, other_installation: Installation, now: datetime
) -> None:
    trained.translate_category("Lamps", de="Leuchten", de_at="Lampen", fr="")
    trained.translate_category("Cases", pt_br="Capas")
    theirs = Catalogue(other_installation, now)
    theirs.translate_category("Phones", de="Ihre Telefone")

    def names(language: str | None = None) -> set[str]:
        return {row["name"] for row in groups(language=language)[0]}

    own = {"Phones", "Chargers"}
    assert names("DE") == names("de-CH") == own | {"Leuchten", "Cases"}
    assert names("DE_AT") == own | {"Lampen", "Cases"}
    assert names("PT-BR") == own | {"Lamps", "Capas"}
    for language in ("FR", "EN", "PT", None, "nonsense", "' OR 1=1"):
        assert names(language) == own | {"Lamps", "Cases"}, language
    german = gql(QUERY, {}, anonymous_id=ANONYMOUS, headers={"Accept-Language": "de-AT"}).data
    # Without `languageCode` it is the request's, of those that we speak.
    assert {row["name"] for row in german["recommendedCategories"]} == own | {"Leuchten", "Cases"}


def test_b26_b38_no_sensitive_category_is_named_in_any_language(
    groups: Any, trained: Phones
) -> None:
    trained.translate_category("Lamps", de="Leuchten")
    trained.installation.sensitive_ids = [gid("Category", "Lamps")]
    trained.installation.save()
    assert {row["name"] for row in groups(language="DE")[0]} == {"Phones", "Chargers", "Cases"}


def test_b26_as_many_as_asked_for(groups: Any, gql: Ask, trained: Phones) -> None:
    assert [row["slot"] for row in groups(first=2)[0]] == [1, 2]
    query = 'query($n: Int) { recommendedBrands(channel: "us", first: $n) { name } }'
    for first in (0, 101, -1):
        answer = gql(query, {"n": first}, anonymous_id=ANONYMOUS)
        assert answer.codes == ["INVALID_PAGE"]
    wrong = '{ recommendedBrands(channel: "us", placement: "hmoe") { name } }'
    answer = gql(wrong, anonymous_id=ANONYMOUS)
    assert answer.codes == ["NOT_FOUND"]
    assert "'home'" in answer.body["errors"][0]["message"]


def test_b26_only_a_server_asks_on_behalf_of_somebody(
    groups: Any, gql: Ask, trained: Phones, alice: Profile, token_of: Any
) -> None:
    trained.order(trained.phone, profile=alice, user_id=ALICE, days_ago=2)
    trained.order(trained.case, profile=alice, user_id=ALICE, days_ago=2)
    mine = groups(caller={"token": token_of(ALICE)})
    told = groups(caller={"token": trained.installation.auth_token}, user=ALICE)
    assert told[1] == mine[1]
    names = [row["name"] for row in mine[0]]
    assert [row["name"] for row in told[0]] == names
    # The only case was just bought.
    assert "Cases" not in names
    assert "Cases" in {row["name"] for row in groups()[0]}
    answer = gql(QUERY, {"user": ALICE}, anonymous_id=ANONYMOUS)
    assert set(answer.codes) == {"FORBIDDEN"}


@pytest.mark.usefixtures("nothing_expires")
def test_b26_many_groups_cost_no_more_queries_than_few(gql: Ask, trained: Phones) -> None:
    for number in range(20, 60):
        trained.category(f"Category {number}")
        trained.translate_category(f"Category {number}", de=f"Kategorie {number}")
        trained.product(number, f"Product {number}", category=f"Category {number}")
    query = """query($first: Int) {
      recommendedCategories(channel: "us", first: $first, languageCode: "DE") {
      name items { name price { amount } } } }"""

    def count(first: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            rows = gql(query, {"first": first}, anonymous_id=ANONYMOUS).data
        assert len(rows["recommendedCategories"]) == first
        return len(captured)

    count(1), count(30)
    assert count(1) == count(30)
