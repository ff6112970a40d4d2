"""Run inside a service: makes so many people due for two messages of a journey at once."""

import sys
from datetime import timedelta

import django

django.setup()

from django.utils import timezone  # noqa: E402

from saleor_personalize.enums import (  # noqa: E402
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    Purpose,
)
from saleor_personalize.journeys import operations as journeys  # noqa: E402
from saleor_personalize.models import (  # noqa: E402
    Consent,
    Enrollment,
    Identity,
    Installation,
    Journey,
    Profile,
    email_hash,
)

JOURNEY = """
journey: greetings
topic: news
trigger: {type: win_back, expires: 5 days}
goals: [ordered]
steps:
  - message: {id: first, template: segment_entered}
  - message: {id: second, template: lapsed}
"""


def main(api_url: str, token: str, count: int) -> None:
    now = timezone.now()
    installation = Installation.objects.create(
        saleor_api_url=api_url,
        app_id="QXBwOjE=",
        auth_token=token,
        permissions=["MANAGE_ORDERS", "MANAGE_USERS"],
        status_changed_at=now,
        installed_at=now,
    )
    version = journeys.load(installation=installation, text=JOURNEY, now=now)
    journey = Journey.objects.get(pk=version.journey_id)
    journeys.go_live(journey=journey, now=now - timedelta(days=1))
    people = Profile.objects.bulk_create(
        Profile(installation=installation, first_name=f"Ann {n}", first_seen_at=now)
        for n in range(count)
    )
    addresses = [f"shopper{n}@example.com" for n in range(count)]
    Identity.objects.bulk_create(
        Identity(
            installation=installation,
            profile=profile,
            kind=IdentityKind.EMAIL,
            value=email_hash(address),
            address=address,
            first_seen_at=now,
        )
        for profile, address in zip(people, addresses, strict=True)
    )
    Consent.objects.bulk_create(
        Consent(
            installation=installation,
            profile=profile,
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            # Every tenth does not want any.
            state=ConsentState.GRANTED if n % 10 else ConsentState.DENIED,
            source="test",
            recorded_at=now,
        )
        for n, profile in enumerate(people)
    )
    due = now - timedelta(minutes=30)
    Enrollment.objects.bulk_create(
        Enrollment(
            installation=installation,
            journey=journey,
            version=version,
            profile=profile,
            subject_kind="person",
            entry_key=f"person/{profile.pk}",
            occurred_at=due,
            context={"last_ordered_at": (now - timedelta(days=99)).isoformat(), "channel": ""},
            path=[0],
            due_at=due,
            step_since=due,
            created_at=due,
        )
        for profile in people
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
