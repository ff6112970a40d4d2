"""The pages of merchandising rules: the list, and the editor that shows what a rule would do."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from saleor_personalize.catalog import lookup
from saleor_personalize.dashboard import names, words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.forms import row_id
from saleor_personalize.dashboard.views import Context, _render, _tell
from saleor_personalize.enums import AuditAction, RuleEffect
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.models import MerchandisingRule, SalesChannel
from saleor_personalize.recommendations import merchandising, placements, queries
from saleor_personalize.recommendations.service import Question
from saleor_personalize.segments.definition import Fault, InvalidDefinition

#: Products of the preview.
SHOWN = 10
_LONGEST = 20_000

EFFECTS = {
    RuleEffect.BOOST: gettext_lazy("Show higher up"),
    RuleEffect.BURY: gettext_lazy("Show further down"),
    RuleEffect.PIN: gettext_lazy("Show in a place"),
    RuleEffect.EXCLUDE: gettext_lazy("Never show"),
    RuleEffect.INCLUDE: gettext_lazy("Show nothing else"),
}
#: What may be at fault without a field of its own.
_OF_NO_FIELD = frozenset({"", "conditions", "channels", "position"})
#: Conditions that are lists of texts, one to a line of a field.
LISTS = {
    "product_ids": gettext_lazy("Products (names or global ids, one per line)"),
    "categories": gettext_lazy("Categories, with all below (names or global ids, one per line)"),
    "collections": gettext_lazy("Collections (names or global ids, one per line)"),
    "product_types": gettext_lazy("Product types (names, one per line)"),
    "countries": gettext_lazy("Only in these countries (two letters, one per line)"),
}
#: What of them is found by its name -> the kind of its global id, and what its search is called.
NAMED = {
    "product_ids": ("Product", gettext_lazy("Find a product by name")),
    "categories": ("Category", gettext_lazy("Find a category by name")),
    "collections": ("Collection", gettext_lazy("Find a collection by name")),
}
#: Names of the list of rules, for each thing that a rule speaks of.
TOLD = 3
RANGES = {
    "price": gettext_lazy("Price"),
    "margin": gettext_lazy("Margin in percent, where the cost is known"),
    "stock": gettext_lazy("Pieces in stock"),
}


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


def _page(request: HttpRequest, staff: Staff) -> HttpResponse:
    now = timezone.now()
    rules = merchandising.rules_of(installation=staff.installation)
    known = _names(staff, rules, TOLD)
    rows = [
        {
            "pk": row.pk,
            "name": row.name,
            "effect": EFFECTS[RuleEffect(row.effect)],
            "about": list(_about(row.conditions, known)),
            "placements": ", ".join(map(words.name_of, row.placements)),
            "channels": ", ".join(row.channels),
            "state": _state(row, now),
        }
        for row in rules
    ]
    return _render(request, staff, "rules/page.html", {"rules": rows})


def _names(
    staff: Staff, rules: Iterable[MerchandisingRule], most: int | None = None
) -> dict[str, str]:
    """Return the names of what rules speak of, by global id; of each list the first `most`."""
    wanted: dict[str, set[str]] = {kind: set() for kind, _label in NAMED.values()}
    for row in rules:
        for name, (kind, _label) in NAMED.items():
            wanted[kind].update(row.conditions.get(name, ())[:most])
    return {
        id_: name
        for kind, ids in wanted.items()
        if ids
        for id_, name in lookup.names(installation=staff.installation, kind=kind, ids=ids).items()
    }


def _about(conditions: dict[str, Any], known: dict[str, str]) -> Iterator[str]:
    """Tell which products a rule speaks of: of each list the first names, and how many more there are."""
    for name in (*NAMED, "product_types"):
        texts = [known.get(text, text) for text in conditions.get(name, ())]
        if texts:
            first, more = ", ".join(texts[:TOLD]), len(texts) - TOLD
            yield (
                first
                if more <= 0
                else _("%(names)s and %(count)d more") % {"names": first, "count": more}
            )
    for each in conditions.get("attributes", ()):
        yield f"{each['attribute']}: {', '.join(each['values'])}"


def _state(row: MerchandisingRule, now: datetime) -> str:
    if not row.is_active:
        return _("Switched off")
    if row.ends_at is not None and row.ends_at <= now:
        return _("Over")
    if row.starts_at is not None and row.starts_at > now:
        return _("Waits for its start")
    return _("In force")


@staff_view()
def new(request: HttpRequest, staff: Staff) -> HttpResponse:
    blank = MerchandisingRule(installation=staff.installation, effect=RuleEffect.BOOST)
    return _edit(request, staff, _form_of(staff, blank), None)


@staff_view()
def one(request: HttpRequest, staff: Staff, rule_id: int) -> HttpResponse:
    rule = _found(staff, rule_id)
    return _edit(request, staff, _form_of(staff, rule), rule)


@staff_view(acts=True)
def save(request: HttpRequest, staff: Staff) -> HttpResponse:
    rule, values, faults = _posted(request, staff)
    now = timezone.now()
    if not faults:
        try:
            if rule is None:
                rule = merchandising.create_rule(installation=staff.installation, now=now, **values)
            else:
                merchandising.update_rule(rule=rule, now=now, **values)
        except InvalidDefinition as error:
            faults = list(error.faults)
    if faults:
        response = _edit(request, staff, request.POST.dict(), rule, faults, request.POST)
        return _tell(response, "error", _("Not saved"), _("Mend the fields that are marked."))
    staff.record(AuditAction.RULE_SAVED, on=rule)
    text = _("It counts within seconds.")
    return _tell(_page(request, staff), "success", _("Rule saved"), text)


@staff_view(acts=True)
def delete(request: HttpRequest, staff: Staff, rule_id: int) -> HttpResponse:
    rule = _found(staff, rule_id)
    with transaction.atomic():
        staff.record(AuditAction.RULE_DELETED, on=rule)
        merchandising.delete_rule(rule=rule)
    return _tell(_page(request, staff), "success", _("Rule deleted"), "")


@staff_view(acts=True)
def preview(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Show what the rule in the form does to a list; nothing is saved."""
    rule, values, faults = _posted(request, staff)
    context: Context = {"is_complete": False}
    if not faults:
        now = timezone.now()
        draft = merchandising.draft_of(
            installation=staff.installation, now=now, rule=rule, **values
        )
        try:
            found = merchandising.preview(
                installation=staff.installation,
                draft=draft,
                question=Question(
                    product_id=_previewed(staff, names.asked(request.POST, "preview_product")),
                    country_code=(values["conditions"].get("countries") or [None])[0],
                    situation=tuple(
                        (name, texts[0])
                        for name, texts in values["conditions"].get("situation", {}).items()
                    ),
                ),
                first=SHOWN,
                now=now,
                placement=names.asked(request.POST, "preview_placement") or "home",
                channel_slug=names.asked(request.POST, "preview_channel"),
            )
        except (InvalidDefinition, UnknownAlias):
            pass
        else:
            context = {
                "is_complete": True,
                "places": found.places,
                "count": next((n for row, n in found.effects if row is draft), 0),
                "is_in_force": any(row is draft for row, _n in found.effects),
            }
    return _render(request, staff, "rules/preview.html", context)


def _previewed(staff: Staff, text: str) -> str | None:
    """Return the product that the page of the preview is about; None for a name that is half typed."""
    try:
        return lookup.find(installation=staff.installation, kind="Product", text=text)
    except lookup.NotFoundByName:
        return None


@staff_view()
def choices(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Serve what has the typed text in its name; `of` says in which field it was typed."""
    field = request.GET.get("of", "")
    kind = NAMED[field][0] if field in NAMED else "Product"
    typed_in = f"pick_{field}" if field in NAMED else "preview_product"
    return names.offer(request, staff, kind=kind, field=typed_in)


@staff_view(posts=True)
def pick(request: HttpRequest, staff: Staff, field: str) -> HttpResponse:
    """Add what was found by its name to the lines of a field."""
    if field not in NAMED:
        raise Http404
    lines = _lines(request.POST, field)
    text, fault = names.asked(request.POST, f"pick_{field}"), ""
    if text:
        try:
            id_ = lookup.find(installation=staff.installation, kind=NAMED[field][0], text=text)
        except lookup.NotFoundByName as error:
            fault = str(error)
        else:
            lines.append(_written(staff, field, [id_])[0])
            text = ""
    shown = _list(field, "\n".join(dict.fromkeys(lines)), fault, picking=text)
    response = _render(request, staff, "rules/list.html", {"list": shown})
    if not fault:
        # What it would do now shows beside it.
        response["HX-Trigger-After-Swap"] = "rule-changed"
    return response


def _written(staff: Staff, field: str, ids: Sequence[str]) -> list[str]:
    """Return ids as the lines of a field show them: by name where there is one of that name."""
    if field not in NAMED:
        return list(ids)
    known = lookup.unmistakable(installation=staff.installation, kind=NAMED[field][0], ids=ids)
    return [known.get(id_, id_) for id_ in ids]


def _list(field: str, value: str, fault: str | None, *, picking: str = "") -> Context:
    return {
        "name": field,
        "label": LISTS[field],
        "value": value,
        "fault": fault,
        "find": NAMED[field][1] if field in NAMED else "",
        "picking": picking,
    }


# -- the form ---------------------------------------------------------------------------------------


def _form_of(staff: Staff, rule: MerchandisingRule) -> dict[str, str]:
    """Return a rule as the fields of the form hold it."""
    held = rule.conditions
    form = {
        "name": rule.name,
        "effect": str(rule.effect),
        "factor": f"{rule.factor:g}",
        "slot": str(rule.slot),
        "position": str(rule.position),
        "starts_at": _local(rule.starts_at),
        "ends_at": _local(rule.ends_at),
        "months": ", ".join(map(str, held.get("months", ()))),
        "attributes": "\n".join(
            f"{each['attribute']}: {', '.join(each['values'])}"
            for each in held.get("attributes", ())
        ),
        "situation": "\n".join(
            f"{name}: {', '.join(values)}" for name, values in held.get("situation", {}).items()
        ),
        **{name: "\n".join(_written(staff, name, held.get(name, ()))) for name in LISTS},
    }
    for name in RANGES:
        for limit in ("at_least", "at_most"):
            value = held.get(name, {}).get(limit)
            form[f"{name}_{limit}"] = "" if value is None else f"{value:g}"
    if rule.is_active:
        form["is_active"] = "on"
    form["placements"] = "\n".join(rule.placements)
    form["channels"] = "\n".join(rule.channels)
    return form


def _local(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%dT%H:%M")


def _posted(
    request: HttpRequest, staff: Staff
) -> tuple[MerchandisingRule | None, dict[str, Any], list[Fault]]:
    """Return the rule that is edited, the values of the form, and what cannot be read in it."""
    post = request.POST
    given = row_id(post.get("rule", ""))
    rule = _found(staff, given) if given is not None else None
    faults: list[Fault] = []
    conditions: dict[str, Any] = {}
    for name in LISTS:
        if lines := _lines(post, name):
            conditions[name] = _read(staff, name, lines, faults)
    if pairs := _pairs(post, "attributes", faults):
        conditions["attributes"] = [{"attribute": name, "values": v} for name, v in pairs]
    if pairs := _pairs(post, "situation", faults):
        conditions["situation"] = dict(pairs)
    if months := post.get("months", "").replace(",", " ").split():
        conditions["months"] = [int(m) if m.isdecimal() and len(m) < 3 else m for m in months]
    for name in RANGES:
        limits = {
            limit: value
            for limit in ("at_least", "at_most")
            if (value := _number(post, f"{name}_{limit}", faults)) is not None
        }
        if limits:
            conditions[name] = limits
    values: dict[str, Any] = {
        "name": post.get("name", "")[:_LONGEST],
        "effect": post.get("effect", ""),
        "is_active": "is_active" in post,
        "conditions": conditions,
        "placements": post.getlist("placements"),
        "channels": post.getlist("channels"),
    }
    for name, whole in (("factor", False), ("slot", True), ("position", True)):
        number = _number(post, name, faults)
        if number is not None:
            values[name] = int(number) if whole else number
    for name in ("starts_at", "ends_at"):
        values[name] = _moment(post, name, faults)
    return rule, values, faults


def _lines(post: QueryDict, name: str) -> list[str]:
    return [line.strip() for line in post.get(name, "")[:_LONGEST].splitlines() if line.strip()]


def _read(staff: Staff, name: str, lines: list[str], faults: list[Fault]) -> list[str]:
    """Return the lines of a field as a rule holds them."""
    if name == "countries":
        return [line.upper() for line in lines]
    if name not in NAMED or any("\x00" in line for line in lines):
        # What cannot be stored is told of the whole.
        return lines
    kind = NAMED[name][0]
    found = []
    for line in lines:
        try:
            found.append(lookup.find(installation=staff.installation, kind=kind, text=line))
        except lookup.NotFoundByName as error:
            faults.append(Fault(f"conditions.{name}", str(error)))
            return lines
    return found


def _pairs(post: QueryDict, name: str, faults: list[Fault]) -> list[tuple[str, list[str]]]:
    found = []
    for line in _lines(post, name):
        key, colon, values = line.partition(":")
        texts = [value.strip() for value in values.split(",") if value.strip()]
        if not colon or not key.strip() or not texts:
            faults.append(
                Fault(f"conditions.{name}", _("write “name: value, value”, one to a line"))
            )
            return []
        found.append((key.strip(), texts))
    return found


def _number(post: QueryDict, name: str, faults: list[Fault]) -> float | None:
    text = post.get(name, "").strip().replace(",", ".")[:30]
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        faults.append(Fault(name, _("a number")))
        return None
    return number


def _moment(post: QueryDict, name: str, faults: list[Fault]) -> datetime | None:
    text = post.get(name, "").strip()
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        faults.append(Fault(name, _("a date and time")))
        return None


def _edit(
    request: HttpRequest,
    staff: Staff,
    form: dict[str, str],
    rule: MerchandisingRule | None,
    faults: list[Fault] | None = None,
    post: QueryDict | None = None,
) -> HttpResponse:
    told: dict[str, str] = {}
    for fault in faults or []:
        field = fault.path.removeprefix("conditions.")
        told.setdefault("whole" if field in _OF_NO_FIELD else field, fault.message)
    for key in ("placements", "channels"):
        chosen = post.getlist(key) if post is not None else form.get(key, "").splitlines()
        form[f"{key}_chosen"] = json.dumps(chosen)
    shop = placements.shop_of(staff.installation)
    channels = SalesChannel.objects.of(staff.installation).filter(deleted_at=None)
    slugs = queries.busiest_first(
        installation=staff.installation, slugs=channels.values_list("slug", flat=True)
    )
    chosen_placements = json.loads(form["placements_chosen"])
    chosen_channels = json.loads(form["channels_chosen"])
    context: Context = {
        "rule": rule,
        "form": form,
        "faults": told,
        "effects": [(effect.value, label) for effect, label in EFFECTS.items()],
        "placements": [
            (key, words.name_of(key), key in chosen_placements) for key in sorted(shop.placements)
        ],
        "channels": [(slug, slug in chosen_channels) for slug in slugs],
        "lists": [_list(name, form.get(name, ""), told.get(name)) for name in LISTS],
        "ranges": [
            {
                "name": name,
                "label": label,
                "at_least": form.get(f"{name}_at_least", ""),
                "at_most": form.get(f"{name}_at_most", ""),
                "fault": told.get(name)
                or told.get(f"{name}_at_least")
                or told.get(f"{name}_at_most"),
            }
            for name, label in RANGES.items()
        ],
    }
    return _render(request, staff, "rules/editor.html", context)


def _found(staff: Staff, rule_id: int) -> MerchandisingRule:
    found = merchandising.rule_of(installation=staff.installation, pk=rule_id)
    if found is None:
        raise Http404
    return found
