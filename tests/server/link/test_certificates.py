"""Certificates that are made or given: sites that pin ours reach us, and what they would refuse is named before."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from federation.errors import UnusableFile
from server.link.certificates import Certificate, given, own

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def meets(made: Certificate, pinned: Path, host: str) -> str:
    """What a client says that pins this authority and dials this host; nothing if it connects."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.chain, made.key)
    client = ssl.create_default_context(cafile=pinned)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=host)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    done = set[ssl.SSLObject]()
    try:
        for side in (one, other) * 4:
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    assert len(done) == 2
    return ""


@pytest.mark.parametrize("host", ["fed.example.org", "192.0.2.7", "2001:db8::7", "localhost"])
def test_sites_that_pin_our_authority_reach_the_host_that_was_named(tmp_path: Path, host: str) -> None:
    made = own(tmp_path / "tls", host)
    assert made.pinned == tmp_path / "tls" / "ca.crt"
    for name in (host, "localhost", "127.0.0.1"):
        assert meets(made, made.pinned, name) == ""
    assert "mismatch" in meets(made, made.pinned, "other.example.org")


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    own(tmp_path / "tls", "localhost")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()}
    assert (modes["ca.key"], modes["server.key"]) == (0o600, 0o600)
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700


def test_it_is_made_once_and_renewed_under_the_same_authority(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    made = own(folder, "a.example.org", NOW)
    authority, first = (folder / "ca.crt").read_bytes(), made.chain.read_bytes()
    assert own(folder, "a.example.org", NOW + 300 * DAY).chain.read_bytes() == first
    second = own(folder, "a.example.org", NOW + 310 * DAY).chain.read_bytes()
    assert second != first
    third = own(folder, "b.example.org", NOW + 310 * DAY).chain.read_bytes()
    assert third != second
    made.key.write_bytes(b"torn")
    assert own(folder, "b.example.org", NOW).chain.read_bytes() != third
    assert (folder / "ca.crt").read_bytes() == authority
    assert meets(made, folder / "ca.crt", "b.example.org") == ""


def test_an_authority_is_never_replaced_by_itself(tmp_path: Path) -> None:
    """Every site would have to pin another one: that is for people to decide."""
    folder = tmp_path / "tls"
    own(folder, "localhost")
    with pytest.raises(UnusableFile, match="nears its end"):
        own(folder, "localhost", NOW + 3500 * DAY)
    (folder / "ca.key").unlink()
    with pytest.raises(UnusableFile, match=r"ca\.key"):
        own(folder, "localhost")
    shutil.copy(own(tmp_path / "other", "localhost").pinned.parent / "ca.key", folder)  # type: ignore[union-attr]
    with pytest.raises(UnusableFile, match="does not belong"):
        own(folder, "localhost")


def test_a_given_one_is_checked_as_sites_would(tmp_path: Path) -> None:
    made = own(tmp_path / "tls", "fed.example.org")
    for host in ("fed.example.org", "FED.example.org.", "127.0.0.1", "0.0.0.0"):  # noqa: S104
        assert given(made.chain, made.key, host).pinned is None
    with pytest.raises(UnusableFile, match=r"names fed\.example\.org.*sites dial other\.org"):
        given(made.chain, made.key, "other.org")
    with pytest.raises(UnusableFile, match="expired on"):
        given(made.chain, made.key, "fed.example.org", NOW + 400 * DAY)
    with pytest.raises(UnusableFile, match="is valid from"):
        given(made.chain, made.key, "fed.example.org", NOW - 400 * DAY)
    other = own(tmp_path / "other", "fed.example.org")
    with pytest.raises(UnusableFile, match="does not belong to the key"):
        given(made.chain, other.key, "fed.example.org")
    with pytest.raises(UnusableFile, match="no certificate"):
        given(made.key, made.key, "fed.example.org")
    with pytest.raises(UnusableFile, match="no private key"):
        given(made.chain, made.chain, "fed.example.org")
    with pytest.raises(UnusableFile, match="cannot be read"):
        given(tmp_path / "none.crt", made.key, "fed.example.org")
    made.key.chmod(0o644)
    with pytest.raises(UnusableFile, match="chmod 600"):
        given(made.chain, made.key, "fed.example.org")


@pytest.mark.parametrize(
    ("names", "host", "is_named"),
    [
        ("DNS:*.example.org", "fed.example.org", True),
        ("DNS:*.example.org", "example.org", False),
        ("DNS:*.example.org", "a.b.example.org", False),
        ("DNS:*", "example.org", False),
        ("IP:192.0.2.7", "192.0.2.7", True),
        ("DNS:192.0.2.7", "192.0.2.8", False),
        ("DNS:10.*", "10.1", False),
    ],
)
def test_wildcards_are_read_as_clients_read_them(
    tmp_path: Path, names: str, host: str, is_named: bool
) -> None:
    chain, key = tmp_path / "c.crt", tmp_path / "c.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9",
         "-subj", "/CN=x", "-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(chain)],
        check=True, capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    if is_named:
        given(chain, key, host)
    else:
        with pytest.raises(UnusableFile, match="names"):
            given(chain, key, host)
