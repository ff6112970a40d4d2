"""Named groups of people that follow a rule by themselves."""

from django.db import models

from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class Segment(Scoped):
    key = models.SlugField(max_length=60)
    name = models.CharField(max_length=200)
    # {"all": [{"rule": "order_count", "at_least": 2}, ...]}
    definition = models.JSONField()
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    # What the clock changed up to here ("ordered in the last 30 days") is in the memberships.
    evaluated_at = models.DateTimeField(null=True)
    # When everybody is looked at next: at once after a change of the definition, else now and then.
    full_evaluation_due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["installation", "key"], name="segment_once")]


class SegmentMembership(Scoped):
    """One stay of a person in a segment; leaving ends it, coming back starts another."""

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="memberships")
    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="memberships")
    entered_at = models.DateTimeField()
    left_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["segment", "profile"],
                condition=models.Q(left_at=None),
                # So that members are counted without reading them.
                include=["installation"],
                name="one_open_membership",
            )
        ]
        indexes = [
            models.Index(fields=["profile"], name="membership_of_profile"),
            models.Index(fields=["segment", "entered_at"], name="membership_entered"),
        ]


class ChangedProfile(Scoped):
    """Something about a person changed since the segments last looked at them.

    Append only, once per change: a row per person would make whoever records a fact wait for whoever
    evaluates.
    """

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="+")
    changed_at = models.DateTimeField()
    # An order of theirs is new or changed: what was worked out about them no longer holds.
    has_ordered = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["installation", "changed_at"], name="changed_first")]
