"""What the questions of one request look up. Those that are asked together are read for together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.catalog.queries import Offer
from saleor_personalize.models import Checkout, Installation, Product, ProductListing, prepared
from saleor_personalize.recommendations import replenishment, shelves

_CARTS = f"""
SELECT saleor_id, line ->> 'product_id'
FROM {Checkout._meta.db_table}, jsonb_array_elements(lines) WITH ORDINALITY AS row(line, place)
WHERE installation_id = %(installation)s AND line ->> 'product_id' <> ''
  AND saleor_id = ANY (string_to_array(%(checkouts)s, ' '))
ORDER BY saleor_id, place
"""  # noqa: S608 (the name of the table is ours)
#: A shelf is read at least so far, so that questions which reach differently far share it.
_SHELF = 16


class Waiting(BaseException):
    """Something must be read first; it is with the next `Ahead.read`.

    No Exception: whoever leaves out what breaks must not leave out what waits.
    """


class Ahead:
    """Reads nothing twice. With `waits`, who lacks something is interrupted by Waiting and asks again.

    So a hundred questions, each worked on until it lacks something, cost as many reads as one.
    """

    def __init__(
        self, *, installation: Installation, channel_slug: str, now: datetime, waits: bool = False
    ) -> None:
        self.installation = installation
        self.channel_slug = channel_slug
        self.now = now
        self._waits = waits
        self._known: dict[str, dict[Any, Any]] = {kind: {} for kind in self._READS}
        self._wanted: dict[str, dict[Any, None]] = {}

    def read(self) -> None:
        """Read all that is wanted."""
        wanted, self._wanted = self._wanted, {}
        for kind, keys in wanted.items():
            self._known[kind].update(self._READS[kind](self, list(keys)))

    def _get(self, kind: str, keys: Iterable[Hashable]) -> dict[Any, Any]:
        known = self._known[kind]
        asked = list(dict.fromkeys(keys))
        if missing := [key for key in asked if key not in known]:
            self._wanted.setdefault(kind, {}).update(dict.fromkeys(missing))
            if self._waits:
                raise Waiting
            self.read()
        return {key: known[key] for key in asked}

    def offers(self, ids: Iterable[str]) -> dict[str, Offer]:
        """Return those of `ids` that may be recommended (`catalog.offers`)."""
        return {id_: each for id_, each in self._get("offers", ids).items() if each is not None}

    def newest(
        self,
        *,
        until: datetime,
        count: int,
        hidden: frozenset[str] | set[str] = frozenset(),
        conditions: Mapping[str, Any],
    ) -> list[Offer]:
        """Return what may be recommended straight from the catalogue (`catalog.newest_offers`)."""
        depth = _SHELF
        while depth < count + len(hidden):
            depth *= 2
        key = (
            until,
            depth,
            tuple(
                (name, tuple(value) if isinstance(value, list) else value)
                for name, value in sorted(conditions.items())
            ),
        )
        rows: list[Offer] = self._get("newest", [key])[key]
        return [row for row in rows if row.product_id not in hidden][:count]

    def references(self, ids: Iterable[str]) -> Mapping[str, Any]:
        """Return what products refer to (`catalog.references`)."""
        return self._get("references", ids)

    def described(self, product_id: str) -> Offer | None:
        """Return what a product of the sales channel is, sold or not."""
        found: Offer | None = self._get("described", [product_id])[product_id]
        return found

    def facts(self, ids: Iterable[str]) -> Mapping[str, catalog.Facts]:
        """Return what merchandising rules ask about products (`catalog.facts`)."""
        return self._get("facts", ids)

    def sensitive(self, ids: Iterable[str]) -> set[str]:
        """Return those of `ids` that no message speaks of (`catalog.sensitive_ids`)."""
        return {id_ for id_, is_sensitive in self._get("sensitive", ids).items() if is_sensitive}

    def categories(self, ids: Iterable[str]) -> Mapping[str, str]:
        """Return the category of each product, "" where there is none."""
        return self._get("categories", ids)

    def cart(self, checkout_id: str) -> Sequence[str]:
        """Return the products of a cart."""
        found: Sequence[str] = self._get("carts", [checkout_id])[checkout_id]
        return found

    def best_sellers(
        self, window: timedelta, categories: frozenset[str] | None, country_code: str = ""
    ) -> shelves.Counted:
        """Return what sells most (`shelves.best_sellers`)."""
        key = (window, categories, country_code)
        found: shelves.Counted = self._get("best_sellers", [key])[key]
        return found

    def intervals(self, ids: Iterable[str]) -> dict[str, float]:
        """Return after how many days products are usually bought again, where that is known."""
        found = self._get("intervals", ids)
        return {id_: interval for id_, interval in found.items() if interval is not None}

    # -- reading ------------------------------------------------------------------------------------

    def _read_offers(self, ids: list[str]) -> Mapping[Any, Any]:
        found = catalog.offers(
            installation=self.installation, channel_slug=self.channel_slug, ids=ids, now=self.now
        )
        return {id_: found.get(id_) for id_ in ids}

    def _read_newest(self, keys: list[Any]) -> Mapping[Any, Any]:
        shelves_read = catalog.newest_offers_each(
            installation=self.installation,
            channel_slug=self.channel_slug,
            now=self.now,
            asked=[
                catalog.Shelf(depth, until, dict(conditions)) for until, depth, conditions in keys
            ],
        )
        for rows in shelves_read:
            self._known["offers"].update({row.product_id: row for row in rows})
        return dict(zip(keys, shelves_read, strict=True))

    def _read_references(self, ids: list[str]) -> Mapping[Any, Any]:
        found = catalog.references(installation=self.installation, ids=ids)
        return {id_: found.get(id_, ()) for id_ in ids}

    def _read_described(self, ids: list[str]) -> Mapping[Any, Any]:
        listings = ProductListing.objects.of(self.installation).filter(
            channel_slug=self.channel_slug, product_saleor_id__in=ids
        )
        prices = {
            id_: float(price)
            for id_, price in listings.values_list("product_saleor_id", "price")
            if price is not None and not price.is_nan()
        }
        products = Product.objects.of(self.installation).filter(saleor_id__in=ids)
        found = {
            row[0]: Offer(*row, prices.get(row[0]), "")
            for row in products.values_list("saleor_id", "category_saleor_id", "product_type")
        }
        return {id_: found.get(id_) for id_ in ids}

    def _read_facts(self, ids: list[str]) -> Mapping[Any, Any]:
        found = catalog.facts(
            installation=self.installation, channel_slug=self.channel_slug, ids=ids
        )
        return {id_: found.get(id_, catalog.NO_FACTS) for id_ in ids}

    def _read_sensitive(self, ids: list[str]) -> Mapping[Any, Any]:
        found = catalog.sensitive_ids(installation=self.installation, ids=ids)
        return {id_: id_ in found for id_ in ids}

    def _read_categories(self, ids: list[str]) -> Mapping[Any, Any]:
        rows = Product.objects.of(self.installation).filter(saleor_id__in=ids)
        return dict.fromkeys(ids, "") | dict(rows.values_list("saleor_id", "category_saleor_id"))

    def _read_carts(self, ids: list[str]) -> Mapping[Any, Any]:
        found: dict[str, list[str]] = {id_: [] for id_ in ids}
        with prepared.cursor() as cursor:
            cursor.execute(
                _CARTS, {"installation": self.installation.pk, "checkouts": " ".join(ids)}
            )
            for checkout_id, product_id in cursor.fetchall():
                if checkout_id in found:  # an id with a blank in it is none
                    found[checkout_id].append(product_id)
        return found

    def _read_best_sellers(self, keys: list[Any]) -> Mapping[Any, Any]:
        found: dict[Any, shelves.Counted] = {}
        for window, country_code in dict.fromkeys((key[0], key[2]) for key in keys):
            of_these = [key[1] for key in keys if (key[0], key[2]) == (window, country_code)]
            counted = shelves.best_sellers_each(
                installation=self.installation,
                channel_slug=self.channel_slug,
                now=self.now,
                window=window,
                categories=of_these,
                country_code=country_code,
            )
            found |= {(window, each, country_code): rows for each, rows in counted.items()}
        return found

    def _read_intervals(self, ids: list[str]) -> Mapping[Any, Any]:
        found = replenishment.intervals_of(self.installation, ids)
        return {id_: found.get(id_) for id_ in ids}

    _READS: ClassVar[dict[str, Callable[[Ahead, list[Any]], Mapping[Any, Any]]]] = {
        "offers": _read_offers,
        "newest": _read_newest,
        "references": _read_references,
        "described": _read_described,
        "facts": _read_facts,
        "sensitive": _read_sensitive,
        "categories": _read_categories,
        "carts": _read_carts,
        "best_sellers": _read_best_sellers,
        "intervals": _read_intervals,
    }
