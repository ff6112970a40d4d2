"""What a rule is: it describes itself, finds its people in SQL, and answers for one person.

A rule speaks of people, not of profiles: facts of all profiles of a person count together, and a
person is known by the profile that speaks for them (`Profile.person_id`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, ClassVar

from django.db.models import Count, Model, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.models import Installation, Profile

#: A lazy translation or a plain text.
Text = Any
#: (kind of thing, id) -> its name, or "" when it has none; kinds are those of `Parameter.names`.
Names = Callable[[str, str], str]

MAX_TEXT = 255
#: Longest window, in days: older facts may be gone by their retention.
MAX_DAYS = 3_650
MAX_COUNT = 1_000_000


class Kind(StrEnum):
    """What a parameter takes."""

    TEXT = "text"
    INTEGER = "integer"
    AMOUNT = "amount"
    DATE = "date"
    CHOICE = "choice"


class InvalidRule(PersonalizeError):
    """Parameters of one rule are wrong: `faults` says what, by parameter ("" is the whole rule)."""

    def __init__(self, key: str, faults: Mapping[str, str]) -> None:
        told = "; ".join(f"{name}: {text}" if name else text for name, text in faults.items())
        super().__init__(f"Rule {key!r}: {told}")
        self.faults = dict(faults)


@dataclass(frozen=True)
class Parameter:
    """One thing that a rule asks for."""

    label: Text
    kind: Kind
    #: How a value reads in the sentence; `%(value)s` stands for it.
    phrase: Text
    is_required: bool = False
    choices: Mapping[str, Text] = dataclasses.field(default_factory=dict)
    minimum: int | None = None
    maximum: int | None = None
    #: What the value is an id of: "product", "category", "segment"; "" for anything else.
    names: str = ""
    upper: bool = False

    def parse(self, value: Any) -> Any:
        """Return the value as its kind, None or "" when not given. Raises ValueError with the reason."""
        if value is None or value == "":
            return "" if self.kind in (Kind.TEXT, Kind.CHOICE) else None
        return getattr(self, f"_{self.kind.value}")(value)

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(_("a text is needed"))  # noqa: TRY004 (one kind of fault)
        if len(value) > MAX_TEXT or not value.isprintable():
            raise ValueError(_("at most %(count)d printable characters") % {"count": MAX_TEXT})
        return value.strip().upper() if self.upper else value.strip()

    def _choice(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise ValueError(
                _("one of %(choices)s is needed") % {"choices": ", ".join(self.choices)}
                + close_to(str(value), self.choices)
            )
        return value

    def _integer(self, value: Any) -> int:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        is_digits = isinstance(value, str) and value.isascii() and value.isdecimal()
        if not (is_number or is_digits) or len(str(value)) > 9:
            raise ValueError(_("a whole number is needed"))
        number = int(value)
        low, high = self.minimum or 0, MAX_COUNT if self.maximum is None else self.maximum
        if not low <= number <= high:
            raise ValueError(
                _("a whole number from %(low)d to %(high)d is needed") % {"low": low, "high": high}
            )
        return number

    def _amount(self, value: Any) -> Decimal:
        try:
            number = Decimal(str(value)[:30])
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or not 0 <= number < 10**12 or number != round(number, 3):
            raise ValueError(_("an amount such as 49.90 is needed"))
        return number

    def _date(self, value: Any) -> date:
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        try:
            found = date.fromisoformat(value)
        except (TypeError, ValueError):
            found = None
        if found is None or not 1900 < found.year < 2200:
            raise ValueError(_("a date such as 2026-01-31 is needed"))
        return found

    def written(self, value: Any) -> Any:
        """Return a parsed value as JSON holds it."""
        if isinstance(value, Decimal):
            return format(value, "f")
        return value.isoformat() if isinstance(value, date) else value

    def told(self, value: Any, names: Names | None) -> str:
        """Return the part of the sentence that this value adds."""
        shown: Any = self.written(value)
        if self.choices:
            shown = str(self.choices[value])
        elif self.names and names is not None:
            shown = names(self.names, value) or value
        return str(self.phrase % {"value": shown})


def close_to(given: str, known: Any) -> str:
    """Return " Did you mean ...?" for a name that is nearly right, else ""."""
    import difflib

    close = difflib.get_close_matches(given[:MAX_TEXT], list(known), n=1)
    return " " + _("Did you mean %(name)s?") % {"name": close[0]} if close else ""


def parameter(
    label: Text, kind: Kind = Kind.TEXT, phrase: Text = "%(value)s", **options: Any
) -> Any:
    """Declare a parameter of a rule, as a field of its dataclass."""
    described = Parameter(label=label, kind=kind, phrase=phrase, **options)
    empty = "" if kind in (Kind.TEXT, Kind.CHOICE) else None
    return dataclasses.field(default=empty, metadata={"parameter": described})


@dataclass(frozen=True)
class People:
    """Whose facts a rule looks at, and the moment it looks from.

    `profile_ids` None: everybody of the shop; else all profiles of the people in question.
    """

    installation: Installation
    now: datetime
    profile_ids: tuple[int, ...] | None = None

    def facts(self, model: type[Model], owner: str = "profile") -> QuerySet[Any]:
        """Return the rows of a model that belong to these people; `owner` leads to the profile."""
        rows: QuerySet[Any] = model._default_manager.of(self.installation)  # type: ignore[attr-defined]
        wanted = Q(**{f"{owner}__isnull": False})
        if self.profile_ids is not None:
            wanted = Q(**{f"{owner}__in": self.profile_ids})
        return rows.filter(wanted)

    @staticmethod
    def persons(facts: QuerySet[Any], owner: str = "profile") -> QuerySet[Any]:
        """Return the persons behind facts (their `person_id`), one row per fact."""
        person = Coalesce(f"{owner}__merged_into", owner)
        rows: QuerySet[Any] = facts.order_by().annotate(person=person).values("person")
        return rows

    def with_any(self, facts: QuerySet[Any], owner: str = "profile") -> Q:
        """Say "has at least one of these facts", over the profiles that speak for people."""
        return Q(pk__in=self.persons(facts, owner))


class Rule:
    """One condition. Subclasses are frozen dataclasses whose fields are made by `parameter`.

    A new rule is proved by `saleor_personalize.testing.contracts.RuleTests` and named in SEGMENT_RULES.
    """

    #: Name in JSON; stored, so never renamed.
    key: ClassVar[str]
    #: Title of the form and start of the sentence.
    title: ClassVar[Text]

    def __post_init__(self) -> None:
        faults: dict[str, str] = {}
        for name, described in self.parameters().items():
            try:
                value = described.parse(getattr(self, name))
            except ValueError as error:
                faults[name] = str(error)
                continue
            object.__setattr__(self, name, value)
            if described.is_required and value in (None, ""):
                faults[name] = _("this is needed")
        if not faults:
            faults = dict(self.faults())
        if faults:
            raise InvalidRule(self.key, faults)

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """Return what the rule asks for, by name, in the order of its form."""
        return {
            field.name: field.metadata["parameter"]
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        }

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield (parameter, reason) for values that are wrong together."""
        return iter(())

    def given(self) -> dict[str, Any]:
        """Return the parameters that have a value."""
        values = {name: getattr(self, name) for name in self.parameters()}
        return {name: value for name, value in values.items() if value not in (None, "")}

    def to_json(self) -> dict[str, Any]:
        known = self.parameters()
        return {
            "rule": self.key,
            **{name: known[name].written(value) for name, value in self.given().items()},
        }

    def description(self, names: Names | None = None) -> str:
        """Return a sentence for the shop owner; `names` tells products and categories by name."""
        known = self.parameters()
        parts = [known[name].told(value, names) for name, value in self.given().items()]
        return f"{self.title}: {', '.join(parts)}" if parts else str(self.title)

    def as_q(self, people: People) -> Q:
        """Return the condition over the profiles that speak for people. It looks at `people` only."""
        raise NotImplementedError

    def as_queryset(self, people: People) -> QuerySet[Profile]:
        """Return the profiles that speak for the people who match."""
        return speakers(people).filter(self.as_q(people))

    def matches(self, profile: Profile, now: datetime) -> bool:
        """Tell whether the person behind a profile matches; always agrees with `as_queryset`."""
        raise NotImplementedError

    def moved(self, people: People, since: datetime) -> list[QuerySet[Any]]:
        """Return the persons (ids) for whom the clock alone may have changed the answer.

        From `since` (exclusive) to `people.now` (inclusive). Empty for rules without a window.
        """
        return []

    @property
    def needs_segment(self) -> str:
        """Key of the segment that the answer depends on; "" for none."""
        return ""


def speakers(people: People) -> QuerySet[Profile]:
    """Return the profiles that speak for a person each."""
    rows = Profile.objects.of(people.installation).filter(merged_into=None)
    return rows if people.profile_ids is None else rows.filter(pk__in=people.profile_ids)


def people_of(profile: Profile, now: datetime) -> People:
    """Return one person as `People`."""
    ids = tuple(profile.person().values_list("pk", flat=True))
    return People(profile.installation, now, ids)


def at_least(**options: Any) -> Any:
    return parameter(
        gettext_lazy("At least"),
        Kind.INTEGER,
        ngettext_lazy("at least %(value)s time", "at least %(value)s times", "value"),
        **options,
    )


def at_most() -> Any:
    return parameter(
        gettext_lazy("At most (0: never)"),
        Kind.INTEGER,
        ngettext_lazy("at most %(value)s time", "at most %(value)s times", "value"),
    )


def days() -> Any:
    return parameter(
        gettext_lazy("Within the last days"),
        Kind.INTEGER,
        ngettext_lazy("in the last %(value)s day", "in the last %(value)s days", "value"),
        minimum=1,
        maximum=MAX_DAYS,
    )


def product() -> Any:
    return parameter(
        gettext_lazy("Product"), phrase=gettext_lazy("product %(value)s"), names="product"
    )


def category() -> Any:
    return parameter(
        gettext_lazy("Category, with those below"),
        phrase=gettext_lazy("category %(value)s"),
        names="category",
    )


def channel() -> Any:
    return parameter(
        gettext_lazy("Sales channel"),
        phrase=gettext_lazy("sales channel %(value)s"),
        names="channel",
    )


def currency(**options: Any) -> Any:
    return parameter(gettext_lazy("Currency"), upper=True, **options)


def range_faults(low: Any, high: Any, low_name: str, high_name: str) -> Iterator[tuple[str, str]]:
    if low is not None and high is not None and low > high:
        yield high_name, _("this is less than “%(name)s”") % {"name": low_name}


class FactRule(Rule):
    """So many facts of a kind, within a window that moves with the clock.

    Subclasses say which facts (`facts`); counting, windows, SQL and the answer for one person follow.
    """

    #: From a fact to its profile, and to the moment that its window looks at.
    owner: ClassVar[str] = "profile"
    time: ClassVar[str] = "occurred_at"

    days: int | None

    def facts(self, people: People) -> QuerySet[Any]:
        """Return the facts that count, whenever they happened."""
        raise NotImplementedError

    def measure(self) -> Any:
        """Return the aggregate that is compared with the limits."""
        return Count("*")

    def limits(self) -> tuple[Any, Any]:
        """Return the least and the most of it; None: no limit."""
        return 1, None

    def as_q(self, people: People) -> Q:
        low, high = self.limits()
        measured = people.persons(self._in_window(people), self.owner).annotate(n=self.measure())
        q = Q()
        if low:
            q &= Q(pk__in=measured.filter(n__gte=low).values("person"))
        if high is not None:
            q &= ~Q(pk__in=measured.filter(n__gt=high).values("person"))
        return q

    def matches(self, profile: Profile, now: datetime) -> bool:
        found = self._in_window(people_of(profile, now)).aggregate(n=self.measure())["n"] or 0
        low, high = self.limits()
        return (low is None or found >= low) and (high is None or found <= high)

    def moved(self, people: People, since: datetime) -> list[QuerySet[Any]]:
        if not self.days:
            return []
        return [self.left_window(people, since, timedelta(days=self.days))]

    def left_window(self, people: People, since: datetime, length: timedelta) -> QuerySet[Any]:
        """Return the persons with a fact that became older than `length` since then."""
        crossed = self.times(after=since - length, until=people.now - length)
        return people.persons(self.facts(people).filter(crossed), self.owner).distinct()

    def times(self, *, after: datetime, until: datetime | None = None) -> Q:
        """Return the condition on facts later than a moment, up to another one."""
        q = Q(**{f"{self.time}__gt": after})
        return q if until is None else q & Q(**{f"{self.time}__lte": until})

    def _in_window(self, people: People) -> QuerySet[Any]:
        facts = self.facts(people)
        if not self.days:
            return facts
        return facts.filter(self.times(after=people.now - timedelta(days=self.days)))


class CountRule(FactRule):
    """A `FactRule` with `at_least` and `at_most`, one of which is needed."""

    at_least: int | None
    at_most: int | None

    def limits(self) -> tuple[Any, Any]:
        return self.at_least, self.at_most

    def faults(self) -> Iterator[tuple[str, str]]:
        if self.at_least is None and self.at_most is None:
            yield "at_least", _("say how often: at least, at most, or both")
        yield from range_faults(self.at_least, self.at_most, "at_least", "at_most")


__all__ = ["CountRule", "FactRule", "InvalidRule", "Kind", "Names", "Parameter", "People", "Rule"]
