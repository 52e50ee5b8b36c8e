"""Other accountants agree within what they promise, say nothing where they cannot, and are never asked for less."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from pathlib import Path

import pytest

import privacy
from privacy.accounting.crosscheck import cross_check
from privacy.accounting.events import Event, GaussianEvent, NonPrivateEvent
from privacy.accounting.pld import epsilon
from privacy.errors import UnsafeParameters

# Noise multiplier, sample rate, count, delta.
GRID = [
    (1.0, 1.0, 1, 1e-5),
    (5.0, 1.0, 50, 1e-5),
    (1.0, 0.01, 1000, 1e-5),
    (1.1, 0.004, 15000, 1e-5),
    (2.0, 0.5, 20, 1e-5),
    (0.6, 0.001, 5000, 1e-6),
]


@pytest.mark.parametrize(("z", "rate", "count", "delta"), GRID)
def test_prv_is_at_most_its_error_above_and_rdp_is_above(
    z: float, rate: float, count: int, delta: float
) -> None:
    """DP-3: Opacus's PRV in [PLD, PLD + 0.011], RDP at least PLD."""
    found, events = epsilon([GaussianEvent(z, rate, count)], delta), [GaussianEvent(z, rate, count)]
    others = cross_check(events, delta)
    assert others["prv"] is not None
    assert others["rdp"] is not None
    assert found - 1e-3 <= others["prv"] <= found + 0.011
    assert found <= others["rdp"] <= 1.6 * found


def test_plans_that_follow_each_other_are_checked_together() -> None:
    events = [GaussianEvent(1.0, 0.01, 500), GaussianEvent(2.0, 0.1, 50), GaussianEvent(1.0, 0.01, 500)]
    prv = cross_check(events, 1e-5)["prv"]
    assert prv is not None
    assert epsilon(events, 1e-5) - 1e-3 <= prv <= epsilon(events, 1e-5) + 0.011


@pytest.mark.parametrize(
    "event",
    [
        GaussianEvent(1.0, 0.1, 10, 2),
        GaussianEvent(0.1, 1.0, 100),
        GaussianEvent(0.3, 0.5, 1000),
        NonPrivateEvent(),
    ],
)
def test_prv_says_nothing_where_it_knows_nothing_or_would_fill_the_memory(event: Event) -> None:
    others = cross_check([event], 1e-5)
    assert others["prv"] is None
    assert others["rdp"] is not None
    assert others["rdp"] >= epsilon([event], 1e-5) or isinstance(event, NonPrivateEvent)


def test_without_any_release_both_say_nothing_was_spent() -> None:
    assert cross_check([], 1e-5) == {"rdp": 0.0, "prv": 0.0}
    assert cross_check([GaussianEvent(1.0, 0.1, 0)], 1e-5)["prv"] == 0.0


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan, -1e-5, True])
def test_a_delta_that_is_none_reaches_no_library(delta: float) -> None:
    """DP-8: refused before any library is called."""
    with pytest.raises(UnsafeParameters):
        cross_check([GaussianEvent(1.0, 0.1, 1)], delta)


def test_the_accountant_of_opacus_that_underestimates_cannot_be_reached() -> None:
    """DP-9: no source names it, and of Opacus's accountants one alone is imported."""
    folder = Path(privacy.__file__).parent.parent
    names = set[str]()
    for package in ("privacy", "federation", "clients", "server", "simulations"):
        for path in (folder / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("opacus.accountants"):
                    names.update(alias.name for alias in node.names)
    assert names == {"PRVAccountant"}


def test_opacus_would_have_answered_less_than_the_truth() -> None:
    """DP-9, the control: the figure that makes its third accountant unfit."""
    from opacus.accountants import GaussianAccountant

    with pytest.warns(UserWarning, match="can underestimate"):
        accountant = GaussianAccountant()
    accountant.history = [(0.6, 0.001, 5000)]
    found = float(accountant.get_epsilon(1e-6))
    assert found < 0.5 * epsilon([GaussianEvent(0.6, 0.001, 5000)], 1e-6)


def test_opacus_is_imported_only_when_asked_for() -> None:
    code = (
        "import sys, privacy.accounting.crosscheck as c, privacy.accounting.events as e;"
        "c.cross_check([e.GaussianEvent(1.0, 0.1, 10, 2)], 1e-5);"
        "sys.exit('opacus' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
