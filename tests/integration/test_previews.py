"""B82: a message as a real person would get it, a test to oneself, and what is wrong with it."""

from __future__ import annotations

import json
import re
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from saleor_personalize.enums import CheckoutCloseReason, DeliveryChannel, Purpose
from saleor_personalize.journeys.triggers import AskSaleor, Go, Live, Verdict
from saleor_personalize.journeys.versions import ensure_journey
from saleor_personalize.messaging import content_checks
from saleor_personalize.messaging.rendering import Rendered
from saleor_personalize.models import (
    Checkout,
    Consent,
    Enrollment,
    Installation,
    Message,
    Offer,
    Profile,
    Suppression,
)
from tests.catalogue import Catalogue
from tests.conftest import NOW
from tests.integration.signal_trigger import Signal, come_in, message, publish
from tests.integration.test_dashboard import headers, outcome

OUTBOX = {"person": "alice@example.com", "journey": "test"}


@pytest.fixture(autouse=True)
def _shop(settings: Any, alice: Profile) -> Any:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRIGGERS": {"signal": "tests.integration.signal_trigger.Signal"},
    }
    Signal.over, Signal.entries = set(), []
    mail.outbox = []
    alice.first_name, alice.language_code = "Alice", "DE"
    alice.save()
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def journey(installation: Installation, alice: Profile) -> None:
    row = publish(installation, message("first"), message("second", template="welcome"))
    come_in(row, alice)


def rows() -> dict[str, int]:
    return {
        model.__name__: model.objects.count()
        for model in (Message, Enrollment, Offer, Consent, Suppression)
    }


def run(*words: str) -> str:
    out = StringIO()
    call_command("personalize_messages", *words, stdout=out)
    return out.getvalue()


PREVIEW = ("preview", "--journey", "test", "--person", "alice@example.com")


@pytest.mark.usefixtures("journey")
def test_b82_the_terminal_shows_what_alice_would_get_and_records_nothing(tmp_path: Path) -> None:
    before = rows()
    file = tmp_path / "mail.html"
    told = run(*PREVIEW, "--html", str(file))
    assert "Hallo Alice" in told
    assert "Ihr Warenkorb" in told
    assert "Hallo Alice" in file.read_text()
    assert "Hi Alice" in run(*PREVIEW, "--language", "EN")
    short = json.loads(run(*PREVIEW, "--step", "second", "--over", "push", "--json"))
    assert short["deliveryChannel"] == "push"
    assert short["title"]
    assert short["html"] == ""
    assert short["findings"] == []
    assert rows() == before
    assert mail.outbox == []


@pytest.mark.usefixtures("journey")
def test_b82_a_test_goes_to_staff_and_its_links_speak_for_nobody(client: Client) -> None:
    before = rows()
    run("test-send", *PREVIEW[1:], "--to", "me@shop.example")
    (sent,) = mail.outbox
    assert sent.to == ["me@shop.example"]
    assert sent.subject.startswith("[Test] ")
    assert "List-Unsubscribe" not in sent.extra_headers
    link = next(
        line.split()[-1] for line in str(sent.body).splitlines() if "/u/" in line
    ).removeprefix("https://personalize.example.com")
    path = "/u/" + link.partition("/u/")[2]
    assert client.post(path).status_code == 200
    assert rows() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--journey", "none"), "There is no journey 'none'"),
        (("--step", "third"), "first, second"),
        (("--person", "nobody@example.com"), "Nobody, or more than one"),
        (("--step", "first", "--over", "sms", "--journey", "broken"), "has words for: email"),
    ],
)
@pytest.mark.usefixtures("journey")
def test_b82_what_cannot_be_shown_says_why(
    installation: Installation, settings: Any, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    broken(installation, settings, tmp_path, "{{ nothing }}")
    with pytest.raises(CommandError, match=told):
        run(*PREVIEW, *words)


def broken(installation: Installation, settings: Any, folder: Path, html: str) -> None:
    place = folder / "saleor_personalize" / "messages" / "ours"
    place.mkdir(parents=True, exist_ok=True)
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(folder)]}]
    for name, text in (("subject.txt", "S" * 90), ("body.txt", "Hello"), ("body.html", html)):
        (place / name).write_text(text)
    publish(installation, message("first", template="ours"), key="broken")


def test_b82_every_fault_of_a_template_is_named(
    installation: Installation, settings: Any, tmp_path: Path
) -> None:
    """Broken variable, missing alt, missing unsubscribe, size."""
    words = ("preview", "--journey", "broken", "--person", "alice@example.com", "--json")
    catalogue = Catalogue(installation, NOW)
    catalogue.channel("us")
    catalogue.product(1, "Grey Hoodie")
    broken(installation, settings, tmp_path, "{{ nothing }}")
    (fault,) = json.loads(run(*words))["findings"]
    assert fault["code"] == "template_incomplete"
    assert "'nothing'" in fault["text"]
    assert fault["is_blocking"] is True
    with pytest.raises(CommandError, match="'nothing'"):
        run("test-send", *words[1:-1], "--to", "me@shop.example")
    assert mail.outbox == []

    broken(
        installation, settings, tmp_path, '<img src="https://cdn.example/a.png">' + "x" * 102_000
    )
    from saleor_personalize.messaging import rendering

    rendering._engine.cache_clear()
    is_blocking = {one["code"]: one["is_blocking"] for one in json.loads(run(*words))["findings"]}
    assert is_blocking == {
        "long_subject": False,
        "no_alt": False,
        "no_unsubscribe": True,
        "size": True,
    }


@pytest.mark.usefixtures("journey")
def test_b82_what_speaks_against_sending_it_now_is_said(
    client: Client, installation: Installation
) -> None:
    Enrollment.objects.update(context={"stop": True})
    assert "It would not be sent now: The moment has passed" in run(*PREVIEW)
    shown = client.post("/dashboard/previews/show/", OUTBOX, headers=headers(installation))
    assert "It would not be sent now" in shown.content.decode()


def test_b126_a_sensitive_name_is_found_in_subject_and_push_and_not_in_the_body() -> None:
    def codes(rendered: Rendered, channel: DeliveryChannel) -> list[str]:
        found = content_checks.findings(
            rendered=rendered,
            delivery_channel=channel,
            purpose=Purpose.TRANSACTIONAL,
            ways_out=[],
            sensitive_names=["Test kit"],
        )
        return [one.code for one in found]

    mail_ = {"text": "Your test kit", "html": "<p>Your test kit</p>"}
    assert codes(Rendered(subject="Your TEST KIT", **mail_), DeliveryChannel.EMAIL) == ["sensitive"]
    assert codes(Rendered(subject="Your order", **mail_), DeliveryChannel.EMAIL) == []
    assert codes(Rendered(title="Back", text="Your test kit"), DeliveryChannel.PUSH) == [
        "sensitive"
    ]


# -- the page --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("journey")
def test_b82_staff_look_on_the_page_and_send_it_to_themselves(
    client: Client, installation: Installation
) -> None:
    before = rows()
    signed = headers(installation)
    assert (
        "abandoned_checkout" in client.get("/dashboard/previews/", headers=signed).content.decode()
    )
    shown = client.post("/dashboard/previews/show/", OUTBOX, headers=signed).content.decode()
    assert "Hallo Alice" in shown
    assert "staff@example.com" in shown
    assert mail.outbox == []
    client.post("/dashboard/previews/send/", {**OUTBOX, "to": "x@evil.test"}, headers=signed)
    (sent,) = mail.outbox
    assert sent.to == ["staff@example.com"]
    assert rows() == before


@pytest.mark.usefixtures("journey")
def test_b82_what_can_be_chosen_is_offered_and_what_cannot_be_sent_is_not(
    client: Client, installation: Installation
) -> None:
    signed = headers(installation)
    html = client.get("/dashboard/previews/?journey=test", headers=signed).content.decode()
    assert re.findall(r'<option value="(first|second)">([^<]+)<', html) == [
        ("first", "Cart reminder"),
        ("second", "Welcome! Good to have you here"),
    ]
    assert '<option value="de">Deutsch<' in html
    assert "Only e-mail is sent as a test." not in html
    other = client.get("/dashboard/previews/", headers=signed).content.decode()
    assert '<option value="second">' not in other
    html = client.get(
        "/dashboard/previews/?journey=test&step=second&over=push", headers=signed
    ).content.decode()
    assert '<option value="second" selected>' in html
    assert '<button id="previews-send" type="submit" class="button" disabled' in html
    assert "Only e-mail is sent as a test." in html
    # A message knows its language by Saleor's name for it.
    shown = {**OUTBOX, "language": "DE"}
    html = client.post("/dashboard/previews/show/", shown, headers=signed).content.decode()
    assert '<option value="de" selected>' in html


def test_b82_whose_cart_was_ordered_is_told_so(
    client: Client, installation: Installation, alice: Profile
) -> None:
    Checkout.objects.create(
        installation=installation,
        profile=alice,
        saleor_id="Q2hlY2tvdXQ6MQ==",
        channel_slug="us",
        last_changed_at=NOW,
        closed_at=NOW,
        close_reason=CheckoutCloseReason.ORDERED,
        total=12,
    )
    row = ensure_journey(installation=installation, key="abandoned_checkout")
    Enrollment.objects.create(
        installation=installation,
        journey=row,
        version=row.published,
        profile=alice,
        subject_kind="checkout",
        subject_saleor_id="Q2hlY2tvdXQ6MQ==",
        entry_key="one",
        occurred_at=NOW,
        due_at=NOW,
        step_since=NOW,
        created_at=NOW,
        context={"channel": "us"},
        path=[0],
    )
    asked = {**OUTBOX, "journey": "abandoned_checkout"}
    answer = client.post("/dashboard/previews/show/", asked, headers=headers(installation))
    assert outcome(answer)["title"] == "It cannot be shown"
    assert outcome(answer)["text"] == "There is nothing to show: The person has ordered since."


@pytest.mark.parametrize(
    ("path", "lacking"),
    [("show", "MANAGE_USERS"), ("send", "MANAGE_USERS"), ("send", "MANAGE_ORDERS")],
)
@pytest.mark.usefixtures("journey")
def test_b82_who_may_not_see_people_or_write_to_them_may_not_try(
    client: Client, installation: Installation, path: str, lacking: str
) -> None:
    few = [one for one in installation.permissions if one != lacking]
    signed = headers(installation, permissions=few, user_permissions=few)
    answer = client.post(f"/dashboard/previews/{path}/", OUTBOX, headers=signed)
    assert answer.status_code == 403
    assert mail.outbox == []


class Weather:
    """What only somebody else knows."""

    key = "weather"

    def ask(self) -> str:
        raise AssertionError("an example asks nobody")


class Outdoors(Signal):
    """A trigger of a shop's own, with a question of its own."""

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        return AskSaleor((Weather(),)) if live is None else Go()


def test_b82_an_example_of_what_only_saleor_knows_says_what_helps(
    client: Client, installation: Installation, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRIGGERS": {"signal": "tests.integration.test_previews.Outdoors"},
    }
    catalogue = Catalogue(installation, NOW)
    catalogue.channel("us")
    catalogue.product(1, "Grey Hoodie")
    publish(installation, message("first"))
    before = rows()
    asked = {"journey": "test", "person": ""}
    answer = client.post("/dashboard/previews/show/", asked, headers=headers(installation))
    assert outcome(answer)["title"] == "It cannot be shown"
    assert outcome(answer)["text"] == (
        "There is nothing to show: this journey needs somebody who was in it. Name one of them."
    )
    assert rows() == before


@pytest.mark.usefixtures("journey")
def test_b82_another_shop_sees_nobody_of_this_one(
    client: Client, other_installation: Installation
) -> None:
    publish(other_installation, message("first"))
    answer = client.post("/dashboard/previews/show/", OUTBOX, headers=headers(other_installation))
    assert "Hallo Alice" not in answer.content.decode()
    assert outcome(answer)["text"].startswith("Nobody, or more than one")
