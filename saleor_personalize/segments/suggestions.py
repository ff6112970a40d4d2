"""Segments that most shops want, offered on the page; none is made by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from saleor_personalize.models import Installation, Segment
from saleor_personalize.segments.definition import AllOf, Definition, Not
from saleor_personalize.segments.rules import (
    ConsentGiven,
    EventCount,
    Favourites,
    LastOrder,
    OpenCheckout,
    OrderCount,
)


@dataclass(frozen=True)
class Suggestion:
    key: str
    name: Any
    why: Any
    definition: Definition


SUGGESTIONS = (
    Suggestion(
        "interested",
        _("Interested, never bought"),
        _("They look again and again: a first order needs a small push."),
        AllOf(
            EventCount(type="product_viewed", at_least=3, days=14),
            OrderCount(at_most=0),
        ),
    ),
    Suggestion(
        "first-order",
        _("Ordered once, lately"),
        _("A second order within two months makes a regular customer."),
        AllOf(OrderCount(at_least=1, at_most=1), LastOrder(days_ago_at_most=60)),
    ),
    Suggestion(
        "regulars",
        _("Regular customers"),
        _("Whom to thank, and to show new products first."),
        OrderCount(at_least=3, days=365),
    ),
    Suggestion(
        "gone-quiet",
        _("Gone quiet"),
        _("Ordered more than once, but not for half a year."),
        AllOf(OrderCount(at_least=2), LastOrder(days_ago_at_least=180)),
    ),
    Suggestion(
        "left-a-cart",
        _("Left a cart, may be written to"),
        _("A cart that was left for a day, by people who allowed offers by e-mail."),
        AllOf(
            OpenCheckout(idle_hours=24),
            ConsentGiven(purpose="marketing", delivery_channel="email", state="granted"),
        ),
    ),
    Suggestion(
        "keeps-favourites",
        _("Keeps favourites, has not bought lately"),
        _("They know what they want: tell them when its price falls."),
        AllOf(Favourites(at_least=1), Not(OrderCount(at_least=1, days=30))),
    ),
)


def suggestions(*, installation: Installation) -> list[Suggestion]:
    """Return those that the shop has not made yet."""
    known = set(Segment.objects.of(installation).values_list("key", flat=True))
    return [found for found in SUGGESTIONS if found.key not in known]
