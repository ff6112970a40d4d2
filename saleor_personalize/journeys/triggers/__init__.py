"""The triggers of journeys: those built in, and those that TRIGGERS names."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Any

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from saleor_personalize.conf import SETTING_NAME, settings
from saleor_personalize.exceptions import ConfigurationError, UnknownAlias
from saleor_personalize.journeys.definitions import TriggerRef, option_table, read_options
from saleor_personalize.journeys.triggers.base import (
    About,
    AskSaleor,
    CheckoutChanged,
    Content,
    Entry,
    Fact,
    Go,
    Live,
    NoOptions,
    OrderChanged,
    Question,
    Sample,
    StockChanged,
    Stop,
    Subject,
    SubjectGone,
    Trigger,
    Verdict,
    Wait,
    identities_of,
)


@functools.cache
def known_triggers() -> Mapping[str, type[Trigger]]:
    """Return the triggers that journeys may use, by key. Raises ConfigurationError for a wrong setting."""
    found: dict[str, type[Trigger]] = {}
    for key, path in settings.TRIGGERS.items():
        where = f"{SETTING_NAME}['TRIGGERS'][{key!r}]"
        try:
            trigger = import_string(path)
        except ImportError as error:
            raise ConfigurationError(
                f"{where} names {path!r}, which cannot be imported: {error}"
            ) from error
        if not (isinstance(trigger, type) and issubclass(trigger, Trigger)):
            raise ConfigurationError(
                f"{where} names {path!r}, which is no subclass of "
                "saleor_personalize.journeys.triggers.Trigger."
            )
        own = getattr(trigger, "key", None)
        if own != key:
            raise ConfigurationError(f"{where} names a trigger whose key is {own!r}.")
        try:
            option_table(trigger.Options)
        except TypeError as error:
            raise ConfigurationError(f"{where}: {error}") from error
        found[key] = trigger
    return found


def trigger_of(reference: TriggerRef, *, delivery_channels: Collection[str] = ()) -> Trigger:
    """Return the trigger of a definition with its options. Raises UnknownAlias, InvalidJourney.

    `delivery_channels`: by what the journey writes, which who brings people in has to tell.
    """
    known = known_triggers()
    if reference.type not in known:
        raise UnknownAlias(
            f"{SETTING_NAME}['TRIGGERS'] has no entry {reference.type!r}. "
            f"Known: {', '.join(sorted(known))}."
        )
    type_ = known[reference.type]
    found = type_(read_options(type_.Options, reference.options, "trigger"))
    if delivery_channels:
        found.delivery_channels = tuple(sorted(delivery_channels))
    return found


def _forget(*, setting: str, **_: Any) -> None:
    if setting == SETTING_NAME:
        known_triggers.cache_clear()


setting_changed.connect(_forget, dispatch_uid="saleor_personalize.journeys.triggers")

__all__ = [
    "About",
    "AskSaleor",
    "CheckoutChanged",
    "Content",
    "Entry",
    "Fact",
    "Go",
    "Live",
    "NoOptions",
    "OrderChanged",
    "Question",
    "Sample",
    "StockChanged",
    "Stop",
    "Subject",
    "SubjectGone",
    "Trigger",
    "Verdict",
    "Wait",
    "identities_of",
    "known_triggers",
    "trigger_of",
]
