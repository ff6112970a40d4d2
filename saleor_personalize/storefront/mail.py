"""Links of a mail: on to the shop, and to the mail itself in a browser. GET changes nothing of a person's."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.encoding import iri_to_uri
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from saleor_personalize.exceptions import InvalidToken, LinkExpired
from saleor_personalize.messaging import links, mail
from saleor_personalize.storefront.views import page

#: A mail is text and pictures: nothing in it may run, be sent or be framed.
_POLICY = (
    "default-src 'none'; img-src https: http: data:; style-src 'unsafe-inline'; font-src https: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-popups "
    "allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation"
)


@never_cache
@require_http_methods(["GET", "HEAD"])
def click(request: HttpRequest, token: str) -> HttpResponse:
    """Lead on to the shop, and note that the link was followed."""
    try:
        url = mail.follow(
            claims=links.read_click_token(token),
            user_agent=request.headers.get("User-Agent", ""),
            is_prefetch=request.method == "HEAD" or _is_prefetch(request),
            now=timezone.now(),
        )
    except LinkExpired:
        return page(request, "link_expired.html", status=410)
    except InvalidToken:
        return page(request, "link_invalid.html", status=404)
    # Any other class of response would refuse nothing that was not refused above.
    response = HttpResponse(status=302)
    response["Location"] = iri_to_uri(url)
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response


def _is_prefetch(request: HttpRequest) -> bool:
    purpose = (request.headers.get("Sec-Purpose", ""), request.headers.get("Purpose", ""))
    return any("prefetch" in each or "preview" in each for each in purpose)


@never_cache
@require_http_methods(["GET", "HEAD"])
def view(request: HttpRequest, token: str) -> HttpResponse:
    """Show a mail exactly as it was sent."""
    try:
        shown = mail.copy_of(claims=links.read_view_token(token), now=timezone.now())
    except LinkExpired:
        return page(request, "link_expired.html", status=410)
    except InvalidToken:
        return page(request, "link_invalid.html", status=404)
    response = HttpResponse(shown.html)
    response["Content-Security-Policy"] = _POLICY
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response
