"""Working out what is typical of each person: daily for everybody, and at once for who ordered.

Of somebody who refused profiling nothing is worked out (`profiles.consent`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce

from saleor_personalize.models import ComputedTraits, Installation, Profile, Yardstick
from saleor_personalize.models.locks import lock
from saleor_personalize.profiles import consent
from saleor_personalize.profiles.changes import mark_changed
from saleor_personalize.traits import predictions, yardsticks
from saleor_personalize.traits.facts import Facts, facts_of
from saleor_personalize.traits.measures import score_of, stage_of, written

logger = logging.getLogger(__name__)

#: People of one transaction: few enough that nobody waits long for its lock.
BATCH = 1_000

_LOCK = "traits"
#: What groups of people are made of. Risks and dates drift a little every day: those who group people
#: by them look at everybody now and then.
_TELLING = ("order_count", "stage", "recency_score", "frequency_score", "monetary_score")
_COLUMNS = [
    field.name
    for field in ComputedTraits._meta.concrete_fields
    if field.name not in {"id", "installation", "profile"}
]

# Not those whom somebody is deleting just now.
_HOLD = f"""
SELECT id FROM "{Profile._meta.db_table}"
WHERE installation_id = %s AND id = ANY(%s) AND merged_into_id IS NULL
ORDER BY id FOR KEY SHARE SKIP LOCKED
"""  # noqa: S608 (the name of the table is ours)
_OUTDATED = f"""
SELECT profile.id FROM "{Profile._meta.db_table}" AS profile
LEFT JOIN "{ComputedTraits._meta.db_table}" AS row ON row.profile_id = profile.id
WHERE profile.installation_id = %s AND profile.id > %s AND merged_into_id IS NULL
  AND (row.id IS NULL OR row.computed_at < %s OR %s)
ORDER BY profile.id LIMIT %s
"""  # noqa: S608


def compute(
    *,
    installation: Installation,
    profiles: Iterable[Profile | int] | None = None,
    now: datetime,
) -> int:
    """Work out the traits of the people behind some profiles; by default of everybody, measured anew.

    Returns how many people have a row now. Who came to stand elsewhere is noted for the segments.
    """
    if profiles is None:
        yardsticks.measure(installation=installation, now=now)
        return _catch_up(installation, now, everybody=True)
    return _of_people(installation, _people(installation, profiles), now, tells=True)


def compute_due(*, installation: Installation, now: datetime) -> int:
    """Work out what is a day old or missing; return how many people it was.

    Safe beside itself: each batch looks anew at what is left.
    """
    with transaction.atomic():
        lock(installation, [_LOCK])
        if yardsticks.is_due(installation=installation, now=now):
            yardsticks.measure(installation=installation, now=now)
    return _catch_up(installation, now, everybody=False)


def refresh(
    *,
    installation: Installation,
    profiles: Iterable[int],
    ordered: Collection[int],
    now: datetime,
) -> int:
    """Bring up to now those of some profiles who have no row yet or ordered; return how many people.

    For whoever looks at these people next, so nobody is told.
    """
    people = _people(installation, profiles)
    known = ComputedTraits.objects.of(installation).filter(profile__in=people)
    wanted = people - set(known.values_list("profile_id", flat=True))
    return _of_people(installation, wanted | _people(installation, ordered), now, tells=False)


def _catch_up(installation: Installation, now: datetime, *, everybody: bool) -> int:
    count, last = 0, 0
    while True:
        with transaction.atomic():
            lock(installation, [_LOCK])
            yardstick = Yardstick.objects.of(installation).get()
            with connection.cursor() as cursor:
                since = yardstick.measured_at
                cursor.execute(_OUTDATED, [installation.pk, last, since, everybody, BATCH])
                batch = [pk for (pk,) in cursor.fetchall()]
            if not batch:
                return count
            count += _write(installation, batch, yardstick, now, tells=True)
            last = batch[-1]


def _people(installation: Installation, profiles: Iterable[Profile | int]) -> set[int]:
    """Return the keys of the profiles that speak for the people behind some profiles."""
    ids = {profile if isinstance(profile, int) else profile.pk for profile in profiles}
    rows = Profile.objects.of(installation).filter(pk__in=ids)
    return set(rows.values_list(Coalesce("merged_into", "pk"), flat=True))


def _of_people(
    installation: Installation, people: Collection[int], now: datetime, *, tells: bool
) -> int:
    ordered = sorted(people)
    count = 0
    for start in range(0, len(ordered), BATCH):
        with transaction.atomic():
            lock(installation, [_LOCK])
            yardstick = Yardstick.objects.of(installation).first()
            if yardstick is None:
                yardstick = yardsticks.measure(installation=installation, now=now)
            count += _write(
                installation, ordered[start : start + BATCH], yardstick, now, tells=tells
            )
    return count


def _write(
    installation: Installation,
    people: list[int],
    yardstick: Yardstick,
    now: datetime,
    *,
    tells: bool,
) -> int:
    """Write the rows of people. Needs the lock: what is read after it is all that was committed."""
    held = _hold(installation, people)
    stored = _claim(installation, held)
    rows = ComputedTraits.objects.of(installation).filter(profile__in=held)
    # Whose row is taken, is being joined or split just now: that tells of itself.
    taken = set(rows.values_list("profile_id", flat=True)) - set(stored)
    refused = _refused(installation, held)
    wanted = sorted(held - taken - refused)
    facts = facts_of(installation=installation, persons=wanted)
    limits = yardsticks.limits_of(yardstick)
    found = {
        person: ComputedTraits(
            installation=installation,
            profile_id=person,
            computed_at=now,
            **_values(facts[person], yardstick, limits, now),
        )
        for person in wanted
    }
    predictions.foretell(installation=installation, rows=found, facts=facts, now=now)
    same = {person for person, row in found.items() if _is_same(stored.get(person), row)}
    rows.filter(profile__in=same).update(computed_at=now)
    ComputedTraits.objects.bulk_create(
        [row for person, row in found.items() if person not in same],
        update_conflicts=True,
        unique_fields=["profile"],
        update_fields=_COLUMNS,
    )
    rows.filter(profile__in=refused).delete()
    if tells:
        moved = {person for person, row in found.items() if _stands_elsewhere(stored, person, row)}
        mark_changed(installation=installation, profiles=moved | (refused & set(stored)), now=now)
    return len(found)


def _hold(installation: Installation, people: list[int]) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, [installation.pk, people])
        return {pk for (pk,) in cursor.fetchall()}


def _claim(installation: Installation, people: set[int]) -> dict[int, ComputedTraits]:
    rows = ComputedTraits.objects.of(installation).filter(profile__in=people)
    return {row.profile_id: row for row in rows.select_for_update(skip_locked=True)}


def _refused(installation: Installation, people: set[int]) -> set[int]:
    members = Profile.objects.of(installation).filter(Q(pk__in=people) | Q(merged_into__in=people))
    return consent.refused_profiling(installation=installation, profiles=members)


def _is_same(before: ComputedTraits | None, row: ComputedTraits) -> bool:
    """Tell whether nothing differs from what is stored, as on most days of most people."""
    return before is not None and all(
        getattr(before, name) == getattr(row, name) for name in _COLUMNS if name != "computed_at"
    )


def _stands_elsewhere(
    stored: Mapping[int, ComputedTraits], person: int, row: ComputedTraits
) -> bool:
    before = stored.get(person)
    return before is None or any(getattr(before, name) != getattr(row, name) for name in _TELLING)


def _values(
    facts: Facts, yardstick: Yardstick, limits: yardsticks.Limits, now: datetime
) -> dict[str, Any]:
    main = next(iter(facts.spent), "")
    return {
        "order_count": facts.order_count,
        "first_ordered_at": facts.first_ordered_at,
        "last_ordered_at": facts.last_ordered_at,
        "spent": {currency: written(*one) for currency, one in facts.spent.items()},
        "top_categories": facts.categories,
        "top_brands": facts.brands,
        "preferred_device": facts.device,
        "preferred_hour": facts.hour,
        "preferred_delivery_channel": facts.delivery_channel,
        "recency_score": score_of(facts.last_ordered_at, limits.recency),
        "frequency_score": score_of(facts.order_count or None, limits.frequency),
        "monetary_score": score_of(facts.spent[main][1], limits.monetary.get(main, []))
        if main
        else None,
        "stage": stage_of(
            order_count=facts.order_count,
            last_ordered_at=facts.last_ordered_at,
            at_risk_days=yardstick.at_risk_days,
            lapsed_days=yardstick.lapsed_days,
            now=now,
        ),
    }
