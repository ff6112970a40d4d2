"""The service's settings, plus one bare view to compare with, and no limit per address."""

import os

from saleor_personalize.project.settings import *  # noqa: F403
from saleor_personalize.project.settings import SALEOR_PERSONALIZE

ROOT_URLCONF = "benchmarks.urls"
# All visitors of a benchmark come from one address.
SALEOR_PERSONALIZE = {
    **SALEOR_PERSONALIZE,
    "TRACK_MAX_EVENTS_PER_MINUTE_AND_ADDRESS": 1_000_000_000,
    # Every message that is due is counted.
    "HOLDOUT_PERCENT": 0,
    "JOURNEY_HOLDOUT_PERCENT": 0,
    # Benchmarks run at night, too.
    "QUIET_HOURS": {"push": None, "sms": None},
}
if port := os.environ.get("BENCH_PORT"):
    EMAIL_HOST, EMAIL_PORT, EMAIL_USE_TLS, EMAIL_USE_SSL = "127.0.0.1", int(port), False, False
    SALEOR_PERSONALIZE["CHANNELS"] = {
        **SALEOR_PERSONALIZE.get("CHANNELS", {}),
        "push": {
            "BACKEND": "saleor_personalize.messaging.channels.push.PushChannel",
            "OPTIONS": {"api_url": f"http://127.0.0.1:{port}"},
        },
    }
