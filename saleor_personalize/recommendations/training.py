"""Fitting the recommenders of a shop, one set per sales channel, and publishing them all at once."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models.functions import Coalesce

from saleor_personalize.conf import build_backend, settings
from saleor_personalize.enums import EventType
from saleor_personalize.ml import Interactions, Items, Recommender
from saleor_personalize.ml.evaluation import backtest
from saleor_personalize.models import (
    Category,
    Event,
    Installation,
    OrderLine,
    Product,
    ProductListing,
    SalesChannel,
    TrainedModel,
)
from saleor_personalize.models.locks import lock
from saleor_personalize.profiles import consent

logger = logging.getLogger(__name__)

#: Older interactions say little about what sells now.
HISTORY = timedelta(days=730)
#: Fewer orders than this tell nothing about quality on a time split.
MIN_ORDERS_TO_MEASURE = 50

_EVENT_NAMES = {
    EventType.PRODUCT_VIEWED: "view",
    EventType.CART_ADDED: "cart",
    EventType.FAVOURITE_ADDED: "favourite",
}


def train(*, installation: Installation, now: datetime) -> int:
    """Fit, save and publish every recommender for every sales channel; return how many.

    What servers use stays in place until the new set is complete; the set before it is kept on disk
    for a way back. Two trainings of one shop never run at once.
    """
    published = 0
    for channel in SalesChannel.objects.of(installation).filter(deleted_at=None):
        with transaction.atomic():
            lock(installation, [f"training:{channel.slug}"])
            published += _train_channel(installation, channel, now)
    return published


def _train_channel(installation: Installation, channel: SalesChannel, now: datetime) -> int:
    channel_slug = channel.slug
    models = TrainedModel.objects.of(installation).filter(channel_slug=channel_slug)
    # Not by the slug: a shop chooses that, and it would become part of a path.
    folder = f"{installation.pk}/{channel.pk}"
    _sweep(folder, keep=set(models.values_list("path", flat=True)))
    interactions = _interactions(installation, channel_slug, now)
    items = _items(installation, channel_slug)
    version = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    rows = []
    for alias in settings.RECOMMENDERS:
        recommender: Recommender = build_backend("RECOMMENDERS", alias)
        metrics = _measure(recommender, interactions, items)
        recommender.fit(interactions, items)
        path = f"{folder}/{alias}/{version}"
        recommender.save(Path(settings.MODEL_DIRECTORY) / path)
        rows.append(
            TrainedModel(
                installation=installation,
                channel_slug=channel_slug,
                recommender=alias,
                path=path,
                trained_at=now,
                metrics={**metrics, "interactions": len(interactions), "items": len(items)},
                is_published=True,
            )
        )
    old = list(models.filter(is_published=False))
    models.filter(is_published=True).update(is_published=False)
    TrainedModel.objects.bulk_create(rows)
    models.filter(pk__in=[row.pk for row in old]).delete()
    # Not before the rows are gone for good.
    transaction.on_commit(lambda: _remove(row.path for row in old))
    logger.info(
        "Installation %s, %s: trained on %s interactions with %s products",
        installation.pk,
        channel_slug,
        len(interactions),
        len(items),
    )
    return len(rows)


def _sweep(folder: str, *, keep: set[str]) -> None:
    """Remove what a training that failed or was killed left behind."""
    root = Path(settings.MODEL_DIRECTORY)
    found = {path.relative_to(root).as_posix() for path in (root / folder).glob("*/*")}
    _remove(found - keep)


def _remove(paths: Iterable[str]) -> None:
    """Remove folders of models. A server that has one mapped keeps its pages."""
    for path in paths:
        shutil.rmtree(Path(settings.MODEL_DIRECTORY) / path, ignore_errors=True)


def roll_back(*, installation: Installation) -> int:
    """Publish the set before the current one; return how many models changed places."""
    swapped = 0
    with transaction.atomic():
        channels = TrainedModel.objects.of(installation).values_list("channel_slug", flat=True)
        for slug in channels.distinct():
            lock(installation, [f"training:{slug}"])
            models = TrainedModel.objects.of(installation).filter(channel_slug=slug)
            current = list(models.filter(is_published=True).values_list("pk", flat=True))
            before = list(models.filter(is_published=False).values_list("pk", flat=True))
            if before:
                models.filter(pk__in=current).update(is_published=False)
                swapped += models.filter(pk__in=before).update(is_published=True)
    return swapped


def forget(*, installation_id: int) -> None:
    """Remove all model files of a shop whose rows are gone."""
    _remove([str(installation_id)])


def _measure(recommender: Recommender, interactions: Interactions, items: Items) -> dict[str, Any]:
    """Return quality figures on the last fifth of the time, or say that there is too little data."""
    orders = len(set(interactions.order_id.codes[interactions.order_id.codes >= 0].tolist()))
    if orders < MIN_ORDERS_TO_MEASURE:
        return {"measured": False}
    report = backtest(recommender, interactions, items, max_cases=1_000)
    return {
        "measured": report.cases > 0,
        "cases": report.cases,
        "recall": round(report.recall, 4),
        "ndcg": round(report.ndcg, 4),
        "coverage": round(report.coverage, 4),
    }


def _interactions(installation: Installation, channel_slug: str, now: datetime) -> Interactions:
    rows = [
        *_purchases(installation, channel_slug, now - HISTORY),
        *_events(installation, channel_slug, now - HISTORY),
    ]
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    return Interactions.of(
        visitor_id=columns[0],
        item_id=columns[1],
        event=columns[2],
        timestamp=columns[3],
        order_id=columns[4],
        quantity=columns[5],
    )


def _purchases(
    installation: Installation, channel_slug: str, since: datetime
) -> Iterator[tuple[str, str, str, float, str | None, float]]:
    lines = (
        OrderLine.objects.of(installation)
        .filter(order__channel_slug=channel_slug, order__placed_at__gte=since)
        .exclude(product_saleor_id="")
        .order_by("order__placed_at", "order_id", "pk")
        .values_list(
            Coalesce("order__profile__merged_into_id", "order__profile_id"),
            "product_saleor_id",
            "order__placed_at",
            "order__saleor_id",
            "quantity",
        )
    )
    refused = consent.refused_profiling(installation=installation)
    for profile_id, product_id, placed_at, order_id, quantity in lines.iterator(chunk_size=5_000):
        is_known = profile_id and profile_id not in refused
        yield (
            # Orders of who refused profiling say what goes together, and not what one person bought.
            str(profile_id if is_known else f"order:{order_id}"),
            product_id,
            "purchase",
            placed_at.timestamp(),
            order_id,
            float(quantity),
        )


def _events(
    installation: Installation, channel_slug: str, since: datetime
) -> Iterator[tuple[str, str, str, float, str | None, float]]:
    events = (
        Event.objects.of(installation)
        .filter(channel_slug=channel_slug, occurred_at__gte=since, type__in=list(_EVENT_NAMES))
        .exclude(product_saleor_id="")
        .order_by("occurred_at", "pk")
        .values_list(
            Coalesce("profile__merged_into_id", "profile_id"),
            "product_saleor_id",
            "type",
            "occurred_at",
        )
    )
    for profile_id, product_id, type_, occurred_at in events.iterator(chunk_size=5_000):
        yield (
            str(profile_id),
            product_id,
            _EVENT_NAMES[EventType(type_)],
            occurred_at.timestamp(),
            None,
            1.0,
        )


def _items(installation: Installation, channel_slug: str) -> Items:
    """Return the products sold in the channel, with the words that describe them."""
    categories = dict(Category.objects.of(installation).values_list("saleor_id", "name"))
    listed = ProductListing.objects.of(installation).filter(channel_slug=channel_slug)
    products = list(
        Product.objects.of(installation)
        .filter(deleted_at=None, saleor_id__in=listed.values_list("product_saleor_id", flat=True))
        .order_by("saleor_id")
    )
    return Items.of(
        [product.saleor_id for product in products],
        created_at=[
            product.saleor_created_at.timestamp() if product.saleor_created_at else None
            for product in products
        ],
        name=[product.name for product in products],
        description=[product.description for product in products],
        category=[categories.get(product.category_saleor_id, "") for product in products],
        product_type=[product.product_type for product in products],
        attributes=[
            " ".join(value for row in product.attributes for value in row["values"])
            for product in products
        ],
    )
