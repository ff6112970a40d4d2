"""Tasks of the content pages."""

import logging
from collections.abc import Callable
from typing import Any

from celery import shared_task
from django.db.models import QuerySet
from django.utils import timezone

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.ingestion import pages
from saleor_personalize.models import Installation, Page

logger = logging.getLogger(__name__)


@shared_task(name="personalize.refresh_pages")  # type: ignore[untyped-decorator,unused-ignore]
def refresh_pages() -> int:
    """Read the pages again that are stale; return how many were."""
    stale = Page.objects.filter(stale_since__isnull=False).values("installation")
    return _each(stale, pages.refresh)


@shared_task(name="personalize.look_at_pages")  # type: ignore[untyped-decorator,unused-ignore]
def look_at_pages() -> int:
    """Find which pages came, went, or are published or not any more; return how many."""
    found = _each(Installation.objects.values("pk"), pages.look)
    if found:
        refresh_pages.delay()
    return found


def _each(ids: QuerySet[Any, Any], do: Callable[..., int]) -> int:
    """Do something for each of these shops that is active; one shop's trouble is not another's."""
    count = 0
    for installation in Installation.objects.filter(pk__in=ids, status=InstallationStatus.ACTIVE):
        try:
            count += do(installation=installation, now=timezone.now())
        except SaleorApiError as error:
            logger.warning("Pages of installation %s were not read: %s", installation.pk, error)
    return count
