"""The published models of each shop and sales channel, as this process has them mapped into memory."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from django.utils.module_loading import import_string

from saleor_personalize.conf import settings
from saleor_personalize.ml import ArtefactError, Recommender
from saleor_personalize.models import Installation, TrainedModel

logger = logging.getLogger(__name__)

#: How long a server goes on with the models it knows before it looks for newer ones.
SECONDS = 1.0


def recommenders_of(installation: Installation, channel_slug: str) -> dict[str, Recommender]:
    """Return the published recommenders of a sales channel by alias."""
    return _models.of(installation, channel_slug)


def forget() -> None:
    """Drop what this process remembers of models."""
    _models.clear()


class _Models:
    """Published models, memory-mapped once per process and swapped when a newer one is published."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[str, Recommender] = {}
        self._answers: dict[tuple[int, str], tuple[float, dict[str, Recommender]]] = {}

    def of(self, installation: Installation, channel_slug: str) -> dict[str, Recommender]:
        key = (installation.pk, channel_slug)
        known = self._answers.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        rows = list(
            TrainedModel.objects.of(installation)
            .filter(channel_slug=channel_slug, is_published=True)
            .values_list("recommender", "path")
        )
        with self._lock:
            models = {}
            for alias, path in rows:
                model = self._loaded.get(path) or _load(alias, path)
                if model is not None:
                    self._loaded[path] = models[alias] = model
            if known is not None:
                current = {path for _, path in rows}
                for path in [p for p, m in self._loaded.items() if m in known[1].values()]:
                    if path not in current:
                        del self._loaded[path]
            if rows:
                self._answers[key] = (time.monotonic() + SECONDS, models)
            else:
                # Not remembered: anybody may ask for any text as a sales channel.
                self._answers.pop(key, None)
        return models

    def clear(self) -> None:
        with self._lock:
            self._loaded.clear()
            self._answers.clear()


def _load(alias: str, path: str) -> Recommender | None:
    """Map a model into memory; a damaged one is left out, and the chain goes on without it."""
    entry = settings.RECOMMENDERS.get(alias)
    if entry is None:
        return None
    backend = import_string(entry if isinstance(entry, str) else entry["BACKEND"])
    try:
        model: Recommender = backend.load(Path(settings.MODEL_DIRECTORY) / path)
    except ArtefactError as error:
        logger.warning("The model of %r is not used: %s Train it again.", alias, error)
        return None
    return model


_models = _Models()
