"""Pages for shoppers. No login: a signed link is enough to say no."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from saleor_personalize.exceptions import InvalidToken
from saleor_personalize.messaging import links, operations

_PAGES = "saleor_personalize"


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Ask on GET, act on POST (RFC 8058 one-click, or the button of the page).

    Mail programs and scanners open links by themselves, so GET never changes anything.
    """
    try:
        claims = links.read_unsubscribe_token(token)
        if request.method == "POST":
            operations.unsubscribe(claims=claims, now=timezone.now())
            return page(request, "unsubscribe_done.html")
        shop_name = operations.sender_name(operations.installation_of(claims))
    except InvalidToken:
        return page(request, "unsubscribe_invalid.html", status=404)
    return page(request, "unsubscribe.html", shop_name=shop_name)


def page(request: HttpRequest, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
    """Render a page that only a signed link opens."""
    response = render(request, f"{_PAGES}/{template}", context, status=status)
    # The address holds the token.
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response
