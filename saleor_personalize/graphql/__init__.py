"""The public graph: recommendations, the caller's profile, and tracking."""
