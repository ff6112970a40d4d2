"""What a definition is: frozen dataclasses, and what they may name (`Known`). Plain Python."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

#: Deepest nesting of steps, and most steps of one journey.
MAX_DEPTH = 6
MAX_STEPS = 100
#: Most of a hundred people that a journey may leave alone.
MAX_HOLDOUT = 50
KEY = r"[a-z][a-z0-9_]{0,58}"
STEP_ID = r"[a-z][a-z0-9_]{0,28}"
#: ordered, consent_lost, segment_left:vip, cart_added, custom:quiz_done
CONDITION = r"[a-z][a-z0-9_]{0,58}(:[A-Za-z0-9_.\-]{1,60})?"
#: Conditions with an argument, and without; a trigger may add some of its own.
CONDITIONS = ("ordered", "consent_lost")
SEGMENT_CONDITIONS = ("segment_entered", "segment_left")
CONDITIONS_OF = (*SEGMENT_CONDITIONS, "custom")

#: The delivery channel that suits the person.
BEST = "best"

#: Where a person is: index, then name of a branch, then index in it, ...
Path = tuple[int | str, ...]


@dataclass(frozen=True)
class Fallback:
    """Say the same over the delivery channel `to`, `after` a time, `unless` the first was delivered or opened.

    At once when the first cannot go at all.
    """

    to: str
    after: timedelta
    unless: str = "opened"


@dataclass(frozen=True)
class Recommend:
    """Show what `placement` recommends to the person when the message is decided, at most `most` products."""

    placement: str
    most: int = 3


@dataclass(frozen=True)
class Message:
    """Send one message. `id` is stable over versions: it is part of what was sent.

    The delivery channel `best` is the one that suits the person. In the app, `placement` is where it stands
    as a banner as well, and `shown_for` how long it is shown; None: INBOX_EXPIRY. `send_at` `best` waits for the
    hour, within SEND_TIME_WINDOW, in which the person most likely looks.
    """

    id: str
    template: str
    delivery_channel: str = "email"
    when_outranked: str = "delay"
    fallback: Fallback | None = None
    recommend: Recommend | None = None
    placement: str = ""
    shown_for: timedelta | None = None
    send_at: str = "once"


@dataclass(frozen=True)
class Wait:
    duration: timedelta


@dataclass(frozen=True)
class WaitFor:
    """Go `then` as soon as `event` happened since the person came in, `otherwise` after `duration`."""

    event: str
    duration: timedelta
    then: tuple[Step, ...] = ()
    otherwise: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Branch:
    name: str
    steps: tuple[Step, ...] = ()
    weight: int = 1


@dataclass(frozen=True)
class Split:
    """One way of several: by a segment rule, by chance (fixed per enrollment), by experiment (per person)."""

    by: str
    id: str
    rule: Mapping[str, Any] | None = None
    experiment: str = ""
    then: tuple[Step, ...] = ()
    otherwise: tuple[Step, ...] = ()
    branches: tuple[Branch, ...] = ()


@dataclass(frozen=True)
class Offer:
    """Give the message that follows a personal code, if the incentive guard allows it.

    `terms` is what `offers.terms.read` takes. `when_refused`: send the message without a code, or stop.
    """

    id: str
    terms: Mapping[str, Any]
    when_refused: str = "without"


@dataclass(frozen=True)
class Webhook:
    """Tell one outgoing webhook, by its alias."""

    url_alias: str


@dataclass(frozen=True)
class Exit:
    """End here."""


Step = Message | Wait | WaitFor | Split | Offer | Webhook | Exit


@dataclass(frozen=True)
class TriggerRef:
    type: str
    #: As written, without `type`; the trigger's own `Options` are built from it.
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reentry:
    """Who may come in again: `per` object (the same checkout) or person, after `cool_down`; None: never.

    `person_cool_down` is the least time between two entries of one person over whatever objects.
    """

    per: str = "object"
    cool_down: timedelta | None = None
    person_cool_down: timedelta | None = None


@dataclass(frozen=True)
class Definition:
    journey: str
    topic: str
    trigger: TriggerRef
    steps: tuple[Step, ...]
    priority: int = 50
    reentry: Reentry = Reentry()
    goals: tuple[str, ...] = ("ordered",)
    exits: tuple[str, ...] = ()
    on_pause: str = "hold"
    #: How many of a hundred people the journey leaves alone; None: JOURNEY_HOLDOUT_PERCENT.
    holdout: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `parse` reads back as an equal definition."""
        # The tables are made of these shapes.
        from saleor_personalize.journeys.definitions.tables import DEFINITION, write

        return write(self, DEFINITION)


@dataclass(frozen=True)
class Known:
    """What a definition may name. Without it (None in `parse`) names are not looked up."""

    #: type of trigger -> its Options, a dataclass; and the conditions it adds.
    triggers: Mapping[str, type] = field(default_factory=dict)
    conditions: Mapping[str, Collection[str]] = field(default_factory=dict)
    topics: Collection[str] = ()
    templates: Collection[str] = ()
    #: Of the topics, those that an order needs: their messages carry no offer.
    transactional: Collection[str] = ()
    #: Types of the triggers by which people come in with an order: only they may have such a topic.
    follow_order: Collection[str] = ()
    #: Types of the triggers whose messages people asked for: nobody is held out of them.
    asked_for: Collection[str] = ()
    delivery_channels: Collection[str] = ()
    #: (template, delivery channel) -> the files without which it has no words there.
    missing_words: Callable[[str, str], Collection[str]] = lambda template, channel: ()
    #: Of the shop; None: not known.
    placements: Collection[str] | None = None
    #: Types of events that can be waited for.
    events: Collection[str] = ()
    #: (path below the rule, what is wrong) of a segment definition.
    rule_faults: Callable[[Any], list[tuple[str, str]]] = lambda rule: []
