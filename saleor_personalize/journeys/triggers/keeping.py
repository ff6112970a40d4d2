"""Favourites that were left alone, and people who come back again and again without an account."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from saleor_personalize.enums import IdentityKind, NotSentReason
from saleor_personalize.journeys import showing
from saleor_personalize.journeys.triggers.base import (
    Content,
    Entry,
    Go,
    Live,
    Stop,
    Subject,
    Verdict,
)
from saleor_personalize.journeys.triggers.people import (
    OWNED,
    OfPerson,
    bought,
    refuses_profiling,
)
from saleor_personalize.models import (
    Enrollment,
    Favourite,
    Identity,
    Installation,
    Profile,
    Session,
)
from saleor_personalize.profiles import merging


@dataclass(frozen=True)
class FavouritesOptions:
    """`after` the last one was added; too late after `expires`."""

    after: timedelta = timedelta(days=7)
    expires: timedelta = timedelta(days=21)


class FavouritesLeft(OfPerson):
    """Somebody keeps products and does not buy them."""

    key = "favourites_left"
    Options: ClassVar[type] = FavouritesOptions

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        after: timedelta = self.options.after
        rows = Favourite.objects.of(installation).filter(
            removed_at=None, added_at__gt=since - after, added_at__lte=now - after
        )
        for profile in self.people(
            installation, rows.values_list("profile_id", flat=True), agreed=False
        ):
            kept = self._kept(profile)
            if kept and kept[0].added_at + after <= now and self._open(profile, kept, now):
                yield Entry(
                    profile=profile,
                    subject=Subject(),
                    occurred_at=kept[0].added_at,
                    due_at=kept[0].added_at + after,
                    context={"channel": kept[0].channel_slug or showing.channel_of(profile)},
                )

    @staticmethod
    def _kept(profile: Profile) -> list[Favourite]:
        """Return what a person keeps and may read themselves, the newest first."""
        return list(
            Favourite.objects.of(profile.installation_id)
            .filter(profile__in=merging.readable(profile), removed_at=None)
            .order_by("-added_at", "-pk")[:50]
        )

    @staticmethod
    def _open(profile: Profile, kept: list[Favourite], now: datetime) -> list[str]:
        """Return the products among them that were not bought."""
        ids = list(dict.fromkeys(row.product_saleor_id for row in kept))
        owned = bought(profile, ids, now - OWNED)
        return [id_ for id_ in ids if id_ not in owned]

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        if objection := refuses_profiling(enrollment.profile):
            return objection
        kept = self._kept(enrollment.profile)
        if not kept:
            return Stop(NotSentReason.NOTHING_TO_SHOW)
        if not self._open(enrollment.profile, kept, now):
            return Stop(NotSentReason.ORDERED)
        return Go() if self._shown(enrollment, now) else Stop(NotSentReason.NOTHING_TO_SHOW)

    def _shown(self, enrollment: Enrollment, now: datetime) -> list[dict[str, Any]]:
        kept = self._kept(enrollment.profile)
        return self.products(enrollment, self._open(enrollment.profile, kept, now), now)

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        shown = self._shown(enrollment, now)
        return Content({"products": shown}, {"product_ids": showing.kept(shown)})


@dataclass(frozen=True)
class SignUpOptions:
    """So many `visits` within a time, or `favourites`, without an account."""

    visits: int = 3
    favourites: int = 1
    within: timedelta = timedelta(days=30)
    after: timedelta = timedelta(days=1)
    expires: timedelta = timedelta(days=14)


class NoAccount(OfPerson):
    """Somebody with an address (a newsletter, an order as a guest) comes back and has no account."""

    key = "no_account"
    Options: ClassVar[type] = SignUpOptions

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        visits = Session.objects.of(installation).filter(started_at__gt=since, started_at__lte=now)
        kept = Favourite.objects.of(installation).filter(added_at__gt=since, added_at__lte=now)
        active = {
            *visits.values_list("profile_id", flat=True),
            *kept.values_list("profile_id", flat=True),
        }
        for profile in self.people(installation, active, agreed=True):
            at = self._last(profile, now)
            if at is not None and not self._has_account(profile):
                yield Entry(
                    profile=profile,
                    subject=Subject(),
                    occurred_at=at,
                    due_at=at + self.options.after,
                    context={"channel": showing.channel_of(profile)},
                )

    def _last(self, profile: Profile, now: datetime) -> datetime | None:
        """Return when they came last, if that is often enough; None: not yet."""
        mine = profile.person()
        visits = list(
            Session.objects.of(profile.installation_id)
            .filter(profile__in=mine, started_at__gt=now - self.options.within, started_at__lte=now)
            .order_by("-started_at")
            .values_list("started_at", flat=True)[:100]
        )
        kept = list(
            Favourite.objects.of(profile.installation_id)
            .filter(profile__in=mine, removed_at=None, added_at__lte=now)
            .order_by("-added_at")
            .values_list("added_at", flat=True)[:100]
        )
        is_often = len(visits) >= self.options.visits
        keeps = bool(self.options.favourites) and len(kept) >= self.options.favourites
        return max([*visits, *kept]) if is_often or keeps else None

    @staticmethod
    def _has_account(profile: Profile) -> bool:
        return (
            Identity.objects.of(profile.installation_id)
            .filter(profile__in=profile.person(), kind=IdentityKind.SALEOR_USER)
            .exists()
        )

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        if objection := refuses_profiling(enrollment.profile):
            return objection
        if self._has_account(enrollment.profile):
            return Stop(NotSentReason.GOAL_REACHED)
        return Go()

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        kept = FavouritesLeft._kept(enrollment.profile)
        shown = self.products(enrollment, [row.product_saleor_id for row in kept], now)
        return Content({"favourites": shown}, {"product_ids": showing.kept(shown)})
