"""The ready-made service. Its Celery app is loaded with it, so that web processes find the broker."""

from saleor_personalize.project.celeryconf import app as celery_app

__all__ = ["celery_app"]
