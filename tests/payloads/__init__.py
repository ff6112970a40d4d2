"""Webhooks as a live Saleor sent them, by scenario (see saleor/<version>/README.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "saleor" / "3.24"


@dataclass(frozen=True)
class Recorded:
    event: str
    body: bytes

    @property
    def payload(self) -> dict[str, Any]:
        return json.loads(self.body)

    def changed(self, **fields: Any) -> Recorded:
        """Return the same delivery with other values in its object, e.g. an older `updatedAt`."""
        payload = self.payload
        name = next(
            key
            for key, value in payload.items()
            if isinstance(value, dict)
            and "id" in value
            and key not in {"recipient", "issuingPrincipal"}
        )
        payload[name].update(fields)
        return Recorded(self.event, json.dumps(payload).encode())


def scenario(name: str) -> list[Recorded]:
    """Return the deliveries of a scenario in the order in which they arrived."""
    files = sorted(FOLDER.glob(f"{name}__*.json"))
    assert files, f"no recording of {name!r}: make record"
    rows = [json.loads(path.read_text()) for path in files]
    return [Recorded(row["event"], row["body"].encode()) for row in rows]


def one(name: str, event: str, index: int = 0) -> Recorded:
    """Return the `index`-th delivery of an event in a scenario."""
    return [row for row in scenario(name) if row.event == event][index]
