"""`saleor-personalize journeys ...`: see and switch journeys from a terminal."""

from __future__ import annotations

import json
import shlex
from argparse import ArgumentParser
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from saleor_personalize.conf import settings
from saleor_personalize.enums import AuditAction, InstallationStatus, JourneySource
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import definitions, lengths, operations
from saleor_personalize.journeys.definitions import InvalidJourney
from saleor_personalize.journeys.our_word import OnlySaleorKnows
from saleor_personalize.journeys.queries import waiting
from saleor_personalize.management import dry_run
from saleor_personalize.management.deeds import record
from saleor_personalize.messaging.queries import newest_messages
from saleor_personalize.models import Enrollment, Installation, Journey, Message


class Command(BaseCommand):
    help = "List journeys, switch them on and off, and see who waits and what was sent or not, and why."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        helps = {
            "list": "every journey and whether it is live",
            "go-live": "switch a journey on; carts left before are never written about",
            "pause": "switch a journey off; whoever is inside is held, or leaves, as its definition says",
            "resume": "let a paused journey go on where it was held",
            "stop-sends": "stop everything that the shop sends, within a minute",
            "resume-sends": "let sends go on",
            "check": "tell every fault of a definition, and change nothing",
            "apply": "publish a definition: whoever comes in from now on follows it",
            "export": "print the definition that a journey follows, as YAML",
            "versions": "every version of a journey",
            "roll-back": "publish an earlier version again",
            "schema": "print the JSON Schema of definitions",
            "look": "look now, not only every ten minutes, for whom time alone brings in",
            "dry-run": "what a journey would have sent lately, and will send in the next 7 days",
            "waiting": "who waits in a journey, soonest first",
            "messages": "the last decisions, sent or not, and why",
        }
        for action, text in helps.items():
            part = actions.add_parser(action, help=text)
            if action in {"go-live", "pause", "resume", "export", "versions", "roll-back"}:
                part.add_argument("key", help="for example abandoned_checkout")
            if action == "pause":
                part.add_argument(
                    "--inside",
                    choices=["hold", "exit"],
                    default="",
                    help="what becomes of people inside",
                )
            if action == "roll-back":
                part.add_argument("number", type=int, help="number of the version")
            if action in {"check", "apply"}:
                part.add_argument(
                    "files", nargs="+", type=Path, metavar="FILE", help=".yaml or .json"
                )
            if action == "dry-run":
                dry_run.add_arguments(part)
            if action == "messages":
                part.add_argument("--limit", type=int, default=100)
            part.add_argument("--installation", metavar="URL", help="Saleor API URL of the shop")
            part.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *, action: str, as_json: bool, **options: Any) -> None:
        if action == "schema":
            self.stdout.write(json.dumps(definitions.schema(operations.known()), indent=1))
            return
        installation = _installation(options["installation"])
        try:
            rows = _ACTIONS[action](installation, options)
        except (UnknownAlias, InvalidJourney, OnlySaleorKnows, OSError) as error:
            raise CommandError(str(error)) from error
        if action == "dry-run" and not as_json:
            self.stdout.writelines(f"{line}\n" for line in dry_run.lines(rows[0]))
            return
        if as_json:
            self.stdout.write(json.dumps(rows, default=str))
            return
        if action == "export":
            self.stdout.write(str(rows[0]["definition"]), ending="")
            return
        for line in _LINES.get(action, _plain)(rows):
            self.stdout.write(line)
        if not rows:
            self.stdout.write("Nothing there.")


def _installation(url: str | None) -> Installation:
    """Return the shop that is meant: the named one, else the only active one."""
    if url is not None:
        found = Installation.objects.filter(saleor_api_url=url).first()
        if found is None:
            known = ", ".join(Installation.objects.values_list("saleor_api_url", flat=True))
            raise CommandError(f"{url} has not installed the app. Installed: {known or 'none'}.")
        return found
    active = list(Installation.objects.filter(status=InstallationStatus.ACTIVE)[:2])
    if not active:
        raise CommandError("No shop has the app installed and active. Install it in the Dashboard.")
    if len(active) > 1:
        raise CommandError("Several shops have the app: say which one with --installation URL.")
    return active[0]


def _told(journey: Journey) -> dict[str, Any]:
    return {"key": journey.key, "is_live": journey.is_live, "live_at": journey.live_at}


def _list(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **_told(journey),
            "version": journey.published.number if journey.published else None,
            "sends_stopped_at": installation.sends_stopped_at,
        }
        for journey in operations.journeys_of(installation)
    ]


def _journey(installation: Installation, options: dict[str, Any]) -> Journey:
    return operations.ensure_journey(installation=installation, key=options["key"])


def _go_live(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    journey = operations.go_live(journey=_journey(installation, options), now=timezone.now())
    _record(AuditAction.JOURNEY_LIVE, journey)
    return [{**_told(journey), "same_trigger": operations.live_on_same_trigger(journey)}]


def _pause(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    journey, inside = _journey(installation, options), options["inside"]
    paused = operations.pause(journey=journey, now=timezone.now(), on_pause=inside)
    record(installation, AuditAction.JOURNEY_PAUSED, on=journey, inside=inside)
    return [_told(paused)]


def _resume(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    journey = operations.resume(journey=_journey(installation, options), now=timezone.now())
    _record(AuditAction.JOURNEY_RESUMED, journey)
    return [_told(journey)]


def _record(action: AuditAction, journey: Journey) -> None:
    """Write down what was done to a journey, and the version that it has now."""
    number = journey.published.number if journey.published is not None else None
    record(journey.installation, action, on=journey, version=number)


def _stop_sends(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    operations.stop_sends(installation=installation, now=timezone.now())
    record(installation, AuditAction.SENDS_STOPPED)
    return [{"sends_stopped_at": installation.sends_stopped_at}]


def _resume_sends(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    operations.resume_sends(installation=installation)
    record(installation, AuditAction.SENDS_RESUMED)
    return [{"sends_stopped_at": None}]


def _check(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    found = {path: _read(installation, path) for path in options["files"]}
    return [
        {"file": str(path), "journey": one.journey, "text_messages": _lengths(path, one)}
        for path, one in found.items()
    ]


def _lengths(path: Path, definition: definitions.Definition) -> str:
    """Say what the text messages take; raise CommandError when none of that kind could go."""
    found = lengths.text_messages(definition)
    for one in found:
        if one.is_too_long:
            raise CommandError(
                f"{path}:\nsteps.{one.step}: sms.txt of {one.template!r} takes {one.segments} segments in "
                f"{one.language_code!r}, and SMS_MAX_SEGMENTS allows {settings.SMS_MAX_SEGMENTS}: nobody "
                "would get it. Say it shorter."
            )
    return ", ".join(map(str, found))


def _apply(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    # All are read before the first is published.
    found = [_read(installation, path) for path in options["files"]]
    versions = [
        operations.publish(
            installation=installation,
            definition=definition,
            source=JourneySource.FILE,
            now=timezone.now(),
        )
        for definition in found
    ]
    for version in versions:
        record(installation, AuditAction.JOURNEY_SAVED, on=version.journey, version=version.number)
    return [
        {
            "journey": definition.journey,
            "version": version.number,
            "is_live": version.journey.is_live,
            "live_at": version.journey.live_at,
        }
        for definition, version in zip(found, versions, strict=True)
    ]


def _read(installation: Installation, path: Path) -> definitions.Definition:
    try:
        known = operations.known(installation)
        found = definitions.load(path.read_text(encoding="utf-8"), known=known)
        operations.check_segments(installation=installation, definition=found)
    except InvalidJourney as error:
        raise CommandError(f"{path}:\n{error}") from error
    return found


def _export(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    published = _journey(installation, options).published
    if published is None:
        return [{"definition": ""}]
    return [{"definition": definitions.dump(operations.definition_of(published))}]


def _versions(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    journey = _journey(installation, options)
    return [
        {
            "number": version.number,
            "source": version.source,
            "created_at": version.created_at,
            "is_published": version.pk == journey.published_id,
            "waiting": waiting(installation=installation).filter(version=version).count(),
        }
        for version in journey.versions.order_by("-number")
    ]


def _roll_back(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    version = operations.roll_back(
        journey=_journey(installation, options),
        number=options["number"],
        source=JourneySource.FILE,
        now=timezone.now(),
    )
    record(installation, AuditAction.JOURNEY_SAVED, on=version.journey, version=version.number)
    return [{"journey": options["key"], "version": version.number}]


def _look(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"came_in": operations.enter_due(now=timezone.now(), every=timedelta(0))}]


def _waiting(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "journey": row.journey.key,
            "subject": row.subject_saleor_id,
            "due_at": row.due_at,
            "step": definitions.path_text(tuple(row.path)),
            "step_id": _step_id(row),
            "held_by": row.held_by,
        }
        for row in waiting(installation=installation).select_related("journey", "version")
    ]


def _step_id(row: Enrollment) -> str:
    step = definitions.step_at(operations.definition_of(row.version), tuple(row.path))
    return str(getattr(step, "id", ""))


def _messages(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": message.public_id,
            "journey": message.enrollment.journey.key if message.enrollment else "",
            "step": _step_of(message),
            "delivery_channel": message.delivery_channel,
            "template": message.template,
            "status": message.status,
            "reason": message.reason,
            "decided_at": message.decided_at,
            "checkout_id": message.content.get("checkout_id", ""),
            "error": message.error,
        }
        for message in newest_messages(installation=installation, limit=options["limit"])
    ]


def _step_of(message: Message) -> str:
    """Return the id of the step that a message came from; "" when it came from no journey."""
    row = message.enrollment
    prefix = f"{row.journey.key}:{row.entry_key}:" if row is not None else ""
    if not prefix or not message.idempotency_key.startswith(prefix):
        return ""
    return message.idempotency_key.removeprefix(prefix).partition(":")[0]


def _dry_run(installation: Installation, options: dict[str, Any]) -> list[dict[str, Any]]:
    return dry_run.dry_run(installation, options, timezone.now())


_ACTIONS = {
    "dry-run": _dry_run,
    "list": _list,
    "go-live": _go_live,
    "pause": _pause,
    "resume": _resume,
    "stop-sends": _stop_sends,
    "resume-sends": _resume_sends,
    "check": _check,
    "apply": _apply,
    "export": _export,
    "versions": _versions,
    "roll-back": _roll_back,
    "look": _look,
    "waiting": _waiting,
    "messages": _messages,
}


# -- as people read it ----------------------------------------------------------------------------------


def _plain(rows: list[dict[str, Any]]) -> list[str]:
    return ["  ".join(f"{name}={value}" for name, value in row.items()) for row in rows]


def _list_lines(rows: list[dict[str, Any]]) -> list[str]:
    # The same in each row.
    stopped_at = rows[0]["sends_stopped_at"] if rows else None
    shown = [
        {name: value for name, value in row.items() if name != "sends_stopped_at"} for row in rows
    ]
    return [*([_stopped(stopped_at)] if stopped_at else []), *_plain(shown)]


def _sends_lines(rows: list[dict[str, Any]]) -> list[str]:
    stopped_at = rows[0]["sends_stopped_at"]
    return [_stopped(stopped_at) if stopped_at else "Sends go on."]


def _stopped(at: datetime) -> str:
    return (
        f"All sends are stopped since {at:%Y-%m-%d %H:%M} UTC; "
        "`saleor-personalize journeys resume-sends` lets them go on."
    )


def _go_live_lines(rows: list[dict[str, Any]]) -> list[str]:
    found = []
    for row in rows:
        others = row["same_trigger"]
        shown = {name: value for name, value in row.items() if name != "same_trigger"}
        found += _plain([shown])
        if others:
            found.append(
                f"Live on the same trigger: {', '.join(others)}. People may get the messages of both; "
                f"`saleor-personalize journeys pause {others[0]}` ends that."
            )
    return found


def _check_lines(rows: list[dict[str, Any]]) -> list[str]:
    found = []
    for row in rows:
        shown = {name: value for name, value in row.items() if value or name != "text_messages"}
        command = f"saleor-personalize journeys apply {shlex.quote(row['file'])}"
        found.append(f"{_plain([shown])[0]}  No fault. Next: {command}")
    return found


def _apply_lines(rows: list[dict[str, Any]]) -> list[str]:
    found = []
    for row in rows:
        line = f"journey={row['journey']}  version={row['version']}"
        if not row["is_live"]:
            # Whoever was held by a pause goes on after `resume`, and is let go by `go-live`.
            action = "resume" if row["live_at"] else "go-live"
            line += f"  Next: saleor-personalize journeys {action} {row['journey']}"
        found.append(line)
    return found


_LINES = {
    "list": _list_lines,
    "go-live": _go_live_lines,
    "stop-sends": _sends_lines,
    "resume-sends": _sends_lines,
    "check": _check_lines,
    "apply": _apply_lines,
}
