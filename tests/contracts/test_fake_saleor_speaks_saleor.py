"""The made-up shop is a true part of Saleor, and understands everything this app asks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from graphql import GraphQLSchema, build_schema, parse, validate

from saleor_personalize.ingestion.subscriptions import BY_EVENT
from saleor_personalize.saleor_api import documents
from saleor_personalize.testing.saleor.sdl import schema

OPERATIONS = (
    "App",
    "AppProblemCreate",
    "AppProblemDismiss",
    "AppWebhooks",
    "Categories",
    "Channels",
    "CheckoutForHints",
    "CheckoutNow",
    "Checkouts",
    "Collections",
    "Customers",
    "OfferCodeDelete",
    "OfferVoucherAddCode",
    "OfferVoucherByCode",
    "OfferVoucherCodes",
    "OfferVoucherCreate",
    "OfferVoucherDelete",
    "OfferVoucherListings",
    "OrderNow",
    "OrdersNow",
    "Orders",
    "PageStates",
    "Pages",
    "PricedChannels",
    "Prices",
    "ProductIds",
    "Products",
    "ShippingMethods",
    "VariantNow",
)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_understood(name: str) -> None:
    assert validate(schema(), parse(documents.operation(name))) == []


@pytest.mark.parametrize("event", sorted(BY_EVENT))
def test_every_subscription_is_understood(event: str) -> None:
    assert validate(schema(), parse(BY_EVENT[event].query(event))) == []


@pytest.fixture(scope="module")
def real() -> GraphQLSchema:
    file = os.environ.get("SALEOR_SCHEMA_FILE")
    if not file:
        pytest.skip("SALEOR_SCHEMA_FILE names no schema of a real Saleor")
    return build_schema(Path(file).read_text())


def test_what_is_asked_is_valid_in_a_real_saleor(real: GraphQLSchema) -> None:
    for name in OPERATIONS:
        assert validate(real, parse(documents.operation(name))) == []
    for event, subscription in BY_EVENT.items():
        assert validate(real, parse(subscription.query(event))) == []


def test_the_made_up_schema_is_part_of_a_real_one(real: GraphQLSchema) -> None:
    differences = []
    for name, mine in schema().type_map.items():
        theirs = real.type_map.get(name)
        if theirs is None:
            differences.append(name)
            continue
        for field_name, field in getattr(mine, "fields", {}).items():
            other = theirs.fields.get(field_name)  # type: ignore[attr-defined]
            if other is None or str(other.type).strip("!") != str(field.type).strip("!"):
                differences.append(f"{name}.{field_name}")
                continue
            for argument, declared in getattr(field, "args", {}).items():
                known = other.args.get(argument)
                if known is None or str(known.type) != str(declared.type):
                    differences.append(f"{name}.{field_name}({argument})")
    assert differences == []
