"""What recommenders said last, for when one breaks (B40). Never what was said to a person we know."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

from saleor_personalize.ml import Candidate

_MOST_LISTS, _MOST_PLACES = 5_000, 60


class _LastGood:
    """The newest lists, a bounded number of them."""

    def __init__(self) -> None:
        self._lists: OrderedDict[Hashable, list[Candidate]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> list[Candidate] | None:
        return self._lists.get(key)

    def put(self, key: Hashable, found: list[Candidate]) -> None:
        with self._lock:
            self._lists[key] = found[:_MOST_PLACES]
            self._lists.move_to_end(key)
            while len(self._lists) > _MOST_LISTS:
                self._lists.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._lists.clear()


last_good = _LastGood()
