"""What a staff member may do in a shop, asked of the shop: their access token does not say it."""

from __future__ import annotations

import hashlib

from django.core.cache import cache

from saleor_personalize.models import Installation
from saleor_personalize.saleor_api.client import SaleorClient

#: How long an answer is believed, in seconds. A token lives for five minutes.
REMEMBERED = 60
_TIMEOUT = 4.0


def may_see_customers(*, installation: Installation, token: str) -> bool:
    """Tell whether the owner of a staff access token holds MANAGE_USERS in the shop.

    Raises SaleorApiError when the shop cannot be asked.
    """
    key = f"personalize:staff:{installation.pk}:{hashlib.sha256(token.encode()).hexdigest()}"
    known = cache.get(key)
    if known is None:
        with SaleorClient(installation, token=token, timeout=_TIMEOUT, retry_delays=()) as client:
            me = client.execute("Staff")["me"]
        known = bool(me and me["isStaff"] and me["isActive"]) and "MANAGE_USERS" in {
            permission["code"] for permission in me["userPermissions"] or ()
        }
        cache.set(key, known, REMEMBERED)
    return bool(known)
