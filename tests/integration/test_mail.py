"""B74, B84, D1: what a mail looks like when it goes, and what its links do when they are opened."""

from __future__ import annotations

import html as html_module
import json
import re
from datetime import timedelta
from email.message import Message as Mail
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.core import signing
from django.test import Client

import saleor_personalize
from saleor_personalize.enums import ConsentState, IdentityKind
from saleor_personalize.ingestion import deliveries
from saleor_personalize.messaging import feedback, mail, plain_text, rendering
from saleor_personalize.models import (
    Consent,
    Identity,
    Installation,
    Message,
    MessageCopy,
    MessageEvent,
    Profile,
    Suppression,
    email_hash,
)
from saleor_personalize.profiles import privacy, retention
from saleor_personalize.schedule import BEAT_SCHEDULE
from tests.conftest import NOW
from tests.integration.reminders import HOUR, World

SENT = NOW + 2 * HOUR
WAY_OUT = '<a href="{{ unsubscribe_url }}">No more</a>'
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
#: What opens links of mail that people never clicked.
SCANNERS = [
    "",
    "Mozilla/5.0",
    "Barracuda Sentinel (EE)",
    "Mozilla/5.0 (compatible; Proofpoint-URL-Defense)",
    "Microsoft Office SafeLinks preview",
    "python-requests/2.32",
    "curl/8.14",
    "Mozilla/5.0 (compatible; Googlebot/2.1)",
    BROWSER,
    "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 HeadlessChrome/141.0",
]
TEMPLATES = Path(saleor_personalize.__file__).parent / "templates/saleor_personalize/messages"


@pytest.fixture
def change(settings: Any) -> Any:
    def changed(**values: Any) -> None:
        settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **values}

    return changed


def send(world: World) -> Mail:
    world.checkout()
    world.advance(SENT)
    [sent] = world.mails()
    return sent


def html_of(sent: Mail) -> str:
    return part(sent, "text/html")


def text_of(sent: Mail) -> str:
    return part(sent, "text/plain")


def part(sent: Mail, content_type: str) -> str:
    [found] = [each for each in sent.walk() if each.get_content_type() == content_type]
    return found.get_payload(decode=True).decode().replace("\r\n", "\n")  # type: ignore[union-attr]


def links_of(sent: Mail) -> list[str]:
    return [
        html_module.unescape(url) for url in re.findall(r'<a\b[^>]*href="([^"]+)"', html_of(sent))
    ]


def path_of(url: str) -> str:
    assert url.startswith("https://personalize.test/")
    return url.removeprefix("https://personalize.test")


def opened(url: str, *, at: Any = SENT + HOUR, **headers: str) -> Any:
    sent = {
        "User-Agent": BROWSER,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    with time_machine.travel(at, tick=False):
        return Client().get(path_of(url), headers=sent)


def ledger() -> list[str]:
    return list(Consent.objects.order_by("pk").values_list("state", flat=True))


# -- out with one click -------------------------------------------------------------------------------


def test_d1_a_hundred_scanners_open_every_link_and_nobody_is_unsubscribed(
    world: World, alice: Profile, change: Any
) -> None:
    change(CLICK_TRACKING=True)
    sent = send(world)
    header = sent["List-Unsubscribe"].strip().strip("<>")
    ours = [url for url in links_of(sent) if url.startswith("https://personalize.test/")]
    # Out, preferences, the browser's view, and the way back through the click link.
    assert {path_of(url).split("/")[1] for url in ours} == {"u", "preferences", "view", "click"}
    for url in (header, *ours):
        for number in range(100 if url is header else len(SCANNERS)):
            answer = opened(url, User_Agent=SCANNERS[number % len(SCANNERS)])
            assert answer.status_code in (200, 302)
            assert not answer.cookies
    assert ledger() == ["granted"]
    assert not Suppression.objects.exists()
    assert '<form method="post"><button' in opened(header).content.decode()

    # The button itself, as a provider of mailboxes presses it.
    answer = Client(enforce_csrf_checks=True).post(
        path_of(header),
        "List-Unsubscribe=One-Click",
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.status_code == 200
    assert ledger() == ["granted", "denied"]
    world.checkout("checkout-2", at=NOW + 3 * HOUR)
    world.advance(NOW + 8 * HOUR)
    assert len(world.mails()) == 1


def test_d1_every_mail_of_marketing_carries_the_headers_and_a_link_that_can_be_seen(
    world: World, alice: Profile
) -> None:
    world.checkout()
    world.advance(SENT)
    world.advance(SENT + 26 * HOUR)
    assert len(world.mails()) == 2
    for sent in world.mails():
        url = sent["List-Unsubscribe"].strip().strip("<>")
        assert url.startswith("https://personalize.test/u/")
        assert sent["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert re.fullmatch(r"<[a-z-]+\.main\.saleor\.test>", sent["List-Id"])
        assert url in links_of(sent)
        assert url in text_of(sent)
        # Each is there once, so that a signature of DKIM covers it.
        for name in ("List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "Message-ID", "From"):
            assert len(sent.get_all(name, [])) == 1


# -- links that say where they come from --------------------------------------------------------------


def test_b84_links_lead_straight_to_the_shop_unless_it_wants_otherwise(world: World) -> None:
    sent = send(world)
    assert "https://store.test/checkout?checkout=checkout-1" in links_of(sent)
    assert not any("/click/" in url for url in links_of(sent))


def test_b84_utm_parameters_stand_in_links_to_the_shop_alone(world: World, change: Any) -> None:
    change(
        UTM={"utm_source": "personalize", "utm_campaign": "{journey}-{template}", "checkout": "no"}
    )
    sent = send(world)
    [cart] = [url for url in links_of(sent) if url.startswith("https://store.test/")]
    assert parse_qs(urlsplit(cart).query) == {
        # What a link has, it keeps.
        "checkout": ["checkout-1"],
        "utm_source": ["personalize"],
        "utm_campaign": ["abandoned_checkout-abandoned_checkout"],
    }
    assert cart in text_of(sent)
    assert not any("utm_" in url for url in links_of(sent) if "personalize.test" in url)


def tracked(world: World, change: Any, **values: Any) -> str:
    change(CLICK_TRACKING=True, **values)
    sent = send(world)
    [url] = [url for url in links_of(sent) if "/click/" in url]
    assert url in text_of(sent)
    assert "store.test" not in html_of(sent).replace("https://store.test/picture.png", "")
    return url


def clicks() -> list[tuple[bool, str]]:
    rows = MessageEvent.objects.filter(kind="clicked").order_by("pk")
    return list(rows.values_list("is_machine", "detail"))


def test_b79_a_click_leads_on_to_the_shop_and_is_kept_once(world: World, change: Any) -> None:
    url = tracked(world, change, UTM={"utm_source": "mail"})
    for _ in range(3):
        answer = opened(url)
        assert answer.status_code == 302
        assert (
            answer["Location"] == "https://store.test/checkout?checkout=checkout-1&utm_source=mail"
        )
        assert answer["Referrer-Policy"] == "no-referrer"
    # Without the id that opens the cart.
    assert clicks() == [(False, "store.test/checkout")]
    assert MessageEvent.objects.get().message == Message.objects.get(status="sent")


def test_b84_a_click_leads_to_addresses_in_every_script(world: World, change: Any) -> None:
    change(CHECKOUT_URL="https://store.test/zam\u00f3wienie/zni\u017cki?checkout={checkout_id}")
    url = tracked(world, change)
    assert opened(url)["Location"] == (
        "https://store.test/zam%C3%B3wienie/zni%C5%BCki?checkout=checkout-1"
    )


def test_b79_what_scanners_open_is_kept_apart(world: World, change: Any) -> None:
    url = tracked(world, change)
    opened(url, User_Agent="Barracuda Sentinel (EE)")
    opened(url, Sec_Purpose="prefetch")
    opened(url, at=SENT + timedelta(seconds=1))
    with time_machine.travel(SENT + HOUR, tick=False):
        assert Client().head(path_of(url)).status_code == 302
    assert clicks() == [(True, "store.test/checkout")]
    opened(url)
    assert clicks() == [(True, "store.test/checkout"), (False, "store.test/checkout")]


def test_b84_a_click_link_expires(world: World, change: Any) -> None:
    url = tracked(world, change, CLICK_EXPIRY=timedelta(days=7))
    assert opened(url, at=SENT + timedelta(days=7, seconds=-1)).status_code == 302
    answer = opened(url, at=SENT + timedelta(days=7))
    assert answer.status_code == 410
    assert "This link has expired" in answer.content.decode()
    assert len(clicks()) == 1


def test_b84_a_click_link_leads_to_the_shops_own_hosts_only(world: World, change: Any) -> None:
    url = tracked(world, change)
    change(CHECKOUT_URL="https://elsewhere.test/checkout?checkout={checkout_id}")
    answer = opened(url)
    assert answer.status_code == 404
    assert "Location" not in answer.headers
    assert clicks() == []


HOSTILE = [
    "https://evil.test/",
    "https://store.test.evil.test/",
    "https://store.test@evil.test/",
    "https://evil.test\\@store.test/",
    "//evil.test/",
    "javascript:alert(1)//store.test",
    " https://store.test/",
    "https://store.test:444/",
    "https://[evil",
]


@pytest.mark.parametrize("target", HOSTILE)
def test_b84_no_link_of_ours_leads_astray(
    installation: Installation, alice: Profile, target: str
) -> None:
    """Even one that somebody could have had signed: the host is looked at again."""
    claims = [installation.pk, "0" * 32, target, int((SENT + 9 * HOUR).timestamp())]
    token = signing.dumps(claims, salt="saleor_personalize.click", compress=True)
    answer = opened(f"https://personalize.test/click/{token}")
    assert answer.status_code == 404
    assert "Location" not in answer.headers


@pytest.mark.parametrize("kind", ["click", "view"])
def test_b84_forged_links_are_unknown(installation: Installation, kind: str) -> None:
    claims = [installation.pk, "0" * 32, "https://store.test/", int((SENT + 9 * HOUR).timestamp())]
    others = signing.dumps(claims, salt="another", compress=True)
    forged = signing.dumps(claims, salt=f"saleor_personalize.{kind}", key="another", compress=True)
    for token in ("x", "a:b:c", others, forged):
        assert opened(f"https://personalize.test/{kind}/{token}").status_code == 404
    assert Client().post(f"/{kind}/{others}").status_code == 405


# -- in a browser -------------------------------------------------------------------------------------


def view_of(sent: Mail) -> str:
    [url] = [url for url in links_of(sent) if "/view/" in url]
    return url


def test_b84_a_browser_shows_exactly_what_was_sent(world: World, alice: Profile) -> None:
    Profile.objects.update(first_name="Łucja")
    sent = send(world)
    # What came later changes nothing.
    Profile.objects.update(first_name="Another")
    answer = opened(view_of(sent))
    assert answer.status_code == 200
    assert answer.content.decode().rstrip("\n") == html_of(sent).rstrip("\n")
    assert "Łucja" in answer.content.decode()
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert answer["X-Robots-Tag"] == "noindex"
    assert not answer.cookies


def test_b84_the_copy_is_encrypted_and_goes_when_its_link_does(
    world: World, alice: Profile, installation: Installation
) -> None:
    url = view_of(send(world))
    raw = MessageCopy.objects.raw("SELECT id, encode(html, 'escape') AS seen FROM "
                                  "saleor_personalize_messagecopy")[0].seen  # fmt: skip
    assert "store.test" not in raw
    end = SENT + timedelta(days=30)
    assert opened(url, at=end - timedelta(seconds=1)).status_code == 200
    assert opened(url, at=end).status_code == 410
    retention.purge(now=end + timedelta(seconds=1))
    assert not MessageCopy.objects.exists()
    assert Message.objects.filter(status="sent").exists()
    assert opened(url).status_code == 404


def test_b84_the_copy_is_the_persons_and_goes_with_them(
    world: World, alice: Profile, installation: Installation
) -> None:
    sent = send(world)
    [copy] = privacy.export(profile=alice, now=SENT)["message_copies"]
    assert copy["html"].rstrip("\n") == html_of(sent).rstrip("\n")
    assert copy["message_id"] == str(Message.objects.get(status="sent").public_id)
    privacy.erase(profile=alice, requested_by="staff", now=SENT)
    assert not MessageCopy.objects.exists()
    assert opened(view_of(sent)).status_code == 404


def test_b84_a_shop_that_wants_no_copies_has_no_link(world: World, change: Any) -> None:
    change(VIEW_IN_BROWSER=timedelta(0))
    sent = send(world)
    assert not any("/view/" in url for url in links_of(sent))
    assert not MessageCopy.objects.exists()


def test_b84_a_copy_of_another_shop_is_not_shown(
    world: World, other_installation: Installation
) -> None:
    url = view_of(send(world))
    claims = signing.loads(url.rpartition("/")[2], salt="saleor_personalize.view")
    claims[0] = other_installation.pk
    token = signing.dumps(claims, salt="saleor_personalize.view", compress=True)
    assert opened(f"https://personalize.test/view/{token}").status_code == 404


# -- templates of the shop's own ----------------------------------------------------------------------


@pytest.fixture
def own_template(tmp_path: Path, settings: Any) -> Any:
    """Override a template by files of the shop's own: `own_template("welcome", **{"body.html": ...})`."""

    def write(name: str, **files: str) -> None:
        folder = tmp_path / "saleor_personalize/messages" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, words in files.items():
            (folder / file).write_text(words)
        settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(tmp_path)]}]

    return write


def test_b84_a_template_without_plain_text_gets_it_from_its_html(own_template: Any) -> None:
    own_template(
        "sale",
        **{
            "subject.txt": "Sale",
            "body.html": '<style>p{color:red}</style><div style="display:none">teaser</div>'
            "<h1>Sale &amp; more</h1><p>Hi {{ first_name }},<br>look:</p><ul>"
            '<li>Socks<li>Hats</ul><a href="https://store.test/?a=1&amp;b=2">To the shop</a>'
            '<img src="x.png" alt="Red socks"><img src="pixel.gif" alt="">',
        },
    )
    assert "sale" in rendering.known_templates()
    assert "email" in rendering.channels_of("sale")
    rendered = rendering.render(
        template="sale", context={"first_name": "<Ann> & co"}, language_code="EN"
    )
    assert rendered.text == (
        "Sale & more\n\nHi <Ann> & co,\nlook:\n\n- Socks\n- Hats\n\n"
        "To the shop: https://store.test/?a=1&b=2 Red socks\n"
    )


@pytest.mark.parametrize(
    "folder", sorted(TEMPLATES.glob("*/body.html")), ids=lambda p: p.parent.name
)
def test_b84_built_in_mail_is_fit_for_dark_mode_and_says_what_pictures_show(folder: Path) -> None:
    source = folder.read_text()
    whole = (TEMPLATES / "layout.html").read_text() if "layout.html" in source else source
    assert '<meta name="color-scheme" content="light dark">' in whole
    assert "@media (prefers-color-scheme: dark)" in whole
    assert 'name="viewport"' in whole
    for picture in re.findall(r"<img\b[^>]*>", source + whole):
        assert re.search(r'\balt="', picture), picture


def test_b84_plain_text_of_built_in_html_holds_its_links(world: World) -> None:
    sent = send(world)
    made = plain_text.from_html(html_of(sent))
    for url in links_of(sent):
        assert url in made
    assert "<" not in made
    assert "display:none" not in made


def test_b84_a_mail_that_would_be_cut_off_is_not_sent_and_says_why(
    world: World, own_template: Any
) -> None:
    own_template("abandoned_checkout", **{"body.html": f"{WAY_OUT}<p>{'x' * 102_000}</p>"})
    world.checkout()
    world.advance(SENT)
    assert world.mails() == []
    assert world.decision() == ("not_sent", "too_large")
    message = Message.objects.get(reason="too_large")
    assert re.search(r"has 102\d{3} bytes", message.error)
    assert world.enrollment().status == "exited"
    assert not MessageCopy.objects.exists()


def test_b84_a_mail_just_below_goes(world: World, own_template: Any) -> None:
    own_template("abandoned_checkout", **{"body.html": WAY_OUT + "x" * (mail.MAX_BYTES - 500)})
    assert mail.MAX_BYTES - 500 < len(html_of(send(world))) < mail.MAX_BYTES


@pytest.mark.parametrize(
    ("body", "is_sent"),
    [
        ("<p>Come back!</p>", False),
        ("<p>{{ unsubscribe_url }}</p>", False),
        ('<a href="{{ cart_url }}">Your cart</a>', False),
        ('<!--[if mso]>\n<a href="{{ unsubscribe_url }}">No more</a>\n<![endif]-->', False),
        ('<!-- <a href="{{ unsubscribe_url }}">No more</a>', False),
        ('<!----><!-- --!><!--> <a href="{{ unsubscribe_url }}">No more</a>', True),
        ('<![ if !mso]><a href="{{ unsubscribe_url }}">No more</a><![ endif]>', True),
        ('<p title="<!--">Hello</p><a href="{{ unsubscribe_url }}">No more</a>', True),
        ('<a title="{{ unsubscribe_url }}" href="{{ cart_url }}">Your cart</a>', False),
        ('<a data-href="{{ unsubscribe_url }}">No more</a>', False),
        ('<a title="a > b" href=" {{ unsubscribe_url }}\n">No more</a>', True),
        ("<a class=small href={{ unsubscribe_url }}>No more</a>", True),
        ('<a class="small" href="{{ unsubscribe_url }}">No more</a>', True),
        ("<A HREF='{{ preferences_url }}'>Choose</A>", True),
        ('<a class="small"href="{{ unsubscribe_url }}">No more</a>', True),
        ('<a/href="{{ unsubscribe_url }}">No more</a>', True),
        ('<map><area href="{{ unsubscribe_url }}"></map>', True),
    ],
)
def test_b84_marketing_that_shows_no_way_out_is_not_sent_and_says_why(
    world: World, own_template: Any, body: str, is_sent: bool
) -> None:
    own_template("abandoned_checkout", **{"body.html": body})
    world.checkout()
    world.advance(SENT)
    if is_sent:
        assert len(world.mails()) == 1
        assert world.decision() == ("sent", "")
        return
    assert world.mails() == []
    assert world.decision() == ("not_sent", "template_incomplete")
    error = Message.objects.get(reason="template_incomplete").error
    assert "no link to unsubscribe: link {{ unsubscribe_url }}" in error


# -- headers that somebody else would write -----------------------------------------------------------


def test_b84_a_name_cannot_write_headers(world: World, own_template: Any, alice: Profile) -> None:
    own_template("abandoned_checkout", **{"subject.txt": "For {{ first_name }}"})
    Profile.objects.update(first_name="Ann\r\nBcc: victim@example.com\r\n\r\nbody")
    sent = send(world)
    assert sent["Subject"] == "For Ann Bcc: victim@example.com body"
    assert sent["Bcc"] is None
    assert sent["To"] == "alice@example.com"


@pytest.mark.parametrize(
    "sender",
    ["Shop <shop@example.com>\nBcc: victim@example.com", "Shop\r\nX-Evil: 1 <shop@example.com>"],
)
def test_b84_a_sender_that_holds_a_further_header_sends_nothing(
    world: World, change: Any, sender: str
) -> None:
    change(DEFAULT_SENDER=sender)
    world.checkout()
    world.advance(SENT)
    assert world.mails() == []
    message = Message.objects.exclude(idempotency_key__endswith=":second").get()
    assert (message.status, message.reason) == ("failed", "channel_error")
    assert "victim" not in message.error


def test_b84_an_address_that_holds_a_further_header_gets_nothing(
    world: World, alice: Profile
) -> None:
    bad = "alice@example.com\nBcc: victim@example.com"
    Identity.objects.filter(kind=IdentityKind.EMAIL).update(address=bad)
    world.checkout()
    world.advance(SENT)
    assert world.mails() == []
    message = Message.objects.exclude(idempotency_key__endswith=":second").get()
    assert message.reason == "channel_error"
    assert "victim" not in message.error


def test_b79_a_dead_address_is_silent_in_every_journey_within_a_minute(
    world: World, alice: Profile, installation: Installation
) -> None:
    """From a real mail over the provider's report to the next journey of the same address."""
    sent = send(world)
    assert Message.objects.get(status="sent").address_hash == email_hash("alice@example.com")
    webhook = feedback.webhook_of(installation=installation, now=SENT)
    body = {"RecordType": "Bounce", "Type": "HardBounce", "ID": 1, "Email": "alice@example.com",
            "MessageID": sent["Message-ID"]}  # fmt: skip
    url = feedback.webhook_url(webhook=webhook, provider="postmark")
    answer = Client().post(path_of(url), json.dumps(body), content_type="application/json")
    assert answer.status_code == 200
    assert BEAT_SCHEDULE["webhooks: sweep"]["schedule"] < 60
    deliveries.process_waiting(now=SENT + timedelta(seconds=5))
    assert MessageEvent.objects.get().message == Message.objects.get(status="sent")
    world.advance(SENT + 26 * HOUR)
    world.checkout("checkout-2", at=NOW + 30 * HOUR)
    world.advance(NOW + 34 * HOUR)
    assert len(world.mails()) == 1
    refused = Message.objects.filter(status="not_sent").values_list("reason", flat=True)
    assert set(refused) == {"suppressed"}
    assert Consent.objects.get().state == ConsentState.GRANTED
