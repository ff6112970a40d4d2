"""Days of the year: birthdays, the day somebody signed up, occasions of a country; by the person's own clock."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from django.db.models import Q
from django.utils import formats, translation

from saleor_personalize.journeys import occasions, showing
from saleor_personalize.journeys.triggers.base import Content, Entry, Live, Sample, Subject
from saleor_personalize.journeys.triggers.people import (
    OfPerson,
    days_around,
    morning,
    who_agreed,
)
from saleor_personalize.messaging import clocks, rendering
from saleor_personalize.models import Enrollment, Installation, Profile

#: "1990-05-17", "05-17", and as vCard writes it without a year, "--05-17".
_BIRTHDAY = re.compile(r"(?:\d{4}-|--)?(\d{2})-(\d{2})")


class LeapDay(StrEnum):
    """When what is due on 29 February is celebrated in other years."""

    BEFORE = "28_february"
    AFTER = "1_march"


class OfDay(OfPerson):
    """A trigger about a day of the year. The person comes in on the morning `days_before` it, where they are."""

    is_foreseeable = True

    def _entries(
        self, profiles: Iterable[Profile], day: date, since: datetime, now: datetime
    ) -> Iterator[Entry]:
        """Yield an entry for each person whose morning of a day has come since."""
        for profile in profiles:
            at = morning(day - timedelta(days=self.options.days_before), clocks.zone_of(profile))
            if since < at <= now:
                yield Entry(
                    profile=profile,
                    subject=Subject(),
                    occurred_at=at,
                    due_at=at,
                    context={"channel": showing.channel_of(profile), "day": day.isoformat()},
                )

    def _on_their_clock(self, day: date, since: datetime, now: datetime) -> Q:
        """Return the condition of profiles for which the morning of a day may have come since."""
        told_on = day - timedelta(days=self.options.days_before)
        return clocks.where(lambda zone: since < morning(told_on, zone) <= now)

    def _days(self, since: datetime, now: datetime) -> Iterator[date]:
        """Yield each day whose occasion may have its morning now, somewhere."""
        for day in days_around(since, now):
            yield day + timedelta(days=self.options.days_before)

    def example(self, profile: Profile, sample: Sample, now: datetime) -> Entry:
        day = (now + timedelta(days=self.options.days_before)).date()
        context = {"channel": sample.channel_slug, "day": day.isoformat()}
        return Entry(profile, Subject(), now, now, context)

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        language = rendering.django_language(showing.language_of(enrollment.profile))
        with translation.override(language):
            day = formats.date_format(
                date.fromisoformat(enrollment.context["day"]), "MONTH_DAY_FORMAT"
            )
        return self.with_recommended(enrollment, now, date=day)


@dataclass(frozen=True)
class BirthdayOptions:
    """`trait` holds the day, "1990-05-17" or "05-17"; the year is never used."""

    trait: str = "birthday"
    days_before: int = 0
    leap_day: LeapDay = LeapDay.BEFORE
    expires: timedelta = timedelta(days=2)


class Birthday(OfDay):
    key = "birthday"
    Options: ClassVar[type] = BirthdayOptions

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        for day in self._days(since, now):
            for written in _celebrated_on(day, self.options.leap_day):
                born = Profile.objects.of(installation).filter(
                    self._on_their_clock(day, since, now),
                    **{f"traits__{self.options.trait}__endswith": written},
                )
                ids = [
                    pk
                    for pk, traits in born.values_list("pk", "traits")
                    if _is_birthday(traits.get(self.options.trait), written)
                ]
                yield from self._entries(
                    self.people(installation, ids, agreed=True), day, since, now
                )


def _celebrated_on(day: date, leap_day: LeapDay) -> list[str]:
    """Return the birthdays, as "02-29", that are celebrated on a day."""
    found = [f"{day:%m-%d}"]
    instead = "02-28" if leap_day == LeapDay.BEFORE else "03-01"
    if not calendar.isleap(day.year) and found == [instead]:
        found.append("02-29")
    return found


def _is_birthday(value: Any, written: str) -> bool:
    match = _BIRTHDAY.fullmatch(value) if isinstance(value, str) else None
    return match is not None and f"{match[1]}-{match[2]}" == written


@dataclass(frozen=True)
class AnniversaryOptions:
    """Every year on the day on which the account was made."""

    days_before: int = 0
    leap_day: LeapDay = LeapDay.BEFORE
    expires: timedelta = timedelta(days=2)


class SignUpAnniversary(OfDay):
    key = "sign_up_anniversary"
    Options: ClassVar[type] = AnniversaryOptions

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        for day in self._days(since, now):
            clock = self._on_their_clock(day, since, now)
            yield from self._entries(self._joined_on(installation, day, clock), day, since, now)

    def _joined_on(self, installation: Installation, day: date, clock: Q) -> Iterator[Profile]:
        for written in _celebrated_on(day, self.options.leap_day):
            month, number = map(int, written.split("-"))
            # On the clock of the person it may have been another day than in UTC.
            around = Q()
            for shift in (-1, 0, 1):
                near = date(2024, month, number) + timedelta(days=shift)
                around |= Q(joined_at__month=near.month, joined_at__day=near.day)
            rows = Profile.objects.of(installation).filter(clock, around)
            joined: dict[int, datetime] = {}
            for pk, speaker, at in rows.values_list("pk", "merged_into_id", "joined_at"):
                person = speaker or pk
                if at is not None:
                    joined[person] = min(at, joined.get(person, at))
            for profile in self.people(installation, joined, agreed=True):
                begun = joined[profile.pk].astimezone(clocks.zone_of(profile)).date()
                if f"{begun:%m-%d}" == written and begun.year < day.year:
                    yield profile


@dataclass(frozen=True)
class OccasionOptions:
    """`countries`: only these; none: all whose date we know. `country`: of people whose own is not known."""

    occasion: str
    days_before: int = 7
    countries: tuple[str, ...] = ()
    country: str = ""
    expires: timedelta = timedelta(days=4)

    def __post_init__(self) -> None:
        known = occasions.countries_of(self.occasion)
        if not known:
            names = ", ".join(sorted(occasions.OCCASIONS))
            raise ValueError(
                f"{self.occasion!r} is no occasion (known: {names}, and {occasions.HOLIDAY}NAME)"
            )
        asked = {*self.countries, self.country} - {""}
        if asked - known:
            unknown = ", ".join(sorted(asked - known))
            raise ValueError(f"the date of {self.occasion} in {unknown} is not known")
        if self.occasion.startswith(occasions.HOLIDAY) and not self.countries:
            raise ValueError("a public holiday needs countries: names differ")
        for country in self.countries:
            if not occasions.is_ever(self.occasion, country):
                raise ValueError(f"{country} has no {self.occasion!r}; names are English ones")


class Occasion(OfDay):
    """An occasion of the country where somebody lives. Told once a year."""

    key = "occasion"
    Options: ClassVar[type] = OccasionOptions

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        days = set(self._days(since, now))
        years = {day.year for day in days}
        options = self.options
        celebrated: dict[date, list[str]] = {}
        for country in options.countries or occasions.countries_of(options.occasion):
            for year in years:
                day = occasions.date_of(options.occasion, country, year)
                if day is not None and day in days:
                    celebrated.setdefault(day, []).append(country)
        for day, countries in sorted(celebrated.items()):
            codes = {*countries, *([""] if options.country in countries else [])}
            living = Profile.objects.of(installation).filter(
                self._on_their_clock(day, since, now), country_code__in=codes
            )
            ids = who_agreed(installation, of=living, over=self.delivery_channels)
            for profile in self.people(installation, ids, agreed=True):
                if _country_of(profile) in codes:
                    yield from self._entries([profile], day, since, now)


def _country_of(profile: Profile) -> str:
    """Return the country of a person: this profile's, else that of another one of theirs."""
    if profile.country_code:
        return profile.country_code
    others = profile.person().exclude(country_code="").order_by("pk")
    return others.values_list("country_code", flat=True).first() or ""
