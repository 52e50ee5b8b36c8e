"""`federation ledger`: what people see of a ledger, what they may change in it, and how each ends."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from clients.approvals import open_journal
from clients.join import open_site
from clients.policy import load_site
from federation.files import replace_file
from federation.identity.keys import create, load_private, load_public, private_pem
from federation.ledger.export import load_entries
from federation.round.messages import Frame, Kind
from federation.round.terms import evaluation_run
from privacy.ledger.state import fold
from privacy.signing import public_identity
from tests.clients.journal.journals import spent
from tests.clients.sites import CONSORTIUM, RUN, Round, hello, identity, joined, make_plan, make_terms
from tests.federation.command import Command, Outcome

PLAN = make_plan(epsilon=4.0)
SITE = f"""\
[site]
id = "berlin"
keys = "keys/"
journal = "journal.sqlite"
[data]
source = "berlin.csv"
pool = "patients of berlin"
size = 24
[policy]
epsilon_max = 5.0
delta_max = 1e-5
cohort_minimum = 3
colluders_minimum = 0
noise = ["distributed"]
tasks = ["tabular-classification"]
approvers = APPROVERS
[consortium]
keys = ["{public_identity(CONSORTIUM).hex()}"]
quorum = 1
"""
ROWS = [f"{20 + number},{100 + 3 * number},{'yes' if number % 3 else 'no'}" for number in range(30)]
PEOPLE = ("alice", "bob", "mallory")  # the last is nobody's approver


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def write_site(folder: Path, *, approved: bool = True) -> Path:
    """The site file of berlin, its data, its key, and the keys of people."""
    (folder / "keys").mkdir(parents=True)
    replace_file(folder / "keys" / "berlin.key", private_pem(identity("berlin")), is_secret=True)
    (folder / "berlin.csv").write_text("\n".join(["age,pressure,sick", *ROWS]))
    for person in PEOPLE:
        create(folder / "people", person, person, 1)
    keys = [load_public(folder / "people" / f"{person}.pub").key for person in PEOPLE[:2]]
    path = folder / "site.toml"
    path.write_text(SITE.replace("APPROVERS", json.dumps(keys if approved else [])))
    return path


def take_part(folder: Path, run: bytes = RUN) -> None:
    """One round of a run with the site in a folder."""
    site = open_site(folder / "site.toml")
    assert Frame.from_bytes(site.receive(hello(PLAN, run))).kind is Kind.WELCOME, site.last_error
    Round(make_terms(PLAN), {**joined(folder / "others", PLAN), "berlin": site}).play()
    site.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a site that took part in one round of a run of four."""
    write_site(tmp_path)
    take_part(tmp_path)
    return tmp_path


def refused(outcome: Outcome, code: int, words: str = "") -> None:
    """One line of error, nothing else, and this exit code."""
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert words in outcome.err
    assert "a bug of ours" not in outcome.err


# What people see.


def test_a_statement_says_what_was_spent_and_by_which_run(command: Command, folder: Path) -> None:
    shown = command("ledger", "show", folder / "site.toml", "--json").json
    assert (shown["site"], shown["pool"], shown["simulated"]) == ("berlin", "patients of berlin", False)
    assert shown["key"] == public_identity(identity("berlin")).hex()
    assert len(shown["approvers"]) == 2
    record = shown["units"]["record"]
    assert 3.9 < record["epsilon"] <= 4.0 < record["epsilon_max"] == 5.0
    assert 0 < record["used"] < 1
    (run,) = shown["runs"]
    assert (run["run"], run["plan"], run["closed"]) == (RUN.hex(), PLAN.digest, False)
    assert (run["rounds"], run["rounds_begun"], run["rounds_released"]) == (4, 1, 1)
    entries = load_entries(folder / "journal.sqlite")
    assert (shown["entries"], shown["head"]) == (len(entries), entries[-1].hash.hex())


def test_a_statement_is_a_table_too(command: Command, folder: Path) -> None:
    done = command("ledger", "show", folder / "site.toml")
    assert (done.code, done.err) == (0, "")
    for words in ("berlin", "patients of berlin", "record", RUN.hex()[:8], "reserved"):
        assert words in done.out
    assert "SIMULATED" not in done.out


@pytest.mark.parametrize("words", [("SITE",), ("SITE", "show"), ("show", "SITE")], ids=" ".join)
def test_the_site_may_come_first_and_show_is_what_is_done(
    command: Command, folder: Path, words: tuple[str, ...]
) -> None:
    site = folder / "site.toml"
    said = [site if word == "SITE" else word for word in words]
    assert command("ledger", *said).out == command("ledger", "show", site).out


def test_verify_takes_the_site_first_as_the_manual_has_it(command: Command, folder: Path) -> None:
    site = folder / "site.toml"
    done = command("ledger", site, "verify")
    assert (done.code, done.err) == (0, "")
    assert done.out == command("ledger", "verify", site).out
    assert "entries of berlin verify" in done.out
    entries = load_entries(folder / "journal.sqlite")
    assert command("ledger", site, "verify", "--json").json == {
        "verdict": "pass",
        "site": "berlin",
        "entries_verified": len(entries),
        "head": entries[-1].hash.hex(),
    }


def test_an_export_is_the_same_ledger_in_lines_of_text(command: Command, folder: Path) -> None:
    site, out = folder / "site.toml", folder / "out" / "berlin.jsonl"
    done = command("ledger", "export", site, "--out", out)
    entries = load_entries(folder / "journal.sqlite")
    assert (done.code, done.out) == (0, f"{out}: {len(entries)} entries\n")
    assert load_entries(out) == entries
    assert command("ledger", "export", site).out == out.read_text()
    for name in ("show", "verify"):  # an auditor has nothing but the file
        assert command("ledger", name, out, "--json").json == command("ledger", name, site, "--json").json
    for row in ROWS:
        assert row not in out.read_text()


def test_reading_changes_nothing_and_disturbs_no_site_at_work(command: Command, folder: Path) -> None:
    site = open_site(folder / "site.toml")
    before = site.journal.entries()
    for words in (("show",), ("verify",), ("export",)):
        assert command("ledger", *words, folder / "site.toml").code == 0
    assert site.journal.entries() == before
    site.close()


# What is no ledger, or none any more.


def edited(path: Path) -> None:
    """Another number of rounds in the reservation, and nothing else."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (body,) = connection.execute("SELECT body FROM entries WHERE kind = 'reserve'").fetchone()
        changed = body.replace('"rounds":4', '"rounds":2') if isinstance(body, str) else None
        assert changed not in (None, body)
        connection.execute("UPDATE entries SET body = ? WHERE kind = 'reserve'", (changed,))


def hole(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM entries WHERE kind = 'begin'")


def garbage(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0 and nothing of the kind" * 9)


def text(path: Path) -> None:
    path.write_text("epsilon_spent = 0\n")


def nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [edited, hole, garbage, text, nothing])
def test_a_damaged_ledger_is_a_finding_for_verify_and_an_error_for_the_others(
    command: Command, folder: Path, damage: Callable[[Path], None]
) -> None:
    """DP-32: exit code 5 says that an audit found something; 3, that privacy forbids to go on."""
    damage(folder / "journal.sqlite")
    site = folder / "site.toml"
    refused(command("ledger", "verify", site), 5)
    refused(command("ledger", site, "verify", "--json"), 5)
    for words in (
        ("show", site),
        ("show", site, "--json"),
        ("export", site),
        ("propose", site, "--epsilon", 8, "--reason", "x", "--out", folder / "p.json"),
        ("close", site, RUN.hex()),
    ):
        refused(command("ledger", *words), 3)
    assert not (folder / "p.json").exists()


def test_a_line_changed_in_an_export_is_a_finding(command: Command, folder: Path) -> None:
    """DP-32: an entry left out, two in each other's place, one twice, another site's name."""
    out = folder / "berlin.jsonl"
    command("ledger", "export", folder / "site.toml", "--out", out)
    lines = out.read_text().splitlines(keepends=True)
    kinds = [json.loads(line)["kind"] for line in lines]
    begin = kinds.index("begin")
    without = [*lines[:begin], *lines[begin + 1 :]]
    swapped = [*lines[:-2], lines[-1], lines[-2]]
    twice = [*lines, lines[-1]]
    foreign = [line.replace("berlin", "zurich") for line in lines]
    for changed in (without, swapped, twice, foreign):
        out.write_text("".join(changed))
        refused(command("ledger", "verify", out), 5)
        refused(command("ledger", "show", out), 3)
    out.write_text("".join(lines[:-1]))  # the control: what its end was only others know
    assert command("ledger", "verify", out).code == 0


@pytest.mark.parametrize("name", ["show", "verify", "export"])
def test_a_file_that_is_not_there_is_the_users_to_mend(command: Command, tmp_path: Path, name: str) -> None:
    refused(command("ledger", name, tmp_path / "none.sqlite"), 2, "cannot be read")
    refused(command("ledger", name, tmp_path / "none.toml"), 2)
    refused(command("ledger", name, tmp_path), 2)
    refused(command("ledger", name, write_site(tmp_path / "new")), 2, "journal.sqlite")
    assert not (tmp_path / "new" / "journal.sqlite").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("propose", "SITE", "--epsilon", "8", "--reason", "x"),
        ("close", "SITE", "00"),
        ("rotate", "SITE", "--key", "people/alice.key"),
        ("replace-key", "SITE"),
    ],
    ids=" ".join,
)
def test_a_ledger_that_is_not_there_yet_is_not_begun_by_accident(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    site = write_site(tmp_path)
    monkeypatch.chdir(tmp_path)
    refused(command("ledger", *(site if word == "SITE" else word for word in words)), 2)
    assert not (tmp_path / "journal.sqlite").exists()
    assert not (tmp_path / "proposal.json").exists()


@pytest.mark.parametrize(
    "words", [("frobnicate", "site.toml", "verify"), ("approve", "p.json"), ("propose",), ("verify",)]
)
def test_a_wrong_call_is_one_line_and_exit_code_2(command: Command, words: tuple[str, ...]) -> None:
    refused(command("ledger", *words), 2)


@pytest.mark.parametrize(
    "name", ["show", "verify", "export", "propose", "approve", "apply", "close", "rotate", "replace-key"]
)
def test_every_action_has_help_with_an_example(command: Command, name: str) -> None:
    done = command("ledger", name, "--help")
    assert done.code == 0
    assert f"Example: federation ledger {name}" in done.out
    assert "--debug" in done.out


# A larger budget.


class People:
    """The ledger commands, as the people of a site use them."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.command, self.folder = command, folder
        self.site, self.proposal = folder / "site.toml", folder / "proposal.json"

    def propose(self, epsilon: float = 8.0, *more: object) -> Outcome:
        return self.command(
            "ledger", "propose", self.site, "--epsilon", epsilon, "--reason", "a second study",
            "--out", self.proposal, *more,
        )  # fmt: skip

    def sign(self, *names: str) -> list[Outcome]:
        keys = [self.folder / "people" / f"{name}.key" for name in names]
        return [self.command("ledger", "approve", self.proposal, "--key", key) for key in keys]

    def apply(self) -> Outcome:
        return self.command("ledger", "apply", self.site, self.proposal)

    def limit(self) -> float:
        entries = load_entries(self.folder / "journal.sqlite")
        return fold(entries).terms["record"].limit.budget.epsilon


@pytest.fixture
def people(command: Command, folder: Path) -> People:
    return People(command, folder)


def test_two_approvers_raise_a_budget_and_a_second_run_fits(people: People) -> None:
    raised = SITE.replace("epsilon_max = 5.0", "epsilon_max = 8.0")
    assert people.propose().code == 0
    assert json.loads(people.proposal.read_text())  # for people to read before they sign
    assert "a second study" in people.proposal.read_text()
    assert [done.out.split(": ")[1] for done in people.sign("alice", "bob")] == [
        "1 of 2 approvals\n",
        "2 of 2 approvals\n",
    ]
    done = people.apply()
    assert (done.code, done.out) == (0, "the budget per record is epsilon 8 at delta 1e-05\n")
    assert people.limit() == 8.0
    keys = json.dumps([load_public(people.folder / "people" / f"{name}.pub").key for name in PEOPLE[:2]])
    people.site.write_text(raised.replace("APPROVERS", keys))
    site = open_site(people.site)
    assert Frame.from_bytes(site.receive(hello(PLAN, bytes(16)))).kind is Kind.WELCOME
    assert 5.0 < spent(site.journal) <= 8.0
    site.close()


def test_a_site_file_alone_raises_nothing(people: People) -> None:
    """The failing control: what is written there can only make a ledger's limit stricter."""
    text = people.site.read_text().replace("epsilon_max = 5.0", "epsilon_max = 8.0")
    people.site.write_text(text)
    site = open_site(people.site)
    assert Frame.from_bytes(site.receive(hello(PLAN, bytes(16)))).kind is Kind.ABORT
    assert "federation ledger propose" in str(site.last_error)
    site.close()


@pytest.mark.parametrize(
    "signers",
    [(), ("alice",), ("alice", "alice"), ("mallory", "alice"), ("mallory",)],
    ids=lambda names: " and ".join(names) or "nobody",
)
def test_fewer_than_two_approvers_raise_nothing(people: People, signers: tuple[str, ...]) -> None:
    people.propose()
    people.sign(*signers)
    before = load_entries(people.folder / "journal.sqlite")
    refused(people.apply(), 3, "two approvers")
    assert load_entries(people.folder / "journal.sqlite") == before
    people.propose()  # afresh, since a stranger's signature beside theirs is refused, too
    people.sign("alice", "bob")
    assert people.apply().code == 0


def test_a_proposal_is_applied_once(people: People) -> None:
    people.propose()
    people.sign("alice", "bob")
    assert people.apply().code == 0
    before = load_entries(people.folder / "journal.sqlite")
    refused(people.apply(), 3, "no longer in force")
    assert load_entries(people.folder / "journal.sqlite") == before


def test_an_approved_proposal_fits_no_other_ledger(people: People, command: Command, tmp_path: Path) -> None:
    people.propose()
    people.sign("alice", "bob")
    other = tmp_path / "other"
    site = write_site(other)
    take_part(other)
    refused(command("ledger", "apply", site, people.proposal), 3, "another ledger")


@pytest.mark.parametrize(("told", "instead"), [("8.0", "80.0"), ("a second study", "a third one")])
def test_a_proposal_edited_after_it_was_signed_raises_nothing(
    people: People, told: str, instead: str
) -> None:
    people.propose()
    people.sign("alice", "bob")
    text = people.proposal.read_text()
    assert told in text or told.removesuffix(".0") in text
    people.proposal.write_text(text.replace(told if told in text else told.removesuffix(".0"), instead, 1))
    assert people.proposal.read_text() != text
    outcome = people.apply()
    assert outcome.code in (2, 3)
    refused(outcome, outcome.code)
    assert people.limit() == 5.0


def test_a_ledger_that_names_no_approvers_keeps_its_budget(command: Command, tmp_path: Path) -> None:
    write_site(tmp_path, approved=False)
    take_part(tmp_path)
    people = People(command, tmp_path)
    people.propose()
    people.sign("alice", "bob")
    refused(people.apply(), 3, "two approvers")
    assert people.limit() == 5.0


@pytest.mark.parametrize("epsilon", ["nan", "0", "-1", "inf"])
def test_a_limit_that_is_none_is_not_proposed(people: People, epsilon: str) -> None:
    outcome = people.propose(float(epsilon))
    if epsilon == "inf":  # it is what two people may sign, in full sight
        assert outcome.code == 0
        assert "null" in people.proposal.read_text()
        return
    assert outcome.code in (2, 3)
    refused(outcome, outcome.code)
    assert not people.proposal.exists()


def test_a_unit_without_a_budget_has_none_to_raise(people: People) -> None:
    for unit in ("patient", "client", "hospital"):
        refused(people.propose(8.0, "--unit", unit), 2, "has no budget per")
    assert not people.proposal.exists()


def test_what_is_no_proposal_is_neither_signed_nor_applied(people: People) -> None:
    for content in (b"", b"{}", b"[]", b"\xff", people.site.read_bytes(), b'{"type": "raise"}'):
        people.proposal.write_bytes(content)
        (signing,) = people.sign("alice")
        refused(signing, 2, "is no proposal")
        refused(people.apply(), 2, "is no proposal")
        assert people.proposal.read_bytes() == content
    people.proposal.unlink()
    refused(people.apply(), 2, "is no proposal")


def test_a_proposal_is_signed_with_a_key_only(people: People) -> None:
    people.propose()
    before = people.proposal.read_text()
    for path in (people.folder / "people" / "alice.pub", people.folder / "none.key"):
        refused(people.command("ledger", "approve", people.proposal, "--key", path), 2)
    assert people.proposal.read_text() == before


# Keys, and the end of a run.


def new_key(folder: Path, name: str = "berlin") -> Path:
    private, _ = create(folder / "new", name, "Charite", 24)
    return private


def test_a_ledger_goes_on_under_a_new_key_and_never_again_under_the_old_one(
    command: Command, folder: Path
) -> None:
    """DP-45: key rotation."""
    site, new = folder / "site.toml", new_key(folder)
    assert command("ledger", "rotate", site, "--key", new).code == 0
    refused(
        command("ledger", "close", site, RUN.hex()), 3, "was replaced"
    )  # the site's key file is the old one
    shutil.copy(new, folder / "keys" / "berlin.key")
    assert command("ledger", "close", site, RUN.hex()).code == 0
    shown = command("ledger", "show", site, "--json").json
    assert shown["key"] == public_identity(load_private(new)).hex()
    assert shown["keys_before"] == [public_identity(identity("berlin")).hex()]
    assert command("ledger", "verify", site).code == 0


@pytest.mark.parametrize("key", ["keys/berlin.key", "people/alice.key"], ids=["its own", "an approver's"])
def test_a_key_that_signed_before_or_approves_is_no_new_key(command: Command, folder: Path, key: str) -> None:
    before = load_entries(folder / "journal.sqlite")
    refused(command("ledger", "rotate", folder / "site.toml", "--key", folder / key), 3)
    assert load_entries(folder / "journal.sqlite") == before


def test_a_lost_key_is_replaced_with_two_approvals(people: People, command: Command, folder: Path) -> None:
    """DP-45: lost key; and a site that merely has another key is refused."""
    new = new_key(folder)
    shutil.copy(new, folder / "keys" / "berlin.key")
    refused(command("ledger", "close", people.site, RUN.hex()), 3, "signed by another key")
    assert command("ledger", "replace-key", people.site, "--out", people.proposal).code == 0
    for names in (("alice",), ("alice", "mallory"), ("mallory", "alice", "bob")):
        command("ledger", "replace-key", people.site, "--out", people.proposal)
        people.sign(*names)
        refused(people.apply(), 3, "two approvers")
    command("ledger", "replace-key", people.site, "--out", people.proposal)
    people.sign("alice", "bob")
    assert people.apply().code == 0
    assert command("ledger", "close", people.site, RUN.hex()).code == 0
    assert command("ledger", "verify", people.site).code == 0
    refused(people.apply(), 3)  # once


def test_the_approvals_of_one_new_key_are_for_no_other(
    people: People, command: Command, folder: Path
) -> None:
    shutil.copy(new_key(folder), folder / "keys" / "berlin.key")
    command("ledger", "replace-key", people.site, "--out", people.proposal)
    people.sign("alice", "bob")
    shutil.copy(new_key(folder / "more"), folder / "keys" / "berlin.key")
    refused(people.apply(), 3, "another key than this site's")


def test_a_run_that_will_not_go_on_is_closed_by_hand(command: Command, folder: Path) -> None:
    site = folder / "site.toml"
    spent = command("ledger", "show", site, "--json").json["units"]["record"]["epsilon"]
    done = command("ledger", "close", site, RUN.hex())
    assert (done.code, done.out) == (0, f"{RUN.hex()}: closed; none of its rounds can begin any more\n")
    shown = command("ledger", "show", site, "--json").json
    assert shown["runs"][0]["closed"] is True
    assert 0 < shown["units"]["record"]["epsilon"] < spent  # one round of four
    assert command("ledger", "close", site, RUN.hex()).code == 0  # again is nothing new
    assert command("ledger", "show", site, "--json").json == shown
    opened = open_site(site)
    assert (
        Frame.from_bytes(opened.receive(hello(PLAN))).kind is Kind.WELCOME
    )  # consent is free, and of no use
    again = Round(make_terms(PLAN, round=2, attempt=2), {**joined(folder / "again", PLAN), "berlin": opened})
    with pytest.raises(Exception, match="sites"):
        again.play()
    assert "this run is closed" in str(opened.last_error)
    opened.close()


def test_what_a_run_closed_by_hand_had_kept_is_forgotten_and_its_evaluation_is_closed_too(
    command: Command, folder: Path
) -> None:
    site, evaluation = folder / "site.toml", evaluation_run(RUN.hex())
    with closing(open_journal(load_site(site))) as journal:
        journal.reserve(evaluation, PLAN.digest, PLAN.kind.charge.with_count(1), 1, ())
        journal.begin(evaluation, 1, "question")
        journal.release(evaluation, 1, b"some figures", bytes.hex)
    assert count_kept(folder) == 2
    for _ in range(2):  # again is nothing new
        assert command("ledger", "close", site, RUN.hex()).code == 0
        assert count_kept(folder) == 0
    shown = command("ledger", "show", site, "--json").json
    assert {run["run"]: run["closed"] for run in shown["runs"]} == {RUN.hex(): True, evaluation: True}
    assert b"some figures" not in (folder / "journal.sqlite").read_bytes()


def count_kept(folder: Path) -> int:
    """How many releases the journal of the site in this folder still holds."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        return int(connection.execute("SELECT count(*) FROM releases").fetchone()[0])


def test_a_run_that_the_ledger_does_not_know_is_not_closed(command: Command, folder: Path) -> None:
    refused(command("ledger", "close", folder / "site.toml", "00" * 16), 3, "no reservation")
