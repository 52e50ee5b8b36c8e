"""Files that are damaged, hostile or no files at all end in a finding."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.audit.page import audit_lines, render
from federation.errors import UnusableFile
from federation.ledger.export import export_lines, load_entries
from tests.federation.audit.audited import changed, ids, journal, meddled, receipts, rewritten, steps_of


def test_no_damage_to_any_file_ends_in_a_traceback(run: Path) -> None:
    """Bytes are overwritten, inserted and cut off in every file; what comes out is an audit."""
    names = [
        "plan.toml",
        "roster.toml",
        "receipts.jsonl",
        "report.json",
        "params.safetensors",
        "journals/ash.sqlite",
    ]
    for name in names:
        path = run / name
        good = path.read_bytes()
        for number in range(8):
            at = (len(good) * (2 * number + 1)) // 16
            for bad in (
                good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :],
                good[:at],
                good[:at] + b"[[{{\xff\x00" * 3 + good[at:],
            ):
                path.write_bytes(bad)
                json.dumps(audit(run).to_json(), allow_nan=False)
        path.write_bytes(good)
    assert audit(run).verdict == "pass"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400, "9" * 5000, "-1"])
def test_numbers_that_are_none_end_in_a_finding(run: Path, number: str) -> None:
    for name in ("report.json", "receipts.jsonl"):
        path = run / name
        good = path.read_text("utf-8")
        pattern = r'("epsilon"|"seconds"): *[0-9.e-]+'
        path.write_text(re.sub(pattern, lambda found: f"{found[1]}: {number}", good), "utf-8")
        assert json.loads(json.dumps(audit(run).to_json(), allow_nan=False))["verdict"] == "fail"
        path.write_text(good, "utf-8")


NAMES = (
    "plan.toml",
    "roster.toml",
    "receipts.jsonl",
    "report.json",
    "params.safetensors",
    "journals/ash.sqlite",
)


def told(run: Path, *ledgers: Path) -> set[str]:
    """The critical findings of an audit that people can read; of no run folder, what the refusal says."""
    try:
        found = audit(run, ledgers)
    except UnusableFile as error:
        return {error.message}
    json.dumps(found.to_json(), allow_nan=False)
    render(found).encode()
    "\n".join(audit_lines(found)).encode()
    return ids(found, "critical")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_regular_file_is_a_finding(run: Path, name: str) -> None:
    """A pipe or a device would be read for ever."""
    path = run / name
    good = path.read_bytes()

    def put(kind: str) -> None:
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "empty":
            path.touch()
        else:
            path.symlink_to({"loop": path, "nowhere": run / "nowhere", "device": Path("/dev/zero")}[kind])

    for kind in ("folder", "pipe", "empty", "loop", "nowhere", "device"):
        put(kind)
        assert told(run), kind
        if kind == "folder":
            path.rmdir()
            path.touch()
    path.unlink()
    path.write_bytes(good)
    assert not told(run)


def test_a_link_to_a_whole_file_is_that_file(run: Path) -> None:
    for name in NAMES:
        (run / name).rename(run.parent / Path(name).name)
        (run / name).symlink_to(run.parent / Path(name).name)
    assert not told(run)


def test_a_pipe_beside_a_ledger_is_not_read(run: Path) -> None:
    os.mkfifo(run / "journals" / "ash.sqlite-wal")
    assert "ledger-unreadable" in told(run)


@pytest.mark.parametrize("name", ["receipts.jsonl", "report.json"])
@pytest.mark.parametrize(
    "bad",
    [
        b"\xef\xbb\xbf",  # a byte order mark
        b"\xff\xfe",
        b"\x00",
        b'{"run": "\\ud800"}\n',
        b"[" * 100_000 + b"\n",
        b'{"a":' * 500 + b"1" + b"}" * 500 + b"\n",
        b"null\n",
        b"[]\n",
        b'"text"\n',
        b"1e400\n",
    ],
)
def test_what_only_some_readers_read_is_a_finding(run: Path, name: str, bad: bytes) -> None:
    path = run / name
    path.write_bytes(bad + path.read_bytes())
    assert told(run)


def test_a_name_that_stands_twice_is_a_finding(run: Path) -> None:
    """Readers differ about which of the two they believe."""
    report = (run / "report.json").read_text("utf-8")
    (run / "report.json").write_text(
        report.replace('"simulated"', '"simulated": false, "simulated"', 1), "utf-8"
    )
    assert "report-unreadable" in told(run)
    text = (run / "receipts.jsonl").read_text("utf-8")
    (run / "receipts.jsonl").write_text(text.replace('"round"', '"round": 9, "round"', 1), "utf-8")
    assert "receipt-invalid" in told(run)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run", 7),
        ("plan", None),
        ("round", 0),
        ("round", 1.5),
        ("round", True),
        ("round", 2**60),
        ("attempts", 0),
        ("cohort", "ash"),
        ("cohort", ["birch", "ash", "cedar"]),
        ("cohort", ["ash", "ash", "cedar"]),
        ("cohort", ["", "ash", "birch"]),
        ("cohort", ["ash", "birch", "c" * 10_000]),
        ("survivors", {"ash": 1}),
        ("seconds", -1),
        ("seconds", "1"),
        ("params_before", "XY" * 32),
        ("params_after", "00"),
        ("heads", []),
        ("heads", {"ash": {}}),
        ("metrics", []),
        ("bytes_up", None),
        ("more", 1),
    ],
)
def test_a_line_of_another_form_is_no_receipt(run: Path, field: str, value: object) -> None:
    with receipts(run) as lines:
        lines[1][field] = value
    assert "receipt-invalid" in told(run)


@pytest.mark.parametrize("closed", [False, 1, "true", {}, None])
def test_an_end_that_is_not_true_is_no_end(run: Path, closed: object) -> None:
    with receipts(run) as lines:
        lines[-1]["closed"] = closed
    assert {"receipt-invalid", "closing-missing"} <= told(run)


def test_a_head_under_the_name_of_another_site_is_no_receipt(run: Path) -> None:
    with receipts(run) as lines:
        heads = lines[1]["heads"]
        heads["ash"], heads["birch"] = heads["birch"], heads["ash"]
    assert "receipt-invalid" in told(run)


def test_names_that_are_no_text_are_told_as_far_as_they_can_be_shown(run: Path) -> None:
    strange = os.fsdecode(b"\xff\x1b[2J.sqlite")
    (run / "journals" / strange).write_bytes(b"")
    assert "ledger-unreadable" in told(run)
    copyfile(journal(run, "ash"), run / "journals" / strange)
    assert "ledger-swapped" in told(run)


def test_a_line_of_fifty_megabytes_ends_in_a_finding(run: Path) -> None:
    """Of a receipt, of a report, and of an exported ledger."""
    long = "x" * 50_000_000
    with (run / "receipts.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"run": long}) + "\n")
    exported = run.parent / "ash.jsonl"
    exported.write_text(long, "utf-8")
    assert {"receipt-invalid", "ledger-unreadable"} <= told(run, exported)
    assert all(len(finding.detail) < 500 for finding in audit(run).findings)


@pytest.mark.parametrize("cut", [1, 400, -30])
def test_an_export_that_was_cut_off_within_a_line_is_none(run: Path, cut: int) -> None:
    exported = run.parent / "ash.jsonl"
    exported.write_text(export_lines(load_entries(journal(run, "ash")))[:cut], "utf-8")
    journal(run, "ash").unlink()
    assert {"ledger-unreadable", "ledger-missing-in-simulation"} <= told(run, exported)


@pytest.mark.parametrize("left", [1, 6, -1])
def test_an_export_that_was_cut_off_between_two_lines_is_too_short(run: Path, left: int) -> None:
    exported = run.parent / "ash.jsonl"
    exported.write_text(export_lines(load_entries(journal(run, "ash"))[:left]), "utf-8")
    journal(run, "ash").unlink()
    assert "ledger-truncated" in told(run, exported)


@pytest.mark.parametrize("change", ["\ufeff{}", "{}\n", "{} ", " {}", "{}\r\n", "{}\n{}"])
def test_an_export_is_canonical_to_the_letter(run: Path, change: str) -> None:
    exported = run.parent / "ash.jsonl"
    text = export_lines(load_entries(journal(run, "ash")))
    journal(run, "ash").unlink()
    exported.write_text(change.replace("{}", text), "utf-8")
    assert "ledger-unreadable" in told(run, exported)


@pytest.mark.parametrize("number", ["NaN", "1e999", "9" * 400, '"0x1p3"', "-1", "true"])
def test_numbers_of_a_ledger_that_are_none_end_in_a_finding(run: Path, number: str) -> None:
    statement = "UPDATE entries SET body = replace(body, '\"count\":4', ?) WHERE kind = 'reserve'"
    meddled(journal(run, "ash"), statement, (f'"count":{number}',))
    assert told(run) & {"ledger-unreadable", "ledger-broken"}


def test_a_ledger_whose_numbers_are_signed_though_they_are_none_is_a_finding(run: Path) -> None:
    """A site that cheats signs whatever it likes: what is signed is read as strictly."""
    signed = steps_of(run, "ash")
    numbers: list[Any] = [0, -3, 2**53 - 1, 1e300, "4", None, True, [], {"a": 1}]
    for number in numbers:
        for name in ("noise_multiplier", "sample_rate", "count"):

            def change(body: dict[str, Any], name: str = name, number: Any = number) -> dict[str, Any]:
                return {"charge": {**body["charge"], "event": {**body["charge"]["event"], name: number}}}

            rewritten(run, "ash", changed(signed, "reserve", change))
            assert told(run) & {"ledger-history", "charge-mismatch"}, (name, number)
