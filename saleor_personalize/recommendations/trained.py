"""The engine of a sales channel as the sources and placements ask it."""

from __future__ import annotations

from dataclasses import dataclass

from saleor_personalize.ml import Candidate, Context, Engine
from saleor_personalize.models import Installation
from saleor_personalize.recommendations import models_store
from saleor_personalize.recommendations.sources import Models, Trained


@dataclass(frozen=True)
class _Rank:
    """The engine's own answer, asked like a recommender."""

    engine: Engine

    def recommend(self, context: Context, k: int) -> list[Candidate]:
        return self.engine.rank(context, k)


@dataclass(frozen=True)
class _Alias:
    engine: Engine
    alias: str

    def recommend(self, context: Context, k: int) -> list[Candidate]:
        return self.engine.candidates(self.alias, context, k)


def models_of(installation: Installation, channel_slug: str) -> Models:
    """Return the recommenders that may be asked by alias, and the engine's own answer as "rank"."""
    engine = models_store.engine_of(installation, channel_slug)
    if engine is None:
        return {}
    models: dict[str, Trained] = {
        alias: _Alias(engine, alias) for alias in models_store.aliases_of(engine)
    }
    models["rank"] = _Rank(engine)
    return models
