"""Lists that need no training: read from the catalogue, and from what the person did, when asked.

Each takes the question and how far it should reach, and gives candidates, best first. What may not be
shown is left out afterwards, whoever suggested it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from saleor_personalize.ml import Candidate, Context, ReasonCode
from saleor_personalize.recommendations import replenishment, shelves
from saleor_personalize.recommendations.asking import Asking, below


class Trained(Protocol):
    """A trained recommender, or the engine's own answer."""

    def recommend(self, context: Context, k: int) -> list[Candidate]: ...


Models = Mapping[str, Trained]
Source = Callable[[Asking, Models, int], Iterable[Candidate]]

#: How many things of late are asked about, and what each may bring.
_LATEST, _EACH = 5, 12
_PAGED = 500
#: What something that was done says about liking a category.
_LIKING = {"view": 1.0, "cart": 3.0, "favourite": 3.0}
_LIKING_BOUGHT = 5.0
_LIKED_FROM = 40
_WORD = re.compile(r"[^\W_]+")
_MOST_WORDS = 8
#: Who answers for people and visits; whatever suits anybody has a place of its own in the placements.
_FOR_ANYBODY = frozenset({"popular", "newest"})


def for_you(asking: Asking, models: Models, reach: int) -> Iterable[Candidate]:
    """What the engine foretells for this person and visit."""
    context = asking.about_person
    if "rank" not in models or (context.visitor_id is None and not context.session):
        return []
    # The pages of one list must come from one answer: how far it reaches may change its order.
    found = models["rank"].recommend(context, _PAGED if asking.options.is_paged else reach)
    return [each for each in found if each.strategy not in _FOR_ANYBODY]


def like_viewed(asking: Asking, models: Models, reach: int) -> Iterator[Candidate]:
    """What goes with, or is like, the products looked at last: one of each in turn."""
    lists = []
    for product_id in asking.history.viewed[:_LATEST]:
        context = Context(seeds=(product_id,), exclude=asking.never, now=asking.until.timestamp())
        found = [
            each
            for alias in ("bought_together", "similar")
            if alias in models
            for each in models[alias].recommend(context, _EACH // 2)
        ]
        lists.append(
            [
                each._replace(reason_code=ReasonCode.BECAUSE_VIEWED, reason_item_id=product_id)
                for each in found
            ]
        )
    for place in range(_EACH):
        for position, found in enumerate(lists):
            if place < len(found):
                yield found[place]._replace(score=1 / (1 + place * len(lists) + position))


def curated(asking: Asking, models: Models, reach: int) -> Iterator[Candidate]:
    """What the shop itself put beside a product, in attributes that refer to products."""
    if not asking.seeds:
        return
    wanted, others = asking.shop.curated_slugs(asking.placement)
    rows = asking.references()
    place = 0
    for seed in asking.seeds:
        for attribute in rows.get(seed, ()):
            slug = attribute["attribute"]
            if slug not in wanted if wanted else slug in others:
                continue
            for product_id in attribute["references"]:
                place += 1
                yield Candidate(product_id, 1 / place, ReasonCode.CURATED, seed)


def viewed(asking: Asking, models: Models, reach: int) -> Iterator[Candidate]:
    for place, product_id in enumerate(asking.history.viewed, start=1):
        yield Candidate(product_id, 1 / place, ReasonCode.RECENT, product_id)


def left_behind(asking: Asking, models: Models, reach: int) -> Iterator[Candidate]:
    """What lies in an open cart or went into one, and what is a favourite, if it was not bought since.

    What was taken out again is wanted no more.
    """
    bought = {each.product_id: each.at for each in reversed(asking.history.bought)}
    waiting = [
        each.product_id
        for each in asking.history.done
        if each.kind in ("cart", "favourite")
        and (each.kind, each.product_id) not in asking.history.taken_back
        and (each.product_id not in bought or bought[each.product_id] < each.at)
    ]
    for place, product_id in enumerate(dict.fromkeys([*asking.history.carts, *waiting]), start=1):
        yield Candidate(product_id, 1 / place, ReasonCode.LEFT_BEHIND, product_id)


def due_again(asking: Asking, models: Models, reach: int) -> Iterable[Candidate]:
    """What this person should need again by now."""
    return replenishment.due(
        purchases=asking.history.own_purchases, now=asking.until, intervals=asking.ahead.intervals
    )


def favourite_category(asking: Asking, models: Models, reach: int) -> Iterator[Candidate]:
    """What sells most in the category that the person likes most."""
    liking: Counter[str] = Counter()
    for each in asking.history.done[:_LIKED_FROM]:
        liking[each.product_id] += _LIKING[each.kind]  # type: ignore[assignment]
    for purchase in asking.history.own_purchases[:_LIKED_FROM]:
        liking[purchase.product_id] += _LIKING_BOUGHT  # type: ignore[assignment]
    if not liking:
        return
    categories: Counter[str] = Counter()
    for product_id, category_id in asking.ahead.categories(liking).items():
        if category_id:
            categories[category_id] += liking[product_id]
    for category_id, _ in sorted(categories.items(), key=lambda pair: (-pair[1], pair[0]))[:1]:
        ids = below(asking.installation, category_id)
        sold = dict.fromkeys(product_id for product_id, _ in _best(asking, ids))
        fresh = asking.newest(reach, asking.never, categories=sorted(ids))
        found = sold | dict.fromkeys(offer.product_id for offer in fresh)
        for place, product_id in enumerate(found, start=1):
            # What nobody bought yet is not popular.
            reason = category_id if product_id in sold else None
            code = ReasonCode.SAME_CATEGORY if reason else ReasonCode.NEWEST
            yield Candidate(product_id, 1 / place, code, reason)


def best_sellers(asking: Asking, models: Models, reach: int) -> Iterator[Candidate]:
    """What sells most: in the country of the person first, then in the whole sales channel."""
    counted = _best(asking, asking.categories)
    if asking.country_code:
        counted = [*_best(asking, asking.categories, asking.country_code), *counted]
    places = dict.fromkeys(product_id for product_id, _ in counted)
    reason = asking.category_id if asking.categories is not None else None
    for place, product_id in enumerate(places, start=1):
        yield Candidate(product_id, 1 / place, ReasonCode.BEST_SELLER, reason)


def _best(
    asking: Asking, categories: frozenset[str] | None, country_code: str = ""
) -> shelves.Counted:
    window = timedelta(days=asking.options.window_days)
    return asking.ahead.best_sellers(window, categories, country_code)


def trending(asking: Asking, models: Models, reach: int) -> Iterator[Candidate]:
    counted = shelves.trending(
        installation=asking.installation,
        channel_slug=asking.channel_slug,
        now=asking.now,
        window=timedelta(days=asking.options.window_days),
        categories=asking.categories,
    )
    for product_id, rise in counted:
        yield Candidate(product_id, rise, ReasonCode.TRENDING)


def search(asking: Asking, models: Models, reach: int) -> Iterator[Candidate]:
    """What is called like the words of a search; then what nearly is, a typing error aside."""
    words = list(dict.fromkeys(_WORD.findall(asking.query.lower())))[:_MOST_WORDS]
    place = 0
    for rewrite in (_all_of, _any_of, _nearly) if words else ():
        found = asking.newest(reach, asking.never, words=rewrite(words))
        for offer in found:
            place += 1
            yield Candidate(offer.product_id, 1 / place, ReasonCode.SEARCH)
        if len(found) >= reach:
            return


def _all_of(words: Sequence[str]) -> str:
    return " & ".join(f"{word}:*" for word in words)


def _any_of(words: Sequence[str]) -> str:
    return " | ".join(f"{word}:*" for word in words)


def _nearly(words: Sequence[str]) -> str:
    return " | ".join(f"{word[: max(3, len(word) * 2 // 3)]}:*" for word in words)


def catalogue(asking: Asking, models: Models, reach: int) -> Iterator[Candidate]:
    """All that meets the constraints of the placement, straight from the catalogue, the newest first."""
    wanted = asking.conditions
    if wanted is None:
        return
    for offer in asking.newest(reach, asking.never, **wanted):
        yield Candidate(offer.product_id, 0.0, _catalogue_reason(asking))


def _catalogue_reason(asking: Asking) -> str:
    return ReasonCode.SIMILAR if asking.options.same_type else ReasonCode.NEWEST


SOURCES: Mapping[str, Source] = {
    source.__name__: source
    for source in (
        curated, for_you, like_viewed, viewed, left_behind, due_again, favourite_category,
        best_sellers, trending, search, catalogue,
    )
}  # fmt: skip
