"""`make bench`: ratios against a peer or a limit, measured in one run. Prints a table and JSON."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx

from benchmarks import events, journeys, load, pages, recommend_speed, segments, sending
from saleor_personalize.testing.keys import SigningKey
from saleor_personalize.testing.saleor import FakeSaleor, InstalledApp
from saleor_personalize.testing.stack import Stack, free_port

ROUNDS = 3
DELIVERIES = 8_000
QUERIES = 4_000
SHOP = {"products": 600, "customers": 1_000, "orders": 3_000, "checkouts": 200}
PERMISSIONS = ["MANAGE_PRODUCTS", "MANAGE_ORDERS", "MANAGE_CHECKOUTS", "MANAGE_USERS"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", help="one of the names in the table")
    parser.add_argument(
        "--stored-events", type=int, default=1_000_000, help="10000000 takes a good half hour"
    )
    parser.add_argument("--profiles", type=int, default=100_000, help="for the segments")
    parser.add_argument("--people", type=int, default=pages.PROFILES, help="for the pages")
    parser.add_argument("--products", type=int, default=100_000, help="for recommendations, many")
    parser.add_argument(
        "--due", type=int, default=sending.PEOPLE, help="for sending; 100000 takes hours"
    )
    parser.add_argument("--waiting", type=int, default=1_000_000, help="for journeys, waiting")
    options = parser.parse_args()
    load.prepare()
    with tempfile.TemporaryDirectory(prefix="personalize-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        answer = folder / "answer.json"
        environment = {
            "ALLOWED_SALEOR_API_URLS": ".*",
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "BENCH_ANSWER": str(answer),
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "LOG_LEVEL": "WARNING",
            "BENCH_PORT": str(free_port()),
        }
        shop = FakeSaleor()
        shop.fill(**SHOP)
        app = InstalledApp("QXBwOjE=", "saleor.personalize", "a-token-for-a-bench", PERMISSIONS, [])
        shop.apps[app.id] = app
        with (
            served(shop),
            Stack(folder, **environment) as stack,
        ):
            stack.end("beat")
            stack.end("worker")
            register(stack, shop, app)
            benchmarks: dict[str, Callable[[], dict[str, Any]]] = {
                "back-fill": lambda: backfill(stack, shop, app),
                "recommendations": lambda: recommendations(stack, shop, folder, answer),
                "recommendations, many": lambda: recommend_speed.under_load(
                    stack, shop, folder, answer, options.products
                ),
                "webhook door": lambda: door(stack, shop, app, folder),
                "segments, entry": lambda: segments.entry_lag(stack, options.profiles),
                "journeys": lambda: journeys.throughput(stack),
                "sending, email": lambda: sending.measure(
                    stack, "email", options.due, sending.WORKERS
                ),
                "sending, push": lambda: sending.measure(
                    stack, "push", options.due, sending.WORKERS
                ),
                "journeys, waiting": lambda: journeys.ticks(stack, options.waiting),
                "pages": lambda: pages.measure(options.people),
                "collect": lambda: events.collect(stack, shop, folder),
                "collect, growth": lambda: events.growth(
                    stack, environment, shop, folder, options.stored_events
                ),
            }
            chosen = set(options.only or benchmarks)
            alone = {
                "segments, entry",
                "journeys",
                "journeys, waiting",
                "sending, email",
                "sending, push",
                "pages",
            }
            if "back-fill" not in chosen and not chosen <= alone:
                backfill(stack, shop, app)  # the others need the shop's products
            results = {
                name: run()
                for name, run in benchmarks.items()
                if name in (options.only or benchmarks)
            }
    report(results)
    return 0


@contextmanager
def served(shop: FakeSaleor) -> Iterator[None]:
    """Answer for the shop in a process of its own, as a real one does: in ours the two take turns."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(shop, its))
    process.start()
    shop.api_url = ours.recv()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _serve(shop: FakeSaleor, to: Connection) -> None:
    with shop:
        to.send(shop.api_url)
        threading.Event().wait()


def register(stack: Stack, shop: FakeSaleor, app: InstalledApp) -> None:
    """Put the installation into the database, as an install would."""
    os.environ.update(stack.environment)
    import django

    django.setup()
    from saleor_personalize.models import Installation

    now = datetime.now(UTC)
    Installation.objects.all().delete()
    Installation.objects.create(
        saleor_api_url=shop.api_url,
        app_id=app.id,
        auth_token=app.token,
        jwks=shop.key.jwks(),
        jwks_fetched_at=now,
        permissions=PERMISSIONS,
        status_changed_at=now,
        installed_at=now,
    )


def door(stack: Stack, shop: FakeSaleor, app: InstalledApp, folder: Path) -> dict[str, Any]:
    """Signed CHECKOUT_UPDATED deliveries per second, beside a Node server that only verifies them."""
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps(shop.key.jwks()))
    peer = subprocess.Popen(
        ["node", "server.mjs", str(jwks)], cwd=load.PEER, stdout=subprocess.PIPE, text=True
    )
    try:
        assert peer.stdout is not None
        peer_url = f"http://127.0.0.1:{json.loads(peer.stdout.readline())['port']}"
        ours, theirs = [], []
        for number in range(ROUNDS + 1):
            requests = load.write(folder / "deliveries.jsonl", signed(shop.key, shop, app))
            pair = [load.run(peer_url, requests, 16), load.run(stack.url, requests, 16)]
            if number:  # the first round warms both
                theirs.append(pair[0])
                ours.append(pair[1])
    finally:
        peer.terminate()
        peer.wait()
    rate, peer_rate = (statistics.median(r["rate"] for r in rows) for rows in (ours, theirs))
    return {
        "ours": f"{rate:.0f}/s, p99 {statistics.median(r['p99_ms'] for r in ours):.1f} ms",
        "peer": f"{peer_rate:.0f}/s, p99 {statistics.median(r['p99_ms'] for r in theirs):.1f} ms",
        "ratio": rate / peer_rate,
        "aim": "at least 1.0",
        "met": rate / peer_rate >= 1.0,
    }


def signed(key: SigningKey, shop: FakeSaleor, app: InstalledApp) -> list[dict[str, Any]]:
    rows = []
    for _ in range(DELIVERIES):
        body = json.dumps(
            {
                "__typename": "CheckoutUpdated",
                "issuedAt": datetime.now(UTC).isoformat(),
                "version": "3.24.0",
                "issuingPrincipal": None,
                "recipient": {"id": app.id, "identifier": app.identifier},
                "checkout": {
                    "id": f"Q2hlY2tvdXQ6{uuid.uuid4()}",
                    "token": str(uuid.uuid4()),
                    "email": "shopper@example.com",
                    "lines": [
                        {
                            "id": str(uuid.uuid4()),
                            "quantity": 1,
                            "variant": {"id": "UHJvZHVjdFZhcmlhbnQ6MzQ4"},
                            "unitPrice": {"gross": {"amount": 20.0, "currency": "USD"}},
                        }
                        for _ in range(4)
                    ],
                },
            }
        )
        rows.append(
            {
                "method": "POST",
                "path": "/webhooks/saleor/checkout_updated/",
                "headers": {
                    "content-type": "application/json",
                    "saleor-event": "checkout_updated",
                    "saleor-api-url": shop.api_url,
                    "saleor-domain": shop.api_url.split("/")[2],
                    "saleor-signature": key.sign_webhook(body.encode()),
                },
                "body": body,
            }
        )
    return rows


QUERY = """query($channel: String!, $id: ID) {
  recommendations(placement: "product_page_related", channel: $channel, productId: $id, first: 10) {
    productId slot score strategy reason { code text }
  }
}"""


def recommendations(stack: Stack, shop: FakeSaleor, folder: Path, answer: Path) -> dict[str, Any]:
    """The query, beside a bare view of the same server that returns the same bytes."""
    stack.run("train")
    headers = {
        "content-type": "application/json",
        "saleor-api-url": shop.api_url,
        "x-anonymous-id": "bench-0123456789abcdef",
    }
    bodies = [
        json.dumps(
            {"query": QUERY, "variables": {"channel": shop.default_channel, "id": product_id}}
        )
        for product_id in list(shop.products)[:200]
    ]
    sample = httpx.post(f"{stack.url}/graphql/", content=bodies[0], headers=headers)
    assert len(sample.json()["data"]["recommendations"]) == 10
    answer.write_bytes(sample.content)
    ours, theirs = [], []
    files = {
        path: load.write(
            folder / f"queries-{number}.jsonl",
            [
                {
                    "method": "POST",
                    "path": path,
                    "headers": headers,
                    "body": bodies[i % len(bodies)],
                }
                for i in range(QUERIES)
            ],
        )
        for number, path in enumerate(("/graphql/", "/bare/"))
    }
    for number in range(ROUNDS + 1):
        pair = [load.run(stack.url, files[path], 1) for path in ("/graphql/", "/bare/")]
        if number:
            ours.append(pair[0])
            theirs.append(pair[1])
    p50, peer_p50 = (statistics.median(r["p50_ms"] for r in rows) for rows in (ours, theirs))
    return {
        "ours": f"p50 {p50:.2f} ms, p99 {statistics.median(r['p99_ms'] for r in ours):.1f} ms",
        "peer": f"p50 {peer_p50:.2f} ms, p99 {statistics.median(r['p99_ms'] for r in theirs):.1f} ms",
        "ratio": p50 / peer_p50,
        "aim": "at most 2.0",
        "met": p50 / peer_p50 <= 2.0,
    }


def backfill(stack: Stack, shop: FakeSaleor, app: InstalledApp) -> dict[str, Any]:
    """Wall time, beside paging the same queries and dropping the rows."""
    from saleor_personalize.ingestion import backfill as room
    from saleor_personalize.models import Installation
    from saleor_personalize.saleor_api import documents

    http = httpx.Client(
        headers={"Authorization": f"Bearer {app.token}"}, timeout=60, trust_env=False
    )

    def page_and_drop() -> float:
        started = time.perf_counter()
        for stage in room.STAGES:
            cursor, more = None, True
            while more:
                variables = {} if stage.name == "channels" else {"first": 100, "after": cursor}
                data = http.post(
                    shop.api_url,
                    json={"query": documents.operation(stage.operation), "variables": variables},
                ).json()["data"][stage.connection]
                info = data["pageInfo"] if stage.name != "channels" else {"hasNextPage": False}
                more, cursor = info["hasNextPage"], info.get("endCursor")
        return time.perf_counter() - started

    def fill() -> float:
        installation = Installation.objects.get()
        run = room.request(installation=installation, now=datetime.now(UTC))
        claimed = room.claim_next(now=datetime.now(UTC), backfill_id=run.pk)
        assert claimed is not None
        started = time.perf_counter()
        assert room.work(claimed) == "done"
        return time.perf_counter() - started

    rounds = []
    for _ in range(ROUNDS):
        register(stack, shop, app)
        rounds.append((page_and_drop(), fill(), fill()))
    peer, first, again = (statistics.median(times) for times in zip(*rounds, strict=True))
    return {
        "ours": f"{first:.2f} s (a second run: {again:.2f} s)",
        "peer": f"{peer:.2f} s",
        "ratio": first / peer,
        "aim": "at most 1.3",
        "met": first / peer <= 1.3,
    }


def report(results: dict[str, dict[str, Any]]) -> None:
    print(f"\n{'benchmark':<16} {'ours':<42} {'peer':<30} {'ratio':>6}  aim")
    for name, row in results.items():
        met = "met" if row["met"] else "NOT met"
        print(
            f"{name:<16} {row['ours']:<42} {row['peer']:<30} {row['ratio']:>6.2f}  {row['aim']}: {met}"
        )
    folder = Path(__file__).with_name("results")
    folder.mkdir(exist_ok=True)
    file = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    file.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{file}")


if __name__ == "__main__":
    sys.exit(main())
