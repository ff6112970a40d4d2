"""B15 through GraphQL: a shopper reads their own segments, the shop's server manages all."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from saleor_personalize.enums import MergeProof
from saleor_personalize.models import Installation, Profile, Segment
from saleor_personalize.profiles import merging
from saleor_personalize.saleor_api import auth
from saleor_personalize.segments import operations
from saleor_personalize.segments.definition import AllOf
from saleor_personalize.segments.rules import EventCount, Language, OrderCount
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.catalogue import Phones
from tests.conftest import make_profile

MINE = "query($user: ID) { profile(userId: $user) { segments { key enteredAt } } }"
ALL = "{ segments { key name definition description isActive memberCount updatedAt evaluatedAt } }"
CREATE = """mutation($key: String!, $definition: JSONString!) {
  segmentCreate(key: $key, name: "Some people", definition: $definition) {
    segment { key memberCount evaluatedAt } faults { path message }
  }
}"""
UPDATE = """mutation($key: String!, $definition: JSONString, $name: String, $active: Boolean) {
  segmentUpdate(key: $key, definition: $definition, name: $name, isActive: $active) {
    segment { key name isActive } faults { path message }
  }
}"""
DELETE = "mutation($key: String!) { segmentDelete(key: $key) { faults { path message } } }"
COUNT = """query($definition: JSONString!) {
  segmentCount(definition: $definition) { count faults { path message } }
}"""


@pytest.fixture
def app_token(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> str:
    return installation.auth_token


def segment(installation: Installation, now: datetime, key: str, definition: Any) -> Segment:
    made = operations.create_segment(
        installation=installation, key=key, name=f"Private: {key}", definition=definition, now=now
    )
    operations.evaluate_full(segment=made, now=now)
    return made


@pytest.fixture
def buyers(
    shop: Phones, installation: Installation, alice: Profile, bob: Profile, now: datetime
) -> Segment:
    shop.order(shop.phone, profile=alice, user_id=ALICE)
    return segment(installation, now, "buyers", OrderCount(at_least=1))


def test_b15_a_shopper_reads_their_own_segments_without_their_names(
    gql: Ask, token_of: Any, buyers: Segment, now: datetime
) -> None:
    answer = gql(MINE, token=token_of(ALICE))
    assert answer.data == {
        "profile": {"segments": [{"key": "buyers", "enteredAt": now.isoformat()}]}
    }
    assert gql(MINE, token=token_of(BOB)).data == {"profile": {"segments": []}}
    # A shopper cannot name another one; a server can.
    assert gql(MINE, {"user": ALICE}, token=token_of(BOB)).refusal == (200, "FORBIDDEN")
    server = gql(MINE, {"user": ALICE}, token=buyers.installation.auth_token)
    assert [row["key"] for row in server.data["profile"]["segments"]] == ["buyers"]


def test_b15_who_is_joined_by_a_cart_only_reads_no_segment(
    gql: Ask, buyers: Segment, alice: Profile, installation: Installation, now: datetime
) -> None:
    """What Alice did put the person in: whoever only forwarded her cart must not learn it."""
    visitor = make_profile(installation, anonymous_id=ANONYMOUS)
    nobody = make_profile(installation, anonymous_id="3f0d6e0e-4b1c-nobody-else")
    merging.prove(
        installation=installation, first=nobody, second=visitor,
        proof=MergeProof.CHECKOUT_COMPLETED, now=now,
    )  # fmt: skip
    segment(installation, now, "everybody", AllOf())
    assert gql(MINE, anonymous_id=ANONYMOUS).data["profile"]["segments"] == []
    Profile.objects.update(merged_into=None)
    operations.evaluate_full(segment=Segment.objects.get(key="everybody"), now=now)
    found = gql(MINE, anonymous_id=ANONYMOUS).data["profile"]["segments"]
    assert [row["key"] for row in found] == ["everybody"]


def test_b15_a_server_makes_counts_changes_and_deletes_segments(
    gql: Ask, alice: Profile, bob: Profile, shop: Phones, app_token: str, now: datetime
) -> None:
    shop.order(shop.phone, profile=alice)
    definition = json.dumps({"rule": "order_count", "at_least": 1})
    assert gql(COUNT, {"definition": definition}, token=app_token).data == {
        "segmentCount": {"count": 1, "faults": []}
    }
    made = gql(CREATE, {"key": "buyers", "definition": definition}, token=app_token)
    assert made.data["segmentCreate"] == {
        "segment": {"key": "buyers", "memberCount": 0, "evaluatedAt": None},
        "faults": [],
    }
    operations.evaluate_due(now=now)
    (row,) = gql(ALL, token=app_token).data["segments"]
    assert json.loads(row.pop("definition")) == {"rule": "order_count", "at_least": 1}
    assert row == {
        "key": "buyers", "name": "Some people", "description": "Orders: at least 1 time",
        "isActive": True, "memberCount": 1, "updatedAt": now.isoformat(),
        "evaluatedAt": now.isoformat(),
    }  # fmt: skip
    changed = gql(UPDATE, {"key": "buyers", "name": "Buyers", "active": False}, token=app_token)
    assert changed.data["segmentUpdate"] == {
        "segment": {"key": "buyers", "name": "Buyers", "isActive": False},
        "faults": [],
    }
    assert gql(DELETE, {"key": "buyers"}, token=app_token).data["segmentDelete"] == {"faults": []}
    assert not Segment.objects.exists()


def test_b15_faults_name_the_path_and_change_nothing(
    gql: Ask, app_token: str, shop: Phones
) -> None:
    bad = json.dumps({"all": [{"rule": "order_cuont"}]})
    made = gql(CREATE, {"key": "x", "definition": bad}, token=app_token).data["segmentCreate"]
    assert made == {
        "segment": None,
        "faults": [
            {
                "path": "definition.all[0].rule",
                "message": "there is no rule “order_cuont”. Did you mean order_count?",
            }
        ],
    }
    counted = gql(COUNT, {"definition": bad}, token=app_token).data["segmentCount"]
    assert (counted["count"], counted["faults"][0]["path"]) == (None, "all[0].rule")
    assert not Segment.objects.exists()
    assert gql(UPDATE, {"key": "x"}, token=app_token).codes == ["NOT_FOUND"]
    for text in ("{", "[" * 9_000, '{"all": [{"rule": "trait", "name": "\\u0000"}]}'):
        answer = gql(CREATE, {"key": "x", "definition": text}, token=app_token)
        assert answer.body.get("errors") or answer.data["segmentCreate"]["faults"]
    assert not Segment.objects.exists()


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (ALL, {}),
        ('{ segment(key: "buyers") { key } }', {}),
        (COUNT, {"definition": '{"all": []}'}),
        (CREATE, {"key": "x", "definition": '{"all": []}'}),
        (UPDATE, {"key": "buyers", "name": "x"}),
        (DELETE, {"key": "buyers"}),
    ],
    ids=["list", "one", "count", "create", "update", "delete"],
)
def test_b15_only_the_shops_own_server_manages_segments(
    gql: Ask,
    token_of: Any,
    buyers: Segment,
    other_installation: Installation,
    query: str,
    variables: dict[str, Any],
) -> None:
    before = list(Segment.objects.values())
    assert gql(query, variables, token=token_of(ALICE)).refusal == (200, "FORBIDDEN")
    assert gql(query, variables, anonymous_id=ANONYMOUS).refusal == (200, "FORBIDDEN")
    foreign = gql(query, variables, token=other_installation.auth_token)
    assert not any((foreign.body.get("data") or {}).values())
    assert list(Segment.objects.values()) == before


def test_b15_another_shops_server_sees_its_own_segments_only(
    gql: Ask, buyers: Segment, other_installation: Installation, dave: Profile, now: datetime
) -> None:
    segment(other_installation, now, "theirs", Language(code="de"))
    auth.refresh_limit.clear()
    token = other_installation.auth_token
    found = gql(ALL, token=token, shop=other_installation).data["segments"]
    assert [row["key"] for row in found] == ["theirs"]
    one = gql('{ segment(key: "buyers") { key } }', token=token, shop=other_installation)
    assert one.data == {"segment": None}
    counted = gql(COUNT, {"definition": '{"all": []}'}, token=token, shop=other_installation)
    assert counted.data["segmentCount"]["count"] == 1


def test_b15_a_window_is_seen_through_the_graph(
    gql: Ask, token_of: Any, installation: Installation, shop: Phones, alice: Profile, now: datetime
) -> None:
    made = segment(
        installation, now, "viewers", EventCount(type="product_viewed", at_least=1, days=1)
    )
    track = """mutation($product: ID!) {
      track(events: [{id: "1", type: PRODUCT_VIEWED, productId: $product}]) { results { status } }
    }"""
    gql(track, {"product": shop.phone}, token=token_of(ALICE))
    operations.evaluate_changed(now=now)
    assert gql(MINE, token=token_of(ALICE)).data["profile"]["segments"][0]["key"] == "viewers"
    operations.evaluate_clock(now=now + timedelta(days=1))
    assert gql(MINE, token=token_of(ALICE)).data["profile"]["segments"] == []
    assert made.memberships.get().left_at == now + timedelta(days=1)
