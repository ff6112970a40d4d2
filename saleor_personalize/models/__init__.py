"""All tables of the app, by name. Rooms own behaviour, not tables."""

from saleor_personalize.models.catalog import (
    Category,
    Collection,
    PriceChange,
    Product,
    ProductListing,
    ProductVariant,
    SalesChannel,
    Stock,
    VariantPrice,
)
from saleor_personalize.models.events import Checkout, Event, Order, OrderLine
from saleor_personalize.models.fields import EncryptedTextField, email_hash
from saleor_personalize.models.ingestion import Backfill, BackfillStage
from saleor_personalize.models.installation import Installation, PendingToken, Scoped
from saleor_personalize.models.journeys import Enrollment, Journey
from saleor_personalize.models.messaging import Message
from saleor_personalize.models.profiles import Consent, Identity, Profile, Suppression
from saleor_personalize.models.recommendations import TrainedModel
from saleor_personalize.models.webhooks import WebhookDelivery

__all__ = [
    "Backfill",
    "BackfillStage",
    "Category",
    "Checkout",
    "Collection",
    "Consent",
    "EncryptedTextField",
    "Enrollment",
    "Event",
    "Identity",
    "Installation",
    "Journey",
    "Message",
    "Order",
    "OrderLine",
    "PendingToken",
    "PriceChange",
    "Product",
    "ProductListing",
    "ProductVariant",
    "Profile",
    "SalesChannel",
    "Scoped",
    "Stock",
    "Suppression",
    "TrainedModel",
    "VariantPrice",
    "WebhookDelivery",
    "email_hash",
]
