"""FakeSaleor: a made-up shop that speaks Saleor's wire format, for tests and the demo.

with FakeSaleor() as shop:
    shop.fill()
    shop.install("http://127.0.0.1:8787/api/manifest")
"""

from saleor_personalize.testing.saleor.server import FakeSaleor
from saleor_personalize.testing.saleor.shop import AppRefused, Delivery, InstalledApp

__all__ = ["AppRefused", "Delivery", "FakeSaleor", "InstalledApp"]
