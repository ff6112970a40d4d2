"""HTTP to an address that somebody typed: to checked addresses only, no redirects, bounded in time.

The name is resolved once per try, every address is looked at, and the connection goes to one of those:
a name that changes its mind in between (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import AddressRefused
from saleor_personalize.saleor_api import network

#: More of an answer is not read: only its status counts.
MAX_ANSWER_BYTES = 65_536
#: Where clouds tell a machine its passwords: refused even where private addresses are allowed.
_METADATA = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32")
)


@dataclass(frozen=True)
class Answer:
    """What came of one try. `status` is None when there was no answer; `error` is empty on success."""

    status: int | None
    error: str = ""


def check_url(url: str) -> list[str]:
    """Return the addresses that `url` may be called at. Raises AddressRefused."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise AddressRefused("The address has no valid port.") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise AddressRefused(
            "The address must be http(s)://host/path, without a user name and a password."
        )
    try:
        found = network.resolve(parts.hostname, port)
    except (OSError, UnicodeError) as error:
        raise AddressRefused("The host of the address cannot be resolved.") from error
    addresses = [ipaddress.ip_address(address) for address in found]
    if any(_is_metadata(address) for address in addresses):
        raise AddressRefused("The host resolves to a link-local address, which is never called.")
    are_public = [network.is_public(address) for address in addresses]
    if not all(are_public) and not settings.BUS_ALLOW_PRIVATE_ADDRESSES:
        raise AddressRefused(
            "The host resolves to a private, loopback or reserved address. If the receiver really lives "
            "there, whoever runs this service sets BUS_ALLOW_PRIVATE_ADDRESSES."
        )
    if parts.scheme == "http" and any(are_public):
        raise AddressRefused("A host on the Internet must be called by https://.")
    return found


def _is_metadata(address: network.Address) -> bool:
    return any(network.inside(address) in each for each in _METADATA)


def post(*, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send once and return what came of it; never raises over what the other side does."""
    deadline = time.monotonic() + settings.BUS_TIMEOUT
    try:
        with (
            network.open_client(timeout=settings.BUS_TIMEOUT, check=check_url) as client,
            client.stream("POST", url, content=body, headers=dict(headers)) as response,
        ):
            size = 0
            for chunk in response.iter_raw():
                size += len(chunk)
                if size > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                    break
            return _told(response)
    except AddressRefused as error:
        return Answer(None, str(error))
    except httpx.TimeoutException:
        return Answer(None, f"No answer within {settings.BUS_TIMEOUT:g} seconds.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Its text may quote the address, which may hold a secret.
        return Answer(None, f"The connection failed ({type(error).__name__}).")


def _told(response: httpx.Response) -> Answer:
    status = response.status_code
    if response.is_success:
        return Answer(status)
    if response.has_redirect_location:
        return Answer(
            status, f"The receiver answered {status}, a redirect: those are not followed."
        )
    return Answer(status, f"The receiver answered {status}.")
