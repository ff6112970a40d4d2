"""`saleor-personalize rhythms ...`: how much and when people react, as learnt, and how far that proved itself."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.messaging import rhythms
from saleor_personalize.models import Rhythm


class Command(BaseCommand):
    help = (
        "Show how much and at what hours people react over each delivery channel, and whether their own "
        "hours foretold better than those of all; `learn` finds it out anew (beat does every week)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        for name, text in (("show", "print what is known"), ("learn", "learn anew, and print it")):
            part = actions.add_parser(name, help=text)
            part.add_argument("--json", action="store_true", dest="as_json")
            add_installation_argument(part)  # type: ignore[arg-type]

    def handle(self, *, action: str, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        if action == "learn":
            rhythms.learn(installation=installation, now=timezone.now())
        rows = list(rhythms.of_shop(installation).values())
        if options["as_json"]:
            self.stdout.write(json.dumps([_as_json(row) for row in rows]))
        elif rows:
            self.stdout.write("\n".join(rhythms.told(rows)))
        else:
            self.stdout.write("Nothing is learnt yet: run `saleor-personalize rhythms learn`.")


def _as_json(row: Rhythm) -> dict[str, Any]:
    return {
        "deliveryChannel": row.delivery_channel,
        "learntAt": row.learnt_at.isoformat(),
        "sent": row.sent,
        "seen": row.seen,
        "isPersonal": row.is_personal,
        "strength": row.strength,
        "curve": row.curve,
        **row.figures,
    }
