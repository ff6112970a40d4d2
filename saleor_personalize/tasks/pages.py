"""Tasks of the content pages."""

from celery import shared_task

from saleor_personalize.ingestion import pages
from saleor_personalize.tasks.shops import for_each_active


@shared_task(name="personalize.refresh_pages")  # type: ignore[untyped-decorator,unused-ignore]
def refresh_pages() -> int:
    """Read the pages again that are stale; return how many were."""
    return for_each_active(pages.refresh, what="Reading of pages")


@shared_task(name="personalize.look_at_pages")  # type: ignore[untyped-decorator,unused-ignore]
def look_at_pages() -> int:
    """Find which pages came, went, or are published or not any more; return how many."""
    found = for_each_active(pages.look, what="Look at pages")
    if found:
        refresh_pages.delay()
    return found
