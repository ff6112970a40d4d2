"""The definition of a journey: frozen dataclasses, read strictly from YAML or JSON and written back.

Plain Python: what triggers, templates and topics there are is told by `Known`. One table of fields
makes both the reader and the JSON Schema, so neither can know what the other does not.
"""

from saleor_personalize.journeys.definitions.faults import Fault, InvalidJourney
from saleor_personalize.journeys.definitions.json_schema import schema
from saleor_personalize.journeys.definitions.lines import line_of
from saleor_personalize.journeys.definitions.options import option_table, read_options
from saleor_personalize.journeys.definitions.reading import NotYaml, dump, load, parse, read_yaml
from saleor_personalize.journeys.definitions.shapes import (
    BEST,
    MAX_HOLDOUT,
    MAX_STEPS,
    Branch,
    Definition,
    Exit,
    Fallback,
    Known,
    Message,
    Offer,
    Path,
    Recommend,
    Reentry,
    Split,
    Step,
    TriggerRef,
    Wait,
    WaitFor,
    Webhook,
)
from saleor_personalize.journeys.definitions.walking import (
    branches_of,
    delivery_channels_of,
    following_path,
    into_branch,
    next_message,
    offers_of,
    path_text,
    segments_named,
    step_at,
    walk,
)

__all__ = [
    "BEST",
    "MAX_HOLDOUT",
    "MAX_STEPS",
    "Branch",
    "Definition",
    "Exit",
    "Fallback",
    "Fault",
    "InvalidJourney",
    "Known",
    "Message",
    "NotYaml",
    "Offer",
    "Path",
    "Recommend",
    "Reentry",
    "Split",
    "Step",
    "TriggerRef",
    "Wait",
    "WaitFor",
    "Webhook",
    "branches_of",
    "delivery_channels_of",
    "dump",
    "following_path",
    "into_branch",
    "line_of",
    "load",
    "next_message",
    "offers_of",
    "option_table",
    "parse",
    "path_text",
    "read_options",
    "read_yaml",
    "schema",
    "segments_named",
    "step_at",
    "walk",
]
