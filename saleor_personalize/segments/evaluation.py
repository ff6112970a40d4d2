"""Bringing the memberships of one segment in line with its definition, in one statement."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction

from saleor_personalize import bus, signals
from saleor_personalize.enums import BusEvent
from saleor_personalize.models import Profile, Segment, SegmentMembership
from saleor_personalize.segments.definition import Definition, matching
from saleor_personalize.segments.rules import People

_MEMBERSHIPS = SegmentMembership._meta.db_table
_PROFILES = Profile._meta.db_table

# Memberships of a profile that was absorbed since go over to the one that speaks for the person now ...
_HEAL = f"""
UPDATE {_MEMBERSHIPS} SET profile_id = healed.person_id FROM (
  SELECT DISTINCT ON (profile.merged_into_id) membership.id, profile.merged_into_id AS person_id
  FROM {_MEMBERSHIPS} AS membership JOIN {_PROFILES} AS profile ON profile.id = membership.profile_id
  WHERE membership.segment_id = %(segment)s AND membership.left_at IS NULL
    AND (%(ids)s::bigint[] IS NULL OR membership.profile_id = ANY(%(ids)s))
    AND profile.merged_into_id IS NOT NULL
    AND NOT EXISTS (
      SELECT FROM {_MEMBERSHIPS} AS own WHERE own.segment_id = membership.segment_id
        AND own.profile_id = profile.merged_into_id AND own.left_at IS NULL
    )
  ORDER BY profile.merged_into_id, membership.entered_at, membership.id
) AS healed WHERE {_MEMBERSHIPS}.id = healed.id
"""  # noqa: S608 (the names of the tables are ours)
# ... and if that one is a member already, they end: the person stays in.
_END_DOUBLES = f"""
UPDATE {_MEMBERSHIPS} AS membership SET left_at = %(now)s FROM {_PROFILES} AS profile
WHERE profile.id = membership.profile_id AND membership.segment_id = %(segment)s
  AND membership.left_at IS NULL AND profile.merged_into_id IS NOT NULL
  AND (%(ids)s::bigint[] IS NULL OR membership.profile_id = ANY(%(ids)s))
"""  # noqa: S608

_EVALUATE = f"""
WITH matching (id) AS MATERIALIZED ({{matching}}),
entered AS (
  INSERT INTO {_MEMBERSHIPS} (installation_id, segment_id, profile_id, entered_at)
  SELECT %s, %s, matching.id, %s FROM matching
  WHERE NOT EXISTS (
    SELECT FROM {_MEMBERSHIPS} AS known
    WHERE known.segment_id = %s AND known.profile_id = matching.id AND known.left_at IS NULL
  )
  RETURNING profile_id
),
gone AS (
  UPDATE {_MEMBERSHIPS} AS known SET left_at = %s
  WHERE known.segment_id = %s AND known.left_at IS NULL AND (%s::bigint[] IS NULL OR known.profile_id = ANY(%s))
    AND NOT EXISTS (SELECT FROM matching WHERE matching.id = known.profile_id)
  RETURNING profile_id
)
"""  # noqa: S608
_COUNTS = "SELECT (SELECT count(*) FROM entered), (SELECT count(*) FROM gone)"
_ROWS = "SELECT profile_id, true FROM entered UNION ALL SELECT profile_id, false FROM gone"

#: Profiles read at once to tell integrators about.
_CHUNK = 1_000


@dataclass(frozen=True)
class Moves:
    """How many people entered and left."""

    entered: int = 0
    left: int = 0

    def __add__(self, other: Moves) -> Moves:
        return Moves(self.entered + other.entered, self.left + other.left)

    def __bool__(self) -> bool:
        return bool(self.entered or self.left)


def evaluate(segment: Segment, definition: Definition, people: People, *, tells: bool) -> Moves:
    """Let people in and out; with `tells`, integrators hear of each one after the commit.

    Needs a transaction that holds the shop's lock of segments.
    """
    ids = None if people.profile_ids is None else list(people.profile_ids)
    found = matching(definition, people).order_by().values("pk")
    try:
        sql, parameters = found.query.sql_with_params()
    except EmptyResultSet:
        sql, parameters = "SELECT NULL::bigint AS id WHERE false", ()
    now, key = people.now, segment.pk
    with connection.cursor() as cursor:
        cursor.execute(_HEAL, {"segment": key, "ids": ids})
        cursor.execute(_END_DOUBLES, {"segment": key, "ids": ids, "now": now})
        cursor.execute(
            _EVALUATE.format(matching=sql) + (_ROWS if tells else _COUNTS),
            [*parameters, segment.installation_id, key, now, key, now, key, ids, ids],
        )
        rows = cursor.fetchall()
    if not tells:
        return Moves(*rows[0])
    entered = [id_ for id_, has_entered in rows if has_entered]
    left = [id_ for id_, has_entered in rows if not has_entered]
    bus.publish_each(
        installation=segment.installation,
        event=BusEvent.SEGMENT_ENTERED,
        facts=[bus.Fact({"segment": segment.key}, profile_id=id_) for id_ in entered],
        now=now,
    )
    if rows:
        transaction.on_commit(functools.partial(_tell, segment, entered, left, now))
    return Moves(len(entered), len(left))


def _tell(segment: Segment, entered: Sequence[int], left: Sequence[int], at: datetime) -> None:
    for signal, ids in ((signals.segment_entered, entered), (signals.segment_left, left)):
        if not signal.has_listeners(Segment):
            continue
        for profile in _profiles(segment, ids):
            signal.send_robust(
                Segment,
                installation=segment.installation,
                segment=segment,
                profile=profile,
                at=at,
            )


def _profiles(segment: Segment, ids: Sequence[int]) -> Iterable[Profile]:
    for start in range(0, len(ids), _CHUNK):
        yield from Profile.objects.of(segment.installation).filter(
            pk__in=ids[start : start + _CHUNK]
        )
