"""What happened: events of the storefront, checkouts and orders of Saleor."""

from datetime import datetime
from decimal import Decimal

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from saleor_personalize.enums import (
    CheckoutCloseReason,
    DeviceType,
    EventSource,
    EventType,
    OrderOrigin,
)
from saleor_personalize.models.catalog import SaleorObject
from saleor_personalize.models.fields import MonthField
from saleor_personalize.models.installation import Installation, Scoped
from saleor_personalize.models.profiles import Profile


class Session(Scoped):
    """One visit, and the context that all its events share."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="sessions")
    session_id = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    device_type = models.CharField(max_length=10, choices=DeviceType, blank=True)
    # Host only: a full referrer can carry somebody's search or name.
    referrer_host = models.CharField(max_length=255, blank=True)
    # {"source", "medium", "campaign", "term", "content"}
    utm = models.JSONField(default=dict)
    country_code = models.CharField(max_length=2, blank=True)
    language_code = models.CharField(max_length=35, blank=True)
    channel_slug = models.CharField(max_length=255, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    # Hour of the day at the visitor's place when it started, 0 to 23.
    local_hour = models.PositiveSmallIntegerField(null=True)
    # IANA name.
    time_zone = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "profile", "session_id"], name="session_once"
            )
        ]
        indexes = [BrinIndex(fields=["started_at"], name="session_started", autosummarize=True)]


class Event(Scoped):
    """One normalised thing that happened. Append only; the same `event_id` of a person is one event.

    The table is partitioned by `month` (migration 0002, `events.partitions`), so its real primary key is
    (id, month) and `event_once` guards one month of one profile; `events.tracking` looks into the others.
    """

    # The indexes below begin with these two columns already.
    installation = models.ForeignKey(
        Installation, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    profile = models.ForeignKey(
        Profile, on_delete=models.CASCADE, related_name="events", db_index=False
    )
    event_id = models.CharField(max_length=100)
    type = models.CharField(max_length=30, choices=EventType)
    occurred_at = models.DateTimeField()
    month = MonthField(of="occurred_at")
    received_at = models.DateTimeField()
    source = models.CharField(max_length=12, choices=EventSource)
    channel_slug = models.CharField(max_length=255, blank=True)
    session_id = models.CharField(max_length=100, blank=True)
    product_saleor_id = models.CharField(max_length=100, blank=True)
    # The answer of ours that led to it (`events.attribution`); empty for everything else.
    attribution_id = models.CharField(max_length=32, blank=True)
    properties = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "event_id", "profile", "month"], name="event_once"
            )
        ]
        indexes = [
            models.Index(fields=["profile", "-occurred_at"], name="event_timeline"),
            models.Index(
                fields=["installation", "channel_slug", "occurred_at"], name="event_training"
            ),
            models.Index(
                fields=["installation", "occurred_at"],
                name="event_attributed",
                condition=~models.Q(attribution_id=""),
            ),
            # Who looked at a product, for what is told of it later.
            models.Index(
                fields=["installation", "product_saleor_id", "occurred_at"],
                name="event_of_product",
                condition=models.Q(type__in=["product_viewed", "cart_added"]),
            ),
            # What came since journeys looked last. Rows lie in the order in which they came.
            BrinIndex(fields=["received_at"], name="event_received", autosummarize=True),
        ]


class RefusedEvent(Scoped):
    """An event that was turned down: what was wrong with it, and no value of it."""

    at = models.DateTimeField()
    source = models.CharField(max_length=12, choices=EventSource)
    # As sent, if it is one of ours; empty: the whole batch was turned down.
    type = models.CharField(max_length=30, blank=True)
    code = models.CharField(max_length=40)
    message = models.CharField(max_length=500)
    field = models.CharField(max_length=60, blank=True)
    # {"productId": "text of 12"}: which fields came, each with the kind of its value.
    shape = models.JSONField(default=dict)
    # Keyed hash of the anonymous id that sent it; empty: none was shown.
    fingerprint = models.CharField(max_length=64, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["installation", "-id"], name="refused_newest"),
            models.Index(fields=["installation", "at"], name="refused_oldest"),
        ]


class Checkout(SaleorObject):
    """A cart as Saleor knows it. Never deleted by us: `closed_at` says that it ended, and why."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="checkouts")
    token = models.CharField(max_length=64)
    user_saleor_id = models.CharField(max_length=100, blank=True)
    email_hash = models.CharField(max_length=64, blank=True)
    channel_slug = models.CharField(max_length=255)
    language_code = models.CharField(max_length=35, blank=True)
    currency = models.CharField(max_length=3)
    total = models.DecimalField(max_digits=20, decimal_places=3)
    # [{"id", "variant_id", "product_id", "quantity", "unit_price"}]: prices as decimal strings.
    lines = models.JSONField(default=list)
    # Whether the box "write to me" was ticked when last seen, with an address beside it.
    is_box_ticked = models.BooleanField(default=False)
    # When its lines or contact last changed: what "abandoned since" counts from.
    last_changed_at = models.DateTimeField()
    # When its lines last changed, and when it was begun. An order since the first may have been for what is in
    # it, whenever it came to whom it belongs to; what was bought since the second is not told of. None: unknown.
    filled_at = models.DateTimeField(null=True)
    begun_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    close_reason = models.CharField(max_length=10, choices=CheckoutCloseReason, blank=True)
    # When it was last looked at as abandoned; before `last_changed_at`, it is to be looked at anew.
    abandoned_at = models.DateTimeField(null=True)

    @property
    def orders_count_from(self) -> datetime:
        """Since when an order of its person means that nobody has to be reminded of it."""
        return self.filled_at or self.last_changed_at

    class Meta(SaleorObject.Meta):
        indexes = [
            models.Index(
                fields=["installation", "last_changed_at"],
                name="checkout_open",
                condition=models.Q(closed_at=None),
            ),
            models.Index(fields=["profile", "-last_changed_at"], name="checkout_of_profile"),
            # Those of a day, ordered or not.
            models.Index(fields=["installation", "last_changed_at"], name="checkout_left"),
        ]


class Order(SaleorObject):
    profile = models.ForeignKey(
        Profile, on_delete=models.SET_NULL, null=True, related_name="orders"
    )
    origin = models.CharField(max_length=10, choices=OrderOrigin, default=OrderOrigin.SALEOR)
    number = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=40)
    user_saleor_id = models.CharField(max_length=100, blank=True)
    email_hash = models.CharField(max_length=64, blank=True)
    # Global id of the checkout it came from; drafts and bulk imports have none.
    checkout_saleor_id = models.CharField(max_length=100, blank=True)
    channel_slug = models.CharField(max_length=255)
    currency = models.CharField(max_length=3)
    total = models.DecimalField(max_digits=20, decimal_places=3)
    # Before every discount; None where that is not told.
    undiscounted_total = models.DecimalField(max_digits=20, decimal_places=3, null=True)
    # The voucher's code that it was placed with.
    voucher_code = models.CharField(max_length=255, blank=True, db_default="")
    # Paid back so far, in the order's currency.
    total_refunded = models.DecimalField(
        max_digits=20, decimal_places=3, default=Decimal(0), db_default=Decimal(0)
    )
    placed_at = models.DateTimeField()

    class Meta(SaleorObject.Meta):
        indexes = [
            models.Index(fields=["installation", "checkout_saleor_id"], name="order_checkout"),
            models.Index(
                fields=["installation", "voucher_code"],
                name="order_voucher",
                condition=~models.Q(voucher_code=""),
            ),
            models.Index(fields=["installation", "user_saleor_id", "placed_at"], name="order_user"),
            models.Index(fields=["installation", "email_hash", "placed_at"], name="order_email"),
            models.Index(fields=["profile", "-placed_at"], name="order_of_profile"),
            models.Index(fields=["installation", "placed_at"], name="order_placed"),
            models.Index(
                fields=["installation", "channel_slug", "placed_at"], name="order_training"
            ),
        ]


class OrderLine(Scoped):
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    saleor_id = models.CharField(max_length=100)
    product_saleor_id = models.CharField(max_length=100, blank=True)
    variant_saleor_id = models.CharField(max_length=100, blank=True)
    name = models.CharField(max_length=500, blank=True)
    quantity = models.PositiveIntegerField()
    unit_price = models.DecimalField(max_digits=20, decimal_places=3)
    # Pieces that were sent back.
    quantity_returned = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "saleor_id"], name="order_line_once")
        ]
        indexes = [
            models.Index(fields=["installation", "product_saleor_id"], name="order_line_of_product")
        ]
