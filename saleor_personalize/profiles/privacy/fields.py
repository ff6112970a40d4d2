"""Every column there is, and what becomes of it. A test fails for a column that is not here.

The export is made from this table, and docs/reference/data.md is written from it
(`saleor-personalize export --fields`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from django.db import models

from saleor_personalize.models import (
    Approval,
    AttributedOrder,
    AuditEntry,
    Backfill,
    BackfillStage,
    Category,
    CategoryTranslation,
    ChangedProfile,
    Checkout,
    Collection,
    ComputedTraits,
    Consent,
    DailyFigures,
    Device,
    DryRun,
    Enrollment,
    Erasure,
    Event,
    Experiment,
    Exposure,
    Favourite,
    FirstStep,
    Heartbeat,
    Identity,
    Import,
    ImportReject,
    InboxItem,
    Installation,
    Journey,
    JourneyVersion,
    KeptData,
    MerchandisingRule,
    Merge,
    Message,
    MessageCopy,
    MessageEvent,
    Offer,
    OfferVoucher,
    Order,
    OrderLine,
    OutgoingDelivery,
    OutgoingWebhook,
    Pace,
    Page,
    PageDropOff,
    PageTranslation,
    Participation,
    PendingToken,
    PhoneClaim,
    Placement,
    Predictor,
    PriceChange,
    Product,
    ProductListing,
    ProductTranslation,
    ProductVariant,
    Profile,
    ProviderWebhook,
    PushAccount,
    RefusedEvent,
    Rhythm,
    SalesChannel,
    Segment,
    SegmentMembership,
    ServerKey,
    Session,
    SharedFavourites,
    ShownHint,
    ShownProblem,
    Stock,
    StockAlert,
    Suppression,
    TrainedModel,
    Training,
    VariantPrice,
    WebhookDelivery,
    Yardstick,
)


class Erased(StrEnum):
    """What becomes of a value when the person is erased."""

    DELETED = "deleted"  # with its row
    EMPTIED = "emptied"  # the row stays, without it
    SEARCHED = "searched"  # rows that speak of the person are deleted
    KEPT = "kept"


@dataclass(frozen=True)
class Handling:
    """What a column is. `exported_as` is "section.key" of the export, or empty.

    `kept` names the kind of data whose time limit holds (`profiles.retention`), "shop" (as long as the
    shop) or "person" (as long as the person).
    """

    is_personal: bool
    exported_as: str
    erased: Erased
    kept: str


Handlings = Mapping[str, Handling]


def _shops(*names: str, kept: str = "shop") -> Handlings:
    """The shop's own: nothing about a shopper."""
    handling = Handling(False, "", Erased.KEPT, kept)
    return dict.fromkeys(("id", "installation", *names), handling)


def _persons(
    section: str, kept: str, *internal: str, erased: Erased = Erased.DELETED, **exported: str
) -> Handlings:
    """Rows about a person: columns that are exported, and under which key; the others are our own."""
    names = dict.fromkeys(("id", "installation", *internal), "") | exported
    return {
        name: Handling(True, f"{section}.{key}" if key else "", erased, kept)
        for name, key in names.items()
    }


_MIRRORED = ("saleor_id", "saleor_updated_at", "seen_at", "deleted_at")
_ORDER_EMPTIED = ("profile", "user_saleor_id", "email_hash", "number", "checkout_saleor_id")


def _orders() -> Handlings:
    handlings = _persons(
        "orders",
        "orders",
        "saleor_updated_at",
        "seen_at",
        "deleted_at",
        "profile",
        "user_saleor_id",
        "email_hash",
        erased=Erased.KEPT,
        saleor_id="id",
        origin="origin",
        number="number",
        status="status",
        checkout_saleor_id="checkout_id",
        channel_slug="channel",
        currency="currency",
        total="total",
        undiscounted_total="undiscounted_total",
        voucher_code="voucher_code",
        total_refunded="total_refunded",
        placed_at="placed_at",
    )
    return {
        name: Handling(True, each.exported_as, Erased.EMPTIED, each.kept)
        if name in _ORDER_EMPTIED
        else each
        for name, each in handlings.items()
    }


#: model -> column -> what becomes of it
FIELDS: Mapping[type[models.Model], Handlings] = {
    # -- the shop and its catalogue ---------------------------------------------------------------
    Installation: {
        name: handling
        for name, handling in _shops(
            "saleor_api_url", "app_id", "auth_token", "jwks", "jwks_fetched_at", "saleor_version",
            "permissions", "status", "status_changed_at", "installed_at", "updated_at", "sender",
            "checkout_url", "storefront_origins", "sensitive_ids", "sends_stopped_at",
        ).items()
        if name != "installation"
    },
    PendingToken: _shops("token", "received_at"),
    # Staff are Saleor users too, and may be customers.
    ServerKey: {
        **_shops("name", "prefix", "secret_hash", "created_at", "last_used_at", "revoked_at"),
        "created_by": Handling(True, "", Erased.EMPTIED, "shop"),
    },
    AuditEntry: {
        **_shops("at", "action", "object_kind", "object_name", "detail", kept="audit"),
        **dict.fromkeys(
            ("actor_id", "actor_name", "object_id"), Handling(True, "", Erased.EMPTIED, "audit")
        ),
    },
    # The service account's address is a machine's.
    PushAccount: {
        **_shops("service_account", "project_id", "client_email", "saved_at", "tested_at", "fault"),
        "created_by": Handling(True, "", Erased.EMPTIED, "shop"),
    },
    Heartbeat: _shops("at"),
    ShownProblem: _shops("key", "since", "shown_at", "well_since"),
    Pace: _shops("key", "free_at", "queue_at", "queue_ends_at", "day", "taken", "paused_until"),
    ProviderWebhook: _shops("secret", "secret_hash", "created_at", "heard"),
    PageDropOff: _shops("page", "measured_at", "view_count", "went_on_count", "seconds"),
    OutgoingWebhook: {
        **_shops(
            "alias", "url", "events", "has_personal_data", "secret", "former_secret", "rotated_at",
            "is_active", "created_at", "failing_since", "failures", "rests_until", "disabled_at",
        ),
        "created_by": Handling(True, "", Erased.EMPTIED, "shop"),
    },
    SalesChannel: _shops(*_MIRRORED, "slug", "currency", "is_active", "warehouse_ids"),
    Category: _shops(*_MIRRORED, "name", "slug", "parent_saleor_id"),
    CategoryTranslation: _shops("category_saleor_id", "language_code", "name", "recorded_at"),
    Collection: _shops(*_MIRRORED, "name", "slug"),
    Product: _shops(
        *_MIRRORED, "name", "slug", "description", "product_type", "category_saleor_id",
        "collection_saleor_ids", "attributes", "thumbnail_url", "saleor_created_at",
    ),
    ProductTranslation: _shops("product_saleor_id", "language_code", "name", "recorded_at"),
    Page: _shops(
        *_MIRRORED, "title", "slug", "page_type", "is_published", "published_at", "attributes",
        "subjects", "stale_since",
    ),
    PageTranslation: _shops("page_saleor_id", "language_code", "title", "recorded_at"),
    ProductVariant: _shops(*_MIRRORED, "product_saleor_id", "sku", "name", "is_stock_tracked"),
    Stock: _shops(
        "variant_saleor_id", "warehouse_saleor_id", "quantity", "quantity_allocated",
        "recorded_at", "emptied_at",
    ),
    ProductListing: _shops(
        "product_saleor_id", "channel_slug", "is_published", "published_at",
        "is_visible_in_listings", "available_for_purchase_at", "is_in_stock", "currency", "price",
        "best_variant_saleor_id",
    ),
    VariantPrice: _shops(
        "variant_saleor_id", "channel_slug", "currency", "price", "discounted_price", "cost_price",
        "recorded_at",
    ),
    PriceChange: _shops("variant_saleor_id", "channel_slug", "currency", "price", "changed_at"),
    Journey: _shops("key", "is_live", "live_at", "priority", "published", "looked_at", "let_go_at", "tested_at"),
    JourneyVersion: _shops("journey", "number", "definition", "source", "created_at"),
    DryRun: _shops(
        "journey", "version", "status", "asked_at", "started_at", "attempts", "finished_at",
        "forecast", "error",
    ),
    Approval: {
        **_shops("journey", "version", "asked_at", "decided_at", "goes_on", "is_given"),
        **dict.fromkeys(("asked_by", "decided_by"), Handling(True, "", Erased.EMPTIED, "shop")),
    },
    FirstStep: _shops("key", "done_at", "detail"),
    OfferVoucher: _shops("digest", "saleor_id", "name", "expires_at", "created_at"),
    Experiment: {
        **_shops(
            "key", "kind", "arms", "began_at", "winner", "decided_at", "report", "measured_at"
        ),
        "decided_by": Handling(True, "", Erased.EMPTIED, "shop"),
    },
    Segment: _shops(
        "key", "name", "definition", "is_active", "created_at", "updated_at", "evaluated_at",
        "full_evaluation_due_at",
    ),
    TrainedModel: _shops(
        "channel_slug", "version", "path", "training", "trained_at", "seconds", "interaction_count",
        "product_count", "metrics", "is_published", "published_at", "held_back", "rejected_at",
        "kept_until", "fault", "fault_at",
    ),
    Training: _shops(
        "status", "reason", "asked_at", "started_at", "finished_at", "attempts", "worker",
        "lease_expires_at", "progress", "channel_slug", "step", "published_count",
        "held_back_count", "error",
    ),
    Placement: _shops("key", "recommenders", "fallback", "options", "arms", "updated_at"),
    MerchandisingRule: _shops(
        "name", "is_active", "effect", "conditions", "placements", "channels", "factor", "slot",
        "starts_at", "ends_at", "position", "updated_at",
    ),
    Yardstick: _shops(
        "measured_at", "buyer_count", "return_count", "at_risk_days", "lapsed_days", "limits"
    ),
    Rhythm: _shops(
        "delivery_channel", "learnt_at", "sent", "seen", "curve", "is_personal", "strength", "figures"
    ),
    Predictor: _shops("target", "is_published", "trained_at", "parameters", "figures"),
    KeptData: _shops("kind", "count", "oldest", "is_late", "counted_at"),
    DailyFigures: _shops("day", "channel_slug", "currency", "figures", "counted_at", "reopened_at"),
    Backfill: _shops(
        "status", "is_pause_requested", "changed_since", "started_at", "finished_at",
        "lease_expires_at", "error", "created_at",
    ),
    BackfillStage: _shops(
        "backfill", "name", "position", "cursor", "is_done", "row_count", "changed_count",
        "total_count",
    ),
    # -- people -----------------------------------------------------------------------------------
    Profile: _persons(
        "profiles", "person", "merged_into", "saleor_updated_at", "inbox_version", "phone_wanted_at",
        public_id="reference", first_name="first_name", language_code="language",
        country_code="country", time_zone="time_zone",
        time_zone_told_at="time_zone_told_at", traits="traits", joined_at="joined_at", paused_until="paused_until",
        max_messages_per_week="max_messages_per_week", first_seen_at="first_seen_at",
    ),
    # An address is exported in plain text; its hash says nothing to anybody.
    Identity: _persons(
        "ids", "person", "profile",
        kind="kind", value="value", address="address", first_seen_at="first_seen_at",
        confirmed_at="confirmed_at",
    ),
    PhoneClaim: _persons(
        "phone_claims", "person", "profile", "number_hash", "due_at", "code_hash", "attempts",
        number="number", language_code="language", asked_at="asked_at", expires_at="expires_at",
    ),
    Merge: _persons(
        "merges", "person", "first", "second", "waits_for", "decided_by",
        proof="proof", evidence="evidence", created_at="created_at", proved_at="proved_at",
        undone_at="undone_at", is_disputed="is_disputed",
    ),
    Device: _persons(
        "devices", "devices", "profile", "token", "token_hash",
        public_id="id", platform="platform", app="app", language_code="language",
        is_proven="is_proven", registered_at="registered_at", last_seen_at="last_seen_at", gone_at="gone_at",
        gone_reason="gone_reason",
    ),
    Consent: _persons(
        "consents", "person", "profile",
        purpose="purpose", delivery_channel="delivery_channel", topic="topic", state="state",
        country_code="country", rule="rule", source="source", wording_version="wording_version",
        language_code="language", recorded_at="recorded_at",
    ),
    Suppression: _persons(
        "suppressions", "shop", "address_hash", erased=Erased.KEPT,
        delivery_channel="delivery_channel", reason="reason", created_at="created_at",
    ),
    Erasure: _shops(
        "public_id", "requested_by", "fingerprints", "facts_until", "erased_at", "counts",
        "swept_at",
    ),
    # -- what they did ----------------------------------------------------------------------------
    Session: _persons(
        "sessions", "sessions", "profile",
        session_id="id", started_at="started_at", last_seen_at="last_seen_at",
        device_type="device", referrer_host="referrer_host", utm="utm", country_code="country",
        language_code="language", channel_slug="channel", currency="currency",
        local_hour="local_hour", time_zone="time_zone",
    ),
    Event: _persons(
        "events", "events", "profile", "month",
        event_id="id", type="type", occurred_at="occurred_at", received_at="received_at",
        source="source", channel_slug="channel", session_id="session_id",
        product_saleor_id="product_id", attribution_id="attribution_id", properties="properties",
    ),
    Checkout: _persons(
        "checkouts", "checkouts", "profile", "email_hash", "user_saleor_id", "saleor_updated_at",
        "seen_at", "deleted_at",
        saleor_id="id", token="token", channel_slug="channel", language_code="language",  # noqa: S106
        currency="currency", total="total", lines="lines", is_box_ticked="is_box_ticked",
        last_changed_at="last_changed_at", filled_at="filled_at", begun_at="begun_at",
        closed_at="closed_at", close_reason="close_reason",
        abandoned_at="abandoned_at",
    ),
    Order: _orders(),
    OrderLine: _persons(
        "order_lines", "orders", "saleor_id", erased=Erased.KEPT,
        order="order_id", product_saleor_id="product_id", variant_saleor_id="variant_id",
        name="name", quantity="quantity", unit_price="unit_price",
        quantity_returned="quantity_returned",
    ),
    # What an order followed stays with it: a journey or a placement, without the message.
    AttributedOrder: {
        **_persons(
            "attributions", "orders", erased=Erased.KEPT,
            order="order_id", kind="kind", touch="touch", touched_at="touched_at",
            journey="journey", template="template", delivery_channel="delivery_channel",
            placement="placement", strategy="strategy", answer="answer",
        ),
        "message": Handling(True, "attributions.message_id", Erased.EMPTIED, "orders"),
    },
    Favourite: _persons(
        "favourites", "person", "profile",
        product_saleor_id="product_id", variant_saleor_id="variant_id", channel_slug="channel",
        added_at="added_at", removed_at="removed_at",
    ),
    StockAlert: _persons(
        "stock_alerts", "stock_alerts", "profile", "email_hash", "called_at",
        public_id="id", variant_saleor_id="variant_id", product_saleor_id="product_id",
        channel_slug="channel", language_code="language", created_at="created_at",
        expires_at="expires_at", confirmed_at="confirmed_at", told_at="told_at",
        cancelled_at="cancelled_at",
    ),
    Exposure: _persons(
        "exposures", "exposures", "profile",
        product_saleor_id="product_id", shown_count="shown_count", last_shown_at="last_shown_at",
        clicked_at="clicked_at",
    ),
    SharedFavourites: _persons(
        "shared_favourites", "person", "profile",
        token="token", created_at="created_at", withdrawn_at="withdrawn_at",  # noqa: S106
    ),
    # -- what we made of it -----------------------------------------------------------------------
    ComputedTraits: _persons(
        "computed_traits", "person", "profile",
        order_count="order_count", first_ordered_at="first_ordered_at",
        last_ordered_at="last_ordered_at", spent="spent", top_categories="top_categories",
        top_brands="top_brands", preferred_device="preferred_device",
        preferred_hour="preferred_hour", preferred_delivery_channel="preferred_delivery_channel",
        recency_score="recency_score", frequency_score="frequency_score",
        monetary_score="monetary_score", stage="stage", next_order_at="next_order_at",
        churn_risk="churn_risk", computed_at="computed_at",
    ),
    SegmentMembership: _persons(
        "segments", "memberships", "profile",
        segment="segment", entered_at="entered_at", left_at="left_at",
    ),
    Participation: _persons(
        "experiments", "person", "profile",
        experiment="experiment", arm="arm", since="since",
    ),
    # Gone within a minute, when segments have looked at the person.
    ChangedProfile: _persons("", "person", "profile", "changed_at", "has_ordered"),
    Enrollment: _persons(
        "enrollments", "enrollments", "profile", "version", "entry_key", "path", "waits_for",
        "waits_until", "queue", "due_at", "step_since",
        journey="journey", subject_kind="subject_kind", subject_saleor_id="subject_id",
        entry="entry", occurred_at="occurred_at", context="context", branches="branches",
        held_by="held_by", status="status",
        exit_reason="exit_reason", created_at="created_at", finished_at="finished_at",
    ),
    Message: _persons(
        "messages", "messages", "idempotency_key", "profile", "enrollment", "attempts", "retry_at",
        "came_from", "provider_message_id", "error", "address_hash",
        public_id="id", journey="journey", template="template", purpose="purpose",
        delivery_channel="delivery_channel", language_code="language", status="status",
        reason="reason", content="content", decided_at="decided_at",
        handed_over_at="handed_over_at",
    ),
    MessageCopy: _persons(
        "message_copies", "message_copies",
        message="message_id", subject="subject", html="html", made_at="made_at",
    ),
    MessageEvent: _persons(
        "message_events", "messages", "recorded_at", "provider_event_id",
        message="message_id", kind="kind", at="at", is_machine="is_machine", detail="detail",
    ),
    InboxItem: _persons(
        "inbox", "inbox", "profile",
        public_id="id", message="message_id", placement="placement", title="title", text="text",
        link="link", image_url="image_url", promo_code="promo_code", created_at="created_at",
        expires_at="expires_at", read_at="read_at", dismissed_at="dismissed_at",
    ),
    # The row stays without its person: the code may still have to be taken out of Saleor.
    Offer: {
        **_persons(
            "offers", "offers", "key", "listings", "voucher_saleor_id", "error", "due_at", "attempts",
            erased=Erased.KEPT,
            code="code", kind="kind", terms="terms", channel_slug="channel",
            is_first_order_only="is_first_order_only", status="status", reason="reason",
            expires_at="expires_at", reserved_at="reserved_at", made_at="made_at",
            used_at="used_at", withdrawn_at="withdrawn_at", gone_at="gone_at",
        ),
        **dict.fromkeys(
            ("profile", "enrollment", "message", "order"),
            Handling(True, "", Erased.EMPTIED, "offers"),
        ),
    },
    ShownHint: _persons(
        "hints", "hints", "profile", "changed_at",
        kind="kind", subject="subject", shown_count="shown_count", first_shown_at="first_shown_at",
        last_shown_at="last_shown_at", dismissed_at="dismissed_at", followed_at="followed_at",
    ),
    # To whom else it was told.
    OutgoingDelivery: _persons(
        "outgoing_deliveries", "outgoing_deliveries", "profile", "created_at", "due_at",
        "expires_at", "attempts", "answer_status", "error",
        webhook="webhook", event_id="id", event="event", data="data", occurred_at="occurred_at",
        status="status", tried_at="tried_at",
    ),
    # -- as it came -------------------------------------------------------------------------------
    WebhookDelivery: _persons(
        "", "deliveries", "event", "body", "body_hash", "content_type", "query", "received_at",
        "issued_at", "lane", "status", "attempts", "error", "processed_at", erased=Erased.SEARCHED,
    ),
    Import: _persons(
        "", "import_rejects", "status", "is_dry_run", "file_name", "path", "digest", "columns",
        "mapping", "options", "row_count", "position", "recorded_count", "unchanged_count",
        "rejected_count", "error", "created_at", "started_at", "finished_at", "lease_expires_at",
        erased=Erased.SEARCHED,
    ),
    RefusedEvent: _persons(
        "", "refused_events", "at", "source", "type", "code", "message", "field", "shape",
        "fingerprint",
    ),
    ImportReject: _persons(
        "", "import_rejects", "source", "row_number", "code", "reason", "row",
        erased=Erased.SEARCHED,
    ),
}  # fmt: skip
