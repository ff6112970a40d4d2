"""The audit log: what staff do is written down once it is done, and by whom."""

from __future__ import annotations

import ast
import html
import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

import saleor_personalize
from saleor_personalize.audit import operations
from saleor_personalize.audit.operations import APP_TOKEN, Actor
from saleor_personalize.dashboard.audit import ACTIONS, LISTED
from saleor_personalize.enums import AuditAction, ErasureSource, MessageStatus
from saleor_personalize.models import AuditEntry, Installation, Message, Profile, Segment, ServerKey
from saleor_personalize.profiles import privacy, retention
from tests.integration.test_dashboard import headers, make_message, outcome

STAFF, OTHER = Actor("VXNlcjox", "staff@example.com"), Actor("VXNlcjoy", "other@example.com")
DASHBOARD = Path(saleor_personalize.__file__).parent / "dashboard"
COMMANDS = Path(saleor_personalize.__file__).parent / "management" / "commands"
#: Commands that change nothing which stands in the log: they look, learn from what is there, or end the log itself.
LOOKS_ONLY = {"doctor", "evaluate", "events", "forget", "generate_key", "rhythms", "schema"}
#: Views that take POST and change nothing that counts: forms drawn anew, previews, dry runs, the step one is at.
CHANGES_NOTHING = {
    "first_steps.choose",
    "first_steps.estimate",
    "imports.describe",
    "journeys.ask_dry_run",
    "rules.preview",
    "segments.count",
    "segments.edit",
}


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    cache.clear()


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


def log(installation: Installation) -> list[tuple[str, str, str, str]]:
    """(action, who, kind of object, its name) of each line, oldest first."""
    rows = AuditEntry.objects.of(installation).order_by("pk")
    return [(row.action, row.actor_id, row.object_kind, row.object_name) for row in rows]


def make_entries(installation: Installation, count: int, **changes: Any) -> None:
    for _ in range(count):
        operations.record(
            installation=installation,
            **{
                "action": AuditAction.SENDS_STOPPED,
                "now": timezone.now(),
                "actor": STAFF,
                **changes,
            },
        )


def test_b101_what_staff_do_is_written_down_with_who_did_it(
    client: Client, installation: Installation, other_installation: Installation, signed: Any
) -> None:
    client.post("/dashboard/sends/stop/", headers=signed)
    client.post("/dashboard/journeys/abandoned_checkout/go-live/", headers=signed)
    assert log(installation) == [
        ("sends_stopped", "VXNlcjox", "", ""),
        ("journey_live", "VXNlcjox", "Journey", "abandoned_checkout"),
    ]
    assert AuditEntry.objects.of(installation).latest("pk").actor_name == "staff@example.com"
    assert log(other_installation) == []


def test_b101_what_was_refused_is_not_written_down(
    client: Client, installation: Installation, signed: Any
) -> None:
    response = client.post(
        "/dashboard/settings/", {"sender": "no address", "checkout_url": ""}, headers=signed
    )
    assert outcome(response)["status"] == "error"
    looker = headers(installation, permissions=["MANAGE_ORDERS"])
    assert client.post("/dashboard/sends/stop/", headers=looker).status_code == 403
    assert log(installation) == []


def test_b101_a_change_of_settings_names_the_fields_and_not_their_values(
    client: Client, installation: Installation, signed: Any
) -> None:
    form = {"sender": "owner@private.example", "checkout_url": "", "storefront_origins": ""}
    client.post("/dashboard/settings/", form, headers=signed)
    [entry] = AuditEntry.objects.of(installation)
    assert (entry.action, entry.detail) == ("settings_changed", {"fields": ["sender"]})
    shown = client.get("/dashboard/audit/", headers=signed).content.decode()
    assert "Changed settings" in shown
    assert "owner@private.example" not in shown


def test_b101_what_was_deleted_is_still_named(
    client: Client, installation: Installation, signed: Any
) -> None:
    now = timezone.now()
    segment = Segment.objects.create(
        installation=installation, key="big", name="Big spenders", definition={"all": []},
        created_at=now, updated_at=now,
    )  # fmt: skip
    client.post(f"/dashboard/segments/{segment.pk}/delete/", headers=signed)
    assert not Segment.objects.of(installation).exists()
    [entry] = AuditEntry.objects.of(installation)
    assert (entry.action, entry.object_id, entry.object_name) == (
        "segment_deleted",
        str(segment.pk),
        "Big spenders",
    )


def test_b101_keys_are_named_and_their_secrets_are_not_kept(
    client: Client, installation: Installation
) -> None:
    keeper = headers(
        installation,
        user_permissions=["MANAGE_ORDERS", "MANAGE_CHECKOUTS", "MANAGE_USERS", "MANAGE_APPS"],
    )
    response = client.post("/dashboard/keys/create/", {"name": "Our server"}, headers=keeper)
    key = ServerKey.objects.of(installation).get()
    client.post(f"/dashboard/keys/{key.pk}/revoke/", headers=keeper)
    assert log(installation) == [
        ("key_made", "VXNlcjox", "ServerKey", "Our server"),
        ("key_revoked", "VXNlcjox", "ServerKey", "Our server"),
    ]
    assert key.prefix in response.content.decode()
    assert key.prefix not in str(list(AuditEntry.objects.of(installation).values()))


def test_b101_only_who_may_send_settles_messages_and_goes_live(
    client: Client, installation: Installation, alice: Profile, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DASHBOARD_ROLES": {"send": ["MANAGE_ORDERS", "MANAGE_STAFF"]},
    }
    message = make_message(alice, MessageStatus.UNCERTAIN)
    editor = headers(installation, user_permissions=["MANAGE_ORDERS", "MANAGE_CHECKOUTS"])
    for path in (
        f"sent/{message.public_id}/settle/",
        "journeys/welcome/go-live/",
        "sends/resume/",
    ):
        response = client.post(f"/dashboard/{path}", headers=editor)
        assert response.status_code == 403, path
        assert "You may not have anything sent to customers" in response.content.decode()
        assert "Manage orders, Manage checkouts, Manage staff" in response.content.decode()
    assert Message.objects.get(pk=message.pk).status == MessageStatus.UNCERTAIN
    assert log(installation) == []
    assert client.post("/dashboard/sends/stop/", headers=editor).status_code == 200
    overview = client.get("/dashboard/overview/", headers=editor).content.decode()
    assert 'id="journey-button"' in overview
    assert overview.partition('id="journey-button"')[2].partition(">")[0].endswith("disabled")
    sends = client.get("/dashboard/sends/", headers=editor).content.decode()
    assert "You may not have anything sent to customers" in sends
    sender = headers(installation)
    assert client.post("/dashboard/sends/resume/", headers=sender).status_code == 200
    assert [line[0] for line in log(installation)] == ["sends_stopped", "sends_resumed"]


def test_b101_a_permission_that_the_app_lacks_is_not_lent_by_the_staff_member(
    client: Client, installation: Installation
) -> None:
    """MANAGE_CHECKOUTS is asked for by the app, so it counts only where the app has it, too."""
    own = headers(
        installation,
        permissions=["MANAGE_ORDERS"],
        user_permissions=["MANAGE_ORDERS", "MANAGE_CHECKOUTS"],
    )
    assert client.post("/dashboard/sends/stop/", headers=own).status_code == 403
    assert client.get("/dashboard/overview/", headers=own).status_code == 200


def test_b101_the_log_is_read_by_action_and_by_person_and_page_by_page(
    client: Client, installation: Installation, other_installation: Installation, signed: Any
) -> None:
    make_entries(installation, LISTED)
    make_entries(installation, 1, action=AuditAction.RULE_SAVED, actor=OTHER)  # fmt: skip
    make_entries(other_installation, 1, actor=Actor("VXNlcjoz", "stranger@example.com"))
    shown = client.get("/dashboard/audit/", headers=signed).content.decode()
    assert shown.count("<li>\n<div") == LISTED
    assert "stranger@example.com" not in shown
    assert "Show older" in shown
    oldest = AuditEntry.objects.of(installation).order_by("pk")[1].pk
    older = client.get(f"/dashboard/audit/?before={oldest}", headers=signed).content.decode()
    assert older.count("<li>\n<div") == 1
    theirs = client.get("/dashboard/audit/?who=VXNlcjoy", headers=signed).content.decode()
    assert theirs.count("<li>\n<div") == 1
    assert "other@example.com" in theirs
    rules = client.get("/dashboard/audit/?action=rule_saved", headers=signed).content.decode()
    assert rules.count("<li>\n<div") == 1
    none = client.get("/dashboard/audit/?action=key_made", headers=signed).content.decode()
    assert "Nothing yet." in none


def test_b101_details_are_told_in_words_and_kept_as_they_are(
    client: Client, installation: Installation, signed: Any
) -> None:
    make_entries(
        installation, 1, action=AuditAction.CHECKOUT_RECOVERED,
        detail={"journey": "abandoned_checkout", "held_by": "quiet_hours"},
    )  # fmt: skip
    make_entries(installation, 1, action=AuditAction.TEST_SENT, detail={"journey": "re_permission", "over": "push"})  # fmt: skip
    make_entries(installation, 1, action=AuditAction.MESSAGE_SETTLED, detail={"is_sent": False})
    make_entries(
        installation, 1, action=AuditAction.SETTINGS_CHANGED, detail={"fields": ["sender"]}
    )
    make_entries(installation, 1, action=AuditAction.PEOPLE_SPLIT, detail={"merge": 71, "new": 1})
    client.post("/dashboard/journeys/abandoned_checkout/go-live/", headers=signed)
    page = client.get("/dashboard/audit/", headers=signed).content.decode()
    told = html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))
    assert "Cart reminder · It is night where the person is." in told
    assert "Still interested? · by push" in told
    assert "it was not sent" in told
    assert "Sender" in told.partition("Changed settings")[2]
    # What a later version keeps shows as it is kept.
    assert "new: 1" in told
    assert "71" not in told.partition("Split a person")[2].partition("Sender")[0]
    assert "Had a journey go live · Cart reminder" in told
    assert "version 1" in told
    export = client.get("/dashboard/audit/export/?action=test_sent", headers=signed)
    line = b"".join(export.streaming_content).decode().splitlines()[1]  # type: ignore[attr-defined]
    assert line.endswith('"over: push, journey: re_permission"')


def test_b101_the_log_is_a_file_that_no_spreadsheet_runs(
    client: Client, installation: Installation, signed: Any
) -> None:
    now = timezone.now()
    segment = Segment.objects.create(
        installation=installation, key="s", name='=HYPERLINK("https://evil.test")',
        definition={"all": []}, created_at=now, updated_at=now,
    )  # fmt: skip
    make_entries(installation, 1, action=AuditAction.SEGMENT_SAVED, on=segment, now=now)
    response = client.get("/dashboard/audit/export/?action=segment_saved", headers=signed)
    lines = b"".join(response.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    assert response.headers["Content-Disposition"] == 'attachment; filename="audit-log.csv"'
    assert lines == [
        "at,actor_id,actor_name,action,object_kind,object_id,object_name,detail",
        f"{now.isoformat()},VXNlcjox,staff@example.com,segment_saved,Segment,{segment.pk},"
        '"\'=HYPERLINK(""https://evil.test"")",',
    ]
    assert log(installation)[-1][0] == "audit_exported"


def test_b101_to_whom_it_was_done_shows_to_who_may_see_people(
    client: Client, installation: Installation, alice: Profile, signed: dict[str, str]
) -> None:
    make_entries(installation, 1, action=AuditAction.PERSON_EXPORTED, on=alice)
    seen = ["MANAGE_ORDERS", "MANAGE_CHECKOUTS"]
    looker = headers(installation, permissions=seen, user_permissions=seen)
    who = str(alice.public_id)

    def told(of: dict[str, str]) -> list[bool]:
        page = client.get("/dashboard/audit/", headers=of).content.decode()
        rows = client.get("/dashboard/audit/export/", headers=of)
        file = b"".join(rows.streaming_content).decode()  # type: ignore[attr-defined]
        assert "<strong>" + html.escape(str(ACTIONS[AuditAction.PERSON_EXPORTED])) in page
        assert AuditAction.PERSON_EXPORTED in file
        return [who in page, who in file]

    assert told(signed) == [True, True]
    assert told(looker) == [False, False]


def test_b101_the_address_of_staff_is_not_readable_in_the_database(
    installation: Installation,
) -> None:
    make_entries(installation, 1)
    [stored] = AuditEntry.objects.of(installation).extra(select={"raw": "actor_name"}).values_list("raw", flat=True)  # fmt: skip
    assert "staff@example.com" not in stored


def test_b123_who_is_erased_leaves_the_log_and_the_deed_stays(
    installation: Installation, alice: Profile
) -> None:
    user = alice.identities.get(kind="saleor_user").value
    make_entries(installation, 1, actor=Actor(user, "alice@example.com"))
    make_entries(installation, 1, on=alice, action=AuditAction.PEOPLE_JOINED, actor=OTHER)
    privacy.erase(profile=alice, requested_by=ErasureSource.STAFF, now=timezone.now())
    first, second = AuditEntry.objects.of(installation).order_by("pk")
    assert (first.action, first.actor_id, first.actor_name) == ("sends_stopped", "", "")
    assert (second.action, second.actor_id, second.object_id) == ("people_joined", "VXNlcjoy", "")


def test_b123_the_log_ends_with_its_time(installation: Installation) -> None:
    now = timezone.now()
    make_entries(installation, 1, now=now - timedelta(days=731))
    make_entries(installation, 1, now=now - timedelta(days=729))
    assert retention.purge(now=now)["audit"] == 1
    assert AuditEntry.objects.of(installation).count() == 1


def test_b101_what_is_done_from_a_terminal_stands_in_the_log(
    client: Client,
    installation: Installation,
    other_installation: Installation,
    alice: Profile,
    signed: Any,
    tmp_path: Path,
) -> None:
    message = make_message(alice, MessageStatus.UNCERTAIN)
    segments = tmp_path / "segments.json"
    segments.write_text('[{"key": "all", "name": "Everybody", "definition": {"all": []}}]')
    for words in (
        "journeys stop-sends",
        "journeys resume-sends",
        "journeys go-live abandoned_checkout",
        "journeys pause abandoned_checkout",
        "journeys resume abandoned_checkout",
        "keys create till",
        "backfill --background",
        "backfill --pause",
        "backfill --resume",
        "train --background",
        "webhooks replay",
        "report figures",
        f"segments import {segments}",
        f"messages settle {message.public_id} --sent",
        f"export --person {alice.public_id} --to {tmp_path / 'alice.json'}",
        f"erase --person {alice.public_id} --yes",
    ):
        name, *rest = words.split()
        url = ["--installation", installation.saleor_api_url]
        call_command(f"personalize_{name}", *rest, *url, stdout=io.StringIO(), stderr=io.StringIO())
    assert log(installation) == [
        ("sends_stopped", "terminal", "", ""),
        ("sends_resumed", "terminal", "", ""),
        ("journey_live", "terminal", "Journey", "abandoned_checkout"),
        ("journey_paused", "terminal", "Journey", "abandoned_checkout"),
        ("journey_resumed", "terminal", "Journey", "abandoned_checkout"),
        ("key_made", "terminal", "ServerKey", "till"),
        ("backfill_started", "terminal", "Backfill", ""),
        ("backfill_paused", "terminal", "Backfill", ""),
        ("backfill_resumed", "terminal", "Backfill", ""),
        ("training_asked", "terminal", "", ""),
        ("deliveries_replayed", "terminal", "", ""),
        ("report_exported", "terminal", "", ""),
        ("segment_saved", "terminal", "Segment", "Everybody"),
        ("message_settled", "terminal", "Message", "abandoned_checkout"),
        ("person_exported", "terminal", "Profile", ""),
        ("person_erased", "terminal", "Erasure", ""),
    ]
    assert log(other_installation) == []
    page = client.get("/dashboard/audit/?action=key_made", headers=signed).content.decode()
    assert "Whoever runs the service, from a terminal" in page
    only = client.get("/dashboard/audit/?who=terminal", headers=signed).content.decode()
    assert only.count("<li>\n<div") == 16


def test_b101_what_a_command_refused_is_not_in_the_log(installation: Installation) -> None:
    for words in (["keys", "revoke", "spk_nobody"], ["bus", "test", "nobody"], ["push", "remove"]):
        with pytest.raises(CommandError):
            call_command(f"personalize_{words[0]}", *words[1:])
    assert log(installation) == []


def test_b101_a_server_key_is_called_by_its_name(
    client: Client, installation: Installation, signed: Any
) -> None:
    make_entries(installation, 1, actor=Actor("spk_0123456789ab", "the till"))
    make_entries(installation, 1, actor=APP_TOKEN)
    page = client.get("/dashboard/audit/", headers=signed).content.decode()
    assert "Server key the till" in page
    assert "A server with the token of the app" in page
    only = client.get("/dashboard/audit/?who=spk_0123456789ab", headers=signed).content.decode()
    assert only.count("<li>\n<div") == 1


def test_b101_every_command_that_changes_something_writes_it_down() -> None:
    silent = {
        path.stem.removeprefix("personalize_")
        for path in COMMANDS.glob("personalize_*.py")
        if "management.deeds import record" not in path.read_text()
    }
    assert silent == LOOKS_ONLY


def test_every_action_has_words() -> None:
    assert set(ACTIONS) == set(AuditAction)


def test_b101_every_view_that_changes_something_writes_it_down() -> None:
    """A view that acts or sends calls `staff.record`, by itself or by a function beside it."""
    silent = set()
    for path in DASHBOARD.rglob("*.py"):
        body = ast.parse(path.read_text()).body
        functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
        recording = {name for name, node in functions.items() if _records(node)}
        while (
            more := {name for name, node in functions.items() if _names(node) & recording}
            - recording
        ):
            recording |= more
        changing = {name for name, node in functions.items() if _changes(node)}
        silent |= {f"{path.stem}.{name}" for name in changing - recording}
    assert silent == CHANGES_NOTHING


def _changes(view: ast.FunctionDef) -> bool:
    return any(
        keyword.arg in {"acts", "sends"}
        for decorator in view.decorator_list
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "staff_view"
        for keyword in decorator.keywords
    )


def _records(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "record"
        and getattr(node.value, "id", "") == "staff"
        for node in ast.walk(function)
    )


def _names(function: ast.FunctionDef) -> set[str]:
    """What a function calls by its plain name."""
    return {
        node.func.id
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
