"""The page "First steps": from the installation to the first live journey. Nothing is sent before "Go live"."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from saleor_personalize.dashboard import step_words, words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import CALM, LIVELY, Context, _poll, _render, _tell
from saleor_personalize.dashboard.words import State
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import dry_runs, operations
from saleor_personalize.models import DryRun, Journey
from saleor_personalize.onboarding import operations as onboarding
from saleor_personalize.onboarding.queries import FirstSteps, Step, StepKey, first_steps
from saleor_personalize.onboarding.recipes import RECIPES
from saleor_personalize.tasks.broker import ask_for


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


def _page(request: HttpRequest, staff: Staff) -> HttpResponse:
    found = first_steps(installation=staff.installation)
    context = {
        "steps": [_step(step, found) for step in found.steps],
        "done": found.done,
        "total": len(found.steps),
        "is_live": found.is_live,
        "chosen": "" if found.is_recipe_live else words.journey_name(found.recipe),
        **_recipes(request, staff, found),
    }
    return _render(request, staff, "first_steps/page.html", context)


def _step(step: Step, found: FirstSteps) -> dict[str, Any]:
    told = step_words.STEPS[step.key]
    needs_recipe = told.page == "dashboard-journey"
    return {
        "key": step.key,
        "title": told.title,
        "why": told.why,
        "go": told.go,
        "url": _url(told.page, found.recipe) if found.recipe or not needs_recipe else "",
        "state": _state(step, found),
        "done_at": step.done_at if step.is_done else None,
        "is_next": found.next is not None and found.next.key == step.key,
    }


def _url(page: str, recipe: str) -> str:
    if not page:
        return ""
    if page == "dashboard-previews" and recipe:
        return f"{reverse(page)}?{urlencode({'journey': recipe})}"
    return reverse(page, args=[recipe] if page == "dashboard-journey" else [])


def _state(step: Step, found: FirstSteps) -> State:
    if step.is_done:
        return State("good", _("Done"))
    if step.key == StepKey.CHECKED and found.obstacles:
        title = ngettext("%(count)d thing to mend", "%(count)d things to mend", found.obstacles)
        return State("warn", title % {"count": found.obstacles})
    if step.is_optional:
        return State("", _("Recommended"))
    return State("busy", _("Open"))


# -- recipes -----------------------------------------------------------------------------------------


@staff_view()
def recipes(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Serve the recipes again while their numbers are worked out."""
    found = first_steps(installation=staff.installation)
    return _render(request, staff, "first_steps/recipes.html", _recipes(request, staff, found))


@staff_view(acts=True)
def choose(request: HttpRequest, staff: Staff) -> HttpResponse:
    recipe = request.POST.get("recipe", "")
    try:
        onboarding.choose(installation=staff.installation, recipe=recipe, now=timezone.now())
    except UnknownAlias:
        raise Http404 from None
    return _tell(
        _page(request, staff),
        "success",
        _("“%(name)s” is chosen") % {"name": words.journey_name(recipe)},
        _("Nothing is sent before it goes live."),
    )


@staff_view(acts=True)
def estimate(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Ask for a dry run of every recipe: how much each would send in the next days."""
    for key in RECIPES:
        journey = operations.ensure_journey(installation=staff.installation, key=key)
        if journey.published is not None:
            dry_runs.ask(version=journey.published, now=timezone.now())
    ask_for("personalize.make_dry_runs")
    found = first_steps(installation=staff.installation)
    return _render(request, staff, "first_steps/recipes.html", _recipes(request, staff, found))


def _recipes(request: HttpRequest, staff: Staff, found: FirstSteps) -> Context:
    live = set(
        Journey.objects.of(staff.installation)
        .filter(is_live=True, key__in=RECIPES)
        .values_list("key", flat=True)
    )
    runs = {
        run.journey.key: run
        for run in DryRun.objects.of(staff.installation)
        .filter(journey__key__in=RECIPES)
        .select_related("journey")
    }
    is_open = any(run.status in dry_runs.OPEN for run in runs.values())
    return {
        "recipes": [
            {
                "key": key,
                "name": words.journey_name(key),
                "what": step_words.RECIPES[key].what,
                "whom": step_words.RECIPES[key].whom,
                "is_chosen": key == found.recipe,
                "is_live": key in live,
                "volume": words.volume(runs.get(key)),
            }
            for key in RECIPES
        ],
        "is_estimating": is_open,
        "recipes_poll": _poll(
            request, [(run.pk, run.status) for run in runs.values()], LIVELY if is_open else CALM
        ),
    }
