"""The definition of a segment: rules in nested groups, as Python and as JSON.

AllOf(EventCount(type="product_viewed", at_least=3, days=7), Not(OrderCount(at_least=1)))

{"all": [{"rule": "event", "type": "product_viewed", "at_least": 3, "days": 7},
         {"not": {"rule": "order_count", "at_least": 1}}]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.models import Profile
from saleor_personalize.segments.rules import InvalidRule, Names, People, Rule, known_rules
from saleor_personalize.segments.rules.base import close_to, people_of, speakers
from saleor_personalize.segments.rules.profile import refused_profiling

#: Deepest nesting and most rules of one definition.
MAX_DEPTH = 8
MAX_RULES = 50


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where: a path such as "all[1].not.at_least"; "" is the whole."""

    path: str
    message: str


class InvalidDefinition(PersonalizeError):
    """A definition (or the key or name of a segment) cannot be used; every fault is told at once."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(
            "; ".join(
                f"{fault.path}: {fault.message}" if fault.path else fault.message
                for fault in faults
            )
        )
        self.faults = faults


class AllOf:
    """Every part must match; without parts everybody does."""

    key = "all"

    def __init__(self, *parts: Definition) -> None:
        self.parts = parts

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash((self.key, self.parts))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"

    def to_json(self) -> dict[str, Any]:
        return {self.key: [part.to_json() for part in self.parts]}

    def as_q(self, people: People) -> Q:
        q = Q()
        for part in self.parts:
            q &= part.as_q(people)
        return q

    def matches(self, profile: Profile, now: datetime) -> bool:
        return all(part.matches(profile, now) for part in self.parts)

    def moved(self, people: People, since: datetime) -> list[QuerySet[Any]]:
        return [rows for part in self.parts for rows in part.moved(people, since)]

    def description(self, names: Names | None = None) -> str:
        return self._joined(_(" and "), _("everybody"), names)

    def _joined(self, word: str, empty: str, names: Names | None) -> str:
        told = []
        for part in self.parts:
            text = part.description(names)
            is_group = isinstance(part, AllOf) and len(part.parts) > 1 < len(self.parts)
            told.append(f"({text})" if is_group else text)
        return word.join(told) or empty


class AnyOf(AllOf):
    """At least one part must match; without parts nobody does."""

    key = "any"

    def as_q(self, people: People) -> Q:
        if not self.parts:
            return Q(pk__in=[])
        q = Q()
        for part in self.parts:
            # An empty Q is everybody, which `|` would forget.
            q |= part.as_q(people) or Q(pk__isnull=False)
        return q

    def matches(self, profile: Profile, now: datetime) -> bool:
        return any(part.matches(profile, now) for part in self.parts)

    def description(self, names: Names | None = None) -> str:
        return self._joined(_(" or "), _("nobody"), names)


@dataclass(frozen=True)
class Not:
    """The part must not match."""

    part: Definition

    def to_json(self) -> dict[str, Any]:
        return {"not": self.part.to_json()}

    def as_q(self, people: People) -> Q:
        return ~(self.part.as_q(people) or Q(pk__isnull=False))

    def matches(self, profile: Profile, now: datetime) -> bool:
        return not self.part.matches(profile, now)

    def moved(self, people: People, since: datetime) -> list[QuerySet[Any]]:
        return self.part.moved(people, since)

    def description(self, names: Names | None = None) -> str:
        return _("not (%(what)s)") % {"what": self.part.description(names)}


Definition = AllOf | Not | Rule


def matching(definition: Definition, people: People) -> QuerySet[Profile]:
    """Return the profiles that speak for the people who match; who refused profiling never does."""
    return speakers(people).filter(definition.as_q(people)).exclude(refused_profiling(people))


def matches(definition: Definition, profile: Profile, now: datetime) -> bool:
    """Tell whether the person behind a profile matches; always agrees with `matching`."""
    one = people_of(profile, now)
    is_refused = speakers(one).filter(refused_profiling(one)).exists()
    return not is_refused and definition.matches(profile, now)


def leaves(definition: Definition, path: str = "") -> Iterator[tuple[str, Rule]]:
    """Yield every rule with its path."""
    if isinstance(definition, Rule):
        yield path, definition
    elif isinstance(definition, Not):
        yield from leaves(definition.part, _below(path, "not"))
    else:
        for index, part in enumerate(definition.parts):
            yield from leaves(part, _below(path, f"{definition.key}[{index}]"))


def from_json(value: Any) -> Definition:
    """Return the definition that a JSON value holds. Raises InvalidDefinition with every fault."""
    faults: list[Fault] = []
    found = _read(value, "", 1, faults)
    if not faults and found is not None and sum(1 for _leaf in leaves(found)) > MAX_RULES:
        faults.append(
            Fault("", _("at most %(count)d rules fit in one segment") % {"count": MAX_RULES})
        )
    if faults or found is None:
        raise InvalidDefinition(faults)
    return found


def _read(value: Any, path: str, depth: int, faults: list[Fault]) -> Definition | None:
    if not isinstance(value, Mapping):
        faults.append(Fault(path, _("a rule or a group is needed, as an object")))
        return None
    if depth > MAX_DEPTH:
        faults.append(Fault(path, _("groups may be nested %(count)d deep") % {"count": MAX_DEPTH}))
        return None
    if "rule" in value:
        return _read_rule(value, path, faults)
    words = [word for word in ("all", "any", "not") if word in value]
    if len(words) != 1 or len(value) != 1:
        unknown = next((str(key) for key in value if key not in ("all", "any", "not")), "")
        hint = close_to(unknown, ("all", "any", "not", "rule")) if unknown else ""
        faults.append(
            Fault(path, _("exactly one of “all”, “any”, “not” or “rule” is needed") + hint)
        )
        return None
    word = words[0]
    if word == "not":
        part = _read(value["not"], _below(path, "not"), depth + 1, faults)
        return None if part is None else Not(part)
    if not isinstance(value[word], list):
        faults.append(Fault(_below(path, word), _("a list is needed")))
        return None
    parts = [
        _read(part, _below(path, f"{word}[{index}]"), depth + 1, faults)
        for index, part in enumerate(value[word][: MAX_RULES + 1])
    ]
    group = AllOf if word == "all" else AnyOf
    return group(*(part for part in parts if part is not None))


def _read_rule(value: Mapping[str, Any], path: str, faults: list[Fault]) -> Rule | None:
    key, known = value["rule"], known_rules()
    if not isinstance(key, str) or key not in known:
        shown = str(key)[:60]
        faults.append(
            Fault(
                _below(path, "rule"),
                _("there is no rule “%(name)s”.") % {"name": shown} + close_to(shown, known),
            )
        )
        return None
    names = known[key].parameters()
    given = {name: part for name, part in value.items() if name != "rule"}
    unknown = [name for name in given if name not in names]
    for name in unknown:
        faults.append(
            Fault(
                _below(path, str(name)[:60]),
                _("the rule “%(rule)s” has no such parameter.") % {"rule": key}
                + close_to(str(name), names),
            )
        )
    try:
        found = known[key](**{name: part for name, part in given.items() if name in names})
    except InvalidRule as error:
        faults.extend(Fault(_below(path, name), text) for name, text in error.faults.items())
        return None
    return None if unknown else found


def _below(path: str, name: str) -> str:
    return ".".join(part for part in (path, name) if part)
