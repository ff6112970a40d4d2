"""When beat wakes which task. It only wakes: what is due is decided by rows."""

from typing import Any

from celery.schedules import crontab

#: For the `beat_schedule` of a Celery app; its tasks are found by `autodiscover_tasks()`.
BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "webhooks: sweep": {"task": "personalize.process_deliveries", "schedule": 5.0},
    "segments: evaluate": {"task": "personalize.evaluate_segments", "schedule": 10.0},
    "health: beat": {"task": "personalize.beat_heart", "schedule": 30.0},
    "journeys: advance": {"task": "personalize.advance_journeys", "schedule": 10.0},
    "journeys: enter": {"task": "personalize.enter_journeys", "schedule": 60.0},
    "journeys: let go": {"task": "personalize.let_go", "schedule": 10.0},
    "journeys: dry runs": {"task": "personalize.make_dry_runs", "schedule": 10.0},
    "offers: sweep": {"task": "personalize.sweep_offers", "schedule": 10.0},
    "permissions: refresh": {"task": "personalize.refresh_permissions", "schedule": 1800.0},
    "opt-ins: confirm": {"task": "personalize.confirm_opt_ins", "schedule": 10.0},
    "phones: confirm": {"task": "personalize.confirm_phones", "schedule": 10.0},
    "hints: drop-off": {
        "task": "personalize.measure_drop_off",
        "schedule": crontab(hour="3", minute="41"),
    },
    "bus: deliver": {"task": "personalize.deliver_outgoing", "schedule": 5.0},
    "bus: abandoned carts": {"task": "personalize.tell_abandoned", "schedule": 30.0},
    "health: problems": {"task": "personalize.show_problems", "schedule": 60.0},
    "backfill: resume": {"task": "personalize.run_backfills", "schedule": 30.0},
    "pages: refresh": {"task": "personalize.refresh_pages", "schedule": 10.0},
    "pages: look": {"task": "personalize.look_at_pages", "schedule": 300.0},
    "phones: learn": {"task": "personalize.learn_phones", "schedule": 30.0},
    "imports: run": {"task": "personalize.run_imports", "schedule": 10.0},
    "imports: purge": {
        "task": "personalize.purge_imports",
        "schedule": crontab(hour="5", minute="41"),
    },
    "backfill: reconcile": {
        "task": "personalize.reconcile",
        "schedule": crontab(hour="3", minute="17"),
    },
    "events: months": {
        "task": "personalize.maintain_events",
        "schedule": crontab(hour="*/6", minute="37"),
    },
    "events: refused": {"task": "personalize.trim_refused", "schedule": 600.0},
    "traits: daily": {"task": "personalize.compute_traits", "schedule": 600.0},
    "predictors: nightly": {
        "task": "personalize.train_predictors",
        "schedule": crontab(hour="4", minute="53"),
    },
    "rhythms: weekly": {
        "task": "personalize.learn_rhythms",
        "schedule": crontab(hour="4", minute="29", day_of_week="1"),
    },
    "erasures: search": {"task": "personalize.sweep_erasures", "schedule": 600.0},
    "attribution: catch up": {"task": "personalize.attribute_orders", "schedule": 300.0},
    "figures: count": {"task": "personalize.count_days", "schedule": 300.0},
    "attribution: nightly": {
        "task": "personalize.review_attributions",
        "schedule": crontab(hour="1", minute="43"),
    },
    "experiments: measure": {
        "task": "personalize.measure_experiments",
        "schedule": crontab(minute="49"),
    },
    "privacy: count": {
        "task": "personalize.count_kept",
        "schedule": crontab(minute="37"),
    },
    "privacy: purge": {
        "task": "personalize.purge",
        "schedule": crontab(hour="2", minute="11"),
    },
    "training: nightly": {
        "task": "personalize.request_trainings",
        "schedule": crontab(hour="4", minute="7"),
    },
    "training: changed": {"task": "personalize.request_changed_trainings", "schedule": 60.0},
    "webhooks: purge": {
        "task": "personalize.purge_deliveries",
        "schedule": crontab(hour="5", minute="23"),
    },
}
