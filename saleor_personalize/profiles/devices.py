"""Which devices take push, and whose they are.

A token is a secret of one app on one device: whoever shows it has the device in hand. So the last one who
showed it has it, and nobody before them gets anything on it any more.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from django.db import transaction
from django.db.models import Count, QuerySet

from saleor_personalize.enums import DeliveryChannel, DeviceGone, DevicePlatform, Purpose
from saleor_personalize.exceptions import DeviceRefused
from saleor_personalize.models import Device, Installation, Profile
from saleor_personalize.models.fields import keyed_hash
from saleor_personalize.models.locks import lock
from saleor_personalize.models.profiles import PERSON
from saleor_personalize.profiles import consent, identity, merging

#: Living devices of one profile; the one that was not seen for longest gives way.
MAX_DEVICES = 20
MAX_TOKEN = 4096
MAX_APP = 100
_TOKEN = re.compile(r"[!-~]{8,4096}")
#: For the WITH of a statement about %(installation)s and %(profile)s: those of %(hashes)s (`token_hash`) whose
#: devices live, and are this person's now.
STILL = f"""
{PERSON}, still AS (
  SELECT token_hash FROM {Device._meta.db_table}
  WHERE installation_id = %(installation)s AND token_hash = ANY (%(hashes)s) AND gone_at IS NULL
    AND profile_id IN (SELECT id FROM member)
)
"""  # noqa: S608 (the names of the tables are ours)


def token_hash(token: str) -> str:
    """Return the keyed hash by which a token is found."""
    return keyed_hash("device-token", token)


def living(profile: Profile) -> QuerySet[Device]:
    """Return the devices on which this person may be written to, last seen first.

    Over those profiles whose facts the person may read: a cart that was forwarded joins people for our
    care, and shows nobody's messages on somebody else's screen. An anonymous id proves nobody: a device
    that was registered with one alone is written to only while no name is known of its person.
    """
    members = merging.readable(profile)
    rows = Device.objects.of(profile.installation_id).filter(profile__in=members, gone_at=None)
    if merging.have_name(installation=profile.installation, profile_ids=members):
        rows = rows.filter(is_proven=True)
    return rows.order_by("-last_seen_at", "-pk")


def count_living(*, installation: Installation) -> dict[str, int]:
    """Return how many devices of each platform can be written to, those without any left out."""
    rows = Device.objects.of(installation).filter(gone_at=None).values_list("platform")
    return dict(rows.annotate(Count("pk")).order_by())


def register(
    *,
    installation: Installation,
    shown: identity.Shown,
    token: str,
    platform: DevicePlatform,
    is_proven: bool,
    now: datetime,
    app: str = "",
    language_code: str = "",
) -> Device:
    """Bind a device to whoever shows its token: the signed-in user, else the anonymous id.

    `is_proven`: by a verified token, or on the word of the shop's server. The same call again refreshes it. A device of somebody else becomes theirs who show the token now;
    the two do not become one person by it, since devices are lent and sold. Raises DeviceRefused for a
    text that is no token, and PersonErased.
    """
    if not _TOKEN.fullmatch(token):
        raise DeviceRefused(
            f"A token has 8 to {MAX_TOKEN} visible characters and no space: pass on what the "
            "Firebase SDK gave, as it stands.",
            field="token",
        )
    if len(app) > MAX_APP or not app.isprintable():
        raise DeviceRefused(f"`app` takes at most {MAX_APP} printable characters.", field="app")
    with transaction.atomic():
        profile = identity.show(installation=installation, shown=shown, now=now)
        hashed = token_hash(token)
        lock(installation, [f"device:{hashed}"])
        values = {
            "token": token,
            "platform": platform,
            "is_proven": is_proven,
            "app": app,
            "language_code": language_code,
            "last_seen_at": now,
            "gone_at": None,
            "gone_reason": "",
        }
        device = Device.objects.of(installation).filter(token_hash=hashed).first()
        if device is None:
            device = Device(installation=installation, token_hash=hashed, registered_at=now)
        elif device.profile_id != profile.pk or device.gone_at is not None:
            device.registered_at = now
        device.profile = profile
        for name, value in values.items():
            setattr(device, name, value)
        device.save()
        _make_room(profile, now)
    return device


def _make_room(profile: Profile, now: datetime) -> None:
    rows = Device.objects.of(profile.installation_id).filter(profile=profile, gone_at=None)
    oldest = list(rows.order_by("-last_seen_at", "-pk").values_list("pk", flat=True)[MAX_DEVICES:])
    _end(rows.filter(pk__in=oldest), DeviceGone.REPLACED, now)


def allow(
    *,
    device: Device,
    is_allowed: bool,
    now: datetime,
    language_code: str = "",
    wording_version: str = "",
) -> None:
    """Record what the device's person said to offers and reminders by push.

    A yes by an anonymous id alone is not taken of somebody whose name is known: it may be another's.
    """
    profile = device.profile
    if is_allowed and not device.is_proven and not merging.is_nameless(profile):
        return
    consent.choose(
        profile=profile,
        choices=[consent.Choice(Purpose.MARKETING, DeliveryChannel.PUSH, "", is_allowed)],
        source="device",
        now=now,
        language_code=language_code,
        wording_version=wording_version,
    )


def unregister(*, installation: Installation, token: str, now: datetime) -> bool:
    """Unbind a device, as at sign-out; tell whether it was bound to anybody. Twice is harmless.

    Its token is enough: an app that signed out has nothing else left to show.
    """
    if not _TOKEN.fullmatch(token):
        return False
    hashed = token_hash(token)
    with transaction.atomic():
        lock(installation, [f"device:{hashed}"])
        # Also one that another Firebase project did not know: `take_back` must not let it live again.
        rows = Device.objects.of(installation).filter(token_hash=hashed).exclude(token="")
        return bool(_end(rows, DeviceGone.SIGNED_OUT, now))


def mark_gone(
    *, installation: Installation, tokens: Collection[str], reason: DeviceGone, now: datetime
) -> int:
    """Write nothing to these devices any more, until they register again; return how many there were."""
    hashes = [token_hash(token) for token in tokens]
    with transaction.atomic():
        lock(installation, [f"device:{hashed}" for hashed in hashes])
        rows = Device.objects.of(installation).filter(token_hash__in=hashes, gone_at=None)
        return _end(rows, reason, now)


def _end(rows: QuerySet[Device], reason: DeviceGone, now: datetime) -> int:
    # A wrong service account says this of every device: `take_back` needs their tokens then.
    is_kept = reason == DeviceGone.OTHER_PROJECT
    emptied = {} if is_kept else {"token": ""}
    return rows.update(gone_at=now, gone_reason=reason, **emptied)


def take_back(*, installation: Installation) -> int:
    """Let devices live again that another Firebase project did not know; return how many.

    For when the shop's project changed: after a mistake, or back.
    """
    return (
        Device.objects.of(installation)
        .filter(gone_reason=DeviceGone.OTHER_PROJECT)
        .exclude(token="")
        .update(gone_at=None, gone_reason="")
    )
