"""B87, C1, D2, D5, D6: whatever happens in whatever order, three things never do.

No wrong message, none twice, none lost: random stories against the real scheduler on PostgreSQL, with workers
that die, judged by a model in plain Python (`chance`). The suite tells the same few stories each time;
`make bench-never-wrong` tells 10,000 new ones. The machine itself is proved by taking safeguards out one by one.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar
from uuid import uuid4

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

from saleor_personalize.enums import IdentityKind, NotSentReason
from saleor_personalize.experiments import operations as experiments
from saleor_personalize.experiments.drawing import draw
from saleor_personalize.journeys import cases, claiming, conditions, stepping
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import guards
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import (
    Enrollment,
    Identity,
    Installation,
    Message,
    Participation,
    Profile,
)
from tests.integration import chance
from tests.integration.chance import (
    DAY,
    LIVE,
    MINUTE,
    PEOPLE,
    PRODUCTS,
    STARTS,
    Story,
    account,
    work,
)

#: Stories told; `make bench-never-wrong` sets it, and how many processes share them.
STORIES = int(os.environ.get("NEVER_WRONG_STORIES", "0"))
SHARES = int(os.environ.get("NEVER_WRONG_SHARES", "10"))
#: In the suite: so many, the same each time.
FEW = 25
STEPS = 12
#: Stories within which a fault must show by chance.
HUNT = 400

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
heard = st.one_of(told, st.just("imported"))
which = st.integers(0, 1)
pieces = st.sampled_from([0, 0, 1, 9])
amount = st.sampled_from(["8.00", "15.00", "19.50", "25.00"])
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
#: How a story begins: somebody leaves a cart, looks, keeps, or waits for what is sold out.
OPENINGS = st.one_of(
    st.tuples(st.just("cart"), person, which, lines, contact, told),
    st.tuples(st.just("cart"), person, which, st.just({"mug": 1}), st.just("account"), st.just("at once")),
    st.tuples(st.just("look"), person, product),
    st.tuples(st.just("keep"), person, product),
    st.tuples(st.just("sell_out"), address, product),
    st.tuples(st.just("price"), product, amount, st.booleans()),
)  # fmt: skip
WHERE = (
    "asking", "asked", "deciding", "decided", "voucher before", "voucher after",
    "handing over", "handed over", "answered",
)  # fmt: skip
MOODS = ("refuses", "not now", "unclear, has it", "unclear, has it not", "breaks")
#: Where the world may go on: not in the middle of a transaction.
OPEN = [one for one in WHERE if one not in ("deciding", "decided")]
#: What still counts between the decision and the provider: the rest comes later than the message.
LAST = st.sampled_from([("stop", True), ("other_worker", 0), ("other_worker", 11)])
#: Half an hour, beyond a claim, beyond a delay, to the evening, over the night of a change of clocks, days.
JUMPS = (6, 31, 61, 130, 245, 600, 1440, 1700, 4400)
minutes = st.sampled_from([0, 0, 0, 0, 61, 61, 61, *JUMPS])


def happens(name: str, **how: st.SearchStrategy[Any]) -> Any:
    """Return a rule: something happens, and mostly some time passes then, and a worker wakes."""

    def step(self: Chance, minutes: int, **given: Any) -> None:
        getattr(self.story, name)(**given)
        if minutes:
            self.story.tick(minutes)

    step.__name__ = name
    return rule(minutes=minutes, **how)(step)


class Chance(RuleBasedStateMachine):
    """Each rule is something that people, shops, providers or machines do."""

    installation: Installation
    counts: Counter[str]
    #: The story that is being told.
    told: ClassVar[Story]

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = transaction.savepoint()

    @initialize(
        start=st.sampled_from(STARTS),
        gift=which,
        yes=st.sets(address),
        is_welcomed=st.booleans(),
        openings=st.lists(OPENINGS, min_size=1, max_size=3),
    )
    def begin(
        self, start: datetime, gift: int, yes: set[str], is_welcomed: bool, openings: list[Any]
    ) -> None:
        """Most stories should reach a send: somebody allows it, and something has begun."""
        self.story = Chance.told = Story(self.installation, start)
        self.story.begin(gift, {account("ann"), *yes})
        if not is_welcomed:
            self.story.pause("welcome")
        for opening in openings:
            self.story.act(opening)

    cart = happens("cart", person=person, which=which, lines=lines, contact=contact, how=told)
    order = happens(
        "order", person=person, by=by, product=product, price=price, how=heard, which=which
    )
    late_webhook = happens("deliver", which=st.integers(0, 3))
    say = happens("say", address=address, topic=topic, is_yes=st.booleans())
    unsubscribe = happens("unsubscribe", address=address)
    become_one = happens("become_one", person=person)
    stock = happens("stock", product=product, pieces=pieces, is_told=st.booleans())
    price = happens("price", product=product, amount=amount, is_told=st.booleans())
    sell_out = happens("sell_out", address=address, product=product)
    wait_no_longer = happens("ask_no_longer", address=address, product=product)
    look = happens("look", person=person, product=product)
    keep = happens("keep", person=person, product=product)
    switch = happens("switch", what=st.sampled_from(["pause", "resume", "go_live"]), key=journey)
    publish = happens("publish", which=which)
    stop = happens("stop", is_stopped=st.booleans())
    saleor = happens("saleor", is_up=st.booleans())
    mood = happens("mood", mood=st.sampled_from(MOODS))
    die = happens("die", where=st.sampled_from(WHERE))
    die_again = happens("die", where=st.sampled_from(WHERE))
    meanwhile = happens("while_at", point=st.sampled_from(OPEN), action=HAPPENINGS)
    meanwhile_too = happens("while_at", point=st.sampled_from(OPEN), action=HAPPENINGS)
    at_the_last_moment = happens("while_at", point=st.just("decided"), action=LAST)

    @invariant()
    def nothing_is_wrong(self) -> None:
        story = getattr(self, "story", None)
        assert story is None or not story.wrong, story.wrong

    def look_back(self) -> None:
        """Judge a story that has come to its end."""

    def teardown(self) -> None:
        try:
            if getattr(self, "story", None) is not None and not self.story.wrong:
                self.story.end()
                self.look_back()
                self.counts.update(self.story.counts)
                self.counts["stories"] += 1
        finally:
            transaction.savepoint_rollback(self.savepoint)


@pytest.fixture
def shop(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """A shop in which workers can be held up or killed between the product's own steps."""
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **chance.SETTINGS}

    begin, call = messaging.begin_hand_over, messaging.call

    def deciding(**given: Any) -> None:
        begin(**given)
        Chance.told.reach("deciding")

    def decided(**given: Any) -> messaging.Call:
        Chance.told.reach("decided")
        return call(**given)

    monkeypatch.setattr(messaging, "begin_hand_over", deciding)
    monkeypatch.setattr(messaging, "call", decided)
    return chance.base()


@dataclass(frozen=True)
class Fault:
    """A safeguard that is taken out of the product, and a short story in which that does harm."""

    patches: Callable[[], Mapping[str, Any]]
    story: tuple[tuple[Any, ...], ...]
    #: What the judge says of it.
    found: str


def _without_orders(**given: Any) -> Any:
    left = _leaving(**given)
    return None if left is not None and left.reason == NotSentReason.ORDERED else left


def _blind_retry(*, now: datetime) -> int:
    """Send again whatever was interrupted."""
    rows = Message.objects.filter(status="handing_over", decided_at__lte=now - 10 * MINUTE)
    for row in rows:
        Enrollment.objects.filter(pk=row.enrollment_id).update(
            status="waiting", path=[0], due_at=now, step_since=now
        )
    return rows.update(status="failed", handed_over_at=None)


def _all_uncertain(*, now: datetime) -> int:
    """Give up whatever was interrupted."""
    rows = Message.objects.filter(status="handing_over", decided_at__lte=now - 10 * MINUTE)
    return rows.update(status="uncertain", error="The worker stopped.")


def _unasked(*, message: Message, **given: Any) -> messaging.Call:
    """Hand over without asking whether the message is still one's own."""
    Chance.told.reach("decided")
    latest = Message.objects.get(pk=message.pk)
    Message.objects.filter(pk=message.pk).update(status="handing_over", handed_over_at=None)
    message.attempts = latest.attempts
    return _call(message=message, **given)


def _random_key(case: Any, step: Any) -> Any:
    draft = _draft_of(case, step)
    return replace(draft, key=f"{draft.key}:{uuid4()}")


def _judged_once(case: Any, live: Any, now: datetime) -> Any:
    """Decide under the locks by what was known before them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "why_leave", lambda *_: None)
        patch.setattr(guards, "objection", lambda **_: None)
        return _run(case, live, now)


_leaving, _draft_of, _run = conditions.leaving, cases.draft_of, stepping._run
_call = messaging.call
_CART = ("cart", "ann", 0, {"mug": 1}, "guest", "at once")
_BUYS = ("order", "ann", "guest", "tea", "full", "imported")
FAULTS = {
    "orders are not looked at": Fault(
        lambda: {
            "journeys.operations.exit_for_order": lambda **_: 0,
            "journeys.conditions.leaving": _without_orders,
        },
        (_CART, ("tick", 6), _BUYS, ("tick", 61)),
        "ordered since",
    ),
    "permission is not looked at": Fault(
        lambda: {"messaging.guards.objection": lambda **_: None},
        (_CART, ("unsubscribe", account("ann")), ("tick", 61)),
        "no permission",
    ),
    "nothing is judged again under the locks": Fault(
        lambda: {"journeys.stepping._run": _judged_once},
        (_CART, ("while_at", "asked", ("unsubscribe", account("ann"))), ("tick", 61)),
        "no permission",
    ),
    "what was interrupted is sent again": Fault(
        lambda: {"messaging.operations.settle_interrupted": _blind_retry},
        (_CART, ("die", "handed over"), ("tick", 61), ("tick", 31)),
        "the same key again",
    ),
    "what was interrupted is sent again, under another key": Fault(
        lambda: {
            "messaging.operations.settle_interrupted": _blind_retry,
            "journeys.cases.draft_of": _random_key,
        },
        (_CART, ("die", "handed over"), ("tick", 61), ("tick", 61)),
        "was told of so at",
    ),
    "nobody takes up what was interrupted before the hand-over": Fault(
        lambda: {"journeys.operations.resume_interrupted": lambda **_: 0},
        (_CART, ("die", "decided"), ("tick", 61), ("tick", 31)),
        "is under way for ever",
    ),
    "what was interrupted before the hand-over is given up": Fault(
        lambda: {
            "journeys.operations.resume_interrupted": lambda **_: 0,
            "messaging.operations.settle_interrupted": _all_uncertain,
        },
        (_CART, ("die", "decided"), ("tick", 61), ("tick", 31)),
        "surely did not go, and is lost",
    ),
    "a slow worker may still hand over what was taken back": Fault(
        lambda: {"messaging.operations.call": _unasked},
        (_CART, ("while_at", "decided", ("other_worker", 11)), ("tick", 61)),
        "the same key again",
    ),
    "an unclear answer counts as a no": Fault(
        lambda: {
            "exceptions.ChannelError.is_ambiguous": property(lambda _: False, lambda *_: None)
        },
        (_CART, ("mood", "unclear, has it"), ("tick", 61), ("tick", 61)),
        "the same key again",
    ),
    "offers are not guarded": Fault(
        lambda: {
            "offers.guard.objection": lambda **_: None,
            "offers.guard.after_orders": lambda **_: None,
        },
        (_BUYS, ("tick", 6), ("keep", "ann", "mug"), ("tick", 61), ("tick", 130)),
        "a code right after paying full price",
    ),
    "other messages are not looked at": Fault(
        lambda: {"messaging.arbitration.decide": lambda **_: None},
        (("tick", 540), _CART, ("tick", 61)),
        "it is 23:",
    ),
    "nobody is told why not": Fault(
        lambda: {"messaging.operations.record_not_sent": lambda **_: None},
        (_CART, _BUYS, ("tick", 61)),
        "no message says why",
    ),
    "a claim never runs out": Fault(
        lambda: {"journeys.claiming.CLAIM": 4000 * DAY},
        (_CART, ("die", "asking"), ("tick", 61)),
        "abandoned_checkout",
    ),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fault:
    found = FAULTS[request.param]
    for path, value in found.patches().items():
        # Only an error's own attribute is not there before: a name that moved is no safeguard.
        is_there = path != "exceptions.ChannelError.is_ambiguous"
        monkeypatch.setattr(f"saleor_personalize.{path}", value, raising=is_there)
    return found


def one_story(shop: Installation, happenings: tuple[tuple[Any, ...], ...]) -> str:
    """Tell one story; return what is wrong in it."""
    savepoint = transaction.savepoint()
    story = Chance.told = Story(shop, STARTS[0])
    try:
        story.begin(0, {account("ann")})
        # Nothing but what the story is about.
        story.pause("welcome")
        for action in happenings:
            story.act(action)
        story.end()
    except AssertionError as error:
        return str(error)
    finally:
        transaction.savepoint_rollback(savepoint)
    return ""


# -- what the machine found, told plainly ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (("unsubscribe", account("ann")), "suppressed"),
        (("order", "ann", "guest", "tea", "reduced", "imported"), "ordered"),
        (("order", "ann", "account", "tea", "full", "at once"), "ordered"),
    ],
)
def test_d2_b65_what_happens_while_saleor_makes_a_code_still_counts(
    shop: Installation, action: tuple[Any, ...], reason: str
) -> None:
    story = Chance.told = Story(shop, STARTS[0])
    story.begin(0, {account("ann")})
    story.pause("welcome")
    story.keep("ann", "mug")
    story.tick(61)
    story.while_at("voucher after", action)
    story.tick(130)
    assert story.counts["meanwhile voucher after"] == 1
    message = Message.objects.get(template="win_back_offer")
    assert (message.status, message.reason) == ("failed", reason)
    assert (story.mails, story.vouchers.codes()) == ([], set())
    story.end()
    assert story.mails == []


def test_b65_a_journey_that_is_paused_while_saleor_makes_a_code_holds_the_message(
    shop: Installation,
) -> None:
    story = Chance.told = Story(shop, STARTS[0])
    story.begin(0, {account("ann")})
    story.pause("welcome")
    story.keep("ann", "mug")
    story.tick(61)
    story.while_at("voucher after", ("pause", "gift"))
    story.tick(130)
    assert (story.mails, story.vouchers.codes()) == ([], set())
    story.resume("gift")
    story.tick(61)
    (mail,) = story.mails
    assert [code for code in story.vouchers.codes() if code in mail.text] != []
    story.end()


def test_d2_a_try_that_failed_brings_nobody_back_who_left_meanwhile(shop: Installation) -> None:
    story = Chance.told = Story(shop, STARTS[0])
    story.begin(0, {account("ann")})
    story.act(_CART)
    story.while_at("handing over", _BUYS)
    story.mood("not now")
    story.tick(61)
    enrollment = Enrollment.objects.get(subject_saleor_id="ann-1")
    assert (enrollment.status, enrollment.exit_reason) == ("reached", "ordered")
    story.end()
    assert story.mails == []


def test_b62_quiet_hours_are_those_of_the_person_whichever_profile_tells_of_them(
    shop: Installation,
) -> None:
    """A guest's profile says nothing of where they are; their account's is in New York."""
    story = Chance.told = Story(shop, STARTS[0])
    story.begin(0, {work("ben")})
    story.pause("welcome")
    story.become_one("ben")
    story.tick(20 * 60)
    story.cart("ben", 0, {"mug": 1}, "work", "at once")
    story.tick(61)
    assert (story.wrong, story.mails) == ([], [])
    assert Enrollment.objects.get(subject_saleor_id="ben-1").held_by == "quiet_hours"
    story.tick(4 * 60)
    assert (story.wrong, [mail.at for mail in story.mails]) == ([], [story.truth.now])


def test_b60_whoever_is_held_is_passed_by_and_who_is_due_longest_comes_first(
    shop: Installation,
) -> None:
    story = Chance.told = Story(shop, STARTS[0])
    story.begin(0, {account("ann"), account("ben")})
    story.act(_CART)
    story.tick(6)
    story.look("ann", "tea")
    story.cart("ben", 0, {"tea": 1}, "guest", "at once")
    due = story.truth.now + DAY
    journeys.enter_due(now=due)
    story.pause("welcome")
    claimed = []
    while (row := claiming.claim(due)) is not None:
        claimed.append((row.journey.key, row.profile_id))
    ann, ben = (Profile.objects.get(identities__value=chance.USERS[one]).pk for one in PEOPLE)
    carts = "abandoned_checkout"
    assert claimed == [(carts, ann), (carts, ben), ("browsed_product", ann)]
    story.stop(True)
    assert claiming.claim(due + DAY) is None


@pytest.mark.parametrize("name", FAULTS)
def test_the_stories_of_faults_end_well_with_every_safeguard(shop: Installation, name: str) -> None:
    assert one_story(shop, FAULTS[name].story) == ""


def test_a_worker_dies_while_it_overtakes_another_one(shop: Installation) -> None:
    overtaken = ("while_at", "decided", ("other_worker", 11))
    story = (_CART, ("die", "decided"), overtaken, ("tick", 61), ("tick", 31))
    assert one_story(shop, story) == ""


@pytest.mark.parametrize("where", WHERE)
def test_a_worker_dies_at_each_place(shop: Installation, where: str) -> None:
    """On the way of a message with a code, which comes to all of them."""
    story = (
        ("resume", "welcome"),
        ("die", where),
        ("say", account("ben"), "", True),
        ("tick", 61),
        ("tick", 31),
    )
    assert one_story(shop, story) == ""
    assert Chance.told.counts[f"killed {where}"] == 1


@pytest.mark.parametrize(
    "story",
    [
        # An order that we have not heard of, and then a yes: whoever bought gets no code for a first order.
        (
            ("resume", "welcome"),
            ("order", "ben", "account", "mug", "full", "later"),
            ("tick", 245),
            ("say", account("ben"), "", True),
            ("tick", 61),
        ),
        # A cart that is told again with its lines in another order has not changed.
        (
            ("cart", "ann", 0, {"mug": 2, "tea": 1}, "account", "at once"),
            ("pause", "abandoned_checkout"),
            ("tick", 4400),
            ("cart", "ann", 0, {"tea": 1, "mug": 2}, "account", "at once"),
        ),
        (
            ("keep", "ann", "mug"),
            ("tick", 61),
            ("die", "decided"),
            ("price", "mug", "8.00", True),
            ("tick", 61),
        ),
        (
            ("keep", "ann", "mug"),
            ("tick", 61),
            ("mood", "refuses"),
            ("die", "answered"),
            ("tick", 130),
        ),
    ],
)
def test_stories_that_the_machine_found(shop: Installation, story: tuple[Any, ...]) -> None:
    assert one_story(shop, story) == ""


def test_a_safeguard_that_is_taken_out_is_missed(shop: Installation, fault: Fault) -> None:
    assert fault.found in one_story(shop, fault.story)


@pytest.mark.skipif(not STORIES, reason="`make bench-never-wrong` looks for each by chance")
def test_a_safeguard_that_is_taken_out_is_missed_by_chance(
    shop: Installation, fault: Fault
) -> None:
    with pytest.raises(AssertionError):
        tell(shop, HUNT, is_new=True, shrinks=False)


def tell(
    shop: Installation,
    stories: int,
    *,
    is_new: bool = False,
    shrinks: bool = True,
    of: type[Chance] | None = None,
) -> Counter[str]:
    """Tell stories; return how often what happened in them."""
    counts: Counter[str] = Counter()
    machine = type("Chance", (of or Chance,), {"installation": shop, "counts": counts})
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
        # Silence proves nothing: each kind of message went, and workers died nearly everywhere. A share may
        # miss a rare place by chance; each of them has a story of its own above.
        assert {one for one in chance.TOPICS if counts[one] == 0} == set()
        missed = {one for one in WHERE if counts[f"killed {one}"] == 0}
        assert len(missed) <= len(WHERE) // 4, missed


class LeavesSomeAlone(Chance):
    """The same stories in a shop that leaves some people alone."""

    #: Of the story that is being told.
    number: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        LeavesSomeAlone.number = self.counts["stories"]

    def look_back(self) -> None:
        rows = Participation.objects.filter(experiment__key="holdout:*")
        for row in rows.filter(arm="held_out").select_related("profile__installation"):
            members = row.profile.members()
            self.counts["left alone"] += 1
            if rows.filter(profile__in=members).count() > 1:
                # They became one person inside: until then each side was right.
                continue
            sent = Message.objects.filter(
                profile__in=members, status="sent", decided_at__gt=row.since
            )
            assert not sent.exclude(journey__key="back_in_stock").exists()


def _drawn_by_name(test: experiments.Test, profile: Profile) -> str:
    """Draw as the product does, by what is the same in each run: primary keys depend on the tests before."""
    known = Identity.objects.filter(profile__in=profile.members(), kind=IdentityKind.EMAIL)
    who = known.order_by("value").values_list("value", flat=True).first()
    return draw(test.arms, seed=f"{test.key}:{who}:{LeavesSomeAlone.number}")


def test_b90_whatever_happens_nobody_who_is_left_alone_is_written_to(
    shop: Installation, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    holdouts = {"HOLDOUT_PERCENT": 40, "JOURNEY_HOLDOUT_PERCENT": 20}
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **holdouts}
    monkeypatch.setattr(experiments, "_drawn", _drawn_by_name)
    counts = tell(shop, 10, of=LeavesSomeAlone)
    assert counts["stories"] == 10
    assert counts["left alone"] >= 5, counts
