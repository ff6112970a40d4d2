"""System checks: one id per fault, each with its fix, and none for settings in order."""

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.checks import CheckMessage

from saleor_personalize import checks
from saleor_personalize.checks import check_settings
from saleor_personalize.conf import Defaults, known_names
from tests.texting import channel

GOOD = {
    "APP_URL": "https://personalize.example.com",
    "ALLOWED_SALEOR_API_URLS": [r"https://shop\.example\.com/graphql/"],
    "DASHBOARD_ORIGINS": ["https://dashboard.example.com", "http://localhost:9000"],
    "ENCRYPTION_KEYS": [Fernet.generate_key().decode()],
    "CHECKOUT_URL": "https://store.example.com/cart/{checkout_id}",
    "STOREFRONT_ORIGINS": ["https://store.example.com", "http://localhost:3000"],
}

SMTP = "django.core.mail.backends.smtp.EmailBackend"


class Falls:
    """A class of somebody else's that cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("boom")


def email(providers: Any) -> dict[str, Any]:
    return {
        "BACKEND": "saleor_personalize.messaging.channels.email.EmailChannel",
        "OPTIONS": {"providers": providers},
    }


def found(settings: Any, **changes: Any) -> list[CheckMessage]:
    settings.SALEOR_PERSONALIZE = {**GOOD, **changes}
    return check_settings()


def test_settings_in_order_have_nothing_to_tell(settings: Any) -> None:
    assert found(settings) == []


@pytest.mark.parametrize(
    ("fault", "changes", "text"),
    [
        ("E001", {"RECOMENDERS": {}}, "RECOMENDERS"),
        ("W001", {"ALLOWED_SALEOR_API_URLS": []}, "no shop can install the app"),
        ("W002", {"APP_URL": None}, "cannot be installed"),
        ("E002", {"APP_URL": "personalize.example.com"}, "no web address"),
        ("E002", {"APP_URL": "https://personalize.example.com/?a=b"}, "no web address"),
        ("W003", {"APP_URL": "http://personalize.example.com"}, "unencrypted"),
        ("E003", {"ALLOWED_SALEOR_API_URLS": ["https://(shop"]}, "no regular expression"),
        ("E004", {"DASHBOARD_ORIGINS": ["https://dashboard.example.com/"]}, "no origin"),
        ("E004", {"DASHBOARD_ORIGINS": ["https://a.test; script-src *"]}, "no origin"),
        ("E004", {"DASHBOARD_ORIGINS": ["dashboard.example.com"]}, "no origin"),
        ("E118", {"DASHBOARD_PATH": "dashboard"}, "no path"),
        ("E118", {"DASHBOARD_PATH": "//evil.example/"}, "no path"),
        ("E119", {"DOCS_URL": "javascript:alert(1)"}, "no web address"),
        ("E005", {"ENCRYPTION_KEYS": ["not-a-key"]}, "ENCRYPTION_KEYS'][0] is not a Fernet key"),
        ("W004", {"ENCRYPTION_KEYS": []}, "SECRET_KEY"),
        ("E090", {"LIFECYCLE_AT_RISK_SHARE": 0.96}, "LIFECYCLE_AT_RISK_SHARE'] is 0.96"),
        ("E090", {"LIFECYCLE_LAPSED_SHARE": 1.5}, "LIFECYCLE_LAPSED_SHARE 1.5"),
        ("E091", {"LIFECYCLE_LAPSED_AFTER": timedelta(days=90)}, "LIFECYCLE_AT_RISK_AFTER"),
        ("E091", {"LIFECYCLE_AT_RISK_AFTER": timedelta(hours=3)}, "3:00:00"),
        ("E012", {"LIFECYCLE_MIN_RETURNS": 0}, "LIFECYCLE_MIN_RETURNS"),
        ("E012", {"BRAND_ATTRIBUTE": None}, "BRAND_ATTRIBUTE"),
        ("E150", {"DEFAULT_SENDER": "shop"}, "not one address"),
        ("E150", {"DEFAULT_SENDER": "Shop <a@b.example>, <c@d.example>"}, "not one address"),
        ("E150", {"DEFAULT_SENDER": "Shop <a@b.example>\nBcc: c@d.example"}, "not one address"),
        ("E151", {"UTM": {"utm_source": 5}}, "UTM']['utm_source'] is of type int"),
        ("E152", {"DNS_SERVERS": ["dns.example.com"]}, "'dns.example.com'"),
        ("E152", {"DNS_SERVERS": ["192.0.2.53:dns"]}, "'192.0.2.53:dns'"),
        ("E153", {"RETURN_PATH_DOMAIN": "bounce@example.com"}, "'bounce@example.com'"),
        ("E153", {"SPF_INCLUDES": ["include:spf.example.net"]}, "'include:spf.example.net'"),
        ("E153", {"DKIM_SELECTORS": ["s1 s2"]}, "'s1 s2'"),
        ("E154", {"CLICK_TRACKING": True, "CLICK_EXPIRY": timedelta(0)}, "CLICK_EXPIRY'] is 0"),
        ("E012", {"SOFT_BOUNCES": -1}, "SOFT_BOUNCES"),
        ("E012", {"VIEW_IN_BROWSER": None}, "VIEW_IN_BROWSER"),
        ("E220", {"DASHBOARD_ROLES": {"admin": ["MANAGE_STAFF"]}}, "'admin'"),
        ("E221", {"DASHBOARD_ROLES": {"send": []}}, "['send'] is []"),
        ("E221", {"DASHBOARD_ROLES": {"view": "MANAGE_ORDERS"}}, "'MANAGE_ORDERS'"),
        ("E221", {"DASHBOARD_ROLES": {"edit": ["manage orders"]}}, "'manage orders'"),
        ("E120", {"BUS_DISABLE_AFTER": timedelta(hours=9)}, "9:00:00"),
        ("E121", {"BUS_TIMEOUT": 61}, "61 seconds"),
        ("W120", {"BUS_ALLOW_PRIVATE_ADDRESSES": True}, "hosts of your own network"),
        ("E122", {"HINT_OFFER": {"percent": 10}}, "HINT_OFFER'] makes no offer. expires"),
        ("E122", {"HINT_OFFER": {"expires": timedelta(hours=2)}}, "give one of"),
        ("E123", {"HINT_LINGER_AFTER": timedelta(0)}, "0:00:00"),
        ("E160", {"INBOX_EXPIRY": timedelta(seconds=30)}, "0:00:30"),
        ("E012", {"HINTS_MAX_PER_DAY": -1}, "HINTS_MAX_PER_DAY"),
        ("E170", {"SMS_MAX_SEGMENTS": 0}, "SMS_MAX_SEGMENTS'] is 0"),
        ("E170", {"SMS_MAX_SEGMENTS": 11}, "SMS_MAX_SEGMENTS'] is 11"),
        ("E173", {"PHONE_CODES_PER_HOUR": {"person": 0}}, "['person'] is 0"),
        ("E173", {"PHONE_CODES_PER_HOUR": {"shop": None}}, "['shop'] is None"),
        ("E173", {"PHONE_CODES_PER_HOUR": {"street": 1}}, "['street'] is 1"),
        ("E171", {"SMS_STOP_WORDS": ["ende"]}, "SMS_STOP_WORDS'] does not hold"),
        ("E172", {"SMS_START_WORDS": ["Stop", "start"]}, "both hold stop"),
        (
            "W170",
            {"CHANNELS": {"sms": "tests.integration.phones.Phones"}},
            "CHANNELS']['sms'] is no",
        ),
        ("E130", {"TRIGGERS": {"mine": "no.such.Trigger"}}, "cannot be imported"),
        ("E130", {"TRIGGERS": {"mine": "builtins.dict"}}, "no subclass of"),
        (
            "E130",
            {"TRIGGERS": {"mine": "saleor_personalize.journeys.triggers.base.Trigger"}},
            "TRIGGERS'][",
        ),
        ("E131", {"FREQUENCY_CAPS": {"*": 3}}, "is 3, which is no list of caps"),
        ("E131", {"FREQUENCY_CAPS": {"email": [(0, timedelta(days=1))]}}, "'email'"),
        ("E132", {"QUIET_HOURS": {"push": ("21:00", "25:00")}}, "no pair of times of day"),
        ("E132", {"QUIET_HOURS": {"push": "21:00"}}, "no pair of times of day"),
        ("E133", {"QUIET_HOURS": {"pigeon": ("21:00", "08:00")}}, "'pigeon'"),
        ("E180", {"PACE": {"email": 20}}, "['email'] is 20, which is no pace"),
        ("E180", {"DOMAIN_PACE": {"gmail": (0, timedelta(hours=1))}}, "'gmail'"),
        ("E181", {"PACE": {"pigeon": (1, timedelta(hours=1))}}, "'pigeon'"),
        ("E182", {"DAILY_MAXIMUM": {"email": 0}}, "is 0, which is no number"),
        ("E183", {"WARM_UP": {"email": {"START": "soon"}}}, "soon"),
        (
            "E183",
            {"WARM_UP": {"email": {"START": "2026-12-01", "FIRST": 9, "GROWTH": 1, "LAST": 10}}},
            "GROWTH above 1",
        ),
        ("E184", {"DOMAIN_GROUPS": {"gmail": "gmail.com"}}, "no list of domains"),
        ("E185", {"DOMAIN_PACE": {"gmial": (1, timedelta(hours=1))}}, "'gmial', which is neither"),
        ("E070", {"RETENTION": {"device": None}}, "'device', which is no kind of data"),
        ("E135", {"STOCK_ALERT_PAUSE": timedelta(0)}, "STOCK_ALERT_PAUSE'] is 0:00:00"),
        ("E136", {"PRICE_HISTORY_RETENTION": timedelta(days=30)}, "is 30 days, 0:00:00"),
        ("E134", {"TIME_ZONE": "Berlin"}, "'Berlin', which is no time zone"),
        ("E050", {"CONSENT_RULES": {"Germany": "opt_in"}}, "'Germany', which is no country"),
        ("E050", {"CONSENT_RULES": {"de": "opt_in"}}, "'de'"),
        ("E051", {"CONSENT_RULES": {"DE": "triple_opt_in"}}, "'triple_opt_in', which is no rule"),
        ("E052", {"CONSENT_RULES": {"*": "soft_opt_in"}}, "not every country"),
        ("E053", {"TOPICS": {"my topic": "Mine"}}, "'my topic'"),
        ("E054", {"SOFT_OPT_IN_TOPICS": ["socks"]}, "'socks'"),
        ("E054", {"TOPICS": {"offers": None}}, "'offers'"),
        ("E053", {"TRANSACTIONAL_TOPICS": {"my order": "Mine"}}, "'my order'"),
        ("E056", {"TRANSACTIONAL_TOPICS": {"news": "Mine"}}, "'news'"),
        ("E137", {"SUNSET_AFTER": timedelta(days=1)}, "SUNSET_AFTER'] is 1 day"),
        ("E166", {"SEND_TIME_WINDOW": timedelta(minutes=59)}, "SEND_TIME_WINDOW'] is 0:59:00"),
        ("E166", {"SEND_TIME_WINDOW": timedelta(days=8)}, "SEND_TIME_WINDOW'] is 8 days"),
        ("E055", {"CONFIRMATION_EXPIRY": timedelta()}, "CONFIRMATION_EXPIRY"),
        ("E055", {"CONFIRMATION_INTERVAL": timedelta(minutes=1)}, "CONFIRMATION_INTERVAL"),
        ("E012", {"SUBSCRIBE_MAX_PER_HOUR": 0}, "SUBSCRIBE_MAX_PER_HOUR"),
        ("E006", {"RECOMMENDERS": {"mine": "nowhere.Mine"}}, "'nowhere.Mine'"),
        (
            "E006",
            {
                "RECOMMENDERS": {
                    "popular": {
                        "BACKEND": "saleor_personalize.ml.recommenders.popularity.Popular",
                        "OPTIONS": {"no_such_option": 1},
                    }
                }
            },
            "no_such_option",
        ),
        ("E007", {"CHANNELS": {"email": "nowhere.Email"}}, "'nowhere.Email'"),
        ("E007", {"CHANNELS": {"email": email("anymail")}}, "a list of e-mail backends"),
        ("E007", {"CHANNELS": {"email": email([5])}}, "provider 1 is neither a dotted path"),
        (
            "E007",
            {"CHANNELS": {"email": email([SMTP, {"BACKEND": SMTP, "OPTION": {}}])}},
            "provider 2 has the key 'OPTION'",
        ),
        ("E007", {"CHANNELS": {"email": "tests.unit.test_checks.Falls"}}, "boom"),
        (
            "E007",
            {"CHANNELS": {"sms": channel("https://twilio.test", timeout="soon")}},
            "`timeout` is 'soon'; it takes seconds",
        ),
        ("E008", {"CHANNELS": {"email": 7}}, "neither a dotted path nor a dict"),
        ("E008", {"CHANNELS": {"sms": 7}}, "neither a dotted path nor a dict"),
        ("E008", {"CHANNELS": {"push": {**email([]), "OPTION": 1}}}, "the key 'OPTION'"),
        ("E008", {"CHANNELS": {"push": {**email([]), "OPTIONS": 5}}}, "OPTIONS that are no dict"),
        ("E016", {"CHANNELS": {"sms": "datetime.timedelta"}}, "timedelta, which is no Channel"),
        ("E016", {"CHANNELS": {"email": "datetime.timedelta"}}, "timedelta, which is no Channel"),
        ("E016", {"RECOMMENDERS": {"mine": "datetime.timedelta"}}, "which is no Recommender"),
        (
            "E017",
            {"CHANNELS": {"SMS": channel("https://twilio.test")}},
            "the key 'SMS', which is no delivery channel",
        ),
        (
            "E018",
            {"CHANNELS": {"email": email([SMTP, "anymail.backends.postmrk.EmailBackend"])}},
            "provider 2, anymail.backends.postmrk.EmailBackend, cannot be made: No module named",
        ),
        (
            "E018",
            {"CHANNELS": {"email": email([{"BACKEND": SMTP, "OPTIONS": {"hots": "smtp.test"}}])}},
            "provider 1, django.core.mail.backends.smtp.EmailBackend, cannot be made: it takes no option 'hots'",
        ),
        (
            "E018",
            {"CHANNELS": {"email": email([{"BACKEND": SMTP, "OPTIONS": {"port": "abc"}}])}},
            "its port 'abc' is no number",
        ),
        ("E008", {"RECOMMENDERS": {"mine": {"OPTIONS": {}}}}, "neither a dotted path nor a dict"),
        ("E009", {"PLACEMENTS": {"home": "popular"}}, "needs a list of recommenders"),
        ("E009", {"PLACEMENTS": {"home": []}}, "needs a list of recommenders"),
        ("E010", {"PLACEMENTS": {"home": ["popular", "poplar"]}}, "'poplar'"),
        ("E011", {"CHECKOUT_URL": "https://store.example.com/cart"}, "the same page"),
        ("E014", {"PRODUCT_LANGUAGES": ["de", "DE"]}, "'DE'"),
        ("E014", {"PRODUCT_LANGUAGES": ["pt_br"]}, "'pt_br'"),
        ("E014", {"PRODUCT_LANGUAGES": ["xx"]}, "'xx'"),
        ("E012", {"PAGE_TYPES": "guide"}, "is of type str"),
        ("E015", {"PAGE_TYPES": ["guide", "Blog post"]}, "'Blog post'"),
        ("E015", {"PAGE_TAG_ATTRIBUTES": ["topics", ""]}, "''"),
        ("E012", {"PRODUCT_LANGUAGES": "de"}, "is of type str"),
        ("E012", {"ATTRIBUTION_WINDOW": 7}, "is 7"),
        ("E030", {"STOREFRONT_ORIGINS": ["https://store.example.com/"]}, "no origin"),
        ("E030", {"STOREFRONT_ORIGINS": ["*"]}, "no origin"),
        ("E031", {"EVENT_RETENTION": timedelta(days=7)}, "not longer than TRACK_MAX_AGE"),
        ("W030", {"EVENT_RETENTION": None}, "kept for ever"),
        ("E060", {"IMPORT_STORAGE": "nowhere.Storage"}, "'nowhere.Storage'"),
        ("E060", {"IMPORT_STORAGE": {"OPTIONS": {}}}, "without BACKEND"),
        ("E061", {"IMPORT_RETENTION": timedelta(0)}, "before it is imported"),
        ("E062", {"PRODUCT_URL": "https://store.example.com/product"}, "the same page"),
        ("E040", {"SEGMENT_RULES": ["nowhere.Rule"]}, "'nowhere.Rule'"),
        ("E040", {"SEGMENT_RULES": ["datetime.date"]}, "no subclass"),
        ("E040", {"SEGMENT_RULES": ["saleor_personalize.segments.rules.Trait"] * 2}, "'trait'"),
        ("E012", {"ALLOWED_SALEOR_API_URLS": "https://a.test/graphql/"}, "is of type str"),
        ("E012", {"ALLOWED_SALEOR_API_URLS": [7]}, "is of type list"),
        ("E012", {"APP_URL": 7}, "is 7"),
        ("E012", {"APP_ID": None}, "is None"),
        ("E012", {"DRY_RUN": "false"}, "is of type str"),
        ("E012", {"ABANDONED_CHECKOUT_DELAY": 3600}, "is 3600"),
        ("E012", {"TRACK_MAX_AGE": timedelta(-1)}, "datetime.timedelta(days=-1)"),
        ("E012", {"TRAINING_TIME_LIMIT": timedelta(-1)}, "datetime.timedelta(days=-1)"),
        ("E012", {"TRAINING_THREADS": -1}, "is -1"),
        ("E012", {"BACKFILL_PAGE_SIZE": 0}, "is 0"),
        ("E012", {"GRAPHQL_MAX_DEPTH": True}, "is True"),
        ("E012", {"SALEOR_TIMEOUT": "15"}, "is of type str"),
        ("E012", {"PLACEMENTS": ["home"]}, "is of type list"),
        ("E012", {"CHANNELS": None}, "is None"),
        ("E012", {"COLLECT_MAX_EVENTS": 0}, "is 0"),
        ("E012", {"TRUSTED_PROXIES": -1}, "is -1"),
    ],
)
def test_each_fault_has_its_id_its_text_and_its_fix(
    settings: Any, fault: str, changes: dict[str, Any], text: str
) -> None:
    (message,) = found(settings, **changes)
    assert message.id == f"saleor_personalize.{fault}"
    assert text in message.msg
    assert message.hint


def test_the_one_provider_of_e_mail_is_looked_at_too(settings: Any) -> None:
    settings.EMAIL_BACKEND = "anymail.backends.postmark.EmailBackend"
    settings.ANYMAIL = {}
    (message,) = found(settings)
    assert message.id == "saleor_personalize.E018"
    assert (
        "provider 1, anymail.backends.postmark.EmailBackend, cannot be made: You must set"
        in message.msg
    )
    settings.ANYMAIL = {"POSTMARK_SERVER_TOKEN": "secret-token"}
    assert found(settings) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"DOMAIN_PACE": {"gmail": (20, timedelta(minutes=1)), "*": (60, timedelta(minutes=1))}},
        {"DOMAIN_PACE": {"example.com": (20, timedelta(minutes=1))}},
        {"QUIET_HOURS": {"*": ("21:00", "08:00"), "email": ("00:00", "00:00")}},
        {"CHANNELS": {"email": email([{"BACKEND": SMTP, "OPTIONS": {"port": None}}, SMTP])}},
        {"CHANNELS": {"email": None, "sms": channel("https://twilio.test", timeout=5)}},
        {"PHONE_CODES_PER_HOUR": {"person": 3}},
        {"RETENTION": {"devices": None}},
    ],
)
def test_what_can_be_used_is_not_complained_about(settings: Any, changes: dict[str, Any]) -> None:
    assert found(settings, **changes) == []


def test_a_name_that_is_no_text_is_told(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {5: 1}
    (message,) = check_settings()
    assert message.msg == "SALEOR_PERSONALIZE[5] is not a setting."


def test_a_wrong_key_is_not_printed(settings: Any) -> None:
    (message,) = found(settings, ENCRYPTION_KEYS=["my-own-password"])
    assert "my-own-password" not in f"{message.msg} {message.hint}"


@pytest.mark.parametrize("url", ["http://localhost:8787", "http://127.0.0.1:8787"])
def test_plain_http_on_this_machine_is_no_fault(settings: Any, url: str) -> None:
    assert found(settings, APP_URL=url) == []


def test_debug_needs_no_shops_and_no_key(settings: Any) -> None:
    settings.DEBUG = True
    assert found(settings, ALLOWED_SALEOR_API_URLS=[], ENCRYPTION_KEYS=[]) == []


def test_every_setting_has_a_type_that_is_checked(settings: Any) -> None:
    for name in known_names():
        (message,) = found(settings, **{name: object()})
        assert message.id == "saleor_personalize.E012"
        assert message.msg.startswith(f"SALEOR_PERSONALIZE['{name}'] is of type object")
        assert str(message.hint).startswith("It must be ")


def test_the_defaults_pass_their_own_check(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = asdict(Defaults())
    assert {m.id for m in check_settings()} == {
        "saleor_personalize.W001",
        "saleor_personalize.W002",
        "saleor_personalize.W004",
    }


def test_a_folder_may_be_a_path(settings: Any) -> None:
    assert found(settings, MODEL_DIRECTORY=Path("/srv/models")) == []


def test_another_database_than_postgresql_is_refused(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "connection", SimpleNamespace(vendor="sqlite"))
    (message,) = found(settings)
    assert message.id == "saleor_personalize.E013"
    assert "sqlite" in message.msg
    assert "PostgreSQL" in message.msg


def test_a_removed_alias_is_missed_where_it_is_named(settings: Any) -> None:
    faults = found(settings, RECOMMENDERS={"similar": None})
    assert {m.id for m in faults} == {"saleor_personalize.E010"}
    named = {m.msg.split("'")[3] for m in faults}
    assert {"cart", "product_page_similar", "up_sell", "email"} <= named
    assert "home" not in named


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"RECOMMENDERS": []}, "it needs a list of recommenders"),
        ({"RECOMMENDERS": ["similar"], "FILTER": 1}, "'FILTER' is none of"),
        ({"RECOMMENDERS": ["similar"], "OPTIONS": {"max_per_brant": 1}}, "Did you mean 'max_per_brand'?"),
        ({"RECOMMENDERS": ["similar"], "OPTIONS": {"max_per_brand": 0}}, "a whole number above 0"),
        ({"RECOMMENDERS": ["similar"], "OPTIONS": {"price_from": float("nan")}}, "a number, 0 or more"),
    ],
)  # fmt: skip
def test_a_placement_that_cannot_be_read_is_told(settings: Any, entry: Any, what: str) -> None:
    (fault,) = found(settings, PLACEMENTS={"mine": entry})
    assert fault.id == "saleor_personalize.E009"
    assert what in fault.msg


def test_every_id_is_documented_and_used_once() -> None:
    import re

    source = Path(checks.__file__).read_text()
    used = re.findall(r"[EW]\d{3}", source)
    assert len(used) == len(set(used)), "one id, one fault"
    page = (Path(checks.__file__).parent.parent / "docs/reference/checks.md").read_text()
    assert set(re.findall(r"`saleor_personalize\.([EW]\d{3})`", page)) == set(used)
