"""Tasks of phone numbers."""

import logging

from celery import shared_task
from django.utils import timezone

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import MalformedPayload, SaleorApiError
from saleor_personalize.ingestion import phones
from saleor_personalize.models import Installation

logger = logging.getLogger(__name__)


@shared_task(name="personalize.learn_phones")  # type: ignore[untyped-decorator,unused-ignore]
def learn_phones() -> int:
    """Ask Saleor for the numbers of those who said yes to text messages; return how many were learned."""
    count = 0
    for installation in Installation.objects.filter(status=InstallationStatus.ACTIVE):
        try:
            count += phones.learn(installation=installation, now=timezone.now())
        except (SaleorApiError, MalformedPayload) as error:
            logger.warning("Numbers of installation %s were not read: %s", installation.pk, error)
    return count
