"""A shop leaves: everything of it goes, rows and files, so that nothing is left of anybody."""

from __future__ import annotations

import logging
from datetime import datetime

from django.apps import apps
from django.db import transaction

from saleor_personalize.conf import settings
from saleor_personalize.enums import InstallationStatus
from saleor_personalize.ingestion.imports import stored
from saleor_personalize.models import Import, Installation, Scoped
from saleor_personalize.recommendations import versions
from saleor_personalize.saleor_api import installations

logger = logging.getLogger(__name__)

#: Rows of one commit.
BATCH = 5_000


def forget(*, installation: Installation, now: datetime) -> dict[str, int]:
    """Delete all that is known of a shop; return how many rows of each table. Safe to run again.

    The app is switched off first: no message leaves and no webhook is taken meanwhile.
    """
    installations.mark_status(
        installation=installation, status=InstallationStatus.UNINSTALLED, now=now
    )
    for path in Import.objects.of(installation).exclude(path="").values_list("path", flat=True):
        stored.delete(path)
    counts: dict[str, int] = {}
    # What others point to comes last.
    for model in reversed(list(apps.get_app_config("saleor_personalize").get_models())):
        if issubclass(model, Scoped):
            while deleted := _delete_batch(model, installation):
                for name, count in deleted.items():
                    counts[name] = counts.get(name, 0) + count
    number = installation.pk
    with transaction.atomic():
        # A row that came in between goes along.
        Installation.objects.filter(pk=number).delete()
    versions.forget(installation_id=number)
    logger.info("Installation %s: forgotten, %s rows", number, sum(counts.values()))
    return counts


def _delete_batch(model: type[Scoped], installation: Installation) -> dict[str, int]:
    rows = model.objects.of(installation)
    with transaction.atomic():
        pks = list(rows.values_list("pk", flat=True)[:BATCH])
        _, deleted = rows.filter(pk__in=pks).delete() if pks else (0, {})
    return {label.rpartition(".")[2]: count for label, count in deleted.items() if count}


def forget_uninstalled(*, now: datetime) -> int:
    """Forget the shops that deleted the app longer ago than RETENTION's "uninstalled"; return how many."""
    grace = settings.RETENTION.get("uninstalled")
    if grace is None:
        return 0
    gone = list(
        Installation.objects.filter(
            status=InstallationStatus.UNINSTALLED, status_changed_at__lt=now - grace
        )
    )
    for installation in gone:
        forget(installation=installation, now=now)
    return len(gone)
