"""Nearly sold out: told to who came back to a product again and again, or keeps it, and never with a false number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from saleor_personalize.catalog import prices
from saleor_personalize.catalog.queries import sensitive_ids
from saleor_personalize.enums import EventType, NotSentReason
from saleor_personalize.exceptions import TemplateIncomplete
from saleor_personalize.journeys import showing
from saleor_personalize.journeys.live_variants import AboutVariant, LiveVariant, shown
from saleor_personalize.journeys.triggers.base import (
    AskSaleor,
    Content,
    Entry,
    Go,
    Live,
    Question,
    Stop,
    Subject,
    Verdict,
)
from saleor_personalize.journeys.triggers.interest import LATE, Interest, interested
from saleor_personalize.journeys.triggers.people import (
    COMMIT,
    OWNED,
    OfPerson,
    bought,
    refuses_profiling,
)
from saleor_personalize.messaging import guards
from saleor_personalize.models import (
    Enrollment,
    Event,
    Favourite,
    Installation,
    ProductVariant,
    SalesChannel,
    Stock,
)

#: Of a product with more variants nobody could say which of them are meant.
_MOST_VARIANTS = 10
#: Products whose stock is counted at once.
_CHUNK = 1_000


@dataclass(frozen=True)
class Options:
    """`pieces` or fewer are few; `times` views within `within`, or keeping it, make somebody almost a buyer.

    `after` the last sign of it; too late after `expires`.
    """

    pieces: int = 3
    times: int = 3
    within: timedelta = timedelta(days=14)
    after: timedelta = timedelta(hours=2)
    expires: timedelta = timedelta(days=2)

    def __post_init__(self) -> None:
        if self.pieces < 1 or self.times < 1:
            raise ValueError("pieces and times must be at least 1")
        if self.expires <= self.after:
            raise ValueError("expires must be longer than after: nothing could ever be sent")


class LowStock(OfPerson):
    """Few pieces are left of what somebody nearly bought."""

    key = "low_stock"
    Options: ClassVar[type] = Options
    family = "abandonment"
    significance = 14

    # -- who comes in --

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        channels = SalesChannel.objects.of(installation).filter(is_active=True, deleted_at=None)
        slugs = list(channels.order_by("slug").values_list("slug", flat=True))
        moved = sorted(_moved(installation, since, now))
        # Of most products there are many pieces: that is found out for a thousand of them at once.
        for start in range(0, len(moved), _CHUNK):
            products = _variants(installation, moved[start : start + _CHUNK])
            ids = [variant for variants in products.values() for variant in variants]
            for slug in slugs:
                pieces = prices.pieces_of_each(
                    installation=installation, variant_ids=ids, channel_slug=slug
                )
                for product_id, variants in products.items():
                    here = {variant: pieces.get(variant, 0) for variant in variants}
                    yield from self._entries(installation, product_id, here, slug, now)

    def _entries(
        self,
        installation: Installation,
        product_id: str,
        pieces: Mapping[str, int | None],
        channel_slug: str,
        now: datetime,
    ) -> Iterable[Entry]:
        """Yield who wants a product; `pieces` of each of its variants."""
        if not any(map(self._is_few, (prices.together(pieces.values()), *pieces.values()))):
            return
        for found in interested(
            installation=installation,
            product_id=product_id,
            channel_slug=channel_slug,
            since=now - self.options.within,
            now=now,
            over=self.delivery_channels,
        ):
            wanted = sorted(found.variants & set(pieces)) or sorted(pieces)
            left = prices.together(pieces[variant] for variant in wanted)
            if not self._is_almost(found) or not self._is_few(left):
                continue
            yield Entry(
                profile=found.profile,
                subject=Subject("product", product_id),
                # It is news only now, however long ago they looked.
                occurred_at=now,
                due_at=max(found.at + self.options.after, now),
                context={"channel": channel_slug, "variants": wanted},
            )

    def _is_almost(self, found: Interest) -> bool:
        """Tell whether somebody nearly bought: not who has it in a cart, they are reminded of that."""
        wants = found.is_favourite or found.views >= self.options.times
        return wants and not found.has_cart

    def _is_few(self, pieces: int | None) -> bool:
        return pieces is not None and 0 < pieces <= int(self.options.pieces)

    # -- whether it still holds --

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        profile, installation = enrollment.profile, enrollment.installation
        product_id, channel_slug = enrollment.subject_saleor_id, enrollment.context["channel"]
        if objection := refuses_profiling(profile):
            return objection
        if bought(profile, [product_id], now - OWNED):
            return Stop(NotSentReason.ORDERED)
        if sensitive_ids(installation=installation, ids=[product_id]):
            return Stop(NotSentReason.SENSITIVE)
        if self._has_cart(enrollment, now):
            return Stop(NotSentReason.OUTSHONE)
        variants = enrollment.context["variants"]
        if not self._is_few(_pieces(installation, variants, channel_slug)):
            return Stop(NotSentReason.NOT_LOW)
        address = guards.address_of(profile=profile)
        questions = tuple[Question, ...](
            AboutVariant.of(
                profile=profile,
                variant_id=variant,
                channel_slug=channel_slug,
                address=address,
                since=now - OWNED,
            )
            for variant in variants
        )
        if live is None or any(question.key not in live for question in questions):
            return AskSaleor(questions)
        answers: list[LiveVariant] = [live[question.key] for question in questions]
        if any(answer.is_bought for answer in answers):
            return Stop(NotSentReason.ORDERED)
        if not any(answer.is_sellable for answer in answers):
            return Stop(NotSentReason.NOT_LOW)
        return Go() if self._is_few(_left(answers)) else Stop(NotSentReason.NOT_LOW)

    def _has_cart(self, enrollment: Enrollment, now: datetime) -> bool:
        """Tell whether the person put it into a cart."""
        return any(
            found.has_cart
            for found in interested(
                installation=enrollment.installation,
                product_id=enrollment.subject_saleor_id,
                channel_slug=enrollment.context["channel"],
                since=now - self.options.within,
                now=now,
                of=enrollment.profile,
            )
        )

    # -- what a message says --

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        channel_slug, variants = enrollment.context["channel"], enrollment.context["variants"]
        found = [live.get(f"{variant}/{channel_slug}") for variant in variants]
        answers: list[LiveVariant] = [answer for answer in found if answer is not None]
        left = _left(answers)
        sellable = [answer for answer in answers if answer.is_sellable]
        if not left or not sellable:
            raise TemplateIncomplete("pieces", "how many are left is not known.")
        product = shown(
            enrollment.installation,
            sellable[0],
            channel_slug,
            showing.language_of(enrollment.profile),
        )
        if len(variants) > 1:
            # The number is that of all variants together; what they cost may differ.
            product |= {"variant_name": "", "price": ""}
        return Content(
            {"product": product, "pieces": left},
            {
                "product_id": enrollment.subject_saleor_id,
                "variant_ids": variants,
                "channel": channel_slug,
                "pieces": left,
            },
        )


def _moved(installation: Installation, since: datetime, now: datetime) -> set[str]:
    """Return the products that were looked at or kept, or whose stock changed, since then."""
    window = {"gt": since - LATE, "lte": now}
    views = Event.objects.of(installation).filter(
        type=EventType.PRODUCT_VIEWED,
        # By when it came: storefronts keep what they could not send.
        received_at__gt=since - COMMIT,
        received_at__lte=now,
    )
    kept = Favourite.objects.of(installation).filter(
        **{f"added_at__{name}": moment for name, moment in window.items()}
    )
    counted = Stock.objects.of(installation).filter(
        **{f"recorded_at__{name}": moment for name, moment in window.items()}
    )
    stocked = ProductVariant.objects.of(installation).filter(
        saleor_id__in=counted.values("variant_saleor_id")
    )
    found = {
        *views.values_list("product_saleor_id", flat=True).distinct(),
        *kept.values_list("product_saleor_id", flat=True).distinct(),
        *stocked.values_list("product_saleor_id", flat=True).distinct(),
    }
    return found - {""}


def _variants(installation: Installation, product_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return product -> its variants, for those of which it can be said which are meant."""
    rows = ProductVariant.objects.of(installation).filter(
        product_saleor_id__in=product_ids, deleted_at=None
    )
    found: dict[str, list[str]] = defaultdict(list)
    for product_id, variant in rows.order_by("product_saleor_id", "saleor_id").values_list(
        "product_saleor_id", "saleor_id"
    ):
        found[product_id].append(variant)
    return {id_: variants for id_, variants in found.items() if len(variants) <= _MOST_VARIANTS}


def _pieces(installation: Installation, variants: list[str], channel_slug: str) -> int | None:
    return prices.pieces(installation=installation, variant_ids=variants, channel_slug=channel_slug)


def _left(answers: list[LiveVariant]) -> int | None:
    """Return how many pieces of all variants can be bought; None: there is no end of one of them."""
    sellable = [answer for answer in answers if answer.is_sellable]
    counts = [answer.pieces for answer in sellable if answer.pieces is not None]
    return sum(counts) if len(counts) == len(sellable) else None
