"""Answering placements: for one spot, for all spots of a page, for a list that is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.conf import settings
from saleor_personalize.models import Checkout, Installation, Profile, prepared
from saleor_personalize.recommendations import (
    history,
    models_store,
    paging,
    placements,
    reasons,
    remembered,
    rules,
    selection,
    sources,
    trained,
)
from saleor_personalize.recommendations.ahead import Ahead
from saleor_personalize.recommendations.asking import Asking
from saleor_personalize.recommendations.last_good import last_good
from saleor_personalize.recommendations.selection import Entry

#: Ids of a list that is re-ranked, and of products that are hidden.
MAX_IDS = 1_000


class Recommendation(NamedTuple):
    """A product to show: `slot` counts from 1, `strategy` is the alias of who suggested it.

    `cursor` is where the next page of a paged placement begins (`after`); empty elsewhere.
    """

    product_id: str
    slot: int
    score: float
    strategy: str
    reason_code: str
    reason_text: str
    cursor: str = ""


@dataclass(frozen=True)
class Question:
    """What a page tells about itself, the same for all its placements."""

    product_id: str | None = None
    product_ids: tuple[str, ...] = ()
    checkout_id: str | None = None
    category_id: str | None = None
    query: str | None = None
    country_code: str | None = None
    #: (name, value), each name once
    situation: tuple[tuple[str, str], ...] = ()
    hidden: tuple[str, ...] = ()


def recommend(
    *,
    installation: Installation,
    placement: str,
    channel_slug: str,
    now: datetime,
    product_id: str | None = None,
    product_ids: Sequence[str] = (),
    checkout_id: str | None = None,
    category_id: str | None = None,
    query: str | None = None,
    country_code: str | None = None,
    situation: Mapping[str, str] | None = None,
    profile: Profile | None = None,
    hidden: Sequence[str] = (),
    after: str | None = None,
    first: int = 10,
    known: Known | None = None,
) -> list[Recommendation]:
    """Return up to `first` products for a placement, best first, none twice.

    `product_id`: the product of the page; `product_ids`: several of them, such as the lines of an order.
    `category_id`, `query`: of the page. `country_code`: where the person is, else what we know of them.
    `situation`: what rules may ask about the moment, such as {"weather": "rain"}. `hidden`: products
    that the page shows already. `known`: what was read for another question of the request, instead of
    `profile`. `after`: the cursor of the last product of the page before.

    Never a product of the page, what is in the cart, what the profile just bought (HIDE_BOUGHT), or
    what cannot be seen and bought in the sales channel now. The list is shorter only when the shop has
    no more. Who refused profiling is answered as if we did not know them. No reason names a sensitive
    product; in a message (`placements.is_of_message`) none is shown, nor shown because of one.

    Raises UnknownAlias for a placement that is not configured, InvalidCursor for an `after` of none of
    our answers.
    """
    question = Question(
        product_id,
        tuple(product_ids),
        checkout_id,
        category_id,
        query,
        country_code,
        tuple((situation or {}).items()),
        tuple(hidden),
    )
    until, position = paging.read(after, now) if after else (now, -1)
    if known is None or after:
        known = known_of(
            installation=installation, channel_slug=channel_slug, profile=profile, until=until
        )
    asking = asking_of(known, placement, question, now=now, until=until, first=first)
    if after and known.profile is not None:
        since = history.read(known.profile, now).hidden(now)
        asking = replace(asking, bought_since=since - known.history.hidden(until))
    entries = selection.select(asking, known.models, rules.in_force(asking), after=position)
    return told(asking, entries)


def recommend_each(
    *,
    known: Known,
    placement: str,
    product_ids: Sequence[str],
    now: datetime,
    question: Question | None = None,
    first: int = 10,
) -> dict[str, list[Recommendation]]:
    """Return what `recommend` returns on the page of each product; what they have in common is read once.

    Raises UnknownAlias.
    """
    ahead = Ahead(installation=known.installation, channel_slug=known.channel_slug, now=now)
    question = question or Question()
    cart: list[str] = []
    if question.checkout_id and not placements.is_of_message(placement):
        cart = _products_in_cart(known.installation, question.checkout_id)
        question = replace(question, checkout_id=None)
    askings = {}
    for id_ in dict.fromkeys(product_ids):
        asked = replace(question, product_id=id_)
        asking = asking_of(known, placement, asked, now=now, until=now, first=first)
        seeds = tuple(dict.fromkeys([*asking.seeds, *cart]))
        askings[id_] = replace(asking, seeds=seeds, ahead=ahead)
    ahead.references([seed for asking in askings.values() for seed in asking.seeds])
    in_force = {id_: rules.in_force(asking) for id_, asking in askings.items()}
    for id_, asking in askings.items():
        ahead.want_offers(selection.foreseen(asking, known.models, in_force[id_]))
    found = {
        id_: selection.select(asking, known.models, in_force[id_])
        for id_, asking in askings.items()
    }
    # The names of the reasons are remembered: all at once, and not one product after the other.
    reasons.texts(
        known.installation, [entry.candidate for entries in found.values() for entry in entries]
    )
    return {id_: told(askings[id_], entries) for id_, entries in found.items()}


def as_keywords(question: Question) -> dict[str, Any]:
    """Return what `recommend` takes for a question."""
    return {**vars(question), "situation": dict(question.situation)}


def recommend_page(
    *,
    installation: Installation,
    placements: Sequence[str],
    channel_slug: str,
    now: datetime,
    profile: Profile | None = None,
    question: Question | None = None,
    first: int = 10,
) -> dict[str, list[Recommendation]]:
    """Return up to `first` products for each placement of one page; none stands in two of them.

    What a placement would show first is given to it before another one fills up with it: a complement
    stays a complement. Raises UnknownAlias.
    """
    known = known_of(
        installation=installation, channel_slug=channel_slug, profile=profile, until=now
    )
    question = question or Question()
    askings = [
        asking_of(known, key, question, now=now, until=now, first=first)
        for key in dict.fromkeys(placements)
    ]
    taken: set[str] = set()
    kept: dict[str, list[Entry]] = {asking.placement.key: [] for asking in askings}
    # First what each is there for, then what fills.
    for fills in (False, True):
        for asking in askings:
            mine = kept[asking.placement.key]
            if len(mine) >= asking.count:
                continue
            asked = replace(asking, hidden=asking.hidden | taken)
            for entry in selection.select(asked, known.models, rules.in_force(asked)):
                is_own = entry.candidate.strategy in _OWN or _is_first(asking, entry)
                if len(mine) < asking.count and (fills or is_own):
                    mine.append(entry)
                    taken.add(entry.item_id)
    return {asking.placement.key: told(asking, kept[asking.placement.key]) for asking in askings}


#: Whoever suggests these is not there to fill up.
_OWN = frozenset({"curated", "pinned"})
_FILLERS = frozenset({"popular", "newest", "catalogue", "for_you"})


def _is_first(asking: Asking, entry: Entry) -> bool:
    strategy = entry.candidate.strategy or ""
    if strategy in asking.placement.fallback and strategy not in asking.placement.recommenders:
        return False
    wanted = [alias for alias in asking.placement.recommenders if alias not in _FILLERS]
    # The last of several is what fills up: "bought together, else similar".
    return strategy in (wanted[:-1] if len(wanted) > 2 else wanted)


def rerank(
    *,
    installation: Installation,
    channel_slug: str,
    ids: Sequence[str],
    now: datetime,
    placement: str = "home",
    profile: Profile | None = None,
    question: Question | None = None,
) -> list[Recommendation]:
    """Return those of `ids` that may be shown now, the ones this person should like most first.

    What nobody says anything about keeps its order. At most MAX_IDS; ValueError for more.
    """
    if len(ids) > MAX_IDS:
        raise ValueError(f"{len(ids)} products to rank; at most {MAX_IDS} are.")
    known = known_of(
        installation=installation, channel_slug=channel_slug, profile=profile, until=now
    )
    asking = asking_of(
        known,
        placement,
        question or Question(),
        now=now,
        until=now,
        first=settings.MAX_RECOMMENDATIONS,
    )
    # A list of the shop's own is not thinned by what was bought lately.
    asking = replace(asking, hidden=frozenset(question.hidden if question else ()))
    ranked = selection.rerank(asking, known.models, ids)
    offers = catalog.offers(
        installation=installation,
        channel_slug=channel_slug,
        ids=[each.item_id for each in ranked],
        now=now,
    )
    entries = [
        Entry(each, offers[each.item_id], place)
        for place, each in enumerate(ranked)
        if each.item_id in offers
    ]
    return told(asking, entries)


# -- what is known ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What holds for all questions of a request."""

    installation: Installation
    channel_slug: str
    profile: Profile | None
    history: history.History
    models: sources.Models


def known_of(
    *, installation: Installation, channel_slug: str, profile: Profile | None, until: datetime
) -> Known:
    """Read what holds for all questions of one request; hand it to each `recommend` of it."""
    did = history.read(profile, until) if profile is not None else history.NOTHING
    if did is history.REFUSED:
        profile = None
    return Known(
        installation, channel_slug, profile, did, trained.models_of(installation, channel_slug)
    )


def asking_of(
    known: Known,
    key: str,
    question: Question,
    *,
    now: datetime,
    until: datetime,
    first: int,
) -> Asking:
    """Put a question together for a placement. Raises UnknownAlias."""
    installation = known.installation
    shop = placements.shop_of(installation)
    placement = shop.placement(key)
    count = max(1, min(first, settings.MAX_RECOMMENDATIONS))
    page = [question.product_id] if question.product_id else []
    page += [id_ for id_ in question.product_ids[:MAX_IDS] if id_]
    seeds = [*page]
    if question.checkout_id:
        seeds += _products_in_cart(installation, question.checkout_id)
    hidden = {*question.hidden[:MAX_IDS], *known.history.hidden(until)}
    if placement.is_of_message:
        sensitive = catalog.sensitive_ids(installation=installation, ids=seeds)
        hidden |= sensitive
        seeds = [id_ for id_ in seeds if id_ not in sensitive]
        page = [id_ for id_ in page if id_ not in sensitive]
    asking = Asking(
        installation=installation,
        shop=shop,
        placement=placement,
        channel_slug=known.channel_slug,
        now=now,
        until=until,
        seeds=tuple(dict.fromkeys(seeds)),
        page_products=tuple(page),
        category_id=question.category_id or "",
        query=question.query or "",
        country_code=(
            question.country_code or (known.profile.country_code if known.profile else "") or ""
        ).upper(),
        situation=dict(question.situation),
        history=known.history,
        hidden=frozenset(hidden),
        count=count,
    )
    if "due_again" in placement.recommenders:
        # What is due was bought lately, and is meant to come back.
        due = {each.item_id for each in sources.due_again(asking, known.models, count)}
        asking = replace(asking, hidden=asking.hidden - (due - set(question.hidden)))
    return asking


_CART = f"""
SELECT line ->> 'product_id' FROM {Checkout._meta.db_table}, jsonb_array_elements(lines) AS line
WHERE installation_id = %(installation)s AND saleor_id = %(checkout)s AND line ->> 'product_id' <> ''
"""  # noqa: S608 (the name of the table is ours)


def _products_in_cart(installation: Installation, checkout_id: str) -> list[str]:
    with prepared.cursor() as cursor:
        cursor.execute(_CART, {"installation": installation.pk, "checkout": checkout_id})
        return [product_id for (product_id,) in cursor.fetchall()]


# -- the answer -------------------------------------------------------------------------------------


def told(asking: Asking, entries: Sequence[Entry]) -> list[Recommendation]:
    """Return what was selected with its slots and reasons."""
    found = reasons.true_ones(asking, [(entry.candidate, entry.offer) for entry in entries])
    texts = reasons.texts(asking.installation, found)
    is_paged = asking.options.is_paged
    # Rules move products within a page: the next one begins after all of it.
    passed = accumulate((entry.position for entry in entries), max)
    return [
        Recommendation(
            product_id=candidate.item_id,
            slot=slot,
            score=candidate.score,
            strategy=candidate.strategy or "",
            reason_code=str(candidate.reason_code),
            reason_text=texts[candidate.reason_code, candidate.reason_item_id],
            cursor=paging.cursor(asking.until, position) if is_paged else "",
        )
        for slot, (candidate, position) in enumerate(zip(found, passed, strict=True), start=1)
    ]


def is_of_message(placement: str) -> bool:
    """Tell whether a placement stands in a message (`placements.is_of_message`)."""
    return placements.is_of_message(placement)


def forget() -> None:
    """Drop what this process remembers."""
    models_store.forget()
    placements.forget()
    remembered.forget()
    last_good.clear()
