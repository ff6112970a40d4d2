"""Price history and price drops: true, told once, and never below what the last 30 days make of it."""

import itertools
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail

from saleor_personalize.catalog import prices
from saleor_personalize.enums import EventSource, EventType, JourneySource, NotSentReason
from saleor_personalize.events import favourites
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.definitions import InvalidJourney, load
from saleor_personalize.journeys.versions import known
from saleor_personalize.models import (
    Enrollment,
    Event,
    Installation,
    PriceChange,
    Profile,
    VariantPrice,
)
from tests.conftest import NOW
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
)
from tests.payloads import scenario
from tests.webhooks.deliver import deliver

ALICE = "alice@example.com"


@pytest.fixture
def shop(installation: Installation, settings: Any) -> Iterator[Shop]:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "FREQUENCY_CAPS": {"*": None},
        "PRODUCT_URL": "https://store.test/{channel}/{slug}",
    }
    mail.outbox = []
    made = Shop(installation)
    made.now = NOW - 40 * DAY
    made.price("100")
    made.price("110", slug=US)
    made.now = NOW
    made.stock(9)
    made.stock(9, slug=US)
    made.go_live("price_drop")
    return made


def look(shop: Shop, profile: Profile, *, slug: str = EU, variant: str = "") -> None:
    Event.objects.create(
        installation=shop.installation,
        profile=profile,
        event_id=f"{profile.pk}-{shop.now}-{slug}-{variant}",
        type=EventType.PRODUCT_VIEWED,
        occurred_at=shop.now,
        received_at=shop.now,
        source=EventSource.STOREFRONT,
        channel_slug=slug,
        product_saleor_id=PRODUCT,
        properties={"variant_id": variant} if variant else {},
    )


def drop(shop: Shop, amount: str, **where: Any) -> None:
    """A price changes, and enough time passes to say so."""
    shop.now += HOUR
    shop.price(amount, **where)
    shop.pass_by(10 * MINUTE)
    shop.pass_by(HOUR)


def reasons(shop: Shop) -> list[str]:
    return list(
        Enrollment.objects.of(shop.installation)
        .order_by("pk")
        .values_list("exit_reason", flat=True)
    )


# -- the history ------------------------------------------------------------------------------------


def test_b53_recorded_prices_make_one_row_for_each_change(installation: Installation) -> None:
    """Trap 4: under a promotion 20 -> 30 is 18 -> 27; the same deliveries again change nothing."""
    rows = scenario("price_under_promotion")
    deliver(installation, rows, now=NOW)
    first = list(PriceChange.objects.order_by("pk").values_list("price", flat=True))
    assert first[-1] == 27
    assert all(before != after for before, after in itertools.pairwise(first))
    deliver(installation, rows, now=NOW)
    assert list(PriceChange.objects.order_by("pk").values_list("price", flat=True)) == first


def test_b53_a_change_of_something_else_makes_no_row(shop: Shop) -> None:
    before = PriceChange.objects.count()
    shop.now += HOUR
    shop.price("100")
    VariantPrice.objects.filter(channel_slug=EU).update(cost_price=3)
    shop.price("100")
    assert PriceChange.objects.count() == before


def test_b53_the_lowest_price_of_the_thirty_days_before(shop: Shop) -> None:
    for days, amount in ((-31, "70"), (-20, "95"), (-10, "105"), (-1, "90")):
        shop.now = NOW + days * DAY
        shop.price(amount)
    price = prices.price_of(installation=shop.installation, variant_id=VARIANT, channel_slug=EU)
    # 70 held until twenty days ago, so within the thirty days before the reduction of yesterday.
    assert price == prices.Price(Decimal(90), "EUR", NOW - DAY, Decimal(70))


def test_b53_old_changes_go_but_what_holds_stays(shop: Shop, settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "PRICE_HISTORY_RETENTION": 60 * DAY,
    }
    for days, amount in ((20, "90"), (100, "80")):
        shop.now = NOW + days * DAY
        shop.price(amount)
    assert prices.purge(now=NOW + 120 * DAY) == 1
    left = PriceChange.objects.filter(channel_slug=EU).order_by("changed_at")
    assert list(left.values_list("price", flat=True)) == [90, 80]


# -- who is told ----------------------------------------------------------------------------------------


def test_b53_a_lower_price_than_when_they_looked_is_told_once(shop: Shop) -> None:
    look(shop, shop.person(ALICE))
    drop(shop, "80")
    assert shop.told() == [ALICE]
    (message,) = mail.outbox
    assert message.subject == "Socks costs less now"
    assert "80.00\xa0EUR, before 100.00\xa0EUR" in message.body
    assert "Lowest price of the 30 days before: 100.00\xa0EUR" in message.body
    # Up and down again is no news, and neither is looking in between.
    for amount in ("100", "80", "79"):
        drop(shop, amount)
        look(shop, shop.person(ALICE))
        shop.now += 2 * DAY
    assert shop.told() == [ALICE]
    drop(shop, "60")
    shop.pass_by(4 * DAY)
    assert shop.told() == [ALICE, ALICE]


@pytest.mark.parametrize("way", ["favourite", "favourite of the variant", "cart", "sign-up"])
def test_b53_every_sign_of_interest_counts(shop: Shop, way: str) -> None:
    profile = shop.person(ALICE)
    if way == "cart":
        shop.cart(profile)
    elif way == "sign-up":
        shop.stock(0)
        shop.sign_up(ALICE)
        shop.now += MINUTE
        shop.stock(4)
    else:
        favourites.add(
            profile=profile,
            product_id=PRODUCT,
            variant_id=VARIANT if way.endswith("variant") else "",
            channel_slug=EU,
            now=shop.now,
        )
    drop(shop, "80")
    assert shop.told() == [ALICE]


def test_b53_another_variant_channel_or_a_small_step_is_no_news(shop: Shop) -> None:
    look(shop, shop.person(ALICE), variant=OTHER)
    look(shop, shop.person("bob@example.com"), slug=US)
    look(shop, shop.person("carol@example.com"))
    drop(shop, "80")
    assert shop.told() == ["carol@example.com"]
    drop(shop, "106", slug=US)
    assert shop.told() == ["carol@example.com"]


def test_b53_an_amount_in_its_currency_is_enough() -> None:
    from saleor_personalize.journeys.triggers.price_drop import Options

    options = Options(percent=Decimal(50), amounts=("5 EUR", "20 PLN"))
    assert options.is_drop(Decimal(100), Decimal(95), "EUR")
    assert not options.is_drop(Decimal(100), Decimal(95), "PLN")
    assert not options.is_drop(Decimal(100), Decimal("95.01"), "EUR")
    assert options.is_drop(Decimal(10), Decimal(5), "USD")
    assert not options.is_drop(Decimal(5), Decimal(10), "EUR")
    for bad in ({"percent": Decimal(0)}, {"amounts": ("5",)}, {"expires": timedelta(0)}):
        with pytest.raises(ValueError, match=r"must|takes"):
            Options(**bad)  # type: ignore[arg-type]


def test_b53_a_definition_with_a_wrong_amount_is_refused() -> None:
    text = (
        "journey: x\ntopic: offers\ntrigger: {type: price_drop, amounts: [five]}\n"
        "steps:\n  - message: {id: a, template: price_drop}\n"
    )
    with pytest.raises(InvalidJourney, match="amounts"):
        load(text, known=known())


def test_b53_whoever_has_to_wait_for_their_turn_is_told_after_all(
    shop: Shop, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "PACE": {"email": (1, HOUR)}}
    for address in (ALICE, "bob@example.com"):
        look(shop, shop.person(address))
    drop(shop, "80")
    assert len(mail.outbox) == 1
    assert set(Enrollment.objects.values_list("status", "held_by")) == {
        ("done", ""),
        ("waiting", NotSentReason.THROTTLED),
    }
    shop.pass_by(HOUR)
    shop.pass_by(HOUR)
    assert sorted(shop.told()) == [ALICE, "bob@example.com"]


def test_b53_a_second_message_tells_it_again_while_it_holds(shop: Shop) -> None:
    text = """
        journey: price_drop
        topic: offers
        priority: 50
        trigger: {type: price_drop, after: 1 hour, expires: 10 days}
        steps:
          - message: {id: first, template: price_drop}
          - wait: {for: 2 days}
          - message: {id: again, template: price_drop}
    """
    journeys.publish(
        installation=shop.installation,
        definition=load(textwrap.dedent(text), known=known()),
        source=JourneySource.FILE,
        now=shop.now,
    )
    people = [shop.person(address) for address in (ALICE, "bob@example.com")]
    look(shop, people[0])
    drop(shop, "80")
    assert shop.told() == [ALICE]
    shop.pass_by(2 * DAY)
    assert shop.told() == [ALICE, ALICE]
    look(shop, people[1])
    drop(shop, "70")
    assert shop.told() == [ALICE, ALICE, "bob@example.com"]
    shop.now += DAY
    shop.price("100")
    shop.pass_by(DAY)
    assert shop.told() == [ALICE, ALICE, "bob@example.com"]


def test_b53_raised_first_and_then_reduced_is_no_reduction(shop: Shop) -> None:
    """Omnibus: 130 held for an hour; 100 is what it cost in the last 30 days."""
    shop.now += HOUR
    shop.price("130")
    shop.now += HOUR
    look(shop, shop.person(ALICE))
    drop(shop, "100")
    drop(shop, "99.5")
    assert shop.told() == []
    drop(shop, "90")
    (message,) = mail.outbox
    assert "90.00\xa0EUR, before 99.50\xa0EUR" in message.body
    assert "130" not in message.body


def test_b53_up_again_before_it_was_told(shop: Shop) -> None:
    look(shop, shop.person(ALICE))
    shop.now += HOUR
    shop.price("80")
    shop.pass_by(10 * MINUTE)
    shop.price("100")
    shop.pass_by(HOUR)
    assert (shop.told(), reasons(shop)) == ([], [NotSentReason.PRICE_ROSE])


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        ("dearer", NotSentReason.PRICE_ROSE),
        ("sold out", NotSentReason.SOLD_OUT),
        ("bought", NotSentReason.ORDERED),
    ],
)
def test_b53_saleor_has_the_last_word(shop: Shop, world: str, reason: NotSentReason) -> None:
    look(shop, shop.person(ALICE))
    if world == "dearer":
        shop.prices[VARIANT, EU] = Decimal(100)
    elif world == "sold out":
        shop.pieces[VARIANT, EU] = 0
    else:
        shop.bought.add(ALICE)
    drop(shop, "80")
    assert (shop.told(), reasons(shop)) == ([], [reason])


def test_b53_who_bought_it_is_not_told_what_they_could_have_saved(shop: Shop) -> None:
    look(shop, shop.person(ALICE))
    shop.now += HOUR
    shop.order(ALICE, variant=OTHER)
    drop(shop, "50")
    assert shop.told() == []


def test_b53_who_allowed_no_offers_is_not_written_to(shop: Shop) -> None:
    look(shop, shop.person(ALICE, topic="stock_alerts"))
    drop(shop, "50")
    assert shop.told() == []
