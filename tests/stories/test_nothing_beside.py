"""After a real run no file that leaves a site holds a figure computed on records outside a charged release (DP-68).

Two runs as `serve` and `join` make them, of the same plan, sites and public sizes, and of other records: other
labels, other values, twice as many. What is charged and released is held fixed: each site trains, judges its own,
and then gives zeros, with the same noise. Whatever else of a run followed from the records, a figure of theirs, a
count, a clock, a length, would now be the only difference. Left out of the comparison, by name, is what is drawn
anew in every run (keys, ids, heads) and what a clock says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clients.training.work import SiteWork, site_stream
from federation.audit.examine import audit
from federation.papers.facts import facts_of
from federation.papers.writing import PAPERS
from federation.plan.plan import Plan
from federation.report.page import render
from federation.report.report import Report
from federation.report.said.section import section_of
from federation.round.messages import Frame
from federation.round.transport import Arrival, Outgoing
from privacy.mechanism.noise import Stream
from privacy.wire import digest
from simulations.world import InProcess
from tests.federation.audit import audited
from tests.federation.audit.audited import SITES, served
from tests.worlds import rows_of, text_of

TEXT = text_of(
    {"evaluation.epsilon": 5.0, "evaluation.bins": 4, "evaluation.groups": ["ward"], "dropouts": 0},
    noise="distributed", rounds=1, epsilon=3.0, sample_rate=0.5,
)  # fmt: skip
ANEW = {"run", "finished", "signers", "heads", "params", "params_before", "params_after", "transcript"}
CLOCKS = {"seconds", "total_seconds", "training_seconds", "client_rounds_per_second"}
BY_NAME = {"plan.toml", "params.safetensors", "report.json", "report.html", "receipts.jsonl"}
SIGNED = {
    "roster.toml",
    "consents.jsonl",
    "rounds",
}  # keys, ids and masked vectors, of a length that is the plan's


def others(site: int, count: int) -> list[list[str]]:
    """Twice as many records, of other values, nearly all of them of one class."""
    return [
        [str(90 - number % 50), "0.5", "abc"[number % 2], "yes" if number % 19 else "no"]
        for number in range(2 * count)
    ]


class Told(InProcess):
    """Keeps what each site sends: the kind of every reply and its length."""

    sent: list[tuple[str, str, int]]

    def send(self, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            reply = self._sites[message.to](message.data)
            self.sent.append((message.to, Frame.from_bytes(reply).kind.name, len(reply)))
            self._arrivals.append(Arrival(message.to, reply))


def same_noise(plan: Plan, site: str, round_number: int) -> Stream:
    """The noise of a site in a round, whatever its records. Never outside of a test."""
    return Stream(digest("test/same-noise", f"{site}/{round_number}".encode()))


def zeros(of: Any) -> Any:
    """Does the work, and gives nothing of it."""

    def worked(work: SiteWork, *given: Any) -> Tensor:
        found: Tensor = of(work, *given)
        assert bool(torch.isfinite(found).all())
        worked.lengths.append(float(found.norm()))  # type: ignore[attr-defined]
        return torch.zeros_like(found)

    worked.lengths = []  # type: ignore[attr-defined]
    return worked


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[Path, list[tuple[str, str, int]], list[float]]]:
    """Folder, replies, and how long what each site worked out was, of either run."""
    found = []
    for name, rows in (("one", rows_of), ("other", others)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(audited, "rows_of", rows)
            patch.setattr("clients.join.site_stream", same_noise)
            lengths: list[float] = []
            for method in ("clipped_gradients", "figures"):
                wrapped = zeros(getattr(SiteWork, method))
                wrapped.lengths = lengths
                patch.setattr(SiteWork, method, wrapped)
            sent: list[tuple[str, str, int]] = []
            carrier = type("Carrier", (Told,), {"sent": sent})
            run = served(tmp_path_factory.mktemp(name), TEXT, carrier)
            found.append((run, sent, lengths))
    return found


def known(content: Any) -> Any:
    """What a run tells, without what is drawn anew and without clocks."""
    if isinstance(content, dict):
        kept = {name: known(value) for name, value in content.items() if name not in ANEW | CLOCKS}
        return {name.replace("\\", "/"): value for name, value in kept.items()}
    return [known(one) for one in content] if isinstance(content, list) else content


def test_the_records_of_both_runs_are_not_alike_and_what_is_released_is(both: Any) -> None:
    (one, _, lengths), (other, _, theirs) = both
    assert lengths and all(lengths) and lengths != theirs, "both runs worked on their records"
    assert (one / "params.safetensors").read_bytes()[-64:] == (other / "params.safetensors").read_bytes()[
        -64:
    ]
    assert site_stream is not same_noise


def test_every_file_of_a_run_is_compared_here(both: Any) -> None:
    for run, _, _ in both:
        assert {path.name for path in run.iterdir()} == BY_NAME | SIGNED


def test_no_file_of_the_coordinator_tells_more_than_what_was_released(both: Any) -> None:
    (one, *_), (other, *_) = both
    report, another = (json.loads((run / "report.json").read_text("utf-8")) for run in (one, other))
    assert known(report) == known(another)
    assert report["evaluation"]["published"] is not None
    receipts, others_ = (
        [known(json.loads(line)) for line in (run / "receipts.jsonl").read_text("utf-8").splitlines()]
        for run in (one, other)
    )
    assert receipts == others_
    for name in SIGNED:
        lengths = [_length(run / name) for run in (one, other)]
        assert lengths[0] == pytest.approx(lengths[1], rel=0.02), (
            name
        )  # numbers of a signature vary in length


def _length(path: Path) -> int:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def test_no_page_and_no_paper_tells_more(both: Any) -> None:
    pages, papers = [], []
    for run, _, _ in both:
        told = known(json.loads((run / "report.json").read_text("utf-8")))
        shown = {
            **told,
            "timing": {"total_seconds": 1.0, "training_seconds": 1.0, "client_rounds_per_second": 1.0},
        }
        shown["rounds"] = [{**line, "seconds": 1.0} for line in told["rounds"]]
        shown.pop("made")
        section = section_of(run)
        assert section is not None
        pages.append(render(Report.from_json(shown), section=section))
        found = audit(run)
        assert not [one for one in found.findings if one.severity == "critical"]
        papers.append({name: _plain(text) for name, text in _papers(run, found).items()})
    assert pages[0] == pages[1]
    assert papers[0] == papers[1]
    assert papers[0]


def _papers(run: Path, found: Any) -> dict[str, str]:
    facts = facts_of(run, found)
    return {name: make(facts) for name, make in PAPERS.items()}


def _plain(text: str) -> str:
    """Without digests, dates and times."""
    return re.sub(r"[0-9a-f]{16,}|\d{4}-\d\d-\d\d(T[\d:]+Z?)?|\d+\.\d+ s\b", "", text)


def test_what_a_site_sends_has_the_same_kinds_and_lengths(both: Any) -> None:
    (_, sent, _), (_, theirs, _) = both
    assert {site for site, _, _ in sent} == set(SITES)
    assert [one[:2] for one in sent] == [one[:2] for one in theirs]
    assert [one[2] for one in sent] == pytest.approx([one[2] for one in theirs], abs=32)
