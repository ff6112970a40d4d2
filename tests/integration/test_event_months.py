"""Events by month: nothing is lost on the way into its month, and old months go as whole tables."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection, connections

from saleor_personalize.enums import EventSource, EventType, IdentityKind
from saleor_personalize.events import partitions, timeline, tracking
from saleor_personalize.models import Event, Installation, Profile, Session
from saleor_personalize.tasks.events import maintain_events
from tests.conftest import make_installation, make_profile

pytestmark = pytest.mark.django_db(transaction=True)

#: Long before the months that the migration made.
THEN = datetime(2021, 3, 15, 12, 0, tzinfo=UTC)


def months() -> list[date]:
    return [row.month for row in partitions.partitions() if row.month.year < 2025]


def execute(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


@pytest.fixture(autouse=True)
def _own_months() -> Iterator[None]:
    """The months of the database are not rolled back with the rows."""
    yield
    for row in partitions.partitions():
        if row.month.year < 2025:
            execute(f"DROP TABLE {row.name}")


@pytest.fixture
def shop() -> Installation:
    return make_installation()


@pytest.fixture
def person(shop: Installation) -> Profile:
    return make_profile(shop, anonymous_id="0123456789abcdef")


def record(person: Profile, event_id: str, at: datetime) -> Event:
    return Event.objects.create(
        installation=person.installation,
        profile=person,
        event_id=event_id,
        type=EventType.PRODUCT_VIEWED,
        occurred_at=at,
        received_at=at,
        source=EventSource.STOREFRONT,
    )


def table_of(event_id: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM saleor_personalize_event WHERE event_id = %s",
            [event_id],
        )
        ((name,),) = cursor.fetchall()
    return str(name)


def keep(settings: Any, retention: timedelta | None) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "EVENT_RETENTION": retention}


def test_the_migration_made_the_months_around_the_day_it_ran() -> None:
    made = [row.month for row in partitions.partitions()]
    assert len(made) == 5
    assert [partitions._next(month) for month in made[:-1]] == made[1:]


def test_an_event_whose_month_does_not_exist_is_not_lost(person: Profile) -> None:
    record(person, "a", THEN)
    assert table_of("a") == "saleor_personalize_event_default"
    assert partitions.waiting_rows() == 1
    assert [event.event_id for event in Event.objects.all()] == ["a"]


def test_months_are_made_ahead_and_waiting_events_move_into_theirs(
    person: Profile, settings: Any
) -> None:
    keep(settings, None)
    first = record(person, "a", THEN)
    record(person, "b", datetime(2021, 1, 31, 23, 59, 59, tzinfo=UTC))
    before = list(Event.objects.order_by("pk").values())
    done = partitions.maintain(now=THEN)
    expected = tuple(date(2021, month, 1) for month in (1, 3, 4, 5, 6))
    assert (done.created, done.dropped, done.is_complete) == (expected, (), True)
    assert months() == list(expected)
    assert partitions.waiting_rows() == 0
    assert table_of("a") == "saleor_personalize_event_2021_03"
    assert table_of("b") == "saleor_personalize_event_2021_01"
    assert list(Event.objects.order_by("pk").values()) == before
    # New ones go to their month, and find those that moved.
    assert record(person, "c", THEN).pk > first.pk
    assert table_of("c") == "saleor_personalize_event_2021_03"
    again = partitions.maintain(now=THEN)
    assert (again.created, again.dropped) == ((), ())


def test_late_events_have_their_month_too(settings: Any) -> None:
    """On the first days of a month events of the month before may still come."""
    keep(settings, None)
    done = partitions.maintain(now=datetime(2021, 12, 3, tzinfo=UTC))
    assert done.created == (
        date(2021, 11, 1), date(2021, 12, 1), date(2022, 1, 1), date(2022, 2, 1), date(2022, 3, 1),
    )  # fmt: skip


def test_a_month_made_later_has_the_keys_of_all(person: Profile, settings: Any) -> None:
    keep(settings, None)
    partitions.maintain(now=THEN)
    kinds = execute(
        "SELECT contype FROM pg_constraint "
        "WHERE conrelid = 'saleor_personalize_event_2021_03'::regclass ORDER BY contype"
    )
    # The bounds, two foreign keys, the primary key and `event_once` (and NOT NULLs, from PostgreSQL 18).
    assert [kind for (kind,) in kinds if kind != "n"] == ["c", "f", "f", "p", "u"]
    ((count,),) = execute(
        "SELECT count(*) FROM pg_index "
        "WHERE indrelid = 'saleor_personalize_event_2021_03'::regclass AND indisvalid"
    )
    assert count == 7


def test_b8_an_event_is_known_in_a_month_that_was_made_after_it(
    person: Profile, settings: Any
) -> None:
    keep(settings, None)

    def send() -> str:
        (result,) = tracking.track(
            installation=person.installation,
            shown={IdentityKind.ANONYMOUS_ID: "0123456789abcdef"},
            rows=[
                tracking.Row("a", EventType.PRODUCT_VIEWED, occurred_at=THEN, product_id="UHJvZA==")
            ],
            source=EventSource.STOREFRONT,
            now=THEN,
        )
        return result.status.value

    assert send() == "accepted"
    partitions.maintain(now=THEN)
    assert send() == "duplicate"
    assert Event.objects.count() == 1


# -- retention ---------------------------------------------------------------------------------------


def test_months_past_retention_are_dropped_and_no_other(person: Profile, settings: Any) -> None:
    keep(settings, None)
    for month in (1, 2, 3):
        record(person, f"in-{month}", datetime(2021, month, 28, tzinfo=UTC))
    partitions.maintain(now=THEN)
    keep(settings, timedelta(days=395))
    # 395 days before 3 March lies 1 February, before 31 March 1 March.
    for now, kept in (
        (datetime(2022, 2, 28, tzinfo=UTC), ["in-1", "in-2", "in-3"]),
        (datetime(2022, 3, 2, 23, 59, 59, tzinfo=UTC), ["in-1", "in-2", "in-3"]),
        (datetime(2022, 3, 3, tzinfo=UTC), ["in-2", "in-3"]),
        (datetime(2022, 3, 30, 23, 59, 59, tzinfo=UTC), ["in-2", "in-3"]),
        (datetime(2022, 3, 31, tzinfo=UTC), ["in-3"]),
    ):
        done = partitions.maintain(now=now)
        assert done.is_complete
        assert sorted(Event.objects.values_list("event_id", flat=True)) == kept, now
    assert date(2021, 3, 1) in months()


def test_waiting_events_past_retention_go_too(person: Profile, settings: Any) -> None:
    keep(settings, timedelta(days=30))
    record(person, "old", THEN - timedelta(days=90))
    record(person, "new", THEN - timedelta(days=10))
    done = partitions.maintain(now=THEN)
    assert [event.event_id for event in Event.objects.all()] == ["new"]
    assert date(2020, 12, 1) not in done.created


def test_without_retention_nothing_is_dropped(person: Profile, settings: Any) -> None:
    keep(settings, None)
    record(person, "a", THEN)
    assert partitions.maintain(now=THEN).dropped == ()
    assert partitions.maintain(now=THEN + timedelta(days=1_000)).dropped == ()
    assert Event.objects.count() == 1


def test_visits_go_with_their_events(person: Profile, settings: Any) -> None:
    keep(settings, timedelta(days=30))
    for session_id, age in (("old", timedelta(days=30, seconds=1)), ("new", timedelta(days=30))):
        Session.objects.create(
            installation=person.installation,
            profile=person,
            session_id=session_id,
            started_at=THEN - age,
            last_seen_at=THEN - age,
        )
    told = {"time_zone": "Asia/Tokyo", "time_zone_told_at": THEN - timedelta(days=30)}
    Profile.objects.filter(pk=person.pk).update(**told)
    assert partitions.maintain(now=THEN).sessions == 1
    assert [session.session_id for session in Session.objects.all()] == ["new"]
    assert Profile.objects.filter(pk=person.pk, **told).exists()
    partitions.maintain(now=THEN + timedelta(seconds=1))
    person.refresh_from_db()
    assert (person.time_zone, person.time_zone_told_at) == ("", None)
    assert not Session.objects.exists()


# -- beside others -----------------------------------------------------------------------------------


def test_a_busy_table_is_left_for_the_next_run(person: Profile, settings: Any) -> None:
    """Somebody reads all events for long: nobody may queue up behind us meanwhile."""
    keep(settings, None)
    record(person, "a", THEN)
    reading, done_reading = threading.Event(), threading.Event()

    def read() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT count(*) FROM saleor_personalize_event")
            reading.set()
            done_reading.wait(30)
            cursor.execute("ROLLBACK")
        connections["default"].close()

    reader = threading.Thread(target=read)
    reader.start()
    reading.wait(30)
    try:
        done = partitions.maintain(now=THEN)
        assert (done.created, done.is_complete) == ((), False)
        assert table_of("a") == "saleor_personalize_event_default"
        with time_machine.travel(THEN, tick=False), pytest.raises(CommandError, match="busy"):
            call_command("personalize_events", stdout=StringIO())
    finally:
        done_reading.set()
        reader.join()
    assert partitions.maintain(now=THEN).is_complete
    assert table_of("a") == "saleor_personalize_event_2021_03"


def test_two_workers_may_maintain_at_once(person: Profile, settings: Any) -> None:
    keep(settings, None)
    record(person, "a", THEN)
    start = threading.Barrier(4)
    faults: list[Exception] = []

    def run() -> None:
        try:
            start.wait(30)
            partitions.maintain(now=THEN)
        except Exception as error:
            faults.append(error)
        finally:
            connections["default"].close()

    workers = [threading.Thread(target=run) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert faults == []
    assert partitions.maintain(now=THEN).is_complete
    assert table_of("a") == "saleor_personalize_event_2021_03"
    assert Event.objects.count() == 1


# -- doors -------------------------------------------------------------------------------------------


def test_the_task_and_the_command_do_the_same(person: Profile, settings: Any) -> None:
    keep(settings, timedelta(days=30))
    record(person, "a", THEN)
    with time_machine.travel(THEN, tick=False):
        # The months that the migration made lie in the future and stay.
        assert maintain_events() == 4
        out = StringIO()
        call_command("personalize_events", "--json", stdout=out)
    shown = json.loads(out.getvalue())
    assert shown["waiting"] == 0
    assert (shown["created"], shown["dropped"]) == ([], [])
    assert [row["month"] for row in shown["months"]][:4] == [
        "2021-03", "2021-04", "2021-05", "2021-06",
    ]  # fmt: skip


def test_the_command_shows_without_changing(person: Profile) -> None:
    record(person, "a", THEN)
    out = StringIO()
    with time_machine.travel(THEN, tick=False):
        call_command("personalize_events", "--show", stdout=out)
    assert "1 events wait for their month to be made." in out.getvalue()
    assert months() == []


# -- reading -----------------------------------------------------------------------------------------


def test_b8_the_timeline_runs_through_all_months_and_both_halves_of_a_person(
    shop: Installation, person: Profile, settings: Any
) -> None:
    keep(settings, None)
    other = make_profile(shop, saleor_user="VXNlcjox")
    stranger = make_profile(shop, anonymous_id="stranger-0123456789")
    Profile.objects.filter(pk=person.pk).update(merged_into=other)
    person.refresh_from_db()
    at = [datetime(2021, month, 1, tzinfo=UTC) for month in (1, 2, 3, 3, 4)]
    for number, moment in enumerate(at):
        record(person if number % 2 else other, f"e{number}", moment)
        record(stranger, f"s{number}", moment)
    partitions.maintain(now=THEN)
    for half in (person, other):
        pages: list[str] = []
        last: Event | None = None
        while page := timeline.events_of(half, first=2, before=last):
            pages += [event.event_id for event in page]
            last = page[-1]
        assert pages == ["e4", "e3", "e2", "e1", "e0"]
