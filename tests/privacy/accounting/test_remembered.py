"""What was remembered is proved before it is used: a memory in an enemy's hands makes nothing less private."""

from __future__ import annotations

import random  # noqa: TID251 - lies, and no secrets
from collections.abc import Iterator
from typing import Any

import pytest

from privacy.accounting import calibration, crosscheck, pld
from privacy.accounting.bounds import Mechanism, recount
from privacy.accounting.calibration import noise_multiplier
from privacy.accounting.crosscheck import cross_check
from privacy.accounting.events import Event, GaussianEvent, ReplacedEvent
from privacy.accounting.pld import epsilon, epsilon_by_round, rdp_epsilon
from privacy.accounting.remembered import remembering

PLAN = 2.0, 1e-5, 0.2, 30
EVENTS: tuple[Event, ...] = (
    GaussianEvent(1.5, 0.1, 40), GaussianEvent(1.5, 0.1, 40, 3), ReplacedEvent(2.0, 0.1, 30),
)  # fmt: skip


class Notebook:
    """A memory in which anybody may write."""

    def __init__(self) -> None:
        self.pages: dict[str, object] = {}

    def recall(self, question: str) -> object:
        return self.pages.get(question)

    def keep(self, question: str, answer: object) -> None:
        self.pages[question] = answer


def forget() -> None:
    """What a new process does not know."""
    for known in (calibration.noise_multiplier, pld._bound, pld._rdp_epsilon, crosscheck._prv_epsilon):
        known.cache_clear()


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    forget()
    yield
    forget()


def answers() -> dict[str, Any]:
    """Everything that is ever remembered, as another process would answer it."""
    forget()
    return {
        "noise": noise_multiplier(*PLAN),
        "epsilon": [epsilon([event], 1e-5) for event in EVENTS],
        "rdp": rdp_epsilon([EVENTS[0]], 1e-5),
        "prv": cross_check([EVENTS[0]], 1e-5)["prv"],
        "rounds": epsilon_by_round(GaussianEvent(1.2, 0.3, 2), 45, 1e-5),
    }


@pytest.fixture(scope="module")
def honest() -> tuple[dict[str, Any], dict[str, object]]:
    """The answers of a process that remembers nothing, and what it wrote down."""
    notes = Notebook()
    with remembering(notes):
        return answers(), dict(notes.pages)


def test_a_second_process_says_the_same_and_asks_no_library(
    honest: tuple[dict[str, Any], dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notebook()
    notes.pages = dict(honest[1])
    monkeypatch.setattr(pld, "distribution", lambda *_: pytest.fail("the library was asked"))
    monkeypatch.setattr(pld, "_by_library", lambda *_: pytest.fail("the library was asked"))
    monkeypatch.setattr(crosscheck, "_by_opacus", lambda *_: pytest.fail("the library was asked"))
    with remembering(notes):
        assert answers() == honest[0]
    assert notes.pages == honest[1], "and has nothing to add"


def test_without_a_memory_nothing_is_remembered(honest: tuple[dict[str, Any], dict[str, object]]) -> None:
    assert answers() == honest[0]


LIES = [
    None, 0.0, -1.0, float("nan"), float("inf"), True, "2.0", [1.0], {"epsilon": 1.0}, 10**400, 1e-9, 3,
    [], [float("nan")] * 45, [True] * 45, ["1"] * 45, [1.0] * 45, [10**400] * 45,
]  # fmt: skip


@pytest.mark.parametrize("first", range(4))
def test_what_is_no_answer_is_as_if_nothing_had_been_remembered(
    honest: tuple[dict[str, Any], dict[str, object]], first: int
) -> None:
    """Every page has another lie, and each page several of them in turn."""
    notes = Notebook()
    lies = [*LIES[5 * first :], *LIES[: 5 * first]]
    notes.pages = {page: lies[place % len(lies)] for place, page in enumerate(honest[1])}
    with remembering(notes):
        assert answers() == honest[0]
    assert notes.pages == honest[1], "and it is put right"


@pytest.mark.parametrize("factor", [0.5, 0.9995, 1.003])
def test_a_number_that_is_not_the_right_one_is_not_used(
    honest: tuple[dict[str, Any], dict[str, object]], factor: float
) -> None:
    """Least of all one that is a little too small. One that is a little too large costs a little more noise."""
    notes = Notebook()
    notes.pages = {question: _changed(answer, factor) for question, answer in honest[1].items()}
    with remembering(notes):
        found = answers()
    assert honest[0]["noise"] <= found["noise"] <= 1.005 * honest[0]["noise"]
    assert found["rdp"] == honest[0]["rdp"]
    assert abs(found["prv"] - honest[0]["prv"]) < 0.02
    for value, right in zip(found["epsilon"], honest[0]["epsilon"], strict=True):
        assert right * (1 - 1e-4) <= value <= right * 1.01
    for number, value in found["rounds"].items():
        assert value >= honest[0]["rounds"][number] * (1 - 1e-3)


def _changed(answer: object, factor: float) -> object:
    if isinstance(answer, list):
        return [value * factor for value in answer]
    return round(answer * factor) if isinstance(answer, int) else answer * factor  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_memory_holds_the_noise_is_enough(seed: int) -> None:
    """Noise that is a thousandth too little, with epsilons beside it that say it does, is not taken either."""
    target, delta, rate, count = PLAN

    class Liar(Notebook):
        dice = random.Random(seed)  # noqa: S311

        def recall(self, question: str) -> object:
            if question.startswith("('noise'"):
                return self.dice.choice([300, 1000, 2500, 100_000_000, *range(2380, 2400)])
            return target * self.dice.choice([0.9, 0.999, 0.9999, 1.0, 1.0001, 1.001])

    with remembering(Liar()):
        z = noise_multiplier(target, delta, rate, count)
    assert recount([Mechanism(z, rate, count)], delta).lower <= target
    forget()
    honest = noise_multiplier(target, delta, rate, count)
    assert honest - 0.0011 <= z <= honest * 1.005, "and hardly more than that"


def test_a_curve_that_falls_or_sags_is_not_used(honest: tuple[dict[str, Any], dict[str, object]]) -> None:
    question = next(page for page in honest[1] if page.startswith("('curve'"))
    right = honest[1][question]
    assert isinstance(right, list)
    for place in (0, 20, 30):
        for value in (right[place - 1] if place else 0.1, right[min(place + 1, len(right) - 1)]):
            notes = Notebook()
            notes.pages = {**honest[1], question: [*right[:place], value, *right[place + 1 :]]}
            with remembering(notes):
                found = answers()["rounds"]
            assert all(found[number] >= honest[0]["rounds"][number] * (1 - 2e-3) for number in found)
