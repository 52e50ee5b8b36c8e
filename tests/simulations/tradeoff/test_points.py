"""Points: a complete plan each, or why there is none."""

from __future__ import annotations

import pytest

from federation.errors import InputError
from federation.plan.plan import parse
from simulations.tradeoff.points import CAUTION, epsilons_of, noises_of, points_of, require_frontier, seeds_of
from tests.worlds import plan_of, text_of

TEXT = text_of(noise="site", local_steps=2, epsilon=3.0)


def test_each_is_the_plan_with_two_keys_changed() -> None:
    point = points_of(TEXT, [0.5], ["site"])[0]
    plan = parse(point.file())
    assert (plan.privacy.epsilon, plan.privacy.noise) == (0.5, "site")
    assert plan.digest == parse(text_of(noise="site", local_steps=2, epsilon=0.5)).digest
    assert point.file().startswith("# ")
    assert CAUTION in point.file()
    assert point.name == "epsilon-0.5-site"


def test_what_a_plan_refuses_is_told_and_the_rest_is_there() -> None:
    points = points_of(TEXT, [1.0, 2.0], ["distributed", "site"])
    assert [(one.noise, one.epsilon) for one in points] == [
        ("distributed", 1.0), ("distributed", 2.0), ("site", 1.0), ("site", 2.0),
    ]  # fmt: skip
    assert [one.plan is None for one in points] == [True, True, False, False]
    assert "local_steps" in points[0].refused
    assert points[2].refused == ""


@pytest.mark.parametrize("words", ["", "a", "1,,2", "0", "-1", "nan", "inf", "1;2"])
def test_what_is_no_list_of_epsilons(words: str) -> None:
    with pytest.raises(InputError, match="--epsilon"):
        epsilons_of(words)


def test_lists() -> None:
    assert epsilons_of("8, 0.5,1,1.0") == (0.5, 1.0, 8.0)
    plan = plan_of(noise="site", epsilon=1.0, seed=3)
    assert noises_of(None, plan) == ("site",)
    assert noises_of("central, site,central", plan) == ("central", "site")
    assert seeds_of(plan, 3) == (3, 4, 5)
    for words in ("none", "loud", ""):
        with pytest.raises(InputError, match="--noise"):
            noises_of(words, plan)


def test_what_is_no_frontier() -> None:
    with pytest.raises(InputError, match="nothing to trade"):
        require_frontier(plan_of(noise="none"), None, 1, 1, 1)
    with pytest.raises(InputError, match="at most 1000"):
        require_frontier(plan_of(noise="site"), None, 20, 3, 20)
    own = '\n[personal]\nsteps = 1\nlearning_rate = 0.1\nlayers = ["2"]\nkept = 130\n'
    with pytest.raises(InputError, match="leaves no whole model to compare"):
        require_frontier(parse(TEXT + own), None, 1, 1, 1)
