"""Who did what, and to what: staff, servers of the shop, and whoever runs the service."""
