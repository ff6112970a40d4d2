"""Recording what happened. Facts may come late, twice and out of order; each is recorded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from django.db import transaction

from saleor_personalize.conf import settings
from saleor_personalize.enums import CheckoutCloseReason, ErasureSource, IdentityKind
from saleor_personalize.events import facts
from saleor_personalize.models import (
    Checkout,
    Identity,
    Installation,
    Order,
    OrderLine,
    Profile,
    bulk,
    email_hash,
)
from saleor_personalize.profiles import consent, identity, merging, privacy
from saleor_personalize.profiles.changes import mark_changed
from saleor_personalize.saleor_api.nodes import CheckoutData, CustomerData, OrderData

_YES = frozenset({"true", "1", "yes", "on"})
_CHECKOUT_FIELDS = [
    field.name
    for field in Checkout._meta.concrete_fields
    if field.name not in {"id", "installation", "saleor_id"}
]


@dataclass(frozen=True)
class Recorded:
    """What became of one view of a cart."""

    changed: bool
    row: Checkout


def record_checkouts(
    *,
    installation: Installation,
    data: Sequence[CheckoutData],
    now: datetime,
    seen_at: datetime | None = None,
) -> list[Recorded]:
    """Record carts as Saleor shows them; the newest view wins, an ordered one stays closed.

    `seen_at` is when Saleor rendered this view (by default now): it decides between two views of the
    same `updatedAt`. Carts begun by somebody who was erased since are left out.
    """
    seen_at = seen_at or now
    with transaction.atomic():
        data = facts.without_erased_carts(installation, data)
        people = [facts.checkout_person(checkout) for checkout in data]
        ids = [checkout.id for checkout in data]
        people_found = identity.resolve(installation=installation, people=people, now=now)
        for checkout, found in zip(data, people_found, strict=True):
            identity.join_over_account(
                installation=installation, found=found, is_confirmed=False, now=now
            )
            identity.join_over_cart(
                installation=installation, found=found, checkout_id=checkout.id, now=now
            )
        profiles = [found.home.profile_id for found in people_found]
        stored = {
            row.saleor_id: row
            for row in Checkout.objects.of(installation).filter(saleor_id__in=ids)
        }
        ordered = dict(
            Order.objects.of(installation)
            .filter(checkout_saleor_id__in=ids)
            .values_list("checkout_saleor_id", "placed_at")
        )
        pressed = {
            profile_id
            for checkout, profile_id in zip(data, profiles, strict=True)
            if _is_ticked(checkout) or (checkout.id in stored and stored[checkout.id].is_box_ticked)
        }
        shoppers = Profile.objects.of(installation).select_related("installation").in_bulk(pressed)
        recorded: list[Recorded] = []
        touched: dict[str, Checkout] = {}
        for checkout, profile_id in zip(data, profiles, strict=True):
            row = stored.setdefault(
                checkout.id, Checkout(installation=installation, saleor_id=checkout.id)
            )
            before, changed = dict(vars(row)), False
            if row.is_older(checkout.updated_at, seen_at):
                # It was like this even before we thought it changed.
                if _shows(row, checkout):
                    row.last_changed_at = min(row.last_changed_at, checkout.updated_at)
                if _holds(row, checkout):
                    row.filled_at = min(row.orders_count_from, checkout.updated_at)
            elif row.close_reason != CheckoutCloseReason.ORDERED:
                changed = _take(row, checkout, ordered.get(checkout.id))
                is_ticked = _is_ticked(checkout)
                # Only a change speaks: the box of an old cart, read again, must not overrule a newer one.
                if is_ticked != row.is_box_ticked or (is_ticked and row.profile_id != profile_id):
                    changed |= consent.record_box(
                        profile=shoppers[profile_id],
                        is_ticked=is_ticked,
                        source="checkout",
                        now=now,
                        language_code=checkout.language_code,
                        country_code=checkout.country_code,
                    )
                row.profile_id, row.seen_at, row.is_box_ticked = profile_id, seen_at, is_ticked
            if vars(row) != before:
                touched[checkout.id] = row
            recorded.append(Recorded(changed, row))
        Checkout.objects.bulk_create(
            touched.values(),
            update_conflicts=True,
            unique_fields=["installation", "saleor_id"],
            update_fields=_CHECKOUT_FIELDS,
        )
        changed_people = {one.row.profile_id for one in recorded if one.changed}
        mark_changed(installation=installation, profiles=changed_people, now=now)
        return recorded


def _take(row: Checkout, data: CheckoutData, ordered_at: datetime | None) -> bool:
    """Let a row show what was seen of its cart; return whether that is news."""
    differs = row.pk is None or not _shows(row, data)
    changed = differs or row.close_reason == CheckoutCloseReason.GONE
    if differs:
        row.last_changed_at = data.updated_at
    if row.filled_at is None or not _holds(row, data):
        row.filled_at = data.updated_at
    row.begun_at = data.created_at
    for name, value in _content(data).items():
        setattr(row, name, value)
    row.token = data.token
    row.channel_slug = data.channel_slug
    row.language_code = data.language_code
    row.currency = data.currency
    row.total = data.total
    row.saleor_updated_at = data.updated_at
    row.closed_at = ordered_at
    row.close_reason = CheckoutCloseReason.ORDERED if ordered_at else ""
    return changed


def _content(data: CheckoutData) -> dict[str, Any]:
    """Return what counts as a change of a cart: its lines and its contact."""
    return {"lines": _lines(data), **_contact(data)}


def _lines(data: CheckoutData) -> list[dict[str, Any]]:
    return [
        {
            "id": line.id,
            "variant_id": line.variant_id,
            "product_id": line.product_id,
            "quantity": line.quantity,
        }
        for line in data.lines
    ]


def _contact(data: CheckoutData) -> dict[str, str]:
    return {"email_hash": _hash_of(data), "user_saleor_id": data.user_id}


def _holds(row: Checkout, data: CheckoutData) -> bool:
    """Tell whether a row has these lines. The same in another order is the same cart."""
    ours, theirs = (sorted(lines, key=itemgetter("id")) for lines in (row.lines, _lines(data)))
    return ours == theirs


def _shows(row: Checkout, data: CheckoutData) -> bool:
    is_theirs = all(getattr(row, name) == value for name, value in _contact(data).items())
    return is_theirs and _holds(row, data)


def _is_ticked(data: CheckoutData) -> bool:
    """Tell whether the shopper left an address and allowed us to write to it."""
    return (
        bool(data.email or data.user_email)
        and data.metadata.get(settings.CONSENT_METADATA_KEY, "").strip().lower() in _YES
    )


def _hash_of(data: CheckoutData | OrderData) -> str:
    address = data.email or data.user_email
    return email_hash(address) if address else ""


def record_orders(
    *,
    installation: Installation,
    data: Sequence[OrderData],
    now: datetime,
    seen_at: datetime | None = None,
) -> list[int]:
    """Record orders and close the carts they came from, whichever of both arrives first.

    `seen_at` as for `record_checkouts`. Orders placed by somebody who was erased since are recorded
    without a person. Returns the row ids of the orders that are new or changed.
    """
    real = [order for order in data if order.status != "DRAFT"]
    with transaction.atomic():
        real = facts.without_erased_buyers(installation, real)
        people = [facts.order_person(order) for order in real]
        typed = [{IdentityKind.EMAIL: order.email} for order in real]
        # All at once: a decision about a guest cart of the typed address has to wait as well.
        identity.lock_people(installation, [*people, *typed])
        forgotten = _forgotten(installation, real)
        real = [order for order in real if order.id not in forgotten]
        people = [facts.order_person(order) for order in real]
        # Staff may sell to nobody.
        of_somebody = [index for index, person in enumerate(people) if any(person.values())]
        people_found = identity.resolve(
            installation=installation, people=[people[index] for index in of_somebody], now=now
        )
        profiles: list[int | None] = [None] * len(real)
        for index, found in zip(of_somebody, people_found, strict=True):
            profiles[index] = found.home.profile_id
            identity.join_over_account(
                installation=installation, found=found, is_confirmed=False, now=now
            )
            identity.join_over_order(
                installation=installation,
                found=found,
                checkout_id=real[index].checkout_id,
                now=now,
            )
        merging.prove_suspected(
            installation=installation,
            checkout_ids=[order.checkout_id for order in real if order.checkout_id],
            now=now,
        )
        merged = bulk.merge(
            Order,
            installation,
            [
                {
                    "saleor_id": order.id,
                    "saleor_updated_at": order.updated_at,
                    "seen_at": seen_at or now,
                    "profile_id": profile_id,
                    "number": order.number,
                    "status": order.status,
                    "user_saleor_id": order.user_id,
                    "email_hash": _hash_of(order),
                    "checkout_saleor_id": order.checkout_id,
                    "channel_slug": order.channel_slug,
                    "currency": order.currency,
                    "total": order.total,
                    "undiscounted_total": order.undiscounted_total,
                    "voucher_code": order.voucher_code,
                    "total_refunded": order.total_refunded,
                    "placed_at": order.placed_at,
                }
                for order, profile_id in zip(real, profiles, strict=True)
            ],
            key=["saleor_id"],
            # A change of `updatedAt` is news: its lines may have changed.
            silent=["seen_at"],
            when=Order.GIVES_WAY,
        )
        changed = {row.key[0]: row for row in merged if row.is_changed}
        _record_lines(
            installation, [(changed[order.id], order) for order in real if order.id in changed]
        )
        placed = {order.checkout_id: order.placed_at for order in real if order.checkout_id}
        open_carts = (
            Checkout.objects.of(installation)
            .filter(saleor_id__in=placed)
            .exclude(close_reason=CheckoutCloseReason.ORDERED)
        )
        for checkout_id in open_carts.values_list("saleor_id", flat=True):
            close_checkout(
                installation=installation,
                checkout_id=checkout_id,
                reason=CheckoutCloseReason.ORDERED,
                at=placed[checkout_id],
                now=now,
            )
        buyers = {
            profile_id
            for order, profile_id in zip(real, profiles, strict=True)
            if order.id in changed and profile_id is not None
        }
        mark_changed(installation=installation, profiles=buyers, now=now, has_ordered=True)
        return [row.pk for row in changed.values()]


def _forgotten(installation: Installation, orders: Sequence[OrderData]) -> set[str]:
    """Return the ids of orders that `forget_customer` took the number from; Saleor's all have one."""
    return set(
        Order.objects.of(installation)
        .filter(saleor_id__in=[order.id for order in orders], profile=None, number="")
        .values_list("saleor_id", flat=True)
    )


def _record_lines(
    installation: Installation, orders: Sequence[tuple[bulk.Merged, OrderData]]
) -> None:
    """Give each order the lines that it shows, and no other."""
    known = [row.pk for row, _ in orders if not row.is_new]
    OrderLine.objects.of(installation).filter(order__in=known).delete()
    bulk.insert(
        OrderLine,
        installation,
        [
            {
                "order_id": row.pk,
                "saleor_id": line.id,
                "product_saleor_id": line.product_id,
                "variant_saleor_id": line.variant_id,
                "name": line.name[:500],
                "quantity": line.quantity,
                "unit_price": line.unit_price,
                "quantity_returned": line.quantity_returned,
            }
            for row, order in orders
            for line in order.lines
        ],
    )


def close_checkout(
    *,
    installation: Installation,
    checkout_id: str,
    reason: CheckoutCloseReason,
    at: datetime,
    now: datetime,
) -> bool:
    """Close an open cart; "it became an order" also replaces an earlier "gone"."""
    rows = Checkout.objects.of(installation).filter(saleor_id=checkout_id)
    if reason == CheckoutCloseReason.ORDERED:
        rows = rows.exclude(close_reason=CheckoutCloseReason.ORDERED)
    else:
        rows = rows.filter(closed_at=None)
    owners = list(rows.values_list("profile_id", flat=True))
    mark_changed(installation=installation, profiles=owners, now=now)
    return bool(rows.update(closed_at=at, close_reason=reason))


def record_customers(
    *, installation: Installation, data: Sequence[CustomerData], now: datetime
) -> int:
    """Record customers: their ids, name and language; return how many are new or changed.

    The newest view wins: an older one that comes late brings no former address back, and one from
    before an erasure nobody. An e-mail alone is never a permission.
    """
    with transaction.atomic():
        return _record_customers(
            installation, facts.without_erased_customers(installation, data), now
        )


def _record_customers(
    installation: Installation, data: Sequence[CustomerData], now: datetime
) -> int:
    people = [
        {IdentityKind.SALEOR_USER: customer.id, IdentityKind.EMAIL: customer.email}
        for customer in data
    ]
    with transaction.atomic():
        identity.lock_people(installation, people)
        known = dict(
            Identity.objects.of(installation)
            .filter(kind=IdentityKind.SALEOR_USER, value__in=[c.id for c in data])
            .values_list("value", "profile__saleor_updated_at")
        )
        fresh = [
            (customer, person)
            for customer, person in zip(data, people, strict=True)
            if customer.updated_at >= (known.get(customer.id) or customer.updated_at)
        ]
        people_found = identity.resolve(
            installation=installation,
            people=[person for _, person in fresh],
            now=now,
            confirmed=[c.email for c, _ in fresh if c.is_confirmed and c.email],
        )
        for (customer, _), found in zip(fresh, people_found, strict=True):
            identity.join_over_account(
                installation=installation,
                found=found,
                is_confirmed=customer.is_confirmed,
                now=now,
            )
        profiles = [found.home.profile_id for found in people_found]
        stored = {
            row["id"]: row
            for row in Profile.objects.of(installation)
            .filter(pk__in=profiles)
            .values(
                "id",
                "first_name",
                "language_code",
                "country_code",
                "joined_at",
                "saleor_updated_at",
            )
        }
        seen = {
            profile_id: {
                "id": profile_id,
                "first_name": customer.first_name,
                "language_code": customer.language_code,
                "country_code": customer.country_code[:2],
                "joined_at": customer.joined_at,
                "saleor_updated_at": customer.updated_at,
            }
            for (customer, _), profile_id in zip(fresh, profiles, strict=True)
        }
        differing = {id_ for id_, row in seen.items() if row != stored[id_]}
        bulk.update(Profile, installation, [seen[id_] for id_ in differing])
        mark_changed(installation=installation, profiles=differing, now=now)
        return len(differing)


def forget_customer(
    *,
    installation: Installation,
    user_id: str,
    email: str,
    deleted_at: datetime,
    now: datetime,
    requested_by: ErasureSource = ErasureSource.CUSTOMER_DELETED,
) -> bool:
    """Follow a deletion in Saleor; return whether it is news. Guest carts go too.

    Orders stay without a person, and stay so: Saleor goes on showing the address in them.
    """
    erasure = privacy.erase_customer(
        installation=installation,
        user_id=user_id,
        address=email,
        requested_by=requested_by,
        deleted_at=deleted_at,
        now=now,
    )
    return erasure is not None
