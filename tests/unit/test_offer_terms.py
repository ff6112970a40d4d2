"""B65: what makes an offer, as journeys define it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from saleor_personalize.enums import OfferKind
from saleor_personalize.offers import codes
from saleor_personalize.offers.terms import TermsRefused, of_json, read

WEEK = timedelta(days=7)
BERLIN = ZoneInfo("Europe/Berlin")


def test_b65_terms_survive_being_kept() -> None:
    terms = read(
        {
            "amount": {"EUR": 5, "USD": "5.50"},
            "minimum_spend": {"EUR": 50},
            "categories": ["Q2F0ZWdvcnk6MQ=="],
            "channels": ["eu"],
            "first_order": True,
            "expires": WEEK,
        },
        name="welcome: gift",
    )
    assert (terms.kind, terms.name) == (OfferKind.FIXED, "welcome: gift")
    assert terms.value_in("USD") == Decimal("5.50")
    assert terms.value_in("PLN") is None
    assert of_json(terms.as_json()) == terms


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ({"percent": 10}, ["expires"]),
        ({"expires": WEEK}, ["percent", "percent"]),
        ({"percent": 10, "free_shipping": True, "expires": WEEK}, ["percent"]),
        ({"percent": 101, "expires": WEEK}, ["percent"]),
        ({"percent": "ten", "expires": WEEK}, ["percent"]),
        ({"percent": float("nan"), "expires": WEEK}, ["percent"]),
        ({"percent": 10, "expires": timedelta(minutes=5)}, ["expires"]),
        ({"percent": 10, "expires": timedelta(days=400)}, ["expires"]),
        ({"amount": {"EUR": 0}, "expires": WEEK}, ["amount.EUR"]),
        ({"amount": {"euro": 5}, "expires": WEEK}, ["amount.euro"]),
        ({"amount": 5, "expires": WEEK}, ["amount"]),
        ({"percent": 5, "categories": "tea", "expires": WEEK}, ["categories"]),
        ({"percent": 5, "first_order": "yes", "expires": WEEK}, ["first_order"]),
        ({"percent": 5, "discount": 5, "expires": WEEK}, ["discount"]),
        ({"free_shipping": True, "products": ["x"], "expires": WEEK}, ["free_shipping"]),
    ],
)
def test_b65_terms_that_make_no_offer_name_what_to_mend(
    given: dict[str, Any], faults: list[str]
) -> None:
    with pytest.raises(TermsRefused) as refused:
        read(given)
    assert [key for key, _ in refused.value.faults] == faults


@pytest.mark.parametrize(
    ("expires", "end"),
    [
        (WEEK, datetime(2026, 3, 9, 22, 59, 59, tzinfo=UTC)),
        # The clocks change on 29 March: the day ends an hour earlier in UTC.
        (timedelta(days=28), datetime(2026, 3, 30, 21, 59, 59, tzinfo=UTC)),
        (timedelta(hours=2), datetime(2026, 3, 2, 14, 59, 59, tzinfo=UTC)),
    ],
)
def test_b65_nobody_has_less_time_than_was_promised(expires: timedelta, end: datetime) -> None:
    now = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
    terms = read({"percent": 10, "expires": expires})
    assert terms.ends_at(now, BERLIN) == end
    assert end >= now + expires


def test_b65_codes_are_long_and_can_be_read_out() -> None:
    drawn = {codes.draw() for _ in range(2_000)}
    assert len(drawn) == 2_000
    assert {len(code) for code in drawn} == {19}
    letters = set("".join(drawn)) - {"-"}
    assert letters == set(codes.ALPHABET)
    assert not letters & set("0O1IL5S2Z8BUV")
