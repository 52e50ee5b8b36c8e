"""A roster on disk: every change is a new statement that nobody has signed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import InputError, RosterError, UnusableFile
from federation.identity.keys import PublicFile
from federation.identity.roles import create_coordinator, create_node, load_any_public
from federation.identity.roster_file import add_to_roster, load_roster, sign_roster, write_roster
from federation.identity.roster_file import roster_of as as_signed
from privacy.errors import FaultyServer
from privacy.roster import Roster, SignedRoster
from privacy.signing import public_identity
from privacy.suite import BROKEN, OLDER, SUITE
from privacy.wire import digest


def identity(name: str) -> Ed25519PrivateKey:
    """The signing key of this name, for tests only."""
    return Ed25519PrivateKey.from_private_bytes(digest("tests/identity", name.encode()))


def public(name: str, size: int = 100, organization: str = "", key: str = "") -> PublicFile:
    """A site's public file, its key named after it unless told otherwise."""
    known = public_identity(identity(key or name)).hex()
    return PublicFile(id=name, organization=organization or f"owner of {name}", size=size, key=known)


CONSORTIUM = [identity(f"consortium {number}") for number in range(3)]
PINNED = frozenset(public_identity(key) for key in CONSORTIUM)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a roster of three sites lies."""
    place = tmp_path / "roster.toml"
    for name in ("cleveland", "amsterdam", "berlin"):
        add_to_roster(place, public(name))
    return place


def roster_of(path: Path) -> Roster:
    return Roster.from_bytes(load_roster(path).roster)


def test_a_roster_holds_its_sites_in_order_and_a_serial_that_counts_its_changes(path: Path) -> None:
    assert roster_of(path) == Roster(
        3, tuple(public(name).entry for name in ("amsterdam", "berlin", "cleveland"))
    )
    assert load_roster(path).signatures == {}


def test_adding_a_site_raises_the_serial_and_drops_the_signatures(path: Path) -> None:
    sign_roster(path, CONSORTIUM[0])
    assert add_to_roster(path, public("dresden")).serial == 4
    assert load_roster(path).signatures == {}
    assert roster_of(path).by_site.keys() == {"amsterdam", "berlin", "cleveland", "dresden"}
    with pytest.raises(FaultyServer, match="signed by 0"):
        load_roster(path).verified(PINNED, 1, serial=0)


def test_adding_a_site_again_replaces_it_and_is_a_new_statement_all_the_same(path: Path) -> None:
    sign_roster(path, CONSORTIUM[0])
    add_to_roster(path, public("berlin", size=7, key="a new key"))
    after = roster_of(path)
    assert after.serial == 4
    assert after.by_site["berlin"] == public("berlin", size=7, key="a new key").entry
    assert len(after.entries) == 3
    add_to_roster(path, public("berlin", size=7, key="a new key"))
    assert roster_of(path) == replace(after, serial=5)
    assert load_roster(path).signatures == {}


def test_two_sites_with_one_key_are_refused_and_the_file_stays(path: Path) -> None:
    sign_roster(path, CONSORTIUM[0])
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"roster\.toml: a roster holds the same key twice"):
        add_to_roster(path, public("mallory", key="berlin"))
    assert path.read_bytes() == before


def test_signatures_gather_until_they_are_a_quorum(path: Path) -> None:
    for count, key in enumerate(CONSORTIUM, start=1):
        for quorum in range(count, 4):
            with pytest.raises(FaultyServer, match=f"signed by {count - 1} of the pinned"):
                load_roster(path).verified(PINNED, quorum, serial=0)
        signed = sign_roster(path, key)
        assert signed == load_roster(path)
        assert len(signed.signatures) == count
        assert signed.verified(PINNED, count, serial=3) == roster_of(path)


def test_signing_twice_is_one_signature(path: Path) -> None:
    assert sign_roster(path, CONSORTIUM[0]) == sign_roster(path, CONSORTIUM[0])
    with pytest.raises(FaultyServer, match="signed by 1"):
        load_roster(path).verified(PINNED, 2, serial=0)


def test_a_roster_without_sites_is_not_signed(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    path.write_text("serial = 1\n")
    with pytest.raises(RosterError, match="without sites is not signed; federation roster add"):
        sign_roster(path, CONSORTIUM[0])
    assert path.read_text() == "serial = 1\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("serial = 3", "serial = 4"),
        ("size = 100", "size = 101"),
        ("owner of berlin", "owner of b3rlin"),
        ('id = "cleveland"', 'id = "clevelanD"'),
        (public("berlin").key, public("mallory").key),
    ],
)
def test_a_changed_roster_is_no_longer_signed(old: str, new: str, path: Path) -> None:
    sign_roster(path, CONSORTIUM[0])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(FaultyServer, match="signed by 0"):
        load_roster(path).verified(PINNED, 1, serial=0)


def test_a_comment_and_another_layout_change_nothing(path: Path) -> None:
    signed = sign_roster(path, CONSORTIUM[0])
    path.write_text("# read by both of us\n\n" + path.read_text().replace(" = ", "="))
    assert load_roster(path) == signed


def test_a_changed_signature_counts_for_nothing(path: Path) -> None:
    signed = sign_roster(path, CONSORTIUM[0])
    written = signed.signatures[public_identity(CONSORTIUM[0])].hex()
    path.write_text(path.read_text().replace(written, written[:-1] + ("0" if written[-1] != "0" else "1")))
    with pytest.raises(FaultyServer, match="signed by 0"):
        load_roster(path).verified(PINNED, 1, serial=0)


def test_an_old_signed_roster_stays_genuine_but_older(path: Path) -> None:
    old = sign_roster(path, CONSORTIUM[0])
    add_to_roster(path, public("berlin", key="after a break-in"))
    new = sign_roster(path, CONSORTIUM[0])
    assert old.verified(PINNED, 1, serial=3).by_site["berlin"] == public("berlin").entry
    with pytest.raises(FaultyServer, match="serial 3, after one of serial 4"):
        old.verified(PINNED, 1, serial=Roster.from_bytes(new.roster).serial)


TEXTS = st.text(min_size=1, max_size=40).filter(
    lambda name: name.isprintable() and name == normalize("NFC", name).strip()
)
SITES = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True),
    st.tuples(st.integers(1, (1 << 53) - 1), TEXTS),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(sites=SITES, signers=st.sets(st.sampled_from(range(3))))
def test_what_is_written_is_what_was_signed_and_reads_as_toml(
    sites: dict[str, tuple[int, str]], signers: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("roster") / "roster.toml"
    for name, (size, organization) in sites.items():
        add_to_roster(path, public(name, size, organization))
    for number in signers:
        sign_roster(path, CONSORTIUM[number])
    entries = tuple(public(name, *sites[name]).entry for name in sorted(sites))
    expected = SignedRoster.by(Roster(len(sites), entries), [CONSORTIUM[number] for number in signers])
    assert load_roster(path) == expected
    seen = tomllib.loads(path.read_text("utf-8"))
    assert [(site["id"], site["size"], site["organization"]) for site in seen["site"]] == [
        (entry.site, entry.size, entry.organization) for entry in entries
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("serial = 3", "serial = -1", "roster.toml:1 serial = -1: must be at least 0"),
        ("serial = 3\n", "", "roster.toml serial: is missing; add a line such as: serial = 1"),
        ("serial = 3", "serial = 3\nsigned = true", 'unknown key; did you mean "signature"?'),
        ("size = 100", "size = 0", "site.1.size = 0: must be at least 1"),
        (
            'id = "amsterdam"',
            'id = "cleveland"',
            "the sites of a roster are not distinct or not sorted",
        ),
        ('id = "amsterdam"', 'id = "zurich"', "not sorted; add sites with: federation roster add"),
        (public("berlin").key, public("amsterdam").key, "a roster holds the same key twice"),
        (public("berlin").key, "01" + "00" * 31, "a key of a roster is not canonical, or of small order"),
        (public("berlin").key, public("berlin").key + "00", "is not of the right form"),
        (public("berlin").key, "zz" + public("berlin").key, "is not of the right form"),
        ('signature = "', 'signature = "00', "is not of the right form"),
        ("[[signature]]", "[signature]", "must be a list in brackets"),
    ],
)
def test_a_mistake_in_a_roster_is_one_line(old: str, new: str, expected: str, path: Path) -> None:
    sign_roster(path, CONSORTIUM[0])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    acts: list[Callable[[Path], object]] = [
        load_roster,
        lambda place: sign_roster(place, CONSORTIUM[1]),
        lambda place: add_to_roster(place, public("dresden")),
    ]
    for act in acts:
        with pytest.raises(InputError) as caught:
            act(path)
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("slot", "name"), [(1, "amsterdam"), (2, "berlin"), (3, "cleveland")])
def test_a_mistake_is_named_by_the_line_of_its_own_site(slot: int, name: str, path: Path) -> None:
    head, tail = path.read_text().split(f'id = "{name}"')
    path.write_text(head + f'id = "{name}"' + tail.replace("size = 100", "size = 0", 1))
    line = head.count("\n") + 3
    with pytest.raises(InputError, match=rf"roster\.toml:{line} site\.{slot}\.size = 0: must be at least 1"):
        load_roster(path)


def test_a_roster_that_is_not_there_is_only_made_by_adding(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    with pytest.raises(UnusableFile, match="there is no such file"):
        load_roster(path)
    with pytest.raises(UnusableFile, match="there is no such file"):
        sign_roster(path, CONSORTIUM[0])
    assert not path.exists()
    assert add_to_roster(path, public("berlin")) == Roster(1, (public("berlin").entry,))


# Signatures of earlier suites.


def older(path: Path, suite: int) -> SignedRoster:
    """The roster of `path` as an earlier suite signed it, in its place."""
    roster = replace(Roster.from_bytes(load_roster(path).roster), suite=suite)
    signed = SignedRoster.by(roster, [identity("consortium")])
    write_roster(path, SignedRoster(replace(roster, suite=SUITE).to_bytes(), signed.signatures))
    return signed


@pytest.mark.parametrize("suite", [BROKEN, OLDER])
def test_a_roster_of_an_earlier_suite_is_signed_under_the_next_serial(path: Path, suite: int) -> None:
    """Sites remember its serial by another root, and would refuse the same serial with a new one."""
    before = Roster.from_bytes(load_roster(path).roster)
    older(path, suite)
    assert as_signed(load_roster(path))[0].suite == suite
    signed = sign_roster(path, identity("consortium"))
    after = Roster.from_bytes(signed.roster)
    assert (after.serial, after.entries) == (before.serial + 1, before.entries)
    assert set(signed.signatures) == {public_identity(identity("consortium"))}
    assert as_signed(load_roster(path))[0].suite == SUITE


def test_a_stray_signature_of_the_broken_suite_takes_no_signature_away(path: Path) -> None:
    sign_roster(path, identity("consortium"))
    good = load_roster(path)
    stray = SignedRoster.by(
        replace(Roster.from_bytes(good.roster), suite=BROKEN), [identity("mallory")]
    ).signatures
    write_roster(path, SignedRoster(good.roster, {**good.signatures, **stray}))
    signed = sign_roster(path, identity("another"))
    assert Roster.from_bytes(signed.roster).serial == Roster.from_bytes(good.roster).serial
    assert good.signatures.keys() < signed.signatures.keys()


def test_several_files_are_one_statement_in_any_order_or_none_at_all(tmp_path: Path) -> None:
    path = tmp_path / "many.toml"
    _, coordinator = create_coordinator(tmp_path, "coordinator")
    _, node = create_node(tmp_path, "berlin")
    files = [load_any_public(node), load_any_public(coordinator), public("berlin"), public("amsterdam")]
    roster = add_to_roster(path, *files)
    assert (roster.serial, [entry.site for entry in roster.entries]) == (1, ["amsterdam", "berlin"])
    assert roster.coordinator and roster.by_site["berlin"].node
    before = path.read_bytes()
    with pytest.raises(InputError, match="holds the same key twice"):
        add_to_roster(path, public("dresden"), public("mallory", key="berlin"))
    assert path.read_bytes() == before


def test_a_key_does_not_sign_a_roster_that_lists_it_as_a_site(path: Path) -> None:
    """Whoever adds *.pub adds the consortium's own, too."""
    own = PublicFile(id="consortium", organization="x", size=1, key=public_identity(CONSORTIUM[0]).hex())
    add_to_roster(path, own)
    with pytest.raises(RosterError, match=r"lists the key that signs it as site consortium; take it off"):
        sign_roster(path, CONSORTIUM[0])
    assert load_roster(path).signatures == {}
    sign_roster(path, CONSORTIUM[1])
