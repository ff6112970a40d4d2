"""What a person did of late, read in one query at the moment of asking (B37)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from saleor_personalize.conf import settings
from saleor_personalize.enums import ConsentState, EventType, Purpose
from saleor_personalize.events.queries import NOT_CARRIED_OUT
from saleor_personalize.models import (
    Checkout,
    Consent,
    Event,
    Exposure,
    Order,
    OrderLine,
    Product,
    Profile,
    prepared,
)
from saleor_personalize.models.fields import month_of
from saleor_personalize.models.profiles import PERSON
from saleor_personalize.profiles import merging

#: A visit ends with a rest of this length.
REST = timedelta(minutes=30)
#: Further back than this, what was looked at says little.
LOOKED_BACK = timedelta(days=90)
#: What is handed to the recommenders as "of late" when nobody is in the shop just now.
OF_LATE = timedelta(days=2)
_MOST_EVENTS, _MOST_LINES, _MOST_OF_VISIT = 200, 500, 50

_KINDS = {
    EventType.PRODUCT_VIEWED.value: "view",
    EventType.CART_ADDED.value: "cart",
    EventType.FAVOURITE_ADDED.value: "favourite",
}

#: What takes back something of the kind.
_TAKEN_BACK = {
    EventType.CART_REMOVED.value: "cart",
    EventType.FAVOURITE_REMOVED.value: "favourite",
}

# Each part is bounded and served by an index of its own.
_READ = f"""
WITH {PERSON}
(SELECT 'event', profile_id, product_saleor_id, type, occurred_at, '', FALSE, 0
 FROM {Event._meta.db_table}
 WHERE profile_id IN (SELECT id FROM member) AND installation_id = %(installation)s
   AND occurred_at > %(since)s AND occurred_at <= %(until)s AND month >= %(month)s
   AND type = ANY (string_to_array(%(types)s, ' ')) AND product_saleor_id <> ''
 ORDER BY occurred_at DESC, id DESC LIMIT {_MOST_EVENTS})
UNION ALL
(SELECT 'bought', purchase.profile_id, line.product_saleor_id, '', purchase.placed_at,
   COALESCE(product.product_type, ''), purchase.user_saleor_id <> '', line.quantity
 FROM {Order._meta.db_table} AS purchase
 JOIN {OrderLine._meta.db_table} AS line ON line.order_id = purchase.id
 LEFT JOIN {Product._meta.db_table} AS product
   ON product.installation_id = %(installation)s AND product.saleor_id = line.product_saleor_id
 WHERE purchase.profile_id IN (SELECT id FROM member) AND purchase.installation_id = %(installation)s
   AND purchase.deleted_at IS NULL AND purchase.placed_at <= %(until)s
   AND line.product_saleor_id <> ''
   AND purchase.status <> ALL (string_to_array(%(not_carried_out)s, ' '))
 ORDER BY purchase.placed_at DESC, line.id LIMIT {_MOST_LINES})
UNION ALL
(SELECT 'cart', profile_id, line ->> 'product_id', '', last_changed_at, '',
   user_saleor_id <> '', 0
 FROM {Checkout._meta.db_table}, jsonb_array_elements(lines) AS line
 WHERE profile_id IN (SELECT id FROM member) AND installation_id = %(installation)s
   AND closed_at IS NULL AND deleted_at IS NULL AND last_changed_at > %(since)s
   AND line ->> 'product_id' <> ''
 ORDER BY last_changed_at DESC LIMIT {_MOST_EVENTS})
UNION ALL
-- `profiles.consent.may_profile`, in the same way to the database: a newest line that says no.
(SELECT 'refused', profile_id, '', '', recorded_at, '', FALSE, 0 FROM (
  SELECT DISTINCT ON (profile_id) profile_id, state, recorded_at FROM {Consent._meta.db_table}
  WHERE profile_id IN (SELECT id FROM member) AND installation_id = %(installation)s
    AND purpose = '{Purpose.PROFILING.value}' AND delivery_channel = '' AND topic = ''
  ORDER BY profile_id, id DESC
) AS newest WHERE state = '{ConsentState.DENIED.value}')
UNION ALL
(SELECT 'shown', profile_id, product_saleor_id, '', last_shown_at, '', FALSE, shown_count
 FROM {Exposure._meta.db_table}
 WHERE profile_id IN (SELECT id FROM member) AND installation_id = %(installation)s
   AND shown_count >= %(often)s AND last_shown_at > %(shown_since)s
 ORDER BY last_shown_at DESC LIMIT {_MOST_LINES})
"""  # noqa: S608 (the names of the tables are ours)


# One person is asked for all the time: that plan has nothing to join.
_READ_ONE = f"SELECT %(profile)s::bigint, did.* FROM ({_READ}) AS did"  # noqa: S608
_READ_EACH = f"""
SELECT asked.id, did.* FROM unnest(string_to_array(%(profiles)s, ' ')::bigint[]) AS asked(id)
CROSS JOIN LATERAL ({_READ.replace("%(profile)s", "asked.id")}) AS did
"""  # noqa: S608


class Purchase(NamedTuple):
    product_id: str
    product_type: str
    at: datetime


class Done(NamedTuple):
    """Something that was done with a product; `kind` as in `ml.InteractionEvent`."""

    product_id: str
    kind: str
    at: datetime


@dataclass(frozen=True)
class History:
    """What one person did, newest first. Empty for whom we do not know or who refused profiling.

    `bought` is all they bought, as a reason to leave it out. What is told to them (`own_purchases`,
    `done`, `carts`) is what they may read: never a cart or an order that merely carries their address.
    """

    visitor_id: str | None = None
    done: tuple[Done, ...] = ()
    bought: tuple[Purchase, ...] = ()
    own_purchases: tuple[Purchase, ...] = ()
    #: Products in carts that are still open.
    carts: tuple[str, ...] = ()
    #: (kind, product) of what was taken out of a cart or the favourites again.
    taken_back: frozenset[tuple[str, str]] = frozenset()
    #: Shown ROTATE_AFTER times or more since the last click.
    worn: frozenset[str] = field(default_factory=frozenset)

    @property
    def viewed(self) -> list[str]:
        """Products that were looked at, each once, the last one first."""
        return list(dict.fromkeys(each.product_id for each in self.done if each.kind == "view"))

    def visit(self, now: datetime) -> list[Done]:
        """Return what belongs to the visit going on, or else to the last days, oldest first."""
        found = self._going_on(now)
        if not found:
            found = [each for each in self.done if now - each.at <= OF_LATE]
        return found[:_MOST_OF_VISIT][::-1]

    def _going_on(self, now: datetime) -> list[Done]:
        found: list[Done] = []
        last = now
        for each in self.done:
            if last - each.at > REST:
                break
            found.append(each)
            last = each.at
        return found

    def at_hand(self, now: datetime) -> frozenset[str]:
        """Return what the person has already: what they look at just now, and what is in their cart."""
        visit = self._going_on(now)
        looked_at = [each.product_id for each in visit if each.kind == "view"][:1]
        put = [
            each.product_id
            for each in visit
            if each.kind == "cart" and ("cart", each.product_id) not in self.taken_back
        ]
        return frozenset([*looked_at, *put, *self.carts])

    def hidden(self, now: datetime) -> frozenset[str]:
        """Return what was bought too lately to be recommended again (HIDE_BOUGHT)."""
        kept = settings.HIDE_BOUGHT
        found = set()
        for product_id, product_type, at in self.bought:
            for_long = kept[product_type] if product_type in kept else kept.get("*", _DEFAULT)
            if for_long is None or at > now - for_long:
                found.add(product_id)
        return frozenset(found)


_DEFAULT = timedelta(days=30)

NOTHING = History()
#: Of somebody who refused profiling nothing is looked at.
REFUSED = History()


def read(profile: Profile, now: datetime) -> History:
    """Read what the person behind a profile did until `now`; REFUSED for who refused profiling."""
    return read_each([profile], now)[profile.pk]


def read_each(profiles: Sequence[Profile], now: datetime) -> dict[int, History]:
    """Return what `read` returns of each of a shop's profiles by its primary key, in one query."""
    if not profiles:
        return {}
    rows: dict[int, list[tuple[Any, ...]]] = {profile.pk: [] for profile in profiles}
    worn_for = settings.RETENTION.get("exposures") or LOOKED_BACK
    often = settings.ROTATE_AFTER or 2_000_000_000
    with prepared.cursor() as cursor:
        cursor.execute(
            _READ_ONE if len(profiles) == 1 else _READ_EACH,
            {
                "installation": profiles[0].installation_id,
                "profile": profiles[0].pk,
                "profiles": " ".join(str(pk) for pk in rows),
                "since": now - LOOKED_BACK,
                "until": now,
                "month": month_of(now - LOOKED_BACK),
                "types": " ".join([*_KINDS, *_TAKEN_BACK]),
                "not_carried_out": " ".join(NOT_CARRIED_OUT),
                "often": often,
                "shown_since": now - worn_for,
            },
        )
        for pk, *row in cursor.fetchall():
            rows[pk].append(tuple(row))
    return {profile.pk: _history(profile, rows[profile.pk]) for profile in profiles}


def _history(profile: Profile, rows: Sequence[tuple[Any, ...]]) -> History:
    if any(row[0] == "refused" for row in rows):
        return REFUSED
    owners = {row[1] for row in rows}
    readable = merging.readable(profile) if owners - {profile.pk} else {profile.pk}
    of_kind: dict[str, list[Any]] = {
        "event": [],
        "bought": [],
        "cart": [],
        "shown": [],
    }
    for row in rows:
        of_kind[row[0]].append(row)
    happened = [row for row in of_kind["event"] if row[1] in readable]
    # The newest comes first: it tells how things stand.
    newest: dict[tuple[str, str], str] = {}
    for row in happened:
        newest.setdefault((_TAKEN_BACK.get(row[3]) or _KINDS[row[3]], row[2]), row[3])
    bought = [(row, Purchase(row[2], row[5], row[4])) for row in of_kind["bought"]]
    return History(
        visitor_id=str(profile.person_id),
        done=tuple(Done(row[2], _KINDS[row[3]], row[4]) for row in happened if row[3] in _KINDS),
        taken_back=frozenset(key for key, type_ in newest.items() if type_ in _TAKEN_BACK),
        bought=tuple(each for _, each in bought),
        # An order of a guest carries an address that nobody proved.
        own_purchases=tuple(each for row, each in bought if row[6] and row[1] in readable),
        carts=_unique(row[2] for row in of_kind["cart"] if row[6] and row[1] in readable),
        worn=frozenset(row[2] for row in of_kind["shown"]),
    )


def _unique(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids))
