"""Events through /collect: beside a bare COPY of the same rows, and with ever more of them stored."""

from __future__ import annotations

import json
import random
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import load
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import Stack

BATCHES, EVENTS = 24, 1_000
ROUNDS = 5
CONNECTIONS = 4
FEW = 100_000
TABLE = "saleor_personalize_event"
COLUMNS = (
    "installation_id, profile_id, event_id, type, occurred_at, month, received_at, source, "
    "channel_slug, session_id, product_saleor_id, attribution_id, properties"
)
NEWEST = f"SELECT id FROM {TABLE} ORDER BY id DESC LIMIT {BATCHES * EVENTS}"  # noqa: S608
# What a shop has after a year: spread over 13 months, of the people that are there.
FILL = f"""
INSERT INTO {TABLE} ({COLUMNS})
SELECT installation, people[1 + n % cardinality(people)], gen_random_uuid()::text, 'product_viewed',
       at, date_trunc('month', at AT TIME ZONE 'UTC')::date, at, 'storefront', channel,
       'visit-' || n / 8, 'UHJvZHVjdDo' || n % 600, '', '{{"variant_id": "UHJvZHVjdFZhcmlhbnQ6MQ=="}}'
FROM generate_series(1, $1::bigint) AS n,
     LATERAL (SELECT now() - interval '395 days' * random() AS at WHERE n > 0) AS moment,
     (SELECT array_agg(id) AS people, min(installation_id) AS installation
      FROM saleor_personalize_profile) AS known,
     (SELECT min(slug) AS channel FROM saleor_personalize_saleschannel) AS channels
"""  # noqa: S608
#: What the door must know of a shop before it takes events.
SHOP = ("saleor_personalize_installation", "saleor_personalize_saleschannel")


def collect(stack: Stack, shop: FakeSaleor, folder: Path) -> dict[str, Any]:
    """Batches of a thousand events, each of another visitor, and COPY of the rows they became."""
    ours, peer = [], []
    for number in range(ROUNDS + 1):
        pair = send(stack, shop, folder), copy_rate(stack)
        if number:  # the first round warms both
            ours.append(pair[0])
            peer.append(pair[1])
    rate, peer_rate = statistics.median(ours), statistics.median(peer)
    return {
        "ours": f"{rate:,.0f} events/s",
        "peer": f"COPY {peer_rate:,.0f} rows/s",
        "ratio": rate / peer_rate,
        "aim": "at least 0.3",
        "met": rate / peer_rate >= 0.3,
    }


def growth(
    stack: Stack, environment: dict[str, str], shop: FakeSaleor, folder: Path, stored: int
) -> dict[str, Any]:
    """What an event costs with `stored` events in the table, beside another stack that has FEW.

    Both are asked in turn, so that whatever else the machine does meanwhile slows both.
    """
    with Stack(folder / "few", **environment) as small:
        small.end("beat")
        small.end("worker")
        with connect(stack) as source, connect(small) as target:
            for table in SHOP:
                with (
                    source.cursor().copy(f"COPY {table} TO STDOUT") as rows,
                    target.cursor().copy(f"COPY {table} FROM STDIN") as copy,
                ):
                    for row in rows:
                        copy.write(row)
        few, many = [], []
        for number in range(ROUNDS + 1):
            if number < 2:  # the first round brings the visitors that the stored events are of
                fill(small, FEW if number else 0)
                fill(stack, stored if number else 0)
            pair = send(small, shop, folder), send(stack, shop, folder)
            if number:
                few.append(pair[0])
                many.append(pair[1])
    rate, few_rate = statistics.median(many), statistics.median(few)
    return {
        "ours": f"{1e6 / rate:.0f} us each at {stored:,}",
        "peer": f"{1e6 / few_rate:.0f} us each at {FEW:,}",
        "ratio": few_rate / rate,
        "aim": "at most 1.2",
        "met": few_rate / rate <= 1.2,
    }


def connect(stack: Stack) -> psycopg.Connection[Any]:
    return psycopg.connect(stack.environment["DATABASE_URL"], autocommit=True)


def count(stack: Stack) -> int:
    with connect(stack) as connection:
        (rows,) = connection.execute(f"SELECT count(*) FROM {TABLE}").fetchone() or (0,)  # noqa: S608
    return int(rows)


def send(stack: Stack, shop: FakeSaleor, folder: Path) -> float:
    """Send fresh batches and return events per second; every one of them must be stored."""
    requests = load.write(folder / "batches.jsonl", batches(shop))
    before = count(stack)
    figures = load.run(stack.url, requests, CONNECTIONS)
    assert count(stack) - before == BATCHES * EVENTS
    return float(figures["rate"]) * EVENTS


def batches(shop: FakeSaleor) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    products = list(shop.products)
    rows = []
    for _ in range(BATCHES):
        body = {
            "saleorApiUrl": shop.api_url,
            "anonymousId": str(uuid.uuid4()),
            "session": {
                "id": str(uuid.uuid4()),
                "deviceType": "mobile",
                "referrerHost": "search.example",
                "channel": shop.default_channel,
            },
            "events": [
                {
                    "id": str(uuid.uuid4()),
                    "type": "PRODUCT_VIEWED",
                    "occurredAt": (now - timedelta(seconds=number)).isoformat(),
                    "productId": random.choice(products),  # noqa: S311
                    "variantId": "UHJvZHVjdFZhcmlhbnQ6MQ==",
                }
                for number in range(EVENTS)
            ],
        }
        rows.append(
            {
                "method": "POST",
                "path": "/collect",
                "headers": {"content-type": "text/plain;charset=UTF-8"},
                "body": json.dumps(body),
            }
        )
    return rows


def copy_rate(stack: Stack) -> float:
    """Rows per second of one COPY of the newest rows into the same table, keys and partitions and all."""
    with connect(stack) as connection, connection.cursor() as cursor:
        with cursor.copy(
            f"COPY (SELECT {COLUMNS} FROM {TABLE} WHERE id IN ({NEWEST})) TO STDOUT"  # noqa: S608
        ) as source:
            rows = b"".join(source)
        cursor.execute(f"DELETE FROM {TABLE} WHERE id IN ({NEWEST})")  # noqa: S608
        started = time.perf_counter()
        with cursor.copy(f"COPY {TABLE} ({COLUMNS}) FROM STDIN") as target:
            target.write(rows)
        return BATCHES * EVENTS / (time.perf_counter() - started)


def fill(stack: Stack, stored: int) -> None:
    """Bring the table to `stored` events, settled as a shop's table is."""
    # The first few rows tell which months there must be.
    for share in (min(1_000, stored), stored):
        with connect(stack) as connection:
            missing = share - count(stack)
            if missing > 0:
                # Keys between tables are not looked up one by one for rows that are made up.
                connection.execute("SET session_replication_role = replica")
                psycopg.RawCursor(connection).execute(FILL, [missing])
        stack.run("events")
    with connect(stack) as connection:
        connection.execute(f"VACUUM ANALYZE {TABLE}")
        connection.execute("CHECKPOINT")
