"""Who may look and who may act, and where our pages may be framed.

There are no cookies: the frame is a third party to the Dashboard. The page itself is empty; each
fragment is asked for with the token that the Dashboard hands to `bridge.js`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec, TypedDict, Unpack, cast
from urllib.parse import urlsplit

from django.db import models
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csrf import csrf_exempt

import saleor_personalize
from saleor_personalize.audit import operations as audit
from saleor_personalize.conf import ROLES, settings
from saleor_personalize.dashboard import navigation, words
from saleor_personalize.enums import AuditAction
from saleor_personalize.exceptions import AccessDenied, InvalidToken, KeysUnavailable
from saleor_personalize.ingestion.permissions import needed_permissions
from saleor_personalize.models import Installation
from saleor_personalize.saleor_api.auth import read_dashboard_token
from saleor_personalize.saleor_api.installations import find_installation

TOKEN_HEADER = "authorization-bearer"  # noqa: S105 (a name, not a secret)
#: A server key, an outgoing webhook and the account of push open all that the app knows of people...
KEY_PERMISSIONS = frozenset({"MANAGE_ORDERS", "MANAGE_CHECKOUTS", "MANAGE_USERS"})
#: ...and, as for a token of an app in Saleor itself, this is needed. Saleor gives it to no app.
KEY_OWN_PERMISSION = "MANAGE_APPS"

LOCALES = Path(saleor_personalize.__file__).parent / "locale"

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
StaffView = Callable[Concatenate[HttpRequest, "Staff", P], HttpResponseBase]


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
            actor=audit.Actor(self.user_id, self.email),
            on=on,
            detail=detail,
        )

    def has(self, permission: str) -> bool:
        """Tell whether they may: what the app asks Saleor for counts only where the app has it as well."""
        if permission in needed_permissions():
            return permission in self.permissions
        return permission in self.permissions | self.own_permissions

    @property
    def can_view(self) -> bool:
        """The pages tell what customers ordered and left behind."""
        return any(map(self.has, settings.DASHBOARD_ROLES["view"]))

    @property
    def can_act(self) -> bool:
        return self.can_view and all(map(self.has, settings.DASHBOARD_ROLES["edit"]))

    @property
    def can_send(self) -> bool:
        """It is written to customers then."""
        return self.can_act and all(map(self.has, settings.DASHBOARD_ROLES["send"]))

    @property
    def can_see_people(self) -> bool:
        return self.can_view and self.has("MANAGE_USERS")

    @property
    def can_import(self) -> bool:
        return self.can_act and self.can_see_people

    @property
    def can_manage_keys(self) -> bool:
        return (
            self.can_act
            and self.permissions >= KEY_PERMISSIONS
            and KEY_OWN_PERMISSION in self.own_permissions
        )


class Needs(TypedDict, total=False):
    """What a view asks of whoever calls it, beside that they may look."""

    #: It changes something.
    acts: bool
    #: Something goes to customers because of it, now or later.
    sends: bool
    #: It tells who somebody is.
    people: bool
    #: It handles files with addresses of customers.
    imports: bool
    #: It hands out, or deletes, all that is known of a person.
    whole: bool
    #: It is about server keys; about outgoing webhooks; about the service account of Firebase.
    keys: bool
    outgoing: bool
    push: bool


#: need -> (the property of `Staff` that says who may, the sentence for whoever may not)
_NEEDED = {
    "view": (
        "can_view",
        gettext_lazy(
            "You need one of these permissions, and this app must have it too: %(view)s. Ask whoever "
            "manages staff in your Dashboard."
        ),
    ),
    "acts": (
        "can_act",
        gettext_lazy(
            "You may look but not change anything here: that needs these permissions, for you and for "
            "this app: %(edit)s."
        ),
    ),
    "sends": (
        "can_send",
        gettext_lazy(
            "You may not have anything sent to customers: that needs these permissions, for you and for "
            "this app: %(send)s."
        ),
    ),
    "imports": (
        "can_import",
        gettext_lazy(
            "The files hold addresses of customers: importing needs the permissions to manage "
            "orders, checkouts and customers, for you and for this app."
        ),
    ),
    "whole": (
        "can_import",
        gettext_lazy(
            "A person's data may be exported and erased with the permissions to manage orders, checkouts "
            "and customers, for you and for this app."
        ),
    ),
    "people": (
        "can_see_people",
        gettext_lazy(
            "This tells who somebody is and what they did: it needs the permission to manage "
            "customers, for you and for this app."
        ),
    ),
    "keys": (
        "can_manage_keys",
        gettext_lazy(
            "A server key opens the data of all customers: it needs the permissions to manage "
            "orders, checkouts and customers, for you and for this app, and your own to manage apps."
        ),
    ),
    "outgoing": (
        "can_manage_keys",
        gettext_lazy(
            "An outgoing webhook tells others about your customers: it needs the permissions to "
            "manage orders, checkouts and customers, for you and for this app, and your own to "
            "manage apps."
        ),
    ),
    "push": (
        "can_manage_keys",
        gettext_lazy(
            "The service account writes to the devices of all your customers: it needs the permissions "
            "to manage orders, checkouts and customers, for you and for this app, and your own to "
            "manage apps."
        ),
    ),
}


def why_not(staff: Staff, need: str) -> str:
    """Return the sentence that tells a staff member what they may not and what that takes; empty: they may."""
    may, sentence = _NEEDED[need]
    if getattr(staff, may):
        return ""
    names = {
        role: ", ".join(map(words.permission, permissions)) for role, permissions in roles().items()
    }
    return str(sentence) % names


def roles() -> dict[str, list[str]]:
    """Return the permissions of each role, those of the roles it includes among them."""
    view, edit, send = (list(settings.DASHBOARD_ROLES[role]) for role in ROLES)
    edit = list(dict.fromkeys(edit))
    return {"view": view, "edit": edit, "send": list(dict.fromkeys([*edit, *send]))}


def _refusal(staff: Staff, needs: Mapping[str, object]) -> str:
    """Return what speaks against a staff member, of all that is needed the first; "": nothing."""
    told = (why_not(staff, need) for need, is_needed in needs.items() if is_needed)
    return next(filter(None, told), "")


def read_staff(token: str, **needs: Unpack[Needs]) -> Staff:
    """Return whose token it is. Raises InvalidToken, KeysUnavailable, or AccessDenied for staff who may not."""
    claims = read_dashboard_token(token, now=timezone.now())
    staff = Staff(
        installation=claims.installation,
        permissions=claims.permissions,
        own_permissions=claims.own_permissions,
        user_id=claims.user_id,
        email=claims.email,
    )
    if refusal := _refusal(staff, {"view": True, **needs}):
        raise AccessDenied(refusal)
    return staff


def staff_view(
    *, posts: bool | None = None, **needs: Unpack[Needs]
) -> Callable[[StaffView[P]], View[P]]:
    """Give a fragment's view its `Staff`, in the reader's language; answer 401 or 403 otherwise.

    A view that acts or sends takes only POST, and writes what was done into the audit log
    (`Staff.record`). `posts`: take POST though nothing is changed, for what must stand in no address,
    and so in no log.
    """
    changes = needs.get("acts", False) or needs.get("sends", False)
    method = "POST" if (changes if posts is None else posts) else "GET"

    def decorate(view: StaffView[P]) -> View[P]:
        @csrf_exempt  # no cookie signs anybody in, so there is nothing to forge
        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if request.method != method:
                return HttpResponse(status=405)
            with translation.override(language_of(request)):
                response = _answer(view, request, needs, *args, **kwargs)
                response["Content-Language"] = translation.get_language()
            response["Cache-Control"] = "no-store"
            return response

        return cast("View[P]", guarded)

    return decorate


def _answer(
    view: StaffView[P],
    request: HttpRequest,
    needs: Needs,
    *args: P.args,
    **kwargs: P.kwargs,
) -> HttpResponseBase:
    try:
        staff = read_staff(request.headers.get(TOKEN_HEADER, ""))
    except (InvalidToken, KeysUnavailable) as error:
        status = 401 if isinstance(error, InvalidToken) else 503
        return _refuse(request, status, _("The Dashboard's sign-in was not accepted"), str(error))
    except AccessDenied as error:
        return _refuse(request, 403, _("You may not do this"), str(error))
    if refusal := _refusal(staff, needs):
        # Whoever may look goes on elsewhere.
        menu = navigation.GROUPS
        return _refuse(request, 403, _("You may not do this"), refusal, navigation=menu)
    return view(request, staff, *args, **kwargs)


def _refuse(
    request: HttpRequest, status: int, title: str, text: str, **more: object
) -> HttpResponse:
    context = {"title": title, "text": text, **more}
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
