"""Why a placement answers as it does: the answer, who gave what, and what rules made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from saleor_personalize.catalog import cards
from saleor_personalize.catalog.cards import Card
from saleor_personalize.enums import RuleEffect
from saleor_personalize.models import Installation, MerchandisingRule, Profile, TrainedModel
from saleor_personalize.recommendations import merchandising, models_store, placements, service
from saleor_personalize.recommendations.merchandising import Place
from saleor_personalize.recommendations.service import Question, Recommendation

#: Rules that speak of what they leave out, and those that push others out by what they bring in.
_AGAINST = frozenset({RuleEffect.EXCLUDE, RuleEffect.BURY})


@dataclass(frozen=True)
class Shown:
    """A product of the answer; `place_without_rules` is None for what only a rule brought in."""

    found: Recommendation
    card: Card | None
    place_without_rules: int | None
    rules: Sequence[MerchandisingRule]

    @property
    def moved(self) -> int:
        """Places won by rules; lost ones are negative, 0 for what is new."""
        without = self.place_without_rules
        return 0 if without is None else without - self.found.slot


@dataclass(frozen=True)
class LeftOut:
    """A product that would be shown without rules, in this place."""

    product_id: str
    card: Card | None
    place: int
    rules: Sequence[MerchandisingRule]


@dataclass(frozen=True)
class Explained:
    """`recommenders`: who is asked in this placement, and who only fills; `model`: the version that answers."""

    shown: Sequence[Shown]
    left_out: Sequence[LeftOut]
    in_force: Sequence[MerchandisingRule]
    recommenders: Sequence[str]
    fallback: Sequence[str]
    model: TrainedModel | None


def explain(
    *,
    installation: Installation,
    placement: str,
    channel_slug: str,
    now: datetime,
    question: Question,
    profile: Profile | None = None,
    first: int = 10,
    language_code: str = "",
) -> Explained:
    """Answer a placement as `service.recommend` does, with what led to it.

    Nothing is recorded: nobody was shown anything. Raises UnknownAlias.
    """
    spot = placements.shop_of(installation).placement(placement)
    answer = service.recommend(
        installation=installation,
        placement=placement,
        channel_slug=channel_slug,
        now=now,
        profile=profile,
        first=first,
        language_code=language_code or None,
        **service.as_keywords(question),
    )
    view = merchandising.preview(
        installation=installation,
        placement=placement,
        channel_slug=channel_slug,
        now=now,
        question=question,
        profile=profile,
        first=first,
    )
    places = {place.product_id: place for place in view.places}
    in_force = [row for row, _ in view.effects]
    drawn = cards.cards(
        installation=installation,
        channel_slug=channel_slug,
        ids=list(places),
        language_code=language_code,
        now=now,
    )
    return Explained(
        shown=[
            Shown(
                found,
                drawn.get(found.product_id),
                places[found.product_id].before,
                places[found.product_id].rules,
            )
            for found in answer
            if found.product_id in places
        ],
        left_out=[
            LeftOut(
                place.product_id,
                drawn.get(place.product_id),
                place.before,
                _against(place, in_force),
            )
            for place in view.places
            if place.after is None and place.before is not None
        ],
        in_force=in_force,
        recommenders=spot.recommenders,
        fallback=spot.fallback,
        model=models_store.model_of(installation, channel_slug),
    )


def _against(place: Place, in_force: Sequence[MerchandisingRule]) -> list[MerchandisingRule]:
    """Return what kept a product out: rules that speak of it, else those that lift others above it."""
    found = [row for row in place.rules if row.effect in _AGAINST]
    return found or [row for row in in_force if row.effect not in _AGAINST]
