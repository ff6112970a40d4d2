"""saleor#4150: the page "Abandoned checkouts" in the Dashboard, and "Recover now"."""

from __future__ import annotations

import html
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from saleor_personalize.enums import AuditAction, ConsentState, IdentityKind, MessageStatus
from saleor_personalize.journeys import carts, claiming
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutOrders
from saleor_personalize.models import (
    AuditEntry,
    Checkout,
    Enrollment,
    Identity,
    Installation,
    Journey,
    Message,
    Product,
    Profile,
    email_hash,
)
from tests.conftest import NOW, make_consent
from tests.integration.reminders import World, checkout_data
from tests.integration.test_dashboard import headers, outcome

URL = "/dashboard/abandoned-checkouts/"
HOUR = timedelta(hours=1)
LATER = NOW + 2 * HOUR


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Two hours after the carts of `World` were left."""
    monkeypatch.setattr(timezone, "now", lambda: LATER)
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "QUIET_HOURS": {},
        "FREQUENCY_CAPS": {},
    }


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(timezone, "now", lambda: moment)


def shown(client: Client, signed: dict[str, str], path: str = "") -> str:
    response = client.get(URL + path, headers=signed)
    assert response.status_code == 200
    text = re.sub(r"<nav.*?</nav>", "", response.content.decode(), flags=re.S)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", text).split()))


def recover(client: Client, installation: Installation, cart: Checkout, **claims: Any) -> Any:
    return client.post(f"{URL}{cart.pk}/recover/", headers=headers(installation, **claims))


def audited() -> list[dict[str, Any]]:
    rows = AuditEntry.objects.filter(action=AuditAction.CHECKOUT_RECOVERED)
    return [row.detail for row in rows.order_by("pk")]


def leave(world: World, id: str = "checkout-1", **changes: Any) -> Checkout:  # noqa: A002
    """Record a cart that no journey has seen: as one that was left before the journey went live."""
    return world.record_checkout(checkout_data(id, **changes))


# -- the list -----------------------------------------------------------------------------------------------


def test_4150_carts_that_were_left_are_listed_with_what_is_done_about_each(
    client: Client, signed: dict[str, str], world: World, other_installation: Installation
) -> None:
    for variant in ("variant-1", "variant-2"):
        Product.objects.create(
            installation=world.installation, saleor_id=f"product-of-{variant}", name=variant.upper()
        )
    world.checkout("followed")
    leave(world, "early", at=NOW - 5 * HOUR, variants={"variant-1": 3})
    leave(world, "nobody", email="", user_id="", at=NOW - 6 * HOUR)
    leave(world, "fresh", at=LATER - timedelta(minutes=59))
    leave(world, "empty", variants={}, at=NOW)
    gone = leave(world, "gone", at=NOW - HOUR)
    Checkout.objects.filter(pk=gone.pk).update(closed_at=LATER)
    told = shown(client, signed)
    carts = told.split("Sales channel All")[1]
    assert carts.count("60.00 USD default-channel") == 3
    followed, early, nobody = carts.split("60.00 USD default-channel")[1:]
    assert "1 \N{MULTIPLICATION SIGN} VARIANT-1, 2 \N{MULTIPLICATION SIGN} VARIANT-2" in followed
    assert "Followed up" in followed
    assert "Cart reminder, decided now" in followed
    assert "3 \N{MULTIPLICATION SIGN} VARIANT-1" in early
    assert "Not followed up" in early
    assert "Nobody to write to" in nobody

    assert shown(client, signed, "?state=followed").count("60.00 USD") == 1
    assert shown(client, signed, "?state=not_followed").count("60.00 USD") == 2
    assert shown(client, signed, "?channel=elsewhere").endswith("None of these.")
    assert shown(client, signed, "?channel=%00").count("60.00 USD") == 3
    elsewhere = headers(other_installation)
    assert "No cart lies still at the moment." in shown(client, elsewhere)
    assert "No journey that follows carts is live" in shown(client, elsewhere)


def test_4150_the_list_goes_on_where_it_ended_and_asks_no_more_for_more_carts(
    client: Client, signed: dict[str, str], world: World
) -> None:
    """Also of carts that a journey follows: what is next for each is told from its row."""
    for number in range(30):
        world.checkout(
            f"cart-{number:02}",
            at=NOW - timedelta(minutes=number),
            email=f"person-{number}@example.com",
            variants={f"v{number:02}": 1},
        )

    def queries(path: str = "") -> int:
        with CaptureQueriesContext(connection) as caught:
            shown(client, signed, path)
        return len(caught)

    first = shown(client, signed)
    assert first.count("Cart reminder, decided now") == 25
    assert re.findall(r"product-of-(v\d\d)", first) == [f"v{n:02}" for n in range(25)]
    page = client.get(URL, headers=signed).content.decode()
    before = re.search(r"before=(\d+)", page)
    assert before is not None
    rest = shown(client, signed, f"?before={before[1]}")
    assert re.findall(r"product-of-(v\d\d)", rest) == [f"v{n:02}" for n in range(25, 30)]
    assert queries() <= queries(f"?before={before[1]}") + 2 <= 25
    assert len(page.encode()) < 100_000


def test_4150_each_state_of_a_cart_is_a_filter_of_its_own(
    client: Client, signed: dict[str, str], world: World
) -> None:
    leave(world, "early", at=NOW - 5 * HOUR, variants={"v-early": 1})
    world.checkout("told", variants={"v-told": 1})
    world.advance(NOW + HOUR)
    Enrollment.objects.filter(subject_saleor_id="told").update(status="done")
    world.checkout("gone", variants={"v-gone": 1}, email="bob@example.com", user_id="")
    world.advance(NOW + HOUR)
    world.checkout("waiting", variants={"v-waiting": 1}, email="dora@example.com", user_id="")

    def found(state: str) -> list[str]:
        return re.findall(r"product-of-v-(\w+)", shown(client, signed, f"?state={state}"))

    assert {
        state: found(state) for state in ("followed", "reminded", "given_up", "not_followed")
    } == {
        "followed": ["waiting"],
        "reminded": ["told"],
        "given_up": ["gone"],
        "not_followed": ["early"],
    }
    assert sorted(found("")) == sorted(found("unknown")) == ["early", "gone", "told", "waiting"]


def test_4150_carts_of_a_state_are_found_however_far_back(
    client: Client, signed: dict[str, str], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many are looked at as fit one answer, and the list goes on from there."""
    monkeypatch.setattr(carts, "LOOKED_THROUGH", 2)
    world.checkout("waiting", variants={"v-waiting": 1}, email="dora@example.com", user_id="")
    Checkout.objects.update(last_changed_at=NOW - 9 * HOUR)
    for number in range(1, 5):
        leave(world, f"early-{number}", at=NOW - number * HOUR, variants={"v-early": 1})
    found: list[list[str]] = []
    path = "?state=followed"
    while path:
        page = client.get(URL + path, headers=signed).content.decode()
        told = shown(client, signed, path)
        found.append(re.findall(r"product-of-v-(\w+)", told))
        further = re.findall(r'id="abandoned-older"[^>]* hx-get="[^"?]+([^"]+)"', page)
        assert ("2 carts were looked through, back to this moment:" in told) == bool(further)
        path = html.unescape(further[0]) if further else ""
    assert found == [[], [], ["waiting"]]
    # All of them are in the order of an index, and nothing is cut.
    assert "looked through" not in shown(client, signed)


def test_b95_a_persons_page_says_when_what_is_next_will_not_be_sent(
    client: Client, signed: dict[str, str], world: World, alice: Profile
) -> None:
    world.checkout()
    path = f"/dashboard/people/{alice.public_id}/"

    def planned() -> str:
        page = client.get(path, headers=signed).content.decode()
        told = html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))
        return told.partition("What comes next")[2].partition("Nothing was sent")[0]

    assert "Cart reminder by e-mail, now" in planned().replace("Cart reminder · ", "")
    assert "it is not sent" not in planned()
    make_consent(alice, ConsentState.DENIED)
    assert (
        "As things stand, it is not sent: The person did not allow e-mails of this kind."
        in planned()
    )


def test_4150_the_list_says_what_will_not_be_sent_and_what_went(
    client: Client,
    signed: dict[str, str],
    world: World,
    alice: Profile,
) -> None:
    cart = world.checkout()
    world.advance(NOW + HOUR)
    assert "A reminder went already, 1 h ago." in shown(client, signed)
    make_consent(alice, ConsentState.DENIED)
    told = "As things stand, it is not sent: The person did not allow e-mails of this kind."
    assert told in shown(client, signed, f"{cart.pk}/")


@pytest.mark.parametrize("status", [MessageStatus.HANDING_OVER, MessageStatus.UNCERTAIN])
def test_4150_of_what_may_have_gone_the_list_does_not_say_that_it_went(
    client: Client, signed: dict[str, str], world: World, status: MessageStatus
) -> None:
    world.checkout()
    world.advance(NOW + HOUR)
    Message.objects.update(status=status)
    waits = shown(client, signed)
    assert "decided in 22 h. A reminder may have gone already, 1 h ago." in waits
    Enrollment.objects.update(status="done")
    through = shown(client, signed)
    assert "Reminded" in through
    assert "A reminder may have gone already, 1 h ago" in through
    assert "went already" not in waits + through
    assert "not ordered yet" not in through


def test_4150_the_list_says_that_nothing_goes_while_all_sends_are_stopped(
    client: Client, signed: dict[str, str], world: World
) -> None:
    world.checkout()
    Installation.objects.filter(pk=world.installation.pk).update(sends_stopped_at=NOW)
    told = shown(client, signed)
    assert "Held" in told
    assert "All sends are stopped." in told
    assert "next now" not in told


def test_4150_what_a_worker_has_taken_up_is_next_now(
    client: Client, installation: Installation, signed: dict[str, str], world: World
) -> None:
    cart = leave(world, at=NOW - 5 * HOUR)
    recover(client, installation, cart)
    assert claiming.claim(LATER) is not None
    assert world.enrollment().due_at == LATER + claiming.CLAIM
    assert "Cart reminder, decided now" in shown(client, signed)
    assert "by e-mail, now" in shown(client, signed, f"{cart.pk}/next/")


def test_4150_when_saleor_did_not_answer_it_is_told_when_it_is_tried_again(
    client: Client, signed: dict[str, str], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cart = world.checkout()
    world.saleor.is_down = True
    for after, told in ((0, "in 60 s"), (2, "in 2 min"), (4, "in 4 min")):
        now = NOW + HOUR + timedelta(minutes=after)
        Enrollment.objects.update(due_at=now)
        assert world.advance(now) == 1
        at(monkeypatch, now)
        assert f"Cart reminder, decided {told}" in shown(client, signed)
        assert f"by e-mail, {told}" in shown(client, signed, f"{cart.pk}/next/")
    assert world.mails() == []


def test_4150_who_was_held_last_night_and_is_claimed_now_is_next_now(
    client: Client,
    signed: dict[str, str],
    world: World,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "QUIET_HOURS": {"*": ["13:00", "17:00"]},
    }
    cart = world.checkout()
    world.advance(LATER)
    night = "Cart reminder, decided in 3 h. It is night where the person is."
    assert night in shown(client, signed)
    morning = NOW + 5 * HOUR
    assert claiming.claim(morning) is not None
    assert world.enrollment().held_by == "quiet_hours"
    at(monkeypatch, morning)
    signed = headers(world.installation)
    told = shown(client, signed)
    assert "Cart reminder, decided now" in told
    assert "It is night" not in told
    assert "by e-mail, now" in shown(client, signed, f"{cart.pk}/next/")


def test_4150_whose_message_is_being_handed_over_is_looked_at_now(
    client: Client, signed: dict[str, str], world: World
) -> None:
    """They stand behind the message, and are kept until it is handed over; nobody else waits so shortly."""
    cart = world.checkout()
    world.advance(NOW + HOUR)
    until = LATER + claiming.CLAIM
    Enrollment.objects.update(due_at=until, step_since=until, held_by="")
    assert "Cart reminder, decided in 5 min" in shown(client, signed)
    Message.objects.update(status=MessageStatus.HANDING_OVER)
    assert "Cart reminder, decided now" in shown(client, signed)
    assert "by e-mail, now" in shown(client, signed, f"{cart.pk}/next/")


def test_4150_who_waits_for_their_turn_is_told_when_it_comes(
    client: Client, signed: dict[str, str], world: World
) -> None:
    """A turn may be as far ahead as a claim."""
    world.checkout()
    until = LATER + timedelta(minutes=4, seconds=30)
    Enrollment.objects.update(due_at=until, step_since=until, held_by="throttled")
    told = shown(client, signed)
    assert "Cart reminder, decided in 4 min. No more messages can leave at the moment." in told


def test_4150_a_poll_asks_about_the_button_only_when_what_is_shown_has_changed(
    client: Client, signed: dict[str, str], installation: Installation, world: World
) -> None:
    cart = leave(world, at=NOW - 5 * HOUR)
    page = client.get(f"{URL}{cart.pk}/", headers=signed).content.decode()
    assert page.count('id="cart-recover"') == page.count('id="cart-recovery"') == 1
    # The card outlives the button: a press is not doubled when the button is replaced meanwhile.
    assert 'hx-sync="closest .card:drop"' in page

    def poll(page: str) -> tuple[str, bool]:
        """Return what the page that is shown asks for by itself, and whether it locked anything."""
        (path,) = re.findall(r'data-poll hx-get="([^"]+)"', page)
        with CaptureQueriesContext(connection) as caught:
            response = client.get(html.unescape(path), headers=signed)
        return response.content.decode(), any("FOR UPDATE" in (one["sql"] or "") for one in caught)

    same, has_locked = poll(page)
    assert not has_locked
    assert "cart-recover" not in same
    recover(client, installation, cart)
    followed, has_locked = poll(same)
    assert has_locked
    assert followed.count('<div id="cart-recovery" hx-swap-oob="innerHTML">') == 1
    assert followed.count('id="cart-recover"') == 1
    world.advance(LATER)
    told, _has_locked = poll(followed)
    assert told.count('id="cart-recovery" hx-swap-oob="innerHTML"') == 1
    assert "The person was told this already." in html.unescape(told)
    assert 'id="cart-recover"' not in told
    assert "cart-recover" not in poll(told)[0]


def test_4150_the_button_goes_with_the_state_once_the_person_was_told(
    client: Client, installation: Installation, signed: dict[str, str], world: World
) -> None:
    cart = leave(world, at=NOW - 5 * HOUR)
    assert "Recover now" in shown(client, signed, f"{cart.pk}/next/")
    recover(client, installation, cart)
    world.advance(LATER)
    assert "Recover now" not in shown(client, signed, f"{cart.pk}/next/")


# -- recover now --------------------------------------------------------------------------------------------


def test_4150_a_cart_that_no_journey_saw_is_followed_up_at_once(
    client: Client, signed: dict[str, str], installation: Installation, world: World
) -> None:
    cart = leave(world, at=NOW - 5 * HOUR)  # left before the journey went live
    assert world.advance(LATER) == 0
    told = outcome(recover(client, installation, cart))
    assert told["title"] == "On its way"
    assert audited() == [{"journey": "abandoned_checkout", "held_by": ""}]
    assert AuditEntry.objects.get().actor_id == "VXNlcjox"
    assert world.mails() == []  # decided and sent by a worker
    world.advance(LATER)
    assert len(world.mails()) == 1
    assert world.decision() == ("sent", "")
    assert "What was decided Cart reminder" in shown(client, signed, f"{cart.pk}/next/")


def test_4150_an_order_since_the_cart_counts_though_its_webhook_is_late(
    client: Client, installation: Installation, world: World, alice: Profile
) -> None:
    """The person is known by two addresses and bought by the other one half an hour after they left."""
    Identity.objects.create(
        installation=installation,
        profile=alice,
        kind=IdentityKind.EMAIL,
        value=email_hash("alice@work.example"),
        address="alice@work.example",
        first_seen_at=NOW,
    )
    cart = leave(world, at=NOW)
    assert outcome(recover(client, installation, cart))["title"] == "On its way"
    ordered_at = NOW + HOUR / 2

    def ask(question: Any) -> Any:
        if isinstance(question, AboutOrders):
            return question.since <= ordered_at
        return world.saleor(question)

    journeys.advance_due(now=LATER, ask=ask)
    assert world.mails() == []
    assert world.decision() == ("not_sent", "ordered")


def test_4150_said_twice_it_is_sent_once(
    client: Client, installation: Installation, world: World
) -> None:
    cart = leave(world, at=NOW - 5 * HOUR)
    recover(client, installation, cart)
    recover(client, installation, cart)
    assert Enrollment.objects.count() == 1
    world.advance(LATER)
    again = outcome(recover(client, installation, cart))
    assert again["title"] == "Nothing is sent"
    assert again["text"] == "The person was told this already."
    world.advance(LATER)
    assert len(world.mails()) == 1


def test_4150_who_waits_for_the_second_reminder_gets_it_now_and_no_third(
    client: Client,
    installation: Installation,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cart = world.checkout()
    world.advance(NOW + HOUR)
    assert len(world.mails()) == 1
    at(monkeypatch, NOW + 4 * HOUR)
    assert outcome(recover(client, installation, cart))["title"] == "On its way"
    world.advance(NOW + 4 * HOUR)
    assert len(world.mails()) == 2
    assert world.enrollment().status == "done"
    at(monkeypatch, NOW + 8 * HOUR)
    told = outcome(recover(client, installation, cart))
    assert told == {
        "status": "error",
        "title": "Nothing is sent",
        "text": "The person was told this already.",
    }
    assert Enrollment.objects.count() == 1
    world.advance(NOW + 8 * HOUR)
    assert len(world.mails()) == 2
    assert len(audited()) == 1


@pytest.mark.parametrize(
    ("against", "told"),
    [
        ("consent", "The person did not allow e-mails of this kind."),
        ("ordered", "The person has ordered since."),
        ("gone", "Saleor no longer has this cart."),
        ("late", "The moment had passed."),
        ("nobody", "Neither an address nor a device of the person is known."),
        ("not live", "No journey that follows carts is live. Let one go live first."),
    ],
)
def test_4150_what_speaks_against_it_is_said_and_nothing_changes(
    client: Client,
    installation: Installation,
    world: World,
    alice: Profile,
    against: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = {"email": "", "user_id": ""} if against == "nobody" else {}
    cart = leave(world, at=NOW - 5 * HOUR, **changes)
    if against == "consent":
        make_consent(alice, ConsentState.DENIED)
    elif against == "ordered":
        world.order(email="alice@example.com")
    elif against == "gone":
        Checkout.objects.filter(pk=cart.pk).update(closed_at=NOW)
    elif against == "late":
        at(monkeypatch, NOW + timedelta(days=4))
    elif against == "not live":
        Journey.objects.update(is_live=False)
    # The page says so instead of offering what cannot work, and looking at it changes nothing.
    page = shown(client, headers(installation), f"{cart.pk}/")
    assert "Recover now" not in page
    assert against in ("ordered", "gone") or f"It cannot be followed up now: {told}" in page
    assert Enrollment.objects.count() == 0
    said = outcome(recover(client, installation, cart))
    assert said == {"status": "error", "title": "Nothing is sent", "text": told}
    assert Enrollment.objects.count() == Message.objects.count() == 0
    assert audited() == []
    world.advance(NOW + 5 * HOUR)
    assert world.mails() == []


def test_4150_what_passes_by_itself_holds_it_back_until_then(
    client: Client,
    installation: Installation,
    world: World,
    settings: Any,
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "QUIET_HOURS": {"*": ["13:00", "17:00"]},
    }
    cart = leave(world, at=NOW - 5 * HOUR)
    said = outcome(recover(client, installation, cart))
    assert (said["status"], said["title"]) == ("info", "Not right now")
    assert said["text"] == "It is night where the person is. Next try in 3 h."
    assert audited() == [{"journey": "abandoned_checkout", "held_by": "quiet_hours"}]
    world.advance(LATER)
    assert world.mails() == []
    world.advance(NOW + 6 * HOUR)
    assert len(world.mails()) == 1


def test_4150_a_last_look_at_the_shop_still_speaks_against_it(
    client: Client, signed: dict[str, str], installation: Installation, world: World
) -> None:
    cart = leave(world, at=NOW - 5 * HOUR)
    recover(client, installation, cart)
    world.saleor.sold_out = {"variant-1", "variant-2"}
    world.advance(LATER)
    assert world.mails() == []
    assert world.decision() == (MessageStatus.NOT_SENT, "checkout_empty")
    told = shown(client, signed, f"{cart.pk}/")
    assert "Nothing in the cart can be bought any more." in told


@pytest.mark.parametrize(
    ("permissions", "status"),
    [(["MANAGE_ORDERS"], 403), (["MANAGE_PRODUCTS"], 403)],
)
def test_4150_only_staff_who_may_send_can_have_it_sent(
    client: Client,
    installation: Installation,
    world: World,
    permissions: list[str],
    status: int,
) -> None:
    cart = leave(world, at=NOW - 5 * HOUR)
    response = recover(
        client, installation, cart, permissions=permissions, user_permissions=permissions
    )
    assert response.status_code == status
    assert client.get(f"{URL}{cart.pk}/recover/", headers=headers(installation)).status_code == 405
    assert Enrollment.objects.count() == 0
    assert audited() == []


def test_4150_the_page_of_a_cart_says_who_left_it_to_staff_who_may_know(
    client: Client, installation: Installation, world: World, alice: Profile
) -> None:
    cart = world.checkout()
    person = f"/dashboard/people/{alice.public_id}/"
    page = client.get(f"{URL}{cart.pk}/", headers=headers(installation)).content.decode()
    assert person in page
    assert "alice@example.com" not in page
    assert 'hx-post="/dashboard/abandoned-checkouts/' in page
    few = ["MANAGE_ORDERS"]
    without = client.get(
        f"{URL}{cart.pk}/", headers=headers(installation, permissions=few, user_permissions=few)
    ).content.decode()
    assert person not in without
    assert "disabled aria-describedby" in without
    assert "You may not have anything sent to customers" in without


def test_4150_another_shop_has_no_such_cart(
    client: Client, other_installation: Installation, world: World
) -> None:
    cart = leave(world)
    elsewhere = headers(other_installation)
    for path in ("", "next/"):
        assert client.get(f"{URL}{cart.pk}/{path}", headers=elsewhere).status_code == 404
    assert recover(client, other_installation, cart).status_code == 404
    assert Enrollment.objects.count() == 0
