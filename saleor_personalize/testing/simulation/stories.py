"""People and what they do, as a small file tells it. Strict: every fault is told, with its path.

docs/reference/stories.md lists what may stand in such a file. Nothing here needs a database.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

from saleor_personalize.enums import ConsentState, NotSentReason
from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.journeys import durations
from saleor_personalize.journeys.definitions import MAX_HOLDOUT, Fault, NotYaml, read_yaml
from saleor_personalize.messaging.clocks import clock_time, zone_named

_DAY = re.compile(r"day (-?\d{1,4}) (\d{1,2}:\d{2})")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
#: The settings that a file may change, and how they are written there.
SETTINGS = (
    "arbitration_window",
    "frequency_caps",
    "holdout_percent",
    "incentive_guard",
    "journey_holdout_percent",
    "quiet_hours",
)


class InvalidStories(PersonalizeError):
    """A file of stories cannot be used; every fault is told at once."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(_told(fault) for fault in faults))
        self.faults = faults


def _told(fault: Fault) -> str:
    text = str(fault)
    return text.replace("the journey:", "the file:", 1) if not fault.path else text


# -- what a file says -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    key: str
    name: str
    price: Decimal
    #: None: stock is not counted.
    pieces: int | None = None
    category: str = ""


#: Products of a shop of which nothing is said.
SOME_PRODUCTS = {
    "teapot": Product("teapot", "Cast iron teapot", Decimal("49.00"), 40, "pots"),
    "cup": Product("cup", "Stoneware cup", Decimal("12.50"), 200, "cups"),
    "kettle": Product("kettle", "Gooseneck kettle", Decimal("89.00"), 15, "pots"),
    "tea": Product("tea", "Morning tea, 100 g", Decimal("8.90"), None, "tea"),
    "strainer": Product("strainer", "Fine strainer", Decimal("6.00"), 60, "pots"),
}


@dataclass(frozen=True)
class Shop:
    """The made-up shop. It has one sales channel, and one variant of each product."""

    time_zone: str = "UTC"
    currency: str = "EUR"
    channel: str = "default-channel"
    products: Mapping[str, Product] = field(default_factory=lambda: dict(SOME_PRODUCTS))
    #: key of a segment -> its definition, as JSON
    segments: Mapping[str, Any] = field(default_factory=dict)
    #: The hour of the day at which most people react, by their clocks; None: it is not known yet.
    reacts_at: int | None = None


@dataclass(frozen=True)
class Act:
    """Something that happens at a moment. `path` is where the file says so."""

    at: datetime
    does: str
    options: Mapping[str, Any]
    path: str


@dataclass(frozen=True)
class Expected:
    """A decision that must come: message `journey/step`, sent or, with a reason, not sent.

    `at` None: at whatever time.
    """

    name: str
    reason: str
    at: datetime | None
    path: str

    @property
    def is_sent(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Person:
    key: str
    time_zone: str
    country: str = ""
    language: str = "en"
    first_name: str = ""
    consent: ConsentState | None = ConsentState.GRANTED
    has_account: bool = True
    birthday: str = ""
    #: When the account was made.
    joined: date | None = None
    traits: Mapping[str, Any] = field(default_factory=dict)
    story: tuple[Act, ...] = ()
    #: None: nothing is said of what must come.
    expect: tuple[Expected, ...] | None = None

    @property
    def zone(self) -> tzinfo:
        return zone_named(self.time_zone) or UTC

    @property
    def address(self) -> str:
        return f"{self.key}@simulated.invalid"


@dataclass(frozen=True)
class Stories:
    """`start` is the midnight in the shop with which day 1 begins."""

    start: datetime
    days: int
    shop: Shop
    people: tuple[Person, ...]
    story: tuple[Act, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first_day(self) -> date:
        return self.start.astimezone(zone_named(self.shop.time_zone) or UTC).date()

    @property
    def end(self) -> datetime:
        return midnight(self.first_day + timedelta(days=self.days), self.shop.time_zone)


def midnight(day: date, time_zone: str) -> datetime:
    """Return the moment at which a day begins somewhere."""
    return datetime.combine(day, time(), tzinfo=zone_named(time_zone) or UTC).astimezone(UTC)


#: What people do -> the options that go with it; those with ! are needed.
OF_PEOPLE: Mapping[str, tuple[str, ...]] = {
    "viewed": ("product!", "times"),
    "viewed_category": ("category!", "times"),
    "searched": ("query!", "times"),
    "added": ("product!", "pieces"),
    "removed": ("product!",),
    "kept": ("product!",),
    "let_go": ("product!",),
    "ordered": ("products", "discount", "told_after"),
    "received": (),
    "cancelled": (),
    "waited_for": ("product!",),
    "signed_up": (),
    "allowed": ("topic",),
    "refused": ("topic",),
    "unsubscribed": (),
    "paused": ("for!",),
    "did": ("name!",),
}
#: What happens in the shop.
OF_SHOP: Mapping[str, tuple[str, ...]] = {
    "priced": ("product!", "price!"),
    "stocked": ("product!", "pieces!"),
    "paused": ("journey!",),
    "resumed": ("journey!",),
    "stopped_sends": (),
    "resumed_sends": (),
}


def read(
    text: str,
    *,
    start: datetime | None = None,
    days: int | None = None,
    messages: Collection[str] = (),
    topics: Collection[str] = (),
    journeys: Collection[str] = (),
) -> Stories:
    """Return the stories of a YAML (or JSON) text. Raises InvalidStories with every fault.

    `start` and `days` go before what the text says. `messages` ("journey/step"), `topics` and `journeys`
    are those that may be named.
    """
    try:
        value = read_yaml(text)
    except NotYaml as error:
        raise InvalidStories([error.fault]) from error
    return parse(value, start=start, days=days, messages=messages, topics=topics, journeys=journeys)


def parse(
    value: Any,
    *,
    start: datetime | None = None,
    days: int | None = None,
    messages: Collection[str] = (),
    topics: Collection[str] = (),
    journeys: Collection[str] = (),
) -> Stories:
    """As `read`, for the value that a text holds."""
    reader = _Reader(messages, topics, journeys)
    found = reader.stories(value, start, days)
    if reader.faults or found is None:
        raise InvalidStories(reader.faults)
    return found


# -- reading ------------------------------------------------------------------------------------------

_MISSING = object()
_OF_PERSON = (
    "time_zone",
    "country",
    "language",
    "first_name",
    "consent",
    "account",
    "birthday",
    "joined",
    "traits",
    "story",
    "expect",
)


class _Reader:
    def __init__(
        self, messages: Collection[str], topics: Collection[str], journeys: Collection[str]
    ) -> None:
        self.faults: list[Fault] = []
        self.messages, self.topics, self.journeys = messages, topics, journeys
        self.first_day = date(2000, 1, 1)
        self.shop = Shop()

    def fault(self, path: str, message: str, value: Any = None) -> None:
        self.faults.append(Fault(path, message, value))

    def unknown(self, path: str, message: str, value: Any, known: Collection[str]) -> None:
        close = difflib.get_close_matches(str(value), list(known), n=1)
        told = "" if close else f" (known: {', '.join(sorted(known)) or 'none'})"
        self.faults.append(Fault(path, message + told, value, close[0] if close else ""))

    # -- the whole --

    def stories(self, value: Any, start: datetime | None, days: int | None) -> Stories | None:
        given = self.object(
            value, "", ("start", "days", "shop", "settings", "story", "people"), needed=("people",)
        )
        self.shop = self._shop(given.get("shop", {}))
        begin = start or self._start(given.get("start", _MISSING))
        self.first_day = begin.astimezone(zone_named(self.shop.time_zone) or UTC).date()
        long = days or self.number(given.get("days", 30), "days", 1, 3_650)
        settings = self._settings(given.get("settings", {}))
        story = self._story(
            given.get("story", []), "story", zone_named(self.shop.time_zone) or UTC, OF_SHOP
        )
        people = tuple(self._people(given.get("people", {})))
        if self.faults:
            return None
        return Stories(begin, long or 30, self.shop, people, story, settings)

    def _start(self, value: Any) -> datetime:
        if value is _MISSING:
            self.fault("start", "is missing: a day, such as 2026-10-19, or --start")
        elif isinstance(value, datetime) or not isinstance(value, date):
            try:
                return midnight(date.fromisoformat(str(value)), self.shop.time_zone)
            except ValueError:
                self.fault("start", "a day is needed, such as 2026-10-19", str(value))
        else:
            return midnight(value, self.shop.time_zone)
        return midnight(date(2000, 1, 1), "UTC")

    def _shop(self, value: Any) -> Shop:
        path = "shop"
        given = self.object(
            value,
            path,
            ("time_zone", "currency", "channel", "products", "segments", "reacts_at"),
        )
        products: dict[str, Product] = dict(SOME_PRODUCTS)
        if "products" in given:
            rows = self.mapping(given["products"], f"{path}.products")
            products = {key: self._product(key, row) for key, row in rows.items()}
        texts: dict[str, Any] = {}
        if "time_zone" in given:
            texts["time_zone"] = self.zone(given["time_zone"], f"{path}.time_zone")
        if "currency" in given:
            texts["currency"] = self.text(
                given["currency"], f"{path}.currency", r"[A-Z]{3}", "a currency such as EUR"
            )
        if "channel" in given:
            texts["channel"] = self.text(
                given["channel"], f"{path}.channel", r"[a-z0-9-]{1,50}", "a slug"
            )
        segments = self.mapping(given.get("segments", {}), f"{path}.segments")
        if "reacts_at" in given:
            texts["reacts_at"] = self.number(given["reacts_at"], f"{path}.reacts_at", 0, 23)
        return Shop(products=products, segments=segments, **texts)

    def _product(self, key: str, value: Any) -> Product:
        path = f"shop.products.{key}"
        self.key(key, path)
        given = self.object(value, path, ("name", "price", "pieces", "category"), ("price",))
        pieces = given.get("pieces")
        return Product(
            key,
            str(given.get("name", key)),
            self.amount(given.get("price", 1), f"{path}.price"),
            None if pieces is None else self.number(pieces, f"{path}.pieces", 0, 1_000_000),
            self.key(given["category"], f"{path}.category") if "category" in given else "",
        )

    def _settings(self, value: Any) -> dict[str, Any]:
        given = self.object(value, "settings", SETTINGS)
        found: dict[str, Any] = {}
        if "arbitration_window" in given:
            found["ARBITRATION_WINDOW"] = self.duration(
                given["arbitration_window"], "settings.arbitration_window"
            )
        for name in ("holdout_percent", "journey_holdout_percent"):
            if name in given:
                percent = self.number(given[name], f"settings.{name}", 0, MAX_HOLDOUT)
                found[name.upper()] = percent
        for channel, hours in self.mapping(
            given.get("quiet_hours", {}), "settings.quiet_hours"
        ).items():
            path = f"settings.quiet_hours.{channel}"
            found.setdefault("QUIET_HOURS", {})[channel] = self._hours(hours, path)
        for scope, caps in self.mapping(
            given.get("frequency_caps", {}), "settings.frequency_caps"
        ).items():
            path = f"settings.frequency_caps.{scope}"
            found.setdefault("FREQUENCY_CAPS", {})[scope] = self._caps(caps, path)
        guard = self.mapping(given.get("incentive_guard", {}), "settings.incentive_guard")
        for name, limit in guard.items():
            path = f"settings.incentive_guard.{name}"
            if name not in ("days_after_full_price", "offers_per_year"):
                self.unknown(path, "is not known here", None, ())
            found.setdefault("INCENTIVE_GUARD", {})[name] = (
                None if limit is None else self.number(limit, path, 0, 10_000)
            )
        return found

    def _hours(self, value: Any, path: str) -> tuple[str, str] | None:
        if value is None:
            return None
        try:
            first, last = value
            clock_time(first)
            clock_time(last)
        except (TypeError, ValueError, AttributeError):
            self.fault(path, 'two times of day are needed, such as ["21:00", "08:00"]', value)
            return None
        return first, last

    def _caps(self, value: Any, path: str) -> list[tuple[int, timedelta]]:
        found = []
        for index, pair in enumerate(value if isinstance(value, list) else [value]):
            where = f"{path}[{index}]"
            if not isinstance(pair, list) or len(pair) != 2:
                self.fault(where, "how many in which time is needed, such as [2, 1 day]", pair)
                continue
            found.append((self.number(pair[0], where, 1, 1_000), self.duration(pair[1], where)))
        return found

    # -- people --

    def _people(self, value: Any) -> Iterator[Person]:
        for key, row in self.mapping(value, "people").items():
            yield self._person(key, row, f"people.{key}")

    def _person(self, key: str, value: Any, path: str) -> Person:
        self.key(key, path)
        given = self.object(value if value is not None else {}, path, _OF_PERSON)
        zone_name = self.shop.time_zone
        if "time_zone" in given:
            zone_name = self.zone(given["time_zone"], f"{path}.time_zone")
        zone = zone_named(zone_name) or UTC
        expect = given.get("expect")
        return Person(
            key=key,
            time_zone=zone_name,
            country=self._pattern(given, path, "country", r"[A-Z]{2}", "two letters such as DE"),
            language=self._pattern(
                given, path, "language", r"[a-zA-Z]{2,3}(-[a-zA-Z]+)?", "a language such as de"
            )
            or "en",
            first_name=str(given.get("first_name", "")),
            consent=self._consent(given.get("consent", "granted"), f"{path}.consent"),
            has_account=self.flag(given.get("account", True), f"{path}.account"),
            birthday=self._pattern(
                given, path, "birthday", r"(\d{4}-)?\d{2}-\d{2}", "a day such as 05-17"
            ),
            joined=self._day(given.get("joined"), f"{path}.joined"),
            traits=self.mapping(given.get("traits", {}), f"{path}.traits"),
            story=self._story(given.get("story", []), f"{path}.story", zone, OF_PEOPLE),
            expect=None
            if expect is None
            else tuple(self._expected(expect, f"{path}.expect", zone)),
        )

    def _pattern(
        self, given: Mapping[str, Any], path: str, name: str, pattern: str, needs: str
    ) -> str:
        if name not in given:
            return ""
        return self.text(given[name], f"{path}.{name}", pattern, needs)

    def _consent(self, value: Any, path: str) -> ConsentState | None:
        known = [*ConsentState.values, "none"]
        if value not in known or not isinstance(value, str):
            # YAML takes a bare yes or no for true or false.
            self.fault(path, f"one of {', '.join(known)} is needed", value)
            return None
        return None if value == "none" else ConsentState(value)

    def _day(self, value: Any, path: str) -> date | None:
        if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
            return value
        try:
            return date.fromisoformat(value)
        except (TypeError, ValueError):
            self.fault(path, "a day is needed, such as 2025-10-19", value)
            return None

    # -- stories --

    def _story(
        self, value: Any, path: str, zone: tzinfo, verbs: Mapping[str, tuple[str, ...]]
    ) -> tuple[Act, ...]:
        acts = []
        for index, row in enumerate(self.sequence(value, path)):
            act = self._act(row, f"{path}[{index}]", zone, verbs)
            if act is not None:
                acts.append(act)
        # Of two at one moment, the first in the file comes first.
        return tuple(sorted(acts, key=lambda act: act.at))

    def _act(
        self, value: Any, path: str, zone: tzinfo, verbs: Mapping[str, tuple[str, ...]]
    ) -> Act | None:
        if not isinstance(value, Mapping):
            self.fault(path, "an object is needed: {at: ..., does: ...}", value)
            return None
        does = value.get("does", _MISSING)
        if does is _MISSING:
            self.fault(f"{path}.does", "is missing")
            return None
        if does not in verbs or not isinstance(does, str):
            self.unknown(f"{path}.does", "is not known here", does, tuple(verbs))
            return None
        wanted = [name.rstrip("!") for name in verbs[does]]
        needed = [name.rstrip("!") for name in verbs[does] if name.endswith("!")]
        given = self.object(value, path, ("at", "does", *wanted), ("at", *needed))
        options = {
            name: self._option(name, given[name], f"{path}.{name}")
            for name in wanted
            if name in given
        }
        at = self.moment(given.get("at", _MISSING), f"{path}.at", zone)
        return None if at is None else Act(at, does, options, path)

    def _option(self, name: str, value: Any, path: str) -> Any:
        readers: Mapping[str, Callable[[], Any]] = {
            "product": lambda: self.known(value, path, "product in the shop", self.shop.products),
            "products": lambda: [
                self.known(one, f"{path}[{index}]", "product in the shop", self.shop.products)
                for index, one in enumerate(self.sequence(value, path))
            ],
            "category": lambda: self.known(
                value,
                path,
                "category in the shop",
                {each.category for each in self.shop.products.values()} - {""},
            ),
            "pieces": lambda: self.number(value, path, 0, 1_000_000),
            "price": lambda: self.amount(value, path),
            "times": lambda: self.number(value, path, 1, 100),
            "discount": lambda: self.number(value, path, 1, 100),
            "told_after": lambda: self.duration(value, path),
            "for": lambda: self.duration(value, path),
            "topic": lambda: self.known(value, path, "topic in TOPICS", self.topics),
            "journey": lambda: self.known(value, path, "journey among those given", self.journeys),
            "query": lambda: self.text(value, path, r".{1,200}", "words"),
            "name": lambda: self.text(value, path, r"[A-Za-z0-9_.:-]{1,60}", "a name"),
        }
        return readers[name]()

    def _expected(self, value: Any, path: str, zone: tzinfo) -> Iterator[Expected]:
        for index, row in enumerate(self.sequence(value, path)):
            where = f"{path}[{index}]"
            kinds = (
                [name for name in ("message", "not_sent") if name in row]
                if isinstance(row, Mapping)
                else []
            )
            if len(kinds) != 1:
                self.fault(where, "either {message: journey/step} or {not_sent: ...}", row)
                continue
            (kind,) = kinds
            is_sent = kind == "message"
            fields = (kind, "at") if is_sent else (kind, "reason", "at")
            given = self.object(row, where, fields, fields[: 1 if is_sent else 2])
            name = self.known(
                given[kind], f"{where}.{kind}", "message in these journeys", self.messages
            )
            reason = ""
            if not is_sent and "reason" in given:
                reason = self.known(
                    given["reason"], f"{where}.reason", "reason", NotSentReason.values
                )
            at = self.moment(given["at"], f"{where}.at", zone) if "at" in given else None
            yield Expected(name, reason, at, where)

    # -- values --

    def object(
        self, value: Any, path: str, known: Collection[str], needed: Collection[str] = ()
    ) -> dict[str, Any]:
        given = self.mapping(value, path)
        for name in given:
            if name not in known:
                where = f"{path}.{name}" if path else str(name)
                close = difflib.get_close_matches(str(name), list(known), n=1)
                told = "" if close else f" (known: {', '.join(known)})"
                self.faults.append(
                    Fault(where, f"is not known here{told}", None, close[0] if close else "")
                )
        for name in needed:
            if name not in given:
                self.fault(f"{path}.{name}" if path else name, "is missing")
        return given

    def mapping(self, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self.fault(path, "an object is needed", value)
            return {}
        return {str(key): one for key, one in value.items()}

    def sequence(self, value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            self.fault(path, "a list is needed", value)
            return []
        return value

    def key(self, value: Any, path: str) -> str:
        if not isinstance(value, str) or not _KEY.fullmatch(value):
            self.fault(path, "letters, digits, “-” and “_” are needed", value)
            return ""
        return value

    def text(self, value: Any, path: str, pattern: str, needs: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            self.fault(path, f"{needs} is needed", value)
            return ""
        return value

    def known(self, value: Any, path: str, what: str, known: Collection[str]) -> str:
        if not isinstance(value, str) or value not in known:
            self.unknown(path, f"there is no such {what}", value, known)
            return ""
        return value

    def number(self, value: Any, path: str, least: int, most: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.fault(path, f"a whole number from {least} to {most} is needed", value)
            return least
        return value

    def amount(self, value: Any, path: str) -> Decimal:
        try:
            found = Decimal(str(value)) if not isinstance(value, bool) else Decimal(-1)
        except InvalidOperation:
            found = Decimal(-1)
        if not found.is_finite() or found <= 0:
            self.fault(path, "an amount above 0 is needed", value)
            return Decimal(1)
        return found

    def flag(self, value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            self.fault(path, "true or false is needed", value)
        return bool(value)

    def duration(self, value: Any, path: str) -> timedelta:
        try:
            return durations.parse(value)
        except ValueError as error:
            self.fault(path, str(error), value)
            return timedelta(0)

    def zone(self, value: Any, path: str) -> str:
        if not isinstance(value, str) or zone_named(value) is None:
            self.fault(path, "is no time zone such as Europe/Berlin", value)
            return "UTC"
        return value

    def moment(self, value: Any, path: str, zone: tzinfo) -> datetime | None:
        """Read "day 3 18:30" or "2026-10-25 18:30" by a clock, or a moment with its offset from UTC."""
        if value is _MISSING:
            return None
        text = str(value)
        day = _DAY.fullmatch(text)
        try:
            if day is not None:
                wall = datetime.combine(
                    self.first_day + timedelta(days=int(day[1]) - 1), clock_time(day[2])
                )
            else:
                wall = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            self.fault(
                path,
                "is no moment; write “day 3 18:30”, “2026-10-25 18:30” or one with +02:00",
                value,
            )
            return None
        if wall.tzinfo is not None:
            return wall.astimezone(UTC)
        at = wall.replace(tzinfo=zone).astimezone(UTC)
        if at.astimezone(zone).replace(tzinfo=None) != wall:
            self.fault(path, f"is no time on the clocks of {zone}: they go forward", value)
        return at
