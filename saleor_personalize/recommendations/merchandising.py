"""Making placements and merchandising rules, and seeing what a rule would do before it counts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from saleor_personalize.catalog import lookup
from saleor_personalize.catalog import queries as catalog
from saleor_personalize.catalog.queries import Offer
from saleor_personalize.conf import settings
from saleor_personalize.enums import RuleEffect
from saleor_personalize.events.tracking import is_storable
from saleor_personalize.models import (
    Installation,
    MerchandisingRule,
    Placement,
    Product,
    ProductListing,
    Profile,
)
from saleor_personalize.models.locks import lock
from saleor_personalize.recommendations import placements, rules, selection, service
from saleor_personalize.recommendations.service import Question
from saleor_personalize.saleor_api.nodes import kind_of
from saleor_personalize.segments.definition import Fault, InvalidDefinition

MAX_RULES = 500
MAX_PLACEMENTS = 200
MAX_VALUES = 500
MAX_POSITION = 1_000_000
#: Characters of the conditions of a rule, or of the description of a placement, as JSON.
MAX_LENGTH = 200_000
_KEY = re.compile(r"[a-z0-9][a-z0-9_]{0,59}")
_LOCK = "merchandising"
#: Conditions that hold Saleor's global ids -> of what.
_KINDS = {"product_ids": "Product", "categories": "Category", "collections": "Collection"}
_COLUMNS = (
    "name", "is_active", "effect", "conditions", "placements", "channels", "factor", "slot",
    "starts_at", "ends_at", "position",
)  # fmt: skip


# -- rules ------------------------------------------------------------------------------------------


def create_rule(*, installation: Installation, now: datetime, **values: Any) -> MerchandisingRule:
    """Make a rule; it counts within seconds. Raises InvalidDefinition with every fault.

    `values` are columns of MerchandisingRule; `conditions` holds any of `product_ids`, `categories`
    (with all below), `collections`, `product_types`, `attributes` ([{"attribute", "values"}]), `price`,
    `margin` (percent) and `stock` ({"at_least", "at_most"}), `countries`, `months` (1 to 12) and
    `situation` ({name: [values]}). All that is named must hold.
    """
    with transaction.atomic():
        lock(installation, [_LOCK])
        row = MerchandisingRule(installation=installation, updated_at=now, **values)
        faults = list(_rule_faults(row))
        if MerchandisingRule.objects.of(installation).count() >= MAX_RULES:
            faults.append(Fault("", _("at most %(count)d rules") % {"count": MAX_RULES}))
        if faults:
            raise InvalidDefinition(faults)
        row.save()
    placements.forget()
    return row


def update_rule(*, rule: MerchandisingRule, now: datetime, **values: Any) -> MerchandisingRule:
    """Change what is given. Raises InvalidDefinition, also when somebody deleted the rule meanwhile."""
    with transaction.atomic():
        lock(rule.installation, [_LOCK])
        # What holds together is what is stored by now, not what the caller once read.
        found = rule_of(installation=rule.installation, pk=rule.pk)
        if found is None:
            raise InvalidDefinition([Fault("", _("the rule was deleted meanwhile"))])
        rule = found
        for name, value in values.items():
            setattr(rule, name, value)
        rule.updated_at = now
        if faults := list(_rule_faults(rule)):
            raise InvalidDefinition(faults)
        rule.save(update_fields=[*values, "updated_at"])
    placements.forget()
    return rule


def delete_rule(*, rule: MerchandisingRule) -> None:
    rule.delete()
    placements.forget()


def rules_of(*, installation: Installation) -> list[MerchandisingRule]:
    """Return all rules of a shop in the order in which they count."""
    return list(MerchandisingRule.objects.of(installation).order_by("position", "pk"))


def rule_of(*, installation: Installation, pk: int) -> MerchandisingRule | None:
    rows = MerchandisingRule.objects.of(installation).filter(pk=pk)
    return rows.select_related("installation").first()


def rules_about(
    *, installation: Installation, product_id: str, channels: Sequence[str], now: datetime
) -> list[MerchandisingRule]:
    """Return the rules that speak of a product today in one of these sales channels, as they count.

    Whether it can be bought now does not matter; where the visitor is and what placement it is, neither.
    """
    row = Product.objects.of(installation).filter(saleor_id=product_id, deleted_at=None).first()
    today = [
        rule
        for rule in rules_of(installation=installation)
        if rule.is_active and rules.is_scheduled(rule, now)
    ]
    if row is None or not today:
        return []
    prices = dict(
        ProductListing.objects.of(installation)
        .filter(product_saleor_id=product_id, channel_slug__in=channels)
        .values_list("channel_slug", "price")
    )
    found: dict[int, MerchandisingRule] = {}
    for channel in channels:
        price = prices.get(channel)
        offer = Offer(
            product_id,
            row.category_saleor_id,
            row.product_type,
            None if price is None else float(price),
            brand="",
        )
        facts = catalog.facts(installation=installation, channel_slug=channel, ids=[product_id])
        for rule in today:
            is_here = not rule.channels or channel in rule.channels
            if is_here and rules.rule_of(installation, rule).matches(offer, facts):
                found[rule.pk] = rule
    return sorted(found.values(), key=lambda rule: (rule.position, rule.pk))


def _rule_faults(row: MerchandisingRule) -> Iterator[Fault]:
    if not isinstance(row.name, str) or not 1 <= len(row.name.strip()) <= 200:
        yield Fault("name", _("a name of 1 to 200 characters"))
    if row.effect not in RuleEffect.values:
        yield Fault("effect", _("one of: %(known)s") % {"known": ", ".join(RuleEffect.values)})
    yield from _condition_faults(row.conditions)
    yield from _product_type_faults(row)
    known = placements.shop_of(row.installation).placements
    for key in row.placements or ():
        if key not in known:
            hint = placements.suggestion(str(key), known)
            yield Fault(
                "placements", _("no placement %(key)s. %(hint)s") % {"key": key, "hint": hint}
            )
    # A rule of another effect keeps them, and must be able to.
    if not (
        type(row.factor) in (int, float) and math.isfinite(row.factor) and 1 < row.factor <= 100
    ):
        yield Fault("factor", _("more than 1 and at most 100"))
    if not (type(row.slot) is int and 1 <= row.slot <= settings.MAX_RECOMMENDATIONS):
        yield Fault(
            "slot", _("a place from 1 to %(most)d") % {"most": settings.MAX_RECOMMENDATIONS}
        )
    if not (type(row.position) is int and 0 <= row.position <= MAX_POSITION):
        yield Fault("position", _("a number from 0 to %(most)d") % {"most": MAX_POSITION})
    for path, value in (
        ("name", row.name),
        ("conditions", row.conditions),
        ("placements", row.placements),
        ("channels", row.channels),
    ):
        if not _is_storable(value):
            yield Fault(path, _("too long, or with characters that cannot be stored"))
    is_pin = row.effect == RuleEffect.PIN and isinstance(row.conditions, Mapping)
    if is_pin and not row.conditions.get("product_ids"):
        yield Fault("conditions.product_ids", _("say which products to show in that place"))
    is_exclude = row.effect == RuleEffect.EXCLUDE and isinstance(row.conditions, Mapping)
    if is_exclude and not any(name in row.conditions for name in rules.OF_PRODUCTS):
        # One slip would empty every block of the shop.
        yield Fault("conditions", _("say which products: without that, it would hide all of them"))
    if row.starts_at and row.ends_at and row.ends_at <= row.starts_at:
        yield Fault("ends_at", _("after it starts"))


def _product_type_faults(row: MerchandisingRule) -> Iterator[Fault]:
    """Find names that are of no product: such a rule would never speak of anything."""
    wanted = row.conditions.get("product_types") if isinstance(row.conditions, Mapping) else None
    if not isinstance(wanted, list) or not _are_texts(wanted) or not _is_storable(wanted):
        return
    known = catalog.product_types(installation=row.installation)
    # Before the catalogue is read, nothing is known to be wrong.
    for name in wanted if known else ():
        if name not in known:
            hint = placements.suggestion(name, known)
            yield Fault(
                "conditions.product_types",
                _("no product type %(name)s. %(hint)s") % {"name": name[:60], "hint": hint[:500]},
            )


def _condition_faults(given: Any) -> Iterator[Fault]:
    if not isinstance(given, Mapping):
        yield Fault("conditions", _("an object"))
        return
    for name, value in given.items():
        path = f"conditions.{name}"
        if name in rules.OF_LISTS:
            if not _are_texts(value):
                yield Fault(path, _("a list of 1 to %(most)d texts") % {"most": MAX_VALUES})
            elif kind := _KINDS.get(name):
                for each in value:
                    if kind_of(each) != kind:
                        yield Fault(path, lookup.no_id_of(each, kind))
                        break
        elif name in rules.OF_RANGES:
            yield from _range_faults(path, value)
        elif name == "months":
            is_good = isinstance(value, list) and value
            if not is_good or not all(type(each) is int and 1 <= each <= 12 for each in value):
                yield Fault(path, _("a list of months from 1 to 12"))
        elif name == "attributes":
            if not isinstance(value, list) or not all(
                isinstance(each, Mapping)
                and isinstance(each.get("attribute"), str)
                and _are_texts(each.get("values"))
                for each in value
            ):
                yield Fault(path, _('a list of {"attribute": slug, "values": [texts]}'))
        elif name == "situation":
            if not isinstance(value, Mapping) or not all(map(_are_texts, value.values())):
                yield Fault(path, _("an object of lists of texts"))
        else:
            known = {*rules.OF_PRODUCTS, "countries", "months", "situation"}
            yield Fault(path, placements.suggestion(str(name), known))


def _is_storable(value: Any) -> bool:
    """Tell whether the database can hold what was given: JSON may hold what PostgreSQL does not."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return len(text) <= MAX_LENGTH and "\\u0000" not in text and is_storable(text)


def _are_texts(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and 1 <= len(value) <= MAX_VALUES
        and all(isinstance(each, str) and 1 <= len(each) <= 255 for each in value)
    )


def _range_faults(path: str, value: Any) -> Iterator[Fault]:
    if (
        not isinstance(value, Mapping)
        or not value
        or not value.keys() <= {"at_least", "at_most"}
        or not all(type(each) in (int, float) and math.isfinite(each) for each in value.values())
    ):
        yield Fault(path, _("at_least, at_most, or both, as numbers"))
    elif value.get("at_least", -math.inf) > value.get("at_most", math.inf):
        yield Fault(path, _("at_least is more than at_most"))


# -- placements -------------------------------------------------------------------------------------


def save_placement(
    *, installation: Installation, key: str, entry: Mapping[str, Any], now: datetime
) -> Placement:
    """Make or change a placement: `entry` is as in the settings. Raises InvalidDefinition."""
    faults = [Fault("entry", str(fault)) for fault in placements.faults_of(entry, key=key)]
    if not _is_storable(entry):
        faults.append(Fault("entry", _("too long, or with characters that cannot be stored")))
    if not _KEY.fullmatch(key):
        faults.append(Fault("key", _("1 to 60 small letters, digits or “_”")))
    rows = Placement.objects.of(installation)
    if rows.exclude(key=key).count() >= MAX_PLACEMENTS:
        faults.append(Fault("", _("at most %(count)d placements") % {"count": MAX_PLACEMENTS}))
    if faults:
        raise InvalidDefinition(faults)
    row, _created = rows.update_or_create(
        installation=installation,
        key=key,
        defaults={
            "recommenders": list(entry.get("RECOMMENDERS", ())),
            "fallback": list(entry.get("FALLBACK", ())),
            "options": dict(entry.get("OPTIONS") or {}),
            "arms": list(entry.get("ARMS") or ()),
            "updated_at": now,
        },
    )
    placements.forget()
    return row


def delete_placement(*, installation: Installation, key: str) -> bool:
    """Delete the shop's own placement; the one of the settings answers again. False: there was none."""
    count, _ = Placement.objects.of(installation).filter(key=key).delete()
    placements.forget()
    return bool(count)


# -- preview ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A product of a preview. Places count from 1; None: it is not shown."""

    product_id: str
    name: str
    before: int | None
    after: int | None
    #: The rules that speak of it.
    rules: Sequence[MerchandisingRule]


@dataclass(frozen=True)
class Preview:
    """A list without and with the rules: `after` in its order, then what went out."""

    places: Sequence[Place]
    #: rule -> how many products of the two lists it speaks of
    effects: Sequence[tuple[MerchandisingRule, int]]


def preview(
    *,
    installation: Installation,
    placement: str,
    channel_slug: str,
    now: datetime,
    draft: MerchandisingRule | None = None,
    question: Question | None = None,
    profile: Profile | None = None,
    first: int = 10,
) -> Preview:
    """Return a placement's list without any rule and with all of them, and what each rule did.

    `draft`: a rule as it would be saved, counted instead of the stored one; its schedule is left aside,
    so that a rule of next week can be seen now. Raises InvalidDefinition for a faulty one, UnknownAlias.
    """
    known = service.known_of(
        installation=installation, channel_slug=channel_slug, profile=profile, until=now
    )
    asking = service.asking_of(
        known, placement, question or Question(), now=now, until=now, first=first
    )
    if draft is not None:
        if faults := list(_rule_faults(draft)):
            raise InvalidDefinition(faults)
        draft.starts_at = draft.ends_at = None
        others = [row for row in asking.shop.rules if row.pk != draft.pk]
        ordered = sorted([*others, draft], key=lambda row: (row.position, row.pk or math.inf))
        asking = replace(asking, shop=replace(asking.shop, rules=ordered))
    in_force = rules.in_force(asking)
    before = selection.select(asking, known.models)
    after = selection.select(asking, known.models, in_force)
    offers = {entry.item_id: entry.offer for entry in (*before, *after)}
    facts = rules.facts_for(in_force, asking, list(offers))
    names = catalog.names(installation=installation, ids=offers.keys())
    places_before = {entry.item_id: place for place, entry in enumerate(before, start=1)}
    places_after = {entry.item_id: place for place, entry in enumerate(after, start=1)}
    speaking = {
        id_: [rule.row for rule in in_force if rule.matches(offer, facts)]
        for id_, offer in offers.items()
    }
    order = [*places_after, *(id_ for id_ in places_before if id_ not in places_after)]
    return Preview(
        places=[
            Place(
                id_,
                names.get(id_, ""),
                places_before.get(id_),
                places_after.get(id_),
                speaking[id_],
            )
            for id_ in order
        ],
        effects=[
            (rule.row, sum(rule.row in found for found in speaking.values())) for rule in in_force
        ],
    )


def draft_of(
    *,
    installation: Installation,
    now: datetime,
    rule: MerchandisingRule | None = None,
    **values: Any,
) -> MerchandisingRule:
    """Return a rule as it would be saved, to be previewed; nothing is written."""
    given = {name: getattr(rule, name) for name in _COLUMNS} if rule is not None else {}
    made = MerchandisingRule(
        installation=installation, updated_at=now, **{**given, **values, "is_active": True}
    )
    made.pk = rule.pk if rule is not None else None
    return made
