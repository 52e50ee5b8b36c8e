"""What left a site: the page has each message that its ledger has, and nothing that it has not."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from clients.approvals import open_journal
from clients.policy import load_site
from federation.ledger.export import export_lines, load_entries
from federation.papers.left.facts import left
from federation.papers.left.page import render
from privacy.ledger.chain import Genesis, append
from privacy.secagg.ring import packed_size
from tests.clients.sites import RUN, identity, make_terms
from tests.federation.audit.audited import TEXT, finished
from tests.federation.cli.test_ledger import PLAN, take_part, write_site
from tests.federation.command import Command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Berlin after a round of a run of four."""
    folder = tmp_path_factory.mktemp("left")
    path = write_site(folder)
    (folder / "plan.toml").write_text(f'{PLAN.to_toml()}\n[purpose]\nuse = "help <all> patients"\n')
    take_part(folder)
    return path


def rows(page: str) -> list[list[str]]:
    body = re.findall(r"<tr><th scope=\"row\">(\d+)</th>(.*?)</tr>", page)
    return [[number, *re.findall(r">([^<]*)</td>", cells)] for number, cells in body]


def test_each_message_has_its_time_its_bytes_and_its_epsilon(site: Path) -> None:
    found = left(load_entries(site.parent / "journal.sqlite"))
    (study,) = found.studies
    (release,) = study.releases
    terms = make_terms(PLAN)
    assert release.size == packed_size(terms.length, terms.codec.ring_bits)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", release.at)
    assert (study.name, study.plan, release.attempts, release.opened) == (RUN.hex(), PLAN.digest, 1, True)
    assert release.epsilon is not None
    assert study.epsilon is not None
    assert 0 < release.epsilon < study.epsilon, "one round of four"
    page = render(load_entries(site.parent / "journal.sqlite"))
    (row,) = rows(page)
    assert row[:1] == ["1"]
    assert row[2:5] == [f"{release.size} B", "1", "yes"]
    assert found.statement["head"] in page


def test_of_more_rounds_epsilon_never_falls_and_the_last_is_what_the_rounds_cost(tmp_path: Path) -> None:
    run = finished(tmp_path, "vectorized", TEXT)
    found = left(load_entries(run / "journals" / "ash.sqlite"))
    (study,) = found.studies
    told = [release.epsilon for release in study.releases]
    assert len(told) == 4
    assert told == sorted(told, key=lambda epsilon: epsilon or 0)
    assert told[-1] == pytest.approx(study.epsilon, rel=1e-6)
    assert "simulated" in render(load_entries(run / "journals" / "ash.sqlite"))


def test_the_page_is_made_of_an_export_as_well_and_names_plans_for_the_site_alone(
    command: Command, site: Path, tmp_path: Path
) -> None:
    own, other = tmp_path / "own.html", tmp_path / "other.html"
    assert command("ledger", "page", site, "--out", own).code == 0
    export = tmp_path / "berlin.jsonl"
    export.write_text(export_lines(load_entries(site.parent / "journal.sqlite")))
    assert command("ledger", "page", export, "--out", other).code == 0
    assert rows(own.read_text()) == rows(other.read_text())
    assert "<script" not in own.read_text()
    assert "http" not in re.sub(r"xmlns[:\w]*=\"[^\"]*\"", "", other.read_text()), "it loads nothing"


def test_earlier_ledgers_say_neither_time_nor_bytes(site: Path) -> None:
    """As they were written before: the same entries without those fields."""
    key, chain = identity("berlin"), []
    for entry in load_entries(site.parent / "journal.sqlite"):
        body = {name: value for name, value in entry.body.items() if name not in ("at", "bytes")}
        chain.append(append(chain[-1] if chain else None, entry.kind, body, key))
    (study,) = left(chain).studies
    assert [(release.at, release.size, release.sent) for release in study.releases] == [("", None, True)]
    assert rows(render(chain))[0][1:3] == ["n/a", "n/a"]


def test_a_ledger_without_its_end_is_not_said_to_be_whole(site: Path) -> None:
    """The entries that are left verify: only who saw more of them can tell."""
    page = render(load_entries(site.parent / "journal.sqlite")[:-2])
    assert "nothing can have been taken out" not in page
    assert "Whether entries after it are missing this page cannot tell" in page


def test_names_of_others_make_no_markup() -> None:
    key = identity("berlin")
    first = Genesis(
        "berlin", "<script>alert(1)</script>", bytes(32), key.public_key().public_bytes_raw(), (), False
    )
    page = render([append(None, "genesis", first.to_json(), key)])
    assert "<script>" not in page
    assert "Nothing left this site." in page


@pytest.mark.parametrize("at", ["2026-11-29", "now", "2026-11-29T10:31:05Z", "\u0662026-11-29T10:31Z", ""])
def test_a_ledger_that_tells_no_minute_is_refused(site: Path, at: str) -> None:
    from privacy.errors import LedgerCorrupt

    key, chain = identity("berlin"), []
    for entry in load_entries(site.parent / "journal.sqlite"):
        body = {**entry.body, "at": at} if entry.kind == "begin" else entry.body
        chain.append(append(chain[-1] if chain else None, entry.kind, body, key))
    with pytest.raises(LedgerCorrupt):
        left(chain)


def test_a_ledger_that_was_edited_has_no_page(command: Command, site: Path, tmp_path: Path) -> None:
    export = tmp_path / "berlin.jsonl"
    export.write_text(export_lines(load_entries(site.parent / "journal.sqlite")).replace("berlin", "bertin"))
    done = command("ledger", "page", export, "--out", tmp_path / "x.html")
    assert done.code == 3
    assert not (tmp_path / "x.html").exists()


def test_the_time_is_the_site_s_clock_and_a_simulation_has_none(site: Path, tmp_path: Path) -> None:
    with closing(open_journal(load_site(site))) as journal:
        begun = [entry.body for entry in journal.entries() if entry.kind == "begin"]
    assert all("at" in body for body in begun)
    run = finished(tmp_path, "protocol", TEXT.replace("rounds = 4", "rounds = 1"))
    entries = load_entries(run / "journals" / "ash.sqlite")
    assert not any(name in entry.body for entry in entries for name in ("at", "bytes"))
