"""Run with pytest beside your own tests: what the journeys of this folder do to the people of the stories."""

from pathlib import Path

import pytest

from saleor_personalize.testing import simulate

HERE = Path(__file__).parent


@pytest.mark.django_db
def test_nobody_is_reminded_at_night_or_after_an_order() -> None:
    found = simulate(HERE / "gentle_reminder.yaml", people=HERE / "stories.yaml")
    found.check()
    assert found.sent("nora") == ["gentle_reminder/reminder"]
    assert found.of("anna")[1].offer == "10 %"
