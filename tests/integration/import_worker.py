"""An import that is killed while it records, before the commit: `BATCHES` of it are committed."""

import os
import sys
from pathlib import Path
from typing import Any

import django

django.setup()

from django.utils import timezone  # noqa: E402

from saleor_personalize.events import offline  # noqa: E402
from saleor_personalize.ingestion.imports import operations  # noqa: E402
from saleor_personalize.models import Installation  # noqa: E402

record, batches = offline.record_purchases, int(os.environ["BATCHES"])


def record_and_die(**given: Any) -> Any:
    global batches
    recorded = record(**given)
    batches -= 1
    if batches < 0:
        os.kill(os.getpid(), 9)
    return recorded


offline.record_purchases = record_and_die
path = Path(sys.argv[1])
with path.open("rb") as file:
    found = operations.look_into(file, name=path.name, options=operations.Options())
    run = operations.request(
        installation=Installation.objects.get(),
        file=file,
        name=path.name,
        mapping=found.mapping,
        options=operations.Options(),
        is_dry_run=False,
        now=timezone.now(),
    )
    claimed = operations.claim_next(now=timezone.now(), import_id=run.pk)
    assert claimed is not None
    operations.work(claimed, file=file)
raise AssertionError("still alive")
