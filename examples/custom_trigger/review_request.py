"""Ask for a review some days after an order: a trigger of a shop's own.

Settings: SALEOR_PERSONALIZE = {"TRIGGERS": {"review_request": "review_request.ReviewRequest"}}
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from saleor_personalize.enums import NotSentReason
from saleor_personalize.journeys.triggers import (
    About,
    Content,
    Entry,
    Fact,
    Go,
    Live,
    OrderChanged,
    Stop,
    Subject,
    SubjectGone,
    Trigger,
    Verdict,
)
from saleor_personalize.models import Enrollment, Order


@dataclass(frozen=True)
class Options:
    after: timedelta = timedelta(days=10)


class ReviewRequest(Trigger):
    key = "review_request"
    Options = Options
    facts = (OrderChanged,)
    is_subject_personal = True

    def candidates(self, fact: Fact) -> Iterable[Entry]:
        if not isinstance(fact, OrderChanged):
            return
        order = fact.order
        if order.status == "FULFILLED" and order.profile is not None:
            yield Entry(
                profile=order.profile,
                subject=Subject("order", order.saleor_id),
                occurred_at=order.placed_at,
                due_at=order.placed_at + self.options.after,
            )

    def about(self, enrollment: Enrollment) -> About:
        order = self._order(enrollment)
        return About(
            address_hash=order.email_hash,
            language_code=enrollment.profile.language_code,
            channel_slug=order.channel_slug,
            expires_at=order.placed_at + self.options.after + timedelta(days=14),
        )

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        if self._order(enrollment).status != "FULFILLED":
            # It came back.
            return Stop(NotSentReason.EXIT_CONDITION)
        return Go()

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        order = self._order(enrollment)
        return Content(context={"order_number": order.number}, kept={"order_id": order.saleor_id})

    def _order(self, enrollment: Enrollment) -> Order:
        found = (
            Order.objects.of(enrollment.installation_id)
            .filter(saleor_id=enrollment.subject_saleor_id)
            .first()
        )
        if found is None:
            raise SubjectGone(NotSentReason.EXIT_CONDITION)
        return found
