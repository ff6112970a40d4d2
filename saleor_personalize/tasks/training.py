"""Tasks of training: who is due, and a process of its own for each."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from typing import Any

from celery import shared_task
from celery.signals import worker_process_init
from django.utils import timezone

from saleor_personalize.conf import settings
from saleor_personalize.enums import InstallationStatus, TrainingReason
from saleor_personalize.models import Installation
from saleor_personalize.recommendations import training, versions
from saleor_personalize.tasks.broker import send

logger = logging.getLogger(__name__)

#: Read when numpy and its like are loaded: how many cores they may take.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: The worker, where this is a process of its pool: either can be killed alone.
_worker: list[int] = []


@worker_process_init.connect(weak=False)  # type: ignore[untyped-decorator,unused-ignore]
def _join_pool(**_: Any) -> None:
    _worker[:] = [os.getppid()]


@shared_task(name="personalize.train")  # type: ignore[untyped-decorator,unused-ignore]
def train(installation_id: int | None = None) -> int:
    """Run the trainings that wait, one after another; return how many.

    With a shop, one of it is asked for first. One at a time on a machine; the others wait for the next
    worker, or the next look.
    """
    if installation_id is not None:
        active = Installation.objects.filter(status=InstallationStatus.ACTIVE)
        for installation in active.filter(pk=installation_id):
            training.request(
                installation=installation, reason=TrainingReason.ASKED, now=timezone.now()
            )
    count = 0
    for pk in training.waiting(now=timezone.now()):
        if training.is_busy(host=socket.gethostname(), now=timezone.now()):
            break
        _run(pk)
        count += 1
    return count


def _run(pk: int) -> None:
    """Train in a process of its own: of low priority, for a limited time, and all its memory comes back."""
    limit = settings.TRAINING_TIME_LIMIT
    ends_with = ",".join(map(str, [os.getpid(), *_worker]))
    with subprocess.Popen(  # noqa: S603 (our own command)
        [
            *(sys.executable, "-m", "django", "personalize_train"),
            *("--run", str(pk), "--ends-with", ends_with),
        ],
        env={**os.environ, **dict.fromkeys(_THREADS, str(training.threads()))},
    ) as child:
        try:
            code = child.wait(timeout=limit.total_seconds())
        except subprocess.TimeoutExpired:
            code = None
            child.kill()
        except BaseException:
            # Whatever ends this task ends its training.
            child.kill()
            raise
    if code == 0:
        return
    if code is None:
        error = f"It was not done within TRAINING_TIME_LIMIT ({limit})."
    elif code < 0:
        error = f"Its process was ended by {signal.Signals(-code).name}."
    else:
        error = f"Its process ended with {code}; the log of the worker says why."
    logger.error("Training %s: %s", pk, error)
    training.interrupt(
        pk=pk, process=child.pid, error=error, now=timezone.now(), is_final=code is None
    )


@shared_task(name="personalize.request_trainings")  # type: ignore[untyped-decorator,unused-ignore]
def request_trainings() -> int:
    """Ask for a training of every active shop; let go of the files of shops and channels that are gone."""
    versions.forget_strangers()
    versions.forget_closed()
    count = training.request_all(now=timezone.now())
    send("personalize.train")
    return count


@shared_task(name="personalize.request_changed_trainings")  # type: ignore[untyped-decorator,unused-ignore]
def request_changed_trainings() -> int:
    """Ask for a training of every shop in which enough has changed; return how many.

    Lets go of models that know somebody who was erased, too.
    """
    versions.prune_erased(now=timezone.now())
    count = training.request_changed(now=timezone.now())
    if count or training.waiting(now=timezone.now()):
        send("personalize.train")
    return count
