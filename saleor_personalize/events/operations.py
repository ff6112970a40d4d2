"""Recording what happened. Facts may come late, twice and out of order; each is recorded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from saleor_personalize.conf import settings
from saleor_personalize.enums import CheckoutCloseReason, IdentityKind
from saleor_personalize.models import (
    Checkout,
    Identity,
    Installation,
    Order,
    OrderLine,
    email_hash,
)
from saleor_personalize.profiles import consent, identity, merging, privacy
from saleor_personalize.profiles.changes import mark_changed
from saleor_personalize.saleor_api.nodes import CheckoutData, CustomerData, OrderData

_YES = frozenset({"true", "1", "yes", "on"})


@dataclass(frozen=True)
class Recorded:
    """What became of one fact."""

    changed: bool
    row: Any


def record_checkouts(
    *,
    installation: Installation,
    data: Sequence[CheckoutData],
    now: datetime,
    seen_at: datetime | None = None,
) -> list[Recorded]:
    """Record carts as Saleor shows them; the newest view wins, an ordered one stays closed.

    `seen_at` is when Saleor rendered this view (by default now): it decides between two views of the
    same `updatedAt`.
    """
    people = [_person_of_checkout(checkout) for checkout in data]
    with transaction.atomic():
        people_found = identity.resolve(installation=installation, people=people, now=now)
        ids = [checkout.id for checkout in data]
        stored = {
            row.saleor_id: row
            for row in Checkout.objects.of(installation).filter(saleor_id__in=ids)
        }
        ordered = dict(
            Order.objects.of(installation)
            .filter(checkout_saleor_id__in=ids)
            .values_list("checkout_saleor_id", "placed_at")
        )
        for checkout, found in zip(data, people_found, strict=True):
            identity.join_over_cart(
                installation=installation, found=found, checkout_id=checkout.id, now=now
            )
        touched: set[int] = set()
        recorded = [
            _record_checkout(
                installation,
                checkout,
                found,
                stored,
                ordered,
                touched,
                now=now,
                seen_at=seen_at or now,
            )
            for checkout, found in zip(data, people_found, strict=True)
        ]
        mark_changed(installation=installation, profiles=touched, now=now)
        return recorded


def _record_checkout(
    installation: Installation,
    data: CheckoutData,
    found: identity.Resolved,
    stored: dict[str, Checkout],
    ordered: dict[str, datetime],
    touched: set[int],
    *,
    now: datetime,
    seen_at: datetime,
) -> Recorded:
    row = stored.get(data.id)
    address = data.email or data.user_email
    content = {
        "lines": [
            {
                "id": line.id,
                "variant_id": line.variant_id,
                "product_id": line.product_id,
                "quantity": line.quantity,
            }
            for line in data.lines
        ],
        "email_hash": email_hash(address) if address else "",
        "user_saleor_id": data.user_id,
    }
    values: dict[str, Any] = {
        **content,
        "token": data.token,
        "channel_slug": data.channel_slug,
        "language_code": data.language_code,
        "currency": data.currency,
        "total": data.total,
        "saleor_updated_at": data.updated_at,
        "seen_at": seen_at,
        "profile": found.profile,
    }
    if row is not None and row.is_older(data.updated_at, seen_at):
        # An older view of the same cart: it was like this even before we thought it changed.
        if data.updated_at < row.last_changed_at and _same(row, content):
            row.last_changed_at = data.updated_at
            row.save(update_fields=["last_changed_at"])
            touched.add(row.profile_id)
        return Recorded(changed=False, row=row)
    if row is None:
        row = Checkout(
            installation=installation, saleor_id=data.id, last_changed_at=data.updated_at
        )
        stored[data.id] = row
        changed = True
    elif row.close_reason == CheckoutCloseReason.ORDERED:
        return Recorded(changed=False, row=row)
    else:
        changed = not _same(row, content) or row.close_reason == CheckoutCloseReason.GONE
        if not _same(row, content):
            row.last_changed_at = data.updated_at
        row.closed_at, row.close_reason = None, ""
    differs = changed or any(getattr(row, name) != value for name, value in values.items())
    if data.id in ordered:
        row.closed_at, row.close_reason = ordered[data.id], CheckoutCloseReason.ORDERED
    if differs:
        # Both: a cart may go over to somebody else.
        touched.update({row.profile_id or found.profile.pk, found.profile.pk})
        for name, value in values.items():
            setattr(row, name, value)
        row.save()
    if address and data.metadata.get(settings.CONSENT_METADATA_KEY, "").strip().lower() in _YES:
        changed |= consent.record_box(
            # For this address, whoever else typed it.
            profile=found.owners[IdentityKind.EMAIL],
            is_ticked=True,
            source="checkout",
            now=now,
            language_code=data.language_code,
            country_code=data.country_code,
        )
    return Recorded(changed=changed, row=row)


def _same(row: Checkout, content: dict[str, Any]) -> bool:
    return all(getattr(row, name) == value for name, value in content.items())


def _person_of_checkout(data: CheckoutData) -> dict[IdentityKind, str]:
    return {
        IdentityKind.SALEOR_USER: data.user_id,
        IdentityKind.EMAIL: data.email or data.user_email,
        IdentityKind.CHECKOUT: data.id,
    }


def record_orders(
    *,
    installation: Installation,
    data: Sequence[OrderData],
    now: datetime,
    seen_at: datetime | None = None,
) -> list[Recorded]:
    """Record orders and close the carts they came from, whichever of both arrives first.

    `seen_at` as for `record_checkouts`.
    """
    real = [order for order in data if order.status != "DRAFT"]
    people = [
        {
            IdentityKind.SALEOR_USER: order.user_id,
            IdentityKind.EMAIL: order.email or order.user_email,
            IdentityKind.CHECKOUT: order.checkout_id,
        }
        for order in real
    ]
    with transaction.atomic():
        people_found = identity.resolve(installation=installation, people=people, now=now)
        profiles = [found.profile for found in people_found]
        for order, found in zip(real, people_found, strict=True):
            identity.join_over_order(
                installation=installation, found=found, checkout_id=order.checkout_id, now=now
            )
        merging.prove_suspected(
            installation=installation,
            checkout_ids=[order.checkout_id for order in real if order.checkout_id],
            now=now,
        )
        stored = {
            row.saleor_id: row
            for row in Order.objects.of(installation).filter(saleor_id__in=[o.id for o in real])
        }
        recorded, created, updated, unchanged, lines = [], [], [], [], []
        touched: set[int] = set()
        for order, profile in zip(real, profiles, strict=True):
            row = stored.get(order.id)
            if row is not None and row.is_older(order.updated_at, seen_at or now):
                recorded.append(Recorded(changed=False, row=row))
                continue
            address = order.email or order.user_email
            values: dict[str, Any] = {
                "profile": profile,
                "number": order.number,
                "status": order.status,
                "user_saleor_id": order.user_id,
                "email_hash": email_hash(address) if address else "",
                "checkout_saleor_id": order.checkout_id,
                "channel_slug": order.channel_slug,
                "currency": order.currency,
                "total": order.total,
                "placed_at": order.placed_at,
                "saleor_updated_at": order.updated_at,
            }
            if row is not None and all(getattr(row, n) == v for n, v in values.items()):
                unchanged.append(row.pk)
                recorded.append(Recorded(changed=False, row=row))
                continue
            values["seen_at"] = seen_at or now
            if row is None:
                row = Order(installation=installation, saleor_id=order.id, **values)
                created.append(row)
                stored[order.id] = row
            else:
                if row.profile_id is not None:
                    touched.add(row.profile_id)
                for name, value in values.items():
                    setattr(row, name, value)
                updated.append((row, list(values)))
            touched.add(profile.pk)
            lines.append((row, order))
            recorded.append(Recorded(changed=True, row=row))
        Order.objects.of(installation).filter(pk__in=unchanged).update(seen_at=seen_at or now)
        Order.objects.bulk_create(created)
        for row, fields in updated:
            row.save(update_fields=fields)
        _replace_lines(installation, lines)
        placed = {order.checkout_id: order.placed_at for order in real if order.checkout_id}
        for checkout_id in (
            Checkout.objects.of(installation)
            .filter(saleor_id__in=placed)
            .values_list("saleor_id", flat=True)
        ):
            close_checkout(
                installation=installation,
                checkout_id=checkout_id,
                reason=CheckoutCloseReason.ORDERED,
                at=placed[checkout_id],
                now=now,
            )
        mark_changed(installation=installation, profiles=touched, now=now)
        return recorded


def _replace_lines(installation: Installation, orders: Sequence[tuple[Order, OrderData]]) -> None:
    OrderLine.objects.of(installation).filter(order__in=[row.pk for row, _ in orders]).delete()
    OrderLine.objects.bulk_create(
        [
            OrderLine(
                installation=installation,
                order_id=row.pk,
                saleor_id=line.id,
                product_saleor_id=line.product_id,
                variant_saleor_id=line.variant_id,
                name=line.name[:500],
                quantity=line.quantity,
                unit_price=line.unit_price,
            )
            for row, order in orders
            for line in order.lines
        ]
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
) -> list[Recorded]:
    """Record customers: their ids, name and language. An e-mail alone is never a permission."""
    people = [
        {IdentityKind.SALEOR_USER: customer.id, IdentityKind.EMAIL: customer.email}
        for customer in data
    ]
    with transaction.atomic():
        known = set(
            Identity.objects.of(installation)
            .filter(kind=IdentityKind.SALEOR_USER, value__in=[c.id for c in data])
            .values_list("value", flat=True)
        )
        people_found = identity.resolve(
            installation=installation,
            people=people,
            now=now,
            confirmed=[customer.email for customer in data if customer.is_confirmed],
        )
        recorded = []
        for customer, found in zip(data, people_found, strict=True):
            profile = found.profile
            if customer.is_confirmed and customer.email:
                identity.join_over_address(installation=installation, found=found, now=now)
            values = {
                "first_name": customer.first_name,
                "language_code": customer.language_code,
                "country_code": customer.country_code[:2],
            }
            differs = any(getattr(profile, name) != value for name, value in values.items())
            if differs:
                for name, value in values.items():
                    setattr(profile, name, value)
                profile.save(update_fields=list(values))
            recorded.append(Recorded(changed=differs or customer.id not in known, row=profile))
        changed = [result.row for result in recorded if result.changed]
        mark_changed(installation=installation, profiles=changed, now=now)
        return recorded


def forget_customer(*, installation: Installation, user_id: str, email: str) -> int:
    """Follow a deletion in Saleor; return how many profiles were erased. Guest carts go too."""
    address_hash = email_hash(email) if email else ""
    with transaction.atomic():
        identity.lock_people(
            installation, [{IdentityKind.SALEOR_USER: user_id, IdentityKind.EMAIL: email}]
        )
        found = privacy.profiles_of_customer(
            installation=installation, user_id=user_id, address_hash=address_hash
        )
        orders = Order.objects.of(installation)
        (
            orders.filter(user_saleor_id=user_id)
            | orders.filter(profile__in=found)
            | (orders.filter(email_hash=address_hash) if address_hash else orders.none())
        ).update(profile=None, user_saleor_id="", email_hash="", number="")
        for profile in found:
            privacy.erase(profile)
    return len(found)
