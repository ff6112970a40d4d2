"""`saleor-personalize demo --once --json`: the whole product as processes, through every door."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


def test_b112_d2_the_demo_tells_the_whole_story() -> None:
    """B5, B45, B112, D2, D8: installed, filled, recommending, one reminder, three reasons for none."""
    done = subprocess.run(
        [sys.executable, "-m", "saleor_personalize.project", "demo", "--once", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    assert story["installed"].startswith("http://127.0.0.1:")
    assert story["backfilled"] == {
        "channels": 2,
        "categories": 7,
        "collections": 1,
        "products": 66,
        "pages": 5,
        "customers": 41,
        "orders": 304,
        "checkouts": 5,
    }
    assert [(model["channel"], model["is_published"]) for model in story["models"]] == [
        ("channel-pln", True),
        ("default-channel", True),
    ]
    assert sum(model["interactions"] for model in story["models"]) > 300
    assert set(story["recommendations"]) == {
        "home",
        "product_page_related",
        "product_page_similar",
        "cart",
    }
    for ids in story["recommendations"].values():
        assert len(ids) == len(set(ids)) == 4
    # B26: beside a tea the guide that names it, in the language asked for.
    assert len(story["pages"]["home"]) == 3
    assert story["pages"]["product page"] == {
        "Kräutertees für den Abend": "Über Tee „Nachtgarten“, 50 g"
    }
    assert story["messages_sent"] == 4
    assert story["messages_not_sent"] == {"no_consent": 1, "ordered": 3}
    # B51, B53, B55: three other occasions, each told once, with what the mail says of it.
    occasions = story["occasions"]
    assert set(occasions) == {"welcome", "back_in_stock", "price_drop"}
    assert "is back" in occasions["back_in_stock"]["subject"]
    assert occasions["price_drop"]["now"] == round(occasions["price_drop"]["before"] * 0.8, 2)
    # B1, B9: phone, laptop and store are one person.
    ana = story["person"]
    # Whether her cart was first told of by its webhook or by her phone, nobody can say.
    assert sorted(one["kind"] for row in ana["profiles"] for one in row["ids"]) == [
        "anonymous_id",
        "anonymous_id",
        "checkout",
        "email",
        "saleor_user",
    ]
    assert {row["proof"] for row in ana["merges"]} == {"login", "checkout"}
    assert all(row["evidence"] and row["why"] and not row["undone_at"] for row in ana["merges"])
    times = [row["at"] for row in ana["timeline"]]
    assert times == sorted(times)
    assert [
        (row["what"], row.get("device", ""))
        for row in ana["timeline"]
        if row["kind"] in {"event", "order", "message"}
    ] == [
        ("product_viewed", "mobile"),
        ("cart_added", "mobile"),
        ("product_viewed", "desktop"),
        ("offline", ""),
        ("not_sent", ""),
    ]
    assert ana["reminder"] == {"status": "not_sent", "reason": "ordered"}
    assert ana["segments"] == ["store-and-web"]
    assert "ana@example.com" not in done.stdout
