"""A small catalogue and its history, written as rows: what webhooks and back-fills leave behind."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from saleor_personalize.catalog import operations
from saleor_personalize.models import (
    Category,
    Checkout,
    Installation,
    Order,
    OrderLine,
    Product,
    ProductListing,
    ProductVariant,
    Profile,
    SalesChannel,
)
from saleor_personalize.saleor_api.nodes import TranslationData


def gid(type_: str, key: object) -> str:
    """Return a global id as Saleor writes it."""
    return base64.b64encode(f"{type_}:{key}".encode()).decode()


def product_id(number: int) -> str:
    return gid("Product", number)


class Catalogue:
    """Adds channels, products, orders and carts to one installation."""

    def __init__(self, installation: Installation, now: datetime) -> None:
        self.installation = installation
        self.now = now
        self._numbers = count(1)

    def channel(self, slug: str, currency: str = "USD") -> SalesChannel:
        return SalesChannel.objects.create(
            installation=self.installation,
            saleor_id=gid("Channel", slug),
            slug=slug,
            currency=currency,
        )

    def category(self, name: str) -> Category:
        return Category.objects.create(
            installation=self.installation, saleor_id=gid("Category", name), name=name
        )

    def translate_category(self, name: str, **names: str) -> None:
        """Record what a webhook shows of a category's names; `pt_br` is "pt-br"."""
        operations.record_translations(
            installation=self.installation,
            data=[
                TranslationData(
                    "Category", gid("Category", name), language.replace("_", "-"), translated
                )
                for language, translated in names.items()
            ],
            now=self.now,
            seen_at=self.now,
        )

    def product(
        self,
        number: int,
        name: str,
        *,
        category: str = "",
        description: str = "",
        channels: tuple[str, ...] = ("us",),
        **listing: Any,
    ) -> str:
        """Add a product that sells in `channels`; higher numbers are newer. Returns its global id."""
        id_ = product_id(number)
        Product.objects.create(
            installation=self.installation,
            saleor_id=id_,
            name=name,
            description=description,
            category_saleor_id=gid("Category", category) if category else "",
            saleor_created_at=self.now - timedelta(days=100 - number),
        )
        variant = ProductVariant.objects.create(
            installation=self.installation,
            saleor_id=gid("ProductVariant", number),
            product_saleor_id=id_,
        )
        for slug in channels:
            ProductListing.objects.create(
                **{
                    "installation": self.installation,
                    "product_saleor_id": id_,
                    "channel_slug": slug,
                    "is_published": True,
                    "published_at": self.now - timedelta(days=90),
                    "available_for_purchase_at": self.now - timedelta(days=90),
                    "is_in_stock": True,
                    "currency": "USD",
                    "price": "10",
                    "best_variant_saleor_id": variant.saleor_id,
                    **listing,
                }
            )
        return id_

    def order(
        self,
        *products: str,
        profile: Profile | None = None,
        user_id: str = "",
        channel: str = "us",
        days_ago: float = 60,
    ) -> Order:
        number = next(self._numbers)
        order = Order.objects.create(
            installation=self.installation,
            saleor_id=gid("Order", f"{self.installation.pk}-{number}"),
            profile=profile,
            number=str(number),
            status="FULFILLED",
            user_saleor_id=user_id,
            channel_slug=channel,
            currency="USD",
            total=f"{10 * len(products)}.50",
            placed_at=self.now - timedelta(days=days_ago),
        )
        for position, id_ in enumerate(products):
            OrderLine.objects.create(
                installation=self.installation,
                order=order,
                saleor_id=gid("OrderLine", f"{self.installation.pk}-{number}-{position}"),
                product_saleor_id=id_,
                quantity=1,
                unit_price="10",
            )
        return order

    def checkout(
        self, *products: str, profile: Profile, user_id: str = "", channel: str = "us"
    ) -> Checkout:
        number = next(self._numbers)
        return Checkout.objects.create(
            installation=self.installation,
            saleor_id=gid("Checkout", f"{self.installation.pk}-{number}"),
            profile=profile,
            token=f"token-{number}",
            user_saleor_id=user_id,
            channel_slug=channel,
            currency="USD",
            total="10",
            lines=[
                {
                    "id": gid("CheckoutLine", f"{number}-{position}"),
                    "variant_id": id_.replace("Product", "ProductVariant"),
                    "product_id": id_,
                    "quantity": 1,
                }
                for position, id_ in enumerate(products)
            ],
            last_changed_at=self.now - timedelta(minutes=number),
        )


class Phones(Catalogue):
    """Eight products of a shop in the channel "us", two of them also in "pl".

    Nine orders say: a phone is bought with its case; a case is bought with a charger.
    """

    def __init__(self, installation: Installation, now: datetime) -> None:
        super().__init__(installation, now)
        self.channel("us")
        self.channel("pl", "PLN")
        for name in ("Phones", "Cases", "Chargers", "Lamps"):
            self.category(name)
        both = ("us", "pl")
        self.phone = self.product(1, "Aurora phone", category="Phones", channels=both)
        self.mini = self.product(2, "Aurora phone mini", category="Phones")
        self.case = self.product(3, "Leather case", category="Cases")
        self.charger = self.product(4, "Wall charger", category="Chargers", channels=both)
        self.cable = self.product(5, "Braided cable", category="Chargers")
        self.lamp = self.product(6, "Desk lamp", category="Lamps")
        self.bulb = self.product(7, "Bright bulb", category="Lamps")
        self.stand = self.product(8, "Oak stand", category="Lamps")
        self.products = [
            self.phone,
            self.mini,
            self.case,
            self.charger,
            self.cable,
            self.lamp,
            self.bulb,
            self.stand,
        ]

    def sell(self) -> None:
        for _ in range(3):
            self.order(self.phone, self.case)
        for _ in range(6):
            self.order(self.case, self.charger)
