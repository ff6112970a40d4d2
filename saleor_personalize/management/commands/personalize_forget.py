"""`saleor-personalize forget --installation URL`: everything of one shop goes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from saleor_personalize.ingestion import leaving
from saleor_personalize.management.installations import confirmed
from saleor_personalize.models import Installation


class Command(BaseCommand):
    help = (
        "Delete all data of one shop: people, messages, catalogue, models, files. It cannot be taken back, "
        "and stops the app there at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--installation", metavar="URL", required=True, help="API URL of the shop"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        url = options["installation"]
        installation = Installation.objects.filter(saleor_api_url=url).first()
        if installation is None:
            known = ", ".join(Installation.objects.values_list("saleor_api_url", flat=True))
            raise CommandError(f"No shop {url} is known. Known: {known or 'none'}.")
        question = f"Delete everything of {url} for good? Type its URL: "
        if not options["yes"] and not confirmed(question, url):
            raise CommandError("Nothing was deleted. Type the URL, or use --yes.")
        counts = leaving.forget(installation=installation, now=timezone.now())
        for name, count in sorted(counts.items()):
            self.stdout.write(f"{name}: {count}")
        self.stdout.write(
            f"Nothing of {url} is left. If the app is still installed there: Dashboard > Extensions > Delete."
        )
