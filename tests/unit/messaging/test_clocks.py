"""B62: quiet hours on the clock of the wall, also in the nights in which it changes."""

from datetime import UTC, datetime, time, tzinfo
from zoneinfo import ZoneInfo

import pytest

from saleor_personalize.messaging import clocks
from saleor_personalize.models import Profile

BERLIN = ZoneInfo("Europe/Berlin")
KOLKATA = ZoneInfo("Asia/Kolkata")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "zone", "until"),
    [
        ("2026-01-10T19:59", BERLIN, None),
        ("2026-01-10T20:00", BERLIN, "2026-01-11T07:00"),
        ("2026-01-11T06:59", BERLIN, "2026-01-11T07:00"),
        ("2026-01-11T07:00", BERLIN, None),
        ("2026-01-10T16:00", KOLKATA, "2026-01-11T02:30"),
        # In the night to 29 March an hour is left out, in that to 25 October one comes twice.
        ("2026-03-28T20:30", BERLIN, "2026-03-29T06:00"),
        ("2026-10-24T19:30", BERLIN, "2026-10-25T07:00"),
    ],
)
def test_b62_a_night_over_midnight(now: str, zone: tzinfo, until: str | None) -> None:
    found = clocks.quiet_until(at(now), zone, time(21), time(8))
    assert found == (at(until) if until else None)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        # The end itself is left out: the first moment after it.
        ("2026-03-29T00:30", "2026-03-29T01:30"),
        # The end comes twice. What is quiet at first ends at the first, what is quiet again, at the second.
        ("2026-10-25T00:15", "2026-10-25T00:30"),
        ("2026-10-25T01:15", "2026-10-25T01:30"),
        ("2026-10-25T00:45", None),
    ],
)
def test_b62_an_end_in_the_hour_that_changes(now: str, until: str | None) -> None:
    found = clocks.quiet_until(at(now), BERLIN, time(1), time(2, 30))
    assert found == (at(until) if until else None)


def test_b62_a_quiet_time_within_a_day() -> None:
    assert clocks.quiet_until(at("2026-01-10T12:30"), UTC, time(12), time(14)) == at(
        "2026-01-10T14:00"
    )
    assert clocks.quiet_until(at("2026-01-10T14:00"), UTC, time(12), time(14)) is None
    assert clocks.quiet_until(at("2026-01-10T14:00"), UTC, time(12), time(12)) is None


def test_b62_whose_clock_it_is(db: None) -> None:
    named = Profile(traits={"time_zone": "Asia/Kolkata"}, country_code="DE")
    assert clocks.clock_of(named) == (KOLKATA, "trait")
    named.traits = {"time_zone": "Mars/Base"}
    assert clocks.clock_of(named) == (BERLIN, "country")
    assert clocks.clock_of(Profile(country_code="US")) == (clocks.shop_zone(), "shop")
    told = Profile(time_zone="Asia/Kolkata", country_code="DE")
    assert clocks.clock_of(told) == (KOLKATA, "device")
    told.traits = {"time_zone": "Europe/Berlin"}
    assert clocks.clock_of(told) == (BERLIN, "trait")
    assert clocks.zone_of(told) == BERLIN


@pytest.mark.parametrize(
    ("told", "clock"),
    [
        # Who speaks for the person first: what the shop says of any of them counts most.
        ([("", "Asia/Kolkata", 1, ""), ("Europe/Berlin", "", 0, "")], (BERLIN, "trait")),
        ([("", "Asia/Kolkata", 1, ""), ("", "Europe/Berlin", 2, "")], (BERLIN, "device")),
        ([("", "Asia/Kolkata", 3, ""), ("", "Europe/Berlin", 2, "")], (KOLKATA, "device")),
        ([("", "", 0, "DE"), ("", "Asia/Kolkata", 1, "")], (KOLKATA, "device")),
        ([("", "", 0, "US"), ("Mars/Base", "", 0, "IN"), ("", "", 0, "DE")], (KOLKATA, "country")),
        ([("", "", 0, "US"), ("", "Mars/Base", 1, "")], None),
    ],
)
def test_b77_all_that_is_known_of_a_person_tells_their_clock(
    told: list[tuple[str, str, int, str]], clock: tuple[tzinfo, str] | None
) -> None:
    members = [
        clocks.Told(
            {"time_zone": named} if named else {},
            device,
            at(f"2026-01-0{day}T12:00") if day else None,
            country,
        )
        for named, device, day, country in told
    ]
    assert clocks.clock_told(members) == clock


@pytest.mark.parametrize("text", ["", "21", "25:00", "9:99", "x:y"])
def test_b62_what_is_no_time_of_day(text: str) -> None:
    with pytest.raises(ValueError, match=r"time of day|must be in"):
        clocks.clock_time(text)
