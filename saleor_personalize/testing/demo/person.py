"""Ana: she browses on a phone, signs in on a laptop and buys in the store, and is one person."""

from __future__ import annotations

import csv
import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from saleor_personalize.testing.demo.errors import StoryError
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import wait_until

if TYPE_CHECKING:
    from saleor_personalize.testing.demo.story import Story

EMAIL = "ana@example.com"
FIRST_NAME = "Ana"
SEGMENT = {
    "key": "store-and-web",
    "name": "Buys in the store, looks online",
    "definition": json.dumps(
        {
            "all": [
                {"rule": "order_count", "origin": "offline", "at_least": 1},
                {"rule": "event", "type": "product_viewed", "at_least": 1},
            ]
        }
    ),
}
COLUMNS = ("receipt", "date", "email", "sku", "qty", "price", "currency", "channel")

PROFILE = """
query($u: ID) { profile(userId: $u) { viewedProducts { productId } segments { key } } }
"""


def receipt(shop: FakeSaleor, sku: str, price: float) -> dict[str, str]:
    """Return a line of the store's till, of now and of Ana; `COLUMNS` name its values."""
    now = datetime.now(UTC)
    values = (f"STORE-{now:%H%M%S}", now.isoformat(), EMAIL, sku, "1", f"{price:.2f}")
    channel = shop.channels[0]
    return dict(zip(COLUMNS, (*values, channel["currencyCode"], channel["slug"]), strict=True))


class Person:
    """Her part of the story. Everything goes and comes through the app's doors."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.stack = story.stack
        self.shop = story.shop
        self.phone = f"phone-{uuid.uuid4().hex}"
        self.laptop = f"laptop-{uuid.uuid4().hex}"
        self.server_key = self.stack.run("keys", "create", "the shop's server").strip()

    def play(self) -> dict[str, Any]:
        """Return what the app knows of her; raise StoryError unless it is one person's."""
        self.story.ask_app(
            "mutation($key: String!, $name: String!, $definition: JSONString!) {"
            " segmentCreate(key: $key, name: $name, definition: $definition) {"
            " faults { path message } } }",
            SEGMENT,
            token=self.server_key,
        )
        user = self.shop.add_customer(EMAIL, first_name=FIRST_NAME)
        wait_until(lambda: self.told("user", user["id"]), seconds=30, what="the account")
        variants = [v for v in self.shop.variants.values() if self.shop.available(v["id"]) > 2]
        on_phone, on_laptop, in_store = variants[:3]

        checkout = self._on_the_phone(on_phone)
        token = self._on_the_laptop(on_laptop)
        self.story.say("Ana looked on a phone as nobody in particular, and signed in on a laptop")
        self._cart_follows(checkout, token)
        self._in_the_store(in_store)
        self.story.say("her cart stayed open; she bought in the store, and the till's file came in")

        wait_until(lambda: self._is_decided(user["id"]), seconds=60, what="the decision")
        segments = wait_until(
            lambda: self._segments(user["id"]), seconds=90, what="Ana to enter the segment"
        )
        told = self.told("user", user["id"]) or {}
        self._check(told, checkout, user["id"])
        self._check_readers(user["id"], token, on_laptop["product_id"])
        self.story.say("one person, one timeline, no reminder; nobody else reads any of it")
        (message,) = (row for row in told["timeline"] if row["kind"] == "message")
        return {
            "profiles": told["profiles"],
            "merges": told["merges"],
            "timeline": told["timeline"],
            "reminder": {"status": message["what"], "reason": message["reason"]},
            "segments": segments,
        }

    # -- what she does ------------------------------------------------------------------------------

    def _on_the_phone(self, variant: dict[str, Any]) -> str:
        product = variant["product_id"]
        self.story.collect("mobile", self.phone, {"type": "PRODUCT_VIEWED", "productId": product})
        created = self.story.ask_shop(
            "mutation($i: CheckoutCreateInput!) { checkoutCreate(input: $i) {"
            " checkout { id } errors { message } } }",
            {
                "i": {
                    "channel": self.shop.default_channel,
                    "lines": [{"variantId": variant["id"], "quantity": 1}],
                }
            },
        )
        checkout = str(created["checkoutCreate"]["checkout"]["id"])
        added = {"type": "CART_ADDED", "productId": product, "variantId": variant["id"]}
        self.story.collect("mobile", self.phone, added, checkoutId=checkout)
        return checkout

    def _on_the_laptop(self, variant: dict[str, Any]) -> str:
        token = self.story.sign_in(EMAIL)
        viewed = {"type": "PRODUCT_VIEWED", "productId": variant["product_id"]}
        self.story.collect("desktop", self.laptop, viewed, token=token)
        return token

    def _cart_follows(self, checkout: str, token: str) -> None:
        """Open the phone's cart on the laptop: it becomes the account's, with “remind me” ticked."""
        self.story.opt_in(checkout)
        self.story.ask_shop(
            "mutation($id: ID!) { checkoutCustomerAttach(id: $id) { errors { message } } }",
            {"id": checkout},
            token=token,
        )

    def _in_the_store(self, variant: dict[str, Any]) -> None:
        file = self.stack.folder / "till.csv"
        price = variant["channelListings"][0]["price"]["amount"]
        with file.open("w", newline="") as till:
            rows = csv.DictWriter(till, COLUMNS)
            rows.writeheader()
            rows.writerow(receipt(self.shop, variant["sku"], price))
        counts = json.loads(self.stack.run("import", str(file), "--json"))
        if (counts["recorded"], counts["rejected"]) != (1, 0):
            raise StoryError(f"The till's file was not taken: {counts}.")

    # -- what the app says --------------------------------------------------------------------------

    def told(self, option: str, value: str) -> dict[str, Any] | None:
        return self.story.told(option, value)

    def _is_decided(self, user_id: str) -> bool:
        told = self.told("user", user_id) or {"timeline": []}
        return any(row["kind"] == "message" for row in told["timeline"])

    def _check(self, told: dict[str, Any], checkout: str, user_id: str) -> None:
        for option, value in (
            ("anonymous-id", self.phone),
            ("anonymous-id", self.laptop),
            ("checkout", checkout),
            ("email", EMAIL),
        ):
            found = self.told(option, value) or {}
            if (found.get("profiles"), found.get("merges")) != (told["profiles"], told["merges"]):
                raise StoryError(f"By --{option} it is somebody else than by --user {user_id}.")
        proofs = {row["proof"] for row in told["merges"] if row["proved_at"]}
        if proofs != {"login", "checkout"}:
            raise StoryError(f"She is one person by {sorted(proofs)}.")
        lines = [(row["kind"], row["what"], row.get("device", "")) for row in told["timeline"]]
        happened = [line for line in lines if line[0] in ("event", "order")]
        wanted = [
            ("event", "product_viewed", "mobile"),
            ("event", "cart_added", "mobile"),
            ("event", "product_viewed", "desktop"),
            ("order", "offline", ""),
        ]
        if happened != wanted or ("cart", "open", "") not in lines:
            raise StoryError(f"Her timeline is {lines}.")
        decisions = [row for row in told["timeline"] if row["kind"] == "message"]
        if [(row["what"], row["reason"]) for row in decisions] != [("not_sent", "ordered")]:
            raise StoryError(f"Of her cart it was decided: {decisions}.")
        if self.stack.mailbox.to(EMAIL):
            raise StoryError("She was reminded although she had bought in the store.")

    def _check_readers(self, user_id: str, token: str, product_id: str) -> None:
        """She and the shop's server read her profile; another customer and a stranger do not."""
        hers = self._profile(token=token)
        if [row["productId"] for row in hers["viewedProducts"]] != [product_id]:
            raise StoryError(f"She reads {hers}.")
        if self._profile(token=self.server_key, user_id=user_id) is None:
            raise StoryError("The shop's server does not find her.")
        other = self.story.sign_in("customer0@example.com")
        for browser in (self.phone, self.laptop):
            if (self._profile(token=other, browser=browser) or {}).get("viewedProducts"):
                raise StoryError("Another customer reads what she looked at.")
            if self._profile(browser=browser) is not None:
                raise StoryError("Whoever knows the id of her browser reads her profile.")

    def _segments(self, user_id: str) -> list[str]:
        found = self._profile(token=self.server_key, user_id=user_id) or {"segments": []}
        return [row["key"] for row in found["segments"]]

    def _profile(self, *, token: str = "", user_id: str | None = None, browser: str = "") -> Any:
        return self.story.ask_app(PROFILE, {"u": user_id}, token=token, browser=browser)["profile"]
