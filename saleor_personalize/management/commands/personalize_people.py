"""`saleor-personalize people ...`: who is one person and why, what happened, and taking a merge back."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from saleor_personalize.enums import AuditAction, IdentityKind, MergeProof, PredictionTarget
from saleor_personalize.events import history, people, timeline
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.models import Identity, Installation, Merge, Profile, email_hash
from saleor_personalize.profiles import merging
from saleor_personalize.traits import operations, predictions
from saleor_personalize.traits.queries import predictors_of, traits_of

#: option -> the kind of id that it takes
_IDS = {
    "user": IdentityKind.SALEOR_USER,
    "email": IdentityKind.EMAIL,
    "anonymous_id": IdentityKind.ANONYMOUS_ID,
    "checkout": IdentityKind.CHECKOUT,
    "external_id": IdentityKind.EXTERNAL_ID,
}


class Command(BaseCommand):
    help = (
        "Show what is one person: their profiles and ids, what proved that they belong together, what is "
        "worked out about them, and one timeline; or split two profiles that were joined."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        show = actions.add_parser("show", help="a person, by any of their ids; no address is shown")
        one = show.add_mutually_exclusive_group(required=True)
        for option, kind in _IDS.items():
            one.add_argument(f"--{option.replace('_', '-')}", metavar="ID", help=kind.label)
        show.add_argument("--limit", type=int, default=100, help="lines of the timeline (100)")
        split = actions.add_parser("split", help="undo a merge: both get their own facts back")
        split.add_argument("merge", type=int, help="the number that `show` tells")
        compute = actions.add_parser(
            "compute", help="work out the traits of everybody now, and test what foretells"
        )
        for part in (show, split, compute):
            add_installation_argument(part)  # type: ignore[arg-type]
            part.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *, action: str, as_json: bool, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        if action == "split":
            told = _split(installation, options["merge"])
        elif action == "compute":
            told = _compute(installation)
        else:
            told = _show(_found(installation, options), max(options["limit"], 1))
        if as_json:
            self.stdout.write(json.dumps(told, default=str))
            return
        for title, rows in told.items():
            if not isinstance(rows, list):
                self.stdout.write(f"{title}: {rows}")
                continue
            self.stdout.write(title)
            for row in filter(None, rows):
                self.stdout.write("  " + "  ".join(f"{n}={_said(v)}" for n, v in row.items() if v))


def _said(value: Any) -> str:
    """Return a value for eyes: times to the second, an id as its kind and value."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    if isinstance(value, dict):
        return " ".join(map(_said, value.values()))
    return str(value)


def _compute(installation: Installation) -> dict[str, Any]:
    now = timezone.now()
    # The horizon comes from the yardstick, what is foretold from the formulas: so once around.
    operations.compute(installation=installation, now=now)
    predictions.train(installation=installation, now=now)
    count = operations.compute(installation=installation, now=now)
    return {
        "people": count,
        "predictors": [
            {"target": row.target, "is_published": row.is_published, **row.figures}
            for row in predictors_of(installation).values()
        ],
    }


def _found(installation: Installation, options: dict[str, Any]) -> Profile:
    """Return the profile behind the one id that was given."""
    option, value = next((o, options[o]) for o in _IDS if options[o] is not None)
    kind = _IDS[option]
    if kind == IdentityKind.SALEOR_USER:
        value = people.global_id_of_user(value)
    found = timeline.profile_of(
        installation=installation,
        kind=kind,
        value=email_hash(value) if kind == IdentityKind.EMAIL else value,
    )
    if found is None:
        raise CommandError(f"Nobody in this shop is known by this --{option.replace('_', '-')}.")
    return found


def _show(profile: Profile, limit: int) -> dict[str, Any]:
    members = {member.pk: member for member in profile.person().order_by("pk")}
    ids: dict[int, list[dict[str, str]]] = {pk: [] for pk in members}
    for identity in (
        Identity.objects.of(profile.installation).filter(profile__in=members).order_by("pk")
    ):
        ids[identity.profile_id].append({"kind": identity.kind, "value": identity.value})
    return {
        "profiles": [
            {"id": member.public_id, "ids": ids[pk], "first_seen_at": member.first_seen_at}
            for pk, member in members.items()
        ],
        "merges": [_merge(merge) for merge in merging.merges_of(profile)],
        "traits": [_traits(profile)],
        "timeline": [
            {
                "at": entry.at,
                "kind": entry.kind,
                "what": entry.what,
                "profile": member.public_id if (member := members.get(entry.profile_id)) else "",
                **{name: value for name, value in entry.about.items() if value},
            }
            for entry in history.history_of(profile, first=limit)
        ],
    }


def _traits(profile: Profile) -> dict[str, Any]:
    """Return what is worked out about a person; empty until then, and for who refused profiling."""
    found = traits_of(profile)
    if found is None:
        return {}
    told = {
        field.name: getattr(found, field.name)
        for field in found._meta.concrete_fields
        if field.name not in {"id", "installation", "profile"}
    }
    return told | {
        f"{target.value}_state": predictions.state_of(
            installation=profile.installation, traits=found, target=target
        ).value
        for target in PredictionTarget
    }


def _merge(merge: Merge) -> dict[str, Any]:
    return {
        "merge": merge.pk,
        "proof": merge.proof,
        "why": MergeProof(merge.proof).label,
        "evidence": merge.evidence,
        "proved_at": merge.proved_at,
        "undone_at": merge.undone_at,
        "waits_for": merge.waits_for,
    }


def _split(installation: Installation, number: int) -> dict[str, Any]:
    merge = (
        Merge.objects.of(installation)
        .filter(pk=number)
        .select_related("installation", "first", "second")
        .first()
    )
    if merge is None:
        raise CommandError(f"This shop has no merge {number}. `people show` tells their numbers.")
    is_apart = merging.split(merge=merge, now=timezone.now(), decided_by="")
    record(installation, AuditAction.PEOPLE_SPLIT, on=merge.first, merge=number)
    return {"merge": number, "is_apart": is_apart}
