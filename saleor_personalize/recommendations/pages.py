"""Content pages instead of products: guides, stories and pages of brands that suit a person or a page (B26).

A page is about what it refers to and what its tags say; so is a product. What a page has in common with
the products that count for the question decides, not how often anybody read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from saleor_personalize.catalog import pages as content
from saleor_personalize.catalog import queries as catalog
from saleor_personalize.catalog.pages import ContentPage, ProductSubjects, tag_key
from saleor_personalize.conf import settings
from saleor_personalize.ml import ReasonCode
from saleor_personalize.models import Category, Collection, Installation
from saleor_personalize.recommendations import reasons, rules, selection
from saleor_personalize.recommendations.asking import Asking
from saleor_personalize.recommendations.service import MAX_IDS, Known, Question, asking_of
from saleor_personalize.saleor_api.nodes import kind_of

#: How many products of a person, and of those the placement would show, are looked at.
_MOST_DONE, _MOST_SHOWN = 20, 30
#: What a person did says more of them than what we would show.
_WEIGHT_DONE = 2.0
#: A page and a product that name each other, beside something that they have in common.
_LINKED, _COMMON = 3.0, 1.0


class PageRecommendation(NamedTuple):
    """A page to read: `slot` counts from 1, `strategy` is "subject" or, where that ran out, "newest"."""

    page_id: str
    title: str
    slug: str
    page_type: str
    published_at: datetime | None
    slot: int
    score: float
    strategy: str
    reason_code: str
    reason_text: str


@dataclass(frozen=True)
class Place:
    """What the storefront page is about that asks. Without any of it, the person counts."""

    product_ids: tuple[str, ...] = ()
    category_id: str = ""
    brand: str = ""
    #: The content page being read: never shown, and those like it are.
    page_id: str = ""

    @property
    def is_somewhere(self) -> bool:
        return bool(self.product_ids or self.category_id or self.brand or self.page_id)


@dataclass(frozen=True)
class _Clue:
    """Why a page with some subject suits, and how much. `owner`: whose clue it is, such as a product."""

    owner: int
    strength: float
    code: str
    name: str


@dataclass
class _Clues:
    #: what a page refers to, or a tag of it -> why that suits
    by_subject: dict[str, list[_Clue]] = field(default_factory=dict)
    #: the page itself -> why it suits
    by_page: dict[str, list[_Clue]] = field(default_factory=dict)
    #: of each owner
    weights: list[float] = field(default_factory=list)
    #: Whether the question itself is about something sensitive.
    is_sensitive: bool = False

    @property
    def keys(self) -> set[str]:
        return {*self.by_subject, *self.by_page}

    def owner(self, weight: float) -> int:
        self.weights.append(weight)
        return len(self.weights) - 1

    def add(self, key: str, clue: _Clue) -> None:
        self.by_subject.setdefault(key, []).append(clue)


def recommend_pages(
    *,
    known: Known,
    placement: str,
    now: datetime,
    place: Place | None = None,
    hidden: Sequence[str] = (),
    first: int = 10,
    language_code: str = "",
) -> list[PageRecommendation]:
    """Return up to `first` published pages, the most fitting first, none twice.

    On a page of the storefront (`place`) those that are about its products, category or brand, and no
    others: the list may be short or empty. Elsewhere those about what the person looked at and bought,
    and about what `placement` would show them in the sales channel; then the newest ones that are about
    something sold there. A page about anything sensitive is shown only beside the product or category
    itself. `hidden`: pages that are shown already. Titles and
    names are in `language_code`. Raises UnknownAlias.
    """
    place = place or Place()
    asking = asking_of(known, placement, Question(), now=now, until=now, first=_MOST_SHOWN)
    left_out = {place.page_id, *hidden[:MAX_IDS]}
    kind: dict[str, Any] = {
        "installation": known.installation,
        "now": now,
        "page_types": settings.PAGE_TYPES,
        "language_code": language_code,
    }
    if place.is_somewhere:
        clues = _of_place(known.installation, place, now, language_code)
        is_sold = True
    else:
        shown = [
            entry.item_id
            for entry in selection.select(asking, known.models, rules.in_force(asking))
        ]
        clues = _of_person(asking, shown, language_code)
        # A sales channel that sells nothing, or that nobody knows, has no pages either.
        is_sold = bool(shown)
    pages = (
        [
            page
            for page in content.about(keys=clues.keys, title=place.brand, **kind)
            if page.id not in left_out
        ]
        if is_sold
        else []
    )
    if not clues.is_sensitive:
        sensitive = _sensitive(known.installation, pages)
        pages = [page for page in pages if page.id not in sensitive]
    ranked = [
        (score, page, clue) for page in pages for score, clue in _judged(page, clues, place.brand)
    ]
    ranked.sort(key=lambda each: -each[0])
    found = [
        _told(page, slot, score, "subject", clue.code, clue.name)
        for slot, (score, page, clue) in enumerate(ranked[:first], start=1)
    ]
    if is_sold and not place.is_somewhere and len(found) < first:
        left_out |= {each.page_id for each in found}
        for page in _newest(asking, left_out, first - len(found), **kind):
            code, name = _why_filled(page, now)
            found.append(_told(page, len(found) + 1, 0.0, "newest", code, name))
    return found


def _told(
    page: ContentPage, slot: int, score: float, strategy: str, code: str, name: str
) -> PageRecommendation:
    return PageRecommendation(
        page.id, page.title, page.slug, page.page_type, page.published_at, slot, score, strategy,
        str(code), reasons.text(code, name),
    )  # fmt: skip


# -- clues ------------------------------------------------------------------------------------------


def _of_person(asking: Asking, shown: Sequence[str], language_code: str) -> _Clues:
    """What the person did, the last thing first, and then what they would be shown."""
    history = asking.history
    seen = list(dict.fromkeys(each.product_id for each in history.done))[:_MOST_DONE]
    bought = list(dict.fromkeys(each.product_id for each in history.own_purchases))[:_MOST_DONE]
    told = {
        ReasonCode.BECAUSE_BOUGHT: [id_ for id_ in bought if id_ not in seen],
        ReasonCode.BECAUSE_VIEWED: seen,
    }
    ids = {*seen, *bought, *shown}
    ids -= catalog.sensitive_ids(installation=asking.installation, ids=ids)
    subjects = content.subjects_of(
        installation=asking.installation, ids=ids, language_code=language_code
    )
    clues = _Clues()
    for code, products in told.items():
        for place, id_ in enumerate(products, start=1):
            if id_ in subjects:
                _add_product(clues, subjects[id_], _WEIGHT_DONE / math.log2(1 + place), code)
    for place, id_ in enumerate(shown, start=1):
        if id_ in subjects and id_ not in seen and id_ not in bought:
            _add_product(clues, subjects[id_], 1 / math.log2(1 + place))
    return clues


def _of_place(
    installation: Installation, place: Place, now: datetime, language_code: str
) -> _Clues:
    """What the storefront page shows. No reason names what is sensitive."""
    ids = place.product_ids[:MAX_IDS]
    unnamed = catalog.sensitive_ids(installation=installation, ids=ids)
    subjects = content.subjects_of(installation=installation, ids=ids, language_code=language_code)
    clues = _Clues()
    for id_ in ids:
        if id_ in subjects:
            _add_product(clues, subjects[id_], 1.0, is_named=id_ not in unnamed)
    clues.is_sensitive = bool(unnamed)
    if place.category_id:
        is_named = place.category_id not in catalog.sensitive_marks(installation)[1]
        clues.is_sensitive |= not is_named
        owner = clues.owner(1.0)
        for each in content.subjects_of_category(
            installation=installation,
            category_id=place.category_id,
            language_code=language_code,
        ):
            name = each.name if is_named else ""
            clues.add(each.key, _Clue(owner, _COMMON, ReasonCode.ABOUT, name))
    if place.brand:
        owner = clues.owner(1.0)
        clues.add(tag_key(place.brand), _Clue(owner, _COMMON, ReasonCode.ABOUT, place.brand))
    if place.page_id:
        _add_page(clues, installation, place.page_id, now, language_code)
    return clues


def _add_product(
    clues: _Clues,
    subjects: ProductSubjects,
    weight: float,
    code: str | None = None,
    *,
    is_named: bool = True,
) -> None:
    """Add what pages may have in common with a product; `code` is the reason, if it is not what they have."""
    owner = clues.owner(weight)
    product = subjects.product.name if is_named else ""
    own = _Clue(owner, _LINKED, code or ReasonCode.ABOUT, product)
    clues.add(subjects.product.key, own)
    for page_id in subjects.page_ids:
        linked = _Clue(owner, _LINKED, code or ReasonCode.CURATED, product)
        clues.by_page.setdefault(page_id, []).append(linked)
    for each in subjects.others:
        name = product if code else each.name if is_named else ""
        clues.add(each.key, _Clue(owner, _COMMON, code or ReasonCode.ABOUT, name))


def _add_page(
    clues: _Clues, installation: Installation, page_id: str, now: datetime, language_code: str
) -> None:
    """Add what pages have in common with the one being read."""
    page = content.one(installation=installation, page_id=page_id, now=now)
    if page is None:
        return
    owner = clues.owner(1.0)
    products = _products(page)
    named = set(products) - catalog.sensitive_ids(installation=installation, ids=products)
    names = catalog.names(installation=installation, ids=named, language_code=language_code)
    for id_ in page.references:
        clues.add(id_, _Clue(owner, _COMMON, ReasonCode.ABOUT, names.get(id_, "")))
    for tag in _tags(page):
        clues.add(tag_key(tag), _Clue(owner, _COMMON, ReasonCode.ABOUT, tag))


# -- pages ------------------------------------------------------------------------------------------


def _tags(page: ContentPage) -> list[str]:
    """Return the tags of a page, of the attributes that count (PAGE_TAG_ATTRIBUTES)."""
    counted = settings.PAGE_TAG_ATTRIBUTES
    return [tag for slug, tag in page.tags if not counted or slug in counted]


def _judged(page: ContentPage, clues: _Clues, brand: str) -> Iterator[tuple[float, _Clue]]:
    """Yield how well a page suits, and the best reason; nothing for one that only seemed to."""
    keys = list(dict.fromkeys([*page.references, *(tag_key(tag) for tag in _tags(page))]))
    found = [*clues.by_page.get(page.id, ())]
    found += [clue for key in keys for clue in clues.by_subject.get(key, ())]
    if brand and page.own_title.casefold() == brand.casefold():
        found.append(_Clue(len(clues.weights) - 1, _LINKED, ReasonCode.ABOUT, brand))
    if not found:
        return
    worth: dict[int, float] = {}
    for clue in found:
        worth[clue.owner] = worth.get(clue.owner, 0.0) + clues.weights[clue.owner] * clue.strength
    best = max(found, key=lambda clue: (worth[clue.owner], -clue.owner, clue.strength))
    # A page about everything is about nothing in particular.
    yield sum(worth.values()) / math.sqrt(max(1, len(keys))), best


def _newest(asking: Asking, left_out: set[str], count: int, **kind: Any) -> list[ContentPage]:
    """Return the newest pages that are about anything, and not only about products that nobody can buy."""
    pages = content.newest(count=content.MOST_PAGES, **kind)
    pages = [page for page in pages if page.id not in left_out]
    left_out = _sensitive(asking.installation, pages)
    products = {id_ for page in pages for id_ in _products(page)}
    sold = catalog.recommendable_ids(
        installation=asking.installation,
        channel_slug=asking.channel_slug,
        ids=products,
        now=asking.now,
    )
    return [
        page
        for page in pages
        if page.id not in left_out and (_tags(page) or page.references)
        if not (named := _products(page)) or not sold.isdisjoint(named)
    ][:count]


def _why_filled(page: ContentPage, now: datetime) -> tuple[str, str]:
    """Return the reason of a page that nothing speaks for but its date: new, or else what it is about."""
    if page.published_at is not None and page.published_at > now - reasons.NEW_FOR:
        return ReasonCode.NEWEST, ""
    return ReasonCode.ABOUT, next(iter(_tags(page)), "")


def _products(page: ContentPage) -> list[str]:
    return [id_ for id_ in page.references if kind_of(id_) == "Product"]


def _sensitive(installation: Installation, pages: Iterable[ContentPage]) -> set[str]:
    """Return those of the pages that are about something sensitive, be it only by a tag of that name."""
    marked, categories = catalog.sensitive_marks(installation)
    if not marked:
        return set()
    pages = list(pages)
    ids = {id_ for page in pages for id_ in _products(page)}
    gone = {*marked, *categories, *catalog.sensitive_ids(installation=installation, ids=ids)}
    named = {
        tag_key(name)
        for model in (Category, Collection)
        for name in model.objects.of(installation)
        .filter(saleor_id__in=marked | categories)
        .values_list("name", flat=True)
    }
    return {
        page.id
        for page in pages
        if not gone.isdisjoint(page.references)
        or not named.isdisjoint(tag_key(tag) for _, tag in page.tags)
    }
