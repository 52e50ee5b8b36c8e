"""`federation ledger withdraw`: what the site's people type and read, and what its ledger shows them afterwards."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from federation.ledger.export import load_entries
from privacy.wire import digest
from server.serve import serve
from tests.clients.people.houses import NOISED, THREE, Heard, build, staffed
from tests.federation.command import Command, Outcome
from tests.worlds import plan_of, text_of

PLAN = plan_of(NOISED)
Asks = Callable[..., Outcome]


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asks:
    """The command, with ids on its standard input."""
    command = Command(monkeypatch, capsys)

    def ask(*words: object, ids: str = "") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(ids.encode())))
        return command(*words)

    return ask


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital that has played two rounds of a run; after the second some withdrew, and it played the third."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "plan.toml").write_text(text_of(NOISED), "utf-8")
    given = folder / "plan.toml", build(folder / "sites", PLAN), folder / "run"
    with staffed(folder / "sites") as sites, pytest.raises(KeyboardInterrupt):
        serve(*given, Heard(sites, until=7))
    return folder


def test_a_person_withdraws_and_the_site_s_people_read_what_follows(asks: Asks, house: Path) -> None:
    """In one story, since each step needs the one before."""
    site, ledger = house / "sites" / f"{THREE[0]}.toml", house / "sites" / f"{THREE[0]}.sqlite"
    nobody = asks("ledger", "withdraw", site, "--list")
    assert (nobody.code, nobody.out.splitlines()[0]) == (0, "0 people withdrawn")
    assert asks("ledger", "show", site, "--json").json["withdrawn"] is None
    exported = ledger.read_bytes(), load_entries(ledger)

    done = asks("ledger", "withdraw", site, ids="P0001\n p0006\r\n\n")
    assert done.code == 0
    assert "2 people withdrew. On the list: 2" in done.out
    assert "(2 rows of the data as they are now) are left out of every round" in done.out
    assert "rounds 1 to 2" in done.out
    assert "1 of them have no row" in done.err
    assert "1 row with ids that differ in capitals" in done.err
    assert "P0001" not in done.out + done.err and "p0006" not in (done.out + done.err).lower()
    assert load_entries(ledger) == exported[1], "never an entry of its own"

    again = asks("ledger", "withdraw", site, "--json", ids="P0001").json
    assert (again["new"], again["already"], again["withdrawn"], again["rows"]) == (0, 1, 2, 2)

    with staffed(house / "sites") as sites, pytest.raises(KeyboardInterrupt):
        serve(house / "plan.toml", house / "sites" / "roster.toml", house / "run", Heard(sites, until=5))
    shown = asks("ledger", "show", site)
    assert "2 people withdrew:" in shown.out
    assert "rounds 1 to 2" in shown.out and "descend from such data" in shown.out
    facts = asks("ledger", "show", site, "--json").json["withdrawn"]
    (group,) = facts["groups"]
    assert (facts["people"], group["people"], list(group["held"].values())) == (2, 2, [[1, 2]])
    for bare in (asks("ledger", "show", ledger), asks("ledger", "export", ledger)):
        assert "people withdrew" not in bare.out
    assert asks("ledger", "show", ledger, "--json").json["withdrawn"] is None

    own, other, export = (house / name for name in ("own.html", "other.html", "export.jsonl"))
    page = asks("ledger", "page", site, "--out", own)
    assert "to hand one on, make it of a ledger" in page.out
    assert "People who withdrew" in own.read_text() and own.stat().st_mode & 0o077 == 0
    export.write_text(asks("ledger", "export", ledger).out)
    assert "to hand one on" not in asks("ledger", "page", export, "--out", other).out
    assert "withdrew" not in other.read_text()

    listed = asks("ledger", "withdraw", site, "--list")
    assert listed.out.splitlines()[0] == "2 people withdrawn"
    assert "3 of 3 releases commit to this list as it was then" in listed.out
    opened = asks("ledger", "withdraw", site, "--list", "--json").json
    for release in opened["releases"]:
        marks = [bytes.fromhex(line["person"]) for line in opened["lines"][: release["lines"]]]
        assert (
            digest("privacy/withdrawn/1", bytes.fromhex(release["salt"]), *marks).hex()
            == release["commitment"]
        )
    assert [release["lines"] for release in opened["releases"]] == [0, 0, 2]

    undone = asks("ledger", "withdraw", site, "--undo", ids="P0001\n")
    assert "1 person consented anew. On the list: 1" in undone.out and "Nothing is refunded" in undone.out

    place = house / "sites" / f"{THREE[0]}.sqlite.withdrawn"
    content = json.loads(place.read_text("utf-8"))
    content["lines"][0]["person"] = "00" * 32
    place.write_text(json.dumps(content))
    edited = asks("ledger", "withdraw", site, "--list")
    assert edited.code == 5 and "commits to a list that this one never was" in edited.err


@pytest.mark.parametrize(
    ("words", "ids", "told"),
    [
        ((), "", "standard input holds no id"),
        ((), "P1\n\nP2\n", "standard input: line 2 is empty"),
        (("--undo", "--anew"), "P1\n", "three things"),
        (("P0001",), "", "unexpected extra argument"),
    ],
    ids=["nothing", "empty line", "two options", "argument"],
)
def test_a_bad_call_changes_nothing(
    words: tuple[str, ...], ids: str, told: str, asks: Asks, house: Path
) -> None:
    site = house / "sites" / f"{THREE[1]}.toml"
    found = asks("ledger", "withdraw", site, *words, ids=ids)
    assert found.code == 2
    assert told in found.err
    assert asks("ledger", "withdraw", site, "--list", "--json").json["lines"] == []


def test_ids_that_are_no_text_are_refused(
    house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"M\xfcller\n")))
    found = Command(monkeypatch, capsys)("ledger", "withdraw", house / "sites" / f"{THREE[1]}.toml")
    assert (found.code, "is no UTF-8" in found.err) == (2, True)
