"""People withdraw in the midst of real runs: what follows for sums, ledgers, audits, and what nobody can tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clients.join import load_trainer
from clients.people.asking import listed
from clients.policy import load_site
from federation.audit.examine import audit
from federation.model.task import Dataset
from federation.plan.plan import Plan
from server.serve import serve
from tests.clients.people.houses import (
    BARE,
    NOISED,
    SIZES,
    THREE,
    Heard,
    build,
    gone,
    staffed,
)
from tests.worlds import by_hand, close, load_params, plan_of, text_of

PLAIN, PRIVATE = plan_of(BARE), plan_of(NOISED)


def text(plan: Plan) -> str:
    return text_of(BARE if plan is PLAIN else NOISED)


def data_of(folder: Path, left_out: tuple[str, ...] = ()) -> dict[str, Dataset]:
    """What the sites' files hold, without the rows of these people of the first one: cut from the file by hand."""
    path = folder / f"{THREE[0]}.csv"
    whole = path.read_text("utf-8")
    kept = [line for line in whole.splitlines() if not line.endswith(tuple(f",{who}" for who in left_out))]
    try:
        path.write_text("\n".join(kept) + "\n", "utf-8")
        return {name: load_trainer(load_site(folder / f"{name}.toml"), folder, PLAIN).data for name in THREE}
    finally:
        path.write_text(whole, "utf-8")


def played(
    folder: Path,
    plan: Plan,
    between: Callable[[], object] | None = None,
    *,
    stopped: bool = False,
) -> list[tuple[str, int]]:
    """A run, after whose first round something is done: with all processes `stopped`, or while they run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.toml").write_text(text(plan), "utf-8")
    given = folder / "plan.toml", build(folder / "sites", plan), folder / "run"
    after = 5  # batches: the greeting, and four exchanges of round 1, which bring round 2 with them
    if not stopped:
        with staffed(folder / "sites") as sites:
            line = Heard(sites, between=None if between is None else (after, between))
            serve(*given, line)
            return line.sizes
    with staffed(folder / "sites") as sites, pytest.raises(KeyboardInterrupt):
        serve(*given, Heard(sites, until=after))
    if between is not None:
        between()
    with staffed(folder / "sites") as sites:
        line = Heard(sites)
        serve(*given, line)
        return line.sizes


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_whoever_withdraws_between_two_rounds_is_in_none_after(tmp_path: Path, stopped: bool) -> None:
    """The params are those of a run on paper, whose later rounds are on a file without the rows of two people."""
    folder, people = tmp_path / "sites", ("P0001", "P0004")
    played(tmp_path, PLAIN, lambda: gone(folder, *people), stopped=stopped)
    told = listed(folder / f"{THREE[0]}.toml")
    assert told is not None
    assert [(each.round, each.lines) for each in told.releases] == [(1, 0), (2, 2), (3, 2)]
    whole, without = data_of(folder), data_of(folder, people)
    assert len(whole[THREE[0]]) - len(without[THREE[0]]) > len(people)  # one of them has two rows
    params, rounds = load_params(tmp_path / "run"), [THREE] * 3
    assert close(params, by_hand(PLAIN, [whole, without, without], rounds, sizes=SIZES))
    assert not close(params, by_hand(PLAIN, whole, rounds, sizes=SIZES))
    found = audit(tmp_path / "run", [folder / f"{name}.sqlite" for name in THREE])
    assert found.verdict == "pass", [each.to_json() for each in found.findings]
