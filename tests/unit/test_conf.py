"""The settings dict: defaults, merging, unknown keys (B108)."""

import pytest
from django.core import checks
from django.test import override_settings

from saleor_personalize.conf import Defaults, build_backend, settings
from saleor_personalize.exceptions import ConfigurationError, UnknownAlias
from saleor_personalize.ml.engine import built_in
from saleor_personalize.ml.recommenders.popularity import Popular


@override_settings(SALEOR_PERSONALIZE={})
def test_defaults_apply_without_a_dict() -> None:
    assert settings.APP_ID == "saleor.personalize"
    assert settings.ALLOWED_SALEOR_API_URLS == ()


@override_settings(SALEOR_PERSONALIZE={"APP_UR": "https://x.test"})
def test_an_unknown_key_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(ConfigurationError, match=r"'APP_UR'.*Did you mean APP_URL\?"):
        _ = settings.APP_URL
    found = checks.run_checks()
    assert [(c.id, c.hint) for c in found] == [("saleor_personalize.E001", "Did you mean APP_URL?")]


@override_settings(SALEOR_PERSONALIZE={"app_url": "https://x.test"})
def test_a_key_in_small_letters_is_suggested_in_capitals() -> None:
    assert [c.hint for c in checks.run_checks()] == ["Did you mean APP_URL?"]


@override_settings(
    SALEOR_PERSONALIZE={"PLACEMENTS": {"home": ["newest"], "cart": None, "footer": ["popular"]}}
)
def test_alias_dicts_merge_and_none_removes() -> None:
    assert settings.PLACEMENTS["home"] == ["newest"]
    assert settings.PLACEMENTS["footer"] == ["popular"]
    assert "cart" not in settings.PLACEMENTS
    assert "product_page_related" in settings.PLACEMENTS


@override_settings(
    SALEOR_PERSONALIZE={
        "RECOMMENDERS": {
            "popular": {
                "BACKEND": "saleor_personalize.ml.recommenders.popularity.Popular",
                "OPTIONS": {"colour": "red"},
            }
        }
    }
)
def test_wrong_options_name_the_setting_and_the_option() -> None:
    with pytest.raises(ConfigurationError, match=r"\['RECOMMENDERS'\]\['popular'\].*colour"):
        build_backend("RECOMMENDERS", "popular")


def test_a_backend_is_built_by_alias() -> None:
    assert isinstance(build_backend("RECOMMENDERS", "popular"), Popular)
    with pytest.raises(UnknownAlias, match=r"no entry 'nope'. Known: bought_together"):
        build_backend("RECOMMENDERS", "nope")


def test_every_recommender_that_ships_is_a_setting() -> None:
    """What `Engine()` has, production has: a new one belongs into conf and docs/reference/settings.md."""
    shipped = {
        alias: f"{type(one).__module__}.{type(one).__qualname__}"
        for alias, one in built_in().items()
    }
    assert shipped == Defaults().RECOMMENDERS
