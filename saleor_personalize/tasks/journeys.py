"""Tasks of journeys."""
