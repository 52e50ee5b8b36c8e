"""The closure of what a round reveals: everything that follows from it, by every derivation that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from privacy.secagg import keys
from privacy.secagg.client import ClientMachine
from privacy.secagg.keys import Secrets, derive
from privacy.secagg.messages import SharePair
from privacy.secagg.shamir import PRIME, split
from tests.adversary.closure import LABELS, RULES, Closure, Fact, Rule, attack
from tests.adversary.tapped import Call, Tapped, derive_the_channel, record, share_the_channel
from tests.scale import SCALE

CONTROLS = [share_the_channel, derive_the_channel]
Patch = pytest.MonkeyPatch
Played = tuple["Case", Tapped, Closure]


@dataclass(frozen=True)
class Case:
    """A cohort; the first `bad` sites work with the server, the last `lost` are called lost."""

    n: int
    colluders: int
    bad: int
    lost: int

    @property
    def gone(self) -> set[int]:
        return set(range(self.n - self.lost, self.n))

    @property
    def corrupt(self) -> set[int]:
        return set(range(self.bad))

    @property
    def honest(self) -> set[int]:
        return set(range(self.bad, self.n))

    def play(self) -> tuple[Tapped, Closure]:
        round_ = Tapped(self.n, colluders=self.colluders).open(self.gone)
        return round_, attack(round_.view, [round_.root(slot) for slot in range(self.bad)])


def _cases(n: int) -> Iterator[Case]:
    for colluders in range(n - 1):
        tolerated = Tapped(n, colluders=colluders).parameters.tolerated
        for bad in range(colluders + 1):
            yield from (Case(n, colluders, bad, lost) for lost in range(1, tolerated + 1))


CASES = [case for n in (4, 5, 7) for case in _cases(n)]
# The controls show that the attack finds what is there to find: all of the small cohorts, and some of the large.
CONTROLLED = CASES if SCALE > 1 else [case for case in CASES if case.n < 7] + list(_cases(7))[::3]


@pytest.fixture(scope="module", params=CASES, ids=str)
def played(request: pytest.FixtureRequest) -> Played:
    """A case, its round, and all that the attacker knows: played once for all that is checked of it."""
    case: Case = request.param
    return (case, *case.play())


def _pairs(known: Closure) -> set[tuple[int, int]]:
    return {(int(fact[1]), int(fact[2])) for fact in known.facts if fact[0] == "pair mask"}


def test_a_round_gives_away_what_it_must_and_nothing_that_follows_from_it(played: Played) -> None:
    case, round_, known = played
    everyone = {(low, high) for low in range(case.n) for high in range(low + 1, case.n)}
    exposed = case.gone | case.corrupt
    assert known.knows("self seed") == known.knows("self mask") == round_.everyone - case.gone
    assert known.knows("mask secret") == known.knows("mask key") == exposed
    assert known.knows("channel secret") == known.knows("channel key") == known.knows("root") == case.corrupt
    assert _pairs(known) == {pair for pair in everyone if exposed & set(pair)}
    assert known.opened.keys() == {seal for seal in round_.view.seals if case.corrupt & set(seal)}
    assert not any(known.is_bare(slot) for slot in case.honest)
    for slot in case.honest:
        secrets = round_.secrets(slot)
        assert (secrets.mask in known, secrets.seed in known) == (slot in case.gone, slot not in case.gone)
        assert secrets.channel not in known
        assert round_.root(slot) not in known
        assert not known.has_read(slot, round_.vectors[slot])


def _held(known: Closure, owner: int) -> dict[str, int]:
    """Of how many holders the attacker has shares of a site's secrets."""
    return {kind: len(known.shares[kind, owner]) for kind in ("mask secret", "self seed")}


def test_a_lost_site_does_not_count_as_a_colluder(played: Played) -> None:
    """Shares of one kind come from those who reveal; of the other kind, from the colluders alone."""
    case, round_, known = played
    for owner in case.honest:
        revealed, other = ("mask secret", "self seed")[:: 1 if owner in case.gone else -1]
        held = _held(known, owner)
        assert held[revealed] == case.n - case.lost >= round_.parameters.threshold
        assert held[other] == case.bad <= case.colluders < round_.parameters.threshold


@pytest.mark.soak
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("case", CONTROLLED, ids=str)
def test_control_when_shared_secrets_open_seals_a_lost_site_counts_and_is_read(
    case: Case, control: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    control(monkeypatch)
    round_, known = case.play()
    for owner in case.honest - case.gone:
        assert _held(known, owner)["mask secret"] == case.bad + case.lost > case.bad
    for owner in case.gone:
        assert _held(known, owner)["self seed"] == case.n - 1
        assert known.has_read(owner, round_.vectors[owner])


# --- every derivation is in the table ----------------------------------------------------------------------


def _whole_round(patch: Patch, lost: int = 1) -> tuple[Tapped, dict[Call, bytes]]:
    """An honest round with every step there is."""
    calls = record(patch)
    round_ = Tapped(5).open(range(5 - lost, 5))
    return round_, calls


def test_the_table_knows_every_label(monkeypatch: Patch) -> None:
    """Whoever adds a derivation adds it to the table, and sees what then follows from what."""
    _, calls = _whole_round(monkeypatch)
    assert {use for _, _, use, _ in calls} == LABELS


def test_no_module_derives_keys_of_a_round_but_by_derive() -> None:
    folder = Path(keys.__file__).parent
    using = [path.name for path in folder.glob("*.py") if "HKDF(" in path.read_text(encoding="utf-8")]
    assert using == ["keys.py"]


@pytest.mark.parametrize("bad", [0, 1])
def test_whatever_the_parties_derive_from_a_known_value_is_known(bad: int, monkeypatch: Patch) -> None:
    """The closure against the round itself: it lacks no step that any party has taken."""
    round_, calls = _whole_round(monkeypatch)
    steps = dict(calls)
    known = attack(round_.view, [round_.root(slot) for slot in range(bad)])
    taken = [made for (secret, _, _, _), made in steps.items() if secret in known]
    assert len(taken) >= 8
    assert all(made in known for made in taken)


# --- shares that follow from what is shared ----------------------------------------------------------------


def _stream(secret: bytes, session: bytes) -> Callable[[int], bytes]:
    numbers = count()

    def draw(size: int) -> bytes:
        blocks = (
            derive(secret, session, "share entropy", bytes([next(numbers)])) for _ in range(0, size, 32)
        )
        return b"".join(blocks)[:size]

    return draw


def _share_alike(patch: Patch) -> None:
    """Control: the polynomials of both secrets follow from the mask secret."""

    def dealt(self: ClientMachine, secrets: Secrets, holders: list[int]) -> dict[int, SharePair]:
        threshold, draw = self._parameters.threshold, _stream(secrets.mask, self._session)
        shares = [split(secret, threshold, holders, draw) for secret in (secrets.mask, secrets.seed)]
        return {at: SharePair(shares[0][at], shares[1][at]) for at in holders}

    patch.setattr(ClientMachine, "_split", dealt)


def _as_dealer(known: Closure, value: bytes) -> Iterator[tuple[Fact, bytes]]:
    """With all coefficients but the constant one, a single share gives the secret."""
    threshold, draw = known.view.parameters.threshold, _stream(value, known.link)
    split(bytes(32), threshold, [], draw)
    for (kind, owner), shares in list(known.shares.items()):
        if kind != "self seed" or known.facts.get(("mask secret", owner)) != value:
            continue
        rest = split(bytes(32), threshold, shares, draw)
        at = next(iter(shares))
        yield (kind, owner), ((shares[at] - rest[at]) % PRIME).to_bytes(33, "big")[1:]


DEALER = Rule(frozenset({"share entropy"}), _as_dealer)


@pytest.mark.parametrize("bad", [0, 1])
def test_control_polynomials_that_follow_from_the_mask_secret_are_caught(
    bad: int, monkeypatch: Patch
) -> None:
    """First as a label that is not in the table; then, with the rule for it, as a self seed within reach."""
    _share_alike(monkeypatch)
    calls = record(monkeypatch)
    round_ = Tapped(5).open([4])
    assert {use for _, _, use, _ in calls} - LABELS == {"share entropy"}
    roots = [round_.root(slot) for slot in range(bad)]
    assert 4 not in attack(round_.view, roots).knows("self seed")
    known = Closure(round_.view, (*RULES, DEALER)).relay().saturate(*roots).again()
    assert (4 in known.knows("self seed")) == known.has_read(4, round_.vectors[4]) == (bad == 1)
