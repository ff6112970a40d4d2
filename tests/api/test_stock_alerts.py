"""B51 through the public graph: guests and the signed-in wait for a sold-out variant, and cancel."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from saleor_personalize.models import Consent, Installation, PriceChange, StockAlert, VariantPrice
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.conftest import NOW, make_installation, make_profile
from tests.integration.waiting import EU, US, VARIANT, Shop

REQUEST = """mutation Ask($variant: ID!, $channel: String!, $email: String, $country: String, $user: ID) {
  stockAlertRequest(variantId: $variant, channel: $channel, email: $email, countryCode: $country,
                    languageCode: "DE", wordingVersion: "form-1", userId: $user) {
    alert { id variantId productId channel state createdAt expiresAt } token
    errors { code field message }
  }
}"""
CANCEL = """mutation Cancel($id: ID, $token: String, $user: ID) {
  stockAlertCancel(id: $id, token: $token, userId: $user) { count }
}"""
MINE = """query Mine($tokens: [String!], $user: ID) {
  stockAlerts(tokens: $tokens, userId: $user) { id variantId channel state }
}"""
PRICE = """query Price($variant: ID!, $channel: String!) {
  variantPrice(variantId: $variant, channel: $channel) {
    price { amount currency } since lowestPriceBefore { amount currency }
  }
}"""


@pytest.fixture
def socks(installation: Installation) -> Shop:
    shop = Shop(installation)
    shop.stock(0)
    shop.stock(0, slug=US)
    return shop


def ask(gql: Ask, *, channel: str = EU, **given: Any) -> Any:
    caller = {k: given.pop(k) for k in ("token", "anonymous_id", "shop", "headers") if k in given}
    variables = {"variant": VARIANT, "channel": channel, "country": "FR", **given}
    return gql(REQUEST, variables, **caller).data["stockAlertRequest"]


def test_b51_a_guest_signs_up_sees_and_cancels_with_the_token(gql: Ask, socks: Shop) -> None:
    answer = ask(gql, email="carol@example.com", anonymous_id=ANONYMOUS)
    assert answer["errors"] == []
    alert = answer["alert"]
    assert (alert["variantId"], alert["channel"], alert["productId"]) == (
        VARIANT,
        EU,
        "product-socks",
    )
    (line,) = Consent.objects.all()
    assert (line.topic, line.source, line.wording_version) == (
        "stock_alerts",
        "stock_alert",
        "form-1",
    )
    (mine,) = gql(MINE, {"tokens": [answer["token"], "nonsense"]}).data["stockAlerts"]
    assert mine["id"] == alert["id"]
    assert gql(MINE).data["stockAlerts"] == []
    # Neither the id of a stranger's sign-up nor a token of another shop opens it.
    assert gql(CANCEL, {"id": alert["id"]}).data["stockAlertCancel"]["count"] == 0
    elsewhere = make_installation("elsewhere")
    wrong = gql(CANCEL, {"token": answer["token"]}, shop=elsewhere)
    assert wrong.data["stockAlertCancel"]["count"] == 0
    for expected in (1, 0):
        done = gql(CANCEL, {"token": answer["token"]})
        assert done.data["stockAlertCancel"]["count"] == expected
    assert gql(MINE, {"tokens": [answer["token"]]}).data["stockAlerts"] == []


def test_b51_the_answer_is_the_same_whatever_an_address_allowed(
    gql: Ask, socks: Shop, installation: Installation
) -> None:
    """Nobody learns from a form who waits already, or what an address said yes to."""
    socks.person("alice@example.com")
    seen = []
    for address in ("alice@example.com", "new@example.com", "alice@example.com"):
        answer = ask(gql, email=address)
        (mine,) = gql(MINE, {"tokens": [answer["token"]]}).data["stockAlerts"]
        seen.append((answer["alert"]["state"], mine["state"], answer["errors"]))
    assert seen == [("PENDING", "PENDING", [])] * 3
    assert StockAlert.objects.values("pk").distinct().count() == 3


def test_b51_the_signed_in_need_no_address_and_see_their_own(
    gql: Ask, socks: Shop, installation: Installation, token_of: Callable[..., str]
) -> None:
    make_profile(installation, saleor_user=ALICE, email="alice@example.com")
    make_profile(installation, saleor_user=BOB, email="bob@example.com")
    first = ask(gql, token=token_of(ALICE))
    again = ask(gql, token=token_of(ALICE))
    assert first["alert"]["id"] == again["alert"]["id"]
    assert first["alert"]["state"] == "CONFIRMED"
    ask(gql, channel=US, token=token_of(ALICE))
    rows = gql(MINE, token=token_of(ALICE)).data["stockAlerts"]
    assert sorted(row["channel"] for row in rows) == [EU, US]
    assert gql(MINE, token=token_of(BOB)).data["stockAlerts"] == []
    mine = {"id": first["alert"]["id"]}
    assert gql(CANCEL, mine, token=token_of(BOB)).data["stockAlertCancel"]["count"] == 0
    assert gql(CANCEL, mine, token=token_of(ALICE)).data["stockAlertCancel"]["count"] == 1
    (left,) = gql(MINE, token=token_of(ALICE)).data["stockAlerts"]
    assert left["channel"] == US


def test_b51_in_germany_the_owner_of_the_address_is_asked_first(
    gql: Ask, socks: Shop, token_of: Callable[..., str]
) -> None:
    make_profile(socks.installation, saleor_user=ALICE, email="alice@example.com")
    answer = ask(gql, token=token_of(ALICE), country="DE")
    assert answer["alert"]["state"] == "PENDING"
    assert list(Consent.objects.values_list("state", flat=True)) == ["pending"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "NO_EMAIL"),
        ({"email": "a@example.com", "variant": "nothing"}, "UNKNOWN_VARIANT"),
        ({"email": "a@example.com", "channel": "moon"}, "UNKNOWN_CHANNEL"),
    ],
)
def test_b51_a_wish_that_makes_no_sense_is_refused(
    gql: Ask, socks: Shop, given: dict[str, str], code: str
) -> None:
    answer = ask(gql, **given)
    assert (answer["alert"], answer["token"]) == (None, None)
    assert [error["code"] for error in answer["errors"]] == [code]
    assert not StockAlert.objects.exists()


def test_b51_one_network_cannot_sign_up_the_whole_world(
    gql: Ask, socks: Shop, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "STOCK_ALERT_MAX_PER_HOUR": 2}
    codes = [ask(gql, email=f"a{n}@example.com")["errors"] for n in range(3)]
    assert [bool(errors) for errors in codes] == [False, False, True]
    assert codes[2][0]["code"] == "RATE_LIMITED"
    assert StockAlert.objects.count() == 2


def test_b51_what_is_no_address_counts_for_nobody_of_the_same_network(
    gql: Ask, socks: Shop, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "STOCK_ALERT_MAX_PER_HOUR": 1}
    assert [each["code"] for each in ask(gql)["errors"]] == ["NO_EMAIL"]
    with pytest.raises(AssertionError, match="INVALID_EMAIL"):
        ask(gql, email="a")
    assert ask(gql, email="a@example.com")["errors"] == []
    assert StockAlert.objects.count() == 1


def test_b53_a_storefront_shows_the_lowest_price_of_the_thirty_days_before(
    gql: Ask, installation: Installation
) -> None:
    where = {
        "installation": installation,
        "variant_saleor_id": VARIANT,
        "channel_slug": EU,
        "currency": "EUR",
    }
    for days, price in ((50, 120), (20, 95), (10, 130), (1, 90)):
        PriceChange.objects.create(**where, price=price, changed_at=NOW - timedelta(days=days))
    VariantPrice.objects.create(**where, price=130, discounted_price=90, recorded_at=NOW)
    found = gql(PRICE, {"variant": VARIANT, "channel": EU}).data["variantPrice"]
    assert found == {
        "price": {"amount": 90.0, "currency": "EUR"},
        "since": (NOW - timedelta(days=1)).isoformat(),
        "lowestPriceBefore": {"amount": 95.0, "currency": "EUR"},
    }
    assert gql(PRICE, {"variant": VARIANT, "channel": US}).data["variantPrice"] is None
    elsewhere = gql(PRICE, {"variant": VARIANT, "channel": EU}, shop=make_installation("elsewhere"))
    assert elsewhere.data["variantPrice"] is None
