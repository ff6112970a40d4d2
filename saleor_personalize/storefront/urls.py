"""Addresses that shoppers open themselves."""

from django.urls import path, re_path

from saleor_personalize.storefront import views
from saleor_personalize.storefront.collect import collect

urlpatterns = [
    path("u/<str:token>", views.unsubscribe, name="personalize-unsubscribe"),
    # A beacon that is redirected is lost.
    re_path(r"^collect/?$", collect, name="personalize-collect"),
]
