"""Ways through a definition: every step, the step at a path, what follows it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from saleor_personalize.journeys.definitions.shapes import (
    BEST,
    SEGMENT_CONDITIONS,
    Definition,
    Message,
    Offer,
    Path,
    Split,
    Step,
    WaitFor,
)


def branches_of(step: Step) -> Mapping[str, tuple[Step, ...]]:
    """Return the ways that lead on from a step, by name; none for most."""
    if isinstance(step, Split) and step.by != "rule":
        return {branch.name: branch.steps for branch in step.branches}
    if isinstance(step, (Split, WaitFor)):
        return {"then": step.then, "otherwise": step.otherwise}
    return {}


def delivery_channels_of(definition: Definition, every: Collection[str]) -> set[str]:
    """Return over what a journey may write; `every`: what `best` chooses from."""
    found: set[str] = set()
    for _path, step in walk(definition):
        if isinstance(step, Message):
            found |= set(every) if step.delivery_channel == BEST else {step.delivery_channel}
            found |= {step.fallback.to} if step.fallback else set()
    return found


def walk(definition: Definition) -> Iterator[tuple[Path, Step]]:
    """Yield every step with its path, as one reads them."""
    yield from _walk(definition.steps, ())


def _walk(steps: tuple[Step, ...], above: Path) -> Iterator[tuple[Path, Step]]:
    for index, step in enumerate(steps):
        yield (*above, index), step
        for name, below in branches_of(step).items():
            yield from _walk(below, (*above, index, name))


def offers_of(definition: Definition) -> list[Offer]:
    """Return the offer steps of a journey, as one reads them."""
    return [step for _path, step in walk(definition) if isinstance(step, Offer)]


def segments_named(definition: Definition) -> Iterator[tuple[str, str]]:
    """Yield where a definition names a segment, and its key: names that only a shop knows."""
    trigger = definition.trigger
    if trigger.type == "segment_entered":
        yield "trigger.segment", str(trigger.options["segment"])
    found = [(f"goals[{n}]", one) for n, one in enumerate(definition.goals)]
    found += [(f"exits[{n}]", one) for n, one in enumerate(definition.exits)]
    found += [
        (f"{path_text(path)}.wait_for.event", step.event)
        for path, step in walk(definition)
        if isinstance(step, WaitFor)
    ]
    for where, condition in found:
        name, _colon, argument = condition.partition(":")
        if name in SEGMENT_CONDITIONS:
            yield where, argument


def step_at(definition: Definition, path: Path) -> Step | None:
    """Return the step at a path; None when there is none (the end of a list)."""
    steps: tuple[Step, ...] = definition.steps
    step: Step | None = None
    for part in path:
        if isinstance(part, int):
            if part >= len(steps):
                return None
            step = steps[part]
        else:
            steps = branches_of(step).get(part, ()) if step is not None else ()
    return step


def following_path(definition: Definition, path: Path) -> Path | None:
    """Return the path after a step is done: the next in its list, else after the split around it."""
    while path:
        *above, index = path
        following: Path = (*above, int(index) + 1)
        if step_at(definition, following) is not None:
            return following
        path = tuple(above[:-1])
    return None


def into_branch(definition: Definition, path: Path, name: str) -> Path | None:
    """Return the path of the first step of a branch; of what follows the split when it is empty."""
    inside: Path = (*path, name, 0)
    return inside if step_at(definition, inside) is not None else following_path(definition, path)


def next_message(definition: Definition, path: Path | None) -> Message | None:
    """Return the message that is at a path, or the first that may follow."""
    if path is None:
        return None
    step = step_at(definition, path)
    return step if isinstance(step, Message) else _message_at_or_after(definition, path)


def _message_at_or_after(definition: Definition, path: Path) -> Message | None:
    for at, step in walk(definition):
        if isinstance(step, Message) and at[: len(path)] == path:
            return step
    return message_after(definition, path)


def message_after(definition: Definition, path: Path) -> Message | None:
    """Return a message that can follow a step, on whatever branch."""
    following = following_path(definition, path)
    while following is not None:
        step = step_at(definition, following)
        if step is None:
            return None
        if isinstance(step, Message):
            return step
        for _path, below in walk(definition):
            if isinstance(below, Message) and _path[: len(following)] == following:
                return below
        following = following_path(definition, following)
    return None


def path_text(path: Path) -> str:
    """Return a path as faults show it: (1, "then", 0) -> "steps[1].then[0]"."""
    text = "steps"
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text
