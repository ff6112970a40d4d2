"""A worker that gets stuck in the hand-over of a message, for whoever wants to kill it there."""

import sys
import time

import django

django.setup()

from django.conf import settings  # noqa: E402

from saleor_personalize.journeys import operations as journeys  # noqa: E402
from saleor_personalize.messaging.channels.base import OutgoingMessage, SendResult  # noqa: E402
from saleor_personalize.messaging.channels.email import EmailChannel  # noqa: E402
from tests.conftest import NOW  # noqa: E402
from tests.integration.reminders import HOUR, SMTP, Saleor  # noqa: E402


class StuckChannel(EmailChannel):
    def send(self, message: OutgoingMessage) -> SendResult:
        if sys.argv[1] == "after":
            super().send(message)
        sys.stdout.write("stuck\n")
        sys.stdout.flush()
        time.sleep(600)
        raise AssertionError("nobody killed this worker")


def main() -> None:
    settings.EMAIL_BACKEND = SMTP
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", int(sys.argv[2])
    settings.SALEOR_PERSONALIZE["CHANNELS"] = {"email": f"{__name__}.StuckChannel"}
    journeys.advance_due(now=NOW + 2 * HOUR, ask=Saleor())


if __name__ == "__main__":
    main()
