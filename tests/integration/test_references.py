"""B27 and B34: what the shop put beside a product in Saleor, and what it costs, arrive with the product."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from saleor_personalize.catalog import operations, queries
from saleor_personalize.models import Installation, Product, SalesChannel, VariantPrice
from saleor_personalize.saleor_api.nodes import read_product
from tests.catalogue import gid


def node(**changes: Any) -> dict[str, Any]:
    """A product as `ProductFields` asks for it."""
    channel = {"slug": "us", "currencyCode": "USD"}
    return {
        "id": gid("Product", 1),
        "name": "Phone",
        "slug": "phone",
        "description": None,
        "created": "2026-01-01T00:00:00+00:00",
        "updatedAt": "2026-01-01T00:00:00+00:00",
        "productType": {"name": "Phone"},
        "category": None,
        "collections": [],
        "thumbnail": None,
        "attributes": [
            {"attribute": {"slug": "color"}, "values": [{"name": "Red", "reference": None}]},
            {
                "attribute": {"slug": "accessories"},
                "values": [
                    {"name": "Phone: Case", "reference": gid("Product", 2)},
                    {"name": "Phone: About us", "reference": gid("Page", 2)},
                    {"name": "Phone: Charger", "reference": gid("Product", 3)},
                ],
            },
        ],
        "channelListings": [],
        "variants": [
            {
                "id": gid("ProductVariant", 1),
                "name": "",
                "sku": "",
                "updatedAt": None,
                "trackInventory": False,
                "product": {"id": gid("Product", 1)},
                "stocks": [],
                "channelListings": [
                    {
                        "channel": channel,
                        "price": {"amount": 20.0, "currency": "USD"},
                        "costPrice": {"amount": 15.0, "currency": "USD"},
                    }
                ],
            }
        ],
        **changes,
    }


def record(installation: Installation, now: datetime, **changes: Any) -> None:
    operations.record_products(
        installation=installation, data=[read_product(node(**changes))], now=now, seen_at=now
    )


def test_b27_references_to_products_are_kept_in_their_order(
    installation: Installation, now: datetime
) -> None:
    record(installation, now)
    assert Product.objects.get().attributes == [
        {"attribute": "color", "values": ["Red"]},
        {
            "attribute": "accessories",
            "values": ["Phone: Case", "Phone: About us", "Phone: Charger"],
            "references": [gid("Product", 2), gid("Product", 3)],
            "pages": [gid("Page", 2)],
        },
    ]
    found = queries.references(installation=installation, ids=[gid("Product", 1), "unknown"])
    assert found == {
        gid("Product", 1): [
            {"attribute": "accessories", "references": [gid("Product", 2), gid("Product", 3)]}
        ]
    }


def test_b34_the_margin_is_known_where_the_cost_is(
    installation: Installation, now: datetime
) -> None:
    SalesChannel.objects.create(installation=installation, saleor_id="c", slug="us", currency="USD")
    record(installation, now)
    asked: dict[str, Any] = {
        "installation": installation,
        "channel_slug": "us",
        "ids": [gid("Product", 1)],
    }
    assert queries.facts(**asked)[gid("Product", 1)].margin == 25.0
    # Deliveries of before, and shops that tell no cost.
    bare = node()
    del bare["variants"][0]["channelListings"][0]["costPrice"]
    del bare["attributes"][0]["values"][0]["reference"]
    record(installation, now, variants=bare["variants"], attributes=bare["attributes"])
    assert VariantPrice.objects.get().cost_price is None
    assert queries.facts(**asked)[gid("Product", 1)].margin is None
