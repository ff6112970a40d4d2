"""The words of a message as they went, where they are kept: of mails and of what is read in the shop."""

from __future__ import annotations

import re
from datetime import datetime

from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.messaging import plain_text
from saleor_personalize.messaging.rendering import Rendered
from saleor_personalize.models import InboxItem, Message, MessageCopy

_LINK = re.compile(r":?\s*https?://\S+", re.IGNORECASE)


def words_of(*, message: Message, now: datetime) -> Rendered | None:
    """Return what a message says, without where its links lead; None when it is not kept, or no more.

    A mail is kept for VIEW_IN_BROWSER, what is read in the shop until it expires there; nothing is of push
    and text messages. Nobody reads longer than that, whenever the purge comes by.
    """
    if message.delivery_channel == DeliveryChannel.IN_APP:
        items = InboxItem.objects.of(message.installation).filter(expires_at__gt=now)
        item = items.filter(message=message).first()
        return None if item is None else Rendered(title=item.title, text=item.text)
    copies = MessageCopy.objects.of(message.installation).filter(
        made_at__gt=now - settings.VIEW_IN_BROWSER
    )
    copy = copies.filter(message=message).first()
    if copy is None:
        return None
    # Whoever follows a link of it acts for the person.
    text = _LINK.sub("", plain_text.from_html(copy.html))
    return Rendered(subject=copy.subject, text=text)
