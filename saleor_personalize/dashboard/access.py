"""Who may look and who may act, and where our pages may be framed.

There are no cookies: the frame is a third party to the Dashboard. The page itself is empty; each
fragment is asked for with the token that the Dashboard hands to `bridge.js`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec, cast
from urllib.parse import urlsplit

from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csrf import csrf_exempt

import saleor_personalize
from saleor_personalize.audit import operations as audit
from saleor_personalize.conf import settings
from saleor_personalize.enums import AuditAction
from saleor_personalize.exceptions import AccessDenied, InvalidToken, KeysUnavailable
from saleor_personalize.models import Installation
from saleor_personalize.saleor_api.auth import read_dashboard_token
from saleor_personalize.saleor_api.installations import find_installation

TOKEN_HEADER = "authorization-bearer"  # noqa: S105 (a name, not a secret)
#: One of these lets a staff member look: the pages tell what customers ordered and left behind.
VIEW_PERMISSIONS = frozenset({"MANAGE_ORDERS", "MANAGE_CHECKOUTS"})
#: All of these let them act (go live, pause, settings, replay): it is written to customers then.
ACT_PERMISSIONS = frozenset({"MANAGE_ORDERS", "MANAGE_CHECKOUTS"})
#: Beside those of acting: who imports sees addresses of customers.
IMPORT_PERMISSIONS = ACT_PERMISSIONS | {"MANAGE_USERS"}
#: A server key reads and changes all that the app knows of people, so its maker must be allowed that...
KEY_PERMISSIONS = ACT_PERMISSIONS | {"MANAGE_USERS"}
#: ...and, as for a token of an app in Saleor itself, have this. Saleor gives it to no app.
KEY_OWN_PERMISSION = "MANAGE_APPS"

LOCALES = Path(saleor_personalize.__file__).parent / "locale"

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]
StaffView = Callable[Concatenate[HttpRequest, "Staff", P], HttpResponse]


@dataclass(frozen=True)
class Staff:
    """A staff member of one shop. `permissions` are those that they and our app both have."""

    installation: Installation
    permissions: frozenset[str]
    #: Those that they have, whatever the app has.
    own_permissions: frozenset[str] = frozenset()
    #: Saleor's id of them: on the record of whatever they decide about a person.
    user_id: str = ""
    #: Their own address, as Saleor has it.
    email: str = field(default="", repr=False)

    def record(
        self, action: AuditAction, *, on: models.Model | None = None, **detail: object
    ) -> None:
        """Write into the audit log what they did; see `audit.operations.record`."""
        audit.record(
            installation=self.installation,
            action=action,
            now=timezone.now(),
            staff_id=self.user_id,
            staff_email=self.email,
            on=on,
            detail=detail,
        )

    @property
    def can_act(self) -> bool:
        return self.permissions >= ACT_PERMISSIONS

    @property
    def can_import(self) -> bool:
        return self.permissions >= IMPORT_PERMISSIONS

    @property
    def can_manage_keys(self) -> bool:
        return self.permissions >= KEY_PERMISSIONS and KEY_OWN_PERMISSION in self.own_permissions

    @property
    def can_see_people(self) -> bool:
        return "MANAGE_USERS" in self.permissions


def read_staff(
    token: str,
    *,
    acts: bool,
    imports: bool = False,
    people: bool = False,
    keys: bool = False,
    outgoing: bool = False,
    push: bool = False,
) -> Staff:
    """Return whose token it is. Raises InvalidToken, KeysUnavailable, or AccessDenied for staff who may not."""
    claims = read_dashboard_token(token, now=timezone.now())
    staff = Staff(
        installation=claims.installation,
        permissions=claims.permissions,
        own_permissions=claims.own_permissions,
        user_id=claims.user_id,
        email=claims.email,
    )
    if not staff.permissions & VIEW_PERMISSIONS:
        raise AccessDenied(
            _(
                "You need the permission to manage orders or checkouts, and this app must have it "
                "too. Ask whoever manages staff in your Dashboard."
            )
        )
    if acts and not staff.can_act:
        raise AccessDenied(
            _(
                "You may look but not change anything here: that needs the permissions to manage "
                "orders and checkouts, for you and for this app."
            )
        )
    if imports and not staff.can_import:
        raise AccessDenied(
            _(
                "The files hold addresses of customers: importing needs the permissions to manage "
                "orders, checkouts and customers, for you and for this app."
            )
        )
    if people and not staff.can_see_people:
        raise AccessDenied(
            _(
                "This tells who somebody is and what they did: it needs the permission to manage "
                "customers, for you and for this app."
            )
        )
    if keys and not staff.can_manage_keys:
        raise AccessDenied(
            _(
                "A server key opens the data of all customers: it needs the permissions to manage "
                "orders, checkouts and customers, for you and for this app, and your own to manage apps."
            )
        )
    if outgoing and not staff.can_manage_keys:
        raise AccessDenied(
            _(
                "An outgoing webhook tells others about your customers: it needs the permissions to "
                "manage orders, checkouts and customers, for you and for this app, and your own to "
                "manage apps."
            )
        )
    if push and not staff.can_manage_keys:
        raise AccessDenied(
            _(
                "The service account writes to the devices of all your customers: it needs the permissions "
                "to manage orders, checkouts and customers, for you and for this app, and your own to "
                "manage apps."
            )
        )
    return staff


def staff_view(
    *,
    acts: bool = False,
    imports: bool = False,
    people: bool = False,
    keys: bool = False,
    outgoing: bool = False,
    push: bool = False,
    posts: bool | None = None,
) -> Callable[[StaffView[P]], View[P]]:
    """Give a fragment's view its `Staff`, in the reader's language; answer 401 or 403 otherwise.

    `acts`: the view changes something, so `ACT_PERMISSIONS` are needed and only POST is taken.
    `imports`: it shows rows of files, so `IMPORT_PERMISSIONS` are needed. `people`: it shows somebody, so
    MANAGE_USERS is needed. `keys`: it is about server keys, so `KEY_PERMISSIONS` and
    `KEY_OWN_PERMISSION` are needed; `outgoing`, about outgoing webhooks, and `push`, about
    the service account of Firebase, need the same. `posts`: take POST though nothing is changed, for what must stand in
    no address, and so in no log.
    """
    method = "POST" if (acts if posts is None else posts) else "GET"

    def decorate(view: StaffView[P]) -> View[P]:
        @csrf_exempt  # no cookie signs anybody in, so there is nothing to forge
        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if request.method != method:
                return HttpResponse(status=405)
            with translation.override(language_of(request)):
                needs = {
                    "acts": acts,
                    "imports": imports,
                    "people": people,
                    "keys": keys,
                    "outgoing": outgoing,
                    "push": push,
                }
                response = _answer(view, request, needs, *args, **kwargs)
                response["Content-Language"] = translation.get_language()
            response["Cache-Control"] = "no-store"
            return response

        return cast("View[P]", guarded)

    return decorate


def _answer(
    view: StaffView[P],
    request: HttpRequest,
    needs: dict[str, bool],
    *args: P.args,
    **kwargs: P.kwargs,
) -> HttpResponse:
    try:
        staff = read_staff(request.headers.get(TOKEN_HEADER, ""), **needs)
    except (InvalidToken, KeysUnavailable) as error:
        status = 401 if isinstance(error, InvalidToken) else 503
        return _refuse(request, status, _("The Dashboard's sign-in was not accepted"), str(error))
    except AccessDenied as error:
        return _refuse(request, 403, _("You may not do this"), str(error))
    return view(request, staff, *args, **kwargs)


def _refuse(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    context = {"title": title, "text": text}
    return render(request, "saleor_personalize/dashboard/refused.html", context, status=status)


def language_of(request: HttpRequest) -> str:
    """Return the language to answer in: the `locale` of the Dashboard, else what the browser asks for.

    English where we have no translation, so that a screen reader never reads it as another language.
    """
    try:
        language = translation.get_supported_language_variant(request.GET.get("locale", ""))
    except LookupError:
        language = translation.get_language_from_request(request)
    known = {"en"} | {folder.name for folder in LOCALES.iterdir()}
    return language if language.partition("-")[0] in known else "en"


def dashboard_origins(saleor_api_url: str) -> list[str]:
    """Return where a shop's Dashboard lives: `DASHBOARD_ORIGINS`, else the shop's own origin.

    Empty for a shop that did not install the app.
    """
    if settings.DASHBOARD_ORIGINS:
        return list(settings.DASHBOARD_ORIGINS)
    if find_installation(saleor_api_url) is None:
        return []
    parts = urlsplit(saleor_api_url)
    return [f"{parts.scheme}://{parts.netloc}"]


def framed_by(response: HttpResponse, origins: list[str]) -> HttpResponse:
    """Let a page be framed by these origins and run nothing but our own files."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": " ".join(origins) or "'none'",
    }
    response["Content-Security-Policy"] = "; ".join(f"{k} {v}" for k, v in policy.items())
    return response


framed = xframe_options_exempt
