"""Four eyes before a journey writes to people (GO_LIVE_APPROVAL): who asks is not who decides.

What is approved is one version, with the segments that it follows. It may go live, be paused and go on as often
as anybody likes; another version needs another yes, whether it would go live or replace what is live, and so
does the same one after a segment of it was changed (`segment_use`).
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.enums import JourneySource
from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.journeys import operations, segment_use
from saleor_personalize.journeys.definitions import Definition
from saleor_personalize.journeys.versions import add_version, make_current
from saleor_personalize.models import Approval, Journey, JourneyVersion
from saleor_personalize.segments import operations as segments


class ApprovalRefused(PersonalizeError):
    """A decision cannot be taken by whoever tries; the text says why."""


def is_missing(version: JourneyVersion | None) -> bool:
    """Tell whether somebody else has to say yes before a version may write to people."""
    if not settings.GO_LIVE_APPROVAL or version is None:
        return False
    given = version.approvals.filter(is_given=True)
    changed_at = _segments_changed_at(version)
    # Whom it would write to may be others than those that were agreed upon.
    return not (given.filter(asked_at__gte=changed_at) if changed_at else given).exists()


def _segments_changed_at(version: JourneyVersion) -> datetime | None:
    return segment_use.changed_at(
        installation=version.installation, definition=operations.definition_of(version)
    )


def open_of(journey: Journey) -> Approval | None:
    """Return what waits for a decision."""
    return journey.approvals.filter(decided_at=None).select_related("version").first()


def is_outdated(asked: Approval) -> bool:
    """Tell whether a segment that decides whom it would write to was changed since this was asked."""
    changed_at = _segments_changed_at(asked.version)
    return changed_at is not None and changed_at > asked.asked_at


def go_live(*, journey: Journey, by: str, now: datetime) -> Approval | None:
    """Switch a journey on; where somebody else has to say yes first, ask, and return what is asked.

    `by` is Saleor's id of the staff member. Raises InvalidJourney as `operations.go_live` does.
    """
    with transaction.atomic():
        _hold(journey)
        asked = _ask_first(journey, by, now)
        if asked is None:
            operations.go_live(journey=journey, now=now)
    return asked


def _hold(journey: Journey) -> None:
    """Keep others from changing a journey, and segments, until the end of the transaction, and read it anew.

    Otherwise another version could be published, or a segment changed, between the look at what is approved and
    the switch.
    """
    rows = Journey.objects.of(journey.installation_id)
    journey.refresh_from_db(from_queryset=rows.select_for_update(of=("self",)))
    if settings.GO_LIVE_APPROVAL:
        segments.hold(journey.installation)


def _ask_first(
    journey: Journey, by: str, now: datetime, *, goes_on: bool = False
) -> Approval | None:
    version = journey.published
    if version is None or not is_missing(version):
        return None
    operations.check_segments(
        installation=journey.installation, definition=operations.definition_of(version)
    )
    return ask(version=version, by=by, now=now, goes_on=goes_on)


def resume(*, journey: Journey, by: str, now: datetime) -> Approval | None:
    """Let a paused journey go on; else as `go_live`."""
    with transaction.atomic():
        _hold(journey)
        asked = _ask_first(journey, by, now, goes_on=journey.live_at is not None)
        if asked is None:
            operations.resume(journey=journey, now=now)
    return asked


def publish(
    *, journey: Journey, definition: Definition, source: JourneySource, by: str, now: datetime
) -> tuple[JourneyVersion, Approval | None]:
    """Save a definition as a version, which whoever comes in from now on follows.

    Of a live journey, where somebody else has to say yes first, the version waits, and so does what is
    asked. Raises InvalidJourney as `operations.publish` does.
    """
    with transaction.atomic():
        _hold(journey)
        if journey.is_live and settings.GO_LIVE_APPROVAL:
            operations.check_segments(installation=journey.installation, definition=definition)
            version = add_version(journey=journey, definition=definition, source=source, now=now)
            if is_missing(version):
                return version, ask(version=version, by=by, now=now)
            make_current(version=version)
            return version, None
        version = operations.publish(
            installation=journey.installation, definition=definition, source=source, now=now
        )
        # What was asked of another version is not what would go live now.
        journey.approvals.filter(decided_at=None).exclude(version=version).delete()
        return version, None


def ask(*, version: JourneyVersion, by: str, now: datetime, goes_on: bool = False) -> Approval:
    """Ask that a version may go live; `goes_on`: that whoever is held inside goes on.

    What was asked of the journey before is dropped, unless it is the same, about the same segments.
    """
    with transaction.atomic():
        journey = Journey.objects.of(version.installation_id).select_for_update()
        row = journey.get(pk=version.journey_id)
        waiting = open_of(row)
        is_same = waiting is not None and (waiting.version_id, waiting.goes_on) == (
            version.pk,
            goes_on,
        )
        if waiting is not None and is_same and not is_outdated(waiting):
            return waiting
        if waiting is not None:
            waiting.delete()
        return Approval.objects.create(
            installation_id=version.installation_id,
            journey=row,
            version=version,
            asked_by=by,
            asked_at=now,
            goes_on=goes_on,
        )


def decide(*, approval: Approval, is_given: bool, by: str, now: datetime) -> Approval:
    """Say yes or no to what was asked. With a yes the version is what the journey follows, and it is live.

    Whoever asked may take it back by a no. Raises ApprovalRefused for a yes by who asked, or after a segment
    was changed, or to what was decided before; InvalidJourney as `operations.go_live` does.
    """
    with transaction.atomic():
        _hold(approval.journey)
        rows = Approval.objects.of(approval.installation_id).select_for_update(of=("self",))
        row = rows.select_related("version", "journey").filter(pk=approval.pk).first()
        if row is None or row.decided_at is not None:
            raise ApprovalRefused(_("This was decided meanwhile."))
        # An erasure takes the name of who asked along: then it could be anybody.
        if is_given and (not by or by == row.asked_by or not row.asked_by):
            raise ApprovalRefused(_("Somebody else than who asked has to say yes."))
        # Else whoever changed it could have it go live without anybody who looked at it.
        if is_given and is_outdated(row):
            raise ApprovalRefused(
                _(
                    "A segment that this journey follows was changed after this was asked. Say no, and have it "
                    "asked again."
                )
            )
        row.decided_by, row.decided_at, row.is_given = by, now, is_given
        row.save(update_fields=["decided_by", "decided_at", "is_given"])
        if is_given:
            switch_on = operations.resume if row.goes_on else operations.go_live
            switch_on(journey=make_current(version=row.version), now=now)
    return row
