"""What a caller gets who shows neither a customer's token nor an anonymous id, and a server that names nobody."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.apps import apps

from saleor_personalize.graphql.schema import schema
from saleor_personalize.saleor_api import server_keys
from tests.api.conftest import Ask
from tests.catalogue import Phones

WHO, OURS, FINE = "UNAUTHENTICATED", "FORBIDDEN", ""

#: Mutations about a person: what nobody, and a server that names nobody, are told.
OF_A_PERSON = {
    "consentRecord": ("(purpose: PROFILING, isAllowed: true) { __typename }", OURS, "BAD_REQUEST"),
    "consentUpdate": ("(purpose: PROFILING, isAllowed: true) { __typename }", OURS, OURS),
    "favouriteAdd": ('(productId: "UHJvZHVjdDox") { errors { code } }', WHO, WHO),
    "favouriteRemove": ('(productId: "UHJvZHVjdDox") { errors { code } }', WHO, WHO),
    "favouritesShare": ("{ errors { code } }", WHO, WHO),
    "favouritesWithdraw": ("{ errors { code } }", WHO, WHO),
    # Facts about a cart are shown to everybody: whoever tells of it is thanked, and forgotten.
    "hintReport": ('(id: "SIGN_UP:", action: SEEN, channel: "us") { isRecorded }', FINE, FINE),
    "inboxClick": ('(ids: ["1"]) { changedCount }', WHO, WHO),
    "inboxDismiss": ('(ids: ["1"]) { changedCount }', WHO, WHO),
    "inboxRead": ('(ids: ["1"]) { changedCount }', WHO, WHO),
    "inboxReadAll": ("{ changedCount }", WHO, WHO),
    "phoneConfirm": ('(code: "123456") { __typename }', OURS, "BAD_REQUEST"),
    "profileErase": ("{ __typename }", OURS, OURS),
    # The secret that is given is enough for these; of one that nobody has nothing is said.
    "pushOpened": ('(messageId: "1") { errors { code } }', FINE, FINE),
    "registerDevice": ('(token: "t", platform: ANDROID) { errors { code } }', WHO, WHO),
    "stockAlertCancel": ('(id: "1") { count }', FINE, FINE),
    "stockAlertRequest": (
        '(variantId: "v", channel: "us") { errors { code } }',
        "NO_EMAIL",
        "NO_EMAIL",
    ),
    "subscribe": ('(email: "nobody") { __typename }', "INVALID_EMAIL", "INVALID_EMAIL"),
    "track": ('(events: [{id: "e1", type: SEARCHED}]) { __typename }', WHO, WHO),
    "unregisterDevice": ('(token: "t") { errors { code } }', FINE, FINE),
}

#: Mutations about the shop: `tests/api/test_server_keys.py` tells who may.
OF_THE_SHOP = {
    "merchandisingRuleCreate",
    "merchandisingRuleDelete",
    "merchandisingRuleUpdate",
    "placementDelete",
    "placementSave",
    "segmentCreate",
    "segmentDelete",
    "segmentUpdate",
}


def row_counts() -> dict[str, int]:
    return {
        model._meta.label: model._default_manager.count()
        for model in apps.get_app_config("saleor_personalize").get_models()
    }


def test_b101_every_mutation_is_asked_by_nobody() -> None:
    found = schema.graphql_schema.mutation_type
    assert found is not None
    assert set(found.fields) == OF_A_PERSON.keys() | OF_THE_SHOP


@pytest.mark.parametrize("is_server", [False, True])
@pytest.mark.parametrize("name", OF_A_PERSON)
def test_b101_who_names_nobody_gets_an_answer_and_changes_nothing(
    gql: Ask, shop: Phones, now: datetime, name: str, is_server: bool
) -> None:
    asked, *codes = OF_A_PERSON[name]
    key = server_keys.create(installation=shop.installation, name="till", created_by="", now=now)[1]
    before = row_counts()
    answer = gql(f"mutation {{ {name}{asked} }}", token=key if is_server else "")
    assert answer.status == 200
    if "errors" in answer.body:
        told = answer.codes
    else:
        found = answer.data[name]
        told = [error["code"] for error in found.pop("errors", [])]
        # What is no error says that nothing happened.
        assert not any(found.values())
    assert told == [code for code in codes[is_server : is_server + 1] if code]
    assert row_counts() == before
