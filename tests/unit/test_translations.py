"""Every text of the pages and messages exists in every language that we offer."""

import ast
import gettext
import re
from pathlib import Path

import pytest
from django.utils.translation.template import templatize

import saleor_personalize

PACKAGE = Path(saleor_personalize.__file__).parent
LOCALES = sorted(folder.name for folder in (PACKAGE / "locale").iterdir())
CALLS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
PLACE = re.compile(r"%\(\w+\)[sd]|\{\w+\}")


def texts_of_code(source: str) -> set[str]:
    return {
        node.args[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in CALLS
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def texts_of_template(source: str) -> set[str]:
    calls = re.findall(r"n?gettext\(u?(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')", templatize(source))
    return {ast.literal_eval(call) for call in calls}


def every_text() -> set[str]:
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.parts[-2] != "migrations":
            found |= texts_of_code(path.read_text())
    for path in (PACKAGE / "templates").rglob("*"):
        if path.is_file():
            found |= texts_of_template(path.read_text())
    return found


def catalogue(language: str) -> gettext.GNUTranslations:
    path = PACKAGE / "locale" / language / "LC_MESSAGES" / "django.mo"
    with path.open("rb") as file:
        return gettext.GNUTranslations(file)


def test_there_are_texts_and_languages() -> None:
    assert LOCALES == ["de", "es", "fr", "pl"]
    assert len(every_text()) > 150


@pytest.mark.parametrize("language", LOCALES)
def test_every_text_is_translated_with_its_placeholders(language: str) -> None:
    words = catalogue(language)
    # Of a plural the first form is that of the text in the code.
    known = {
        key[0] if isinstance(key, tuple) else key: text
        for key, text in words._catalog.items()  # type: ignore[attr-defined]
        if not isinstance(key, tuple) or key[1] == 0
    }
    texts = every_text()
    assert sorted(texts - set(known)) == [], "run django-admin makemessages and translate"
    for text in texts:
        assert set(PLACE.findall(known[text])) == set(PLACE.findall(text)), text


@pytest.mark.parametrize("language", LOCALES)
def test_the_compiled_catalogue_is_the_one_that_can_be_read(language: str) -> None:
    """`django.mo` is committed, so that nobody needs gettext's tools; it must not fall behind."""
    path = PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po"
    words = catalogue(language)
    entries = re.findall(
        r'^msgid "((?:[^"\\]|\\.)+)"\nmsgstr "((?:[^"\\]|\\.)*)"$', path.read_text(), re.MULTILINE
    )
    assert len(entries) > 150
    for source, text in entries:
        assert words.gettext(source.replace('\\"', '"')) == text.replace('\\"', '"')


@pytest.mark.parametrize(
    ("language", "gendered"),
    [("pl", r"\w+ł[ea]ś\b"), ("fr", r"d'être (resté|venu|allé)\b"), ("es", r"\bBienvenid[oa]\b")],
)
def test_messages_take_nobody_for_a_man_or_a_woman(language: str, gendered: str) -> None:
    words = catalogue(language)
    messages = (PACKAGE / "templates" / "saleor_personalize" / "messages").rglob("*.*")
    texts = {text for path in messages for text in texts_of_template(path.read_text())}
    assert len(texts) > 80
    told = {text: words.gettext(text) for text in texts}
    assert {text for text, said in told.items() if re.search(gendered, said)} == set()
