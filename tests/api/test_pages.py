"""B26: content pages instead of products, about what this person likes or what the page shows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from saleor_personalize.catalog import operations
from saleor_personalize.enums import ConsentState, Purpose
from saleor_personalize.events import attribution
from saleor_personalize.events.attribution import read
from saleor_personalize.models import (
    Category,
    Event,
    Exposure,
    Installation,
    Page,
    PageTranslation,
    Product,
    ProductListing,
    Profile,
)
from saleor_personalize.profiles import consent
from saleor_personalize.recommendations import training
from saleor_personalize.saleor_api.nodes import PageAttributeData, PageData, TranslationData
from tests.api.conftest import ALICE, ANONYMOUS, Ask
from tests.api.test_groups import SOMEBODY, look_at
from tests.catalogue import Catalogue, Phones, gid

QUERY = """query(
  $channel: String = "us", $placement: String, $product: ID, $products: [ID!], $category: ID,
  $brand: String, $page: ID, $hidden: [ID!], $first: Int, $language: String, $user: ID
) {
  recommendedPages(
    channel: $channel, placement: $placement, productId: $product, productIds: $products,
    categoryId: $category, brand: $brand, pageId: $page, hidden: $hidden, first: $first,
    languageCode: $language, userId: $user
  ) { pageId title slug pageType publishedAt slot score strategy attributionId reason { code text } }
}"""


TRACK = """mutation($events: [TrackEventInput!]!) {
  track(events: $events) { results { status error { code } } }
}"""


class Content:
    """Writes pages as a back-fill would."""

    def __init__(self, installation: Installation, now: datetime) -> None:
        self.installation = installation
        self.now = now
        self._count = 0

    def page(
        self,
        title: str,
        *tags: str,
        refers_to: tuple[str, ...] = (),
        attribute: str = "topics",
        days_old: int = 10,
        page_type: str = "guide",
        is_published: bool = True,
        translations: dict[str, str] | None = None,
    ) -> str:
        self._count += 1
        id_ = gid("Page", self._count)
        rows = (
            PageAttributeData(attribute, tags, ()),
            PageAttributeData("about", (), refers_to),
        )
        operations.record_pages(
            installation=self.installation,
            data=[
                PageData(
                    id_,
                    title,
                    title.lower().replace(" ", "-"),
                    page_type,
                    is_published,
                    self.now - timedelta(days=days_old),
                    rows,
                    translations or {},
                )
            ],
            now=self.now,
            seen_at=self.now,
        )
        return id_


@pytest.fixture
def trained(shop: Phones, now: datetime) -> Phones:
    shop.sell()
    training.train(installation=shop.installation, now=now)
    for id_, brand in ((shop.phone, "Aurora"), (shop.mini, "Aurora"), (shop.lamp, "Lumen")):
        Product.objects.filter(saleor_id=id_).update(
            attributes=[{"attribute": "brand", "values": [brand]}]
        )
    return shop


@pytest.fixture
def content(trained: Phones, now: datetime) -> Content:
    return Content(trained.installation, now)


@pytest.fixture
def pages(gql: Ask) -> Callable[..., list[Any]]:
    def ask(anonymous_id: str = ANONYMOUS, **variables: Any) -> list[Any]:
        caller = variables.pop("caller", {"anonymous_id": anonymous_id})
        rows: list[Any] = gql(QUERY, variables, **caller).data["recommendedPages"]
        assert [row["slot"] for row in rows] == list(range(1, len(rows) + 1))
        return rows

    return ask


def titles(rows: list[Any]) -> list[str]:
    return [row["title"] for row in rows]


def why(rows: list[Any]) -> dict[str, tuple[str, str]]:
    return {row["title"]: (row["reason"]["code"], row["reason"]["text"]) for row in rows}


# -- on the page of something ------------------------------------------------------------------------


def test_b26_pages_about_a_product_each_with_a_true_reason(
    pages: Any, content: Content, trained: Phones
) -> None:
    brand = content.page("The house of Aurora", days_old=300, page_type="brand")
    Product.objects.filter(saleor_id=trained.phone).update(
        product_type="Smartphones",
        attributes=[
            {"attribute": "brand", "values": ["Phone: The house of Aurora"], "pages": [brand]},
            {"attribute": "color", "values": ["Night  Blue"]},
        ],
    )
    content.page("First steps", refers_to=(trained.phone, trained.case))
    content.page("Buying a phone", "PHONES", "Budget")
    content.page("All blue", "night blue")
    content.page("Smart ones", "Smartphones")
    content.page("Aurora at fifty", refers_to=(brand,))
    content.page("In the category", refers_to=(gid("Category", "Phones"),))
    content.page("Lamps for everyone", "Lamps")
    content.page("Terms")
    rows = pages(product=trained.phone)
    assert why(rows) == {
        "The house of Aurora": ("CURATED", "Chosen by us to go with Aurora phone"),
        "First steps": ("ABOUT", "About Aurora phone"),
        "Buying a phone": ("ABOUT", "About Phones"),
        "All blue": ("ABOUT", "About Night  Blue"),
        "Smart ones": ("ABOUT", "About Smartphones"),
        "Aurora at fifty": ("ABOUT", "About The house of Aurora"),
        "In the category": ("ABOUT", "About Phones"),
    }
    # What names the product itself comes first.
    assert titles(rows)[:2] == ["The house of Aurora", "First steps"]
    assert {row["strategy"] for row in rows} == {"subject"}
    assert pages(product=trained.bulb, first=1)[0]["title"] == "Lamps for everyone"


def test_b26_pages_about_a_category_a_brand_and_a_page(
    pages: Any, content: Content, trained: Phones
) -> None:
    Category.objects.filter(name="Cases").update(parent_saleor_id=gid("Category", "Phones"))
    tagged = content.page("Buying a phone", "Phones")
    content.page("Aurora", page_type="brand")
    content.page("From the workshop", "Aurora", "Phones")
    content.page("Leather care", refers_to=(gid("Category", "Cases"),))
    # A page about a category is about those below it too, and not the other way round.
    assert set(titles(pages(category=gid("Category", "Phones")))) == {
        "Buying a phone", "From the workshop",
    }  # fmt: skip
    rows = pages(category=gid("Category", "Cases"))
    assert set(titles(rows)) == {"Leather care", "Buying a phone", "From the workshop"}
    assert why(rows)["Leather care"] == ("ABOUT", "About Cases")
    assert why(pages(brand="aurora")) == {
        "Aurora": ("ABOUT", "About aurora"),
        "From the workshop": ("ABOUT", "About aurora"),
    }
    assert why(pages(page=tagged)) == {"From the workshop": ("ABOUT", "About Phones")}
    assert pages(category=gid("Category", "Nowhere")) == []
    assert pages(brand="Nobody") == []
    assert pages(product=gid("Product", 999)) == []
    assert pages(page=gid("Page", 999)) == []


def test_b26_a_variant_that_a_page_refers_to_stands_for_its_product(
    pages: Any, content: Content, trained: Phones
) -> None:
    content.page("The small one", refers_to=(gid("ProductVariant", 2),))
    assert why(pages(product=trained.mini)) == {
        "The small one": ("ABOUT", "About Aurora phone mini")
    }


# -- for a person -----------------------------------------------------------------------------------


def test_b26_two_people_with_different_interests_read_different_pages(
    pages: Any, content: Content, trained: Phones, now: datetime
) -> None:
    content.page("Light at work", "Lamps")
    content.page("Buying a phone", "Phones", days_old=1)
    content.page("Terms")
    look_at(trained.installation, ANONYMOUS, now, trained.lamp)
    look_at(trained.installation, SOMEBODY, now, trained.mini)
    lamps, phones = pages(), pages(SOMEBODY)
    assert titles(lamps)[0] == "Light at work"
    assert why(lamps)["Light at work"] == ("BECAUSE_VIEWED", "Because you looked at Desk lamp")
    assert titles(phones)[0] == "Buying a phone"
    assert why(phones)["Buying a phone"][1] == "Because you looked at Aurora phone mini"
    # Somebody new is told what a page is about: they looked at nothing.
    stranger = why(pages("7c2b9f1e-0000-a-stranger"))
    assert stranger == {
        "Light at work": ("ABOUT", "About Lamps"),
        "Buying a phone": ("ABOUT", "About Phones"),
    }


def test_b26_what_somebody_bought_leads_to_its_guide(
    pages: Any, content: Content, trained: Phones, alice: Profile, token_of: Any, now: datetime
) -> None:
    content.page("First steps", refers_to=(trained.phone,))
    trained.order(trained.phone, profile=alice, user_id=ALICE, days_ago=2)
    mine = pages(caller={"token": token_of(ALICE)})
    assert why(mine)["First steps"] == ("BECAUSE_BOUGHT", "Because you bought Aurora phone")
    server = {"token": trained.installation.auth_token}
    assert why(pages(caller=server, user=ALICE)) == why(mine)
    # Who refused profiling is somebody new.
    consent.record(
        profile=alice,
        purpose=Purpose.PROFILING,
        delivery_channel="",
        state=ConsentState.DENIED,
        source="preference_centre",
        now=now,
    )
    assert why(pages(caller={"token": token_of(ALICE)}))["First steps"][0] == "ABOUT"


def test_b26_where_nothing_else_suits_the_newest_fill_and_none_about_nothing_sold_here(
    pages: Any, content: Content, trained: Phones
) -> None:
    content.page("Our workshop", "Craft", days_old=2)
    content.page("Ten years of us", "History", days_old=200)
    content.page("About the bulb", refers_to=(trained.bulb,), days_old=1)
    content.page("Terms", days_old=0)
    ProductListing.objects.filter(product_saleor_id=trained.bulb).update(is_in_stock=False)
    rows = pages()
    assert why(rows) == {
        "Our workshop": ("NEWEST", "New in the shop"),
        "Ten years of us": ("ABOUT", "About History"),
    }
    assert [(row["strategy"], row["score"]) for row in rows] == [("newest", 0.0)] * 2


# -- which may be shown -----------------------------------------------------------------------------


def test_b26_only_published_pages_that_are_there(
    pages: Any, content: Content, trained: Phones, other_installation: Installation, now: datetime
) -> None:
    content.page("Today", "Phones")
    content.page("Draft", "Phones", is_published=False)
    content.page("Tomorrow", "Phones", days_old=-1)
    gone = content.page("Gone", "Phones")
    operations.record_deletion(
        installation=trained.installation, model=Page, saleor_id=gone, now=now
    )
    Content(other_installation, now).page("Of another shop", "Phones")
    assert titles(pages()) == ["Today"]
    assert titles(pages(product=trained.phone)) == ["Today"]


def test_b26_the_types_and_tags_of_the_settings(
    pages: Any, content: Content, trained: Phones, settings: Any
) -> None:
    content.page("Guide", "Phones")
    content.page("Refund reason", "Phones", page_type="refund-reason")
    content.page("Wide", "Phones", attribute="layout")
    content.page("Named", refers_to=(trained.phone,))
    everything = {"Guide", "Refund reason", "Wide", "Named"}
    assert set(titles(pages(product=trained.phone))) == everything
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "PAGE_TYPES": ["guide"],
        "PAGE_TAG_ATTRIBUTES": ["topics"],
    }
    assert set(titles(pages(product=trained.phone))) == {"Guide", "Named"}
    assert set(titles(pages())) == {"Guide", "Named"}


def test_b26_sensitive_subjects_stay_on_their_own_pages(
    pages: Any, content: Content, trained: Phones, now: datetime
) -> None:
    content.page("Bright ideas", "Lamps")
    content.page("About the bulb", refers_to=(trained.bulb,))
    content.page("Both", "Phones", "lamps")
    content.page("Buying a phone", "Phones")
    trained.installation.sensitive_ids = [gid("Category", "Lamps")]
    trained.installation.save()
    look_at(trained.installation, ANONYMOUS, now, trained.lamp, trained.bulb)
    assert titles(pages()) == ["Buying a phone"]
    assert titles(pages(product=trained.phone)) == ["Buying a phone"]
    rows = pages(product=trained.bulb)
    assert set(titles(rows)) == {"Bright ideas", "About the bulb", "Both"}
    assert {row["reason"]["text"] for row in rows} == {"Recommended by the shop"}


def test_b26_hidden_ones_and_as_many_as_asked_for(
    pages: Any, gql: Ask, content: Content, trained: Phones
) -> None:
    ids = [content.page(f"Guide {n}", "Phones", days_old=n) for n in range(1, 6)]
    assert [row["pageId"] for row in pages(first=3)] == ids[:3]
    assert [row["pageId"] for row in pages(hidden=ids[:3])] == ids[3:]
    for first in (0, 101, -1):
        assert gql(QUERY, {"first": first}, anonymous_id=ANONYMOUS).codes == ["INVALID_PAGE"]
    assert gql(QUERY, {"hidden": ["x"] * 1_001}, anonymous_id=ANONYMOUS).codes == ["TOO_MANY_IDS"]
    answer = gql(QUERY, {"placement": "hmoe"}, anonymous_id=ANONYMOUS)
    assert answer.codes == ["NOT_FOUND"]
    assert "'home'" in answer.body["errors"][0]["message"]
    answer = gql(QUERY, {"user": ALICE}, anonymous_id=ANONYMOUS)
    assert set(answer.codes) == {"FORBIDDEN"}


# -- how they are answered --------------------------------------------------------------------------


def test_b26_b38_titles_in_the_language_asked_for(
    pages: Any, content: Content, trained: Phones
) -> None:
    content.page("Buying a phone", "Phones", translations={"de": "Ein Telefon kaufen", "fr": ""})
    for language, title in (
        ("DE", "Ein Telefon kaufen"), ("de-AT", "Ein Telefon kaufen"), ("FR", "Buying a phone"),
    ):  # fmt: skip
        assert titles(pages(language=language)) == [title]
    (row,) = pages(language="DE", product=trained.phone)
    assert row["reason"]["text"] == "Über Phones"
    assert PageTranslation.objects.count() == 1


def test_b26_b38_reasons_name_what_a_page_is_about_in_the_language_asked_for(
    pages: Any, content: Content, trained: Phones, other_installation: Installation, now: datetime
) -> None:
    brand = content.page(
        "The house of Aurora", page_type="brand", translations={"de": "Das Haus Aurora"}
    )
    Product.objects.filter(saleor_id=trained.phone).update(
        attributes=[{"attribute": "brand", "values": ["The house of Aurora"], "pages": [brand]}]
    )
    Category.objects.filter(name="Phones").update(parent_saleor_id=gid("Category", "Lamps"))
    trained.translate_category("Phones", de="Telefone", de_at="Handys")
    trained.translate_category("Lamps", de="Licht")
    Catalogue(other_installation, now).translate_category("Phones", de="Ihre", fr="Leurs")
    operations.record_translations(
        installation=trained.installation,
        data=[TranslationData("Product", trained.phone, "de", "Morgenrot")],
        now=now,
        seen_at=now,
    )
    content.page("First steps", refers_to=(trained.phone,))
    content.page("Buying a phone", "PHONES")
    content.page("Enlightened", refers_to=(gid("Category", "Lamps"),))
    content.page("Aurora at fifty", refers_to=(brand,))
    # A tag is what the shop wrote, in whatever language it asks: this one is no name of the category.
    content.page("Of telephones", "Telefone")

    def told(language: str, **about: str) -> dict[str, str]:
        return {title: text for title, (_, text) in why(pages(language=language, **about)).items()}

    german = {
        "Das Haus Aurora": "Von uns passend zu Morgenrot ausgesucht",
        "First steps": "Über Morgenrot",
        "Buying a phone": "Über Telefone",
        "Enlightened": "Über Licht",
        "Aurora at fifty": "Über Das Haus Aurora",
    }
    assert told("DE", product=trained.phone) == german
    assert told("de-AT", product=trained.phone) == {**german, "Buying a phone": "Über Handys"}
    english = {
        "The house of Aurora": "Chosen by us to go with Aurora phone",
        "First steps": "About Aurora phone",
        "Buying a phone": "About Phones",
        "Enlightened": "About Lamps",
        "Aurora at fifty": "About The house of Aurora",
    }
    assert told("EN", product=trained.phone) == english
    assert "Leurs" not in str(told("FR", product=trained.phone))
    assert told("DE", category=gid("Category", "Phones")) == {
        "Buying a phone": "Über Telefone", "Enlightened": "Über Licht",
    }  # fmt: skip
    assert told("DE", page=gid("Page", 2)) == {}
    content.page("More first steps", refers_to=(trained.phone,))
    assert told("DE", page=gid("Page", 2)) == {"More first steps": "Über Morgenrot"}
    # The page of a brand is found by the title that the shop gave it.
    assert told("DE", brand="the house of Aurora")["Das Haus Aurora"] == "Über the house of Aurora"


def test_b26_b38_what_somebody_looked_at_is_named_in_the_language_asked_for(
    pages: Any, content: Content, trained: Phones, now: datetime
) -> None:
    operations.record_translations(
        installation=trained.installation,
        data=[TranslationData("Product", trained.lamp, "de", "Tischlampe")],
        now=now,
        seen_at=now,
    )
    trained.translate_category("Phones", de="Telefone")
    content.page("Light at work", "Lamps")
    content.page("Buying a phone", "Phones")
    look_at(trained.installation, ANONYMOUS, now, trained.lamp)
    told = why(pages(language="DE"))
    assert told["Light at work"][1] == "Weil Sie sich Tischlampe angesehen haben"
    assert told["Buying a phone"][1] == "Über Telefone"


def test_b26_b41_an_attribution_id_tells_placement_and_strategy(
    pages: Any, content: Content, trained: Phones
) -> None:
    content.page("Buying a phone", "Phones")
    (row,) = pages(product=trained.phone)
    said = read(installation=trained.installation, attribution_id=row["attributionId"])
    assert said is not None
    assert (said.placement, said.strategy, said.channel_slug) == ("home", "subject", "us")


def test_b26_b41_what_is_read_is_told_like_what_is_bought(
    gql: Ask, pages: Any, content: Content, trained: Phones, now: datetime
) -> None:
    content.page("Buying a phone", "Phones")
    (row,) = pages(product=trained.phone)
    said = {"slot": 1, "attributionId": row["attributionId"]}
    answer = gql(
        TRACK,
        {
            "events": [
                {"id": "s", "type": "RECOMMENDATION_SHOWN", "pageId": row["pageId"], **said},
                {"id": "c", "type": "RECOMMENDATION_CLICKED", "pageId": row["pageId"], **said},
                {"id": "x", "type": "RECOMMENDATION_CLICKED", "pageId": "no id!", **said},
                {"id": "n", "type": "RECOMMENDATION_CLICKED", **said},
                {"id": "v", "type": "PRODUCT_VIEWED", "pageId": row["pageId"]},
            ]
        },
        anonymous_id=ANONYMOUS,
    )
    assert [
        (each["status"], each["error"] and each["error"]["code"])
        for each in answer.data["track"]["results"]
    ] == [
        ("ACCEPTED", None),
        ("ACCEPTED", None),
        ("REJECTED", "INVALID_PAGE_ID"),
        ("REJECTED", "PRODUCT_REQUIRED"),
        ("REJECTED", "PRODUCT_REQUIRED"),
    ]
    told = Event.objects.order_by("event_id")
    assert [(each.type, each.product_saleor_id) for each in told] == [
        ("recommendation_clicked", ""),
        ("recommendation_shown", ""),
    ]
    assert {each.properties["page_id"] for each in told} == {row["pageId"]}
    # A page is no product that somebody was shown too often.
    assert not Exposure.objects.exists()
    (counted,) = attribution.touchpoints(
        installation=trained.installation, since=now - timedelta(days=1), until=now + timedelta(1)
    )
    assert counted == attribution.Touchpoints("home", "subject", "us", 1, 1, 0, 0)


@pytest.mark.usefixtures("nothing_expires")
def test_b26_many_pages_cost_no_more_queries_than_few(
    gql: Ask, content: Content, trained: Phones, now: datetime
) -> None:
    look_at(trained.installation, ANONYMOUS, now, trained.phone, trained.lamp)
    for number in range(40):
        content.page(
            f"Guide {number}", "Phones", f"Tag {number}",
            refers_to=(trained.phone, trained.lamp), translations={"de": f"Seite {number}"},
        )  # fmt: skip

    def count(first: int, **about: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            rows = gql(QUERY, {"first": first, **about}, anonymous_id=ANONYMOUS).data
        assert len(rows["recommendedPages"]) == first
        return len(captured)

    for about in ({}, {"product": trained.phone}):
        count(1, **about)
        assert count(1, **about) == count(30, **about) <= 14
