"""The preference centre: what a person gets, in their language, without a login (B75, B124)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core import signing
from django.test import Client

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    JourneySource,
    NotSentReason,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import links, preferences
from saleor_personalize.models import (
    Consent,
    Event,
    Installation,
    Profile,
    Suppression,
    email_hash,
)
from saleor_personalize.profiles import consent, merging
from tests.conftest import NOW, make_profile
from tests.integration.reminders import HOUR, World

ALICE = "alice@example.com"
client = Client(enforce_csrf_checks=True)


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def with_channels(settings: Any, *names: str) -> None:
    channel = "saleor_personalize.messaging.channels.console.ConsoleChannel"
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CHANNELS": dict.fromkeys(names, channel),
    }


def path_of(profile: Profile, address: str = ALICE, language: str = "EN") -> str:
    url = links.preferences_url(
        profile=profile, address_hash=email_hash(address), language_code=language
    )
    assert url.startswith("https://personalize.test/preferences/")
    return url.removeprefix("https://personalize.test")


def page(path: str, **headers: str) -> str:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200
    return str(answer.content.decode())


def ticked(path: str) -> set[str]:
    return set(re.findall(r'name="(?:allow" value=")?([a-z_:]+)" checked', page(path)))


def save(
    path: str, *allow: str, profiling: bool = True, pause: bool = False, most: str = ""
) -> Any:
    form: dict[str, Any] = {"allow": list(allow), "most": most}
    form |= {"profiling": "on"} if profiling else {}
    form |= {"pause": "on"} if pause else {}
    answer = client.post(path, form)
    assert answer.status_code == 303, answer.content
    assert answer["Location"] == f"{path}?saved"
    return answer


def ledger(profile: Profile) -> list[tuple[str, str, str, str]]:
    rows = Consent.objects.filter(profile=profile).order_by("pk")
    return list(rows.values_list("purpose", "delivery_channel", "topic", "state"))


def state(profile: Profile, topic: str) -> ConsentState | None:
    return consent.state(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        topic=topic,
    )


# -- looking changes nothing --------------------------------------------------------------------------


def test_b75_a_hundred_gets_change_nothing(alice: Profile) -> None:
    path = path_of(alice)
    before = ledger(alice)
    for _ in range(50):
        assert (
            client.get(f"{path}?saved&unsubscribe=1&allow=email:news&pause=on").status_code == 200
        )
        assert client.head(path).status_code == 200
    assert ledger(alice) == before
    assert not Suppression.objects.exists()
    alice.refresh_from_db()
    assert (alice.paused_until, alice.max_messages_per_week) == (None, None)


def test_b75_the_page_shows_what_holds_and_nothing_of_the_person(
    alice: Profile, installation: Installation
) -> None:
    Profile.objects.filter(pk=alice.pk).update(language_code="EN")
    alice.refresh_from_db()
    alice.first_name = "Alicia"
    alice.save()
    consent.record(
        profile=alice,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=ConsentState.DENIED,
        topic="news",
        source="preferences",
        now=NOW - timedelta(days=1),
    )
    Installation.objects.update(sender="Sock Shop <hello@socks.example>")
    path = path_of(alice)
    shown = page(path)
    assert ticked(path) == {"email:reminders", "email:offers", "email:stock_alerts", "profiling"}
    assert "Your messages from Sock Shop" in shown
    assert "For a•••@e•••.com" in shown
    assert ALICE not in shown
    assert "Alicia" not in shown
    history = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown.split("<details")[1]))
    assert "Refused: News from the shop (E-mail) March 1, 2026 · on this page" in history
    assert "Allowed: Offers, reminders and news (E-mail) March 2, 2026 · test" in history
    answer = client.get(path)
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["X-Robots-Tag"] == "noindex"
    assert "no-store" in answer["Cache-Control"]
    assert answer.cookies == {}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("alice@example.com", "a•••@e•••.com"),
        ("x@mail.shop.co.uk", "x•••@m•••.uk"),
        ("weiß@straße.de", "w•••@s•••.de"),
        ("nobody", ""),
        ("", ""),
        ("@x.com", ""),
    ],
)
def test_b75_an_address_is_masked(address: str, expected: str) -> None:
    assert preferences.masked(address) == expected


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("DE", "Worüber möchten Sie lesen?"),
        ("FR", "De quoi souhaitez-vous entendre parler ?"),
        ("ES", "¿Sobre qué desea recibir mensajes?"),
        ("PL", "O czym chcesz otrzymywać wiadomości?"),
        ("EN_GB", "What would you like to hear about?"),
    ],
)
def test_b75_the_page_speaks_the_persons_language(
    alice: Profile, language: str, words: str
) -> None:
    """That of the message, whatever the browser asks for; what the profile says counts more."""
    path = path_of(alice, language=language)
    assert words in page(path, **{"Accept-Language": "pl"})
    Profile.objects.filter(pk=alice.pk).update(language_code="DE")
    assert "Worüber möchten Sie lesen?" in page(path)
    Profile.objects.filter(pk=alice.pk).update(language_code="")
    nobody_knows = path_of(alice, language="")
    assert "O czym chcesz" in page(nobody_knows, **{"Accept-Language": "pl"})


# -- choosing -------------------------------------------------------------------------------------------


def test_b75_what_is_chosen_holds_at_once_for_the_whole_person(
    alice: Profile, installation: Installation
) -> None:
    browser = make_profile(installation, anonymous_id="browser-0000-0000-0000")
    merging.prove(installation=installation, first=browser, second=alice, proof="login", now=NOW)
    path = path_of(alice, language="DE")
    save(path, "email:news", profiling=False, pause=True, most="2")
    assert ticked(path) == {"email:news", "pause"}
    for profile in (alice, browser):
        assert [state(profile, topic) for topic in ("reminders", "offers", "news")] == [
            "denied",
            "denied",
            "granted",
        ]
        assert not consent.may_profile(profile=profile)
        profile.refresh_from_db()
        assert profile.paused_until == NOW + timedelta(days=30)
        assert profile.max_messages_per_week == 2
    line = Consent.objects.filter(profile=alice, topic="offers").get()
    assert (line.source, line.wording_version, line.language_code) == (
        "preferences",
        preferences.WORDING,
        "DE",
    )
    assert line.recorded_at == NOW


def test_b75_saving_what_was_there_adds_no_line(alice: Profile) -> None:
    path, before = path_of(alice), ledger(alice)
    save(path, "email:reminders", "email:offers", "email:news", "email:stock_alerts")
    assert ledger(alice) == before


def test_b75_a_pause_is_not_longer_for_saving_twice_and_ends_when_it_is_unticked(
    alice: Profile,
) -> None:
    path = path_of(alice)
    save(path, "email:offers", pause=True)
    with time_machine.travel(NOW + timedelta(days=10), tick=False):
        save(path, "email:offers", pause=True)
        alice.refresh_from_db()
        assert alice.paused_until == NOW + timedelta(days=30)
        save(path, "email:offers")
    alice.refresh_from_db()
    assert alice.paused_until is None
    with time_machine.travel(NOW + timedelta(days=40), tick=False):
        Profile.objects.filter(pk=alice.pk).update(paused_until=NOW + timedelta(days=30))
        assert "pause" not in ticked(path)
        save(path, "email:offers", pause=True)
        alice.refresh_from_db()
        assert alice.paused_until == NOW + timedelta(days=70)


def test_b75_without_any_topic_later_ones_are_refused_as_well(alice: Profile) -> None:
    save(path_of(alice))
    assert ledger(alice)[-1] == ("marketing", "email", "", "denied")
    assert state(alice, "something-new") == ConsentState.DENIED


def test_b75_each_delivery_channel_is_chosen_apart(alice: Profile, settings: Any) -> None:
    with_channels(settings, "push", "email", "no_channel_of_ours")
    path = path_of(alice)
    shown = page(path)
    assert re.findall(r'value="([a-z_]+:[a-z_]+)"', shown) == [
        f"{channel}:{topic}"
        for topic in ("reminders", "offers", "news", "stock_alerts")
        for channel in ("email", "push")
    ]
    save(
        path,
        "email:reminders",
        "email:offers",
        "email:news",
        "email:stock_alerts",
        "push:offers",
        "sms:news",
        "x",
    )
    assert ledger(alice)[1:] == [("marketing", "push", "offers", "granted")]
    assert "push:offers" in ticked(path)


def test_b75_only_ways_by_which_the_shop_can_send_are_offered_and_what_was_allowed_can_be_taken_back(
    installation: Installation, alice: Profile
) -> None:
    path = path_of(alice)
    assert 'value="email:offers"' in page(path)
    assert 'value="push:' not in page(path)
    assert {each.delivery_channel for each in preferences.standings(profile=alice)} == {
        "email",
        None,
    }
    # From now on the shop has something to say on its pages.
    built_in = journeys.built_in()["abandoned_checkout"]
    in_app = replace(built_in.steps[0], delivery_channel="in_app")
    published = journeys.publish(
        installation=installation,
        definition=replace(built_in, steps=(in_app,)),
        source=JourneySource.FILE,
        now=NOW,
    )
    assert 'value="in_app:' not in page(path)
    journeys.go_live(journey=published.journey, now=NOW)
    assert 'value="in_app:offers"' in page(path)
    # The shop sent push before, and may again.
    consent.record(
        profile=alice,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.PUSH,
        state=ConsentState.GRANTED,
        source="device",
        now=NOW,
    )
    assert 'value="push:offers"' in page(path)
    save(path, "email:offers")
    assert 'value="push:' not in page(path)
    assert not consent.is_granted(
        profile=alice, purpose=Purpose.MARKETING, delivery_channel=DeliveryChannel.PUSH
    )


@pytest.mark.parametrize("most", ["", "0", "5", "99", "-1", "1e3", "9" * 5000])
def test_b75_odd_numbers_are_no_limit(alice: Profile, most: str) -> None:
    save(path_of(alice), "email:offers", most=most)
    alice.refresh_from_db()
    assert alice.max_messages_per_week is None


def test_b75_a_limit_set_elsewhere_can_be_kept(alice: Profile) -> None:
    Profile.objects.filter(pk=alice.pk).update(max_messages_per_week=5)
    path = path_of(alice)
    assert '<option value="5" selected>' in page(path)
    save(path, "email:offers", most="5")
    alice.refresh_from_db()
    assert alice.max_messages_per_week == 5


def test_b75_odd_forms_change_nothing_they_do_not_name(alice: Profile) -> None:
    path = path_of(alice)
    allow = [
        "email:offers",
        "email:news",
        "email:stock_alerts",
        "email:reminders",
        "email:unknown",
        "\x00:\x00",
        ":",
        "",
    ]
    answer = client.post(path, {"allow": allow, "profiling": "on", "state": "denied"})
    assert answer.status_code == 303
    assert ledger(alice) == [("marketing", "email", "", "granted")]


# -- out, and back ----------------------------------------------------------------------------------------


def test_b75_out_of_everything_with_one_button(alice: Profile, settings: Any) -> None:
    with_channels(settings, "email", "push")
    path = path_of(alice)
    save(path, "email:reminders", "email:offers", "email:news", "email:stock_alerts", "push:news")
    answer = client.post(path, {"unsubscribe": "1", "allow": ["email:offers"]})
    assert (answer.status_code, answer["Location"]) == (303, f"{path}?unsubscribed")
    assert ticked(path) == {"profiling"}
    for channel in DeliveryChannel:
        assert ("marketing", channel.value, "", "denied") in ledger(alice)
    suppression = Suppression.objects.get()
    assert suppression.address_hash == email_hash(ALICE)
    assert suppression.reason == SuppressionReason.UNSUBSCRIBED
    assert "You are unsubscribed from everything" in page(f"{path}?unsubscribed")


def test_b75_who_unsubscribed_can_come_back_by_their_own_link(world: World, alice: Profile) -> None:
    path = path_of(alice)
    client.post(path, {"unsubscribe": "1"})
    save(path, "email:reminders")
    assert not Suppression.objects.exists()
    assert ticked(path) == {"email:reminders", "profiling"}
    world.checkout()
    world.advance()
    assert len(world.mails()) == 1


def test_b75_an_address_that_complained_stays_stopped(
    alice: Profile, installation: Installation
) -> None:
    consent.suppress(
        installation=installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=email_hash(ALICE),
        reason=SuppressionReason.COMPLAINT,
        now=NOW,
    )
    save(path_of(alice), "email:reminders")
    assert Suppression.objects.get().reason == SuppressionReason.COMPLAINT


def test_b124_refusing_profiling_on_the_page_deletes_what_was_observed(
    alice: Profile, installation: Installation
) -> None:
    for number in range(3):
        Event.objects.create(
            installation=installation,
            profile=alice,
            event_id=f"e{number}",
            type="product_viewed",
            occurred_at=NOW,
            received_at=NOW,
            source="storefront",
        )
    path = path_of(alice)
    save(
        path, "email:reminders", "email:offers", "email:news", "email:stock_alerts", profiling=False
    )
    assert not Event.objects.exists()
    assert ledger(alice)[-1] == ("profiling", "", "", "denied")
    # Messages are another matter.
    assert state(alice, "offers") == ConsentState.GRANTED
    save(path, "email:reminders", "email:offers", "email:news")
    assert consent.may_profile(profile=alice)


# -- links ------------------------------------------------------------------------------------------------


def test_b75_the_footer_of_a_real_mail_leads_here(world: World, alice: Profile) -> None:
    world.checkout()
    world.advance()
    (mail,) = world.mails()
    text, html = (part.get_payload(decode=True).decode() for part in mail.get_payload())  # type: ignore[union-attr]
    for body in (text, html):
        (url,) = set(re.findall(r"https://personalize\.test(/preferences/[^\s\"<]+)", body))
        assert "What would you like to hear about?" in page(url)
        assert "https://personalize.test/u/" in body
    save(url, "email:offers")
    world.checkout("checkout-2", at=NOW + 5 * HOUR)
    world.advance(NOW + 7 * HOUR)
    assert len(world.mails()) == 1


def test_b75_a_choice_made_while_saleor_is_asked_stops_the_message(
    world: World, alice: Profile
) -> None:
    world.checkout()
    world.saleor.before_answer = lambda checkout: save(path_of(alice), "email:offers") and None
    world.advance()
    assert world.decision() == ("not_sent", NotSentReason.TOPIC_REFUSED)
    assert world.mails() == []


def test_b75_forged_foreign_and_erased_links_are_unknown(
    alice: Profile, other_installation: Installation
) -> None:
    salt = "saleor_personalize.preferences"
    hash_ = email_hash(ALICE)
    good = path_of(alice).removeprefix("/preferences/")
    bad = [
        "x",
        "a:b:c",
        good[:-1],
        good.swapcase(),
        # A link that unsubscribes is no key to the preferences.
        links.unsubscribe_url(profile=alice, address_hash=hash_).rpartition("/")[2],
        signing.dumps([alice.installation_id, alice.public_id.hex, hash_], salt=salt),
        signing.dumps([other_installation.pk, alice.public_id.hex, hash_, "EN"], salt=salt),
        signing.dumps([10**6, alice.public_id.hex, hash_, "EN"], salt=salt),
        signing.dumps([alice.installation_id, "f" * 32, hash_, "EN"], salt=salt),
    ]
    before = ledger(alice)
    for token in bad:
        assert client.get(f"/preferences/{token}").status_code == 404, token
        assert client.post(f"/preferences/{token}", {"unsubscribe": "1"}).status_code == 404, token
    assert ledger(alice) == before
    assert not Suppression.objects.exists()


def test_b75_the_link_works_years_later_and_where_forms_are_guarded(
    alice: Profile, settings: Any
) -> None:
    with time_machine.travel(datetime(2019, 5, 1, tzinfo=UTC), tick=False):
        path = path_of(alice)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]
    save(path, "email:offers")
    assert state(alice, "news") == ConsentState.DENIED


def test_b75_only_this_shop_is_changed(alice: Profile, dave: Profile) -> None:
    before = ledger(dave)
    client.post(path_of(alice), {"unsubscribe": "1"})
    assert ledger(dave) == before


def test_b75_a_link_opens_nothing_that_only_a_cart_joined(
    alice: Profile, installation: Installation
) -> None:
    """Whose cart carried Alice's address does not read what she answered."""
    mallory = make_profile(installation, email="mallory@example.com")
    merging.prove(
        installation=installation,
        first=mallory,
        second=alice,
        proof="checkout_completed",
        now=NOW,
    )
    path = path_of(mallory, "mallory@example.com")
    shown = page(path)
    assert ticked(path) == {"profiling"}
    assert "Nothing yet: you never said yes or no." in shown
    save(path, "email:news", "email:offers", "email:reminders")
    assert ticked(path) == {"email:news", "email:offers", "email:reminders", "profiling"}
    assert ledger(alice) == [("marketing", "email", "", "granted")]
