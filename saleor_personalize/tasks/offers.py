"""Tasks of offers."""

import logging

from celery import shared_task
from django.utils import timezone

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import SaleorApiError, kind_and_place
from saleor_personalize.models import Installation
from saleor_personalize.offers import operations as offers
from saleor_personalize.saleor_api import installations

logger = logging.getLogger(__name__)

#: Offers that one run looks at; beat wakes the next run.
LIMIT = 200


@shared_task(name="personalize.sweep_offers")  # type: ignore[untyped-decorator,unused-ignore]
def sweep_offers() -> int:
    """Finish what was left half done, and end what is over; return how many offers were looked at."""
    taken = 0
    while taken < LIMIT:
        try:
            if not offers.sweep(now=timezone.now(), limit=1):
                break
        except Exception as error:
            # One offer that cannot be looked at must not hold up the others: its claim runs out later.
            logger.warning(
                "An offer could not be looked at; again in %s. %s",
                offers.CLAIM,
                kind_and_place(error),
            )
        taken += 1
    return taken


@shared_task(name="personalize.refresh_permissions")  # type: ignore[untyped-decorator,unused-ignore]
def refresh_permissions() -> None:
    """See which shops permit what by now: staff who grant or take back a permission tell nobody."""
    for installation in Installation.objects.filter(status=InstallationStatus.ACTIVE):
        try:
            installations.refresh_permissions(installation=installation)
        except SaleorApiError as error:
            logger.warning("Permissions of installation %s are unknown: %s", installation.pk, error)
