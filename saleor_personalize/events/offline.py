"""Purchases made outside Saleor: in a store, by telephone, or in the shop system before this one.

A row of a file is one line of an order. Whatever is recorded can be recorded again: an order is known by
its number and a line by its key, so a second time changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.db import transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    MergeProof,
    OrderOrigin,
    Purpose,
)
from saleor_personalize.models import (
    Consent,
    Identity,
    Installation,
    Order,
    OrderLine,
    Profile,
    bulk,
    email_hash,
)
from saleor_personalize.models.locks import lock
from saleor_personalize.profiles import consent, identity, merging, tombstones
from saleor_personalize.profiles.changes import mark_changed

#: Begins the `saleor_id` of an order that Saleor never had; its number follows.
PREFIX = "offline:"
#: What an order from outside is taken for: it was handed over.
STATUS = "FULFILLED"
#: Where a consent of a file comes from.
SOURCE = "import"
_NAMES = (IdentityKind.SALEOR_USER, IdentityKind.EXTERNAL_ID, IdentityKind.EMAIL)


@dataclass(frozen=True, slots=True)
class PurchaseLine:
    """`key` tells the lines of one order apart; product and variant are global ids, or empty."""

    key: str
    product_id: str
    variant_id: str
    name: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Purchase:
    """One row. `total` is that of the whole order; None: the sum of its lines."""

    number: str
    placed_at: datetime
    channel_slug: str
    currency: str
    total: Decimal | None
    #: Only the day is known, in this zone: `placed_at` is its end.
    day_in: tzinfo | None = None
    #: Ids of the person, none of them empty.
    shown: Mapping[IdentityKind, str] = field(default_factory=dict)
    line: PurchaseLine | None = None
    #: The person's answer to "may we write to you?"; None: not asked.
    opt_in: bool | None = None
    #: Who bought was erased since.
    is_of_erased: bool = False

    @property
    def saleor_id(self) -> str:
        return f"{PREFIX}{self.number}"


class Outcome(StrEnum):
    RECORDED = "recorded"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Recorded:
    """One outcome per purchase, in order, and the orders that are new or changed."""

    outcomes: list[Outcome]
    orders: list[Order]


def record_purchases(
    *, installation: Installation, purchases: Sequence[Purchase], now: datetime
) -> Recorded:
    """Record rows of orders; rows of one order agree on everything but the line.

    The person is found by the strongest id shown. A card and an address in one row belong together by the
    shop's own word, unless one of them is known to belong to another; an order without any id
    belongs to nobody. A person who was forgotten stays so: their purchases from before have no person.
    """
    with transaction.atomic():
        purchases = _without_erased(installation, purchases)
        # Two imports of one shop may share orders: one after the other. Before the graph, always.
        lock(installation, ["offline-orders"])
        firsts: dict[str, Purchase] = {}
        for purchase in purchases:
            firsts.setdefault(purchase.number, purchase)
        stored = {
            order.saleor_id: order
            for order in Order.objects.of(installation).filter(
                saleor_id__in=[first.saleor_id for first in firsts.values()]
            )
        }
        forgotten = {
            order.saleor_id
            for order in stored.values()
            if order.profile_id is None and not order.number
        }
        wanted = [first for first in firsts.values() if first.saleor_id not in forgotten]
        owners = _people(installation, wanted, now)
        heads = _record_heads(installation, wanted, stored, owners, now)
        lines = _record_lines(
            installation,
            [purchase for purchase in purchases if purchase.saleor_id not in forgotten],
            stored,
        )
        _add_up(installation, wanted, stored, heads, lines)
        consents = _record_consents(installation, purchases, owners, now)
        touched = heads | {number for number, _ in lines}
        changed = [stored[first.saleor_id] for first in wanted if first.number in touched]
        mark_changed(
            installation=installation,
            profiles={order.profile_id for order in changed if order.profile_id is not None},
            now=now,
            has_ordered=True,
        )
        outcomes = []
        for purchase in purchases:
            is_first = firsts[purchase.number] is purchase
            key = purchase.line.key if purchase.line else ""
            is_new = (
                (is_first and purchase.number in heads)
                or (purchase.number, key) in lines
                or id(purchase) in consents
            )
            outcomes.append(Outcome.RECORDED if is_new else Outcome.UNCHANGED)
        return Recorded(outcomes, changed)


def _without_erased(installation: Installation, purchases: Sequence[Purchase]) -> list[Purchase]:
    """Take people out of purchases from before they were erased."""
    ids = [identity.stored(purchase.shown) for purchase in purchases]
    gone = tombstones.among(installation, (id_ for shown in ids for id_ in shown))
    return [
        replace(purchase, shown={}, opt_in=None, is_of_erased=True)
        if gone.covers_any(shown, _begin(purchase))
        else purchase
        for purchase, shown in zip(purchases, ids, strict=True)
    ]


def _people(
    installation: Installation, purchases: Sequence[Purchase], now: datetime
) -> dict[str, identity.Resolved]:
    """Return who ordered, by order number; orders of nobody are left out."""
    known = [purchase for purchase in purchases if purchase.shown]
    if not known:
        return {}
    if any(len(purchase.shown) > 1 for purchase in known):
        # Ids shown together may join people, and the graph is held before any id.
        merging.lock_graph(installation)
    found = identity.resolve(
        installation=installation,
        people=[purchase.shown for purchase in known],
        # They were seen when they bought, not when a file told so (see below).
        now=min(_begin(purchase) for purchase in known),
    )
    _note_first_purchases(installation, known, found)
    _join(installation, known, found, now)
    return {purchase.number: person for purchase, person in zip(known, found, strict=True)}


def _note_first_purchases(
    installation: Installation,
    purchases: Sequence[Purchase],
    found: Sequence[identity.Resolved],
) -> None:
    """Let people be seen first when they bought first, if nothing earlier is known of them."""
    made = {person.owners[kind].profile_id for person in found for kind in person.fresh}
    first: dict[int, datetime] = {}
    for purchase, person in zip(purchases, found, strict=True):
        for owner in person.owners.values():
            at = _begin(purchase)
            first[owner.profile_id] = min(first.get(owner.profile_id, at), at)
    known = Profile.objects.of(installation).filter(pk__in=first)
    bulk.update(
        Profile,
        installation,
        [
            {"id": pk, "first_seen_at": first[pk]}
            for pk, seen_at in known.values_list("pk", "first_seen_at")
            if pk in made or first[pk] < seen_at
        ],
    )


def _begin(purchase: Purchase) -> datetime:
    return purchase.placed_at - (timedelta(days=1) if purchase.day_in else timedelta())


def _join(
    installation: Installation,
    purchases: Sequence[Purchase],
    found: Sequence[identity.Resolved],
    now: datetime,
) -> None:
    """Join who is shown together in a row, unless one of the ids is known to be somebody else's.

    No kind of id may then be held twice: one card with two addresses is a family. The graph is held,
    so what is known of people here stays true but for what is joined here.
    """
    apart = [
        (purchase, person, kind)
        for purchase, person in zip(purchases, found, strict=True)
        for kind, owner in person.owners.items()
        if owner.person_id != person.home.person_id
    ]
    if not apart:
        return
    kinds = _kinds(installation, [owner for _, one, _ in apart for owner in one.owners.values()])
    now_in: dict[int, int] = {}
    for purchase, person, kind in apart:
        owner = person.owners[kind]
        ours, theirs = (now_in.get(one, one) for one in (person.home.person_id, owner.person_id))
        if ours == theirs or kinds[ours] & kinds[theirs]:
            continue
        first, second = identity.profiles(installation, [person.home, owner])
        is_joined = merging.prove(
            installation=installation,
            first=first,
            second=second,
            proof=MergeProof.EXTERNAL_ID,
            evidence=[
                (shown, email_hash(value) if shown == IdentityKind.EMAIL else value)
                for shown, value in purchase.shown.items()
                if shown in (kind, next(iter(person.owners)))
            ],
            now=now,
        )
        if is_joined:
            kinds[ours] |= kinds[theirs]
            now_in = {one: ours if at == theirs else at for one, at in now_in.items()}
            now_in[theirs] = ours


def _kinds(
    installation: Installation, owners: Iterable[identity.Owner]
) -> defaultdict[int, set[str]]:
    """Return which kinds of names the persons behind these ids have, by `person_id`."""
    persons = {owner.person_id for owner in owners}
    names = Identity.objects.of(installation).filter(kind__in=_NAMES)
    kinds: defaultdict[int, set[str]] = defaultdict(set)
    for of_person in (Q(profile__in=persons), Q(profile__merged_into__in=persons)):
        rows = names.filter(of_person).values_list(
            Coalesce("profile__merged_into_id", "profile_id"), "kind"
        )
        for person_id, kind in rows:
            kinds[person_id].add(kind)
    return kinds


def _record_heads(
    installation: Installation,
    purchases: Sequence[Purchase],
    stored: dict[str, Order],
    owners: Mapping[str, identity.Resolved],
    now: datetime,
) -> set[str]:
    """Write orders without their lines; return the numbers of those that are new or changed."""
    created, changed = [], []
    for purchase in purchases:
        row = stored.get(purchase.saleor_id)
        owner = owners.get(purchase.number)
        address = purchase.shown.get(IdentityKind.EMAIL, "")
        values: dict[str, Any] = {
            "profile_id": owner.home.profile_id if owner else None,
            "user_saleor_id": purchase.shown.get(IdentityKind.SALEOR_USER, ""),
            "email_hash": email_hash(address) if address else "",
            "channel_slug": purchase.channel_slug,
            "currency": purchase.currency,
            "placed_at": _placed_at(purchase, row, now),
        }
        if purchase.total is not None:
            values["total"] = purchase.total
        if row is None:
            row = Order(
                installation=installation,
                saleor_id=purchase.saleor_id,
                origin=OrderOrigin.OFFLINE,
                number="" if purchase.is_of_erased else purchase.number,
                status=STATUS,
                seen_at=now,
                **{"total": Decimal(0), **values},
            )
            stored[purchase.saleor_id] = row
            created.append(row)
        elif any(getattr(row, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(row, name, value)
            row.seen_at = now
            changed.append(row)
    Order.objects.bulk_create(created)
    Order.objects.bulk_update(
        changed,
        [
            "profile_id",
            "user_saleor_id",
            "email_hash",
            "channel_slug",
            "currency",
            "placed_at",
            "total",
            "seen_at",
        ],
    )
    return {row.saleor_id.removeprefix(PREFIX) for row in [*created, *changed]}


def _placed_at(purchase: Purchase, row: Order | None, now: datetime) -> datetime:
    """Return when it was bought. Of a day alone its end counts: whoever bought that day has bought."""
    if purchase.day_in is None:
        return purchase.placed_at
    zone = purchase.day_in
    if row is not None and (
        row.placed_at.astimezone(zone).date() == purchase.placed_at.astimezone(zone).date()
    ):
        return row.placed_at
    return min(purchase.placed_at, now)


def _record_lines(
    installation: Installation, purchases: Sequence[Purchase], orders: Mapping[str, Order]
) -> set[tuple[str, str]]:
    """Write lines; return (number, key) of those that are new or changed."""
    ids = {
        f"{purchase.saleor_id}:{purchase.line.key}": (purchase, purchase.line)
        for purchase in purchases
        if purchase.line
    }
    stored = {
        line.saleor_id: line
        for line in OrderLine.objects.of(installation).filter(saleor_id__in=list(ids))
    }
    created, changed, written = [], [], set()
    for id_, (purchase, line) in ids.items():
        values: dict[str, Any] = {
            "order_id": orders[purchase.saleor_id].pk,
            "product_saleor_id": line.product_id,
            "variant_saleor_id": line.variant_id,
            "name": line.name,
            "quantity": line.quantity,
            "unit_price": line.unit_price,
        }
        row = stored.get(id_)
        if row is None:
            created.append(OrderLine(installation=installation, saleor_id=id_, **values))
        elif any(getattr(row, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(row, name, value)
            changed.append(row)
        else:
            continue
        written.add((purchase.number, line.key))
    OrderLine.objects.bulk_create(created)
    OrderLine.objects.bulk_update(
        changed,
        ["product_saleor_id", "variant_saleor_id", "name", "quantity", "unit_price"],
    )
    return written


def _add_up(
    installation: Installation,
    purchases: Sequence[Purchase],
    orders: Mapping[str, Order],
    heads: set[str],
    lines: set[tuple[str, str]],
) -> None:
    """Give orders whose total no file names the sum of their lines."""
    with_lines = {number for number, _ in lines}
    open_ = {
        orders[purchase.saleor_id].pk: orders[purchase.saleor_id]
        for purchase in purchases
        if purchase.total is None and purchase.number in heads | with_lines
    }
    sums = (
        OrderLine.objects.of(installation)
        .filter(order__in=open_)
        .values("order_id")
        .annotate(sum=Sum(F("quantity") * F("unit_price")))
        .values_list("order_id", "sum")
    )
    differing = []
    for order_id, total in sums:
        order = open_[order_id]
        if order.total != total:
            order.total = total
            differing.append(order)
    Order.objects.bulk_update(differing, ["total"])


def _record_consents(
    installation: Installation,
    purchases: Sequence[Purchase],
    owners: Mapping[str, identity.Resolved],
    now: datetime,
) -> set[int]:
    """Record answers to "may we write to you?"; return `id()` of the purchases that brought news.

    A yes never overrides a no. A no counts unless the person said yes after it.
    """
    news = set()
    for purchase in purchases:
        owner = owners.get(purchase.number)
        of_address = owner.owners.get(IdentityKind.EMAIL) if owner else None
        if purchase.opt_in is None or of_address is None:
            continue
        (profile,) = identity.profiles(installation, [of_address])
        known = consent.state(
            profile=profile, purpose=Purpose.MARKETING, delivery_channel=DeliveryChannel.EMAIL
        )
        if purchase.opt_in:
            if consent.record_yes(profile=profile, source=SOURCE, now=now, is_confirmed=True):
                news.add(id(purchase))
        elif known != ConsentState.DENIED and not _said_yes_after(profile, purchase.placed_at):
            consent.record(
                profile=profile,
                purpose=Purpose.MARKETING,
                delivery_channel=DeliveryChannel.EMAIL,
                state=ConsentState.DENIED,
                source=SOURCE,
                now=now,
            )
            news.add(id(purchase))
    return news


def _said_yes_after(profile: Profile, moment: datetime) -> bool:
    """Tell whether the person themselves said yes later; of two answers in files the no counts.

    The yes of somebody whom only a cart joins is not theirs.
    """
    return (
        Consent.objects.of(profile.installation)
        .filter(
            profile__in=merging.with_own_addresses(profile),
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            state=ConsentState.GRANTED,
            recorded_at__gt=moment,
        )
        .exclude(source=SOURCE)
        .exists()
    )
