"""B84, B85: what every message can show, and the same list in the mail as on the site."""

from __future__ import annotations

import json
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.test import Client

from saleor_personalize.enums import MessageStatus, NotSentReason
from saleor_personalize.events import callers
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import Installation, Message, Profile, Session
from saleor_personalize.recommendations import service, training
from saleor_personalize.testing.keys import TEST_KEY
from tests.api.conftest import ALICE, claims_of
from tests.catalogue import Phones, gid
from tests.conftest import NOW
from tests.integration.reminders import Saleor
from tests.integration.signal_trigger import Signal, come_in, message, publish


@pytest.fixture(autouse=True)
def _shop(settings: Any, tmp_path: Path) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRIGGERS": {"signal": "tests.integration.signal_trigger.Signal"},
        "FREQUENCY_CAPS": {"*": None},
        "MODEL_DIRECTORY": str(tmp_path / "models"),
    }
    service.forget()
    callers.active.clear()
    Signal.over, Signal.entries = set(), []
    mail.outbox = []


@pytest.fixture
def phones(installation: Installation, alice: Profile) -> Phones:
    shop = Phones(installation, NOW)
    shop.sell()
    Session.objects.create(
        installation=installation,
        profile=alice,
        session_id="visit",
        channel_slug="us",
        started_at=NOW - timedelta(days=1),
        last_seen_at=NOW - timedelta(days=1),
    )
    training.train(installation=installation, now=NOW)
    return shop


def on_the_site(client: Client, installation: Installation, placement: str) -> list[Any]:
    """What Alice sees there at this moment."""
    query = (
        f'{{ recommendations(placement: "{placement}", channel: "us", first: 3) '
        "{ productId name reason { text } } }"
    )
    with time_machine.travel(NOW, tick=False):
        answer = client.post(
            "/graphql/",
            json.dumps({"query": query}),
            content_type="application/json",
            headers={
                "Saleor-Api-Url": installation.saleor_api_url,
                "Authorization": f"Bearer {TEST_KEY.jwt(claims_of(installation, ALICE, NOW))}",
            },
        ).json()
    return list(answer["data"]["recommendations"])


def send(installation: Installation, profile: Profile, **step: Any) -> None:
    journey = publish(installation, message("first", **step))
    come_in(journey, profile)
    with time_machine.travel(NOW, tick=False):
        journeys.advance_due(now=NOW, ask=Saleor())


def bodies() -> tuple[str, str]:
    (sent,) = mail.outbox
    assert isinstance(sent, mail.EmailMultiAlternatives)
    return str(sent.body), unescape(str(sent.alternatives[0][0]))


@pytest.mark.parametrize("template", ["abandoned_checkout", "thanks"])
def test_b84_the_mail_shows_the_list_of_the_site_with_its_reasons(
    client: Client, installation: Installation, alice: Profile, phones: Phones, template: str
) -> None:
    shown = on_the_site(client, installation, "home")
    assert len(shown) == 3
    send(installation, alice, template=template, recommend={"placement": "home"})
    text, html = bodies()
    for body in (text, html):
        places = [body.index(row["name"]) for row in shown]
        assert places == sorted(places)
        assert all(row["reason"]["text"] in body for row in shown)
    kept = Message.objects.get().content["recommended"]
    assert kept == {"placement": "home", "product_ids": [row["productId"] for row in shown]}


def test_b84_how_many_the_journey_says_and_none_where_there_is_no_such_placement(
    client: Client, installation: Installation, alice: Profile, phones: Phones
) -> None:
    first, second, _third = on_the_site(client, installation, "home")
    send(installation, alice, recommend={"placement": "home", "most": 1})
    assert first["name"] in bodies()[0]
    assert second["name"] not in bodies()[0]
    mail.outbox = []
    journey = publish(
        installation, message("first", recommend={"placement": "gone"}), key="another"
    )
    come_in(journey, alice, "object-2")
    with time_machine.travel(NOW + timedelta(hours=2), tick=False):
        journeys.advance_due(now=NOW + timedelta(hours=2), ask=Saleor())
    assert "Picked for you" not in bodies()[0]


def test_b126_what_is_sensitive_is_not_among_them_nor_named_in_a_reason(
    client: Client, installation: Installation, alice: Profile, phones: Phones
) -> None:
    before = on_the_site(client, installation, "home")
    cases = [row for row in before if row["productId"] == phones.case]
    assert cases
    installation.sensitive_ids = [gid("Category", "Cases")]
    installation.save()
    send(installation, alice, recommend={"placement": "home"})
    assert "Leather case" not in "".join(bodies())
    assert phones.case not in Message.objects.get().content["recommended"]["product_ids"]


def test_b84_a_broken_template_of_the_shop_stops_its_message_with_a_reason(
    installation: Installation, alice: Profile, settings: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "saleor_personalize" / "messages" / "ours"
    folder.mkdir(parents=True)
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(tmp_path)]}]
    loop = "{% for a in x %}" * 4 + "{% endfor %}" * 4
    for name, text in (
        ("subject.txt", "A"),
        ("body.txt", "{{ cart_url }}"),
        ("body.html", '{% with x="' + "x" * 100 + '"|make_list %}' + loop + "{% endwith %}"),
    ):
        (folder / name).write_text(text)
    send(installation, alice, template="ours")
    row = Message.objects.get()
    assert (row.status, row.reason) == (MessageStatus.NOT_SENT, NotSentReason.TEMPLATE_BROKEN)
    assert "it loops too often" in row.error
    assert mail.outbox == []
