"""Every state has words, and every state that is not as it should be has its fix."""

from datetime import UTC, datetime, timedelta

import pytest

from saleor_personalize.dashboard import words
from saleor_personalize.enums import (
    BackfillStatus,
    DeliveryChannel,
    InstallationStatus,
    MessageStatus,
    NotSentReason,
)
from saleor_personalize.ingestion.backfill import STAGES
from saleor_personalize.ingestion.queries import BackfillProgress, WebhookHealth
from saleor_personalize.models import Installation, Message

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
#: Nothing to mend: the person, the cart or the moment settled it.
NOTHING_TO_DO = {
    NotSentReason.HOLDOUT,
    NotSentReason.SUPPRESSED,
    NotSentReason.TOPIC_REFUSED,
    NotSentReason.PAUSED,
    NotSentReason.FREQUENCY_LIMIT,
    NotSentReason.ORDERED,
    NotSentReason.CHECKOUT_GONE,
    NotSentReason.ALREADY_SENT,
    NotSentReason.CALLED_OFF,
    NotSentReason.SOLD_OUT,
    NotSentReason.ALERT_CANCELLED,
    NotSentReason.PRICE_ROSE,
    NotSentReason.NOT_LOW,
    NotSentReason.OUTRANKED,
    NotSentReason.OUTSHONE,
    NotSentReason.GOAL_REACHED,
    NotSentReason.EXIT_CONDITION,
    NotSentReason.OFFER_FULL_PRICE,
    NotSentReason.OFFER_LIMIT,
    NotSentReason.OFFER_NOT_FIRST,
}


@pytest.mark.parametrize("reason", NotSentReason)
def test_every_reason_not_to_send_says_why_and_what_to_do(reason: NotSentReason) -> None:
    state = words.message_state(Message(status=MessageStatus.NOT_SENT, reason=reason))
    assert state.title == "Not sent"
    assert state.text
    assert bool(state.fix) is (reason not in NOTHING_TO_DO)


@pytest.mark.parametrize(
    ("channel", "texts"),
    [
        (
            DeliveryChannel.EMAIL,
            [
                "The person did not allow e-mails of this kind.",
                "No e-mail address of the person is known.",
                "The person unsubscribed or the address does not work.",
                "The mail server refused it.",
            ],
        ),
        (
            DeliveryChannel.PUSH,
            [
                "The person did not allow push messages.",
                "No device of the person takes push.",
                "The person unsubscribed or the address does not work.",
                "Firebase refused it.",
            ],
        ),
        (
            DeliveryChannel.SMS,
            [
                "The person did not allow text messages.",
                "The person has proved no phone number.",
                "The person answered STOP, or nobody has this number.",
                "The provider of text messages refused it.",
            ],
        ),
    ],
)
def test_a_reason_speaks_of_the_way_that_the_message_would_have_gone(
    channel: DeliveryChannel, texts: list[str]
) -> None:
    reasons = (
        NotSentReason.NO_CONSENT,
        NotSentReason.NO_ADDRESS,
        NotSentReason.SUPPRESSED,
        NotSentReason.CHANNEL_ERROR,
    )
    told = [
        words.message_state(
            Message(status=MessageStatus.NOT_SENT, reason=reason, delivery_channel=channel)
        )
        for reason in reasons
    ]
    assert [state.text for state in told] == texts


@pytest.mark.parametrize("status", MessageStatus)
def test_every_message_has_a_state(status: MessageStatus) -> None:
    state = words.message_state(Message(status=status))
    assert state.title
    assert state.fix or state.tone not in {"warn", "bad"}


@pytest.mark.parametrize("status", InstallationStatus)
def test_every_installation_has_a_state_and_a_fix(status: InstallationStatus) -> None:
    state = words.installation_state(Installation(status=status))
    assert bool(state.fix) is (status != InstallationStatus.ACTIVE)


@pytest.mark.parametrize("status", BackfillStatus)
def test_every_backfill_has_a_state(status: BackfillStatus) -> None:
    progress = BackfillProgress(1, status, False, None, None, "", [])
    state = words.backfill_state(progress)
    assert state.title
    assert state.fix or state.tone in {"good", "busy"}


def test_every_stage_of_a_backfill_has_words() -> None:
    assert {stage.name for stage in STAGES} <= set(words.STAGES)


def health(**changes: object) -> WebhookHealth:
    values: dict[str, object] = {
        "last_received_at": NOW,
        "received": 7,
        "waiting": 0,
        "oldest_waiting_at": None,
        "failed": 0,
        "lag_p50": None,
        "lag_p95": None,
    }
    return WebhookHealth(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "tone", "title"),
    [
        ({}, "good", "Everything arrives"),
        ({"last_received_at": None, "received": 0}, "", "Nothing received yet"),
        ({"received": 0}, "warn", "Quiet for a day"),
        ({"failed": 2}, "warn", "2 could not be processed"),
        (
            {"waiting": 1, "oldest_waiting_at": NOW - timedelta(seconds=61)},
            "bad",
            "Received, but not processed",
        ),
        (
            {"waiting": 1, "oldest_waiting_at": NOW - timedelta(seconds=59)},
            "good",
            "Everything arrives",
        ),
    ],
)
def test_webhooks_in_words(changes: dict[str, object], tone: str, title: str) -> None:
    state = words.webhook_state(health(**changes), NOW)
    assert (state.tone, state.title) == (tone, title)
    assert bool(state.fix) is (tone != "good")


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (None, "unknown"),
        (timedelta(milliseconds=300), "under 1 s"),
        (timedelta(seconds=1), "1 s"),
        (timedelta(seconds=89), "89 s"),
        (timedelta(minutes=20), "20 min"),
        (timedelta(hours=1), "1 h"),
        (timedelta(minutes=75), "75 min"),
        (timedelta(hours=7), "7 h"),
        (timedelta(days=3), "3 days"),
    ],
)
def test_lengths_of_time_in_words(length: timedelta | None, text: str) -> None:
    assert words.duration(length) == text
