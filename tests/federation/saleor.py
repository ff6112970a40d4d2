"""A shop of three products that answers a gateway as Saleor 3.24 does (see saleor.graphql)."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from graphql import build_schema, execute, parse

SDL = (Path(__file__).parent / "saleor.graphql").read_text()
# What Saleor has and its SDL does not show.
_SCHEMA = build_schema(
    SDL
    + """
    directive @key(fields: String!) repeatable on OBJECT
    scalar _Any
    union _Entity = Product | ProductVariant | Collection | Category | User | Order
    type _Service { sdl: String }
    extend type Query {
      _service: _Service
      _entities(representations: [_Any]): [_Entity]
    }
    """
)


class GatewayShop:
    """`products`: id -> name; `prices`: channel -> (currency, amount)."""

    def __init__(self, products: dict[str, str], categories: dict[str, str]) -> None:
        self.products = products
        self.categories = categories
        self.prices = {"us": ("USD", 10.0), "pl": ("PLN", 40.0)}
        self.url = ""

    def answer(self, body: Any, authorization: str) -> Any:
        user = self._user(authorization)
        result = execute(
            _SCHEMA,
            parse(body["query"]),
            root_value={
                "_service": {"sdl": SDL},
                "_entities": lambda info, representations: [
                    self._entity(each) for each in representations
                ],
                "products": lambda info, first=10, channel=None: {
                    "edges": [
                        {"node": self._product(id_, channel)} for id_ in list(self.products)[:first]
                    ]
                },
                "product": lambda info, channel=None, **of: self._product(of["id"], channel),
                "category": lambda info, **of: self._category(of["id"]),
                "me": user,
                # Who may not see a user gets null; the query of a test may still name one.
                "user": lambda info, **of: user if user and user["id"] == of["id"] else of,
            },
            variable_values=body.get("variables") or {},
        )
        errors = [error.formatted for error in getattr(result, "errors", None) or []]
        return {"data": getattr(result, "data", None), **({"errors": errors} if errors else {})}

    def _user(self, authorization: str) -> Any:
        try:
            claims = authorization.split(".")[1]
            told = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        except (IndexError, ValueError):
            return None
        return {"__typename": "User", "id": told["user_id"], "firstName": "Alice", "email": "a@b.c"}

    def _product(self, id_: str, channel: str | None) -> Any:
        # Nobody but staff sees a product without a channel.
        if id_ not in self.products or channel not in self.prices:
            return None
        currency, amount = self.prices[channel]
        name = self.products[id_]
        return {
            "__typename": "Product",
            "id": id_,
            "name": name,
            "slug": name.lower().replace(" ", "-"),
            "channel": channel,
            "pricing": {
                "priceRange": {"start": {"gross": {"currency": currency, "amount": amount}}}
            },
        }

    def _category(self, id_: str) -> Any:
        name = self.categories.get(id_)
        return name and {"__typename": "Category", "id": id_, "name": name, "slug": name.lower()}

    def _entity(self, given: Any) -> Any:
        if given["__typename"] == "Product":
            return self._product(given["id"], given.get("channel"))
        return self._category(given["id"]) if given["__typename"] == "Category" else None


@contextmanager
def serve(shop: GatewayShop) -> Iterator[GatewayShop]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(shop.answer(body, self.headers.get("Authorization", ""))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    shop.url = f"http://127.0.0.1:{server.server_port}/graphql/"
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
