"""Stable strings of the domain. They are stored and published: add, never rename."""

from django.db.models import IntegerChoices, TextChoices


class InstallationStatus(TextChoices):
    ACTIVE = "active", "Active"
    INACTIVE = "inactive", "Deactivated in Saleor"
    TOKEN_REFUSED = "token_refused", "Saleor refuses our token"
    UNINSTALLED = "uninstalled", "Deleted in Saleor"


class DeliveryStatus(TextChoices):
    """Where a webhook delivery stands."""

    RECEIVED = "received", "Stored, waiting for a worker"
    PROCESSED = "processed", "Its facts are recorded"
    IGNORED = "ignored", "Nothing to record"
    FAILED = "failed", "Kept with its error: replay after the cause is mended"


class Lane(IntegerChoices):
    """Where webhook deliveries wait: the patient lane never holds up the urgent one."""

    URGENT = 0, "What the shop says, what people answer, and whom nothing must go to any more"
    PATIENT = 1, "What else became of messages"


class BackfillStatus(TextChoices):
    PENDING = "pending", "Waiting for a worker"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class DryRunStatus(TextChoices):
    PENDING = "pending", "Waiting for a worker"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class FirstStepKey(TextChoices):
    """What leads a new shop to its first live journey; those that are told by a row of their own."""

    CHECKED = "checked", "The go-live check was made"
    RECIPE = "recipe", "A first journey was chosen"


class TrainingStatus(TextChoices):
    PENDING = "pending", "Waiting for a worker"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class TrainingReason(TextChoices):
    """Why a training was asked for."""

    NIGHTLY = "nightly", "It was night"
    CHANGED = "changed", "Enough has changed"
    ASKED = "asked", "Somebody asked for it"


class HeldBack(TextChoices):
    """Why a version was trained and not published."""

    WORSE = "worse", "It answers much worse than the published one"
    FEWER_EVENTS = "fewer_events", "It learned from less than half of what the published one had"
    FEWER_PRODUCTS = "fewer_products", "It knows less than half of the published one's products"
    ROLLED_BACK = "rolled_back", "Somebody rolled back and keeps that version for now"


class IdentityKind(TextChoices):
    SALEOR_USER = "saleor_user", "Saleor user"
    EMAIL = "email", "E-mail address"
    CHECKOUT = "checkout", "Checkout"
    ANONYMOUS_ID = "anonymous_id", "Anonymous id"
    DEVICE_TOKEN = "device_token", "Device token"
    EXTERNAL_ID = "external_id", "External id"
    PHONE = "phone", "Phone number"


class MergeProof(TextChoices):
    """What proves that two profiles are one person."""

    LOGIN = "login", "Signed in on this device"
    ACCOUNT = "account", "The account names this e-mail address, not confirmed"
    CONFIRMED_EMAIL = "confirmed_email", "Both hold the same confirmed e-mail address"
    CHECKOUT = "checkout", "Both used one checkout that carried no other name"
    CHECKOUT_COMPLETED = "checkout_completed", "Both took part in one checkout that was ordered"
    DEVICE_TOKEN = "device_token", "Signed in with the same push token"
    EXTERNAL_ID = "external_id", "The shop's own system says so"
    STAFF = "staff", "Joined by staff"


class DeliveryChannel(TextChoices):
    EMAIL = "email", "E-mail"
    PUSH = "push", "Push"
    IN_APP = "in_app", "In-app"
    SMS = "sms", "SMS"


class DevicePlatform(TextChoices):
    ANDROID = "android", "Android"
    IOS = "ios", "iOS"
    WEB = "web", "Web"


class DeviceGone(TextChoices):
    """Why a device gets no push any more, until it registers again."""

    SIGNED_OUT = "signed_out", "Its person signed out"
    UNREGISTERED = "unregistered", "Its app was removed, or its token replaced"
    OTHER_PROJECT = "other_project", "Its token is of another Firebase project"
    INVALID_TOKEN = "invalid_token", "What it registered is no token"
    REPLACED = "replaced", "Its person has many newer devices"


class Purpose(TextChoices):
    """What a person can allow or refuse, per delivery channel."""

    MARKETING = "marketing", "Offers and reminders"
    TRANSACTIONAL = "transactional", "Messages an order needs"
    # Has no delivery channel. Unlike the others it counts until refused (GDPR article 21).
    PROFILING = "profiling", "Personal recommendations"


class ConsentRule(TextChoices):
    """What a country asks for before marketing may start."""

    OPT_IN = "opt_in", "A clear yes"
    DOUBLE_OPT_IN = "double_opt_in", "A yes that is confirmed by a link in an e-mail"
    SOFT_OPT_IN = "soft_opt_in", "Own customers may be written to until they say no"


class ConsentState(TextChoices):
    GRANTED = "granted", "Allowed"
    DENIED = "denied", "Refused"
    PENDING = "pending", "Asked, not confirmed"


class SuppressionReason(TextChoices):
    UNSUBSCRIBED = "unsubscribed", "Unsubscribed"
    HARD_BOUNCE = "hard_bounce", "Address does not exist"
    SOFT_BOUNCES = "soft_bounces", "Messages came back several times in a row"
    COMPLAINT = "complaint", "Marked as spam"


class Reply(TextChoices):
    """What somebody means who answers a text message."""

    STOP = "stop", "Nothing more"
    START = "start", "Go on, after all"


class ErasureSource(TextChoices):
    """Who had a person erased."""

    ACCOUNT_DELETED = "account_deleted", "The shopper deleted the account in Saleor"
    CUSTOMER_DELETED = "customer_deleted", "Staff deleted the customer in Saleor"
    SHOPPER = "shopper", "The signed-in shopper, in the storefront"
    STAFF = "staff", "Staff, in the Dashboard"
    COMMAND = "command", "Whoever runs the service, by command"


class AuditAction(TextChoices):
    """What can be done here that is written down, by staff, a server of the shop or from a terminal."""

    JOURNEY_LIVE = "journey_live", "Had a journey go live"
    JOURNEY_PAUSED = "journey_paused", "Paused a journey"
    JOURNEY_RESUMED = "journey_resumed", "Had a journey go on"
    JOURNEY_SAVED = "journey_saved", "Saved a version of a journey"
    APPROVAL_ASKED = "approval_asked", "Asked that a journey may go live"
    APPROVAL_GIVEN = "approval_given", "Approved that a journey goes live"
    APPROVAL_REFUSED = "approval_refused", "Refused that a journey goes live"
    SENDS_STOPPED = "sends_stopped", "Stopped all sends"
    SENDS_RESUMED = "sends_resumed", "Let sends go on"
    MESSAGE_SETTLED = "message_settled", "Said what became of a message"
    TEST_SENT = "test_sent", "Sent a message to themselves"
    CHECKOUT_RECOVERED = "checkout_recovered", "Had an abandoned checkout followed up"
    EXPERIMENT_STOPPED = "experiment_stopped", "Ended an experiment"
    OFFER_TAKEN_BACK = "offer_taken_back", "Took back an offer"
    SETTINGS_CHANGED = "settings_changed", "Changed settings"
    SENSITIVE_CHANGED = "sensitive_changed", "Changed what is sensitive"
    PROVIDER_ADDRESS_REPLACED = "provider_address_replaced", "Replaced where providers report to"
    SEGMENT_SAVED = "segment_saved", "Saved a segment"
    SEGMENT_DELETED = "segment_deleted", "Deleted a segment"
    RULE_SAVED = "rule_saved", "Saved a merchandising rule"
    RULE_DELETED = "rule_deleted", "Deleted a merchandising rule"
    PLACEMENT_SAVED = "placement_saved", "Saved a placement"
    PLACEMENT_DELETED = "placement_deleted", "Deleted a placement"
    TRAINING_ASKED = "training_asked", "Asked for a training"
    MODEL_CHOSEN = "model_chosen", "Chose which version answers"
    BACKFILL_STARTED = "backfill_started", "Started a back-fill"
    BACKFILL_PAUSED = "backfill_paused", "Paused a back-fill"
    BACKFILL_RESUMED = "backfill_resumed", "Had a back-fill go on"
    DELIVERIES_REPLAYED = "deliveries_replayed", "Replayed webhooks"
    IMPORT_UPLOADED = "import_uploaded", "Uploaded a file"
    IMPORT_STARTED = "import_started", "Started an import"
    IMPORT_DELETED = "import_deleted", "Deleted an uploaded file"
    REJECTS_READ = "rejects_read", "Downloaded refused rows of an import"
    PEOPLE_JOINED = "people_joined", "Joined two people"
    PEOPLE_SPLIT = "people_split", "Split a person in two"
    PERSON_EXPORTED = "person_exported", "Downloaded what is known of a person"
    PERSON_ERASED = "person_erased", "Erased a person"
    REPORT_EXPORTED = "report_exported", "Downloaded a report"
    AUDIT_EXPORTED = "audit_exported", "Downloaded the audit log"
    KEY_MADE = "key_made", "Made a server key"
    KEY_REVOKED = "key_revoked", "Revoked a server key"
    PUSH_SAVED = "push_saved", "Saved the service account for push"
    PUSH_TRIED = "push_tried", "Tried the service account for push"
    PUSH_REMOVED = "push_removed", "Removed the service account for push"
    WEBHOOK_MADE = "webhook_made", "Made an outgoing webhook"
    WEBHOOK_TRIED = "webhook_tried", "Tried an outgoing webhook"
    WEBHOOK_SWITCHED = "webhook_switched", "Switched an outgoing webhook on or off"
    WEBHOOK_REPLAYED = "webhook_replayed", "Replayed what an outgoing webhook missed"
    WEBHOOK_ROTATED = "webhook_rotated", "Gave an outgoing webhook a new secret"
    WEBHOOK_REMOVED = "webhook_removed", "Removed an outgoing webhook"


class EventType(TextChoices):
    PRODUCT_VIEWED = "product_viewed", "Product viewed"
    CATEGORY_VIEWED = "category_viewed", "Category viewed"
    LIST_VIEWED = "list_viewed", "List of products viewed"
    SEARCHED = "searched", "Searched"
    CART_ADDED = "cart_added", "Added to cart"
    CART_REMOVED = "cart_removed", "Removed from cart"
    FAVOURITE_ADDED = "favourite_added", "Added to favourites"
    FAVOURITE_REMOVED = "favourite_removed", "Removed from favourites"
    RECOMMENDATION_SHOWN = "recommendation_shown", "Recommendation shown"
    RECOMMENDATION_CLICKED = "recommendation_clicked", "Recommendation clicked"
    ORDER_PLACED = "order_placed", "Order placed"
    CUSTOM = "custom", "The shop's own event"


class EventSource(TextChoices):
    STOREFRONT = "storefront", "Storefront"
    SERVER = "server", "Server"
    WEBHOOK = "webhook", "Saleor webhook"
    BACKFILL = "backfill", "Back-fill"
    IMPORT = "import", "Import"


class OrderOrigin(TextChoices):
    SALEOR = "saleor", "Saleor"
    OFFLINE = "offline", "Imported: bought outside Saleor"


class DeviceType(TextChoices):
    MOBILE = "mobile", "Phone"
    TABLET = "tablet", "Tablet"
    DESKTOP = "desktop", "Computer"
    APP = "app", "Mobile app"
    OTHER = "other", "Other"


class ImportStatus(TextChoices):
    DRAFT = "draft", "Uploaded, not started"
    PENDING = "pending", "Waiting for a worker"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class RuleEffect(TextChoices):
    """What a merchandising rule does with the products it speaks of."""

    INCLUDE = "include", "Show nothing else"
    EXCLUDE = "exclude", "Never show"
    BOOST = "boost", "Show higher up"
    BURY = "bury", "Show further down"
    PIN = "pin", "Show in this place"


class LifecycleStage(TextChoices):
    """Where a person stands with the shop, from recency, frequency and value of orders (RFM)."""

    PROSPECT = "prospect", "Has not ordered yet"
    NEW = "new", "Ordered for the first time lately"
    ACTIVE = "active", "Orders again and again"
    AT_RISK = "at_risk", "Should have ordered by now"
    LAPSED = "lapsed", "Has not ordered for long"


class PredictionTarget(TextChoices):
    """What is foretold of a buyer."""

    CHURN = "churn", "Will not order again soon"
    NEXT_ORDER = "next_order", "When they order next"


class PredictionState(TextChoices):
    """Whether something is foretold of a person; if not, why."""

    READY = "ready", "Foretold"
    NO_ORDERS = "no_orders", "Too few orders of this person"
    LAPSED = "lapsed", "This person has not ordered for long"
    NOT_ENOUGH_DATA = "not_enough_data", "Not enough data in this shop"
    NOT_BETTER = "not_better", "Foretelling was no better than a simple rule in this shop"


class CheckoutCloseReason(TextChoices):
    ORDERED = "ordered", "It became an order"
    GONE = "gone", "Saleor no longer has it"


class EnrollmentStatus(TextChoices):
    WAITING = "waiting", "Waiting"
    DONE = "done", "Done"
    REACHED = "reached", "Reached the goal"
    EXITED = "exited", "Left early"


class JourneySource(TextChoices):
    """Where a version of a journey comes from."""

    BUILT_IN = "built_in", "Built in"
    FILE = "file", "A file"
    DASHBOARD = "dashboard", "The Dashboard page"
    GRAPHQL = "graphql", "The API"


class MessageStatus(TextChoices):
    HANDING_OVER = "handing_over", "Being handed to the provider"
    SENT = "sent", "Sent"
    NOT_SENT = "not_sent", "Not sent"
    FAILED = "failed", "The provider refused it"
    UNCERTAIN = "uncertain", "The provider may have it: never sent again by itself"


class MessageEventKind(TextChoices):
    """What became of a message that went out."""

    DELIVERED = "delivered", "Delivered"
    OPENED = "opened", "Opened"
    CLICKED = "clicked", "Clicked"
    READ = "read", "Read in the inbox"
    DISMISSED = "dismissed", "Waved away in the inbox"
    BOUNCED = "bounced", "Came back"
    COMPLAINED = "complained", "Marked as spam"
    UNSUBSCRIBED = "unsubscribed", "Unsubscribed"
    DEAD_TOKEN = "dead_token", "The device is gone"


class TouchKind(TextChoices):
    """What an order followed."""

    MESSAGE = "message", "A message"
    RECOMMENDATION = "recommendation", "A recommendation"


class Touch(TextChoices):
    """How somebody met it."""

    CLICK = "click", "Clicked"
    CODE = "code", "Its code was used"
    VIEW = "view", "Seen only"


class BusEvent(TextChoices):
    """What other apps can be told of."""

    CHECKOUT_ABANDONED = "checkout.abandoned", "A cart was left"
    STOCK_ALERT_REQUESTED = "stock_alert.requested", "Somebody waits for a sold-out product"
    SEGMENT_ENTERED = "segment.entered", "A person entered a segment"
    MESSAGE_SENT = "message.sent", "A message was sent"
    MESSAGE_NOT_SENT = "message.not_sent", "A message was not sent, and why"
    CONSENT_CHANGED = "consent.changed", "A person allowed or refused something"
    PROFILE_MERGED = "profile.merged", "Two profiles turned out to be one person"


class StockAlertStatus(TextChoices):
    """How far a sign-up for a sold-out variant is."""

    PENDING = "pending", "Waits for the owner of the address to confirm"
    CONFIRMED = "confirmed", "Waits for the variant to be back"
    TOLD = "told", "Was told"
    CANCELLED = "cancelled", "Was cancelled, or the person bought it"
    EXPIRED = "expired", "Waited too long"


class HintKind(TextChoices):
    """What can be said on a page."""

    CART_WAITING = "cart_waiting", "Something is still in the cart"
    FREE_DELIVERY = "free_delivery", "How much is missing until delivery is free"
    LINGERING = "lingering", "Help for who stays on a page or is about to leave"
    CHECKOUT_OFFER = "checkout_offer", "An offer of the checkout, with a deadline"
    SIGN_UP = "sign_up", "What an account is good for"


class HintReason(TextChoices):
    """Why a hint is given."""

    CART_LEFT = "cart_left", "The cart lay still and was not ordered"
    FREE_DELIVERY_GAP = "free_delivery_gap", "The subtotal is below that of a free shipping method"
    LINGER_LEARNED = "linger_learned", "Most who go on have done so by then, as measured"
    LINGER_DEFAULT = "linger_default", "A declared moment: too little is measured yet"
    CHECKOUT_OFFER = "checkout_offer", "The shop makes this offer in the checkout only"
    FAVOURITES_KEPT = "favourites_kept", "Products are kept without an account"
    COMES_BACK = "comes_back", "Several visits without an account"


class HintAction(TextChoices):
    """What became of a hint."""

    SEEN = "seen", "It was shown"
    DISMISSED = "dismissed", "It was waved away"
    FOLLOWED = "followed", "It was followed"


class HintPage(TextChoices):
    """Kind of the page that asks."""

    HOME = "home", "Home page"
    PRODUCT = "product", "Page of a product"
    CATEGORY = "category", "Page of a category"
    LIST = "list", "Another list of products"
    SEARCH = "search", "Results of a search"
    CART = "cart", "Cart"
    CHECKOUT = "checkout", "Checkout"
    OTHER = "other", "Any other page"


class OutgoingStatus(TextChoices):
    """Where an outgoing delivery stands."""

    WAITING = "waiting", "Waiting for its next try"
    DELIVERED = "delivered", "The receiver took it"
    FAILED = "failed", "Given up: replay after the cause is mended"


class OfferKind(TextChoices):
    PERCENT = "percent", "Percent off"
    FIXED = "fixed", "Amount off"
    FREE_SHIPPING = "free_shipping", "Free delivery"


class OfferStatus(TextChoices):
    """What became of an offer."""

    RESERVED = "reserved", "Its message is on its way: Saleor is being asked for the voucher"
    MADE = "made", "Can be used"
    WITHDRAWN = "withdrawn", "Taken back"
    USED = "used", "Used in an order"
    EXPIRED = "expired", "Not used in time"


class OfferReason(TextChoices):
    """Why an offer was taken back."""

    MESSAGE_FAILED = "message_failed", "Its message was not sent"
    INTERRUPTED = "interrupted", "The worker stopped before its message was sent"
    ORDERED = "ordered", "It was for a first order, and the person has ordered"
    ERASED = "erased", "Its person was erased before the message was sent"
    STAFF = "staff", "Taken back by staff"


class WayReason(TextChoices):
    """Why a message takes this delivery channel, where the journey leaves that open."""

    CLOSEST = "closest", "The closest way that is open"
    REACTS = "reacts", "The person reacts over it more than others do"
    IGNORED = "ignored", "The person lets pass what comes by a closer way"


class TimeReason(TextChoices):
    """Why a message goes at this hour, where the journey leaves that open."""

    OWN_HOURS = "own_hours", "The person is usually there at this hour"
    SHOP_HOURS = "shop_hours", "Most people of the shop react at this hour"
    NO_BETTER = "no_better", "No hour before it would be too late is better"
    UNKNOWN = "unknown", "When people react is not known yet"


class ExperimentKind(TextChoices):
    """What the arms of an experiment differ in."""

    HOLDOUT = "holdout", "Whether people are written to at all"
    JOURNEY = "journey", "What a journey does"
    PLACEMENT = "placement", "How products are recommended in a placement"


class ArmVerdict(TextChoices):
    """What can be said of an arm beside the one that it is measured against."""

    TOO_FEW = "too_few", "Too few people yet to say anything"
    NO_DIFFERENCE = "no_difference_seen", "No difference that could not be chance"
    BETTER = "better", "Better than what it is measured against"
    WORSE = "worse", "Worse than what it is measured against"


class NotSentReason(TextChoices):
    """Why a message was not sent, in words that a shop owner understands."""

    NO_CONSENT = "no_consent", "No permission for this kind of message"
    SUPPRESSED = "suppressed", "This address must not be written to"
    TOPIC_REFUSED = "topic_refused", "The person does not want messages about this"
    PAUSED = "paused", "The person paused all messages"
    FREQUENCY_LIMIT = "frequency_limit", "More messages this week than the person wants"
    UNENGAGED = "unengaged", "The person has not reacted for long: nothing goes until they do"
    NO_ADDRESS = "no_address", "No address of the person, or no device, is known"
    ORDERED = "ordered", "The person has ordered since"
    CHECKOUT_EMPTY = "checkout_empty", "Nothing in the cart can be bought any more"
    SENSITIVE = "sensitive", "Nothing in the cart but products that are never written about"
    CHECKOUT_GONE = "checkout_gone", "Saleor no longer has this checkout"
    NOT_LIVE = "not_live", "The journey is not live"
    INSTALLATION_INACTIVE = "installation_inactive", "The app is switched off in Saleor"
    ALREADY_SENT = "already_sent", "The person was told this already"
    TEMPLATE_INCOMPLETE = "template_incomplete", "The template needs a value that is missing"
    TEMPLATE_BROKEN = "template_broken", "The template is broken: it raises or works too long"
    TOO_LARGE = "too_large", "The mail is larger than mail programs show in full"
    TEXT_TOO_LONG = "text_too_long", "The text takes more segments than SMS_MAX_SEGMENTS"
    TOO_LATE = "too_late", "The moment has passed"
    NOTHING_TO_SHOW = "nothing_to_show", "Nothing that it is about can be bought now"
    SOLD_OUT = "sold_out", "It is sold out again"
    ALERT_CANCELLED = "alert_cancelled", "The person no longer waits for it"
    PRICE_ROSE = "price_rose", "It costs no less any more than what the person knows"
    NOT_LOW = "not_low", "There is more of it again, or none is left"
    CALLED_OFF = "called_off", "The order was cancelled, paid back or sent back"
    OUTRANKED = "outranked", "A more important message went, or is about to go, to this person"
    OUTSHONE = "outshone", "The person got further, and that is followed up instead"
    FREQUENCY_CAP = "frequency_cap", "The person has got as many messages as the shop allows"
    QUIET_HOURS = "quiet_hours", "It is night where the person is"
    THROTTLED = "throttled", "No more may leave for now: the pace of the provider or of the day"
    SENDS_STOPPED = "sends_stopped", "All sends are stopped"
    JOURNEY_PAUSED = "journey_paused", "The journey was paused and lets everybody go"
    GOAL_REACHED = "goal_reached", "The goal of the journey was reached before"
    EXIT_CONDITION = "exit_condition", "What ends this journey has happened"
    OFFER_FULL_PRICE = "offer_full_price", "The person has just paid full price: no offer"
    OFFER_LIMIT = "offer_limit", "The person had as many offers as one gets in a year"
    OFFER_NOT_FIRST = (
        "offer_not_first",
        "The offer is for a first order, and the person has ordered",
    )
    OFFER_NO_CHANNEL = "offer_no_channel", "The offer has no value in the person's sales channel"
    OFFER_NOT_PERMITTED = (
        "offer_not_permitted",
        "The app may not make vouchers: grant it MANAGE_DISCOUNTS in Saleor",
    )
    OFFER_NOT_MADE = "offer_not_made", "Saleor could not make the voucher"
    HOLDOUT = (
        "holdout",
        "Left alone on purpose, so that what messages bring can be measured (hold-out)",
    )
    DRY_RUN = "dry_run", "Dry run: nothing is sent"
    INTERRUPTED = "interrupted", "The worker stopped before it handed the message over"
    CHANNEL_ERROR = "channel_error", "The provider refused the message"
