"""Run with pytest beside your own tests: the contract of every trigger, on this one."""

from datetime import timedelta

from review_request import ReviewRequest

from saleor_personalize.journeys.triggers import OrderChanged
from saleor_personalize.models import Order
from saleor_personalize.testing.contracts import NOW, TriggerCase, TriggerTests


class TestReviewRequest(TriggerTests):
    trigger = ReviewRequest
    definition = "review_request.yaml"

    def come_in(self, case: TriggerCase) -> None:
        order = Order.objects.create(
            installation=case.installation,
            saleor_id="order-1",
            profile=case.profile,
            number="7",
            status="FULFILLED",
            channel_slug="default-channel",
            currency="EUR",
            total=20,
            placed_at=NOW,
            saleor_updated_at=NOW,
        )
        case.observe(OrderChanged(order), now=NOW + timedelta(days=1))
