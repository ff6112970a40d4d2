"""What keeps a template in bounds: how large its file is, how long it works, what it may call.

Templates are the shop's own files, so this is against mistakes: a template of 5 MB, a loop within loops,
a filter that pads a name to a gigabyte. Each is a TemplateBroken; the process lives.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sized
from pathlib import Path
from typing import Any

from django.template import Context, Library, Origin, TemplateDoesNotExist, TemplateSyntaxError
from django.template.base import Parser, Token
from django.template.defaultfilters import add, center, floatformat, ljust, rjust, stringformat
from django.template.loaders import app_directories, filesystem

from saleor_personalize.exceptions import TemplateBroken

#: Largest file, and largest text that a file becomes, in bytes and characters.
MAX_FILE = 250_000
MAX_OUTPUT = 1_000_000
#: Longest work at one file of a message, in seconds.
MAX_SECONDS = 2.0
#: Values looked up and turns of loops. A text of so many characters cannot be written so often that
#: memory ends: the larger a template, the fewer; what it includes counts as so many characters.
_MAX_CHARACTERS = 200_000_000
_INCLUDED = 20_000
_STEPS_BETWEEN_LOOKS = 64
#: Widest padding, and longest text that filters put together.
_MAX_WIDTH = 1_000
_MAX_TEXT = 100_000


class Budget:
    """What is left of the work that a template may be."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._left = _MAX_CHARACTERS // (size + _INCLUDED)
        self._until = time.monotonic() + MAX_SECONDS

    def spend(self) -> None:
        """Take one step. Raises TemplateBroken when there was one too many."""
        self._left -= 1
        if self._left < 0:
            raise TemplateBroken(self._name, "it loops too often. Look for a loop within a loop.")
        if self._left % _STEPS_BETWEEN_LOOKS == 0 and time.monotonic() > self._until:
            raise TemplateBroken(self._name, f"it works for longer than {MAX_SECONDS:g} seconds.")


class BoundedContext(Context):
    """A context that counts: each value looked up, and each turn of a loop, is a step."""

    def __init__(self, values: dict[str, Any], *, autoescape: bool, budget: Budget) -> None:
        self.budget = budget
        super().__init__(values, autoescape=autoescape)

    def __getitem__(self, key: Any) -> Any:
        self.budget.spend()
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.budget.spend()
        super().__setitem__(key, value)

    def get(self, key: Any, otherwise: Any = None) -> Any:
        self.budget.spend()
        return super().get(key, otherwise)


# -- files -----------------------------------------------------------------------------------------------


class _Bounded:
    """Reads no file that is too large; beside a `.html` there may be a `.mjml`, which is compiled."""

    def get_contents(self, origin: Origin) -> str:
        path = Path(origin.name)
        source = path.with_suffix(".mjml") if path.suffix == ".html" else path
        if source != path and source.is_file() and not path.is_file():
            return _compiled(_read(source, origin), origin)
        return _read(path, origin)


class Files(_Bounded, filesystem.Loader):
    """The shop's own folders."""


class AppFiles(_Bounded, app_directories.Loader):
    """Those of the app."""


LOADERS = (
    (
        "django.template.loaders.cached.Loader",
        [f"{__name__}.{Files.__name__}", f"{__name__}.{AppFiles.__name__}"],
    ),
)


def _read(path: Path, origin: Origin) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise TemplateBroken(
                str(origin.template_name),
                f"the file has {size} bytes; {MAX_FILE} are allowed. Keep pictures out of it.",
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TemplateDoesNotExist(origin) from None
    except (OSError, UnicodeDecodeError) as error:
        told = f"the file cannot be read: {type(error).__name__}."
        raise TemplateBroken(str(origin.template_name), told) from None


def _compiled(source: str, origin: Origin) -> str:
    """Return the HTML of MJML. Tags and variables of templates stand in it as they were."""
    try:
        from mjml import mjml2html
    except ImportError:
        told = "MJML needs a library: pip install 'saleor-personalize[mjml]'"
        raise TemplateBroken(str(origin.template_name), told) from None
    try:
        # No fonts of others: they would be told who opens a message.
        return str(mjml2html(source, fonts={}))
    except ValueError as error:
        raise TemplateBroken(str(origin.template_name), f"MJML: {error}") from None


# -- what templates may call -----------------------------------------------------------------------------

register = Library()


def _narrow(value: Any, width: Any) -> Any:
    if int(width) > _MAX_WIDTH:
        raise TemplateBroken(str(width), f"a text is padded to {_MAX_WIDTH} characters at most.")
    return width


@register.filter("center")
def _center(value: Any, width: Any) -> str:
    return str(center(value, _narrow(value, width)))


@register.filter("ljust")
def _ljust(value: Any, width: Any) -> str:
    return str(ljust(value, _narrow(value, width)))


@register.filter("rjust")
def _rjust(value: Any, width: Any) -> str:
    return str(rjust(value, _narrow(value, width)))


@register.filter("stringformat")
def _stringformat(value: Any, how: Any) -> str:
    for part in "".join(one if one.isdigit() else " " for one in str(how)).split():
        _narrow(value, part)
    return str(stringformat(value, how))


@register.filter("floatformat", is_safe=True)
def _floatformat(value: Any, places: Any = -1) -> Any:
    with contextlib.suppress(OverflowError, TypeError, ValueError):
        # As Django reads them; what it cannot read does nothing.
        _narrow(value, abs(int(places.rstrip("gu") if isinstance(places, str) else places)))
    return floatformat(value, places)


@register.filter("add")
def _add(value: Any, other: Any) -> Any:
    if isinstance(value, str | list) and _size(value) + _size(other) > _MAX_TEXT:
        raise TemplateBroken("add", f"it puts together more than {_MAX_TEXT} characters.")
    return add(value, other)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, Sized) else 0


def _unknown(parser: Parser, token: Token) -> Any:
    raise TemplateSyntaxError(f"'{token.split_contents()[0]}' is not for messages.")


for _name in ("debug", "lorem", "csrf_token"):
    register.tag(_name, _unknown)
