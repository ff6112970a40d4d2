"""Every built-in trigger keeps the contract that is shipped for triggers of others; so does the example."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from saleor_personalize.journeys.triggers import CheckoutChanged, known_triggers
from saleor_personalize.journeys.triggers.abandoned_checkout import AbandonedCheckout
from saleor_personalize.models import Checkout, Identity, email_hash
from saleor_personalize.testing.contracts import NOW, TriggerCase, TriggerTests

_ROOT = Path(__file__).parents[2]
_BUILT_IN = _ROOT / "saleor_personalize" / "journeys" / "builtin"


def test_b60_every_built_in_trigger_is_under_contract() -> None:
    assert set(known_triggers().values()) <= {
        case.trigger for case in TriggerTests.__subclasses__()
    }


class TestAbandonedCheckout(TriggerTests):
    trigger = AbandonedCheckout
    definition = str(_BUILT_IN / "abandoned_checkout.yaml")

    def come_in(self, case: TriggerCase) -> None:
        Identity.objects.create(
            installation=case.installation,
            profile=case.profile,
            kind="email",
            value=email_hash("alice@example.com"),
            address="alice@example.com",
            first_seen_at=NOW,
        )
        checkout = Checkout.objects.create(
            installation=case.installation,
            saleor_id="checkout-1",
            profile=case.profile,
            token="token",
            email_hash=email_hash("alice@example.com"),
            channel_slug="default-channel",
            currency="EUR",
            total=20,
            lines=[{"variant_id": "v", "product_id": "p", "quantity": 1, "unit_price": "20"}],
            last_changed_at=NOW,
            saleor_updated_at=NOW,
        )
        case.observe(CheckoutChanged(checkout), now=NOW)


def _example(name: str) -> Any:
    path = _ROOT / "examples" / "custom_trigger" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_example("review_request")
_TESTS = _example("test_review_request")


class TestExample(_TESTS.TestReviewRequest):  # type: ignore[misc, name-defined]
    definition = str(_ROOT / "examples" / "custom_trigger" / "review_request.yaml")


for _case in (TestAbandonedCheckout, TestExample):
    pytest.mark.django_db(_case)
