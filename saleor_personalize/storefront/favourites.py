"""The page under a shared link: what somebody keeps and can be bought now, and not a word about them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.events import favourites
from saleor_personalize.messaging import links
from saleor_personalize.messaging.operations import sender_name
from saleor_personalize.storefront.views import page

_POLICY = (
    "default-src 'none'; img-src https: http:; style-src 'unsafe-inline'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@never_cache
@require_safe
def shared(request: HttpRequest, token: str) -> HttpResponse:
    """Show the products under a link; 404 for one that was withdrawn or never was."""
    link = favourites.link_of(token)
    if link is None or link.installation.status == InstallationStatus.UNINSTALLED:
        response = page(request, "favourites_gone.html", status=404)
    else:
        found = favourites.shared(link=link, now=timezone.now())
        response = page(
            request,
            "favourites.html",
            shop_name=sender_name(link.installation),
            products=[
                {"name": one.product.name, "image": one.product.thumbnail_url, "url": _url(one)}
                for one in found
            ],
        )
    response["Content-Security-Policy"] = _POLICY
    return response


def _url(found: favourites.Shown) -> str:
    """Return the product's page in the storefront, or "" when PRODUCT_URL is not set."""
    return links.product_url(
        slug=found.product.slug, product_id=found.product_id, channel_slug=found.channel_slug
    )
