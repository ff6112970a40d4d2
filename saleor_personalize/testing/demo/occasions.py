"""Three occasions beside the cart: a first yes, a sold-out product that is back, a price that fell.

Their journeys are those that come with the app; only their waits are seconds instead of minutes or hours.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import yaml

from saleor_personalize.testing.demo import regular
from saleor_personalize.testing.demo.errors import StoryError
from saleor_personalize.testing.stack import wait_until

if TYPE_CHECKING:
    from saleor_personalize.testing.demo.story import Story

JOURNEYS = ("welcome", "back_in_stock", "price_drop")
NEWCOMER, NEWCOMERS_NAME = "cara@example.com", "Cara"
WAITING = "dora@example.com"

WAIT_FOR = """
mutation($variant: ID!, $channel: String!, $email: String!) {
  stockAlertRequest(variantId: $variant, channel: $channel, email: $email, countryCode: "US") {
    alert { state } errors { code message }
  }
}
"""
ALLOW = """
mutation {
  consentUpdate(purpose: MARKETING, deliveryChannel: EMAIL, topic: "offers", isAllowed: true) { state }
}
"""
OFFERS = """
query($channel: String!) { myOffers(channel: $channel) { code text isFirstOrderOnly } }
"""
PRICE = """
query($variant: ID!, $channel: String!) {
  variantPrice(variantId: $variant, channel: $channel) { price { amount } }
}
"""


class Occasions:
    """Their part of the story. Everything goes and comes through the app's doors and the shop's."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.stack = story.stack
        self.shop = story.shop
        self.channel = story.shop.default_channel

    def play(self) -> dict[str, Any]:
        """Return what each of the three was told; raise StoryError where it went wrong."""
        for key in JOURNEYS:
            self._hurry(key)
            self.stack.run("journeys", "go-live", key)
        bought = {name for _days, names in regular.ORDERS for name in names}
        sold_out, reduced = [
            variant
            for variant in self.shop.variants.values()
            if variant["product"]["name"] not in bought and self.shop.available(variant["id"]) > 2
        ][-2:]
        return {
            "welcome": self._welcome(),
            "back_in_stock": self._back_in_stock(sold_out),
            "price_drop": self._price_drop(reduced),
        }

    def _hurry(self, key: str) -> None:
        """Publish a journey as it comes, but for the wait at its beginning."""
        (exported,) = json.loads(self.stack.run("journeys", "export", key, "--json"))
        definition = yaml.safe_load(exported["definition"])
        definition["trigger"]["after"] = "1 second"
        file = self.stack.folder / f"{key}.json"
        file.write_text(json.dumps(definition))
        self.stack.run("journeys", "apply", str(file))

    def _welcome(self) -> dict[str, str]:
        """Cara opens an account and allows offers; she has never ordered."""
        user = self.shop.add_customer(NEWCOMER, first_name=NEWCOMERS_NAME)
        wait_until(lambda: self.story.told("user", user["id"]), seconds=30, what="Cara's account")
        token = self.story.sign_in(NEWCOMER)
        self.story.ask_app(ALLOW, {}, token=token)
        self.stack.run("journeys", "look")
        subject, text = self._mail(NEWCOMER)
        (offer,) = self.story.ask_app(OFFERS, {"channel": self.channel}, token=token)["myOffers"]
        if offer["code"] not in text or not self.shop.vouchers.codes.get(offer["code"]):
            raise StoryError("The welcome does not carry the code that is in Saleor and hers.")
        self.story.say(f"“{subject}”: {offer['text']} for Cara's first order, by a code in Saleor")
        return {"subject": subject, "offer": offer["text"]}

    def _back_in_stock(self, variant: dict[str, Any]) -> dict[str, str]:
        self.shop.set_stock(variant["id"], 0)
        wanted = {"variant": variant["id"], "channel": self.channel, "email": WAITING}
        wait_until(lambda: self._is_waiting(wanted), seconds=30, what="the product to be sold out")
        self.shop.set_stock(variant["id"], 3)
        subject, text = self._mail(WAITING)
        name = variant["product"]["name"]
        if name not in text:
            raise StoryError(f"The mail about {name} does not name it.")
        self.story.say(f"“{subject}”: to who asked for the sold-out product, and to nobody else")
        return {"subject": subject, "product": name}

    def _is_waiting(self, wanted: dict[str, Any]) -> bool:
        """Sign up. While the app has not heard that it is sold out, it says that it can be bought."""
        answer = self.story.ask_app(WAIT_FOR, wanted)["stockAlertRequest"]
        if answer["errors"]:
            if answer["errors"][0]["code"] != "IN_STOCK":
                raise StoryError(f"The sign-up was refused: {answer['errors']}")
            time.sleep(1)
            return False
        return True

    def _price_drop(self, variant: dict[str, Any]) -> dict[str, Any]:
        """Ben looks at something, signed in; then it costs a fifth less."""
        token = self.story.sign_in(regular.EMAIL)
        self.story.ask_app(ALLOW, {}, token=token)
        before = variant["channelListings"][0]["price"]["amount"]
        now = round(before * 0.8, 2)
        self.story.collect(
            "desktop",
            f"laptop-{uuid.uuid4().hex}",
            {"type": "PRODUCT_VIEWED", "productId": variant["product_id"]},
            token=token,
        )
        self.shop.set_price(variant["id"], now)
        wanted = {"variant": variant["id"], "channel": self.channel}
        wait_until(
            lambda: self.story.ask_app(PRICE, wanted)["variantPrice"]["price"]["amount"] == now,
            seconds=30,
            what="the new price to be known",
        )
        self.stack.run("journeys", "look")
        subject, text = self._mail(regular.EMAIL)
        if f"{now:.2f}" not in text or f"{before:.2f}" not in text:
            raise StoryError("The mail about the lower price does not tell both prices.")
        currency = variant["channelListings"][0]["price"]["currency"]
        self.story.say(
            f"“{subject}”: {before:.2f} {currency} when Ben looked, {now:.2f} {currency} now"
        )
        return {"subject": subject, "before": before, "now": now}

    def _mail(self, address: str) -> tuple[str, str]:
        """Wait for the one mail to an address; return its subject and text."""
        mails = wait_until(
            lambda: self.stack.mailbox.to(address), seconds=90, what=f"a mail to {address}"
        )
        if len(mails) != 1:
            raise StoryError(f"{address} got {len(mails)} mails.")
        return self.story.read(mails[0])
