"""B9 in the Dashboard: a file is uploaded, described, tried and imported, by those who may."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from saleor_personalize.enums import ImportStatus
from saleor_personalize.ingestion.imports import operations
from saleor_personalize.models import Import, ImportReject, Installation, Order
from saleor_personalize.tasks.imports import purge_imports, run_imports
from tests.catalogue import Catalogue
from tests.conftest import NOW
from tests.integration.test_dashboard import headers, outcome
from tests.integration.test_import import HEADER, ROWS, make_shop

CONTENT = "\n".join([HEADER, *ROWS, "S-9,gestern,secret@example.com,,CASE-3,1,5", ""]).encode()
URL = "/dashboard/imports/"


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> Path:
    """Where uploads wait: a folder of this test."""
    folder = tmp_path / "imports"
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "IMPORT_STORAGE": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(folder)},
        },
    }
    return folder


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


@pytest.fixture
def shop(installation: Installation) -> Catalogue:
    return make_shop(installation)


def upload(
    client: Client, signed: dict[str, str], content: bytes = CONTENT, name: str = "orders.csv"
) -> Any:
    return client.post(f"{URL}upload/", {"file": SimpleUploadedFile(name, content)}, headers=signed)


def form(run: Import, **changes: str) -> dict[str, str]:
    """What the form sends for the guessed columns."""
    return {
        **{f"map-{ours}": theirs for ours, theirs in run.mapping.items()},
        **{k: v for k, v in run.options.items() if k != "match"},
        **changes,
    }


def test_b9_a_file_is_tried_then_imported_and_deleted(
    client: Client, shop: Catalogue, signed: dict[str, str], storage: Path
) -> None:
    page = upload(client, signed)
    run = Import.objects.get()
    assert (page.status_code, run.status, run.file_name) == (200, ImportStatus.DRAFT, "orders.csv")
    html = page.content.decode()
    assert '<option value="Loyalty card" selected>Loyalty card</option>' in html
    assert "<td>alice@example.com</td>" in html
    (kept,) = storage.iterdir()
    assert b"alice" not in kept.read_bytes(), "personal data lies there encrypted"

    tried = client.post(f"{URL}{run.pk}/start/", form(run, action="try"), headers=signed)
    assert outcome(tried)["title"] == "Trying the import"
    run.refresh_from_db()
    assert (run.status, run.is_dry_run) == (ImportStatus.PENDING, True)
    assert run_imports() == 1
    assert Order.objects.count() == 0
    html = client.get(f"{URL}{run.pk}/", headers=signed).content.decode()
    assert "Nothing was changed." in html
    assert "A date is missing or cannot be read" in html
    assert storage.exists()
    assert list(storage.iterdir()) == [kept]

    client.post(f"{URL}{run.pk}/start/", form(run, action="import"), headers=signed)
    assert run_imports() == 1
    run.refresh_from_db()
    assert (run.status, run.is_dry_run, run.path) == (ImportStatus.DONE, False, "")
    assert (run.recorded_count, run.rejected_count) == (3, 1)
    assert Order.objects.count() == 2
    assert list(storage.iterdir()) == [], "the file is deleted when done"
    # There is nothing left to start again.
    again = client.post(f"{URL}{run.pk}/start/", form(run, action="import"), headers=signed)
    assert outcome(again)["status"] == "error"
    assert run_imports() == 0

    rejected = client.get(f"{URL}{run.pk}/rejects/", headers=signed)
    assert rejected["Content-Disposition"] == f'attachment; filename="rejects-{run.pk}.csv"'
    text = b"".join(rejected.streaming_content).decode()
    assert text.splitlines()[1].startswith("S-9,gestern,secret@example.com,,CASE-3,1,5,4,BAD_DATE,")

    client.post(f"{URL}{run.pk}/delete/", headers=signed)
    assert (Import.objects.count(), ImportReject.objects.count()) == (0, 0)
    assert Order.objects.count() == 2


def test_b9_the_form_says_how_a_file_is_read(
    client: Client, shop: Catalogue, signed: dict[str, str]
) -> None:
    content = "Nr;Tag;Was;Wert\n1;31.01.2026;Büchse;1.234,50\n".encode("latin-1")
    shop.product(9, "Büchse")
    upload(client, signed, content)
    run = Import.objects.get()
    chosen = {
        "map-number": "Nr", "map-placed_at": "Tag", "map-product": "Was", "map-unit_price": "Wert",
        "encoding": "latin-1", "decimal": ",", "timezone": "Europe/Berlin", "delimiter": ";",
        "currency": "", "channel": "", "date_format": "", "unknown_products": "reject",
    }  # fmt: skip
    looked = client.post(f"{URL}{run.pk}/describe/", chosen, headers=signed)
    assert "<td>Büchse</td>" in looked.content.decode()
    client.post(f"{URL}{run.pk}/start/", {**chosen, "action": "import"}, headers=signed)
    run_imports()
    order = Order.objects.get()
    assert (str(order.total), order.placed_at.isoformat()) == (
        "1234.500",
        "2026-01-31T22:59:59+00:00",
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"map-number": ""}, "Say which column is number"),
        ({"map-number": "nothing"}, "no column “nothing”"),
        ({"timezone": "Mars"}, "Europe/Warsaw"),
        ({"encoding": "klingon"}, "klingon"),
        ({"delimiter": "xx"}, "delimiter"),
        ({"currency": "euros"}, "three capital letters"),
        ({"channel": "pluto"}, "pluto"),
    ],
)
def test_b9_a_form_that_cannot_be_used_says_why_and_starts_nothing(
    client: Client, shop: Catalogue, signed: dict[str, str], changes: dict[str, str], said: str
) -> None:
    upload(client, signed)
    run = Import.objects.get()
    response = client.post(
        f"{URL}{run.pk}/start/", form(run, action="import", **changes), headers=signed
    )
    assert response.status_code == 200
    assert said in response.content.decode()
    run.refresh_from_db()
    assert run.status == ImportStatus.DRAFT
    assert run_imports() == 0
    assert Order.objects.count() == 0


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "orders.csv", "empty"),
        (b"x", "orders.xlsx", "Files end in"),
        (b"PAR1", "o.parquet", "Parquet"),
    ],
)
def test_b9_an_upload_that_is_no_file_of_purchases_is_not_kept(
    client: Client,
    shop: Catalogue,
    signed: dict[str, str],
    storage: Path,
    content: bytes,
    name: str,
    said: str,
) -> None:
    response = upload(client, signed, content or b"\n", name)
    assert said in response.content.decode()
    assert outcome(response)["status"] == "error"
    assert Import.objects.count() == 0
    assert list(storage.iterdir()) == []


def test_b9_an_upload_without_a_file_or_too_large_is_refused(
    client: Client, shop: Catalogue, signed: dict[str, str], storage: Path, settings: Any
) -> None:
    assert (
        "Choose a file first." in client.post(f"{URL}upload/", {}, headers=signed).content.decode()
    )
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "IMPORT_MAX_BYTES": 100}
    assert "too large" in upload(client, signed).content.decode()
    assert "too large" in upload(client, signed, b"x" * 200_000).content.decode()
    assert Import.objects.count() == 0
    assert not storage.exists()


def test_b9_only_staff_with_the_permissions_see_rows_and_import(
    client: Client, shop: Catalogue, installation: Installation, signed: dict[str, str]
) -> None:
    upload(client, signed)
    run = Import.objects.get()
    for permissions in (["MANAGE_ORDERS", "MANAGE_CHECKOUTS"], ["MANAGE_USERS", "MANAGE_ORDERS"]):
        fewer = headers(installation, permissions=permissions)
        listed = client.get(URL, headers=fewer)
        assert listed.status_code == 200
        assert b"orders.csv" in listed.content
        assert b'id="upload-file"' not in listed.content
        assert upload(client, fewer).status_code == 403
        for path in (f"{run.pk}/", f"{run.pk}/rejects/"):
            response = client.get(URL + path, headers=fewer)
            assert response.status_code == 403
            assert b"alice@example.com" not in response.content
        for action in ("describe", "start", "delete"):
            assert (
                client.post(f"{URL}{run.pk}/{action}/", form(run), headers=fewer).status_code == 403
            )
    for path in ("", f"{run.pk}/", f"{run.pk}/rejects/"):
        assert client.get(URL + path).status_code == 401
    assert Import.objects.get().status == ImportStatus.DRAFT


def test_b9_an_import_of_another_shop_is_not_found(
    client: Client, shop: Catalogue, signed: dict[str, str], other_installation: Installation
) -> None:
    upload(client, signed)
    run = Import.objects.get()
    theirs = headers(other_installation)
    assert b"orders.csv" not in client.get(URL, headers=theirs).content
    for path in (f"{run.pk}/", f"{run.pk}/rejects/"):
        assert client.get(URL + path, headers=theirs).status_code == 404
    for action in ("describe", "start", "delete"):
        assert client.post(f"{URL}{run.pk}/{action}/", form(run), headers=theirs).status_code == 404
    assert Import.objects.get().status == ImportStatus.DRAFT


def test_b9_what_is_running_cannot_be_started_twice_or_deleted(
    client: Client, shop: Catalogue, signed: dict[str, str]
) -> None:
    upload(client, signed)
    run = Import.objects.get()
    client.post(f"{URL}{run.pk}/start/", form(run, action="import"), headers=signed)
    for action in ("start", "delete"):
        response = client.post(f"{URL}{run.pk}/{action}/", form(run, action="try"), headers=signed)
        assert outcome(response)["status"] == "error"
    run.refresh_from_db()
    assert (run.status, run.is_dry_run) == (ImportStatus.PENDING, False)


def test_b9_an_import_that_failed_goes_on_where_it_stopped(
    client: Client, shop: Catalogue, signed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"N-{n},2026-02-01,,,CASE-3,1,5" for n in range(operations.BATCH + 1)]
    upload(client, signed, "\n".join([HEADER, *rows, ""]).encode())
    run = Import.objects.get()
    client.post(f"{URL}{run.pk}/start/", form(run, action="import"), headers=signed)
    record, calls = operations.offline.record_purchases, []

    def break_down(**given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise RuntimeError("secret@example.com")
        return record(**given)

    monkeypatch.setattr(operations.offline, "record_purchases", break_down)
    run_imports()
    run.refresh_from_db()
    assert (run.status, run.position) == (ImportStatus.FAILED, operations.BATCH)
    assert "secret" not in run.error
    assert Order.objects.count() == operations.BATCH
    client.post(f"{URL}{run.pk}/start/", {"action": "import"}, headers=signed)
    run_imports()
    run.refresh_from_db()
    assert (run.status, run.recorded_count) == (ImportStatus.DONE, operations.BATCH + 1)
    assert [len(call["purchases"]) for call in calls] == [operations.BATCH, 1, 1]


def test_b9_refused_rows_and_forgotten_uploads_go_after_their_time(
    client: Client, shop: Catalogue, signed: dict[str, str], storage: Path
) -> None:
    upload(client, signed)
    done = Import.objects.get()
    client.post(f"{URL}{done.pk}/start/", form(done, action="import"), headers=signed)
    run_imports()
    upload(client, signed)
    assert purge_imports() == 0
    assert len(list(storage.iterdir())) == 1
    later = NOW + operations.settings.IMPORT_RETENTION + timedelta(seconds=1)
    with time_machine.travel(later, tick=False):
        assert purge_imports() == 1
    assert list(storage.iterdir()) == []
    assert ImportReject.objects.count() == 0
    assert Import.objects.count() == 2
    # The forgotten one can no longer be started.
    left = Import.objects.exclude(pk=done.pk).get()
    response = client.post(f"{URL}{left.pk}/start/", {"action": "import"}, headers=signed)
    assert outcome(response)["status"] == "error"
