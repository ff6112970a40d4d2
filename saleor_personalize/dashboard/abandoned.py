"""The page "Abandoned checkouts": carts that were left, what is done about each, and "Recover now"."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from saleor_personalize.catalog.queries import names
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view, why_not
from saleor_personalize.dashboard.forms import row_id
from saleor_personalize.dashboard.views import CALM, LIVELY, Context, _poll, _render, _tell
from saleor_personalize.dashboard.whose import whose
from saleor_personalize.dashboard.words import State
from saleor_personalize.enums import AuditAction, DeliveryChannel, MessageStatus, NotSentReason
from saleor_personalize.events.queries import ordered_since
from saleor_personalize.journeys import carts, claiming, outlook
from saleor_personalize.journeys.carts import CartState, LeftCart, Recovery
from saleor_personalize.models import Checkout, Enrollment, Message, SalesChannel
from saleor_personalize.segments import words as facts
from saleor_personalize.tasks.broker import ask_for

#: Carts on one page, lines of each there, and messages on the page of one.
LISTED, LINES, MESSAGES = 25, 3, 10
STATES = {
    CartState.FOLLOWED.value: gettext_lazy("Followed up"),
    CartState.REMINDED.value: gettext_lazy("Reminded"),
    CartState.GIVEN_UP.value: gettext_lazy("Given up"),
    CartState.NOT_FOLLOWED.value: gettext_lazy("Not followed up"),
}


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    installation, now = staff.installation, timezone.now()
    state = request.GET.get("state", "")
    channel = request.GET.get("channel", "").replace("\x00", "")
    found = carts.left(
        installation=installation,
        now=now,
        channel_slug=channel,
        state=CartState(state) if state in STATES else None,
        before=_before(request, staff),
        limit=LISTED,
    )
    rows = found.carts
    known = _names(staff, [row.checkout for row in rows], LINES)
    people = whose(staff, {row.checkout.profile_id for row in rows})
    slugs = SalesChannel.objects.of(installation).filter(deleted_at=None).order_by("slug")
    return _render(
        request,
        staff,
        "abandoned/page.html",
        {
            "carts": [
                {**_row(row, known, now), "person": people.get(row.checkout.profile_id)}
                for row in rows
            ],
            "older": found.older,
            "is_cut": found.is_cut,
            "looked_through": carts.LOOKED_THROUGH,
            "is_first": not request.GET.get("before"),
            "state": state if state in STATES else "",
            "states": list(STATES.items()),
            "channel": channel,
            "channels": list(slugs.values_list("slug", flat=True)),
            "is_followed_at_all": bool(carts.followers(installation)),
        },
    )


def _before(request: HttpRequest, staff: Staff) -> Checkout | None:
    """Return the last cart of the page before."""
    before = row_id(request.GET.get("before", ""))
    if before is None:
        return None
    return Checkout.objects.of(staff.installation).filter(pk=before).first()


def _names(staff: Staff, shown: list[Checkout], most: int | None = None) -> dict[str, str]:
    return names(
        installation=staff.installation,
        ids={line["product_id"] for cart in shown for line in cart.lines[:most]},
        language_code=translation.get_language() or "",
    )


def _row(row: LeftCart, known: dict[str, str], now: datetime) -> dict[str, Any]:
    cart = row.checkout
    return {
        "pk": cart.pk,
        "total": words.amount(cart.total, cart.currency),
        "channel": cart.channel_slug,
        "at": cart.last_changed_at,
        "lines": [_line(line, known, cart.currency) for line in cart.lines[:LINES]],
        "more": max(len(cart.lines) - LINES, 0),
        "state": _state(row, now),
    }


def _line(line: dict[str, Any], known: dict[str, str], currency: str) -> dict[str, Any]:
    price = line.get("unit_price")
    return {
        "name": known.get(line["product_id"], line["product_id"]),
        "quantity": line["quantity"],
        "price": words.amount(Decimal(price), currency) if price else "",
    }


def _state(row: LeftCart, now: datetime) -> State:
    """Tell what is done about a cart, or why nothing is, from its row alone: of each in a list."""
    stay = row.stay
    title = str(STATES[row.state])
    if row.state == CartState.FOLLOWED and stay is not None:
        if not stay.journey.is_live:
            return State("warn", _("Held"), words.held_reason(NotSentReason.JOURNEY_PAUSED))
        if stay.installation.sends_stopped_at is not None:
            return State("warn", _("Held"), words.held_reason(NotSentReason.SENDS_STOPPED))
        return State("busy", title, _followed(stay, row.told, now))
    if row.told is not None and row.told.status != MessageStatus.SENT:
        return State("", title, _went(row.told, now))
    if row.told is not None:
        when = words.distance(row.told.decided_at, now)
        return State("good", title, _("%(when)s, and not ordered yet") % {"when": when})
    if row.state == CartState.GIVEN_UP and stay is not None:
        return State("", title, words.not_sent_reason(NotSentReason(stay.exit_reason)))
    if not row.is_reachable:
        return State("", _("Nobody to write to"), _("It was left before an address was known."))
    return State("", title)


def _followed(stay: Enrollment, told: Message | None, now: datetime) -> str:
    """Tell when a cart is looked at next, what holds it back until then, and what went before."""
    is_under_way = told is not None and told.status == MessageStatus.HANDING_OVER
    at = claiming.looked_at(stay, now, is_under_way=is_under_way)
    coming = {"journey": words.journey_name(stay.journey.key), "when": words.distance(at, now)}
    parts = [_("%(journey)s, decided %(when)s") % coming]
    if (hold := claiming.held_by(stay, now)) is not None:
        parts.append(words.held_reason(hold).rstrip("."))
    if told is not None:
        parts.append(_went(told, now))
    return f"{'. '.join(parts)}{'.' if len(parts) > 1 else ''}"


def _went(told: Message, now: datetime) -> str:
    """Tell when a reminder went; of one that is on its way, or was lost sight of, only that it may have."""
    when = {"when": words.distance(told.decided_at, now)}
    if told.status == MessageStatus.SENT:
        return _("A reminder went already, %(when)s") % when
    return _("A reminder may have gone already, %(when)s") % when


# -- one of them ----------------------------------------------------------------------------------------


@staff_view()
def one(request: HttpRequest, staff: Staff, checkout_id: int) -> HttpResponse:
    return _one(request, staff, _found(staff, checkout_id))


@staff_view()
def outcome(request: HttpRequest, staff: Staff, checkout_id: int) -> HttpResponse:
    """Serve what is next and what was, to be looked at again by itself; the button only when that changed."""
    cart, now = _found(staff, checkout_id), timezone.now()
    context = _next(request, staff, cart, now)
    if context["poll"].seen != request.GET.get("seen"):
        context |= {"has_changed": True, **_recovery(staff, cart, now)}
    return _render(request, staff, "abandoned/outcome.html", context)


@staff_view(sends=True)
def recover(request: HttpRequest, staff: Staff, checkout_id: int) -> HttpResponse:
    """Have the cart followed up now, if nothing speaks against it."""
    cart = _found(staff, checkout_id)
    now = timezone.now()
    found = carts.recover(checkout=cart, now=now)
    if found.outlook is not None:
        staff.record(
            AuditAction.CHECKOUT_RECOVERED,
            on=cart,
            journey=found.outlook.enrollment.journey.key,
            held_by=found.reason or "",
        )
        ask_for("personalize.advance_journeys")
    return _tell(_one(request, staff, cart), *_told(staff, found, now))


def _told(staff: Staff, found: Recovery, now: datetime) -> tuple[str, str, str]:
    if found.outlook is None:
        return "error", _("Nothing is sent"), _why_nothing_goes(staff, found)
    if found.reason:
        told = {
            "reason": words.held_reason(found.reason, found.delivery_channel),
            "when": words.distance(found.outlook.at, now),
        }
        return "info", _("Not right now"), _("%(reason)s Next try %(when)s.") % told
    text = _("It goes within seconds, unless the last look at the shop speaks against it.")
    return "success", _("On its way"), text


def _why_nothing_goes(staff: Staff, found: Recovery) -> str:
    """Return what speaks against following a cart up; "" where it can be."""
    if found.outlook is not None or found.reason is None:
        return ""
    if not carts.followers(staff.installation):
        return _("No journey that follows carts is live. Let one go live first.")
    return words.not_sent_reason(found.reason, found.delivery_channel)


def _found(staff: Staff, checkout_id: int) -> Checkout:
    rows = Checkout.objects.of(staff.installation).filter(pk=checkout_id)
    found = rows.select_related("installation", "profile__installation").first()
    if found is None:
        raise Http404
    return found


def _one(request: HttpRequest, staff: Staff, cart: Checkout) -> HttpResponse:
    now = timezone.now()
    known = _names(staff, [cart])
    context = {
        "total": words.amount(cart.total, cart.currency),
        "lines": [_line(line, known, cart.currency) for line in cart.lines],
        "who": cart.profile.public_id if staff.can_see_people else "",
        **_next(request, staff, cart, now),
        **_recovery(staff, cart, now),
    }
    return _render(request, staff, "abandoned/one.html", context)


def _next(request: HttpRequest, staff: Staff, cart: Checkout, now: datetime) -> Context:
    (known,) = carts.described(installation=staff.installation, carts=[cart])
    stays = [known.stay] if known.is_followed and known.stay is not None else []
    ahead = outlook.outlooks(stays, now=now)
    state = _state(known, now)
    messages = Message.objects.of(staff.installation).filter(
        enrollment__in=carts.stays_over(cart), decided_at__lte=now
    )
    shown = list(messages.order_by("-decided_at", "-pk")[:MESSAGES])
    is_open = cart.closed_at is None and cart.deleted_at is None
    has_ordered = not is_open or ordered_since(cart)
    is_due = any(each.at <= now for each in ahead)
    figures = (
        [(row.pk, row.status) for row in shown],
        [each.objection for each in ahead],
        (state.title, is_open, has_ordered, is_due),
    )
    return {
        "cart": cart,
        "is_open": is_open,
        "has_ordered": has_ordered,
        "state": state,
        "next": [words.next_message(each, now) for each in ahead],
        "messages": [_message(row) for row in shown],
        "poll": _poll(request, figures, LIVELY if is_due else CALM),
    }


def _recovery(staff: Staff, cart: Checkout, now: datetime) -> Context:
    """Return whether the cart can be followed up now. It is played through, under locks: not at each poll."""
    found = carts.what_recover_would_do(checkout=cart, now=now)
    return {
        "why_not_send": why_not(staff, "sends"),
        "why_nothing_goes": _why_nothing_goes(staff, found),
    }


def _message(row: Message) -> dict[str, Any]:
    return {
        "name": words.template_name(row.template),
        "over": facts.DELIVERY_CHANNELS.get(DeliveryChannel(row.delivery_channel).value, ""),
        "at": row.handed_over_at or row.decided_at,
        "state": words.message_state(row),
    }
