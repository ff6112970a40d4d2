"""D6: the box in the shop's checkout. Ticked is a yes, unticked again is a no, and silence is neither."""

from collections.abc import Iterator
from typing import Any

import pytest

from saleor_personalize.enums import ConsentState, MessageStatus, NotSentReason
from saleor_personalize.models import Consent, Installation, Message
from tests.conftest import NOW
from tests.integration.reminders import HOUR, MINUTE, World, checkout_data, mailbox, use_smtp

GUEST = "guest@example.com"
TICKED = {"marketing_opt_in": "true"}
UNTICKED = {"marketing_opt_in": "false"}


@pytest.fixture
def world(installation: Installation, settings: Any) -> Iterator[World]:
    with mailbox() as box:
        use_smtp(settings, box.port)
        made = World(installation, box)
        made.go_live()
        yield made


def ledger() -> list[tuple[str, str]]:
    return list(Consent.objects.order_by("pk").values_list("state", "source"))


@pytest.mark.parametrize("metadata", [UNTICKED, {}], ids=["says no", "says nothing any more"])
def test_d6_a_box_unticked_again_takes_the_yes_back(world: World, metadata: dict[str, str]) -> None:
    world.checkout(email=GUEST, metadata=TICKED)
    world.checkout(email=GUEST, metadata=metadata, updated_at=NOW + MINUTE)
    assert ledger() == [("granted", "checkout"), ("denied", "checkout")]
    world.advance()
    assert world.decision() == (MessageStatus.NOT_SENT, NotSentReason.NO_CONSENT)
    assert world.mails() == []


def test_d6_and_ticked_once_more_it_is_a_yes(world: World) -> None:
    for minute, metadata in enumerate((TICKED, UNTICKED, TICKED)):
        world.checkout(email=GUEST, metadata=metadata, updated_at=NOW + minute * MINUTE)
    assert ledger() == [("granted", "checkout"), ("denied", "checkout"), ("granted", "checkout")]
    world.advance()
    assert [mail["To"] for mail in world.mails()] == [GUEST]


def test_d6_a_box_left_empty_in_another_cart_takes_nothing_back(world: World) -> None:
    world.checkout("checkout-1", email=GUEST, metadata=TICKED)
    world.checkout("checkout-2", email=GUEST, metadata=UNTICKED, at=NOW + MINUTE)
    assert ledger() == [("granted", "checkout")]
    world.advance()
    assert len(world.mails()) == 1


def test_d6_an_old_cart_read_again_says_nothing_new(world: World) -> None:
    """A nightly look at every cart finds the first one ticked still; the second was unticked since."""
    world.checkout("checkout-1", email=GUEST, metadata=TICKED)
    world.checkout("checkout-2", email=GUEST, metadata=TICKED, at=NOW + MINUTE)
    world.checkout("checkout-2", email=GUEST, metadata=UNTICKED, at=NOW + 2 * MINUTE)
    world.record_checkout(checkout_data("checkout-1", email=GUEST, metadata=TICKED))
    assert ledger() == [("granted", "checkout"), ("denied", "checkout")]
    for minutes in (62, 64, 66):
        world.advance(NOW + minutes * MINUTE)
    assert {m.reason for m in Message.objects.all()} == {NotSentReason.NO_CONSENT}
    assert world.mails() == []


def test_d6_an_older_view_that_comes_late_ticks_nothing(world: World) -> None:
    world.checkout(email=GUEST, metadata=TICKED)
    world.checkout(email=GUEST, metadata=UNTICKED, updated_at=NOW + 2 * MINUTE)
    world.checkout(email=GUEST, metadata=TICKED, updated_at=NOW + MINUTE)
    assert ledger() == [("granted", "checkout"), ("denied", "checkout")]


def test_d6_a_yes_from_elsewhere_survives_a_box(world: World) -> None:
    world.checkout(email=GUEST)
    world.allow(GUEST)
    for minute, metadata in enumerate((TICKED, UNTICKED), start=1):
        world.checkout(email=GUEST, metadata=metadata, updated_at=NOW + minute * MINUTE)
    assert ledger() == [("granted", "test")]


def test_d6_a_no_from_elsewhere_survives_a_box(world: World) -> None:
    world.checkout(email=GUEST)
    world.allow(GUEST, ConsentState.DENIED)
    for minute, metadata in enumerate((TICKED, UNTICKED, TICKED), start=1):
        world.checkout(email=GUEST, metadata=metadata, updated_at=NOW + minute * MINUTE)
    assert ledger() == [("denied", "test")]


def test_d6_a_box_ticked_before_the_address_was_typed_counts(world: World) -> None:
    world.checkout(email="", metadata=TICKED)
    assert ledger() == []
    world.checkout(email=GUEST, metadata=TICKED, at=NOW + MINUTE)
    assert ledger() == [("granted", "checkout")]
    world.advance(NOW + MINUTE + HOUR)
    assert [mail["To"] for mail in world.mails()] == [GUEST]
