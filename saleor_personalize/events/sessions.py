"""Visits, and what all events of one visit share: device, origin, place, language, hour."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from django.db import connection

from saleor_personalize.enums import DeviceType
from saleor_personalize.models import Profile, Session

_HOUR = timedelta(hours=1)
_UTM = ("source", "medium", "campaign", "term", "content")
_MAX_UTM = 200
_PATTERNS = {
    "id": re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,100}"),
    "countryCode": re.compile(r"[A-Za-z]{2}"),
    "languageCode": re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,3}"),
    "channel": re.compile(r"[A-Za-z0-9_-]{1,255}"),
    "currency": re.compile(r"[A-Za-z]{3}"),
}
_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+")


@dataclass(frozen=True)
class Context:
    """What a storefront tells of a visit; empty where it does not. Columns of `Session`."""

    session_id: str = ""
    device_type: str = ""
    referrer_host: str = ""
    utm: Mapping[str, str] = field(default_factory=dict)
    country_code: str = ""
    language_code: str = ""
    channel_slug: str = ""
    currency: str = ""
    local_hour: int | None = None
    time_zone: str = ""

    def known_to(self, channels: Collection[str]) -> Context:
        """Leave out a sales channel that the shop does not have."""
        return self if self.channel_slug in channels else replace(self, channel_slug="")


def read(
    given: Mapping[str, Any], *, user_agent: str = "", accepted_languages: str = ""
) -> tuple[Context, list[str]]:
    """Read the context of a visit; return it and the names of the values that mean nothing.

    `given` has the keys id, deviceType, referrerHost (an address is cut down to its host), utm,
    countryCode, languageCode, channel, currency, localHour, timeZone. Events are worth more than their
    context: what cannot be read is left out. The headers fill in device and language, and are
    themselves not kept.
    """
    unread = [
        name
        for name, value in given.items()
        if value not in (None, "", {}) and name not in _READERS
    ]
    found: dict[str, Any] = {}
    for name, (column, reader) in _READERS.items():
        value = given.get(name)
        if value in (None, "", {}):
            continue
        read_value = reader(name, value)
        if read_value is None:
            unread.append(name)
        else:
            found[column] = read_value
    found.setdefault("device_type", device_of(user_agent))
    found.setdefault("language_code", _first_language(accepted_languages))
    return Context(**found), unread


def device_of(user_agent: str) -> str:
    """Return the kind of device that a User-Agent header names; empty when it is unknown."""
    text = user_agent.lower()
    if "ipad" in text or "tablet" in text or ("android" in text and "mobile" not in text):
        # An app's HTTP library names Android without saying which device.
        return DeviceType.APP if "okhttp" in text or "dalvik" in text else DeviceType.TABLET
    if any(word in text for word in ("okhttp", "cfnetwork", "dart/", "dart:io")):
        return DeviceType.APP
    if "mobi" in text or "iphone" in text:
        return DeviceType.MOBILE
    if any(word in text for word in ("windows nt", "macintosh", "x11", "cros")):
        return DeviceType.DESKTOP
    return DeviceType.OTHER if text else ""


def record(*, profile: Profile, context: Context, seen: Iterable[tuple[str, datetime]]) -> None:
    """Make or extend the sessions of recorded events: (session id, when it happened).

    The order of arrival does not matter: a session begins with its earliest event and ends with its
    latest. The context belongs to the session that it names, and an earlier one counts more. The time zone of
    the person is that of their latest visit that told one.
    """
    spans: dict[str, tuple[datetime, datetime]] = {}
    for session_id, at in seen:
        if session_id:
            first, last = spans.get(session_id, (at, at))
            spans[session_id] = min(first, at), max(last, at)
    if not spans:
        return
    rows = []
    for session_id, (started_at, last_seen_at) in sorted(spans.items()):
        told = context if session_id == context.session_id else Context()
        rows.append(
            {
                **{name: getattr(told, name) for name in _CONTEXT_COLUMNS},
                "session_id": session_id,
                "started_at": started_at.isoformat(),
                "last_seen_at": last_seen_at.isoformat(),
            }
        )
    with connection.cursor() as cursor:
        cursor.execute(_UPSERT, [profile.installation_id, profile.pk, json.dumps(rows)])
    if context.time_zone:
        _keep_time_zone(profile)


def _keep_time_zone(profile: Profile) -> None:
    told = Session.objects.of(profile.installation_id).filter(profile=profile).exclude(time_zone="")
    latest = told.order_by("-last_seen_at", "-pk").first()
    if latest is None:
        return
    before = profile.time_zone_told_at
    if latest.time_zone == profile.time_zone and before and latest.last_seen_at < before + _HOUR:
        return
    profile.time_zone, profile.time_zone_told_at = latest.time_zone, latest.last_seen_at
    profile.save(update_fields=["time_zone", "time_zone_told_at"])


#: column -> its type, and what stands for "not told"
_CONTEXT_COLUMNS = {
    "device_type": ("text", "''"),
    "referrer_host": ("text", "''"),
    "utm": ("jsonb", "'{}'::jsonb"),
    "country_code": ("text", "''"),
    "language_code": ("text", "''"),
    "channel_slug": ("text", "''"),
    "currency": ("text", "''"),
    "local_hour": ("smallint", "NULL"),
    "time_zone": ("text", "''"),
}
_NAMES = ", ".join(_CONTEXT_COLUMNS)
# Names and types are those of this module.
_UPSERT = f"""
INSERT INTO saleor_personalize_session AS stored
    (installation_id, profile_id, session_id, started_at, last_seen_at, {_NAMES})
SELECT %s, %s, session_id, started_at, last_seen_at, {_NAMES}
FROM json_to_recordset(%s::json) AS told(
    session_id text, started_at timestamptz, last_seen_at timestamptz,
    {", ".join(f"{name} {type_}" for name, (type_, _) in _CONTEXT_COLUMNS.items())}
)
ON CONFLICT (installation_id, profile_id, session_id) DO UPDATE SET
    {
    ", ".join(
        f'''{name} = CASE
        WHEN EXCLUDED.started_at < stored.started_at
        THEN COALESCE(NULLIF(EXCLUDED.{name}, {empty}), stored.{name})
        ELSE COALESCE(NULLIF(stored.{name}, {empty}), EXCLUDED.{name})
    END'''
        for name, (_, empty) in _CONTEXT_COLUMNS.items()
    )
},
    started_at = LEAST(stored.started_at, EXCLUDED.started_at),
    last_seen_at = GREATEST(stored.last_seen_at, EXCLUDED.last_seen_at)
"""  # noqa: S608


# -- readers: (name, value) -> what is stored, or None when it means nothing ------------------------


def _matching(name: str, value: Any) -> str | None:
    return value if isinstance(value, str) and _PATTERNS[name].fullmatch(value) else None


def _upper(name: str, value: Any) -> str | None:
    found = _matching(name, value)
    return found and found.upper()


def _device(name: str, value: Any) -> str | None:
    known = isinstance(value, str) and value.lower() in DeviceType.values
    return value.lower() if known else None


def _host(name: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        host = urlsplit(value if "//" in value else f"//{value}").hostname or ""
    except ValueError:
        return None
    return host if _HOST.fullmatch(host) else None


def _utm(name: str, value: Any) -> dict[str, str] | None:
    if not isinstance(value, Mapping):
        return None
    return {
        key: text
        for key in _UTM
        if isinstance(text := value.get(key), str)
        and len(text) <= _MAX_UTM
        and _PRINTABLE.fullmatch(text)
    } or None


def _hour(name: str, value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= 23 else None


#: What browsers say that hide where they are: UTC, and Firefox that of Iceland, whose people their country tells.
_HIDDEN = {"Atlantic/Reykjavik"}


@functools.cache
def _zones() -> frozenset[str]:
    """Return the names of time zones; to find them takes a walk through the files of the system."""
    names = available_timezones()
    places = (name for name in names if "/" in name and not name.startswith("Etc/"))
    return frozenset(places) - _HIDDEN


def _zone(name: str, value: Any) -> str | None:
    return value if isinstance(value, str) and value in _zones() else None


def _first_language(accepted: str) -> str:
    first = accepted.split(",")[0].split(";")[0].strip()
    return first if _PATTERNS["languageCode"].fullmatch(first) else ""


_READERS = {
    "id": ("session_id", _matching),
    "deviceType": ("device_type", _device),
    "referrerHost": ("referrer_host", _host),
    "utm": ("utm", _utm),
    "countryCode": ("country_code", _upper),
    "languageCode": ("language_code", _matching),
    "channel": ("channel_slug", _matching),
    "currency": ("currency", _upper),
    "localHour": ("local_hour", _hour),
    "timeZone": ("time_zone", _zone),
}
