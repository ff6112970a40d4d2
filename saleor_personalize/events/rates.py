"""How many events one caller, and one network, may send in a minute; and other limits of that kind."""

from __future__ import annotations

import ipaddress
import itertools
import logging
from collections.abc import Mapping
from datetime import datetime

from django.core.cache import cache
from django.utils.crypto import salted_hmac

from saleor_personalize.conf import settings
from saleor_personalize.models import Installation
from saleor_personalize.profiles import identity

logger = logging.getLogger(__name__)

#: Seconds after which a caller that was too fast may try again, at most.
WINDOW = 60


def is_allowed(
    *, installation: Installation, shown: identity.Shown, address: str, count: int, now: datetime
) -> bool:
    """Count events of a caller, in the cache that all servers share; tell whether they fit.

    `address` is the network address of the caller, empty when it is unknown; who shows nothing is counted
    by it alone. Ids and addresses are kept as keyed hashes, for two minutes. Without a cache nobody is
    limited: an outage loses no events.
    """
    counters = {
        f"caller:{kind}:{value}": settings.TRACK_MAX_EVENTS_PER_MINUTE
        for kind, value in itertools.islice(shown.items(), 1)
    }
    if address:
        counters[f"network:{network(address)}"] = settings.TRACK_MAX_EVENTS_PER_MINUTE_AND_ADDRESS
    return fits(installation=installation, counters=counters, now=now, count=count)


def fits(
    *,
    installation: Installation,
    counters: Mapping[str, int],
    now: datetime,
    count: int = 1,
    window: int = WINDOW,
) -> bool:
    """Add to each counter; tell whether all are within their limits in this window of so many seconds."""
    part = int(now.timestamp() // window)
    try:
        return all(
            _count(f"{installation.pk}:{name}", part, count, window) <= limit
            for name, limit in counters.items()
        )
    except Exception as error:
        # Each cache has its own errors.
        logger.warning(
            "The cache does not count (%s): nobody is limited. Check CACHES.",
            type(error).__name__,
        )
        return True


def _count(name: str, part: int, count: int, window: int) -> int:
    key = f"track:{salted_hmac('saleor_personalize.rates', name).hexdigest()}:{part}"
    cache.add(key, 0, timeout=2 * window)
    return int(cache.incr(key, count))


def network(address: str) -> str:
    """Return an address as one household or office has it: IPv6 hands out whole /64 networks."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6:
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
