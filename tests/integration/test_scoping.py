"""Every row belongs to one installation, and no read crosses over (B113)."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.apps import apps
from django.db import models

import saleor_personalize
from saleor_personalize.models import Installation, Pace, Scoped
from tests.payloads import scenario
from tests.webhooks.deliver import deliver

MODELS = [
    m for m in apps.get_app_config("saleor_personalize").get_models() if m is not Installation
]
PACKAGE = Path(saleor_personalize.__file__).parent


#: How fast an account sends that all shops share is of none of them (ADR 18).
OF_ALL = {"pace_once_for_all"}


def test_b113_what_is_of_all_shops_tells_of_none() -> None:
    names = {field.name for field in Pace._meta.get_fields()} - {"id", "installation"}
    assert names == {"key", "free_at", "queue_at", "queue_ends_at", "day", "taken", "paused_until"}


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_b113_every_table_belongs_to_an_installation(model: type[models.Model]) -> None:
    assert issubclass(model, Scoped)
    field = model._meta.get_field("installation")
    assert field.null is (model is Pace)
    assert field.remote_field.on_delete is models.CASCADE


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_b113_whatever_is_unique_is_unique_within_an_installation(
    model: type[models.Model],
) -> None:
    """Saleor's ids repeat between shops: a constraint without the shop would mix them."""
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint) and constraint.name not in OF_ALL:
            scope = [
                name
                for name in constraint.fields
                if name == "installation"
                or issubclass(model._meta.get_field(name).related_model or int, Scoped)
            ]
            assert scope, f"{constraint.name} spans installations"


#: Reads that span installations on purpose: workers that serve every shop, and who a caller is.
ACROSS = {
    "bus/delivery.py",  # claims outgoing deliveries of every shop
    "events/abandoned.py",  # looks for carts that were left in every shop that listens
    "events/partitions.py",  # months of events, and visits past retention, of every shop
    "events/favourites.py",  # the token of a shared list says which shop
    "ingestion/imports/operations.py",  # claims imports, and purges, of every shop
    "ingestion/deliveries.py",  # claims waiting deliveries of every shop
    "ingestion/backfill.py",  # claims runs of every shop
    "ingestion/erasure.py",  # searches for erased people of every shop
    "ingestion/queries.py",  # the health endpoint sums over shops
    "messaging/pace.py",  # a provider of all shops is of none; old rows of every shop
    "journeys/queries.py",  # of every shop, who waits for a place in the pace and who is leaving
    "journeys/dry_runs.py",  # claims the dry runs of every shop
    "journeys/entering.py",  # looks for whom time brings into the journeys of every shop
    "journeys/resuming.py",  # takes up the interrupted messages of every shop
    "journeys/claiming.py",  # claims due enrollments of every shop
    "messaging/feedback.py",  # the secret in the address says which shop
    "journeys/time_machine.py",  # moves the clock of a whole database that is its own
    "messaging/clocks.py",  # part of a query that is held to one shop: who is one with whom
    "messaging/opt_in.py",  # asks the people of every shop
    "messaging/phone_codes.py",  # sends the codes of every shop
    "offers/operations.py",  # claims the offers of every shop that are due
    "messaging/operations.py",  # settles interrupted messages of every shop
    "recommendations/queries.py",  # the health endpoint counts over shops
    "recommendations/training.py",  # takes up the trainings of every shop
    "recommendations/versions.py",  # finds files of shops that are gone
    "saleor_api/installations.py",
    "saleor_api/server_keys.py",  # a key names its shop
    "segments/operations.py",  # evaluates the segments of every shop
    "segments/queries.py",  # the health endpoint takes the lag over all shops
    "testing/simulation/running.py",  # a database made for one simulation, refused if a shop is in it
}


def _unscoped_reads(path: Path) -> list[int]:
    """Return lines that start a query with `Model.objects.` and anything but `of` or a write."""
    found = []
    names = {m.__name__ for m in MODELS}
    writes = {"of", "create", "bulk_create", "bulk_update", "get_or_create", "update_or_create"}
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Attribute)
            and node.value.attr == "objects"
            and isinstance(node.value.value, ast.Name)
            and node.value.value.id in names
            and node.attr not in writes
        ):
            found.append(node.lineno)
    return found


def test_b113_every_read_starts_with_an_installation() -> None:
    offenders = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        if "migrations" not in path.parts and str(path.relative_to(PACKAGE)) not in ACROSS
        for line in _unscoped_reads(path)
    }
    assert offenders == set()


@pytest.mark.django_db
def test_b113_the_same_webhooks_in_two_shops_make_two_worlds(
    installation: Installation, other_installation: Installation
) -> None:
    rows = [
        *scenario("order"),
        *scenario("price_change"),
        *scenario("customer_deleted_by_staff")[:1],
    ]
    now = datetime.now(UTC)
    deliver(installation, rows, now=now)
    alone = {m.__name__: m.objects.of(installation).count() for m in MODELS}
    deliver(other_installation, rows, now=now)
    for model in MODELS:
        assert model.objects.of(installation).count() == alone[model.__name__]
        assert model.objects.of(other_installation).count() == alone[model.__name__]
    assert alone["Order"] == alone["Product"] == 1

    other_installation.delete()
    for model in MODELS:
        assert model.objects.count() == alone[model.__name__]
