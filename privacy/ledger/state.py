"""The state of a ledger: a pure fold of its entries, which refuses histories that no honest site writes.

`fold` gives the state after all entries: who signs, the limits in force, what each run reserved, began and let go.
The rules of which entry may follow which are here and nowhere else. So they hold for the site that writes its next
entry, for the site that starts again, and for an auditor who has nothing but the file.

What of a run is charged, and what a limit admits, is said in `privacy.ledger.limits`.

A ledger that was restored from a backup may lack its end. Without the word of two approvers that it lacks nothing,
all that was left of every budget then counts as charged, and every open run is over: no entry that is lost can have
charged more, and no round can be computed, or its sum opened, a second time. With their word the open runs go on,
but for the rounds that were begun; a head from the lost end, shown by anybody, proves them wrong.

Nothing here goes by the time that an entry may tell: no clock, set back or forward, returns a budget.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import get_args

from privacy.accounting.events import Event
from privacy.accounting.filters import filter_from_json
from privacy.accounting.pld import epsilon
from privacy.accounting.units import UNITS, Charge, Limit, Patient, Unit, charge_from_json, unit_named
from privacy.canonical import Fields
from privacy.errors import (
    FaultyServer,
    LedgerCorrupt,
    LedgerRefusal,
    PolicyViolation,
    UnsafeParameters,
)
from privacy.ledger import chain as ledger
from privacy.ledger.approvals import (
    Proposal,
    Restoration,
    approvals_from_json,
    is_approved,
    limit_from_fields,
)
from privacy.ledger.chain import HASH_BYTES, Entry
from privacy.ledger.heads import REHEARSED, Head, head_from_fields
from privacy.ledger.limits import MAX_REFUSALS, By, LimitExceeded, Run, Term, is_even, require_worthwhile
from privacy.ledger.withdrawals import Said

__all__ = ["Account", "Gap", "LimitExceeded", "Run", "Term", "fold", "is_even"]

RESTORED = "restored"  # closes a run in the place of a digest of its last params
_UNNAMED_SUITE = 2  # of mask entries that were written before they said it


@dataclass(frozen=True)
class Gap:
    """Entry numbers after `last` and before `next` are of an end that was lost. `vouched`: said to be empty."""

    last: int
    next: int
    vouched: bool


MAX_WITNESSED = 8
"""Entries with what peers showed, between two others that this site's own rounds and runs make."""
MAX_LEDGERS = 16
"""Ledgers of one peer that are put on record."""


class Account:
    """A verified chain and its state. Only `extend` changes it."""

    def __init__(self, genesis: Entry) -> None:
        self.tip = ledger.follow(None, (genesis,))
        self.roster = (0, "")
        self.terms: dict[Unit, Term] = {}
        self.runs: dict[str, Run] = {}
        self.witnessed: dict[tuple[str, bytes], Head] = {}
        self.gaps: list[Gap] = []
        self.withdrawn = Said(self.tip.genesis.withdrawals)
        self._idle = 0  # witness entries since the last that a run of this site made
        self.refused: set[tuple[str, Unit]] = set()  # plans, each with the unit whose budget did not hold it
        self._hashes = {genesis.seq: genesis.hash}

    def extend(self, entries: Sequence[Entry]) -> None:
        """Follow the chain. LedgerCorrupt if it breaks or tells an impossible story: then the account is spoilt."""
        for entry in entries:
            self.tip = ledger.follow(self.tip, (entry,))
            try:
                self._apply(entry, Fields(entry.body))
            except (ValueError, UnsafeParameters) as error:
                raise ledger.corrupt(entry, str(error)) from None
            self._hashes[entry.seq] = entry.hash

    def charged(self, unit: Unit, patient: Patient | None = None) -> tuple[Event, ...]:
        """Everything charged to one `unit`, after what was returned.

        A patient counts as the ledger's limit has it, or as `patient`; as one record at one site by default.
        """
        if patient is None:
            patient = self.terms[unit].limit.patient if unit in self.terms else Patient()
        charges = (run.charged for run in self.runs.values())
        return tuple(charge.to(unit, patient) for charge in charges if charge is not None)

    def epsilon(self, unit: Unit) -> float:
        """Epsilon of everything charged to one unit that has a limit, at its delta."""
        return self.terms[unit].epsilon(self.charged(unit))

    def is_news_that(self, plan: str, unit: Unit) -> bool:
        """Whether a refusal of this plan is to be put on record: once for a unit, and of so many plans only.

        Asking costs a server nothing, and must not make a ledger grow. A site's log has them all.
        """
        return (plan, unit) not in self.refused and len(self.refused) < MAX_REFUSALS

    def in_force(self, policy: Sequence[Limit], asked: Charge) -> dict[Unit, Term]:
        """The limit of each unit that this ledger or the site's policy limits: the stricter of the two.

        A unit new to the ledger gets the policy's, and a filter by the training that the policy foresees, while
        the pool is charged nothing. Later that could follow from results, so what was first charged decides.
        PolicyViolation for a policy that is looser than the ledger.
        """
        terms: dict[Unit, Term] = {}
        for unit in UNITS:
            known, wanted = self.terms.get(unit), [limit for limit in policy if limit.unit == unit]
            if known is not None:
                if any(limit.is_looser(known.limit) for limit in wanted):
                    raise PolicyViolation(
                        f"the site's policy allows more per {unit} than its ledger does",
                        hint="a budget is raised by two approvals: federation ledger propose",
                    )
                terms[unit] = replace(known, limit=reduce(Limit.stricter, wanted, known.limit))
            elif wanted and any(not gap.vouched for gap in self.gaps):
                raise LimitExceeded(
                    unit,
                    "the end of this ledger was lost, and there was no limit then that bounds what it charged",
                    hint="use another pool, of other people",
                )
            elif wanted:
                terms[unit] = self._new(reduce(Limit.stricter, wanted), asked)
        return terms

    def _new(self, limit: Limit, asked: Charge) -> Term:
        """The term of a unit that had no limit. A run that was given back in full may have shown something, too."""
        made = [run.charge for run in self.runs.values()]
        first = next(iter(made), asked).to(limit.unit, limit.patient)
        return Term(limit, (replace(limit, foreseen=None) if made else limit).frozen(first), b"")

    def admission(self, charge: Charge, terms: Mapping[Unit, Term]) -> dict[Unit, By]:
        """How each limit admits a plan on top of all that is charged. LimitExceeded for the first that does not."""
        spent = {unit: self.charged(unit, term.limit.patient) for unit, term in terms.items()}
        return {unit: term.admits(spent[unit], charge) for unit, term in terms.items()}

    def runs_of(self, plan: str) -> int:
        """How many runs of a plan count: without evaluations, and those that people closed before they began."""
        made = [name for name, known in self.runs.items() if known.plan == plan and known.is_used]
        return len([name for name in made if name.rpartition("/")[0] not in self.runs])

    def require_approved(self, run: str, plan: str, most: int | None) -> None:
        """LedgerRefusal for one more run of a plan than the `most` approved; None: it is approved by its task."""
        if most is None and run not in self.runs and run.rpartition("/")[0] not in self.runs:  # no evaluation
            require_worthwhile(self.runs, self.refused, plan)
        if most is not None and run not in self.runs and (count := self.runs_of(plan)) >= most:
            made = "one run of this plan, and it was made" if most == 1 else f"{most} runs of this plan only"
            more = f'another one: plans = [{{ digest = "{plan}", runs = {count + 1} }}]'
            raise LedgerRefusal(f"policy.plans approves {made}", hint=more)

    def require_room(self, policy: Sequence[Limit], charges: Sequence[Charge]) -> None:
        """LimitExceeded unless all of these, one after another, would be admitted. Nothing is charged by asking."""
        for unit, term in self.in_force(policy, charges[0]).items():
            spent = self.charged(unit, term.limit.patient)
            for charge in charges:
                term.admits(spent, charge)
                spent = (*spent, charge.to(unit, term.limit.patient))

    def recheck(self, policy: Sequence[Limit], asked: Charge) -> None:
        """PolicyViolation unless all that is charged still fits the limits in force under this policy."""
        for unit, term in self.in_force(policy, asked).items():
            if not self._fits(unit, term):
                raise PolicyViolation(
                    f"what is charged already is more than the site's policy now allows per {unit}",
                    hint="this site takes no further part in the run, "
                    "unless its people restore the limit in site.toml",
                )

    def _fits(self, unit: Unit, term: Term) -> bool:
        events, budget = self.charged(unit, term.limit.patient), term.limit.budget
        if math.isinf(budget.epsilon) or term.load(events) <= 1:
            return True
        if term.lost is not None:
            return False
        # A plan that was admitted by itself still is, as long as it is all that is charged.
        runs = [run for run in self.runs.values() if run.charged is not None]
        alone = len(runs) == 1 and runs[0].by.get(unit) == "plan"
        return alone and epsilon(events, budget.delta) <= budget.epsilon

    def proposal(self, limit: Limit, reason: str) -> Proposal:
        """What two approvers sign to put `limit` in place of that in force. LedgerRefusal if none is yet."""
        if limit.unit not in self.terms:
            raise LedgerRefusal(
                f"this ledger has no limit per {limit.unit} that could be raised",
                hint="the first is site.toml's, when a run is reserved",
            )
        site, first = self.tip.genesis.site, self.tip.first.hash
        return Proposal(site, first, limit, reason, self.terms[limit.unit].entry)

    def check_own(self, head: Head) -> None:
        """LedgerCorrupt if this ledger once had a head that it no longer has: it was cut, restored or replaced."""
        genesis = self.tip.genesis
        if head.site != genesis.site or head.ledger != genesis.ledger:
            return  # of another pool
        is_rehearsed = genesis.ledger == REHEARSED
        if not any(head.is_signed_by(key, rehearsed=is_rehearsed) for key in self.tip.keys):
            raise FaultyServer("the server shows a head of this site's ledger that the site never signed")
        if not self.holds(head.seq, head.hash) and not self.is_charged_loss(head.seq):
            raise LedgerCorrupt(
                f"the ledger once had an entry {head.seq} that it no longer has: "
                "its end was cut off, or an older copy was restored",
                "cut",
                hint="release nothing; restore the newest copy, which the site has signed",
            )

    def holds(self, seq: int, hash_: bytes) -> bool:
        """Whether entry `seq` of this ledger has this hash."""
        return self._hashes.get(seq) == hash_

    def is_charged_loss(self, seq: int) -> bool:
        """Whether entry `seq` can only have been in an end that was lost, and is charged in full."""
        return any(gap.last < seq < gap.next and not gap.vouched for gap in self.gaps)

    def restoration(self, made: str) -> Restoration:
        """What two approvers sign so that the ledger goes on after its last entry as if nothing were missing."""
        tip = self.tip
        return Restoration(tip.genesis.site, tip.first.hash, tip.last.hash, made)

    @property
    def may_witness(self) -> bool:
        """Whether there is room for a witness entry: others must not make this ledger grow as they like.

        A round, or a run, makes room again, and how many there are the site's budget and approvals bound.
        """
        return self._idle < MAX_WITNESSED

    def is_news(self, head: Head) -> bool:
        """Whether a peer's head is newer than the one on record, or contradicts it."""
        known = self.witnessed.get((head.site, head.ledger))
        if known is None:
            return len([site for site, _ in self.witnessed if site == head.site]) < MAX_LEDGERS
        return head.seq > known.seq or (head.seq == known.seq and head.hash != known.hash)

    def _apply(self, entry: Entry, fields: Fields) -> None:
        self._idle += entry.kind == "witness"
        if entry.kind in ("reserve", "begin"):
            self._idle = 0
        match entry.kind:
            case "roster":
                self._accepted(fields)
            case "budget":
                self._limited(entry, fields)
            case "reserve":
                self._reserved(fields)
            case "begin" | "release" | "mask" | "reveal":
                self.withdrawn.take(entry, fields)
                self._took_place(entry.kind, fields)
            case "witness":
                self._saw(fields.table("heads"))
            case "close":
                self._open_run(fields).closed = fields.text("params")
            case "refuse":
                self._refused(fields)
            case "restore":
                self._restored(entry, fields)
            case _:  # a rotation is the chain's own business, and a second genesis never gets here
                return
        fields.finish()

    def _accepted(self, fields: Fields) -> None:
        serial, root = fields.whole("serial"), fields.text("root")
        if serial <= self.roster[0]:
            raise ValueError("accepts an older roster")
        self.roster = serial, root

    def _limited(self, entry: Entry, fields: Fields) -> None:
        limit, frozen = limit_from_fields(fields), filter_from_json(fields.table("filter"))
        reason, approvals = fields.text("reason"), approvals_from_json(fields.rows("approvals"))
        known = self.terms.get(limit.unit)
        if known is None:
            if approvals:
                raise ValueError("changes a limit that is not there")
        elif frozen != known.filter:
            raise ValueError("changes the filter of a budget, which is frozen")
        elif not is_approved(self.proposal(limit, reason), approvals, self.tip.genesis.approvers):
            raise ValueError("changes a budget without two approvals")
        self.terms[limit.unit] = Term(limit, frozen, entry.hash, known.lost if known else None)

    def _reserved(self, fields: Fields) -> None:
        name, plan, charge = fields.text("run"), fields.text("plan"), charge_from_json(fields.table("charge"))
        rounds, by = fields.whole("rounds", 1), _admissions(fields.table("by"))
        if name in self.runs:
            raise ValueError("reserves a run again")
        if not is_even(charge, rounds):
            raise ValueError("reserves rounds of which not all are charged the same")
        if not by or by.keys() != self.terms.keys():
            raise ValueError("reserves what not every limit has admitted")
        lost = any(term.lost for term in self.terms.values())
        if "plan" in by.values() and (lost or any(run.charged is not None for run in self.runs.values())):
            raise ValueError("admits a plan by itself though something was charged before")
        self.runs[name] = Run(plan, charge, rounds, by)

    def _refused(self, fields: Fields) -> None:
        fields.text("run")
        plan = fields.text("plan")
        charge_from_json(fields.table("charge"))
        self.refused.add((plan, _unit(fields.text("unit"))))

    def _restored(self, entry: Entry, fields: Fields) -> None:
        """The end is lost: rounds begun are over and, unless two approvers vouch, what was left is charged."""
        fields.octets("salt", HASH_BYTES)
        made, approvals = fields.text("made"), approvals_from_json(fields.rows("approvals"))
        genesis, last = self.tip.genesis, max(self._hashes)
        known = Restoration(genesis.site, self.tip.first.hash, entry.previous, made)
        if approvals and not is_approved(known, approvals, genesis.approvers):
            raise ValueError("vouches for a backup without two approvals")
        self.gaps.append(Gap(last, entry.seq, bool(approvals)))
        is_open = [run for run in self.runs.values() if run.closed is None]
        for run in is_open:
            run.over |= run.begun.keys()
            if not approvals:
                run.closed, run.is_whole = RESTORED, True
        if not approvals:
            settled = any(run.begun for run in self.runs.values())
            for unit, term in self.terms.items():
                spent = self.charged(unit, term.limit.patient)
                self.terms[unit] = term.without_its_end(spent, settled)

    def _took_place(self, kind: str, fields: Fields) -> None:
        run, number = self._open_run(fields), fields.whole("round", 1)
        if number in run.over:
            raise ValueError("belongs to a round that a restore ended")
        if kind == "begin":
            new, said = number not in run.begun and number <= run.rounds, run.begun
            said[number] = fields.text("question")
            if fields.has("at"):
                _require_moment(fields.text("at"))
        elif kind == "release":
            new = number in run.begun and number not in run.released
            if is_unblinded := fields.has("payload"):
                run.unblinded.add(number)
            name = "payload" if is_unblinded else "commitment"  # of both, one is left over and refused
            run.released[number] = fields.octets(name, HASH_BYTES).hex()
        elif kind == "reveal":
            new = number in run.released and number not in run.revealed
            run.revealed[number] = fields.text("survivors")
        else:
            attempt = fields.whole("attempt", 1)
            new = number in run.released and attempt > run.masked.get(number, 0)
            run.masked[number] = attempt
            run.suites.add(fields.whole("suite", 1) if fields.has("suite") else _UNNAMED_SUITE)
            if fields.has("bytes"):
                fields.whole("bytes", 1)
        if not new:
            raise ValueError(f"cannot take place here, at round {number}")

    def _saw(self, heads: Mapping[str, object]) -> None:
        for site, row in heads.items():
            head = head_from_fields(site, Fields(row))
            if site == self.tip.genesis.site or not self.is_news(head):
                raise ValueError("witnesses what is no news")
            self.witnessed[site, head.ledger] = head
        if not heads:
            raise ValueError("witnesses nothing")

    def _open_run(self, fields: Fields) -> Run:
        run = self.runs.get(fields.text("run"))
        if run is None or run.closed is not None:
            raise ValueError("belongs to a run that is not reserved, or closed")
        return run


def fold(entries: Sequence[Entry]) -> Account:
    """The state after a whole ledger. LedgerCorrupt if its chain breaks, or tells an impossible story.

    UnsupportedEvent for charges and filters that this version does not know.
    """
    if not entries:
        raise LedgerCorrupt("the ledger has no entries", "chain")
    account = Account(entries[0])
    account.extend(entries[1:])
    return account


def _admissions(table: Mapping[str, object]) -> dict[Unit, By]:
    by: dict[Unit, By] = {}
    for name, how in table.items():
        if how not in get_args(By):
            raise ValueError("was admitted in a way that there is not")
        by[_unit(name)] = "plan" if how == "plan" else "filter"
    return by


def _unit(name: str) -> Unit:
    if unit := unit_named(name):
        return unit
    raise ValueError("names a unit that there is not")


def _require_moment(text: str) -> None:
    """ValueError for anything but a minute in UTC, which people read and nothing else does."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", text, re.ASCII):
        raise ValueError("tells no time")
