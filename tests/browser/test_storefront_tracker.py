"""The storefront's module as shoppers meet it: in a real browser, on a page of another origin.

What it does is read from the database, and what it must not do also from the browser's own storage.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Route

from saleor_personalize.enums import DeviceType, EventType, IdentityKind
from saleor_personalize.models import Event, Identity, Installation, Profile, Session
from saleor_personalize.testing.keys import TEST_KEY
from saleor_personalize.testing.stack import wait_until
from tests.api.conftest import ALICE, BOB, claims_of
from tests.browser.storefront import Shop
from tests.catalogue import Phones, product_id

pytestmark = pytest.mark.browser

Browse = Callable[..., Shop]
PHONE = product_id(1)
VIEW = f"personalize.view('{PHONE}')"


def stored(page: Page) -> tuple[dict[str, str], str]:
    """Return what the shop's origin keeps in this browser: localStorage and cookies."""
    return tuple(page.evaluate("[{...localStorage}, document.cookie]"))


def flush(page: Page) -> None:
    page.evaluate("personalize.flush()")


def arrived(count: int) -> list[Event]:
    """Wait for `count` events in the database and return them, oldest first."""
    wait_until(lambda: Event.objects.count() >= count, seconds=10, what=f"{count} events")
    events = list(Event.objects.order_by("occurred_at", "pk"))
    assert len(events) == count
    return events


def owner_of(anonymous_id: str) -> Profile:
    identity = Identity.objects.get(kind=IdentityKind.ANONYMOUS_ID, value=anonymous_id)
    return identity.profile


def standing_still(visit: Shop) -> Page:
    """Open a page after a yes in which time only moves by `page.clock.run_for`."""
    page = visit.context.new_page()
    now = timezone.now()
    page.clock.install(time=now - timedelta(minutes=2))
    page.add_init_script("window.options = { consent: 'granted' }")
    page.goto(visit.origin)
    page.wait_for_selector("body[data-ready]")
    page.clock.pause_at(now)
    return page


def nothing_is_known() -> bool:
    return not any(model.objects.exists() for model in (Event, Session, Identity, Profile))


# -- consent -----------------------------------------------------------------------------------------


def test_b16_nothing_is_stored_or_sent_before_a_yes_nor_after_a_no(shop: Browse) -> None:
    visit = shop()
    page = visit.open()
    assert page.evaluate(VIEW) is None
    assert page.evaluate("personalize.search('kettle')") is None
    flush(page)
    assert page.evaluate("[personalize.anonymousId, personalize.sessionId]") == [None, None]
    assert stored(page) == ({}, "")
    assert visit.collected() == []
    assert nothing_is_known()

    page.evaluate("personalize.setConsent('granted')")
    first = page.evaluate("personalize.anonymousId")
    assert stored(page)[1] == f"saleor-personalize-id={first}"
    event_id = page.evaluate(VIEW)
    flush(page)
    (event,) = arrived(1)
    assert (event.event_id, event.product_saleor_id) == (event_id, PHONE)
    assert event.profile == owner_of(first)

    page.evaluate("personalize.setConsent('denied')")
    assert page.evaluate(VIEW) is None
    flush(page)
    assert page.evaluate("personalize.anonymousId") is None
    assert stored(page) == ({}, "")
    assert len(visit.collected()) == 1

    page.evaluate("personalize.setConsent('granted')")
    assert page.evaluate("personalize.anonymousId") not in (None, first)
    assert visit.errors == []


def test_b16_a_no_throws_away_what_was_waiting(shop: Browse) -> None:
    visit = shop()
    page = visit.open(consent="granted")
    visit.context.set_offline(True)
    assert page.evaluate(VIEW)
    page.evaluate("personalize.setConsent('denied')")
    visit.context.set_offline(False)
    flush(page)
    assert stored(page) == ({}, "")
    assert visit.collected() == []
    assert nothing_is_known()


def test_b16_a_yes_is_remembered_and_a_no_of_another_tab_counts(shop: Browse) -> None:
    visit = shop()
    one = visit.open(consent="granted")
    anonymous_id = one.evaluate("personalize.anonymousId")
    two = visit.open()
    assert two.evaluate("personalize.anonymousId") == anonymous_id
    two.evaluate("personalize.setConsent('denied')")
    one.wait_for_function("personalize.anonymousId === undefined")
    assert one.evaluate(VIEW) is None
    assert stored(one) == ({}, "")
    three = visit.open()
    assert three.evaluate("personalize.anonymousId") is None


@pytest.mark.parametrize("signal", ["globalPrivacyControl = true", "doNotTrack = '1'"])
def test_b16_a_signal_of_the_browser_is_a_no_unless_the_shop_says_otherwise(
    shop: Browse, signal: str
) -> None:
    name, _, value = signal.partition(" = ")
    visit = shop()
    visit.context.add_init_script(
        f"Object.defineProperty(Navigator.prototype, '{name}', {{ get: () => {value} }})"
    )
    page = visit.open(consent="granted")
    assert page.evaluate(VIEW) is None
    assert stored(page) == ({}, "")
    page.close()

    page = visit.open(consent="granted", respectSignals=False)
    page.evaluate(VIEW)
    flush(page)
    arrived(1)


# -- events and their context ------------------------------------------------------------------------


def test_b7_every_kind_of_event_arrives_as_it_was_told(shop: Browse) -> None:
    visit = shop()
    page = visit.open(consent="granted")
    page.evaluate(
        """([product, variant]) => {
          personalize.view(product, { variantId: variant });
          personalize.categoryView("Q2F0ZWdvcnk6MQ==");
          personalize.listView("sale");
          personalize.search("kettle");
          personalize.addToCart(product);
          personalize.removeFromCart(product);
          personalize.favourite(product);
          personalize.unfavourite(product);
          personalize.recommendationShown(product, { placement: "home", slot: 1 });
          personalize.recommendationClicked(product, { placement: "home", slot: 1 });
          personalize.custom("size_guide_opened", { size: 42 });
        }""",
        [PHONE, "UHJvZHVjdFZhcmlhbnQ6MQ=="],
    )
    flush(page)
    events = arrived(11)
    placed = {"placement": "home", "slot": 1}
    assert sorted(
        (event.type, event.product_saleor_id, sorted(event.properties.items())) for event in events
    ) == sorted(
        (type_.value, product, sorted(properties.items()))
        for type_, product, properties in [
            (EventType.PRODUCT_VIEWED, PHONE, {"variant_id": "UHJvZHVjdFZhcmlhbnQ6MQ=="}),
            (EventType.CATEGORY_VIEWED, "", {"category_id": "Q2F0ZWdvcnk6MQ=="}),
            (EventType.LIST_VIEWED, "", {"list_id": "sale"}),
            (EventType.SEARCHED, "", {"query": "kettle"}),
            (EventType.CART_ADDED, PHONE, {}),
            (EventType.CART_REMOVED, PHONE, {}),
            (EventType.FAVOURITE_ADDED, PHONE, {}),
            (EventType.FAVOURITE_REMOVED, PHONE, {}),
            (EventType.RECOMMENDATION_SHOWN, PHONE, placed),
            (EventType.RECOMMENDATION_CLICKED, PHONE, placed),
            (EventType.CUSTOM, "", {"name": "size_guide_opened", "properties": {"size": 42}}),
        ]
    )
    assert len(visit.collected()) == 1
    assert (visit.hints, visit.errors) == ([], [])


def test_b7_a_bad_row_is_dropped_with_a_hint_and_holds_up_no_other(shop: Browse) -> None:
    visit = shop()
    page = visit.open(consent="granted")
    page.evaluate("personalize.view('no id!'); personalize.custom('no name!')")
    good = page.evaluate(VIEW)
    flush(page)
    assert [event.event_id for event in arrived(1)] == [good]
    assert [hint.partition(", message")[0] for hint in visit.hints] == [
        "[saleor-personalize] {code: INVALID_PRODUCT, field: productId",
        "[saleor-personalize] {code: INVALID_NAME, field: name",
    ]
    assert not any(":event:" in key for key in stored(page)[0])


def test_b14_the_visit_carries_device_origin_place_language_and_hour(shop: Browse) -> None:
    visit = shop(
        user_agent="Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Mobile Safari/537.36",
        timezone_id="Asia/Kolkata",
    )
    page = visit.open(
        "/?utm_source=news&utm_medium=email&utm_campaign=spring&utm_id=7",
        referer="https://search.example.com/results?q=a+private+question",
        consent="granted",
        countryCode="IN",
    )
    before = timezone.now()
    page.evaluate(VIEW)
    flush(page)
    (event,) = arrived(1)
    session = Session.objects.get()
    assert session.session_id == event.session_id == page.evaluate("personalize.sessionId")
    assert session.profile == event.profile
    assert session.device_type == DeviceType.MOBILE
    assert session.referrer_host == "search.example.com"
    assert session.utm == {"source": "news", "medium": "email", "campaign": "spring"}
    assert (session.country_code, session.language_code) == ("IN", "de-AT")
    assert (session.channel_slug, session.currency) == ("us", "USD")
    there = timedelta(hours=5, minutes=30)
    assert session.local_hour in {(before + there).hour, (timezone.now() + there).hour}
    # Chromium goes by the older of two names.
    assert session.time_zone == session.profile.time_zone == "Asia/Calcutta"
    assert "private" not in str(visit.collected())


def test_b14_an_ipad_is_a_tablet_although_it_says_that_it_is_a_mac(shop: Browse) -> None:
    visit = shop(
        user_agent="Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.0"
        " Safari/605.1.15",
        has_touch=True,
    )
    visit.context.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'maxTouchPoints', { get: () => 5 })"
    )
    page = visit.open(consent="granted")
    page.evaluate(VIEW)
    flush(page)
    arrived(1)
    assert Session.objects.get().device_type == DeviceType.TABLET


def test_b14_a_session_ends_after_thirty_idle_minutes_or_with_a_new_campaign(shop: Browse) -> None:
    visit = shop()
    page = visit.context.new_page()
    # In the past: the app takes no events from the future.
    page.clock.install(time=timezone.now() - timedelta(hours=3))
    page.add_init_script("window.options = { consent: 'granted' }")

    def view_after(minutes: int, path: str = "/") -> str:
        page.clock.fast_forward(minutes * 60_000)
        page.goto(f"{visit.origin}{path}")
        page.wait_for_selector("body[data-ready]")
        page.evaluate(VIEW)
        flush(page)
        return page.evaluate("personalize.sessionId")  # type: ignore[no-any-return]

    first = view_after(0, "/?utm_source=news")
    assert view_after(29) == first
    assert view_after(29, "/?utm_source=news") == first
    second = view_after(31)
    third = view_after(1, "/?utm_source=ads")
    assert len({first, second, third}) == 3
    events = arrived(5)
    assert [event.session_id for event in events] == [first, first, first, second, third]
    assert {event.profile_id for event in events} == {events[0].profile_id}
    utm = dict(Session.objects.values_list("session_id", "utm"))
    assert utm == {first: {"source": "news"}, second: {}, third: {"source": "ads"}}


# -- the queue ---------------------------------------------------------------------------------------


def test_b7_what_happened_offline_arrives_once_when_the_network_is_back(shop: Browse) -> None:
    visit = shop()
    page = visit.open(consent="granted")
    visit.context.set_offline(True)
    ids = [page.evaluate(VIEW) for _ in range(3)]
    flush(page)
    assert visit.collected() == []
    with page.expect_response("**/collect"):
        visit.context.set_offline(False)
    assert [event.event_id for event in arrived(3)] == ids
    wait_until(
        lambda: not any(":event:" in key for key in stored(page)[0]), seconds=5, what="no rows"
    )
    flush(page)
    assert len(visit.collected()) == 1


def test_b7_the_queue_outlives_a_reload_and_keeps_ids_and_times(shop: Browse) -> None:
    visit = shop()
    page = visit.open(consent="granted", flushInterval=60_000)
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('offline')) }")
    event_id = page.evaluate(VIEW)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert Event.objects.count() == 0
    flush(page)
    (event,) = arrived(1)
    assert event.event_id == event_id
    assert event.occurred_at < event.received_at


@pytest.mark.parametrize("status", [429, 500, 503])
def test_b7_what_the_app_cannot_take_now_is_sent_again_later_and_later(
    shop: Browse, status: int
) -> None:
    visit = shop()
    page = standing_still(visit)
    refusals: list[Route] = []

    def refuse(route: Route) -> None:
        refusals.append(route)
        route.fulfill(status=status, json={"error": {"code": "LATER", "message": "Later."}})

    page.route("**/collect", refuse)
    page.evaluate(VIEW)
    flush(page)
    assert len(refusals) == 1
    # The first wait is 1 to 2 seconds, the second 2 to 4, and never more than five minutes.
    page.clock.run_for(900)
    assert len(refusals) == 1
    with page.expect_response("**/collect"):
        page.clock.run_for(1_200)
    assert len(refusals) == 2
    page.unroute("**/collect")
    page.clock.run_for(1_000)
    assert Event.objects.count() == 0
    with page.expect_response("**/collect"):
        page.clock.run_for(3_100)
    arrived(1)


def test_b7_a_full_queue_forgets_its_oldest_rows(shop: Browse) -> None:
    visit = shop()
    page = visit.open(consent="granted")
    visit.context.set_offline(True)
    ids = page.evaluate("Array.from({length: 510}, (_, i) => personalize.search(`kettle ${i}`))")
    visit.context.set_offline(False)
    flush(page)
    assert {event.event_id for event in arrived(500)} == set(ids[10:])
    assert [len(batch["events"]) for batch in visit.collected()] == [100] * 5


def test_b7_leaving_the_page_sends_what_is_waiting(shop: Browse) -> None:
    visit = shop()
    visit.context.add_init_script(
        """const send = window.fetch;
        window.fetch = (url, how) => {
          sessionStorage.outlivesThePage = how.keepalive;
          return send(url, how);
        };"""
    )
    page = visit.open(consent="granted", flushInterval=600_000)
    event_id = page.evaluate(VIEW)
    assert visit.collected() == []
    page.goto("about:blank")
    assert [event.event_id for event in arrived(1)] == [event_id]
    # Perhaps nobody heard the answer: then it is sent again, and counts once.
    page.goto(visit.origin)
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("sessionStorage.outlivesThePage") == "true"
    flush(page)
    arrived(1)
    assert not any(":event:" in key for key in stored(page)[0])
    # More than a browser takes from a page that is left goes the ordinary way.
    page.evaluate("text => { for (let n = 0; n < 100; n++) personalize.search(text) }", "x" * 190)
    flush(page)
    arrived(101)
    assert page.evaluate("sessionStorage.outlivesThePage") == "false"


def test_b7_two_tabs_share_a_visit_and_lose_nothing(shop: Browse) -> None:
    visit = shop()
    one, two = visit.open(consent="granted"), visit.open(consent="granted")
    visit.context.set_offline(True)
    ids = {tab.evaluate(VIEW) for _ in range(10) for tab in (one, two)}
    visit.context.set_offline(False)
    flush(one)
    flush(two)
    events = arrived(20)
    assert {event.event_id for event in events} == ids
    assert len({(event.profile_id, event.session_id) for event in events}) == 1
    assert Session.objects.count() == 1


# -- signing in and out ------------------------------------------------------------------------------


@pytest.fixture
def token_of(installation: Installation) -> Callable[..., str]:
    """The access token that the shop gives a customer, valid now."""

    def mint(user_id: str, **changes: Any) -> str:
        return TEST_KEY.jwt(claims_of(installation, user_id, timezone.now(), **changes))

    return mint


def test_b1_what_was_done_before_signing_in_is_the_persons(
    shop: Browse, installation: Installation, token_of: Callable[..., str]
) -> None:
    visit = shop()
    page = visit.open(consent="granted")
    page.evaluate(VIEW)
    flush(page)
    page.evaluate("token => personalize.identify({ token })", token_of(ALICE))
    user = Identity.objects.get(kind=IdentityKind.SALEOR_USER, value=ALICE).profile
    assert owner_of(page.evaluate("personalize.anonymousId")).person_id == user.person_id
    (event,) = arrived(1)
    assert event.profile in user.person()


def test_b1_after_signing_out_the_next_person_is_somebody_else(
    shop: Browse, token_of: Callable[..., str]
) -> None:
    visit = shop()
    page = visit.open(consent="granted", token=token_of(ALICE))
    visit.context.set_offline(True)
    first = page.evaluate(VIEW)
    before = page.evaluate("[personalize.anonymousId, personalize.sessionId]")
    page.evaluate("personalize.reset()")
    page.evaluate("token => personalize.identify({ token })", token_of(BOB))
    second = page.evaluate(VIEW)
    after = page.evaluate("[personalize.anonymousId, personalize.sessionId]")
    assert not set(before) & set(after)
    visit.context.set_offline(False)
    flush(page)
    arrived(2)
    profiles = {event.event_id: event.profile for event in Event.objects.all()}
    bob = Identity.objects.get(kind=IdentityKind.SALEOR_USER, value=BOB).profile
    assert profiles[second].person_id == bob.person_id
    assert profiles[first].person_id != bob.person_id
    assert page.evaluate("document.cookie") == f"saleor-personalize-id={after[0]}"


def test_b7_an_expired_token_loses_no_event(shop: Browse, token_of: Callable[..., str]) -> None:
    visit = shop()
    old = int((timezone.now() - timedelta(hours=1)).timestamp())
    page = visit.open(consent="granted", token=token_of(ALICE, iat=old, exp=old + 300))
    page.evaluate(VIEW)
    flush(page)
    (event,) = arrived(1)
    assert event.profile == owner_of(page.evaluate("personalize.anonymousId"))
    page.evaluate("token => personalize.identify({ token })", token_of(ALICE))
    user = Identity.objects.get(kind=IdentityKind.SALEOR_USER, value=ALICE).profile
    assert event.profile in user.person()


# -- recommendations ---------------------------------------------------------------------------------

LISTED = """([products]) => {
  const list = document.createElement("ul");
  list.dataset.personalizePlacement = "home";
  list.innerHTML = products.map((id, index) => `<li data-personalize-product="${id}"
    data-personalize-slot="${index + 1}" style="height: 300px"><a href="#x">Look</a></li>`).join("");
  document.querySelector("main").append(list);
}"""


def test_b7_recommendations_count_as_shown_when_seen_for_a_second(shop: Browse) -> None:
    visit = shop(viewport={"width": 800, "height": 700})
    page = standing_still(visit)
    products = [product_id(number) for number in range(1, 5)]
    page.evaluate(LISTED, [products])

    def settle() -> None:
        """Wait until the browser has told its observers what is in view."""
        page.evaluate("new Promise(done => new IntersectionObserver(done).observe(document.body))")

    settle()
    page.clock.run_for(900)
    page.evaluate("scrollTo(0, 900)")
    settle()
    page.clock.run_for(1_100)
    flush(page)
    # The first two were left too early; the last two are seen now.
    seen = {e.product_saleor_id: e.properties for e in arrived(2)}
    assert seen == {
        products[2]: {"placement": "home", "slot": 3},
        products[3]: {"placement": "home", "slot": 4},
    }
    page.evaluate("scrollTo(0, 0)")
    settle()
    page.clock.run_for(1_100)
    page.evaluate("scrollTo(0, 900)")
    settle()
    page.clock.run_for(1_100)
    flush(page)
    assert sorted(e.product_saleor_id for e in arrived(4)) == sorted(products)
    assert {e.type for e in Event.objects.all()} == {EventType.RECOMMENDATION_SHOWN}


def test_b7_a_click_on_a_recommendation_is_told_before_the_page_is_left(shop: Browse) -> None:
    visit = shop()
    page = visit.open(consent="granted", flushInterval=600_000)
    page.evaluate(LISTED, [[PHONE]])
    page.evaluate("document.querySelector('li a').href = '/next'")
    page.get_by_text("Look").click()
    page.wait_for_url("**/next")
    clicked = [e for e in arrived(1) if e.type == EventType.RECOMMENDATION_CLICKED]
    assert [(e.product_saleor_id, e.properties) for e in clicked] == [
        (PHONE, {"placement": "home", "slot": 1})
    ]


def test_b41_what_is_seen_and_clicked_carries_the_id_of_its_answer(
    phones: Phones, shop: Browse
) -> None:
    visit = shop()
    page = visit.open(consent="granted")
    (row,) = page.evaluate("personalize.recommendations({ placement: 'home', first: 1 })")
    assert (row["name"], row["isAvailable"]) == ("Oak stand", True)
    assert row["price"] == {"amount": 10, "currency": "USD"}
    page.evaluate(LISTED, [[row["productId"]]])
    page.evaluate(
        "id => document.querySelector('li').dataset.personalizeAttribution = id",
        row["attributionId"],
    )
    page.get_by_text("Look").click()
    page.evaluate(
        "row => personalize.addToCart(row.productId, { attributionId: row.attributionId })", row
    )
    flush(page)
    clicked, added = sorted(arrived(2), key=lambda event: event.type, reverse=True)
    assert {clicked.type, added.type} == {EventType.RECOMMENDATION_CLICKED, EventType.CART_ADDED}
    assert clicked.attribution_id == added.attribution_id != ""
    assert added.properties == {"placement": "home", "strategy": row["strategy"]}


def test_b7_without_a_yes_nobody_watches_what_is_seen(shop: Browse) -> None:
    visit = shop()
    page = visit.open()
    page.evaluate(LISTED, [[PHONE]])
    page.get_by_text("Look").click()
    flush(page)
    assert stored(page) == ({}, "")
    assert visit.collected() == []


@pytest.fixture
def phones(transactional_db: None, installation: Installation) -> Phones:
    return Phones(installation, timezone.now())


def test_b104_recommendations_come_with_and_without_consent(phones: Phones, shop: Browse) -> None:
    visit = shop()
    for consent in ("denied", "granted"):
        page = visit.open(consent=consent)
        rows = page.evaluate("personalize.recommendations({ placement: 'home', first: 2 })")
        assert [row["slot"] for row in rows] == [1, 2]
        assert all(row["productId"] and row["reason"]["text"] for row in rows)
    asked = [r for r in visit.requests if r.url.endswith("/graphql/") and r.method == "POST"]
    sent = [request.headers.get("x-anonymous-id") for request in asked]
    assert sent == [None, page.evaluate("personalize.anonymousId")]


# -- a guest in the shop's page ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('forbidden') } })",
        "Storage.prototype.setItem = () => { throw new Error('full') }",
        "window.fetch = () => Promise.reject(new TypeError('blocked'))",
        "window.fetch = () => { throw new TypeError('blocked') }",
        "delete window.IntersectionObserver",
        "delete Crypto.prototype.randomUUID",
    ],
)
def test_no_fault_of_ours_reaches_the_shops_page(shop: Browse, broken: str) -> None:
    visit = shop()
    visit.context.add_init_script(broken)
    page = visit.open(consent="granted")
    page.evaluate(
        """async () => {
          personalize.view();
          personalize.track();
          personalize.custom("a", { toJSON() { throw new Error("no") } });
          await personalize.identify();
          await personalize.identify({ token: "x" });
          await personalize.recommendations();
          await personalize.flush();
          personalize.reset();
        }"""
    )
    assert visit.errors == []
    assert visit.hints


# -- favourites --------------------------------------------------------------------------------------


def test_b13_favourites_are_kept_offline_and_move_with_the_sign_in(
    phones: Phones, shop: Browse, token_of: Callable[..., str]
) -> None:
    visit = shop()
    page = visit.open(consent="granted")
    visit.context.set_offline(True)
    page.evaluate(
        "([phone, lamp]) => { personalize.favourite(phone); personalize.favourite(lamp); }",
        [phones.phone, phones.lamp],
    )
    visit.context.set_offline(False)
    rows = page.evaluate("personalize.favourites()")
    assert {row["productId"] for row in rows} == {phones.phone, phones.lamp}
    assert [(row["variantId"], row["isAvailable"]) for row in rows] == [(None, True)] * 2
    page.evaluate("id => personalize.unfavourite(id)", phones.lamp)
    page.evaluate("token => personalize.identify({ token })", token_of(ALICE))
    rows = page.evaluate("personalize.favourites()")
    assert [row["productId"] for row in rows] == [phones.phone]

    laptop = shop().open(token=token_of(ALICE))
    assert [row["productId"] for row in laptop.evaluate("personalize.favourites()")] == [
        phones.phone
    ]
    page.evaluate("personalize.reset()")
    assert page.evaluate("personalize.favourites()") == []
