"""Who a shopper is, what they allowed, and how they are forgotten."""
