"""Imports from upload to the last row. A row of the database holds how far each has come.

A few hundred rows of a file, what was refused of them and the new position are one transaction: whoever
is killed in between has done all or nothing, and the next one goes on from there.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import BinaryIO, TextIO

from django.db import OperationalError, transaction
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.enums import ImportStatus, InstallationStatus
from saleor_personalize.events import offline
from saleor_personalize.events.offline import Outcome, Purchase
from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.ingestion.imports import stored
from saleor_personalize.ingestion.imports.columns import (
    Mapped,
    Options,
    faults_of_mapping,
    guess,
)
from saleor_personalize.ingestion.imports.files import (
    Fault,
    Table,
    UnreadableFile,
    open_table,
)
from saleor_personalize.ingestion.imports.products import Products
from saleor_personalize.ingestion.imports.reading import Entry, Reader, Survey, entries
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import (
    Import,
    ImportReject,
    Installation,
    Order,
    SalesChannel,
)
from saleor_personalize.offers import operations as offers

logger = logging.getLogger(__name__)

#: How long a process may stay silent before another one takes its import over.
LEASE = timedelta(minutes=1)
#: Rows of one transaction, and rows between two signs of life while nothing is written.
BATCH = 200
_STRETCH = 50_000
#: Rows of a file that are shown before it is started.
PREVIEW = 5

OPEN = (ImportStatus.PENDING, ImportStatus.RUNNING)


class BadRequest(PersonalizeError):
    """A file, its mapping or its options cannot be used so. `faults` are sentences."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(" ".join(faults))
        self.faults = list(faults)


@dataclass(frozen=True)
class Preview:
    """What a file looks like: its columns, our guess of them, and its first rows."""

    columns: list[str]
    mapping: dict[str, str]
    rows: Sequence[Sequence[str]]


def channels_of(installation: Installation) -> dict[str, str]:
    """Return the currency of each sales channel, by slug."""
    rows = SalesChannel.objects.of(installation).filter(deleted_at=None).order_by("slug")
    return dict(rows.values_list("slug", "currency"))


def look_into(file: BinaryIO, *, name: str, options: Options) -> Preview:
    """Return what a file looks like. Raises UnreadableFile."""
    table = _table(file, name, options)
    rows = [
        # What is undecodable shows as such.
        [re.sub("[\ud800-\udfff]", "\ufffd", value) for value in row.values]
        for row in islice(table.rows(), PREVIEW)
    ]
    return Preview(table.columns, guess(table.columns), rows)


def check(
    *, installation: Installation, columns: Sequence[str], mapping: Mapped, options: Options
) -> None:
    """Raise BadRequest when a file of these columns cannot be imported so."""
    faults = [
        *faults_of_mapping(mapping, columns),
        *options.faults(mapping=mapping, channels=channels_of(installation)),
    ]
    if faults:
        raise BadRequest(faults)


# -- from the command line ---------------------------------------------------------------------------


def request(
    *,
    installation: Installation,
    file: BinaryIO,
    name: str,
    mapping: Mapped,
    options: Options,
    is_dry_run: bool,
    now: datetime,
) -> Import:
    """Return an import of a local file: the one that was left off, or a new one.

    Raises BadRequest or UnreadableFile; nothing is stored then.
    """
    columns = _table(file, name, options).columns
    check(installation=installation, columns=columns, mapping=mapping, options=options)
    wanted = {
        "digest": stored.digest_of(file),
        "mapping": dict(mapping),
        "options": options.to_json(),
        "is_dry_run": is_dry_run,
        "path": "",
    }
    left = (
        Import.objects.of(installation)
        .filter(status__in=[*OPEN, ImportStatus.FAILED], **wanted)
        .order_by("-pk")
        .first()
    )
    if left is not None:
        Import.objects.of(installation).filter(pk=left.pk, status=ImportStatus.FAILED).update(
            status=ImportStatus.PENDING, error=""
        )
        return left
    return Import.objects.create(
        installation=installation,
        status=ImportStatus.PENDING,
        file_name=name[:255],
        columns=columns,
        created_at=now,
        **wanted,
    )


# -- from the Dashboard ------------------------------------------------------------------------------


def upload(
    *, installation: Installation, name: str, chunks: Iterable[bytes], now: datetime
) -> Import:
    """Keep a file for an import that staff describe next. Raises UnreadableFile; nothing stays then."""
    path, digest = stored.save(chunks)
    try:
        with stored.opened(path) as file:
            found = look_into(file, name=name, options=Options())
    except UnreadableFile:
        stored.delete(path)
        raise
    return Import.objects.create(
        installation=installation,
        file_name=name[:255],
        path=path,
        digest=digest,
        columns=found.columns,
        mapping=found.mapping,
        options=Options().to_json(),
        created_at=now,
    )


def preview(*, run: Import) -> Preview:
    """Return what an uploaded file looks like under its options. Raises UnreadableFile."""
    with stored.opened(run.path) as file:
        return look_into(file, name=run.file_name, options=Options.from_json(run.options))


def describe(*, run: Import, mapping: Mapped, options: Options) -> Import:
    """Keep how staff say that a file is read; a start checks it. Raises BadRequest, UnreadableFile."""
    _check_waiting(run)
    run.mapping, run.options = dict(mapping), options.to_json()
    run.columns = preview(run=run).columns
    run.save(update_fields=["mapping", "options", "columns"])
    return run


def start(*, run: Import, is_dry_run: bool, now: datetime) -> Import:
    """Let a worker import an uploaded file, or only try. Raises BadRequest when it cannot.

    What an earlier try counted and refused is forgotten; an import that failed on its way goes on.
    """
    options = Options.from_json(run.options)
    check(installation=run.installation, columns=run.columns, mapping=run.mapping, options=options)
    with transaction.atomic():
        run = Import.objects.of(run.installation).select_for_update().get(pk=run.pk)
        _check_waiting(run)
        goes_on = run.status == ImportStatus.FAILED and run.is_dry_run == is_dry_run
        if not goes_on:
            run.rejects.all().delete()
            run.position = run.row_count = 0
            run.recorded_count = run.unchanged_count = run.rejected_count = 0
            run.started_at = None
        run.status, run.is_dry_run, run.error = ImportStatus.PENDING, is_dry_run, ""
        run.finished_at = run.lease_expires_at = None
        run.created_at = now
        run.save()
        return run


def _check_waiting(run: Import) -> None:
    if run.status in OPEN or not run.path:
        raise BadRequest([_("This import runs already, or is done. Upload the file again.")])


def discard(*, run: Import) -> None:
    """Forget an import with its file and what was refused. What it recorded stays."""
    stored.delete(run.path)
    run.delete()


# -- the work ----------------------------------------------------------------------------------------


def claim_next(*, now: datetime, import_id: int | None = None) -> Import | None:
    """Take the lease of an uploaded file (or of this import) that nobody works on, or return None."""
    runs = Import.objects.select_for_update(skip_locked=True, of=("self",))
    runs = runs.exclude(path="") if import_id is None else runs.filter(pk=import_id)
    with transaction.atomic():
        run = (
            runs.select_related("installation")
            .filter(
                Q(lease_expires_at=None) | Q(lease_expires_at__lt=now),
                status__in=OPEN,
                installation__status__in=[
                    InstallationStatus.ACTIVE,
                    InstallationStatus.TOKEN_REFUSED,
                    InstallationStatus.INACTIVE,
                ],
            )
            .order_by("pk")
            .first()
        )
        if run is None:
            return None
        run.status = ImportStatus.RUNNING
        run.started_at = run.started_at or now
        run.lease_expires_at = now + LEASE
        run.save(update_fields=["status", "started_at", "lease_expires_at"])
        return run


def work(
    run: Import,
    *,
    file: BinaryIO | None = None,
    clock: Callable[[], datetime] = timezone.now,
    on_batch: Callable[[Import], None] = lambda run: None,
) -> ImportStatus:
    """Import a claimed file to its end; return where it stands. `file`: one of the command line."""
    try:
        with _opened(run, file) as opened:
            _work(run, opened, clock, on_batch)
    except UnreadableFile as error:
        return _leave(run, ImportStatus.FAILED, clock(), str(error))
    except OperationalError as error:
        # Time may cure it: the next claim goes on, once the lease has run out.
        logger.warning("Import %s stops for now: %s", run.pk, type(error).__name__)
        return ImportStatus.RUNNING
    except _TakenOver:
        logger.warning("Import %s is worked on by another process", run.pk)
        return ImportStatus.RUNNING
    except Exception as error:
        logger.exception("Import %s failed at row %s", run.pk, run.position)
        text = f"{type(error).__name__} after row {run.position}: a fault of this app; see its log."
        return _leave(run, ImportStatus.FAILED, clock(), text)
    status = _leave(run, ImportStatus.DONE, clock())
    if not run.is_dry_run:
        stored.delete(run.path)
        Import.objects.of(run.installation).filter(pk=run.pk).update(path="")
    return status


class _TakenOver(Exception):
    """Another process has taken this import over and has come further."""


@contextmanager
def _opened(run: Import, file: BinaryIO | None) -> Iterator[BinaryIO]:
    if file is not None:
        yield file
        return
    with stored.opened(run.path) as found:
        yield found


def _table(file: BinaryIO, name: str, options: Options) -> Table:
    return open_table(file, name=name, encoding=options.encoding, delimiter=options.delimiter)


def _work(
    run: Import,
    file: BinaryIO,
    clock: Callable[[], datetime],
    on_batch: Callable[[Import], None],
) -> None:
    options = Options.from_json(run.options)
    table = _table(file, run.file_name, options)
    if table.columns != run.columns:
        raise UnreadableFile(_("The columns of the file are not those that were looked at before."))
    survey = Survey.of(_alive(run, entries(table, run.mapping), clock))
    run.row_count = survey.row_count
    run.save(update_fields=["row_count"])
    reader = Reader(
        mapping=run.mapping,
        options=options,
        survey=survey,
        channels=channels_of(run.installation),
        products=Products(run.installation),
        # The same for all rows and for whoever goes on: a date is not in the future by waiting.
        now=run.started_at or clock(),
    )
    found = iter(
        (entry, reader.occurrence(entry))
        for entry in _alive(run, entries(table, run.mapping), clock)
    )
    for _seen in islice(found, run.position):
        pass
    on_batch(run)
    while batch := list(islice(found, BATCH)):
        _record(run, reader, batch, clock())
        on_batch(run)


def _alive(run: Import, found: Iterable[Entry], clock: Callable[[], datetime]) -> Iterator[Entry]:
    """Pass entries on, and keep the lease while nothing is written for long."""
    for count, entry in enumerate(found, start=1):
        if count % _STRETCH == 0:
            Import.objects.of(run.installation).filter(pk=run.pk).update(
                lease_expires_at=clock() + LEASE
            )
        yield entry


def _record(run: Import, reader: Reader, batch: Sequence[tuple[Entry, int]], now: datetime) -> None:
    with transaction.atomic():
        held = Import.objects.of(run.installation).select_for_update().get(pk=run.pk)
        if held.position != batch[0][0].row.number - 1 or held.status != ImportStatus.RUNNING:
            raise _TakenOver
        reader.prepare([entry for entry, _count in batch])
        purchases: list[Purchase] = []
        rejects: list[ImportReject] = []
        for entry, occurrence in batch:
            read = reader.read(entry, occurrence)
            if isinstance(read, Fault):
                rejects.append(_reject(run, entry, read))
            else:
                purchases.append(read)
        with transaction.atomic():
            recorded = offline.record_purchases(
                installation=run.installation, purchases=purchases, now=now
            )
            _follow(run.installation, recorded.orders, now)
            if run.is_dry_run:
                transaction.set_rollback(True)
        ImportReject.objects.bulk_create(rejects)
        new = sum(outcome == Outcome.RECORDED for outcome in recorded.outcomes)
        run.position = batch[-1][0].row.number
        run.recorded_count += new
        run.unchanged_count += len(purchases) - new
        run.rejected_count += len(rejects)
        run.lease_expires_at = now + LEASE
        run.save(
            update_fields=[
                "position",
                "recorded_count",
                "unchanged_count",
                "rejected_count",
                "lease_expires_at",
            ]
        )


def _reject(run: Import, entry: Entry, fault: Fault) -> ImportReject:
    return ImportReject(
        installation=run.installation,
        source=run,
        row_number=entry.row.number,
        code=fault.code,
        reason=fault.reason,
        row=json.dumps(list(entry.row.values)),
    )


def _follow(installation: Installation, orders: Sequence[Order], now: datetime) -> None:
    """Let purchases end and begin journeys, and end first-order offers, however old they are.

    Of those before everything that journeys look at, journeys need no look.
    """
    offers.follow_orders(installation=installation, ids=[order.pk for order in orders], now=now)
    since = journeys.looks_back_to(installation=installation)
    if since is not None:
        ids = [order.pk for order in orders if order.placed_at >= since]
        journeys.follow_orders(installation=installation, ids=ids, now=now)


def _leave(run: Import, status: ImportStatus, now: datetime, error: str = "") -> ImportStatus:
    run.status, run.error, run.lease_expires_at, run.finished_at = status, error, None, now
    run.save(update_fields=["status", "error", "lease_expires_at", "finished_at"])
    logger.info(
        "Import %s: %s, %s new or changed, %s unchanged, %s refused",
        run.pk,
        status.label,
        run.recorded_count,
        run.unchanged_count,
        run.rejected_count,
    )
    return status


# -- what was refused, and what is kept ----------------------------------------------------------------


def write_rejects(*, run: Import, to: TextIO) -> int:
    """Write the refused rows as CSV, with row number, code and reason after the file's own columns.

    The columns keep their names, so the mended file can be imported as it is. Returns how many.
    """
    writer = csv.writer(to)
    columns = [_harmless(name) for name in run.columns]
    writer.writerow([*columns, "reject_row", "reject_code", "reject_reason"])
    count = 0
    rejects = ImportReject.objects.of(run.installation).filter(source=run).order_by("row_number")
    for reject in rejects.iterator(chunk_size=500):
        values = [_harmless(str(value)) for value in json.loads(reject.row)][: len(run.columns)]
        values += [""] * (len(run.columns) - len(values))
        writer.writerow([*values, reject.row_number, reject.code, reject.reason])
        count += 1
    return count


def _harmless(value: str) -> str:
    """Keep a spreadsheet from taking a text for a formula, and the file in one encoding."""
    value = value.encode("utf-8", "replace").decode()
    is_number = re.fullmatch(r"[+-][\d.,\s]+", value)
    is_formula = value.startswith(("=", "@", "+", "-", "\t", "\r", "\n")) and not is_number
    return f"'{value}" if is_formula else value


def latest(*, installation: Installation, limit: int) -> list[Import]:
    return list(Import.objects.of(installation).order_by("-pk")[:limit])


def reject_counts(*, run: Import) -> Mapping[str, int]:
    """Return how many rows were refused for each reason, most first."""
    rows = (
        ImportReject.objects.of(run.installation)
        .filter(source=run)
        .values("code")
        .annotate(count=Count("pk"))
        .order_by("-count", "code")
    )
    return {row["code"]: row["count"] for row in rows}


def purge(*, now: datetime) -> int:
    """Delete refused rows, and uploads that nobody started, past IMPORT_RETENTION; return how many."""
    old = Import.objects.filter(created_at__lt=now - settings.IMPORT_RETENTION).exclude(
        status__in=OPEN
    )
    for run in old.exclude(path=""):
        stored.delete(run.path)
        Import.objects.of(run.installation).filter(pk=run.pk).update(path="")
    count, _rows = ImportReject.objects.filter(source__in=old).delete()
    return count
