"""What stands on Saleor's own pages: of a customer, a product, an order, a voucher, and its first page."""
