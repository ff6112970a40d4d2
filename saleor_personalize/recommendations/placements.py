"""The placements of a shop: those of the settings, and its own rows, which override them."""

from __future__ import annotations

import difflib
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.models import Installation, MerchandisingRule
from saleor_personalize.models import Placement as PlacementRow

#: Read live from the catalogue and from what the person did; these need no training.
SOURCES = (
    "curated",
    "for_you",
    "like_viewed",
    "viewed",
    "left_behind",
    "due_again",
    "favourite_category",
    "best_sellers",
    "trending",
    "search",
    "catalogue",
)
#: How long a server goes on with the placements and rules it knows.
SECONDS = 5.0


@dataclass(frozen=True)
class Options:
    """What is asked of the products of a placement. The constraints bind all but the fallback."""

    #: At most so many of one category, brand, product type; more only if nothing else is left.
    max_per_category: int | None = None
    max_per_brand: int | None = None
    max_per_product_type: int | None = None
    #: What was shown often and never clicked sinks (ROTATE_AFTER).
    is_rotated: bool = True
    #: Pages follow each other without a gap or a repetition.
    is_paged: bool = False
    #: Constraint: the product type of the product of the page.
    same_type: bool = False
    #: Constraint: not the category of the product of the page.
    other_category: bool = False
    #: Constraint: the category that is asked for, or one below it.
    in_category: bool = False
    #: Constraint: shares of the price of the product of the page.
    price_from: float | None = None
    price_to: float | None = None
    #: Slugs of the attributes whose references are shown first; empty: those that no other placement names.
    curated: tuple[str, ...] = ()
    #: How far best sellers and trends look back.
    window_days: int = 30


@dataclass(frozen=True)
class PlacementArm:
    """One side of a placement's experiment: whom it asks instead."""

    name: str
    weight: int
    recommenders: tuple[str, ...]
    fallback: tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """A named spot: whom it asks, first choice first, and what may be shown there.

    With `arms` people are asked about differently, each always the same way; `arm`: which one this is.
    """

    key: str
    recommenders: tuple[str, ...]
    fallback: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    arms: tuple[PlacementArm, ...] = ()
    arm: str = ""

    def in_arm(self, name: str) -> Placement:
        """Return the placement as those in an arm get it."""
        (arm,) = (each for each in self.arms if each.name == name)
        return replace(self, recommenders=arm.recommenders, fallback=arm.fallback, arm=name)

    @property
    def is_of_message(self) -> bool:
        return is_of_message(self.key)


def is_of_message(key: str) -> bool:
    """Tell whether a placement stands in a message: it is called after a delivery channel ("email_more")."""
    return any(
        key == channel or key.startswith(f"{channel}_") for channel in DeliveryChannel.values
    )


def read(key: str, entry: Any) -> Placement:
    """Return the placement that a setting or a row describes. ValueError says what is wrong."""
    faults = list(faults_of(entry, key=key))
    if faults:
        raise ValueError(f"Placement {key!r}: {' '.join(faults)}")
    if not isinstance(entry, Mapping):
        return Placement(key, tuple(entry))
    given = dict(entry.get("OPTIONS") or {})
    if "curated" in given:
        given["curated"] = tuple(given["curated"])
    own = {"RECOMMENDERS": entry.get("RECOMMENDERS", ()), "FALLBACK": entry.get("FALLBACK", ())}
    return Placement(
        key,
        tuple(own["RECOMMENDERS"]),
        tuple(own["FALLBACK"]),
        Options(**given),
        tuple(_arm({**own, **arm}) for arm in entry.get("ARMS") or ()),
    )


def _arm(given: Mapping[str, Any]) -> PlacementArm:
    return PlacementArm(
        given["NAME"],
        given.get("WEIGHT", 1),
        tuple(given["RECOMMENDERS"]),
        tuple(given["FALLBACK"]),
    )


class UnknownRecommender(str):
    """That a placement names a recommender that there is not."""

    __slots__ = ("alias", "hint")

    alias: str
    hint: str

    def __new__(cls, alias: str, hint: str) -> UnknownRecommender:
        made = super().__new__(cls, f"{alias!r} is no recommender. {hint}")
        made.alias, made.hint = alias, hint
        return made


def faults_of(entry: Any, *, key: str = "") -> Iterator[str]:
    """Find what is wrong with a description of a placement, in words."""
    if isinstance(entry, Mapping):
        for name in sorted(
            map(str, entry.keys() - {"RECOMMENDERS", "FALLBACK", "OPTIONS", "ARMS"})
        ):
            yield f"{name!r} is none of RECOMMENDERS, FALLBACK, OPTIONS and ARMS."
        lists = [entry.get("RECOMMENDERS", ()), entry.get("FALLBACK", ())]
        yield from _option_faults(entry.get("OPTIONS") or {})
        arms = entry.get("ARMS") or ()
        yield from _arm_faults(arms)
        if arms and is_of_message(key):
            yield "a placement of messages has no ARMS: split the journey by experiment."
        if isinstance(arms, list | tuple):
            given = [arm for arm in arms if isinstance(arm, Mapping)]
            lists += [arm[name] for arm in given for name in _LISTS if name in arm]
    else:
        lists = [entry]
    if not all(isinstance(each, list | tuple) for each in lists) or not lists[0]:
        yield "it needs a list of recommenders."
        return
    known = {*settings.RECOMMENDERS, *SOURCES, *OPTIONAL}
    for alias in (alias for each in lists for alias in each):
        if alias not in known:
            yield UnknownRecommender(str(alias), suggestion(str(alias), known))


_LISTS = ("RECOMMENDERS", "FALLBACK")
_ARM_NAME = re.compile(r"[a-z][a-z0-9_]{0,58}")


def _arm_faults(arms: Any) -> Iterator[str]:
    if not isinstance(arms, list | tuple) or not all(isinstance(arm, Mapping) for arm in arms):
        yield "ARMS is no list of dicts."
        return
    for arm in arms:
        for name in sorted(map(str, arm.keys() - {"NAME", "WEIGHT", *_LISTS})):
            yield f"{name!r} of an arm is none of NAME, WEIGHT, RECOMMENDERS and FALLBACK."
        if not _ARM_NAME.fullmatch(str(arm.get("NAME", ""))):
            yield "each arm needs a NAME of small letters, digits and underscores."
        weight = arm.get("WEIGHT", 1)
        if type(weight) is not int or not 1 <= weight <= 1000:
            yield f"the WEIGHT of an arm must be a whole number from 1 to 1000, not {weight!r}."
        if "RECOMMENDERS" in arm and not arm["RECOMMENDERS"]:
            yield "RECOMMENDERS of an arm is empty."
    names = [str(arm.get("NAME", "")) for arm in arms]
    if arms and len(names) < 2:
        yield "ARMS needs two arms or more."
    if len(set(names)) < len(names):
        yield "two arms have the same NAME."


#: Recommenders that built-in placements ask when the settings have them.
OPTIONAL = frozenset({"visual"})

#: Longest that best sellers and trends look back.
MAX_DAYS = 730

_IS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "days": (
        lambda v: type(v) is int and 0 < v <= MAX_DAYS,
        f"a whole number of days from 1 to {MAX_DAYS}",
    ),
    "int": (lambda v: type(v) is int and v > 0, "a whole number above 0"),
    "int | None": (lambda v: v is None or (type(v) is int and v > 0), "a whole number above 0"),
    "bool": (lambda v: isinstance(v, bool), "true or false"),
    "float | None": (
        lambda v: v is None or (type(v) in (int, float) and math.isfinite(v) and v >= 0),
        "a number, 0 or more",
    ),
    "tuple[str, ...]": (
        lambda v: isinstance(v, list | tuple) and all(isinstance(each, str) for each in v),
        "a list of texts",
    ),
}


def _option_faults(given: Any) -> Iterator[str]:
    if not isinstance(given, Mapping):
        yield "OPTIONS is no dict."
        return
    types = {each.name: str(each.type) for each in fields(Options)}
    for name, value in given.items():
        if name not in types:
            yield f"{name!r} is no option. {suggestion(str(name), types)}"
            continue
        will_do, words = _IS["days" if name == "window_days" else types[name]]
        if not will_do(value):
            yield f"the option {name} must be {words}."


def suggestion(name: str, known: Any) -> str:
    """Return the sentence that helps whoever wrote an unknown name."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."


@dataclass(frozen=True)
class Shop:
    """What one shop set: its placements by key, and its rules that are switched on."""

    placements: Mapping[str, Placement]
    rules: Sequence[MerchandisingRule]

    def placement(self, key: str) -> Placement:
        """Return a placement. Raises UnknownAlias with a suggestion."""
        found = self.placements.get(key)
        if found is None:
            raise UnknownAlias(
                f"There is no placement {key!r}. {_did_you_mean(key, self.placements)}"
                f"Known: {', '.join(sorted(self.placements))}."
            )
        return found

    def curated_slugs(self, placement: Placement) -> tuple[tuple[str, ...], frozenset[str]]:
        """Return the attributes a placement takes references from, and those it leaves to others."""
        if placement.options.curated:
            return placement.options.curated, frozenset()
        others = {slug for each in self.placements.values() for slug in each.options.curated}
        return (), frozenset(others - {"accessories", "complements", "related-products"})


def _did_you_mean(key: str, known: Mapping[str, Placement]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}? " if close else ""


class _Shops:
    """What the shops set, read again every few seconds."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, Shop]] = {}
        self._built_in: tuple[object, dict[str, Placement]] = (None, {})

    def of(self, installation: Installation) -> Shop:
        known = self._known.get(installation.pk)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        placements = dict(self._of_settings())
        for row in PlacementRow.objects.of(installation):
            entry = {
                "RECOMMENDERS": row.recommenders,
                "FALLBACK": row.fallback,
                "OPTIONS": row.options,
                "ARMS": row.arms,
            }
            if not any(faults_of(entry, key=row.key)):
                # A recommender may have gone from the settings since: the setting answers then.
                placements[row.key] = read(row.key, entry)
        rules = list(
            MerchandisingRule.objects.of(installation)
            .filter(is_active=True)
            .order_by("position", "pk")
        )
        shop = Shop(placements, rules)
        self._known[installation.pk] = (time.monotonic() + SECONDS, shop)
        return shop

    def _of_settings(self) -> dict[str, Placement]:
        given = settings.PLACEMENTS
        if self._built_in[0] is not given:
            self._built_in = (given, {key: read(key, entry) for key, entry in given.items()})
        return self._built_in[1]

    def clear(self) -> None:
        self._known.clear()


_shops = _Shops()


def shop_of(installation: Installation) -> Shop:
    """Return the placements and active rules of a shop, at most SECONDS old."""
    return _shops.of(installation)


def forget() -> None:
    """Drop what this process remembers of placements and rules."""
    _shops.clear()
