"""The JSON Schema of definitions."""

from __future__ import annotations

from typing import Any

from saleor_personalize.journeys.definitions.options import option_table, required_of
from saleor_personalize.journeys.definitions.shapes import Definition, Known
from saleor_personalize.journeys.definitions.tables import DEFINITION, STEP_TYPES, STEPS, schema_of


def schema(known: Known | None = None) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a definition; with the options of the triggers known."""
    whole = schema_of(Definition, DEFINITION)
    if known is not None:
        whole["properties"]["trigger"] = {
            "oneOf": [_trigger_schema(key, type_) for key, type_ in sorted(known.triggers.items())]
        }
    steps = [
        {
            "type": "object",
            "properties": {name: schema_of(STEP_TYPES[name], table)},
            "required": [name],
            "additionalProperties": False,
        }
        for name, table in STEPS.items()
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Journey",
        **whole,
        "$defs": {"step": {"oneOf": [*steps, {"const": "exit"}]}},
    }


def _trigger_schema(key: str, type_: type) -> dict[str, Any]:
    options = {name: kind.schema() for name, kind in option_table(type_).items()}
    return {
        "type": "object",
        "properties": {"type": {"const": key}, **options},
        "required": ["type", *sorted(required_of(type_))],
        "additionalProperties": False,
    }
