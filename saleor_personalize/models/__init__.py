"""All tables of the app, by name. Rooms own behaviour, not tables."""

from saleor_personalize.models.alerts import StockAlert
from saleor_personalize.models.analytics import AttributedOrder, DailyFigures
from saleor_personalize.models.audit import AuditEntry
from saleor_personalize.models.bus import OutgoingDelivery, OutgoingWebhook
from saleor_personalize.models.catalog import (
    Category,
    CategoryTranslation,
    Collection,
    Page,
    PageTranslation,
    PriceChange,
    Product,
    ProductListing,
    ProductTranslation,
    ProductVariant,
    SalesChannel,
    Stock,
    VariantPrice,
)
from saleor_personalize.models.devices import Device, PushAccount
from saleor_personalize.models.events import (
    Checkout,
    Event,
    Order,
    OrderLine,
    RefusedEvent,
    Session,
)
from saleor_personalize.models.experiments import Experiment, Participation
from saleor_personalize.models.favourites import Favourite, SharedFavourites
from saleor_personalize.models.fields import EncryptedTextField, email_hash
from saleor_personalize.models.health import Heartbeat, ShownProblem
from saleor_personalize.models.hints import PageDropOff, ShownHint
from saleor_personalize.models.imports import Import, ImportReject
from saleor_personalize.models.inbox import InboxItem
from saleor_personalize.models.ingestion import Backfill, BackfillStage
from saleor_personalize.models.installation import (
    FirstStep,
    Installation,
    PendingToken,
    Scoped,
    ServerKey,
)
from saleor_personalize.models.journeys import Approval, DryRun, Enrollment, Journey, JourneyVersion
from saleor_personalize.models.messaging import Message, MessageCopy, MessageEvent, Rhythm
from saleor_personalize.models.offers import Offer, OfferVoucher
from saleor_personalize.models.pace import Pace
from saleor_personalize.models.placements import Exposure, MerchandisingRule, Placement
from saleor_personalize.models.privacy import Erasure, KeptData
from saleor_personalize.models.profiles import (
    Consent,
    Identity,
    Merge,
    PhoneClaim,
    Profile,
    Suppression,
)
from saleor_personalize.models.recommendations import TrainedModel, Training
from saleor_personalize.models.segments import ChangedProfile, Segment, SegmentMembership
from saleor_personalize.models.traits import ComputedTraits, Predictor, Yardstick
from saleor_personalize.models.webhooks import ProviderWebhook, WebhookDelivery

__all__ = [
    "Approval",
    "AttributedOrder",
    "AuditEntry",
    "Backfill",
    "BackfillStage",
    "Category",
    "CategoryTranslation",
    "ChangedProfile",
    "Checkout",
    "Collection",
    "ComputedTraits",
    "Consent",
    "DailyFigures",
    "Device",
    "DryRun",
    "EncryptedTextField",
    "Enrollment",
    "Erasure",
    "Event",
    "Experiment",
    "Exposure",
    "Favourite",
    "FirstStep",
    "Heartbeat",
    "Identity",
    "Import",
    "ImportReject",
    "InboxItem",
    "Installation",
    "Journey",
    "JourneyVersion",
    "KeptData",
    "MerchandisingRule",
    "Merge",
    "Message",
    "MessageCopy",
    "MessageEvent",
    "Offer",
    "OfferVoucher",
    "Order",
    "OrderLine",
    "OutgoingDelivery",
    "OutgoingWebhook",
    "Pace",
    "Page",
    "PageDropOff",
    "PageTranslation",
    "Participation",
    "PendingToken",
    "PhoneClaim",
    "Placement",
    "Predictor",
    "PriceChange",
    "Product",
    "ProductListing",
    "ProductTranslation",
    "ProductVariant",
    "Profile",
    "ProviderWebhook",
    "PushAccount",
    "RefusedEvent",
    "Rhythm",
    "SalesChannel",
    "Scoped",
    "Segment",
    "SegmentMembership",
    "ServerKey",
    "Session",
    "SharedFavourites",
    "ShownHint",
    "ShownProblem",
    "Stock",
    "StockAlert",
    "Suppression",
    "TrainedModel",
    "Training",
    "VariantPrice",
    "WebhookDelivery",
    "Yardstick",
    "email_hash",
]
