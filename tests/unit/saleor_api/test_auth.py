"""Signatures and tokens: RS256 by the shop's own key or nothing (rows B106, B127)."""

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import InvalidToken, SaleorApiError, WebhookRejected
from saleor_personalize.models import Installation
from saleor_personalize.saleor_api import auth
from saleor_personalize.testing.keys import TEST_KEY, SigningKey
from tests.conftest import NOW, make_installation
from tests.loopback import LoopbackShop

BODY = '{"product": "Café"}'.encode()
NEW_KEY = SigningKey.generate("new-key")
JWKS = "/.well-known/jwks.json"


def part(data: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def verify(installation: Installation, signature: str, body: bytes = BODY) -> None:
    auth.verify_webhook(installation, body=body, signature=signature, now=NOW)


# -- webhooks --------------------------------------------------------------------------------------


def test_b127_a_true_signature_passes_without_asking_the_shop(
    shop: LoopbackShop, shop_installation: Installation
) -> None:
    verify(shop_installation, TEST_KEY.sign_webhook(BODY))
    assert shop.requests == []


@pytest.mark.parametrize("body", [BODY + b" ", BODY.replace(b"C", b"c"), b"", b"{}"])
def test_b127_one_byte_of_difference_is_refused(
    shop_installation: Installation, body: bytes
) -> None:
    with pytest.raises(WebhookRejected) as refused:
        verify(shop_installation, TEST_KEY.sign_webhook(BODY), body)
    assert (refused.value.code, refused.value.status) == ("SIGNATURE_VERIFICATION_FAILED", 401)


def hs256(header: dict[str, Any], secret: bytes) -> str:
    head = part(header)
    mac = hmac.new(secret, head.encode() + b"." + BODY, hashlib.sha256).digest()
    return f"{head}..{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


PUBLIC = json.dumps(TEST_KEY.jwks()["keys"][0]).encode()
DETACHED: dict[str, Any] = {"b64": False, "crit": ["b64"], "kid": "test-key", "typ": "JWT"}


@pytest.mark.parametrize(
    "signature",
    [
        part({**DETACHED, "alg": "none"}) + "..",
        part({**DETACHED, "alg": "none"}) + "..AAAA",
        hs256({**DETACHED, "alg": "HS256"}, PUBLIC),
        hs256({**DETACHED, "alg": "RS512"}, PUBLIC),
        part({"alg": "RS256", "kid": "test-key"}) + "..AAAA",
        part({**DETACHED, "alg": "RS256", "crit": ["b64", "exp"]}) + "..AAAA",
        part({**DETACHED, "alg": "RS256", "kid": None}) + "..AAAA",
        part([]) + "..AAAA",
        TEST_KEY.sign_webhook(BODY).replace("..", ".e30."),
        TEST_KEY.sign_webhook(BODY).rpartition(".")[0] + ".*",
        hmac.new(b"secret", BODY, hashlib.sha256).hexdigest(),
        "....",
        "é..é",
        "",
        part({**DETACHED, "alg": "RS256", "x": "x" * 9_000}) + "..AAAA",
    ],
)
def test_b127_only_a_detached_rs256_signature_is_looked_at(
    shop: LoopbackShop, shop_installation: Installation, signature: str
) -> None:
    with pytest.raises(WebhookRejected) as refused:
        verify(shop_installation, signature)
    assert (refused.value.code, refused.value.status) == ("INVALID_SIGNATURE", 401)
    assert shop.requests == []


def test_a_new_key_is_fetched_once_and_kept(
    shop: LoopbackShop, shop_installation: Installation
) -> None:
    shop.key = NEW_KEY
    verify(shop_installation, NEW_KEY.sign_webhook(BODY))
    verify(shop_installation, NEW_KEY.sign_webhook(BODY))
    assert shop.requests == [JWKS]
    stored = Installation.objects.get(pk=shop_installation.pk)
    assert stored.jwks == NEW_KEY.jwks()
    assert stored.jwks_fetched_at == NOW


def test_keys_that_another_process_fetched_are_used(
    shop: LoopbackShop, shop_installation: Installation
) -> None:
    Installation.objects.update(jwks=NEW_KEY.jwks())
    verify(shop_installation, NEW_KEY.sign_webhook(BODY))
    assert shop.requests == []


def test_b127_junk_cannot_make_us_hammer_the_shop(
    shop: LoopbackShop, shop_installation: Installation
) -> None:
    answers = []
    for number in range(5):
        junk = SigningKey(NEW_KEY.private_key, f"junk-{number}").sign_webhook(BODY)
        with pytest.raises(WebhookRejected) as refused:
            verify(shop_installation, junk)
        answers.append((refused.value.code, refused.value.status))
    assert shop.requests == [JWKS]
    # The first is known to be junk. An unknown key right after a fetch could be a key that the shop
    # has just changed to: Saleor tries again later, and then it is looked up.
    assert answers == [("SIGNATURE_VERIFICATION_FAILED", 401)] + [("JWKS_NOT_AVAILABLE", 503)] * 4
    verify(shop_installation, TEST_KEY.sign_webhook(BODY))


def test_another_keys_signature_under_a_known_name_is_refused_for_good(
    shop: LoopbackShop, shop_installation: Installation
) -> None:
    forged = SigningKey(NEW_KEY.private_key, "test-key").sign_webhook(BODY)
    for _ in range(3):
        with pytest.raises(WebhookRejected) as refused:
            verify(shop_installation, forged)
        assert (refused.value.code, refused.value.status) == ("SIGNATURE_VERIFICATION_FAILED", 401)
    assert shop.requests == [JWKS]


def test_while_the_shop_gives_no_keys_saleor_is_asked_to_try_again(
    shop: LoopbackShop, shop_installation: Installation
) -> None:
    shop.instead[JWKS] = (503, {}, b"")
    for key in (NEW_KEY, SigningKey(NEW_KEY.private_key, "test-key")):
        with pytest.raises(WebhookRejected) as refused:
            verify(shop_installation, key.sign_webhook(BODY))
        assert (refused.value.code, refused.value.status) == ("JWKS_NOT_AVAILABLE", 503)
    assert Installation.objects.get().jwks == TEST_KEY.jwks()


# -- key sets --------------------------------------------------------------------------------------


def usable() -> dict[str, Any]:
    return dict(TEST_KEY.jwks()["keys"][0])


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": []}',
        json.dumps({"keys": [{**usable(), "kty": "oct", "k": "c2VjcmV0"}]}).encode(),
        json.dumps({"keys": [{**usable(), "use": "enc"}]}).encode(),
        json.dumps({"keys": [{**usable(), "alg": "HS256"}]}).encode(),
        json.dumps({"keys": [{**usable(), "kid": 1}]}).encode(),
        json.dumps({"keys": [{**usable(), "n": "AQAB"}]}).encode(),
        json.dumps({"keys": ["key", None]}).encode(),
    ],
)
def test_a_key_set_without_a_usable_key_is_refused(
    shop: LoopbackShop, shop_installation: Installation, answer: bytes
) -> None:
    shop.instead[JWKS] = (200, {}, answer)
    with pytest.raises(SaleorApiError, match="no RSA signing key"):
        auth.refresh_jwks(shop_installation, now=NOW)
    assert Installation.objects.get().jwks == TEST_KEY.jwks()


def test_only_usable_keys_are_stored(shop: LoopbackShop, shop_installation: Installation) -> None:
    mixed = {"keys": [{**usable(), "use": "enc", "kid": "other"}, *NEW_KEY.jwks()["keys"]]}
    shop.instead[JWKS] = (200, {}, json.dumps(mixed).encode())
    auth.refresh_jwks(shop_installation, now=NOW + timedelta(hours=1))
    stored = Installation.objects.get()
    assert stored.jwks == NEW_KEY.jwks()
    assert stored.jwks_fetched_at == NOW + timedelta(hours=1)


# -- customers -------------------------------------------------------------------------------------


def access(installation: Installation, **changes: Any) -> dict[str, Any]:
    """The claims of a customer's access token as Saleor makes them."""
    claims = {
        "iat": int(NOW.timestamp()),
        "owner": "saleor",
        "iss": installation.saleor_api_url,
        "exp": int((NOW + timedelta(minutes=5)).timestamp()),
        "token": "vpe4zgOH9GlB",
        "email": "alice@example.com",
        "type": "access",
        "user_id": "VXNlcjox",
        "is_staff": False,
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def test_b106_a_customers_token_tells_who_they_are(installation: Installation) -> None:
    token = TEST_KEY.jwt(access(installation))
    assert auth.read_customer_token(installation, token, now=NOW) == auth.CustomerClaims(
        user_id="VXNlcjox", email="alice@example.com", is_staff=False
    )
    staff = TEST_KEY.jwt({**access(installation), "is_staff": True})
    assert auth.read_customer_token(installation, staff, now=NOW).is_staff


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"type": "thirdparty", "app": "QXBwOjE="}, "not an access token"),
        ({"type": "refresh"}, "not an access token"),
        ({"type": None}, "not an access token"),
        ({"iss": "https://other.saleor.test/graphql/"}, "issued by another shop"),
        ({"iss": None}, "issued by another shop"),
        ({"exp": int(NOW.timestamp())}, "expired"),
        ({"exp": None}, "never expires"),
        ({"exp": True}, "never expires"),
        ({"user_id": None}, "no user_id"),
        ({"user_id": 7}, "no user_id"),
        ({"email": None}, "no email"),
    ],
)
def test_b106_other_tokens_of_the_shop_do_not_sign_a_customer_in(
    installation: Installation, changes: dict[str, Any], why: str
) -> None:
    head = part({"alg": "RS256", "kid": "test-key", "typ": "JWT"})
    signed = f"{head}.{part(access(installation, **changes))}".encode()
    raw = TEST_KEY.private_key.sign(signed, auth._PADDING, auth._SHA256)
    token = signed.decode() + "." + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    with pytest.raises(InvalidToken, match=why):
        auth.read_customer_token(installation, token, now=NOW)


def test_b127_tokens_that_the_shop_did_not_sign_are_refused(
    shop: LoopbackShop, shop_installation: Installation
) -> None:
    claims = access(shop_installation)
    stranger = SigningKey(NEW_KEY.private_key, "test-key").jwt(claims)
    none = f"{part({'alg': 'none', 'kid': 'test-key'})}.{part(claims)}."
    confused = jwt.encode(claims, "x" * 40, algorithm="HS256", headers={"kid": "test-key"})
    head, _, rest = TEST_KEY.jwt(claims).partition(".")
    changed = f"{head}.{part({**claims, 'user_id': 'VXNlcjoy'})}.{rest.rpartition('.')[2]}"
    no_kid = jwt.encode(claims, TEST_KEY.private_key, algorithm="RS256")
    for token in (
        stranger,
        none,
        confused,
        changed,
        no_kid,
        "",
        "a.b",
        "a.b.c.d",
        "é.é.é",
        "x" * 9_000,
    ):
        with pytest.raises(InvalidToken):
            auth.read_customer_token(shop_installation, token, now=NOW)


def test_b113_a_customer_of_one_shop_is_nobody_in_another(
    installation: Installation, other_installation: Installation
) -> None:
    """Even though both shops of this test sign with the same key."""
    token = TEST_KEY.jwt(access(installation))
    with pytest.raises(InvalidToken, match="issued by another shop"):
        auth.read_customer_token(other_installation, token, now=NOW)


# -- the Dashboard ---------------------------------------------------------------------------------


def thirdparty(installation: Installation, **changes: Any) -> str:
    return TEST_KEY.jwt(
        access(
            installation,
            **{
                "type": "thirdparty",
                "is_staff": True,
                "app": installation.app_id,
                "permissions": ["MANAGE_PRODUCTS"],
                "user_permissions": ["MANAGE_PRODUCTS", "MANAGE_STAFF"],
                **changes,
            },
        )
    )


def test_b127_a_dashboard_token_names_the_installation_and_the_shared_permissions(
    installation: Installation, other_installation: Installation
) -> None:
    claims = auth.read_dashboard_token(thirdparty(installation), now=NOW)
    assert claims == auth.DashboardClaims(
        installation=installation,
        user_id="VXNlcjox",
        email="alice@example.com",
        permissions=frozenset({"MANAGE_PRODUCTS"}),
        own_permissions=frozenset({"MANAGE_PRODUCTS", "MANAGE_STAFF"}),
    )
    other = auth.read_dashboard_token(thirdparty(other_installation), now=NOW)
    assert other.installation == other_installation


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "access"},
        {"is_staff": False},
        {"is_staff": "true"},
        {"app": "QXBwOjk="},
        {"app": None},
        {"app": ""},
        {"app": ["QXBwOjE="]},
        {"iss": "https://unknown.saleor.test/graphql/"},
        {"exp": int((NOW - timedelta(seconds=1)).timestamp())},
    ],
)
def test_b127_other_tokens_do_not_open_the_dashboard_page(
    installation: Installation, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidToken):
        auth.read_dashboard_token(thirdparty(installation, **changes), now=NOW)


@pytest.mark.parametrize("permissions", [None, "MANAGE_PRODUCTS", {}])
def test_b127_no_list_of_permissions_is_no_permission(
    installation: Installation, permissions: Any
) -> None:
    token = thirdparty(installation, permissions=permissions)
    assert auth.read_dashboard_token(token, now=NOW).permissions == frozenset()


def test_an_installation_that_waits_for_its_id_is_opened_by_no_token(db: None) -> None:
    waiting = make_installation(app_id="", status=InstallationStatus.INACTIVE)
    with pytest.raises(InvalidToken):
        auth.read_dashboard_token(thirdparty(waiting), now=NOW)


def test_a_deleted_app_has_no_dashboard_page(installation: Installation) -> None:
    installation.status = InstallationStatus.UNINSTALLED
    installation.save()
    with pytest.raises(InvalidToken, match="not made for this app"):
        auth.read_dashboard_token(thirdparty(installation), now=NOW)


# -- servers ---------------------------------------------------------------------------------------


def test_b127_the_app_token_is_the_whole_token(installation: Installation) -> None:
    assert auth.is_app_token(installation, "token-of-main") is True
    for wrong in ("token-of-other", "token-of-mai", "token-of-main ", "", "é"):
        assert auth.is_app_token(installation, wrong) is False
    assert auth.is_app_token(Installation(auth_token=""), "") is False


def test_the_clock_is_the_callers(installation: Installation) -> None:
    token = TEST_KEY.jwt(access(installation))
    almost: datetime = NOW + timedelta(minutes=4, seconds=59)
    assert auth.read_customer_token(installation, token, now=almost).user_id == "VXNlcjox"
    with pytest.raises(InvalidToken, match="expired"):
        auth.read_customer_token(installation, token, now=NOW + timedelta(minutes=5))
