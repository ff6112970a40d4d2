"""B109, B97, B113: outgoing webhooks on the Dashboard's page, from a terminal, and as documented."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone

from saleor_personalize import bus
from saleor_personalize.bus import delivery, operations, signing
from saleor_personalize.enums import BusEvent, OutgoingStatus
from saleor_personalize.messaging.outgoing import described
from saleor_personalize.models import Installation, OutgoingDelivery, OutgoingWebhook
from saleor_personalize.tasks.bus import deliver_outgoing
from tests.integration.test_bus import DAY, _loopback, listen, receiver, tell
from tests.integration.test_dashboard import ALL, headers, outcome
from tests.receiver import Receiver

__all__ = ["_loopback", "receiver"]

OWN = [*ALL, "MANAGE_APPS"]
SHAPE = re.compile(r"spw_[0-9a-f]{64}")
GUIDE = (Path(__file__).parents[2] / "docs" / "howto" / "bus.md").read_text()


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation, user_permissions=OWN)


# -- the page ------------------------------------------------------------------------------------------


def test_b109_staff_make_try_and_replay_a_webhook(
    client: Client, installation: Installation, signed: dict[str, str], receiver: Receiver
) -> None:
    given = {"alias": "crm", "url": f"{receiver.url}/secret", "events": ["stock_alert.requested"]}
    made = client.post("/dashboard/bus/create/", given, headers=signed)
    assert outcome(made)["title"] == "Webhook made"
    assert made["Cache-Control"] == "no-store"
    (secret,) = SHAPE.findall(made.content.decode())
    row = OutgoingWebhook.objects.get()
    assert (row.alias, row.events, row.created_by) == ("crm", ["stock_alert.requested"], "VXNlcjox")
    assert (row.secret, row.has_personal_data) == (secret, False)

    for path in ("/dashboard/bus/", f"/dashboard/bus/{row.pk}/"):
        page = client.get(path, headers=signed).content.decode()
        assert "crm" in page
        assert "http://127.0.0.1" in page
        assert "/hook/secret" not in page
        assert not SHAPE.search(page)

    tested = client.post(f"/dashboard/bus/{row.pk}/test/", headers=signed)
    assert outcome(tested)["title"] == "The test arrived"
    (sent,) = receiver.received
    assert (sent.path, sent.content["event"]) == ("/hook/secret", "webhook.test")
    assert sent.content["person"] is None

    receiver.answers = [500]
    failed = client.post(f"/dashboard/bus/{row.pk}/test/", headers=signed)
    assert outcome(failed)["title"] == "The test did not arrive"
    assert outcome(failed)["text"] == "The receiver answered 500."
    row.refresh_from_db()
    assert (row.failures, row.is_active) == (0, True)

    tell(installation, now=timezone.now())
    OutgoingDelivery.objects.filter(event="stock_alert.requested").update(
        status=OutgoingStatus.FAILED, error="The receiver answered 500."
    )
    page = client.get(f"/dashboard/bus/{row.pk}/", headers=signed).content.decode()
    assert "Given up" in page
    assert "Replay all that failed" in page
    receiver.answers = [200]
    again = client.post(f"/dashboard/bus/{row.pk}/replay/", headers=signed)
    assert outcome(again)["text"] == "Deliveries that are tried again within seconds: 1"
    assert deliver_outgoing() == 1
    assert receiver.contents[-1]["data"] == {"variantId": "variant-1"}
    line = OutgoingDelivery.objects.get(event="stock_alert.requested")
    one = client.post(f"/dashboard/bus/{row.pk}/replay/", {"delivery": line.pk}, headers=signed)
    assert outcome(one)["title"] == "In line again"
    assert deliver_outgoing() == 1
    assert receiver.contents[-1]["id"] == receiver.contents[-2]["id"]


def test_b109_staff_switch_rotate_and_remove(
    client: Client, installation: Installation, signed: dict[str, str], receiver: Receiver
) -> None:
    row = listen(installation, receiver)
    path = f"/dashboard/bus/{row.pk}"
    client.post(f"{path}/switch/", {"to": "off"}, headers=signed)
    row.refresh_from_db()
    assert not row.is_active
    refused = client.post(f"{path}/replay/", headers=signed)
    assert outcome(refused)["title"] == "Nothing was replayed"
    client.post(f"{path}/switch/", {"to": "on"}, headers=signed)
    rotated = client.post(f"{path}/rotate/", headers=signed)
    (secret,) = SHAPE.findall(rotated.content.decode())
    before = row.secret
    row.refresh_from_db()
    assert (row.is_active, row.secret, row.former_secret) == (True, secret, before)
    assert (
        "Remove the webhook “crm”?"
        in client.get(f"{path}/remove/ask/", headers=signed).content.decode()
    )
    assert OutgoingWebhook.objects.exists()
    client.post(f"{path}/remove/", headers=signed)
    assert not OutgoingWebhook.objects.exists()


def test_b109_a_webhook_that_cannot_be_is_told_at_its_field_and_keeps_what_was_typed(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    given = {
        "alias": "<b>x</b>",
        "url": "https://example.com/x",
        "events": ["message.sent"],
        "personal": "1",
    }
    answer = client.post("/dashboard/bus/create/", given, headers=signed)
    page = answer.content.decode()
    assert outcome(answer)["title"] == "No webhook was made"
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert page.count('aria-invalid="true"') == 1
    assert page.count(" checked") == 2
    assert not OutgoingWebhook.objects.exists()


NOT_ENOUGH: dict[str, dict[str, Any]] = {
    "may not manage apps": {"user_permissions": ALL},
    **{
        f"without {one}": {"permissions": [p for p in ALL if p != one], "user_permissions": OWN}
        for one in ("MANAGE_ORDERS", "MANAGE_CHECKOUTS", "MANAGE_USERS")
    },
}
POSTS = ("test", "switch", "replay", "rotate", "remove")


@pytest.mark.parametrize("kind", NOT_ENOUGH)
def test_b97_nobody_has_customers_told_of_who_may_not_see_them(
    client: Client, installation: Installation, receiver: Receiver, kind: str
) -> None:
    row = listen(installation, receiver)
    given = headers(installation, **NOT_ENOUGH[kind])
    path = f"/dashboard/bus/{row.pk}"
    answers = [
        client.get("/dashboard/bus/", headers=given),
        client.get(f"{path}/", headers=given),
        client.get(f"{path}/remove/ask/", headers=given),
        client.post("/dashboard/bus/create/", {"alias": "x", "url": receiver.url}, headers=given),
        *(client.post(f"{path}/{what}/", headers=given) for what in POSTS),
    ]
    assert {answer.status_code for answer in answers} == {403}
    before = row.secret
    row.refresh_from_db()
    assert (row.is_active, row.secret) == (True, before)
    assert OutgoingWebhook.objects.count() == 1
    assert receiver.received == []


def test_b113_staff_of_one_shop_do_not_reach_webhooks_of_another(
    client: Client,
    signed: dict[str, str],
    other_installation: Installation,
    receiver: Receiver,
) -> None:
    row = listen(other_installation, receiver, alias="theirs")
    assert b"theirs" not in client.get("/dashboard/bus/", headers=signed).content
    path = f"/dashboard/bus/{row.pk}"
    for what in POSTS:
        assert client.post(f"{path}/{what}/", headers=signed).status_code == 404
        assert client.get(f"{path}/{what}/", headers=signed).status_code == 405
    assert client.get(f"{path}/", headers=signed).status_code == 404
    assert OutgoingWebhook.objects.get().is_active
    assert receiver.received == []


def test_b113_one_shops_delivery_is_not_replayed_by_another_webhooks_page(
    client: Client,
    installation: Installation,
    other_installation: Installation,
    signed: dict[str, str],
    receiver: Receiver,
) -> None:
    mine = listen(installation, receiver)
    listen(other_installation, receiver)
    tell(other_installation)
    OutgoingDelivery.objects.update(status=OutgoingStatus.FAILED)
    theirs = OutgoingDelivery.objects.get()
    client.post(f"/dashboard/bus/{mine.pk}/replay/", {"delivery": theirs.pk}, headers=signed)
    theirs.refresh_from_db()
    assert theirs.status == OutgoingStatus.FAILED


# -- the command -----------------------------------------------------------------------------------------


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("personalize_bus", *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_b109_the_command_adds_lists_tests_and_replays(
    installation: Installation, receiver: Receiver
) -> None:
    assert run("list").startswith("There is no webhook yet.")
    secret = run("add", "crm", receiver.url, "--event", "all").strip()
    assert SHAPE.fullmatch(secret)
    (row,) = json.loads(run("list", "--json"))
    assert (row["alias"], row["events"], row["has_personal_data"]) == (
        "crm",
        BusEvent.values,
        False,
    )
    assert secret not in run("list")
    assert receiver.url not in run("list")
    assert run("test", "crm") == "The test arrived: the receiver answered 200.\n"
    receiver.answers = [503]
    with pytest.raises(CommandError, match="The receiver answered 503"):
        run("test", "crm")
    tell(installation)
    OutgoingDelivery.objects.filter(event="stock_alert.requested").update(status="failed")
    assert run("replay", "crm").startswith("1 deliveries are in line again")
    logged = json.loads(run("log", "crm", "--json"))
    assert {line["event"] for line in logged} == {"webhook.test", "stock_alert.requested"}
    assert run("off", "crm") == "crm is switched off.\n"
    with pytest.raises(CommandError, match="switch it on first"):
        run("replay", "crm")
    assert run("on", "crm") == "crm is switched on.\n"
    assert SHAPE.fullmatch(run("rotate", "crm").strip()) is not None
    with pytest.raises(CommandError, match=r"no outgoing webhook 'crn'\. Known: crm"):
        run("test", "crn")
    with pytest.raises(CommandError, match="already"):
        run("add", "crm", receiver.url)
    assert run("remove", "crm") == "crm is removed.\n"
    assert not OutgoingWebhook.objects.exists()


# -- the receivers of the guide --------------------------------------------------------------------------


@contextmanager
def example(language: str, folder: Path, secret: str) -> Iterator[str]:
    """Run the receiver of the guide as somebody who copied it would."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if "PERSONALIZE_SECRET" in block)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = folder / ("receiver.py" if language == "python" else "receiver.mjs")
    file.write_text(code)
    program = sys.executable if language == "python" else "node"
    process = subprocess.Popen(
        [program, str(file)],
        env={**os.environ, "PERSONALIZE_SECRET": secret, "PORT": str(port)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(200):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        (folder / "said").write_text(process.communicate(timeout=10)[0])


@pytest.mark.parametrize("language", ["python", "javascript"])
@pytest.mark.django_db(transaction=True)
def test_b109_the_receiver_of_the_guide_takes_ours_once_and_nothing_else(
    installation: Installation, tmp_path: Path, receiver: Receiver, language: str
) -> None:
    if language == "javascript" and shutil.which("node") is None:
        pytest.skip("Node is not installed")
    now = timezone.now()
    webhook = listen(installation, receiver, now=now - DAY)
    with example(language, tmp_path, webhook.secret) as url:
        OutgoingWebhook.objects.filter(pk=webhook.pk).update(url=url)
        webhook.url = url
        webhook.save(update_fields=["url"])
        operations.rotate(webhook=webhook, now=now)  # the receiver has the secret of before
        for _ in range(2):
            bus.publish(
                installation=installation,
                event=BusEvent.STOCK_ALERT_REQUESTED,
                data={"variantId": "ä"},
                key="one",
                now=now,
            )
            delivery.deliver_due(now=timezone.now(), describe=described)
            operations.replay(webhook=webhook, now=now, ids=[OutgoingDelivery.objects.get().pk])
        row = OutgoingDelivery.objects.get()
        assert (row.status, row.answer_status, row.error) == ("waiting", 204, "")

        body, stamp = b'{"id":"x","event":"e","data":1}', int(time.time())
        signature = signing.sign(body, webhook.former_secret, stamp)
        old = signing.sign(body, webhook.former_secret, stamp - 301)
        for given, sent, status in (
            (f"t={stamp},v1={signature}", body, 204),
            (f"t={stamp},v1={signature}", body + b" ", 401),
            (f"t={stamp + 1},v1={signature}", body, 401),
            (f"t={stamp - 301},v1={old}", body, 401),
            (f"t={stamp},v1={'0' * 64}", body, 401),
            (f"t={stamp}", body, 401),
            ("", body, 401),
        ):
            answer = httpx.post(url, content=sent, headers={"Personalize-Signature": given})
            assert answer.status_code == status, given
    said = (tmp_path / "said").read_text().splitlines()
    assert [line.split()[0] for line in said] == ["stock_alert.requested", "e"]
