"""B10 and B2 on the page in the Dashboard: who somebody is, why, and what they did."""

from __future__ import annotations

import html
import re
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.test import Client

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EnrollmentStatus,
    EventSource,
    EventType,
    IdentityKind,
    MergeProof,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    OrderOrigin,
    PredictionTarget,
    Purpose,
)
from saleor_personalize.events import history
from saleor_personalize.models import (
    AuditEntry,
    Consent,
    Event,
    Identity,
    Installation,
    Merge,
    Message,
    MessageEvent,
    Order,
    Predictor,
    Profile,
    Segment,
    SegmentMembership,
    Session,
)
from saleor_personalize.profiles import merging
from saleor_personalize.traits import operations
from tests.catalogue import Phones, gid
from tests.conftest import make_enrollment, make_profile
from tests.integration.test_dashboard import headers, outcome

URL = "/dashboard/people/"
STAFF = "VXNlcjo3Nw=="
DAY = timedelta(days=1)


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation, user_id=STAFF)


@pytest.fixture
def shop(installation: Installation, now: datetime) -> Phones:
    return Phones(installation, now)


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
        session_id="visit",
    )


@pytest.fixture
def life(shop: Phones, alice: Profile, carol: Profile, now: datetime) -> Phones:
    """Alice came by phone as Carol did, signed in, ordered here and in a store; one of each kind."""
    installation = shop.installation
    Session.objects.create(
        installation=installation,
        profile=carol,
        session_id="visit",
        started_at=now - 9 * DAY,
        last_seen_at=now - 9 * DAY,
        device_type="mobile",
        local_hour=20,
        country_code="PL",
        utm={"campaign": "spring"},
    )
    view(carol, shop.phone, now - 9 * DAY + timedelta(minutes=1))
    merging.prove(
        installation=installation,
        first=alice,
        second=carol,
        proof=MergeProof.LOGIN,
        evidence=[
            (IdentityKind.ANONYMOUS_ID, "3f0d6e0e-carol"),
            (IdentityKind.SALEOR_USER, "VXNlcjox"),
        ],
        now=now - 8 * DAY,
    )
    shop.order(shop.phone, shop.case, profile=alice, days_ago=7)
    store = shop.order(shop.lamp, profile=carol, days_ago=6)
    Order.objects.filter(pk=store.pk).update(origin=OrderOrigin.OFFLINE)
    cart = shop.checkout(shop.bulb, profile=alice)
    type(cart).objects.filter(pk=cart.pk).update(last_changed_at=now - 5 * DAY)
    enrollment = make_enrollment(
        alice,
        cart.saleor_id,
        now - 5 * DAY + timedelta(minutes=1),
        status=EnrollmentStatus.EXITED,
        due_at=now - 4 * DAY,
        exit_reason=NotSentReason.ORDERED,
        finished_at=now - 4 * DAY,
    )
    Message.objects.create(
        installation=installation,
        idempotency_key="m",
        profile=alice,
        enrollment=enrollment,
        template="abandoned_checkout",
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        status=MessageStatus.NOT_SENT,
        reason=NotSentReason.ORDERED,
        decided_at=now - 4 * DAY + timedelta(minutes=1),
    )
    Consent.objects.create(
        installation=installation,
        profile=alice,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=ConsentState.DENIED,
        source="preference_centre",
        recorded_at=now - 3 * DAY,
    )
    segment = Segment.objects.create(
        installation=installation,
        key="fans",
        name="Fans & friends",
        definition={"all": []},
        created_at=now,
        updated_at=now,
    )
    SegmentMembership.objects.create(
        installation=installation,
        segment=segment,
        profile=alice,
        entered_at=now - 2 * DAY,
        left_at=now - DAY,
    )
    Consent.objects.filter(source="test").delete()
    operations.compute(installation=installation, now=now)
    return shop


def text_of(response: Any) -> str:
    assert response.status_code == 200, response.content
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def titles(response: Any) -> list[str]:
    return [
        html.unescape(found)
        for found in re.findall(r"<strong>(.*?)</strong>", response.content.decode())
    ]


def find(client: Client, signed: dict[str, str], who: str) -> Any:
    return client.post(f"{URL}find/", {"who": who}, headers=signed)


@pytest.mark.parametrize(
    "who",
    [
        "alice@example.com",
        " Alice@Example.com ",
        "VXNlcjox",
        "1",
        "3f0d6e0e-carol",
        "#2",
    ],
)
def test_b10_a_person_is_found_by_what_is_theirs_alone(
    client: Client, signed: dict[str, str], life: Phones, alice: Profile, bob: Profile, who: str
) -> None:
    Order.objects.filter(number="1").update(number="x1")
    page = text_of(find(client, signed, who))
    assert "Who this is" in page
    assert "alice@example.com" in page
    assert "3f0d6e0e-carol" in page
    assert "bob@example.com" not in page


@pytest.mark.parametrize(
    "who", ["", "alice", "example.com", "@example.com", "%", "\x00", "x" * 600]
)
def test_b10_nobody_is_found_by_a_part_or_listed(
    client: Client, signed: dict[str, str], life: Phones, who: str
) -> None:
    page = text_of(find(client, signed, who))
    assert "Nobody is known by this." in page
    assert "@example.com" not in page


def test_b10_several_of_one_number_are_told_apart_without_an_address(
    client: Client, signed: dict[str, str], life: Phones, bob: Profile
) -> None:
    theirs = life.order(life.lamp, profile=bob)
    Order.objects.filter(pk=theirs.pk).update(number="2")
    page = text_of(find(client, signed, "2"))
    assert "2 people go by this." in page
    assert "@example.com" not in page
    assert str(bob.public_id) in page


def test_b10_a_part_without_a_readable_id_lists_its_technical_ones_alone(
    client: Client, signed: dict[str, str], life: Phones
) -> None:
    page = find(client, signed, "alice@example.com").content.decode()
    assert "3f0d6e0e-carol" in page
    assert not re.search(r"<ul[^>]*>\s*</ul>", page)


def test_b10_the_page_tells_orders_habits_and_what_is_foretold(
    client: Client, signed: dict[str, str], life: Phones, alice: Profile, now: datetime
) -> None:
    page = text_of(client.get(f"{URL}{alice.public_id}/", headers=signed))
    assert "Active" in page
    assert "Spent in all, USD 31.00" in page
    assert "Average order, USD 15.50" in page
    assert "Device phone" in page
    assert "Hour 20:00-20:59" in page
    assert "Messages not known yet" in page
    assert "Phones 1 order" in page
    assert page.count("Not enough data.") == 2
    for target, weights in ((PredictionTarget.CHURN, 0.0), (PredictionTarget.NEXT_ORDER, 0.0)):
        Predictor.objects.create(
            installation=life.installation,
            target=target,
            is_published=True,
            trained_at=now,
            parameters={"weights": [weights] * 7, "bias": 0.0, "gap": 30, "horizon": 60},
            figures={"horizon_days": 60},
        )
    operations.compute(installation=life.installation, profiles=[alice], now=now)
    page = text_of(client.get(f"{URL}{alice.public_id}/", headers=signed))
    assert "Risk of no order within 60 days 50 %" in page
    assert "Next order March 3, 2026" in page
    assert "Not enough data" not in page


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({}, "(UTC, the shop's clock, as theirs is not known)"),
        ({"country_code": "JP"}, "(Asia/Tokyo, as everywhere in their country)"),
        (
            {"country_code": "US", "time_zone": "America/Denver"},
            "(America/Denver, as their device told)",
        ),
        (
            {"time_zone": "Asia/Tokyo", "traits": {"time_zone": "America/Denver"}},
            "(America/Denver, as your shop says of them)",
        ),
    ],
    ids=["shop", "country", "device", "trait"],
)
def test_b77_the_page_tells_what_time_it_is_where_they_are_and_how_that_is_known(
    client: Client, signed: dict[str, str], alice: Profile, known: dict[str, Any], told: str
) -> None:
    Profile.objects.filter(pk=alice.pk).update(**{"country_code": "", **known})
    zone = ZoneInfo(told.partition(",")[0].removeprefix("("))
    page = text_of(client.get(f"{URL}{alice.public_id}/", headers=signed))
    shown = re.search(r"Their time: (\d\d):(\d\d) (\(.*?\))", page)
    assert shown is not None
    assert shown[3] == told
    now = datetime.now(zone)
    minutes = now.hour * 60 + now.minute - int(shown[1]) * 60 - int(shown[2])
    assert minutes % (24 * 60) <= 1


def test_b10_why_nothing_is_foretold_is_told(
    client: Client, signed: dict[str, str], life: Phones, alice: Profile, now: datetime
) -> None:
    rows = {
        target: Predictor.objects.create(
            installation=life.installation, target=target, trained_at=now, figures=figures
        )
        for target, figures in (
            (PredictionTarget.CHURN, {"reason": "people", "people": 12, "needed_people": 200}),
            (PredictionTarget.NEXT_ORDER, {"reason": "history", "days": 9, "needed_days": 270}),
        )
    }
    page = text_of(client.get(f"{URL}{alice.public_id}/", headers=signed))
    assert "Not enough data: 12 of 200 buyers to learn from." in page
    assert "Not enough data: 9 of 270 days of orders." in page
    Predictor.objects.filter(pk=rows[PredictionTarget.CHURN].pk).update(
        figures={"reason": "not_better"}
    )
    page = text_of(client.get(f"{URL}{alice.public_id}/", headers=signed))
    assert "foretelling was no better than a simple rule" in page


def test_b10_one_timeline_of_everything_newest_first(
    client: Client, signed: dict[str, str], life: Phones, alice: Profile
) -> None:
    response = client.get(f"{URL}{alice.public_id}/", headers=signed)
    assert titles(response) == [
        "Left a segment",
        "Entered a segment",
        "Refused",
        "Cart reminder",
        "The journey ended",
        "Entered a journey",
        "Left a cart open",
        "Bought outside Saleor (imported)",
        "Ordered",
        "Recognised as one person",
        "Viewed a product",
        "Came by",
    ]
    page = text_of(response)
    assert "Segment · Fans & friends" in page
    assert "offers and reminders · by e-mail · preference centre" in page
    assert "by e-mail · The person has ordered since." in page
    assert "Order · no. 1 · 20.50 USD · fulfilled" in page
    assert "Event · Aurora phone · phone" in page
    assert "Visit · phone · PL · spring" in page


def test_b10_what_somebody_pressed_in_a_message_is_told_and_what_a_scanner_did_is_not(
    client: Client, signed: dict[str, str], life: Phones, alice: Profile, now: datetime
) -> None:
    message = Message.objects.create(
        installation=life.installation,
        profile=alice,
        template="abandoned_checkout",
        delivery_channel=DeliveryChannel.EMAIL,
        status=MessageStatus.SENT,
        idempotency_key="pressed",
        decided_at=now - timedelta(minutes=2),
    )
    for kind, is_machine in (
        (MessageEventKind.CLICKED, False),
        (MessageEventKind.CLICKED, True),
        (MessageEventKind.OPENED, False),
    ):
        MessageEvent.objects.create(
            installation=life.installation,
            message=message,
            kind=kind,
            is_machine=is_machine,
            at=now - timedelta(minutes=1),
            recorded_at=now,
        )
    response = client.get(f"{URL}{alice.public_id}/", headers=signed)
    assert titles(response).count("Followed a link in a message") == 1
    assert titles(response)[:2] == ["Followed a link in a message", "Cart reminder"]
    assert "Message · Cart reminder · by e-mail" in text_of(response)


def test_b10_the_timeline_goes_on_page_by_page_and_repeats_nothing(
    client: Client, signed: dict[str, str], shop: Phones, alice: Profile, now: datetime
) -> None:
    for number in range(60):
        # Many at one moment: the place of each is still its own.
        view(alice, f"p{number}", now - timedelta(minutes=number // 20))
    for _ in range(5):
        shop.order(shop.phone, profile=alice, days_ago=0)
    seen = []
    url = f"{URL}{alice.public_id}/"
    while url:
        page = client.get(url, headers=signed).content.decode()
        timeline = page[page.find('id="timeline"') :] if 'id="timeline"' in page else page
        seen += re.findall(r"(Event · p\d+|Order · no\. \d+)", timeline)
        more = re.search(r'hx-get="([^"]+timeline/\?before=[^"]+)"', timeline)
        url = html.unescape(more[1]) if more else ""
    assert len(seen) == len(set(seen)) == 65
    whole = history.history_of(alice, first=1_000)
    assert len(whole) == 66
    assert [entry.place for entry in whole] == sorted(entry.place for entry in whole)
    assert history.Cursor.parse("nonsense") is history.Cursor.parse("2026-01-01,event,1") is None


def test_b2_the_log_says_why_and_a_split_gives_both_their_own_back(
    client: Client,
    signed: dict[str, str],
    life: Phones,
    alice: Profile,
    carol: Profile,
) -> None:
    page = text_of(client.get(f"{URL}{carol.public_id}/", headers=signed))
    assert "Parts 1 and 2 One person Signed in on this device." in page
    assert "Both showed: Browser 3f0d6e0e-carol Saleor user VXNlcjox" in page
    (merge,) = merging.merges_of(alice)
    response = client.post(f"{URL}{alice.public_id}/split/{merge.pk}/", headers=signed)
    assert outcome(response)["title"] == "Split into two people"
    merge.refresh_from_db()
    assert (merge.undone_at is not None, merge.decided_by) == (True, STAFF)
    [entry] = AuditEntry.objects.all()
    assert (entry.action, entry.actor_id) == ("people_split", STAFF)
    assert (entry.object_id, entry.detail) == (str(alice.public_id), {"merge": merge.pk})
    page = text_of(response)
    assert "3f0d6e0e-carol" not in page.split("Why this is one person")[0]
    assert "Split" in titles(response)[0]
    assert "by staff" in page
    assert {entry.what for entry in history.history_of(carol, first=99)} >= {"mobile", "offline"}
    assert not any(entry.kind == "visit" for entry in history.history_of(alice, first=99))
    again = client.post(f"{URL}{alice.public_id}/split/{merge.pk}/", headers=signed)
    assert again.status_code == 404


def test_b2_staff_join_two_people_after_seeing_both(
    client: Client,
    signed: dict[str, str],
    life: Phones,
    alice: Profile,
    bob: Profile,
) -> None:
    url = f"{URL}{alice.public_id}/join/"
    shown = client.post(url, {"who": "bob@example.com"}, headers=signed)
    assert "bob@example.com" in text_of(shown)
    assert Merge.objects.filter(proof=MergeProof.STAFF).count() == 0
    assert "Nobody else is known" in text_of(client.post(url, {"who": "VXNlcjox"}, headers=signed))
    response = client.post(f"{url}{bob.public_id}/", headers=signed)
    assert outcome(response)["title"] == "Joined into one person"
    merge = Merge.objects.get(proof=MergeProof.STAFF)
    assert merge.decided_by == STAFF
    [entry] = AuditEntry.objects.all()
    assert (entry.action, entry.actor_id) == ("people_joined", STAFF)
    assert (entry.object_id, entry.object_name) == (str(alice.public_id), "")
    page = text_of(response)
    assert "bob@example.com" in page
    assert "Joined by staff." in page
    bob.refresh_from_db()
    assert bob.person_id == alice.pk


def test_b10_only_who_may_manage_customers_sees_anybody(
    client: Client, installation: Installation, life: Phones, alice: Profile, bob: Profile
) -> None:
    (merge,) = merging.merges_of(alice)
    without = headers(installation, permissions=["MANAGE_ORDERS", "MANAGE_CHECKOUTS"])
    looks = headers(installation, permissions=["MANAGE_ORDERS", "MANAGE_USERS"])
    gets = [URL, f"{URL}{alice.public_id}/", f"{URL}{alice.public_id}/timeline/"]
    posts = [f"{URL}find/", f"{URL}{alice.public_id}/join/"]
    acts = [
        f"{URL}{alice.public_id}/join/{bob.public_id}/",
        f"{URL}{alice.public_id}/split/{merge.pk}/",
    ]
    body = {"who": "alice@example.com"}
    for url in gets:
        refused = client.get(url, headers=without)
        assert refused.status_code == 403
        assert b"manage customers" in refused.content.replace(b"\n", b" ")
        assert client.get(url, headers=looks).status_code == 200
    for url in posts:
        assert client.post(url, body, headers=without).status_code == 403
        assert client.post(url, body, headers=looks).status_code == 200
        assert client.get(url, headers=looks).status_code == 405
    for url in acts:
        assert client.post(url, headers=looks).status_code == 403
        assert client.post(url, headers=without).status_code == 403
        assert client.post(url).status_code == 401
    bob.refresh_from_db()
    merge.refresh_from_db()
    assert (bob.merged_into_id, merge.undone_at) == (None, None)


def test_b10_another_shops_people_are_out_of_reach(
    client: Client,
    other_installation: Installation,
    life: Phones,
    alice: Profile,
    dave: Profile,
) -> None:
    theirs = headers(other_installation)
    (merge,) = merging.merges_of(alice)
    assert client.get(f"{URL}{alice.public_id}/", headers=theirs).status_code == 404
    assert client.get(f"{URL}{alice.public_id}/timeline/", headers=theirs).status_code == 404
    assert "Nobody is known" in text_of(find(client, theirs, "alice@example.com"))
    assert "Nobody is known" in text_of(find(client, theirs, str(alice.public_id)))
    assert (
        client.post(f"{URL}{dave.public_id}/split/{merge.pk}/", headers=theirs).status_code == 404
    )
    assert (
        client.post(f"{URL}{dave.public_id}/join/{alice.public_id}/", headers=theirs).status_code
        == 404
    )
    assert client.get(f"{URL}{uuid4()}/", headers=theirs).status_code == 404
    merge.refresh_from_db()
    assert merge.undone_at is None


def test_b10_nothing_is_worked_out_of_who_refused_and_the_page_says_so(
    client: Client, signed: dict[str, str], life: Phones, alice: Profile, now: datetime
) -> None:
    Consent.objects.create(
        installation=life.installation,
        profile=alice,
        purpose=Purpose.PROFILING,
        state=ConsentState.DENIED,
        source="test",
        recorded_at=now,
    )
    operations.compute(installation=life.installation, profiles=[alice], now=now)
    page = text_of(client.get(f"{URL}{alice.public_id}/", headers=signed))
    assert "refused profiling" in page
    assert "Spent in all" not in page


def test_b10_a_customers_page_in_saleor_leads_to_the_person(
    client: Client, signed: dict[str, str], life: Phones, installation: Installation
) -> None:
    shell = client.get(
        "/dashboard/",
        {"saleorApiUrl": installation.saleor_api_url, "customerId": 'VXNlcjox"&x=<'},
    ).content.decode()
    assert f'hx-get="{URL}?customer=VXNlcjox%22%26x%3D%3C"' in shell
    page = text_of(client.get(URL, {"customer": "VXNlcjox"}, headers=signed))
    assert "Who this is" in page
    page = text_of(client.get(URL, {"customer": gid("User", 99)}, headers=signed))
    assert "Nothing is known of this customer yet." in page


def test_what_shoppers_wrote_is_shown_as_text(
    client: Client, signed: dict[str, str], alice: Profile, now: datetime
) -> None:
    evil = "<script>alert(1)</script>"
    Profile.objects.filter(pk=alice.pk).update(first_name="x")
    alice.first_name = evil
    alice.save()
    Identity.objects.filter(profile=alice, kind="saleor_user").update(value=evil)
    view(alice, evil, now)
    page = client.get(f"{URL}{alice.public_id}/", headers=signed).content.decode()
    assert evil not in page
    assert page.count("&lt;script&gt;") >= 3


def test_number_of_queries_does_not_grow_with_what_happened(
    client: Client,
    signed: dict[str, str],
    life: Phones,
    alice: Profile,
    now: datetime,
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(20):
        view(alice, life.products[number % 8], now - timedelta(minutes=number))
        browser = make_profile(life.installation, anonymous_id=f"browser-{number}")
        merging.prove(
            installation=life.installation,
            first=alice,
            second=browser,
            proof=MergeProof.LOGIN if number % 2 else MergeProof.CHECKOUT,
            now=now - timedelta(minutes=number),
        )
    with django_assert_max_num_queries(42):
        page = text_of(client.get(f"{URL}{alice.public_id}/", headers=signed))
    assert "Part 22" in page
