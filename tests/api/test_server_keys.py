"""Server keys through the doors: the shop's own server speaks for the shop, nobody else, and nothing leaks."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from saleor_personalize.enums import ErasureSource, EventSource, InstallationStatus
from saleor_personalize.exceptions import ServerKeyRefused
from saleor_personalize.models import Event, Installation, Profile, Segment, ServerKey
from saleor_personalize.profiles import privacy
from saleor_personalize.saleor_api import server_keys
from tests.api.conftest import ALICE, ANONYMOUS, Ask
from tests.catalogue import Phones

SEGMENTS = "{ segments { key } }"
CREATE = """mutation($name: String!) {
  segmentCreate(key: "all", name: $name, definition: "{\\"rule\\": \\"order_count\\", \\"at_least\\": 0}") {
    faults { path message }
  }
}"""
PROFILE = "query($user: ID) { profile(userId: $user) { orderCount } }"
STORE = "https://store.test"


@pytest.fixture
def key(shop: Phones, now: datetime) -> str:
    return make(shop.installation, now)


def make(installation: Installation, now: datetime, name: str = "till") -> str:
    return server_keys.create(installation=installation, name=name, created_by="", now=now)[1]


def row_of(key: str) -> ServerKey:
    return ServerKey.objects.get(prefix=key.split("_")[1])


def revoke(key: str, now: datetime) -> None:
    assert server_keys.revoke(key=row_of(key), now=now) is True


@pytest.fixture
def collect(client: Client, shop: Phones) -> Callable[..., Any]:
    """`collect(key, url=, headers=, **body) -> response`: one view of a product, for Alice."""

    def send(key: str, url: str = "", headers: dict[str, str] | None = None, **body: Any) -> Any:
        events = [{"id": "e1", "type": "PRODUCT_VIEWED", "productId": "UHJvZHVjdDox"}]
        sent = {"userId": ALICE, "consent": True, "events": events, **body}
        if url:
            sent["saleorApiUrl"] = url
        return client.post(
            "/collect",
            json.dumps(sent),
            content_type="application/json",
            headers={"Authorization": f"Bearer {key}", **(headers or {})},
        )

    return send


def code_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# -- what a key opens --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_named", [True, False], ids=["with the shop", "the key alone"])
def test_b105_a_key_speaks_for_its_shop(
    gql: Ask, key: str, shop: Phones, alice: Profile, is_named: bool
) -> None:
    where = shop.installation if is_named else None
    assert gql(SEGMENTS, token=key, shop=where).data == {"segments": []}
    assert gql(CREATE, {"name": "All"}, token=key, shop=where).data["segmentCreate"] == {
        "faults": []
    }
    assert Segment.objects.get().installation == shop.installation
    answer = gql(PROFILE, {"user": ALICE}, token=key, shop=where)
    assert answer.data == {"profile": {"orderCount": 0}}


@pytest.mark.parametrize("is_named", [True, False], ids=["with the shop", "the key alone"])
def test_b105_a_key_tells_events_of_whom_it_names(
    collect: Callable[..., Any], key: str, shop: Phones, alice: Profile, is_named: bool
) -> None:
    response = collect(key, shop.installation.saleor_api_url if is_named else "")
    assert [row["status"] for row in response.json()["results"]] == ["ACCEPTED"]
    event = Event.objects.get()
    assert (event.profile, event.source) == (alice, EventSource.SERVER)


def test_b105_the_token_that_saleor_gave_the_app_works_as_before(gql: Ask, shop: Phones) -> None:
    assert gql(SEGMENTS, token=shop.installation.auth_token).data == {"segments": []}


def test_b105_two_keys_work_while_one_takes_over_from_the_other(
    gql: Ask, key: str, shop: Phones, now: datetime
) -> None:
    new = make(shop.installation, now, "till, new")
    assert gql(SEGMENTS, token=key).data == gql(SEGMENTS, token=new).data == {"segments": []}
    revoke(key, now)
    assert gql(SEGMENTS, token=key).refusal == (401, "INVALID_TOKEN")
    assert gql(SEGMENTS, token=new).data == {"segments": []}


# -- what does not -----------------------------------------------------------------------------------


def test_b105_a_revoked_key_opens_nothing_at_once(
    gql: Ask, collect: Callable[..., Any], key: str, now: datetime
) -> None:
    assert gql(SEGMENTS, token=key).data == {"segments": []}
    revoke(key, now)
    for shop in (None, row_of(key).installation):
        answer = gql(SEGMENTS, token=key, shop=shop, anonymous_id=ANONYMOUS)
        assert answer.refusal == (401, "INVALID_TOKEN")
        assert f"spk_{row_of(key).prefix} was revoked" in answer.body["errors"][0]["message"]
    assert code_of(collect(key)) == (401, "INVALID_TOKEN")
    assert not Event.objects.exists()
    assert server_keys.revoke(key=row_of(key), now=now + timedelta(hours=1)) is False
    assert row_of(key).revoked_at == now


@pytest.mark.parametrize("is_named", [True, False], ids=["with the shop", "the key alone"])
def test_b113_a_key_of_another_shop_opens_that_shop_only(
    gql: Ask,
    collect: Callable[..., Any],
    shop: Phones,
    alice: Profile,
    other_installation: Installation,
    now: datetime,
    is_named: bool,
) -> None:
    foreign = make(other_installation, now)
    if is_named:
        assert gql(PROFILE, {"user": ALICE}, token=foreign).refusal == (403, "FORBIDDEN")
        url = shop.installation.saleor_api_url
        assert code_of(collect(foreign, url)) == (403, "FORBIDDEN")
        assert code_of(collect(foreign, headers={"Saleor-Api-Url": url})) == (403, "FORBIDDEN")
        assert row_of(foreign).last_used_at is None
    else:
        answer = gql(PROFILE, {"user": ALICE}, token=foreign, shop=None)
        assert answer.data == {"profile": None}
        assert gql(CREATE, {"name": "x"}, token=foreign, shop=None).data
        assert not Segment.objects.of(shop.installation).exists()
    assert not Event.objects.of(shop.installation).exists()


MALFORMED = {
    "the mark alone": lambda key: "spk_",
    "a letter short": lambda key: key[:-1],
    "a letter long": lambda key: key + "0",
    "without secret": lambda key: key.rsplit("_", 1)[0],
    "capitals": lambda key: key[:20] + key[20:].upper() + "G",
    "NUL": lambda key: key[:-1] + "\x00",
    "other digits": lambda key: key[:-1] + "\N{ARABIC-INDIC DIGIT ONE}",
    "very long": lambda key: key * 500,
    "unknown": lambda key: "spk_" + "0" * 12 + "_" + "0" * 64,
    "wrong secret": lambda key: key[:17] + hashlib.sha256(key.encode()).hexdigest(),
    "its own hash": lambda key: key[:17] + row_of(key).secret_hash,
}


@pytest.mark.parametrize("kind", sorted(MALFORMED))
def test_b105_what_is_no_key_is_refused_and_never_taken_for_a_visitor(
    gql: Ask, collect: Callable[..., Any], key: str, alice: Profile, kind: str
) -> None:
    given = MALFORMED[kind](key)
    sent = given.encode().decode("latin-1")  # as a header carries it
    for query in (SEGMENTS, PROFILE, "{ profile { orderCount } }"):
        answer = gql(query, token=sent, anonymous_id=ANONYMOUS)
        assert answer.refusal == (401, "INVALID_TOKEN")
        assert given[17:40] not in str(answer.body) or len(given) < 20
    # Also in the body, where a storefront's token stands; and with the shop beside it or not.
    url = row_of(key).installation.saleor_api_url
    for where in ("", url):
        response = collect("", where, {"Authorization": ""}, token=given, anonymousId=ANONYMOUS)
        assert code_of(response) == (401, "INVALID_TOKEN")
    assert not Event.objects.exists()
    assert row_of(key).last_used_at is None


@pytest.mark.parametrize("scheme", ["", "Basic ", "Token "])
def test_b105_a_key_in_another_scheme_is_no_visitor(
    client: Client, key: str, shop: Phones, scheme: str
) -> None:
    headers = {
        "Authorization": f"{scheme}{key}",
        "Saleor-Api-Url": shop.installation.saleor_api_url,
        "X-Anonymous-Id": ANONYMOUS,
    }
    sent = json.dumps({"query": "{ profile { orderCount } }"})
    response = client.post("/graphql/", sent, content_type="application/json", headers=headers)
    assert response.status_code == 401
    assert "Bearer" in response.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "status", [s for s in InstallationStatus if s is not InstallationStatus.ACTIVE]
)
def test_b105_a_key_of_a_shop_where_the_app_is_not_active_opens_nothing(
    gql: Ask, collect: Callable[..., Any], key: str, shop: Phones, status: InstallationStatus
) -> None:
    Installation.objects.filter(pk=shop.installation.pk).update(status=status)
    for where in (None, shop.installation):
        assert gql(SEGMENTS, token=key, shop=where).refusal == (403, "FORBIDDEN")
    assert code_of(collect(key)) == (403, "FORBIDDEN")
    assert row_of(key).last_used_at is None


@pytest.mark.parametrize("origin", [STORE, "https://evil.test", "null", "http://testserver"])
def test_b105_a_browser_that_holds_a_key_is_told_to_let_go_of_it(
    gql: Ask, collect: Callable[..., Any], key: str, shop: Phones, alice: Profile, origin: str
) -> None:
    """Browsers send Origin with every POST, of every page; servers send none."""
    shop.installation.storefront_origins = [STORE]
    shop.installation.save()
    answer = gql(PROFILE, {"user": ALICE}, token=key, headers={"Origin": origin})
    assert answer.refusal == (403, "FORBIDDEN")
    assert "revoke it" in answer.body["errors"][0]["message"]
    url = shop.installation.saleor_api_url
    for where in ("", url):
        refused = collect(key, where, {"Origin": origin})
        assert refused.status_code == 403
    beacon = collect("", url, {"Authorization": "", "Origin": origin}, token=key)
    assert beacon.status_code == 403
    if origin == STORE:  # the page may read why
        assert "revoke it" in refused.json()["error"]["message"]
        assert refused["Access-Control-Allow-Origin"] == STORE
    assert not Event.objects.exists()
    assert row_of(key).last_used_at is None
    # Nor does the refusal tell a page whether the key is good.
    assert gql(SEGMENTS, token=MALFORMED["unknown"](key), headers={"Origin": origin}).body == (
        gql(SEGMENTS, token=key, headers={"Origin": origin}).body
    )


def test_b106_a_shopper_still_may_not_name_another(
    gql: Ask, key: str, token_of: Callable[..., str]
) -> None:
    answer = gql(PROFILE, {"user": ALICE}, token=token_of("VXNlcjoy"))
    assert answer.refusal == (200, "FORBIDDEN")
    assert "server key" in answer.body["errors"][0]["message"]


def test_b121_what_only_a_shopper_may_do_a_key_does_not(gql: Ask, key: str, alice: Profile) -> None:
    answer = gql("mutation { profileErase { reference } }", token=key)
    assert answer.codes == ["FORBIDDEN"]
    assert Profile.objects.filter(pk=alice.pk).exists()


# -- what it costs -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_expires")
def test_b105_a_key_costs_one_indexed_query(gql: Ask, key: str) -> None:
    gql("{ __typename }", token=key)
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert gql("{ __typename }", token=key, shop=None).data
    (query,) = [q["sql"] for q in seen if "serverkey" in q["sql"]]
    assert len([q for q in seen if q["sql"].startswith(("SELECT", "UPDATE"))]) == 1
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {query}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan
    assert "prefix" in plan


@pytest.mark.usefixtures("nothing_expires")
@pytest.mark.parametrize("kind", ["a letter short", "very long", "the mark alone"])
def test_b105_what_has_not_the_shape_of_a_key_asks_the_database_nothing(
    gql: Ask, key: str, kind: str
) -> None:
    given = MALFORMED[kind](key)
    with CaptureQueriesContext(connection) as seen:
        assert gql(SEGMENTS, token=given).refusal == (401, "INVALID_TOKEN")
    assert seen.captured_queries == []


@pytest.mark.usefixtures("nothing_expires")
def test_b105_the_last_use_is_known_to_the_hour(gql: Ask, key: str, now: datetime) -> None:
    assert row_of(key).last_used_at is None
    for minutes, noted in [(0, 0), (1, 0), (59, 0), (60, 60), (119, 60), (121, 121)]:
        with (
            time_machine.travel(now + timedelta(minutes=minutes), tick=False),
            CaptureQueriesContext(connection) as seen,
        ):
            assert gql(SEGMENTS, token=key).data
        assert row_of(key).last_used_at == now + timedelta(minutes=noted)
        writes = [q for q in seen if q["sql"].startswith("UPDATE")]
        assert len(writes) == (1 if minutes == noted else 0), minutes


# -- making them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "   ", "a\x00b", "line\nbreak", "\ud800", "x" * 101])
def test_b105_a_key_needs_a_name(installation: Installation, now: datetime, name: str) -> None:
    with pytest.raises(ServerKeyRefused, match="1 to 100"):
        make(installation, now, name)
    assert not ServerKey.objects.exists()


def test_b105_only_so_many_keys_work_at_a_time(
    installation: Installation, other_installation: Installation, now: datetime
) -> None:
    keys = [make(installation, now, f"server {n}") for n in range(server_keys.MAX_LIVE)]
    with pytest.raises(ServerKeyRefused, match="20 server keys"):
        make(installation, now)
    assert make(other_installation, now)
    revoke(keys[0], now)
    assert make(installation, now)
    assert len(set(keys)) == 20


# -- where the secret is not ----------------------------------------------------------------------------


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Everything that any logger writes while a test runs."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    root, handler = logging.getLogger(), Keep(logging.DEBUG)
    names = ("", "saleor_personalize", "django", "django.request", "django.db.backends")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield lines
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def database() -> str:
    """Every value of every table, as text."""
    parts = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT t::text FROM "{table}" t')  # noqa: S608
            parts += [row for (row,) in cursor.fetchall()]
    assert len(parts) > 1
    return "\n".join(parts)


def test_b105_the_secret_is_neither_stored_nor_logged(
    gql: Ask,
    collect: Callable[..., Any],
    shop: Phones,
    alice: Profile,
    now: datetime,
    log: list[str],
) -> None:
    key = make(shop.installation, now)
    secret = key.rsplit("_", 1)[1]
    prefix = row_of(key).prefix
    answers = [gql(SEGMENTS, token=key).body, collect(key).json()]
    answers += [gql(SEGMENTS, token=key, headers={"Origin": STORE}).body]
    answers += [gql(SEGMENTS, token=key[:-1]).body, gql(SEGMENTS, token=key[:-1] + "g").body]
    revoke(key, now)
    answers += [gql(SEGMENTS, token=key).body, collect(key).json()]
    stored, logged = database(), "\n".join(log)
    assert prefix in stored  # what we look at holds the key's row
    assert f"server key {prefix} made" in logged
    assert f"server key {prefix} revoked" in logged
    for place in (stored, logged, json.dumps(answers), repr(row_of(key)), str(row_of(key))):
        for part in (secret, secret[:32], secret[32:]):
            assert part not in place
    assert row_of(key).secret_hash == hashlib.sha256(key.encode()).hexdigest()
    assert row_of(key).secret_hash not in logged + json.dumps(answers)


def test_b121_erasing_staff_who_are_customers_leaves_the_key_without_their_id(
    gql: Ask, shop: Phones, alice: Profile, other_installation: Installation, now: datetime
) -> None:
    keys = {
        name: server_keys.create(installation=where, name=name, created_by=user, now=now)[1]
        for name, where, user in [
            ("hers", shop.installation, ALICE),
            ("another's", shop.installation, "VXNlcjo5"),
            ("elsewhere", other_installation, ALICE),
        ]
    }
    privacy.erase(profile=alice, requested_by=ErasureSource.STAFF, now=now)
    made_by = dict(ServerKey.objects.values_list("name", "created_by"))
    assert made_by == {"hers": "", "another's": "VXNlcjo5", "elsewhere": ALICE}
    assert gql(SEGMENTS, token=keys["hers"]).data == {"segments": []}


def test_b113_a_shop_that_goes_takes_its_keys_along(
    gql: Ask, key: str, shop: Phones, other_installation: Installation, now: datetime
) -> None:
    kept = make(other_installation, now)
    shop.installation.delete()
    assert gql(SEGMENTS, token=key, shop=None).refusal == (401, "INVALID_TOKEN")
    assert gql(SEGMENTS, token=kept, shop=None).data == {"segments": []}
