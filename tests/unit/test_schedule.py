"""Beat wakes nobody who is not there."""

import pkgutil

from celery import current_app

from saleor_personalize import tasks
from saleor_personalize.schedule import BEAT_SCHEDULE


def test_a_worker_finds_every_module_of_tasks_that_has_any() -> None:
    modules = {module.name for module in pkgutil.iter_modules(tasks.__path__)}
    assert set(tasks.__all__) == modules - {"broker", "shops"}


def test_every_task_that_beat_wakes_is_registered() -> None:
    assert {entry["task"] for entry in BEAT_SCHEDULE.values()} <= set(current_app.tasks)
