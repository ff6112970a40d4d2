"""How long after a fact somebody is in the segment, with a whole shop of people in the database.

A worker and beat run as in production. Every few seconds some people do what makes them enter; the lag is
from the commit of the fact to the commit of the membership, as a poll of the table sees it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import psycopg

from saleor_personalize.testing.stack import Stack

ROUNDS = 12
#: People who enter in each round, and seconds between rounds.
NEWCOMERS, PAUSE = 500, 3.0
#: What is promised.
PROMISE = 60.0
PATIENCE = 600.0

PROFILES = """
INSERT INTO saleor_personalize_profile
  (installation_id, public_id, first_name, language_code, country_code, traits, first_seen_at)
SELECT %(shop)s, gen_random_uuid(), '', (ARRAY['de','en','fr'])[1 + n %% 3], (ARRAY['DE','US','FR'])[1 + n %% 3],
       jsonb_build_object('points', n %% 1000), now()
FROM generate_series(1, %(count)s) AS n
"""
EVENTS = """
INSERT INTO saleor_personalize_event
  (installation_id, profile_id, event_id, type, occurred_at, month, received_at, source, channel_slug,
   session_id, product_saleor_id, properties)
SELECT %(shop)s, profile.id, gen_random_uuid()::text, (ARRAY['product_viewed','searched','cart_added'])[1 + n %% 3],
       at, date_trunc('month', at AT TIME ZONE 'UTC')::date, at, 'storefront', 'default-channel', '',
       'product-' || n %% 600, '{}'
FROM saleor_personalize_profile AS profile, generate_series(1, 5) AS n,
     LATERAL (SELECT now() - interval '90 days' * random() AS at WHERE n > 0) AS moment
"""
ORDERS = """
INSERT INTO saleor_personalize_order
  (installation_id, saleor_id, profile_id, origin, number, status, user_saleor_id, email_hash,
   checkout_saleor_id, channel_slug, currency, total, placed_at)
SELECT %(shop)s, 'order-' || id, id, 'saleor', id, 'FULFILLED', '', '', '', 'default-channel', 'USD',
       (id %% 300)::numeric, now() - interval '365 days' * random()
FROM saleor_personalize_profile WHERE id %% 2 = 0
"""
#: Three views now, of people who have none lately: what the measured segment asks for.
FACTS = """
INSERT INTO saleor_personalize_event
  (installation_id, profile_id, event_id, type, occurred_at, month, received_at, source, channel_slug,
   session_id, product_saleor_id, properties)
SELECT %(shop)s, id, gen_random_uuid()::text, 'list_viewed', now(), date_trunc('month', now() AT TIME ZONE 'UTC')::date,
       now(), 'storefront', 'default-channel', '', 'product-1', '{}'
FROM unnest(%(people)s) AS id, generate_series(1, 3)
"""
CHANGES = """
INSERT INTO saleor_personalize_changedprofile (installation_id, profile_id, changed_at)
SELECT %(shop)s, id, now() FROM unnest(%(people)s) AS id
"""
MEMBERS = """
SELECT count(*) FROM saleor_personalize_segmentmembership
WHERE segment_id = %(segment)s AND left_at IS NULL AND profile_id = ANY(%(people)s)
"""


def entry_lag(stack: Stack, profiles: int) -> dict[str, Any]:
    """Return the benchmark's row: the longest lag of any round, beside the promise of 60 seconds."""
    from saleor_personalize.models import Installation
    from saleor_personalize.segments import operations
    from saleor_personalize.segments.rules import EventCount
    from saleor_personalize.segments.suggestions import SUGGESTIONS

    installation = Installation.objects.get()
    profiles = max(profiles, ROUNDS * NEWCOMERS)
    shop = {"shop": installation.pk, "count": profiles}
    with psycopg.connect(stack.environment["DATABASE_URL"], autocommit=True) as connection:
        for statement in (PROFILES, EVENTS, ORDERS, "ANALYZE"):
            connection.execute(statement, shop if statement != "ANALYZE" else None)
        now = datetime.now(UTC)
        for found in SUGGESTIONS:
            operations.create_segment(
                installation=installation,
                key=found.key,
                name=str(found.name),
                definition=found.definition,
                now=now,
            )
        measured = operations.create_segment(
            installation=installation,
            key="measured",
            name="Measured",
            definition=EventCount(type="list_viewed", at_least=3, days=1),
            now=now,
        )
        started = time.perf_counter()
        operations.evaluate_due(now=datetime.now(UTC))
        full = (time.perf_counter() - started) / (len(SUGGESTIONS) + 1)
        stack.spawn("worker", "--concurrency", "2", "--loglevel", "WARNING")
        stack.spawn("beat", "--schedule", str(stack.folder / "beat"))
        try:
            lags = [_round(connection, shop, measured.pk, number) for number in range(ROUNDS)]
        finally:
            stack.end("beat")
            stack.end("worker")
    longest = max(lags)
    return {
        "ours": f"{longest:.1f} s at {profiles:,} (all anew: {full:.1f} s each)",
        "peer": f"promised {PROMISE:.0f} s",
        "ratio": longest / PROMISE,
        "aim": "at most 1.0",
        "met": longest <= PROMISE,
    }


def _round(
    connection: psycopg.Connection[Any], shop: dict[str, int], segment: int, number: int
) -> float:
    """Let some people do it; return the seconds until the last of them is in."""
    (first,) = connection.execute("SELECT min(id) FROM saleor_personalize_profile").fetchone() or (
        0,
    )
    begin = int(first) + number * NEWCOMERS
    people = {"people": list(range(begin, begin + NEWCOMERS)), "segment": segment, **shop}
    with connection.transaction():
        connection.execute(FACTS, people)
        connection.execute(CHANGES, people)
    started = time.perf_counter()
    while time.perf_counter() - started < PATIENCE:
        (inside,) = connection.execute(MEMBERS, people).fetchone() or (0,)
        if inside == NEWCOMERS:
            lag = time.perf_counter() - started
            time.sleep(PAUSE)
            return lag
        time.sleep(0.2)
    raise TimeoutError(f"{NEWCOMERS - inside} people are not in after {PATIENCE} s")
