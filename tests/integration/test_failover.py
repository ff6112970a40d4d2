"""B67: a second provider takes over when the first certainly has not got a mail, and never otherwise."""

from collections.abc import Iterator
from typing import Any

import pytest

from saleor_personalize.models import Installation, Message, Profile
from saleor_personalize.testing.stack import free_port
from tests.conftest import NOW
from tests.integration.reminders import HOUR, SMTP, MoodyMailbox, World, mailbox

EMAIL = "saleor_personalize.messaging.channels.email.EmailChannel"


@pytest.fixture
def second() -> Iterator[MoodyMailbox]:
    with mailbox() as box:
        yield box


@pytest.fixture
def world(
    installation: Installation, alice: Profile, second: MoodyMailbox, settings: Any
) -> Iterator[World]:
    """Two real SMTP servers; `world.box` is the first choice."""
    with mailbox() as first:
        use(settings, first.port, second.port)
        made = World(installation, first)
        made.go_live()
        yield made


def use(settings: Any, *ports: int) -> None:
    providers = [
        {"BACKEND": SMTP, "OPTIONS": {"host": "127.0.0.1", "port": port, "timeout": 5}}
        for port in ports
    ]
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CHANNELS": {"email": {"BACKEND": EMAIL, "OPTIONS": {"providers": providers}}},
    }


def outcome(world: World) -> tuple[str, str]:
    world.checkout()
    world.advance()
    message = Message.objects.exclude(idempotency_key__endswith=":second").get()
    return message.status, message.reason


def test_b67_the_first_provider_is_used_while_it_works(world: World, second: MoodyMailbox) -> None:
    assert outcome(world) == ("sent", "")
    assert (len(world.mails()), len(second.messages)) == (1, 0)


def test_b67_the_second_takes_over_when_nobody_listens(
    world: World, second: MoodyMailbox, settings: Any
) -> None:
    use(settings, free_port(), second.port)
    assert outcome(world) == ("sent", "")
    assert (len(world.mails()), len(second.messages)) == (0, 1)
    assert second.messages[0]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize("answer", ["451 greylisted", "421 too busy"])
def test_b67_the_second_takes_over_when_the_first_is_busy(
    world: World, second: MoodyMailbox, answer: str
) -> None:
    world.box.recipient_answer = answer
    assert outcome(world) == ("sent", "")
    assert (len(world.mails()), len(second.messages)) == (0, 1)


def test_b67_what_the_first_may_have_is_never_given_to_the_second(
    world: World, second: MoodyMailbox
) -> None:
    world.box.hangs_up_after_data = True
    assert outcome(world) == ("uncertain", "")
    assert (len(world.mails()), len(second.messages)) == (1, 0)
    world.advance(NOW + 5 * HOUR)
    assert (len(world.mails()), len(second.messages)) == (1, 0)


def test_b67_what_the_first_refuses_for_good_is_not_tried_elsewhere(
    world: World, second: MoodyMailbox
) -> None:
    world.box.recipient_answer = "550 no such user"
    assert outcome(world) == ("failed", "channel_error")
    assert (len(world.mails()), len(second.messages)) == (0, 0)


def test_b67_when_both_are_down_it_is_tried_again_and_goes_once(
    world: World, second: MoodyMailbox, settings: Any
) -> None:
    use(settings, free_port(), free_port())
    assert outcome(world) == ("failed", "channel_error")
    use(settings, free_port(), second.port)
    for hours in range(3, 7):
        world.advance(NOW + hours * HOUR)
    assert (len(world.mails()), len(second.messages)) == (0, 1)
    assert Message.objects.filter(status="sent").count() == 1
