"""The page "Settings": what is in force, where it comes from, and what the shop may change itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from saleor_personalize.conf import SETTING_NAME, settings
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, roles, staff_view
from saleor_personalize.dashboard.forms import SettingsForm
from saleor_personalize.dashboard.views import Context, _render, _tell
from saleor_personalize.enums import AuditAction, ConsentRule, DeliveryChannel
from saleor_personalize.messaging import push_accounts, texts
from saleor_personalize.messaging.operations import sender_of
from saleor_personalize.messaging.rendering import topic_label
from saleor_personalize.profiles.consent_rules import ELSEWHERE
from saleor_personalize.saleor_api.installations import set_mail, set_storefront_origins

CHANNELS = {
    DeliveryChannel.EMAIL: gettext_lazy("E-mail"),
    DeliveryChannel.PUSH: gettext_lazy("Push"),
    DeliveryChannel.IN_APP: gettext_lazy("In the app"),
    DeliveryChannel.SMS: gettext_lazy("SMS"),
}
RULES = {
    ConsentRule.OPT_IN: gettext_lazy("a clear yes"),
    ConsentRule.DOUBLE_OPT_IN: gettext_lazy("a yes that is confirmed by a link"),
    ConsentRule.SOFT_OPT_IN: gettext_lazy("own customers until they say no"),
}
ROLES = {
    "view": gettext_lazy("Look (one of these permissions)"),
    "edit": gettext_lazy("Change (all of these)"),
    "send": gettext_lazy("Have something sent (all of these)"),
}


@dataclass(frozen=True)
class Value:
    """One thing that is in force. `origin`: who set it; `setting`: what the operator changes it by."""

    title: str
    text: str
    origin: str
    setting: str


@dataclass(frozen=True)
class Group:
    key: str
    title: str
    values: list[Value]


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    context = {**_own(staff), "groups": list(_groups(staff))}
    return _render(request, staff, "in_force/page.html", context)


@staff_view(acts=True)
def save(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Keep what the shop sets itself. What cannot be is refused, and stays to be mended."""
    form = SettingsForm(request.POST, initial=_stored(staff))
    if not form.is_valid():
        response = _render(request, staff, "settings.html", _own(staff, form))
        return _tell(response, "error", _("Not saved"), _("Mend the fields that are marked."))
    set_mail(
        installation=staff.installation,
        sender=form.cleaned_data["sender"],
        checkout_url=form.cleaned_data["checkout_url"],
    )
    set_storefront_origins(
        installation=staff.installation, origins=form.cleaned_data["storefront_origins"]
    )
    staff.record(AuditAction.SETTINGS_CHANGED, fields=form.changed_data)
    response = _render(request, staff, "settings.html", _own(staff))
    return _tell(response, "success", _("Settings saved"), "")


def _own(staff: Staff, form: SettingsForm | None = None) -> Context:
    """Return what the shop sets itself, and what holds where it does not."""
    return {
        "form": form or SettingsForm(initial=_stored(staff)),
        "default_sender": settings.DEFAULT_SENDER or "",
        "default_checkout_url": settings.CHECKOUT_URL or "",
    }


def _stored(staff: Staff) -> dict[str, str]:
    return {
        "sender": staff.installation.sender,
        "checkout_url": staff.installation.checkout_url,
        "storefront_origins": " ".join(staff.installation.storefront_origins),
    }


def _groups(staff: Staff) -> Iterator[Group]:
    yield Group("ways", _("Delivery channels and senders"), list(_ways(staff)))
    yield Group("consent", _("Consent and topics"), list(_consent()))
    yield Group("contact", _("How often and when people are written to"), list(_contact()))
    yield Group("measuring", _("Hold-outs and measuring"), list(_measuring()))
    yield Group("staff", _("Who may do what"), list(_staff()))


def _value(title: str, text: str, setting: str) -> Value:
    is_given = setting in getattr(django_settings, SETTING_NAME, {})
    origin = _("set by whoever runs this service") if is_given else _("as shipped")
    return Value(title, text, origin, setting)


def _ways(staff: Staff) -> Iterator[Value]:
    own = staff.installation.sender
    sender = _value(_("Sender of e-mails"), sender_of(staff.installation) or "", "DEFAULT_SENDER")
    yield Value(
        sender.title,
        sender.text or _("None yet: no e-mail can leave"),
        _("set by your shop") if own else sender.origin,
        sender.setting,
    )
    for channel, title in CHANNELS.items():
        yield _value(str(title), _way(staff, channel), "CHANNELS")
    yield _value(_("Dry run"), _yes(settings.DRY_RUN), "DRY_RUN")


def _way(staff: Staff, channel: DeliveryChannel) -> str:
    if channel not in settings.CHANNELS and channel != DeliveryChannel.IN_APP:
        return _("Off")
    if channel == DeliveryChannel.PUSH:
        is_ready = push_accounts.account_of(installation=staff.installation) is not None
    else:
        is_ready = texts.is_on() if channel == DeliveryChannel.SMS else True
    return _("On") if is_ready else _("On, and not set up yet")


def _consent() -> Iterator[Value]:
    for country, rule in settings.CONSENT_RULES.items():
        where = _("All other countries") if country == ELSEWHERE else country
        yield _value(where, str(RULES[ConsentRule(rule)]), "CONSENT_RULES")
    topics = ", ".join(topic_label(topic) for topic in settings.TOPICS)
    yield _value(_("Topics people choose from"), topics, "TOPICS")
    needed = ", ".join(topic_label(topic) for topic in settings.TRANSACTIONAL_TOPICS)
    yield _value(_("Topics that orders need"), needed, "TRANSACTIONAL_TOPICS")


def _contact() -> Iterator[Value]:
    for scope, hours in settings.QUIET_HOURS.items():
        text = _("Nothing from %(begin)s to %(end)s, where the person is") % {
            "begin": hours[0],
            "end": hours[1],
        }
        yield _value(_("Quiet hours: %(way)s") % {"way": _scope(scope)}, text, "QUIET_HOURS")
    for scope, caps in settings.FREQUENCY_CAPS.items():
        text = "; ".join(
            ngettext(
                "at most %(count)s message in %(time)s",
                "at most %(count)s messages in %(time)s",
                most,
            )
            % {"count": most, "time": words.duration(time)}
            for most, time in caps
        )
        yield _value(_("Frequency cap: %(way)s") % {"way": _scope(scope)}, text, "FREQUENCY_CAPS")
    yield _time(_("Distance between two messages"), "ARBITRATION_WINDOW")
    yield _time(_("Nothing more to who has not reacted for"), "SUNSET_AFTER")


def _measuring() -> Iterator[Value]:
    yield _value(
        _("People who get no marketing at all, to compare"),
        f"{settings.HOLDOUT_PERCENT} %",
        "HOLDOUT_PERCENT",
    )
    yield _value(
        _("People whom a journey leaves out, to compare"),
        f"{settings.JOURNEY_HOLDOUT_PERCENT} %",
        "JOURNEY_HOLDOUT_PERCENT",
    )
    yield _value(
        _("Clicks in e-mails are noted by this service"),
        _yes(settings.CLICK_TRACKING),
        "CLICK_TRACKING",
    )
    yield _time(_("An order counts after a click for"), "ATTRIBUTION_WINDOW")
    yield _time(_("An order counts after a view for"), "ATTRIBUTION_VIEW_WINDOW")


def _staff() -> Iterator[Value]:
    for role, permissions in roles().items():
        names = ", ".join(words.permission(name) for name in permissions)
        yield _value(str(ROLES[role]), names, "DASHBOARD_ROLES")
    yield _value(
        _("Going live needs a second person"), _yes(settings.GO_LIVE_APPROVAL), "GO_LIVE_APPROVAL"
    )


def _time(title: str, setting: str) -> Value:
    value: Any = getattr(settings, setting)
    text = words.duration(value, is_alone=True) if isinstance(value, timedelta) else _("Never")
    return _value(title, text, setting)


def _scope(scope: str) -> str:
    return _("all channels together") if scope == "*" else str(CHANNELS[DeliveryChannel(scope)])


def _yes(is_on: bool) -> str:
    return _("Yes") if is_on else _("No")
