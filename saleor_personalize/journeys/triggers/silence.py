"""Who has not ordered for longer than they use to, and who has been away so long that they count as lapsed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import ClassVar

from saleor_personalize.enums import NotSentReason
from saleor_personalize.events.queries import orders_of
from saleor_personalize.journeys import showing
from saleor_personalize.journeys.triggers.base import (
    Content,
    Entry,
    Go,
    Live,
    Sample,
    Stop,
    Subject,
    Verdict,
)
from saleor_personalize.journeys.triggers.people import OfPerson, mornings
from saleor_personalize.messaging import clocks
from saleor_personalize.models import Enrollment, Installation, Profile
from saleor_personalize.traits.queries import gone_quiet, lapsed_after

_LAST = "last_ordered_at"


class Silent(OfPerson):
    """Somebody has not ordered since `context["last_ordered_at"]`. Looked at every morning of the shop."""

    is_foreseeable = True

    def quiet(
        self, installation: Installation, since: datetime, until: datetime
    ) -> list[tuple[int, datetime]]:
        """Return who became silent for too long in between, with their last order."""
        raise NotImplementedError

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        for before, at in mornings(since, now, clocks.shop_zone()):
            last = dict(self.quiet(installation, before, at))
            for profile in self.people(installation, last, agreed=True):
                if profile.pk in last:
                    yield Entry(
                        profile=profile,
                        subject=Subject(),
                        occurred_at=at,
                        due_at=at,
                        context={
                            "channel": showing.channel_of(profile),
                            _LAST: last[profile.pk].isoformat(),
                        },
                    )

    def example(self, profile: Profile, sample: Sample, now: datetime) -> Entry:
        context = {"channel": sample.channel_slug, _LAST: now.isoformat()}
        return Entry(profile, Subject(), now, now, context)

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        # What was imported or came late counts by when it was placed.
        last = datetime.fromisoformat(enrollment.context[_LAST])
        if orders_of(profile=enrollment.profile).filter(placed_at__gt=last).exists():
            return Stop(NotSentReason.ORDERED)
        return Go()

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        return self.with_recommended(enrollment, now)


@dataclass(frozen=True)
class WinBackOptions:
    """`times` the person's own gap between orders, but at least `at_least`; `otherwise` with too few orders."""

    times: Decimal = Decimal(2)
    at_least: timedelta = timedelta(days=30)
    otherwise: timedelta = timedelta(days=120)
    expires: timedelta = timedelta(days=30)


class WinBack(Silent):
    key = "win_back"
    Options: ClassVar[type] = WinBackOptions

    def quiet(
        self, installation: Installation, since: datetime, until: datetime
    ) -> list[tuple[int, datetime]]:
        return gone_quiet(
            installation=installation,
            since=since,
            until=until,
            fixed=self.options.otherwise,
            times=self.options.times,
            at_least=self.options.at_least,
        )


@dataclass(frozen=True)
class LapsedOptions:
    """`after` the last order; not given: when the shop's people count as lapsed."""

    after: timedelta | None = None
    expires: timedelta = timedelta(days=14)


class Lapsed(Silent):
    key = "lapsed"
    Options: ClassVar[type] = LapsedOptions

    def quiet(
        self, installation: Installation, since: datetime, until: datetime
    ) -> list[tuple[int, datetime]]:
        after = self.options.after or lapsed_after(installation)
        return gone_quiet(installation=installation, since=since, until=until, fixed=after)
