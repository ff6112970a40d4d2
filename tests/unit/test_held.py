"""What a decision reads once, and what nobody remembers."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from saleor_personalize.models.held import held, once


@pytest.fixture
def read() -> Callable[[], int]:
    """Return a read that answers 1, then 2, then 3 ..."""
    answers = iter(range(1, 100))
    return lambda: next(answers)


def test_outside_of_a_decision_every_question_is_asked_anew(read: Callable[[], int]) -> None:
    assert [once("who", read), once("who", read)] == [1, 2]


def test_within_a_decision_the_first_answer_stands(read: Callable[[], int]) -> None:
    with held():
        assert [once("who", read), once("who", read), once("what", read)] == [1, 1, 2]


def test_that_there_is_nothing_is_an_answer_too() -> None:
    asked: list[str] = []
    with held():
        for _ in range(2):
            assert once("cart", lambda: asked.append("cart")) is None
    assert asked == ["cart"]


def test_the_next_decision_knows_nothing_of_the_last(read: Callable[[], int]) -> None:
    with held():
        once("who", read)
    with held():
        assert once("who", read) == 2
    assert once("who", read) == 3


def test_a_decision_that_fails_leaves_nothing_behind(read: Callable[[], int]) -> None:
    def decide() -> None:
        with held():
            once("who", read)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        decide()
    assert once("who", read) == 2


def test_what_fails_is_asked_again(read: Callable[[], int]) -> None:
    def fails() -> int:
        raise LookupError

    with held():
        with pytest.raises(LookupError):
            once("who", fails)
        assert once("who", read) == 1


def test_another_thread_knows_nothing_of_it(read: Callable[[], int]) -> None:
    found: list[int] = []
    with held():
        once("who", read)
        other = threading.Thread(target=lambda: found.append(once("who", read)))
        other.start()
        other.join()
    assert found == [2]
