"""Settings of `saleor-personalize demo`: the service's own, with push to the Firebase on this machine.

Whoever tries it does so at night as well, and again and again: nothing waits for the morning or for tomorrow,
and what is due is seen at once.
"""

import os
from datetime import timedelta

from saleor_personalize.project import settings
from saleor_personalize.project.settings import *  # noqa: F403

_SOON = ("journeys: advance", "segments: evaluate")
CELERY_BEAT_SCHEDULE = {
    name: {**entry, "schedule": 2.0} if name in _SOON else entry
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items()
}
SALEOR_PERSONALIZE = {
    **settings.SALEOR_PERSONALIZE,
    "CHANNELS": {
        **settings.SALEOR_PERSONALIZE.get("CHANNELS", {}),
        "push": {
            "BACKEND": "saleor_personalize.messaging.channels.push.PushChannel",
            "OPTIONS": {"api_url": os.environ["DEMO_FIREBASE_URL"]},
        },
    },
    # So that an order which follows a press on “Back to your cart” is seen under Results.
    "CLICK_TRACKING": True,
    "QUIET_HOURS": {"push": None, "sms": None},
    "ARBITRATION_WINDOW": timedelta(seconds=5),
    "FREQUENCY_CAPS": {"*": [(100, timedelta(days=1))]},
}
