"""Backups made while the site writes; and a site that goes on from one, without spending anything twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest

from clients.approvals import add_approval, open_journal
from clients.check import preflight
from clients.join import open_site
from clients.journal.lock import alone
from clients.people.asking import withdraw
from clients.people.leaving_out import people_of
from clients.people.listed import list_path
from clients.policy import load_site
from clients.restore import back_up, examine, propose_restore, require_choice, restore
from federation.errors import InputError, SiteRunning, UnusableFile
from federation.identity.keys import create, load_public
from federation.ledger.export import export_lines, load_entries
from federation.ledger.store import Store
from privacy.errors import BudgetExceeded, LedgerCorrupt, LedgerRefusal, PolicyViolation, RecordsUnavailable
from privacy.ledger.chain import LEAP
from privacy.ledger.state import fold
from tests import ROOT
from tests.clients.sites import make_plan
from tests.clients.test_join import SITE, write_site
from tests.patience import patience

TODAY = date(2026, 3, 1)
PLAN = make_plan()
CHARGE, ROUNDS = PLAN.charges[0], PLAN.federation.rounds
PAYLOAD = b"the last vector that left under a mask, without the mask" * 50


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site whose ledger two approvers may vouch for."""
    keys = []
    for name in ("anna", "bert"):
        create(tmp_path / "people", name, name, 1)
        keys.append(load_public(tmp_path / "people" / f"{name}.pub").key)
    text = SITE.replace("epsilon_max = 8.0", "epsilon_max = 20.0")
    return write_site(tmp_path, text.replace("[consortium]", f"approvers = {json.dumps(keys)}\n[consortium]"))


def live(site: Path, run: str = "run", rounds: int = 1, first: int = 1) -> None:
    """Reserve a run and release some rounds of it, of which the last is kept."""
    rules = load_site(site)
    with closing(open_journal(rules)) as journal:
        said = people_of(rules, journal).now().commitment
        journal.reserve(run, "plan", CHARGE, ROUNDS, rules.policy.limits())
        for number in range(first, first + rounds):
            journal.begin(run, number, "question")
            journal.release(run, number, PAYLOAD, said)
            journal.mask(run, number, 1, suite=3)


def lose(site: Path) -> None:
    """The disk is gone; of the list of people who withdrew there is a copy."""
    for path in site.parent.glob("journal.sqlite*"):
        if path.suffix != ".withdrawn":
            path.unlink()


def receipts(folder: Path, site: Path, seqs: slice = slice(None)) -> Path:
    """A run folder whose receipts hold the heads of this ledger as it is now, entry by entry."""
    from privacy.ledger.heads import Head

    rules = load_site(site)
    entries = load_entries(rules.journal)
    ledger = fold(entries).tip.genesis.ledger
    folder.mkdir()
    heads = [Head.signed(rules.id, ledger, entry, rules.identity()) for entry in entries[seqs]]
    lines = [json.dumps({"round": 1, "heads": {"berlin": head.to_json()}}) for head in heads]
    (folder / "receipts.jsonl").write_text("\n".join([*lines, '{"torn']))
    return folder


def vouch(site: Path, known: object, made: date = TODAY) -> Path:
    """A proposal that both have signed."""
    out = site.parent / "word.json"
    propose_restore(known, out, made)  # type: ignore[arg-type]
    for name in ("anna", "bert"):
        add_approval(out, site.parent / "people" / f"{name}.key")
    return out


# Backing up


def test_a_backup_is_the_ledger_with_its_log_and_without_release_bytes(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "backup"
    with closing(open_journal(load_site(site))):  # so that its log is not moved into the file
        live(site)
        journal = tmp_path / "journal.sqlite"
        assert PAYLOAD[:40] in journal.with_name("journal.sqlite-wal").read_bytes() + journal.read_bytes()
        expected = load_entries(journal)
        account = back_up(site, out)
    assert load_entries(out) == expected
    assert account.tip.last == expected[-1]
    assert expected[-1].kind == "mask"
    assert PAYLOAD[:8] not in out.read_bytes()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("backup?*"))


def test_bytes_that_were_forgotten_before_are_not_in_a_backup_either(site: Path, tmp_path: Path) -> None:
    live(site, rounds=4)
    with closing(open_journal(load_site(site))) as journal:
        journal.close_run("run", "params")
    back_up(site, tmp_path / "backup")
    assert PAYLOAD[:8] not in (tmp_path / "backup").read_bytes()


WRITER = """
import sys
from contextlib import closing
from pathlib import Path
from tests.clients.test_restore import open_journal, load_site
with closing(open_journal(load_site(Path(sys.argv[1])))) as journal:
    number = 0
    while True:
        number += 1
        journal.accept(number, f"root {number}")
        if number == 1:
            print("writing", flush=True)
"""


@pytest.mark.waits
def test_a_backup_while_another_process_writes_is_a_state_that_the_ledger_was_in(
    site: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", WRITER, str(site)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        for number in range(20):
            back_up(site, tmp_path / f"{number}.backup")
        writer.kill()
    whole = load_entries(tmp_path / "journal.sqlite")
    lengths = []
    for number in range(20):
        entries = load_entries(tmp_path / f"{number}.backup")
        fold(entries)
        assert entries == whole[: len(entries)]
        lengths.append(len(entries))
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1], "it was written meanwhile"


KILLED = """
import os, signal, sys
from pathlib import Path
import sqlite3
from clients.restore import back_up
left = int(sys.argv[3])
def step(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
connect = sqlite3.connect
def traced(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.set_trace_callback(step)
    return connection
sqlite3.connect = traced
for name in ("open", "link", "unlink", "fsync"):
    def before(call):
        return lambda *arguments, **options: (step(), call(*arguments, **options))[1]
    setattr(os, name, before(getattr(os, name)))
back_up(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.waits
@pytest.mark.parametrize("step", [1, 6, 10, 14, 18, 22, 24, 26])
def test_a_backup_that_is_killed_leaves_a_whole_one_or_none(site: Path, tmp_path: Path, step: int) -> None:
    live(site)
    out = tmp_path / "copies" / "backup"
    out.parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(site), str(out), str(step)],
        cwd=ROOT,
        check=False,
        timeout=patience(60),
    )
    assert done.returncode in (0, -signal.SIGKILL)
    if out.exists():
        assert load_entries(out) == load_entries(tmp_path / "journal.sqlite")
        with pytest.raises(UnusableFile, match="exists already"):
            back_up(site, out)
    else:
        back_up(site, out)
    assert os.listdir(out.parent) == ["backup"]


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_backup_replaces_nothing(make: Callable[[Path], None], site: Path, tmp_path: Path) -> None:
    live(site)
    make(tmp_path / "out")
    with pytest.raises(UnusableFile, match="exists already"):
        back_up(site, tmp_path / "out")


def test_a_backup_needs_a_folder_and_a_journal(site: Path, tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="no journal yet"):
        back_up(site, tmp_path / "out")
    live(site)
    with pytest.raises(UnusableFile, match="no such folder"):
        back_up(site, tmp_path / "nowhere" / "out")


# Starting on one


def test_no_site_works_on_a_backup_until_it_is_restored(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    lose(site)
    shutil.copy(tmp_path / "backup", tmp_path / "journal.sqlite")
    for work in (
        lambda: open_site(site),
        lambda: preflight(PLAN, site),
        lambda: open_journal(load_site(site)),
        lambda: Store.open(tmp_path / "journal.sqlite"),
        lambda: back_up(site, tmp_path / "second"),
    ):
        with pytest.raises(LedgerRefusal, match=r"is a backup.*federation ledger restore") as refused:
            work()
        assert refused.value.exit_code == 3
    assert load_entries(tmp_path / "journal.sqlite") == load_entries(tmp_path / "backup"), (
        "people may read it"
    )


def test_without_a_choice_nothing_is_restored(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    lose(site)
    known = examine(site, tmp_path / "backup", None, [])
    for approved, charge_all in [(None, False), (tmp_path / "word.json", True)]:
        with pytest.raises(LedgerRefusal, match=r"may be missing.*--propose FILE.*--charge-all"):
            require_choice(known, approved, charge_all)


def test_charged_in_full_nothing_of_the_lost_end_is_spent_or_opened_again(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    live(site, rounds=2, first=2)
    live(site, run="another")
    lose(site)
    account = restore(site, examine(site, tmp_path / "backup", None, []), None, TODAY)
    assert account.tip.last.kind == "restore"
    rules = load_site(site)
    with closing(open_journal(rules)) as journal:
        for number in (1, 2, 3, 4):
            with pytest.raises(LedgerRefusal, match="closed"):
                journal.begin("run", number, "question")
        with pytest.raises(LedgerRefusal, match="closed"):
            journal.reveal("run", 1, "others")
        with pytest.raises(LedgerRefusal, match="a restore of the ledger ended this run"):
            journal.reserve("run", "plan", CHARGE, ROUNDS, rules.policy.limits())
        for name in ("another", "third"):
            with pytest.raises(BudgetExceeded, match="the end of this ledger was lost"):
                journal.reserve(name, "plan", CHARGE, ROUNDS, rules.policy.limits())
        assert journal.spent() == {"record": rules.policy.epsilon_max}
        with pytest.raises(LedgerRefusal):
            journal.close_run("run", "params")
    with pytest.raises(BudgetExceeded):
        preflight(PLAN, site)
    site.write_text(site.read_text().replace("epsilon_max = 20.0", "epsilon_max = 100.0"))
    with pytest.raises(PolicyViolation):
        preflight(PLAN, site)


def test_with_two_approvers_word_the_run_goes_on_and_the_round_without_bytes_is_sat_out(
    site: Path, tmp_path: Path
) -> None:
    live(site, rounds=2)
    back_up(site, tmp_path / "backup")
    run = receipts(tmp_path / "run", site)
    lose(site)
    known = examine(site, tmp_path / "backup", None, [run])
    assert (known.heads, known.newest) == (len(known.entries), known.last.seq)
    assert not known.lacks
    restore(site, known, vouch(site, known), TODAY)
    rules = load_site(site)
    with closing(open_journal(rules)) as journal:
        journal.reserve("run", "plan", CHARGE, ROUNDS, rules.policy.limits())
        for number in (1, 2):
            with pytest.raises(LedgerRefusal, match="begun before the ledger was restored"):
                journal.begin("run", number, "question")
            with pytest.raises(LedgerRefusal, match="begun before the ledger was restored"):
                journal.reveal("run", number, "others")
        assert journal.begin("run", 3, "question") is None
        journal.release("run", 3, PAYLOAD, bytes.hex)
        assert journal.head().seq == LEAP + 2


def test_a_newer_copy_brings_back_what_it_holds(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    live(site, rounds=2, first=2)
    newer = tmp_path / "newer.jsonl"
    newer.write_text(export_lines(load_entries(tmp_path / "journal.sqlite")))
    run = receipts(tmp_path / "run", site)
    lose(site)
    without = examine(site, tmp_path / "backup", None, [run])
    assert without.lacks
    with pytest.raises(LedgerRefusal, match=r"entries .* are missing"):
        require_choice(without, None, False)
    with pytest.raises(LedgerRefusal, match="missing beyond doubt"):
        propose_restore(without, tmp_path / "word.json", TODAY)
    known = examine(site, tmp_path / "backup", newer, [run])
    assert not known.lacks
    account = restore(site, known, vouch(site, known), TODAY)
    assert account.runs["run"].released.keys() == {1, 2, 3}
    assert account.runs["run"].over == {1, 2, 3}


def test_a_copy_of_another_history_is_refused(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    shutil.copy(tmp_path / "backup", tmp_path / "fork.backup")
    live(site, rounds=1, first=2)
    back_up(site, tmp_path / "newer")
    run = receipts(tmp_path / "run", site)
    lose(site)
    restore(site, examine(site, tmp_path / "backup", None, []), None, TODAY)
    back_up(site, tmp_path / "other")
    with pytest.raises(LedgerCorrupt, match="two histories"):
        examine(site, tmp_path / "newer", tmp_path / "other", [])
    again = receipts(tmp_path / "again", site)
    lose(site)
    load_site(site).restores_file.unlink()  # what others have seen is enough
    known = examine(site, tmp_path / "fork.backup", None, [run, again])
    assert known.newest == LEAP
    with pytest.raises(LedgerRefusal, match="beyond doubt"):
        propose_restore(known, tmp_path / "word.json", TODAY)
    assert restore(site, known, None, TODAY).tip.last.seq == 2 * LEAP, "past the other restore"


def test_two_restores_of_one_backup_contradict_each_other(site: Path, tmp_path: Path) -> None:
    """Where what is remembered beside the keys is lost, too: else the second goes on after the first."""
    live(site)
    back_up(site, tmp_path / "backup")
    heads = []
    for _ in range(2):
        lose(site)
        load_site(site).restores_file.unlink(missing_ok=True)
        restore(site, examine(site, tmp_path / "backup", None, []), None, TODAY)
        with closing(open_journal(load_site(site))) as journal:
            heads.append(journal.head())
            if len(heads) == 2:
                with pytest.raises(LedgerCorrupt, match="no longer has"):
                    journal.witness(heads[:1])


def test_approvals_count_for_a_week_and_one_end(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    live(site, rounds=1, first=2)
    back_up(site, tmp_path / "later")
    lose(site)
    known = examine(site, tmp_path / "backup", None, [])
    word = vouch(site, known)
    for today in (TODAY + timedelta(8), TODAY - timedelta(1)):
        with pytest.raises(LedgerRefusal, match="last 7 days"):
            restore(site, known, word, today)
    with pytest.raises(LedgerRefusal, match="another end"):
        restore(site, examine(site, tmp_path / "later", None, []), word, TODAY)
    propose_restore(known, word, TODAY)
    with pytest.raises(LedgerRefusal, match="approvals are missing"):
        restore(site, known, word, TODAY)
    add_approval(word, tmp_path / "people" / "anna.key")
    with pytest.raises(LedgerCorrupt, match="two approvals"):
        restore(site, known, word, TODAY)
    assert not (tmp_path / "journal.sqlite").exists()
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(InputError):
        restore(site, known, tmp_path / "no.json", TODAY)


@pytest.mark.parametrize("killed", [False, True], ids=["noted", "killed before it was noted"])
def test_two_approvers_word_on_an_end_is_used_once(site: Path, tmp_path: Path, killed: bool) -> None:
    """Whatever the site did after the first use would be spent again, and nobody would know."""
    live(site)
    back_up(site, tmp_path / "backup")
    lose(site)
    known = examine(site, tmp_path / "backup", None, [])
    word = vouch(site, known)
    restore(site, known, word, TODAY)
    if killed:  # the journal was put in place, and the process ended there
        load_site(site).restores_file.unlink()
    open_site(site).close()
    live(site, rounds=1, first=2)
    back_up(site, tmp_path / "later")
    lose(site)
    for again in (known, examine(site, tmp_path / "backup", None, [])):
        with pytest.raises(LedgerRefusal, match=f"restored before and went on at entry {LEAP}.*used up"):
            restore(site, again, word, TODAY)
    with pytest.raises(LedgerRefusal, match="used up"):
        propose_restore(examine(site, tmp_path / "backup", None, []), tmp_path / "new.json", TODAY)
    assert not (tmp_path / "journal.sqlite").exists()
    later = examine(site, tmp_path / "later", None, [])
    account = restore(site, later, vouch(site, later), TODAY)  # the word on a later end is another word
    assert account.tip.last.seq == 2 * LEAP


def test_a_second_restore_that_charges_all_goes_on_after_the_first(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    lasts = []
    for _ in range(2):
        lose(site)
        known = examine(site, tmp_path / "backup", None, [])
        with pytest.raises(LedgerRefusal, match="is missing" if lasts else "may be missing"):
            require_choice(known, None, False)
        lasts.append(restore(site, known, None, TODAY).tip.last.seq)
    assert lasts == [LEAP, 2 * LEAP]


def test_a_site_does_not_work_on_a_copy_from_before_a_restore(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    shutil.copy(tmp_path / "journal.sqlite", tmp_path / "copy")
    lose(site)
    restore(site, examine(site, tmp_path / "backup", None, []), None, TODAY)
    lose(site)
    shutil.copy(tmp_path / "copy", tmp_path / "journal.sqlite")
    with pytest.raises(LedgerCorrupt, match="an older copy"):
        open_site(site)


def test_restores_that_cannot_be_read_stop_a_restore(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    lose(site)
    load_site(site).restores_file.write_text("[]")
    with pytest.raises(RecordsUnavailable, match="are not known"):
        examine(site, tmp_path / "backup", None, [])


def test_a_site_whose_list_of_people_is_lost_too_stops_until_it_is_made_anew(
    site: Path, tmp_path: Path
) -> None:
    """Those who withdrew would be back, and nobody would know. Where there was nobody, the new list is empty."""
    live(site)
    back_up(site, tmp_path / "backup")
    lose(site)
    list_path(load_site(site)).unlink()
    restore(site, examine(site, tmp_path / "backup", None, []), None, TODAY)
    with pytest.raises(
        RecordsUnavailable, match="the list of people who withdrew cannot be used: it is gone"
    ):
        open_site(site)
    withdraw(site, [], TODAY.isoformat(), anew=True)
    open_site(site).close()


def test_a_restore_replaces_no_journal_and_heeds_a_running_site(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    known = examine(site, tmp_path / "backup", None, [])
    before = load_entries(tmp_path / "journal.sqlite")
    with pytest.raises(LedgerRefusal, match="nothing replaces it"):
        restore(site, known, None, TODAY)
    with alone(tmp_path / "journal.sqlite"), pytest.raises(SiteRunning):
        restore(site, known, None, TODAY)
    assert load_entries(tmp_path / "journal.sqlite") == before


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm"])
def test_no_journal_is_made_beside_the_log_of_one_that_is_gone(
    site: Path, tmp_path: Path, suffix: str
) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    lose(site)
    (tmp_path / f"journal.sqlite{suffix}").write_bytes(b"left over")
    known = examine(site, tmp_path / "backup", None, [])
    for make in (lambda: restore(site, known, None, TODAY), lambda: open_journal(load_site(site))):
        with pytest.raises(RecordsUnavailable, match="of a file that is gone"):
            make()


def test_a_ledger_of_another_site_pool_or_key_is_not_restored(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    lose(site)
    text = site.read_text()
    site.write_text(text.replace('pool = "patients"', 'pool = "others"'))
    with pytest.raises(LedgerCorrupt, match="another site or pool"):
        examine(site, tmp_path / "backup", None, [])
    site.write_text(text)
    (tmp_path / "keys" / "berlin.key").unlink()
    create(tmp_path / "new", "berlin", "Charite", 30)
    shutil.copy(tmp_path / "new" / "berlin.key", tmp_path / "keys" / "berlin.key")
    with pytest.raises(LedgerCorrupt, match="another key"):
        examine(site, tmp_path / "backup", None, [])


def test_a_limit_that_was_raised_after_the_backup_has_to_be_brought_back(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    lose(site)
    site.write_text(site.read_text().replace("epsilon_max = 20.0", "epsilon_max = 21.0"))
    with pytest.raises(PolicyViolation, match="raised later"):
        examine(site, tmp_path / "backup", None, [])


def test_a_backup_that_was_changed_is_refused(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    with closing(sqlite3.connect(tmp_path / "backup")) as connection:
        connection.execute("DELETE FROM entries WHERE seq = 2")
        connection.commit()
    with pytest.raises(LedgerCorrupt):
        examine(site, tmp_path / "backup", None, [])


def test_heads_of_others_and_forged_ones_count_for_nothing(site: Path, tmp_path: Path) -> None:
    live(site)
    back_up(site, tmp_path / "backup")
    run = receipts(tmp_path / "run", site, slice(-1, None))
    (line, _) = (run / "receipts.jsonl").read_text().split("\n")
    content = json.loads(line)
    content["heads"]["berlin"]["seq"] = 1000
    (run / "receipts.jsonl").write_text(json.dumps(content) + "\n[]\n{}\n")
    known = examine(site, tmp_path / "backup", None, [run])
    assert (known.heads, known.newest) == (0, 0)
    with pytest.raises(UnusableFile, match="holds no receipts"):
        examine(site, tmp_path / "backup", None, [tmp_path / "keys"])
