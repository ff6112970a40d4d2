"""Keeping the first steps that no other table tells of."""

from __future__ import annotations

from datetime import datetime

from saleor_personalize.enums import FirstStepKey
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.models import FirstStep, Installation
from saleor_personalize.onboarding.recipes import RECIPES


def note(
    *, installation: Installation, key: FirstStepKey, now: datetime, detail: str = ""
) -> FirstStep:
    """Keep that a step was taken; taken again, the last time counts."""
    step, _ = FirstStep.objects.update_or_create(
        installation=installation, key=key, defaults={"done_at": now, "detail": detail}
    )
    return step


def choose(*, installation: Installation, recipe: str, now: datetime) -> FirstStep:
    """Keep with which journey a shop begins; nothing is switched on. Raises UnknownAlias for none of ours."""
    if recipe not in RECIPES:
        raise UnknownAlias(f"There is no recipe {recipe!r}. Known: {', '.join(RECIPES)}.")
    return note(installation=installation, key=FirstStepKey.RECIPE, now=now, detail=recipe)
