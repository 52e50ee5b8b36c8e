"""A journal is opened by the site, pool and key it belongs to; keys change hands, and never back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clients.journal.journal import Journal
from federation.ledger.export import load_entries
from privacy.errors import LedgerCorrupt, LedgerRefusal, PolicyViolation
from privacy.ledger.approvals import Approval, approve
from privacy.ledger.state import fold
from privacy.signing import public_identity
from tests.clients.journal.journals import LIMITS, kinds, opened, release, reserve
from tests.privacy.ledger.ledgers import ANNA, APPROVERS, BERT, CARL, GENESIS, KEY, NEXT, PEER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.sqlite"
    with closing(opened(path)) as journal:
        reserve(journal)
        release(journal, 1, b"noised")
    return path


def test_the_genesis_says_whose_ledger_this_is(path: Path) -> None:
    body = dict(load_entries(path)[0].body)
    assert len(bytes.fromhex(str(body.pop("salt")))) == 32
    assert body == GENESIS.to_json()
    with closing(opened(path.with_name("other.sqlite"), simulated=True, approvers=())) as other:
        body = {name: value for name, value in other.entries()[0].body.items() if name != "salt"}
        assert body == {**GENESIS.to_json(), "simulated": True, "approvers": []}


@pytest.mark.parametrize("changes", [{"site": "south"}, {"pool": "oncology"}])
def test_another_sites_or_pools_journal_is_refused(path: Path, changes: dict[str, Any]) -> None:
    """DP-32: swapped site id."""
    with pytest.raises(LedgerCorrupt, match="another site or pool"):
        opened(path, **changes)


def test_another_key_opens_nothing(path: Path) -> None:
    """DP-32: foreign signature."""
    with pytest.raises(LedgerCorrupt, match="another key than the site's"):
        opened(path, key=PEER)


def test_a_simulations_journal_is_no_real_one_and_the_reverse(path: Path) -> None:
    with pytest.raises(LedgerCorrupt, match="never the same"):
        opened(path, simulated=True)
    opened(path.with_name("other.sqlite"), simulated=True).close()
    with pytest.raises(LedgerCorrupt, match="never the same"):
        opened(path.with_name("other.sqlite"))


def test_the_approvers_are_those_of_the_first_day(path: Path) -> None:
    with closing(opened(path, approvers=[public_identity(PEER)] * 2)) as journal:
        assert fold(journal.entries()).tip.genesis.approvers == APPROVERS


@pytest.mark.parametrize(
    "approvers", [[GENESIS.key, APPROVERS[0]], [APPROVERS[0]] * 2, [bytes(32), APPROVERS[0]], [b"short"]]
)
def test_a_journal_does_not_begin_with_approvers_that_are_none(
    tmp_path: Path, approvers: list[bytes]
) -> None:
    with pytest.raises(PolicyViolation, match="no journal can begin like this"):
        opened(tmp_path / "journal.sqlite", approvers=approvers)
    assert list(tmp_path.iterdir()) == []


# Keys.


def test_after_a_rotation_only_the_new_key_opens_and_signs(path: Path) -> None:
    """DP-45: key rotation, retired key."""
    with closing(opened(path)) as journal, closing(opened(path)) as other:
        before = journal.head()
        journal.rotate(NEXT)
        assert journal.head().is_signed_by(public_identity(NEXT))
        assert journal.head().ledger == before.ledger
        assert journal.begin("run", 2, "question", LIMITS, [before]) is None
        for act in (
            lambda: other.begin("run", 3, "question"),
            other.head,
            lambda: other.release("run", 2, b"late"),
        ):
            with pytest.raises(LedgerRefusal, match="was replaced and signs no more"):
                act()
        with pytest.raises(LedgerRefusal, match="signed here before"):
            journal.rotate(KEY)
    with pytest.raises(LedgerRefusal, match="was replaced and signs no more"):
        opened(path)
    with closing(opened(path, key=NEXT)) as journal:
        assert journal.begin("run", 2, "question") is None
        assert journal.rounds_begun("run") == 2
        assert kinds(journal)[-2:] == ["rotate", "begin"]


def test_nobody_becomes_the_site_who_approves_for_it(path: Path) -> None:
    with closing(opened(path)) as journal, pytest.raises(LedgerRefusal, match="approver's"):
        journal.rotate(ANNA)


def replacing(path: Path, *keys: Any) -> list[Approval]:
    statement = fold(load_entries(path)).tip.replacement(public_identity(NEXT))
    return [approve(statement, key) for key in keys]


def replaced(path: Path, approvals: list[Approval], **changes: Any) -> None:
    usual: dict[str, Any] = {"site": "north", "pool": "cardiology", "key": NEXT}
    Journal.replace_key(path, approvals=approvals, **{**usual, **changes}).close()


def test_a_lost_key_is_replaced_with_two_approvals(path: Path) -> None:
    """DP-45: lost key; what was charged and released stays."""
    with pytest.raises(LedgerCorrupt, match="another key"):
        opened(path, key=NEXT)
    replaced(path, replacing(path, ANNA, CARL))
    with closing(opened(path, key=NEXT)) as journal:
        assert kinds(journal)[-1] == "rotate"
        assert journal.begin("run", 1, "question") == b"noised"
        assert journal.begin("run", 2, "question") is None
    with pytest.raises(LedgerRefusal, match="was replaced"):
        opened(path)


def test_with_fewer_or_others_it_is_not(path: Path) -> None:
    """DP-45: lost key, without the people who may say so."""
    for keys in ((), (ANNA,), (ANNA, ANNA), (ANNA, PEER), (ANNA, KEY), (ANNA, BERT, PEER)):
        with pytest.raises(LedgerRefusal, match="two approvers"):
            replaced(path, replacing(path, *keys))
    approvals = replacing(path, ANNA, BERT)
    with pytest.raises(LedgerRefusal, match="two approvers"):
        replaced(path, approvals, key=PEER)  # approved for another
    with pytest.raises(LedgerRefusal, match="signed here before"):
        replaced(path, approvals, key=KEY)
    with pytest.raises(LedgerCorrupt, match="another site or pool"):
        replaced(path, approvals, site="south")
    with closing(opened(path)) as journal:
        assert "rotate" not in kinds(journal)
