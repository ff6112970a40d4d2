"""Double opt-in: one message, one link, one click by the owner of the address (B73, D3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.message import Message as Mail
from typing import Any

import pytest
import time_machine
from django.core import signing
from django.test import Client

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    InstallationStatus,
    NotSentReason,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import opt_in
from saleor_personalize.models import (
    Consent,
    Identity,
    Installation,
    Message,
    Profile,
    email_hash,
)
from saleor_personalize.profiles import consent, merging
from tests.conftest import NOW, make_profile
from tests.integration.reminders import (
    HOUR,
    MINUTE,
    World,
    mailbox,
    run_threads,
    use_smtp,
)

ANN = "ann@example.com"
DAY = timedelta(days=1)
GERMAN = {"email": ANN, "metadata": {"marketing_opt_in": "true"}, "country_code": "DE"}
client = Client(enforce_csrf_checks=True)


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


def subscribe(world: World, *topics: str, at: datetime = NOW, **more: Any) -> None:
    given = {"country_code": "DE", "language_code": "EN", **more}
    opt_in.subscribe(installation=world.installation, address=ANN, topics=topics, now=at, **given)


def person(address: str = ANN) -> Profile:
    return Identity.objects.get(value=email_hash(address)).profile


def ledger() -> list[tuple[str, str, str]]:
    rows = Consent.objects.order_by("pk")
    return list(rows.values_list("topic", "state", "source"))


def link_in(mail: Mail) -> str:
    text = mail.get_payload(0).get_payload(decode=True).decode()  # type: ignore[union-attr]
    (url,) = re.findall(r"https://personalize\.test/confirm/\S+", text)
    return str(url).removeprefix("https://personalize.test")


def open_link(path: str, at: datetime = NOW + HOUR) -> Any:
    with time_machine.travel(at, tick=False):
        return client.get(path)


def press(path: str, at: datetime = NOW + HOUR) -> Any:
    """Press the button of the page, as it was shown."""
    shown = open_link(path, at).content.decode()
    (up_to,) = re.findall(r'name="up_to" value="(\d+)"', shown)
    with time_machine.travel(at, tick=False):
        return client.post(path, {"up_to": up_to})


# -- the message ---------------------------------------------------------------------------------------


def test_b73_a_box_ticked_in_germany_gets_one_question_and_nothing_else(world: World) -> None:
    world.checkout(**GERMAN)
    assert ledger() == [("", "pending", "checkout")]
    assert opt_in.send_due(now=NOW + MINUTE) == 1
    assert opt_in.send_due(now=NOW + 2 * MINUTE) == 0
    world.advance()
    (mail,) = world.mails()
    assert mail["To"] == ANN
    assert mail["Subject"] == "Please confirm: messages from Sock Shop"
    assert mail["List-Unsubscribe"] is None
    assert mail["Auto-Submitted"] == "auto-generated"
    reminder, question = Message.objects.order_by("template")
    assert (reminder.status, reminder.reason) == ("not_sent", NotSentReason.NO_CONSENT)
    assert (question.status, question.purpose) == ("sent", Purpose.TRANSACTIONAL)
    assert question.content == {"topics": [""]}


def test_b73_elsewhere_a_ticked_box_is_enough(world: World) -> None:
    world.checkout(**{**GERMAN, "country_code": "FR"})
    assert ledger() == [("", "granted", "checkout")]
    assert opt_in.send_due(now=NOW + MINUTE) == 0
    world.advance()
    assert [mail["To"] for mail in world.mails()] == [ANN]
    assert Message.objects.get().template == "abandoned_checkout"


def test_b73_the_question_names_topics_and_holds_no_marketing(world: World) -> None:
    subscribe(world, "news", "offers", language_code="DE")
    opt_in.send_due(now=NOW)
    (mail,) = world.mails()
    assert mail.get_content_type() == "multipart/alternative"
    text, html = (part.get_payload(decode=True).decode() for part in mail.get_payload())  # type: ignore[union-attr]
    for body in (text, html):
        assert "Neuigkeiten aus dem Shop" in body
        assert "Angebote und neue Produkte" in body
        assert "9. März 2026" in body
        assert set(re.findall(r"https://[^/\s]+/[a-z]+", body)) == {
            "https://personalize.test/confirm"
        }
    assert '<html lang="de" dir="ltr"' in html
    assert "<img" not in html
    assert ANN not in text + html


def test_b73_however_often_somebody_types_an_address_it_gets_one_question(world: World) -> None:
    for minute in range(10):
        subscribe(world, "news", at=NOW + minute * MINUTE)
        opt_in.send_due(now=NOW + minute * MINUTE)
    subscribe(world, "offers", at=NOW + HOUR)
    assert opt_in.send_due(now=NOW + HOUR) == 1
    assert len(world.mails()) == 1
    assert list(Message.objects.order_by("pk").values_list("status", "reason")) == [
        ("sent", ""),
        ("not_sent", NotSentReason.ALREADY_SENT),
    ]
    subscribe(world, "news", at=NOW + 3 * DAY + MINUTE)
    opt_in.send_due(now=NOW + 3 * DAY + MINUTE)
    assert len(world.mails()) == 2


@pytest.mark.django_db(transaction=True)
def test_b73_many_workers_at_once_ask_once(installation: Installation, settings: Any) -> None:
    with mailbox() as box:
        use_smtp(settings, box.port)
        world = World(installation, box)
        subscribe(world, "news")
        run_threads(*[lambda: opt_in.send_due(now=NOW + MINUTE)] * 4)
        assert len(world.mails()) == 1
        assert Message.objects.get().status == "sent"


@pytest.mark.parametrize("reason", list(SuppressionReason))
def test_b73_a_suppressed_address_is_not_even_asked(
    world: World, reason: SuppressionReason
) -> None:
    consent.suppress(
        installation=world.installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=email_hash(ANN),
        reason=reason,
        now=NOW,
    )
    subscribe(world, "news")
    assert not Identity.objects.exists()
    world.checkout(**GERMAN)
    opt_in.send_due(now=NOW + MINUTE)
    assert world.mails() == []
    assert Message.objects.get().reason == NotSentReason.SUPPRESSED


def test_b73_a_no_that_comes_before_the_question_is_heard(world: World) -> None:
    subscribe(world, "news")
    consent.unsubscribe(profile=person(), address_hash="f" * 64, source="link", now=NOW)
    opt_in.send_due(now=NOW + MINUTE)
    assert opt_in.send_due(now=NOW + 2 * MINUTE) == 0
    assert world.decision() == ("not_sent", NotSentReason.NO_CONSENT)
    assert world.mails() == []


def test_b73_nobody_is_asked_while_the_app_is_off_or_dry(world: World, settings: Any) -> None:
    subscribe(world, "news")
    Installation.objects.update(status=InstallationStatus.INACTIVE)
    opt_in.send_due(now=NOW + MINUTE)
    assert world.decision() == ("not_sent", NotSentReason.INSTALLATION_INACTIVE)
    Installation.objects.update(status=InstallationStatus.ACTIVE)
    Message.objects.all().delete()
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "DRY_RUN": True}
    opt_in.send_due(now=NOW + MINUTE)
    assert world.decision() == ("not_sent", NotSentReason.DRY_RUN)
    assert world.mails() == []


def test_b64_nobody_is_asked_while_all_sends_are_stopped(world: World) -> None:
    subscribe(world, "news")
    journeys.stop_sends(installation=world.installation, now=NOW)
    assert opt_in.send_due(now=NOW + MINUTE) == 0
    assert not Message.objects.exists()
    journeys.resume_sends(installation=world.installation)
    assert opt_in.send_due(now=NOW + HOUR) == 1
    assert len(world.mails()) == 1


def test_b73_a_mail_server_that_is_busy_is_asked_again_ever_later(world: World) -> None:
    subscribe(world, "news")
    world.box.recipient_answer = "451 later"
    at, attempts = NOW, []
    for minute in (0, 0.5, 1, 2, 3, 4):
        at = NOW + minute * MINUTE
        opt_in.send_due(now=at)
        attempts.append(Message.objects.get().attempts)
    assert attempts == [1, 1, 2, 2, 3, 3]
    world.box.recipient_answer = None
    opt_in.send_due(now=at + 10 * MINUTE)
    assert world.decision() == ("sent", "")
    assert len(world.mails()) == 1


def test_b73_what_nobody_asks_for_any_more_is_not_tried_again(world: World) -> None:
    subscribe(world, "news")
    world.box.recipient_answer = "451 later"
    opt_in.send_due(now=NOW)
    Consent.objects.all().delete()
    world.box.recipient_answer = None
    assert opt_in.send_due(now=NOW + 5 * MINUTE) == 1
    assert world.decision() == ("not_sent", NotSentReason.NO_CONSENT)
    assert opt_in.send_due(now=NOW + 10 * MINUTE) == 0
    assert world.mails() == []


def test_b73_a_mailbox_that_does_not_exist_is_not_asked_again(world: World) -> None:
    subscribe(world, "news")
    world.box.recipient_answer = "550 no such mailbox"
    for minute in range(0, 100, 10):
        opt_in.send_due(now=NOW + minute * MINUTE)
    message = Message.objects.get()
    assert (message.status, message.reason, message.attempts) == (
        "not_sent",
        NotSentReason.CHANNEL_ERROR,
        1,
    )


def test_b73_a_server_that_hangs_up_may_have_it_so_it_is_not_sent_again(world: World) -> None:
    subscribe(world, "news")
    world.box.hangs_up_after_data = True
    opt_in.send_due(now=NOW)
    world.box.hangs_up_after_data = False
    opt_in.send_due(now=NOW + 5 * MINUTE)
    assert Message.objects.get().status == "uncertain"
    assert len(world.mails()) == 1


# -- the answer -----------------------------------------------------------------------------------------


def test_b73_a_hundred_scanners_open_the_link_and_confirm_nothing(world: World) -> None:
    subscribe(world, "news")
    opt_in.send_due(now=NOW)
    path = link_in(world.mails()[0])
    for _ in range(50):
        answer = open_link(path)
        assert answer.status_code == 200
        assert client.head(path).status_code in {200, 410}
    assert ledger() == [("news", "pending", "subscribe")]
    assert Identity.objects.get().confirmed_at is None
    page = answer.content.decode()
    assert "News from the shop" in page
    assert "Yes, write to me" in page
    assert "ann" not in page.replace("channel", "")
    assert answer["Referrer-Policy"] == "no-referrer"


def test_b73_the_button_confirms_the_yes_and_the_address(world: World) -> None:
    subscribe(world, "news", wording_version="form-7")
    opt_in.send_due(now=NOW)
    answer = press(link_in(world.mails()[0]))
    assert "Thank you, it is confirmed" in answer.content.decode()
    assert ledger() == [("news", "pending", "subscribe"), ("news", "granted", "double_opt_in")]
    line = Consent.objects.latest("pk")
    assert (line.recorded_at, line.wording_version) == (NOW + HOUR, "form-7")
    assert (line.country_code, line.rule) == ("DE", "double_opt_in")
    assert Identity.objects.get().confirmed_at == NOW + HOUR


def test_b73_after_the_button_the_reminder_comes(world: World) -> None:
    world.checkout(**GERMAN)
    opt_in.send_due(now=NOW + MINUTE)
    press(link_in(world.mails()[0]), NOW + 10 * MINUTE)
    world.advance()
    assert [mail["Subject"].startswith("Please confirm") for mail in world.mails()] == [True, False]


def test_b73_pressing_twice_is_harmless(world: World) -> None:
    subscribe(world, "news")
    opt_in.send_due(now=NOW)
    path = link_in(world.mails()[0])
    press(path)
    with time_machine.travel(NOW + HOUR, tick=False):
        again = client.post(path, {"up_to": "999999"})
    assert "Thank you, it is confirmed" in again.content.decode()
    assert len(ledger()) == 2


def test_b73_the_link_ends(world: World) -> None:
    subscribe(world, "news")
    opt_in.send_due(now=NOW)
    path = link_in(world.mails()[0])
    late = NOW + 7 * DAY
    assert open_link(path, late - timedelta(seconds=1)).status_code == 200
    assert open_link(path, late).status_code == 410
    with time_machine.travel(late, tick=False):
        assert client.post(path, {"up_to": "999999"}).status_code == 410
    assert ledger() == [("news", "pending", "subscribe")]
    assert Identity.objects.get().confirmed_at is None


def test_b73_only_what_was_shown_is_confirmed(world: World) -> None:
    """Somebody types the address again while the owner reads the page."""
    subscribe(world, "news")
    opt_in.send_due(now=NOW)
    path = link_in(world.mails()[0])
    (up_to,) = re.findall(r'name="up_to" value="(\d+)"', open_link(path).content.decode())
    subscribe(world, "offers", at=NOW + HOUR)
    with time_machine.travel(NOW + HOUR, tick=False):
        client.post(path, {"up_to": up_to})
        client.post(path, {"up_to": "x"})
        client.post(path)
    assert ledger()[-1] == ("news", "granted", "double_opt_in")
    assert Consent.objects.filter(topic="offers").get().state == ConsentState.PENDING


def test_b73_a_no_after_the_question_outweighs_its_link(world: World) -> None:
    subscribe(world)
    opt_in.send_due(now=NOW)
    path = link_in(world.mails()[0])
    consent.unsubscribe(profile=person(), address_hash=email_hash(ANN), source="link", now=NOW)
    assert "There is nothing to confirm" in open_link(path).content.decode()
    with time_machine.travel(NOW + HOUR, tick=False):
        client.post(path, {"up_to": "999999"})
    assert ledger()[-1] == ("", "denied", "link")


def test_d3_a_form_brings_nobody_back_who_said_no_but_their_own_click_does(world: World) -> None:
    profile = make_profile(world.installation, email=ANN)
    consent.record(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=ConsentState.DENIED,
        source="account",
        now=NOW - DAY,
    )
    # In France a yes is usually enough.
    subscribe(world, country_code="FR")
    assert ledger()[-1] == ("", "pending", "subscribe")
    assert not consent.is_granted(
        profile=profile, purpose=Purpose.MARKETING, delivery_channel=DeliveryChannel.EMAIL
    )
    opt_in.send_due(now=NOW)
    press(link_in(world.mails()[0]))
    assert ledger()[-1] == ("", "granted", "double_opt_in")


def test_d3_a_confirmed_yes_holds_for_the_whole_person(world: World) -> None:
    subscribe(world, "news")
    browser = make_profile(world.installation, anonymous_id="browser-0000-0000-0000")
    merging.prove(
        installation=world.installation,
        first=browser,
        second=person(),
        proof="login",
        now=NOW,
    )
    opt_in.send_due(now=NOW)
    press(link_in(world.mails()[0]))
    granted = Consent.objects.filter(state="granted", source="double_opt_in")
    assert {line.profile_id for line in granted} == {browser.pk, person().pk}


def test_b73_forged_and_foreign_links_are_unknown(
    world: World, other_installation: Installation
) -> None:
    subscribe(world, "news")
    opt_in.send_due(now=NOW)
    token = link_in(world.mails()[0]).removeprefix("/confirm/")
    profile = person()
    until = int((NOW + DAY).timestamp())
    hash_ = email_hash(ANN)
    salt = "saleor_personalize.confirmation"
    bad = [
        "x",
        token[:-1],
        token.swapcase(),
        signing.dumps([profile.installation_id, profile.public_id.hex, hash_], salt=salt),
        signing.dumps(
            [profile.installation_id, profile.public_id.hex, hash_, until],
            salt="saleor_personalize.unsubscribe",
        ),
        # Signed by us, for a person of another shop.
        signing.dumps([other_installation.pk, profile.public_id.hex, hash_, until], salt=salt),
        signing.dumps([None, None, None, None], salt=salt),
    ]
    for each in bad:
        assert open_link(f"/confirm/{each}").status_code == 404, each
        with time_machine.travel(NOW + HOUR, tick=False):
            assert client.post(f"/confirm/{each}", {"up_to": "999999"}).status_code == 404
    assert ledger() == [("news", "pending", "subscribe")]


def test_b73_the_link_of_an_erased_person_is_unknown(world: World) -> None:
    subscribe(world, "news")
    opt_in.send_due(now=NOW)
    path = link_in(world.mails()[0])
    person().delete()
    assert open_link(path).status_code == 404


# -- soft opt-in ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"marketing_opt_out": "false"}, [("reminders", "granted"), ("offers", "granted")]),
        ({"marketing_opt_out": "true"}, [("", "denied")]),
        ({}, []),
        ({"marketing_opt_out": "perhaps"}, []),
    ],
)
def test_b73_a_customer_who_could_object_and_did_not_is_written_to(
    world: World, settings: Any, metadata: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CONSENT_RULES": {"FR": "soft_opt_in"},
    }
    for id_, placed_at in (("order-1", NOW), ("order-old", NOW - 2 * DAY)):
        order = world.order(id=id_, email=f"{id_}@example.com", at=placed_at)
        consent.follow_order(
            order=order, metadata=metadata, country_code="FR", language_code="FR", now=NOW
        )
    assert [(topic, state) for topic, state, _ in ledger()] == expected
    # What is of long ago, as a back-fill reads it, permits nothing.
    assert not Consent.objects.filter(profile=person("order-old@example.com")).exists()


def test_b73_a_soft_opt_in_lets_the_reminder_out_until_they_say_no(
    world: World, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CONSENT_RULES": {"FR": "soft_opt_in"},
    }
    order = world.order(email=ANN, at=NOW - 2 * HOUR)
    consent.follow_order(
        order=order,
        metadata={"marketing_opt_out": "false"},
        country_code="FR",
        language_code="FR",
        now=NOW - 2 * HOUR,
    )
    world.checkout(email=ANN)
    world.advance()
    assert [mail["To"] for mail in world.mails()] == [ANN]
    consent.choose(
        profile=person(),
        choices=[consent.Choice(Purpose.MARKETING, DeliveryChannel.EMAIL, "", False)],
        source="preferences",
        now=NOW,
    )
    world.checkout("checkout-2", email=ANN, at=NOW + DAY)
    world.advance(NOW + DAY + 2 * HOUR)
    assert len(world.mails()) == 1
