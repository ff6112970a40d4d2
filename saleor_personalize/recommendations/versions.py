"""Versions of the engine of a sales channel: judged, published, gone back to, and let go.

Each is a folder below MODEL_DIRECTORY that is written once and never changed, and a row. Which one
answers is one column of the row, so servers change over at the next look, all of an answer at once.
"""

from __future__ import annotations

import functools
import json
import logging
import shutil
import uuid
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction
from django.db.models import Exists, Max, OuterRef

from saleor_personalize import signals
from saleor_personalize.conf import build_backend, settings
from saleor_personalize.enums import HeldBack
from saleor_personalize.ml import ArtefactError, Engine, Recommender
from saleor_personalize.ml.engine import built_in
from saleor_personalize.models import Erasure, Installation, SalesChannel, TrainedModel
from saleor_personalize.models.locks import lock
from saleor_personalize.recommendations.reports import lift, questions_of

logger = logging.getLogger(__name__)

#: Less than this share of what the published version has: something is wrong with the data (ADR 14).
ENOUGH = 0.5
#: What is held back no longer holds once the published version is this old: it knows too little by then.
STALE_AFTER = timedelta(days=7)
#: How many versions before the published one keep their files, beside one of yesterday.
KEPT = 2
#: How long a version that may know somebody erased stays to go back to: an erasure is complete in a day.
KNOWS_ERASED = timedelta(hours=20)
#: How many versions of a sales channel keep their row, and so their figures.
ROWS = 60

_CHECKSUMS = "checksums.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Change:
    """Which version of a sales channel answers now, and which one did before."""

    channel_slug: str
    now: TrainedModel
    before: TrainedModel


def new_engine() -> Engine:
    """Make the engine of the settings, unfitted."""
    return Engine(recommenders=_recommenders())


def _recommenders() -> dict[str, Recommender]:
    """Make the recommenders of the settings; those that ship as the engine would make them itself."""
    shipped = {
        alias: (f"{type(one).__module__}.{type(one).__qualname__}", one)
        for alias, one in built_in().items()
    }
    return {
        alias: shipped[alias][1]
        if alias in shipped and entry == shipped[alias][0]
        else build_backend("RECOMMENDERS", alias)
        for alias, entry in settings.RECOMMENDERS.items()
    }


def folder_of(channel: SalesChannel) -> str:
    """Return where versions of a sales channel lie.

    Not by its slug: a shop chooses that, and it would become part of a path.
    """
    return f"{channel.installation_id}/{channel.pk}"


def name(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


def save(engine: Engine, path: str) -> None:
    """Write an engine and the checksums of its files."""
    folder = Path(settings.MODEL_DIRECTORY) / path
    engine.save(folder)
    sums = {
        file.relative_to(folder).as_posix(): [file.stat().st_size, _checksum(file)]
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    (folder / _CHECKSUMS).write_text(json.dumps(sums), encoding="utf-8")


def load(path: str) -> Engine:
    """Map an engine into memory. ArtefactError says which of its files is missing or damaged."""
    check(path)
    # One that ships and was taken out of the settings since can be read, and is not asked.
    recommenders = {**built_in(), **_recommenders()}
    return Engine.load(Path(settings.MODEL_DIRECTORY) / path, recommenders=recommenders)


def check(path: str) -> None:
    """Compare every file of a version with its checksum. ArtefactError names the one at fault."""
    folder = Path(settings.MODEL_DIRECTORY) / path
    try:
        sums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        for file, (size, checksum) in sums.items():
            found = (folder / file).stat().st_size
            if found != size:
                raise ArtefactError(f"{path}/{file} has {found} bytes instead of {size}.")
            if _checksum(folder / file) != checksum:
                raise ArtefactError(f"{path}/{file} is not what was written.")
    except FileNotFoundError as error:
        missing = Path(error.filename).relative_to(settings.MODEL_DIRECTORY)
        raise ArtefactError(f"{missing} is missing.") from error
    except (OSError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{path} cannot be read: {type(error).__name__}.") from error
    except ValueError as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{path}/{_CHECKSUMS} is not what was written.") from error


def fault_of(path: str) -> str:
    """Return what is damaged in a version, empty for nothing."""
    try:
        check(path)
    except ArtefactError as error:
        return str(error)
    return ""


def _checksum(file: Path) -> int:
    value = 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value


# -- publishing --------------------------------------------------------------------------------------


def publish(*, model: TrainedModel, now: datetime, force: bool = False) -> TrainedModel:
    """Record a version that was trained, and have it answer unless it is held back; return its row.

    Must run in a transaction of its own: servers see all of it or nothing.
    """
    lock(model.installation, [f"models:{model.channel_slug}"])
    models = TrainedModel.objects.of(model.installation).filter(channel_slug=model.channel_slug)
    before = models.filter(is_published=True).first()
    model.held_back = "" if force or before is None else reason_to_hold_back(model, before, now)
    model.save()
    if not model.held_back:
        _switch(before, model, now)
    elif before is not None:
        logger.warning(
            "Installation %s, %s: version %s is held back (%s); %s goes on answering. "
            "`saleor-personalize train --publish` publishes anyway.",
            model.installation_id,
            model.channel_slug,
            model.version,
            model.held_back,
            before.version,
        )
    prune(installation=model.installation, channel_slug=model.channel_slug, now=now)
    return model


def reason_to_hold_back(new: TrainedModel, published: TrainedModel, now: datetime) -> str:
    """Return why a version must not replace the published one ("" if nothing speaks against it).

    Two versions are measured on different days, so figures decide only when they collapse: see ADR 14.
    """
    if published.kept_until is not None and published.kept_until > now:
        return HeldBack.ROLLED_BACK
    if now - published.trained_at > STALE_AFTER or published.fault_at is not None:
        return ""
    if new.interaction_count < ENOUGH * published.interaction_count:
        return HeldBack.FEWER_EVENTS
    if new.product_count < ENOUGH * published.product_count:
        return HeldBack.FEWER_PRODUCTS
    common = questions_of(new.metrics) & questions_of(published.metrics)
    was, is_ = lift(published.metrics, common), lift(new.metrics, common)
    if was is not None and is_ is not None and is_ < ENOUGH * was:
        return HeldBack.WORSE
    return ""


def _switch(before: TrainedModel | None, after: TrainedModel, now: datetime) -> None:
    if before is not None:
        before.is_published = False
        before.kept_until = None
        before.save(update_fields=["is_published", "kept_until"])
    after.is_published = True
    after.published_at = now
    after.held_back = ""
    after.save()
    transaction.on_commit(
        functools.partial(
            signals.model_published.send_robust,
            sender=TrainedModel,
            installation=after.installation,
            model=after,
            before=before,
        )
    )


# -- the way back ------------------------------------------------------------------------------------


def available(*, installation: Installation, channel_slug: str) -> list[TrainedModel]:
    """Return the versions whose files are kept: the published one, then by when they last answered."""
    models = TrainedModel.objects.of(installation).filter(channel_slug=channel_slug)
    return sorted(
        models.exclude(path="").defer("metrics"),
        key=lambda row: (not row.is_published, -(row.published_at or row.trained_at).timestamp()),
    )


def fallbacks(rows: Iterable[TrainedModel]) -> list[TrainedModel]:
    """Keep, of what `available` gives, the versions that may answer: published once, never rejected."""
    return [
        row for row in rows if row.is_published or (row.published_at and row.rejected_at is None)
    ]


def roll_back(
    *,
    installation: Installation,
    now: datetime,
    keep: timedelta = STALE_AFTER,
    channel_slug: str | None = None,
    version: str | None = None,
) -> list[Change]:
    """Have the version before answer again, or the one named; return what changed.

    What is gone back from is never taken again by itself. For `keep`, trainings publish nothing in these
    sales channels. Without a version to go back to, nothing changes and the list is shorter.
    """
    slugs = TrainedModel.objects.of(installation).filter(is_published=True)
    if channel_slug is not None:
        slugs = slugs.filter(channel_slug=channel_slug)
    changes = []
    with transaction.atomic():
        names = sorted(slugs.values_list("channel_slug", flat=True))
        lock(installation, [f"models:{slug}" for slug in names])
        for slug in names:
            rows = available(installation=installation, channel_slug=slug)
            before = rows[0]
            others = rows[1:] if version is not None else fallbacks(rows[1:])
            after = next((row for row in others if version in (None, row.version)), None)
            if not before.is_published or after is None:
                continue
            before.rejected_at = now
            before.save(update_fields=["rejected_at"])
            after.rejected_at = None
            after.kept_until = now + keep if keep else None
            _switch(before, after, now)
            changes.append(Change(slug, after, before))
    return changes


# -- letting go --------------------------------------------------------------------------------------


def prune(*, installation: Installation, channel_slug: str, now: datetime) -> None:
    """Let go of the files of old versions after the commit, and of the rows of very old ones.

    The published version stays, `KEPT` that answered before it, one of yesterday and one that will be,
    and the newest that is held back; of these none that knows somebody who was erased for `KNOWS_ERASED`.
    """
    every = available(installation=installation, channel_slug=channel_slug)
    erasures = Erasure.objects.of(installation).filter(erased_at__lte=now - KNOWS_ERASED)
    erased_at = erasures.aggregate(last=Max("erased_at"))["last"]
    rows = [row for row in every if erased_at is None or row.trained_at > erased_at]
    once = [row for row in rows if not row.is_published and row.published_at]
    held = sorted(
        (row for row in rows if not row.published_at), key=lambda row: row.trained_at, reverse=True
    )
    yesterday = now - timedelta(days=1)
    older = [row for row in once if row.trained_at <= yesterday]
    younger = [row for row in once if row.trained_at > yesterday]
    kept = {row.pk for row in [*once[:KEPT], *younger[-1:], *older[:1], *held[:1]]}
    gone = [row for row in every if not row.is_published and row.pk not in kept]
    models = TrainedModel.objects.of(installation).filter(channel_slug=channel_slug)
    models.filter(pk__in=[row.pk for row in gone]).update(path="")
    old = models.filter(path="").order_by("-trained_at", "-pk").values_list("pk", flat=True)[ROWS:]
    models.filter(pk__in=list(old)).delete()
    # Not before the rows are changed for good.
    transaction.on_commit(lambda: remove(row.path for row in gone))


def prune_erased(*, now: datetime) -> None:
    """Let go of versions that know somebody erased, in shops that train too seldom to do so by themselves."""
    shops = Erasure.objects.filter(erased_at__lte=now - KNOWS_ERASED).values_list("installation")
    for pk, erased_at in shops.annotate(Max("erased_at")):
        stale = TrainedModel.objects.of(pk).filter(is_published=False, trained_at__lte=erased_at)
        slugs = set(stale.exclude(path="").values_list("channel_slug", flat=True))
        if not slugs:
            continue
        with transaction.atomic():
            installation = Installation.objects.get(pk=pk)
            lock(installation, [f"models:{slug}" for slug in slugs])
            for slug in sorted(slugs):
                prune(installation=installation, channel_slug=slug, now=now)


def sweep(*, channel: SalesChannel) -> None:
    """Remove what a training that failed or was killed left behind; only whoever trains may call it."""
    root = Path(settings.MODEL_DIRECTORY)
    known = set(
        TrainedModel.objects.of(channel.installation_id)
        .filter(path__startswith=f"{folder_of(channel)}/")
        .values_list("path", flat=True)
    )
    found = {path.relative_to(root).as_posix() for path in (root / folder_of(channel)).glob("*")}
    remove(found - known)


def remove(paths: Iterable[str]) -> None:
    """Remove folders of models. A server that has one mapped keeps its pages."""
    for path in paths:
        shutil.rmtree(Path(settings.MODEL_DIRECTORY) / path, ignore_errors=True)


def forget(*, installation_id: int) -> None:
    """Remove all model files of a shop whose rows are gone."""
    remove([str(installation_id)])


def forget_closed() -> None:
    """Let go of the files of sales channels that were deleted or are called otherwise now."""
    living = SalesChannel.objects.filter(
        installation=OuterRef("installation"), slug=OuterRef("channel_slug"), deleted_at=None
    )
    gone = TrainedModel.objects.exclude(path="").exclude(Exists(living))
    paths = dict(gone.values_list("pk", "path"))
    TrainedModel.objects.filter(pk__in=paths).update(path="", is_published=False)
    remove(paths.values())


def forget_strangers() -> list[str]:
    """Remove the files of shops that are no longer there; return their folders."""
    root = Path(settings.MODEL_DIRECTORY)
    known = {str(pk) for pk in Installation.objects.values_list("pk", flat=True)}
    gone = sorted(
        path.name
        for path in (root.iterdir() if root.is_dir() else ())
        if path.is_dir() and path.name.isdecimal() and path.name not in known
    )
    remove(gone)
    return gone
