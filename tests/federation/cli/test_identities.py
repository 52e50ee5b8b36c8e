"""`federation keys new`, `roster add`, `roster sign`: exit codes, and errors of one line."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from federation.identity.keys import load_private, load_public
from federation.identity.roster_file import load_roster
from privacy.signing import public_identity
from tests.federation.command import Command, Outcome


class Federation(Command):
    """The command, in a folder of its own."""

    def refused(self, *words: object) -> str:
        """The one line of an error that is the user's to mend."""
        outcome = self(*words)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("error: ")
        assert outcome.err.count("\n") == 1
        assert outcome.err.endswith("\n")
        return outcome.err


@pytest.fixture
def federation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Federation:
    monkeypatch.chdir(tmp_path)
    return Federation(monkeypatch, capsys)


def test_from_new_keys_to_a_roster_that_sites_accept(federation: Federation) -> None:
    assert federation("keys", "new", "consortium", "--id", "consortium").code == 0
    for name, size in (("berlin", 24), ("amsterdam", 40)):
        words = ["keys", "new", "keys", "--id", name, "--organization", f"Clinic of {name}", "--size", size]
        added = federation(*words)
        assert (added.code, added.err) == (0, "")
        assert added.out == (
            f"private  keys/{name}.key\npublic   keys/{name}.pub\nnode     keys/{name}.node.key\n"
        )
        assert federation("roster", "add", "roster.toml", f"keys/{name}.pub").code == 0
    signed = federation("roster", "sign", "roster.toml", "--key", "consortium/consortium.key")
    assert signed == Outcome(0, "roster.toml: 1 signature\n", "")
    pinned = load_public(Path("consortium/consortium.pub")).entry.key
    roster = load_roster(Path("roster.toml")).verified({pinned}, 1, serial=2)
    assert [(entry.site, entry.organization, entry.size) for entry in roster.entries] == [
        ("amsterdam", "Clinic of amsterdam", 40), ("berlin", "Clinic of berlin", 24),
    ]  # fmt: skip
    for entry in roster.entries:
        assert entry.key == public_identity(load_private(Path(f"keys/{entry.site}.key")))


def test_new_keys_are_their_owners_and_never_shown(federation: Federation) -> None:
    made = federation("keys", "new", "keys", "--id", "berlin")
    assert made.code == 0
    assert stat.S_IMODE(Path("keys/berlin.key").stat().st_mode) == 0o600
    for line in Path("keys/berlin.key").read_text().splitlines():
        assert line not in made.out + made.err
    public = load_public(Path("keys/berlin.pub"))
    assert (public.id, public.organization, public.size) == ("berlin", "berlin", 1)


def test_a_key_that_exists_is_kept(federation: Federation) -> None:
    federation("keys", "new", "keys", "--id", "berlin")
    private, node = Path("keys/berlin.key"), Path("keys/berlin.node.key")
    before = private.read_bytes(), node.read_bytes()
    line = federation.refused("keys", "new", "keys", "--id", "berlin", "--size", 24)
    assert "exists already; a key is never replaced" in line
    assert (private.read_bytes(), node.read_bytes()) == before
    private.unlink()
    assert str(node) in federation.refused("keys", "new", "keys", "--id", "berlin", "--size", 24)
    assert (private.exists(), node.read_bytes()) == (False, before[1])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--id", "../berlin"], "'../berlin' is no site's id"),
        (["--id", "berlin", "--size", "0"], "--size"),
        (["--id", "berlin", "--size", "many"], "--size"),
        (["--id", "berlin", "--size", str(1 << 53)], "size = 9007199254740992"),
        ([], "--id"),
    ],
)
def test_keys_that_cannot_be_made_leave_no_file(
    words: list[str], expected: str, federation: Federation
) -> None:
    assert expected in federation.refused("keys", "new", "keys", *words)
    assert list(Path().iterdir()) == []


def test_each_addition_is_told_with_its_serial_and_drops_signatures(federation: Federation) -> None:
    for name in ("consortium", "amsterdam", "berlin"):
        federation("keys", "new", "keys", "--id", name)
    berlin, amsterdam = (load_public(Path(f"keys/{name}.pub")).key for name in ("berlin", "amsterdam"))
    assert federation("roster", "add", "roster.toml", "keys/berlin.pub").out == (
        f"berlin: added, of berlin, 1 record, key {berlin}\n"
        "roster.toml: serial 1, 1 site, not signed yet, no coordinator named\n"
    )
    federation("roster", "sign", "roster.toml", "--key", "keys/consortium.key")
    assert len(load_roster(Path("roster.toml")).signatures) == 1
    assert federation("roster", "add", "roster.toml", "keys/amsterdam.pub").out == (
        f"amsterdam: added, of amsterdam, 1 record, key {amsterdam}\n"
        "roster.toml: serial 2, 2 sites, not signed yet, no coordinator named\n"
    )
    assert load_roster(Path("roster.toml")).signatures == {}


def test_whose_place_a_file_takes_is_told_as_its_name_says_nothing(federation: Federation) -> None:
    """Somebody else's file can say that it is of a site which the roster holds."""
    federation("keys", "new", "keys", "--id", "berlin")
    federation("keys", "new", "other", "--id", "berlin", "--organization", "Mallory")
    federation("keys", "new", "third", "--id", "berlin", "--node")
    Path("other/berlin.pub").rename("essen.pub")
    Path("third/berlin.node.pub").rename("essen.node.pub")
    old, new = load_public(Path("keys/berlin.pub")), load_public(Path("essen.pub"))
    federation("roster", "add", "roster.toml", "keys/berlin.pub")
    told = federation("roster", "add", "roster.toml", "essen.pub").out.splitlines()
    assert told[0].startswith(f"berlin: REPLACED: key is {new.key}, and was {old.key}; node is {new.node}")
    assert told[0].endswith("; organization is Mallory, and was berlin")
    told = federation("roster", "add", "roster.toml", "essen.node.pub").out.splitlines()
    assert told[0].startswith("berlin: REPLACED: node is ")
    assert len(federation("roster", "add", "roster.toml", "essen.node.pub").out.splitlines()) == 1


@pytest.fixture
def listed(federation: Federation) -> Federation:
    """A signed roster of berlin and a coordinator, and files by others that say the same of themselves."""
    federation("keys", "new", ".", "--id", "consortium", "--consortium")
    for folder, more in (("keys", ()), ("other", ("--organization", "Mallory"))):
        federation("keys", "new", folder, "--id", "berlin", *more)
        federation("keys", "new", folder, "--id", "coordinator", "--coordinator")
        federation("keys", "new", folder, "--id", "essen")
    federation("keys", "new", "node", "--id", "berlin", "--node")
    words = ("keys/berlin.pub", "keys/coordinator.pub", "--sign", "consortium.key")
    assert federation("roster", "add", "roster.toml", *words).code == 0
    return federation


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["other/berlin.pub"], "berlin"),
        (["node/berlin.node.pub"], "berlin"),
        (["other/coordinator.pub"], "the coordinator"),
        (["keys/essen.pub", "other/essen.pub"], "essen"),
        (["keys/essen.pub", "other/berlin.pub", "other/coordinator.pub"], "berlin, the coordinator"),
    ],
    ids=["key", "node", "coordinator", "twice", "several"],
)
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["plain", "json"])
def test_a_key_that_takes_the_place_of_another_is_not_signed_in_the_same_breath(
    files: list[str], names: str, more: list[str], listed: Federation
) -> None:
    before = Path("roster.toml").read_bytes()
    line = listed.refused("roster", "add", "roster.toml", *files, "--sign", "consortium.key", *more)
    assert line == (
        f"error: roster.toml: another key takes the place of one: {names}; run `roster add` without --sign, "
        "compare the keys over another channel, then `roster sign`\n"
    )
    assert Path("roster.toml").read_bytes() == before
    assert listed("roster", "add", "roster.toml", *files).code == 0, "without --sign as before"
    assert listed("roster", "sign", "roster.toml").code == 0


def test_what_changes_no_key_is_signed_at_once(listed: Federation) -> None:
    Path("keys/berlin.pub").write_text(Path("keys/berlin.pub").read_text().replace("size = 1", "size = 2"))
    words = ("keys/berlin.pub", "keys/essen.pub", "keys/coordinator.pub", "--sign", "consortium.key")
    told = listed("roster", "add", "roster.toml", *words)
    assert (told.code, told.out.splitlines()[-1]) == (0, "roster.toml: serial 2, 2 sites, 1 signature")


@pytest.mark.parametrize("name", ["A\\u001b[2J", "A ", "A\u202eB", "Charite\u0301", "A\\nB"], ids=ascii)
def test_an_organization_is_called_what_everybody_sees(name: str, federation: Federation) -> None:
    """Whoever signs a roster tells by it that no two sites are of one."""
    federation("keys", "new", "keys", "--id", "berlin")
    public = Path("keys/berlin.pub")
    text = public.read_text().replace('organization = "berlin"', f'organization = "{name}"')
    public.write_text(text)
    assert "organization" in federation.refused("roster", "add", "roster.toml", "keys/berlin.pub")


def test_a_roster_names_the_coordinator_and_a_node_and_a_site_is_taken_off_it(federation: Federation) -> None:
    federation("keys", "new", "keys", "--id", "berlin")
    federation("keys", "new", "keys", "--id", "amsterdam")
    assert federation("keys", "new", "keys", "--id", "coordinator", "--coordinator").code == 0
    Path("keys/berlin.node.key").unlink()
    assert federation("keys", "new", "keys", "--id", "berlin", "--node").out == (
        "private  keys/berlin.node.key\npublic   keys/berlin.node.pub\n"
    )
    for name in ("berlin.pub", "amsterdam.pub", "coordinator.pub"):
        assert federation("roster", "add", "roster.toml", f"keys/{name}").code == 0
    named = federation("roster", "add", "roster.toml", "keys/berlin.node.pub", "--json").json
    key = public_identity(load_private(Path("keys/coordinator.key"))).hex()
    assert (named["coordinator"], named["sites"], named["serial"]) == (key, 2, 4)
    assert federation("roster", "remove", "roster.toml", "amsterdam").out == (
        "roster.toml: serial 5, 1 site, not signed yet\n"
    )
    assert "holds no site amsterdam (berlin)" in federation.refused(
        "roster", "remove", "roster.toml", "amsterdam"
    )
    assert "two keys" in federation.refused("keys", "new", "keys", "--id", "x", "--node", "--coordinator")
    roster = load_roster(Path("roster.toml")).read()
    assert roster.by_site["berlin"].node
    assert roster.coordinator.hex() == key


def test_the_consortiums_key_is_looked_for_in_the_folder_at_hand(federation: Federation) -> None:
    federation("keys", "new", ".", "--id", "consortium")
    federation("keys", "new", ".", "--id", "berlin")
    federation("roster", "add", "roster.toml", "berlin.pub")
    assert federation("roster", "sign", "roster.toml").code == 0


def test_files_that_are_not_there_or_not_what_they_should_be_are_named(federation: Federation) -> None:
    federation("keys", "new", "keys", "--id", "berlin")
    assert "nobody.pub: there is no such file" in federation.refused("roster", "add", "r.toml", "nobody.pub")
    assert "berlin.key:1: is not TOML" in federation.refused("roster", "add", "r.toml", "keys/berlin.key")
    assert not Path("r.toml").exists()
    assert "r.toml: there is no such file" in federation.refused(
        "roster", "sign", "r.toml", "--key", "keys/berlin.key"
    )
    federation("roster", "add", "r.toml", "keys/berlin.pub")
    before = Path("r.toml").read_bytes()
    assert "consortium.key: there is no such key; make one" in federation.refused("roster", "sign", "r.toml")
    assert "berlin.pub: is no private key" in federation.refused(
        "roster", "sign", "r.toml", "--key", "keys/berlin.pub"
    )
    assert Path("r.toml").read_bytes() == before


def test_an_empty_roster_is_not_signed(federation: Federation) -> None:
    federation("keys", "new", ".", "--id", "consortium")
    Path("roster.toml").write_text("serial = 1\n")
    line = "error: a roster without sites is not signed; federation roster add ROSTER ID.pub\n"
    assert federation("roster", "sign", "roster.toml") == Outcome(4, "", line)
