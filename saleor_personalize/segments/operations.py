"""Making segments, and keeping who is in them true: at each change, as the clock moves, now and then."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from saleor_personalize.models import ChangedProfile, Installation, Profile, Segment
from saleor_personalize.models.locks import lock, try_lock
from saleor_personalize.profiles.changes import mark_changed
from saleor_personalize.segments.definition import (
    Definition,
    Fault,
    InvalidDefinition,
    from_json,
    leaves,
)
from saleor_personalize.segments.evaluation import Moves, evaluate
from saleor_personalize.segments.rules import People
from saleor_personalize.segments.rules.base import close_to
from saleor_personalize.traits import operations as traits

logger = logging.getLogger(__name__)

#: How often everybody is looked at anew, for what no change tells us: a category that moved, a trait
#: that was worked out again.
FULL_EVALUATION_EVERY = timedelta(hours=6)
#: When a full evaluation that failed is tried again.
RETRY_AFTER = timedelta(minutes=5)
#: More people than this at one move of the clock (workers were down): everybody is looked at instead.
MAX_MOVED = 5_000
MAX_SEGMENTS = 200

_LOCK = "segments"
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")


# -- making them -------------------------------------------------------------------------------------


def hold(installation: Installation) -> None:
    """Keep every segment of a shop as it is until the end of the transaction."""
    lock(installation, [f"{_LOCK}:edit"])


def create_segment(
    *, installation: Installation, key: str, name: str, definition: Any, now: datetime
) -> Segment:
    """Make a segment; its members are found by the next evaluation, within seconds.

    `definition` is a `Definition` or its JSON. Raises InvalidDefinition with every fault; those of key
    and name have the path "key" and "name".
    """
    with transaction.atomic():
        hold(installation)
        others = {row.key: row for row in Segment.objects.of(installation)}
        faults = list(_name_faults(name))
        if not _KEY.fullmatch(key):
            faults.append(
                Fault("key", _("1 to 60 small letters, digits, “-” or “_”, such as “big-spenders”"))
            )
        elif key in others:
            faults.append(Fault("key", _("there is a segment with this key already")))
        if len(others) >= MAX_SEGMENTS:
            faults.append(Fault("", _("at most %(count)d segments") % {"count": MAX_SEGMENTS}))
        found = _checked(definition, key, others, faults)
        return Segment.objects.create(
            installation=installation,
            key=key,
            name=name.strip(),
            definition=found.to_json(),
            created_at=now,
            updated_at=now,
            full_evaluation_due_at=now,
        )


def update_segment(
    *,
    segment: Segment,
    now: datetime,
    name: str | None = None,
    definition: Any = None,
    is_active: bool | None = None,
) -> Segment:
    """Change what is given. Raises InvalidDefinition.

    A changed definition makes people enter and leave without telling integrators: nobody did anything.
    While a segment is not active, its members stay as they are.
    """
    installation = segment.installation
    with transaction.atomic():
        hold(installation)
        others = {row.key: row for row in Segment.objects.of(installation)}
        faults = [] if name is None else list(_name_faults(name))
        values: dict[str, Any] = {"updated_at": now}
        if definition is not None:
            found = _checked(definition, segment.key, others, faults)
            if found.to_json() != segment.definition:
                values |= {
                    "definition": found.to_json(),
                    "evaluated_at": None,
                    "full_evaluation_due_at": now,
                }
        elif faults:
            raise InvalidDefinition(faults)
        if name is not None:
            values["name"] = name.strip()
        if is_active is not None and is_active != segment.is_active:
            values |= {"is_active": is_active, "evaluated_at": None, "full_evaluation_due_at": now}
        for field, value in values.items():
            setattr(segment, field, value)
        segment.save(update_fields=list(values))
        return segment


def delete_segment(*, segment: Segment) -> None:
    """Delete a segment and its memberships. Raises InvalidDefinition while another one builds on it."""
    with transaction.atomic():
        hold(segment.installation)
        users = [
            row.name
            for row in Segment.objects.of(segment.installation)
            if row.key != segment.key and segment.key in needed(row.definition)
        ]
        if users:
            text = _("“%(name)s” builds on this segment: change that one first") % {
                "name": users[0]
            }
            raise InvalidDefinition([Fault("", text)])
        segment.delete()


def _name_faults(name: str) -> Iterator[Fault]:
    if not name.strip() or len(name.strip()) > 200 or not name.isprintable():
        yield Fault("name", _("1 to 200 printable characters"))


def _checked(
    definition: Any, key: str, others: dict[str, Segment], faults: list[Fault]
) -> Definition:
    """Return the definition of the segment `key`; raise InvalidDefinition with all faults so far."""
    found: Definition | None = None
    try:
        found = from_json(definition.to_json() if hasattr(definition, "to_json") else definition)
    except InvalidDefinition as error:
        faults.extend(Fault(_in_definition(f.path), f.message) for f in error.faults)
    if found is not None:
        for path, rule in leaves(found):
            if rule.needs_segment:
                text = _segment_fault(rule.needs_segment, key, others)
                if text:
                    faults.append(Fault(_in_definition(f"{path}.segment".lstrip(".")), text))
    if faults or found is None:
        raise InvalidDefinition(faults)
    return found


def _in_definition(path: str) -> str:
    return f"definition.{path}" if path else "definition"


def _segment_fault(wanted: str, key: str, others: dict[str, Segment]) -> str:
    if wanted == key:
        return _("a segment cannot build on itself")
    if wanted not in others:
        return _("there is no segment “%(key)s”.") % {"key": wanted} + close_to(wanted, others)
    waiting, seen = [wanted], set()
    while waiting:
        at = waiting.pop()
        if at == key:
            return _("“%(key)s” builds on this segment already") % {"key": wanted}
        if at not in seen:
            seen.add(at)
            waiting.extend(needed(others[at].definition) if at in others else ())
    return ""


def needed(definition: Any) -> set[str]:
    """Return the keys of the segments that a stored definition builds on."""
    try:
        return {rule.needs_segment for _path, rule in leaves(from_json(definition))} - {""}
    except InvalidDefinition:
        return set()


# -- keeping them true -------------------------------------------------------------------------------


def evaluate_full(*, segment: Segment, now: datetime) -> Moves:
    """Look at everybody, in one statement of the database; return who moved.

    Integrators are told, except the first time after the definition changed.
    """
    with transaction.atomic():
        lock(segment.installation, [_LOCK])
        # Somebody may have changed or deleted it while we waited.
        rows = Segment.objects.of(segment.installation).filter(pk=segment.pk, is_active=True)
        found = rows.select_related("installation").first()
        return Moves() if found is None else _look_at_everybody(found, now)


def _look_at_everybody(segment: Segment, now: datetime) -> Moves:
    definition = _definition(segment)
    if definition is None:
        Segment.objects.of(segment.installation).filter(pk=segment.pk).update(
            full_evaluation_due_at=_next_full_evaluation(segment, now)
        )
        return Moves()
    return _evaluate_full(segment, definition, now)


def _next_full_evaluation(segment: Segment, now: datetime) -> datetime:
    """Return a moment of its own for each segment, so that they do not come all at once."""
    return now + FULL_EVALUATION_EVERY * (0.75 + segment.pk % 100 / 400)


def _evaluate_full(segment: Segment, definition: Definition, now: datetime) -> Moves:
    now = max(now, segment.evaluated_at or now)
    moves = evaluate(
        segment,
        definition,
        People(segment.installation, now),
        tells=segment.evaluated_at is not None,
    )
    segment.evaluated_at = now
    segment.full_evaluation_due_at = _next_full_evaluation(segment, now)
    segment.save(update_fields=["evaluated_at", "full_evaluation_due_at"])
    if moves:
        dependents = [
            row.pk
            for row in Segment.objects.of(segment.installation)
            if segment.key in needed(row.definition)
        ]
        Segment.objects.of(segment.installation).filter(pk__in=dependents).update(
            full_evaluation_due_at=now
        )
    return moves


def evaluate_due(*, now: datetime, limit: int | None = None) -> int:
    """Look at everybody for each segment that is due, at most `limit`; return how many segments were.

    A shop that another worker is busy with is left to that one.
    """
    rows = Segment.objects.filter(full_evaluation_due_at__lte=now, is_active=True)
    count = 0
    for installation_rows in _by_installation(rows.select_related("installation")):
        for segment in _in_order(installation_rows):
            if count == limit:
                return count
            with _going_on(segment, now + RETRY_AFTER):
                if not try_lock(segment.installation, _LOCK):
                    break
                # Another worker may have come first.
                found = rows.filter(pk=segment.pk).select_related("installation").first()
                if found is not None:
                    count += 1
                    _look_at_everybody(found, now)
    return count


def evaluate_clock(*, now: datetime) -> Moves:
    """Let the clock move people: those for whom a window or a limit of age passed since the last look."""
    rows = Segment.objects.filter(is_active=True, evaluated_at__lt=now)
    total = Moves()
    for installation_rows in _by_installation(rows.select_related("installation")):
        for segment in _in_order(installation_rows):
            with _going_on(segment, now):
                if not try_lock(segment.installation, _LOCK):
                    break
                total += _evaluate_clock(segment, now)
    return total


def _evaluate_clock(segment: Segment, now: datetime) -> Moves:
    definition = _definition(segment)
    if segment.evaluated_at is None:
        return Moves()
    if definition is None:
        # Its members stay as they are, which is told on the page; nothing waits for a worker.
        Segment.objects.of(segment.installation).filter(pk=segment.pk).update(evaluated_at=now)
        return Moves()
    everybody = People(segment.installation, now)
    ids: set[int] = set()
    for persons in definition.moved(everybody, segment.evaluated_at):
        ids.update(id_ for (id_,) in persons.values_list("person")[: MAX_MOVED + 1])
        if len(ids) > MAX_MOVED:
            return _evaluate_full(segment, definition, now)
    moves = Moves()
    if ids:
        people = _people(segment.installation, ids, now)
        moves = evaluate(segment, definition, people, tells=True)
        if moves and _is_needed(segment):
            mark_changed(installation=segment.installation, profiles=ids, now=now)
    segment.evaluated_at = now
    segment.save(update_fields=["evaluated_at"])
    return moves


def _is_needed(segment: Segment) -> bool:
    rows = Segment.objects.of(segment.installation).exclude(pk=segment.pk)
    return any(segment.key in needed(row.definition) for row in rows)


def evaluate_changed(*, now: datetime, limit: int = 1_000) -> int:
    """Look again at people about whom something changed; return how many changes were taken.

    Up to `limit` changes per shop, oldest first; a shop that another worker is busy with is left to
    that one.
    """
    shops = Installation.objects.filter(
        pk__in=ChangedProfile.objects.order_by().values("installation").distinct()
    )
    return sum(_evaluate_changed(shop, now, limit) for shop in shops)


def _evaluate_changed(installation: Installation, now: datetime, limit: int) -> int:
    with transaction.atomic():
        if not try_lock(installation, _LOCK):
            return 0
        changes = list(
            ChangedProfile.objects.of(installation)
            .select_for_update(skip_locked=True)
            .order_by("changed_at", "pk")
            .values_list("pk", "profile", "has_ordered")[:limit]
        )
        if not changes:
            return 0
        ids = {profile for _pk, profile, _has_ordered in changes}
        ordered = {profile for _pk, profile, has_ordered in changes if has_ordered}
        _refresh_traits(installation, ids, ordered, now)
        people = _people(installation, ids, now)
        # A segment that nobody filled yet looks at everybody soon.
        rows = Segment.objects.of(installation).filter(is_active=True).exclude(evaluated_at=None)
        for segment in _in_order(list(rows.select_related("installation"))):
            definition = _definition(segment)
            if definition is None:
                continue
            # Another worker's clock may be ahead of this one: nobody goes back behind it.
            at = max(now, segment.evaluated_at or now)
            with _going_on(segment, now):
                evaluate(segment, definition, replace(people, now=at), tells=True)
        ChangedProfile.objects.of(installation).filter(
            pk__in=[pk for pk, *_rest in changes]
        ).delete()
        return len(changes)


def _refresh_traits(
    installation: Installation, profiles: set[int], ordered: set[int], now: datetime
) -> None:
    """Let nobody leave and enter over traits that are behind; if that fails, they stay behind a day."""
    try:
        with transaction.atomic():
            traits.refresh(installation=installation, profiles=profiles, ordered=ordered, now=now)
    except DatabaseError as error:
        # The text of the error may quote what is known of a person.
        logger.error(  # noqa: TRY400
            "Installation %s: traits of %s profiles could not be worked out (%s).",
            installation.pk,
            len(profiles),
            type(error.__cause__ or error).__name__,
        )


def _people(installation: Installation, profiles: Iterable[int], now: datetime) -> People:
    """Return the persons behind some profiles, with all profiles of each."""
    rows = Profile.objects.of(installation)
    speaker = Coalesce("merged_into", "pk")
    persons = set(rows.filter(pk__in=profiles).values_list(speaker, flat=True))
    all_of_them = rows.filter(Q(pk__in=persons) | Q(merged_into__in=persons))
    return People(installation, now, tuple(all_of_them.values_list("pk", flat=True)))


def _definition(segment: Segment) -> Definition | None:
    """Return the stored definition, None when it cannot be used: a rule is gone from SEGMENT_RULES."""
    try:
        return from_json(segment.definition)
    except InvalidDefinition as error:
        # A traceback would tell nothing more.
        logger.warning("Segment %s is not evaluated: %s", segment.pk, error)
        return None


@contextmanager
def _going_on(segment: Segment, again_at: datetime) -> Iterator[None]:
    """Run in a transaction; one segment that cannot be evaluated must not hold up the others."""
    try:
        with transaction.atomic():
            yield
    except DatabaseError as error:
        # The text of the error may quote what is known of a person.
        logger.error(  # noqa: TRY400
            "Segment %s could not be evaluated (%s); everybody is looked at again at %s.",
            segment.pk,
            type(error.__cause__ or error).__name__,
            again_at,
        )
        Segment.objects.of(segment.installation).filter(pk=segment.pk).update(
            full_evaluation_due_at=again_at
        )


def _by_installation(rows: Any) -> Iterator[list[Segment]]:
    found: dict[int, list[Segment]] = {}
    for row in rows.order_by("pk"):
        found.setdefault(row.installation_id, []).append(row)
    yield from found.values()


def _in_order(segments: Sequence[Segment]) -> list[Segment]:
    """Return segments so that each comes after those it builds on."""
    waiting = {segment.key: (segment, needed(segment.definition)) for segment in segments}
    ordered: list[Segment] = []
    while waiting:
        ready = [key for key, (_s, needs) in waiting.items() if not needs & waiting.keys()]
        # There are no circles; should a stored one exist all the same, nothing hangs.
        for key in ready or list(waiting):
            ordered.append(waiting.pop(key)[0])
    return ordered
