"""Identities on disk: made once, readable by their owner only, and never shown in an error."""

from __future__ import annotations

import os
import resource
import stat
from base64 import b64encode
from pathlib import Path
from unicodedata import normalize

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import InputError, UnusableFile
from federation.files import replace_file
from federation.identity.keys import create, load_private, load_public
from privacy.roster import Entry
from privacy.signing import public_identity


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_pair_comes_back_and_belongs_together(tmp_path: Path) -> None:
    private, public = create(tmp_path / "keys", "cleveland", "Cleveland Clinic", 300)
    assert (private, public) == (tmp_path / "keys" / "cleveland.key", tmp_path / "keys" / "cleveland.pub")
    key = load_private(private)
    entry = Entry("cleveland", "Cleveland Clinic", public_identity(key), 300)
    assert load_public(public).entry == entry
    by_another_library_call = load_pem_private_key(private.read_bytes(), None)
    assert isinstance(by_another_library_call, Ed25519PrivateKey)
    assert by_another_library_call.private_bytes_raw() == key.private_bytes_raw()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_its_owner_can_read_a_key_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        private, public = create(tmp_path / "deep" / "keys", "cleveland", "Cleveland Clinic", 300)
    finally:
        os.umask(before)
    assert mode(private) == 0o600
    assert mode(private.parent) == 0o700
    assert mode(public) == 0o666 & ~umask


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    private, public = create(tmp_path, "cleveland", "Cleveland Clinic", 300)
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(UnusableFile, match=r"cleveland.key: exists already; a key is never replaced"):
        create(tmp_path, "cleveland", "Somebody Else", 1)
    assert (private.read_bytes(), public.read_bytes()) == before
    public.unlink()
    with pytest.raises(UnusableFile, match="exists already"):
        create(tmp_path, "cleveland", "Cleveland Clinic", 300)
    assert private.read_bytes() == before[0]


def test_no_two_keys_are_alike(tmp_path: Path) -> None:
    keys = {create(tmp_path, f"site-{number}", "x", 1)[0].read_bytes() for number in range(5)}
    assert len(keys) == 5


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../above", "a/b", "/etc/x", ".hidden", "a b", "é", "x" * 65, "a\n"]
)
def test_an_id_that_is_no_plain_name_makes_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"id = .*is not of the right form"):
        create(tmp_path / "keys", name, "Cleveland Clinic", 300)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("letter", ["\u202e", "\x9b", "\x7f", "\n", "\x1b"])
def test_a_name_that_would_steer_a_terminal_is_shown_escaped(letter: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        create(tmp_path, f"a{letter}b", "owner", 1)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("organization", "size"), [("", 1), ("é" * 129, 1), ("x", 0), ("x", 1 << 53)])
def test_what_no_roster_could_hold_makes_no_file(organization: str, size: int, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        create(tmp_path, "cleveland", organization, size)
    assert list(tmp_path.iterdir()) == []


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)


@settings(max_examples=100, deadline=None)
@given(organization=NAMES, size=st.integers(1, (1 << 53) - 1))
def test_any_organization_comes_back_to_the_letter_or_makes_no_file(
    organization: str, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    if not organization.isprintable() or organization != normalize("NFC", organization).strip():
        with pytest.raises((InputError, UnusableFile)):  # the latter for DEL, which TOML has not
            create(folder, "cleveland", organization, size)
        assert list(folder.iterdir()) == []
        return
    _, public = create(folder, "cleveland", organization, size)
    assert load_public(public).entry.organization == organization
    assert load_public(public).entry.size == size


def test_half_a_key_is_taken_back_or_a_full_disk_would_keep_its_place_for_ever(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        with pytest.raises(UnusableFile, match=r"cleveland\.key: cannot be written"):
            create(tmp_path, "cleveland", "Cleveland Clinic", 300)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    create(tmp_path, "cleveland", "Cleveland Clinic", 300)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "keys"):
        with pytest.raises(UnusableFile, match=r"exists already|cannot be written \(Not a directory\)"):
            create(folder, "cleveland", "Cleveland Clinic", 300)


CONTENT = "c2VjcmV0IG9mIHRoaXMgc2l0ZQ"
EC = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
# Its lengths are right, and its key has 31 bytes.
SHORT = b"-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n" % b64encode(
    bytes.fromhex("302d020100300506032b65700421041f") + bytes(31)
)
LOCKED = Ed25519PrivateKey.generate().private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is no private key that can be read"),
        (CONTENT.encode(), "is no private key that can be read"),
        (
            f"-----BEGIN PRIVATE KEY-----\n{CONTENT}\n-----END PRIVATE KEY-----\n".encode(),
            "is no private key",
        ),
        (SHORT, "is no private key that can be read"),
        (LOCKED, "is sealed by a passphrase; name the file of its passphrase"),
        (EC, "is a key of another kind"),
    ],
    ids=["empty", "text", "broken", "a byte short", "with a password", "another kind"],
)
def test_what_is_no_key_of_ours_is_refused_and_not_shown(
    content: bytes, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "cleveland.key"
    replace_file(path, content, is_secret=True)
    with pytest.raises(UnusableFile, match=rf"cleveland\.key: {expected}") as caught:
        load_private(path)
    assert CONTENT not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_secret_is_written_for_its_owner_only(tmp_path: Path, umask: int) -> None:
    """As the keys of a simulation are. A file left over from a crash does not lend its mode."""
    path = tmp_path / "keys" / "ash.key"
    path.parent.mkdir()
    path.with_name("ash.key.new").write_text("left over")
    path.with_name("ash.key.new").chmod(0o644)
    before = os.umask(umask)
    try:
        replace_file(path, b"secret", is_secret=True)
    finally:
        os.umask(before)
    assert (mode(path), path.read_bytes()) == (0o600, b"secret")


def test_a_key_that_another_owner_hands_in_may_be_our_group_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _ = create(tmp_path, "cleveland", "Cleveland Clinic", 300)
    monkeypatch.setattr(os, "geteuid", lambda: private.stat().st_uid + 1)
    for allowed in (0o400, 0o440, 0o640):
        private.chmod(allowed)
        load_private(private)
    for refused in (0o444, 0o644, 0o660):
        private.chmod(refused)
        with pytest.raises(UnusableFile, match=rf"mode {refused:04o}"):
            load_private(private)


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="there is no such key; make one: federation keys new"):
        load_private(tmp_path / "cleveland.key")
    with pytest.raises(UnusableFile, match="is no private key that can be read"):
        load_private(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a" * 64, "a" * 63, "cleveland.pub:4 key = "),
        ("a" * 64, "a" * 66, "is not of the right form"),
        ("a" * 64, "zz" + "a" * 64, "is not of the right form"),
        ("a" * 64, "A" * 64, "is not of the right form"),
        ("300", "0", "cleveland.pub:3 size = 0: must be at least 1"),
        ("300", "3e2", "cleveland.pub:3 size = 300.0: must be a whole number"),
        ('"cleveland"', '"../x"', "cleveland.pub:1 id = "),
        ("size", "sise", 'unknown key; did you mean "size"?'),
        ("size = 300\n", "", "cleveland.pub size: is missing; add a line such as: size = 300"),
    ],
)
def test_a_mistake_in_a_public_file_is_one_line(old: str, new: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "cleveland.pub"
    text = f'id = "cleveland"\norganization = "Cleveland Clinic"\nsize = 300\nkey = "{"a" * 64}"\n'
    path.write_text(text)
    assert load_public(path).id == "cleveland"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load_public(path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
