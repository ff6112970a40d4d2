"""The Celery app of the ready-made service (not `celery.py`: that name would shadow the library)."""

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "saleor_personalize.project.settings")

app = Celery("saleor_personalize")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_ignore_result=True,
    # A task killed with its worker is handed out again: every task here is safe to run twice.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    task_default_queue="personalize",
    timezone="UTC",
)
app.autodiscover_tasks(["saleor_personalize"])

# Beat only wakes the claimers; what is due is decided by rows.
app.conf.beat_schedule = {
    "webhooks: sweep": {"task": "personalize.process_deliveries", "schedule": 5.0},
    "segments: evaluate": {"task": "personalize.evaluate_segments", "schedule": 10.0},
    "journeys: advance": {"task": "personalize.advance_journeys", "schedule": 10.0},
    "opt-ins: confirm": {"task": "personalize.confirm_opt_ins", "schedule": 10.0},
    "backfill: resume": {"task": "personalize.run_backfills", "schedule": 30.0},
    "backfill: reconcile": {
        "task": "personalize.reconcile",
        "schedule": crontab(hour="3", minute="17"),
    },
    "events: months": {
        "task": "personalize.maintain_events",
        "schedule": crontab(hour="*/6", minute="37"),
    },
    "training: nightly": {"task": "personalize.train", "schedule": crontab(hour="4", minute="7")},
    "webhooks: purge": {
        "task": "personalize.purge_deliveries",
        "schedule": crontab(hour="5", minute="23"),
    },
}
