"""What a person did of late is read in one query, and what they refused is respected in it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from saleor_personalize.enums import ConsentState, EventSource, EventType, MergeProof, Purpose
from saleor_personalize.models import Consent, Event, Profile
from saleor_personalize.profiles import consent, merging
from saleor_personalize.recommendations import history


def say(profile: Profile, *states: ConsentState, now: datetime) -> None:
    for state in states:
        Consent.objects.create(
            installation=profile.installation,
            profile=profile,
            purpose=Purpose.PROFILING,
            state=state,
            source="test",
            recorded_at=now,
        )


def look(profile: Profile, *products: str, now: datetime) -> None:
    for place, product in enumerate(products):
        Event.objects.create(
            installation=profile.installation,
            profile=profile,
            event_id=f"{profile.pk}-{place}",
            type=EventType.PRODUCT_VIEWED,
            occurred_at=now - timedelta(minutes=place),
            received_at=now,
            source=EventSource.STOREFRONT,
            product_saleor_id=product,
        )


YES, NO = ConsentState.GRANTED, ConsentState.DENIED


@pytest.mark.parametrize("of_alice", [(), (YES,), (NO,), (NO, YES), (YES, NO)])
@pytest.mark.parametrize("of_browser", [(), (YES,), (NO,), (NO, YES), (YES, NO)])
def test_b37_a_refusal_is_found_as_everywhere_else(
    alice: Profile, carol: Profile, now: datetime, of_alice: Any, of_browser: Any
) -> None:
    """The rule is written twice, once as SQL: neither may know more than the other."""
    say(alice, *of_alice, now=now)
    say(carol, *of_browser, now=now)
    merging.prove(
        installation=alice.installation, first=alice, second=carol, proof=MergeProof.LOGIN, now=now
    )
    look(alice, "p1", now=now)
    for profile in (alice, carol):
        profile.refresh_from_db()
        found = history.read(profile, now)
        assert (found is not history.REFUSED) == consent.may_profile(profile=profile)


def test_b37_one_query_for_one_profile(
    alice: Profile, now: datetime, django_assert_num_queries: Any
) -> None:
    look(alice, "p1", "p2", "p1", now=now)
    with django_assert_num_queries(1):
        found = history.read(alice, now)
    assert found.viewed == ["p1", "p2"]
    assert [each.product_id for each in found.visit(now)] == ["p1", "p2", "p1"]


def test_b22_what_was_joined_over_a_cart_alone_is_not_shown(
    alice: Profile, carol: Profile, now: datetime
) -> None:
    """A cart can be forwarded: it joins people for our care, never for their eyes."""
    look(carol, "p1", now=now)
    merging.prove(
        installation=alice.installation,
        first=alice,
        second=carol,
        proof=MergeProof.CHECKOUT_COMPLETED,
        now=now,
    )
    alice.refresh_from_db()
    assert history.read(alice, now).viewed == []
    assert history.read(carol, now).viewed == ["p1"]
