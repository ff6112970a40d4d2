"""Personal vouchers: reserved with the decision to send, made in Saleor, withdrawn if nothing was sent."""
