"""Codes that nobody guesses and everybody can read out."""

from __future__ import annotations

import secrets

#: No 0 O, 1 I L, U V, 5 S, 2 Z, 8 B: what people take for one another.
ALPHABET = "34679ACDEFGHJKMNPQRTWXY"
_GROUPS, _LETTERS = 4, 4


def draw() -> str:
    """Return a new code, such as "K7QD-4MXA-RT9H-CE36": 72 random bits, four groups of four."""
    return "-".join(
        "".join(secrets.choice(ALPHABET) for _ in range(_LETTERS)) for _ in range(_GROUPS)
    )
