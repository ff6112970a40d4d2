"""Finding things of the catalogue by what people call them."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Collection as AnyCollection

from django.db.models import Count, QuerySet
from django.utils.translation import gettext as _

from saleor_personalize.models import Category, Collection, Installation, Product
from saleor_personalize.saleor_api.nodes import kind_of

#: Kind of a global id -> what is found by its name.
_MODELS = {"Product": Product, "Category": Category, "Collection": Collection}
#: Names that a mistyped one is compared with.
_COMPARED = 5_000


class NotFoundByName(ValueError):
    """Nothing, or more than one thing, is called so; the text says what to do."""


def _rows(installation: Installation, kind: str) -> QuerySet[Product | Category | Collection]:
    rows: QuerySet[Product | Category | Collection] = _MODELS[kind].objects.of(installation)  # type: ignore[assignment]
    return rows.filter(deleted_at=None)


def choices(
    *, installation: Installation, kind: str, text: str, limit: int
) -> list[tuple[str, str]]:
    """Return (global id, name) of a "Product", "Category" or "Collection" with the text in its name."""
    rows = _rows(installation, kind).filter(name__icontains=text).order_by("name", "pk")
    return list(rows.values_list("saleor_id", "name")[:limit])


def names(*, installation: Installation, kind: str, ids: AnyCollection[str]) -> dict[str, str]:
    """Return names by global id; what is not known is left out."""
    rows = _rows(installation, kind).filter(saleor_id__in=ids)
    return dict(rows.values_list("saleor_id", "name"))


def unmistakable(
    *, installation: Installation, kind: str, ids: AnyCollection[str]
) -> dict[str, str]:
    """Return names by global id, where nothing else is called so: `find` leads back."""
    found = names(installation=installation, kind=kind, ids=ids)
    rows = _rows(installation, kind).filter(name__in=found.values())
    once = set(
        rows.values("name")
        .annotate(count=Count("pk"))
        .filter(count=1)
        .values_list("name", flat=True)
    )
    # A line of a list is read without the spaces around it.
    return {id_: name for id_, name in found.items() if name in once and name == name.strip()}


def no_id_of(given: str, kind: str) -> str:
    """Return what to tell whoever wrote a text where a global id of a "Product", ... was wanted."""
    return _(
        "“%(given)s” is none of Saleor's global ids of it, such as %(example)s: the address of its page in "
        "Saleor's Dashboard ends in one"
    ) % {"given": given[:60], "example": base64.b64encode(f"{kind}:1".encode()).decode()}


def find(*, installation: Installation, kind: str, text: str) -> str:
    """Return the global id of what a text names: by that id itself, or by its name.

    Raises NotFoundByName.
    """
    if kind_of(text) == kind:
        return text
    if "\x00" in text:
        # It is in no text of the database, and asking for it would be a fault.
        raise NotFoundByName(no_id_of(text, kind))
    rows = _rows(installation, kind)
    exact = list(rows.filter(name=text).values_list("saleor_id", flat=True)[:2])
    found = exact or list(rows.filter(name__iexact=text).values_list("saleor_id", flat=True)[:2])
    if len(found) == 1:
        return str(found[0])
    if found:
        raise NotFoundByName(
            _("More than one is called “%(name)s”: write the global id of the one that is meant")
            % {"name": text[:60]}
        )
    known = rows.order_by("pk").values_list("name", flat=True)[:_COMPARED]
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.5) if len(text) < 200 else []
    if not near:
        near = [
            name for _id, name in choices(installation=installation, kind=kind, text=text, limit=1)
        ]
    if near:
        raise NotFoundByName(
            _("Nothing is called “%(name)s”. Did you mean “%(near)s”?")
            % {"name": text[:60], "near": near[0]}
        )
    raise NotFoundByName(no_id_of(text, kind))
