"""Session: what visits like this one went on to."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import Interactions, Items
from saleor_personalize.ml.sessions import (
    Live,
    SessionLog,
    best_items,
    neighbours,
    strongest,
    walks,
)


class Session(Recommender):
    """Neighbours of the live session, weighed by position, rarity and distance.

    A past session is like the live one by the items they share: each counts by how lately the live
    session had it, and by how rare it is. An item of a neighbour counts by the neighbour's likeness,
    less with each step from where the two met. Items of the live session can come again: exclude
    those that should not. Nothing is trained: the log of sessions is the model, and an event of a
    second ago counts as soon as it is in `Context.session`. The reason is the live item at which the
    neighbour that speaks loudest for a candidate was met.

    Session-based neighbours as in Jannach & Ludewig 2017, with the position and distance decays of
    STAN (Garg et al. 2019, "Sequence and time aware neighborhood for session-based recommendations")
    and the bounded, latest-first lookup of VMIS-kNN (Kersbergen et al. 2022, "Serenade").
    """

    needs_context = True

    def __init__(
        self,
        *,
        n_neighbours: int = 500,
        n_latest: int = 1_000,
        position_decay: float = 0.4,
        distance_decay: float = 0.4,
        idf_exponent: float = 2.0,
        length_exponent: float = 0.3,
        reach: int = 10,
    ) -> None:
        """Set the options; the defaults were best on time windows of two shops.

        `n_latest`: events of each live item that are looked up, the latest first. `position_decay`
        and `distance_decay`: an item counts exp(-decay) as much for each event it lies back.
        `length_exponent`: how much a long neighbour's likeness is held against its length. `reach`:
        steps from where a neighbour met the live session, beyond which nothing of it counts.
        """
        if n_neighbours < 1 or n_latest < 1 or reach < 1:
            raise ValueError(
                f"n_neighbours ({n_neighbours}), n_latest ({n_latest}) and reach ({reach}) "
                "start at 1."
            )
        if not position_decay >= 0 or not distance_decay >= 0:
            raise ValueError(
                f"position_decay ({position_decay}) and distance_decay ({distance_decay}) are not "
                "below 0."
            )
        self.n_neighbours = n_neighbours
        self.n_latest = n_latest
        self.position_decay = position_decay
        self.distance_decay = distance_decay
        self.idf_exponent = idf_exponent
        self.length_exponent = length_exponent
        self.reach = reach

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        return {"ids": interactions.item_id.values, **SessionLog.of(interactions).arrays()}

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        ids = self.arrays["ids"]
        log = SessionLog.from_arrays(self.arrays)
        return self.answers(ids, log, Live.of(ids, context), count)

    def answers(
        self, ids: NDArray[np.bytes_], log: SessionLog, live: Live, count: int
    ) -> list[Candidate]:
        """Answer one live session from a log that need not be its own."""
        found = neighbours(
            log,
            live,
            size=self.n_neighbours,
            latest=self.n_latest,
            position_decay=self.position_decay,
            idf_exponent=self.idf_exponent,
            length_exponent=self.length_exponent,
        )
        walked = walks(log, found, distance_decay=self.distance_decay, reach=self.reach)
        items, scores = best_items(walked.item, walked.weight, count)
        met = log.item[found.met[walked.neighbour]]
        because = strongest(items, walked.item, walked.weight, met)
        return [
            Candidate(item.decode(), score, ReasonCode.SESSION, ids[reason].decode())
            for item, score, reason in zip(
                ids[items].tolist(), scores.tolist(), because.tolist(), strict=True
            )
        ]
