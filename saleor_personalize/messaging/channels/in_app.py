"""In-app: the message is an item in the person's inbox in the shop. There is no provider."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import Q, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging import inbox
from saleor_personalize.messaging.channels.base import (
    Capabilities,
    Channel,
    OutgoingMessage,
    SendResult,
)
from saleor_personalize.models import Journey, Message

#: How a definition says so, as PostgreSQL writes it.
_IN_APP, _BEST = f'"{DeliveryChannel.IN_APP.value}"', '"delivery_channel": "best"'


class InAppChannel(Channel):
    """Delivers exactly once: the message's own key makes a second item impossible."""

    capabilities = Capabilities(is_exactly_once=True)

    def can_send(self, installation_id: int) -> bool:
        """Tell whether a live journey may speak in the app: else the shop's pages may have no inbox."""
        live = Journey.objects.of(installation_id).filter(is_live=True)
        text = live.annotate(text=Cast("published__definition", TextField()))
        return text.filter(Q(text__contains=_IN_APP) | Q(text__contains=_BEST)).exists()

    def send(self, message: OutgoingMessage) -> SendResult:
        rows = Message.objects.of(message.installation_id).filter(public_id=UUID(message.key))
        row = rows.select_related("profile").first()
        if row is None:
            raise ChannelError("Its person was erased.", is_permanent=True)
        data = message.data
        item = inbox.deliver(
            message=row,
            words=inbox.Words(
                text=message.text.strip(),
                title=message.title,
                link=message.link,
                image_url=message.image_url,
                promo_code=data.get("promo_code", ""),
                placement=data.get("placement", ""),
                expires_at=_moment(data.get("expires_at", "")),
            ),
            now=timezone.now(),
        )
        return SendResult(provider_message_id=item.public_id.hex)


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
