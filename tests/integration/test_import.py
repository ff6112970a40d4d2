"""B9: purchases from outside Saleor, through the command that operators type."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EnrollmentStatus,
    IdentityKind,
    ImportStatus,
    MergeProof,
    MessageStatus,
    NotSentReason,
    OrderOrigin,
    Purpose,
)
from saleor_personalize.events import operations as events
from saleor_personalize.ingestion.imports import files
from saleor_personalize.ingestion.imports import operations as imports
from saleor_personalize.models import (
    Consent,
    Identity,
    Import,
    ImportReject,
    Installation,
    Merge,
    Order,
    OrderLine,
    Product,
    ProductVariant,
    Profile,
    email_hash,
)
from saleor_personalize.profiles import consent
from saleor_personalize.recommendations import reading
from tests.catalogue import Catalogue, gid, product_id
from tests.conftest import NOW, make_installation
from tests.integration.reminders import World, mailbox, use_smtp

HEADER = "Order number,Date,E-mail,Loyalty card,SKU,Quantity,Unit price"
ROWS = [
    "S-1,2026-03-01 15:30,alice@example.com,C-7,CASE-3,2,10.00",
    "S-1,2026-03-01 15:30,alice@example.com,C-7,LAMP-6,1,49.90",
    "S-2,2026-03-01 16:00,,,LAMP-6,1,49.90",
]


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def shop(installation: Installation) -> Catalogue:
    return make_shop(installation)


def make_shop(installation: Installation) -> Catalogue:
    made = Catalogue(installation, NOW)
    made.channel("us")
    for number, name, sku in ((3, "Leather case", "CASE-3"), (6, "Desk lamp", "LAMP-6")):
        made.product(number, name)
        ProductVariant.objects.of(installation).filter(product_saleor_id=product_id(number)).update(
            sku=sku
        )
        Product.objects.of(installation).filter(saleor_id=product_id(number)).update(
            slug=name.lower().replace(" ", "-")
        )
    return made


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file: rows of text below a header, or bytes as they are."""

    def write(
        *rows: str, header: str = HEADER, name: str = "orders.csv", content: bytes = b""
    ) -> Path:
        path = tmp_path / name
        path.write_bytes(content or "\n".join([header, *rows, ""]).encode())
        return path

    return write


def run(path: Path, *options: str) -> dict[str, Any]:
    """Import a file by the command line and return what it says about itself."""
    out = io.StringIO()
    call_command(
        "personalize_import", str(path), "--json", *options, stdout=out, stderr=io.StringIO()
    )
    said: dict[str, Any] = json.loads(out.getvalue())
    return said


def counts(said: dict[str, Any]) -> tuple[int, int, int]:
    return said["recorded"], said["unchanged"], said["rejected"]


def everything() -> list[Any]:
    """All that an import can change."""
    models = (Order, OrderLine, Profile, Identity, Merge, Consent)
    return [list(model.objects.order_by("pk").values()) for model in models]


def reasons(path: Path) -> dict[str, tuple[str, str]]:
    """Order number -> (code, reason) of a reject file."""
    with path.open(newline="") as found:
        return {
            row["Order number"]: (row["reject_code"], row["reject_reason"])
            for row in csv.DictReader(found)
        }


# -- what an import brings -----------------------------------------------------------------------------


def test_b9_rows_become_orders_of_the_people_they_name(
    installation: Installation, shop: Catalogue, file: Callable[..., Path], alice: Profile
) -> None:
    assert counts(run(file(*ROWS), "--timezone", "Europe/Warsaw")) == (3, 0, 0)

    first, second = Order.objects.of(installation).order_by("saleor_id")
    assert (first.origin, first.number, first.saleor_id) == (
        OrderOrigin.OFFLINE,
        "S-1",
        "offline:S-1",
    )
    assert first.placed_at == datetime(2026, 3, 1, 14, 30, tzinfo=UTC)
    assert (first.channel_slug, first.currency, first.total) == ("us", "USD", Decimal("69.900"))
    assert first.email_hash == email_hash("alice@example.com")
    assert list(
        first.lines.order_by("pk").values_list(
            "product_saleor_id", "variant_saleor_id", "name", "quantity", "unit_price"
        )
    ) == [
        (product_id(3), gid("ProductVariant", 3), "Leather case", 2, Decimal("10.000")),
        (product_id(6), gid("ProductVariant", 6), "Desk lamp", 1, Decimal("49.900")),
    ]
    # The card is Alice's from now on, since the shop says so.
    assert first.profile is not None
    assert alice in first.profile.person()
    card = Identity.objects.of(installation).get(kind=IdentityKind.EXTERNAL_ID)
    assert (card.value, card.profile_id) == ("C-7", first.profile_id)
    merge = Merge.objects.of(installation).get()
    assert merge.proof == MergeProof.EXTERNAL_ID
    assert merge.undone_at is None
    # A receipt without a name is nobody's, and tells what is bought all the same.
    assert second.profile is None
    learned = reading.interactions(
        installation=installation, channel_slug="us", since=NOW - timedelta(days=9), until=NOW
    )
    assert set(learned.item_id.decode()) == {product_id(3), product_id(6)}


def test_b9_a_second_run_of_the_same_file_changes_nothing(
    installation: Installation, shop: Catalogue, file: Callable[..., Path], alice: Profile
) -> None:
    path = file(
        *ROWS,
        "S-2,2026-03-01 16:00,,,LAMP-6,1,49.90",  # the same thing twice on one receipt
        "S-3,2026-03-02,alice@example.com,,CASE-3,1,10",  # the day only: today
    )
    assert counts(run(path)) == (5, 0, 0)
    before = everything()
    assert Order.objects.get(number="S-2").total == Decimal("99.800")
    assert Order.objects.get(number="S-3").placed_at == NOW
    with time_machine.travel(NOW + timedelta(hours=5), tick=False):
        assert counts(run(path)) == (0, 5, 0)
    assert everything() == before


def test_b9_a_dry_run_counts_and_changes_nothing(
    installation: Installation, shop: Catalogue, file: Callable[..., Path], tmp_path: Path
) -> None:
    path = file(*ROWS, "S-9,gestern,,,CASE-3,1,1")
    before = everything()
    said = run(path, "--dry-run", "--rejects", str(tmp_path / "rejects.csv"))
    assert (counts(said), said["is_dry_run"], said["reasons"]) == ((3, 0, 1), True, {"BAD_DATE": 1})
    assert everything() == before
    assert reasons(tmp_path / "rejects.csv").keys() == {"S-9"}
    # The real run is not taken for the dry one's rest.
    assert counts(run(path)) == (3, 0, 1)
    assert Order.objects.count() == 2


def test_b9_a_corrected_file_corrects_what_was_imported(
    shop: Catalogue, file: Callable[..., Path]
) -> None:
    run(file(*ROWS))
    assert counts(run(file(ROWS[0].replace("10.00", "12.00"), *ROWS[1:]))) == (1, 2, 0)
    assert Order.objects.get(number="S-1").total == Decimal("73.900")
    assert OrderLine.objects.count() == 3


def test_b9_orders_with_a_total_only_and_rows_that_leave_out_what_the_first_says(
    shop: Catalogue, file: Callable[..., Path]
) -> None:
    path = file(
        "1,2026-02-01,a@example.com,80.50,,",
        "2,2026-02-02,b@example.com,30,Desk lamp,20",
        "2,,,,leather-case,10",
        header="order,date,email,total,product,price",
    )
    assert counts(run(path)) == (3, 0, 0)
    assert list(Order.objects.order_by("number").values_list("number", "total")) == [
        ("1", Decimal("80.500")),
        ("2", Decimal("30.000")),
    ]
    assert Order.objects.get(number="1").lines.count() == 0
    assert Order.objects.get(number="2").lines.count() == 2
    assert {o.email_hash for o in Order.objects.all()} == {
        email_hash("a@example.com"),
        email_hash("b@example.com"),
    }


def test_b9_rows_of_an_order_may_lie_apart(shop: Catalogue, file: Callable[..., Path]) -> None:
    between = [f"T-{n},2026-02-01,,,LAMP-6,1,1" for n in range(imports.BATCH)]
    path = file(ROWS[0], *between, ROWS[0], ROWS[1])
    assert counts(run(path)) == (imports.BATCH + 3, 0, 0)
    assert Order.objects.get(number="S-1").total == Decimal("89.900")
    before = everything()
    assert counts(run(path)) == (0, imports.BATCH + 3, 0)
    assert everything() == before


# -- people --------------------------------------------------------------------------------------------


def test_b9_a_card_with_two_addresses_joins_nobody_else(
    installation: Installation,
    shop: Catalogue,
    file: Callable[..., Path],
    alice: Profile,
    bob: Profile,
) -> None:
    """A family shares a card: neither reads what the other did."""
    run(
        file(
            "1,2026-02-01,alice@example.com,C-7,CASE-3,1,1",
            "2,2026-02-02,bob@example.com,C-7,CASE-3,1,1",
            "3,2026-02-03,guest@example.com,C-7,CASE-3,1,1",
            "4,2026-02-04,one@example.com,C-8,CASE-3,1,1",
            "5,2026-02-05,two@example.com,C-8,CASE-3,1,1",
            "6,2026-02-06,two@example.com,C-9,CASE-3,1,1",
            "7,2026-02-07,two@example.com,C-10,CASE-3,1,1",
        )
    )
    assert bob not in alice.person()
    second = Order.objects.get(number="2")
    assert second.email_hash == email_hash("bob@example.com")
    joined = {
        frozenset(
            Identity.objects.filter(profile__in=[merge.first_id, merge.second_id])
            .exclude(kind=IdentityKind.SALEOR_USER)
            .values_list("value", flat=True)
        )
        for merge in Merge.objects.all()
    }
    assert joined == {
        frozenset({email_hash("alice@example.com"), "C-7"}),
        frozenset({email_hash("one@example.com"), "C-8"}),
        frozenset({email_hash("two@example.com"), "C-9"}),
    }


def test_b9_people_were_seen_when_they_bought(
    installation: Installation, shop: Catalogue, file: Callable[..., Path]
) -> None:
    run(
        file(
            "1,2024-05-05 12:00,old@example.com,,CASE-3,1,1",
            "2,2026-02-02 12:00,new@example.com,C-1,CASE-3,1,1",
            "3,2023-01-01 12:00,old@example.com,,CASE-3,1,1",
        )
    )
    seen = {
        one.value: one.profile.first_seen_at for one in Identity.objects.select_related("profile")
    }
    assert seen == {
        email_hash("old@example.com"): datetime(2023, 1, 1, 12, tzinfo=UTC),
        email_hash("new@example.com"): datetime(2026, 2, 2, 12, tzinfo=UTC),
        "C-1": datetime(2026, 2, 2, 12, tzinfo=UTC),
    }


def test_b9_match_says_by_what_people_are_found(
    installation: Installation, shop: Catalogue, file: Callable[..., Path], alice: Profile
) -> None:
    run(file(*ROWS), "--match", "external_id")
    order = Order.objects.get(number="S-1")
    assert order.profile not in alice.person()
    assert order.email_hash == ""


def test_b9_a_saleor_user_is_matched_by_global_id(
    shop: Catalogue, file: Callable[..., Path], alice: Profile
) -> None:
    header = "number,date,saleor_user,sku,price"
    run(file("1,2026-02-01,VXNlcjox,CASE-3,1", header=header))
    order = Order.objects.get()
    assert (order.profile, order.user_saleor_id) == (alice, "VXNlcjox")


def test_b9_a_person_who_was_forgotten_stays_so(
    installation: Installation, shop: Catalogue, file: Callable[..., Path], alice: Profile
) -> None:
    run(file(*ROWS))
    events.forget_customer(
        installation=installation,
        user_id="VXNlcjox",
        email="alice@example.com",
        deleted_at=NOW,
        now=NOW,
    )
    before = everything()
    assert counts(run(file(*ROWS))) == (0, 3, 0)
    assert everything() == before


def test_b9_nothing_of_another_shop_is_read_or_changed(
    installation: Installation, shop: Catalogue, file: Callable[..., Path], dave: Profile
) -> None:
    other = dave.installation
    make_shop(other)
    run(file(*ROWS), "--installation", other.saleor_api_url)
    assert Order.objects.of(installation).count() == 0
    assert Import.objects.of(installation).count() == 0
    run(
        file("S-1,2026-03-01,dave@example.com,,CASE-3,1,5"),
        "--installation",
        installation.saleor_api_url,
    )
    assert Order.objects.of(other).get(number="S-1").total == Decimal("69.900")
    mine = Order.objects.of(installation).get()
    assert mine.profile is not None
    assert mine.profile.installation == installation


# -- consent -------------------------------------------------------------------------------------------


def marketing(address: str) -> ConsentState | None:
    profile = Identity.objects.get(kind=IdentityKind.EMAIL, value=email_hash(address)).profile
    return consent.state(
        profile=profile, purpose=Purpose.MARKETING, delivery_channel=DeliveryChannel.EMAIL
    )


def test_b9_an_imported_yes_never_overrides_a_no(
    installation: Installation, shop: Catalogue, file: Callable[..., Path], bob: Profile
) -> None:
    header = HEADER + ",marketing_opt_in"
    path = file(
        "1,2026-02-01,bob@example.com,,CASE-3,1,1,yes",
        "2,2026-02-01,new@example.com,,CASE-3,1,1,yes",
        "3,2026-02-01,quiet@example.com,,CASE-3,1,1,",
        "4,2026-02-01,never@example.com,,CASE-3,1,1,no",
        "5,2026-02-02,never@example.com,,CASE-3,1,1,yes",
        "6,2026-02-02,odd@example.com,,CASE-3,1,1,perhaps",
        header=header,
    )
    said = run(path)
    assert said["reasons"] == {"BAD_CONSENT": 1}
    assert marketing("bob@example.com") == ConsentState.DENIED
    # Not at once a yes where the law asks for more: then it waits for a confirmation.
    assert marketing("new@example.com") in {ConsentState.GRANTED, ConsentState.PENDING}
    assert marketing("quiet@example.com") is None
    assert marketing("never@example.com") == ConsentState.DENIED
    given = Consent.objects.get(profile__identities__value=email_hash("new@example.com"))
    assert given.source == "import"
    before = everything()
    run(path)
    assert everything() == before


def test_b9_an_older_no_of_a_file_does_not_take_back_a_later_yes(
    shop: Catalogue, file: Callable[..., Path], alice: Profile
) -> None:
    header = HEADER + ",marketing_opt_in"
    run(file("1,2026-02-01,alice@example.com,,CASE-3,1,1,no", header=header))
    assert marketing("alice@example.com") == ConsentState.GRANTED
    with time_machine.travel(NOW + timedelta(days=1), tick=False):
        run(file("2,2026-03-02 12:30,alice@example.com,,CASE-3,1,1,no", header=header))
    assert marketing("alice@example.com") == ConsentState.DENIED


# -- triggers ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by", ["alice@example.com,", ",C-7"], ids=["address", "card"])
def test_b9_a_purchase_in_the_store_stops_the_cart_reminder(
    settings: Any, file: Callable[..., Path], by: str
) -> None:
    installation = make_installation()
    make_shop(installation)
    with mailbox() as box:
        use_smtp(settings, box.port)
        world = World(installation, box)
        world.go_live(NOW - timedelta(days=3))
        run(file("0,2026-01-01,alice@example.com,C-7,CASE-3,1,1"))  # her card was seen before
        world.checkout(at=NOW - timedelta(days=2))
        world.allow("alice@example.com")
        # Only the day is known: yesterday, after the cart of the day before.
        run(file(f"1,2026-03-01,{by},LAMP-6,1,49.90"))
        # At once, as for an order of Saleor, and not when the reminder would be due.
        assert world.decision() == (MessageStatus.NOT_SENT, NotSentReason.ORDERED)
        assert world.enrollment().status == EnrollmentStatus.REACHED
        world.advance()
        assert world.mails() == []


@pytest.mark.django_db(transaction=True)
def test_b9_an_old_purchase_stops_no_reminder(settings: Any, file: Callable[..., Path]) -> None:
    installation = make_installation()
    make_shop(installation)
    with mailbox() as box:
        use_smtp(settings, box.port)
        world = World(installation, box)
        world.go_live()
        world.checkout()
        world.allow("alice@example.com")
        run(file("1,2026-02-27,alice@example.com,,LAMP-6,1,49.90"))
        world.advance()
        assert world.decision()[0] == MessageStatus.SENT
        assert len(world.mails()) == 1


# -- rows that are refused -----------------------------------------------------------------------------

BAD = [
    ("03/04/2026,,CASE-3,1,1", "BAD_DATE", "03/04/2026"),
    (",,CASE-3,1,1", "BAD_DATE", "no date"),
    ("0001-01-01,,CASE-3,1,1", "BAD_DATE", "before 1970"),
    ("2026-03-03,,CASE-3,1,1", "FUTURE_DATE", "2026-03-03"),
    ("2026-03-02 12:11,,CASE-3,1,1", "FUTURE_DATE", "12:11"),
    ("2026-03-01,,CASE-3,1,-5", "NEGATIVE_AMOUNT", "Returns"),
    ("2026-03-01,,CASE-3,1,(5.00)", "NEGATIVE_AMOUNT", "Returns"),
    ("2026-03-01,,CASE-3,1,5.00-", "NEGATIVE_AMOUNT", "Returns"),
    ("2026-03-01,,CASE-3,-1,5", "NEGATIVE_AMOUNT", "quantity"),
    ("2026-03-01,,CASE-3,1.5,5", "BAD_QUANTITY", "1.5"),
    ("2026-03-01,,CASE-3,0,5", "BAD_QUANTITY", "0"),
    ("2026-03-01,,CASE-3,1,abc", "BAD_AMOUNT", "abc"),
    ('2026-03-01,,CASE-3,1,"5,00"', "BAD_AMOUNT", "marks the decimals"),
    ("2026-03-01,,CASE-3,1,NaN", "BAD_AMOUNT", "NaN"),
    ("2026-03-01,,CASE-3,1,1000000000000", "BAD_AMOUNT", "too much"),
    ("2026-03-01,,CASE-3,1,", "AMOUNT_MISSING", "no price"),
    ("2026-03-01,,,1,5", "NOTHING_BOUGHT", "neither"),
    ("2026-03-01,,CASE-4,1,5", "UNKNOWN_PRODUCT", "Did you mean 'CASE-3'?"),
    ("2026-03-01,,case-3,1,5", "UNKNOWN_PRODUCT", "Did you mean 'CASE-3'?"),
    ("2026-03-01,,Leather cse,1,5", "UNKNOWN_PRODUCT", "Did you mean 'Leather case'?"),
    ("2026-03-01,,ZZZ,1,5", "UNKNOWN_PRODUCT", "no product 'ZZZ'"),
    ("2026-03-01,no address,CASE-3,1,5", "BAD_EMAIL", "none"),
    (f"2026-03-01,{'a' * 250}@example.com,CASE-3,1,5", "TOO_LONG", "262 characters"),
    ("2026-03-01,,CASE-3,1", "WRONG_COLUMNS", "5 values, the header names 6"),
    ("2026-03-01,,CASE-3,1,5,6", "WRONG_COLUMNS", "7 values, the header names 6"),
]


@pytest.mark.parametrize(("row", "code", "said"), BAD)
def test_b9_a_bad_row_is_refused_with_a_reason_and_holds_up_no_other(
    shop: Catalogue, file: Callable[..., Path], tmp_path: Path, row: str, code: str, said: str
) -> None:
    path = file(
        "good,2026-03-01,,CASE-3,1,5",
        f"bad,{row}",
        "good-2,2026-03-01,,CASE-3,1,5",
        header="Order number,Date,Email,SKU,Quantity,Unit price",
    )
    rejects = tmp_path / "rejects.csv"
    assert counts(run(path, "--rejects", str(rejects))) == (2, 0, 1)
    ((number, (found, reason)),) = reasons(rejects).items()
    assert (number, found) == ("bad", code)
    assert said in reason
    assert set(Order.objects.values_list("number", flat=True)) == {"good", "good-2"}


def test_b9_other_reasons(shop: Catalogue, file: Callable[..., Path]) -> None:
    header = "number,date,sku,price,currency,channel,line,saleor_user"
    path = file(
        "1,2026-03-01,CASE-3,5,EUR,,1,",
        "2,2026-03-01,CASE-3,5,,pluto,1,",
        "3,2026-03-01,CASE-3,5,,,1,7",
        "4,2026-03-01,CASE-3,5,,,1,",
        "4,2026-03-01,LAMP-6,5,,,1,",
        "5,2026-03-01,CASE-3,5,,,1,",
        "5,2026-02-01,LAMP-6,5,,,2,",
        ",2026-03-01,CASE-3,5,,,1,",
        f"{'9' * 65},2026-03-01,CASE-3,5,,,1,",
        header=header,
    )
    said = run(path)
    assert said["reasons"] == {
        "BAD_USER": 1,
        "DUPLICATE_LINE": 1,
        "NUMBER_MISSING": 1,
        "ORDER_DIFFERS": 1,
        "TOO_LONG": 1,
        "UNKNOWN_CHANNEL": 1,
        "UNKNOWN_CURRENCY": 1,
    }
    assert set(OrderLine.objects.values_list("order__number", "product_saleor_id")) == {
        ("4", product_id(3)),
        ("5", product_id(3)),
    }


def test_b9_a_name_of_two_products_is_not_guessed(
    shop: Catalogue, file: Callable[..., Path]
) -> None:
    shop.product(7, "Desk lamp")
    path = file("1,2026-03-01,Desk lamp,5", header="number,date,product,price")
    assert run(path)["reasons"] == {"AMBIGUOUS_PRODUCT": 1}


def test_b9_products_the_shop_does_not_know_can_be_kept_by_name(
    shop: Catalogue, file: Callable[..., Path]
) -> None:
    assert counts(run(file(ROWS[0], "S-1,,,,OLD-1,1,5"), "--unknown-products", "keep")) == (2, 0, 0)
    line = OrderLine.objects.get(name="OLD-1")
    assert (line.product_saleor_id, line.variant_saleor_id) == ("", "")
    assert Order.objects.get().total == Decimal("25.000")


def test_b9_mended_rejects_can_be_imported_as_they_are(
    shop: Catalogue, file: Callable[..., Path], tmp_path: Path
) -> None:
    rejects = tmp_path / "rejects.csv"
    path = file(*ROWS, 'S-4,2026-03-01,x@example.com,"=1+1;@C-9",CASE-3,1,oops')
    run(path, "--rejects", str(rejects))
    text = rejects.read_text()
    assert "'=1+1" in text, "a spreadsheet would take it for a formula"
    rejects.write_text(text.replace("oops", "7.50"))
    assert counts(run(rejects)) == (1, 0, 0)
    assert Order.objects.get(number="S-4").total == Decimal("7.500")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-7.50", "-7.50"),
        ("+48 123 456", "+48 123 456"),
    ],
)
def test_b9_rejects_hold_no_formula(
    shop: Catalogue, file: Callable[..., Path], tmp_path: Path, written: str, shown: str
) -> None:
    rejects = tmp_path / "rejects.csv"
    header = HEADER + ",=1+1"
    run(
        file(f"S-4,nonsense,x@example.com,,CASE-3,1,1,{written}", header=header),
        "--rejects",
        str(rejects),
    )
    with rejects.open(newline="") as opened:
        names, row = csv.reader(opened)
    assert (names[7], row[7]) == ("'=1+1", shown)


def test_b9_rejects_are_encrypted_in_the_database(
    shop: Catalogue, file: Callable[..., Path]
) -> None:
    run(file("1,secret@example.com,secret@example.com,,CASE-3,1,1"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT t::text FROM saleor_personalize_importreject AS t")
        ((stored,),) = cursor.fetchall()
    assert "secret" not in stored
    assert "BAD_DATE" in stored


# -- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("\ufeffOrder number;Date;Email;Product;Price\r\n1;31.01.2026 09:05;zoe@example.com;Lampe é;1.234,50 €\r\n".encode(), ["--decimal", ","]),
        ("Order number\tDate\tEmail\tProduct\tPrice\n1\t31.01.2026 9:05\tzoe@example.com\tLampe é\t1,234.50\n".encode("latin-1"), ["--encoding", "latin-1"]),
        ("Order number|Date|Email|Product|Price\n1|2026-01-31 09:05:00 +0000|zoe@example.com|Lampe é|$1234.5\n".encode("utf-16"), []),
        ('Order number,Date,Email,Product,Price\n1,01/31/26 09:05,zoe@example.com,"Lampe é","1,234.50"\n'.encode(), ["--date-format", "%m/%d/%y %H:%M"]),
    ],
    ids=["utf-8 with a mark, semicolons", "latin-1, tabs", "utf-16, bars", "quotes, own dates"],
)  # fmt: skip
def test_b9_files_as_programs_write_them(
    shop: Catalogue, file: Callable[..., Path], content: bytes, options: list[str]
) -> None:
    shop.product(9, "Lampe é")
    assert counts(run(file(content=content), *options)) == (1, 0, 0)
    order = Order.objects.get()
    assert order.placed_at == datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
    assert order.total == Decimal("1234.500")
    assert order.lines.get().name == "Lampe é"


def test_b9_a_row_in_another_encoding_loses_no_other(
    shop: Catalogue, file: Callable[..., Path], tmp_path: Path
) -> None:
    content = "\n".join([HEADER, ROWS[0], "X,2026-03-01,zoë@example.com,,CASE-3,1,1", ROWS[2], ""])
    rejects = tmp_path / "rejects.csv"
    said = run(file(content=content.encode("latin-1")), "--rejects", str(rejects))
    assert said["reasons"] == {"ENCODING": 1}
    assert "latin-1" in reasons(rejects)["X"][1]
    assert Order.objects.count() == 2


def test_b9_a_quotation_mark_that_is_never_closed_does_not_swallow_the_file(
    shop: Catalogue, file: Callable[..., Path]
) -> None:
    said = run(file(ROWS[0], 'X,"' + "y" * 200_000, ROWS[2]))
    assert (counts(said), said["reasons"]) == ((2, 0, 1), {"TOO_LONG": 1})


def test_b9_json_lines(shop: Catalogue, file: Callable[..., Path]) -> None:
    path = file(
        '{"order_number": 1, "date": "2026-03-01T10:00:00Z", "sku": "CASE-3", "price": 12.10, "qty": 2}',
        '{"date": "2026-03-01T10:00:00+01:00", "order_number": "2", "sku": "LAMP-6", "price": 5, "x": null}',
        "[1]",
        "{broken",
        '{"order_number": {"a": 1}}',
        '{"order_number": "\\ud800"}',
        header="",
        name="orders.jsonl",
    )
    said = run(path)
    assert counts(said) == (2, 0, 4)
    assert said["reasons"] == {"ENCODING": 1, "NESTED": 1, "NOT_JSON": 2}
    assert Order.objects.get(number="1").total == Decimal("24.200")


def test_b9_parquet(shop: Catalogue, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "orders.parquet"
    parquet.write_table(
        pyarrow.table(
            {
                "order_number": [1, 2],
                "date": [datetime(2026, 3, 1, 10, tzinfo=UTC), datetime(2026, 3, 1, 8, tzinfo=UTC)],
                "sku": ["CASE-3", None],
                "price": [Decimal("10.10"), None],
                "total": [None, 5.5],
            }
        ),
        path,
    )
    assert counts(run(path)) == (2, 0, 0)
    assert Order.objects.get(number="1").placed_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert Order.objects.get(number="2").total == Decimal("5.500")


def test_b9_a_small_parquet_file_is_not_unpacked_into_a_large_memory(
    shop: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text is packed once, however many rows have it: 20 kB can become 40 GB."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    huge = "x" * 2_000_000
    path = tmp_path / "orders.parquet"
    table = pyarrow.table(
        {
            "order_number": ["1", "2", "3", "4"],
            "date": ["2026-03-01", "2026-03-01", None, "2026-03-01"],
            "total": [1, 2, 3, 4],
            "note": [huge, "short", "short", None],
            "tags": [["a"], None, [], ["b", "c"]],
        }
    )
    parquet.write_table(table, path, compression="zstd", store_schema=False)
    said = run(path)
    assert counts(said) == (2, 0, 2)
    assert said["reasons"] == {"TOO_LONG": 1, "BAD_DATE": 1}
    assert set(Order.objects.values_list("number", flat=True)) == {"2", "4"}
    assert Import.objects.get().columns == ["order_number", "date", "total", "note"]
    monkeypatch.setattr(files, "MAX_UNPACKED", 1_000_000)
    with pytest.raises(CommandError, match="too large once it is unpacked"):
        run(path)
    assert Import.objects.count() == 1


def test_b9_parquet_without_its_library_says_what_to_install(
    shop: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "orders.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(CommandError, match=r"saleor-personalize\[parquet\]"):
        run(path)


def test_b9_the_example_is_read_as_it_is(shop: Catalogue) -> None:
    example = Path(__file__).parents[2] / "examples" / "import" / "orders.csv"
    assert counts(run(example, "--unknown-products", "keep")) == (4, 0, 0)
    assert dict(Order.objects.values_list("number", "total")) == {
        "S-1001": Decimal("10.900"),
        "S-1002": Decimal("3.500"),
        "S-1003": Decimal("25.200"),
    }
    assert marketing("ada@example.com") is not None


@pytest.mark.parametrize(
    ("content", "name", "options", "said"),
    [
        (b"", "a.csv", [], "empty"),
        (b"x", "a.xlsx", [], "Files end in"),
        (b"order,date,date\n", "a.csv", [], "date” twice"),
        (b"a,b\n1,2\n", "a.csv", [], "Say which column is number"),
        (b"order,date\n1,2\n", "a.csv", [], "Say which column is product"),
        (b"order,date,sku\n", "a.csv", ["--map", "email=Mail"], "no column “Mail” for email"),
        (b"order,date,sku\n", "a.csv", ["--map", "colour=sku"], "no column of ours"),
        (b"order,date,sku\n", "a.csv", ["--map", "email"], "write OURS=THEIRS"),
        (b"order,date,sku\n", "a.csv", ["--map", "product="], "Say which column is product"),
        (b"order,date,sku\n", "a.csv", ["--timezone", "Mars"], "Europe/Warsaw"),
        (b"order,date,sku\n", "a.csv", ["--currency", "euros"], "three capital letters"),
        (b"order,date,sku\n", "a.csv", ["--channel", "pluto"], "Known: us"),
        (b"order,date,sku\n", "a.csv", ["--match", "phone"], "Known: email"),
        ("order,däte,sku\n".encode("latin-1"), "a.csv", [], "header"),
        (b"PAR1", "a.parquet", [], "Parquet"),
    ],
)  # fmt: skip
def test_b9_a_file_that_cannot_be_used_is_refused_whole(
    shop: Catalogue,
    file: Callable[..., Path],
    content: bytes,
    name: str,
    options: list[str],
    said: str,
) -> None:
    path = file(name=name, content=content or b"\n")
    with pytest.raises(CommandError, match=said.replace("[", r"\[")):
        run(path, *options)
    assert Import.objects.count() == 0


def test_b9_a_file_that_does_not_exist(shop: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        run(tmp_path / "nothing.csv")


def test_b9_rejects_that_cannot_be_written_are_told_before_anything_is_imported(
    shop: Catalogue, file: Callable[..., Path], tmp_path: Path
) -> None:
    path = file("S-1,2026-03-01,a@b.example,,CASE-3,,1,5")
    for rejects in (tmp_path, tmp_path / "nowhere" / "rejects.csv"):
        with pytest.raises(CommandError, match=r"^--rejects: .* cannot be written\."):
            run(path, "--rejects", str(rejects))
    assert not Import.objects.exists()
    assert not Order.objects.exists()


def test_b9_a_file_without_the_needed_columns_is_told_how_to_name_them(
    shop: Catalogue, file: Callable[..., Path]
) -> None:
    with pytest.raises(CommandError, match=r"(?s)^Say which column is number\..*--map OURS=THEIRS"):
        run(file("1", header="Bon"))


def test_b9_the_guessed_mapping_is_shown_before_it_starts(
    shop: Catalogue, file: Callable[..., Path]
) -> None:
    told = io.StringIO()
    path = file(
        "1,2026-03-01,a@b.example,CASE-3,5,blue",
        header="Bestellnummer,Datum,Kunden-Email,Artikelnummer,Einzelpreis,Farbe",
    )
    call_command("personalize_import", str(path), stdout=io.StringIO(), stderr=told)
    assert [line.split() for line in told.getvalue().splitlines()[:6]] == [
        ["number", "<-", "Bestellnummer", "(1)"],
        ["placed_at", "<-", "Datum", "(2026-03-01)"],
        ["email", "<-", "Kunden-Email", "(a@b.example)"],
        ["product", "<-", "Artikelnummer", "(CASE-3)"],
        ["unit_price", "<-", "Einzelpreis", "(5)"],
        ["left", "out:", "Farbe"],
    ]
    assert Order.objects.count() == 1


# -- killed and resumed --------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_b9_a_killed_import_loses_nothing_and_repeats_nothing(file: Callable[..., Path]) -> None:
    installation = make_installation()
    make_shop(installation)
    rows = [f"K-{n},2026-02-01,k{n % 7}@example.com,,CASE-3,1,5" for n in range(3 * imports.BATCH)]
    rows[imports.BATCH + 5] = "K-x,nonsense,,,CASE-3,1,5"
    rows[-1] = rows[0]  # the same line twice, far apart
    path = file(*rows)
    killed = subprocess.run(
        [sys.executable, "-m", "tests.integration.import_worker", str(path)],
        env={**os.environ, "DATABASE_URL": url_of_the_test_database(), "BATCHES": "2"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -9, killed.stderr
    left = Import.objects.get()
    # The third batch was recorded and not committed.
    assert (left.status, left.position) == (ImportStatus.RUNNING, 2 * imports.BATCH)
    assert Order.objects.count() == 2 * imports.BATCH - 1
    assert left.lease_expires_at is not None
    with (
        time_machine.travel(left.lease_expires_at - timedelta(seconds=1), tick=False),
        pytest.raises(CommandError, match="may still run"),
    ):
        run(path)
    with time_machine.travel(left.lease_expires_at + timedelta(seconds=1), tick=False):
        said = run(path)
    assert (said["id"], said["rows"]) == (left.pk, 3 * imports.BATCH)
    assert counts(said) == (3 * imports.BATCH - 1, 0, 1)
    assert Order.objects.count() == 3 * imports.BATCH - 2
    assert Order.objects.get(number="K-0").total == Decimal("10.000")
    assert ImportReject.objects.count() == 1


def url_of_the_test_database() -> str:
    found = connection.settings_dict
    host = found["HOST"]
    if host.startswith("/"):
        return f"postgresql://{found['USER']}:{found['PASSWORD']}@/{found['NAME']}?host={host}"
    port = f":{found['PORT']}" if found["PORT"] else ""
    return f"postgresql://{found['USER']}:{found['PASSWORD']}@{host}{port}/{found['NAME']}"


def test_b9_of_two_processes_only_one_gets_further(
    installation: Installation, shop: Catalogue, file: Callable[..., Path]
) -> None:
    path = file(*ROWS)
    with path.open("rb") as opened:
        found = imports.look_into(opened, name=path.name, options=imports.Options())
        made = imports.request(
            installation=installation, file=opened, name=path.name, mapping=found.mapping,
            options=imports.Options(), is_dry_run=False, now=NOW,
        )  # fmt: skip
        slow = imports.claim_next(now=NOW, import_id=made.pk)
        assert slow is not None
        assert imports.claim_next(now=NOW, import_id=made.pk) is None
        later = NOW + imports.LEASE + timedelta(seconds=1)
        fast = imports.claim_next(now=later, import_id=made.pk)
        assert fast is not None
        assert imports.work(fast, file=opened, clock=lambda: later) == ImportStatus.DONE
        before = everything()
        assert imports.work(slow, file=opened, clock=lambda: later) == ImportStatus.RUNNING
    assert everything() == before
    made.refresh_from_db()
    assert (made.status, made.recorded_count, made.position) == (ImportStatus.DONE, 3, 3)


def test_b9_a_million_rows_need_no_more_memory_than_a_few(tmp_path: Path) -> None:
    """Nothing of a row stays once it was read: measured as the peak of two files, one ten times longer."""
    peaks = []
    for count in (20_000, 200_000):
        path = tmp_path / f"{count}.csv"
        with path.open("w") as made:
            made.write(HEADER + "\n")
            made.writelines(
                f"{n // 3},2026-02-01,a{n // 3}@example.com,,CASE-{n},1,5\n" for n in range(count)
            )
        code = (
            "import resource, sys, django; django.setup()\n"
            "from saleor_personalize.ingestion.imports import files, columns, reading\n"
            "table = files.open_table(open(sys.argv[1], 'rb'), name=sys.argv[1])\n"
            "mapping = columns.guess(table.columns)\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "survey = reading.Survey.of(reading.entries(table, mapping))\n"
            "assert sum(1 for _ in reading.entries(table, mapping)) == survey.row_count\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        peaks.append(int(done.stdout) / 1024)
    # 24 bytes a row and what numpy sorts with: some 100 bytes a row at the most.
    assert peaks[1] - peaks[0] < 180_000 * 150 / 2**20
