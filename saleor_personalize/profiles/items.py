"""What stands in somebody's inbox: made and read by `messaging.inbox`, ended also by a no of the person."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db import transaction
from django.db.models import F, QuerySet

from saleor_personalize.models import InboxItem, Installation, Profile
from saleor_personalize.profiles import merging


def standing(*, installation: Installation | int, now: datetime) -> QuerySet[InboxItem]:
    return InboxItem.objects.of(installation).filter(dismissed_at=None, expires_at__gt=now)


def take_down(*, installation: Installation, rows: QuerySet[InboxItem], now: datetime) -> int:
    """Show these items no longer; return how many. Whoever polls for them reads anew."""
    with transaction.atomic():
        owners = list(
            Profile.objects.of(installation)
            .filter(pk__in=rows.values("profile"))
            .select_related("installation")
        )
        count = rows.update(expires_at=now)
        members = {pk for owner in owners for pk in merging.readable(owner)}
        if members:
            mark_changed(installation, members)
    return count


def end_refused(*, profile: Profile, purpose: str, topic: str, now: datetime) -> int:
    """Show a person no longer what they do not want to be told any more in the shop; return how many items.

    Without a `topic` it is all of the purpose; a topic is that of the journey that told it.
    """
    rows = standing(installation=profile.installation, now=now).filter(
        profile__in=profile.person(), message__purpose=purpose
    )
    if topic:
        rows = rows.filter(message__enrollment__version__definition__topic=topic)
    return take_down(installation=profile.installation, rows=rows, now=now)


def mark_changed(installation: Installation, members: Collection[int]) -> None:
    """Let whoever polls for one of these profiles read anew; must run in the transaction that changes."""
    rows = Profile.objects.of(installation).filter(pk__in=members)
    if len(members) > 1:
        # In one order, so that no two transactions wait for each other.
        list(rows.order_by("pk").select_for_update().values_list("pk", flat=True))
    rows.update(inbox_version=F("inbox_version") + 1)
