"""B65, B66, C2 through the real scheduler: a step `offer` gives the message after it a code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EnrollmentStatus,
    MessageStatus,
    NotSentReason,
    OfferStatus,
    Purpose,
)
from saleor_personalize.exceptions import ChannelError
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutOrders
from saleor_personalize.journeys.outside import Outside
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import (
    Enrollment,
    Identity,
    Installation,
    Message,
    Offer,
    Profile,
)
from saleor_personalize.offers import operations as offers
from saleor_personalize.offers import vouchers
from saleor_personalize.profiles import consent
from saleor_personalize.testing.saleor import FakeSaleor
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.offering import Killed, dies, installed, order
from tests.integration.phones import Phones, give_phone
from tests.integration.signal_trigger import Signal, come_in, publish

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OFFER = {"offer": {"id": "gift", "percent": 10, "expires": "7 days"}}
GIFT = {"message": {"id": "first", "template": "gift"}}
BODY = (
    "{% if offer %}{{ offer.text }}: {{ offer.code }} until {{ offer.expires }}{% else %}no gift"
    "{% endif %} {{ cart_url }}"
)


@pytest.fixture
def shop(settings: Any, tmp_path: Path) -> Iterator[FakeSaleor]:
    folder = tmp_path / "saleor_personalize" / "messages" / "gift"
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text("A gift")
    (folder / "body.txt").write_text(BODY)
    (folder / "body.html").write_text(
        f'<p>{BODY}</p><a href="{{{{ unsubscribe_url }}}}">No more</a>'
    )
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(tmp_path)]}]
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "ALLOW_PRIVATE_ADDRESSES": True,
        "TRIGGERS": {"signal": "tests.integration.signal_trigger.Signal"},
    }
    Signal.over, Signal.entries = set(), []
    mail.outbox = []
    with FakeSaleor() as shop:
        shop.fill(products=1, customers=0, orders=0, checkouts=0)
        yield shop


@pytest.fixture
def installation(db: None, shop: FakeSaleor) -> Installation:
    return installed(shop)


@pytest.fixture
def alice(installation: Installation) -> Profile:
    profile = make_profile(installation, saleor_user="VXNlcjox", email="alice@example.com")
    make_consent(profile, ConsentState.GRANTED)
    return profile


def decision() -> tuple[str, str]:
    message = Message.objects.get()
    return message.status, message.reason


def test_b65_a_journey_sends_a_code_that_works(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    journey = publish(installation, OFFER, GIFT)
    come_in(journey, alice)
    journeys.advance_due(now=NOW)
    offer = Offer.objects.get()
    assert decision() == (MessageStatus.SENT, "")
    (sent,) = mail.outbox
    assert sent.body.strip() == (
        f"10%: {offer.code} until March 9, 2026 https://store.test/?promoCode={offer.code}"
    )
    assert shop.vouchers.codes == {offer.code: True}
    assert (offer.status, offer.message) == (OfferStatus.MADE, Message.objects.get())
    assert offer.enrollment is not None
    assert Message.objects.get().content["offer"]["kind"] == "percent"
    (voucher,) = shop.vouchers.rows.values()
    assert voucher["name"].startswith("Personalize: test: gift, until 2026-03-09")


@pytest.mark.parametrize(
    ("when_refused", "status", "reason", "mails"),
    [
        ("without", MessageStatus.SENT, "", 1),
        ("stop", MessageStatus.NOT_SENT, NotSentReason.OFFER_FULL_PRICE, 0),
    ],
)
def test_b66_who_just_paid_full_price_gets_no_code(
    shop: FakeSaleor,
    installation: Installation,
    alice: Profile,
    when_refused: str,
    status: str,
    reason: str,
    mails: int,
) -> None:
    order(installation, at=NOW - DAY)
    step = {"offer": {**OFFER["offer"], "when_refused": when_refused}}
    journey = publish(installation, step, GIFT, goals=[])
    come_in(journey, alice)
    journeys.advance_due(now=NOW)
    assert decision() == (status, reason)
    assert len(mail.outbox) == mails
    assert all("no gift" in each.body for each in mail.outbox)
    assert shop.vouchers.rows == {}
    assert not Offer.objects.exists()


def test_b65_a_code_ends_with_the_day_of_the_shop(
    shop: FakeSaleor, installation: Installation, alice: Profile, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "TIME_ZONE": "America/New_York"}
    come_in(publish(installation, OFFER, GIFT), alice)
    journeys.advance_due(now=NOW)
    assert Offer.objects.get().expires_at == datetime(2026, 3, 10, 3, 59, 59, tzinfo=UTC)
    assert "until March 9, 2026" in mail.outbox[0].body


def test_b66_no_code_after_an_order_whose_webhook_is_late(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    """A birthday goes on after an order; but Saleor knows of one, and we do not know at what price."""
    journey = publish(installation, OFFER, GIFT, goals=[])
    come_in(journey, alice)
    journeys.advance_due(now=NOW, ask=lambda question: True)
    assert (mail.outbox, Offer.objects.count(), Message.objects.count()) == ([], 0, 0)
    assert Enrollment.objects.get().held_by == NotSentReason.OFFER_FULL_PRICE
    order(installation, at=NOW)
    journeys.advance_due(now=NOW + HOUR, ask=lambda question: True)
    assert decision() == (MessageStatus.SENT, "")
    assert "no gift" in mail.outbox[0].body


def ordered_at(moment: datetime) -> Callable[[AboutOrders], bool]:
    """Answer as a Saleor that has one order of Alice, whose webhook is late."""
    return lambda question: moment >= question.since


def test_b66_an_order_before_the_stay_whose_webhook_is_late_puts_the_code_off(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    """Alice paid in full, then left a cart: the order is no goal of that stay, and speaks against a code."""
    come_in(publish(installation, OFFER, GIFT), alice)
    journeys.advance_due(now=NOW, ask=ordered_at(NOW - HOUR))
    assert (mail.outbox, Offer.objects.count(), Message.objects.count()) == ([], 0, 0)
    row = Enrollment.objects.get()
    assert (row.status, row.held_by) == ("waiting", NotSentReason.OFFER_FULL_PRICE)
    order(installation, at=NOW - HOUR)
    journeys.advance_due(now=NOW + HOUR, ask=ordered_at(NOW - HOUR))
    assert decision() == (MessageStatus.SENT, "")
    assert "no gift" in mail.outbox[0].body
    assert shop.vouchers.rows == {}


@pytest.mark.parametrize("goals", [["ordered"], []])
@pytest.mark.parametrize(
    ("when_refused", "decided", "mails"),
    [
        ("without", (MessageStatus.SENT, ""), 1),
        ("stop", (MessageStatus.NOT_SENT, NotSentReason.OFFER_NOT_FIRST), 0),
    ],
)
def test_b55_an_order_of_long_ago_that_only_saleor_has_is_a_first_one(
    shop: FakeSaleor,
    installation: Installation,
    alice: Profile,
    goals: list[str],
    when_refused: str,
    decided: tuple[str, str],
    mails: int,
) -> None:
    """Whatever the journey: it need not be the welcome to promise a code for a first order."""
    offer = {**OFFER["offer"], "first_order": True, "when_refused": when_refused}
    come_in(publish(installation, {"offer": offer}, GIFT, goals=goals), alice)
    journeys.advance_due(now=NOW, ask=ordered_at(NOW - 400 * DAY))
    assert decision() == decided
    assert ["no gift" in each.body for each in mail.outbox] == [True] * mails
    assert shop.vouchers.rows == {}
    assert not Offer.objects.exists()


def test_b66_a_trigger_that_asks_about_some_orders_only_hides_no_other(
    shop: FakeSaleor, installation: Installation, alice: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a lamp and has just bought a table in full: the trigger's question is about the lamp."""
    monkeypatch.setattr(Signal, "asks_for_orders", True)
    journey = publish(installation, OFFER, GIFT, live_at=NOW - 3 * DAY)
    come_in(journey, alice, at=NOW - 2 * DAY, due=2 * DAY)
    journeys.advance_due(now=NOW, ask=ordered_at(NOW - HOUR))
    assert (mail.outbox, Offer.objects.count(), Message.objects.count()) == ([], 0, 0)
    assert Enrollment.objects.get().held_by == NotSentReason.OFFER_FULL_PRICE
    assert shop.vouchers.rows == {}


def test_b66_an_order_of_long_ago_that_we_know_holds_back_no_later_code(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    """Saleor is asked about all time for the sake of the first offer; the second is for everybody."""
    order(installation, at=NOW - 400 * DAY)
    first = {"offer": {**OFFER["offer"], "first_order": True}}
    later = {"offer": {**OFFER["offer"], "id": "later"}}
    second = {"message": {"id": "second", "template": "gift"}}
    journey = publish(
        installation, first, GIFT, {"wait": {"for": "1 day"}}, later, second, goals=[]
    )
    come_in(journey, alice)
    for at in (NOW, NOW + DAY, NOW + DAY + HOUR):
        journeys.advance_due(now=at, ask=ordered_at(NOW - 400 * DAY))
    assert ["no gift" in each.body for each in mail.outbox] == [True, False]
    assert Offer.objects.get().status == OfferStatus.MADE
    assert Enrollment.objects.get().status == EnrollmentStatus.DONE


def test_b65_a_dry_run_makes_no_code(
    shop: FakeSaleor, installation: Installation, alice: Profile, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "DRY_RUN": True}
    come_in(publish(installation, OFFER, GIFT), alice)
    journeys.advance_due(now=NOW)
    assert decision() == (MessageStatus.NOT_SENT, NotSentReason.DRY_RUN)
    assert not Offer.objects.exists()
    assert shop.vouchers.rows == {}


def test_b65_a_template_that_is_incomplete_makes_no_code(
    shop: FakeSaleor, installation: Installation, alice: Profile, tmp_path: Path
) -> None:
    body = tmp_path / "saleor_personalize" / "messages" / "gift" / "body.txt"
    body.write_text("{{ no_such_value }}")
    come_in(publish(installation, OFFER, GIFT), alice)
    journeys.advance_due(now=NOW)
    assert decision() == (MessageStatus.NOT_SENT, NotSentReason.TEMPLATE_INCOMPLETE)
    assert not Offer.objects.exists()
    assert shop.vouchers.rows == {}


def test_c2_saleor_that_is_down_delays_message_and_code_together(
    shop: FakeSaleor, installation: Installation, alice: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saleor_personalize.saleor_api.client.RETRY_DELAYS", ())
    come_in(publish(installation, OFFER, GIFT), alice)

    def falls_silent(question: object) -> bool:
        """Nobody has ordered; and then the shop is gone."""
        Installation.objects.update(saleor_api_url="http://127.0.0.1:9/graphql/")
        return False

    journeys.advance_due(now=NOW, ask=falls_silent)
    assert decision() == (MessageStatus.FAILED, NotSentReason.OFFER_NOT_MADE)
    assert mail.outbox == []
    Installation.objects.update(saleor_api_url=shop.api_url)
    journeys.advance_due(now=NOW + HOUR)
    offers.sweep(now=NOW + HOUR)
    assert decision() == (MessageStatus.SENT, "")
    (sent,) = mail.outbox
    first, second = Offer.objects.order_by("pk")
    assert (first.status, second.status) == (OfferStatus.WITHDRAWN, OfferStatus.MADE)
    assert second.code in sent.body
    assert shop.vouchers.codes == {second.code: True}


@pytest.mark.parametrize("what", [NotSentReason.ORDERED, NotSentReason.NO_CONSENT])
def test_c2_d2_what_comes_while_saleor_makes_the_code_is_not_too_late(
    shop: FakeSaleor, installation: Installation, alice: Profile, what: NotSentReason
) -> None:
    """A voucher takes Saleor seconds: an order, or a no, in them stops the message and ends the code."""

    @contextmanager
    def meanwhile(of: Installation) -> Iterator[vouchers.Saleor]:
        with vouchers.connect(of) as saleor:
            yield saleor
        if Message.objects.get().status == MessageStatus.HANDING_OVER:
            assert len(shop.vouchers.codes) == 1
            if what == NotSentReason.ORDERED:
                order(installation, at=NOW + HOUR / 60)
            else:
                make_consent(alice, ConsentState.DENIED)

    come_in(publish(installation, OFFER, GIFT), alice)
    journeys.advance_due(now=NOW, outside=Outside(connect=meanwhile))
    assert decision() == (MessageStatus.FAILED, what)
    assert mail.outbox == []
    assert shop.vouchers.codes == {}
    assert Offer.objects.get().status == OfferStatus.WITHDRAWN
    row = Enrollment.objects.get()
    assert (row.status, row.exit_reason) == (EnrollmentStatus.EXITED, what)


@pytest.mark.parametrize("operation", ["OfferVoucherCreate", "OfferVoucherListings"])
def test_c2_a_worker_killed_in_the_middle_leaves_no_code_and_the_next_one_sends_another(
    shop: FakeSaleor, installation: Installation, alice: Profile, operation: str
) -> None:
    come_in(publish(installation, OFFER, GIFT), alice)
    with pytest.raises(Killed):
        journeys.advance_due(now=NOW, outside=Outside(connect=dies("after", operation)))
    assert len(shop.vouchers.codes) == 1
    assert mail.outbox == []
    later = NOW + messaging.HAND_OVER_LEASE
    assert journeys.resume_interrupted(now=later) == 1
    assert Message.objects.get().error.endswith("The message was not sent.")
    messaging.settle_interrupted(now=later)
    journeys.advance_due(now=later)
    assert decision() == (MessageStatus.SENT, "")
    first, second = Offer.objects.order_by("pk")
    assert (first.status, second.status) == (OfferStatus.WITHDRAWN, OfferStatus.MADE)
    (sent,) = mail.outbox
    assert second.code in sent.body
    assert first.code not in sent.body
    # Until its lease is over, the first worker might still put its code in: Saleor is asked twice.
    for at in (later, NOW + offers.LEASE):
        offers.sweep(now=at)
        assert shop.vouchers.codes == {second.code: True}
    first.refresh_from_db()
    assert first.gone_at == NOW + offers.LEASE


@pytest.mark.parametrize("what", [NotSentReason.ORDERED, NotSentReason.NO_CONSENT])
def test_c2_d2_a_code_whose_worker_was_killed_ends_with_the_reason_for_none(
    shop: FakeSaleor, installation: Installation, alice: Profile, what: NotSentReason
) -> None:
    come_in(publish(installation, OFFER, GIFT), alice)
    with pytest.raises(Killed):
        journeys.advance_due(
            now=NOW, outside=Outside(connect=dies("after", "OfferVoucherListings"))
        )
    if what == NotSentReason.ORDERED:
        order(installation, at=NOW + HOUR / 60)
    else:
        make_consent(alice, ConsentState.DENIED)
    later = NOW + messaging.HAND_OVER_LEASE
    journeys.resume_interrupted(now=later)
    journeys.advance_due(now=later)
    offers.sweep(now=NOW + offers.LEASE)
    assert decision() == (MessageStatus.NOT_SENT, what)
    assert (mail.outbox, shop.vouchers.codes) == ([], {})


def test_d5_c2_a_worker_that_saleor_held_up_sends_no_dead_code(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    """Its code is in Saleor when it comes back, another worker has sent another one meanwhile."""
    later = NOW + messaging.HAND_OVER_LEASE
    is_slow = [True]

    @contextmanager
    def slowly(of: Installation) -> Iterator[vouchers.Saleor]:
        with vouchers.connect(of) as saleor:
            yield saleor
        if is_slow.pop():
            assert journeys.resume_interrupted(now=later) == 1
            journeys.advance_due(now=later)

    come_in(publish(installation, OFFER, GIFT), alice)
    is_slow.insert(0, False)
    journeys.advance_due(now=NOW, outside=Outside(connect=slowly))
    assert decision() == (MessageStatus.SENT, "")
    (sent,) = mail.outbox
    for at in (later, NOW + offers.LEASE, later + offers.LEASE):
        offers.sweep(now=at)
    (code,) = shop.vouchers.codes
    assert code in sent.body


def test_b55_a_first_order_code_is_void_with_the_order_and_the_next_journey_gives_none(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    step = {"offer": {**OFFER["offer"], "first_order": True}}
    journey = publish(installation, step, GIFT, goals=[])
    come_in(journey, alice)
    journeys.advance_due(now=NOW)
    assert len(shop.vouchers.codes) == 1
    order(installation, at=NOW + HOUR)
    offers.sweep(now=NOW + HOUR)
    assert shop.vouchers.codes == {}
    come_in(journey, alice, "object-2", at=NOW + 2 * DAY)
    journeys.advance_due(now=NOW + 2 * DAY)
    assert [each.body.startswith("no gift") for each in mail.outbox] == [False, True]
    assert shop.vouchers.codes == {}


# -- another way -------------------------------------------------------------------------------------


@pytest.fixture
def phone(installation: Installation, alice: Profile, settings: Any, tmp_path: Path) -> None:
    """Alice has a phone and allows push; the gift has words for it."""
    folder = tmp_path / "saleor_personalize" / "messages" / "gift"
    (folder / "push_title.txt").write_text("A gift")
    (folder / "push.txt").write_text("{% if offer %}{{ offer.code }}{% else %}no gift{% endif %}")
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CHANNELS": {"push": "tests.integration.phones.Phones"},
        "QUIET_HOURS": {"push": None},
    }
    Phones.reset()
    give_phone(alice)
    consent.record(
        profile=alice,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.PUSH,
        state=ConsentState.GRANTED,
        source="test",
        now=NOW,
    )


IN_TURN = {"to": "email", "after": "4 hours"}
BY_PUSH = {"message": {**GIFT["message"], "delivery_channel": "push", "fallback": IN_TURN}}


def test_b71_the_other_way_tells_of_the_same_code(
    shop: FakeSaleor, installation: Installation, alice: Profile, phone: None
) -> None:
    come_in(publish(installation, OFFER, BY_PUSH), alice)
    journeys.advance_due(now=NOW)
    offer = Offer.objects.get()
    assert Phones.taken[0].text == Phones.taken[0].data["promo_code"] == offer.code
    journeys.advance_due(now=NOW + 4 * HOUR)
    assert f"10%: {offer.code} until" in mail.outbox[0].body
    assert [row.status for row in Offer.objects.all()] == [OfferStatus.MADE]
    assert shop.vouchers.codes == {offer.code: True}


def test_b71_a_mail_that_is_refused_takes_no_code_from_who_has_it_on_the_phone(
    shop: FakeSaleor, installation: Installation, alice: Profile, phone: None
) -> None:
    come_in(publish(installation, OFFER, BY_PUSH), alice)
    journeys.advance_due(now=NOW)
    Identity.objects.filter(kind="email").update(address="not one mailbox")
    journeys.advance_due(now=NOW + 4 * HOUR)
    assert mail.outbox == []
    assert Message.objects.order_by("pk").last().reason == NotSentReason.CHANNEL_ERROR  # type: ignore[union-attr]
    offer = Offer.objects.get()
    assert offer.status == OfferStatus.MADE
    assert shop.vouchers.codes == {offer.code: True}


def test_b71_a_code_that_never_arrived_goes_and_the_other_way_has_one_of_its_own(
    shop: FakeSaleor, installation: Installation, alice: Profile, phone: None
) -> None:
    Phones.errors.append(ChannelError("This project is gone.", is_permanent=True))
    come_in(publish(installation, OFFER, BY_PUSH), alice)
    journeys.advance_due(now=NOW)
    first, second = Offer.objects.order_by("pk")
    assert (first.status, second.status) == (OfferStatus.WITHDRAWN, OfferStatus.MADE)
    assert f"10%: {second.code} until" in mail.outbox[0].body
    assert shop.vouchers.codes == {second.code: True}
