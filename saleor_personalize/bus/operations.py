"""Outgoing webhooks as staff and operators change them."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from uuid import uuid4

from django.db import transaction
from django.utils.translation import gettext as _

from saleor_personalize.bus import client, delivery, signing
from saleor_personalize.bus.client import Answer
from saleor_personalize.bus.delivery import Describe
from saleor_personalize.bus.outbox import PATIENCE, TEST
from saleor_personalize.enums import BusEvent, OutgoingStatus
from saleor_personalize.exceptions import AddressRefused, OutgoingRefused
from saleor_personalize.models import Installation, OutgoingDelivery, OutgoingWebhook

#: Webhooks of one shop: every fact is written down once for each.
MAX_WEBHOOKS = 20
MAX_URL = 1_000
_ALIAS = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")


def add(
    *,
    installation: Installation,
    alias: str,
    url: str,
    events: Collection[str],
    now: datetime,
    has_personal_data: bool = False,
    created_by: str = "",
) -> OutgoingWebhook:
    """Make a webhook with a new secret, switched on. No events: only steps of journeys call it.

    Raises OutgoingRefused, with the field to mend, for an alias that is taken or cannot be one, an
    unknown event, an address that may not be called, and beyond MAX_WEBHOOKS.
    """
    alias, url = alias.strip(), url.strip()
    if not _ALIAS.fullmatch(alias):
        raise OutgoingRefused(
            _("Take a name of 1 to 60 small letters, digits, “-” and “_”, such as crm."),
            field="alias",
        )
    unknown = sorted(set(events) - set(BusEvent.values))
    if unknown:
        raise OutgoingRefused(
            _("There is no event %(events)s. Known: %(known)s.")
            % {"events": ", ".join(unknown), "known": ", ".join(BusEvent.values)},
            field="events",
        )
    _check_url(url)
    with transaction.atomic():
        # The lock makes two that are made at once see each other.
        Installation.objects.select_for_update().get(pk=installation.pk)
        rows = OutgoingWebhook.objects.of(installation)
        if rows.filter(alias=alias).exists():
            raise OutgoingRefused(_("There is a webhook of that name already."), field="alias")
        if rows.count() >= MAX_WEBHOOKS:
            raise OutgoingRefused(_("There are too many webhooks: remove one that is not used."))
        return OutgoingWebhook.objects.create(
            installation=installation,
            alias=alias,
            url=url,
            events=[event for event in BusEvent.values if event in events],
            has_personal_data=has_personal_data,
            secret=signing.new_secret(),
            created_at=now,
            created_by=created_by,
        )


def _check_url(url: str) -> None:
    if len(url) > MAX_URL:
        raise OutgoingRefused(
            _("The address is longer than %(most)s letters.") % {"most": MAX_URL}, field="url"
        )
    try:
        client.check_url(url)
    except AddressRefused as refusal:
        raise OutgoingRefused(
            _("This address cannot be called: %(why)s") % {"why": refusal}, field="url"
        ) from refusal


def switch_off(*, webhook: OutgoingWebhook) -> None:
    """Tell it nothing from now on. What waits is given up and can be replayed."""
    with transaction.atomic():
        _update(webhook, is_active=False)
        delivery.give_up(webhook)


def switch_on(*, webhook: OutgoingWebhook) -> None:
    """Tell it what happens from now on, whoever switched it off."""
    _update(
        webhook,
        is_active=True,
        disabled_at=None,
        failing_since=None,
        failures=0,
        rests_until=None,
    )


def rotate(*, webhook: OutgoingWebhook, now: datetime) -> str:
    """Give it a new secret and return that; the one of before signs as well for `signing.ROTATION`."""
    secret = signing.new_secret()
    _update(webhook, former_secret=webhook.secret, secret=secret, rotated_at=now)
    return secret


def remove(*, webhook: OutgoingWebhook) -> None:
    """Delete it with its log."""
    OutgoingWebhook.objects.of(webhook.installation_id).filter(pk=webhook.pk).delete()


def test(*, webhook: OutgoingWebhook, now: datetime, describe: Describe) -> Answer:
    """Send it a made-up event once, whether it is on or off, and return what came of it."""
    sent = OutgoingDelivery.objects.create(
        installation=webhook.installation,
        webhook=webhook,
        event_id=uuid4(),
        event=TEST,
        data={"message": "Nothing happened: somebody tries whether this webhook works."},
        occurred_at=now,
        created_at=now,
        due_at=now + delivery.CLAIM,
        expires_at=now,
        attempts=1,
    )
    return delivery.attempt(delivery=sent, now=now, describe=describe)


def replay(*, webhook: OutgoingWebhook, now: datetime, ids: Collection[int] | None = None) -> int:
    """Put deliveries in line again, by default all that failed; return how many.

    They keep their ids, so a receiver that had one knows it. Raises OutgoingRefused for a webhook that
    is switched off.
    """
    if not webhook.is_active:
        raise OutgoingRefused(_("This webhook is switched off: switch it on first."))
    rows = OutgoingDelivery.objects.of(webhook.installation_id).filter(webhook=webhook)
    rows = rows.exclude(event=TEST).exclude(status=OutgoingStatus.WAITING)
    rows = rows.filter(status=OutgoingStatus.FAILED) if ids is None else rows.filter(pk__in=ids)
    return rows.update(
        status=OutgoingStatus.WAITING, due_at=now, expires_at=now + PATIENCE, attempts=0
    )


def _update(webhook: OutgoingWebhook, **changes: object) -> None:
    for name, value in changes.items():
        setattr(webhook, name, value)
    webhook.save(update_fields=list(changes))
