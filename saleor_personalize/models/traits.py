"""What we work out about a person from what they did."""

from django.db import models

from saleor_personalize.enums import DeliveryChannel, DeviceType, LifecycleStage
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class ComputedTraits(Scoped):
    """One row per person (on the profile that speaks for them), worked out daily and on each order."""

    profile = models.OneToOneField(
        Profile, on_delete=models.CASCADE, related_name="computed_traits"
    )
    order_count = models.PositiveIntegerField(default=0)
    first_ordered_at = models.DateTimeField(null=True)
    last_ordered_at = models.DateTimeField(null=True)
    # {"EUR": {"count": 3, "total": "120.00", "average": "40.00"}}: amounts as decimal strings.
    spent = models.JSONField(default=dict)
    # [{"id": category id or brand name, "name", "count"}], most frequent first.
    top_categories = models.JSONField(default=list)
    top_brands = models.JSONField(default=list)
    preferred_device = models.CharField(max_length=10, choices=DeviceType, blank=True)
    preferred_hour = models.PositiveSmallIntegerField(null=True)
    preferred_delivery_channel = models.CharField(
        max_length=20, choices=DeliveryChannel, blank=True
    )
    # Quintiles 1 (low) to 5 (high) among the shop's buyers; None without orders.
    recency_score = models.PositiveSmallIntegerField(null=True)
    frequency_score = models.PositiveSmallIntegerField(null=True)
    monetary_score = models.PositiveSmallIntegerField(null=True)
    stage = models.CharField(max_length=10, choices=LifecycleStage, default=LifecycleStage.PROSPECT)
    # None: not enough data, or the model does not beat the base rate.
    next_order_at = models.DateTimeField(null=True)
    churn_risk = models.FloatField(null=True)
    computed_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["installation", "stage"], name="traits_stage")]
