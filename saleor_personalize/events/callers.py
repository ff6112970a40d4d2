"""Who asks, and in which shop. Nothing of another shopper or another shop is ever in reach."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from saleor_personalize.audit.operations import APP_TOKEN, Actor
from saleor_personalize.conf import settings
from saleor_personalize.enums import EventSource, IdentityKind
from saleor_personalize.events import timeline
from saleor_personalize.exceptions import AccessDenied, InvalidToken
from saleor_personalize.models import Installation, Profile
from saleor_personalize.saleor_api import auth, installations, server_keys, staff

_GLOBAL_ID = re.compile(r"[A-Za-z0-9+/=_-]{1,100}")
#: Chosen by the storefront, hard to guess: a UUID, a nanoid, ...
_ANONYMOUS_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")

_INSTALLATION_SECONDS = 3.0


@dataclass(frozen=True)
class Caller:
    """`shown` are the ids that the caller proved or chose; a server shows whom it speaks of.

    `server`: of a server, what it proved itself with.
    """

    installation: Installation
    shown: Mapping[IdentityKind, str] = field(default_factory=dict)
    server: Actor | None = None
    #: Of a staff member: what they may do is asked of the shop with it, when it matters.
    staff_token: str = field(default="", repr=False)

    @property
    def is_server(self) -> bool:
        return self.server is not None

    @property
    def source(self) -> EventSource:
        return EventSource.SERVER if self.is_server else EventSource.STOREFRONT

    def speaking_of(self, *, user_id: str | None, anonymous_id: str | None) -> Caller:
        """Let a server name a person; everybody else only is themselves."""
        if user_id is None and anonymous_id is None:
            return self
        if not self.is_server:
            raise AccessDenied("Only a server with a server key may name another person.")
        if anonymous_id is not None:
            check_anonymous_id(anonymous_id)
        if user_id and not _GLOBAL_ID.fullmatch(user_id):
            raise InvalidToken("`userId` takes a global id of a Saleor user.")
        shown = {
            IdentityKind.SALEOR_USER: user_id or "",
            IdentityKind.ANONYMOUS_ID: anonymous_id or "",
        }
        return Caller(self.installation, {k: v for k, v in shown.items() if v}, self.server)

    def may_read(self, user_id: str) -> bool:
        """Tell whether the caller may read what we know of a Saleor user: as in Saleor, the user, servers
        of the shop, and staff who may see its customers. Raises SaleorApiError."""
        if self.is_server or (bool(user_id) and user_id == self.user_id):
            return True
        return bool(self.staff_token) and staff.may_see_customers(
            installation=self.installation, token=self.staff_token
        )

    def reading(self, user_id: str) -> Caller:
        """Return the caller as somebody who reads what is known of a Saleor user. Raises AccessDenied."""
        if not self.may_read(user_id):
            raise AccessDenied("Only the user, the shop's servers and its staff read that.")
        return Caller(self.installation, {IdentityKind.SALEOR_USER: user_id})

    def showing(self, checkout_id: str) -> Caller:
        """Add the cart that the caller has in hand. Its id is the secret that opens it in Saleor too."""
        if not checkout_id or not self.shown:
            return self
        if not _GLOBAL_ID.fullmatch(checkout_id):
            raise InvalidToken("`checkoutId` takes a global id of Saleor.")
        return replace(self, shown={**self.shown, IdentityKind.CHECKOUT: checkout_id})

    @property
    def user_id(self) -> str:
        """Saleor's id of the signed-in customer; empty for everybody else."""
        return self.shown.get(IdentityKind.SALEOR_USER, "")

    def profile(self) -> Profile | None:
        """Return the caller's profile, or None when we know nothing of them yet.

        An anonymous id proves nobody: once its profile is that of a recognised person, only that
        person's token (or the shop's server) opens it.
        """
        for kind in (IdentityKind.SALEOR_USER, IdentityKind.ANONYMOUS_ID):
            if self.shown.get(kind):
                found = timeline.profile_of(
                    installation=self.installation, kind=kind, value=self.shown[kind]
                )
                is_hidden = (
                    found is not None
                    and kind == IdentityKind.ANONYMOUS_ID
                    and not self.is_server
                    and timeline.is_recognised(found)
                )
                return None if is_hidden else found
        return None


def profiles_of(callers: Sequence[Caller]) -> list[Profile | None]:
    """Return `profile()` of callers who each are one Saleor user of the same shop, read at once."""
    if not callers:
        return []
    found = timeline.profiles_of(
        installation=callers[0].installation,
        kind=IdentityKind.SALEOR_USER,
        values=[caller.user_id for caller in callers],
    )
    return [found.get(caller.user_id) for caller in callers]


class _Active:
    """Active installations, read again every few seconds."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Installation | None]] = {}

    def get(self, saleor_api_url: str) -> Installation | None:
        if not auth.may_look_up(saleor_api_url):
            return None  # and nobody fills the memory with addresses of any length
        known = self._known.get(saleor_api_url)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        found = installations.active_installation(saleor_api_url)
        if len(self._known) > 1_000:
            self._known.clear()
        self._known[saleor_api_url] = (time.monotonic() + _INSTALLATION_SECONDS, found)
        return found

    def clear(self) -> None:
        self._known.clear()


active = _Active()


def is_anonymous_id(value: str) -> bool:
    return _ANONYMOUS_ID.fullmatch(value) is not None


def check_anonymous_id(value: str) -> None:
    if not is_anonymous_id(value):
        raise InvalidToken("An anonymous id has 16 to 64 letters, digits, '-' or '_', e.g. a UUID.")


def bearer(authorization: str) -> str:
    """Return the token of an Authorization header; empty when it holds none in a form that we know."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() in {"bearer", "jwt"} else ""


def address_of(*, forwarded_for: str, connected_from: str) -> str:
    """Return the network address of a caller behind TRUSTED_PROXIES proxies; empty when unknown.

    What stands further left in X-Forwarded-For was written by the caller.
    """
    proxies = settings.TRUSTED_PROXIES
    passed = [part.strip() for part in forwarded_for.split(",")]
    if proxies and len(passed) >= proxies and passed[-proxies]:
        return str(passed[-proxies])
    return connected_from


def identify(
    *, saleor_api_url: str, authorization: str, anonymous_id: str, origin: str, now: datetime
) -> Caller:
    """Return the caller behind a request's headers. `origin` is empty unless a browser sends.

    A server key names its shop, so `saleor_api_url` may be empty beside it; it is a key or a refusal,
    never taken for something else. A browser is refused whatever the key: all its visitors could read it.

    With a token and an anonymous id both are shown: signing in on a browser proves whose it is. What
    is read is the token's. Raises InvalidToken, KeysUnavailable or
    AccessDenied.
    """
    if not authorization.isascii():
        raise InvalidToken("The token has characters that no token has.")
    token = bearer(authorization)
    if server_keys.is_meant(token):
        if origin:
            raise AccessDenied(
                "A server key came from a browser (the request has an Origin header), where every "
                "visitor can read it. If a page holds the key, revoke it and make a new one for your "
                "server alone; if your server passes a browser's request on, leave Origin out."
            )
        key = server_keys.read(token, saleor_api_url=saleor_api_url, now=now)
        return Caller(key.installation, server=Actor(f"{server_keys.MARK}{key.prefix}", key.name))
    installation = active.get(saleor_api_url)
    if installation is None:
        raise AccessDenied(
            "No active installation for this shop. Send the header Saleor-Api-Url with the address of "
            "a Saleor in which this app is installed and active."
        )
    if authorization:
        if not token:
            raise InvalidToken("The Authorization header takes 'Bearer <token>'.")
        if auth.is_app_token(installation, token):
            return Caller(installation, server=APP_TOKEN)
        claims = auth.read_customer_token(installation, token, now=now)
        shown = {IdentityKind.SALEOR_USER: claims.user_id}
        staff_token = token if claims.is_staff else ""
    else:
        shown, staff_token = {}, ""
    if anonymous_id:
        check_anonymous_id(anonymous_id)
        shown[IdentityKind.ANONYMOUS_ID] = anonymous_id
    return Caller(installation, shown, staff_token=staff_token)
