"""The made-up shop's HTTP server: GraphQL, JWKS and pictures on loopback."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import jwt
from graphql import DocumentNode, ExecutionResult, GraphQLError, execute, parse, validate

from saleor_personalize.testing.saleor.sdl import schema
from saleor_personalize.testing.saleor.shop import VERSION, Caller, Node, Shop, connection

MAX_COST = 50_000


class FakeSaleor(Shop):
    """Use as `with FakeSaleor() as shop:`; `shop.api_url` is what a Saleor's API URL would be."""

    def __init__(self, *, port: int = 0) -> None:
        """`port` 0 takes a free one."""
        super().__init__()
        self.port = port

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"shop": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.api_url = f"{self.url}/graphql/"
        # Asked each hundredth of a second whether to stop: half a second adds up over hundreds of tests.
        threading.Thread(
            target=self._server.serve_forever, args=(0.01,), name="made-up-shop", daemon=True
        ).start()
        self.start_sending()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_sending()
        self._server.shutdown()
        self._server.server_close()

    # -- GraphQL ------------------------------------------------------------------------------------

    def answer(self, body: Any, authorization: str) -> Node:
        """Run one GraphQL request."""
        try:
            document, errors = _read(body["query"])
        except (GraphQLError, KeyError, TypeError) as error:
            return {"errors": [{"message": str(error)}]}
        if errors:
            return {"errors": [error.formatted for error in errors]}
        caller = self._caller(authorization)
        with self.lock:
            result = execute(
                schema(),
                document,
                root_value=_Root(self, caller).fields(),
                variable_values=body.get("variables") or {},
                operation_name=body.get("operationName"),
            )
        if not isinstance(result, ExecutionResult):
            raise TypeError("a resolver of the made-up shop is a coroutine")
        answer: Node = {
            "data": result.data,
            "extensions": {"cost": {"requestedQueryCost": 1, "maximumAvailable": MAX_COST}},
        }
        if result.errors:
            answer["errors"] = [error.formatted for error in result.errors]
        return answer

    def _caller(self, authorization: str) -> Caller:
        token = authorization.partition(" ")[2]
        for app in self.apps.values():
            if app.token == token and app.is_active:
                return Caller(app=app)
        try:
            claims = jwt.decode(token, self.key.private_key.public_key(), algorithms=["RS256"])
        except jwt.InvalidTokenError:
            return Caller()  # junk is nobody, as in Saleor
        return Caller(user=self.users.get(claims.get("user_id", "")))


@functools.lru_cache(maxsize=256)
def _read(query: str) -> tuple[DocumentNode, list[GraphQLError]]:
    """Return a query and what is wrong with it; apps ask the same few again and again."""
    document = parse(query)
    return document, validate(schema(), document)


class _Root:
    """Root fields for one caller; each is called by graphql-core with its arguments."""

    def __init__(self, shop: FakeSaleor, caller: Caller) -> None:
        self.shop = shop
        self.caller = caller

    def fields(self) -> Node:
        shop = self.shop
        return {
            "app": self.app,
            "shop": {
                "name": "Kettle & Clay",
                "version": VERSION,
                "availableShippingMethods": lambda info, **_: shop.shipping_methods,
            },
            "channel": lambda info, slug: shop.channel(slug),
            "channels": lambda info: shop.channels,
            "categories": lambda info, **a: _page(shop.categories.values(), a),
            "collections": lambda info, **a: _page(shop.collections.values(), a),
            "products": self.products,
            "pages": self.pages,
            "productVariant": lambda info, id, channel=None: shop.variant_in(id, channel),
            "productVariants": lambda info, ids=None, **a: _page(
                [v for v in shop.variants.values() if ids is None or v["id"] in ids], a
            ),
            "customers": lambda info, **a: _page(
                self._for_app("MANAGE_USERS", shop.users.values(), a), a
            ),
            "user": lambda info, id: self._user(id),
            "me": self.caller.user and {"isStaff": False, **self.caller.user},
            "orders": self.orders,
            "checkouts": lambda info, **a: _page(
                self._for_app("MANAGE_CHECKOUTS", reversed(shop.checkouts.values()), a), a
            ),
            "checkout": lambda info, id: shop.checkouts.get(id),
            "order": lambda info, id: shop.orders.get(id),
            "tokenCreate": self.token_create,
            "checkoutCreate": self.checkout_create,
            "checkoutLinesAdd": lambda info, id, lines: self._changed(id, add_lines=_lines(lines)),
            "checkoutEmailUpdate": lambda info, id, email: self._changed(id, email=email),
            "checkoutCustomerAttach": self.customer_attach,
            "updateMetadata": self.update_metadata,
            "checkoutAddPromoCode": self.add_promo_code,
            "voucher": lambda info, id, **a: (
                self._voucher(shop.vouchers.rows[id]) if id in shop.vouchers.rows else None
            ),
            "vouchers": self.vouchers,
            "voucherCreate": lambda info, input: self._changed_voucher(
                lambda: shop.vouchers.create(input)
            ),
            "voucherUpdate": lambda info, id, input: self._changed_voucher(
                lambda: shop.vouchers.update(id, input)
            ),
            "voucherDelete": lambda info, id: self._changed_voucher(
                lambda: shop.vouchers.delete(id)
            ),
            "voucherChannelListingUpdate": lambda info, id, input: self._changed_voucher(
                lambda: shop.vouchers.list_in(id, input)
            ),
            "voucherCodeBulkDelete": lambda info, ids: self._changed_voucher(
                lambda: shop.vouchers.delete_codes(ids)
            ),
            "appProblemCreate": self.problem_create,
            "appProblemDismiss": self.problem_dismiss,
            "checkoutComplete": lambda info, id: {
                "order": shop.complete_checkout(id),
                "errors": [],
            },
        }

    def _need(self, permission: str) -> None:
        if self.caller.app is None or permission not in self.caller.app.permissions:
            raise GraphQLError(
                f"To access this path, you need one of the following permissions: {permission}",
                extensions={"exception": {"code": "PermissionDenied"}},
            )

    def _for_app(self, permission: str, rows: Iterable[Node], arguments: Node) -> list[Node]:
        self._need(permission)
        return _changed_since(rows, arguments)

    def app(self, info: Any, id: str | None = None) -> Node:
        if self.caller.app is None:
            raise GraphQLError(
                "To access this path, you need one of the following permissions: AUTHENTICATED_APP",
                extensions={"exception": {"code": "PermissionDenied"}},
            )
        return self.caller.app.node()

    def _user(self, id_: str) -> Node | None:
        self._need("MANAGE_USERS")
        return self.shop.users.get(id_)

    def products(
        self,
        info: Any,
        filter: Node | None = None,
        channel: str | None = None,
        **page: Any,
    ) -> Node:
        if self.caller.app is None and channel is None:
            raise GraphQLError("More than one channel exists. Please, specify channel.")
        given = filter or {}
        sold = self.shop.products.values() if channel is None else self.shop.products_in(channel)
        rows: list[Node] = _changed_since(sold, {"filter": given})
        if given.get("ids") is not None:
            rows = [p for p in rows if p["id"] in given["ids"]]
        if self.caller.app is None:
            rows = [p for p in rows if p["channelListings"][0]["isPublished"]]
        wants_stock = given.get("stockAvailability") == "IN_STOCK" or given.get("isAvailable")
        if wants_stock:
            rows = [p for p in rows if self.shop.is_available(p["id"])]
        return _page(rows, page)

    def pages(self, info: Any, filter: Node | None = None, **page: Any) -> Node:
        rows: list[Node] = list(self.shop.pages.values())
        app = self.caller.app
        if app is None or "MANAGE_PAGES" not in app.permissions:
            rows = [p for p in rows if p["isPublished"]]
        ids = (filter or {}).get("ids")
        if ids is not None:
            rows = [p for p in rows if p["id"] in ids]
        return _page(rows, page)

    def orders(self, info: Any, filter: Node | None = None, **page: Any) -> Node:
        given = filter or {}
        rows = self._for_app("MANAGE_ORDERS", self.shop.orders.values(), {"filter": given})
        if given.get("checkoutIds") is not None:
            rows = [o for o in rows if o["checkoutId"] in given["checkoutIds"]]
        if given.get("customer"):
            wanted = given["customer"].lower()
            rows = [
                o
                for o in rows
                if wanted in {(o["userEmail"] or "").lower(), (o["user"] or {}).get("email", "")}
            ]
        return _page(rows, page)

    def token_create(self, info: Any, email: str, password: str) -> Node:
        """Sign a customer in; the made-up shop knows every customer by the password "password"."""
        user = next((u for u in self.shop.users.values() if u["email"] == email), None)
        if user is None or password != "password":
            return {"errors": [{"field": "email", "message": "Please, enter valid credentials"}]}
        return {"token": self.shop.customer_token(user), "errors": []}

    def checkout_create(self, info: Any, input: Node) -> Node:
        checkout = self.shop.create_checkout(
            channel=input["channel"], lines=_lines(input["lines"]), email=input.get("email")
        )
        return {"checkout": checkout, "errors": []}

    def _changed(self, checkout_id: str, **changes: Any) -> Node:
        return {"checkout": self.shop.change_checkout(checkout_id, **changes), "errors": []}

    def customer_attach(self, info: Any, id: str, customerId: str | None = None) -> Node:
        if self.caller.user is None:
            raise GraphQLError("To access this path, you need one of: AUTHENTICATED_USER")
        return self._changed(id, user=self.caller.user)

    def update_metadata(self, info: Any, id: str, input: list[Node]) -> Node:
        known = {item["key"]: item for item in self.shop.checkouts[id]["metadata"]}
        known.update({item["key"]: dict(item) for item in input})
        checkout = self.shop.change_checkout(id, metadata=list(known.values()))
        self.shop.emit("checkout_metadata_updated", "checkout", checkout)
        return {"errors": []}

    def vouchers(self, info: Any, filter: Node | None = None, **page: Any) -> Node:
        self._need("MANAGE_DISCOUNTS")
        found = self.shop.vouchers.found((filter or {}).get("search"))
        return _page([self._voucher(row) for row in found], page)

    def _voucher(self, row: Node) -> Node:
        self._need("MANAGE_DISCOUNTS")
        return {**row, "codes": lambda info, **a: _page(row["_codes"], a)}

    def _changed_voucher(self, change: Callable[[], Node]) -> Node:
        self._need("MANAGE_DISCOUNTS")
        answer = change()
        voucher = answer.get("voucher")
        return {**answer, "voucher": self._voucher(voucher) if voucher else None}

    def add_promo_code(self, info: Any, id: str, promoCode: str) -> Node:
        if not self.shop.vouchers.codes.get(promoCode):
            fault = {"field": "promoCode", "message": "Promo code is invalid"}
            return {"checkout": None, "errors": [fault]}
        return self._changed(id, promoCode=promoCode)

    def problem_create(self, info: Any, input: Node) -> Node:
        self.app(info)
        self.shop.problems[input["key"]] = input["message"]
        return {"appProblem": {"id": "QXBwUHJvYmxlbTox", **input}, "errors": []}

    def problem_dismiss(self, info: Any, input: Node) -> Node:
        self.app(info)
        for key in input["byApp"]["keys"]:
            self.shop.problems.pop(key, None)
        return {"errors": []}


def _lines(lines: list[Node]) -> list[tuple[str, int]]:
    return [(line["variantId"], line["quantity"]) for line in lines]


def _page(rows: Iterable[Node], arguments: Node) -> Node:
    return connection(list(rows), arguments.get("first"), arguments.get("after"))


def _changed_since(rows: Iterable[Node], arguments: Node) -> list[Node]:
    since = ((arguments.get("filter") or {}).get("updatedAt") or {}).get("gte")
    if since is None:
        return list(rows)
    moment = datetime.fromisoformat(str(since))
    return [
        row
        for row in rows
        if (
            datetime.fromisoformat(row["updatedAt"])
            if moment.tzinfo
            else datetime.fromisoformat(row["updatedAt"]).replace(tzinfo=None)
        )
        >= moment
    ]


class _Handler(BaseHTTPRequestHandler):
    shop: FakeSaleor
    protocol_version = "HTTP/1.1"
    # Head and body of an answer leave in one piece: apart, the second waits for 40 ms.
    wbufsize = -1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path != "/graphql/":
            self._reply(404, b"")
            return
        try:
            parsed = json.loads(body)
        except ValueError:
            self._reply(400, b'{"errors":[{"message":"Unable to parse query."}]}')
            return
        answer = self.shop.answer(parsed, self.headers.get("Authorization", ""))
        self._reply(200, json.dumps(answer).encode())

    def do_GET(self) -> None:
        if self.path == "/.well-known/jwks.json":
            self._reply(200, json.dumps(self.shop.key.jwks()).encode())
        elif self.path.startswith("/thumbnail/"):
            number = self.path.removeprefix("/thumbnail/").removesuffix(".svg")
            known = self.shop.pictures.get(int(number)) if number.isdecimal() else None
            self._reply(200 if known else 404, (known or "").encode(), "image/svg+xml")
        else:
            self._reply(404, b"")

    def do_OPTIONS(self) -> None:
        self._reply(204, b"")

    def _reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        # Saleor lets storefronts of any origin in.
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "authorization, content-type")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet: the demo's terminal is for its story."""
