"""The engine: all recommenders behind one door. It fits them, measures them and chooses."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from saleor_personalize.ml.base import (
    ArtefactError,
    Candidate,
    Context,
    NotTrained,
    Recommender,
)
from saleor_personalize.ml.blend import DEPTH, Blend, Part, cross_fitted, tuned_weights
from saleor_personalize.ml.chain import Chain
from saleor_personalize.ml.data import Interactions, Items
from saleor_personalize.ml.evaluation import Case, MostPopular, Report, report_of, time_split
from saleor_personalize.ml.frames import (
    check_whole,
    in_time,
    interactions_of,
    items_of,
    without_duplicates,
)
from saleor_personalize.ml.recommenders.content import Similar
from saleor_personalize.ml.recommenders.covisitation import BoughtTogether
from saleor_personalize.ml.recommenders.history import LastSeen
from saleor_personalize.ml.recommenders.newest import Newest
from saleor_personalize.ml.recommenders.next_item import NextItem
from saleor_personalize.ml.recommenders.personal import Personal
from saleor_personalize.ml.recommenders.popularity import Popular, Trending
from saleor_personalize.ml.recommenders.repeats import BuyAgain
from saleor_personalize.ml.windows import (
    alternative_cases,
    anyone_cases,
    count_returning,
    seed_cases,
    visit_cases,
    visitor_cases,
)

#: Version of the folder written by `save`; raise it when older folders can no longer be read.
FORMAT = 1
_METADATA = "engine.json"

#: What a recommender is asked for, by its alias; others are asked about visitors.
QUESTIONS = {
    "next_item": "visit",
    "personal": "visitor",
    "buy_again": "repeat",
    "bought_together": "seed",
    "similar": "alternative",
    "popular": "anyone",
    "trending": "anyone",
    "newest": "anyone",
}
#: Answer when all else has nothing more to say, whatever they measure.
FILLERS = ("popular", "newest")
#: Answer whoever asks for them by name, whatever they measure: they claim no more than their name says.
BY_NAME = (*FILLERS, "trending")
#: Are of no use where fewer visitors than FEWEST_CASES ever came back, and left out there.
OF_RETURNING = ("personal", "buy_again")
#: Aliases of the blends, and what each is made of: first the one taken without a measurement.
BLENDS: Mapping[str, tuple[str, ...]] = {
    "visitor": ("personal", "past_visits", "trending"),
    "seed": ("bought_together", "viewed_together", "similar"),
    "anyone": ("popular", "trending"),
}
#: Parts that are no recommenders themselves -> whom they ask.
_NEEDS = {"past_visits": "next_item", "viewed_together": "next_item"}
#: Keeps the last items of each visitor, where the blend for visitors asks for them.
_HISTORY = "last_seen"

#: Share of the events, the last ones, that the rest is measured on.
WINDOW = 0.15
#: Cases of a kind that are asked at most, and below which nothing is said.
MOST_CASES = 1_000
FEWEST_CASES = 30
#: Items of an answer that count, by question.
PLACES = {"seed": 10, "alternative": 10}
MOST_PLACES = 20

_UNMEASURED: dict[str, Any] = {"measured": False, "aliases": {}}

#: Told what is at work and the share of all work that is done, 0 to 1.
Progress = Callable[[str, float], None]


def built_in(*, rerank: bool = True, tune: bool = True, seed: int = 0) -> dict[str, Recommender]:
    """Make the recommenders that ship with the library, by alias."""
    return {
        "next_item": NextItem(rerank=rerank, seed=seed),
        "personal": Personal(tune=tune, seed=seed),
        "buy_again": BuyAgain(tune=tune, seed=seed),
        "bought_together": BoughtTogether(tune=tune, seed=seed),
        "similar": Similar(),
        "trending": Trending(),
        "popular": Popular(),
        "newest": Newest(),
    }


class Engine:
    """Named recommenders, fitted on one shop, measured on its last days, asked as one.

    An alias says what a recommender is for: `next_item` answers a live visit, `personal` a visitor,
    `bought_together` and `similar` a product, `popular` and `newest` anyone; others answer when
    asked by name. Any number of threads may read.
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
        the re-ranker of `next_item`. `tune`: measure on the last days, blend, and leave out what
        does not beat popularity there. `seed`: the same data and seed give the same answers.
        """
        self.rerank = rerank
        self.tune = tune
        self.seed = seed
        self.recommenders = dict(
            built_in(rerank=rerank, tune=tune, seed=seed) if recommenders is None else recommenders
        )
        for alias in self.recommenders:
            if not alias.isidentifier():
                raise ValueError(f"An alias is a name such as next_item, not {alias!r}.")
        self._fitted: dict[str, Recommender] | None = None
        self._weights: dict[str, dict[str, float]] = {}
        self._ids_are_numbers = False
        self.report: dict[str, Any] = {}

    def fit(self, events: Any, items: Any = None, *, progress: Progress | None = None) -> Self:
        """Learn from scratch.

        `events`: a table (pandas, polars, pyarrow) or mapping of columns of one length:
        `visitor_id`, `item_id` (strings or whole numbers), `event` (view, cart, favourite or
        purchase), `timestamp` (unix seconds or moments) and, where known, `session_id`, `order_id`,
        `quantity`, `price` (NaN where unknown). Rows in any order; those of one moment keep theirs,
        and a row given twice counts once. `items`: `item_id`, `created_at` and any columns of text.
        TypeError or ValueError name the column and the value at fault; the engine stays as it was.
        """
        interactions, events_have_numbers = interactions_of(events)
        catalogue, items_have_numbers = (None, False) if items is None else items_of(items)
        if catalogue is not None and len(interactions) and events_have_numbers:
            check_whole(catalogue)
        interactions = in_time(without_duplicates(interactions))
        is_revisited = count_returning(interactions) >= FEWEST_CASES
        usable = {
            alias: recommender
            for alias, recommender in self.recommenders.items()
            if (catalogue is not None or not recommender.needs_items)
            and (is_revisited or alias not in OF_RETURNING)
        }
        tell = _Steps(progress, len(usable) * (2 if self.tune else 1) + 1)
        fitted: dict[str, Recommender] = {}
        for alias, recommender in usable.items():
            tell(f"fitting {alias}")
            fresh = type(recommender)(**recommender.get_params())
            fitted[alias] = fresh.fit(interactions, catalogue)
        measuring = _Measuring(fitted, interactions, catalogue, self.seed)
        report = measuring.run(tell) if self.tune else _UNMEASURED
        if measuring.weights.get("visitor", {}).get("past_visits"):
            fitted[_HISTORY] = LastSeen().fit(interactions)
        tell("")
        self._fitted = fitted
        self._weights = measuring.weights
        self.report = report
        self._ids_are_numbers = events_have_numbers if len(interactions) else items_have_numbers
        return self

    @property
    def aliases(self) -> tuple[str, ...]:
        """Recommenders that can be asked by name. NotTrained: neither fitted nor loaded."""
        return tuple(self._ready())

    def recommend(
        self,
        visitor_id: str | int | None = None,
        session: Iterable[str | int] | None = (),
        events: Iterable[str] | None = (),
        k: int = 20,
        exclude: Iterable[str | int] | None = (),
        now: float | None = None,
    ) -> list[Any]:
        """Give the `k` best items for a visitor, a live visit, or anyone; ids in the type of `fit`.

        `session`: items of the live visit, oldest first; `events`: what was done with each, or
        empty. `exclude`: items not wanted. `now`: unix seconds. None is as good as empty. Unknown visitors and items are
        answered with what is known of the rest. Fewer than `k` only if the shop has no more.
        ValueError: `k` below 1. NotTrained: neither fitted nor loaded.
        """
        context = Context(
            visitor_id=None if visitor_id is None else _as_text(visitor_id, "visitor_id"),
            session=_as_texts(session, "session"),
            events=() if events is None else tuple(events),
            exclude=frozenset(_as_texts(exclude, "exclude")),
            now=now,
        )
        return self._in_their_type(self.rank(context, k))

    def related(
        self, item_id: str | int, k: int = 10, exclude: Iterable[str | int] | None = ()
    ) -> list[Any]:
        """Give the `k` items that go best with one; never that item itself. Errors as `recommend`."""
        context = Context(
            seeds=(_as_text(item_id, "item_id"),),
            exclude=frozenset(_as_texts(exclude, "exclude")),
        )
        return self._in_their_type(self.rank(context, k))

    def rank(self, context: Context, k: int) -> list[Candidate]:
        """Answer a context, best first, each with its reason and the alias that gave it.

        Seeds count before a session, a session before a visitor; each fills up from the next. Ids
        are strings. Errors as `recommend`.
        """
        ready = self._ready()
        stages: dict[str, Any] = {}
        if context.seeds:
            stages.update(self._blend("seed"))
            stages.update(self._published("similar"))
        elif context.session:
            stages.update(self._published("next_item"))
        if context.visitor_id is not None and not context.seeds:
            stages.update(self._blend("visitor"))
        stages.update(self._blend("anyone"))
        stages.update({alias: ready[alias] for alias in FILLERS if alias in ready})
        return Chain(stages).recommend(context, k)

    def candidates(self, alias: str, context: Context, k: int) -> list[Candidate]:
        """Ask one recommender by name, published or not. KeyError: there is none of that name."""
        ready = self._ready()
        if alias not in ready:
            raise KeyError(f"There is no recommender {alias!r}; there are {', '.join(ready)}.")
        return [found._replace(strategy=alias) for found in ready[alias].recommend(context, k)]

    def is_published(self, alias: str) -> bool:
        """Tell whether a recommender may be used: it was fitted, and did not lose to popularity."""
        if self._fitted is None or alias not in self._fitted:
            return False
        found: dict[str, Any] = self.report.get("aliases", {}).get(alias, {})
        return bool(found.get("published", True))

    def save(self, path: Path | str) -> None:
        """Write a folder with one sub-folder per recommender.

        FileExistsError: the folder already holds an engine; other processes may have it mapped.
        NotTrained: nothing to write.
        """
        ready = self._ready()
        folder = Path(path)
        if (folder / _METADATA).exists():
            raise FileExistsError(f"{folder} already holds an engine; save to a new folder.")
        for alias, recommender in ready.items():
            recommender.save(folder / alias)
        # Last, so that a folder that was not written to the end cannot be loaded.
        _describe(
            folder,
            options={"rerank": self.rerank, "tune": self.tune, "seed": self.seed},
            aliases=list(ready),
            weights=self._weights,
            ids_are_numbers=self._ids_are_numbers,
            report=self.report,
        )

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
            known = {**engine.recommenders, _HISTORY: LastSeen()}
            if unknown := [alias for alias in metadata["aliases"] if alias not in known]:
                raise ArtefactError(
                    f"holds {', '.join(unknown)}, for which no recommender is given"
                )
            engine._fitted = {
                alias: type(known[alias]).load(folder / alias, mmap=mmap)
                for alias in metadata["aliases"]
            }
            engine._weights = {
                name: {part: float(weight) for part, weight in weights.items()}
                for name, weights in metadata["weights"].items()
            }
            engine._ids_are_numbers = bool(metadata["ids_are_numbers"])
            engine.report = metadata["report"]
        except (
            OSError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            OverflowError,
        ) as error:
            raise ArtefactError(f"Cannot load an engine from {folder}: {error}") from error
        return engine

    def _ready(self) -> dict[str, Recommender]:
        if self._fitted is None:
            raise NotTrained("The engine has no data yet: call fit() or load() first.")
        return self._fitted

    def _published(self, alias: str) -> dict[str, Recommender]:
        return {alias: self._ready()[alias]} if self.is_published(alias) else {}

    def _blend(self, name: str) -> dict[str, Blend]:
        ready = self._ready()
        parts = {
            part: (ask, weight)
            for part, weight in self._weights.get(name, {}).items()
            if (ask := _part(part, ready)) is not None
        }
        return {name: Blend(parts)} if parts else {}

    def _in_their_type(self, found: Sequence[Candidate]) -> list[Any]:
        if self._ids_are_numbers:
            return [int(candidate.item_id) for candidate in found]
        return [candidate.item_id for candidate in found]


def describe_engine(folder: Path, aliases: Sequence[str], *, ids_are_numbers: bool) -> None:
    """Make an engine, never measured, of recommenders that were saved to sub-folders."""
    _describe(
        folder,
        options={"rerank": False, "tune": False, "seed": 0},
        aliases=list(aliases),
        weights=_first_choices(aliases),
        ids_are_numbers=ids_are_numbers,
        report=_UNMEASURED,
    )


def _describe(folder: Path, **known: Any) -> None:
    text = json.dumps({"format": FORMAT, **known}, indent=2)
    (folder / _METADATA).write_text(text, encoding="utf-8")


def _first_choices(aliases: Container[str]) -> dict[str, dict[str, float]]:
    """What the blends are made of as long as nothing is known."""
    return {
        name: {part: 1.0}
        for name, parts in BLENDS.items()
        if (part := next((part for part in parts if _NEEDS.get(part, part) in aliases), None))
    }


class _Steps:
    """Tells of each step of known number."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, name: str) -> None:
        if self._progress is not None:
            self._progress(name, min(self._done / self._total, 1.0) if name else 1.0)
        self._done += 1


class _Measuring:
    """Asks siblings, fitted on the time before, about the last days; finds weights of the blends."""

    def __init__(
        self,
        fitted: Mapping[str, Recommender],
        interactions: Interactions,
        items: Items | None,
        seed: int,
    ) -> None:
        self._fitted = fitted
        self._interactions = interactions
        self._items = items
        self._seed = seed
        self.weights = _first_choices(fitted)

    def run(self, tell: Callable[[str], None]) -> dict[str, Any]:
        past, window = time_split(self._interactions, fraction=WINDOW)
        if not len(past) or not len(window):
            return _UNMEASURED
        cut = float(window.timestamp.min())
        if self._items is not None:
            self._items = _known_before(cut, self._items, past)
        random = np.random.default_rng(self._seed)
        questions = {
            "visit": visit_cases(window, limit=MOST_CASES, random=random),
            "visitor": visitor_cases(past, window, repeats=False, limit=MOST_CASES, random=random),
            "repeat": visitor_cases(past, window, repeats=True, limit=MOST_CASES, random=random),
            "seed": seed_cases(window, limit=MOST_CASES, random=random),
            "alternative": alternative_cases(window, limit=MOST_CASES, random=random),
            "anyone": anyone_cases(window, limit=MOST_CASES, random=random),
        }
        asked = {name: cases for name, cases in questions.items() if len(cases) >= FEWEST_CASES}
        # Popularity of all time or of late: whichever is better.
        ever, of_late = MostPopular(past).answer, Popular().fit(past).recommend
        baseline = {}
        for name, cases in asked.items():
            k = _places(name)
            lists = [[ever(case.context, k) for case in cases], _lists(of_late, cases, k)]
            reports = [self._report(one, cases, past, name) for one in lists]
            baseline[name] = max(reports, key=lambda report: report.ndcg)
        aliases: dict[str, Any] = {}
        siblings: dict[str, Recommender] = {}
        for alias, recommender in self._fitted.items():
            tell(f"measuring {alias}")
            question = QUESTIONS.get(alias, "seed" if recommender.needs_context else "visitor")
            if question not in asked:
                aliases[alias] = {"question": question, "measured": False, "published": True}
                continue
            siblings[alias] = recommender.sibling().fit(past, self._items)
            cases = asked[question]
            found = _lists(siblings[alias].recommend, cases, _places(question))
            report = self._report(found, cases, past, question)
            gain = report.ndcg - baseline[question].ndcg
            aliases[alias] = {
                "question": question,
                "measured": True,
                # Popularity need not beat itself.
                "published": gain > 0 or (gain == 0 and isinstance(recommender, Popular)),
                **_rounded(report),
                "popularity": _rounded(baseline[question]),
            }
        used = {}
        for alias, recommender in self._fitted.items():
            if aliases[alias]["published"]:
                if alias not in siblings:
                    siblings[alias] = recommender.sibling().fit(past, self._items)
                used[alias] = siblings[alias]
        blends: dict[str, Any] = {}
        for name in BLENDS:
            blends[name] = self._choose(name, used, asked.get(name, []), past, aliases)
        return {
            "measured": any(found["measured"] for found in aliases.values()),
            "cut": cut,
            "events": len(past),
            "events_after": len(window),
            "aliases": aliases,
            "blends": blends,
        }

    def _choose(
        self,
        name: str,
        used: Mapping[str, Recommender],
        cases: Sequence[Case],
        past: Interactions,
        aliases: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Find the weights of a blend, and what it reaches."""
        is_lost = {alias for alias, found in aliases.items() if not found["published"]}
        self.weights[name] = {
            part: weight
            for part, weight in self.weights.get(name, {}).items()
            if part not in is_lost
        }
        known = dict(used)
        if "past_visits" in BLENDS[name] and "next_item" in used:
            known[_HISTORY] = LastSeen().fit(past)
        parts = {part: ask for part in BLENDS[name] if (ask := _part(part, known)) is not None}
        lists = {part: _lists(ask, cases, DEPTH) for part, ask in parts.items()}
        relevant = [case.relevant for case in cases]
        k = _places(name)
        weights = tuned_weights(lists, relevant, k=k)
        if not weights:
            return {"measured": False, "weights": self.weights[name]}
        self.weights[name] = weights
        found = cross_fitted(lists, relevant, k=k)
        return {
            "measured": True,
            "weights": weights,
            **_rounded(self._report(found, cases, past, name)),
        }

    def _report(
        self, lists: Sequence[Sequence[str]], cases: Sequence[Case], past: Interactions, name: str
    ) -> Report:
        return report_of(
            lists, [case.relevant for case in cases], past, self._items, k=_places(name)
        )


def _known_before(cut: float, items: Items, past: Interactions) -> Items:
    """The catalogue without what nobody could have known then.

    Whatever had events was there, whenever the catalogue says that it was created: a shop that
    moves brings its orders along.
    """
    had_events = np.isin(items.item_id.values, past.item_id.values)[items.item_id.codes]
    return items.select(~(items.created_at >= cut) | had_events)


def _part(name: str, known: Mapping[str, Recommender]) -> Part | None:
    """What answers for a part of a blend, None if it is not there."""
    if name == "past_visits":
        history, sequence = known.get(_HISTORY), known.get("next_item")
        if not isinstance(history, LastSeen) or sequence is None:
            return None

        def ask_history(context: Context, k: int) -> list[Candidate]:
            session, events = history.history_of(context.visitor_id or "")
            if not session:
                return []
            return sequence.recommend(replace(context, session=session, events=events), k)

        return ask_history
    if name == "viewed_together":
        visits = known.get("next_item")
        if visits is None:
            return None

        def ask_visits(context: Context, k: int) -> list[Candidate]:
            return visits.recommend(replace(context, session=context.seeds, events=()), k)

        return ask_visits
    recommender = known.get(name)
    return None if recommender is None else recommender.recommend


def _lists(ask: Part, cases: Sequence[Case], k: int) -> list[list[str]]:
    return [[found.item_id for found in ask(case.context, k)] for case in cases]


def _places(question: str) -> int:
    return PLACES.get(question, MOST_PLACES)


def _rounded(report: Report) -> dict[str, Any]:
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(report).items()
    }


def _as_texts(ids: Iterable[str | int] | None, name: str) -> tuple[str, ...]:
    if ids is None:
        return ()
    if isinstance(ids, str):
        raise TypeError(f"{name} takes a collection of item ids, not one string.")
    if not isinstance(ids, Iterable):
        raise TypeError(f"{name} takes a collection of item ids, not {ids!r}; write [{ids!r}].")
    return tuple(_as_text(id_, name) for id_ in ids)


def _as_text(id_: Any, name: str) -> str:
    if isinstance(id_, str):
        return id_
    if isinstance(id_, bool) or not hasattr(id_, "__index__"):
        raise TypeError(f"{name} takes strings or whole numbers, not {id_!r}.")
    return str(int(id_))
