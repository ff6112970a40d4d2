"""B58: occasions by country, birthdays and anniversaries, on the morning where the person is."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core import mail

from saleor_personalize.enums import ConsentState
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.definitions import InvalidJourney
from saleor_personalize.journeys.occasions import OCCASIONS, date_of, easter
from saleor_personalize.journeys.triggers.people import days_around, morning
from saleor_personalize.messaging import clocks
from saleor_personalize.models import Consent, Enrollment, Installation, Profile
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.people import DAY, HOUR, Shop
from tests.payloads import one

# Known dates: calendars of the countries' own authorities and, for Easter, of the churches.
EASTER = {2024: (3, 31), 2025: (4, 20), 2026: (4, 5), 2027: (3, 28), 2028: (4, 16)}
KNOWN = {
    ("mothers_day", "US"): [(5, 12), (5, 11), (5, 10), (5, 9), (5, 14)],
    ("mothers_day", "DE"): [(5, 12), (5, 11), (5, 10), (5, 9), (5, 14)],
    ("mothers_day", "GB"): [(3, 10), (3, 30), (3, 15), (3, 7), (3, 26)],
    ("mothers_day", "FR"): [(5, 26), (5, 25), (5, 31), (5, 30), (5, 28)],
    ("mothers_day", "ES"): [(5, 5), (5, 4), (5, 3), (5, 2), (5, 7)],
    ("mothers_day", "SE"): [(5, 26), (5, 25), (5, 31), (5, 30), (5, 28)],
    ("mothers_day", "NO"): [(2, 11), (2, 9), (2, 8), (2, 14), (2, 13)],
    ("mothers_day", "PL"): [(5, 26)] * 5,
    ("mothers_day", "LU"): [(6, 9), (6, 8), (6, 14), (6, 13), (6, 11)],
    ("mothers_day", "AR"): [(10, 20), (10, 19), (10, 18), (10, 17), (10, 15)],
    ("mothers_day", "MX"): [(5, 10)] * 5,
    ("fathers_day", "US"): [(6, 16), (6, 15), (6, 21), (6, 20), (6, 18)],
    ("fathers_day", "DE"): [(5, 9), (5, 29), (5, 14), (5, 6), (5, 25)],
    ("fathers_day", "AT"): [(6, 9), (6, 8), (6, 14), (6, 13), (6, 11)],
    ("fathers_day", "CH"): [(6, 2), (6, 1), (6, 7), (6, 6), (6, 4)],
    ("fathers_day", "IT"): [(3, 19)] * 5,
    ("fathers_day", "PL"): [(6, 23)] * 5,
    ("fathers_day", "SE"): [(11, 10), (11, 9), (11, 8), (11, 14), (11, 12)],
    ("fathers_day", "AU"): [(9, 1), (9, 7), (9, 6), (9, 5), (9, 3)],
    ("fathers_day", "BR"): [(8, 11), (8, 10), (8, 9), (8, 8), (8, 13)],
    ("fathers_day", "LU"): [(10, 6), (10, 5), (10, 4), (10, 3), (10, 1)],
    ("valentines_day", "FR"): [(2, 14)] * 5,
    ("valentines_day", "BR"): [(6, 12)] * 5,
    ("thanksgiving", "US"): [(11, 28), (11, 27), (11, 26), (11, 25), (11, 23)],
    ("thanksgiving", "CA"): [(10, 14), (10, 13), (10, 12), (10, 11), (10, 9)],
    ("black_friday", "DE"): [(11, 29), (11, 28), (11, 27), (11, 26), (11, 24)],
    ("christmas", "PL"): [(12, 25)] * 5,
}


@pytest.fixture
def shop(installation: Installation, alice: Profile, settings: Any) -> Shop:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "OFFERS": False}
    Consent.objects.update(recorded_at=NOW - 90 * DAY)
    made = Shop(installation)
    made.product("LAMP")
    return made


def tick(shop: Shop, first: datetime, last: datetime, step: timedelta = HOUR) -> None:
    at = first
    while at <= last:
        shop.run(at)
        at += step


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def sent_at() -> list[str]:
    rows = Enrollment.objects.filter(messages__status="sent").order_by("pk")
    return [f"{row.messages.get().decided_at:%m-%d %H}" for row in rows]


# -- the calendar -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("occasion", "country"), KNOWN)
def test_b58_the_calendar_agrees_with_known_dates(occasion: str, country: str) -> None:
    found = [date_of(occasion, country, year) for year in range(2024, 2029)]
    expected = zip(range(2024, 2029), KNOWN[occasion, country], strict=True)
    assert found == [date(year, *day) for year, day in expected]


def test_b58_easter_is_where_the_churches_have_it() -> None:
    assert {year: easter(year) for year in EASTER} == {
        year: date(year, *day) for year, day in EASTER.items()
    }


def test_b58_a_country_that_we_are_not_sure_of_has_no_date() -> None:
    assert date_of("mothers_day", "XX", 2026) is None
    with pytest.raises(KeyError):
        date_of("nonsense", "DE", 2026)


@pytest.mark.parametrize(
    ("name", "country", "days"),
    [
        ("Labor Day", "US", [(9, 2), (9, 1), (9, 7), (9, 6), (9, 4)]),
        ("Easter Monday", "PL", [(4, 1), (4, 21), (4, 6), (3, 29), (4, 17)]),
        ("German Unity Day", "DE", [(10, 3)] * 5),
        ("Epiphany", "ES", [(1, 6)] * 5),
    ],
)
def test_b58_public_holidays_are_known_by_their_english_name(
    name: str, country: str, days: list[tuple[int, int]]
) -> None:
    expected = [date(year, *day) for year, day in zip(range(2024, 2029), days, strict=True)]
    assert [date_of(f"holiday:{name}", country, year) for year in range(2024, 2029)] == expected
    assert date_of(f"holiday:{name}", "XX", 2026) is None
    assert date_of("holiday:Nonsense", country, 2026) is None


def test_b58_every_country_is_a_code_and_every_rule_gives_a_day_of_the_year() -> None:
    for occasion, rules in OCCASIONS.items():
        for country in rules:
            assert len(country) == 2
            assert country.isupper()
            for year in range(2000, 2100):
                found = date_of(occasion, country, year)
                assert found is not None
                assert found.year == year


# -- occasions --------------------------------------------------------------------------------------


def test_b58_mothers_day_is_told_ten_days_before_on_the_morning_of_the_country(
    shop: Shop, alice: Profile
) -> None:
    """10 May 2026 in Germany, where it is 9 o'clock at 7 UTC."""
    Profile.objects.filter(pk=alice.pk).update(country_code="DE", language_code="DE")
    shop.go_live("mothers_day", at=at("2026-04-29"))
    tick(shop, at("2026-04-30T05:00"), at("2026-04-30T06:00"))
    assert mail.outbox == []
    tick(shop, at("2026-04-30T07:00"), at("2026-05-12"), DAY)
    assert shop.subjects() == ["Bald ist Muttertag"]
    assert "Muttertag ist am 10. Mai." in mail.outbox[0].body
    assert sent_at() == ["04-30 07"]


def test_b58_of_a_country_without_a_known_date_nobody_hears(shop: Shop, alice: Profile) -> None:
    Profile.objects.filter(pk=alice.pk).update(country_code="IS")
    shop.go_live("mothers_day", at=at("2026-01-01"))
    tick(shop, at("2026-04-25"), at("2026-05-20"), DAY)
    assert not Enrollment.objects.exists()


def test_b58_people_on_other_clocks_are_left_out_where_the_database_can_tell(
    shop: Shop, settings: Any
) -> None:
    def person(name: str, country: str = "", **traits: str) -> Profile:
        made = make_profile(shop.installation, email=f"{name}@example.com")
        Profile.objects.filter(pk=made.pk).update(country_code=country, traits=traits)
        return made

    japan, germany, other = person("hana", "JP"), person("gerd", "DE"), person("una", "US")
    unknown = person("nobody")
    traveller = person("tim", "DE", time_zone="Asia/Tokyo")
    joined = person("joined", "DE")
    Profile.objects.filter(pk=joined.pk).update(merged_into=japan)

    def there(name: str) -> set[int]:
        clock = clocks.where(lambda zone: zone == ZoneInfo(name))
        ours = Profile.objects.of(shop.installation).filter(pk__gte=japan.pk)
        return set(ours.filter(clock).values_list("pk", flat=True))

    # Who named a clock, and who is one with somebody else, may be anywhere.
    anybody = {traveller.pk, joined.pk, japan.pk}
    assert there("Asia/Tokyo") == {japan.pk} | anybody
    assert there("Europe/Berlin") == {germany.pk} | anybody
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "TIME_ZONE": "America/Chicago"}
    # The United States have many clocks: who lives there has the shop's, like who lives nowhere known.
    assert there("America/Chicago") == {other.pk, unknown.pk} | anybody


@pytest.mark.parametrize("zone", [None, "Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kathmandu"])
def test_b58_no_morning_on_earth_is_missed(zone: str | None) -> None:
    clock = UTC if zone is None else ZoneInfo(zone)
    step, found = timedelta(minutes=10), []
    for number in range(6 * 24 * 3):
        since = at("2027-12-31 00:00") + number * step
        days = list(days_around(since, since + step))
        found += [day for day in days if since < morning(day, clock) <= since + step]
    first = found[0]
    assert first in (date(2027, 12, 31), date(2028, 1, 1))
    assert found == [first, first + DAY, first + 2 * DAY]


def test_b58_once_a_year(shop: Shop, alice: Profile) -> None:
    Profile.objects.filter(pk=alice.pk).update(country_code="PL")
    shop.go_live("mothers_day", at=at("2026-05-15"))
    tick(shop, at("2026-05-15"), at("2026-05-20"), DAY)
    tick(shop, at("2027-05-15"), at("2027-05-20"), DAY)
    assert shop.subjects() == ["Mother's Day is near"] * 2


def test_b58_the_country_of_who_is_unknown_is_an_option(shop: Shop) -> None:
    shipped = journeys.built_in()["mothers_day"].to_json()
    text = json.dumps({**shipped, "trigger": {**shipped["trigger"], "country": "PL"}})
    journeys.load(installation=shop.installation, text=text, now=NOW)
    shop.go_live("mothers_day", at=at("2026-05-15"))
    tick(shop, at("2026-05-15"), at("2026-05-18"), 6 * HOUR)
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("trigger", "told"),
    [
        ({"occasion": "mothersday"}, "is no occasion"),
        ({"occasion": "thanksgiving", "countries": ["DE"]}, "in DE is not known"),
        ({"occasion": "holiday:Labor Day"}, "needs countries"),
        ({"occasion": "holiday:Labor Day", "countries": ["XX"]}, "in XX is not known"),
        (
            {"occasion": "holiday:Labour Dya", "countries": ["US"]},
            "US has no 'holiday:Labour Dya'",
        ),
    ],
)
def test_b58_an_occasion_that_there_is_not_is_refused(
    shop: Shop, trigger: dict[str, Any], told: str
) -> None:
    shipped = journeys.built_in()["mothers_day"].to_json()
    text = json.dumps({**shipped, "trigger": {"type": "occasion", **trigger}})
    with pytest.raises(InvalidJourney, match=told):
        journeys.load(installation=shop.installation, text=text, now=NOW)


def test_d2_b58_who_has_ordered_in_between_is_not_told(shop: Shop, alice: Profile) -> None:
    Profile.objects.filter(pk=alice.pk).update(country_code="DE")
    shop.go_live("mothers_day", at=at("2026-04-29"))
    journeys.enter_due(now=at("2026-04-30T07:00"))
    assert Enrollment.objects.count() == 1
    shop.order(at=at("2026-04-30T07:01"), user_id="")
    tick(shop, at("2026-04-30T07:05"), at("2026-05-02"), DAY)
    assert (mail.outbox, shop.reasons()) == ([], ["ordered"])


# -- birthdays --------------------------------------------------------------------------------------


def born(profile: Profile, day: Any, **more: Any) -> None:
    Profile.objects.filter(pk=profile.pk).update(traits={"birthday": day, **more})


@pytest.mark.parametrize("written", ["1990-05-17", "05-17", "--05-17"])
def test_b58_a_birthday_is_told_once_a_year_on_its_morning(
    shop: Shop, alice: Profile, written: str
) -> None:
    born(alice, written)
    shop.go_live("birthday", at=at("2026-05-10"))
    tick(shop, at("2026-05-17T07:00"), at("2026-05-17T11:00"))
    tick(shop, at("2026-05-18"), at("2026-05-20"), DAY)
    assert shop.subjects() == ["Happy birthday!"]
    assert sent_at() == ["05-17 09"]
    tick(shop, at("2027-05-17"), at("2027-05-18"), 6 * HOUR)
    assert len(mail.outbox) == 2


@pytest.mark.parametrize(
    ("zone", "hour"),
    [
        ("Asia/Tokyo", "05-17 00"),
        ("America/New_York", "05-17 13"),
        ("Pacific/Auckland", "05-16 21"),
    ],
)
def test_b58_the_morning_is_that_of_the_person(
    shop: Shop, alice: Profile, zone: str, hour: str
) -> None:
    born(alice, "1990-05-17", time_zone=zone)
    shop.go_live("birthday", at=at("2026-05-10"))
    morning = datetime.strptime(f"2026-{hour}", "%Y-%m-%d %H").replace(tzinfo=UTC)
    tick(shop, morning - 2 * HOUR, morning + HOUR)
    assert sent_at() == [hour]


@pytest.mark.parametrize(
    ("year", "leap_day", "hour"),
    [
        ("2027", "28_february", "02-28 09"),
        ("2027", "1_march", "03-01 09"),
        ("2028", "28_february", "02-29 09"),
        ("2028", "1_march", "02-29 09"),
    ],
)
def test_b58_who_was_born_on_a_leap_day_has_a_birthday_every_year(
    shop: Shop, alice: Profile, year: str, leap_day: str, hour: str
) -> None:
    shipped = journeys.built_in()["birthday"].to_json()
    text = json.dumps({**shipped, "trigger": {"type": "birthday", "leap_day": leap_day}})
    journeys.load(installation=shop.installation, text=text, now=NOW)
    born(alice, "2000-02-29")
    shop.go_live("birthday", at=at(f"{year}-02-20"))
    tick(shop, at(f"{year}-02-27T09:00"), at(f"{year}-03-02"), 12 * HOUR)
    assert sent_at() == [hour]


@pytest.mark.parametrize("written", ["17 May", "2005-17", 517, None, "1990-05-18"])
def test_b58_what_is_no_date_is_nobodys_birthday(shop: Shop, alice: Profile, written: Any) -> None:
    born(alice, written)
    shop.go_live("birthday", at=at("2026-05-10"))
    tick(shop, at("2026-05-17"), at("2026-05-18"), 6 * HOUR)
    assert not Enrollment.objects.exists()


def test_d2_b58_without_permission_nobody_is_wished_anything(shop: Shop, alice: Profile) -> None:
    born(alice, "1990-05-17")
    make_consent(alice, ConsentState.DENIED)
    shop.go_live("birthday", at=at("2026-05-10"))
    tick(shop, at("2026-05-17"), at("2026-05-18"), 6 * HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["no_consent"])


def test_b58_a_birthday_greeting_that_is_late_is_none(shop: Shop, alice: Profile) -> None:
    born(alice, "1990-05-17")
    journeys.stop_sends(installation=shop.installation, now=at("2026-05-16"))
    shop.go_live("birthday", at=at("2026-05-10"))
    tick(shop, at("2026-05-16"), at("2026-05-18"), 6 * HOUR)
    journeys.resume_sends(installation=shop.installation)
    tick(shop, at("2026-05-20"), at("2026-05-21"), 12 * HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["too_late"])


# -- the day on which the account was made -----------------------------------------------------------


def test_b58_the_customer_of_saleor_brings_the_day_of_signing_up(shop: Shop) -> None:
    """As a live Saleor sent it."""
    recorded = one("customer_deleted_by_staff", "customer_created")
    payload = recorded.payload
    payload["recipient"]["id"] = shop.installation.app_id
    recorded = type(recorded)(recorded.event, json.dumps(payload).encode())
    joined = datetime.fromisoformat(payload["user"]["dateJoined"])
    shop.deliver(recorded, joined + HOUR)
    assert Profile.objects.filter(joined_at=joined).count() == 1


def test_b58_every_year_on_the_day_of_signing_up_but_not_the_first(
    shop: Shop, alice: Profile
) -> None:
    Profile.objects.filter(pk=alice.pk).update(joined_at=at("2026-06-10T22:30"), country_code="DE")
    shop.go_live("sign_up_anniversary", at=at("2026-06-01"))
    tick(shop, at("2026-06-09"), at("2026-06-12"), DAY)
    assert mail.outbox == []
    tick(shop, at("2027-06-09"), at("2027-06-11T05:00"), 12 * HOUR)
    tick(shop, at("2027-06-11T06:00"), at("2027-06-11T08:00"))
    tick(shop, at("2027-06-12"), at("2027-06-13"), DAY)
    assert shop.subjects() == ["Thank you for being with us"]
    # Half past ten in the evening in UTC was the eleventh in Germany.
    assert sent_at() == ["06-11 07"]
