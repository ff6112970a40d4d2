"""B38: names of products and categories in further languages, by webhook and with what they name."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from graphql import parse, validate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saleor_personalize.catalog import operations
from saleor_personalize.ingestion import deliveries
from saleor_personalize.ingestion.subscriptions import BY_EVENT
from saleor_personalize.models import (
    Category,
    CategoryTranslation,
    Installation,
    Product,
    ProductTranslation,
    WebhookDelivery,
)
from saleor_personalize.saleor_api import documents, nodes
from saleor_personalize.testing.saleor import sdl
from tests.conftest import NOW
from tests.payloads import scenario
from tests.webhooks.deliver import deliver as play

LAMP = "UHJvZHVjdDoxMzQ="
OF_PRODUCT = {
    "__typename": "ProductTranslation",
    "id": "UHJvZHVjdFRyYW5zbGF0aW9uOjE=",
    "name": "Tischlampe",
    "language": {"code": "PT_BR"},
    "translatableContent": {"productId": LAMP},
}


def deliver(
    installation: Installation, translation: Any, *, seconds: int = 0, created: bool = False
) -> int:
    event = "translation_created" if created else "translation_updated"
    issued_at = NOW + timedelta(seconds=seconds)
    payload = {
        "__typename": documents.typename(event),
        "issuedAt": issued_at.isoformat(),
        "recipient": {"id": installation.app_id},
        "translation": translation,
    }
    deliveries.store(
        [
            deliveries.row(
                installation_id=installation.pk,
                event=event,
                body=json.dumps(payload).encode(),
                issued_at=issued_at,
                now=NOW,
            )
        ]
    )
    return deliveries.process_waiting(now=NOW)


def names(installation: Installation) -> dict[str, str]:
    rows = ProductTranslation.objects.of(installation).filter(product_saleor_id=LAMP)
    return dict(rows.values_list("language_code", "name"))


def status() -> str:
    return str(WebhookDelivery.objects.latest("pk").status)


def test_b38_a_translation_arrives_by_webhook_and_the_newest_counts(
    installation: Installation,
) -> None:
    assert deliver(installation, OF_PRODUCT, created=True) == 1
    assert names(installation) == {"pt-br": "Tischlampe"}
    deliver(installation, {**OF_PRODUCT, "name": "Late"}, seconds=-5)
    assert names(installation) == {"pt-br": "Tischlampe"}
    deliver(installation, {**OF_PRODUCT, "name": "Leuchte"}, seconds=5)
    assert names(installation) == {"pt-br": "Leuchte"}
    deliver(installation, {**OF_PRODUCT, "name": None}, seconds=6)
    assert names(installation) == {}


def test_b38_a_deleted_product_has_no_names(
    installation: Installation, other_installation: Installation
) -> None:
    deliver(installation, OF_PRODUCT)
    deliver(other_installation, OF_PRODUCT)
    operations.record_deletion(installation=installation, model=Product, saleor_id=LAMP, now=NOW)
    assert names(installation) == {}
    deliver(installation, OF_PRODUCT, seconds=5)
    assert status() == "ignored"
    assert names(installation) == {}
    assert names(other_installation) == {"pt-br": "Tischlampe"}


# -- categories, as a live Saleor told of them: made, translated twice, renamed, deleted -------------

STORY = scenario("category_translated")


def names_of_categories() -> list[tuple[str, str, str]]:
    columns = ("category_saleor_id", "language_code", "name")
    return sorted(CategoryTranslation.objects.values_list(*columns))


def test_b38_a_category_is_translated_by_webhook(installation: Installation) -> None:
    created, first, second, renamed, deleted = STORY
    assert "CategoryTranslation" in first.body.decode()
    play(installation, [created, first], now=NOW)
    category = Category.objects.get()
    assert names_of_categories() == [(category.saleor_id, "de", "Aufgenommen")]
    play(installation, [second], now=NOW)
    assert names_of_categories() == [(category.saleor_id, "de", "Neu aufgenommen")]
    # Late and once more, the first one changes nothing.
    play(installation, [first, second], now=NOW)
    assert names_of_categories() == [(category.saleor_id, "de", "Neu aufgenommen")]
    # The event of a category tells its names too.
    play(installation, [renamed], now=NOW)
    assert names_of_categories() == [(category.saleor_id, "de", "Neu aufgenommen")]
    play(installation, [deleted], now=NOW)
    assert names_of_categories() == []
    play(installation, [second, renamed], now=NOW)
    assert names_of_categories() == []


def test_b38_the_name_of_a_category_is_taken_back(installation: Installation) -> None:
    play(installation, STORY[:3], now=NOW)
    translation = {**STORY[2].payload["translation"], "name": None}
    deliver(installation, translation, seconds=-(10**9))
    assert len(names_of_categories()) == 1
    deliver(installation, translation, seconds=10**9)
    assert status() == "processed"
    assert names_of_categories() == []


def test_b38_a_category_brings_its_names_and_takes_them_back(
    installation: Installation, other_installation: Installation
) -> None:
    """A language that was not asked for stays as it is; so does another shop's category of the same id."""
    payload: Any = STORY[0].payload["category"]

    def record(seconds: int, shop: Installation = installation, **asked: Any) -> int:
        return operations.record_categories(
            installation=shop,
            data=[nodes.read_category({**payload, **asked})],
            now=NOW,
            seen_at=NOW + timedelta(seconds=seconds),
        )

    def told() -> dict[str, str]:
        rows = CategoryTranslation.objects.of(installation)
        return dict(rows.values_list("language_code", "name"))

    record(0, other_installation, name_DE={"name": "Ihre"})
    assert record(0, name_DE={"name": "Lampen"}, name_FR=None, name_PT_BR={"name": "Lâmpadas"}) == 1
    assert told() == {"de": "Lampen", "pt-br": "Lâmpadas"}
    assert record(1, name_DE=None, name_FR={"name": "Lampes"}) == 1
    assert told() == {"fr": "Lampes", "pt-br": "Lâmpadas"}
    # Older, and no news.
    assert record(0, name_DE={"name": "Old"}, name_FR=None) == 0
    assert record(2, name_DE=None, name_FR={"name": "Lampes"}) == 0
    assert told() == {"fr": "Lampes", "pt-br": "Lâmpadas"}
    gone: Any = {"model": Category, "saleor_id": payload["id"], "now": NOW}
    operations.record_deletion(installation=installation, **gone)
    assert told() == {}
    assert record(3, name_DE={"name": "Late"}) == 0
    assert told() == {}
    assert CategoryTranslation.objects.of(other_installation).get().name == "Ihre"


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_b8_b38_any_order_of_arrival_with_repeats_ends_with_the_same_names(
    installation: Installation, data: st.DataObject
) -> None:
    story = STORY[: data.draw(st.sampled_from([len(STORY), len(STORY) - 1]))]
    extra = data.draw(st.lists(st.sampled_from(story), max_size=3))
    shuffled = data.draw(st.permutations([*story, *extra]))
    outcomes = []
    for rows in (story, shuffled):
        with transaction.atomic():
            play(installation, rows, now=NOW)
            outcomes.append(names_of_categories())
            transaction.set_rollback(True)
    assert outcomes[0] == outcomes[1]


# -- what is no translation of ours -----------------------------------------------------------------


@pytest.mark.parametrize(
    "type_",
    [
        "AttributeValueTranslation",
        # What an app gets that was installed when these were nothing to us.
        "CategoryTranslation",
        "PageTranslation",
    ],
)
def test_b38_translations_of_anything_else_are_nothing_to_us(
    installation: Installation, type_: str
) -> None:
    deliver(installation, {"__typename": type_})
    assert status() == "ignored"
    assert not ProductTranslation.objects.exists()
    assert not CategoryTranslation.objects.exists()


@pytest.mark.parametrize(
    "translation",
    [
        None,
        "text",
        {"__typename": "ProductTranslation"},
        {**OF_PRODUCT, "translatableContent": None},
        {**OF_PRODUCT, "language": None},
        {**OF_PRODUCT, "__typename": "PageTranslation"},
        {**OF_PRODUCT, "__typename": "CategoryTranslation"},
    ],
)
def test_b38_a_translation_that_cannot_be_read_is_kept_with_its_error(
    installation: Installation, translation: Any
) -> None:
    deliver(installation, translation)
    assert status() == "failed"
    assert not ProductTranslation.objects.exists()
    assert not CategoryTranslation.objects.exists()


def test_b38_a_product_brings_its_names_and_takes_them_back(installation: Installation) -> None:
    """A language that was not asked for stays as it is."""
    payload: Any = scenario("price_change")[0].payload["product"]

    def record(seconds: int, **asked: Any) -> None:
        data = nodes.read_product({**payload, "id": LAMP, **asked})
        operations.record_products(
            installation=installation,
            data=[data],
            now=NOW,
            seen_at=NOW + timedelta(seconds=seconds),
        )

    record(0, name_DE={"name": "Lampe"}, name_FR=None, name_PT_BR={"name": "Lâmpada"})
    assert names(installation) == {"de": "Lampe", "pt-br": "Lâmpada"}
    record(1, name_DE=None, name_FR={"name": "Lampe"})
    assert names(installation) == {"fr": "Lampe", "pt-br": "Lâmpada"}
    record(2)
    assert names(installation) == {"fr": "Lampe", "pt-br": "Lâmpada"}


@pytest.mark.parametrize("languages", [(), ("de",), ("de", "fr", "es", "pl")])
def test_b38_names_are_asked_for_in_the_languages_of_the_settings(
    settings: Any, languages: tuple[str, ...]
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "PRODUCT_LANGUAGES": languages,
    }
    for text in (
        documents.operation("Products"),
        documents.operation("Categories"),
        BY_EVENT["category_updated"].query("category_updated"),
        BY_EVENT["product_updated"].query("product_updated"),
    ):
        assert validate(sdl.schema(), parse(text)) == []
        asked = {code for code in ("DE", "FR", "ES", "PL") if f"languageCode: {code})" in text}
        assert asked == {code.upper() for code in languages}
