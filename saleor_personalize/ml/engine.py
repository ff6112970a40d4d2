"""The engine: all recommenders behind one door. It fits them, measures them and chooses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from saleor_personalize.ml.base import (
    ArtefactError,
    Candidate,
    Context,
    NotTrained,
    Recommender,
)
from saleor_personalize.ml.chain import Chain
from saleor_personalize.ml.frames import interactions_of, items_of
from saleor_personalize.ml.recommenders.content import Similar
from saleor_personalize.ml.recommenders.covisitation import BoughtTogether
from saleor_personalize.ml.recommenders.newest import Newest
from saleor_personalize.ml.recommenders.popularity import Popular

#: Version of the folder written by `save`; raise it when older folders can no longer be read.
FORMAT = 1
_METADATA = "engine.json"

#: What is asked, first choice first, and the next one fills what the one before left open.
FOR_SESSION = ("next_item", "personal", "popular", "newest")
FOR_VISITOR = ("personal", "popular", "newest")
FOR_SEEDS = ("bought_together", "similar", "popular", "newest")
FOR_ANYONE = ("popular", "newest")

#: Told the alias at work and the share of all work that is done, 0 to 1.
Progress = Callable[[str, float], None]


def built_in(*, rerank: bool = True, seed: int = 0) -> dict[str, Recommender]:
    """Make the recommenders that ship with the library, by alias."""
    return {
        "bought_together": BoughtTogether(),
        "similar": Similar(),
        "popular": Popular(),
        "newest": Newest(),
    }


class Engine:
    """Named recommenders, fitted on one shop, measured on its last days, asked as one.

    An alias says what a recommender is for: `next_item` answers a live visit, `personal` a visitor,
    `bought_together` and `similar` a product, `popular` and `newest` anyone; others answer when
    asked by name. Reading is safe from several threads.
    """

    def __init__(
        self,
        *,
        recommenders: Mapping[str, Recommender] | None = None,
        rerank: bool = True,
        tune: bool = True,
        seed: int = 0,
    ) -> None:
        """Set the options.

        `recommenders`: alias -> unfitted recommender, instead of the built-in ones. `rerank`: train
        the re-ranker of `next_item`. `tune`: measure on the last days and leave out what does not
        beat popularity there. `seed`: the same data and seed give the same answers.
        """
        self.rerank = rerank
        self.tune = tune
        self.seed = seed
        self.recommenders = dict(
            built_in(rerank=rerank, seed=seed) if recommenders is None else recommenders
        )
        self.report: dict[str, Any] = {"measured": False, "aliases": {}}
        self._ids_are_numbers = False
        self._is_fitted = False

    def fit(self, events: Any, items: Any = None, *, progress: Progress | None = None) -> Self:
        """Learn from scratch.

        `events`: a table (pandas, polars, pyarrow) or mapping of columns of one length:
        `visitor_id`, `item_id` (strings or whole numbers), `event` (view, cart, favourite or
        purchase), `timestamp` (unix seconds or moments) and, where known, `session_id`, `order_id`,
        `quantity`, `price` (NaN where unknown). Rows in any order; those of one moment keep theirs.
        `items`: `item_id`, `created_at` and any columns of text. TypeError or ValueError name the
        column and the value at fault, and the engine stays as it was.
        """
        interactions, events_have_numbers, _ = interactions_of(events)
        catalogue, items_have_numbers = (None, False) if items is None else items_of(items)
        has_numbers = events_have_numbers if len(interactions) else items_have_numbers
        fitted = {}
        for done, (alias, recommender) in enumerate(self.recommenders.items()):
            if progress is not None:
                progress(alias, done / len(self.recommenders))
            if recommender.needs_items and catalogue is None:
                continue
            fresh = type(recommender)(**recommender.get_params())
            fitted[alias] = fresh.fit(interactions, catalogue)
        self._fitted = fitted
        self._ids_are_numbers = has_numbers
        self._is_fitted = True
        if progress is not None:
            progress("", 1.0)
        return self

    @property
    def aliases(self) -> tuple[str, ...]:
        """Recommenders that can be asked by name. NotTrained: neither fitted nor loaded."""
        return tuple(self._ready())

    def recommend(
        self,
        visitor_id: str | int | None = None,
        session: Iterable[str | int] = (),
        events: Iterable[str] = (),
        k: int = 20,
        exclude: Iterable[str | int] = (),
        now: float | None = None,
    ) -> list[Any]:
        """Give the `k` best items for a visitor, a live visit, or anyone; ids in the type of `fit`.

        `session`: items of the live visit, oldest first; `events`: what was done with each, or
        empty. `exclude`: items not wanted. `now`: unix seconds. Unknown visitors and items are
        answered with what is known of the rest. Fewer than `k` only if the shop has no more.
        ValueError: `k` below 1. NotTrained: neither fitted nor loaded.
        """
        context = Context(
            visitor_id=None if visitor_id is None else _as_text(visitor_id, "visitor_id"),
            session=tuple(self._texts(session, "session")),
            events=tuple(events),
            exclude=frozenset(self._texts(exclude, "exclude")),
            now=now,
        )
        return self._in_their_type(self.rank(context, k))

    def related(
        self, item_id: str | int, k: int = 10, exclude: Iterable[str | int] = ()
    ) -> list[Any]:
        """Give the `k` items that go best with one; never that item itself. Errors as `recommend`."""
        context = Context(
            seeds=(_as_text(item_id, "item_id"),),
            exclude=frozenset(self._texts(exclude, "exclude")),
        )
        return self._in_their_type(self.rank(context, k))

    def rank(self, context: Context, k: int) -> list[Candidate]:
        """Answer a context, best first, each with its reason and the alias that gave it.

        Who is answered: seeds before a session before a visitor. Ids are strings.
        """
        ready = self._ready()
        if context.seeds:
            order: Sequence[str] = FOR_SEEDS
        elif context.session:
            order = FOR_SESSION
        elif context.visitor_id is not None:
            order = FOR_VISITOR
        else:
            order = FOR_ANYONE
        chain = Chain({alias: ready[alias] for alias in order if alias in ready})
        return chain.recommend(context, k)

    def candidates(self, alias: str, context: Context, k: int) -> list[Candidate]:
        """Ask one recommender by name. KeyError: there is none of that name."""
        ready = self._ready()
        if alias not in ready:
            raise KeyError(f"No recommender {alias!r}; there are {', '.join(ready)}.")
        return [found._replace(strategy=alias) for found in ready[alias].recommend(context, k)]

    def save(self, path: Path | str) -> None:
        """Write a folder with one sub-folder per recommender.

        FileExistsError: the folder already holds an engine. NotTrained: nothing to write.
        """
        ready = self._ready()
        folder = Path(path)
        if (folder / _METADATA).exists():
            raise FileExistsError(f"{folder} already holds an engine; save to a new folder.")
        for alias, recommender in ready.items():
            recommender.save(folder / alias)
        metadata = {
            "format": FORMAT,
            "options": {"rerank": self.rerank, "tune": self.tune, "seed": self.seed},
            "ids_are_numbers": self._ids_are_numbers,
            "aliases": list(ready),
            "report": self.report,
        }
        # Last, so that a folder that was not written to the end cannot be loaded.
        (folder / _METADATA).write_text(json.dumps(metadata, indent=2), encoding="utf-8")

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        recommenders: Mapping[str, Recommender] | None = None,
        mmap: bool = True,
    ) -> Self:
        """Read what `save` wrote; `mmap` shares the memory between processes.

        `recommenders`: those given to `Engine` at the time, if any: a folder names no class to be
        imported. ArtefactError says what is wrong with the folder.
        """
        folder = Path(path)
        try:
            metadata = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
            if metadata["format"] != FORMAT:
                raise ArtefactError(f"has format {metadata['format']}, this version reads {FORMAT}")
            engine = cls(recommenders=recommenders, **metadata["options"])
            engine._fitted = {
                alias: type(engine.recommenders[alias]).load(folder / alias, mmap=mmap)
                for alias in metadata["aliases"]
            }
            engine._ids_are_numbers = bool(metadata["ids_are_numbers"])
            engine.report = metadata["report"]
            engine._is_fitted = True
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtefactError(f"Cannot load an engine from {folder}: {error}") from error
        return engine

    def _ready(self) -> dict[str, Recommender]:
        if not self._is_fitted:
            raise NotTrained("The engine has no data yet: call fit() or load() first.")
        return self._fitted

    def _texts(self, ids: Iterable[str | int], name: str) -> list[str]:
        if isinstance(ids, str):
            raise TypeError(f"{name} takes a collection of item ids, not one string.")
        return [_as_text(id_, name) for id_ in ids]

    def _in_their_type(self, found: Sequence[Candidate]) -> list[Any]:
        if self._ids_are_numbers:
            return [int(candidate.item_id) for candidate in found]
        return [candidate.item_id for candidate in found]


def _as_text(id_: Any, name: str) -> str:
    if isinstance(id_, str):
        return id_
    if isinstance(id_, bool) or not hasattr(id_, "__index__"):
        raise TypeError(f"{name} takes strings or whole numbers, not {id_!r}.")
    return str(int(id_))
