"""What a storefront asks, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from saleor_personalize.enums import HintKind, HintPage, HintReason, IdentityKind
from saleor_personalize.models import Installation, Profile

#: Kinds that step between a person and the page: one at a time, and only so often.
INTERRUPTING = (
    HintKind.CART_WAITING,
    HintKind.CHECKOUT_OFFER,
    HintKind.LINGERING,
    HintKind.SIGN_UP,
)


@dataclass(frozen=True)
class Question:
    """The page that asks. `profile` is None of whom nothing is known, or who does not want to be."""

    installation: Installation
    channel_slug: str
    page: HintPage
    now: datetime
    profile: Profile | None = None
    shown: Mapping[IdentityKind, str] = field(default_factory=dict)
    #: Cart in hand: its id is the secret that opens it in Saleor too.
    checkout_id: str = ""
    #: Where it is to be delivered, as far as the storefront knows.
    country_code: str = ""
    language_code: str = ""


@dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str


@dataclass(frozen=True)
class HintLine:
    product_id: str
    variant_id: str
    quantity: int


@dataclass(frozen=True)
class Hint:
    """`text` and `reason_text` are in the active language. `id` is what reports name."""

    kind: HintKind
    subject: str
    text: str
    reason: HintReason
    reason_text: str
    show_after_seconds: int = 0
    show_on_exit: bool = False
    checkout_id: str = ""
    lines: tuple[HintLine, ...] = ()
    #: What is missing, and from where on delivery is free.
    remaining: Money | None = None
    threshold: Money | None = None
    #: Products to show beside it.
    placement: str = ""
    voucher_code: str = ""
    deadline: datetime | None = None

    @property
    def id(self) -> str:
        return f"{self.kind.value}.{self.subject}"
