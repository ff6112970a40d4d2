"""On the page of a product: what is bought with it, who waits for it, and which rules speak of it."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils import timezone

from saleor_personalize.alerts import demand
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff
from saleor_personalize.dashboard.views import Context
from saleor_personalize.dashboard.widgets import products
from saleor_personalize.dashboard.widgets.base import link, widget
from saleor_personalize.models import Product, ProductListing
from saleor_personalize.recommendations import merchandising, queries

#: The placement that is answered for the product.
PLACEMENT = "product_page_complements"
VARIANTS, RULES = 8, 8


@widget("product.html", about="productId")
def product(request: HttpRequest, staff: Staff, id_: str) -> Context:
    installation, now = staff.installation, timezone.now()
    if not Product.objects.of(installation).filter(saleor_id=id_, deleted_at=None).exists():
        return {"is_unknown": True}
    listed = ProductListing.objects.of(installation).filter(product_saleor_id=id_)
    channels = queries.busiest_first(
        installation=installation, slugs=listed.values_list("channel_slug", flat=True)
    )
    waited_for = demand.of_product(installation=installation, product_id=id_, now=now)
    rules = merchandising.rules_about(
        installation=installation, product_id=id_, channels=channels, now=now
    )
    return {
        "channel": channels[0] if channels else "",
        "together": products.answered(
            installation=installation,
            placement=PLACEMENT,
            channel_slug=channels[0],
            product_id=id_,
        )
        if channels
        else [],
        "waited_for": waited_for[:VARIANTS],
        "more": max(len(waited_for) - VARIANTS, 0),
        "kept": demand.kept(installation=installation, product_ids=[id_]).get(id_, 0),
        "rules": [
            {"name": row.name, "effect": words.RULE_EFFECTS[row.effect]} for row in rules[:RULES]
        ],
        "demand_page": link(request, staff, "demand"),
        "rules_page": link(request, staff, "rules"),
    }
