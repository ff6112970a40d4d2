"""Who a shopper is, what they allowed, and which addresses must not be used.

Facts hang on the profile whose id was shown. Profiles that are proved to be one person share a
`person`: so a merge moves no fact, and undoing it restores both timelines exactly (ADR 8).
"""

import uuid

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Coalesce

from saleor_personalize.enums import (
    ConsentRule,
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    MergeProof,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.models import prepared
from saleor_personalize.models.fields import EncryptedTextField
from saleor_personalize.models.held import once
from saleor_personalize.models.installation import Scoped


class Profile(Scoped):
    """One person, or the part of a person that one group of ids stands for."""

    # The profile that speaks for the whole person; empty when it is this one.
    merged_into = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, related_name="absorbed"
    )
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    first_name = EncryptedTextField(blank=True, default="")
    language_code = models.CharField(max_length=35, blank=True)
    country_code = models.CharField(max_length=2, blank=True)
    # IANA name, as the device of their last visit told it; the trait `time_zone` is the shop's own word.
    time_zone = models.CharField(max_length=64, blank=True)
    # When it did so last, to the hour: a visit must not cost a write each time.
    time_zone_told_at = models.DateTimeField(null=True)
    # What imports and integrators told us: {"loyalty_tier": "gold"}. Never shown to other shoppers.
    traits = models.JSONField(default=dict)
    # What the person chose in the preference centre.
    paused_until = models.DateTimeField(null=True)
    max_messages_per_week = models.PositiveSmallIntegerField(null=True)
    # Since when Saleor is to be asked for their number: they said yes to text messages.
    phone_wanted_at = models.DateTimeField(null=True)
    # Counts what changed in the person's inbox, or in who they are: by this a poll costs one read.
    inbox_version = models.PositiveBigIntegerField(default=0)
    # When the account was made in Saleor.
    joined_at = models.DateTimeField(null=True)
    # Saleor's `updatedAt` of the customer that these come from.
    saleor_updated_at = models.DateTimeField(null=True)
    first_seen_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["merged_into"], name="profile_absorbed"),
            models.Index(
                fields=["installation", "phone_wanted_at"],
                name="profile_phone_wanted",
                condition=models.Q(phone_wanted_at__isnull=False),
            ),
        ]

    @property
    def person_id(self) -> int:
        """Primary key of the profile that speaks for the person."""
        return self.merged_into_id or self.pk

    def person(self) -> models.QuerySet["Profile"]:
        """Return the profiles that make up this person now, this one included."""
        # Asked of the database: a merge may have happened since this row was read.
        representative = models.Subquery(
            Profile.objects.of(self.installation_id)
            .filter(pk=self.pk)
            .values(representative=Coalesce("merged_into_id", "pk"))
        )
        return Profile.objects.of(self.installation_id).filter(
            models.Q(pk=representative) | models.Q(merged_into=representative)
        )

    def members(self) -> frozenset[int]:
        """Return the primary keys of `person`; within a decision they are read once."""
        return once(("person", self.pk), self._read_members)

    def _read_members(self) -> frozenset[int]:
        with prepared.cursor() as cursor:
            cursor.execute(_MEMBERS, {"installation": self.installation_id, "profile": self.pk})
            return frozenset(pk for (pk,) in cursor.fetchall())


# `Profile.person` as SQL, for what is asked all the time.
PERSON = f"""
me AS (
  SELECT COALESCE(merged_into_id, id) AS person FROM {Profile._meta.db_table}
  WHERE installation_id = %(installation)s AND id = %(profile)s
), member AS (
  SELECT id FROM {Profile._meta.db_table}
  WHERE installation_id = %(installation)s AND id = (SELECT person FROM me)
  UNION ALL
  SELECT id FROM {Profile._meta.db_table}
  WHERE installation_id = %(installation)s AND merged_into_id = (SELECT person FROM me)
)
"""  # noqa: S608 (the names of the tables are ours)
_MEMBERS = f"WITH {PERSON} SELECT id FROM member"  # noqa: S608 (the names of the tables are ours)


class Identity(Scoped):
    """One id of a person. An e-mail or a phone number is known by its keyed hash; it is encrypted itself."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="identities")
    kind = models.CharField(max_length=20, choices=IdentityKind)
    value = models.CharField(max_length=255)
    address = EncryptedTextField(blank=True, default="")
    first_seen_at = models.DateTimeField()
    # When the person proved that it is theirs (a confirmed address); None: it was only shown.
    confirmed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "kind", "value"], name="identity_once")
        ]


class PhoneClaim(Scoped):
    """A number that somebody says is theirs, until they prove it by the code that was sent there.

    It takes nothing from whoever has the number, and nothing but that code goes to it.
    """

    profile = models.OneToOneField(Profile, on_delete=models.CASCADE, related_name="phone_claim")
    number = EncryptedTextField()
    number_hash = models.CharField(max_length=64)
    language_code = models.CharField(max_length=35, blank=True)
    asked_at = models.DateTimeField()
    # When to decide about the message with the code; None: it was decided about.
    due_at = models.DateTimeField(null=True)
    # Keyed hash of the code that went last; empty: none did.
    code_hash = models.CharField(max_length=64, blank=True)
    expires_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(
                fields=["due_at"],
                name="phone_claim_due",
                condition=models.Q(due_at__isnull=False),
            ),
            models.Index(fields=["asked_at"], name="phone_claim_oldest"),
        ]


class Merge(Scoped):
    """One reason to believe that two profiles are one person. The log and the graph are this table.

    It counts from `proved_at` until `undone_at`. Before that it is a suspicion (a cart that both
    showed, not ordered yet); once undone, the same pair is never joined again without staff.
    """

    first = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="+")
    second = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="+")
    proof = models.CharField(max_length=20, choices=MergeProof)
    # [{"kind": "checkout", "value": ...}]: the ids that both showed, as stored.
    evidence = models.JSONField(default=list)
    created_at = models.DateTimeField()
    proved_at = models.DateTimeField(null=True)
    undone_at = models.DateTimeField(null=True)
    # Global id of the checkout whose order would prove it.
    waits_for = models.CharField(max_length=100, blank=True)
    # A login on a browser that had belonged to another account over a cart: for our care, not read across.
    is_disputed = models.BooleanField(default=False)
    # Saleor's id of the staff user who merged or split by hand.
    decided_by = models.CharField(max_length=100, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "first", "second", "proof"], name="merge_once"
            )
        ]
        indexes = [
            models.Index(fields=["second"], name="merge_second"),
            # Whose people became one or two lately: their orders are attributed anew.
            models.Index(fields=["installation", "proved_at"], name="merge_proved"),
            models.Index(fields=["installation", "undone_at"], name="merge_undone"),
            models.Index(
                fields=["installation", "waits_for"],
                name="merge_waiting",
                condition=models.Q(proved_at=None),
            ),
        ]


class Consent(Scoped):
    """One line of the ledger; the last written per (profile, purpose, delivery channel, topic) counts.

    An empty topic stands for the whole purpose. Profiling has no delivery channel. What several lines
    mean together: `profiles.consent`.
    """

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="consents")
    purpose = models.CharField(max_length=20, choices=Purpose)
    delivery_channel = models.CharField(max_length=20, choices=DeliveryChannel, blank=True)
    topic = models.CharField(max_length=60, blank=True)
    state = models.CharField(max_length=10, choices=ConsentState)
    # The rule of the person's country that made it so ("double_opt_in", "soft_opt_in").
    country_code = models.CharField(max_length=2, blank=True)
    rule = models.CharField(max_length=20, choices=ConsentRule, blank=True)
    # Where it was given ("checkout", "unsubscribe_link", "import", ...) and under which wording.
    source = models.CharField(max_length=60)
    wording_version = models.CharField(max_length=60, blank=True)
    language_code = models.CharField(max_length=35, blank=True)
    recorded_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["profile", "purpose", "delivery_channel", "topic", "-id"],
                name="consent_newest",
            ),
            models.Index(
                fields=["recorded_at"],
                name="consent_pending",
                condition=models.Q(state="pending"),
            ),
            # Who said yes since journeys looked last.
            BrinIndex(fields=["recorded_at"], name="consent_recorded", autosummarize=True),
        ]


class Suppression(Scoped):
    """An address (by its keyed hash) that must not be used on a delivery channel."""

    delivery_channel = models.CharField(max_length=20, choices=DeliveryChannel)
    address_hash = models.CharField(max_length=64)
    reason = models.CharField(max_length=20, choices=SuppressionReason)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "delivery_channel", "address_hash"],
                name="suppression_once",
            )
        ]
