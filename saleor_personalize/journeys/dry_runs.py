"""Dry runs that somebody asked for on a page: a worker makes them, for they may take minutes."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from saleor_personalize.enums import DryRunStatus
from saleor_personalize.exceptions import PersonalizeError, kind_and_place
from saleor_personalize.journeys.forecast import forecast
from saleor_personalize.journeys.versions import definition_of
from saleor_personalize.models import DryRun, JourneyVersion

logger = logging.getLogger(__name__)

#: A run that takes longer belonged to a worker that was killed.
LEASE = timedelta(minutes=30)
#: Workers that a run may be taken up by: whatever kills each of them kills the next one too.
MAX_ATTEMPTS = 3
#: Not done yet.
OPEN = (DryRunStatus.PENDING, DryRunStatus.RUNNING)


def ask(*, version: JourneyVersion, now: datetime) -> DryRun:
    """Ask for a dry run of a version; one of the same that is under way is kept, an older result goes."""
    with transaction.atomic():
        rows = DryRun.objects.of(version.installation_id).select_for_update()
        found = rows.filter(journey=version.journey_id).first()
        if found is not None and found.status in OPEN and found.version_id == version.pk:
            return found
        run, _ = DryRun.objects.update_or_create(
            installation_id=version.installation_id,
            journey_id=version.journey_id,
            defaults={
                "version": version,
                "status": DryRunStatus.PENDING,
                "asked_at": now,
                "started_at": None,
                "attempts": 0,
                "finished_at": None,
                "forecast": {},
                "error": "",
            },
        )
    return run


def claim_next(*, now: datetime) -> DryRun | None:
    """Take the run that waits longest, of whichever shop; None when there is none.

    One that has ended its worker too often is given up.
    """
    waiting = Q(status=DryRunStatus.PENDING) | Q(
        status=DryRunStatus.RUNNING, started_at__lt=now - LEASE
    )
    with transaction.atomic():
        rows = (
            DryRun.objects.filter(waiting)
            .select_related("installation", "version")
            .select_for_update(of=("self",), skip_locked=True)
            .order_by("asked_at", "pk")
        )
        for run in rows.filter(attempts__gte=MAX_ATTEMPTS):
            run.status, run.finished_at = DryRunStatus.FAILED, now
            run.error = (
                f"Its worker was ended {run.attempts} times before it was done, perhaps for lack of memory. "
                "Whoever runs the service gives the worker more."
            )
            run.save(update_fields=["status", "finished_at", "error"])
        taken = rows.first()
        if taken is not None:
            taken.status, taken.started_at = DryRunStatus.RUNNING, now
            taken.attempts += 1
            taken.save(update_fields=["status", "started_at", "attempts"])
    return taken


def work(*, run: DryRun, now: datetime) -> DryRun:
    """Make a claimed dry run and keep what it found, or why it could not be made."""
    status, told, why = DryRunStatus.FAILED, dict[str, Any](), ""
    try:
        found = forecast(
            installation=run.installation, definition=definition_of(run.version), now=now
        )
    except PersonalizeError as error:
        why = str(error)
    except Exception as error:
        # Whatever it is, staff are told, and it is not tried for ever.
        why = kind_and_place(error)
        logger.error("The dry run of journey %s failed: %s", run.journey_id, why)  # noqa: TRY400
    else:
        status, told = DryRunStatus.DONE, found.to_json()
    # Somebody may have asked for another one meanwhile: that one is not answered by this.
    mine = DryRun.objects.of(run.installation_id).filter(pk=run.pk, started_at=run.started_at)
    mine.update(status=status, forecast=told, error=why, finished_at=now)
    run.refresh_from_db()
    return run
