"""What somebody bought should be used up: when it is due again by their own rhythm, or by that of others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from saleor_personalize.enums import NotSentReason
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
from saleor_personalize.journeys.triggers.people import (
    OfPerson,
    bought,
    mornings,
    refuses_profiling,
)
from saleor_personalize.messaging import clocks
from saleor_personalize.models import Enrollment, Installation, Profile
from saleor_personalize.profiles import merging
from saleor_personalize.recommendations.replenishment import Due, became_due


@dataclass(frozen=True)
class Options:
    """`share` of the usual interval after which it is due. What is bought rarer than `longest` never is."""

    share: Decimal = Decimal("0.9")
    shortest: timedelta = timedelta(days=5)
    longest: timedelta = timedelta(days=365)
    expires: timedelta = timedelta(days=10)


class Replenishment(OfPerson):
    key = "replenishment"
    Options: ClassVar[type] = Options
    is_foreseeable = True

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        for before, at in mornings(since, now, clocks.shop_zone()):
            found: dict[int, list[Due]] = {}
            for each in became_due(
                installation=installation,
                since=before,
                until=at,
                share=self.options.share,
                shortest=self.options.shortest,
                longest=self.options.longest,
            ):
                found.setdefault(each.person_id, []).append(each)
            for profile in self.people(installation, found, agreed=True):
                # An order of a guest carries an address that nobody proved.
                mine = merging.readable(profile)
                own = [each for each in found.get(profile.pk, ()) if each.buyer_ids <= mine]
                if own:
                    yield Entry(
                        profile=profile,
                        subject=Subject(),
                        occurred_at=at,
                        due_at=at,
                        context={
                            "channel": showing.channel_of(profile),
                            "products": {
                                each.product_id: each.bought_at.isoformat() for each in own
                            },
                        },
                    )

    def example(self, profile: Profile, sample: Sample, now: datetime) -> Entry:
        context = {"channel": sample.channel_slug, "products": {sample.product_id: now.isoformat()}}
        return Entry(profile, Subject(), now, now, context)

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        if objection := refuses_profiling(enrollment.profile):
            return objection
        if not self._due_still(enrollment):
            return Stop(NotSentReason.ORDERED)
        return Go() if self._shown(enrollment, now) else Stop(NotSentReason.NOTHING_TO_SHOW)

    @staticmethod
    def _due_still(enrollment: Enrollment) -> list[str]:
        """Return what was not bought again since."""
        wanted = enrollment.context["products"]
        return [
            id_
            for id_, at in wanted.items()
            if not bought(enrollment.profile, [id_], datetime.fromisoformat(at))
        ]

    def _shown(self, enrollment: Enrollment, now: datetime) -> list[dict[str, Any]]:
        return self.products(enrollment, self._due_still(enrollment), now)

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        shown = self._shown(enrollment, now)
        return Content({"products": shown}, {"product_ids": showing.kept(shown)})
