"""Consent by GraphQL: a form, an account page, the shop's servers (B72, B73, D3, B124)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    MergeProof,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.messaging import opt_in
from saleor_personalize.models import (
    Consent,
    Event,
    Identity,
    Installation,
    Message,
    Profile,
    Session,
    Suppression,
    email_hash,
)
from saleor_personalize.profiles import consent, merging
from saleor_personalize.recommendations import service
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Answer, Ask
from tests.catalogue import Phones
from tests.conftest import make_profile
from tests.integration.test_no_personal_data_in_logs import log  # noqa: F401 (a fixture)

SUBSCRIBE = """mutation($email: String!, $channel: ConsentDeliveryChannel = EMAIL, $topics: [String!],
  $wording: String, $language: String, $country: String) {
  subscribe(email: $email, deliveryChannel: $channel, topics: $topics, wordingVersion: $wording,
            languageCode: $language, countryCode: $country) { accepted } }"""
UPDATE = """mutation($purpose: ConsentPurpose!, $channel: ConsentDeliveryChannel, $topic: String,
  $allowed: Boolean!, $wording: String) {
  consentUpdate(purpose: $purpose, deliveryChannel: $channel, topic: $topic, isAllowed: $allowed,
                wordingVersion: $wording) { state } }"""
RECORD = """mutation($user: ID, $anonymous: String, $email: String, $purpose: ConsentPurpose!,
  $channel: ConsentDeliveryChannel, $topic: String, $allowed: Boolean!, $confirmed: Boolean,
  $source: String = "till", $country: String) {
  consentRecord(userId: $user, anonymousId: $anonymous, email: $email, purpose: $purpose,
    deliveryChannel: $channel, topic: $topic, isAllowed: $allowed, isConfirmed: $confirmed,
    source: $source, countryCode: $country) { isRecorded state } }"""
MINE = """query($user: ID, $first: Int) { profile(userId: $user) {
  consents(first: $first) { purpose deliveryChannel topic state source rule countryCode
    wordingVersion languageCode recordedAt }
  consentStandings { purpose deliveryChannel topic label state } } }"""
NEW = "new@example.com"
MAIL = {"purpose": "MARKETING", "channel": "EMAIL"}


def subscribe(gql: Ask, email: str = NEW, **more: Any) -> Answer:
    return gql(SUBSCRIBE, {"email": email, **more})


def ledger(profile: Profile) -> list[tuple[str, str, str]]:
    rows = Consent.objects.filter(profile=profile).order_by("pk")
    return list(rows.values_list("topic", "state", "source"))


def person(address: str = NEW) -> Profile:
    return Identity.objects.get(value=email_hash(address)).profile


@pytest.fixture
def app_token(installation: Installation) -> str:
    return str(installation.auth_token)


# -- a form ---------------------------------------------------------------------------------------------


def test_b73_a_form_is_accepted_and_the_rule_of_the_country_decides(gql: Ask) -> None:
    answer = subscribe(gql, topics=["news"], wording="footer-3", language="DE_AT", country="AT")
    assert answer.data == {"subscribe": {"accepted": True}}
    line = Consent.objects.get()
    assert (line.profile, line.topic, line.state) == (person(), "news", ConsentState.PENDING)
    assert (line.source, line.wording_version, line.language_code) == (
        "subscribe",
        "footer-3",
        "DE_AT",
    )
    assert (line.country_code, line.rule) == ("AT", "double_opt_in")
    subscribe(gql, "french@example.com", country="FR")
    assert ledger(person("french@example.com")) == [("", "granted", "subscribe")]


def test_b73_the_country_of_the_visit_helps_where_the_form_knows_none(
    gql: Ask, installation: Installation, now: datetime
) -> None:
    visitor = make_profile(installation, anonymous_id=ANONYMOUS)
    Session.objects.create(
        installation=installation,
        profile=visitor,
        session_id="s",
        started_at=now,
        last_seen_at=now,
        country_code="DE",
    )
    gql(SUBSCRIBE, {"email": NEW}, anonymous_id=ANONYMOUS)
    assert Consent.objects.get().state == ConsentState.PENDING
    # Naming a country with a milder rule helps nobody round it.
    gql(SUBSCRIBE, {"email": "other@example.com", "country": "FR"}, anonymous_id=ANONYMOUS)
    assert ledger(person("other@example.com")) == [("", "pending", "subscribe")]
    # Filling in a form does not make two ids one person.
    assert person().person_id != visitor.person_id


def test_b73_the_answer_is_the_same_whoever_the_address_belongs_to(
    gql: Ask, alice: Profile, bob: Profile, installation: Installation, now: datetime
) -> None:
    consent.suppress(
        installation=installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=email_hash("stopped@example.com"),
        reason=SuppressionReason.COMPLAINT,
        now=now,
    )
    addresses = ["alice@example.com", "bob@example.com", NEW, "stopped@example.com", NEW]
    answers = [subscribe(gql, address, country="DE") for address in addresses]
    assert {(answer.status, str(answer.body)) for answer in answers} == {
        (200, str({"data": {"subscribe": {"accepted": True}}}))
    }
    assert ledger(alice) == [("", "granted", "test")]
    # Bob said no: he is asked, and nothing more.
    assert ledger(bob) == [("", "denied", "test"), ("", "pending", "subscribe")]
    assert ledger(person()) == [("", "pending", "subscribe")]
    assert not Identity.objects.filter(value=email_hash("stopped@example.com")).exists()
    opt_in.send_due(now=now)
    assert sorted(Message.objects.values_list("profile", flat=True)) == [bob.pk, person().pk]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"email": "nobody"}, "INVALID_EMAIL"),
        ({"email": "a@example.com, b@example.com"}, "INVALID_EMAIL"),
        ({"email": "a@example.com\nBcc: b@example.com"}, "INVALID_EMAIL"),
        ({"email": "x" * 300 + "@example.com"}, "INVALID_TEXT"),
        ({"email": "\x00@example.com"}, "INVALID_TEXT"),
        ({"email": ""}, "INVALID_EMAIL"),
        ({"topics": ["nothing"]}, "UNKNOWN_TOPIC"),
        ({"topics": ["news", ""]}, "UNKNOWN_TOPIC"),
        ({"channel": "PUSH"}, "NOT_SUPPORTED"),
        ({"wording": "<b>"}, "INVALID_TEXT"),
        ({"language": "x" * 50}, "INVALID_TEXT"),
        ({"country": "DEU"}, "INVALID_TEXT"),
    ],
)
def test_b73_an_odd_form_is_refused_with_a_reason(gql: Ask, given: Any, code: str) -> None:
    assert gql(SUBSCRIBE, {"email": NEW, **given}).refusal == (200, code)
    assert not Consent.objects.exists()
    assert not Profile.objects.exists()


def test_b73_one_network_cannot_fill_in_forms_without_end(
    gql: Ask, settings: Any, app_token: str
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "SUBSCRIBE_MAX_PER_HOUR": 3}
    for number in range(3):
        assert subscribe(gql, f"a{number}@example.com").data
    assert subscribe(gql, "a4@example.com").refusal == (200, "RATE_LIMITED")
    assert Profile.objects.count() == 3
    # A storefront that renders on a server speaks for many networks.
    assert gql(SUBSCRIBE, {"email": "a4@example.com"}, token=app_token).data


def test_b119_an_address_in_a_form_is_in_no_log_and_no_column_as_it_is(
    gql: Ask,
    log: list[str],  # noqa: F811
    now: datetime,
) -> None:
    subscribe(gql, country="DE", topics=["news"])
    opt_in.send_due(now=now)
    assert not any(NEW in line for line in log)
    from django.db import connection

    with connection.cursor() as cursor:
        for model in (Profile, Identity, Consent, Message):
            table = model._meta.db_table
            cursor.execute(f"SELECT array_to_string(array_agg(t::text), ' ') FROM {table} t")  # noqa: S608
            assert "new@" not in cursor.fetchone()[0]


# -- an account -----------------------------------------------------------------------------------------


def test_b72_the_signed_in_choose_for_all_their_profiles(
    gql: Ask,
    token_of: Callable[..., str],
    alice: Profile,
    installation: Installation,
    now: datetime,
) -> None:
    browser = make_profile(installation, anonymous_id=ANONYMOUS)
    merging.prove(
        installation=installation, first=browser, second=alice, proof=MergeProof.LOGIN, now=now
    )
    given = {**MAIL, "topic": "news", "allowed": False, "wording": "account-1"}
    answer = gql(UPDATE, given, token=token_of(ALICE))
    assert answer.data == {"consentUpdate": {"state": "DENIED"}}
    assert ledger(alice)[1:] == ledger(browser) == [("news", "denied", "account")]
    mine = gql(MINE, {"first": 1}, token=token_of(ALICE)).data["profile"]
    assert mine["consents"] == [
        {
            "purpose": "MARKETING",
            "deliveryChannel": "EMAIL",
            "topic": "news",
            "state": "DENIED",
            "source": "account",
            "rule": None,
            "countryCode": None,
            "wordingVersion": "account-1",
            "languageCode": None,
            "recordedAt": now.isoformat(),
        }
    ]
    assert [tuple(row.values()) for row in mine["consentStandings"]] == [
        (
            "MARKETING",
            "EMAIL",
            "reminders",
            "Reminders of what you left in your cart or looked at",
            "GRANTED",
        ),
        ("MARKETING", "EMAIL", "offers", "Offers and new products", "GRANTED"),
        ("MARKETING", "EMAIL", "news", "News from the shop", "DENIED"),
        (
            "MARKETING",
            "EMAIL",
            "stock_alerts",
            "Sold-out products that you wait for",
            "GRANTED",
        ),
        ("PROFILING", None, None, "Personal recommendations", None),
    ]


def test_b72_nobody_else_reads_or_changes_it(
    gql: Ask, token_of: Callable[..., str], alice: Profile, bob: Profile, app_token: str
) -> None:
    make_profile(alice.installation, anonymous_id=ANONYMOUS)
    given = {**MAIL, "allowed": True}
    assert gql(UPDATE, given, anonymous_id=ANONYMOUS).refusal == (200, "FORBIDDEN")
    assert gql(UPDATE, given).refusal == (200, "FORBIDDEN")
    assert gql(UPDATE, given, token=app_token).refusal == (200, "FORBIDDEN")
    assert ledger(bob) == [("", "denied", "test")]
    anonymous = gql(MINE, anonymous_id=ANONYMOUS).data["profile"]
    assert anonymous == {"consents": [], "consentStandings": []}
    assert gql(MINE, {"user": ALICE}, token=token_of(BOB)).refusal == (200, "FORBIDDEN")
    assert len(gql(MINE, {"user": ALICE}, token=app_token).data["profile"]["consents"]) == 1


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"purpose": "MARKETING", "allowed": True}, "BAD_REQUEST"),
        ({"purpose": "PROFILING", "channel": "EMAIL", "allowed": True}, "BAD_REQUEST"),
        ({"purpose": "PROFILING", "topic": "news", "allowed": True}, "BAD_REQUEST"),
        ({**MAIL, "topic": "nothing", "allowed": True}, "UNKNOWN_TOPIC"),
        ({**MAIL, "wording": "x y", "allowed": True}, "INVALID_TEXT"),
    ],
)
def test_b72_an_odd_choice_is_refused(
    gql: Ask, token_of: Callable[..., str], alice: Profile, given: Any, code: str
) -> None:
    assert gql(UPDATE, given, token=token_of(ALICE)).refusal == (200, code)
    assert ledger(alice) == [("", "granted", "test")]


def test_d3_who_unsubscribed_can_come_back_in_their_account_with_a_confirmed_address(
    gql: Ask, token_of: Callable[..., str], alice: Profile, now: datetime
) -> None:
    hash_ = email_hash("alice@example.com")
    consent.unsubscribe(profile=alice, address_hash=hash_, source="unsubscribe_link", now=now)
    given = {**MAIL, "allowed": True}
    assert gql(UPDATE, given, token=token_of(ALICE)).data["consentUpdate"]["state"] == "GRANTED"
    # Nobody ever answered from that address: it stays stopped.
    assert Suppression.objects.get().address_hash == hash_
    Identity.objects.filter(value=hash_).update(confirmed_at=now)
    gql(UPDATE, given, token=token_of(ALICE))
    assert not Suppression.objects.exists()


# -- the shop's server ------------------------------------------------------------------------------------


def test_d3_a_server_records_a_yes_but_never_over_a_no(
    gql: Ask, app_token: str, alice: Profile, bob: Profile
) -> None:
    def record(**given: Any) -> tuple[bool, str | None]:
        answer = gql(RECORD, {**MAIL, "allowed": True, **given}, token=app_token)
        found = answer.data["consentRecord"]
        return found["isRecorded"], found["state"]

    assert record(user=BOB) == (False, "DENIED")
    assert record(email="bob@example.com", confirmed=True) == (False, "DENIED")
    assert ledger(bob) == [("", "denied", "test")]
    assert record(user=ALICE) == (False, "GRANTED")
    assert record(email="de@example.com", country="DE") == (True, "PENDING")
    assert record(email="de2@example.com", country="DE", confirmed=True) == (True, "GRANTED")
    assert record(email="fr@example.com", country="FR", topic="news") == (True, "GRANTED")
    assert ledger(person("fr@example.com")) == [("news", "granted", "till")]
    assert record(user=ALICE, allowed=False) == (True, "DENIED")
    assert ledger(alice)[-1] == ("", "denied", "till")
    assert record(anonymous=ANONYMOUS, channel="PUSH", country="DE") == (True, "GRANTED")


def test_b124_a_server_records_that_somebody_refused_profiling(
    gql: Ask, app_token: str, alice: Profile
) -> None:
    def record(*, allowed: bool) -> Any:
        given = {"user": ALICE, "purpose": "PROFILING", "allowed": allowed}
        return gql(RECORD, given, token=app_token).data["consentRecord"]

    assert record(allowed=False) == {"isRecorded": True, "state": "DENIED"}
    assert not consent.may_profile(profile=alice)
    assert record(allowed=True) == {"isRecorded": False, "state": "DENIED"}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "BAD_REQUEST"),
        ({"user": ALICE, "email": NEW}, "BAD_REQUEST"),
        ({"email": "nobody"}, "INVALID_EMAIL"),
        ({"user": ALICE, "source": "a b"}, "INVALID_TEXT"),
        ({"user": ALICE, "source": ""}, "INVALID_TEXT"),
        ({"anonymous": "short"}, "INVALID_TOKEN"),
    ],
)
def test_b72_an_odd_record_is_refused(gql: Ask, app_token: str, given: Any, code: str) -> None:
    answer = gql(RECORD, {**MAIL, "allowed": True, **given}, token=app_token)
    assert answer.refusal == (200, code)
    assert not Consent.objects.exists()


def test_b72_only_a_server_records_for_others(
    gql: Ask, token_of: Callable[..., str], alice: Profile, bob: Profile
) -> None:
    given = {**MAIL, "allowed": False, "user": ALICE}
    for who in ({"token": token_of(BOB)}, {"token": token_of(ALICE)}, {"anonymous_id": ANONYMOUS}):
        assert gql(RECORD, given, **who).refusal == (200, "FORBIDDEN")
    assert ledger(alice) == [("", "granted", "test")]


# -- recommendations of who refused ---------------------------------------------------------------------


def test_b124_who_refused_profiling_is_recommended_to_as_a_stranger(
    gql: Ask,
    shop: Phones,
    alice: Profile,
    token_of: Callable[..., str],
    now: datetime,
) -> None:
    recs = """{ recommendations(placement: "home", channel: "us", first: 100) { productId } }"""

    def shown(token: str = "") -> list[str]:
        rows = gql(recs, token=token, anonymous_id="" if token else ANONYMOUS).data
        return [row["productId"] for row in rows["recommendations"]]

    bought = shown()[0]
    shop.order(bought, profile=alice, days_ago=3)
    strangers = shown()
    assert bought in strangers
    assert bought not in shown(token_of(ALICE))
    consent.choose(
        profile=alice,
        choices=[consent.Choice(Purpose.PROFILING, "", "", False)],
        source="account",
        now=now,
    )
    service.forget()
    assert shown(token_of(ALICE)) == strangers
    assert not Event.objects.exists()


def test_b124_orders_of_who_refused_teach_what_goes_together_and_not_who_bought(
    shop: Phones, alice: Profile, bob: Profile, now: datetime
) -> None:
    from saleor_personalize.recommendations import reading

    for profile in (alice, bob):
        for _ in range(2):
            shop.order(shop.phone, profile=profile)
    consent.choose(
        profile=alice,
        choices=[consent.Choice(Purpose.PROFILING, "", "", False)],
        source="account",
        now=now,
    )
    rows = reading.interactions(
        installation=shop.installation,
        channel_slug="us",
        since=now - timedelta(days=400),
        until=now + timedelta(days=1),
    )
    visitors = [rows.visitor_id.values[code].decode() for code in rows.visitor_id.codes]
    assert str(alice.pk) not in visitors
    assert visitors.count(str(bob.pk)) == 2
    assert len({visitor for visitor in visitors if visitor.startswith("-")}) == 2
    assert len(visitors) == 4
