"""The pages of people: finding one, who they are and why, what is worked out, what happened.

Nobody is listed: who looks names a person exactly. What is searched for is posted, so that no address
stands in a log. Whatever staff decide is on the record with their id.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.dashboard import message_rows, told, words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.told import Permission
from saleor_personalize.dashboard.views import Context, _render, _tell
from saleor_personalize.enums import (
    AuditAction,
    IdentityKind,
    MergeProof,
    MessageStatus,
    PredictionTarget,
)
from saleor_personalize.events import history, people
from saleor_personalize.journeys import outlook
from saleor_personalize.messaging import queries as messaging
from saleor_personalize.models import (
    ComputedTraits,
    Identity,
    Merge,
    Message,
    Profile,
)
from saleor_personalize.profiles import consent, merging
from saleor_personalize.segments import queries as segments
from saleor_personalize.segments import words as facts
from saleor_personalize.traits import predictions
from saleor_personalize.traits import queries as traits

#: Most people that one search may find: an order number can be that of several.
FOUND = 10
#: Messages, and journeys somebody is in, on the page of a person.
MESSAGES_SHOWN = 10
#: Lines of the timeline at once.
PAGE = 25


@staff_view(people=True)
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Serve the search; or with `customer`, a Saleor user's id, their page at once."""
    customer = request.GET.get("customer", "")
    if not customer:
        return _page(request, staff)
    found = people.find(installation=staff.installation, text=customer, limit=1)
    if found:
        return _one(request, staff, found[0])
    return _page(request, staff, fault=_("Nothing is known of this customer yet."))


def _page(
    request: HttpRequest, staff: Staff, fault: str = "", found: list[Profile] | None = None
) -> HttpResponse:
    rows = [{"who": profile.public_id, "ids": _ids_in_words(profile)} for profile in found or []]
    return _render(request, staff, "people/page.html", {"fault": fault, "found": rows})


def _ids_in_words(profile: Profile) -> str:
    """Tell people apart without an address."""
    kinds = (
        Identity.objects.of(profile.installation)
        .filter(profile__in=profile.person())
        .order_by("kind")
        .values_list("kind", flat=True)
        .distinct()
    )
    return ", ".join(str(told.IDS[kind]) for kind in kinds)


@staff_view(people=True, posts=True)
def find(request: HttpRequest, staff: Staff) -> HttpResponse:
    found = _named(request, staff)
    if len(found) == 1:
        return _one(request, staff, found[0])
    if found:
        return _page(request, staff, found=found)
    return _page(request, staff, fault=_("Nobody is known by this. Write it out in full."))


def _named(request: HttpRequest, staff: Staff) -> list[Profile]:
    text = request.POST.get("who", "")
    return people.find(installation=staff.installation, text=text, limit=FOUND)


@staff_view(people=True)
def one(request: HttpRequest, staff: Staff, who: UUID) -> HttpResponse:
    return _one(request, staff, _found(staff, who))


def _one(request: HttpRequest, staff: Staff, profile: Profile) -> HttpResponse:
    parts = _parts(profile)
    context = {
        "who": profile.public_id,
        "name": next((part["profile"].first_name for part in parts if part["name"]), ""),
        "parts": parts,
        "merges": _merges(profile, parts),
        "is_refused": not consent.may_profile(profile=profile),
        "can_export": staff.can_import,
        **_traits(profile),
        **_written(profile, timezone.now()),
        **_timeline(request, profile),
    }
    return _render(request, staff, "people/one.html", context)


def _written(profile: Profile, now: datetime) -> Context:
    """Return what was sent to the person, what was not and why, what comes next, and what they allow."""
    counts = messaging.tally(profile=profile)
    rows = (
        Message.objects.of(profile.installation)
        .filter(profile__in=profile.person())
        .select_related("journey")
        .order_by("-decided_at", "-pk")
    )
    return {
        "sent_count": counts.get(MessageStatus.SENT, 0),
        "not_sent_count": counts.get(MessageStatus.NOT_SENT, 0),
        "messages": [message_rows.row(message) for message in rows[:MESSAGES_SHOWN]],
        "has_more_messages": sum(counts.values()) > MESSAGES_SHOWN,
        "next": [
            words.next_message(each, now)
            for each in outlook.of_person(profile=profile, now=now, limit=MESSAGES_SHOWN)
        ],
        "allowed": _allowed(profile),
        "clock": told.clock(profile, now),
    }


def _allowed(profile: Profile) -> list[tuple[str, str]]:
    """Return what a send would be allowed, by delivery channel; topics are named where they differ."""
    found: dict[str, list[Permission]] = {}
    for each in told.permissions(profile):
        found.setdefault(each.delivery_channel, []).append(each)
    return [
        (
            str(facts.DELIVERY_CHANNELS[channel]),
            ", ".join(
                f"{each.said} ({', '.join(each.topics)})" if len(alike) > 1 else each.said
                for each in alike
            ),
        )
        for channel, alike in found.items()
    ]


def _parts(profile: Profile) -> list[dict[str, Any]]:
    """Return the profiles that make up the person, with the ids of each."""
    found = {
        row.pk: {
            "number": number,
            "profile": row,
            "name": row.first_name,
            "ids": [],
            "technical": [],
        }
        for number, row in enumerate(profile.person().order_by("pk"), start=1)
    }
    rows = Identity.objects.of(profile.installation).filter(profile__in=found).order_by("pk")
    for row in rows:
        found[row.profile_id]["ids" if row.kind in told.READABLE else "technical"].append(
            {
                "kind": told.IDS[row.kind],
                "value": row.address or row.value,
                "first_seen_at": row.first_seen_at,
                "confirmed_at": row.confirmed_at,
            }
        )
    return list(found.values())


def _merges(profile: Profile, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what joined, might join and no longer joins the person: the log, newest first."""
    numbers = {part["profile"].pk: part["number"] for part in parts}
    rows = merging.merges_of(profile)
    hashes = [
        each["value"] for row in rows for each in row.evidence if each["kind"] == IdentityKind.EMAIL
    ]
    addresses = {
        row.value: row.address
        for row in Identity.objects.of(profile.installation).filter(
            kind=IdentityKind.EMAIL, value__in=hashes, profile__in=profile.person()
        )
    }
    others = Profile.objects.of(profile.installation).in_bulk(
        {pk for row in rows for pk in (row.first_id, row.second_id)} - set(numbers)
    )
    return [
        {
            "pk": row.pk,
            "first": numbers.get(row.first_id),
            "second": numbers.get(row.second_id),
            "other": others.get(row.first_id) or others.get(row.second_id),
            "why": told.PROOFS[row.proof],
            "evidence": [
                (told.IDS.get(each["kind"], each["kind"]), addresses.get(each["value"], ""))
                if each["kind"] == IdentityKind.EMAIL
                else (told.IDS.get(each["kind"], each["kind"]), each["value"])
                for each in row.evidence
            ],
            "state": told.merge_state(row),
            "at": row.undone_at or row.proved_at or row.created_at,
            "decided_by": row.decided_by,
            "can_split": row.proved_at is not None and row.undone_at is None,
        }
        for row in reversed(rows)
    ]


def _traits(profile: Profile) -> Context:
    found = traits.traits_of(profile)
    if found is None:
        return {"traits": None}
    hour = found.preferred_hour
    habits = [
        (_("Device"), facts.DEVICES.get(found.preferred_device)),
        (_("Hour"), None if hour is None else f"{hour}:00-{hour}:59"),
        (_("Messages"), facts.DELIVERY_CHANNELS.get(found.preferred_delivery_channel)),
    ]
    return {
        "traits": found,
        "stage": told.stage(found.stage),
        "habits": habits,
        "scores": [
            (facts.SCORES["recency"], found.recency_score),
            (facts.SCORES["frequency"], found.frequency_score),
            (facts.SCORES["monetary"], found.monetary_score),
        ],
        **_foretold(profile, found),
    }


def _foretold(profile: Profile, found: ComputedTraits) -> Context:
    installation = profile.installation
    known = traits.predictors_of(installation)
    why = {}
    for target in PredictionTarget:
        state = predictions.state_of(installation=installation, traits=found, target=target)
        why[target] = told.why_not_foretold(state, known.get(target))
    churn = known.get(PredictionTarget.CHURN)
    return {
        "churn_percent": None if found.churn_risk is None else round(100 * found.churn_risk),
        "churn_days": churn.figures.get("horizon_days") if churn else None,
        "churn_why": why[PredictionTarget.CHURN],
        "next_order_why": why[PredictionTarget.NEXT_ORDER],
    }


@staff_view(people=True)
def timeline(request: HttpRequest, staff: Staff, who: UUID) -> HttpResponse:
    """Serve the lines before a place, to stand below those that are shown."""
    profile = _found(staff, who)
    context = {"who": profile.public_id, **_timeline(request, profile)}
    return _render(request, staff, "people/timeline.html", context)


def _timeline(request: HttpRequest, profile: Profile) -> Context:
    before = history.Cursor.parse(request.GET.get("before", ""))
    entries = history.history_of(profile, first=PAGE + 1, before=before)[::-1]
    shown = entries[:PAGE]
    products = {entry.about.get("product_id", "") for entry in shown} - {""}
    name_of = segments.names_of(installation=profile.installation, products=products)
    names = {id_: name for id_ in products if (name := name_of("product", id_))}
    return {
        "entries": [{"at": entry.at, "line": told.line(entry, names)} for entry in shown],
        "older": shown[-1].cursor if len(entries) > PAGE else "",
        "is_first": before is None,
    }


@staff_view(acts=True, people=True)
def split(request: HttpRequest, staff: Staff, who: UUID, merge_id: int) -> HttpResponse:
    """Undo what joins the two profiles of a merge, on the record of whoever asks for it."""
    profile = _found(staff, who)
    merge = (
        Merge.objects.of(staff.installation)
        .filter(pk=merge_id, first__in=profile.person(), second__in=profile.person())
        .select_related("installation", "first", "second")
        .first()
    )
    if merge is None:
        raise Http404
    is_apart = merging.split(merge=merge, now=timezone.now(), decided_by=staff.user_id)
    staff.record(AuditAction.PEOPLE_SPLIT, on=profile, merge=merge.pk)
    response = _one(request, staff, _found(staff, who))
    if is_apart:
        text = _("Both have exactly their own back, and are not joined again by themselves.")
        return _tell(response, "success", _("Split into two people"), text)
    text = _("A third part still holds them together: split that one too.")
    return _tell(response, "info", _("The merge is undone"), text)


@staff_view(people=True, posts=True)
def look_for_other(request: HttpRequest, staff: Staff, who: UUID) -> HttpResponse:
    """Show whom this person would be joined with, to be confirmed."""
    profile = _found(staff, who)
    found = [other for other in _named(request, staff) if other.person_id != profile.person_id]
    context: Context = {"who": profile.public_id, "others": []}
    for other in found:
        context["others"].append({"who": other.public_id, "parts": _parts(other)})
    return _render(request, staff, "people/join.html", {**context, "is_asked": True})


@staff_view(acts=True, people=True)
def join(request: HttpRequest, staff: Staff, who: UUID, other: UUID) -> HttpResponse:
    """Join two people because staff say so, on the record of whoever does."""
    first, second = _found(staff, who), _found(staff, other)
    merging.prove(
        installation=staff.installation,
        first=first,
        second=second,
        proof=MergeProof.STAFF,
        now=timezone.now(),
        decided_by=staff.user_id,
    )
    staff.record(AuditAction.PEOPLE_JOINED, on=first)
    text = _("Nothing was moved: a split gives both their own back.")
    response = _one(request, staff, _found(staff, who))
    return _tell(response, "success", _("Joined into one person"), text)


def _found(staff: Staff, who: UUID) -> Profile:
    """Return the profile that speaks for the person with this reference."""
    people_ = Profile.objects.of(staff.installation).select_related("installation")
    profile = people_.filter(public_id=who).first()
    if profile is None:
        raise Http404
    return profile if profile.merged_into_id is None else people_.get(pk=profile.merged_into_id)
