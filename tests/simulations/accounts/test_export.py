"""Ledgers made of an account: the same every time, one for all of many sites, and never those of a real run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.ledger.export import load_entries
from federation.ledger.store import EVERY_SITE, journal_bytes
from federation.plan.plan import parse
from privacy.canonical import canonical
from privacy.ledger.chain import Entry, append
from privacy.ledger.state import fold
from simulations.accounts import export
from simulations.simulate import simulate
from simulations.world import World, identity
from tests.worlds import NAMES, text_of, write_sites

TEXT = text_of(noise="distributed", rounds=4, size=3, sample_rate=1.0).replace(
    "[evaluation]", "[evaluation]\nepsilon = 1.0"
)


class Keys:
    """The keys that a simulation derived: whoever runs one has them all."""

    seed = b""


@pytest.fixture(scope="module", params=["each", "all"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a ledger for each site, and one with a ledger for all."""
    home = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "MOST", 1000 if request.param == "each" else 2)
        keep = World.__init__

        def noting(world: World, *given: Any, **named: Any) -> None:
            keep(world, *given, **named)
            Keys.seed = world.seed

        patch.setattr(World, "__init__", noting)
        simulate(parse(TEXT), write_sites(home / "sites", 5), home / "run", baseline=False)
    (home / "seed").write_bytes(Keys.seed)
    return home / "run"


def test_it_passes_and_tells_of_each_site_what_that_was_charged(run: Path) -> None:
    found = audit(run)
    assert (found.verdict, found.findings) == ("pass", ())
    assert found.simulated is True
    report = json.loads((run / "report.json").read_text())
    rounds = {site["id"]: site["rounds"] for site in report["sites"]}
    assert {site.id: site.training.executed for site in found.sites} == rounds
    assert sum(rounds.values()) == 4 * 3
    names = sorted(path.name for path in (run / "journals").iterdir())
    assert names in (["all.sqlite"], [f"{name}.sqlite" for name in NAMES[:5]])


def test_every_ledger_says_first_that_it_is_simulated_and_all_that_follows_depends_on_it(run: Path) -> None:
    for path in (run / "journals").iterdir():
        account = fold(load_entries(path))
        assert account.tip.genesis.simulated is True
        assert account.tip.genesis.site == (EVERY_SITE if path.stem == "all" else path.stem)


def resigned(path: Path, key: Any) -> None:
    """The same ledger, from a first entry on that denies that it is simulated, signed anew by its own key."""
    entries, last = load_entries(path), None
    new: list[Entry] = []
    for entry in entries:
        body = dict(entry.body)
        if entry.kind == "genesis":
            body["simulated"] = False
        last = append(last, entry.kind, body, key)
        new.append(last)
    path.write_bytes(journal_bytes(new, [canonical(entry.body) for entry in new]))


def deny(run: Path) -> None:
    """The report claims a real run over Flower."""
    path = run / "report.json"
    report = json.loads(path.read_text())
    path.write_text(json.dumps(report | {"simulated": False, "engine": "flower"}))


def lie(run: Path, seed: bytes) -> None:
    for path in (run / "journals").iterdir():
        resigned(path, identity(seed, "" if path.stem == "all" else path.stem))


def heads(run: Path) -> None:
    """And the closing receipt shows no heads that would contradict the new ledgers."""
    path = run / "receipts.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["heads"] = {}
    path.write_text("".join(f"{json.dumps(line, sort_keys=True)}\n" for line in lines))


LIES: dict[str, Callable[[Path, bytes], None]] = {
    "in its report": lambda run, _: deny(run),
    "in its ledgers": lie,
    "in both": lambda run, seed: (deny(run), lie(run, seed))[0],
    "wherever it can": lambda run, seed: (deny(run), lie(run, seed), heads(run))[0],
}


@pytest.mark.parametrize("told", LIES)
def test_a_simulated_run_never_passes_for_a_real_one(run: Path, tmp_path: Path, told: str) -> None:
    """Not even with all keys of the sites at hand: no site has signed a consent, and no round shows a head."""
    copy = copytree(run, tmp_path / "run")
    LIES[told](copy, (run.parent / "seed").read_bytes())
    found = audit(copy)
    assert found.verdict == "fail", told
    assert any(each.severity == "critical" for each in found.findings)


def test_exporting_again_gives_the_same_ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed at the end, and another that ends the run: what was shown of it still holds."""

    def dying(*_: object) -> None:
        raise KeyboardInterrupt

    text, sites = text_of(rounds=2), write_sites(tmp_path / "sites")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("server.run_folder.RunFolder.write_params", dying)
        simulate(parse(text), sites, tmp_path / "run")
    before = {path.name: load_entries(path) for path in (tmp_path / "run" / "journals").iterdir()}
    simulate(parse(text), sites, tmp_path / "run")
    for path in (tmp_path / "run" / "journals").iterdir():
        entries = load_entries(path)
        assert entries[: len(before[path.name])] == before[path.name]
        assert [entry.kind for entry in entries[len(before[path.name]) :]] == ["roster"]
