"""The door before Django: the same answers, and many deliveries in one statement (row B116)."""

import io
import json
import threading
from collections.abc import Iterable
from typing import Any

import django.db
import pytest
from django.db.backends.base.base import BaseDatabaseWrapper

from saleor_personalize.ingestion import deliveries
from saleor_personalize.models import Installation, WebhookDelivery
from saleor_personalize.tasks import broker
from saleor_personalize.testing.keys import TEST_KEY
from saleor_personalize.webhooks import wake, wsgi
from tests.conftest import NOW, make_installation
from tests.webhooks.conftest import payload_of

pytestmark = pytest.mark.django_db(transaction=True)


def send(
    application: Any, installation: Installation, body: bytes, **environ: Any
) -> tuple[str, dict[str, str], bytes]:
    told: list[Any] = []
    request = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/webhooks/saleor/product_updated/",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_SALEOR_API_URL": installation.saleor_api_url,
        "HTTP_SALEOR_EVENT": "product_updated",
        "HTTP_SALEOR_SIGNATURE": TEST_KEY.sign_webhook(body),
        "wsgi.input": io.BytesIO(body),
        **environ,
    }
    answer = application(request, lambda *answer: told.extend(answer))
    return told[0], dict(told[1]), b"".join(answer)


def django_application(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("418 I'm a Teapot", [])
    return [environ["PATH_INFO"].encode()]


@pytest.fixture(autouse=True)
def _hold_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsgi, "IDLE_SECONDS", 0)


@pytest.fixture
def application() -> Any:
    return wsgi.with_webhook_door(django_application)


def bodies(count: int) -> list[bytes]:
    return [json.dumps(payload_of(number=number)).encode() for number in range(count)]


def test_b116_answered_after_it_is_stored(application: Any, sent_tasks: list[str]) -> None:
    installation = make_installation()
    (body,) = bodies(1)
    assert send(application, installation, body) == (
        "200 OK",
        {"Content-Type": "application/json", "Content-Length": "17"},
        b'{"success": true}',
    )
    stored = WebhookDelivery.objects.get()
    assert (stored.installation, stored.event, bytes(stored.body)) == (
        installation,
        "product_updated",
        body,
    )
    assert sent_tasks == ["personalize.process_deliveries"]


def test_b116_a_broker_that_never_answers_holds_up_no_answer(
    application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery is stored: Saleor is told so at once, and has not to try again."""
    asked = threading.Event()

    class Silent:
        def send_task(self, name: str, **_: object) -> None:
            asked.set()
            # For ever: a bell that goes on would ring in another test.
            threading.Event().wait()

    monkeypatch.setattr(broker, "current_app", Silent())
    monkeypatch.setattr(wsgi, "bell", wake.Bell("personalize.process_deliveries"))
    installation = make_installation()
    for body in bodies(3):
        assert send(application, installation, body)[0] == "200 OK"
    assert asked.wait(10)
    assert WebhookDelivery.objects.count() == 3


def test_everything_else_is_left_to_django(application: Any) -> None:
    installation = make_installation()
    for path in ("/graphql/", "/webhooks/", "/"):
        assert send(application, installation, b"", PATH_INFO=path) == (
            "418 I'm a Teapot",
            {},
            path.encode(),
        )


def test_b127_refusals_are_the_same(application: Any, sent_tasks: list[str], settings: Any) -> None:
    installation = make_installation()
    (body,) = bodies(1)
    for environ, status, code in (
        ({"REQUEST_METHOD": "GET"}, "405 Method Not Allowed", "WRONG_METHOD"),
        ({"HTTP_SALEOR_SIGNATURE": "junk"}, "401 Unauthorized", "INVALID_SIGNATURE"),
        ({"PATH_INFO": "/webhooks/saleor/a/b/"}, "400 Bad Request", "WRONG_EVENT"),
        ({"CONTENT_LENGTH": "9999999"}, "413 Request Entity Too Large", "PAYLOAD_TOO_LARGE"),
    ):
        answered, headers, text = send(application, installation, body, **environ)
        assert (answered, json.loads(text)["error"]["code"]) == (status, code)
        assert headers["Content-Length"] == str(len(text))
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "WEBHOOK_MAX_BYTES": 100}
    answered, _, _ = send(application, installation, body, CONTENT_LENGTH="")
    assert answered == "413 Request Entity Too Large"
    assert not WebhookDelivery.objects.exists()
    assert sent_tasks == []


def test_b119_an_address_writes_no_line_into_the_log(
    application: Any, caplog: pytest.LogCaptureFixture
) -> None:
    installation = make_installation()
    path = "/webhooks/saleor/x\n2026-03-02 ERROR alice@example.com/"
    for signature in (TEST_KEY.sign_webhook(b"{}"), ""):
        status, _, _ = send(
            application, installation, b"{}", PATH_INFO=path, HTTP_SALEOR_SIGNATURE=signature
        )
        assert status == "400 Bad Request"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert not [line for line in lines if "\n" in line]
    assert lines[1] == (
        "A strange webhook was refused (MISSING_SIGNATURE_HEADER): The header Saleor-Signature is "
        "missing."
    )


def test_b116_deliveries_that_wait_together_are_stored_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first is written alone; what arrives meanwhile shares the second statement."""
    first_is_written, may_go_on = threading.Event(), threading.Event()
    sizes: list[int] = []
    really = deliveries.store

    def store(rows: list[Any]) -> None:
        sizes.append(len(rows))
        if len(sizes) == 1:
            first_is_written.set()
            assert may_go_on.wait(10)
        really(rows)

    monkeypatch.setattr(deliveries, "store", store)
    installation = make_installation()
    grouped = wsgi.GroupedStore()
    rows = [
        deliveries.row(
            installation_id=installation.pk, event="x", body=body, issued_at=None, now=NOW
        )
        for body in bodies(10)
    ]
    threads = [threading.Thread(target=grouped, args=(row,)) for row in rows]
    threads[0].start()
    assert first_is_written.wait(10)
    for thread in threads[1:]:
        thread.start()
    while grouped._rows.qsize() < 9:
        pass
    may_go_on.set()
    for thread in threads:
        thread.join(10)
    assert sizes == [1, 9]
    assert WebhookDelivery.objects.count() == 10


def test_b116_one_row_that_cannot_be_stored_costs_the_others_nothing() -> None:
    """A shop may be removed between the check and the write."""
    installation = make_installation()
    grouped = wsgi.GroupedStore()
    good, bad = (
        wsgi._Waiting(
            deliveries.row(installation_id=pk, event="x", body=b"{}", issued_at=None, now=NOW)
        )
        for pk in (installation.pk, installation.pk + 1_000)
    )
    grouped._store([bad, good])
    assert isinstance(bad.error, django.db.IntegrityError)
    assert good.error is None
    assert WebhookDelivery.objects.get().installation == installation


def test_b116_a_database_that_is_away_refuses_all_at_once(
    application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = make_installation()
    asked: list[int] = []

    def store(rows: list[Any]) -> None:
        asked.append(len(rows))
        raise django.db.OperationalError("away")

    monkeypatch.setattr(deliveries, "store", store)
    group = [wsgi._Waiting(()), wsgi._Waiting(())]
    wsgi.GroupedStore()._store(group)
    assert [str(waiting.error) for waiting in group] == ["away", "away"]
    assert asked == [2]
    status, _, text = send(application, installation, bodies(1)[0])
    assert (status, json.loads(text)["error"]["code"]) == (
        "503 Service Unavailable",
        "STORE_UNAVAILABLE",
    )


def test_b116_the_thread_that_writes_outlives_a_broken_connection(
    application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every later delivery would wait for it for ever."""
    installation = make_installation()
    really, faults = deliveries.store, [django.db.OperationalError("away")]

    def store(rows: list[Any]) -> None:
        if faults:
            raise faults.pop()
        really(rows)

    really_close, odd = BaseDatabaseWrapper.close, [ValueError("not a connection of this pool")]

    def close(self: Any) -> None:
        really_close(self)
        if odd and threading.current_thread().name == "webhook-store":
            raise odd.pop()

    monkeypatch.setattr(deliveries, "store", store)
    monkeypatch.setattr(BaseDatabaseWrapper, "close", close)
    answers: list[str] = []

    def shop() -> None:
        answers.extend(send(application, installation, body)[0] for body in bodies(2))

    thread = threading.Thread(target=shop, daemon=True)
    thread.start()
    thread.join(20)
    assert answers == ["503 Service Unavailable", "200 OK"]
    assert WebhookDelivery.objects.count() == 1


def test_b116_who_waits_holds_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a burst takes the whole pool, and the one thread that writes gets none."""
    installation = make_installation()
    held: list[bool] = []
    put = wsgi.queue.SimpleQueue.put

    class Watched(wsgi.queue.SimpleQueue):  # type: ignore[type-arg]
        def put(self, *waiting: Any) -> None:
            held.append(django.db.connection.connection is not None)
            put(self, *waiting)

    monkeypatch.setattr(wsgi.queue, "SimpleQueue", Watched)
    burst = wsgi.with_webhook_door(django_application)
    assert django.db.connection.connection is not None
    assert send(burst, installation, bodies(1)[0])[0] == "200 OK"
    assert held == [False]
