"""B87, C1, D2, D5, D6: whatever happens in whatever order, three things never do.

No wrong message, none twice, none lost: random stories against the real scheduler on PostgreSQL, with workers
that die, judged by a model in plain Python (`chance`). The suite tells the same few stories each time;
`make bench-never-wrong` tells 10,000 new ones. The machine itself is proved by taking safeguards out one by one.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import Installation
from saleor_personalize.offers import vouchers
from tests.integration import chance
from tests.integration.chance import LIVE, PEOPLE, PRODUCTS, STARTS, Story, account, work

#: Stories told; `make bench-never-wrong` sets it, and how many processes share them.
STORIES = int(os.environ.get("NEVER_WRONG_STORIES", "0"))
SHARES = int(os.environ.get("NEVER_WRONG_SHARES", "1"))
#: In the suite: so many, the same each time.
FEW = 30
STEPS = 14

person = st.sampled_from(PEOPLE)
address = st.one_of(person.map(account), person.map(account), person.map(work))
product = st.sampled_from(PRODUCTS)
told = st.sampled_from(["at once", "at once", "twice", "later", "never"])
contact = st.sampled_from(
    ["account", "account", "guest", "work", "account, other address", "nobody"]
)
lines = st.fixed_dictionaries({"mug": st.integers(0, 2), "tea": st.integers(0, 1)})
by = st.sampled_from(["account", "guest", "guest, other address", "account, cart", "guest, cart", "other, cart"])  # fmt: skip
price = st.sampled_from(["full", "reduced", "cancelled"])
topic = st.sampled_from(["", "", "reminders", "offers", "stock_alerts"])
journey = st.sampled_from(LIVE)
#: What can happen while a worker is at some point of its way.
HAPPENINGS = st.one_of(
    st.tuples(st.just("order"), person, by, product, price, st.sampled_from(["at once", "never"])),
    st.tuples(st.just("say"), person.map(account), st.just(""), st.just(False)),
    st.tuples(st.just("unsubscribe"), address),
    st.tuples(st.just("stop"), st.just(True)),
    st.tuples(st.just("pause"), journey),
    st.tuples(st.just("stock"), product, st.just(0), st.just(True)),
    st.tuples(st.just("become_one"), person),
    st.tuples(st.just("cart"), person, st.integers(0, 1), lines, contact, st.just("at once")),
    st.tuples(st.just("other_worker"), st.sampled_from([0, 1, 6, 11])),
)
WHERE = (
    "asking", "asked", "deciding", "decided", "voucher before", "voucher after",
    "handing over", "handed over",
)  # fmt: skip
MOODS = ("refuses", "not now", "unclear, has it", "unclear, has it not", "breaks")
#: Half an hour, beyond a claim, beyond a delay, to the evening, over the night of a change of clocks, days.
JUMPS = (6, 31, 61, 130, 245, 600, 1440, 1700, 4400)


class Chance(RuleBasedStateMachine):
    """Each rule is something that people, shops, providers or machines do."""

    installation: Installation
    counts: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = transaction.savepoint()

    @initialize(start=st.sampled_from(STARTS), gift=st.integers(0, 1), yes=st.sets(address))
    def begin(self, start: Any, gift: int, yes: set[str]) -> None:
        """Most stories should reach a send: they start live, with people who allow it."""
        self.story = Story(self.installation, start)
        self.story.publish(gift)
        for key in LIVE:
            self.story.go_live(key)
        for one in sorted({account("ann"), *yes}):
            self.story.say(one, "", True)

    @rule(person=person, which=st.integers(0, 1), lines=lines, contact=contact, how=told)
    def cart(self, **given: Any) -> None:
        self.story.cart(**given)

    @rule(person=person, by=by, product=product, price=price, how=st.one_of(told, st.just("imported")), which=st.integers(0, 1))  # fmt: skip
    def order(self, **given: Any) -> None:
        self.story.order(**given)

    @rule(which=st.integers(0, 3))
    def late_webhook(self, which: int) -> None:
        self.story.deliver(which)

    @rule(address=address, topic=topic, is_yes=st.booleans())
    def say(self, **given: Any) -> None:
        self.story.say(**given)

    @rule(address=address)
    def unsubscribe(self, address: str) -> None:
        self.story.unsubscribe(address)

    @rule(person=person)
    def become_one(self, person: str) -> None:
        self.story.become_one(person)

    @rule(product=product, pieces=st.sampled_from([0, 0, 1, 9]), is_told=st.booleans())
    def stock(self, **given: Any) -> None:
        self.story.stock(**given)

    @rule(product=product, amount=st.sampled_from(["8.00", "15.00", "19.50", "25.00"]), is_told=st.booleans())  # fmt: skip
    def price(self, **given: Any) -> None:
        self.story.price(**given)

    @rule(address=address, product=product)
    def wait_for_stock(self, address: str, product: str) -> None:
        """It is sold out, and somebody asks to be told; later it is back."""
        self.story.stock(product, 0, True)
        self.story.ask_for(address, product)

    @rule(address=address, product=product)
    def wait_no_longer(self, address: str, product: str) -> None:
        self.story.ask_no_longer(address, product)

    @rule(person=person, product=product)
    def look(self, person: str, product: str) -> None:
        self.story.look(person, product)

    @rule(person=person, product=product)
    def keep(self, person: str, product: str) -> None:
        self.story.keep(person, product)

    @rule(key=journey, what=st.sampled_from(["pause", "resume", "go_live"]))
    def switch(self, key: str, what: str) -> None:
        self.story.act((what, key))

    @rule(which=st.integers(0, 1))
    def publish(self, which: int) -> None:
        self.story.publish(which)

    @rule(is_stopped=st.booleans())
    def stop(self, is_stopped: bool) -> None:
        self.story.stop(is_stopped)

    @rule(is_up=st.booleans())
    def saleor(self, is_up: bool) -> None:
        self.story.saleor(is_up)

    @rule(mood=st.sampled_from(MOODS))
    def mood(self, mood: str) -> None:
        self.story.mood(mood)

    @rule(where=st.sampled_from(WHERE))
    def die(self, where: str) -> None:
        self.story.die(where)

    @rule(point=st.sampled_from([one for one in WHERE if one != "deciding"]), action=HAPPENINGS)
    def meanwhile(self, point: str, action: tuple[Any, ...]) -> None:
        self.story.while_at(point, action)

    @rule(minutes=st.sampled_from(JUMPS))
    def time_passes(self, minutes: int) -> None:
        self.story.tick(minutes)

    @rule(minutes=st.sampled_from(JUMPS))
    def more_time_passes(self, minutes: int) -> None:
        self.story.tick(minutes)

    @invariant()
    def nothing_is_wrong(self) -> None:
        story = getattr(self, "story", None)
        assert story is None or not story.wrong, story.wrong

    def teardown(self) -> None:
        try:
            if getattr(self, "story", None) is not None and not self.story.wrong:
                self.story.end()
                self.counts.update(self.story.counts)
                self.counts["stories"] += 1
        finally:
            transaction.savepoint_rollback(self.savepoint)


@pytest.fixture
def shop(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """A shop in which workers can be held up or killed between the product's own steps."""
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **chance.SETTINGS}

    def connect(installation: Installation) -> Any:
        assert chance.ChanceChannel.story is not None
        return chance.ChanceChannel.story.vouchers.connect(installation)

    def at(point: str) -> None:
        assert chance.ChanceChannel.story is not None
        chance.ChanceChannel.story.reach(point)

    begin, hand_over = messaging.begin_hand_over, messaging.hand_over

    def deciding(**given: Any) -> None:
        begin(**given)
        at("deciding")

    def decided(**given: Any) -> bool:
        at("decided")
        return hand_over(**given)

    monkeypatch.setattr(vouchers, "SaleorClient", connect)
    monkeypatch.setattr(messaging, "begin_hand_over", deciding)
    monkeypatch.setattr(messaging, "hand_over", decided)
    yield chance.base()
    chance.ChanceChannel.story = None


def tell(
    shop: Installation, stories: int, *, is_new: bool = False, shrinks: bool = True
) -> Counter[str]:
    """Tell stories; return how often what happened in them."""
    counts: Counter[str] = Counter()
    machine = type("Chance", (Chance,), {"installation": shop, "counts": counts})
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrinks else [])]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=stories,
            stateful_step_count=STEPS,
            derandomize=not is_new,
            database=None,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    return counts


@pytest.mark.parametrize("share", range(SHARES if STORIES else 1))
def test_b87_c1_d2_d5_d6_no_story_ends_with_a_wrong_a_second_or_a_lost_message(
    shop: Installation, share: int, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    stories = STORIES // SHARES if STORIES else FEW
    counts = tell(shop, stories, is_new=bool(STORIES))
    if STORIES:
        with capsys.disabled():
            print(f"\nshare {share}: {dict(counts)} in {time.monotonic() - began:.0f} s")
    assert counts["stories"] >= stories * 0.9
    if stories >= 1000:
        # Silence proves nothing: each kind of message went, and workers died everywhere.
        assert {one for one in chance.TOPICS if counts[one] == 0} == set()
        assert {one for one in WHERE if counts[f"killed {one}"] == 0} == set()
