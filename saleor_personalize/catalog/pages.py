"""Reads of content pages, and of what products have in common with them."""

from __future__ import annotations

import json
from collections.abc import Collection as AnyCollection
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from saleor_personalize.catalog.queries import (
    CATEGORY_TRANSLATED,
    TRANSLATED,
    spoken,
    translated,
    translated_rows,
)
from saleor_personalize.models import (
    Category,
    Collection,
    Installation,
    Page,
    PageTranslation,
    Product,
    prepared,
)

#: Pages that are looked at for one question, the newest ones.
MOST_PAGES = 500


def tag_key(tag: str) -> str:
    """Return what a tag is found by: the same for all ways to write it, and never a global id."""
    return f"#{' '.join(tag.casefold().split())}"


class ContentPage(NamedTuple):
    """A page that a shopper can see. `tags`: (slug of the attribute, name); `references`: global ids."""

    id: str
    title: str
    # As the shop wrote it.
    own_title: str
    slug: str
    page_type: str
    published_at: datetime | None
    tags: tuple[tuple[str, str], ...]
    references: tuple[str, ...]


_SEEN = """
  page.installation_id = %(installation)s AND page.deleted_at IS NULL AND page.is_published
  AND (page.published_at IS NULL OR page.published_at <= %(now)s)
  AND (%(types)s = '' OR page.page_type = ANY (string_to_array(%(types)s, ' ')))
"""
_TRANSLATED = translated("page", PageTranslation._meta.db_table, "title")
_PAGES = f"""
SELECT page.saleor_id, COALESCE(translated.title, page.title), page.title, page.slug,
  page.page_type, page.published_at, page.attributes
FROM {Page._meta.db_table} AS page {_TRANSLATED}
WHERE {_SEEN} AND {{condition}}
ORDER BY page.published_at DESC NULLS LAST, page.saleor_id LIMIT %(count)s
"""  # noqa: S608 (the names of the tables are ours)
_ABOUT = _PAGES.replace(
    "{condition}",
    "(page.subjects ?| ARRAY (SELECT jsonb_array_elements_text(%(keys)s::jsonb))"
    " OR lower(page.title) = lower(NULLIF(%(title)s, '')))",
)
# Every page has its own id among its subjects.
_NEWEST = _PAGES.replace("{condition}", "jsonb_array_length(page.subjects) > 1")


_ONE = _PAGES.replace("{condition}", "page.saleor_id = %(id)s")


def about(
    *,
    installation: Installation,
    keys: AnyCollection[str],
    now: datetime,
    title: str = "",
    page_types: Sequence[str] = (),
    language_code: str = "",
) -> list[ContentPage]:
    """Return the pages that can be found by any of `keys` or by their own `title`, the newest first.

    A key is a global id, or a tag as `tag_key` writes it. Titles are in `language_code`, as those of
    `catalog.cards`.
    """
    return _read(
        _ABOUT, installation, now, page_types, language_code, MOST_PAGES,
        keys=json.dumps(sorted(keys)), title=title,
    )  # fmt: skip


def one(*, installation: Installation, page_id: str, now: datetime) -> ContentPage | None:
    """Return a page that can be seen, whatever its type."""
    found = _read(_ONE, installation, now, (), "", 1, id=page_id)
    return found[0] if found else None


def newest(
    *,
    installation: Installation,
    now: datetime,
    count: int,
    page_types: Sequence[str] = (),
    language_code: str = "",
) -> list[ContentPage]:
    """Return the newest pages that are about anything."""
    return _read(_NEWEST, installation, now, page_types, language_code, count)


def _read(
    query: str,
    installation: Installation,
    now: datetime,
    page_types: Sequence[str],
    language_code: str,
    count: int,
    **more: Any,
) -> list[ContentPage]:
    with prepared.cursor() as cursor:
        cursor.execute(
            query,
            {
                "installation": installation.pk,
                "now": now,
                "types": " ".join(page_types),
                **spoken(language_code),
                "count": count,
                **more,
            },
        )
        return [_page(*row) for row in cursor.fetchall()]


def _page(
    id_: str,
    title: str,
    own_title: str,
    slug: str,
    type_: str,
    published_at: datetime | None,
    attributes: str,
) -> ContentPage:
    rows = json.loads(attributes)
    return ContentPage(
        id_,
        title,
        own_title,
        slug,
        type_,
        published_at,
        tuple((row["attribute"], tag) for row in rows for tag in row["tags"]),
        tuple(dict.fromkeys(id_ for row in rows for id_ in row["references"])),
    )


def stale_ids(*, installation: Installation, until: datetime) -> list[str]:
    """Return the global ids of pages that are stale since `until` or longer."""
    rows = Page.objects.of(installation).filter(deleted_at=None, stale_since__lte=until)
    return list(rows.order_by("saleor_id").values_list("saleor_id", flat=True))


def states(*, installation: Installation) -> dict[str, tuple[bool, datetime | None]]:
    """Return whether and since when each page is published, by its global id."""
    rows = Page.objects.of(installation).filter(deleted_at=None)
    return {
        id_: (is_published, at)
        for id_, is_published, at in rows.values_list("saleor_id", "is_published", "published_at")
    }


# -- products ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """Something that a page may be about: what it is found by, and its name in the language asked for.

    Tags are found by as the shop wrote them.
    """

    key: str
    name: str


@dataclass(frozen=True)
class ProductSubjects:
    """What a product is, belongs to and has. `page_ids`: pages that it refers to itself."""

    product: Subject
    page_ids: tuple[str, ...]
    others: tuple[Subject, ...]


class _Named(NamedTuple):
    """A category, collection or page with its `own` name and the one that is `shown`."""

    id: str
    own: str
    shown: str


_PRODUCTS = f"""
SELECT product.saleor_id, COALESCE(translated.name, product.name), product.product_type,
  product.category_saleor_id, product.collection_saleor_ids, product.attributes
FROM {Product._meta.db_table} AS product {TRANSLATED}
WHERE product.installation_id = %(installation)s AND product.deleted_at IS NULL
  AND product.saleor_id = ANY (string_to_array(%(ids)s, ' '))
"""  # noqa: S608 (the names of the tables are ours)
_TITLES = f"""
SELECT page.saleor_id, page.title, COALESCE(translated.title, page.title)
FROM {Page._meta.db_table} AS page {_TRANSLATED}
WHERE page.installation_id = %(installation)s AND page.deleted_at IS NULL
  AND page.saleor_id = ANY (string_to_array(%(ids)s, ' '))
"""  # noqa: S608 (the names of the tables are ours)


def subjects_of(
    *, installation: Installation, ids: AnyCollection[str], language_code: str = ""
) -> dict[str, ProductSubjects]:
    """Return what pages may have in common with products, by global id; deleted ones are left out.

    Its categories, its own and all above, its collections, its type, the values of its attributes, and
    pages that it refers to. What Saleor translates is named in `language_code`, as on cards.
    """
    rows = [
        # Django's connections leave JSON as text.
        (id_, name, type_, category, json.loads(kept_in), json.loads(has))
        for id_, name, type_, category, kept_in, has in translated_rows(
            _PRODUCTS, installation, ids, language_code
        )
    ]
    above = _categories_above(
        {category for *_, category, _, _ in rows if category}, installation, language_code
    )
    collections = dict(
        Collection.objects.of(installation)
        .filter(saleor_id__in={id_ for *_, kept_in, _ in rows for id_ in kept_in}, deleted_at=None)
        .values_list("saleor_id", "name")
    )
    linked = {id_ for *_, has in rows for row in has for id_ in row.get("pages", ())}
    pages = {
        id_: _Named(id_, title, shown)
        for id_, title, shown in translated_rows(_TITLES, installation, linked, language_code)
    }
    found = {}
    for id_, name, type_, category, kept_in, attributes in rows:
        page_ids = tuple(page for row in attributes for page in row.get("pages", ()))
        named = list(above.get(category, ()))
        named += [_Named(one, kept, kept) for one in kept_in if (kept := collections.get(one))]
        # A guide may refer to the page of the brand that the product refers to.
        named += [pages[page] for page in page_ids if page in pages]
        others = [Subject(each.id, each.shown) for each in named]
        others += [Subject(tag_key(each.own), each.shown) for each in named]
        others.append(Subject(tag_key(type_), type_))
        others += [
            Subject(tag_key(value), value)
            for row in attributes
            if not ("pages" in row or "references" in row)
            for value in row["values"]
        ]
        unique = {each.key: each for each in reversed(others) if each.name}
        found[id_] = ProductSubjects(
            Subject(id_, name),
            page_ids,
            tuple(reversed(unique.values())),
        )
    return found


def subjects_of_category(
    *, installation: Installation, category_id: str, language_code: str = ""
) -> list[Subject]:
    """Return what pages about a category may be found by: it, and the categories above it."""
    named = _categories_above({category_id}, installation, language_code).get(category_id, [])
    return [
        Subject(key, each.shown)
        for each in named
        if each.own
        for key in (each.id, tag_key(each.own))
    ]


_ABOVE = f"""
WITH RECURSIVE above (of, saleor_id, parent_saleor_id, name, height) AS (
  SELECT saleor_id, saleor_id, parent_saleor_id, name, 0 FROM {Category._meta.db_table}
  WHERE installation_id = %(installation)s AND deleted_at IS NULL
    AND saleor_id = ANY (string_to_array(%(ids)s, ' '))
  UNION ALL
  SELECT above.of, category.saleor_id, category.parent_saleor_id, category.name, above.height + 1
  FROM above JOIN {Category._meta.db_table} AS category
    ON category.installation_id = %(installation)s AND category.deleted_at IS NULL
    AND category.saleor_id = above.parent_saleor_id
  -- No shop is deeper; rows that came out of order may form a ring.
  WHERE above.height < 20
)
SELECT above.of, above.saleor_id, above.name, COALESCE(translated.name, above.name)
FROM above JOIN {Category._meta.db_table} AS category
  ON category.installation_id = %(installation)s AND category.saleor_id = above.saleor_id
{CATEGORY_TRANSLATED}
ORDER BY above.of, above.height
"""  # noqa: S608 (the name of the table is ours)


def _categories_above(
    ids: AnyCollection[str], installation: Installation, language_code: str
) -> dict[str, list[_Named]]:
    """Return each category and those above it, the nearest first."""
    found: dict[str, list[_Named]] = {}
    for of, *named in translated_rows(_ABOVE, installation, ids, language_code):
        found.setdefault(of, []).append(_Named(*named))
    return found
