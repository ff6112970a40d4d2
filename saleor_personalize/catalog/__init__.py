"""What can be recommended: the shop's catalogue, its stock and its prices, as we last saw them."""
