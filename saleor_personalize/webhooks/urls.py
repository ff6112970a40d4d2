"""URLs of Saleor's doors: the manifest, the install handshake and the webhooks; and of providers."""

from django.urls import path

from saleor_personalize.webhooks import providers
from saleor_personalize.webhooks.manifest import manifest
from saleor_personalize.webhooks.register import register
from saleor_personalize.webhooks.saleor import receive

urlpatterns = [
    path("api/manifest", manifest, name="manifest"),
    path("api/register", register, name="register"),
    path("webhooks/saleor/<slug:event>/", receive, name="webhook"),
    path(
        "webhooks/providers/<slug:provider>/<str:secret>/",
        providers.receive,
        name="personalize-provider-webhook",
    ),
]
