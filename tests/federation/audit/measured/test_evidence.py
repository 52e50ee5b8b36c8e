"""Measurements that an audit takes up: of this plan, by the key that the roster has; any other is a finding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.bundle.opening import unpacked
from federation.audit.examine import audit
from federation.audit.measured.record import Measurement
from federation.audit.page import audit_lines, render
from federation.errors import UnusableFile
from federation.papers.bundled import pack_run
from federation.plan.plan import parse
from tests.federation.audit.audited import TEXT, ids, ids_at, key_of
from tests.federation.audit.measured.made import figures_of

PLAN = parse(TEXT)
UNSIGNED = Measurement(PLAN.digest, "birch", "2026-11-29T10:00:00Z", "1.2", figures_of(PLAN))


def written(folder: Path, one: Measurement) -> Path:
    path = folder / "birch.json"
    path.write_text(one.to_text(), "utf-8")
    return path


def test_a_measurement_is_shown_as_what_it_is(protocol: Path, tmp_path: Path) -> None:
    path = written(tmp_path, UNSIGNED.signed(key_of(protocol, "birch")))
    found, plain = audit(protocol, [], [path]), audit(protocol)
    assert (found.verdict, ids(found)) == (plain.verdict, ids(plain))
    (told,) = found.to_json()["measured"]
    assert (told["site"], told["verdict"], told["made_up_records"]) == ("birch", "pass", True)
    assert plain.to_json()["measured"] == []
    lines, page = "\n".join(audit_lines(found)), render(found)
    for text in (lines, page):
        assert "a pass is not evidence of epsilon" in text and "on made-up records" in text
    assert "measured    birch: pass: noise multiplier" in lines
    assert "federation rehearse" in "\n".join(found.not_checked)


def test_one_that_falsifies_fails_the_audit(protocol: Path, tmp_path: Path) -> None:
    bad = replace(UNSIGNED, figures=figures_of(PLAN, squares=1.0)).signed(key_of(protocol, "birch"))
    found = audit(protocol, [], [written(tmp_path, bad)])
    assert "mechanism-falsified" in ids_at(found, "birch") and found.verdict == "fail"
    assert "FALSIFIED" in "\n".join(audit_lines(found))


@pytest.mark.parametrize("fault", ["key", "site", "plan", "edited", "form", "huge"])
def test_one_that_is_no_evidence_is_a_finding(protocol: Path, tmp_path: Path, fault: str) -> None:
    key = Ed25519PrivateKey.generate() if fault == "key" else key_of(protocol, "birch")
    changes = {"site": {"site": "elm"}, "plan": {"plan": "sha256:" + "0" * 64}}.get(fault, {})
    changes |= {"figures": figures_of(PLAN, squares=1e10, rounding=1e9)} if fault == "huge" else {}
    path = written(tmp_path, replace(UNSIGNED, **changes).signed(key))  # type: ignore[arg-type]
    if fault == "edited":
        path.write_text(path.read_text("utf-8").replace('"rounds":4', '"rounds":5'), "utf-8")
    if fault == "form":
        path.write_text(" " + path.read_text("utf-8"), "utf-8")
    found = audit(protocol, [], [path])
    wanted = "mechanism-falsified" if fault == "huge" else "measurement-invalid"
    assert wanted in ids(found) and found.verdict == "fail"


def test_a_bundle_holds_what_was_handed_in(protocol: Path, tmp_path: Path) -> None:
    path = written(tmp_path, UNSIGNED.signed(key_of(protocol, "birch")))
    found, out = audit(protocol, [], [path]), tmp_path / "run.zip"
    pack_run(protocol, [], found, out, Ed25519PrivateKey.generate(), [path])
    with unpacked(out) as opened:
        assert [one.read_bytes() for one in opened.measured] == [path.read_bytes()]
        again = audit(opened.folder, opened.ledgers, opened.measured)
    assert again.to_json()["measured"] == found.to_json()["measured"]


def test_a_file_that_is_not_there_ends_the_audit_before_it_begins(protocol: Path, tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="there is no such measurement"):
        audit(protocol, [], [tmp_path / "missing.json"])


def test_a_record_survives_its_own_text_and_no_other() -> None:
    one = UNSIGNED.signed(Ed25519PrivateKey.generate())
    again = Measurement.from_text(one.to_text())
    assert again == one and again.is_signed
    assert not replace(one, when="2026-11-30T10:00:00Z").is_signed
    for text in (one.to_text() + "\n", one.to_text()[:-3], "{}", one.to_text().replace("/1", "/2")):
        with pytest.raises(ValueError, match=r"is no|lacks"):
            Measurement.from_text(text)
