"""On which day an occasion is celebrated, country by country. Only countries whose rule is sure.

Where each rule comes from: docs/reference/occasions.md. Exact for any year of the Gregorian calendar.
Public holidays come from the package `holidays`, by their English name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import date, timedelta

import holidays

Rule = Callable[[int], date]

_MON, _THU, _SUN = 0, 3, 6


def easter(year: int) -> date:
    """Return Easter Sunday of the western churches (Meeus, Jones and Butcher)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


def fixed(month: int, day: int) -> Rule:
    """Return the rule of an occasion that has the same date every year."""
    return lambda year: date(year, month, day)


def nth(number: int, weekday: int, month: int) -> Rule:
    """Return the rule of an occasion on the n-th Sunday (or another day) of a month; -1: the last one."""

    def rule(year: int) -> date:
        if number < 0:
            end = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
            return end - timedelta(days=(end.weekday() - weekday) % 7)
        begin = date(year, month, 1)
        return begin + timedelta(days=(weekday - begin.weekday()) % 7 + 7 * (number - 1))

    return rule


def from_easter(days: int) -> Rule:
    """Return the rule of an occasion so many days after (or before) Easter Sunday."""
    return lambda year: easter(year) + timedelta(days=days)


def _mothers_day_of_france(year: int) -> date:
    """The last Sunday of May, or the first of June where that is Pentecost."""
    last = nth(-1, _SUN, 5)(year)
    return nth(1, _SUN, 6)(year) if last == from_easter(49)(year) else last


def _for(countries: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(countries.split(), rule)


_WEST = "AT AU BE BR CA CH CL CZ DE DK EE ES FI FR GB HR HU IE IT LT LU LV MX NL NO NZ PL PT SE SI SK US ZA"

#: occasion -> country -> rule.
OCCASIONS: Mapping[str, Mapping[str, Rule]] = {
    "mothers_day": {
        **_for(
            "AT AU BE BR CA CH CL CZ DE DK EE FI GR HR IN IT JP LV MY NL NZ PE PH SG SK TR TW UA US ZA",
            nth(2, _SUN, 5),
        ),
        **_for("ES HU LT PT RO", nth(1, _SUN, 5)),
        **_for("GB IE", from_easter(-21)),
        **_for("FR", _mothers_day_of_france),
        **_for("SE", nth(-1, _SUN, 5)),
        **_for("PL", fixed(5, 26)),
        **_for("NO", nth(2, _SUN, 2)),
        **_for("LU", nth(2, _SUN, 6)),
        **_for("MX", fixed(5, 10)),
        **_for("AR", nth(3, _SUN, 10)),
        **_for("SI", fixed(3, 25)),
        **_for("TH", fixed(8, 12)),
        **_for("AE EG", fixed(3, 21)),
    },
    "fathers_day": {
        **_for(
            "AR CA CL CZ FR GB GR HK HU IE IN JP MX MY NL PE PH SG SK TR US ZA", nth(3, _SUN, 6)
        ),
        **_for("DE", from_easter(39)),
        **_for("AT BE", nth(2, _SUN, 6)),
        **_for("CH LT", nth(1, _SUN, 6)),
        **_for("ES IT PT", fixed(3, 19)),
        **_for("PL", fixed(6, 23)),
        **_for("DK", fixed(6, 5)),
        **_for("EE FI NO SE", nth(2, _SUN, 11)),
        **_for("AU NZ", nth(1, _SUN, 9)),
        **_for("BR", nth(2, _SUN, 8)),
        **_for("LU", nth(1, _SUN, 10)),
        **_for("RO", nth(2, _SUN, 5)),
        **_for("LV", nth(2, _SUN, 9)),
        **_for("TW", fixed(8, 8)),
        **_for("TH", fixed(12, 5)),
    },
    "valentines_day": {
        **_for(_WEST, fixed(2, 14)),
        **_for("BR", fixed(6, 12)),
    },
    "easter": _for(_WEST, easter),
    "thanksgiving": {
        **_for("US", nth(4, _THU, 11)),
        **_for("CA", nth(2, _MON, 10)),
    },
    "black_friday": _for(_WEST, lambda year: nth(4, _THU, 11)(year) + timedelta(days=1)),
    "christmas": _for(_WEST, fixed(12, 25)),
}


#: An occasion that is a public holiday: "holiday:Labor Day".
HOLIDAY = "holiday:"
#: Years in which a holiday that there is comes at least once.
_YEARS = range(2024, 2034)


def countries_of(occasion: str) -> frozenset[str]:
    """Return the countries in which we know when an occasion is; none for an occasion that there is not."""
    if occasion.startswith(HOLIDAY):
        return _public()
    return frozenset(OCCASIONS.get(occasion, ()))


def date_of(occasion: str, country_code: str, year: int) -> date | None:
    """Return the day of an occasion in a country and year; None where we do not know of one.

    Of a public holiday of several days it is the first. Raises KeyError for an occasion that there is not.
    """
    if occasion.startswith(HOLIDAY):
        wanted = occasion.removeprefix(HOLIDAY).casefold()
        return min(
            (day for day, name in _holidays(country_code, year) if name == wanted), default=None
        )
    rule = OCCASIONS[occasion].get(country_code)
    return None if rule is None else rule(year)


def is_ever(occasion: str, country_code: str) -> bool:
    """Tell whether an occasion is in a country at all; one of those that are not held every year, too."""
    return any(date_of(occasion, country_code, year) for year in _YEARS)


@functools.cache
def _public() -> frozenset[str]:
    return frozenset(code for code in holidays.list_supported_countries() if len(code) == 2)


@functools.lru_cache(maxsize=512)
def _holidays(country_code: str, year: int) -> tuple[tuple[date, str], ...]:
    """Return the public holidays of a whole country with their English names."""
    if country_code not in _public():
        return ()
    found = holidays.country_holidays(country_code, years=year, language="en_US")
    return tuple((day, name.casefold()) for day in found for name in found.get_list(day))
