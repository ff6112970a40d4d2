"""The last steps of a mail before it goes: links that say where they come from, its size, its copy.

Only links to the shop's own storefronts are touched. What somebody sees later in a browser is what was
sent, kept encrypted for as long as its link works.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from html import escape, unescape
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import UUID

from django.db import transaction
from django.urls import reverse

from saleor_personalize.conf import settings
from saleor_personalize.enums import MessageEventKind, NotSentReason, Purpose
from saleor_personalize.exceptions import (
    InvalidToken,
    LinkExpired,
    MailTooLarge,
    NoWayOut,
    TemplateBroken,
    TemplateIncomplete,
    TextTooLong,
)
from saleor_personalize.messaging import links, outcomes
from saleor_personalize.messaging.channels import tracking
from saleor_personalize.messaging.html_reader import HtmlReader
from saleor_personalize.messaging.rendering import Rendered
from saleor_personalize.models import Installation, Message, MessageCopy

#: Gmail cuts off HTML from 102 kB on.
MAX_BYTES = 102_000
#: Nobody reads and clicks so soon after the hand-over.
_TOO_FAST = timedelta(seconds=2)
_HREF = re.compile(r"""(<a\b[^>]*?\shref\s*=\s*)("[^"]*"|'[^']*')""", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s<>\"']+")
_AFTER_URL = ".,;:!?)]}"
#: A part of a path that may be somebody's: an id in it opens a cart.
_ID = re.compile(r".*=.*|(?=.*[0-9A-Z]).{20,}|[0-9a-fA-F-]{16,}")


def view_url(*, message: Message, now: datetime) -> str:
    """Return where a mail can be looked at in a browser; "" when no copies are kept. TemplateIncomplete."""
    if not settings.VIEW_IN_BROWSER:
        return ""
    return links.view_url(message=message, expires_at=now + settings.VIEW_IN_BROWSER)


def finish(
    *, message: Message, rendered: Rendered, ways_out: Collection[str], now: datetime
) -> Rendered:
    """Return a mail as it goes: with UTM and links of our own, if the shop wants them.

    `ways_out`: addresses by which its reader ends such mails; marketing shows one of them. Raises MailTooLarge
    and NoWayOut, before anything is recorded or sent.
    """
    if message.purpose == Purpose.MARKETING:
        if not shows(rendered.html, ways_out):
            raise NoWayOut
        rendered = _with_links(message, rendered, now)
    size = len(rendered.html.encode())
    if size >= MAX_BYTES:
        raise MailTooLarge(size, MAX_BYTES)
    return rendered


def shows(html: str, ways_out: Collection[str]) -> bool:
    """Tell whether one of these addresses is linked where people can see it: comments do not count."""
    reader = _Links()
    reader.feed(html)
    reader.close()
    return not reader.found.isdisjoint(ways_out)


class _Links(HtmlReader):
    """Where the links of a mail lead."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"a", "area"}:
            self.found.update((value or "").strip() for name, value in attrs if name == "href")


def why_incomplete(error: TemplateIncomplete) -> NotSentReason:
    """Return the reason that is recorded for a message that could not be rendered."""
    if isinstance(error, MailTooLarge):
        return NotSentReason.TOO_LARGE
    if isinstance(error, TextTooLong):
        return NotSentReason.TEXT_TOO_LONG
    if isinstance(error, TemplateBroken):
        return NotSentReason.TEMPLATE_BROKEN
    return NotSentReason.TEMPLATE_INCOMPLETE


# -- links ---------------------------------------------------------------------------------------------


def _with_links(message: Message, rendered: Rendered, now: datetime) -> Rendered:
    utm = _utm(message)
    if not utm and not settings.CLICK_TRACKING:
        return rendered
    hosts = links.shop_hosts(message.installation)
    own = (settings.APP_URL or "").rstrip("/")

    def changed(url: str) -> str:
        if not links.leads_to_shop(url, hosts) or (own and url.startswith(f"{own}/")):
            return url
        url = _with_utm(url, utm)
        if settings.CLICK_TRACKING:
            expires_at = now + settings.CLICK_EXPIRY
            url = links.click_url(message=message, url=url, expires_at=expires_at)
        return url

    return replace(
        rendered,
        html=_HREF.sub(
            lambda match: f'{match[1]}"{_in_html(match[2][1:-1], changed)}"', rendered.html
        ),
        text=_URL.sub(lambda match: _in_text(match[0], changed), rendered.text),
    )


def _in_html(quoted: str, changed: Callable[[str], str]) -> str:
    return escape(changed(unescape(quoted)))


def _in_text(found: str, changed: Callable[[str], str]) -> str:
    url = found.rstrip(_AFTER_URL)
    return changed(url) + found[len(url) :]


def _utm(message: Message) -> dict[str, str]:
    enrollment = message.enrollment
    values = {
        "{template}": message.template,
        "{journey}": enrollment.journey.key if enrollment is not None else "",
        "{delivery_channel}": message.delivery_channel,
    }
    filled = {}
    for name, pattern in settings.UTM.items():
        for place, value in values.items():
            pattern = pattern.replace(place, value)
        filled[name] = pattern
    return {name: value for name, value in filled.items() if value}


def _with_utm(url: str, utm: dict[str, str]) -> str:
    parts = urlsplit(url)
    there = {name for name, _value in parse_qsl(parts.query, keep_blank_values=True)}
    added = urlencode({name: value for name, value in utm.items() if name not in there})
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, added)))))


def follow(*, claims: links.ClickClaims, user_agent: str, is_prefetch: bool, now: datetime) -> str:
    """Note that a link was followed and return where it leads: a host of the shop's, now as well.

    Raises LinkExpired, and InvalidToken for a shop or a host that is no longer ours to lead to.
    """
    installation = Installation.objects.filter(pk=claims.installation_id).first()
    if installation is None or not links.leads_to_shop(claims.url, links.shop_hosts(installation)):
        raise InvalidToken("This link leads nowhere any more.")
    if now.timestamp() >= claims.expires_at:
        raise LinkExpired("This link worked for a limited time, which is over.")
    message = _message(installation, claims.message_id)
    if message is not None:
        is_machine = (
            is_prefetch
            or tracking.is_machine(user_agent)
            or now < (message.handed_over_at or message.decided_at) + _TOO_FAST
        )
        name = _name_of(claims.url)
        # Once by a person and once by a machine: whoever calls it a thousand times writes two rows.
        who = "machine" if is_machine else "person"
        outcomes.record(
            message=message,
            kind=MessageEventKind.CLICKED,
            at=now,
            now=now,
            provider_event_id=f"click:{message.public_id.hex}:{who}:{name}",
            is_machine=is_machine,
            detail=name,
        )
    return claims.url


def _name_of(url: str) -> str:
    """Return what is kept of a link that was followed: its host and path, without anybody's ids."""
    parts = urlsplit(url)
    path = "/".join("…" if _ID.fullmatch(part) else part for part in parts.path.split("/"))
    return f"{parts.netloc}{path}"[:200]


def _message(installation: Installation, public_id: str) -> Message | None:
    rows = Message.objects.of(installation).filter(public_id=UUID(hex=public_id))
    return rows.select_related("installation", "enrollment").first()


# -- view in browser -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """A mail as it was sent, in its language."""

    html: str
    language_code: str


def keep_copy(*, message: Message, rendered: Rendered, now: datetime) -> None:
    """Keep a mail as it goes if it has a link to look at it; must run in the deciding transaction."""
    place = reverse("personalize-view", kwargs={"token": "-"}).removesuffix("-")
    if not settings.VIEW_IN_BROWSER or place not in rendered.html:
        return
    kept = {"subject": rendered.subject, "html": rendered.html, "made_at": now}
    if message.attempts == 1:
        # Its first hand-over: there is none to replace.
        MessageCopy.objects.create(installation_id=message.installation_id, message=message, **kept)
        return
    with transaction.atomic():
        MessageCopy.objects.update_or_create(
            installation_id=message.installation_id, message=message, defaults=kept
        )


def copy_of(*, claims: links.ViewClaims, now: datetime) -> Page:
    """Return what a link shows. Raises LinkExpired, and InvalidToken when it is not kept any more."""
    if now.timestamp() >= claims.expires_at:
        raise LinkExpired("This link worked for a limited time, which is over.")
    copy = (
        MessageCopy.objects.of(claims.installation_id)
        .filter(message__public_id=UUID(hex=claims.message_id))
        .select_related("message")
        .first()
    )
    if copy is None:
        raise InvalidToken("The message of this link is not kept any more.")
    return Page(copy.html, copy.message.language_code)
