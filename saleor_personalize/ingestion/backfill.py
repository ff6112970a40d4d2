"""The shop's history, page by page. Rows hold the progress, so any worker can go on after a kill.

A page is fetched, recorded and marked as done in one transaction; the next page is fetched
meanwhile. A second run records nothing new: the same rules as for webhooks decide what is newer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from saleor_personalize.analytics import operations as analytics
from saleor_personalize.catalog import operations as catalog
from saleor_personalize.conf import settings
from saleor_personalize.enums import BackfillStatus, InstallationStatus
from saleor_personalize.events import operations as events
from saleor_personalize.exceptions import MalformedPayload, SaleorApiError, TokenRefused
from saleor_personalize.ingestion import failures
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import Backfill, BackfillStage, Installation
from saleor_personalize.offers import operations as offers
from saleor_personalize.saleor_api import installations, nodes
from saleor_personalize.saleor_api.client import Page, SaleorClient

logger = logging.getLogger(__name__)

#: How long a worker may stay silent before another one takes its run over.
LEASE = timedelta(minutes=2)
#: Saleor's answer to a query that costs too much names this error.
_COST_ERROR = "cost"

OPEN = (BackfillStatus.PENDING, BackfillStatus.RUNNING, BackfillStatus.PAUSED)

Recorder = Callable[[Installation, Sequence[Any], datetime, datetime], int]
#: client, stage, run, where the stage stands, how many at once -> the next page
Fetcher = Callable[[SaleorClient, "Stage", Backfill, str, int], Page]


def _fetch_page(client: SaleorClient, stage: Stage, run: Backfill, cursor: str, size: int) -> Page:
    variables: dict[str, Any] = {}
    if run.changed_since is not None and stage.has_changes:
        since = run.changed_since
        # Saleor filters carts by day, everything else by time.
        moment = since.date() if stage.name == "checkouts" else since
        variables["filter"] = {"updatedAt": {"gte": moment.isoformat()}}
    return client.page(
        stage.operation, stage.connection, first=size, after=cursor, variables=variables
    )


def _fetch_channels(
    client: SaleorClient, stage: Stage, run: Backfill, cursor: str, size: int
) -> Page:
    """Return all sales channels: Saleor does not page them."""
    found = client.execute(stage.operation)[stage.connection]
    return Page(found, "", has_next_page=False, total_count=len(found), cost=None)


def _fetch_prices(
    client: SaleorClient, stage: Stage, run: Backfill, cursor: str, size: int
) -> Page:
    """Return the variants on a page of products, by their prices in one sales channel after the other.

    The cursor is the slug of a channel and, in a second line, how far its products were read; channels may
    come and go meanwhile.
    """
    channels = {node["slug"]: node for node in client.execute("PricedChannels")["channels"]}
    begun, _, after = cursor.partition("\n")
    waiting = sorted(slug for slug in channels if slug >= begun)
    if not waiting:
        return Page([], "", has_next_page=False, total_count=None, cost=None)
    slug, *later = waiting
    page = client.page(
        stage.operation,
        stage.connection,
        first=size,
        after=after if slug == begun else "",
        variables={"channel": slug},
    )
    sold = [
        {**variant, "channel": channels[slug]}
        for product in page.nodes
        for variant in product["variants"] or ()
        # One that is in the product's list but not sold in the channel has no price.
        if variant["pricing"] and variant["pricing"]["price"]
    ]
    following = f"{slug}\n{page.end_cursor}" if page.has_next_page else (later or [""])[0]
    return Page(sold, following, bool(following), total_count=None, cost=page.cost)


@dataclass(frozen=True)
class Stage:
    """One kind of object: which query pages it, how a node is read and how a page is recorded."""

    name: str
    operation: str
    connection: str
    read: Callable[[Mapping[str, Any]], Any]
    record: Recorder
    # The event under which a node that cannot be read is kept, and its field in that payload.
    event: str
    field: str
    # Whether Saleor can filter it by `updatedAt`.
    has_changes: bool = True
    fetch: Fetcher = _fetch_page


def _channels(i: Installation, data: Sequence[Any], now: datetime, seen_at: datetime) -> int:
    return catalog.record_channels(installation=i, data=data, now=now, seen_at=seen_at)


def _categories(i: Installation, data: Sequence[Any], now: datetime, seen_at: datetime) -> int:
    return catalog.record_categories(installation=i, data=data, now=now, seen_at=seen_at)


def _collections(i: Installation, data: Sequence[Any], now: datetime, seen_at: datetime) -> int:
    return catalog.record_collections(installation=i, data=data, now=now, seen_at=seen_at)


def _prices(i: Installation, data: Sequence[Any], now: datetime, seen_at: datetime) -> int:
    return catalog.record_shopper_prices(installation=i, data=data, seen_at=seen_at)


def _products(i: Installation, data: Sequence[Any], now: datetime, seen_at: datetime) -> int:
    return catalog.record_products(installation=i, data=data, now=now, seen_at=seen_at)


def _content(i: Installation, data: Sequence[Any], now: datetime, seen_at: datetime) -> int:
    return catalog.record_pages(installation=i, data=data, now=now, seen_at=seen_at)


def _customers(i: Installation, data: Sequence[Any], now: datetime, seen_at: datetime) -> int:
    return events.record_customers(installation=i, data=data, now=now)


def _orders(i: Installation, data: Sequence[Any], now: datetime, seen_at: datetime) -> int:
    changed = events.record_orders(installation=i, data=data, now=now, seen_at=seen_at)
    analytics.follow_orders(installation=i, ids=changed, now=now)
    journeys.follow_orders(installation=i, ids=changed, now=now)
    offers.follow_orders(installation=i, ids=changed, now=now)
    return len(changed)


def _checkouts(i: Installation, data: Sequence[Any], now: datetime, seen_at: datetime) -> int:
    recorded = events.record_checkouts(installation=i, data=data, now=now, seen_at=seen_at)
    if journeys.is_live(installation=i):
        for one in recorded:
            # A cart whose webhook was lost; one from before the journey went live is left alone there.
            if one.changed:
                journeys.follow_checkout(checkout=one.row, now=now)
    return sum(one.changed for one in recorded)


STAGES: tuple[Stage, ...] = (
    Stage("channels", "Channels", "channels", nodes.read_channel, _channels, "channel_updated", "channel", has_changes=False, fetch=_fetch_channels),
    # Before the products: the price history of each begins with what shoppers pay.
    Stage("prices", "Prices", "products", nodes.read_shopper_price, _prices, "product_variant_updated", "productVariant", has_changes=False, fetch=_fetch_prices),
    Stage("categories", "Categories", "categories", nodes.read_category, _categories, "category_updated", "category", has_changes=False),
    Stage("collections", "Collections", "collections", nodes.read_collection, _collections, "collection_updated", "collection", has_changes=False),
    Stage("products", "Products", "products", nodes.read_product, _products, "product_updated", "product"),
    Stage("pages", "Pages", "pages", nodes.read_page, _content, "page_updated", "page", has_changes=False),
    Stage("customers", "Customers", "customers", nodes.read_customer, _customers, "customer_updated", "user"),
    Stage("orders", "Orders", "orders", nodes.read_order, _orders, "order_updated", "order"),
    Stage("checkouts", "Checkouts", "checkouts", nodes.read_checkout, _checkouts, "checkout_updated", "checkout"),
)  # fmt: skip
#: stage by name
BY_NAME = {stage.name: stage for stage in STAGES}


def request(
    *, installation: Installation, now: datetime, changed_since: datetime | None = None
) -> Backfill:
    """Return the open run of an installation, or start one; a worker picks it up.

    With `changed_since` only what changed from then on is read. An open run is widened, never
    doubled.
    """
    with transaction.atomic():
        Installation.objects.select_for_update().get(pk=installation.pk)
        run = Backfill.objects.of(installation).filter(status__in=OPEN).first()
        if run is None:
            run = Backfill.objects.create(
                installation=installation, changed_since=changed_since, created_at=now
            )
            BackfillStage.objects.bulk_create(
                [
                    BackfillStage(
                        installation=installation, backfill=run, name=stage.name, position=position
                    )
                    for position, stage in enumerate(STAGES)
                ]
            )
        elif run.changed_since is not None and (
            changed_since is None or changed_since < run.changed_since
        ):
            run.changed_since = changed_since
            run.save(update_fields=["changed_since"])
            run.stages.update(cursor="", is_done=False)
        return run


def pause(*, backfill: Backfill) -> None:
    """Stop after the page in hand."""
    Backfill.objects.filter(pk=backfill.pk, status__in=OPEN).update(is_pause_requested=True)


def resume(*, backfill: Backfill) -> None:
    """Let a paused or failed run go on where it stopped."""
    Backfill.objects.filter(pk=backfill.pk, status__in=[*OPEN, BackfillStatus.FAILED]).update(
        is_pause_requested=False, status=BackfillStatus.PENDING, error=""
    )


def latest(*, installation: Installation) -> Backfill | None:
    return Backfill.objects.of(installation).order_by("-pk").first()


def has_finished(*, installation: Installation) -> bool:
    """Tell whether a whole history was ever read."""
    return (
        Backfill.objects.of(installation)
        .filter(status=BackfillStatus.DONE, changed_since=None)
        .exists()
    )


def claim_next(*, now: datetime, backfill_id: int | None = None) -> Backfill | None:
    """Take the lease of a run (of this one, if named) that nobody works on, or return None."""
    runs = Backfill.objects.select_for_update(skip_locked=True, of=("self",))
    if backfill_id is not None:
        runs = runs.filter(pk=backfill_id)
    with transaction.atomic():
        run = (
            runs.select_related("installation")
            .filter(
                Q(lease_expires_at=None) | Q(lease_expires_at__lt=now),
                status__in=[BackfillStatus.PENDING, BackfillStatus.RUNNING],
                installation__status=InstallationStatus.ACTIVE,
            )
            .order_by("pk")
            .first()
        )
        if run is None:
            return None
        run.status = BackfillStatus.RUNNING
        run.started_at = run.started_at or now
        run.lease_expires_at = now + LEASE
        run.save(update_fields=["status", "started_at", "lease_expires_at"])
        return run


def work(
    run: Backfill,
    *,
    client: SaleorClient | None = None,
    clock: Callable[[], datetime] = timezone.now,
    on_page: Callable[[BackfillStage], None] = lambda stage: None,
) -> BackfillStatus:
    """Page a claimed run to its end, or to the first reason to stop; return where it stands.

    A fault that time may cure leaves the run RUNNING for the next claim.
    """
    own = client is None
    client = client or SaleorClient(run.installation)
    try:
        # A token that no longer works makes us anybody: some queries answer, with less in them.
        client.identity()
        stages = list(run.stages.filter(is_done=False))
        with closing(_one_ahead(_pages(run, stages, client, clock))) as pages:
            for fetched in pages:
                if Backfill.objects.filter(pk=run.pk, is_pause_requested=True).exists():
                    return _leave(run, BackfillStatus.PAUSED, clock())
                _record_page(run, fetched, now=clock())
                on_page(fetched.row)
        return _leave(run, BackfillStatus.DONE, clock())
    except TokenRefused as error:
        _leave(run, BackfillStatus.FAILED, clock(), str(error))
        installations.confirm(installation=run.installation, now=clock())
        return BackfillStatus.FAILED
    except SaleorApiError as error:
        status = BackfillStatus.RUNNING if error.is_retryable else BackfillStatus.FAILED
        return _leave(run, status, clock(), str(error))
    finally:
        if own:
            client.close()


def _leave(run: Backfill, status: BackfillStatus, now: datetime, error: str = "") -> BackfillStatus:
    run.status, run.error, run.lease_expires_at = status, error, None
    run.finished_at = now if status == BackfillStatus.DONE else None
    if status == BackfillStatus.RUNNING:
        # Not at once again: the shop needs a moment.
        run.lease_expires_at = now + timedelta(seconds=30)
    run.save(update_fields=["status", "error", "lease_expires_at", "finished_at"])
    logger.info("Back-fill %s: %s %s", run.pk, status.label, error)
    return status


@dataclass(frozen=True)
class _Fetched:
    """A page, the stage it belongs to and when it was asked for."""

    row: BackfillStage
    page: Page
    seen_at: datetime


def _pages(
    run: Backfill,
    stages: Iterable[BackfillStage],
    client: SaleorClient,
    clock: Callable[[], datetime],
) -> Iterator[_Fetched]:
    """Fetch page after page from where each stage stands, in halves where one costs too much."""
    for row in stages:
        stage = BY_NAME[row.name]
        size, cursor, has_more = settings.BACKFILL_PAGE_SIZE, row.cursor, True
        while has_more:
            seen_at = clock()
            try:
                page = stage.fetch(client, stage, run, cursor, size)
            except SaleorApiError as error:
                if _COST_ERROR not in str(error).lower() or size == 1:
                    raise
                size = max(1, size // 2)
                logger.info("Back-fill %s: %s costs too much, %s a page", run.pk, row.name, size)
                continue
            yield _Fetched(row, page, seen_at)
            cursor, has_more = page.end_cursor, page.has_next_page


def _one_ahead(fetched: Iterator[_Fetched]) -> Generator[_Fetched]:
    """Yield what comes; while one is worked on, a thread gets the next one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="backfill") as thread:
        coming = thread.submit(next, fetched, None)
        while (one := coming.result()) is not None:
            coming = thread.submit(next, fetched, None)
            yield one


def _record_page(run: Backfill, fetched: _Fetched, *, now: datetime) -> None:
    row, page, stage = fetched.row, fetched.page, BY_NAME[fetched.row.name]
    data, unreadable = [], []
    for node in page.nodes:
        try:
            data.append(stage.read(node))
        except MalformedPayload as error:
            unreadable.append((node, str(error)))
    with transaction.atomic():
        changed = stage.record(run.installation, data, now, fetched.seen_at)
        for node, fault in unreadable:
            failures.keep(
                installation=run.installation,
                event=stage.event,
                body=json.dumps(
                    {"issuedAt": fetched.seen_at.isoformat(), stage.field: node}
                ).encode(),
                error=fault,
                now=now,
            )
        row.cursor = page.end_cursor
        row.is_done = not page.has_next_page
        row.row_count += len(page.nodes)
        row.changed_count += changed
        row.total_count = page.total_count
        row.save()
        Backfill.objects.filter(pk=run.pk).update(lease_expires_at=now + LEASE)
