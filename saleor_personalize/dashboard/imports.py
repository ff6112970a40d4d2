"""The pages of imports: upload, columns, dry run, progress, and what was refused."""

from __future__ import annotations

import tempfile

from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import LIVELY, Context, _poll, _render, _tell
from saleor_personalize.enums import AuditAction
from saleor_personalize.ingestion.imports import operations
from saleor_personalize.ingestion.imports.columns import (
    DECIMALS,
    REQUIRED,
    TITLES,
    UNKNOWN_PRODUCTS,
    Options,
)
from saleor_personalize.ingestion.imports.files import ENCODINGS, UnreadableFile
from saleor_personalize.models import Import
from saleor_personalize.tasks.broker import ask_for

SHOWN = 20
#: What a form sends beside the file itself.
_FORM_BYTES = 100_000


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


def _page(request: HttpRequest, staff: Staff, fault: str = "") -> HttpResponse:
    rows = [
        {"run": run, "state": words.import_state(run)}
        for run in operations.latest(installation=staff.installation, limit=SHOWN)
    ]
    return _render(
        request,
        staff,
        "imports/page.html",
        {
            "imports": rows,
            "fault": fault,
            "can_import": staff.can_import,
            "most": settings.IMPORT_MAX_BYTES,
        },
    )


@staff_view(acts=True, imports=True)
def upload(request: HttpRequest, staff: Staff) -> HttpResponse:
    most = settings.IMPORT_MAX_BYTES
    # Before the body is read: what is too large never reaches the disk.
    is_too_large = int(request.META.get("CONTENT_LENGTH") or 0) > most + _FORM_BYTES
    given = None if is_too_large else request.FILES.get("file")
    if is_too_large or (given is not None and (given.size or 0) > most):
        text = _(
            "The file is too large to be uploaded. Whoever runs this service imports it there."
        )
        return _refused(_page(request, staff, text), text)
    if given is None:
        text = _("Choose a file first.")
        return _refused(_page(request, staff, text), text)
    try:
        run = operations.upload(
            installation=staff.installation,
            name=given.name or "",
            chunks=given.chunks(),
            now=timezone.now(),
        )
    except UnreadableFile as error:
        return _refused(_page(request, staff, str(error)), str(error))
    staff.record(AuditAction.IMPORT_UPLOADED, on=run)
    return _one(request, staff, run)


@staff_view(imports=True)
def one(request: HttpRequest, staff: Staff, import_id: int) -> HttpResponse:
    return _one(request, staff, _found(staff, import_id))


def _one(
    request: HttpRequest, staff: Staff, run: Import, faults: list[str] | None = None
) -> HttpResponse:
    is_open = run.status in operations.OPEN
    counts = operations.reject_counts(run=run)
    return _render(
        request,
        staff,
        "imports/one.html",
        {
            "run": run,
            "state": words.import_state(run),
            "is_open": is_open,
            "faults": faults or [],
            "reasons": [(words.REJECTS.get(code, code), n) for code, n in counts.items()],
            "poll": _poll(request, (run.status, run.position), LIVELY),
            **(_form(staff, run) if run.path and not is_open else {}),
        },
    )


def _form(staff: Staff, run: Import) -> Context:
    """Return the form that says how the file is read, and what it looks like then."""
    options = Options.from_json(run.options)
    try:
        found = operations.preview(run=run)
        unreadable = ""
    except UnreadableFile as error:
        found, unreadable = operations.Preview(run.columns, {}, []), str(error)
    channels = operations.channels_of(staff.installation)
    blank = ("", _("find out"))
    return {
        "unreadable": unreadable,
        "preview": found,
        "columns": [
            {
                "name": ours,
                "title": title,
                "is_required": ours in REQUIRED,
                "choices": [("", "-"), *((name, name) for name in found.columns if name)],
                "value": run.mapping.get(ours, ""),
            }
            for ours, title in TITLES.items()
        ],
        "selects": [
            ("channel", _("Sales channel of rows that name none"), options.channel,
             [("", "-"), *((slug, slug) for slug in channels)]),
            ("decimal", _("Mark of decimals"), options.decimal, [(m, m) for m in DECIMALS]),
            ("encoding", _("Encoding"), options.encoding, [(name, name) for name in ENCODINGS]),
            ("delimiter", _("Delimiter"), options.delimiter,
             [blank, (",", ","), (";", ";"), ("\t", _("Tab")), ("|", "|")]),
            ("unknown_products", _("Products the shop does not know"), options.unknown_products,
             list(zip(UNKNOWN_PRODUCTS, (_("refuse the row"), _("keep by name")), strict=True))),
        ],
        "texts": [
            ("timezone", _("Time zone"), options.timezone, "Europe/Warsaw"),
            ("date_format", _("Format of dates, if unusual"), options.date_format, "%m/%d/%Y %H:%M"),
            ("currency", _("Currency of rows that name none"), options.currency, "EUR"),
        ],
    }  # fmt: skip


@staff_view(acts=True, imports=True)
def describe(request: HttpRequest, staff: Staff, import_id: int) -> HttpResponse:
    """Look at the file as the form says that it is read."""
    run = _found(staff, import_id)
    try:
        _describe(request, run)
    except (UnreadableFile, operations.BadRequest) as error:
        return _refused(_one(request, staff, run, _faults(error)), str(error))
    return _one(request, staff, run)


@staff_view(acts=True, imports=True)
def start(request: HttpRequest, staff: Staff, import_id: int) -> HttpResponse:
    """Let a worker try (`dry`) or import the file as the form says."""
    run = _found(staff, import_id)
    is_dry_run = request.POST.get("action") == "try"
    try:
        if "map-number" in request.POST:
            _describe(request, run)
        run = operations.start(run=run, is_dry_run=is_dry_run, now=timezone.now())
    except (UnreadableFile, operations.BadRequest) as error:
        run.refresh_from_db()
        return _refused(_one(request, staff, run, _faults(error)), str(error))
    staff.record(AuditAction.IMPORT_STARTED, on=run, is_dry_run=is_dry_run)
    ask_for("personalize.run_imports")
    title = _("Trying the import") if is_dry_run else _("Import started")
    return _tell(_one(request, staff, run), "info", title, "")


def _describe(request: HttpRequest, run: Import) -> None:
    given = request.POST
    before = Options.from_json(run.options)
    options = Options(
        encoding=given.get("encoding", before.encoding),
        delimiter=given.get("delimiter", before.delimiter),
        timezone=given.get("timezone", "").strip() or before.timezone,
        date_format=given.get("date_format", "").strip()[:100],
        decimal=given.get("decimal", before.decimal),
        currency=given.get("currency", "").strip().upper(),
        channel=given.get("channel", ""),
        match=before.match,
        unknown_products=given.get("unknown_products", before.unknown_products),
    )
    mapping = {ours: given.get(f"map-{ours}", "") for ours in TITLES}
    operations.describe(
        run=run,
        mapping={ours: theirs for ours, theirs in mapping.items() if theirs},
        options=options,
    )


@staff_view(acts=True, imports=True)
def delete(request: HttpRequest, staff: Staff, import_id: int) -> HttpResponse:
    run = _found(staff, import_id)
    if run.status in operations.OPEN:
        text = _("It is running. Wait until it is done.")
        return _refused(_one(request, staff, run, [text]), text)
    with transaction.atomic():
        staff.record(AuditAction.IMPORT_DELETED, on=run)
        operations.discard(run=run)
    return _tell(
        _page(request, staff), "success", _("The file and its refused rows are deleted"), ""
    )


@staff_view(imports=True)
def rejects(request: HttpRequest, staff: Staff, import_id: int) -> FileResponse:
    """Serve the refused rows as a file; it may hold addresses of customers."""
    run = _found(staff, import_id)
    staff.record(AuditAction.REJECTS_READ, on=run)
    file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115 (the response closes it)
    operations.write_rejects(run=run, to=file)
    file.seek(0)
    return FileResponse(
        # Without the text around it, which would close it when this function ends.
        file.detach(),  # type: ignore[attr-defined,unused-ignore]
        as_attachment=True,
        filename=f"rejects-{run.pk}.csv",
        content_type="text/csv; charset=utf-8",
    )


def _faults(error: Exception) -> list[str]:
    return error.faults if isinstance(error, operations.BadRequest) else [str(error)]


def _refused(response: HttpResponse, text: str) -> HttpResponse:
    return _tell(response, "error", _("Not imported"), text)


def _found(staff: Staff, import_id: int) -> Import:
    found = Import.objects.of(staff.installation).filter(pk=import_id).first()
    if found is None:
        raise Http404
    return found
