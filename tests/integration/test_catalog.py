"""Two rules exist twice, once as SQL: both forms must say the same."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saleor_personalize.catalog import queries
from saleor_personalize.models import Category, Installation, ProductListing, bulk
from tests.conftest import NOW

moments = st.sampled_from([None, NOW - timedelta(seconds=1), NOW, NOW + timedelta(seconds=1)])


@pytest.mark.django_db
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(
            st.booleans(),
            st.booleans(),
            st.booleans(),
            moments,
            moments,
            st.sampled_from(["default-channel", "channel-pln"]),
        ),
        max_size=12,
    )
)
def test_b32_both_forms_of_the_check_agree(
    installation: Installation,
    other_installation: Installation,
    rows: list[tuple[bool, bool, bool, datetime | None, datetime | None, str]],
) -> None:
    ProductListing.objects.all().delete()
    for shop in (installation, other_installation):
        ProductListing.objects.bulk_create(
            [
                ProductListing(
                    installation=shop,
                    product_saleor_id=f"{shop.pk}-{number}",
                    channel_slug=channel,
                    is_published=published,
                    is_visible_in_listings=visible,
                    is_in_stock=in_stock,
                    published_at=published_at,
                    available_for_purchase_at=available_at,
                )
                for number, (
                    published,
                    visible,
                    in_stock,
                    published_at,
                    available_at,
                    channel,
                ) in enumerate(rows)
            ]
        )
    ids = list(ProductListing.objects.values_list("product_saleor_id", flat=True))
    expected = set(
        queries.recommendable(
            installation=installation, channel_slug="default-channel", now=NOW
        ).values_list("product_saleor_id", flat=True)
    )
    assert (
        queries.recommendable_ids(
            installation=installation, channel_slug="default-channel", ids=ids, now=NOW
        )
        == expected
    )
    assert all(id_.startswith(f"{installation.pk}-") for id_ in expected)


@pytest.mark.django_db
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stored=st.tuples(moments, moments), seen=st.tuples(moments, moments.filter(bool)))
def test_b6_both_forms_of_what_is_older_agree(
    installation: Installation,
    stored: tuple[datetime | None, datetime | None],
    seen: tuple[datetime | None, datetime],
) -> None:
    Category.objects.all().delete()
    row = Category.objects.create(
        installation=installation,
        saleor_id="1",
        name="before",
        saleor_updated_at=stored[0],
        seen_at=stored[1],
    )
    merged = bulk.merge(
        Category,
        installation,
        [{"saleor_id": "1", "saleor_updated_at": seen[0], "seen_at": seen[1], "name": "after"}],
        key=["saleor_id"],
        silent=["saleor_updated_at", "seen_at"],
        when=Category.GIVES_WAY,
    )
    is_older = row.is_older(*seen)
    row.refresh_from_db()
    if is_older:
        assert merged == []
        assert (row.name, row.saleor_updated_at, row.seen_at) == ("before", *stored)
    else:
        assert merged == [(row.pk, ("1",), False, True)]
        assert (row.name, row.saleor_updated_at, row.seen_at) == ("after", *seen)
