"""WSGI entry point."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "saleor_personalize.project.settings")
_django = get_wsgi_application()

# Not before Django is set up: the door reads the models.
from saleor_personalize.webhooks.wsgi import with_webhook_door  # noqa: E402

application = with_webhook_door(_django)
