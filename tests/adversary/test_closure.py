"""The closure of what a round reveals: everything that follows from it, by every derivation that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from privacy.secagg import keys
from privacy.secagg.client import ClientMachine
from privacy.secagg.dealing import named, split_all
from privacy.secagg.keys import Secrets, channel_pair, kem_pair
from privacy.secagg.parameters import Parameters
from privacy.secagg.states import Advertised, Shares
from tests.adversary.closure import LABELS, Closure, attack
from tests.adversary.cohorts import Case
from tests.adversary.tapped import (
    Call,
    Tapped,
    derive_the_channel,
    leave_the_kem_out,
    record,
    record_secrets,
    share_the_channel,
    take_s_for_w,
)
from tests.scale import SCALE

CONTROLS = [share_the_channel, derive_the_channel]
Patch = pytest.MonkeyPatch
Played = tuple[Case, Tapped, Closure]


def play(case: Case) -> tuple[Tapped, Closure]:
    """The round of a case, and all that follows for the server and its colluders."""
    round_ = Tapped(case.n, colluders=case.colluders).open(case.gone)
    return round_, attack(round_.view, [round_.root(slot) for slot in range(case.bad)])


def _cases(n: int) -> Iterator[Case]:
    for colluders in range(n - 1):
        tolerated = Tapped(n, colluders=colluders).parameters.tolerated
        for bad in range(colluders + 1):
            yield from (Case(n, colluders, bad, lost) for lost in range(1, tolerated + 1))


# Of the large cohorts all that a plan allows for are bad: fewer would know a part of it. All cases by `make soak`.
SEVEN = [case for case in _cases(7) if SCALE > 1 or case.bad == case.colluders]
CASES = [*_cases(4), *_cases(5), *SEVEN]
# The controls show that the attack finds what is there to find: all of the small cohorts, and some of the large.
CONTROLLED = CASES if SCALE > 1 else [case for case in CASES if case.n < 7] + list(_cases(7))[::3]


@pytest.fixture(scope="module", params=CASES, ids=str)
def played(request: pytest.FixtureRequest) -> Played:
    """A case, its round, and all that the attacker knows: played once for all that is checked of it."""
    case: Case = request.param
    return (case, *play(case))


def _pairs(known: Closure) -> set[tuple[int, int]]:
    return {(int(fact[1]), int(fact[2])) for fact in known.facts if fact[0] == "pair mask"}


def test_a_round_gives_away_what_it_must_and_nothing_that_follows_from_it(played: Played) -> None:
    case, round_, known = played
    everyone = {(low, high) for low in range(case.n) for high in range(low + 1, case.n)}
    exposed = case.gone | case.corrupt
    assert known.knows("self seed") == known.knows("self mask") == round_.everyone - case.gone
    assert known.knows("mask secret") == exposed
    for kind in ("root", "channel secret", "channel key", "kem d", "kem z"):
        assert known.knows(kind) == case.corrupt
    assert known.knows("polynomial") == case.corrupt
    _halves_are_those_of_the_exposed(known, exposed)
    assert _pairs(known) == {pair for pair in everyone if exposed & set(pair)}
    assert known.opened.keys() == {seal for seal in round_.view.seals if case.corrupt & set(seal)}
    assert not any(known.is_bare(slot) for slot in case.honest)
    for slot in case.honest:
        secrets = round_.secrets(slot)
        assert (secrets.mask in known, secrets.seed in known) == (slot in case.gone, slot not in case.gone)
        assert secrets.channel not in known
        assert round_.root(slot) not in known
        assert not known.has_read(slot, round_.vectors[slot])


def _halves_are_those_of_the_exposed(known: Closure, exposed: set[int]) -> None:
    """What an exposed site dealt, what it was dealt in its wraps or to the attacker, and no third site's."""
    assert known.ways("y") <= {way for way in known.view.seals if exposed & set(way)}
    assert known.ways("x") == {way for way in known.view.seals if exposed & set(way)}
    for way in known.ways("encapsulated") | known.ways("agreed") | known.ways("channel"):
        assert set(way) & known.knows("channel secret")


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
    round_, known = play(case)
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


def test_each_encapsulated_secret_serves_for_one_seal(monkeypatch: Patch) -> None:
    """The recorder sees what no label names: one secret for each seal, made once and opened once."""
    seen, calls = record_secrets(monkeypatch), record(monkeypatch)
    round_ = Tapped(5).open([4])
    assert {ciphertext for _, ciphertext in seen.values()} == {
        sealed.ciphertext for sealed in round_.view.seals.values()
    }
    assert len(seen) == len(round_.view.seals) == 20
    keys = [secret for secret, _, use, _ in calls if use == "channel"]
    assert sorted(secret[32:] for secret in keys) == sorted(seen)
    assert not any(made in seen for made in calls.values())


# --- shares that follow from what is shared ----------------------------------------------------------------


def _share_alike(patch: Patch) -> None:
    """Control: the polynomials of all secrets follow from the mask secret."""

    def dealt(
        self: ClientMachine, state: Advertised, secrets: Secrets, link: bytes, holders: list[int]
    ) -> dict[int, Shares]:
        shared = named(secrets, state.excess)
        return split_all(secrets.mask, link, shared, self._parameters.threshold, holders)

    patch.setattr(ClientMachine, "_split", dealt)


@pytest.mark.parametrize("bad", [0, 1])
def test_control_polynomials_that_follow_from_the_mask_secret_are_caught(
    bad: int, monkeypatch: Patch
) -> None:
    """F0: with all coefficients but the constant one, a single share gives the secret."""
    _share_alike(monkeypatch)
    round_ = Tapped(5).open([4])
    known = attack(round_.view, [round_.root(slot) for slot in range(bad)]).again()
    assert (4 in known.knows("self seed")) == known.has_read(4, round_.vectors[4]) == (bad == 1)


# --- channels that depend on less --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 5, 7, 10])
def test_control_if_s_served_for_w_a_lost_site_would_count_as_a_colluder(n: int, monkeypatch: Patch) -> None:
    """I1: the seals for it open. Those that it made do not: what was encapsulated to others is theirs."""
    take_s_for_w(monkeypatch)
    round_ = Tapped(n).open([n - 1])
    known = attack(round_.view, thorough=n <= 7)
    assert known.opened.keys() == {way for way in round_.view.seals if way[1] == n - 1}
    assert _held(known, 0)["mask secret"] == 1


def _with_every_x25519_key(round_: Tapped) -> Closure:
    """Someone who can take discrete logarithms, and has recorded everything."""
    keys = [
        channel_pair(round_.secrets(slot).channel, round_.link).private.private_bytes_raw()
        for slot in round_.everyone
    ]
    known = Closure(round_.view, thorough=True).relay().saturate(*keys)
    assert len(known.ways("agreed")) == len(round_.everyone) ** 2, "the attacker has all that X25519 agreed"
    return known


@pytest.mark.parametrize("lost", [0, 1])
def test_with_every_x25519_key_of_a_round_no_seal_opens(lost: int) -> None:
    """I10: no half, share or vector, but for what the round reveals anyway."""
    round_ = Tapped(5).open(range(5 - lost, 5))
    known, plain = _with_every_x25519_key(round_), attack(round_.view)
    assert not known.opened
    for kind in ("self seed", "mask secret"):
        assert known.knows(kind) == plain.knows(kind)
    for kind in ("x", "y", "pair mask"):
        assert known.ways(kind) == plain.ways(kind)
    assert not any(known.is_bare(slot) for slot in round_.everyone)


def test_control_without_the_kem_in_the_key_of_a_channel_all_seals_open(monkeypatch: Patch) -> None:
    leave_the_kem_out(monkeypatch)
    round_ = Tapped(5).open([4])
    known = _with_every_x25519_key(round_)
    assert known.opened.keys() == round_.view.seals.keys()
    assert all(known.has_read(slot, round_.vectors[slot]) for slot in round_.everyone)


@pytest.mark.parametrize("lost", [0, 1])
def test_with_every_kem_key_of_a_round_no_seal_opens_either(lost: int) -> None:
    """The other way round: X25519 holds even if ML-KEM does not."""
    round_ = Tapped(5).open(range(5 - lost, 5))
    seeds = [kem_pair(round_.secrets(slot).channel, round_.link) for slot in round_.everyone]
    known = attack(round_.view, [pair.private.private_bytes_raw()[:32] for pair in seeds])
    assert len(known.ways("encapsulated")) == 20
    assert not known.opened
    assert not any(known.is_bare(slot) for slot in round_.everyone)


# --- excess noise ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_of_excess_noise_the_revealed_level_is_known_and_no_other(lost: int, bad: int) -> None:
    """I2, I9: with levels 1 and 2 of two, one seed is given for none lost, the other for one lost, none for two."""
    round_ = Tapped(6, colluders=1, levels=(1, 2)).open(range(6 - lost, 6))
    known = attack(round_.view, [round_.root(slot) for slot in range(bad)])
    stay = round_.everyone - set(range(6 - lost, 6))
    level = {0: 1, 1: 2}.get(lost)
    for each in (1, 2):
        assert known.knows(f"e{each}") - set(range(bad)) == (stay if each == level else set()) - set(
            range(bad)
        )
    assert {slot: seed for slot, (_, seed) in round_.server.opened_excess.items()} == (
        {slot: round_.excess(slot)[level - 1] for slot in stay} if level is not None else {}
    )


def test_control_a_level_that_is_not_cleared_is_opened_with_more_lost(monkeypatch: Patch) -> None:
    """If the level were counted by who is lost of those who shared, and not of the cohort (F4)."""
    monkeypatch.setattr(Parameters, "opened_level", lambda self, survivors: 1)
    round_ = Tapped(6, colluders=1, levels=(1, 2)).open([5])
    assert attack(round_.view).knows("e1") == round_.everyone - {5}
