"""B74: out with one click, without a login, and never by merely opening a link."""

import re
import threading
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core import signing
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from saleor_personalize.enums import ConsentState, IdentityKind, NotSentReason, SuppressionReason
from saleor_personalize.messaging import links
from saleor_personalize.models import (
    Consent,
    Enrollment,
    Installation,
    Message,
    Profile,
    Suppression,
    email_hash,
)
from saleor_personalize.profiles.identity import resolve_profile
from saleor_personalize.testing.stack import wait_until
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.reminders import HOUR, World, run_threads

ALICE = "alice@example.com"
client = Client(enforce_csrf_checks=True)


def path_of(profile: Profile, address: str = ALICE) -> str:
    url = links.unsubscribe_url(profile=profile, address_hash=email_hash(address))
    assert url.startswith("https://personalize.test/u/")
    return url.removeprefix("https://personalize.test")


def one_click(path: str) -> Any:
    """Post what RFC 8058 says that a mail provider posts: no cookie, no referrer, no token."""
    return client.post(
        path,
        "List-Unsubscribe=One-Click",
        content_type="application/x-www-form-urlencoded",
    )


def ledger(profile: Profile) -> list[tuple[str, str]]:
    return list(
        Consent.objects.filter(profile=profile).order_by("pk").values_list("state", "source")
    )


def test_b74_one_click_works_at_once_and_without_login(
    alice: Profile, installation: Installation
) -> None:
    answer = one_click(path_of(alice))
    assert answer.status_code == 200
    assert "You are unsubscribed" in answer.content.decode()
    assert ledger(alice) == [("granted", "test"), ("denied", "unsubscribe_link")]
    suppression = Suppression.objects.get()
    assert suppression.installation == installation
    assert suppression.address_hash == email_hash(ALICE)
    assert suppression.reason == SuppressionReason.UNSUBSCRIBED


def test_b74_one_click_works_where_forms_are_guarded(alice: Profile, settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]
    assert one_click(path_of(alice)).status_code == 200
    assert ledger(alice)[-1] == ("denied", "unsubscribe_link")


def test_b74_the_header_of_a_real_mail_leads_out(world: World, alice: Profile) -> None:
    world.checkout()
    world.advance()
    (mail,) = world.mails()
    url = mail["List-Unsubscribe"].strip().strip("<>")
    assert url.startswith("https://")
    assert one_click(url.removeprefix("https://personalize.test")).status_code == 200
    world.checkout("checkout-2", at=NOW + 5 * HOUR)
    world.advance(NOW + 7 * HOUR)
    assert Message.objects.get(status="not_sent").reason == NotSentReason.SUPPRESSED
    assert len(world.mails()) == 1


def test_b74_unsubscribing_while_saleor_is_asked_stops_the_message(
    world: World, alice: Profile
) -> None:
    world.checkout()
    world.saleor.before_answer = lambda checkout: one_click(path_of(alice)) and None
    world.advance()
    assert world.decision() == ("not_sent", "suppressed")
    assert world.mails() == []


def test_b74_a_hundred_gets_change_nothing(alice: Profile) -> None:
    path = path_of(alice)
    for _ in range(50):
        answer = client.get(path)
        assert answer.status_code == 200
        assert client.head(path).status_code == 200
    assert ledger(alice) == [("granted", "test")]
    assert not Suppression.objects.exists()
    page = answer.content.decode()
    assert '<form method="post"><button type="submit">Unsubscribe</button></form>' in page
    assert "alice" not in page
    assert answer["Cache-Control"].startswith("max-age=0")
    assert answer["Referrer-Policy"] == "no-referrer"


def test_b74_the_page_names_the_shop(alice: Profile, installation: Installation) -> None:
    Installation.objects.update(sender="Sock Shop <hello@socks.example>")
    assert "offers from Sock Shop by e-mail" in client.get(path_of(alice)).content.decode()


def test_b74_posting_twice_is_harmless(alice: Profile) -> None:
    path = path_of(alice)
    assert one_click(path).status_code == one_click(path).status_code == 200
    assert Suppression.objects.count() == 1


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_b74_other_methods_are_refused(alice: Profile, method: str) -> None:
    assert getattr(client, method)(path_of(alice)).status_code == 405
    assert ledger(alice) == [("granted", "test")]


def forged(values: list[Any], *, salt: str = "saleor_personalize.unsubscribe") -> str:
    return signing.dumps(values, salt=salt, key="another-secret-key", compress=True)


def test_b74_forged_and_mangled_links_are_unknown(alice: Profile) -> None:
    good = path_of(alice).removeprefix("/u/")
    claims = [alice.installation_id, alice.public_id.hex, email_hash(ALICE)]
    bad = [
        "x",
        "a:b:c",
        good[:-1],
        good[1:],
        good.swapcase(),
        forged(claims),
        signing.dumps(claims, salt="some.other.salt"),
        signing.dumps("text", salt="saleor_personalize.unsubscribe"),
        signing.dumps([1, 2], salt="saleor_personalize.unsubscribe"),
        signing.dumps([None, "not-a-uuid", 5], salt="saleor_personalize.unsubscribe"),
    ]
    for token in bad:
        path = reverse("personalize-unsubscribe", kwargs={"token": token})
        for answer in (client.get(path), one_click(path)):
            assert answer.status_code == 404, token
            assert "This link does not work" in answer.content.decode()
    assert ledger(alice) == [("granted", "test")]
    assert not Suppression.objects.exists()


def test_b74_a_link_of_years_ago_works(alice: Profile) -> None:
    with time_machine.travel(datetime(2019, 5, 1, tzinfo=UTC), tick=False):
        path = path_of(alice)
    with time_machine.travel(NOW + timedelta(days=5000), tick=False):
        assert one_click(path).status_code == 200
    assert ledger(alice)[-1] == ("denied", "unsubscribe_link")


def test_b74_a_link_of_somebody_erased_since_still_protects_the_address(
    alice: Profile, installation: Installation
) -> None:
    path = path_of(alice)
    alice.delete()
    assert one_click(path).status_code == 200
    assert Suppression.objects.get().address_hash == email_hash(ALICE)


def test_b74_a_link_of_a_shop_that_is_gone_is_unknown(
    alice: Profile, installation: Installation
) -> None:
    path = path_of(alice)
    installation.delete()
    assert client.get(path).status_code == 404
    assert one_click(path).status_code == 404


def test_b74_only_this_shop_is_left(alice: Profile, other_installation: Installation) -> None:
    elsewhere = make_profile(other_installation, email=ALICE)
    make_consent(elsewhere, ConsentState.GRANTED)
    one_click(path_of(alice))
    assert ledger(elsewhere) == [("granted", "test")]
    assert not Suppression.objects.filter(installation=other_installation).exists()


def test_b74_the_link_holds_no_address(alice: Profile) -> None:
    payload = path_of(alice).removeprefix("/u/").split(":")[0]
    data = zlib.decompress(signing.b64_decode(payload.lstrip(".").encode()))
    assert ALICE.encode() not in data
    assert re.fullmatch(rb'\[\d+,"[0-9a-f]{32}","[0-9a-f]{64}"\]', data)


def test_b74_an_opt_in_after_the_no_does_not_bring_the_messages_back(
    world: World, alice: Profile
) -> None:
    """The box in the shop's checkout may be ticked by somebody else's hand."""
    one_click(path_of(alice))
    world.checkout(metadata={"marketing_opt_in": "true"})
    world.advance()
    assert world.decision() == ("not_sent", "suppressed")
    assert Enrollment.objects.get().exit_reason == "suppressed"
    assert world.mails() == []


def waiting_for_advisory_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_b74_the_no_of_an_old_address_and_a_box_ticked_under_the_new_one_at_the_same_moment(
    world: World, installation: Installation
) -> None:
    """Whoever comes last in the ledger, the person has said no, whichever address was written to."""
    shown = {IdentityKind.SALEOR_USER: "VXNlcjo7", IdentityKind.EMAIL: "old@example.com"}
    erin = resolve_profile(installation=installation, shown=shown, now=NOW)
    path = path_of(erin, "old@example.com")
    ticked, may_commit = threading.Event(), threading.Event()

    def tick() -> None:
        with transaction.atomic():
            world.checkout(
                user_id="VXNlcjo7",
                user_email="new@example.com",
                email="new@example.com",
                metadata={"marketing_opt_in": "true"},
            )
            ticked.set()
            assert may_commit.wait(30)

    def refuse() -> None:
        assert ticked.wait(30)
        # The click comes first by the clock, and second to the ledger.
        with time_machine.travel(NOW - timedelta(seconds=1), tick=False):
            assert one_click(path).status_code == 200

    def commit_when_the_no_waits() -> None:
        assert ticked.wait(30)
        try:
            wait_until(waiting_for_advisory_lock, seconds=10, what="the no to wait")
        finally:
            may_commit.set()

    run_threads(tick, refuse, commit_when_the_no_waits)
    assert ledger(erin) == [("granted", "checkout"), ("denied", "unsubscribe_link")]
    world.advance()
    assert world.decision() == ("not_sent", "no_consent")
    assert world.mails() == []
