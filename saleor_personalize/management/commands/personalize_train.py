"""`saleor-personalize train`: fit and publish the recommenders now, or go back to the set before."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.recommendations import training


class Command(BaseCommand):
    help = "Fit and publish the recommenders of a shop."

    def add_arguments(self, parser: CommandParser) -> None:
        add_installation_argument(parser)
        parser.add_argument(
            "--roll-back", action="store_true", help="publish the set before the current one"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        if options["roll_back"]:
            count = training.roll_back(installation=installation)
            if not count:
                raise CommandError("There is no set before the current one.")
            self.stdout.write(f"{count} models are back in use.")
            return
        count = training.train(installation=installation, now=timezone.now())
        if not count:
            raise CommandError(
                "Nothing to train: no sales channel is known. Run the back-fill first."
            )
        self.stdout.write(f"{count} models published.")
