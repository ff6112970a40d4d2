"""What is wrong with the words of a message before anybody gets it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser

from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryChannel, Purpose
from saleor_personalize.messaging.mail import MAX_BYTES, shows
from saleor_personalize.messaging.rendering import Rendered
from saleor_personalize.messaging.segments import segments_of

#: Longer subjects and titles are cut off on phones.
LONGEST_SUBJECT = 78


@dataclass(frozen=True)
class Finding:
    """`is_blocking`: such a message is not sent. `code` is stable: "size", "no_alt", ..."""

    code: str
    text: str
    is_blocking: bool = False


def findings(
    *,
    rendered: Rendered,
    delivery_channel: DeliveryChannel,
    purpose: Purpose,
    ways_out: Collection[str],
    sensitive_names: Collection[str] = (),
) -> list[Finding]:
    """Return what is wrong with a rendered message, in the active language.

    `ways_out`: addresses by which the reader of a mail ends such mails.
    """
    found = list(_of_words(rendered, sensitive_names))
    if delivery_channel == DeliveryChannel.EMAIL:
        found += _of_mail(rendered, purpose, ways_out)
    if delivery_channel == DeliveryChannel.SMS:
        found += _of_text(rendered)
    return found


def _of_words(rendered: Rendered, sensitive_names: Collection[str]) -> Iterator[Finding]:
    head = f"{rendered.subject} {rendered.title}".strip()
    if len(head) > LONGEST_SUBJECT:
        text = _("The subject has %(count)s characters; phones cut it off after %(most)s.")
        yield Finding("long_subject", text % {"count": len(head), "most": LONGEST_SUBJECT})
    # Of a push the whole is read on a locked screen.
    preview = f"{head} {'' if rendered.html else rendered.text}".casefold()
    for name in sensitive_names:
        if name and name.casefold() in preview:
            text = _("A sensitive product is named where others can read it: %(name)s")
            yield Finding("sensitive", text % {"name": name})


def _of_mail(rendered: Rendered, purpose: Purpose, ways_out: Collection[str]) -> Iterator[Finding]:
    reader = _Reader()
    reader.feed(rendered.html)
    for source in reader.without_alt:
        yield Finding("no_alt", _("A picture has no alt text: %(source)s") % {"source": source})
    if not rendered.subject:
        yield Finding("no_subject", _("The subject is empty."))
    if purpose == Purpose.MARKETING:
        is_shown = shows(rendered.html, ways_out)
        if not (is_shown and any(url in rendered.text for url in ways_out)):
            yield Finding(
                "no_unsubscribe",
                _("The link to unsubscribe is missing in HTML or text."),
                is_blocking=not is_shown,
            )
    size = len(rendered.html.encode())
    if size >= MAX_BYTES:
        told = _("The HTML has %(size)s bytes; mail programs cut off what is longer than %(most)s.")
        yield Finding("size", told % {"size": size, "most": MAX_BYTES}, is_blocking=True)


def _of_text(rendered: Rendered) -> Iterator[Finding]:
    found, most = segments_of(rendered.text), settings.SMS_MAX_SEGMENTS
    if found.count > most:
        told = _("The text takes %(count)s segments; you allow %(most)s.")
        yield Finding("too_long", told % {"count": found.count, "most": most}, is_blocking=True)
    if found.is_unicode and found.count > 1:
        told = _("These characters make the text more than twice as dear: %(characters)s")
        yield Finding("not_gsm", told % {"characters": found.culprits})


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.without_alt: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        # An empty one says that a picture is decoration.
        if tag == "img" and "alt" not in given:
            self.without_alt.append((given.get("src") or "")[:200])
