"""What webhooks missed: a daily look at what changed, what is gone, and whether we are still welcome."""

from __future__ import annotations

from datetime import datetime, timedelta

from saleor_personalize.catalog import operations as catalog
from saleor_personalize.enums import BackfillStatus, InstallationStatus
from saleor_personalize.ingestion import backfill
from saleor_personalize.models import Backfill, Installation, Product
from saleor_personalize.saleor_api import installations
from saleor_personalize.saleor_api.client import MAX_PAGE, SaleorClient

#: Looked at again, so that nothing falls between two runs.
OVERLAP = timedelta(hours=1)


def reconcile(*, installation: Installation, now: datetime) -> Backfill | None:
    """Check the token, remove products that are gone, and ask for what changed since the last run.

    Returns the requested run, or None when the shop does not accept us any more. Raises
    SaleorApiError when the shop cannot be asked.
    """
    installations.confirm(installation=installation, now=now)
    if installation.status != InstallationStatus.ACTIVE:
        return None
    with SaleorClient(installation) as client:
        remove_gone_products(installation=installation, client=client, now=now)
    last = (
        Backfill.objects.of(installation)
        .filter(status=BackfillStatus.DONE)
        .order_by("-started_at")
        .first()
    )
    since = last.started_at - OVERLAP if last and last.started_at else None
    return backfill.request(installation=installation, now=now, changed_since=since)


def remove_gone_products(*, installation: Installation, client: SaleorClient, now: datetime) -> int:
    """Leave tombstones for products that Saleor no longer lists; return how many.

    A tombstone is for ever, so absence is doubted: an app without the permission is shown only what
    is published, and a product that moves in the shop's order while we page may be skipped.
    """
    if "MANAGE_PRODUCTS" not in installation.permissions:
        return 0
    listed = {node["id"] for node in client.every_node("ProductIds", "products")}
    known = (
        Product.objects.of(installation)
        # One made while we were paging is not gone.
        .filter(deleted_at=None, saleor_created_at__lt=now)
        .values_list("saleor_id", flat=True)
    )
    missing = sorted(set(known) - listed)
    gone = set(missing)
    for start in range(0, len(missing), MAX_PAGE):
        asked = {"filter": {"ids": missing[start : start + MAX_PAGE]}}
        page = client.page("ProductIds", "products", first=MAX_PAGE, after=None, variables=asked)
        gone.difference_update(node["id"] for node in page.nodes)
    return sum(
        catalog.record_deletion(installation=installation, model=Product, saleor_id=id_, now=now)
        for id_ in gone
    )
