"""B101 by GraphQL: what a server of the shop changes stands in the audit log, under the name of its key."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from saleor_personalize.models import AuditEntry, Installation
from saleor_personalize.saleor_api import server_keys
from tests.api.conftest import Ask
from tests.api.test_merchandising import CREATE as CREATE_RULE
from tests.api.test_merchandising import UPDATE as UPDATE_RULE
from tests.api.test_segments import CREATE, DELETE, UPDATE
from tests.catalogue import Phones

DELETE_RULE = "mutation($id: ID!) { merchandisingRuleDelete(id: $id) { ok } }"
SAVE = """mutation($list: [String!]!) {
  placementSave(key: "mine", recommenders: $list) { faults { path } }
}"""
REMOVE = 'mutation { placementDelete(key: "mine") { ok } }'
EVERYBODY = '{"all": []}'


@pytest.fixture
def till(installation: Installation, now: datetime) -> str:
    return server_keys.create(installation=installation, name="till", created_by="", now=now)[1]


def log(installation: Installation) -> list[tuple[str, str]]:
    """(action, what it was done to) of each line, oldest first; each is of the till."""
    rows = AuditEntry.objects.of(installation).order_by("pk")
    prefixes = {f"spk_{key.prefix}" for key in server_keys.keys_of(installation=installation)}
    assert {(row.actor_id, row.actor_name) for row in rows} <= {(p, "till") for p in prefixes}
    return [(row.action, row.object_name or str(row.detail)) for row in rows]


def test_b101_segments_that_a_server_changes(
    gql: Ask, installation: Installation, other_installation: Installation, till: str
) -> None:
    assert gql(CREATE, {"key": "all", "definition": EVERYBODY}, token=till).data
    assert gql(CREATE, {"key": "bad", "definition": '{"any": 1}'}, token=till).data["segmentCreate"]["faults"]  # fmt: skip
    assert gql(UPDATE, {"key": "all", "name": "Everybody"}, token=till).data
    assert gql(DELETE, {"key": "all"}, token=till).data == {"segmentDelete": {"faults": []}}
    assert log(installation) == [
        ("segment_saved", "Some people"),
        ("segment_saved", "Everybody"),
        ("segment_deleted", "Everybody"),
    ]
    assert log(other_installation) == []


def test_b101_a_segment_that_may_not_be_deleted_is_not_said_to_be(
    gql: Ask, installation: Installation, till: str
) -> None:
    assert gql(CREATE, {"key": "all", "definition": EVERYBODY}, token=till).data
    built_on = '{"all": [{"rule": "segment", "segment": "all"}]}'
    made = gql(CREATE, {"key": "some", "definition": built_on}, token=till).data["segmentCreate"]
    assert made["faults"] == []
    assert gql(DELETE, {"key": "all"}, token=till).data["segmentDelete"]["faults"] != []
    assert [action for action, _ in log(installation)] == ["segment_saved", "segment_saved"]


def test_b101_rules_and_placements_that_a_server_changes(
    gql: Ask, installation: Installation, shop: Phones, till: str
) -> None:
    values: dict[str, Any] = {
        "name": "No laces",
        "effect": "EXCLUDE",
        "conditions": '{"product_ids": ["UHJvZHVjdDox"]}',
    }
    made = gql(CREATE_RULE, {"input": values}, token=till).data["merchandisingRuleCreate"]
    assert made["faults"] == []
    id_ = made["rule"]["id"]
    changed = gql(UPDATE_RULE, {"id": id_, "input": {**values, "name": "None"}}, token=till)
    assert changed.data["merchandisingRuleUpdate"]["faults"] == []
    assert gql(DELETE_RULE, {"id": id_}, token=till).data == {"merchandisingRuleDelete": {"ok": True}}  # fmt: skip
    assert gql(SAVE, {"list": ["nothing_like_it"]}, token=till).data["placementSave"]["faults"]
    assert gql(SAVE, {"list": ["best_sellers"]}, token=till).data == {"placementSave": {"faults": []}}  # fmt: skip
    assert gql(REMOVE, token=till).data == {"placementDelete": {"ok": True}}
    assert gql(REMOVE, token=till).data == {"placementDelete": {"ok": False}}
    assert log(installation) == [
        ("rule_saved", "No laces"),
        ("rule_saved", "None"),
        ("rule_deleted", "None"),
        ("placement_saved", "mine"),
        ("placement_deleted", "{'placement': 'mine'}"),
    ]


def test_b101_the_token_of_the_app_is_named_as_such(gql: Ask, installation: Installation) -> None:
    assert gql(CREATE, {"key": "all", "definition": EVERYBODY}, token=installation.auth_token).data
    entry = AuditEntry.objects.of(installation).get()
    assert (entry.actor_id, entry.actor_name) == ("app-token", "")
