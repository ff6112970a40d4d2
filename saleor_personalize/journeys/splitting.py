"""Which way somebody goes at a split; asked again, the answer is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from saleor_personalize.journeys.definitions import Branch, Split
from saleor_personalize.models import Enrollment
from saleor_personalize.segments import definition as segments


def way(step: Split, enrollment: Enrollment, now: datetime) -> str:
    """Return the name of the branch: by rule now; by chance per enrollment; by experiment per person."""
    if step.by == "rule":
        rule = segments.from_json(step.rule)
        return "then" if segments.matches(rule, enrollment.profile, now) else "otherwise"
    if step.by == "experiment":
        # In every journey of the experiment the same person is on the same side.
        return _drawn(step.branches, f"experiment:{step.experiment}:{enrollment.profile.person_id}")
    return _drawn(step.branches, f"split:{step.id}:{enrollment.pk}")


def _drawn(branches: Sequence[Branch], seed: str) -> str:
    """Draw a branch by its weight; the same seed draws the same."""
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    at = int.from_bytes(digest, "big") / 2**64 * sum(branch.weight for branch in branches)
    for branch in branches:
        at -= branch.weight
        if at < 0:
            return branch.name
    return branches[-1].name
