"""`saleor-personalize keys ...`: what the shop's own server shows, from a terminal."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from saleor_personalize.enums import AuditAction
from saleor_personalize.exceptions import ServerKeyRefused
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.models import Installation, ServerKey
from saleor_personalize.saleor_api import server_keys


class Command(BaseCommand):
    help = "List, make and revoke server keys: with one, the shop's own server speaks for the shop."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        listed = actions.add_parser("list", help="every key, without its secret")
        create = actions.add_parser("create", help="make a key; it is printed only this once")
        create.add_argument("name", help="such as the server that will use it")
        revoke = actions.add_parser("revoke", help="end a key for good, from the next request on")
        revoke.add_argument("key", help="its beginning, as `list` shows it")
        for part in (listed, create, revoke):
            add_installation_argument(part)  # type: ignore[arg-type]
            part.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *, action: str, as_json: bool, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        if action == "list":
            self._list(installation, as_json)
        elif action == "create":
            self._create(installation, options["name"], as_json)
        else:
            self._revoke(installation, options["key"], as_json)

    def _list(self, installation: Installation, as_json: bool) -> None:
        rows = [_told(key) for key in server_keys.keys_of(installation=installation)]
        if as_json:
            self.stdout.write(json.dumps(rows, default=str))
            return
        for row in rows:
            self.stdout.write("  ".join(f"{name}={value}" for name, value in row.items() if value))
        if not rows:
            self.stdout.write("There is no key yet. Make one: saleor-personalize keys create NAME")

    def _create(self, installation: Installation, name: str, as_json: bool) -> None:
        try:
            key, secret = server_keys.create(
                installation=installation, name=name, created_by="", now=timezone.now()
            )
        except ServerKeyRefused as refusal:
            raise CommandError(str(refusal)) from refusal
        record(installation, AuditAction.KEY_MADE, on=key)
        if as_json:
            self.stdout.write(json.dumps({**_told(key), "secret": secret}, default=str))
            return
        # Alone on its stream, so that it can be piped to where secrets are kept.
        self.stdout.write(secret)
        self.stderr.write("Keep it now: it cannot be shown again. Never put it into a page.")

    def _revoke(self, installation: Installation, shown: str, as_json: bool) -> None:
        key = server_keys.find(installation=installation, shown=shown)
        if key is None:
            raise CommandError(
                "This shop has no such key. `saleor-personalize keys list` tells all."
            )
        is_news = server_keys.revoke(key=key, now=timezone.now())
        if is_news:
            record(installation, AuditAction.KEY_REVOKED, on=key)
        if as_json:
            self.stdout.write(json.dumps({**_told(key), "is_news": is_news}, default=str))
            return
        was = "is revoked" if is_news else f"was revoked before, at {key.revoked_at}"
        self.stdout.write(f"{server_keys.MARK}{key.prefix} ({key.name}) {was}.")


def _told(key: ServerKey) -> dict[str, Any]:
    return {
        "key": f"{server_keys.MARK}{key.prefix}",
        "name": key.name,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }
