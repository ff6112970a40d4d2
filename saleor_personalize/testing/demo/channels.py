"""Five people, and three ways to them: push first, e-mail for who did not look, and messages in the shop.

The journey is the one for carts that comes with the app; only its first message goes by push, with e-mail after
it.
"""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.message import Message
from typing import TYPE_CHECKING, Any

import yaml

from saleor_personalize.testing.demo.errors import StoryError
from saleor_personalize.testing.demo.phones import Phone
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import wait_until

if TYPE_CHECKING:
    from saleor_personalize.testing.demo.story import Story

EVA, FINN, GINA, IDA = (f"{name}@example.com" for name in ("eva", "finn", "gina", "ida"))
IN_THE_SHOP, IN_THE_SHOPS_NAME = "hugo@example.com", "Hugo"
EVAS_NAME = "Eva"
#: They bought something long ago: nobody welcomes them.
CUSTOMERS = ((EVA, EVAS_NAME), (FINN, "Finn"), (GINA, "Gina"), (IDA, "Ida"))
#: How long somebody has to look at a push before the same comes by e-mail.
PATIENCE = "1 minute"
HELLO = {
    "journey": "hello_in_the_shop",
    "topic": "news",
    "trigger": {"type": "welcome", "after": "1 second"},
    "reentry": {"per": "person"},
    "goals": [],
    "steps": [
        {
            "message": {
                "id": "hello",
                "template": "welcome",
                "delivery_channel": "in_app",
                "placement": "home_top",
                "shown_for": "7 days",
            }
        }
    ],
}

REGISTER = """
mutation($token: String!, $platform: PushPlatform!) {
  registerDevice(token: $token, platform: $platform, languageCode: "EN", allowsMarketing: true) {
    marketing errors { code message }
  }
}
"""
OPENED = "mutation($id: ID!) { pushOpened(messageId: $id) { isNews } }"
ALLOW = """
mutation { consentUpdate(purpose: MARKETING, deliveryChannel: IN_APP, isAllowed: true) { state } }
"""
INBOX = "{ inbox(first: 5) { items { id title isRead placement } } }"


def arrive(shop: FakeSaleor) -> None:
    """Give the shop these customers, with what they bought before the app came."""
    for email, first_name in CUSTOMERS:
        user = shop.add_customer(email, first_name=first_name)
        shop.add_past_order(user, ("Cast iron strainer",), days_ago=200)


class Channels:
    """Their part of the story. Everything goes and comes through the app's doors and the shop's."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.stack = story.stack
        self.shop = story.shop
        self.phones = story.phones
        #: e-mail -> cart
        self.carts: dict[str, str] = {}

    def play(self) -> dict[str, Any]:
        """Return what each of them was told over which way; raise StoryError where it went wrong."""
        self._connect()
        self._publish()
        return self._carts()

    def recover(self) -> dict[str, Any]:
        """Let Ida buy what her push told her of; return the orders that followed a message about a cart."""
        self.story.buy(self.carts[IDA])
        money = wait_until(self._recovered, seconds=90, what="Ida's order in the results")
        page = self.story.ask_page("results/", {"days": "7"})
        if "Recovered carts" not in page:
            raise StoryError("The page Results does not tell of the cart that was recovered.")
        led: dict[str, Any] = money["recovered"]
        amount = f"{Decimal(led['revenue']):,.2f} {money['currency']}"
        self.story.say(
            f"Ida came back by her push and bought: {amount} that followed a "
            "message, in the Dashboard under Results"
        )
        return {"orders": led["orders"], "is_of_messages": led == money["after_message"]}

    def _recovered(self) -> dict[str, Any] | None:
        self.stack.run("report", "count")
        told = json.loads(self.stack.run("report", "--json"))
        return next((money for money in told["money"] if money["recovered"]["orders"]), None)

    # -- what the shop does ---------------------------------------------------------------------------

    def _connect(self) -> None:
        """Save the service account of the Firebase on this machine, and try it."""
        file = self.stack.folder / "service-account.json"
        file.write_text(self.phones.fcm.service_account())
        self.stack.run("push", "save", str(file))
        file.unlink()
        if not json.loads(self.stack.run("push-test", "--json"))["is_good"]:
            raise StoryError("Firebase does not take the service account.")
        self.story.say("push is set up, and was tried without a message to anybody")

    def _publish(self) -> None:
        (exported,) = json.loads(
            self.stack.run("journeys", "export", "abandoned_checkout", "--json")
        )
        carts = yaml.safe_load(exported["definition"])
        carts["steps"][0]["message"] |= {
            "delivery_channel": "push",
            "fallback": {"to": "email", "after": PATIENCE, "unless": "opened"},
        }
        for definition in (carts, HELLO):
            file = self.stack.folder / f"{definition['journey']}.json"
            file.write_text(json.dumps(definition))
            self.stack.run("journeys", "apply", str(file))
        self.stack.run("journeys", "go-live", str(HELLO["journey"]))
        self.story.say(f"carts are now told of by push, and {PATIENCE} later by e-mail if unopened")

    # -- what the people do -----------------------------------------------------------------------------

    def _carts(self) -> dict[str, Any]:
        """Four leave a cart: one does not look, one buys, one looks, one has had enough. One has none."""
        tokens = {email: self.story.sign_in(email) for email, _name in CUSTOMERS}
        lost = self._register(tokens[EVA], "Eva's old phone", "android")
        phones = {
            EVA: self._register(tokens[EVA], "Eva's phone", "android"),
            FINN: self._register(tokens[FINN], "Finn's phone", "ios"),
            GINA: self._register(tokens[GINA], "Gina's browser", "web"),
            IDA: self._register(tokens[IDA], "Ida's phone", "ios"),
        }
        self.phones.uninstall(lost.token)
        self.carts = carts = {
            email: self._leave_cart(email, token, opt_in=True) for email, token in tokens.items()
        }
        self.story.say("four people with the app on a phone left a cart")
        pushes = {email: self._push(phone) for email, phone in phones.items()}

        self.story.buy(carts[FINN])
        pressed = pushes[IDA]["messageId"]
        if not self.story.ask_app(OPENED, {"id": pressed})["pushOpened"]["isNews"]:
            raise StoryError("The app does not know the push that Ida pressed.")
        self.phones.pressed.add(pressed)

        # Meanwhile nobody looks at the other phones.
        hugo = self._in_the_shop()
        mails = {email: self._mail(email) for email in (EVA, GINA)}
        wait_until(lambda: self._is_later(carts[IDA]), seconds=60, what="Ida to be left alone")
        wait_until(
            lambda: len(self._decisions(FINN)) == 2, seconds=60, what="the decision about Finn"
        )
        for email in (FINN, IDA):
            if self.stack.mailbox.to(email):
                raise StoryError(f"{email} got an e-mail beside the push.")
        self._check_forgotten(lost, living=len(phones))
        subject = self.story.read(mails[EVA])[0]
        self.story.say(
            f"Eva: “{pushes[EVA]['title']}” on her phone; unopened, so e-mail said it. Her old phone had "
            "lost the app, and is forgotten"
        )
        self.story.say("Finn bought after his push: no e-mail. Ida opened hers: no e-mail")
        return {
            "eva": {"push": pushes[EVA]["title"], "mail": subject},
            "finn": self._decisions(FINN),
            "ida": self._decisions(IDA),
            "gina": self._enough(mails[GINA], tokens[GINA], phones[GINA]),
            "hugo": hugo,
        }

    def _register(self, token: str, name: str, platform: str) -> Phone:
        """Put the app on a phone; it registers, and its owner allows reminders by push."""
        phone = self.phones.add(name, platform)
        asked = {"token": phone.token, "platform": platform.upper()}
        answer = self.story.ask_app(REGISTER, asked, token=token)["registerDevice"]
        if answer["errors"] or answer["marketing"] != "GRANTED":
            raise StoryError(f"{name} was not registered: {answer}.")
        return phone

    def _leave_cart(self, email: str, token: str, *, opt_in: bool) -> str:
        """Fill a cart, signed in, with “remind me” ticked or not."""
        checkout = self.story.cart(email, opt_in=opt_in)
        self.story.ask_shop(
            "mutation($id: ID!) { checkoutCustomerAttach(id: $id) { errors { message } } }",
            {"id": checkout},
            token=token,
        )
        return checkout

    def _push(self, phone: Phone) -> dict[str, Any]:
        """Wait for the one push to a phone, and return it."""
        found = wait_until(
            lambda: self.phones.pushes(phone), seconds=90, what=f"a push on {phone.name}"
        )
        if len(found) != 1:
            raise StoryError(f"{phone.name} got {len(found)} pushes.")
        push: dict[str, Any] = found[0]
        if not push["title"] or "checkout=" not in push["link"]:
            raise StoryError(f"The push on {phone.name} says {push}.")
        return push

    def _mail(self, address: str) -> Message:
        mails = wait_until(
            lambda: self.stack.mailbox.to(address), seconds=90, what=f"a mail to {address}"
        )
        if len(mails) != 1:
            raise StoryError(f"{address} got {len(mails)} mails.")
        found: Message = mails[0]
        return found

    def _enough(self, mail: Message, token: str, phone: Phone) -> list[list[str]]:
        """Gina unsubscribes by the link of her mail, and switches push off in the preference centre."""
        # A long header comes in several lines.
        link = "".join(str(mail["List-Unsubscribe"]).split()).strip("<>")
        self._post(link, {"List-Unsubscribe": "One-Click"}, "unsubscribe")
        centre = preferences_in(mail)
        page = self.story.http.get(centre).text
        kept = {value for value in _ticked(page) if not value.startswith("push:")}
        if kept == _ticked(page):
            raise StoryError("The preference centre does not show that Gina allowed push.")
        self._post(centre, {"allow": sorted(kept), "profiling": "on"}, "save")
        before = len(self._decisions(GINA))
        self._leave_cart(GINA, token, opt_in=False)
        wait_until(
            lambda: len(self._decisions(GINA)) > before, seconds=90, what="the decision about Gina"
        )
        decided = self._decisions(GINA)
        if len(self.stack.mailbox.to(GINA)) != 1 or len(self.phones.pushes(phone)) != 1:
            raise StoryError("Gina was written to although she had said no.")
        why = ", ".join(dict.fromkeys(reason for _what, _way, reason in decided[before:]))
        self.story.say(
            "Gina got push and e-mail, unsubscribed by the link of the mail and switched push off in the "
            f"preference centre: of her next cart she hears nothing ({why})"
        )
        return decided

    def _post(self, url: str, data: dict[str, Any], what: str) -> None:
        answer = self.story.http.post(url, data=data, follow_redirects=True)
        if answer.status_code != 200:
            raise StoryError(f"To {what} answered {answer.status_code}.")

    def _in_the_shop(self) -> dict[str, Any]:
        """Hugo wants to hear of news in the shop alone; it is there on his laptop and on his phone."""
        user = self.shop.add_customer(IN_THE_SHOP, first_name=IN_THE_SHOPS_NAME)
        wait_until(lambda: self.story.told("user", user["id"]), seconds=30, what="Hugo's account")
        token = self.story.sign_in(IN_THE_SHOP)
        self.story.ask_app(ALLOW, {}, token=token)
        self.stack.run("journeys", "look")
        on_laptop = wait_until(
            lambda: self._inbox(token, "hugos-laptop-0123456789"),
            seconds=90,
            what="the message in the shop",
        )
        on_phone = self._inbox(token, "hugos-phone-0123456789")
        if on_laptop != on_phone or len(on_laptop) != 1 or on_laptop[0]["isRead"]:
            raise StoryError(f"Hugo's devices show {on_laptop} and {on_phone}.")
        if self.stack.mailbox.to(IN_THE_SHOP):
            raise StoryError("Hugo got an e-mail, which he never allowed.")
        title = str(on_laptop[0]["title"])
        self.story.say(
            f"Hugo: “{title}” behind the bell and on top of the shop, on both his devices"
        )
        return {"title": title, "placement": on_laptop[0]["placement"]}

    def _inbox(self, token: str, browser: str) -> list[dict[str, Any]]:
        answer = self.story.ask_app(INBOX, {}, token=token, browser=browser)
        found: list[dict[str, Any]] = answer["inbox"]["items"]
        return found

    # -- what the app says ------------------------------------------------------------------------------

    def _decisions(self, email: str) -> list[list[str]]:
        """Return what was decided about messages to somebody, oldest first: status, way, reason."""
        told = self.story.told("email", email) or {"timeline": []}
        return [
            [row["what"], row["delivery_channel"], row.get("reason", "")]
            for row in told["timeline"]
            if row["kind"] == "message"
        ]

    def _is_later(self, checkout: str) -> bool:
        """Tell whether somebody only waits for the journey's second message, a day later."""
        rows = json.loads(self.stack.run("journeys", "waiting", "--json"))
        soon = datetime.now(UTC) + timedelta(hours=1)
        return any(
            row["subject"] == checkout and datetime.fromisoformat(row["due_at"]) > soon
            for row in rows
        )

    def _check_forgotten(self, lost: Phone, *, living: int) -> None:
        told = json.loads(self.stack.run("push", "show", "--json"))
        count = sum(told.get(f"{platform}_devices", 0) for platform in ("android", "ios", "web"))
        if count != living or self.phones.pushes(lost):
            raise StoryError(f"The shop would write to {count} devices; {living} have its app.")


def preferences_in(mail: Message) -> str:
    """Return the address of the preference centre in a mail; empty without one."""
    for part in mail.walk():
        if part.get_content_type() == "text/html":
            payload = part.get_payload(decode=True)
            text = payload.decode() if isinstance(payload, bytes) else ""
            if found := re.search(r'href="([^"]+/preferences/[^"]+)"', text):
                return html.unescape(found[1])
    return ""


def _ticked(page: str) -> set[str]:
    """Return the values of the boxes that are ticked in the preference centre."""
    return set(re.findall(r'name="allow" value="([^"]+)" checked', page))
