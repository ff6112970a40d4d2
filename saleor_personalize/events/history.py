"""Everything that happened around a person, on whichever of their ids, as one timeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from saleor_personalize.events import timeline
from saleor_personalize.models import Checkout, Message, Order, Profile, Session
from saleor_personalize.profiles import merging, queries


class EntryKind(StrEnum):
    """What a line of the timeline tells of."""

    EVENT = "event"
    CART = "cart"
    ORDER = "order"
    CONSENT = "consent"
    MESSAGE = "message"
    MERGE = "merge"


@dataclass(frozen=True)
class Entry:
    """One line. No address and no name; `about` holds plain values by kind."""

    at: datetime
    kind: EntryKind
    #: Event type, state of the cart, origin of the order, answer, status of the message, or proof.
    what: str
    #: Row of the profile that it happened on; a merge has two and names the first.
    profile_id: int
    about: Mapping[str, Any]


def history_of(profile: Profile, *, first: int) -> list[Entry]:
    """Return the newest `first` lines of the whole person, oldest first.

    For staff and whoever runs the service; a shopper reads what `merging.readable` allows.
    """
    entries = [
        *_events(profile, first),
        *_carts(profile, first),
        *_orders(profile, first),
        *_consents(profile, first),
        *_messages(profile, first),
        *_merges(profile),
    ]
    return sorted(entries, key=lambda entry: entry.at)[-first:]


def _events(profile: Profile, first: int) -> Iterator[Entry]:
    events = timeline.events_of(profile, first=first)
    visits = {
        (visit.profile_id, visit.session_id): visit.device_type
        for visit in Session.objects.of(profile.installation).filter(
            profile__in=profile.person(), session_id__in={event.session_id for event in events}
        )
    }
    for event in events:
        about = {
            "source": event.source,
            "device": visits.get((event.profile_id, event.session_id), ""),
            "channel": event.channel_slug,
            "product_id": event.product_saleor_id,
        }
        yield Entry(event.occurred_at, EntryKind.EVENT, event.type, event.profile_id, about)


def _carts(profile: Profile, first: int) -> Iterator[Entry]:
    carts = (
        Checkout.objects.of(profile.installation)
        .filter(profile__in=profile.person())
        .order_by("-last_changed_at", "-pk")
    )
    for cart in carts[:first]:
        about = {
            "checkout_id": cart.saleor_id,
            "channel": cart.channel_slug,
            "total": str(cart.total),
            "currency": cart.currency,
        }
        what = cart.close_reason or "open"
        yield Entry(cart.last_changed_at, EntryKind.CART, what, cart.profile_id, about)


def _orders(profile: Profile, first: int) -> Iterator[Entry]:
    orders = (
        Order.objects.of(profile.installation)
        .filter(profile__in=profile.person(), deleted_at=None)
        .order_by("-placed_at", "-pk")
    )
    for order in orders[:first]:
        about = {
            "number": order.number,
            "status": order.status,
            "channel": order.channel_slug,
            "total": str(order.total),
            "currency": order.currency,
        }
        owner = order.profile_id or profile.pk
        yield Entry(order.placed_at, EntryKind.ORDER, order.origin, owner, about)


def _consents(profile: Profile, first: int) -> Iterator[Entry]:
    for line in queries.history(profile=profile, first=first):
        about = {
            "purpose": line.purpose,
            "delivery_channel": line.delivery_channel,
            "topic": line.topic,
            "source": line.source,
        }
        yield Entry(line.recorded_at, EntryKind.CONSENT, line.state, line.profile_id, about)


def _messages(profile: Profile, first: int) -> Iterator[Entry]:
    messages = (
        Message.objects.of(profile.installation)
        .filter(profile__in=profile.person())
        .order_by("-decided_at", "-pk")
    )
    for message in messages[:first]:
        about = {
            "template": message.template,
            "delivery_channel": message.delivery_channel,
            "reason": message.reason,
            "checkout_id": message.content.get("checkout_id", ""),
        }
        yield Entry(
            message.decided_at, EntryKind.MESSAGE, message.status, message.profile_id, about
        )


def _merges(profile: Profile) -> Iterator[Entry]:
    for merge in merging.merges_of(profile):
        if merge.proved_at is not None:
            about = {"shown": [one["kind"] for one in merge.evidence], "merge": merge.pk}
            yield Entry(merge.proved_at, EntryKind.MERGE, merge.proof, merge.first_id, about)
