"""A plan rehearsed by a coordinator: who took part, who did not and why; and nothing that could pass for a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.site import Site
from federation.audit.examine import audit
from federation.errors import PlanError, RosterError, UnusableFile
from federation.plan.plan import Plan, load
from federation.round.messages import Frame, Kind
from server.rehearsal import FOLDER, SCHEMA, Rehearsal, rehearse
from server.serve import serve
from simulations.world import InProcess
from tests.server.test_serve import carrier, hospitals
from tests.worlds import NAMES, plan_of, text_of

PLAN = plan_of()


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[dict[str, Site]]:
    (tmp_path / "plan.toml").write_text(text_of())
    with hospitals(tmp_path / "sites", 4) as found:
        yield found


def rehearsed(tmp_path: Path, line: InProcess, **named: object) -> Rehearsal:
    roster = tmp_path / "sites" / "roster.toml"
    return rehearse(tmp_path / "plan.toml", roster, tmp_path / "run", line, **named)  # type: ignore[arg-type]


def states(found: Rehearsal) -> dict[str, tuple[str, str | None]]:
    return {site.id: (site.state, site.reason) for site in found.sites}


def test_all_sites_take_part_and_a_run_in_the_same_folder_follows(
    sites: dict[str, Site], tmp_path: Path
) -> None:
    """Their data are gone meanwhile: nobody misses them."""
    moved = {name: (tmp_path / "sites" / f"{name}.csv") for name in sites}
    for path in moved.values():
        path.rename(path.with_suffix(".away"))
    found = rehearsed(tmp_path, carrier(sites))
    for path in moved.values():
        path.with_suffix(".away").rename(path)
    assert found.is_complete
    found.require_complete()
    assert states(found) == dict.fromkeys(NAMES[:4], ("took part", None))
    assert (found.rounds, found.planned_rounds, found.plan_digest) == (2, 3, PLAN.digest)
    for site in found.sites:
        assert set(site.seconds) == {"joining", "keys", "shares", "training", "opening", "closing"}
        assert site.rounds == 2
        assert min(site.bytes_up, site.bytes_down) > 1000
    serve(tmp_path / "plan.toml", tmp_path / "sites" / "roster.toml", tmp_path / "run", carrier(sites))
    assert audit(tmp_path / "run").verdict == "pass"


def test_what_is_left_is_one_record_that_no_command_takes_for_a_run(
    sites: dict[str, Site], tmp_path: Path
) -> None:
    found = rehearsed(tmp_path, carrier(sites))
    (path,) = (path for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert path.parent == tmp_path / "run" / FOLDER
    content = json.loads(path.read_text())
    assert content == found.to_json()
    assert (content["schema"], content["rehearsal"], content["complete"]) == (SCHEMA, True, True)
    for folder in (tmp_path / "run", path.parent):
        with pytest.raises(UnusableFile, match="this is no run folder"):
            audit(folder)
    with pytest.raises(UnusableFile, match="there is no such run or bundle"):
        audit(tmp_path / "nothing")
    (tmp_path / "forged").mkdir()
    (tmp_path / "forged" / "plan.toml").write_text(PLAN.rehearsal().to_toml())
    with pytest.raises(PlanError, match="is for rehearsals, which are no runs"):
        load(tmp_path / "forged" / "plan.toml")
    verdict = audit(tmp_path / "forged")
    assert verdict.verdict == "fail"
    assert "rehearsals" in str(verdict.to_json()["findings"])


def test_sites_that_are_missing_are_named_with_what_is_known_of_why(
    sites: dict[str, Site], tmp_path: Path
) -> None:
    """One refuses, one is not connected. Nobody signs a refusal, so the transport has to say whose it is."""
    text = (tmp_path / "sites" / "birch.toml").read_text()
    (tmp_path / "sites" / "birch.toml").write_text(text.replace(PLAN.digest, "sha256:" + 64 * "0"))
    five = {
        "node 1": sites["ash"],
        "node 2": sites["birch"],
        "node 3": sites["cedar"],
        "node 4": sites["dogwood"],
    }
    line = InProcess({name: site.receive for name, site in five.items()})
    found = rehearsed(tmp_path, line)
    assert states(found)["birch"] == ("refused", "policy")  # one is missing and one refused
    assert states(found)["ash"] == ("took part", None)
    assert not found.is_complete
    with pytest.raises(
        RosterError, match=r"1 of 4 sites did not take part to the end: birch \(policy\)"
    ) as told:
        found.require_complete()
    assert told.value.exit_code == 4
    del five["node 4"]
    line = InProcess({name: site.receive for name, site in five.items()})
    found = rehearsed(tmp_path, line)
    assert states(found) == {
        "ash": ("joined", None),  # of three sites that are left one refuses, and the minimum is three
        "birch": ("silent", None),
        "cedar": ("joined", None),
        "dogwood": ("silent", None),
    }
    assert [(one["address"], one["reason"]) for one in found.unnamed] == [("node 2", "policy")]
    assert "cohort.minimum is 3" in str(found.failure)
    found = rehearsed(tmp_path, line, named={"node 2": "birch"}.get)
    assert states(found)["birch"] == ("refused", "policy")
    assert found.unnamed == ()


def test_a_site_that_is_lost_on_the_way_is_named(sites: dict[str, Site], tmp_path: Path) -> None:
    def breaking(data: bytes) -> bytes:
        if Frame.header(data).kind is Kind.BROADCAST:
            sites["cedar"].understudy.leave()  # type: ignore[union-attr]
        return sites["cedar"].receive(data)

    line = InProcess({**{name: site.receive for name, site in sites.items()}, "cedar": breaking})
    found = rehearsed(tmp_path, line)
    assert states(found)["cedar"] == ("lost", "unknown_run")
    assert states(found)["ash"][0] == "took part"


def test_another_noise_multiplier_is_told_as_what_it_is(
    sites: dict[str, Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a site whose accountant is of another version."""
    original = Plan.kind.fget  # type: ignore[attr-defined]
    asked = []

    def odd(data: bytes) -> bytes:
        with monkeypatch.context() as patch:
            kind = type(original(PLAN))
            patch.setattr(kind, "noise_text", property(lambda _: asked.append(1) or "1.25"))
            return sites["birch"].receive(data)

    line = InProcess({**{name: site.receive for name, site in sites.items()}, "birch": odd})
    found = rehearsed(tmp_path, line)
    assert asked
    assert states(found)["birch"] == ("refused", "protocol")
    assert "consents to another noise multiplier" in str(
        next(s.detail for s in found.sites if s.id == "birch")
    )
