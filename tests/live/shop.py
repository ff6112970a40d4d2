"""A staff member and a shopper at a live Saleor."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx

from saleor_personalize.testing.stack import wait_until

ADDRESS = {
    "firstName": "Test",
    "lastName": "Shopper",
    "streetAddress1": "1 Example Street",
    "city": "New York",
    "postalCode": "10001",
    "country": "US",
    "countryArea": "NY",
}
CHANNEL = "default-channel"


class LiveShop:
    def __init__(self, api_url: str) -> None:
        self.api_url = api_url
        self._http = httpx.Client(timeout=120)
        self._staff_token = ""
        self._staff_token_at = 0.0
        self._warehouses: list[dict[str, Any]] = []
        self._signing_in = threading.Lock()

    def gql(self, query: str, variables: Any = None, *, token: str | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = self._http.post(
            self.api_url, json={"query": query, "variables": variables or {}}, headers=headers
        ).json()
        assert "errors" not in answer, answer["errors"]
        for field, result in answer["data"].items():
            if isinstance(result, dict) and result.get("errors"):
                raise AssertionError(f"{field}: {result['errors']}")
        return answer["data"]

    def staff(self, query: str, variables: Any = None) -> dict[str, Any]:
        """Run as staff; their token lives five minutes."""
        if time.monotonic() - self._staff_token_at > 200:
            self._staff_token = self.login(
                os.environ.get("SALEOR_EMAIL", "admin@example.com"),
                os.environ.get("SALEOR_PASSWORD", "admin"),
            )
            self._staff_token_at = time.monotonic()
        return self.gql(query, variables, token=self._staff_token)

    def login(self, email: str, password: str) -> str:
        # Saleor refuses a second one from the same machine while the first is under way.
        with self._signing_in:
            data = self.gql(
                "mutation($e: String!, $p: String!) {"
                " tokenCreate(email: $e, password: $p) { token errors { message } } }",
                {"e": email, "p": password},
            )
        return data["tokenCreate"]["token"]

    def version(self) -> str:
        return self.staff("{ shop { version } }")["shop"]["version"]

    # -- the app ----------------------------------------------------------------------------------

    def apps(self, identifier: str) -> list[str]:
        data = self.staff("{ apps(first: 100) { edges { node { id identifier } } } }")
        nodes = [edge["node"] for edge in data["apps"]["edges"]]
        return [node["id"] for node in nodes if node["identifier"] == identifier]

    def install(self, manifest_url: str, *, activate: bool = True) -> str:
        """Install as the Dashboard does and return the App's id."""
        manifest = self.staff(
            "mutation($u: String!) { appFetchManifest(manifestUrl: $u) {"
            " manifest { identifier name permissions { code } } errors { field message code } } }",
            {"u": manifest_url},
        )["appFetchManifest"]["manifest"]
        self.staff(
            "mutation($input: AppInstallInput!) { appInstall(input: $input) {"
            " appInstallation { id } errors { field message code } } }",
            {
                "input": {
                    "appName": manifest["name"],
                    "manifestUrl": manifest_url,
                    "activateAfterInstallation": activate,
                    "permissions": [p["code"] for p in manifest["permissions"]],
                }
            },
        )

        def installed() -> str | None:
            for row in self.staff("{ appsInstallations { status message manifestUrl } }")[
                "appsInstallations"
            ]:
                if row["manifestUrl"] == manifest_url:
                    assert row["status"] != "FAILED", row["message"]
            return next(iter(self.apps(manifest["identifier"])), None)

        return wait_until(installed, seconds=60, what="the app to be installed")

    def app(self, mutation: str, app_id: str) -> None:
        """Run `appActivate`, `appDeactivate`, `appDelete`, or another mutation that takes an id alone."""
        self.staff(
            f"mutation($id: ID!) {{ {mutation}(id: $id) {{ errors {{ field message }} }} }}",
            {"id": app_id},
        )

    def app_page_token(self, app_id: str) -> str:
        """Return the token that the Dashboard hands to the app's frame."""
        return self.staff("query($id: ID!) { app(id: $id) { accessToken } }", {"id": app_id})[
            "app"
        ]["accessToken"]

    # -- the catalogue ----------------------------------------------------------------------------

    def variants(self, count: int) -> list[dict[str, Any]]:
        """Return variants of different products that need shipping, are in stock and in no promotion."""
        data = self.gql(
            "query($c: String!) { products(first: 60, channel: $c,"
            " filter: { stockAvailability: IN_STOCK, isAvailable: true }) { edges { node { id name"
            " productType { isShippingRequired } variants { id name quantityAvailable pricing { onSale } } } } } }",
            {"c": CHANNEL},
        )
        found = [
            {"product": node["id"], "name": node["name"], "id": variant["id"]}
            for node in (edge["node"] for edge in data["products"]["edges"])
            if node["productType"]["isShippingRequired"]
            for variant in node["variants"][:1]
            if variant["quantityAvailable"] >= 5 and not variant["pricing"]["onSale"]
        ]
        assert len(found) >= count, "the shop has too few products in stock without a promotion"
        return found[:count]

    def product(self, name: str, prices: Mapping[str, float], *, pieces: int = 0) -> dict[str, str]:
        """Make a product with one variant that needs shipping; `prices` by slug of the sales channel.

        `pieces` lie in one warehouse that delivers to `ADDRESS`. Return the ids of product, variant, channel (the
        first), category and warehouse.
        """
        types = self.staff(
            "{ productTypes(first: 50, filter: { configurable: SIMPLE }) {"
            " edges { node { id isShippingRequired } } } }"
        )["productTypes"]["edges"]
        category = self.staff("{ categories(first: 1) { edges { node { id } } } }")["categories"][
            "edges"
        ][0]["node"]["id"]
        channels = self.channels()
        product = self.staff(
            "mutation($i: ProductCreateInput!) { productCreate(input: $i) {"
            " product { id } errors { field message code } } }",
            {
                "i": {
                    "name": name,
                    "productType": next(
                        e["node"]["id"] for e in types if e["node"]["isShippingRequired"]
                    ),
                    "category": category,
                    "attributes": [],
                }
            },
        )["productCreate"]["product"]["id"]
        for slug in prices:
            self.list_product(product, channels[slug], is_published=True)
        variant = self.staff(
            "mutation($i: ProductVariantCreateInput!) { productVariantCreate(input: $i) {"
            " productVariant { id } errors { field message code } } }",
            {"i": {"product": product, "attributes": [], "trackInventory": True}},
        )["productVariantCreate"]["productVariant"]["id"]
        for slug, amount in prices.items():
            self.price(variant, channels[slug], amount)
        warehouse = self.warehouse(prices)
        if pieces:
            self.staff(
                "mutation($id: ID!, $s: [StockInput!]!) { productVariantStocksCreate(variantId: $id,"
                " stocks: $s) { errors { field message code } } }",
                {"id": variant, "s": [{"warehouse": warehouse, "quantity": pieces}]},
            )
        return {
            "product": product,
            "variant": variant,
            "channel": channels[next(iter(prices))],
            "category": category,
            "warehouse": warehouse,
        }

    def channels(self) -> dict[str, str]:
        """Return slug -> id."""
        return {
            row["slug"]: row["id"] for row in self.staff("{ channels { id slug } }")["channels"]
        }

    def list_product(self, product: str, channel: str, *, is_published: bool) -> None:
        """Show or hide a product in a sales channel."""
        row = {
            "channelId": channel,
            "isPublished": is_published,
            "visibleInListings": is_published,
            "isAvailableForPurchase": is_published,
        }
        self.staff(
            "mutation($id: ID!, $i: ProductChannelListingUpdateInput!) {"
            " productChannelListingUpdate(id: $id, input: $i) { errors { field message code } } }",
            {"id": product, "i": {"updateChannels": [row]}},
        )

    def price(self, variant: str, channel: str, amount: float) -> None:
        self.staff(
            "mutation($id: ID!, $i: [ProductVariantChannelListingAddInput!]!) {"
            " productVariantChannelListingUpdate(id: $id, input: $i) {"
            " errors { field message code } } }",
            {"id": variant, "i": [{"channelId": channel, "price": amount}]},
        )

    def stock(self, variant: str, pieces: int) -> None:
        """Set how many pieces lie where `product` put some."""
        stocks = self.staff(
            "query($id: ID!) { productVariant(id: $id) { stocks { warehouse { id } } } }",
            {"id": variant},
        )["productVariant"]["stocks"]
        self.staff(
            "mutation($id: ID!, $s: [StockInput!]!) { productVariantStocksUpdate(variantId: $id,"
            " stocks: $s) { errors { field message code } } }",
            {
                "id": variant,
                "s": [{"warehouse": s["warehouse"]["id"], "quantity": pieces} for s in stocks],
            },
        )

    def warehouse(self, channels: Iterable[str] = (CHANNEL,)) -> str:
        """Return a warehouse from which the test address is delivered in these channels.

        Rather one where nothing can be picked up: what lies there is in the stock of the channel alone.
        """
        if not self._warehouses:
            data = self.staff(
                "{ warehouses(first: 50) { edges { node { id clickAndCollectOption shippingZones("
                "first: 20) { edges { node { countries { code } channels { slug } } } } } } } }"
            )
            self._warehouses = [edge["node"] for edge in data["warehouses"]["edges"]]
        rows = sorted(self._warehouses, key=lambda row: row["clickAndCollectOption"] != "DISABLED")
        return next(str(row["id"]) for row in rows if set(channels) <= _delivers_in(row))

    def delete_products(self, ids: Sequence[str]) -> None:
        self.staff(
            "mutation($ids: [ID!]!) { productBulkDelete(ids: $ids) { errors { field message } } }",
            {"ids": ids},
        )

    def shelf(self, slug: str) -> Shelf:
        """Make a page type of that slug, with topics and references to products and a category."""
        return Shelf(self, slug)

    # -- customers --------------------------------------------------------------------------------

    def register(self, email: str, password: str) -> str:
        """Open an account as a storefront does, let staff confirm it, and return the user's id."""
        self.gql(
            "mutation($i: AccountRegisterInput!) { accountRegister(input: $i) {"
            " errors { field message code } } }",
            {
                "i": {
                    "email": email,
                    "password": password,
                    "channel": CHANNEL,
                    "redirectUrl": "http://localhost:3000/confirm",
                }
            },
        )
        user = self.staff("query($e: String!) { user(email: $e) { id } }", {"e": email})["user"]
        self.staff(
            "mutation($id: ID!, $i: CustomerInput!) { customerUpdate(id: $id, input: $i) {"
            " errors { field message code } } }",
            {"id": user["id"], "i": {"isConfirmed": True}},
        )
        return str(user["id"])

    def delete_customer(self, user_id: str) -> None:
        self.staff(
            "mutation($id: ID!) { customerDelete(id: $id) { errors { field message } } }",
            {"id": user_id},
        )

    # -- the shopper ------------------------------------------------------------------------------

    def checkout(
        self,
        email: str | None,
        variant_ids: list[str],
        *,
        opt_in: bool = False,
        channel: str = CHANNEL,
    ) -> str:
        data = self.gql(
            "mutation($input: CheckoutCreateInput!) { checkoutCreate(input: $input) {"
            " checkout { id } errors { field message code } } }",
            {
                "input": {
                    "channel": channel,
                    "email": email,
                    "lines": [{"variantId": v, "quantity": 1} for v in variant_ids],
                    "shippingAddress": ADDRESS,
                    "billingAddress": ADDRESS,
                }
            },
        )
        checkout_id = data["checkoutCreate"]["checkout"]["id"]
        if opt_in:
            self.gql(
                "mutation($id: ID!, $input: [MetadataInput!]!) {"
                " updateMetadata(id: $id, input: $input) { errors { message } } }",
                {"id": checkout_id, "input": [{"key": "marketing_opt_in", "value": "true"}]},
            )
        return checkout_id

    def set_email(self, checkout_id: str, email: str) -> None:
        self.gql(
            "mutation($id: ID!, $e: String!) { checkoutEmailUpdate(id: $id, email: $e) {"
            " errors { field message } } }",
            {"id": checkout_id, "e": email},
        )

    def attach(self, checkout_id: str, token: str) -> None:
        """Let a cart become that of the account which the token is of."""
        self.gql(
            "mutation($id: ID!) { checkoutCustomerAttach(id: $id) { errors { field message } } }",
            {"id": checkout_id},
            token=token,
        )

    def count_anew(self, checkout_id: str) -> None:
        """Say the billing address again: Saleor keeps the prices of a cart for an hour otherwise."""
        self.gql(
            "mutation($id: ID!, $a: AddressInput!) { checkoutBillingAddressUpdate(id: $id,"
            " billingAddress: $a) { errors { field message } } }",
            {"id": checkout_id, "a": ADDRESS},
        )

    def buy(self, checkout_id: str) -> str:
        """Choose delivery, pay (as staff: the shop has no gateway) and complete; return the order."""
        data = self.gql(
            "query($id: ID!) { checkout(id: $id) { shippingMethods { id }"
            " totalPrice { gross { currency } } } }",
            {"id": checkout_id},
        )["checkout"]
        data = self.gql(
            "mutation($id: ID!, $m: ID!) { checkoutDeliveryMethodUpdate(id: $id,"
            " deliveryMethodId: $m) { checkout { totalPrice { gross { amount currency } } }"
            " errors { field message } } }",
            {"id": checkout_id, "m": data["shippingMethods"][0]["id"]},
        )["checkoutDeliveryMethodUpdate"]["checkout"]
        self.staff(
            "mutation($id: ID!, $t: TransactionCreateInput!) { transactionCreate(id: $id,"
            " transaction: $t) { errors { field message } } }",
            {
                "id": checkout_id,
                "t": {
                    "name": "Test",
                    "pspReference": checkout_id,
                    "amountCharged": data["totalPrice"]["gross"],
                    "availableActions": ["REFUND"],
                },
            },
        )
        return self.gql(
            "mutation($id: ID!) { checkoutComplete(id: $id) {"
            " order { id } errors { field message code } } }",
            {"id": checkout_id},
        )["checkoutComplete"]["order"]["id"]


def _delivers_in(warehouse: dict[str, Any]) -> set[str]:
    """Return the slugs of the channels in which the test address is delivered from a warehouse."""
    zones = [edge["node"] for edge in warehouse["shippingZones"]["edges"]]
    return {
        channel["slug"]
        for zone in zones
        if ADDRESS["country"] in [country["code"] for country in zone["countries"]]
        for channel in zone["channels"]
    }


class Shelf:
    """A page type of its own in the shop; `clear` removes it with all its pages."""

    def __init__(self, shop: LiveShop, slug: str) -> None:
        self.shop = shop
        self.slug = slug
        self.attributes: dict[str, str] = {}
        for name, more in (
            ("topics", {"inputType": "MULTISELECT"}),
            ("products", {"inputType": "REFERENCE", "entityType": "PRODUCT"}),
        ):
            self.attributes[name] = shop.staff(
                "mutation($i: AttributeCreateInput!) { attributeCreate(input: $i) {"
                " attribute { id } errors { field message code } } }",
                {
                    "i": {
                        "name": f"{slug} {name}",
                        "slug": f"{slug}-{name}",
                        "type": "PAGE_TYPE",
                        **more,
                    }
                },
            )["attributeCreate"]["attribute"]["id"]
        self.type_id = shop.staff(
            "mutation($i: PageTypeCreateInput!) { pageTypeCreate(input: $i) {"
            " pageType { id } errors { field message code } } }",
            {"i": {"name": slug, "slug": slug, "addAttributes": list(self.attributes.values())}},
        )["pageTypeCreate"]["pageType"]["id"]

    def write(self, title: str, *, tags: Sequence[str] = (), products: Sequence[str] = ()) -> str:
        """Publish a page; return its id."""
        page = {
            "title": title,
            "pageType": self.type_id,
            "isPublished": True,
            "attributes": self._values(tags, products),
        }
        return str(
            self.shop.staff(
                "mutation($i: PageCreateInput!) { pageCreate(input: $i) {"
                " page { id } errors { field message code } } }",
                {"i": page},
            )["pageCreate"]["page"]["id"]
        )

    def change(
        self,
        page_id: str,
        *,
        tags: Sequence[str] = (),
        products: Sequence[str] = (),
        **fields: Any,
    ) -> None:
        self.shop.staff(
            "mutation($id: ID!, $i: PageInput!) { pageUpdate(id: $id, input: $i) {"
            " errors { field message code } } }",
            {"id": page_id, "i": {**fields, "attributes": self._values(tags, products)}},
        )

    def hide_in_bulk(self, *page_ids: str) -> None:
        self.shop.staff(
            "mutation($ids: [ID!]!) { pageBulkPublish(ids: $ids, isPublished: false) {"
            " errors { field message code } } }",
            {"ids": page_ids},
        )

    def _values(self, tags: Sequence[str], products: Sequence[str]) -> list[dict[str, Any]]:
        given = []
        if tags:
            given.append({"id": self.attributes["topics"], "values": list(tags)})
        if products:
            given.append({"id": self.attributes["products"], "references": list(products)})
        return given

    def clear(self) -> None:
        self.shop.app("pageTypeDelete", self.type_id)
        for attribute in self.attributes.values():
            self.shop.app("attributeDelete", attribute)
