"""B111: journeys run on a simulated clock, by the real scheduler, and say who got what and why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core import mail

from saleor_personalize.models import Enrollment, Event, Installation, Message, Profile
from saleor_personalize.testing import simulate
from saleor_personalize.testing.simulation import outcome
from saleor_personalize.testing.simulation.running import SimulationRefused
from saleor_personalize.testing.simulation.stories import InvalidStories

pytestmark = pytest.mark.django_db

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
FIRST, SECOND = "abandoned_checkout/first", "abandoned_checkout/second"


def stories(start: str, people: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"start": start, "days": 5, "people": people, **more}


def added(at: str, product: str = "teapot") -> dict[str, Any]:
    return {"at": at, "does": "added", "product": product}


def test_b111_the_night_in_which_clocks_go_back_has_one_hour_more() -> None:
    """23 hours after 00:30 it is 22:30: between them lies an hour that comes twice."""
    anna = {
        "time_zone": BERLIN,
        "story": [added("2026-10-24 23:30")],
        "expect": [
            {"message": FIRST, "at": "2026-10-25 00:30"},
            {"message": SECOND, "at": "2026-10-25 22:30"},
        ],
    }
    found = simulate("abandoned_checkout", people=stories("2026-10-24", {"anna": anna}))
    found.check()
    assert [each.at for each in found.of("anna")] == [
        datetime(2026, 10, 24, 22, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 21, 30, tzinfo=UTC),
    ]
    assert found.local("anna", found.of("anna")[1].at) == "day 2 22:30 (Sun 2026-10-25 CET)"


def test_b111_quiet_hours_end_by_the_clock_also_in_the_night_in_which_clocks_go_forward() -> None:
    anna = {
        "time_zone": BERLIN,
        "story": [added("day 1 20:30")],
        "expect": [
            {"message": FIRST, "at": "day 2 08:00"},
            {"message": SECOND, "at": "day 3 08:00"},
        ],
    }
    told = stories(
        "2026-03-28", {"anna": anna}, settings={"quiet_hours": {"email": ["21:00", "08:00"]}}
    )
    found = simulate("abandoned_checkout", people=told)
    found.check()
    assert found.of("anna")[0].at == datetime(2026, 3, 29, 6, 0, tzinfo=UTC)
    held = found.held[0]
    assert (held.journey, held.reason) == ("abandoned_checkout", "quiet_hours")
    assert held.at == datetime(2026, 3, 28, 20, 30, tzinfo=UTC)
    assert held.until == datetime(2026, 3, 29, 6, 0, tzinfo=UTC)


def test_b111_quiet_hours_are_those_of_new_york_where_the_person_is() -> None:
    people = {
        "nora": {
            "time_zone": NEW_YORK,
            "story": [added("day 1 20:30")],
            "expect": [{"message": FIRST, "at": "day 2 08:00"}],
        },
        "bert": {
            # The same moment: the middle of the night for Nora is the early morning in Berlin.
            "time_zone": BERLIN,
            "story": [added("day 2 07:30")],
            "expect": [{"message": FIRST, "at": "day 2 08:30"}],
        },
    }
    told = stories(
        "2026-06-01",
        people,
        days=2,
        settings={"quiet_hours": {"email": ["21:00", "08:00"]}},
    )
    found = simulate("abandoned_checkout", people=told)
    found.check()
    assert found.of("nora")[0].at == datetime(2026, 6, 2, 12, 0, tzinfo=UTC)


def test_b90_b111_nobody_is_held_out_unless_the_stories_ask_for_it(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "HOLDOUT_PERCENT": 50,
        "JOURNEY_HOLDOUT_PERCENT": 50,
    }
    people = {f"person{n}": {"story": [added("day 1 10:00")]} for n in range(30)}
    everybody = simulate("abandoned_checkout", people=stories("2026-06-01", people, days=1))
    assert {one.reason for one in everybody.decisions} == {""}
    asked = stories("2026-06-01", people, days=1, settings={"holdout_percent": 50})
    some = simulate("abandoned_checkout", people=asked)
    assert {one.reason for one in some.decisions} == {"", "holdout"}
    wrong = stories("2026-06-01", people, days=1, settings={"holdout_percent": 51})
    with pytest.raises(InvalidStories, match=r"settings\.holdout_percent"):
        simulate("abandoned_checkout", people=wrong)


AT_BEST = """
journey: abandoned_checkout
topic: reminders
trigger: {type: abandoned_checkout}
steps:
  - message: {id: first, template: abandoned_checkout, send_at: best}
"""


def test_b78_b111_a_message_waits_for_the_hour_of_its_people_and_never_for_one_at_night() -> None:
    """Most people react at 19:00 where they are. Eve was there at five in the morning, again and again: at night."""
    visits = [
        {"at": f"day -{day} 05:10", "does": "viewed", "product": "cup"} for day in range(1, 10)
    ]
    people = {
        "anna": {"time_zone": BERLIN, "story": [added("day 1 10:00")]},
        "nora": {"time_zone": NEW_YORK, "story": [added("day 1 10:00")]},
        "eve": {"time_zone": BERLIN, "story": [*visits, added("day 1 10:00")]},
        # Too late in the evening: the next day is not too late for a cart.
        "late": {"time_zone": BERLIN, "story": [added("day 1 19:30")]},
        "buyer": {
            "time_zone": BERLIN,
            "story": [added("day 1 10:00"), {"at": "day 1 15:00", "does": "ordered"}],
        },
    }
    told = stories(
        "2026-03-27",
        people,
        shop={"time_zone": BERLIN, "reacts_at": 19},
        settings={"quiet_hours": {"email": ["21:00", "08:00"]}},
    )
    found = simulate(AT_BEST, people=told)

    def hour(key: str, zone: str = BERLIN) -> tuple[int, int]:
        (one,) = found.of(key)
        local = one.at.astimezone(ZoneInfo(zone))
        return local.day, local.hour

    assert hour("anna") == (27, 19)
    assert hour("nora", NEW_YORK) == (27, 19)
    assert 8 <= hour("eve")[1] < 21
    # An hour of its own in the night in which clocks go forward.
    assert hour("late") == (28, 19)
    (kept_back,) = found.of("buyer")
    assert (kept_back.reason, found.of("anna")[0].reason) == ("ordered", "")


def test_b111_who_orders_in_the_middle_gets_the_rest_no_more() -> None:
    people = {
        "ann": {
            "story": [added("day 1 10:00"), {"at": "day 1 18:00", "does": "ordered"}],
            "expect": [
                {"message": FIRST, "at": "day 1 11:00"},
                {"not_sent": SECOND, "reason": "ordered", "at": "day 1 18:00"},
            ],
        },
        "ben": {
            # Saleor knows of the order; its webhook comes three hours later.
            "story": [
                added("day 1 10:00"),
                {"at": "day 1 10:30", "does": "ordered", "told_after": "3 hours"},
            ],
            "expect": [{"not_sent": FIRST, "reason": "ordered", "at": "day 1 11:00"}],
        },
        "cat": {
            "consent": "none",
            "story": [added("day 1 10:00")],
            "expect": [{"not_sent": FIRST, "reason": "no_consent"}],
        },
        "dan": {"expect": []},
    }
    found = simulate("abandoned_checkout", people=stories("2026-06-01", people))
    found.check()
    assert found.sent("ann") == [FIRST]
    assert found.not_sent("ben") == [(FIRST, "ordered")]
    (row,) = found.journeys
    assert (row.entered, row.reached, row.waiting) == (3, 1, 0)
    assert row.steps == {
        "first": (1, {"ordered": 1, "no_consent": 1}),
        "second": (0, {"ordered": 1}),
    }


def test_b111_of_two_journeys_the_more_important_one_goes_first() -> None:
    """A birthday is wished at 9 where the person is; a cart is due ten minutes later, and goes before."""
    cleo = {
        "time_zone": NEW_YORK,
        "birthday": "1990-06-02",
        "story": [added("day 2 08:10")],
        "expect": [
            {"message": FIRST, "at": "day 2 09:10"},
            {"message": "birthday/wishes", "at": "day 2 10:10"},
            # Due at 08:10, when two have gone within a day: it waits until one of them is a day old.
            {"message": SECOND, "at": "day 3 09:10"},
        ],
    }
    found = simulate(
        ["abandoned_checkout", "birthday"], people=stories("2026-06-01", {"cleo": cleo})
    )
    found.check()
    told = {(each.journey, each.reason) for each in found.held}
    assert told == {("birthday", "outranked"), ("abandoned_checkout", "frequency_cap")}


@pytest.mark.parametrize(
    ("zone", "at"),
    [
        (NEW_YORK, datetime(2026, 6, 2, 13, 0, tzinfo=UTC)),
        ("Asia/Tokyo", datetime(2026, 6, 2, 0, 0, tzinfo=UTC)),
        # 03:15 in UTC: looked for every ten minutes, so found at 03:20.
        ("Asia/Kathmandu", datetime(2026, 6, 2, 3, 20, tzinfo=UTC)),
    ],
)
def test_b111_what_time_alone_brings_is_found_on_the_next_look(zone: str, at: datetime) -> None:
    cleo = {"time_zone": zone, "birthday": "06-02"}
    found = simulate("birthday", people=stories("2026-06-01", {"cleo": cleo}))
    assert [(each.name, each.at, each.offer) for each in found.of("cleo")] == [
        ("birthday/wishes", at, "10 %")
    ]


def test_b111_the_incentive_guard_and_the_waves_of_stock_are_the_real_ones() -> None:
    people = {
        # Paid full price a week ago: wishes without a code.
        "ann": {
            "birthday": "06-02",
            "story": [{"at": "day -7 10:00", "does": "ordered", "products": ["cup"]}],
        },
        "ben": {"story": [{"at": "day 1 10:00", "does": "waited_for", "product": "kettle"}]},
        "eva": {"story": [{"at": "day 1 11:00", "does": "waited_for", "product": "kettle"}]},
        "fay": {"story": [{"at": "day 1 12:00", "does": "waited_for", "product": "kettle"}]},
    }
    told = stories(
        "2026-06-01",
        people,
        days=3,
        shop={"products": {"kettle": {"price": 89, "pieces": 0}, "cup": {"price": "12.50"}}},
        # One piece is back, and two people are told (STOCK_ALERT_FACTOR), who waited longest.
        story=[{"at": "day 2 08:00", "does": "stocked", "product": "kettle", "pieces": 1}],
    )
    found = simulate(["birthday", "back_in_stock"], people=told)
    assert [(each.name, each.offer) for each in found.of("ann")] == [("birthday/wishes", "")]
    assert found.of("ben")[0].at == datetime(2026, 6, 2, 8, 5, tzinfo=UTC)
    assert [found.sent(who) for who in ("ben", "eva")] == [["back_in_stock/back"]] * 2


def test_b111_the_same_seed_tells_the_same_stories() -> None:
    first, again, other = (
        simulate("abandoned_checkout", days=4, start=date(2026, 6, 1), seed=seed, count=6).to_json()
        for seed in (7, 7, 8)
    )
    assert first == again != other
    assert len(first["people"]) == 6
    assert sum(len(each["decisions"]) for each in first["people"].values()) > 1


def test_b111_nothing_is_left_behind_and_nothing_is_sent() -> None:
    people = {"ann": {"story": [added("day 1 10:00")]}}
    found = simulate("abandoned_checkout", people=stories("2026-06-01", people))
    assert found.sent("ann") == [FIRST, SECOND]
    assert mail.outbox == []
    for model in (Installation, Profile, Event, Enrollment, Message):
        assert not model.objects.exists(), model


def test_b111_a_database_with_a_shop_is_refused(installation: Installation) -> None:
    with pytest.raises(SimulationRefused, match="This database holds a shop"):
        simulate("abandoned_checkout", count=3, days=2)
    assert Installation.objects.get() == installation
    assert not Profile.objects.exists()


def test_b111_what_is_wrong_is_told_at_once_with_its_path() -> None:
    bad = """
start: 2026-10-19
shop: {time_zone: Europe/Berlim}
people:
  anna:
    consent: yes
    story:
      - {at: day 1 10:00, does: add, product: teapot}
      - {at: day 1 25:00, does: added, product: teapott}
    expect:
      - {message: abandoned_checkout/frist}
      - {not_sent: abandoned_checkout/first, reason: orderd}
"""
    with pytest.raises(InvalidStories) as told:
        simulate("abandoned_checkout", people=bad)
    assert str(told.value).splitlines() == [
        "shop.time_zone: 'Europe/Berlim' is no time zone such as Europe/Berlin.",
        "people.anna.consent: True one of granted, denied, pending, none is needed.",
        "people.anna.story[0].does: 'add' is not known here. Did you mean 'added'?",
        "people.anna.story[1].product: 'teapott' there is no such product in the shop. "
        "Did you mean 'teapot'?",
        "people.anna.story[1].at: 'day 1 25:00' is no moment; write “day 3 18:30”, "
        "“2026-10-25 18:30” or one with +02:00.",
        "people.anna.expect[0].message: 'abandoned_checkout/frist' there is no such message in "
        "these journeys. Did you mean 'abandoned_checkout/first'?",
        "people.anna.expect[1].reason: 'orderd' there is no such reason. Did you mean 'ordered'?",
    ]
    assert not Installation.objects.exists()


def test_b111_a_story_that_cannot_be_played_is_told_with_its_path() -> None:
    people = {"ann": {"story": [{"at": "day 1 10:00", "does": "ordered"}]}}
    with pytest.raises(Exception, match=r"people\.ann\.story\[0\]: ann has nothing in the cart"):
        simulate("abandoned_checkout", people=stories("2026-06-01", people))
    assert not Installation.objects.exists()


EXAMPLE = Path(__file__).parents[2] / "examples" / "journeys"
HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "simulate-journeys.md"


def test_b111_the_example_of_the_documentation_does_what_it_says(settings: Any) -> None:
    # As from a terminal, where nothing is set.
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "DEFAULT_SENDER": None}
    found = simulate(EXAMPLE / "gentle_reminder.yaml", people=EXAMPLE / "stories.yaml")
    found.check()
    text = HOWTO.read_text()
    for file in ("gentle_reminder.yaml", "stories.yaml", "test_journeys.py"):
        assert (EXAMPLE / file).read_text() in text, file
    # What the page shows of the outcome is what comes.
    shown = text.split("```text\n")[1].split("```")[0]
    assert "\n".join(outcome.lines(found)).strip() == shown.strip()


def test_b111_what_is_waited_for_is_seen_when_it_happens() -> None:
    journey = """
journey: asked
topic: reminders
trigger: {type: abandoned_checkout, after: 1 hour}
goals: []
steps:
  - wait_for:
      event: "custom:gift"
      for: 2 days
      then:
        - message: {id: gift, template: abandoned_checkout}
      otherwise:
        - message: {id: plain, template: abandoned_checkout}
"""
    people = {
        "ann": {
            "story": [added("day 1 10:00"), {"at": "day 1 15:30", "does": "did", "name": "gift"}],
            "expect": [{"message": "asked/gift", "at": "day 1 15:30"}],
        },
        "ben": {
            "story": [added("day 1 10:00")],
            "expect": [{"message": "asked/plain", "at": "day 3 11:00"}],
        },
    }
    simulate(journey, people=stories("2026-06-01", people)).check()


# -- from a terminal ---------------------------------------------------------------------------------


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shop does in CI: with no settings, and no database."""
    gone = {"DATABASE_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, "-m", "saleor_personalize.project", "simulate", *words],
        env={name: value for name, value in os.environ.items() if name not in gone},
        capture_output=True,
        text=True,
        check=False,
    )


STORY = """
start: 2026-10-24
days: 3
people:
  anna:
    time_zone: Europe/Berlin
    story:
      - {at: day 1 23:30, does: added, product: teapot}
    expect:
      - {message: abandoned_checkout/first, at: day 2 00:30}
      - {message: abandoned_checkout/second, at: day 2 23:30}
"""


def test_b111_an_expectation_that_fails_ends_with_1_and_the_difference(tmp_path: Path) -> None:
    file = tmp_path / "stories.yaml"
    file.write_text(STORY)
    done = run("abandoned_checkout", "--people", str(file), "--json")
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip().splitlines() == [
        "Not as expected:",
        "",
        "anna (Europe/Berlin): 2 expected, 2 came  (- expected, + came)",
        "    message abandoned_checkout/first, day 2 00:30 (Sun 2026-10-25 CEST)",
        "  - message abandoned_checkout/second, day 2 23:30 (Sun 2026-10-25 CET)"
        "   # people.anna.expect[1]",
        "  + message abandoned_checkout/second, day 2 22:30 (Sun 2026-10-25 CET)",
    ]
    told = json.loads(done.stdout)
    assert [each["local"] for each in told["people"]["anna"]["decisions"]] == [
        "2026-10-25T00:30:00+02:00",
        "2026-10-25T22:30:00+01:00",
    ]


def test_b111_a_broken_file_is_told_with_its_path_and_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "stories.yaml"
    file.write_text(STORY.replace("does: added", "dose: added"))
    done = run("abandoned_checkout", "--people", str(file))
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"{file}:\npeople.anna.story[0].does: is missing." in done.stderr
