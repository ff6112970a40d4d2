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
        if not facts.is_active:
            if facts.id != installation.app_id or installations.works(installation=installation):
                return False  # it is not about us, or came after the activation that followed it
            return installations.mark_status(
                installation=installation, status=InstallationStatus.INACTIVE, now=now
            )
        # An app installed inactive is met here for the first time: its id is not ours yet, and its
        # token waits. The shop tells which token works.
        app_id, missed_since = installation.app_id, installation.status_changed_at
        was_active = installation.status == InstallationStatus.ACTIVE
        installations.confirm(installation=installation, now=now)
        is_same_app = installation.app_id == app_id
        if installation.status != InstallationStatus.ACTIVE or (was_active and is_same_app):
            return False
        knows_history = is_same_app and backfill.has_finished(installation=installation)
        backfill.request(
            installation=installation,
            now=now,
            changed_since=missed_since if knows_history else None,
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
