"""Test settings: the service's own, with an embedded PostgreSQL (or TEST_DATABASE_URL)."""

import os
import tempfile
from pathlib import Path

from saleor_personalize.testing.services import embedded_postgres

# Models of tests are small: threads that wait for one another cost more than they bring. Read when
# numpy and scikit-learn are loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("SECRET_KEY", "test-secret-key-of-forty-characters-or-so")
os.environ.setdefault(
    "DATABASE_URL",
    os.environ.get("TEST_DATABASE_URL")
    or embedded_postgres(Path(tempfile.gettempdir()) / "saleor-personalize-test-postgres"),
)

from saleor_personalize.project.settings import *  # noqa: F403
from saleor_personalize.project.settings import DATABASES, SALEOR_PERSONALIZE

ALLOWED_HOSTS = ["*"]
# Several runs may share one server: each gets a database of its own.
DATABASES["default"]["TEST"] = {"NAME": f"test_personalize_{os.getpid()}"}
# Tests hold transactions open and count connections: no pool.
DATABASES["default"]["OPTIONS"].pop("pool", None)
# Nothing of a test has to outlive a power cut: a commit need not wait for the disk.
DATABASES["default"]["OPTIONS"].setdefault("options", "-c synchronous_commit=off")
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
CELERY_BROKER_URL = "memory://"
# Deleted when the process ends.
models_of_tests = tempfile.TemporaryDirectory(prefix="personalize-models-")
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
SALEOR_PERSONALIZE = {
    **SALEOR_PERSONALIZE,
    "APP_URL": "https://personalize.test",
    "ALLOWED_SALEOR_API_URLS": [r"https://[a-z]+\.saleor\.test/graphql/"],
    # Stories are about who is written to; who is left alone by chance has tests of its own.
    "HOLDOUT_PERCENT": 0,
    "JOURNEY_HOLDOUT_PERCENT": 0,
    "DEFAULT_SENDER": "shop@example.com",
    "CHECKOUT_URL": "https://store.test/checkout?checkout={checkout_id}",
    "MODEL_DIRECTORY": models_of_tests.name,
}
