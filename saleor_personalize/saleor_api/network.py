"""HTTP to a shop, fenced in: only to checked addresses, no redirects, bounded in size and time.

A Saleor API URL comes from an unsigned request, so what it resolves to is not ours to trust
(server-side request forgery). Each request resolves the host once, checks every address, and
connects to a checked one, so that a name which changes its mind in between gains nothing.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import SaleorApiError

#: Largest answer read: a back-fill page of 100 products with long descriptions fits many times.
MAX_ANSWER_BYTES = 32_000_000
#: A key set or a handshake's answer is a few hundred bytes.
MAX_SMALL_ANSWER_BYTES = 200_000

_HTTP_SERVER_ERROR = 500
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_url(url: str) -> list[str]:
    """Return the addresses that `url` may be called at.

    Raises SaleorApiError when it is no plain http(s) URL, does not resolve (retryable), resolves to
    anything but public addresses while ALLOW_PRIVATE_ADDRESSES is off, or would carry our token
    unencrypted over the Internet.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise SaleorApiError(f"{url!r} has no valid port.", is_retryable=False) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise SaleorApiError(
            f"{url!r} is not an http(s) URL with a host and without credentials.",
            is_retryable=False,
        )
    return _checked_addresses(
        parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)
    )


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, each once, in the order to try them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def _checked_addresses(scheme: str, host: str, port: int) -> list[str]:
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise SaleorApiError(
            f"The host {host!r} cannot be resolved: {error}. Check its DNS record.",
            is_retryable=True,
        ) from error
    are_public = [is_public(ipaddress.ip_address(address)) for address in addresses]
    if not all(are_public) and not settings.ALLOW_PRIVATE_ADDRESSES:
        raise SaleorApiError(
            f"The host {host!r} resolves to a private, loopback or reserved address. If the shop really "
            "lives there, set SALEOR_PERSONALIZE['ALLOW_PRIVATE_ADDRESSES'].",
            is_retryable=False,
        )
    if scheme == "http" and any(are_public):
        raise SaleorApiError(
            f"The host {host!r} is on the Internet but its address starts with http://. "
            "Set PUBLIC_URL of Saleor to https://, so that tokens travel encrypted.",
            is_retryable=False,
        )
    return addresses


def is_public(address: Address) -> bool:
    """Tell whether an address is on the Internet, also looking inside IPv6 forms of IPv4 ones."""
    inner = inside(address)
    if inner != address:
        return is_public(inner)
    if isinstance(address, ipaddress.IPv6Address) and address.teredo is not None:
        return False
    return address.is_global and not address.is_multicast


def inside(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address is a form of, else the address itself."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    # Loading the certificate store takes tens of milliseconds: once per process.
    return httpx.create_ssl_context()


class _PinnedTransport(httpx.HTTPTransport):
    """Connects to an address that was checked, and still asks for the certificate of the name."""

    def __init__(self, check: Callable[[str], list[str]]) -> None:
        super().__init__(verify=_ssl_context(), trust_env=False)
        self._check = check

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        request.extensions = {**request.extensions, "sni_hostname": url.host}
        *first, last = self._check(str(url))
        for address in first:
            request.url = url.copy_with(host=address)
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return super().handle_request(request)
        request.url = url.copy_with(host=last)
        return super().handle_request(request)


def open_client(
    *, timeout: float | None = None, check: Callable[[str], list[str]] = check_url
) -> httpx.Client:
    """Return an HTTP client for one shop, or for whom `check` lets pass; close it after use.

    It follows no redirects and reads no proxy settings from the environment: both would go to
    addresses that nobody checked.
    """
    return httpx.Client(
        transport=_PinnedTransport(check),
        timeout=timeout or settings.SALEOR_TIMEOUT,
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": "saleor-personalize", "Accept": "application/json"},
    )


def request_json(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    max_bytes: int,
    **options: Any,
) -> tuple[int, Any]:
    """Send a request and return its status and its JSON, or None where the body is not JSON.

    Raises SaleorApiError when the shop cannot be reached, answers 5xx or 429, is slower than the
    client's timeout in total (retryable), or answers more than `max_bytes` or a redirect.
    """
    where = f"{method} {url}"
    # A timeout of httpx bounds one read; a shop that drips bytes needs a bound on the whole.
    deadline = time.monotonic() + (client.timeout.read or settings.SALEOR_TIMEOUT) * 2
    body = bytearray()
    try:
        with client.stream(method, url, **options) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    raise SaleorApiError(
                        f"{where} answered more than {max_bytes} bytes.", is_retryable=False
                    )
                if time.monotonic() > deadline:
                    raise SaleorApiError(f"{where} answered too slowly.", is_retryable=True)
    except httpx.HTTPError as error:
        raise SaleorApiError(
            f"{where} failed: {type(error).__name__}. Is the shop up and reachable from here?",
            is_retryable=True,
        ) from error
    status = response.status_code
    if status >= _HTTP_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
        raise SaleorApiError(f"{where} answered {status}.", is_retryable=True)
    if response.is_redirect:
        raise SaleorApiError(
            f"{where} answered {status}, a redirect. Redirects are not followed: PUBLIC_URL of Saleor "
            "must be the address that answers.",
            is_retryable=False,
        )
    try:
        return status, httpx.Response(status, content=bytes(body)).json()
    except (ValueError, RecursionError):
        return status, None
