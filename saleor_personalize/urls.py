"""Doors of the app. `urlpatterns` fits under any prefix of an integrator's project."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
