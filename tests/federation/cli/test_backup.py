"""`federation ledger backup` and `restore` as people call them; `--json` wherever a command has a result."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from federation.ledger.export import load_entries
from privacy.ledger.chain import LEAP
from tests.federation.cli.test_ledger import RUN, refused, take_part, write_site
from tests.federation.command import Command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A site that took part in one round, with a backup of its ledger."""
    write_site(tmp_path)
    for key in tmp_path.rglob("*.key"):
        key.chmod(0o600)
    take_part(tmp_path)
    return tmp_path


def lose(folder: Path) -> None:
    for path in folder.glob("journal.sqlite*"):
        path.unlink()


def test_a_backup_says_what_it_holds_and_is_read_as_any_ledger(command: Command, folder: Path) -> None:
    site, out = folder / "site.toml", folder / "backup"
    told = command("ledger", "backup", site, "--out", out, "--json").json
    last = load_entries(folder / "journal.sqlite")[-1]
    assert told == {"out": str(out), "site": "berlin", "last_entry": last.seq, "head": last.hash.hex()}
    assert command("ledger", "verify", out, "--json").json["head"] == told["head"]
    assert command("ledger", "show", out).code == 0
    refused(command("ledger", "backup", site, "--out", out), 2, "exists already")
    refused(command("ledger", "backup", site, "--out", folder / "no" / "backup"), 2, "no such folder")
    assert command("ledger", site, "backup", "--out", folder / "second").code == 0, "in this order, too"


def test_a_site_on_a_backup_is_refused_with_the_way_out(command: Command, folder: Path) -> None:
    site, out = folder / "site.toml", folder / "backup"
    command("ledger", "backup", site, "--out", out)
    lose(folder)
    shutil.copy(out, folder / "journal.sqlite")
    for words in (
        ("join", site, "--same-user", "--socket", folder / "door"),
        ("ledger", "close", site, RUN.hex()),
        ("ledger", "rotate", site),
    ):
        more = ("--key", folder / "people" / "bob.key") if words[1] == "rotate" else ()
        outcome = command(*words, *more)
        refused(outcome, 3, "is a backup")
        assert "federation ledger restore" in outcome.err
    refused(command("ledger", "restore", site, "--from", out, "--charge-all"), 3, "nothing replaces it")


def test_a_restore_takes_a_choice_and_says_what_it_costs(command: Command, folder: Path) -> None:
    site, out = folder / "site.toml", folder / "backup"
    command("ledger", "backup", site, "--out", out)
    lose(folder)
    refused(command("ledger", "restore", site, "--from", out), 3, "--charge-all")
    assert not (folder / "journal.sqlite").exists()
    told = command("ledger", "restore", site, "--from", out, "--charge-all", "--json").json
    assert (told["entry"], told["vouched"], told["heads_compared"]) == (LEAP, False, 0)
    shown = command("ledger", "show", site, "--json").json
    assert shown["restored"] == [{"entry": LEAP, "vouched": False}]
    assert shown["withdrawn"] is None
    assert "warning: who withdrew is not known" in command("ledger", "show", site).err, (
        "the list is lost, too"
    )
    assert shown["units"]["record"]["epsilon"] == shown["units"]["record"]["epsilon_max"] == 5.0
    assert [run["closed"] for run in shown["runs"]] == [True]
    assert "its end counts as spent" in command("ledger", "show", site).out
    assert command("ledger", "verify", site, "--json").json["entries_verified"] == shown["entries"]


def test_two_approvers_vouch_by_the_commands_that_raise_a_budget(command: Command, folder: Path) -> None:
    site, out, word = folder / "site.toml", folder / "backup", folder / "word.json"
    command("ledger", "backup", site, "--out", out)
    lose(folder)
    made = command("ledger", "restore", site, "--from", out, "--propose", word, "--json").json
    assert made["out"] == str(word)
    assert json.loads(word.read_text())["proposal"]["made"] == datetime.now(UTC).date().isoformat()
    restore = ("ledger", "restore", site, "--from", out, "--approved", word)
    refused(command(*restore), 3, "approvals are missing")
    for count, person in enumerate(("alice", "bob"), 1):
        key = folder / "people" / f"{person}.key"
        assert command("ledger", "approve", word, "--key", key, "--json").json["approvals"] == count
    lose(folder)
    outcome = command("ledger", "apply", site, word)
    refused(outcome, 2, "is for a restore")
    assert command(*restore, "--json").json["vouched"] is True
    refused(command(*restore), 3, "nothing replaces it")
    shown = command("ledger", "show", site, "--json").json
    assert shown["units"]["record"]["epsilon"] < 4.0
    assert [run["closed"] for run in shown["runs"]] == [False]


def test_every_command_with_a_result_has_it_as_json(command: Command, folder: Path) -> None:
    site, people = folder / "site.toml", folder / "people"
    exported = command("ledger", "export", site, "--out", folder / "x.jsonl", "--json").json
    assert exported["entries"] == len(load_entries(folder / "journal.sqlite"))
    raised = folder / "raise.json"
    reason = ("--epsilon", "9", "--reason", "second study", "--out", raised)
    assert command("ledger", "propose", site, *reason, "--json").json == {"out": str(raised)}
    for person in ("alice", "bob"):
        command("ledger", "approve", raised, "--key", people / f"{person}.key")
    assert "epsilon 9" in command("ledger", "apply", site, raised, "--json").json["done"]
    assert command("ledger", "close", site, RUN.hex(), "--json").json == {"run": RUN.hex(), "closed": True}
    replaced = command("ledger", "replace-key", site, "--out", folder / "key.json", "--json").json
    assert replaced == {"out": str(folder / "key.json")}
    new = command("keys", "new", folder / "more", "--id", "munich", "--json").json
    assert (new["id"], Path(new["private"]).exists()) == ("munich", True)
    assert command("ledger", "rotate", site, "--key", new["private"], "--json").json["rotated"] is True
    roster = folder / "new-roster.toml"
    added = command("roster", "add", roster, new["public"], "--json").json
    assert (added["sites"], added["signatures"]) == (1, 0)
    key = people / "alice.key"
    assert command("roster", "sign", roster, "--key", key, "--json").json["signatures"] == 1
