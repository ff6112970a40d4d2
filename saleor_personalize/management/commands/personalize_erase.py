"""`saleor-personalize erase --person WHO`: forget one person, with a proof."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from saleor_personalize.enums import AuditAction, ErasureSource
from saleor_personalize.ingestion import erasure
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
    confirmed,
    named_person,
)
from saleor_personalize.profiles import privacy


class Command(BaseCommand):
    help = (
        "Erase one person with all that is known of them; it cannot be taken back. Orders stay without a "
        "person. Prints a reference that proves it and tells nothing about them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--person",
            metavar="WHO",
            required=True,
            help="e-mail address, Saleor user, card, anonymous id or reference; '-' reads it from the input",
        )
        add_installation_argument(parser)
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        profile = named_person(installation, options["person"])
        count = profile.person().count()
        question = f"Erase this person with {count} profile(s) for good? Type yes: "
        if not options["yes"] and not confirmed(question, "yes"):
            raise CommandError("Nothing was erased. Answer yes, or use --yes.")
        now = timezone.now()
        done = privacy.erase(profile=profile, requested_by=ErasureSource.COMMAND, now=now)
        record(installation, AuditAction.PERSON_ERASED, on=done)
        swept = erasure.sweep(installation=installation, now=now)
        counts = {
            **done.counts,
            "WebhookDelivery": swept.deliveries,
            "ImportReject": swept.rejects,
            "uploads": swept.uploads,
        }
        told = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        self.stdout.write(f"Erased: {told or 'nothing but the ids'}.")
        self.stdout.write(f"Reference: {done.public_id}")
