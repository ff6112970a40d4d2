"""A worker whose pushes are all under way, for whoever wants to kill it there: to the Firebase of argv[1]."""

import sys

import django

django.setup()

from django.conf import settings  # noqa: E402

from saleor_personalize.journeys import operations as journeys  # noqa: E402
from tests.conftest import NOW  # noqa: E402
from tests.integration.reminders import Saleor  # noqa: E402


def main() -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRIGGERS": {"signal": "tests.integration.signal_trigger.Signal"},
        "QUIET_HOURS": {"push": None},
        "CHANNELS": {
            "push": {
                "BACKEND": "saleor_personalize.messaging.channels.push.PushChannel",
                "OPTIONS": {"api_url": sys.argv[1], "timeout": 600},
            }
        },
    }
    under_way = journeys.UnderWay()
    journeys.advance_due(now=NOW, ask=Saleor(), under_way=under_way)
    under_way.settle()
    raise AssertionError("nobody killed this worker")


if __name__ == "__main__":
    main()
