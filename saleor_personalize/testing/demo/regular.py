"""Ben: he has bought his tea here every month, and is about to run out of it."""

from __future__ import annotations

from saleor_personalize.testing.saleor import FakeSaleor

EMAIL = "ben@example.com"
FIRST_NAME = "Ben"
#: What he bought, and how many days ago.
ORDERS = (
    (122, ("Morning Harbour tea, 100 g", "Cast iron teapot")),
    (92, ("Morning Harbour tea, 100 g", "Cast iron strainer")),
    (62, ("Morning Harbour tea, 100 g",)),
    (32, ("Morning Harbour tea, 100 g", "Ginger Road tea, 50 g")),
)


def arrive(shop: FakeSaleor) -> None:
    """Give the shop this customer, with what he bought before the app came."""
    user = shop.add_customer(EMAIL, first_name=FIRST_NAME)
    for days, names in ORDERS:
        shop.add_past_order(user, names, days_ago=days)
