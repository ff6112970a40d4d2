"""Doors of the app. They fit under any prefix of an integrator's project."""

from django.urls import include, path

urlpatterns = [
    # First, since shoppers wait for it: Django tries one after the other.
    path("", include("saleor_personalize.graphql.urls")),
    path("", include("saleor_personalize.webhooks.urls")),
    path("", include("saleor_personalize.dashboard.urls")),
    path("", include("saleor_personalize.storefront.urls")),
]
