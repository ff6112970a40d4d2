"""B71: `best` is chosen of each person by what they allow, what reaches them and what they react to, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from hypothesis import given
from hypothesis import strategies as st

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import choosing, outcomes
from saleor_personalize.models import Installation, Message, Profile, Rhythm
from saleor_personalize.profiles import consent, devices
from tests.conftest import NOW
from tests.integration.phones import Phones, give_phone
from tests.integration.reminders import Saleor
from tests.integration.signal_trigger import come_in, message, publish

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EMAIL, PUSH, IN_APP = DeliveryChannel.EMAIL, DeliveryChannel.PUSH, DeliveryChannel.IN_APP
CLICKED = MessageEventKind.CLICKED


@pytest.fixture(autouse=True)
def shop(installation: Installation, alice: Profile, settings: Any) -> Iterator[None]:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRIGGERS": {"signal": "tests.integration.signal_trigger.Signal"},
        "CHANNELS": {"push": "tests.integration.phones.Phones"},
        "FREQUENCY_CAPS": {"*": None, "push": None, "email": None},
        "QUIET_HOURS": {"push": None},
    }
    Phones.reset()
    mail.outbox = []
    give_phone(alice)
    allow(alice, PUSH)
    # Some journey chooses, so messages in the app are something that the shop has.
    publish(installation, message("first", delivery_channel="best"), key="chooses")
    with time_machine.travel(NOW, tick=False):
        yield


def allow(
    profile: Profile, channel: DeliveryChannel, state: ConsentState = ConsentState.GRANTED
) -> None:
    consent.record(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=channel,
        state=state,
        source="test",
        now=NOW,
    )


def went(
    profile: Profile,
    channel: DeliveryChannel,
    count: int,
    became: MessageEventKind | None = None,
    *,
    last: datetime = NOW - 2 * DAY,
    is_machine: bool = False,
) -> None:
    """So many messages went over a delivery channel, and the same became of each an hour later."""
    before = Message.objects.count()
    for number in range(count):
        at = last - number * DAY
        row = Message.objects.create(
            installation=profile.installation,
            profile=profile,
            idempotency_key=f"old:{before + number}",
            template="welcome",
            purpose=Purpose.MARKETING,
            delivery_channel=channel,
            status=MessageStatus.SENT,
            decided_at=at,
        )
        if became is not None:
            outcomes.record(
                message=row, kind=became, at=at + HOUR, now=at + HOUR, is_machine=is_machine
            )


def choose(installation: Installation, profile: Profile) -> dict[str, Any]:
    """Send a message that leaves its way open; return what is kept of it."""
    journey = publish(installation, message("first", delivery_channel="best"))
    come_in(journey, profile)
    journeys.advance_due(now=NOW, ask=Saleor())
    row = Message.objects.get(idempotency_key__startswith="test:", profile=profile)
    assert (len(Phones.taken), len(mail.outbox)) in {(1, 0), (0, 1)}
    assert row.delivery_channel == ("push" if Phones.taken else "email")
    chosen: dict[str, Any] = row.content["chosen"]
    return {"over": row.delivery_channel, "because": chosen["because"], "ways": chosen["ways"]}


def test_b71_of_who_is_new_the_closest_way_is_taken_and_said(
    installation: Installation, alice: Profile
) -> None:
    assert choose(installation, alice) == {
        "over": "push",
        "because": "closest",
        "ways": [
            {"delivery_channel": "push", "sent": 0, "seen": 0, "score": 1.0},
            {"delivery_channel": "email", "sent": 0, "seen": 0, "score": 0.7},
            {"delivery_channel": "in_app", "sent": 0, "seen": 0, "score": 0.4},
        ],
    }


def test_b71_who_clicks_in_mail_gets_mail(installation: Installation, alice: Profile) -> None:
    went(alice, EMAIL, 3, CLICKED)
    found = choose(installation, alice)
    assert (found["over"], found["because"]) == ("email", "reacts")
    assert found["ways"][1] == {
        "delivery_channel": "email",
        "sent": 3,
        "seen": 3,
        # 0.7 * (3 + 5 * 0.1) / (3 + 5) / 0.1
        "score": 3.062,
    }


@pytest.mark.parametrize(
    ("kind", "is_machine"),
    [
        (MessageEventKind.OPENED, True),
        (MessageEventKind.CLICKED, True),
        (MessageEventKind.DELIVERED, False),
        (MessageEventKind.UNSUBSCRIBED, False),
        (MessageEventKind.COMPLAINED, False),
    ],
)
def test_b71_what_a_scanner_did_and_what_was_not_wanted_is_no_reaction(
    installation: Installation, alice: Profile, kind: MessageEventKind, is_machine: bool
) -> None:
    went(alice, EMAIL, 5, kind, is_machine=is_machine)
    found = choose(installation, alice)
    assert (found["over"], found["because"]) == ("push", "closest")
    assert (found["ways"][1]["sent"], found["ways"][1]["seen"]) == (5, 0)


@pytest.mark.parametrize(
    ("became", "over", "sent"),
    [
        # There was no time to look yet.
        (None, "push", 0),
        (MessageEventKind.DELIVERED, "push", 0),
        # What was put away, or reached no device, says so at once.
        (MessageEventKind.DISMISSED, "email", 3),
        (MessageEventKind.DEAD_TOKEN, "email", 3),
    ],
)
def test_b71_what_came_a_moment_ago_counts_once_it_is_known_what_became_of_it(
    installation: Installation,
    alice: Profile,
    became: MessageEventKind | None,
    over: str,
    sent: int,
) -> None:
    went(alice, PUSH, 1, became, last=NOW - 2 * HOUR)
    went(alice, PUSH, 1, became, last=NOW - 3 * HOUR)
    went(alice, PUSH, 1, became, last=NOW - 4 * HOUR)
    found = choose(installation, alice)
    assert (found["over"], found["ways"][0]["sent"]) == (over, sent)
    assert found["because"] == ("ignored" if over == "email" else "closest")


@pytest.mark.parametrize(
    ("seen", "over", "because"), [(900, "push", "closest"), (10, "email", "reacts")]
)
def test_b71_a_reaction_counts_by_what_others_of_the_shop_do(
    installation: Installation, alice: Profile, seen: int, over: str, because: str
) -> None:
    """One mail of three looked at: little where nearly all look at theirs, much where hardly anybody does."""
    Rhythm.objects.create(
        installation=installation, delivery_channel=EMAIL, learnt_at=NOW, sent=1000, seen=seen
    )
    went(alice, EMAIL, 1, CLICKED)
    went(alice, EMAIL, 2, last=NOW - 9 * DAY)
    found = choose(installation, alice)
    assert (found["over"], found["because"]) == (over, because)


def test_b71_what_people_of_another_shop_did_counts_for_nobody_here(
    installation: Installation, alice: Profile, dave: Profile
) -> None:
    went(dave, EMAIL, 9, CLICKED)
    Rhythm.objects.create(
        installation=dave.installation, delivery_channel=PUSH, learnt_at=NOW, sent=9, seen=9
    )
    assert [way["score"] for way in choose(installation, alice)["ways"]] == [1.0, 0.7, 0.4]


def test_b71_of_who_refused_profiling_nothing_is_looked_at(
    installation: Installation, alice: Profile
) -> None:
    went(alice, EMAIL, 9, CLICKED)
    consent.record(
        profile=alice,
        purpose=Purpose.PROFILING,
        delivery_channel="",
        state=ConsentState.DENIED,
        source="test",
        now=NOW,
    )
    found = choose(installation, alice)
    assert (found["over"], found["because"]) == ("push", "closest")
    assert [way["sent"] for way in found["ways"]] == [0, 0, 0]


@pytest.mark.parametrize("is_refused", [True, False])
def test_b71_however_much_they_react_nothing_goes_without_a_yes_or_to_a_device_that_is_gone(
    installation: Installation, alice: Profile, is_refused: bool
) -> None:
    went(alice, PUSH, 9, CLICKED)
    if is_refused:
        allow(alice, PUSH, ConsentState.DENIED)
    else:
        devices.unregister(installation=installation, token="token-of-a-phone", now=NOW)
    found = choose(installation, alice)
    assert (found["over"], found["because"]) == ("email", "closest")
    objection = NotSentReason.NO_CONSENT if is_refused else NotSentReason.NO_ADDRESS
    assert found["ways"][0]["objection"] == objection
    assert "objection" not in found["ways"][1]


def test_b71_where_the_journey_names_the_way_nothing_is_chosen(
    installation: Installation, alice: Profile
) -> None:
    went(alice, EMAIL, 9, CLICKED)
    come_in(publish(installation, message("first", delivery_channel="push")), alice)
    journeys.advance_due(now=NOW, ask=Saleor())
    assert "chosen" not in Message.objects.get(idempotency_key__startswith="test:").content
    assert len(Phones.taken) == 1


def test_b71_the_choice_is_the_same_however_often_it_is_asked_for(
    installation: Installation, alice: Profile
) -> None:
    went(alice, EMAIL, 2, CLICKED)
    went(alice, PUSH, 2, CLICKED)

    def ask() -> choosing.Way:
        return choosing.best(
            profile=alice, among=["in_app", "email", "push"], purpose=Purpose.MARKETING, now=NOW
        )

    first = ask()
    assert [ask().chosen for _ in range(3)] == [first.chosen] * 3
    assert first.delivery_channel == PUSH


@given(
    sent=st.integers(0, 50),
    share=st.floats(0, 1),
    more=st.integers(1, 20),
    known=st.integers(0, 500),
)
def test_b71_a_reaction_never_makes_a_way_worth_less_nor_silence_more(
    sent: int, share: float, more: int, known: int
) -> None:
    seen = int(sent * share)
    shop = Rhythm(sent=known, seen=int(known * share))
    worth = choosing._worth(PUSH, sent, seen, shop)
    assert worth > 0
    assert choosing._worth(PUSH, sent + more, seen, shop) < worth
    assert choosing._worth(PUSH, sent + more, seen + more, shop) > worth * 0.999


def test_b71_a_shop_without_an_account_for_push_does_not_choose_it(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    """Its people may have devices all the same: from before, or by another project."""
    push = "saleor_personalize.messaging.channels.push.PushChannel"
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "CHANNELS": {"push": push}}
    found = choose(installation, alice)
    assert (found["over"], found["because"]) == ("email", "closest")
    assert [way["delivery_channel"] for way in found["ways"]] == ["email", "in_app"]
