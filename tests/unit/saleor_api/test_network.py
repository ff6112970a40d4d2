"""The fence around calls to a shop: addresses, pinning, redirects, sizes, time (row B127)."""

import socket
from typing import Any

import pytest

from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.saleor_api import network
from tests.loopback import LoopbackShop


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: str | list[str]) -> list[str]:
    """Let every host resolve to the given addresses, one answer per call; the last stays."""
    asked: list[str] = []
    waiting = [[answer] if isinstance(answer, str) else answer for answer in answers]

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    monkeypatch.setattr(network, "resolve", resolve)
    return asked


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.8",
        "172.16.4.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 (a refused one)
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_b127_a_shop_on_a_private_address_is_not_called(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolve_to(monkeypatch, address)
    with pytest.raises(
        SaleorApiError, match=r"'shop\.example\.com' resolves to a private"
    ) as refused:
        network.check_url("https://shop.example.com/graphql/")
    assert refused.value.is_retryable is False


def test_b127_one_private_address_among_public_ones_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(SaleorApiError, match="private"):
        network.check_url("https://shop.example.com/graphql/")


def test_public_addresses_are_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
    assert network.check_url("https://shop.example.com/graphql/") == [
        "93.184.216.34",
        "2606:2800:220:1:248:1893:25c8:1946",
    ]


def test_private_addresses_by_permission(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "ALLOW_PRIVATE_ADDRESSES": True}
    resolve_to(monkeypatch, "10.0.0.8")
    assert network.check_url("http://saleor:8000/graphql/") == ["10.0.0.8"]


def test_b127_no_token_travels_unencrypted_over_the_internet(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "ALLOW_PRIVATE_ADDRESSES": True}
    resolve_to(monkeypatch, "93.184.216.34")
    with pytest.raises(SaleorApiError, match="starts with http://"):
        network.check_url("http://shop.example.com/graphql/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example.com/",
        "file:///etc/passwd",
        "https:///graphql/",
        "https://user:secret@shop.example.com/graphql/",
        "https://shop.example.com:port/graphql/",
        "graphql",
    ],
)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(SaleorApiError) as refused:
        network.check_url(url)
    assert refused.value.is_retryable is False


def test_a_host_that_does_not_resolve_may_do_so_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(network, "resolve", resolve)
    with pytest.raises(SaleorApiError, match="cannot be resolved") as refused:
        network.check_url("https://nowhere.example.com/graphql/")
    assert refused.value.is_retryable is True


def ask(url: str, **options: Any) -> tuple[int, Any]:
    with network.open_client(timeout=2) as client:
        return network.request_json(client, "GET", url, **{"max_bytes": 10_000, **options})


def test_b127_the_checked_address_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch, shop: LoopbackShop
) -> None:
    """A name that resolves to something else a moment later (DNS rebinding) gains nothing."""
    asked = resolve_to(monkeypatch, "127.0.0.1", "10.255.255.1")
    port = shop.url.rpartition(":")[2]
    status, answer = ask(f"http://rebinding.example.com:{port}/.well-known/jwks.json")
    assert (status, answer) == (200, shop.key.jwks())
    assert asked == ["rebinding.example.com"]


def test_the_next_address_is_tried_when_one_does_not_connect(
    monkeypatch: pytest.MonkeyPatch, shop: LoopbackShop
) -> None:
    resolve_to(monkeypatch, ["::1", "127.0.0.1"])
    port = shop.url.rpartition(":")[2]
    assert ask(f"http://localhost:{port}/.well-known/jwks.json")[0] == 200


def test_b127_a_client_refuses_private_addresses_by_itself(
    shop: LoopbackShop, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "ALLOW_PRIVATE_ADDRESSES": False}
    with pytest.raises(SaleorApiError, match="private, loopback or reserved"):
        ask(f"{shop.url}/.well-known/jwks.json")
    assert shop.requests == []


def test_b127_redirects_are_not_followed(shop: LoopbackShop) -> None:
    shop.instead["/start"] = (302, {"Location": f"{shop.url}/.well-known/jwks.json"}, b"")
    with pytest.raises(SaleorApiError, match="answered 302, a redirect") as refused:
        ask(f"{shop.url}/start")
    assert refused.value.is_retryable is False
    assert shop.requests == ["/start"]


def test_b127_an_answer_has_a_greatest_size(shop: LoopbackShop) -> None:
    shop.instead["/big"] = (200, {}, b"[" + b"1," * 10_000 + b"1]")
    with pytest.raises(SaleorApiError, match="more than 10000 bytes") as refused:
        ask(f"{shop.url}/big")
    assert refused.value.is_retryable is False


@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_of_the_shop_is_retryable(shop: LoopbackShop, status: int) -> None:
    shop.instead["/x"] = (status, {}, b"")
    with pytest.raises(SaleorApiError, match=f"answered {status}") as failed:
        ask(f"{shop.url}/x")
    assert failed.value.is_retryable is True


def test_an_unreachable_shop_is_retryable(shop: LoopbackShop) -> None:
    with pytest.raises(SaleorApiError, match="failed: ConnectError") as failed:
        ask("http://127.0.0.1:1/")
    assert failed.value.is_retryable is True


def test_an_answer_that_is_no_json_is_none(shop: LoopbackShop) -> None:
    shop.instead["/page"] = (200, {}, b"<html>")
    assert ask(f"{shop.url}/page") == (200, None)
