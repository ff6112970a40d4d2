"""Saying that something about a person changed, so that whoever groups people looks at them again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from saleor_personalize.models import ChangedProfile, Installation, Profile


def mark_changed(
    *, installation: Installation, profiles: Iterable[Profile | int], now: datetime
) -> None:
    """Note, in the caller's transaction, that something about these profiles (or ids) changed.

    Only adds rows, so no caller ever waits for another one or for the evaluation of segments.
    """
    ids = {profile if isinstance(profile, int) else profile.pk for profile in profiles}
    ChangedProfile.objects.bulk_create(
        ChangedProfile(installation=installation, profile_id=id_, changed_at=now)
        for id_ in sorted(ids)
    )
