"""The recommender: something with `fit` and `recommend`, and what goes in and out of it."""

from __future__ import annotations

import inspect
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml.data import InteractionEvent, Interactions, Items

#: What a fitted recommender knows: names to arrays, nothing else, so that it can be memory-mapped.
Arrays = dict[str, NDArray[Any]]

#: Version of the folder written by `save`; raise it when older folders can no longer be read.
FORMAT = 1
_METADATA = "metadata.json"
_EVENTS = frozenset(str(event) for event in InteractionEvent)


class NotTrained(RuntimeError):
    """`recommend` or `save` was called before `fit` or `load`."""


class ArtefactError(ValueError):
    """A saved recommender is missing, damaged, of another format, or of another class."""


class ReasonCode(StrEnum):
    """Why an item is recommended. The strings are stored and published: add, never rename."""

    POPULAR = "popular"
    BOUGHT_TOGETHER = "bought_together"
    #: Bought together with something like it, not with the item itself.
    BOUGHT_WITH_SIMILAR = "bought_with_similar"
    SIMILAR = "similar"
    NEWEST = "newest"
    #: Of the catalogue, where nothing more can be said of it.
    CATALOGUE = "catalogue"
    #: Looked at in the same visits as something of this visit.
    VIEWED_TOGETHER = "viewed_together"
    #: What visits like this one went on to.
    SESSION = "session"
    #: What people with such a history like.
    FOR_YOU = "for_you"
    TRENDING = "trending"
    #: Bought before, and due again.
    BUY_AGAIN = "buy_again"
    #: Looked at before.
    RECENT = "recent"
    #: Chosen by hand.
    CURATED = "curated"
    SAME_CATEGORY = "same_category"
    SAME_BRAND = "same_brand"
    #: Looks alike.
    VISUAL = "visual"
    #: Found for the words of a search.
    SEARCH = "search"
    UP_SELL = "up_sell"
    DOWN_SELL = "down_sell"
    #: Goes with, or is like, something this person looked at, or bought.
    BECAUSE_VIEWED = "because_viewed"
    BECAUSE_BOUGHT = "because_bought"
    #: Sells most, perhaps in a category.
    BEST_SELLER = "best_seller"
    #: Put into a cart and not ordered.
    LEFT_BEHIND = "left_behind"
    #: Put in this place by the shop.
    PINNED = "pinned"
    #: Content about a product, category, brand or other subject.
    ABOUT = "about"


@dataclass(frozen=True)
class Context:
    """Who asks, and where. Any iterable of ids is taken.

    `session`: items of this visit, newest last. `events`: what was done with each of them
    (`InteractionEvent`), as long as `session`, or empty where that is not known. `seeds`: items to
    complement or replace (the product of the page, the lines of the cart); they are never
    recommended. `exclude`: items not to recommend. `now`: unix seconds, for recommenders whose
    answer depends on the hour.
    """

    session: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    exclude: frozenset[str] = frozenset()
    visitor_id: str | None = None
    now: float | None = None
    events: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Normalise; a seed given twice counts once.

        ValueError: `events` do not fit `session`, or `now` is no moment. TypeError: what is no collection,
        no text or no number where one belongs.
        """
        if self.now is not None:
            if isinstance(self.now, bool) or not isinstance(self.now, Real):
                raise TypeError(
                    f"now is a moment in unix seconds, not {self.now!r}; give a datetime's timestamp()."
                )
            if not math.isfinite(self.now):
                raise ValueError(f"now is a moment in unix seconds, not {self.now}.")
        for name in ("session", "seeds", "exclude", "events"):
            given = getattr(self, name)
            what = "kinds of events" if name == "events" else "item ids"
            if isinstance(given, str):
                raise TypeError(f"{name} takes a collection of {what}, not one string.")
            if not isinstance(given, Iterable):
                raise TypeError(
                    f"{name} takes a collection of {what}, not {given!r}; write [{given!r}]."
                )
        object.__setattr__(self, "session", tuple(self.session))
        object.__setattr__(self, "events", tuple(self.events))
        if self.events and len(self.events) != len(self.session):
            raise ValueError(
                f"events has {len(self.events)} kinds for the {len(self.session)} items of the "
                "session; give one each, or none."
            )
        for kind in self.events:
            if kind not in _EVENTS:
                raise ValueError(
                    f"Unknown event {kind!r}; known are {', '.join(InteractionEvent)}."
                )
        object.__setattr__(self, "seeds", tuple(dict.fromkeys(self.seeds)))
        object.__setattr__(self, "exclude", frozenset(self.exclude))
        for name in ("session", "seeds", "exclude"):
            for id_ in getattr(self, name):
                if not isinstance(id_, str):
                    raise TypeError(
                        f"{name} holds ids as text, not {id_!r}; write {str(id_)!r}. `Engine.recommend` "
                        "and `related` take ids of either kind."
                    )


class Candidate(NamedTuple):
    """An item before filters. Scores compare within one answer of one recommender only.

    `reason_item_id` is the item that the reason speaks of ("because of X"), where there is one.
    `strategy` is the alias of the recommender that gave it, set by `Chain`.
    """

    item_id: str
    score: float
    reason_code: str
    reason_item_id: str | None = None
    strategy: str | None = None


class Recommender(ABC):
    """Base of all recommenders. A new one writes `__init__`, `_fit` and `_candidates`.

    `__init__` takes keyword options with defaults, checks them, and keeps each under its own name.
    All that `_fit` learns goes into the arrays it returns, so a second fit starts from nothing and
    a saved recommender is complete. `recommend` only reads: threads may share an instance.
    """

    #: It can answer in a shop without a single event.
    supports_cold: ClassVar[bool] = False
    #: It has nothing to say without seeds.
    needs_context: ClassVar[bool] = False
    #: It cannot be fitted without the catalogue.
    needs_items: ClassVar[bool] = False

    _arrays: Arrays | None = None

    def fit(self, interactions: Interactions, items: Items | None = None) -> Self:
        """Learn from scratch; forget an earlier fit. ValueError if the catalogue is needed."""
        if self.needs_items and items is None:
            raise ValueError(
                f"{type(self).__name__} learns from items: call fit(interactions, items)."
            )
        self._arrays = self._fit(interactions, Items.of([]) if items is None else items)
        return self

    def recommend(self, context: Context, k: int) -> list[Candidate]:
        """Give at most `k` candidates, best first, equal scores by item id.

        Never a seed, an excluded item, or an item twice; fewer than `k` when there are no more.
        ValueError: `k` below 1. NotTrained: neither fitted nor loaded.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        if self._arrays is None:
            raise self._not_trained()
        hidden = context.exclude.union(context.seeds)
        candidates = sorted(
            self._candidates(context, k + len(hidden)),
            key=lambda candidate: (-candidate.score, candidate.item_id),
        )
        best: dict[str, Candidate] = {}
        for candidate in candidates:
            if candidate.item_id not in hidden:
                # Of an item given twice, the first and better score stays.
                best.setdefault(candidate.item_id, candidate)
        return list(best.values())[:k]

    @abstractmethod
    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        """Learn; give back arrays (no object dtype). Empty data must give a valid, empty answer."""

    @abstractmethod
    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        """Give at least the `count` best candidates, or all there are, in any order."""

    @property
    def arrays(self) -> Arrays:
        """What was learned. NotTrained: neither fitted nor loaded."""
        if self._arrays is None:
            raise self._not_trained()
        return self._arrays

    def _not_trained(self) -> NotTrained:
        return NotTrained(f"{type(self).__name__} has no data yet: call fit() or load() first.")

    def get_params(self) -> dict[str, Any]:
        """Give the options, as `type(self)(**params)` takes them."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def sibling(self) -> Self:
        """Give an unfitted one with the same options, to be measured on an earlier time.

        One that searches for its options while fitting gives what it found, so that the measurement
        need not search again.
        """
        return type(self)(**self.get_params())

    def save(self, directory: Path | str) -> None:
        """Write arrays as .npy and the rest as JSON into a folder of its own.

        FileExistsError: the folder already holds a recommender. Other processes may have it mapped,
        so an artefact is never overwritten. No pickle: shared storage must not be able to run code.
        """
        directory = Path(directory)
        arrays = self.arrays
        if (directory / _METADATA).exists():
            raise FileExistsError(f"{directory} already holds a recommender; save to a new folder.")
        directory.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(directory / f"{name}.npy", array, allow_pickle=False)
        # Last, so that a folder that was not written to the end cannot be loaded.
        self._describe(directory, arrays)

    def _describe(self, directory: Path, arrays: Arrays) -> None:
        """Write what `load` reads first, when all arrays are in place."""
        metadata = {
            "format": FORMAT,
            "recommender": _path_of(type(self)),
            "params": self.get_params(),
            "arrays": {name: _shape_of(array) for name, array in arrays.items()},
        }
        (directory / _METADATA).write_text(json.dumps(metadata, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path | str, *, mmap: bool = True) -> Self:
        """Read what `save` of the same class wrote; `mmap` shares the memory between processes.

        ArtefactError says what is wrong with the folder.
        """
        directory = Path(directory)
        try:
            metadata = json.loads((directory / _METADATA).read_text(encoding="utf-8"))
            if metadata["format"] != FORMAT:
                raise ArtefactError(f"has format {metadata['format']}, this version reads {FORMAT}")
            if metadata["recommender"] != _path_of(cls):
                raise ArtefactError(f"holds a {metadata['recommender']}, not a {_path_of(cls)}")
            recommender = cls(**metadata["params"])
            recommender._arrays = {
                name: _read(directory, name, expected, mmap=mmap)
                for name, expected in metadata["arrays"].items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtefactError(f"Cannot load {cls.__name__} from {directory}: {error}") from error
        return recommender


def _read(directory: Path, name: str, expected: object, *, mmap: bool) -> NDArray[Any]:
    if not name.isidentifier():
        raise ArtefactError(f"names an array {name!r}")
    try:
        array: NDArray[Any] = np.load(
            directory / f"{name}.npy", mmap_mode="r" if mmap else None, allow_pickle=False
        )
    except Exception as error:
        # What numpy raises for a damaged file has no common base: OSError, EOFError, TokenError.
        raise ArtefactError(f"{name}.npy cannot be read: {error}") from error
    if _shape_of(array) != expected:
        raise ArtefactError(f"{name}.npy is {_shape_of(array)}, the metadata says {expected}")
    # The same memory without np.memmap, which makes every small slice several times as slow.
    return np.asarray(array)


def _shape_of(array: NDArray[Any]) -> dict[str, Any]:
    return {"dtype": array.dtype.str, "shape": list(array.shape)}


def _path_of(recommender: type) -> str:
    return f"{recommender.__module__}.{recommender.__qualname__}"
