"""Telling other apps what happened: an outbox, signed deliveries, and a log.

Rooms call `publish`; everything else is for doors, tasks and the step `webhook` of journeys.
"""

from saleor_personalize.bus.outbox import NOBODY_LISTENS, Fact, publish, publish_each, send_to
from saleor_personalize.bus.queries import aliases

__all__ = ["NOBODY_LISTENS", "Fact", "aliases", "publish", "publish_each", "send_to"]
