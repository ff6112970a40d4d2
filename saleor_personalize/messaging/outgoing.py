"""Who a profile is, as other apps are told: ids, and where the shop allows it how to reach them."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from saleor_personalize.enums import IdentityKind
from saleor_personalize.messaging import guards
from saleor_personalize.models import Identity, Profile


def described(profile: Profile, with_personal_data: bool) -> dict[str, Any]:
    """Return the person behind a profile under the reference that an export shows.

    `with_personal_data` adds the address that messages would go to, the first name, language and
    country: for webhooks where staff switched that on.
    """
    people = Profile.objects.of(profile.installation)
    speaker = people.get(pk=profile.person_id)
    user_id = (
        Identity.objects.of(profile.installation)
        .filter(Q(profile=profile) | Q(profile__in=profile.person()), kind=IdentityKind.SALEOR_USER)
        .order_by("pk")
        .values_list("value", flat=True)
        .first()
    )
    found: dict[str, Any] = {"reference": str(speaker.public_id), "saleorUserId": user_id}
    if with_personal_data:
        recipient = guards.address_identity(profile=profile)
        found |= {
            "email": recipient.address if recipient else None,
            "firstName": profile.first_name or speaker.first_name,
            "languageCode": profile.language_code or speaker.language_code,
            "countryCode": profile.country_code or speaker.country_code,
        }
    return found
