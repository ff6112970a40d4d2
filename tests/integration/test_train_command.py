"""`saleor-personalize train` and `rollback`, and the process that a worker trains in."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    HeldBack,
    InstallationStatus,
    TrainingReason,
    TrainingStatus,
)
from saleor_personalize.management import doctor
from saleor_personalize.messaging import go_live
from saleor_personalize.models import Installation, Order, SalesChannel, TrainedModel, Training
from saleor_personalize.recommendations import models_store, training
from saleor_personalize.tasks import training as tasks
from tests.catalogue import Phones
from tests.conftest import make_installation
from tests.integration.test_backfill import _url_of_the_test_database


@pytest.fixture(autouse=True)
def models(settings: Any, tmp_path: Path) -> Iterator[Path]:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "MODEL_DIRECTORY": str(tmp_path / "models"),
    }
    models_store.forget()
    yield tmp_path / "models"
    models_store.forget()


def one_channel(installation: Installation, now: datetime) -> Phones:
    shop = Phones(installation, now)
    shop.sell()
    SalesChannel.objects.of(installation).filter(slug="pl").delete()
    return shop


@pytest.fixture
def shop(installation: Installation, now: datetime) -> Phones:
    return one_channel(installation, now)


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=StringIO())
    return out.getvalue()


def code_of(*words: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as caught:
        run(*words)
    return caught.value.returncode, str(caught.value)


# -- train -------------------------------------------------------------------------------------------


def test_b118_train_says_what_it_made(shop: Phones) -> None:
    said = run("personalize_train")
    row = TrainedModel.objects.get()
    assert f"{shop.installation.saleor_api_url}: done" in said
    line = next(line for line in said.splitlines() if row.version in line)
    assert "us" in line
    assert "18 rows, 8 products" in line
    assert "too little data" in line
    assert line.endswith("answers")


def test_train_as_json(shop: Phones) -> None:
    (told,) = json.loads(run("personalize_train", "--json"))
    (model,) = told.pop("models")
    row = TrainedModel.objects.get()
    assert told == {
        "installation": shop.installation.saleor_api_url,
        "status": "done",
        "error": "",
    }
    assert model == {
        "channel": "us",
        "version": row.version,
        "is_published": True,
        "held_back": "",
        "seconds": row.seconds,
        "interactions": 18,
        "products": 8,
        "times_popularity": None,
        "report": row.metrics,
    }


def test_every_shop_with_all(shop: Phones, now: datetime) -> None:
    other = one_channel(make_installation("other", app_id="QXBwOjk="), now)
    assert "Say which shop with --installation URL" in code_of("personalize_train")[1]
    said = run("personalize_train", "--all")
    assert all(one.installation.saleor_api_url in said for one in (shop, other))
    assert TrainedModel.objects.filter(is_published=True).count() == 2


def test_exit_code_1_says_what_failed(installation: Installation) -> None:
    assert code_of("personalize_train") == (
        1,
        "No sales channel is known. Read the shop's history first (back-fill).",
    )


def test_b39_exit_code_3_when_a_version_is_held_back(shop: Phones) -> None:
    run("personalize_train")
    first = TrainedModel.objects.get()
    Order.objects.exclude(number="1").delete()
    code, said = code_of("personalize_train")
    assert code == 3
    assert "--publish" in said
    first.refresh_from_db()
    assert first.is_published
    assert TrainedModel.objects.get(is_published=False).held_back == HeldBack.FEWER_EVENTS
    assert "answers" in run("personalize_train", "--publish")
    first.refresh_from_db()
    assert not first.is_published


def test_in_the_background_a_worker_takes_it(shop: Phones) -> None:
    assert "1 training(s) wait" in run("personalize_train", "--background")
    assert Training.objects.get().status == TrainingStatus.PENDING
    assert not TrainedModel.objects.exists()


def test_beside_a_training_that_runs_the_command_waits_for_its_outcome(
    shop: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = training.request(
        installation=shop.installation, reason=TrainingReason.NIGHTLY, now=timezone.now()
    )
    claimed = training.claim(pk=asked.pk, now=timezone.now())
    assert claimed is not None
    from saleor_personalize.management.commands import personalize_train

    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            training.work(claimed, now=timezone.now())

    monkeypatch.setattr(personalize_train.time, "sleep", sleep)
    monkeypatch.setattr(personalize_train, "close_old_connections", lambda: None)
    assert "answers" in run("personalize_train")
    assert len(looks) == 3
    assert Training.objects.count() == 1


# -- rollback ----------------------------------------------------------------------------------------


def test_b118_a_sales_channel_with_nothing_to_go_back_to_is_told(
    installation: Installation, now: datetime
) -> None:
    Phones(installation, now).sell()
    for _ in range(2):
        run("personalize_train")
    TrainedModel.objects.filter(channel_slug="pl").order_by("pk")[0].delete()
    pl = TrainedModel.objects.get(channel_slug="pl")
    said = run("personalize_rollback").splitlines()
    assert [line.split(": ")[0].split()[-1] for line in said] == ["us", "pl"]
    assert f"there is no version before {pl.version}, which goes on answering" in said[1]
    assert TrainedModel.objects.get(pk=pl.pk).is_published


def test_b118_rollback_and_its_list(shop: Phones) -> None:
    for _ in range(2):
        run("personalize_train")
    first, second = TrainedModel.objects.order_by("pk")
    listed = run("personalize_rollback", "--list").splitlines()
    assert [line.split()[1] for line in listed[2:]] == [second.version, first.version]
    assert [line.rpartition("  ")[2] for line in listed[2:]] == ["answers", "answered before"]

    damaged = Path(settings.MODEL_DIRECTORY) / first.path / "checksums.json"
    kept = damaged.read_bytes()
    damaged.unlink()
    listed = run("personalize_rollback", "--list").splitlines()
    assert [line.rpartition("  ")[2] for line in listed[2:]] == [
        "answers",
        f"damaged: {first.path}/checksums.json is missing.",
    ]
    damaged.write_bytes(kept)

    said = run("personalize_rollback", "--keep", "3")
    assert f"us: {first.version} answers again instead of {second.version}, and stays until" in said
    assert "rolled back from" in run("personalize_rollback", "--list")
    assert code_of("personalize_rollback") == (
        1,
        "There is no version before the current one; see --list.",
    )
    assert code_of("personalize_train")[0] == 3, "kept"
    assert second.version in run("personalize_rollback", "--to", second.version, "--keep", "0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--channel", "moon"], "There is no sales channel moon. Known: us."),
        (["--to", "19690720"], "There is no such version to go back to; see --list."),
        (["--keep", "-1"], "--keep takes a number of days, not -1."),
        (["--all", "--installation", "https://x.test"], "Say --all or --installation, not both."),
    ],
)
def test_a_rollback_that_cannot_be_says_why(shop: Phones, words: list[str], said: str) -> None:
    run("personalize_train")
    assert code_of("personalize_rollback", *words) == (1, said)
    assert TrainedModel.objects.get().is_published


# -- a process of its own ----------------------------------------------------------------------------


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, models: Path) -> None:
    """What a process that is started here reads: this test's database and folder."""
    monkeypatch.setenv("DATABASE_URL", _url_of_the_test_database())
    monkeypatch.setenv("VAR_DIR", str(models.parent))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "saleor_personalize.project.settings")


@pytest.mark.django_db(transaction=True)
def test_b118_the_task_trains_in_a_process_of_its_own_that_gives_way(
    now: datetime, outside: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = one_channel(make_installation(), timezone.now())
    before = os.getpriority(os.PRIO_PROCESS, 0)
    started: list[tuple[list[str], dict[str, str]]] = []
    real = subprocess.Popen

    def look(command: list[str], **more: Any) -> Any:
        started.append((command, more["env"]))
        return real(command, **more)

    monkeypatch.setattr(tasks.subprocess, "Popen", look)
    assert tasks.train(shop.installation.pk) == 1
    row = TrainedModel.objects.get()
    assert row.is_published
    assert row.training is not None
    host, process, _ = row.training.worker.split(":")
    assert (host, int(process) != os.getpid()) == (socket.gethostname(), True)
    ((_, environment),) = started
    assert environment["OMP_NUM_THREADS"]
    assert models_store.engine_of(shop.installation, "us") is not None
    assert os.getpriority(os.PRIO_PROCESS, 0) == before, "ours is as it was"
    assert tasks.train() == 0


KILL = """
import os, signal
import django
django.setup()
from saleor_personalize.ml.recommenders.content import Similar
def die(*_):
    os.kill(os.getpid(), signal.{signal})
Similar._fit = die
from django.core.management import call_command
call_command("personalize_train", "--run", "{pk}")
"""


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_in_the_middle_leaves_the_old_version_and_the_next_goes_on(
    now: datetime, outside: None, monkeypatch: pytest.MonkeyPatch, models: Path
) -> None:
    shop = one_channel(make_installation(), timezone.now())
    training.train(installation=shop.installation, now=timezone.now() - timedelta(hours=1))
    old = TrainedModel.objects.get()
    real = subprocess.Popen

    def killed(command: list[str], **more: Any) -> Any:
        code = KILL.format(signal="SIGKILL", pk=command[command.index("--run") + 1])
        return real([sys.executable, "-c", code], **more)

    with monkeypatch.context() as patch:
        patch.setattr(tasks.subprocess, "Popen", killed)
        tasks.train(shop.installation.pk)
    row = Training.objects.latest("pk")
    assert (row.status, row.attempts, row.error) == (
        TrainingStatus.RUNNING,
        1,
        "Its process was ended by SIGKILL.",
    )
    old.refresh_from_db()
    assert old.is_published
    assert models_store.engine_of(shop.installation, "us") is not None
    assert tasks.train() == 1, "at once, without waiting for the lease to run out"
    row.refresh_from_db()
    assert (row.status, row.attempts, row.error) == (TrainingStatus.DONE, 2, "")
    old.refresh_from_db()
    assert not old.is_published


TRAINER = """
import os, sys, time
import django
django.setup()
from saleor_personalize.recommendations import training
def forever(**_):
    print(os.getpid(), flush=True)
    time.sleep(600)
training.claim = forever
from django.core.management import call_command
call_command("personalize_train", *sys.argv[1:])
"""

WORKER = """
import subprocess, sys
import django
django.setup()
from saleor_personalize.tasks import training as tasks
real = subprocess.Popen
tasks.subprocess.Popen = lambda command, **more: real(
    [sys.executable, "-c", sys.argv[1], *command[command.index("--run"):]], **more
)
tasks._run(1)
"""


def test_a_training_ends_with_its_worker(outside: None) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, TRAINER], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        trainer = int(worker.stdout.readline())
        assert trainer != worker.pid
        os.kill(trainer, 0)
        worker.kill()
        # The pipe is open as long as the training lives.
        assert worker.stdout.read() == ""


def test_a_process_that_ends_before_it_begins_says_so(
    shop: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.Popen
    broken = [sys.executable, "-c", "raise SystemExit(1)"]
    monkeypatch.setattr(tasks.subprocess, "Popen", lambda command, **more: real(broken, **more))
    tasks.train(shop.installation.pk)
    row = Training.objects.get()
    assert (row.status, row.attempts) == (TrainingStatus.PENDING, 0)
    assert row.error == "Its process ended with 1; the log of the worker says why."
    [finding] = [
        found
        for found in doctor._trained(shop.installation, timezone.now())
        if found.check == "training"
    ]
    assert finding.level == go_live.FAIL
    assert "cannot begin: Its process ended with 1" in finding.text
    assert "answers" in run("personalize_train"), "and the next that can does it"
    assert Training.objects.get().error == ""


def test_a_training_ends_with_the_worker_of_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    from saleor_personalize.management.commands import personalize_train

    class Ended(Exception):
        pass

    def end(code: int) -> None:
        raise Ended(code)

    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        worker.kill()
        worker.wait()

    monkeypatch.setattr(personalize_train.os, "_exit", end)
    monkeypatch.setattr(personalize_train.time, "sleep", sleep)
    with pytest.raises(Ended, match="1"):
        personalize_train._end_with(os.getppid(), worker.pid)
    assert len(looks) == 1
    with pytest.raises(Ended):
        personalize_train._end_with(worker.pid)
    assert len(looks) == 1, "at once: started by a process that is gone"


def test_a_shop_that_is_switched_off_is_not_waited_for(shop: Phones) -> None:
    Installation.objects.update(status=InstallationStatus.INACTIVE)
    code, said = code_of("personalize_train")
    assert code == 1
    assert "Deactivated in Saleor" in said
    assert Training.objects.get().status == TrainingStatus.PENDING


def test_a_training_that_another_process_takes_at_this_moment_is_waited_for(
    shop: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saleor_personalize.management.commands import personalize_train

    real = training.claim
    missed: list[int] = []

    def claim(*, pk: int, now: datetime) -> Training | None:
        if not missed:
            missed.append(pk)
            return None  # its row is locked, and nobody has written a name into it yet
        return real(pk=pk, now=now)

    monkeypatch.setattr(training, "claim", claim)
    monkeypatch.setattr(personalize_train.time, "sleep", lambda _: None)
    monkeypatch.setattr(personalize_train, "close_old_connections", lambda: None)
    assert "answers" in run("personalize_train")


def test_a_training_that_takes_too_long_is_ended(
    shop: Phones, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRAINING_TIME_LIMIT": timedelta(minutes=7),
        "TRAINING_THREADS": 3,
    }

    class Forever:
        pid = os.getpid()
        is_killed = False

        def __init__(self, command: list[str], *, env: dict[str, str]) -> None:
            assert env["OPENBLAS_NUM_THREADS"] == env["OMP_NUM_THREADS"] == "3"
            self.command = command

        def __enter__(self) -> "Forever":
            return self

        def __exit__(self, *_: object) -> None:
            assert self.is_killed, "or it would be waited for"

        def wait(self, timeout: float) -> int:
            pk = int(self.command[self.command.index("--run") + 1])
            training.claim(pk=pk, now=timezone.now())
            raise subprocess.TimeoutExpired(self.command, timeout)

        def kill(self) -> None:
            self.is_killed = True

    monkeypatch.setattr(tasks.subprocess, "Popen", Forever)
    tasks.train(shop.installation.pk)
    row = Training.objects.get()
    assert row.status == TrainingStatus.FAILED
    assert "TRAINING_TIME_LIMIT (0:07:00)" in row.error
    assert training.waiting(now=timezone.now()) == []


def test_one_training_at_a_time_on_a_machine(
    shop: Phones, other_installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for installation in (shop.installation, other_installation):
        training.request(
            installation=installation, reason=TrainingReason.NIGHTLY, now=timezone.now()
        )
    running = Training.objects.of(other_installation).get()
    assert training.claim(pk=running.pk, now=timezone.now()) is not None
    monkeypatch.setattr(tasks, "_run", lambda pk: pytest.fail("beside another one"))
    assert tasks.train() == 0
    Training.objects.update(worker="elsewhere:1:x")
    taken: list[int] = []
    monkeypatch.setattr(tasks, "_run", taken.append)
    assert tasks.train() == 1
    assert taken == [Training.objects.of(shop.installation).get().pk]


def test_beat_asks_by_night_and_when_enough_has_changed(
    shop: Phones, monkeypatch: pytest.MonkeyPatch, models: Path
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(tasks, "send", sent.append)
    (models / "999999999").mkdir(parents=True)
    assert tasks.request_changed_trainings() == 1
    assert tasks.request_changed_trainings() == 0
    assert tasks.request_trainings() == 1
    assert sent == ["personalize.train"] * 3, "one that waits is called out again"
    assert Training.objects.count() == 1
    assert not (models / "999999999").exists(), "of a shop that is gone"
