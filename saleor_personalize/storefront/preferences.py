"""The preference centre and the page that confirms a yes. No login: a signed link of a message is enough.

Mail programs and scanners open links by themselves, so GET never changes anything here. There are no
cookies, so there is nothing for a forged request to borrow: the token in the address is all there is.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from saleor_personalize.enums import ConsentState, DeliveryChannel, Purpose
from saleor_personalize.exceptions import InvalidToken, LinkExpired
from saleor_personalize.messaging import links, operations, opt_in, preferences, rendering
from saleor_personalize.messaging.preferences import Preferences, Wanted
from saleor_personalize.models import Consent
from saleor_personalize.storefront.views import page

_CHANNELS = {
    DeliveryChannel.EMAIL.value: _("E-mail"),
    DeliveryChannel.PUSH.value: _("Push messages"),
    DeliveryChannel.IN_APP.value: _("In the app"),
    DeliveryChannel.SMS.value: _("SMS"),
}
_ANSWERS = {
    ConsentState.GRANTED.value: _("Allowed"),
    ConsentState.DENIED.value: _("Refused"),
    ConsentState.PENDING.value: _("Asked, not confirmed"),
}
#: Sources of our own; a shop's server may name others.
_SOURCES = {
    "checkout": _("in the checkout"),
    "order": _("with an order"),
    "unsubscribe_link": _("by the link in a message"),
    preferences.SOURCE: _("on this page"),
    opt_in.SOURCE: _("by confirming your address"),
    "subscribe": _("in the shop's form"),
    "account": _("in your account"),
    "server": _("told by the shop"),
}


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def center(request: HttpRequest, token: str) -> HttpResponse:
    """Show on GET; on POST save what was chosen, or end everything, and show again."""
    now = timezone.now()
    try:
        claims = links.read_preferences_token(token)
        if request.method == "POST":
            if "unsubscribe" in request.POST:
                preferences.unsubscribe_from_all(claims=claims, now=now)
                done = "unsubscribed"
            else:
                preferences.save(claims=claims, wanted=_wanted(request), now=now)
                done = "saved"
            response = HttpResponse(status=303)
            response["Location"] = f"{request.path}?{done}"
            response["Referrer-Policy"] = "no-referrer"
            return response
        shown = preferences.read(claims=claims, now=now)
    except InvalidToken:
        return page(request, "unsubscribe_invalid.html", status=404)
    return _in_language(
        shown.profile.language_code or claims.language_code,
        request,
        "preferences.html",
        **_context(shown),
        done=next((word for word in ("saved", "unsubscribed") if word in request.GET), ""),
    )


def _wanted(request: HttpRequest) -> Wanted:
    given = request.POST
    pairs = [value.partition(":") for value in given.getlist("allow")]
    most = given.get("most", "")
    return Wanted(
        allowed={(channel, topic) for channel, _colon, topic in pairs},
        max_messages_per_week=int(most) if most.isdecimal() and len(most) < 4 else None,
        is_paused="pause" in given,
        may_profile="profiling" in given,
    )


def _context(shown: Preferences) -> dict[str, Any]:
    return {
        "shop_name": operations.sender_name(shown.installation),
        "address": shown.masked_address,
        "is_one_channel": len(shown.channels) == 1,
        "topics": [
            {
                "label": label,
                "boxes": [
                    {
                        "value": f"{channel.value}:{topic}",
                        "label": _CHANNELS[channel.value],
                        "is_ticked": (channel.value, topic) in shown.allowed,
                    }
                    for channel in shown.channels
                ],
            }
            for topic, label in shown.topics.items()
        ],
        "frequencies": shown.frequencies,
        "most": shown.max_messages_per_week,
        "paused_until": shown.paused_until,
        "may_profile": shown.may_profile,
        "is_asleep": bool(shown.asleep),
        "history": [_line(line) for line in shown.history],
    }


def _line(line: Consent) -> dict[str, Any]:
    is_profiling = line.purpose == Purpose.PROFILING
    return {
        "at": line.recorded_at,
        "answer": _ANSWERS[line.state],
        "state": line.state,
        "is_profiling": is_profiling,
        "label": rendering.topic_label_lazy(line.topic),
        "channel": _CHANNELS.get(line.delivery_channel, ""),
        "source": _SOURCES.get(line.source, line.source),
    }


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """Ask on GET, confirm on POST (the button of the page)."""
    now = timezone.now()
    try:
        claims = links.read_confirmation_token(token)
        if request.method == "POST":
            up_to = request.POST.get("up_to", "")
            number = int(up_to) if up_to.isdecimal() and len(up_to) < 19 else 0
            question = opt_in.confirm(claims=claims, up_to=number, now=now)
        else:
            question = opt_in.question(claims=claims, now=now)
    except LinkExpired:
        return page(request, "confirm_expired.html", status=410)
    except InvalidToken:
        return page(request, "unsubscribe_invalid.html", status=404)
    return _in_language(
        question.language_code,
        request,
        "confirm.html",
        topics=[rendering.topic_label_lazy(line.topic) for line in question.lines],
        up_to=question.up_to,
        is_confirmed=question.is_confirmed,
        shop_name=operations.sender_name(question.profile.installation),
    )


def _in_language(
    language_code: str, request: HttpRequest, template: str, **context: Any
) -> HttpResponse:
    """Render in the person's language; in the browser's when we do not know it."""
    if not language_code:
        return page(request, template, **context)
    language = rendering.django_language(language_code)
    with translation.override(language):
        response = page(request, template, **context)
        response["Content-Language"] = language
    return response
