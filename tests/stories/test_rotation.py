"""Keys that are replaced and a site that is revoked, between two runs and in the middle of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from clients.join import open_site
from clients.site import Site
from federation.audit.examine import audit
from federation.errors import CheckpointError, RosterError
from federation.identity.keys import create, load_private, load_public
from federation.identity.roles import create_coordinator, load_any_public
from federation.identity.roster_file import add_to_roster, load_roster, remove_site, sign_roster
from federation.round.messages import Frame, Invitation, Kind, Member
from federation.round.signed import ordered
from privacy.errors import FaultyServer, LedgerRefusal
from server.run_folder import RunFolder
from server.serve import serve
from server.voice import Voice
from tests.server.test_serve import PLAN, Dying, carrier, hospitals
from tests.worlds import NAMES, text_of

MIDDLE = 7  # batches: two rounds are done


class Consortium:
    """Sites and a coordinator as in earnest, in one folder; and what people do between two commands."""

    def __init__(self, folder: Path, sites: dict[str, Site]) -> None:
        self.folder, self.sites = folder, sites
        self.roster, self.run = folder / "sites" / "roster.toml", folder / "run"
        self.plan = folder / "plan.toml"
        self.plan.write_text(text_of(), "utf-8")
        self.key = folder / "sites" / "consortium" / "consortium.key"

    def begins(self) -> None:
        """A run whose server is killed before its last round."""
        with pytest.raises(KeyboardInterrupt):
            serve(self.plan, self.roster, self.run, Dying(self.sites, MIDDLE))

    def goes_on(self, identity: Path = Path(), sites: Mapping[str, Site] | None = None) -> None:
        serve(self.plan, self.roster, self.run, carrier(sites or self.sites), identity)

    def signed(self) -> None:
        sign_roster(self.roster, load_private(self.key))

    def restarts(self, name: str) -> None:
        self.sites[name].close()
        self.sites[name] = open_site(self.folder / "sites" / f"{name}.toml")

    @property
    def cohorts(self) -> list[tuple[str, ...]]:
        return [receipt.cohort for receipt in RunFolder(self.run, PLAN).receipts()]

    def is_clean(self) -> bool:
        """An audit with every site's ledger finds nothing wrong."""
        ledgers = [self.folder / "sites" / f"{name}.sqlite" for name in self.sites]
        return {found.severity for found in audit(self.run, ledgers).findings} <= {"info"}


def rotated_coordinator(parties: Consortium) -> Path:
    """A new key, which the consortium names in a new roster."""
    folder = parties.folder / "new"
    create_coordinator(folder, "coordinator")
    add_to_roster(parties.roster, load_any_public(folder / "coordinator.pub"))
    parties.signed()
    return folder


@pytest.mark.parametrize("middle", [False, True], ids=["between runs", "in the middle"])
def test_the_coordinator_s_key_is_replaced(middle: bool, tmp_path: Path) -> None:
    with hospitals(tmp_path / "sites") as sites:
        parties = Consortium(tmp_path, sites)
        if middle:
            parties.begins()
        old, stolen = load_roster(parties.roster), load_private(parties.roster.parent / "coordinator.key")
        folder = rotated_coordinator(parties)
        with pytest.raises(RosterError, match="names another coordinator than the key") as refused:
            parties.goes_on()
        assert refused.value.exit_code == 4 and "\n" not in str(refused.value)
        parties.goes_on(folder)
        assert parties.cohorts == [NAMES[:3]] * 3
        assert parties.is_clean()
        # Whoever has the old key begins nothing with it: the old roster is too old, the new one names another.
        before = sites["ash"].journal.entries()
        greeting = Voice(PLAN, bytes(16), old, stolen).hello((0, 0))
        newer = ordered(greeting, stolen, PLAN.digest, load_roster(parties.roster).read().root)
        for frame in (greeting, newer):
            assert Frame.from_bytes(sites["ash"].receive(frame.to_bytes())).kind is Kind.ABORT
        assert sites["ash"].journal.entries() == before


def test_a_coordinator_whose_key_is_pinned_is_replaced_when_the_sites_say_so(tmp_path: Path) -> None:
    with hospitals(tmp_path / "sites") as sites:
        parties = Consortium(tmp_path, sites)
        for name, site in sites.items():
            site.trust = replace(site.trust, coordinator=load_roster(parties.roster).read().coordinator)
            assert name == site.member.site
        folder = rotated_coordinator(parties)
        with pytest.raises(RosterError, match="0 sites joined"):
            parties.goes_on(folder)
        assert "server.coordinator_key" in str(sites["ash"].last_error)
        for site in sites.values():
            site.trust = replace(site.trust, coordinator=load_roster(parties.roster).read().coordinator)
        parties.goes_on(folder)
        assert parties.is_clean()


@pytest.mark.parametrize("middle", [False, True], ids=["between runs", "in the middle"])
def test_a_consortium_s_key_is_replaced(middle: bool, tmp_path: Path) -> None:
    """The sites pin the new key beside the old one; the roster is signed by it; then they take the old one out."""
    with hospitals(tmp_path / "sites") as sites:
        parties = Consortium(tmp_path, sites)
        if middle:
            parties.begins()
        create(tmp_path / "later", "later", "The consortium", 1)
        parties.key = tmp_path / "later" / "later.key"
        old = load_public(tmp_path / "sites" / "consortium" / "consortium.pub").key
        new = load_public(tmp_path / "later" / "later.pub").key
        add_to_roster(parties.roster, load_public(tmp_path / "sites" / "keys" / "ash.pub"))  # the next serial
        parties.signed()
        if middle:
            with pytest.raises(RosterError, match="0 sites joined"):
                parties.goes_on()
            assert "signed by 0 of the pinned consortium keys" in str(sites["ash"].last_error)
        for keys in (f'"{old}", "{new}"', f'"{new}"'):
            for name in NAMES[:3]:
                path = tmp_path / "sites" / f"{name}.toml"
                path.write_text(path.read_text().replace(f'keys = ["{old}"]', f"keys = [{keys}]"))
                parties.restarts(name)
        parties.goes_on()
        assert parties.cohorts == [NAMES[:3]] * 3
        assert parties.is_clean()


def test_a_site_is_revoked_in_the_middle_of_a_run(tmp_path: Path) -> None:
    """It is in no later cohort, and the others refuse one with it, whoever asks."""
    with hospitals(tmp_path / "sites", 4) as sites:
        parties = Consortium(tmp_path, sites)
        parties.begins()
        older = load_roster(parties.roster)
        remove_site(parties.roster, "dogwood")
        parties.signed()
        revoked = sites["dogwood"].journal.entries()
        parties.goes_on()
        assert parties.cohorts == [NAMES[:4], NAMES[:4], NAMES[:3]]
        assert isinstance(sites["dogwood"].last_error, FaultyServer)
        assert "the roster does not hold dogwood" in str(sites["dogwood"].last_error)
        assert sites["dogwood"].journal.entries() == revoked
        found = audit(parties.run, [tmp_path / "sites" / f"{name}.sqlite" for name in NAMES[:4]])
        assert [finding.site for finding in found.findings if finding.id == "site-revoked"] == ["dogwood"]
        assert found.verdict == "pass", found.findings
        # The old roster is not believed any more, and a cohort with the site in it is refused.
        run = bytes.fromhex(found.run)
        key = load_private(parties.roster.parent / "coordinator.key")
        back = Voice(PLAN, run, older, key).hello((2, 0)).to_bytes()
        assert Frame.from_bytes(sites["ash"].receive(back)).kind is Kind.ABORT
        assert isinstance(sites["ash"].last_error, (FaultyServer, LedgerRefusal))


def test_the_others_refuse_a_cohort_with_a_revoked_site_in_it(tmp_path: Path) -> None:
    with hospitals(tmp_path / "sites", 4) as sites:
        parties = Consortium(tmp_path, sites)
        parties.begins()
        members = tuple(Member(name, site.member.size) for name, site in sorted(sites.items()))
        remove_site(parties.roster, "dogwood")
        parties.signed()
        signed = load_roster(parties.roster)
        state = RunFolder(parties.run, PLAN).state(sites["ash"].load(PLAN).task.model().weight)  # type: ignore[arg-type]
        key = load_private(parties.roster.parent / "coordinator.key")
        voice = Voice(PLAN, state.run, signed, key)
        ash = sites["ash"]
        assert Frame.from_bytes(ash.receive(voice.hello((1, 0)).to_bytes())).kind is Kind.WELCOME
        for invited, kind in ((members, Kind.ABORT), (members[:3], Kind.ADVERT)):
            bare = Frame(Kind.INVITE, state.run, 2, 60, Invitation(invited).to_bytes())
            frame = ordered(bare, key, PLAN.digest, signed.read().root)
            assert Frame.from_bytes(ash.receive(frame.to_bytes())).kind is kind
        assert "otherwise than the roster does" in str(ash.last_error)


def test_a_site_that_was_revoked_between_two_runs_takes_part_in_none(tmp_path: Path) -> None:
    with hospitals(tmp_path / "sites", 4) as sites:
        parties = Consortium(tmp_path, sites)
        remove_site(parties.roster, "dogwood")
        parties.signed()
        parties.goes_on()
        assert parties.cohorts == [NAMES[:3]] * 3
        assert [entry.kind for entry in sites["dogwood"].journal.entries()] == ["genesis"]


def test_a_roster_of_the_same_serial_revokes_nobody(tmp_path: Path) -> None:
    """It is a higher serial that says which of two rosters is the later one."""
    with hospitals(tmp_path / "sites", 4) as sites:
        parties = Consortium(tmp_path, sites)
        parties.begins()
        serial = load_roster(parties.roster).read().serial
        remove_site(parties.roster, "dogwood")
        text = parties.roster.read_text().replace(f"serial = {serial + 1}", f"serial = {serial}")
        parties.roster.write_text(text)
        parties.signed()
        with pytest.raises(CheckpointError, match="site dogwood is gone"):
            parties.goes_on()
