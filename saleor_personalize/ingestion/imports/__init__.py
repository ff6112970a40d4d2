"""Purchases from outside Saleor, brought in by a file: one row is one line of an order."""
