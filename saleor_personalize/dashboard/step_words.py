"""The first steps and the journeys to begin with, in words."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from saleor_personalize.onboarding.queries import StepKey


@dataclass(frozen=True)
class Told:
    """`why` says what a step is good for; `page` is the URL name of where it is done, `go` the way there."""

    title: Promise
    why: Promise
    page: str
    go: Promise


STEPS = {
    StepKey.HISTORY: Told(
        gettext_lazy("Read the history of your shop"),
        gettext_lazy(
            "Products, customers and past orders: so nobody is told what they bought long ago."
        ),
        "dashboard-overview",
        gettext_lazy("To the back-fill"),
    ),
    StepKey.STOREFRONT: Told(
        gettext_lazy("Connect your storefront"),
        gettext_lazy("It tells what people look at. Carts and orders come from Saleor anyway."),
        "dashboard-settings-page",
        gettext_lazy("To the settings"),
    ),
    StepKey.SENDER: Told(
        gettext_lazy("Set the sender and the cart link"),
        gettext_lazy("Who the mails come from, and where their button leads."),
        "dashboard-settings-page",
        gettext_lazy("To the settings"),
    ),
    StepKey.CHECKED: Told(
        gettext_lazy("Make the go-live check"),
        gettext_lazy("What receivers of mail look at before they take many messages."),
        "dashboard-go-live-page",
        gettext_lazy("To the check"),
    ),
    StepKey.RECIPE: Told(
        gettext_lazy("Choose a first journey"),
        gettext_lazy("One of those below; more can follow at any time."),
        "",
        gettext_lazy("Choose"),
    ),
    StepKey.DRY_RUN: Told(
        gettext_lazy("Look at its dry run"),
        gettext_lazy("What it would have sent lately, and would send in the next seven days."),
        "dashboard-journey",
        gettext_lazy("To the journey"),
    ),
    StepKey.TEST_SENT: Told(
        gettext_lazy("Send its message to yourself"),
        gettext_lazy("As a real person would get it, with what is wrong with it."),
        "dashboard-previews",
        gettext_lazy("Try the message"),
    ),
    StepKey.LIVE: Told(
        gettext_lazy("Go live"),
        gettext_lazy("From then on it writes to people, and only about what happens from then on."),
        "dashboard-journey",
        gettext_lazy("To the journey"),
    ),
}


@dataclass(frozen=True)
class Recipe:
    """`what` happens, and for `whom`."""

    what: Promise
    whom: Promise


RECIPES = {
    "abandoned_checkout": Recipe(
        gettext_lazy(
            "A mail with the way back into the cart after an hour, and one more a day later."
        ),
        gettext_lazy("Who leaves a cart, allowed reminders and has not ordered since."),
    ),
    "welcome": Recipe(
        gettext_lazy("A welcome with 10 % for the first order."),
        gettext_lazy("Who allows messages for the first time and has never ordered."),
    ),
    "back_in_stock": Recipe(
        gettext_lazy("A message as soon as it is back, in as many rounds as there are pieces."),
        gettext_lazy("Who asked to be told of a sold-out product."),
    ),
    "price_drop": Recipe(
        gettext_lazy("A message when it costs at least 5 % less than what they know."),
        gettext_lazy("Who looked at a product, keeps it or has it in a cart."),
    ),
    "post_purchase": Recipe(
        gettext_lazy("Thanks, and twelve days later the wish for a review."),
        gettext_lazy("Whose order has gone out completely."),
    ),
    "win_back": Recipe(
        gettext_lazy("A reminder of the shop; ten days later a code, if they may have one."),
        gettext_lazy("Who stays away for twice as long as they use to."),
    ),
}
