"""A hospital's own process: from a site file and a CSV to a site that answers."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clients import join
from clients.data import load
from clients.data.populations import fingerprints, registry_path
from clients.data.readable import require_readable
from clients.data.sources.reading import examined
from clients.door.callers import Callers
from clients.join import attend, load_trainer, open_site
from clients.journal.lock import alone
from clients.policy import load_site
from federation.errors import DataError, InputError, SiteFileError, SiteRunning, UnusableFile
from federation.identity.keys import create, load_public
from federation.identity.roles import create_node
from federation.log import to_stderr
from federation.plan.plan import Plan
from federation.round.messages import Frame, Kind, Member, Reason, abort_reason
from privacy.errors import PolicyViolation, RecordsUnavailable, UnsafeParameters
from privacy.roster import Roster, SignedRoster
from privacy.signing import public_identity
from tests import ROOT
from tests.certificates import certificate
from tests.clients.sites import CONSORTIUM, COORDINATOR, ROSTER, RUN, hello, kinds, make_plan, refused
from tests.federation.command import Command

SITE = """\
[site]
id = "berlin"
keys = "keys/"
journal = "journal.sqlite"
[data]
source = "berlin.csv"
pool = "patients"
size = 30
[policy]
epsilon_max = 8.0
delta_max = 1e-5
cohort_minimum = 3
colluders_minimum = 0
noise = ["distributed"]
tasks = ["tabular-classification"]
[consortium]
keys = ["PINNED"]
quorum = 1
""".replace("PINNED", public_identity(CONSORTIUM).hex())
SERVER = '[server]\naddress = "fed.example.org:9092"\ncertificate = "ca.crt"\n'
ROWS = [f"{20 + number},{100 + 3 * number},{'yes' if number % 3 else 'no'}" for number in range(30)]


def write_site(folder: Path, text: str = SITE, rows: list[str] | None = None) -> Path:
    """A site file, its data and its keys."""
    if not (folder / "keys").exists():
        create(folder / "keys", "berlin", "Charite", 30)
    (folder / "berlin.csv").write_text("\n".join(["age,pressure,sick", *(ROWS if rows is None else rows)]))
    path = folder / "site.toml"
    path.write_text(text)
    return path


def signed_for(folder: Path, size: int = 30) -> SignedRoster:
    """A roster with this site as its public file describes it, but for the size."""
    entry = replace(load_public(folder / "keys" / "berlin.pub").entry, size=size)
    others = (other for other in ROSTER.entries if other.site != "berlin")
    entries = sorted([entry, *others], key=lambda other: other.site)
    return SignedRoster.by(Roster(1, tuple(entries), coordinator=public_identity(COORDINATOR)), [CONSORTIUM])


def test_a_site_answers_from_its_own_files(tmp_path: Path) -> None:
    site, plan = open_site(write_site(tmp_path)), make_plan()
    assert site.member == Member("berlin", 30)
    assert Frame.from_bytes(site.receive(hello(plan, roster=signed_for(tmp_path)))).kind is Kind.WELCOME
    assert (tmp_path / "journal.sqlite").exists()
    assert [entry.kind for entry in site.journal.entries()] == ["genesis", "roster", "budget", "reserve"]


def test_a_site_file_without_a_size_is_refused_before_there_is_a_journal(tmp_path: Path) -> None:
    path = write_site(tmp_path, SITE.replace("size = 30\n", ""))
    with pytest.raises(SiteFileError, match=r"site.toml data.size: is missing; declare in public") as error:
        open_site(path)
    assert error.value.exit_code == 2
    assert not (tmp_path / "journal.sqlite").exists()


def test_a_site_file_without_a_consortium_is_refused_before_there_is_a_journal(tmp_path: Path) -> None:
    path = write_site(tmp_path, SITE[: SITE.index("[consortium]")])
    with pytest.raises(SiteFileError, match=r"site.toml consortium: is missing; add the table") as error:
        open_site(path)
    assert error.value.exit_code == 2
    assert not (tmp_path / "journal.sqlite").exists()


def test_a_site_without_its_key_is_refused_before_there_is_a_journal(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    (tmp_path / "keys" / "berlin.key").unlink()
    with pytest.raises(
        UnusableFile, match=r"berlin.key: there is no such key; make one: federation keys new"
    ):
        open_site(path)
    assert not (tmp_path / "journal.sqlite").exists()


def test_the_site_file_says_who_is_believed(tmp_path: Path) -> None:
    path = write_site(tmp_path, SITE.replace("quorum = 1", "quorum = 1\nserial = 2"))
    site = open_site(path)
    assert (site.trust.pinned, site.trust.quorum, site.trust.serial) == (
        frozenset({public_identity(CONSORTIUM)}), 1, 2,
    )  # fmt: skip
    assert refused(site, hello(make_plan(), roster=signed_for(tmp_path))) is Reason.PROTOCOL
    assert "serial 1, after one of serial 2" in str(site.last_error)
    assert [entry.kind for entry in site.journal.entries()] == ["genesis"]


def test_the_declared_size_is_sent_whatever_the_data_count(tmp_path: Path) -> None:
    site = open_site(write_site(tmp_path, SITE.replace("size = 30", "size = 500")))
    site.receive(hello(make_plan(), roster=signed_for(tmp_path, size=500)))
    assert site.last_error is None
    assert site.member.size == 500


def test_data_are_first_read_after_consent(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    (tmp_path / "berlin.csv").unlink()
    site = open_site(path)
    with pytest.raises(PolicyViolation, match=r"policy\.noise"):
        site.join(RUN, make_plan("record", "central"), signed_for(tmp_path))
    with pytest.raises(DataError, match="no such file"):
        site.join(RUN, make_plan(), signed_for(tmp_path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        ("age;pressure;sick\n1;2;yes\n", "semicolons"),
        ("age,pressure,sick\n1,2\n", "row 2"),
        ('age,pressure,sick\n1,"2,yes\n3,4,no\n', "quote"),
    ],
    ids=["missing", "semicolons", "ragged", "a quote that opens"],
)
def test_a_file_that_no_plan_could_use_is_named_when_the_site_starts(
    tmp_path: Path, content: str | None, said: str
) -> None:
    """Before consent, a socket or a journal: nobody outside learns of it, and nothing is charged."""
    path = write_site(tmp_path)
    (tmp_path / "berlin.csv").unlink()
    if content is not None:
        (tmp_path / "berlin.csv").write_text(content)
    with pytest.raises(DataError, match=said):
        attend(path, tmp_path / "socket" / "site", same_user=True)
    assert not (tmp_path / "journal.sqlite").exists() and not (tmp_path / "socket").exists()


def test_a_file_for_ones_own_code_may_be_anything_but_missing(tmp_path: Path) -> None:
    files = [tmp_path / "scans.csv", tmp_path / "scans.pt"]
    for path in files:
        path.write_bytes(b"\x93NUMPY\x01")
    require_readable(files, is_for_own_code=True)
    require_readable([files[1], None], is_for_own_code=False)
    with pytest.raises(DataError, match="another suffix"):
        require_readable(files, is_for_own_code=False)
    with pytest.raises(DataError, match="no regular file"):
        require_readable([tmp_path], is_for_own_code=True)


def test_a_cell_that_is_no_number_is_named_by_row_and_column_and_not_shown(tmp_path: Path) -> None:
    site = open_site(write_site(tmp_path, rows=[*ROWS[:4], "33,low-ish,yes", *ROWS[5:]]))
    reply = site.receive(hello(make_plan(), roster=signed_for(tmp_path)))
    assert abort_reason(Frame.from_bytes(reply).body) is Reason.FAILED
    assert isinstance(site.last_error, DataError)
    message = str(site.last_error)
    assert "6" in message  # the header is row 1
    assert "pressure" in message
    assert "low-ish" not in message
    assert b"low-ish" not in reply


def test_held_out_records_are_not_trained_on(tmp_path: Path) -> None:
    path, plan = write_site(tmp_path), make_plan()
    open_site(path).close()
    trainer = load_trainer(load_site(path), tmp_path, plan)
    assert trainer.held_out is not None
    assert len(trainer.data) + len(trainer.held_out) == 30
    assert 0 < len(trainer.held_out) < 15  # each by a coin of its own, of one in five
    rows = {tuple(row.tolist()) for row in trainer.data.features}
    assert not rows & {tuple(row.tolist()) for row in trainer.held_out.features}
    assert trainer.data.features.dtype == torch.float32


ANEW = """query = "with n(i) as (select 1 union all select i + 1 from n where i < 30)
 select 20 + abs(random()) % 60 as age, 100 + i as pressure, iif(i % 3, 'yes', 'no') as sick from n"
""".replace("\n ", " ")


def test_the_rows_that_are_claimed_are_those_that_are_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_site(tmp_path, SITE.replace('source = "berlin.csv"\n', f'source = "berlin.db"\n{ANEW}'))
    with closing(sqlite3.connect(tmp_path / "berlin.db")) as database:
        database.execute("create table unused (column1)")
    read = []
    monkeypatch.setattr(load, "examined", lambda place: read.append(examined(place)) or read[-1])
    open_site(path).close()
    rules = load_site(path)
    load_trainer(rules, tmp_path, make_plan())
    with closing(sqlite3.connect(registry_path(rules))) as registry:
        claimed = {value for (value,) in registry.execute("select value from fingerprints")}
    assert claimed == fingerprints(read[0], None, rules.identity())
    assert claimed != fingerprints(examined(read[0].path), None, rules.identity())  # it answers anew


def test_every_round_of_a_private_plan_gets_a_stream_of_its_own(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    open_site(path).close()
    trainer = load_trainer(load_site(path), tmp_path, make_plan())
    assert len({trainer.stream(number).take(32) for number in (1, 1, 2)}) == 3
    plain = load_trainer(load_site(path), tmp_path, make_plan("record", "none"))
    assert plain.stream(1).take(32) == plain.stream(1).take(32) != plain.stream(2).take(32)


def with_delta(unit: str) -> Plan:
    return make_plan(unit, "distributed", delta=0.05)


def test_a_delta_at_which_a_record_may_be_published_is_refused(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    with pytest.raises(
        UnsafeParameters, match=r"privacy\.delta = 0\.05: must be below 1/N, for the N that"
    ) as error:
        load_trainer(load_site(path), tmp_path, with_delta("record"))
    assert not set("123456789") & set(
        str(error.value).replace("0.05", "").replace("1/N", "")
    )  # N is of the data
    load_trainer(load_site(path), tmp_path, with_delta("client"))  # N counts clients then, not records


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[Any]]:
    """What the log says, as objects."""
    to_stderr(as_json=True)
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize("server", [False, True])
def test_people_at_the_site_are_told_how_to_connect_and_why_something_was_refused(
    server: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Callable[[], list[Any]]
) -> None:
    path = write_site(tmp_path, SITE + (SERVER if server else ""))
    (tmp_path / "ca.crt").write_bytes(certificate())
    replies: list[bytes] = []

    def served(
        receive: Callable[[bytes], bytes],
        place: Path,
        callers: Callers,
        ready: Callable[[], None],
        largest: Callable[[], int],
    ) -> None:
        assert place == tmp_path / "socket" / "site"
        ready()
        plans, roster = (make_plan("client", "central"), make_plan()), signed_for(tmp_path)
        replies.extend(receive(hello(plan, roster=roster)) for plan in plans)

    monkeypatch.setattr(join, "serve_until_signal", served)
    told: list[str] = []
    attend(path, tmp_path / "socket" / "site", told.append, same_user=True)
    assert told == [f"{tmp_path / 'berlin.csv'}: 31 lines, 30 records"], "on the terminal, and not in the log"
    ready, warned, waiting, refused_line, begins, stopped = lines()
    assert "--same-user" in warned["detail"]
    assert (ready["event"], ready["site"]) == ("ready", "berlin")
    assert ("--superlink fed.example.org:9092" in waiting["command"]) is server
    assert (refused_line["event"], refused_line["reason"]) == ("refused", "policy")
    assert "policy.noise" in refused_line["detail"]
    assert (begins["event"], begins["plan"], begins["run"]) == ("run_begins", make_plan().digest, RUN.hex())
    assert 0 < begins["epsilon"] <= 8
    assert stopped["event"] == "stopped"
    assert [Frame.from_bytes(reply).kind for reply in replies] == [Kind.ABORT, Kind.WELCOME]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o644, 0o640])
def test_a_key_that_others_can_open_is_no_key_to_join_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, lines: Callable[[], list[Any]]
) -> None:
    path = write_site(tmp_path)
    (tmp_path / "keys" / "berlin.key").chmod(mode)
    monkeypatch.setattr(join, "serve_until_signal", lambda receive, place, callers, ready, largest: ready())
    if mode & 0o077 == 0:
        attend(path, tmp_path / "site", same_user=True)
        assert [line["event"] for line in lines()] == ["ready", "warning", "waiting", "stopped"]
        return
    with pytest.raises(UnusableFile, match=r"others on this machine can open this private key .* chmod 600"):
        attend(path, tmp_path / "site", same_user=True)
    assert lines() == []
    assert not (tmp_path / "journal.sqlite").exists()


def test_an_older_roster_is_refused_whatever_pool_and_journal_it_comes_to(tmp_path: Path) -> None:
    path, plan = write_site(tmp_path), make_plan()
    older = signed_for(tmp_path)
    whole = replace(older.read(), serial=2)
    newer = SignedRoster.by(replace(whole, entries=whole.entries[:-1]), [CONSORTIUM])  # essen was revoked
    with closing(open_site(path)) as site:
        assert Frame.from_bytes(site.receive(hello(plan, roster=newer))).kind is Kind.WELCOME
    text = SITE.replace('journal = "journal.sqlite"', 'journal = "other.sqlite"')
    text = text.replace('pool = "patients"', 'pool = "others"').replace("berlin.csv", "others.csv")
    (tmp_path / "others.csv").write_text((tmp_path / "berlin.csv").read_text().replace(",1", ",2"))
    path.write_text(text)
    with closing(open_site(path)) as site:
        for signed in (older, SignedRoster.by(whole, [CONSORTIUM])):
            assert refused(site, hello(plan, roster=signed)) is Reason.POLICY
            assert "after another of serial 2" in str(site.last_error)
        assert kinds(site) == ["genesis"]
        (tmp_path / "keys" / "berlin.rosters").write_text("{")
        assert refused(site, hello(plan, roster=newer)) is Reason.FAILED
        assert "put its newest copy back" in str(site.last_error)
    # The control: without the memory beside the keys, the new journal knows of nothing.
    (tmp_path / "keys" / "berlin.rosters").unlink()
    with closing(open_site(path)) as site:
        assert Frame.from_bytes(site.receive(hello(plan, roster=older))).kind is Kind.WELCOME


def test_a_site_that_took_part_does_not_begin_again_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Registry deleted, pool and journal renamed: the same records would train from zero."""
    command = Command(monkeypatch, capsys)
    path, plan = write_site(tmp_path), make_plan(epsilon=3.0)
    with closing(open_site(path)) as site:
        assert Frame.from_bytes(site.receive(hello(plan, roster=signed_for(tmp_path)))).kind is Kind.WELCOME
    (tmp_path / "keys" / "berlin.pools.sqlite").unlink()
    path.write_text(SITE.replace("journal.sqlite", "fresh.sqlite").replace('"patients"', '"others"'))
    with pytest.raises(PolicyViolation, match="is gone; put its newest copy back"):
        open_site(path)
    (tmp_path / "plan.toml").write_text(plan.to_toml())
    done = command("check", tmp_path / "plan.toml", "--site", path)
    assert done.code == 3 and "federation ledger reclaim SITE" in done.err
    assert not (tmp_path / "fresh.sqlite").exists()
    assert command("ledger", "reclaim", path).code == 2  # no journal of this name
    path.write_text(SITE)
    assert command("ledger", "reclaim", path).code == 0
    with closing(open_site(path)) as site:
        assert Frame.from_bytes(site.receive(hello(plan, roster=signed_for(tmp_path)))).kind is Kind.WELCOME
    path.write_text(SITE.replace("journal.sqlite", "fresh.sqlite").replace('"patients"', '"others"'))
    with closing(open_site(path)) as site:
        assert refused(site, hello(plan, RUN[::-1], roster=signed_for(tmp_path))) is Reason.FAILED
        assert 'used under pool "patients"' in str(site.last_error)


@pytest.mark.parametrize("shown", [True, False])
def test_whoever_removes_the_registry_and_the_rosters_is_found_by_those_who_saw_the_ledger(
    shown: bool, tmp_path: Path
) -> None:
    """All that this machine knew is gone, pool and journal are renamed; the server or a peer shows the old head."""
    path, plan = write_site(tmp_path), make_plan(epsilon=3.0)
    with closing(open_site(path)) as site:
        assert Frame.from_bytes(site.receive(hello(plan, roster=signed_for(tmp_path)))).kind is Kind.WELCOME
        seen = (site.journal.head(),)
    for name in ("pools.sqlite", "rosters"):
        (tmp_path / "keys" / f"berlin.{name}").unlink()
    path.write_text(SITE.replace("journal.sqlite", "fresh.sqlite").replace('"patients"', '"others"'))
    with closing(open_site(path)) as site:
        greeting = hello(plan, RUN[::-1], roster=signed_for(tmp_path), heads=seen if shown else ())
        if not shown:  # the control, and what stays possible
            assert Frame.from_bytes(site.receive(greeting)).kind is Kind.WELCOME
            return
        assert refused(site, greeting) is Reason.POLICY
        assert "1 more of this site's ledgers" in str(site.last_error)
        assert "federation ledger reclaim SITE" in str(site.last_error)
        assert kinds(site) == ["genesis"]


def test_a_site_with_two_pools_knows_both_of_its_ledgers(tmp_path: Path) -> None:
    """The control: a second pool, of other people, is none of the first one's business."""
    path, plan = write_site(tmp_path), make_plan(epsilon=3.0)
    with closing(open_site(path)) as site:
        assert Frame.from_bytes(site.receive(hello(plan, roster=signed_for(tmp_path)))).kind is Kind.WELCOME
        seen = (site.journal.head(),)
    text = SITE.replace('journal = "journal.sqlite"', 'journal = "other.sqlite"')
    text = text.replace('pool = "patients"', 'pool = "others"').replace("berlin.csv", "others.csv")
    (tmp_path / "others.csv").write_text((tmp_path / "berlin.csv").read_text().replace(",1", ",2"))
    path.write_text(text)
    with closing(open_site(path)) as site:
        greeting = hello(plan, RUN[::-1], roster=signed_for(tmp_path), heads=seen)
        assert Frame.from_bytes(site.receive(greeting)).kind is Kind.WELCOME, site.last_error


def test_of_an_error_that_is_not_ours_only_the_kind_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Callable[[], list[Any]]
) -> None:
    def quote(*_: object, **__: object) -> None:
        raise ValueError("Jane Doe, born 1970")

    path = write_site(tmp_path)
    greeting = hello(make_plan(), roster=signed_for(tmp_path))
    monkeypatch.setattr(join, "serve_until_signal", lambda receive, *_: receive(greeting))
    monkeypatch.setattr(join, "load_trainer", quote)
    attend(path, tmp_path / "site", same_user=True)
    told = lines()
    assert [line.get("detail") for line in told] == ["unexpected ValueError", None]
    assert "Jane" not in str(told)


@pytest.mark.parametrize("name", ["journal.sqlite", "./journal.sqlite", "link.sqlite"])
def test_a_second_process_on_a_journal_is_refused_and_told_who_has_it(name: str, tmp_path: Path) -> None:
    path = write_site(tmp_path)
    (tmp_path / "link.sqlite").symlink_to("journal.sqlite")
    other = path.with_name("other.toml")
    other.write_text(SITE.replace("journal.sqlite", name))
    with alone(tmp_path / "journal.sqlite"):
        with pytest.raises(SiteRunning, match=f"process {os.getpid()} uses the journal") as refused:
            attend(other, tmp_path / "socket" / "another", same_user=True)
        assert refused.value.exit_code == 4
        assert not (tmp_path / "socket").exists()


def test_the_lock_of_a_killed_process_means_nothing(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    program = (
        "import sys, time; from pathlib import Path; from clients.journal.lock import alone\n"
        "with alone(Path(sys.argv[1])): print('locked', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(SiteRunning, match=f"process {process.pid} "), alone(journal):
            pass
        process.kill()
    with alone(journal):
        assert (tmp_path / "journal.sqlite.lock").read_text() == f"{os.getpid()}\n"


def test_a_journal_with_two_names_is_refused(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    open_site(path).close()
    (tmp_path / "second.sqlite").hardlink_to(tmp_path / "journal.sqlite")
    with pytest.raises(RecordsUnavailable, match="second name"):
        attend(path, tmp_path / "site", same_user=True)


@pytest.mark.parametrize(
    ("server", "refusal", "message"),
    [
        ("", SiteFileError, r"site.toml server: is missing; add the table: .* or use flower-supernode"),
        (
            SERVER,
            UnusableFile,
            r"berlin.node.key: there is no such key; make one: federation keys new .* --node",
        ),
        (f'{SERVER}proxy_ca = "none.crt"\n', SiteFileError, r"server.proxy_ca .* ask whoever runs the proxy"),
    ],
    ids=["no coordinator", "no key of the node", "no authority of the proxy"],
)
def test_what_a_node_needs_is_looked_at_before_there_is_a_journal(
    server: str, refusal: type[Exception], message: str, tmp_path: Path
) -> None:
    path = write_site(tmp_path, SITE + server)
    (tmp_path / "ca.crt").write_bytes(certificate())
    if "proxy_ca" in server:
        create_node(tmp_path / "keys", "berlin")
    with pytest.raises(refusal, match=message):
        attend(path, None)
    assert not (tmp_path / "journal.sqlite").exists()


def test_same_user_is_for_the_socket_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no code of others runs here"):
        attend(write_site(tmp_path), None, same_user=True)
