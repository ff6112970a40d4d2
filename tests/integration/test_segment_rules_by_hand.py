"""What each rule means, told a second time in plain Python over plain data (B15).

The contract of rules compares SQL with `matches`; both share the code that picks the facts. Here the facts
are picked by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saleor_personalize.segments.rules import People, Rule, known_rules
from saleor_personalize.testing import contracts
from saleor_personalize.testing.contracts import NOW, PRODUCTS

Person = list[Mapping[str, Any]]
BELOW = {"category-1": {"category-1", "category-2"}, "category-2": {"category-2"}}


def facts(person: Person, kind: str) -> list[Mapping[str, Any]]:
    return [fact for part in person for fact in part[kind]]


def recent(found: list[Mapping[str, Any]], days: int | None) -> list[Mapping[str, Any]]:
    return [fact for fact in found if not days or fact["age"] < timedelta(days=days)]


def between(number: Any, low: Any, high: Any) -> bool:
    return (low is None or number >= low) and (high is None or number <= high)


def same(wanted: str, value: str) -> bool:
    return not wanted or wanted == value


def in_category(wanted: str, product: str) -> bool:
    below = BELOW.get(wanted, {wanted})
    return not wanted or PRODUCTS.get(product) in below


def trait(rule: Any, person: Person) -> bool:
    def holds(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        match rule.condition:
            case "exists":
                return value is not None
            case "equals" if isinstance(value, bool):
                return rule.value == ("true" if value else "false")
            case "equals":
                text = format(Decimal(str(value)), "f") if is_number else value
                return isinstance(text, str) and text == rule.value
            case "contains":
                return isinstance(value, str | list) and rule.value in value
            case "at_least":
                return is_number and Decimal(str(value)) >= Decimal(rule.value)
        return is_number and Decimal(str(value)) <= Decimal(rule.value)

    return any(holds(part["traits"].get(rule.name)) for part in person)


def language(rule: Any, person: Person) -> bool:
    wanted = rule.code.lower()
    codes = [part["language"].lower().replace("_", "-") for part in person]
    return any(code == wanted or code.startswith(wanted + "-") for code in codes)


def country(rule: Any, person: Person) -> bool:
    return any(part["country"] == rule.code.upper() for part in person)


def consent(rule: Any, person: Person) -> bool:
    said = set()
    for part in person:
        lines = [
            line["state"]
            for line in part["consents"]
            if (line["purpose"], line["channel"]) == (rule.purpose, rule.delivery_channel)
        ]
        said |= set(lines[-1:])
    for state in ("denied", "pending", "granted"):
        if state in said:
            return bool(rule.state == state)
    return bool(rule.state == "never_asked")


def event(rule: Any, person: Person) -> bool:
    def counts(fact: Mapping[str, Any]) -> bool:
        given = fact["properties"]
        inner = given.get("properties", {})
        value = given.get(rule.property, inner.get(rule.property))
        viewed = given.get("category_id") in BELOW.get(rule.category, {rule.category})
        return (
            fact["type"] == rule.type
            and same(rule.product, fact["product"])
            and same(rule.channel, fact["channel"])
            and (in_category(rule.category, fact["product"]) or viewed)
            and (not rule.property or value is not None)
            and (not rule.value or str(value) == rule.value)
        )

    found = [fact for fact in recent(facts(person, "events"), rule.days) if counts(fact)]
    return between(len(found), rule.at_least, rule.at_most)


def visit(rule: Any, person: Person) -> bool:
    def counts(fact: Mapping[str, Any]) -> bool:
        first, last, hour = rule.hour_from, rule.hour_to, fact["hour"]
        hours = {h % 24 for h in range(first, last + 1 + (24 if last < first else 0))} if (
            first is not None
        ) else {hour}  # fmt: skip
        return (
            same(rule.device, fact["device"])
            and same(rule.utm_source, fact["utm"].get("source", ""))
            and same(rule.utm_campaign, fact["utm"].get("campaign", ""))
            and same(rule.country, fact["country"])
            and same(rule.channel, fact["channel"])
            and hour in hours
        )

    found = [fact for fact in recent(facts(person, "visits"), rule.days) if counts(fact)]
    return between(len(found), rule.at_least, rule.at_most)


def orders(rule: Any, person: Person) -> list[Mapping[str, Any]]:
    return [
        fact
        for fact in facts(person, "orders")
        if fact["status"] in {"FULFILLED", "UNFULFILLED"}
        and not fact["is_deleted"]
        and same(rule.channel, fact["channel"])
        and same(rule.origin, fact["origin"])
    ]


def order_count(rule: Any, person: Person) -> bool:
    return between(len(recent(orders(rule, person), rule.days)), rule.at_least, rule.at_most)


def total_spent(rule: Any, person: Person) -> bool:
    found = recent(orders(rule, person), rule.days)
    total = sum(fact["total"] for fact in found if fact["currency"] == rule.currency)
    return between(total, rule.at_least, rule.at_most)


def last_order(rule: Any, person: Person) -> bool:
    ages = [fact["age"] for fact in orders(rule, person)]
    if not ages:
        return False
    age = min(ages)
    day = (NOW - age).date()
    return (
        (rule.before is None or day < rule.before)
        and (rule.after is None or day >= rule.after)
        and (rule.days_ago_at_least is None or age >= timedelta(days=rule.days_ago_at_least))
        and (rule.days_ago_at_most is None or age < timedelta(days=rule.days_ago_at_most))
    )


def bought(rule: Any, person: Person) -> bool:
    found = [
        fact
        for fact in recent(orders(rule, person), rule.days)
        if same(rule.currency, fact["currency"])
        and any(
            same(rule.product, product)
            and in_category(rule.category, product)
            and between(price, rule.price_from, rule.price_to)
            for product, price in fact["lines"]
        )
    ]
    return between(len(found), rule.at_least, rule.at_most)


def favourites(rule: Any, person: Person) -> bool:
    facts = [
        fact
        for part in person
        for fact in {each["product"]: each for each in part["favourites"]}.values()
    ]
    # Removed just now, so after whatever another part of the person added.
    removed = {fact["product"] for fact in facts if fact["is_removed"]}
    kept = [
        fact
        for fact in facts
        if fact["product"] not in removed
        and same(rule.product, fact["product"])
        and in_category(rule.category, fact["product"])
    ]
    found = {fact["product"] for fact in recent(kept, rule.days)}
    return between(len(found), rule.at_least, rule.at_most)


def open_checkout(rule: Any, person: Person) -> bool:
    return any(
        not fact["is_closed"]
        and not fact["is_deleted"]
        and fact["products"]
        and same(rule.currency, fact["currency"])
        and same(rule.channel, fact["channel"])
        and (rule.total_at_least is None or fact["total"] >= rule.total_at_least)
        and (not rule.product or rule.product in fact["products"])
        and (not rule.idle_hours or fact["age"] >= timedelta(hours=rule.idle_hours))
        for fact in facts(person, "checkouts")
    )


def computed(person: Person) -> Mapping[str, Any]:
    return person[0]["computed"] or {}


def stage(rule: Any, person: Person) -> bool:
    return bool(computed(person).get("stage") == rule.stage)


def score(rule: Any, person: Person) -> bool:
    found = computed(person).get("score")
    return found is not None and between(found, rule.at_least, rule.at_most)


def churn_risk(rule: Any, person: Person) -> bool:
    found = computed(person).get("risk")
    return found is not None and between(round(found * 100), rule.at_least, rule.at_most)


def segment(rule: Any, person: Person) -> bool:
    return any(part["is_member"] for part in person)


MEANING: dict[str, Callable[[Any, Person], bool]] = {
    "trait": trait, "language": language, "country": country, "consent": consent, "event": event,
    "visit": visit, "order_count": order_count, "total_spent": total_spent, "last_order": last_order,
    "bought": bought, "favourites": favourites, "open_checkout": open_checkout, "stage": stage,
    "score": score, "churn_risk": churn_risk, "segment": segment,
}  # fmt: skip


def test_b15_every_rule_has_its_meaning_here() -> None:
    assert MEANING.keys() == known_rules().keys()


#: What some of the random people have.
TEXTS = {
    "language": ("de", "DE-AT", "pl", "fr"),
    "country": ("DE", "pl", "FR"),
    "trait": ("tier", "points", "7", "gold", "3", "3.5", "true", "0.0000001"),
    "total_spent": ("USD", "EUR", "us"),
    "bought": ("USD", "EUR", "us"),
    "visit": ("gold", "us", "DE"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("rule", known_rules().values(), ids=known_rules())
def test_b15_a_rule_means_what_is_told_here(rule: type[Rule]) -> None:
    seen: set[bool] = set()

    @settings(
        max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        people=contracts.random_people,
        found=contracts.random_rules(rule, TEXTS.get(rule.key, ())),
        at=st.just(NOW),
    )
    def agree(people: list[Person], found: Any, at: datetime) -> None:
        with transaction.atomic():
            world = contracts.World(people)
            inside = set(found.as_queryset(People(world.installation, at)))
            for person in people:
                first = world.profiles.pop(0)
                del world.profiles[: len(person) - 1]
                means = MEANING[found.key](found, person)
                assert (first in inside) == means, found
                seen.add(means)
            transaction.set_rollback(True)

    agree()
    assert seen == {True, False}, "nobody matched, or everybody: the test says nothing"
