"""What servers have mapped: taken up within a second, never damaged, never nothing (B40)."""

import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client

from saleor_personalize.management import doctor
from saleor_personalize.messaging import go_live
from saleor_personalize.ml import Engine
from saleor_personalize.models import Installation, TrainedModel
from saleor_personalize.recommendations import models_store, service, training, versions
from tests.catalogue import Phones


@pytest.fixture(autouse=True)
def models(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "MODEL_DIRECTORY": str(tmp_path)}
    service.forget()
    yield tmp_path
    service.forget()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`clock(seconds)` has that much time pass for the store."""
    at = [1_000.0]
    monkeypatch.setattr(models_store.time, "monotonic", lambda: at[0])

    def pass_(seconds: float) -> None:
        at[0] += seconds

    return pass_


@pytest.fixture
def shop(installation: Installation, now: datetime) -> Phones:
    """Two versions of the models of its one channel; with the newer one a lamp goes with the phone."""
    shop = Phones(installation, now)
    shop.sell()
    TrainedModel.objects.all().delete()
    from saleor_personalize.models import SalesChannel

    SalesChannel.objects.of(installation).filter(slug="pl").delete()
    training.train(installation=installation, now=now)
    for _ in range(5):
        shop.order(shop.phone, shop.lamp, days_ago=1)
    training.train(installation=installation, now=now + timedelta(hours=1))
    return shop


def folder(models: Path, *, is_published: bool = True) -> Path:
    return models / TrainedModel.objects.get(is_published=is_published).path


def beside_the_phone(shop: Phones, now: datetime) -> str:
    (found,) = service.recommend(
        installation=shop.installation,
        placement="product_page_related",
        channel_slug="us",
        product_id=shop.phone,
        first=1,
        now=now,
    )
    return found.product_id


def test_models_are_mapped_and_not_read(shop: Phones) -> None:
    engine = models_store.engine_of(shop.installation, "us")
    assert engine is not None
    arrays = [
        array
        for alias in engine.aliases
        for array in engine._ready()[alias].arrays.values()
        if array.size
    ]
    assert arrays
    for array in arrays:
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable


def test_b118_a_running_server_takes_up_another_version_within_a_second(
    shop: Phones, now: datetime, clock: Callable[[float], None]
) -> None:
    assert beside_the_phone(shop, now) == shop.lamp
    versions.roll_back(installation=shop.installation, now=now)
    clock(models_store.SECONDS + 0.01)
    assert beside_the_phone(shop, now) == shop.case
    versions.roll_back(
        installation=shop.installation,
        now=now,
        version=TrainedModel.objects.get(is_published=False).version,
    )
    clock(models_store.SECONDS + 0.01)
    assert beside_the_phone(shop, now) == shop.lamp


def test_one_look_a_second_and_none_in_between(
    shop: Phones, django_assert_num_queries: Any, clock: Callable[[float], None]
) -> None:
    models_store.engine_of(shop.installation, "us")
    with django_assert_num_queries(0):
        models_store.engine_of(shop.installation, "us")
    clock(models_store.SECONDS + 0.01)
    with django_assert_num_queries(1):
        models_store.engine_of(shop.installation, "us")


def test_a_sales_channel_that_is_made_up_costs_no_memory(shop: Phones) -> None:
    for number in range(10):
        assert models_store.engine_of(shop.installation, f"made-up-{number}") is None
    assert list(models_store._store._known) == []


@pytest.mark.django_db(transaction=True)
def test_while_one_thread_maps_a_new_version_the_others_go_on(
    now: datetime, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.conftest import make_installation

    shop = Phones(make_installation(), now)
    training.train(installation=shop.installation, now=now)
    old = models_store.engine_of(shop.installation, "us")
    training.train(installation=shop.installation, now=now + timedelta(hours=1))
    clock(models_store.SECONDS + 0.01)
    mapping, go_on = threading.Event(), threading.Event()
    load = versions.load

    def slow(path: str) -> Engine:
        mapping.set()
        assert go_on.wait(10)
        return load(path)

    monkeypatch.setattr(versions, "load", slow)
    found: list[Engine | None] = []
    from django.db import connection

    def look() -> None:
        found.append(models_store.engine_of(shop.installation, "us"))
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    assert mapping.wait(10)
    assert models_store.engine_of(shop.installation, "us") is old
    go_on.set()
    thread.join()
    assert found[0] is not old
    assert models_store.engine_of(shop.installation, "us") is found[0]


def test_a_recommender_taken_out_of_the_settings_is_not_asked_and_the_rest_answers(
    shop: Phones, now: datetime, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "RECOMMENDERS": {"similar": None},
        "PLACEMENTS": {"product_page_related": ["bought_together", "popular"]},
    }
    engine = models_store.engine_of(shop.installation, "us")
    assert engine is not None
    assert "similar" not in models_store.aliases_of(engine)
    assert "bought_together" in models_store.aliases_of(engine)


def test_b39_what_loses_to_popularity_is_not_asked_by_name_but_for_what_is_true_anyway(
    shop: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = models_store.engine_of(shop.installation, "us")
    assert engine is not None
    assert set(engine.aliases) > {"trending", "popular", "newest"}
    monkeypatch.setattr(engine, "is_published", lambda alias: False)
    assert set(models_store.aliases_of(engine)) == {"trending", "popular", "newest"}


# -- damage ------------------------------------------------------------------------------------------


def cut_short(folder: Path) -> None:
    file = max(folder.rglob("*.npy"), key=lambda file: file.stat().st_size)
    file.write_bytes(file.read_bytes()[:-8])


def overwrite(folder: Path) -> None:
    """Same length, other bytes: nothing but a checksum notices."""
    file = max(folder.rglob("*.npy"), key=lambda file: file.stat().st_size)
    data = bytearray(file.read_bytes())
    data[-8:] = b"\xff" * 8
    file.write_bytes(bytes(data))


def lose_a_file(folder: Path) -> None:
    next(iter(sorted(folder.rglob("*.npy")))).unlink()


def lose_the_checksums(folder: Path) -> None:
    (folder / "checksums.json").unlink()


def garble_the_checksums(folder: Path) -> None:
    (folder / "checksums.json").write_text("[1, 2")


def garble_the_metadata(folder: Path) -> None:
    (folder / "engine.json").write_text("{}")


DAMAGES = [
    shutil.rmtree,
    cut_short,
    overwrite,
    lose_a_file,
    lose_the_checksums,
    garble_the_checksums,
    garble_the_metadata,
]


def test_a_sales_channel_without_models_is_told(installation: Installation, now: datetime) -> None:
    Phones(installation, now)
    (finding,) = doctor._trained(installation, now)
    assert (finding.level, finding.text) == (
        go_live.WARN,
        "Nothing was trained yet for pl, us: the catalogue answers there.",
    )


@pytest.mark.parametrize("damage", DAMAGES)
def test_b40_of_a_damaged_version_the_one_before_answers_and_it_is_told(
    shop: Phones, now: datetime, models: Path, damage: Any, client: Client
) -> None:
    damage(folder(models))
    assert beside_the_phone(shop, now) == shop.case, "what the version before says"
    row = TrainedModel.objects.get(is_published=True)
    assert row.path in row.fault
    told = client.get("/health/").json()["models"]
    assert (told["status"], told["damaged"]) == ("damaged", 1)
    (finding,) = [f for f in doctor._trained(shop.installation, now) if f.level == go_live.FAIL]
    assert row.version in finding.text
    assert "saleor-personalize train" in finding.fix
    assert training.is_due(installation=shop.installation, now=now + timedelta(hours=2))


def test_b40_what_is_mapped_goes_on_when_its_files_vanish(
    shop: Phones, now: datetime, models: Path, clock: Callable[[float], None]
) -> None:
    assert beside_the_phone(shop, now) == shop.lamp
    shutil.rmtree(models)
    clock(models_store.SECONDS + 0.01)
    assert beside_the_phone(shop, now) == shop.lamp


def test_b40_a_new_version_that_is_damaged_leaves_the_mapped_one_in_place(
    shop: Phones, now: datetime, models: Path, clock: Callable[[float], None]
) -> None:
    assert beside_the_phone(shop, now) == shop.lamp
    for _ in range(9):
        shop.order(shop.phone, shop.bulb, days_ago=1)
    training.train(installation=shop.installation, now=now + timedelta(hours=2))
    cut_short(folder(models))
    clock(models_store.SECONDS + 0.01)
    assert beside_the_phone(shop, now) == shop.lamp


def test_b40_without_any_version_that_can_be_read_the_catalogue_answers(
    shop: Phones, now: datetime, models: Path
) -> None:
    shutil.rmtree(models)
    found = service.recommend(
        installation=shop.installation,
        placement="product_page_related",
        channel_slug="us",
        product_id=shop.phone,
        first=4,
        now=now,
    )
    assert len(found) == 4
    assert TrainedModel.objects.exclude(fault="").count() == 2


def test_b40_a_folder_that_comes_back_is_taken_up_again(
    shop: Phones, now: datetime, models: Path, clock: Callable[[float], None]
) -> None:
    away = models.with_name("away")
    models.rename(away)
    beside_the_phone(shop, now)
    away.rename(models)
    clock(models_store.SECONDS + 0.01)
    assert beside_the_phone(shop, now) != shop.lamp, "it is not tried each second"
    clock(models_store.RETRY_SECONDS)
    assert beside_the_phone(shop, now) == shop.lamp
    assert TrainedModel.objects.get(is_published=True).fault == ""


def test_b40_what_was_rolled_back_from_is_not_fallen_back_to(
    shop: Phones, now: datetime, models: Path
) -> None:
    versions.roll_back(installation=shop.installation, now=now)
    shutil.rmtree(folder(models))
    assert models_store.engine_of(shop.installation, "us") is None


def test_b40_a_training_mends_it(shop: Phones, now: datetime, models: Path) -> None:
    cut_short(folder(models))
    beside_the_phone(shop, now)
    training.train(installation=shop.installation, now=now + timedelta(hours=2))
    service.forget()
    assert beside_the_phone(shop, now) == shop.lamp
    assert [f.level for f in doctor._trained(shop.installation, now)] == [go_live.OK]
