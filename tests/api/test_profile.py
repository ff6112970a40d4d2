"""B106: everybody reads what is theirs, and nobody anything else."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from saleor_personalize.enums import EventSource, EventType
from saleor_personalize.models import Event, Identity, Installation, Profile
from saleor_personalize.saleor_api import auth
from saleor_personalize.testing.keys import TEST_KEY, SigningKey
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask, claims_of
from tests.catalogue import Catalogue, Phones, gid
from tests.conftest import make_profile

QUERY = """query Mine($user: ID, $anonymous: String, $first: Int = 10) {
  profile(userId: $user, anonymousId: $anonymous) {
    recentOrders(first: $first) { id number placedAt total { amount currency } productIds }
    viewedProducts(first: $first) { productId viewedAt }
    openCheckout { id channel changedAt lines { productId variantId quantity } }
  }
}"""


def view(profile: Profile, product: str, at: datetime) -> None:
    Event.objects.create(
        installation=profile.installation,
        event_id=f"{profile.pk}-{product}-{at}",
        type=EventType.PRODUCT_VIEWED,
        profile=profile,
        occurred_at=at,
        received_at=at,
        source=EventSource.STOREFRONT,
        product_saleor_id=product,
    )


@pytest.fixture
def visitor(installation: Installation) -> Profile:
    return make_profile(installation, anonymous_id=ANONYMOUS)


@pytest.fixture
def lives(
    shop: Phones,
    alice: Profile,
    bob: Profile,
    visitor: Profile,
    dave: Profile,
    other_installation: Installation,
    now: datetime,
) -> Phones:
    """Alice, Bob, a visitor, and Dave of another shop, who has Alice's user id there."""
    shop.order(shop.phone, shop.case, profile=alice, user_id=ALICE, days_ago=9)
    shop.order(shop.lamp, profile=alice, user_id=ALICE, days_ago=2)
    shop.checkout(shop.bulb, profile=alice, user_id=ALICE)
    view(alice, shop.stand, now - timedelta(hours=2))
    view(alice, shop.cable, now - timedelta(hours=1))
    view(alice, shop.stand, now - timedelta(hours=3))
    shop.order(shop.mini, profile=bob, user_id=BOB, days_ago=5)
    view(bob, shop.charger, now)
    view(visitor, shop.lamp, now)
    theirs = Catalogue(other_installation, now)
    theirs.order(gid("Product", 900), profile=dave, user_id=ALICE)
    theirs.checkout(gid("Product", 901), profile=dave, user_id=ALICE)
    view(dave, gid("Product", 902), now)
    return shop


def seen(answer: Any) -> tuple[list[str], list[str], str | None]:
    """Order numbers, viewed products and the cart's id of an answer."""
    mine = answer.data["profile"]
    return (
        [order["number"] for order in mine["recentOrders"]],
        [row["productId"] for row in mine["viewedProducts"]],
        mine["openCheckout"] and mine["openCheckout"]["id"],
    )


def test_b106_a_customer_reads_their_own_orders_views_and_cart(
    gql: Ask, lives: Phones, token_of: Callable[..., str], now: datetime
) -> None:
    assert gql(QUERY, token=token_of(ALICE)).data["profile"] == {
        "recentOrders": [
            {
                "id": gid("Order", f"{lives.installation.pk}-2"),
                "number": "2",
                "placedAt": (now - timedelta(days=2)).isoformat(),
                "total": {"amount": 10.5, "currency": "USD"},
                "productIds": [lives.lamp],
            },
            {
                "id": gid("Order", f"{lives.installation.pk}-1"),
                "number": "1",
                "placedAt": (now - timedelta(days=9)).isoformat(),
                "total": {"amount": 20.5, "currency": "USD"},
                "productIds": [lives.phone, lives.case],
            },
        ],
        "viewedProducts": [
            {"productId": lives.cable, "viewedAt": (now - timedelta(hours=1)).isoformat()},
            {"productId": lives.stand, "viewedAt": (now - timedelta(hours=2)).isoformat()},
        ],
        "openCheckout": {
            "id": gid("Checkout", f"{lives.installation.pk}-3"),
            "channel": "us",
            "changedAt": (now - timedelta(minutes=3)).isoformat(),
            "lines": [
                {
                    "productId": lives.bulb,
                    "variantId": lives.bulb.replace("Product", "ProductVariant"),
                    "quantity": 1,
                }
            ],
        },
    }


def test_b106_bob_reads_nothing_of_alice(
    gql: Ask, lives: Phones, token_of: Callable[..., str]
) -> None:
    assert seen(gql(QUERY, token=token_of(BOB))) == (["4"], [lives.charger], None)


def test_b106_the_same_user_id_in_another_shop_is_another_person(
    gql: Ask, lives: Phones, token_of: Callable[..., str], other_installation: Installation
) -> None:
    answer = gql(QUERY, token=token_of(ALICE, shop=other_installation), shop=other_installation)
    assert seen(answer) == (
        ["1"],
        [gid("Product", 902)],
        gid("Checkout", f"{other_installation.pk}-2"),
    )


def test_b106_an_anonymous_id_reads_its_own_views_alone(gql: Ask, lives: Phones) -> None:
    assert seen(gql(QUERY, anonymous_id=ANONYMOUS)) == ([], [lives.lamp], None)
    assert gql(QUERY, anonymous_id="somebody-else-1234").data == {"profile": None}
    assert gql(QUERY).data == {"profile": None}


@pytest.mark.parametrize("kind", ["saleor_user", "email"])
def test_b106_an_anonymous_id_never_opens_the_profile_of_a_recognised_person(
    gql: Ask, lives: Phones, visitor: Profile, now: datetime, kind: str
) -> None:
    Identity.objects.create(
        installation=visitor.installation,
        profile=visitor,
        kind=kind,
        value="VXNlcjo5",
        first_seen_at=now,
    )
    assert gql(QUERY, anonymous_id=ANONYMOUS).data == {"profile": None}


def test_b106_a_token_beside_an_anonymous_id_neither_reads_nor_joins_it(
    gql: Ask, lives: Phones, token_of: Callable[..., str], visitor: Profile
) -> None:
    answer = gql(QUERY, token=token_of(BOB), anonymous_id=ANONYMOUS)
    assert seen(answer) == (["4"], [lives.charger], None)
    assert visitor.identities.count() == 1


def test_b106_orders_and_carts_that_only_carry_an_address_are_not_read(
    gql: Ask, lives: Phones, token_of: Callable[..., str], alice: Profile
) -> None:
    """Saleor proves no guest's address: such rows may be anybody's, though we file them with hers."""
    before = seen(gql(QUERY, token=token_of(ALICE)))
    lives.order(lives.cable, profile=alice, days_ago=0)
    lives.order(lives.cable, profile=alice, user_id=BOB, days_ago=0)
    lives.checkout(lives.cable, profile=alice).save()
    assert seen(gql(QUERY, token=token_of(ALICE))) == before
    assert seen(gql(QUERY, token=token_of(BOB)))[0] == ["4"]


def test_b106_a_server_reads_whom_it_names(gql: Ask, lives: Phones) -> None:
    token = lives.installation.auth_token
    orders, _, cart = seen(gql(QUERY, {"user": ALICE}, token=token))
    assert (orders, cart) == (["2", "1"], gid("Checkout", f"{lives.installation.pk}-3"))
    assert seen(gql(QUERY, {"user": BOB}, token=token)) == (["4"], [lives.charger], None)
    assert seen(gql(QUERY, {"anonymous": ANONYMOUS}, token=token)) == ([], [lives.lamp], None)
    assert gql(QUERY, token=token).data == {"profile": None}


@pytest.mark.parametrize("named", [{"user": ALICE}, {"user": BOB}, {"anonymous": ANONYMOUS}])
def test_b106_only_a_server_may_name_a_person(
    gql: Ask, lives: Phones, token_of: Callable[..., str], named: dict[str, str]
) -> None:
    for caller in ({"token": token_of(BOB)}, {"anonymous_id": ANONYMOUS}, {}):
        answer = gql(QUERY, named, **caller)
        assert answer.refusal == (200, "FORBIDDEN")


def test_b106_an_app_token_of_another_shop_opens_nothing(
    gql: Ask, lives: Phones, other_installation: Installation
) -> None:
    answer = gql(QUERY, {"user": ALICE}, token=other_installation.auth_token)
    assert answer.refusal == (401, "INVALID_TOKEN")


@pytest.mark.parametrize(
    "named", [{"user": "x" * 256}, {"user": "\x00"}, {"user": "\ud800"}, {"anonymous": "short"}]
)
def test_a_server_that_names_somebody_oddly_is_told_so(
    gql: Ask, lives: Phones, named: dict[str, str]
) -> None:
    answer = gql(QUERY, named, token=lives.installation.auth_token)
    assert answer.refusal[1] in {"INVALID_TEXT", "INVALID_TOKEN"}


@pytest.mark.parametrize("first", [0, 101])
def test_pages_of_a_profile_have_1_to_100_items(
    gql: Ask, lives: Phones, token_of: Callable[..., str], first: int
) -> None:
    answer = gql(QUERY, {"first": first}, token=token_of(ALICE))
    assert answer.codes[0] == "INVALID_PAGE"
    assert answer.body["data"] == {"profile": None}
    assert len(gql(QUERY, {"first": 1}, token=token_of(ALICE)).data["profile"]["recentOrders"]) == 1


def test_a_read_makes_no_profile(gql: Ask, shop: Phones, token_of: Callable[..., str]) -> None:
    assert gql(QUERY, token=token_of("VXNlcjo3")).data == {"profile": None}
    assert gql(QUERY, anonymous_id=ANONYMOUS).data == {"profile": None}
    assert Profile.objects.count() == 0


# -- tokens ----------------------------------------------------------------------------------------


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any]) -> str:
    return f"{part({'alg': 'none', 'kid': 'test-key', 'typ': 'JWT'})}.{part(claims)}."


def signed_with_the_public_key(claims: dict[str, Any]) -> str:
    """The attack on libraries that take the algorithm from the token: the public key as HMAC secret."""
    pem = TEST_KEY.private_key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    signed = f"{part({'alg': 'HS256', 'kid': 'test-key', 'typ': 'JWT'})}.{part(claims)}"
    return f"{signed}.{part(hmac.digest(pem, signed.encode(), hashlib.sha256))}"


def tampered(claims: dict[str, Any]) -> str:
    header, _, signature = TEST_KEY.jwt({**claims, "user_id": BOB}).split(".")
    return f"{header}.{part(claims)}.{signature}"


BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "expired": {"exp": -1},
    "expires now": {"exp": 0},
    "never expires": {"exp": None},
    "expires at a text": {"exp": "9999999999"},
    "another issuer": {"iss": "https://other.saleor.test/graphql/"},
    "no issuer": {"iss": None},
    "made for an app": {"type": "thirdparty", "is_staff": True, "app": "QXBwOjE="},
    "refresh token": {"type": "refresh"},
    "no type": {"type": None},
    "no user": {"user_id": None},
    "a number as user": {"user_id": 1},
}


@pytest.mark.parametrize("changes", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_b106_a_token_with_wrong_claims_opens_nothing(
    gql: Ask,
    lives: Phones,
    installation: Installation,
    now: datetime,
    changes: dict[str, Any],
) -> None:
    claims = claims_of(installation, ALICE, now)
    for name, value in changes.items():
        if value is None:
            del claims[name]
        elif isinstance(value, int) and name == "exp":
            claims[name] = int(now.timestamp()) + value
        else:
            claims[name] = value
    answer = gql(QUERY, token=TEST_KEY.jwt(claims))
    assert answer.refusal == (401, "INVALID_TOKEN")


FORGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "alg none": unsigned,
    "HS256 with the public key": signed_with_the_public_key,
    "claims changed": tampered,
    "signed with another key": SigningKey.generate("test-key").jwt,
    "signed with an unknown key": SigningKey.generate("unknown").jwt,
    "garbage": lambda _: "garbage",
    "three garbage parts": lambda _: "a.b.c",
    "empty parts": lambda _: "..",
    "not ASCII": lambda _: "tök\xe4n",
    "endless": lambda _: "x" * 9_000,
    "a list": lambda _: f"{part([])}.{part([])}.{part(b'x')}",
    "deep": lambda _: f"{part(b'[' * 4_000)}.{part({})}.{part(b'x')}",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_b106_a_forged_token_opens_nothing(
    gql: Ask,
    lives: Phones,
    installation: Installation,
    now: datetime,
    forge: Callable[[dict[str, Any]], str],
) -> None:
    answer = gql(QUERY, token=forge(claims_of(installation, ALICE, now)))
    assert answer.refusal == (401, "INVALID_TOKEN")
    auth.refresh_limit.clear()
    # Nor does it fall back to what an anonymous id could read.
    token = forge(claims_of(installation, ALICE, now))
    answer = gql(QUERY, token=token, anonymous_id=ANONYMOUS)
    assert answer.refusal == (401, "INVALID_TOKEN")


def test_b106_a_token_of_another_shop_opens_nothing_here(
    gql: Ask, lives: Phones, token_of: Callable[..., str], other_installation: Installation
) -> None:
    """Both test shops sign with one key, so only the issuer tells them apart."""
    answer = gql(QUERY, token=token_of(ALICE, shop=other_installation))
    assert answer.refusal == (401, "INVALID_TOKEN")


@pytest.mark.parametrize("value", ["Basic YWJj", "Bearer", "Bearer ", "token-of-main"])
def test_b106_another_scheme_opens_nothing(gql: Ask, lives: Phones, value: str) -> None:
    answer = gql(QUERY, headers={"Authorization": value})
    assert answer.refusal == (401, "INVALID_TOKEN")


@pytest.mark.parametrize("value", ["short", "x" * 65, "has spaces in it, too", "x" * 15 + "\xe4"])
def test_b106_an_anonymous_id_that_can_be_guessed_is_refused(
    gql: Ask, lives: Phones, value: str
) -> None:
    assert gql(QUERY, anonymous_id=value).refusal == (401, "INVALID_TOKEN")


def test_b106_without_the_shops_keys_no_token_is_believed(
    gql: Ask,
    lives: Phones,
    installation: Installation,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from saleor_personalize.exceptions import SaleorApiError

    def unreachable(*_: object, **__: object) -> None:
        raise SaleorApiError("no route", is_retryable=True)

    monkeypatch.setattr(auth, "fetch_jwks", unreachable)
    token = SigningKey.generate("new").jwt(claims_of(installation, ALICE, now))
    for asked in range(2):
        # Nobody is told that the token is bad: it may be good, and a storefront would sign them out.
        assert gql(QUERY, token=token).refusal == (503, "JWKS_NOT_AVAILABLE"), asked
    assert gql(QUERY, token="garbage").refusal == (401, "INVALID_TOKEN")


def test_b106_staff_who_shop_are_customers_of_their_own(
    gql: Ask, lives: Phones, token_of: Callable[..., str]
) -> None:
    """A staff member's access token opens the shopper that they are, not the people they look after."""
    token = token_of(BOB, is_staff=True)
    assert seen(gql(QUERY, token=token)) == (["4"], [lives.charger], None)
    assert gql(QUERY, {"user": ALICE}, token=token).refusal == (200, "FORBIDDEN")


def test_an_inactive_installation_answers_nobody(
    gql: Ask, lives: Phones, token_of: Callable[..., str], installation: Installation
) -> None:
    Installation.objects.filter(pk=installation.pk).update(status="inactive")
    for caller in ({"token": token_of(ALICE)}, {"anonymous_id": ANONYMOUS}):
        assert gql(QUERY, **caller).refusal == (403, "FORBIDDEN")


@pytest.mark.usefixtures("nothing_expires")
def test_a_customers_read_takes_few_queries(
    gql: Ask, lives: Phones, token_of: Callable[..., str], django_assert_num_queries: Any
) -> None:
    token = token_of(ALICE)
    gql(QUERY, token=token)
    with django_assert_num_queries(6):  # who, orders, their lines, what else is theirs, views, cart
        gql(QUERY, token=token)
