"""The sign-up drive on the page: who keeps products or comes back without an account."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from saleor_personalize.enums import ConsentState, Purpose
from saleor_personalize.models import Consent, Favourite, Identity, Installation, Profile, Session
from tests.api.conftest import ALICE, Ask
from tests.api.test_hints import HINTS, REPORT, VISITOR, kinds, visitor  # noqa: F401
from tests.catalogue import Phones
from tests.conftest import NOW

SIGN_UP = "SIGN_UP"


def ask(gql: Ask, **variables: Any) -> Any:
    return gql(HINTS, variables, anonymous_id=VISITOR)


def keep(profile: Profile) -> None:
    Favourite.objects.create(
        installation=profile.installation,
        profile=profile,
        product_saleor_id="p",
        added_at=NOW - timedelta(days=1),
    )


def come(profile: Profile, count: int) -> None:
    for number in range(count):
        Session.objects.create(
            installation=profile.installation,
            profile=profile,
            session_id=f"visit-{number}",
            started_at=NOW - timedelta(days=number * 2),
            last_seen_at=NOW - timedelta(days=number * 2),
        )


def test_who_keeps_products_without_an_account_is_told_what_one_is_good_for(
    gql: Ask,
    shop: Phones,
    visitor: Profile,  # noqa: F811
) -> None:
    assert SIGN_UP not in kinds(ask(gql))
    keep(visitor)
    (hint,) = [one for one in ask(gql).data["hints"] if one["kind"] == SIGN_UP]
    assert hint["id"] == "sign_up.favourites"
    assert hint["text"] == "Keep your favourites: make an account."
    assert hint["reason"]["code"] == "FAVOURITES_KEPT"


@pytest.mark.parametrize(("count", "is_told"), [(2, False), (3, True)])
def test_who_comes_back_again_and_again_is_told(
    gql: Ask,
    shop: Phones,
    visitor: Profile,  # noqa: F811
    count: int,
    is_told: bool,
) -> None:
    come(visitor, count)
    assert (SIGN_UP in kinds(ask(gql))) == is_told


def test_once_told_it_rests(gql: Ask, shop: Phones, visitor: Profile) -> None:  # noqa: F811
    keep(visitor)
    gql(REPORT, {"id": "sign_up.favourites", "action": "DISMISSED"}, anonymous_id=VISITOR)
    assert SIGN_UP not in kinds(ask(gql))


def test_who_is_signed_in_or_has_an_account_is_not_told(
    gql: Ask,
    shop: Phones,
    visitor: Profile,  # noqa: F811
    alice: Profile,
    token_of: Callable[..., str],
) -> None:
    keep(alice)
    assert SIGN_UP not in kinds(gql(HINTS, token=token_of(ALICE)))
    keep(visitor)
    Identity.objects.create(
        installation=visitor.installation,
        profile=visitor,
        kind="saleor_user",
        value="VXNlcjo5",
        first_seen_at=NOW,
    )
    assert SIGN_UP not in kinds(ask(gql))


@pytest.mark.parametrize("page", ["CART", "CHECKOUT"])
def test_nobody_is_held_up_while_buying(
    gql: Ask,
    shop: Phones,
    visitor: Profile,  # noqa: F811
    page: str,
) -> None:
    keep(visitor)
    assert SIGN_UP not in kinds(ask(gql, page=page))


def test_who_refused_profiling_is_not_told(
    gql: Ask,
    shop: Phones,
    visitor: Profile,  # noqa: F811
    installation: Installation,
) -> None:
    keep(visitor)
    Consent.objects.create(
        installation=installation,
        profile=visitor,
        purpose=Purpose.PROFILING,
        state=ConsentState.DENIED,
        source="test",
        recorded_at=NOW,
    )
    assert SIGN_UP not in kinds(ask(gql))
