"""URLs of this door."""

from django.urls import path

from saleor_personalize.graphql.views import graphql

urlpatterns = [path("graphql/", graphql, name="graphql")]
