"""Saying that something about a person changed, so that whoever groups people looks at them again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from saleor_personalize.models import ChangedProfile, Installation, Profile


def mark_changed(
    *,
    installation: Installation,
    profiles: Iterable[Profile | int],
    now: datetime,
    has_ordered: bool = False,
) -> None:
    """Note, in the caller's transaction, that something about these profiles (or ids) changed.

    `has_ordered`: an order of theirs is new or changed, so their traits are worked out again. Only
    adds rows, so no caller ever waits for another one or for the evaluation of segments.
    """
    ids = {profile if isinstance(profile, int) else profile.pk for profile in profiles}
    ChangedProfile.objects.bulk_create(
        ChangedProfile(
            installation=installation, profile_id=id_, changed_at=now, has_ordered=has_ordered
        )
        for id_ in sorted(ids)
    )
