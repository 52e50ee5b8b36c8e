"""Known answers for a second implementation of docs/protocol.md: `python -m tests.vectors.generate` writes them.

Everything is in hexadecimal, in the bytes of the specification. Randomness is given as what each site drew, in
order, and as what was encapsulated, so that all else follows. The package `cryptography` draws what it
encapsulates by itself; so that the file can be made again, what is in it is used once more where it fits the
keys.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from privacy.roster import SignedRoster
from privacy.secagg import dealing
from privacy.secagg.graph import permutation
from privacy.secagg.kem import encapsulate
from privacy.secagg.keys import Channel, Secrets, channel_pair, kem_pair, mask_half, wrap_half
from privacy.secagg.masks import keystream, pair_mask, self_mask
from privacy.secagg.messages import Adverts, SealedShares
from privacy.secagg.parameters import Parameters
from privacy.secagg.ring import lane_type, pack
from privacy.secagg.server import Phase
from privacy.secagg.shamir import split
from privacy.secagg.statements import accepted_digest, bind_adverts, bind_session, commit, taken_digest
from tests.privacy.secagg.rounds import CONTEXT, SESSION, Round, entropy, identity, ring_vector, site

FILE = Path(__file__).with_name("secagg.json")

_SITES, _VANISHING = 5, 4


class _Recorded:
    """A site's randomness, and what it gave."""

    def __init__(self, name: str) -> None:
        self._source = entropy(name)
        self.drawn: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self.drawn.append(self._source(size))
        return self.drawn[-1]


class _Replayed:
    """Encapsulations: those on file for a key that is there, and fresh ones else."""

    def __init__(self) -> None:
        on_file = json.loads(FILE.read_text())["round"].get("encapsulated", []) if FILE.exists() else []
        self._rest = [tuple(bytes.fromhex(each[at]) for at in _ENTRY) for each in on_file]
        self.made: list[tuple[bytes, bytes, bytes]] = []

    def __call__(self, public: bytes) -> tuple[bytes, bytes]:
        key = hashlib.sha256(public).digest()
        found = next((each for each in self._rest if each[0] == key), None)
        if found is None:
            self.made.append((key, *encapsulate(public)))
        else:
            self._rest.remove(found)
            self.made.append(found)  # type: ignore[arg-type]
        return self.made[-1][1:]


_ENTRY = ("SHA-256 of the KEM key", "secret", "ciphertext")
_WAYS = [(one, other) for one in range(_SITES) for other in range(_SITES) if one != other]


def vectors() -> dict[str, Any]:
    """All known answers, ready to be written as JSON."""
    return {
        "note": "docs/protocol.md, suite 4; bytes in hexadecimal; written by tests/vectors/generate.py",
        "parameters": [_parameters(*case) for case in [(3, 1, 0), (5, 1, 9), (10, 2, 9), (100, 33, 40)]],
        "rings": [_ring(*case) for case in [(129, 2, 5), (500, 25, 50), (1000, 50, 100)]],
        "packing": [
            _packing(bits, length) for bits in (1, 13, 16, 20, 21, 32, 45, 62) for length in (1, 7, 65)
        ],
        "keystream": keystream(bytes(range(32)), 64).hex(),
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
    replayed = _Replayed()
    with patch.object(dealing, "encapsulate", replayed):
        return _played(replayed)


def _played(replayed: _Replayed) -> dict[str, Any]:
    """Five sites, of which two may be missing, with two levels of excess noise; site 4 uploads nothing."""
    round_ = Round(_SITES, colluders=0, ring_bits=20, length=5, levels=(1, 2))
    sources = [_Recorded(site(slot)) for slot in range(_SITES)]
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
        "colluders": 0,
        "dropouts": round_.parameters.dropouts,
        "ring bits": 20,
        "levels": [1, 2],
        "consortium": _consortium(round_),
        "sites": [_site(round_, slot, sources[slot]) for slot in range(_SITES)],
        "links": _links(round_),
        "encapsulated": [
            {"from": one, "to": other} | {name: part.hex() for name, part in zip(_ENTRY, made, strict=True)}
            for (one, other), made in zip(_WAYS, replayed.made, strict=True)
        ],
        "keys": _keys(round_, sources, replayed),
        "steps": steps,
        "survivors": list(round_.server.survivors),
        "opened": _opened(round_),
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
        "seeds of excess noise": [each.hex() for each in round_.excess(slot)],
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


def _keys(round_: Round, sources: list[_Recorded], replayed: _Replayed) -> dict[str, str]:
    """The keys between sites 0 and 1, and those of site 0 alone."""
    session, transcript = _session(round_), round_.server.transcript
    link = bind_adverts(session, _adverts(round_))
    secrets, other = (Secrets.of(source.drawn[0], session) for source in sources[:2])
    agreed = channel_pair(secrets.channel, session).agree(channel_pair(other.channel, session).public)
    sealed = {way: made[1:] for way, made in zip(_WAYS, replayed.made, strict=True)}
    given, taken = mask_half(secrets.mask, link, 0, 1), mask_half(other.mask, link, 1, 0)
    wrap = wrap_half(other.mask, link, 1, 0)
    return {
        "channel public key of 0": channel_pair(secrets.channel, session).public.hex(),
        "KEM public key of 0": kem_pair(secrets.channel, session).public.hex(),
        "commitment of 0 to m": commit(secrets.seed, session, 0, "m").hex(),
        "channel key from 0 to 1": Channel.between(agreed, *sealed[0, 1], link, 0, 1).key.hex(),
        "channel key from 1 to 0": Channel.between(agreed, *sealed[1, 0], link, 1, 0).key.hex(),
        "mask half from 0 to 1": given.hex(),
        "wrap half from 1 to 0": wrap.hex(),
        "wrap key from 0 to 1": Channel.of_wrap(wrap, transcript, 0, 1).key.hex(),
        "pair mask key of 0 and 1": pair_mask(given, taken, transcript, 0, 1).key.hex(),
        "self mask key of 0": self_mask(secrets.seed, transcript, 0).key.hex(),
        "accepted by 0": _accepted(round_, link, 0).hex(),
    }


def _accepted(round_: Round, link: bytes, slot: int) -> bytes:
    dealt = {
        peer: SealedShares.from_bytes(round_.clients[peer]._answered[2][1], 2).by_slot[slot].dealt
        for peer in range(_SITES)
        if peer != slot
    }
    return accepted_digest(link, {peer: taken_digest(each) for peer, each in dealt.items()})


def _opened(round_: Round) -> dict[str, Any]:
    """What the server rebuilds."""
    opened = round_.server.opened
    assert opened is not None
    return {
        "self seeds": {site(slot): seed.hex() for slot, seed in opened.seeds.items()},
        "mask secrets": {site(slot): secret.hex() for slot, secret in opened.secrets.items()},
        "excess noise": {site(slot): [level, seed.hex()] for slot, (level, seed) in opened.excess.items()},
    }


def to_json() -> str:
    """The file's text."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(to_json())
