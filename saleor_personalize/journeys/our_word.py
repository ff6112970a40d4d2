"""What Saleor would answer, as far as our own tables know: for dry runs, which ask nobody."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.db.models import Q, QuerySet

from saleor_personalize.catalog import prices
from saleor_personalize.enums import OrderOrigin
from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.journeys.live import AboutCheckout, AboutOrders, LiveCheckout, LiveLine
from saleor_personalize.journeys.live_orders import AboutOrder, LiveOrder
from saleor_personalize.journeys.live_variants import AboutVariant, LiveVariant
from saleor_personalize.journeys.triggers import Question
from saleor_personalize.models import (
    Checkout,
    Installation,
    Order,
    OrderLine,
    Product,
    ProductVariant,
    email_hash,
)


class OnlySaleorKnows(PersonalizeError):
    """A trigger asks something that our own tables cannot answer."""


def answer(question: Question) -> Any:
    """Answer a question of a trigger. Raises OnlySaleorKnows."""
    if isinstance(question, AboutOrders):
        pairs = ((question.address, question.user_id), *question.others)
        return any(
            _orders(question.installation, address, user_id)
            .filter(placed_at__gte=question.since)
            .exists()
            for address, user_id in pairs
        )
    if isinstance(question, AboutCheckout):
        return _checkout(question)
    if isinstance(question, AboutVariant):
        return _variant(question)
    if isinstance(question, AboutOrder):
        return LiveOrder(is_called_off=question.order.status != "FULFILLED")
    raise OnlySaleorKnows(
        f"What {type(question).__name__} asks only Saleor can answer, which a dry run does not ask."
    )


def _orders(installation: Installation, address: str, user_id: str) -> QuerySet[Order]:
    theirs = Q(email_hash=email_hash(address)) | (Q(user_saleor_id=user_id) if user_id else Q())
    return Order.objects.of(installation).filter(theirs, origin=OrderOrigin.SALEOR, deleted_at=None)


def _checkout(question: AboutCheckout) -> LiveCheckout:
    row = Checkout.objects.of(question.checkout.installation_id).get(pk=question.checkout.pk)
    since = row.last_changed_at
    orders = _orders(question.checkout.installation, question.address, row.user_saleor_id)
    is_ordered = orders.filter(placed_at__gte=since).exists()
    if row.closed_at is not None:
        return LiveCheckout(exists=False, is_ordered=is_ordered)
    return LiveCheckout(
        exists=True,
        is_ordered=is_ordered,
        changed_at=row.saleor_updated_at,
        email_hash=row.email_hash,
        user_id=row.user_saleor_id,
        lines=tuple(_lines(row)),
    )


def _lines(row: Checkout) -> Iterable[LiveLine]:
    products = {line["product_id"] for line in row.lines}
    names = dict(
        Product.objects.of(row.installation_id)
        .filter(saleor_id__in=products)
        .values_list("saleor_id", "name")
    )
    pieces = prices.pieces_of_each(
        installation=row.installation,
        variant_ids=[line["variant_id"] for line in row.lines],
        channel_slug=row.channel_slug,
    )
    for line in row.lines:
        price = prices.price_of(
            installation=row.installation,
            variant_id=line["variant_id"],
            channel_slug=row.channel_slug,
        )
        # None: no end of it. What we have not read is not taken to be sold out.
        left = pieces.get(line["variant_id"])
        yield LiveLine(
            product_id=line["product_id"],
            variant_id=line["variant_id"],
            # What we have not read is named by its id: nobody sees it.
            product_name=names.get(line["product_id"]) or line["product_id"],
            variant_name="",
            quantity=int(line["quantity"]),
            unit_price=Decimal(0) if price is None else price.amount,
            currency=row.currency,
            image_url="",
            is_sellable=left is None or left > 0,
        )


def _variant(question: AboutVariant) -> LiveVariant:
    installation, id_ = question.installation, question.variant_id
    orders = _orders(installation, question.address, question.user_id)
    lines = OrderLine.objects.of(installation).filter(
        order__in=orders.filter(placed_at__gte=question.since).values("pk"), variant_saleor_id=id_
    )
    is_bought = lines.exists()
    variants = ProductVariant.objects.of(installation).filter(saleor_id=id_, deleted_at=None)
    variant = variants.first()
    price = prices.price_of(
        installation=installation, variant_id=id_, channel_slug=question.channel_slug
    )
    if variant is None or price is None:
        return LiveVariant(exists=variant is not None, is_bought=is_bought)
    pieces = prices.pieces(
        installation=installation, variant_ids=[id_], channel_slug=question.channel_slug
    )
    product = Product.objects.of(installation).filter(saleor_id=variant.product_saleor_id).first()
    return LiveVariant(
        exists=True,
        is_bought=is_bought,
        is_sellable=pieces is None or pieces > 0,
        pieces=pieces,
        price=price.amount,
        undiscounted_price=price.amount,
        gross_price=price.amount,
        currency=price.currency,
        product_id=variant.product_saleor_id,
        product_name=product.name if product else variant.product_saleor_id,
        product_slug=product.slug if product else "",
        variant_name=variant.name,
    )
