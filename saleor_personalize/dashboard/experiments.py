"""The page "Experiments": what hold-outs, journeys and placements bring, how sure that is, and ending one."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import Context, _render, _tell
from saleor_personalize.dashboard.words import State, journey_name, name_of
from saleor_personalize.enums import ArmVerdict, AuditAction, ExperimentKind
from saleor_personalize.exceptions import ExperimentRefused
from saleor_personalize.experiments import operations, queries, results
from saleor_personalize.experiments.results import ArmFigures, Report
from saleor_personalize.experiments.statistics import MIN_BUYERS, Comparison
from saleor_personalize.messaging.rendering import format_money
from saleor_personalize.models import Experiment

#: Size of the drawing of an interval in its own units.
_WIDTH, _HEIGHT, _EDGE = 300, 24, 8


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    rows = queries.newest(installation=staff.installation)
    holdouts = [row for row in rows if row.kind == ExperimentKind.HOLDOUT]
    holdouts.sort(key=lambda row: row.key != operations.ALL_JOURNEYS)
    is_over = any(row.key == operations.ALL_JOURNEYS and row.winner for row in holdouts)
    return _render(
        request,
        staff,
        "experiments/page.html",
        {
            "holdouts": [_summary(row) for row in holdouts],
            "others": [_summary(row) for row in rows if row not in holdouts],
            "percent": 0 if is_over else settings.HOLDOUT_PERCENT,
            "is_over": is_over,
            "journey_percent": settings.JOURNEY_HOLDOUT_PERCENT,
        },
    )


@staff_view()
def one(request: HttpRequest, staff: Staff, experiment_id: int) -> HttpResponse:
    return _one(request, staff, _found(staff, experiment_id))


@staff_view()
def ask_decide(request: HttpRequest, staff: Staff, experiment_id: int) -> HttpResponse:
    """Ask once more: nobody takes part any more, and it cannot be taken back."""
    row = _found(staff, experiment_id)
    arm = request.GET.get("arm", "")
    if arm not in row.arms:
        raise Http404
    context = {"row": row, "title": title_of(row), "arm": arm, "arm_name": _name(arm)}
    return _render(request, staff, "experiments/decide.html", context)


@staff_view(acts=True, sends=True)
def decide(request: HttpRequest, staff: Staff, experiment_id: int) -> HttpResponse:
    row = _found(staff, experiment_id)
    winner = request.POST.get("arm", "")
    try:
        operations.decide(
            experiment=row, winner=winner, decided_by=staff.user_id, now=timezone.now()
        )
    except ExperimentRefused as refusal:
        row.refresh_from_db()
        return _tell(_one(request, staff, row), "error", _("Not ended"), _refused(refusal.code))
    staff.record(AuditAction.EXPERIMENT_STOPPED, on=row, winner=winner)
    return _tell(
        _one(request, staff, row),
        "success",
        _("The experiment is over"),
        _("Everybody gets “%(arm)s” from now on.") % {"arm": _name(winner)},
    )


def _found(staff: Staff, experiment_id: int) -> Experiment:
    row = Experiment.objects.of(staff.installation).filter(pk=experiment_id).first()
    if row is None:
        raise Http404
    return row


def _one(request: HttpRequest, staff: Staff, row: Experiment) -> HttpResponse:
    report = results.report(experiment=row)
    context = {
        **_summary(row),
        "people": [(_name(arm), count) for arm, count in report.people.items()] if report else [],
        "currencies": [
            (currency, _table(currency, figures)) for currency, figures in _by_weight(report)
        ],
        "days": settings.EXPERIMENT_WINDOW.days,
        "choices": [] if row.winner else [(arm, _name(arm)) for arm in _possible(row)],
        "can_end": staff.can_send,
    }
    return _render(request, staff, "experiments/one.html", context)


def _possible(row: Experiment) -> list[str]:
    is_holdout = row.kind == ExperimentKind.HOLDOUT
    return [arm for arm in row.arms if not (is_holdout and arm == operations.HELD_OUT)]


# -- in words ---------------------------------------------------------------------------------------


def title_of(row: Experiment) -> str:
    """Return what an experiment is called on pages."""
    name = row.key.partition(":")[2]
    if row.key == operations.ALL_JOURNEYS:
        return _("Hold-out of all journeys")
    if row.kind == ExperimentKind.HOLDOUT:
        return _("Hold-out of the journey “%(journey)s”") % {"journey": journey_name(name)}
    if row.kind == ExperimentKind.PLACEMENT:
        return _("Recommendations in “%(placement)s”") % {"placement": name_of(name)}
    return _("“%(experiment)s” in journeys") % {"experiment": row.key}


def _name(arm: str) -> str:
    return {
        operations.HELD_OUT: _("left alone"),
        operations.WRITTEN_TO: _("written to"),
    }.get(arm, arm)


def _summary(row: Experiment) -> Context:
    report = results.report(experiment=row)
    figures = _by_weight(report)
    return {
        "row": row,
        "title": title_of(row),
        "state": _state(row),
        "winner": _name(row.winner),
        "count": sum(report.people.values()) if report else 0,
        "sentences": [
            _sentence(each.arm, figures[0][1][0].arm, each.comparison, figures[0][0])
            for each in (figures[0][1] if figures else ())
            if each.comparison is not None
        ],
    }


def _state(row: Experiment) -> State:
    return State("", _("Over")) if row.winner else State("busy", _("Running"))


def _by_weight(report: Report | None) -> list[tuple[str, Sequence[ArmFigures]]]:
    """Return the currencies of a report, the one that most orders were paid in first."""
    found = list(report.currencies.items()) if report else []
    return sorted(found, key=lambda pair: -sum(arm.orders for arm in pair[1]))


def _sentence(arm: str, base: str, comparison: Comparison, currency: str) -> str:
    """Say what is known of an arm beside the first one."""
    words = {"arm": _name(arm), "base": _name(base)}
    if comparison.low is None or comparison.high is None:
        needed = {"people": settings.EXPERIMENT_MIN_PEOPLE, "buyers": MIN_BUYERS}
        return _(
            "Too few to compare “%(arm)s” with “%(base)s”: each side needs %(people)s people and "
            "%(buyers)s of them who bought."
        ) % {**words, **needed}
    low, high = comparison.low, comparison.high
    if comparison.verdict == ArmVerdict.WORSE:
        low, high = -high, -low
    words |= {"low": _money(low, currency), "high": _money(high, currency)}
    match comparison.verdict:
        case ArmVerdict.BETTER:
            text = _("“%(arm)s” brings more than “%(base)s”: %(low)s to %(high)s from each person.")
        case ArmVerdict.WORSE:
            text = _("“%(arm)s” brings less than “%(base)s”: %(low)s to %(high)s from each person.")
        case _:
            text = _(
                "No difference between “%(arm)s” and “%(base)s” is seen that could not be chance: it "
                "lies between %(low)s and %(high)s from each person."
            )
    return text % words


def _refused(code: str) -> str:
    return {
        "holds_out_all": _("To write to nobody, pause the journeys instead."),
        "is_over": _("It is over already."),
    }.get(code, _("It has no such side any more."))


# -- figures ----------------------------------------------------------------------------------------


def _table(currency: str, figures: Sequence[ArmFigures]) -> list[dict[str, Any]]:
    reach = max(
        (
            abs(end)
            for arm in figures
            if arm.comparison is not None
            for end in (arm.comparison.low, arm.comparison.high)
            if end is not None
        ),
        default=0.0,
    )
    return [_row(currency, arm, reach) for arm in figures]


def _row(currency: str, arm: ArmFigures, reach: float) -> dict[str, Any]:
    compared = arm.comparison
    shown: dict[str, Any] = {
        "name": _name(arm.arm),
        "people": arm.people,
        "buyers": arm.buyers,
        "orders": arm.orders,
        "revenue": _money(float(arm.revenue), currency),
        "per_person": _money(arm.per_person, currency) if arm.people else "",
        "is_base": compared is None,
    }
    if compared is not None:
        shown["difference"] = _money(compared.difference, currency)
    if compared is not None and compared.low is not None and compared.high is not None:
        shown["low"], shown["high"] = (
            _money(compared.low, currency),
            _money(compared.high, currency),
        )
        shown["drawing"] = _drawing(compared.low, compared.difference, compared.high, reach)
    return shown


def _drawing(low: float, middle: float, high: float, reach: float) -> dict[str, Any]:
    """Return where the ends, the middle and 0 of an interval stand."""
    scale = (_WIDTH / 2 - _EDGE) / (reach or 1.0)

    def at(value: float) -> float:
        return round(_WIDTH / 2 + value * scale, 1)

    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "y": _HEIGHT / 2,
        "nothing": _WIDTH / 2,
        "low": at(low),
        "middle": at(middle),
        "high": at(high),
    }


def _money(amount: float, currency: str) -> str:
    language = translation.get_language() or "en"
    return format_money(Decimal(str(round(amount, 2))), currency, language)
