"""From a template and plain values to subject, HTML and text, or a refusal: never "Hi ,".

Templates see text, numbers, lists and dicts, no objects of ours. A value that is missing or empty
stops the message, unless the template asks for it with `{% if %}` first. A shop overrides a template
by a file of the same name in a template folder of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.template import Context, Engine, TemplateDoesNotExist, TemplateSyntaxError
from django.utils import formats, translation
from django.utils.functional import lazy
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import TemplateIncomplete

_FOLDER = "saleor_personalize/messages"
#: ISO 4217: how many decimals, where it is not two.
_DECIMALS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF"), 0),
    **dict.fromkeys(("UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


@dataclass(frozen=True)
class Rendered:
    subject: str
    text: str
    html: str


class _Missing(str):
    """What a template prints for a value it does not have: an exception."""

    __slots__ = ()

    def __contains__(self, part: object) -> bool:
        return True

    def __mod__(self, name: object) -> str:
        raise TemplateIncomplete(str(name))


@functools.cache
def _engine(*, autoescape: bool) -> Engine:
    entries: list[dict[str, Any]] = django_settings.TEMPLATES
    folders = [folder for entry in entries for folder in entry.get("DIRS", [])]
    return Engine(
        dirs=folders,
        app_dirs=True,
        autoescape=autoescape,
        string_if_invalid=_Missing("missing"),
        libraries={"i18n": "django.templatetags.i18n"},
    )


def _forget_engine(*, setting: str, **_: object) -> None:
    if setting in {"TEMPLATES", "INSTALLED_APPS"}:
        _engine.cache_clear()


setting_changed.connect(_forget_engine, dispatch_uid="saleor_personalize.messaging.rendering")


def known_templates() -> frozenset[str]:
    """Return the names of all templates: ours, and those in the shop's own folders."""
    found: list[Any] = list(_engine(autoescape=True).template_loaders)
    folders = [Path(folder) for loader in found for folder in loader.get_dirs()]
    return frozenset(
        file.parent.name for folder in folders for file in (folder / _FOLDER).glob("*/body.txt")
    )


def render(*, template: str, context: Mapping[str, Any], language_code: str) -> Rendered:
    """Render `messages/<template>/{subject.txt,body.txt,body.html}` in a language.

    Raises TemplateIncomplete naming the value that is missing, or what is wrong with the template.
    """
    values = _without_empty(dict(context))
    with translation.override(django_language(language_code)):
        values["language"] = translation.get_language()
        values["direction"] = "rtl" if translation.get_language_bidi() else "ltr"
        parts = [
            _render_file(f"{_FOLDER}/{template}/{name}", values, autoescape=name.endswith(".html"))
            for name in ("subject.txt", "body.txt", "body.html")
        ]
    subject, text, html = parts
    return Rendered(subject=" ".join(subject.split()), text=text.strip() + "\n", html=html)


def _render_file(name: str, values: dict[str, Any], *, autoescape: bool) -> str:
    try:
        template = _engine(autoescape=autoescape).get_template(name)
        return str(template.render(Context(values, autoescape=autoescape)))
    except (TemplateDoesNotExist, TemplateSyntaxError) as error:
        raise TemplateIncomplete(name, f"{type(error).__name__}: {error}") from None


def _without_empty(value: Any) -> Any:
    """Leave out what has no content, so that printing it is as wrong as printing what is not there."""
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item not in (None, "")}
    if isinstance(value, (list, tuple)):
        return [_without_empty(item) for item in value]
    return value


def django_language(language_code: str) -> str:
    """Return Django's name ("pt-br") for a language code of Saleor ("PT_BR"); else the default."""
    code = language_code.replace("_", "-").lower()
    try:
        return translation.get_supported_language_variant(code)
    except LookupError:
        return django_settings.LANGUAGE_CODE


def topic_label(topic: str) -> str:
    """Return what a person calls a topic, in the active language; "" stands for all topics."""
    return str(settings.TOPICS.get(topic, topic)) if topic else _("Offers, reminders and news")


topic_label_lazy = lazy(topic_label, str)


def format_money(amount: Decimal, currency: str, language_code: str) -> str:
    """Return an amount as the language writes numbers, with the currency's decimals and code.

    `format_money(Decimal("1234.5"), "EUR", "DE")` -> "1.234,50 EUR" (with a no-break space).
    """
    with translation.override(django_language(language_code)):
        number = formats.number_format(
            amount.quantize(Decimal(1).scaleb(-_DECIMALS.get(currency, 2))),
            decimal_pos=_DECIMALS.get(currency, 2),
            use_l10n=True,
            force_grouping=True,
        )
    return f"{number}\N{NO-BREAK SPACE}{currency}"
