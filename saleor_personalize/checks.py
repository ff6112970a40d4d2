"""System checks: one id per fault, each with its fix. `docs/reference/checks.md` lists them.

They look at settings only and touch neither database nor network; `doctor` does that.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from email.utils import getaddresses, parseaddr
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.conf.locale import LANG_INFO
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.core.exceptions import ValidationError
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.core.validators import validate_email
from django.db import connection

from saleor_personalize.conf import (
    ROLES,
    SETTING_NAME,
    Defaults,
    build_backend,
    build_one,
    entry_fault,
    is_origin,
    known_names,
    settings,
    unknown_name_hint,
)
from saleor_personalize.enums import ConsentRule, DeliveryChannel
from saleor_personalize.exceptions import ConfigurationError, UnknownAlias
from saleor_personalize.hints import offering
from saleor_personalize.journeys.definitions import MAX_HOLDOUT
from saleor_personalize.journeys.triggers import known_triggers
from saleor_personalize.messaging import pace
from saleor_personalize.messaging.channels import connections
from saleor_personalize.messaging.channels.base import Channel
from saleor_personalize.messaging.channels.email import EmailChannel
from saleor_personalize.messaging.channels.sms import TextMessageChannel
from saleor_personalize.messaging.clocks import clock_time, zone_named
from saleor_personalize.ml.base import Recommender
from saleor_personalize.offers.terms import TermsRefused
from saleor_personalize.recommendations import placements
from saleor_personalize.segments.rules import known_rules

APP = "saleor_personalize"
#: Seconds that one outgoing delivery may take at most.
_LONGEST_TRY = 60


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
    "Mapping[str, int | None]": (lambda v: isinstance(v, Mapping), "a dict"),
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
        *_dashboard_path(),
        *_docs_url(),
        *_keys(),
        *_backends(),
        *_channels(),
        *_placements(),
        *_languages(),
        *_pages(),
        *_mail(),
        *_events(),
        *_segment_rules(),
        *_lifecycle(),
        *_experiments(),
        *_imports(),
        *_consent(),
        *_privacy(),
        *_journeys(),
        *_pace(),
        *_stock_and_prices(),
        *_inbox(),
        *_texts(),
        *_bus(),
        *_hints(),
        *_offers(),
        *_roles(),
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


def _dashboard_path() -> Iterator[CheckMessage]:
    path = settings.DASHBOARD_PATH
    if not re.fullmatch(r"/([\w.~-]+/)*", path):
        yield Error(
            f"{_at('DASHBOARD_PATH')} is {path!r}, which is no path.",
            hint='Begin and end with a slash: "/dashboard/", or "/" where the Dashboard stands alone.',
            id=f"{APP}.E118",
        )


def _docs_url() -> Iterator[CheckMessage]:
    url = settings.DOCS_URL
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.fragment):
        yield Error(
            f"{_at('DOCS_URL')} is {url!r}, which is no web address.",
            hint="Write where the folder docs is read, such as https://docs.example.com/personalize.",
            id=f"{APP}.E119",
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
    for setting, fault, base in (
        ("RECOMMENDERS", "E006", Recommender),
        ("CHANNELS", "E007", Channel),
    ):
        for alias, entry in getattr(settings, setting).items():
            if fault_of_entry := entry_fault(entry):
                yield Error(
                    f"{_at(setting, alias)} {fault_of_entry}.",
                    hint='Write "package.module.Class" or {"BACKEND": "package.module.Class", "OPTIONS": {}}.',
                    id=f"{APP}.E008",
                )
                continue
            try:
                found = build_backend(setting, alias)
            except ConfigurationError as error:
                yield Error(
                    str(error),
                    hint="Mend the dotted path or its OPTIONS, or set the alias to None to remove it.",
                    id=f"{APP}.{fault}",
                )
                continue
            if not isinstance(found, base):
                yield Error(
                    f"{_at(setting, alias)} is {type(found).__name__}, which is no {base.__name__}.",
                    hint=f"Subclass {base.__module__}.{base.__name__}.",
                    id=f"{APP}.E016",
                )


def _channels() -> Iterator[CheckMessage]:
    for alias in settings.CHANNELS:
        if alias not in DeliveryChannel.values:
            yield Error(
                f"{_at('CHANNELS')} has the key {alias!r}, which is no delivery channel.",
                hint=f"Known: {', '.join(DeliveryChannel.values)}.",
                id=f"{APP}.E017",
            )
    for number, path, fault in _providers_of_email():
        yield Error(
            f"{_at('CHANNELS', 'email')}: provider {number}, {path}, cannot be made: {fault}",
            hint="Mend its dotted path (EMAIL_BACKEND, EMAIL_FALLBACK_BACKEND), its OPTIONS or what its "
            "library asks for.",
            id=f"{APP}.E018",
        )


def _providers_of_email() -> Iterator[tuple[int, str, str]]:
    """Yield number, path and fault of each provider of e-mail that a message could not go by."""
    try:
        found = build_backend("CHANNELS", DeliveryChannel.EMAIL)
    except (ConfigurationError, UnknownAlias):
        return
    if not isinstance(found, EmailChannel):
        return
    for number, provider in enumerate(found.providers, 1):
        try:
            made = connections.make(provider)
            if isinstance(made, SmtpBackend):
                _check_smtp(made, provider.get("OPTIONS", {}))
        except Exception as error:
            # Each library has errors of its own, and some explain over many lines.
            words = str(error).strip().partition("\n")[0] or type(error).__name__
            yield number, provider["BACKEND"] or django_settings.EMAIL_BACKEND, words


def _check_smtp(made: SmtpBackend, options: Mapping[str, Any]) -> None:
    """Raise ValueError for what Django's own backend passes by in silence."""
    if type(made) is SmtpBackend:
        for name in options.keys() - signature(SmtpBackend).parameters.keys():
            raise ValueError(f"it takes no option {name!r}.")
    if made.port and not str(made.port).isdecimal():
        raise ValueError(f"its port {made.port!r} is no number.")


def _placements() -> Iterator[CheckMessage]:
    for key, entry in settings.PLACEMENTS.items():
        for fault in placements.faults_of(entry, key=key):
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
                    "or write a dict of RECOMMENDERS, FALLBACK, OPTIONS and ARMS.",
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
    sender = settings.DEFAULT_SENDER
    if sender and not _is_sender(sender):
        # Its text may be somebody's address.
        yield Error(
            f"{_at('DEFAULT_SENDER')} is not one address that mail can come from.",
            hint='Write it as "Shop name <shop@your-domain.example>", on one line.',
            id=f"{APP}.E150",
        )
    for name, value in settings.UTM.items():
        if not isinstance(name, str) or not isinstance(value, str) or not name:
            yield Error(
                f"{_at('UTM', str(name))} is of type {type(value).__name__}, not a text.",
                hint='Write names and values as texts: {"utm_source": "personalize"}.',
                id=f"{APP}.E151",
            )
    for server in settings.DNS_SERVERS:
        host, _colon, port = server.partition(":")
        if not _is_ip(host) or (port and not port.isdecimal()):
            yield Error(
                f"{_at('DNS_SERVERS')} holds {server!r}, which is no address of a server.",
                hint="Write an IPv4 address, perhaps with a port: 192.0.2.53 or 192.0.2.53:5353.",
                id=f"{APP}.E152",
            )
    domains = [settings.RETURN_PATH_DOMAIN, *settings.SPF_INCLUDES, *settings.DKIM_SELECTORS]
    for domain in filter(None, domains):
        if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", domain):
            yield Error(
                f"{domain!r} of RETURN_PATH_DOMAIN, SPF_INCLUDES or DKIM_SELECTORS is no name in the DNS.",
                hint="Write the bare name, such as bounces.example.com, spf.example.net or s1.",
                id=f"{APP}.E153",
            )
    if settings.CLICK_TRACKING and not settings.CLICK_EXPIRY:
        yield Error(
            f"{_at('CLICK_EXPIRY')} is 0: links would have expired before anybody sees them.",
            hint="Set how long links of a mail work, such as timedelta(days=90).",
            id=f"{APP}.E154",
        )


def _is_sender(sender: str) -> bool:
    _name, address = parseaddr(sender)
    try:
        validate_email(address)
    except ValidationError:
        return False
    return sender.isprintable() and len(getaddresses([sender])) == 1


def _is_ip(host: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(host))
    except ValueError:
        return False


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


def _experiments() -> Iterator[CheckMessage]:
    for name in ("HOLDOUT_PERCENT", "JOURNEY_HOLDOUT_PERCENT"):
        if getattr(settings, name) > MAX_HOLDOUT:
            yield Error(
                f"{_at(name)} is {getattr(settings, name)}: most people would be left alone.",
                hint=f"Set 0 to {MAX_HOLDOUT}; 0 holds nobody out.",
                id=f"{APP}.E092",
            )
    if not settings.EXPERIMENT_WINDOW:
        yield Error(
            f"{_at('EXPERIMENT_WINDOW')} is nothing: no order would ever count.",
            hint="Set a day or more, such as 30 days.",
            id=f"{APP}.E093",
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
    for name in ("TOPICS", "TRANSACTIONAL_TOPICS"):
        for topic in getattr(settings, name):
            if not re.fullmatch("[a-z0-9_]{1,60}", str(topic)):
                yield Error(
                    f"{_at(name)} has the key {topic!r}.",
                    hint="Use 1 to 60 small letters, digits and '_'; the label is the value.",
                    id=f"{APP}.E053",
                )
    for topic in sorted(set(settings.TOPICS) & set(settings.TRANSACTIONAL_TOPICS)):
        yield Error(
            f"{_at('TRANSACTIONAL_TOPICS')} has the key {topic!r}, and TOPICS has it as well.",
            hint="What an order needs is no marketing: give one of the two another key.",
            id=f"{APP}.E056",
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


def _hints() -> Iterator[CheckMessage]:
    try:
        offering.terms()
    except TermsRefused as refusal:
        yield Error(
            f"{_at('HINT_OFFER')} makes no offer. {refusal}",
            hint='Write it like the step `offer` of a journey: {"percent": 10, "expires": '
            "timedelta(hours=2)}, or leave it empty.",
            id=f"{APP}.E122",
        )
    moment = settings.HINT_LINGER_AFTER
    if moment < timedelta(seconds=1):
        yield Error(
            f"{_at('HINT_LINGER_AFTER')} is {moment}: nobody would have looked at the page yet.",
            hint="Set a second or more, such as timedelta(seconds=30).",
            id=f"{APP}.E123",
        )


def _inbox() -> Iterator[CheckMessage]:
    if timedelta(minutes=1) > settings.INBOX_EXPIRY:
        yield Error(
            f"{_at('INBOX_EXPIRY')} is {settings.INBOX_EXPIRY}: nobody would see a message in the app.",
            hint="Set it to days or weeks, such as timedelta(days=30).",
            id=f"{APP}.E160",
        )


def _texts() -> Iterator[CheckMessage]:
    most = settings.SMS_MAX_SEGMENTS
    if not 1 <= most <= 10:
        yield Error(
            f"{_at('SMS_MAX_SEGMENTS')} is {most}: providers take texts of 1 to 10 segments.",
            hint="Set it to what a text message may cost: 3 are 459 characters, or 201 of a foreign alphabet.",
            id=f"{APP}.E170",
        )
    if "stop" not in {word.casefold() for word in settings.SMS_STOP_WORDS}:
        yield Error(
            f"{_at('SMS_STOP_WORDS')} does not hold “stop”, which every message says.",
            hint='Add "stop" beside the words of your languages.',
            id=f"{APP}.E171",
        )
    known = Defaults().PHONE_CODES_PER_HOUR
    most_codes = settings.PHONE_CODES_PER_HOUR
    for name in sorted({*known, *most_codes}, key=str):
        limit = most_codes.get(name)
        if name not in known or type(limit) is not int or limit < 1:
            yield Error(
                f"{_at('PHONE_CODES_PER_HOUR', name)} is {limit!r}: each code is paid for, and each of "
                f"{', '.join(known)} has a limit.",
                hint="Set a whole number above 0 for each of them, and for nothing else.",
                id=f"{APP}.E173",
            )
    both = {word.casefold() for word in settings.SMS_STOP_WORDS} & {
        word.casefold() for word in settings.SMS_START_WORDS
    }
    if both:
        yield Error(
            f"{_at('SMS_START_WORDS')} and SMS_STOP_WORDS both hold {', '.join(sorted(both))}.",
            hint="A word ends messages, or takes that back.",
            id=f"{APP}.E172",
        )
    try:
        found = build_backend("CHANNELS", DeliveryChannel.SMS)
    except (ConfigurationError, UnknownAlias):
        return  # it is told above, or there is none
    if isinstance(found, Channel) and not isinstance(found, TextMessageChannel):
        yield Warning(
            f"{_at('CHANNELS', 'sms')} is no TextMessageChannel: nobody hears who answers STOP.",
            hint="Subclass saleor_personalize.messaging.channels.sms.TextMessageChannel.",
            id=f"{APP}.W170",
        )


def _bus() -> Iterator[CheckMessage]:
    patience = settings.BUS_DISABLE_AFTER
    if patience < timedelta(days=1):
        yield Error(
            f"{_at('BUS_DISABLE_AFTER')} is {patience}: a receiver that is down for a "
            "night would be switched off.",
            hint="Set it to a day or more, such as timedelta(days=3).",
            id=f"{APP}.E120",
        )
    if settings.BUS_TIMEOUT > _LONGEST_TRY:
        yield Error(
            f"{_at('BUS_TIMEOUT')} is {settings.BUS_TIMEOUT} seconds: a slow receiver would hold up the "
            "workers.",
            hint=f"Set {_LONGEST_TRY} seconds or less. A receiver answers at once and works later.",
            id=f"{APP}.E121",
        )
    if settings.BUS_ALLOW_PRIVATE_ADDRESSES and not django_settings.DEBUG:
        yield Warning(
            f"{_at('BUS_ALLOW_PRIVATE_ADDRESSES')} is on: whoever may add a webhook can reach hosts of "
            "your own network through this service.",
            hint="Leave it off unless a receiver lives there, and let only trusted staff manage apps.",
            id=f"{APP}.W120",
        )


def _offers() -> Iterator[CheckMessage]:
    known = Defaults().INCENTIVE_GUARD
    for name, limit in settings.INCENTIVE_GUARD.items():
        if name not in known:
            yield Error(
                f"{_at('INCENTIVE_GUARD')} has the key {name!r}, which is no limit.",
                hint=f"Known: {', '.join(known)}.",
                id=f"{APP}.E110",
            )
        elif type(limit) is not int or limit < 0:
            yield Error(
                f"{_at('INCENTIVE_GUARD', name)} is {limit!r}, which is no number.",
                hint="Set a whole number, 0 or more, or None for no limit.",
                id=f"{APP}.E111",
            )
    kept = settings.RETENTION.get("offers")
    if kept is not None and kept < timedelta(days=366):
        yield Error(
            f"{_at('RETENTION', 'offers')} is {kept}: offers of the last year could not be counted.",
            hint="Keep them for 366 days or longer, or None for ever.",
            id=f"{APP}.E114",
        )
    url = settings.OFFER_URL
    if url and (urlsplit(url).scheme not in {"http", "https"} or "{code}" not in url):
        yield Error(
            f"{_at('OFFER_URL')} is {url!r}: no link would carry a code.",
            hint="Put {code} where it belongs: https://store.example/?promoCode={code}.",
            id=f"{APP}.E112",
        )
    if not re.fullmatch("[A-Za-z0-9_.-]{1,60}", settings.PROMO_CODE_PARAMETER):
        yield Error(
            f"{_at('PROMO_CODE_PARAMETER')} is {settings.PROMO_CODE_PARAMETER!r}.",
            hint="Use letters, digits, '_', '-' and '.', as in promoCode.",
            id=f"{APP}.E113",
        )


def _roles() -> Iterator[CheckMessage]:
    for role, permissions in settings.DASHBOARD_ROLES.items():
        if role not in ROLES:
            yield Error(
                f"{_at('DASHBOARD_ROLES')} has the key {role!r}, which is no role.",
                hint=f"Known: {', '.join(ROLES)}.",
                id=f"{APP}.E220",
            )
        elif not _are_permissions(permissions):
            yield Error(
                f"{_at('DASHBOARD_ROLES', role)} is {permissions!r}, which are no permissions of Saleor.",
                hint='Write at least one, such as ["MANAGE_ORDERS"].',
                id=f"{APP}.E221",
            )


def _are_permissions(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(
            isinstance(each, str) and re.fullmatch("(MANAGE|HANDLE|IMPERSONATE)_[A-Z_]+", each)
            for each in value
        )
    )


def _privacy() -> Iterator[CheckMessage]:
    known = Defaults().RETENTION
    # As it was written: None, for ever, is not among what is read.
    given = getattr(django_settings, SETTING_NAME, {}).get("RETENTION", {})
    for kind, kept in {**settings.RETENTION, **given}.items():
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


def _journeys() -> Iterator[CheckMessage]:
    try:
        known_triggers()
    except ConfigurationError as error:
        yield Error(
            str(error),
            hint="Name a subclass of Trigger under its own key: docs/howto/custom-trigger.md.",
            id=f"{APP}.E130",
        )
    for scope, caps in settings.FREQUENCY_CAPS.items():
        if not (isinstance(caps, list | tuple) and all(_is_cap(cap) for cap in caps)):
            yield Error(
                f"{_at('FREQUENCY_CAPS', scope)} is {caps!r}, which is no list of caps.",
                hint="Write how many messages in which time: [(2, timedelta(days=1))].",
                id=f"{APP}.E131",
            )
    for scope, hours in settings.QUIET_HOURS.items():
        try:
            begin, end = hours
            clock_time(begin), clock_time(end)
        except (TypeError, ValueError, AttributeError):
            yield Error(
                f"{_at('QUIET_HOURS', scope)} is {hours!r}, which is no pair of times of day.",
                hint='Write when they begin and end: ("21:00", "08:00").',
                id=f"{APP}.E132",
            )
    for name in ("FREQUENCY_CAPS", "QUIET_HOURS"):
        for scope in getattr(settings, name):
            if scope != "*" and scope not in DeliveryChannel.values:
                yield Error(
                    f"{_at(name)} has the key {scope!r}, which is no delivery channel.",
                    hint=f"Known: *, {', '.join(DeliveryChannel.values)}.",
                    id=f"{APP}.E133",
                )
    silence = settings.SUNSET_AFTER
    if silence is not None and silence < timedelta(days=7):
        yield Error(
            f"{_at('SUNSET_AFTER')} is {silence}.",
            hint="Nobody reacts to everything within days: months are usual. None writes for ever.",
            id=f"{APP}.E137",
        )
    if not timedelta(hours=1) <= settings.SEND_TIME_WINDOW <= timedelta(days=7):
        yield Error(
            f"{_at('SEND_TIME_WINDOW')} is {settings.SEND_TIME_WINDOW}.",
            hint="Hours of a week are known: use an hour at least and a week at most; a day is usual.",
            id=f"{APP}.E166",
        )
    if zone_named(settings.TIME_ZONE) is None:
        yield Error(
            f"{_at('TIME_ZONE')} is {settings.TIME_ZONE!r}, which is no time zone.",
            hint="Use a name of the IANA database, such as Europe/Berlin.",
            id=f"{APP}.E134",
        )


def _pace() -> Iterator[CheckMessage]:
    for name in ("PACE", "DOMAIN_PACE"):
        for scope, rate in getattr(settings, name).items():
            if not _is_cap(rate):
                yield Error(
                    f"{_at(name, scope)} is {rate!r}, which is no pace.",
                    hint="Write how many messages in which time: (20, timedelta(seconds=1)).",
                    id=f"{APP}.E180",
                )
    for scope in settings.DOMAIN_PACE:
        if scope != "*" and scope not in settings.DOMAIN_GROUPS and "." not in str(scope):
            yield Error(
                f"{_at('DOMAIN_PACE')} has the key {scope!r}, which is neither a domain nor one of "
                "DOMAIN_GROUPS.",
                hint=f"Write a domain, such as example.com, * for all others, or one of "
                f"{', '.join(settings.DOMAIN_GROUPS)}.",
                id=f"{APP}.E185",
            )
    for name in ("PACE", "DAILY_MAXIMUM", "WARM_UP"):
        for scope in getattr(settings, name):
            if scope not in DeliveryChannel.values:
                yield Error(
                    f"{_at(name)} has the key {scope!r}, which is no delivery channel.",
                    hint=f"Known: {', '.join(DeliveryChannel.values)}.",
                    id=f"{APP}.E181",
                )
    for scope, most in settings.DAILY_MAXIMUM.items():
        if type(most) is not int or most < 1:
            yield Error(
                f"{_at('DAILY_MAXIMUM', scope)} is {most!r}, which is no number of messages.",
                hint="Write how many may go in a day; to stop all sends there is a switch in the Dashboard.",
                id=f"{APP}.E182",
            )
    for scope, plan in settings.WARM_UP.items():
        try:
            pace.check_plan(plan)
        except (KeyError, TypeError, ValueError) as error:
            yield Error(
                f"{_at('WARM_UP', scope)} is no plan ({type(error).__name__}: {error}).",
                hint='Write {"START": "2026-12-01", "FIRST": 200, "GROWTH": 1.5, "LAST": 50_000}.',
                id=f"{APP}.E183",
            )
    for group, domains in settings.DOMAIN_GROUPS.items():
        is_list = isinstance(domains, list | tuple | set | frozenset)
        if not is_list or not all(
            isinstance(each, str) and each == each.lower() for each in domains
        ):
            yield Error(
                f"{_at('DOMAIN_GROUPS', group)} is {domains!r}, which is no list of domains.",
                hint='Write them in small letters: ["gmail.com", "googlemail.com"].',
                id=f"{APP}.E184",
            )


def _stock_and_prices() -> Iterator[CheckMessage]:
    for name in ("STOCK_ALERT_EXPIRY", "STOCK_ALERT_PAUSE"):
        if getattr(settings, name) < timedelta(minutes=1):
            yield Error(
                f"{_at(name)} is {getattr(settings, name)}: no wave would have an end, or no sign-up a time.",
                hint="Set STOCK_ALERT_PAUSE to hours or days, STOCK_ALERT_EXPIRY to weeks or months.",
                id=f"{APP}.E135",
            )
    if timedelta(days=60) > settings.PRICE_HISTORY_RETENTION:
        yield Error(
            f"{_at('PRICE_HISTORY_RETENTION')} is {settings.PRICE_HISTORY_RETENTION}: the lowest price of the "
            "30 days before a reduction could not be told.",
            hint="Keep changes of prices for 60 days or longer.",
            id=f"{APP}.E136",
        )


def _is_cap(cap: Any) -> bool:
    return (
        isinstance(cap, list | tuple)
        and len(cap) == 2
        and type(cap[0]) is int
        and cap[0] > 0
        and isinstance(cap[1], timedelta)
        and cap[1] > timedelta(0)
    )
