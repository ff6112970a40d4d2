"""B1, B2, B9, B10 from a terminal: `saleor-personalize people ...`."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EventSource,
    EventType,
    IdentityKind,
    Purpose,
)
from saleor_personalize.events import operations, tracking
from saleor_personalize.models import Identity, Installation, Merge, Profile, email_hash
from saleor_personalize.profiles import consent
from saleor_personalize.traits import operations as traits
from tests.integration.reminders import checkout_data, order_data

ALICE, PHONE = "VXNlcjox", "phone-0000000000000"
CART = "Q2hlY2tvdXQ6MQ=="


def run(*words: str) -> Any:
    out = io.StringIO()
    call_command("personalize_people", *words, "--json", stdout=out)
    return json.loads(out.getvalue())


@pytest.fixture
def walked(installation: Installation, now: datetime) -> Installation:
    """A view on a phone, its cart, a guest's e-mail on it, a NO, and the order."""

    def view(event_id: str, at: datetime, **shown: str) -> None:
        tracking.track(
            installation=installation,
            shown={IdentityKind(kind): value for kind, value in shown.items()},
            rows=[
                tracking.Row(
                    event_id=event_id,
                    type=EventType.PRODUCT_VIEWED,
                    occurred_at=at,
                    product_id="UHJvZHVjdDox",
                )
            ],
            source=EventSource.STOREFRONT,
            now=now,
        )

    view("seen", now - timedelta(hours=4), anonymous_id=PHONE)
    view("seen-again", now - timedelta(hours=3), anonymous_id=PHONE, checkout=CART)
    operations.record_checkouts(
        installation=installation,
        data=[checkout_data(id=CART, updated_at=now - timedelta(hours=2))],
        now=now - timedelta(hours=2),
    )
    operations.record_orders(
        installation=installation,
        data=[
            order_data(
                checkout_id=CART,
                email=checkout_data().email,
                placed_at=now - timedelta(minutes=30),
            )
        ],
        now=now,
    )
    (merge,) = Merge.objects.exclude(proved_at=None)
    consent.record(
        profile=merge.second,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=ConsentState.DENIED,
        source="test",
        now=now,
    )
    return installation


def test_b1_b10_any_id_of_a_person_shows_all_of_them_in_order(walked: Installation) -> None:
    told = run("show", "--anonymous-id", PHONE)
    assert run("show", "--checkout", CART) == told
    address = checkout_data(id=CART).email
    assert run("show", "--email", address) == told
    phone, guest = told["profiles"]
    assert {"kind": "anonymous_id", "value": PHONE} in phone["ids"]
    assert guest["ids"] == [{"kind": "email", "value": email_hash(address)}]
    assert address not in json.dumps(told)
    assert [(row["kind"], row["what"], row["profile"]) for row in told["timeline"]] == [
        ("event", "product_viewed", phone["id"]),
        ("event", "product_viewed", phone["id"]),
        ("cart", "ordered", guest["id"]),
        ("merge", "checkout", phone["id"]),
        ("cart_closed", "ordered", guest["id"]),
        ("order", "saleor", guest["id"]),
        ("consent", "denied", guest["id"]),
    ]
    (merge,) = told["merges"]
    assert merge["proof"] == "checkout"
    assert merge["why"] == "Both used one checkout that carried no other name"
    assert merge["evidence"] == [{"kind": "checkout", "value": CART}]
    newest = run("show", "--checkout", CART, "--limit", "2")["timeline"]
    assert newest == told["timeline"][-2:]


def test_b2_a_split_gives_both_exactly_their_own_back(walked: Installation) -> None:
    before = run("show", "--anonymous-id", PHONE)
    number = str(before["merges"][0]["merge"])
    assert run("split", number) == {"merge": int(number), "is_apart": True}
    phone = run("show", "--anonymous-id", PHONE)
    guest = run("show", "--email", checkout_data(id=CART).email)
    assert [row["id"] for row in phone["profiles"] + guest["profiles"]] == [
        row["id"] for row in before["profiles"]
    ]
    of_graph = {"merge", "split"}
    facts = [row for row in before["timeline"] if row["kind"] not in of_graph]
    apart = [
        row for side in (phone, guest) for row in side["timeline"] if row["kind"] not in of_graph
    ]
    assert apart == facts
    assert [row["what"] for row in guest["timeline"] if row["kind"] not in of_graph] == [
        "ordered",
        "ordered",
        "saleor",
        "denied",
    ]
    assert phone["merges"][0]["undone_at"]


def test_who_is_not_known_is_told_without_repeating_the_address(installation: Installation) -> None:
    with pytest.raises(CommandError, match=r"^Nobody in this shop is known by this --email\.$"):
        run("show", "--email", "nobody@example.com")
    with pytest.raises(CommandError, match=r"This shop has no merge 1\."):
        run("split", "1")


def test_the_words_for_people(walked: Installation, capsys: Any, tmp_path: Path) -> None:
    call_command("personalize_people", "show", "--anonymous-id", PHONE)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "profiles"
    assert "  at=" in printed[-1]
    assert printed[-1].endswith("purpose=marketing  delivery_channel=email  source=test")
    ids = f"ids=anonymous_id {PHONE}, checkout {CART}"
    assert ids in printed[1] or ids in printed[2]
    assert not any(mark in "".join(printed) for mark in ("{", "'", "+00:00"))
    assert "" not in map(str.strip, printed)


def test_b2_an_account_is_found_by_the_number_that_saleor_shows_too(
    installation: Installation, now: datetime
) -> None:
    profile = Profile.objects.create(installation=installation, first_seen_at=now)
    Identity.objects.create(
        installation=installation,
        profile=profile,
        kind=IdentityKind.SALEOR_USER,
        value=ALICE,
        first_seen_at=now,
    )
    (found,) = run("show", "--user", "1")["profiles"]
    assert found["id"] == str(profile.public_id)
    with pytest.raises(CommandError, match=r"known by this --user\.$"):
        run("show", "--user", "2")


def test_b10_what_is_worked_out_is_shown_with_why_something_is_not(
    walked: Installation, now: datetime
) -> None:
    assert run("show", "--anonymous-id", PHONE)["traits"] == [{}]
    traits.compute(installation=walked, now=now)
    (found,) = run("show", "--anonymous-id", PHONE)["traits"]
    assert (found["stage"], found["order_count"]) == ("new", 1)
    assert found["churn_state"] == found["next_order_state"] == "not_enough_data"
    assert found["churn_risk"] is None


def test_b12_the_command_works_out_everybody_and_tells_why_nothing_is_foretold(
    walked: Installation,
) -> None:
    told = run("compute")
    assert told["people"] == Profile.objects.filter(merged_into=None).count() == 1
    assert [(row["target"], row["is_published"], row["reason"]) for row in told["predictors"]] == [
        ("churn", False, "history"),
        ("next_order", False, "history"),
    ]
    (found,) = run("show", "--anonymous-id", PHONE)["traits"]
    assert found["order_count"] == 1
