"""What came of what we did: attribution of orders, figures of each day, reports and exports.

Figures are those of the shop as a whole; nothing here decides what anybody gets.
"""
