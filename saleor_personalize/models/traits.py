"""What we work out about a person from what they did."""

from django.db import models

from saleor_personalize.enums import DeliveryChannel, DeviceType, LifecycleStage, PredictionTarget
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


class Yardstick(Scoped):
    """What the people of a shop are measured by: taken once a day from all who bought there.

    Traits that are older than it are worked out again.
    """

    measured_at = models.DateTimeField()
    # People with an order that counts, and orders after which somebody came back.
    buyer_count = models.PositiveIntegerField(default=0)
    return_count = models.PositiveIntegerField(default=0)
    # Days after an order from which somebody is at risk, and lapsed.
    at_risk_days = models.PositiveIntegerField()
    lapsed_days = models.PositiveIntegerField()
    # {"recency": [moment, ...], "frequency": [count, ...], "monetary": {"EUR": [amount, ...]}}: where
    # the scores 2, 3, 4 and 5 begin; null where nobody has one.
    limits = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation"], name="one_yardstick_per_shop")
        ]


class Predictor(Scoped):
    """What foretells one thing in one shop, and how good it was on a part of time it had not seen.

    Nothing is foretold without a published one.
    """

    target = models.CharField(max_length=20, choices=PredictionTarget)
    is_published = models.BooleanField(default=False)
    trained_at = models.DateTimeField()
    # Weights of a linear formula: `ml.returning`.
    parameters = models.JSONField(default=dict)
    # {"cases": ..., "error": ..., "base_error": ..., "reason": why it is not published}
    figures = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "target"], name="one_predictor")
        ]
