"""From a question to a list: ask the recommenders in order, keep what may be shown, order what is kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.catalog.queries import Offer
from saleor_personalize.enums import RuleEffect
from saleor_personalize.ml import Candidate, Chain, Context, ReasonCode
from saleor_personalize.recommendations import rules, sources, variety
from saleor_personalize.recommendations.asking import Asking
from saleor_personalize.recommendations.last_good import last_good
from saleor_personalize.recommendations.rules import Rule
from saleor_personalize.recommendations.sources import Models, Trained

logger = logging.getLogger(__name__)

#: What nearly nothing is left of after the filters is not searched further: the catalogue fills then.
MOST_LOOKED_AT = 3_000
#: Of more products than a page has, nobody asks again: their lists are not kept for when something breaks.
_MOST_SEEDS = 5
#: More is looked at than shown where the order changes afterwards.
_WIDER, _AT_LEAST, _MOST_SUNK = 3, 30, 100


@dataclass(frozen=True)
class Entry:
    """A product that may be shown. `position` is its place among all that was suggested, from 0.

    `pinned` says by which slot, and which rule for it, a product is pinned: the lower one is put there first.
    """

    candidate: Candidate
    offer: Offer
    position: int
    pinned: tuple[int, int] | None = None

    @property
    def item_id(self) -> str:
        return self.candidate.item_id

    @property
    def is_curated(self) -> bool:
        return self.candidate.strategy == "curated"


def select(
    asking: Asking, models: Models, in_force: Sequence[Rule] = (), *, after: int = -1
) -> list[Entry]:
    """Return what to show, best first. `after`: of a paged placement, the last position shown before.

    Where a rule would leave nothing ("show nothing but ..."), it is left aside.
    """
    found = _select(asking, models, in_force, after)
    only = rules.of_effect(in_force, RuleEffect.INCLUDE)
    if not found and only and after < 0:
        return _select(asking, models, [rule for rule in in_force if rule not in only], after)
    return found


def _select(asking: Asking, models: Models, in_force: Sequence[Rule], after: int) -> list[Entry]:
    pick = _Pick(asking, in_force, after)
    entries = pick.gather(models, _pool(asking, in_force))
    if asking.options.is_paged:
        return _ordered(pick, entries[: asking.count], in_force)
    entries = _ordered(pick, entries, in_force)
    if sunk := asking.sunk:
        entries.sort(key=lambda entry: entry.item_id in sunk and not entry.is_curated)
    entries = variety.spread(
        entries,
        asking.options,
        count=asking.count,
        offer_of=lambda entry: entry.offer,
        is_free=lambda entry: entry.is_curated,
    )
    return _pinned(pick, entries, in_force)


def _pool(asking: Asking, in_force: Sequence[Rule]) -> int:
    """How many to gather for the places that are asked for."""
    if asking.options.is_paged:
        return asking.count
    pool = asking.count
    moving = (RuleEffect.BOOST, RuleEffect.BURY)
    if variety.is_limited(asking.options) or rules.of_effect(in_force, *moving):
        pool = max(_WIDER * pool, _AT_LEAST)
    return pool + min(len(asking.sunk), _MOST_SUNK)


class _Pick:
    """Keeps what may be shown, and what was learned about it on the way."""

    def __init__(self, asking: Asking, in_force: Sequence[Rule], after: int) -> None:
        self.asking = asking
        self.after = after
        self.only = rules.of_effect(in_force, RuleEffect.INCLUDE)
        self.without = rules.of_effect(in_force, RuleEffect.EXCLUDE)
        self.in_force = in_force
        self.offers: dict[str, Offer] = {}
        self.facts: dict[str, catalog.Facts] = {}
        self.positions: dict[str, int] = {}
        self.looked_at = 0

    def gather(self, models: Models, pool: int) -> list[Entry]:
        placement = self.asking.placement
        found: list[Candidate] = []
        for aliases, is_bound in ((placement.recommenders, True), (placement.fallback, False)):
            if self.asking.is_strict and not is_bound:
                continue
            if aliases and len(found) < pool:
                taken = {each.item_id for each in found}
                found += self._ask(aliases, models, pool - len(found), taken, is_bound)
        if len(found) < pool:
            found += self._fill(pool - len(found), {each.item_id for each in found})
        return [
            Entry(each, self.offers[each.item_id], self.positions[each.item_id]) for each in found
        ]

    def _ask(
        self,
        aliases: Sequence[str],
        models: Models,
        count: int,
        taken: set[str],
        is_bound: bool,
    ) -> list[Candidate]:
        self.looked_at = 0
        chain = Chain(dict(self._askable(aliases, models)), self._leave_out)  # type: ignore[arg-type]
        context = self.asking.about_seeds
        if taken:
            context = replace(context, exclude=context.exclude | taken)
        return chain.recommend(context, count, partial(self.allowed, is_bound=is_bound))

    def _askable(self, aliases: Sequence[str], models: Models) -> Iterator[tuple[str, Trained]]:
        for alias in aliases:
            if alias in sources.SOURCES:
                yield alias, _Live(alias, self.asking, models)
            elif alias in models:
                yield alias, _Lasting(alias, models[alias], self)

    def _leave_out(self, alias: str, error: Exception) -> None:
        """A recommender that breaks is left out, and the next ones answer."""
        logger.error(
            "The recommender %r broke and is left out. Train it again.", alias, exc_info=error
        )

    def allowed(self, ids: Sequence[str], *, is_bound: bool) -> set[str]:
        """Return those of `ids` that may be shown here and now."""
        asking = self.asking
        for id_ in ids:
            self.positions.setdefault(id_, len(self.positions))
        self.looked_at += len(ids)
        hidden = asking.never | asking.bought_since
        asked = [id_ for id_ in ids if id_ not in hidden and self.positions[id_] > self.after]
        if not asked:
            return set()
        found = asking.offers(asked)
        if is_bound and asking.conditions != {}:
            found = {id_: offer for id_, offer in found.items() if asking.fits(offer)}
        return self._kept(found)

    def _kept(self, found: dict[str, Offer]) -> set[str]:
        if found and self.asking.placement.is_of_message:
            sensitive = self.asking.ahead.sensitive(found)
            found = {id_: offer for id_, offer in found.items() if id_ not in sensitive}
        if self.in_force:
            facts = rules.facts_for(self.in_force, self.asking, list(found))
            self.facts.update(facts)
            found = {
                id_: offer
                for id_, offer in found.items()
                if not any(rule.matches(offer, facts) for rule in self.without)
                and (not self.only or any(rule.matches(offer, facts) for rule in self.only))
            }
        self.offers.update(found)
        return set(found)

    def _fill(self, count: int, taken: set[str]) -> list[Candidate]:
        """Fill from the catalogue itself: nothing trained yet, or products younger than the training."""
        asking = self.asking
        hidden = asking.never | taken
        if asking.options.is_paged:
            # In their places they were shown before, or come on a later page.
            hidden |= {id_ for id_, place in self.positions.items() if place <= self.after}
        found: list[Candidate] = []
        for each in self._shelves():
            hidden = hidden | {candidate.item_id for candidate in found}
            found += self._newest(count - len(found), hidden, each)
        return found

    def _shelves(self) -> Iterator[dict[str, object]]:
        """What the catalogue is asked for, one after the other."""
        if self.asking.is_strict:
            if self.asking.conditions is not None:
                yield self.asking.conditions
            return
        yield from self._only_conditions()
        yield {}

    def _only_conditions(self) -> Iterator[dict[str, object]]:
        """What the catalogue can be asked about the products of "show nothing but ..."."""
        for rule in self.only:
            wanted = rule.row.conditions
            given: dict[str, object] = {}
            if rule.categories:
                given["categories"] = sorted(rule.categories)
            if len(wanted.get("product_types", ())) == 1:
                given["product_type"] = wanted["product_types"][0]
            if "product_ids" in wanted:
                given["ids"] = wanted["product_ids"]
            yield given

    def _newest(
        self, count: int, hidden: frozenset[str] | set[str], conditions: dict[str, object]
    ) -> list[Candidate]:
        asking = self.asking
        found: list[Candidate] = []
        reach = 2 * count
        while len(found) < count:
            rows = asking.newest(reach, hidden, **conditions)
            for row in rows:
                self.positions.setdefault(row.product_id, len(self.positions))
            kept = self._kept({row.product_id: row for row in rows})
            found += [
                Candidate(row.product_id, 1 / (place + 1), ReasonCode.NEWEST, None, "newest")
                for place, row in enumerate(rows)
                if row.product_id in kept
                and row.product_id not in asking.bought_since
                and self.positions[row.product_id] > self.after
            ]
            if len(rows) < reach or reach > MOST_LOOKED_AT:
                break
            hidden = {*hidden, *(row.product_id for row in rows)}
            reach *= 2
        return found[:count]


@dataclass(frozen=True)
class _Live:
    """A source, asked like a trained recommender."""

    alias: str
    asking: Asking
    models: Models

    def recommend(self, context: Context, k: int) -> list[Candidate]:
        found = sources.SOURCES[self.alias](self.asking, self.models, k)
        best: dict[str, Candidate] = {}
        for each in found:
            if each.item_id not in context.exclude and each.item_id not in context.seeds:
                best.setdefault(each.item_id, each)
        return list(best.values())[:k]


@dataclass(frozen=True)
class _Lasting:
    """A trained recommender; should it break, what it last said to somebody we know nothing of."""

    alias: str
    trained: Trained
    pick: _Pick

    def recommend(self, context: Context, k: int) -> list[Candidate]:
        if self.pick.looked_at > MOST_LOOKED_AT:
            return []
        asking = self.pick.asking
        key = (asking.installation.pk, asking.channel_slug, self.alias, context.seeds)
        try:
            found = self.trained.recommend(context, k)
        except Exception as error:
            known = last_good.get(key)
            if known is None:
                raise
            self.pick._leave_out(self.alias, error)
            return [each for each in known if each.item_id not in context.exclude][:k]
        is_of_nobody = context.visitor_id is None and not context.session and not context.exclude
        if is_of_nobody and len(context.seeds) <= _MOST_SEEDS:
            last_good.put(key, found)
        return found


def _ordered(pick: _Pick, entries: list[Entry], in_force: Sequence[Rule]) -> list[Entry]:
    """Boost and bury; what the shop put beside the product by hand stays first."""
    if not rules.of_effect(in_force, RuleEffect.BOOST, RuleEffect.BURY):
        return entries
    worth = rules.weights(in_force, [entry.offer for entry in entries], pick.facts)
    order = sorted(range(len(entries)), key=lambda at: (not entries[at].is_curated, -worth[at], at))
    return [entries[at] for at in order]


def _pinned(pick: _Pick, entries: list[Entry], in_force: Sequence[Rule]) -> list[Entry]:
    """Put the pinned products in their places, each once, where they may be shown."""
    pins = rules.of_effect(in_force, RuleEffect.PIN)
    if not pins:
        return entries
    asking = pick.asking
    wanted = [id_ for rule in pins for id_ in rule.row.conditions.get("product_ids", ())]
    missing = [id_ for id_ in dict.fromkeys(wanted) if id_ not in pick.offers]
    if missing:
        pick.after = -1
        pick.allowed(missing, is_bound=False)
    pinned: dict[str, tuple[int, int]] = {}
    for order, rule in enumerate(pins):
        for id_ in rule.row.conditions.get("product_ids", [entry.item_id for entry in entries]):
            offer = pick.offers.get(id_)
            if offer is None or id_ in asking.never or id_ in pinned:
                continue
            if rule.matches(offer, pick.facts):
                # Of two rules for one place the first one counts: it is put there last.
                pinned[id_] = (rule.row.slot, -order)
                break
    entries = [entry for entry in entries if entry.item_id not in pinned]
    for id_, place in pinned.items():
        candidate = Candidate(id_, 1.0, ReasonCode.PINNED, None, "pinned")
        entries.append(Entry(candidate, pick.offers[id_], pick.positions[id_], place))
    return in_their_places(entries)[: asking.count]


def in_their_places(entries: Sequence[Entry]) -> list[Entry]:
    """Put what is pinned into its slots, between all that is not."""
    found = [entry for entry in entries if entry.pinned is None]
    pinned = [(entry.pinned, entry) for entry in entries if entry.pinned is not None]
    for (slot, _), entry in sorted(pinned, key=lambda pair: pair[0]):
        found.insert(slot - 1, entry)
    return found


def rerank(asking: Asking, models: Models, ids: Sequence[str]) -> list[Candidate]:
    """Order given products by what the person likes; those nobody says anything about keep their order."""
    wanted = [id_ for id_ in dict.fromkeys(ids) if id_ not in asking.never]
    places: Mapping[str, int] = {id_: place for place, id_ in enumerate(wanted)}
    found: dict[str, Candidate] = {}
    for alias, recommender in _Pick(asking, (), -1)._askable(
        (*asking.placement.recommenders, *asking.placement.fallback), models
    ):
        try:
            suggested = recommender.recommend(asking.about_seeds, MOST_LOOKED_AT)
        except Exception:
            logger.exception("The recommender %r broke and is left out. Train it again.", alias)
            continue
        for each in suggested:
            if each.item_id in places:
                found.setdefault(each.item_id, each._replace(strategy=alias))
    rest = [
        Candidate(id_, 0.0, ReasonCode.CATALOGUE, None, "given")
        for id_ in wanted
        if id_ not in found
    ]
    return [*found.values(), *rest]
