"""A small shop in which anything may happen at any moment, and a judge of what it sends.

Whatever happens is written down twice: through the doors that Saleor and storefronts use, and in `Truth`, in
plain Python, apart from the code under test. A mail is judged the moment it reaches the provider, by what it
says and by the truth alone. Workers can be held up or killed at every point of their way.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from saleor_personalize.alerts import operations as alerts
from saleor_personalize.alerts.operations import AlertRefused, Words
from saleor_personalize.catalog import operations as catalog
from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EventSource,
    EventType,
    IdentityKind,
    Purpose,
)
from saleor_personalize.events import operations as events
from saleor_personalize.events.tracking import Row, track
from saleor_personalize.exceptions import ChannelError, SaleorApiError
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutCheckout, AboutOrders, LiveCheckout, LiveLine
from saleor_personalize.journeys.live_variants import AboutVariant, LiveVariant
from saleor_personalize.journeys.outside import Outside
from saleor_personalize.journeys.triggers import StockChanged
from saleor_personalize.messaging import links
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.channels.base import (
    Channel,
    OutgoingMessage,
    Sending,
    SendResult,
)
from saleor_personalize.models import (
    Enrollment,
    Identity,
    Installation,
    Journey,
    Message,
    Product,
    ProductListing,
    ProductVariant,
    Profile,
    SalesChannel,
    StockAlert,
    email_hash,
)
from saleor_personalize.offers import operations as offers
from saleor_personalize.profiles import consent, identity
from saleor_personalize.saleor_api.nodes import (
    CheckoutData,
    CheckoutLineData,
    CustomerData,
    OrderData,
    OrderLineData,
    StockData,
)
from tests.conftest import make_installation

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_LINK = re.compile(r"https?://\S+")
#: Noon in UTC on ordinary days, and the days before clocks change in New York and Paris.
STARTS = tuple(
    datetime(2026, month, day, 12, tzinfo=UTC)
    for month, day in ((2, 3), (3, 7), (3, 28), (10, 24), (10, 31))
)
BEGINNING = STARTS[0] - 60 * DAY
CHANNEL = "default-channel"
PEOPLE = ("ann", "ben")
USERS = {"ann": "VXNlcjox", "ben": "VXNlcjoy"}
ZONES = {"ann": ZoneInfo("Europe/Paris"), "ben": ZoneInfo("America/New_York")}
CARTS = {"ann": ("ann-1", "ann-2"), "ben": ("ben-1",)}
PRODUCTS = ("mug", "tea")
QUIET = ("21:00", "08:00")
FULL_PRICE_DAYS, OFFERS_PER_YEAR = 30, 1
CAPS = ((2, DAY), (5, 7 * DAY))
SETTINGS: dict[str, Any] = {
    "QUIET_HOURS": {"email": QUIET},
    "INCENTIVE_GUARD": {
        "days_after_full_price": FULL_PRICE_DAYS,
        "offers_per_year": OFFERS_PER_YEAR,
    },
    "STOCK_ALERT_EXPIRY": 6 * DAY,
    "PRODUCT_URL": "https://store.test/product/{slug}?in={channel}",
}
LIVE = ("abandoned_checkout", "back_in_stock", "browsed_product", "gift", "price_drop", "welcome")
#: Two ways in which the shop's own journey may go: people inside keep theirs.
GIFTS: tuple[Mapping[str, Any], ...] = (
    {
        "journey": "gift",
        "topic": "offers",
        "priority": 62,
        "trigger": {"type": "favourites_left", "after": "1 hour", "expires": "5 days"},
        "reentry": {"per": "person", "cool_down": "10 days"},
        "goals": ["ordered"],
        "steps": [
            {
                "wait_for": {
                    "event": "cart_added",
                    "for": "2 hours",
                    "then": [{"exit": {}}],
                    "otherwise": [
                        {"offer": {"id": "present", "percent": 10, "expires": "7 days", "when_refused": "stop"}},
                        {"message": {"id": "gift", "template": "win_back_offer"}},
                    ],
                }
            }
        ],
    },
    {
        "journey": "gift",
        "topic": "offers",
        "priority": 85,
        "trigger": {"type": "favourites_left", "after": "1 hour", "expires": "5 days"},
        "reentry": {"per": "person", "cool_down": "10 days"},
        "goals": ["ordered"],
        "on_pause": "exit",
        "steps": [
            {
                "split": {
                    "by": "random",
                    "id": "half",
                    "branches": [
                        {
                            "name": "plain",
                            "weight": 1,
                            "steps": [{"message": {"id": "plain", "template": "favourites_left"}}],
                        },
                        {
                            "name": "code",
                            "weight": 1,
                            "steps": [
                                {"offer": {"id": "present", "percent": 20, "expires": "3 days", "when_refused": "stop"}},
                                {"message": {"id": "gift", "template": "birthday"}},
                            ],
                        },
                    ],
                }
            },
            {"wait": {"for": "1 day"}},
            {"message": {"id": "again", "template": "lapsed"}},
        ],
    },
)  # fmt: skip
#: Which templates each way may show.
TEMPLATES = ({"win-back-offer"}, {"favourites-left", "birthday", "lapsed"})
TOPICS = {
    "abandoned-checkout": "reminders",
    "abandoned-checkout-again": "reminders",
    "browsed-product": "reminders",
    "back-in-stock": "stock_alerts",
    "price-drop": "offers",
    "welcome": "offers",
    "win-back-offer": "offers",
    "favourites-left": "offers",
    "birthday": "offers",
    "lapsed": "offers",
}
JOURNEYS = {
    "abandoned-checkout": "abandoned_checkout",
    "abandoned-checkout-again": "abandoned_checkout",
    "browsed-product": "browsed_product",
    "back-in-stock": "back_in_stock",
    "price-drop": "price_drop",
    "welcome": "welcome",
    "win-back-offer": "gift",
    "favourites-left": "gift",
    "birthday": "gift",
    "lapsed": "gift",
}


class Killed(BaseException):
    """SIGKILL, as far as a test can: nothing catches it, and what was not committed is gone."""


def account(person: str) -> str:
    return f"{person}@example.com"


def work(person: str) -> str:
    return f"{person}@work.example"


def owner(address: str) -> str:
    return address.partition("@")[0]


# -- what really happened -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Bought:
    person: str
    at: datetime
    #: The account that is signed in, and the address that was typed.
    user: str
    address: str
    checkout: str
    products: tuple[str, ...]
    is_full_price: bool
    is_in_saleor: bool
    #: What was cancelled nobody has: it may be recommended again.
    is_cancelled: bool = False


@dataclass
class Cart:
    contact: str
    lines: dict[str, int]
    changed_at: datetime


@dataclass(frozen=True)
class Mail:
    """A mail as a shopper reads it."""

    at: datetime
    key: str
    address: str
    template: str
    text: str

    @property
    def carts(self) -> list[str]:
        return re.findall(r"checkout=([\w-]+)", self.text)

    @property
    def products(self) -> list[str]:
        return re.findall(r"/product/([\w-]+)\?", self.text)

    @property
    def names(self) -> set[str]:
        """What is shown of carts, which have no links to products."""
        return {name for name in PRODUCTS if f"- Product {name}" in self.text}

    @property
    def amounts(self) -> list[Decimal]:
        return [Decimal(text) for text in re.findall(r"(\d+\.\d\d)\u00a0USD", self.text)]


@dataclass
class Truth:
    """What really happened, by the shop's clock, and what we were told of it."""

    now: datetime
    carts: dict[str, Cart] = field(default_factory=dict)
    told_contacts: dict[str, set[str]] = field(default_factory=dict)
    orders: list[Bought] = field(default_factory=list)
    known_orders: list[Bought] = field(default_factory=list)
    #: (address, topic, yes or no), in order of what was said last.
    said: list[tuple[str, str, bool]] = field(default_factory=list)
    suppressed: set[str] = field(default_factory=set)
    #: Who is surely known to be one person under both addresses.
    linked: set[str] = field(default_factory=set)
    stock: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PRODUCTS, 5))
    told_stock: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PRODUCTS, 5))
    price: dict[str, Decimal] = field(
        default_factory=lambda: dict.fromkeys(PRODUCTS, Decimal("20.00"))
    )
    told_prices: dict[str, list[tuple[datetime, Decimal]]] = field(
        default_factory=lambda: {one: [(BEGINNING, Decimal("20.00"))] for one in PRODUCTS}
    )
    #: (person, product) -> when it was looked at; when it was kept.
    viewed: dict[tuple[str, str], datetime] = field(default_factory=dict)
    kept: dict[str, datetime] = field(default_factory=dict)
    #: (address, product) -> when it was asked for.
    alerts: dict[tuple[str, str], list[datetime]] = field(default_factory=dict)
    cancelled: set[tuple[str, str]] = field(default_factory=set)
    paused: set[str] = field(default_factory=set)
    #: Journey -> when it went live last.
    live_at: dict[str, datetime] = field(default_factory=dict)
    is_stopped: bool = False
    is_down: bool = False
    #: When which way of the gift was published.
    gifts: list[tuple[datetime, int]] = field(default_factory=list)
    #: What ever happened at all: reasons are held against it.
    ever: set[str] = field(default_factory=set)

    # -- what it means --

    def is_of(self, order: Bought, address: str) -> bool:
        """Tell whether an order can be known to be of whoever reads mail at an address."""
        person = owner(address)
        if order.person != person:
            return False
        shown = {order.address} | ({account(person)} if order.user else set())
        return address in shown or person in self.linked

    def says(self, address: str, topic: str) -> bool | None:
        """Return the last word of an address about a topic; a NO to everything ends all before it."""
        whole = part = None
        for whose, about, is_yes in self.said:
            if whose != address:
                continue
            if about == "":
                whole = is_yes
                if not is_yes:
                    part = None if part is not False else part
            elif about == topic:
                part = is_yes
        return whole if part is None else part

    def allows(self, address: str, topic: str) -> bool:
        person = owner(address)
        same = {account(person), work(person)} if person in self.linked else {address}
        words = {self.says(one, topic) for one in same}
        return address not in self.suppressed and True in words and False not in words

    def lowest_before(self, product: str, since: datetime) -> Decimal:
        """Return the lowest price of the 30 days before, as far as we were told."""
        told = self.told_prices[product]
        held = [price for at, price in told if since - 30 * DAY < at < since]
        earlier = [price for at, price in told if at <= since - 30 * DAY]
        return min([*held, *earlier[-1:]])


# -- Saleor's vouchers ----------------------------------------------------------------------------------


@dataclass
class Vouchers:
    """A Saleor that makes vouchers. `on_call` is asked before and after each call and may end the worker."""

    on_call: Callable[[str], None]
    vouchers: dict[str, dict[str, Any]] = field(default_factory=dict)
    ever: set[str] = field(default_factory=set)
    made: int = 0

    def codes(self) -> set[str]:
        return {code for voucher in self.vouchers.values() for code in voucher["held"]}

    @contextmanager
    def connect(self, installation: Installation) -> Iterator[Vouchers]:
        yield self

    def execute(self, operation: str, variables: Mapping[str, Any] | None = None) -> Any:
        self.on_call("before")
        answer = getattr(self, f"_{operation}")(**(variables or {}))
        self.on_call("after")
        return answer

    def _node(self, voucher: dict[str, Any]) -> dict[str, Any]:
        edges = [{"node": {"id": code, "code": code}} for code in voucher["held"]]
        page = {"hasNextPage": False, "endCursor": None}
        return {**voucher, "codes": {"edges": edges, "pageInfo": page}}

    def _OfferVoucherByCode(self, code: str) -> Any:  # noqa: N802 (Saleor's names)
        found = [one for one in self.vouchers.values() if code in one["held"]]
        return {"vouchers": {"edges": [{"node": self._node(one)} for one in found]}}

    def _OfferVoucherCreate(self, input: Mapping[str, Any]) -> Any:  # noqa: N802, A002
        self.made += 1
        voucher = {
            "id": f"voucher-{self.made}",
            "held": list(input["addCodes"]),
            "type": input["type"],
            "discountValueType": input["discountValueType"],
            "singleUse": input["singleUse"],
            "endDate": input["endDate"],
            "channelListings": [],
        }
        self.vouchers[voucher["id"]] = voucher
        self.ever.update(voucher["held"])
        return {"voucherCreate": {"errors": [], "voucher": self._node(voucher)}}

    def _OfferVoucherListings(self, id: str, input: Mapping[str, Any]) -> Any:  # noqa: N802, A002
        voucher = self.vouchers[id]
        voucher["channelListings"] = [
            {
                "channel": {"id": row["channelId"]},
                "discountValue": row["discountValue"],
                "minSpent": None,
            }
            for row in input["addChannels"]
        ]
        return {"voucherChannelListingUpdate": {"errors": [], "voucher": self._node(voucher)}}

    def _OfferVoucherAddCode(self, id: str, input: Mapping[str, Any]) -> Any:  # noqa: N802, A002
        if id not in self.vouchers:
            fault = {"field": "id", "code": "NOT_FOUND", "message": "There is none."}
            return {"voucherUpdate": {"errors": [fault], "voucher": None}}
        self.vouchers[id]["held"] += input["addCodes"]
        self.ever.update(input["addCodes"])
        return {"voucherUpdate": {"errors": [], "voucher": self._node(self.vouchers[id])}}

    def _OfferVoucherDelete(self, id: str) -> Any:  # noqa: N802, A002
        self.vouchers.pop(id)
        return {"voucherDelete": {"errors": []}}

    def _OfferCodeDelete(self, ids: list[str]) -> Any:  # noqa: N802
        for voucher in self.vouchers.values():
            voucher["held"] = [code for code in voucher["held"] if code not in ids]
        return {"voucherCodeBulkDelete": {"errors": []}}


@dataclass
class Provider(Channel):
    """Brings each message to the story that is being told, and answers as late as it can."""

    provide: Callable[[OutgoingMessage], SendResult]
    answered: Callable[[OutgoingMessage], None]

    def send(self, message: OutgoingMessage) -> SendResult:
        return self.begin(message).outcome()

    def begin(self, message: OutgoingMessage) -> Sending:
        future: Future[SendResult] = Future()
        try:
            future.set_result(self.provide(message))
        except Exception as error:
            future.set_exception(error)

        def outcome() -> SendResult:
            self.answered(message)
            return future.result()

        return Sending(is_over=lambda: False, outcome=outcome)


# -- the shop that we know ------------------------------------------------------------------------------


def base() -> Installation:
    """Make the shop: two products, two people with accounts, journeys that are not live."""
    installation = make_installation(
        permissions=["MANAGE_ORDERS", "MANAGE_CHECKOUTS", "MANAGE_USERS", "MANAGE_DISCOUNTS"]
    )
    SalesChannel.objects.create(
        installation=installation,
        saleor_id="channel",
        slug=CHANNEL,
        currency="USD",
        warehouse_ids=["warehouse"],
    )
    for name in PRODUCTS:
        Product.objects.create(
            installation=installation, saleor_id=name, name=f"Product {name}", slug=name
        )
        ProductVariant.objects.create(
            installation=installation,
            saleor_id=f"{name}-large",
            product_saleor_id=name,
            name="large",
        )
        ProductListing.objects.create(
            installation=installation,
            product_saleor_id=name,
            channel_slug=CHANNEL,
            is_published=True,
            available_for_purchase_at=BEGINNING,
            currency="USD",
            price=20,
            is_in_stock=True,
        )
        _count(installation, name, 5, BEGINNING)
        _price(installation, name, Decimal("20.00"), BEGINNING)
    for person in PEOPLE:
        _customer(installation, person, account(person), BEGINNING)
    zone = {"time_zone": "America/New_York"}
    Profile.objects.filter(identities__value=USERS["ben"]).update(traits=zone, country_code="US")
    _publish(installation, 0, BEGINNING)
    for key in LIVE:
        journey = journeys.ensure_journey(installation=installation, key=key)
        journeys.go_live(journey=journey, now=BEGINNING)
    return installation


def _publish(installation: Installation, which: int, at: datetime) -> None:
    journeys.publish(
        installation=installation,
        definition=_gift(which),
        source="file",  # type: ignore[arg-type]
        now=at,
    )


def _customer(installation: Installation, person: str, address: str, at: datetime) -> None:
    data = CustomerData(
        id=USERS[person],
        email=address,
        first_name=person.title(),
        is_active=True,
        is_confirmed=True,
        language_code="EN",
        country_code={"ann": "FR", "ben": "US"}[person],
        joined_at=BEGINNING,
        updated_at=at,
    )
    events.record_customers(installation=installation, data=[data], now=at)


def _count(installation: Installation, product: str, pieces: int, at: datetime) -> int:
    return catalog.record_stocks(
        installation=installation,
        variant_id=f"{product}-large",
        product_id=product,
        stocks=[StockData("warehouse", pieces, 0)],
        seen_at=at,
    )


def _price(installation: Installation, product: str, amount: Decimal, at: datetime) -> None:
    catalog.record_discounted_price(
        installation=installation,
        variant_id=f"{product}-large",
        product_id=product,
        channel_slug=CHANNEL,
        currency="USD",
        amount=amount,
        seen_at=at,
    )


@functools.cache
def _gift(which: int) -> definitions.Definition:
    return definitions.parse(GIFTS[which], known=journeys.known())


# -- one story -------------------------------------------------------------------------------------------


@dataclass
class Pass:
    """What one worker is at: what the shop told it, and when it looked at the clock."""

    at: datetime
    orders: list[Bought] = field(default_factory=list)
    stock: dict[str, int] = field(default_factory=dict)
    price: dict[str, Decimal] = field(default_factory=dict)
    carts: dict[str, Cart] = field(default_factory=dict)


class Story:
    """Everything that can happen, and what is judged."""

    def __init__(self, installation: Installation, start: datetime) -> None:
        self.installation = Installation.objects.get(pk=installation.pk)
        self.truth = Truth(start)
        self.vouchers = Vouchers(lambda when: self.reach(f"voucher {when}"))
        self.wrong: list[str] = []
        self.mails: list[Mail] = []
        #: Keys of which the provider may have the message, and the texts that it was given.
        self.taken: dict[str, str] = {}
        self.given: list[str] = []
        self.refused: dict[str, str] = {}
        self.pending: list[Callable[[], None]] = []
        self.moods: list[str] = []
        #: Where the next worker dies, and what happens while one is there.
        self.dies_at = ""
        self.meanwhile: dict[str, tuple[Any, ...]] = {}
        self.number = 0
        self.passes: list[Pass] = []
        self.counts: Counter[str] = Counter()
        self.outside = Outside(self.answer, self.vouchers.connect, self._provider())

    def begin(self, gift: int, yes: set[str]) -> None:
        """Choose the shop's own journey, and let people allow messages."""
        self.truth.live_at = dict.fromkeys(LIVE, BEGINNING)
        self.publish(gift)
        for address in sorted(yes):
            self.say(address, "", True)

    # -- people and the shop --------------------------------------------------------------------------

    def act(self, action: tuple[Any, ...]) -> None:
        name, *arguments = action
        getattr(self, name)(*arguments)

    def webhook(self, tell: Callable[[], None], how: str) -> None:
        """Saleor tells us: at once, twice, later or never."""
        if how in ("at once", "twice"):
            tell()
        if how in ("later", "twice"):
            self.pending.append(tell)

    def deliver(self, which: int) -> None:
        """A webhook that was held up arrives."""
        if self.pending:
            self.pending.pop(which % len(self.pending))()

    def cart(self, person: str, which: int, lines: dict[str, int], contact: str, how: str) -> None:
        id_ = CARTS[person][which % len(CARTS[person])]
        truth = self.truth
        if any(order.checkout == id_ for order in truth.orders):
            return
        was = truth.carts.get(id_)
        lines = {product: count for product, count in lines.items() if count}
        if was is None or (was.lines, was.contact) != (lines, contact):
            truth.carts[id_] = Cart(contact, lines, truth.now)
        at = truth.now
        data = self._cart_data(person, id_, lines, contact, at)

        def tell() -> None:
            (recorded,) = events.record_checkouts(
                installation=self.installation, data=[data], now=truth.now, seen_at=at
            )
            truth.told_contacts.setdefault(id_, set()).add(contact)
            if recorded.changed:
                journeys.follow_checkout(checkout=recorded.row, now=truth.now)

        self.webhook(tell, how)

    def _cart_data(
        self, person: str, id_: str, lines: dict[str, int], contact: str, at: datetime
    ) -> CheckoutData:
        is_user = contact in ("account", "account, other address")
        typed = {"account": account(person), "guest": account(person), "nobody": ""}
        return CheckoutData(
            id=id_,
            token="5f18b6a8-0000-4000-8000-000000000000",
            created_at=at,
            updated_at=at,
            email=typed.get(contact, work(person)),
            user_id=USERS[person] if is_user else "",
            user_email=account(person) if is_user else "",
            language_code="EN",
            channel_slug=CHANNEL,
            currency="USD",
            total=Decimal("60.00"),
            lines=tuple(
                CheckoutLineData(
                    id=f"line-{product}",
                    variant_id=f"{product}-large",
                    product_id=product,
                    quantity=count,
                    unit_price=Decimal("20.00"),
                )
                for product, count in lines.items()
            ),
            metadata={},
        )

    def order(
        self, person: str, by: str, product: str, price: str, how: str, *, which: int = 0
    ) -> None:
        """Somebody buys; `by` says under which name, `how` when we hear of it."""
        truth = self.truth
        checkout = CARTS[person][which % len(CARTS[person])] if "cart" in by else ""
        if checkout and (
            checkout not in truth.carts
            or not truth.carts[checkout].lines
            or any(order.checkout == checkout for order in truth.orders)
        ):
            return
        is_user = "account" in by
        cart = truth.carts.get(checkout)
        address = work(person) if "other" in by else account(person)
        bought = Bought(
            person,
            truth.now,
            USERS[person] if is_user else "",
            account(person) if is_user else address,
            checkout,
            tuple(cart.lines) if cart else (product,),
            price == "full",
            how != "imported",
            price == "cancelled",
        )
        truth.orders.append(bought)
        truth.ever.add(f"ordered {person}")
        self.number += 1
        data = self._order_data(f"order-{self.number}", bought, address, is_user, price)

        def tell() -> None:
            # Whoever takes over a cart that we know by another address is known to be both.
            contacts = truth.told_contacts.get(checkout, set())
            is_work = not is_user and address == work(person)
            if (is_work and contacts and not contacts & {"work", "nobody"}) or (
                not is_work and contacts == {"work"}
            ):
                truth.linked.add(person)
            truth.known_orders.append(bought)
            ids = events.record_orders(
                installation=self.installation, data=[data], now=truth.now, seen_at=bought.at
            )
            journeys.follow_orders(installation=self.installation, ids=ids, now=truth.now)
            offers.follow_orders(installation=self.installation, ids=ids, now=truth.now)

        self.webhook(tell, {"imported": "at once"}.get(how, how))

    @staticmethod
    def _order_data(id_: str, bought: Bought, address: str, is_user: bool, price: str) -> OrderData:
        lines = tuple(
            OrderLineData(
                id=f"{id_}-{product}",
                product_id=product,
                variant_id=f"{product}-large",
                name=f"Product {product}",
                quantity=1,
                unit_price=Decimal(20),
            )
            for product in bought.products
        )
        return OrderData(
            id=id_,
            number=id_,
            placed_at=bought.at,
            updated_at=bought.at,
            status="CANCELED" if price == "cancelled" else "UNFULFILLED",
            email=address,
            user_id=bought.user,
            user_email=account(bought.person) if is_user else "",
            # Staff sell without a cart.
            checkout_id=bought.checkout,
            channel_slug=CHANNEL,
            currency="USD",
            total=Decimal(15 if price == "reduced" else 20),
            undiscounted_total=Decimal(20),
            language_code="EN",
            lines=lines,
        )

    def say(self, address: str, topic: str, is_yes: bool) -> None:
        """Somebody allows messages, or no longer does."""
        profile = self._known_as(address)
        consent.record(
            profile=profile,
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            topic=topic,
            state=ConsentState.GRANTED if is_yes else ConsentState.DENIED,
            source="test",
            now=self.truth.now,
        )
        self._said(address, topic, is_yes)

    def _said(self, address: str, topic: str, is_yes: bool) -> None:
        self.truth.said.append((address, topic, is_yes))
        if not is_yes:
            self.truth.ever.add(f"refused {owner(address)}")

    def _known_as(self, address: str) -> Profile:
        return identity.resolve_profile(
            installation=self.installation,
            shown={IdentityKind.EMAIL: address},
            now=self.truth.now,
        )

    def unsubscribe(self, address: str) -> None:
        """Somebody presses the link at the end of a mail."""
        found = Identity.objects.filter(kind=IdentityKind.EMAIL, value=email_hash(address)).first()
        if found is None:
            return
        url = links.unsubscribe_url(profile=found.profile, address_hash=found.value)
        claims = links.read_unsubscribe_token(url.rpartition("/")[2])
        messaging.unsubscribe(claims=claims, now=self.truth.now)
        self._said(address, "", False)
        self.truth.suppressed.add(address)

    def become_one(self, person: str) -> None:
        """The account confirms its other address: from now on both are known to be one person's."""
        _customer(self.installation, person, work(person), self.truth.now)
        self.truth.linked.add(person)

    def stock(self, product: str, pieces: int, is_told: bool) -> None:
        truth = self.truth
        truth.stock[product] = pieces
        truth.ever.add(f"stock {product} {min(pieces, 1)}")
        if is_told:
            truth.told_stock[product] = pieces
            if _count(self.installation, product, pieces, truth.now):
                fact = StockChanged(self.installation, f"{product}-large", truth.now)
                journeys.observe(fact=fact, now=truth.now)

    def price(self, product: str, amount: str, is_told: bool) -> None:
        truth = self.truth
        truth.price[product] = Decimal(amount)
        truth.ever.add(f"price {product}")
        if is_told:
            told = truth.told_prices[product]
            if told[-1][1] != Decimal(amount):
                told.append((truth.now, Decimal(amount)))
            _price(self.installation, product, Decimal(amount), truth.now)

    def ask_for(self, address: str, product: str) -> None:
        """Somebody signs up for what is sold out."""
        try:
            alerts.request(
                installation=self.installation,
                variant_id=f"{product}-large",
                channel_slug=CHANNEL,
                address=address,
                words=Words(country_code="FR", language_code="en"),
                now=self.truth.now,
            )
        except AlertRefused:
            assert self.truth.told_stock[product] > 0
            return
        self.truth.alerts.setdefault((address, product), []).append(self.truth.now)
        self.truth.cancelled.discard((address, product))
        if (
            address not in self.truth.suppressed
            and self.truth.says(address, "stock_alerts") is None
        ):
            # After a NO it waits for a confirmation.
            same = {account(owner(address)), work(owner(address))}
            if owner(address) not in self.truth.linked or not any(
                self.truth.says(one, "stock_alerts") is False for one in same
            ):
                self.truth.said.append((address, "stock_alerts", True))

    def sell_out(self, address: str, product: str) -> None:
        """It is sold out, and somebody asks to be told when it is back."""
        self.stock(product, 0, True)
        self.ask_for(address, product)

    def ask_no_longer(self, address: str, product: str) -> None:
        rows = StockAlert.objects.filter(
            variant_saleor_id=f"{product}-large", email_hash=email_hash(address)
        )
        alerts.cancel(alerts=rows, now=self.truth.now)
        self.truth.cancelled.add((address, product))
        self.truth.ever.add("cancelled an alert")

    def _track(self, person: str, type_: EventType, product: str) -> None:
        self.number += 1
        row = Row(
            event_id=f"event-{self.number}",
            type=type_,
            occurred_at=self.truth.now,
            channel_slug=CHANNEL,
            session_id=f"visit-{self.number}",
            product_id=product,
        )
        track(
            installation=self.installation,
            shown={IdentityKind.SALEOR_USER: USERS[person]},
            rows=[row],
            source=EventSource.STOREFRONT,
            now=self.truth.now,
        )

    def look(self, person: str, product: str) -> None:
        """Somebody looks at a product, twice within a moment."""
        for _ in range(2):
            self._track(person, EventType.PRODUCT_VIEWED, product)
        self.truth.viewed[person, product] = self.truth.now

    def keep(self, person: str, product: str) -> None:
        self._track(person, EventType.FAVOURITE_ADDED, product)
        self.truth.kept[person] = self.truth.now

    # -- the shop's own switches ------------------------------------------------------------------------

    def switch(self, what: str, key: str) -> None:
        self.act((what, key))

    def go_live(self, key: str) -> None:
        journey = self._journey(key)
        if not journey.is_live:
            self.truth.live_at[key] = self.truth.now
        journeys.go_live(journey=journey, now=self.truth.now)
        self.truth.paused.discard(key)

    def pause(self, key: str) -> None:
        journeys.pause(journey=self._journey(key), now=self.truth.now)
        self.truth.paused.add(key)
        self.truth.ever.add(f"paused {key}")

    def resume(self, key: str) -> None:
        journeys.resume(journey=self._journey(key), now=self.truth.now)
        self.truth.paused.discard(key)

    def _journey(self, key: str) -> Journey:
        return journeys.ensure_journey(installation=self.installation, key=key)

    def publish(self, which: int) -> None:
        _publish(self.installation, which, self.truth.now)
        self.truth.gifts.append((self.truth.now, which))

    def stop(self, is_stopped: bool) -> None:
        if is_stopped:
            journeys.stop_sends(installation=self.installation, now=self.truth.now)
            self.truth.ever.add("stopped")
        else:
            journeys.resume_sends(installation=self.installation)
        self.truth.is_stopped = is_stopped

    # -- trouble ------------------------------------------------------------------------------------------

    def saleor(self, is_up: bool) -> None:
        self.truth.is_down = not is_up

    def mood(self, mood: str) -> None:
        self.moods.append(mood)
        self.truth.ever.add(f"provider {mood}")

    def die(self, where: str) -> None:
        self.dies_at = where

    def while_at(self, point: str, action: tuple[Any, ...]) -> None:
        """Let something happen while a worker is at a point."""
        self.meanwhile[point] = action

    def reach(self, point: str) -> None:
        """A worker is at a point of its way: it may die there, and the world goes on meanwhile."""
        action = self.meanwhile.pop(point, None)
        if action is not None:
            self.counts[f"meanwhile {point}"] += 1
            self.act(action)
        if self.dies_at == point:
            self.dies_at = ""
            self.counts[f"killed {point}"] += 1
            raise Killed

    def other_worker(self, after: int) -> None:
        """A worker that was held up is overtaken by another one, whose clock shows so much more."""
        self.truth.now += timedelta(minutes=after)
        self.tick(0)

    # -- what we do ---------------------------------------------------------------------------------------

    def tick(self, minutes: int) -> None:
        """Time passes; then beat wakes a worker."""
        self.truth.now += timedelta(minutes=minutes)
        with suppress(Killed):
            journeys.enter_due(now=self.truth.now)
            self._work()

    def _work(self) -> None:
        """Do what the tasks do, each decision by a new look at the clock."""
        journeys.resume_interrupted(now=self.truth.now)
        messaging.settle_interrupted(now=self.truth.now)
        under_way = journeys.UnderWay()
        for _ in range(50):
            self.passes.append(Pass(self.truth.now))
            try:
                taken = journeys.advance_due(
                    now=self.truth.now, limit=1, outside=self.outside, under_way=under_way
                )
                if not (taken or under_way.settle()):
                    break
            finally:
                self.passes.pop()
        else:
            self.wrong.append("a worker goes on and on about whoever is due")
        offers.sweep(now=self.truth.now, connect=self.vouchers.connect)

    def answer(self, question: object) -> object:
        """Say what Saleor says. It knows the truth, but for what was never in it."""
        truth, at = self.truth, self.passes[-1]
        self.reach("asking")
        if truth.is_down:
            raise SaleorApiError("The shop does not answer.", is_retryable=True)
        at.orders = [order for order in truth.orders if order.is_in_saleor]
        at.stock, at.price = dict(truth.stock), dict(truth.price)
        at.carts = dict(truth.carts)
        answer = self._answer(question)
        self.reach("asked")
        return answer

    def _answer(self, question: object) -> object:
        match question:
            case AboutOrders(_, address, user, since, others):
                pairs = [(address, user), *others]
                return any(self._ordered(*pair, since) for pair in pairs)
            case AboutCheckout(checkout, address):
                return self._cart_now(checkout.saleor_id, address, checkout)
            case AboutVariant():
                return self._variant_now(question)
        raise AssertionError(question)

    def _ordered(self, address: str, user: str, since: datetime) -> list[Bought]:
        return [
            order
            for order in self.truth.orders
            if order.is_in_saleor
            and order.at >= since
            and (order.address == address or (user and order.user == user))
        ]

    def _cart_now(self, id_: str, address: str, row: Any) -> LiveCheckout:
        bought = [o for o in self.truth.orders if o.checkout == id_ and o.is_in_saleor]
        is_ordered = bool(
            bought or self._ordered(address, row.user_saleor_id, row.orders_count_from)
        )
        if bought or id_ not in self.truth.carts:
            return LiveCheckout(exists=False, is_ordered=is_ordered)
        cart, person = self.truth.carts[id_], id_.partition("-")[0]
        data = self._cart_data(person, id_, cart.lines, cart.contact, cart.changed_at)
        shown = data.email or data.user_email
        return LiveCheckout(
            exists=True,
            is_ordered=is_ordered,
            changed_at=cart.changed_at,
            email_hash=email_hash(shown) if shown else "",
            user_id=data.user_id,
            lines=tuple(
                LiveLine(
                    product_id=product,
                    variant_id=f"{product}-large",
                    product_name=f"Product {product}",
                    variant_name="large",
                    quantity=count,
                    unit_price=self.truth.price[product],
                    currency="USD",
                    image_url="",
                    is_sellable=self.truth.stock[product] > 0,
                )
                for product, count in cart.lines.items()
            ),
        )

    def _variant_now(self, asked: AboutVariant) -> LiveVariant:
        product = asked.variant_id.removesuffix("-large")
        price, pieces = self.truth.price[product], self.truth.stock[product]
        orders = self._ordered(asked.address, asked.user_id, asked.since)
        return LiveVariant(
            exists=True,
            is_bought=any(product in order.products for order in orders),
            is_sellable=pieces > 0,
            pieces=pieces,
            price=price,
            undiscounted_price=price,
            gross_price=price,
            currency="USD",
            product_id=product,
            product_name=f"Product {product}",
            product_slug=product,
            variant_name="large",
            image_url="",
        )

    # -- the provider ---------------------------------------------------------------------------------------

    def _provider(self) -> Provider:
        return Provider(self.provide, self.hear)

    def provide(self, message: OutgoingMessage) -> SendResult:
        """Take a message, or not. It is judged as it comes: what happens from here on is later."""
        template = message.headers["List-Id"].partition(".")[0].removeprefix("<")
        text = f"{message.subject}\n{message.text}"
        mail = Mail(self.passes[-1].at, message.key, message.recipient, template, text)
        self.judge(mail)
        if message.key in self.taken:
            self.wrong.append(f"the same key again, after: {self.taken[message.key]}")
        self.given.append(text)
        self.reach("handing over")
        mood = self.moods.pop(0) if self.moods else "takes it"
        if mood in ("refuses", "not now"):
            self.refused[message.key] = text
            raise ChannelError("Refused.", is_permanent=mood == "refuses")
        self.taken[message.key] = mood
        if mood != "unclear, has it not":
            self.mails.append(mail)
            self.counts[template] += 1
        self.reach("handed over")
        if mood.startswith("unclear"):
            raise ChannelError("The connection broke.", is_ambiguous=True)
        if mood == "breaks":
            raise RuntimeError("a fault in the provider's library")
        return SendResult(message.key)

    def hear(self, message: OutgoingMessage) -> None:
        """An answer comes in. Whoever dies before leaves a message of which nobody knows: its code stays."""
        self.reach("answered")
        if message.key in self.refused:
            self.given.remove(self.refused.pop(message.key))

    # -- the judge ------------------------------------------------------------------------------------------

    def judge(self, mail: Mail) -> None:
        """Hold a mail against the truth of the moment at which it leaves."""
        truth, asked = self.truth, self.passes[-1]
        person = owner(mail.address)
        orders = [
            order
            for order in {*truth.known_orders, *asked.orders}
            if truth.is_of(order, mail.address)
        ]
        faults = [
            *self._about_person(mail, person),
            *getattr(self, f"_about_{JOURNEYS[mail.template]}")(mail, person, orders),
            *self._about_code(mail, person, orders),
        ]
        self.wrong += [f"{mail.template} to {mail.address} at {mail.at}: {f}" for f in faults]

    def _about_person(self, mail: Mail, person: str) -> Iterator[str]:
        truth, key = self.truth, JOURNEYS[mail.template]
        if not truth.allows(mail.address, TOPICS[mail.template]):
            yield "no permission"
        if truth.is_stopped:
            yield "all sends are stopped"
        if key in truth.paused:
            yield "the journey is paused"
        local = mail.at.astimezone(ZONES[person])
        if person == "ben" and mail.address == work(person) and person not in truth.linked:
            # Nobody knows where that is: the shop's clock, which is UTC.
            local = mail.at.astimezone(UTC)
        if person == "ann" and mail.address == work(person) and person not in truth.linked:
            local = mail.at.astimezone(UTC)
        if not QUIET[1] <= f"{local:%H:%M}" < QUIET[0]:
            yield f"it is {local:%H:%M} there"
        same = [
            one
            for one in self.mails
            if one.address == mail.address
            or (owner(one.address) == person and person in truth.linked)
        ]
        for most, period in CAPS:
            if len([one for one in same if one.at > mail.at - period]) >= most:
                yield f"more than {most} within {period}"
        told = (mail.template, tuple(mail.carts), tuple(mail.products[:1]))
        within = {"back-in-stock": timedelta(0), "price-drop": timedelta(0)}
        for one in same:
            about = (one.template, tuple(one.carts), tuple(one.products[:1]))
            if about == told and one.at > mail.at - within.get(mail.template, 10 * DAY):
                yield f"told the same at {one.at}"
            close = one.at > mail.at - HOUR
            if close and JOURNEYS[one.template] != key:
                yield f"within an hour of {one.template}"

    def _about_code(self, mail: Mail, person: str, orders: list[Bought]) -> Iterator[str]:
        codes = {code for code in self.vouchers.ever if code in mail.text}
        # Signed links hold any letters.
        says_so = "code" in _LINK.sub("", mail.text).lower()
        if says_so and not codes and mail.template != "welcome":
            yield "a code that Saleor never had"
        if not codes:
            return
        if not codes <= self.vouchers.codes():
            yield "a code that Saleor has no longer"
        known = [order for order in orders if order in self.truth.known_orders]
        if any(o.is_full_price and o.at >= mail.at - FULL_PRICE_DAYS * DAY for o in known):
            yield "a code right after paying full price"
        if mail.template == "welcome" and known:
            yield "a code for the first order after an order"
        given = [
            one
            for one in self.mails
            if any(code in one.text for code in self.vouchers.ever)
            and (
                one.address == mail.address
                or (owner(one.address) == person and person in self.truth.linked)
            )
        ]
        if len(given) >= OFFERS_PER_YEAR:
            yield "more codes than one gets in a year"

    def _about_abandoned_checkout(
        self, mail: Mail, person: str, orders: list[Bought]
    ) -> Iterator[str]:
        truth, asked = self.truth, self.passes[-1]
        allowed: set[str] = set()
        if len(set(mail.carts)) != len(mail.carts) or not mail.carts:
            yield "no cart, or one of them twice"
        for id_ in mail.carts:
            cart = asked.carts.get(id_)
            if cart is None or id_.partition("-")[0] != person:
                yield f"{id_} is not theirs"
                continue
            allowed |= {product for product in cart.lines if asked.stock[product] > 0}
            everywhere = {*truth.known_orders, *asked.orders}
            if any(order.checkout == id_ for order in everywhere):
                yield f"{id_} was bought"
            if any(order.at >= cart.changed_at for order in orders):
                yield f"ordered since {id_} was changed"
            if not HOUR <= mail.at - cart.changed_at < 3 * DAY:
                yield f"{id_} was left {mail.at - cart.changed_at} ago"
            if cart.changed_at < truth.live_at[JOURNEYS[mail.template]]:
                yield f"{id_} was left before the journey went live"
            for one in self.mails:
                if one.template == mail.template and id_ in one.carts:
                    yield f"{id_} was told of so at {one.at}"
        if not mail.names or not mail.names <= allowed:
            yield f"shows {mail.names}, of which can be bought {allowed}"

    def _about_back_in_stock(self, mail: Mail, person: str, orders: list[Bought]) -> Iterator[str]:
        (product,) = set(mail.products)
        truth = self.truth
        signed = truth.alerts.get((mail.address, product), [])
        same = [mail.address]
        if person in truth.linked:
            same = [account(person), work(person)]
            signed = sorted(at for one in same for at in truth.alerts.get((one, product), []))
        if not signed or all((one, product) in truth.cancelled for one in same):
            yield "nobody asked, or no longer"
            return
        before = [one for one in self.mails if one.template == mail.template]
        told = [one.at for one in before if product in one.products and one.address in same]
        if told and max(told) > signed[-1]:
            yield "told twice of one wish"
        if any(product in order.products and order.at >= signed[-1] for order in orders):
            yield "bought since"
        yield from self._can_be_bought(product)

    def _can_be_bought(self, product: str) -> Iterator[str]:
        if self.passes[-1].stock[product] < 1 or self.truth.told_stock[product] < 1:
            yield f"{product} is sold out"

    def _about_price_drop(self, mail: Mail, person: str, orders: list[Bought]) -> Iterator[str]:
        (product,) = set(mail.products)
        price = self.passes[-1].price[product]
        told = self.truth.told_prices[product]
        since = told[-1][0] if told[-1][1] == price else mail.at
        now, before, *rest = [*mail.amounts, Decimal(0), Decimal(0)]
        lowest = self.truth.lowest_before(product, since)
        if now != price:
            yield f"shows {now}, and it costs {price}"
        if not now < before <= lowest:
            yield f"shows {before} as before, and the lowest of 30 days was {lowest}"
        if rest and rest[0] not in (lowest, Decimal(0)):
            yield f"shows {rest[0]} as the lowest before, which was {lowest}"
        # Whoever asked at one address owns an account, too.
        if any(product in o.products and o.at > mail.at - 180 * DAY for o in orders):
            yield "bought already"
        yield from self._can_be_bought(product)

    def _about_browsed_product(
        self, mail: Mail, person: str, orders: list[Bought]
    ) -> Iterator[str]:
        product, *others = mail.products
        looked = self.truth.viewed.get((person, product))
        if looked is None:
            yield f"never looked at {product}"
            return
        if any(order.at > looked for order in orders):
            yield "ordered since"
        if not 4 * HOUR <= mail.at - looked < 3 * DAY:
            yield f"looked {mail.at - looked} ago"
        yield from self._recommends([product, *others], mail, orders)

    def _recommends(self, products: list[str], mail: Mail, orders: list[Bought]) -> Iterator[str]:
        """What is shown can be bought, and was not just bought."""
        known = [
            order for order in orders if order in self.truth.known_orders and not order.is_cancelled
        ]
        for product in products:
            if self.truth.told_stock[product] < 1:
                yield f"{product} is sold out"
            if any(product in o.products and o.at > mail.at - 30 * DAY for o in known):
                yield f"{product} was bought"

    def _about_gift(self, mail: Mail, person: str, orders: list[Bought]) -> Iterator[str]:
        kept = self.truth.kept.get(person)
        if kept is None:
            yield "keeps nothing"
        elif any(order.at > kept for order in orders):
            yield "ordered since"
        if mail.template == "favourites-left":
            yield from self._recommends(mail.products, mail, orders)

    def _about_welcome(self, mail: Mail, person: str, orders: list[Bought]) -> Iterator[str]:
        if orders:
            yield "has ordered"

    # -- the end of the story ---------------------------------------------------------------------------------

    def end(self) -> None:
        """Let everything come to its end; nobody may be stuck, and nothing without a true reason."""
        assert not self.wrong, self.wrong
        truth = self.truth
        self.meanwhile, self.dies_at, self.moods, truth.is_down = {}, "", [], False
        self.stop(False)
        for key in sorted(truth.paused):
            self.resume(key)
        for hours in (1, 6, 12, 23, 24, 48, 96, 168, 240, 480):
            truth.now += hours * HOUR
            self._work()
            if not self._is_anything_open():
                break
        assert not self.wrong, self.wrong
        assert not self._is_anything_open(), [
            (row.journey.key, row.path, row.held_by, row.due_at - truth.now)
            for row in Enrollment.objects.filter(status="waiting").select_related("journey")
        ] + [
            (row.idempotency_key, "is under way for ever")
            for row in Message.objects.filter(status="handing_over")
        ]
        self._nothing_is_lost()
        self._no_code_is_left()

    @staticmethod
    def _is_anything_open() -> bool:
        return (
            Enrollment.objects.filter(status="waiting").exists()
            or Message.objects.filter(status="handing_over").exists()
        )

    def _nothing_is_lost(self) -> None:
        rows = list(Message.objects.select_related("enrollment__journey", "profile"))
        keys = {row.public_id.hex: row for row in rows}
        given = Counter(mail.key for mail in self.mails)
        for key, row in keys.items():
            if row.status == "sent":
                assert given[key] == 1, f"{row.idempotency_key} is said to be sent"
            elif row.status == "uncertain":
                assert row.error
                assert row.handed_over_at, f"{row.idempotency_key} surely did not go, and is lost"
            else:
                assert not given[key], f"{row.idempotency_key} went, and is said to be {row.status}"
                assert row.reason, f"{row.idempotency_key} has no reason"
                assert self._is_true(row), f"{row.idempotency_key}: {row.reason} is not true"
        assert set(given) <= set(keys), "a mail that nobody knows of"
        for enrollment in Enrollment.objects.select_related("journey", "version"):
            self._is_told(enrollment, [row for row in rows if row.enrollment_id == enrollment.pk])

    def _is_told(self, enrollment: Enrollment, rows: list[Message]) -> None:
        """Each step that came up was sent, or it is said why not."""
        key = enrollment.journey.key
        ended = [row for row in rows if row.status in ("not_sent", "failed")]
        what = f"{key}, {enrollment.status}, {enrollment.exit_reason}"
        if enrollment.status == "done":
            assert rows, f"{what}: nothing was sent or said"
        else:
            assert enrollment.exit_reason, what
            assert ended or len(rows) == 2, f"{what}: no message says why"
        if key == "gift":
            ways = {
                which
                for (at, which), until in zip(
                    self.truth.gifts,
                    [*(at for at, _which in self.truth.gifts[1:]), self.truth.now],
                    strict=True,
                )
                if at <= enrollment.created_at <= until
            }
            shown = {row.template.replace("_", "-") for row in rows if row.status == "sent"}
            assert shown <= set.union(*(TEMPLATES[way] for way in ways)), f"{what}: {shown}"

    def _is_true(self, row: Message) -> bool:
        """Tell whether what is said of a message that did not go can be so at all."""
        ever = self.truth.ever
        address = Identity.objects.filter(profile=row.profile, kind=IdentityKind.EMAIL).values_list(
            "address", flat=True
        ).first() or account("ann")
        person = owner(address)
        match row.reason:
            case "ordered" | "offer_full_price" | "offer_not_first" | "checkout_gone":
                return f"ordered {person}" in ever
            case "suppressed":
                return bool(self.truth.suppressed)
            case "sold_out":
                return any(f"stock {one} 0" in ever for one in PRODUCTS)
            case "price_rose":
                return any(f"price {one}" in ever for one in PRODUCTS)
            case "journey_paused":
                return f"paused {row.enrollment.journey.key}" in ever  # type: ignore[union-attr]
            case "sends_stopped":
                return "stopped" in ever
            case "alert_cancelled":
                return "cancelled an alert" in ever
            case "interrupted":
                return any(one.startswith("killed") for one in self.counts)
            case "channel_error":
                return any(one.startswith("provider") for one in ever)
            case "offer_limit":
                return len(self.vouchers.ever) > 0
            case "not_live":
                return any(one.startswith("paused") for one in ever)
            case "installation_inactive" | "template_incomplete" | "dry_run" | "sensitive":
                return False
        return True

    def _no_code_is_left(self) -> None:
        """A code that works belongs to somebody who may have its message."""
        live = self.vouchers.codes()
        ends = {
            code: datetime.fromisoformat(one["endDate"])
            for one in self.vouchers.vouchers.values()
            for code in one["held"]
        }
        told = {code for code in live for text in self.given if code in text}
        lost = {code for code in live - told if ends[code] > self.truth.now}
        assert not lost, "a code without a mail"
