"""The ledger of consent: topics, merges, imports, and what refusing means (B72, B124, D3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from saleor_personalize.enums import (
    ConsentRule,
    ConsentState,
    DeliveryChannel,
    EventSource,
    EventType,
    IdentityKind,
    MergeProof,
    NotSentReason,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.events import tracking
from saleor_personalize.events.tracking import Row, RowStatus
from saleor_personalize.models import (
    Consent,
    Event,
    Installation,
    Profile,
    Session,
    Suppression,
    email_hash,
)
from saleor_personalize.profiles import consent, consent_rules, merging, queries
from saleor_personalize.profiles.consent import EVERYTHING, Choice
from tests.conftest import NOW, make_installation, make_profile
from tests.integration.reminders import HOUR, World

GRANTED, DENIED, PENDING = ConsentState.GRANTED, ConsentState.DENIED, ConsentState.PENDING
MARKETING, EMAIL = Purpose.MARKETING, DeliveryChannel.EMAIL
STRICTNESS = {DENIED: 0, PENDING: 1, GRANTED: 2}
DAY = timedelta(days=1)


def say(profile: Profile, state: ConsentState, topic: str = EVERYTHING, **more: Any) -> Consent:
    return consent.record(
        profile=profile,
        purpose=MARKETING,
        delivery_channel=EMAIL,
        state=state,
        topic=topic,
        source=more.pop("source", "test"),
        now=NOW,
        **more,
    )


def state(profile: Profile, topic: str = EVERYTHING, **more: Any) -> ConsentState | None:
    return consent.state(
        profile=profile, purpose=MARKETING, delivery_channel=EMAIL, topic=topic, **more
    )


def lines(profile: Profile) -> list[tuple[str, str]]:
    return list(
        Consent.objects.filter(profile=profile).order_by("pk").values_list("topic", "state")
    )


def join(first: Profile, second: Profile, proof: MergeProof = MergeProof.STAFF) -> None:
    assert merging.prove(
        installation=first.installation, first=first, second=second, proof=proof, now=NOW
    )


# -- what lines mean --------------------------------------------------------------------------------


def test_b72_nobody_is_asked_to_say_no(installation: Installation) -> None:
    person = make_profile(installation, email="new@example.com")
    assert state(person) is state(person, "offers") is None
    assert not consent.is_granted(profile=person, purpose=MARKETING, delivery_channel=EMAIL)


@pytest.mark.parametrize(
    ("told", "everything", "offers", "news"),
    [
        ([("", GRANTED)], GRANTED, GRANTED, GRANTED),
        ([("", GRANTED), ("offers", DENIED)], GRANTED, DENIED, GRANTED),
        ([("offers", DENIED), ("", GRANTED)], GRANTED, DENIED, GRANTED),
        ([("offers", GRANTED)], None, GRANTED, None),
        ([("offers", GRANTED), ("", DENIED)], DENIED, DENIED, DENIED),
        ([("", DENIED), ("offers", GRANTED)], DENIED, GRANTED, DENIED),
        # A stranger types the address once more: that must not wake up what was ended.
        ([("offers", GRANTED), ("", DENIED), ("", PENDING)], PENDING, PENDING, PENDING),
        ([("", GRANTED), ("offers", DENIED), ("offers", PENDING)], GRANTED, PENDING, GRANTED),
        ([("offers", GRANTED), ("", DENIED), ("", GRANTED)], GRANTED, GRANTED, GRANTED),
        ([("", PENDING), ("", GRANTED)], GRANTED, GRANTED, GRANTED),
    ],
)
def test_b72_a_topic_and_the_whole_purpose(
    installation: Installation,
    told: list[tuple[str, ConsentState]],
    everything: ConsentState | None,
    offers: ConsentState | None,
    news: ConsentState | None,
) -> None:
    person = make_profile(installation, email="ann@example.com")
    for topic, said in told:
        say(person, said, topic)
    assert (state(person), state(person, "offers"), state(person, "news")) == (
        everything,
        offers,
        news,
    )


def test_b72_the_line_written_last_counts_whatever_its_clock_said(
    installation: Installation,
) -> None:
    person = make_profile(installation, email="ann@example.com")
    line = say(person, GRANTED)
    Consent.objects.filter(pk=line.pk).update(recorded_at=NOW + DAY)
    say(person, DENIED)
    assert state(person) == DENIED


def test_b72_a_line_keeps_all_that_proves_it_and_the_history_is_the_whole_person(
    installation: Installation,
) -> None:
    phone = make_profile(installation, anonymous_id="phone-0000-0000-0000")
    person = make_profile(installation, email="ann@example.com")
    join(phone, person)
    first = say(phone, DENIED, "news")
    second = consent.record_yes(
        profile=person,
        topics=["offers"],
        source="subscribe",
        now=NOW + HOUR,
        country_code="de",
        language_code="DE",
        wording_version="form-7",
    )
    assert [line.pk for line in queries.history(profile=phone)] == [second[0].pk, first.pk]
    (line,) = second
    assert (line.state, line.topic, line.source) == (PENDING, "offers", "subscribe")
    assert (line.country_code, line.rule) == ("DE", ConsentRule.DOUBLE_OPT_IN)
    assert (line.language_code, line.wording_version) == ("DE", "form-7")
    assert line.recorded_at == NOW + HOUR


def test_b72_an_integrator_hears_of_every_line_after_the_commit(
    installation: Installation, run_on_commit: Any
) -> None:
    from saleor_personalize.signals import consent_changed

    heard = []
    consent_changed.connect(receiver := lambda **said: heard.append(said["consent"].state))
    try:
        with run_on_commit():
            say(make_profile(installation, email="ann@example.com"), GRANTED)
            assert heard == []
        assert heard == [GRANTED]
    finally:
        consent_changed.disconnect(receiver)


# -- random ledgers, merges and imports ----------------------------------------------------------------


TOPICS = ["", "reminders", "offers"]
LINE = st.tuples(
    st.integers(0, 2), st.sampled_from(TOPICS), st.sampled_from([GRANTED, DENIED, PENDING])
)
PAIR = st.tuples(st.integers(0, 2), st.integers(0, 2)).filter(lambda pair: pair[0] != pair[1])


@dataclass
class Oracle:
    """What a profile allows, told anew line by line instead of read from the ledger."""

    whole: ConsentState | None = None
    parts: dict[str, ConsentState] | None = None
    was_refused: bool = False

    def hear(self, topic: str, said: ConsentState) -> None:
        self.parts = self.parts or {}
        if topic:
            self.parts[topic] = said
            return
        self.whole = said
        self.was_refused = self.was_refused or said == DENIED
        if said == DENIED:
            self.parts = {t: s for t, s in self.parts.items() if s == DENIED}

    def says(self, topic: str) -> ConsentState | None:
        return (self.parts or {}).get(topic, self.whole) if topic else self.whole

    def is_only_asked(self, topic: str) -> bool:
        return topic not in (self.parts or {}) and self.whole == PENDING and not self.was_refused


def together_say(oracles: list[Oracle], topic: str) -> ConsentState | None:
    """A general question on one profile leaves what another said yes to by name."""
    if topic and any((one.parts or {}).get(topic) == GRANTED for one in oracles):
        oracles = [one for one in oracles if not one.is_only_asked(topic)]
    return strictest([one.says(topic) for one in oracles])


def strictest(found: list[ConsentState | None]) -> ConsentState | None:
    return min((s for s in found if s is not None), key=STRICTNESS.__getitem__, default=None)


class LedgerByChance(TestCase):
    """Three profiles, any lines, any merges and splits, a yes from anywhere."""

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @example(
        told=[(1, "reminders", GRANTED)],
        joined=[(0, 1)],
        yes=(0, "", "box", "DE"),
        is_split=False,
    )
    @given(
        told=st.lists(LINE, max_size=12),
        joined=st.lists(PAIR, max_size=3),
        yes=st.tuples(
            st.integers(0, 2),
            st.sampled_from(TOPICS),
            st.sampled_from(["import", "box", "server", "order", "form"]),
            st.sampled_from(["", "DE", "FR"]),
        ),
        is_split=st.booleans(),
    )
    def test_d3_no_merge_no_split_and_no_import_makes_a_yes_of_a_no(
        self,
        told: list[tuple[int, str, ConsentState]],
        joined: list[tuple[int, int]],
        yes: tuple[int, str, str, str],
        is_split: bool,
    ) -> None:
        shop = make_installation()
        people = [make_profile(shop, email=f"p{n}@example.com") for n in range(3)]
        oracles = [Oracle() for _ in people]
        for index, topic, said in told:
            say(people[index], said, topic, source="elsewhere")
            oracles[index].hear(topic, said)
        for one, other in joined:
            merging.prove(
                installation=shop,
                first=people[one],
                second=people[other],
                proof=MergeProof.STAFF,
                now=NOW,
            )
        if is_split and (merge := merging.merges_of(people[0])[:1]):
            merging.split(merge=merge[0], now=NOW, decided_by="staff")
        before = {}
        for index, person in enumerate(people):
            members = set(person.person().values_list("pk", flat=True))
            together = [oracles[n] for n, p in enumerate(people) if p.pk in members]
            for topic in TOPICS:
                expected = together_say(together, topic)
                assert state(person, topic) == expected
                before[index, topic] = expected

        index, topic, door, country = yes
        some = people[index]
        if door == "box":
            consent.record_box(
                profile=some, is_ticked=True, source="checkout", now=NOW, country_code=country
            )
        elif door == "order":
            consent.record_customer(profile=some, source="order", now=NOW, country_code=country)
        else:
            consent.record_yes(
                profile=some,
                topics=[topic],
                source=door,
                now=NOW,
                country_code=country,
                is_confirmed=door in {"import", "server"},
                asks_again=door == "form",
            )
        for index, person in enumerate(people):
            for topic in TOPICS:
                now_says = state(person, topic)
                if before[index, topic] == DENIED:
                    assert now_says in {DENIED, PENDING}
                if before[index, topic] == GRANTED:
                    assert now_says == GRANTED, "a stranger's yes took nothing away"

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        told=st.lists(LINE, max_size=10),
        joined=st.lists(PAIR, max_size=3),
        chosen=st.lists(st.tuples(st.sampled_from(TOPICS), st.booleans()), min_size=1, max_size=3),
    )
    def test_d3_the_last_word_of_the_person_holds_for_all_their_profiles(
        self,
        told: list[tuple[int, str, ConsentState]],
        joined: list[tuple[int, int]],
        chosen: list[tuple[str, bool]],
    ) -> None:
        shop = make_installation()
        people = [make_profile(shop, anonymous_id=f"browser-{n}-0000-0000") for n in range(3)]
        for index, topic, said in told:
            say(people[index], said, topic)
        for one, other in joined:
            merging.prove(
                installation=shop,
                first=people[one],
                second=people[other],
                proof=MergeProof.STAFF,
                now=NOW,
            )
        strangers = Profile.objects.exclude(pk__in=people[0].person())
        untouched = {profile.pk: lines(profile) for profile in strangers}
        for topic, is_allowed in chosen:
            consent.choose(
                profile=people[0],
                choices=[Choice(MARKETING, EMAIL, topic, is_allowed)],
                source="preferences",
                now=NOW,
            )
            for member in people[0].person():
                assert state(member, topic) == (GRANTED if is_allowed else DENIED)
                if not is_allowed and not topic:
                    assert all(state(member, each) == DENIED for each in TOPICS)
        assert {profile.pk: lines(profile) for profile in strangers} == untouched


# -- the person's own word -----------------------------------------------------------------------------


def test_d3_saying_the_same_again_adds_no_line(installation: Installation) -> None:
    person = make_profile(installation, email="ann@example.com")
    choice = Choice(MARKETING, EMAIL, "offers", True)
    count = [
        consent.choose(profile=person, choices=[choice], source="account", now=NOW)
        for _ in range(3)
    ]
    assert count == [1, 0, 0]
    assert lines(person) == [("offers", GRANTED)]


def test_d3_a_yes_reaches_no_address_that_only_a_cart_links_to_the_person(
    installation: Installation,
) -> None:
    """Mallory typed the address of Victim into her cart and ordered: that makes her nobody's voice."""
    mallory = make_profile(installation, saleor_user="VXNlcjo2NjY=")
    victim = make_profile(installation, email="victim@example.com")
    join(mallory, victim, MergeProof.CHECKOUT_COMPLETED)
    consent.choose(
        profile=mallory,
        choices=[Choice(MARKETING, EMAIL, EVERYTHING, True)],
        source="account",
        now=NOW,
    )
    assert lines(victim) == []
    assert lines(mallory) == [("", GRANTED)]
    # A no is another matter: it can only protect.
    consent.choose(
        profile=mallory,
        choices=[Choice(MARKETING, EMAIL, EVERYTHING, False)],
        source="account",
        now=NOW,
    )
    assert lines(victim) == [("", DENIED)]


def test_d3_unsubscribed_stays_unsubscribed_after_import_merge_and_guest_order(
    installation: Installation, alice: Profile
) -> None:
    consent.unsubscribe(
        profile=alice, address_hash=email_hash("alice@example.com"), source="link", now=NOW
    )
    other = make_profile(installation, email="alice@work.example")
    say(other, GRANTED)
    join(alice, other)
    consent.record_yes(profile=alice, source="import", now=NOW, is_confirmed=True)
    consent.record_box(profile=alice, is_ticked=True, source="checkout", now=NOW)
    consent.record_box(profile=other, is_ticked=True, source="checkout", now=NOW)
    consent.record_customer(profile=alice, source="order", now=NOW, country_code="FR")
    assert state(alice) == state(other) == DENIED
    assert state(alice, "reminders") == DENIED
    assert Suppression.objects.get().reason == SuppressionReason.UNSUBSCRIBED


def test_d3_an_address_that_bounced_is_not_taken_back_by_its_owner(
    installation: Installation,
) -> None:
    shown = {"installation": installation, "delivery_channel": EMAIL, "address_hash": "a" * 64}
    consent.suppress(**shown, reason=SuppressionReason.UNSUBSCRIBED, now=NOW)
    consent.suppress(**shown, reason=SuppressionReason.COMPLAINT, now=NOW)
    consent.suppress(**shown, reason=SuppressionReason.UNSUBSCRIBED, now=NOW)
    again = {"installation": installation, "delivery_channel": EMAIL}
    assert not consent.lift_suppression(**again, address_hashes=["a" * 64])
    assert Suppression.objects.get().reason == SuppressionReason.COMPLAINT


# -- the rule of the country ---------------------------------------------------------------------------


def with_rules(settings: Any, **rules: str) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "CONSENT_RULES": rules}


@pytest.mark.parametrize(
    ("country", "rule"),
    [
        ("DE", "double_opt_in"),
        ("at", "double_opt_in"),
        ("CH", "double_opt_in"),
        ("FR", "opt_in"),
        ("", "opt_in"),
        ("XX", "opt_in"),
    ],
)
def test_b73_each_country_has_its_rule(country: str, rule: str) -> None:
    assert consent_rules.rule_of(country) == rule


def test_b73_the_shop_changes_a_country_and_all_others(settings: Any) -> None:
    with_rules(settings, FR="soft_opt_in", DE="opt_in")
    assert [consent_rules.rule_of(code) for code in ("FR", "DE", "AT", "")] == [
        "soft_opt_in",
        "opt_in",
        "double_opt_in",
        "opt_in",
    ]
    with_rules(settings, **{"*": "double_opt_in"})
    assert consent_rules.rule_of("FR") == consent_rules.rule_of("") == "double_opt_in"
    with_rules(settings, **{"*": "soft_opt_in"})
    assert consent_rules.rule_of("FR") == consent_rules.rule_of("") == "opt_in"


def test_b73_the_strictest_country_of_a_person_counts(installation: Installation) -> None:
    person = make_profile(installation, email="ann@example.com")
    assert consent_rules.ruling(profile=person, told="FR").rule == "opt_in"
    browser = make_profile(installation, anonymous_id="browser-0000-0000-0000")
    join(person, browser)
    for country, at in (("FR", NOW), ("AT", NOW + DAY)):
        Session.objects.create(
            installation=installation,
            profile=browser,
            session_id=country,
            started_at=at,
            last_seen_at=at,
            country_code=country,
        )
    found = consent_rules.ruling(profile=person, told="FR")
    assert (found.country_code, found.rule) == ("AT", "double_opt_in")
    Session.objects.all().delete()
    Profile.objects.filter(pk=browser.pk).update(country_code="DE")
    assert consent_rules.ruling(profile=person, told="FR").country_code == "DE"


def test_b73_a_soft_opt_in_is_for_customers_who_said_nothing_and_for_similar_products(
    installation: Installation, settings: Any
) -> None:
    with_rules(settings, FR="soft_opt_in")
    customer = make_profile(installation, email="ann@example.com")

    def order(person: Profile, country: str = "FR") -> bool:
        return consent.record_customer(
            profile=person, source="order", now=NOW, country_code=country
        )

    assert not order(customer, "DE")
    assert not order(customer, "BE")
    assert not order(customer, "")
    assert lines(customer) == []
    assert order(customer)
    assert lines(customer) == [("reminders", GRANTED), ("offers", GRANTED)]
    assert state(customer, "news") is None
    line = Consent.objects.filter(profile=customer).latest("pk")
    assert (line.rule, line.country_code, line.source) == ("soft_opt_in", "FR", "order")
    assert not order(customer)
    say(customer, DENIED)
    assert not order(customer)
    assert state(customer, "offers") == DENIED
    for said in (DENIED, PENDING):
        other = make_profile(installation, email=f"{said}@example.com")
        say(other, said)
        assert not order(other)
        assert state(other, "offers") == said


# -- refusing to be observed ------------------------------------------------------------------------------


def test_b124_profiling_goes_on_until_it_is_refused(installation: Installation) -> None:
    person = make_profile(installation, anonymous_id="browser-0000-0000-0000")
    other = make_profile(installation, email="ann@example.com")
    assert consent.may_profile(profile=person)
    join(person, other)
    no = Choice(Purpose.PROFILING, "", EVERYTHING, False)
    consent.choose(profile=other, choices=[no], source="preferences", now=NOW)
    assert not consent.may_profile(profile=person)
    assert consent.refused_profiling(installation=installation) == {
        Profile.objects.get(pk=person.pk).person_id
    }
    yes = Choice(Purpose.PROFILING, "", EVERYTHING, True)
    consent.choose(profile=person, choices=[yes], source="preferences", now=NOW)
    assert consent.may_profile(profile=other)
    assert consent.refused_profiling(installation=installation) == set()


def test_b124_refusing_deletes_what_was_observed_and_nothing_is_kept_from_then_on(
    installation: Installation, carol: Profile, alice: Profile
) -> None:
    def view(shown: dict[IdentityKind, str], event_id: str) -> RowStatus:
        (result,) = tracking.track(
            installation=installation,
            shown=shown,
            rows=[
                Row(event_id, EventType.PRODUCT_VIEWED, product_id="UHJvZHVjdDox", session_id="s")
            ],
            source=EventSource.STOREFRONT,
            now=NOW,
        )
        return result.status

    browser = {IdentityKind.ANONYMOUS_ID: "3f0d6e0e-carol"}
    user = {IdentityKind.SALEOR_USER: "VXNlcjox"}
    assert [view(browser, "e1"), view(user, "e2")] == [RowStatus.ACCEPTED] * 2
    Profile.objects.update(time_zone="Asia/Tokyo", time_zone_told_at=NOW)
    no = Choice(Purpose.PROFILING, "", EVERYTHING, False)
    consent.choose(profile=carol, choices=[no], source="preferences", now=NOW)
    # Where their device was is known of visits alone.
    assert dict(Profile.objects.values_list("pk", "time_zone")) == {
        carol.pk: "",
        alice.pk: "Asia/Tokyo",
    }
    assert list(Event.objects.values_list("event_id", flat=True)) == ["e2"]
    assert list(Session.objects.values_list("profile", flat=True)) == [alice.pk]
    assert view(browser, "e3") == RowStatus.IGNORED
    assert Event.objects.count() == 1


# -- the guards -------------------------------------------------------------------------------------------


def test_b75_a_refused_topic_stops_its_message_and_says_why(world: World, alice: Profile) -> None:
    say(alice, DENIED, "reminders")
    world.checkout()
    world.advance()
    assert world.decision() == ("not_sent", NotSentReason.TOPIC_REFUSED)
    assert world.mails() == []


def test_b72_an_allowed_topic_is_enough_and_another_one_is_not(
    world: World, installation: Installation
) -> None:
    for name, topic in (("yes", "reminders"), ("no", "offers")):
        person = make_profile(installation, email=f"{name}@example.com")
        say(person, GRANTED, topic)
        world.checkout(f"checkout-{name}", email=f"{name}@example.com")
    world.advance()
    assert [mail["To"] for mail in world.mails()] == ["yes@example.com"]


def test_d3_the_yes_of_who_typed_an_address_into_a_cart_is_none_for_its_owner(
    world: World, installation: Installation
) -> None:
    mallory = make_profile(installation, saleor_user="VXNlcjo2NjY=")
    victim = make_profile(installation, email="victim@example.com")
    join(mallory, victim, MergeProof.CHECKOUT_COMPLETED)
    say(mallory, GRANTED)
    world.checkout(email="victim@example.com")
    world.advance()
    assert world.decision() == ("not_sent", NotSentReason.NO_CONSENT)
    # And it does not stand in the way of the owner's own.
    consent.record_box(profile=victim, is_ticked=True, source="checkout", now=NOW)
    assert lines(victim) == [("", GRANTED)]
    world.checkout("checkout-2", email="victim@example.com", at=NOW + 3 * HOUR)
    world.advance(NOW + 5 * HOUR)
    assert [mail["To"] for mail in world.mails()] == ["victim@example.com"]
    say(mallory, DENIED)
    world.checkout("checkout-3", email="victim@example.com", at=NOW + 6 * HOUR)
    world.advance(NOW + 9 * HOUR)
    assert len(world.mails()) == 1


@pytest.mark.parametrize(("after", "is_sent"), [(timedelta(), False), (31 * DAY, True)])
def test_b75_a_pause_holds_until_it_is_over(
    world: World, alice: Profile, after: timedelta, is_sent: bool
) -> None:
    Profile.objects.filter(pk=alice.pk).update(paused_until=NOW + 30 * DAY)
    world.checkout(at=NOW + after)
    world.advance(NOW + after + 2 * HOUR)
    expected = ("sent", "") if is_sent else ("not_sent", NotSentReason.PAUSED)
    assert world.decision() == expected
    assert len(world.mails()) == is_sent


def test_b75_no_more_messages_in_a_week_than_the_person_wants(
    world: World, alice: Profile, installation: Installation
) -> None:
    """Set on another profile of the person: it counts for all of them."""
    browser = make_profile(installation, anonymous_id="browser-0000-0000-0000")
    join(alice, browser)
    Profile.objects.filter(pk=browser.pk).update(max_messages_per_week=2)
    outcomes = []
    for day in (0, 2, 4, 7.5):
        at = NOW + day * DAY
        world.checkout(f"checkout-{day}", at=at)
        world.advance(at + 2 * HOUR)
        outcomes.append(world.enrollment(f"checkout-{day}").messages.get().reason)
    assert outcomes == ["", "", NotSentReason.FREQUENCY_LIMIT, ""]
    assert len(world.mails()) == 3
