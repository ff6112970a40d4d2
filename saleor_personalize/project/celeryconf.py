"""The Celery app of the ready-made service (not `celery.py`: that name would shadow the library)."""

import os

from celery import Celery

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
    # A broker that takes the connection and never answers must not hold a web server's thread for ever.
    broker_transport_options={"socket_connect_timeout": 2, "socket_timeout": 5},
    task_default_queue="personalize",
    # So that another machine can be given them: docs/howto/train-and-roll-back.md.
    task_routes={"personalize.train": {"queue": "personalize-training"}},
    timezone="UTC",
)
app.autodiscover_tasks(["saleor_personalize"])
