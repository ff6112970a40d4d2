"""Reads of the bus."""

from __future__ import annotations

from saleor_personalize.models import Installation, OutgoingDelivery, OutgoingWebhook


def webhooks(*, installation: Installation) -> list[OutgoingWebhook]:
    """Return the outgoing webhooks of a shop by alias."""
    return list(
        OutgoingWebhook.objects.of(installation).select_related("installation").order_by("alias")
    )


def aliases(*, installation: Installation) -> list[str]:
    """Return the names by which a journey's step can call a webhook."""
    rows = OutgoingWebhook.objects.of(installation)
    return list(rows.order_by("alias").values_list("alias", flat=True))


def find(*, installation: Installation, alias: str) -> OutgoingWebhook | None:
    rows = OutgoingWebhook.objects.of(installation).select_related("installation")
    return rows.filter(alias=alias).first()


def log(*, webhook: OutgoingWebhook, limit: int) -> list[OutgoingDelivery]:
    """Return the newest deliveries of a webhook, the newest first."""
    rows = OutgoingDelivery.objects.of(webhook.installation_id).filter(webhook=webhook)
    return list(rows.order_by("-created_at", "-pk")[:limit])
