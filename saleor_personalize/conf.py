"""The one settings dict, `SALEOR_PERSONALIZE`, read lazily: keyword, then dict, then default here.

Environment variables are read in `project/settings.py` only. An unknown key is an error with a
suggestion (`checks.py`). Alias dicts merge over the built-in ones (`None` removes one); lists
replace.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy

from saleor_personalize.exceptions import ConfigurationError, UnknownAlias

SETTING_NAME = "SALEOR_PERSONALIZE"

#: A number that may be 0.
Count = int
Backends = Mapping[str, "str | Mapping[str, Any] | None"]


def _recommenders() -> dict[str, Any]:
    rooms = "saleor_personalize.ml.recommenders"
    return {
        "next_item": f"{rooms}.next_item.NextItem",
        "personal": f"{rooms}.personal.Personal",
        "buy_again": f"{rooms}.repeats.BuyAgain",
        "trending": f"{rooms}.popularity.Trending",
        "popular": f"{rooms}.popularity.Popular",
        "bought_together": f"{rooms}.covisitation.BoughtTogether",
        "similar": f"{rooms}.content.Similar",
        "newest": f"{rooms}.newest.Newest",
    }


def _placements() -> dict[str, Any]:
    """Return the built-in placements. What their names mean: docs/reference/placements.md."""
    similar, together = "similar", "bought_together"
    rest = ["popular", "newest"]
    personal = ["for_you", "like_viewed", "favourite_category"]
    return {
        "home": {"RECOMMENDERS": [*personal, *rest], "OPTIONS": {"max_per_category": 4}},
        "personal_boutique": {
            "RECOMMENDERS": ["for_you", "like_viewed", *rest],
            "OPTIONS": {"is_paged": True, "is_rotated": False},
        },
        "product_page_related": ["curated", together, similar, *rest],
        "product_page_similar": {
            "RECOMMENDERS": ["curated", "visual", similar, *rest],
            "OPTIONS": {"curated": ["alternatives", "similar-products"]},
        },
        "product_page_complements": {
            "RECOMMENDERS": ["curated", together],
            "FALLBACK": rest,
            "OPTIONS": {"curated": ["accessories", "complements", "related-products"]},
        },
        "out_of_stock_alternatives": {
            "RECOMMENDERS": ["curated", "visual", similar, "catalogue"],
            "FALLBACK": [similar, *rest],
            "OPTIONS": {
                "curated": ["alternatives", "similar-products"],
                "same_type": True,
            },
        },
        "complete_the_look": {
            "RECOMMENDERS": ["curated", together, similar],
            "FALLBACK": rest,
            "OPTIONS": {"curated": ["look", "complete-the-look"], "other_category": True},
        },
        "up_sell": {
            "RECOMMENDERS": [similar, together, "catalogue"],
            "FALLBACK": [similar, *rest],
            "OPTIONS": {"same_type": True, "price_from": 1.1, "price_to": 1.4},
        },
        "down_sell": {
            "RECOMMENDERS": [similar, together, "catalogue"],
            "FALLBACK": [similar, *rest],
            "OPTIONS": {"same_type": True, "price_from": 0.6, "price_to": 0.9},
        },
        "category_page": {
            "RECOMMENDERS": ["for_you", "best_sellers", *rest, "catalogue"],
            "FALLBACK": ["best_sellers", *rest],
            "OPTIONS": {"in_category": True},
        },
        "best_sellers": {
            "RECOMMENDERS": ["best_sellers", "popular", "catalogue"],
            "FALLBACK": rest,
            "OPTIONS": {"in_category": True, "is_rotated": False},
        },
        "trending": {
            "RECOMMENDERS": ["trending", "popular", "catalogue"],
            "FALLBACK": rest,
            "OPTIONS": {"in_category": True, "is_rotated": False, "window_days": 7},
        },
        "new_arrivals": {
            "RECOMMENDERS": ["catalogue"],
            "FALLBACK": rest,
            "OPTIONS": {"in_category": True, "is_rotated": False},
        },
        "top_in_your_category": {"RECOMMENDERS": ["favourite_category"], "FALLBACK": rest},
        "search": ["search", "for_you", *rest],
        "search_empty": ["search", "for_you", "like_viewed", *rest],
        "cart": ["curated", together, similar, *rest],
        "added_to_cart": {
            "RECOMMENDERS": ["curated", together],
            "FALLBACK": [similar, *rest],
            "OPTIONS": {"curated": ["accessories", "complements", "related-products"]},
        },
        "checkout": {"RECOMMENDERS": [together], "FALLBACK": rest},
        "order_confirmation": {
            "RECOMMENDERS": ["curated", together, "for_you"],
            "FALLBACK": rest,
        },
        "recently_viewed": {
            "RECOMMENDERS": ["viewed"],
            "FALLBACK": ["for_you", *rest],
            "OPTIONS": {"is_rotated": False},
        },
        "continue_shopping": {
            "RECOMMENDERS": ["left_behind", "viewed"],
            "FALLBACK": ["for_you", *rest],
            "OPTIONS": {"is_rotated": False},
        },
        "buy_again": {
            "RECOMMENDERS": ["due_again"],
            "FALLBACK": ["for_you", *rest],
            "OPTIONS": {"is_rotated": False},
        },
        "content_page": ["for_you", "like_viewed", *rest],
        "email": [together, similar, "for_you", "like_viewed", *rest],
        "email_category": {
            "RECOMMENDERS": ["for_you", "best_sellers", "catalogue"],
            "OPTIONS": {"in_category": True},
        },
        "email_search": ["search"],
        "email_complements": {
            "RECOMMENDERS": ["curated", together],
            "OPTIONS": {"curated": ["accessories", "complements", "related-products"]},
        },
    }


def _topics() -> dict[str, Any]:
    return {
        "reminders": gettext_lazy("Reminders of what you left in your cart or looked at"),
        "offers": gettext_lazy("Offers and new products"),
        "news": gettext_lazy("News from the shop"),
        "stock_alerts": gettext_lazy("Sold-out products that you wait for"),
    }


def _transactional_topics() -> dict[str, Any]:
    return {"orders": gettext_lazy("Your orders")}


def _consent_rules() -> dict[str, str]:
    # Why these: docs/reference/consent-rules.md.
    return {
        "*": "opt_in",
        **dict.fromkeys(("AT", "CH", "DE"), "double_opt_in"),
    }


def _retention() -> dict[str, timedelta]:
    days = {
        "failed_deliveries": 30,
        "checkouts": 180,
        "enrollments": 395,
        "message_content": 180,
        "messages": 730,
        "unconfirmed_consents": 30,
        "memberships": 395,
        "removed_favourites": 90,
        "stock_alerts": 30,
        "exposures": 30,
        "outgoing_deliveries": 30,
        "hints": 90,
        "devices": 270,
        "inbox": 30,
        "offers": 730,
        "audit": 730,
        "refused_events": 7,
        "unknown_people": 90,
        "uninstalled": 30,
    }
    return {kind: timedelta(days=count) for kind, count in days.items()}


#: What staff may do in the Dashboard; each includes the ones before it.
ROLES = ("view", "edit", "send")


def _dashboard_roles() -> dict[str, list[str]]:
    return {role: ["MANAGE_ORDERS", "MANAGE_CHECKOUTS"] for role in ROLES}


def _triggers() -> dict[str, str]:
    rooms = "saleor_personalize.journeys.triggers"
    return {
        "abandoned_checkout": f"{rooms}.abandoned_checkout.AbandonedCheckout",
        "back_in_stock": f"{rooms}.back_in_stock.BackInStock",
        "price_drop": f"{rooms}.price_drop.PriceDrop",
        "low_stock": f"{rooms}.low_stock.LowStock",
        "birthday": f"{rooms}.days.Birthday",
        "browsed_category": f"{rooms}.browsing.BrowsedCategory",
        "browsed_product": f"{rooms}.browsing.BrowsedProduct",
        "favourites_left": f"{rooms}.keeping.FavouritesLeft",
        "lapsed": f"{rooms}.silence.Lapsed",
        "no_account": f"{rooms}.keeping.NoAccount",
        "occasion": f"{rooms}.days.Occasion",
        "order_fulfilled": f"{rooms}.fulfilled.OrderFulfilled",
        "replenishment": f"{rooms}.replenishment.Replenishment",
        "searched": f"{rooms}.browsing.Searched",
        "segment_entered": f"{rooms}.segments.EnteredSegment",
        "sign_up_anniversary": f"{rooms}.days.SignUpAnniversary",
        "unengaged": f"{rooms}.unengaged.Unengaged",
        "welcome": f"{rooms}.welcome.Welcome",
        "win_back": f"{rooms}.silence.WinBack",
    }


def _frequency_caps() -> dict[str, Any]:
    return {"*": [(2, timedelta(days=1)), (5, timedelta(days=7))]}


def _stop_words() -> tuple[str, ...]:
    # What carriers and providers know, and how people of our languages say it.
    words = (
        "stop stopp stopall arret arrêt cancel optout end quit revoke unsubscribe abmelden abbestellen "
        "alto baja parar désabonner koniec wypisz rezygnuję"
    )
    return tuple(words.split())


def _quiet_hours() -> dict[str, Any]:
    # An e-mail wakes nobody.
    return {"push": ("21:00", "08:00"), "sms": ("20:00", "09:00")}


def _domain_groups() -> dict[str, Sequence[str]]:
    return {
        "gmail": ("gmail.com", "googlemail.com"),
        "microsoft": ("outlook.com", "hotmail.com", "live.com", "msn.com"),
        "yahoo": (
            "yahoo.com",
            "yahoo.de",
            "yahoo.fr",
            "yahoo.es",
            "yahoo.co.uk",
            "ymail.com",
            "aol.com",
        ),
        "apple": ("icloud.com", "me.com", "mac.com"),
    }


def _incentive_guard() -> dict[str, int | None]:
    return {"days_after_full_price": 30, "offers_per_year": 4}


def _phone_codes() -> dict[str, int]:
    return {"person": 3, "number": 3, "shop": 300}


def _segment_rules() -> list[str]:
    names = (
        "Trait Language Country ConsentGiven EventCount Visits OrderCount TotalSpent LastOrder Bought "
        "Favourites OpenCheckout Stage Score ChurnRisk InSegment"
    )
    return [f"saleor_personalize.segments.rules.{name}" for name in names.split()]


@dataclass(frozen=True)
class Defaults:
    """Every setting with its type and default; the comment says what it is for."""

    # Identity of the app in the manifest.
    APP_ID: str = "saleor.personalize"
    APP_NAME: str = "Personalize"
    # Public address of this service, e.g. "https://personalize.example.com". Needed to serve a manifest.
    APP_URL: str | None = None
    # Regular expressions (full match) of Saleor API URLs that may install the app.
    ALLOWED_SALEOR_API_URLS: Sequence[str] = ()
    # Whether a shop may live on a private, loopback or link-local address (SSRF guard).
    ALLOW_PRIVATE_ADDRESSES: bool = False
    # Dashboard origins that may frame our pages. Empty: the installation's own Saleor origin.
    DASHBOARD_ORIGINS: Sequence[str] = ()
    # Where on its origin the Dashboard lives: links of the widgets on its pages lead there.
    DASHBOARD_PATH: str = "/dashboard/"
    # Where staff read what is in the folder `docs`, so that pages link there. Empty: they name its files.
    DOCS_URL: str = ""
    # Fernet keys for secrets and addresses at rest; the first encrypts, all decrypt.
    ENCRYPTION_KEYS: Sequence[str] = ()

    # Seconds for one call to Saleor, and the page size of back-fills (Saleor's limit is 100).
    SALEOR_TIMEOUT: float = 15.0
    BACKFILL_PAGE_SIZE: int = 100
    # Languages in which names of products and categories and titles of pages are read from Saleor, beside
    # the shop's own.
    PRODUCT_LANGUAGES: Sequence[str] = ("de", "es", "fr", "pl")
    # Largest webhook body in bytes, and how long raw deliveries are kept.
    WEBHOOK_MAX_BYTES: int = 1_000_000
    WEBHOOK_RAW_RETENTION: timedelta = timedelta(days=14)

    # alias -> dotted path, or {"BACKEND": dotted path, "OPTIONS": {...}}.
    RECOMMENDERS: Backends = field(default_factory=_recommenders)
    # placement key -> aliases of recommenders and sources, first choice first, or {"RECOMMENDERS": [...],
    # "FALLBACK": [...], "OPTIONS": {...}, "ARMS": [...]}.
    PLACEMENTS: Mapping[str, Any] = field(default_factory=_placements)
    MAX_RECOMMENDATIONS: int = 100
    # Slugs of Saleor's page types whose pages are recommended; empty: all that are about anything.
    PAGE_TYPES: Sequence[str] = ()
    # Slugs of the page attributes whose values are tags; empty: all with choices. What a page refers to
    # always counts.
    PAGE_TAG_ATTRIBUTES: Sequence[str] = ()
    # Product type -> how long a product is not recommended to who bought it; None: never again. "*": all
    # other types.
    HIDE_BOUGHT: Mapping[str, timedelta | None] = field(
        default_factory=lambda: {"*": timedelta(days=30)}
    )
    # A product that a person was shown so often and did not click sinks to the end; 0: never.
    ROTATE_AFTER: Count = 5
    # Folder for trained models, shared by web and workers.
    MODEL_DIRECTORY: str | Path = "var/models"
    # How long a training may take, and how many cores it uses; 0: OMP_NUM_THREADS, else half of them.
    TRAINING_TIME_LIMIT: timedelta = timedelta(hours=4)
    TRAINING_THREADS: Count = 0

    # alias (a DeliveryChannel value) -> backend.
    CHANNELS: Backends = field(
        default_factory=lambda: {
            "email": "saleor_personalize.messaging.channels.email.EmailChannel",
            "in_app": "saleor_personalize.messaging.channels.in_app.InAppChannel",
            "push": "saleor_personalize.messaging.channels.push.PushChannel",
        }
    )
    # Rules that segments may use, as dotted paths of classes; the list replaces the built-in one.
    SEGMENT_RULES: Sequence[str] = field(default_factory=_segment_rules)
    # Metadata key by which a checkout carries the shopper's explicit opt-in to marketing.
    CONSENT_METADATA_KEY: str = "marketing_opt_in"
    # Metadata key by which an order says whether its shopper objected to mail about similar products.
    OPT_OUT_METADATA_KEY: str = "marketing_opt_out"
    # What people can be written to about: key -> label, text of ours or a lazy one of yours.
    TOPICS: Mapping[str, Any] = field(default_factory=_topics)
    # What an order needs to be told about: key -> label. Such messages go without a yes, unless they are
    # refused; no cap counts them, and they carry no offer.
    TRANSACTIONAL_TOPICS: Mapping[str, Any] = field(default_factory=_transactional_topics)
    # Country code, or "*" for all others -> a ConsentRule value: what it takes before marketing may start.
    CONSENT_RULES: Mapping[str, str | None] = field(default_factory=_consent_rules)
    # Topics about products like those a customer bought: all that a soft opt-in allows.
    SOFT_OPT_IN_TOPICS: Sequence[str] = ("reminders", "offers")
    # How long the link of a confirmation message works, and how long an address is not asked again.
    CONFIRMATION_EXPIRY: timedelta = timedelta(days=7)
    CONFIRMATION_INTERVAL: timedelta = timedelta(days=3)
    # How often one network address may use the newsletter form in an hour.
    SUBSCRIBE_MAX_PER_HOUR: int = 20
    # Default sender and cart link; an installation can override both on its Dashboard page.
    DEFAULT_SENDER: str | None = None
    CHECKOUT_URL: str | None = None
    # So many messages in a row that came back stop an address, as one does that does not exist. 0: never.
    SOFT_BOUNCES: Count = 5
    # Parameters of links to the shop in mail, such as {"utm_source": "personalize", "utm_campaign":
    # "{template}"}; {template}, {journey} and {delivery_channel} are filled in. A link that has one keeps it.
    UTM: Mapping[str, Any] = field(default_factory=dict)
    # Whether links to the shop in mail go through this service, so that clicks are known; how long they work.
    CLICK_TRACKING: bool = False
    CLICK_EXPIRY: timedelta = timedelta(days=90)
    # How long a mail can be looked at in a browser; so long its copy is kept, encrypted. 0: never.
    VIEW_IN_BROWSER: timedelta = timedelta(days=30)
    # For the go-live check: selectors under which the provider of e-mail signs (DKIM), what it wants included
    # in SPF, the domain of its return path if that is not the sender's, and which DNS servers are asked
    # ("192.0.2.53" or "192.0.2.53:5353"; empty: those of this machine).
    DKIM_SELECTORS: Sequence[str] = ()
    SPF_INCLUDES: Sequence[str] = ()
    RETURN_PATH_DOMAIN: str | None = None
    DNS_SERVERS: Sequence[str] = ()
    # How long after the last change a checkout counts as abandoned, and when it is too late to say so.
    ABANDONED_CHECKOUT_DELAY: timedelta = timedelta(hours=1)
    ABANDONED_CHECKOUT_EXPIRY: timedelta = timedelta(days=3)
    # A journey goes live, or follows another version, once somebody else of the staff says yes.
    GO_LIVE_APPROVAL: bool = False
    # Ways into a journey: key -> dotted path of a subclass of journeys.triggers.Trigger.
    TRIGGERS: Mapping[str, str | None] = field(default_factory=_triggers)
    # Two messages of marketing to one person keep this distance; a journey of higher priority that is due
    # within it goes first.
    ARBITRATION_WINDOW: timedelta = timedelta(hours=1)
    # Delivery channel, or "*" for all together -> [(how many messages, in which time), ...].
    FREQUENCY_CAPS: Mapping[str, Any] = field(default_factory=_frequency_caps)
    # Nothing more is sent over a delivery channel to who has not reacted for so long (no visit, order, click
    # or yes), and to so many messages in a row. None: people are written to for ever.
    SUNSET_AFTER: timedelta | None = timedelta(days=180)
    SUNSET_MESSAGES: int = 5
    # Delivery channel, or "*" for all -> ("21:00", "08:00"): when nobody is written to, by the clock where the
    # person is.
    QUIET_HOURS: Mapping[str, Any] = field(default_factory=_quiet_hours)
    # How long a message may wait for the hour that suits its person best, where its step says `send_at: best`.
    SEND_TIME_WINDOW: timedelta = timedelta(hours=24)
    # Delivery channel -> (how many messages, in which time) all shops together hand to the provider they share
    # at most, evenly. For push, where each has an account of its own, each shop.
    PACE: Mapping[str, Any] = field(default_factory=dict)
    # Group of recipients' domains, a domain, or "*" for each other domain -> the same, for marketing by e-mail.
    DOMAIN_PACE: Mapping[str, Any] = field(default_factory=dict)
    # Group -> the domains of it, which are one receiver.
    DOMAIN_GROUPS: Mapping[str, Any] = field(default_factory=_domain_groups)
    # Delivery channel -> after how many messages of a shop in a day further marketing waits for the next one.
    DAILY_MAXIMUM: Mapping[str, int | None] = field(default_factory=dict)
    # Delivery channel -> {"START": "2026-12-01", "FIRST": 200, "GROWTH": 1.5, "LAST": 50_000}: the daily maximum
    # of a new sender grows from FIRST on each day, and ends at LAST.
    WARM_UP: Mapping[str, Any] = field(default_factory=dict)
    # The clock of people of whom we know neither time zone nor country, and of the shop's occasions.
    TIME_ZONE: str = "UTC"
    # How long somebody waits for a sold-out variant before it is forgotten.
    STOCK_ALERT_EXPIRY: timedelta = timedelta(days=180)
    # People told for each piece that is back, and how long they have before the next ones are told.
    STOCK_ALERT_FACTOR: float = 2.0
    STOCK_ALERT_PAUSE: timedelta = timedelta(days=1)
    # How often one network address may sign up for them in an hour.
    STOCK_ALERT_MAX_PER_HOUR: int = 30
    # How long changes of prices are kept; the one that holds now always is.
    PRICE_HISTORY_RETENTION: timedelta = timedelta(days=400)
    # How long an in-app message is shown whose journey sets no time.
    INBOX_EXPIRY: timedelta = timedelta(days=30)
    # A text message that takes more segments than this is not sent: each is paid for.
    SMS_MAX_SEGMENTS: Count = 3
    # What people answer to a text message to end them, and to go on after all; case and signs do not matter.
    SMS_STOP_WORDS: Sequence[str] = field(default_factory=_stop_words)
    SMS_START_WORDS: Sequence[str] = ("start", "unstop")
    # How many codes that prove a number go in an hour: to a person, to a number, and for a whole shop.
    PHONE_CODES_PER_HOUR: Mapping[str, Any] = field(default_factory=_phone_codes)
    # How many of a hundred people get no marketing of any journey, and none of one journey (its definition may
    # say otherwise), so that what messages bring is measured. 0: nobody is held out.
    HOLDOUT_PERCENT: Count = 5
    JOURNEY_HOLDOUT_PERCENT: Count = 10
    # For how long after people came upon an experiment their orders count, and how many people each arm needs
    # before anything is said of it.
    EXPERIMENT_WINDOW: timedelta = timedelta(days=30)
    EXPERIMENT_MIN_PEOPLE: int = 100
    # Render and record, send nothing.
    DRY_RUN: bool = False

    # Whether journeys may make vouchers in Saleor: then the manifest asks for MANAGE_DISCOUNTS.
    OFFERS: bool = True
    # How many days after an order at full price nobody gets an offer, and how many offers a person gets in
    # a year; None: no such limit.
    INCENTIVE_GUARD: Mapping[str, int | None] = field(default_factory=_incentive_guard)
    # Your storefront's page that takes a voucher's code; {code} and {channel} are filled in.
    OFFER_URL: str | None = None
    # What a voucher's code is called in links back to a cart.
    PROMO_CODE_PARAMETER: str = "promoCode"

    # Limits of the public GraphQL endpoint. A field costs 1, times the size of the lists above it.
    GRAPHQL_MAX_DEPTH: int = 8
    GRAPHQL_MAX_COST: int = 2_000
    TRACK_MAX_EVENTS: int = 100
    # Events of one caller in a minute, and of all callers behind one network address.
    TRACK_MAX_EVENTS_PER_MINUTE: int = 3_000
    TRACK_MAX_EVENTS_PER_MINUTE_AND_ADDRESS: int = 30_000
    # How far a client's clock may be wrong before its events are dated by ours.
    TRACK_MAX_CLOCK_SKEW: timedelta = timedelta(minutes=10)
    TRACK_MAX_AGE: timedelta = timedelta(days=7)
    # How long after a click or a cart addition an order counts as led to by its message or recommendation.
    ATTRIBUTION_WINDOW: timedelta = timedelta(days=7)
    # How long after a message or a recommendation was only seen; a click goes before it.
    ATTRIBUTION_VIEW_WINDOW: timedelta = timedelta(days=1)
    # Limits of one batch of /collect: rows that are read, and bytes.
    COLLECT_MAX_EVENTS: int = 1_000
    COLLECT_MAX_BYTES: int = 1_000_000
    # Origins of storefronts that may call /collect from a browser, for every installation; one can add
    # its own on its Dashboard page.
    STOREFRONT_ORIGINS: Sequence[str] = ()
    # How many proxies of yours stand before the service: a caller's address is that many from the right
    # in X-Forwarded-For. 0: the address of the connection.
    TRUSTED_PROXIES: Count = 0
    # How long events are kept; they go month by month. None: for ever.
    EVENT_RETENTION: timedelta | None = timedelta(days=395)

    # On-site hints: how many that interrupt a person sees in a day, how long the same one rests after it was
    # seen and after it was waved away, and how long a cart lies still before it is spoken of.
    HINTS_MAX_PER_DAY: Count = 3
    HINT_COOL_DOWN: timedelta = timedelta(days=1)
    HINT_DISMISSED_FOR: timedelta = timedelta(days=30)
    HINT_CART_AFTER: timedelta = timedelta(minutes=30)
    # When help is offered on a page, until enough visits are measured.
    HINT_LINGER_AFTER: timedelta = timedelta(seconds=30)
    # What the checkout alone offers, as in the step `offer` of a journey: {"percent": 10, "expires":
    # timedelta(hours=2)}. Empty: nothing.
    HINT_OFFER: Mapping[str, Any] = field(default_factory=dict)

    # Outgoing webhooks: whether they may go to private and loopback addresses, seconds for one try, and how
    # long nothing may arrive until a webhook is switched off.
    BUS_ALLOW_PRIVATE_ADDRESSES: bool = False
    BUS_TIMEOUT: float = 10.0
    BUS_DISABLE_AFTER: timedelta = timedelta(days=3)

    # "view", "edit" or "send" -> permissions of Saleor that staff need for it: one of those of "view", all of
    # those of the others.
    DASHBOARD_ROLES: Mapping[str, Any] = field(default_factory=_dashboard_roles)

    # Kind of data -> how long it is kept; None: for ever. docs/reference/data.md lists every kind.
    RETENTION: Mapping[str, timedelta | None] = field(default_factory=_retention)
    # Global ids of categories (with all below them) and collections whose products no message and no
    # reason of a recommendation ever speaks of; an installation can add to them on its Dashboard page.
    SENSITIVE_CATEGORIES: Sequence[str] = ()
    # How often a shopper may have their data exported or erased in an hour.
    PRIVACY_MAX_PER_HOUR: int = 5

    # Where uploaded files wait for their import, encrypted: dotted path of a Django storage, or
    # {"BACKEND": dotted path, "OPTIONS": {...}}. Web and workers must share it.
    IMPORT_STORAGE: str | Mapping[str, Any] = field(
        default_factory=lambda: {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": "var/imports"},
        }
    )
    # Largest file in bytes that can be uploaded; the command line takes any size.
    IMPORT_MAX_BYTES: int = 200_000_000
    # How long rejected rows, and files that nobody started, are kept.
    IMPORT_RETENTION: timedelta = timedelta(days=30)

    # Slug of the product attribute in Saleor that names the brand.
    BRAND_ATTRIBUTE: str = "brand"
    # Which share of those who came back had come back by when somebody is at risk, and lapsed.
    LIFECYCLE_AT_RISK_SHARE: float = 0.8
    LIFECYCLE_LAPSED_SHARE: float = 0.95
    # Used until so many orders followed an earlier one of the same person.
    LIFECYCLE_MIN_RETURNS: int = 50
    LIFECYCLE_AT_RISK_AFTER: timedelta = timedelta(days=90)
    LIFECYCLE_LAPSED_AFTER: timedelta = timedelta(days=365)

    # The page of a product in your storefront, for shared favourites. {slug}, {product_id} (URL-encoded)
    # and {channel} are filled in.
    PRODUCT_URL: str | None = None


#: removed setting -> what to use now
REMOVED: dict[str, str] = {}

_MERGED = (
    "RECOMMENDERS",
    "PLACEMENTS",
    "CHANNELS",
    "TOPICS",
    "TRANSACTIONAL_TOPICS",
    "CONSENT_RULES",
    "RETENTION",
    "TRIGGERS",
    "FREQUENCY_CAPS",
    "QUIET_HOURS",
    "PACE",
    "DOMAIN_PACE",
    "DOMAIN_GROUPS",
    "DAILY_MAXIMUM",
    "WARM_UP",
    "INCENTIVE_GUARD",
    "PHONE_CODES_PER_HOUR",
    "DASHBOARD_ROLES",
)


_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?")


def is_origin(text: str) -> bool:
    """Tell whether a text is scheme, host and perhaps port, as browsers write an origin."""
    return bool(_ORIGIN.fullmatch(text))


def known_names() -> frozenset[str]:
    return frozenset(f.name for f in fields(Defaults))


def unknown_name_hint(name: str) -> str:
    """Return the sentence that helps whoever wrote an unknown or removed setting."""
    if name in REMOVED:
        return f"{name} was removed; use {REMOVED[name]}."
    close = difflib.get_close_matches(str(name).upper(), known_names(), n=1)
    return (
        f"Did you mean {close[0]}?" if close else "See docs/reference/settings.md for every name."
    )


class Settings:
    """Attribute access to `SALEOR_PERSONALIZE`, cached until a test overrides it."""

    def __init__(self) -> None:
        self._values: Defaults | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._values is None:
            self._values = self._read()
        return getattr(self._values, name)

    def reload(self) -> None:
        self._values = None

    @staticmethod
    def _read() -> Defaults:
        given: Mapping[str, Any] = getattr(django_settings, SETTING_NAME, {})
        for name in given:
            if name not in known_names():
                raise ConfigurationError(
                    f"{SETTING_NAME}[{name!r}] is not a setting. {unknown_name_hint(name)}"
                )
        defaults = Defaults()
        values = dict(given)
        for name in _MERGED:
            if name in values:
                merged = {**getattr(defaults, name), **values[name]}
                values[name] = {k: v for k, v in merged.items() if v is not None}
        return Defaults(**values)


def build_backend(setting: str, alias: str) -> Any:
    """Construct the plug-in that `setting` names `alias`; its OPTIONS become keyword arguments."""
    entries: Backends = getattr(settings, setting)
    if alias not in entries:
        raise UnknownAlias(
            f"{SETTING_NAME}[{setting!r}] has no entry {alias!r}. Known: {', '.join(sorted(entries))}."
        )
    return _built(entries[alias], f"{SETTING_NAME}[{setting!r}][{alias!r}]")


def build_one(setting: str) -> Any:
    """Construct the one plug-in that `setting` names."""
    return _built(getattr(settings, setting), f"{SETTING_NAME}[{setting!r}]")


def entry_fault(entry: Any) -> str:
    """Return why this names no plug-in, as "package.module.Class" or a dict does; "" when it does."""
    if isinstance(entry, str):
        return ""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("BACKEND"), str):
        return "is neither a dotted path nor a dict with BACKEND"
    odd = next((key for key in entry if key not in {"BACKEND", "OPTIONS"}), None)
    if odd is not None:
        return f"has the key {odd!r}, which is neither BACKEND nor OPTIONS"
    options = entry.get("OPTIONS", {})
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        return "has OPTIONS that are no dict of names and values"
    return ""


def _built(entry: Any, where: str) -> Any:
    if fault := entry_fault(entry):
        raise ConfigurationError(f"{where} {fault}.")
    path, options = (
        (entry, {}) if isinstance(entry, str) else (entry["BACKEND"], entry.get("OPTIONS", {}))
    )
    try:
        backend: Callable[..., Any] = import_string(path)
        return backend(**options)
    except Exception as error:
        # Somebody else's class raises whatever it likes.
        raise ConfigurationError(
            f"{where}: {path!r} with OPTIONS {sorted(options)} cannot be built: "
            f"{str(error) or type(error).__name__}"
        ) from error


settings = Settings()


def _on_setting_changed(*, setting: str, **_: object) -> None:
    if setting == SETTING_NAME:
        settings.reload()


setting_changed.connect(_on_setting_changed, dispatch_uid="saleor_personalize.conf")
