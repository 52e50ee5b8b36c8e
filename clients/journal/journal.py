"""A site's ledger on disk (SQLite), appended durably: what is charged, and what may still be sent.

Every method is one exclusive transaction: it sees what others wrote, writes all its entries or none, and returns
only when they are on the disk (write-ahead log, synchronous = FULL). The order of calls is that of the danger:
`reserve` before anything, `begin` before data is read, `release` before the result leaves, `mask` before masked
bytes leave, `reveal` before a sum is opened. A crash between two of them leaves budget charged and nothing sent.

Why a crash is free of charge. A round that was begun and not released has let nothing out, so it may be computed
again, with fresh noise, on the same charge. Once it is released its bytes are fixed: they are kept, and asking
again yields them; a second draw for the same charge is refused, even by two processes at once.

What is forgotten, and when. Of released bytes the ledger holds a commitment, which tells nothing of them (see
`federation.ledger.store`). The bytes themselves are kept for a server that asks again, and no longer than it can:
until the run's next round begins, the run is closed, or the sum of its last round is opened. After that opening
this process alone still has them, for a server that was killed before it had noted the sum; a process started later
refuses. Where the server is in the same process and dies with it, as in a simulation, they stay on the disk until
the run is closed.

What an entry may follow is decided in `privacy.ledger.state`, by the same code for what is read and what is
written. What a journal cannot see by itself is that it was deleted, cut, or replaced by an older copy of itself.
Others can, and show it its own newest head (`privacy.ledger.heads`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.journal.ownership import open_store, reopen_store, require_approval
from clients.journal.questions import Questions
from clients.journal.runs import open_run, require_present, require_reservable, with_evaluation
from federation.ledger.store import Kept, Store
from privacy.accounting.units import Charge, Limit
from privacy.canonical import JSON
from privacy.errors import (
    BudgetExceeded,
    JournalMisuse,
    LedgerRefusal,
    PolicyViolation,
    ProtocolError,
    UnsafeParameters,
)
from privacy.ledger import chain as ledger
from privacy.ledger.approvals import Approval, Proposal, is_approved
from privacy.ledger.chain import HASH_BYTES, Entry, Genesis
from privacy.ledger.heads import REHEARSED, Head, head_body, pool_tag
from privacy.ledger.state import Account, LimitExceeded, fold, is_even
from privacy.ledger.withdrawals import FIELD
from privacy.signing import public_identity


class Journal(Questions):
    """One site's account of one pool. Safe to share among threads, and to open in several processes."""

    def __init__(self, store: Store, key: Ed25519PrivateKey, *, keeps_last: bool = False) -> None:
        super().__init__(store)
        self._key, self._keeps_last = key, keeps_last

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        site: str,
        pool: str,
        key: Ed25519PrivateKey,
        approvers: Sequence[bytes] = (),
        simulated: bool = False,
        keeps_last: bool = False,
        withdrawals: bool = False,
    ) -> Journal:
        """The journal at `path`, its whole chain verified; a new one, readable by its owner only, if there is none.

        `approvers`, and whether releases say who withdrew, are settled when it is made. With `keeps_last`, as in
        every simulated journal, the bytes of a run's last round stay on the disk until the run is closed.
        LedgerCorrupt if the file is no journal, was changed, or belongs to another site, pool or key;
        RecordsUnavailable if it cannot be read or written.
        """
        tag = pool_tag(key, pool)
        salt = os.urandom(HASH_BYTES)
        first = Genesis(site, pool, tag, public_identity(key), tuple(approvers), simulated, salt, withdrawals)
        return cls(open_store(path, first, key), key, keeps_last=keeps_last or simulated)

    @classmethod
    def for_rehearsal(cls, site: str, key: Ed25519PrivateKey) -> Journal:
        """What stands for a journal in a rehearsal: in memory, of no pool, and its heads are no ledger's."""
        first = Genesis(site, "rehearsal", REHEARSED, public_identity(key), (), True, os.urandom(HASH_BYTES))
        return cls(Store.in_memory(ledger.append(None, "genesis", first.to_json(), key)), key)

    @classmethod
    def replace_key(
        cls, path: Path, *, site: str, pool: str, key: Ed25519PrivateKey, approvals: Sequence[Approval]
    ) -> Journal:
        """The journal at `path` with `key` in the place of its own, which is lost.

        What two approvers sign is `privacy.ledger.chain.Tip.replacement` of the public key. LedgerRefusal without
        them.
        """
        return cls(reopen_store(path, site, pool, key, approvals), key)

    def entries(self) -> tuple[Entry, ...]:
        """The whole ledger, verified."""
        found = self._store.entries()
        fold(found)
        return found

    def head(self) -> Head:
        """Where the ledger ends now, signed, to be shown to others."""
        with self._store.transaction() as account:
            tip = account.tip
            tip.require_key(public_identity(self._key))
            return Head.signed(tip.genesis.site, tip.genesis.ledger, tip.last, self._key)

    def accept(self, serial: int, root: str) -> None:
        """Record the roster that is taken part under. LedgerRefusal for one older than any accepted before.

        So a site that was revoked stays revoked, whatever the server shows after a restart.
        """
        with self._store.transaction() as account:
            known_serial, known_root = account.roster
            if serial < known_serial or (serial == known_serial and root != known_root):
                raise LedgerRefusal(
                    f"a roster of serial {serial}, after another of serial {known_serial}",
                    hint="ask the consortium for the newest roster",
                )
            if (serial, root) != account.roster:
                self._append("roster", {"serial": serial, "root": root})

    def reserve(
        self,
        run: str,
        plan_digest: str,
        charge: Charge,
        rounds: int,
        limits: Sequence[Limit],
        most: int | None = None,
    ) -> None:
        """Charge a whole plan of so many rounds, all alike: `charge` is all of it. The same again is free.

        `most`: how many runs of the plan are approved, if its digest is.

        `limits` is the site's policy. The stricter of it and the ledger counts, unit by unit; a unit's first limit
        is put on record with what it admits. PolicyViolation for a policy looser than the ledger; BudgetExceeded,
        which is written down once for a plan and unit, if any limit does not hold the plan.
        """
        refusal = None
        with self._store.transaction() as account:
            known = account.runs.get(run)
            if known is not None:
                require_reservable(known, plan_digest, charge, rounds)
                return
            account.require_approved(run, plan_digest, most)
            if not is_even(charge, rounds):
                raise UnsafeParameters("every round of a plan is charged the same, and for something")
            terms = account.in_force(limits, charge)
            if not terms:
                raise PolicyViolation(
                    "no limit is set for this pool", hint="set policy.epsilon_max in site.toml"
                )
            body: dict[str, Any] = {"run": run, "plan": plan_digest, "charge": charge.to_json()}
            try:
                by = account.admission(charge, terms)
            except LimitExceeded as error:
                refusal = error
                if account.is_news_that(plan_digest, error.unit):
                    self._append("refuse", body | {"unit": error.unit})
            else:
                for term in terms.values():
                    if not term.entry:
                        self._append("budget", term.to_json())
                self._append("reserve", body | {"rounds": rounds, "by": by})
        if refusal is not None:
            raise refusal

    def reserve_plan(
        self,
        runs: tuple[str, str],
        plan_digest: str,
        charges: Sequence[Charge],
        rounds: int,
        limits: Sequence[Limit],
        most: int | None,
        tests: int = 1,
    ) -> None:
        """Charge a plan's rounds and its evaluation, or its `tests`, under these two names: both, or neither."""
        (training, *evaluation), (run, after) = charges, runs
        if evaluation:
            self.require_room(run, plan_digest, charges, limits)
        self.reserve(run, plan_digest, training, rounds, limits, most)
        for charge in evaluation:
            self.reserve(after, plan_digest, charge, tests, limits)

    def require_room(
        self, run: str, plan_digest: str, charges: Sequence[Charge], limits: Sequence[Limit]
    ) -> None:
        """BudgetExceeded, which is written down, unless a plan's charges would all be admitted, one after another.

        Nothing is charged by asking. A run that is reserved was asked for before.
        """
        refusal = None
        with self._store.transaction() as account:
            if run in account.runs:
                return
            try:
                account.require_room(limits, charges)
            except LimitExceeded as error:
                refusal = error
                body: dict[str, Any] = {"run": run, "plan": plan_digest, "charge": charges[0].to_json()}
                if account.is_news_that(plan_digest, error.unit):
                    self._append("refuse", body | {"unit": error.unit})
        if refusal is not None:
            raise refusal

    def begin(
        self,
        run: str,
        round_number: int,
        question: str,
        limits: Sequence[Limit] = (),
        heads: Sequence[Head] = (),
        ended: str = "",
        at: str = "",
    ) -> bytes | None:
        """Permission to read data for a round: None, or the bytes already released for this very question.

        `limits` is the site's policy as it is now, `heads` what the site was shown of its own ledger and of its
        peers' (see `witness`). What was released before, in this run and in the run `ended`, is forgotten when a
        round begins: who asks for it knows the sum of the one before. `at` is the minute, for people to read.
        BudgetExceeded past the reserved rounds; LedgerRefusal for a run without reservation or closed, for another
        question in a round that was begun, for a released round whose bytes are no longer kept; PolicyViolation if
        more was charged than `limits` allow.
        """
        with self._store.transaction() as account:
            known = open_run(account, run, round_number)
            self._witness(account, heads)
            if limits:
                account.recheck(limits, known.charge)
            if round_number < 1:
                raise JournalMisuse("rounds are counted from 1")
            if round_number > known.rounds:
                raise BudgetExceeded(f"round {round_number} of a run that reserved {known.rounds} rounds")
            if round_number not in known.begun:
                told: dict[str, JSON] = {"at": at} if at and not account.tip.genesis.simulated else {}
                self._append("begin", {"run": run, "round": round_number, "question": question, **told})
                self._store.forget(run, before=round_number)
                self._store.forget(ended)
                return None
            if known.begun[round_number] != question:
                raise LedgerRefusal(
                    f"round {round_number} was begun with another question: other params or cohort",
                    hint="start the next round",
                )
            if round_number not in known.released:
                return None
            return self._store.kept(run, round_number, known.released[round_number])

    def kept(self, run: str, round_number: int) -> bytes | None:
        """What was released in a round and may be asked for again; None if nothing was released."""
        with self._store.transaction() as account:
            released = account.runs[run].released if run in account.runs else {}
            if round_number not in released:
                return None
            return self._store.kept(run, round_number, released[round_number])

    def witness(self, heads: Sequence[Head]) -> None:
        """Compare the heads of this ledger with it, and put on record what is new in those of peers.

        The caller has verified peers' heads by its roster. LedgerCorrupt if this ledger lacks a head that this very
        site has signed; FaultyServer for a head of it that the site has not signed.
        """
        with self._store.transaction() as account:
            self._witness(account, heads)

    def release(
        self, run: str, round_number: int, payload: bytes, withdrawn: Callable[[bytes], str] | None = None
    ) -> None:
        """Fix the noised bytes of a begun round before they leave. Replaces those kept for the run's last round.

        `withdrawn` says, after the hash of the entry before, whose records were left out.
        JournalMisuse if the round was not begun; LedgerRefusal if it was released with other bytes, or is over.
        """
        with self._store.transaction() as account:
            known = open_run(account, run, round_number)
            if round_number not in known.begun:
                raise JournalMisuse(f"round {round_number} was not begun")
            if round_number in known.released:
                if self._store.kept(run, round_number, known.released[round_number]) != payload:
                    raise LedgerRefusal(f"round {round_number} was released before, with other noise")
                return
            kept = Kept.blinded(round_number, payload)
            body: dict[str, JSON] = {"run": run, "round": round_number, "commitment": kept.commitment}
            if withdrawn is not None:
                body[FIELD] = withdrawn(account.tip.last.hash)
            self._append("release", body)
            self._store.keep(run, kept)

    def mask(
        self, run: str, round_number: int, attempt: int, *, suite: int, once: bool = False, size: int = 0
    ) -> None:
        """Record that a released round is about to be masked. LedgerRefusal unless `attempt` is a new highest.

        Keys live in memory only. A process that was killed cannot know whether masked bytes of an attempt have
        left, so it takes part in no attempt up to the one on record. `suite` is the number of the secure
        aggregation's suite. With `once`, as on a ring of neighbors, LedgerRefusal for every attempt but the first
        that this site masks in: that a round opens one set of sites at most is proven over several attempts for the
        complete graph only. A simulation hides nothing from itself, and resumes. `size`: how many bytes leave.
        """
        with self._store.transaction() as account:
            known = open_run(account, run, round_number)
            if round_number not in known.released:
                raise JournalMisuse(f"round {round_number} was not released by this site")
            if attempt <= known.masked.get(round_number, 0):
                raise LedgerRefusal(
                    f"attempt {attempt} at round {round_number} is over", hint="begin another"
                )
            if once and round_number in known.masked and not account.tip.genesis.simulated:
                raise LedgerRefusal(
                    f"round {round_number}: on a ring a site masks in one attempt of a round only",
                    hint="play the round without this site, or start a new run",
                )
            body: dict[str, JSON] = {"run": run, "round": round_number, "attempt": attempt, "suite": suite}
            is_told = size and not account.tip.genesis.simulated
            self._append("mask", {**body, "bytes": size} if is_told else body)

    def reveal(self, run: str, round_number: int, survivors_digest: str) -> None:
        """Record whose sum is about to be opened. ProtocolError for a second set of sites in one round.

        The difference of two sums over the same releases would bare the sites that only one of them holds. With the
        run's last round its bytes leave the disk.
        """
        with self._store.transaction() as account:
            known = open_run(account, run, round_number)
            if round_number not in known.released:
                raise ProtocolError(f"round {round_number} was not released by this site")
            if round_number not in known.revealed:
                body: dict[str, JSON] = {"run": run, "round": round_number, "survivors": survivors_digest}
                self._append("reveal", body)
                if round_number == known.rounds and not self._keeps_last:
                    self._store.withdraw(run)
            elif known.revealed[round_number] != survivors_digest:
                raise ProtocolError(f"round {round_number} was opened for other survivors")

    def close_run(self, run: str, params: str, evaluation: str = "") -> None:
        """End a run whose model has the digest `params`, and with it its evaluation if it reserved one.

        Rounds that never began are returned to the budget. The same again is free. LedgerRefusal for other params,
        and for a run without reservation.
        """
        with self._store.transaction() as account:
            for name in with_evaluation(account, run, evaluation):
                require_present(account.runs[name])
                if account.runs[name].closed not in (None, params):
                    raise LedgerRefusal("this run was closed with other params")
                self._close_open(account, name, params)

    def forget(self, *runs: str) -> None:
        """Let go of what these runs released last: whoever could ask for it again has said that it is known."""
        with self._store.transaction():
            for name in runs:
                self._store.forget(name)

    def abandon_run(self, run: str, params: str, evaluation: str) -> None:
        """Close what is still open of a run that will not go on, whatever closed the rest of it."""
        with self._store.transaction() as account:
            for name in with_evaluation(account, run, evaluation):
                self._close_open(account, name, params)

    def propose(self, limit: Limit, reason: str) -> Proposal:
        """What two approvers sign so that `limit` takes the place of its unit's. LedgerRefusal if it has none."""
        with self._store.transaction() as account:
            return account.proposal(limit, reason)

    def raise_budget(self, proposal: Proposal, approvals: Sequence[Approval]) -> None:
        """Put the proposed limit in force. LedgerRefusal without two approvers, for another ledger, and twice."""
        with self._store.transaction() as account:
            if proposal != account.proposal(proposal.limit, proposal.reason):
                raise LedgerRefusal(
                    "the proposal is for another ledger, or for a limit that is no longer in force",
                    hint="propose again: federation ledger propose",
                )
            require_approval(is_approved(proposal, approvals, account.tip.genesis.approvers))
            term = account.terms[proposal.limit.unit]
            self._append("budget", term.replaced_by(proposal.limit, proposal.reason, approvals))

    def rotate(self, new: Ed25519PrivateKey) -> None:
        """Sign with another key from here on. The present one never signs again."""
        with self._store.transaction() as account:
            account.tip.require_new(public_identity(new))
            self._append("rotate", ledger.rotation(account.tip, new))
        self._key = new

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def _close_open(self, account: Account, run: str, params: str) -> None:
        if account.runs[run].closed is None:
            self._append("close", {"run": run, "params": params})
            self._store.forget(run)

    def _append(self, kind: str, body: dict[str, JSON]) -> None:
        self._store.account.tip.require_key(public_identity(self._key))
        self._store.append(kind, body, self._key)

    def _witness(self, account: Account, heads: Sequence[Head]) -> None:
        news: dict[str, Head] = {}
        for head in heads:
            if head.site == account.tip.genesis.site:
                account.check_own(head)
            elif account.is_news(head) and (head.site not in news or news[head.site].seq < head.seq):
                news[head.site] = head
        if news and account.may_witness:
            rows: dict[str, JSON] = {site: head_body(head) for site, head in news.items()}
            self._append("witness", {"heads": rows})
