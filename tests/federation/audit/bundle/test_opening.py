"""A bundle: verified anywhere, alone, and edited nowhere."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copytree

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.bundle import opening
from federation.audit.bundle.opening import require_same, unpacked
from federation.audit.bundle.packing import Packed, _member, pack
from federation.audit.bundle.statement import ENVELOPE, PAYLOAD_TYPE, Statement, is_safe, statement_from_bytes
from federation.audit.examine import audit
from federation.errors import AuditFailure, FederationError, InputError, UnusableFile
from federation.ledger.export import export_lines, load_entries
from federation.papers.bundled import pack_run
from privacy.dsse import sealed, signed_from_bytes
from privacy.errors import MalformedMessage
from privacy.signing import public_identity
from tests.federation.audit.audited import EVALUATED, finished
from tests.federation.command import Command

KEY = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return Command(monkeypatch, capsys)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("bundle"), "protocol", EVALUATED)


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    out = run.parent / "run.zip"
    pack_run(run, [], audit(run), out, KEY)
    return out


def test_the_story_of_a_bundle(command: Command, run: Path, tmp_path: Path) -> None:
    """Packed where the run is, with a key that is made and kept; verified where only the bundle is."""
    out = tmp_path / "run.zip"
    told = command("audit", run, "--bundle", out)
    assert told.code == 0
    signer = told.err.split("signed by ")[1].split()[0]
    key = tmp_path / "settings" / "private-federation" / "auditor.key"
    assert key.stat().st_mode & 0o077 == 0
    again = command("audit", out, "--signer", signer, "--json")
    assert (again.code, json.loads(again.out)["verdict"]) == (0, "pass")
    assert command("audit", out, "--signer", "00" * 32).code == 5
    assert command("audit", out, "--signer", "00").code == 2
    assert command("audit", run, "--signer", signer).code == 2


def test_what_is_in_it_is_told_as_an_ro_crate(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        crate = json.loads(archive.read("ro-crate-metadata.json"))
        names = set(archive.namelist())
    graph = {entity["@id"]: entity for entity in crate["@graph"]}
    root = graph["./"]
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert {"name", "description", "datePublished", "license"} <= root.keys()
    parts = {part["@id"] for part in root["hasPart"]}
    assert parts == names - {"ro-crate-metadata.json", ENVELOPE}
    assert all(graph[part]["@type"] == "File" for part in parts)
    assert {"plan.toml", "receipts.jsonl", "audit.json", "papers/dpia.md", "ledgers/0000.jsonl"} <= parts
    for entity in crate["@graph"]:  # every reference leads somewhere in the crate, or to the web
        for value in entity.values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict):
                    assert one["@id"] in graph or one["@id"].startswith("https://")


def test_no_secret_and_nothing_else_of_the_folder_is_packed(run: Path, tmp_path: Path) -> None:
    full = copytree(run, tmp_path / "run")
    (full / "notes.txt").write_text("call the ward")
    (full / "rounds" / "link.transcript").symlink_to("/etc/passwd")
    (tmp_path / "elsewhere" / "rounds").mkdir(parents=True)
    (tmp_path / "elsewhere" / "rounds" / "linked").write_text("a key")
    (full / "rosters").symlink_to(tmp_path / "elsewhere" / "rounds")
    (full / "fold-1").symlink_to(tmp_path / "elsewhere")
    out = tmp_path / "run.zip"
    pack_run(full, [], audit(full), out, KEY)
    with zipfile.ZipFile(out) as archive:
        names = archive.namelist()
    assert not any("key" in name or name.endswith((".sqlite", ".txt")) or "link" in name for name in names)


@pytest.mark.parametrize("what", ["journals", "ledger"])
def test_a_ledger_that_is_linked_into_a_run_is_not_packed(run: Path, tmp_path: Path, what: str) -> None:
    """Whoever made the run folder could have the auditor hand out a ledger of the auditor's own."""
    full = copytree(run, tmp_path / "run")
    linked = full / "journals" if what == "journals" else sorted((full / "journals").glob("*.sqlite"))[0]
    linked.rename(tmp_path / linked.name)
    linked.symlink_to(tmp_path / linked.name)
    with pytest.raises(InputError, match="is a link"):
        pack_run(full, [], audit(full), tmp_path / "run.zip", KEY)
    assert not list(tmp_path.glob("run.zip*"))


def test_no_byte_can_be_another(bundle: Path, tmp_path: Path) -> None:
    """Content, headings, what is between them: some thousand places, and each byte of the directory at the end."""
    data, edited = bundle.read_bytes(), tmp_path / "edited.zip"
    with zipfile.ZipFile(bundle) as archive:
        end = archive.start_dir
        starts = [member.header_offset for member in archive.infolist()]
    places = {*range(7, len(data), len(data) // 12), *range(end, len(data), (len(data) - end) // 25)}
    places |= {start + shift for start in starts[:2] for shift in range(30)}
    for place in sorted(places):
        edited.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(AuditFailure), unpacked(edited):
            pass
    for other in (data + b"\0", data[:-1], b"PK" + data, data[: len(data) // 2]):
        edited.write_bytes(other)
        with pytest.raises(AuditFailure), unpacked(edited):
            pass


def test_no_bit_of_where_the_directory_is_can_be_another(bundle: Path, tmp_path: Path) -> None:
    """Wherever it then leads, before the beginning of the file as well."""
    data, edited = bundle.read_bytes(), tmp_path / "edited.zip"
    for place in range(len(data) - 22, len(data)):
        for bit in range(8):
            edited.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
            with pytest.raises(AuditFailure), unpacked(edited):
                pass


def rezipped(bundle: Path, out: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    with zipfile.ZipFile(bundle) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return out


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.pop("plan.toml"),
        lambda files: files.update({"more.txt": b"x"}),
        lambda files: files.update({"plan.toml": files["plan.toml"] + b"\n"}),
        lambda files: files.pop(ENVELOPE),
        lambda files: files.update({"../../escaped": b"x"}),
        lambda files: None,
    ],
    ids=["less", "more", "other", "no envelope", "outside", "the same in other headings"],
)
def test_a_bundle_that_was_packed_anew_is_refused(
    bundle: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], object]
) -> None:
    with pytest.raises(AuditFailure), unpacked(rezipped(bundle, tmp_path / "x.zip", change)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/x",
        "a/../x",
        "a//x",
        "",
        ".",
        "a/.",
        "C:x",
        "a\\x",
        "a\x00",
        "\u202ex",
        "x" * 600,
        ".x",
        "nul/ ",
    ],
)
def test_a_name_that_could_leave_the_folder_is_in_no_bundle(name: str) -> None:
    assert not is_safe(name)
    statement = Statement({name: "0" * 64}, {}, "now", "1")
    with pytest.raises(MalformedMessage):
        statement_from_bytes(statement.to_bytes())


def test_a_signer_who_says_more_than_the_files_is_found(bundle: Path, run: Path, tmp_path: Path) -> None:
    """Every signature and digest holds; what is said to have been found is not what is found."""
    with unpacked(bundle) as opened:
        lying = {**opened.statement.audit, "verdict": "fail"}
        found = audit(opened.folder, opened.ledgers)
        require_same(opened.statement.audit, found)
        for name, value in (("verdict", "fail"), ("sums_verified", 999), ("epsilon", {"recomputed": 0.1})):
            with pytest.raises(AuditFailure, match=name):
                require_same({**lying, "verdict": found.verdict, name: value}, found)


def resigned(
    bundle: Path, out: Path, payload: Callable[[bytes], bytes], files: Mapping[str, bytes] | None = None
) -> Path:
    """The bundle as it would be packed, signed anew over another statement and other files: all bytes follow."""
    with zipfile.ZipFile(bundle) as archive:
        content = {name: archive.read(name) for name in archive.namelist()} | dict(files or {})
    signed = signed_from_bytes(content.pop(ENVELOPE), PAYLOAD_TYPE).payload
    statement = json.loads(signed)
    for subject in statement["subject"]:
        subject["digest"]["sha256"] = hashlib.sha256(content[subject["name"]]).hexdigest()
    content[ENVELOPE] = sealed(payload(json.dumps(statement).encode()), PAYLOAD_TYPE, KEY)
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in content.items():
            archive.writestr(_member(name), data)
    return out


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"audit": {', '"audit": {"verdict": "pass"}, "audit": {'),
        ('"predicate": {', '"predicate": {}, "predicate": {'),
        ('"subject": [', '"subject": [], "subject": ['),
        ('"_type": ', '"note": "all is well", "_type": '),
        ('"version": ', '"Audit": {"verdict": "pass"}, "version": '),
        ('"made": "', '"made": "\\u0032'),
        ('"made": ', '"made":  '),
    ],
    ids=["audit", "predicate", "subject", "beside", "capital", "escaped", "blank"],
)
def test_two_readers_see_one_statement_under_a_signature(
    bundle: Path, tmp_path: Path, old: str, new: str
) -> None:
    """Signature, digests and all headings are right; the statement is one that may be read in two ways."""
    same = resigned(bundle, tmp_path / "same.zip", bytes)
    with unpacked(same) as opened:
        assert opened.signer == public_identity(KEY)
    made = resigned(bundle, tmp_path / "x.zip", lambda data: data.replace(old.encode(), new.encode(), 1))
    with pytest.raises(AuditFailure, match="no statement"), unpacked(made):
        pass


def test_what_a_bundle_holds_for_programs_is_what_its_signer_signed(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        told = json.loads(archive.read("audit.json"))
    lying = json.dumps({**told, "epsilon": {"recomputed": 0.1}}, indent=1).encode()
    made = resigned(bundle, tmp_path / "x.zip", bytes, {"audit.json": lying})
    with pytest.raises(AuditFailure, match="audit"), unpacked(made):
        pass


def test_a_ledger_that_goes_further_than_the_packed_one_is_audited_with_the_bundle(
    command: Command, run: Path, tmp_path: Path
) -> None:
    """Whoever packed cut a ledger. What the signer says is compared as packed; then the whole one counts."""
    cut = copytree(run, tmp_path / "run")
    path = sorted((cut / "journals").glob("*.sqlite"))[0]
    entries = load_entries(path)
    path.unlink()
    (tmp_path / "whole.jsonl").write_text(export_lines(entries))
    (tmp_path / "cut.jsonl").write_text(export_lines(entries[:-1]))
    short = [tmp_path / "cut.jsonl"]
    found, out = audit(cut, short), tmp_path / "cut.zip"
    assert found.verdict == "fail", "others hold a head of what was cut off"
    pack_run(cut, short, found, out, KEY)
    assert command("audit", out).code == 5
    whole = command("audit", out, "--ledger", tmp_path / "whole.jsonl", "--json")
    assert (whole.code, json.loads(whole.out)["verdict"]) == (0, "pass")


def test_a_small_file_cannot_fill_a_disk(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused by its headings: neither what is compressed nor what lies twice in one place is ever written."""
    written: list[object] = []
    monkeypatch.setattr(opening, "_extract", lambda *given: written.append(given))
    with zipfile.ZipFile(bundle) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    made_larger = bytearray(bundle.read_bytes())
    place = made_larger.index(
        b"PK\x01\x02"
    )  # the first heading of the directory: its file is as large as can be
    made_larger[place + 20 : place + 28] = struct.pack("<II", 2**31, 2**31)
    larger = tmp_path / "larger.zip"
    larger.write_bytes(made_larger)
    for made in (packed, larger):
        with pytest.raises(AuditFailure), unpacked(made):
            pass
    assert not written


def test_a_run_that_does_not_verify_is_packed_without_documents(run: Path, tmp_path: Path) -> None:
    bad = copytree(run, tmp_path / "run")
    lines = (bad / "receipts.jsonl").read_text().splitlines()
    (bad / "receipts.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    found = audit(bad)
    assert found.verdict == "fail"
    out = tmp_path / "bad.zip"
    pack_run(bad, [], found, out, KEY)
    with unpacked(out) as opened:
        assert not (opened.folder / "papers").exists()
        assert opened.statement.audit["verdict"] == "fail"
        assert opened.signer == public_identity(KEY)


def foreign(folder: Path) -> bytes:
    """A zip file of somebody else's, with a plan in it."""
    with zipfile.ZipFile(folder / "foreign.zip", "w") as archive:
        archive.writestr("plan.toml", "[federation]")
    return (folder / "foreign.zip").read_bytes()


def test_a_file_that_is_no_bundle_is_refused_and_a_full_disk_leaves_nothing(
    run: Path, tmp_path: Path
) -> None:
    for content in (b"no bundle", b"", b"PK\x03\x04", foreign(tmp_path)):
        (tmp_path / "x.zip").write_bytes(content)
        with (
            pytest.raises(UnusableFile, match=r"x.zip: is no bundle: .*; name a run folder"),
            unpacked(tmp_path / "x.zip"),
        ):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(FederationError):
        pack(run, [], audit(run), Packed("x", {}, "x"), tmp_path / "file" / "x.zip", KEY)
    assert sealed(b"{}", PAYLOAD_TYPE, KEY)
