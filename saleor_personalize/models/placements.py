"""What a shop sets itself about recommendations: named placements and merchandising rules."""

from django.db import models

from saleor_personalize.enums import RuleEffect
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class Placement(Scoped):
    """A named spot. It overrides the placement of that key in the settings."""

    key = models.CharField(max_length=60)
    # Aliases of recommenders and sources, first choice first; `fallback` fills what they leave open.
    recommenders = models.JSONField(default=list)
    fallback = models.JSONField(default=list)
    # Options as in `recommendations.placements.Options`; what is not named keeps its default.
    options = models.JSONField(default=dict)
    # Its experiment: [{"NAME", "WEIGHT", "RECOMMENDERS", "FALLBACK"}, ...]; empty: none.
    arms = models.JSONField(default=list)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "key"], name="placement_once")
        ]


class MerchandisingRule(Scoped):
    """What staff want shown or not, and where and when."""

    name = models.CharField(max_length=200)
    is_active = models.BooleanField(default=True)
    effect = models.CharField(max_length=10, choices=RuleEffect)
    # Which products, where and when: `recommendations.rules.Conditions`.
    conditions = models.JSONField(default=dict)
    # Keys of placements and slugs of sales channels; empty: all.
    placements = models.JSONField(default=list)
    channels = models.JSONField(default=list)
    # Of boost and bury: how many times more or less a product counts.
    factor = models.FloatField(default=2.0)
    # Of pin: the place, from 1.
    slot = models.PositiveSmallIntegerField(default=1)
    starts_at = models.DateTimeField(null=True)
    ends_at = models.DateTimeField(null=True)
    # Of rules that contradict each other the lower position counts.
    position = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["installation", "is_active"], name="rule_in_force")]


class Exposure(Scoped):
    """How often a product was shown to a profile since it was last clicked."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="exposures")
    product_saleor_id = models.CharField(max_length=100)
    shown_count = models.PositiveIntegerField(default=0)
    last_shown_at = models.DateTimeField()
    clicked_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "profile", "product_saleor_id"], name="exposure_once"
            )
        ]
        indexes = [models.Index(fields=["installation", "last_shown_at"], name="exposure_age")]
