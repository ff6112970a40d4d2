"""Visitors without a name, and customers who look around: what is suggested to them, kept and waited for.

On a place of the shop's own two ways to suggest are tried: an experiment.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from saleor_personalize.testing.demo.errors import StoryError
from saleor_personalize.testing.demo.occasions import WAIT_FOR

if TYPE_CHECKING:
    from saleor_personalize.testing.demo.story import Story

PLACEMENT = "landing_page"
ARMS = [
    {"NAME": "best_sellers"},
    {"NAME": "new_in_the_shop", "RECOMMENDERS": ["newest"], "FALLBACK": ["catalogue"]},
]
VISITORS = 20
#: Every so manieth visitor clicks what is suggested.
CLICKS = 3
CUSTOMERS = ("customer1@example.com", "customer2@example.com", "customer3@example.com")
WAITING = ("jo@example.com", "kim@example.com")

SAVE = """
mutation($key: String!, $arms: JSONString!) {
  placementSave(key: $key, recommenders: ["best_sellers"], fallback: ["catalogue"], arms: $arms) {
    faults { path message }
  }
}
"""
SUGGESTED = """
query($placement: String!, $channel: String!) {
  recommendations(placement: $placement, channel: $channel, first: 3) { productId attributionId arm }
}
"""
KEEP = """
mutation($product: ID!, $channel: String!) {
  favouriteAdd(productId: $product, channel: $channel) { errors { message } }
}
"""


class Visitors:
    """Their part of the story. `server_key` is the shop's own server's."""

    def __init__(self, story: Story, server_key: str) -> None:
        self.story = story
        self.shop = story.shop
        self.channel = story.shop.default_channel
        self.server_key = server_key

    def play(self) -> dict[str, Any]:
        """Return how many saw which arm, clicked, keep something and wait; raise StoryError where it went wrong."""
        self._try_two_ways()
        arms = [self._look_around(number) for number in range(VISITORS)]
        kept = self._keep()
        waiting = self._wait_for_what_is_sold_out()
        told = ", ".join(f"{arms.count(arm)} see “{arm}”" for arm in sorted(set(arms)))
        self.story.say(
            f"{VISITORS} visitors on the landing page: {told}; in the Dashboard under Experiments and, with "
            "what they click, under Results"
        )
        self.story.say(
            f"{kept} customers keep something for later, {waiting} wait for what is sold out: Demand"
        )
        return {"visitors": len(arms), "arms": len(set(arms)), "kept": kept, "waiting": waiting}

    def _try_two_ways(self) -> None:
        saved = self.story.ask_app(
            SAVE, {"key": PLACEMENT, "arms": json.dumps(ARMS)}, token=self.server_key
        )
        if faults := saved["placementSave"]["faults"]:
            raise StoryError(f"The placement {PLACEMENT!r} was not saved: {faults}.")

    def _look_around(self, number: int) -> str:
        """Let a visitor come, see what is suggested and maybe click it; return the arm."""
        browser = f"visitor-{uuid.uuid4().hex}"
        seen = next(iter(self.shop.products))
        self.story.collect("desktop", browser, {"type": "PRODUCT_VIEWED", "productId": seen})
        rows = self.story.ask_app(
            SUGGESTED, {"placement": PLACEMENT, "channel": self.channel}, browser=browser
        )["recommendations"]
        if not rows:
            raise StoryError(f"The placement {PLACEMENT!r} is empty.")
        for slot, row in enumerate(rows, start=1):
            self._tell(browser, "RECOMMENDATION_SHOWN", row, slot)
        if number % CLICKS == 0:
            self._tell(browser, "RECOMMENDATION_CLICKED", rows[0], 1)
        return str(rows[0]["arm"])

    def _tell(self, browser: str, what: str, row: dict[str, str], slot: int) -> None:
        event = {
            "type": what,
            "productId": row["productId"],
            "attributionId": row["attributionId"],
            "slot": slot,
        }
        self.story.collect("desktop", browser, event)

    def _keep(self) -> int:
        """Let customers keep the same product for later; return how many do."""
        wanted = {"product": next(iter(self.shop.products)), "channel": self.channel}
        for email in CUSTOMERS:
            answer = self.story.ask_app(KEEP, wanted, token=self.story.sign_in(email))
            if errors := answer["favouriteAdd"]["errors"]:
                raise StoryError(f"A favourite was refused: {errors}.")
        return len(CUSTOMERS)

    def _wait_for_what_is_sold_out(self) -> int:
        """Let people ask to be told when the product that is sold out is back; return how many do."""
        sold_out = next(
            variant["id"]
            for variant in self.shop.variants.values()
            if self.shop.available(variant["id"]) <= 0
        )
        for email in WAITING:
            wanted = {"variant": sold_out, "channel": self.channel, "email": email}
            answer = self.story.ask_app(WAIT_FOR, wanted)["stockAlertRequest"]
            if answer["errors"]:
                raise StoryError(f"The sign-up was refused: {answer['errors']}")
        return len(WAITING)
