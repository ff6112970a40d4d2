"""What a decision has read it keeps until it is made, while locks hold it still.

Who somebody is and what lies in their cart is asked by a dozen rules of one decision. Under the locks of the
person the answer cannot change, so it is read once (ADR 16).
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_READ: ContextVar[dict[Hashable, Any] | None] = ContextVar("saleor_personalize.held", default=None)


@contextmanager
def held() -> Iterator[None]:
    """Keep what `once` reads until the end. Begin it when the locks are taken; a new one knows nothing."""
    token = _READ.set({})
    try:
        yield
    finally:
        _READ.reset(token)


def once(key: Hashable, read: Callable[[], T]) -> T:
    """Return what `read` returns; within `held` the same object for the same `key`, else read anew.

    Only for rows that are held by the locks of whoever opened `held`; nobody may change what is returned.
    """
    known = _READ.get()
    if known is None:
        return read()
    if key not in known:
        known[key] = read()
    found: T = known[key]
    return found
