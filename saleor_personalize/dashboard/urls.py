"""URLs of the pages in Saleor's Dashboard, and of the health of the service."""

from django.urls import path, re_path

from saleor_personalize.dashboard import (
    health,
    imports,
    keys,
    people,
    playground,
    privacy,
    reports,
    rules,
    segments,
    views,
)

urlpatterns = [
    # The Dashboard opens `appUrl` as it stands and appends `/` for the entry in its menu.
    re_path(r"^dashboard/?$", views.page, name="dashboard"),
    path("dashboard/overview/", views.overview, name="dashboard-overview"),
    path("dashboard/webhooks/", views.webhooks, name="dashboard-webhooks"),
    path("dashboard/webhooks/replay/", views.replay, name="dashboard-replay"),
    path("dashboard/backfill/", views.backfill, name="dashboard-backfill"),
    path("dashboard/backfill/start/", views.start_backfill, name="dashboard-backfill-start"),
    path(
        "dashboard/backfill/<int:backfill_id>/pause/",
        views.pause_backfill,
        name="dashboard-backfill-pause",
    ),
    path(
        "dashboard/backfill/<int:backfill_id>/resume/",
        views.resume_backfill,
        name="dashboard-backfill-resume",
    ),
    path("dashboard/messages/", views.messages, name="dashboard-messages"),
    path("dashboard/journey/go-live/", views.go_live, name="dashboard-go-live"),
    path("dashboard/journey/pause/", views.pause, name="dashboard-pause"),
    path("dashboard/segments/", segments.page, name="dashboard-segments"),
    path("dashboard/segments/figures/", segments.figures, name="dashboard-segments-figures"),
    path("dashboard/segments/new/", segments.new, name="dashboard-segment-new"),
    path("dashboard/segments/edit/", segments.edit, name="dashboard-segment-edit"),
    path("dashboard/segments/count/", segments.count, name="dashboard-segment-count"),
    path("dashboard/segments/save/", segments.save, name="dashboard-segment-save"),
    path("dashboard/segments/choices/", segments.choices, name="dashboard-segment-choices"),
    path("dashboard/segments/<int:segment_id>/", segments.one, name="dashboard-segment"),
    path(
        "dashboard/segments/<int:segment_id>/delete/",
        segments.delete,
        name="dashboard-segment-delete",
    ),
    path("dashboard/imports/", imports.page, name="dashboard-imports"),
    path("dashboard/imports/upload/", imports.upload, name="dashboard-import-upload"),
    path("dashboard/imports/<int:import_id>/", imports.one, name="dashboard-import"),
    path(
        "dashboard/imports/<int:import_id>/describe/",
        imports.describe,
        name="dashboard-import-describe",
    ),
    path("dashboard/imports/<int:import_id>/start/", imports.start, name="dashboard-import-start"),
    path(
        "dashboard/imports/<int:import_id>/rejects/",
        imports.rejects,
        name="dashboard-import-rejects",
    ),
    path(
        "dashboard/imports/<int:import_id>/delete/", imports.delete, name="dashboard-import-delete"
    ),
    path("dashboard/data/", privacy.page, name="dashboard-data"),
    path("dashboard/data/sensitive/", privacy.save_sensitive, name="dashboard-sensitive"),
    path("dashboard/people/", people.page, name="dashboard-people"),
    path("dashboard/people/find/", people.find, name="dashboard-people-find"),
    path("dashboard/people/<uuid:who>/", people.one, name="dashboard-person"),
    path(
        "dashboard/people/<uuid:who>/timeline/",
        people.timeline,
        name="dashboard-person-timeline",
    ),
    path(
        "dashboard/people/<uuid:who>/split/<int:merge_id>/",
        people.split,
        name="dashboard-person-split",
    ),
    path("dashboard/people/<uuid:who>/join/", people.look_for_other, name="dashboard-person-other"),
    path(
        "dashboard/people/<uuid:who>/join/<uuid:other>/", people.join, name="dashboard-person-join"
    ),
    path("dashboard/people/<uuid:who>/export/", privacy.export, name="dashboard-person-export"),
    path(
        "dashboard/people/<uuid:who>/erase/ask/",
        privacy.ask_erase,
        name="dashboard-person-ask-erase",
    ),
    path("dashboard/people/<uuid:who>/erase/", privacy.erase, name="dashboard-person-erase"),
    path("dashboard/models/", reports.page, name="dashboard-models"),
    path("dashboard/models/training/", reports.progress, name="dashboard-training"),
    path("dashboard/models/train/", reports.train, name="dashboard-train"),
    path(
        "dashboard/models/<int:model_id>/answer/",
        reports.answer_with,
        name="dashboard-model-answer",
    ),
    path("dashboard/playground/", playground.page, name="dashboard-playground"),
    path("dashboard/playground/ask/", playground.ask, name="dashboard-playground-ask"),
    path("dashboard/rules/", rules.page, name="dashboard-rules"),
    path("dashboard/rules/new/", rules.new, name="dashboard-rule-new"),
    path("dashboard/rules/save/", rules.save, name="dashboard-rule-save"),
    path("dashboard/rules/preview/", rules.preview, name="dashboard-rule-preview"),
    path("dashboard/rules/choices/", rules.choices, name="dashboard-rule-choices"),
    path("dashboard/rules/<int:rule_id>/", rules.one, name="dashboard-rule"),
    path("dashboard/rules/<int:rule_id>/delete/", rules.delete, name="dashboard-rule-delete"),
    path("dashboard/keys/", keys.page, name="dashboard-keys"),
    path("dashboard/keys/create/", keys.create, name="dashboard-key-create"),
    path("dashboard/keys/<int:key_id>/", keys.ask_revoke, name="dashboard-key"),
    path("dashboard/keys/<int:key_id>/revoke/", keys.revoke, name="dashboard-key-revoke"),
    path("dashboard/settings/", views.save_settings, name="dashboard-settings"),
    path("health/", health.health, name="health"),
    path("health/ready/", health.ready, name="health-ready"),
]
