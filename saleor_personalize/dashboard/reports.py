"""The page of models: how training goes, how good each version is, and the way back."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import CALM, LIVELY, Context, _poll, _render, _tell
from saleor_personalize.enums import AuditAction, TrainingReason
from saleor_personalize.models import TrainedModel, Training
from saleor_personalize.recommendations import queries, reports, training, versions
from saleor_personalize.tasks.broker import ask_for

#: Versions that the table lists, and those that the chart shows.
LISTED, CHARTED = 12, 30
#: Size of the chart in its own units.
_WIDTH, _HEIGHT, _EDGE = 600, 120, 10


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


def _page(request: HttpRequest, staff: Staff, channel_slug: str = "") -> HttpResponse:
    slug = channel_slug or request.GET.get("channel", "")
    context = {**_training(request, staff), **_report(request, staff, slug)}
    return _render(request, staff, "models/page.html", context)


# -- training ----------------------------------------------------------------------------------------


@staff_view()
def progress(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _render(request, staff, "models/training.html", _training(request, staff))


@staff_view(acts=True)
def train(request: HttpRequest, staff: Staff) -> HttpResponse:
    training.request(
        installation=staff.installation, reason=TrainingReason.ASKED, now=timezone.now()
    )
    staff.record(AuditAction.TRAINING_ASKED)
    ask_for("personalize.train")
    response = _render(request, staff, "models/training.html", _training(request, staff))
    return _tell(
        response, "info", _("Training starts"), _("What answers now stays until it is done.")
    )


def _training(request: HttpRequest, staff: Staff) -> Context:
    now = timezone.now()
    last = queries.latest_training(installation=staff.installation)
    is_open = last is not None and last.status in training.OPEN
    return {
        "training": last,
        "training_state": words.training_state(last, is_late=queries.is_waiting_long(last, now)),
        "step": _step(last) if is_open else "",
        "percent": round(100 * last.progress) if last is not None else 0,
        "is_training": is_open,
        "training_poll": _poll(request, _figures(last), LIVELY if is_open else CALM),
    }


def _step(row: Training | None) -> str:
    if row is None or not row.channel_slug:
        return ""
    return f"{row.channel_slug}: {words.training_step(row.step)}"


def _figures(row: Training | None) -> object:
    return row and (row.pk, row.status, row.progress, row.step)


# -- report ------------------------------------------------------------------------------------------


def _report(request: HttpRequest, staff: Staff, slug: str) -> Context:
    models = TrainedModel.objects.of(staff.installation)
    slugs = queries.busiest_first(
        installation=staff.installation, slugs=models.values_list("channel_slug", flat=True)
    )
    if slug not in slugs:
        slug = slugs[0] if slugs else ""
    rows = list(models.filter(channel_slug=slug).order_by("-trained_at", "-pk")[:CHARTED])
    published = models.filter(channel_slug=slug, is_published=True).first()
    if published is not None and published not in rows:
        rows.append(published)
    chosen = _chosen(request, rows) or published or (rows[0] if rows else None)
    report = reports.read(chosen.metrics) if chosen is not None else None
    return {
        "channels": slugs,
        "channel": slug,
        "published": published,
        "fault": published.fault if published is not None else "",
        "chosen": chosen,
        "report": report,
        "measured": [_measured(row) for row in report.rows] if report is not None else [],
        "in_short": [_in_short(row) for row in reports.best_used(report)] if report else [],
        "versions": [_version(row) for row in rows[:LISTED]],
        "chart": _chart(list(reversed(rows))),
    }


def _chosen(request: HttpRequest, rows: list[TrainedModel]) -> TrainedModel | None:
    wanted = request.GET.get("version", "")
    return next((row for row in rows if row.version == wanted), None)


def _version(row: TrainedModel) -> dict[str, Any]:
    times = reports.lift(row.metrics)
    return {
        "row": row,
        "lift": None if times is None else round(times, 2),
        "state": words.version_state(row),
        "can_answer": bool(row.path) and not row.is_published,
    }


def _measured(row: reports.Measured) -> dict[str, Any]:
    return {
        "name": words.RECOMMENDERS.get(row.alias, row.alias)
        if row.weights is None
        else words.BLENDS.get(row.alias, row.alias),
        "question": words.QUESTIONS.get(row.question, row.question),
        "parts": [
            (words.RECOMMENDERS.get(alias, alias), weight)
            for alias, weight in (row.weights or {}).items()
        ],
        "figures": row.figures,
        "popularity": row.popularity,
        "state": words.recommender_state(row),
    }


def _in_short(row: reports.Measured) -> str:
    """Return how often an answer holds what somebody turned to, beside popularity."""
    ours, theirs = row.figures, row.popularity
    if ours is None or theirs is None:
        return ""
    text = _(
        "%(question)s: in %(ours)d of 100 cases it was among the first %(count)d that would have been shown; "
        "of what is popular alone, in %(theirs)d."
    )
    return text % {
        "question": words.QUESTIONS.get(row.question, row.question),
        "ours": round(100 * ours.hit_rate),
        "theirs": round(100 * theirs.hit_rate),
        "count": ours.k,
    }


def _chart(rows: list[TrainedModel]) -> dict[str, Any] | None:
    """Return the points of a line over versions, oldest first; None where there is nothing to compare."""
    found = [(row, times) for row in rows if (times := reports.lift(row.metrics)) is not None]
    if len(found) < 2:
        return None
    top = max([times for _, times in found] + [1.0])
    step = (_WIDTH - 2 * _EDGE) / (len(found) - 1)

    def height(times: float) -> float:
        return round(_HEIGHT - _EDGE - times / top * (_HEIGHT - 2 * _EDGE), 1)

    points = [
        {"x": round(_EDGE + at * step, 1), "y": height(times), "is_published": row.is_published}
        for at, (row, times) in enumerate(found)
    ]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "points": points,
        "line": " ".join(f"{point['x']},{point['y']}" for point in points),
        "base": height(1.0),
        "first": round(found[0][1], 2),
        "last": round(found[-1][1], 2),
        "count": len(found),
    }


@staff_view(acts=True)
def answer_with(request: HttpRequest, staff: Staff, model_id: int) -> HttpResponse:
    """Have an earlier (or held back) version answer."""
    row = TrainedModel.objects.of(staff.installation).filter(pk=model_id).exclude(path="").first()
    if row is None:
        raise Http404
    changes = versions.roll_back(
        installation=staff.installation,
        now=timezone.now(),
        channel_slug=row.channel_slug,
        version=row.version,
    )
    response = _page(request, staff, channel_slug=row.channel_slug)
    if not changes:
        return _tell(response, "info", _("Nothing changed"), _("This version answers already."))
    staff.record(AuditAction.MODEL_CHOSEN, on=row, channel=row.channel_slug)
    return _tell(
        response,
        "success",
        _("This version answers now"),
        _("It stays for a week, whatever is trained meanwhile."),
    )
