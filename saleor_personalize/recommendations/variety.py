"""Not ten of a kind: what is over the limit comes after everything else (B35)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from saleor_personalize.catalog.queries import Offer
from saleor_personalize.recommendations.placements import Options

T = TypeVar("T")


def is_limited(options: Options) -> bool:
    """Tell whether a placement limits what is alike."""
    return bool(options.max_per_category or options.max_per_brand or options.max_per_product_type)


def spread(
    entries: Sequence[T],
    options: Options,
    *,
    count: int,
    offer_of: Callable[[T], Offer],
    is_free: Callable[[T], bool],
) -> list[T]:
    """Return the first `count` entries with at most so many of a kind; more of it only to fill up.

    `is_free` entries are not put back, and count all the same.
    """
    if not is_limited(options):
        return list(entries[:count])
    seen: Counter[tuple[str, str]] = Counter()
    taken: list[T] = []
    over: list[T] = []
    for entry in entries:
        offer = offer_of(entry)
        kinds = [
            (name, value, limit)
            for name, value, limit in (
                ("category", offer.category_id, options.max_per_category),
                ("brand", offer.brand, options.max_per_brand),
                ("type", offer.product_type, options.max_per_product_type),
            )
            if limit and value
        ]
        is_over = any(seen[name, value] >= limit for name, value, limit in kinds)
        if is_over and not is_free(entry):
            over.append(entry)
            continue
        taken.append(entry)
        for name, value, _ in kinds:
            seen[name, value] += 1
        if len(taken) == count:
            break
    return [*taken, *over][:count]
