"""B121, B122, D10: a person who came in by every door is exported, erased, and stays away."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client

from saleor_personalize.conf import settings as ours
from saleor_personalize.enums import ErasureSource, IdentityKind, ImportStatus
from saleor_personalize.events import operations as events
from saleor_personalize.exceptions import PersonErased
from saleor_personalize.ingestion import deliveries
from saleor_personalize.ingestion.imports import operations as imports
from saleor_personalize.ingestion.imports import stored
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging.channels.base import OutgoingMessage, SendResult
from saleor_personalize.messaging.channels.email import EmailChannel
from saleor_personalize.models import (
    Checkout,
    Consent,
    Enrollment,
    Erasure,
    Event,
    Favourite,
    Identity,
    Import,
    ImportReject,
    Installation,
    Merge,
    Message,
    Order,
    OrderLine,
    Profile,
    Scoped,
    Session,
    Suppression,
    WebhookDelivery,
    email_hash,
)
from saleor_personalize.profiles import identity, merging, privacy, tombstones
from saleor_personalize.recommendations import training
from saleor_personalize.saleor_api import nodes
from saleor_personalize.segments import operations as segments
from saleor_personalize.tasks.privacy import sweep_erasures
from saleor_personalize.testing.keys import TEST_KEY
from saleor_personalize.webhooks import saleor as door
from tests.catalogue import Phones
from tests.conftest import NOW, make_installation
from tests.integration.reminders import Saleor
from tests.integration.test_dashboard import headers

HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)

#: Erin, with letters that JSON and files write in different ways.
ERIN, ERINS_USER, NAME = "Erin.O'Hara@Exämple.com", "VXNlcjo3MQ==", "Erinaceous"
PHONE_ID, CARD, GUEST_CART, CART = (
    "phone-9a1b2c3d4e5f6a7b",
    "CARD-4711-0815",
    "Q2hlY2tvdXQ6Z3Vlc3Q=",
    "Q2hlY2tvdXQ6YWNjb3VudA==",
)
TOKEN = "5f18b6a8-1111-4000-8000-00000000e41a"
ORDER, SESSION = "T3JkZXI6NzE=", "visit-71"
#: Frank, who did the same things and stays.
FRANK, FRANKS_USER, FRANKS_PHONE = "frank@example.com", "VXNlcjo3Mg==", "phone-0000111122223333"
FRANKS_CART, FRANKS_ORDER = "Q2hlY2tvdXQ6ZnJhbms=", "T3JkZXI6NzI="

SOURCE_OF = {
    "account_deleted": ErasureSource.ACCOUNT_DELETED,
    "customer_deleted": ErasureSource.CUSTOMER_DELETED,
    "graphql": ErasureSource.SHOPPER,
    "dashboard": ErasureSource.STAFF,
    "command": ErasureSource.COMMAND,
}


# -- what Saleor sends ---------------------------------------------------------------------------------


def iso(at: datetime) -> str:
    return at.isoformat()


def customer(id_: str = ERINS_USER, email: str = ERIN, at: datetime = NOW, **changes: Any) -> Any:
    return {
        "id": id_,
        "email": email,
        "firstName": NAME if email == ERIN else "Franklin",
        "isActive": True,
        "isConfirmed": True,
        "languageCode": "DE",
        "dateJoined": iso(at),
        "updatedAt": iso(at),
        "defaultShippingAddress": {"country": {"code": "PL"}},
        **changes,
    }


def user_of(id_: str, email: str) -> Any:
    return {"id": id_, "email": email} if id_ else None


def checkout(
    shop: Phones, id_: str, email: str, user: str = "", at: datetime = NOW, **changes: Any
) -> Any:
    return {
        "id": id_,
        "token": TOKEN if email == ERIN else "5f18b6a8-2222-4000-8000-000000000000",
        "created": iso(at),
        "updatedAt": iso(at),
        "email": email,
        "languageCode": "EN",
        "channel": {"slug": "us", "currencyCode": "USD"},
        "user": user_of(user, email),
        "lines": [
            {
                "id": f"line-{id_}",
                "quantity": 1,
                "variant": {"id": "VmFyaWFudDox", "product": {"id": shop.phone}},
                "unitPrice": {"gross": {"amount": 10, "currency": "USD"}},
            }
        ],
        "totalPrice": {"gross": {"amount": 10, "currency": "USD"}},
        "metadata": [{"key": "marketing_opt_in", "value": "true"}],
        **changes,
    }


def order(
    shop: Phones,
    id_: str,
    email: str,
    user: str = "",
    cart: str = "",
    at: datetime = NOW,
    **more: Any,
) -> Any:
    return {
        "id": id_,
        "number": "ORD-" + id_[-4:],
        "created": iso(at),
        "updatedAt": iso(at),
        "status": "UNFULFILLED",
        "userEmail": email,
        "checkoutId": cart,
        "languageCodeEnum": "EN",
        "user": user_of(user, email),
        "channel": {"slug": "us", "currencyCode": "USD"},
        "total": {"gross": {"amount": 10, "currency": "USD"}},
        "metadata": [],
        "lines": [
            {
                "id": f"line-of-{id_}",
                "productVariantId": "VmFyaWFudDox",
                "variant": {"id": "VmFyaWFudDox", "product": {"id": shop.phone}},
                "productName": "Aurora phone",
                "variantName": "",
                "quantity": 1,
                "unitPrice": {"gross": {"amount": 10, "currency": "USD"}},
            }
        ],
        **more,
    }


Post = Callable[..., None]


@pytest.fixture
def post(client: Client) -> Post:
    """`post(installation, "customer_created", {...})`: a signed webhook, taken and processed."""
    door.known_installations.clear()

    def send(
        installation: Installation,
        event: str,
        node: Any,
        *,
        issued_at: datetime | None = None,
        processed: bool = True,
    ) -> None:
        name = "".join(part.title() for part in event.split("_"))
        field = "user" if event.split("_")[0] in {"customer", "account"} else event.split("_")[0]
        now = datetime.now(NOW.tzinfo)
        body = json.dumps(
            {
                "__typename": name,
                "issuedAt": iso(issued_at or now),
                "recipient": {"id": installation.app_id, "identifier": "saleor.personalize"},
                field: node,
            }
        ).encode()
        response = client.post(
            f"/webhooks/saleor/{event}/",
            data=body,
            content_type="application/json",
            headers={
                "Saleor-Api-Url": installation.saleor_api_url,
                "Saleor-Event": event,
                "Saleor-Signature": TEST_KEY.sign_webhook(body),
            },
        )
        assert response.status_code == 200, response.content
        if processed:
            assert deliveries.process_waiting(now=now) == 1

    return send


# -- the world -----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _storage(settings: Any, tmp_path: Path) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "IMPORT_STORAGE": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "imports")},
        },
        "CONSENT_RULES": {"*": "opt_in", "DE": "opt_in", "AT": "opt_in", "CH": "opt_in"},
    }


@pytest.fixture
def elsewhere(db: None) -> Phones:
    """Another shop with the same shoppers."""
    return Phones(make_installation("other"), NOW)


class Life:
    """People live their lives in a shop, by every door there is."""

    def __init__(self, shop: Phones, client: Client, post: Post) -> None:
        self.shop, self.client, self.post = shop, client, post
        self.installation = shop.installation

    def gql(self, query: str, user: str = "", anonymous_id: str = "") -> Any:
        now = datetime.now(NOW.tzinfo)
        sent = {"Saleor-Api-Url": self.installation.saleor_api_url}
        if user:
            claims = {
                "iat": int(now.timestamp()),
                "exp": int((now + 5 * MINUTE).timestamp()),
                "owner": "saleor",
                "iss": self.installation.saleor_api_url,
                "token": "x",
                "email": "x@example.com",
                "type": "access",
                "user_id": user,
                "is_staff": False,
            }
            sent["Authorization"] = f"Bearer {TEST_KEY.jwt(claims)}"
        if anonymous_id:
            sent["X-Anonymous-Id"] = anonymous_id
        response = self.client.post(
            "/graphql/",
            json.dumps({"query": query}),
            content_type="application/json",
            headers=sent,
        )
        return response.json()

    def collect(self, anonymous_id: str, *events: dict[str, Any], cart: str = "") -> list[str]:
        response = self.client.post(
            "/collect",
            json.dumps(
                {
                    "saleorApiUrl": self.installation.saleor_api_url,
                    "anonymousId": anonymous_id,
                    "session": {"id": SESSION, "deviceType": "mobile"},
                    "events": list(events),
                    **({"checkoutId": cart} if cart else {}),
                }
            ),
            content_type="application/json",
        )
        assert response.status_code == 200, response.content
        return [row["status"] for row in response.json()["results"]]

    def viewed(self, id_: str, **more: Any) -> dict[str, Any]:
        return {"id": id_, "type": "PRODUCT_VIEWED", "productId": self.shop.phone, **more}

    def live(
        self, email: str, user: str, phone: str, guest_cart: str, cart: str, order_id: str
    ) -> None:
        shop, own = self.installation, self.shop
        key = user[-5:]
        assert self.collect(
            phone,
            self.viewed(f"v1-{key}"),
            {"id": f"v2-{key}", "type": "SEARCHED", "query": "lamp"},
        ) == ["ACCEPTED", "ACCEPTED"]
        self.post(shop, "checkout_created", checkout(own, guest_cart, email, at=NOW - 2 * HOUR))
        self.post(shop, "customer_created", customer(user, email, at=NOW - HOUR))
        answer = self.gql(
            f'mutation {{ track(events: [{{id: "t-{key}", type: CART_ADDED, productId: "{own.case}"}}])'
            " { results { status } } }",
            user=user,
            anonymous_id=phone,
        )
        assert answer["data"]["track"]["results"] == [{"status": "ACCEPTED"}]
        for text in (
            f'mutation {{ favouriteAdd(productId: "{own.lamp}") {{ errors {{ code }} }} }}',
            "mutation { favouritesShare { token } }",
            "mutation { consentUpdate(purpose: MARKETING, deliveryChannel: EMAIL, isAllowed: true)"
            " { state } }",
        ):
            assert "errors" not in self.gql(text, user=user), text
        self.post(shop, "checkout_created", checkout(own, cart, email, user, at=NOW - 50 * MINUTE))
        self.post(shop, "order_created", order(own, order_id, email, user, at=NOW - 3 * HOUR))

    def buy_in_store(self, *rows: str) -> Import:
        header = "number,date,email,loyalty card,sku,price"
        text = "\n".join([header, *rows, ""]).encode()
        run = imports.request(
            installation=self.installation,
            file=io.BytesIO(text),
            name="store.csv",
            mapping={
                "number": "number",
                "placed_at": "date",
                "email": "email",
                "external_id": "loyalty card",
                "product": "sku",
                "unit_price": "price",
            },
            options=imports.Options(currency="USD", channel="us"),
            is_dry_run=False,
            now=datetime.now(NOW.tzinfo),
        )
        claimed = imports.claim_next(now=datetime.now(NOW.tzinfo), import_id=run.pk)
        assert claimed is not None
        assert imports.work(claimed, file=io.BytesIO(text)) == ImportStatus.DONE
        run.refresh_from_db()
        return run


@pytest.fixture
def life(shop: Phones, client: Client, post: Post) -> Life:
    return Life(shop, client, post)


@pytest.fixture
def rich(life: Life, elsewhere: Phones) -> Life:
    """Erin and Frank in this shop, Erin also in another one; all that can be known is known."""
    installation, shop = life.installation, life.shop
    journey = journeys.ensure_journey(installation=installation, key="abandoned_checkout")
    journeys.go_live(journey=journey, now=NOW - DAY)
    segments.create_segment(
        installation=installation,
        key="lookers",
        name="Lookers",
        definition={"all": [{"rule": "favourites", "at_least": 1}]},
        now=NOW,
    )
    life.live(ERIN, ERINS_USER, PHONE_ID, GUEST_CART, CART, ORDER)
    life.live(FRANK, FRANKS_USER, FRANKS_PHONE, "Q2hlY2tvdXQ6Z2Y=", FRANKS_CART, FRANKS_ORDER)
    Life(elsewhere, life.client, life.post).live(
        ERIN, ERINS_USER, PHONE_ID, GUEST_CART, CART, ORDER
    )
    run = life.buy_in_store(
        f"S-1,2026-02-01,{ERIN.upper()},{CARD},{shop.stand},9",
        f"S-2,gestern,{ERIN},{CARD},{shop.stand},9",
        f"S-3,gestern,{FRANK},,{shop.stand},9",
    )
    assert (run.recorded_count, run.rejected_count) == (1, 2)
    # Joined by staff, as a card and an account are.
    merging.prove(
        installation=installation,
        first=Identity.objects.of(installation).get(value=CARD).profile,
        second=Identity.objects.of(installation).get(value=ERINS_USER).profile,
        proof=merging.MergeProof.STAFF,
        now=NOW,
        decided_by="VXNlcjox",
    )
    # A body of each of them that nobody can read.
    for email, user in ((ERIN, ERINS_USER), (FRANK, FRANKS_USER)):
        life.post(installation, "customer_updated", {"id": user, "email": email})
    saleor = Saleor()
    assert journeys.advance_due(now=NOW + 12 * MINUTE, ask=saleor) > 0
    segments.evaluate_due(now=NOW)
    assert training.train(installation=installation, now=NOW) > 0
    return life


# -- looking for her -----------------------------------------------------------------------------------


def dump() -> dict[str, str]:
    """Every value of every table as text, as a copy of the database shows it, by table."""
    found = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relname LIKE 'saleor_personalize_%'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 (our own tables)
            found[table] = "\n".join(
                bytes(value).decode("utf-8", "replace")
                if isinstance(value, memoryview)
                else str(value)
                for row in cursor.fetchall()
                for value in row
            )
    return found


def decrypted() -> dict[str, str]:
    """The same as our own code reads it."""
    return {
        model.__name__: "\n".join(
            str(getattr(row, field.attname))
            for row in model._default_manager.all()
            for field in model._meta.concrete_fields
        )
        for model in apps.get_app_config("saleor_personalize").get_models()
    }


def traces(words: list[str]) -> list[tuple[str, str]]:
    """(where, what) of every trace of a person in tables, models and uploads; case does not matter."""
    places = {**dump(), **decrypted()}
    for folder in (ours.MODEL_DIRECTORY, ours.IMPORT_STORAGE["OPTIONS"]["location"]):
        for path in Path(folder).rglob("*"):
            if path.is_file():
                places[str(path)] = path.read_bytes().decode("utf-8", "replace")
    return [
        (place, word)
        for place, text in places.items()
        for word in words
        if word.lower() in text.lower() or json.dumps(word)[1:-1].lower() in text.lower()
    ]


def words_of(installation: Installation, user: str = ERINS_USER) -> list[str]:
    """Everything by which Erin could be known."""
    profile = Identity.objects.of(installation).get(value=user).profile
    tokens = [str(link.token) for link in profile.shared_favourites.all()]
    people = [str(one.public_id) for one in profile.person()]
    assert len(people) == 4, "the account, its address, the phone, the card"
    return [
        ERIN, "o'hara", email_hash(ERIN), ERINS_USER, NAME, PHONE_ID, CARD, GUEST_CART, CART, TOKEN,
        f"ORD-{ORDER[-4:]}", *tokens, *people,
    ]  # fmt: skip


def of_others(installation: Installation) -> dict[str, Any]:
    """All rows of another shop, to compare."""
    return {
        model.__name__: sorted(map(str, model.objects.of(installation).values_list()))
        for model in apps.get_app_config("saleor_personalize").get_models()
        if issubclass(model, Scoped)
    }


def franks(installation: Installation) -> dict[str, Any]:
    """All rows of Frank."""
    profile = Identity.objects.of(installation).get(value=FRANKS_USER).profile
    people = profile.person()
    found = {
        model.__name__: sorted(map(str, model.objects.filter(profile__in=people).values_list()))
        for model in (
            Identity, Event, Session, Checkout, Order, Consent, Favourite, Enrollment, Message,
        )
    }  # fmt: skip
    assert all(found.values()), found
    return {**found, "Profile": sorted(map(str, people.values_list()))}


@contextmanager
def later(by: timedelta = DAY) -> Iterator[datetime]:
    with time_machine.travel(NOW + by, tick=False):
        yield NOW + by


def erase_by(how: str, life: Life) -> None:
    shop = life.installation
    if how in {"account_deleted", "customer_deleted"}:
        life.post(shop, how, {"id": ERINS_USER, "email": ERIN})
    elif how == "graphql":
        answer = life.gql("mutation { profileErase { reference } }", user=ERINS_USER)
        assert answer["data"]["profileErase"]["reference"] == str(Erasure.objects.get().public_id)
    elif how == "dashboard":
        profile = Identity.objects.of(shop).get(value=ERINS_USER).profile
        response = life.client.post(
            f"/dashboard/people/{profile.public_id}/erase/", headers=headers(shop)
        )
        assert response.status_code == 200, response.content
    else:
        out = io.StringIO()
        call_command(
            "personalize_erase", "--person", ERIN, "--installation", shop.saleor_api_url, "--yes",
            stdout=out,
        )  # fmt: skip
        assert str(Erasure.objects.get().public_id) in out.getvalue()
    sweep_erasures()


@pytest.mark.parametrize("how", SOURCE_OF)
def test_b121_nothing_is_left_of_a_person(rich: Life, elsewhere: Phones, how: str) -> None:
    installation = rich.installation
    words = words_of(installation)
    before = {word for _, word in traces(words)}
    assert before == set(words), "the search finds all there is to be found"
    # The address in another shop is another matter.
    other, frank = of_others(elsewhere.installation), franks(installation)
    orders = Order.objects.of(installation).count()
    lines = OrderLine.objects.of(installation).count()

    with later(HOUR):
        erase_by(how, rich)

    assert of_others(elsewhere.installation) == other
    assert franks(installation) == frank
    elsewhere.installation.delete()
    assert traces(words) == []
    # What was bought stays, by nobody.
    assert Order.objects.of(installation).count() == orders
    assert OrderLine.objects.of(installation).count() == lines
    proof = Erasure.objects.get()
    assert proof.requested_by == SOURCE_OF[how]
    assert proof.swept_at is not None
    assert proof.counts["Profile"] == 4
    assert proof.counts["Event"] == 4
    assert proof.counts["Order"] == 2
    assert proof.counts["Message"] >= 1


@pytest.mark.parametrize("how", SOURCE_OF)
def test_b121_late_news_bring_nobody_back(rich: Life, elsewhere: Phones, how: str) -> None:
    """Everything that Saleor, browsers and files may still tell of before comes once more."""
    installation, shop = rich.installation, rich.shop
    words = words_of(installation)
    elsewhere.installation.delete()
    with later(HOUR):
        erase_by(how, rich)
    kept = {
        model: model.objects.of(installation).count()
        for model in (Profile, Identity, Event, Checkout, Order, OrderLine, Consent, Favourite)
    }
    with later(2 * HOUR):
        rich.post(installation, "customer_updated", customer(at=NOW))
        touched = {"updatedAt": iso(NOW + 90 * MINUTE)}
        rich.post(
            installation,
            "checkout_updated",
            checkout(shop, GUEST_CART, ERIN, at=NOW - HOUR, **touched),
        )
        rich.post(
            installation,
            "order_updated",
            order(shop, ORDER, ERIN, ERINS_USER, at=NOW - 3 * HOUR, **touched),
        )
        # An order that was never heard of, from before: it counts, without her.
        rich.post(
            installation,
            "order_created",
            order(shop, "T3JkZXI6bGF0ZQ==", ERIN, "", cart=GUEST_CART, at=NOW - MINUTE),
        )
        assert rich.collect(PHONE_ID, rich.viewed("late", occurredAt=iso(NOW - MINUTE))) == [
            "IGNORED"
        ]
        run = rich.buy_in_store(
            f"S-1,2026-02-01,{ERIN},{CARD},{shop.stand},9",
            f"S-9,2026-02-02,{ERIN},{CARD},{shop.stand},9",
        )
        assert run.rejected_count == 0
        sweep_erasures(everywhere=True)
    assert traces(words) == []
    kept[Order] += 2
    kept[OrderLine] += 2
    assert {model: model.objects.of(installation).count() for model in kept} == kept
    assert (
        not Order.objects.of(installation)
        .filter(saleor_id="T3JkZXI6bGF0ZQ==")
        .exclude(profile=None, number="", email_hash="")
        .exists()
    )


def test_b121_whoever_comes_anew_is_somebody_new(rich: Life, elsewhere: Phones) -> None:
    installation, shop = rich.installation, rich.shop
    elsewhere.installation.delete()
    with later(HOUR):
        erase_by("account_deleted", rich)
    new_user = "VXNlcjo5OQ=="
    with later(DAY) as now:
        assert rich.collect(PHONE_ID, rich.viewed("new")) == ["ACCEPTED"]
        rich.post(installation, "customer_created", customer(new_user, at=now))
        rich.post(
            installation, "order_created", order(shop, "T3JkZXI6bmV3", ERIN, new_user, at=now)
        )
    profile = Identity.objects.of(installation).get(value=new_user).profile
    document = privacy.export(profile=profile, now=NOW + DAY)
    assert [row["id"] for row in document["orders"]] == ["T3JkZXI6bmV3"]
    assert (document["events"], document["consents"], document["favourites"]) == ([], [], [])
    assert document["profiles"][0]["first_name"] == NAME
    # The deleted account itself never comes back, whatever it says of the time.
    with later(2 * DAY) as now:
        rich.post(installation, "customer_updated", customer(at=now))
        rich.post(
            installation,
            "checkout_created",
            checkout(shop, "Q2hlY2tvdXQ6bGF0ZQ==", ERIN, ERINS_USER, at=now),
        )
        answer = rich.gql(
            f'mutation {{ track(events: [{{id: "x", type: CART_ADDED, productId: "{shop.case}"}}])'
            " { results { status } } }",
            user=ERINS_USER,
        )
        assert answer["data"]["track"]["results"] == [{"status": "IGNORED"}]
        for text in (
            f'mutation {{ favouriteAdd(productId: "{shop.lamp}") {{ errors {{ code }} }} }}',
            "mutation { consentUpdate(purpose: MARKETING, deliveryChannel: EMAIL, isAllowed: true)"
            " { state } }",
        ):
            assert rich.gql(text, user=ERINS_USER)["errors"][0]["extensions"]["code"] == "REFUSED"
        with pytest.raises(PersonErased):
            identity.resolve_profile(
                installation=installation, shown={IdentityKind.SALEOR_USER: ERINS_USER}, now=now
            )
    assert not Identity.objects.of(installation).filter(value=ERINS_USER).exists()
    assert traces([ERINS_USER]) == []


def test_b121_a_browser_with_an_erased_cart_is_a_browser_without_one(
    rich: Life, elsewhere: Phones
) -> None:
    installation = rich.installation
    elsewhere.installation.delete()
    with later(HOUR):
        erase_by("command", rich)
    with later(2 * HOUR):
        assert rich.collect(FRANKS_PHONE, rich.viewed("now"), cart=GUEST_CART) == ["ACCEPTED"]
        assert rich.collect("phone-ffffeeeeddddcccc", cart=GUEST_CART) == []
    assert traces([GUEST_CART]) == []
    assert not Identity.objects.of(installation).filter(value="phone-ffffeeeeddddcccc").exists()


def test_b121_a_deletion_that_is_told_again_erases_nobody_new(
    life: Life, installation: Installation
) -> None:
    life.post(installation, "customer_created", customer(at=NOW - DAY))
    life.post(installation, "account_deleted", {"id": ERINS_USER, "email": ERIN}, issued_at=NOW)
    with later(DAY) as now:
        life.post(installation, "order_created", order(life.shop, "T3JkZXI6bmV3", ERIN, "", at=now))
        life.post(installation, "account_deleted", {"id": ERINS_USER, "email": ERIN}, issued_at=NOW)
        assert Erasure.objects.count() == 1
        assert Order.objects.get().profile is not None
        assert Identity.objects.filter(value=email_hash(ERIN)).count() == 1


def test_b121_a_deletion_that_comes_after_the_next_account_of_the_address_leaves_it(
    life: Life, installation: Installation
) -> None:
    """The worker was away: first the new account is read, then that the old one is gone."""
    life.post(installation, "customer_created", customer(at=NOW - DAY, isConfirmed=False))
    life.post(installation, "customer_created", customer("VXNlcjo5OQ==", at=NOW))
    life.post(
        installation,
        "customer_deleted",
        {"id": ERINS_USER, "email": ERIN},
        issued_at=NOW - MINUTE,
    )
    assert not Identity.objects.filter(value=ERINS_USER).exists()
    kept = Identity.objects.get(value="VXNlcjo5OQ==").profile
    assert Identity.objects.get(value=email_hash(ERIN)).profile in kept.person()
    # And it may go on being told of.
    with later(DAY) as now:
        life.post(installation, "customer_updated", customer("VXNlcjo5OQ==", at=now))
    assert Identity.objects.filter(value="VXNlcjo5OQ==").count() == 1


def test_b121_the_deletion_of_somebody_unknown_keeps_them_unknown(
    life: Life, installation: Installation
) -> None:
    """Saleor's deliveries overtake each other: the creation may come last."""
    life.post(installation, "account_deleted", {"id": ERINS_USER, "email": ERIN})
    life.post(installation, "customer_created", customer(at=NOW - HOUR))
    assert Profile.objects.count() == 0
    assert WebhookDelivery.objects.count() == 0


def test_b121_a_no_outlives_the_person(life: Life, installation: Installation) -> None:
    life.post(installation, "customer_created", customer(at=NOW - HOUR))
    life.gql(
        "mutation { consentUpdate(purpose: MARKETING, deliveryChannel: EMAIL, isAllowed: false)"
        " { state } }",
        user=ERINS_USER,
    )
    with later(HOUR):
        erase_by("graphql", life)
    assert list(Suppression.objects.values_list("address_hash", "reason")) == [
        (email_hash(ERIN), "unsubscribed")
    ]


@pytest.mark.parametrize("how", ["account_deleted", "graphql"])
def test_b121_a_friend_whose_address_was_typed_stays(
    life: Life, installation: Installation, how: str
) -> None:
    """Erin's browser once ordered with a friend's address; the friend is not hers to delete."""
    shop = life.shop
    life.collect(PHONE_ID, life.viewed("v"))
    browser = Identity.objects.get(value=PHONE_ID).profile
    life.post(
        installation, "order_created", order(shop, ORDER, FRANK, "", cart=CART, at=NOW - HOUR)
    )
    friend = Identity.objects.get(value=email_hash(FRANK)).profile
    merging.prove(
        installation=installation,
        first=browser,
        second=friend,
        proof=merging.MergeProof.CHECKOUT_COMPLETED,
        evidence=[(IdentityKind.CHECKOUT, CART)],
        now=NOW,
    )
    life.post(installation, "customer_created", customer(at=NOW - HOUR))
    life.gql("mutation { track(events: []) { results { status } } }", ERINS_USER, PHONE_ID)
    erin = Identity.objects.get(value=ERINS_USER).profile
    assert friend in erin.person()

    with later(HOUR):
        erase_by(how, life)

    assert list(Profile.objects.all()) == [friend]
    assert Order.objects.get().profile == friend
    friend.refresh_from_db()
    assert friend.merged_into is None
    assert not Merge.objects.exists()


def test_b121_a_friend_who_typed_her_address_keeps_the_order(
    life: Life, installation: Installation
) -> None:
    shop = life.shop
    life.post(installation, "customer_created", customer(FRANKS_USER, FRANK, at=NOW - HOUR))
    life.post(installation, "customer_created", customer(at=NOW - HOUR))
    gift = order(shop, ORDER, ERIN, at=NOW - MINUTE)
    gift["user"] = {"id": FRANKS_USER, "email": FRANK}
    life.post(installation, "order_created", gift)
    cart = checkout(shop, CART, ERIN, at=NOW - MINUTE)
    cart["user"] = {"id": FRANKS_USER, "email": FRANK}
    life.post(installation, "checkout_created", cart)
    frank = Identity.objects.get(value=FRANKS_USER).profile
    with later(HOUR):
        erase_by("account_deleted", life)
    found = Order.objects.get()
    assert (found.profile, found.user_saleor_id, found.email_hash) == (frank, FRANKS_USER, "")
    assert Checkout.objects.get().profile == frank
    # The next news of both bring the address not back.
    with later(2 * HOUR):
        gift["updatedAt"] = cart["updatedAt"] = iso(NOW + 2 * HOUR)
        life.post(installation, "order_updated", gift)
        life.post(installation, "checkout_updated", cart)
    assert Order.objects.get().email_hash == email_hash(FRANK)
    assert Checkout.objects.get().email_hash == email_hash(FRANK)
    assert traces([ERIN, email_hash(ERIN)]) == []


def test_b121_what_waits_in_the_queue_is_not_kept_either(
    life: Life, installation: Installation
) -> None:
    life.post(installation, "customer_created", customer(at=NOW - HOUR))
    life.post(installation, "customer_updated", customer(at=NOW - MINUTE), processed=False)
    life.post(
        installation,
        "checkout_created",
        checkout(life.shop, CART, ERIN, ERINS_USER, at=NOW - MINUTE),
        processed=False,
    )
    assert WebhookDelivery.objects.filter(status="received").count() == 2
    with later(HOUR) as now:
        profile = Identity.objects.get(value=ERINS_USER).profile
        privacy.erase(profile=profile, requested_by=ErasureSource.STAFF, now=now)
        assert deliveries.process_waiting(now=now) == 2
        sweep_erasures()
    assert traces([ERIN, email_hash(ERIN), ERINS_USER, NAME, CART]) == []


def test_b121_an_upload_that_holds_the_person_is_deleted(
    life: Life, installation: Installation
) -> None:
    life.post(installation, "customer_created", customer(at=NOW - HOUR))
    runs = [
        imports.upload(
            installation=installation,
            name=f"{name}.csv",
            chunks=[f"number,date,email\nS-1,2026-02-01,{address}\n".encode()],
            now=NOW,
        )
        for name, address in (("hers", ERIN.lower()), ("his", FRANK))
    ]
    with later(HOUR):
        erase_by("account_deleted", life)
    hers, his = (Import.objects.get(pk=run.pk) for run in runs)
    assert (hers.path, hers.status) == ("", ImportStatus.FAILED)
    assert "asked to be erased" in hers.error
    assert his.status == ImportStatus.DRAFT
    assert [path.name for path in Path(stored.storage().location).iterdir()] == [his.path]


def test_b121_a_refused_row_of_somebody_who_is_back_stays(
    life: Life, installation: Installation
) -> None:
    life.post(installation, "customer_created", customer(at=NOW - HOUR))
    with later(HOUR):
        erase_by("account_deleted", life)
    with later(DAY) as now:
        life.post(installation, "customer_created", customer("VXNlcjo5OQ==", at=now))
        life.buy_in_store(f"S-2,gestern,{ERIN},,{life.shop.stand},9")
        sweep_erasures(everywhere=True)
    assert ImportReject.objects.count() == 1


def test_b121_a_message_in_hand_is_not_brought_back(
    life: Life, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person is erased while the provider takes the message: its outcome has nowhere to go."""
    journey = journeys.ensure_journey(installation=installation, key="abandoned_checkout")
    journeys.go_live(journey=journey, now=NOW - DAY)
    life.live(ERIN, ERINS_USER, PHONE_ID, GUEST_CART, CART, ORDER)
    profile = Identity.objects.get(value=ERINS_USER).profile
    sent = []

    def send(self: EmailChannel, message: OutgoingMessage) -> SendResult:
        privacy.erase(profile=profile, requested_by=ErasureSource.STAFF, now=NOW + 12 * MINUTE)
        sent.append(message.recipient)
        return SendResult(provider_message_id="taken")

    monkeypatch.setattr(EmailChannel, "send", send)
    journeys.advance_due(now=NOW + 12 * MINUTE, ask=Saleor())
    assert sent == [ERIN]
    assert not Message.objects.exists()
    assert not Enrollment.objects.exists()
    assert journeys.advance_due(now=NOW + HOUR, ask=Saleor()) == 0


# -- export --------------------------------------------------------------------------------------------


def test_b122_the_export_holds_everything_under_stable_keys(rich: Life) -> None:
    installation = rich.installation
    profile = Identity.objects.of(installation).get(value=ERINS_USER).profile
    response = rich.client.get(
        f"/dashboard/people/{profile.public_id}/export/?format=json", headers=headers(installation)
    )
    assert response["Content-Disposition"] == 'attachment; filename="person.json"'
    document = json.loads(response.content)
    assert document["format"] == "saleor-personalize/person/1"
    assert document["shop"] == installation.saleor_api_url
    assert {row["kind"]: row.get("address") or row.get("value") for row in document["ids"]} == {
        "saleor_user": ERINS_USER,
        "email": ERIN,
        "anonymous_id": PHONE_ID,
        "checkout": CART,
        "external_id": CARD,
    }
    counts = {key: len(rows) for key, rows in document.items() if isinstance(rows, list)}
    assert counts["profiles"] == 4
    assert counts["events"] == 4
    assert counts["orders"] == 2
    assert counts["checkouts"] == 2
    assert counts["favourites"] == counts["shared_favourites"] == 1
    assert counts["sessions"] == 1
    assert counts["segments"] == 1
    assert counts["messages"] >= 1
    assert counts["consents"] >= 1
    (bought,) = [row for row in document["orders"] if row["id"] == ORDER]
    assert bought["lines"][0]["name"] == "Aurora phone"
    assert bought["total"] == "10.000"
    # Frank is in none of it.
    text = json.dumps(document)
    for word in (FRANK, email_hash(ERIN), FRANKS_USER, FRANKS_PHONE, FRANKS_CART):
        assert word not in text
    out = io.StringIO()
    call_command(
        "personalize_export", "--person", ERIN,
        "--installation", installation.saleor_api_url, stdout=out,
    )  # fmt: skip
    assert json.loads(out.getvalue()) == document


def test_b122_the_export_can_be_read_by_anybody(rich: Life) -> None:
    installation = rich.installation
    out = io.StringIO()
    call_command(
        "personalize_export", "--person", ERINS_USER, "--format", "html", "--language", "DE",
        "--installation", installation.saleor_api_url, stdout=out,
    )  # fmt: skip
    page = unescape(out.getvalue())
    assert '<html lang="de"' in page
    for text in ("Ihre Daten", "Bestellungen", "Besuche", ERIN, NAME, "Aurora phone", "Desk lamp"):
        assert text in page, text
    assert FRANK not in page


def test_b122_a_shopper_exports_what_is_theirs_and_no_more(
    rich: Life, installation: Installation
) -> None:
    answer = rich.gql("{ profileExport { document html } }", user=ERINS_USER)
    document = json.loads(answer["data"]["profileExport"]["document"])
    assert {row["id"] for row in document["orders"]} == {ORDER}
    assert {row["id"] for row in document["checkouts"]} == {CART}
    assert [row["address"] for row in document["ids"] if row["kind"] == "email"] == [ERIN]
    assert "Your data" in answer["data"]["profileExport"]["html"]
    # A stranger's cart that was joined to hers is not for her eyes.
    merging.prove(
        installation=installation,
        first=Identity.objects.of(installation).get(value=CARD).profile,
        second=Profile.objects.create(installation=installation, first_seen_at=NOW),
        proof=merging.MergeProof.CHECKOUT_COMPLETED,
        now=NOW,
    )
    answer = rich.gql("{ profileExport { document } }", user=ERINS_USER)
    document = json.loads(answer["data"]["profileExport"]["document"])
    assert len(document["profiles"]) == 4
    assert (document["computed_traits"], document["segments"], document["merges"]) == ([], [], [])


def test_b122_nobody_else_gets_an_export(rich: Life, elsewhere: Phones) -> None:
    text = "{ profileExport { document } }"
    for sent in ({}, {"anonymous_id": PHONE_ID}):
        assert rich.gql(text, **sent)["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert (
            rich.gql("mutation { profileErase { reference } }", **sent)["errors"][0]["extensions"][
                "code"
            ]
            == "FORBIDDEN"
        )
    assert rich.gql(text, user="VXNlcjo0MDQ=")["data"]["profileExport"] is None
    installation = rich.installation
    hers = Identity.objects.of(elsewhere.installation).get(value=ERINS_USER).profile
    for path in (f"{hers.public_id}/export/", f"{hers.public_id}/erase/ask/"):
        url = f"/dashboard/people/{path}"
        assert rich.client.get(url, headers=headers(installation)).status_code == 404
        assert rich.client.get(url).status_code == 401
    few = ["MANAGE_ORDERS", "MANAGE_CHECKOUTS"]
    mine = Identity.objects.of(installation).get(value=ERINS_USER).profile
    refused = headers(installation, permissions=few, user_permissions=few)
    url = f"/dashboard/people/{mine.public_id}"
    assert rich.client.get(f"{url}/export/", headers=refused).status_code == 403
    assert rich.client.post(f"{url}/erase/", headers=refused).status_code == 403
    assert (
        rich.client.post(
            f"/dashboard/people/{hers.public_id}/erase/", headers=headers(installation)
        ).status_code
        == 404
    )
    assert Erasure.objects.count() == 0


def test_b122_exports_are_rare(rich: Life) -> None:
    text = "{ profileExport { document } }"
    for _ in range(5):
        assert rich.gql(text, user=ERINS_USER)["data"]["profileExport"]
    assert rich.gql(text, user=ERINS_USER)["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
    assert rich.gql(text, user=FRANKS_USER)["data"]["profileExport"]
    with later(HOUR):
        assert rich.gql(text, user=ERINS_USER)["data"]["profileExport"]


# -- leaving -------------------------------------------------------------------------------------------


def test_d10_a_shop_takes_everything_along_and_what_was_imported_comes_in_again(
    rich: Life, elsewhere: Phones, tmp_path: Path
) -> None:
    installation = rich.installation
    folder = tmp_path / "export"
    call_command(
        "personalize_export", "--installation", installation.saleor_api_url, "--to", str(folder),
        stdout=io.StringIO(),
    )  # fmt: skip
    people = [json.loads(line) for line in (folder / "people.jsonl").read_text().splitlines()]
    assert len(people) == Profile.objects.of(installation).filter(merged_into=None).count()
    assert {person["format"] for person in people} == {"saleor-personalize/person/1"}
    assert (folder / "people.jsonl").stat().st_mode & 0o077 == 0
    saved = json.loads((folder / "segments.json").read_text())
    assert [row["key"] for row in saved] == ["lookers"]
    orders = [
        json.loads(line) for line in (folder / "offline_orders.jsonl").read_text().splitlines()
    ]
    (mine,) = orders
    assert (mine["number"], mine["external_id"], mine["marketing_opt_in"]) == ("S-1", CARD, "yes")

    # Into the other shop, as it is.
    target = elsewhere.installation
    call_command(
        "personalize_import", str(folder / "offline_orders.jsonl"),
        "--installation", target.saleor_api_url, stdout=io.StringIO(), stderr=io.StringIO(),
    )  # fmt: skip
    moved = Order.objects.of(target).get(saleor_id="offline:S-1")
    kept = Order.objects.of(installation).get(saleor_id="offline:S-1")
    for name in ("number", "total", "currency", "channel_slug", "placed_at", "email_hash"):
        assert getattr(moved, name) == getattr(kept, name), name
    assert list(moved.lines.values_list("product_saleor_id", "quantity", "unit_price")) == list(
        kept.lines.values_list("product_saleor_id", "quantity", "unit_price")
    )
    assert Identity.objects.of(target).filter(value=CARD).exists()


def test_d10_the_kill_switch_leaves_nothing_of_a_shop(
    rich: Life, elsewhere: Phones, tmp_path: Path
) -> None:
    installation = rich.installation
    url, key = installation.saleor_api_url, installation.pk
    imports.upload(installation=installation, name="a.csv", chunks=[b"number,date\n1,2\n"], now=NOW)
    privacy.erase(
        profile=Identity.objects.of(installation).get(value=FRANKS_USER).profile,
        requested_by=ErasureSource.STAFF,
        now=NOW,
    )
    other = of_others(elsewhere.installation)
    models = Path(ours.MODEL_DIRECTORY)
    assert any((models / str(key)).rglob("*.npy"))
    out = io.StringIO()
    call_command("personalize_forget", "--installation", url, "--yes", stdout=out)
    assert "Event: 4" in out.getvalue()
    assert not Installation.objects.filter(pk=key).exists()
    for model in apps.get_app_config("saleor_personalize").get_models():
        if issubclass(model, Scoped):
            assert not model.objects.filter(installation_id=key).exists(), model
    assert of_others(elsewhere.installation) == other
    assert not (models / str(key)).exists()
    assert list((tmp_path / "imports").iterdir()) == []
    # Saleor goes on sending to an app that is not there.
    door.known_installations.clear()
    response = rich.client.post(
        "/webhooks/saleor/customer_updated/",
        data=b"{}",
        content_type="application/json",
        headers={
            "Saleor-Api-Url": url,
            "Saleor-Event": "customer_updated",
            "Saleor-Signature": "x",
        },
    )
    assert response.status_code == 401
    assert not Installation.objects.filter(saleor_api_url=url).exists()


def test_every_column_has_its_handling() -> None:
    """Add a column, and say in `profiles.privacy.fields` what becomes of it."""
    columns = {
        model.__name__: {field.name for field in model._meta.concrete_fields}
        for model in apps.get_app_config("saleor_personalize").get_models()
    }
    handled = {model.__name__: set(names) for model, names in privacy.FIELDS.items()}
    assert handled == columns


def test_the_reference_of_stored_data_is_the_one_of_the_tables() -> None:
    out = io.StringIO()
    call_command("personalize_export", "--fields", stdout=out)
    found = (Path(__file__).parents[2] / "docs/reference/data.md").read_text()
    assert out.getvalue() == found, "saleor-personalize export --fields > docs/reference/data.md"


def test_tombstones_of_one_shop_say_nothing_in_another(
    installation: Installation, other_installation: Installation
) -> None:
    id_ = (IdentityKind.EMAIL, email_hash(ERIN))
    hashes = {tombstones.fingerprint(shop, id_) for shop in (installation, other_installation)}
    assert len(hashes) == 2
    assert email_hash(ERIN) not in hashes


@pytest.mark.django_db(transaction=True)
def test_b121_no_fact_slips_past_an_erasure_under_way() -> None:
    """The erasure has looked and not committed; what is recorded meanwhile waits and sees it."""
    shop = make_installation("race")
    data = nodes.read_customer(customer(at=NOW))
    events.record_customers(installation=shop, data=[data], now=NOW)
    profile = Identity.objects.get(value=ERINS_USER).profile
    late = threading.Thread(
        target=_in_own_connection,
        args=(lambda: events.record_customers(installation=shop, data=[data], now=NOW + HOUR),),
    )
    with transaction.atomic():
        privacy.erase(profile=profile, requested_by=ErasureSource.STAFF, now=NOW + HOUR)
        late.start()
        with connection.cursor() as cursor:
            waiting = 0
            while late.is_alive() and not waiting:
                cursor.execute(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
                (waiting,) = cursor.fetchone()
        assert waiting == 1
    late.join(30)
    assert Profile.objects.count() == 0
    assert Identity.objects.count() == 0


def _in_own_connection(job: Callable[[], Any]) -> None:
    try:
        job()
    finally:
        connection.close()
