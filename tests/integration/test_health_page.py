"""The page "Health" tells what works, since when, and what to do where something does not."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from saleor_personalize.enums import (
    BackfillStatus,
    ErasureSource,
    FirstStepKey,
    MessageStatus,
    NotSentReason,
    TrainingReason,
)
from saleor_personalize.exceptions import SaleorApiError, TokenRefused
from saleor_personalize.journeys.operations import ensure_journey
from saleor_personalize.models import (
    Backfill,
    Erasure,
    Heartbeat,
    Installation,
    Profile,
    Training,
)
from saleor_personalize.onboarding import operations as onboarding
from saleor_personalize.saleor_api.client import SaleorClient
from saleor_personalize.tasks.health import beat_heart
from tests.conftest import make_enrollment
from tests.integration.test_dashboard import headers, make_message


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    cache.clear()


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


def lines(response: Any) -> dict[str, str]:
    """Key of each line -> its words."""
    assert response.status_code == 200
    found = re.findall(r'<li id="health-([\w-]+)">(.*?)</li>', response.content.decode(), re.DOTALL)
    return {
        key: " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split()) for key, text in found
    }


def test_b100_a_service_that_runs_leaves_a_trace_for_every_shop(
    client: Client, installation: Installation, other_installation: Installation, signed: Any
) -> None:
    before = lines(client.get("/dashboard/health/", headers=signed))["workers"]
    assert "Silent" in before
    assert "starts it with “saleor-personalize worker” and “beat”" in before
    beat_heart()
    beat_heart()
    assert Heartbeat.objects.count() == 2
    assert "Running" in lines(client.get("/dashboard/health/", headers=signed))["workers"]
    Heartbeat.objects.of(installation).update(at=timezone.now() - timedelta(minutes=4))
    after = client.get("/dashboard/health/checks/", headers=signed)
    assert "Silent" in lines(after)["workers"]
    assert "Something does not work" in after.content.decode()


def test_b100_what_the_go_live_check_found_is_told_here_too(
    client: Client, installation: Installation, signed: Any
) -> None:
    beat_heart()
    assert "Not checked yet" in lines(client.get("/dashboard/health/", headers=signed))["go-live"]
    onboarding.note(
        installation=installation, key=FirstStepKey.CHECKED, now=timezone.now(), detail="4"
    )
    page = client.get("/dashboard/health/", headers=signed)
    assert "4 things to mend" in lines(page)["go-live"]
    assert "Everything works." not in page.content.decode()
    assert "The service runs. Look at what is marked below." in page.content.decode()
    onboarding.note(
        installation=installation, key=FirstStepKey.CHECKED, now=timezone.now(), detail="0"
    )
    page = client.get("/dashboard/health/", headers=signed)
    assert "Nothing in the way" in lines(page)["go-live"]


def test_b100_the_documentation_is_linked_where_the_service_says_where_it_is(
    client: Client, installation: Installation, signed: Any, settings: Any
) -> None:
    page = client.get("/dashboard/health/", headers=signed).content.decode()
    assert "<code>docs/howto/operate.md</code>" in page
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DOCS_URL": "https://docs.example.com/personalize/",
    }
    page = client.get("/dashboard/health/", headers=signed).content.decode()
    assert (
        '<a href="https://docs.example.com/personalize/howto/operate.md" target="_blank" rel="noopener">'
        in page
    )
    assert "<code>docs/" not in page


def test_b100_work_that_is_late_is_told_by_kind_with_how_long(
    client: Client, installation: Installation, alice: Profile, signed: Any
) -> None:
    now = timezone.now()
    journey = ensure_journey(installation=installation, key="abandoned_checkout")
    make_enrollment(alice, "cart-1", now - timedelta(hours=2))
    alice.enrollments.update(due_at=now - timedelta(hours=2))
    assert (
        "Nothing waits" in lines(client.get("/dashboard/health/", headers=signed))["work-journeys"]
    )
    # A journey that is not live holds its people; a live one is late with them.
    type(journey).objects.of(installation).update(is_live=True)
    late = lines(client.get("/dashboard/health/", headers=signed))["work-journeys"]
    assert "1 is due" in late
    assert "The oldest has been due for 2 h." in late
    installation.sends_stopped_at = now
    installation.save()
    assert (
        "Nothing waits" in lines(client.get("/dashboard/health/", headers=signed))["work-journeys"]
    )
    Erasure.objects.create(
        installation=installation, requested_by=ErasureSource.STAFF, fingerprints=[],
        facts_until=now, erased_at=now - timedelta(hours=13),
    )  # fmt: skip
    Training.objects.create(
        installation=installation, reason=TrainingReason.ASKED, asked_at=now - timedelta(minutes=20)
    )
    found = lines(client.get("/dashboard/health/", headers=signed))
    assert "The oldest has been due for 13 h." in found["work-erasures"]
    assert "The oldest has been due for 20 min." in found["work-trainings"]
    assert "Nobody takes the training up" in found["training"]


def test_b100_a_provider_is_judged_by_its_latest_messages(
    client: Client, installation: Installation, alice: Profile, signed: Any
) -> None:
    assert "provider-email" not in lines(client.get("/dashboard/health/", headers=signed))
    make_message(alice, MessageStatus.SENT)
    assert (
        "Takes messages"
        in lines(client.get("/dashboard/health/", headers=signed))["provider-email"]
    )
    make_message(alice, MessageStatus.FAILED, reason=NotSentReason.SENDS_STOPPED)
    # It never came so far that the provider could refuse it.
    assert (
        "Takes messages"
        in lines(client.get("/dashboard/health/", headers=signed))["provider-email"]
    )
    for _ in range(2):
        # An address that is dead says nothing of the provider, nor do two of them.
        make_message(alice, MessageStatus.FAILED, reason=NotSentReason.CHANNEL_ERROR)
        assert (
            "Takes messages"
            in lines(client.get("/dashboard/health/", headers=signed))["provider-email"]
        )
    make_message(alice, MessageStatus.FAILED, reason=NotSentReason.CHANNEL_ERROR)
    refused = lines(client.get("/dashboard/health/", headers=signed))["provider-email"]
    assert "Of the last few messages that it was handed, 3 were refused." in refused
    for _ in range(3):
        make_message(alice, MessageStatus.SENT)
    assert (
        "Takes messages"
        in lines(client.get("/dashboard/health/", headers=signed))["provider-email"]
    )


def test_b100_a_night_that_was_left_out_is_told(
    client: Client, installation: Installation, signed: Any
) -> None:
    now = timezone.now()
    assert "Not yet" in lines(client.get("/dashboard/health/", headers=signed))["reconciled"]
    run = Backfill.objects.create(
        installation=installation, status=BackfillStatus.DONE, created_at=now, finished_at=now
    )
    assert "Done" in lines(client.get("/dashboard/health/", headers=signed))["reconciled"]
    Backfill.objects.filter(pk=run.pk).update(finished_at=now - timedelta(hours=37))
    assert "Late" in lines(client.get("/dashboard/health/", headers=signed))["reconciled"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TokenRefused("The token was refused."), "Activate the app under Extensions"),
        (
            SaleorApiError("No answer.", is_retryable=True),
            "See that this service reaches Saleor's API",
        ),
    ],
)
def test_b100_saleor_and_the_broker_are_asked_when_somebody_looks(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    signed: Any,
    error: Exception,
    words: str,
) -> None:
    def refuse(self: SaleorClient) -> None:
        raise error

    monkeypatch.setattr(SaleorClient, "identity", refuse)
    found = lines(client.get("/dashboard/health/outside/", headers=signed))
    assert "Answers" in found["broker"]
    assert words in found["saleor-api"]
    assert str(error) in found["saleor-api"]


def test_b100_the_health_of_a_shop_says_nothing_of_another(
    client: Client, other_installation: Installation, alice: Profile
) -> None:
    make_message(alice, MessageStatus.FAILED, reason=NotSentReason.CHANNEL_ERROR)
    found = lines(client.get("/dashboard/health/", headers=headers(other_installation)))
    assert "provider-email" not in found
