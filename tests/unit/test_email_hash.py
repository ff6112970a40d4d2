"""Which addresses are one mailbox: never two people's, always one person's (B106, D2)."""

import pytest

from saleor_personalize.models import email_hash


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("alice@example.com", " Alice@EXAMPLE.com\n"),
        ("ÉLODIE@example.com", "e\N{COMBINING ACUTE ACCENT}lodie@example.com"),
        ("alice@bücher.example", "Alice@BU\N{COMBINING DIAERESIS}CHER.example"),
    ],
    ids=["case and space", "composed or not", "in the domain"],
)
def test_one_mailbox_in_two_spellings(one: str, same: str) -> None:
    assert email_hash(one) == email_hash(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("strasse@example.com", "straße@example.com"),
        ("smith@example.com", "\N{LATIN SMALL LETTER LONG S}mith@example.com"),
        ("fish@example.com", "\N{LATIN SMALL LIGATURE FI}sh@example.com"),
        ("mike@example.com", "m\N{LATIN SMALL LETTER DOTLESS I}ke@example.com"),
        ("alice@example.com", "alice+shop@example.com"),
    ],
)
def test_two_mailboxes_that_look_alike(one: str, other: str) -> None:
    """Folding them together would let the owner of one be taken for the owner of the other."""
    assert email_hash(one) != email_hash(other)
