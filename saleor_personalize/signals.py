"""Signals for integrators. Inside the app, call the function instead.

Each is sent with `send_robust` after the transaction commits. Simulations and dry runs tell nobody.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django import dispatch

_IS_MUTED: ContextVar[bool] = ContextVar("saleor_personalize.signals", default=False)


class Signal(dispatch.Signal):
    """A signal that is told to nobody while it is `muted`."""

    def send_robust(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        return [] if _IS_MUTED.get() else super().send_robust(sender, **named)


@contextmanager
def muted() -> Iterator[None]:
    """Tell integrators of nothing that happens in this thread meanwhile: it does not really happen."""
    token = _IS_MUTED.set(True)
    try:
        yield
    finally:
        _IS_MUTED.reset(token)


#: installation
app_installed = Signal()
#: installation, message
message_sent = Signal()
#: installation, message (its `reason` says why)
message_not_sent = Signal()
#: installation, segment, profile (the one that speaks for the person), at
segment_entered = Signal()
#: installation, segment, profile (the one that speaks for the person), at
segment_left = Signal()
#: installation, consent (the line of the ledger that was added)
consent_changed = Signal()
#: installation, model (the version that answers from now on), before (the one it follows, or None)
model_published = Signal()
