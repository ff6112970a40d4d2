"""`saleor-personalize doctor`: what is wrong, and the one thing that mends each."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from saleor_personalize.management.doctor import examine
from saleor_personalize.messaging.go_live import FAIL, OK


class Command(BaseCommand):
    help = (
        "Examine settings, database, broker, workers, mail and each shop. Exits with 1 when something "
        "fails."
    )
    # Doctor tells what is wrong with the settings itself, and goes on.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        found = []
        for finding in examine(now=timezone.now()):
            found.append(finding)
            if not options["json"]:
                style = {OK: self.style.SUCCESS, FAIL: self.style.ERROR}.get(
                    finding.level, self.style.WARNING
                )
                level = style(f"{finding.level.upper():<4}")
                self.stdout.write(f"{level}  {finding.check}: {finding.text}")
                if finding.fix:
                    self.stdout.write(f"      {finding.fix}")
        is_well = all(finding.level != FAIL for finding in found)
        if options["json"]:
            findings = [finding.as_dict() for finding in found]
            self.stdout.write(json.dumps({"is_well": is_well, "findings": findings}, indent=2))
        if not is_well:
            sys.exit(1)
