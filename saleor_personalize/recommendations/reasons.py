"""Why a product is shown: a code and a sentence, true for this person and this shop (B36)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta

from django.utils.translation import get_language
from django.utils.translation import gettext as _

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.catalog.queries import Offer
from saleor_personalize.ml import Candidate, ReasonCode
from saleor_personalize.models import Installation
from saleor_personalize.recommendations.asking import Asking
from saleor_personalize.recommendations.remembered import Remembered

Code = ReasonCode

_names: Remembered[str] = Remembered(seconds=60, most=50_000)

_KNOWN = frozenset(str(code) for code in ReasonCode)
#: Later it is no longer called new.
NEW_FOR = timedelta(days=90)
#: Reasons that speak of a category instead of a product.
OF_CATEGORY = frozenset({Code.SAME_CATEGORY, Code.BEST_SELLER})
#: What somebody must have done for a reason to be true that names it.
_DONE = frozenset({Code.BECAUSE_VIEWED, Code.SESSION, Code.VIEWED_TOGETHER, Code.FOR_YOU})
_BOUGHT = frozenset({Code.BECAUSE_BOUGHT, Code.BUY_AGAIN})
_OF_ITSELF = frozenset({Code.RECENT, Code.LEFT_BEHIND, Code.BUY_AGAIN})
_OF_PAGE = frozenset(
    {
        Code.BOUGHT_TOGETHER, Code.BOUGHT_WITH_SIMILAR, Code.SIMILAR, Code.CURATED, Code.VISUAL, Code.UP_SELL, Code.DOWN_SELL,
        Code.SAME_BRAND,
    }
)  # fmt: skip


def true_ones(asking: Asking, found: Iterable[tuple[Candidate, Offer]]) -> list[Candidate]:
    """Return the candidates with reasons that hold for who asks: nobody is told what they did not do."""
    seen = {each.product_id for each in asking.history.done}
    bought = {each.product_id for each in asking.history.own_purchases}
    return [_priced(_true(each, asking, seen, bought), offer, asking) for each, offer in found]


def _true(each: Candidate, asking: Asking, seen: set[str], bought: set[str]) -> Candidate:
    if each.reason_code not in _KNOWN:
        # A recommender of the shop's own, with a code that no storefront knows.
        each = each._replace(reason_code=Code.CATALOGUE, reason_item_id=None)
    if not math.isfinite(each.score):
        each = each._replace(score=0.0)  # JSON has no other way to say it
    code, item_id = each.reason_code, each.reason_item_id
    if item_id is None or code in OF_CATEGORY:
        return each
    if item_id == each.item_id and code not in _OF_ITSELF:
        # Nothing is shown because of itself.
        code = Code.RECENT if item_id in seen else Code.FOR_YOU
        return each._replace(reason_code=code, reason_item_id=None)
    if code in _OF_PAGE:
        if item_id in asking.seeds:
            return each
        if item_id in seen:
            return each._replace(reason_code=Code.BECAUSE_VIEWED)
        if item_id in bought:
            return each._replace(reason_code=Code.BECAUSE_BOUGHT)
        return each._replace(reason_code=Code.FOR_YOU, reason_item_id=None)
    if code in _DONE:
        if item_id in seen:
            return each._replace(reason_code=Code.BECAUSE_VIEWED)
        if item_id in bought:
            return each._replace(reason_code=Code.BECAUSE_BOUGHT)
        return each._replace(reason_code=Code.FOR_YOU, reason_item_id=None)
    if code in _BOUGHT and item_id not in bought:
        return each._replace(reason_code=Code.FOR_YOU, reason_item_id=None)
    if code in {Code.RECENT, Code.LEFT_BEHIND}:
        # The sentence speaks of the product itself, which stands there anyway.
        return each._replace(reason_item_id=None)
    return each


def _priced(each: Candidate, offer: Offer, asking: Asking) -> Candidate:
    """Say of what is a step up or down in price that it is one, and of what is old not that it is new."""
    if each.reason_code == Code.NEWEST and not _is_new(offer, asking):
        return each._replace(reason_code=Code.CATALOGUE)
    options = asking.options
    is_up = options.price_from is not None and options.price_from >= 1
    is_down = options.price_to is not None and options.price_to <= 1
    page = asking.page_offer if is_up or is_down else None
    if page is None or page.price is None or not asking.fits(offer):
        return each
    code = Code.UP_SELL if is_up else Code.DOWN_SELL
    return each._replace(reason_code=code, reason_item_id=page.product_id)


def _is_new(offer: Offer, asking: Asking) -> bool:
    return offer.created_at is not None and offer.created_at > asking.now - NEW_FOR


def texts(
    installation: Installation, found: Iterable[Candidate], *, language_code: str | None = None
) -> Mapping[tuple[str, str | None], str]:
    """Return the sentence of each (code, id) in the active language; none names what is sensitive.

    The names in it are in `language_code`, as on cards; by default in the active language.
    """
    reasons = {(each.reason_code, each.reason_item_id) for each in found}
    products = {id_ for code, id_ in reasons if id_ is not None and code not in OF_CATEGORY}
    categories = {id_ for code, id_ in reasons if id_ is not None and code in OF_CATEGORY}
    products -= catalog.sensitive_ids(installation=installation, ids=products)
    if categories:
        categories -= catalog.sensitive_marks(installation)[1]
    language = (language_code or get_language() or "").lower()
    names = _read(installation, products, categories, language)
    return {(code, id_): text(code, names.get(id_ or "", "")) for code, id_ in reasons}


def _read(
    installation: Installation, products: set[str], categories: set[str], language: str
) -> dict[str, str]:
    def read(keys: list[tuple[int, str, str]]) -> dict[tuple[int, str, str], str]:
        wanted = {id_ for *_, id_ in keys}
        read_in: dict[str, str] = {}
        if of_products := wanted & products:
            read_in |= catalog.names(
                installation=installation, ids=of_products, language_code=language
            )
        if of_categories := wanted & categories:
            named = catalog.category_names(
                installation=installation, ids=of_categories, language_code=language
            )
            read_in |= {id_: name for id_, (name, _slug) in named.items()}
        return {key: read_in.get(key[2], "") for key in keys}

    keys = [(installation.pk, language, id_) for id_ in products | categories]
    return {id_: name for (*_, id_), name in _names.get_many(keys, read).items()}


def text(code: str, name: str) -> str:
    """Return the sentence of a reason; `name` is the product or category it speaks of, or empty."""
    named = _with_name(code) if name else None
    if named is not None:
        return named % {"name": name}
    return _without_name(code)


def _with_name(code: str) -> str | None:
    # Each call stands by itself: the texts are collected from the source.
    sentences = {
        Code.BOUGHT_TOGETHER: lambda: _("Often bought together with %(name)s"),
        Code.BOUGHT_WITH_SIMILAR: lambda: _("Often bought together with things like %(name)s"),
        Code.SIMILAR: lambda: _("Similar to %(name)s"),
        Code.VISUAL: lambda: _("Looks like %(name)s"),
        Code.CURATED: lambda: _("Chosen by us to go with %(name)s"),
        Code.BECAUSE_VIEWED: lambda: _("Because you looked at %(name)s"),
        Code.BECAUSE_BOUGHT: lambda: _("Because you bought %(name)s"),
        Code.SAME_CATEGORY: lambda: _("Popular in %(name)s, which you like"),
        Code.SAME_BRAND: lambda: _("By the maker of %(name)s"),
        Code.BEST_SELLER: lambda: _("Best seller in %(name)s"),
        Code.UP_SELL: lambda: _("A step up from %(name)s"),
        Code.DOWN_SELL: lambda: _("Like %(name)s, for less"),
        Code.ABOUT: lambda: _("About %(name)s"),
    }
    sentence = sentences.get(ReasonCode(code))
    return sentence() if sentence else None


def _without_name(code: str) -> str:
    sentences = {
        Code.POPULAR: lambda: _("Popular in the shop"),
        Code.NEWEST: lambda: _("New in the shop"),
        Code.CATALOGUE: lambda: _("From our range"),
        Code.TRENDING: lambda: _("More and more people look at this"),
        Code.BEST_SELLER: lambda: _("Best seller"),
        Code.BUY_AGAIN: lambda: _("Time to buy this again"),
        Code.RECENT: lambda: _("You looked at this"),
        Code.LEFT_BEHIND: lambda: _("You wanted this"),
        Code.SEARCH: lambda: _("Matches your search"),
        Code.PINNED: lambda: _("Recommended by the shop"),
        Code.FOR_YOU: lambda: _("Picked for you"),
        Code.SESSION: lambda: _("Fits what you are looking at"),
    }
    sentence = sentences.get(ReasonCode(code))
    return sentence() if sentence else _("Recommended by the shop")
