"""A run folder: plan.toml, roster.toml, checkpoint/, receipts.jsonl and, at the end, params.safetensors.

Opening a folder that already holds a run resumes it; the plan must be the same to the digest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from federation.errors import CheckpointError, OtherRun, SumRefused
from federation.files import alone_in, kept, replace_file
from federation.identity.roster_file import load_roster, write_roster
from federation.ledger.store import stable_entries
from federation.model.base import trained
from federation.model.params import Layout, params_bytes, params_digest
from federation.plan.plan import Plan, parse
from federation.report.deleting import RECORD, is_forgotten
from federation.report.files import read_report
from federation.report.receipt import Receipt
from federation.report.report import Metrics, Report, UnlikelySum
from federation.report.report import Transcripts as Kept
from federation.round.plays import folds_in, fresh_run
from federation.sums.engines import option
from federation.sums.state import ServerState, begin
from federation.sums.transcript.record import digest_of, path_of
from federation.sums.transcript.replay import done
from federation.sums.transcript.sizes import left_out
from privacy.ledger.heads import Head, head_from_json
from privacy.roster import SignedRoster
from privacy.suite import SUITE
from server import checkpoint
from server.attendance.faults import Faults
from server.evaluation import Evaluated
from server.playing import RESERVED
from server.transcripts import Transcripts, clean

_MAY_STAND = {"plan.toml.new", "link", "rehearsals"}
"""What lies in a folder before there is a run: of a killed process, of the SuperLink, of rehearsals."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path
    plan: Plan

    @classmethod
    def open(cls, path: Path, plan: Plan, text: str) -> RunFolder:
        """Claim `path` for `plan`, with the TOML `text`, or resume the run that it holds."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            stored = path / "plan.toml"
            if not stored.exists():
                if {entry.name for entry in path.iterdir()} - _MAY_STAND:
                    raise OtherRun(f"{path} is not empty and holds no run", hint="name a new folder")
                replace_file(stored, text.encode())
            elif parse(stored.read_text("utf-8"), stored).digest != plan.digest:
                raise OtherRun(f"{path} holds a run of another plan or seed", hint="name a new folder")
        except OSError as error:
            message = f"{path} cannot be written: {error.strerror}"
            is_wrong = isinstance(error, FileExistsError | NotADirectoryError)  # a file was named
            raise (OtherRun if is_wrong else CheckpointError)(message, hint="name another folder") from None
        folder = cls(path, plan)
        if is_forgotten(path) and not folder.is_finished:
            message = f"{path} held a run of which something was deleted on purpose ({RECORD})"
            raise OtherRun(message, hint="it goes on no more; name a new folder")
        return folder

    def at(self, path: Path) -> RunFolder:
        """Another folder of the same plan, which nobody may have claimed yet."""
        return replace(self, path=path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only process at work in this folder; CheckpointError while another one is."""
        with alone_in(self.path):
            yield

    def finished(self, engine: str, *, simulated: bool) -> Report | None:
        """The report of the run in this folder, or None while there is more to do.

        CheckpointError if the run is over, but was carried by another engine, or was a simulation and this is not;
        or if an earlier version finished it, and told less than it cost.
        """
        if not self.is_finished:
            return None
        report = read_report(self.path)
        if report.simulated is not simulated:
            kind = "a simulation" if report.simulated else "a real run"
            raise OtherRun(f"{self.path} holds {kind}, finished", hint="name another folder")
        if report.engine != engine:
            message = f"{self.path} holds this run, finished by engine {report.engine}, not {engine}"
            raise OtherRun(message, hint=f"name another folder, or give {option(report.engine)} to read it")
        if self.plan.figures is not None and report.privacy.together is None:
            message = (
                f"{self.path} was finished by an earlier version, which told epsilon of the training alone"
            )
            raise CheckpointError(
                message, hint="name another folder; federation audit RUN tells what both cost"
            )
        return report

    def state(self, params: Tensor, run: bytes = b"") -> ServerState:
        """Where the run stands; at the beginning, that is `params` and this run id, or a fresh one."""
        stored = checkpoint.read(self.path / "checkpoint", self.plan)
        if stored is None:
            stored = begin(self.plan, run or fresh_run(self.plan), params)
        else:
            if run and stored.run != run:
                message = f"{self.path} holds a part of another run"
                raise CheckpointError(
                    message, hint="put the whole folder back as it was, or name another one"
                )
            stored = self._caught_up(stored)
            # Attempts that a killed process may have begun are skipped: an attempt's number is never used twice.
            stored = replace(stored, attempt=stored.attempt + RESERVED)
        clean(self.path, self._transcripts())
        with kept(self.path / "checkpoint") as folder:
            checkpoint.write(folder, self.plan, stored)
        return stored

    def transcripts(self, roster: SignedRoster, dimension: int) -> Transcripts | None:
        """Where the rounds of this run are kept; None where the plan, or their size, leaves them out."""
        return None if self._left_out(roster, dimension) else Transcripts(self.path, roster)

    def kept(self, roster: SignedRoster, dimension: int, unmasked: str = "") -> Kept:
        """What the report says of transcripts. `unmasked`: why nothing was signed that one could hold."""
        return Kept(
            kept=len(self._transcripts()), left_out=unmasked or self._left_out(roster, dimension) or None
        )

    def _left_out(self, roster: SignedRoster, dimension: int) -> str:
        sizes = [entry.size for entry in roster.read().entries]
        return left_out(self.plan, sizes, dimension)

    def _transcripts(self) -> dict[int, str]:
        """The digests of transcripts on record, by round; if a round has two receipts, the last one counts."""
        last = self.plan.federation.rounds + 1
        lines = (entry for entry in self._lines() if "round" in entry or "evaluation" in entry)
        found = {entry.get("round", last): entry.get("transcript") for entry in lines}
        return {number: digest for number, digest in found.items() if isinstance(digest, str)}

    def _caught_up(self, state: ServerState) -> ServerState:
        """The state after a round whose receipt was written and whose state was not: the round is not played twice.

        Played again, it would replace the transcript under the digest of its receipt.
        """
        number = state.round + 1
        path, digest = path_of(self.path, number), self._transcripts().get(number)
        receipt = next((one for one in self.receipts() if one.round == number), None)
        if receipt is not None and receipt.is_lost:
            return replace(state, round=number)
        if digest is None or receipt is None or not path.exists() or digest_of(path) != digest:
            return state
        after = done(self.plan, state, path, receipt.survivors)
        return after if params_digest(params_bytes(after.sent)).hex() == receipt.params_after else state

    def require_whole(
        self, journals: Mapping[str, Path] = MappingProxyType({}), accounts: Path | None = None
    ) -> None:
        """CheckpointError if rounds are left, and what the finished ones left behind is gone.

        Nothing could show any more that these were charged, so nothing more is charged for such a run; and a run
        without its state would begin, and be charged, a second time. `journals`: those of its sites that lie on
        this machine. `accounts`: of the sites that have none, of whose rounds receipts tell before a state does.
        """
        state = checkpoint.read(self.path / "checkpoint", self.plan)
        if state is None:
            self._require_unbegun(accounts)
            return
        told = {receipt.round for receipt in self.receipts()}
        done = state.round if accounts is None else max(state.round, *told, 0)
        if not 0 < done < self.plan.federation.rounds:
            return
        places = [path for _, path in sorted(journals.items())] + ([] if accounts is None else [accounts])
        lost = [path for path in places if not path.exists()]
        if not told >= set(range(1, done + 1)):
            lost.append(self.path / "receipts.jsonl")
        lost += [
            path
            for number in sorted(self._transcripts())
            if not (path := path_of(self.path, number)).exists()
        ]
        if lost:
            message = f"{lost[0]} is gone, or lacks some of the {done} rounds that are done"
            raise CheckpointError(message, hint="put it back as it was, or start again in another folder")

    def _require_unbegun(self, accounts: Path | None) -> None:
        """No file tells of a run that was begun here. The state is written before anything is charged."""
        own = sorted((self.path / "journals").glob("*.sqlite"))
        left = [
            path for path in [self.path / "receipts.jsonl", accounts] if path is not None and path.exists()
        ]
        left += [path for fold in folds_in(self.path) if (path := fold / "receipts.jsonl").exists()]
        left += [path for path in own if any(entry.kind == "reserve" for entry in stable_entries(path))]
        if left:
            is_over = (self.path / "report.json").exists()
            lost = (
                self.path / "params.safetensors" if is_over else checkpoint.path_of(self.path / "checkpoint")
            )
            message = f"{lost} is gone, and {left[0].name} tells of a run that was begun here"
            raise CheckpointError(message, hint="put it back as it was, or start again in another folder")

    def store(
        self, state: ServerState, receipt: Receipt, metrics: Metrics, *, accounted: bool = False
    ) -> None:
        """Make a finished round durable: its receipt, then the state.

        Killed in between, the state follows from the round's transcript. Without one the round is played again, and
        its receipt written again; the last one counts. `accounted`: an account of the run holds both already.
        """
        self.tell(state.run, receipt, metrics, durable=not accounted)
        if accounted:
            return
        with kept(self.path / "checkpoint") as folder:
            checkpoint.write(folder, self.plan, state)

    def tell(self, run: bytes, receipt: Receipt, metrics: Metrics, *, durable: bool = True) -> None:
        """Write the receipt of a round. Not `durable`: where it follows from another file that is."""
        told = receipt.model_dump(mode="json", exclude_none=True)
        self._append(run, told | {"metrics": dict(metrics)}, durable=durable)

    def take_up(self, state: bytes) -> None:
        """Go on from this state, as a checkpoint has it."""
        with kept(self.path / "checkpoint") as folder:
            replace_file(checkpoint.path_of(folder), state)

    def store_evaluation(self, run: bytes, done: Evaluated) -> None:
        """Make the published figures durable: they are drawn once, and never again."""
        content = {"evaluation": dict(done.figures), "cohort": done.cohort, "survivors": done.survivors}
        content |= {"excess_left": done.excess_left}
        shown = {} if done.transcript is None else {"transcript": done.transcript}
        odd = {} if done.unlikely is None else {"unlikely": asdict(done.unlikely)}
        self._append(run, {**content, **odd, **shown, "heads": _in_json(done.heads)})

    def unlikely_evaluation(self) -> UnlikelySum | None:
        """What is odd about the sums of the evaluation on record, or None."""
        odd = self._evaluation.get("unlikely")
        return None if odd is None else UnlikelySum.from_json(odd)

    @contextmanager
    def keeping_refusal(self, state: ServerState) -> Iterator[None]:
        """Within the context a refused sum is put on record before it ends the run. `state`: any of this run."""
        try:
            yield
        except SumRefused as error:
            shown = {} if error.transcript is None else {"transcript": error.transcript}
            told = {"refused": error.round, "check": error.check, "ratio": error.ratio}
            self._append(state.run, told | shown)
            raise

    def require_accepted(self) -> None:
        """SumRefused if a sum of this run was refused: it is over, and that sum is not opened to be judged again.

        Under central noise that would be another release of it, with other noise.
        """
        for entry in self._lines():
            if "refused" in entry:
                raise SumRefused(int(entry["refused"]), str(entry["check"]), float(entry["ratio"]))

    def evaluation(self) -> Mapping[str, Any] | None:
        """The published figures on record, or None."""
        return self._evaluation.get("evaluation")

    def evaluated(self) -> tuple[str, ...] | None:
        """The sites that were invited to the evaluation, or None while there is none on record."""
        cohort = self._evaluation.get("cohort")
        return None if cohort is None else tuple(cohort)

    @property
    def _evaluation(self) -> dict[str, Any]:
        """The first line of an evaluation, which is drawn once; empty while there is none."""
        return next((entry for entry in self._lines() if "evaluation" in entry), {})

    def store_closing(self, state: ServerState, heads: Mapping[str, Head]) -> None:
        """Make the end of a run durable: its model, and the heads of the sites' ledgers after it."""
        params = params_digest(params_bytes(state.model)).hex()
        self._append(state.run, {"closed": True, "params": params, "heads": _in_json(heads)})

    def store_consents(self, run: bytes, consents: Mapping[str, bytes]) -> None:
        """Keep what the sites signed when they joined, once more when they join anew."""
        path = self.path / "consents.jsonl"
        known = path.read_text("utf-8").splitlines() if path.exists() else []
        for site, consent in sorted(consents.items()):
            line = {"run": run.hex(), "site": site, "suite": SUITE, "welcome": consent.hex()}
            known.append(json.dumps(line, sort_keys=True))
        with kept(path):
            replace_file(path, "".join(f"{line}\n" for line in known).encode())

    def _append(self, run: bytes, content: dict[str, Any], *, durable: bool = True) -> None:
        place = {"run": run.hex(), "plan": self.plan.digest, "suite": SUITE}
        line = json.dumps({**place, **content}, sort_keys=True).encode()
        path = self.path / "receipts.jsonl"
        with kept(path), path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            torn = end > 0 and file.read(1) != b"\n"  # a killed process's last line
            file.write(b"\n" * torn + line + b"\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())

    def receipts(self) -> list[Receipt]:
        """One per finished round, in order."""
        by_round = {entry["round"]: entry for entry in self._lines() if "round" in entry}
        try:
            return [Receipt.from_json(by_round[number]) for number in sorted(by_round)]
        except ValueError as error:
            reason = f"{self.path / 'receipts.jsonl'} holds no receipt as we write them, at {error}"
            raise CheckpointError(reason, hint="restore the file, or start again in another folder") from None

    def faults(self) -> Faults:
        """Who is known to be at fault, as the newest receipt says."""
        receipts = self.receipts()
        if not receipts:
            return Faults()
        last = receipts[-1]
        return Faults(dict.fromkeys(last.accused), dict.fromkeys(last.proven))

    def heads(self) -> tuple[Head, ...]:
        """Every head of a site's ledger on record, older ones first."""
        shown = (entry.get("heads", {}) for entry in self._lines())
        return tuple(head_from_json(head) for heads in shown for head in heads.values())

    def _lines(self) -> Iterator[dict[str, Any]]:
        path = self.path / "receipts.jsonl"
        if not path.exists():
            return
        for line in path.read_text("utf-8").splitlines():
            with suppress(json.JSONDecodeError):  # the last line of a killed process
                yield json.loads(line)

    def write_roster(self, roster: SignedRoster) -> None:
        """Keep the roster that the run goes by.

        Once a round is done, a later roster has no new sites, and none with another size: what the params hold was
        released without them. Sites may be gone from one of a higher serial, which revokes them: they are in no
        later cohort. A new key of a site, or a new signature, is none of our business here. Every roster that a
        site has consented under is kept. CheckpointError names the site.
        """
        path, state = self.path / "roster.toml", checkpoint.read(self.path / "checkpoint", self.plan)
        if path.exists() and state is not None and state.round > 0:
            old, new = load_roster(path), roster
            before, after = _declared(old), _declared(new)
            is_later = new.read().serial > old.read().serial
            for site in sorted(before.keys() | after.keys()):
                if before.get(site) != after.get(site) and not (is_later and site not in after):
                    what = "is new" if site not in before else "is gone" if site not in after else "differs"
                    message = (
                        f"site {site} {what} in the roster, and round {state.round} is done without that"
                    )
                    raise OtherRun(
                        message, hint="resume with the roster of this run, or start another run elsewhere"
                    )
        if path.exists() and (old := load_roster(path)).roster != roster.roster:
            with kept(self.path / "rosters") as folder:
                folder.mkdir(exist_ok=True)
                name = f"{old.read().serial}-{old.read().root.hex()[:8]}.toml"
                write_roster(folder / name, old)
        with kept(path):
            write_roster(path, roster)

    def write_params(self, model: nn.Module, params: Tensor) -> None:
        """Write the params by name; they are what the run was for."""
        Layout.of(model).load(model, params)
        tensors = {name: value.detach().contiguous() for name, value in trained(model).items()}
        metadata = {"plan": self.plan.digest, "private": str(self.plan.is_private).lower()}
        with kept(self.path / "params.safetensors") as path:
            replace_file(path, save(tensors, metadata))

    def close(self) -> None:
        """The run is over and all its files are written: what it would resume from can go."""
        checkpoint.remove(self.path / "checkpoint")

    @property
    def is_finished(self) -> bool:
        """The run in this folder is over."""
        return (self.path / "params.safetensors").exists() and not checkpoint.exists(self.path / "checkpoint")


def _declared(signed: SignedRoster) -> dict[str, tuple[str, int]]:
    """Who takes part, by site: the organization, and how many records it declares."""
    entries = signed.read().entries
    return {entry.site: (entry.organization, entry.size) for entry in entries}


def _in_json(heads: Mapping[str, Head]) -> dict[str, Any]:
    return {site: head.to_json() for site, head in sorted(heads.items())}
