"""`saleor-personalize export`: all data of one person, or of one shop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone, translation

from saleor_personalize.enums import AuditAction
from saleor_personalize.ingestion.shop_export import export_shop
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
    named_person,
)
from saleor_personalize.messaging.rendering import django_language
from saleor_personalize.models import Installation
from saleor_personalize.profiles import privacy
from saleor_personalize.profiles.privacy.readable import html
from saleor_personalize.profiles.privacy.reference import reference


class Command(BaseCommand):
    help = (
        "Export all data of one person (--person) as JSON or as a page to read; without --person all data "
        "of a shop as files, into the folder --to."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--person",
            metavar="WHO",
            help="e-mail address, Saleor user, card, anonymous id or reference; '-' reads it from the input",
        )
        add_installation_argument(parser)
        parser.add_argument("--format", choices=["json", "html"], default="json")
        parser.add_argument(
            "--language",
            default="",
            metavar="CODE",
            help="of the page, such as DE; by default theirs",
        )
        parser.add_argument("--to", metavar="PATH", help="file; for a shop the folder")
        parser.add_argument(
            "--fields", action="store_true", help="print what is stored, as docs/reference/data.md"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["fields"]:
            self.stdout.write(reference(), ending="")
            return
        installation = chosen_installation(options["installation"])
        if options["person"]:
            self._person(installation, options)
        elif options["to"]:
            self._shop(installation, Path(options["to"]))
        else:
            raise CommandError("Say whom with --person WHO, or a folder for all data with --to.")

    def _person(self, installation: Installation, options: dict[str, Any]) -> None:
        profile = named_person(installation, options["person"])
        record(installation, AuditAction.PERSON_EXPORTED, on=profile)
        document = privacy.export(profile=profile, now=timezone.now())
        if options["format"] == "html":
            language = options["language"] or profile.language_code
            with translation.override(django_language(language)):
                text = html(document=document, installation=installation)
        else:
            text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        if not options["to"]:
            self.stdout.write(text, ending="")
            return
        path = Path(options["to"])
        try:
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
        self.stderr.write(f"{path}: {len(text.encode())} bytes. It is personal: hand it on safely.")

    def _shop(self, installation: Installation, folder: Path) -> None:
        try:
            record(installation, AuditAction.REPORT_EXPORTED, report="everything")
            counts = export_shop(installation=installation, folder=folder, now=timezone.now())
        except OSError as error:
            raise CommandError(f"{folder} cannot be written: {error.strerror}.") from error
        for name, count in counts.items():
            self.stdout.write(f"{folder / name}: {count}")
