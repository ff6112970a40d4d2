"""The page "Try a message": as a real person would get it now, what is wrong with it, and one to oneself."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import Context, _render, _tell
from saleor_personalize.enums import AuditAction, DeliveryChannel, FirstStepKey
from saleor_personalize.events import people
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys import previews
from saleor_personalize.journeys.previews import Preview, PreviewRefused
from saleor_personalize.journeys.versions import delivery_channels
from saleor_personalize.onboarding import operations as onboarding

LONGEST = 500
_FIELDS = ("journey", "step", "person", "language", "over")


@staff_view(people=True)
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff, {})


# By POST: an address of a customer stands in no log.
@staff_view(people=True, posts=True)
def show(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Show what the person would get; nothing is recorded."""
    given = _given(request)
    try:
        shown = _preview(staff, given)
    except PreviewRefused as refusal:
        return _page(request, staff, {"given": given, "fault": str(refusal)})
    over = shown.delivery_channel
    objection = "" if shown.objection is None else words.not_sent_reason(shown.objection, over)
    return _page(request, staff, {"given": given, "shown": shown, "objection": objection})


@staff_view(people=True, sends=True)
def send(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Send it to whoever presses the button, and to nobody else."""
    given = _given(request)
    try:
        shown = _preview(staff, given)
        previews.send_test(shown=shown, installation=staff.installation, to=staff.email)
    except PreviewRefused as refusal:
        return _page(request, staff, {"given": given, "fault": str(refusal)})
    onboarding.note(installation=staff.installation, key=FirstStepKey.TEST_SENT, now=timezone.now())
    staff.record(AuditAction.TEST_SENT, journey=given["journey"], over=shown.delivery_channel)
    response = _page(request, staff, {"given": given, "shown": shown})
    return _tell(response, "success", _("Sent"), _("Look into your own mailbox."))


def _page(request: HttpRequest, staff: Staff, context: Context) -> HttpResponse:
    return _render(
        request,
        staff,
        "previews/page.html",
        {
            "given": {},
            "journeys": sorted(
                (words.journey_name(journey.key), journey.key)
                for journey in journeys.journeys_of(installation=staff.installation)
            ),
            "channels": [DeliveryChannel(one) for one in delivery_channels()],
            "own_address": staff.email,
            **context,
        },
    )


def _given(request: HttpRequest) -> dict[str, str]:
    # NUL is in no text of the database, and asking for it would be a fault.
    return {
        name: request.POST.get(name, "").replace("\x00", "").strip()[:LONGEST] for name in _FIELDS
    }


def _preview(staff: Staff, given: dict[str, str]) -> Preview:
    found = people.find(installation=staff.installation, text=given["person"], limit=2)
    if len(found) != 1:
        raise PreviewRefused(_("Nobody, or more than one, is known by that."))
    try:
        return previews.preview(
            profile=found[0],
            journey=given["journey"],
            step_id=given["step"],
            delivery_channel=given["over"],
            language_code=given["language"],
            now=timezone.now(),
        )
    except UnknownAlias as error:
        raise PreviewRefused(str(error)) from None
