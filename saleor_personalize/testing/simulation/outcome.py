"""What came of a simulation: who got what, when, and why not; and whether that was expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from saleor_personalize.enums import NotSentReason
from saleor_personalize.messaging.clocks import zone_named
from saleor_personalize.testing.simulation.stories import Expected, Person, Stories


@dataclass(frozen=True)
class Decision:
    """A message that was sent to a person, or was not, and why. `name` is "journey/step"."""

    person: str
    name: str
    at: datetime
    #: A NotSentReason; empty when it was sent.
    reason: str = ""
    subject: str = ""
    #: What the offer is worth that it carries, such as "10 %"; empty without one.
    offer: str = ""
    error: str = ""

    @property
    def is_sent(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Held:
    """A message that was put off at `at` until `until`."""

    person: str
    journey: str
    at: datetime
    until: datetime
    reason: str


@dataclass(frozen=True)
class JourneySummary:
    """How many people came into a journey, reached its goal, left otherwise, and wait in it at the end.

    `steps`: step -> (sent, {reason: not sent}).
    """

    journey: str
    entered: int
    reached: int
    waiting: int
    steps: Mapping[str, tuple[int, Mapping[str, int]]]


@dataclass(frozen=True)
class Simulation:
    """The outcome of one run."""

    stories: Stories
    decisions: tuple[Decision, ...]
    held: tuple[Held, ...] = ()
    journeys: tuple[JourneySummary, ...] = ()
    _by_person: dict[str, list[Decision]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for decision in self.decisions:
            self._by_person.setdefault(decision.person, []).append(decision)

    def of(self, person: str) -> list[Decision]:
        """Return all decisions about a person, in order."""
        return list(self._by_person.get(person, ()))

    def sent(self, person: str) -> list[str]:
        """Return the messages that a person got, as "journey/step"."""
        return [each.name for each in self.of(person) if each.is_sent]

    def not_sent(self, person: str) -> list[tuple[str, str]]:
        """Return the messages that a person did not get, each with its reason."""
        return [(each.name, each.reason) for each in self.of(person) if not each.is_sent]

    def local(self, person: str, at: datetime) -> str:
        """Return a moment as the clock of a person shows it, with the day of the simulation."""
        return when(at, self._person(person), self.stories)

    @property
    def failures(self) -> list[str]:
        """Return what did not come as expected: one text per person, with the difference."""
        return [
            text
            for person in self.stories.people
            if person.expect is not None
            and (text := difference(person, self.of(person.key), self.stories))
        ]

    def check(self) -> None:
        """Raise AssertionError with the differences, if anything did not come as expected."""
        if self.failures:
            raise AssertionError("\n\n".join(["The simulation went otherwise:", *self.failures]))

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON: moments in UTC and by the person's clock."""
        stories = self.stories
        return {
            "start": stories.start.isoformat(),
            "end": stories.end.isoformat(),
            "people": {
                person.key: {
                    "time_zone": person.time_zone,
                    "decisions": [self._decision(person, each) for each in self.of(person.key)],
                    "held": [
                        {
                            "journey": each.journey,
                            "at": each.at.isoformat(),
                            "until": each.until.isoformat(),
                            "reason": each.reason,
                        }
                        for each in self.held
                        if each.person == person.key
                    ],
                }
                for person in stories.people
            },
            "journeys": [
                {
                    "journey": row.journey,
                    "entered": row.entered,
                    "reached": row.reached,
                    "waiting": row.waiting,
                    "steps": {
                        step: {"sent": sent, "not_sent": dict(reasons)}
                        for step, (sent, reasons) in row.steps.items()
                    },
                }
                for row in self.journeys
            ],
            "failures": self.failures,
        }

    def _decision(self, person: Person, decision: Decision) -> dict[str, Any]:
        return {
            "message": decision.name,
            "status": "sent" if decision.is_sent else "not_sent",
            "reason": decision.reason or None,
            "at": decision.at.isoformat(),
            "local": decision.at.astimezone(person.zone).isoformat(),
            "day": day_of(decision.at, person, self.stories),
            "subject": decision.subject,
            "offer": decision.offer or None,
        }

    def _person(self, key: str) -> Person:
        return next(person for person in self.stories.people if person.key == key)


def summaries(rows: Mapping[str, tuple[int, int, int]], decisions: Iterable[Decision]) -> Any:
    """Return the summaries of journeys; `rows`: journey -> (entered, reached, waiting)."""
    sent: Counter[str] = Counter()
    missed: dict[str, Counter[str]] = {}
    for each in decisions:
        if each.is_sent:
            sent[each.name] += 1
        else:
            missed.setdefault(each.name, Counter())[each.reason] += 1
    names = sorted({*sent, *missed})
    return tuple(
        JourneySummary(
            journey,
            *counts,
            {
                name.partition("/")[2]: (
                    sent[name],
                    dict(missed.get(name, Counter()).most_common()),
                )
                for name in names
                if name.partition("/")[0] == journey
            },
        )
        for journey, counts in sorted(rows.items())
    )


# -- moments ----------------------------------------------------------------------------------------


def day_of(at: datetime, person: Person, stories: Stories) -> int:
    """Return the how manieth day of the simulation it is where a person is."""
    return (at.astimezone(person.zone).date() - stories.first_day).days + 1


def when(at: datetime, person: Person, stories: Stories) -> str:
    local = at.astimezone(person.zone)
    return f"day {day_of(at, person, stories)} {local:%H:%M} ({local:%a %Y-%m-%d %Z})"


# -- what was expected ------------------------------------------------------------------------------


def difference(person: Person, decisions: list[Decision], stories: Stories) -> str:
    """Return how what came differs from what was expected, line by line; nothing if it does not."""
    expected = person.expect or ()
    pairs = _aligned(expected, decisions)
    if all(wanted is not None and came is not None for wanted, came in pairs):
        return ""
    lines = [
        f"{person.key} ({person.time_zone}): {len(expected)} expected, {len(decisions)} came"
        "  (- expected, + came)"
    ]
    for wanted, came in pairs:
        if came is not None:
            sign = " " if wanted is not None else "+"
            lines.append(f"  {sign} {_line(came.name, came.reason, came.at, person, stories)}")
        elif wanted is not None:
            told = _line(wanted.name, wanted.reason, wanted.at, person, stories)
            lines.append(f"  - {told}   # {wanted.path}")
    return "\n".join(lines)


def _line(name: str, reason: str, at: datetime | None, person: Person, stories: Stories) -> str:
    told = f"not_sent {name}, reason {reason}" if reason else f"message {name}"
    return told if at is None else f"{told}, {when(at, person, stories)}"


def _is_as(wanted: Expected, came: Decision) -> bool:
    return (wanted.name, wanted.reason) == (came.name, came.reason) and (
        wanted.at is None or wanted.at == _minute(came.at)
    )


def _minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _aligned(
    expected: tuple[Expected, ...], came: list[Decision]
) -> list[tuple[Expected | None, Decision | None]]:
    """Put what was expected beside what came, in order, with as few leftovers as can be."""
    longest = [[0] * (len(came) + 1) for _ in range(len(expected) + 1)]
    for i in reversed(range(len(expected))):
        for j in reversed(range(len(came))):
            longest[i][j] = (
                longest[i + 1][j + 1] + 1
                if _is_as(expected[i], came[j])
                else max(longest[i + 1][j], longest[i][j + 1])
            )
    pairs: list[tuple[Expected | None, Decision | None]] = []
    i = j = 0
    while i < len(expected) and j < len(came):
        if _is_as(expected[i], came[j]):
            pairs.append((expected[i], came[j]))
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            pairs.append((expected[i], None))
            i += 1
        else:
            pairs.append((None, came[j]))
            j += 1
    pairs += [(each, None) for each in expected[i:]]
    pairs += [(None, each) for each in came[j:]]
    return pairs


# -- as a text ----------------------------------------------------------------------------------------


def lines(simulation: Simulation) -> Iterable[str]:
    """Yield the outcome as people read it: each person, then each journey."""
    stories = simulation.stories
    zone = zone_named(stories.shop.time_zone) or UTC
    yield (
        f"{len(stories.people)} people, {stories.days} days from "
        f"{stories.start.astimezone(zone):%Y-%m-%d} ({stories.shop.time_zone})"
    )
    for person in stories.people:
        own = _of_person(simulation, person)
        if own:
            yield f"\n{person.key}  {person.time_zone}"
            yield from own
    quiet = sum(not _of_person(simulation, person) for person in stories.people)
    if quiet:
        yield f"\n{quiet} people got nothing, and nothing was about to be sent to them."
    empty = [row.journey for row in simulation.journeys if not row.entered]
    if empty:
        yield f"\nNobody came into: {', '.join(empty)}"
    for row in simulation.journeys:
        if not row.entered:
            continue
        yield (
            f"\n{row.journey}: {row.entered} came in, {row.reached} reached its goal, "
            f"{row.waiting} wait at the end"
        )
        for step, (sent, reasons) in row.steps.items():
            missed = sum(reasons.values())
            why = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
            yield f"  {step}: {sent} sent, {missed} not sent{f' ({why})' if why else ''}"
    told = sorted(
        {each.reason for each in simulation.decisions if each.reason}
        | {each.reason for each in simulation.held}
    )
    if told:
        yield "\nReasons"
        width = max(map(len, told))
        for reason in told:
            yield f"  {reason:<{width}}  {NotSentReason(reason).label}"


def _of_person(simulation: Simulation, person: Person) -> list[str]:
    stories = simulation.stories
    rows: list[tuple[datetime, str]] = []
    for each in simulation.of(person.key):
        told = f"sent      {each.name}" if each.is_sent else f"not sent  {each.name}"
        about = f"“{each.subject}”" if each.is_sent else f"{each.reason} {each.error}".strip()
        offer = f", with an offer: {each.offer}" if each.offer else ""
        rows.append((each.at, f"{told}  {about}{offer}"))
    for held in simulation.held:
        if held.person == person.key:
            until = when(held.until, person, stories)
            rows.append((held.at, f"put off   {held.journey}  {held.reason} until {until}"))
    rows.sort(key=lambda row: row[0])
    return [f"  {when(at, person, stories)}  {text}" for at, text in rows]
