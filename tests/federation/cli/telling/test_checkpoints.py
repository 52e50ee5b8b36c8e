"""A ledger before witnesses: checkpoints, cosignatures, and proofs that need nothing else of the ledger."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shutil import copy, copytree

import pytest

from clients.approvals import open_journal
from clients.policy import load_site
from federation.identity.keys import load_private, load_public
from federation.ledger.export import line_of, load_entries
from federation.ledger.proofs import checkpoint_at, included, inclusion_from_text
from privacy.signing import public_identity
from privacy.tlog.checkpoint import Checkpoint, checkpoint_of, seen_at
from privacy.tlog.note import LOG, WITNESS, Verifier, note_from_text, verifier_from_text
from tests.clients.sites import identity
from tests.federation.cli.test_ledger import take_part, write_site
from tests.federation.command import Command, Outcome

NAME = "regulator.example.org/w1"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Berlin after one round; alice is a witness. Each test has a copy of it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_site(folder)
    take_part(folder)
    return folder


@pytest.fixture
def site(home: Path, tmp_path: Path) -> Path:
    return copytree(home, tmp_path / "home") / "site.toml"


def grow(site: Path, serial: int = 9) -> None:
    """One entry more: another roster was accepted."""
    with closing(open_journal(load_site(site))) as journal:
        journal.accept(serial, f"{serial:064x}")


def checkpoint(command: Command, site: Path, name: str) -> tuple[Path, str]:
    """A new checkpoint, and the key to verify it by."""
    out = site.parent / name
    told = command("ledger", "checkpoint", site, "--out", out, "--json").json
    return out, told["key"]


def cosigned(command: Command, site: Path, file: Path, log: str, out: str = "cosigned") -> Outcome:
    people = site.parent / "people"
    key, seen = people / "alice.key", site.parent / "seen.json"
    asked = ["--log", log, "--key", key, "--name", NAME, "--seen", seen, "--out", site.parent / out]
    return command("ledger", "cosign", file, *asked, "--json")


def test_a_witness_s_name_that_no_note_can_have_is_bad_input(command: Command, site: Path) -> None:
    first, log = checkpoint(command, site, "first")
    key = site.parent / "people" / "alice.key"
    asked = [
        "--log",
        log,
        "--key",
        key,
        "--name",
        "no name",
        "--seen",
        site.parent / "s",
        "--out",
        site.parent / "o",
    ]
    done = command("ledger", "cosign", first, *asked)
    assert done.code == 2
    assert "choose one such as" in done.err
    assert not (site.parent / "o").exists()


def test_the_story_of_a_witness(command: Command, site: Path) -> None:
    """First sight, growth with a proof, one entry proven under what was cosigned."""
    first, log = checkpoint(command, site, "first")
    assert cosigned(command, site, first, log).code == 0
    grow(site)
    grown = site.parent / "grown"
    assert command("ledger", "prove", site, "--since", first, "--out", grown).code == 0
    done = cosigned(command, site, grown, log)
    witness = done.json["witness"]
    note = note_from_text((site.parent / "cosigned").read_text())
    assert seen_at(note, verifier_from_text(witness)) is not None
    assert checkpoint_of(note).size == len(load_entries(site.parent / "journal.sqlite"))

    proof = site.parent / "one.tlog-proof"
    under = ["--checkpoint", site.parent / "cosigned", "--out", proof]
    assert command("ledger", "prove", site, "--entry", 3, *under).code == 0
    told = command("ledger", "verify", proof, "--log", log, "--witness", witness, "--json").json
    assert (told["verdict"], told["entry"]["seq"], list(told["seen"])) == ("pass", 3, [NAME])
    entry = load_entries(site.parent / "journal.sqlite")[3]
    assert inclusion_from_text(proof.read_text()).entry == entry
    for other in load_entries(site.parent / "journal.sqlite"):
        assert (line_of(other) in proof.read_text()) is False
        assert other.hash.hex() not in proof.read_text()


def test_a_witness_signs_nothing_that_does_not_continue_what_it_saw(command: Command, site: Path) -> None:
    old = site.parent / "journal.old"
    copy(site.parent / "journal.sqlite", old)
    before, _ = checkpoint(command, site, "before")
    grow(site)
    seen, log = checkpoint(command, site, "seen")
    assert cosigned(command, site, seen, log).code == 0
    written = (site.parent / "seen.json").read_bytes()

    shorter = cosigned(command, site, before, log, "x")
    assert (shorter.code, "were seen before" in shorter.err) == (5, True)
    for name in ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"):
        (site.parent / name).unlink(missing_ok=True)
    copy(old, site.parent / "journal.sqlite")  # the end is lost, and another one is written
    grow(site, 10)
    other, _ = checkpoint(command, site, "other")
    refused = cosigned(command, site, other, log, "x")
    assert refused.code == 5
    assert not (site.parent / "x").exists()
    assert (site.parent / "seen.json").read_bytes() == written
    assert command("ledger", "prove", site, "--since", seen, "--out", site.parent / "x").code == 2


def test_a_proof_from_elsewhere_than_what_was_seen_is_not_enough(command: Command, site: Path) -> None:
    first, log = checkpoint(command, site, "first")
    assert cosigned(command, site, first, log).code == 0
    grow(site)
    later, _ = checkpoint(command, site, "later")
    refused = cosigned(command, site, later, log, "x")
    assert (refused.code, "begins at 0 entries" in refused.err) == (5, True)
    assert cosigned(command, site, first, log, "x").code == 0, "what was seen last may be cosigned again"


def test_a_checkpoint_of_another_key_is_refused(command: Command, site: Path) -> None:
    made, log = checkpoint(command, site, "made")
    name = log.partition("+")[0]
    note = note_from_text(made.read_text())
    forged = site.parent / "forged"
    forged.write_text(str(type(note)(note.text, ()).signed(name, identity("cleveland"))))
    assert cosigned(command, site, forged, log, "x").code == 5
    assert cosigned(command, site, made, str(site.parent / "people" / "bob.pub"), "x").code == 5
    assert not (site.parent / "seen.json").exists()


@pytest.mark.parametrize("change", ["entry", "index", "hash", "note"])
def test_a_proof_that_was_edited_is_found(command: Command, site: Path, change: str) -> None:
    made, log = checkpoint(command, site, "made")
    proof = site.parent / "proof"
    command("ledger", "prove", site, "--entry", 2, "--checkpoint", made, "--out", proof)
    lines = proof.read_text().split("\n")
    other = site.parent / "other"
    command("ledger", "prove", site, "--entry", 1, "--checkpoint", made, "--out", other)
    place = {"entry": 1, "index": 2, "hash": 3}.get(change)
    if place is None:
        lines[-5] = str(int(lines[-5]) + 1)
    else:
        lines[place] = other.read_text().split("\n")[place]
    edited = site.parent / "edited"
    edited.write_text("\n".join(lines))
    assert edited.read_text() != proof.read_text()
    assert command("ledger", "verify", proof, "--log", log).code == 0
    assert command("ledger", "verify", edited, "--log", log).code in (2, 5)


def test_a_witness_that_did_not_sign_is_missed(command: Command, site: Path) -> None:
    made, log = checkpoint(command, site, "made")
    proof = site.parent / "proof"
    command("ledger", "prove", site, "--entry", 0, "--checkpoint", made, "--out", proof)
    key = load_private(site.parent / "people" / "alice.key")
    told = str(Verifier(NAME, WITNESS, public_identity(key)))
    done = command("ledger", "verify", proof, "--log", log, "--witness", told)
    assert (done.code, f"{NAME} did not cosign" in done.err) == (5, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["prove", "SITE", "--out", "x"], "give either --entry N or --since"),
        (["prove", "SITE", "--entry", "999", "--out", "x"], "has no entry 999"),
        (["prove", "SITE", "--since", "SITE", "--out", "x"], "no signed note"),
        (["prove", "journal.sqlite", "--entry", "0", "--out", "x"], "needs a checkpoint"),
        (["verify", "SITE", "--log", "a+b+c"], "no proof of an entry"),
        (["checkpoint", "missing.toml", "--out", "x"], "missing.toml"),
    ],
    ids=["nothing", "no such entry", "no checkpoint", "no key", "no proof", "no site"],
)
def test_what_cannot_be_done_is_exit_2_in_one_line(
    command: Command, site: Path, words: list[str], told: str
) -> None:
    places = {
        "SITE": str(site),
        "x": str(site.parent / "x"),
        "journal.sqlite": str(site.parent / "journal.sqlite"),
    }
    done = command("ledger", *[places.get(word, word) for word in words])
    assert (done.code, told in done.err) == (2, True), done.err
    assert not (site.parent / "x").exists()


def public_file(site: Path, name: str = "berlin") -> str:
    """What the consortium has of a site: its id and its key, and no ledger's name."""
    public, people = site.parent / f"{name}.pub", site.parent / "people"
    known = load_public(people / "alice.pub")
    text = (people / "alice.pub").read_text().replace(known.id, name)
    public.write_text(text.replace(known.key, public_identity(identity("berlin")).hex()))
    return str(public)


def test_a_public_file_names_the_key_too(command: Command, site: Path) -> None:
    made, log = checkpoint(command, site, "made")
    assert cosigned(command, site, made, public_file(site)).code == 0
    assert json.loads((site.parent / "seen.json").read_text())
    proof = site.parent / "proof"
    command("ledger", "prove", site, "--entry", 1, "--checkpoint", made, "--out", proof)
    told = command("ledger", "verify", proof, "--log", public_file(site))
    assert (told.code, "ask the site whether" in told.out) == (0, True)
    assert "ask the site whether" not in command("ledger", "verify", proof, "--log", log).out
    assert command("ledger", "verify", proof, "--log", public_file(site, "bern")).code == 5


@pytest.mark.parametrize(
    "name", ["private-federation/berlin/0000000000000000", "ledger-2", "OTHER/berlin/00"]
)
def test_a_site_that_renames_a_changed_ledger_gets_no_second_history_signed(
    command: Command, site: Path, name: str
) -> None:
    """A .pub file fits any name. Whoever goes by it knows one ledger of a site, until told of another."""
    made, log = checkpoint(command, site, "made")
    public, key = public_file(site), identity("berlin")
    assert cosigned(command, site, made, public).code == 0
    written = (site.parent / "seen.json").read_bytes()
    changed = Checkpoint(name, checkpoint_of(note_from_text(made.read_text())).size, bytes(32))
    forked = site.parent / "forked"
    forked.write_text(str(changed.note().signed(name, key)))
    refused = cosigned(command, site, forked, public, "x")
    assert (refused.code, (site.parent / "x").exists()) == (5, False)
    assert (site.parent / "seen.json").read_bytes() == written
    assert cosigned(command, site, made, public).code == 0
    second = str(Verifier(name, LOG, public_identity(key)))
    assert cosigned(command, site, forked, second, "x").code == 0, "somebody said that there are two"
    assert cosigned(command, site, made, log).code == 0


def test_an_entry_whose_hash_is_of_another_content_is_proven_by_no_tree(command: Command, site: Path) -> None:
    """Heads that others hold name an entry by its hash: what stands beside it has to be what it is of."""
    entries = list(load_entries(site.parent / "journal.sqlite"))
    entries[2] = replace(entries[2], body={**entries[2].body, "serial": 77})
    told, key = checkpoint_at(entries), identity("berlin")
    note = told.note().signed(told.origin, key)
    for seq, code in ((1, 0), (2, 5)):
        proof = site.parent / f"{seq}.tlog-proof"
        proof.write_text(str(included(entries, seq, note)))
        log = str(Verifier(told.origin, LOG, public_identity(key)))
        assert command("ledger", "verify", proof, "--log", log).code == code
