"""B35 B85: a journey that shows what a placement recommends names one that there is; `journeys check` says so."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.definitions import InvalidJourney
from saleor_personalize.models import Installation, Journey, Placement
from saleor_personalize.recommendations import placements
from tests.conftest import NOW, make_installation

TEXT = """
journey: nudge
topic: offers
trigger: {{type: welcome}}
steps:
  - message: {{id: first, template: welcome, recommend: {{placement: {placement}}}}}
"""


def check(tmp_path: Path, placement: str, installation: Installation) -> str:
    file = tmp_path / "nudge.yaml"
    file.write_text(TEXT.format(placement=placement))
    out = io.StringIO()
    shop = f"--installation={installation.saleor_api_url}"
    call_command("personalize_journeys", "check", str(file), shop, stdout=out)
    return out.getvalue()


def test_b35_a_placement_that_is_not_there_is_told_beforehand(
    installation: Installation, tmp_path: Path
) -> None:
    assert "journey=nudge" in check(tmp_path, "email", installation)
    with pytest.raises(CommandError) as refused:
        check(tmp_path, "emial", installation)
    assert (
        "steps[0].message.recommend.placement: 'emial' there is no such placement, in PLACEMENTS or "
        "among the shop's own. Did you mean 'email'?"
    ) in str(refused.value)
    with pytest.raises(InvalidJourney, match="no such placement"):
        journeys.load(installation=installation, text=TEXT.format(placement="emial"), now=NOW)
    assert not Journey.objects.filter(key="nudge").exists()


def test_b35_a_placement_of_its_own_is_known_to_its_shop_alone(
    installation: Installation, tmp_path: Path
) -> None:
    Placement.objects.create(
        installation=installation, key="email_newcomers", recommenders=["popular"], updated_at=NOW
    )
    placements.forget()
    assert "journey=nudge" in check(tmp_path, "email_newcomers", installation)
    with pytest.raises(CommandError, match="no such placement"):
        check(tmp_path, "email_newcomers", make_installation("other"))
