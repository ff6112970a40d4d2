"""Tasks of the content pages."""

import logging
from collections.abc import Callable

from celery import shared_task
from django.utils import timezone

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import MalformedPayload, SaleorApiError
from saleor_personalize.ingestion import pages
from saleor_personalize.models import Installation

logger = logging.getLogger(__name__)


@shared_task(name="personalize.refresh_pages")  # type: ignore[untyped-decorator,unused-ignore]
def refresh_pages() -> int:
    """Read the pages again that are stale; return how many were."""
    return _each(pages.refresh)


@shared_task(name="personalize.look_at_pages")  # type: ignore[untyped-decorator,unused-ignore]
def look_at_pages() -> int:
    """Find which pages came, went, or are published or not any more; return how many."""
    found = _each(pages.look)
    if found:
        refresh_pages.delay()
    return found


def _each(do: Callable[..., int]) -> int:
    """Do something for each shop that is active; one shop's trouble is not another's."""
    count = 0
    for installation in Installation.objects.filter(status=InstallationStatus.ACTIVE):
        try:
            count += do(installation=installation, now=timezone.now())
        except (SaleorApiError, MalformedPayload) as error:
            logger.warning("Pages of installation %s were not read: %s", installation.pk, error)
    return count
