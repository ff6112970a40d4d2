"""Who has which offer."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Count, Q, QuerySet

from saleor_personalize.enums import MessageStatus, OfferStatus
from saleor_personalize.models import Installation, Offer, Profile
from saleor_personalize.profiles import merging

_REACHED = Q(message__status=MessageStatus.SENT) | Q(
    message__status=MessageStatus.UNCERTAIN, message__handed_over_at__isnull=False
)


def usable(*, profile: Profile, now: datetime, channel_slug: str = "") -> list[Offer]:
    """Return the offers that a person was told of and can use now, those that end first first.

    Only of profiles that are proved to be theirs: somebody may have typed the address of another.
    With a sales channel, only what that one takes.
    """
    rows = Offer.objects.of(profile.installation).filter(
        _REACHED,
        profile__in=merging.readable(profile),
        status=OfferStatus.MADE,
        expires_at__gt=now,
    )
    if channel_slug:
        rows = rows.filter(listings__contains=[{"slug": channel_slug}])
    return list(rows.order_by("expires_at", "pk"))


def newest(*, installation: Installation, status: str = "") -> QuerySet[Offer]:
    """Return the offers of a shop, the newest first."""
    rows = Offer.objects.of(installation).select_related("profile", "message", "order")
    if status:
        rows = rows.filter(status=status)
    return rows.order_by("-reserved_at", "-pk")


def counts(*, installation: Installation, since: datetime) -> dict[str, int]:
    """Count the offers since then by status; `stuck` are withdrawn ones that Saleor still has."""
    rows = Offer.objects.of(installation).filter(reserved_at__gte=since)
    by_status = dict(
        rows.order_by()
        .values_list("status")
        .annotate(count=Count("*"))
        .values_list("status", "count")
    )
    stuck = (
        Offer.objects.of(installation)
        .filter(status=OfferStatus.WITHDRAWN, gone_at=None, attempts__gt=0)
        .count()
    )
    return {**{status: by_status.get(status, 0) for status in OfferStatus.values}, "stuck": stuck}


def counts_of_voucher(*, installation: Installation, voucher_id: str) -> dict[str, int]:
    """Count the codes that a voucher of Saleor holds or held, by status."""
    rows = _of_voucher(installation, voucher_id).order_by().values_list("status")
    return {**dict.fromkeys(OfferStatus.values, 0), **dict(rows.annotate(count=Count("pk")))}


def journeys_of_voucher(*, installation: Installation, voucher_id: str) -> list[str]:
    """Return the keys of the journeys that gave codes of a voucher; those of hints on pages have none."""
    keys = _of_voucher(installation, voucher_id).values_list("enrollment__journey__key", flat=True)
    return sorted(keys.exclude(enrollment=None).distinct())


def _of_voucher(installation: Installation, voucher_id: str) -> QuerySet[Offer]:
    return Offer.objects.of(installation).filter(voucher_saleor_id=voucher_id)


def still_in_saleor(*, installation: Installation, since: datetime) -> Offer | None:
    """Return the oldest offer that was taken back before then and whose code Saleor still has."""
    return (
        Offer.objects.of(installation)
        .filter(status=OfferStatus.WITHDRAWN, gone_at=None, withdrawn_at__lt=since)
        .order_by("withdrawn_at")
        .first()
    )
