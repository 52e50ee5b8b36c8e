"""Who may vouch for the coordinator: a federation's own authority, and not a bundle of strangers."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.policy import load_site
from clients.preflight.before import look
from clients.preflight.doctor import examine
from clients.preflight.finding import Finding
from clients.preflight.own import authorities
from tests.certificates import certificate
from tests.clients.test_join import SITE, write_site

SERVER = '[server]\naddress = "fed.example.invalid:8443"\ncertificate = "ca.crt"\n'


def site(folder: Path, count: int) -> Path:
    path = write_site(folder, SITE + SERVER)
    (folder / "ca.crt").write_bytes(b"".join(b"# of somebody\n" + certificate() for _ in range(count)))
    return path


def test_a_bundle_is_a_warning_of_join_and_doctor(tmp_path: Path) -> None:
    path = site(tmp_path, 4)
    seen: list[tuple[Finding, ...]] = [look(load_site(path), path, ()).findings, tuple(examine(path))]
    for findings in seen:
        (found,) = (each for each in findings if each.name == "certificate")
        assert found.level == "warning"
        assert found.detail.startswith("ca.crt holds 4 certificates, and each of their owners can vouch")
        assert "own authority" in found.cure


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_few_are_an_authority_and_the_one_after_it(tmp_path: Path, count: int) -> None:
    path = site(tmp_path, count)
    assert not list(authorities(load_site(path), path))


def test_a_site_without_server_and_a_file_that_is_not_there_are_told_elsewhere(tmp_path: Path) -> None:
    path = site(tmp_path, 4)
    rules = load_site(path)
    (tmp_path / "ca.crt").unlink()
    assert not list(authorities(rules, path))
    alone = write_site(tmp_path, SITE)
    assert not list(authorities(load_site(alone), alone))
