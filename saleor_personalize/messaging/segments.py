"""How many segments a text message takes: what it costs, and how it is cut on its way.

3GPP TS 23.038 and 23.040: 160 characters of the GSM alphabet, or 70 of any other (UCS-2), fit into one; of
several, each loses a few to the header by which a phone puts them together. A single character that the GSM
alphabet lacks makes the whole message UCS-2.
"""

from __future__ import annotations

from dataclasses import dataclass

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import TextTooLong
from saleor_personalize.messaging.rendering import Rendered

_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: Take two places: an escape comes first.
_GSM_EXTENDED = frozenset("\f^{}\\[~]|€")
_GSM_ALONE, _GSM_EACH = 160, 153
_UCS2_ALONE, _UCS2_EACH = 70, 67


@dataclass(frozen=True)
class Segments:
    """`count` of a text, `units` in all; `culprits` are its characters that the GSM alphabet lacks."""

    count: int
    units: int
    culprits: str = ""

    @property
    def is_unicode(self) -> bool:
        return bool(self.culprits)


def segments_of(text: str) -> Segments:
    """Count the segments of a text; the empty one takes one, too."""
    lacking = {letter: None for letter in text if letter not in _GSM | _GSM_EXTENDED}
    if lacking:
        sizes = [2 if ord(letter) > 0xFFFF else 1 for letter in text]
        alone, each = _UCS2_ALONE, _UCS2_EACH
    else:
        sizes = [2 if letter in _GSM_EXTENDED else 1 for letter in text]
        alone, each = _GSM_ALONE, _GSM_EACH
    units = sum(sizes)
    return Segments(1 if units <= alone else _cut(sizes, each), units, "".join(lacking))


def _cut(sizes: list[int], most: int) -> int:
    """Return into how many parts characters of these sizes fall: none is cut through."""
    count, used = 1, 0
    for size in sizes:
        if used + size > most:
            count, used = count + 1, 0
        used += size
    return count


def finish(rendered: Rendered) -> Rendered:
    """Return a text message as it goes. Raises TextTooLong above SMS_MAX_SEGMENTS."""
    found = segments_of(rendered.text)
    if found.count > settings.SMS_MAX_SEGMENTS:
        raise TextTooLong(found.count, settings.SMS_MAX_SEGMENTS, is_unicode=found.is_unicode)
    return rendered
