"""Answering placements: for one spot, for all spots of a page, for a list that is given."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

from saleor_personalize.conf import settings
from saleor_personalize.ml import Candidate, Context
from saleor_personalize.models import Installation, Profile
from saleor_personalize.recommendations import (
    arms,
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
from saleor_personalize.recommendations.ahead import Ahead, Waiting
from saleor_personalize.recommendations.asking import Asking
from saleor_personalize.recommendations.last_good import last_good
from saleor_personalize.recommendations.selection import Entry

#: Ids of a list that is re-ranked, and of products that are hidden.
MAX_IDS = 1_000


class Recommendation(NamedTuple):
    """A product to show: `slot` counts from 1, `strategy` is the alias of who suggested it.

    `cursor` is where the next page of a paged placement begins (`after`); empty elsewhere. `arm` is that of
    the placement's experiment; empty without one.
    """

    product_id: str
    slot: int
    score: float
    strategy: str
    reason_code: str
    reason_text: str
    cursor: str = ""
    arm: str = ""


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
    language_code: str | None = None,
    is_shown: bool = False,
) -> list[Recommendation]:
    """Return up to `first` products for a placement, best first, none twice.

    `product_id`: the product of the page; `product_ids`: several of them, such as the lines of an order.
    `category_id`, `query`: of the page. `country_code`: where the person is, else what we know of them.
    `situation`: what rules may ask about the moment, such as {"weather": "rain"}. `hidden`: products
    that the page shows already. `known`: what was read for another question of the request, instead of
    `profile`. `after`: the cursor of the last product of the page before. `language_code`: of the names
    in reasons, else the active language. `is_shown`: to the person, who so takes part in the experiment of
    the placement, if it has one.

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
    if is_shown:
        _take_part(known, asking.placement, now)
    return told(asking, entries, language_code)


@dataclass(frozen=True)
class Page:
    """A page of those that `recommend_each` answers together."""

    known: Known
    question: Question


def recommend_each(
    *,
    placement: str,
    pages: Mapping[str, Page],
    now: datetime,
    first: int = 10,
    is_strict: bool = False,
    language_code: str | None = None,
    is_shown: bool = False,
) -> dict[str, list[Recommendation]]:
    """Return what `recommend` returns for each page; all of them take as many reads as one.

    The pages are of one shop and sales channel. `is_strict`: nothing fills up that the constraints of
    the placement do not allow, so a list may be empty. Raises UnknownAlias.
    """
    if not pages:
        return {}
    one = next(iter(pages.values())).known
    ahead = Ahead(installation=one.installation, channel_slug=one.channel_slug, now=now, waits=True)
    models = {alias: _Once(each) for alias, each in one.models.items()}
    answers: dict[str, tuple[Asking, list[Entry], list[Candidate]]] = {}
    while len(answers) < len(pages):
        for key, page in pages.items():
            if key in answers:
                continue
            # What it lacks is read before the next round, with what the others lack.
            with contextlib.suppress(Waiting):
                asking = asking_of(
                    page.known,
                    placement,
                    page.question,
                    now=now,
                    until=now,
                    first=first,
                    ahead=ahead,
                )
                asking = replace(asking, is_strict=is_strict)
                entries = selection.select(asking, models, rules.in_force(asking))
                answers[key] = asking, entries, _reasoned(asking, entries)
        ahead.read()
    if is_shown:
        for key, (asking, *_rest) in answers.items():
            _take_part(pages[key].known, asking.placement, now)
    texts = reasons.texts(
        one.installation,
        [each for *_, found in answers.values() for each in found],
        language_code=language_code,
    )
    return {
        key: _told(asking, entries, found, texts)
        for key, (asking, entries, found) in answers.items()
    }


class _Once:
    """A recommender that is asked each thing once, however often a page is worked on."""

    def __init__(self, trained: sources.Trained) -> None:
        self._trained = trained
        self._said: dict[tuple[Context, int], list[Candidate]] = {}

    def recommend(self, context: Context, k: int) -> list[Candidate]:
        key = (context, k)
        if key not in self._said:
            self._said[key] = self._trained.recommend(context, k)
        return self._said[key]


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
    language_code: str | None = None,
    is_shown: bool = False,
) -> dict[str, list[Recommendation]]:
    """Return up to `first` products for each placement of one page; none stands in two of them.

    What a placement would show first is given to it before another one fills up with it: a complement
    stays a complement. Raises UnknownAlias.
    """
    known = known_of(
        installation=installation, channel_slug=channel_slug, profile=profile, until=now
    )
    question = question or Question()
    ahead = Ahead(installation=installation, channel_slug=channel_slug, now=now)
    askings = [
        asking_of(known, key, question, now=now, until=now, first=first, ahead=ahead)
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
    if is_shown:
        for asking in askings:
            _take_part(known, asking.placement, now)
    return {
        asking.placement.key: told(
            asking, selection.in_their_places(kept[asking.placement.key]), language_code
        )
        for asking in askings
    }


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
    language_code: str | None = None,
    is_shown: bool = False,
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
    offers = asking.offers([each.item_id for each in ranked])
    entries = [
        Entry(each, offers[each.item_id], place)
        for place, each in enumerate(ranked)
        if each.item_id in offers
    ]
    if is_shown:
        _take_part(known, asking.placement, now)
    return told(asking, entries, language_code)


# -- what is known ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What holds for all questions of a request."""

    installation: Installation
    channel_slug: str
    profile: Profile | None
    history: history.History
    models: sources.Models
    #: Placements as this person gets them, read once.
    arms: dict[str, placements.Placement] = field(default_factory=dict, compare=False)


def known_of(
    *, installation: Installation, channel_slug: str, profile: Profile | None, until: datetime
) -> Known:
    """Read what holds for all questions of one request; hand it to each `recommend` of it."""
    (known,) = known_of_each(
        installation=installation, channel_slug=channel_slug, profiles=[profile], until=until
    )
    return known


def known_of_each(
    *,
    installation: Installation,
    channel_slug: str,
    profiles: Sequence[Profile | None],
    until: datetime,
) -> list[Known]:
    """Return what `known_of` returns for each profile, read at once."""
    did = history.read_each([each for each in profiles if each is not None], until)
    models = trained.models_of(installation, channel_slug)
    found = []
    for profile in profiles:
        mine = did[profile.pk] if profile is not None else history.NOTHING
        is_refused = mine is history.REFUSED
        found.append(
            Known(installation, channel_slug, None if is_refused else profile, mine, models)
        )
    return found


def asking_of(
    known: Known,
    key: str,
    question: Question,
    *,
    now: datetime,
    until: datetime,
    first: int,
    ahead: Ahead | None = None,
) -> Asking:
    """Put a question together for a placement; `ahead` is shared by those of one request.

    Raises UnknownAlias.
    """
    installation = known.installation
    ahead = ahead or Ahead(installation=installation, channel_slug=known.channel_slug, now=now)
    shop = placements.shop_of(installation)
    placement = _in_arm(known, shop.placement(key))
    count = max(1, min(first, settings.MAX_RECOMMENDATIONS))
    page = [question.product_id] if question.product_id else []
    page += [id_ for id_ in question.product_ids[:MAX_IDS] if id_]
    seeds = [*page]
    if question.checkout_id:
        seeds += ahead.cart(question.checkout_id)
    hidden = {*question.hidden[:MAX_IDS], *known.history.hidden(until)}
    if placement.is_of_message:
        sensitive = ahead.sensitive(seeds)
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
        ahead=ahead,
        seeds=tuple(dict.fromkeys(seeds)),
        page_products=tuple(page),
        category_id=question.category_id or "",
        query=question.query or "",
        country_code=_country_of(question, known.profile),
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


def _in_arm(known: Known, placement: placements.Placement) -> placements.Placement:
    if not placement.arms:
        return placement
    if placement.key not in known.arms:
        known.arms[placement.key] = arms.in_arm(
            placement, installation=known.installation, profile=known.profile
        )
    return known.arms[placement.key]


def _take_part(known: Known, placement: placements.Placement, now: datetime) -> None:
    """Let the person take part in the placement's experiment. Whoever refused profiling is nobody here."""
    if placement.arms and known.profile is not None:
        arms.take_part(placement, profile=known.profile, now=now)


def _country_of(question: Question, profile: Profile | None) -> str:
    """Return the country of the page or else of the person; what is none is as good as none."""
    for code in (question.country_code, profile.country_code if profile is not None else ""):
        if code and len(code) == 2 and code.isascii() and code.isalpha():
            return code.upper()
    return ""


# -- the answer -------------------------------------------------------------------------------------


def told(
    asking: Asking, entries: Sequence[Entry], language_code: str | None = None
) -> list[Recommendation]:
    """Return what was selected with its slots and reasons."""
    found = _reasoned(asking, entries)
    texts = reasons.texts(asking.installation, found, language_code=language_code)
    return _told(asking, entries, found, texts)


def _reasoned(asking: Asking, entries: Sequence[Entry]) -> list[Candidate]:
    return reasons.true_ones(asking, [(entry.candidate, entry.offer) for entry in entries])


def _told(
    asking: Asking,
    entries: Sequence[Entry],
    found: Sequence[Candidate],
    texts: Mapping[tuple[str, str | None], str],
) -> list[Recommendation]:
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
            arm=asking.placement.arm,
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
