"""The app's doors, as a storefront, the shop's server and a reader of mails use them."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from email.message import Message
from typing import Any

import httpx

from saleor_personalize.testing.stack import Stack
from tests.live.shop import LiveShop


def collect(stack: Stack, shop: LiveShop, *events: dict[str, Any], **body: Any) -> None:
    """Tell events as the storefront's module does; every one must be accepted."""
    rows = [
        {"id": str(uuid.uuid4()), "occurredAt": datetime.now(UTC).isoformat(), **event}
        for event in events
    ]
    answer = httpx.post(
        f"{stack.url}/collect",
        json={"saleorApiUrl": shop.api_url, "consent": "granted", "events": rows, **body},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    assert [row["status"] for row in answer.json()["results"]] == ["ACCEPTED"] * len(rows)


def graph(
    stack: Stack, shop: LiveShop, query: str, variables: dict[str, Any], *, token: str = ""
) -> dict[str, Any]:
    """Ask our GraphQL, as whoever the token is of; without one as nobody known."""
    headers = {"Saleor-Api-Url": shop.api_url, "X-Anonymous-Id": f"live-{uuid.uuid4().hex}"}
    if token:
        headers = {"Saleor-Api-Url": shop.api_url, "Authorization": f"Bearer {token}"}
    answer = httpx.post(
        f"{stack.url}/graphql/",
        json={"query": query, "variables": variables},
        headers=headers,
        timeout=30,
    ).json()
    assert "errors" not in answer, answer
    return dict(answer["data"])


def allow(stack: Stack, shop: LiveShop, server_key: str, user_id: str, topic: str) -> None:
    """Write down that a customer allowed mails of a topic, as the shop's server does."""
    told = graph(
        stack,
        shop,
        "mutation($u: ID!, $t: String!) { consentRecord(userId: $u, topic: $t, purpose: MARKETING,"
        " deliveryChannel: EMAIL, isAllowed: true, isConfirmed: true) { state } }",
        {"u": user_id, "t": topic},
        token=server_key,
    )
    assert told["consentRecord"]["state"] == "GRANTED", told


def text_of(mail: Message) -> str:
    """Return the plain text of a mail."""
    (part,) = (part for part in mail.walk() if part.get_content_type() == "text/plain")
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def press(mail: Message, path: str) -> None:
    """Open the link of a mail whose address holds `path`, and press the button of the page."""
    (address,) = set(re.findall(rf"https?://\S+/{path}/\S+", text_of(mail)))
    with httpx.Client(timeout=30) as browser:
        shown = browser.get(address)
        assert shown.status_code == 200, shown.text
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', shown.text))
        assert browser.post(address, data=fields).status_code == 200
