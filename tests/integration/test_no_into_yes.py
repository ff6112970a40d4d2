"""Ways round a NO that somebody else might try: forms, carts, boxes, links of another address (D3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    MergeProof,
    Purpose,
)
from saleor_personalize.events import offline
from saleor_personalize.events.offline import Purchase
from saleor_personalize.messaging import links, opt_in, preferences
from saleor_personalize.messaging.preferences import Wanted
from saleor_personalize.models import Consent, Identity, Installation, Profile, email_hash
from saleor_personalize.profiles import consent, merging
from saleor_personalize.profiles.consent import EVERYTHING, Choice
from tests.conftest import NOW, make_profile
from tests.integration.reminders import HOUR, World, mailbox, use_smtp

GRANTED, DENIED, PENDING = ConsentState.GRANTED, ConsentState.DENIED, ConsentState.PENDING
MARKETING, MAIL = Purpose.MARKETING, DeliveryChannel.EMAIL
VICTIM, FRIEND = "victim@example.com", "friend@example.com"
DAY = timedelta(days=1)
YES = Choice(MARKETING, MAIL, EVERYTHING, is_allowed=True)


@pytest.fixture
def world(installation: Installation, settings: Any) -> Iterator[World]:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DEFAULT_SENDER": "Sock Shop <shop@example.com>",
    }
    with mailbox() as box:
        use_smtp(settings, box.port)
        made = World(installation, box)
        made.go_live()
        yield made


@pytest.fixture
def victim(installation: Installation) -> Profile:
    return make_profile(installation, email=VICTIM)


def say(profile: Profile, state: ConsentState, **more: Any) -> None:
    given = {"purpose": MARKETING, "delivery_channel": MAIL, "source": "account", **more}
    consent.record(profile=profile, state=state, now=NOW - DAY, **given)


def allows(profile: Profile) -> ConsentState | None:
    return consent.state(profile=profile, purpose=MARKETING, delivery_channel=MAIL)


def states(profile: Profile) -> list[str]:
    return list(
        Consent.objects.filter(profile=profile).order_by("pk").values_list("state", flat=True)
    )


def join(first: Profile, second: Profile, proof: MergeProof) -> None:
    assert merging.prove(
        installation=first.installation, first=first, second=second, proof=proof, now=NOW
    )


# -- a question is no answer ---------------------------------------------------------------------------


def test_d3_a_form_sent_again_and_again_makes_no_yes_of_a_no(
    installation: Installation, victim: Profile
) -> None:
    say(victim, DENIED)
    for day in range(4):
        opt_in.subscribe(
            installation=installation,
            address=VICTIM,
            topics=[],
            now=NOW + 30 * day * DAY,
            country_code="FR",
        )
    assert GRANTED not in states(victim)
    assert allows(victim) == PENDING


def test_d3_a_form_and_then_a_box_make_no_yes_of_a_no(
    installation: Installation, victim: Profile
) -> None:
    say(victim, DENIED)
    opt_in.subscribe(
        installation=installation, address=VICTIM, topics=[], now=NOW, country_code="FR"
    )
    consent.record_box(
        profile=victim, is_ticked=True, source="checkout", now=NOW + HOUR, country_code="FR"
    )
    assert states(victim) == [DENIED, PENDING]


def test_d3_a_form_and_then_a_server_make_no_yes_of_a_no(
    installation: Installation, victim: Profile
) -> None:
    say(victim, DENIED)
    opt_in.subscribe(
        installation=installation, address=VICTIM, topics=[], now=NOW, country_code="FR"
    )
    preferences.record(
        installation=installation,
        shown={IdentityKind.EMAIL: VICTIM},
        choice=YES,
        is_confirmed=True,
        source="till",
        now=NOW + HOUR,
    )
    assert states(victim) == [DENIED, PENDING]


# -- somebody whom only a cart joins -------------------------------------------------------------------


def test_d3_a_friends_yes_reaches_no_account_that_shared_a_cart(
    installation: Installation, victim: Profile
) -> None:
    account = make_profile(installation, saleor_user="VXNlcjo3")
    friend = make_profile(installation, email=FRIEND)
    join(account, victim, MergeProof.ACCOUNT)
    join(account, friend, MergeProof.CHECKOUT_COMPLETED)
    say(account, DENIED)
    say(victim, DENIED)
    consent.choose(profile=friend, choices=[YES], source="preferences", now=NOW)
    assert (states(account), states(victim), states(friend)) == ([DENIED], [DENIED], [GRANTED])


def test_d3_a_friends_yes_goes_round_no_shared_browser(
    installation: Installation, victim: Profile
) -> None:
    """The cart was filled on a browser on which somebody else is signed in."""
    account = make_profile(installation, saleor_user="VXNlcjo3")
    browser = make_profile(installation, anonymous_id="browser-0000-0000-0000")
    friend = make_profile(installation, email=FRIEND)
    join(account, victim, MergeProof.CONFIRMED_EMAIL)
    join(account, browser, MergeProof.LOGIN)
    join(browser, friend, MergeProof.CHECKOUT_COMPLETED)
    say(account, DENIED)
    consent.choose(profile=friend, choices=[YES], source="preferences", now=NOW)
    assert (states(account), states(browser), states(victim)) == ([DENIED], [], [])
    assert states(friend) == [GRANTED]


def test_b124_a_friend_lets_nobody_be_profiled_who_refused(
    installation: Installation, victim: Profile
) -> None:
    friend = make_profile(installation, email=FRIEND)
    join(victim, friend, MergeProof.CHECKOUT_COMPLETED)
    say(victim, DENIED, purpose=Purpose.PROFILING, delivery_channel="")
    consent.choose(
        profile=friend,
        choices=[Choice(Purpose.PROFILING, "", EVERYTHING, is_allowed=True)],
        source="preferences",
        now=NOW,
    )
    assert states(victim) == [DENIED]
    assert not consent.may_profile(profile=victim)


def test_d3_the_own_browser_is_asked_for_with_its_owner(installation: Installation) -> None:
    """A NO said on the browser that filled the cart can be taken back by the buyer."""
    browser = make_profile(installation, anonymous_id="browser-0000-0000-0000")
    buyer = make_profile(installation, email=FRIEND)
    join(browser, buyer, MergeProof.CHECKOUT_COMPLETED)
    say(browser, DENIED)
    consent.choose(profile=buyer, choices=[YES], source="preferences", now=NOW)
    assert allows(buyer) == GRANTED


def test_b75_a_friend_ends_nobodys_pause(installation: Installation, victim: Profile) -> None:
    friend = make_profile(installation, email=FRIEND)
    join(victim, friend, MergeProof.CHECKOUT_COMPLETED)
    until = NOW + 20 * DAY
    Profile.objects.filter(pk=victim.pk).update(paused_until=until, max_messages_per_week=1)
    claims = links.PreferencesClaims(
        installation.pk, friend.public_id.hex, email_hash(FRIEND), "en"
    )
    shown = preferences.read(claims=claims, now=NOW)
    assert (shown.paused_until, shown.max_messages_per_week) == (None, None)
    preferences.save(
        claims=claims,
        wanted=Wanted(allowed=[], max_messages_per_week=None, is_paused=False, may_profile=True),
        now=NOW,
    )
    victim.refresh_from_db()
    assert (victim.paused_until, victim.max_messages_per_week) == (until, 1)


# -- the question goes to the address that it is about --------------------------------------------------


def test_b73_the_question_goes_to_the_address_it_is_about_and_no_newer_one(
    world: World, installation: Installation
) -> None:
    """An account that named somebody else's address and then its own confirms nothing for the first."""
    mallory = make_profile(installation, saleor_user="VXNlcjo2NjY=")
    opt_in.subscribe(
        installation=installation, address=VICTIM, topics=[], now=NOW - HOUR, country_code="DE"
    )
    victim = Identity.objects.get(value=email_hash(VICTIM)).profile
    own = make_profile(installation, email="mallory@example.com")
    Identity.objects.filter(profile=own).update(first_seen_at=NOW)
    join(mallory, victim, MergeProof.ACCOUNT)
    join(mallory, own, MergeProof.ACCOUNT)
    opt_in.send_due(now=NOW)
    assert [mail["To"] for mail in world.mails()] == [VICTIM]


def test_d3_an_account_says_no_yes_for_an_address_it_never_confirmed(
    installation: Installation, victim: Profile
) -> None:
    mallory = make_profile(installation, saleor_user="VXNlcjo2NjY=")
    join(mallory, victim, MergeProof.ACCOUNT)
    say(victim, DENIED)
    preferences.update(profile=mallory, choice=YES, now=NOW)
    assert states(victim) == [DENIED]


# -- what is erased with whom ----------------------------------------------------------------------------


def test_d10_who_bought_on_anothers_browser_does_not_take_them_along(
    installation: Installation, victim: Profile
) -> None:
    account = make_profile(installation, saleor_user="VXNlcjo3")
    browser = make_profile(installation, anonymous_id="browser-0000-0000-0000")
    friend = make_profile(installation, email=FRIEND)
    join(account, browser, MergeProof.LOGIN)
    join(browser, friend, MergeProof.CHECKOUT_COMPLETED)
    friend.refresh_from_db()
    assert merging.erasable(friend) == {friend.pk}


# -- what a message to an unproved address carries -----------------------------------------------------


def test_b75_a_link_sent_to_an_unconfirmed_address_speaks_for_its_owner_alone(
    world: World, installation: Installation
) -> None:
    """An account named a wrong address: whoever reads its mail opens nothing of the account."""
    account = make_profile(installation, saleor_user="VXNlcjo3")
    own = make_profile(installation, email="own@example.com")
    wrong = make_profile(installation, email=VICTIM)
    Identity.objects.filter(profile=own).update(first_seen_at=NOW - DAY)
    join(account, own, MergeProof.CONFIRMED_EMAIL)
    join(account, wrong, MergeProof.ACCOUNT)
    say(account, GRANTED)
    say(wrong, GRANTED)
    world.checkout(user_id="VXNlcjo3", email=VICTIM, user_email=VICTIM)
    world.advance()
    (mail,) = world.mails()
    assert mail["To"] == VICTIM
    text = mail.get_payload(0).get_payload(decode=True).decode()  # type: ignore[union-attr]
    (token,) = re.findall(r"/preferences/(\S+)", text)
    shown = preferences.read(claims=links.read_preferences_token(token), now=NOW)
    assert {line.profile_id for line in shown.history} == {wrong.pk}


def test_d3_a_friends_yes_does_not_stand_in_for_a_no_of_a_file(
    installation: Installation, victim: Profile
) -> None:
    friend = make_profile(installation, email=FRIEND)
    join(victim, friend, MergeProof.CHECKOUT_COMPLETED)
    say(victim, GRANTED, source="import")
    say(friend, GRANTED)
    offline.record_purchases(
        installation=installation,
        purchases=[
            Purchase(
                number="S-1",
                placed_at=NOW - 2 * DAY,
                channel_slug="us",
                currency="USD",
                total=Decimal(5),
                shown={IdentityKind.EMAIL: VICTIM},
                opt_in=False,
            )
        ],
        now=NOW,
    )
    assert states(victim) == [GRANTED, DENIED]
