"""B105, B97: server keys as staff and operators make them, on the page and from a terminal."""

from __future__ import annotations

import io
import json
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone

from saleor_personalize.models import Installation, ServerKey
from saleor_personalize.project import cli
from saleor_personalize.saleor_api import server_keys
from tests.integration.test_dashboard import ALL, headers, outcome

OWN = [*ALL, "MANAGE_APPS"]
SHAPE = re.compile(r"spk_[0-9a-f]{12}_[0-9a-f]{64}")


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation, user_permissions=OWN)


def opens(client: Client, key: str) -> int:
    """Ask with a key what only a server may; return the status."""
    sent = json.dumps({"query": "{ segments { key } }"})
    response = client.post(
        "/graphql/",
        sent,
        content_type="application/json",
        headers={"Authorization": f"Bearer {key}"},
    )
    assert ("errors" in response.json()) == (response.status_code != 200)
    return int(response.status_code)


# -- the page ------------------------------------------------------------------------------------------


def test_b105_staff_make_a_key_see_it_once_and_revoke_it(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    made = client.post("/dashboard/keys/create/", {"name": " Till "}, headers=signed)
    assert made.status_code == 200
    assert made["Cache-Control"] == "no-store"
    assert outcome(made)["title"] == "Key made"
    (secret,) = SHAPE.findall(made.content.decode())
    assert secret not in str(made.headers)
    row = ServerKey.objects.get()
    assert (row.installation, row.name, row.created_by) == (installation, "Till", "VXNlcjox")
    assert row.prefix == secret.split("_")[1]
    assert opens(client, secret) == 200

    page = client.get("/dashboard/keys/", headers=signed).content.decode()
    assert f"spk_{row.prefix}…" in page
    assert "VXNlcjox" in page
    assert not SHAPE.search(page)
    assert secret.rsplit("_", 1)[1] not in page
    assert row.secret_hash not in page

    asked = client.get(f"/dashboard/keys/{row.pk}/", headers=signed)
    assert "Revoke the key “Till”?" in asked.content.decode()
    assert opens(client, secret) == 200
    ended = client.post(f"/dashboard/keys/{row.pk}/revoke/", headers=signed)
    assert outcome(ended)["title"] == "Key revoked"
    assert opens(client, secret) == 401
    row.refresh_from_db()
    assert row.revoked_at is not None


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 101])
def test_b105_a_key_without_a_good_name_is_not_made(
    client: Client, signed: dict[str, str], installation: Installation, name: str
) -> None:
    refused = client.post("/dashboard/keys/create/", {"name": name}, headers=signed)
    assert outcome(refused)["status"] == "error"
    assert 'aria-invalid="true"' in refused.content.decode()
    assert not SHAPE.search(refused.content.decode())
    assert not ServerKey.objects.exists()


def test_b105_too_many_keys_are_refused_in_words(
    client: Client, signed: dict[str, str], installation: Installation
) -> None:
    for number in range(server_keys.MAX_LIVE):
        server_keys.create(
            installation=installation, name=str(number), created_by="", now=timezone.now()
        )
    refused = client.post("/dashboard/keys/create/", {"name": "one more"}, headers=signed)
    assert "revoke one" in outcome(refused)["text"]
    assert ServerKey.objects.count() == server_keys.MAX_LIVE


NOT_ENOUGH: dict[str, dict[str, Any]] = {
    "may not manage apps": {"user_permissions": ALL},
    "no word of their own permissions": {"user_permissions": None},
    "only the app could manage apps": {"permissions": OWN, "user_permissions": ALL},
    **{
        f"without {one}": {"permissions": [p for p in ALL if p != one], "user_permissions": OWN}
        for one in ("MANAGE_ORDERS", "MANAGE_CHECKOUTS", "MANAGE_USERS")
    },
}


@pytest.mark.parametrize("kind", NOT_ENOUGH)
def test_b97_nobody_gets_by_a_key_what_they_may_not_do_themselves(
    client: Client, installation: Installation, now: datetime, kind: str
) -> None:
    key, _ = server_keys.create(installation=installation, name="till", created_by="", now=now)
    given = headers(installation, **NOT_ENOUGH[kind])
    answers = [
        client.get("/dashboard/keys/", headers=given),
        client.get(f"/dashboard/keys/{key.pk}/", headers=given),
        client.post("/dashboard/keys/create/", {"name": "mine"}, headers=given),
        client.post(f"/dashboard/keys/{key.pk}/revoke/", headers=given),
    ]
    assert [answer.status_code for answer in answers] == [403] * 4
    for answer in answers:
        assert key.prefix.encode() not in answer.content
    assert ServerKey.objects.get().revoked_at is None


def test_b97_without_the_dashboards_token_there_is_no_page(
    client: Client, installation: Installation, now: datetime
) -> None:
    key, secret = server_keys.create(installation=installation, name="x", created_by="", now=now)
    for given in ({}, {"authorization-bearer": secret}, {"Authorization": f"Bearer {secret}"}):
        assert client.get("/dashboard/keys/", headers=given).status_code == 401
        refused = client.post(f"/dashboard/keys/{key.pk}/revoke/", headers=given)
        assert refused.status_code == 401
    assert ServerKey.objects.get().revoked_at is None


def test_b113_staff_of_one_shop_neither_see_nor_revoke_keys_of_another(
    client: Client, signed: dict[str, str], other_installation: Installation, now: datetime
) -> None:
    key, _ = server_keys.create(
        installation=other_installation, name="theirs", created_by="", now=now
    )
    assert b"theirs" not in client.get("/dashboard/keys/", headers=signed).content
    assert client.get(f"/dashboard/keys/{key.pk}/", headers=signed).status_code == 404
    assert client.post(f"/dashboard/keys/{key.pk}/revoke/", headers=signed).status_code == 404
    assert ServerKey.objects.get().revoked_at is None


def test_b105_making_and_revoking_take_post_only(
    client: Client, signed: dict[str, str], installation: Installation, now: datetime
) -> None:
    key, _ = server_keys.create(installation=installation, name="x", created_by="", now=now)
    assert client.get("/dashboard/keys/create/?name=x", headers=signed).status_code == 405
    assert client.get(f"/dashboard/keys/{key.pk}/revoke/", headers=signed).status_code == 405
    assert ServerKey.objects.get().revoked_at is None


def test_b105_a_name_is_shown_as_text(
    client: Client, signed: dict[str, str], installation: Installation
) -> None:
    given = {"name": "<img src=x>"}
    page = client.post("/dashboard/keys/create/", given, headers=signed).content.decode()
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page


# -- the command -----------------------------------------------------------------------------------------


def run(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("personalize_keys", *words, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def test_b105_the_command_makes_lists_and_revokes(
    client: Client, installation: Installation, now: datetime
) -> None:
    assert run("list").startswith("There is no key yet.")
    secret = run("create", "the till").strip()
    assert SHAPE.fullmatch(secret)
    assert opens(client, secret) == 200
    told = run("list")
    (row,) = json.loads(run("list", "--json"))
    assert (row["key"], row["name"], row["created_by"]) == (secret[:16], "the till", "")
    assert f"key={secret[:16]}  name=the till" in told
    for text in (told, json.dumps(row)):
        assert secret[17:] not in text
        assert ServerKey.objects.get().secret_hash not in text
    assert run("revoke", secret[:16]) == f"{secret[:16]} (the till) is revoked.\n"
    assert opens(client, secret) == 401
    assert "was revoked before" in run("revoke", secret)  # pasted whole, nothing of it is told
    assert secret[17:] not in run("revoke", secret)
    made = json.loads(run("create", "robot", "--json"))
    assert opens(client, made["secret"]) == 200
    assert json.loads(run("revoke", made["key"][4:], "--json"))["is_news"] is True


def test_b113_the_command_touches_the_named_shop_only(
    client: Client, installation: Installation, other_installation: Installation
) -> None:
    url, other = installation.saleor_api_url, other_installation.saleor_api_url
    with pytest.raises(CommandError, match="--installation"):
        run("create", "x")
    secret = run("create", "x", "--installation", other).strip()
    assert json.loads(run("list", "--json", "--installation", url)) == []
    for unknown in (secret[:16], "spk_", "", "\x00", "\ud800"):
        with pytest.raises(CommandError, match="keys list"):
            run("revoke", unknown, "--installation", url)
    assert opens(client, secret) == 200


def test_b105_the_command_says_why_it_makes_no_key(installation: Installation) -> None:
    with pytest.raises(CommandError, match="1 to 100"):
        run("create", "")
    assert not ServerKey.objects.exists()


def test_b105_the_command_is_a_word_of_ours() -> None:
    assert cli.COMMANDS["keys"] == "personalize_keys"
    assert "keys" in cli.WORDS


def test_b105_keys_that_work_come_first(installation: Installation, now: datetime) -> None:
    for hours, name in enumerate(["old", "ended", "new", "ended later"]):
        at = now + timedelta(hours=hours)
        key, _ = server_keys.create(installation=installation, name=name, created_by="", now=at)
        if name.startswith("ended"):
            server_keys.revoke(key=key, now=at + timedelta(hours=1))
    found = [key.name for key in server_keys.keys_of(installation=installation)]
    assert found == ["new", "old", "ended later", "ended"]
