"""The page of messages, one message, and what was sent to one person, what not, and why (B95, B97)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from saleor_personalize.enums import (
    AuditAction,
    ConsentState,
    DeliveryChannel,
    MergeProof,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import queries
from saleor_personalize.models import (
    AuditEntry,
    Installation,
    Journey,
    Message,
    MessageCopy,
    MessageEvent,
    Product,
    Profile,
    Suppression,
    email_hash,
)
from saleor_personalize.profiles import merging
from tests.conftest import NOW, make_consent, make_enrollment, make_profile
from tests.integration.reminders import World
from tests.integration.test_dashboard import ALL, headers
from tests.integration.test_journeys_pages import text_of

PAGE = "/dashboard/sent/"
SEEN = ["MANAGE_ORDERS", "MANAGE_CHECKOUTS"]


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


def send(profile: Profile, key: str, **changes: Any) -> Message:
    """Keep a decision as the scheduler does."""
    return Message.objects.create(
        **{
            "installation": profile.installation,
            "idempotency_key": key,
            "profile": profile,
            "journey": journeys.ensure_journey(
                installation=profile.installation, key="abandoned_checkout"
            ),
            "template": "abandoned_checkout",
            "purpose": Purpose.MARKETING,
            "delivery_channel": DeliveryChannel.EMAIL,
            "status": MessageStatus.SENT,
            "decided_at": timezone.now(),
            **changes,
        }
    )


def listed(response: Any) -> list[str]:
    """Return the public ids of the messages on a page, as they are shown."""
    return re.findall(r'id="message-([0-9a-f-]{36})"', response.content.decode())


def ids(*messages: Message) -> list[str]:
    return [str(message.public_id) for message in messages]


# -- the list --------------------------------------------------------------------------------------


def test_b95_messages_are_found_by_what_is_asked(
    client: Client, installation: Installation, alice: Profile, bob: Profile, signed: dict[str, str]
) -> None:
    now = timezone.now()
    welcome = journeys.ensure_journey(installation=installation, key="welcome")
    sent = send(alice, "1", decided_at=now - timedelta(hours=1))
    refused = send(
        bob,
        "2",
        status=MessageStatus.NOT_SENT,
        reason=NotSentReason.NO_CONSENT,
        decided_at=now - timedelta(hours=2),
    )
    push = send(
        alice,
        "3",
        journey=welcome,
        template="welcome",
        delivery_channel=DeliveryChannel.PUSH,
        decided_at=now - timedelta(days=3),
    )
    old = send(alice, "4", decided_at=now - timedelta(days=60))

    def shown(**asked: str) -> list[str]:
        return listed(client.get(PAGE, asked, headers=signed))

    assert shown() == ids(sent, refused, push)
    assert shown(days="90") == ids(sent, refused, push, old)
    assert shown(days="1") == ids(sent, refused)
    assert shown(journey="welcome") == ids(push)
    assert shown(status="not_sent") == ids(refused)
    assert shown(reason="no_consent") == ids(refused)
    assert shown(reason="ordered") == []
    assert shown(over="push") == ids(push)
    assert shown(template="abandoned_checkout", status="sent") == ids(sent)
    # What is unknown counts as not asked.
    assert shown(status="<b>", over="pigeon", days="1e9") == ids(sent, refused, push)
    text = text_of(client.get(PAGE, {"reason": "no_consent"}, headers=signed))
    assert "Cart reminder · The person did not allow e-mails of this kind." in text
    # Whose it is, to those who may see people.
    assert "bob@example.com" in text
    looker = headers(installation, permissions=SEEN, user_permissions=SEEN)
    blind = client.get(PAGE, {"reason": "no_consent"}, headers=looker)
    assert listed(blind) == ids(refused)
    assert "bob@example.com" not in text_of(blind)
    assert "No message is like that." in text_of(
        client.get(PAGE, {"reason": "ordered"}, headers=signed)
    )


def test_b95_older_messages_follow_where_the_page_ends(
    client: Client, alice: Profile, signed: dict[str, str]
) -> None:
    at = timezone.now()  # all at one moment: the key decides
    messages = [send(alice, str(number), decided_at=at) for number in range(60)]
    newest = ids(*reversed(messages))
    response = client.get(PAGE, headers=signed)
    assert listed(response) == newest[:25]
    for end in (50, 60):
        (before,) = re.findall(r'"before": "([^"]+)"', response.content.decode())
        response = client.get(PAGE, {"before": before}, headers=signed)
        assert listed(response) == newest[end - 25 if end == 50 else 50 : end]
    assert "Show older" not in text_of(response)
    # A place that is none begins at the newest.
    assert listed(client.get(PAGE, {"before": "x,9"}, headers=signed)) == newest[:25]


def test_b125_the_list_asks_the_same_however_many_there_are(
    client: Client,
    alice: Profile,
    signed: dict[str, str],
    django_assert_num_queries: Any,
) -> None:
    for number in range(30):
        send(alice, str(number))
    with django_assert_num_queries(5):
        response = client.get(PAGE, {"journey": "abandoned_checkout"}, headers=signed)
    assert len(listed(response)) == 25
    assert len(response.content) < 100_000


def test_b125_what_no_index_tells_is_found_however_far_back_piece_by_piece(
    client: Client, alice: Profile, signed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "LOOKED_THROUGH", 4)
    now = timezone.now()
    push = {2, 9, 10}
    messages = [
        send(
            alice,
            str(number),
            decided_at=now - timedelta(minutes=number),
            delivery_channel=DeliveryChannel.PUSH if number in push else DeliveryChannel.EMAIL,
        )
        for number in range(12)
    ]
    found: list[list[str]] = []
    before = ""
    while True:
        asked = {"over": "push", **({"before": before} if before else {})}
        response = client.get(PAGE, asked, headers=signed)
        found.append(listed(response))
        further = re.findall(r'"before": "([^"]+)"', response.content.decode())
        if not further:
            break
        assert "4 messages were looked through, back to this moment:" in text_of(response)
        assert "Look further back" in text_of(response)
        (before,) = further
    assert found == [ids(messages[2]), [], ids(messages[9], messages[10])]
    # What an index tells is never cut.
    assert "looked through" not in text_of(client.get(PAGE, headers=signed))


def test_b113_another_shops_messages_are_not_found(
    client: Client, dave: Profile, signed: dict[str, str]
) -> None:
    theirs = send(dave, "1")
    assert listed(client.get(PAGE, headers=signed)) == []
    assert client.get(f"{PAGE}{theirs.public_id}/", headers=signed).status_code == 404


def test_b95_an_empty_page_says_what_will_stand_there(
    client: Client, signed: dict[str, str]
) -> None:
    assert "Once a journey is live, each decision shows here" in text_of(
        client.get(PAGE, headers=signed)
    )


# -- one message -----------------------------------------------------------------------------------


def test_b95_one_message_tells_what_was_decided_and_what_became_of_it(
    client: Client, installation: Installation, alice: Profile, signed: dict[str, str]
) -> None:
    Product.objects.create(
        installation=installation, saleor_id="UHJvZHVjdDox", name="Green tea", slug="green-tea",
    )  # fmt: skip
    row = make_enrollment(alice, "cart-1", timezone.now())
    message = send(
        alice,
        "1",
        enrollment=row,
        handed_over_at=timezone.now(),
        content={
            "lines": [{"product_id": "UHJvZHVjdDox", "unit_price": "5"}],
            "timed": "own_hours",
            "chosen": {
                "because": "reacts",
                "ways": [
                    {"delivery_channel": "email", "sent": 9, "seen": 6, "score": 0.6},
                    {
                        "delivery_channel": "push", "sent": 4, "seen": 0, "score": 0.1,
                        "objection": "no_address",
                    },
                ],
            },
        },
    )  # fmt: skip
    at = timezone.now()
    for kind, is_machine in (
        (MessageEventKind.DELIVERED, False),
        (MessageEventKind.OPENED, True),
        (MessageEventKind.CLICKED, False),
    ):
        MessageEvent.objects.create(
            installation=installation, message=message, kind=kind, at=at, recorded_at=at,
            is_machine=is_machine,
        )  # fmt: skip
    text = text_of(client.get(f"{PAGE}{message.public_id}/", headers=signed))
    assert "Cart reminder Sent" in text
    assert "The person is usually there at this hour." in text
    assert "The person reacts to it more than others do." in text
    assert "by e-mail: 6 of 9 looked at" in text
    assert "by push: 0 of 4 looked at · No device of the person takes push." in text
    assert "It was about Green tea" in text
    people, _heading, machines = text.partition("By machines, which count for nothing")
    assert "Delivered" in people
    assert "Clicked" in people
    assert "Opened" not in people
    assert "Opened" in machines
    assert "Whose it is" in text
    assert "Its words are not kept, or no more. E-mails are kept for 30 days" in text
    assert "What it would say now" in text


def test_b101_whose_message_it_is_shows_to_who_may_see_people(
    client: Client, installation: Installation, alice: Profile
) -> None:
    message = send(alice, "1")
    looker = headers(installation, permissions=SEEN, user_permissions=SEEN)
    page = client.get(f"{PAGE}{message.public_id}/", headers=looker)
    assert page.status_code == 200
    assert "Whose it is" not in text_of(page)
    assert "What it said" not in text_of(page)
    assert str(alice.public_id) not in page.content.decode()


def test_b101_the_overview_opens_each_message_and_says_whose_it_is_by_the_same_right(
    client: Client, installation: Installation, alice: Profile, signed: dict[str, str]
) -> None:
    Profile.objects.filter(pk=alice.pk).update(first_name="Alicja")
    message = send(alice, "1")
    looker = headers(installation, permissions=SEEN, user_permissions=SEEN)
    for reader, is_told in ((signed, True), (looker, False)):
        overview = client.get("/dashboard/overview/", headers=reader)
        assert listed(overview) == ids(message)
        assert f'hx-get="{PAGE}{message.public_id}/"' in overview.content.decode()
        assert ("Alicja" in text_of(overview)) is is_told


def test_b95_what_only_has_a_key_shows_in_words(
    client: Client, installation: Installation, alice: Profile, signed: dict[str, str]
) -> None:
    own = Journey.objects.create(installation=installation, key="hello_in_the_shop")
    send(alice, "1", journey=own, template="re_permission")
    page = client.get(PAGE, headers=signed)
    assert '<option value="hello_in_the_shop">Hello in the shop</option>' in page.content.decode()
    assert '<option value="re_permission">Still interested?</option>' in page.content.decode()
    assert "Still interested?" in text_of(page)
    for path in ("/dashboard/journeys/", "/dashboard/previews/"):
        assert "Hello in the shop" in text_of(client.get(path, headers=signed))


def test_b95_a_message_shows_its_words_as_they_went(
    client: Client, installation: Installation, world: World, signed: dict[str, str]
) -> None:
    Profile.objects.update(first_name="Alicja")
    world.checkout()
    world.advance(NOW + timedelta(hours=1))
    message = Message.objects.get(status=MessageStatus.SENT)
    MessageCopy.objects.update(made_at=timezone.now())
    # What came later changes nothing.
    Profile.objects.update(first_name="Another")
    page = f"{PAGE}{message.public_id}/"
    text = text_of(client.get(page, headers=signed))
    said = text.partition("What it said")[2].partition("As it was written")[0]
    assert message.copy.subject in said
    assert "Alicja" in said
    assert "Another" not in said
    # Whoever follows a link of it acts for the person.
    assert "https://" not in said
    looker = headers(installation, permissions=SEEN, user_permissions=SEEN)
    assert "Alicja" not in text_of(client.get(page, headers=looker))
    # One that the provider refused was written, and not sent.
    Message.objects.update(status=MessageStatus.FAILED, reason=NotSentReason.CHANNEL_ERROR)
    refused = text_of(client.get(page, headers=signed))
    assert "Alicja" in refused
    assert "As it was sent" not in refused
    # Nobody reads it longer than it is kept, though the purge has not come by.
    MessageCopy.objects.update(made_at=timezone.now() - timedelta(days=30))
    assert "Alicja" not in text_of(client.get(page, headers=signed))
    MessageCopy.objects.all().delete()
    assert "Its words are not kept" in text_of(client.get(page, headers=signed))


def test_b95_staff_say_what_became_of_one_that_may_have_gone(
    client: Client, installation: Installation, alice: Profile, signed: dict[str, str]
) -> None:
    message = send(alice, "1", status=MessageStatus.UNCERTAIN, handed_over_at=timezone.now())
    settle = f"{PAGE}{message.public_id}/settle/"
    looker = headers(installation, permissions=SEEN[:1], user_permissions=SEEN[:1])
    assert client.post(settle, {"fate": "sent"}, headers=looker).status_code == 403
    message.refresh_from_db()
    assert message.status == MessageStatus.UNCERTAIN
    assert "It was not sent" in text_of(client.get(f"{PAGE}{message.public_id}/", headers=signed))
    page = client.post(settle, {"fate": "sent"}, headers=signed)
    message.refresh_from_db()
    assert message.status == MessageStatus.SENT
    assert "It was not sent" not in text_of(page)
    assert AuditEntry.objects.get().action == AuditAction.MESSAGE_SETTLED


def test_a_message_outlives_its_enrollment_with_its_journey(
    client: Client, alice: Profile, signed: dict[str, str]
) -> None:
    row = make_enrollment(alice, "cart-1", timezone.now())
    message = send(alice, "1", enrollment=row)
    row.delete()
    assert listed(client.get(PAGE, {"journey": "abandoned_checkout"}, headers=signed)) == ids(
        message
    )
    text = text_of(client.get(f"{PAGE}{message.public_id}/", headers=signed))
    assert "Journey “Cart reminder”" in text


# -- the page of a person --------------------------------------------------------------------------


def test_b95_a_persons_page_answers_what_was_sent_what_not_and_why(
    client: Client, installation: Installation, alice: Profile, signed: dict[str, str]
) -> None:
    client.post("/dashboard/journeys/abandoned_checkout/go-live/", headers=signed)
    make_enrollment(alice, "cart-1", timezone.now())
    send(alice, "1")
    send(alice, "2", status=MessageStatus.NOT_SENT, reason=NotSentReason.ORDERED)
    text = text_of(client.get(f"/dashboard/people/{alice.public_id}/", headers=signed))
    written = text.partition("What we sent, what not, and why")[2].partition("Timeline")[0]
    assert "Sent 1 Not sent, with a reason 1" in written
    assert "by e-mail: allowed" in written
    assert "by push: never asked" in written
    assert "What comes next Cart reminder now" in written
    assert "As things stand, it is not sent: Saleor no longer has this cart." in written
    assert "The person has ordered since." in written
    assert "Nothing is planned" not in written


def test_b95_what_a_person_allows_is_what_a_send_goes_by(
    client: Client, alice: Profile, bob: Profile, signed: dict[str, str]
) -> None:
    """A browser that a cart joined with Alice may be written to by her yes; Bob allows one topic."""
    browser = make_profile(alice.installation, anonymous_id="browser-of-a-cart")
    Profile.objects.filter(pk=browser.pk).update(merged_into=alice)
    text = text_of(client.get(f"/dashboard/people/{browser.public_id}/", headers=signed))
    assert "by e-mail: allowed ·" in text
    bob.consents.all().delete()
    line = make_consent(bob, ConsentState.GRANTED)
    line.topic = "reminders"
    line.save()
    text = text_of(client.get(f"/dashboard/people/{bob.public_id}/", headers=signed))
    assert (
        "by e-mail: allowed (Reminders of what you left in your cart or looked at), never asked ("
        in text
    )


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (SuppressionReason.UNSUBSCRIBED, "unsubscribed"),
        (SuppressionReason.HARD_BOUNCE, "nobody is there"),
        (SuppressionReason.SOFT_BOUNCES, "messages kept coming back"),
        (SuppressionReason.COMPLAINT, "marked as spam"),
    ],
)
def test_b95_an_address_that_is_closed_is_not_called_allowed(
    client: Client,
    alice: Profile,
    dave: Profile,
    signed: dict[str, str],
    reason: SuppressionReason,
    told: str,
) -> None:
    """Neither the suppression of another shop nor that of another delivery channel closes it."""
    page = f"/dashboard/people/{alice.public_id}/"
    close(dave, email_hash("alice@example.com"), reason)
    close(alice, email_hash("alice@example.com"), reason, DeliveryChannel.SMS)
    assert "by e-mail: allowed ·" in text_of(client.get(page, headers=signed))
    close(alice, email_hash("alice@example.com"), reason)
    assert f"by e-mail: closed ({told}) ·" in text_of(client.get(page, headers=signed))


def close(
    profile: Profile,
    address_hash: str,
    reason: SuppressionReason,
    delivery_channel: DeliveryChannel = DeliveryChannel.EMAIL,
) -> None:
    Suppression.objects.create(
        installation=profile.installation,
        delivery_channel=delivery_channel,
        address_hash=address_hash,
        reason=reason,
        created_at=timezone.now(),
    )


def test_b95_what_parts_that_a_cart_joined_answer_differently_is_told_of_each(
    client: Client, alice: Profile, signed: dict[str, str]
) -> None:
    """A yes is that of one address: who typed another into the same cart gave none for it."""
    guest = make_profile(alice.installation, email="guest@example.com")
    browser = make_profile(alice.installation, anonymous_id="browser-of-alice")
    for other, proof in ((guest, MergeProof.CHECKOUT), (browser, MergeProof.LOGIN)):
        merging.prove(
            installation=alice.installation,
            first=alice,
            second=other,
            proof=proof,
            now=timezone.now(),
        )
    page = f"/dashboard/people/{alice.public_id}/"
    assert "by e-mail: allowed for one part of the person, never asked for another ·" in text_of(
        client.get(page, headers=signed)
    )
    close(alice, email_hash("guest@example.com"), SuppressionReason.HARD_BOUNCE)
    assert (
        "by e-mail: allowed for one part of the person, closed (nobody is there) for another ·"
        in text_of(client.get(page, headers=signed))
    )
    make_consent(guest, ConsentState.DENIED)
    Suppression.objects.all().delete()
    assert "by e-mail: refused ·" in text_of(client.get(page, headers=signed))


def test_b95_a_person_to_whom_nothing_was_sent(
    client: Client, bob: Profile, installation: Installation
) -> None:
    owner = headers(installation, user_permissions=[*ALL, "MANAGE_APPS"])
    text = text_of(client.get(f"/dashboard/people/{bob.public_id}/", headers=owner))
    assert "Nothing is planned for this person." in text
    assert "Nothing was sent, and nothing was decided against." in text
    assert "by e-mail: refused" in text
