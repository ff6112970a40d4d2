"""The GraphQL documents we send to Saleor, built from `queries/*.graphql`.

Every document carries only the fragments it needs, so that Saleor's cost limit counts no more than
what is asked.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import ConfigurationError

#: What the name of a product, category or page in a language is called in an answer, before Saleor's code of the language.
TRANSLATION = "name_"

_QUERIES = Path(__file__).with_name("queries")
# A definition starts in the first column and ends at a closing brace there, or on its own line.
_DEFINITION = re.compile(
    r"^(?P<kind>query|mutation|fragment) (?P<name>\w+)(?:[^\n]*\}[ ]*$|.*?^\}[ ]*$)",
    re.MULTILINE | re.DOTALL,
)
_SPREAD = re.compile(r"\.\.\.\s*(?!on\b)(\w+)")

# What every subscription asks about the delivery itself. Saleor signs only the body, so the body
# must say which event it is, when it was rendered, who caused it and for which app it was made.
_ENVELOPE = """\
    __typename
    issuedAt
    version
    issuingPrincipal { __typename ... on App { id } }
    recipient { id identifier }"""


@functools.cache
def _definitions() -> tuple[dict[str, str], dict[str, str]]:
    """Return the operations and the fragments of all files, by name."""
    operations: dict[str, str] = {}
    fragments: dict[str, str] = {}
    for path in sorted(_QUERIES.glob("*.graphql")):
        for match in _DEFINITION.finditer(path.read_text(encoding="utf-8")):
            kind = fragments if match["kind"] == "fragment" else operations
            if match["name"] in kind:
                raise ConfigurationError(f"{path.name}: {match['name']!r} is defined twice.")
            kind[match["name"]] = match[0].rstrip()
    return operations, fragments


def _with_fragments(text: str) -> str:
    """Append the fragments that `text` spreads, and those that they spread, each once."""
    fragments = {
        **_definitions()[1],
        "ProductNames": _names("ProductNames", "Product", "name"),
        "CategoryNames": _names("CategoryNames", "Category", "name"),
        "PageTitles": _names("PageTitles", "Page", "title"),
    }
    needed: dict[str, str] = {}
    waiting = _SPREAD.findall(text)
    while waiting:
        name = waiting.pop(0)
        if name in needed:
            continue
        if name not in fragments:
            raise ConfigurationError(
                f"Fragment {name!r} is not in saleor_api/queries. Known: {', '.join(sorted(fragments))}."
            )
        needed[name] = fragments[name]
        waiting += _SPREAD.findall(fragments[name])
    return "\n\n".join([text, *needed.values()])


def _names(fragment: str, kind: str, field: str) -> str:
    """Return the fragment that asks for the names of an object in the languages of the settings."""
    asked = [
        f"  {TRANSLATION}{code}: translation(languageCode: {code}) {{ {field} }}"
        for code in (language.upper().replace("-", "_") for language in settings.PRODUCT_LANGUAGES)
    ]
    return "\n".join([f"fragment {fragment} on {kind} {{", *(asked or ["  id"]), "}"])


def operation(name: str) -> str:
    """Return the query or mutation `name` with its fragments.

    Raises ConfigurationError for a name that no file of `queries/` defines.
    """
    operations = _definitions()[0]
    if name not in operations:
        raise ConfigurationError(
            f"Operation {name!r} is not in saleor_api/queries. Known: {', '.join(sorted(operations))}."
        )
    return _with_fragments(operations[name])


def subscription(typenames: str | Sequence[str], selection: str) -> str:
    """Return a subscription document for one or more event types, e.g. "CheckoutUpdated".

    `selection` is asked of each type, e.g. "checkout { ...CheckoutFields }"; fragments are found by
    their spreads. The answer of Saleor is flat: the envelope's fields beside those of `selection`.
    """
    names = [typenames] if isinstance(typenames, str) else typenames
    parts = "\n".join(f"    ... on {name} {{ {selection} }}" for name in names)
    return _with_fragments(f"subscription {{\n  event {{\n{_ENVELOPE}\n{parts}\n  }}\n}}")


def typename(event: str) -> str:
    """Return the GraphQL type of an event: "checkout_updated" or "CHECKOUT_UPDATED" -> "CheckoutUpdated"."""
    return "".join(word.capitalize() for word in event.lower().split("_"))
