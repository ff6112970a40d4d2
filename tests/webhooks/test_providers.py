"""B79: what a provider of e-mail reports stops what must not go any more, at once and in all journeys."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from anymail.signals import tracking as anymail_tracking
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    DeliveryStatus,
    Lane,
    MessageStatus,
    Purpose,
)
from saleor_personalize.exceptions import MalformedPayload
from saleor_personalize.ingestion import deliveries, erasure
from saleor_personalize.messaging import feedback
from saleor_personalize.messaging.channels import tracking
from saleor_personalize.models import (
    Consent,
    Identity,
    Installation,
    Message,
    MessageEvent,
    Profile,
    Suppression,
    WebhookDelivery,
    email_hash,
)
from saleor_personalize.profiles import privacy
from tests.conftest import NOW, make_consent, make_profile

ALICE = "alice@example.com"
#: What a provider says: seconds since 1970, and the same in words.
AT = NOW.timestamp() + 60
AT_TEXT = "2026-03-02T12:01:00Z"

Report = Callable[..., Any]


@pytest.fixture(autouse=True)
def _at() -> Any:
    with time_machine.travel(NOW.replace(hour=13), tick=False):
        yield


def delivered(number: int) -> dict[str, Any]:
    return {
        "RecordType": "Delivery", "MessageID": f"id-{number}", "Recipient": ALICE,
        "DeliveredAt": AT_TEXT, "Metadata": {},
    }  # fmt: skip


def complaint() -> dict[str, Any]:
    return postmark(RecordType="SpamComplaint", Type="SpamComplaint", Details="")


def soft_bounce() -> dict[str, Any]:
    return postmark(Type="SoftBounce", Details="smtp;452 4.2.2 mailbox full")


def test_b79_a_bounce_or_a_complaint_waits_behind_no_report(
    installation: Installation, alice: Profile, report: Report
) -> None:
    sent_to(alice)
    for number in range(20):
        assert report("postmark", delivered(100 + number)).status_code == 200
    assert report("postmark", complaint()).status_code == 200
    assert deliveries.process_waiting(now=timezone.now(), limit=1) == 1
    assert suppressed(installation) == ["complaint"]
    assert process() == 20


def test_b79_in_which_lane_a_report_waits(report: Report) -> None:
    told = [
        ("postmark", postmark(), Lane.URGENT),
        ("postmark", soft_bounce(), Lane.PATIENT),
        ("postmark", delivered(1), Lane.PATIENT),
        ("postmark", {"what": "is this"}, Lane.PATIENT),
        ("sendgrid", told_by_sendgrid("delivered", ALICE), Lane.PATIENT),
        ("sendgrid", [{"what": "is this"}, *told_by_sendgrid("spamreport", ALICE)], Lane.URGENT),
        ("sendgrid", told_by_sendgrid("unsubscribe", ALICE), Lane.URGENT),
    ]
    for provider, body, lane in told:
        report(provider, body)
        assert WebhookDelivery.objects.latest("pk").lane == lane, body


def test_b67_nobody_hears_of_a_report_before_it_is_believed(report: Report) -> None:
    heard: list[Any] = []

    def receiver(**given: Any) -> None:
        heard.append(given["event"])

    anymail_tracking.connect(receiver)
    try:
        report("postmark", postmark())
        assert heard == []
        process()
        assert len(heard) == 1
    finally:
        anymail_tracking.disconnect(receiver)


@pytest.fixture
def report(installation: Installation) -> Report:
    """Post what a provider says: `report("postmark", {...})`."""

    def post(provider: str, body: Any, *, of: Installation = installation, **sent: Any) -> Any:
        webhook = feedback.webhook_of(installation=of, now=NOW)
        path = feedback.webhook_url(webhook=webhook, provider=provider)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        values = {"content_type": "application/json", **sent}
        return Client(enforce_csrf_checks=True).post(
            path.removeprefix("https://personalize.test"), raw, **values
        )

    return post


def process() -> int:
    return deliveries.process_waiting(now=timezone.now())


def sent_to(profile: Profile, number: int = 1, address: str = ALICE) -> Message:
    return Message.objects.create(
        installation=profile.installation,
        idempotency_key=f"test:{number}:{profile.pk}",
        profile=profile,
        template="abandoned_checkout",
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=email_hash(address),
        status=MessageStatus.SENT,
        decided_at=NOW.replace(minute=number),
        handed_over_at=NOW.replace(minute=number),
        provider_message_id=f"id-{number}",
    )


def postmark(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "RecordType": "Bounce",
        "Type": "HardBounce",
        "ID": 42 + number,
        "MessageID": f"id-{number}",
        "Email": ALICE,
        "BouncedAt": AT_TEXT,
        "Details": "smtp;550 5.1.1 The email account does not exist: alice@example.com",
        **changes,
    }


def suppressed(installation: Installation) -> list[str]:
    rows = Suppression.objects.of(installation).filter(address_hash=email_hash(ALICE))
    return [row.reason for row in rows]


def events() -> list[tuple[str, bool, str]]:
    rows = MessageEvent.objects.order_by("pk")
    return list(rows.values_list("kind", "is_machine", "detail"))


def nothing_changed() -> bool:
    return not (
        Suppression.objects.exists()
        or MessageEvent.objects.exists()
        or Consent.objects.filter(state=ConsentState.DENIED).exists()
    )


# -- stored before it is believed ---------------------------------------------------------------------


def test_b79_a_hard_bounce_is_stored_then_stops_the_address(
    alice: Profile, installation: Installation, report: Report, sent_tasks: list[str],
    run_on_commit: Any,
) -> None:  # fmt: skip
    message = sent_to(alice)
    with run_on_commit():
        assert report("postmark", postmark()).status_code == 200
    # A worker is called at once; beat would look after five seconds.
    assert sent_tasks == ["personalize.process_deliveries"]
    assert nothing_changed()
    delivery = WebhookDelivery.objects.get()
    assert (delivery.event, delivery.status) == ("provider_postmark", DeliveryStatus.RECEIVED)
    assert json.loads(bytes(delivery.body)) == postmark()

    assert process() == 1
    assert suppressed(installation) == ["hard_bounce"]
    event = MessageEvent.objects.get()
    assert (event.message, event.kind, event.detail) == (message, "bounced", "5.1.1")
    assert event.at.isoformat() == "2026-03-02T12:01:00+00:00"
    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.PROCESSED
    assert "alice" not in delivery.error


def test_b79_what_is_told_twice_counts_once(
    alice: Profile, installation: Installation, report: Report
) -> None:
    sent_to(alice)
    report("postmark", postmark())
    report("postmark", postmark())
    # The same event in another body.
    report("postmark", postmark(Note="again"))
    assert process() == 2
    assert len(events()) == 1
    assert suppressed(installation) == ["hard_bounce"]


def test_b79_an_address_that_we_never_wrote_to_is_stopped_as_well(
    installation: Installation, report: Report
) -> None:
    report("postmark", postmark(99))
    process()
    assert suppressed(installation) == ["hard_bounce"]
    assert events() == []


def test_b79_only_the_shop_whose_provider_it_is_stops(
    alice: Profile, installation: Installation, other_installation: Installation, report: Report
) -> None:
    elsewhere = make_profile(other_installation, email=ALICE)
    make_consent(elsewhere, ConsentState.GRANTED)
    sent_to(elsewhere)
    report("postmark", postmark(), of=installation)
    process()
    assert suppressed(installation) == ["hard_bounce"]
    assert suppressed(other_installation) == []
    assert events() == []


# -- for good and for now -----------------------------------------------------------------------------


def soft(number: int) -> dict[str, Any]:
    return postmark(number, Type="SoftBounce", Details="smtp;452 4.2.2 mailbox full")


def test_b79_soft_bounces_are_kept_apart_until_several_in_a_row(
    alice: Profile, installation: Installation, report: Report, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "SOFT_BOUNCES": 3}
    for number in (1, 2, 3, 4, 5):
        sent_to(alice, number)
    report("postmark", soft(1))
    report("postmark", soft(2))
    report("postmark", soft(4))
    report("postmark", soft(5))
    process()
    assert events() == [("bounced", False, "4.2.2")] * 4
    # The third one arrived.
    assert suppressed(installation) == []
    sent_to(alice, 6)
    report("postmark", soft(6))
    process()
    assert suppressed(installation) == ["soft_bounces"]


def test_b79_soft_bounces_of_one_message_are_one(
    alice: Profile, installation: Installation, report: Report, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "SOFT_BOUNCES": 2}
    sent_to(alice)
    for number in range(4):
        report("postmark", {**soft(1), "ID": number})
    process()
    assert len(events()) == 4
    assert suppressed(installation) == []


def test_b79_soft_bounces_never_stop_an_address_where_the_shop_says_so(
    alice: Profile, installation: Installation, report: Report, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "SOFT_BOUNCES": 0}
    sent_to(alice)
    report("postmark", soft(1))
    process()
    assert suppressed(installation) == []


SES = {"mail": {"messageId": "id-1", "destination": [ALICE], "headers": []}}
#: What providers write of a bounce: for good (True) or for now.
BOUNCES: list[tuple[str, Any, bool]] = [
    ("postmark", postmark(), True),
    ("postmark", soft(1), False),
    ("postmark", postmark(Type="VirusNotification"), False),
    ("postmark", postmark(Type="BadEmailAddress", Details=""), True),
    ("sendgrid", [{"event": "bounce", "type": "bounce", "email": ALICE, "timestamp": AT,
                   "reason": "550 5.1.1 unknown"}], True),
    ("sendgrid", [{"event": "bounce", "type": "blocked", "email": ALICE, "timestamp": AT,
                   "reason": "550 5.7.1 blocked"}], False),
    ("sendgrid", [{"event": "dropped", "reason": "Bounced Address", "email": ALICE,
                   "timestamp": AT}], True),
    ("brevo", {"event": "hard_bounce", "email": ALICE, "ts_epoch": AT * 1000}, True),
    ("brevo", {"event": "soft_bounce", "email": ALICE, "ts_epoch": AT * 1000}, False),
    ("mailjet", [{"event": "bounce", "hard_bounce": True, "email": ALICE, "time": AT,
                  "error": "user unknown"}], True),
    ("mailjet", [{"event": "bounce", "hard_bounce": False, "email": ALICE, "time": AT,
                  "error": "mailbox full"}], False),
    ("sparkpost", [{"msys": {"message_event": {"type": "bounce", "bounce_class": "10",
                    "timestamp": str(int(AT)), "raw_rcpt_to": ALICE}}}], True),
    ("sparkpost", [{"msys": {"message_event": {"type": "bounce", "bounce_class": "22",
                    "timestamp": str(int(AT)), "raw_rcpt_to": ALICE}}}], False),
    # No complaint of the person: the receiving server thought that it was spam.
    ("sparkpost", [{"msys": {"message_event": {"type": "bounce", "bounce_class": "51",
                    "timestamp": str(int(AT)), "raw_rcpt_to": ALICE}}}], False),
    ("mailtrap", {"events": [{"event": "bounce", "email": ALICE, "timestamp": int(AT),
                  "message_id": "x", "response": "550 5.1.1 no such user"}]}, True),
    ("mailtrap", {"events": [{"event": "bounce", "email": ALICE, "timestamp": int(AT),
                  "message_id": "x", "response": "550 5.7.26 not authenticated"}]}, False),
    ("resend", {"type": "email.bounced", "created_at": AT_TEXT, "data": {"to": [ALICE],
                "bounce": {"message": "sent a hard bounce message", "type": "Permanent"}}}, True),
    ("resend", {"type": "email.bounced", "created_at": AT_TEXT, "data": {"to": [ALICE],
                "bounce": {"message": "sent a general bounce message",
                           "type": "Transient"}}}, False),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "body", "is_hard"), BOUNCES)
def test_b79_a_dead_address_is_told_from_a_full_one(
    provider: str, body: Any, is_hard: bool
) -> None:
    raw = json.dumps(body).encode()
    [told] = tracking.read(provider, body=raw, content_type="application/json").told
    assert (told.kind, told.recipient, told.is_hard) == ("bounced", ALICE, is_hard)
    assert "@" not in told.detail


@pytest.mark.parametrize(
    "body",
    [
        [{"event": "processed", "email": ALICE, "timestamp": AT}],
        [{"event": "deferred", "email": ALICE, "timestamp": AT, "response": "451 4.7.1 wait"}],
        [{"event": "group_resubscribe", "email": ALICE, "timestamp": AT}],
        [{"event": "something new", "email": ALICE, "timestamp": AT}],
    ],
)
def test_b79_what_decides_nothing_changes_nothing(
    alice: Profile, report: Report, body: Any
) -> None:
    """Nor does a provider's own form give a yes."""
    report("sendgrid", body)
    process()
    assert nothing_changed()
    assert WebhookDelivery.objects.get().status == DeliveryStatus.IGNORED


# -- complaints and noes ------------------------------------------------------------------------------


def ledger(profile: Profile) -> list[tuple[str, str]]:
    rows = Consent.objects.filter(profile=profile).order_by("pk")
    return list(rows.values_list("state", "source"))


def test_b79_a_complaint_is_a_no_that_cannot_be_lifted(
    alice: Profile, installation: Installation, report: Report
) -> None:
    sent_to(alice)
    report("postmark", postmark(RecordType="SpamComplaint", Type="SpamComplaint", Details=""))
    process()
    assert suppressed(installation) == ["complaint"]
    assert ledger(alice) == [("granted", "test"), ("denied", "complaint")]
    assert events() == [("complained", False, "")]


def test_b79_who_unsubscribes_at_the_provider_has_said_no(
    alice: Profile, installation: Installation, report: Report
) -> None:
    sent_to(alice)
    body = {
        "RecordType": "SubscriptionChange", "MessageID": "id-1", "Recipient": ALICE,
        "ChangedAt": AT_TEXT, "SuppressSending": True, "SuppressionReason": "ManualSuppression",
    }  # fmt: skip
    report("postmark", body)
    process()
    assert suppressed(installation) == ["unsubscribed"]
    assert ledger(alice) == [("granted", "test"), ("denied", "provider")]


# -- people and machines ------------------------------------------------------------------------------


OPENS: list[tuple[str, Any, bool]] = [
    ("postmark", {"RecordType": "Open", "MessageID": "id-1", "Recipient": ALICE,
                  "ReceivedAt": AT_TEXT, "UserAgent": "Mozilla/5.0 (Macintosh) AppleWebKit"}, False),
    # How Apple's mail privacy calls itself.
    ("postmark", {"RecordType": "Open", "MessageID": "id-1", "Recipient": ALICE,
                  "ReceivedAt": AT_TEXT, "UserAgent": "Mozilla/5.0"}, True),
    ("postmark", {"RecordType": "Open", "MessageID": "id-1", "Recipient": ALICE,
                  "ReceivedAt": AT_TEXT,
                  "UserAgent": "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"}, False),
    ("sendgrid", [{"event": "open", "email": ALICE, "timestamp": AT, "smtp-id": "<id-1>",
                   "sg_machine_open": True, "useragent": "Mozilla/5.0 (X11)"}], True),
    ("brevo", {"event": "unique_proxy_open", "email": ALICE, "ts_epoch": AT * 1000,
               "message-id": "<id-1>"}, True),
    ("sparkpost", [{"msys": {"track_event": {"type": "open", "is_prefetched": True,
                    "transmission_id": "id-1", "timestamp": str(int(AT)),
                    "raw_rcpt_to": ALICE}}}], True),
    ("postmark", {"RecordType": "Click", "MessageID": "id-1", "Recipient": ALICE,
                  "ReceivedAt": AT_TEXT, "UserAgent": "Barracuda Sentinel (EE)",
                  "OriginalLink": "https://store.test/"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "body", "is_machine"), OPENS)
def test_b79_what_a_machine_opens_is_kept_apart(
    alice: Profile, report: Report, provider: str, body: Any, is_machine: bool
) -> None:
    sent_to(alice)
    report(provider, body)
    process()
    assert MessageEvent.objects.get().is_machine is is_machine
    assert not Suppression.objects.exists()


def test_b79_a_mail_whose_fate_was_uncertain_is_found_by_our_own_key(
    alice: Profile, report: Report
) -> None:
    message = sent_to(alice)
    Message.objects.update(status=MessageStatus.UNCERTAIN, provider_message_id="")
    metadata = {tracking.KEY: message.public_id.hex}
    report("postmark", {"RecordType": "Delivery", "MessageID": "never-told", "Recipient": ALICE,
                        "DeliveredAt": AT_TEXT, "Metadata": metadata})  # fmt: skip
    process()
    assert events() == [("delivered", False, "")]
    assert Message.objects.get().status == MessageStatus.SENT


def test_b79_a_providers_clock_may_be_wrong(alice: Profile, report: Report) -> None:
    sent_to(alice)
    report("postmark", {"RecordType": "Delivery", "MessageID": "id-1", "Recipient": ALICE,
                        "DeliveredAt": "2999-01-01T00:00:00Z"})  # fmt: skip
    process()
    assert MessageEvent.objects.get().at == timezone.now()


# -- refused ------------------------------------------------------------------------------------------


def refused(answer: Any) -> tuple[int, str]:
    assert nothing_changed()
    assert not WebhookDelivery.objects.exists()
    error = answer.json()["error"]
    assert error["message"]
    assert ALICE not in error["message"]
    return answer.status_code, error["code"]


def test_b79_whoever_does_not_know_the_secret_is_refused(
    alice: Profile, installation: Installation, report: Report, client: Client
) -> None:
    feedback.webhook_of(installation=installation, now=NOW)
    answer = client.post("/webhooks/providers/postmark/guessed/", b"{}", "application/json")
    assert refused(answer) == (401, "UNKNOWN_SECRET")


def test_b79_a_secret_that_was_replaced_works_no_more(
    installation: Installation, client: Client
) -> None:
    webhook = feedback.webhook_of(installation=installation, now=NOW)
    before = feedback.webhook_url(webhook=webhook, provider="postmark")
    after = feedback.webhook_url(
        webhook=feedback.replace_secret(installation=installation, now=NOW), provider="postmark"
    )
    body = json.dumps(postmark())
    paths = [url.removeprefix("https://personalize.test") for url in (before, after)]
    assert refused(client.post(paths[0], body, "application/json"))[1] == "UNKNOWN_SECRET"
    assert client.post(paths[1], body, "application/json").status_code == 200
    # Providers try an address out when it is typed in.
    assert [client.head(path).status_code for path in paths] == [404, 200]
    assert [client.put(path).status_code for path in paths] == [405, 405]


def test_b79_a_provider_that_nobody_knows_is_refused(report: Report) -> None:
    status, code = refused(report("pigeon", {}))
    assert (status, code) == (404, "UNKNOWN_PROVIDER")


@pytest.mark.parametrize(
    ("body", "code"), [(b"", "MISSING_REQUEST_BODY"), (b"x" * 1_000_001, "PAYLOAD_TOO_LARGE")]
)
def test_b79_nothing_and_too_much_are_refused(report: Report, body: bytes, code: str) -> None:
    assert refused(report("postmark", body))[1] == code


MAILGUN = {"event-data": {"event": "failed", "severity": "permanent", "reason": "bounce",
           "recipient": ALICE, "timestamp": AT, "message": {"headers": {"message-id": "id-1"}},
           "delivery-status": {"message": "550 5.1.1 unknown"}}}  # fmt: skip


def signed_by_mailgun(key: str) -> dict[str, Any]:
    timestamp, token = str(int(AT)), "t" * 50
    signature = hmac.digest(key.encode(), f"{timestamp}{token}".encode(), "sha256").hex()
    return {
        **MAILGUN,
        "signature": {"timestamp": timestamp, "token": token, "signature": signature},
    }


def test_b79_what_mailgun_did_not_sign_is_refused(
    alice: Profile, installation: Installation, report: Report, settings: Any
) -> None:
    settings.ANYMAIL = {"MAILGUN_WEBHOOK_SIGNING_KEY": "the-key"}
    assert refused(report("mailgun", MAILGUN)) == (401, "INVALID_SIGNATURE")
    assert refused(report("mailgun", signed_by_mailgun("another"))) == (401, "INVALID_SIGNATURE")
    assert refused(report("mailgun", b"\xff{")) == (401, "INVALID_SIGNATURE")
    assert report("mailgun", signed_by_mailgun("the-key")).status_code == 200
    process()
    assert suppressed(installation) == ["hard_bounce"]


def test_b79_a_key_that_is_missing_is_told_and_nothing_is_lost(
    report: Report, settings: Any
) -> None:
    settings.ANYMAIL = {}
    answer = report("mailgun", signed_by_mailgun("the-key"))
    # With this status a provider comes again.
    assert refused(answer) == (503, "NOT_CONFIGURED")
    assert "MAILGUN_WEBHOOK_SIGNING_KEY" in answer.json()["error"]["message"]


def test_b79_a_form_that_mandrill_signed_is_read(
    installation: Installation, report: Report, settings: Any
) -> None:
    webhook = feedback.webhook_of(installation=installation, now=NOW)
    url = feedback.webhook_url(webhook=webhook, provider="mandrill")
    settings.ANYMAIL = {"MANDRILL_WEBHOOK_KEY": "the-key", "MANDRILL_WEBHOOK_URL": url}
    told = json.dumps([{"event": "hard_bounce", "ts": AT, "_id": "x", "msg": {"email": ALICE}}])
    signature = base64.b64encode(
        hmac.digest(b"the-key", f"{url}mandrill_events{told}".encode(), hashlib.sha1)
    ).decode()
    form = {"content_type": "application/x-www-form-urlencoded"}
    body = urlencode({"mandrill_events": told}).encode()
    assert refused(report("mandrill", body, **form)) == (401, "INVALID_SIGNATURE")
    answer = report("mandrill", body, headers={"X-Mandrill-Signature": signature}, **form)
    assert answer.status_code == 200
    process()
    assert suppressed(installation) == ["hard_bounce"]


# -- dead letters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("postmark", b"{not json"),
        ("postmark", b"[]"),
        ("postmark", b"\xff\xfe"),
        ("sendgrid", [{"email": ALICE}]),
        ("sparkpost", {"msys": None}),
        ("brevo", b"[" * 100_000),
    ],
)
def test_b79_what_cannot_be_read_is_kept_with_its_reason(
    alice: Profile, report: Report, provider: str, body: Any
) -> None:
    assert report(provider, body).status_code == 200
    process()
    assert nothing_changed()
    delivery = WebhookDelivery.objects.get()
    assert delivery.status == DeliveryStatus.FAILED
    assert delivery.error.startswith(f"Not what {provider} sends")
    assert ALICE not in delivery.error


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"RecordType": "Bounce"}, "bounced"),
        ({"RecordType": "Bounce", "Email": "al\0ice@example.com"}, "bounced"),
        ({"RecordType": "Bounce", "MessageID": ["1"], "ID": {"of": 2}}, "bounced"),
        ({"RecordType": "SpamComplaint", "Email": ""}, "complained"),
    ],
)
def test_b79_a_report_that_names_nobody_is_kept_with_its_reason(
    alice: Profile, report: Report, row: dict[str, Any], kind: str
) -> None:
    assert report("postmark", row).status_code == 200
    process()
    assert nothing_changed()
    delivery = WebhookDelivery.objects.get()
    assert delivery.status == DeliveryStatus.FAILED
    assert delivery.error == (
        f"postmark reports '{kind}' and names neither a message nor an address."
    )


def test_b79_who_names_nobody_holds_up_no_other_of_the_same_body(
    alice: Profile, installation: Installation, report: Report
) -> None:
    whole = {
        "events": [
            {
                "event": "bounce",
                "event_id": "1",
                "message_id": "1",
                "email": ALICE,
                "timestamp": 1772452800,
            },
            {"event": "unsubscribe", "event_id": "2", "message_id": "", "timestamp": 1772452800},
        ]
    }
    report("mailtrap", whole)
    rows = [
        {"event": "spamreport", "email": "carol@example.com", "timestamp": AT},
        {"event": "spamreport", "timestamp": AT},
    ]
    report("sendgrid", rows)
    process()
    assert Suppression.objects.count() == 2
    assert suppressed(installation) == ["hard_bounce"]
    # Of a list the row by itself waits; other bodies were kept whole when they came.
    (poisoned,) = WebhookDelivery.objects.filter(status=DeliveryStatus.FAILED)
    assert json.loads(bytes(poisoned.body)) == [rows[1]]


def test_b79_white_space_around_an_address_names_them_all_the_same(
    alice: Profile, installation: Installation, report: Report
) -> None:
    report("postmark", {"RecordType": "Bounce", "Type": "HardBounce", "Email": f" {ALICE} "})
    process()
    assert suppressed(installation) == ["hard_bounce"]


def test_b79_a_form_without_its_boundary_is_told_as_what_it_is() -> None:
    with pytest.raises(MalformedPayload, match="MultiPartParserError"):
        tracking.read("mandrill", body=b"--x", content_type="multipart/form-data")


def test_b79_a_poisoned_row_does_not_hold_up_the_others_and_can_be_replayed(
    alice: Profile, installation: Installation, report: Report, capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rows = [
        {"event": "bounce", "type": "bounce", "email": ALICE, "timestamp": AT},
        {"event": "bounce", "email": "bob@example.com", "timestamp": "soon"},
        {"event": "spamreport", "email": "carol@example.com", "timestamp": AT},
    ]
    report("sendgrid", rows)
    process()
    assert suppressed(installation) == ["hard_bounce"]
    assert Suppression.objects.count() == 2
    whole, poisoned = WebhookDelivery.objects.order_by("pk")
    assert (whole.status, poisoned.status) == (DeliveryStatus.PROCESSED, DeliveryStatus.FAILED)
    assert json.loads(bytes(poisoned.body)) == [rows[1]]

    call_command("personalize_webhooks", "failed")
    assert f"This row of delivery {whole.pk} is not what sendgrid sends." in capsys.readouterr().out
    with pytest.raises(CommandError, match="for what is wrong with them"):
        call_command("personalize_webhooks", "replay")
    assert "Of 1: 0 done, 1 failed again" in capsys.readouterr().out
    # Once a newer version can read it.
    monkeypatch.setattr(tracking, "read", lambda *_, **__: tracking.Reading([], []))
    call_command("personalize_webhooks", "replay")
    assert "Of 1: 1 done, 0 failed again" in capsys.readouterr().out


def test_b79_nothing_of_somebody_erased_stays_behind(
    alice: Profile, installation: Installation, report: Report
) -> None:
    report("postmark", postmark(BouncedAt="2026-03-02T12:30:00Z"))
    process()
    privacy.erase(profile=alice, requested_by="staff", now=timezone.now())
    report("postmark", postmark(2, BouncedAt="2026-03-02T12:31:00Z"))
    process()
    erasure.sweep(installation=installation, now=timezone.now())
    assert not WebhookDelivery.objects.exists()
    assert suppressed(installation) == ["hard_bounce"]


# -- any provider -------------------------------------------------------------------------------------


def test_b67_the_webhooks_of_every_provider_of_anymail_can_be_read() -> None:
    assert tracking.providers() >= {
        "amazon_ses", "brevo", "mailersend", "mailgun", "mailjet", "mailtrap", "mandrill", "postal",
        "postmark", "resend", "sendgrid", "sparkpost", "unisender_go",
    }  # fmt: skip


def test_b67_receivers_of_the_shops_own_hear_what_anymail_would_tell_them(report: Report) -> None:
    heard: list[tuple[str, str]] = []

    def receive(sender: Any, event: Any, esp_name: str, **_: Any) -> None:
        heard.append((esp_name, event.event_type))
        raise ValueError("a fault of theirs")

    anymail_tracking.connect(receive)
    try:
        report("postmark", postmark())
        process()
    finally:
        anymail_tracking.disconnect(receive)
    assert heard == [("Postmark", "bounced")]
    assert Suppression.objects.exists()


def test_b81_when_a_provider_was_heard_is_kept_to_the_hour(
    installation: Installation, report: Report
) -> None:
    report("postmark", postmark())
    with time_machine.travel(NOW.replace(hour=13, minute=30), tick=False):
        report("postmark", postmark(2))
    webhook = feedback.webhook_of(installation=installation, now=NOW)
    assert webhook.heard == {"postmark": "2026-03-02T13:00:00+00:00"}


# -- beside decisions under way -----------------------------------------------------------------------


def told_by_sendgrid(event: str, *addresses: str) -> list[dict[str, Any]]:
    return [
        {
            "event": event, "email": address, "timestamp": AT, "sg_event_id": f"{event}-{number}",
            "smtp-id": f"<id-{number}>",
        }
        for number, address in enumerate(addresses, 1)
    ]  # fmt: skip


def held_while_processing() -> list[int]:
    """How many ids each statement that waits for decisions holds."""
    held: list[int] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "pg_advisory_xact_lock(key)" in sql:
            held.append(len(params[0]))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        process()
    return held


def test_b79_all_whom_a_report_stops_are_held_at_once_as_a_decision_does(
    alice: Profile, bob: Profile, installation: Installation, report: Report
) -> None:
    addresses = list(Identity.objects.filter(kind="email").values_list("address", flat=True))
    assert len(addresses) == 2
    report("sendgrid", told_by_sendgrid("spamreport", *addresses))
    held = held_while_processing()
    assert Suppression.objects.of(installation).count() == 2
    # Were one address held before the other, or before its account, two could wait for each other.
    assert held[0] == Identity.objects.of(installation).count() == 4


def test_b79_what_stops_nobody_holds_nobody(alice: Profile, report: Report) -> None:
    sent_to(alice)
    report("sendgrid", told_by_sendgrid("delivered", ALICE))
    assert held_while_processing() == []
    assert events() == [("delivered", False, "")]
