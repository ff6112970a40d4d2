"""B81: what stands in the way of mail to many is told before it goes, by a real DNS and our own address."""

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from saleor_personalize.management import doctor
from saleor_personalize.messaging import dns, feedback, go_live
from saleor_personalize.models import (
    Consent,
    FirstStep,
    Installation,
    Profile,
    ProviderWebhook,
    Suppression,
)
from tests.conftest import NOW
from tests.dns_server import Zone, dns_server
from tests.integration.reminders import SMTP, World
from tests.integration.test_dashboard import headers

KEY = "v=DKIM1; k=rsa; p=" + "A" * 400


class OwnAddress:
    """Stands where APP_URL leads to, and answers what it is told to."""

    def __init__(self) -> None:
        self.status, self.headers = 200, {"X-Robots-Tag": "noindex"}
        self.posted: list[tuple[str, bytes]] = []
        own = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                own.posted.append((self.path, body))
                self.send_response(own.status)
                for name, value in own.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def own() -> Iterator[OwnAddress]:
    made = OwnAddress()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def zone(settings: Any, own: OwnAddress) -> Iterator[Zone]:
    """A domain in good order, and settings to match."""
    with dns_server() as served:
        served.records["shop.example", "MX"] = ["10 mx.shop.example."]
        served.text(
            "shop.example", "google-site-verification=x", "v=spf1 include:spf.esp.example -all"
        )
        served.text("spf.esp.example", "v=spf1 ip4:192.0.2.0/24 -all")
        served.text("_dmarc.shop.example", "v=DMARC1; p=none; rua=mailto:d@shop.example")
        served.text("s1._domainkey.shop.example", KEY)
        settings.EMAIL_BACKEND = SMTP
        settings.SALEOR_PERSONALIZE = {
            **settings.SALEOR_PERSONALIZE,
            "APP_URL": own.url,
            "DNS_SERVERS": [served.address],
            "DEFAULT_SENDER": "Sock Shop <hello@shop.example>",
            "DKIM_SELECTORS": ["s1"],
            "SPF_INCLUDES": ["spf.esp.example"],
        }
        yield served


@pytest.fixture
def change(settings: Any) -> Callable[..., None]:
    def changed(**values: Any) -> None:
        settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **values}

    return changed


def findings(installation: Installation) -> dict[str, tuple[str, str]]:
    found = {each.check: each for each in go_live.examine(installation=installation)}
    assert all(each.fix for each in found.values() if each.level != "ok")
    return {check: (each.level, each.text) for check, each in found.items()}


def faults(installation: Installation) -> dict[str, tuple[str, str]]:
    # The loopback address is neither https nor heard of by a provider.
    known = ("https", "reports")
    return {
        check: told
        for check, told in findings(installation).items()
        if told[0] != "ok" and check not in known
    }


def test_b81_a_domain_in_good_order(installation: Installation, zone: Zone) -> None:
    assert findings(installation) == {
        "from": ("ok", "Messages come from shop.example, with a name that people know."),
        "domain": ("ok", "shop.example takes mail, so bounces and replies arrive."),
        "dmarc": ("ok", "shop.example has a DMARC policy: none."),
        "spf": ("ok", "The SPF record of shop.example allows your provider."),
        "dkim": ("ok", "There is a key of shop.example under the selector s1."),
        "alignment": ("ok", "SPF + DKIM speaks for shop.example, as DMARC asks."),
        "https": (
            "warn",
            "Unsubscribe links are not https: mail programs show no button for them.",
        ),
        "unsubscribe": ("ok", "One click unsubscribes, without a login."),
        "reports": ("warn", "Nobody reports yet: of mail that comes back later, nothing is known."),
    }


SPF = "v=spf1 include:spf.esp.example"
FAULTS: list[tuple[str, tuple[str, ...], dict[str, tuple[str, str]]]] = [
    ("shop.example", ("nothing about it",), {"spf": ("fail", "shop.example has no SPF record.")}),
    ("shop.example", (f"{SPF} -all", "v=spf1 -all"),
     {"spf": ("fail", "shop.example has several SPF records: receivers use none.")}),
    ("shop.example", (f"{SPF} +all",),
     {"spf": ("fail", "The SPF record of shop.example allows everybody to send as you.")}),
    ("shop.example", ("v=spf1 include:other.example ~all",),
     {"spf": ("fail", "The SPF record of shop.example does not include spf.esp.example.")}),
    ("shop.example", (SPF + " a mx ptr a:x.example mx:y.example exists:z.example a/24 mx/24 a:q mx:q",),
     {"spf": ("fail", "The SPF record of shop.example needs 11 look-ups; receivers stop after 10.")}),
    ("_dmarc.shop.example", (), {"dmarc": ("fail",
     "shop.example has no DMARC record; senders of many mails are asked for one.")}),
    ("_dmarc.shop.example", ("v=DMARC1; p=none", "v=DMARC1; p=reject"),
     {"dmarc": ("fail", "shop.example has several DMARC records: receivers use none.")}),
    ("_dmarc.shop.example", ("v=DMARC1; rua=mailto:x@y",),
     {"dmarc": ("fail", "The DMARC record of shop.example has no policy that can be read.")}),
    ("s1._domainkey.shop.example", (),
     {"dkim": ("fail", "There is no key at s1._domainkey.shop.example.")}),
    ("s1._domainkey.shop.example", ("v=DKIM1; p=",),
     {"dkim": ("fail", "The key at s1._domainkey.shop.example was revoked: it is empty.")}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "texts", "expected"), FAULTS)
def test_b81_each_fault_is_named_with_what_mends_it(
    installation: Installation,
    zone: Zone,
    name: str,
    texts: tuple[str, ...],
    expected: dict[str, tuple[str, str]],
) -> None:
    zone.text(name, *texts)
    if not texts:
        del zone.records[name, "TXT"]
    assert faults(installation) == expected


def test_b81_who_neither_allows_nor_signs_fails_dmarc(
    installation: Installation, zone: Zone, change: Callable[..., None]
) -> None:
    del zone.records["s1._domainkey.shop.example", "TXT"]
    change(RETURN_PATH_DOMAIN="bounces.esp.example")
    zone.text("bounces.esp.example", "v=spf1 include:spf.esp.example -all")
    assert faults(installation)["alignment"] == (
        "fail",
        "Neither SPF (of bounces.esp.example) nor DKIM speaks for shop.example, so DMARC fails.",
    )


def test_b81_a_subdomain_follows_the_policy_of_its_organisation(
    installation: Installation, zone: Zone, change: Callable[..., None]
) -> None:
    change(
        DEFAULT_SENDER="Shop <hello@mail.shop.example>", RETURN_PATH_DOMAIN="bounce.shop.example"
    )
    zone.records["mail.shop.example", "A"] = ["192.0.2.1"]
    zone.text("bounce.shop.example", "v=spf1 redirect=spf.esp.example")
    zone.text("_dmarc.shop.example", "v=DMARC1; p=reject; sp=quarantine")
    found = findings(installation)
    assert found["dmarc"] == ("ok", "shop.example has a DMARC policy: quarantine.")
    assert found["alignment"] == ("ok", "SPF + DKIM speaks for mail.shop.example, as DMARC asks.")

    zone.text("_dmarc.shop.example", "v=DMARC1; p=reject; aspf=s; adkim=s")
    assert faults(installation)["alignment"][0] == "fail"


SENDERS = [
    ("", "There is no sender, so no message can leave."),
    ("Shop <nowhere>", "The sender is no address that mail can come from."),
    ("shop@gmail.com", "The sender is at gmail.com, which is not yours: receivers refuse it."),
]


@pytest.mark.parametrize(("sender", "text"), SENDERS)
def test_b81_a_sender_that_is_none_is_told_without_asking_the_dns(
    installation: Installation,
    zone: Zone,
    change: Callable[..., None],
    sender: str,
    text: str,
) -> None:
    change(DEFAULT_SENDER=sender)
    assert findings(installation)["from"] == ("fail", text)
    assert zone.asked == []


def test_b81_a_domain_that_takes_no_mail(installation: Installation, zone: Zone) -> None:
    zone.records["shop.example", "MX"] = ["0 ."]
    assert faults(installation) == {
        "domain": ("fail", "shop.example has no mail server: many receivers refuse its mail.")
    }


@pytest.mark.parametrize("fault", ["is_mute", "is_broken"])
def test_b81_a_dns_that_does_not_answer_is_no_verdict(
    installation: Installation, zone: Zone, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns, "TIMEOUT", 0.4)
    setattr(zone, fault, True)
    assert {check: level for check, (level, _) in faults(installation).items()} == {"dns": "warn"}


# -- our own doors ------------------------------------------------------------------------------------


def test_b81_the_unsubscribe_link_is_tried_as_providers_do(
    installation: Installation, zone: Zone, own: OwnAddress
) -> None:
    findings(installation)
    [(path, body)] = own.posted
    assert path.startswith("/u/")
    assert body == b"List-Unsubscribe=One-Click"


@pytest.mark.parametrize(
    ("status", "headers"), [(403, {}), (200, {}), (302, {"Location": "/login"}), (404, {})]
)
def test_b81_an_unsubscribe_link_behind_a_login_is_found(
    installation: Installation, zone: Zone, own: OwnAddress, status: int, headers: dict[str, str]
) -> None:
    own.status, own.headers = status, headers
    assert faults(installation) == {
        "unsubscribe": (
            "fail",
            f"The unsubscribe link answers a POST with {status}, and not as this service does.",
        )
    }


def test_b81_an_unsubscribe_link_that_leads_nowhere_is_found(
    installation: Installation, zone: Zone, change: Callable[..., None]
) -> None:
    change(APP_URL="http://127.0.0.1:9")
    assert faults(installation) == {
        "unsubscribe": ("fail", "The unsubscribe link does not answer (ConnectError).")
    }


@pytest.mark.django_db(transaction=True)
def test_b81_the_link_that_is_tried_works_and_unsubscribes_nobody(
    installation: Installation, alice: Profile, zone: Zone, live_server: Any,
    change: Callable[..., None],
) -> None:  # fmt: skip
    change(APP_URL=live_server.url)
    assert faults(installation) == {}
    assert not Suppression.objects.exists()
    assert list(Consent.objects.values_list("state", flat=True)) == ["granted"]


def test_b81_a_provider_that_reports_is_seen_and_one_that_should_is_missed(
    installation: Installation, zone: Zone, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "anymail.backends.postmark.EmailBackend"
    assert findings(installation)["reports"][0] == "fail"
    webhook = feedback.webhook_of(installation=installation, now=NOW)
    feedback.note_heard(webhook=webhook, provider="postmark", now=NOW)
    assert findings(installation)["reports"] == (
        "ok",
        "postmark reports bounces and complaints; last heard 2026-03-02 12:00 UTC.",
    )


# -- where people look --------------------------------------------------------------------------------


def run(*words: str, exits: int = 0) -> str:
    out = io.StringIO()
    with pytest.raises(SystemExit) if exits else contextlib.nullcontext() as ended:
        call_command("personalize_go_live_check", *words, stdout=out, stderr=io.StringIO())
    assert not exits or (ended is not None and ended.value.code == exits)
    return out.getvalue()


def test_b81_by_command(installation: Installation, zone: Zone) -> None:
    assert "OK    spf: The SPF record of shop.example allows your provider." in run("--no-color")
    zone.text("shop.example", "v=spf1 +all")
    told = run("--no-color", exits=1)
    assert "on this page" not in told
    assert "`saleor-personalize go-live-check --webhook PROVIDER` prints it." in told
    answer = json.loads(run("--json", exits=1))
    assert answer["is_well"] is False
    [spf] = [each for each in answer["findings"] if each["check"] == "spf"]
    assert spf["fix"] == "End it with -all or ~all."


def test_b81_the_address_for_a_provider_by_command(installation: Installation, zone: Zone) -> None:
    url = run("--webhook", "mailgun").strip()
    assert url == run("--webhook", "mailgun").strip()
    assert url.endswith(f"/webhooks/providers/mailgun/{ProviderWebhook.objects.get().secret}/")
    assert run("--webhook", "mailgun", "--new-secret").strip() != url
    with pytest.raises(CommandError, match="'pigeon' is no provider"):
        run("--webhook", "pigeon")
    with pytest.raises(CommandError, match=r'named as CHANNELS\["sms"\]'):
        run("--webhook", "sms")


def test_b81_doctor_tells_it_once_messages_go_out(
    installation: Installation, zone: Zone, own: OwnAddress
) -> None:
    zone.text("shop.example", "v=spf1 +all")
    assert list(doctor._mail(installation)) == []
    assert zone.asked == []
    World(installation, None).go_live()  # type: ignore[arg-type]
    found = {each.check: each.level for each in doctor._mail(installation)}
    assert found == {"go-live spf": "fail", "go-live https": "warn", "go-live reports": "warn"}


def test_b81_on_the_page_the_dns_is_asked_when_somebody_wants_to_know(
    installation: Installation, zone: Zone, client: Client
) -> None:
    zone.text("shop.example", "v=spf1 +all")
    page = client.get("/dashboard/go-live/", headers=headers(installation)).content.decode()
    assert "Check now" in page
    assert zone.asked == []
    page = client.get("/dashboard/go-live/check/", headers=headers(installation)).content.decode()
    assert "Mend this before you write to many." in page
    assert "The SPF record of shop.example allows everybody to send as you." in page
    assert "End it with -all or ~all." in page
    assert "Last checked" not in page
    # Who comes back sees how it was, and nobody is asked for that.
    zone.asked.clear()
    page = client.get("/dashboard/go-live/", headers=headers(installation)).content.decode()
    assert "Last checked" in page
    assert f'datetime="{FirstStep.objects.get().done_at:%Y-%m-%dT%H:%M}' in page
    count = int(FirstStep.objects.get().detail)
    assert f"{count} thing{'s' if count > 1 else ''} to mend" in page
    assert "Check again" in page
    assert zone.asked == []


def test_b81_the_page_shows_the_address_to_those_who_may_act(
    installation: Installation, zone: Zone, client: Client
) -> None:
    url = "/dashboard/go-live/?provider=postmark"
    page = client.get(url, headers=headers(installation)).content.decode()
    secret = ProviderWebhook.objects.get().secret
    assert f"/webhooks/providers/postmark/{secret}/" in page
    looks = headers(installation, permissions=["MANAGE_ORDERS"])
    assert secret not in client.get(url, headers=looks).content.decode()
    refused = client.post("/dashboard/go-live/secret/", headers=looks)
    assert refused.status_code == 403
    assert ProviderWebhook.objects.get().secret == secret
    answer = client.post(
        "/dashboard/go-live/secret/", {"provider": "postmark"}, headers=headers(installation)
    )
    assert "There is a new address" in str(answer.headers)
    assert secret not in answer.content.decode()
    assert f"/postmark/{ProviderWebhook.objects.get().secret}/" in answer.content.decode()
