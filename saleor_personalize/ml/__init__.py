"""Recommenders as a library: numpy, scipy and scikit-learn, nothing of the app around them.

Fit on `Interactions` and `Items`, ask with a `Context`, get `Candidate`s. Production, back-tests
and benchmarks use the same classes.
"""

from saleor_personalize.ml.base import (
    ArtefactError,
    Candidate,
    Context,
    NotTrained,
    ReasonCode,
    Recommender,
)
from saleor_personalize.ml.chain import Chain
from saleor_personalize.ml.data import InteractionEvent, Interactions, Items
from saleor_personalize.ml.engine import Engine

__all__ = [
    "ArtefactError",
    "Candidate",
    "Chain",
    "Context",
    "Engine",
    "InteractionEvent",
    "Interactions",
    "Items",
    "NotTrained",
    "ReasonCode",
    "Recommender",
]
