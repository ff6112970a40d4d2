"""What recorded webhooks say about consent, with the countries and metadata that shops send (B73)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from saleor_personalize.messaging import opt_in
from saleor_personalize.models import Consent, Installation, Message
from tests.payloads import Recorded, one
from tests.webhooks.deliver import deliver

pytestmark = pytest.mark.django_db


def address(country: str) -> dict[str, Any]:
    return {"country": {"code": country}}


def ledger() -> list[tuple[str, str, str, str]]:
    rows = Consent.objects.order_by("pk")
    return list(rows.values_list("topic", "state", "country_code", "source"))


def moment(recorded: Recorded) -> datetime:
    node = recorded.payload.get("checkout") or recorded.payload["order"]
    return datetime.fromisoformat(node["created"])


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ({}, ("", "granted", "", "checkout")),
        ({"shippingAddress": address("FR")}, ("", "granted", "FR", "checkout")),
        ({"shippingAddress": address("DE")}, ("", "pending", "DE", "checkout")),
        (
            {"shippingAddress": None, "billingAddress": address("AT")},
            ("", "pending", "AT", "checkout"),
        ),
        (
            {"shippingAddress": address("FR"), "billingAddress": address("DE")},
            ("", "granted", "FR", "checkout"),
        ),
    ],
)
def test_b73_the_address_of_a_cart_tells_the_country(
    installation: Installation, addresses: dict[str, Any], expected: tuple[str, ...]
) -> None:
    cart = one("checkout", "checkout_updated").changed(**addresses)
    now = moment(cart) + timedelta(minutes=1)
    deliver(installation, [cart, cart], now=now)
    assert ledger() == [expected]
    assert opt_in.send_due(now=now) == (expected[1] == "pending")
    assert Message.objects.count() == (expected[1] == "pending")


def test_b73_a_box_unticked_before_the_question_goes_out_takes_it_back(
    installation: Installation,
) -> None:
    cart = one("checkout", "checkout_updated").changed(shippingAddress=address("DE"))
    later = (moment(cart) + timedelta(minutes=5)).isoformat()
    unticked = cart.changed(metadata=[], updatedAt=later)
    now = moment(cart) + timedelta(minutes=6)
    deliver(installation, [cart, unticked], now=now)
    opt_in.send_due(now=now)
    assert [state for _, state, _, _ in ledger()] == ["pending", "denied"]
    assert Message.objects.get().reason == "no_consent"


@pytest.mark.parametrize(
    ("answer", "country", "days", "expected"),
    [
        ("false", "FR", 0, ["granted", "granted"]),
        ("false", "BE", 0, []),
        ("false", "FR", 2, []),
        ("true", "BE", 0, ["denied"]),
        (None, "FR", 0, []),
    ],
)
def test_b73_an_order_says_whether_its_shopper_could_object(
    installation: Installation,
    settings: Any,
    answer: str | None,
    country: str,
    days: int,
    expected: list[str],
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CONSENT_RULES": {"FR": "soft_opt_in"},
    }
    metadata = [] if answer is None else [{"key": "marketing_opt_out", "value": answer}]
    order = one("last_unit", "order_created").changed(
        metadata=metadata, shippingAddress=address(country)
    )
    deliver(installation, [order, order], now=moment(order) + timedelta(days=days, minutes=1))
    assert [state for _, state, _, _ in ledger()] == expected
