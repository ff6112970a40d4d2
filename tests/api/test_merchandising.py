"""B34 and B43: rules of the shop's staff, through the public graph, and what they do to lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine

from saleor_personalize.models import (
    Category,
    Installation,
    MerchandisingRule,
    Placement,
    Product,
    ProductListing,
    ProductVariant,
    Stock,
    VariantPrice,
)
from saleor_personalize.recommendations import merchandising, service
from saleor_personalize.segments.definition import InvalidDefinition
from tests.api.conftest import ANONYMOUS, Ask
from tests.api.test_placements import ONE, PAGE, Recs, asker, ids, of_type, price, refer
from tests.catalogue import Phones, gid

FIELDS = (
    "id name isActive effect conditions placements channels factor slot startsAt endsAt position"
)
CREATE = f"""mutation($input: MerchandisingRuleInput!) {{
  merchandisingRuleCreate(input: $input) {{ rule {{ {FIELDS} }} faults {{ path message }} }}
}}"""
UPDATE = f"""mutation($id: ID!, $input: MerchandisingRuleInput!) {{
  merchandisingRuleUpdate(id: $id, input: $input) {{ rule {{ {FIELDS} }} faults {{ path message }} }}
}}"""
PREVIEW = """query($placement: String!, $draft: MerchandisingRuleInput, $rule: ID) {
  merchandisingPreview(placement: $placement, channel: "us", draft: $draft, ruleId: $rule) {
    places { productId name before after rules { name } } effects { rule { name } count }
    faults { path message }
  }
}"""
#: All eight products, the newest first.
NEWEST = "by_newest"

Rule = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _placement(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "PLACEMENTS": {NEWEST: ["curated", "catalogue"]},
    }


@pytest.fixture
def recs(gql: Ask) -> Recs:
    return asker(gql)


@pytest.fixture
def rule(gql: Ask, installation: Installation) -> Rule:
    """`rule(effect, conditions, **values)`: made by the shop's server; it must be accepted."""

    def make(effect: str, conditions: Any = None, **values: Any) -> dict[str, Any]:
        given = {
            "name": effect,
            "effect": effect,
            "conditions": json.dumps(conditions or {}),
            **values,
        }
        answer = gql(CREATE, {"input": given}, token=installation.auth_token).data
        found = answer["merchandisingRuleCreate"]
        assert found["faults"] == []
        made: dict[str, Any] = found["rule"]
        return made

    return make


def names(shop: Phones, rows: Any) -> list[str]:
    called = {
        getattr(shop, name): name
        for name in ["phone", "mini", "case", "charger", "cable", "lamp", "bulb", "stand"]
    }
    return [called[id_] for id_ in ids(rows)]


EVERYTHING = ["stand", "bulb", "lamp", "cable", "charger", "case", "mini", "phone"]


def test_b34_exclude_include_boost_bury_and_pin(recs: Recs, shop: Phones, rule: Rule) -> None:
    def shown() -> list[str]:
        return names(shop, recs(NEWEST))

    assert shown() == EVERYTHING
    made = rule("EXCLUDE", {"product_ids": [shop.stand]})
    assert shown() == EVERYTHING[1:]
    MerchandisingRule.objects.filter(pk=made["id"]).delete()
    service.forget()

    made = rule("INCLUDE", {"categories": [gid("Category", "Chargers"), gid("Category", "Cases")]})
    assert shown() == ["cable", "charger", "case"]
    MerchandisingRule.objects.filter(pk=made["id"]).delete()
    service.forget()

    rule("BOOST", {"categories": [gid("Category", "Phones")]}, factor=10)
    assert shown()[:2] == ["mini", "phone"]
    rule("BURY", {"product_ids": [shop.stand]}, factor=50)
    assert shown()[-1] == "stand"
    rule("PIN", {"product_ids": [shop.stand]}, slot=3)
    assert shown()[2] == "stand"
    row = recs(NEWEST)[2]
    assert row["strategy"] == "pinned"
    assert row["reason"] == {"code": "PINNED", "text": "Recommended by the shop"}
    assert len(shown()) == 8


def test_b34_a_pin_stays_in_its_place_whatever_another_one_moves(
    recs: Recs, shop: Phones, rule: Rule
) -> None:
    """The stand stood before both places; a rule whose product is pinned already takes its next one."""
    rule("PIN", {"product_ids": [shop.mini]}, slot=2)
    rule("PIN", {"product_ids": [shop.stand]}, slot=5)
    rule("PIN", {"product_ids": [shop.stand, shop.phone]}, slot=4)
    shown = names(shop, recs(NEWEST))
    assert shown == ["bulb", "mini", "lamp", "phone", "stand", "cable", "charger", "case"]


def test_b34_a_pin_keeps_its_place_among_the_blocks_of_a_page(
    gql: Ask, shop: Phones, rule: Rule
) -> None:
    rule("PIN", {"product_ids": [shop.phone]}, slot=3, placements=["trending"])
    blocks = gql(
        PAGE, {"placements": ["trending", "new_arrivals"], "first": 4}, anonymous_id=ANONYMOUS
    ).data["recommendationPage"]
    assert [len(block["items"]) for block in blocks] == [4, 4]
    assert ids(blocks[0]["items"])[2] == shop.phone
    assert shop.phone not in ids(blocks[1]["items"])


def test_b34_of_two_pins_for_one_place_the_first_counts(
    recs: Recs, shop: Phones, rule: Rule
) -> None:
    rule("PIN", {"product_ids": [shop.case]}, slot=2, position=2)
    rule("PIN", {"product_ids": [shop.lamp]}, slot=2, position=1)
    assert names(shop, recs(NEWEST))[:4] == ["stand", "lamp", "case", "bulb"]


@pytest.mark.parametrize(
    ("conditions", "gone"),
    [
        ({"product_types": ["Lamp"]}, {"lamp", "bulb"}),
        ({"categories": [gid("Category", "Light")]}, {"lamp", "bulb", "stand"}),
        ({"collections": ["Q29sbGVjdGlvbjox"]}, {"case"}),
        ({"attributes": [{"attribute": "color", "values": ["Red", "Blue"]}]}, {"cable"}),
        ({"price": {"at_least": 50}}, {"mini"}),
        ({"price": {"at_most": 5}}, {"charger"}),
        ({"stock": {"at_most": 2}}, {"phone"}),
        ({"margin": {"at_most": 10}}, {"stand"}),
        ({"product_types": ["Lamp"], "price": {"at_least": 50}}, set()),
    ],
)
def test_b34_a_rule_speaks_of_products_by_what_they_are(
    recs: Recs,
    shop: Phones,
    rule: Rule,
    now: datetime,
    conditions: Any,
    gone: set[str],
) -> None:
    installation = shop.installation
    Category.objects.create(
        installation=installation, saleor_id=gid("Category", "Light"), name="Light"
    )
    Category.objects.filter(name="Lamps").update(parent_saleor_id=gid("Category", "Light"))
    of_type(shop, "Lamp", shop.lamp, shop.bulb)
    products = Product.objects.of(installation)
    products.filter(saleor_id=shop.case).update(collection_saleor_ids=["Q29sbGVjdGlvbjox"])
    products.filter(saleor_id=shop.cable).update(
        attributes=[{"attribute": "color", "values": ["Blue"]}]
    )
    price(shop, mini=60, charger=5)
    for number, quantity in ((1, 3), (2, 5)):
        Stock.objects.create(
            installation=installation,
            variant_saleor_id=gid("ProductVariant", number),
            warehouse_saleor_id="w",
            quantity=quantity,
            quantity_allocated=1,
            recorded_at=now,
        )
    # What is not counted, or of unknown cost, is no match.
    ProductVariant.objects.exclude(
        saleor_id__in=[gid("ProductVariant", 1), gid("ProductVariant", 2)]
    ).update(is_stock_tracked=False)
    for number, cost in ((8, 19), (7, 10)):
        VariantPrice.objects.create(
            installation=installation,
            variant_saleor_id=gid("ProductVariant", number),
            channel_slug="us",
            currency="USD",
            price=20,
            discounted_price=20,
            cost_price=cost,
            recorded_at=now,
        )
    rule("EXCLUDE", conditions)
    assert set(EVERYTHING) - set(names(shop, recs(NEWEST))) == gone


def test_b34_only_where_and_when_it_is_meant(
    recs: Recs,
    shop: Phones,
    rule: Rule,
    now: datetime,
) -> None:
    everything = {"product_ids": [shop.phone]}
    rule("EXCLUDE", everything, placements=["home"])
    rule("EXCLUDE", everything, channels=["pl"])
    rule("EXCLUDE", everything, isActive=False)
    rule("EXCLUDE", everything, endsAt=now.isoformat())
    rule("EXCLUDE", everything, startsAt=(now + timedelta(hours=1)).isoformat())
    assert shop.phone in ids(recs(NEWEST))
    assert shop.phone not in ids(recs("home"))
    assert ids(recs(NEWEST, channel="pl")) == [shop.charger]
    with time_machine.travel(now + timedelta(hours=1), tick=False):
        assert shop.phone not in ids(recs(NEWEST))


def test_b43_country_season_and_weather(recs: Recs, shop: Phones, rule: Rule) -> None:
    rule("PIN", {"product_ids": [shop.lamp], "countries": ["NO"]})
    rule("PIN", {"product_ids": [shop.case], "situation": {"weather": ["rain", "snow"]}})
    rule("PIN", {"product_ids": [shop.cable], "months": [3], "countries": ["PL"]})
    rule("PIN", {"product_ids": [shop.phone], "months": [7]})

    def first(**asked: Any) -> list[str]:
        return names(shop, recs(NEWEST, first=1, **asked))

    assert first() == ["stand"]
    assert first(country="no") == ["lamp"]
    assert first(country="PL") == ["cable"]
    assert first(situation=[{"name": "weather", "value": "rain"}]) == ["case"]
    assert first(situation=[{"name": "weather", "value": "sun"}]) == ["stand"]


def test_b34_nothing_that_cannot_be_bought_is_pinned_or_let_through(
    recs: Recs,
    shop: Phones,
    rule: Rule,
) -> None:
    rule("PIN", {"product_ids": [shop.phone, gid("Product", "unknown")]})
    rule("INCLUDE", {"product_ids": [shop.phone, shop.case]})
    assert names(shop, recs(NEWEST)) == ["phone", "case"]
    assert names(shop, recs(NEWEST, product=shop.phone)) == ["case"], "never the product itself"
    ProductListing.objects.filter(product_saleor_id=shop.phone).update(is_in_stock=False)
    assert names(shop, recs(NEWEST)) == ["case"]
    # A rule that leaves nothing is left aside: the block is never empty.
    ProductListing.objects.filter(product_saleor_id=shop.case).update(is_in_stock=False)
    assert names(shop, recs(NEWEST)) == ["stand", "bulb", "lamp", "cable", "charger", "mini"]


def test_b34_what_was_chosen_by_hand_is_not_moved_by_a_boost(
    recs: Recs,
    shop: Phones,
    rule: Rule,
) -> None:
    refer(shop, shop.phone, "goes-with", shop.bulb)
    rule("BOOST", {"product_ids": [shop.case]}, factor=100)
    assert names(shop, recs(NEWEST, product=shop.phone))[:2] == ["bulb", "case"]


def test_b34_a_preview_shows_before_and_after_with_the_effect_of_each_rule(
    gql: Ask, shop: Phones, rule: Rule, now: datetime, installation: Installation
) -> None:
    rule("EXCLUDE", {"product_ids": [shop.bulb]}, name="No bulbs")
    draft = {
        "name": "Phones first",
        "effect": "BOOST",
        "factor": 10,
        "conditions": json.dumps({"categories": [gid("Category", "Phones")]}),
        "startsAt": (now + timedelta(days=7)).isoformat(),
    }
    answer = gql(
        PREVIEW, {"placement": NEWEST, "draft": draft}, token=installation.auth_token
    ).data["merchandisingPreview"]
    assert answer["faults"] == []
    assert answer["effects"] == [
        {"rule": {"name": "No bulbs"}, "count": 1},
        {"rule": {"name": "Phones first"}, "count": 2},
    ]
    places = [(row["name"], row["before"], row["after"]) for row in answer["places"]]
    assert places[0] == ("Aurora phone mini", 7, 1)
    assert places[1] == ("Aurora phone", 8, 2)
    assert places[-1] == ("Bright bulb", 2, None)
    assert answer["places"][-1]["rules"] == [{"name": "No bulbs"}]
    # Nothing was saved by looking.
    assert MerchandisingRule.objects.count() == 1
    first = gql(ONE, {"placement": NEWEST, "first": 1}, anonymous_id=ANONYMOUS).data
    assert ids(first["recommendations"]) == [shop.stand]


def test_b34_a_rule_is_changed_and_deleted(
    gql: Ask,
    recs: Recs,
    shop: Phones,
    rule: Rule,
    installation: Installation,
) -> None:
    made = rule("EXCLUDE", {"product_ids": [shop.stand]})
    token = {"token": installation.auth_token}
    changed = gql(
        UPDATE,
        {"id": made["id"], "input": {"conditions": json.dumps({"product_ids": [shop.bulb]})}},
        **token,
    ).data["merchandisingRuleUpdate"]
    assert (changed["faults"], changed["rule"]["effect"]) == ([], "EXCLUDE")
    assert names(shop, recs(NEWEST)) == ["stand", *EVERYTHING[2:]]
    listed = gql(f"{{ merchandisingRules {{ {FIELDS} }} }}", **token).data["merchandisingRules"]
    assert [row["id"] for row in listed] == [made["id"]]
    gone = "mutation($id: ID!) { merchandisingRuleDelete(id: $id) { ok } }"
    assert gql(gone, {"id": made["id"]}, **token).data["merchandisingRuleDelete"] == {"ok": True}
    assert names(shop, recs(NEWEST)) == EVERYTHING


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"name": " "}, "name"),
        ({"conditions": '{"colour": ["x"]}'}, "conditions.colour"),
        ({"conditions": '{"product_ids": []}'}, "conditions.product_ids"),
        ({"conditions": '{"price": {"at_least": 5, "at_most": 1}}'}, "conditions.price"),
        ({"conditions": '{"price": {"at_least": NaN}}'}, "conditions.price"),
        ({"conditions": '{"months": [13]}'}, "conditions.months"),
        ({"conditions": '{"attributes": [{"attribute": 1}]}'}, "conditions.attributes"),
        ({"conditions": '{"situation": {"weather": "rain"}}'}, "conditions.situation"),
        ({"conditions": "[]"}, "conditions"),
        ({"placements": ["hone"]}, "placements"),
        ({"effect": "BOOST", "factor": 1}, "factor"),
        ({"effect": "PIN", "slot": 0, "conditions": '{"product_ids": ["UHJvZHVjdDox"]}'}, "slot"),
        ({"effect": "PIN"}, "conditions.product_ids"),
        ({"startsAt": "2026-05-02T00:00:00Z", "endsAt": "2026-05-01T00:00:00Z"}, "ends_at"),
        # What an effect does not use is stored all the same.
        ({"slot": 40_000}, "slot"),
        ({"factor": 0.5}, "factor"),
        ({"position": -1}, "position"),
        ({"position": 2_000_000_000}, "position"),
        ({"conditions": '{"product_types": ["a\\u0000b"]}'}, "conditions"),
        ({"conditions": '{"product_ids": ["Oak stand"]}'}, "conditions.product_ids"),
        ({"conditions": '{"product_ids": ["UHJvZHVjdFZhcmlhbnQ6MQ=="]}'}, "conditions.product_ids"),
        ({"conditions": '{"categories": ["UHJvZHVjdDox"]}'}, "conditions.categories"),
        ({"conditions": '{"collections": ["summer"]}'}, "conditions.collections"),
        ({"effect": "EXCLUDE"}, "conditions"),
        ({"effect": "EXCLUDE", "conditions": '{"countries": ["NO"]}'}, "conditions"),
        ({"conditions": '{"product_types": ["\\ud800"]}'}, "conditions"),
        ({"conditions": json.dumps({"situation": {"x" * 300_000: ["rain"]}})}, "conditions"),
    ],
)
def test_b34_a_faulty_rule_is_refused_with_its_place(
    gql: Ask, shop: Phones, installation: Installation, values: dict[str, Any], path: str
) -> None:
    given = {"name": "Mine", "effect": "BOOST", "conditions": "{}", **values}
    answer = gql(CREATE, {"input": given}, token=installation.auth_token).data
    found = answer["merchandisingRuleCreate"]
    assert found["rule"] is None
    assert [fault["path"] for fault in found["faults"]] == [path]
    assert MerchandisingRule.objects.count() == 0


def test_b34_two_edits_at_once_cannot_make_a_rule_that_no_single_one_could(
    gql: Ask, shop: Phones, rule: Rule, installation: Installation, now: datetime
) -> None:
    """Each was read before the other one was written."""
    made = rule("EXCLUDE", {"product_ids": [shop.stand]})
    first, second = (MerchandisingRule.objects.get(pk=made["id"]) for _ in range(2))
    merchandising.update_rule(rule=first, now=now, effect="pin")
    with pytest.raises(InvalidDefinition) as refused:
        merchandising.update_rule(rule=second, now=now, conditions={})
    assert [fault.path for fault in refused.value.faults] == ["conditions.product_ids"]
    stored = MerchandisingRule.objects.get()
    assert (stored.effect, stored.conditions) == ("pin", {"product_ids": [shop.stand]})
    merchandising.delete_rule(rule=first)
    with pytest.raises(InvalidDefinition):
        merchandising.update_rule(rule=second, now=now, name="Back again")
    assert MerchandisingRule.objects.count() == 0


def test_b43_countries_are_the_same_in_small_letters(recs: Recs, shop: Phones, rule: Rule) -> None:
    rule("EXCLUDE", {"product_ids": [shop.stand], "countries": ["de"]})
    assert shop.stand not in ids(recs(NEWEST, country="de"))
    assert shop.stand not in ids(recs(NEWEST, country="DE"))
    assert shop.stand in ids(recs(NEWEST, country="FR"))


@pytest.mark.parametrize(
    "options",
    [
        {"window_days": 10**9},
        {"window_days": 0},
        {"curated": ["a\x00b"]},
        {"curated": ["x" * 300_000]},
    ],
    ids=["far", "none", "NUL", "long"],
)
def test_placements_that_could_never_be_asked_are_refused(
    gql: Ask, shop: Phones, installation: Installation, options: dict[str, Any]
) -> None:
    query = """mutation($options: JSONString) {
      placementSave(key: "mine", recommenders: ["best_sellers"], options: $options) { faults { path } } }"""
    answer = gql(query, {"options": json.dumps(options)}, token=installation.auth_token).data
    assert answer["placementSave"]["faults"] == [{"path": "entry"}]
    assert Placement.objects.count() == 0


def test_b34_rules_are_for_servers_of_the_shop_alone(
    gql: Ask, shop: Phones, rule: Rule, other_installation: Installation, token_of: Any
) -> None:
    made = rule("EXCLUDE", {"product_ids": [shop.stand]})
    for asked in ({"anonymous_id": ANONYMOUS}, {"token": token_of("VXNlcjox")}):
        assert gql("{ merchandisingRules { id } }", **asked).refusal == (200, "FORBIDDEN")
        given = {"input": {"name": "x", "effect": "EXCLUDE", "conditions": "{}"}}
        assert gql(CREATE, given, **asked).refusal == (200, "FORBIDDEN")
    theirs = {"shop": other_installation, "token": other_installation.auth_token}
    assert gql("{ merchandisingRules { id } }", **theirs).data == {"merchandisingRules": []}
    refused = gql(UPDATE, {"id": made["id"], "input": {"name": "y"}}, **theirs).refusal
    assert refused == (200, "NOT_FOUND")
    assert MerchandisingRule.objects.get().name == "EXCLUDE"


def test_placements_are_made_overridden_and_taken_back(
    gql: Ask,
    recs: Recs,
    shop: Phones,
    installation: Installation,
) -> None:
    save = """mutation($key: String!, $list: [String!]!, $options: JSONString) {
      placementSave(key: $key, recommenders: $list, options: $options) {
        placement { key recommenders } faults { path message } } }"""
    token = {"token": installation.auth_token}
    options = json.dumps({"in_category": True})
    saved = gql(save, {"key": "home", "list": ["catalogue"], "options": options}, **token).data
    assert saved["placementSave"] == {
        "placement": {"key": "home", "recommenders": ["catalogue"]},
        "faults": [],
    }
    assert ids(recs("home", category=gid("Category", "Cases"), first=1)) == [shop.case]
    refused = gql(save, {"key": "Home!", "list": ["simlar"], "options": '{"x": 1}'}, **token).data
    paths = [fault["path"] for fault in refused["placementSave"]["faults"]]
    assert paths == ["entry", "entry", "key"]
    assert "Did you mean 'similar'?" in str(refused)
    listed = gql("{ placements { key recommenders } }", **token).data["placements"]
    assert {"key": "home", "recommenders": ["catalogue"]} in listed
    gone = 'mutation { placementDelete(key: "home") { ok } }'
    assert gql(gone, **token).data == {"placementDelete": {"ok": True}}
    assert gql(gone, **token).data == {"placementDelete": {"ok": False}}
    assert ids(recs("home", category=gid("Category", "Cases"), first=1)) == [shop.stand]
