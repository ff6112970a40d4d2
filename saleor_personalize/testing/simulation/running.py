"""One run: journeys, people and a clock that jumps, on a database that holds nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db.models import Count, Q
from django.test.utils import override_settings

from saleor_personalize import signals
from saleor_personalize.conf import SETTING_NAME, settings
from saleor_personalize.enums import EnrollmentStatus, JourneySource, MessageStatus, OfferKind
from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.definitions import Definition, InvalidJourney
from saleor_personalize.journeys.outside import Outside
from saleor_personalize.journeys.time_machine import TimeMachine
from saleor_personalize.journeys.triggers import Question, trigger_of
from saleor_personalize.journeys.triggers.silence import Silent
from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage, SendResult
from saleor_personalize.models import Enrollment, Installation, Message
from saleor_personalize.offers.paper import Paper
from saleor_personalize.segments import operations as segments
from saleor_personalize.testing.simulation import generated, outcome, stories
from saleor_personalize.testing.simulation.outcome import Decision, Held, Simulation
from saleor_personalize.testing.simulation.shop import Shop
from saleor_personalize.testing.simulation.stories import Stories
from saleor_personalize.traits import operations as traits

#: What a journey is given by: a file, the key of a built-in one, or the YAML itself.
Given = str | Path
Answer = Callable[[Question], Any]


class SimulationRefused(PersonalizeError):
    """What was asked for cannot be simulated, or not here."""


class Recorder(Channel):
    """A delivery channel that keeps what it is given, and gives it to nobody."""

    def __init__(self) -> None:
        self.subjects: dict[str, str] = {}

    def send(self, message: OutgoingMessage) -> SendResult:
        self.subjects[message.key] = message.subject
        return SendResult(provider_message_id=f"simulated-{message.key}")


def simulate(
    given: Iterable[Given] | Given,
    *,
    people: Path | str | Mapping[str, Any] | None = None,
    days: int | None = None,
    start: datetime | date | None = None,
    seed: int = 0,
    count: int = 200,
    answer: Answer | None = None,
) -> Simulation:
    """Run people through journeys with a simulated clock; return who got what, when and why not.

    See `saleor_personalize.testing.simulate`.
    """
    if Installation.objects.exists():
        raise SimulationRefused(
            "This database holds a shop. A simulation needs one of its own: run `saleor-personalize "
            "simulate`, or call simulate() in a test on an empty test database."
        )
    found = load(given)
    told = _stories(found, people, days, _moment(start), seed, count)
    with _settings_of(told), signals.muted():
        try:
            return _run(found, told, answer)
        finally:
            Installation.objects.all().delete()


# -- what is given --------------------------------------------------------------------------------------


def load(given: Iterable[Given] | Given) -> dict[str, Definition]:
    """Return the definitions of journeys by key. Raises SimulationRefused with every fault."""
    found: dict[str, Definition] = {}
    faults: list[str] = []
    known = journeys.known()
    for one in [given] if isinstance(given, (str, Path)) else given:
        try:
            definition = _definition(one, known)
        except InvalidJourney as error:
            name = "the journey" if "\n" in str(one) else one
            faults.append(f"{name}:\n{error}")
            continue
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{one}: {error}")
            continue
        if definition.journey in found:
            faults.append(f"{one}: the journey {definition.journey} is given twice.")
        found[definition.journey] = definition
    if not found and not faults:
        faults.append("No journey is given: name files, or built-in ones by key.")
    if faults:
        raise SimulationRefused("\n".join(faults))
    return found


def _definition(one: Given, known: definitions.Known) -> Definition:
    text = str(one)
    if "\n" in text:
        return definitions.load(text, known=known)
    if not Path(text).exists() and text in journeys.built_in():
        return journeys.built_in()[text]
    if not Path(text).exists() and "/" not in text and "." not in text:
        there = ", ".join(sorted(journeys.built_in()))
        raise SimulationRefused(f"{text}: is no file and no built-in journey. Built in: {there}.")
    return definitions.load(Path(text).read_text(encoding="utf-8"), known=known)


def _stories(
    found: Mapping[str, Definition],
    people: Path | str | Mapping[str, Any] | None,
    days: int | None,
    start: datetime | None,
    seed: int,
    count: int,
) -> Stories:
    if people is None:
        begin = start or stories.midnight(datetime.now(UTC).date(), "UTC")
        return generated.people(start=begin, days=days or 30, count=count, seed=seed)
    names: dict[str, Any] = {
        "messages": [
            f"{key}/{step.id}"
            for key, definition in found.items()
            for _path, step in definitions.walk(definition)
            if isinstance(step, definitions.Message)
        ],
        "topics": tuple(settings.TOPICS),
        "journeys": tuple(found),
        "start": start,
        "days": days,
    }
    if isinstance(people, Mapping):
        return stories.parse(people, **names)
    if isinstance(people, str) and "\n" in people:
        return stories.read(people, **names)
    try:
        text = Path(people).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SimulationRefused(f"{people}: {error}") from error
    try:
        return stories.read(text, **names)
    except stories.InvalidStories as error:
        raise SimulationRefused(f"{people}:\n{error}") from error


def _moment(start: datetime | date | None) -> datetime | None:
    if start is None:
        return None
    if isinstance(start, datetime):
        return start if start.tzinfo is not None else start.replace(tzinfo=UTC)
    return datetime(start.year, start.month, start.day, tzinfo=UTC)


@contextmanager
def _settings_of(told: Stories) -> Iterator[None]:
    """Let the service think that it serves the made-up shop; what the shop has set itself stays."""
    from django.conf import settings as django_settings

    given = dict(getattr(django_settings, SETTING_NAME, {}))
    page = "https://shop.simulated.invalid"
    instead = {
        "APP_URL": given.get("APP_URL") or page,
        "DEFAULT_SENDER": given.get("DEFAULT_SENDER") or "Simulated shop <shop@simulated.invalid>",
        "CHECKOUT_URL": given.get("CHECKOUT_URL") or f"{page}/checkout?checkout={{checkout_id}}",
        "PRODUCT_URL": given.get("PRODUCT_URL") or f"{page}/product/{{slug}}",
        "TIME_ZONE": told.shop.time_zone,
        "DRY_RUN": False,
        # Whoever is left alone by chance makes a story unreadable; `settings` of a story may ask for it.
        "HOLDOUT_PERCENT": 0,
        "JOURNEY_HOLDOUT_PERCENT": 0,
        "OFFERS": True,
    }
    for name, value in told.settings.items():
        instead[name] = {**getattr(settings, name), **value} if isinstance(value, dict) else value
    with override_settings(**{SETTING_NAME: {**given, **instead}}):
        yield


# -- the run -------------------------------------------------------------------------------------------


def _run(found: Mapping[str, Definition], told: Stories, answer: Answer | None) -> Simulation:
    recorder, held = Recorder(), _HeldLog()
    machine: TimeMachine

    def answered(question: Question) -> Any:
        mine = answer(question) if answer is not None else None
        return shop.answer(question) if mine is None else mine

    shop = Shop(told, lambda at, do: machine.plan(at, do))
    machine = TimeMachine(
        outside=Outside(ask=answered, connect=Paper().connect, channel=recorder),
        before_look=(lambda now: _bring_up(shop, now)) if _needs_traits(found, told) else _nothing,
        after=held.look,
    )
    acts = [
        *((act.at, _doing(shop.happen, act)) for act in told.story),
        *(
            (act.at, _doing(_by(shop, person), act))
            for person in told.people
            for act in person.story
        ),
    ]
    acts.sort(key=lambda pair: pair[0])
    before = [at for at, _do in acts if at < told.start]
    opened = min([*before, told.start - timedelta(hours=1)])
    shop.open(opened)
    for at, do in acts:
        if at < told.start:
            do(at)
        else:
            machine.plan(at, do)
    _bring_up(shop, told.start)
    for definition in found.values():
        journeys.publish(
            installation=shop.installation,
            definition=definition,
            source=JourneySource.FILE,
            now=told.start,
        )
        journey = journeys.ensure_journey(installation=shop.installation, key=definition.journey)
        journeys.go_live(journey=journey, now=told.start)
    machine.run(told.start, told.end)
    return _outcome(found, told, shop, recorder, held)


def _doing(do: Callable[[stories.Act, datetime], None], act: stories.Act) -> Any:
    return lambda now: do(act, now)


def _by(shop: Shop, person: stories.Person) -> Callable[[stories.Act, datetime], None]:
    return lambda act, now: shop.act(person, act, now)


def _needs_traits(found: Mapping[str, Definition], told: Stories) -> bool:
    """Tell whether anything may look at traits or segments, which tasks keep up to date."""
    triggers = {type(trigger_of(definition.trigger)) for definition in found.values()}
    own = "saleor_personalize."
    return bool(told.shop.segments) or any(
        issubclass(trigger, Silent) or not trigger.__module__.startswith(own)
        for trigger in triggers
    )


def _nothing(now: datetime) -> None:
    """Nothing has to be brought up to date."""


def _bring_up(shop: Shop, now: datetime) -> None:
    """Do what tasks do about traits and segments."""
    traits.compute_due(installation=shop.installation, now=now)
    segments.evaluate_due(now=now)
    segments.evaluate_clock(now=now)
    while segments.evaluate_changed(now=now):
        pass


class _HeldLog:
    """Notes when a message is put off."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, datetime, datetime, str]] = []
        self._seen: dict[int, tuple[str, datetime]] = {}

    def look(self, now: datetime) -> None:
        rows = (
            Enrollment.objects.filter(status=EnrollmentStatus.WAITING, due_at__gt=now)
            .exclude(held_by="")
            .values_list("pk", "profile_id", "journey__key", "due_at", "held_by")
        )
        for pk, profile_id, key, due_at, reason in rows:
            if self._seen.get(pk) != (reason, due_at):
                self._seen[pk] = reason, due_at
                self.rows.append((profile_id, key, now, due_at, reason))


def _outcome(
    found: Mapping[str, Definition],
    told: Stories,
    shop: Shop,
    recorder: Recorder,
    held: _HeldLog,
) -> Simulation:
    whose = shop.whose()
    messages = (
        Message.objects.of(shop.installation)
        .exclude(enrollment=None)
        .select_related("enrollment__journey")
        .order_by("decided_at", "pk")
    )
    decisions = tuple(_decision(message, whose, recorder) for message in messages)
    counts = {
        key: (entered, reached, waiting)
        for key, entered, reached, waiting in Enrollment.objects.of(shop.installation)
        .values("journey__key")
        .annotate(
            entered=Count("pk"),
            reached=Count("pk", filter=Q(status=EnrollmentStatus.REACHED)),
            waiting=Count("pk", filter=Q(status=EnrollmentStatus.WAITING)),
        )
        .values_list("journey__key", "entered", "reached", "waiting")
    }
    rows = {key: counts.get(key, (0, 0, 0)) for key in found}
    return Simulation(
        stories=told,
        decisions=decisions,
        held=tuple(
            Held(whose[profile], key, at, until, reason)
            for profile, key, at, until, reason in held.rows
        ),
        journeys=outcome.summaries(rows, decisions),
    )


def _decision(message: Message, whose: Mapping[int, str], recorder: Recorder) -> Decision:
    row = message.enrollment
    if row is None:
        raise TypeError("a message of no journey")
    prefix = f"{row.journey.key}:{row.entry_key}:"
    step = message.idempotency_key.removeprefix(prefix).partition(":")[0]
    is_sent = message.status == MessageStatus.SENT
    return Decision(
        person=whose[message.profile_id],
        name=f"{row.journey.key}/{step}",
        at=message.decided_at,
        reason="" if is_sent else message.reason or message.status,
        subject=recorder.subjects.get(message.public_id.hex, ""),
        offer=_worth(message.content.get("offer")),
        error=message.error,
    )


def _worth(offer: Mapping[str, Any] | None) -> str:
    """Return what an offer is worth: "10 %", "5.00 EUR", or "free delivery"."""
    if not offer:
        return ""
    if offer["kind"] == OfferKind.FREE_SHIPPING:
        return "free delivery"
    unit = "%" if offer["kind"] == OfferKind.PERCENT else offer["currency"]
    return f"{offer['value']} {unit}"
