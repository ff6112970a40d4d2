"""Tasks of backfill."""
