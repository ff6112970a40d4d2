"""Lengths of time as people write them: "90 minutes", "1 day 12 hours", or ISO 8601 ("PT90M")."""

from __future__ import annotations

import re
from datetime import timedelta

#: unit -> seconds, largest first. A month is no length of time; a week is.
_UNITS = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
_LETTERS = {"min": "minute", "mins": "minute", "sec": "second", "secs": "second", "h": "hour",
            "d": "day", "w": "week", "m": "minute", "s": "second"}  # fmt: skip
_PART = re.compile(r"(\d{1,6})\s*([a-z]+)")
_ISO = re.compile(
    r"P(?:(?P<week>\d{1,6})W)?(?:(?P<day>\d{1,6})D)?"
    r"(?:T(?=\d)(?:(?P<hour>\d{1,6})H)?(?:(?P<minute>\d{1,6})M)?(?:(?P<second>\d{1,6})S)?)?"
)
#: What a reader is told.
EXAMPLES = "“90 minutes”, “1 day 12 hours” or “PT90M”"
LONGEST = timedelta(days=3_650)


def parse(text: object) -> timedelta:
    """Return a length of time. Raises ValueError, in words, for anything else."""
    if not isinstance(text, str):
        raise ValueError(f"a length of time is needed, with its unit: {EXAMPLES}")  # noqa: TRY004
    words = text.strip()
    seconds = _iso(words) if words.startswith("P") else _words(words.lower())
    if seconds is None:
        raise ValueError(f"is no length of time; write {EXAMPLES}")
    if seconds > LONGEST.total_seconds():
        raise ValueError(f"is longer than {to_words(LONGEST)}")
    return timedelta(seconds=seconds)


def _iso(text: str) -> int | None:
    found = _ISO.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    return sum(int(found[unit] or 0) * size for unit, size in _UNITS.items())


def _words(text: str) -> int | None:
    rest = re.sub(r"\s*(,|\band\b)\s*", " ", text)
    if _PART.sub("", rest).strip() or not rest.strip():
        return None
    total = 0
    for count, word in _PART.findall(rest):
        unit = _LETTERS.get(word, word.removesuffix("s"))
        if unit not in _UNITS:
            return None
        total += int(count) * _UNITS[unit]
    return total


def to_words(length: timedelta) -> str:
    """Return how `parse` reads it: `timedelta(hours=36)` -> "1 day 12 hours"."""
    rest = int(length.total_seconds())
    parts = []
    for unit, size in _UNITS.items():
        # Nobody counts in weeks and days at once.
        if unit == "week" and rest % size:
            continue
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}{'s' * (count != 1)}")
    return " ".join(parts) or "0 seconds"
