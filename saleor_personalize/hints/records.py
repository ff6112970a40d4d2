"""What a person saw, waved away and followed; and what of it forbids to tell them more now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models import F
from django.db.models.functions import Coalesce

from saleor_personalize.conf import settings
from saleor_personalize.enums import HintAction, HintKind
from saleor_personalize.hints.base import INTERRUPTING
from saleor_personalize.models import Profile, ShownHint

_DAY = timedelta(days=1)
_SUBJECT = re.compile(r"[A-Za-z0-9+/=_-]{1,100}")
#: Different hints of one person; more are somebody's play.
MAX_OF_PERSON = 200


class Past:
    """What a person had of hints, read once."""

    def __init__(self, profile: Profile, now: datetime) -> None:
        self._rows: Sequence[ShownHint] = list(
            ShownHint.objects.of(profile.installation_id).filter(profile__in=profile.person())
        )
        self._now = now

    def row(self, kind: HintKind, subject: str) -> ShownHint | None:
        return next((row for row in self._rows if (row.kind, row.subject) == (kind, subject)), None)

    def is_full(self) -> bool:
        """Tell whether the person was interrupted often enough today."""
        today = [
            row
            for row in self._rows
            if row.kind in INTERRUPTING
            and row.last_shown_at is not None
            and row.last_shown_at > self._now - _DAY
        ]
        return len(today) >= int(settings.HINTS_MAX_PER_DAY)

    def forbids(self, kind: HintKind, subject: str) -> bool:
        """Tell whether the person waved this away lately, or saw it too short a time ago."""
        for row in self._rows:
            if (row.kind, row.subject) != (kind, subject):
                continue
            if row.dismissed_at and row.dismissed_at > self._now - settings.HINT_DISMISSED_FOR:
                return True
            is_fresh = row.last_shown_at and row.last_shown_at > self._now - settings.HINT_COOL_DOWN
            if is_fresh and kind in INTERRUPTING:
                return True
        return False


def parse(hint_id: str) -> tuple[HintKind, str] | None:
    """Return kind and subject of a hint's id; None for what is no id of ours."""
    kind, _dot, subject = hint_id.partition(".")
    if kind not in HintKind.values or not _SUBJECT.fullmatch(subject):
        return None
    return HintKind(kind), subject


def record(
    *, profile: Profile, kind: HintKind, subject: str, action: HintAction, now: datetime
) -> bool:
    """Keep what a person did with a hint; return whether it was kept."""
    own = ShownHint.objects.of(profile.installation_id).filter(profile=profile)
    row = own.filter(kind=kind, subject=subject)
    if not row.exists():
        if own.count() >= MAX_OF_PERSON:
            return False
        ShownHint.objects.bulk_create(
            [
                ShownHint(
                    installation_id=profile.installation_id,
                    profile=profile,
                    kind=kind,
                    subject=subject,
                    changed_at=now,
                )
            ],
            ignore_conflicts=True,
        )
    match action:
        case HintAction.SEEN:
            row.update(
                shown_count=F("shown_count") + 1,
                first_shown_at=Coalesce("first_shown_at", now),
                last_shown_at=now,
                changed_at=now,
            )
        case HintAction.DISMISSED:
            row.update(dismissed_at=now, changed_at=now)
        case HintAction.FOLLOWED:
            row.update(followed_at=now, changed_at=now)
    return True
