"""Which definition a journey follows: built-in ones, those of the shop, and how one follows another."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from datetime import datetime
from importlib import resources
from typing import Any

from django.db import transaction

from saleor_personalize.conf import settings
from saleor_personalize.enums import EventType, JourneySource
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys.definitions import Definition, Fault, InvalidJourney, Known
from saleor_personalize.journeys.triggers import Trigger, known_triggers, trigger_of
from saleor_personalize.messaging import destinations, topics
from saleor_personalize.messaging.rendering import channels_of, files_of, known_templates
from saleor_personalize.models import Installation, Journey, JourneyVersion, Segment
from saleor_personalize.recommendations.placements import shop_of
from saleor_personalize.segments.definition import InvalidDefinition, from_json


def known(installation: Installation | None = None) -> Known:
    """Return what definitions may name in this service, and, of a shop, of its own."""
    triggers = known_triggers()
    return Known(
        triggers={key: trigger.Options for key, trigger in triggers.items()},
        conditions={key: trigger.conditions for key, trigger in triggers.items()},
        topics=topics.known(),
        templates=known_templates(),
        transactional=tuple(settings.TRANSACTIONAL_TOPICS),
        follow_order=[key for key, trigger in triggers.items() if trigger.follows_order],
        asked_for=[key for key, trigger in triggers.items() if trigger.is_asked_for],
        delivery_channels=[*delivery_channels(), definitions.BEST],
        missing_words=_missing_words,
        placements=None if installation is None else shop_of(installation).placements.keys(),
        events=tuple(EventType.values),
        rule_faults=_rule_faults,
    )


def delivery_channels() -> list[str]:
    """Return the delivery channels that a journey may use: the service has them, and finds people there."""
    return [one for one in settings.CHANNELS if one in destinations.known()]


def trigger_for(definition: Definition) -> Trigger:
    """Return the trigger of a definition; it knows by which delivery channels the journey writes.

    Raises UnknownAlias, InvalidJourney.
    """
    ways = definitions.delivery_channels_of(definition, delivery_channels())
    return trigger_of(definition.trigger, delivery_channels=ways)


def _missing_words(template: str, delivery_channel: str) -> tuple[str, ...]:
    # That there is no such template at all is told of its name.
    if template not in known_templates() or delivery_channel in channels_of(template):
        return ()
    return files_of(delivery_channel)


def _rule_faults(rule: object) -> list[tuple[str, str]]:
    try:
        from_json(rule)
    except InvalidDefinition as error:
        return [(fault.path, fault.message) for fault in error.faults]
    return []


@functools.cache
def built_in() -> Mapping[str, Definition]:
    """Return the definitions that are shipped, by key of the journey."""
    folder = resources.files("saleor_personalize.journeys") / "builtin"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".yaml"):
            definition = definitions.load(file.read_text(encoding="utf-8"))
            found[definition.journey] = definition
    return found


@functools.cache
def _shipped_json(key: str) -> dict[str, Any]:
    return built_in()[key].to_json()


def ensure_journey(*, installation: Installation, key: str) -> Journey:
    """Return an installation's journey, made on first sight and not live.

    A built-in one follows what is shipped, unless the shop has published a definition of its own.
    Raises UnknownAlias for a key that is neither built in nor the shop's.
    """
    rows = Journey.objects.of(installation).select_related("published", "installation")
    journey = rows.filter(key=key).first()
    shipped = built_in().get(key)
    if journey is None and shipped is None:
        there = sorted({*built_in(), *rows.values_list("key", flat=True)})
        raise UnknownAlias(f"There is no journey {key!r}. Known: {', '.join(there)}.")
    if journey is None:
        journey = Journey.objects.get_or_create(installation=installation, key=key)[0]
    return up_to_date(journey)


def up_to_date(journey: Journey) -> Journey:
    """Let a journey that follows what is shipped follow what is shipped now."""
    shipped, current = built_in().get(journey.key), journey.published
    if shipped is not None and (
        current is None
        or (
            current.source == JourneySource.BUILT_IN
            and current.definition != _shipped_json(journey.key)
        )
    ):
        _publish(journey, shipped, JourneySource.BUILT_IN, None)
    return journey


def journeys_of(installation: Installation) -> list[Journey]:
    """Return every journey of a shop, the built-in ones included, by key."""
    rows = Journey.objects.of(installation).select_related("published", "installation")
    own = {row.key: row for row in rows}
    return [
        up_to_date(own[key]) if key in own else ensure_journey(installation=installation, key=key)
        for key in sorted({*built_in(), *own})
    ]


def publish(
    *, installation: Installation, definition: Definition, source: JourneySource, now: datetime
) -> JourneyVersion:
    """Let whoever comes in from now on follow this definition; those inside keep theirs.

    An unchanged definition makes no new version. A new journey is not live. Raises InvalidJourney when a
    live one would name a segment that the shop has not.
    """
    journey = Journey.objects.get_or_create(installation=installation, key=definition.journey)[0]
    if journey.is_live:
        check_segments(installation=installation, definition=definition)
    return _publish(journey, definition, source, now)


def check_segments(*, installation: Installation, definition: Definition) -> None:
    """Raise InvalidJourney when a definition waits for a segment that the shop has not: it never comes."""
    named = dict(definitions.segments_named(definition))
    if not named:
        return
    there = sorted(Segment.objects.of(installation).values_list("key", flat=True))
    faults = [
        Fault(
            where,
            f"is no segment of the shop (it has: {', '.join(there) or 'none'})",
            key,
            next(iter(difflib.get_close_matches(key, there, 1)), ""),
        )
        for where, key in named.items()
        if key not in there
    ]
    if faults:
        raise InvalidJourney(faults)


def _publish(
    journey: Journey, definition: Definition, source: JourneySource, now: datetime | None
) -> JourneyVersion:
    with transaction.atomic():
        row = _locked(journey)
        version = row.published
        if version is None or version.definition != definition.to_json():
            version = _add(row, definition, source, now)
            row.published = version
            row.save(update_fields=["published"])
    journey.published = version
    return version


def add_version(
    *, journey: Journey, definition: Definition, source: JourneySource, now: datetime
) -> JourneyVersion:
    """Keep a definition as a version that nobody follows yet; the newest one, if that says the same."""
    with transaction.atomic():
        row = _locked(journey)
        newest = row.versions.order_by("-number").first()
        if newest is not None and newest.definition == definition.to_json():
            return newest
        return _add(row, definition, source, now)


def make_current(*, version: JourneyVersion) -> Journey:
    """Let whoever comes in from now on follow a version that is there; return its journey."""
    with transaction.atomic():
        row = _locked(version.journey)
        row.published = version
        row.save(update_fields=["published"])
    return row


def _locked(journey: Journey) -> Journey:
    return (
        Journey.objects.of(journey.installation_id)
        .select_for_update(of=("self",))
        .select_related("published", "installation")
        .get(pk=journey.pk)
    )


def _add(
    journey: Journey, definition: Definition, source: JourneySource, now: datetime | None
) -> JourneyVersion:
    newest = journey.versions.order_by("-number").first()
    return JourneyVersion.objects.create(
        installation_id=journey.installation_id,
        journey=journey,
        number=newest.number + 1 if newest else 1,
        definition=definition.to_json(),
        source=source,
        created_at=now,
    )


def roll_back(
    *, journey: Journey, number: int, source: JourneySource, now: datetime
) -> JourneyVersion:
    """Publish an earlier version again, as a new one. Raises UnknownAlias for a number there is not."""
    found = journey.versions.filter(number=number).first()
    if found is None:
        numbers = ", ".join(str(n) for n in journey.versions.values_list("number", flat=True))
        raise UnknownAlias(f"{journey.key} has no version {number}. There are: {numbers}.")
    return _publish(journey, definition_of(found), source, now)


def definition_of(version: JourneyVersion) -> Definition:
    """Return the definition of a version. It was checked when it was published."""
    return _parsed(json.dumps(version.definition, sort_keys=True))


@functools.lru_cache(maxsize=512)
def _parsed(text: str) -> Definition:
    return definitions.parse(json.loads(text))


def priority_of(journey: Journey, version: JourneyVersion) -> int:
    """Return how important a journey is, 0 to 100: what the shop set, else what its definition says."""
    return journey.priority if journey.priority is not None else definition_of(version).priority
