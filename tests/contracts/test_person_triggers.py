"""The contract of triggers, on those that begin with a person."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.triggers.base import OrderChanged
from saleor_personalize.journeys.triggers.browsing import (
    BrowsedCategory,
    BrowsedProduct,
    Searched,
)
from saleor_personalize.journeys.triggers.days import Birthday, Occasion, SignUpAnniversary
from saleor_personalize.journeys.triggers.fulfilled import OrderFulfilled
from saleor_personalize.journeys.triggers.keeping import FavouritesLeft, NoAccount
from saleor_personalize.journeys.triggers.replenishment import Replenishment
from saleor_personalize.journeys.triggers.segments import EnteredSegment
from saleor_personalize.journeys.triggers.silence import Lapsed, WinBack
from saleor_personalize.journeys.triggers.unengaged import Unengaged
from saleor_personalize.journeys.triggers.welcome import Welcome
from saleor_personalize.models import (
    Category,
    ComputedTraits,
    Consent,
    Event,
    Favourite,
    Identity,
    Installation,
    Message,
    Order,
    OrderLine,
    Product,
    ProductListing,
    Profile,
    SalesChannel,
    Segment,
    SegmentMembership,
    Session,
    email_hash,
)
from saleor_personalize.testing.contracts import NOW, TriggerCase, TriggerTests

_BUILT_IN = Path(__file__).parents[2] / "saleor_personalize" / "journeys" / "builtin"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def built_in(key: str) -> str:
    return str(_BUILT_IN / f"{key}.yaml")


def known(case: TriggerCase, **changes: Any) -> None:
    """A person with an address who allowed marketing an hour ago, in a shop with a lamp."""
    shop = {"installation": case.installation}
    Identity.objects.create(
        **shop,
        profile=case.profile,
        kind="email",
        value=email_hash("alice@example.com"),
        address="alice@example.com",
        first_seen_at=NOW,
    )
    Consent.objects.create(
        **shop,
        profile=case.profile,
        purpose="marketing",
        delivery_channel="email",
        state="granted",
        source="test",
        recorded_at=NOW - HOUR,
    )
    if changes:
        Profile.objects.filter(pk=case.profile.pk).update(**changes)
    SalesChannel.objects.create(**shop, saleor_id="channel", slug="eu", currency="EUR")
    Category.objects.create(**shop, saleor_id="light", name="Light")
    Product.objects.create(**shop, saleor_id="lamp", name="Lamp", category_saleor_id="light")
    ProductListing.objects.create(
        **shop,
        product_saleor_id="lamp",
        channel_slug="eu",
        is_published=True,
        is_in_stock=True,
        available_for_purchase_at=NOW - 9 * DAY,
    )


def look(case: TriggerCase) -> None:
    """Look who comes in, twice."""
    journeys.enter_due(now=NOW)
    journeys.enter_due(now=NOW + timedelta(minutes=15))


def did(case: TriggerCase, type_: str, **changes: Any) -> None:
    for number in range(3):
        Event.objects.create(
            installation=case.installation,
            profile=case.profile,
            event_id=f"{type_}-{number}",
            type=type_,
            occurred_at=NOW - number * HOUR / 6,
            received_at=NOW,
            source="storefront",
            channel_slug="eu",
            **changes,
        )


def ordered(case: TriggerCase, id_: str, days_ago: int, status: str = "FULFILLED") -> Order:
    at = NOW - days_ago * DAY
    order = Order.objects.create(
        installation=case.installation,
        saleor_id=id_,
        profile=case.profile,
        status=status,
        channel_slug="eu",
        currency="EUR",
        total=20,
        placed_at=at,
        saleor_updated_at=NOW,
        checkout_saleor_id=f"cart-{id_}",
    )
    OrderLine.objects.create(
        installation=case.installation,
        order=order,
        saleor_id=f"{id_}-line",
        product_saleor_id="lamp",
        quantity=1,
        unit_price=20,
    )
    return order


class TestBrowsedProduct(TriggerTests):
    trigger = BrowsedProduct
    definition = built_in("browsed_product")

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        did(case, "product_viewed", product_saleor_id="lamp")
        look(case)


class TestBrowsedCategory(TriggerTests):
    trigger = BrowsedCategory
    definition = built_in("browsed_category")

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        did(case, "category_viewed", properties={"category_id": "light"})
        look(case)


class TestSearched(TriggerTests):
    trigger = Searched
    definition = built_in("searched")

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        did(case, "searched", properties={"query": "a lamp for alice@example.com"})
        look(case)


class TestWelcome(TriggerTests):
    trigger = Welcome
    definition = built_in("welcome")

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        look(case)


class TestOrderFulfilled(TriggerTests):
    trigger = OrderFulfilled
    definition = built_in("post_purchase")

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        case.observe(OrderChanged(ordered(case, "order-1", 2)), now=NOW)


class TestReplenishment(TriggerTests):
    trigger = Replenishment
    definition = built_in("replenishment")

    def come_in(self, case: TriggerCase) -> None:
        """Every 20 days; nine tenths of it were over half a day ago."""
        known(case)
        Identity.objects.create(
            installation=case.installation,
            profile=case.profile,
            kind="saleor_user",
            value="user",
            first_seen_at=NOW,
        )
        for number, days in enumerate((58, 38, 18)):
            row = ordered(case, f"order-{number}", days)
            Order.objects.filter(pk=row.pk).update(placed_at=row.placed_at - 6 * HOUR)
        look(case)


class TestWinBack(TriggerTests):
    trigger = WinBack
    definition = built_in("win_back")

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        ComputedTraits.objects.create(
            installation=case.installation,
            profile=case.profile,
            order_count=3,
            first_ordered_at=NOW - 80 * DAY - 6 * HOUR,
            last_ordered_at=NOW - 40 * DAY - 6 * HOUR,
            computed_at=NOW,
        )
        look(case)


class TestLapsed(TriggerTests):
    trigger = Lapsed
    definition = built_in("lapsed")

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        ComputedTraits.objects.create(
            installation=case.installation,
            profile=case.profile,
            order_count=1,
            first_ordered_at=NOW - 365 * DAY - 6 * HOUR,
            last_ordered_at=NOW - 365 * DAY - 6 * HOUR,
            computed_at=NOW,
        )
        look(case)


class TestBirthday(TriggerTests):
    trigger = Birthday
    definition = built_in("birthday")

    def come_in(self, case: TriggerCase) -> None:
        known(case, traits={"birthday": f"1990-{NOW:%m-%d}"})
        look(case)


class TestSignUpAnniversary(TriggerTests):
    trigger = SignUpAnniversary
    definition = built_in("sign_up_anniversary")

    def come_in(self, case: TriggerCase) -> None:
        known(case, joined_at=NOW.replace(year=NOW.year - 2))
        look(case)


class TestOccasion(TriggerTests):
    trigger = Occasion
    definition = "\n".join(
        line.replace("days_before: 10", "days_before: 13")
        for line in Path(built_in("mothers_day")).read_text().splitlines()
    )

    def come_in(self, case: TriggerCase) -> None:
        """Thirteen days before 15 March 2026, in Britain."""
        known(case, country_code="GB")
        look(case)


class TestEnteredSegment(TriggerTests):
    trigger = EnteredSegment
    definition = built_in("segment_entered")

    def prepare(self, installation: Installation) -> None:
        Segment.objects.create(
            installation=installation,
            key="regulars",
            name="Regulars",
            definition={"rule": "order_count", "at_least": 3},
            created_at=NOW,
            updated_at=NOW,
        )

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        SegmentMembership.objects.create(
            installation=case.installation,
            segment=Segment.objects.of(case.installation).get(),
            profile=case.profile,
            entered_at=NOW,
        )
        look(case)


class TestFavouritesLeft(TriggerTests):
    trigger = FavouritesLeft
    definition = "\n".join(
        line.replace("after: 7 days", "after: 1 hour")
        for line in Path(built_in("favourites_left")).read_text().splitlines()
    )

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        Favourite.objects.create(
            installation=case.installation,
            profile=case.profile,
            product_saleor_id="lamp",
            channel_slug="eu",
            added_at=NOW - 2 * HOUR,
        )
        look(case)


class TestNoAccount(TriggerTests):
    trigger = NoAccount
    definition = built_in("sign_up_drive")

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        for number in range(3):
            Session.objects.create(
                installation=case.installation,
                profile=case.profile,
                session_id=f"visit-{number}",
                started_at=NOW - number * HOUR,
                last_seen_at=NOW,
                channel_slug="eu",
            )
        look(case)


class TestUnengaged(TriggerTests):
    trigger = Unengaged
    definition = built_in("re_permission")

    def come_in(self, case: TriggerCase) -> None:
        known(case)
        for number in range(6):
            Message.objects.create(
                installation=case.installation,
                profile=case.profile,
                idempotency_key=f"news:{number}",
                template="welcome",
                purpose="marketing",
                delivery_channel="email",
                status="sent" if number else "not_sent",
                reason="" if number else "unengaged",
                decided_at=NOW - number * DAY,
            )
        Consent.objects.update(recorded_at=NOW - 400 * DAY)
        look(case)
