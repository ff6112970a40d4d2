"""Those who have not reacted for long: nothing more is sent to them until they do.

Whoever goes on writing to people who never look is taken for a spammer, by them and by their providers.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.enums import ConsentState, DeliveryChannel, Purpose
from saleor_personalize.messaging import outcomes
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import Consent, Event, Message, MessageEvent, Order, Profile

#: An inbox in the shop is seen by who comes anyway.
_EXEMPT = (DeliveryChannel.IN_APP,)


def is_asleep(*, profile: Profile, delivery_channel: DeliveryChannel, now: datetime) -> bool:
    """Tell whether the last SUNSET_MESSAGES messages of a delivery channel, and SUNSET_AFTER, passed without
    a sign of the person: no visit, order, click, opening (unless by a machine) or yes.
    """
    after = settings.SUNSET_AFTER
    if after is None or delivery_channel in _EXEMPT:
        return False
    times = (
        Message.objects.of(profile.installation_id)
        .filter(
            profile__in=profile.members(),
            purpose=Purpose.MARKETING,
            delivery_channel=delivery_channel,
            status__in=REACHED,
        )
        .order_by("-decided_at")
        .values_list("decided_at", flat=True)
    )
    most = max(1, settings.SUNSET_MESSAGES)
    first_ignored = next(iter(times[most - 1 : most]), None)
    if first_ignored is None:
        return False
    return not _has_shown_up(profile, min(first_ignored, now - after))


def _has_shown_up(profile: Profile, since: datetime) -> bool:
    def of(model: type[Event] | type[Order] | type[Consent]) -> QuerySet[Event | Order | Consent]:
        rows: QuerySet[Event | Order | Consent] = model.objects.of(profile.installation_id)
        return rows.filter(profile__in=profile.members())

    seen = MessageEvent.objects.of(profile.installation_id).filter(
        message__profile__in=profile.members(), kind__in=outcomes.SEEN, is_machine=False
    )
    return (
        of(Event).filter(occurred_at__gt=since).exists()
        or of(Order).filter(placed_at__gt=since).exists()
        or of(Consent).filter(state=ConsentState.GRANTED, recorded_at__gt=since).exists()
        or seen.filter(at__gt=since).exists()
    )
