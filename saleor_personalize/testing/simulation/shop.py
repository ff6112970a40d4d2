"""The made-up shop of a simulation: what happens in it is recorded as if Saleor and the storefront told it.

What Saleor would answer just before a send is known here, too; nothing leaves the process.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction

from saleor_personalize.alerts import operations as alerts
from saleor_personalize.catalog import operations as catalog
from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EventSource,
    EventType,
    IdentityKind,
    InstallationStatus,
    Purpose,
)
from saleor_personalize.events.tracking import Row, track
from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.ingestion.subscriptions import catalog as catalog_webhooks
from saleor_personalize.ingestion.subscriptions import shoppers
from saleor_personalize.ingestion.subscriptions.base import Envelope
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutCheckout, AboutOrders, LiveCheckout, LiveLine
from saleor_personalize.journeys.live_orders import AboutOrder, LiveOrder
from saleor_personalize.journeys.live_variants import AboutVariant, LiveVariant
from saleor_personalize.journeys.triggers import Question
from saleor_personalize.models import Identity, Installation, Profile, Rhythm, email_hash
from saleor_personalize.profiles import consent, identity
from saleor_personalize.saleor_api.nodes import (
    CategoryData,
    ChannelData,
    CheckoutData,
    CheckoutLineData,
    CustomerData,
    ListingData,
    OrderData,
    OrderLineData,
    ProductData,
    StockData,
    VariantData,
    VariantPriceData,
)
from saleor_personalize.segments import operations as segments
from saleor_personalize.testing.simulation.stories import Act, Person, Product, Stories

#: No name below .invalid is ever found: whatever would call the shop fails at once.
API_URL = "https://shop.simulated.invalid/graphql/"
_WAREHOUSE = "warehouse"
_PERMISSIONS = (
    "MANAGE_PRODUCTS",
    "MANAGE_ORDERS",
    "MANAGE_CHECKOUTS",
    "MANAGE_USERS",
    "MANAGE_DISCOUNTS",
)


class StoryError(PersonalizeError):
    """A story asks for something that cannot happen, such as an order of nothing."""


@dataclass
class Cart:
    id: str
    changed_at: datetime
    #: product -> pieces
    lines: dict[str, int] = field(default_factory=dict)
    is_open: bool = True


@dataclass
class Bought:
    """An order as Saleor knows it, at once."""

    data: OrderData
    person: str
    is_called_off: bool = False
    fulfilled_at: datetime | None = None


class Shop:
    """One shop with its people. `plan` lets something happen later."""

    def __init__(
        self, stories: Stories, plan: Callable[[datetime, Callable[[datetime], None]], None]
    ) -> None:
        self.stories = stories
        self.plan = plan
        self.products = dict(stories.shop.products)
        self.people = {person.key: person for person in stories.people}
        self.accounts = {person.key: person.has_account for person in stories.people}
        self.carts: dict[str, Cart] = {}
        self.orders: list[Bought] = []
        self._numbers = iter(range(1, 10**9))

    # -- before anything happens --

    def open(self, at: datetime) -> Installation:
        """Make the shop, its catalogue and its people, as they are before day 1."""
        self.installation = Installation.objects.create(
            saleor_api_url=API_URL,
            app_id="simulated",
            auth_token="none",  # noqa: S106 (there is nobody to show it to)
            saleor_version="3.24",
            permissions=list(_PERMISSIONS),
            status=InstallationStatus.ACTIVE,
            status_changed_at=at,
            installed_at=at,
        )
        shop, common = self.stories.shop, {"now": at, "seen_at": at}
        channel = ChannelData("channel-1", shop.channel, shop.currency, True, (_WAREHOUSE,))
        catalog.record_channels(installation=self.installation, data=[channel], **common)
        names = sorted({product.category for product in self.products.values()} - {""})
        catalog.record_categories(
            installation=self.installation,
            data=[CategoryData(name, name.capitalize(), name, "", at) for name in names],
            **common,
        )
        catalog.record_products(
            installation=self.installation,
            data=[self._product(product, at) for product in self.products.values()],
            **common,
        )
        for key, definition in shop.segments.items():
            segments.create_segment(
                installation=self.installation, key=key, name=key, definition=definition, now=at
            )
        if shop.reacts_at is not None:
            self._react_at(shop.reacts_at, at)
        for person in self.people.values():
            self._arrive(person, at)
        return self.installation

    def _react_at(self, hour: int, at: datetime) -> None:
        """Most people react at one hour of every day; whoever was there at others, at theirs."""
        of_day = [9.0 if each == hour else 1.0 for each in range(24)]
        for channel in DeliveryChannel:
            Rhythm.objects.create(
                installation=self.installation,
                delivery_channel=channel,
                learnt_at=at,
                curve=[share / (7 * sum(of_day)) for share in 7 * of_day],
                is_personal=True,
                strength=10.0,
            )

    def _product(self, product: Product, at: datetime) -> ProductData:
        shop = self.stories.shop
        listing = ListingData(shop.channel, shop.currency, True, at, True, at, product.price)
        return ProductData(
            id=product.key,
            name=product.name,
            slug=product.key,
            description="",
            product_type="thing",
            category_id=product.category,
            collection_ids=(),
            attributes=(),
            thumbnail_url="",
            created_at=at,
            updated_at=at,
            listings=(listing,),
            variants=(self._variant(product, at),),
        )

    def _variant(self, product: Product, at: datetime) -> VariantData:
        shop = self.stories.shop
        return VariantData(
            id=_variant_id(product.key),
            product_id=product.key,
            name="",
            sku=product.key,
            is_stock_tracked=product.pieces is not None,
            updated_at=at,
            stocks=(StockData(_WAREHOUSE, product.pieces or 0, 0),),
            prices=(VariantPriceData(shop.channel, shop.currency, product.price),),
        )

    def _arrive(self, person: Person, at: datetime) -> None:
        if person.has_account:
            self._sign_up(person, at)
        profile = self.profile(person)
        traits = {**person.traits, "time_zone": person.time_zone}
        if person.birthday:
            traits["birthday"] = person.birthday
        Profile.objects.of(self.installation).filter(pk=profile.pk).update(
            traits=traits,
            country_code=person.country,
            language_code=person.language,
            first_name=person.first_name,
        )
        if person.consent is not None:
            self._say(person, person.consent, "", at)

    def _sign_up(self, person: Person, at: datetime) -> None:
        joined = at
        if person.joined is not None:
            joined = datetime.combine(person.joined, at.timetz()).replace(hour=12)
        shoppers.CustomerSaved.apply(
            installation=self.installation,
            facts=CustomerData(
                id=self.user_id(person),
                email=person.address,
                first_name=person.first_name,
                is_active=True,
                is_confirmed=True,
                language_code=person.language,
                country_code=person.country,
                joined_at=joined,
                updated_at=at,
            ),
            envelope=_told(at),
            now=at,
        )

    # -- whose --

    def user_id(self, person: Person) -> str:
        if not self.accounts[person.key]:
            return ""
        return base64.b64encode(f"User:{person.key}".encode()).decode()

    def profile(self, person: Person) -> Profile:
        return identity.resolve_profile(
            installation=self.installation,
            shown=self._shown(person),
            now=self.stories.start,
        )

    def _shown(self, person: Person) -> dict[IdentityKind, str]:
        """Return by what a person is known to staff, forms and carts."""
        if self.accounts[person.key]:
            return {IdentityKind.SALEOR_USER: self.user_id(person)}
        return {IdentityKind.EMAIL: person.address}

    def whose(self) -> dict[int, str]:
        """Return who is behind each profile: its key -> person."""
        found: dict[int, str] = {}
        for person in self.people.values():
            ids = Identity.objects.of(self.installation).filter(
                value__in=[
                    email_hash(person.address),
                    self.user_id(person) or "-",
                    _browser(person),
                ]
            )
            for row in ids.select_related("profile"):
                for key in row.profile.person().values_list("pk", flat=True):
                    found[key] = person.key
        return found

    # -- what happens in the shop --

    def happen(self, act: Act, now: datetime) -> None:
        """Do what the shop's own story says."""
        options = act.options
        match act.does:
            case "priced":
                self._change(options["product"], now, price=options["price"])
                product = self.products[options["product"]]
                catalog.record_variants(
                    installation=self.installation,
                    data=[self._variant(product, now)],
                    now=now,
                    seen_at=now,
                )
            case "stocked":
                self._stock(options["product"], options["pieces"], now)
            case "paused" | "resumed":
                journey = journeys.ensure_journey(
                    installation=self.installation, key=options["journey"]
                )
                if act.does == "paused":
                    journeys.pause(journey=journey, now=now)
                    while journey.let_go_at is not None:
                        journeys.let_go(journey=journey, now=now, limit=journeys.LEAVE_AT_ONCE)
                else:
                    journeys.resume(journey=journey, now=now)
            case "stopped_sends":
                journeys.stop_sends(installation=self.installation, now=now)
            case "resumed_sends":
                journeys.resume_sends(installation=self.installation)

    def _change(self, key: str, now: datetime, **changes: Any) -> None:
        old = vars(self.products[key])
        self.products[key] = Product(**{**old, **changes})

    def _stock(self, key: str, pieces: int, now: datetime) -> None:
        was_tracked = self.products[key].pieces is not None
        self._change(key, now, pieces=pieces)
        if not was_tracked:
            raise StoryError(f"{key} has no number of pieces in the shop: give it one.")
        catalog_webhooks.StockChanged.apply(
            installation=self.installation,
            facts=catalog_webhooks.StockFacts(
                _variant_id(key), key, (StockData(_WAREHOUSE, pieces, 0),)
            ),
            envelope=_told(now),
            now=now,
        )

    # -- what people do --

    def act(self, person: Person, act: Act, now: datetime) -> None:
        """Do what the story of a person says. Raises StoryError for what cannot be done."""
        try:
            getattr(self, f"_{act.does}")(person, now, **_names(act.options))
        except StoryError as error:
            raise StoryError(f"{act.path}: {error}") from error
        except alerts.AlertRefused as error:
            raise StoryError(f"{act.path}: {error}") from error

    def _track(
        self, person: Person, now: datetime, type_: EventType, times: int = 1, **row: Any
    ) -> None:
        """Let a storefront tell what somebody did, in one batch."""
        shown = (
            {IdentityKind.SALEOR_USER: self.user_id(person)}
            if self.accounts[person.key]
            else {IdentityKind.ANONYMOUS_ID: _browser(person)}
        )
        rows = [
            Row(
                event_id=f"{person.key}-{next(self._numbers)}",
                type=type_,
                occurred_at=now,
                channel_slug=self.stories.shop.channel,
                session_id=f"{person.key}-{now:%Y-%m-%d}",
                **row,
            )
            for _ in range(times)
        ]
        results = track(
            installation=self.installation,
            shown=shown,
            rows=rows,
            source=EventSource.STOREFRONT,
            now=now,
        )
        for result in results:
            if result.status == "rejected":
                raise StoryError(result.message)

    def _viewed(self, person: Person, now: datetime, product: str, times: int = 1) -> None:
        self._track(person, now, EventType.PRODUCT_VIEWED, times, product_id=product)

    def _viewed_category(
        self, person: Person, now: datetime, category: str, times: int = 1
    ) -> None:
        properties = {"category_id": category}
        self._track(person, now, EventType.CATEGORY_VIEWED, times, properties=properties)

    def _searched(self, person: Person, now: datetime, query: str, times: int = 1) -> None:
        self._track(person, now, EventType.SEARCHED, times, properties={"query": query})

    def _kept(self, person: Person, now: datetime, product: str) -> None:
        self._track(person, now, EventType.FAVOURITE_ADDED, product_id=product)

    def _let_go(self, person: Person, now: datetime, product: str) -> None:
        self._track(person, now, EventType.FAVOURITE_REMOVED, product_id=product)

    def _did(self, person: Person, now: datetime, name: str) -> None:
        self._track(person, now, EventType.CUSTOM, properties={"name": name})

    # -- carts and orders --

    def _added(self, person: Person, now: datetime, product: str, pieces: int = 1) -> None:
        cart = self.carts.get(person.key)
        if cart is None or not cart.is_open:
            cart = Cart(f"cart-{next(self._numbers)}", now)
            self.carts[person.key] = cart
        cart.lines[product] = cart.lines.get(product, 0) + pieces
        self._track(person, now, EventType.CART_ADDED, product_id=product)
        self._save(person, cart, now)

    def _removed(self, person: Person, now: datetime, product: str) -> None:
        cart = self.carts.get(person.key)
        if cart is None or not cart.is_open or product not in cart.lines:
            raise StoryError(f"{product} is not in the cart of {person.key}.")
        del cart.lines[product]
        self._track(person, now, EventType.CART_REMOVED, product_id=product)
        self._save(person, cart, now)

    def _save(self, person: Person, cart: Cart, now: datetime) -> None:
        """Saleor tells of a cart as it is now."""
        cart.changed_at = now
        shop = self.stories.shop
        shoppers.CheckoutSaved.apply(
            installation=self.installation,
            facts=CheckoutData(
                id=cart.id,
                token=cart.id,
                created_at=now,
                updated_at=now,
                email=person.address,
                user_id=self.user_id(person),
                user_email=person.address if self.accounts[person.key] else "",
                language_code=person.language.upper().replace("-", "_"),
                channel_slug=shop.channel,
                currency=shop.currency,
                total=self._total(cart.lines),
                lines=tuple(
                    CheckoutLineData(
                        f"{cart.id}-{key}", _variant_id(key), key, pieces, self.products[key].price
                    )
                    for key, pieces in cart.lines.items()
                ),
                metadata={},
                country_code=person.country,
            ),
            envelope=_told(now),
            now=now,
        )

    def _total(self, lines: dict[str, int]) -> Decimal:
        return sum((self.products[key].price * count for key, count in lines.items()), Decimal(0))

    def _ordered(
        self,
        person: Person,
        now: datetime,
        products: list[str] | None = None,
        discount: int = 0,
        told_after: timedelta = timedelta(0),
    ) -> None:
        cart = self.carts.get(person.key)
        is_of_cart = products is None
        lines = dict.fromkeys(products, 1) if products is not None else {}
        if is_of_cart:
            if cart is None or not cart.is_open or not cart.lines:
                raise StoryError(
                    f"{person.key} has nothing in the cart to order: add something, or name products."
                )
            lines, cart.is_open = dict(cart.lines), False
        shop, total = self.stories.shop, self._total(lines)
        number = next(self._numbers)
        data = OrderData(
            id=f"order-{number}",
            number=str(number),
            placed_at=now,
            updated_at=now,
            status="UNFULFILLED",
            email=person.address,
            user_id=self.user_id(person),
            user_email=person.address if self.accounts[person.key] else "",
            checkout_id=cart.id if is_of_cart and cart is not None else f"cart-of-{number}",
            channel_slug=shop.channel,
            currency=shop.currency,
            total=total * (100 - discount) / 100,
            undiscounted_total=total,
            language_code=person.language,
            lines=tuple(
                OrderLineData(
                    f"order-{number}-{key}",
                    _variant_id(key),
                    key,
                    self.products[key].name,
                    pieces,
                    self.products[key].price,
                )
                for key, pieces in lines.items()
            ),
            country_code=person.country,
        )
        order = Bought(data, person.key)
        self.orders.append(order)
        if told_after:
            self.plan(now + told_after, lambda at: self._tell(order, at))
        else:
            self._tell(order, now)

    def _tell(self, order: Bought, now: datetime) -> None:
        """Saleor tells of an order, new or changed."""
        shoppers.OrderSaved.apply(
            installation=self.installation, facts=order.data, envelope=_told(now), now=now
        )

    def _received(self, person: Person, now: datetime) -> None:
        order = self._last_order(person)
        order.fulfilled_at = now
        self._set_status(order, "FULFILLED", now)

    def _cancelled(self, person: Person, now: datetime) -> None:
        order = self._last_order(person)
        order.is_called_off = True
        self._set_status(order, "CANCELED", now)

    def _last_order(self, person: Person) -> Bought:
        mine = [order for order in self.orders if order.person == person.key]
        if not mine:
            raise StoryError(f"{person.key} has not ordered anything yet.")
        return mine[-1]

    def _set_status(self, order: Bought, status: str, now: datetime) -> None:
        order.data = OrderData(**{**vars(order.data), "status": status, "updated_at": now})
        self._tell(order, now)

    # -- what people allow, and other things --

    def _say(self, person: Person, state: ConsentState, topic: str, now: datetime) -> None:
        consent.record(
            profile=self.profile(person),
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            state=state,
            topic=topic,
            source="simulation",
            now=now,
        )

    def _allowed(self, person: Person, now: datetime, topic: str = "") -> None:
        self._say(person, ConsentState.GRANTED, topic, now)

    def _refused(self, person: Person, now: datetime, topic: str = "") -> None:
        self._say(person, ConsentState.DENIED, topic, now)

    def _unsubscribed(self, person: Person, now: datetime) -> None:
        profile, address_hash = self.profile(person), email_hash(person.address)
        with transaction.atomic():
            consent.hold(profile=profile, address_hashes=[address_hash])
            consent.unsubscribe(
                profile=profile, address_hash=address_hash, source="simulation", now=now
            )

    def _paused(self, person: Person, now: datetime, for_: timedelta) -> None:
        rows = Profile.objects.of(self.installation).filter(pk=self.profile(person).pk)
        rows.update(paused_until=now + for_)

    def _signed_up(self, person: Person, now: datetime) -> None:
        if self.accounts[person.key]:
            raise StoryError(f"{person.key} has an account already: say account: false.")
        self.accounts[person.key] = True
        self._sign_up(person, now)

    def _waited_for(self, person: Person, now: datetime, product: str) -> None:
        alerts.request(
            installation=self.installation,
            variant_id=_variant_id(product),
            channel_slug=self.stories.shop.channel,
            now=now,
            user_id=self.user_id(person),
            address=person.address,
            words=alerts.Words(person.language, person.country),
        )

    # -- what Saleor answers --

    def answer(self, question: Question) -> Any:
        """Answer as the shop's Saleor would, which knows of everything at once."""
        if isinstance(question, AboutCheckout):
            return self._about_checkout(question)
        if isinstance(question, AboutOrders):
            return any(
                self._orders_of(address, user_id, question.since)
                for address, user_id in ((question.address, question.user_id), *question.others)
            )
        if isinstance(question, AboutVariant):
            return self._about_variant(question)
        if isinstance(question, AboutOrder):
            for order in self.orders:
                if order.data.id == question.order.saleor_id:
                    return LiveOrder(order.is_called_off, order.fulfilled_at)
            return LiveOrder(is_called_off=True)
        raise StoryError(
            f"The simulated shop has no answer to {type(question).__name__}: give simulate() `answer`."
        )

    def _orders_of(self, address: str, user_id: str, since: datetime) -> list[Bought]:
        return [
            order
            for order in self.orders
            if order.data.placed_at >= since
            and (order.data.email == address or (user_id and order.data.user_id == user_id))
        ]

    def _about_checkout(self, question: AboutCheckout) -> LiveCheckout:
        row = question.checkout
        is_ordered = bool(
            self._orders_of(question.address, row.user_saleor_id, row.orders_count_from)
        )
        for key, cart in self.carts.items():
            if cart.id == row.saleor_id and cart.is_open:
                person = self.people[key]
                return LiveCheckout(
                    exists=True,
                    is_ordered=is_ordered,
                    changed_at=cart.changed_at,
                    email_hash=email_hash(person.address),
                    user_id=row.user_saleor_id,
                    lines=tuple(self._line(key, count) for key, count in cart.lines.items()),
                )
        return LiveCheckout(exists=False, is_ordered=is_ordered)

    def _line(self, key: str, pieces: int) -> LiveLine:
        product = self.products[key]
        return LiveLine(
            product_id=key,
            variant_id=_variant_id(key),
            product_name=product.name,
            variant_name="",
            quantity=pieces,
            unit_price=product.price,
            currency=self.stories.shop.currency,
            image_url="",
            is_sellable=product.pieces is None or product.pieces > 0,
        )

    def _about_variant(self, question: AboutVariant) -> LiveVariant:
        bought = self._orders_of(question.address, question.user_id, question.since)
        is_bought = any(
            line.variant_id == question.variant_id for order in bought for line in order.data.lines
        )
        for product in self.products.values():
            if _variant_id(product.key) == question.variant_id:
                return LiveVariant(
                    exists=True,
                    is_bought=is_bought,
                    is_sellable=product.pieces is None or product.pieces > 0,
                    pieces=product.pieces,
                    price=product.price,
                    undiscounted_price=product.price,
                    gross_price=product.price,
                    currency=self.stories.shop.currency,
                    product_id=product.key,
                    product_name=product.name,
                    product_slug=product.key,
                )
        return LiveVariant(exists=False, is_bought=is_bought)


def _variant_id(product: str) -> str:
    return f"{product}-variant"


def _browser(person: Person) -> str:
    return f"browser-{person.key}"


def _told(now: datetime) -> Envelope:
    return Envelope("simulated", now)


def _names(options: Any) -> dict[str, Any]:
    """`for` cannot be the name of a parameter."""
    return {"for_" if name == "for" else name: value for name, value in options.items()}
