"""What is wrong with a definition, all of it told at once."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.journeys.definitions.shapes import Known


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where ("steps[1].message.template"), which value, and what would do."""

    path: str
    message: str
    value: Any = None
    suggestion: str = ""

    def __str__(self) -> str:
        shown = "" if self.value is None else f" {_short(self.value)}"
        hint = f" Did you mean {self.suggestion!r}?" if self.suggestion else ""
        return f"{self.path or 'the journey'}:{shown} {self.message}.{hint}"


class InvalidJourney(PersonalizeError):
    """A definition cannot be used; every fault is told at once."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class Reader:
    """What is read by, and every fault found on the way."""

    def __init__(self, known: Known | None) -> None:
        self.known = known
        self.faults: list[Fault] = []
        #: Type of the trigger, once it is read.
        self.trigger = ""

    def fault(self, path: str, message: str, value: Any = None) -> None:
        self.faults.append(Fault(path, message, value))

    def unknown(
        self,
        path: str,
        message: str,
        value: Any,
        known: Collection[str],
        *,
        is_listed: bool = False,
    ) -> None:
        close = difflib.get_close_matches(str(value), list(known), n=1)
        told = "" if close or is_listed else f" (known: {', '.join(sorted(known)) or 'none'})"
        self.faults.append(Fault(path, message + told, value, close[0] if close else ""))

    def unknown_key(self, path: str, message: str, key: str, known: Collection[str]) -> None:
        close = difflib.get_close_matches(key, list(known), n=1)
        told = message + ("" if close else f" (known: {', '.join(known) or 'none'})")
        self.faults.append(Fault(path, told, None, close[0] if close else ""))


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
