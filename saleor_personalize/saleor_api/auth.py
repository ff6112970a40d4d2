"""Who is calling: signatures of webhooks and tokens of people, checked against the shop's own keys.

A shop publishes its public keys (JWKS, RFC 7517) and signs everything with RS256: webhook bodies as a
detached JWS (RFC 7515 appendix F, RFC 7797), tokens as JWTs. Nothing but RS256 is ever accepted, so a
token signed with "none", or with the public key as an HMAC secret, is refused before any check.

PyJWT would do the same in twice the time (41 against 22 microseconds for a delivery of 2.5 kB), and
would take the time from the clock instead of from its caller.
"""

from __future__ import annotations

import base64
import functools
import hmac
import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeGuard
from urllib.parse import urlsplit, urlunsplit

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import (
    InvalidToken,
    KeysUnavailable,
    SaleorApiError,
    WebhookRejected,
)
from saleor_personalize.models import Installation
from saleor_personalize.saleor_api import network

ALGORITHM = "RS256"
MIN_KEY_BITS = 2048
#: A shop's keys are asked for at most this often because of a signature that they do not explain.
JWKS_REFRESH_INTERVAL = timedelta(seconds=60)
#: A webhook or a page waits for this call, so it must not take long.
JWKS_TIMEOUT = 4.0

_PADDING = PKCS1v15()
_SHA256 = SHA256()
_MAX_TOKEN_LENGTH = 8_192
_MAX_LOOKED_UP = 500


@dataclass(frozen=True)
class CustomerClaims:
    """A signed-in shopper: Saleor's global id of the user, and the e-mail address of the account.

    Staff sign in in the same way; what they may do is not in the token.
    """

    user_id: str
    email: str
    is_staff: bool


@dataclass(frozen=True)
class DashboardClaims:
    """A staff member in the Dashboard; `permissions` are those that both the app and they have.

    `own_permissions` are theirs alone: good for what no app can have, such as MANAGE_APPS.
    """

    installation: Installation
    user_id: str
    email: str
    permissions: frozenset[str]
    own_permissions: frozenset[str]


def may_look_up(text: object) -> TypeGuard[str]:
    """Tell whether an id or an address that nobody has proven can be in the database at all.

    It refuses what PostgreSQL cannot even be asked for, such as NUL or half of a surrogate pair.
    """
    return isinstance(text, str) and 0 < len(text) <= _MAX_LOOKED_UP and text.isprintable()


# -- keys ------------------------------------------------------------------------------------------


def jwks_url(saleor_api_url: str) -> str:
    """Return where a shop publishes its keys: `/.well-known/jwks.json` of the API's host."""
    parts = urlsplit(saleor_api_url)
    return urlunsplit((parts.scheme, parts.netloc, "/.well-known/jwks.json", "", ""))


def fetch_jwks(saleor_api_url: str, *, timeout: float = JWKS_TIMEOUT) -> dict[str, Any]:
    """Fetch a shop's key set and return its RSA signing keys.

    Raises SaleorApiError when it cannot be had or holds no key that RS256 can use.
    """
    url = jwks_url(saleor_api_url)
    with network.open_client(timeout=timeout) as client:
        status, answer = network.request_json(
            client, "GET", url, max_bytes=network.MAX_SMALL_ANSWER_BYTES
        )
    found = answer.get("keys") if isinstance(answer, dict) else None
    keys = [key for key in found if _is_usable(key)] if isinstance(found, list) else []
    if status != httpx.codes.OK or not keys:
        raise SaleorApiError(
            f"{url} answered {status} and no RSA signing key. Does this host serve Saleor's key set?",
            is_retryable=True,
        )
    return {"keys": keys}


def refresh_jwks(installation: Installation, *, now: datetime) -> None:
    """Fetch and store the shop's keys anew. Raises SaleorApiError."""
    installation.jwks = fetch_jwks(installation.saleor_api_url)
    installation.jwks_fetched_at = now
    Installation.objects.filter(pk=installation.pk).update(
        jwks=installation.jwks, jwks_fetched_at=now
    )


def _is_usable(key: object) -> bool:
    if not isinstance(key, dict) or key.get("kty") != "RSA" or key.get("use", "sig") != "sig":
        return False
    if key.get("alg", ALGORITHM) != ALGORITHM or not isinstance(key.get("kid"), str):
        return False
    try:
        return _public_key(key["n"], key["e"]).key_size >= MIN_KEY_BITS
    except (KeyError, TypeError, ValueError):
        return False


@functools.lru_cache(maxsize=512)
def _public_key(modulus: str, exponent: str) -> RSAPublicKey:
    """Return the key of a JWK's `n` and `e`; parsed once per process, as each delivery needs one."""
    return RSAPublicNumbers(
        e=int.from_bytes(_decode(exponent)), n=int.from_bytes(_decode(modulus))
    ).public_key()


def _find_key(installation: Installation, kid: str) -> RSAPublicKey | None:
    for key in installation.jwks.get("keys", ()):
        if key["kid"] == kid:
            return _public_key(key["n"], key["e"])
    return None


def _decode(text: str) -> bytes:
    """Decode base64url without padding. Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _is_signed_by(key: RSAPublicKey | None, signature: bytes, signed: bytes) -> bool:
    if key is None:
        return False
    try:
        key.verify(signature, signed, _PADDING, _SHA256)
    except InvalidSignature:
        return False
    return True


class _RefreshLimit:
    """Allows one fetch of a shop's keys per interval and process, so that junk cannot make us hammer it."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._failed: set[int] = set()

    def take(self, installation: Installation) -> bool:
        last = self._last.get(installation.pk)
        moment = time.monotonic()
        if last is not None and moment - last < JWKS_REFRESH_INTERVAL.total_seconds():
            return False
        self._last[installation.pk] = moment
        self._failed.add(installation.pk)
        return True

    def succeeded(self, installation: Installation) -> None:
        self._failed.discard(installation.pk)

    def last_failed(self, installation: Installation) -> bool:
        return installation.pk in self._failed

    def clear(self) -> None:
        self._last.clear()
        self._failed.clear()


refresh_limit = _RefreshLimit()


@dataclass(frozen=True)
class _Signed:
    """What a signature claims: the key's id, the signature, and the bytes that it covers."""

    kid: str
    signature: bytes
    signed: bytes


def _verify(installation: Installation, claim: _Signed, *, now: datetime) -> bool:
    """Check a signature; when the stored keys do not explain it, with the shop's current keys, once.

    Raises KeysUnavailable when the shop does not give its keys, or when an unknown key shows up so
    soon after the last fetch that another must wait.
    """
    unavailable = "The shop's signing keys cannot be fetched at the moment. Try again in a minute."
    if _is_signed_by(_find_key(installation, claim.kid), claim.signature, claim.signed):
        return True
    # Another process may have fetched the keys already.
    installation.refresh_from_db(fields=["jwks", "jwks_fetched_at"])
    key = _find_key(installation, claim.kid)
    if _is_signed_by(key, claim.signature, claim.signed):
        return True
    if not refresh_limit.take(installation):
        if key is None or refresh_limit.last_failed(installation):
            raise KeysUnavailable(unavailable)
        return False
    try:
        refresh_jwks(installation, now=now)
    except SaleorApiError as error:
        raise KeysUnavailable(unavailable) from error
    refresh_limit.succeeded(installation)
    return _is_signed_by(_find_key(installation, claim.kid), claim.signature, claim.signed)


# -- webhooks --------------------------------------------------------------------------------------


def verify_webhook(
    installation: Installation, *, body: bytes, signature: str, now: datetime
) -> None:
    """Check Saleor's detached signature over the raw body.

    Raises WebhookRejected: 400/401 for a signature that is not this shop's, 503 (which Saleor retries)
    when the shop's keys are out of reach, so that its trouble or ours loses no delivery.
    """
    header, _, rest = signature.partition(".")
    payload, _, encoded = rest.partition(".")
    # A header is remembered, so it must be no longer than Saleor's are.
    kid = _webhook_kid(header) if len(signature) <= _MAX_TOKEN_LENGTH else None
    try:
        raw_signature = _decode(encoded)
    except ValueError:
        raw_signature = b""
    if kid is None or payload or not raw_signature:
        raise WebhookRejected(
            "INVALID_SIGNATURE",
            "Saleor-Signature is not a detached RS256 JWS. Webhooks with a secretKey (HMAC) are not "
            "supported: install the app from its manifest.",
            status=401,
        )
    claim = _Signed(kid, raw_signature, header.encode() + b"." + body)
    try:
        is_valid = _verify(installation, claim, now=now)
    except KeysUnavailable as error:
        raise WebhookRejected("JWKS_NOT_AVAILABLE", str(error), status=503) from error
    if not is_valid:
        raise WebhookRejected(
            "SIGNATURE_VERIFICATION_FAILED",
            "Saleor-Signature does not match this body and the shop's keys.",
            status=401,
        )


@functools.lru_cache(maxsize=512)
def _webhook_kid(header: str) -> str | None:
    """Return the key id of a webhook's protected header, or None when it is not what Saleor sends.

    Cached: the header is the same for every delivery signed with one key.
    """
    try:
        fields = json.loads(_decode(header))
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.get("alg") != ALGORITHM:
        return None
    # RFC 7797: the signed bytes are the raw body, and whoever does not know that must refuse.
    if fields.get("b64") is not False or fields.get("crit") != ["b64"]:
        return None
    kid = fields.get("kid")
    return kid if isinstance(kid, str) else None


# -- tokens ----------------------------------------------------------------------------------------


def read_customer_token(installation: Installation, token: str, *, now: datetime) -> CustomerClaims:
    """Return who the shopper is. Raises InvalidToken unless it is an access token of this shop.

    Raises KeysUnavailable when nobody can tell at the moment.
    """
    claims = _read_jwt(installation, token, now=now)
    # The Dashboard's tokens carry the same signature: without this a staff member's app token, handed
    # to any other app, would open their own account here.
    if claims.get("type") != "access":
        raise InvalidToken("This is not an access token of a customer. Sign in with tokenCreate.")
    return CustomerClaims(
        user_id=_text(claims, "user_id"),
        email=_text(claims, "email"),
        is_staff=claims.get("is_staff") is True,
    )


def read_dashboard_token(token: str, *, now: datetime) -> DashboardClaims:
    """Return which staff member of which installation calls from the Dashboard.

    Raises InvalidToken unless the token was made by that shop for our app and a staff member, and
    KeysUnavailable when nobody can tell at the moment.
    `permissions` is what staff member and app have in common, never what the staff member has alone:
    that stands apart in `own_permissions`. The token of an extension carries what staff member and
    *extension* have in common, and ours name no permission (`webhooks.manifest`): for those it is worked
    out from what the app was granted, as we last saw it.
    """
    unproven = _unverified_claims(token)
    issuer, app_id = unproven.get("iss"), unproven.get("app")
    installation = (
        Installation.objects.filter(saleor_api_url=issuer, app_id=app_id)
        .exclude(status=InstallationStatus.UNINSTALLED)
        .first()
        if may_look_up(issuer) and may_look_up(app_id)
        else None
    )
    if installation is None:
        raise InvalidToken(
            "This token was not made for this app. Open the app from the Dashboard of a shop that "
            "installed it."
        )
    claims = _read_jwt(installation, token, now=now)
    if claims.get("type") != "thirdparty" or claims.get("is_staff") is not True:
        raise InvalidToken("This token does not come from the Dashboard. Open the app from there.")
    own = _codes(claims, "user_permissions")
    is_of_extension = "app_extension" in claims
    return DashboardClaims(
        installation=installation,
        user_id=_text(claims, "user_id"),
        email=_text(claims, "email"),
        permissions=own.intersection(installation.permissions)
        if is_of_extension
        else _codes(claims, "permissions"),
        own_permissions=own,
    )


def is_app_token(installation: Installation, token: str) -> bool:
    """Tell, in constant time, whether `token` is the app token of this installation."""
    expected = installation.auth_token
    return bool(expected) and hmac.compare_digest(expected.encode(), token.encode())


def _codes(claims: dict[str, Any], name: str) -> frozenset[str]:
    codes = claims.get(name)
    return frozenset(str(code) for code in codes) if isinstance(codes, list) else frozenset()


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidToken(f"The token carries no {name}.")
    return value


def _split(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Return header, claims, signature and signed bytes of a compact JWT, none of them proven."""
    if len(token) > _MAX_TOKEN_LENGTH:
        raise InvalidToken("The token is too long.")
    try:
        signed, _, encoded_signature = token.rpartition(".")
        encoded_header, encoded_claims = signed.split(".")
        header = json.loads(_decode(encoded_header))
        claims = json.loads(_decode(encoded_claims))
        signature = _decode(encoded_signature)
        signed_bytes = signed.encode("ascii")
    except (ValueError, RecursionError) as error:
        raise InvalidToken("The token is not a JWT.") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise InvalidToken("The token is not a JWT.")
    return header, claims, signature, signed_bytes


def _unverified_claims(token: str) -> dict[str, Any]:
    return _split(token)[1]


def _read_jwt(installation: Installation, token: str, *, now: datetime) -> dict[str, Any]:
    """Return the claims of a JWT that this shop signed, that is in date and names it as issuer."""
    header, claims, signature, signed = _split(token)
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or not isinstance(kid, str) or "crit" in header:
        raise InvalidToken("The token is not signed with RS256 by a named key.")
    if not _verify(installation, _Signed(kid, signature, signed), now=now):
        raise InvalidToken("The token is not signed by this shop.")
    if claims.get("iss") != installation.saleor_api_url:
        raise InvalidToken("The token was issued by another shop.")
    expires = claims.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        raise InvalidToken("The token never expires, so it is not one of Saleor's.")
    if now.timestamp() >= expires:
        raise InvalidToken("The token has expired. Refresh it and try again.")
    return claims
