"""The engine that answers for each shop and sales channel, as this process has it mapped into memory.

A version that is missing or damaged is never waited for: the one before it answers, the row says what
is wrong (health, doctor, the Dashboard page), and a training is due.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from dataclasses import dataclass, field

from django.utils import timezone

from saleor_personalize.conf import settings
from saleor_personalize.ml import ArtefactError, Engine
from saleor_personalize.ml.engine import BY_NAME
from saleor_personalize.models import Installation, Profile, TrainedModel
from saleor_personalize.recommendations import reading, versions

logger = logging.getLogger(__name__)

#: How long a server goes on with the engine it knows before it looks for a newer one.
SECONDS = 1.0
#: How long it waits before it tries a damaged version again: a shared folder may have been away.
RETRY_SECONDS = 30.0


def engine_of(installation: Installation, channel_slug: str) -> Engine | None:
    """Return the engine that answers in a sales channel; None if none was ever trained, or none can be read.

    Ask anew for each answer: it is looked up at most once a second, and a newer one is taken up then.
    """
    return _store.of(installation, channel_slug)


def aliases_of(engine: Engine) -> list[str]:
    """Return the recommenders of an engine that may be used: none that lost to popularity (B39).

    What fills up when nothing else has more to say is popularity itself, and what is too new for it. What
    trends is asked for by a placement that says so, and is true whether or not it foretells.
    """
    return [
        alias
        for alias in engine.aliases
        if alias in settings.RECOMMENDERS and (alias in BY_NAME or engine.is_published(alias))
    ]


def model_of(installation: Installation, channel_slug: str) -> TrainedModel | None:
    """Return the version that answers in this process: the published one, unless it is damaged."""
    path = _store.path_of(installation, channel_slug)
    models = TrainedModel.objects.of(installation).filter(channel_slug=channel_slug)
    return models.filter(path=path).first() if path else None


def visitor_id_of(profile: Profile) -> str:
    """Return what an engine calls the person of a profile: the `visitor_id` of a Context."""
    return reading.visitor_id_of(profile)


def forget() -> None:
    """Drop what this process remembers."""
    _store.clear()


@dataclass
class _Known:
    """What answers for one sales channel, which version it is, and until when nobody looks again."""

    engine: Engine | None = None
    path: str = ""
    until: float = 0.0
    #: path -> when a version that could not be loaded is tried again
    damaged: dict[str, float] = field(default_factory=dict)


class _Store:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[int, str], _Known] = {}

    def of(self, installation: Installation, channel_slug: str) -> Engine | None:
        key = (installation.pk, channel_slug)
        known = self._known.get(key)
        if known is not None and known.until > time.monotonic():
            return known.engine
        # While one thread maps a new version, the others go on with the old one.
        if not self._lock.acquire(blocking=known is None):
            return known.engine if known is not None else None
        try:
            return self._look(key, installation, channel_slug)
        finally:
            self._lock.release()

    def _look(
        self, key: tuple[int, str], installation: Installation, channel_slug: str
    ) -> Engine | None:
        known = self._known.get(key) or _Known()
        rows = versions.fallbacks(
            versions.available(installation=installation, channel_slug=channel_slug)
        )
        if not rows:
            # Not remembered: anybody may ask for any text as a sales channel.
            self._known.pop(key, None)
            return None
        for row in rows:
            if known.engine is not None and row.path == known.path:
                break
            if known.damaged.get(row.path, 0.0) > time.monotonic():
                continue
            try:
                known.engine = versions.load(row.path)
            except ArtefactError as error:
                known.damaged[row.path] = time.monotonic() + RETRY_SECONDS
                _note(row, error)
            else:
                known.path = row.path
                known.damaged.pop(row.path, None)
                _mended(row)
                break
        else:
            # Nothing that is on the disk can be read: what is mapped already goes on.
            if known.path not in {row.path for row in rows}:
                known.engine, known.path = None, ""
        known.damaged = {
            path: at for path, at in known.damaged.items() if path in {r.path for r in rows}
        }
        known.until = time.monotonic() + SECONDS
        self._known[key] = known
        return known.engine

    def path_of(self, installation: Installation, channel_slug: str) -> str:
        self.of(installation, channel_slug)
        known = self._known.get((installation.pk, channel_slug))
        return known.path if known is not None and known.engine is not None else ""

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


def _note(row: TrainedModel, error: ArtefactError) -> None:
    """Have the row of a version say that it cannot be loaded here."""
    fault = f"On {socket.gethostname()}: {error}"
    logger.error(
        "Installation %s, %s: version %s cannot be used, so the one before it answers. %s "
        "`saleor-personalize train` makes a new one.",
        row.installation_id,
        row.channel_slug,
        row.version,
        error,
    )
    TrainedModel.objects.of(row.installation_id).filter(pk=row.pk).update(
        fault=fault[:2_000], fault_at=timezone.now()
    )


def _mended(row: TrainedModel) -> None:
    if row.fault_at is not None:
        TrainedModel.objects.of(row.installation_id).filter(pk=row.pk).update(
            fault="", fault_at=None
        )


_store = _Store()
