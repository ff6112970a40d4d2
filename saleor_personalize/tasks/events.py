"""Tasks of the events table."""

import logging

from celery import shared_task
from django.utils import timezone

from saleor_personalize.events import partitions, refused

logger = logging.getLogger(__name__)


@shared_task(name="personalize.maintain_events")  # type: ignore[untyped-decorator,unused-ignore]
def maintain_events() -> int:
    """Make the months that come next, drop those past retention; return how many months changed."""
    done = partitions.maintain(now=timezone.now())
    if not done.is_complete:
        logger.warning("The events table was busy: its months are looked after in the next run.")
    return len(done.created) + len(done.dropped)


@shared_task(name="personalize.trim_refused")  # type: ignore[untyped-decorator,unused-ignore]
def trim_refused() -> int:
    """Keep only the newest of what was turned down."""
    return refused.trim()
