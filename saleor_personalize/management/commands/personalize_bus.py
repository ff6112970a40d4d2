"""`saleor-personalize bus ...`: what other apps are told, from a terminal."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from saleor_personalize.bus import operations, queries
from saleor_personalize.enums import AuditAction, BusEvent
from saleor_personalize.exceptions import OutgoingRefused
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.messaging.outgoing import described
from saleor_personalize.models import Installation, OutgoingDelivery, OutgoingWebhook


class Command(BaseCommand):
    help = "Add, list, test, switch, replay and remove outgoing webhooks: other apps are told what happens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="make a webhook; its secret is printed only this once")
        add.add_argument("alias", help="its name, by which a step of a journey calls it")
        add.add_argument("url", help="where it is told; '-' reads it from the terminal")
        add.add_argument(
            "--event",
            action="append",
            dest="events",
            default=[],
            choices=[*BusEvent.values, "all"],
            help="what it is told of; may be given often",
        )
        add.add_argument(
            "--with-personal-data",
            action="store_true",
            help="tell e-mail address, first name, language and country as well",
        )
        parts = [add, actions.add_parser("list", help="every webhook, without secrets")]
        for name, text in (
            ("test", "send it a made-up event now"),
            ("log", "the newest deliveries"),
            ("replay", "try again what failed, or one delivery"),
            ("off", "tell it nothing from now on"),
            ("on", "tell it again what happens"),
            ("rotate", "make a new secret; the one of before signs as well for a week"),
            ("remove", "delete it with its log"),
        ):
            part = actions.add_parser(name, help=text)
            part.add_argument("alias")
            parts.append(part)
            if name == "replay":
                part.add_argument("--id", type=int, action="append", dest="ids")
        for part in parts:
            add_installation_argument(part)  # type: ignore[arg-type]
            part.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *, action: str, as_json: bool, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        try:
            if action == "add":
                self._add(installation, options, as_json)
            elif action == "list":
                rows = queries.webhooks(installation=installation)
                self._tell([_told(row) for row in rows], as_json, "There is no webhook yet.")
            else:
                self._do(action, _named(installation, options["alias"]), options, as_json)
        except OutgoingRefused as refusal:
            raise CommandError(str(refusal)) from refusal

    def _add(self, installation: Installation, options: dict[str, Any], as_json: bool) -> None:
        events = BusEvent.values if "all" in options["events"] else options["events"]
        url = input("Address: ") if options["url"] == "-" else options["url"]
        made = operations.add(
            installation=installation,
            alias=options["alias"],
            url=url,
            events=events,
            has_personal_data=options["with_personal_data"],
            now=timezone.now(),
        )
        record(installation, AuditAction.WEBHOOK_MADE, on=made)
        self._secret(made, made.secret, as_json)

    def _do(
        self, action: str, webhook: OutgoingWebhook, options: dict[str, Any], as_json: bool
    ) -> None:
        now, shop = timezone.now(), webhook.installation
        if action == "log":
            rows = [_logged(row) for row in queries.log(webhook=webhook, limit=100)]
            self._tell(rows, as_json, "Nothing was sent yet.")
        elif action == "test":
            answer = operations.test(webhook=webhook, now=now, describe=described)
            record(shop, AuditAction.WEBHOOK_TRIED, on=webhook)
            if answer.error:
                raise CommandError(f"The test did not arrive. {answer.error}")
            self.stdout.write(f"The test arrived: the receiver answered {answer.status}.")
        elif action == "replay":
            count = operations.replay(webhook=webhook, now=now, ids=options["ids"])
            record(shop, AuditAction.WEBHOOK_REPLAYED, on=webhook, count=count)
            self.stdout.write(f"{count} deliveries are in line again; a worker sends them.")
        elif action == "rotate":
            secret = operations.rotate(webhook=webhook, now=now)
            record(shop, AuditAction.WEBHOOK_ROTATED, on=webhook)
            self._secret(webhook, secret, as_json)
        elif action == "remove":
            operations.remove(webhook=webhook)
            record(shop, AuditAction.WEBHOOK_REMOVED, on=webhook)
            self.stdout.write(f"{webhook.alias} is removed.")
        else:
            change = operations.switch_on if action == "on" else operations.switch_off
            change(webhook=webhook)
            record(shop, AuditAction.WEBHOOK_SWITCHED, on=webhook, is_on=action == "on")
            self.stdout.write(f"{webhook.alias} is switched {action}.")

    def _secret(self, webhook: OutgoingWebhook, secret: str, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({**_told(webhook), "secret": secret}, default=str))
            return
        # Alone on its stream, so that it can be piped to where secrets are kept.
        self.stdout.write(secret)
        self.stderr.write(
            "Keep it now: it cannot be shown again. The receiver checks signatures by it."
        )

    def _tell(self, rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
        if as_json:
            self.stdout.write(json.dumps(rows, default=str))
            return
        for row in rows:
            self.stdout.write("  ".join(f"{name}={value}" for name, value in row.items() if value))
        if not rows:
            self.stdout.write(nothing)


def _named(installation: Installation, alias: str) -> OutgoingWebhook:
    found = queries.find(installation=installation, alias=alias)
    if found is None:
        known = ", ".join(queries.aliases(installation=installation)) or "none yet"
        raise CommandError(f"There is no outgoing webhook {alias!r}. Known: {known}.")
    return found


def _told(webhook: OutgoingWebhook) -> dict[str, Any]:
    """Tell of a webhook what may stand in a terminal's history: not its address, not its secret."""
    return {
        "alias": webhook.alias,
        "events": webhook.events,
        "is_active": webhook.is_active,
        "has_personal_data": webhook.has_personal_data,
        "failing_since": webhook.failing_since,
        "disabled_at": webhook.disabled_at,
    }


def _logged(row: OutgoingDelivery) -> dict[str, Any]:
    return {
        "id": row.pk,
        "event_id": row.event_id,
        "event": row.event,
        "status": row.status,
        "attempts": row.attempts,
        "answer_status": row.answer_status,
        "occurred_at": row.occurred_at,
        "error": row.error,
    }
