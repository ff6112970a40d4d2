"""B34 on the page in the Dashboard: its fragments, asked for as `bridge.js` asks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from saleor_personalize.models import Installation, MerchandisingRule, Product
from saleor_personalize.recommendations import merchandising, service
from tests.catalogue import Phones, gid
from tests.integration.test_dashboard import headers, outcome

URL = "/dashboard/rules/"
FORM = {
    "name": "Phones first",
    "effect": "boost",
    "is_active": "on",
    "factor": "10",
    "categories": gid("Category", "Phones"),
    "placements": ["home", "cart"],
    "channels": ["us"],
    "price_at_least": "5,5",
    "attributes": "color: Red, Blue\nbrand: Acme",
    "situation": "weather: rain",
    "months": "6, 7",
    "starts_at": "2026-06-01T08:30",
}


@pytest.fixture(autouse=True)
def _forget() -> None:
    service.forget()


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


@pytest.fixture
def shop(installation: Installation) -> Phones:
    return Phones(installation, timezone.now())


def test_b34_a_rule_is_made_opened_changed_and_deleted(
    client: Client, signed: dict[str, str], shop: Phones
) -> None:
    assert "No rule yet" in client.get(URL, headers=signed).content.decode()
    answer = client.post(f"{URL}save/", FORM, headers=signed)
    assert outcome(answer)["title"] == "Rule saved"
    row = MerchandisingRule.objects.get()
    assert row.conditions == {
        "categories": [gid("Category", "Phones")],
        "attributes": [
            {"attribute": "color", "values": ["Red", "Blue"]},
            {"attribute": "brand", "values": ["Acme"]},
        ],
        "situation": {"weather": ["rain"]},
        "months": [6, 7],
        "price": {"at_least": 5.5},
    }
    assert (row.effect, row.factor, row.placements, row.channels) == (
        "boost",
        10.0,
        ["home", "cart"],
        ["us"],
    )
    assert row.starts_at is not None
    assert row.starts_at.isoformat() == "2026-06-01T08:30:00+00:00"
    html = client.get(f"{URL}{row.pk}/", headers=signed).content.decode()
    for text in ("color: Red, Blue", "weather: rain", 'value="6, 7"', "2026-06-01T08:30"):
        assert text in html
    assert 'value="cart" checked' in html
    # What the page shows is what saving writes again.
    client.post(f"{URL}save/", {**FORM, "rule": row.pk, "name": "Mine"}, headers=signed)
    again = MerchandisingRule.objects.get()
    assert (again.pk, again.name, again.conditions) == (row.pk, "Mine", row.conditions)
    assert outcome(client.post(f"{URL}{row.pk}/delete/", headers=signed))["title"] == "Rule deleted"
    assert MerchandisingRule.objects.count() == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "a name of 1 to 200 characters"),
        ({"attributes": "color"}, "one to a line"),
        ({"price_at_least": "cheap"}, "a number"),
        ({"months": "13"}, "a list of months from 1 to 12"),
        ({"starts_at": "soon"}, "a date and time"),
        ({"effect": "pin"}, "say which products"),
        ({"factor": "0.5"}, "more than 1 and at most 100"),
        ({"factor": "nan"}, "a number"),
        ({"slot": "1e400"}, "a number"),
        ({"slot": "40000"}, "a place from 1 to 100"),
    ],
)
def test_b34_what_cannot_be_read_is_marked_and_nothing_saved(
    client: Client, signed: dict[str, str], shop: Phones, change: dict[str, str], told: str
) -> None:
    answer = client.post(f"{URL}save/", {**FORM, **change}, headers=signed)
    assert outcome(answer)["title"] == "Not saved"
    html = answer.content.decode()
    assert told in html
    assert 'aria-invalid="true"' in html
    assert "color: Red, Blue" in html or "attributes" in change, "what was typed is still there"
    assert MerchandisingRule.objects.count() == 0


def test_b34_the_preview_shows_before_and_after_and_saves_nothing(
    client: Client, signed: dict[str, str], shop: Phones
) -> None:
    form = {
        "name": "No stand",
        "effect": "exclude",
        "product_ids": shop.stand,
        "preview_placement": "new_arrivals",
        "preview_channel": "us",
    }
    html = client.post(f"{URL}preview/", form, headers=signed).content.decode()
    assert "It speaks of 1 product of this list." in html
    rows = [line for line in html.splitlines() if line.startswith('<tr><th scope="row">')]
    assert rows[0] == '<tr><th scope="row">Bright bulb</th><td>2</td><td>1</td><td></td></tr>'
    assert rows[-1] == (
        '<tr><th scope="row">Oak stand</th><td>1</td><td>-</td><td>No stand</td></tr>'
    )
    assert MerchandisingRule.objects.count() == 0
    html = client.post(f"{URL}preview/", {**form, "name": ""}, headers=signed).content.decode()
    assert "Fill in what is missing" in html


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"position": "-1"}, "a number from 0 to 1000000"),
        ({"position": "inf"}, "a number"),
        ({"product_ids": "a\x00b"}, "cannot be stored"),
    ],
)
def test_b34_what_has_no_field_is_told_above_the_form(
    client: Client, signed: dict[str, str], shop: Phones, change: dict[str, str], told: str
) -> None:
    answer = client.post(f"{URL}save/", {**FORM, **change}, headers=signed)
    assert outcome(answer)["title"] == "Not saved"
    (alert,) = re.findall(r'<p class="error" role="alert">(.*?)</p>', answer.content.decode())
    assert told in alert
    assert MerchandisingRule.objects.count() == 0


def test_b34_odd_texts_are_no_fault_of_the_preview(
    client: Client, signed: dict[str, str], shop: Phones
) -> None:
    form = {
        "name": "No stand", "effect": "exclude", "product_ids": shop.stand,
        "preview_placement": "home\x00", "preview_channel": "u\x00s", "preview_product": "a\x00",
    }  # fmt: skip
    html = client.post(f"{URL}preview/", form, headers=signed).content.decode()
    assert "It speaks of 1 product of this list." in html
    answer = client.get(f"{URL}choices/", {"preview_product": "Oak\x00"}, headers=signed)
    assert (answer.status_code, "Oak stand" in answer.content.decode()) == (200, True)


def test_b34_who_may_not_act_may_look_and_other_shops_see_nothing(
    client: Client, installation: Installation, other_installation: Installation, shop: Phones
) -> None:
    now = timezone.now()
    row = merchandising.create_rule(
        installation=installation, now=now, name="Mine", effect="boost", conditions={}
    )
    few = headers(installation, permissions=["MANAGE_ORDERS"], user_permissions=["MANAGE_ORDERS"])
    html = client.get(f"{URL}{row.pk}/", headers=few).content.decode()
    assert 'id="rule-save" type="submit" class="button primary" disabled' in html
    for path, data in (("save/", FORM), ("preview/", FORM), (f"{row.pk}/delete/", {})):
        assert client.post(f"{URL}{path}", data, headers=few).status_code == 403
    theirs: Any = headers(other_installation)
    assert "Mine" not in client.get(URL, headers=theirs).content.decode()
    assert client.get(f"{URL}{row.pk}/", headers=theirs).status_code == 404
    assert client.post(f"{URL}{row.pk}/delete/", headers=theirs).status_code == 404
    assert MerchandisingRule.objects.get().name == "Mine"


def test_b34_products_categories_and_collections_are_picked_by_name(
    client: Client, signed: dict[str, str], shop: Phones
) -> None:
    typed = {"of": "product_ids", "pick_product_ids": "STAND"}
    found = client.get(f"{URL}choices/", typed, headers=signed).content.decode()
    assert found.strip() == '<option value="Oak stand"></option>'
    for field, name, line in (
        ("product_ids", "oak stand", "Oak stand"),
        ("categories", "Phones", "Phones"),
    ):
        given = {field: "first", f"pick_{field}": name}
        answer = client.post(f"{URL}pick/{field}/", given, headers=signed)
        assert answer["HX-Trigger-After-Swap"] == "rule-changed"
        assert f">first\n{line}</textarea>" in answer.content.decode()

    # What stands in the field as a name is kept as an id, and is shown as a name again.
    form = {
        **FORM, "product_ids": f"Oak stand\n{shop.phone}", "categories": "phones", "attributes": "",
    }  # fmt: skip
    client.post(f"{URL}save/", form, headers=signed)
    row = MerchandisingRule.objects.get()
    assert row.conditions["product_ids"] == [shop.stand, shop.phone]
    assert row.conditions["categories"] == [gid("Category", "Phones")]
    html = client.get(f"{URL}{row.pk}/", headers=signed).content.decode()
    assert ">Oak stand\nAurora phone</textarea>" in html
    assert ">Phones</textarea>" in html


def test_b34_a_name_that_nothing_or_too_much_has_is_told_and_nothing_saved(
    client: Client, signed: dict[str, str], shop: Phones
) -> None:
    answer = client.post(
        f"{URL}pick/product_ids/", {"pick_product_ids": "Oak stnad"}, headers=signed
    )
    assert "Nothing is called “Oak stnad”. Did you mean “Oak stand”?" in answer.content.decode()
    assert "HX-Trigger-After-Swap" not in answer
    Product.objects.filter(saleor_id=shop.bulb).update(name="Oak stand")
    for typed, told in (
        ("Oak stand", "More than one is called “Oak stand”: write the global id"),
        ("%", "is none of Saleor&#x27;s global ids"),
    ):
        answer = client.post(f"{URL}save/", {**FORM, "product_ids": typed}, headers=signed)
        assert outcome(answer)["title"] == "Not saved"
        assert told in answer.content.decode()
    assert MerchandisingRule.objects.count() == 0
    # By its id it can be named, and stays an id.
    client.post(f"{URL}save/", {**FORM, "product_ids": shop.bulb}, headers=signed)
    row = MerchandisingRule.objects.get()
    html = client.get(f"{URL}{row.pk}/", headers=signed).content.decode()
    assert f">{shop.bulb}</textarea>" in html


def test_b34_the_list_tells_which_products_a_rule_speaks_of(
    client: Client, signed: dict[str, str], shop: Phones
) -> None:
    ids = [shop.stand, shop.phone, gid("Product", "gone"), shop.bulb, gid("Product", "x")]
    conditions = {
        "product_ids": ids,
        "categories": [gid("Category", "Phones")],
        "attributes": [{"attribute": "color", "values": ["Red", "Blue"]}],
    }
    merchandising.create_rule(
        installation=shop.installation,
        now=timezone.now(),
        name="Mine",
        effect="boost",
        conditions=conditions,
    )
    html = client.get(URL, headers=signed).content.decode()
    gone = gid("Product", "gone")
    assert f"Oak stand, Aurora phone, {gone} and 2 more · Phones · color: Red, Blue" in html


def test_b34_a_product_type_that_is_not_is_refused_with_a_suggestion(
    client: Client, signed: dict[str, str], shop: Phones
) -> None:
    Product.objects.filter(saleor_id=shop.bulb).update(product_type="Lamp")
    answer = client.post(f"{URL}save/", {**FORM, "product_types": "Lmap"}, headers=signed)
    assert outcome(answer)["title"] == "Not saved"
    assert "no product type Lmap. Did you mean &#x27;Lamp&#x27;?" in answer.content.decode()
    assert MerchandisingRule.objects.count() == 0
    client.post(f"{URL}save/", {**FORM, "product_types": "Lamp"}, headers=signed)
    assert MerchandisingRule.objects.get().conditions["product_types"] == ["Lamp"]
