"""`[server]` of a site file: what cannot be connected to is refused before anything else happens."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from clients.check import preflight
from clients.join import open_site
from federation.errors import SiteFileError
from federation.identity.keys import create
from privacy.signing import public_identity
from tests.certificates import certificate
from tests.clients.sites import COORDINATOR, make_plan
from tests.clients.test_join import SITE, write_site

GOOD = "fed.example.org:8443"
PINNED = public_identity(COORDINATOR).hex()


def with_server(folder: Path, address: str = GOOD, content: bytes | None = None, extra: str = "") -> Path:
    """A site that is complete but for what its [server] says."""
    table = f'[server]\naddress = "{address}"\ncertificate = "ca.crt"\n{extra}'
    if content is not None:
        (folder / "ca.crt").write_bytes(content)
    return write_site(folder, SITE + table)


def refusal(path: Path) -> str:
    """What check and join both say, in one line; no journal is made."""
    with pytest.raises(SiteFileError) as checked:
        preflight(make_plan(), path)
    with pytest.raises(SiteFileError) as joined:
        open_site(path)
    assert str(checked.value) == str(joined.value)
    assert joined.value.exit_code == 2
    assert not (path.parent / "journal.sqlite").exists()
    return str(joined.value)


@pytest.mark.parametrize(
    "address", [GOOD, "10.0.0.1:1", "[::1]:65535", "localhost:8443", "a-b.example.:443", "super_link:8000"]
)
def test_what_can_be_connected_to_is_taken(address: str, tmp_path: Path) -> None:
    path = with_server(tmp_path, address, certificate())
    preflight(make_plan(), path)
    open_site(path).close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "has no port"),
        ("fed.example.org", "has no port"),
        ("fed.example.org:", "has no port"),
        ("fed.example.org:0", "has no port"),
        ("fed.example.org:65536", "has no port"),
        ("fed.example.org:8443x", "has no port"),
        ("fed.example.org:08443", "has no port"),
        ("https://fed.example.org:8443", "is a URL"),
        ("fed.example.org:8443/v1", "is a URL"),
        (":8443", "names no host"),
        ("::1:8443", "names no host"),
        ("[::g]:8443", "names no host"),
        ("10.0.0.256:8443", "names no host"),
        ("10.0.1:8443", "names no host"),
        ("fed example:8443", "names no host"),
        ("-fed:8443", "names no host"),
        ("a..b:8443", "names no host"),
        ("user@host:8443", "names no host"),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, message: str, tmp_path: Path) -> None:
    told = refusal(with_server(tmp_path, address, certificate()))
    assert "site.toml" in told
    assert f'server.address = "{address}": {message}' in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "names no file"),
        (b"", "is no certificate in PEM form"),
        (b"not a certificate", "is no certificate in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is no certificate in PEM form"),
        (b"\x30\x82\x01\x00", "is no certificate in PEM form"),
        (certificate(ends=timedelta(hours=-1)), "expired on 20"),
        (certificate(begins=timedelta(hours=1)), "is not valid before 20"),
    ],
)
def test_a_certificate_that_cannot_be_pinned_is_refused(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    assert f'server.certificate = "ca.crt": {message}' in refusal(with_server(tmp_path, content=content))


def test_a_folder_in_the_place_of_the_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").mkdir()
    assert "names no file" in refusal(with_server(tmp_path))


def test_a_private_key_beside_the_certificate_is_refused(tmp_path: Path) -> None:
    private, _ = create(tmp_path / "other", "other", "other", 1)
    content = certificate() + private.read_bytes() + b"-----BEGIN PRIVATE KEY-----"
    assert "holds a private key" in refusal(with_server(tmp_path, content=content))


def test_a_bundle_with_one_valid_authority_is_taken(tmp_path: Path) -> None:
    bundle = certificate(ends=timedelta(hours=-1)) + certificate()
    open_site(with_server(tmp_path, content=bundle)).close()


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    told = refusal(with_server(tmp_path, content=certificate(), extra='adress = "x:1"\n'))
    assert "server.adress" in told
    assert "address" in told.split("server.adress")[1]


def test_a_coordinator_s_key_may_be_pinned(tmp_path: Path) -> None:
    path = with_server(tmp_path, content=certificate(), extra=f'coordinator_key = "{PINNED}"\n')
    with closing(open_site(path)) as site:
        assert site.trust.coordinator.hex() == PINNED
    with closing(open_site(with_server(tmp_path, content=certificate()))) as site:
        assert site.trust.coordinator == b""


@pytest.mark.parametrize("key", ["", "12", "AB" * 32, "00" * 32, "ff" * 32])
def test_what_is_no_public_key_is_not_pinned(key: str, tmp_path: Path) -> None:
    path = with_server(tmp_path, content=certificate(), extra=f'coordinator_key = "{key}"\n')
    assert "is no public key; copy it from the coordinator's .pub file" in refusal(path)
