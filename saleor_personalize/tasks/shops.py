"""The same work for every shop that is active, one after another."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.utils import timezone

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import PersonalizeError, kind_and_place
from saleor_personalize.models import Installation

logger = logging.getLogger(__name__)


def for_each_active(do: Callable[..., int], *, what: str) -> int:
    """Call `do(installation=..., now=...)` for each active shop; return the sum of what it returns.

    One shop's trouble is not another's: it is logged, with `what` was to be done there, and beat asks again.
    """
    count = 0
    for shop in Installation.objects.filter(status=InstallationStatus.ACTIVE).order_by("pk"):
        try:
            count += do(installation=shop, now=timezone.now())
        except PersonalizeError as error:
            logger.warning("%s, installation %s: not done: %s", what, shop.pk, error)
        except Exception as error:
            # Its text may quote a row.
            trouble = kind_and_place(error)
            logger.error("%s, installation %s: not done: %s", what, shop.pk, trouble)  # noqa: TRY400
    return count
