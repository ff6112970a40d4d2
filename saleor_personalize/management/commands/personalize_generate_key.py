"""`saleor-personalize generate-key`: make a key for ENCRYPTION_KEYS."""

from typing import Any

from cryptography.fernet import Fernet
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = (
        "Print a new key for SALEOR_PERSONALIZE['ENCRYPTION_KEYS']. To change keys put the new one "
        "first and keep the old one behind it: what it encrypted stays readable."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(Fernet.generate_key().decode())
