"""What happens in the demo's shop, told step by step; every step is checked as it goes."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import Message
from typing import Any

import httpx

from saleor_personalize.testing.demo.channels import Channels
from saleor_personalize.testing.demo.errors import StoryError
from saleor_personalize.testing.demo.occasions import Occasions
from saleor_personalize.testing.demo.person import Person
from saleor_personalize.testing.demo.phones import Phones
from saleor_personalize.testing.demo.visitors import Visitors
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import Stack, StackError, wait_until

PLACEMENTS = ("home", "product_page_related", "product_page_similar", "cart")

RECOMMENDATIONS = """
query($placement: String!, $channel: String!, $productId: ID) {
  recommendations(placement: $placement, channel: $channel, productId: $productId, first: 4) {
    productId strategy reason { text }
  }
}
"""

PAGES = """
query($channel: String!, $productId: ID, $language: String) {
  recommendedPages(channel: $channel, productId: $productId, languageCode: $language, first: 3) {
    pageId title reason { text }
  }
}
"""


class Story:
    """Play the steps in order. `say` gets a line for each thing that happened."""

    def __init__(
        self,
        stack: Stack,
        shop: FakeSaleor,
        say: Callable[[str], None],
        *,
        phones: Phones | None = None,
    ) -> None:
        self.stack = stack
        self.shop = shop
        self.say = say
        self.phones = phones or Phones()
        self.http = httpx.Client(timeout=20)

    def play(self) -> dict[str, Any]:
        """Return what happened since `install`, in numbers; raise StoryError where it went wrong."""
        backfilled = self.backfill()
        models = self.train()
        recommended = self.recommendations()
        read = self.content_pages()
        self.go_live()
        self.shoppers()
        ana = Person(self)
        person = ana.play()
        occasions = Occasions(self).play()
        channels = Channels(self)
        over_channels = channels.play()
        messages = self.messages()
        visitors = Visitors(self, ana.server_key).play()
        recovered = channels.recover()
        return {
            "installed": self.shop.api_url,
            "backfilled": backfilled,
            "models": models,
            "recommendations": recommended,
            "pages": read,
            "messages_sent": sum(1 for m in messages if m["status"] == "sent"),
            "messages_not_sent": dict(
                Counter(m["reason"] for m in messages if m["status"] == "not_sent")
            ),
            "person": person,
            "occasions": occasions,
            "channels": over_channels,
            "visitors": visitors,
            "recovered": recovered,
        }

    def install(self) -> None:
        self.shop.install(f"{self.stack.url}/api/manifest")
        self.say(f"installed in the shop at {self.shop.api_url}")

    def backfill(self) -> dict[str, int]:
        def done() -> list[dict[str, Any]] | None:
            runs = json.loads(self.stack.run("backfill", "--status", "--json"))
            if runs and runs[0]["status"] == "failed":
                raise StoryError(f"The back-fill failed: {runs[0]['error']}")
            return runs if runs and runs[0]["status"] == "done" else None

        stages = wait_until(done, seconds=120, what="the back-fill")[0]["stages"]
        counts = {stage["name"]: stage["row_count"] for stage in stages}
        self.say("history read: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
        return counts

    def train(self) -> list[dict[str, Any]]:
        """Train, and look at the report and the playground as staff do."""
        (done,) = json.loads(self.stack.run("train", "--json"))
        models: list[dict[str, Any]] = done["models"]
        self.say(
            "models trained: "
            + ", ".join(
                f"{model['channel']} from {model['interactions']} orders and views"
                for model in models
            )
        )
        report = self.ask_page("models/", {"channel": self.shop.default_channel})
        played = self.ask_page(
            "playground/ask/",
            {"placement": "home", "channel": self.shop.default_channel, "first": "4"},
            posts=True,
        )
        version = next(
            model["version"] for model in models if model["channel"] == self.shop.default_channel
        )
        if version not in report or version not in played:
            raise StoryError(f"The pages do not speak of the version {version} that answers.")
        self.say(
            "the model report and the playground speak of it: Dashboard, Models and Playground"
        )
        return [
            {
                "channel": model["channel"],
                "is_published": model["is_published"],
                "interactions": model["interactions"],
            }
            for model in models
        ]

    def ask_page(self, path: str, given: dict[str, str], *, posts: bool = False) -> str:
        """Return a page of the app as the Dashboard shows it to staff."""
        app = next(iter(self.shop.apps.values()))
        headers = {"authorization-bearer": self.shop.dashboard_token(app)}
        url = f"{self.stack.url}/dashboard/{path}"
        answer = (
            self.http.post(url, data=given, headers=headers)
            if posts
            else self.http.get(url, params=given, headers=headers)
        )
        if answer.status_code != 200:
            raise StoryError(f"{url} answered {answer.status_code}.")
        return answer.text

    def recommendations(self) -> dict[str, list[str]]:
        """Ask every placement; the answer is product ids that the shop sells."""
        sold = {
            edge["node"]["id"]
            for edge in self.ask_shop(
                "query($c: String!) { products(first: 100, channel: $c) { edges { node { id } } } }",
                {"c": self.shop.default_channel},
            )["products"]["edges"]
        }
        seed = sorted(sold)[0]
        answers = {}
        for placement in PLACEMENTS:
            rows = self.ask_app(
                RECOMMENDATIONS,
                {
                    "placement": placement,
                    "channel": self.shop.default_channel,
                    "productId": None if placement == "home" else seed,
                },
            )["recommendations"]
            ids = [row["productId"] for row in rows]
            if len(ids) != 4 or not set(ids) <= sold or (placement != "home" and seed in ids):
                raise StoryError(f"The placement {placement!r} answered {ids}.")
            if not all(row["reason"]["text"] for row in rows):
                raise StoryError(f"The placement {placement!r} gives no reason for some of {ids}.")
            answers[placement] = ids
            reasons = dict.fromkeys(row["reason"]["text"] for row in rows)
            self.say(f"{placement}: {'; '.join(reasons)}")
        self.say("every placement filled with products that the shop sells, each with its reason")
        return answers

    def content_pages(self) -> dict[str, dict[str, str]]:
        """Ask what to read, in general and beside a tea; the answer is title -> reason."""
        tea = next(
            id_
            for id_, product in self.shop.products.items()
            if product["name"].startswith("Night Garden")
        )
        answers = {}
        for where, asked in (
            ("home", {}),
            ("product page", {"productId": tea, "language": "DE"}),
        ):
            rows = self.ask_app(PAGES, {"channel": self.shop.default_channel, **asked})
            found = {row["title"]: row["reason"]["text"] for row in rows["recommendedPages"]}
            if not found or not all(found.values()) or "About us" in found:
                raise StoryError(f"The pages to read on the {where} are {found}.")
            answers[where] = found
            told = "; ".join(f"{title} ({reason})" for title, reason in found.items())
            self.say(f"to read on the {where}: {told}")
        return answers

    def go_live(self) -> None:
        self.stack.run("journeys", "go-live", "abandoned_checkout")
        self.say("the abandoned-checkout journey is live")

    def shoppers(self) -> None:
        """Four people fill a cart; only the one who said yes and bought nothing hears from us."""
        forgetful = self.cart("forgetful@example.com", opt_in=True)
        self.cart("silent@example.com", opt_in=False)
        buyer = self.cart("buyer@example.com", opt_in=True)
        elsewhere = self.cart("phone@example.com", opt_in=True)
        # Saleor never tells of a cart that is bought in the same breath: nothing would be decided.
        wait_until(
            lambda: {buyer, elsewhere} <= self.waiting(), seconds=30, what="the carts to be noticed"
        )
        self.buy(buyer)
        self.ask_shop(
            "mutation($id: ID!, $e: String!) { checkoutEmailUpdate(id: $id, email: $e) {"
            " errors { message } } }",
            {"id": elsewhere, "e": "laptop@example.com"},
        )
        self.buy(elsewhere)
        self.say("four carts filled; two of them bought, one under another e-mail")
        wait_until(
            lambda: self.stack.mailbox.to("forgetful@example.com"), seconds=60, what="the reminder"
        )
        wait_until(
            lambda: len(self.messages()) >= 4,
            seconds=60,
            what="a decision about all four carts",
        )
        others = [a for a in ("silent", "buyer", "phone", "laptop") if self.stack.mailbox.to(a)]
        mails = self.stack.mailbox.to("forgetful@example.com")
        if others or len(mails) != 1:
            raise StoryError(f"Wrong sends: {len(mails)} to the forgetful, and to {others}.")
        if not any(forgetful in url for url in self._leads_to(mails[0])):
            raise StoryError("The reminder does not carry the link to the cart.")
        self.say("one reminder sent; three not sent, each with its reason")

    def cart(self, address: str, *, opt_in: bool) -> str:
        products = self.ask_shop(
            "query($c: String!) { products(first: 100, channel: $c,"
            " filter: { stockAvailability: IN_STOCK }) { edges { node { variants {"
            " id quantityAvailable } } } } }",
            {"c": self.shop.default_channel},
        )["products"]["edges"]
        variants = [
            v["id"] for e in products for v in e["node"]["variants"] if v["quantityAvailable"] > 2
        ][:2]
        checkout = self.ask_shop(
            "mutation($i: CheckoutCreateInput!) { checkoutCreate(input: $i) {"
            " checkout { id } errors { message } } }",
            {
                "i": {
                    "channel": self.shop.default_channel,
                    "email": address,
                    "lines": [{"variantId": v, "quantity": 1} for v in variants],
                }
            },
        )["checkoutCreate"]["checkout"]["id"]
        if opt_in:
            self.opt_in(checkout)
        return str(checkout)

    def opt_in(self, checkout: str) -> None:
        """Tick the box “remind me”."""
        self.ask_shop(
            "mutation($id: ID!, $i: [MetadataInput!]!) { updateMetadata(id: $id, input: $i) {"
            " errors { message } } }",
            {"id": checkout, "i": [{"key": "marketing_opt_in", "value": "true"}]},
        )

    def buy(self, checkout: str) -> None:
        self.ask_shop(
            "mutation($id: ID!) { checkoutComplete(id: $id) { order { id } errors { message } } }",
            {"id": checkout},
        )

    def told(self, option: str, value: str) -> dict[str, Any] | None:
        """Return what `people show` tells of somebody; None while nobody is known."""
        try:
            found: dict[str, Any] = json.loads(
                self.stack.run("people", "show", f"--{option}", value, "--json")
            )
        except StackError:
            return None
        return found

    def sign_in(self, email: str) -> str:
        answer = self.ask_shop(
            'mutation($e: String!) { tokenCreate(email: $e, password: "password") {'
            " token errors { message } } }",
            {"e": email},
        )
        return str(answer["tokenCreate"]["token"])

    def collect(self, device: str, browser: str, event: Mapping[str, object], **body: str) -> None:
        """Tell an event as the storefront's module does; it must be accepted."""
        row = {"id": str(uuid.uuid4()), "occurredAt": datetime.now(UTC).isoformat(), **event}
        visit = {
            "id": f"{device}-visit",
            "deviceType": device,
            "channel": self.shop.default_channel,
        }
        answer = self.http.post(
            f"{self.stack.url}/collect",
            json={
                "saleorApiUrl": self.shop.api_url,
                "consent": "granted",
                "anonymousId": browser,
                "session": visit,
                "events": [row],
                **body,
            },
        ).json()
        if [result["status"] for result in answer.get("results", [])] != ["ACCEPTED"]:
            raise StoryError(f"/collect answered {answer}.")

    def waiting(self) -> set[str]:
        """Return the ids of the carts that wait to become abandoned."""
        rows = json.loads(self.stack.run("journeys", "waiting", "--json"))
        return {row["subject"] for row in rows}

    def messages(self) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = json.loads(self.stack.run("journeys", "messages", "--json"))
        return rows

    @staticmethod
    def read(mail: Message) -> tuple[str, str]:
        """Return subject and plain text of a mail."""
        parts = [part for part in mail.walk() if part.get_content_type() == "text/plain"]
        payloads = [part.get_payload(decode=True) for part in parts]
        text = "".join(each.decode() for each in payloads if isinstance(each, bytes))
        return str(make_header(decode_header(str(mail["Subject"])))), text

    def _leads_to(self, mail: Message) -> list[str]:
        """Return where the links of a mail to the shop lead: asked as scanners do, which clicks nothing."""
        links = re.findall(rf"{re.escape(self.stack.url)}\S*/click/[\w:.~-]+", self.read(mail)[1])
        return [self.http.head(link).headers.get("Location", "") for link in links]

    def ask_shop(self, query: str, variables: dict[str, Any], *, token: str = "") -> dict[str, Any]:
        return self._ask(self.shop.api_url, query, variables, _bearer(token))

    def ask_app(
        self, query: str, variables: dict[str, Any], *, token: str = "", browser: str = ""
    ) -> dict[str, Any]:
        """Ask as whoever holds the token, on the browser with that id; else as somebody new."""
        headers = {"Saleor-Api-Url": self.shop.api_url, **_bearer(token)}
        if browser or not token:
            headers["X-Anonymous-Id"] = browser or f"demo-{uuid.uuid4().hex}"
        return self._ask(f"{self.stack.url}/graphql/", query, variables, headers)

    def _ask(
        self, url: str, query: str, variables: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        answer = self.http.post(
            url, json={"query": query, "variables": variables}, headers=headers
        ).json()
        if "errors" in answer:
            raise StoryError(f"{url} answered {answer['errors']}")
        data: dict[str, Any] = answer["data"]
        return data


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
