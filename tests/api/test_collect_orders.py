"""Whatever order events arrive in, however often and however many at once: the facts are the same."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connections, transaction
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from saleor_personalize.models import Event, Profile, Session
from tests.api.conftest import ALICE
from tests.catalogue import Phones
from tests.conftest import NOW

PEOPLE = ("first-browser-0001", "other-browser-0002")
#: Minutes before NOW: the last week, over the end of February, and the very edges of a month.
MINUTES = st.one_of(
    st.integers(0, 7 * 24 * 60), st.sampled_from([0, 1, 2159, 2160, 2161, 7 * 24 * 60])
)


def send(
    shop: Phones, person: str, events: list[Any], session: str = "", token: str | None = None
) -> list[str]:
    response = Client().post(
        "/collect",
        json.dumps(
            {
                "saleorApiUrl": shop.installation.saleor_api_url,
                "anonymousId": person,
                "token": token,
                "session": {"id": session, "countryCode": "DE"},
                "events": events,
            }
        ),
        content_type="text/plain",
    )
    assert response.status_code == 200, response.content
    return [row["status"] for row in response.json()["results"]]


@st.composite
def told(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events of one id each; some claim a time ahead of ours, some none."""
    events = []
    for number in range(draw(st.integers(1, 8))):
        minutes = draw(st.one_of(MINUTES, st.sampled_from([-5, None])))
        at = None if minutes is None else NOW - timedelta(minutes=minutes)
        events.append(
            {
                "id": f"e{number}",
                "type": "PRODUCT_VIEWED",
                "productId": "UHJvZHVjdDox",
                "occurredAt": at and at.isoformat(),
                "sessionId": draw(st.sampled_from(["s1", "s2", ""])),
            }
        )
    return events


@contextmanager
def undone() -> Iterator[None]:
    """Each example begins with the database as the test found it."""
    cache.clear()
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def facts() -> tuple[Any, ...]:
    """All that is known, without row numbers and times of arrival."""
    return (
        sorted(
            Event.objects.values_list(
                "event_id", "occurred_at", "month", "session_id", "product_saleor_id"
            )
        ),
        sorted(
            Session.objects.values_list("session_id", "started_at", "last_seen_at", "country_code")
        ),
        Profile.objects.count(),
    )


in_any_order = hypothesis_settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@in_any_order
@given(data=st.data(), events=told())
def test_b8_any_order_any_batches_any_repeats_give_the_same_facts(
    shop: Phones, data: st.DataObject, events: list[dict[str, Any]]
) -> None:
    with undone():
        statuses = send(shop, PEOPLE[0], events)
        assert statuses == ["ACCEPTED"] * len(events)
        expected = facts()
    with undone():
        found: Counter[str] = Counter()
        left = data.draw(st.permutations(events * data.draw(st.integers(1, 5))))
        while left:
            size = data.draw(st.integers(1, len(left)))
            batch, left = left[:size], left[size:]
            for event, status in zip(batch, send(shop, PEOPLE[0], batch), strict=True):
                found[f"{event['id']} {status}"] += 1
        assert facts() == expected
        # Each was accepted exactly once, and nothing was refused.
        assert {key: n for key, n in found.items() if "ACCEPTED" in key} == {
            f"{event['id']} ACCEPTED": 1 for event in events
        }
        assert not any("REJECTED" in key for key in found)


@in_any_order
@given(
    events=told(),
    deliveries=st.lists(st.tuples(st.sampled_from(PEOPLE), st.integers(0, 7)), max_size=20),
)
def test_b8_each_person_has_an_event_and_its_visit_once(
    shop: Phones, events: list[dict[str, Any]], deliveries: list[tuple[str, int]]
) -> None:
    """A model of the facts, kept beside them: the events of each person, span of each visit."""
    known: set[tuple[str, str]] = set()
    spans: dict[tuple[str, str], tuple[datetime, datetime]] = {}
    with undone():
        for person, number in deliveries:
            event = events[number % len(events)]
            (status,) = send(shop, person, [event])
            is_new = (event["id"], person) not in known
            assert status == ("ACCEPTED" if is_new else "DUPLICATE")
            if is_new:
                known.add((event["id"], person))
                claimed = event["occurredAt"]
                at = min(datetime.fromisoformat(claimed), NOW) if claimed else NOW
                if session := event["sessionId"]:
                    first, last = spans.get((person, session), (at, at))
                    spans[person, session] = min(first, at), max(last, at)
        stored = list(Event.objects.values_list("event_id", "profile__identities__value"))
        assert sorted(stored) == sorted(known)
        assert spans == {
            (person, session): (first, last)
            for person, session, first, last in Session.objects.values_list(
                "profile__identities__value", "session_id", "started_at", "last_seen_at"
            )
        }


# -- at the same moment ------------------------------------------------------------------------------


def together(*jobs: Any) -> list[list[str]]:
    """Run jobs in threads that start at once; return their answers."""
    start = threading.Barrier(len(jobs))
    answers: list[Any] = [None] * len(jobs)

    def run(number: int) -> None:
        try:
            start.wait(30)
            answers[number] = jobs[number]()
        except BaseException as error:
            answers[number] = error
        finally:
            connections["default"].close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        assert isinstance(answer, list), answer
    return answers


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_signed_in", [True, False])
@pytest.mark.parametrize("at", [NOW - timedelta(minutes=3), NOW - timedelta(days=3), None])
def test_b8_simultaneous_duplicates_are_accepted_once(
    shop: Phones, token_of: Callable[..., str], is_signed_in: bool, at: datetime | None
) -> None:
    """In opposite orders. `is_signed_in`: half of the batches carry the token, the others only the id."""
    events = [
        {
            "id": f"e{number:03}",
            "type": "PRODUCT_VIEWED",
            "productId": "UHJvZHVjdDox",
            "occurredAt": at and at.isoformat(),
        }
        for number in range(200)
    ]

    def job(number: int) -> Any:
        batch = events if number % 2 else events[::-1]
        token = token_of(ALICE) if is_signed_in and number < 2 else None
        return lambda: (lambda found: found if number % 2 else found[::-1])(
            send(shop, PEOPLE[0], batch, session="s1", token=token)
        )

    for _ in range(3):
        answers = together(*(job(number) for number in range(4)))
        for number in range(len(events)):
            found = Counter(answer[number] for answer in answers)
            assert found == {"ACCEPTED": 1, "DUPLICATE": 3}, events[number]
        assert Event.objects.count() == len(events)
        owners = set(Event.objects.values_list("profile", "session_id"))
        assert set(Session.objects.values_list("profile", "session_id")) == owners
        Event.objects.all().delete()
        Session.objects.all().delete()


@pytest.mark.django_db(transaction=True)
def test_many_visitors_at_once_wait_for_nobody_elses_fault(shop: Phones) -> None:
    """One batch with bad rows beside good ones: every answer is its own."""

    def job(number: int) -> Any:
        good = {"id": f"g{number}", "type": "SEARCHED", "query": "lamp"}
        return lambda: send(shop, f"browser-{number}-0123456789", [good, {"id": "bad"}])

    assert together(*(job(number) for number in range(6))) == [["ACCEPTED", "REJECTED"]] * 6
    assert Event.objects.count() == Profile.objects.count() == 6
