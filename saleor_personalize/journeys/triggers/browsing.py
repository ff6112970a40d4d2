"""Looked at and left: a product that was looked at again and again, a category, a search.

What was told since, and everything that got further (a cart, an order), comes first: `family`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from saleor_personalize.catalog.queries import sensitive_ids, sensitive_marks
from saleor_personalize.enums import EventType, NotSentReason
from saleor_personalize.journeys import showing
from saleor_personalize.journeys.triggers.base import (
    Content,
    Entry,
    Go,
    Live,
    Stop,
    Subject,
    Verdict,
    Wait,
)
from saleor_personalize.journeys.triggers.people import (
    COMMIT,
    OWNED,
    OfPerson,
    bought,
    refuses_profiling,
)
from saleor_personalize.models import Category, Checkout, Enrollment, Event, Installation, Profile
from saleor_personalize.models.fields import month_of
from saleor_personalize.profiles import merging

#: Storefronts keep what they could not send: so much later it may come.
_LATE = timedelta(hours=1)
#: Whoever does one of these is still there.
_PRESENT = (
    EventType.PRODUCT_VIEWED,
    EventType.CATEGORY_VIEWED,
    EventType.LIST_VIEWED,
    EventType.SEARCHED,
    EventType.CART_ADDED,
    EventType.CART_REMOVED,
)
_MOST_EVENTS = 500


@dataclass(frozen=True)
class Options:
    """`times` within `within` make an interest; `after` without a sign of the person it is left alone."""

    times: int = 2
    within: timedelta = timedelta(days=7)
    after: timedelta = timedelta(hours=4)
    expires: timedelta = timedelta(days=3)

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError("times must be at least 1")
        if self.expires <= self.after:
            raise ValueError("expires must be longer than after: nothing could ever be sent")


class Browsed(OfPerson):
    """Somebody known by an address looked at something, and neither put it into a cart nor bought."""

    Options: ClassVar[type] = Options
    family = "abandonment"
    event_type: ClassVar[EventType]
    subject_kind: ClassVar[str]

    # -- who comes in --

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        # By when it came: storefronts keep what they could not send.
        events = Event.objects.of(installation).filter(
            type=self.event_type,
            month__gte=month_of(now - self.options.within),
            received_at__gt=since - COMMIT,
            received_at__lte=now,
        )
        active = set(events.values_list("profile_id", flat=True))
        for profile in self.people(installation, active, agreed=False):
            entry = self._entry(profile, now)
            if entry is not None:
                yield entry

    def _entry(self, profile: Profile, now: datetime) -> Entry | None:
        seen: dict[str, list[Event]] = {}
        for event in self._events(profile, now - self.options.within, now, self.event_type):
            seen.setdefault(self.subject_of(event), []).append(event)
        seen.pop("", None)
        often = {key: found for key, found in seen.items() if len(found) >= self.options.times}
        if not often:
            return None
        key = max(often, key=lambda one: (len(often[one]), often[one][0].occurred_at))
        last = often[key][0]
        return Entry(
            profile=profile,
            subject=Subject(self.subject_kind, key if self.subject_kind != "search" else ""),
            occurred_at=last.occurred_at,
            due_at=last.occurred_at + self.options.after,
            context={"channel": last.channel_slug or showing.channel_of(profile)},
        )

    @staticmethod
    def _events(
        profile: Profile, since: datetime, until: datetime, *types: EventType
    ) -> list[Event]:
        """Return what the person did, newest first; only what they may read themselves."""
        return list(
            Event.objects.of(profile.installation_id)
            .filter(
                profile__in=merging.readable(profile),
                type__in=types,
                month__gte=month_of(since),
                occurred_at__gt=since,
                occurred_at__lte=until,
            )
            .order_by("-occurred_at", "-pk")[:_MOST_EVENTS]
        )

    def subject_of(self, event: Event) -> str:
        """Return what an event is about; "" for nothing that could be written about."""
        raise NotImplementedError

    # -- whether it still holds --

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        profile, since = enrollment.profile, enrollment.occurred_at
        if objection := refuses_profiling(profile):
            return objection
        done = self._events(profile, since - _LATE, now, *_PRESENT)
        if any(event.type == EventType.CART_ADDED for event in done) or self._has_cart(enrollment):
            return Stop(NotSentReason.OUTSHONE)
        last = max((event.occurred_at for event in done), default=since)
        if last + self.options.after > now and enrollment.path == [0]:
            return Wait(last + self.options.after)
        return self.objection(enrollment, now) or Go()

    def _has_cart(self, enrollment: Enrollment) -> bool:
        """Tell whether the person filled a cart since they began to look."""
        return (
            Checkout.objects.of(enrollment.installation_id)
            .filter(
                profile__in=enrollment.profile.person(),
                closed_at=None,
                last_changed_at__gte=enrollment.occurred_at - self.options.within,
            )
            .exclude(lines=[])
            .exists()
        )

    def objection(self, enrollment: Enrollment, now: datetime) -> Stop | None:
        """Return what speaks against writing about this product, category or search."""
        raise NotImplementedError


class BrowsedProduct(Browsed):
    key = "browsed_product"
    significance = 12
    event_type = EventType.PRODUCT_VIEWED
    subject_kind = "product"

    def _entry(self, profile: Profile, now: datetime) -> Entry | None:
        entry = super()._entry(profile, now)
        if entry is not None and bought(profile, [entry.subject.id], now - OWNED):
            return None
        return entry

    def subject_of(self, event: Event) -> str:
        return event.product_saleor_id

    def objection(self, enrollment: Enrollment, now: datetime) -> Stop | None:
        ids = [enrollment.subject_saleor_id]
        if bought(enrollment.profile, ids, now - OWNED):
            return Stop(NotSentReason.ORDERED)
        if sensitive_ids(installation=enrollment.installation, ids=ids):
            return Stop(NotSentReason.SENSITIVE)
        if not self.products(enrollment, ids, now):
            return Stop(NotSentReason.NOTHING_TO_SHOW)
        return None

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        id_ = enrollment.subject_saleor_id
        shown = self.products(enrollment, [id_], now)
        similar = self.recommended(enrollment, "email", now, product_ids=(id_,))
        return Content(
            {"products": shown, "similar": similar},
            {"product_ids": showing.kept(shown), "similar": showing.kept(similar)},
        )


class BrowsedCategory(Browsed):
    key = "browsed_category"
    significance = 10
    event_type = EventType.CATEGORY_VIEWED
    subject_kind = "category"

    def subject_of(self, event: Event) -> str:
        return str(event.properties.get("category_id", ""))

    def objection(self, enrollment: Enrollment, now: datetime) -> Stop | None:
        _marked, sensitive = sensitive_marks(enrollment.installation)
        if enrollment.subject_saleor_id in sensitive:
            return Stop(NotSentReason.SENSITIVE)
        if self._category(enrollment) is None or not self._shown(enrollment, now):
            return Stop(NotSentReason.NOTHING_TO_SHOW)
        return None

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        category = self._category(enrollment)
        shown = self._shown(enrollment, now)
        return Content(
            {"category": category.name if category else "", "products": shown},
            {"category_id": enrollment.subject_saleor_id, "product_ids": showing.kept(shown)},
        )

    @staticmethod
    def _category(enrollment: Enrollment) -> Category | None:
        rows = Category.objects.of(enrollment.installation_id).filter(deleted_at=None)
        return rows.filter(saleor_id=enrollment.subject_saleor_id).first()

    def _shown(self, enrollment: Enrollment, now: datetime) -> list[dict[str, Any]]:
        id_ = enrollment.subject_saleor_id
        return self.recommended(
            enrollment, "email_category", now, category_id=id_, most=showing.MOST
        )


class Searched(Browsed):
    """The words themselves are neither kept nor shown: what was found by them is."""

    key = "searched"
    significance = 8
    event_type = EventType.SEARCHED
    subject_kind = "search"

    def subject_of(self, event: Event) -> str:
        return " ".join(str(event.properties.get("query", "")).lower().split())

    def objection(self, enrollment: Enrollment, now: datetime) -> Stop | None:
        return None if self._shown(enrollment, now) else Stop(NotSentReason.NOTHING_TO_SHOW)

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        shown = self._shown(enrollment, now)
        return Content({"products": shown}, {"product_ids": showing.kept(shown)})

    def _shown(self, enrollment: Enrollment, now: datetime) -> list[dict[str, Any]]:
        at = enrollment.occurred_at
        moment = timedelta(microseconds=1)
        found = self._events(enrollment.profile, at - moment, at, self.event_type)
        if not found:
            return []
        words = self.subject_of(found[0])
        return self.recommended(
            enrollment, "email_search", now, query=words, only=("search",), most=showing.MOST
        )
