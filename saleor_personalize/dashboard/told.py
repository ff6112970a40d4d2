"""What is known of a person, in words: ids, proofs, lines of the timeline, what is foretold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from saleor_personalize.conf import settings
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.words import State
from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    LifecycleStage,
    MergeProof,
    NotSentReason,
    OrderOrigin,
    PredictionState,
    PredictionTarget,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.events.history import Entry, EntryKind
from saleor_personalize.messaging import clocks, guards
from saleor_personalize.messaging.clocks import ClockSource
from saleor_personalize.messaging.guards import Answer
from saleor_personalize.models import Merge, Message, Predictor, Profile
from saleor_personalize.segments import words as facts

IDS = {
    IdentityKind.SALEOR_USER.value: gettext_lazy("Saleor user"),
    IdentityKind.EMAIL.value: gettext_lazy("E-mail address"),
    IdentityKind.CHECKOUT.value: gettext_lazy("Cart"),
    IdentityKind.ANONYMOUS_ID.value: gettext_lazy("Browser"),
    IdentityKind.DEVICE_TOKEN.value: gettext_lazy("Device with push"),
    IdentityKind.EXTERNAL_ID.value: gettext_lazy("Id of your own system"),
    IdentityKind.PHONE.value: gettext_lazy("Phone number"),
}
#: ids that say something to people; the others are for machines
READABLE = frozenset({IdentityKind.EMAIL.value, IdentityKind.PHONE.value})
PROOFS = {
    MergeProof.LOGIN.value: gettext_lazy("Signed in on this device."),
    MergeProof.ACCOUNT.value: gettext_lazy(
        "The account names this e-mail address, which is not confirmed."
    ),
    MergeProof.CONFIRMED_EMAIL.value: gettext_lazy("Both hold the same confirmed e-mail address."),
    MergeProof.CHECKOUT.value: gettext_lazy("Both used one cart that carried no other name."),
    MergeProof.CHECKOUT_COMPLETED.value: gettext_lazy("Both used one cart that was ordered."),
    MergeProof.DEVICE_TOKEN.value: gettext_lazy("Signed in on the same device with push."),
    MergeProof.EXTERNAL_ID.value: gettext_lazy("Your own system says so."),
    MergeProof.STAFF.value: gettext_lazy("Joined by staff."),
}
CLOCKS = {
    ClockSource.TRAIT: gettext_lazy("as your shop says of them"),
    ClockSource.DEVICE: gettext_lazy("as their device told"),
    ClockSource.COUNTRY: gettext_lazy("as everywhere in their country"),
    ClockSource.SHOP: gettext_lazy("the shop's clock, as theirs is not known"),
}
KINDS = {
    EntryKind.EVENT: gettext_lazy("Event"),
    EntryKind.VISIT: gettext_lazy("Visit"),
    EntryKind.CART: gettext_lazy("Cart"),
    EntryKind.CART_CLOSED: gettext_lazy("Cart"),
    EntryKind.ORDER: gettext_lazy("Order"),
    EntryKind.CONSENT: gettext_lazy("Permission"),
    EntryKind.MESSAGE: gettext_lazy("Message"),
    EntryKind.MESSAGE_CLICKED: gettext_lazy("Message"),
    EntryKind.JOURNEY_BEGUN: gettext_lazy("Decision"),
    EntryKind.JOURNEY_ENDED: gettext_lazy("Decision"),
    EntryKind.SEGMENT_ENTERED: gettext_lazy("Segment"),
    EntryKind.SEGMENT_LEFT: gettext_lazy("Segment"),
    EntryKind.MERGE: gettext_lazy("Person"),
    EntryKind.SPLIT: gettext_lazy("Person"),
}
CLOSED_CARTS = {
    "ordered": gettext_lazy("The cart became an order"),
    "gone": gettext_lazy("The cart is gone from Saleor"),
}
STAGES = {
    LifecycleStage.PROSPECT.value: gettext_lazy("Prospect"),
    LifecycleStage.NEW.value: gettext_lazy("New"),
    LifecycleStage.ACTIVE.value: gettext_lazy("Active"),
    LifecycleStage.AT_RISK.value: gettext_lazy("At risk"),
    LifecycleStage.LAPSED.value: gettext_lazy("Lapsed"),
}
_TONES = {
    LifecycleStage.NEW.value: "good",
    LifecycleStage.ACTIVE.value: "good",
    LifecycleStage.AT_RISK.value: "warn",
    LifecycleStage.LAPSED.value: "bad",
}


@dataclass(frozen=True)
class Line:
    """A line of the timeline: what kind of thing, what happened, and the rest."""

    kind: str
    title: str
    text: str = ""
    state: State | None = None


def clock(profile: Profile, now: datetime) -> str:
    """Return what time it is where a person is, and how that is known."""
    zone, source = clocks.clock_of(profile)
    return _("%(time)s (%(zone)s, %(source)s)") % {
        "time": now.astimezone(zone).strftime("%H:%M"),
        "zone": zone,
        "source": CLOCKS[source],
    }


def stage(value: str) -> State:
    return State(_TONES.get(value, ""), str(STAGES[value]), capfirst(str(facts.STAGES[value])))


def merge_state(merge: Merge) -> State:
    """Return whether a merge counts, and if not, why."""
    if merge.undone_at is not None:
        by = _("by staff") if merge.decided_by else ""
        return State("", _("Split apart"), by)
    if merge.proved_at is None:
        return State(
            "busy", _("Perhaps"), _("Both showed one cart. If it is ordered, they are one person.")
        )
    return State("good", _("One person"))


def line(entry: Entry, names: Mapping[str, str]) -> Line:
    """Return a line of the timeline in words; `names` are those of products by their global id."""
    title, *rest = _TOLD[entry.kind](entry, names)
    state = rest.pop() if rest and isinstance(rest[-1], State) else None
    text = " · ".join(str(part) for part in rest if part)
    return Line(str(KINDS[entry.kind]), capfirst(str(title)), text, state)


def _event(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    product = entry.about["product_id"]
    return (
        facts.EVENTS.get(entry.what, entry.what),
        names.get(product, product),
        facts.DEVICES.get(entry.about["device"], ""),
    )


def _visit(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    about = entry.about
    device = facts.DEVICES.get(entry.what, "")
    return _("Came by"), device, about["country"], about["referrer"], about["campaign"]


def _money(about: Mapping[str, Any]) -> str:
    whole, _point, part = about["total"].partition(".")
    return f"{whole}.{part[:2] if part.endswith('0') else part} {about['currency']}"


def _cart(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    title = _("Left a cart open") if entry.what == "open" else _("Changed a cart")
    return title, _money(entry.about)


def _cart_closed(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    return CLOSED_CARTS[entry.what], _money(entry.about)


def _order(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    about = entry.about
    is_offline = entry.what == OrderOrigin.OFFLINE.value
    title = _("Bought outside Saleor (imported)") if is_offline else _("Ordered")
    number = _("no. %(number)s") % {"number": about["number"]} if about["number"] else ""
    status = "" if is_offline else about["status"].replace("_", " ").lower()
    return title, number, _money(about), status


def _consent(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    about = entry.about
    is_profiling = about["purpose"] == Purpose.PROFILING.value
    purpose = _("personal recommendations") if is_profiling else facts.PURPOSES[about["purpose"]]
    channel = facts.DELIVERY_CHANNELS.get(about["delivery_channel"], "")
    said = facts.CONSENT_STATES[entry.what]
    return said, purpose, channel, about["topic"], about["source"].replace("_", " ")


def _message(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    about = entry.about
    state = words.message_state(
        Message(
            status=entry.what, reason=about["reason"], delivery_channel=about["delivery_channel"]
        )
    )
    channel = facts.DELIVERY_CHANNELS.get(about["delivery_channel"], "")
    return words.template_name(about["template"]), channel, state.text, state


def _message_clicked(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    about = entry.about
    channel = facts.DELIVERY_CHANNELS.get(about["delivery_channel"], "")
    return _("Followed a link in a message"), words.template_name(about["template"]), channel


def _journey(entry: Entry) -> str:
    return words.journey_name(entry.about["journey"])


def _journey_begun(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    return _("Entered a journey"), _journey(entry)


def _journey_ended(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    reason = entry.about["reason"]
    why = words.not_sent_reason(NotSentReason(reason)) if reason else ""
    return _("The journey ended"), _journey(entry), why


def _segment_entered(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    return _("Entered a segment"), entry.about["name"]


def _segment_left(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    return _("Left a segment"), entry.about["name"]


def _merge(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    return _("Recognised as one person"), PROOFS[entry.what]


def _split(entry: Entry, names: Mapping[str, str]) -> tuple[Any, ...]:
    return _("Split into two people"), _("by staff") if entry.about["decided_by"] else ""


_TOLD = {
    EntryKind.EVENT: _event,
    EntryKind.VISIT: _visit,
    EntryKind.CART: _cart,
    EntryKind.CART_CLOSED: _cart_closed,
    EntryKind.ORDER: _order,
    EntryKind.CONSENT: _consent,
    EntryKind.MESSAGE: _message,
    EntryKind.MESSAGE_CLICKED: _message_clicked,
    EntryKind.JOURNEY_BEGUN: _journey_begun,
    EntryKind.JOURNEY_ENDED: _journey_ended,
    EntryKind.SEGMENT_ENTERED: _segment_entered,
    EntryKind.SEGMENT_LEFT: _segment_left,
    EntryKind.MERGE: _merge,
    EntryKind.SPLIT: _split,
}


def why_not_foretold(state: PredictionState, predictor: Predictor | None) -> str:
    """Return in a sentence why nothing is foretold; empty when something is."""
    figures = predictor.figures if predictor else {}
    if state == PredictionState.READY:
        return ""
    if state == PredictionState.NO_ORDERS:
        is_date = predictor is not None and predictor.target == PredictionTarget.NEXT_ORDER
        return _("It takes two orders on different days.") if is_date else _("It takes an order.")
    if state == PredictionState.LAPSED:
        return _("Not expected: this person has not ordered for long.")
    if state == PredictionState.NOT_BETTER:
        return _("In this shop, foretelling was no better than a simple rule, so nothing is told.")
    if figures.get("reason") == "history":
        return _("Not enough data: %(known)d of %(needed)d days of orders.") % {
            "known": figures["days"],
            "needed": figures["needed_days"],
        }
    if "needed_people" in figures:
        return _("Not enough data: %(known)d of %(needed)d buyers to learn from.") % {
            "known": min(figures["people"], figures["needed_people"]),
            "needed": figures["needed_people"],
        }
    return _("Not enough data.")


@dataclass(frozen=True)
class Permission:
    """What holds for these topics (their labels) over a delivery channel, as `guards.permissions` answers."""

    delivery_channel: str
    answers: tuple[Answer, ...]
    topics: list[str]

    @property
    def is_never_asked(self) -> bool:
        return self.answers == (None,)

    @property
    def said(self) -> str:
        first, *others = (str(_ANSWERS[each]) for each in self.answers)
        if not others:
            return first
        parts = [_("%(answer)s for one part of the person") % {"answer": first}]
        parts += [_("%(answer)s for another") % {"answer": each} for each in others]
        return ", ".join(parts)


_ANSWERS: Mapping[Answer, Promise | str] = {
    **{state: facts.CONSENT_STATES[state.value] for state in ConsentState},
    None: facts.CONSENT_STATES["never_asked"],
    SuppressionReason.UNSUBSCRIBED: gettext_lazy("closed (unsubscribed)"),
    SuppressionReason.HARD_BOUNCE: gettext_lazy("closed (nobody is there)"),
    SuppressionReason.SOFT_BOUNCES: gettext_lazy("closed (messages kept coming back)"),
    SuppressionReason.COMPLAINT: gettext_lazy("closed (marked as spam)"),
}


def permissions(profile: Profile) -> list[Permission]:
    """Return what somebody allows us to write to them about, alike answers over a delivery channel together."""
    channels = [channel for channel in DeliveryChannel if channel.value in settings.CHANNELS]
    found: list[Permission] = []
    for channel, answers in guards.permissions(profile=profile, delivery_channels=channels).items():
        together: dict[tuple[Answer, ...], list[str]] = {}
        for topic, answered in answers.items():
            together.setdefault(answered, []).append(str(settings.TOPICS[topic]))
        found += [Permission(channel.value, *alike) for alike in together.items()]
    return found
