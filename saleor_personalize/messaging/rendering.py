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
from django.template import Engine, TemplateDoesNotExist, TemplateSyntaxError
from django.utils import formats, translation
from django.utils.functional import lazy
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.exceptions import TemplateBroken, TemplateIncomplete
from saleor_personalize.messaging import plain_text, sandbox

_FOLDER = "saleor_personalize/messages"
#: ISO 4217: how many decimals, where it is not two.
_DECIMALS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF"), 0),
    **dict.fromkeys(("UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


#: Made from body.html where a template does without.
_MADE = "body.txt"
#: The files that hold the words of a template, by delivery channel.
FILES: Mapping[DeliveryChannel, Mapping[str, str]] = {
    DeliveryChannel.EMAIL: {"subject": "subject.txt", "text": "body.txt", "html": "body.html"},
    DeliveryChannel.PUSH: {"title": "push_title.txt", "text": "push.txt"},
    DeliveryChannel.IN_APP: {"title": "push_title.txt", "text": "push.txt"},
    DeliveryChannel.SMS: {"text": "sms.txt"},
}


@dataclass(frozen=True)
class Rendered:
    """The words of a message: of an e-mail `subject`, `text` and `html`; of others `text`, and `title`."""

    subject: str = ""
    text: str = ""
    html: str = ""
    title: str = ""


class _Missing(str):
    """What a template prints for a value it does not have: an exception."""

    __slots__ = ()

    def __contains__(self, part: object) -> bool:
        return True

    def __mod__(self, name: object) -> str:
        raise TemplateIncomplete(str(name))


#: As long as what is not known beforehand mostly is.
_STAND_IN = "xxxxxxxxxxxx"


@functools.cache
def _engine(*, autoescape: bool, missing: str = "") -> Engine:
    entries: list[dict[str, Any]] = django_settings.TEMPLATES
    folders = [folder for entry in entries for folder in entry.get("DIRS", [])]
    return Engine(
        dirs=folders,
        loaders=sandbox.LOADERS,
        autoescape=autoescape,
        string_if_invalid=missing or _Missing("missing"),
        libraries={"i18n": "django.templatetags.i18n"},
        builtins=[sandbox.__name__],
    )


def _forget_engine(*, setting: str, **_: object) -> None:
    if setting in {"TEMPLATES", "INSTALLED_APPS"}:
        _engine.cache_clear()


setting_changed.connect(_forget_engine, dispatch_uid="saleor_personalize.messaging.rendering")


def known_templates() -> frozenset[str]:
    """Return the names of all templates: ours, and those in the shop's own folders."""
    return frozenset(_files())


def channels_of(template: str) -> frozenset[str]:
    """Return the delivery channels for which a template has words."""
    there = _files().get(template, frozenset())
    return frozenset(
        channel.value
        for channel, files in FILES.items()
        if there.issuperset({*files.values()} - {_MADE})
    )


def files_of(delivery_channel: str) -> tuple[str, ...]:
    """Return the files that hold the words of a delivery channel."""
    return tuple(FILES[DeliveryChannel(delivery_channel)].values())


def _files() -> dict[str, frozenset[str]]:
    """Return the files with words of each template, wherever they are."""
    loaders: list[Any] = list(_engine(autoescape=True).template_loaders)
    folders = [Path(folder) / _FOLDER for loader in loaders for folder in loader.get_dirs()]
    wanted = {name for files in FILES.values() for name in files.values()}
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.glob("*/*"):
            name = file.with_suffix(".html").name if file.suffix == ".mjml" else file.name
            if name in wanted:
                found.setdefault(file.parent.name, set()).add(name)
    return {name: frozenset(files) for name, files in found.items()}


def render(
    *,
    template: str,
    context: Mapping[str, Any],
    language_code: str,
    delivery_channel: DeliveryChannel | str = DeliveryChannel.EMAIL,
) -> Rendered:
    """Render the words of `messages/<template>` for a delivery channel (`FILES`) in a language.

    Raises TemplateIncomplete naming the value or the file that is missing, or what is wrong with it.
    """
    return _rendered(template, context, language_code, delivery_channel)


def sketch(
    *,
    template: str,
    context: Mapping[str, Any],
    language_code: str,
    delivery_channel: DeliveryChannel | str,
) -> Rendered:
    """Render a template with placeholders for the values that are not known yet. Else as `render`."""
    return _rendered(template, context, language_code, delivery_channel, missing=_STAND_IN)


def _rendered(
    template: str,
    context: Mapping[str, Any],
    language_code: str,
    delivery_channel: DeliveryChannel | str,
    missing: str = "",
) -> Rendered:
    values = _without_empty(dict(context))
    with translation.override(django_language(language_code)):
        values["language"] = translation.get_language()
        values["direction"] = "rtl" if translation.get_language_bidi() else "ltr"
        parts = {
            part: _render_file(
                f"{_FOLDER}/{template}/{name}",
                values,
                autoescape=name.endswith(".html"),
                missing=missing,
            )
            for part, name in FILES[DeliveryChannel(delivery_channel)].items()
            if name != _MADE or _is_there(f"{_FOLDER}/{template}/{name}")
        }
    for part in ("subject", "title"):
        parts[part] = " ".join(parts.get(part, "").split())
    if delivery_channel == DeliveryChannel.EMAIL:
        text = parts["text"] if "text" in parts else plain_text.from_html(parts["html"])
        parts["text"] = text.strip() + "\n"
    else:
        # A few words on a small screen.
        parts["text"] = " ".join(parts["text"].split())
    return Rendered(**parts)


def landing(context: Mapping[str, Any]) -> tuple[str, str]:
    """Return where a tap on a short message leads, and the picture it shows; "" where there is none.

    A trigger says so by `link` and `image_url`; else it is the cart, or the first product that the
    message is about.
    """
    about: list[Mapping[str, Any]] = [context.get("product") or {}]
    for name in ("lines", "favourites", "products", "similar"):
        about += list(context.get(name) or ())[:1]
    links = [context.get("link"), context.get("cart_url"), *(each.get("url") for each in about)]
    images = [context.get("image_url"), *(each.get("image_url") for each in about)]
    return next(filter(None, links), ""), next(filter(None, images), "")


def _is_there(name: str) -> bool:
    try:
        _engine(autoescape=False).get_template(name)
    except TemplateDoesNotExist:
        return False
    except (TemplateSyntaxError, TemplateIncomplete):
        # Told when it is rendered.
        return True
    return True


def _render_file(name: str, values: dict[str, Any], *, autoescape: bool, missing: str = "") -> str:
    try:
        template = _engine(autoescape=autoescape, missing=missing).get_template(name)
        budget = sandbox.Budget(name, len(template.source))
        text = str(
            template.render(sandbox.BoundedContext(values, autoescape=autoescape, budget=budget))
        )
    except (TemplateDoesNotExist, TemplateSyntaxError) as error:
        raise TemplateIncomplete(name, f"{type(error).__name__}: {error}") from None
    except TemplateIncomplete:
        raise
    except Exception as error:
        # Its text may quote what is personal.
        raise TemplateBroken(name, f"it fails with {type(error).__name__}.") from None
    if len(text) > sandbox.MAX_OUTPUT:
        raise TemplateBroken(name, f"it becomes {len(text)} characters long.")
    return text


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
    if not topic:
        return _("Offers, reminders and news")
    return str({**settings.TOPICS, **settings.TRANSACTIONAL_TOPICS}.get(topic, topic))


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
