"""B68: the service account of Firebase as staff and operators save, try and remove it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from saleor_personalize.management import doctor
from saleor_personalize.messaging import push_accounts
from saleor_personalize.models import Installation, Profile, PushAccount
from saleor_personalize.testing import fcm as fake
from saleor_personalize.testing.fcm import FakeFcm, serving
from tests.integration.test_dashboard import ALL, headers, outcome
from tests.integration.test_push import device, point_push_at

OWN = [*ALL, "MANAGE_APPS"]


@pytest.fixture
def fcm(settings: Any) -> Iterator[FakeFcm]:
    with serving() as server:
        point_push_at(settings, server.url)
        yield server


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation, user_permissions=OWN)


def run(*words: str) -> str:
    said = io.StringIO()
    call_command(*words, stdout=said)
    return said.getvalue()


# -- the page ------------------------------------------------------------------------------------------


def test_b68_staff_save_an_account_which_is_tried_at_once_and_never_shown(
    client: Client, fcm: FakeFcm, installation: Installation, signed: dict[str, str]
) -> None:
    assert "Not set up" in client.get("/dashboard/push/", headers=signed).content.decode()
    text = fcm.service_account()
    saved = client.post("/dashboard/push/save/", {"account": text}, headers=signed)
    assert outcome(saved)["title"] == "Saved, and Firebase takes it"
    page = saved.content.decode()
    assert "shop-of-tests" in page
    assert fcm.client_email in page
    assert "PRIVATE KEY" not in page
    assert saved["Cache-Control"] == "no-store"
    account = PushAccount.objects.get()
    assert (account.installation, account.created_by) == (installation, "VXNlcjox")
    assert account.tested_at is not None
    assert (len(fcm.validated), fcm.sent) == (1, [])


def test_b68_a_test_that_fails_says_what_to_mend(
    client: Client, fcm: FakeFcm, signed: dict[str, str]
) -> None:
    client.post("/dashboard/push/save/", {"account": fcm.service_account()}, headers=signed)
    fcm.answer("", fake.permission_denied())
    tried = client.post("/dashboard/push/check/", headers=signed)
    assert outcome(tried)["status"] == "error"
    assert "Firebase Cloud Messaging API Admin" in outcome(tried)["text"]
    page = client.get("/dashboard/push/", headers=signed).content.decode()
    assert "The last test failed" in page
    assert "Firebase Cloud Messaging API Admin" in page
    fcm.answer("")
    tried = client.post("/dashboard/push/check/", headers=signed)
    assert outcome(tried)["title"] == "Firebase takes it"
    assert fcm.sent == []


def test_b68_what_is_no_account_is_refused_in_words(
    client: Client, fcm: FakeFcm, signed: dict[str, str]
) -> None:
    text = json.dumps({**json.loads(fcm.service_account()), "private_key": "hunter2"})
    refused = client.post("/dashboard/push/save/", {"account": text}, headers=signed)
    assert outcome(refused)["title"] == "Nothing was saved"
    page = refused.content.decode()
    assert 'aria-invalid="true"' in page
    assert "hunter2" not in page
    assert not PushAccount.objects.exists()
    assert fcm.requests == []


def test_b68_removing_is_asked_once_more(
    client: Client, fcm: FakeFcm, signed: dict[str, str], alice: Profile, now: datetime
) -> None:
    device(alice, fcm.device(), now)
    device(alice, fcm.device("web"), now, "web")
    client.post("/dashboard/push/save/", {"account": fcm.service_account()}, headers=signed)
    asked = client.get("/dashboard/push/remove/ask/", headers=signed)
    assert "Remove the service account?" in asked.content.decode()
    assert PushAccount.objects.count() == 1
    removed = client.post("/dashboard/push/remove/", headers=signed)
    assert outcome(removed)["title"] == "Account removed"
    assert not PushAccount.objects.exists()
    page = removed.content.decode()
    assert "<span>Android</span><span>1</span>" in page
    assert "<span>iOS</span><span>0</span>" in page
    assert "<span>Web</span><span>1</span>" in page


@pytest.mark.parametrize(
    "changes",
    [
        {"user_permissions": ALL},
        {"user_permissions": None},
        {"permissions": ["MANAGE_ORDERS", "MANAGE_CHECKOUTS"], "user_permissions": OWN},
        {"permissions": ["MANAGE_ORDERS", "MANAGE_USERS"], "user_permissions": OWN},
    ],
)
def test_b68_only_who_may_manage_apps_and_customers_sees_and_changes_it(
    client: Client, fcm: FakeFcm, installation: Installation, now: datetime, changes: Any
) -> None:
    push_accounts.save(installation=installation, text=fcm.service_account(), now=now)
    given = headers(installation, **changes)
    answers = [
        client.get("/dashboard/push/", headers=given),
        client.get("/dashboard/push/remove/ask/", headers=given),
        client.post("/dashboard/push/remove/", headers=given),
        client.post("/dashboard/push/check/", headers=given),
        client.post("/dashboard/push/save/", {"account": "{}"}, headers=given),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert all("shop-of-tests" not in answer.content.decode() for answer in answers)
    assert PushAccount.objects.count() == 1
    assert fcm.requests == []


def test_b68_a_shop_sees_its_own_account_alone(
    client: Client,
    fcm: FakeFcm,
    installation: Installation,
    other_installation: Installation,
    now: datetime,
) -> None:
    push_accounts.save(installation=installation, text=fcm.service_account(), now=now)
    given = headers(other_installation, user_permissions=OWN)
    assert "Not set up" in client.get("/dashboard/push/", headers=given).content.decode()
    client.post("/dashboard/push/remove/", headers=given)
    assert PushAccount.objects.count() == 1


# -- the terminal --------------------------------------------------------------------------------------


def test_b68_an_operator_saves_tries_and_removes_it(
    fcm: FakeFcm, installation: Installation, alice: Profile, now: datetime, tmp_path: Path
) -> None:
    file = tmp_path / "account.json"
    file.write_text(fcm.service_account())
    token = fcm.device()
    device(alice, token, now)
    said = run("personalize_push", "save", str(file))
    assert "project=shop-of-tests" in said
    assert "android_devices=1" in said
    assert "PRIVATE" not in said
    assert fcm.requests == []

    assert "Firebase takes it" in run("personalize_push_test")
    assert json.loads(run("personalize_push_test", "--token", token, "--json")) == {
        "is_good": True,
        "fault": "",
    }
    assert fcm.sent == []
    fcm.uninstall(token)
    with pytest.raises(CommandError, match="gone from the device"):
        run("personalize_push_test", "--token", token)

    assert "Removed" in run("personalize_push", "remove")
    with pytest.raises(CommandError, match="push save FILE"):
        run("personalize_push_test")
    with pytest.raises(CommandError, match="There is no service account"):
        run("personalize_push", "remove")


@pytest.mark.parametrize("content", ["", "{}", "x" * 100_000])
def test_b68_a_wrong_file_is_refused_at_the_terminal(
    fcm: FakeFcm, installation: Installation, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "account.json"
    file.write_text(content)
    with pytest.raises(CommandError):
        run("personalize_push", "save", str(file))
    with pytest.raises(CommandError, match="cannot be read"):
        run("personalize_push", "save", str(tmp_path / "none.json"))
    assert not PushAccount.objects.exists()


# -- doctor --------------------------------------------------------------------------------------------


def told(installation: Installation, now: datetime) -> list[tuple[str, str]]:
    return [(each.level, each.text) for each in doctor._push(installation, now)]


def test_b68_doctor_tries_the_account_of_who_switched_push_on(
    fcm: FakeFcm, installation: Installation, alice: Profile, now: datetime
) -> None:
    assert told(installation, now) == []
    device(alice, fcm.device(), now)
    assert told(installation, now) == [
        ("warn", "1 devices are registered for push, and there is no service account.")
    ]
    assert fcm.requests == []
    push_accounts.save(installation=installation, text=fcm.service_account(), now=now)
    assert told(installation, now) == [("ok", "Firebase takes the service account; 1 devices.")]
    fcm.answer("", fake.permission_denied())
    ((level, text),) = told(installation, now)
    assert level == "fail"
    assert "may not send" in text
    assert fcm.sent == []
