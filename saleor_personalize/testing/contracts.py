"""Contract tests for plug-ins: subclass, name your class, run with pytest.

class TestMyRule(RuleTests):
    rule = MyRule
    texts = ("gold", "silver")  # values to try for its texts

class TestMyRecommender(RecommenderTests):
    recommender = MyRecommender
    options = {"weight": 2.0}  # for its __init__

class TestMyTrigger(TriggerTests):
    trigger = MyTrigger
    definition = "my_journey.yaml"

class TestMyChannel(ChannelTests):  # TextMessageChannelTests for SMS and WhatsApp
    def provider(self, mood): ...  # a server on loopback in that mood, and your channel pointed at it
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saleor_personalize.enums import InstallationStatus, JourneySource, Reply
from saleor_personalize.exceptions import ChannelError, MalformedPayload, WebhookRejected
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.definitions import Definition
from saleor_personalize.journeys.queries import RELATED
from saleor_personalize.journeys.triggers import (
    CheckoutChanged,
    Fact,
    OrderChanged,
    Trigger,
    trigger_of,
)
from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage
from saleor_personalize.messaging.channels.sms import Callback, TextMessageChannel, Written
from saleor_personalize.messaging.texts import reply_of
from saleor_personalize.ml import (
    Candidate,
    Context,
    Engine,
    InteractionEvent,
    Interactions,
    Items,
    NotTrained,
    Recommender,
)
from saleor_personalize.models import (
    Category,
    Checkout,
    ComputedTraits,
    Consent,
    Enrollment,
    Event,
    Favourite,
    Installation,
    Journey,
    Order,
    OrderLine,
    Product,
    Profile,
    Segment,
    SegmentMembership,
    Session,
)
from saleor_personalize.segments.rules import Kind, Parameter, People, Rule

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
#: Ages of facts: inside, outside and exactly at the windows that are tried.
_AGES = tuple(
    timedelta(days=days, seconds=seconds)
    for days, seconds in ((0, 5), (1, -1), (1, 0), (1, 1), (6, 0), (7, 0), (7, 1), (29, 0), (31, 0))
)
PRODUCTS = {"product-1": "category-1", "product-2": "category-2", "product-3": "category-3"}
_TEXTS = ("gold", "us", "DE", "de", "USD", "tier", "points", "7", "3", "3.5", "query", "true")
_VALUES = ("gold", "silver", "gold card", 3, 3.5, -1, 1e-7, True, None, ["gold", 3], {"gold": 1})

age = st.sampled_from(_AGES)
product = st.sampled_from([*PRODUCTS, "product-9", ""])
text = st.sampled_from(["", "us", "pl"])
amount = st.sampled_from([Decimal("0.00"), Decimal("9.99"), Decimal("10.00"), Decimal("250.00")])
currency = st.sampled_from(["USD", "EUR"])


def _fact(**parts: Any) -> Any:
    return st.lists(st.fixed_dictionaries({"age": age, **parts}), max_size=2)


#: One profile of a person, as plain data.
profile_facts = st.fixed_dictionaries(
    {
        "traits": st.dictionaries(
            st.sampled_from(["tier", "points", "7"]), st.sampled_from(_VALUES), max_size=2
        ),
        "language": st.sampled_from(["", "de", "DE_AT", "den", "pl"]),
        "country": st.sampled_from(["", "DE", "PL"]),
        "events": _fact(
            type=st.sampled_from(["product_viewed", "category_viewed", "searched", "custom"]),
            product=product,
            channel=text,
            properties=st.sampled_from(
                [
                    {},
                    {"category_id": "category-2"},
                    {"query": "gold"},
                    {"query": 3, "tier": None},
                    {"properties": {"tier": "gold"}},
                ]
            ),
        ),
        "visits": _fact(
            device=st.sampled_from(["", "mobile", "desktop"]),
            utm=st.sampled_from([{}, {"source": "gold"}, {"source": "us", "campaign": "gold"}]),
            country=st.sampled_from(["", "DE"]),
            channel=text,
            hour=st.sampled_from([None, 0, 7, 12, 23]),
        ),
        "orders": _fact(
            status=st.sampled_from(["FULFILLED", "UNFULFILLED", "CANCELED", "EXPIRED"]),
            is_deleted=st.sampled_from([False, False, True]),
            origin=st.sampled_from(["saleor", "offline"]),
            channel=text,
            currency=currency,
            total=amount,
            lines=st.lists(st.tuples(product, amount), max_size=2),
        ),
        "favourites": _fact(product=st.sampled_from([*PRODUCTS]), is_removed=st.booleans()),
        "checkouts": _fact(
            is_closed=st.booleans(),
            is_deleted=st.sampled_from([False, False, True]),
            currency=currency,
            total=amount,
            channel=text,
            products=st.lists(product, max_size=2),
        ),
        "consents": _fact(
            purpose=st.sampled_from(["marketing", "marketing", "profiling"]),
            channel=st.sampled_from(["email", "email", "push"]),
            state=st.sampled_from(["granted", "denied", "pending"]),
        ),
        "computed": st.none()
        | st.fixed_dictionaries(
            {
                "stage": st.sampled_from(["prospect", "new", "active", "lapsed"]),
                "score": st.sampled_from([None, 1, 3, 5]),
                "risk": st.sampled_from([None, 0.0, 0.3, 0.7, 1.0]),
            }
        ),
        "is_member": st.booleans(),
    }
)
#: A shop's people; each is one to three profiles, the first of which speaks for the person.
random_people = st.lists(st.lists(profile_facts, min_size=1, max_size=3), min_size=1, max_size=4)


class World:
    """A shop in the database with random people."""

    def __init__(self, people: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        self.count = 0
        self.installation = Installation.objects.create(
            saleor_api_url="https://contract.saleor.test/graphql/",
            app_id="contract",
            auth_token="contract",  # noqa: S106 (of a made-up shop)
            status=InstallationStatus.ACTIVE,
            status_changed_at=NOW,
            installed_at=NOW,
        )
        for key, parent in (("1", ""), ("2", "category-1"), ("3", "")):
            self._make(Category, saleor_id=f"category-{key}", name=key, parent_saleor_id=parent)
        for id_, category in PRODUCTS.items():
            self._make(Product, saleor_id=id_, name=id_, category_saleor_id=category)
        self.segment = self._make(
            Segment, key="us", name="us", definition={"all": []}, created_at=NOW, updated_at=NOW
        )
        self.profiles: list[Profile] = []
        self.rows: dict[Any, list[Any]] = {}
        for parts in people:
            first: Profile | None = None
            for facts in parts:
                made = self._profile(facts, first)
                first = first or made
        for model, rows in self.rows.items():
            model.objects.bulk_create(rows)

    def _make(self, model: Any, **values: Any) -> Any:
        return model.objects.create(installation=self.installation, **values)

    def _add(self, model: Any, **values: Any) -> None:
        """Make a row that nothing else points to, together with the others of its kind."""
        self.rows.setdefault(model, []).append(model(installation=self.installation, **values))

    def _number(self) -> str:
        self.count += 1
        return str(self.count)

    def _profile(self, facts: Mapping[str, Any], first: Profile | None) -> Profile:
        profile: Profile = self._make(
            Profile,
            merged_into=first,
            traits=facts["traits"],
            language_code=facts["language"],
            country_code=facts["country"],
            first_seen_at=NOW,
        )
        self.profiles.append(profile)
        for fact in facts["events"]:
            self._add(
                Event,
                profile=profile,
                event_id=self._number(),
                type=fact["type"],
                occurred_at=NOW - fact["age"],
                received_at=NOW,
                source="storefront",
                product_saleor_id=fact["product"],
                channel_slug=fact["channel"],
                properties=fact["properties"],
            )
        for fact in facts["visits"]:
            self._add(
                Session,
                profile=profile,
                session_id=self._number(),
                started_at=NOW - fact["age"],
                last_seen_at=NOW - fact["age"],
                device_type=fact["device"],
                utm=fact["utm"],
                country_code=fact["country"],
                channel_slug=fact["channel"],
                local_hour=fact["hour"],
            )
        for fact in facts["orders"]:
            self._order(profile, fact)
        for favourite in {fact["product"]: fact for fact in facts["favourites"]}.values():
            self._add(
                Favourite,
                profile=profile,
                product_saleor_id=favourite["product"],
                added_at=NOW - favourite["age"],
                removed_at=NOW if favourite["is_removed"] else None,
            )
        for fact in facts["checkouts"]:
            self._add(
                Checkout,
                profile=profile,
                saleor_id=self._number(),
                token=self._number(),
                channel_slug=fact["channel"],
                currency=fact["currency"],
                total=fact["total"],
                lines=[{"product_id": id_, "quantity": 1} for id_ in fact["products"]],
                last_changed_at=NOW - fact["age"],
                closed_at=NOW if fact["is_closed"] else None,
                deleted_at=NOW if fact["is_deleted"] else None,
            )
        for fact in facts["consents"]:
            self._add(
                Consent,
                profile=profile,
                purpose=fact["purpose"],
                delivery_channel="" if fact["purpose"] == "profiling" else fact["channel"],
                state=fact["state"],
                source="contract",
                recorded_at=NOW - fact["age"],
            )
        if facts["computed"] is not None:
            self._add(
                ComputedTraits,
                profile=profile,
                stage=facts["computed"]["stage"],
                recency_score=facts["computed"]["score"],
                frequency_score=facts["computed"]["score"],
                monetary_score=facts["computed"]["score"],
                churn_risk=facts["computed"]["risk"],
                computed_at=NOW,
            )
        if facts["is_member"]:
            self._add(SegmentMembership, segment=self.segment, profile=profile, entered_at=NOW)
        return profile

    def _order(self, profile: Profile, fact: Mapping[str, Any]) -> None:
        order = self._make(
            Order,
            profile=profile,
            saleor_id=self._number(),
            status=fact["status"],
            deleted_at=NOW if fact["is_deleted"] else None,
            origin=fact["origin"],
            channel_slug=fact["channel"],
            currency=fact["currency"],
            total=fact["total"],
            placed_at=NOW - fact["age"],
        )
        for id_, price in fact["lines"]:
            self._add(
                OrderLine,
                order=order,
                saleor_id=self._number(),
                product_saleor_id=id_,
                quantity=1,
                unit_price=price,
            )


def values_of(described: Parameter, texts: Sequence[str] = ()) -> Any:
    """Return a strategy for values of a parameter, found from what the rule says of itself."""
    if described.kind == Kind.CHOICE:
        found: Any = st.sampled_from(list(described.choices))
    elif described.kind == Kind.INTEGER:
        low = described.minimum or 0
        high = described.maximum if described.maximum is not None else low + 3
        found = st.sampled_from([n for n in (low, low + 1, 2, 7, 30, high) if low <= n <= high])
    elif described.kind == Kind.AMOUNT:
        found = amount
    elif described.kind == Kind.DATE:
        found = st.sampled_from([date(2026, 3, 1), date(2026, 3, 2), date(2026, 2, 1)])
    else:
        named = {
            "product": [*PRODUCTS],
            "category": ["category-1", "category-2", "category-9"],
            "segment": ["us"],
        }
        tried = named.get(described.names) or texts or _TEXTS
        found = st.sampled_from(list(tried))
    return found if described.is_required else st.sampled_from([None, None]) | found


def random_rules(rule: type[Rule], texts: Sequence[str] = ()) -> Any:
    """Return a strategy for usable rules of one class."""

    def make(values: dict[str, Any]) -> Rule | None:
        try:
            return rule(**values)
        except Exception:
            # Values that are wrong together: a rule may refuse them.
            return None

    parts = {name: values_of(part, texts) for name, part in rule.parameters().items()}
    return st.fixed_dictionaries(parts).map(make).filter(lambda found: found is not None)


@pytest.mark.django_db
class RuleTests:
    """What every rule of a segment keeps to. Give `rule`, and `texts` to try for its texts."""

    rule: ClassVar[type[Rule]]
    texts: ClassVar[Sequence[str]] = ()

    def test_it_describes_itself(self) -> None:
        assert self.rule.key
        assert self.rule.key.isidentifier()
        assert str(self.rule.title)
        assert dataclasses.is_dataclass(self.rule)
        for name, described in self.rule.parameters().items():
            assert name != "rule"
            assert str(described.label)
            assert (described.kind == Kind.CHOICE) == bool(described.choices)

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_it_reads_what_it_writes_and_says_so_in_words(self, data: Any) -> None:
        found = data.draw(random_rules(self.rule, self.texts))
        written = found.to_json()
        assert written.pop("rule") == self.rule.key
        assert self.rule(**written) == found
        assert found.description().startswith(str(self.rule.title))

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(people=random_people, data=st.data())
    def test_sql_and_the_answer_for_one_person_agree(self, people: Any, data: Any) -> None:
        found = data.draw(random_rules(self.rule, self.texts))
        with transaction.atomic():
            world = World(people)
            everybody = set(found.as_queryset(People(world.installation, NOW)))
            one_by_one = {p for p in world.profiles if found.matches(p, NOW)}
            assert everybody == {p for p in one_by_one if p.merged_into is None}, found
            # Every profile of a person gets the answer of the person.
            assert {p.person_id for p in one_by_one} == {p.pk for p in everybody}, found
            # Asked about some, SQL looks at nobody else.
            some = [p for p in world.profiles if p.person_id == world.profiles[0].pk]
            few = People(world.installation, NOW, tuple(p.pk for p in some))
            assert set(found.as_queryset(few)) == everybody & set(some), found
            transaction.set_rollback(True)

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(people=random_people, data=st.data(), minutes=st.sampled_from([1, 60, 3_000, 20_000]))
    def test_it_knows_whom_the_clock_moves(self, people: Any, data: Any, minutes: int) -> None:
        found = data.draw(random_rules(self.rule, self.texts))
        later = NOW + timedelta(minutes=minutes)
        with transaction.atomic():
            world = World(people)
            before = set(found.as_queryset(People(world.installation, NOW)))
            at_last = People(world.installation, later)
            changed = {p.pk for p in before ^ set(found.as_queryset(at_last))}
            told = {
                id_ for rows in found.moved(at_last, NOW) for (id_,) in rows.values_list("person")
            }
            assert changed <= told, found
            transaction.set_rollback(True)


#: Events of a shop: visitor, item, kind, day, order (0 for none), visit (0 for unknown), price.
shop_events = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 7),
        st.sampled_from(list(InteractionEvent)),
        st.integers(0, 20),
        st.integers(0, 6),
        st.integers(0, 4),
        st.sampled_from([math.nan, 0.0, 9.99]),
    ),
    max_size=40,
)
#: What somebody asks, also about items and people that nobody has seen.
contexts = st.builds(
    Context,
    session=st.lists(st.integers(0, 9).map(str), max_size=4).map(tuple),
    seeds=st.lists(st.integers(0, 9).map(str), max_size=2).map(tuple),
    exclude=st.lists(st.integers(0, 9).map(str), max_size=3).map(frozenset),
    visitor_id=st.none() | st.integers(0, 7).map("v{}".format),
    now=st.none() | st.integers(0, 30).map(lambda day: NOW.timestamp() + 86_400 * day),
)


def shop_of(rows: Sequence[tuple[Any, ...]]) -> tuple[Interactions, Items]:
    """Make a shop of `shop_events`; items 8 and 9 are in the catalogue and have no event."""
    visitors, items, kinds, days, orders, visits, prices = (
        zip(*rows, strict=True) if rows else [()] * 7
    )
    interactions = Interactions.of(
        visitor_id=[f"v{visitor}" for visitor in visitors],
        item_id=[str(item) for item in items],
        event=list(kinds),
        timestamp=[NOW.timestamp() + 86_400 * day for day in days],
        # An order belongs to one visitor.
        order_id=[
            f"o{visitor}-{order}" if order and kind == InteractionEvent.PURCHASE else None
            for visitor, order, kind in zip(visitors, orders, kinds, strict=True)
        ],
        session_id=[
            f"s{visitor}-{visit}" if visit else None
            for visitor, visit in zip(visitors, visits, strict=True)
        ],
        price=list(prices),
    )
    catalogue = Items.of(
        [str(item) for item in range(10)],
        created_at=[NOW.timestamp() + item for item in range(10)],
        name=[f"{('linen shirt', 'desk lamp', '')[item % 3]} {item}" for item in range(10)],
        category=["clothes" if item % 2 else "lights" for item in range(10)],
    )
    return interactions, catalogue


_few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


class RecommenderTests:
    """What every recommender keeps to. Give `recommender`, and `options` for its `__init__`."""

    recommender: ClassVar[type[Recommender]]
    options: ClassVar[Mapping[str, Any]] = {}

    def _fitted(self, rows: Sequence[tuple[Any, ...]]) -> Recommender:
        return self.recommender(**self.options).fit(*shop_of(rows))

    @_few
    @given(rows=shop_events, context=contexts, k=st.integers(1, 12))
    def test_its_answer_is_a_ranking_of_what_may_be_shown(
        self, rows: Any, context: Context, k: int
    ) -> None:
        found = self._fitted(rows).recommend(context, k)

        ids = [candidate.item_id for candidate in found]
        assert len(ids) == len(set(ids)) <= k
        assert set(ids) <= {str(item) for item in range(10)} - context.exclude - set(context.seeds)
        assert found == sorted(found, key=lambda candidate: (-candidate.score, candidate.item_id))
        for candidate in found:
            assert isinstance(candidate, Candidate)
            assert math.isfinite(candidate.score)
            assert candidate.reason_code

    @_few
    @given(rows=shop_events, context=contexts)
    def test_a_longer_answer_begins_with_the_shorter_one(self, rows: Any, context: Context) -> None:
        fitted = self._fitted(rows)
        longest = [candidate.item_id for candidate in fitted.recommend(context, 10_000)]
        for k in (1, 3):
            assert [candidate.item_id for candidate in fitted.recommend(context, k)] == longest[:k]

    @_few
    @given(rows=shop_events, context=contexts)
    def test_the_same_data_gives_the_same_answer_also_from_a_folder(
        self, rows: Any, context: Context
    ) -> None:
        first, second = self._fitted(rows), self._fitted(rows)
        expected = first.recommend(context, 10)
        assert second.recommend(context, 10) == expected
        with TemporaryDirectory() as folder:
            first.save(Path(folder) / "saved")
            loaded = self.recommender.load(Path(folder) / "saved")
            assert loaded.recommend(context, 10) == expected
            assert loaded.get_params() == first.get_params()
        # A second fit forgets the first.
        assert second.fit(*shop_of([])).recommend(context, 10) == self._fitted([]).recommend(
            context, 10
        )

    @_few
    @given(rows=shop_events)
    def test_what_it_learns_is_plain_arrays_and_its_options_are_json(self, rows: Any) -> None:
        fitted = self._fitted(rows)
        for name, array in fitted.arrays.items():
            assert name.isidentifier()
            assert array.dtype.kind != "O"
        assert json.loads(json.dumps(fitted.get_params())) == fitted.get_params()
        assert type(self.recommender(**fitted.get_params())) is self.recommender
        assert type(fitted.sibling()) is self.recommender

    @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rows=shop_events, asked=st.lists(contexts, min_size=20, max_size=20))
    def test_threads_may_ask_at_once(self, rows: Any, asked: list[Context]) -> None:
        fitted = self._fitted(rows)
        alone = [fitted.recommend(context, 5) for context in asked]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda context: fitted.recommend(context, 5), asked)) == alone

    def test_before_it_has_learned_it_says_so(self) -> None:
        with pytest.raises(NotTrained):
            self.recommender(**self.options).recommend(Context(), 1)
        with pytest.raises(ValueError, match="k must be at least 1"):
            self._fitted([]).recommend(Context(), 0)

    def test_the_engine_takes_it(self) -> None:
        engine = Engine(recommenders={"mine": self.recommender(**self.options)}, tune=False)
        assert engine.fit(*shop_of([])).aliases == ("mine",)


# -- triggers ----------------------------------------------------------------------------------------


@dataclasses.dataclass
class TriggerCase:
    """A shop with one person in it who allows everything, and a live journey."""

    installation: Installation
    profile: Profile
    journey: Journey

    def observe(self, fact: Fact, *, now: datetime = NOW) -> list[Enrollment]:
        """Tell the journey of a fact."""
        return journeys.observe(fact=fact, now=now)


class TriggerTests:
    """Subclass, name your trigger and its journey, and let somebody come in.

    class TestMyTrigger(TriggerTests):
        trigger = MyTrigger
        definition = "my_journey.yaml"  # a path, or the text itself

        def come_in(self, case):
            case.observe(OrderChanged(...), now=NOW)
    """

    trigger: ClassVar[type[Trigger]]
    definition: ClassVar[str]

    def come_in(self, case: TriggerCase) -> None:
        """Make happen what brings `case.profile` in, at NOW or soon after; telling it twice must be safe."""
        raise NotImplementedError

    def prepare(self, installation: Installation) -> None:
        """Make what the journey names, such as a segment: without it, it does not go live."""

    def _loaded(self) -> Definition:
        is_path = "\n" not in self.definition
        text = Path(self.definition).read_text() if is_path else self.definition
        return definitions.load(
            text, known=dataclasses.replace(journeys.known(), templates=_Anything())
        )

    @pytest.fixture
    def case(self, db: None, settings: Any) -> TriggerCase:
        from django.conf import settings as django_settings

        mine = getattr(django_settings, "SALEOR_PERSONALIZE", {})
        path = f"{self.trigger.__module__}.{self.trigger.__qualname__}"
        with_it = {**mine.get("TRIGGERS", {}), self.trigger.key: path}
        settings.SALEOR_PERSONALIZE = {**mine, "TRIGGERS": with_it}
        shop = Installation.objects.create(
            saleor_api_url="https://trigger.saleor.test/graphql/",
            app_id="app",
            auth_token="token",  # noqa: S106
            status=InstallationStatus.ACTIVE,
            status_changed_at=NOW,
            installed_at=NOW,
        )
        profile = Profile.objects.create(installation=shop, first_seen_at=NOW)
        self.prepare(shop)
        definition = self._loaded()
        version = journeys.publish(
            installation=shop, definition=definition, source=JourneySource.FILE, now=NOW
        )
        rows = Journey.objects.of(shop).select_related("published", "installation")
        journey = rows.get(pk=version.journey_id)
        journeys.go_live(journey=journey, now=NOW - timedelta(days=1))
        return TriggerCase(shop, profile, journey)

    def test_it_is_told_in_settings_and_definitions(self, case: TriggerCase) -> None:
        definition = self._loaded()
        assert definition.trigger.type == self.trigger.key
        assert definitions.parse(definition.to_json()) == definition
        found = trigger_of(definition.trigger)
        assert type(found) is self.trigger
        assert dataclasses.is_dataclass(found.options)

    def test_somebody_comes_in_once_however_often_it_is_told(self, case: TriggerCase) -> None:
        self.come_in(case)
        (row,) = Enrollment.objects.of(case.installation)
        assert row.profile in case.profile.person()
        assert row.due_at >= row.occurred_at
        for fact in self.facts_again(case):
            case.observe(fact, now=NOW + timedelta(days=1))
        assert Enrollment.objects.of(case.installation).count() == 1

    def facts_again(self, case: TriggerCase) -> Sequence[Fact]:
        """Return facts that are told a second time; by default orders and carts of the shop."""
        return [
            *map(CheckoutChanged, Checkout.objects.of(case.installation)),
            *map(OrderChanged, Order.objects.of(case.installation)),
        ]

    def test_nobody_comes_in_for_what_was_before_it_went_live(self, case: TriggerCase) -> None:
        later = NOW + timedelta(days=365)
        Journey.objects.of(case.installation).update(live_at=later)
        self.come_in(case)
        assert not Enrollment.objects.of(case.installation).exists()

    def test_nothing_personal_is_kept_and_it_is_json(self, case: TriggerCase) -> None:
        self.come_in(case)
        (row,) = Enrollment.objects.of(case.installation)
        assert "@" not in json.dumps(row.context)

    def test_judging_reads_only_and_says_the_same_again(self, case: TriggerCase) -> None:
        self.come_in(case)
        (row,) = Enrollment.objects.of(case.installation).select_related(*RELATED)
        trigger = trigger_of(self._loaded().trigger)
        at = row.due_at
        with CaptureQueriesContext(connection) as seen:
            first = trigger.judge(row, None, at)
            again = trigger.judge(row, None, at)
        assert first == again
        texts = [query["sql"] for query in seen.captured_queries if query["sql"]]
        told = [text.split(maxsplit=1)[0] for text in texts]
        assert {word.strip("(") for word in told} <= {"SELECT", "WITH"}
        about = trigger.about(row)
        assert about.expires_at is None or about.expires_at > at


# -- delivery channels -------------------------------------------------------------------------------


class Mood(StrEnum):
    """What a provider does with a message in a test."""

    TAKES = "takes"
    #: Says for good that nobody has this address.
    REFUSES_ADDRESS = "refuses_address"
    #: Says that it takes nothing now and may later.
    IS_BUSY = "is_busy"
    #: Nobody listens.
    IS_DOWN = "is_down"
    #: Has read the message, and says nothing.
    NEVER_ANSWERS = "never_answers"
    #: Of text messages: says that the owner of the number answered STOP.
    HAS_UNSUBSCRIBED = "has_unsubscribed"


@dataclasses.dataclass
class ProviderCase:
    """A channel, pointed at a provider. `received` returns each message that arrived, as one text."""

    channel: Channel
    received: Callable[[], Sequence[str]] = lambda: ()
    #: Whose account it goes by, where each installation has its own.
    installation_id: int = 0


class ChannelTests:
    """What every delivery channel keeps to, so that nobody gets a message twice and none is lost.

    Subclass, and serve the provider on loopback in the mood asked for. Give the channel a timeout of a
    fraction of a second for NEVER_ANSWERS. Leave out of `moods` what the provider cannot do.

    class TestMyChannel(ChannelTests):
        recipient = "+491711234567"

        @contextmanager
        def provider(self, mood):
            with serving(mood) as server:
                yield ProviderCase(MyChannel(url=server.url, timeout=0.3), lambda: server.bodies)
    """

    recipient: ClassVar[str] = "ann@example.com"
    moods: ClassVar[frozenset[Mood]] = frozenset(Mood)
    #: Loggers of the server on loopback, which may say what it likes.
    loggers_of_provider: ClassVar[tuple[str, ...]] = ()

    def provider(self, mood: Mood) -> AbstractContextManager[ProviderCase]:
        raise NotImplementedError

    def message(self, case: ProviderCase) -> OutgoingMessage:
        """Return a message; its words name no address."""
        return OutgoingMessage(
            key="8a4c3b6de17f4f0a9d2b5c6e7f809112",
            recipient=self.recipient,
            recipients=(self.recipient,),
            sender="Shop <shop@example.com>",
            subject="Still in your cart",
            title="Still in your cart",
            text="Your lamp waits for you.",
            html="<p>Your lamp waits for you.</p>",
            link="https://store.test/checkout",
            installation_id=case.installation_id,
        )

    def _refused(self, mood: Mood, caplog: pytest.LogCaptureFixture) -> ChannelError:
        if mood not in self.moods:
            pytest.skip(f"Its provider never {mood}.")
        caplog.set_level(logging.DEBUG)
        with self.provider(mood) as case, pytest.raises(ChannelError) as caught:
            case.channel.send(self.message(case))
        error = caught.value
        told = f"{error} {error!r} {error.__cause__!r} {self._logged(caplog)}"
        assert self.recipient not in told
        assert str(error)
        return error

    def _logged(self, caplog: pytest.LogCaptureFixture) -> str:
        mine = (row for row in caplog.records if row.name not in self.loggers_of_provider)
        return "\n".join(row.getMessage() for row in mine)

    def test_what_was_taken_has_the_providers_name_and_our_key(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with self.provider(Mood.TAKES) as case:
            message = self.message(case)
            result = case.channel.send(message)
            (arrived,) = case.received()
            assert message.key in arrived
            assert message.text in arrived
            # By the key a provider, a device or a person tells a second copy from a second message.
            again = case.channel.send(message)
            assert all(message.key in each for each in case.received())
            if case.channel.capabilities.is_exactly_once:
                assert again.provider_message_id == result.provider_message_id
                assert len(case.received()) == 1
        assert result.provider_message_id
        assert (result.accepted, result.dead) == (1, ())
        assert self.recipient not in f"{message!r} {result!r} {self._logged(caplog)}"

    def test_nobody_knows_what_became_of_a_message_without_an_answer(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        error = self._refused(Mood.NEVER_ANSWERS, caplog)
        assert (error.is_ambiguous, error.is_permanent) == (True, False)

    def test_a_provider_that_was_not_reached_has_not_got_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        error = self._refused(Mood.IS_DOWN, caplog)
        assert (error.is_ambiguous, error.is_permanent) == (False, False)

    def test_a_busy_provider_is_asked_again_later(self, caplog: pytest.LogCaptureFixture) -> None:
        error = self._refused(Mood.IS_BUSY, caplog)
        assert (error.is_ambiguous, error.is_permanent) == (False, False)

    def test_a_bad_address_is_not_tried_again(self, caplog: pytest.LogCaptureFixture) -> None:
        error = self._refused(Mood.REFUSES_ADDRESS, caplog)
        assert (error.is_ambiguous, error.is_permanent) == (False, True)


class TextMessageChannelTests(ChannelTests):
    """What every delivery channel of text messages keeps to, beside `ChannelTests`.

    Return from `stop_callback` the signed request in which somebody at `recipient` answers STOP.
    """

    recipient: ClassVar[str] = "+491711234567"

    def stop_callback(self) -> Callback:
        raise NotImplementedError

    def message(self, case: ProviderCase) -> OutgoingMessage:
        return dataclasses.replace(
            super().message(case), callback_url="https://personalize.test/webhook/", html=""
        )

    def _channel(self) -> TextMessageChannel:
        with self.provider(Mood.TAKES) as case:
            assert isinstance(case.channel, TextMessageChannel)
            return case.channel

    def test_who_answered_stop_to_the_provider_is_told_apart(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        error = self._refused(Mood.HAS_UNSUBSCRIBED, caplog)
        assert (error.is_permanent, error.has_unsubscribed) == (True, True)
        assert not error.is_address_dead

    def test_a_number_that_nobody_has_is_dead(self, caplog: pytest.LogCaptureFixture) -> None:
        error = self._refused(Mood.REFUSES_ADDRESS, caplog)
        assert (error.is_address_dead, error.has_unsubscribed) == (True, False)

    def test_only_what_the_provider_signed_is_taken(self) -> None:
        channel, callback = self._channel(), self.stop_callback()
        channel.check(callback)
        for changed in (
            dataclasses.replace(callback, body=callback.body + b"&more=1"),
            dataclasses.replace(callback, headers={}),
        ):
            with pytest.raises(WebhookRejected) as caught:
                channel.check(changed)
            assert self.recipient not in str(caught.value)

    def test_an_answer_is_read_from_what_is_kept_of_it(self) -> None:
        callback = self.stop_callback()
        kept = Callback("", callback.body, callback.content_type, callback.query)
        (told,) = self._channel().read(kept)
        assert isinstance(told, Written)
        assert told.number == self.recipient
        assert told.event_id
        assert Reply.STOP in (told.reply, reply_of(told.text))
        assert self.recipient not in repr(told)

    def test_what_cannot_be_read_is_said_so(self) -> None:
        with pytest.raises((MalformedPayload, LookupError, TypeError, ValueError)):
            self._channel().read(Callback("", b"\xff\x00", "text/plain"))


class _Anything:
    """Templates of a shop are where the test need not know."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
