"""The pretend world: what it reads, what it refuses before a journal exists, whose rules it obeys."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from clients.data.folders import find_sites
from clients.journal.lock import alone
from clients.policy import Policy
from federation.errors import DataError, RosterError, SiteFileError, SiteRunning, UnusableFile
from federation.identity.keys import create, load_private
from federation.plan.outcomes import Classes
from federation.plan.plan import Plan, parse
from federation.round.messages import Member
from federation.round.transport import Arrival, Deadline, Outgoing
from privacy.errors import PolicyViolation, UnsafeParameters
from privacy.signing import public_identity
from server.run import server_stream
from simulations.simulate import simulate
from simulations.survey import survey
from simulations.world import InProcess, InTurn, World, open_sites, read_world
from tests.federation.audit.audited import with_rules
from tests.worlds import opened, plan_of, roster_of, rows_of, text_of, write_csv, write_sites

PLAN = plan_of()


def world_of(folder: Path, plan: Plan = PLAN) -> World:
    return read_world(plan, find_sites(folder).sites)


def own_rules(folder: Path, *, noise: str = "none", plans: str = PLAN.digest, size: str = "") -> Path:
    """A site.toml beside the data."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "site.toml"
    path.write_text(
        f"""
        [site]
        id = "{folder.name}"
        keys = "keys"
        journal = "own.sqlite"
        [data]
        source = "train.csv"
        pool = "patients"
        {size}
        [policy]
        epsilon_max = {"inf" if noise == "none" else 5.0}
        delta_max = 1e-5
        cohort_minimum = 3
        noise = ["{noise}"]
        plans = ["{plans}"]
        """
    )
    return path


def test_a_world_is_the_sites_of_a_folder(tmp_path: Path) -> None:
    world = world_of(write_sites(tmp_path))
    assert world.members == (Member("ash", 30), Member("birch", 36), Member("cedar", 42))
    assert {name: (len(world.training[name]), len(world.held_out[name])) for name in world.training} == {
        "ash": (30, 10),
        "birch": (36, 12),
        "cedar": (42, 14),
    }
    assert world.outcome == Classes(2)


def test_a_test_file_of_a_site_s_own_is_what_is_held_out(tmp_path: Path) -> None:
    write_sites(tmp_path, 2)
    write_csv(tmp_path / "elm" / "train.csv", rows_of(4, 20))
    write_csv(tmp_path / "elm" / "test.csv", rows_of(4, 5))
    world = world_of(tmp_path)
    assert (len(world.training["elm"]), len(world.held_out["elm"])) == (20, 5)


def test_without_held_out_records_there_is_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no site holds records out"):
        world_of(write_sites(tmp_path), plan_of(holdout=0))


def test_a_delta_at_which_a_record_could_be_published_is_refused(tmp_path: Path) -> None:
    plan = plan_of(noise="central", delta=0.05, rounds=50, sample_rate=0.5)
    with pytest.raises(UnsafeParameters, match="must be below 1/N"):
        world_of(write_sites(tmp_path), plan)


def test_for_clients_the_number_of_sites_counts(tmp_path: Path) -> None:
    plan = plan_of(noise="central", unit="client", delta=0.3)
    assert len(world_of(write_sites(tmp_path), plan).training) == 3
    with pytest.raises(UnsafeParameters, match=r"N = 4"):
        world_of(write_sites(tmp_path, 4), plan)


def test_too_few_sites_are_refused_before_a_journal_exists(tmp_path: Path) -> None:
    with pytest.raises(RosterError):
        world_of(write_sites(tmp_path, 2))


def test_a_simulated_site_allows_exactly_the_plan(tmp_path: Path) -> None:
    with opened(PLAN, tmp_path) as (world, sites):
        assert {site.policy() for site in sites.values()} == {Policy.for_plan(PLAN)}
        assert sorted(path.name for path in (tmp_path / "journals").glob("*.sqlite")) == [
            "ash.sqlite",
            "birch.sqlite",
            "cedar.sqlite",
        ]
        with pytest.raises(PolicyViolation):
            sites["ash"].join(bytes(16), plan_of(seed=8), world.roster)


def test_a_site_with_rules_of_its_own_keeps_them_and_its_journal(tmp_path: Path) -> None:
    write_sites(tmp_path / "sites", 2)
    write_csv(tmp_path / "sites" / "elm" / "train.csv", rows_of(4, 20))
    own_rules(tmp_path / "sites" / "elm", size="size = 15")
    with pytest.raises(UnusableFile, match=r"elm\.key: there is no such key"):
        world_of(tmp_path / "sites")
    private, _ = create(tmp_path / "sites" / "elm" / "keys", "elm", "Elm", 15)
    world = world_of(tmp_path / "sites")
    assert world.members[-1] == Member("elm", 15), "what it declares, not what it has"
    with ExitStack() as stack:
        for site in open_sites(world, tmp_path / "journals").values():
            stack.callback(site.journal.close)
            genesis = site.journal.entries()[0].body
            assert genesis["simulated"] is (site.member.site != "elm")
            assert site.journal._keeps_last  # it is resumed together with the server
            if site.member.site == "elm":
                assert genesis["key"] == public_identity(load_private(private)).hex()
    assert (tmp_path / "sites" / "elm" / "own.sqlite").exists()
    assert not (tmp_path / "journals" / "elm.sqlite").exists()


def test_the_journal_of_a_site_with_rules_is_the_only_budget_of_its_pool(tmp_path: Path) -> None:
    """As in a real run: one that is lost is not begun anew, and data that are known have no second pool."""
    folder = write_sites(tmp_path / "sites", 2)
    write_csv(folder / "elm" / "train.csv", rows_of(4, 20))
    rules = own_rules(folder / "elm")
    create(folder / "elm" / "keys", "elm", "Elm", 20)
    for site in open_sites(world_of(folder), tmp_path / "journals").values():
        site.journal.close()
    for edit in (('"own.sqlite"', '"second.sqlite"'), ('"patients"', '"others"')):
        text = rules.read_text()
        rules.write_text(text.replace(*edit))
        with pytest.raises(PolicyViolation, match=r"is kept in|were used under pool"):
            world_of(folder)
        assert [str(error) for error in survey(PLAN, folder).errors if "pool" in str(error)]
        rules.write_text(text)
    world = world_of(folder)
    for path in (folder / "elm").glob("own.sqlite*"):
        path.unlink()
    with pytest.raises(PolicyViolation, match=r"is gone; put it back, or restore a backup"):
        world_of(folder)
    with pytest.raises(PolicyViolation, match="is gone"):
        open_sites(world, tmp_path / "others")
    assert not (folder / "elm" / "own.sqlite").exists()


def test_a_site_s_own_policy_is_asked_before_a_journal_exists(tmp_path: Path) -> None:
    write_sites(tmp_path, 2)
    write_csv(tmp_path / "elm" / "train.csv", rows_of(4, 20))
    own_rules(tmp_path / "elm", plans="sha256:" + "0" * 64)
    with pytest.raises(PolicyViolation, match="is not approved"):
        world_of(tmp_path)
    assert not list(tmp_path.rglob("*.sqlite"))


def test_the_transport_answers_in_order_and_then_there_is_nothing() -> None:
    transport = InProcess({"a": lambda data: data + b"!", "b": lambda data: data + b"?"})
    assert transport.addresses() == ("a", "b")
    transport.send([Outgoing("b", b"1"), Outgoing("a", b"2")])
    assert [transport.next(9) for _ in range(3)] == [Arrival("b", b"1?"), Arrival("a", b"2!"), Deadline()]


def test_the_server_s_noise_is_never_the_same_twice() -> None:
    assert server_stream(1).take(32) != server_stream(1).take(32)


def test_the_roster_holds_every_site_by_its_own_key_and_its_declared_size(tmp_path: Path) -> None:
    with opened(PLAN, tmp_path) as (world, sites):
        roster = roster_of(world)
        assert [entry.site for entry in roster.entries] == sorted(sites)
        assert len({entry.organization for entry in roster.entries}) == len(sites)
        for name, site in sites.items():
            entry = roster.by_site[name]
            assert (entry.key, entry.size) == (public_identity(site.trust.identity), site.member.size)
            assert site.trust.accept(world.roster, site.member) == roster


def test_the_site_file_of_another_site_is_refused(tmp_path: Path) -> None:
    write_sites(tmp_path, 2)
    write_csv(tmp_path / "elm" / "train.csv", rows_of(4, 20))
    rules = own_rules(tmp_path / "elm")
    rules.write_text(rules.read_text().replace('"elm"', '"oak"'))
    with pytest.raises(SiteFileError, match="the site file in elm/ is that of oak"):
        world_of(tmp_path)


def test_every_simulation_makes_keys_of_its_own(tmp_path: Path) -> None:
    folder = write_sites(tmp_path)
    one, other = world_of(folder), world_of(folder)
    keys = [key for world in (one, other) for key in (world.consortium, *world.identities.values())]
    assert len({public_identity(key) for key in keys}) == 8
    assert "PrivateKey" not in repr(one)


def test_a_simulation_on_the_journal_of_a_running_site_is_refused(tmp_path: Path) -> None:
    text = text_of(noise="distributed")
    for number, name in enumerate(("ash", "birch", "cedar")):
        with_rules(tmp_path / "sites", name, number, text)
    with (
        alone(tmp_path / "sites" / "birch" / "own.sqlite"),
        pytest.raises(SiteRunning, match="uses the journal"),
    ):
        simulate(parse(text), tmp_path / "sites", tmp_path / "run", progress=lambda *_: None)
    assert not list(tmp_path.glob("sites/*/own.sqlite"))


def test_in_turn_a_site_answers_when_it_is_read_or_before_more_is_sent() -> None:
    called = list[str]()

    def site(name: str) -> Callable[[bytes], bytes]:
        return lambda data: (called.append(f"{name} {data.decode()}"), data.upper())[1]

    line = InTurn({name: site(name) for name in ("a", "b")})
    line.send([Outgoing("a", b"x"), Outgoing("b", (b"y", b"z"))])
    assert not called
    assert line.next(0) == Arrival("a", b"X") and called == ["a x"]
    line.send([Outgoing("a", b"w")])
    assert called == ["a x", "b yz"]
    assert [line.next(0) for _ in range(3)] == [Arrival("b", b"YZ"), Arrival("a", b"W"), Deadline()]


def test_in_turn_a_lost_answer_does_not_end_the_wait_for_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line, send = InTurn(dict.fromkeys(("a", "b"), bytes.upper)), InProcess.send
    monkeypatch.setattr(
        InProcess, "send", lambda self, batch: send(self, [one for one in batch if one.to != "a"])
    )
    line.send([Outgoing("a", b"x"), Outgoing("b", b"y")])
    assert [line.next(0), line.next(0)] == [Arrival("b", b"Y"), Deadline()]
