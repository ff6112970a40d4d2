"""The service's settings, plus one bare view to compare with."""

from saleor_personalize.project.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.urls"
