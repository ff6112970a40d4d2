"""The people of every test, and the outside world switched off.

Alice is a customer who opted in, Bob opted out, Carol is anonymous, Dave belongs to another shop.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from hypothesis import settings

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    InstallationStatus,
    Purpose,
)
from saleor_personalize.journeys.operations import ensure_journey
from saleor_personalize.models import (
    Consent,
    Enrollment,
    Identity,
    Installation,
    Profile,
    email_hash,
)
from saleor_personalize.testing.keys import TEST_KEY, SigningKey
from tests.database import database_with_tables

# How long an example takes says more about the machine than about the code.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

#: The moment at which every test starts, unless it says otherwise.
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def pytest_runtest_setup(item: pytest.Item) -> None:
    from pytest_socket import socket_allow_hosts

    socket_allow_hosts(["127.0.0.1", "localhost", "::1"], allow_unix_socket=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first (pytest-django has put them last), and ask what a browser shows a second time
    before it counts: on a busy machine Chromium loses a press now and then."""
    items.sort(key=lambda item: item.get_closest_marker("acceptance") is None)
    for item in items:
        if item.get_closest_marker("browser") is not None:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, django_db_blocker: Any
) -> None:
    """Let each worker copy a database that has all tables: to make them takes ten seconds, a copy one."""
    with django_db_blocker.unblock():
        connection.settings_dict["TEST"]["TEMPLATE"] = database_with_tables()


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def signing_key() -> SigningKey:
    """The key that the made-up shops sign with."""
    return TEST_KEY


def make_installation(host: str = "main", **changes: Any) -> Installation:
    return Installation.objects.create(
        **{
            "saleor_api_url": f"https://{host}.saleor.test/graphql/",
            "app_id": "QXBwOjE=",
            "auth_token": f"token-of-{host}",
            "jwks": TEST_KEY.jwks(),
            "jwks_fetched_at": NOW,
            "saleor_version": "3.24",
            "permissions": ["MANAGE_PRODUCTS", "MANAGE_ORDERS", "MANAGE_CHECKOUTS", "MANAGE_USERS"],
            "status": InstallationStatus.ACTIVE,
            "status_changed_at": NOW,
            "installed_at": NOW,
            **changes,
        }
    )


@pytest.fixture
def installation(db: None) -> Installation:
    return make_installation()


@pytest.fixture
def other_installation(db: None) -> Installation:
    return make_installation("other", app_id="QXBwOjk=")


def make_profile(installation: Installation, **identities: str) -> Profile:
    """Make a person with `kind=value` identities; an `email` is stored hashed and encrypted."""
    profile = Profile.objects.create(installation=installation, first_seen_at=NOW)
    for kind, value in identities.items():
        is_email = kind == IdentityKind.EMAIL
        Identity.objects.create(
            installation=installation,
            profile=profile,
            kind=kind,
            value=email_hash(value) if is_email else value,
            address=value if is_email else "",
            first_seen_at=NOW,
        )
    return profile


def make_consent(profile: Profile, state: ConsentState) -> Consent:
    return Consent.objects.create(
        installation=profile.installation,
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=state,
        source="test",
        recorded_at=NOW,
    )


def make_enrollment(profile: Profile, subject: str, at: datetime, **changes: Any) -> Enrollment:
    """Put somebody into the reminder of abandoned carts, over a cart, as it happened at a moment."""
    journey = ensure_journey(installation=profile.installation, key="abandoned_checkout")
    return Enrollment.objects.create(
        **{
            "installation": profile.installation,
            "journey": journey,
            "version": journey.published,
            "profile": profile,
            "subject_kind": "checkout",
            "subject_saleor_id": subject,
            "entry_key": subject,
            "occurred_at": at,
            "due_at": at,
            "step_since": at,
            "path": [0],
            "created_at": at,
            **changes,
        }
    )


@pytest.fixture
def alice(installation: Installation) -> Profile:
    profile = make_profile(installation, saleor_user="VXNlcjox", email="alice@example.com")
    make_consent(profile, ConsentState.GRANTED)
    return profile


@pytest.fixture
def bob(installation: Installation) -> Profile:
    profile = make_profile(installation, saleor_user="VXNlcjoy", email="bob@example.com")
    make_consent(profile, ConsentState.DENIED)
    return profile


@pytest.fixture
def carol(installation: Installation) -> Profile:
    return make_profile(installation, anonymous_id="3f0d6e0e-carol")


@pytest.fixture
def dave(other_installation: Installation) -> Profile:
    profile = make_profile(other_installation, saleor_user="VXNlcjox", email="dave@example.com")
    make_consent(profile, ConsentState.GRANTED)
    return profile


@pytest.fixture
def run_on_commit(
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> Callable[..., Any]:
    """`with run_on_commit():` runs what was scheduled for after the commit."""
    return lambda: django_capture_on_commit_callbacks(execute=True)
