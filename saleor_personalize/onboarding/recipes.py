"""The journeys that a shop may well begin with, by key: they need little and are rarely wrong."""

RECIPES = (
    "abandoned_checkout",
    "welcome",
    "back_in_stock",
    "price_drop",
    "post_purchase",
    "win_back",
)
