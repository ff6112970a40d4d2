"""The claim: any number of workers take whoever is due, each somebody else."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection, transaction

from saleor_personalize.enums import EnrollmentStatus, NotSentReason
from saleor_personalize.journeys.cases import FIRST_RETRY
from saleor_personalize.journeys.queries import RELATED
from saleor_personalize.models import Enrollment, Installation, Journey

#: How long a claimed enrollment is left alone by other workers.
CLAIM = timedelta(minutes=5)
#: Takes the row that is due longest, journey by journey: whoever is held in a paused one, or in a shop that
#: stopped, is long due, and passing them by would cost more with each of them.
_CLAIM = f"""
UPDATE {Enrollment._meta.db_table} SET due_at = %(until)s WHERE id = (
  SELECT head.id
  FROM {Journey._meta.db_table} AS journey
  JOIN {Installation._meta.db_table} AS installation ON installation.id = journey.installation_id
  CROSS JOIN LATERAL (
    SELECT id, due_at FROM {Enrollment._meta.db_table}
    WHERE journey_id = journey.id AND status = '{EnrollmentStatus.WAITING.value}' AND due_at <= %(now)s
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
  ) AS head
  WHERE journey.is_live AND installation.sends_stopped_at IS NULL
  ORDER BY head.due_at, head.id LIMIT 1
)
-- It does not wait for the disk: a database that crashes and forgets it forgets what followed from it, too.
RETURNING id, set_config('synchronous_commit', 'off', true)
"""  # noqa: S608 (the names of the tables are ours)


def claim(now: datetime) -> Enrollment | None:
    """Take the row that is due longest; its `due_at` moves, and is how the claim is known later.

    Heads of other journeys are locked for a moment: a worker that passes one by leaves it to this one.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"now": now, "until": now + CLAIM})
        found = cursor.fetchone()
        if found is None:
            return None
        rows = Enrollment.objects.select_related(*RELATED)
        return rows.get(pk=found[0])


def looked_at(row: Enrollment, now: datetime, *, is_under_way: bool) -> datetime:
    """Return when somebody who waits is looked at next: now, while a worker has them or is due to.

    A claim is told by its time: less than FIRST_RETRY ago, it lies further ahead than a retry does at first.
    One of many retries, or one that a provider asked for, may come through there and passes for a claim that
    long. `is_under_way`: a message of theirs is being handed over, which alone can keep them.
    """
    has_begun = row.step_since <= now or is_under_way
    is_recent = now + CLAIM - FIRST_RETRY < row.due_at <= now + CLAIM
    is_claimed = has_begun and is_recent and held_by(row, now) is None
    return now if is_claimed else max(row.due_at, now)


def held_by(row: Enrollment, now: datetime) -> NotSentReason | None:
    """Return what still holds somebody back; the row keeps what did last, also when it has passed."""
    # This one leaves `step_since`, as each further wait is longer; every other hold moves it to its end.
    is_within_step = row.held_by == NotSentReason.OFFER_FULL_PRICE
    until = row.due_at if is_within_step else row.step_since
    return NotSentReason(row.held_by) if row.held_by and until > now else None
