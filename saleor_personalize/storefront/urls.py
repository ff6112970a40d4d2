"""Addresses that shoppers open themselves."""

from django.urls import path, re_path

from saleor_personalize.storefront import (
    favourites,
    inbox,
    mail,
    preferences,
    stock_alerts,
    views,
)
from saleor_personalize.storefront.collect import collect

urlpatterns = [
    path("u/<str:token>", views.unsubscribe, name="personalize-unsubscribe"),
    path("preferences/<str:token>", preferences.center, name="personalize-preferences"),
    path("confirm/<str:token>", preferences.confirm, name="personalize-confirm"),
    path("a/<str:token>", stock_alerts.stock_alerts, name="personalize-stock-alert"),
    path("f/<str:token>", favourites.shared, name="personalize-shared-favourites"),
    path("click/<str:token>", mail.click, name="personalize-click"),
    path("view/<str:token>", mail.view, name="personalize-view"),
    path("inbox", inbox.inbox, name="personalize-inbox"),
    # A beacon that is redirected is lost.
    re_path(r"^collect/?$", collect, name="personalize-collect"),
]
