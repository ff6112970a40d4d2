"""What is personal, what a person gets of it, and how it goes."""

from saleor_personalize.profiles.privacy.erasing import erase, erase_customer
from saleor_personalize.profiles.privacy.exporting import export
from saleor_personalize.profiles.privacy.fields import FIELDS, Erased, Handling

__all__ = ["FIELDS", "Erased", "Handling", "erase", "erase_customer", "export"]
