"""Keys of the coordinator and of Flower's nodes, and a roster that names them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from flwr.cli.supernode.register import try_load_public_key

from federation.errors import InputError, RosterError, UnusableFile
from federation.identity.keys import create, load_private, load_public, node_from_point
from federation.identity.roles import (
    CoordinatorFile,
    NodeFile,
    create_coordinator,
    create_node,
    create_site,
    load_any_public,
    load_coordinator,
    load_node,
    make_identity,
    node_point,
)
from federation.identity.roster_file import (
    add_to_roster,
    load_roster,
    remove_site,
    require_coordinator,
    sign_roster,
)
from privacy.errors import MalformedMessage
from privacy.roster import Entry, Roster
from privacy.signing import public_identity, sign


def test_a_coordinator_s_key_is_named_by_the_roster_and_survives_every_change(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    private, public = create_coordinator(tmp_path, "coordinator")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    named = load_any_public(public)
    assert isinstance(named, CoordinatorFile)
    _, site = create(tmp_path, "berlin", "Charite", 24)
    add_to_roster(path, load_public(site))
    with pytest.raises(
        RosterError, match=r"roster.toml names no coordinator's key; make a key: federation keys"
    ):
        require_coordinator(load_roster(path).read(), path)
    roster = add_to_roster(path, named)
    assert roster.coordinator == public_identity(load_private(private))
    require_coordinator(roster, path)
    _, node = create_node(tmp_path, "berlin")
    _, other = create(tmp_path, "cleveland", "Clinic", 30)
    added = load_any_public(node)
    assert isinstance(added, NodeFile)
    add_to_roster(path, added)
    add_to_roster(path, load_any_public(other))
    add_to_roster(path, load_public(site))
    read = load_roster(path).read()
    assert (read.serial, read.coordinator) == (6 - 1, roster.coordinator)
    assert read.by_site["berlin"].node.hex() == added.key
    assert read.by_site["cleveland"].node == b""
    assert remove_site(path, "berlin").coordinator == roster.coordinator
    assert sign_roster(path, load_private(private)).read() == load_roster(path).read()


def test_a_node_s_files_are_those_that_flower_reads(tmp_path: Path) -> None:
    private, public = create_node(tmp_path, "berlin")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    key = load_ssh_private_key(private.read_bytes(), None)
    assert key.public_key() == load_ssh_public_key(public.read_bytes())
    assert try_load_public_key(public)
    assert public.read_text().endswith(" berlin\n")


@pytest.mark.parametrize(
    "text",
    ["ecdsa-sha2-nistp384 AAAA berlin\n", "ecdsa-sha2-nistp384 \n", "ecdsa-sha2-nistp384 ../../x\n"],
)
def test_what_is_no_node_s_key_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "berlin.node.pub").write_text(text)
    with pytest.raises(UnusableFile, match="is no node's public key with the site's id behind it; make one"):
        load_any_public(tmp_path / "berlin.node.pub")


def test_a_site_has_two_keys_and_one_public_file_that_names_both(tmp_path: Path) -> None:
    private, public, node = create_site(tmp_path / "keys", "berlin", "Charite", 24)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (private, node)} == {0o600}
    key, read = load_node(node), load_public(public)
    assert read.node == node_point(key.public_key()).hex()
    assert node_from_point(bytes.fromhex(read.node)).public_numbers() == key.public_key().public_numbers()
    roster = add_to_roster(tmp_path / "roster.toml", load_any_public(public))
    assert roster.by_site["berlin"].node == bytes.fromhex(read.node)
    assert sorted(file.name for file in (tmp_path / "keys").iterdir()) == [
        "berlin.key",
        "berlin.node.key",
        "berlin.pub",
    ]


def test_a_node_s_key_that_the_site_did_not_sign_is_no_part_of_its_public_file(tmp_path: Path) -> None:
    """Whoever carries the file could put a node of his own on the roster, and fetch what is for the site."""
    _, public, _ = create_site(tmp_path / "a", "berlin", "Charite", 24)
    _, other, _ = create_site(tmp_path / "b", "berlin", "Charite", 24)
    _, namesake, _ = create_site(tmp_path / "c", "essen", "Charite", 24)
    text, foreign = public.read_text(), load_public(other)
    mine = load_public(public)
    assert mine.node and mine.node_signature and foreign.node and foreign.node_signature
    for changed in (
        text.replace(mine.node, foreign.node),
        text.replace(mine.node_signature, foreign.node_signature),
        text.replace(mine.node, foreign.node).replace(mine.node_signature, foreign.node_signature),
        text.replace('"berlin"', '"essen"'),
        text.replace(mine.key, load_public(namesake).key),
        "".join(line for line in text.splitlines(True) if "node_signature" not in line),
        "".join(line for line in text.splitlines(True) if not line.startswith("node =")),
    ):
        assert changed != text
        public.write_text(changed)
        with pytest.raises(
            InputError, match=r"node.* (was not signed by the key of this file|belong together); have the"
        ):
            load_any_public(public)
    public.write_text(text.replace('"Charite"', '"Charité"'))  # the control: of this the consortium decides
    assert load_public(public).organization == "Charité"


def test_a_public_file_without_a_node_is_read_as_before_and_takes_no_node_away(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    _, public = create(tmp_path, "berlin", "Charite", 24)
    assert add_to_roster(path, load_public(public)).by_site["berlin"].node == b""
    _, node = create_node(tmp_path, "berlin")
    named = add_to_roster(path, load_any_public(node)).by_site["berlin"].node
    assert len(named) == 49
    assert add_to_roster(path, load_public(public)).by_site["berlin"].node == named
    _, renewed, _ = create_site(tmp_path / "new", "berlin", "Charite", 24)
    assert add_to_roster(path, load_public(renewed)).by_site["berlin"].node not in (b"", named)


def test_no_key_of_a_site_is_ever_replaced(tmp_path: Path) -> None:
    for name, make in (("berlin.node.key", create_site), ("berlin.key", create_site)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("precious")
        with pytest.raises(UnusableFile, match=rf"{name}: exists already; a key is never replaced"):
            make(folder, "berlin", "Charite", 24)
        assert [file.name for file in folder.iterdir()] == [name]
        assert (folder / name).read_text() == "precious"


def test_what_is_no_key_of_a_node_is_told_and_not_shown(tmp_path: Path) -> None:
    private, _, node = create_site(tmp_path, "berlin", "Charite", 24)
    with pytest.raises(
        UnusableFile, match=r"essen.node.key: there is no such key; make one: .* --id essen --node; then"
    ):
        load_node(tmp_path / "essen.node.key")
    for content, words in (
        (b"secret", "is no node key that can be read"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nsecret", "is no node key that can be read"),
        (private.read_bytes(), "is a key of another kind"),
    ):
        node.write_bytes(content)
        with pytest.raises(UnusableFile, match=words) as refused:
            load_node(node)
        assert "secret" not in str(refused.value)
    node.chmod(0o640)
    with pytest.raises(UnusableFile, match="others on this machine can open this node key"):
        load_node(node)


def test_a_node_is_that_of_a_site_on_the_roster(tmp_path: Path) -> None:
    _, node = create_node(tmp_path, "berlin")
    with pytest.raises(InputError, match="holds no site berlin; add the site first"):
        add_to_roster(tmp_path / "roster.toml", load_any_public(node))
    with pytest.raises(InputError, match="no site's id"):
        create_node(tmp_path, "../berlin")
    _, site = create(tmp_path, "berlin", "Charite", 24)
    add_to_roster(tmp_path / "roster.toml", load_public(site))
    with pytest.raises(InputError, match=r"holds no site essen \(berlin\)"):
        remove_site(tmp_path / "roster.toml", "essen")


def test_a_key_that_a_machine_reads_alone_is_not_sealed(tmp_path: Path) -> None:
    for role in ("coordinator", "node"):
        with pytest.raises(InputError, match="is not sealed; leave --passphrase-file out"):
            make_identity(role, tmp_path, "berlin", "", 1, b"a long enough one")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_coordinator_s_key_is_looked_for_where_it_is_named_or_beside_the_roster(tmp_path: Path) -> None:
    roster, other = tmp_path / "roster.toml", tmp_path / "other"
    with pytest.raises(UnusableFile, match=r"coordinator.key: the coordinator's key is not there; make one"):
        load_coordinator(Path(), roster)
    with pytest.raises(UnusableFile, match=r"federation keys new '.*/not made' --id coordinator"):
        load_coordinator(tmp_path / "not made", roster)
    beside, _ = create_coordinator(tmp_path, "coordinator")
    named, _ = create_coordinator(other, "hub")
    create_node(other, "berlin")
    for asked, found in ((Path(), beside), (other, named), (named, named)):
        path, key = load_coordinator(asked, roster)
        assert path == found
        assert public_identity(key) == public_identity(load_private(found))
    create_coordinator(other, "second")
    with pytest.raises(UnusableFile, match="holds 2 keys, so none is the coordinator's; name the key file"):
        load_coordinator(other, roster)


def keyed(number: int) -> bytes:
    return bytes([2 + number % 2, number]) + bytes(47)


def test_a_roster_cannot_name_one_key_for_two() -> None:
    entries = (Entry("a", "A", bytes([9]) * 32, 1, keyed(1)), Entry("b", "B", bytes([10]) * 32, 1, keyed(2)))
    roster = Roster(1, entries, coordinator=bytes([11]) * 32)
    assert Roster.from_bytes(roster.to_bytes()) == roster
    assert roster.root != Roster(1, entries, coordinator=bytes([12]) * 32).root
    for coordinator, nodes, words in (
        (bytes([9]) * 32, (keyed(1), keyed(2)), "the same key twice"),
        (bytes([11]) * 32, (keyed(1), keyed(1)), "the same key twice"),
        (bytes(32), (keyed(1), keyed(2)), "small order"),
        (bytes([11]) * 31, (keyed(1), keyed(2)), "not canonical"),
        (bytes([11]) * 32, (keyed(1), bytes(49)), "no compressed point"),
        (bytes([11]) * 32, (keyed(1), b"\2"), "no compressed point"),
    ):
        sites = (
            Entry("a", "A", bytes([9]) * 32, 1, nodes[0]),
            Entry("b", "B", bytes([10]) * 32, 1, nodes[1]),
        )
        with pytest.raises(MalformedMessage, match=words):
            Roster(1, sites, coordinator=coordinator)


def test_a_node_s_key_that_is_no_point_of_the_curve_is_refused_though_its_site_signed_it(
    tmp_path: Path,
) -> None:
    """On a roster it would keep the coordinator's link from starting, for everybody."""
    private, public, _ = create_site(tmp_path, "berlin", "Charite", 24)
    text, mine, key = public.read_text(), load_public(public), load_private(private)
    assert mine.node and mine.node_signature
    for x in range(20):  # half of them are none
        point = b"\x02" + x.to_bytes(48, "big")
        signature = sign(key, "federation/node/1", b"berlin", point).hex()
        public.write_text(text.replace(mine.node, point.hex()).replace(mine.node_signature, signature))
        try:
            node_from_point(point)
        except ValueError:
            with pytest.raises(InputError, match="is no point of the curve"):
                load_any_public(public)
        else:
            assert load_public(public).node == point.hex()
