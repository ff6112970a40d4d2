"""The reference of every rule, written from what the rules say of themselves."""

from __future__ import annotations

import inspect

from django.utils import translation

from saleor_personalize.segments.rules import Parameter, known_rules

_HEAD = """# Rules of segments

Written by `saleor-personalize segments rules > docs/reference/segment-rules.md`; a test compares it with the
code. How segments work is told in [Segments](../howto/segments.md).

A group is `{"all": [...]}`, `{"any": [...]}` or `{"not": ...}`; a rule is an object with `rule` and its
parameters. In Python the same are `AllOf`, `AnyOf` and `Not` of `saleor_personalize.segments.definition` and the
classes below, from `saleor_personalize.segments.rules`. Amounts are decimal texts (`"49.90"`), days are dates
(`"2026-01-31"`, from midnight UTC).
"""


def reference() -> str:
    """Return the page, in English."""
    with translation.override("en"):
        parts = [_HEAD]
        for key, rule in known_rules().items():
            about = (inspect.getdoc(rule) or "").strip()
            parts.append(f"\n## `{key}`: {rule.__name__}\n\n{about}\n\n")
            parts.append("| parameter | takes | needed | in the form |\n|---|---|---|---|\n")
            parts.extend(
                f"| `{name}` | {_takes(part)} | {'yes' if part.is_required else ''} | {part.label} |\n"
                for name, part in rule.parameters().items()
            )
        return "".join(parts)


def _takes(part: Parameter) -> str:
    if part.choices:
        return ", ".join(f"`{choice}`" for choice in part.choices)
    if part.names:
        return {
            "product": "global id of a product",
            "category": "global id of a category",
            "segment": "key of a segment",
            "channel": "slug of a sales channel",
        }.get(part.names, part.names)
    if part.minimum is not None or part.maximum is not None:
        return f"{part.kind.value}, {part.minimum or 0} to {part.maximum}"
    return part.kind.value
