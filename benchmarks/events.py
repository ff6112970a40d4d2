"""Events through /collect, beside a bare COPY of the same rows, and the more are stored the dearer?"""

from __future__ import annotations

import json
import random
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import load
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import Stack

BATCHES, EVENTS = 40, 1_000
ROUNDS = 3
CONNECTIONS = 4
FEW = 100_000
COLUMNS = (
    "installation_id, profile_id, event_id, type, occurred_at, month, received_at, source, "
    "channel_slug, session_id, product_saleor_id, properties"
)
# What a shop has after a year: spread over 13 months, of the people that are there.
FILL = """
INSERT INTO saleor_personalize_event ({columns})
SELECT installation, people[1 + n %% cardinality(people)], gen_random_uuid()::text, 'product_viewed',
       at, date_trunc('month', at AT TIME ZONE 'UTC')::date, at, 'storefront', %s,
       'visit-' || n / 8, 'UHJvZHVjdDo' || n %% 600, '{{"variant_id": "UHJvZHVjdFZhcmlhbnQ6MQ=="}}'
FROM (SELECT n, now() - interval '395 days' * random() AS at FROM generate_series(1, %s) AS n) AS rows,
     (SELECT array_agg(id) AS people, min(installation_id) AS installation
      FROM saleor_personalize_profile) AS known
"""


def collect(stack: Stack, shop: FakeSaleor, folder: Path) -> dict[str, Any]:
    """Batches of a thousand events, each of another visitor, and COPY of the rows they became."""
    ours = rounds(stack, shop, folder)
    peer = [copy_rate() for _ in range(ROUNDS)]
    rate, peer_rate = statistics.median(ours), statistics.median(peer)
    return {
        "ours": f"{rate:,.0f} events/s",
        "peer": f"COPY {peer_rate:,.0f} rows/s",
        "ratio": rate / peer_rate,
        "aim": "at least 0.3",
        "met": rate / peer_rate >= 0.3,
    }


def growth(stack: Stack, shop: FakeSaleor, folder: Path, stored: int) -> dict[str, Any]:
    """What an event costs with `stored` events in the table, beside what it costs with FEW."""
    fill(shop, FEW)
    few = statistics.median(rounds(stack, shop, folder))
    fill(shop, stored)
    many = statistics.median(rounds(stack, shop, folder))
    return {
        "ours": f"{1e6 / many:.0f} us each at {stored:,}",
        "peer": f"{1e6 / few:.0f} us each at {FEW:,}",
        "ratio": few / many,
        "aim": "at most 1.2",
        "met": few / many <= 1.2,
    }


def rounds(stack: Stack, shop: FakeSaleor, folder: Path) -> list[float]:
    """Return events per second of each round; a round before them warms the processes."""
    found = []
    for number in range(ROUNDS + 1):
        requests = load.write(folder / "batches.jsonl", batches(shop))
        before = count()
        figures = load.run(stack.url, requests, CONNECTIONS)
        assert count() - before == BATCHES * EVENTS
        if number:
            found.append(figures["rate"] * EVENTS)
    return found


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


def count() -> int:
    from saleor_personalize.models import Event

    return Event.objects.count()


NEWEST = f"SELECT id FROM saleor_personalize_event ORDER BY id DESC LIMIT {BATCHES * EVENTS}"  # noqa: S608
TAKE = f"COPY (SELECT {COLUMNS} FROM saleor_personalize_event WHERE id IN ({NEWEST})) TO STDOUT"  # noqa: S608
DROP = f"DELETE FROM saleor_personalize_event WHERE id IN ({NEWEST})"  # noqa: S608
GIVE = f"COPY saleor_personalize_event ({COLUMNS}) FROM STDIN"


def copy_rate() -> float:
    """Rows per second of one COPY of the newest rows into the same table, keys and partitions and all."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        with cursor.copy(TAKE) as source:
            rows = b"".join(source)
        cursor.execute(DROP)
    started = time.perf_counter()
    with connection.cursor() as cursor, cursor.copy(GIVE) as target:
        target.write(rows)
    return BATCHES * EVENTS / (time.perf_counter() - started)


def fill(shop: FakeSaleor, stored: int) -> None:
    """Bring the table to `stored` events, settled as a shop's table is."""
    from django.db import connection

    from saleor_personalize.events import partitions
    from saleor_personalize.models.fields import month_of

    with connection.cursor() as cursor:
        missing = stored - count()
        if missing > 0:
            # Keys between tables are not looked up one by one for rows that are made up.
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(FILL.format(columns=COLUMNS), [shop.default_channel, missing])
            cursor.execute("RESET session_replication_role")
            partitions.maintain(now=datetime.now(UTC))
        cursor.execute("VACUUM ANALYZE saleor_personalize_event")
        cursor.execute("CHECKPOINT")
    assert month_of(datetime.now(UTC)) in {row.month for row in partitions.partitions()}
