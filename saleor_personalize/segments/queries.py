"""Reads of segments: who is in, who would be, and how far behind we are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import OperationalError, connection, transaction
from django.db.models import Count, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from saleor_personalize.models import (
    Category,
    ChangedProfile,
    Installation,
    Product,
    Profile,
    SalesChannel,
    Segment,
    SegmentMembership,
)
from saleor_personalize.profiles import merging
from saleor_personalize.segments.definition import (
    Definition,
    InvalidDefinition,
    from_json,
    leaves,
    matching,
)
from saleor_personalize.segments.rules import Names, People

#: How long a count for a page may take.
COUNT_SECONDS = 8
#: Entries and exits happen within this; more is told on the pages.
PROMISED_LAG = timedelta(seconds=60)


@dataclass(frozen=True)
class Preview:
    """How many people a definition would hold now, and some of them. None: it takes too long to count."""

    count: int | None
    sample: Sequence[Profile]


@dataclass(frozen=True)
class Lag:
    """How far the memberships are behind what happened."""

    #: Active segments.
    segments: int
    #: Changes that no evaluation has looked at yet.
    waiting: int
    #: Active segments whose first evaluation is still to come.
    unfilled: int
    #: Age of the oldest change or moment of the clock that is not in the memberships yet.
    behind: timedelta

    @property
    def is_late(self) -> bool:
        return self.behind > PROMISED_LAG


def segments(*, installation: Installation) -> list[Segment]:
    """Return the shop's segments by name, each with its number of members as `member_count`."""
    inside = SegmentMembership.objects.of(installation).filter(segment=OuterRef("pk"), left_at=None)
    count = inside.order_by().values("segment").annotate(count=Count("*")).values("count")
    rows = Segment.objects.of(installation).annotate(member_count=Coalesce(Subquery(count), 0))
    return list(rows.order_by("name", "pk"))


def segment_of_key(*, installation: Installation, key: str) -> Segment | None:
    return Segment.objects.of(installation).filter(key=key).select_related("installation").first()


def members(*, segment: Segment) -> QuerySet[Profile]:
    """Return the profiles that speak for the members, as the last evaluation found them."""
    rows = SegmentMembership.objects.of(segment.installation).filter(segment=segment, left_at=None)
    return Profile.objects.of(segment.installation).filter(pk__in=rows.values("profile"))


def segments_of(profile: Profile) -> list[SegmentMembership]:
    """Return the open memberships of a person in active segments, by key."""
    rows = (
        SegmentMembership.objects.of(profile.installation)
        .filter(profile__in=profile.person(), left_at=None, segment__is_active=True)
        .select_related("segment")
        .order_by("segment__key", "entered_at")
    )
    # A merge of a moment ago may have left two memberships of one person.
    return list({row.segment_id: row for row in reversed(rows)}.values())[::-1]


def readable_by(profile: Profile) -> list[SegmentMembership]:
    """Return the segments that the person behind a profile may read of themselves.

    A segment follows from what all profiles of a person did. Who may not read all of those (they are
    joined by a cart only) reads none.
    """
    person = set(profile.person().values_list("pk", flat=True))
    return segments_of(profile) if person <= merging.readable(profile) else []


def preview(
    *,
    installation: Installation,
    definition: Definition,
    now: datetime,
    sample: int = 5,
    seconds: int = COUNT_SECONDS,
) -> Preview:
    """Count who matches a definition that need not be saved, and show those who came last.

    It gives up after so many `seconds` (0: never).
    """
    rows = matching(definition, People(installation, now))
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{seconds}s"])
            count = rows.count()
            shown = list(rows.order_by("-pk")[:sample])
            with connection.cursor() as cursor:
                # Ends with an own transaction anyway, but not with one around it.
                cursor.execute("SELECT set_config('statement_timeout', '0', true)")
            return Preview(count, shown)
    except OperationalError:
        return Preview(None, [])


def lag(*, now: datetime, installation: Installation | None = None) -> Lag:
    """Return how far behind the memberships are, of one shop or of all."""
    changes = ChangedProfile.objects.all()
    rows = Segment.objects.filter(is_active=True)
    if installation is not None:
        changes, rows = (
            changes.filter(installation=installation),
            rows.filter(installation=installation),
        )
    oldest = changes.aggregate(oldest=Min("changed_at"), waiting=Count("pk"))
    clock = rows.aggregate(
        at=Min("evaluated_at"),
        created=Min("updated_at", filter=Q(evaluated_at=None)),
        unfilled=Count("pk", filter=Q(evaluated_at=None)),
        segments=Count("pk"),
    )
    since = min(
        (at for at in (oldest["oldest"], clock["at"], clock["created"]) if at is not None),
        default=now,
    )
    behind = max(now - since, timedelta(0))
    return Lag(clock["segments"], oldest["waiting"], clock["unfilled"], behind)


def names_in(*, installation: Installation, definitions: Iterable[Definition]) -> Names:
    """Return what tells the products, categories and segments of definitions by name."""
    wanted: dict[str, set[str]] = {}
    for definition in definitions:
        for _path, rule in leaves(definition):
            for name, described in rule.parameters().items():
                if described.names and getattr(rule, name):
                    wanted.setdefault(described.names, set()).add(getattr(rule, name))
    found: dict[tuple[str, str], str] = {}
    for kind, model, column in (
        ("product", Product, "saleor_id"),
        ("category", Category, "saleor_id"),
        ("segment", Segment, "key"),
    ):
        if kind in wanted:
            rows = model.objects.of(installation).filter(**{f"{column}__in": wanted[kind]})
            found |= {(kind, id_): name for id_, name in rows.values_list(column, "name")}
    return lambda kind, id_: found.get((kind, id_), "")


def names_of(*, installation: Installation, products: set[str]) -> Names:
    """Return what tells these products by name."""
    rows = Product.objects.of(installation).filter(saleor_id__in=products)
    found = dict(rows.values_list("saleor_id", "name"))
    return lambda kind, id_: found.get(id_, "") if kind == "product" else ""


def choices_of(
    *, installation: Installation, kind: str, limit: int, begins: str = ""
) -> list[tuple[str, str]]:
    """Return (value, name) pairs of products, categories, sales channels or segments, by name."""
    rows, value, name = {
        "product": (Product.objects.of(installation).filter(deleted_at=None), "saleor_id", "name"),
        "category": (
            Category.objects.of(installation).filter(deleted_at=None),
            "saleor_id",
            "name",
        ),
        "channel": (SalesChannel.objects.of(installation).filter(deleted_at=None), "slug", "slug"),
        "segment": (Segment.objects.of(installation), "key", "name"),
    }[kind]
    if begins:
        rows = rows.filter(**{f"{name}__istartswith": begins})
    return list(rows.order_by(name, "pk").values_list(value, name)[:limit])


def descriptions(*, installation: Installation, rows: Iterable[Segment]) -> dict[int, str]:
    """Return the sentence of each segment by its primary key, or why its definition cannot be read."""
    readable: dict[int, Definition] = {}
    told: dict[int, str] = {}
    for row in rows:
        try:
            readable[row.pk] = from_json(row.definition)
        except InvalidDefinition as error:
            told[row.pk] = str(error)
    names = names_in(installation=installation, definitions=readable.values())
    return told | {pk: found.description(names) for pk, found in readable.items()}


def description(*, segment: Segment) -> str:
    """Return the sentence of one segment."""
    return descriptions(installation=segment.installation, rows=[segment])[segment.pk]
