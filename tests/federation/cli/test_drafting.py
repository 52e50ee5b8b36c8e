"""`federation mock`, `plan new`, `site new`, `invite`: from a public table to sites that pass every check."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.drafting.invitation import load_invitation
from clients.policy import load_site
from federation.identity.roster_file import load_roster
from federation.plan.made_up.mock import mock_table
from federation.plan.plan import load
from server.link.certificates import own
from tests import plans
from tests.certificates import certificate
from tests.clients.drafting.drafts import FAST
from tests.federation.command import Command, Outcome


class Federation(Command):
    """The command, in a folder of its own."""

    def done(self, *words: object) -> Outcome:
        outcome = self(*words)
        assert outcome.code == 0, outcome.err
        return outcome

    def refused(self, *words: object, code: int = 2) -> str:
        """The one line of an error, after whatever was said before."""
        outcome = self(*words)
        assert outcome.code == code, outcome.err
        _, said, line = outcome.err.partition("error: ")  # a question before it ends where somebody types
        assert said and line.endswith("\n") and line.count("\n") == 1
        return line


@pytest.fixture
def federation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Federation:
    monkeypatch.chdir(tmp_path)
    Path("plan.toml").write_text(plans.text_of(FAST))
    return Federation(monkeypatch, capsys)


class Terminal(io.StringIO):
    """Somebody types these lines."""

    def isatty(self) -> bool:
        return True


def test_a_researcher_tries_a_plan_before_anybody_is_asked_for_data(federation: Federation) -> None:
    made = federation.done("mock", "plan.toml", "--rows", 60, "--out", "mock")
    assert "3 sites, 60 records each, MADE UP" in made.out
    assert made.out.endswith("try them: federation simulate plan.toml --sites mock\n")
    federation.done("simulate", "plan.toml", "--sites", "mock", "--out", "run", "--no-baseline")
    assert json.loads(Path("run/report.json").read_text())["simulated"] is True
    assert "exists already" in federation.refused("mock", "plan.toml", "--out", "mock")
    more = federation.done(
        "mock", "plan.toml", "--site", "basel", "--rows", 5, "--out", "mock", "--seed", 3, "--json"
    )
    assert more.json == {"made_up": True, "sites": ["basel"], "files": ["mock/basel.csv"], "rows": 5}
    assert "contradict" in federation.refused("mock", "plan.toml", "--site", "a", "--sites", 2, "--out", "b")


def test_a_proposed_plan_passes_check_and_simulate_with_its_own_table(federation: Federation) -> None:
    Path("public.csv").write_text(mock_table(plans.plan_of(), "a", 90).csv)
    told = federation.done("plan", "new", "public.csv", "--target", "num", "--public", "--out", "new.toml")
    assert "WARNING: ranges, values and classes are read from the rows of public.csv" in told.err
    for line in (
        "num: predicted, 2 classes",
        "age = { low = 20, high = 90 }",
        "People decide",
        "next: read it",
    ):
        assert line in told.out
    header, *rows = Path("public.csv").read_text().splitlines()
    Path("sites").mkdir()
    for site in range(3):
        Path(f"sites/s{site}.csv").write_text("\n".join([header, *rows[site::3]]) + "\n")
    federation.done("check", "new.toml", "--sites", "sites")
    text = Path("new.toml").read_text()
    Path("short.toml").write_text(text.replace("rounds = 100 ", "rounds = 3 "))
    federation.done("simulate", "short.toml", "--sites", "sites", "--out", "run", "--no-baseline")
    assert "exists already" in federation.refused(
        "plan", "new", "public.csv", "--target", "num", "--public", "--out", "new.toml"
    )
    assert Path("new.toml").read_text() == text


def test_nothing_is_read_until_somebody_says_that_it_is_public(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("public.csv").write_text(mock_table(plans.plan_of(), "a", 90).csv)
    words = ("plan", "new", "public.csv", "--out", "new.toml")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "nobody has said that it is public; give --public" in federation.refused(*words)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert "nothing was read" in federation.refused(*words)
    assert not Path("new.toml").exists()
    monkeypatch.setattr("sys.stdin", Terminal("y\nnum\n"))
    federation.done(*words)
    assert load(Path("new.toml")).task.target == "num"  # type: ignore[union-attr]
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert (
        "--target is missing: it names the column to predict; of few values: cp, num"
        in federation.refused("plan", "new", "public.csv", "--public", "--out", "other.toml")
    )


@pytest.mark.parametrize("kind", ["missing", "empty", "folder", "binary", "header", "wide"])
def test_a_table_that_is_none_is_told_in_one_line(kind: str, federation: Federation) -> None:
    path = Path("t.csv")
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(bytes(range(256)))
    elif kind == "wide":
        names = ",".join(f"c{number}" for number in range(10_000))
        path.write_text("\n".join([names, *(",".join(["1.5", "2"] * 5000) for _ in range(3))]))
    elif kind != "missing":
        path.write_text({"empty": "", "header": "a,num\n"}[kind])
    assert "t.csv: " in federation.refused(
        "plan", "new", "t.csv", "--target", "c1", "--public", "--out", "x.toml"
    )
    assert not Path("x.toml").exists()


INVITED = (
    *("invite", "--plan", "plan.toml", "--roster-key", "consortium.pub"),
    *("--address", "fed.example.org:8443", "--certificate", "ca.crt"),
)


def drafted(data: str = "heart.csv", size: int = 60) -> tuple[object, ...]:
    """Words that draft the site of an invited hospital with these records."""
    return ("site", "new", "--invite", "invite.toml", "--id", "cleveland", "--data", data, "--size", size)


def prepared(federation: Federation) -> None:
    """What a coordinator does once, and the hospital's own records."""
    Path("ca.crt").write_bytes(certificate())
    federation.done("keys", "new", ".", "--id", "consortium", "--consortium")
    made = federation.done(*INVITED)
    assert "federation site new --invite invite.toml --id ID --data FILE" in made.out
    Path("heart.csv").write_text(mock_table(load(Path("plan.toml")), "cleveland", 60).csv)


def test_a_hospital_joins_by_one_file_that_it_gets_and_one_that_it_sends(federation: Federation) -> None:
    prepared(federation)
    told = federation.done(*drafted(), "--out", "h")
    fingerprint = load_invitation(Path("invite.toml")).fingerprint
    assert f"ask whoever invited you whether theirs has this fingerprint: {fingerprint}" in told.out
    assert "heart.csv: 61 lines, 60 records" in told.out, "the look at the records"
    assert "send h/keys/cleveland.pub to whoever signs the roster" in told.out
    assert told.out.splitlines()[-1].strip() == "federation join h/site.toml"
    federation.done("check", "h/plan.toml", "--site", "h/site.toml")
    federation.done("keys", "new", ".", "--id", "coordinator", "--coordinator")
    signed = federation.done(
        "roster", "add", "roster.toml", "h/keys/cleveland.pub", "coordinator.pub", "--sign", "consortium.key"
    )
    assert signed.out.endswith("roster.toml: serial 1, 1 site, 1 signature\n")
    assert len(load_roster(Path("roster.toml")).signatures) == 1
    assert "exists already" in federation.refused(*drafted(), "--out", "h")


def test_json_says_what_was_made_and_nothing_about_the_records(federation: Federation) -> None:
    prepared(federation)
    done = federation.done(*drafted(size=61), "--json")
    assert done.json == {
        "id": "cleveland", "site_file": "site.toml", "public": "keys/cleveland.pub", "key": done.json["key"],
        "keys_made": True, "plan_digest": load(Path("plan.toml")).digest, "pool": "cleveland", "size": 61,
        "invitation": load_invitation(Path("invite.toml")).fingerprint,
    }  # fmt: skip
    invited = ("--plan", "plan.toml", "--roster-key", "consortium.pub", "--out", "i2.toml", "--json")
    assert set(federation.done("invite", *invited).json) == {"invitation", "fingerprint", "plan_digest"}


def test_on_a_terminal_the_rest_is_asked_for(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(federation)
    typed = ["basel", "invite.toml", "heart.csv", "60", "Spital Basel", ""]
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(typed) + "\n"))
    federation.done("site", "new", "--out", "b")
    rules = load_site(Path("b/site.toml"))
    assert (rules.id, rules.data.size, rules.data.pool) == ("basel", 60, "basel")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(typed)))
    assert "missing: --id, --invite (or --plan), --data, --size" in federation.refused(
        "site", "new", "--out", "c"
    )
    assert not Path("c").exists()


def test_records_that_do_not_fit_are_shown_refused_and_leave_no_key_behind(federation: Federation) -> None:
    prepared(federation)
    text = Path("heart.csv").read_text()
    Path("heart.csv").write_text(text.replace(",1\n", ",yes\n", 1))
    outcome = federation(*drafted(), "--out", "h")
    assert outcome.code == 2
    assert 'column "num": is not one of the plan\'s values' in outcome.err
    assert "not usable" in outcome.out, "what can be read is shown"
    assert not Path("h").exists()
    Path("other.csv").write_text("a,b\n1,2\n")
    assert "other.csv: has no column" in federation.refused(*drafted("other.csv"), "--out", "h")
    assert "no such file" in federation.refused(*drafted("nothing.csv"), "--out", "h")
    Path("heart.csv").write_text(text)
    federation.done(*drafted(), "--out", "h")


@pytest.mark.parametrize(("count", "is_told"), [(3, False), (4, True)])
def test_a_bundle_of_authorities_is_told_when_it_is_pinned(
    federation: Federation, count: int, is_told: bool
) -> None:
    prepared(federation)
    Path("invite.toml").unlink()
    Path("ca.crt").write_bytes(b"".join(certificate() for _ in range(count)))
    federation.done(*INVITED)
    told = federation.done(*drafted(), "--json").err
    expected = (
        "WARNING: ca.crt holds 4 certificates, and each of their owners can vouch for another coordinator"
    )
    assert (expected in told) is is_told


@pytest.fixture
def invited(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[object, ...]]:
    """Words for a site whose invitation names a module that says when it is loaded."""
    prepared(federation)
    Path("invite.toml").unlink()
    Path("plan.toml").write_text(plans.text_of(FAST, model="strange_code:task"))
    words = ("--plan", "plan.toml", "--roster-key", "consortium.pub")
    federation.done("invite", *words)
    Path("strange_code.py").write_text("open('loaded', 'w').close()\nraise ImportError('no')\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    yield (*drafted(), "--out", "d/h")
    sys.modules.pop("strange_code", None)


def test_code_of_an_invitation_is_not_loaded_before_its_fingerprint_was_compared(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, invited: tuple[object, ...]
) -> None:
    fingerprint = load_invitation(Path("invite.toml")).fingerprint
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    for more in ((), ("--json",)):
        line = federation.refused(*invited, *more)
        assert "code of its own, strange_code:task, which would be loaded" in line
        assert fingerprint in line and "--fingerprint" in line
    for said in ("no\n", "\n"):
        monkeypatch.setattr("sys.stdin", Terminal(said + "\n" * 5))
        shown = federation(*invited)
        assert (shown.code, "nothing was loaded or made" in shown.err) == (2, True)
        assert "strange_code:task" in shown.err and fingerprint in shown.err
    monkeypatch.setattr("sys.stdin", io.StringIO())
    other = "sha256:" + "0" * 64
    assert "another fingerprint" in federation.refused(*invited, "--fingerprint", other)
    assert not Path("loaded").exists() and not Path("d").exists()
    assert federation(*invited, "--fingerprint", fingerprint).code != 0, "it is loaded now, and fails"
    assert Path("loaded").exists() and not Path("d").exists(), "and nothing of the site is left"


def test_a_fingerprint_is_held_against_any_invitation_before_anything_is_made(federation: Federation) -> None:
    prepared(federation)
    words = ("--id", "cleveland", "--data", "heart.csv", "--size", 60, "--out", "h", "--fingerprint")
    invited = (*drafted(), "--out", "h", "--fingerprint")
    for wrong in ("sha256:" + "0" * 64, "", "sha256:"):
        assert "another fingerprint" in federation.refused(*invited, wrong)
    pieces = ("site", "new", "--plan", "plan.toml", "--consortium", "consortium.pub", *words)
    assert "--fingerprint is of an invitation" in federation.refused(*pieces, "sha256:0")
    assert not Path("h").exists()
    told = federation.done(*invited, load_invitation(Path("invite.toml")).fingerprint)
    assert "ask whoever invited you" not in told.out, "it was compared"


def test_what_was_there_before_stays_where_a_site_cannot_be_made(federation: Federation) -> None:
    prepared(federation)
    Path("h/keys").mkdir(parents=True)
    shutil.copy("plan.toml", "h/plan.toml")
    federation.refused(*drafted("ca.crt"), "--out", "h")
    assert sorted(map(str, Path("h").rglob("*"))) == ["h/keys", "h/plan.toml"]


def test_a_plan_that_is_less_safe_than_a_site_demands_takes_a_word_of_its_own(federation: Federation) -> None:
    Path("plan.toml").write_text(plans.text_of(FAST, colluders=0))
    prepared(federation)
    assert "policy.colluders_minimum" in federation.refused(*drafted(), code=3)
    assert "policy.epsilon_max" in federation.refused(
        *drafted(), "--colluders-minimum", 0, "--epsilon-max", 1, code=3
    )
    assert not Path("site.toml").exists() and not Path("keys").exists()
    federation.done(*drafted(), "--colluders-minimum", 0)
    assert "colluders_minimum = 0  # against so many sites" in Path("site.toml").read_text()
    shutil.rmtree("keys")
    Path("site.toml").unlink()


@pytest.mark.parametrize("words", [("mock",), ("invite",), ("plan", "new"), ("site", "new")], ids=" ".join)
def test_every_command_has_help_with_an_example(words: tuple[str, ...], federation: Federation) -> None:
    shown = federation.done(*words, "--help").out
    assert f"Example: federation {' '.join(words)}" in shown
    assert "--json" in shown and "--debug" in shown


def test_an_invitation_takes_the_authority_that_serve_will_use(federation: Federation) -> None:
    federation.done("keys", "new", ".", "--id", "consortium", "--consortium")
    words = ("invite", "--plan", "plan.toml", "--roster-key", "consortium.pub", "--identity", "c")
    assert "goes with --address" in federation.refused(*words)
    assert "the coordinator's key is not there" in federation.refused(*words, "--address", "localhost:1")
    federation.done("keys", "new", "c", "--id", "coordinator", "--coordinator")
    assert "has no port" in federation.refused(*words, "--address", "localhost")
    assert not Path("c/tls").exists(), "nothing is made for an address that is none"
    federation.done(*words, "--address", "localhost:8443")
    made = own(Path("c/tls"), "localhost")
    assert made.pinned is not None
    pem = made.pinned.read_text()
    assert pem in Path("invite.toml").read_text()
    assert "PRIVATE" not in Path("invite.toml").read_text()
    assert "two authorities" in federation.refused(
        *words, "--address", "a:1", "--certificate", "x", "--out", "y"
    )


@pytest.mark.parametrize(
    ("data", "words", "cure"),
    [
        ("t.csv", (), 'set --separator ";" (and --decimal), or save it'),
        ("t.csv", ("--separator", ";"), '--decimal ","'),
        ("t.db", (), 'give --query "'),
        ("latin.csv", (), "or set --encoding (it may be"),
        ("gone.csv", (), "gone.csv"),
    ],
    ids=["separator", "decimal", "query", "encoding", "source"],
)
@pytest.mark.parametrize("command", ["site", "plan"])
def test_a_cure_names_options_where_there_is_no_site_file(
    command: str, data: str, words: tuple[str, ...], cure: str, federation: Federation
) -> None:
    """It would send its reader to keys of a file that was taken back a moment ago."""
    table = mock_table(plans.plan_of(), "a", 90).csv
    header, first, *rest = table.replace(",", ";").splitlines()
    cell, _, others = first.partition(";")  # the age, with decimals
    Path("t.csv").write_text("\n".join([header, f"{cell},5;{others}", *rest, ""]))
    Path("latin.csv").write_bytes(table.encode() + "\xfc,\n".encode("latin-1"))
    Path("t.db").write_bytes(b"SQLite format 3\0")
    federation.done("keys", "new", "consortium", "--id", "consortium", "--consortium")
    said = {
        "site": ("site", "new", "--plan", "plan.toml", "--consortium", "consortium/consortium.pub"),
        "plan": ("plan", "new"),
    }[command]
    given = (
        ("--id", "basel", "--size", 90, "--data", data)
        if command == "site"
        else (data, "--public", "--out", "p.toml")
    )
    if command == "plan" and words:
        return  # a column of texts is no fault there
    line = federation.refused(*said, *given, *words)
    assert cure in line
    assert "data." not in line and "site.toml" not in line


def test_the_next_command_can_be_copied_from_a_folder_with_a_space(federation: Federation) -> None:
    federation.done("keys", "new", "consortium", "--id", "consortium", "--consortium")
    Path("t.csv").write_text(mock_table(plans.plan_of(), "a", 60).csv)
    words = (
        "--plan",
        "plan.toml",
        "--consortium",
        "consortium/consortium.pub",
        "--id",
        "basel",
        "--size",
        60,
    )
    told = federation.done("site", "new", *words, "--data", "t.csv", "--out", "Klinik Süd")
    assert "  federation join 'Klinik Süd/site.toml'" in told.out
    told = federation.done("mock", "plan.toml", "--rows", 60, "--out", "made up")
    assert "try them: federation simulate plan.toml --sites 'made up'\n" in told.out
