"""Saleor's facts, by webhook or by back-fill, and what each of them changes in the rooms below."""
