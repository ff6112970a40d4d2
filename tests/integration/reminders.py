"""A shop, its shoppers and a real SMTP server, for everything about reminders.

Facts are recorded the way webhooks record them; what Saleor answers just before a send is `Saleor`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from email.message import Message as Mail
from typing import Any

from saleor_personalize.enums import ConsentState, DeliveryChannel, IdentityKind, Purpose
from saleor_personalize.events import operations as events
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutOrders, LiveCheckout, LiveLine
from saleor_personalize.models import (
    Checkout,
    Enrollment,
    Identity,
    Installation,
    Journey,
    Message,
    Order,
    email_hash,
)
from saleor_personalize.profiles import consent
from saleor_personalize.saleor_api.nodes import CheckoutData, CheckoutLineData, OrderData
from saleor_personalize.testing.stack import Mailbox
from tests.conftest import NOW

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SMTP = "django.core.mail.backends.smtp.EmailBackend"


class MoodyMailbox(Mailbox):
    """A real SMTP server that can be told to refuse, or to hang up with the message in hand."""

    recipient_answer: str | None = None
    data_answer: str = "250 OK"
    hangs_up_after_data: bool = False

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.recipient_answer:
            return self.recipient_answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.data_answer.startswith("250"):
            await super().handle_DATA(server, session, envelope)
        if self.hangs_up_after_data:
            server.transport.abort()
        return self.data_answer


@contextmanager
def mailbox() -> Iterator[MoodyMailbox]:
    box = MoodyMailbox()
    box.start()
    try:
        yield box
    finally:
        box.stop()


def use_smtp(settings: Any, port: int) -> None:
    settings.EMAIL_BACKEND = SMTP
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_PORT = port


@dataclass
class Saleor:
    """What the shop would answer. It knows every line we know, all for sale, unless told otherwise."""

    ordered: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    sold_out: set[str] = field(default_factory=set)
    prices: dict[str, str] = field(default_factory=dict)
    #: checkout id -> (lines as {variant: quantity}, when they changed)
    newer: dict[str, tuple[dict[str, int], datetime]] = field(default_factory=dict)
    is_down: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    before_answer: Callable[[Checkout], None] = lambda checkout: None

    def __call__(self, question: Any) -> Any:
        if isinstance(question, AboutOrders):
            self.asked.append((question.key, question.address))
            if self.is_down:
                raise SaleorApiError("The shop does not answer.", is_retryable=True)
            return question.key in self.ordered
        checkout, address = question.checkout, question.address
        self.asked.append((checkout.saleor_id, address))
        self.before_answer(checkout)
        if self.is_down:
            raise SaleorApiError("The shop does not answer.", is_retryable=True)
        if checkout.saleor_id in self.gone:
            return LiveCheckout(exists=False, is_ordered=checkout.saleor_id in self.ordered)
        lines = {line["variant_id"]: line["quantity"] for line in checkout.lines}
        changed_at = checkout.saleor_updated_at
        if checkout.saleor_id in self.newer:
            lines, changed_at = self.newer[checkout.saleor_id]
        return LiveCheckout(
            exists=True,
            is_ordered=checkout.saleor_id in self.ordered,
            changed_at=changed_at,
            email_hash=checkout.email_hash,
            user_id=checkout.user_saleor_id,
            lines=tuple(self._line(variant, quantity) for variant, quantity in lines.items()),
        )

    def _line(self, variant: str, quantity: int) -> LiveLine:
        return LiveLine(
            product_id=f"product-of-{variant}",
            variant_id=variant,
            product_name=f"Product {variant}",
            variant_name="Large",
            quantity=quantity,
            unit_price=Decimal(self.prices.get(variant, "20.00")),
            currency="USD",
            image_url="https://store.test/picture.png",
            is_sellable=variant not in self.sold_out,
        )


@dataclass
class World:
    installation: Installation
    box: MoodyMailbox
    saleor: Saleor = field(default_factory=Saleor)

    @property
    def journey(self) -> Journey:
        return journeys.ensure_journey(installation=self.installation, key="abandoned_checkout")

    def go_live(self, at: datetime = NOW - 30 * MINUTE) -> None:
        journeys.go_live(journey=self.journey, now=at)

    # -- what happens in the shop -------------------------------------------------------------------

    def checkout(self, id: str = "checkout-1", **changes: Any) -> Checkout:  # noqa: A002
        """A shopper fills or changes a cart, and Saleor tells us."""
        row = self.record_checkout(checkout_data(id, **changes))
        journeys.follow_checkout(checkout=row, now=NOW)
        return row

    def record_checkout(self, data: CheckoutData) -> Checkout:
        (recorded,) = events.record_checkouts(installation=self.installation, data=[data], now=NOW)
        return recorded.row

    def order(self, **changes: Any) -> Order:
        """A shopper buys, and Saleor tells us."""
        (order_id,) = events.record_orders(
            installation=self.installation, data=[order_data(**changes)], now=NOW
        )
        order = Order.objects.get(pk=order_id)
        journeys.exit_for_order(order=order, now=NOW)
        return order

    def allow(self, address: str, state: ConsentState = ConsentState.GRANTED) -> None:
        profile = Identity.objects.get(
            installation=self.installation, kind=IdentityKind.EMAIL, value=email_hash(address)
        ).profile
        consent.record(
            profile=profile,
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            state=state,
            source="test",
            now=NOW,
        )

    # -- what we do -----------------------------------------------------------------------------------

    def advance(self, at: datetime = NOW + 2 * HOUR) -> int:
        return journeys.advance_due(now=at, ask=self.saleor)

    # -- what came of it ------------------------------------------------------------------------------

    def mails(self) -> list[Mail]:
        return list(self.box.messages)

    def decision(self) -> tuple[str, str]:
        """Status and reason of the only message there is, second reminders apart."""
        messages = Message.objects.filter(installation=self.installation)
        message = messages.exclude(idempotency_key__endswith=":second").get()
        return message.status, message.reason

    def enrollment(self, id: str = "checkout-1") -> Enrollment:  # noqa: A002
        return Enrollment.objects.get(installation=self.installation, subject_saleor_id=id)


def checkout_data(id: str = "checkout-1", **changes: Any) -> CheckoutData:  # noqa: A002
    """A cart of Alice's with two lines, last changed at NOW; `variants` are its lines."""
    variants: dict[str, int] = changes.pop("variants", {"variant-1": 1, "variant-2": 2})
    at: datetime = changes.pop("at", NOW)
    data = CheckoutData(
        id=id,
        token="5f18b6a8-0000-4000-8000-000000000000",
        created_at=at,
        updated_at=at,
        email="alice@example.com",
        user_id="",
        user_email="",
        language_code="EN",
        channel_slug="default-channel",
        currency="USD",
        total=Decimal("60.00"),
        lines=tuple(
            CheckoutLineData(
                id=f"line-{variant}",
                variant_id=variant,
                product_id=f"product-of-{variant}",
                quantity=quantity,
                unit_price=Decimal("20.00"),
            )
            for variant, quantity in variants.items()
        ),
        metadata={},
    )
    return replace(data, **changes)


def order_data(id: str = "order-1", **changes: Any) -> OrderData:  # noqa: A002
    """An order placed ten minutes after NOW by nobody we know, unless `changes` say by whom."""
    at: datetime = changes.pop("at", NOW + 10 * MINUTE)
    data = OrderData(
        id=id,
        number="1",
        placed_at=at,
        updated_at=at,
        status="UNFULFILLED",
        email="",
        user_id="",
        user_email="",
        checkout_id="",
        channel_slug="default-channel",
        currency="USD",
        total=Decimal("60.00"),
        language_code="EN",
        lines=(),
    )
    return replace(data, **changes)


def run_threads(*jobs: Callable[[], Any]) -> list[Any]:
    """Run jobs at the same time, each with a database connection of its own; return their results."""
    from django.db import connection

    results: list[Any] = [None] * len(jobs)
    faults: list[BaseException] = []

    def run(index: int, job: Callable[[], Any]) -> None:
        try:
            results[index] = job()
        except BaseException as error:
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if faults:
        raise faults[0]
    return results
