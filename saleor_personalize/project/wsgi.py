"""WSGI entry point."""

import contextlib
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "saleor_personalize.project.settings")
_django = get_wsgi_application()

# Not before Django is set up: the door reads the models.
import django.db  # noqa: E402

from saleor_personalize.webhooks.wsgi import with_webhook_door  # noqa: E402

# Django makes its connection pool at the first use; two threads that come first together would each
# make one, and wait for the other's. A database that is away now is met again by the first request.
with contextlib.suppress(django.db.Error):
    django.db.connection.ensure_connection()
django.db.connection.close()

application = with_webhook_door(_django)
