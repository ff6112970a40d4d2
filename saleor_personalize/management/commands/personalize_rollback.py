"""`saleor-personalize rollback`: have the version before answer again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from saleor_personalize.enums import AuditAction, InstallationStatus
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.management.models_table import models_table
from saleor_personalize.models import Installation, SalesChannel, TrainedModel
from saleor_personalize.recommendations import queries, versions


class Command(BaseCommand):
    help = (
        "Have the version of a shop's models before the current one answer again; servers change over "
        "within a second or two. Exit code: 0 done, 1 there is nothing to go back to."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_installation_argument(parser)
        parser.add_argument("--all", action="store_true", help="every shop")
        parser.add_argument("--channel", metavar="SLUG", help="this sales channel only")
        parser.add_argument("--to", metavar="VERSION", help="this version; see --list")
        parser.add_argument(
            "--keep",
            type=int,
            metavar="DAYS",
            default=versions.STALE_AFTER.days,
            help="publish no newer one for so long (default %(default)s; 0: the next training publishes)",
        )
        parser.add_argument("--list", action="store_true", help="show what there is to go back to")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["all"] and options["installation"]:
            raise CommandError("Say --all or --installation, not both.")
        if options["keep"] < 0:
            raise CommandError(f"--keep takes a number of days, not {options['keep']}.")
        shops = (
            list(Installation.objects.exclude(status=InstallationStatus.UNINSTALLED).order_by("pk"))
            if options["all"]
            else [chosen_installation(options["installation"])]
        )
        slug = options["channel"]
        if slug is not None:
            self._check_channel(shops, slug)
        if options["list"]:
            for shop in shops:
                self._list(shop, slug)
            return
        count = sum(self._roll_back(shop, slug, options) for shop in shops)
        if not count:
            raise CommandError(
                "There is no such version to go back to; see --list."
                if options["to"]
                else "There is no version before the current one; see --list."
            )

    def _check_channel(self, shops: list[Installation], slug: str) -> None:
        known = {
            name
            for shop in shops
            for name in SalesChannel.objects.of(shop).values_list("slug", flat=True)
        }
        if slug not in known:
            raise CommandError(
                f"There is no sales channel {slug}. Known: {', '.join(sorted(known)) or 'none yet'}."
            )

    def _list(self, shop: Installation, slug: str | None) -> None:
        self.stdout.write(shop.saleor_api_url)
        slugs = TrainedModel.objects.of(shop).values_list("channel_slug", flat=True).distinct()
        rows = [
            row
            for name in sorted(slugs)
            if slug in (None, name)
            for row in versions.available(installation=shop, channel_slug=name)
        ]
        faults = {row.pk: fault for row in rows if (fault := versions.fault_of(row.path))}
        for line in models_table(rows, faults) or ["nothing was trained yet"]:
            self.stdout.write(f"  {line}")

    def _roll_back(self, shop: Installation, slug: str | None, options: dict[str, Any]) -> int:
        changes = versions.roll_back(
            installation=shop,
            now=timezone.now(),
            keep=timedelta(days=options["keep"]),
            channel_slug=slug,
            version=options["to"],
        )
        for change in changes:
            record(shop, AuditAction.MODEL_CHOSEN, on=change.now, channel=change.channel_slug)
            kept = (
                f", and stays until {change.now.kept_until:%Y-%m-%d %H:%M} UTC"
                if change.now.kept_until
                else ""
            )
            self.stdout.write(
                f"{shop.saleor_api_url} {change.channel_slug}: {change.now.version} answers again "
                f"instead of {change.before.version}{kept}."
            )
        changed = {change.channel_slug for change in changes}
        for model in queries.published_models(installation=shop) if changes and not slug else ():
            if model.channel_slug not in changed:
                self.stdout.write(
                    f"{shop.saleor_api_url} {model.channel_slug}: there is no version before "
                    f"{model.version}, which goes on answering."
                )
        return len(changes)
