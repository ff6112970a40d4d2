"""B69: messages that are read in the shop: one inbox on all devices, banners, and polling that costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from saleor_personalize.enums import (
    DeliveryChannel,
    ErasureSource,
    MergeProof,
    MessageStatus,
    Purpose,
)
from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.messaging.channels.in_app import InAppChannel
from saleor_personalize.models import InboxItem, Installation, Message, MessageEvent, Profile
from saleor_personalize.profiles import merging, privacy, retention
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.conftest import make_profile

FIELDS = "id title text link imageUrl promoCode placement languageCode isRead expiresAt"
INBOX = f"""query Inbox($first: Int = 10, $after: String, $user: ID, $anonymous: String) {{
  inbox(first: $first, after: $after, userId: $user, anonymousId: $anonymous) {{
    items {{ {FIELDS} }} unreadCount endCursor
  }}
}}"""
BANNERS = f"query B($placement: String!) {{ banners(placement: $placement) {{ {FIELDS} }} }}"
CHANGE = """mutation Change($ids: [ID!]!, $user: ID) {
  %s(ids: $ids, userId: $user) { changedCount unreadCount }
}"""
READ_ALL = "mutation { inboxReadAll { changedCount unreadCount } }"


def write(profile: Profile, title: str = "Your tea", **given: Any) -> Message:
    """Hand a message over to the inbox, as the scheduler does."""
    message = Message.objects.create(
        installation=profile.installation,
        idempotency_key=uuid4().hex,
        profile=profile,
        template="welcome",
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.IN_APP,
        language_code="DE",
        status=MessageStatus.HANDING_OVER,
        decided_at=timezone.now(),
    )
    send(message, title=title, **given)
    return message


def send(message: Message, **given: Any) -> str:
    outgoing = {
        "key": message.public_id.hex,
        "recipient": "",
        "sender": "Shop <shop@example.com>",
        "subject": "",
        "text": "It is back.\n",
        "html": "",
        "link": "https://shop.example/tea",
        "installation_id": message.installation_id,
        **given,
    }
    return InAppChannel().send(OutgoingMessage(**outgoing)).provider_message_id


def inbox(gql: Ask, *, variables: dict[str, Any] | None = None, **caller: Any) -> Any:
    return gql(INBOX, variables, **caller).data["inbox"]


def titles(gql: Ask, **caller: Any) -> list[str]:
    return [item["title"] for item in inbox(gql, **caller)["items"]]


def ids(gql: Ask, **caller: Any) -> list[str]:
    return [item["id"] for item in inbox(gql, **caller)["items"]]


def change(gql: Ask, name: str, those: list[str], **caller: Any) -> dict[str, int]:
    changed: dict[str, int] = gql(CHANGE % name, {"ids": those}, **caller).data[name]
    return changed


def kinds(message: Message) -> list[str]:
    return list(
        MessageEvent.objects.filter(message=message).order_by("pk").values_list("kind", flat=True)
    )


@pytest.fixture
def alices(token_of: Callable[..., str], alice: Profile) -> str:
    return token_of(ALICE)


@pytest.fixture
def visitor(installation: Installation) -> Profile:
    return make_profile(installation, anonymous_id=ANONYMOUS)


# -- the list ------------------------------------------------------------------------------------------


def test_b69_a_message_is_an_item_with_all_that_was_said(
    gql: Ask, alice: Profile, alices: str, now: datetime
) -> None:
    message = write(
        alice,
        image_url="https://cdn.example/tea.png",
        data={"promo_code": "TEA-10", "placement": "home_top"},
    )
    answer = inbox(gql, token=alices)
    (item,) = answer["items"]
    assert item.pop("id") == str(InboxItem.objects.get().public_id)
    assert item == {
        "title": "Your tea",
        "text": "It is back.",
        "link": "https://shop.example/tea",
        "imageUrl": "https://cdn.example/tea.png",
        "promoCode": "TEA-10",
        "placement": "home_top",
        "languageCode": "DE",
        "isRead": False,
        "expiresAt": (now + timedelta(days=30)).isoformat(),
    }
    assert (answer["unreadCount"], answer["endCursor"]) == (1, None)
    assert kinds(message) == ["delivered"]


def test_b69_handed_over_twice_it_is_one_item(gql: Ask, alice: Profile, alices: str) -> None:
    message = write(alice)
    first = InboxItem.objects.get()
    assert send(message, title="Once more") == first.public_id.hex
    assert titles(gql, token=alices) == ["Your tea"]
    assert kinds(message) == ["delivered"]


def test_b69_what_a_page_must_not_open_is_left_out(gql: Ask, alice: Profile, alices: str) -> None:
    write(alice, link="javascript:alert(1)", image_url="http://cdn.example/pixel.gif")
    write(alice, link="http://[", image_url="data:image/png;base64,AA")
    for item in inbox(gql, token=alices)["items"]:
        assert (item["link"], item["imageUrl"]) == (None, None)


def test_b69_words_and_links_are_encrypted_at_rest(alice: Profile) -> None:
    from django.db import connection

    write(alice, "Hello Alice")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT title || text || link || promo_code FROM saleor_personalize_inboxitem"
        )
        (row,) = cursor.fetchone()
    assert "Alice" not in row
    assert "shop.example" not in row


def test_b69_pages_go_on_where_the_last_one_ended(gql: Ask, alice: Profile, alices: str) -> None:
    for number in range(5):
        write(alice, str(number))
    page = inbox(gql, token=alices, variables={"first": 2})
    assert [item["title"] for item in page["items"]] == ["4", "3"]
    change(gql, "inboxDismiss", [page["items"][1]["id"]], token=alices)
    write(alice, "new")
    rest = inbox(gql, token=alices, variables={"first": 3, "after": page["endCursor"]})
    assert [item["title"] for item in rest["items"]] == ["2", "1", "0"]
    assert (rest["endCursor"], rest["unreadCount"]) == (None, 5)


@pytest.mark.parametrize("cursor", ["nonsense", "0" * 32, "null"])
def test_b69_a_cursor_of_somebody_else_is_refused(
    gql: Ask, alice: Profile, bob: Profile, alices: str, token_of: Any, cursor: str
) -> None:
    write(alice)
    write(bob)
    others = InboxItem.objects.get(profile=bob).public_id.hex
    for after in (cursor, others):
        answer = gql(INBOX, {"after": after}, token=alices)
        assert answer.refusal == (200, "INVALID_CURSOR")


def test_b69_an_item_expires_by_itself(
    gql: Ask, alice: Profile, alices: str, now: datetime
) -> None:
    write(alice, "soon", data={"expires_at": (now + timedelta(minutes=4)).isoformat()})
    write(alice, "later")
    assert titles(gql, token=alices) == ["later", "soon"]
    with time_machine.travel(now + timedelta(minutes=4), tick=False):
        assert titles(gql, token=alices) == ["later"]
        assert inbox(gql, token=alices)["unreadCount"] == 1
        assert change(gql, "inboxRead", [str(InboxItem.objects.earliest("pk").public_id)], token=alices)[
            "changedCount"
        ] == 0  # fmt: skip


def test_b69_the_shop_sets_how_long(
    gql: Ask, alice: Profile, alices: str, now: datetime, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "INBOX_EXPIRY": timedelta(minutes=3),
    }
    write(alice)
    with time_machine.travel(now + timedelta(minutes=2, seconds=59), tick=False):
        assert titles(gql, token=alices) == ["Your tea"]
    with time_machine.travel(now + timedelta(minutes=3), tick=False):
        assert titles(gql, token=alices) == []


# -- what somebody does ----------------------------------------------------------------------------------


def test_b69_reading_counts_down_and_is_told_once(
    gql: Ask, alice: Profile, alices: str, now: datetime
) -> None:
    message = write(alice, "first")
    write(alice, "second")
    second, first = ids(gql, token=alices)
    assert change(gql, "inboxRead", [first], token=alices) == {"changedCount": 1, "unreadCount": 1}
    assert change(gql, "inboxRead", [first], token=alices) == {"changedCount": 0, "unreadCount": 1}
    assert [item["isRead"] for item in inbox(gql, token=alices)["items"]] == [False, True]
    assert kinds(message) == ["delivered", "read"]
    assert gql(READ_ALL, token=alices).data["inboxReadAll"] == {
        "changedCount": 1,
        "unreadCount": 0,
    }
    assert InboxItem.objects.get(public_id=second).read_at == now


def test_b69_put_away_is_gone_everywhere_and_read(gql: Ask, alice: Profile, alices: str) -> None:
    message = write(alice, data={"placement": "home_top"})
    (item,) = ids(gql, token=alices)
    changed = change(gql, "inboxDismiss", [item], token=alices)
    assert changed == {"changedCount": 1, "unreadCount": 0}
    assert titles(gql, token=alices) == []
    assert gql(BANNERS, {"placement": "home_top"}, token=alices).data["banners"] == []
    assert kinds(message) == ["delivered", "dismissed"]
    # A second hand-over does not bring it back.
    send(message)
    assert titles(gql, token=alices) == []


def test_b69_following_the_link_reads_it(gql: Ask, alice: Profile, alices: str) -> None:
    message = write(alice)
    (item,) = ids(gql, token=alices)
    for _ in range(3):
        assert change(gql, "inboxClick", [item], token=alices)["unreadCount"] == 0
    # However often it is followed.
    assert kinds(message) == ["delivered", "clicked"]


def test_b69_ids_that_are_none_and_too_many_change_nothing(
    gql: Ask, alice: Profile, alices: str
) -> None:
    write(alice)
    changed = change(gql, "inboxDismiss", ["", "x\x00", "1", uuid4().hex], token=alices)
    assert changed == {"changedCount": 0, "unreadCount": 1}
    many = gql(CHANGE % "inboxDismiss", {"ids": ["x"] * 101}, token=alices)
    assert many.refusal == (200, "TOO_MANY_ITEMS")
    assert titles(gql, token=alices) == ["Your tea"]


# -- whose it is -----------------------------------------------------------------------------------------


def test_b69_it_is_the_same_on_every_device(
    gql: Ask, alice: Profile, alices: str, token_of: Callable[..., str]
) -> None:
    write(alice)
    phone = {"token": token_of(ALICE), "anonymous_id": "phone-0123456789abc"}
    change(gql, "inboxRead", ids(gql, **phone), **phone)
    assert inbox(gql, token=alices)["unreadCount"] == 0


def test_b69_nobody_reads_or_changes_anothers(
    gql: Ask, alice: Profile, bob: Profile, alices: str, token_of: Callable[..., str]
) -> None:
    message = write(alice)
    (item,) = ids(gql, token=alices)
    bobs = token_of(BOB)
    assert titles(gql, token=bobs) == []
    for name in ("inboxRead", "inboxDismiss", "inboxClick"):
        assert change(gql, name, [item], token=bobs)["changedCount"] == 0
        assert change(gql, name, [item], anonymous_id=ANONYMOUS)["changedCount"] == 0
        assert gql(CHANGE % name, {"ids": [item]}).refusal == (200, "UNAUTHENTICATED")
    named = gql(INBOX, {"user": ALICE}, token=bobs)
    assert named.refusal == (200, "FORBIDDEN")
    assert kinds(message) == ["delivered"]


def test_b69_another_shop_has_other_inboxes(
    gql: Ask, alice: Profile, dave: Profile, token_of: Callable[..., str], alices: str
) -> None:
    write(dave, "of the other shop")
    assert titles(gql, token=alices) == []
    other = token_of(ALICE, shop=dave.installation)
    assert titles(gql, token=other, shop=dave.installation) == ["of the other shop"]


def test_b69_what_a_visitor_got_follows_them_to_their_account_and_no_further(
    gql: Ask,
    alice: Profile,
    visitor: Profile,
    alices: str,
    installation: Installation,
    now: datetime,
) -> None:
    write(visitor, "to the visitor")
    write(alice, "to Alice")
    assert titles(gql, anonymous_id=ANONYMOUS) == ["to the visitor"]
    merging.prove(
        installation=installation, first=visitor, second=alice, proof=MergeProof.LOGIN, now=now
    )
    assert titles(gql, token=alices) == ["to Alice", "to the visitor"]
    # Signed out, the browser shows nothing of a person who has a name.
    assert titles(gql, anonymous_id=ANONYMOUS) == []
    (merge,) = merging.merges_of(alice)
    merging.split(merge=merge, now=now, decided_by="")
    assert titles(gql, token=alices) == ["to Alice"]
    assert titles(gql, anonymous_id=ANONYMOUS) == ["to the visitor"]


def test_b69_a_cart_that_two_used_shows_nobody_the_others(
    gql: Ask, alice: Profile, alices: str, installation: Installation, now: datetime
) -> None:
    friend = make_profile(installation, email="friend@example.com")
    write(friend, "to the friend")
    merging.prove(
        installation=installation,
        first=friend,
        second=alice,
        proof=MergeProof.CHECKOUT_COMPLETED,
        now=now,
    )
    assert titles(gql, token=alices) == []


def test_b69_the_shops_server_reads_for_somebody(
    gql: Ask, alice: Profile, installation: Installation
) -> None:
    write(alice)
    server = {"token": installation.auth_token}
    answer = inbox(gql, variables={"user": ALICE}, **server)
    assert [item["title"] for item in answer["items"]] == ["Your tea"]
    changed = gql(
        CHANGE % "inboxRead", {"ids": [answer["items"][0]["id"]], "user": ALICE}, **server
    )
    assert changed.data["inboxRead"] == {"changedCount": 1, "unreadCount": 0}


def test_b69_the_export_has_it_and_erasure_takes_it(
    gql: Ask, alice: Profile, bob: Profile, now: datetime
) -> None:
    message = write(alice)
    write(bob)
    (exported,) = privacy.export(profile=alice, now=now)["inbox"]
    assert (exported["title"], exported["message_id"]) == ("Your tea", str(message.public_id))
    privacy.erase(profile=alice, requested_by=ErasureSource.STAFF, now=now)
    assert [item.profile for item in InboxItem.objects.all()] == [bob]
    with pytest.raises(ChannelError, match="erased") as error:
        send(message)
    assert error.value.is_permanent is True
    assert InboxItem.objects.count() == 1


def test_b69_what_expired_is_purged_in_time(alice: Profile, now: datetime) -> None:
    write(alice, "old", data={"expires_at": (now - timedelta(days=31)).isoformat()})
    write(alice, "of late", data={"expires_at": (now - timedelta(days=29)).isoformat()})
    assert retention.purge(now=now)["inbox"] == 1
    assert [item.title for item in InboxItem.objects.all()] == ["of late"]


# -- banners ---------------------------------------------------------------------------------------------


def test_b69_a_banner_stands_in_its_place_and_the_newest_first(
    gql: Ask, alice: Profile, alices: str
) -> None:
    write(alice, "cart", data={"placement": "cart"})
    write(alice, "old", data={"placement": "home_top"})
    write(alice, "new", data={"placement": "home_top"})
    write(alice, "none")
    for placement, expected in (("home_top", ["new"]), ("cart", ["cart"]), ("", []), ("x", [])):
        found = gql(BANNERS, {"placement": placement}, token=alices).data["banners"]
        assert [item["title"] for item in found] == expected
    assert gql(BANNERS, {"placement": "cart"}).data["banners"] == []


# -- polling ---------------------------------------------------------------------------------------------


@pytest.fixture
def poll(client: Client, installation: Installation) -> Callable[..., Any]:
    def ask(*, token: str = "", anonymous_id: str = "", tag: str = "", **query: str) -> Any:
        headers = {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if anonymous_id:
            headers["X-Anonymous-Id"] = anonymous_id
        if tag:
            headers["If-None-Match"] = tag
        query = {"saleorApiUrl": installation.saleor_api_url, **query}
        return client.get("/inbox", query, headers=headers)

    return ask


def test_b69_while_nothing_changes_a_poll_costs_one_read(
    poll: Any, alice: Profile, alices: str, django_assert_num_queries: Any
) -> None:
    write(alice)
    first = poll(token=alices)
    assert [item["title"] for item in first.json()["items"]] == ["Your tea"]
    with django_assert_num_queries(1) as captured:
        again = poll(token=alices, tag=first["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert "saleor_personalize_identity" in captured[0]["sql"]
    assert poll(token=alices, tag=f"W/{first['ETag']}").status_code == 304


def test_b69_every_change_is_polled_on_every_device(
    poll: Any, gql: Ask, alice: Profile, alices: str, now: datetime
) -> None:
    tag = poll(token=alices)["ETag"]
    seen = {tag}
    write(alice, data={"expires_at": (now + timedelta(minutes=4)).isoformat()})
    other = {"token": alices, "anonymous_id": "phone-0123456789abc"}
    for act in (None, "inboxRead", "inboxClick"):
        if act:
            change(gql, act, ids(gql, token=alices), **other)
        answer = poll(token=alices, tag=tag)
        assert answer.status_code == 200
        tag = answer["ETag"]
        assert tag not in seen
        seen.add(tag)
        assert poll(token=alices, tag=tag).status_code == 304
    with time_machine.travel(now + timedelta(minutes=4), tick=False):
        expired = poll(token=alices, tag=tag)
        assert (expired.status_code, expired.json()["items"]) == (200, [])
        assert poll(token=alices, tag=expired["ETag"]).status_code == 304
        write(alice, data={"placement": "home_top"})
        assert poll(token=alices, tag=expired["ETag"]).status_code == 200


def test_b69_a_tag_is_good_for_its_own_reader_question_and_language_only(
    poll: Any, alice: Profile, bob: Profile, alices: str, token_of: Callable[..., str]
) -> None:
    tag = poll(token=alices)["ETag"]
    assert poll(token=token_of(BOB), tag=tag).status_code == 200
    assert poll(anonymous_id=ANONYMOUS, tag=tag).status_code == 200
    assert poll(token=alices, tag=tag, placement="cart").status_code == 200
    assert poll(token=alices, tag=tag, languageCode="de").status_code == 200
    for made_up in ("0-", "-", "zz-" + "0" * 24, "f" * 80, "\u00e9", '""', "*"):
        assert poll(token=alices, tag=made_up).status_code == 200


@pytest.mark.parametrize("placement", ["", "a" * 61, "a\0b", "\0"])
def test_b69_a_placement_that_can_be_none_is_refused(
    poll: Any, alice: Profile, alices: str, placement: str
) -> None:
    answer = poll(token=alices, placement=placement)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "BAD_REQUEST"


def test_b69_who_signed_in_leaves_nothing_to_poll_for_the_browser(
    poll: Any, alice: Profile, visitor: Profile, installation: Installation, now: datetime
) -> None:
    write(visitor)
    before = poll(anonymous_id=ANONYMOUS)
    assert len(before.json()["items"]) == 1
    merging.prove(
        installation=installation, first=visitor, second=alice, proof=MergeProof.LOGIN, now=now
    )
    after = poll(anonymous_id=ANONYMOUS, tag=before["ETag"])
    assert (after.status_code, after.json()["items"], after.json()["unread"]) == (200, [], 0)


def test_b69_anothers_news_over_a_cart_change_no_tag(
    poll: Any, alice: Profile, alices: str, installation: Installation, now: datetime
) -> None:
    friend = make_profile(installation, email="friend@example.com")
    merging.prove(
        installation=installation, first=friend, second=alice, proof=MergeProof.CHECKOUT, now=now
    )
    tag = poll(token=alices)["ETag"]
    write(friend)
    assert poll(token=alices, tag=tag).status_code == 304


@pytest.mark.parametrize(
    ("language", "title"),
    [("de", "Nachrichten"), ("FR", "Messages"), ("pl_PL", "Wiadomości"), ("xx", "Messages")],
)
def test_b69_the_words_around_it_come_in_the_pages_language(
    poll: Any, alice: Profile, alices: str, language: str, title: str
) -> None:
    assert poll(token=alices, languageCode=language).json()["words"]["title"] == title


@pytest.mark.parametrize(
    ("query", "caller", "refusal"),
    [
        ({}, {}, (401, "UNAUTHENTICATED")),
        ({}, {"token": "nonsense"}, (401, "INVALID_TOKEN")),
        ({}, {"anonymous_id": "short"}, (401, "INVALID_TOKEN")),
        ({"saleorApiUrl": "https://nobody.test/graphql/"}, {}, (403, "FORBIDDEN")),
        ({"placement": ""}, {"anonymous_id": ANONYMOUS}, (400, "BAD_REQUEST")),
        ({"placement": "x" * 61}, {"anonymous_id": ANONYMOUS}, (400, "BAD_REQUEST")),
    ],
)
def test_b69_a_poll_that_cannot_be_answered_says_why(
    poll: Any, query: dict[str, str], caller: dict[str, str], refusal: tuple[int, str]
) -> None:
    answer = poll(**caller, **query)
    assert (answer.status_code, answer.json()["error"]["code"]) == refusal


def test_b69_only_the_shops_own_pages_read_it_in_a_browser(
    client: Client, installation: Installation, alice: Profile, alices: str
) -> None:
    installation.storefront_origins = ["https://shop.example"]
    installation.save()
    address = f"/inbox?saleorApiUrl={installation.saleor_api_url}"
    for origin, allowed in (("https://shop.example", True), ("https://evil.example", False)):
        headers = {"Origin": origin}
        asked = client.options(address, headers=headers)
        assert asked.status_code == 204
        assert ("if-none-match" in asked.get("Access-Control-Allow-Headers", "")) is allowed
        answer = client.get(address, headers={**headers, "Authorization": f"Bearer {alices}"})
        assert (answer.get("Access-Control-Allow-Origin") == origin) is allowed
        assert answer["Cache-Control"] == "no-store"
    assert client.post(address).status_code == 405
