"""What people keep for later. Of everything said about one product the latest moment wins.

An "add" or "remove" that comes late or twice changes nothing that a later one decided. Each is written on
the profile whose id was shown; who signs in reads one list over all profiles that they may read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from saleor_personalize.catalog.queries import recommendable_ids
from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import (
    Favourite,
    Identity,
    Installation,
    Product,
    Profile,
    SalesChannel,
    SharedFavourites,
)
from saleor_personalize.profiles import merging
from saleor_personalize.profiles.changes import mark_changed

#: Products of a list that others are shown.
MAX_SHARED = 100


@dataclass(frozen=True)
class Said:
    """One "keep this" or "no longer" about a product, and when it was said."""

    is_added: bool
    product_id: str
    variant_id: str
    channel_slug: str
    at: datetime


@dataclass(frozen=True)
class Shown:
    """A favourite as it is shown: only products that the shop has, and whether one can be bought now."""

    product: Product
    variant_id: str
    channel_slug: str
    added_at: datetime
    is_available: bool

    @property
    def product_id(self) -> str:
        return self.product.saleor_id


def add(
    *,
    profile: Profile,
    product_id: str,
    variant_id: str = "",
    channel_slug: str = "",
    now: datetime,
) -> bool:
    """Keep a product; return whether anything changed."""
    return record(
        profile=profile, said=[Said(True, product_id, variant_id, channel_slug, now)], now=now
    )


def remove(
    *,
    profile: Profile,
    product_id: str,
    variant_id: str = "",
    channel_slug: str = "",
    now: datetime,
) -> bool:
    """Keep a product no longer, on whichever device it was added; return whether anything changed."""
    return record(
        profile=profile, said=[Said(False, product_id, variant_id, channel_slug, now)], now=now
    )


def record(*, profile: Profile, said: Iterable[Said], now: datetime) -> bool:
    """Write down what a profile said, in any order; return whether anything changed."""
    with transaction.atomic():
        changed = [_record(profile, one) for one in said]
        if any(changed):
            mark_changed(installation=profile.installation, profiles=[profile], now=now)
    return any(changed)


def _record(profile: Profile, said: Said) -> bool:
    # A removal of what was never added is kept too: the "add" may still be on its way.
    row, is_new = Favourite.objects.get_or_create(
        installation=profile.installation,
        profile=profile,
        product_saleor_id=said.product_id,
        variant_saleor_id=said.variant_id,
        defaults={
            "channel_slug": said.channel_slug,
            "added_at": said.at,
            "removed_at": None if said.is_added else said.at,
        },
    )
    if is_new:
        return True
    rows = Favourite.objects.of(profile.installation).filter(pk=row.pk)
    # One statement each, so that of two at the same time the later moment wins as well.
    if said.is_added:
        later = rows.filter(added_at__lt=said.at)
        later = later.filter(Q(removed_at=None) | Q(removed_at__lt=said.at))
        return bool(later.update(added_at=said.at, removed_at=None, channel_slug=said.channel_slug))
    later = rows.filter(added_at__lte=said.at)
    return bool(
        later.filter(Q(removed_at=None) | Q(removed_at__lt=said.at)).update(removed_at=said.at)
    )


def favourites_of(
    profile: Profile, *, first: int | None = None, own_only: bool = False
) -> list[Favourite]:
    """Return what the person keeps, newest first, each product and variant once.

    Over the profiles that the person may read (`merging.readable`): a removal on one of them counts for
    what was added on another before it. `own_only`: what was added on this profile itself.
    """
    theirs = Favourite.objects.of(profile.installation).filter(
        profile__in=merging.readable(profile)
    )
    taken_back = theirs.filter(
        product_saleor_id=OuterRef("product_saleor_id"),
        variant_saleor_id=OuterRef("variant_saleor_id"),
        removed_at__gte=OuterRef("added_at"),
    )
    added = theirs.filter(profile=profile) if own_only else theirs
    newest = (
        added.filter(~Exists(taken_back), removed_at=None)
        .order_by("product_saleor_id", "variant_saleor_id", "-added_at", "pk")
        .distinct("product_saleor_id", "variant_saleor_id")
    )
    rows = Favourite.objects.of(profile.installation).filter(pk__in=newest.values("pk"))
    return list(rows.order_by("-added_at", "-pk")[:first])


def kept(rows: QuerySet[Favourite], *, installation: Installation) -> QuerySet[Favourite]:
    """Leave of an installation's rows those that people keep, over all profiles of each.

    For segments and triggers; what a shopper may read is `favourites_of`.
    """
    person = Coalesce("profile__merged_into", "profile")
    taken_back = (
        Favourite.objects.of(installation)
        .alias(person=person)
        .filter(
            person=OuterRef("keeper"),
            product_saleor_id=OuterRef("product_saleor_id"),
            variant_saleor_id=OuterRef("variant_saleor_id"),
            removed_at__gte=OuterRef("added_at"),
        )
    )
    return rows.alias(keeper=person).filter(~Exists(taken_back), removed_at=None)


def shown(*, profile: Profile, first: int, now: datetime, channel_slug: str = "") -> list[Shown]:
    """Return what the person keeps, as it is shown.

    `is_available` tells whether it can be bought now in `channel_slug`, else in the sales channel it
    was added in, else in any. Products that the shop no longer has are left out.
    """
    return _shown(profile.installation, favourites_of(profile), channel_slug, first, now)


def one(*, profile: Profile, product_id: str, variant_id: str, now: datetime) -> Shown | None:
    """Return what this profile itself keeps of a product, or None."""
    rows = Favourite.objects.of(profile.installation).filter(
        profile=profile,
        product_saleor_id=product_id,
        variant_saleor_id=variant_id,
        removed_at=None,
    )
    return next(iter(_shown(profile.installation, list(rows), "", 1, now)), None)


def _shown(
    installation: Installation,
    rows: Sequence[Favourite],
    channel_slug: str,
    first: int,
    now: datetime,
) -> list[Shown]:
    products = {
        product.saleor_id: product
        for product in Product.objects.of(installation).filter(
            saleor_id__in={row.product_saleor_id for row in rows}, deleted_at=None
        )
    }
    kept = [row for row in rows if row.product_saleor_id in products][:first]
    wanted: dict[str, set[str]] = {}
    for row in kept:
        wanted.setdefault(channel_slug or row.channel_slug, set()).add(row.product_saleor_id)
    sellable = {slug: _sellable(installation, slug, ids, now) for slug, ids in wanted.items()}
    return [
        Shown(
            product=products[row.product_saleor_id],
            variant_id=row.variant_saleor_id,
            channel_slug=channel_slug or row.channel_slug,
            added_at=row.added_at,
            is_available=row.product_saleor_id in sellable[channel_slug or row.channel_slug],
        )
        for row in kept
    ]


def _sellable(
    installation: Installation, channel_slug: str, ids: Collection[str], now: datetime
) -> set[str]:
    slugs: Iterable[str] = [channel_slug]
    if not channel_slug:
        channels = SalesChannel.objects.of(installation).filter(deleted_at=None)
        slugs = channels.values_list("slug", flat=True)
    return {
        id_
        for slug in slugs
        for id_ in recommendable_ids(installation=installation, channel_slug=slug, ids=ids, now=now)
    }


# -- showing them to others ----------------------------------------------------------------------------


def share(*, profile: Profile, now: datetime) -> SharedFavourites:
    """Return the link under which others see the profile's favourites; made on first asking.

    That of an account shows the list of the person. That of a browser shows what was kept on it before
    anybody signed in there: whoever made it may be somebody else.
    """
    with transaction.atomic():
        Profile.objects.of(profile.installation).select_for_update().get(pk=profile.pk)
        known = _links(profile).filter(profile=profile).order_by("pk").first()
        return known or SharedFavourites.objects.create(
            installation=profile.installation, profile=profile, created_at=now
        )


def withdraw(*, profile: Profile, now: datetime) -> int:
    """Let no link of the person work any more; return how many did."""
    return _links(profile).update(withdrawn_at=now)


def _links(profile: Profile) -> QuerySet[SharedFavourites]:
    return SharedFavourites.objects.of(profile.installation).filter(
        profile__in=merging.readable(profile), withdrawn_at=None
    )


def link_of(token: str, *, installation: Installation | None = None) -> SharedFavourites | None:
    """Return the link with this token while it works, of this shop if one is named."""
    try:
        wanted = UUID(token)
    except ValueError:
        return None
    links = SharedFavourites.objects.select_related("installation", "profile").filter(
        token=wanted, withdrawn_at=None
    )
    return (links if installation is None else links.filter(installation=installation)).first()


def shared(
    *, link: SharedFavourites, now: datetime, first: int = MAX_SHARED, channel_slug: str = ""
) -> list[Shown]:
    """Return the products under a link: those that can be bought now. Nothing tells whose they are."""
    is_of_browser = not (
        Identity.objects.of(link.installation)
        .filter(profile=link.profile, kind__in=(IdentityKind.SALEOR_USER, IdentityKind.EXTERNAL_ID))
        .exists()
    )
    rows = favourites_of(link.profile, own_only=is_of_browser)
    found = _shown(link.installation, rows, channel_slug, MAX_SHARED, now)
    return [one for one in found if one.is_available][:first]
