"""Whose a row of a list is: shown to staff who may see people, and to nobody else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.utils.translation import gettext as _

from saleor_personalize.dashboard.access import Staff
from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import Identity, Profile


@dataclass(frozen=True)
class Whose:
    """`who` is the reference of the person's page, `name` what staff know them by."""

    who: UUID
    name: str


def whose(staff: Staff, profiles: Collection[int]) -> dict[int, Whose]:
    """Return whose the rows of some profiles (row ids) are, by two queries; nobody's without the right."""
    if not staff.can_see_people:
        return {}
    rows = Profile.objects.of(staff.installation).filter(pk__in=profiles)
    found = list(rows.select_related("merged_into"))
    addresses = dict(
        Identity.objects.of(staff.installation)
        .filter(
            kind=IdentityKind.EMAIL,
            profile__in={row.pk for row in found} | {row.person_id for row in found},
        )
        .order_by("-pk")
        .values_list("profile", "address")
    )
    return {row.pk: _of(row, addresses) for row in found}


def _of(row: Profile, addresses: dict[int, str]) -> Whose:
    speaker = row.merged_into or row
    known = (
        speaker.first_name or row.first_name,
        addresses.get(row.pk) or addresses.get(speaker.pk, ""),
    )
    return Whose(speaker.public_id, " · ".join(filter(None, known)) or _("A person without a name"))
