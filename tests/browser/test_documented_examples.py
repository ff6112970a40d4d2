"""The code of the how-to pages does what they say: it is cut out of them and run against the real app."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone

from saleor_personalize.enums import DeviceType, IdentityKind
from saleor_personalize.models import Event, Identity, Installation, Session
from saleor_personalize.testing.keys import TEST_KEY
from saleor_personalize.testing.stack import wait_until
from tests.api.conftest import ALICE, claims_of
from tests.browser.storefront import Shop
from tests.catalogue import Phones

pytestmark = pytest.mark.browser

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
#: What a telephone has and a browser has under another name.
PHONE = """
const AsyncStorage = {
  getItem: async (key) => localStorage.getItem(key),
  setItem: async (key, value) => localStorage.setItem(key, value),
  removeItem: async (key) => localStorage.removeItem(key),
};
const randomUUID = () => crypto.randomUUID();
const AppState = { addEventListener() {} };
"""


def code(page: str, language: str, visit: Shop, installation: Installation) -> str:
    """Return the first block of code of a page, with the addresses of this test."""
    found = re.search(rf"```{language}\n(.*?)```", (HOWTO / page).read_text(), re.DOTALL)
    assert found
    return (
        found[1]
        .replace("https://personalize.example.com", visit.app_url)
        .replace("https://shop.example.com/graphql/", installation.saleor_api_url)
        .replace("default-channel", "us")
    )


@pytest.fixture
def phones(transactional_db: None, installation: Installation) -> Phones:
    return Phones(installation, timezone.now())


def test_b7_the_plain_page_tells_views_and_what_was_recommended(
    phones: Phones, shop: Callable[..., Shop], installation: Installation
) -> None:
    visit = shop()
    page = visit.open(consent="granted", observe=False)
    source = code("storefront.md", "html", visit, installation)
    page.set_content(source.replace("UHJvZHVjdDoxMzQ=", phones.phone))
    wait_until(lambda: Event.objects.count() == 5, seconds=15, what="a view and four shown")
    events = Event.objects.order_by("type", "properties__slot")
    assert [(e.type, e.properties.get("slot")) for e in events] == [
        ("product_viewed", None),
        *(("recommendation_shown", slot) for slot in range(1, 5)),
    ]
    assert events[0].product_saleor_id == phones.phone
    assert visit.errors == []


def test_b7_b14_the_react_native_module_keeps_the_same_rules(
    phones: Phones, shop: Callable[..., Shop], installation: Installation
) -> None:
    visit = shop()
    page = visit.open(observe=False)
    source = code("storefront-react-native.md", "js", visit, installation)
    source = PHONE + re.sub(r"^import .*\n", "", source, flags=re.MULTILINE)
    page.evaluate(
        """async (source) => {
          window.app = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
        }""",
        source,
    )
    viewed = f"app.track('PRODUCT_VIEWED', {{ productId: '{phones.phone}' }})"
    page.evaluate(viewed)
    page.evaluate("app.flush()")
    assert page.evaluate("localStorage.length") == 0
    assert visit.collected() == []

    page.evaluate("app.setConsent(true)")
    visit.context.set_offline(True)
    page.evaluate(viewed)
    page.evaluate("app.flush()")
    assert Event.objects.count() == 0
    visit.context.set_offline(False)
    page.evaluate("app.flush()")
    event = Event.objects.get()
    assert event.product_saleor_id == phones.phone
    session = Session.objects.get()
    assert (session.session_id, session.device_type) == (event.session_id, DeviceType.APP)
    assert (session.language_code, session.channel_slug) == ("de-AT", "us")

    token = TEST_KEY.jwt(claims_of(installation, ALICE, timezone.now()))
    page.evaluate("token => app.signIn(token)", token)
    alice = Identity.objects.get(kind=IdentityKind.SALEOR_USER, value=ALICE).profile
    assert event.profile in alice.person()
    rows = page.evaluate("app.recommendations({ placement: 'home', first: 2 })")
    assert [row["slot"] for row in rows] == [1, 2]

    page.evaluate("app.signOut()")
    page.evaluate(viewed)
    page.evaluate("app.flush()")
    newest = Event.objects.latest("pk")
    assert newest.profile not in alice.person()
    assert newest.session_id != event.session_id
    page.evaluate("app.setConsent(false)")
    assert page.evaluate("localStorage.length") == 0
