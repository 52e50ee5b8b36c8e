"""What is done to a ledger by people: raising a budget, replacing a key, closing a run that nobody will end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from clients.journal.journal import Journal
from clients.policy import SiteFile, data_files, load_site
from federation.errors import InputError, UnusableFile
from federation.files import write_output
from federation.identity.keys import load_private
from federation.ledger.export import load_entries
from privacy.accounting.filters import Budget
from privacy.errors import LedgerRefusal, MalformedMessage
from privacy.ledger.approvals import (
    Approval,
    Proposal,
    Replacement,
    Restoration,
    approve,
    from_text,
    to_text,
)
from privacy.ledger.chain import Genesis
from privacy.ledger.heads import pool_tag
from privacy.ledger.limits import ABANDONED
from privacy.ledger.state import fold
from privacy.signing import public_identity


def propose(path: Path, unit: str, epsilon: float, delta: float | None, reason: str, out: Path) -> None:
    """Write the proposal that the unit's limit in the ledger of the site at `path` becomes `epsilon`.

    What one person holds stays as it is, and so does delta if it is None. The ledger is not changed.
    """
    with _journal(path) as journal:
        known = journal.limits()
        limit = known.get(unit)  # type: ignore[call-overload]
        if limit is None:
            units = ", ".join(known) or "none yet"
            raise InputError(f"has no budget per {unit} ({units})", hint="name one it has", path=path)
        budget = Budget(epsilon, limit.budget.delta if delta is None else delta)
        write_output(out, to_text(journal.propose(replace(limit, budget=budget), reason)))


def propose_key(path: Path, out: Path) -> None:
    """Write the proposal that the site's present key signs in place of the ledger's, which is lost."""
    rules = load_site(path)
    public = public_identity(rules.identity())
    write_output(out, to_text(fold(load_entries(rules.journal)).tip.replacement(public)))


def add_approval(path: Path, key: Path) -> int:
    """Sign a proposal with an approver's key; how many have signed it now."""
    statement, approvals = read_proposal(path)
    mine = approve(statement, load_private(key))
    kept = [approval for approval in approvals if approval.key != mine.key]
    write_output(path, to_text(statement, [*kept, mine]))
    return len(kept) + 1


def apply(path: Path, proposal: Path) -> str:
    """Put an approved proposal into the ledger of the site at `path`; what it did, in words."""
    statement, approvals = read_proposal(proposal)
    if isinstance(statement, Replacement):
        rules = load_site(path)
        key = rules.identity()
        if public_identity(key) != statement.new:
            raise LedgerRefusal(
                "the proposal names another key than this site's", hint="federation ledger replace-key SITE"
            )
        Journal.replace_key(
            rules.journal, site=rules.id, pool=rules.data.pool, key=key, approvals=approvals
        ).close()
        return "the site's key signs the ledger from here on"
    if isinstance(statement, Restoration):
        raise InputError(
            "is for a restore",
            hint="federation ledger restore SITE --from BACKUP --approved FILE",
            path=proposal,
        )
    with _journal(path) as journal:
        journal.raise_budget(statement, approvals)
    return _raised(statement)


SHORTEST = 8
"""Letters of a run's id that may stand for it: as many as tables show."""


def abandon(path: Path, run: str) -> str:
    """Close a run that will not go on, and its evaluation: what never began is returned, and nothing can begin.

    `run` is its id, or how that begins; returned is the id.
    """
    from federation.round.terms import evaluation_run

    with _journal(path) as journal:
        runs = fold(load_entries(load_site(path).journal, may_be_backup=False)).runs
        known = [name for name in runs if name.startswith(run) and "/" not in name]
        name = known[0] if run not in runs and len(known) == 1 and len(run) >= SHORTEST else run
        journal.abandon_run(name, ABANDONED, evaluation_run(name))
    return name


def reclaim(path: Path) -> Path:
    """Make the lost registry of pools anew from the site's pool, journal and data; the path of it."""
    from clients.data.populations import fingerprints, reclaim_pool, registry_path

    rules = load_site(path)
    key = rules.identity()
    with _journal(path) as journal:  # verified, and of this site, pool and key
        journal.head()
        files = [file for file in data_files(rules, path.parent) if file is not None]
        found = frozenset[bytes]().union(*(fingerprints(file, None, key) for file in files))
        reclaim_pool(rules, key, found)
    return registry_path(rules)


def rotate(path: Path, new: Path) -> None:
    """Have `new` sign the ledger from here on. The site's key file is to be replaced by it afterwards."""
    with _journal(path) as journal:
        journal.rotate(load_private(new, load_site(path).passphrase()))


def ledger_of(path: Path) -> Path:
    """The ledger's file, named by itself or by a site file."""
    return load_site(path).journal if path.suffix == ".toml" else path


def open_journal(rules: SiteFile, *, keeps_last: bool = False) -> Journal:
    """The journal of a site file, made if there is none."""
    return Journal.open(
        rules.journal,
        site=rules.id,
        pool=rules.data.pool,
        key=rules.identity(),
        approvers=[bytes.fromhex(key) for key in rules.policy.approvers],
        keeps_last=keeps_last,
        withdrawals=True,
    )


@contextmanager
def _journal(path: Path) -> Iterator[Journal]:
    rules = load_site(path)
    if not rules.journal.exists():
        raise UnusableFile(
            "there is no journal yet", hint="a site makes it when it joins", path=rules.journal
        )
    with closing(open_journal(rules)) as journal:
        yield journal


def genesis_of(rules: SiteFile) -> Genesis:
    """What a new journal of this site would begin with, but for its salt."""
    key = rules.identity()
    tag, approvers = pool_tag(key, rules.data.pool), tuple(map(bytes.fromhex, rules.policy.approvers))
    return Genesis(rules.id, rules.data.pool, tag, public_identity(key), approvers, simulated=False)


def read_proposal(path: Path) -> tuple[Proposal | Replacement | Restoration, tuple[Approval, ...]]:
    """A proposal and its approvals so far, from their file. UnusableFile for any other file."""
    try:
        return from_text(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, MalformedMessage):
        raise UnusableFile(
            "is no proposal",
            hint="make one: federation ledger propose SITE --epsilon E --reason TEXT",
            path=path,
        ) from None


def _raised(proposal: Proposal) -> str:
    limit = proposal.limit
    return f"the budget per {limit.unit} is epsilon {limit.budget.epsilon:g} at delta {limit.budget.delta:g}"
