"""B88, B96: the shop's servers read what experiments brought."""

from __future__ import annotations

from datetime import timedelta

from saleor_personalize.models import Experiment, Installation
from tests.api.conftest import Ask
from tests.conftest import NOW

QUERY = """{ experiments { key kind arms beganAt winner decidedAt measuredAt currencies { currency
  arms { name people buyers orders revenue revenuePerPerson uplift upliftLow upliftHigh verdict } } } }"""


def test_b88_a_server_reads_experiments_and_nobody_else(
    gql: Ask, installation: Installation, other_installation: Installation
) -> None:
    sums = {"buyers": 500, "orders": 600, "revenue": "2000.50", "squares": 4000.0}
    for shop, key in ((installation, "words"), (other_installation, "other")):
        Experiment.objects.create(
            installation=shop,
            key=key,
            kind="journey",
            arms=["short", "long"],
            began_at=NOW,
            measured_at=NOW + timedelta(days=1),
            report={
                "people": {"short": 2000, "long": 4000},
                "currencies": {"EUR": {"short": sums}},
            },
        )
    (found,) = gql(QUERY, token=installation.auth_token).data["experiments"]
    (euro,) = found.pop("currencies")
    assert found == {
        "key": "words",
        "kind": "JOURNEY",
        "arms": ["short", "long"],
        "beganAt": "2026-03-02T12:00:00+00:00",
        "winner": None,
        "decidedAt": None,
        "measuredAt": "2026-03-03T12:00:00+00:00",
    }
    assert euro == {
        "currency": "EUR",
        "arms": [
            {
                "name": "short", "people": 2000, "buyers": 500, "orders": 600, "revenue": 2000.5,
                "revenuePerPerson": 1.00025, "uplift": None, "upliftLow": None, "upliftHigh": None,
                "verdict": None,
            },
            {
                "name": "long", "people": 4000, "buyers": 0, "orders": 0, "revenue": 0.0,
                "revenuePerPerson": 0.0, "uplift": -1.00025, "upliftLow": None,
                "upliftHigh": None, "verdict": "TOO_FEW",
            },
        ],
    }  # fmt: skip
    assert gql(QUERY).codes == ["FORBIDDEN"]
    assert gql(QUERY, anonymous_id="visitor-of-sixteen").codes == ["FORBIDDEN"]
