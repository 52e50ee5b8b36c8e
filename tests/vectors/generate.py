"""Known answers for a second implementation of docs/protocol.md: `python -m tests.vectors.generate` writes them.

Everything is in hexadecimal, in the bytes of the specification. Randomness is given as what each site drew, in
order, so that all else follows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from privacy.roster import SignedRoster
from privacy.secagg.graph import permutation
from privacy.secagg.keys import Channel, Secrets, channel_pair, mask_pair
from privacy.secagg.masks import Keystream, commit, pair_mask, self_mask
from privacy.secagg.messages import Adverts
from privacy.secagg.parameters import Parameters
from privacy.secagg.ring import lane_type, pack
from privacy.secagg.server import Phase
from privacy.secagg.shamir import split
from privacy.secagg.statements import bind_adverts, bind_session
from tests.privacy.secagg.rounds import CONTEXT, SESSION, Round, entropy, identity, ring_vector, site

FILE = Path(__file__).with_name("secagg.json")

_VANISHING = 3


class _Recorded:
    """A site's randomness, and what it gave."""

    def __init__(self, name: str) -> None:
        self._source = entropy(name)
        self.drawn: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self.drawn.append(self._source(size))
        return self.drawn[-1]


def vectors() -> dict[str, Any]:
    """All known answers, ready to be written as JSON."""
    return {
        "note": "docs/protocol.md, suite 3; bytes in hexadecimal; written by tests/vectors/generate.py",
        "parameters": [_parameters(*case) for case in [(3, 1, 0), (5, 1, 9), (10, 2, 9), (100, 33, 40)]],
        "rings": [_ring(*case) for case in [(129, 2, 5), (500, 25, 50), (1000, 50, 100)]],
        "packing": [
            _packing(bits, length) for bits in (1, 13, 16, 20, 21, 32, 45, 62) for length in (1, 7, 65)
        ],
        "keystream": _keystream(bytes(range(32)), 64).hex(),
        "shamir": _shamir(),
        "round": _round(),
    }


def _parameters(n: int, colluders: int, dropouts: int) -> dict[str, int]:
    chosen = _chosen(n, colluders, dropouts)
    return {
        "n": n,
        "colluders": colluders,
        "dropouts": dropouts,
        "quorum": chosen.quorum,
        "required": chosen.required,
        "threshold": chosen.threshold,
    }


def _chosen(n: int, colluders: int, dropouts: int) -> Parameters:
    return Parameters.choose(
        map(site, range(n)), colluders=colluders, dropouts=dropouts, ring_bits=20, length=1
    )


def _ring(n: int, colluders: int, dropouts: int) -> dict[str, Any]:
    shape = _chosen(n, colluders, dropouts).shape
    seed = bytes(range(32))
    return {
        **_parameters(n, colluders, dropouts),
        "degree": shape.degree,
        "seed": seed.hex(),
        "permutation of its first slots": list(permutation(n, seed)[:16]),
    }


def _packing(bits: int, length: int) -> dict[str, Any]:
    vector = ring_vector(f"packing/{bits}", length, bits)
    packed = pack(vector.astype(lane_type(bits)), bits)
    return {"bits": bits, "vector": vector.tolist(), "packed": packed.hex()}


def _keystream(key: bytes, size: int) -> bytes:
    buffer = bytearray(size + 16)
    Keystream(key).fill(buffer, size)
    return bytes(buffer[:size])


def _shamir() -> dict[str, Any]:
    source = _Recorded("shamir")
    secret = source(32)
    shares = split(secret, 3, range(5), source)
    return {
        "secret": secret.hex(),
        "threshold": 3,
        "drawn for the coefficients": [each.hex() for each in source.drawn[1:]],
        "shares by slot": [share.to_bytes(33, "big").hex() for share in shares.values()],
    }


def _round() -> dict[str, Any]:
    """Four sites, one colluder allowed for; site 3 uploads nothing."""
    round_ = Round(4, colluders=1, ring_bits=20, length=5)
    sources = [_Recorded(site(slot)) for slot in range(4)]
    for client, source in zip(round_.clients, sources, strict=True):
        client._entropy = source
    steps = []
    while (phase := round_.server.phase) is not Phase.DONE:
        answering = round_.everyone - (
            {_VANISHING} if phase in (Phase.MASK, Phase.COMMIT, Phase.REVEAL) else set()
        )
        requests = {slot: round_.inbox[slot].hex() for slot in sorted(answering & round_.inbox.keys())}
        answers = {slot: round_.answer(slot).hex() for slot in sorted(answering)}
        steps.append({"step": phase.name.lower(), "requests": requests, "answers": answers})
        round_.step(answering)
    return {
        "session": SESSION.hex(),
        "context": CONTEXT.hex(),
        "colluders": 1,
        "dropouts": round_.parameters.dropouts,
        "ring bits": 20,
        "consortium": _consortium(round_),
        "sites": [_site(round_, slot, sources[slot]) for slot in range(4)],
        "links": _links(round_),
        "keys": _keys(round_, sources),
        "steps": steps,
        "survivors": list(round_.server.survivors),
        "sum": round_.result(),
    }


def _consortium(round_: Round) -> dict[str, str]:
    key = identity("consortium")
    signed = SignedRoster.by(round_.roster, [key])
    return {
        "private key": key.private_bytes_raw().hex(),
        "public key": key.public_key().public_bytes_raw().hex(),
        "signed roster": signed.to_bytes().hex(),
        "root": round_.roster.root.hex(),
    }


def _site(round_: Round, slot: int, source: _Recorded) -> dict[str, Any]:
    return {
        "id": site(slot),
        "identity private key": identity(site(slot)).private_bytes_raw().hex(),
        "drawn": [each.hex() for each in source.drawn],
        "vector": np.asarray(round_.vectors[slot]).tolist(),
    }


def _session(round_: Round) -> bytes:
    return bind_session(SESSION, round_.roster.root, round_.parameters)


def _adverts(round_: Round) -> Adverts:
    return Adverts(round_.server._adverts)


def _links(round_: Round) -> dict[str, str]:
    session = _session(round_)
    return {
        "C": session.hex(),
        "A": bind_adverts(session, _adverts(round_)).hex(),
        "T": round_.server.transcript.hex(),
    }


def _keys(round_: Round, sources: list[_Recorded]) -> dict[str, str]:
    """The keys between sites 0 and 1, and those of site 0 alone."""
    session, transcript = _session(round_), round_.server.transcript
    link = bind_adverts(session, _adverts(round_))
    secrets, other = (Secrets.of(source.drawn[0], session) for source in sources[:2])
    ours, theirs = mask_pair(secrets.mask, session), mask_pair(other.mask, session)
    channel = channel_pair(secrets.channel, session).agree(channel_pair(other.channel, session).public)
    pair = pair_mask(ours.agree(theirs.public), transcript, (0, ours.public), (1, theirs.public))
    return {
        "mask public key of 0": ours.public.hex(),
        "commitment of 0": commit(secrets.seed, session, 0).hex(),
        "channel key from 0 to 1": Channel.between(channel, link, 0, 1).key.hex(),
        "channel key from 1 to 0": Channel.between(channel, link, 1, 0).key.hex(),
        "pair mask key of 0 and 1": pair.key.hex(),
        "self mask key of 0": self_mask(secrets.seed, transcript, 0).key.hex(),
    }


def to_json() -> str:
    """The file's text."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(to_json())
