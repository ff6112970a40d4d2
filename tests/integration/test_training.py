"""Training: one complete set of models per sales channel, published at once, with a way back."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import IntegrityError, connection, transaction

from saleor_personalize.catalog import operations as catalog
from saleor_personalize.conf import settings as ours
from saleor_personalize.enums import EventSource, EventType, InstallationStatus
from saleor_personalize.ml import Recommender
from saleor_personalize.ml.recommenders.content import Similar
from saleor_personalize.models import (
    Event,
    Installation,
    Product,
    Profile,
    SalesChannel,
    TrainedModel,
)
from saleor_personalize.recommendations import models_store, queries, service, training
from saleor_personalize.tasks import training as tasks
from tests.catalogue import Catalogue, Phones, gid
from tests.conftest import make_installation

ALIASES = sorted(["bought_together", "newest", "popular", "similar"])


@pytest.fixture(autouse=True)
def models(settings: Any, tmp_path: Path) -> Iterator[Path]:
    """An empty folder for models, and a process that remembers none."""
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "MODEL_DIRECTORY": str(tmp_path),
    }
    service.forget()
    yield tmp_path
    service.forget()


@pytest.fixture
def shop(installation: Installation, now: datetime) -> Phones:
    shop = Phones(installation, now)
    shop.sell()
    return shop


def rows(shop: Catalogue, channel: str = "us", *, is_published: bool = True) -> dict[str, str]:
    """Return {recommender: path}."""
    found = TrainedModel.objects.of(shop.installation).filter(
        channel_slug=channel, is_published=is_published
    )
    return dict(found.values_list("recommender", "path"))


def folders(models: Path) -> set[str]:
    return {str(path.parent.relative_to(models)) for path in models.rglob("metadata.json")}


def related(shop: Phones, now: datetime, channel: str = "us") -> list[tuple[str, str]]:
    """Return (product, strategy) beside the phone, as a process sees it that looks anew."""
    service.forget()
    found = service.recommend(
        installation=shop.installation,
        placement="product_page_related",
        channel_slug=channel,
        product_id=shop.phone,
        first=1,
        now=now,
    )
    return [(row.product_id, row.strategy) for row in found]


def test_b19_each_channel_has_models_of_its_own(shop: Phones, now: datetime) -> None:
    assert training.train(installation=shop.installation, now=now) == 8
    published = queries.published_models(installation=shop.installation)
    assert [(m.channel_slug, m.recommender, m.trained_at) for m in published] == [
        (channel, alias, now) for channel in ("pl", "us") for alias in ALIASES
    ]
    assert related(shop, now) == [(shop.case, "bought_together")]
    # In "pl" nothing was ordered yet, and what sells elsewhere is not taken for it.
    assert related(shop, now, "pl") == [(shop.charger, "newest")]
    figures = TrainedModel.objects.of(shop.installation).values_list("channel_slug", "metrics")
    assert dict(figures) == {
        "us": {"measured": False, "interactions": 18, "items": 8},
        "pl": {"measured": False, "interactions": 0, "items": 2},
    }


def test_with_enough_orders_the_quality_is_measured(shop: Phones, now: datetime) -> None:
    for day in range(50):
        shop.order(shop.phone, shop.case, shop.cable, days_ago=day + 1)
    training.train(installation=shop.installation, now=now)
    metrics = TrainedModel.objects.get(channel_slug="us", recommender="bought_together").metrics
    assert metrics["measured"] is True
    assert metrics["cases"] > 0
    assert 0 < metrics["recall"] <= 1


def test_events_of_the_storefront_count(shop: Phones, now: datetime, alice: Profile) -> None:
    for number in range(200):
        Event.objects.create(
            installation=shop.installation,
            event_id=str(number),
            type=EventType.PRODUCT_VIEWED,
            profile=alice,
            occurred_at=now,
            received_at=now,
            source=EventSource.STOREFRONT,
            channel_slug="us",
            product_saleor_id=shop.stand,
        )
    training.train(installation=shop.installation, now=now)
    found = service.recommend(
        installation=shop.installation, placement="home", channel_slug="us", first=1, now=now
    )
    assert [(row.product_id, row.strategy) for row in found] == [(shop.stand, "popular")]


def test_one_model_per_recommender_and_channel_is_published(shop: Phones, now: datetime) -> None:
    training.train(installation=shop.installation, now=now)
    with pytest.raises(IntegrityError, match="one_published_model"), transaction.atomic():
        TrainedModel.objects.create(
            installation=shop.installation,
            channel_slug="us",
            recommender="popular",
            path="elsewhere",
            trained_at=now,
            is_published=True,
        )


def test_a_second_training_keeps_the_first_and_a_third_lets_it_go(
    shop: Phones, now: datetime, models: Path, run_on_commit: Any
) -> None:
    sets: list[dict[str, str]] = []
    for hour in range(3):
        with run_on_commit():
            training.train(installation=shop.installation, now=now + timedelta(hours=hour))
        sets.append(rows(shop))
        assert sorted(sets[-1]) == ALIASES
        assert rows(shop, is_published=False) == (sets[-2] if hour else {})
    kept = {*sets[1].values(), *sets[2].values()}
    for is_published in (True, False):
        kept |= set(rows(shop, "pl", is_published=is_published).values())
    assert folders(models) == kept
    assert len(kept) == 16


def test_the_way_back_and_forth_again(shop: Phones, now: datetime) -> None:
    training.train(installation=shop.installation, now=now)
    first = rows(shop)
    assert training.roll_back(installation=shop.installation) == 0  # nothing to go back to
    assert rows(shop) == first
    for _ in range(20):
        shop.order(shop.phone, shop.lamp, days_ago=1)
    training.train(installation=shop.installation, now=now)
    second = rows(shop)
    assert related(shop, now) == [(shop.lamp, "bought_together")]

    assert training.roll_back(installation=shop.installation) == 8
    assert (rows(shop), rows(shop, is_published=False)) == (first, second)
    assert related(shop, now) == [(shop.case, "bought_together")]

    assert training.roll_back(installation=shop.installation) == 8
    assert (rows(shop), rows(shop, is_published=False)) == (second, first)
    assert related(shop, now) == [(shop.lamp, "bought_together")]


def test_training_after_the_way_back_drops_what_was_turned_down(
    shop: Phones, now: datetime, models: Path, run_on_commit: Any
) -> None:
    sets = []
    for _ in range(2):
        training.train(installation=shop.installation, now=now)
        sets.append(rows(shop))
    training.roll_back(installation=shop.installation)
    with run_on_commit():
        training.train(installation=shop.installation, now=now)
    assert rows(shop, is_published=False) == sets[0]
    assert not folders(models) & set(sets[1].values())
    assert folders(models) >= set(sets[0].values())


def test_the_way_back_is_that_of_one_shop(
    shop: Phones, other_installation: Installation, now: datetime
) -> None:
    other = Phones(other_installation, now)
    for catalogue in (shop, other):
        for _ in range(2):
            training.train(installation=catalogue.installation, now=now)
    theirs = rows(other)
    assert training.roll_back(installation=shop.installation) == 8
    assert rows(other) == theirs


def test_a_running_server_takes_up_the_new_models(
    shop: Phones, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_store, "SECONDS", 0.0)

    def first() -> str:
        return service.recommend(
            installation=shop.installation,
            placement="product_page_related",
            channel_slug="us",
            product_id=shop.phone,
            first=1,
            now=now,
        )[0].product_id

    training.train(installation=shop.installation, now=now)
    assert first() == shop.case
    for _ in range(20):
        shop.order(shop.phone, shop.lamp, days_ago=1)
    training.train(installation=shop.installation, now=now)
    assert first() == shop.lamp
    assert set(models_store._models._loaded) == set(rows(shop).values())


def test_models_are_mapped_and_not_read(shop: Phones, now: datetime) -> None:
    training.train(installation=shop.installation, now=now)
    assert related(shop, now) == [(shop.case, "bought_together")]
    loaded = models_store._models.of(shop.installation, "us")
    assert sorted(loaded) == ALIASES
    for model in loaded.values():
        assert isinstance(model, Recommender)
        for array in model.arrays.values():
            assert isinstance(array.base, np.memmap)
            assert not array.flags.writeable


@pytest.mark.parametrize("run", [1, 2])
def test_a_training_that_fails_changes_nothing(
    shop: Phones,
    now: datetime,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_on_commit: Any,
    run: int,
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("too many words")

    for _ in range(run):
        with run_on_commit():
            training.train(installation=shop.installation, now=now)
    before = (rows(shop), rows(shop, is_published=False))
    on_disk = folders(models)
    with monkeypatch.context() as patch:
        patch.setattr(Similar, "_fit", fail)
        with pytest.raises(MemoryError), run_on_commit():
            training.train(installation=shop.installation, now=now)
    assert (rows(shop), rows(shop, is_published=False)) == before
    assert on_disk < folders(models)
    assert related(shop, now) == [(shop.case, "bought_together")]
    # What it left on the disk goes with the next one.
    with run_on_commit():
        training.train(installation=shop.installation, now=now)
    assert len(folders(models)) == 16


def test_a_rolled_back_transaction_loses_no_folder(
    shop: Phones, now: datetime, models: Path
) -> None:
    """Rows that come back when the database fails at the end still have their files."""
    for _ in range(2):
        training.train(installation=shop.installation, now=now)
    with transaction.atomic():
        training.train(installation=shop.installation, now=now)
        transaction.set_rollback(True)
    both = {*rows(shop).values(), *rows(shop, is_published=False).values()}
    assert len(both) == 8
    assert both <= folders(models)


def test_b32_a_deleted_product_is_out_of_the_next_training(shop: Phones, now: datetime) -> None:
    catalog.record_deletion(
        installation=shop.installation, model=Product, saleor_id=shop.case, now=now
    )
    training.train(installation=shop.installation, now=now)
    service.forget()
    loaded = models_store._models.of(shop.installation, "us")
    for alias in ("similar", "newest"):
        assert shop.case.encode() not in loaded[alias].arrays["ids"].tolist()
    found = service.recommend(
        installation=shop.installation,
        placement="product_page_related",
        channel_slug="us",
        product_id=shop.phone,
        now=now,
    )
    assert shop.case not in [row.product_id for row in found]


def test_a_deleted_channel_is_not_trained(shop: Phones, now: datetime) -> None:
    catalog.record_deletion(
        installation=shop.installation, model=SalesChannel, saleor_id=gid("Channel", "pl"), now=now
    )
    assert training.train(installation=shop.installation, now=now) == 4


def test_b30_a_shop_with_nothing_at_all_can_be_trained(
    installation: Installation, now: datetime
) -> None:
    assert training.train(installation=installation, now=now) == 0
    Catalogue(installation, now).channel("us")
    assert training.train(installation=installation, now=now) == 4


def test_b113_shops_do_not_learn_from_each_other(
    shop: Phones, other_installation: Installation, now: datetime
) -> None:
    other = Phones(other_installation, now)  # the same products, and no order
    training.train(installation=other_installation, now=now)
    assert related(other, now) == [(other.mini, "similar")]
    metrics = TrainedModel.objects.of(other_installation).filter(channel_slug="us")
    assert {row.metrics["interactions"] for row in metrics} == {0}


def test_the_task_trains_active_shops_one_or_all(shop: Phones, now: datetime) -> None:
    other = Phones(make_installation("other", app_id="QXBwOjk="), now)
    make_installation("gone", status=InstallationStatus.UNINSTALLED)
    assert tasks.train(shop.installation.pk) == 8
    assert not TrainedModel.objects.of(other.installation).exists()
    assert tasks.train() == 16


@pytest.mark.django_db(transaction=True)
def test_two_trainings_at_once_do_not_collide(now: datetime, models: Path) -> None:
    shop = Phones(make_installation(), now)
    shop.sell()
    start = threading.Barrier(3)
    faults: list[BaseException] = []

    def train() -> None:
        try:
            start.wait()
            training.train(installation=shop.installation, now=now)
        except BaseException as error:
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=train) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert sorted(rows(shop)) == sorted(rows(shop, is_published=False)) == ALIASES
    on_disk = {
        path
        for channel in ("us", "pl")
        for is_published in (True, False)
        for path in rows(shop, channel, is_published=is_published).values()
    }
    assert folders(models) == on_disk
    assert related(shop, now) == [(shop.case, "bought_together")]
    assert set(ours.RECOMMENDERS) == set(ALIASES)
