"""Chance that answers the same whenever it is asked the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple


class Arm(NamedTuple):
    """One side of several: of weights 1 and 3 the second gets three of four."""

    name: str
    weight: int = 1


def draw(arms: Sequence[Arm], *, seed: str) -> str:
    """Return the name of one of `arms`, by their weights; the same seed draws the same."""
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    at = int.from_bytes(digest, "big") / 2**64 * sum(arm.weight for arm in arms)
    for arm in arms:
        at -= arm.weight
        if at < 0:
            return arm.name
    return arms[-1].name
