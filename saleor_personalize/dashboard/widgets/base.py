"""How a widget is asked for, by whom it may be seen, and how its links lead to the pages of the app.

The Dashboard posts a form into a frame: `accessToken`, `saleorApiUrl`, `appId` and the id of what its page
shows. The answer is a whole page that needs no script; `widget.js` only tells the Dashboard how high it
is, and follows the theme of the reader's system where the form does not say the Dashboard's (`theme`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from urllib.parse import quote, urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from saleor_personalize.conf import settings
from saleor_personalize.dashboard.access import (
    Staff,
    dashboard_origins,
    framed,
    framed_by,
    language_of,
    read_staff,
)
from saleor_personalize.dashboard.views import TEMPLATES, Context
from saleor_personalize.exceptions import AccessDenied, InvalidToken, KeysUnavailable

_THEMES = ("light", "dark")
#: Saleor's global ids are shorter.
_MAX_ID = 500
Read = Callable[[HttpRequest, Staff, str], Context]


def widget(
    template: str, *, about: str = "", people: bool = False
) -> Callable[[Read], Callable[[HttpRequest], HttpResponse]]:
    """Make a widget of a function that reads what its template shows.

    `about`: the field of the form with the id of what the Dashboard's page is about. `people`: it tells of
    somebody, so MANAGE_USERS is needed, as on the pages.
    """

    def decorate(read: Read) -> Callable[[HttpRequest], HttpResponse]:
        @framed
        @csrf_exempt  # no cookie signs anybody in: the form carries the token
        @require_POST
        @functools.wraps(read)
        def view(request: HttpRequest) -> HttpResponse:
            with translation.override(language_of(request)):
                response = _answer(read, request, template, about, people)
                response["Content-Language"] = translation.get_language()
            response["Cache-Control"] = "no-store"
            return response

        return view

    return decorate


def _answer(
    read: Read, request: HttpRequest, template: str, about: str, people: bool
) -> HttpResponse:
    try:
        staff = read_staff(request.POST.get("accessToken", ""), people=people)
    except (InvalidToken, KeysUnavailable) as error:
        status = 401 if isinstance(error, InvalidToken) else 503
        title = _("The Dashboard's sign-in was not accepted")
        return _refuse(request, status, title, str(error))
    except AccessDenied as error:
        return _refuse(request, 403, _("You may not do this"), str(error))
    shop = staff.installation
    context = read(request, staff, request.POST.get(about, "")[:_MAX_ID].replace("\x00", ""))
    return _page(request, template, dashboard_origins(shop.saleor_api_url), context)


def _refuse(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    origins = dashboard_origins(request.POST.get("saleorApiUrl", ""))
    context = {"title": title, "text": text}
    return _page(request, "refused.html", origins, context, status=status)


def _page(
    request: HttpRequest, template: str, origins: list[str], context: Context, status: int = 200
) -> HttpResponse:
    theme = request.POST.get("theme", "")
    shown = {
        "language": translation.get_language(),
        "theme": theme if theme in _THEMES else "",
        "origins": origins,
        "app_name": settings.APP_NAME,
        "now": timezone.now(),
        **context,
    }
    response = render(request, f"{TEMPLATES}widgets/{template}", shown, status=status)
    return framed_by(response, origins)


def link(request: HttpRequest, staff: Staff, page: str = "", **query: str) -> str:
    """Return where the Dashboard shows a page of this app: `page` is its key in the menu.

    A frame that was posted to is not listened to when it asks to be taken elsewhere, so it is a link of
    its own, on the origin that posted.
    """
    origins = dashboard_origins(staff.installation.saleor_api_url)
    asked_from = request.headers.get("Origin", "")
    origin = asked_from if asked_from in origins else (origins or [""])[0]
    path = f"extensions/app/{quote(staff.installation.app_id, safe='')}/"
    return "".join(
        [
            origin,
            settings.DASHBOARD_PATH,
            path,
            f"open/{page}/" if page else "",
            f"?{urlencode(query)}" if query else "",
        ]
    )
