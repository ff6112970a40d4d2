"""Hand recorded deliveries to the workers' side, as the door stores them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from saleor_personalize.ingestion import deliveries
from saleor_personalize.models import Installation
from tests.payloads import Recorded


def deliver(installation: Installation, rows: Iterable[Recorded], *, now: datetime) -> int:
    """Store and process deliveries one after the other; return how many were taken."""
    taken = 0
    for recorded in rows:
        deliveries.store(
            [
                deliveries.row(
                    installation_id=installation.pk,
                    event=recorded.event,
                    body=recorded.body,
                    issued_at=deliveries.issued_at_of(recorded.payload),
                    now=now,
                )
            ]
        )
        taken += deliveries.process_waiting(now=now)
    return taken
