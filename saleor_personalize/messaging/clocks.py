"""What time it is where somebody is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.db.models import Exists, F, OuterRef, Q

from saleor_personalize.conf import settings
from saleor_personalize.models import Profile

#: Trait of a profile that names its time zone, such as "Europe/Berlin".
TRAIT = "time_zone"
_NEVER = datetime.min.replace(tzinfo=UTC)

#: Countries with one clock (that of nearly everybody, where islands far away have another).
_COUNTRIES = {
    "AD": "Europe/Andorra", "AE": "Asia/Dubai", "AL": "Europe/Tirane", "AT": "Europe/Vienna",
    "BA": "Europe/Sarajevo", "BD": "Asia/Dhaka", "BE": "Europe/Brussels", "BG": "Europe/Sofia",
    "BY": "Europe/Minsk", "CH": "Europe/Zurich", "CN": "Asia/Shanghai", "CO": "America/Bogota",
    "CY": "Asia/Nicosia", "CZ": "Europe/Prague", "DE": "Europe/Berlin", "DK": "Europe/Copenhagen",
    "EE": "Europe/Tallinn", "EG": "Africa/Cairo", "ES": "Europe/Madrid", "FI": "Europe/Helsinki",
    "FR": "Europe/Paris", "GB": "Europe/London", "GR": "Europe/Athens", "HK": "Asia/Hong_Kong",
    "HR": "Europe/Zagreb", "HU": "Europe/Budapest", "IE": "Europe/Dublin", "IL": "Asia/Jerusalem",
    "IN": "Asia/Kolkata", "IS": "Atlantic/Reykjavik", "IT": "Europe/Rome", "JP": "Asia/Tokyo",
    "KE": "Africa/Nairobi", "KR": "Asia/Seoul", "LI": "Europe/Vaduz", "LT": "Europe/Vilnius",
    "LU": "Europe/Luxembourg", "LV": "Europe/Riga", "MA": "Africa/Casablanca", "MC": "Europe/Monaco",
    "MD": "Europe/Chisinau", "ME": "Europe/Podgorica", "MK": "Europe/Skopje", "MT": "Europe/Malta",
    "MY": "Asia/Kuala_Lumpur", "NG": "Africa/Lagos", "NL": "Europe/Amsterdam", "NO": "Europe/Oslo",
    "PE": "America/Lima", "PH": "Asia/Manila", "PK": "Asia/Karachi", "PL": "Europe/Warsaw",
    "PT": "Europe/Lisbon", "RO": "Europe/Bucharest", "RS": "Europe/Belgrade", "SA": "Asia/Riyadh",
    "SE": "Europe/Stockholm", "SG": "Asia/Singapore", "SI": "Europe/Ljubljana",
    "SK": "Europe/Bratislava", "TH": "Asia/Bangkok", "TR": "Europe/Istanbul", "TW": "Asia/Taipei",
    "UA": "Europe/Kyiv", "VN": "Asia/Ho_Chi_Minh", "ZA": "Africa/Johannesburg",
}  # fmt: skip


class ClockSource(StrEnum):
    """Who tells what time it is where somebody is; the first that does counts."""

    TRAIT = "trait"
    DEVICE = "device"
    COUNTRY = "country"
    SHOP = "shop"


class Clock(NamedTuple):
    zone: tzinfo
    source: ClockSource


class Told(NamedTuple):
    """What one profile tells of the clock where its person is."""

    traits: Mapping[str, Any]
    time_zone: str
    time_zone_told_at: datetime | None
    country_code: str


def zone_of(profile: Profile) -> tzinfo:
    """Return the time zone of a person."""
    return clock_of(profile).zone


def clock_of(profile: Profile) -> Clock:
    """Return a person's clock, by what all profiles of the same person tell, or the shop's."""
    speaker_first = (F("merged_into_id").asc(nulls_first=True), "pk")
    rows = profile.person().order_by(*speaker_first).values_list(*Told._fields)
    told = [Told(*row) for row in rows] or [Told(*(getattr(profile, n) for n in Told._fields))]
    return clock_told(told) or Clock(shop_zone(), ClockSource.SHOP)


def clock_told(members: Iterable[Told]) -> Clock | None:
    """Return the clock of a person by their profiles, who speaks for them first; None: none tells of it.

    A trait counts more than a device, of devices the one that was there last, and any of them more than a
    country with one clock.
    """
    known = list(members)
    devices = sorted(known, key=lambda each: each.time_zone_told_at or _NEVER, reverse=True)
    told = (
        (ClockSource.TRAIT, (each.traits.get(TRAIT) for each in known)),
        (ClockSource.DEVICE, (each.time_zone for each in devices)),
        (ClockSource.COUNTRY, (_COUNTRIES.get(each.country_code) for each in known)),
    )
    for source, names in told:
        zones = (zone_named(name) for name in names if isinstance(name, str))
        zone = next((zone for zone in zones if zone is not None), None)
        if zone is not None:
            return Clock(zone, source)
    return None


def where(is_wanted: Callable[[tzinfo], bool]) -> Q:
    """Return the condition of profiles whose `zone_of` may be one that is wanted; it leaves out most others.

    One that is joined to another profile may have that one's clock, and who named a zone has theirs: they are
    in.
    """
    wanted = [
        code
        for code, name in _COUNTRIES.items()
        if (zone := zone_named(name)) is not None and is_wanted(zone)
    ]
    has_joined = Exists(Profile.objects.filter(merged_into=OuterRef("pk")))
    found = Q(merged_into__isnull=False) | Q(has_joined)
    found |= Q(traits__has_key=TRAIT) | ~Q(time_zone="") | Q(country_code__in=wanted)
    return found | ~Q(country_code__in=list(_COUNTRIES)) if is_wanted(shop_zone()) else found


def shop_zone() -> tzinfo:
    """Return the time zone that TIME_ZONE names."""
    return zone_named(settings.TIME_ZONE) or UTC


@functools.lru_cache(maxsize=512)
def zone_named(name: str) -> tzinfo | None:
    """Return a time zone by its IANA name, or None."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return None


def clock_time(text: str) -> time:
    """Return the time of day that "21:00" says. Raises ValueError."""
    hours, colon, minutes = text.partition(":")
    if not colon or not (hours.isdecimal() and minutes.isdecimal()):
        raise ValueError(f"{text!r} is no time of day such as 21:00")
    return time(int(hours), int(minutes))


def quiet_until(now: datetime, zone: tzinfo, begin: time, end: time) -> datetime | None:
    """Return when quiet hours that hold now are over; None when they do not hold.

    Counted on the clock of the wall: the night in which clocks change is an hour shorter or longer.
    """
    local = now.astimezone(zone)
    at = local.time().replace(tzinfo=None)
    if begin == end:
        return None
    is_night = begin <= at < end if begin < end else at >= begin or at < end
    if not is_night:
        return None
    day = local.date() + timedelta(days=1 if at >= end else 0)
    first, second = (
        datetime.combine(day, end, tzinfo=zone).replace(fold=fold).astimezone(UTC)
        for fold in (0, 1)
    )
    # Clocks went back: the hour in which quiet hours end comes twice, and it is the second time.
    return first if first > now else max(second, now + timedelta(minutes=1))
