"""Small things that a process remembers for a little while, never more than a bounded number."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")

_all: WeakSet[Remembered[object]] = WeakSet()


class Remembered(Generic[T]):
    """Key -> value, read again after `seconds`. Full, it starts from nothing."""

    def __init__(self, *, seconds: float, most: int = 2_000) -> None:
        self.seconds = seconds
        self.most = most
        self._known: dict[Hashable, tuple[float, T]] = {}
        _all.add(self)  # type: ignore[arg-type]

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        return self.get_many([key], lambda _: {key: read()})[key]

    def get_many(
        self, keys: Sequence[Hashable], read: Callable[[list[Any]], Mapping[Any, T]]
    ) -> dict[Any, T]:
        """Return the values of keys; `read` is asked once for those that are not known."""
        now = time.monotonic()
        found, missing = {}, []
        for key in keys:
            known = self._known.get(key)
            if known is not None and known[0] > now:
                found[key] = known[1]
            else:
                missing.append(key)
        if missing:
            fresh = read(missing)
            if len(self._known) + len(missing) > self.most:
                self._known.clear()
            for key in missing:
                found[key] = fresh[key]
                self._known[key] = (now + self.seconds, fresh[key])
        return found

    def clear(self) -> None:
        self._known.clear()


def forget() -> None:
    """Drop all that is remembered so."""
    for each in list(_all):
        each.clear()
