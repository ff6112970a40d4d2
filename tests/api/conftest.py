"""A shop with a small catalogue, and `gql`, which asks the public graph as a storefront does."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.core.cache import cache
from django.test import Client

from saleor_personalize.events import callers
from saleor_personalize.models import Installation
from saleor_personalize.recommendations import models_store, placements, remembered, service
from saleor_personalize.saleor_api import auth
from saleor_personalize.testing.keys import TEST_KEY, SigningKey
from tests.catalogue import Phones

ALICE, BOB = "VXNlcjox", "VXNlcjoy"
ANONYMOUS = "3f0d6e0e-4b1c-anonymous"


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        """The data of an answer that must have no error."""
        assert (self.status, self.body.get("errors")) == (200, None), self.body
        return self.body["data"]

    @property
    def codes(self) -> list[str | None]:
        return [error.get("extensions", {}).get("code") for error in self.body["errors"]]

    @property
    def refusal(self) -> tuple[int, str | None]:
        """Status and code of an answer that must give no data."""
        assert not any((self.body.get("data") or {}).values()), self.body
        (code,) = self.codes
        return self.status, code


Ask = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _clock(now: datetime) -> Iterator[None]:
    with time_machine.travel(now, tick=False):
        yield


@pytest.fixture(autouse=True)
def _forget(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path, signing_key: SigningKey
) -> None:
    """Nothing a process remembers may pass from test to test; a shop always gives its keys."""
    cache.clear()
    callers.active.clear()
    service.forget()
    auth.refresh_limit.clear()
    monkeypatch.setattr(auth, "fetch_jwks", lambda url, **_: signing_key.jwks())
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "MODEL_DIRECTORY": str(tmp_path / "models"),
    }


@pytest.fixture
def nothing_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process remembers for seconds stays, however slow the machine: for counts of queries."""
    stands = SimpleNamespace(monotonic=lambda: 0.0)
    for module in (callers, models_store, placements, remembered):
        monkeypatch.setattr(module, "time", stands)


@pytest.fixture
def gql(client: Client, installation: Installation) -> Ask:
    """`gql(query, {variables}, token=, anonymous_id=, shop=, operation=, headers=) -> Answer`."""

    def ask(
        query: str,
        variables: dict[str, Any] | None = None,
        *,
        token: str = "",
        anonymous_id: str = "",
        shop: Installation | None = installation,
        operation: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if shop is not None:
            sent["Saleor-Api-Url"] = shop.saleor_api_url
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if anonymous_id:
            sent["X-Anonymous-Id"] = anonymous_id
        body: dict[str, Any] = {"query": query, "variables": variables}
        if operation is not None:
            body["operationName"] = operation
        response = client.post(
            "/graphql/", json.dumps(body), content_type="application/json", headers=sent
        )
        return Answer(response.status_code, response.json())

    return ask


def claims_of(installation: Installation, user_id: str, now: datetime, **changes: Any) -> Any:
    """The claims of a customer's access token, as Saleor 3.24 writes them."""
    return {
        "iat": int(now.timestamp()),
        "owner": "saleor",
        "iss": installation.saleor_api_url,
        "exp": int((now + timedelta(minutes=5)).timestamp()),
        "token": "vpe4zgOH9GlB",
        "email": "buyer@example.com",
        "type": "access",
        "user_id": user_id,
        "is_staff": False,
        **changes,
    }


@pytest.fixture
def token_of(installation: Installation, now: datetime) -> Callable[..., str]:
    """`token_of(user_id, shop=, **claims)`: the access token that the shop gives a customer."""

    def mint(user_id: str, shop: Installation = installation, **changes: Any) -> str:
        return TEST_KEY.jwt(claims_of(shop, user_id, now, **changes))

    return mint


@pytest.fixture
def shop(installation: Installation, now: datetime) -> Phones:
    return Phones(installation, now)
