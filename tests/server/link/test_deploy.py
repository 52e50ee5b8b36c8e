"""What is settled before anything is started: plans and their folders, nodes, addresses, certificates."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from federation.errors import CheckpointError, InputError, RosterError, UnusableFile
from federation.identity.keys import create, load_public
from federation.identity.roles import create_coordinator, create_node, load_any_public
from federation.identity.roster_file import add_to_roster
from server.link.child import Place
from server.link.deploy import Call, _alone, certificate_of, deploy, nodes_of, parts_of
from tests.worlds import text_of

SITES = ("ash", "birch", "cedar")


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """A plan, and a roster of three sites with node keys and a coordinator."""
    (tmp_path / "plan.toml").write_text(text_of())
    roster = tmp_path / "roster.toml"
    for site in SITES:
        add_to_roster(roster, load_public(create(tmp_path / site, site, site, 30)[1]))
        add_to_roster(roster, load_any_public(create_node(tmp_path / f"{site}-node", site)[1]))
    _, public = create_coordinator(tmp_path / "own", "coordinator")
    add_to_roster(roster, load_any_public(public))
    return Call(
        (tmp_path / "plan.toml",), roster, tmp_path / "run", "localhost:8443", identity=tmp_path / "own"
    )


def test_one_plan_has_the_state_folder_and_several_one_in_it_each(call: Call, tmp_path: Path) -> None:
    assert [part.folder for part in parts_of(call)] == [tmp_path / "run"]
    (tmp_path / "other.toml").write_text(text_of(seed=8, name="Second: / run"))
    both = replace(call, plans=(*call.plans, tmp_path / "other.toml"))
    folders = [part.folder for part in parts_of(both)]
    assert {folder.parent for folder in folders} == {tmp_path / "run"}
    assert folders[1].name.startswith("second-run-")
    assert [part.folder for part in parts_of(replace(both, plans=both.plans[::-1]))] == folders[::-1]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.toml").write_text(text_of())
    with pytest.raises(InputError, match="holds a run already"):
        parts_of(both)
    with pytest.raises(InputError, match="named twice"):
        parts_of(replace(call, plans=call.plans * 2))


def test_nodes_are_those_of_the_roster_and_too_few_are_told(call: Call) -> None:
    assert sorted(nodes_of(call, parts_of(call))) == [*SITES]
    text = call.roster.read_text()
    start = text.index("node = ")
    call.roster.write_text(text[:start] + text[text.index("\n", start) + 1 :])
    with pytest.raises(RosterError, match=r"2 sites.*minimum is 3 \(without: ash\)"):
        nodes_of(call, parts_of(call))


@pytest.mark.parametrize("sites", [2, 4, 0])
def test_it_waits_for_a_number_of_sites_that_can_come_and_is_enough(call: Call, sites: int) -> None:
    with pytest.raises(InputError, match="--sites"):
        nodes_of(replace(call, sites=sites), parts_of(call))


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("fed.example.org:8443", ("fed.example.org", 8443)),
        ("[::1]:0", ("::1", 0)),
        ("0.0.0.0:443", ("0.0.0.0", 443)),  # noqa: S104
        ("https://fed.example.org:8443", None),
        ("fed.example.org", None),
        (":8443", None),
        ("a b:1", None),
        ("fed:99999", None),
        ("::1:80", None),
    ],
)
def test_an_address_is_a_host_and_a_port(call: Call, address: str, told: tuple[str, int] | None) -> None:
    asked = replace(call, address=address)
    if told is None:
        with pytest.raises(InputError, match="--address"):
            _ = asked.host_and_port
    else:
        assert asked.host_and_port == told


def test_certificates_are_made_beside_the_coordinators_key_and_in_no_run_folder(
    call: Call, tmp_path: Path
) -> None:
    made = certificate_of(call)
    assert made.pinned == tmp_path / "own" / "tls" / "ca.crt"
    assert not (tmp_path / "run").exists()
    assert certificate_of(replace(call, certificate=made.chain, key=made.key)).chain == made.chain
    with pytest.raises(InputError, match="go together"):
        certificate_of(replace(call, certificate=made.chain))
    with pytest.raises(UnusableFile, match="sites dial"):
        certificate_of(replace(call, certificate=made.chain, key=made.key, address="other.org:1"))


def test_a_state_folder_has_one_coordinator(call: Call) -> None:
    place = Place(call.state / "link")
    with _alone(call, place):
        assert place.folder.stat().st_mode & 0o777 == 0o700
        with pytest.raises(CheckpointError, match="another federation serve"), _alone(call, place):
            pass
    with _alone(call, place):
        pass


@pytest.mark.parametrize("fault", ["port", "status", "certificate"])
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_a_coordinator_that_cannot_start_leaves_no_folder_behind(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, several: bool
) -> None:
    monkeypatch.setattr("server.link.child._BIND_SECONDS", 0.0)
    (tmp_path / "other.toml").write_text(text_of(seed=8, name="second"))
    call = replace(call, state=tmp_path / "runs" / "run", address="127.0.0.1:0")
    if several:
        call = replace(call, plans=(*call.plans, tmp_path / "other.toml"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        here = f"127.0.0.1:{taken.getsockname()[1]}"
        bad = {
            "port": {"address": here},
            "status": {"status": here},
            "certificate": {"certificate": call.roster, "key": call.roster},
        }
        with pytest.raises(InputError):
            deploy(replace(call, **bad[fault]))  # type: ignore[arg-type]
        assert not (tmp_path / "runs").exists()
        call.state.mkdir(parents=True)
        with pytest.raises(InputError):
            deploy(replace(call, **bad[fault]))  # type: ignore[arg-type]
    assert list(call.state.iterdir()) == []


def test_what_was_there_before_a_coordinator_that_cannot_start_stays(call: Call) -> None:
    call.state.mkdir()
    (call.state / "plan.toml").write_text(text_of())
    with pytest.raises(UnusableFile):
        deploy(replace(call, certificate=call.roster, key=call.roster))
    assert [path.name for path in call.state.iterdir()] == ["plan.toml"]
    with _alone(call, Place(call.state / "link")), pytest.raises(CheckpointError, match="another federation"):
        deploy(call)
    assert {path.name for path in call.state.iterdir()} == {"plan.toml", "link"}
