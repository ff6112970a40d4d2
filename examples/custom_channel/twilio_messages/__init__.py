"""SMS and WhatsApp by Twilio, and by whoever speaks as Twilio does.

SALEOR_PERSONALIZE = {
    "CHANNELS": {
        "sms": {
            "BACKEND": "twilio_messages.TwilioChannel",
            "OPTIONS": {"account_sid": "AC...", "auth_token": "...", "sender": "+15005550006"},
        }
    }
}
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from urllib.parse import urlsplit

from saleor_personalize.enums import MessageEventKind, Reply
from saleor_personalize.exceptions import ChannelError, MalformedPayload, WebhookRejected
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.messaging.channels.sms import (
    KEY,
    NUMBER,
    Answer,
    Call,
    Callback,
    Report,
    TextMessageChannel,
    Written,
)

_WHATSAPP = "whatsapp:"
_SERVICE = re.compile(r"MG[0-9a-f]{32}")
_ACCOUNT = re.compile(r"AC[0-9a-f]{32}")
#: Nobody can be reached there: https://www.twilio.com/docs/api/errors
_DEAD = {
    21211: "is no number",
    21214: "cannot be reached",
    21217: "is no number",
    21614: "is no mobile number",
    30004: "blocks messages",
    30005: "is not in use",
    30006: "is a landline",
    63003: "has no WhatsApp",
}
#: The owner answered STOP to Twilio.
_UNSUBSCRIBED = 21610
#: Another try may help: too many at once, a full queue, a wrong key that somebody will mend.
_FOR_NOW = {20003, 20429, 21611, 30001, 30022}
#: MessageStatus -> what became of it; of `queued`, `sent` and the like there is nothing to say.
_KINDS = {
    "delivered": MessageEventKind.DELIVERED,
    "read": MessageEventKind.READ,
    "undelivered": MessageEventKind.BOUNCED,
    "failed": MessageEventKind.BOUNCED,
}
_REPLIES = {"STOP": Reply.STOP, "START": Reply.START}


class TwilioChannel(TextMessageChannel):
    """`sender` is a number in E.164, a messaging service ("MG..."), or "whatsapp:+49...".

    Business messages by WhatsApp go by an approved template: `content_sid` ("HX...") is one with a single
    variable {{1}}, which is filled with the text. `api_url`: another server that speaks the same; https, or
    on this machine.
    """

    def __init__(
        self,
        *,
        account_sid: str,
        auth_token: str,
        sender: str,
        content_sid: str = "",
        timeout: float = 10.0,
        api_url: str = "https://api.twilio.com",
    ) -> None:
        super().__init__(timeout=timeout)
        parts = urlsplit(api_url)
        if parts.scheme != "https" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError(f"api_url is {api_url!r}: the key would travel in the clear")
        if not _ACCOUNT.fullmatch(account_sid):
            raise ValueError("account_sid is AC and 32 hexadecimal digits")
        if not auth_token:
            raise ValueError("auth_token is empty")
        if not _SERVICE.fullmatch(sender) and not NUMBER.fullmatch(sender.removeprefix(_WHATSAPP)):
            raise ValueError(
                "sender is a number such as +15005550006, whatsapp:+15005550006, or MG..."
            )
        if sender.startswith(_WHATSAPP) and not content_sid:
            raise ValueError("WhatsApp asks for content_sid, the id of an approved template")
        self.account_sid, self.sender, self.content_sid = account_sid, sender, content_sid
        self._auth_token = auth_token
        self.api_url = api_url.rstrip("/")

    # -- out --------------------------------------------------------------------------------------------

    def call(self, message: OutgoingMessage, *, callback_url: str) -> Call:
        is_whatsapp = self.sender.startswith(_WHATSAPP)
        form = {"To": f"{_WHATSAPP}{message.recipient}" if is_whatsapp else message.recipient}
        form["MessagingServiceSid" if _SERVICE.fullmatch(self.sender) else "From"] = self.sender
        if self.content_sid:
            form["ContentSid"] = self.content_sid
            form["ContentVariables"] = json.dumps({"1": message.text})
        else:
            form["Body"] = message.text
        if callback_url:
            form["StatusCallback"] = callback_url
        return Call(
            f"{self.api_url}/2010-04-01/Accounts/{self.account_sid}/Messages.json",
            form=form,
            auth=(self.account_sid, self._auth_token),
        )

    def accepted(self, answer: Answer) -> str:
        return str(answer.data.get("sid") or "")

    def refusal(self, answer: Answer) -> ChannelError:
        code = answer.data.get("code")
        if code in _DEAD:
            return self.refused(answer, f"the number {_DEAD[code]} ({code})", is_address_dead=True)
        if code == _UNSUBSCRIBED:
            return self.refused(
                answer, "the recipient answered STOP (21610)", has_unsubscribed=True
            )
        is_permanent = code not in _FOR_NOW and answer.status not in {401, 403}
        return self.refused(
            answer, f"{code}: {answer.data.get('message', '')}", is_permanent=is_permanent
        )

    # -- in ----------------------------------------------------------------------------------------------

    def check(self, callback: Callback) -> None:
        """Compare X-Twilio-Signature: HMAC-SHA1 over the address and the sorted fields of the form."""
        signed = callback.url + "".join(
            f"{name}{value}" for name, value in sorted(callback.form.items())
        )
        mine = hmac.digest(self._auth_token.encode(), signed.encode(), hashlib.sha1)
        theirs = callback.headers.get("x-twilio-signature", "")
        if not hmac.compare_digest(base64.b64encode(mine).decode(), theirs):
            raise WebhookRejected(
                "INVALID_SIGNATURE",
                "X-Twilio-Signature does not fit: see that APP_URL is the address that Twilio calls, and that "
                "auth_token is the current one.",
                status=401,
            )

    def read(self, callback: Callback) -> list[Report | Written]:
        form = callback.form
        if "MessageStatus" in form:
            return self._read_status(form, callback.query.get(KEY, ""))
        if "From" in form and "MessageSid" in form:
            meant = _REPLIES.get(form.get("OptOutType", "").upper())
            number = _number(form["From"])
            return [Written(form["MessageSid"], number, form.get("Body", ""), reply=meant)]
        raise MalformedPayload("Neither a status of a message nor an answer, as Twilio sends them.")

    def _read_status(self, form: dict[str, str], key: str) -> list[Report | Written]:
        status, sid = form["MessageStatus"].lower(), form["MessageSid"]
        kind = _KINDS.get(status)
        code = form.get("ErrorCode", "")
        if code == str(_UNSUBSCRIBED):
            kind = MessageEventKind.UNSUBSCRIBED
        if kind is None:
            return []
        return [
            Report(
                kind=kind,
                event_id=f"{sid}:{status}",
                number=_number(form["To"]),
                message_id=sid,
                key=key,
                is_hard=code.isdecimal() and int(code) in _DEAD,
                detail=code,
            )
        ]


def _number(address: str) -> str:
    """Return the number of an address of Twilio's, or "" of one that is none, such as a short code."""
    number = address.removeprefix(_WHATSAPP)
    return number if NUMBER.fullmatch(number) else ""
