"""What the errors of HTTP clients mean to a delivery channel, whichever client it is."""

from __future__ import annotations

import socket
from datetime import timedelta

from django.utils import timezone
from django.utils.http import parse_http_date_safe

#: What HTTP clients name a connection that was never made.
_NEVER_CONNECTED = {
    "ConnectTimeout",
    "ConnectTimeoutError",
    "NameResolutionError",
    "NewConnectionError",
    "SSLCertVerificationError",
    # Of boto3, which has nothing to sign a call with, or does not know where to call.
    "CredentialRetrievalError",
    "MetadataRetrievalError",
    "NoCredentialsError",
    "NoRegionError",
    "PartialCredentialsError",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}

#: So `http.client` begins when a proxy refuses to lead on. What else is called an error of the proxy may be a
#: connection that broke when the call was out.
_NO_TUNNEL = "Tunnel connection failed"


def never_connected(error: BaseException) -> bool:
    """Look through the causes of an error for a connection that was never made."""
    waiting: list[object] = [error]
    for _ in range(20):
        if not waiting:
            break
        cause = waiting.pop()
        if isinstance(cause, (ConnectionRefusedError, socket.gaierror)):
            return True
        if isinstance(cause, OSError) and str(cause).startswith(_NO_TUNNEL):
            return True
        if type(cause).__name__ in _NEVER_CONNECTED:
            return True
        if isinstance(cause, BaseException):
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None)]
            waiting += cause.args
    return False


def retry_after(header: str) -> timedelta | None:
    """Return how long a server wants to be left alone by its `Retry-After`: seconds, or a date."""
    if header.isascii() and header.isdecimal():
        return timedelta(seconds=min(int(header), 86_400))
    if moment := parse_http_date_safe(header):
        wait = timedelta(seconds=moment - timezone.now().timestamp())
        return min(max(timedelta(), wait), timedelta(days=1))
    return None
