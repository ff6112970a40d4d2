"""The inbox and the banners of a person in the shop itself: delivered once, the same on all devices.

An item stays on the profile that its message was meant for. Who reads finds those of all profiles that they
may read (`merging.readable`): so items follow whoever signs in, and nobody sees another's over a cart.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import Q, QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.enums import IdentityKind, MessageEventKind
from saleor_personalize.exceptions import InvalidCursor
from saleor_personalize.messaging import outcomes
from saleor_personalize.models import (
    Enrollment,
    Identity,
    InboxItem,
    Installation,
    Message,
    Profile,
)
from saleor_personalize.models.fields import keyed_hash
from saleor_personalize.profiles import identity, items, merging

#: Items of one answer, and of one report.
MAX_ITEMS = 100
#: Changes with what an answer to a poll is made of.
_FORMAT = "1"


@dataclass(frozen=True)
class Words:
    """What an item says. `expires_at` None: after INBOX_EXPIRY. `placement`: where it is a banner as well."""

    text: str
    title: str = ""
    link: str = ""
    image_url: str = ""
    promo_code: str = ""
    placement: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Page:
    """Items, newest first; `end_cursor` is empty on the last page. `unread_count` is of the whole inbox."""

    items: list[InboxItem]
    unread_count: int
    end_cursor: str
    #: When the first of the items in the inbox expires; None: it is empty.
    changes_at: datetime | None


NOTHING = Page(items=[], unread_count=0, end_cursor="", changes_at=None)


def deliver(*, message: Message, words: Words, now: datetime) -> InboxItem:
    """Put a message into its person's inbox and return the item: once, however often it is called."""
    with transaction.atomic():
        item, is_new = InboxItem.objects.get_or_create(
            installation=message.installation,
            message=message,
            defaults={
                "profile": message.profile,
                "placement": words.placement,
                "title": words.title,
                "text": words.text,
                "link": _web_address(words.link, {"http", "https"}),
                "image_url": _web_address(words.image_url, {"https"}),
                "promo_code": words.promo_code,
                "created_at": now,
                "expires_at": words.expires_at or now + settings.INBOX_EXPIRY,
            },
        )
        if is_new:
            outcomes.record(message=message, kind=MessageEventKind.DELIVERED, at=now, now=now)
            items.mark_changed(message.installation, merging.readable(message.profile))
    return item


def take_down(*, enrollment: Enrollment, now: datetime) -> int:
    """Show no longer what a journey told somebody; return how many items. Must run in the deciding transaction."""
    rows = items.standing(installation=enrollment.installation, now=now)
    rows = rows.filter(message__enrollment=enrollment)
    return items.take_down(installation=enrollment.installation, rows=rows, now=now)


def _web_address(url: str, schemes: Collection[str]) -> str:
    """Leave out what a page must not open or load."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in schemes and parts.netloc else ""


# -- reading -----------------------------------------------------------------------------------------------


def page(
    *,
    profile: Profile,
    now: datetime,
    first: int = MAX_ITEMS,
    after: str = "",
    placement: str | None = None,
) -> Page:
    """Return what a person may read and has not put away: of all, or the banners of one placement.

    Raises InvalidCursor for an `after` that is no `end_cursor` of theirs.
    """
    theirs = InboxItem.objects.of(profile.installation).filter(
        profile__in=merging.readable(profile)
    )
    shown = _shown(theirs, now)
    rows = shown if placement is None else shown.filter(placement=placement)
    if after:
        last = theirs.filter(public_id__in=_public_ids([after])).first()
        if last is None:
            raise InvalidCursor("`after` is no cursor of ours: send the `endCursor` of a page.")
        rows = rows.filter(
            Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, pk__lt=last.pk)
        )
    found = list(
        rows.order_by("-created_at", "-pk").select_related("message")[: min(first, MAX_ITEMS) + 1]
    )
    shown_now = found[:first][:MAX_ITEMS]
    return Page(
        items=shown_now,
        unread_count=shown.filter(read_at=None).count(),
        end_cursor=shown_now[-1].public_id.hex if len(found) > len(shown_now) else "",
        changes_at=shown.order_by("expires_at").values_list("expires_at", flat=True).first(),
    )


def _shown(rows: QuerySet[InboxItem], now: datetime) -> QuerySet[InboxItem]:
    return rows.filter(dismissed_at=None, expires_at__gt=now)


def _public_ids(texts: Iterable[str]) -> list[uuid.UUID]:
    """Return the ids among texts of a caller."""
    found = []
    for text in texts:
        with contextlib.suppress(ValueError):
            found.append(uuid.UUID(text))
    return found


# -- what somebody does ------------------------------------------------------------------------------------


def report(
    *, profile: Profile, kind: MessageEventKind, ids: Collection[str] | None, now: datetime
) -> int:
    """Record what a person did with items of theirs, None for all; return with how many it was news.

    `kind` is READ, DISMISSED or CLICKED.
    Items of others, and ids that are none, are passed by. Who follows or puts away has read.
    """
    members = merging.readable(profile)
    with transaction.atomic():
        theirs = InboxItem.objects.of(profile.installation).filter(profile__in=members)
        rows = _shown(theirs, now)
        if ids is not None:
            rows = rows.filter(public_id__in=_public_ids(ids))
        if kind == MessageEventKind.READ:
            rows = rows.filter(read_at=None)
        found = list(rows.select_related("message").order_by("pk").select_for_update(of=("self",)))
        news = 0
        for item in found:
            item.read_at = item.read_at or now
            if kind == MessageEventKind.DISMISSED:
                item.dismissed_at = now
            # Once: whoever follows a link a thousand times writes one row.
            known_as = f"inbox:{kind.value}:{item.public_id.hex}"
            event = outcomes.record(
                message=item.message, kind=kind, at=now, now=now, provider_event_id=known_as
            )
            news += event is not None
        InboxItem.objects.bulk_update(found, ["read_at", "dismissed_at"])
        if found:
            items.mark_changed(profile.installation, members)
    return news


# -- polling -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """Who polls, and which version of their inbox there is: one indexed read tells."""

    kind: IdentityKind
    value: str
    profile_id: int
    version: int

    def tag(self, *, asked: str, until: datetime | None) -> str:
        """Return the entity tag of an answer to `asked` that holds until then, or until something changes."""
        seconds = int(until.timestamp()) if until else 0
        text = f"{self.kind}:{self.value}:{self.profile_id}:{self.version}:{seconds}:{asked}"
        return f"{seconds:x}-{keyed_hash('inbox', f'{_FORMAT}:{text}')[:24]}"

    def has(self, tag: str, *, asked: str, now: datetime) -> bool:
        """Tell whether an answer with this tag is still the right one."""
        try:
            seconds = int(tag.partition("-")[0][:12], 16)
            until = datetime.fromtimestamp(seconds, tz=now.tzinfo) if seconds else None
        except (ValueError, OverflowError, OSError):
            return False
        return (until is None or now < until) and self.tag(asked=asked, until=until) == tag


def reader_of(*, installation: Installation, shown: identity.Shown) -> Reader | None:
    """Return who polls; None for who shows no id. What they may read, the caller's profile says."""
    for kind in (IdentityKind.SALEOR_USER, IdentityKind.ANONYMOUS_ID):
        value = shown.get(kind)
        if value:
            row = (
                Identity.objects.of(installation)
                .filter(kind=kind, value=value)
                .values_list("profile_id", "profile__inbox_version")
                .first()
            )
            profile_id, version = row or (0, 0)
            return Reader(kind, value, profile_id, version)
    return None
