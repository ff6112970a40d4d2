"""What an engine found out about itself (`Engine.report`), read for people and for judging versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from saleor_personalize.ml.engine import BY_NAME, FILLERS


@dataclass(frozen=True)
class Figures:
    """Means over the cases of one question; all lie in 0..1 except novelty (bits)."""

    cases: int
    k: int
    recall: float
    ndcg: float
    hit_rate: float
    mrr: float
    coverage: float
    novelty: float


@dataclass(frozen=True)
class Measured:
    """One recommender (or blend of several) on the last days. `figures` None: too few cases to tell."""

    alias: str
    question: str
    is_used: bool
    figures: Figures | None = None
    popularity: Figures | None = None
    #: What a blend is made of, by alias.
    weights: Mapping[str, float] | None = None

    @property
    def fills_up(self) -> bool:
        """Tell whether it answers where nothing else has more to say, whatever it measures."""
        return self.alias in FILLERS

    @property
    def answers_by_name(self) -> bool:
        """Tell whether a placement that names it shows it, whatever it measures."""
        return self.alias in BY_NAME


@dataclass(frozen=True)
class Report:
    """What was measured. `cut`: where the days begin that were not learned from while measuring."""

    rows: list[Measured]
    cut: datetime | None = None
    events: int = 0
    events_after: int = 0

    @property
    def is_measured(self) -> bool:
        return any(row.figures is not None for row in self.rows)


def read(report: Mapping[str, Any]) -> Report:
    """Return a report in words of ours; what a recommender of the shop's own left out is not measured."""
    rows = [
        Measured(
            alias=alias,
            question=str(found.get("question", "")),
            is_used=bool(found.get("published", True)),
            figures=_figures(found),
            popularity=_figures(found.get("popularity") or {}),
        )
        for alias, found in sorted(report.get("aliases", {}).items())
    ]
    popularity = {row.question: row.popularity for row in rows}
    rows += [
        Measured(
            alias=name,
            question=name,
            is_used=bool(found.get("weights")),
            figures=_figures(found),
            popularity=popularity.get(name),
            weights=found["weights"],
        )
        for name, found in sorted(report.get("blends", {}).items())
        if len(found.get("weights") or {}) > 1
    ]
    cut = report.get("cut")
    return Report(
        rows=rows,
        cut=None if cut is None else datetime.fromtimestamp(cut, tz=UTC),
        events=int(report.get("events", 0)),
        events_after=int(report.get("events_after", 0)),
    )


def _figures(found: Mapping[str, Any]) -> Figures | None:
    names = list(Figures.__dataclass_fields__)
    if not found.get("cases") or any(name not in found for name in names):
        return None
    return Figures(**{name: found[name] for name in names})


def used_aliases(report: Mapping[str, Any]) -> list[str]:
    """Return the recommenders that an engine answers with."""
    return [row.alias for row in read(report).rows if row.is_used and row.weights is None]


def lift(report: Mapping[str, Any], questions: frozenset[str] | None = None) -> float | None:
    """Return how many times as good as popularity an engine is, by NDCG; None where that is not known.

    Of each question what is used and best counts, and popularity itself where nothing is used: then it
    answers. `questions`: these alone.
    """
    found = read(report)
    theirs = {
        row.question: row.popularity.ndcg
        for row in found.rows
        if row.figures is not None
        and row.popularity is not None
        and (questions is None or row.question in questions)
    }
    ours = {
        row.question: row.figures.ndcg
        for row in best_used(found)
        if row.figures is not None and row.question in theirs
    }
    total = sum(theirs.values())
    return sum({**theirs, **ours}.values()) / total if total else None


def best_used(report: Report) -> list[Measured]:
    """Return what answers each question best, of what is used and was compared with popularity."""
    found: dict[str, tuple[float, Measured]] = {}
    for row in report.rows:
        if row.is_used and row.figures is not None and row.popularity is not None:
            ndcg = row.figures.ndcg
            if row.question not in found or ndcg > found[row.question][0]:
                found[row.question] = ndcg, row
    return [row for _ndcg, row in found.values()]


def questions_of(report: Mapping[str, Any]) -> frozenset[str]:
    """Return the questions that were measured."""
    return frozenset(row.question for row in read(report).rows if row.figures is not None)
