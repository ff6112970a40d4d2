"""Segments as they are kept: who is in, who enters and leaves, and when (B15)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saleor_personalize import signals
from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EventSource,
    EventType,
    IdentityKind,
    Purpose,
)
from saleor_personalize.events import operations as events
from saleor_personalize.events import tracking
from saleor_personalize.models import (
    ChangedProfile,
    Consent,
    Event,
    Identity,
    Installation,
    Profile,
    Segment,
    SegmentMembership,
)
from saleor_personalize.profiles import consent
from saleor_personalize.profiles.changes import mark_changed
from saleor_personalize.project.celeryconf import app as celery
from saleor_personalize.saleor_api.nodes import CustomerData
from saleor_personalize.segments import operations, queries
from saleor_personalize.segments.definition import (
    AllOf,
    AnyOf,
    InvalidDefinition,
    Not,
    from_json,
    matches,
    matching,
)
from saleor_personalize.segments.evaluation import Moves
from saleor_personalize.segments.rules import (
    ConsentGiven,
    EventCount,
    InSegment,
    Language,
    OpenCheckout,
    OrderCount,
    People,
    Trait,
    known_rules,
)
from saleor_personalize.tasks.segments import evaluate_segments
from saleor_personalize.testing import contracts
from tests.catalogue import Catalogue
from tests.conftest import make_installation, make_profile
from tests.integration.reminders import checkout_data, order_data, run_threads

VIEWERS = EventCount(type="product_viewed", at_least=2, days=7)
HOUR = timedelta(hours=1)


def view(profile: Profile, at: datetime, number: int = 0) -> None:
    Event.objects.create(
        installation=profile.installation,
        profile=profile,
        event_id=f"{profile.pk}-{at.isoformat()}-{number}",
        type="product_viewed",
        occurred_at=at,
        received_at=at,
        source="storefront",
        product_saleor_id="product-1",
    )
    mark_changed(installation=profile.installation, profiles=[profile], now=at)


def make(
    installation: Installation, definition: Any, now: datetime, key: str = "viewers"
) -> Segment:
    segment = operations.create_segment(
        installation=installation, key=key, name=key, definition=definition, now=now
    )
    operations.evaluate_due(now=now)
    segment.refresh_from_db()
    return segment


def tick(now: datetime) -> None:
    """What beat asks for every few seconds."""
    operations.evaluate_due(now=now)
    operations.evaluate_clock(now=now)
    while operations.evaluate_changed(now=now):
        pass


def inside(segment: Segment) -> set[int]:
    return set(queries.members(segment=segment).values_list("pk", flat=True))


@pytest.fixture
def told() -> Iterator[list[tuple[str, str, int]]]:
    """What integrators hear: (in or out, segment, person)."""
    heard: list[tuple[str, str, int]] = []

    def entered(segment: Segment, profile: Profile, **_: Any) -> None:
        heard.append(("in", segment.key, profile.pk))

    def left(segment: Segment, profile: Profile, **_: Any) -> None:
        heard.append(("out", segment.key, profile.pk))

    signals.segment_entered.connect(entered)
    signals.segment_left.connect(left)
    yield heard
    signals.segment_entered.disconnect(entered)
    signals.segment_left.disconnect(left)


def test_b15_people_enter_by_what_they_do_and_leave_by_the_clock(
    installation: Installation,
    alice: Profile,
    bob: Profile,
    now: datetime,
    told: list[Any],
    run_on_commit: Callable[..., Any],
) -> None:
    view(bob, now - HOUR)
    view(bob, now - 2 * HOUR)
    with run_on_commit():
        segment = make(installation, VIEWERS, now)
        tick(now)
    assert inside(segment) == {bob.pk}
    # Nobody did anything when the segment was made.
    assert told == []

    view(alice, now)
    view(alice, now + timedelta(minutes=1))
    with run_on_commit():
        tick(now + timedelta(minutes=1))
    assert inside(segment) == {alice.pk, bob.pk}
    assert told == [("in", "viewers", alice.pk)]
    assert ChangedProfile.objects.count() == 0

    # Exactly seven days after Bob's first view, and not a moment before.
    with run_on_commit():
        tick(now - 2 * HOUR + timedelta(days=7, microseconds=-1))
    assert inside(segment) == {alice.pk, bob.pk}
    with run_on_commit():
        tick(now - 2 * HOUR + timedelta(days=7))
    assert inside(segment) == {alice.pk}
    assert told[1:] == [("out", "viewers", bob.pk)]
    stay = SegmentMembership.objects.get(profile=bob)
    assert stay.entered_at == now
    assert stay.left_at == now - 2 * HOUR + timedelta(days=7)

    # Coming back is another stay.
    later = now + timedelta(days=6)
    view(bob, later)
    with run_on_commit():
        tick(now + timedelta(days=6, hours=23))
    assert inside(segment) == {alice.pk}, "one view is not two"
    view(bob, later + HOUR)
    with run_on_commit():
        tick(now + timedelta(days=7, hours=2))
    assert inside(segment) == {bob.pk}
    assert told[2:] == [("out", "viewers", alice.pk), ("in", "viewers", bob.pk)]
    assert SegmentMembership.objects.filter(profile=bob).count() == 2


def test_b15_only_people_who_changed_are_looked_at(
    installation: Installation, alice: Profile, bob: Profile, now: datetime
) -> None:
    segment = make(installation, VIEWERS, now)
    view(alice, now)
    view(alice, now, 1)
    view(bob, now)
    view(bob, now, 1)
    ChangedProfile.objects.filter(profile=bob).delete()
    tick(now)
    assert inside(segment) == {alice.pk}
    # What no change told is found when everybody is looked at again.
    tick(now + operations.FULL_EVALUATION_EVERY)
    assert inside(segment) == {alice.pk, bob.pk}


def test_b15_a_change_recorded_meanwhile_is_not_lost(
    installation: Installation, alice: Profile, bob: Profile, now: datetime
) -> None:
    make(installation, VIEWERS, now)
    for person in (alice, alice, bob):
        mark_changed(installation=installation, profiles=[person], now=now)
    assert operations.evaluate_changed(now=now, limit=2) == 2
    assert ChangedProfile.objects.get().profile == bob
    assert operations.evaluate_changed(now=now, limit=2) == 1
    assert operations.evaluate_changed(now=now, limit=2) == 0


def test_b15_facts_of_all_profiles_of_a_person_count_together(
    installation: Installation,
    alice: Profile,
    carol: Profile,
    now: datetime,
    told: list[Any],
    run_on_commit: Callable[..., Any],
) -> None:
    segment = make(installation, VIEWERS, now)
    view(alice, now)
    view(carol, now)
    tick(now)
    assert inside(segment) == set()
    Profile.objects.filter(pk=carol.pk).update(merged_into=alice)
    mark_changed(installation=installation, profiles=[carol], now=now)
    with run_on_commit():
        tick(now)
    assert inside(segment) == {alice.pk}
    carol.refresh_from_db()
    assert [row.segment.key for row in queries.segments_of(carol)] == ["viewers"]
    # Split again, neither of them saw two products.
    Profile.objects.filter(pk=carol.pk).update(merged_into=None)
    mark_changed(installation=installation, profiles=[carol, alice], now=now)
    with run_on_commit():
        tick(now)
    assert inside(segment) == set()
    assert told == [("in", "viewers", alice.pk), ("out", "viewers", alice.pk)]


@pytest.mark.parametrize("is_alice_in", [True, False])
def test_b15_becoming_one_person_neither_leaves_nor_enters(
    installation: Installation,
    alice: Profile,
    carol: Profile,
    now: datetime,
    told: list[Any],
    run_on_commit: Callable[..., Any],
    is_alice_in: bool,
) -> None:
    for person in (alice, carol) if is_alice_in else (carol,):
        view(person, now)
        view(person, now, 1)
    segment = make(installation, VIEWERS, now)
    Profile.objects.filter(pk=carol.pk).update(merged_into=alice)
    mark_changed(installation=installation, profiles=[carol], now=now)
    with run_on_commit():
        tick(now + HOUR)
    assert inside(segment) == {alice.pk}
    assert told == []
    assert SegmentMembership.objects.filter(left_at=None).get().entered_at == now
    assert SegmentMembership.objects.count() == 1 + is_alice_in


def test_b15_who_refuses_profiling_is_in_no_segment(
    installation: Installation, alice: Profile, bob: Profile, now: datetime
) -> None:
    segment = make(installation, AllOf(), now)
    assert inside(segment) == {alice.pk, bob.pk}
    Consent.objects.create(
        installation=installation,
        profile=alice,
        purpose="profiling",
        state="denied",
        source="test",
        recorded_at=now,
    )
    mark_changed(installation=installation, profiles=[alice], now=now)
    tick(now)
    assert inside(segment) == {bob.pk}
    assert not matches(AllOf(), alice, now)


def test_b15_another_shop_is_another_world(
    installation: Installation,
    other_installation: Installation,
    alice: Profile,
    dave: Profile,
    now: datetime,
) -> None:
    mine = make(installation, AllOf(), now)
    theirs = make(other_installation, AllOf(), now)
    assert (inside(mine), inside(theirs)) == ({alice.pk}, {dave.pk})
    view(dave, now)
    operations.evaluate_changed(now=now)
    assert inside(mine) == {alice.pk}
    with pytest.raises(InvalidDefinition):
        operations.create_segment(
            installation=other_installation,
            key="x",
            name="x",
            definition=InSegment(segment="nothing-here"),
            now=now,
        )


# -- segments that build on others -------------------------------------------------------------------


def test_b15_a_segment_follows_the_one_it_builds_on(
    installation: Installation, alice: Profile, bob: Profile, now: datetime
) -> None:
    make(installation, VIEWERS, now)
    others = make(installation, Not(InSegment(segment="viewers")), now, key="others")
    assert inside(others) == {alice.pk, bob.pk}
    view(alice, now)
    view(alice, now, 1)
    tick(now)
    assert inside(others) == {bob.pk}
    # The clock moves Alice out of the first, and so into the second, at the same tick.
    tick(now + timedelta(days=7))
    assert inside(others) == {alice.pk, bob.pk}
    # So does a new definition of the first.
    viewers = Segment.objects.get(key="viewers")
    operations.update_segment(segment=viewers, definition=AllOf(), now=now + timedelta(days=8))
    tick(now + timedelta(days=8))
    tick(now + timedelta(days=8))
    assert inside(others) == set()


def test_b15_segments_build_no_circle_and_none_is_deleted_under_another(
    installation: Installation, now: datetime
) -> None:
    first = make(installation, AllOf(), now, key="first")
    second = make(installation, InSegment(segment="first"), now, key="second")
    third = make(installation, AnyOf(InSegment(segment="second")), now, key="third")
    for target in (first, second):
        with pytest.raises(InvalidDefinition) as refused:
            operations.update_segment(
                segment=target, definition=AnyOf(InSegment(segment="third")), now=now
            )
        assert [fault.path for fault in refused.value.faults] == ["definition.any[0].segment"]
    with pytest.raises(InvalidDefinition, match="cannot build on itself"):
        operations.update_segment(segment=first, definition=InSegment(segment="first"), now=now)
    with pytest.raises(InvalidDefinition, match="Did you mean first"):
        operations.update_segment(segment=third, definition=InSegment(segment="frist"), now=now)
    with pytest.raises(InvalidDefinition, match="“second” builds on this segment"):
        operations.delete_segment(segment=first)
    first.refresh_from_db()
    assert first.definition == {"all": []}
    operations.delete_segment(segment=third)
    operations.delete_segment(segment=second)
    operations.delete_segment(segment=first)
    assert not Segment.objects.exists()


# -- what goes wrong ---------------------------------------------------------------------------------


def test_b15_a_rule_that_is_gone_holds_up_nobody(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    good = make(installation, VIEWERS, now)
    assert good.full_evaluation_due_at is not None
    assert 0.75 <= (good.full_evaluation_due_at - now) / operations.FULL_EVALUATION_EVERY <= 1
    broken = make(installation, AllOf(), now, key="broken")
    Segment.objects.filter(pk=broken.pk).update(definition={"rule": "gone"})
    view(alice, now)
    view(alice, now, 1)
    tick(now + HOUR)
    assert inside(good) == {alice.pk}
    assert inside(broken) == {alice.pk}, "it stays as it was"
    assert not queries.lag(now=now + HOUR).is_late
    assert "there is no rule “gone”" in queries.description(
        segment=Segment.objects.get(pk=broken.pk)
    )


def test_b15_a_segment_that_is_switched_off_stays_as_it_is(
    installation: Installation, alice: Profile, bob: Profile, now: datetime
) -> None:
    segment = make(installation, VIEWERS, now)
    operations.update_segment(segment=segment, is_active=False, now=now)
    view(alice, now)
    view(alice, now, 1)
    tick(now)
    assert inside(segment) == set()
    assert queries.segments_of(alice) == []
    operations.update_segment(segment=segment, is_active=True, now=now)
    tick(now)
    assert inside(segment) == {alice.pk}


def test_b15_many_people_at_one_move_of_the_clock(
    installation: Installation, alice: Profile, bob: Profile, now: datetime, monkeypatch: Any
) -> None:
    """Workers were down: everybody is looked at instead of a long list."""
    for person in (alice, bob):
        view(person, now)
        view(person, now, 1)
    segment = make(installation, VIEWERS, now)
    monkeypatch.setattr(operations, "MAX_MOVED", 1)
    assert operations.evaluate_clock(now=now + timedelta(days=8)) == Moves(entered=0, left=2)
    assert inside(segment) == set()


# -- how far behind ----------------------------------------------------------------------------------


def test_b15_the_lag_is_the_age_of_the_oldest_thing_not_looked_at(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    assert queries.lag(installation=installation, now=now) == queries.Lag(0, 0, 0, timedelta(0))
    segment = make(installation, VIEWERS, now)
    assert queries.lag(now=now + timedelta(seconds=10)).behind == timedelta(seconds=10)
    view(alice, now - timedelta(seconds=90))
    lag = queries.lag(installation=installation, now=now)
    assert (lag.waiting, lag.behind, lag.is_late) == (1, timedelta(seconds=90), True)
    tick(now)
    assert queries.lag(installation=installation, now=now) == queries.Lag(1, 0, 0, timedelta(0))
    operations.update_segment(segment=segment, definition=AllOf(), now=now)
    assert queries.lag(now=now + HOUR) == queries.Lag(1, 0, 1, HOUR)


def test_b15_live_count_and_sample_of_a_definition_that_is_not_saved(
    installation: Installation, alice: Profile, bob: Profile, dave: Profile, now: datetime
) -> None:
    Profile.objects.filter(pk=bob.pk).update(language_code="DE_AT")
    found = queries.preview(installation=installation, definition=AllOf(), now=now)
    assert (found.count, list(found.sample)) == (2, [bob, alice])
    german = queries.preview(installation=installation, definition=Language(code="de"), now=now)
    assert (german.count, list(german.sample)) == (1, [bob])
    assert not Segment.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


# -- definitions -------------------------------------------------------------------------------------

_ALL_RULES = st.one_of([contracts.random_rules(rule) for rule in known_rules().values()])
_DEFINITIONS = st.recursive(
    _ALL_RULES,
    lambda parts: (
        st.lists(parts, max_size=3).map(lambda found: AllOf(*found))
        | st.lists(parts, max_size=3).map(lambda found: AnyOf(*found))
        | parts.map(Not)
    ),
    max_leaves=5,
)


@pytest.mark.django_db
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(people=contracts.random_people, definition=_DEFINITIONS, minutes=st.integers(1, 20_000))
def test_b15_sql_and_one_person_agree_on_random_people_and_nested_rules(
    people: Any, definition: Any, minutes: int
) -> None:
    now = contracts.NOW
    assert from_json(definition.to_json()) == definition
    with transaction.atomic():
        world = contracts.World(people)
        everybody = set(matching(definition, People(world.installation, now)))
        one_by_one = {p for p in world.profiles if matches(definition, p, now)}
        assert everybody == {p for p in one_by_one if p.merged_into is None}
        # The clock alone: whoever changes is found without looking at everybody.
        later = People(world.installation, now + timedelta(minutes=minutes))
        changed = {p.pk for p in everybody ^ set(matching(definition, later))}
        told = {
            id_ for rows in definition.moved(later, now) for (id_,) in rows.values_list("person")
        }
        assert changed <= told
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("given_json", "path", "text"),
    [
        ([], "", "as an object"),
        ({}, "", "exactly one of"),
        ({"al": []}, "", "Did you mean all?"),
        ({"all": [], "any": []}, "", "exactly one of"),
        ({"all": {}}, "all", "a list is needed"),
        ({"not": []}, "not", "as an object"),
        ({"all": [{"any": [{"rule": "evnt"}]}]}, "all[0].any[0].rule", "Did you mean event?"),
        ({"rule": "trait", "nmae": "x"}, "nmae", "Did you mean name?"),
        ({"rule": "trait", "condition": "exists"}, "name", "this is needed"),
        ({"rule": "event", "type": "product_view", "at_least": 1}, "type", "Did you mean product_viewed?"),
        ({"rule": "event", "type": "searched"}, "at_least", "say how often"),
        ({"rule": "event", "type": "searched", "at_least": -1}, "at_least", "whole number"),
        ({"rule": "event", "type": "searched", "at_least": True}, "at_least", "whole number"),
        ({"rule": "event", "type": "searched", "at_least": 3, "at_most": 2}, "at_most", "less than"),
        ({"not": {"rule": "order_count", "at_least": 1, "days": 0}}, "not.days", "from 1 to 3650"),
        ({"rule": "total_spent", "currency": "EUR", "at_least": "NaN"}, "at_least", "49.90"),
        ({"rule": "total_spent", "currency": "EUR", "at_least": "1.2345"}, "at_least", "49.90"),
        ({"rule": "last_order", "before": "31.1.2026"}, "before", "2026-01-31"),
        ({"rule": "bought", "at_least": 1, "price_from": "5"}, "currency", "needs its currency"),
        ({"rule": "country", "code": "a\x00"}, "code", "printable"),
        ({"rule": "trait", "name": "points", "condition": "at_least", "value": "x"}, "value", "number"),
        ({"rule": 7}, "rule", "there is no rule"),
    ],
)  # fmt: skip
def test_b15_a_fault_says_where_it_is_and_what_was_meant(
    given_json: Any, path: str, text: str
) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        from_json(given_json)
    assert path in {fault.path for fault in refused.value.faults}
    assert text in str(refused.value)


def test_b15_every_fault_is_told_at_once(installation: Installation, now: datetime) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        operations.create_segment(
            installation=installation,
            key="Big Spenders",
            name=" ",
            definition={"all": [{"rule": "order_count"}, {"rule": "nothing"}]},
            now=now,
        )
    assert [fault.path for fault in refused.value.faults] == [
        "name", "key", "definition.all[0].at_least", "definition.all[1].rule",
    ]  # fmt: skip
    assert not Segment.objects.exists()


@pytest.mark.parametrize(
    "deep",
    [{"not": {}}, {"all": [{"rule": "order_count", "at_least": 1}] * 51}],
    ids=["deep", "wide"],
)
def test_b15_no_definition_is_endless(deep: dict[str, Any]) -> None:
    value: Any = deep
    for _ in range(100 if "not" in deep else 0):
        value = {"not": value}
    with pytest.raises(InvalidDefinition, match=r"nested 8 deep|at most 50 rules"):
        from_json(value)


def test_b15_a_definition_reads_as_a_sentence(installation: Installation, now: datetime) -> None:
    catalogue = Catalogue(installation, now)
    lamp = catalogue.product(6, "Desk lamp")
    segment = make(
        installation,
        AllOf(
            EventCount(type="product_viewed", at_least=3, days=7, product=lamp),
            Not(OrderCount(at_least=1)),
            AnyOf(Language(code="de"), Trait(name="tier", condition="equals", value="gold")),
        ),
        now,
    )
    assert queries.description(segment=segment) == (
        "Events: viewed a product, at least 3 times, in the last 7 days, product Desk lamp and "
        "not (Orders: at least 1 time) and (Language: de or Trait: “tier”, is, “gold”)"
    )


def test_b15_a_category_holds_those_below_it(
    installation: Installation, alice: Profile, bob: Profile, now: datetime
) -> None:
    catalogue = Catalogue(installation, now)
    parent, child = catalogue.category("Clothes"), catalogue.category("Shirts")
    child.parent_saleor_id = parent.saleor_id
    child.save()
    shirt = catalogue.product(1, "Shirt", category="Shirts")
    lamp = catalogue.product(2, "Lamp")
    catalogue.order(shirt, profile=alice, days_ago=3)
    catalogue.order(lamp, profile=bob, days_ago=3)
    segment = make(
        installation, {"rule": "bought", "at_least": 1, "category": parent.saleor_id}, now
    )
    assert inside(segment) == {alice.pk}


def test_a_person_made_by_name_only_matches_nothing_by_accident(
    installation: Installation, now: datetime
) -> None:
    nobody = make_profile(installation, anonymous_id="3f0d6e0e-nobody")
    for rule in (OrderCount(at_least=1), Language(code="de"), VIEWERS):
        assert not rule.matches(nobody, now)
    assert OrderCount(at_most=0).matches(nobody, now)


# -- whatever is recorded is noticed -----------------------------------------------------------------


def test_b15_a_persons_facts_reach_the_segments_from_the_doors_that_record_them(
    installation: Installation, now: datetime
) -> None:
    """Views, carts, orders, customers and permissions, each through the operation that records it."""
    Catalogue(installation, now).channel("us")
    looked = make(installation, EventCount(type="searched", at_least=1), now, key="looked")
    carts = make(installation, OpenCheckout(), now, key="carts")
    bought = make(installation, OrderCount(at_least=1), now, key="bought")
    french = make(installation, Language(code="fr"), now, key="french")
    asked = ConsentGiven(purpose="marketing", delivery_channel="email", state="granted")
    yes = make(installation, asked, now, key="yes")
    shown = {IdentityKind.SALEOR_USER: "VXNlcjo3"}
    row = tracking.Row("1", EventType.SEARCHED, properties={"query": "lamp"})
    tracking.track(
        installation=installation, shown=shown, rows=[row], source=EventSource.STOREFRONT, now=now
    )
    tick(now)
    person = Identity.objects.get(value="VXNlcjo3").profile
    assert inside(looked) == {person.pk}

    cart = checkout_data("ann", user_id="VXNlcjo3", email="", updated_at=now)
    events.record_checkouts(installation=installation, data=[cart], now=now)
    tick(now)
    assert inside(carts) == {person.pk}

    order = order_data("ann", user_id="VXNlcjo3", checkout_id=cart.id, placed_at=now)
    events.record_orders(installation=installation, data=[order], now=now)
    tick(now)
    assert (inside(carts), inside(bought)) == (set(), {person.pk})

    customer = CustomerData(
        id="VXNlcjo3", email="", first_name="Ann", is_active=True, is_confirmed=True,
        language_code="FR", country_code="FR", joined_at=now, updated_at=now,
    )  # fmt: skip
    events.record_customers(installation=installation, data=[customer], now=now)
    consent.record_yes(profile=person, source="test", now=now)
    tick(now)
    assert (inside(french), inside(yes)) == ({person.pk}, {person.pk})
    consent.record(
        profile=person,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=ConsentState.DENIED,
        source="test",
        now=now,
    )
    tick(now)
    assert inside(yes) == set()


# -- the worker ----------------------------------------------------------------------------------------


def test_b15_beat_asks_often_enough_and_the_task_brings_everything_up_to_now(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    entry = celery.conf.beat_schedule["segments: evaluate"]
    assert entry["task"] == evaluate_segments.name
    assert entry["schedule"] <= queries.PROMISED_LAG.total_seconds() / 3
    operations.create_segment(
        installation=installation, key="viewers", name="Viewers", definition=VIEWERS, now=now
    )
    with time_machine.travel(now, tick=False):
        assert evaluate_segments() == 0
    segment = Segment.objects.get()
    view(alice, now)
    view(alice, now, 1)
    with time_machine.travel(now + timedelta(seconds=10), tick=False):
        assert evaluate_segments() == 2
    assert inside(segment) == {alice.pk}
    with time_machine.travel(now + timedelta(days=7), tick=False):
        assert evaluate_segments() == 0
    assert inside(segment) == set()


def test_b15_a_worker_whose_clock_is_behind_lets_nobody_in_again(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    view(alice, now)
    view(alice, now, 1)
    segment = make(installation, VIEWERS, now)
    ChangedProfile.objects.all().delete()
    operations.evaluate_clock(now=now + timedelta(days=7))
    assert inside(segment) == set()
    mark_changed(installation=installation, profiles=[alice], now=now + timedelta(days=7))
    operations.evaluate_changed(now=now + timedelta(days=7, seconds=-30))
    assert inside(segment) == set()


@pytest.mark.django_db(transaction=True)
def test_b15_two_workers_at_once_let_everybody_in_once(now: datetime) -> None:
    installation = make_installation()
    people = [make_profile(installation, anonymous_id=f"3f0d6e0e-{n:04}") for n in range(40)]
    segment = make(installation, VIEWERS, now)
    for person in people:
        view(person, now)
        view(person, now, 1)

    def work() -> int:
        taken = 0
        # A shop that another worker is busy with is left to that one for the moment.
        while ChangedProfile.objects.exists():
            taken += operations.evaluate_changed(now=now, limit=7)
        return taken

    taken = run_threads(work, work, work)
    assert sum(taken) == 80
    assert inside(segment) == {person.pk for person in people}
    assert SegmentMembership.objects.count() == 40


def test_b15_who_waits_has_a_turn_between_two_looks_at_everybody(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    for number in range(3):
        operations.create_segment(
            installation=installation, key=f"s{number}", name="S", definition=AllOf(), now=now
        )
    assert operations.evaluate_due(now=now, limit=1) == 1
    assert Segment.objects.exclude(evaluated_at=None).get().key == "s0"
    assert operations.evaluate_due(now=now) == 2
    assert operations.evaluate_due(now=now) == 0
    with time_machine.travel(now + operations.FULL_EVALUATION_EVERY, tick=False):
        evaluate_segments()
        assert operations.evaluate_due(now=now + operations.FULL_EVALUATION_EVERY) == 0


def test_b15_a_segment_that_cannot_be_evaluated_is_tried_again_and_holds_up_nobody(
    installation: Installation, alice: Profile, now: datetime, monkeypatch: Any, caplog: Any
) -> None:
    good, bad = make(installation, VIEWERS, now), make(installation, AllOf(), now, key="bad")
    real = operations.evaluate

    def evaluate(segment: Segment, *arguments: Any, **options: Any) -> Moves:
        if segment.key == "bad":
            with connection.cursor() as cursor:
                cursor.execute("SELECT 'alice@example.com'::int")
        return real(segment, *arguments, **options)

    monkeypatch.setattr(operations, "evaluate", evaluate)
    view(alice, now)
    view(alice, now, 1)
    operations.evaluate_changed(now=now)
    assert inside(good) == {alice.pk}
    bad.refresh_from_db()
    assert bad.full_evaluation_due_at == now
    operations.evaluate_due(now=now)
    bad.refresh_from_db()
    assert bad.full_evaluation_due_at == now + operations.RETRY_AFTER
    # What the database quotes may be about a person: only the kind of fault is told.
    assert "InvalidTextRepresentation" in caplog.text
    assert "alice@example.com" not in caplog.text
