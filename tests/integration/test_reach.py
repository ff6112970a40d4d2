"""B71 B67: who has a device and no address is reached by push, whatever brought them in; and nobody else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext

from saleor_personalize.alerts import operations as alerts
from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EventType,
    IdentityKind,
    MessageStatus,
    Purpose,
)
from saleor_personalize.events import favourites
from saleor_personalize.events import operations as events
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutCheckout
from saleor_personalize.models import Enrollment, Installation, Message, Profile
from saleor_personalize.profiles import consent
from tests.conftest import NOW, make_profile
from tests.integration import people as catalogue
from tests.integration.phones import Phones, give_phone
from tests.integration.reminders import Saleor, checkout_data
from tests.integration.test_price_drop import look
from tests.integration.waiting import EU, HOUR, MINUTE, PRODUCT, US, VARIANT, Shop

USER = "VXNlcjo5"


@pytest.fixture(autouse=True)
def ways(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CHANNELS": {"push": "tests.integration.phones.Phones"},
        "FREQUENCY_CAPS": {"*": None, "push": None},
        "QUIET_HOURS": {"push": None},
        "PRODUCT_URL": "https://store.test/{channel}/{slug}",
    }
    Phones.reset()
    mail.outbox = []


def go_live(installation: Installation, key: str, *channels: str) -> None:
    """Switch a built-in journey on whose messages go over these delivery channels, one after the other."""
    shipped = journeys.built_in()[key].to_json()
    messages = [step for step in shipped["steps"] if "message" in step]
    for step, channel in zip(messages, channels, strict=False):
        step["message"]["delivery_channel"] = channel
    journeys.load(installation=installation, text=json.dumps(shipped), now=NOW)
    journey = journeys.ensure_journey(installation=installation, key=key)
    journeys.go_live(journey=journey, now=NOW - timedelta(days=1))


def allow(profile: Profile, *channels: DeliveryChannel) -> None:
    for channel in channels:
        consent.record(
            profile=profile,
            purpose=Purpose.MARKETING,
            delivery_channel=channel,
            state=ConsentState.GRANTED,
            source="test",
            now=NOW,
        )


def with_device(installation: Installation, user: str = USER, *, agrees: bool = True) -> Profile:
    """Somebody who is signed in on a phone, and of whom no address is known."""
    profile = make_profile(installation, saleor_user=user)
    give_phone(profile, f"token-of-{user}")
    if agrees:
        allow(profile, DeliveryChannel.PUSH)
    return profile


def taken() -> list[tuple[str, ...]]:
    return [one.recipients for one in Phones.taken]


# -- by each of the ways in -----------------------------------------------------------------------------


@pytest.fixture
def shop(installation: Installation) -> Shop:
    made = Shop(installation)
    made.now = NOW - 40 * 24 * HOUR
    made.price("100")
    made.price("110", slug=US)
    made.now = NOW
    return made


def back_in_stock(shop: Shop, profile: Profile) -> None:
    shop.stock(0)
    alerts.request(
        installation=shop.installation, variant_id=VARIANT, channel_slug=EU, user_id=USER, now=NOW
    )
    shop.stock(3)
    shop.pass_by(10 * MINUTE)


def price_drop(shop: Shop, profile: Profile) -> None:
    shop.stock(9)
    look(shop, profile)
    shop.now += HOUR
    shop.price("80")
    shop.pass_by(10 * MINUTE)
    shop.pass_by(HOUR)


def low_stock(shop: Shop, profile: Profile) -> None:
    shop.stock(50)
    favourites.add(
        profile=profile, product_id=PRODUCT, variant_id=VARIANT, channel_slug=EU, now=shop.now
    )
    shop.now += MINUTE
    shop.stock(2)
    shop.pass_by(10 * MINUTE)
    shop.pass_by(3 * HOUR)


@pytest.mark.parametrize("happens", [back_in_stock, price_drop, low_stock])
@pytest.mark.parametrize("channel", ["push", "best"])
def test_b71_b67_whoever_has_a_device_alone_hears_of_a_product_by_push(
    shop: Shop, happens: Callable[[Shop, Profile], None], channel: str
) -> None:
    go_live(shop.installation, happens.__name__, channel)
    profile = with_device(shop.installation)
    happens(shop, profile)
    assert taken() == [(f"token-of-{USER}",)]
    assert "Socks" in Phones.taken[0].title + Phones.taken[0].text
    assert mail.outbox == []
    # Whether they have bought it was asked of Saleor under the account alone.
    (asked,) = {(one.address, one.user_id) for one in shop.asked}
    assert asked == ("", USER)


@pytest.mark.parametrize("happens", [price_drop, low_stock])
@pytest.mark.parametrize(("channel", "agrees"), [("email", True), ("push", False), ("best", False)])
def test_b71_b67_who_could_never_be_written_to_does_not_even_come_in(
    shop: Shop, happens: Callable[[Shop, Profile], None], channel: str, agrees: bool
) -> None:
    go_live(shop.installation, happens.__name__, channel)
    profile = with_device(shop.installation, agrees=agrees)
    happens(shop, profile)
    assert not Enrollment.objects.exists()
    assert not Message.objects.exists()
    assert (taken(), mail.outbox) == ([], [])


def test_b51_b67_an_account_without_address_and_device_cannot_sign_up(shop: Shop) -> None:
    make_profile(shop.installation, saleor_user=USER)
    shop.stock(0)
    with pytest.raises(alerts.AlertRefused) as refused:
        alerts.request(
            installation=shop.installation,
            variant_id=VARIANT,
            channel_slug=EU,
            user_id=USER,
            now=NOW,
        )
    assert refused.value.code == "NO_EMAIL"


def cart_of_user(installation: Installation, **changes: Any) -> None:
    data = checkout_data(**{"email": "", "user_id": USER, **changes})
    (recorded,) = events.record_checkouts(installation=installation, data=[data], now=NOW)
    journeys.follow_checkout(checkout=recorded.row, now=NOW)


def test_b71_b67_a_cart_without_an_address_is_reminded_of_on_the_phone(
    installation: Installation,
) -> None:
    go_live(installation, "abandoned_checkout", "push", "push")
    with_device(installation)
    cart_of_user(installation)
    saleor = Saleor()
    journeys.advance_due(now=NOW + 2 * HOUR, ask=saleor)
    assert taken() == [(f"token-of-{USER}",)]
    assert saleor.asked == [("checkout-1", "")]
    journeys.advance_due(now=NOW + 26 * HOUR, ask=saleor)
    assert len(Phones.taken) == 2
    assert list(Message.objects.values_list("status", flat=True)) == [MessageStatus.SENT] * 2


def test_b71_b67_of_two_carts_on_the_phone_the_newer_one_speaks_for_both(
    installation: Installation,
) -> None:
    go_live(installation, "abandoned_checkout", "push", "push")
    with_device(installation)
    cart_of_user(installation)
    cart_of_user(installation, id="checkout-2", at=NOW + 10 * MINUTE, variants={"variant-9": 1})
    for minutes in range(60, 90, 5):
        journeys.advance_due(now=NOW + minutes * MINUTE, ask=Saleor())
    assert len(Phones.taken) == 1
    (message,) = Message.objects.filter(status=MessageStatus.SENT)
    assert message.content["checkout_id"] == "checkout-2"


def test_b71_b67_without_a_yes_a_cart_on_the_phone_is_nobodys_business(
    installation: Installation,
) -> None:
    go_live(installation, "abandoned_checkout", "push", "push")
    with_device(installation, agrees=False)
    cart_of_user(installation)
    assert not Enrollment.objects.exists()


def test_b71_b67_what_saleor_knows_of_the_account_still_ends_it(
    installation: Installation,
) -> None:
    go_live(installation, "abandoned_checkout", "push", "push")
    with_device(installation)
    cart_of_user(installation)
    journeys.advance_due(now=NOW + 2 * HOUR, ask=Saleor(ordered={"checkout-1"}))
    assert taken() == []
    assert Message.objects.first().reason == "ordered"  # type: ignore[union-attr]


def test_b67_saleor_is_asked_for_no_orders_of_an_empty_address(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty search would find everybody's orders."""
    with_device(installation)
    cart_of_user(installation)
    from saleor_personalize.models import Checkout

    sent: list[dict[str, Any]] = []

    def execute(self: object, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        sent.append(variables)
        return {"checkout": None, "orders": {"edges": []}, "customer": {"orders": {"edges": []}}}

    monkeypatch.setattr("saleor_personalize.saleor_api.client.SaleorClient.execute", execute)
    checkout = Checkout.objects.select_related("installation", "profile").get()
    answer = AboutCheckout(checkout, "").ask()
    assert (answer.exists, answer.is_ordered) == (False, False)
    assert sent[0]["hasAddress"] is False
    assert (sent[0]["isCustomer"], sent[0]["userId"]) == (True, USER)


# -- what people do on the site ---------------------------------------------------------------------------


def test_b50_b71_who_only_looked_is_told_on_the_phone_or_in_the_app(
    installation: Installation, settings: Any
) -> None:
    """A visitor with a device, one with a yes to the inbox, one with neither, one with an address."""
    shop = catalogue.Shop(installation)
    shop.product("LAMP")
    phone = {IdentityKind.ANONYMOUS_ID: "visitor-with-phone"}
    inbox = {IdentityKind.ANONYMOUS_ID: "visitor-with-inbox"}
    nobody = {IdentityKind.ANONYMOUS_ID: "visitor-with-nothing"}
    for shown in (phone, inbox, nobody, catalogue.ALICE):
        who = Profile.objects.filter(identities__value__in=shown.values()).first()
        if who is None:
            who = make_profile(installation, **{kind.value: one for kind, one in shown.items()})
        for n in range(2):
            at = NOW + n * HOUR / 2
            row = f"{who.pk}"
            shop.track(EventType.PRODUCT_VIEWED, at, product="LAMP", shown=shown, of=row)
    by = {one.value: one.profile for one in _identities(installation)}
    device = give_phone(by["visitor-with-phone"])
    device.is_proven = False
    device.save()
    allow(by["visitor-with-phone"], DeliveryChannel.PUSH)
    allow(by["visitor-with-inbox"], DeliveryChannel.IN_APP)
    go_live(installation, "browsed_product", "best")
    shop.run(NOW + HOUR)
    assert {row.profile for row in shop.inside()} == {
        by["visitor-with-phone"],
        by["visitor-with-inbox"],
    }
    shop.run(NOW + 5 * HOUR)
    sent = Message.objects.filter(status=MessageStatus.SENT)
    assert set(sent.values_list("profile", "delivery_channel")) == {
        (by["visitor-with-phone"].pk, "push"),
        (by["visitor-with-inbox"].pk, "in_app"),
    }


def _identities(installation: Installation) -> Any:
    from saleor_personalize.models import Identity

    return Identity.objects.of(installation).select_related("profile__installation")


def test_b71_finding_people_asks_no_more_for_more_of_them(shop: Shop) -> None:
    go_live(shop.installation, "low_stock", "best")
    shop.stock(50)

    def queries(count: int, first: int) -> int:
        from saleor_personalize.journeys.triggers.people import people

        found = [
            with_device(shop.installation, f"VXNlcjo{first + n}")
            if n % 2
            else shop.person(f"shopper{first + n}@example.com")
            for n in range(count)
        ]
        with CaptureQueriesContext(
            connection,
        ) as asked:
            who = list(
                people(
                    shop.installation,
                    [one.pk for one in found],
                    agreed=True,
                    over=("email", "push", "in_app"),
                )
            )
        assert len(who) == count
        return len(asked)

    assert queries(2, 100) == queries(40, 200) <= 9
