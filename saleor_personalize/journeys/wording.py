"""What a message says: the trigger's content, recommendations, a code, and the links that end messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.journeys import cases, definitions, offering, showing
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.triggers import Content, Live
from saleor_personalize.messaging import guards, links, mail, rendering, segments
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.destinations import Destination
from saleor_personalize.models import Enrollment, Message

#: By these a template links where mails of marketing end.
WAYS_OUT = ("unsubscribe_url", "preferences_url")
#: What triggers show beside what a message is about: nothing for one that an order needs.
_PROMOTIONAL = ("products", "similar", "favourites", "offer")


@dataclass(frozen=True)
class Parts:
    """A rendered message, what is kept of it, who is told along, and where its links lead."""

    rendered: rendering.Rendered
    kept: dict[str, Any]
    along: tuple[Enrollment, ...]
    unsubscribe_url: str
    link: str
    image_url: str
    promo_code: str


def render(
    case: Case,
    step: definitions.Message,
    message: Message,
    destination: Destination,
    live: Live,
    offer: offering.Reserved | None,
    now: datetime,
) -> Parts:
    """Return what a message says. Raises TemplateIncomplete."""
    told = what_is_told(case, step, live, offer, now)
    context = {**told.context, **_links(case, message, destination, now)}
    link, image_url = rendering.landing(context)
    rendered = rendering.render(
        template=step.template,
        language_code=case.about.language_code,
        context={**context, "link": link},
        delivery_channel=destination.delivery_channel,
    )
    if destination.delivery_channel == DeliveryChannel.EMAIL:
        ways_out = [str(context[name]) for name in WAYS_OUT if name in context]
        rendered = mail.finish(message=message, rendered=rendered, ways_out=ways_out, now=now)
    elif destination.delivery_channel == DeliveryChannel.SMS:
        rendered = segments.finish(rendered)
    return Parts(
        rendered=rendered,
        kept=dict(told.kept),
        along=told.along,
        unsubscribe_url=str(context.get("unsubscribe_url", "")),
        link=link,
        image_url=image_url,
        promo_code="" if offer is None else offer.code,
    )


def what_is_told(
    case: Case,
    step: definitions.Message,
    live: Live,
    offer: offering.Reserved | None,
    now: datetime,
) -> Content:
    """Return all that the templates of a message read, but for the links that end messages.

    Raises TemplateIncomplete.
    """
    profile = case.enrollment.profile
    content = case.trigger.content(case.enrollment, live, now)
    kept: Mapping[str, Any] = content.kept
    context: dict[str, Any] = dict(content.context)
    if cases.is_transactional(case):
        context = {name: one for name, one in context.items() if name not in _PROMOTIONAL}
    elif step.recommend is not None:
        picked = _recommended(case, step.recommend, now)
        context["recommended"] = picked
        placement = step.recommend.placement
        told = {"placement": placement, "product_ids": showing.kept(picked)}
        kept = {**kept, "recommended": told}
    if offer is not None:
        context |= offer.context(cart_url=str(context.get("cart_url", "")))
        kept = {**kept, "offer": offer.kept}
    context |= {
        "shop_name": messaging.sender_name(case.enrollment.installation),
        "first_name": profile.first_name,
        "is_transactional": cases.is_transactional(case),
    }
    return Content(context, kept, content.along)


def _recommended(case: Case, wanted: definitions.Recommend, now: datetime) -> list[dict[str, Any]]:
    """Return what the placement shows this person on the site at this moment, as templates see it."""
    profile = case.enrollment.profile
    return showing.recommended(
        profile=profile,
        placement=wanted.placement,
        channel_slug=case.about.channel_slug or showing.channel_of(profile),
        language_code=case.about.language_code,
        now=now,
        most=wanted.most,
    )


def _links(case: Case, message: Message, destination: Destination, now: datetime) -> dict[str, Any]:
    """Return the links by which the reader of an e-mail of marketing ends or changes what they get."""
    found: dict[str, Any] = {}
    if destination.delivery_channel != DeliveryChannel.EMAIL:
        return found
    profile, address_hash = case.enrollment.profile, destination.value_hash
    found["view_url"] = mail.view_url(message=message, now=now)
    if not cases.is_transactional(case):
        found["unsubscribe_url"] = links.unsubscribe_url(profile=profile, address_hash=address_hash)
    found["preferences_url"] = links.preferences_url(
        profile=guards.speaker(profile=profile, recipient=destination),
        address_hash=address_hash,
        language_code=case.about.language_code,
    )
    return found
