"""B10 to B12 by GraphQL: what a shopper sees of themselves, and what servers see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from saleor_personalize.enums import MergeProof, PredictionTarget
from saleor_personalize.models import Installation, Order, Predictor, Product, Profile
from saleor_personalize.profiles import merging
from saleor_personalize.traits import operations
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.catalogue import Catalogue, Phones, gid
from tests.conftest import make_profile

TRAITS = """traits {
      orderCount firstOrderedAt lastOrderedAt stage computedAt
      spent { currency orderCount total average }
      topCategories { id name orderCount } topBrands { name orderCount }
      preferredDevice preferredHour preferredDeliveryChannel
      scores { recency frequency monetary }
      nextOrderAt nextOrderState churnRisk churnRiskState
    }"""
QUERY = f"""query Mine($user: ID, $anonymous: String) {{
  profile(userId: $user, anonymousId: $anonymous) {{
    firstName orderCount spent {{ currency orderCount total average }}
    {TRAITS}
  }}
}}"""


@pytest.fixture
def visitor(installation: Installation) -> Profile:
    return make_profile(installation, anonymous_id=ANONYMOUS)


@pytest.fixture
def lives(
    shop: Phones,
    alice: Profile,
    bob: Profile,
    visitor: Profile,
    dave: Profile,
    other_installation: Installation,
    now: datetime,
) -> Phones:
    """Alice ordered thrice and once in a store that knows no account; Dave is elsewhere."""
    Product.objects.filter(saleor_id=shop.phone).update(
        attributes=[{"attribute": "brand", "values": ["Aurora"]}]
    )
    Profile.objects.filter(pk=alice.pk).update(first_name="Alice")
    alice.first_name = "Alice"
    alice.save()
    shop.order(shop.phone, shop.case, profile=alice, user_id=ALICE, days_ago=9)
    shop.order(shop.lamp, profile=alice, user_id=ALICE, days_ago=2)
    cancelled = shop.order(shop.lamp, profile=alice, user_id=ALICE, days_ago=1)
    returned = shop.order(shop.lamp, profile=alice, user_id=ALICE, days_ago=3)
    Order.objects.filter(pk=cancelled.pk).update(status="CANCELED")
    Order.objects.filter(pk=returned.pk).update(status="RETURNED")
    shop.order(shop.phone, profile=alice, days_ago=20)
    shop.order(shop.mini, profile=bob, user_id=BOB, days_ago=5)
    Catalogue(other_installation, now).order(gid("Product", 900), profile=dave, user_id=ALICE)
    for one in (shop.installation, other_installation):
        operations.compute(installation=one, now=now)
    return shop


def test_b10_a_customer_reads_their_own_name_and_orders_and_no_judgement(
    gql: Ask, lives: Phones, token_of: Callable[..., str]
) -> None:
    assert gql(QUERY, token=token_of(ALICE)).data["profile"] == {
        "firstName": "Alice",
        "orderCount": 3,
        "spent": [{"currency": "USD", "orderCount": 2, "total": 31.0, "average": 15.5}],
        "traits": None,
    }
    bobs = gql(QUERY, token=token_of(BOB)).data["profile"]
    assert (bobs["firstName"], bobs["orderCount"], bobs["traits"]) == (None, 1, None)


def test_b10_a_visitor_reads_no_order_and_no_judgement(
    gql: Ask, lives: Phones, visitor: Profile
) -> None:
    nothing = {"firstName": None, "orderCount": 0, "spent": [], "traits": None}
    assert gql(QUERY, anonymous_id=ANONYMOUS).data["profile"] == nothing
    assert gql(QUERY).data == {"profile": None}


def test_b10_who_is_joined_over_a_cart_still_reads_their_own_orders_alone(
    gql: Ask, lives: Phones, token_of: Callable[..., str], alice: Profile, now: datetime
) -> None:
    """A forwarded cart joins two people for our care, never for their eyes."""
    guest = make_profile(lives.installation, email="guest@example.com")
    lives.order(lives.cable, profile=guest, days_ago=1)
    merging.prove(
        installation=lives.installation,
        first=alice,
        second=guest,
        proof=MergeProof.CHECKOUT_COMPLETED,
        now=now,
    )
    operations.compute(installation=lives.installation, now=now)
    assert gql(QUERY, token=token_of(ALICE)).data["profile"]["orderCount"] == 3
    served = gql(QUERY, {"user": ALICE}, token=lives.installation.auth_token).data["profile"]
    assert served["traits"]["orderCount"] == 5
    assert served["orderCount"] == 3


def test_b11_a_server_reads_everything_of_whom_it_names(
    gql: Ask, lives: Phones, now: datetime
) -> None:
    token = lives.installation.auth_token
    served = gql(QUERY, {"user": ALICE}, token=token).data["profile"]
    assert served["firstName"] == "Alice"
    assert served["traits"] == {
        "orderCount": 4,
        "firstOrderedAt": (now - timedelta(days=20)).isoformat(),
        "lastOrderedAt": (now - timedelta(days=2)).isoformat(),
        "stage": "ACTIVE",
        "computedAt": now.isoformat(),
        "spent": [{"currency": "USD", "orderCount": 3, "total": 41.5, "average": 13.83}],
        "topCategories": [
            {"id": gid("Category", "Lamps"), "name": "Lamps", "orderCount": 2},
            {"id": gid("Category", "Phones"), "name": "Phones", "orderCount": 2},
            {"id": gid("Category", "Cases"), "name": "Cases", "orderCount": 1},
        ],
        "topBrands": [{"name": "Aurora", "orderCount": 2}],
        "preferredDevice": None,
        "preferredHour": None,
        "preferredDeliveryChannel": None,
        "scores": {"recency": 4, "frequency": 4, "monetary": 4},
        "nextOrderAt": None,
        "nextOrderState": "NOT_ENOUGH_DATA",
        "churnRisk": None,
        "churnRiskState": "NOT_ENOUGH_DATA",
    }
    visitor = gql(QUERY, {"anonymous": ANONYMOUS}, token=token).data["profile"]
    assert (visitor["traits"]["stage"], visitor["traits"]["orderCount"]) == ("PROSPECT", 0)
    assert visitor["traits"]["scores"] == {"recency": None, "frequency": None, "monetary": None}


def test_b12_a_server_reads_what_is_foretold_with_its_state(
    gql: Ask, lives: Phones, now: datetime
) -> None:
    Predictor.objects.create(
        installation=lives.installation,
        target=PredictionTarget.CHURN,
        is_published=True,
        trained_at=now,
        parameters={"weights": [0.0] * 7, "bias": 0.0, "gap": 30, "horizon": 60},
    )
    Predictor.objects.create(
        installation=lives.installation,
        target=PredictionTarget.NEXT_ORDER,
        trained_at=now,
        figures={"reason": "not_better"},
    )
    operations.compute(installation=lives.installation, now=now)
    found = gql(QUERY, {"user": ALICE}, token=lives.installation.auth_token).data["profile"]
    assert {name: found["traits"][name] for name in
            ("churnRisk", "churnRiskState", "nextOrderAt", "nextOrderState")} == {
        "churnRisk": 0.5,
        "churnRiskState": "READY",
        "nextOrderAt": None,
        "nextOrderState": "NOT_BETTER",
    }  # fmt: skip


def test_b106_another_shops_server_reads_its_own_person_of_that_id(
    gql: Ask, lives: Phones, other_installation: Installation, token_of: Callable[..., str]
) -> None:
    theirs = gql(
        QUERY, {"user": ALICE}, token=other_installation.auth_token, shop=other_installation
    ).data["profile"]
    assert (theirs["orderCount"], theirs["traits"]["orderCount"]) == (1, 1)
    refused = gql(QUERY, {"user": ALICE}, token=token_of(BOB))
    assert refused.refusal == (200, "FORBIDDEN")
