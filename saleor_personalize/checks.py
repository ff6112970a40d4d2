"""System checks: one id per fault, each with its fix. `docs/reference/checks.md` lists them.

They look at settings only and touch neither database nor network; `doctor` does that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.conf.locale import LANG_INFO
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.db import connection

from saleor_personalize.conf import (
    SETTING_NAME,
    Defaults,
    build_backend,
    build_one,
    is_origin,
    known_names,
    settings,
    unknown_name_hint,
)
from saleor_personalize.enums import ConsentRule
from saleor_personalize.exceptions import ConfigurationError
from saleor_personalize.recommendations import placements
from saleor_personalize.segments.rules import known_rules

APP = "saleor_personalize"


#: type of a setting as `Defaults` writes it -> (whether a value will do, what it must be in words)
_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda v: isinstance(v, str), "a text"),
    "str | None": (lambda v: v is None or isinstance(v, str), "a text or None"),
    "str | Path": (lambda v: isinstance(v, str | Path), "a text or a Path"),
    "bool": (lambda v: isinstance(v, bool), "True or False"),
    "int": (lambda v: type(v) is int and v > 0, "a whole number above 0"),
    "Count": (lambda v: type(v) is int and v >= 0, "a whole number, 0 or more"),
    "float": (lambda v: type(v) in (int, float) and v > 0, "a number above 0"),
    "timedelta": (
        lambda v: isinstance(v, timedelta) and v >= timedelta(0),
        "a timedelta, such as timedelta(hours=1)",
    ),
    "timedelta | None": (
        lambda v: v is None or (isinstance(v, timedelta) and v >= timedelta(0)),
        "a timedelta, such as timedelta(days=30), or None",
    ),
    "Sequence[str]": (
        lambda v: isinstance(v, list | tuple) and all(isinstance(item, str) for item in v),
        'a list of texts, such as ["...", "..."]',
    ),
    "Backends": (lambda v: isinstance(v, Mapping), "a dict"),
    "Mapping[str, str | None]": (lambda v: isinstance(v, Mapping), "a dict"),
    "Mapping[str, timedelta | None]": (
        lambda v: (
            isinstance(v, Mapping)
            and all(each is None or isinstance(each, timedelta) for each in v.values())
        ),
        'a dict of timedeltas, such as {"checkouts": timedelta(days=90)}',
    ),
    "Mapping[str, Any]": (lambda v: isinstance(v, Mapping), "a dict"),
    "str | Mapping[str, Any]": (lambda v: isinstance(v, str | Mapping), "a text or a dict"),
}


def _at(name: str, key: str | None = None) -> str:
    return f"{SETTING_NAME}[{name!r}]" + (f"[{key!r}]" if key is not None else "")


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    """Run every check; with an unknown name or a wrong type only those, since the rest is unreadable."""
    return [*_names(), *_types()] or [
        *_database(),
        *_app_url(),
        *_installs(),
        *_origins(),
        *_keys(),
        *_backends(),
        *_placements(),
        *_languages(),
        *_pages(),
        *_mail(),
        *_events(),
        *_segment_rules(),
        *_lifecycle(),
        *_imports(),
        *_consent(),
        *_privacy(),
    ]


def _names() -> Iterator[CheckMessage]:
    given = getattr(django_settings, SETTING_NAME, {})
    for name in given:
        if name not in known_names():
            yield Error(
                f"{_at(name)} is not a setting.", hint=unknown_name_hint(name), id=f"{APP}.E001"
            )


def _types() -> Iterator[CheckMessage]:
    given = getattr(django_settings, SETTING_NAME, {})
    for setting in fields(Defaults):
        if setting.name not in given:
            continue
        value = given[setting.name]
        will_do, words = _TYPES[str(setting.type)]
        if not will_do(value):
            # Numbers are shown; a text, list or dict may hold a secret.
            is_harmless = value is None or isinstance(value, int | float | timedelta)
            shown = repr(value) if is_harmless else f"of type {type(value).__name__}"
            yield Error(
                f"{_at(setting.name)} is {shown}, which cannot be used.",
                hint=f"It must be {words}.",
                id=f"{APP}.E012",
            )


def _database() -> Iterator[CheckMessage]:
    # Without any database Django itself tells what is missing, where one is needed.
    if connection.vendor not in {"postgresql", "unknown"}:
        yield Error(
            f"DATABASES['default'] is {connection.vendor}: waiting rows are claimed as only PostgreSQL can.",
            hint="Use the engine django.db.backends.postgresql.",
            id=f"{APP}.E013",
        )


def _app_url() -> Iterator[CheckMessage]:
    url = settings.APP_URL
    if not url:
        yield Warning(
            f"{_at('APP_URL')} is not set: the app cannot be installed.",
            hint="Set it to the public address of this service, such as https://personalize.example.com.",
            id=f"{APP}.W002",
        )
        return
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        yield Error(
            f"{_at('APP_URL')} is {url!r}, which is no web address.",
            hint="Write scheme and host, such as https://personalize.example.com.",
            id=f"{APP}.E002",
        )
    elif parts.scheme != "https" and not django_settings.DEBUG and not _is_local(parts.hostname):
        yield Warning(
            f"{_at('APP_URL')} is {url!r}: tokens and customers' data travel unencrypted.",
            hint="Serve the app over https. Dashboards on https refuse to show an http page.",
            id=f"{APP}.W003",
        )


def _is_local(host: str) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"}


def _installs() -> Iterator[CheckMessage]:
    patterns = settings.ALLOWED_SALEOR_API_URLS
    if not patterns and not django_settings.DEBUG:
        yield Warning(
            f"{_at('ALLOWED_SALEOR_API_URLS')} is empty: no shop can install the app.",
            hint=r"Add a regular expression of your Saleor API, such as https://shop\.example\.com/graphql/.",
            id=f"{APP}.W001",
        )
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            yield Error(
                f"{_at('ALLOWED_SALEOR_API_URLS')} holds {pattern!r}, which is no regular expression: {error}.",
                hint="Escape special characters with a backslash.",
                id=f"{APP}.E003",
            )


def _origins() -> Iterator[CheckMessage]:
    for setting, fault in (("DASHBOARD_ORIGINS", "E004"), ("STOREFRONT_ORIGINS", "E030")):
        for origin in getattr(settings, setting):
            if not is_origin(origin):
                yield Error(
                    f"{_at(setting)} holds {origin!r}, which is no origin.",
                    hint="Write scheme and host without a path or a closing slash: https://dashboard.example.com.",
                    id=f"{APP}.{fault}",
                )


def _keys() -> Iterator[CheckMessage]:
    for position, key in enumerate(settings.ENCRYPTION_KEYS):
        try:
            Fernet(key)
        except ValueError:
            # The value is a secret, even when it is a wrong one.
            yield Error(
                f"{_at('ENCRYPTION_KEYS')}[{position}] is not a Fernet key.",
                hint="Make one with `saleor-personalize generate-key`.",
                id=f"{APP}.E005",
            )
    if not settings.ENCRYPTION_KEYS and not django_settings.DEBUG:
        yield Warning(
            f"{_at('ENCRYPTION_KEYS')} is empty: tokens and addresses are encrypted with a key derived "
            "from SECRET_KEY, so changing SECRET_KEY makes them unreadable.",
            hint="Set a key of its own: `saleor-personalize generate-key`.",
            id=f"{APP}.W004",
        )


def _backends() -> Iterator[CheckMessage]:
    for setting, fault in (("RECOMMENDERS", "E006"), ("CHANNELS", "E007")):
        for alias, entry in getattr(settings, setting).items():
            is_readable = isinstance(entry, str) or (
                isinstance(entry, Mapping) and isinstance(entry.get("BACKEND"), str)
            )
            if not is_readable:
                yield Error(
                    f"{_at(setting, alias)} is neither a dotted path nor a dict with BACKEND.",
                    hint='Write "package.module.Class" or {"BACKEND": "package.module.Class", "OPTIONS": {}}.',
                    id=f"{APP}.E008",
                )
                continue
            try:
                build_backend(setting, alias)
            except ConfigurationError as error:
                yield Error(
                    str(error),
                    hint="Mend the dotted path or its OPTIONS, or set the alias to None to remove it.",
                    id=f"{APP}.{fault}",
                )


def _placements() -> Iterator[CheckMessage]:
    for key, entry in settings.PLACEMENTS.items():
        for fault in placements.faults_of(entry):
            if isinstance(fault, placements.UnknownRecommender):
                yield Error(
                    f"{_at('PLACEMENTS', key)} names {fault.alias!r}, which RECOMMENDERS does not have.",
                    hint=fault.hint,
                    id=f"{APP}.E010",
                )
            else:
                yield Error(
                    f"{_at('PLACEMENTS', key)} cannot be read: {fault}",
                    hint='List aliases of RECOMMENDERS, first choice first, such as ["similar", "popular"], '
                    "or write a dict of RECOMMENDERS, FALLBACK and OPTIONS.",
                    id=f"{APP}.E009",
                )


_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8}){0,2}")


def _languages() -> Iterator[CheckMessage]:
    for code in settings.PRODUCT_LANGUAGES:
        if not _LANGUAGE.fullmatch(code) or code.partition("-")[0] not in LANG_INFO:
            yield Error(
                f"{_at('PRODUCT_LANGUAGES')} holds {code!r}, which is no language: Saleor would refuse to "
                "install the app.",
                hint='Write codes in small letters, such as "de" or "pt-br".',
                id=f"{APP}.E014",
            )


_SLUG = re.compile(r"[\w-]+")


def _pages() -> Iterator[CheckMessage]:
    for setting in ("PAGE_TYPES", "PAGE_TAG_ATTRIBUTES"):
        for slug in getattr(settings, setting):
            if not _SLUG.fullmatch(slug):
                yield Error(
                    f"{_at(setting)} holds {slug!r}, which is no slug.",
                    hint='Copy the slug from Saleor\'s Dashboard, such as "blog-post": letters, digits, "-" and "_".',
                    id=f"{APP}.E015",
                )


def _mail() -> Iterator[CheckMessage]:
    url = settings.CHECKOUT_URL
    if url and "{checkout_id}" not in url:
        yield Error(
            f"{_at('CHECKOUT_URL')} is {url!r}: every reminder would link to the same page.",
            hint="Put {checkout_id} where the cart's id belongs: https://store.example/checkout?checkout={checkout_id}.",
            id=f"{APP}.E011",
        )


def _events() -> Iterator[CheckMessage]:
    if settings.EVENT_RETENTION is None:
        yield Warning(
            f"{_at('EVENT_RETENTION')} is None: what people did is kept for ever.",
            hint="Set how long you need it, such as timedelta(days=395). Many laws ask for an end.",
            id=f"{APP}.W030",
        )
    elif settings.EVENT_RETENTION <= settings.TRACK_MAX_AGE:
        yield Error(
            f"{_at('EVENT_RETENTION')} is {settings.EVENT_RETENTION}, not longer than TRACK_MAX_AGE "
            f"({settings.TRACK_MAX_AGE}): events would be taken that are past it already.",
            hint="Keep events longer than late ones are accepted.",
            id=f"{APP}.E031",
        )


def _segment_rules() -> Iterator[CheckMessage]:
    try:
        known_rules()
    except ConfigurationError as error:
        yield Error(
            str(error),
            hint="List dotted paths of rules; to keep the built-in ones, start from "
            "saleor_personalize.conf.Defaults().SEGMENT_RULES.",
            id=f"{APP}.E040",
        )


def _lifecycle() -> Iterator[CheckMessage]:
    at_risk, lapsed = settings.LIFECYCLE_AT_RISK_SHARE, settings.LIFECYCLE_LAPSED_SHARE
    if not 0 < at_risk < lapsed <= 1:
        yield Error(
            f"{_at('LIFECYCLE_AT_RISK_SHARE')} is {at_risk} and LIFECYCLE_LAPSED_SHARE {lapsed}: nobody "
            "could be at risk before they are lapsed.",
            hint="Set shares between 0 and 1, the first the smaller one, such as 0.8 and 0.95.",
            id=f"{APP}.E090",
        )
    soon, late = settings.LIFECYCLE_AT_RISK_AFTER, settings.LIFECYCLE_LAPSED_AFTER
    if not timedelta(days=1) <= soon < late:
        yield Error(
            f"{_at('LIFECYCLE_AT_RISK_AFTER')} is {soon} and LIFECYCLE_LAPSED_AFTER {late}.",
            hint="Set a day or more, the first the shorter one, such as 90 and 365 days.",
            id=f"{APP}.E091",
        )


def _consent() -> Iterator[CheckMessage]:
    for code, rule in settings.CONSENT_RULES.items():
        if code != "*" and not re.fullmatch("[A-Z]{2}", str(code)):
            yield Error(
                f"{_at('CONSENT_RULES')} has the key {code!r}, which is no country.",
                hint='Use two capital letters as in "DE", or "*" for all other countries.',
                id=f"{APP}.E050",
            )
        elif rule not in ConsentRule.values:
            yield Error(
                f"{_at('CONSENT_RULES', code)} is {rule!r}, which is no rule.",
                hint=f"Known: {', '.join(ConsentRule.values)}.",
                id=f"{APP}.E051",
            )
        elif code == "*" and rule == ConsentRule.SOFT_OPT_IN:
            yield Error(
                f"{_at('CONSENT_RULES', code)} is {rule!r}: not every country allows that.",
                hint="Name the countries whose law you checked, and leave the others to another rule.",
                id=f"{APP}.E052",
            )
    for topic in settings.TOPICS:
        if not re.fullmatch("[a-z0-9_]{1,60}", str(topic)):
            yield Error(
                f"{_at('TOPICS')} has the key {topic!r}.",
                hint="Use 1 to 60 small letters, digits and '_'; the label is the value.",
                id=f"{APP}.E053",
            )
    for topic in settings.SOFT_OPT_IN_TOPICS:
        if topic not in settings.TOPICS:
            yield Error(
                f"{_at('SOFT_OPT_IN_TOPICS')} names {topic!r}, which TOPICS does not have.",
                hint=f"Known: {', '.join(settings.TOPICS)}.",
                id=f"{APP}.E054",
            )
    for name in ("CONFIRMATION_EXPIRY", "CONFIRMATION_INTERVAL"):
        if getattr(settings, name) < timedelta(hours=1):
            yield Error(
                f"{_at(name)} is {getattr(settings, name)}.",
                hint="Set it to an hour or more.",
                id=f"{APP}.E055",
            )


def _imports() -> Iterator[CheckMessage]:
    entry = settings.IMPORT_STORAGE
    try:
        if not isinstance(entry, str) and not isinstance(entry.get("BACKEND"), str):
            raise ConfigurationError(f"{_at('IMPORT_STORAGE')} is a dict without BACKEND.")  # noqa: TRY301
        build_one("IMPORT_STORAGE")
    except ConfigurationError as error:
        yield Error(
            str(error),
            hint='Name a storage of Django, such as {"BACKEND": '
            '"django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": "/srv/imports"}}.',
            id=f"{APP}.E060",
        )
    if not settings.IMPORT_RETENTION:
        yield Error(
            f"{_at('IMPORT_RETENTION')} is 0: an uploaded file could go before it is imported.",
            hint="Set how long refused rows and forgotten uploads are kept, such as timedelta(days=30).",
            id=f"{APP}.E061",
        )
    url = settings.PRODUCT_URL
    if url and "{slug}" not in url and "{product_id}" not in url:
        yield Error(
            f"{_at('PRODUCT_URL')} is {url!r}: every product would link to the same page.",
            hint="Put {slug} or {product_id} where it belongs: https://store.example/products/{slug}.",
            id=f"{APP}.E062",
        )


def _privacy() -> Iterator[CheckMessage]:
    known = Defaults().RETENTION
    for kind, kept in settings.RETENTION.items():
        if kind not in known:
            yield Error(
                f"{_at('RETENTION')} has the key {kind!r}, which is no kind of data.",
                hint=f"Known: {', '.join(known)}.",
                id=f"{APP}.E070",
            )
        elif kept is not None and kept < timedelta(days=1):
            yield Error(
                f"{_at('RETENTION', kind)} is {kept}: data would go while it is still needed.",
                hint="Set it to a day or more, or to None to keep it for ever.",
                id=f"{APP}.E071",
            )
    expiry = settings.ABANDONED_CHECKOUT_EXPIRY
    for kind in ("checkouts", "enrollments", "messages"):
        kept = settings.RETENTION.get(kind)
        if kept is not None and kept <= expiry:
            yield Error(
                f"{_at('RETENTION', kind)} is {kept}, not longer than ABANDONED_CHECKOUT_EXPIRY ({expiry}): "
                "a cart could be written about twice.",
                hint="Keep it longer than carts are reminded of.",
                id=f"{APP}.E072",
            )
    confirmed = settings.RETENTION.get("unconfirmed_consents")
    if confirmed is not None and confirmed <= settings.CONFIRMATION_EXPIRY:
        yield Error(
            f"{_at('RETENTION', 'unconfirmed_consents')} is {confirmed}, not longer than "
            f"CONFIRMATION_EXPIRY ({settings.CONFIRMATION_EXPIRY}): links would stop to work early.",
            hint="Keep what waits longer than the links that confirm it work.",
            id=f"{APP}.E073",
        )
