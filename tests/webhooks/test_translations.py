"""B38: names of products in further languages, by webhook and with the product."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from graphql import parse, validate

from saleor_personalize.catalog import operations
from saleor_personalize.ingestion import deliveries
from saleor_personalize.ingestion.subscriptions import BY_EVENT
from saleor_personalize.models import Installation, ProductTranslation, WebhookDelivery
from saleor_personalize.saleor_api import documents, nodes
from saleor_personalize.testing.saleor import sdl
from tests.conftest import NOW
from tests.payloads import scenario

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


@pytest.mark.parametrize(
    "type_",
    [
        "CategoryTranslation",
        "AttributeValueTranslation",
        # What an app gets that was installed when pages were nothing to us.
        "PageTranslation",
    ],
)
def test_b38_translations_of_anything_else_are_nothing_to_us(
    installation: Installation, type_: str
) -> None:
    deliver(installation, {"__typename": type_})
    assert status() == "ignored"
    assert not ProductTranslation.objects.exists()


@pytest.mark.parametrize(
    "translation",
    [
        None,
        "text",
        {"__typename": "ProductTranslation"},
        {**OF_PRODUCT, "translatableContent": None},
        {**OF_PRODUCT, "language": None},
        {**OF_PRODUCT, "__typename": "PageTranslation"},
    ],
)
def test_b38_a_translation_that_cannot_be_read_is_kept_with_its_error(
    installation: Installation, translation: Any
) -> None:
    deliver(installation, translation)
    assert status() == "failed"
    assert not ProductTranslation.objects.exists()


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
        BY_EVENT["product_updated"].query("product_updated"),
    ):
        assert validate(sdl.schema(), parse(text)) == []
        asked = {code for code in ("DE", "FR", "ES", "PL") if f"languageCode: {code})" in text}
        assert asked == {code.upper() for code in languages}
