"""Reads of what was worked out."""

from __future__ import annotations

from saleor_personalize.models import ComputedTraits, Installation, Predictor, Profile


def traits_of(profile: Profile) -> ComputedTraits | None:
    """Return the traits of the person behind a profile; None until they are worked out, or refused."""
    return (
        ComputedTraits.objects.of(profile.installation_id)
        .filter(profile__in=profile.person(), profile__merged_into=None)
        .first()
    )


def predictors_of(installation: Installation) -> dict[str, Predictor]:
    """Return what foretells in this shop, published or not, by `PredictionTarget`."""
    return {row.target: row for row in Predictor.objects.of(installation)}
