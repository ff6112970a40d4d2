"""The Django app."""

from django.apps import AppConfig


class SaleorPersonalizeConfig(AppConfig):
    name = "saleor_personalize"
    verbose_name = "Saleor Personalize"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from saleor_personalize import checks  # noqa: F401  (registers the system checks)
