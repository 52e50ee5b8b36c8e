"""An invitation says all that its parts say, has one fingerprint for it, and holds no secret."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.drafting.invitation import Invitation, invite, load_invitation
from federation.errors import FederationError, InputError
from federation.plan.plan import load, parse
from privacy.errors import PrivacyError
from tests import plans
from tests.certificates import certificate
from tests.clients.drafting.drafts import given_in


def invitation_of(folder: Path, **changes: object) -> Invitation:
    given = given_in(folder, **changes)
    assert given.plan is not None
    return invite(given.plan, given.consortium, given.quorum, given.address, given.certificate)


def stored(folder: Path, text: str) -> Path:
    path = folder / "invite.toml"
    path.write_bytes(text.encode())
    return path


def test_it_survives_its_file_and_any_layout_of_it(tmp_path: Path) -> None:
    found = invitation_of(tmp_path)
    text = found.to_toml("invite.toml")
    read = load_invitation(stored(tmp_path, text))
    assert read == found
    assert read.parsed_plan().digest == load(tmp_path / "plan.toml").digest
    laid_out = "# by hand\n" + text.replace("quorum = 1", "quorum   =   1  # one").replace("\n", "\r\n")
    assert load_invitation(stored(tmp_path, laid_out)).fingerprint == found.fingerprint


def test_comments_of_a_plan_travel_with_it_whatever_is_in_them(tmp_path: Path) -> None:
    for comment in ("# ' '' ''' \"\"\" \\ \u2028", "# plain\ttab", "# ''", "# ''' \U0001f3e5"):
        given = given_in(tmp_path)
        assert given.plan is not None
        given.plan.write_text(comment + "\n" + plans.TEXT, "utf-8")
        found = invite(given.plan, given.consortium, None, None, None)
        read = load_invitation(stored(tmp_path, found.to_toml("x")))
        assert read.plan.toml == comment + "\n" + plans.TEXT


def test_every_part_is_in_the_fingerprint(tmp_path: Path) -> None:
    same = invitation_of(tmp_path)
    other_plan = same.model_copy(
        update={"plan": same.plan.model_copy(update={"toml": plans.text_of(seed=8)})}
    )
    assert same.server is not None
    changed = [
        other_plan,
        same.model_copy(update={"server": None}),
        same.model_copy(update={"server": same.server.model_copy(update={"address": "other.example.org:1"})}),
        same.model_copy(update={"server": same.server.model_copy(update={"certificate": "x"})}),
        same.model_copy(update={"consortium": same.consortium.model_copy(update={"keys": ("0" * 64,)})}),
        same.model_copy(update={"consortium": same.consortium.model_copy(update={"quorum": 2})}),
    ]
    assert len({same.fingerprint, *(one.fingerprint for one in changed)}) == 1 + len(changed)


def test_a_certificate_that_nobody_may_pin_is_not_sent_around(tmp_path: Path) -> None:
    given = given_in(tmp_path)
    assert given.plan is not None
    path = tmp_path / "odd.crt"
    for content, told in (
        (certificate() + b"-----BEGIN PRIVATE KEY-----\nx", "holds a private key"),
        (b"no certificate", "is no certificate in PEM form"),
        (certificate(ends=timedelta(hours=-1)), "expired on"),
        ("# Behörde\n".encode("iso-8859-1") + certificate(), "is not UTF-8 text"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=told) as error:
            invite(given.plan, given.consortium, None, "fed.example.org:1", path)
        assert "\n" not in str(error.value)
        assert "PRIVATE" not in str(error.value)


def test_of_a_certificate_no_more_is_sent_around_than_was_checked(tmp_path: Path) -> None:
    given = given_in(tmp_path)
    assert given.plan is not None
    path = tmp_path / "long.crt"
    path.write_bytes(certificate() + b"\n" * (1 << 20) + b"-----BEGIN PRIVATE KEY-----\nx")
    found = invite(given.plan, given.consortium, None, "fed.example.org:1", path)
    assert found.server is not None
    assert "PRIVATE" not in found.server.certificate


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: "", r"version: is missing"),
        (
            lambda text: text.replace("invitation/1", "invitation/2"),
            'version = "federation.invitation/2": must be',
        ),
        (lambda text: text.replace("rounds = 2", "rounds = 0"), r"the plan in it is none: .*rounds = 0"),
        (lambda text: text.replace("8443", "99999"), "server.address"),
        (lambda text: text.replace("quorum = 1", "quorum = 9"), "quorum = 9: is more than the 1 keys"),
        (lambda text: text + "\n[more]\n", "more: unknown key"),
        (lambda text: "\0", "is not TOML"),
    ],
    ids=["empty", "version", "plan", "address", "quorum", "more", "binary"],
)
def test_a_file_that_is_none_is_told_in_one_line(change: object, told: str, tmp_path: Path) -> None:
    text = invitation_of(tmp_path).to_toml("x")
    with pytest.raises(InputError, match=told) as error:
        load_invitation(stored(tmp_path, change(text)))  # type: ignore[operator]
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "invite.toml"))


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_is_another_invitation_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    folder = tmp_path_factory.mktemp("invited")
    found = invitation_of(folder)
    data = bytearray(found.to_toml("x").encode())
    data[place % len(data)] = byte
    path = folder / "invite.toml"
    path.write_bytes(bytes(data))
    try:
        read = load_invitation(path)
    except (FederationError, PrivacyError) as error:
        assert "\n" not in str(error)
        return
    assert (read.fingerprint == found.fingerprint) == (
        parse(read.plan.toml).digest == found.parsed_plan().digest
        and (read.consortium, read.server) == (found.consortium, found.server)
    )
