"""A delivery channel for development: prints what would be sent, and to nobody."""

from __future__ import annotations

import sys

from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage, SendResult


class ConsoleChannel(Channel):
    def send(self, message: OutgoingMessage) -> SendResult:
        """Print subject and text to standard output; the recipient's address stays out of it."""
        sys.stdout.write(f"--- {message.key}\nSubject: {message.subject}\n\n{message.text}\n---\n")
        return SendResult(provider_message_id=f"console-{message.key}")
