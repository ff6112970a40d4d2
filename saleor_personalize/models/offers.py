"""Personal vouchers: what was promised to whom, and what became of it."""

from django.db import models
from django.db.models import Q

from saleor_personalize.enums import OfferKind, OfferReason, OfferStatus
from saleor_personalize.models.events import Order
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.journeys import Enrollment
from saleor_personalize.models.messaging import Message
from saleor_personalize.models.profiles import Profile


class OfferVoucher(Scoped):
    """A voucher in Saleor that holds the codes of all offers with the same terms and the same end."""

    # Of terms, sales channels and end: what one voucher has in common.
    digest = models.CharField(max_length=64)
    saleor_id = models.CharField(max_length=100)
    name = models.CharField(max_length=255)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "saleor_id"], name="offer_voucher_once")
        ]
        indexes = [
            models.Index(fields=["installation", "digest"], name="offer_voucher_of_terms"),
        ]


class Offer(Scoped):
    """One code for one person. `key` is the decision that it belongs to.

    A row whose person was erased stays without them: its code may still have to be taken out of Saleor.
    """

    key = models.CharField(max_length=300)
    code = models.CharField(max_length=40)
    profile = models.ForeignKey(
        Profile, on_delete=models.SET_NULL, null=True, related_name="offers"
    )
    enrollment = models.ForeignKey(
        Enrollment, on_delete=models.SET_NULL, null=True, related_name="offers"
    )
    message = models.ForeignKey(
        Message, on_delete=models.SET_NULL, null=True, related_name="offers"
    )
    kind = models.CharField(max_length=14, choices=OfferKind)
    # `offers.terms.Terms` as it was when the offer was made.
    terms = models.JSONField(default=dict)
    # [{"channel_id", "slug", "currency", "value", "minimum_spend"}]: amounts as decimal strings.
    listings = models.JSONField(default=list)
    # The sales channel of the person, whose amounts the message names.
    channel_slug = models.CharField(max_length=255, blank=True)
    is_first_order_only = models.BooleanField(default=False)
    # The voucher of Saleor that holds the code, once it is made.
    voucher_saleor_id = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=10, choices=OfferStatus, default=OfferStatus.RESERVED)
    reason = models.CharField(max_length=20, choices=OfferReason, blank=True)
    error = models.TextField(blank=True)
    expires_at = models.DateTimeField()
    reserved_at = models.DateTimeField()
    made_at = models.DateTimeField(null=True)
    used_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)
    # When Saleor was seen not to have the code any more.
    gone_at = models.DateTimeField(null=True)
    order = models.ForeignKey(Order, on_delete=models.SET_NULL, null=True, related_name="offers")
    # When the row is looked at next; None: nothing is left to do.
    due_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "code"], name="offer_code_once"),
            models.UniqueConstraint(
                fields=["installation", "key"],
                name="offer_alive_once",
                condition=Q(status__in=["reserved", "made"]),
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="offer_due", condition=Q(due_at__isnull=False)),
            models.Index(
                fields=["installation", "-reserved_at"], include=["status"], name="offer_newest"
            ),
            models.Index(fields=["installation", "status", "-id"], name="offer_by_status"),
            models.Index(fields=["profile", "-reserved_at"], name="offer_of_profile"),
            models.Index(
                fields=["installation", "voucher_saleor_id"],
                name="offer_of_voucher",
                condition=~Q(voucher_saleor_id=""),
            ),
        ]
