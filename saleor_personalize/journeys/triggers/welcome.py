"""Somebody allowed messages for the first time and has never ordered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from django.db.models import QuerySet

from saleor_personalize.alerts import operations as alerts
from saleor_personalize.enums import ConsentState, NotSentReason, Purpose
from saleor_personalize.events.queries import orders_of
from saleor_personalize.journeys import showing
from saleor_personalize.journeys.triggers.base import (
    Content,
    Entry,
    Go,
    Live,
    Stop,
    Subject,
    Verdict,
)
from saleor_personalize.journeys.triggers.people import OfPerson
from saleor_personalize.models import Consent, Enrollment, Installation, Profile

#: A yes is dated before its transaction ends; so long it may take.
_LATE = timedelta(minutes=10)


@dataclass(frozen=True)
class Options:
    """`after` the yes; too late after `expires`."""

    after: timedelta = timedelta(minutes=10)
    expires: timedelta = timedelta(days=14)


class Welcome(OfPerson):
    key = "welcome"
    is_for_newcomers = True
    Options: ClassVar[type] = Options

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        said = self._yes(installation).filter(recorded_at__gt=since - _LATE, recorded_at__lte=now)
        for profile in self.people(
            installation, said.values_list("profile_id", flat=True), agreed=True
        ):
            first = self._first_yes(profile)
            if (
                first is not None
                and first > since - _LATE
                and not orders_of(profile=profile).exists()
            ):
                yield Entry(
                    profile=profile,
                    subject=Subject(),
                    occurred_at=first,
                    due_at=first + self.options.after,
                    context={"channel": showing.channel_of(profile)},
                )

    def _yes(self, installation: Installation) -> QuerySet[Consent]:
        return (
            Consent.objects.of(installation)
            .filter(
                purpose=Purpose.MARKETING,
                delivery_channel__in=list(self.delivery_channels),
                state=ConsentState.GRANTED,
                # To be told of one product is no wish to be written to: that may still come.
            )
            .exclude(topic=alerts.TOPIC)
        )

    def _first_yes(self, profile: Profile) -> datetime | None:
        rows = self._yes(profile.installation).filter(profile__in=profile.person())
        found: datetime | None = (
            rows.order_by("recorded_at").values_list("recorded_at", flat=True).first()
        )
        return found

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        """A welcome is for who has never ordered, as whoever and whenever."""
        if orders_of(profile=enrollment.profile).exists():
            return Stop(NotSentReason.ORDERED)
        return Go()

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        return self.with_recommended(enrollment, now)
