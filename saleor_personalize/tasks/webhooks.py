"""Tasks of webhooks."""
