"""B63: a dry run on live data, and the volume of the next seven days; nothing is written or sent."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import InternalError, connection

from saleor_personalize import signals
from saleor_personalize.enums import ConsentState
from saleor_personalize.events import operations as events
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.apart import apart
from saleor_personalize.journeys.forecast import forecast
from saleor_personalize.models import (
    Checkout,
    Consent,
    Installation,
    Journey,
    Profile,
    SalesChannel,
)
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.reminders import checkout_data, order_data

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables of the app, as they are."""
    found = {}
    with connection.cursor() as cursor:
        for model in apps.get_app_config("saleor_personalize").get_models():
            table = model._meta.db_table
            cursor.execute(f'SELECT t::text FROM "{table}" t ORDER BY 1')  # noqa: S608 (our tables)
            found[table] = cursor.fetchall()
    return found


def person(shop: Installation, name: str, *, agrees: bool = True, **traits: Any) -> Profile:
    profile = make_profile(shop, email=f"{name}@example.com")
    Profile.objects.filter(pk=profile.pk).update(traits=traits)
    if agrees:
        line = make_consent(profile, ConsentState.GRANTED)
        Consent.objects.filter(pk=line.pk).update(recorded_at=NOW - 60 * DAY)
    return profile


def cart(shop: Installation, name: str, at: datetime) -> Checkout:
    data = checkout_data(f"cart-{name}", email=f"{name}@example.com", at=at)
    (found,) = events.record_checkouts(installation=shop, data=[data], now=at)
    return found.row


def order(shop: Installation, name: str, at: datetime) -> None:
    data = order_data(
        f"order-{name}", email=f"{name}@example.com", checkout_id=f"cart-{name}", at=at
    )
    events.record_orders(installation=shop, data=[data], now=at)


@pytest.fixture
def shop(installation: Installation) -> Installation:
    """The last week: four carts. Ann came to nothing, Ben bought after an hour and a half, Cat at once,
    Dan allows nothing."""
    SalesChannel.objects.create(
        installation=installation,
        saleor_id="Q2g6MQ==",
        slug="default-channel",
        currency="USD",
    )
    installation.permissions = [*installation.permissions, "MANAGE_DISCOUNTS"]
    installation.save()
    for name in ("ann", "ben", "cat"):
        person(installation, name)
    person(installation, "dan", agrees=False)
    cart(installation, "ann", NOW - 5 * DAY)
    cart(installation, "ben", NOW - 4 * DAY)
    order(installation, "ben", NOW - 4 * DAY + 1.5 * HOUR)
    cart(installation, "cat", NOW - 3 * DAY)
    order(installation, "cat", NOW - 3 * DAY + HOUR / 2)
    cart(installation, "dan", NOW - 2 * DAY)
    return installation


def reminder() -> Any:
    return journeys.built_in()["abandoned_checkout"]


@pytest.mark.django_db
def test_b63_the_last_days_say_what_would_have_been_sent_and_why_not(shop: Installation) -> None:
    """An order counts from its moment: Ben had his reminder before it, Cat did not."""
    found = forecast(installation=shop, definition=reminder(), now=NOW)
    days = [(day.entered, dict(day.sent), dict(day.not_sent)) for day in found.past]
    assert days == [
        (0, {}, {}),
        (0, {}, {}),
        (1, {"first": 1}, {}),
        (1, {"second": 1, "first": 1}, {"ordered": 1}),
        (1, {}, {"ordered": 1}),
        (1, {}, {"no_consent": 1}),
        (0, {}, {}),
    ]
    assert found.past[0].begin == NOW - 7 * DAY
    assert (found.is_live, found.waiting, found.one_in, found.is_foreseen) == (False, 0, 1, False)


@pytest.mark.django_db
def test_b63_what_is_new_in_the_next_days_is_as_it_was_in_the_last(shop: Installation) -> None:
    found = forecast(installation=shop, definition=reminder(), now=NOW, days=2)
    assert len(found.past) == 2
    assert [day.begin for day in found.coming] == [NOW + number * DAY for number in range(7)]
    assert sum(day.entered for day in found.coming) == 4
    assert sum(sum(day.sent.values()) for day in found.coming) == 3


@pytest.mark.django_db
def test_b63_who_is_inside_goes_on_and_who_comes_by_time_is_foreseen(shop: Installation) -> None:
    journey = journeys.ensure_journey(installation=shop, key="abandoned_checkout")
    journeys.go_live(journey=journey, now=NOW - 10 * DAY)
    person(shop, "fay")
    journeys.follow_checkout(checkout=cart(shop, "fay", NOW - HOUR / 2), now=NOW)
    person(shop, "eve", birthday="03-05")
    reminders = forecast(installation=shop, definition=reminder(), now=NOW)
    assert (reminders.is_live, reminders.waiting) == (True, 1)
    # Fay hears at half past twelve and 23 hours later; a week ago nobody came in on that day.
    assert dict(reminders.coming[0].sent) == {"first": 1, "second": 1}
    birthdays = forecast(installation=shop, definition=journeys.built_in()["birthday"], now=NOW)
    assert birthdays.is_foreseen
    # 5 March, at 9 in UTC: the third day from noon of the 2nd.
    assert [(day.entered, dict(day.sent), day.offers) for day in birthdays.coming] == [
        (0, {}, 0),
        (0, {}, 0),
        (1, {"wishes": 1}, 1),
        *[(0, {}, 0)] * 4,
    ]
    # Ten percent of the average order of 60.
    assert birthdays.worst_cost == {"USD": Decimal("6.00")}


@pytest.mark.django_db(transaction=True)
def test_b63_nothing_is_written_sent_or_told(shop: Installation) -> None:
    journey = journeys.ensure_journey(installation=shop, key="abandoned_checkout")
    journeys.go_live(journey=journey, now=NOW - 10 * DAY)
    person(shop, "fay")
    journeys.follow_checkout(checkout=cart(shop, "fay", NOW - HOUR / 2), now=NOW)
    told: list[object] = []

    def hear(**named: object) -> None:
        told.append(named)

    signals.message_sent.connect(hear)
    signals.message_not_sent.connect(hear)
    before = everything()
    try:
        found = forecast(installation=shop, definition=reminder(), now=NOW)
    finally:
        signals.message_sent.disconnect(hear)
        signals.message_not_sent.disconnect(hear)
    assert sum(sum(day.sent.values()) for day in (*found.past, *found.coming)) > 3
    assert everything() == before
    assert len(before["saleor_personalize_enrollment"]) == 1
    assert before["saleor_personalize_message"] == []
    assert (told, mail.outbox) == ([], [])
    # The next request on this connection writes as ever.
    Installation.objects.filter(pk=shop.pk).update(sender="shop@example.com")


@pytest.mark.django_db(transaction=True)
def test_b63_postgresql_itself_refuses_whatever_would_be_written(shop: Installation) -> None:
    def write() -> None:
        with apart(installation=shop, now=NOW):
            assert Journey.objects.of(shop).update(is_live=True) == 1
            Profile.objects.of(shop).update(country_code="XX")

    journey = journeys.ensure_journey(installation=shop, key="birthday")
    with pytest.raises(InternalError, match="read-only"):
        write()
    journey.refresh_from_db()
    assert not journey.is_live
    assert not Profile.objects.filter(country_code="XX").exists()


@pytest.mark.django_db
def test_b63_of_many_people_a_share_is_looked_at(shop: Installation) -> None:
    for number in range(40):
        cart(shop, f"more-{number}", NOW - 2 * DAY)
    found = forecast(installation=shop, definition=reminder(), now=NOW, most=11)
    assert found.one_in == 4
    entered = sum(day.entered for day in found.past)
    assert entered % 4 == 0
    assert 0 < entered < 120


@pytest.mark.django_db
@time_machine.travel(NOW, tick=False)
def test_b63_from_a_terminal_for_a_journey_and_for_a_file(
    shop: Installation, tmp_path: Path
) -> None:
    out = StringIO()
    call_command("personalize_journeys", "dry-run", "abandoned_checkout", "--days", "5", stdout=out)
    text = out.getvalue()
    assert text.startswith("abandoned_checkout (not live, 0 inside). Nothing is sent.")
    assert "The last 5 days" in text
    assert "  no_consent: No permission for this kind of message" in text
    file = tmp_path / "mine.yaml"
    file.write_text(
        "journey: mine\ntopic: reminders\ntrigger: {type: abandoned_checkout, after: 2 hours}\n"
        "steps:\n- message: {id: only, template: abandoned_checkout}\n"
    )
    out = StringIO()
    call_command("personalize_journeys", "dry-run", str(file), "--json", stdout=out)
    (told,) = json.loads(out.getvalue())
    # After two hours Ben had ordered as well.
    assert [day["sent"] for day in told["past"] if day["sent"]] == [{"only": 1}]
    assert not Journey.objects.filter(key="mine").exists()


@pytest.mark.django_db
def test_b63_a_journey_that_is_not_there_is_told(shop: Installation, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no journey 'abandonedcheckout'"):
        call_command("personalize_journeys", "dry-run", "abandonedcheckout")
    file = tmp_path / "bad.yaml"
    file.write_text("journey: bad\ntopic: nothing\n")
    with pytest.raises(CommandError, match="topic"):
        call_command("personalize_journeys", "dry-run", str(file))
