"""URLs of the ready-made service: everything of the app at the root."""

from django.urls import include, path

urlpatterns = [path("", include("saleor_personalize.urls"))]
