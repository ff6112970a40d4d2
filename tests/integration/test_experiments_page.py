"""B88, B90 on the page "Experiments"."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from saleor_personalize.experiments import operations as experiments
from saleor_personalize.models import AuditEntry, Experiment, Installation, Participation, Profile
from tests.integration.test_dashboard import headers, outcome

URL = "/dashboard/experiments/"


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


def make(
    installation: Installation, key: str, arms: dict[str, tuple[int, ...]], **changes: Any
) -> Any:
    """Make an experiment that was measured; arm -> people, buyers, revenue, sum of squares."""
    now = timezone.now()
    return Experiment.objects.create(
        **{
            "installation": installation,
            "key": key,
            "kind": "holdout" if key.startswith("holdout") else "journey",
            "arms": list(arms),
            "began_at": now - timedelta(days=40),
            "measured_at": now,
            "report": {
                "people": {arm: people for arm, (people, *_rest) in arms.items()},
                "currencies": {
                    "EUR": {
                        arm: {
                            "buyers": buyers,
                            "orders": buyers + 1,
                            "revenue": f"{revenue}.00",
                            "squares": float(squares),
                        }
                        for arm, (_people, buyers, revenue, squares) in arms.items()
                        if buyers
                    }
                },
            },
            **changes,
        }
    )


def shown(client: Client, signed: dict[str, str], path: str = "") -> str:
    response = client.get(URL + path, headers=signed)
    assert response.status_code == 200
    assert len(response.content) < 100_000
    return re.sub(r"\s+", " ", response.content.decode().replace("\N{NO-BREAK SPACE}", " "))


def test_b90_the_page_says_what_messages_bring_hold_outs_first(
    client: Client,
    signed: dict[str, str],
    installation: Installation,
    other_installation: Installation,
    settings: Any,
) -> None:
    page = shown(client, signed)
    assert "Nobody is left alone, so nobody can know what your messages bring" in page
    assert "No experiment yet" in page
    assert "nobody has come as far" not in page
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "HOLDOUT_PERCENT": 5}
    page = shown(client, signed)
    assert "Since hold-outs are on, nobody has come as far as a message of marketing yet." in page
    make(installation, "words", {"short": (50, 9, 90, 900), "long": (60, 9, 90, 900)})
    make(
        installation,
        "holdout:*",
        {"held_out": (2000, 500, 2000, 4000), "written_to": (8000, 4000, 24000, 96000)},
    )
    make(
        other_installation, "holdout:secret", {"held_out": (1, 0, 0, 0), "written_to": (1, 0, 0, 0)}
    )
    page = shown(client, signed)
    assert "5 of 100 people get no marketing of any journey" in page
    assert page.index("Hold-out of all journeys") < page.index("“words” in journeys")
    assert (
        "“written to” brings more than “left alone”: 1.87 EUR to 2.13 EUR from each person." in page
    )
    assert (
        "Too few to compare “long” with “short”: each side needs 100 people and 5 of them who bought."
    ) in page
    assert "secret" not in page
    assert "10,000 people take part" in page
    Experiment.objects.of(installation).filter(key="holdout:*").update(winner="written_to")
    page = shown(client, signed)
    assert "people get no marketing of any journey" not in page
    assert "Nobody is left alone" not in page


def test_b88_how_many_take_part_is_told_once_it_was_measured(
    client: Client, signed: dict[str, str], installation: Installation, alice: Profile
) -> None:
    row = make(installation, "words", {"short": (0, 0, 0, 0), "long": (0, 0, 0, 0)})
    Experiment.objects.update(measured_at=None, report={})
    Participation.objects.create(
        installation=installation, experiment=row, profile=alice, arm="short", since=timezone.now()
    )
    page = shown(client, signed)
    assert "Measured every hour; not yet." in page
    assert "take part" not in page
    call_command("personalize_report", "count")
    page = shown(client, signed)
    assert "1 person takes part" in page
    assert "Nobody has bought yet." in page


def test_b88_one_experiment_shows_the_figures_of_each_side(
    client: Client, signed: dict[str, str], installation: Installation
) -> None:
    row = make(
        installation,
        "words",
        {
            "short": (2000, 500, 6000, 24000),
            "long": (2000, 500, 2000, 4000),
            "late": (2000, 500, 6100, 24000),
        },
    )
    page = shown(client, signed, f"{row.pk}/")
    assert "“long” brings less than “short”: " in page
    assert "No difference between “late” and “short” is seen that could not be chance" in page
    cells = re.findall(r"<tr><th scope=\"row\">(\w+)</th>(.*?)</tr>", page)
    assert [name for name, _rest in cells] == ["short", "long", "late"]
    assert re.findall(r"<td>(.*?)</td>", cells[1][1])[:5] == [
        "2,000", "500", "501", "2,000.00 EUR", "1.00 EUR",
    ]  # fmt: skip
    assert page.count('role="img" aria-label="Between ') == 2
    assert "-2.00 EUR" in page
    assert "Orders after the decision" not in page
    Experiment.objects.update(winner="short", decided_at=timezone.now())
    assert "Orders after the decision no longer count" in shown(client, signed, f"{row.pk}/")
    assert client.get(f"{URL}{row.pk + 1}/", headers=signed).status_code == 404


def test_b88_staff_end_an_experiment_by_naming_the_winner(
    client: Client, signed: dict[str, str], installation: Installation, alice: Profile
) -> None:
    test = experiments.Test(
        key="words",
        kind="journey",  # type: ignore[arg-type]
        arms=(experiments.Arm("short"), experiments.Arm("long")),
    )
    now = timezone.now()
    mine = experiments.take_part(test=test, profile=alice, now=now)
    (other,) = {"short", "long"} - {mine}
    row = Experiment.objects.get()
    assert "not yet" in shown(client, signed, f"{row.pk}/")
    asked = shown(client, signed, f"{row.pk}/decide/ask/?arm={other}")
    assert f"Should everybody get “{other}” from now on?" in asked
    assert client.get(f"{URL}{row.pk}/decide/ask/?arm=none", headers=signed).status_code == 404

    response = client.post(f"{URL}{row.pk}/decide/", {"arm": "none"}, headers=signed)
    assert outcome(response)["status"] == "error"
    row.refresh_from_db()
    assert (row.winner, AuditEntry.objects.count()) == ("", 0)

    response = client.post(f"{URL}{row.pk}/decide/", {"arm": other}, headers=signed)
    assert outcome(response)["title"] == "The experiment is over"
    row.refresh_from_db()
    assert row.winner == other
    assert row.decided_by == AuditEntry.objects.get().actor_id != ""
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_name, entry.detail) == (
        "experiment_stopped",
        "words",
        {"winner": other},
    )
    # Alice, who was on the other side, gets it as well; what she was counted for stays.
    assert experiments.take_part(test=test, profile=alice, now=now) == other
    assert Participation.objects.get().arm == mine

    response = client.post(f"{URL}{row.pk}/decide/", {"arm": mine}, headers=signed)
    assert outcome(response)["text"] == "It is over already."
    row.refresh_from_db()
    assert (row.winner, AuditEntry.objects.count()) == (other, 1)
    assert f"Everybody gets “{other}”." in shown(client, signed)


def test_b90_a_holdout_never_ends_with_nobody_being_written_to(
    client: Client, signed: dict[str, str], installation: Installation
) -> None:
    row = make(installation, "holdout:*", {"held_out": (1, 0, 0, 0), "written_to": (1, 0, 0, 0)})
    page = shown(client, signed, f"{row.pk}/")
    assert "Everybody gets “written to”" in page
    assert "Everybody gets “left alone”" not in page
    response = client.post(f"{URL}{row.pk}/decide/", {"arm": "held_out"}, headers=signed)
    assert outcome(response)["text"] == "To write to nobody, pause the journeys instead."
    row.refresh_from_db()
    assert row.winner == ""


def test_b101_who_may_only_look_ends_nothing(
    client: Client, installation: Installation, other_installation: Installation
) -> None:
    row = make(installation, "words", {"short": (1, 0, 0, 0), "long": (1, 0, 0, 0)})
    looks = headers(installation, permissions=["MANAGE_ORDERS"])
    assert "disabled" in shown(client, looks, f"{row.pk}/")
    url = f"{URL}{row.pk}/decide/"
    assert client.post(url, {"arm": "short"}, headers=looks).status_code == 403
    stranger = headers(other_installation)
    assert client.post(url, {"arm": "short"}, headers=stranger).status_code == 404
    assert client.get(url, headers=headers(installation)).status_code == 405
    row.refresh_from_db()
    assert row.winner == ""


def test_b90_the_pages_read_the_same_however_many_take_part(
    client: Client,
    signed: dict[str, str],
    installation: Installation,
    alice: Profile,
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(150):
        make(
            installation, f"words_{number}", {"a": (900, 90, 900, 9000), "b": (900, 90, 900, 9000)}
        )
    with django_assert_max_num_queries(5):
        shown(client, signed)
