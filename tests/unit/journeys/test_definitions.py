"""B60, B110: a journey as text: read strictly, written back, and described by a schema that is committed."""

import json
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from saleor_personalize.journeys import definitions, durations
from saleor_personalize.journeys.definitions import (
    Branch,
    Definition,
    InvalidJourney,
    Known,
    Message,
    Offer,
    Reentry,
    Split,
    TriggerRef,
    Wait,
    WaitFor,
    Webhook,
)
from saleor_personalize.journeys.versions import built_in, known

WHOLE = """
journey: welcome
topic: offers
priority: 70
trigger: {type: signed_up, after: 1 hour}
reentry: {per: person, cool_down: P30D, person_cool_down: 1 day}
goals: []
exits: [consent_lost, "segment_left:vip"]
on_pause: exit
steps:
  - message: {id: hello, template: welcome, when_outranked: drop}
  - wait: {for: PT36H}
  - wait_for:
      event: ordered
      for: 1 day
      then: [{message: {id: thanks, template: welcome}}]
      otherwise:
        - offer: {id: gift, percent: "12.5", expires: 7 days, first_order: true}
        - message: {id: code, template: welcome}
  - split: {by: rule, id: big, rule: {rule: order_count, at_least: 2}, then: [exit]}
  - split:
      by: random
      id: half
      branches: [{name: a, weight: 3, steps: [{webhook: {url_alias: erp}}]}, {name: b}]
  - split: {by: experiment, id: side, experiment: copy, branches: [{name: x}, {name: y}]}
"""


@dataclass(frozen=True)
class Options:
    after: timedelta = timedelta(hours=2)
    most: int = 3


KNOWN = Known(
    triggers={"signed_up": Options},
    conditions={"signed_up": ["sold_out"]},
    topics=["offers", "reminders"],
    templates=["welcome"],
    delivery_channels=["email"],
    events=["cart_added"],
)


def load(text: str) -> Definition:
    return definitions.load(text, known=KNOWN)


def faults(text: str) -> list[str]:
    with pytest.raises(InvalidJourney) as caught:
        load(text)
    return [str(fault) for fault in caught.value.faults]


def test_b60_every_step_is_read() -> None:
    found = load(WHOLE)
    assert found == Definition(
        journey="welcome",
        topic="offers",
        priority=70,
        trigger=TriggerRef("signed_up", {"after": "1 hour"}),
        reentry=Reentry("person", timedelta(days=30), timedelta(days=1)),
        goals=(),
        exits=("consent_lost", "segment_left:vip"),
        on_pause="exit",
        steps=(
            Message("hello", "welcome", when_outranked="drop"),
            Wait(timedelta(hours=36)),
            WaitFor(
                "ordered",
                timedelta(days=1),
                then=(Message("thanks", "welcome"),),
                otherwise=(
                    Offer(
                        "gift",
                        {
                            "percent": Decimal("12.5"),
                            "expires": timedelta(days=7),
                            "first_order": True,
                        },
                    ),
                    Message("code", "welcome"),
                ),
            ),
            Split(
                "rule",
                "big",
                rule={"rule": "order_count", "at_least": 2},
                then=(definitions.Exit(),),
            ),
            Split(
                "random",
                "half",
                branches=(Branch("a", (Webhook("erp"),), 3), Branch("b")),
            ),
            Split("experiment", "side", experiment="copy", branches=(Branch("x"), Branch("y"))),
        ),
    )


def test_b110_what_is_written_is_read_back() -> None:
    found = load(WHOLE)
    assert load(definitions.dump(found)) == found
    assert definitions.parse(json.loads(json.dumps(found.to_json()))) == found
    for shipped in built_in().values():
        assert definitions.parse(shipped.to_json()) == shipped


def test_b60_an_order_is_the_goal_unless_said_otherwise() -> None:
    small = (
        "{journey: a, topic: offers, trigger: {type: signed_up}, steps: [{wait: {for: 1 hour}}]}"
    )
    assert load(small).goals == ("ordered",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("priority: 70", "priority: 101"), "priority: 101 a whole number from 0 to 100 is needed."),
        (("priority", "priorty"), "priorty: is not known here. Did you mean 'priority'?"),
        (("topic: offers", "topic: offer"), "topic: 'offer' there is no such topic in TOPICS. Did you mean 'offers'?"),
        (("topic: offers\n", ""), "topic: is missing."),
        (("type: signed_up", "type: signed_in"), "trigger.type: 'signed_in' there is no such trigger in TRIGGERS. Did you mean 'signed_up'?"),
        (("after: 1 hour", "aftr: 1 hour"), "trigger.aftr: is no option of this trigger. Did you mean 'after'?"),
        (("after: 1 hour", "after: 60"), "trigger.after: 60 a length of time is needed, with its unit: “90 minutes”, “1 day 12 hours” or “PT90M”."),
        (("template: welcome, when", "template: welcom, when"), "steps[0].message.template: 'welcom' there is no such template of messages. Did you mean 'welcome'?"),
        (("wait: {for: PT36H}", "wait: {for: soon}"), "steps[1].wait.for: 'soon' is no length of time; write “90 minutes”, “1 day 12 hours” or “PT90M”."),
        (("- wait: {for", "- wiat: {for"), "steps[1]: 'wiat' is no step. Did you mean 'wait'?"),
        (("id: thanks", "id: hello"), "steps[2].then[0]: 'hello' another step (steps[0]) has this id."),
        (("goals: []", "goals: [ordered]"), "steps[2]: 'ordered' is a goal or an exit, with which everybody leaves; write goals and exits without it."),
        (("[consent_lost,", "[consent_list,"), "exits[0]: 'consent_list' is no condition that can be looked for. Did you mean 'consent_lost'?"),
        (("percent: \"12.5\"", "percent: 120"), "steps[2].wait_for.otherwise[0].offer.percent: 120 a number above 0, at most 100, is needed."),
        (("        - message: {id: code, template: welcome}\n", ""), "steps[2].otherwise[0]: 'gift' no message follows that could carry the code."),
        (("by: random", "by: chance"), "steps[4].split.by: 'chance' one of rule, random, experiment is needed."),
        (("experiment: copy, ", ""), "steps[5].split.experiment: is missing in a split by experiment."),
        (("on_pause: exit", "on_pause: exits"), "on_pause: 'exits' one of hold, exit is needed. Did you mean 'exit'?"),
        (("goals: []", "goals: []\ngoals: []"), "line 8: this is no YAML: 'goals' stands there twice."),
    ],
)  # fmt: skip
def test_b60_a_fault_is_told_with_its_place_and_what_would_do(
    change: tuple[str, str], told: str
) -> None:
    assert change[0] in WHOLE
    assert told in faults(WHOLE.replace(*change, 1))


def test_b60_every_fault_is_told_at_once() -> None:
    broken = WHOLE.replace("priority: 70", "priority: x").replace("on_pause: exit", "on_pause: 1")
    assert len(faults(broken)) == 2


def test_b60_conditions_of_a_trigger_are_its_own() -> None:
    assert load(WHOLE.replace("consent_lost", "sold_out")).exits[0] == "sold_out"
    other = Known(**{**KNOWN.__dict__, "conditions": {}})
    with pytest.raises(InvalidJourney, match="no condition"):
        definitions.load(WHOLE.replace("consent_lost", "sold_out"), known=other)


def test_b60_an_exit_that_is_waited_for_would_never_be_seen() -> None:
    text = WHOLE.replace("exits: [consent_lost,", "exits: [ordered, consent_lost,")
    assert faults(text) == [
        "steps[2]: 'ordered' is a goal or an exit, with which everybody leaves; write goals and exits"
        " without it."
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("journey: &a welcome\ntopic: *a\n", "line 2: this is no YAML: an alias has no place here"),
        ("[" * 5000, "this is no YAML: it is nested too deeply"),
    ],
)
def test_b60_a_text_that_would_grow_without_end_is_refused(text: str, told: str) -> None:
    (fault,) = faults(text)
    assert told in fault


def test_b110_the_schema_in_the_docs_is_the_one_of_the_code() -> None:
    path = Path(__file__).parents[3] / "docs" / "reference" / "journey.schema.json"
    written = json.dumps(definitions.schema(known()), indent=1) + "\n"
    assert path.read_text() == written, (
        "regenerate it: saleor-personalize journeys schema > docs/reference/journey.schema.json"
    )


def test_b110_the_schema_knows_every_key_that_is_read() -> None:
    schema = definitions.schema(KNOWN)
    assert schema["additionalProperties"] is False
    assert set(yaml.safe_load(WHOLE)) <= set(schema["properties"])
    steps = {name for one in schema["$defs"]["step"]["oneOf"] for name in one.get("properties", ())}
    assert steps == {"message", "wait", "wait_for", "split", "offer", "webhook", "exit"}
    (trigger,) = schema["properties"]["trigger"]["oneOf"]
    assert set(trigger["properties"]) == {"type", "after", "most"}


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90 minutes", timedelta(minutes=90)),
        ("1 hour", timedelta(hours=1)),
        ("1 day 12 hours", timedelta(hours=36)),
        ("2 weeks, 1 day and 3 min", timedelta(days=15, minutes=3)),
        ("36h", timedelta(hours=36)),
        ("PT90M", timedelta(minutes=90)),
        ("P1DT2H", timedelta(hours=26)),
        ("P2W", timedelta(days=14)),
    ],
)
def test_b60_lengths_of_time_are_words_or_iso(text: str, length: timedelta) -> None:
    assert durations.parse(text) == length
    assert durations.parse(durations.to_words(length)) == length


@pytest.mark.parametrize(
    "text", ["", "soon", "1", "1 month", "-1 hour", "1 hour ago", "P", "PT", "P1M", "99999 weeks", 60, None]
)  # fmt: skip
def test_b60_what_is_no_length_of_time_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r"length of time|longer"):
        durations.parse(text)


def test_b60_paths_lead_through_branches_and_out_again() -> None:
    found = load(WHOLE)
    order = [definitions.path_text(path) for path, _step in definitions.walk(found)]
    assert order[2:6] == [
        "steps[2]",
        "steps[2].then[0]",
        "steps[2].otherwise[0]",
        "steps[2].otherwise[1]",
    ]
    assert definitions.following_path(found, (2, "then", 0)) == (3,)
    assert definitions.following_path(found, (2, "otherwise", 0)) == (2, "otherwise", 1)
    assert definitions.into_branch(found, (3,), "otherwise") == (4,)
    assert definitions.into_branch(found, (5,), "x") is None
    assert definitions.next_message(found, (1,)) == Message("thanks", "welcome")
    assert definitions.next_message(found, (3,)) is None
