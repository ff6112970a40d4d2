"""B10 and B11: what is worked out about a person, with exact numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    MergeProof,
    MessageStatus,
    OrderOrigin,
    Purpose,
)
from saleor_personalize.models import (
    Category,
    ChangedProfile,
    ComputedTraits,
    Consent,
    Installation,
    Message,
    Order,
    OrderLine,
    Product,
    Profile,
    SegmentMembership,
    Session,
    Yardstick,
)
from saleor_personalize.profiles import consent, merging
from saleor_personalize.profiles.changes import mark_changed
from saleor_personalize.segments import operations as segments
from saleor_personalize.segments.rules import Stage
from saleor_personalize.traits import operations
from saleor_personalize.traits.queries import traits_of
from tests.catalogue import Phones, gid
from tests.conftest import make_profile

DAY = timedelta(days=1)


@pytest.fixture
def shop(installation: Installation, now: datetime) -> Phones:
    return Phones(installation, now)


def traits(profile: Profile) -> ComputedTraits:
    found = traits_of(profile)
    assert found is not None
    return found


def order(
    profile: Profile, at: datetime, total: str = "10.00", currency: str = "USD", **changes: Any
) -> Order:
    number = Order.objects.count() + 1
    return Order.objects.create(
        **{
            "installation": profile.installation,
            "profile": profile,
            "saleor_id": gid("Order", f"x{profile.pk}-{number}"),
            "number": f"x{number}",
            "status": "FULFILLED",
            "channel_slug": "us",
            "currency": currency,
            "total": total,
            "placed_at": at,
            **changes,
        }
    )


def buy(order: Order, product: str) -> None:
    OrderLine.objects.create(
        installation=order.installation,
        order=order,
        saleor_id=f"line-{order.pk}-{product}",
        product_saleor_id=product,
        quantity=1,
        unit_price="1",
    )


def visit(profile: Profile, at: datetime, **context: Any) -> None:
    Session.objects.create(
        installation=profile.installation,
        profile=profile,
        session_id=f"s-{Session.objects.count()}",
        started_at=at,
        last_seen_at=at,
        **context,
    )


def test_b10_orders_and_what_was_spent_per_currency(
    installation: Installation, shop: Phones, alice: Profile, now: datetime
) -> None:
    order(alice, now - 30 * DAY, "20.00")
    order(alice, now - 20 * DAY, "10.01")
    order(alice, now - 10 * DAY, "8.00", "PLN", origin=OrderOrigin.OFFLINE)
    order(alice, now - 5 * DAY, "99.00", status="RETURNED")
    order(alice, now - 4 * DAY, "500.00", status="CANCELED")
    order(alice, now - 3 * DAY, "500.00", status="EXPIRED")
    order(alice, now - 2 * DAY, "500.00", deleted_at=now)
    assert operations.compute(installation=installation, profiles=[alice], now=now) == 1
    row = traits(alice)
    assert row.order_count == 4
    assert (row.first_ordered_at, row.last_ordered_at) == (now - 30 * DAY, now - 5 * DAY)
    assert row.spent == {
        "USD": {"count": 2, "total": "30.01", "average": "15.01"},
        "PLN": {"count": 1, "total": "8.00", "average": "8.00"},
    }
    assert row.computed_at == now


def test_b10_top_categories_and_brands_by_orders(
    installation: Installation, shop: Phones, alice: Profile, now: datetime
) -> None:
    for product, slug, brand in (
        (shop.phone, "brand", "Aurora"),
        (shop.case, "brand", "Hide"),
        (shop.lamp, "colour", "Red"),
    ):
        Product.objects.filter(saleor_id=product).update(
            attributes=[{"attribute": slug, "values": [brand]}]
        )
    for days, products in (
        (9, [shop.phone, shop.mini]),
        (8, [shop.case]),
        (7, [shop.case, shop.lamp]),
    ):
        one = order(alice, now - days * DAY)
        for product in products:
            buy(one, product)
    buy(order(alice, now - DAY, status="CANCELED"), shop.lamp)
    operations.compute(installation=installation, profiles=[alice], now=now)
    row = traits(alice)
    assert row.top_categories == [
        {"id": gid("Category", "Cases"), "name": "Cases", "count": 2},
        {"id": gid("Category", "Lamps"), "name": "Lamps", "count": 1},
        {"id": gid("Category", "Phones"), "name": "Phones", "count": 1},
    ]
    assert row.top_brands == [
        {"id": "Hide", "name": "Hide", "count": 2},
        {"id": "Aurora", "name": "Aurora", "count": 1},
    ]


def test_b10_the_brand_is_the_attribute_that_the_setting_names(
    installation: Installation, shop: Phones, alice: Profile, now: datetime, settings: Any
) -> None:
    Product.objects.filter(saleor_id=shop.phone).update(
        attributes=[{"attribute": "marke", "values": ["Aurora"]}]
    )
    buy(order(alice, now - DAY), shop.phone)
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "BRAND_ATTRIBUTE": "marke"}
    operations.compute(installation=installation, profiles=[alice], now=now)
    assert traits(alice).top_brands == [{"id": "Aurora", "name": "Aurora", "count": 1}]


def message(
    profile: Profile, at: datetime, channel: DeliveryChannel, status: MessageStatus
) -> None:
    Message.objects.create(
        installation=profile.installation,
        idempotency_key=f"m-{Message.objects.count()}",
        profile=profile,
        template="abandoned_checkout",
        purpose=Purpose.MARKETING,
        delivery_channel=channel,
        status=status,
        decided_at=at,
    )


def test_b10_device_hour_and_delivery_channel_are_those_used_most(
    installation: Installation, alice: Profile, carol: Profile, now: datetime
) -> None:
    visit(alice, now - 9 * DAY, device_type="desktop", local_hour=8)
    visit(alice, now - 8 * DAY, device_type="mobile", local_hour=20)
    visit(alice, now - 7 * DAY, device_type="mobile", local_hour=20)
    visit(alice, now - 6 * DAY, device_type="", local_hour=None)
    # As often: the later one.
    visit(alice, now - 5 * DAY, device_type="desktop", local_hour=0)
    operations.compute(installation=installation, profiles=[alice], now=now)
    row = traits(alice)
    assert (row.preferred_device, row.preferred_hour) == ("desktop", 20)
    assert row.preferred_delivery_channel == ""
    message(alice, now, DeliveryChannel.PUSH, MessageStatus.SENT)
    message(alice, now, DeliveryChannel.EMAIL, MessageStatus.NOT_SENT)
    message(alice, now, DeliveryChannel.EMAIL, MessageStatus.NOT_SENT)
    operations.compute(installation=installation, profiles=[alice], now=now)
    assert traits(alice).preferred_delivery_channel == "push"
    # What was answered outweighs what was sent.
    visit(alice, now, utm={"medium": "Email"})
    operations.compute(installation=installation, profiles=[alice], now=now)
    assert traits(alice).preferred_delivery_channel == "email"
    operations.compute(installation=installation, profiles=[carol], now=now)
    nobody = traits(carol)
    assert (nobody.preferred_device, nobody.preferred_hour, nobody.spent) == ("", None, {})


@pytest.mark.parametrize(
    ("orders", "stage"),
    [
        ([], "prospect"),
        ([2], "new"),
        ([2, 1], "active"),
        ([90], "new"),
        ([90.01], "at_risk"),
        ([400, 365], "at_risk"),
        ([400, 365.01], "lapsed"),
    ],
)
def test_b11_the_stage_of_a_shop_without_a_rhythm(
    installation: Installation, alice: Profile, now: datetime, orders: list[float], stage: str
) -> None:
    for days in orders:
        order(alice, now - days * DAY)
    operations.compute(installation=installation, now=now)
    assert traits(alice).stage == stage


def test_b11_the_stage_follows_the_shops_own_rhythm(
    installation: Installation, now: datetime, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "LIFECYCLE_MIN_RETURNS": 10}
    people = [make_profile(installation, external_id=f"p{n}") for n in range(10)]
    # Pauses of 10, 12, ... 28 days: eight of ten came back within 24, all within 28.
    for n, profile in enumerate(people):
        order(profile, now - (10 + 2 * n) * DAY)
        order(profile, now - (10 + 2 * n) * DAY, "1.00")
        order(profile, now)
    operations.compute(installation=installation, now=now)
    yardstick = Yardstick.objects.get()
    assert (yardstick.return_count, yardstick.at_risk_days, yardstick.lapsed_days) == (10, 24, 28)
    assert yardstick.buyer_count == 10
    for days, stage in ((24, "active"), (25, "at_risk"), (28, "at_risk"), (29, "lapsed")):
        operations.compute(installation=installation, profiles=people, now=now + days * DAY)
        assert set(ComputedTraits.objects.values_list("stage", flat=True)) == {stage}


def test_b11_scores_are_fifths_and_equal_people_score_alike(
    installation: Installation, now: datetime
) -> None:
    people = [make_profile(installation, external_id=f"p{n}") for n in range(10)]
    for n, profile in enumerate(people):
        for _ in range(1 if n < 7 else 3):
            order(profile, now - (n + 1) * DAY, total=str(n + 1))
    operations.compute(installation=installation, now=now)
    rows = [traits(profile) for profile in people]
    assert [row.recency_score for row in rows] == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    # Seven ordered once: their middle is at 35 %. Three ordered three times: at 85 %.
    assert [row.frequency_score for row in rows] == [2] * 7 + [5] * 3
    assert [row.monetary_score for row in rows] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_b11_currencies_are_compared_apart_and_a_single_buyer_is_in_the_middle(
    installation: Installation, alice: Profile, bob: Profile, carol: Profile, now: datetime
) -> None:
    order(alice, now - DAY, "5.00", "USD")
    order(bob, now - DAY, "9000.00", "JPY")
    operations.compute(installation=installation, now=now)
    for profile in (alice, bob):
        row = traits(profile)
        assert (row.recency_score, row.frequency_score, row.monetary_score) == (3, 3, 3)
    row = traits(carol)
    assert (row.recency_score, row.frequency_score, row.monetary_score) == (None, None, None)


def test_b10_a_person_is_one_over_all_profiles_until_they_are_split(
    installation: Installation, alice: Profile, carol: Profile, now: datetime
) -> None:
    order(alice, now - 3 * DAY)
    order(carol, now - 2 * DAY)
    operations.compute(installation=installation, now=now)
    assert (traits(alice).order_count, traits(carol).order_count) == (1, 1)
    merging.prove(
        installation=installation,
        first=alice,
        second=carol,
        proof=MergeProof.LOGIN,
        evidence=[(IdentityKind.ANONYMOUS_ID, "x")],
        now=now,
    )
    carol.refresh_from_db()
    segments.evaluate_changed(now=now)
    assert ComputedTraits.objects.count() == 1
    assert traits(carol).order_count == 2
    assert traits(carol).profile_id == carol.person_id == alice.pk
    (merge,) = merging.merges_of(alice)
    merging.split(merge=merge, now=now, decided_by="staff")
    segments.evaluate_changed(now=now)
    assert (traits(alice).order_count, traits(carol).order_count) == (1, 1)


def test_b11_an_order_moves_the_stage_within_one_look_and_never_through_the_door(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    """Who orders enters "active" in the same look as the order; nobody flaps."""
    order(alice, now - 3 * DAY)
    operations.compute(installation=installation, now=now)
    for stage in ("new", "active"):
        segments.create_segment(
            installation=installation, key=stage, name=stage, definition=Stage(stage=stage), now=now
        )
    segments.evaluate_due(now=now)
    later = now + DAY
    order(alice, later)
    mark_changed(installation=installation, profiles=[alice], now=later, has_ordered=True)
    segments.evaluate_changed(now=later)
    assert traits(alice).computed_at == later
    assert list(
        SegmentMembership.objects.order_by("pk").values_list(
            "segment__key", "entered_at", "left_at"
        )
    ) == [("new", now, later), ("active", later, None)]
    assert ChangedProfile.objects.count() == 0
    # Anything else works out nothing anew.
    mark_changed(installation=installation, profiles=[alice], now=later + DAY)
    segments.evaluate_changed(now=later + DAY)
    assert traits(alice).computed_at == later


def test_b11_everybody_is_looked_at_daily_and_early_in_a_growing_shop(
    installation: Installation, alice: Profile, bob: Profile, now: datetime
) -> None:
    order(alice, now)
    assert operations.compute_due(installation=installation, now=now) == 2
    assert operations.compute_due(installation=installation, now=now + timedelta(hours=1)) == 0
    late = make_profile(installation, external_id="late")
    assert operations.compute_due(installation=installation, now=now + timedelta(hours=1)) == 1
    order(late, now)
    assert operations.compute_due(installation=installation, now=now + timedelta(hours=2)) == 3
    assert operations.compute_due(installation=installation, now=now + timedelta(hours=24)) == 0
    assert operations.compute_due(installation=installation, now=now + timedelta(hours=25)) == 3


def test_b11_the_segments_hear_of_who_stands_elsewhere_alone(
    installation: Installation, alice: Profile, bob: Profile, now: datetime
) -> None:
    order(alice, now - 80 * DAY)
    order(bob, now)
    operations.compute(installation=installation, now=now)
    ChangedProfile.objects.all().delete()
    operations.compute(installation=installation, now=now + 20 * DAY)
    assert list(ChangedProfile.objects.values_list("profile", flat=True)) == [alice.pk]
    assert traits(alice).stage == "at_risk"


def test_b124_nothing_is_worked_out_about_somebody_who_refused_profiling(
    installation: Installation, alice: Profile, bob: Profile, now: datetime
) -> None:
    order(alice, now - DAY)
    operations.compute(installation=installation, now=now)
    assert traits_of(alice) is not None
    Consent.objects.create(
        installation=installation,
        profile=alice,
        purpose=Purpose.PROFILING,
        state=ConsentState.DENIED,
        source="test",
        recorded_at=now,
    )
    assert operations.compute(installation=installation, profiles=[alice, bob], now=now) == 1
    assert traits_of(alice) is None
    assert operations.compute(installation=installation, now=now) == 1
    assert traits_of(alice) is None
    assert traits(bob).stage == "prospect"
    consent.record(
        profile=alice,
        purpose=Purpose.PROFILING,
        delivery_channel="",
        state=ConsentState.GRANTED,
        source="test",
        now=now,
    )
    segments.evaluate_changed(now=now)
    assert traits(alice).order_count == 1


def test_shops_are_measured_apart(
    installation: Installation,
    other_installation: Installation,
    alice: Profile,
    dave: Profile,
    now: datetime,
) -> None:
    order(alice, now - DAY)
    order(dave, now - DAY)
    assert operations.compute(installation=installation, now=now) == 1
    assert operations.compute(installation=installation, profiles=[dave], now=now) == 0
    assert not ComputedTraits.objects.filter(profile=dave).exists()
    assert traits(alice).order_count == 1


STATUSES = ["FULFILLED", "UNFULFILLED", "CANCELED", "RETURNED", "EXPIRED"]
ORDERS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 60 * 24),
        st.sampled_from(["USD", "PLN"]),
        st.decimals("0.00", "500", places=2),
        st.sampled_from(STATUSES),
        st.lists(st.integers(0, 3), max_size=3),
    ),
    max_size=25,
)


@pytest.mark.django_db
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(orders=ORDERS, joined=st.booleans())
def test_b10_the_database_adds_up_as_plain_python_does(
    installation: Installation, now: datetime, orders: list[Any], joined: bool
) -> None:
    Profile.objects.all().delete()
    Order.objects.all().delete()
    Product.objects.all().delete()
    Category.objects.all().delete()
    people = [make_profile(installation, external_id=f"p{n}") for n in range(4)]
    for n in range(4):
        Category.objects.create(installation=installation, saleor_id=f"c{n % 2}x{n}", name=f"C{n}")
        Product.objects.create(
            installation=installation,
            saleor_id=f"product{n}",
            name=f"P{n}",
            category_saleor_id=f"c{n % 2}x{n % 2}",
            attributes=[{"attribute": "brand", "values": [f"B{n % 3}"]}],
        )
    for owner, hours, currency, total, status, products in orders:
        one = order(
            people[owner], now - timedelta(hours=hours), str(total), currency, status=status
        )
        for product in set(products):
            buy(one, f"product{product}")
    if joined:
        people[3].merged_into = people[2]
        people[3].save()
    operations.compute(installation=installation, now=now)

    mine: dict[int, list[Any]] = defaultdict(list)
    for owner, *rest in orders:
        if rest[3] not in ("CANCELED", "EXPIRED"):
            mine[2 if joined and owner == 3 else owner].append(rest)
    speaking = [n for n in range(4) if not (joined and n == 3)]
    for n in speaking:
        row = traits(people[n])
        bought = mine[n]
        paid = [one for one in bought if one[3] != "RETURNED"]
        assert row.order_count == len(bought)
        hours = [one[0] for one in bought]
        assert row.last_ordered_at == (now - timedelta(hours=min(hours)) if hours else None)
        assert row.first_ordered_at == (now - timedelta(hours=max(hours)) if hours else None)
        sums: dict[str, list[Decimal]] = defaultdict(list)
        for _hours, currency, total, *_rest in paid:
            sums[currency].append(total)
        cent = Decimal("0.01")
        assert row.spent == {
            currency: {
                "count": len(totals),
                "total": str(sum(totals).quantize(cent)),
                "average": str((sum(totals) / len(totals)).quantize(cent, ROUND_HALF_UP)),
            }
            for currency, totals in sums.items()
        }
        for found, key in (
            (row.top_categories, lambda p: f"C{p % 2}"),
            (row.top_brands, lambda p: f"B{p % 3}"),
        ):
            counts = Counter(
                name for one in bought for name in {key(product) for product in one[4]}
            )
            assert {entry["name"]: entry["count"] for entry in found} == counts
            assert [entry["count"] for entry in found] == sorted(counts.values(), reverse=True)
    # Scores: the share of buyers below, and half of those alike.
    lasts = {n: min(one[0] for one in mine[n]) for n in speaking if mine[n]}
    for n, value in lasts.items():
        below = sum(other > value for other in lasts.values())
        alike = sum(other == value for other in lasts.values())
        place = Decimal(2 * below + alike) / (2 * len(lasts))
        assert traits(people[n]).recency_score == min(5, int(place * 5) + 1)
