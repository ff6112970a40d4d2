"""Somebody entered a segment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from saleor_personalize.enums import NotSentReason
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
from saleor_personalize.models import Enrollment, Installation, Profile, SegmentMembership

#: Entries are dated before their transaction ends; so long it may take.
_LATE = timedelta(minutes=10)


@dataclass(frozen=True)
class Options:
    """`segment` is its key; `after` coming in, while they are still in it."""

    segment: str
    after: timedelta = timedelta(0)
    expires: timedelta = timedelta(days=30)


class EnteredSegment(OfPerson):
    key = "segment_entered"
    Options: ClassVar[type] = Options

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        rows = SegmentMembership.objects.of(installation).filter(
            segment__key=self.options.segment,
            left_at=None,
            entered_at__gt=since - _LATE,
            entered_at__lte=now,
        )
        at = dict(rows.order_by("-entered_at").values_list("profile_id", "entered_at"))
        for profile in self.people(installation, at, agreed=False):
            if profile.pk in at:
                yield self._entry(profile, at[profile.pk])

    def _entry(self, profile: Profile, at: datetime) -> Entry:
        return Entry(
            profile=profile,
            subject=Subject("segment", self.options.segment),
            occurred_at=at,
            due_at=at + self.options.after,
            context={"channel": showing.channel_of(profile)},
        )

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        is_in = SegmentMembership.objects.of(enrollment.installation_id).filter(
            segment__key=self.options.segment,
            profile__in=enrollment.profile.person(),
            left_at=None,
        )
        return Go() if is_in.exists() else Stop(NotSentReason.EXIT_CONDITION)

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        return self.with_recommended(enrollment, now)
