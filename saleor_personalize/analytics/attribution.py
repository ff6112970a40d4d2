"""Which touch an order followed. Every order has one at most, over all journeys and placements.

Of the touches of its person before it the last click counts, and the last view where nothing was clicked.

* A click: a link of a message, a push that was pressed; a recommended product that was clicked or put
  into the cart, where the order has that product. It counts for ATTRIBUTION_WINDOW.
* A code: the order was placed with the code of an offer that a message brought, on whatever device and by
  whomever. That is a click of the message, at the moment of the order.
* A view: a message that was opened or read in the inbox; a recommended product that was shown and bought.
  It counts for ATTRIBUTION_VIEW_WINDOW.

What machines open and click never counts, nor do messages that an order needs anyway (transactional
ones). Orders from outside Saleor follow nothing: their moment is not known well enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    EventType,
    MessageEventKind,
    OrderOrigin,
    Purpose,
    Touch,
    TouchKind,
)
from saleor_personalize.models import (
    AttributedOrder,
    Event,
    Installation,
    Merge,
    Message,
    MessageEvent,
    Offer,
    Order,
    OrderLine,
    Profile,
)

#: An older order keeps what was found: what comes this late proves little, and its touches may be purged.
FINAL_AFTER = timedelta(days=60)
#: Orders of one transaction.
BATCH = 500

_TABLES = {
    model.__name__.lower(): f'"{model._meta.db_table}"'
    for model in (
        AttributedOrder,
        Event,
        Merge,
        Message,
        MessageEvent,
        Offer,
        Order,
        OrderLine,
        Profile,
    )
}

# Whoever holds an order just now records it, and attributes it in the same transaction.
_HOLD = """
SELECT id FROM {order} WHERE installation_id = %(installation)s AND id = ANY(%(orders)s)
  AND profile_id IS NOT NULL AND origin = %(origin)s AND placed_at >= %(final_before)s
ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
"""

_WRITE = """
WITH placed AS (
  SELECT purchase.id AS order_id, purchase.placed_at, purchase.voucher_code,
    COALESCE(buyer.merged_into_id, buyer.id) AS person
  FROM {order} AS purchase JOIN {profile} AS buyer ON buyer.id = purchase.profile_id
  WHERE purchase.installation_id = %(installation)s AND purchase.id = ANY(%(held)s)
), member AS (
  SELECT placed.order_id, placed.placed_at, profile.id AS profile_id
  FROM placed JOIN {profile} AS profile
    ON profile.id = placed.person OR profile.merged_into_id = placed.person
), touch AS (
  SELECT member.order_id, %(message)s AS kind, became.at, became.id AS said_id,
    CASE WHEN became.kind = %(clicked)s THEN %(click)s ELSE %(view)s END AS touch,
    member.placed_at, message.id AS message_id, message.journey_id, message.template,
    message.delivery_channel, '' AS placement, '' AS strategy, '' AS answer
  FROM member
  JOIN {message} AS message ON message.profile_id = member.profile_id
    AND message.decided_at <= member.placed_at AND message.purpose = %(marketing)s
  JOIN {messageevent} AS became ON became.message_id = message.id
    AND became.kind = ANY(%(told)s) AND NOT became.is_machine
  UNION ALL
  SELECT placed.order_id, %(message)s, placed.placed_at, offer.id, %(code)s,
    placed.placed_at, message.id, message.journey_id, message.template,
    message.delivery_channel, '', '', ''
  FROM placed
  JOIN {offer} AS offer ON offer.installation_id = %(installation)s
    AND offer.code = placed.voucher_code
  JOIN {message} AS message ON message.id = offer.message_id
    AND message.decided_at <= placed.placed_at AND message.purpose = %(marketing)s
  WHERE placed.voucher_code <> ''
  UNION ALL
  SELECT member.order_id, %(recommendation)s, event.occurred_at, event.id,
    CASE WHEN event.type = %(shown)s THEN %(view)s ELSE %(click)s END, member.placed_at, NULL, NULL, '', '',
    COALESCE(event.properties ->> 'placement', ''), COALESCE(event.properties ->> 'strategy', ''),
    event.attribution_id
  FROM member
  JOIN {event} AS event ON event.profile_id = member.profile_id
    AND event.occurred_at <= member.placed_at
    AND event.occurred_at > member.placed_at - GREATEST(%(window)s, %(view_window)s)
    AND event.attribution_id <> '' AND event.type = ANY(%(led)s)
  WHERE EXISTS (
    SELECT 1 FROM {orderline} AS line
    WHERE line.order_id = member.order_id AND line.product_saleor_id = event.product_saleor_id
  )
), last AS (
  SELECT DISTINCT ON (order_id) * FROM touch
  WHERE at <= placed_at
    AND at > placed_at - CASE WHEN touch = %(view)s THEN %(view_window)s ELSE %(window)s END
  ORDER BY order_id, touch = %(view)s, at DESC, touch = %(code)s DESC, kind, said_id DESC
), gone AS (
  DELETE FROM {attributedorder}
  WHERE order_id = ANY(%(held)s) AND order_id NOT IN (SELECT order_id FROM last)
  RETURNING order_id
), written AS (
  INSERT INTO {attributedorder} AS stored (installation_id, order_id, kind, touch, touched_at,
    message_id, journey_id, template, delivery_channel, placement, strategy, answer)
  SELECT %(installation)s, order_id, kind, touch, at,
    message_id, journey_id, template, delivery_channel, placement, strategy, answer
  FROM last
  ON CONFLICT (order_id) DO UPDATE SET kind = EXCLUDED.kind, touch = EXCLUDED.touch,
    touched_at = EXCLUDED.touched_at, message_id = EXCLUDED.message_id,
    journey_id = EXCLUDED.journey_id, template = EXCLUDED.template,
    delivery_channel = EXCLUDED.delivery_channel, placement = EXCLUDED.placement,
    strategy = EXCLUDED.strategy, answer = EXCLUDED.answer
  WHERE (stored.kind, stored.touch, stored.touched_at, stored.message_id, stored.answer)
    IS DISTINCT FROM
    (EXCLUDED.kind, EXCLUDED.touch, EXCLUDED.touched_at, EXCLUDED.message_id, EXCLUDED.answer)
  RETURNING order_id
)
SELECT order_id FROM gone UNION ALL SELECT order_id FROM written
"""

# Orders before which something happened that we heard of since then, and those of people who became one, or
# two.
_LATE = """
WITH heard AS (
  SELECT profile_id, occurred_at AS at FROM {event}
  WHERE installation_id = %(installation)s AND received_at >= %(since)s AND attribution_id <> ''
  UNION ALL
  SELECT message.profile_id, became.at FROM {messageevent} AS became
  JOIN {message} AS message ON message.id = became.message_id
  WHERE became.installation_id = %(installation)s AND became.recorded_at >= %(since)s
    AND became.kind = ANY(%(told)s) AND NOT became.is_machine
  UNION ALL
  SELECT unnest(ARRAY[first_id, second_id]), %(final_before)s FROM {merge}
  WHERE installation_id = %(installation)s AND (proved_at >= %(since)s OR undone_at >= %(since)s)
), person AS (
  SELECT COALESCE(profile.merged_into_id, profile.id) AS id, min(heard.at) AS at
  FROM heard JOIN {profile} AS profile ON profile.id = heard.profile_id GROUP BY 1
)
SELECT DISTINCT purchase.id FROM person
JOIN {profile} AS profile ON profile.id = person.id OR profile.merged_into_id = person.id
JOIN {order} AS purchase ON purchase.profile_id = profile.id
  AND purchase.placed_at >= GREATEST(person.at, %(final_before)s)
ORDER BY 1
"""


def attribute(*, installation: Installation, orders: Iterable[int], now: datetime) -> set[int]:
    """Find the touch that each of these orders (row ids) followed; return the ids of which it changed.

    What is found depends on what is known, never on the order in which it came or on how often it is asked.
    """
    wanted = sorted(set(orders))
    changed: set[int] = set()
    for start in range(0, len(wanted), BATCH):
        changed |= _write(installation, wanted[start : start + BATCH], now)
    return changed


def late(*, installation: Installation, since: datetime, now: datetime) -> list[int]:
    """Return the orders (row ids) that may follow another touch by what was heard since then.

    Touches that came after the order that they led to; profiles that were joined or split.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LATE.format(**_TABLES), {**_parameters(installation, now), "since": since})
        return [pk for (pk,) in cursor.fetchall()]


def recent(*, installation: Installation, now: datetime) -> QuerySet[Order]:
    """Return the orders that a touch of now may still be found for, of the last window."""
    return Order.objects.of(installation).filter(placed_at__gte=now - settings.ATTRIBUTION_WINDOW)


def _write(installation: Installation, orders: list[int], now: datetime) -> set[int]:
    parameters = _parameters(installation, now)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_HOLD.format(**_TABLES), {**parameters, "orders": orders})
        # A statement of its own: it sees all that was committed before the orders were held.
        held = [pk for (pk,) in cursor.fetchall()]
        cursor.execute(_WRITE.format(**_TABLES), {**parameters, "held": held})
        return {pk for (pk,) in cursor.fetchall()}


def _parameters(installation: Installation, now: datetime) -> dict[str, Any]:
    return {
        "installation": installation.pk,
        "origin": OrderOrigin.SALEOR.value,
        "final_before": now - FINAL_AFTER,
        "window": settings.ATTRIBUTION_WINDOW,
        "view_window": settings.ATTRIBUTION_VIEW_WINDOW,
        "marketing": Purpose.MARKETING.value,
        "clicked": MessageEventKind.CLICKED.value,
        "told": [
            MessageEventKind.CLICKED.value,
            MessageEventKind.OPENED.value,
            MessageEventKind.READ.value,
        ],
        "shown": EventType.RECOMMENDATION_SHOWN.value,
        "led": [
            EventType.RECOMMENDATION_SHOWN.value,
            EventType.RECOMMENDATION_CLICKED.value,
            EventType.CART_ADDED.value,
        ],
        "message": TouchKind.MESSAGE.value,
        "recommendation": TouchKind.RECOMMENDATION.value,
        "click": Touch.CLICK.value,
        "code": Touch.CODE.value,
        "view": Touch.VIEW.value,
    }
