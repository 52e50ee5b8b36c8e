"""Each secret that a round reveals or rebuilds, alone with all that was relayed: what it opens, and no more."""

from __future__ import annotations

import pytest

from tests.adversary.closure import Closure, Fact
from tests.adversary.tapped import Tapped, share_the_channel

N, OWNER = 5, 2
PEERS = [slot for slot in range(N) if slot != OWNER]
PAIRS: set[Fact] = {("pair mask", *sorted((OWNER, peer))) for peer in PEERS}
HALVES: set[Fact] = {(use, OWNER, peer) for use in ("x", "y") for peer in PEERS}
WRAPS: set[Fact] = {(use, peer, OWNER) for use in ("x", "wrap") for peer in PEERS}
OF_MASK: set[Fact] = {("mask secret", OWNER), *HALVES, *WRAPS, *PAIRS}
OF_SEED: set[Fact] = {("self seed", OWNER), ("self mask", OWNER)}
OF_CHANNEL: set[Fact] = {(kind, OWNER) for kind in ("channel secret", "channel key", "kem d", "kem z")}
INBOUND = {(peer, OWNER) for peer in PEERS}
OF_SEALS: set[Fact] = {(use, *way) for use in ("channel", "x", "y") for way in INBOUND}
OF_SEALS |= {("wrap", OWNER, peer) for peer in PEERS}
SEALS: set[tuple[int, int]] = {way for peer in PEERS for way in ((OWNER, peer), (peer, OWNER))}


def _round() -> Tapped:
    """Everybody's upload is there, whoever is called lost; the reveals are handed out by the tests."""
    return Tapped(N).open()


def _facts(known: Closure) -> set[Fact]:
    """What is known, but for what is agreed and encapsulated, which serves for nothing but the keys that are
    listed beside them.
    """
    return {fact for fact in known.facts if fact[0] not in ("given", "agreed", "encapsulated")}


def _shares(round_: Tapped, kind: str) -> dict[int, int]:
    """All shares of the owner's secret of this kind, from what its root gives."""
    known = Closure(round_.view).saturate(round_.root(OWNER))
    return dict(known.shares[kind, OWNER])


def test_the_mask_secret_of_a_lost_site_gives_its_pair_masks_alone() -> None:
    round_ = _round()
    known = Closure(round_.view).saturate(round_.secrets(OWNER).mask)
    assert _facts(known) == OF_MASK
    assert not known.opened
    assert [mask for mask in known.masks(OWNER) if mask not in known.facts] == [("self mask", OWNER)]


def test_the_self_seed_of_a_survivor_gives_its_self_mask_alone() -> None:
    round_ = _round()
    known = Closure(round_.view).saturate(round_.secrets(OWNER).seed)
    assert _facts(known) == OF_SEED
    assert not known.opened
    assert {mask for mask in known.masks(OWNER) if mask not in known.facts} == PAIRS


@pytest.mark.parametrize(("kind", "expected"), [("mask secret", OF_MASK), ("self seed", OF_SEED)])
def test_shares_give_nothing_below_the_threshold_and_their_own_secret_from_it_on(
    kind: str, expected: set[Fact]
) -> None:
    round_ = _round()
    shares, threshold = _shares(round_, kind), round_.parameters.threshold
    for held in range(len(shares) + 1):
        known = Closure(round_.view)
        for holder in sorted(shares)[:held]:
            known.hold(kind, OWNER, holder, shares[holder])
        raw = [share.to_bytes(33, "big")[1:] for share in shares.values()][:held]
        known.saturate(*raw)
        assert _facts(known) == (expected if held >= threshold else set())
        assert not known.opened


def test_all_shares_but_one_too_few_of_both_kinds_give_nothing() -> None:
    round_ = _round()
    known = Closure(round_.view)
    for kind in ("mask secret", "self seed"):
        for holder, share in sorted(_shares(round_, kind).items())[: round_.parameters.threshold - 1]:
            known.hold(kind, OWNER, holder, share)
    assert not _facts(known.saturate())


def test_both_secrets_of_one_site_bare_its_vector_and_open_no_seal() -> None:
    """Why no more than one of them may ever be within reach."""
    round_ = _round()
    secrets = round_.secrets(OWNER)
    known = Closure(round_.view).saturate(secrets.mask, secrets.seed)
    assert _facts(known) == OF_MASK | OF_SEED
    assert not known.opened
    assert known.has_read(OWNER, round_.vectors[OWNER])


def test_the_channel_secret_opens_what_is_sealed_for_its_site_and_gives_its_pair_masks_alone() -> None:
    """It is never revealed. Even then what the site sealed for others stays closed, and with it its self seed."""
    round_ = _round()
    known = Closure(round_.view).saturate(round_.secrets(OWNER).channel)
    assert _facts(known) == OF_CHANNEL | OF_SEALS | PAIRS | {("x", OWNER, peer) for peer in PEERS}
    assert known.opened.keys() == INBOUND
    assert not known.has_read(OWNER, round_.vectors[OWNER])


def test_the_root_that_is_never_revealed_would_open_every_seal_of_its_site_and_of_no_other() -> None:
    round_ = _round()
    known = Closure(round_.view).saturate(round_.root(OWNER))
    of_root: set[Fact] = {("root", OWNER), ("polynomial", OWNER, "s"), ("polynomial", OWNER, "m")}
    assert _facts(known) == OF_MASK | OF_SEED | OF_CHANNEL | OF_SEALS | of_root
    assert known.opened.keys() == SEALS
    assert known.has_read(OWNER, round_.vectors[OWNER])


def test_control_under_the_old_derivation_the_mask_secret_opened_all_of_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share_the_channel(monkeypatch)
    round_ = _round()
    known = Closure(round_.view).saturate(round_.secrets(OWNER).mask)
    assert known.opened.keys() == SEALS
    assert known.has_read(OWNER, round_.vectors[OWNER])
