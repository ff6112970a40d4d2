"""Which product of the shop a file means, by whatever it calls it."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import Q

from saleor_personalize.ingestion.imports.files import Fault
from saleor_personalize.models import Installation, Product, ProductVariant

#: Suggestions that are worked out for one file, and names that each is chosen from.
MAX_SUGGESTIONS = 500
CANDIDATES = 300


@dataclass(frozen=True, slots=True)
class Found:
    """Global ids; both are empty for a product that the shop does not know."""

    product_id: str
    variant_id: str
    name: str


class Products:
    """Finds products by SKU, global id of a variant or product, slug, or exact name, in that order.

    Deleted ones count too: they were bought. A name that several products share finds none.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._known: dict[str, Found | Fault] = {}
        self._suggested: dict[str, str] = {}

    def look_up(self, texts: Collection[str]) -> None:
        """Read what these texts mean; what was looked up before is forgotten."""
        wanted = sorted(text for text in texts if text)
        products = Product.objects.of(self._installation)
        by_text: dict[str, Found | Fault] = {}
        named: dict[str, set[str]] = {}
        # The weaker first, the deleted first: what comes later wins.
        rows = products.filter(Q(name__in=wanted) | Q(slug__in=wanted) | Q(saleor_id__in=wanted))
        for row in sorted(rows, key=lambda row: row.deleted_at is None):
            found = Found(row.saleor_id, "", row.name)
            by_text[row.slug] = by_text[row.saleor_id] = found
            if row.deleted_at is None:
                named.setdefault(row.name, set()).add(row.saleor_id)
        for name, ids in named.items():
            if name in by_text:
                continue
            if len(ids) > 1:
                by_text[name] = Fault(
                    "AMBIGUOUS_PRODUCT",
                    f"{len(ids)} products are called {name[:80]!r}. Name the SKU or the global id.",
                )
            else:
                by_text[name] = Found(next(iter(ids)), "", name)
        variants = ProductVariant.objects.of(self._installation).filter(
            Q(sku__in=wanted) | Q(saleor_id__in=wanted)
        )
        for variant in sorted(variants, key=lambda row: row.deleted_at is None):
            found = Found(variant.product_saleor_id, variant.saleor_id, variant.name)
            by_text[variant.saleor_id] = found
            if variant.sku:
                by_text[variant.sku] = found
        names = dict(
            products.filter(
                saleor_id__in=[
                    found.product_id for found in by_text.values() if isinstance(found, Found)
                ]
            ).values_list("saleor_id", "name")
        )
        self._known = {
            text: Found(found.product_id, found.variant_id, names.get(found.product_id, found.name))
            if isinstance(found, Found)
            else found
            for text, found in by_text.items()
        }

    def find(self, text: str) -> Found | Fault:
        found = self._known.get(text)
        if found is None:
            hint = self._suggestion(text)
            return Fault(
                "UNKNOWN_PRODUCT",
                f"The shop has no product {text[:80]!r} by SKU, global id, slug or name."
                + (f" Did you mean {hint!r}?" if hint else ""),
            )
        return found

    def _suggestion(self, text: str) -> str:
        if text not in self._suggested and len(self._suggested) < MAX_SUGGESTIONS:
            start = text[:2]
            variants = ProductVariant.objects.of(self._installation).filter(deleted_at=None)
            products = Product.objects.of(self._installation).filter(deleted_at=None)
            near = [
                *variants.filter(sku__istartswith=start).values_list("sku", flat=True)[:CANDIDATES],
                *products.filter(name__istartswith=start).values_list("name", flat=True)[
                    :CANDIDATES
                ],
                *products.filter(slug__istartswith=start).values_list("slug", flat=True)[
                    :CANDIDATES
                ],
            ]
            by_folded = {name.casefold(): name for name in reversed(near) if name}
            close = difflib.get_close_matches(text.casefold(), by_folded, n=1)
            self._suggested[text] = by_folded[close[0]] if close else ""
        return self._suggested.get(text, "")
