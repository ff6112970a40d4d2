"""B98: faults of the app in the list of problems of Saleor's Dashboard, told when they last and taken back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from saleor_personalize.enums import (
    DeliveryStatus,
    EnrollmentStatus,
    InstallationStatus,
    MessageStatus,
    NotSentReason,
    Purpose,
    TrainingReason,
    TrainingStatus,
)
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.health import problems
from saleor_personalize.models import (
    Enrollment,
    Installation,
    Journey,
    Message,
    Profile,
    PushAccount,
    ShownProblem,
    Training,
    WebhookDelivery,
)
from saleor_personalize.saleor_api.client import SaleorClient
from tests.conftest import NOW, make_enrollment

MINUTE = timedelta(minutes=1)


class List:
    """Where a Saleor lists the problems of the app, and what it was asked."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        self.asked: list[str] = []
        self.fails: SaleorApiError | None = None

    def execute(self, client: SaleorClient, name: str, variables: Any) -> dict[str, Any]:
        self.asked.append(name)
        if self.fails is not None:
            raise self.fails
        given = variables["input"]
        if name == "AppProblemCreate":
            self.shown[given["key"]] = given["message"]
        else:
            for key in given["byApp"]["keys"]:
                del self.shown[key]
        return {}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> List:
    made = List()
    monkeypatch.setattr(SaleorClient, "execute", lambda client, *args: made.execute(client, *args))
    return made


def fail_training(profile: Profile) -> Callable[[], Any]:
    row = Training.objects.create(
        installation=profile.installation,
        status=TrainingStatus.FAILED,
        reason=TrainingReason.NIGHTLY,
        asked_at=NOW,
        error="No room for alice@example.com.",
    )
    return lambda: Training.objects.filter(pk=row.pk).update(status=TrainingStatus.DONE)


def refuse_mail(profile: Profile) -> Callable[[], Any]:
    def message(status: MessageStatus, at: datetime) -> Message:
        return Message.objects.create(
            installation=profile.installation,
            idempotency_key=f"{status}{at}",
            profile=profile,
            template="welcome",
            purpose=Purpose.MARKETING,
            delivery_channel="email",
            status=status,
            reason=NotSentReason.CHANNEL_ERROR if status == MessageStatus.FAILED else "",
            decided_at=at,
        )

    for number in range(3):
        message(MessageStatus.SENT, NOW - (10 + number) * MINUTE)
        message(MessageStatus.FAILED, NOW - number * MINUTE)
    return lambda: [message(MessageStatus.SENT, NOW + number * MINUTE) for number in (1, 2, 3)]


def refuse_push(profile: Profile) -> Callable[[], Any]:
    row = PushAccount.objects.create(
        installation=profile.installation,
        service_account="{}",
        project_id="p",
        client_email="push@p.iam.gserviceaccount.com",
        saved_at=NOW,
        fault="refused",
    )
    return lambda: PushAccount.objects.filter(pk=row.pk).update(fault="")


def fail_webhook(profile: Profile) -> Callable[[], Any]:
    row = WebhookDelivery.objects.create(
        installation=profile.installation,
        event="product_updated",
        body=b"{}",
        body_hash=b"1",
        received_at=NOW,
        processed_at=NOW,
        status=DeliveryStatus.FAILED,
    )
    return lambda: row.delete()


def stop_processing(profile: Profile) -> Callable[[], Any]:
    row = WebhookDelivery.objects.create(
        installation=profile.installation,
        event="product_updated",
        body=b"{}",
        body_hash=b"2",
        received_at=NOW - 60 * MINUTE,
        status=DeliveryStatus.RECEIVED,
    )
    return lambda: row.delete()


def be_late(profile: Profile) -> Callable[[], Any]:
    row = make_enrollment(profile, "cart", NOW - 60 * MINUTE)
    Journey.objects.update(is_live=True, live_at=NOW)
    return lambda: Enrollment.objects.filter(pk=row.pk).update(status=EnrollmentStatus.DONE)


FAULTS = [
    ("training-failed", fail_training, "The last training of the recommendations failed"),
    ("provider-email", refuse_mail, "The provider of e-mail refuses what it is handed."),
    ("push-account", refuse_push, "Firebase refuses the service account for push"),
    ("webhooks-failed", fail_webhook, "could not be processed."),
    ("webhooks-late", stop_processing, "its facts are old."),
    ("work-late", be_late, "Work of this app is overdue (journeys)."),
]


@pytest.mark.parametrize(("key", "fault", "text"), FAULTS, ids=[key for key, *_ in FAULTS])
def test_b98_a_fault_that_lasts_is_listed_once_and_taken_back_once_it_is_gone(
    listed: List, alice: Profile, key: str, fault: Callable[[Profile], Any], text: str
) -> None:
    assert problems.show(now=NOW) == 0
    mend = fault(alice)
    assert problems.show(now=NOW) == 0  # it may pass
    assert problems.show(now=NOW + 9 * MINUTE) == 0
    assert listed.asked == []
    assert problems.show(now=NOW + 10 * MINUTE) == 1
    assert text in listed.shown[key]
    assert "alice" not in listed.shown[key]
    assert problems.show(now=NOW + 20 * MINUTE) == 0
    assert listed.asked == ["AppProblemCreate"]

    mend()
    assert problems.show(now=NOW + 21 * MINUTE) == 0  # it may come back
    assert problems.show(now=NOW + 30 * MINUTE) == 0
    assert key in listed.shown
    assert problems.show(now=NOW + 31 * MINUTE) == 1
    assert listed.shown == {}
    assert ShownProblem.objects.count() == 0


def test_b98_what_comes_and_goes_is_told_of_nobody(listed: List, alice: Profile) -> None:
    for number in range(5):
        mend = fail_webhook(alice)
        problems.show(now=NOW + 10 * number * MINUTE)
        mend()
        problems.show(now=NOW + (10 * number + 5) * MINUTE)
    assert listed.asked == []


def test_b98_what_is_listed_stays_while_it_comes_and_goes(listed: List, alice: Profile) -> None:
    mend = fail_webhook(alice)
    problems.show(now=NOW)
    problems.show(now=NOW + 10 * MINUTE)
    mend()
    problems.show(now=NOW + 15 * MINUTE)
    fail_webhook(alice)
    problems.show(now=NOW + 20 * MINUTE)
    problems.show(now=NOW + 29 * MINUTE)
    assert listed.asked == ["AppProblemCreate"]
    assert list(listed.shown) == ["webhooks-failed"]


def test_b98_a_saleor_without_the_list_is_asked_once_one_that_is_down_again(
    listed: List, alice: Profile
) -> None:
    fail_webhook(alice)
    problems.show(now=NOW)
    listed.fails = SaleorApiError("no answer", is_retryable=True)
    assert problems.show(now=NOW + 10 * MINUTE) == 0
    listed.fails = SaleorApiError("Cannot query field", is_retryable=False)
    problems.show(now=NOW + 11 * MINUTE)
    problems.show(now=NOW + 12 * MINUTE)
    problems.show(now=NOW + 60 * MINUTE)
    assert listed.asked == ["AppProblemCreate"] * 2


def test_b98_each_shop_is_told_of_its_own_and_none_that_left(
    listed: List, alice: Profile, other_installation: Installation
) -> None:
    fail_webhook(alice)
    problems.show(now=NOW)
    Installation.objects.filter(pk=alice.installation_id).update(
        status=InstallationStatus.TOKEN_REFUSED
    )
    assert problems.show(now=NOW + 10 * MINUTE) == 0
    assert listed.asked == []
    assert not ShownProblem.objects.filter(installation=other_installation).exists()
