"""Which answer of ours led to what: every recommendation carries a signed id that events bring back.

An id tells placement, strategy, sales channel and time of the answer, so nobody has to be believed about
them. It holds nothing of a person, and one shop's ids mean nothing in another.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from django.core import signing
from django.db import connection

from saleor_personalize.conf import settings
from saleor_personalize.enums import EventType
from saleor_personalize.events.queries import NOT_CARRIED_OUT
from saleor_personalize.models import Event, Installation, Order, OrderLine, Profile

#: Longest id that is read. A slug has at most 255 characters.
MAX_LENGTH = 1_000


@dataclass(frozen=True, slots=True)
class Attribution:
    """What an id says. `answer` is the same for all products of one answer."""

    answer: str
    placement: str
    strategy: str
    channel_slug: str
    answered_at: datetime


class Signer:
    """Makes the ids of one answer: one per strategy in it."""

    def __init__(
        self, *, installation: Installation, placement: str, channel_slug: str, now: datetime
    ) -> None:
        self._signer = _signer(installation)
        self._placement = placement
        self._channel_slug = channel_slug
        self._now = now
        self._answer = ""
        self._made: dict[str, str] = {}

    def __call__(self, strategy: str) -> str:
        made = self._made.get(strategy)
        if made is None:
            self._answer = self._answer or secrets.token_urlsafe(12)
            at = int(self._now.timestamp())
            claims = [self._answer, at, self._placement, strategy, self._channel_slug]
            made = self._made[strategy] = self._signer.sign_object(claims)
        return made


def read(*, installation: Installation, attribution_id: str) -> Attribution | None:
    """Return what an id says; None when it is none that this shop was given."""
    if len(attribution_id) > MAX_LENGTH:
        return None
    try:
        answer, at, placement, strategy, channel_slug = _signer(installation).unsign_object(
            attribution_id
        )
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return Attribution(
        answer, placement, strategy, channel_slug, datetime.fromtimestamp(at, tz=UTC)
    )


def _signer(installation: Installation) -> signing.Signer:
    return signing.Signer(salt=f"saleor_personalize.attribution.{installation.pk}")


@dataclass(frozen=True, slots=True)
class Touchpoints:
    """What became of the answers of a placement, by strategy and sales channel.

    `shown`, `clicked` and `added` count answers: of one answer and one person a hundred clicks are one.
    `ordered` counts orders, each at the last answer through which one of its products was clicked or put
    into the cart.
    """

    placement: str
    strategy: str
    channel_slug: str
    shown: int
    clicked: int
    added: int
    ordered: int


_COUNT = f"""
WITH touched AS (
    SELECT COALESCE(profile.merged_into_id, profile.id) AS person, event.type, event.attribution_id,
        event.product_saleor_id, event.occurred_at, event.channel_slug,
        COALESCE(event.properties ->> 'placement', '') AS placement,
        COALESCE(event.properties ->> 'strategy', '') AS strategy
    FROM {Event._meta.db_table} AS event
    JOIN {Profile._meta.db_table} AS profile ON profile.id = event.profile_id
    WHERE event.installation_id = %(installation)s AND event.attribution_id <> ''
        AND event.occurred_at >= %(since)s - %(window)s AND event.occurred_at < %(until)s
), answers AS (
    SELECT placement, strategy, channel_slug,
        COUNT(DISTINCT (person, attribution_id)) FILTER (WHERE type = %(shown)s) AS shown,
        COUNT(DISTINCT (person, attribution_id)) FILTER (WHERE type = %(clicked)s) AS clicked,
        COUNT(DISTINCT (person, attribution_id)) FILTER (WHERE type = %(added)s) AS added
    FROM touched WHERE occurred_at >= %(since)s
    GROUP BY placement, strategy, channel_slug
), led AS (
    SELECT DISTINCT ON (placed.id) touched.placement, touched.strategy, touched.channel_slug
    FROM {Order._meta.db_table} AS placed
    JOIN {Profile._meta.db_table} AS buyer ON buyer.id = placed.profile_id
    JOIN {OrderLine._meta.db_table} AS line ON line.order_id = placed.id
    JOIN touched ON touched.person = COALESCE(buyer.merged_into_id, buyer.id)
        AND touched.product_saleor_id = line.product_saleor_id
        AND touched.type IN (%(clicked)s, %(added)s)
        AND touched.occurred_at <= placed.placed_at
        AND touched.occurred_at > placed.placed_at - %(window)s
    WHERE placed.installation_id = %(installation)s AND placed.deleted_at IS NULL
        AND NOT placed.status = ANY (%(not_carried_out)s)
        AND placed.placed_at >= %(since)s AND placed.placed_at < %(until)s
    ORDER BY placed.id, touched.occurred_at DESC, touched.attribution_id, touched.strategy
), orders AS (
    SELECT placement, strategy, channel_slug, COUNT(*) AS ordered FROM led
    GROUP BY placement, strategy, channel_slug
)
SELECT placement, strategy, channel_slug, COALESCE(shown, 0), COALESCE(clicked, 0),
    COALESCE(added, 0), COALESCE(ordered, 0)
FROM answers FULL JOIN orders USING (placement, strategy, channel_slug)
ORDER BY placement, strategy, channel_slug
"""  # noqa: S608 (the names of the tables are ours)


def touchpoints(
    *, installation: Installation, since: datetime, until: datetime
) -> list[Touchpoints]:
    """Count what happened from `since` to before `until`, once per answer and person.

    An order counts within ATTRIBUTION_WINDOW after the click or the cart addition that led to it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT,
            {
                "installation": installation.pk,
                "since": since,
                "until": until,
                "window": settings.ATTRIBUTION_WINDOW,
                "shown": EventType.RECOMMENDATION_SHOWN.value,
                "clicked": EventType.RECOMMENDATION_CLICKED.value,
                "added": EventType.CART_ADDED.value,
                "not_carried_out": list(NOT_CARRIED_OUT),
            },
        )
        return [Touchpoints(*row) for row in cursor.fetchall()]
