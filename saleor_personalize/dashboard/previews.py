"""The page "Try a message": as a real person would get it now, what is wrong with it, and one to oneself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import Context, _render, _tell
from saleor_personalize.enums import AuditAction, DeliveryChannel
from saleor_personalize.events import people
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys import previews
from saleor_personalize.journeys.definitions import Message
from saleor_personalize.journeys.previews import Preview, PreviewRefused
from saleor_personalize.journeys.versions import delivery_channels
from saleor_personalize.messaging.rendering import django_language
from saleor_personalize.models import Profile

LONGEST = 500
_FIELDS = ("journey", "step", "person", "language", "over")


@staff_view(people=True)
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Serve the form; `journey`, `step` and `over` in the address are chosen in it."""
    return _page(request, staff, {"given": _asked(request.GET)})


# By POST: an address of a customer stands in no log.
@staff_view(people=True, posts=True)
def show(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Show what the person would get; nothing is recorded."""
    given = _asked(request.POST)
    try:
        shown = _preview(staff, given)
    except PreviewRefused as refusal:
        return _refused(request, staff, given, _("It cannot be shown"), refusal)
    over = shown.delivery_channel
    objection = "" if shown.objection is None else words.not_sent_reason(shown.objection, over)
    return _page(request, staff, {"given": given, "shown": shown, "objection": objection})


@staff_view(people=True, sends=True)
def send(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Send it to whoever presses the button, and to nobody else."""
    given = _asked(request.POST)
    try:
        shown = _preview(staff, given)
        previews.send_test(shown=shown, to=staff.email, now=timezone.now())
    except PreviewRefused as refusal:
        return _refused(request, staff, given, _("Nothing was sent"), refusal)
    staff.record(AuditAction.TEST_SENT, journey=given["journey"], over=shown.delivery_channel)
    response = _page(request, staff, {"given": given, "shown": shown})
    text = _("Look into your own mailbox: %(address)s.") % {"address": staff.email}
    return _tell(response, "success", _("Sent"), text)


def _refused(
    request: HttpRequest,
    staff: Staff,
    given: Mapping[str, str],
    title: str,
    refusal: PreviewRefused,
) -> HttpResponse:
    text = str(refusal)
    if refusal.reason is not None:
        text = _("There is nothing to show: %(reason)s") % {
            "reason": words.not_sent_reason(refusal.reason)
        }
    return _tell(_page(request, staff, {"given": given}), "error", title, text)


def _page(request: HttpRequest, staff: Staff, context: Context) -> HttpResponse:
    rows = journeys.journeys_of(staff.installation)
    named = sorted(
        ((row, words.journey_name(row.key)) for row in rows), key=lambda each: each[1].casefold()
    )
    given = context["given"]
    chosen = next((row for row in rows if row.key == given["journey"]), named[0][0])
    steps = previews.messages_of(chosen)
    step = next((one for one in steps if one.id == given["step"]), steps[0] if steps else None)
    is_mail = step is None or previews.way_of(step, given["over"]) == DeliveryChannel.EMAIL
    return _render(
        request,
        staff,
        "previews/page.html",
        {
            "journeys": [(row.key, name) for row, name in named],
            "steps": _steps(steps),
            "languages": _languages(),
            "language": django_language(given["language"]) if given["language"] else "",
            "why_not_test": "" if is_mail else _("Only e-mail is sent as a test."),
            "channels": [DeliveryChannel(one) for one in delivery_channels()],
            "own_address": staff.email,
            **context,
        },
    )


def _steps(steps: Sequence[Message]) -> list[tuple[str, str]]:
    """Return (id, name) of messages, in order; the id stands beside names that come twice."""
    named = [(step.id, words.template_name(step.template)) for step in steps]
    count = Counter(name for _id, name in named)
    return [(key, f"{name} ({key})" if count[name] > 1 else name) for key, name in named]


def _languages() -> list[tuple[str, str]]:
    """Return (code, name) of every language that messages are written in."""
    return [(code, _(name)) for code, name in settings.LANGUAGES]


def _asked(values: Mapping[str, str]) -> dict[str, str]:
    # NUL is in no text of the database, and asking for it would be a fault.
    return {name: values.get(name, "").replace("\x00", "").strip()[:LONGEST] for name in _FIELDS}


def _preview(staff: Staff, given: dict[str, str]) -> Preview:
    try:
        return previews.preview(
            installation=staff.installation,
            profile=_person(staff, given["person"]),
            journey=given["journey"],
            step_id=given["step"],
            delivery_channel=given["over"],
            language_code=given["language"],
            now=timezone.now(),
        )
    except UnknownAlias as error:
        raise PreviewRefused(str(error)) from None


def _person(staff: Staff, text: str) -> Profile | None:
    """Return who is named; None: nobody is. Raises PreviewRefused."""
    if not text:
        return None
    found = people.find(installation=staff.installation, text=text, limit=2)
    if len(found) != 1:
        raise PreviewRefused(
            _("Nobody, or more than one, is known by that. Leave it empty for an example.")
        )
    return found[0]
