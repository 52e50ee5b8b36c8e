"""A run over real lines: from a plan file to a run folder, resumed and complete."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

from clients.join import open_site
from clients.site import Site
from federation.audit.examine import audit
from federation.errors import CheckpointError, FederationError, RosterError
from federation.identity.keys import create, load_private, load_public
from federation.identity.roster_file import add_to_roster, load_roster, sign_roster
from federation.model.params import params_bytes, params_digest
from federation.report.files import read_report
from federation.round.transport import Outgoing
from privacy.errors import LedgerCorrupt
from privacy.ledger.heads import head_from_json
from privacy.roster import Roster
from server.run_folder import RunFolder
from server.serve import RESUMED, serve
from simulations.simulate import simulate
from simulations.world import InProcess
from tests.federation.report.pages import check_quiet
from tests.scale import SCALE
from tests.worlds import NAMES, by_hand, close, load_params, name_coordinator, plan_of, text_of, write_sites

PLAN = plan_of()


@contextmanager
def hospitals(folder: Path, count: int = 3) -> Iterator[dict[str, Site]]:
    """Sites as they join in earnest, by a site file and a signed roster: `folder`/roster.toml."""
    write_sites(folder, count)
    consortium, _ = create(folder / "consortium", "consortium", "The consortium", 1)
    pinned = load_public(folder / "consortium" / "consortium.pub").key
    for number, name in enumerate(NAMES[:count]):
        create(folder / "keys", name, f"Hospital {name}", 30 + 6 * number)
        add_to_roster(folder / "roster.toml", load_public(folder / "keys" / f"{name}.pub"))
    name_coordinator(folder / "roster.toml")
    sign_roster(folder / "roster.toml", load_private(consortium))
    sites = {}
    for number, name in enumerate(NAMES[:count]):
        (folder / f"{name}.toml").write_text(
            f"""
            [site]
            id = "{name}"
            keys = "keys"
            journal = "{name}.sqlite"
            [data]
            source = "{name}.csv"
            pool = "{name}"
            size = {30 + 6 * number}
            [policy]
            epsilon_max = inf
            delta_max = 1e-5
            cohort_minimum = 3
            noise = ["none"]
            plans = [{{ digest = "{PLAN.digest}", runs = 2 }}]
            [consortium]
            keys = ["{pinned}"]
            quorum = 1
            """
        )
        sites[name] = open_site(folder / f"{name}.toml")
    try:
        yield sites
    finally:
        for site in sites.values():
            site.journal.close()


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text("\ufeff" + text_of(), "utf-8")  # an editor's byte order mark does no harm
    return path


class Dying(InProcess):
    """A network whose server is killed after some batches."""

    def __init__(self, sites: Mapping[str, Site], batches: int) -> None:
        super().__init__({name: site.receive for name, site in sites.items()})
        self.left = batches

    def send(self, messages: Iterable[Outgoing]) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        super().send(messages)


def carrier(sites: Mapping[str, Site]) -> InProcess:
    return InProcess({name: site.receive for name, site in sites.items()})


def test_a_run_folder_ends_with_the_params_and_no_checkpoint(plan: Path, tmp_path: Path) -> None:
    with hospitals(tmp_path / "sites") as sites:
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))
        training = {name: site.load(PLAN).data for name, site in sites.items()}
        sizes = {name: site.member.size for name, site in sites.items()}
    names = sorted(entry.name for entry in (tmp_path / "run").iterdir())
    reports = ["report.html", "report.json"]
    assert names == [
        "consents.jsonl",
        "params.safetensors",
        "plan.toml",
        "receipts.jsonl",
        *reports,
        "roster.toml",
        "rounds",
    ]
    assert close(load_params(tmp_path / "run"), by_hand(PLAN, training, [NAMES[:3]] * 3, sizes=sizes))


@pytest.mark.parametrize("batches", range(0, 9, 1 if SCALE > 1 else 2))  # a greeting, and 4 + 2 + 2 exchanges
def test_a_server_killed_anywhere_resumes_and_every_round_is_charged_once(
    plan: Path, tmp_path: Path, batches: int
) -> None:
    with hospitals(tmp_path / "sites") as sites:
        with pytest.raises(KeyboardInterrupt):
            serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", Dying(sites, batches))
        assert not RunFolder(tmp_path / "run", PLAN).is_finished
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))
        assert [entry.round for entry in RunFolder(tmp_path / "run", PLAN).receipts()] == [1, 2, 3]
        for site in sites.values():
            begun = [entry.body["round"] for entry in site.journal.entries() if entry.kind == "begin"]
            assert begun == [1, 2, 3]
        killed = load_params(tmp_path / "run")
    with hospitals(tmp_path / "calm") as sites:
        serve(plan, tmp_path / "calm" / "roster.toml", tmp_path / "other", carrier(sites))
    assert killed.equal(load_params(tmp_path / "other"))


class Growing(InProcess):
    """A network that a site joins later: after so many batches it can be reached."""

    def __init__(self, sites: Mapping[str, Site], late: str, batches: int) -> None:
        super().__init__({name: site.receive for name, site in sites.items()})
        self.late, self.left = late, batches

    def addresses(self) -> tuple[str, ...]:
        return tuple(name for name in super().addresses() if self.left <= 0 or name != self.late)

    def send(self, messages: Iterable[Outgoing]) -> None:
        self.left -= 1
        super().send(messages)


@pytest.mark.parametrize("batches", [1, 3, 6, 8])
def test_a_site_that_comes_late_is_in_from_the_next_round_on(
    plan: Path, tmp_path: Path, batches: int
) -> None:
    """At whatever step it comes; every site charges every round of its own once, and an audit finds nothing."""
    plan.write_text(plan.read_text("utf-8-sig"))
    with hospitals(tmp_path / "sites", 4) as sites:
        run, late = tmp_path / "run", NAMES[3]
        serve(plan, tmp_path / "sites" / "roster.toml", run, Growing(sites, late, batches))
        receipts = RunFolder(run, PLAN).receipts()
        joined = [receipt.round for receipt in receipts if late in receipt.cohort]
        assert [receipt.round for receipt in receipts] == [1, 2, 3]
        assert joined == [number for number in (1, 2, 3) if number > 3 - len(joined)]
        assert joined or batches > 6
        assert all(receipt.survivors == receipt.cohort for receipt in receipts)
        for name, site in sites.items():
            begun = [entry.body["round"] for entry in site.journal.entries() if entry.kind == "begin"]
            assert begun == (joined if name == late else [1, 2, 3])
    assert audit(run, []).verdict == "pass"


def test_whoever_comes_late_and_does_not_consent_disturbs_once(plan: Path, tmp_path: Path) -> None:
    with hospitals(tmp_path / "sites") as sites:
        asked: list[bytes] = []

        def stranger(data: bytes) -> bytes:
            asked.append(data)
            return b"?"

        world = Growing(sites, "stranger", 3)
        world._sites["stranger"] = stranger
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", world)
    assert len(asked) == 1
    assert [receipt.round for receipt in RunFolder(tmp_path / "run", PLAN).receipts()] == [1, 2, 3]


class Failing(InProcess):
    """A network that loses every message to some sites, from one batch to another."""

    def __init__(self, sites: Mapping[str, Site], lost: Set[str], batches: range) -> None:
        super().__init__({name: site.receive for name, site in sites.items()})
        self.lost, self.batches, self.sent = lost, batches, 0

    def send(self, messages: Iterable[Outgoing]) -> None:
        self.sent += 1
        is_down = self.sent in self.batches
        super().send(message for message in messages if not (is_down and message.to in self.lost))


@pytest.mark.parametrize("batches", [6, 7])
def test_many_that_are_lost_at_once_end_a_round_and_not_the_run(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """Two of three are away for all attempts at the first round, and back then or at the second greeting."""
    monkeypatch.setattr("server.serve._PAUSE", 0.0)
    with hospitals(tmp_path / "sites") as sites:
        world = Failing(sites, {"ash", "birch"}, range(2, batches))
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", world)
        for site in sites.values():
            begun = [entry.body["round"] for entry in site.journal.entries() if entry.kind == "begin"]
            assert begun == [1, 2, 3]
    assert [receipt.round for receipt in RunFolder(tmp_path / "run", PLAN).receipts()] == [1, 2, 3]
    assert audit(tmp_path / "run", []).verdict == "pass"


def test_sites_that_stay_away_end_the_run_after_some_tries(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.serve._PAUSE", 0.0)
    waits: list[None] = []
    monkeypatch.setattr("server.serve._await_sites", lambda *_: waits.append(None))
    with hospitals(tmp_path / "sites") as sites:
        world = Failing(sites, {"ash", "birch"}, range(2, 1000))
        with pytest.raises(FederationError) as caught:
            serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", world)
        assert caught.value.exit_code == 4
        assert 1 <= len(waits) < RESUMED
        assert not any(entry.kind == "begin" for site in sites.values() for entry in site.journal.entries())


def test_a_complete_run_asks_nobody_anything(plan: Path, tmp_path: Path) -> None:
    with hospitals(tmp_path / "sites") as sites:
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))
        before = (tmp_path / "run" / "params.safetensors").stat().st_mtime_ns

        class Silent(InProcess):
            def send(self, messages: Iterable[Outgoing]) -> None:
                raise AssertionError("a complete run sends nothing")

        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", Silent({}))
    assert (tmp_path / "run" / "params.safetensors").stat().st_mtime_ns == before


def test_a_folder_of_a_finished_simulation_is_not_taken_for_a_real_run(plan: Path, tmp_path: Path) -> None:
    """Nor the other way round: whoever finds params there must know which of the two made them."""
    simulate(plan, write_sites(tmp_path / "data"), tmp_path / "simulated", engine="flower")
    with hospitals(tmp_path / "sites") as sites:
        roster = tmp_path / "sites" / "roster.toml"
        with pytest.raises(CheckpointError, match="holds a simulation, finished"):
            serve(plan, roster, tmp_path / "simulated", carrier(sites))
        serve(plan, roster, tmp_path / "run", carrier(sites))
    with pytest.raises(CheckpointError, match="holds a real run, finished"):
        simulate(plan, tmp_path / "data", tmp_path / "run", engine="flower")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"cedar"', '"oak"', "site cedar is gone"),
        ("size = 36", "size = 37", "site birch differs"),
        ('"Hospital ash"', '"Hospital oak"', "site ash differs"),
    ],
)
def test_a_run_is_not_resumed_with_another_list_of_sites(
    plan: Path, tmp_path: Path, old: str, new: str, words: str
) -> None:
    with hospitals(tmp_path / "sites") as sites:
        roster = tmp_path / "sites" / "roster.toml"
        with pytest.raises(KeyboardInterrupt):
            serve(plan, roster, tmp_path / "run", Dying(sites, 7))  # in the second round
        text, kept = roster.read_text(), (tmp_path / "run" / "roster.toml").read_bytes()
        assert old in text
        roster.write_text(text.replace(old, new))
        sign_roster(roster, load_private(tmp_path / "sites" / "consortium" / "consortium.key"))
        with pytest.raises(CheckpointError, match=words) as caught:
            serve(plan, roster, tmp_path / "run", carrier(sites))
        assert caught.value.exit_code == 2
        assert (tmp_path / "run" / "roster.toml").read_bytes() == kept
        roster.write_text(text)
        serve(plan, roster, tmp_path / "run", carrier(sites))
        assert [entry.round for entry in RunFolder(tmp_path / "run", PLAN).receipts()] == [1, 2, 3]


def test_before_its_first_round_is_done_a_run_may_get_another_roster(plan: Path, tmp_path: Path) -> None:
    """The sites that were missing are put on it: nobody's data are in the params yet."""
    with hospitals(tmp_path / "sites") as sites:
        roster = tmp_path / "sites" / "roster.toml"
        two = {name: sites[name] for name in ("ash", "birch")}
        with pytest.raises(RosterError, match="2 sites joined"):
            serve(plan, roster, tmp_path / "run", carrier(two))
        create(tmp_path / "sites" / "keys", "elm", "Hospital elm", 30)
        add_to_roster(roster, load_public(tmp_path / "sites" / "keys" / "elm.pub"))
        sign_roster(roster, load_private(tmp_path / "sites" / "consortium" / "consortium.key"))
        serve(plan, roster, tmp_path / "run", carrier(sites))
    assert RunFolder(tmp_path / "run", PLAN).is_finished


def test_another_plan_does_not_get_the_folder(plan: Path, tmp_path: Path) -> None:
    with hospitals(tmp_path / "sites") as sites:
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))
        plan.write_text(text_of(seed=8))
        with pytest.raises(CheckpointError, match="another plan or seed"):
            serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))


def test_too_few_sites_are_a_roster_error_and_the_run_can_go_on_later(plan: Path, tmp_path: Path) -> None:
    with hospitals(tmp_path / "sites") as sites:
        two = {name: sites[name] for name in ("ash", "birch")}
        with pytest.raises(RosterError, match="2 sites joined"):
            serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(two))
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))
    assert RunFolder(tmp_path / "run", PLAN).is_finished


def test_a_folder_whose_roster_nobody_signed_trains_nothing(plan: Path, tmp_path: Path) -> None:
    with hospitals(tmp_path / "sites") as sites:
        path = tmp_path / "sites" / "roster.toml"
        path.write_text(path.read_text().split("[[signature]]")[0])
        with pytest.raises(RosterError, match="0 sites joined"):
            serve(plan, path, tmp_path / "run", carrier(sites))
        for site in sites.values():
            assert "signed by 0 of the pinned" in str(site.last_error)
            assert [entry.kind for entry in site.journal.entries()] == ["genesis"]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "receipts.jsonl").read_text().splitlines()]


def test_the_report_of_a_real_run_is_not_called_simulated_and_holds_no_metrics(
    plan: Path, tmp_path: Path
) -> None:
    """DP-48: what held-out records say would need a budget of its own."""
    with hospitals(tmp_path / "sites") as sites:
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["simulated"] is False
    assert report["plan_digest"] == PLAN.digest
    assert report["evaluation"] == {"pooled": {}, "sites": {}, "baselines": {}}
    assert [entry["metrics"] for entry in report["history"]] == [{}, {}, {}]
    assert [entry.metrics for entry in RunFolder(tmp_path / "run", PLAN).receipts()] == [{}, {}, {}]
    assert all("records" not in site for site in report["sites"])
    assert {site["id"]: site["rounds"] for site in report["sites"]} == dict.fromkeys(NAMES[:3], 3)


def test_a_real_run_has_a_page_that_opens_without_a_network_and_a_report_that_reads_back(
    plan: Path, tmp_path: Path
) -> None:
    with hospitals(tmp_path / "sites") as sites:
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))
    page = check_quiet((tmp_path / "run" / "report.html").read_text("utf-8"))
    assert "not measured at a real run" in page.text
    assert "NOT PRIVATE" in page.text
    written = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert read_report(tmp_path / "run").to_json() == written


def test_the_heads_in_the_receipts_are_signed_and_lie_in_the_ledgers(plan: Path, tmp_path: Path) -> None:
    """DP-33: so an auditor finds a ledger that was cut after the run."""
    with hospitals(tmp_path / "sites") as sites:
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))
        entries = {name: site.journal.entries() for name, site in sites.items()}
    roster = Roster.from_bytes(load_roster(tmp_path / "run" / "roster.toml").roster)
    lines = lines_of(tmp_path / "run")
    assert [line.get("round") for line in lines] == [1, 2, 3, None]
    before = dict.fromkeys(sites, 0)
    for line in lines:
        assert set(line["heads"]) == set(sites)
        for name, data in line["heads"].items():
            head = head_from_json(data)
            assert head.site == name
            assert head.is_signed_by(roster.by_site[name].key)
            assert entries[name][head.seq].hash == head.hash
            assert head.seq > before[name]
            before[name] = head.seq
    assert before == {name: len(ledger) - 1 for name, ledger in entries.items()}  # up to the very end


def test_a_run_ends_with_a_closing_line_and_every_ledger_with_a_closing_entry(
    plan: Path, tmp_path: Path
) -> None:
    with hospitals(tmp_path / "sites") as sites:
        serve(plan, tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))
        last = [site.journal.entries()[-1] for site in sites.values()]
    closing = lines_of(tmp_path / "run")[-1]
    params = params_digest(params_bytes(load_params(tmp_path / "run"))).hex()
    assert (closing["closed"], closing["params"], closing["plan"]) == (True, params, PLAN.digest)
    for entry in last:
        assert (entry.kind, entry.body) == ("close", {"run": closing["run"], "params": params})


@pytest.mark.parametrize("remembers", [True, False])
def test_a_site_that_restored_an_old_ledger_while_the_server_was_away_has_no_part_in_the_rest(
    remembers: bool, plan: Path, tmp_path: Path
) -> None:
    """DP-34: the receipts remember; without them, the failing control, nobody does.

    The site itself refuses, since it is shown its own head, so it is four sites of which three go on.
    """
    with hospitals(tmp_path / "sites", 4) as sites:
        roster, path = tmp_path / "sites" / "roster.toml", tmp_path / "sites" / "dogwood.sqlite"
        sites["dogwood"].close()
        copy(path, tmp_path / "older.sqlite")
        sites["dogwood"] = open_site(tmp_path / "sites" / "dogwood.toml")
        with pytest.raises(KeyboardInterrupt):
            serve(plan, roster, tmp_path / "run", Dying(sites, 7))  # in the second round
        sites["dogwood"].close()
        copy(tmp_path / "older.sqlite", path)
        sites["dogwood"] = open_site(tmp_path / "sites" / "dogwood.toml")
        if not remembers:
            forget_heads(tmp_path / "run" / "receipts.jsonl")
            (tmp_path / "sites" / "coordinator.ledgers").unlink()
            for name in NAMES[:3]:  # nor do its peers
                forget(sites[name])
        serve(plan, roster, tmp_path / "run", carrier(sites))
        error = sites["dogwood"].last_error
    survivors = RunFolder(tmp_path / "run", PLAN).receipts()[-1].survivors
    if remembers:
        assert survivors == ("ash", "birch", "cedar")
        assert isinstance(error, LedgerCorrupt)
    else:
        assert survivors == ("ash", "birch", "cedar", "dogwood")
        assert error is None


def forget_heads(receipts: Path) -> None:
    """Receipts that have seen nobody's ledger. Without any receipts the server would not go on at all."""
    lines = [json.loads(line) | {"heads": {}} for line in receipts.read_text().splitlines()]
    receipts.write_text("".join(json.dumps(line) + "\n" for line in lines))


def forget(site: Site) -> None:
    """A journal that has witnessed nothing."""
    site.journal.witnessed = lambda: ()  # type: ignore[method-assign]


@pytest.mark.parametrize("remembers", [True, False])
def test_records_that_begin_anew_under_another_pool_are_found_in_the_next_run(
    remembers: bool, plan: Path, tmp_path: Path
) -> None:
    """All that the machine of dogwood knew is removed, pool and journal are renamed; the coordinator remembers."""
    with hospitals(tmp_path / "sites", 4) as sites:
        roster, home = tmp_path / "sites" / "roster.toml", tmp_path / "sites"
        serve(plan, roster, tmp_path / "run", carrier(sites))
        assert (home / "coordinator.ledgers").exists()
        sites["dogwood"].close()
        for name in ("dogwood.pools.sqlite", "dogwood.rosters", "dogwood.greetings"):
            (home / "keys" / name).unlink()
        text = (home / "dogwood.toml").read_text()
        changed = text.replace('journal = "dogwood.sqlite"', 'journal = "new.sqlite"')
        (home / "dogwood.toml").write_text(changed.replace('pool = "dogwood"', 'pool = "new"'))
        sites["dogwood"] = open_site(home / "dogwood.toml")
        if not remembers:
            (home / "coordinator.ledgers").unlink()
            for name in NAMES[:3]:
                forget(sites[name])
        serve(plan, roster, tmp_path / "second", carrier(sites))
        error = sites["dogwood"].last_error
    cohort = RunFolder(tmp_path / "second", PLAN).receipts()[0].cohort
    assert cohort == (NAMES[:3] if remembers else NAMES[:4])
    assert "more of this site's ledgers" in str(error) if remembers else error is None


def played(folder: Path, sites: Mapping[str, Site]) -> None:
    (folder / "plan.toml").write_text(text_of())
    serve(folder / "plan.toml", folder / "sites" / "roster.toml", folder / "run", carrier(sites))


def test_a_page_that_cannot_be_made_ends_no_real_run_and_is_made_by_the_same_command_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with hospitals(tmp_path / "sites") as sites:
        with monkeypatch.context() as patch:
            patch.setattr("federation.report.page.render", failing)
            played(tmp_path, sites)
        assert RunFolder(tmp_path / "run", PLAN).is_finished
        assert not (tmp_path / "run" / "report.html").exists()
        played(tmp_path, sites)
    check_quiet((tmp_path / "run" / "report.html").read_text("utf-8"))


def test_a_full_disk_is_an_error_that_names_the_file_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.replace

    def full(path: Path, target: Path) -> Path:
        if target.name == "params.safetensors":
            raise OSError(28, "No space left on device")
        return original(path, target)

    with hospitals(tmp_path / "sites") as sites:
        with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="No space left on device"):
            patch.setattr(Path, "replace", full)
            played(tmp_path, sites)
        played(tmp_path, sites)
    assert RunFolder(tmp_path / "run", PLAN).is_finished
