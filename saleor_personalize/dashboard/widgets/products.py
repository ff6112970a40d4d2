"""What a placement would show, for the widgets: names and reasons. Nothing is recorded as shown."""

from __future__ import annotations

from typing import Any

from django.utils import timezone, translation

from saleor_personalize.catalog import cards
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.models import Installation
from saleor_personalize.recommendations import service

#: Products of one widget.
SHOWN = 4


def answered(
    *, installation: Installation, placement: str, channel_slug: str, **question: Any
) -> list[dict[str, Any]]:
    """Return the first products of a placement; none where the shop has no such placement."""
    now, language = timezone.now(), translation.get_language() or ""
    try:
        answer = service.recommend(
            installation=installation,
            placement=placement,
            channel_slug=channel_slug,
            first=SHOWN,
            language_code=language,
            now=now,
            **question,
        )
    except UnknownAlias:
        return []
    drawn = cards.cards(
        installation=installation,
        channel_slug=channel_slug,
        ids=[each.product_id for each in answer],
        language_code=language,
        now=now,
    )
    return [
        {"name": drawn[each.product_id].name, "reason": each.reason_text}
        for each in answer
        if each.product_id in drawn
    ]
