"""Tasks of privacy: what erasures leave to be searched, and what is past its time."""

import logging

from celery import shared_task
from django.utils import timezone

from saleor_personalize.catalog import prices
from saleor_personalize.ingestion import erasure, leaving
from saleor_personalize.messaging import pace
from saleor_personalize.profiles import retention
from saleor_personalize.tasks.shops import for_each_active

logger = logging.getLogger(__name__)


@shared_task(name="personalize.sweep_erasures")  # type: ignore[untyped-decorator,unused-ignore]
def sweep_erasures(everywhere: bool = False) -> int:
    """Delete raw texts that speak of people who were erased; return in how many shops it looked."""
    return erasure.sweep_due(now=timezone.now(), everywhere=everywhere)


@shared_task(name="personalize.count_kept")  # type: ignore[untyped-decorator,unused-ignore]
def count_kept() -> int:
    """Count what is kept of each kind of data in every active shop; return how many kinds were counted."""
    return for_each_active(retention.count, what="Counting of what is kept")


@shared_task(name="personalize.purge")  # type: ignore[untyped-decorator,unused-ignore]
def purge() -> int:
    """End what is past its time; return how many rows and shops went."""
    now = timezone.now()
    ended = retention.purge(now=now)
    ended["prices"] = prices.purge(now=now)
    ended["paces"] = pace.purge(now=now)
    shops = leaving.forget_uninstalled(now=now)
    erasure.sweep_due(now=now, everywhere=True)
    logger.info("Past their time: %s; shops: %s", ended, shops)
    return sum(ended.values()) + shops
