"""Text messages as a shop has them: the example plug-in, against a server that speaks as Twilio does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saleor_personalize.enums import ConsentState, DeliveryChannel, Purpose
from saleor_personalize.models import Profile
from saleor_personalize.profiles import consent, phones
from tests.conftest import NOW

EXAMPLE = Path(__file__).parents[1] / "examples" / "custom_channel"
sys.path[:0] = [str(EXAMPLE / "tests"), str(EXAMPLE)]
#: The server of the example's own tests.
fake: Any = importlib.import_module("twilio_server")

ANA = "+491711234567"
SHOP = "+15005550006"


def set_to(settings: Any, **changes: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **changes}


def channel(url: str, **options: Any) -> dict[str, Any]:
    """Return the entry of CHANNELS for text messages by the server at `url`."""
    values = {
        "account_sid": fake.ACCOUNT, "auth_token": fake.TOKEN, "sender": SHOP, "api_url": url
    }  # fmt: skip
    return {"BACKEND": "twilio_messages.TwilioChannel", "OPTIONS": {**values, **options}}


@contextmanager
def twilio_for(settings: Any, **options: Any) -> Iterator[Any]:
    """Serve Twilio, and let the shop send its text messages there."""
    with fake.serving() as server:
        channels = {"sms": channel(server.url, **options)}
        set_to(settings, CHANNELS=channels, QUIET_HOURS={"sms": None})
        yield server


def allow(
    profile: Profile,
    state: ConsentState = ConsentState.GRANTED,
    *,
    purpose: Purpose = Purpose.MARKETING,
    topic: str = "",
    source: str = "test",
) -> None:
    consent.record(
        profile=profile,
        purpose=purpose,
        delivery_channel=DeliveryChannel.SMS,
        topic=topic,
        state=state,
        source=source,
        now=NOW,
    )


def with_number(profile: Profile, number: str = ANA) -> Profile:
    """Let somebody have a number, and have said yes to text messages."""
    allow(profile)
    phones.record(profile=profile, number=number, now=NOW)
    return profile
