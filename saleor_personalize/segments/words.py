"""Stable strings of the domain as a shop owner reads them."""

from django.utils.translation import gettext_lazy as _

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    DeviceType,
    EventType,
    LifecycleStage,
    OrderOrigin,
    Purpose,
)

EVENTS = {
    EventType.PRODUCT_VIEWED.value: _("viewed a product"),
    EventType.CATEGORY_VIEWED.value: _("viewed a category"),
    EventType.LIST_VIEWED.value: _("viewed a list of products"),
    EventType.SEARCHED.value: _("searched"),
    EventType.CART_ADDED.value: _("added to the cart"),
    EventType.CART_REMOVED.value: _("removed from the cart"),
    EventType.FAVOURITE_ADDED.value: _("added a favourite"),
    EventType.FAVOURITE_REMOVED.value: _("removed a favourite"),
    EventType.RECOMMENDATION_SHOWN.value: _("was shown a recommendation"),
    EventType.RECOMMENDATION_CLICKED.value: _("pressed a recommendation"),
    EventType.CUSTOM.value: _("did something of the shop's own"),
}
DEVICES = {
    DeviceType.MOBILE.value: _("phone"),
    DeviceType.TABLET.value: _("tablet"),
    DeviceType.DESKTOP.value: _("computer"),
    DeviceType.APP.value: _("mobile app"),
    DeviceType.OTHER.value: _("other device"),
}
ORIGINS = {
    OrderOrigin.SALEOR.value: _("bought in Saleor"),
    OrderOrigin.OFFLINE.value: _("bought outside Saleor"),
}
PURPOSES = {
    Purpose.MARKETING.value: _("offers and reminders"),
    Purpose.TRANSACTIONAL.value: _("messages an order needs"),
}
DELIVERY_CHANNELS = {
    DeliveryChannel.EMAIL.value: _("by e-mail"),
    DeliveryChannel.PUSH.value: _("by push"),
    DeliveryChannel.IN_APP.value: _("in the app"),
    DeliveryChannel.SMS.value: _("by SMS"),
}
CONSENT_STATES = {
    ConsentState.GRANTED.value: _("allowed"),
    ConsentState.DENIED.value: _("refused"),
    ConsentState.PENDING.value: _("asked, not confirmed"),
    "never_asked": _("never asked"),
}
STAGES = {
    LifecycleStage.PROSPECT.value: _("has not ordered yet"),
    LifecycleStage.NEW.value: _("ordered for the first time lately"),
    LifecycleStage.ACTIVE.value: _("orders again and again"),
    LifecycleStage.AT_RISK.value: _("should have ordered by now"),
    LifecycleStage.LAPSED.value: _("has not ordered for long"),
}
SCORES = {
    "recency": _("how lately they ordered"),
    "frequency": _("how often they order"),
    "monetary": _("how much they spend"),
}
CONDITIONS = {
    "equals": _("is"),
    "contains": _("contains"),
    "at_least": _("is at least"),
    "at_most": _("is at most"),
    "exists": _("is known"),
}
