"""The rows that benchmarks make up fit the tables as they are now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from benchmarks import journeys, segments
from saleor_personalize.journeys import operations
from saleor_personalize.models import (
    Checkout,
    Consent,
    Enrollment,
    Event,
    Installation,
    Order,
    Profile,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_people_who_left_carts_are_due_in_the_journey(installation: Installation) -> None:
    rows = [
        operations.ensure_journey(installation=installation, key=key)
        for key in ("abandoned_checkout", "browsed_product")
    ]
    for row in rows:
        operations.go_live(journey=row, now=NOW - timedelta(days=90))
    ids = {
        "shop": installation.pk,
        "journey": rows[0].pk,
        "version": rows[0].published_id,
        "paused": rows[1].pk,
        "paused_version": rows[1].published_id,
    }

    with connection.cursor() as cursor:
        journeys.leave_carts(cursor, ids, 3, NOW - timedelta(hours=2), NOW)
        profile = Profile.objects.order_by("pk").first()
        assert profile is not None
        journeys.let_wait(cursor, ids, profile.pk, 1, 10)

    assert (Profile.objects.count(), Consent.objects.count(), Checkout.objects.count()) == (3, 3, 3)
    due = Enrollment.objects.filter(due_at=NOW, journey=rows[0])
    assert {row.profile_id: row.subject_saleor_id for row in due} == {
        profile.pk: f"cart-{profile.pk}" for profile in Profile.objects.all()
    }
    waiting = Enrollment.objects.exclude(due_at=NOW)
    assert waiting.filter(journey=rows[0]).count() == 8
    assert waiting.filter(journey=rows[1], due_at__lt=NOW).count() == 2


def test_a_shop_of_people_who_looked_and_bought(installation: Installation) -> None:
    with connection.cursor() as cursor:
        segments.fill_shop(cursor, installation.pk, 4)
        first = Profile.objects.order_by("pk").values_list("pk", flat=True)[0]
        segments.look(cursor, installation.pk, first, first + 1)

    assert (Profile.objects.count(), Event.objects.count(), Order.objects.count()) == (4, 26, 2)
    looked = Event.objects.filter(type="list_viewed").values_list("profile_id", flat=True)
    assert sorted(looked) == sorted([first, first + 1] * 3)
