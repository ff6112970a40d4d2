"""B87: of a message that may have gone somebody may come to know: the provider, or staff. It is never sent again."""

from __future__ import annotations

import json
import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from saleor_personalize.enums import MessageEventKind
from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging import operations, outcomes
from saleor_personalize.messaging.channels.base import OutgoingMessage, SendResult
from saleor_personalize.messaging.channels.email import EmailChannel
from saleor_personalize.models import Installation, Message
from tests.conftest import NOW
from tests.integration.reminders import HOUR, World
from tests.integration.test_dashboard import headers


@pytest.fixture
def lost(world: World) -> Message:
    """A mail whose server hung up with it in hand."""
    world.box.hangs_up_after_data = True
    world.checkout()
    world.advance()
    message = Message.objects.get(status="uncertain")
    world.box.hangs_up_after_data = False
    return message


def output_of(*words: str) -> str:
    out = StringIO()
    call_command("personalize_messages", *words, stdout=out)
    return out.getvalue()


def fate(message: Message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.status, message.reason


@pytest.mark.django_db
@pytest.mark.parametrize(
    "kind", [MessageEventKind.DELIVERED, MessageEventKind.OPENED, MessageEventKind.BOUNCED]
)
def test_b87_what_the_provider_reports_settles_it(lost: Message, kind: MessageEventKind) -> None:
    outcomes.record(message=lost, kind=kind, at=NOW, now=NOW)
    assert fate(lost) == ("sent", "")


@pytest.mark.django_db
def test_b87_staff_see_what_is_open_and_settle_it_by_command(world: World, lost: Message) -> None:
    told = json.loads(output_of("uncertain", "--json"))
    assert [row["id"] for row in told] == [str(lost.public_id)]
    assert "alice" not in json.dumps(told)
    output_of("settle", str(lost.public_id), "--not-sent")
    assert fate(lost) == ("not_sent", "channel_error")
    assert json.loads(output_of("uncertain", "--json")) == []
    with pytest.raises(CommandError, match="ids stand in `saleor-personalize messages uncertain`"):
        output_of("settle", "1", "--sent")
    with pytest.raises(CommandError, match="no uncertain message"):
        output_of("settle", str(lost.public_id), "--sent")
    assert fate(lost) == ("not_sent", "channel_error")
    world.advance(NOW + 5 * HOUR)
    assert len(world.mails()) == 1


@pytest.mark.django_db
def test_b87_staff_settle_it_on_the_page_and_nobody_of_another_shop(
    installation: Installation, other_installation: Installation, world: World, lost: Message
) -> None:
    client, path = Client(), f"/dashboard/sent/{lost.public_id}/settle/"
    overview = client.get("/dashboard/overview/", headers=headers(installation)).content.decode()
    (url,) = re.findall(r'id="message-[^"]+"[^>]* hx-get="([^"]+)"', overview)
    assert path in client.get(url, headers=headers(installation)).content.decode()
    foreign = headers(other_installation)
    assert client.post(path, {"fate": "sent"}, headers=foreign).status_code == 404
    assert client.get(path, headers=headers(installation)).status_code == 405
    assert fate(lost) == ("uncertain", "")
    answer = client.post(path, {"fate": "sent"}, headers=headers(installation))
    assert answer.status_code == 200
    assert path not in answer.content.decode()
    assert fate(lost) == ("sent", "")
    # A second click, or the wrong one after it, changes nothing.
    client.post(path, {"fate": "not_sent"}, headers=headers(installation))
    assert fate(lost) == ("sent", "")
    assert len(world.mails()) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("kind", [MessageEventKind.DELIVERED, MessageEventKind.DEAD_TOKEN])
def test_b87_a_report_that_comes_before_the_lost_answer_settles_it_as_well(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: MessageEventKind
) -> None:
    """The provider took it and says so, while we still wait for its answer."""

    def send(self: EmailChannel, outgoing: OutgoingMessage) -> SendResult:
        message = Message.objects.get(public_id=outgoing.key)
        outcomes.record(message=message, kind=kind, at=NOW, now=NOW)
        Message.objects.filter(pk=message.pk).update(provider_message_id="by-report")
        raise ChannelError("The provider did not answer.", is_ambiguous=True)

    monkeypatch.setattr(EmailChannel, "send", send)
    world.checkout()
    world.advance()
    message = Message.objects.get()
    is_known = kind == MessageEventKind.DELIVERED
    assert message.status == ("sent" if is_known else "uncertain")
    assert message.provider_message_id == "by-report"
    assert bool(message.error) != is_known


@pytest.mark.django_db
def test_b87_what_arrived_is_not_uncertain_because_its_worker_died(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(self: EmailChannel, outgoing: OutgoingMessage) -> SendResult:
        message = Message.objects.get(public_id=outgoing.key)
        kind = MessageEventKind.DELIVERED
        outcomes.record(message=message, kind=kind, at=NOW, now=NOW)
        raise KeyboardInterrupt

    monkeypatch.setattr(EmailChannel, "send", send)
    world.checkout()
    with pytest.raises(KeyboardInterrupt):
        world.advance()
    message = Message.objects.get()
    assert message.status == "handing_over"
    assert operations.settle_interrupted(now=message.decided_at + HOUR) == 1
    assert fate(message) == ("sent", "")
    assert message.error == ""
