"""The service's URLs, plus a view that answers fixed bytes: what the server itself costs."""

import os
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def bare(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_answer(), content_type="application/json")


def _answer() -> bytes:
    global _bytes
    if _bytes is None:
        _bytes = Path(os.environ["BENCH_ANSWER"]).read_bytes()
    return _bytes


_bytes: bytes | None = None

urlpatterns = [path("bare/", bare), path("", include("saleor_personalize.urls"))]
