"""A plan with folds over real lines: one reservation for all parts, whoever is killed or away in between."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from clients.join import open_site
from clients.site import Site
from federation.audit.examine import audit
from federation.errors import CheckpointError, DataError, FederationError
from federation.ledger.export import load_entries
from federation.plan.plan import parse
from federation.report.files import read_report
from federation.round.messages import Frame, Kind
from federation.round.transport import Outgoing
from privacy.ledger.limits import Run
from privacy.ledger.state import fold
from server.rehearsal import rehearse
from server.run_folder import RunFolder
from server.serve import serve
from simulations.world import InProcess
from tests.federation.audit.audited import SITES, consortium
from tests.worlds import text_of

K, ROUNDS = 2, 2
TEXT = text_of(noise="distributed", rounds=ROUNDS, holdout=0.0, dropouts=1).replace(
    "[evaluation]", f"[evaluation]\nepsilon = 1.0\nfolds = {K}"
)
PLAN = parse(TEXT)
NAMES = (*SITES, "dogwood")


class Network(InProcess):
    """One whose server is killed after so many batches, and on which some parts do not reach some sites."""

    def __init__(
        self, sites: Mapping[str, Site], batches: int = 1000, away: Iterable[tuple[str, int]] = ()
    ) -> None:
        super().__init__({name: site.receive for name, site in sites.items()})
        self.left, self.away = batches, set(away)

    def send(self, messages: Iterable[Outgoing]) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        super().send(each for each in messages if (each.to, Frame.header(each.data).run[-1]) not in self.away)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    consortium(tmp_path, TEXT, NAMES)
    return tmp_path


@contextmanager
def opened(folder: Path) -> Iterator[dict[str, Site]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(closing(open_site(folder / name / "site.toml"))) for name in NAMES}


def play(folder: Path, carrier: InProcess) -> None:
    serve(folder / "plan.toml", folder / "roster.toml", folder / "run", carrier)


def journal(folder: Path, name: str) -> Path:
    return folder / name / "own.sqlite"


def booked(folder: Path, name: str) -> tuple[Run, Run]:
    """What a site's ledger has: one reservation for all trainings, and one for all evaluations."""
    runs = fold(load_entries(journal(folder, name))).runs
    (one, training), (other, tests) = runs.items()
    assert other == f"{one}/evaluation"
    return training, tests


def audited(folder: Path) -> None:
    found = audit(folder / "run", [journal(folder, name) for name in NAMES])
    assert (found.verdict, found.findings) == ("pass", ())


def test_a_real_run_pays_once_for_all_folds_and_its_report_has_them_with_mean_and_deviation(
    folder: Path,
) -> None:
    with opened(folder) as sites:
        play(folder, Network(sites))
    audited(folder)
    for name in NAMES:
        training, tests = booked(folder, name)
        assert sorted(training.begun) == list(range(1, ROUNDS * (K + 1) + 1)) and sorted(tests.begun) == [
            1,
            2,
        ]
        assert training.closed is not None and tests.closed is not None
    report = read_report(folder / "run")
    assert report.folds is not None and [line.fold for line in report.folds.folds] == [1, 2]
    assert {line.rounds for line in report.sites} == {ROUNDS * (K + 1)}
    for part in (folder / "run", folder / "run" / "fold-1"):
        told = json.loads((part / "report.json").read_text())
        assert told["evaluation"]["pooled"] == {} and not told["simulated"]
    of_folds = [line.published.records for line in report.folds.folds]
    assert report.folds.mean["records"] == pytest.approx(sum(filter(None, of_folds)) / K)


def test_a_coordinator_killed_again_and_again_goes_on_and_no_site_charges_anything_twice(
    folder: Path,
) -> None:
    kills = 0
    while not RunFolder(folder / "run", PLAN).is_finished:
        with opened(folder) as sites:  # the sites are started anew as well
            try:
                play(folder, Network(sites, batches=9))
            except KeyboardInterrupt:
                kills += 1
                assert kills < 20
    assert kills > K + 1
    audited(folder)
    for name in NAMES:
        training, tests = booked(folder, name)
        assert (len(training.begun), len(tests.begun)) == (ROUNDS * (K + 1), K)


def test_sites_that_come_late_or_drop_between_folds_reserve_the_whole_plan_and_are_charged_what_they_began(
    folder: Path,
) -> None:
    with opened(folder) as sites:
        play(folder, Network(sites, away=[("dogwood", 1), ("birch", 2)]))
    audited(folder)
    lines = {line.id: line for line in read_report(folder / "run").sites}
    for name, rounds, tested in (("dogwood", [3, 4, 5, 6], [2]), ("birch", [1, 2, 5, 6], [1])):
        training, tests = booked(folder, name)
        assert (training.rounds, tests.rounds) == (ROUNDS * (K + 1), K)
        assert sorted(training.begun) == rounds and sorted(tests.begun) == tested
        assert lines[name].rounds == len(rounds)


def test_a_run_whose_state_is_gone_is_not_begun_a_second_time(folder: Path) -> None:
    with opened(folder) as sites:
        with pytest.raises(KeyboardInterrupt):
            play(folder, Network(sites, batches=12))
        for file in (folder / "run" / "checkpoint").iterdir():
            file.unlink()
        with pytest.raises(CheckpointError, match="is gone"):
            play(folder, Network(sites))
        for name in NAMES:
            booked(folder, name)


def test_a_fold_that_is_deleted_after_its_end_is_not_played_again(folder: Path) -> None:
    with opened(folder) as sites:
        with pytest.raises(KeyboardInterrupt):
            play(folder, Network(sites, batches=16))
        first = folder / "run" / "fold-1"
        assert RunFolder(first, PLAN).is_finished
        first.rename(folder / "elsewhere")
        with pytest.raises(FederationError):
            play(folder, Network(sites))
        for name in NAMES:
            begun = [entry.body["round"] for entry in sites[name].journal.entries() if entry.kind == "begin"]
            training, tests = booked(folder, name)
            assert len(begun) == len(training.begun) + len(tests.begun)


def test_a_site_takes_part_in_no_fold_that_the_plan_lacks_and_closing_a_fold_returns_nothing(
    folder: Path,
) -> None:
    heard: list[Frame] = []

    class Listening(Network):
        def send(self, messages: Iterable[Outgoing]) -> None:
            kept = list(messages)
            heard.extend(Frame.from_bytes(each.data) for each in kept if each.to == "ash")
            super().send(kept)

    with opened(folder) as sites:
        with pytest.raises(KeyboardInterrupt):
            play(folder, Listening(sites, batches=16))
        closed = [frame for frame in heard if frame.kind is Kind.CLOSE]
        assert [frame.run[-1] for frame in closed] == [1]
        training, tests = booked(folder, "ash")
        assert training.closed is None and tests.closed is None
        assert training.charged == training.charge and tests.charged == tests.charge
        for kind in (Kind.INVITE, Kind.CLOSE):
            frame = next(each for each in heard if each.kind is kind)
            before = len(sites["ash"].journal.entries())
            sites["ash"].receive(Frame(kind, frame.run[:-1] + b"\x07", 1, 1, frame.body).to_bytes())
            assert len(sites["ash"].journal.entries()) == before


def test_a_rehearsal_is_one_short_training_and_charges_nothing(folder: Path) -> None:
    with opened(folder) as sites:
        given = folder / "plan.toml", folder / "roster.toml", folder / "run", Network(sites)
        assert rehearse(*given, named=str).is_complete
        for site in sites.values():
            assert [entry.kind for entry in site.journal.entries()] == ["genesis"]


def test_a_test_file_beside_folds_is_refused_before_anything_leaves(folder: Path) -> None:
    place = folder / "ash"
    (place / "test.csv").write_bytes((place / "train.csv").read_bytes())
    text = (place / "site.toml").read_text()
    (place / "site.toml").write_text(
        text.replace('source = "train.csv"', 'source = "train.csv"\ntest = "test.csv"')
    )
    with closing(open_site(place / "site.toml")) as site, pytest.raises(DataError, match="held out once"):
        site.load(PLAN)
