"""`saleor-personalize segments ...`: see, count, copy and explain segments from a terminal."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from saleor_personalize.enums import AuditAction
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import chosen_installation
from saleor_personalize.models import Installation, Segment
from saleor_personalize.segments import operations, queries
from saleor_personalize.segments.definition import InvalidDefinition, from_json
from saleor_personalize.segments.reference import reference

_HELPS = {
    "list": "every segment with its number of members, and how far behind they are",
    "count": "how many people match: a segment by KEY, or a definition (JSON) in a file or '-'",
    "show": "one segment: its sentence, its definition and its members' number",
    "export": "all segments as JSON",
    "import": "make or change segments from such JSON; FILE or '-'",
    "rules": "every rule with its parameters, as the page docs/reference/segment-rules.md",
}


class Command(BaseCommand):
    help = "See, count, copy and explain segments."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        for action, text in _HELPS.items():
            part = actions.add_parser(action, help=text)
            if action == "show":
                part.add_argument("key")
            if action == "count":
                part.add_argument("key", nargs="?", default="")
                part.add_argument("--definition", metavar="FILE", help="'-' reads standard input")
            if action == "import":
                part.add_argument("file", help="'-' reads standard input")
            part.add_argument("--installation", metavar="URL", help="Saleor API URL of the shop")
            if action in {"list", "count", "show"}:
                part.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *, action: str, **options: Any) -> None:
        if action == "rules":
            self.stdout.write(reference(), ending="")
            return
        installation = chosen_installation(options["installation"])
        try:
            getattr(self, f"_{action}")(installation, options)
        except InvalidDefinition as error:
            raise CommandError("\n".join(_told(error))) from error

    def _list(self, installation: Installation, options: dict[str, Any]) -> None:
        lag = queries.lag(installation=installation, now=timezone.now())
        rows = queries.segments(installation=installation)
        if options["as_json"]:
            self._json(
                {
                    "segments": [_row(row) for row in rows],
                    "waiting": lag.waiting,
                    "lag_seconds": lag.behind.total_seconds(),
                }
            )
            return
        for row in rows:
            self.stdout.write(f"{row.key}  members={row.member_count}  {row.name}")  # type: ignore[attr-defined]
        if not rows:
            self.stdout.write("There is no segment yet.")
        self.stdout.write(f"{lag.behind.total_seconds():.0f} s behind, {lag.waiting} changes wait.")

    def _count(self, installation: Installation, options: dict[str, Any]) -> None:
        if bool(options["key"]) == bool(options["definition"]):
            raise CommandError("Name a segment, or a file with --definition FILE.")
        value = (
            _segment(installation, options["key"]).definition
            if options["key"]
            else _read(options["definition"])
        )
        found = queries.preview(
            installation=installation,
            definition=from_json(value),
            now=timezone.now(),
            sample=0,
            seconds=0,
        )
        if options["as_json"]:
            self._json({"count": found.count})
        else:
            self.stdout.write(f"{found.count} people match now.")

    def _show(self, installation: Installation, options: dict[str, Any]) -> None:
        segment = _segment(installation, options["key"])
        members = queries.members(segment=segment).count()
        sentence = queries.description(segment=segment)
        if options["as_json"]:
            self._json({**_row(segment, members), "description": sentence})
            return
        self.stdout.write(f"{segment.name}: {sentence}")
        self.stdout.write(f"{members} members, evaluated at {segment.evaluated_at}")
        self._json(segment.definition)

    def _export(self, installation: Installation, options: dict[str, Any]) -> None:
        rows = queries.segments(installation=installation)
        parts = ("key", "name", "definition", "is_active")
        self._json([{part: getattr(row, part) for part in parts} for row in rows])

    def _import(self, installation: Installation, options: dict[str, Any]) -> None:
        rows = _read(options["file"])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise CommandError("A list of segments is needed, as `export` writes it.")
        now = timezone.now()
        made = changed = 0
        with transaction.atomic():
            for position, row in _in_order(rows):
                try:
                    known = queries.segment_of_key(
                        installation=installation, key=str(row.get("key", ""))
                    )
                    if known is None:
                        known = operations.create_segment(
                            installation=installation,
                            key=str(row.get("key", "")),
                            name=str(row.get("name", "")),
                            definition=row.get("definition"),
                            now=now,
                        )
                        made += 1
                    else:
                        changed += 1
                    saved = operations.update_segment(
                        segment=known,
                        name=str(row.get("name", known.name)),
                        definition=row.get("definition", known.definition),
                        is_active=bool(row.get("is_active", True)),
                        now=now,
                    )
                    record(installation, AuditAction.SEGMENT_SAVED, on=saved)
                except InvalidDefinition as error:
                    told = "\n".join(_told(error))
                    raise CommandError(
                        f"Segment {position} ({row.get('key')}):\n{told}\nNothing was imported."
                    ) from error
        self.stdout.write(f"{made} made, {changed} changed.")

    def _json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, default=str, ensure_ascii=False, indent=2))


def _row(segment: Segment, members: int | None = None) -> dict[str, Any]:
    return {
        "key": segment.key,
        "name": segment.name,
        "is_active": segment.is_active,
        "members": segment.member_count if members is None else members,  # type: ignore[attr-defined]
        "evaluated_at": segment.evaluated_at,
        "definition": segment.definition,
    }


def _told(error: InvalidDefinition) -> list[str]:
    return [f"{fault.path or 'definition'}: {fault.message}" for fault in error.faults]


def _segment(installation: Installation, key: str) -> Segment:
    found = queries.segment_of_key(installation=installation, key=key)
    if found is None:
        known = ", ".join(row.key for row in queries.segments(installation=installation))
        raise CommandError(f"There is no segment {key!r}. Known: {known or 'none'}.")
    return found


def _read(name: str) -> Any:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CommandError(f"{name} is no JSON: {error}.") from error


def _in_order(rows: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Return segments, with their places, so that each comes after those it builds on."""
    waiting = dict(enumerate(rows, start=1))
    ordered = []
    while waiting:
        keys = {row.get("key") for row in waiting.values()}
        ready = [
            position
            for position, row in waiting.items()
            if not operations.needed(row.get("definition")) & (keys - {row.get("key")})
        ]
        for position in ready or list(waiting):
            ordered.append((position, waiting.pop(position)))
    return ordered
