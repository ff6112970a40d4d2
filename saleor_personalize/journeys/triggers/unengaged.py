"""Those to whom nothing goes any more because they have not reacted for long: asked once whether it may."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar

from saleor_personalize.enums import DeliveryChannel, MessageStatus, NotSentReason
from saleor_personalize.journeys import showing
from saleor_personalize.journeys.triggers.base import (
    About,
    Entry,
    Go,
    Live,
    Stop,
    Subject,
    Trigger,
    Verdict,
)
from saleor_personalize.messaging import sunset
from saleor_personalize.models import Enrollment, Installation, Message

#: Later than this after the message that was held back, nobody remembers.
_LATE = timedelta(days=7)


class Unengaged(Trigger):
    """The first message that is held back because of SUNSET_AFTER brings in."""

    key = "unengaged"
    asks_the_silent: ClassVar[bool] = True

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        held_back = (
            Message.objects.of(installation)
            .filter(
                status=MessageStatus.NOT_SENT,
                reason=NotSentReason.UNENGAGED,
                delivery_channel=DeliveryChannel.EMAIL,
                decided_at__gt=since,
                decided_at__lte=now,
            )
            .select_related("profile__installation")
            .order_by("decided_at")
        )
        seen: set[int] = set()
        for message in held_back:
            if message.profile.person_id not in seen:
                seen.add(message.profile.person_id)
                at = message.decided_at
                yield Entry(message.profile, Subject(), occurred_at=at, due_at=at)

    def about(self, enrollment: Enrollment) -> About:
        return About(
            language_code=showing.language_of(enrollment.profile),
            expires_at=enrollment.occurred_at + _LATE,
        )

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        is_asleep = sunset.is_asleep(
            profile=enrollment.profile, delivery_channel=DeliveryChannel.EMAIL, now=now
        )
        return Go() if is_asleep else Stop(NotSentReason.GOAL_REACHED)
