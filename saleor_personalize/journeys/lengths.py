"""How long the text messages of a journey are at least, before anybody gets one: `journeys check` says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings as django_settings

from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.exceptions import TemplateIncomplete
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys.definitions import Definition
from saleor_personalize.messaging import rendering
from saleor_personalize.messaging.segments import segments_of

#: Values of a usual length: names of shops and products, a link back to a cart.
_LINK = "https://shop.example/checkout?id=Q2hlY2tvdXQ6MDAwMDAwMDA"
_CODE = "ABCD-EFGH-JKLM"


@dataclass(frozen=True)
class Length:
    """Of one message in the language that takes most: what it takes with values of a usual length."""

    step: str
    template: str
    language_code: str
    segments: int
    is_unicode: bool

    @property
    def is_too_long(self) -> bool:
        return bool(self.segments > settings.SMS_MAX_SEGMENTS)

    def __str__(self) -> str:
        alphabet = "UCS-2" if self.is_unicode else "GSM"
        return f"{self.step} ({self.language_code}): {self.segments} x {alphabet}"


def text_messages(definition: Definition) -> list[Length]:
    """Return the length of every text message of a definition, over all languages of the service.

    A template that cannot be read without what is told at the time is left out.
    """
    found: dict[str, Length] = {}
    for one in _lengths(definition):
        longest = found.setdefault(one.step, one)
        if one.segments > longest.segments:
            found[one.step] = one
    return list(found.values())


def _lengths(definition: Definition) -> Iterator[Length]:
    has_offer = False
    for _path, step in definitions.walk(definition):
        has_offer = has_offer or isinstance(step, definitions.Offer)
        if not isinstance(step, definitions.Message) or not _is_text(step):
            continue
        if DeliveryChannel.SMS not in rendering.channels_of(step.template):
            continue
        for language, _name in django_settings.LANGUAGES:
            values = {"shop_name": "Your shop", "first_name": "Alexandra", "link": _LINK}
            try:
                text = rendering.sketch(
                    template=step.template,
                    language_code=language,
                    delivery_channel=DeliveryChannel.SMS,
                    context={**values, **({"offer": {"code": _CODE}} if has_offer else {})},
                ).text
            except TemplateIncomplete:
                continue
            found = segments_of(text)
            yield Length(step.id, step.template, language, found.count, found.is_unicode)


def _is_text(step: definitions.Message) -> bool:
    ways = {step.delivery_channel, step.fallback.to if step.fallback else ""}
    is_best = definitions.BEST in ways and DeliveryChannel.SMS in settings.CHANNELS
    return DeliveryChannel.SMS in ways or is_best
