"""The pages of journeys: the list, how one goes, its versions, its dry run, and the editor of its definition."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.dashboard import flow, words
from saleor_personalize.dashboard.access import Staff, staff_view, why_not
from saleor_personalize.dashboard.views import CALM, LIVELY, Context, _poll, _render, _tell
from saleor_personalize.enums import (
    AuditAction,
    DryRunStatus,
    JourneySource,
    MessageStatus,
    NotSentReason,
)
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import (
    approval,
    claiming,
    definitions,
    dry_runs,
    figures,
    operations,
)
from saleor_personalize.journeys.approval import ApprovalRefused
from saleor_personalize.journeys.definitions import Definition, Fault, InvalidJourney
from saleor_personalize.journeys.queries import waiting
from saleor_personalize.models import Approval, DryRun, Enrollment, Journey, JourneyVersion
from saleor_personalize.onboarding.queries import Lack, lacks
from saleor_personalize.tasks.broker import ask_for

#: What figures of messages are about.
COUNTED = timedelta(days=30)
#: People inside and versions that are shown.
INSIDE_SHOWN, VERSIONS_SHOWN = 10, 20
#: Longest definition that is read from the editor, in characters.
LONGEST = 100_000


# -- the list ----------------------------------------------------------------------------------------


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    rows = operations.journeys_of(staff.installation)
    counts = figures.figures_of(installation=staff.installation, since=timezone.now() - COUNTED)
    asked = set(
        Approval.objects.of(staff.installation)
        .filter(decided_at=None)
        .values_list("journey_id", flat=True)
    )
    told = [_listed(row, counts[row.pk], is_asked=row.pk in asked) for row in rows]
    # What is live first; then by name, as read.
    told.sort(key=lambda row: (not row["journey"].is_live, row["name"].casefold()))
    return _render(
        request, staff, "journeys/page.html", {"journeys": told, "most": figures.COUNTED}
    )


def _listed(row: Journey, counted: figures.JourneyFigures, *, is_asked: bool) -> dict[str, Any]:
    version = row.published
    return {
        "journey": row,
        "name": words.journey_name(row.key),
        "state": words.journey_state(row, is_asked=is_asked),
        "trigger": flow.trigger(operations.definition_of(version).trigger) if version else None,
        "is_own": version is not None and version.source != JourneySource.BUILT_IN,
        "figures": counted,
    }


# -- one journey -------------------------------------------------------------------------------------


@staff_view()
def one(request: HttpRequest, staff: Staff, key: str) -> HttpResponse:
    return _one(request, staff, _found(staff, key))


def _one(request: HttpRequest, staff: Staff, journey: Journey) -> HttpResponse:
    now = timezone.now()
    return _render(
        request,
        staff,
        "journeys/one.html",
        {
            **_head(journey, staff),
            **_drawn(journey),
            **_outcomes(journey, now),
            **_inside(journey, staff, now),
            **_versions(journey, request.GET.get("version", "")),
            **_dry_run(request, journey),
        },
    )


def _found(staff: Staff, key: str) -> Journey:
    try:
        return operations.ensure_journey(installation=staff.installation, key=key)
    except UnknownAlias:
        raise Http404 from None


def _head(journey: Journey, staff: Staff) -> Context:
    asked = approval.open_of(journey)
    return {
        "journey": journey,
        "name": words.journey_name(journey.key),
        "state": words.journey_state(journey, is_asked=asked is not None),
        "asked": asked,
        "is_own_question": asked is not None and asked.asked_by == staff.user_id,
        "why_not_send": why_not(staff, "acts") or why_not(staff, "sends"),
        "needs_approval": approval.is_missing(journey.published),
        "is_paused": journey.live_at is not None and not journey.is_live,
        "lacks": sorted(_lacks(journey)),
        "twins": [words.journey_name(key) for key in operations.live_on_same_trigger(journey)],
    }


def _drawn(journey: Journey) -> Context:
    if journey.published is None:
        return {"definition": None}
    found = operations.definition_of(journey.published)
    return {
        "definition": found,
        "trigger": flow.trigger(found.trigger),
        "boxes": flow.boxes(found),
        "ends": [flow.condition(name) for name in (*found.goals, *found.exits)],
        "priority": found.priority if journey.priority is None else journey.priority,
    }


def _outcomes(journey: Journey, now: datetime) -> Context:
    found = figures.outcomes_of(journey=journey, since=now - COUNTED)
    by_status: Counter[str] = Counter()
    for status, _reason, _over, count in found:
        by_status[status] += count
    reasons: Counter[str] = Counter()
    for status, reason, over, count in found:
        if status == MessageStatus.NOT_SENT and reason:
            reasons[words.not_sent_reason(NotSentReason(reason), over)] += count
    return {
        "sent": by_status[MessageStatus.SENT],
        "not_sent": by_status[MessageStatus.NOT_SENT],
        "failed": by_status[MessageStatus.FAILED] + by_status[MessageStatus.UNCERTAIN],
        "reasons": reasons.most_common(),
        "is_cut": sum(by_status.values()) >= figures.LOOKED_AT,
        "most": figures.LOOKED_AT,
    }


def _inside(journey: Journey, staff: Staff, now: datetime) -> Context:
    rows = waiting(installation=journey.installation).filter(journey=journey)
    first = rows.select_related("profile__merged_into", "version")[: INSIDE_SHOWN + 1]
    shown = list(first)
    return {
        "inside": [_person(row, staff, now) for row in shown[:INSIDE_SHOWN]],
        "has_more_inside": len(shown) > INSIDE_SHOWN,
    }


def _person(row: Enrollment, staff: Staff, now: datetime) -> dict[str, Any]:
    speaker = row.profile.merged_into or row.profile
    path: definitions.Path = tuple(row.path)
    step = definitions.next_message(operations.definition_of(row.version), path)
    held = claiming.held_by(row, now)
    return {
        "who": speaker.public_id if staff.can_see_people else "",
        "due_at": claiming.looked_at(row, now, is_under_way=False),
        "next": words.template_name(step.template) if step is not None else "",
        "held": words.held_reason(held) if held is not None else "",
        "version": row.version.number,
    }


# -- versions ----------------------------------------------------------------------------------------


def _versions(journey: Journey, wanted: str) -> Context:
    rows = list(journey.versions.order_by("-number")[: VERSIONS_SHOWN + 1])
    chosen = next((row for row in rows if str(row.number) == wanted), None)
    before = next((row for row in rows if chosen and row.number < chosen.number), None)
    return {
        "versions": [
            {"row": row, "source": JourneySource(row.source).label, "is_chosen": row == chosen}
            for row in rows[:VERSIONS_SHOWN]
        ],
        "chosen": chosen,
        "chosen_before": before,
        "difference": list(_difference(before, chosen)) if chosen is not None else [],
    }


def _difference(before: JourneyVersion | None, after: JourneyVersion) -> Iterable[tuple[str, str]]:
    """Yield (mark, line): "-" was there, "+" is new, " " stayed."""
    for line in difflib.ndiff(_lines(before), _lines(after)):
        if not line.startswith("?"):
            yield line[0], line[2:]


def _lines(version: JourneyVersion | None) -> list[str]:
    if version is None:
        return []
    return definitions.dump(operations.definition_of(version)).splitlines()


@staff_view(acts=True)
def roll_back(request: HttpRequest, staff: Staff, key: str, number: int) -> HttpResponse:
    """Let whoever comes in from now on follow an earlier version again, as a new one."""
    journey = _found(staff, key)
    version = journey.versions.filter(number=number).first()
    if version is None:
        raise Http404
    if refusal := _why_not_saved(staff, journey):
        return _tell(_one(request, staff, journey), "error", _("Not saved"), refusal)
    try:
        # What it names was there when it was saved, and may be gone.
        known = operations.known(staff.installation)
        definition = definitions.parse(version.definition, known=known)
        operations.check_segments(installation=staff.installation, definition=definition)
    except InvalidJourney as error:
        return _tell(_one(request, staff, journey), "error", _("Not saved"), str(error))
    return _save(request, staff, journey, definition)


# -- switches ----------------------------------------------------------------------------------------


_DEEDS = ("go-live", "resume", "end")


@staff_view()
def sure(request: HttpRequest, staff: Staff, key: str, deed: str) -> HttpResponse:
    """Ask once more before "go-live", "resume" or "end" is done, and say what it would do to how many.

    What is done already, as after "back", is not asked: the journey is shown.
    """
    if deed not in _DEEDS:
        raise Http404
    journey = _found(staff, key)
    if journey.is_live == (deed != "end"):
        return _one(request, staff, journey)
    run = DryRun.objects.of(staff.installation).filter(journey=journey).first()
    inside = waiting(installation=staff.installation).filter(journey=journey)
    count = inside[: figures.COUNTED].count()
    context = {
        "journey": journey,
        "name": words.journey_name(key),
        "deed": deed,
        "why_not_send": why_not(staff, "acts" if deed == "end" else "sends"),
        "needs_approval": approval.is_missing(journey.published),
        "volume": words.volume(run),
        "is_outdated": run is not None and run.version_id != journey.published_id,
        "runs_dry": settings.DRY_RUN,
        "inside": count,
        "has_more_inside": count >= figures.COUNTED,
    }
    return _render(request, staff, "journeys/sure.html", context)


@staff_view(sends=True)
def go_live(request: HttpRequest, staff: Staff, key: str) -> HttpResponse:
    title, text = _("The journey is live"), _("It counts what happens from now on.")
    journey = _found(staff, key)
    if refusal := _switch_on(request, staff, journey, approval.go_live, AuditAction.JOURNEY_LIVE):
        return refusal
    return _tell(_one(request, staff, journey), "success", title, text)


@staff_view(sends=True)
def resume(request: HttpRequest, staff: Staff, key: str) -> HttpResponse:
    title, text = _("The journey goes on"), _("Who was held is looked at anew.")
    journey = _found(staff, key)
    if refusal := _switch_on(request, staff, journey, approval.resume, AuditAction.JOURNEY_RESUMED):
        return refusal
    return _tell(_one(request, staff, journey), "success", title, text)


def _switch_on(
    request: HttpRequest,
    staff: Staff,
    journey: Journey,
    switch: Callable[..., Approval | None],
    action: AuditAction,
) -> HttpResponse | None:
    """Let a journey write to people, and record it; return the answer when it does not: why, or who has to say yes."""
    if _lacks(journey):
        text = _("Set the sender and the cart link first.")
        return _tell(_one(request, staff, journey), "error", _("Not live yet"), text)
    try:
        asked = switch(journey=journey, by=staff.user_id, now=timezone.now())
    except InvalidJourney as error:
        return _tell(_one(request, staff, journey), "error", _("Not live yet"), str(error))
    if asked is not None:
        return _asked(request, staff, asked)
    staff.record(action, on=journey, version=_number(journey))
    return None


def _lacks(journey: Journey) -> set[Lack]:
    if journey.published is None:
        return set()
    definition = operations.definition_of(journey.published)
    return lacks(installation=journey.installation, definition=definition)


@staff_view(acts=True)
def pause(request: HttpRequest, staff: Staff, key: str) -> HttpResponse:
    """Switch a journey off; `inside` says what becomes of people inside: they are held, or leave."""
    journey = _found(staff, key)
    inside = "exit" if request.POST.get("inside") == "exit" else "hold"
    operations.pause(journey=journey, now=timezone.now(), on_pause=inside)
    staff.record(AuditAction.JOURNEY_PAUSED, on=journey, inside=inside)
    if inside == "hold":
        text = _("People inside stay where they are. Nothing leaves until it goes on.")
    elif journey.let_go_at is None:
        text = _("Everybody inside has left.")
    else:
        ask_for("personalize.let_go")
        text = _("People inside are leaving, which takes a moment. Nothing is sent to them.")
    return _tell(_one(request, staff, journey), "success", _("The journey is paused"), text)


def _number(journey: Journey) -> int | None:
    return journey.published.number if journey.published is not None else None


# -- approval ----------------------------------------------------------------------------------------


def _asked(request: HttpRequest, staff: Staff, asked: Approval) -> HttpResponse:
    staff.record(AuditAction.APPROVAL_ASKED, on=asked.journey, version=asked.version.number)
    response = _one(request, staff, _found(staff, asked.journey.key))
    text = _("Somebody else of your staff says yes or no on this page.")
    return _tell(response, "info", _("Approval is asked for"), text)


@staff_view(sends=True)
def decide(request: HttpRequest, staff: Staff, key: str, approval_id: int) -> HttpResponse:
    """Say yes or no, as `answer` says, to what somebody else asked."""
    journey = _found(staff, key)
    asked = journey.approvals.filter(pk=approval_id).first()
    if asked is None:
        raise Http404
    is_given = request.POST.get("answer") == "yes"
    try:
        row = approval.decide(
            approval=asked, is_given=is_given, by=staff.user_id, now=timezone.now()
        )
    except (ApprovalRefused, InvalidJourney) as error:
        return _tell(_one(request, staff, journey), "error", _("Nothing was decided"), str(error))
    action = AuditAction.APPROVAL_GIVEN if is_given else AuditAction.APPROVAL_REFUSED
    staff.record(action, on=journey, version=row.version.number)
    response = _one(request, staff, _found(staff, key))
    if is_given:
        return _tell(response, "success", _("The journey is live"), _("You approved it."))
    return _tell(response, "info", _("It does not go live"), _("What was asked is off the table."))


# -- dry run -----------------------------------------------------------------------------------------


@staff_view(acts=True)
def ask_dry_run(request: HttpRequest, staff: Staff, key: str) -> HttpResponse:
    journey = _found(staff, key)
    if journey.published is None:
        raise Http404
    dry_runs.ask(version=journey.published, now=timezone.now())
    ask_for("personalize.make_dry_runs")
    return _render(request, staff, "journeys/dry_run.html", _dry_run(request, journey))


@staff_view()
def dry_run(request: HttpRequest, staff: Staff, key: str) -> HttpResponse:
    return _render(request, staff, "journeys/dry_run.html", _dry_run(request, _found(staff, key)))


def _dry_run(request: HttpRequest, journey: Journey) -> Context:
    run = DryRun.objects.of(journey.installation).filter(journey=journey).first()
    is_open = run is not None and run.status in dry_runs.OPEN
    told = run.forecast if run is not None and run.status == DryRunStatus.DONE else None
    return {
        "journey": journey,
        "run": run,
        "is_open": is_open,
        "is_outdated": run is not None and run.version_id != journey.published_id,
        "forecast": _forecast(told) if told else None,
        "nobody_came": _nobody_came(run, told) if run is not None and told else "",
        "runs_dry": settings.DRY_RUN,
        "run_poll": _poll(request, run and (run.status, run.asked_at), LIVELY if is_open else CALM),
    }


def _nobody_came(run: DryRun, told: Mapping[str, Any]) -> str:
    """Return for whom a journey waits, in words, if nobody moved in any day of its dry run; else ""."""
    days = (*told["past"], *told["coming"])
    if any(day["entered"] or day["sent"] or day["not_sent"] for day in days):
        return ""
    return flow.trigger(operations.definition_of(run.version).trigger).title


def _forecast(told: Mapping[str, Any]) -> Context:
    coming, past = told["coming"], told["past"]
    reasons: Counter[str] = Counter()
    for day in (*past, *coming):
        reasons.update(day["not_sent"])
    return {
        "coming": [_day(day) for day in coming],
        "past": [_day(day) for day in past],
        "coming_sent": sum(sum(day["sent"].values()) for day in coming),
        "past_sent": sum(sum(day["sent"].values()) for day in past),
        "reasons": [
            (words.not_sent_reason(NotSentReason(reason)), count)
            for reason, count in reasons.most_common()
            if reason in NotSentReason.values
        ],
        "costs": [
            words.amount(Decimal(amount), currency)
            for currency, amount in told["worst_cost"].items()
        ],
        "free_deliveries": told["free_deliveries"],
        "one_in": told["one_in"],
        "is_foreseen": told["is_foreseen"],
    }


def _day(day: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "begin": parse_datetime(day["begin"]),
        "entered": day["entered"],
        "sent": sum(day["sent"].values()),
        "not_sent": sum(day["not_sent"].values()),
        "offers": day["offers"],
    }


# -- the editor --------------------------------------------------------------------------------------


@staff_view()
def edit(request: HttpRequest, staff: Staff, key: str) -> HttpResponse:
    journey = _found(staff, key)
    text = (
        definitions.dump(operations.definition_of(journey.published)) if journey.published else ""
    )
    return _editor(request, staff, text, journey)


@staff_view()
def new(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Serve the editor for a journey of the shop's own; it begins with a small one that works."""
    return _editor(request, staff, _SKETCH, None)


_SKETCH = """\
journey: my_journey
topic: news
trigger: {type: order_fulfilled, after: 3 days, expires: 30 days}
goals: [ordered]
steps:
  - message: {id: first, template: thanks}
"""


@staff_view(acts=True)
def check(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Tell every fault of what is written, by line; nothing is saved."""
    return _edited(request, staff, is_kept=False)


@staff_view(acts=True)
def save(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Publish what is written as a new version. What is broken is refused, and the text stays."""
    return _edited(request, staff, is_kept=True)


def _edited(request: HttpRequest, staff: Staff, *, is_kept: bool) -> HttpResponse:
    text = request.POST.get("text", "").replace("\r\n", "\n")
    key = request.POST.get("key", "")
    journey = _found(staff, key) if key else None
    try:
        definition = _read(staff, text, journey)
    except InvalidJourney as error:
        response = _editor(request, staff, text, journey, error.faults)
        return _tell(response, "error", _("Not saved"), _("Mend the lines that are named."))
    if not is_kept:
        response = _editor(request, staff, text, journey, is_checked=True)
        return _tell(response, "success", _("Nothing is wrong with it"), _("It is not saved yet."))
    if refusal := _why_not_saved(staff, journey):
        response = _editor(request, staff, text, journey)
        return _tell(response, "error", _("Not saved"), refusal)
    return _save(request, staff, journey, definition)


def _read(staff: Staff, text: str, journey: Journey | None) -> Definition:
    """Return the definition that is written. Raises InvalidJourney with every fault."""
    if len(text) > LONGEST or "\x00" in text:
        raise InvalidJourney(
            [Fault("", f"at most {LONGEST} characters of text fit in one journey")]
        )
    known = operations.known(staff.installation)
    definition = definitions.load(text, known=known)
    operations.check_segments(installation=staff.installation, definition=definition)
    if journey is not None and definition.journey != journey.key:
        told = f"this is {journey.key}; to make another journey of it, begin a new one"
        raise InvalidJourney([Fault("journey", told, definition.journey)])
    if (
        journey is None
        and Journey.objects.of(staff.installation).filter(key=definition.journey).exists()
    ):
        raise InvalidJourney([Fault("journey", "there is one of this name", definition.journey)])
    return definition


def _why_not_saved(staff: Staff, journey: Journey | None) -> str:
    """Return why somebody may not change what a live journey says; nobody is written to by another one."""
    if journey is None or not journey.is_live or settings.GO_LIVE_APPROVAL:
        return ""
    return why_not(staff, "sends")


def _save(
    request: HttpRequest, staff: Staff, journey: Journey | None, definition: Definition
) -> HttpResponse:
    if journey is None:
        operations.publish(
            installation=staff.installation,
            definition=definition,
            source=JourneySource.DASHBOARD,
            now=timezone.now(),
        )
        journey = _found(staff, definition.journey)
        staff.record(AuditAction.JOURNEY_SAVED, on=journey, version=_number(journey))
        response = _one(request, staff, journey)
        return _tell(response, "success", _("Saved"), _("It is not live yet."))
    version, asked = approval.publish(
        journey=journey,
        definition=definition,
        source=JourneySource.DASHBOARD,
        by=staff.user_id,
        now=timezone.now(),
    )
    staff.record(AuditAction.JOURNEY_SAVED, on=journey, version=version.number)
    if asked is not None:
        return _asked(request, staff, asked)
    text = _("Whoever comes in from now on follows version %(number)d.") % {
        "number": version.number
    }
    response = _one(request, staff, _found(staff, journey.key))
    return _tell(response, "success", _("Saved"), text)


def _editor(
    request: HttpRequest,
    staff: Staff,
    text: str,
    journey: Journey | None,
    faults: Iterable[Fault] = (),
    *,
    is_checked: bool = False,
) -> HttpResponse:
    told = [{"line": definitions.line_of(text, fault.path), "text": str(fault)} for fault in faults]
    told.sort(key=lambda each: each["line"] or 0)
    known = operations.known(staff.installation)
    return _render(
        request,
        staff,
        "journeys/editor.html",
        {
            "journey": journey,
            "name": words.journey_name(journey.key) if journey is not None else "",
            "text": text,
            "rows": min(40, text.count("\n") + 4),
            "faults": told,
            "is_checked": is_checked,
            "is_live": journey is not None and journey.is_live,
            "words": [
                (_("Triggers"), sorted(known.triggers)),
                (_("Templates"), sorted(known.templates)),
                (_("Topics"), sorted(known.topics)),
                (_("Delivery channels"), list(known.delivery_channels)),
                (_("Placements"), sorted(known.placements or ())),
            ],
        },
    )
