"""The page on which somebody waits no longer for sold-out products."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from saleor_personalize.alerts import operations, queries
from saleor_personalize.exceptions import InvalidToken
from saleor_personalize.storefront.views import page


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def stock_alerts(request: HttpRequest, token: str) -> HttpResponse:
    """Ask on GET, with one button; act on POST. Mail programs open links by themselves."""
    now = timezone.now()
    try:
        waited_for = queries.of_token(token=token, now=now)
    except InvalidToken:
        return page(request, "unsubscribe_invalid.html", status=404)
    if request.method == "POST":
        operations.cancel(alerts=waited_for, now=now)
        waited_for = []
    return page(request, "stock_alerts.html", count=len(waited_for))
