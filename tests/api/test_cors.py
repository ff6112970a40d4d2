"""Which pages may ask /graphql/ from a browser."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.models import Installation


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("https://everywhere.test", True),
        ("https://own.test", True),
        ("http://own.test", False),
        ("https://own.test.evil.test", False),
        ("null", False),
    ],
)
def test_b104_pages_of_listed_origins_may_ask(
    client: Client, installation: Installation, settings: Any, origin: str, is_allowed: bool
) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://everywhere.test"]
    installation.storefront_origins = ["https://own.test"]
    installation.save()
    asked = {"Access-Control-Request-Method": "POST", "Origin": origin}
    answer = client.options("/graphql/", headers=asked)
    assert answer.get("Access-Control-Allow-Origin") == (origin if is_allowed else None)
    assert "Access-Control-Allow-Credentials" not in answer


def test_the_pages_of_a_shop_that_left_may_not(client: Client, installation: Installation) -> None:
    installation.storefront_origins = ["https://own.test"]
    installation.status = InstallationStatus.UNINSTALLED
    installation.save()
    answer = client.post("/graphql/", headers={"Origin": "https://own.test"})
    assert "Access-Control-Allow-Origin" not in answer
