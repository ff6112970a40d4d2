"""States as a shop owner reads them: what it is, how it feels, what to do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import formats
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import get_language, gettext_lazy, ngettext
from django.utils.translation import gettext as _

from saleor_personalize.enums import (
    BackfillStatus,
    BusEvent,
    DeliveryChannel,
    DryRunStatus,
    HeldBack,
    ImportStatus,
    InstallationStatus,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    OfferReason,
    OfferStatus,
    Touch,
    TrainingStatus,
)
from saleor_personalize.ingestion.queries import BackfillProgress, WebhookHealth
from saleor_personalize.journeys import dry_runs
from saleor_personalize.journeys.outlook import Outlook
from saleor_personalize.messaging.rendering import format_money
from saleor_personalize.models import (
    DryRun,
    Import,
    Installation,
    Journey,
    Message,
    Offer,
    TrainedModel,
    Training,
)
from saleor_personalize.recommendations.reports import Measured
from saleor_personalize.segments import words as facts
from saleor_personalize.segments.queries import Lag


@dataclass(frozen=True)
class State:
    """`tone` is good, busy, warn, bad or empty; `fix` is the next thing to do, if there is one."""

    tone: str
    title: str
    text: str = ""
    fix: str = ""


#: stages of a back-fill by name; a stage of a later version shows under its own name
STAGES = {
    "channels": gettext_lazy("Sales channels"),
    "prices": gettext_lazy("Prices"),
    "categories": gettext_lazy("Categories"),
    "collections": gettext_lazy("Collections"),
    "products": gettext_lazy("Products"),
    "variants": gettext_lazy("Product variants"),
    "customers": gettext_lazy("Customers"),
    "orders": gettext_lazy("Orders"),
    "checkouts": gettext_lazy("Open carts"),
    "pages": gettext_lazy("Content pages"),
}
#: what other apps are told of
BUS_EVENTS = {
    BusEvent.CHECKOUT_ABANDONED: gettext_lazy("a cart was left"),
    BusEvent.STOCK_ALERT_REQUESTED: gettext_lazy("somebody waits for a sold-out product"),
    BusEvent.SEGMENT_ENTERED: gettext_lazy("somebody entered a segment"),
    BusEvent.MESSAGE_SENT: gettext_lazy("a message was sent"),
    BusEvent.MESSAGE_NOT_SENT: gettext_lazy("a message was not sent, and why"),
    BusEvent.CONSENT_CHANGED: gettext_lazy("somebody allowed or refused something"),
    BusEvent.PROFILE_MERGED: gettext_lazy("two profiles turned out to be one person"),
}
#: recommenders, sources and the engine's own answer by alias; one of the shop's own shows as it is called
RECOMMENDERS = {
    "popular": gettext_lazy("Popular"),
    "bought_together": gettext_lazy("Bought together"),
    "similar": gettext_lazy("Similar products"),
    "newest": gettext_lazy("Newest"),
    "next_item": gettext_lazy("Visits like this one"),
    "past_visits": gettext_lazy("Visits of this person"),
    "viewed_together": gettext_lazy("Looked at together"),
    "personal": gettext_lazy("People like this one"),
    "buy_again": gettext_lazy("Buy again"),
    "trending": gettext_lazy("Trending"),
    "for_you": gettext_lazy("For this person"),
    "like_viewed": gettext_lazy("Like what was looked at"),
    "favourite_category": gettext_lazy("From the favourite category"),
    "best_sellers": gettext_lazy("Best sellers"),
    "curated": gettext_lazy("Chosen by hand"),
    "viewed": gettext_lazy("Looked at before"),
    "left_behind": gettext_lazy("Left behind"),
    "due_again": gettext_lazy("Due again"),
    "search": gettext_lazy("Found by words"),
    "catalogue": gettext_lazy("From the catalogue"),
    "visual": gettext_lazy("Looks alike"),
    "pinned": gettext_lazy("Pinned by a rule"),
    "visitor": gettext_lazy("Blend for a person"),
    "seed": gettext_lazy("Blend for a product"),
}
#: blends of recommenders, by the question that they answer
BLENDS = {
    "visitor": gettext_lazy("Blend for a person"),
    "seed": gettext_lazy("Blend for a product"),
}
#: what recommenders are measured by
QUESTIONS = {
    "visit": gettext_lazy("What is looked at next in a visit"),
    "visitor": gettext_lazy("What somebody turns to next"),
    "repeat": gettext_lazy("What somebody buys again"),
    "seed": gettext_lazy("What is bought along with a product"),
    "alternative": gettext_lazy("What is looked at after a product"),
    "anyone": gettext_lazy("What anybody turns to next"),
}
#: what a training is at; "fitting" and "measuring" are followed by an alias
TRAINING_STEPS = {
    "read": gettext_lazy("reading"),
    "fit": gettext_lazy("learning"),
    "fitting": gettext_lazy("learning"),
    "measuring": gettext_lazy("measuring"),
    "save": gettext_lazy("saving"),
}
#: what people did about a message
OUTCOMES = {
    MessageEventKind.OPENED: gettext_lazy("opened"),
    MessageEventKind.CLICKED: gettext_lazy("clicked"),
    MessageEventKind.READ: gettext_lazy("read in the app"),
    MessageEventKind.DISMISSED: gettext_lazy("waved away in the app"),
    MessageEventKind.COMPLAINED: gettext_lazy("marked as spam"),
    MessageEventKind.UNSUBSCRIBED: gettext_lazy("unsubscribed"),
}
#: how an order met what it counts for
TOUCHES = {
    Touch.CLICK: gettext_lazy("clicked"),
    Touch.CODE: gettext_lazy("its code was used"),
    Touch.VIEW: gettext_lazy("seen"),
}
RULE_EFFECTS = {
    "include": gettext_lazy("shows nothing else"),
    "exclude": gettext_lazy("never shows it"),
    "boost": gettext_lazy("shows it higher up"),
    "bury": gettext_lazy("shows it further down"),
    "pin": gettext_lazy("shows it in its place"),
}
TEMPLATES = {
    "abandoned_checkout": gettext_lazy("Cart reminder"),
    "abandoned_checkout_again": gettext_lazy("Second cart reminder"),
    "confirm_opt_in": gettext_lazy("Confirmation of a sign-up"),
    "confirm_phone": gettext_lazy("Code that proves a phone number"),
    # Those below are called as their subject.
    "back_in_stock": gettext_lazy("It is back in stock"),
    "birthday": gettext_lazy("Happy birthday!"),
    "browsed_category": gettext_lazy("A category that was looked at"),
    "browsed_product": gettext_lazy("Still thinking about it?"),
    "fathers_day": gettext_lazy("Father's Day is near"),
    "favourites_left": gettext_lazy("Your favourites are waiting"),
    "goes_with_it": gettext_lazy("This goes with what you bought"),
    "lapsed": gettext_lazy("Do you still want to hear from us?"),
    "low_stock": gettext_lazy("Only a few are left"),
    "mothers_day": gettext_lazy("Mother's Day is near"),
    "price_drop": gettext_lazy("It costs less now"),
    "re_permission": gettext_lazy("Still interested?"),
    "repeat_customer": gettext_lazy("Thank you for coming back"),
    "replenishment": gettext_lazy("Is it time for more?"),
    "review": gettext_lazy("How do you like it?"),
    "searched": gettext_lazy("Have you found what you were looking for?"),
    "segment_entered": gettext_lazy("Good to see you so often"),
    "sign_up_anniversary": gettext_lazy("Thank you for being with us"),
    "sign_up_drive": gettext_lazy("Keep what you like"),
    "thanks": gettext_lazy("Thank you for your order"),
    "welcome": gettext_lazy("Welcome! Good to have you here"),
    "win_back": gettext_lazy("It has been a while"),
    "win_back_offer": gettext_lazy("A present, if you come back"),
}


#: journeys by key; one of the shop's own shows as its key in words
JOURNEYS = {
    "abandoned_checkout": gettext_lazy("Cart reminder"),
    "back_in_stock": gettext_lazy("Back in stock"),
    "birthday": gettext_lazy("Birthday"),
    "browsed_category": gettext_lazy("Category looked at"),
    "browsed_product": gettext_lazy("Product looked at"),
    "cross_sell": gettext_lazy("What goes with an order"),
    "fathers_day": gettext_lazy("Father's Day"),
    "favourites_left": gettext_lazy("Favourites left behind"),
    "lapsed": gettext_lazy("Lapsed customers"),
    "low_stock": gettext_lazy("Few pieces left"),
    "mothers_day": gettext_lazy("Mother's Day"),
    "post_purchase": gettext_lazy("After an order"),
    "price_drop": gettext_lazy("Price drop"),
    "re_permission": gettext_lazy("Still interested?"),
    "repeat_customer": gettext_lazy("Regular customer"),
    "replenishment": gettext_lazy("Time for more"),
    "searched": gettext_lazy("Search without an order"),
    "segment_entered": gettext_lazy("Entered a segment"),
    "sign_up_anniversary": gettext_lazy("Anniversary of the account"),
    "sign_up_drive": gettext_lazy("Visitors without an account"),
    "welcome": gettext_lazy("Welcome"),
    "win_back": gettext_lazy("Win back"),
}
#: who comes into a journey, by the type of its trigger
TRIGGERS = {
    "abandoned_checkout": gettext_lazy("Somebody leaves a cart and does not order."),
    "back_in_stock": gettext_lazy("Something sold out that somebody waits for is back."),
    "birthday": gettext_lazy("It is somebody's birthday."),
    "browsed_category": gettext_lazy("Somebody comes back to a category and does not order."),
    "browsed_product": gettext_lazy("Somebody looks at a product again and does not order."),
    "favourites_left": gettext_lazy("Somebody's favourites lie there and are not ordered."),
    "lapsed": gettext_lazy("Somebody has not ordered for so long that they count as lapsed."),
    "low_stock": gettext_lazy("Few pieces are left of what somebody wants."),
    "no_account": gettext_lazy("Somebody comes again and again without an account."),
    "occasion": gettext_lazy("A day that is celebrated is near."),
    "order_fulfilled": gettext_lazy("Everything of an order has gone out."),
    "price_drop": gettext_lazy("What somebody wanted costs less."),
    "replenishment": gettext_lazy("What somebody buys again and again should be used up."),
    "searched": gettext_lazy("Somebody searches for the same again and does not order."),
    "segment_entered": gettext_lazy("Somebody enters a segment."),
    "sign_up_anniversary": gettext_lazy("An account was made on this day of the year."),
    "unengaged": gettext_lazy("Somebody has not reacted to anything for long."),
    "welcome": gettext_lazy("Somebody allows messages and has never ordered."),
    "win_back": gettext_lazy("Somebody stays away for longer than they use to."),
}
#: permissions as Saleor's Dashboard calls them; one that is not here shows in its own words
PERMISSIONS = {
    "MANAGE_APPS": gettext_lazy("Manage apps"),
    "MANAGE_CHECKOUTS": gettext_lazy("Manage checkouts"),
    "MANAGE_DISCOUNTS": gettext_lazy("Manage discounts"),
    "MANAGE_ORDERS": gettext_lazy("Manage orders"),
    "MANAGE_PRODUCTS": gettext_lazy("Manage products"),
    "MANAGE_SETTINGS": gettext_lazy("Manage settings"),
    "MANAGE_STAFF": gettext_lazy("Manage staff"),
    "MANAGE_USERS": gettext_lazy("Manage users"),
}
#: what may be downloaded, by kind
REPORTS = {
    "figures": gettext_lazy("Figures of each day"),
    "attributions": gettext_lazy("What orders followed"),
    "messages": gettext_lazy("Messages"),
    "events": gettext_lazy("Events"),
    "demand": gettext_lazy("Demand"),
    "everything": gettext_lazy("All data of the shop"),
}


def journey_name(key: str) -> str:
    return str(JOURNEYS.get(key) or name_of(key))


def template_name(key: str) -> str:
    return str(TEMPLATES.get(key) or name_of(key))


def name_of(key: str) -> str:
    """Return a key in words where nothing names it better: landing_page is "Landing page"."""
    return capfirst(key.replace("_", " "))


def volume(run: DryRun | None) -> str:
    """Return how much a journey would send, in words; "" when that was not asked."""
    if run is None:
        return ""
    if run.status in dry_runs.OPEN:
        return _("Being worked out…")
    if run.status == DryRunStatus.FAILED:
        return _("It cannot be foretold: %(why)s") % {"why": run.error}
    count = sum(sum(day["sent"].values()) for day in run.forecast["coming"])
    text = ngettext(
        "About %(count)d message in the next 7 days",
        "About %(count)d messages in the next 7 days",
        count,
    )
    return text % {"count": count}


def journey_state(journey: Journey, *, is_asked: bool) -> State:
    """Tell whether a journey writes to people. `is_asked`: its approval is waited for."""
    if journey.published is None:
        return State("", _("Draft"))
    if journey.is_live:
        return State("good", _("Live"))
    if is_asked:
        return State("busy", _("Waits for approval"))
    if journey.live_at is not None:
        return State("warn", _("Paused"))
    return State("", _("Not live"))


def installation_state(installation: Installation) -> State:
    return {
        InstallationStatus.ACTIVE: State("good", _("Connected")),
        InstallationStatus.INACTIVE: State(
            "bad",
            _("Switched off in Saleor"),
            _("Saleor sends this app nothing, and no message leaves."),
            _("Activate the app under Extensions in your Dashboard."),
        ),
        InstallationStatus.TOKEN_REFUSED: State(
            "bad",
            _("Saleor no longer accepts this app"),
            _("Its token was refused: the app was switched off or deleted in Saleor."),
            _("Activate the app under Extensions in your Dashboard, or install it again."),
        ),
        InstallationStatus.UNINSTALLED: State(
            "bad",
            _("Uninstalled"),
            _("The app was deleted in Saleor."),
            _("Install it again under Extensions in your Dashboard; nothing known is lost."),
        ),
    }[InstallationStatus(installation.status)]


def training_state(training: Training | None, *, is_late: bool) -> State:
    if training is None:
        return State("", _("Not trained yet"))
    if is_late:
        return State(
            "bad",
            _("Waiting for a worker"),
            _("Nobody takes the training up. What answers now stays as it is."),
            _("Whoever runs this service starts it with “saleor-personalize worker” and “beat”."),
        )
    if training.status == TrainingStatus.FAILED:
        return State(
            "bad",
            _("The last training failed"),
            training.error,
            _("What answered before goes on. Train again once the cause is gone."),
        )
    return {
        TrainingStatus.PENDING: State("busy", _("Waiting for a worker")),
        TrainingStatus.RUNNING: State("busy", _("Training")),
        TrainingStatus.DONE: State("good", _("Trained")),
    }[TrainingStatus(training.status)]


def training_step(step: str) -> str:
    """Return what a training is at, in words."""
    kind, _sep, alias = step.partition(" ")
    told = str(TRAINING_STEPS.get(kind, kind))
    return f"{told}, {RECOMMENDERS.get(alias, alias)}" if alias else told


def version_state(model: TrainedModel) -> State:
    """Tell what became of a version."""
    if model.is_published:
        if model.fault:
            return State("bad", _("Damaged"), model.fault)
        return State("good", _("Answers"))
    if model.rejected_at is not None:
        return State("warn", _("Rolled back from"))
    if model.held_back:
        return State("warn", _("Held back"), _HELD_BACK[HeldBack(model.held_back)]())
    return State("", _("Answered before"))


_HELD_BACK = {
    HeldBack.WORSE: lambda: _("It answers much worse than the one in use."),
    HeldBack.FEWER_EVENTS: lambda: _(
        "It learned from less than half of what the one in use had: is something no longer recorded?"
    ),
    HeldBack.FEWER_PRODUCTS: lambda: _(
        "It knows less than half of the products of the one in use."
    ),
    HeldBack.ROLLED_BACK: lambda: _(
        "Somebody went back to an earlier version and keeps it for now."
    ),
}


def recommender_state(row: Measured) -> State:
    """Tell whether a recommender is used, and why not."""
    if row.is_used and row.figures is None:
        return State("good", _("Used"), _("There is not enough data to tell how good it is."))
    if row.is_used:
        return State("good", _("Used"))
    if row.figures is None:
        return State("", _("Not enough data"))
    if row.fills_up:
        return State("", _("Stands in"), _("It answers where no other recommender has an answer."))
    if row.answers_by_name:
        return State(
            "",
            _("Used where it is named"),
            _("It is no better than popularity, so only placements that name it show it."),
        )
    return State("warn", _("Not used"), _("It is no better than popularity."))


def webhook_state(health: WebhookHealth, now: datetime) -> State:
    if health.last_received_at is None:
        return State(
            "",
            _("Nothing received yet"),
            _("Saleor tells this app about each change in your shop."),
            _(
                "Change something small, such as a product's name. If nothing shows here within a "
                "minute, Saleor cannot reach this service: whoever runs it checks with "
                "“saleor-personalize doctor”."
            ),
        )
    if health.is_stuck(now):
        return State(
            "bad",
            _("Received, but not processed"),
            _("What arrives is kept safe and waits for a worker."),
            _("Whoever runs this service starts it with “saleor-personalize worker” and “beat”."),
        )
    if health.failed:
        return State(
            "warn",
            ngettext(
                "%(count)s could not be processed",
                "%(count)s could not be processed",
                health.failed,
            )
            % {"count": health.failed},
            _("They are kept, and nothing else waits for them."),
            _("Remove the cause named below, then replay them."),
        )
    if not health.received:
        return State(
            "warn",
            _("Quiet for a day"),
            _("Nothing arrived in the last 24 hours."),
            _(
                "If your shop was busy, open this app under Extensions in your Dashboard and look at "
                "its webhooks: they must be active."
            ),
        )
    return State("good", _("Everything arrives"))


def segments_state(lag: Lag) -> State:
    behind = duration(lag.behind)
    if lag.is_late:
        return State(
            "bad",
            _("%(behind)s behind") % {"behind": behind},
            _("Who enters and leaves is found out late."),
            _("Whoever runs this service checks that “saleor-personalize worker” and “beat” run."),
        )
    if lag.unfilled:
        return State("busy", _("Looking for members"))
    return State("good", _("Up to date"))


#: code of a refused row -> what it means
REJECTS = {
    "AMBIGUOUS_PRODUCT": gettext_lazy("Several products have this name"),
    "AMOUNT_MISSING": gettext_lazy("No price and no total"),
    "BAD_AMOUNT": gettext_lazy("An amount cannot be read"),
    "BAD_CONSENT": gettext_lazy("A permission is neither yes nor no"),
    "BAD_DATE": gettext_lazy("A date is missing or cannot be read"),
    "BAD_EMAIL": gettext_lazy("An e-mail address is none"),
    "BAD_QUANTITY": gettext_lazy("A quantity is no whole number"),
    "BAD_USER": gettext_lazy("A Saleor user is no global id"),
    "DUPLICATE_LINE": gettext_lazy("The line of an order comes twice"),
    "ENCODING": gettext_lazy("Letters of another encoding"),
    "FUTURE_DATE": gettext_lazy("A date lies in the future"),
    "NEGATIVE_AMOUNT": gettext_lazy("Returns and refunds are not imported"),
    "NESTED": gettext_lazy("A value is a list or an object"),
    "NOTHING_BOUGHT": gettext_lazy("Neither a product nor a total"),
    "NOT_JSON": gettext_lazy("The line is no JSON object"),
    "NUMBER_MISSING": gettext_lazy("No order number"),
    "ORDER_DIFFERS": gettext_lazy("Rows of one order contradict each other"),
    "TOO_LONG": gettext_lazy("Too long"),
    "UNKNOWN_CHANNEL": gettext_lazy("The shop has no such sales channel"),
    "UNKNOWN_CURRENCY": gettext_lazy("No currency of the shop"),
    "UNKNOWN_PRODUCT": gettext_lazy("The shop does not know the product"),
    "WRONG_COLUMNS": gettext_lazy("Another number of values than the header"),
}


#: kind of data (`profiles.retention`) -> what it is
DATA = {
    "events": gettext_lazy("What people did"),
    "sessions": gettext_lazy("Visits"),
    "deliveries": gettext_lazy("Raw webhooks"),
    "failed_deliveries": gettext_lazy("Raw webhooks that could not be processed"),
    "import_rejects": gettext_lazy("Refused rows of imports"),
    "checkouts": gettext_lazy("Carts"),
    "enrollments": gettext_lazy("Planned messages that ended"),
    "message_content": gettext_lazy("What messages showed"),
    "message_copies": gettext_lazy("Mails as they were sent"),
    "devices": gettext_lazy("Devices that take push"),
    "inbox": gettext_lazy("Messages in the shop"),
    "messages": gettext_lazy("Messages"),
    "unconfirmed_consents": gettext_lazy("Permissions that were never confirmed"),
    "memberships": gettext_lazy("Stays in segments that ended"),
    "removed_favourites": gettext_lazy("Favourites that were removed"),
    "stock_alerts": gettext_lazy("Sold-out products that people waited for"),
    "outgoing_deliveries": gettext_lazy("What other apps were told"),
    "hints": gettext_lazy("Which hints were shown, followed or waved away"),
    "offers": gettext_lazy("Personal codes that were used, ran out or were taken back"),
    "refused_events": gettext_lazy("Events that were turned down"),
    "audit": gettext_lazy("What staff did here"),
    "exposures": gettext_lazy("Which recommendations were shown how often"),
    "unknown_people": gettext_lazy("People of whom only an id is known"),
    "orders": gettext_lazy("Orders"),
    "person": gettext_lazy("People"),
    "erasures": gettext_lazy("Proofs of erasure"),
}
#: ErasureSource -> who asked for it
ERASED_BY = {
    "account_deleted": gettext_lazy("the shopper deleted the account"),
    "customer_deleted": gettext_lazy("staff deleted the customer in Saleor"),
    "shopper": gettext_lazy("the shopper, in the storefront"),
    "staff": gettext_lazy("staff, on this page"),
    "command": gettext_lazy("whoever runs this service"),
}


def import_state(run: Import) -> State:
    status = ImportStatus(run.status)
    if status == ImportStatus.DONE and run.is_dry_run:
        return State("good", _("Tried"), _("Nothing was changed."), _("Import it below."))
    return {
        ImportStatus.DRAFT: State("", _("Not started")),
        ImportStatus.PENDING: State(
            "busy",
            _("Waiting for a worker"),
            "",
            _("If this lasts, whoever runs this service starts “saleor-personalize worker”."),
        ),
        ImportStatus.RUNNING: State("busy", _("Running")),
        ImportStatus.DONE: State("good", _("Done")),
        ImportStatus.FAILED: State(
            "bad", _("Stopped by an error"), run.error, _("Start it again: it goes on from there.")
        ),
    }[status]


def backfill_state(progress: BackfillProgress | None) -> State:
    if progress is None:
        return State(
            "",
            _("Not started"),
            _("Your products, customers and past orders are not here yet."),
            _("Start it below: it runs by itself and can be paused."),
        )
    if progress.is_pause_requested and progress.status == BackfillStatus.RUNNING:
        return State("busy", _("Pausing after this page"))
    return {
        BackfillStatus.PENDING: State(
            "busy",
            _("Waiting for a worker"),
            "",
            _("If this lasts, whoever runs this service starts “saleor-personalize worker”."),
        ),
        BackfillStatus.RUNNING: State("busy", _("Running")),
        BackfillStatus.PAUSED: State(
            "warn", _("Paused"), "", _("Resume it below: it goes on where it stopped.")
        ),
        BackfillStatus.DONE: State("good", _("Done")),
        BackfillStatus.FAILED: State(
            "bad", _("Stopped by an error"), progress.error, _("Start it again below.")
        ),
    }[progress.status]


def message_state(message: Message) -> State:
    """Return what became of a message; one that was not sent says why and what can be done."""
    status = MessageStatus(message.status)
    channel = message.delivery_channel
    if status == MessageStatus.NOT_SENT and message.reason:
        return State("", _("Not sent"), *_reason(NotSentReason(message.reason), channel))
    if status == MessageStatus.FAILED and message.reason in _GIVEN_UP:
        return State("bad", _("Failed"), *_reason(NotSentReason(message.reason), channel))
    return {
        MessageStatus.HANDING_OVER: State("busy", _("Being sent")),
        MessageStatus.SENT: State("good", _("Sent")),
        MessageStatus.NOT_SENT: State("", _("Not sent")),
        MessageStatus.FAILED: State(
            "bad", _("Failed"), *_reason(NotSentReason.CHANNEL_ERROR, channel)
        ),
        MessageStatus.UNCERTAIN: State(
            "warn",
            _("Uncertain"),
            _("The connection broke while the provider took it: it may have arrived."),
            _("It is never sent twice. If the provider tells you what became of it, say so here."),
        ),
    }[status]


#: Why a message was given up after it had been decided.
_GIVEN_UP = (
    NotSentReason.OFFER_NOT_MADE,
    NotSentReason.OFFER_NOT_FIRST,
    NotSentReason.SENDS_STOPPED,
    NotSentReason.INTERRUPTED,
)


def offer_status(status: OfferStatus) -> str:
    """Return what a shop owner calls a status of offers."""
    return {
        OfferStatus.RESERVED: _("Being made"),
        OfferStatus.MADE: _("Usable"),
        OfferStatus.WITHDRAWN: _("Taken back"),
        OfferStatus.USED: _("Used"),
        OfferStatus.EXPIRED: _("Expired"),
    }[status]


def checked_state(obstacles: int | None) -> State:
    """Return what the last go-live check found; None: there was none."""
    if obstacles is None:
        return State("", _("Not checked yet"))
    if not obstacles:
        return State("good", _("Nothing in the way"))
    title = ngettext("%(count)d thing to mend", "%(count)d things to mend", obstacles)
    return State(
        "warn",
        title % {"count": obstacles},
        _("Receivers of mail may refuse what you send, or put it among spam."),
        _("Mend what the check names, then check again."),
    )


#: A worker takes a code out of Saleor as soon as it is asked to.
_TAKEN_OUT_WITHIN = timedelta(minutes=2)


def offer_state(offer: Offer, now: datetime) -> State:
    """Return what became of an offer; one that was taken back says why."""
    status = OfferStatus(offer.status)
    tone = {
        OfferStatus.RESERVED: "busy",
        OfferStatus.MADE: "good",
        OfferStatus.USED: "good",
    }.get(status, "")
    if status != OfferStatus.WITHDRAWN:
        return State(tone, offer_status(status))
    why = {
        OfferReason.MESSAGE_FAILED: _("Its message was not sent."),
        OfferReason.INTERRUPTED: _("The worker stopped before its message was sent."),
        OfferReason.ORDERED: _("It was for a first order, and the person has ordered."),
        OfferReason.ERASED: _("The person was erased before its message was sent."),
        OfferReason.STAFF: _("Taken back by staff."),
    }[OfferReason(offer.reason)]
    is_fresh = offer.withdrawn_at is not None and now - offer.withdrawn_at < _TAKEN_OUT_WITHIN
    if offer.gone_at is None and not offer.attempts and is_fresh:
        return State("busy", offer_status(status), why, _("It is being taken out of Saleor."))
    if offer.gone_at is None:
        return State(
            "warn", offer_status(status), why, _("Saleor still has it: it is tried again.")
        )
    return State("", offer_status(status), why)


def not_sent_reason(reason: NotSentReason, delivery_channel: str = "") -> str:
    """Return why a message was not sent, or a journey ended early; "": over whichever delivery channel."""
    return _reason(reason, delivery_channel)[0]


def _reason(reason: NotSentReason, channel: str) -> tuple[str, str]:
    """Return why, and what to do about it ("" where all is as it should be)."""
    of_channel = _BY_CHANNEL.get((reason, channel))
    if of_channel is not None:
        return str(of_channel[0]), str(of_channel[1])
    return {
        NotSentReason.NO_CONSENT: (
            _("The person did not allow messages of this kind."),
            _(
                "Ask for permission in your checkout: see “Ask for permission” in the documentation."
            ),
        ),
        NotSentReason.SUPPRESSED: (
            _("The person unsubscribed or the address does not work."),
            "",
        ),
        NotSentReason.TOPIC_REFUSED: (_("The person does not want messages about this."), ""),
        NotSentReason.PAUSED: (_("The person paused all messages."), ""),
        NotSentReason.FREQUENCY_LIMIT: (_("The person wants fewer messages in a week."), ""),
        NotSentReason.UNENGAGED: (
            _("The person has not reacted to anything for long."),
            _("The journey “%(journey)s” asks them once whether they still want messages.")
            % {"journey": journey_name("re_permission")},
        ),
        NotSentReason.NO_ADDRESS: (
            _("Neither an address nor a device of the person is known."),
            _("Ask for it early in your checkout."),
        ),
        NotSentReason.ORDERED: (_("The person has ordered since."), ""),
        NotSentReason.CHECKOUT_EMPTY: (
            _("Nothing in the cart can be bought any more."),
            _("Look at your stock and at what is published."),
        ),
        NotSentReason.SENSITIVE: (
            _("Nothing in the cart but products that no message speaks of."),
            _("They are in a category that is called sensitive on the page “Data”."),
        ),
        NotSentReason.CHECKOUT_GONE: (_("Saleor no longer has this cart."), ""),
        NotSentReason.NOTHING_TO_SHOW: (
            _("Nothing that it is about can be bought now."),
            _("Look at your stock and at what is published."),
        ),
        NotSentReason.CALLED_OFF: (_("The order was cancelled, paid back or sent back."), ""),
        NotSentReason.SOLD_OUT: (_("It was sold out again before this person's turn."), ""),
        NotSentReason.ALERT_CANCELLED: (_("The person no longer waits for it."), ""),
        NotSentReason.PRICE_ROSE: (
            _("It costs no less than what the person knows, or than in the last 30 days."),
            "",
        ),
        NotSentReason.NOT_LOW: (_("There is more of it again, or none is left."), ""),
        NotSentReason.NOT_LIVE: (
            _("The journey was not live when this began."),
            _("Only what happens after “Go live” counts."),
        ),
        NotSentReason.INSTALLATION_INACTIVE: (
            _("The app is switched off in Saleor."),
            _("Activate the app under Extensions in your Dashboard."),
        ),
        NotSentReason.ALREADY_SENT: (_("The person was told this already."), ""),
        NotSentReason.OFFER_FULL_PRICE: (
            _("The person has just paid full price, so there is no code for them."),
            "",
        ),
        NotSentReason.OFFER_LIMIT: (
            _("The person had as many codes as one gets in a year."),
            "",
        ),
        NotSentReason.OFFER_NOT_FIRST: (
            _("The code is for a first order, and the person has ordered."),
            "",
        ),
        NotSentReason.OFFER_NO_CHANNEL: (
            _("The offer has no value in the person's sales channel."),
            _("Give it an amount in the currency of this channel."),
        ),
        NotSentReason.OFFER_NOT_PERMITTED: (
            _("The app may not make vouchers in Saleor."),
            _("Grant it MANAGE_DISCOUNTS under Extensions in your Dashboard."),
        ),
        NotSentReason.OFFER_NOT_MADE: (
            _("Saleor could not make the voucher, so no message went without it."),
            _("The text below is Saleor's."),
        ),
        NotSentReason.TEMPLATE_INCOMPLETE: (
            _("The message needs something that is missing."),
            _("The text below names it. Often it is the sender or the cart link."),
        ),
        NotSentReason.TEMPLATE_BROKEN: (
            _("The template of the message is broken."),
            _("The text below says what is wrong; try it with a test message."),
        ),
        NotSentReason.TOO_LARGE: (
            _("The mail is so large that mail programs would cut it off."),
            _("Show fewer products in it, or use a leaner template."),
        ),
        NotSentReason.TEXT_TOO_LONG: (
            _("The text message takes more segments than you allow."),
            _("Say it shorter, or allow more in the settings."),
        ),
        NotSentReason.TOO_LATE: (
            _("The moment had passed."),
            _("If this repeats, workers were down: see “Webhooks” on this page."),
        ),
        NotSentReason.OUTRANKED: (
            _("A more important message went, or was about to go, to this person."),
            "",
        ),
        NotSentReason.OUTSHONE: (
            _("The person got further, and that is followed up instead."),
            "",
        ),
        NotSentReason.FREQUENCY_CAP: (
            _("The person has got as many messages as this shop allows."),
            _("Whoever runs the service sets how many: FREQUENCY_CAPS."),
        ),
        NotSentReason.QUIET_HOURS: (
            _("It was night where the person is, until it was too late."),
            _("Whoever runs the service sets when: QUIET_HOURS."),
        ),
        NotSentReason.THROTTLED: (
            _("No more messages could leave for a while, until it was too late."),
            _("Whoever runs the service sets how fast: PACE, DAILY_MAXIMUM and WARM_UP."),
        ),
        NotSentReason.SENDS_STOPPED: (
            _("All sends are stopped."),
            _("Let sends go on, at the top of this page."),
        ),
        NotSentReason.JOURNEY_PAUSED: (
            _("The journey was paused, and everybody in it left."),
            _("Let it go live again for whoever comes next."),
        ),
        NotSentReason.GOAL_REACHED: (_("What it was for was reached before."), ""),
        NotSentReason.EXIT_CONDITION: (_("What ends this journey has happened."), ""),
        NotSentReason.HOLDOUT: (
            _("This person is left alone on purpose, so that it is known what messages bring."),
            "",
        ),
        NotSentReason.DRY_RUN: (
            _("This service runs dry: it records messages and sends none."),
            _("Whoever runs it switches DRY_RUN off."),
        ),
        NotSentReason.INTERRUPTED: (
            _("The service stopped before it could hand the message over."),
            _("It is decided anew and sent within minutes, if it still may be."),
        ),
        NotSentReason.CHANNEL_ERROR: (
            _("The provider refused it."),
            _(
                "The text below is the provider's. The next message is tried as usual; this one is not."
            ),
        ),
    }[reason]


#: What is said more plainly where the delivery channel is known.
_BY_CHANNEL: dict[tuple[NotSentReason, str], tuple[Promise, Promise | str]] = {
    (NotSentReason.NO_CONSENT, DeliveryChannel.EMAIL): (
        gettext_lazy("The person did not allow e-mails of this kind."),
        gettext_lazy(
            "Ask for permission in your checkout: see “Ask for permission” in the documentation."
        ),
    ),
    (NotSentReason.NO_ADDRESS, DeliveryChannel.EMAIL): (
        gettext_lazy("No e-mail address of the person is known."),
        gettext_lazy("Ask for it early in your checkout."),
    ),
    (NotSentReason.CHANNEL_ERROR, DeliveryChannel.EMAIL): (
        gettext_lazy("The mail server refused it."),
        gettext_lazy(
            "Check the sender below. The next message is tried as usual; this one is not."
        ),
    ),
    (NotSentReason.NO_CONSENT, DeliveryChannel.PUSH): (
        gettext_lazy("The person did not allow push messages."),
        gettext_lazy("Your app asks when it registers the device (allowsMarketing)."),
    ),
    (NotSentReason.NO_CONSENT, DeliveryChannel.SMS): (
        gettext_lazy("The person did not allow text messages."),
        gettext_lazy("Offer it in your preference centre, where the number is proved by a code."),
    ),
    (NotSentReason.NO_CONSENT, DeliveryChannel.IN_APP): (
        gettext_lazy("The person did not allow messages in the shop."),
        gettext_lazy("Offer it in your preference centre."),
    ),
    (NotSentReason.NO_ADDRESS, DeliveryChannel.PUSH): (
        gettext_lazy("No device of the person takes push."),
        gettext_lazy("Your app registers it after sign-in: see “Push” in the documentation."),
    ),
    (NotSentReason.NO_ADDRESS, DeliveryChannel.SMS): (
        gettext_lazy("The person has proved no phone number."),
        "",
    ),
    (NotSentReason.SUPPRESSED, DeliveryChannel.SMS): (
        gettext_lazy("The person answered STOP, or nobody has this number."),
        "",
    ),
    (NotSentReason.CHANNEL_ERROR, DeliveryChannel.PUSH): (
        gettext_lazy("Firebase refused it."),
        gettext_lazy(
            "Look at the page “Push”. The next message is tried as usual; this one is not."
        ),
    ),
    (NotSentReason.CHANNEL_ERROR, DeliveryChannel.SMS): (
        gettext_lazy("The provider of text messages refused it."),
        gettext_lazy(
            "The text below is the provider's. The next message is tried as usual; this one is not."
        ),
    ),
}


def next_message(found: Outlook, now: datetime) -> dict[str, str]:
    """Return what is next for somebody in a journey, and what speaks against it."""
    channel = found.delivery_channel
    return {
        "journey": journey_name(found.enrollment.journey.key),
        "message": template_name(found.template),
        "over": str(facts.DELIVERY_CHANNELS.get(found.delivery_channel, "")),
        "when": distance(found.at, now),
        "why_not": not_sent_reason(found.objection, channel)
        if found.objection and not found.is_held
        else "",
        "held_by": held_reason(found.objection, channel)
        if found.objection and found.is_held
        else "",
    }


def held_reason(reason: NotSentReason, delivery_channel: str = "") -> str:
    """Return what holds a message back for now; `not_sent_reason` tells of one that was held too long."""
    return {
        NotSentReason.QUIET_HOURS: _("It is night where the person is."),
        NotSentReason.THROTTLED: _("No more messages can leave at the moment."),
        NotSentReason.JOURNEY_PAUSED: _("The journey is paused."),
    }.get(reason) or not_sent_reason(reason, delivery_channel)


def ways(delivery_channels: Collection[str]) -> str:
    """Return delivery channels in words, e.g. "by e-mail, by push"."""
    return ", ".join(
        str(name) for key, name in facts.DELIVERY_CHANNELS.items() if key in delivery_channels
    )


def distance(at: datetime, now: datetime) -> str:
    """Return when something is or was, seen from now: "in 4 min", "now", "3 days ago"."""
    if at == now:
        return _("now")
    if at >= now:
        return _("in %(duration)s") % {"duration": duration(at - now)}
    return _("%(duration)s ago") % {"duration": duration(now - at)}


def share(value: float | None) -> str:
    """Return a share of 0..1 in words, e.g. "12.3 %"; one that has no denominator is not known."""
    if value is None:
        return _("not known yet")
    return _("%(share)s %%") % {"share": formats.number_format(round(100 * value, 1), 1)}


def amount(value: Decimal, currency: str) -> str:
    """Return an amount of money, e.g. "1,234.50 USD"."""
    return format_money(value, currency, get_language() or "en")


def permission(name: str) -> str:
    """Return a permission as Saleor's Dashboard calls it: MANAGE_ORDERS is "Manage orders"."""
    return str(PERMISSIONS.get(name) or name.replace("_", " ").capitalize())


def duration(value: timedelta | None, *, is_alone: bool = False) -> str:
    """Return a length of time in words, e.g. "0.3 s", "4 min".

    `is_alone`: no sentence stands around it ("395 Tage", not "395 Tagen").
    """
    if value is None:
        return _("unknown")
    seconds = value.total_seconds()
    if seconds < 1:
        return _("under 1 s")
    if seconds < 90:
        return _("%(count)d s") % {"count": round(seconds)}
    if seconds < 90 * 60 and seconds % 3600:
        return _("%(count)d min") % {"count": round(seconds / 60)}
    if seconds < 48 * 3600:
        return _("%(count)d h") % {"count": round(seconds / 3600)}
    days = round(seconds / 86400)
    if is_alone:
        return ngettext("%(count)d day", "%(count)d days", days) % {"count": days}
    return _("%(count)d days") % {"count": days}
