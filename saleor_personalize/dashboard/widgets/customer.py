"""On the page of a customer: who they are to the shop, what to show and what to tell them next, and why."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.dashboard import told, words
from saleor_personalize.dashboard.access import Staff
from saleor_personalize.dashboard.views import Context
from saleor_personalize.dashboard.widgets import products
from saleor_personalize.dashboard.widgets.base import link, widget
from saleor_personalize.enums import MessageStatus, Purpose
from saleor_personalize.events import people
from saleor_personalize.journeys import outlook, showing
from saleor_personalize.models import Message, Profile
from saleor_personalize.profiles import consent
from saleor_personalize.segments import queries as segments
from saleor_personalize.segments import words as facts
from saleor_personalize.traits import queries as traits

#: The placement that is answered for the person.
PLACEMENT = "home"
#: What is next in so many journeys.
NEXT = 3


@widget("customer.html", about="customerId", people=True)
def customer(request: HttpRequest, staff: Staff, id_: str) -> Context:
    found = people.find(installation=staff.installation, text=id_, limit=1)
    if not found:
        return {"is_unknown": True}
    profile, now = found[0], timezone.now()
    known = traits.traits_of(profile)
    channel = showing.channel_of(profile)
    return {
        "stage": told.stage(known.stage) if known is not None else None,
        "is_refused": not consent.may_profile(profile=profile),
        "segments": [row.segment.name for row in segments.segments_of(profile)],
        "consents": _consents(profile),
        "next": [
            words.next_message(each, now)
            for each in outlook.of_person(profile=profile, now=now, limit=NEXT)
        ],
        "last": _last(profile, now),
        "products": products.answered(
            installation=staff.installation,
            placement=PLACEMENT,
            channel_slug=channel,
            profile=profile,
        )
        if channel
        else [],
        "page": link(request, staff, customerId=id_),
    }


def _consents(profile: Profile) -> list[dict[str, Any]]:
    """Return what was answered: what we may write about, as a send finds it, and profiling."""
    found = [
        {
            "said": each.said,
            "over": facts.DELIVERY_CHANNELS[each.delivery_channel],
            "topics": ", ".join(each.topics),
        }
        for each in told.permissions(profile)
        if not each.is_never_asked
    ]
    profiling = consent.state(profile=profile, purpose=Purpose.PROFILING)
    if profiling is not None:
        said = facts.CONSENT_STATES[profiling]
        found.append({"said": said, "over": "", "topics": _("Personal recommendations")})
    return found


def _last(profile: Profile, now: datetime) -> Iterable[dict[str, Any]]:
    """Return the last message that went and the last that did not."""
    rows = Message.objects.of(profile.installation).filter(profile__in=profile.person())
    is_not_sent = {"status": MessageStatus.NOT_SENT}
    newest = (rows.exclude(**is_not_sent), rows.filter(**is_not_sent))
    found = [row for each in newest if (row := each.order_by("-decided_at").first()) is not None]
    return [
        {
            "name": words.template_name(row.template),
            "state": words.message_state(row),
            "when": words.distance(row.decided_at, now),
        }
        for row in found
    ]
