"""What is wrong with the app in a shop, shown where Saleor's Dashboard lists problems of apps (3.22+).

Each kind of fault has a key that stays the same, so that Saleor lists it once and takes it back by it. A
fault is told once it has lasted, and taken back once it has been gone for as long: what comes and goes is
told of nobody. One place knows which faults there are; whoever reads them here reads a sentence that says
what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from saleor_personalize.enums import DeliveryChannel, InstallationStatus, TrainingStatus
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.health import queries
from saleor_personalize.ingestion.queries import webhook_health
from saleor_personalize.models import Installation, OutgoingWebhook, PushAccount, ShownProblem
from saleor_personalize.recommendations.queries import latest_training
from saleor_personalize.saleor_api.client import SaleorClient

logger = logging.getLogger(__name__)

#: How long a fault lasts before it is told, and is gone before it is taken back.
STEADY = timedelta(minutes=10)
#: What providers are called in a sentence.
_WAYS = {
    DeliveryChannel.EMAIL: "e-mail",
    DeliveryChannel.PUSH: "push",
    DeliveryChannel.SMS: "text messages",
    DeliveryChannel.IN_APP: "messages in the app",
}


@dataclass(frozen=True)
class Problem:
    """`key` is unique in a shop; `is_certain`: it came to stay, so it is told, and taken back, at once."""

    key: str
    message: str
    is_certain: bool = False


def problems_of(*, installation: Installation, now: datetime) -> list[Problem]:
    """Return what is wrong in a shop at this moment."""
    return [
        *_webhooks(installation),
        *_push(installation),
        *_providers(installation),
        *_deliveries(installation, now),
        *_work(installation, now),
        *_training(installation),
    ]


def show(*, now: datetime) -> int:
    """Make each shop's Saleor list what is wrong there, and nothing else; return how many entries changed.

    A Saleor that has no such list is asked once for each fault; one that cannot be reached is asked again.
    Saleor lists a key once, so two workers at it do no harm.
    """
    shops = Installation.objects.filter(status=InstallationStatus.ACTIVE).order_by("pk")
    return sum(_settle_shop(shop, now) for shop in shops)


def _settle_shop(shop: Installation, now: datetime) -> int:
    found = {each.key: each for each in problems_of(installation=shop, now=now)}
    for key in found:
        ShownProblem.objects.get_or_create(installation=shop, key=key, defaults={"since": now})
    rows = ShownProblem.objects.of(shop).select_related("installation").order_by("key")
    return sum(_settle(row, found.get(row.key), now) for row in rows)


def _settle(row: ShownProblem, problem: Problem | None, now: datetime) -> bool:
    """Bring one row, and what Saleor lists of it, up to date; return whether Saleor was told."""
    if problem is None:
        return _is_gone(row, now)
    is_lasting = problem.is_certain or now - row.since >= STEADY
    is_told = row.shown_at is None and is_lasting and _report(row, problem)
    _update(row, well_since=None, shown_at=now if is_told else row.shown_at)
    return is_told


def _is_gone(row: ShownProblem, now: datetime) -> bool:
    if row.shown_at is None:
        row.delete()
        return False
    well_since = row.well_since or now
    is_over = row.key.startswith(_CERTAIN) or now - well_since >= STEADY
    if is_over and _dismiss(row):
        row.delete()
        return True
    _update(row, well_since=well_since)
    return False


def _update(row: ShownProblem, **values: datetime | None) -> None:
    ShownProblem.objects.of(row.installation_id).filter(pk=row.pk).update(**values)


# -- what can be wrong ----------------------------------------------------------------------------------

_WEBHOOK = "outgoing-webhook-"
#: Keys of what is switched by somebody, and does not come and go.
_CERTAIN = (_WEBHOOK,)


def _webhooks(installation: Installation) -> Iterator[Problem]:
    rows = OutgoingWebhook.objects.of(installation).exclude(disabled_at=None).order_by("pk")
    for webhook in rows:
        yield Problem(
            f"{_WEBHOOK}{webhook.pk}",
            f"The outgoing webhook “{webhook.alias}” was switched off: its receiver took nothing for long. "
            "Mend the receiver, then switch the webhook on again on this app's page and replay what failed.",
            is_certain=True,
        )


def _push(installation: Installation) -> Iterator[Problem]:
    if PushAccount.objects.of(installation).exclude(fault="").exists():
        yield Problem(
            "push-account",
            "Firebase refuses the service account for push: no push message leaves. Save a new key of it on "
            "the page “Push” of this app.",
        )


def _providers(installation: Installation) -> Iterator[Problem]:
    for provider in queries.providers(installation=installation):
        if provider.is_refusing:
            yield Problem(
                f"provider-{provider.delivery_channel}",
                f"The provider of {_WAYS[provider.delivery_channel]} refuses what it is handed. See why on "
                "the page “Messages” of this app, and look at your account there.",
            )


def _deliveries(installation: Installation, now: datetime) -> Iterator[Problem]:
    health = webhook_health(installation=installation, now=now)
    if health.is_stuck(now):
        yield Problem(
            "webhooks-late",
            "What Saleor tells this app waits to be processed: its facts are old. Whoever runs the service "
            "starts “saleor-personalize worker”, or more of them.",
        )
    if health.failed:
        yield Problem(
            "webhooks-failed",
            "Some of what Saleor told this app could not be processed. Remove the cause that the page "
            "“Health” of this app names, then replay it there.",
        )


def _work(installation: Installation, now: datetime) -> Iterator[Problem]:
    late = [
        each.kind for each in queries.work(installation=installation, now=now) if each.is_late(now)
    ]
    if late:
        yield Problem(
            "work-late",
            f"Work of this app is overdue ({', '.join(late)}). Whoever runs the service sees that workers "
            "run, adds some, and looks into their log for errors.",
        )


def _training(installation: Installation) -> Iterator[Problem]:
    training = latest_training(installation=installation)
    if training is not None and training.status == TrainingStatus.FAILED:
        yield Problem(
            "training-failed",
            "The last training of the recommendations failed; what answered before goes on. See why on the "
            "page “Models” of this app, and train again.",
        )


# -- telling Saleor ---------------------------------------------------------------------------------------


def _report(row: ShownProblem, problem: Problem) -> bool:
    given = {"key": problem.key, "message": problem.message}
    return _asked(row, "AppProblemCreate", {"input": given})


def _dismiss(row: ShownProblem) -> bool:
    return _asked(row, "AppProblemDismiss", {"input": {"byApp": {"keys": [row.key]}}})


def _asked(row: ShownProblem, operation: str, variables: dict[str, object]) -> bool:
    """Tell Saleor; return whether that is done with, or it never will be."""
    try:
        with SaleorClient(row.installation, retry_delays=()) as saleor:
            saleor.execute(operation, variables)
    except SaleorApiError as error:
        logger.warning("Problem %s: %s was not done: %s", row.key, operation, error)
        return not error.is_retryable
    return True
