"""Every event of Saleor that we take, one class per family; the manifest is generated from here."""

from saleor_personalize.ingestion.subscriptions import app, catalog, shoppers
from saleor_personalize.ingestion.subscriptions.base import Envelope, Subscription

SUBSCRIPTIONS: tuple[type[Subscription], ...] = (
    catalog.ProductSaved,
    catalog.ProductDeleted,
    catalog.Translated,
    catalog.VariantSaved,
    catalog.VariantDeleted,
    catalog.StockChanged,
    catalog.StockChangedInChannel,
    catalog.DiscountedPriceChanged,
    catalog.CategorySaved,
    catalog.CategoryDeleted,
    catalog.CollectionSaved,
    catalog.CollectionDeleted,
    catalog.PageSaved,
    catalog.PageDeleted,
    catalog.ChannelSaved,
    catalog.ChannelDeleted,
    shoppers.CheckoutSaved,
    shoppers.OrderSaved,
    shoppers.CustomerSaved,
    shoppers.CustomerDeleted,
    app.AppStatusChanged,
    app.AppDeleted,
)

#: event name, lower case -> the subscription that takes it
BY_EVENT: dict[str, type[Subscription]] = {
    event: subscription for subscription in SUBSCRIPTIONS for event in subscription.events
}

__all__ = ["BY_EVENT", "SUBSCRIPTIONS", "Envelope", "Subscription"]
