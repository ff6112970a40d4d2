"""`saleor-personalize messages ...`: a message as a real person would get it, looked at or sent to you."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from saleor_personalize.enums import AuditAction, DeliveryChannel
from saleor_personalize.events import people
from saleor_personalize.journeys import previews
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.messaging import outcomes
from saleor_personalize.messaging.queries import uncertain_messages
from saleor_personalize.models import Installation, Message, Profile


class Command(BaseCommand):
    help = (
        "Show a message of a journey as a real person would get it now, with what is wrong with it, or "
        "send it to an address of yours. Nothing is recorded, its links change nothing for the person."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        shown = actions.add_parser("preview", help="print subject, text and what is wrong")
        shown.add_argument("--html", type=Path, metavar="FILE", help="write the HTML there")
        shown.add_argument("--json", action="store_true", dest="as_json")
        sent = actions.add_parser("test-send", help="send it to yourself")
        sent.add_argument("--to", required=True, metavar="ADDRESS", help="an address of yours")
        parked = actions.add_parser("uncertain", help="list what the provider may have, or not")
        parked.add_argument("--limit", type=int, default=100)
        parked.add_argument("--json", action="store_true", dest="as_json")
        settled = actions.add_parser("settle", help="say what became of one of them")
        settled.add_argument("message", type=_public_id, metavar="ID")
        fate = settled.add_mutually_exclusive_group(required=True)
        fate.add_argument("--sent", action="store_true", dest="is_sent")
        fate.add_argument("--not-sent", action="store_false", dest="is_sent")
        for part in (parked, settled):
            add_installation_argument(part)  # type: ignore[arg-type]
        for part in (shown, sent):
            part.add_argument("--journey", required=True, metavar="KEY")
            part.add_argument("--step", default="", metavar="ID", help="else the first message")
            part.add_argument(
                "--person",
                default="",
                metavar="TEXT",
                help="address, Saleor user, order number, anonymous id or reference; else an example",
            )
            part.add_argument("--language", default="", metavar="CODE", help="else the person's")
            part.add_argument(
                "--over",
                default="",
                choices=["", *DeliveryChannel.values],
                help="the delivery channel; else that of the journey",
            )
            add_installation_argument(part)  # type: ignore[arg-type]

    def handle(self, *, action: str, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        if action == "uncertain":
            self._list(installation, options["limit"], as_json=options["as_json"])
        elif action == "settle":
            self._settle(installation, options["message"], is_sent=options["is_sent"])
        else:
            self._look(installation, action, options)

    def _look(self, installation: Installation, action: str, options: dict[str, Any]) -> None:
        text = options["person"]
        try:
            shown = previews.preview(
                installation=installation,
                profile=_person(installation, text) if text else None,
                journey=options["journey"],
                step_id=options["step"],
                delivery_channel=options["over"],
                language_code=options["language"],
                now=timezone.now(),
            )
            if action == "test-send":
                previews.send_test(shown=shown, to=options["to"], now=timezone.now())
                record(
                    installation,
                    AuditAction.TEST_SENT,
                    journey=options["journey"],
                    over=shown.delivery_channel,
                )
                self.stdout.write("Sent.")
        except previews.PreviewRefused as error:
            raise CommandError(str(error)) from None
        if action == "preview":
            self._show(shown, options["html"], as_json=options["as_json"])

    def _list(self, installation: Installation, limit: int, *, as_json: bool) -> None:
        rows = [
            {
                "id": str(message.public_id),
                "template": message.template,
                "deliveryChannel": message.delivery_channel,
                "at": (message.handed_over_at or message.decided_at).isoformat(),
                "providerMessageId": message.provider_message_id,
                "error": message.error,
            }
            for message in uncertain_messages(installation=installation, limit=limit)
        ]
        if as_json:
            self.stdout.write(json.dumps(rows))
            return
        for row in rows:
            self.stdout.write("  ".join(text for text in row.values() if text))
        self.stdout.write(
            f"{len(rows)} of which nobody knows. They are never sent again by themselves."
        )

    def _settle(self, installation: Installation, public_id: UUID, *, is_sent: bool) -> None:
        found = Message.objects.of(installation).filter(public_id=public_id)
        message = found.select_related("installation", "enrollment").first()
        if message is None or not outcomes.settle(
            message=message, is_sent=is_sent, now=timezone.now()
        ):
            raise CommandError(f"{public_id} is no uncertain message of this shop.")
        record(installation, AuditAction.MESSAGE_SETTLED, on=message, is_sent=is_sent)
        self.stdout.write("Sent." if is_sent else "Not sent, and not sent again.")

    def _show(self, shown: previews.Preview, file: Path | None, *, as_json: bool) -> None:
        words = shown.rendered
        if file is not None and words is not None:
            file.write_text(words.html or words.text, encoding="utf-8")
        if as_json:
            told = {
                "template": shown.template,
                "deliveryChannel": shown.delivery_channel,
                "language": shown.language_code,
                "objection": shown.objection,
                "findings": [vars(each) for each in shown.findings],
                **(vars(words) if words is not None else {}),
            }
            self.stdout.write(json.dumps(told))
            return
        if shown.objection is not None:
            self.stdout.write(f"- It would not be sent now: {shown.objection.label}")
        for each in shown.findings:
            self.stdout.write(f"{'! ' if each.is_blocking else '- '}{each.text}")
        if words is not None:
            self.stdout.write(f"{words.subject or words.title}\n\n{words.text}")


def _public_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no id of a message: ids stand in `saleor-personalize messages uncertain`."
        ) from None


def _person(installation: Installation, text: str) -> Profile:
    found = people.find(installation=installation, text=text, limit=2)
    if len(found) != 1:
        # Not the text: it may be an address.
        raise CommandError("Nobody, or more than one, is known by that. Name an id of theirs.")
    return found[0]
