"""What the engine learns from, read in columns: millions of rows never become Python objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from saleor_personalize.enums import EventType
from saleor_personalize.events.queries import NOT_CARRIED_OUT
from saleor_personalize.ml import InteractionEvent, Interactions, Items
from saleor_personalize.ml.data import Strings
from saleor_personalize.models import (
    Category,
    Collection,
    Event,
    Installation,
    Order,
    OrderLine,
    Product,
    ProductListing,
    Profile,
)
from saleor_personalize.models.fields import month_of
from saleor_personalize.profiles import consent

#: Events that say something of taste -> what the engine calls them.
KINDS = {
    EventType.PRODUCT_VIEWED: InteractionEvent.VIEW,
    EventType.CART_ADDED: InteractionEvent.CART,
    EventType.FAVOURITE_ADDED: InteractionEvent.FAVOURITE,
}
#: More of a description tells no more.
MAX_DESCRIPTION = 2_000
#: Rows that are turned into columns at once.
_ROWS = 200_000

#: What one row of the queries below is, in PostgreSQL's binary format: each value behind its length.
_COLUMNS = (
    ("visitor", ">i8", "bigint"),
    ("product", ">i8", "bigint"),
    ("kind", ">i2", "smallint"),
    ("at", ">f8", "double precision"),
    ("session", ">i8", "bigint"),
    ("order", ">i8", "bigint"),
    ("quantity", ">f8", "double precision"),
    ("price", ">f8", "double precision"),
)
_ROW = np.dtype(
    [
        ("count", ">i2"),
        *(part for name, kind, _ in _COLUMNS for part in ((f"{name}_length", ">i4"), (name, kind))),
    ]
)
_HEADER, _TRAILER = 19, 2

_SOLD_HERE = f"""
  JOIN "{Product._meta.db_table}" AS product
    ON product.installation_id = %(installation)s AND product.deleted_at IS NULL
    AND product.saleor_id = happened.product_saleor_id
  JOIN "{ProductListing._meta.db_table}" AS listing
    ON listing.installation_id = %(installation)s AND listing.channel_slug = %(channel)s
    AND listing.product_saleor_id = happened.product_saleor_id
"""

_BROWSED = f"""
  SELECT COALESCE(person.merged_into_id, person.id) AS visitor, product.id AS product,
    array_position(%(types)s::text[], happened.type::text) - 1 AS kind,
    extract(epoch FROM happened.occurred_at) AS at,
    CASE WHEN happened.session_id = '' THEN 0 ELSE hashtextextended(
      COALESCE(person.merged_into_id, person.id) || ':' || happened.session_id, 0) END AS session,
    0 AS "order", 1 AS quantity, 'NaN' AS price
  FROM "{Event._meta.db_table}" AS happened
  JOIN "{Profile._meta.db_table}" AS person ON person.id = happened.profile_id
  {_SOLD_HERE}
  WHERE happened.installation_id = %(installation)s AND happened.channel_slug = %(channel)s
    AND happened.month >= %(month)s AND happened.occurred_at > %(since)s
    AND happened.occurred_at <= %(until)s AND happened.type = ANY(%(types)s)
    AND COALESCE(person.merged_into_id, person.id) <> ALL(%(refused)s)
"""  # noqa: S608 (the names of the tables are ours)

# What somebody bought who is not known, or who refused profiling, says what goes together, and not
# what one person buys: each such order is a visitor of its own.
_BOUGHT = f"""
  SELECT CASE WHEN person.id IS NULL OR COALESCE(person.merged_into_id, person.id) = ANY(%(refused)s)
      THEN -purchase.id ELSE COALESCE(person.merged_into_id, person.id) END AS visitor,
    product.id AS product, {len(KINDS)} AS kind,
    extract(epoch FROM purchase.placed_at) AS at, 0 AS session, purchase.id AS "order",
    happened.quantity AS quantity, happened.unit_price AS price
  FROM "{Order._meta.db_table}" AS purchase
  JOIN "{OrderLine._meta.db_table}" AS happened ON happened.order_id = purchase.id
  LEFT JOIN "{Profile._meta.db_table}" AS person ON person.id = purchase.profile_id
  {_SOLD_HERE}
  WHERE purchase.installation_id = %(installation)s AND purchase.channel_slug = %(channel)s
    AND purchase.placed_at > %(since)s AND purchase.placed_at <= %(until)s
    AND purchase.deleted_at IS NULL AND purchase.status <> ALL(%(not_carried_out)s)
"""  # noqa: S608


def visitor_id_of(profile: Profile) -> str:
    """Return what the engine calls the person of a profile."""
    return str(profile.person_id)


def interactions(
    *, installation: Installation, channel_slug: str, since: datetime, until: datetime
) -> Interactions:
    """Return what was seen, kept and bought in a sales channel in that time, oldest first.

    Products that the channel does not have say nothing. Needs about 120 bytes for each row (`python -m benchmarks.training`).
    """
    parameters = {
        "installation": installation.pk,
        "channel": channel_slug,
        "since": since,
        "until": until,
        "month": month_of(since),
        "types": [str(kind) for kind in KINDS],
        "refused": sorted(consent.refused_profiling(installation=installation)),
        "not_carried_out": list(NOT_CARRIED_OUT),
    }
    columns = _read(f"{_BROWSED} UNION ALL {_BOUGHT}", parameters)
    # The order of rows without ORDER BY is PostgreSQL's whim; an engine must not depend on it.
    order = np.lexsort(
        (columns["order"], columns["product"], columns["kind"], columns["visitor"], columns["at"])
    )
    for name in columns:
        # One after the other, so that only one of them is there twice.
        columns[name] = columns[name][order]
    products, product_codes = np.unique(columns.pop("product"), return_inverse=True)
    return Interactions(
        visitor_id=Strings.of(columns.pop("visitor"), "visitor_id"),
        item_id=Strings.coded(product_codes, _saleor_ids(installation, products), "item_id"),
        event=Strings.coded(
            columns.pop("kind"), [*KINDS.values(), InteractionEvent.PURCHASE], "event"
        ),
        timestamp=columns.pop("at"),
        order_id=_optional(columns.pop("order"), "order_id"),
        quantity=np.maximum(columns.pop("quantity"), 1.0),
        session_id=_optional(columns.pop("session"), "session_id"),
        price=columns.pop("price"),
    )


def items(*, installation: Installation, channel_slug: str) -> Items:
    """Return the products of a sales channel, with the words that describe them."""
    categories = dict(Category.objects.of(installation).values_list("saleor_id", "name"))
    collections = dict(Collection.objects.of(installation).values_list("saleor_id", "name"))
    listed = ProductListing.objects.of(installation).filter(channel_slug=channel_slug)
    rows = (
        Product.objects.of(installation)
        .filter(deleted_at=None, saleor_id__in=listed.values("product_saleor_id"))
        .order_by("saleor_id")
        .values_list(
            "saleor_id", "saleor_created_at", "name", "description", "category_saleor_id",
            "collection_saleor_ids", "product_type", "attributes",
        )
    )  # fmt: skip
    columns: tuple[list[Any], ...] = tuple([] for _ in range(8))
    for id_, created, name, text, category, kept_in, type_, attributes in rows.iterator(2_000):
        for column, value in zip(
            columns,
            (
                id_,
                created.timestamp() if created else None,
                name,
                text[:MAX_DESCRIPTION],
                categories.get(category, ""),
                " ".join(collections.get(one, "") for one in kept_in),
                type_,
                " ".join(value for row in attributes for value in row["values"]),
            ),
            strict=True,
        ):
            column.append(value)
    ids, created_at, names, descriptions, category_names, collection_names, types, values = columns
    return Items.of(
        ids,
        created_at=created_at,
        name=names,
        description=descriptions,
        category=category_names,
        collections=collection_names,
        product_type=types,
        attributes=values,
    )


def _read(query: str, parameters: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Run a query that gives `_COLUMNS`; return them as arrays in the machine's own byte order."""
    cast = ", ".join(f'"{name}"::{type_}' for name, _, type_ in _COLUMNS)
    copy = f"COPY (SELECT {cast} FROM ({query}) AS rows) TO STDOUT (FORMAT BINARY)"  # noqa: S608
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name, *_ in _COLUMNS}
    for rows in _rows(copy, parameters):
        for name, kind, _ in _COLUMNS:
            parts[name].append(rows[name].astype(np.dtype(kind).newbyteorder("=")))
    columns = {}
    for name, kind, _ in _COLUMNS:
        found = parts.pop(name)
        columns[name] = (
            np.concatenate(found) if found else np.empty(0, np.dtype(kind).newbyteorder("="))
        )
    return columns


def _rows(copy: str, parameters: dict[str, Any]) -> Iterator[NDArray[Any]]:
    """Yield what a COPY gives, some rows at a time. Its rows have one width: nothing in them is NULL."""
    buffer = bytearray()
    to_skip = _HEADER
    with connection.cursor() as cursor, cursor.copy(copy, parameters) as stream:
        for data in stream:
            buffer += data
            if len(buffer) >= _ROWS * _ROW.itemsize:
                count = (len(buffer) - to_skip) // _ROW.itemsize
                yield np.frombuffer(bytes(buffer), _ROW, count, offset=to_skip)
                del buffer[: to_skip + count * _ROW.itemsize]
                to_skip = 0
    count, rest = divmod(len(buffer) - to_skip - _TRAILER, _ROW.itemsize)
    if rest:
        raise ValueError("PostgreSQL sent rows of another width: a column is NULL.")
    yield np.frombuffer(bytes(buffer), _ROW, count, offset=to_skip)


def _saleor_ids(installation: Installation, keys: NDArray[Any]) -> Sequence[str]:
    """Return the global ids of products by their keys, in the order given."""
    rows = Product.objects.of(installation)
    found: dict[int, str] = {}
    for start in range(0, len(keys), 10_000):
        part = keys[start : start + 10_000].tolist()
        found.update(rows.filter(pk__in=part).values_list("pk", "saleor_id"))
    return [found[key] for key in keys.tolist()]


def _optional(numbers: NDArray[Any], name: str) -> Strings:
    """Encode numbers, of which 0 says that there is none."""
    is_there = numbers != 0
    some = Strings.of(numbers[is_there], name)
    codes = np.full(len(numbers), -1, dtype=np.int32)
    codes[is_there] = some.codes
    return Strings(codes, some.values)
