"""A worker that dies in the middle of recording a page of orders, before its commit."""

import dataclasses
import os
from typing import Any

import django

django.setup()

from django.utils import timezone  # noqa: E402

from saleor_personalize.ingestion import backfill  # noqa: E402

orders = backfill.BY_NAME["orders"]


def record_and_die(*args: Any) -> int:
    orders.record(*args)
    os.kill(os.getpid(), 9)
    raise AssertionError("still alive")


backfill.BY_NAME["orders"] = dataclasses.replace(orders, record=record_and_die)
run = backfill.claim_next(now=timezone.now())
assert run is not None
backfill.work(run)
