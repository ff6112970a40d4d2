"""The React hooks with the real React, in a real browser, against the real app."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from saleor_personalize.models import Event, Favourite, Installation
from saleor_personalize.testing.stack import wait_until
from tests.browser.storefront import Shop
from tests.catalogue import Phones

pytestmark = pytest.mark.browser

IMPORTS = """{"imports": {
  "react": "data:text/javascript,export const { %s } = window.React",
  "saleor-personalize/react": "/files/react.js"
}}"""
NAMES = (
    "createContext, createElement, useCallback, useContext, useEffect, useMemo, useRef, useState"
)
APP = """async () => {
  const load = (src) => new Promise((resolve) => {
    document.head.append(Object.assign(document.createElement("script"), { src, onload: resolve }));
  });
  const map = document.createElement("script");
  Object.assign(map, { type: "importmap", textContent: window.imports });
  document.head.append(map);
  await load("/files/react.production.min.js");
  await load("/files/react-dom.production.min.js");
  const { PersonalizeProvider, useFavourites, usePersonalize, useRecommendations } =
    await import("saleor-personalize/react");
  const h = React.createElement;
  function Related({ productId }) {
    const { recommendations, isLoading } = useRecommendations({
      placement: "product_page_related", productId, first: 2, channel: undefined,
    });
    if (isLoading) return h("p", null, "Loading");
    return h("ul", { "data-personalize-placement": "product_page_related" },
      recommendations.map((row) => h("li", {
        key: row.productId,
        "data-personalize-product": row.productId,
        "data-personalize-slot": row.slot,
      }, row.productId)));
  }
  function Heart({ productId }) {
    const { add, favourites, has, remove } = useFavourites();
    const onClick = () => { window.done = has(productId) ? remove(productId) : add(productId); };
    return h("button", { onClick, "aria-pressed": has(productId) }, `Keep (${favourites.length})`);
  }
  function Page() {
    const personalize = usePersonalize();
    const [productId, setProductId] = React.useState(window.products[0]);
    React.useEffect(() => { personalize.view(productId); }, [productId]);
    return h("div", null,
      h("button", { onClick: () => setProductId(window.products[1]) }, "Next"),
      h(Heart, { productId }), h(Heart, { productId }),
      h(Related, { productId }));
  }
  window.root = ReactDOM.createRoot(document.querySelector("main"));
  window.root.render(h(PersonalizeProvider, { personalize: window.personalize }, h(Page)));
}"""


@pytest.fixture
def phones(transactional_db: None, installation: Installation) -> Phones:
    return Phones(installation, timezone.now())


def show(page: Page, products: list[str]) -> None:
    page.evaluate(
        "([imports, products]) => Object.assign(window, { imports, products })",
        [IMPORTS % NAMES, products],
    )
    page.evaluate(APP)


def test_b7_the_hooks_show_recommendations_and_tell_of_them(
    phones: Phones, shop: Callable[..., Shop]
) -> None:
    visit = shop()
    page = visit.open(consent="granted")
    show(page, [phones.stand, phones.bulb])
    rows = page.locator("li")
    expect(rows).to_have_count(2)
    first = rows.all_text_contents()
    assert phones.stand not in first
    page.get_by_role("button", name="Next").click()
    wait_until(
        lambda: set(rows.all_text_contents()) not in ({*first}, set()), seconds=10, what="new rows"
    )
    assert phones.bulb not in rows.all_text_contents()
    wait_until(
        lambda: Event.objects.filter(type="recommendation_shown").count() == 2,
        seconds=10,
        what="both to be seen for a second",
    )
    shown = Event.objects.filter(type="recommendation_shown").order_by("properties__slot")
    assert [e.product_saleor_id for e in shown] == rows.all_text_contents()
    viewed = Event.objects.filter(type="product_viewed").order_by("occurred_at")
    assert [e.product_saleor_id for e in viewed] == [phones.stand, phones.bulb]
    assert (visit.hints, visit.errors) == ([], [])


def test_a_late_answer_never_replaces_a_newer_one(
    phones: Phones, shop: Callable[..., Shop]
) -> None:
    visit = shop()
    page = visit.open()
    page.evaluate(
        """() => {
          window.asked = [];
          personalize.recommendations = ({ productId }) =>
            new Promise((resolve) => window.asked.push(() => resolve([{ productId, slot: 1 }])));
        }"""
    )
    show(page, ["first", "second"])
    page.get_by_role("button", name="Next").click()
    page.evaluate("asked[1]()")
    expect(page.locator("li")).to_have_text("second")
    page.evaluate("asked[0]()")
    page.evaluate("new Promise((done) => setTimeout(done))")
    expect(page.locator("li")).to_have_text("second")
    page.evaluate("root.unmount()")
    assert visit.errors == []


def test_b13_the_hearts_of_a_page_share_one_list(phones: Phones, shop: Callable[..., Shop]) -> None:
    visit = shop()
    page = visit.open(consent="granted")
    show(page, [phones.stand, phones.bulb])
    heart = page.get_by_role("button", name="Keep").first
    expect(heart).to_have_text("Keep (0)")
    heart.click()
    expect(heart).to_have_text("Keep (1)")
    expect(heart).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Next").click()
    expect(heart).to_have_attribute("aria-pressed", "false")
    heart.click()
    expect(heart).to_have_text("Keep (2)")
    page.evaluate("personalize.flush()")
    kept = Favourite.objects.filter(removed_at=None).values_list("product_saleor_id", flat=True)
    assert set(kept) == {phones.stand, phones.bulb}

    page.close()
    visit.requests.clear()
    page = visit.open()
    show(page, [phones.bulb, phones.stand])
    heart = page.get_by_role("button", name="Keep").last
    expect(heart).to_have_text("Keep (2)")
    asked = [r.method for r in visit.requests if "favourites" in (r.post_data or "")]
    assert asked == ["POST"]
    heart.click()
    expect(heart).to_have_text("Keep (1)")
    page.evaluate("personalize.flush()")
    assert list(kept.all()) == [phones.stand]
    page.evaluate("personalize.setConsent('denied')")
    heart.click()
    assert page.evaluate("done") is False
    expect(heart).to_have_text("Keep (1)")
    assert visit.errors == []
