"""Answering a placement: the configured recommenders in order, filtered at the moment of asking."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.ml import Candidate, Chain, Context, ReasonCode
from saleor_personalize.models import (
    Checkout,
    Installation,
    OrderLine,
    Product,
    Profile,
)
from saleor_personalize.profiles import consent
from saleor_personalize.recommendations import models_store

logger = logging.getLogger(__name__)

#: Bought this recently is not recommended again.
JUST_BOUGHT = timedelta(days=30)
#: How long a server goes on with the names it knows.
NAMES_SECONDS = 60.0
_MAX_NAMES = 50_000


class Recommendation(NamedTuple):
    """A product to show: `slot` counts from 1, `strategy` is the alias of the recommender."""

    product_id: str
    slot: int
    score: float
    strategy: str
    reason_code: str
    reason_text: str


def recommend(
    *,
    installation: Installation,
    placement: str,
    channel_slug: str,
    now: datetime,
    product_id: str | None = None,
    checkout_id: str | None = None,
    profile: Profile | None = None,
    first: int = 10,
) -> list[Recommendation]:
    """Return up to `first` products for a placement, best first, none twice.

    Never the product of the page, what is in the cart, what the profile just bought, or what cannot
    be seen and bought in the sales channel now. The list is shorter only when the shop has no more.
    Who refused profiling is answered as if we did not know them. No reason names a sensitive product;
    in a message (`is_of_message`) none is shown, nor shown because of one.

    Raises UnknownAlias for a placement that is not configured.
    """
    aliases = _aliases(placement)
    if profile is not None and not consent.may_profile(profile=profile):
        profile = None
    count = max(1, min(first, settings.MAX_RECOMMENDATIONS))
    seeds = [product_id] if product_id else []
    if checkout_id:
        seeds += _products_in_cart(installation, checkout_id)
    exclude = _just_bought(profile, now) if profile else frozenset()
    without_sensitive = is_of_message(placement)
    if without_sensitive:
        sensitive = catalog.sensitive_ids(installation=installation, ids=seeds)
        exclude |= sensitive
        seeds = [id_ for id_ in seeds if id_ not in sensitive]
    context = Context(seeds=tuple(seeds), exclude=exclude, now=now.timestamp())

    def allowed(ids: Sequence[str]) -> set[str]:
        found = catalog.recommendable_ids(
            installation=installation, channel_slug=channel_slug, ids=ids, now=now
        )
        if without_sensitive:
            found -= catalog.sensitive_ids(installation=installation, ids=found)
        return found

    models = models_store.recommenders_of(installation, channel_slug)
    chain = Chain({alias: models[alias] for alias in aliases if alias in models}, _leave_out)
    found = chain.recommend(context, count, allowed)
    if len(found) < count:
        found += _newest_products(
            installation,
            channel_slug,
            hidden={*seeds, *exclude, *(candidate.item_id for candidate in found)},
            count=count - len(found),
            now=now,
            without_sensitive=without_sensitive,
        )
    reasons = {(candidate.reason_code, candidate.reason_item_id) for candidate in found}
    named = {item_id for _, item_id in reasons if item_id is not None}
    named -= catalog.sensitive_ids(installation=installation, ids=named)
    names = _names.of(installation, named)
    texts = {
        (code, item_id): reason_text(code, names.get(item_id or "", ""))
        for code, item_id in reasons
    }
    return [
        Recommendation(
            product_id=candidate.item_id,
            slot=slot,
            score=candidate.score,
            strategy=candidate.strategy or "",
            reason_code=candidate.reason_code,
            reason_text=texts[candidate.reason_code, candidate.reason_item_id],
        )
        for slot, candidate in enumerate(found, start=1)
    ]


def is_of_message(placement: str) -> bool:
    """Tell whether a placement stands in a message: it is called after a delivery channel ("email_more")."""
    return any(
        placement == channel or placement.startswith(f"{channel}_")
        for channel in DeliveryChannel.values
    )


def reason_text(code: str, name: str) -> str:
    """Return the sentence of a reason in the active language; `name` is the product it speaks of."""
    if code == ReasonCode.BOUGHT_TOGETHER and name:
        return _("Often bought together with %(name)s") % {"name": name}
    if code == ReasonCode.SIMILAR and name:
        return _("Similar to %(name)s") % {"name": name}
    if code == ReasonCode.NEWEST:
        return _("New in the shop")
    return _("Popular in the shop")


def _leave_out(alias: str, error: Exception) -> None:
    """A recommender that breaks is left out, and the next ones answer."""
    logger.error("The recommender %r broke and is left out. Train it again.", alias, exc_info=error)


def _aliases(placement: str) -> Sequence[str]:
    aliases = settings.PLACEMENTS.get(placement)
    if aliases is None:
        raise UnknownAlias(
            f"There is no placement {placement!r}. Known: {', '.join(sorted(settings.PLACEMENTS))}."
        )
    return aliases  # type: ignore[no-any-return]


def _products_in_cart(installation: Installation, checkout_id: str) -> list[str]:
    lines = (
        Checkout.objects.of(installation)
        .filter(saleor_id=checkout_id)
        .values_list("lines", flat=True)
        .first()
    )
    return [line["product_id"] for line in lines or [] if line["product_id"]]


def _just_bought(profile: Profile, now: datetime) -> frozenset[str]:
    return frozenset(
        OrderLine.objects.of(profile.installation)
        .filter(order__profile__in=profile.person(), order__placed_at__gt=now - JUST_BOUGHT)
        .exclude(product_saleor_id="")
        .values_list("product_saleor_id", flat=True)
    )


def _newest_products(
    installation: Installation,
    channel_slug: str,
    *,
    hidden: set[str],
    count: int,
    now: datetime,
    without_sensitive: bool,
) -> list[Candidate]:
    """Fill from the catalogue itself: nothing trained yet, or products younger than the training."""
    sold = catalog.recommendable(installation=installation, channel_slug=channel_slug, now=now)
    products: QuerySet[Product] = Product.objects.of(installation)
    if without_sensitive:
        products = catalog.without_sensitive(products, installation=installation)
    rows = (
        products.filter(
            deleted_at=None, saleor_id__in=sold.values_list("product_saleor_id", flat=True)
        )
        .exclude(saleor_id__in=hidden)
        .order_by("-saleor_created_at", "saleor_id")
        .values_list("saleor_id", "saleor_created_at")[:count]
    )
    return [
        Candidate(
            item_id=saleor_id,
            score=created_at.timestamp() if created_at else 0.0,
            reason_code=ReasonCode.NEWEST,
            strategy="newest",
        )
        for saleor_id, created_at in rows
    ]


class _Names:
    """Names of products that reasons speak of, remembered for a minute."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, str], tuple[float, str]] = {}

    def of(self, installation: Installation, ids: set[str]) -> dict[str, str]:
        now = time.monotonic()
        found, missing = {}, []
        for id_ in ids:
            known = self._names.get((installation.pk, id_))
            if known is not None and known[0] > now:
                found[id_] = known[1]
            else:
                missing.append(id_)
        if missing:
            read = catalog.names(installation=installation, ids=missing)
            if len(self._names) > _MAX_NAMES:
                self._names.clear()
            for id_ in missing:
                found[id_] = read.get(id_, "")
                self._names[installation.pk, id_] = (now + NAMES_SECONDS, found[id_])
        return found

    def clear(self) -> None:
        self._names.clear()


_names = _Names()


def forget() -> None:
    """Drop what this process remembers of models and names."""
    models_store.forget()
    _names.clear()
