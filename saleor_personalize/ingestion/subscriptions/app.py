"""What happens to this app in the shop."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.ingestion import backfill
from saleor_personalize.ingestion.subscriptions.base import Envelope, Payload, Subscription
from saleor_personalize.ingestion.subscriptions.catalog import node_of
from saleor_personalize.models import Installation
from saleor_personalize.saleor_api import installations


@dataclass(frozen=True)
class AppFacts:
    id: str
    is_active: bool


class _AppEvent(Subscription):
    permission = None
    selection = "app { id isActive }"

    @classmethod
    def normalise(cls, payload: Payload) -> AppFacts:
        node = node_of(payload, "app")
        return AppFacts(id=str(node["id"]), is_active=bool(node.get("isActive")))


class AppStatusChanged(_AppEvent):
    """Saleor keeps nothing for a deactivated app: what it missed is fetched when it comes back."""

    events = ("app_status_changed",)

    @classmethod
    def apply(
        cls, *, installation: Installation, facts: AppFacts, envelope: Envelope, now: datetime
    ) -> bool:
        if installation.app_id and facts.id != installation.app_id:
            return False
        if not facts.is_active:
            return installations.mark_status(
                installation=installation, status=InstallationStatus.INACTIVE, now=now
            )
        missed_since = installation.status_changed_at
        was_active = installation.status == InstallationStatus.ACTIVE
        installations.confirm(installation=installation, now=now)
        if was_active or installation.status != InstallationStatus.ACTIVE:
            return False
        backfill.request(
            installation=installation,
            now=now,
            changed_since=missed_since if backfill.has_finished(installation=installation) else None,
        )
        return True


class AppDeleted(_AppEvent):
    events = ("app_deleted",)

    @classmethod
    def apply(
        cls, *, installation: Installation, facts: AppFacts, envelope: Envelope, now: datetime
    ) -> bool:
        if facts.id != installation.app_id:
            return False
        return installations.mark_status(
            installation=installation, status=InstallationStatus.UNINSTALLED, now=now
        )
