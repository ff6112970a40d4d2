"""Training: a version of the engine per sales channel, judged, published at once, with a way back."""

import os
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from threadpoolctl import threadpool_info, threadpool_limits

from saleor_personalize import signals
from saleor_personalize.catalog import operations as catalog
from saleor_personalize.enums import (
    ErasureSource,
    EventSource,
    EventType,
    HeldBack,
    InstallationStatus,
    TrainingReason,
    TrainingStatus,
)
from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.ml.recommenders.content import Similar
from saleor_personalize.models import (
    Event,
    Installation,
    Order,
    Product,
    Profile,
    SalesChannel,
    TrainedModel,
    Training,
)
from saleor_personalize.profiles import privacy
from saleor_personalize.recommendations import models_store, queries, service, training, versions
from tests.catalogue import Catalogue, Phones, gid
from tests.conftest import make_installation


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


@pytest.fixture
def only_us(shop: Phones) -> Phones:
    """The same shop with one sales channel, for whoever trains often."""
    SalesChannel.objects.of(shop.installation).filter(slug="pl").delete()
    return shop


def rows(shop: Catalogue, channel: str = "us") -> Any:
    return TrainedModel.objects.of(shop.installation).filter(channel_slug=channel)


def answering(shop: Catalogue, channel: str = "us") -> str:
    """Return the version that answers."""
    return str(rows(shop, channel).get(is_published=True).version)


def folders(models: Path) -> set[str]:
    return {str(path.parent.relative_to(models)) for path in models.rglob("engine.json")}


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


# -- one version per sales channel -------------------------------------------------------------------


def test_b19_each_channel_has_an_engine_of_its_own(shop: Phones, now: datetime) -> None:
    assert training.train(installation=shop.installation, now=now) == 2
    published = queries.published_models(installation=shop.installation)
    assert [(m.channel_slug, m.trained_at) for m in published] == [("pl", now), ("us", now)]
    assert related(shop, now) == [(shop.case, "bought_together")]
    # In "pl" nothing was ordered yet, and what sells elsewhere is not taken for it.
    ((product, strategy),) = related(shop, now, "pl")
    assert (product, strategy != "bought_together") == (shop.charger, True)
    counts = {
        row.channel_slug: (row.interaction_count, row.product_count)
        for row in TrainedModel.objects.of(shop.installation)
    }
    assert counts == {"us": (18, 8), "pl": (0, 2)}


def test_the_row_of_a_version_carries_the_report_of_its_engine(shop: Phones, now: datetime) -> None:
    training.train(installation=shop.installation, now=now)
    row = rows(shop).get()
    engine = models_store.engine_of(shop.installation, "us")
    assert engine is not None
    assert row.metrics == engine.report
    assert row.metrics["measured"] is False, "eighteen rows tell nothing about quality"
    assert row.seconds > 0
    assert row.training is not None
    assert row.training.status == TrainingStatus.DONE


def test_one_version_of_a_channel_is_published(shop: Phones, now: datetime) -> None:
    training.train(installation=shop.installation, now=now)
    with pytest.raises(IntegrityError, match="one_published_model"), transaction.atomic():
        TrainedModel.objects.create(
            installation=shop.installation,
            channel_slug="us",
            version="another",
            path="elsewhere",
            trained_at=now,
            is_published=True,
        )


def test_events_of_the_storefront_count(shop: Phones, now: datetime, alice: Profile) -> None:
    view(shop, alice, shop.stand, at=now, times=200)
    training.train(installation=shop.installation, now=now)
    found = service.recommend(
        installation=shop.installation, placement="home", channel_slug="us", first=1, now=now
    )
    assert [row.product_id for row in found] == [shop.stand]


def view(shop: Catalogue, profile: Profile, product: str, *, at: datetime, times: int = 1) -> None:
    known = Event.objects.of(shop.installation).count()
    Event.objects.bulk_create(
        Event(
            installation=shop.installation,
            event_id=f"view-{known + number}",
            type=EventType.PRODUCT_VIEWED,
            profile=profile,
            occurred_at=at,
            received_at=at,
            source=EventSource.STOREFRONT,
            channel_slug="us",
            session_id="visit",
            product_saleor_id=product,
        )
        for number in range(times)
    )


def test_b32_a_deleted_product_is_out_of_the_next_training(shop: Phones, now: datetime) -> None:
    catalog.record_deletion(
        installation=shop.installation, model=Product, saleor_id=shop.case, now=now
    )
    training.train(installation=shop.installation, now=now)
    assert rows(shop).get().product_count == 7
    service.forget()
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
    assert training.train(installation=shop.installation, now=now) == 1


def test_b30_a_shop_with_nothing_at_all_can_be_trained(
    installation: Installation, now: datetime
) -> None:
    with pytest.raises(PersonalizeError, match="No sales channel is known"):
        training.train(installation=installation, now=now)
    assert Training.objects.get().status == TrainingStatus.FAILED
    Catalogue(installation, now).channel("us")
    assert training.train(installation=installation, now=now) == 1


def test_b113_shops_do_not_learn_from_each_other(
    shop: Phones, other_installation: Installation, now: datetime
) -> None:
    other = Phones(other_installation, now)  # the same products, and no order
    training.train(installation=other_installation, now=now)
    assert related(other, now) == [(other.mini, "similar")]
    assert {row.interaction_count for row in TrainedModel.objects.of(other_installation)} == {0}


# -- what is published -------------------------------------------------------------------------------


def report(ndcg: float, popularity: float) -> dict[str, Any]:
    rest = {"cases": 100, "k": 10, "recall": 0.1, "hit_rate": 0.1, "mrr": 0.1, "coverage": 0.5,
            "novelty": 5.0}  # fmt: skip
    found = {"question": "seed", "published": ndcg > popularity, "ndcg": ndcg, **rest}
    found["popularity"] = {"ndcg": popularity, **rest}
    return {"measured": True, "aliases": {"similar": found}}


@pytest.mark.parametrize(
    ("changes", "held_back"),
    [
        ({}, ""),
        ({"interaction_count": 500, "product_count": 40}, ""),
        ({"interaction_count": 499}, HeldBack.FEWER_EVENTS),
        ({"product_count": 39}, HeldBack.FEWER_PRODUCTS),
        # The published one is 2.2 times as good as popularity.
        ({"metrics": report(0.0555, 0.05)}, ""),
        ({"metrics": report(0.0545, 0.05)}, HeldBack.WORSE),
        # Nothing beats popularity any more: it answers, and that is once popularity.
        ({"metrics": report(0.001, 0.05)}, HeldBack.WORSE),
        ({"metrics": {"measured": False, "aliases": {}}}, ""),
        ({"metrics": report(0.0, 0.0)}, ""),
    ],
)
def test_b39_a_version_that_collapses_does_not_replace_the_published_one(
    shop: Phones, now: datetime, changes: dict[str, Any], held_back: str
) -> None:
    def version(name: str, **more: Any) -> TrainedModel:
        return versions.publish(
            model=TrainedModel(
                installation=shop.installation,
                channel_slug="us",
                version=name,
                path=f"x/{name}",
                trained_at=now,
                **{
                    "interaction_count": 1_000,
                    "product_count": 80,
                    "metrics": report(0.11, 0.05),
                    **more,
                },
            ),
            now=now,
        )

    version("first")
    second = version("second", **changes)
    assert second.held_back == held_back
    assert second.is_published is not bool(held_back)
    assert answering(shop) == ("first" if held_back else "second")


def test_b39_what_is_held_back_says_so_and_can_be_published(shop: Phones, now: datetime) -> None:
    for _ in range(20):
        shop.order(shop.phone, shop.case)
    training.train(installation=shop.installation, now=now)
    first = answering(shop)
    # A tracker that stopped, an import that was deleted: most of the orders are gone.
    Order.objects.of(shop.installation).exclude(number__in=["1", "2", "3"]).delete()
    later = now + timedelta(days=1)
    assert training.train(installation=shop.installation, now=later) == 1, "the other channel"
    held = rows(shop).get(is_published=False)
    assert (answering(shop), held.held_back) == (first, HeldBack.FEWER_EVENTS)
    assert Training.objects.of(shop.installation).latest("pk").held_back_count == 1

    assert training.train(installation=shop.installation, now=later, force=True) == 2
    assert answering(shop) != first
    assert rows(shop).get(is_published=True).held_back == ""


def test_b39_a_week_later_the_old_version_knows_too_little_to_stay(
    shop: Phones, now: datetime
) -> None:
    training.train(installation=shop.installation, now=now)
    first = answering(shop)
    Order.objects.of(shop.installation).exclude(number="1").delete()
    for days, is_held in ((7, True), (8, False)):
        training.train(installation=shop.installation, now=now + timedelta(days=days))
        assert (answering(shop) == first) is is_held


def test_integrators_hear_of_a_new_version(shop: Phones, now: datetime, run_on_commit: Any) -> None:
    heard: list[tuple[str, str | None]] = []

    def hear(model: TrainedModel, before: TrainedModel | None, **_: Any) -> None:
        heard.append((model.version, before and before.version))

    signals.model_published.connect(hear)
    try:
        for hour in range(2):
            with run_on_commit():
                training.train(installation=shop.installation, now=now + timedelta(hours=hour))
    finally:
        signals.model_published.disconnect(hear)
    first, second = rows(shop).order_by("pk").values_list("version", flat=True)
    assert [pair for pair in heard if pair[0] in (first, second)] == [
        (first, None),
        (second, first),
    ]


# -- files -------------------------------------------------------------------------------------------


def test_old_versions_let_go_of_their_files_and_keep_their_figures(
    only_us: Phones, now: datetime, models: Path, run_on_commit: Any
) -> None:
    for hour in range(0, 60, 6):
        with run_on_commit():
            training.train(installation=only_us.installation, now=now + timedelta(hours=hour))
    every = list(rows(only_us).order_by("-trained_at"))
    assert len(every) == 10
    # The published one, two before it, one that will be of yesterday, and one that is.
    hours = [(row.trained_at - now) / timedelta(hours=1) for row in every if row.path]
    assert hours == [54, 48, 42, 36, 30]
    assert folders(models) == {
        row.path for row in TrainedModel.objects.of(only_us.installation) if row.path
    }
    assert all("aliases" in row.metrics for row in every)


def test_models_that_know_somebody_erased_are_gone_within_a_day(
    only_us: Phones,
    other_installation: Installation,
    now: datetime,
    alice: Profile,
    models: Path,
    run_on_commit: Any,
) -> None:
    other = Phones(other_installation, now)
    other.sell()
    view(only_us, alice, only_us.stand, at=now, times=2)
    for hour in range(2):
        with run_on_commit():
            training.train(installation=only_us.installation, now=now + timedelta(hours=hour))
            training.train(installation=other_installation, now=now + timedelta(hours=hour))
    first, second = (row.path for row in rows(only_us).order_by("pk"))
    name = models_store.visitor_id_of(alice).encode()

    def knows(path: str) -> bool:
        files = list((models / path).rglob("visitors.npy"))
        assert files
        return any(name in np.load(file).tolist() for file in files)

    assert knows(first)
    erased_at = now + timedelta(hours=2)
    privacy.erase(profile=alice, requested_by=ErasureSource.STAFF, now=erased_at)
    with run_on_commit():
        training.train(installation=only_us.installation, now=now + timedelta(hours=3))
    third = rows(only_us).latest("pk").path
    assert not knows(third)
    strangers = {row.path for row in TrainedModel.objects.of(other_installation) if row.path}

    with run_on_commit():
        versions.prune_erased(now=erased_at + timedelta(hours=19))
    assert folders(models) == {first, second, third} | strangers, "to go back to, for some hours"
    with run_on_commit():
        versions.prune_erased(now=erased_at + timedelta(hours=20))
    assert folders(models) == {third} | strangers
    assert not versions.roll_back(installation=only_us.installation, now=now + timedelta(hours=23))
    assert answering(only_us) == rows(only_us).get(path=third).version


def test_rows_of_very_old_versions_go(
    only_us: Phones, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "ROWS", 2)
    for hour in range(8):
        training.train(installation=only_us.installation, now=now + timedelta(hours=hour))
    assert rows(only_us).count() == 4 + 2


@pytest.mark.parametrize("run", [1, 2])
def test_a_channel_that_fails_keeps_its_version_and_the_others_go_on(
    shop: Phones,
    now: datetime,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_on_commit: Any,
    run: int,
) -> None:
    def fail(self: Similar, interactions: Any, items: Any) -> Any:
        if len(items) == 8:
            raise MemoryError("too many words")
        return real(self, interactions, items)

    for _ in range(run):
        with run_on_commit():
            training.train(installation=shop.installation, now=now)
    before = list(rows(shop).values_list("version", "path", "is_published"))
    real = Similar._fit
    with monkeypatch.context() as patch:
        patch.setattr(Similar, "_fit", fail)
        with run_on_commit():
            assert training.train(installation=shop.installation, now=now) == 1
    assert list(rows(shop).values_list("version", "path", "is_published")) == before
    said = Training.objects.of(shop.installation).latest("pk")
    assert said.status == TrainingStatus.FAILED
    assert said.error == "us: MemoryError: too many words"
    assert related(shop, now) == [(shop.case, "bought_together")]


def test_what_a_killed_training_left_on_the_disk_goes_with_the_next(
    shop: Phones, now: datetime, models: Path
) -> None:
    channel = SalesChannel.objects.get(slug="us")
    left = models / versions.folder_of(channel) / "20260101T000000-abcdef"
    (left / "popular").mkdir(parents=True)
    (left / "popular" / "scores.npy").write_bytes(b"half")
    training.train(installation=shop.installation, now=now)
    assert not left.exists()


def test_a_rolled_back_transaction_loses_no_folder(
    only_us: Phones, now: datetime, models: Path
) -> None:
    """Rows that come back when the database fails at the end still have their files."""
    for hour in range(4):
        training.train(installation=only_us.installation, now=now + timedelta(hours=hour))
    with transaction.atomic():
        training.train(installation=only_us.installation, now=now + timedelta(hours=5))
        transaction.set_rollback(True)
    kept = {row.path for row in rows(only_us) if row.path}
    assert len(kept) == 4
    assert kept <= folders(models)


def test_files_of_a_shop_that_is_gone_vanish(
    shop: Phones, other_installation: Installation, now: datetime, models: Path
) -> None:
    Catalogue(other_installation, now).channel("us")
    for one in (shop.installation, other_installation):
        training.train(installation=one, now=now)
    gone = other_installation.pk
    other_installation.delete()
    (models / "notes").mkdir()
    assert versions.forget_strangers() == [str(gone)]
    assert not (models / str(gone)).exists()
    assert (models / str(shop.installation.pk)).exists()
    assert (models / "notes").exists(), "not ours"


def test_files_of_a_sales_channel_that_was_deleted_go(
    shop: Phones, other_installation: Installation, now: datetime, models: Path
) -> None:
    Phones(other_installation, now).sell()
    for installation in (shop.installation, other_installation):
        training.train(installation=installation, now=now)
    before = folders(models)
    versions.forget_closed()
    assert folders(models) == before
    gone = rows(shop, "pl").get()
    SalesChannel.objects.of(shop.installation).filter(slug="pl").update(deleted_at=now)

    versions.forget_closed()

    assert folders(models) == before - {gone.path}
    gone.refresh_from_db()
    assert (gone.path, gone.is_published) == ("", False)
    assert models_store.engine_of(shop.installation, "pl") is None
    assert models_store.engine_of(other_installation, "pl") is not None


# -- the way back ------------------------------------------------------------------------------------


def test_b118_the_way_back_and_forth_again(shop: Phones, now: datetime) -> None:
    training.train(installation=shop.installation, now=now)
    first = answering(shop)
    assert versions.roll_back(installation=shop.installation, now=now) == []
    assert answering(shop) == first
    for _ in range(5):
        shop.order(shop.phone, shop.lamp, days_ago=1)
    training.train(installation=shop.installation, now=now + timedelta(hours=1))
    second = answering(shop)
    assert related(shop, now) == [(shop.lamp, "bought_together")]

    changes = versions.roll_back(installation=shop.installation, now=now, channel_slug="us")
    assert [(c.channel_slug, c.now.version, c.before.version) for c in changes] == [
        ("us", first, second)
    ]
    assert answering(shop) == first
    assert related(shop, now) == [(shop.case, "bought_together")]
    assert versions.roll_back(installation=shop.installation, now=now, channel_slug="us") == [], (
        "what was turned down is not gone back to by itself"
    )
    versions.roll_back(installation=shop.installation, now=now, channel_slug="us", version=second)
    assert answering(shop) == second
    assert related(shop, now) == [(shop.lamp, "bought_together")]


def test_b118_after_the_way_back_trainings_publish_nothing_for_a_while(
    only_us: Phones, now: datetime
) -> None:
    for hour in range(2):
        training.train(installation=only_us.installation, now=now + timedelta(hours=hour))
    (change,) = versions.roll_back(
        installation=only_us.installation, now=now, channel_slug="us", keep=timedelta(days=3)
    )
    for days, held in ((1, HeldBack.ROLLED_BACK), (3, "")):
        training.train(installation=only_us.installation, now=now + timedelta(days=days))
        assert rows(only_us).latest("pk").held_back == held
        assert (answering(only_us) == change.now.version) is bool(held)


def test_b118_without_keeping_the_next_training_publishes(shop: Phones, now: datetime) -> None:
    for hour in range(2):
        training.train(installation=shop.installation, now=now + timedelta(hours=hour))
    versions.roll_back(installation=shop.installation, now=now, keep=timedelta())
    assert training.train(installation=shop.installation, now=now + timedelta(hours=3)) == 2


def test_b118_the_way_back_is_that_of_one_shop(
    shop: Phones, other_installation: Installation, now: datetime
) -> None:
    other = Phones(other_installation, now)
    for catalogue in (shop, other):
        for hour in range(2):
            training.train(installation=catalogue.installation, now=now + timedelta(hours=hour))
    theirs = answering(other)
    assert len(versions.roll_back(installation=shop.installation, now=now)) == 2
    assert answering(other) == theirs


# -- when, and by whom -------------------------------------------------------------------------------


def test_a_shop_is_asked_for_once_and_taken_up_once(shop: Phones, now: datetime) -> None:
    first = training.request(installation=shop.installation, reason=TrainingReason.ASKED, now=now)
    again = training.request(installation=shop.installation, reason=TrainingReason.NIGHTLY, now=now)
    assert again.pk == first.pk
    assert training.waiting(now=now) == [first.pk]
    claimed = training.claim(pk=first.pk, now=now)
    assert claimed is not None
    assert training.claim(pk=first.pk, now=now) is None
    assert training.waiting(now=now) == []
    assert training.train(installation=shop.installation, now=now) == 0, "it runs elsewhere"
    assert not TrainedModel.objects.exists()


def test_a_killed_process_leaves_its_training_to_the_next_one(shop: Phones, now: datetime) -> None:
    asked = training.request(installation=shop.installation, reason=TrainingReason.ASKED, now=now)
    lost = training.claim(pk=asked.pk, now=now)
    assert lost is not None
    later = now + training.LEASE + timedelta(seconds=1)
    taken = training.claim(pk=asked.pk, now=later)
    assert taken is not None
    with pytest.raises(training.TrainingLostError):
        training.work(lost, now=later)
    assert not TrainedModel.objects.exists(), "what the first one made no longer counts"
    assert training.work(taken, now=later).status == TrainingStatus.DONE
    assert answering(shop)


def test_who_lost_a_training_takes_it_from_nobody(shop: Phones, now: datetime) -> None:
    asked = training.request(installation=shop.installation, reason=TrainingReason.NIGHTLY, now=now)
    lost = training.claim(pk=asked.pk, now=now)
    assert lost is not None
    # Silent for too long, and another machine has it.
    later = now + training.LEASE + timedelta(seconds=1)
    Training.objects.filter(pk=asked.pk).update(lease_expires_at=now)
    owner = training.claim(pk=asked.pk, now=later)
    assert owner is not None
    Training.objects.filter(pk=asked.pk).update(worker="elsewhere:77:x")
    before = Training.objects.values().get(pk=asked.pk)

    for is_final in (False, True):
        training.interrupt(
            pk=asked.pk, process=os.getpid(), error="exit 1", now=later, is_final=is_final
        )
    with pytest.raises(training.TrainingLostError, match="taken over by another process"):
        training.work(lost, now=now)

    assert Training.objects.values().get(pk=asked.pk) == before
    assert not rows(shop).exists()
    assert training.waiting(now=later) == []


def test_a_training_taken_over_while_it_ends_does_not_write_its_outcome(
    only_us: Phones, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = training.request(
        installation=only_us.installation, reason=TrainingReason.NIGHTLY, now=now
    )
    claimed = training.claim(pk=asked.pk, now=now)
    assert claimed is not None
    real = training._log

    def overtaken(*given: Any) -> None:
        real(*given)
        Training.objects.filter(pk=asked.pk).update(worker="elsewhere:77:x")

    monkeypatch.setattr(training, "_log", overtaken)
    with pytest.raises(training.TrainingLostError):
        training.work(claimed, now=now)
    row = Training.objects.get(pk=asked.pk)
    assert (row.status, row.worker) == (TrainingStatus.RUNNING, "elsewhere:77:x")


def test_a_database_that_was_away_for_a_moment_does_not_cost_the_lease(
    now: datetime, monkeypatch: pytest.MonkeyPatch, shop: Phones
) -> None:
    asked = training.request(installation=shop.installation, reason=TrainingReason.NIGHTLY, now=now)
    beats: list[int] = []
    is_enough = threading.Event()

    def renew(row: Training) -> None:
        beats.append(row.pk)
        if len(beats) == 1:
            raise OperationalError("the server is restarting")
        is_enough.set()

    monkeypatch.setattr(training, "_HEARTBEAT", 0.001)
    monkeypatch.setattr(training, "_renew", renew)
    with training._heartbeat(asked):
        assert is_enough.wait(30), "the second beat never came"
    assert beats[:2] == [asked.pk, asked.pk]


def test_a_training_uses_no_more_cores_than_it_may(
    only_us: Phones, now: datetime, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "TRAINING_THREADS": 1}
    used: set[int] = set()

    def fit(self: Similar, *_: Any) -> Any:
        used.update(pool["num_threads"] for pool in threadpool_info())
        raise RuntimeError("seen enough")

    monkeypatch.setattr(Similar, "_fit", fit)
    with threadpool_limits(limits=2):
        with pytest.raises(PersonalizeError, match="seen enough"):
            training.train(installation=only_us.installation, now=now)
        assert used == {1}
        assert {pool["num_threads"] for pool in threadpool_info()} == {2}, "as it was"


def test_what_ends_its_process_three_times_is_given_up(shop: Phones, now: datetime) -> None:
    asked = training.request(installation=shop.installation, reason=TrainingReason.ASKED, now=now)
    for _ in range(3):
        assert training.claim(pk=asked.pk, now=now) is not None
        training.interrupt(pk=asked.pk, process=os.getpid(), error="killed", now=now)
    assert training.claim(pk=asked.pk, now=now) is None
    asked.refresh_from_db()
    assert asked.status == TrainingStatus.FAILED
    assert "ended 3 times" in asked.error
    assert training.waiting(now=now) == []


def test_how_far_it_is_can_be_seen(shop: Phones, now: datetime) -> None:
    seen: list[tuple[str, str, float]] = []
    asked = training.request(installation=shop.installation, reason=TrainingReason.ASKED, now=now)
    claimed = training.claim(pk=asked.pk, now=now)
    assert claimed is not None

    def look(_: Training) -> None:
        row = Training.objects.get(pk=asked.pk)
        seen.append((row.channel_slug, row.step, row.progress))

    training.work(claimed, now=now, on_progress=look)
    assert [(slug, step) for slug, step, _ in seen] == [
        *((slug, step) for slug in ("pl", "us") for step in ("read", "fit", "save")),
        ("", ""),
    ]
    shares = [share for *_, share in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[3], shares[-1]) == (0.0, 0.5, 1.0)


def test_nightly_every_active_shop_is_asked_for(shop: Phones, now: datetime) -> None:
    make_installation("gone", status=InstallationStatus.UNINSTALLED)
    assert training.request_all(now=now) == 1
    assert Training.objects.get().reason == TrainingReason.NIGHTLY


class TestWhenEnoughHasChanged:
    @pytest.fixture
    def trained(self, shop: Phones, now: datetime) -> Phones:
        training.train(installation=shop.installation, now=now)
        return shop

    def new_product(self, shop: Phones, now: datetime) -> None:
        shop.product(101, "Aurora phone XL", category="Phones")
        Product.objects.filter(name="Aurora phone XL").update(
            saleor_created_at=now + timedelta(minutes=1)
        )

    def is_due(self, shop: Phones, at: datetime) -> bool:
        return training.is_due(installation=shop.installation, now=at)

    def test_a_shop_without_models_is_due_once_it_has_products(
        self, installation: Installation, now: datetime
    ) -> None:
        catalogue = Catalogue(installation, now)
        catalogue.channel("us")
        assert not training.is_due(installation=installation, now=now)
        catalogue.product(1, "Aurora phone")
        assert training.is_due(installation=installation, now=now)
        assert training.request_changed(now=now) == 1
        assert not training.is_due(installation=installation, now=now), "it waits already"

    def test_nothing_new_is_no_reason(self, trained: Phones, now: datetime) -> None:
        assert not self.is_due(trained, now + timedelta(hours=5))

    def test_b31_a_new_product_is_trained_on_within_five_minutes(
        self, trained: Phones, now: datetime
    ) -> None:
        self.new_product(trained, now)
        assert not self.is_due(trained, now + timedelta(minutes=2)), "a pause between two trainings"
        assert self.is_due(trained, now + timedelta(minutes=4))

    def test_after_a_long_training_the_pause_is_long(self, trained: Phones, now: datetime) -> None:
        Training.objects.update(started_at=now - timedelta(minutes=10), finished_at=now)
        self.new_product(trained, now)
        assert not self.is_due(trained, now + timedelta(minutes=199))
        assert self.is_due(trained, now + timedelta(minutes=201))

    @pytest.mark.parametrize("count", [99, 100])
    def test_many_events_are(
        self, trained: Phones, now: datetime, alice: Profile, count: int
    ) -> None:
        at = now + timedelta(minutes=5)
        for number in range(count):
            Event.objects.create(
                installation=trained.installation,
                event_id=str(number),
                type=EventType.PRODUCT_VIEWED,
                profile=alice,
                occurred_at=at,
                received_at=at,
                source=EventSource.STOREFRONT,
                channel_slug="us",
                product_saleor_id=trained.stand,
            )
        assert self.is_due(trained, now + timedelta(hours=1)) is (count == 100)

    def test_a_version_that_cannot_be_read_is(self, trained: Phones, now: datetime) -> None:
        rows(trained).update(fault="damaged", fault_at=now + timedelta(minutes=1))
        assert self.is_due(trained, now + timedelta(minutes=10))


@pytest.mark.django_db(transaction=True)
def test_two_trainings_at_once_do_not_collide(now: datetime, models: Path) -> None:
    shop = Phones(make_installation(), now)
    shop.sell()
    start = threading.Barrier(3)
    faults: list[BaseException] = []
    published: list[int] = []

    def train() -> None:
        try:
            start.wait()
            published.append(training.train(installation=shop.installation, now=now))
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
    assert set(published) <= {0, 2}
    assert 2 in published
    assert folders(models) == {
        row.path for row in TrainedModel.objects.of(shop.installation) if row.path
    }
    assert related(shop, now) == [(shop.case, "bought_together")]
