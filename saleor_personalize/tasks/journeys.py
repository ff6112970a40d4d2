"""Tasks of journeys."""

import logging
import time
from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from saleor_personalize.exceptions import kind_and_place
from saleor_personalize.journeys import dry_runs
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.queries import being_left, next_place
from saleor_personalize.messaging import operations as messaging

logger = logging.getLogger(__name__)

#: How many people one run of a task decides about at a time; beat wakes the next run.
LIMIT = 500
#: Whoever waits for a place in the pace is waited for, if it comes soon; in seconds, how long a run does so.
NEXT, LINGER = timedelta(seconds=1), 8.0
#: Seconds for which one run lets people go: shorter than until beat wakes the next, or all workers would do that.
LEAVING = 8.0


@shared_task(name="personalize.advance_journeys")  # type: ignore[untyped-decorator,unused-ignore]
def advance_journeys() -> None:
    """Decide about who is due. Each decision looks at the clock anew: a run may take minutes."""
    journeys.resume_interrupted(now=timezone.now())
    messaging.settle_interrupted(now=timezone.now())
    lingers_until = time.monotonic() + LINGER
    under_way = journeys.UnderWay()
    try:
        for _ in range(LIMIT):
            # What a provider answers may let somebody go on at once.
            if _advance(under_way) or under_way.settle():
                continue
            soon = next_place(now=timezone.now(), within=NEXT)
            if soon is None or time.monotonic() > lingers_until:
                break
            # Places that a pace gives are closer together than beat wakes us.
            time.sleep(max(0.0, (soon - timezone.now()).total_seconds()))
    finally:
        under_way.settle()
        messaging.end_batch()


def _advance(under_way: journeys.UnderWay) -> int:
    """Decide about whoever is due longest; return whether anybody was."""
    try:
        return journeys.advance_due(now=timezone.now(), limit=1, under_way=under_way)
    except Exception as error:
        # One case that cannot be decided must not hold up the others: its claim runs out later.
        logger.warning(
            "A decision failed; it is tried again in %s. %s",
            journeys.CLAIM,
            kind_and_place(error),
        )
        return 1


@shared_task(name="personalize.enter_journeys")  # type: ignore[untyped-decorator,unused-ignore]
def enter_journeys() -> int:
    """Bring in whom time alone brings into journeys; return how many."""
    return journeys.enter_due(now=timezone.now())


@shared_task(name="personalize.let_go")  # type: ignore[untyped-decorator,unused-ignore]
def let_go() -> int:
    """End stays in journeys that were paused so that everybody leaves; return how many."""
    count, ends_at = 0, time.monotonic() + LEAVING
    for journey in being_left():
        try:
            while journey.let_go_at is not None and time.monotonic() < ends_at:
                count += journeys.let_go(
                    journey=journey, now=timezone.now(), limit=journeys.LEAVE_AT_ONCE
                )
        except Exception as error:
            # One journey's trouble is not another's.
            logger.warning(
                "Journey %s: not everybody left; tried again soon. %s",
                journey.pk,
                kind_and_place(error),
            )
    return count


@shared_task(name="personalize.make_dry_runs")  # type: ignore[untyped-decorator,unused-ignore]
def make_dry_runs() -> int:
    """Make every dry run that somebody asked for; return how many."""
    count = 0
    while run := dry_runs.claim_next(now=timezone.now()):
        dry_runs.work(run=run, now=timezone.now())
        count += 1
    return count
