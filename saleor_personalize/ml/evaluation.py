"""Back-tests: fit on the past, ask about the time after it, count what was right.

All figures lie in 0..1 except novelty (bits). Papers: NDCG, Järvelin & Kekäläinen 2002, "Cumulated
gain-based evaluation of IR techniques"; novelty, Vargas & Castells 2011, "Rank and relevance in
novelty and diversity metrics for recommender systems".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import log2
from time import perf_counter
from typing import Any, Literal, Protocol

import numpy as np

from saleor_personalize.ml.base import Candidate, Context, Recommender
from saleor_personalize.ml.data import Interactions, Items

Task = Literal["basket", "next_item"]


class Recommends(Protocol):
    """Anything that can be evaluated: a fitted recommender or a chain of them."""

    def recommend(self, context: Context, k: int) -> list[Candidate]:
        """Give at most `k` candidates, best first."""


@dataclass(frozen=True)
class Case:
    """A question and the items that were the answer in real life."""

    context: Context
    relevant: frozenset[str]


@dataclass(frozen=True)
class Report:
    """Means over the cases; all 0 when there are none. `dataclasses.asdict` makes it JSON."""

    cases: int
    k: int
    recall: float
    ndcg: float
    hit_rate: float
    mrr: float
    coverage: float
    novelty: float


def time_split(
    interactions: Interactions, *, fraction: float = 0.2, cut: float | None = None
) -> tuple[Interactions, Interactions]:
    """Split into what lies before `cut` (unix seconds) and the rest.

    Without `cut` it is the time after which about `fraction` of the rows lie; rows of one moment,
    so all lines of an order, stay on one side. ValueError: `fraction` is not inside 0..1.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, not {fraction}.")
    times = interactions.timestamp
    if cut is None and len(times):
        cut = float(np.sort(times)[int(len(times) * (1 - fraction))])
    is_past = times < (0.0 if cut is None else cut)
    return interactions.select(is_past), interactions.select(~is_past)


def recall_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Share of the relevant items among the first `k`; of `k`, if more than `k` are relevant."""
    return len(set(ranked[:k]) & set(relevant)) / min(k, len(relevant))


def ndcg_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Gain 1 per relevant item, discounted by log2(rank + 1), over that of the best order.

    An item given twice gains once, where it comes first.
    """
    first = {item: at for at, item in reversed(list(enumerate(ranked[:k])))}
    gain = sum(1 / log2(at + 2) for item, at in first.items() if item in relevant)
    return gain / sum(1 / log2(at + 2) for at in range(min(k, len(relevant))))


def hit_rate_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """1 if any of the first `k` is relevant, else 0."""
    return float(not set(ranked[:k]).isdisjoint(relevant))


def reciprocal_rank_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """1 / rank of the first relevant item among the first `k`, 0 if there is none."""
    return next((1 / (at + 1) for at, item in enumerate(ranked[:k]) if item in relevant), 0.0)


def coverage(lists: Iterable[Sequence[str]], catalogue: Collection[str]) -> float:
    """Share of the catalogue that occurs in any of the lists."""
    there = set(catalogue)
    shown = {item for ranked in lists for item in ranked if item in there}
    return len(shown) / len(there) if there else 0.0


def novelty(lists: Iterable[Sequence[str]], popularity: Mapping[str, int]) -> float:
    """Mean of -log2(an item's share of all interactions) over all recommended items, in bits.

    An item without interactions counts as if it had one.
    """
    total = sum(popularity.values())
    bits = [log2(total / popularity.get(item, 1)) for ranked in lists for item in ranked if total]
    return sum(bits) / len(bits) if bits else 0.0


def basket_cases(interactions: Interactions) -> list[Case]:
    """Ask, for each item of each order, for the others of that order. Orders go by id."""
    lines = interactions.select(interactions.order_id.codes >= 0)
    items = _texts(lines.item_id.decode())
    baskets: dict[int, set[str]] = {}
    for order, item in zip(lines.order_id.codes.tolist(), items, strict=True):
        baskets.setdefault(order, set()).add(item)
    return [
        Case(Context(seeds=(item,)), frozenset(basket - {item}))
        for _, basket in sorted(baskets.items())
        if len(basket) > 1
        for item in sorted(basket)
    ]


def next_item_cases(interactions: Interactions, *, gap: float = 1800.0) -> list[Case]:
    """Ask, at each step of a visit, for the next item.

    The current item is the seed, so it is never the answer. A visit ends after `gap` seconds
    without an interaction. Equal times keep their given order.
    """
    visitors = interactions.visitor_id.codes
    order = np.lexsort((interactions.timestamp, visitors))
    items = _texts(interactions.item_id.decode())
    names = _texts(interactions.visitor_id.decode())
    cases: list[Case] = []
    session: list[str] = []
    last: tuple[int, float] | None = None
    for row in order.tolist():
        visitor, time = int(visitors[row]), float(interactions.timestamp[row])
        if last is None or visitor != last[0] or time - last[1] > gap:
            session = []
        if session and items[row] != session[-1]:
            context = Context(
                session=tuple(session),
                seeds=(session[-1],),
                visitor_id=names[row],
                now=time,
            )
            cases.append(Case(context, frozenset({items[row]})))
        session.append(items[row])
        last = (visitor, time)
    return cases


def evaluate(
    recommender: Recommends, cases: Sequence[Case], train: Interactions, *, k: int = 10
) -> Report:
    """Ask every case and average; coverage and novelty are relative to `train`."""
    lists = [[c.item_id for c in recommender.recommend(case.context, k)] for case in cases]
    return report_of(lists, [case.relevant for case in cases], train, k=k)


def report_of(
    lists: Sequence[Sequence[str]],
    relevant: Sequence[Collection[str]],
    train: Interactions,
    items: Items | None = None,
    *,
    k: int,
) -> Report:
    """Average over the first `k` of answers given; novelty is relative to `train`.

    Coverage is of all items of `train` and, where given, of the catalogue.
    """
    lists = [ranked[:k] for ranked in lists]
    counts = np.bincount(train.item_id.codes, minlength=len(train.item_id.values)).tolist()
    names = [item.decode() for item in train.item_id.values.tolist()]
    catalogue = (
        {*names, *(item.decode() for item in items.item_id.values.tolist())} if items else names
    )

    def mean(metric: Callable[[Sequence[str], Collection[str], int], float]) -> float:
        found = [metric(ranked, right, k) for ranked, right in zip(lists, relevant, strict=True)]
        return sum(found) / len(found) if found else 0.0

    return Report(
        cases=len(lists),
        k=k,
        recall=mean(recall_at_k),
        ndcg=mean(ndcg_at_k),
        hit_rate=mean(hit_rate_at_k),
        mrr=mean(reciprocal_rank_at_k),
        coverage=coverage(lists, catalogue),
        novelty=novelty(lists, dict(zip(names, counts, strict=True))),
    )


def backtest(
    recommender: Recommender,
    interactions: Interactions,
    items: Items | None = None,
    *,
    task: Task = "basket",
    k: int = 10,
    fraction: float = 0.2,
    cut: float | None = None,
    max_cases: int | None = 5_000,
    seed: int = 0,
) -> Report:
    """Fit a copy on the time before the cut and ask about the time after it.

    The recommender given is left as it is. Beyond `max_cases`, a sample drawn by `seed` is asked.
    Items unknown before the cut can be asked about: a real shop has them too.
    """
    train, test = time_split(interactions, fraction=fraction, cut=cut)
    cases = basket_cases(test) if task == "basket" else next_item_cases(test)
    if max_cases is not None and len(cases) > max_cases:
        drawn = np.random.default_rng(seed).choice(len(cases), max_cases, replace=False)
        cases = [cases[at] for at in sorted(drawn.tolist())]
    fitted = type(recommender)(**recommender.get_params()).fit(train, items)
    return evaluate(fitted, cases, train, k=k)


def _texts(column: Iterable[str | None]) -> list[str]:
    return [value for value in column if value is not None]


#: Tasks of a folder of cases, and how many items are asked for in each.
CASE_TASKS: Mapping[str, int] = {"session": 20, "user": 20, "basket": 10, "cold": 10}


class Answers(Protocol):
    """What is asked: an `Engine`, or a peer that it is compared with."""

    def recommend(
        self,
        visitor_id: Any = None,
        session: Iterable[Any] = (),
        events: Iterable[str] = (),
        k: int = 20,
        exclude: Iterable[Any] = (),
        now: float | None = None,
    ) -> list[Any]:
        """Give `k` item ids for a visit or a visitor."""

    def related(self, item_id: Any, k: int = 10) -> list[Any]:
        """Give `k` item ids that go with one."""


@dataclass(frozen=True)
class Question:
    """One case of a folder: what is asked with which words, and what came to pass.

    `task`: session, user, basket or cold. `relevant`: the answers that count as right.
    """

    task: str
    asked: Mapping[str, Any]
    relevant: frozenset[str]

    def ask(self, engine: Answers) -> list[str]:
        """Give the answer as texts, so that ids of a CSV and of JSON compare."""
        found = (
            engine.related(**self.asked)
            if self.task in ("basket", "cold")
            else engine.recommend(**self.asked)
        )
        return [str(item) for item in found]


def questions_of(
    cases: Mapping[str, Any], *, exclude_current: bool | None = None
) -> dict[str, list[Question]]:
    """Read `cases_public.json`: four lists by task, each of lists in a fixed order.

    `session`: [items so far, kinds of events or null, next item, items that follow, visitor or
    null, unix seconds or null]; the next item is the one right answer. `user`: [visitor, items
    bought, items that are not asked for]. `basket` and `cold`: [item, the others of its basket].
    `exclude_current`: the item being viewed is no answer; by default so where it never is one.
    ValueError names the case that is not of this form. TypeError: there are no tasks.
    """
    if not isinstance(cases, Mapping):
        raise TypeError(
            f"Cases are lists by task ({', '.join(CASE_TASKS)}), not one {type(cases).__name__}."
        )
    found: dict[str, list[Question]] = {}
    sessions = cases.get("session") or []
    try:
        if exclude_current is None:
            exclude_current = all(case[0][-1] != case[2] for case in sessions)
    except (IndexError, TypeError, KeyError):
        exclude_current = False
    for task, k in CASE_TASKS.items():
        found[task] = []
        for number, case in enumerate(cases.get(task) or []):
            try:
                asked, relevant = _question(task, case, exclude_current=exclude_current)
            except (IndexError, TypeError, ValueError) as error:
                raise ValueError(
                    f"Case {number} of {task!r} is not of its form: {error}"
                ) from error
            if relevant:
                found[task].append(
                    Question(task, {**asked, "k": k}, frozenset(str(item) for item in relevant))
                )
    return found


def _question(
    task: str, case: Sequence[Any], *, exclude_current: bool
) -> tuple[dict[str, Any], list[Any]]:
    if task == "session":
        so_far, kinds, following, _, visitor, now = case
        if not so_far:
            raise ValueError("it has no item so far")
        _check_ids(*so_far, following, *(() if visitor is None else (visitor,)))
        # Tells what is wrong with kinds and moment before anything is fitted.
        Context(session=tuple(map(str, so_far)), events=tuple(kinds or ()), now=now)
        asked = {
            "session": tuple(so_far),
            "events": tuple(kinds or ()),
            "visitor_id": visitor,
            "now": now,
            "exclude": (so_far[-1],) if exclude_current else (),
        }
        return asked, [following]
    if task == "user":
        visitor, relevant, exclude = case
        _check_ids(visitor, *relevant, *exclude)
        return {"visitor_id": visitor, "exclude": tuple(exclude)}, list(relevant)
    item, relevant = case
    _check_ids(item, *relevant)
    return {"item_id": item}, list(relevant)


def _check_ids(*ids: Any) -> None:
    for id_ in ids:
        if isinstance(id_, bool) or not isinstance(id_, (str, int)):
            raise TypeError(f"{id_!r} is no id: these are texts or whole numbers")


@dataclass(frozen=True)
class Measured:
    """Means over the questions of one task, and milliseconds of one answer."""

    cases: int
    k: int
    recall: float
    ndcg: float
    hit_rate: float
    mrr: float
    coverage: float
    novelty: float
    p50_ms: float
    p99_ms: float


def measure(
    engine: Answers,
    questions: Sequence[Question],
    train: Interactions,
    *,
    on_answer: Callable[[], None] = lambda: None,
) -> Measured:
    """Ask all questions of one task, one after the other, and average.

    Recall is hits over the smaller of k and what is right; coverage and novelty are of the items
    of `train`. All figures are 0 without a question.
    """
    lists, seconds = [], []
    for question in questions:
        started = perf_counter()
        lists.append(question.ask(engine))
        seconds.append(perf_counter() - started)
        on_answer()
    k = int(questions[0].asked["k"]) if questions else 0
    relevant = [question.relevant for question in questions]
    report = report_of(lists, relevant, train, k=k)
    p50, p99 = np.quantile(seconds, (0.5, 0.99)) * 1e3 if seconds else (0.0, 0.0)
    return Measured(**vars(report), p50_ms=float(p50), p99_ms=float(p99))


class MostPopular:
    """The yardstick of every measurement: the same items for everybody, by number of events."""

    def __init__(self, train: Interactions) -> None:
        """Count once."""
        counts = np.bincount(train.item_id.codes, minlength=len(train.item_id.values))
        order = np.lexsort((np.arange(len(counts)), -counts))
        self._items = [item.decode() for item in train.item_id.values[order].tolist()]

    def recommend(
        self,
        visitor_id: Any = None,
        session: Iterable[Any] = (),
        events: Iterable[str] = (),
        k: int = 20,
        exclude: Iterable[Any] = (),
        now: float | None = None,
    ) -> list[Any]:
        """Give the first `k` that are not excluded."""
        return self.answer(Context(exclude=frozenset(str(item) for item in exclude)), k)

    def answer(self, context: Context, k: int) -> list[str]:
        """Give the first `k` that are neither seeds nor excluded."""
        hidden = context.exclude.union(context.seeds)
        return list(islice((item for item in self._items if item not in hidden), k))

    def related(self, item_id: Any, k: int = 10) -> list[Any]:
        """Give the first `k` but the item itself."""
        return self.recommend(k=k, exclude=(item_id,))
