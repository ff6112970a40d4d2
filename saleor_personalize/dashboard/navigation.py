"""Which pages there are, in groups, as the menu beside every page shows them.

A page is one `Entry`; its template names it: `{% include ".../nav.html" with current="rules" %}`.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy


@dataclass(frozen=True)
class Entry:
    """`key` is what the page's template calls it; `url_name` is the fragment that is asked for."""

    key: str
    label: Promise
    url_name: str


@dataclass(frozen=True)
class Group:
    key: str
    label: Promise
    entries: tuple[Entry, ...]


GROUPS = (
    Group(
        "start",
        gettext_lazy("Start"),
        (
            Entry("overview", gettext_lazy("Overview"), "dashboard-overview"),
            Entry("first-steps", gettext_lazy("First steps"), "dashboard-first-steps"),
        ),
    ),
    Group(
        "shoppers",
        gettext_lazy("Shoppers"),
        (
            Entry("people", gettext_lazy("People"), "dashboard-people"),
            Entry("segments", gettext_lazy("Segments"), "dashboard-segments"),
            Entry("imports", gettext_lazy("Imports"), "dashboard-imports"),
            Entry("data", gettext_lazy("Data"), "dashboard-data"),
        ),
    ),
    Group(
        "marketing",
        gettext_lazy("Marketing"),
        (
            Entry("journeys", gettext_lazy("Journeys"), "dashboard-journeys"),
            Entry("messages", gettext_lazy("Messages"), "dashboard-sent"),
            Entry(
                "abandoned-checkouts", gettext_lazy("Abandoned checkouts"), "dashboard-abandoned"
            ),
            Entry("previews", gettext_lazy("Try a message"), "dashboard-previews"),
            Entry("offers", gettext_lazy("Offers"), "dashboard-offers"),
            Entry("go-live", gettext_lazy("Go-live check"), "dashboard-go-live-page"),
        ),
    ),
    Group(
        "products",
        gettext_lazy("Products"),
        (
            Entry("demand", gettext_lazy("Demand"), "dashboard-demand"),
            Entry("models", gettext_lazy("Models"), "dashboard-models"),
            Entry("playground", gettext_lazy("Playground"), "dashboard-playground"),
            Entry("rules", gettext_lazy("Rules"), "dashboard-rules"),
        ),
    ),
    Group(
        "results",
        gettext_lazy("Results"),
        (
            Entry("results", gettext_lazy("Results"), "dashboard-results"),
            Entry("experiments", gettext_lazy("Experiments"), "dashboard-experiments"),
        ),
    ),
    Group(
        "service",
        gettext_lazy("Service"),
        (
            Entry("settings", gettext_lazy("Settings"), "dashboard-settings-page"),
            Entry("keys", gettext_lazy("Server keys"), "dashboard-keys"),
            Entry("push", gettext_lazy("Push"), "dashboard-push"),
            Entry("bus", gettext_lazy("Outgoing webhooks"), "dashboard-bus"),
            Entry("health", gettext_lazy("Health"), "dashboard-health"),
            Entry("debugger", gettext_lazy("Event debugger"), "dashboard-debugger"),
            Entry("audit", gettext_lazy("Audit log"), "dashboard-audit"),
        ),
    ),
)


def url_names() -> dict[str, str]:
    """Return which fragment is asked for, by the keys of the pages."""
    return {entry.key: entry.url_name for group in GROUPS for entry in group.entries}
