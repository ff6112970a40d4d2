"""Versions of models as lines of text, for the commands that make them and go back to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from saleor_personalize.models import TrainedModel
from saleor_personalize.recommendations.reports import lift


def models_table(
    models: Sequence[TrainedModel], faults: Mapping[int, str] | None = None
) -> list[str]:
    """Return a line for each version, below a heading; none without versions.

    `faults`: what is damaged, by the primary key of its version.
    """
    rows = [("channel", "version", "trained", "learned from", "NDCG", "state")]
    for model in models:
        times = lift(model.metrics)
        rows.append(
            (
                model.channel_slug,
                model.version,
                f"{model.trained_at:%Y-%m-%d %H:%M}",
                f"{model.interaction_count:,} rows, {model.product_count:,} products",
                "too little data" if times is None else f"{times:.2f} x popularity",
                _state(model, (faults or {}).get(model.pk, "")),
            )
        )
    if len(rows) == 1:
        return []
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _state(model: TrainedModel, fault: str) -> str:
    if fault:
        return f"damaged: {fault}"
    if model.is_published:
        return "answers"
    if model.rejected_at is not None:
        return "rolled back from"
    if model.held_back:
        return f"held back: {model.get_held_back_display().lower()}"
    return "answered before"
