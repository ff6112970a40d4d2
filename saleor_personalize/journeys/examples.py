"""Somebody in a journey who never was, about something of the shop's own catalogue: what its messages look like.

Rows are written as those of a person would be, so that the code that writes real messages writes these; and
all of them are taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import uuid4

from django.db import transaction
from django.utils.translation import gettext as _

from saleor_personalize.catalog.queries import sensitive_ids
from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.journeys.triggers import Sample
from saleor_personalize.journeys.versions import definition_of, trigger_for
from saleor_personalize.models import (
    Enrollment,
    Installation,
    Journey,
    Product,
    ProductListing,
    ProductVariant,
    Profile,
    SalesChannel,
    VariantPrice,
)

#: Products among which one is looked for that a message may speak of.
_LOOKED_AT = 100
_NAME = "Alex"
_ID = "example"


class NothingToShow(PersonalizeError):
    """The catalogue has no product that an example could be about; the text says what helps."""


@contextmanager
def example(
    *, journey: Journey, profile: Profile | None, language_code: str, now: datetime
) -> Iterator[Enrollment]:
    """Let somebody be inside a journey: a person, or with None one who is made up. At the end nothing is left.

    About a product that is for sale, in a variant that is never sold out. Raises NothingToShow.
    """
    if journey.published is None:
        raise NothingToShow(_("The journey has no published version."))
    with transaction.atomic():
        try:
            person = profile or Profile.objects.create(
                installation=journey.installation,
                first_name=_NAME,
                language_code=language_code,
                first_seen_at=now,
            )
            sample = _sample(journey.installation, now)
            trigger = trigger_for(definition_of(journey.published))
            entry = trigger.example(person, sample, now)
            yield Enrollment.objects.create(
                installation=journey.installation,
                journey=journey,
                version=journey.published,
                profile=person,
                subject_kind=entry.subject.kind,
                subject_saleor_id=entry.subject.id,
                entry_key=f"{_ID}/{uuid4().hex}",
                occurred_at=entry.occurred_at,
                due_at=now,
                step_since=now,
                created_at=now,
                context=dict(entry.context),
                path=[0],
            )
        finally:
            transaction.set_rollback(True)


def _sample(installation: Installation, now: datetime) -> Sample:
    open_channels = SalesChannel.objects.of(installation).filter(is_active=True, deleted_at=None)
    listings = list(
        ProductListing.objects.of(installation)
        .filter(
            is_published=True,
            price__gt=0,
            available_for_purchase_at__lte=now,
            channel_slug__in=open_channels.values("slug"),
        )
        .order_by("-is_in_stock", "pk")[:_LOOKED_AT]
    )
    ids = [listing.product_saleor_id for listing in listings]
    hidden = sensitive_ids(installation=installation, ids=ids)
    there = set(
        Product.objects.of(installation)
        .filter(saleor_id__in=ids, deleted_at=None)
        .values_list("saleor_id", flat=True)
    )
    for listing in listings:
        if listing.product_saleor_id in there - hidden:
            return _variant(listing, now)
    raise NothingToShow(
        _("No product that is for sale is known yet: read the history of your shop first.")
    )


def _variant(listing: ProductListing, now: datetime) -> Sample:
    assert listing.price is not None  # noqa: S101 (asked by `_sample`)
    installation = listing.installation
    best = ProductVariant.objects.of(installation).filter(saleor_id=listing.best_variant_saleor_id)
    ProductVariant.objects.create(
        installation=installation,
        saleor_id=_ID,
        product_saleor_id=listing.product_saleor_id,
        name=best.values_list("name", flat=True).first() or "",
        is_stock_tracked=False,
    )
    VariantPrice.objects.create(
        installation=installation,
        variant_saleor_id=_ID,
        channel_slug=listing.channel_slug,
        currency=listing.currency,
        price=listing.price,
        recorded_at=now,
    )
    return Sample(
        channel_slug=listing.channel_slug,
        currency=listing.currency,
        product_id=listing.product_saleor_id,
        variant_id=_ID,
        price=listing.price,
    )
