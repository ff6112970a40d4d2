"""What this app tells Saleor about itself: `GET /api/manifest`.

Webhooks come from the classes that handle them. Saleor refuses a whole manifest over one event that
it does not know, so events newer than the shop are left out: Saleor names its version in
`Saleor-Schema-Version` when it fetches the manifest. It reads the manifest at install only; a shop that
upgrades gets the newer events when the app is installed again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import urljoin

from django.http import HttpRequest, JsonResponse
from django.templatetags.static import static
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from saleor_personalize.conf import settings
from saleor_personalize.ingestion.permissions import needed_permissions
from saleor_personalize.ingestion.subscriptions import SUBSCRIPTIONS
from saleor_personalize.saleor_api import documents

REQUIRED_SALEOR_VERSION = ">=3.20 <4"
OLDEST_SALEOR = (3, 20)

_SCHEMA_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\..*)?")


def webhooks(saleor_version: tuple[int, int]) -> list[dict[str, Any]]:
    """Return one webhook per event that this version of Saleor knows."""
    return [
        {
            "name": documents.typename(event),
            "asyncEvents": [event.upper()],
            "query": subscription.query(event),
            "targetUrl": f"{_base_url()}/webhooks/saleor/{event}/",
            "isActive": True,
        }
        for subscription in SUBSCRIPTIONS
        if subscription.since <= saleor_version
        for event in subscription.events
    ]


@dataclass(frozen=True)
class Extension:
    """A place in the Dashboard where the app shows itself, and since which version there is one.

    Without permissions of its own: Saleor fails the whole install when staff withhold one that an
    extension names. The Dashboard appends `url` to `appUrl`.
    """

    label: str
    mount: str
    url: str
    target: str = "APP_PAGE"
    options: Mapping[str, Any] | None = None
    since: tuple[int, int] = OLDEST_SALEOR

    def as_json(self) -> dict[str, Any]:
        options = {} if self.options is None else {"options": self.options}
        return {
            "label": self.label,
            "mount": self.mount,
            "target": self.target,
            "url": self.url,
            "permissions": [],
            **options,
        }


def extensions() -> list[Extension]:
    """Return where the app shows itself: entries of menus, and widgets, which are posted a form."""
    posted = {"widgetTarget": {"method": "POST"}}
    return [
        Extension(settings.APP_NAME, "NAVIGATION_CUSTOMERS", "/"),
        Extension(_("Abandoned checkouts"), "NAVIGATION_ORDERS", "/open/abandoned-checkouts"),
        Extension(_("Demand"), "NAVIGATION_CATALOG", "/open/demand"),
        Extension(
            # The Dashboard adds the customer's id to the URL.
            _("Show in %(app)s") % {"app": settings.APP_NAME},
            "CUSTOMER_DETAILS_MORE_ACTIONS",
            "/",
            target="POPUP",
        ),
        *(
            Extension(
                settings.APP_NAME,
                f"{page.upper()}_DETAILS_WIDGETS",
                f"/widgets/{page}/",
                target="WIDGET",
                options=posted,
                since=(3, 22),
            )
            for page in ("customer", "product", "order", "voucher")
        ),
        Extension(
            settings.APP_NAME,
            "HOMEPAGE_WIDGETS",
            "/widgets/home/",
            target="WIDGET",
            options={"homeWidgetTarget": {"method": "POST", "fullscreen": False}},
            since=(3, 23),
        ),
    ]


def build_manifest(saleor_version: tuple[int, int]) -> dict[str, Any]:
    """Return the manifest for a Saleor of that (major, minor) version."""
    base = _base_url()
    about_page = _absolute(static("saleor_personalize/about.html"))
    return {
        "id": settings.APP_ID,
        "version": version("saleor-personalize"),
        "name": settings.APP_NAME,
        "author": "The saleor-personalize maintainers",
        "about": _(
            "Treats each shopper as one person: recommendations for the storefront, and the right "
            "message at the right moment, to those who asked for it. Runs on your own servers."
        ),
        "requiredSaleorVersion": REQUIRED_SALEOR_VERSION,
        "permissions": needed_permissions(),
        "appUrl": f"{base}/dashboard",
        "tokenTargetUrl": f"{base}/api/register",
        "homepageUrl": about_page,
        "dataPrivacyUrl": f"{about_page}#privacy",
        "supportUrl": f"{about_page}#support",
        "brand": {"logo": {"default": _absolute(static("saleor_personalize/logo.png"))}},
        "extensions": [
            extension.as_json() for extension in extensions() if extension.since <= saleor_version
        ],
        "webhooks": webhooks(saleor_version),
    }


@require_safe
def manifest(request: HttpRequest) -> JsonResponse:
    """Serve the manifest for the Saleor that asks; for the oldest supported when it does not say."""
    if not settings.APP_URL:
        return JsonResponse(
            {
                "error": {
                    "code": "APP_URL_NOT_SET",
                    "message": "SALEOR_PERSONALIZE['APP_URL'] is not set: the public address of this "
                    "service, e.g. https://personalize.example.com.",
                }
            },
            status=500,
        )
    found = _SCHEMA_VERSION.fullmatch(request.headers.get("Saleor-Schema-Version", "").strip())
    saleor_version = (int(found[1]), int(found[2])) if found else OLDEST_SALEOR
    response = JsonResponse(build_manifest(saleor_version))
    response["Vary"] = "Saleor-Schema-Version"
    return response


def _base_url() -> str:
    return str(settings.APP_URL).rstrip("/")


def _absolute(path: str) -> str:
    """Return a static file's address: on a host of its own, or on ours beside any prefix of the app."""
    return urljoin(f"{_base_url()}/", path)
