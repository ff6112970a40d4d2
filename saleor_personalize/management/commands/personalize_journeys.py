"""`saleor-personalize journeys ...`: see and switch journeys from a terminal."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import operations
from saleor_personalize.journeys.queries import waiting
from saleor_personalize.messaging.queries import newest_messages
from saleor_personalize.models import Installation


class Command(BaseCommand):
    help = "List journeys, switch them on and off, and see who waits and what was sent or not, and why."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        helps = {
            "list": "every journey and whether it is live",
            "go-live": "switch a journey on; carts left before are never written about",
            "pause": "switch a journey off",
            "waiting": "who waits in a journey, soonest first",
            "messages": "the last decisions, sent or not, and why",
        }
        for action, text in helps.items():
            part = actions.add_parser(action, help=text)
            if action in {"go-live", "pause"}:
                part.add_argument("key", help="for example abandoned_checkout")
            if action == "messages":
                part.add_argument("--limit", type=int, default=100)
            part.add_argument("--installation", metavar="URL", help="Saleor API URL of the shop")
            part.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *, action: str, as_json: bool, **options: Any) -> None:
        installation = _installation(options["installation"])
        try:
            rows = _ACTIONS[action](installation, options)
        except UnknownAlias as error:
            raise CommandError(str(error)) from error
        if as_json:
            self.stdout.write(json.dumps(rows, default=str))
            return
        for row in rows:
            self.stdout.write("  ".join(f"{name}={value}" for name, value in row.items()))
        if not rows:
            self.stdout.write("Nothing there.")


def _installation(url: str | None) -> Installation:
    """Return the shop that is meant: the named one, else the only active one."""
    if url is not None:
        found = Installation.objects.filter(saleor_api_url=url).first()
        if found is None:
            known = ", ".join(Installation.objects.values_list("saleor_api_url", flat=True))
            raise CommandError(f"{url} has not installed the app. Installed: {known or 'none'}.")
        return found
    active = list(Installation.objects.filter(status=InstallationStatus.ACTIVE)[:2])
    if not active:
        raise CommandError("No shop has the app installed and active. Install it in the Dashboard.")
    if len(active) > 1:
        raise CommandError("Several shops have the app: say which one with --installation URL.")
    return active[0]


def _list(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": j.key, "is_live": j.is_live, "live_at": j.live_at}
        for j in operations.journeys_of(installation)
    ]


def _go_live(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    journey = operations.ensure_journey(installation=installation, key=options["key"])
    operations.go_live(journey=journey, now=timezone.now())
    return [{"key": journey.key, "is_live": journey.is_live, "live_at": journey.live_at}]


def _pause(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    journey = operations.ensure_journey(installation=installation, key=options["key"])
    operations.pause(journey=journey, now=timezone.now())
    return [{"key": journey.key, "is_live": journey.is_live, "live_at": journey.live_at}]


def _waiting(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"journey": row.journey.key, "subject": row.subject_saleor_id, "due_at": row.due_at}
        for row in waiting(installation=installation)
    ]


def _messages(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": message.public_id,
            "template": message.template,
            "status": message.status,
            "reason": message.reason,
            "decided_at": message.decided_at,
            "checkout_id": message.content.get("checkout_id", ""),
            "error": message.error,
        }
        for message in newest_messages(installation=installation, limit=options["limit"])
    ]


_ACTIONS = {
    "list": _list,
    "go-live": _go_live,
    "pause": _pause,
    "waiting": _waiting,
    "messages": _messages,
}
