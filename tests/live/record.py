"""Record the webhooks of a live Saleor, scenario by scenario: `make record SALEOR_API_URL=...`.

Each scenario is what a shopper or a staff member did; the app under test received the webhooks,
and its stored deliveries are written to tests/payloads/saleor/<version>/ in order of arrival.
`SALEOR_WORKER_PIDS` (comma-separated) lets the "deferred" scenarios hold Saleor's worker still.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.live.shop import ADDRESS, CHANNEL, LiveShop

PAYLOADS = Path(__file__).parent.parent / "payloads" / "saleor"
QUIET_SECONDS = 4.0


class Scenarios:
    def __init__(self, shop: LiveShop, app_id: str, app_token: Callable[[], str]) -> None:
        self.shop = shop
        self.app_id = app_id
        self.app_token = app_token
        self.variants = shop.variants(6)

    def _address(self) -> str:
        return f"shopper-{uuid.uuid4().hex[:8]}@example.com"

    def _mutate(self, name: str, arguments: str, variables: dict[str, Any], types: str) -> Any:
        return self.shop.staff(
            f"mutation({types}) {{ {name}({arguments}) {{ errors {{ field message code }} }} }}",
            variables,
        )

    def _warehouses(self) -> list[str]:
        data = self.shop.staff("{ warehouses(first: 50) { edges { node { id } } } }")
        return [edge["node"]["id"] for edge in data["warehouses"]["edges"]]

    def _set_stock(self, variant: str, rows: list[tuple[str, int]]) -> None:
        self._mutate(
            "productVariantStocksUpdate",
            "variantId: $id, stocks: $stocks",
            {"id": variant, "stocks": [{"warehouse": w, "quantity": q} for w, q in rows]},
            "$id: ID!, $stocks: [StockInput!]!",
        )

    def _stocks(self, variant: str) -> list[dict[str, Any]]:
        return self.shop.staff(
            "query($id: ID!) { productVariant(id: $id) { stocks {"
            " quantity quantityAllocated warehouse { id } } } }",
            {"id": variant},
        )["productVariant"]["stocks"]

    def _product(self) -> dict[str, str]:
        """Make a product with one variant, sold in the test channel, without stock."""
        return self.shop.product(f"Recorded lamp {uuid.uuid4().hex[:4]}", {CHANNEL: 20})

    def _fulfil(self, order: str) -> None:
        lines = self.shop.staff(
            "query($id: ID!) { order(id: $id) { lines { id quantity"
            " allocations { quantity warehouse { id } } } } }",
            {"id": order},
        )["order"]["lines"]
        self._mutate(
            "orderFulfill",
            "order: $id, input: $i",
            {
                "id": order,
                "i": {
                    "lines": [
                        {
                            "orderLineId": line["id"],
                            "stocks": [
                                {"quantity": a["quantity"], "warehouse": a["warehouse"]["id"]}
                                for a in line["allocations"]
                            ],
                        }
                        for line in lines
                    ]
                },
            },
            "$id: ID, $i: OrderFulfillInput!",
        )

    def _send_back(self, order: str) -> None:
        """Take back one piece of what was fulfilled."""
        fulfillments = self.shop.staff(
            "query($id: ID!) { order(id: $id) { fulfillments { status lines { id } } } }",
            {"id": order},
        )["order"]["fulfillments"]
        line = next(
            line["id"] for f in fulfillments if f["status"] == "FULFILLED" for line in f["lines"]
        )
        self._mutate(
            "orderFulfillmentReturnProducts",
            "order: $id, input: $i",
            {"id": order, "i": {"fulfillmentLines": [{"fulfillmentLineId": line, "quantity": 1}]}},
            "$id: ID!, $i: OrderReturnProductsInput!",
        )

    def _pay_back(self, order: str, amount: int) -> None:
        """Say that so much was paid back by now, as a payment app does."""
        (transaction,) = self.shop.staff(
            "query($id: ID!) { order(id: $id) { transactions { id } } }", {"id": order}
        )["order"]["transactions"]
        money = {"amount": amount, "currency": "USD"}
        self._mutate(
            "transactionUpdate",
            "id: $id, transaction: $t",
            {"id": transaction["id"], "t": {"amountRefunded": money}},
            "$id: ID!, $t: TransactionUpdateInput!",
        )

    # -- scenarios: each docstring goes into the README ----------------------------------------

    def checkout(self) -> None:
        """A guest fills a cart, gives an e-mail and opts in; adds a line; nothing is bought."""
        checkout = self.shop.checkout(None, [self.variants[0]["id"]])
        self.shop.set_email(checkout, self._address())
        self.shop.gql(
            "mutation($id: ID!, $i: [MetadataInput!]!) { updateMetadata(id: $id, input: $i) {"
            " errors { message } } }",
            {"id": checkout, "i": [{"key": "marketing_opt_in", "value": "true"}]},
        )
        self.shop.gql(
            "mutation($id: ID!, $l: [CheckoutLineInput!]!) { checkoutLinesAdd(id: $id, lines: $l) {"
            " errors { field message } } }",
            {"id": checkout, "l": [{"variantId": self.variants[1]["id"], "quantity": 2}]},
        )

    def order(self) -> None:
        """A guest opts in, pays and completes: the order's webhooks arrive out of order (trap 6)."""
        self.shop.buy(self.shop.checkout(self._address(), [self.variants[0]["id"]], opt_in=True))

    def order_other_email(self) -> None:
        """The e-mail is changed just before the purchase: same checkout, another address."""
        checkout = self.shop.checkout(self._address(), [self.variants[1]["id"]], opt_in=True)
        self.shop.set_email(checkout, self._address())
        self.shop.buy(checkout)

    def draft_order(self) -> None:
        """Staff complete a draft order: an order without a checkout."""
        channel = next(
            c["id"]
            for c in self.shop.staff("{ channels { id slug } }")["channels"]
            if c["slug"] == CHANNEL
        )
        draft = self.shop.staff(
            "mutation($i: DraftOrderCreateInput!) { draftOrderCreate(input: $i) {"
            " order { id shippingMethods { id } } errors { field message code } } }",
            {
                "i": {
                    "channelId": channel,
                    "userEmail": self._address(),
                    "shippingAddress": ADDRESS,
                    "billingAddress": ADDRESS,
                    "lines": [{"variantId": self.variants[0]["id"], "quantity": 1}],
                }
            },
        )["draftOrderCreate"]["order"]
        self._mutate(
            "orderUpdateShipping",
            "order: $id, input: $i",
            {"id": draft["id"], "i": {"shippingMethod": draft["shippingMethods"][0]["id"]}},
            "$id: ID!, $i: OrderUpdateShippingInput!",
        )
        self._mutate("draftOrderComplete", "id: $id", {"id": draft["id"]}, "$id: ID!")

    def order_cancelled(self) -> None:
        """An order is placed and cancelled."""
        order = self.shop.buy(self.shop.checkout(self._address(), [self.variants[2]["id"]]))
        self._mutate("orderCancel", "id: $id", {"id": order}, "$id: ID!")

    def order_returned(self) -> None:
        """Three pieces are bought and fulfilled; one comes back and is paid back, then another one."""
        made = self.shop.product(f"Recorded plate {uuid.uuid4().hex[:4]}", {CHANNEL: 20}, pieces=5)
        order = self.shop.buy(self.shop.checkout(self._address(), [made["variant"]] * 3))
        time.sleep(1)
        self._fulfil(order)
        for pieces in (1, 2):
            time.sleep(QUIET_SECONDS)
            self._send_back(order)
            self._pay_back(order, 20 * pieces)
        time.sleep(QUIET_SECONDS)
        self.shop.delete_products([made["product"]])

    def last_unit(self) -> None:
        """The last piece is sold, then fulfilled: BACK_IN_STOCK lies, OUT_OF_STOCK follows (trap 1)."""
        made = self._product()
        warehouse = self.shop.warehouse()
        self._mutate(
            "productVariantStocksCreate",
            "variantId: $id, stocks: $s",
            {"id": made["variant"], "s": [{"warehouse": warehouse, "quantity": 1}]},
            "$id: ID!, $s: [StockInput!]!",
        )
        time.sleep(1)
        order = self.shop.buy(self.shop.checkout(self._address(), [made["variant"]]))
        time.sleep(1)
        self._fulfil(order)

    def per_warehouse(self) -> None:
        """One variant becomes available, and sold out, in three warehouses: an event each (trap 2)."""
        made = self._product()
        warehouses = self._warehouses()[:3]
        self._mutate(
            "productVariantStocksCreate",
            "variantId: $id, stocks: $s",
            {"id": made["variant"], "s": [{"warehouse": w, "quantity": 2} for w in warehouses]},
            "$id: ID!, $s: [StockInput!]!",
        )
        time.sleep(1)
        self._set_stock(made["variant"], [(w, 0) for w in warehouses[:2]])

    def in_channel(self) -> None:
        """With zone-based availability off, the IN_CHANNEL events come too (trap 3)."""
        switch = (
            "mutation($v: Boolean!) { shopSettingsUpdate(input: {"
            " useLegacyShippingZoneStockAvailability: $v }) { errors { field message } } }"
        )
        self.shop.staff(switch, {"v": False})
        try:
            made = self._product()
            warehouse = self.shop.warehouse()
            self._mutate(
                "productVariantStocksCreate",
                "variantId: $id, stocks: $s",
                {"id": made["variant"], "s": [{"warehouse": warehouse, "quantity": 2}]},
                "$id: ID!, $s: [StockInput!]!",
            )
            time.sleep(1)
            self._set_stock(made["variant"], [(warehouse, 0)])
            time.sleep(QUIET_SECONDS)
        finally:
            self.shop.staff(switch, {"v": True})

    def price_change(self) -> None:
        """A price goes from 20 to 30: only PRODUCT_VARIANT_UPDATED tells (trap 4)."""
        made = self._product()
        self.shop.price(made["variant"], made["channel"], 30)

    def price_under_promotion(self) -> None:
        """The same under a 10 % promotion: `previousPrice` is the new undiscounted price (trap 4)."""
        made = self._product()
        promotion = self.shop.staff(
            "mutation($i: PromotionCreateInput!) { promotionCreate(input: $i) {"
            " promotion { id } errors { field message code } } }",
            {
                "i": {
                    "name": "Recorded promotion",
                    "type": "CATALOGUE",
                    "rules": [
                        {
                            "channels": [made["channel"]],
                            "rewardValueType": "PERCENTAGE",
                            "rewardValue": 10,
                            "cataloguePredicate": {"productPredicate": {"ids": [made["product"]]}},
                        }
                    ],
                }
            },
        )["promotionCreate"]["promotion"]["id"]
        time.sleep(25)
        self.shop.price(made["variant"], made["channel"], 30)
        time.sleep(25)
        self._mutate("promotionDelete", "id: $id", {"id": promotion}, "$id: ID!")

    def customer_deleted_by_staff(self) -> None:
        """Staff create, change and delete a customer: CUSTOMER_DELETED only (trap 5)."""
        user = self.shop.staff(
            "mutation($i: UserCreateInput!) { customerCreate(input: $i) {"
            " user { id } errors { field message code } } }",
            {"i": {"email": self._address(), "firstName": "Recorded"}},
        )["customerCreate"]["user"]["id"]
        self._mutate(
            "customerUpdate",
            "id: $id, input: $i",
            {"id": user, "i": {"firstName": "Renamed"}},
            "$id: ID!, $i: CustomerInput!",
        )
        time.sleep(1)
        self._mutate("customerDelete", "id: $id", {"id": user}, "$id: ID!")

    def deferred(self) -> None:
        """Saleor's worker stands still: CHECKOUT_CREATED carries what came later (trap 7)."""
        with worker_held():
            checkout = self.shop.checkout(None, [self.variants[0]["id"]])
            self.shop.set_email(checkout, self._address())

    def deferred_completed(self) -> None:
        """The worker stands still until the cart is an order: no CHECKOUT webhook at all (trap 7)."""
        with worker_held():
            self.shop.buy(self.shop.checkout(self._address(), [self.variants[1]["id"]]))

    def other_channel(self) -> None:
        """A cart in each sales channel: no filter of a manifest keeps one out (trap 8)."""
        self.shop.checkout(self._address(), [self.variants[0]["id"]])
        data = self.shop.gql(
            '{ products(first: 20, channel: "channel-pln", filter: { stockAvailability: IN_STOCK,'
            " isAvailable: true }) { edges { node { variants { id } } } } }"
        )
        variant = data["products"]["edges"][0]["node"]["variants"][0]["id"]
        self.shop.gql(
            "mutation($i: CheckoutCreateInput!) { checkoutCreate(input: $i) {"
            " errors { field message code } } }",
            {
                "i": {
                    "channel": "channel-pln",
                    "email": self._address(),
                    "lines": [{"variantId": variant, "quantity": 1}],
                }
            },
        )

    def cart_changes_hands(self) -> None:
        """A cart that was nobody's is half sold out and re-priced; its customer buys in the second channel under another e-mail, and only then the cart becomes theirs."""
        email, password = self._address(), "A-long-passw0rd"
        prices = {CHANNEL: 20, "channel-pln": 80}
        runs_out, is_priced = (
            self.shop.product(f"Recorded cup {uuid.uuid4().hex[:4]}", prices, pieces=5)
            for _ in range(2)
        )
        user = self.shop.register(email, password)
        token = self.shop.login(email, password)
        cart = self.shop.checkout(None, [runs_out["variant"], is_priced["variant"]])
        time.sleep(1)
        self.shop.stock(runs_out["variant"], 0)
        self.shop.price(is_priced["variant"], is_priced["channel"], 15)
        bought = self.shop.checkout(None, [is_priced["variant"]], channel="channel-pln")
        self.shop.attach(bought, token)
        self.shop.set_email(bought, self._address())
        self.shop.buy(bought)
        time.sleep(1)
        self.shop.attach(cart, token)
        time.sleep(QUIET_SECONDS)
        self.shop.delete_customer(user)
        self.shop.delete_products([runs_out["product"], is_priced["product"]])

    def metadata_loop(self) -> None:
        """The app writes metadata: X_UPDATED comes back to it with itself as the author (trap 9)."""
        self.shop.gql(
            "mutation($id: ID!, $i: [MetadataInput!]!) { updatePrivateMetadata(id: $id, input: $i) {"
            " errors { message } } }",
            {
                "id": self.variants[0]["product"],
                "i": [{"key": "personalize", "value": uuid.uuid4().hex}],
            },
            token=self.app_token(),
        )

    def deactivated(self) -> None:
        """The app is switched off, an order is placed, the app is switched on (trap 10)."""
        self.shop.app("appDeactivate", self.app_id)
        time.sleep(1)
        self.shop.buy(self.shop.checkout(self._address(), [self.variants[3]["id"]]))
        time.sleep(QUIET_SECONDS)
        self.shop.app("appActivate", self.app_id)

    def product_deleted(self) -> None:
        """A product with a variant is deleted: PRODUCT_DELETED alone, its relations empty."""
        made = self._product()
        time.sleep(1)
        self._mutate("productDelete", "id: $id", {"id": made["product"]}, "$id: ID!")

    def category_and_collection(self) -> None:
        """A category and a collection are made, renamed and deleted."""
        category = self.shop.staff(
            'mutation { categoryCreate(input: { name: "Recorded" }) { category { id }'
            " errors { field message } } }"
        )["categoryCreate"]["category"]["id"]
        self._mutate(
            "categoryUpdate",
            "id: $id, input: $i",
            {"id": category, "i": {"name": "Recorded, renamed"}},
            "$id: ID!, $i: CategoryInput!",
        )
        self._mutate("categoryDelete", "id: $id", {"id": category}, "$id: ID!")
        collection = self.shop.staff(
            'mutation { collectionCreate(input: { name: "Recorded" }) { collection { id }'
            " errors { field message } } }"
        )["collectionCreate"]["collection"]["id"]
        self._mutate("collectionDelete", "id: $id", {"id": collection}, "$id: ID!")

    def category_translated(self) -> None:
        """A category is made, translated, translated again, renamed and deleted."""
        category = self.shop.staff(
            'mutation { categoryCreate(input: { name: "Recorded" }) { category { id }'
            " errors { field message } } }"
        )["categoryCreate"]["category"]["id"]
        time.sleep(1)
        for name in ("Aufgenommen", "Neu aufgenommen"):
            self._mutate(
                "categoryTranslate",
                "id: $id, languageCode: DE, input: $i",
                {"id": category, "i": {"name": name}},
                "$id: ID!, $i: TranslationInput!",
            )
            time.sleep(1)
        self._mutate(
            "categoryUpdate",
            "id: $id, input: $i",
            {"id": category, "i": {"name": "Recorded, renamed"}},
            "$id: ID!, $i: CategoryInput!",
        )
        time.sleep(1)
        self._mutate("categoryDelete", "id: $id", {"id": category}, "$id: ID!")

    def page(self) -> None:
        """A content page is written and told another subject: no event shows what it is about. Then it is translated, renamed, deleted."""
        shelf = self.shop.shelf(f"recorded-{uuid.uuid4().hex[:6]}")
        try:
            page = shelf.write("Recorded guide", tags=["Recorded"])
            time.sleep(1)
            shelf.change(page, tags=["Other"])
            time.sleep(1)
            self._mutate(
                "pageTranslate",
                "id: $id, languageCode: DE, input: $i",
                {"id": page, "i": {"title": "Aufgenommener Ratgeber"}},
                "$id: ID!, $i: PageTranslationInput!",
            )
            time.sleep(1)
            shelf.change(page, title="Recorded guide, renamed")
            time.sleep(1)
            self._mutate("pageDelete", "id: $id", {"id": page}, "$id: ID!")
        finally:
            shelf.clear()

    def pages_in_bulk(self) -> None:
        """Two pages are hidden, then deleted, in bulk; a third goes with its type: only their beginning is told."""
        shelf = self.shop.shelf(f"recorded-{uuid.uuid4().hex[:6]}")
        try:
            pages = [shelf.write(f"Recorded page {n}") for n in range(2)]
            time.sleep(1)
            for mutation, more in (
                ("pageBulkPublish", ", isPublished: false"),
                ("pageBulkDelete", ""),
            ):
                self._mutate(mutation, f"ids: $ids{more}", {"ids": pages}, "$ids: [ID!]!")
            shelf.write("Recorded page that goes with its type")
        finally:
            shelf.clear()

    def channel(self) -> None:
        """A sales channel is renamed."""
        channel = next(
            c
            for c in self.shop.staff("{ channels { id slug name } }")["channels"]
            if c["slug"] == CHANNEL
        )
        for name in (channel["name"] + " (renamed)", channel["name"]):
            self._mutate(
                "channelUpdate",
                "id: $id, input: $i",
                {"id": channel["id"], "i": {"name": name}},
                "$id: ID!, $i: ChannelUpdateInput!",
            )


class worker_held:  # noqa: N801 (reads as a statement)
    """Hold Saleor's Celery worker still, so that its deferred payloads render late."""

    def __enter__(self) -> None:
        self.pids = [int(pid) for pid in os.environ["SALEOR_WORKER_PIDS"].split(",")]
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)


def main() -> int:
    from saleor_personalize.testing.stack import Stack

    shop = LiveShop(os.environ["SALEOR_API_URL"])
    version = ".".join(shop.version().split(".")[:2])
    names = sys.argv[1:] or [n for n in vars(Scenarios) if not n.startswith("_")]
    folder = Path(tempfile.mkdtemp(prefix="record-"))
    folder.chmod(0o755)
    with Stack(folder, ALLOWED_SALEOR_API_URLS=re.escape(shop.api_url)) as stack:
        for old in shop.apps("saleor.personalize"):
            shop.app("appDelete", old)
        app_id = shop.install(f"{stack.url}/api/manifest")
        os.environ.update({k: v for k, v in stack.environment.items() if k not in {"PATH", "HOME"}})
        import django

        django.setup()
        from saleor_personalize.models import Installation, WebhookDelivery

        scenarios = Scenarios(shop, app_id, lambda: Installation.objects.get().auth_token)
        target = PAYLOADS / version
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            time.sleep(QUIET_SECONDS)
            last = WebhookDelivery.objects.order_by("-id").values_list("id", flat=True).first() or 0
            getattr(scenarios, name)()
            time.sleep(QUIET_SECONDS)
            rows = list(WebhookDelivery.objects.filter(id__gt=last).order_by("id"))
            for old_file in target.glob(f"{name}__*.json"):
                old_file.unlink()
            for number, row in enumerate(rows, start=1):
                (target / f"{name}__{number:02}_{row.event}.json").write_text(
                    json.dumps({"event": row.event, "body": bytes(row.body).decode()}, indent=1)
                    + "\n"
                )
            sys.stdout.write(f"{name}: {', '.join(row.event for row in rows) or 'nothing'}\n")
            sys.stdout.flush()
        shop.app("appDelete", app_id)
    (target / "README.md").write_text(_readme(version, target))
    return 0


def _readme(version: str, folder: Path) -> str:
    lines = [
        f"# Webhooks of Saleor {version}, as received",
        "",
        "Written by `make record`: the app was installed in a live Saleor, each scenario was played by",
        "`tests/live/record.py`, and the stored deliveries were written out in order of arrival. Bodies are the",
        "raw bytes; signatures are made at test time with a test key. All addresses are example.com.",
        "",
    ]
    for name in [n for n in vars(Scenarios) if not n.startswith("_")]:
        arrived = [
            path.stem.split("__", 1)[1].split("_", 1)[1]
            for path in sorted(folder.glob(f"{name}__*.json"))
        ]
        lines += [
            f"## {name}",
            "",
            getattr(Scenarios, name).__doc__ or "",
            "",
            f"Arrived: {', '.join(arrived) or 'nothing'}.",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
