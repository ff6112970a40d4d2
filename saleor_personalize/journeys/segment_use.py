"""Segments that decide something in journeys: where each is used, and when it may be changed.

A segment that a live journey follows says who is written to as much as the journey does. With
GO_LIVE_APPROVAL nobody changes it alone: whoever would pauses the journey first, and it needs another yes
to go on (`approval`), or another segment is made and the journey's next version, which is approved, follows that.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys.definitions import Definition
from saleor_personalize.journeys.versions import definition_of
from saleor_personalize.models import Installation, Journey, Segment
from saleor_personalize.segments import operations
from saleor_personalize.segments.definition import Fault, InvalidDefinition


def segments_of(*, installation: Installation, definition: Definition) -> set[str]:
    """Return the keys of the segments that decide something in a journey, those that they build on included."""
    return _followed(definition, _built_on(installation))


def users(*, installation: Installation) -> dict[str, list[Journey]]:
    """Return by the key of a segment the journeys whose published version follows it, by key."""
    built_on = _built_on(installation)
    found: dict[str, list[Journey]] = {}
    rows = Journey.objects.of(installation).exclude(published=None).select_related("published")
    for journey in rows.order_by("key"):
        if journey.published is not None:
            for key in _followed(definition_of(journey.published), built_on):
                found.setdefault(key, []).append(journey)
    return found


def changed_at(*, installation: Installation, definition: Definition) -> datetime | None:
    """Return when a segment that decides something in a journey was last changed; None: it follows none."""
    followed = segments_of(installation=installation, definition=definition)
    if not followed:
        return None
    rows = Segment.objects.of(installation).filter(key__in=followed)
    latest: datetime | None = rows.aggregate(at=Max("updated_at"))["at"]
    return latest


def update_segment(
    *, segment: Segment, now: datetime, why_not_send: str = "", **changes: Any
) -> Segment:
    """Change a segment as `segments.operations.update_segment` does.

    `why_not_send`: why whoever does it may not have anything sent to customers; "": they may. Raises
    InvalidDefinition also where a live journey follows it and they may not, or somebody else has to say yes first
    (GO_LIVE_APPROVAL): then nothing changes. Its name may be changed at any time.
    """
    before = (segment.definition, segment.is_active)
    with transaction.atomic():
        changed = operations.update_segment(segment=segment, now=now, **changes)
        if (changed.definition, changed.is_active) != before:
            if settings.GO_LIVE_APPROVAL:
                _refuse_while_live(segment)
            elif why_not_send and _live(segment):
                raise InvalidDefinition([Fault("", why_not_send)])
    return changed


def delete_segment(*, segment: Segment) -> None:
    """Delete a segment as `segments.operations.delete_segment` does; never while a live journey follows it."""
    with transaction.atomic():
        _refuse_while_live(segment)
        operations.delete_segment(segment=segment)


def _refuse_while_live(segment: Segment) -> None:
    if live := ", ".join(_live(segment)):
        text = _(
            "these live journeys follow this segment: %(journeys)s. Pause them first, or make another "
            "segment and have them follow that"
        )
        raise InvalidDefinition([Fault("", text % {"journeys": live})])


def _live(segment: Segment) -> list[str]:
    """Return the keys of the live journeys that follow a segment."""
    journeys = users(installation=segment.installation).get(segment.key, [])
    return [journey.key for journey in journeys if journey.is_live]


def _built_on(installation: Installation) -> dict[str, set[str]]:
    """Return key -> the keys of the segments that it builds on directly."""
    rows = Segment.objects.of(installation).values_list("key", "definition")
    return {key: operations.needed(definition) for key, definition in rows}


def _followed(definition: Definition, built_on: Mapping[str, set[str]]) -> set[str]:
    waiting = {key for _where, key in definitions.segments_named(definition)}
    for _path, step in definitions.walk(definition):
        if isinstance(step, definitions.Split) and step.rule is not None:
            waiting |= operations.needed(step.rule)
    found: set[str] = set()
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting |= built_on.get(key, set())
    return found
