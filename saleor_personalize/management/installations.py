"""What the commands share: which shop is meant."""

from __future__ import annotations

import sys

from django.core.management.base import CommandError, CommandParser

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.models import Installation, Profile
from saleor_personalize.profiles import queries


def add_installation_argument(parser: CommandParser) -> None:
    parser.add_argument(
        "--installation",
        metavar="URL",
        help="API URL of the shop; may be left out while there is only one",
    )


def chosen_installation(url: str | None) -> Installation:
    """Return the shop named, or the only one; raise CommandError with what to type instead."""
    rows = Installation.objects.exclude(status=InstallationStatus.UNINSTALLED).order_by("pk")
    if url:
        found = rows.filter(saleor_api_url=url).first()
        if found is None:
            raise CommandError(f"No shop {url} has installed the app. Known: {_known(rows)}.")
        return found
    if rows.count() != 1:
        raise CommandError(f"Say which shop with --installation URL. Known: {_known(rows)}.")
    return rows.get()


def named_person(installation: Installation, who: str) -> Profile:
    """Return the profile of whom the operator names; '-' keeps an address out of the shell's history."""
    found = queries.find(installation=installation, who=sys.stdin.readline() if who == "-" else who)
    if found is None:
        raise CommandError(
            "Nobody is known by that in this shop. Try the e-mail address, Saleor's global id of the user, "
            "or the reference in an export."
        )
    return found


def confirmed(question: str, answer: str) -> bool:
    """Ask the operator; without anybody to ask the answer is no."""
    try:
        return input(question).strip() == answer
    except EOFError:
        return False


def _known(rows: object) -> str:
    urls = [row.saleor_api_url for row in rows]  # type: ignore[attr-defined]
    return ", ".join(urls) or "none yet; install the app from a Dashboard first"
