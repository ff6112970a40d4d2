"""What happened: events of the storefront, checkouts and orders of Saleor."""
