"""Tasks of the back-fill."""

import logging

from celery import shared_task
from django.utils import timezone

from saleor_personalize.enums import BackfillStatus
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.ingestion import backfill
from saleor_personalize.ingestion import reconcile as reconciliation
from saleor_personalize.models import Installation
from saleor_personalize.tasks.training import train

logger = logging.getLogger(__name__)


@shared_task(name="personalize.run_backfills")  # type: ignore[untyped-decorator,unused-ignore]
def run_backfills() -> int:
    """Work on every run that nobody works on; train when one is done. Returns how many were worked on."""
    count = 0
    while run := backfill.claim_next(now=timezone.now()):
        count += 1
        if backfill.work(run) == BackfillStatus.DONE:
            train.delay(run.installation_id)
    return count


@shared_task(name="personalize.reconcile")  # type: ignore[untyped-decorator,unused-ignore]
def reconcile() -> int:
    """Find what webhooks missed, shop by shop; one shop's trouble is not another's.

    Shops that switched the app off are asked too: the news that they switched it on may be lost.
    """
    done = 0
    for installation in Installation.objects.all():
        try:
            done += (
                reconciliation.reconcile(installation=installation, now=timezone.now()) is not None
            )
        except SaleorApiError as error:
            logger.warning("Installation %s was not reconciled: %s", installation.pk, error)
    run_backfills.delay()
    return done
