"""What triggers about a person, not about a cart, have in common; and how people are found many at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from saleor_personalize.enums import ConsentState, NotSentReason, Purpose
from saleor_personalize.events.queries import orders_of
from saleor_personalize.journeys import showing
from saleor_personalize.journeys.triggers.base import About, Content, Stop, Trigger
from saleor_personalize.messaging import reach
from saleor_personalize.models import (
    Consent,
    Enrollment,
    Installation,
    OrderLine,
    Profile,
)
from saleor_personalize.profiles import consent

#: At what time of the day people are written to about a day.
MORNING = time(9)
#: What somebody bought so lately they are not reminded of.
OWNED = timedelta(days=180)
#: A row becomes visible when its transaction ends; so long that may take.
COMMIT = timedelta(minutes=2)
_CHUNK = 500
#: Where a day begins first, and where last.
_FIRST, _LAST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))


class OfPerson(Trigger):
    """A trigger about a person. `context["channel"]` is their sales channel; `Options.expires` when it is too late."""

    def about(self, enrollment: Enrollment) -> About:
        return About(
            language_code=showing.language_of(enrollment.profile),
            channel_slug=enrollment.context.get("channel", ""),
            expires_at=enrollment.occurred_at + self.options.expires,
        )

    def people(
        self, installation: Installation, ids: Iterable[int], *, agreed: bool
    ) -> Iterator[Profile]:
        """Yield the people behind profiles to whom there is a way in this journey: see `people` below."""
        return people(installation, ids, agreed=agreed, over=self.delivery_channels)

    def products(
        self, enrollment: Enrollment, ids: list[str], now: datetime, **how: Any
    ) -> list[dict[str, Any]]:
        """Return products as the templates of this person see them."""
        return showing.products(
            installation=enrollment.installation,
            ids=ids,
            channel_slug=enrollment.context.get("channel", ""),
            language_code=showing.language_of(enrollment.profile),
            now=now,
            **how,
        )

    def recommended(
        self, enrollment: Enrollment, placement: str, now: datetime, **question: Any
    ) -> list[dict[str, Any]]:
        """Return what a placement recommends to this person, as templates see it."""
        return showing.recommended(
            profile=enrollment.profile,
            placement=placement,
            channel_slug=enrollment.context.get("channel", ""),
            language_code=showing.language_of(enrollment.profile),
            now=now,
            **question,
        )

    def with_recommended(
        self, enrollment: Enrollment, now: datetime, *, placement: str = "email", **context: Any
    ) -> Content:
        """Return a content with `products` that are recommended to the person, if there are any."""
        found = self.recommended(enrollment, placement, now)
        return Content({**context, "products": found}, {"product_ids": showing.kept(found)})


def refuses_profiling(profile: Profile) -> Stop | None:
    """Return the objection to a message that rests on what a person did, of who does not want that."""
    return None if consent.may_profile(profile=profile) else Stop(NotSentReason.NO_CONSENT)


def bought(profile: Profile, ids: Iterable[str], since: datetime) -> set[str]:
    """Return those products that a person ordered since then, under whatever identity."""
    orders = orders_of(profile=profile).filter(placed_at__gt=since)
    lines = OrderLine.objects.of(profile.installation_id).filter(
        order__in=orders.values("pk"), product_saleor_id__in=list(ids)
    )
    return set(lines.values_list("product_saleor_id", flat=True))


# -- many at a time -----------------------------------------------------------------------------------


def people(
    installation: Installation,
    ids: Iterable[int],
    *,
    agreed: bool,
    over: Collection[str],
) -> Iterator[Profile]:
    """Yield the profiles that speak for the people behind profiles, if there is a way to them.

    `over`: the delivery channels by which the journey writes. `agreed`: only who allowed marketing over one
    of them at some time. Whether they may be written to is asked later; this spares rows for all who never
    could.
    """
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        speakers = set(
            Profile.objects.of(installation)
            .filter(pk__in=chunk)
            .values_list(Coalesce("merged_into_id", "pk"), flat=True)
        )
        found = reach.reachable(
            installation=installation, people=speakers, delivery_channels=over, agreed=agreed
        )
        yield from (
            Profile.objects.of(installation)
            .filter(pk__in=found)
            .select_related("installation")
            .order_by("pk")
        )


def who_agreed(
    installation: Installation, *, of: QuerySet[Profile], over: Collection[str]
) -> set[int]:
    """Return the keys of the profiles that speak for those people among `of` who allowed marketing `over` one
    of these delivery channels.

    At some time: one of a person's profiles may have said so, and another one be among `of`.
    """
    people_there = set(of.values_list(Coalesce("merged_into_id", "pk"), flat=True))
    if not people_there:
        return people_there
    said = Consent.objects.of(installation).filter(
        purpose=Purpose.MARKETING,
        delivery_channel__in=list(over),
        state=ConsentState.GRANTED,
    )
    agreed = said.values_list(Coalesce("profile__merged_into_id", "profile_id"), flat=True)
    return people_there & set(agreed)


def mornings(since: datetime, now: datetime, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
    """Yield each MORNING of a time zone after `since`, up to `now`, and before it the morning of the day before.

    What is counted in days is looked at once a day.
    """
    day = since.astimezone(zone).date()
    last = now.astimezone(zone).date()
    while day <= last:
        at = morning(day, zone)
        if since < at <= now:
            yield morning(day - timedelta(days=1), zone), at
        day += timedelta(days=1)


def morning(day: date, zone: tzinfo) -> datetime:
    """Return the MORNING of a day in a time zone, in UTC."""
    return datetime.combine(day, MORNING, tzinfo=zone).astimezone(UTC)


def days_around(since: datetime, now: datetime) -> Iterator[date]:
    """Yield each day whose MORNING may have been anywhere on earth after `since`, up to `now`."""
    day = since.astimezone(_LAST).date()
    while morning(day, _FIRST) <= now:
        if morning(day, _LAST) > since:
            yield day
        day += timedelta(days=1)
