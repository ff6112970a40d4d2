"""Tasks of training."""
