"""People withdraw in the midst of real runs: what follows for sums, ledgers, audits, and what nobody can tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from clients.join import load_trainer
from clients.journal.journal import Journal
from clients.people.asking import listed
from clients.people.listed import Withdrawals
from clients.policy import load_site
from clients.training.work import Trainer
from federation.audit.examine import audit
from federation.errors import FederationError
from federation.ledger.export import export_lines, load_entries
from federation.model.task import Dataset
from federation.plan.plan import Plan, parse
from privacy.errors import PolicyViolation
from privacy.ledger import withdrawals
from privacy.mechanism.noise import Stream
from server.run_folder import RunFolder
from server.serve import serve
from simulations.world import InProcess
from tests.clients.people.houses import BARE, NOISED, SIZES, THREE, Heard, build, gone, staffed
from tests.worlds import by_hand, close, load_params, plan_of, start, text_of

PLAIN, PRIVATE = plan_of(BARE), plan_of(NOISED)
ROUND_1 = (
    5  # batches of requests: the greeting, and four exchanges, which bring the first two of round 2 with them
)
ROUNDS = ROUND_1 + 4


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


def played(folder: Path, plan: Plan, between: Callable[[], object] = lambda: None) -> list[tuple[str, int]]:
    """The rounds of a run, after whose first something is done while all processes run; its end is not played.

    How long each reply of the first site was.
    """
    given = given_by(folder, plan)
    with staffed(folder / "sites") as sites:
        line = Heard(sites, ROUND_1, between, until=ROUNDS)
        with pytest.raises(KeyboardInterrupt):
            serve(*given, line)
        return line.sizes


def given_by(folder: Path, plan: Plan) -> tuple[Path, Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.toml").write_text(text_of(BARE if plan is PLAIN else NOISED), "utf-8")
    return folder / "plan.toml", build(folder / "sites", plan), folder / "run"


def lines_of(folder: Path) -> list[tuple[int, int | None]]:
    """Each round that the first site released, and how many lines its list had then."""
    told = listed(folder / f"{THREE[0]}.toml")
    assert told is not None
    return [(each.round, each.lines) for each in told.releases]


def is_of(folder: Path, params: Tensor, people: tuple[str, ...], held: int = 1) -> bool:
    """Whether params are those of a run on paper, whose rounds lack these people's rows, but for the first few."""
    whole, rest = data_of(folder), data_of(folder, people)
    assert len(whole[THREE[0]]) - len(rest[THREE[0]]) > len(people)  # one of them has two rows
    assert not close(params, by_hand(PLAIN, whole, [THREE] * 3, sizes=SIZES))
    data = [whole] * held + [rest] * (3 - held)
    return close(params, by_hand(PLAIN, data, [THREE] * 3, sizes=SIZES))


def test_whoever_withdraws_between_two_rounds_is_in_none_after(tmp_path: Path) -> None:
    folder = tmp_path / "sites"
    played(tmp_path, PLAIN, lambda: gone(folder, "P0001", "P0004"))
    assert lines_of(folder) == [(1, 0), (2, 2), (3, 2)]
    state = RunFolder(tmp_path / "run", PLAIN).state(start(PLAIN))
    assert (state.round, is_of(folder, state.params, ("P0001", "P0004"))) == (3, True)


def test_a_run_whose_people_withdrew_while_all_was_stopped_goes_on_and_its_audit_is_clean(
    tmp_path: Path,
) -> None:
    """The list is no other data; and whoever deletes the rows, too, brings the same pool and the same budget."""
    folder, given = tmp_path / "sites", given_by(tmp_path, PLAIN)
    with staffed(folder) as sites, pytest.raises(KeyboardInterrupt):
        serve(*given, Heard(sites, until=ROUND_1))
    gone(folder, "P0001", "P0004")
    with staffed(folder) as sites:
        serve(*given, Heard(sites))
    assert lines_of(folder) == [(1, 0), (2, 2), (3, 2)]
    assert is_of(folder, load_params(tmp_path / "run"), ("P0001", "P0004"))
    found = audit(tmp_path / "run", [folder / f"{name}.sqlite" for name in THREE])
    assert found.verdict == "pass", [each.to_json() for each in found.findings]


@pytest.mark.parametrize(("dies_at", "held"), [("release", 1), ("mask", 2)])
def test_a_site_that_is_killed_in_a_round_says_what_it_left_out_of_the_bytes_that_leave(
    dies_at: str, held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its bytes are fixed a round is computed anew, on the list of then; later they stay as they are."""
    folder, given, real = tmp_path / "sites", given_by(tmp_path, PLAIN), getattr(Journal, dies_at)

    def dies(journal: Journal, run: str, number: int, *rest: object, **named: object) -> object:
        if number == 2:
            raise KeyboardInterrupt
        return real(journal, run, number, *rest, **named)

    with monkeypatch.context() as patch, staffed(folder) as sites, pytest.raises(KeyboardInterrupt):
        patch.setattr(Journal, dies_at, dies)
        serve(*given, Heard(sites))
    gone(folder, "P0001", "P0004")
    with staffed(folder) as sites, pytest.raises(KeyboardInterrupt):
        serve(*given, Heard(sites, until=7))
    assert lines_of(folder) == [(number, 0 if number <= held else 2) for number in (1, 2, 3)]
    begun = [
        entry.body["round"] for entry in load_entries(folder / f"{THREE[0]}.sqlite") if entry.kind == "begin"
    ]
    assert begun == [1, 2, 3]
    state = RunFolder(tmp_path / "run", PLAIN).state(start(PLAIN))
    assert (state.round, is_of(folder, state.params, ("P0001", "P0004"), held)) == (3, True)


def test_deleted_rows_are_no_other_pool_and_get_no_other_budget(tmp_path: Path) -> None:
    folder = tmp_path / "sites"
    build(folder, PRIVATE)
    rules = load_site(folder / f"{THREE[0]}.toml")
    with staffed(folder):
        load_trainer(rules, folder, PRIVATE)
    gone(folder, "P0001")
    path = folder / f"{THREE[0]}.csv"
    rows = [line for line in path.read_text("utf-8").splitlines() if not line.endswith(",P0001")]
    path.write_text("\n".join(rows) + "\n", "utf-8")
    load_trainer(rules, folder, PRIVATE)
    text = (folder / f"{THREE[0]}.toml").read_text("utf-8")
    (folder / "other.toml").write_text(text.replace(f'pool = "{THREE[0]}"', 'pool = "others"'), "utf-8")
    with pytest.raises(PolicyViolation, match=f'used under pool "{THREE[0]}"'):
        load_trainer(load_site(folder / "other.toml"), folder, PRIVATE)


# What nobody outside can tell.


def seen(folder: Path, sizes: list[tuple[str, int]]) -> dict[str, object]:
    """The form of all that others see of the first site: replies, its ledger's lines, heads, receipts."""
    entries = load_entries(folder / "sites" / f"{THREE[0]}.sqlite")
    exported = export_lines(entries).splitlines()
    receipts = [
        {name: len(str(value)) for name, value in json.loads(line).items() if name != "seconds"}
        for line in (folder / "run" / "receipts.jsonl").read_text("utf-8").splitlines()
    ]
    said = [entry.body["withdrawn"] for entry in entries if entry.kind == "release"]
    assert len(set(said)) == len(said) == 3, (
        "two rounds say the same, so whoever reads sees that nothing changed"
    )
    return {
        "replies": sizes,
        "entries": [(entry.seq, entry.kind, sorted(entry.body)) for entry in entries],
        "lines": [len(line) for line in exported],
        "receipts": receipts,
    }


def forms(folder: Path, *cases: list[str]) -> list[dict[str, object]]:
    """What others see of a run each, in the midst of which these people withdrew."""
    found = []
    for number, ids in enumerate(cases):
        place = folder / str(number)
        sizes = played(
            place, PRIVATE, lambda place=place, ids=ids: gone(place / "sites", *ids) if ids else None
        )
        found.append(seen(place, sizes))
    return found


EVERYBODY = [f"P{number:04d}" for number in range(40)]


def test_a_withdrawal_changes_the_form_of_nothing_that_leaves(tmp_path: Path) -> None:
    """Neither lengths nor heads nor an export tell of it, nor of how many there were: even if nobody is left."""
    nobody, all_ = forms(tmp_path, [], EVERYBODY)
    assert nobody == all_


def test_a_site_that_everybody_left_before_it_joins_answers_as_any_other(tmp_path: Path) -> None:
    given = given_by(tmp_path, PRIVATE)
    gone(tmp_path / "sites", *EVERYBODY)
    with staffed(tmp_path / "sites") as sites:
        line = Heard(sites, until=5)
        with pytest.raises(KeyboardInterrupt):
            serve(*given, line)
    assert [kind for kind, _ in line.sizes] == ["WELCOME", "ADVERT", "SHARES", "MASKED", "REVEAL"]


MUTANTS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "one salt for all rounds": (withdrawals, "salt", lambda secret, _: secret),
    "the list in the entry": (
        Withdrawals,
        "commitment",
        lambda known, _: "".join(mark.hex() for mark in known.marks()) or "00" * 32,
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_ledger_that_tells_would_be_found(
    mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*MUTANTS[mutant])
    with pytest.raises((AssertionError, FederationError, pytest.fail.Exception)):
        nobody, all_ = forms(tmp_path, [], EVERYBODY)
        assert nobody == all_


def test_who_withdraws_while_a_last_round_is_trained_is_in_no_layers_without_noise_after_it(
    tmp_path: Path,
) -> None:
    """The list grew, and what was kept was forgotten, before the round put its own layers on disk."""
    changes = {**NOISED, "unit": "client", "task.model": "mlp"}
    kept = '\n[personal]\nsteps = 5\nlearning_rate = 0.1\nlayers = ["2"]\nkept = 130\n'
    plan = parse(text_of(changes, rounds=1) + kept)
    (tmp_path / "plan.toml").write_text(plan.to_toml(), "utf-8")
    roster = build(tmp_path / "sites", plan)
    with staffed(tmp_path / "sites") as sites:
        site, told = sites[THREE[0]], list[object]()
        load = site.load

        def loaded(asked: Plan) -> Trainer:
            trainer = load(asked)

            def stream(number: int) -> Stream:
                told.append(gone(tmp_path / "sites", "P0001"))
                return trainer.stream(number)

            return replace(trainer, stream=stream)

        site.load, site.is_timed = loaded, False
        serve(
            tmp_path / "plan.toml", roster, tmp_path / "run", InProcess({n: sites[n].receive for n in sites})
        )
    assert len(told) == 1
    folder = tmp_path / "sites" / f"{THREE[0]}.sqlite.layers"
    assert folder.exists() and not list(folder.iterdir())
