"""Which pages may read an answer: those of origins that the service or the shop itself named."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from saleor_personalize.conf import settings
from saleor_personalize.events import callers, tracking
from saleor_personalize.models import Installation
from saleor_personalize.saleor_api import installations

_MAX_URL = 500


def active(url: str) -> Installation | None:
    """Return the active installation of a shop's address, as somebody wrote it."""
    is_plausible = 0 < len(url) <= _MAX_URL and tracking.is_storable(url)
    return callers.active.get(url) if is_plausible else None


def asked_for(request: HttpRequest) -> str:
    """Return which shop a request is about, as far as it says before its body."""
    return request.GET.get("saleorApiUrl", "") or request.headers.get("Saleor-Api-Url", "")


def origins(installation: Installation | None) -> frozenset[str]:
    own = installation.storefront_origins if installation else []
    return frozenset([*settings.STOREFRONT_ORIGINS, *own])


def is_foreign(request: HttpRequest, installation: Installation) -> bool:
    """Tell whether a page of others asks. Apps and servers send no Origin; our own host may ask."""
    origin = request.headers.get("Origin", "")
    own = f"{request.scheme}://{request.get_host()}"
    return bool(origin) and origin != own and origin not in origins(installation)


def preflight(request: HttpRequest, *, method: str, headers: str) -> HttpResponse:
    """Answer a browser that asks first.

    Without `?saleorApiUrl=` it is not known yet which shop it is; the request itself will tell.
    """
    installation = active(asked_for(request))
    known = origins(installation)
    if installation is None:
        known |= installations.storefront_origins()
    response = HttpResponse(status=204)
    if request.headers.get("Origin", "") in known:
        response["Access-Control-Allow-Methods"] = method
        response["Access-Control-Allow-Headers"] = headers
        response["Access-Control-Max-Age"] = "86400"
    return shared(request, response, known)


def shared(request: HttpRequest, response: HttpResponse, known: frozenset[str]) -> HttpResponse:
    """Let an allowed page read the answer. Browsers send beacons "with credentials": we have none."""
    origin = request.headers.get("Origin", "")
    if origin in known:
        response["Access-Control-Allow-Origin"] = origin
        response["Access-Control-Allow-Credentials"] = "true"
    patch_vary_headers(response, ["Origin"])
    response["Cache-Control"] = "no-store"
    return response
