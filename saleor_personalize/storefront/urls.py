"""Addresses that shoppers open themselves."""

from django.urls import path

from saleor_personalize.storefront import views

urlpatterns = [path("u/<str:token>", views.unsubscribe, name="personalize-unsubscribe")]
