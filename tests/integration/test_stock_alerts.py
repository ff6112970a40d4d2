"""Back in stock: the right variant and channel, in waves, one message per sign-up, stopped when sold out."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, event, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from saleor_personalize.alerts import operations as alerts
from saleor_personalize.alerts import queries
from saleor_personalize.enums import (
    ConsentState,
    EnrollmentStatus,
    ErasureSource,
    MergeProof,
    NotSentReason,
    StockAlertStatus,
)
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import links, opt_in
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import (
    Consent,
    Enrollment,
    Installation,
    OutgoingDelivery,
    OutgoingWebhook,
    ProductVariant,
    Stock,
    StockAlert,
)
from saleor_personalize.profiles import merging, privacy
from tests.conftest import NOW, make_installation, make_profile
from tests.integration.reminders import run_threads
from tests.integration.waiting import (
    DAY,
    EU,
    HOUR,
    MINUTE,
    OTHER,
    PRODUCT,
    US,
    VARIANT,
    Shop,
    people,
)

ALICE = "alice@example.com"


def settings_with(settings: Any, **changes: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **changes}


@pytest.fixture
def shop(installation: Installation, settings: Any) -> Iterator[Shop]:
    settings_with(
        settings,
        FREQUENCY_CAPS={"*": None},
        PRODUCT_URL="https://store.test/{channel}/{slug}",
    )
    mail.outbox = []
    made = Shop(installation)
    made.go_live()
    made.stock(0)
    return made


def status_of(alert: StockAlert, shop: Shop) -> StockAlertStatus:
    alert.refresh_from_db()
    return queries.status(alert, shop.now)


def test_b51_who_asked_is_told_once_that_it_is_back(shop: Shop) -> None:
    alert = shop.sign_up(ALICE)
    assert status_of(alert, shop) == StockAlertStatus.CONFIRMED
    shop.pass_by(HOUR)
    assert shop.told() == []
    shop.stock(3)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == [ALICE]
    (message,) = mail.outbox
    assert message.subject == "Socks is back in stock"
    assert "large" in message.body
    assert "9.50\xa0EUR" in message.body
    assert "https://store.test/eu/socks" in message.body
    assert links.stock_alerts_url(alert=alert).split("/a/")[0] + "/a/" in message.body
    # Sold out and back again, again and again.
    for pieces in (0, 5, 0, 9):
        shop.stock(pieces)
        shop.pass_by(2 * DAY)
    assert shop.told() == [ALICE]
    assert status_of(alert, shop) == StockAlertStatus.TOLD


def test_d7_three_pieces_fifty_waiting(shop: Shop) -> None:
    """At most pieces x factor in a wave, oldest first; sold out in the middle of one ends it."""
    addresses = people(50)
    for address in addresses:
        shop.now += MINUTE
        shop.sign_up(address)
    shop.stock(3)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == addresses[:6]
    shop.pass_by(HOUR)
    assert shop.told() == addresses[:6]
    # A day later the pieces are still there: the next ones.
    shop.pass_by(DAY)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == addresses[:12]
    # Another wave begins, and after two of it the last piece is gone.
    shop.pass_by(DAY)
    shop.now += 10 * MINUTE
    shop.advance(limit=2)
    assert shop.told() == addresses[:14]
    shop.stock(0)
    shop.advance()
    assert shop.told() == addresses[:14]
    assert shop.refusals() == [NotSentReason.SOLD_OUT] * 4
    # They kept their place.
    shop.stock(1)
    shop.pass_by(DAY + HOUR)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == addresses[:16]


def test_d7_saleor_is_asked_and_knows_better_than_we(shop: Shop) -> None:
    """The webhook that says "sold out again" is still under way."""
    for address in people(4):
        shop.sign_up(address)
    shop.stock(2)
    sold = {"count": 0}

    def sell(_question: Any) -> None:
        sold["count"] += 1
        if sold["count"] == 3:
            shop.pieces[VARIANT, EU] = 0

    shop.before_answer = sell
    shop.pass_by(10 * MINUTE)
    assert shop.told() == people(4)[:2]
    assert set(shop.refusals()) == {NotSentReason.SOLD_OUT}
    assert not Enrollment.objects.filter(status=EnrollmentStatus.WAITING).exists()


def test_d7_saleor_has_fewer_pieces_than_we_know(shop: Shop) -> None:
    for address in people(10):
        shop.sign_up(address)
    shop.pieces[VARIANT, EU] = 1
    shop.stock(5)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == people(10)[:2]


def test_d7_only_the_variant_and_channel_that_were_asked_for(shop: Shop) -> None:
    shop.stock(0, variant=OTHER)
    shop.stock(0, slug=US)
    shop.sign_up("large-eu@example.com")
    shop.sign_up("small-eu@example.com", variant=OTHER)
    shop.sign_up("large-us@example.com", slug=US)
    shop.stock(4, slug=US)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == ["large-us@example.com"]
    shop.stock(4, variant=OTHER)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == ["large-us@example.com", "small-eu@example.com"]


def test_b51_who_bought_it_meanwhile_under_another_identity_is_not_told(shop: Shop) -> None:
    alert = shop.sign_up(ALICE)
    other = shop.person("alice.work@example.com")
    merging.prove(
        installation=shop.installation,
        first=alert.profile,
        second=other,
        proof=MergeProof.STAFF,
        now=shop.now,
    )
    shop.stock(3)
    shop.now += MINUTE
    shop.order("alice.work@example.com", slug=US)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == []
    shop.pass_by(DAY)
    assert status_of(alert, shop) == StockAlertStatus.CANCELLED


def test_b51_an_order_that_only_saleor_knows_counts(shop: Shop) -> None:
    alert = shop.sign_up(ALICE)
    shop.bought.add(ALICE)
    shop.stock(3)
    shop.pass_by(10 * MINUTE)
    assert (shop.told(), shop.refusals()) == ([], [NotSentReason.ORDERED])
    assert status_of(alert, shop) == StockAlertStatus.CANCELLED


def test_b51_something_else_may_be_bought_meanwhile(shop: Shop) -> None:
    shop.sign_up(ALICE)
    shop.now += MINUTE
    shop.order(ALICE, variant=OTHER)
    shop.stock(3)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == [ALICE]


def test_b51_a_guest_confirms_first_where_the_law_says_so(shop: Shop) -> None:
    alert = shop.sign_up(ALICE, country="DE")
    assert status_of(alert, shop) == StockAlertStatus.PENDING
    shop.sign_up("second@example.com")
    shop.stock(1)
    shop.pass_by(10 * MINUTE)
    # Who has not confirmed takes nobody's place.
    assert shop.told() == ["second@example.com"]
    opt_in.send_due(now=shop.now)
    (_, question) = mail.outbox
    assert question.to == [ALICE]
    assert "Sold-out products that you wait for" in question.body
    url = next(word for word in question.body.split() if "/confirm/" in word)
    claims = links.read_confirmation_token(url.rsplit("/", 1)[1])
    up_to = opt_in.question(claims=claims, now=shop.now).up_to
    opt_in.confirm(claims=claims, up_to=up_to, now=shop.now)
    assert Consent.objects.filter(topic="stock_alerts", state=ConsentState.GRANTED).count() == 2
    shop.pass_by(10 * MINUTE)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == ["second@example.com", ALICE, ALICE]


def test_b51_the_permission_is_for_this_and_nothing_else(shop: Shop) -> None:
    shop.sign_up(ALICE)
    assert list(Consent.objects.values_list("topic", "state")) == [("stock_alerts", "granted")]


def test_b51_whose_worker_was_killed_keeps_their_turn(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at while it was under way, it was not told yet."""

    def die(**_: Any) -> bool:
        raise SystemExit

    alert = shop.sign_up(ALICE)
    shop.stock(3)
    with monkeypatch.context() as patch:
        patch.setattr(messaging, "call", die)
        with pytest.raises(SystemExit):
            shop.pass_by(10 * MINUTE)
    shop.pass_by(10 * MINUTE)
    assert status_of(alert, shop) == StockAlertStatus.CONFIRMED
    assert mail.outbox == []
    assert journeys.resume_interrupted(now=shop.now) == 1
    shop.pass_by(10 * MINUTE)
    shop.pass_by(DAY)
    assert shop.told() == [ALICE]
    assert len(mail.outbox) == 1
    assert status_of(alert, shop) == StockAlertStatus.TOLD


def test_b51_many_forms_with_one_address_are_one_message(shop: Shop) -> None:
    first, second = shop.sign_up(ALICE), shop.sign_up(f" {ALICE.upper()} ")
    assert first != second
    shop.sign_up("bob@example.com")
    shop.stock(1)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == [ALICE, "bob@example.com"]
    shop.pass_by(DAY + HOUR)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == [ALICE, "bob@example.com"]
    assert status_of(first, shop) == status_of(second, shop) == StockAlertStatus.TOLD


def test_b51_an_expired_sign_up_tells_nobody(shop: Shop, settings: Any) -> None:
    settings_with(settings, STOCK_ALERT_EXPIRY=7 * DAY)
    alert = shop.sign_up(ALICE)
    shop.now += 7 * DAY
    assert status_of(alert, shop) == StockAlertStatus.EXPIRED
    shop.stock(5)
    shop.pass_by(10 * MINUTE)
    assert (shop.told(), Enrollment.objects.count()) == ([], 0)


def test_b51_a_shop_that_cannot_be_asked_delays_and_loses_nobody(shop: Shop) -> None:
    shop.sign_up(ALICE)
    shop.stock(3)
    shop.is_down = True
    shop.pass_by(10 * MINUTE)
    assert (shop.told(), shop.refusals()) == ([], [])
    shop.is_down = False
    shop.pass_by(HOUR)
    assert shop.told() == [ALICE]


def test_b51_the_link_in_the_message_cancels_all_with_one_button(
    shop: Shop, client: Client, settings: Any
) -> None:
    import time_machine

    first, second = shop.sign_up(ALICE), shop.sign_up(ALICE, slug=US)
    bystander = shop.sign_up("bob@example.com")
    path = "/a/" + links.stock_alerts_url(alert=first).split("/a/")[1]
    with time_machine.travel(shop.now, tick=False):
        page = client.get(path)
        assert (page.status_code, page["Referrer-Policy"]) == (200, "no-referrer")
        assert "2 sold-out products" in page.content.decode()
        # Mail programs look first.
        assert status_of(first, shop) == StockAlertStatus.CONFIRMED
        assert client.post(path).status_code == 200
        assert client.post(path).status_code == 200
        assert client.get("/a/nonsense").status_code == 404
    assert status_of(first, shop) == status_of(second, shop) == StockAlertStatus.CANCELLED
    assert status_of(bystander, shop) == StockAlertStatus.CONFIRMED
    shop.stock(9)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == ["bob@example.com"]


def test_b51_who_was_told_waits_for_it_no_longer(shop: Shop, client: Client) -> None:
    import time_machine

    told, waits = shop.sign_up(ALICE), shop.sign_up(ALICE, slug=US)
    shop.stock(3)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == [ALICE]
    # The wave is looked at in some minutes, the page at once.
    assert StockAlert.objects.get(pk=told.pk).told_at is None
    path = "/a/" + links.stock_alerts_url(alert=told).split("/a/")[1]
    with time_machine.travel(shop.now, tick=False):
        assert "You wait for 1 sold-out product." in client.get(path).content.decode()
        assert client.post(path).status_code == 200
    shop.pass_by(10 * MINUTE)
    assert status_of(told, shop) == StockAlertStatus.TOLD
    assert status_of(waits, shop) == StockAlertStatus.CANCELLED


def test_b51_cancelled_after_the_wave_began(shop: Shop) -> None:
    alert = shop.sign_up(ALICE)
    shop.stock(9)
    assert alerts.cancel(alerts=[alert], now=shop.now) == 1
    assert alerts.cancel(alerts=[alert], now=shop.now) == 0
    shop.pass_by(10 * MINUTE)
    assert (shop.told(), shop.refusals()) == ([], [NotSentReason.ALERT_CANCELLED])


def test_b51_other_apps_are_told_that_somebody_waits(shop: Shop) -> None:
    OutgoingWebhook.objects.create(
        installation=shop.installation,
        alias="erp",
        url="https://erp.example.com/",
        events=["stock_alert.requested"],
        secret="secret",
        created_at=NOW,
    )
    shop.sign_up(ALICE)
    (row,) = OutgoingDelivery.objects.all()
    assert row.data == {"variantId": VARIANT, "productId": "product-socks", "channel": EU}


def test_b51_what_can_be_bought_is_not_waited_for(shop: Shop) -> None:
    shop.stock(1)
    for wish, code in (
        ({}, "IN_STOCK"),
        ({"variant": "nothing"}, "UNKNOWN_VARIANT"),
        ({"slug": "moon"}, "UNKNOWN_CHANNEL"),
    ):
        with pytest.raises(alerts.AlertRefused) as refused:
            shop.sign_up(ALICE, **wish)
        assert refused.value.code == code
    assert not StockAlert.objects.exists()


def test_b51_somebody_signed_in_keeps_their_place(shop: Shop) -> None:
    user = "VXNlcjo5"
    make_profile(shop.installation, saleor_user=user, email=ALICE)

    def ask(user_id: str) -> StockAlert:
        return alerts.request(
            installation=shop.installation,
            variant_id=VARIANT,
            channel_slug=EU,
            user_id=user_id,
            words=alerts.Words(country_code="FR"),
            now=shop.now,
        )

    first = ask(user)
    shop.now += DAY
    again = ask(user)
    assert (again.pk, again.created_at) == (first.pk, first.created_at)
    assert again.expires_at == first.expires_at + DAY
    with pytest.raises(alerts.AlertRefused) as refused:
        ask("VXNlcjo4")
    assert refused.value.code == "NO_EMAIL"


@pytest.mark.django_db(transaction=True)
def test_d7_workers_beside_each_other_tell_no_more_people(shop: Shop) -> None:
    for address in people(10):
        shop.sign_up(address)
    shop.pieces[VARIANT, EU] = 1
    shop.stock(5)
    shop.now += 10 * MINUTE
    run_threads(shop.advance, shop.advance, shop.advance)
    assert len(shop.told()) == 2


def test_b51_who_never_confirms_stands_in_nobodys_way(shop: Shop, settings: Any) -> None:
    for number in range(12):
        shop.sign_up(f"never{number}@example.com", country="DE")
    shop.sign_up(ALICE)
    shop.stock(1)
    shop.pass_by(10 * MINUTE)
    assert shop.told() == [ALICE]


def test_b52_what_is_still_sold_out_is_not_looked_at_one_by_one(shop: Shop) -> None:
    """A look holds a lock for each variant that it calls people of: thousands would be too many."""

    def queries_of_a_look() -> int:
        shop.now += 10 * MINUTE
        with CaptureQueriesContext(connection) as asked:
            journeys.enter_due(now=shop.now)
        return len(asked)

    shop.sign_up(ALICE)
    before = queries_of_a_look()
    for number in range(5):
        ProductVariant.objects.create(
            installation=shop.installation, saleor_id=f"socks-{number}", product_saleor_id=PRODUCT
        )
        shop.sign_up(f"shopper{number}@example.com", variant=f"socks-{number}")
    assert queries_of_a_look() == before
    # By whatever way pieces came, the next look finds them.
    Stock.objects.create(
        installation=shop.installation,
        variant_saleor_id="socks-3",
        warehouse_saleor_id="warehouse-eu",
        quantity=1,
        recorded_at=shop.now,
    )
    ProductVariant.objects.filter(saleor_id="socks-4").update(is_stock_tracked=False)
    shop.pass_by(10 * MINUTE)
    shop.pass_by(10 * MINUTE)
    assert sorted(shop.told()) == ["shopper3@example.com", "shopper4@example.com"]


def test_b51_a_sign_up_is_exported_and_erased_with_its_person(shop: Shop) -> None:
    alert = shop.sign_up(ALICE)
    (row,) = privacy.export(profile=alert.profile, now=shop.now)["stock_alerts"]
    assert (row["variant_id"], row["channel"], row["told_at"]) == (VARIANT, EU, None)
    shop.stock(3)
    privacy.erase(profile=alert.profile, requested_by=ErasureSource.STAFF, now=shop.now)
    assert not StockAlert.objects.exists()
    shop.pass_by(10 * MINUTE)
    assert shop.told() == []


class TestWaves(TestCase):
    """Any order of sign-ups, stock, time, workers that stop in the middle, orders and cancellations."""

    @given(
        moves=st.lists(
            st.one_of(
                st.tuples(st.just("sign_up"), st.integers(1, 4)),
                st.tuples(st.just("stock"), st.integers(0, 4)),
                st.tuples(st.just("saleor"), st.integers(0, 4)),
                st.tuples(st.just("time"), st.sampled_from([6, 30, 120, 1500])),
                st.tuples(st.just("advance"), st.integers(1, 3)),
                st.tuples(st.just("order"), st.integers(0, 7)),
                st.tuples(st.just("cancel"), st.integers(0, 7)),
            ),
            min_size=4,
            max_size=14,
        )
    )
    @example(
        moves=[
            *[("sign_up", 4)] * 3,
            ("stock", 2),
            ("time", 30),
            ("order", 0),
            ("stock", 1),
            ("time", 1500),
            ("cancel", 6),
            ("saleor", 0),
            ("time", 1500),
            ("saleor", 3),
            ("time", 1500),
            ("time", 30),
        ]
    )
    @hypothesis_settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    def test_d7_never_more_people_than_pieces_times_factor(
        self, moves: list[tuple[str, int]]
    ) -> None:
        mail.outbox = []
        shop = Shop(make_installation("waves"))
        shop.go_live()
        shop.stock(0)
        queue: list[StockAlert] = []
        out: set[str] = set()
        told_at: dict[str, Any] = {}
        order: list[int] = []
        for move, number in moves:
            if move == "sign_up":
                for _ in range(number):
                    shop.now += MINUTE
                    address = f"shopper{len(queue)}@example.com"
                    shop.person(address)
                    row = _force(shop, address)
                    queue.append(row)
            elif move == "stock":
                shop.now += MINUTE
                shop.pieces.pop((VARIANT, EU), None)
                shop.stock(number)
            elif move == "saleor":
                shop.pieces[VARIANT, EU] = number
            elif move in ("order", "cancel") and number < len(queue):
                address = f"shopper{number}@example.com"
                out.add(address)
                if move == "cancel":
                    alerts.cancel(alerts=[queue[number]], now=shop.now)
                else:
                    shop.now += MINUTE
                    shop.order(address)
            before = len(shop.told())
            if move == "time":
                shop.pass_by(number * MINUTE)
            elif move == "advance":
                shop.now += MINUTE
                shop.advance(limit=number)
            live = shop.pieces.get((VARIANT, EU), _counted(shop))
            fresh = shop.told()[before:]
            # None twice, none who left, none while there is nothing.
            assert len(set(shop.told())) == len(shop.told())
            assert not out & set(fresh)
            assert live or not fresh
            for address in fresh:
                told_at[address] = shop.now
            # Whoever is told at the same time has no place before the others.
            order += sorted(int(address[7:].split("@")[0]) for address in fresh)
            coming = [
                address
                for address, at in told_at.items()
                if at > shop.now - DAY and not _has_ordered(shop, address)
            ]
            if fresh:
                assert len(coming) <= live * 2
        event(f"{min(len(shop.told()), 3)} told")
        # Oldest first: whoever was told had nobody before them who could have been told as well.
        assert order == sorted(order)


def _force(shop: Shop, address: str) -> StockAlert:
    """Sign up whatever is in stock: the page was open for long."""
    profile = shop.person(address)
    return StockAlert.objects.create(
        installation=shop.installation,
        profile=profile,
        variant_saleor_id=VARIANT,
        product_saleor_id="product-socks",
        channel_slug=EU,
        created_at=shop.now,
        expires_at=shop.now + 90 * DAY,
    )


def _counted(shop: Shop) -> int:
    from saleor_personalize.catalog import prices

    return (
        prices.pieces(installation=shop.installation, variant_ids=[VARIANT], channel_slug=EU) or 0
    )


def _has_ordered(shop: Shop, address: str) -> bool:
    return any(order.email == address for order in shop.orders)
