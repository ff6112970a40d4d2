"""B26: content pages as a live Saleor announces them, which is never all there is to know."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saleor_personalize.enums import DeliveryStatus
from saleor_personalize.ingestion import deliveries
from saleor_personalize.models import Installation, Page, PageTranslation, WebhookDelivery
from tests.payloads import one, scenario
from tests.webhooks.deliver import deliver

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
STORY = scenario("page")


def table() -> list[Any]:
    columns = (
        "saleor_id", "title", "slug", "page_type", "is_published", "published_at", "attributes",
        "subjects", "stale_since", "deleted_at",
    )  # fmt: skip
    return [
        list(Page.objects.order_by("saleor_id").values_list(*columns)),
        sorted(PageTranslation.objects.values_list("page_saleor_id", "language_code", "title")),
    ]


def test_b26_a_new_page_is_known_at_once_and_what_it_is_about_is_asked_for(
    installation: Installation,
) -> None:
    """The page was made with the topic "Recorded": its event cannot show it, and does not try."""
    created = one("page", "page_created")
    assert "attributes" not in created.payload["page"]
    deliver(installation, [created], now=NOW)
    page = Page.objects.get()
    shown = created.payload["page"]
    assert (page.saleor_id, page.title, page.slug) == (shown["id"], "Recorded guide", shown["slug"])
    assert (page.page_type, page.is_published) == (shown["pageType"]["slug"], True)
    assert page.published_at is not None
    assert page.published_at.isoformat() == shown["publishedAt"]
    assert (page.attributes, page.subjects, page.stale_since) == ([], [], NOW)
    assert WebhookDelivery.objects.get().status == DeliveryStatus.PROCESSED


def test_b26_an_update_takes_nothing_away_that_was_read(installation: Installation) -> None:
    deliver(installation, STORY[:1], now=NOW)
    Page.objects.update(subjects=["#recorded"], stale_since=None)
    later = NOW + timedelta(minutes=1)
    deliver(installation, [one("page", "page_updated")], now=later)
    page = Page.objects.get()
    assert (page.subjects, page.stale_since) == (["#recorded"], later)


def test_b26_a_retry_that_comes_late_changes_no_title_and_is_asked_about(
    installation: Installation,
) -> None:
    created, renamed = one("page", "page_created"), one("page", "page_updated", 1)
    deliver(installation, [renamed], now=NOW)
    later = NOW + timedelta(minutes=5)
    deliver(installation, [created], now=later)
    page = Page.objects.get()
    assert (page.title, page.stale_since) == ("Recorded guide, renamed", later)


def test_b26_b38_a_translated_title(installation: Installation) -> None:
    deliver(installation, STORY[:3], now=NOW)
    row = PageTranslation.objects.get()
    assert (row.language_code, row.title) == ("de", "Aufgenommener Ratgeber")
    assert row.page_saleor_id == Page.objects.get().saleor_id


def test_b26_a_deleted_page_stays_deleted(installation: Installation) -> None:
    deliver(installation, STORY, now=NOW)
    page = Page.objects.get()
    assert (page.deleted_at, page.stale_since) == (NOW, None)
    assert not PageTranslation.objects.exists()
    deliver(installation, STORY[:4], now=NOW + timedelta(minutes=5))
    again = Page.objects.get()
    assert (again.deleted_at, again.stale_since, again.title) == (NOW, None, page.title)
    assert not PageTranslation.objects.exists()


def test_b26_of_what_happens_in_bulk_only_the_beginning_is_told(
    installation: Installation,
) -> None:
    """All three were gone when this was recorded: `ingestion.pages.look` is there for them."""
    assert [row.event for row in scenario("pages_in_bulk")] == ["page_created"] * 3
    deliver(installation, scenario("pages_in_bulk"), now=NOW)
    assert Page.objects.filter(is_published=True, deleted_at=None).count() == 3


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_b8_b26_any_order_of_arrival_with_repeats_ends_the_same(
    installation: Installation, data: st.DataObject
) -> None:
    extra = data.draw(st.lists(st.sampled_from(STORY), max_size=3))
    last = data.draw(st.sampled_from([len(STORY), len(STORY) - 1]))
    story = STORY[:last]
    shuffled = data.draw(st.permutations([*story, *(row for row in extra if row in story)]))
    outcomes = []
    for rows in (story, shuffled):
        with transaction.atomic():
            deliver(installation, rows, now=NOW)
            outcomes.append(table())
            transaction.set_rollback(True)
    if last == len(STORY):
        # Of a page that is gone nobody needs the last title.
        outcomes = [[[(row[0], row[-1]) for row in pages], names] for pages, names in outcomes]
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("page", [None, {}, {"id": "UGFnZTox"}, {"id": "UGFnZTox", "title": "A"}])
def test_b26_a_page_that_cannot_be_read_is_kept_with_its_error(
    installation: Installation, page: Any
) -> None:
    delivery = one("page", "page_updated")
    payload = {**delivery.payload, "page": page}
    deliveries.store(
        [
            deliveries.row(
                installation_id=installation.pk,
                event="page_updated",
                body=json.dumps(payload).encode(),
                issued_at=NOW,
                now=NOW,
            )
        ]
    )
    deliveries.process_waiting(now=NOW)
    assert WebhookDelivery.objects.get().status == DeliveryStatus.FAILED
    assert not Page.objects.exists()
