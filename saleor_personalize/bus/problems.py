"""A webhook that was switched off, shown in the Dashboard where Saleor lists problems of apps (3.22+)."""

from __future__ import annotations

import logging

from django.db.models import Q

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.models import OutgoingWebhook
from saleor_personalize.saleor_api.client import SaleorClient

logger = logging.getLogger(__name__)


def show() -> int:
    """Make Saleor show the webhooks that are switched off, and no others; return how many changed.

    A Saleor that has no such list is not asked again about the same one; one that cannot be reached is.
    """
    rows = OutgoingWebhook.objects.filter(
        Q(disabled_at__isnull=False, is_problem_shown=False)
        | Q(disabled_at=None, is_problem_shown=True),
        installation__status=InstallationStatus.ACTIVE,
    )
    return sum(_settle(webhook) for webhook in rows.select_related("installation").order_by("pk"))


def _settle(webhook: OutgoingWebhook) -> bool:
    is_shown = webhook.disabled_at is not None
    done = _report(webhook) if is_shown else dismiss(webhook=webhook)
    if done:
        OutgoingWebhook.objects.of(webhook.installation_id).filter(pk=webhook.pk).update(
            is_problem_shown=is_shown
        )
    return done


def _report(webhook: OutgoingWebhook) -> bool:
    message = (
        f"The outgoing webhook “{webhook.alias}” was switched off: its receiver took nothing for long. "
        "Mend the receiver, then switch the webhook on again on this app's page and replay what failed."
    )
    problem = {"key": _key(webhook), "message": message}
    return _asked(webhook, "AppProblemCreate", {"input": problem})


def dismiss(*, webhook: OutgoingWebhook) -> bool:
    """Take the problem of a webhook back; return whether the shop was told."""
    return _asked(webhook, "AppProblemDismiss", {"input": {"byApp": {"keys": [_key(webhook)]}}})


def _key(webhook: OutgoingWebhook) -> str:
    return f"outgoing-webhook-{webhook.pk}"


def _asked(webhook: OutgoingWebhook, operation: str, variables: dict[str, object]) -> bool:
    try:
        with SaleorClient(webhook.installation, retry_delays=()) as saleor:
            saleor.execute(operation, variables)
    except SaleorApiError as error:
        logger.warning("Outgoing webhook %s: %s was not done: %s", webhook.pk, operation, error)
        return not error.is_retryable
    return True
