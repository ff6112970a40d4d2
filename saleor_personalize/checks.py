"""System checks: one id per fault, each with its fix."""

from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, register

from saleor_personalize.conf import SETTING_NAME, known_names, unknown_name_hint


@register()
def check_setting_names(**_: Any) -> list[CheckMessage]:
    given = getattr(django_settings, SETTING_NAME, {})
    return [
        Error(
            f"{SETTING_NAME}[{name!r}] is not a setting.",
            hint=unknown_name_hint(name),
            id="saleor_personalize.E001",
        )
        for name in given
        if name not in known_names()
    ]
