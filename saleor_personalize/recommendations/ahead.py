"""What several questions of one request will look up, read at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.catalog.queries import Offer
from saleor_personalize.models import Installation


class Ahead:
    """Offers and references of products. What is wanted comes with the next read; nothing is read twice."""

    def __init__(self, *, installation: Installation, channel_slug: str, now: datetime) -> None:
        self._installation = installation
        self._channel_slug = channel_slug
        self._now = now
        self._wanted: set[str] = set()
        self._offers: dict[str, Offer | None] = {}
        self._references: dict[str, Any] = {}

    def want_offers(self, ids: Iterable[str]) -> None:
        self._wanted.update(id_ for id_ in ids if id_ not in self._offers)

    def offers(self, ids: Iterable[str]) -> dict[str, Offer]:
        """Return those of `ids` that may be recommended, as `catalog.offers` does."""
        asked = list(ids)
        if missing := {id_ for id_ in asked if id_ not in self._offers}:
            missing |= self._wanted
            self._wanted = set()
            found = catalog.offers(
                installation=self._installation,
                channel_slug=self._channel_slug,
                ids=missing,
                now=self._now,
            )
            self._offers.update({id_: found.get(id_) for id_ in missing})
        return {id_: offer for id_ in asked if (offer := self._offers[id_]) is not None}

    def references(self, ids: Iterable[str]) -> Mapping[str, Any]:
        """Return what products refer to, as `catalog.references` does."""
        asked = list(ids)
        if missing := {id_ for id_ in asked if id_ not in self._references}:
            found = catalog.references(installation=self._installation, ids=missing)
            self._references.update({id_: found.get(id_, ()) for id_ in missing})
        return {id_: self._references[id_] for id_ in asked}
