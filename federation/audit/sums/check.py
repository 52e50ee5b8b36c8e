"""Checks every sum of a run against what the sites signed.

The sums come from rounds/NNNN.transcript, each under the digest in its round's receipt; what follows from them is
`federation.audit.sums.steps`. Where a run keeps no transcripts, the audit says why, and that nothing but the
server's word stands for its sums.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from federation.audit.findings import Findings
from federation.audit.outcome import Sums
from federation.audit.receipts import Evaluation, Receipt, Receipts, Refused
from federation.audit.sums.grids import grid_fault
from federation.audit.sums.steps import check_figures, check_refused, followed
from federation.audit.untrusted import is_regular
from federation.plan.plan import Plan
from federation.round.parts import by_site
from federation.sums.transcript.record import Transcript, digest_of, path_of, transcripts_of
from federation.sums.transcript.sizes import CENTRAL, left_out
from federation.sums.transcript.verify import Expected, NotVerified, Verified, verified
from privacy.errors import MalformedMessage
from privacy.roster import Roster


@dataclass(frozen=True)
class Run:
    """What the sums of a run are held against. `dimension` is the number of params, None where nothing tells it."""

    path: Path
    plan: Plan
    roster: Roster | None
    signers: Collection[bytes]
    receipts: Receipts
    dimension: int | None
    unmasked: str  # why nothing of it was signed that could be shown; "" if it was

    def left_out(self) -> str | None:
        """Why no round has a transcript; "" if each has to have one, None if nothing tells."""
        if self.unmasked or self.plan.privacy.noise == "central":
            return self.unmasked or CENTRAL
        if self.roster is None or self.dimension is None:
            return None
        return left_out(self.plan, [entry.size for entry in self.roster.entries], self.dimension)


@dataclass(frozen=True)
class _Opened:
    """A round of which a sum was opened, as the server tells it; `params` is the digest of those it began with."""

    round: int
    what: str
    line: Receipt | Evaluation | Refused
    params: str | None


def check_sums(run: Run, found: Findings) -> tuple[Sums, Tensor | None]:
    """Verify the sums, and what follows from them; what does not hold becomes a finding.

    The params that the run ends with, as they follow from all of them, are returned beside it; None where they
    cannot be followed to the end.
    """
    rounds, why = list(_rounds(run)), run.left_out()
    if run.receipts.evaluation is not None and run.receipts.evaluation.transcript is None:
        found.skip(
            "whether the figures of the evaluation are those of the sum that was opened: no file holds it"
        )
    _check_files(run, rounds, found)
    if why:
        found.skip(f"the sums of the rounds: {why}")
    elif why is None:
        found.skip(
            "whether the run should have kept transcripts of its sums: nothing tells how large they are"
        )
    if run.plan.privacy.noise == "central":
        return Sums(len(rounds), left_out=why or CENTRAL), None
    proven = {
        each.round: one for each in rounds if (one := _verify(run, each, found, is_due=why == "")) is not None
    }
    if proven and not run.plan.is_private:
        detail = "the plan adds no noise: whoever holds the transcripts has the sums in the clear"
        found.add("sums-in-the-clear", detail)
    for each in rounds:
        if each.round in proven:
            _check_left(each, proven[each.round], found)
        if isinstance(each.line, Evaluation) and each.round in proven:
            check_figures(each.line, proven[each.round], found)
        if isinstance(each.line, Refused) and each.round in proven:
            check_refused(each.line, proven[each.round], found)
    reached = followed(run.plan, run.receipts, proven, found)
    steps = reached.optimizer.steps if reached is not None else 0
    sums = Sums(len(rounds), len(proven), steps, left_out="" if proven else why or "")
    return sums, reached.model if reached is not None and reached.round == max(run.receipts.rounds) else None


def _check_left(each: _Opened, one: Verified, found: Findings) -> None:
    """The receipt names those whose excess noise is still in the sum, though the sum does not need it."""
    if isinstance(each.line, Refused):
        return
    is_due = one.terms.parameters.opened_level(len(one.survivors)) is not None
    out = by_site(one.terms, one.excess)
    left = tuple(site for site in one.survivors if is_due and site not in out)
    if (each.line.excess_left or ()) != left:
        detail = f"{each.what}: its receipt does not name the sites whose excess noise stayed in"
        found.add("receipt-contradiction", detail)


def _rounds(run: Run) -> Iterator[_Opened]:
    receipts = run.receipts
    for number, line in receipts.rounds.items():
        if line.is_lost and line.transcript is None:
            continue  # no sum was opened
        yield _Opened(number, f"round {number}", line, line.params_before)
    number = run.plan.federation.rounds + 1
    for refused in receipts.refused:
        if refused.round not in receipts.rounds:
            began = receipts.ended if refused.round == number else receipts.trained
            yield _Opened(refused.round, f"the refused sum of round {refused.round}", refused, began)
    if receipts.evaluation is not None and receipts.ended is not None:
        yield _Opened(number, "the evaluation", receipts.evaluation, receipts.ended)


def _check_files(run: Run, rounds: Collection[_Opened], found: Findings) -> None:
    """Every transcript in the folder is one that a receipt names, and none is of a sum without noise in it."""
    named = {path_of(run.path, each.round) for each in rounds if each.line.transcript is not None}
    there = transcripts_of(run.path)
    if run.plan.privacy.noise == "central":
        if there or named:
            detail = 'under noise = "central" a transcript shows a sum before its noise: delete it'
            found.add("transcript-refused", detail)
        return
    for path in there:
        if path not in named:
            found.add("transcript-unnamed", f"no receipt names rounds/{path.name}")


def _verify(run: Run, each: _Opened, found: Findings, *, is_due: bool) -> Verified | None:
    """The sum of a round, if its transcript proves it."""
    digest, path = each.line.transcript, path_of(run.path, each.round)
    if digest is None:
        if is_due:
            found.add(
                "transcript-missing",
                f"{each.what}: its receipt names no transcript, as the plan asks",
            )
        return None
    try:
        if not is_regular(path):
            found.add("transcript-missing", f"{each.what}: rounds/{path.name} is not here")
        elif digest_of(path) != digest:
            found.add(
                "transcript-altered",
                f"{each.what}: rounds/{path.name} is not what its receipt names",
            )
        else:
            return _proven(run, each, path)
    except NotVerified as error:
        found.add("sum-unproven", f"{each.what}: rounds/{path.name} does not prove the sum: {error}")
    except OSError:
        found.add("transcript-missing", f"{each.what}: rounds/{path.name} cannot be read")
    return None


def _proven(run: Run, each: _Opened, path: Path) -> Verified:
    line = each.line
    cohort, survivors = (None, None) if isinstance(line, Refused) else (line.cohort, line.survivors)
    place = run.receipts.run, each.round, cohort, survivors, each.params
    expected = Expected(*place, run.roster, run.signers)
    try:
        with Transcript.open(path) as transcript:
            found = verified(transcript, run.plan, expected)
    except MalformedMessage as error:
        raise NotVerified(error.message) from None
    if fault := grid_fault(found.terms):
        raise NotVerified(fault)
    return found
