"""Of whom a fact of Saleor speaks, and whether it may: those who were erased stay away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import Installation
from saleor_personalize.profiles import identity, tombstones
from saleor_personalize.saleor_api.nodes import CheckoutData, CustomerData, OrderData

_Typed = TypeVar("_Typed", CheckoutData, OrderData)


def checkout_person(data: CheckoutData) -> dict[IdentityKind, str]:
    return {
        IdentityKind.SALEOR_USER: data.user_id,
        # A customer's own address, not what they typed: that may be a friend's.
        IdentityKind.EMAIL: data.user_email or data.email,
        IdentityKind.CHECKOUT: data.id,
    }


def order_person(data: OrderData) -> dict[IdentityKind, str]:
    return {
        IdentityKind.SALEOR_USER: data.user_id,
        IdentityKind.EMAIL: data.user_email or data.email,
        IdentityKind.CHECKOUT: data.checkout_id,
    }


def is_of_erased(
    *, installation: Installation, data: CheckoutData | OrderData | CustomerData
) -> bool:
    """Tell whether somebody who was erased since is in a fact: then its raw text must not stay."""
    ids, at = _ids_and_moment(data)
    return tombstones.look_up(installation, ids).covers_any(ids, at)


def _ids_and_moment(
    data: CheckoutData | OrderData | CustomerData,
) -> tuple[list[tombstones.Id], datetime]:
    """Return whom a fact speaks of, and since when they can have been there for it.

    A cart counts from its beginning: whatever touches it later, it is what was erased.
    """
    if isinstance(data, CustomerData):
        shown = {IdentityKind.SALEOR_USER: data.id, IdentityKind.EMAIL: data.email}
        return identity.stored(shown), data.updated_at
    if isinstance(data, CheckoutData):
        person, at = checkout_person(data), data.created_at
    else:
        # A new order from an old cart is somebody new.
        person, at = {**order_person(data), IdentityKind.CHECKOUT: ""}, data.placed_at
    return [*identity.stored(person), *identity.stored({IdentityKind.EMAIL: data.email})], at


def without_erased_customers(
    installation: Installation, data: Sequence[CustomerData]
) -> list[CustomerData]:
    known = [_ids_and_moment(customer) for customer in data]
    gone = tombstones.among(installation, (id_ for ids, _ in known for id_ in ids))
    return [
        customer
        for customer, (ids, at) in zip(data, known, strict=True)
        if not gone.covers_any(ids, at)
    ]


def without_erased_carts(
    installation: Installation, data: Sequence[CheckoutData]
) -> list[CheckoutData]:
    gone = tombstones.among(
        installation, (id_ for checkout in data for id_ in _ids_and_moment(checkout)[0])
    )
    if not gone:
        return list(data)
    return [
        _without_erased_address(checkout, gone, checkout.created_at)
        for checkout in data
        if not gone.covers_any(identity.stored(checkout_person(checkout)), checkout.created_at)
    ]


def without_erased_buyers(installation: Installation, data: Sequence[OrderData]) -> list[OrderData]:
    gone = tombstones.among(
        installation, (id_ for order in data for id_ in _ids_and_moment(order)[0])
    )
    if not gone:
        return list(data)
    kept = []
    for order in data:
        buyer = {**order_person(order), IdentityKind.CHECKOUT: ""}
        if gone.covers_any(identity.stored(buyer), order.placed_at):
            kept.append(
                replace(order, email="", user_id="", user_email="", checkout_id="", number="")
            )
        else:
            kept.append(_without_erased_address(order, gone, order.placed_at))
    return kept


def _without_erased_address(data: _Typed, gone: tombstones.Gone, at: datetime) -> _Typed:
    """Leave out an erased address that somebody else typed."""
    typed = identity.stored({IdentityKind.EMAIL: data.email})
    return replace(data, email="") if gone.covers_any(typed, at) else data
