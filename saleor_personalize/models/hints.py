"""On-site hints: what a person saw of them, and when visitors leave which kind of page."""

from django.db import models

from saleor_personalize.enums import HintKind, HintPage
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class ShownHint(Scoped):
    """One hint as one person had it: so that nobody is told too often, or what they waved away."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="shown_hints")
    kind = models.CharField(max_length=16, choices=HintKind)
    # What it is about: global id of a cart, or a kind of page.
    subject = models.CharField(max_length=100)
    shown_count = models.PositiveIntegerField(default=0)
    first_shown_at = models.DateTimeField(null=True)
    last_shown_at = models.DateTimeField(null=True)
    dismissed_at = models.DateTimeField(null=True)
    followed_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["profile", "kind", "subject"], name="hint_once")
        ]
        indexes = [models.Index(fields=["installation", "changed_at"], name="hint_oldest")]


class PageDropOff(Scoped):
    """When visitors leave one kind of page, as measured over the last weeks."""

    page = models.CharField(max_length=10, choices=HintPage)
    measured_at = models.DateTimeField()
    #: Looks at such a page, and those after which something else followed in the visit.
    view_count = models.PositiveIntegerField()
    went_on_count = models.PositiveIntegerField()
    #: Who is still there after so many seconds leaves more often than not; None: too little was measured.
    seconds = models.PositiveIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "page"], name="drop_off_once")
        ]
