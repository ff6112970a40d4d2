"""The service's settings, plus one bare view to compare with, and no limit per address."""

from saleor_personalize.project.settings import *  # noqa: F403
from saleor_personalize.project.settings import SALEOR_PERSONALIZE

ROOT_URLCONF = "benchmarks.urls"
# All visitors of a benchmark come from one address.
SALEOR_PERSONALIZE = {
    **SALEOR_PERSONALIZE,
    "TRACK_MAX_EVENTS_PER_MINUTE_AND_ADDRESS": 1_000_000_000,
}
