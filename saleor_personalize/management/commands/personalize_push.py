"""`saleor-personalize push ...`: the shop's service account of Firebase, from a terminal."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from saleor_personalize.enums import AuditAction
from saleor_personalize.exceptions import PushAccountRefused
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.messaging import push_accounts
from saleor_personalize.messaging.push_accounts import MAX_BYTES
from saleor_personalize.models import Installation
from saleor_personalize.profiles import devices


class Command(BaseCommand):
    help = "See, save and remove the service account by which a shop sends push through Firebase."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        show = actions.add_parser(
            "show", help="which project it is of, and how many devices there are"
        )
        save = actions.add_parser(
            "save", help="keep the JSON file of the Firebase console, encrypted"
        )
        save.add_argument("file", help="its path; '-' reads it from standard input")
        remove = actions.add_parser("remove", help="forget it: no push is sent any more")
        for part in (show, save, remove):
            add_installation_argument(part)  # type: ignore[arg-type]
            part.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *, action: str, as_json: bool, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        if action == "save":
            text = _text(options["file"])
            try:
                push_accounts.save(installation=installation, text=text, now=timezone.now())
            except PushAccountRefused as refusal:
                raise CommandError(str(refusal)) from None
            record(installation, AuditAction.PUSH_SAVED)
        elif action == "remove":
            if not push_accounts.remove(installation=installation):
                raise CommandError("There is no service account.")
            record(installation, AuditAction.PUSH_REMOVED)
        told = _told(installation)
        if as_json:
            self.stdout.write(json.dumps(told, default=str))
            return
        if action == "save":
            self.stdout.write("Saved. Try it: saleor-personalize push-test")
        elif action == "remove":
            self.stdout.write("Removed. Revoke its key in the Google console as well.")
        for name, value in told.items():
            self.stdout.write(f"{name}={value}")


def _text(path: str) -> str:
    """Return a file's text; what is far too long for an account is cut, and refused for that."""
    try:
        if path == "-":
            return sys.stdin.read(MAX_BYTES + 1)
        with Path(path).open(encoding="utf-8") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {type(error).__name__}.") from None


def _told(installation: Installation) -> dict[str, Any]:
    account = push_accounts.account_of(installation=installation)
    counts = devices.count_living(installation=installation)
    return {
        "project": account.project_id if account else None,
        "service_account": account.client_email if account else None,
        "saved_at": account.saved_at if account else None,
        "tested_at": account.tested_at if account else None,
        "fault": account.fault if account else "",
        **{f"{platform}_devices": count for platform, count in sorted(counts.items())},
    }
