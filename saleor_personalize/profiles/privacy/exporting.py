"""Everything that is known of one person, as they may take it along (GDPR articles 15 and 20)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Q, QuerySet

from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import (
    AttributedOrder,
    Checkout,
    ComputedTraits,
    Consent,
    Device,
    Enrollment,
    Event,
    Exposure,
    Favourite,
    Identity,
    InboxItem,
    Installation,
    Merge,
    Message,
    MessageCopy,
    MessageEvent,
    Offer,
    Order,
    OrderLine,
    OutgoingDelivery,
    OutgoingWebhook,
    Participation,
    PhoneClaim,
    Profile,
    SegmentMembership,
    Session,
    SharedFavourites,
    ShownHint,
    StockAlert,
    Suppression,
)
from saleor_personalize.profiles import merging
from saleor_personalize.profiles.privacy.fields import FIELDS

#: Stays the same as long as no key changes its meaning.
FORMAT = "saleor-personalize/person/1"
#: Told of a person as a whole; who may not read all of their profiles is not told.
_OF_WHOLE = (ComputedTraits, SegmentMembership, Merge)


def export(*, profile: Profile, now: datetime, readable_only: bool = False) -> dict[str, Any]:
    """Return all data of a person as JSON values: lists of flat objects, by section.

    Sections and keys are those of `FIELDS`; moments are ISO 8601 in UTC, amounts decimal strings.
    `readable_only`: for the person behind this profile, what they proved to be theirs
    (`merging.readable`), and of carts and orders those that Saleor itself counts as theirs.
    """
    installation = profile.installation
    whole = set(profile.person().values_list("pk", flat=True))
    members = merging.readable(profile) & whole if readable_only else whole
    document: dict[str, Any] = {
        "format": FORMAT,
        "shop": installation.saleor_api_url,
        "exported_at": _value(now),
    }
    for model, rows in _rows(installation, members, readable_only):
        if model in _OF_WHOLE and members != whole:
            rows = rows.none()
        document[_section(model)] = [_as_json(row) for row in rows.iterator(chunk_size=1_000)]
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in document.pop("order_lines"):
        lines.setdefault(line.pop("order_id"), []).append(line)
    for order in document["orders"]:
        order["lines"] = lines.get(order["id"], [])
    return document


def _rows(
    installation: Installation, members: Collection[int], readable_only: bool
) -> Iterator[tuple[type[models.Model], QuerySet[Any]]]:
    def of(model: Any, *order: str, **also: Any) -> tuple[Any, QuerySet[Any]]:
        rows = model.objects.of(installation).filter(profile__in=members, **also)
        return model, rows.order_by(*order, "pk")

    ids = Identity.objects.of(installation).filter(profile__in=members)
    users = list(ids.filter(kind=IdentityKind.SALEOR_USER).values_list("value", flat=True))
    addresses = ids.filter(kind__in=(IdentityKind.EMAIL, IdentityKind.PHONE))
    hashes = list(addresses.values_list("value", flat=True))
    own = {"user_saleor_id__in": users} if readable_only else {}
    foreign = _foreign_carts(installation, members, users) if readable_only else set()
    yield (
        Profile,
        Profile.objects.of(installation).filter(pk__in=members).order_by("first_seen_at", "pk"),
    )
    model, rows = of(Identity, "first_seen_at")
    yield model, rows.exclude(kind=IdentityKind.CHECKOUT, value__in=foreign)
    yield (
        Suppression,
        Suppression.objects.of(installation).filter(address_hash__in=hashes).order_by("pk"),
    )
    yield of(PhoneClaim)
    yield of(Consent)
    yield of(Device, "registered_at")
    yield of(Event, "occurred_at")
    yield of(Session, "started_at")
    yield of(Checkout, "last_changed_at", **own)
    _, orders = of(Order, "placed_at", **own)
    yield Order, orders
    lines = OrderLine.objects.of(installation).filter(order__in=orders.order_by().values("pk"))
    yield OrderLine, lines.select_related("order").order_by("pk")
    followed = AttributedOrder.objects.of(installation).filter(
        order__in=orders.order_by().values("pk")
    )
    yield AttributedOrder, followed.select_related("order", "message", "journey").order_by("pk")
    yield of(Favourite, "added_at")
    yield of(Exposure, "last_shown_at")
    yield of(SharedFavourites)
    yield of(StockAlert, "created_at")
    model, rows = of(Enrollment)
    yield model, rows.exclude(subject_saleor_id__in=foreign).select_related("journey")
    model, rows = of(Message, "decided_at")
    rows = rows.select_related("journey")
    # What went to their address they have.
    messages = rows.exclude(enrollment__subject_saleor_id__in=foreign, handed_over_at=None)
    yield model, messages
    copies = MessageCopy.objects.of(installation).filter(message__in=messages.order_by())
    yield MessageCopy, copies.select_related("message").order_by("pk")
    became = MessageEvent.objects.of(installation).filter(message__in=messages.order_by())
    yield MessageEvent, became.select_related("message").order_by("at", "pk")
    model, rows = of(Offer, "reserved_at")
    yield model, rows.exclude(enrollment__subject_saleor_id__in=foreign, made_at=None)
    items, rows = of(InboxItem, "created_at")
    rows = rows.exclude(message__enrollment__subject_saleor_id__in=foreign)
    yield items, rows.select_related("message")
    hints, rows = of(ShownHint)
    yield hints, rows.exclude(subject__in=foreign) if foreign else rows
    outgoing, rows = of(OutgoingDelivery, "occurred_at")
    told = rows.exclude(data__checkoutId__in=foreign) if foreign else rows
    yield outgoing, told.select_related("webhook")
    yield of(ComputedTraits)
    memberships, rows = of(SegmentMembership, "entered_at")
    yield memberships, rows.select_related("segment")
    taken, rows = of(Participation, "since")
    yield taken, rows.select_related("experiment")
    yield (
        Merge,
        Merge.objects.of(installation)
        .filter(Q(first__in=members) | Q(second__in=members))
        .order_by("created_at", "pk"),
    )


def _foreign_carts(
    installation: Installation, members: Collection[int], users: Collection[str]
) -> set[str]:
    """Return the carts that are known by an address alone: anybody may have typed it.

    The id of a cart opens it in Saleor, with the delivery address of whoever filled it.
    """
    ids = Identity.objects.of(installation).filter(profile__in=members)
    browsers = ids.filter(kind=IdentityKind.ANONYMOUS_ID).values("profile")
    shown = ids.filter(kind=IdentityKind.CHECKOUT).exclude(profile__in=browsers)
    carts = Checkout.objects.of(installation).filter(profile__in=members)
    seen = carts.exclude(profile__in=browsers).exclude(user_saleor_id__in=users)
    theirs = carts.filter(user_saleor_id__in=users)
    return {
        *shown.values_list("value", flat=True),
        *seen.values_list("saleor_id", flat=True),
    } - set(theirs.values_list("saleor_id", flat=True))


def _section(model: type[models.Model]) -> str:
    return next(
        handling.exported_as.partition(".")[0]
        for handling in FIELDS[model].values()
        if handling.exported_as
    )


def _as_json(row: models.Model) -> dict[str, Any]:
    values = {
        handling.exported_as.partition(".")[2]: _value(getattr(row, name))
        for name, handling in FIELDS[type(row)].items()
        if handling.exported_as
    }
    if isinstance(row, Identity) and row.kind in (IdentityKind.EMAIL, IdentityKind.PHONE):
        del values["value"]
    elif isinstance(row, Identity):
        del values["address"]
    elif isinstance(row, Merge):
        # The hash of an address says nothing to anybody.
        values["evidence"] = [
            {"kind": shown["kind"]} if shown["kind"] == IdentityKind.EMAIL else shown
            for shown in values["evidence"]
        ]
    return values


def _value(value: Any) -> Any:
    match value:
        case Order():
            return value.saleor_id
        case Message():
            return str(value.public_id)
        case OutgoingWebhook():
            return value.alias
        case models.Model():
            return getattr(value, "key")  # noqa: B009 (journeys and segments have one)
        case datetime() | date():
            return value.isoformat()
        case Decimal() | UUID():
            return str(value)
    return value
