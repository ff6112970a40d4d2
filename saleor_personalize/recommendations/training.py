"""Trainings: asked for, taken up by one process, and turned into a version per sales channel.

A training is a row, so the page and the command show how far it is, it never runs twice at once for
a shop, and one whose process was killed is taken up by the next. What answers stays as it is until a
version is complete (`versions`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, connection, transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone
from threadpoolctl import threadpool_limits

from saleor_personalize.conf import settings
from saleor_personalize.enums import InstallationStatus, TrainingReason, TrainingStatus
from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.ml import Interactions, Items
from saleor_personalize.models import (
    Event,
    Installation,
    Order,
    Product,
    ProductListing,
    SalesChannel,
    TrainedModel,
    Training,
)
from saleor_personalize.recommendations import reading, versions

logger = logging.getLogger(__name__)

#: Older interactions say little about what sells now.
HISTORY = timedelta(days=730)
#: How long a process may stay silent before another one takes its training over.
LEASE = timedelta(minutes=2)
#: A training that takes its process with it so often is given up.
MAX_ATTEMPTS = 3
#: How many trainings of a shop are remembered.
ROWS = 50

# When enough has changed (docs/howto/train-and-roll-back.md): not more often than this, and not more
# than this share of the time is spent on it.
MIN_PAUSE = timedelta(minutes=3)
SHARE_OF_TIME = 0.05
CHANGED_SHARE = 0.1
CHANGED_AT_LEAST = 100

# Share of a channel's time that is over when these are.
_READ, _FITTED = 0.15, 0.95
#: Seconds between two signs of life, and between two looks at how far it is.
_HEARTBEAT = 20.0
_REPORT = 1.0

OPEN = (TrainingStatus.PENDING, TrainingStatus.RUNNING)

#: Told the row whenever it changes.
OnProgress = Callable[[Training], None]


class TrainingLostError(PersonalizeError):
    """Another process took this training over: what this one made does not count."""


# -- asking ------------------------------------------------------------------------------------------


def request(*, installation: Installation, reason: TrainingReason, now: datetime) -> Training:
    """Return the open training of a shop, or ask for one; a worker takes it up."""
    with transaction.atomic():
        Installation.objects.select_for_update().get(pk=installation.pk)
        found = Training.objects.of(installation).filter(status__in=OPEN).first()
        if found is not None:
            return found
        old = Training.objects.of(installation).order_by("-pk").values_list("pk", flat=True)[ROWS:]
        Training.objects.of(installation).filter(pk__in=list(old)).delete()
        return Training.objects.create(installation=installation, reason=reason, asked_at=now)


def request_all(*, now: datetime) -> int:
    """Ask for a training of every active shop; return how many."""
    shops = list(Installation.objects.filter(status=InstallationStatus.ACTIVE))
    for installation in shops:
        request(installation=installation, reason=TrainingReason.NIGHTLY, now=now)
    return len(shops)


def request_changed(*, now: datetime) -> int:
    """Ask for a training of every active shop in which enough has changed; return how many."""
    count = 0
    for installation in Installation.objects.filter(status=InstallationStatus.ACTIVE):
        if is_due(installation=installation, now=now):
            request(installation=installation, reason=TrainingReason.CHANGED, now=now)
            count += 1
    return count


def is_due(*, installation: Installation, now: datetime) -> bool:
    """Tell whether a shop has products, people or orders that its models know too little of.

    One new product is enough, so that a small shop's models know it within five minutes. A training
    that took long is followed by a pause twenty times as long.
    """
    if Training.objects.of(installation).filter(status__in=OPEN).exists():
        return False
    last = Training.objects.of(installation).order_by("-pk").first()
    if last is not None and last.started_at and last.finished_at:
        took = last.finished_at - last.started_at
        if now < last.finished_at + max(MIN_PAUSE, took / SHARE_OF_TIME):
            return False
    newest = (
        TrainedModel.objects.of(installation)
        .values("channel_slug")
        .annotate(pk_of_newest=Max("pk"))
        .values_list("pk_of_newest", flat=True)
    )
    known = {
        row.channel_slug: row for row in TrainedModel.objects.of(installation).filter(pk__in=newest)
    }
    channels = SalesChannel.objects.of(installation).filter(deleted_at=None)
    return any(_has_changed(channel, known.get(channel.slug), now) for channel in channels)


def _has_changed(channel: SalesChannel, newest: TrainedModel | None, now: datetime) -> bool:
    listed = ProductListing.objects.of(channel.installation).filter(channel_slug=channel.slug)
    if newest is None:
        return listed.exists()
    faulty = TrainedModel.objects.of(channel.installation).filter(
        channel_slug=channel.slug, is_published=True, fault_at__gt=newest.trained_at
    )
    if faulty.exists():
        return True
    fresh = Product.objects.of(channel.installation).filter(
        deleted_at=None,
        saleor_created_at__gt=newest.trained_at,
        saleor_created_at__lte=now,
        saleor_id__in=listed.values("product_saleor_id"),
    )
    if fresh.exists():
        return True
    enough = max(CHANGED_AT_LEAST, int(CHANGED_SHARE * newest.interaction_count))
    since = newest.trained_at
    events = Event.objects.of(channel.installation).filter(
        channel_slug=channel.slug, occurred_at__gt=since, type__in=list(reading.KINDS)
    )
    orders = Order.objects.of(channel.installation).filter(
        channel_slug=channel.slug, placed_at__gt=since
    )
    # Counted no further than is needed.
    return events[:enough].count() + orders[:enough].count() >= enough


# -- taking up ---------------------------------------------------------------------------------------


def waiting(*, now: datetime) -> list[int]:
    """Return the keys of the trainings that a process may take up, oldest first."""
    return list(_free(now).order_by("pk").values_list("pk", flat=True))


def is_busy(*, host: str, now: datetime) -> bool:
    """Tell whether a process of this machine trains: one at a time leaves room for serving."""
    return Training.objects.filter(
        status=TrainingStatus.RUNNING, lease_expires_at__gt=now, worker__startswith=f"{host}:"
    ).exists()


def claim(*, pk: int, now: datetime) -> Training | None:
    """Take up a training; None if another process has it, or it is over.

    One that has ended its process too often is given up.
    """
    with transaction.atomic():
        found = (
            _free(now)
            .filter(pk=pk)
            .select_related("installation")
            .select_for_update(skip_locked=True, of=("self",))
            .first()
        )
        if found is None:
            return None
        if found.attempts >= MAX_ATTEMPTS:
            found.status = TrainingStatus.FAILED
            found.finished_at = now
            found.error = (
                f"Its process ended {found.attempts} times before it was done, perhaps for lack of "
                "memory. Give the worker more, or train on another machine "
                f"(docs/howto/train-and-roll-back.md). {found.error}".rstrip()
            )
            found.save()
            return None
        found.status = TrainingStatus.RUNNING
        found.attempts += 1
        found.started_at = found.started_at or now
        found.worker = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        found.lease_expires_at = now + LEASE
        found.progress, found.channel_slug, found.step = 0.0, "", ""
        found.save()
        return found


def _free(now: datetime) -> QuerySet[Training]:
    return Training.objects.filter(
        Q(status=TrainingStatus.PENDING)
        | Q(status=TrainingStatus.RUNNING, lease_expires_at__lt=now),
        installation__status=InstallationStatus.ACTIVE,
    )


def interrupt(*, pk: int, process: int, error: str, now: datetime, is_final: bool = False) -> None:
    """Note that a process of this machine that had a training is gone.

    The next may take it up at once, unless `is_final`. Where another process has taken it up already
    nothing changes; where this one ended before it took it up, the row says why it waits.
    """
    Training.objects.filter(pk=pk, status=TrainingStatus.PENDING).update(error=error)
    running = Training.objects.filter(
        pk=pk,
        status=TrainingStatus.RUNNING,
        worker__startswith=f"{socket.gethostname()}:{process}:",
    )
    if is_final:
        running.update(status=TrainingStatus.FAILED, finished_at=now, error=error)
    else:
        running.update(lease_expires_at=now - timedelta(seconds=1), error=error)


#: What a training that is over writes into its row.
_OUTCOME = (
    "status", "error", "progress", "channel_slug", "step", "published_count", "held_back_count",
    "finished_at", "lease_expires_at",
)  # fmt: skip

# -- doing -------------------------------------------------------------------------------------------


@dataclass
class _Progress:
    """Writes how far a training is into its row, at most once a second."""

    training: Training
    on_progress: OnProgress | None
    channels: int
    done: int = 0
    written_at: float = 0.0

    def __call__(self, step: str, share: float, *, at_once: bool = False) -> None:
        row = self.training
        row.step = step[:60]
        row.progress = round((self.done + min(max(share, 0.0), 1.0)) / self.channels, 4)
        if at_once or time.monotonic() - self.written_at >= _REPORT:
            self.written_at = time.monotonic()
            _renew(row, progress=row.progress, channel_slug=row.channel_slug, step=row.step)
            if self.on_progress is not None:
                self.on_progress(row)


def threads() -> int:
    """Return how many cores a training uses: what the settings, else the environment say, else half."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    given = settings.TRAINING_THREADS or (int(said) if said.isdecimal() else 0)
    return given or max(1, (os.cpu_count() or 1) // 2)


def _renew(row: Training, **changes: Any) -> None:
    """Say that we are alive. Raises TrainingLostError if the row is no longer ours."""
    _change(row, lease_expires_at=timezone.now() + LEASE, **changes)


def _change(row: Training, **changes: Any) -> None:
    ours = Training.objects.of(row.installation_id).filter(pk=row.pk, worker=row.worker)
    if not ours.filter(status=TrainingStatus.RUNNING).update(**changes):
        raise TrainingLostError(f"Training {row.pk} was taken over by another process.")


@contextlib.contextmanager
def _heartbeat(row: Training) -> Iterator[None]:
    """Renew the lease from a thread of its own: fitting may be silent for long."""
    over = threading.Event()

    def beat() -> None:
        try:
            while not over.wait(_HEARTBEAT):
                try:
                    _renew(row)
                except TrainingLostError:
                    pass  # The next step notices.
                except DatabaseError:
                    # A database that starts again is back before the lease is over.
                    logger.warning("Training %s could not renew its lease.", row.pk, exc_info=True)
                    connection.close()
        finally:
            connection.close()

    thread = threading.Thread(target=beat, name="training-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def work(
    training: Training,
    *,
    now: datetime,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Training:
    """Train every sales channel of a claimed training, and publish; return its row.

    A channel that fails leaves its old version in place, and the others go on; the row then says which
    and why. `force`: publish even what would be held back. Raises TrainingLostError.
    """
    began = time.monotonic()
    installation = training.installation
    channels = list(
        SalesChannel.objects.of(installation).filter(deleted_at=None).order_by("slug", "pk")
    )
    progress = _Progress(training, on_progress, max(len(channels), 1))
    faults = []
    with _heartbeat(training), threadpool_limits(limits=threads()):
        for done, channel in enumerate(channels):
            progress.done = done
            training.channel_slug = channel.slug
            try:
                model = _train_channel(training, channel, progress, now=now, force=force)
            except TrainingLostError:
                raise
            except Exception as error:
                # Whatever a recommender of the shop's own may raise; the others are not to blame.
                logger.exception("Installation %s, %s: not trained", installation.pk, channel.slug)
                faults.append(f"{channel.slug}: {type(error).__name__}: {error}"[:1_000])
            else:
                training.published_count += model.is_published
                training.held_back_count += not model.is_published
    if not channels:
        faults.append("No sales channel is known. Read the shop's history first (back-fill).")
    training.status = TrainingStatus.FAILED if faults else TrainingStatus.DONE
    training.error = "\n".join(faults)
    training.progress, training.channel_slug, training.step = 1.0, "", ""
    training.finished_at = now + timedelta(seconds=round(time.monotonic() - began, 3))
    training.lease_expires_at = None
    _change(training, **{name: getattr(training, name) for name in _OUTCOME})
    if on_progress is not None:
        on_progress(training)
    return training


def _train_channel(
    training: Training, channel: SalesChannel, progress: _Progress, *, now: datetime, force: bool
) -> TrainedModel:
    began = time.monotonic()
    progress("read", 0.0, at_once=True)
    versions.sweep(channel=channel)
    interactions = reading.interactions(
        installation=training.installation,
        channel_slug=channel.slug,
        since=now - HISTORY,
        until=now,
    )
    items = reading.items(installation=training.installation, channel_slug=channel.slug)
    progress("fit", _READ, at_once=True)
    engine = versions.new_engine().fit(
        interactions,
        items,
        progress=lambda alias, share: progress(alias or "fit", _READ + (_FITTED - _READ) * share),
    )
    progress("save", _FITTED, at_once=True)
    version = versions.name(now)
    path = f"{versions.folder_of(channel)}/{version}"
    versions.save(engine, path)
    model = TrainedModel(
        installation=training.installation,
        channel_slug=channel.slug,
        version=version,
        path=path,
        training=training,
        trained_at=now,
        seconds=round(time.monotonic() - began, 3),
        interaction_count=len(interactions),
        product_count=len(items),
        metrics=engine.report,
    )
    with transaction.atomic():
        # Whoever took this training over must not be overtaken by it.
        _renew(training)
        versions.publish(model=model, now=now, force=force)
    _log(channel, model, interactions, items)
    return model


def _log(
    channel: SalesChannel, model: TrainedModel, interactions: Interactions, items: Items
) -> None:
    logger.info(
        "Installation %s, %s: version %s learned from %s interactions with %s products in %.1f s",
        channel.installation_id,
        channel.slug,
        model.version,
        len(interactions),
        len(items),
        model.seconds,
    )


def train(*, installation: Installation, now: datetime, force: bool = False) -> int:
    """Train a shop in this process; return how many sales channels answer from a new version.

    0 if another process trains it at the moment. Raises PersonalizeError with what went wrong.
    """
    asked = request(installation=installation, reason=TrainingReason.ASKED, now=now)
    claimed = claim(pk=asked.pk, now=now)
    if claimed is None:
        return 0
    done = work(claimed, now=now, force=force)
    if done.status == TrainingStatus.FAILED and done.error and not done.published_count:
        raise PersonalizeError(done.error)
    return done.published_count
