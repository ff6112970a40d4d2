"""`saleor-personalize go-live-check`: may mail of a shop go out to many?"""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from saleor_personalize.enums import AuditAction
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.messaging import feedback, go_live, texts
from saleor_personalize.messaging.channels import tracking
from saleor_personalize.models import Installation


class Command(BaseCommand):
    help = (
        "Look at what receivers of mail look at: the sender, SPF, DKIM, DMARC, the unsubscribe link and "
        "the provider's reports. Exits with 1 when something fails."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_installation_argument(parser)
        parser.add_argument(
            "--webhook", metavar="PROVIDER", help="print the address that a provider reports to"
        )
        parser.add_argument(
            "--new-secret", action="store_true", help="with --webhook: the former one works no more"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        if options["webhook"]:
            self._webhook(installation, options["webhook"], options["new_secret"])
            return
        findings = [
            go_live.for_terminal(each) for each in go_live.examine(installation=installation)
        ]
        is_well = all(finding.level != go_live.FAIL for finding in findings)
        if options["json"]:
            told = [finding.as_dict() for finding in findings]
            self.stdout.write(json.dumps({"is_well": is_well, "findings": told}, indent=2))
        else:
            for finding in findings:
                self._tell(finding)
        if not is_well:
            sys.exit(1)

    def _tell(self, finding: go_live.Finding) -> None:
        styles = {go_live.OK: self.style.SUCCESS, go_live.FAIL: self.style.ERROR}
        style = styles.get(finding.level, self.style.WARNING)
        level = style(f"{finding.level.upper():<4}")
        self.stdout.write(f"{level}  {finding.check}: {finding.text}")
        if finding.fix:
            self.stdout.write(f"      {finding.fix}")

    def _webhook(self, installation: Installation, provider: str, is_new: bool) -> None:
        there = tracking.providers() | ({texts.PROVIDER} if texts.is_on() else set())
        if provider == texts.PROVIDER and provider not in there:
            raise CommandError(
                'Nothing writes text messages yet: a class must be named as CHANNELS["sms"], see '
                "docs/howto/sms.md."
            )
        if provider not in there:
            known = ", ".join(sorted(there))
            raise CommandError(f"{provider!r} is no provider. Known: {known}.")
        make = feedback.replace_secret if is_new else feedback.webhook_of
        webhook = make(installation=installation, now=timezone.now())
        if is_new:
            record(installation, AuditAction.PROVIDER_ADDRESS_REPLACED, provider=provider)
        # Alone on its stream: it holds the secret.
        self.stdout.write(feedback.webhook_url(webhook=webhook, provider=provider))
        self.stderr.write("Whoever knows this address can report bounces: show it to nobody else.")
