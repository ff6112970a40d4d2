"""Phone numbers for text messages: read as people write them, one for each person, kept encrypted.

A number is kept only of who said yes to text messages, and belongs to who proved it last: numbers are passed
on. Who merely types one claims it: it takes nothing from whoever has it, and is not written to, until the
code that was sent there comes back. What its holder stopped by an answer from the phone itself stays stopped,
whoever gives the number next.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import phonenumbers
from django.db import transaction
from django.db.models import OuterRef, Subquery
from phonenumbers import NumberParseException, PhoneNumberFormat, PhoneNumberType

from saleor_personalize.enums import IdentityKind
from saleor_personalize.exceptions import PersonErased
from saleor_personalize.models import Identity, Installation, PhoneClaim, Profile
from saleor_personalize.models.fields import keyed_hash
from saleor_personalize.profiles import identity, merging, tombstones
from saleor_personalize.profiles.changes import mark_changed

#: Lines on which nobody reads a text: those at a wall, and those that one pays for.
_WITHOUT_TEXTS = frozenset(
    {
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.PAGER,
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.TOLL_FREE,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
    }
)
_LONGEST = 40
#: Who gives the same number again this soon (for another topic, or by a second press) gets one code.
_SAME_REQUEST = timedelta(minutes=1)


def read(text: str, *, country_code: str = "") -> str | None:
    """Return a number in E.164 ("+491711234567"), or None for what cannot get text messages.

    A number that is written without a country is one of `country_code` ("DE").
    """
    if len(text) > _LONGEST:
        return None
    try:
        number = phonenumbers.parse(text, country_code.upper() or None)
    except NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    if phonenumbers.number_type(number) in _WITHOUT_TEXTS:
        return None
    return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))


def number_hash(number: str) -> str:
    """Return the keyed hash by which a number in E.164 is found."""
    return keyed_hash("phone", number)


def record(
    *, profile: Profile, number: str, now: datetime, takes_over: bool = True
) -> Identity | None:
    """Keep the number (E.164), proved to be theirs, of who said yes to text messages, in place of their former.

    Without `takes_over` a number that somebody else has stays with them: then nothing changes, and None is
    returned. Must run outside any transaction that holds other locks. Raises PersonErased when they were
    erased meanwhile.
    """
    installation, hashed = profile.installation, number_hash(number)
    with transaction.atomic():
        # Nobody is erased from here on.
        tombstones.among(installation, [(IdentityKind.PHONE, hashed)])
        people = Profile.objects.of(installation).filter(pk=profile.pk)
        if not people.exists():
            raise PersonErased("This person was erased.")
        rows = Identity.objects.of(installation).filter(kind=IdentityKind.PHONE)
        former = rows.filter(profile=profile).exclude(value=hashed)
        ids = [(IdentityKind.PHONE, value) for value in former.values_list("value", flat=True)]
        identity.lock_identities(installation, [(IdentityKind.PHONE, hashed), *ids])
        row = rows.filter(value=hashed).first()
        is_own = row is not None and row.profile_id == profile.pk
        if row is not None and not (is_own or takes_over or row.confirmed_at is None):
            return None
        former.delete()
        people.update(phone_wanted_at=None)
        if row is not None and is_own and row.confirmed_at is not None:
            return row
        mark_changed(installation=installation, profiles=[profile], now=now)
        if row is None:
            return Identity.objects.create(
                installation=installation,
                profile=profile,
                kind=IdentityKind.PHONE,
                value=hashed,
                address=number,
                first_seen_at=now,
                confirmed_at=now,
            )
        row.profile, row.first_seen_at, row.confirmed_at = profile, now, now
        row.save(update_fields=["profile", "first_seen_at", "confirmed_at"])
        return row


def is_theirs(*, profile: Profile, number: str) -> bool:
    """Tell whether somebody has proved before that a number (E.164) is theirs."""
    return (
        Identity.objects.of(profile.installation)
        .filter(
            profile__in=merging.with_own_addresses(profile),
            kind=IdentityKind.PHONE,
            value=number_hash(number),
            confirmed_at__isnull=False,
        )
        .exists()
    )


def claim(*, profile: Profile, number: str, now: datetime, language_code: str = "") -> None:
    """Let somebody say that a number (E.164) is theirs, in place of one that they said so of before.

    A message with a code becomes due. Who has the number keeps it.
    """
    installation, hashed = profile.installation, number_hash(number)
    with transaction.atomic():
        people = Profile.objects.of(installation).filter(pk=profile.pk)
        if not people.select_for_update(no_key=True).values_list("pk").first():
            # Erased meanwhile.
            return
        if was_just_claimed(profile=profile, number=number, now=now):
            return
        PhoneClaim.objects.of(installation).filter(profile=profile).delete()
        PhoneClaim.objects.create(
            installation=installation,
            profile=profile,
            number=number,
            number_hash=hashed,
            language_code=language_code,
            asked_at=now,
            due_at=now,
        )


def was_just_claimed(*, profile: Profile, number: str, now: datetime) -> bool:
    """Tell whether somebody gave this number (E.164) a moment ago: it is one request, and gets one code."""
    return (
        PhoneClaim.objects.of(profile.installation)
        .filter(profile=profile, number_hash=number_hash(number), asked_at__gt=now - _SAME_REQUEST)
        .exists()
    )


def holders(*, installation: Installation, hashed: str) -> list[Profile]:
    """Return whose a number is. Who only says so has no part in it."""
    rows = Identity.objects.of(installation).filter(kind=IdentityKind.PHONE, value=hashed)
    return list(
        Profile.objects.of(installation)
        .filter(pk__in=rows.values("profile"))
        .select_related("installation")
    )


def count(*, installation: Installation) -> int:
    """Return how many numbers are known and proved."""
    rows = Identity.objects.of(installation).filter(kind=IdentityKind.PHONE)
    return rows.exclude(confirmed_at=None).count()


# -- numbers that Saleor knows ------------------------------------------------------------------------


def wanted(*, installation: Installation, limit: int) -> list[tuple[Profile, str]]:
    """Return people with an account who said yes to text messages and of whom no number is known.

    Each is (profile, id of the Saleor user), who waited longest coming first.
    """
    ids = Identity.objects.of(installation).filter(profile=OuterRef("pk"))
    users = ids.filter(kind=IdentityKind.SALEOR_USER).order_by("pk").values("value")[:1]
    rows = (
        Profile.objects.of(installation)
        .filter(phone_wanted_at__isnull=False)
        .annotate(user_id=Subquery(users))
        .select_related("installation")
        .order_by("phone_wanted_at", "pk")[:limit]
    )
    return [(row, row.user_id or "") for row in rows]


def sought(*, profile: Profile) -> None:
    """Keep that a number was looked for, whatever was found; it is looked for again after a further yes."""
    rows = Profile.objects.of(profile.installation)
    rows.filter(pk=profile.pk, phone_wanted_at=profile.phone_wanted_at).update(phone_wanted_at=None)


def postpone(*, profile: Profile, now: datetime) -> None:
    """Let all others who wait for their number to be looked for come before this one."""
    rows = Profile.objects.of(profile.installation)
    rows.filter(pk=profile.pk, phone_wanted_at=profile.phone_wanted_at).update(phone_wanted_at=now)
