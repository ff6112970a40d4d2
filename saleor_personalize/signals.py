"""Signals for integrators. Inside the app, call the function instead.

Each is sent with `send_robust` after the transaction commits.
"""

from django.dispatch import Signal

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
