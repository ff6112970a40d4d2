"""B123, D10: each kind of data has its time, and everything past it goes, in small steps."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.test import Client

from saleor_personalize.checks import check_settings
from saleor_personalize.conf import Defaults
from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    DeliveryStatus,
    EnrollmentStatus,
    EventSource,
    EventType,
    IdentityKind,
    InstallationStatus,
    MessageStatus,
    Purpose,
)
from saleor_personalize.management import doctor
from saleor_personalize.models import (
    Checkout,
    Consent,
    Enrollment,
    Event,
    Exposure,
    Favourite,
    Identity,
    InboxItem,
    Installation,
    Message,
    Order,
    Profile,
    Segment,
    SegmentMembership,
    Session,
    Suppression,
    WebhookDelivery,
)
from saleor_personalize.profiles import identity, retention
from saleor_personalize.profiles.privacy import FIELDS
from saleor_personalize.tasks.privacy import count_kept, purge
from tests.conftest import NOW, make_installation, make_profile
from tests.conftest import make_enrollment as enroll
from tests.integration.test_dashboard import headers

DAY = timedelta(days=1)
Make = Callable[[Profile, datetime], Any]


def make_checkout(profile: Profile, at: datetime) -> Checkout:
    return Checkout.objects.create(
        installation=profile.installation,
        profile=profile,
        saleor_id=f"cart-{profile.pk}-{at:%Y%m%d}",
        token="t",
        channel_slug="us",
        currency="USD",
        total=1,
        last_changed_at=at,
    )


def make_enrollment(profile: Profile, at: datetime, status: str = "done") -> Enrollment:
    ended = at if status != EnrollmentStatus.WAITING else None
    subject = f"cart-{profile.pk}-{at:%Y%m%d}"
    return enroll(profile, subject, at, status=status, finished_at=ended)


def make_message(profile: Profile, at: datetime) -> Message:
    return Message.objects.create(
        installation=profile.installation,
        idempotency_key=f"m-{profile.pk}-{at:%Y%m%d}",
        profile=profile,
        template="abandoned_checkout",
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        status=MessageStatus.SENT,
        content={"checkout_id": "cart"},
        provider_message_id="id-of-provider",
        decided_at=at,
    )


def make_line(
    profile: Profile, at: datetime, state: ConsentState = ConsentState.PENDING
) -> Consent:
    return Consent.objects.create(
        installation=profile.installation,
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=state,
        source="subscribe",
        recorded_at=at,
    )


def make_membership(profile: Profile, at: datetime) -> SegmentMembership:
    segment, _ = Segment.objects.get_or_create(
        installation=profile.installation,
        key="s",
        defaults={"name": "S", "definition": {"all": []}, "created_at": at, "updated_at": at},
    )
    return SegmentMembership.objects.create(
        installation=profile.installation,
        segment=segment,
        profile=profile,
        entered_at=at,
        left_at=at,
    )


def make_favourite(profile: Profile, at: datetime) -> Favourite:
    return Favourite.objects.create(
        installation=profile.installation,
        profile=profile,
        product_saleor_id=f"p-{at:%Y%m%d}",
        added_at=at,
        removed_at=at,
    )


def make_exposure(profile: Profile, at: datetime) -> Exposure:
    return Exposure.objects.create(
        installation=profile.installation,
        profile=profile,
        product_saleor_id=f"p-{at:%Y%m%d}",
        shown_count=5,
        last_shown_at=at,
    )


def make_delivery(profile: Profile, at: datetime) -> WebhookDelivery:
    return WebhookDelivery.objects.create(
        installation=profile.installation,
        event="customer_updated",
        body=b"{}",
        body_hash=f"{profile.pk}{at:%Y%m%d}".encode().ljust(32, b"0"),
        received_at=at,
        status=DeliveryStatus.FAILED,
    )


def make_person(profile: Profile, at: datetime) -> Profile:
    return Profile.objects.create(installation=profile.installation, first_seen_at=at)


MAKERS: dict[str, Make] = {
    "failed_deliveries": make_delivery,
    "checkouts": make_checkout,
    "enrollments": make_enrollment,
    "messages": make_message,
    "unconfirmed_consents": make_line,
    "memberships": make_membership,
    "removed_favourites": make_favourite,
    "exposures": make_exposure,
    "unknown_people": make_person,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_b123_what_is_past_its_time_goes_and_nothing_else(
    kind: str, alice: Profile, dave: Profile
) -> None:
    kept = Defaults().RETENTION[kind]
    assert kept is not None
    model = type(MAKERS[kind](alice, NOW - kept - DAY))
    old = model.objects.latest("pk")
    theirs = MAKERS[kind](dave, NOW - kept - DAY)
    young = [MAKERS[kind](profile, NOW - kept + DAY) for profile in (alice, dave)]
    before = {m: m.objects.count() for m in FIELDS}

    with time_machine.travel(NOW, tick=False):
        assert purge() >= 2

    assert not model.objects.filter(pk__in=[old.pk, theirs.pk]).exists()
    assert model.objects.filter(pk__in=[row.pk for row in young]).count() == 2
    before[model] -= 2
    assert {m: m.objects.count() for m in FIELDS} == before
    with time_machine.travel(NOW, tick=False):
        assert purge() == 0


def test_b123_a_message_first_loses_what_it_showed(alice: Profile) -> None:
    old = make_message(alice, NOW - timedelta(days=181))
    new = make_message(alice, NOW - timedelta(days=179))
    with time_machine.travel(NOW, tick=False):
        purge()
    old.refresh_from_db()
    assert (old.content, old.provider_message_id, old.status) == ({}, "", "sent")
    new.refresh_from_db()
    assert new.content == {"checkout_id": "cart"}


def test_b123_what_is_still_needed_stays_however_old(alice: Profile) -> None:
    long_ago = NOW - timedelta(days=2000)
    make_enrollment(alice, long_ago, status="waiting")
    make_line(alice, long_ago, ConsentState.DENIED)
    message = make_message(alice, long_ago)
    Message.objects.filter(pk=message.pk).update(status=MessageStatus.HANDING_OVER)
    Favourite.objects.create(
        installation=alice.installation, profile=alice, product_saleor_id="p", added_at=long_ago
    )
    Suppression.objects.create(
        installation=alice.installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash="h",
        reason="unsubscribed",
        created_at=long_ago,
    )
    before = {m: m.objects.count() for m in FIELDS}
    with time_machine.travel(NOW, tick=False):
        assert purge() == 0
    assert {m: m.objects.count() for m in FIELDS} == before


def unknown(installation: Installation, **identities: str) -> Profile:
    profile = make_profile(installation, **identities)
    Profile.objects.filter(pk=profile.pk).update(first_seen_at=NOW - timedelta(days=100))
    return profile


def test_b123_people_without_any_fact_go_with_their_ids(installation: Installation) -> None:
    gone = [
        unknown(installation, anonymous_id="browser-1"),
        unknown(installation, email="typed@example.com"),
        unknown(installation, checkout="cart-1"),
    ]
    customer = unknown(installation, saleor_user="VXNlcjox")
    card = unknown(installation, external_id="card-1")
    visitor = unknown(installation, anonymous_id="browser-2")
    Event.objects.create(
        installation=installation,
        profile=visitor,
        event_id="e",
        type=EventType.PRODUCT_VIEWED,
        occurred_at=NOW - DAY,
        received_at=NOW,
        source=EventSource.STOREFRONT,
    )
    buyer = unknown(installation, email="buyer@example.com")
    Order.objects.create(
        installation=installation,
        profile=buyer,
        saleor_id="o",
        status="FULFILLED",
        channel_slug="us",
        currency="USD",
        total=Decimal(1),
        placed_at=NOW - timedelta(days=900),
    )
    asked = unknown(installation, email="asked@example.com")
    make_line(asked, NOW - DAY)
    browser = unknown(installation, anonymous_id="browser-3")
    identity.show(
        installation=installation,
        shown={IdentityKind.SALEOR_USER: "VXNlcjox", IdentityKind.ANONYMOUS_ID: "browser-3"},
        now=NOW,
    )
    with time_machine.travel(NOW, tick=False):
        assert purge() == len(gone)
    assert set(Profile.objects.all()) == {customer, card, visitor, buyer, asked, browser}
    assert not Identity.objects.filter(value__in=["browser-1", "cart-1"]).exists()


def test_b123_a_purge_takes_small_steps_and_goes_on(
    alice: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for days in range(200, 207):
        make_checkout(alice, NOW - timedelta(days=days))
    assert retention.purge(now=NOW, most=5)["checkouts"] == 5
    assert Checkout.objects.count() == 2
    assert retention.purge(now=NOW, most=5)["checkouts"] == 2


def test_b123_none_keeps_for_ever(alice: Profile, settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "RETENTION": {"checkouts": None, "memberships": timedelta(days=5)},
    }
    make_checkout(alice, NOW - timedelta(days=5000))
    make_membership(alice, NOW - timedelta(days=6))
    with time_machine.travel(NOW, tick=False):
        assert purge() == 1
    assert Checkout.objects.count() == 1


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"chekouts": DAY}, "E070"),
        ({"checkouts": timedelta(hours=1)}, "E071"),
        ({"checkouts": 2 * DAY}, "E072"),
        ({"messages": 3 * DAY}, "E072"),
        ({"unconfirmed_consents": 7 * DAY}, "E073"),
        ({"checkouts": 90}, "E012"),
    ],
)
def test_b123_a_time_that_cannot_be_is_told(settings: Any, given: Any, fault: str) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "RETENTION": given}
    assert f"saleor_personalize.{fault}" in {message.id for message in check_settings()}


def test_b123_the_page_shows_what_is_kept_how_long(
    client: Client, installation: Installation, alice: Profile, dave: Profile
) -> None:
    make_checkout(alice, NOW - timedelta(days=181))
    make_checkout(dave, NOW - timedelta(days=181))
    make_membership(alice, NOW - timedelta(days=400))
    InboxItem.objects.create(
        installation=installation,
        profile=alice,
        message=make_message(alice, NOW - timedelta(days=2)),
        created_at=NOW - timedelta(days=2),
        expires_at=NOW + timedelta(days=5),
    )
    with time_machine.travel(NOW, tick=False):
        html = client.get("/dashboard/data/", headers=headers(installation)).content.decode()
        assert "How much there is of it is counted within the hour." in html
        assert "oldest:" not in html
        for _ in range(2):
            # Of both shops, and once more over what was counted before.
            assert count_kept() == 2 * len(retention.KINDS)
        html = client.get("/dashboard/data/", headers=headers(installation)).content.decode()
    assert f'Counted <time datetime="{NOW.isoformat()}">' in html
    assert "<h3>Carts</h3><span>180 days</span>" in html
    assert "<h3>What people did</h3><span>395 days</span>" in html
    assert "<h3>Orders</h3><span>until erased</span>" in html
    carts = html[html.index("<h3>Carts</h3>") :]
    assert '1 row · oldest: <time datetime="2025-09-02T12:00:00+00:00">' in carts[:400]
    assert "Older rows should have gone." not in carts[:500], "one night late is no fault"
    ended = html[html.index("<h3>Stays in segments that ended</h3>") :]
    assert "Older rows should have gone." in ended[:600]
    inbox = html[html.index("<h3>Messages in the shop</h3>") :]
    assert '1 row · first to expire: <time datetime="2026-03-07T12:00:00+00:00">' in inbox[:400]
    assert "everything of this shop goes after 30 days" in html


@pytest.mark.parametrize("kind", [kind.key for kind in retention.KINDS])
def test_b123_every_kind_has_a_name_in_the_page(kind: str) -> None:
    from saleor_personalize.dashboard import words

    assert str(words.DATA[kind])
    kept = {handling.kept for names in FIELDS.values() for handling in names.values()}
    assert kept <= {"shop"} | {known.key for known in retention.KINDS}


def findings(installation: Installation) -> dict[str, str]:
    return {f.check: f.level for f in doctor._data(installation, NOW)}


def test_b123_doctor_tells_when_the_purge_does_not_run(alice: Profile) -> None:
    assert findings(alice.installation) == {"retention": "ok"}
    make_checkout(alice, NOW - timedelta(days=182))
    assert findings(alice.installation) == {"retention": "ok"}
    make_checkout(alice, NOW - timedelta(days=184))
    assert findings(alice.installation) == {"retention": "fail"}
    with time_machine.travel(NOW, tick=False):
        purge()
    assert findings(alice.installation) == {"retention": "ok"}


def test_d10_a_shop_that_left_is_forgotten_after_its_grace(
    installation: Installation, alice: Profile, dave: Profile
) -> None:
    gone = dave.installation
    Installation.objects.filter(pk=gone.pk).update(
        status=InstallationStatus.UNINSTALLED, status_changed_at=NOW - timedelta(days=29)
    )
    inactive = make_installation("third", status=InstallationStatus.INACTIVE)
    Installation.objects.filter(pk=inactive.pk).update(status_changed_at=NOW - timedelta(days=400))
    with time_machine.travel(NOW, tick=False):
        assert purge() == 0
    assert Installation.objects.count() == 3
    with time_machine.travel(NOW + 2 * DAY, tick=False):
        assert purge() == 1
    assert set(Installation.objects.all()) == {installation, inactive}
    assert list(Profile.objects.all()) == [alice]


def test_d10_forget_asks_first_and_names_what_it_knows(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.core.management.base import CommandError

    monkeypatch.setattr("builtins.input", lambda question: "yes")
    with pytest.raises(CommandError, match="Type the URL"):
        call_command("personalize_forget", "--installation", installation.saleor_api_url)
    with pytest.raises(CommandError, match="Known: https://main"):
        call_command("personalize_forget", "--installation", "https://x.test/graphql/", "--yes")
    assert Installation.objects.count() == 1
    monkeypatch.setattr("builtins.input", lambda question: installation.saleor_api_url)
    call_command(
        "personalize_forget",
        "--installation",
        installation.saleor_api_url,
        stdout=io.StringIO(),
    )
    assert Installation.objects.count() == 0


def test_b121_erase_asks_first_and_knows_whom(
    alice: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.core.management.base import CommandError

    monkeypatch.setattr("builtins.input", lambda question: "no")
    with pytest.raises(CommandError, match="Nothing was erased"):
        call_command("personalize_erase", "--person", "alice@example.com")
    with pytest.raises(CommandError, match="Nobody is known by that"):
        call_command("personalize_erase", "--person", "nobody@example.com", "--yes")
    assert Profile.objects.count() == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("Alice@Example.com\n"))
    call_command("personalize_erase", "--person", "-", "--yes", stdout=io.StringIO())
    assert Profile.objects.count() == 0


def test_b123_visits_and_events_end_with_the_month(alice: Profile) -> None:
    """They are `events.partitions`' to drop; the page and doctor speak of them all the same."""
    Session.objects.create(
        installation=alice.installation,
        profile=alice,
        session_id="s",
        started_at=NOW - timedelta(days=500),
        last_seen_at=NOW - timedelta(days=500),
    )
    assert findings(alice.installation) == {"retention": "fail"}
