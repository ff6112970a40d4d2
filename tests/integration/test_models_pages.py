"""The model report and the playground, as staff ask for them."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from saleor_personalize.dashboard import words
from saleor_personalize.enums import (
    ConsentState,
    Purpose,
    RuleEffect,
    TrainingReason,
    TrainingStatus,
)
from saleor_personalize.models import (
    Event,
    Exposure,
    Installation,
    MerchandisingRule,
    Order,
    Profile,
    SalesChannel,
    TrainedModel,
    Training,
)
from saleor_personalize.profiles import consent
from saleor_personalize.recommendations import service, training
from saleor_personalize.tasks import broker
from tests.catalogue import Catalogue, Phones, product_id
from tests.integration.test_dashboard import headers, outcome, signed  # noqa: F401 (a fixture)
from tests.measured import measured_shop


@pytest.fixture(autouse=True)
def models(settings: Any, tmp_path: Path) -> Iterator[Path]:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "MODEL_DIRECTORY": str(tmp_path)}
    service.forget()
    yield tmp_path
    service.forget()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    monkeypatch.setattr(broker, "send", asked.append)
    return asked


@pytest.fixture
def shop(installation: Installation) -> Phones:
    shop = Phones(installation, timezone.now())
    shop.sell()
    SalesChannel.objects.of(installation).filter(slug="pl").delete()
    return shop


def page(client: Client, signed: dict[str, str], **given: str) -> str:  # noqa: F811
    return client.get("/dashboard/models/", given, headers=signed).content.decode()


# -- report ------------------------------------------------------------------------------------------


def test_b39_the_report_shows_each_recommender_beside_popularity(
    client: Client,
    installation: Installation,
    signed: dict[str, str],  # noqa: F811
) -> None:
    measured_shop(installation, timezone.now())
    training.train(installation=installation, now=timezone.now())
    shown = page(client, signed)
    metrics = TrainedModel.objects.get().metrics["aliases"]
    for alias in ("bought_together", "similar"):
        for name in ("recall", "ndcg", "hit_rate", "mrr", "coverage"):
            assert f"{metrics[alias][name]:.3f}" in shown
            assert f"{metrics[alias]['popularity'][name]:.3f}" in shown
        assert f"{metrics[alias]['novelty']:.1f}" in shown
    assert "What is bought along with a product" in shown
    assert shown.count("It is no better than popularity.") == 1, "of what looks alike by name"
    assert "not enough data" in shown, "of what was not asked often enough"
    assert "There is not enough data to tell how good it is." in shown
    best = max(
        (row for row in metrics.values() if row["question"] == "seed" and row["published"]),
        key=lambda row: row["ndcg"],
    )
    assert (
        f"What is bought along with a product: in {round(100 * best['hit_rate'])} of 100 cases it was among "
        f"the first {best['k']} that would have been shown; of what is popular alone, in "
        f"{round(100 * best['popularity']['hit_rate'])}."
    ) in shown
    # What answers on one page answers on the other.
    overview = client.get("/dashboard/overview/", headers=signed).content.decode()
    aliases = TrainedModel.objects.get().metrics["aliases"]
    used = re.findall(
        r'<th scope="row">([^<]+)<br>[^\n]*\n<td><span class="state good">Used', shown
    )
    (listed,) = re.findall(
        r'<span class="wrap">us</span><span class="small">([^<]+)</span>', overview
    )
    assert set(listed.split(", ")) == {
        str(words.RECOMMENDERS[alias]) for alias, found in aliases.items() if found["published"]
    }
    assert set(listed.split(", ")) <= set(used)
    assert "times as good as popularity." in shown


def test_b39_what_answers_by_name_though_it_is_no_better_is_not_called_unused(
    client: Client,
    installation: Installation,
    signed: dict[str, str],  # noqa: F811
) -> None:
    measured_shop(installation, timezone.now())
    training.train(installation=installation, now=timezone.now())
    trained = TrainedModel.objects.get()
    lost = {**trained.metrics["aliases"]["similar"], "published": False, "question": "anyone"}
    trained.metrics["aliases"] |= dict.fromkeys(("trending", "newest"), lost)
    trained.save()
    shown = page(client, signed)

    def state_of(alias: str) -> str:
        name = re.escape(str(words.RECOMMENDERS[alias]))
        (found,) = re.findall(
            rf'<th scope="row">{name}<br>[^\n]*\n<td>(.*?)</td>', shown, re.DOTALL
        )
        return " ".join(re.sub(r"<[^>]+>", " ", found).split())

    assert state_of("trending") == (
        "Used where it is named It is no better than popularity, so only placements that name it show it."
    )
    assert state_of("newest") == ("Stands in It answers where no other recommender has an answer.")
    assert state_of("similar") == "Not used It is no better than popularity."


def test_b39_what_is_no_better_than_popularity_answers_nowhere(
    installation: Installation,
) -> None:
    now = timezone.now()
    measured_shop(installation, now)
    training.train(installation=installation, now=now)
    answers = [
        service.recommend(
            installation=installation,
            placement=placement,
            channel_slug="us",
            product_id=product_id(7),
            first=12,
            now=now,
        )
        for placement in ("product_page_similar", "product_page_related")
    ]
    assert {row.strategy for answer in answers for row in answer} & {
        "similar",
        "bought_together",
    } == {"bought_together"}
    assert [row.product_id for row in answers[1]][:2] in (
        [product_id(6), product_id(8)],
        [product_id(8), product_id(6)],
    )


def test_b39_with_too_little_data_nothing_is_claimed(
    client: Client,
    shop: Phones,
    signed: dict[str, str],  # noqa: F811
) -> None:
    training.train(installation=shop.installation, now=timezone.now())
    shown = page(client, signed)
    assert "There is not enough data to measure quality, so nothing is claimed" in shown
    assert "times as good as popularity" not in shown
    assert "Not enough data to measure it." in shown


def test_before_the_first_training_the_page_says_so(
    client: Client,
    installation: Installation,
    signed: dict[str, str],  # noqa: F811
) -> None:
    assert "Nothing to report yet" in page(client, signed)


def test_each_sales_channel_and_version_has_its_report(
    client: Client,
    installation: Installation,
    signed: dict[str, str],  # noqa: F811
) -> None:
    Phones(installation, timezone.now()).sell()
    for hours in (2, 0):
        training.train(installation=installation, now=timezone.now() - timedelta(hours=hours))
    assert "Model report: us" in page(client, signed), "where most was learned"
    shown = page(client, signed, channel="pl")
    assert "Model report: pl" in shown
    us = TrainedModel.objects.filter(channel_slug="us").order_by("pk")
    shown = page(client, signed, channel="us")
    assert "Model report: us" in shown
    assert f"Version {us[1].version}" in shown
    assert f"Version {us[0].version}" in page(client, signed, channel="us", version=us[0].version)
    assert "Model report: us" in page(client, signed, channel="<script>")


def test_b113_the_report_is_of_one_shop(
    client: Client,
    shop: Phones,
    other_installation: Installation,
    signed: dict[str, str],  # noqa: F811
) -> None:
    training.train(installation=shop.installation, now=timezone.now())
    theirs = headers(other_installation)
    assert "Nothing to report yet" in page(client, theirs)
    row = TrainedModel.objects.get()
    response = client.post(f"/dashboard/models/{row.pk}/answer/", headers=theirs)
    assert response.status_code == 404


# -- training ----------------------------------------------------------------------------------------


def test_a_training_is_asked_for_once_and_its_progress_shown(
    client: Client,
    shop: Phones,
    signed: dict[str, str],  # noqa: F811
    sent: list[str],
    run_on_commit: Any,
) -> None:
    for _ in range(2):
        with run_on_commit():
            response = client.post("/dashboard/models/train/", headers=signed)
        assert outcome(response)["title"] == "Training starts"
    assert sent == ["personalize.train"] * 2
    row = Training.objects.get()
    assert row.reason == TrainingReason.ASKED
    assert "Waiting for a worker" in response.content.decode()
    Training.objects.update(
        status=TrainingStatus.RUNNING, progress=0.42, channel_slug="us", step="save"
    )
    shown = client.get("/dashboard/models/training/", headers=signed).content.decode()
    assert "us: saving" in shown
    assert 'value="42"' in shown
    assert "disabled" in shown


def test_a_training_that_nobody_takes_up_says_what_to_do(
    client: Client,
    shop: Phones,
    signed: dict[str, str],  # noqa: F811
) -> None:
    training.request(
        installation=shop.installation,
        reason=TrainingReason.NIGHTLY,
        now=timezone.now() - timedelta(minutes=16),
    )
    assert "starts it with “saleor-personalize worker”" in page(client, signed)


def test_a_training_that_failed_says_why(
    client: Client,
    shop: Phones,
    signed: dict[str, str],  # noqa: F811
) -> None:
    Training.objects.create(
        installation=shop.installation,
        status=TrainingStatus.FAILED,
        reason=TrainingReason.NIGHTLY,
        asked_at=timezone.now(),
        finished_at=timezone.now(),
        error="us: MemoryError: too many <words>",
    )
    shown = page(client, signed)
    assert "The last training failed" in shown
    assert "too many &lt;words&gt;" in shown


def test_b118_staff_go_back_to_an_earlier_version(
    client: Client,
    shop: Phones,
    signed: dict[str, str],  # noqa: F811
) -> None:
    for hours in (2, 0):
        training.train(installation=shop.installation, now=timezone.now() - timedelta(hours=hours))
    first, second = TrainedModel.objects.order_by("pk")
    response = client.post(f"/dashboard/models/{first.pk}/answer/", headers=signed)
    assert outcome(response)["title"] == "This version answers now"
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.is_published, second.is_published) == (True, False)
    assert first.kept_until is not None
    assert "Rolled back from" in response.content.decode()
    again = client.post(f"/dashboard/models/{first.pk}/answer/", headers=signed)
    assert outcome(again)["title"] == "Nothing changed"
    assert client.post("/dashboard/models/999999/answer/", headers=signed).status_code == 404


def test_b40_a_damaged_version_is_told_on_the_page(
    client: Client,
    shop: Phones,
    signed: dict[str, str],  # noqa: F811
) -> None:
    training.train(installation=shop.installation, now=timezone.now())
    TrainedModel.objects.update(fault="On web-2: 1/2/x is missing.", fault_at=timezone.now())
    for path in ("models", "overview"):
        shown = client.get(f"/dashboard/{path}/", headers=signed).content.decode()
        assert "On web-2: 1/2/x is missing." in shown
        assert "The version before it answers meanwhile." in shown


@pytest.mark.parametrize("path", ["train/", "1/answer/"])
def test_who_may_only_look_changes_nothing(
    client: Client, shop: Phones, installation: Installation, path: str
) -> None:
    looks = headers(installation, permissions=["MANAGE_ORDERS"], user_permissions=["MANAGE_ORDERS"])
    training.train(installation=installation, now=timezone.now())
    before = list(TrainedModel.objects.values_list("pk", "is_published"))
    assert client.get("/dashboard/models/", headers=looks).status_code == 200
    assert client.post(f"/dashboard/models/{path}", headers=looks).status_code == 403
    assert client.post(f"/dashboard/models/{path}").status_code == 401
    assert list(TrainedModel.objects.values_list("pk", "is_published")) == before
    assert Training.objects.count() == 1


# -- playground --------------------------------------------------------------------------------------


def ask(client: Client, asks: dict[str, str], **given: str) -> str:
    body = {"placement": "product_page_related", "channel": "us", "first": "4", **given}
    response = client.post("/dashboard/playground/ask/", body, headers=asks)
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def trained(shop: Phones) -> Phones:
    training.train(installation=shop.installation, now=timezone.now())
    return shop


def test_b102_the_answer_with_scores_strategies_and_reasons(
    client: Client,
    trained: Phones,
    signed: dict[str, str],  # noqa: F811
) -> None:
    form = client.get("/dashboard/playground/", headers=signed).content.decode()
    assert '<option value="product_page_related">' in form
    shown = ask(client, signed, product=trained.phone)
    told = service.recommend(
        installation=trained.installation,
        placement="product_page_related",
        channel_slug="us",
        product_id=trained.phone,
        first=4,
        now=timezone.now(),
    )
    places = [shown.index(f"<code>{row.product_id}</code>") for row in told]
    assert places == sorted(places), "in the order of the answer"
    assert "Leather case" in shown
    assert "Often bought together with Aurora phone" in shown
    assert "Bought together" in shown
    assert f"{told[0].score:.4f}" in shown
    assert TrainedModel.objects.get().version in shown
    assert "None." in shown, "no rule is in force"


def test_b102_what_rules_do_is_told(
    client: Client,
    trained: Phones,
    signed: dict[str, str],  # noqa: F811
) -> None:
    for position, (name, effect, product) in enumerate(
        (
            ("No leather", RuleEffect.EXCLUDE, trained.case),
            ("Light first", RuleEffect.PIN, trained.bulb),
        )
    ):
        MerchandisingRule.objects.create(
            installation=trained.installation,
            name=name,
            effect=effect,
            conditions={"product_ids": [product]},
            position=position,
            updated_at=timezone.now(),
        )
    service.forget()
    shown = ask(client, signed, product=trained.phone)
    answer, left_out = shown.split("Left out because of rules")
    answer = answer.split("The answer")[1]
    assert "Bright bulb" in answer
    assert "Light first: shows it in its place" in answer
    assert "only here by a rule" in answer
    assert "Leather case" not in answer
    assert "Leather case" in left_out
    assert "Place 1 without rules" in left_out
    assert "No leather: never shows it" in left_out


def test_b102_for_a_person_and_for_one_who_refused(
    client: Client,
    trained: Phones,
    alice: Profile,
    signed: dict[str, str],  # noqa: F811
) -> None:
    trained.order(trained.case, profile=alice, days_ago=3)
    shown = ask(client, signed, who="alice@example.com", first="8", placement="home")
    assert "Leather case" not in shown.split("The answer")[1], "bought just now"
    consent.record(
        profile=alice,
        purpose=Purpose.PROFILING,
        delivery_channel="",
        state=ConsentState.DENIED,
        source="test",
        now=timezone.now(),
    )
    shown = ask(client, signed, who="alice@example.com", first="8", placement="home")
    assert "This person refused profiling" in shown
    assert "Leather case" in shown.split("The answer")[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"who": "nobody@example.com"}, "Nobody is known by this."),
        ({"placement": "product_page_relatet"}, "Did you mean"),
    ],
)
def test_what_cannot_be_asked_says_why(
    client: Client,
    trained: Phones,
    signed: dict[str, str],  # noqa: F811
    given: dict[str, str],
    said: str,
) -> None:
    shown = ask(client, signed, **given)
    assert said in shown
    assert "The answer" not in shown


@pytest.mark.parametrize(
    ("field", "given"),
    [("product", "%"), ("product", "Q2F0ZWdvcnk6MQ=="), ("category", "Teas")],
)
def test_what_is_no_global_id_is_not_passed_over(
    client: Client,
    trained: Phones,
    signed: dict[str, str],  # noqa: F811
    field: str,
    given: str,
) -> None:
    shown = ask(client, signed, **{field: given})
    assert f"“{given}” is none of Saleor&#x27;s global ids" in shown
    assert "<code>" not in shown, "no answer that leaves it aside"


def test_b102_a_product_and_a_category_are_asked_for_by_name(
    client: Client,
    trained: Phones,
    signed: dict[str, str],  # noqa: F811
) -> None:
    by_id = ask(client, signed, product=trained.stand)
    by_name = ask(client, signed, product="oak STAND")
    assert 'value="oak STAND"' in by_name
    answered = re.compile(r"<code>(\w+=*)</code>")
    assert answered.findall(by_name) == answered.findall(by_id) != []
    assert "Did you mean “Oak stand”?" in ask(client, signed, product="Oak stnad")
    found = client.get(
        "/dashboard/playground/choices/category/", {"category": "phon"}, headers=signed
    )
    assert found.content.decode().strip() == '<option value="Phones"></option>'


def test_the_sales_channel_that_taught_most_comes_first(
    client: Client,
    installation: Installation,
    signed: dict[str, str],  # noqa: F811
) -> None:
    Phones(installation, timezone.now()).sell()
    training.train(installation=installation, now=timezone.now())
    for url in ("/dashboard/playground/", "/dashboard/rules/new/"):
        form = client.get(url, headers=signed).content.decode()
        assert form.index('<option value="us"') < form.index('<option value="pl"'), url


@pytest.mark.parametrize("first", ["0", "-3", "10000", "x", "٣"])
def test_odd_counts_are_bounded(
    client: Client,
    trained: Phones,
    signed: dict[str, str],  # noqa: F811
    first: str,
) -> None:
    assert "The answer" in ask(client, signed, first=first, channel="nowhere")


def test_a_person_needs_the_permission_for_customers(
    client: Client, trained: Phones, alice: Profile, installation: Installation
) -> None:
    may = ["MANAGE_ORDERS", "MANAGE_CHECKOUTS"]
    looks = headers(installation, permissions=may, user_permissions=may)
    shown = ask(client, looks, who="alice@example.com")
    assert "needs the permission to manage customers" in shown
    assert "The answer" not in shown
    assert "The answer" in ask(client, looks)
    assert client.post("/dashboard/playground/ask/").status_code == 401


def test_nothing_is_recorded_and_nobody_else_is_seen(
    client: Client,
    trained: Phones,
    dave: Profile,
    signed: dict[str, str],  # noqa: F811
) -> None:
    assert "Nobody is known by this." in ask(client, signed, who="dave@example.com")
    ask(client, signed, product=trained.phone)
    assert not Event.objects.exists()
    assert not Exposure.objects.exists()
    assert Order.objects.count() == 9


def test_an_empty_shop_is_told_so(
    client: Client,
    installation: Installation,
    signed: dict[str, str],  # noqa: F811
) -> None:
    Catalogue(installation, timezone.now()).channel("us")
    shown = ask(client, signed)
    assert "No model is trained for this sales channel yet" in shown
    assert "Nothing: the shop has no product that can be shown here." in shown
