"""`saleor-personalize push-test`: have Firebase check the account, without a message to anybody."""

from __future__ import annotations

import json
from argparse import ArgumentParser
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


class Command(BaseCommand):
    help = (
        "Have Firebase check the shop's service account, and a device's token if you give one. Nothing "
        "is delivered."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_installation_argument(parser)  # type: ignore[arg-type]
        parser.add_argument("--token", default="", help="of a device that is checked as well")
        parser.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *, token: str, as_json: bool, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        try:
            fault = push_accounts.check(installation=installation, now=timezone.now(), token=token)
        except PushAccountRefused as refusal:
            raise CommandError(f"{refusal} Save one: saleor-personalize push save FILE") from None
        record(installation, AuditAction.PUSH_TRIED)
        if as_json:
            self.stdout.write(json.dumps({"is_good": not fault, "fault": fault}))
        if fault:
            raise CommandError(fault)
        if not as_json:
            self.stdout.write("Firebase takes it. Nothing was delivered to anybody.")
