"""What a trigger is: who comes into a journey and why, whether it still holds, what a message says.

A trigger never asks for consent, caps, quiet hours, orders or other journeys: the scheduler does, for
all of them, before every step and again under the locks of every send. Subclass `Trigger`, name the
class in TRIGGERS, and run `saleor_personalize.testing.contracts.TriggerTests` on it
(docs/howto/custom-trigger.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Protocol

from saleor_personalize.enums import DeliveryChannel, NotSentReason
from saleor_personalize.events.queries import has_ordered_since
from saleor_personalize.models import (
    Checkout,
    Enrollment,
    Installation,
    Order,
    Profile,
)
from saleor_personalize.profiles import identity

# -- facts: what is told as it is recorded ------------------------------------------------------------


@dataclass(frozen=True)
class Fact:
    """Something that was recorded, told in the transaction that records it or right after it."""

    @property
    def installation(self) -> Installation:
        raise NotImplementedError


@dataclass(frozen=True)
class CheckoutChanged(Fact):
    checkout: Checkout

    @property
    def installation(self) -> Installation:
        return self.checkout.installation


@dataclass(frozen=True)
class OrderChanged(Fact):
    """An order is new or changed; `order.status` says how far it is."""

    order: Order

    @property
    def installation(self) -> Installation:
        return self.order.installation


@dataclass(frozen=True)
class StockChanged(Fact):
    """A variant of a shop has another stock than before."""

    shop: Installation
    variant_saleor_id: str
    at: datetime

    @property
    def installation(self) -> Installation:
        return self.shop


# -- who comes in -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """The object that an entry is about: ("checkout", id), ("variant", id); none: the person alone."""

    kind: str = "person"
    id: str = ""


@dataclass(frozen=True)
class Entry:
    """Somebody comes in. `due_at` is when the first step is due; `context` is kept, so nothing personal."""

    profile: Profile
    subject: Subject
    occurred_at: datetime
    due_at: datetime
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """What an example is about: a variant of one of the shop's own products. `price` is as entered in Saleor."""

    channel_slug: str
    currency: str
    product_id: str
    variant_id: str
    price: Decimal


# -- what a trigger says of somebody inside -----------------------------------------------------------


class Question(Protocol):
    """Something only the shop's Saleor knows this very moment."""

    @property
    def key(self) -> str:
        """Name of its answer in `live`."""

    def ask(self) -> Any:
        """Ask the shop. Raises SaleorApiError, or MalformedPayload for an answer that says too little."""


#: Question.key -> answer.
Live = Mapping[str, Any]


@dataclass(frozen=True)
class Go:
    """Nothing of this trigger's speaks against the next step."""


@dataclass(frozen=True)
class Wait:
    """Too early: ask again at `until`."""

    until: datetime


@dataclass(frozen=True)
class Stop:
    """Never: `reason` says why."""

    reason: NotSentReason


@dataclass(frozen=True)
class AskSaleor:
    """Nothing of ours speaks against it; what does the shop say? Asked only if a message could go."""

    questions: tuple[Question, ...]


Verdict = Go | Wait | Stop | AskSaleor


@dataclass(frozen=True)
class About:
    """What the scheduler has to know of somebody inside, beside the profile."""

    #: Hash of the address to write to, if it is the person's; else their newest.
    address_hash: str = ""
    language_code: str = ""
    channel_slug: str = ""
    #: Ids, beside those of the person, by which an order may be theirs: (kind, value).
    identities: frozenset[tuple[str, str]] = frozenset()
    #: Whose the object is by now, where it can change hands; None: whoever came in.
    profile: Profile | None = None
    #: From then on a message would be too late.
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Content:
    """What a message shows. `kept` is stored with it: ids and prices, nothing personal.

    Where a tap on a push leads, and its picture, the context says by `link` and `image_url`; without them
    it is the cart, or the first product.
    """

    context: Mapping[str, Any]
    kept: Mapping[str, Any] = field(default_factory=dict)
    #: Others inside this journey whose occasion this message covers as well: they leave as told.
    along: tuple[Enrollment, ...] = ()


class SubjectGone(Exception):
    """The object of an enrollment is no longer known: whoever owned it was erased."""

    def __init__(self, reason: NotSentReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class NoOptions:
    """For a trigger that cannot be set."""


class Trigger:
    """One way into a journey. An instance is made per definition; it must not keep anything else."""

    #: Name in definitions and in TRIGGERS.
    key: ClassVar[str]
    #: A frozen dataclass: what a definition may set beside `type`. See `definitions.read_options`.
    Options: ClassVar[type] = NoOptions
    #: The facts that `candidates` looks at.
    facts: ClassVar[tuple[type[Fact], ...]] = ()
    #: Whether an object belongs to one person by itself (a checkout), so that two people never share it.
    is_subject_personal: ClassVar[bool] = False
    #: Triggers of one family tell the same story; the most significant one alone is followed up.
    family: ClassVar[str] = ""
    significance: ClassVar[int] = 0
    #: Conditions for goals and exits that this trigger adds, and the reason that is told of each:
    #: {"sold_out": NotSentReason...}.
    conditions: ClassVar[Mapping[str, NotSentReason]] = {}

    #: Whether a question of `judge` tells of orders since: then the scheduler need not ask for them.
    asks_for_orders: ClassVar[bool] = False

    #: Whether it speaks to those who have never ordered: then Saleor is asked for orders of all time.
    is_for_newcomers: ClassVar[bool] = False

    #: Whether people come in by an order of theirs: only then may messages be about what an order needs
    #: (TRANSACTIONAL_TOPICS), for which nobody has to say yes.
    follows_order: ClassVar[bool] = False

    #: Whether its messages ask those who have not reacted for long whether they still want any: only such
    #: messages go to them.
    asks_the_silent: ClassVar[bool] = False

    #: Whether time alone brings people in, so that `due` can tell today who comes in the next days.
    is_foreseeable: ClassVar[bool] = False

    #: Whether people asked for its messages themselves: then nobody is held out of them.
    is_asked_for: ClassVar[bool] = False

    #: By which delivery channels the journey writes: only whom one of them may reach, comes in.
    delivery_channels: Collection[str] = (DeliveryChannel.EMAIL,)

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options

    # -- who comes in --

    def candidates(self, fact: Fact) -> Iterable[Entry]:
        """Yield who comes in, or waits anew, because of a fact."""
        return ()

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        """Yield whom time alone brings in: what became true after `since`, up to `now`."""
        return ()

    def entry_key(self, entry: Entry) -> str:
        """Return what may be entered once at a time; by default the object, of this person."""
        if self.is_subject_personal:
            return entry.subject.id
        return (
            f"{entry.profile.pk}/{entry.subject.id}" if entry.subject.id else str(entry.profile.pk)
        )

    def example(self, profile: Profile, sample: Sample, now: datetime) -> Entry:
        """Return how somebody would come in who never did, to show what a message says; by default the person
        alone.

        What it is about may be written into our tables: all of it is taken back (`journeys.examples`).
        """
        return Entry(profile, Subject(), now, now, {"channel": sample.channel_slug})

    # -- whether it still holds --

    def about(self, enrollment: Enrollment) -> About:
        """Return what the scheduler needs. Raises SubjectGone."""
        return About(language_code=enrollment.profile.language_code)

    def lock(self, enrollment: Enrollment) -> None:
        """Hold the rows that a decision depends on (select_for_update), after the person's identities."""

    def has_ordered(self, enrollment: Enrollment) -> bool:
        """Tell whether the person has ordered since they came in: the condition "ordered"."""
        return has_ordered_since(
            profile=enrollment.profile,
            since=enrollment.occurred_at,
            identities=self.about(enrollment).identities,
        )

    def holds(self, condition: str, enrollment: Enrollment, now: datetime) -> bool:
        """Tell whether one of `conditions` holds."""
        raise NotImplementedError(condition)

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        """Say what speaks against the next step; first by our own tables (`live` None), then with answers.

        Asked before every step, and again under the locks of every send. With answers it must not
        return AskSaleor, unless what it has to ask has changed.
        """
        return Go()

    def stopped(self, enrollment: Enrollment, reason: NotSentReason, now: datetime) -> None:
        """Do what follows from a `Stop` of this trigger, in the same transaction."""

    # -- what a message says --

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        """Return what the next message shows. Raises TemplateIncomplete when something it needs is missing."""
        return Content({})


def identities_of(profile: Profile, about: About) -> set[tuple[str, str]]:
    """Return every identity by which an order of this person may be known: what a decision locks."""
    return {(kind, value) for kind, value in about.identities | identity.ids_of(profile) if value}


def known_facts() -> Collection[type[Fact]]:
    """Return every kind of fact that triggers can look at."""
    return tuple(Fact.__subclasses__())
