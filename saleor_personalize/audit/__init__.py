"""Who of the shop's staff did what, and to what."""
