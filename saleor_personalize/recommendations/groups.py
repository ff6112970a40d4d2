"""Categories and brands instead of products: where what a person would be shown comes from (B26)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from django.utils.translation import get_language

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.conf import settings
from saleor_personalize.models import Installation
from saleor_personalize.recommendations import rules, selection
from saleor_personalize.recommendations.selection import Entry
from saleor_personalize.recommendations.service import (
    Known,
    Question,
    Recommendation,
    asking_of,
    told,
)


class Kind(StrEnum):
    CATEGORY = "category"
    BRAND = "brand"


class Group(NamedTuple):
    """A category (by its global id) or a brand (by its name), and what is shown of it, best first."""

    id: str
    name: str
    slug: str
    slot: int
    score: float
    items: list[Recommendation]


_OF: dict[Kind, Callable[[Entry], str]] = {
    Kind.CATEGORY: lambda entry: entry.offer.category_id,
    Kind.BRAND: lambda entry: entry.offer.brand,
}


def recommend_groups(
    *,
    known: Known,
    kind: Kind,
    placement: str,
    now: datetime,
    question: Question | None = None,
    first: int = 10,
    each: int = 4,
    language_code: str | None = None,
) -> list[Group]:
    """Return up to `first` categories or brands, the one first that this person should like most.

    They are those of the products that the placement would show: each has at least one that can be bought
    now, of which up to `each` come along. A product counts more the higher up it would stand. No
    sensitive category is named. Names are in `language_code`, by default in the active language. Raises
    UnknownAlias.
    """
    asking = asking_of(
        known,
        placement,
        question or Question(),
        now=now,
        until=now,
        first=settings.MAX_RECOMMENDATIONS,
    )
    # Evened out, all would be liked the same; and what is at hand says most of what is liked.
    options = replace(
        asking.options,
        max_per_category=None,
        max_per_brand=None,
        max_per_product_type=None,
        is_rotated=False,
    )
    asking = replace(asking, placement=replace(asking.placement, options=options))
    groups: dict[str, list[Entry]] = {}
    scores: dict[str, float] = {}
    entries = selection.select(asking, known.models, rules.in_force(asking))
    for place, entry in enumerate(entries, start=1):
        if id_ := _OF[kind](entry):
            groups.setdefault(id_, []).append(entry)
            scores[id_] = scores.get(id_, 0.0) + 1 / math.log2(1 + place)
    language = language_code or get_language() or ""
    names = _names(known.installation, kind, set(groups), language)
    order = sorted(names, key=lambda id_: (-scores[id_], id_))[:first]
    entries = [entry for id_ in order for entry in groups[id_][:each]]
    items = iter(told(asking, entries, language_code))
    return [
        Group(
            id_,
            *names[id_],
            slot,
            scores[id_],
            [
                next(items)._replace(slot=place)
                for place, _ in enumerate(groups[id_][:each], start=1)
            ],
        )
        for slot, id_ in enumerate(order, start=1)
    ]


def _names(
    installation: Installation, kind: Kind, ids: set[str], language_code: str
) -> dict[str, tuple[str, str]]:
    """Return name and slug of what may be named."""
    if kind is Kind.BRAND:
        return {id_: (id_, "") for id_ in ids}
    ids = ids - catalog.sensitive_marks(installation)[1]
    return catalog.category_names(installation=installation, ids=ids, language_code=language_code)
