"""Sites whose own signatures convict them: named, left out, and the run goes on, with the right sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.site import Site
from federation.report.receipt import Receipt
from federation.round.messages import Kind
from federation.sums.state import ServerState, begin
from privacy.secagg import client
from privacy.secagg.dealing import End
from privacy.secagg.messages import Portion, Reveal
from privacy.signing import public_identity
from simulations.world import World
from tests.stories.network import Decide, Fate, Network, vanish
from tests.worlds import NAMES, by_hand, close, opened, plan_of, rounds_of, start

ASH, BIRCH, CEDAR, DOGWOOD, ELM = NAMES
REST = (BIRCH, CEDAR, DOGWOOD, ELM)
PLAN = plan_of(rounds=3, dropouts=1, colluders=1)


def play(world: World, sites: Mapping[str, Site], decide: Decide) -> tuple[ServerState, list[Receipt]]:
    network = Network({name: site.receive for name, site in sites.items()}, decide)
    state, receipts = begin(world.plan, bytes(range(16)), start(world.plan)), []
    for after, receipt in rounds_of(world, network, state):
        state = after
        receipts.append(receipt)
    return state, receipts


def test_a_holder_that_reveals_a_wrong_share_is_named_and_the_sum_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(PLAN, tmp_path, 5) as (world, sites):
        liar, sign = public_identity(world.identities[ASH]), client.sign_reveal

        def lying(
            identity: Ed25519PrivateKey,
            transcript: bytes,
            survivors: frozenset[int],
            taken: bytes,
            given: Reveal,
        ) -> Reveal:
            if public_identity(identity) == liar:
                wrong = {owner: share ^ (owner == 2) for owner, share in given.seed_shares.items()}
                given = replace(given, seed_shares=wrong)
            return sign(identity, transcript, survivors, taken, given)

        monkeypatch.setattr(client, "sign_reveal", lying)
        state, receipts = play(world, sites, lambda *_: Fate.FINE)
        assert [receipt.survivors for receipt in receipts] == [NAMES, REST, REST]
        assert [receipt.proven for receipt in receipts] == [(ASH,)] * 3
        assert [receipt.cohort for receipt in receipts[1:]] == [REST] * 2
        assert close(state.params, by_hand(PLAN, world.training, [NAMES, REST, REST]))


def test_a_dealer_of_a_wrong_half_costs_a_round_is_named_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It vanishes after it masked wrongly: its half of the mask does not follow from the secret that is rebuilt."""
    with opened(PLAN, tmp_path, 5) as (world, sites):
        liar, portion = public_identity(world.identities[ASH]), End.portion

        def lying(end: End, secret: bytes, peer: int, shares: tuple[int, ...]) -> Portion:
            dealt = portion(end, secret, peer, shares)
            is_wrong = public_identity(end.identity) == liar and peer == 2
            return replace(dealt, mask_half=bytes(32)) if is_wrong else dealt

        monkeypatch.setattr(End, "portion", lying)
        state, receipts = play(world, sites, vanish(ASH, Kind.BROADCAST, 1))
        assert [receipt.survivors for receipt in receipts] == [(), REST, REST]
        lost = receipts[0]
        assert lost.proven == (ASH,)
        assert lost.charged == set(NAMES), (
            "all were asked; the number is used up, and the next one is charged"
        )
        assert lost.params_before == lost.params_after
        assert close(state.params, by_hand(PLAN, world.training, [REST, REST]))
        begun = {name: site.journal.rounds_begun(state.run.hex()) for name, site in sites.items()}
        assert begun == dict.fromkeys(REST, 3) | {ASH: 0}, "the request of round 1 never arrived there"
