"""What secure aggregation costs, against the machine's own AES-256-CTR keystream and against Flower's functions.

Everything is measured in one run, and only ratios are worth comparing between machines. Writes its part of
results.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from benchmarks.protocol import flower, memory
from benchmarks.protocol.cohort import Cohort
from benchmarks.results import Rows, keep, table
from benchmarks.timing import installed, least
from privacy.secagg import ring, shamir
from privacy.secagg.masks import CHUNK_BYTES, SLACK_BYTES, Keystream, Mask, apply
from privacy.secagg.server import Phase
from privacy.secagg.statements import upload_digest

LENGTH = 1_000_000


@dataclass(frozen=True)
class Size:
    """A cohort: its sites, the peers each of them masks with, the bits that a sum of 16-bit numbers needs."""

    sites: int
    peers: int
    bits: int

    @property
    def name(self) -> str:
        return f"n = {self.sites:,}" + (f", k = {self.peers}" if self.peers < self.sites - 1 else "")


SIZES = (Size(10, 9, 20), Size(100, 99, 23), Size(1000, 124, 26))


def main() -> None:
    """Measure, print, and write the same into results.md."""
    measured = [measure(size) for size in SIZES]
    columns = [column(took) | handshake(size) for took, size in zip(measured, SIZES, strict=True)]
    rows = {name: [cells[name] for cells in columns] for name in columns[0]}
    head = ["1,000,000 parameters, one core", *(size.name for size in SIZES)]
    parts = [
        table(head, rows),
        table(["Sharing one 32-byte secret", "(56, 100)"], sharing()),
    ]
    if installed("flwr"):
        parts.append(against_flower([took["client"] for took in measured]))
    parts.append(table(["100,000,000 parameters, b = 20", "bytes per parameter", "seconds"], memory.rows()))
    keep("Secure aggregation", *parts)


def measure(size: Size) -> dict[str, float]:
    """Milliseconds, and `bytes` of a packed vector."""
    bits = size.bits
    vector = np.frombuffer(os.urandom(8 * LENGTH), np.uint64) >> np.uint64(64 - bits)
    lanes = ring.to_lanes(vector, bits)
    reduced = lanes.copy()
    packed = ring.pack(reduced, bits)
    own = [Mask(os.urandom(32), is_added=peer % 2 == 0) for peer in range(size.peers + 1)]
    others = [Mask(os.urandom(32), is_added=False) for _ in range(size.sites)]

    def client() -> bytes:
        lanes = ring.to_lanes(vector, bits)
        apply(lanes, own)
        ring.reduce(lanes, bits)
        return ring.pack(lanes, bits)

    def server() -> None:
        total = np.zeros(LENGTH, ring.lane_type(bits))
        for _ in range(size.sites):
            ring.accumulate(total, packed, bits)
        apply(total, others)
        ring.reduce(total, bits)

    return least(
        {
            "limit": lambda: keystreams(own, lanes.nbytes),
            "masks": lambda: apply(lanes, own),
            "client": client,
            "pack": lambda: ring.pack(reduced, bits),
            "add": lambda: ring.accumulate(lanes, packed, bits),
            "digest": lambda: upload_digest(packed, {}, bytes(32)),
            "server limit": lambda: keystreams(others, lanes.nbytes),
            "server": server,
        },
        seconds=20,
    ) | {"bytes": float(len(packed))}


def column(took: dict[str, float]) -> dict[str, str]:
    """One column of the first table."""
    limit, server_limit = took["limit"], took["server limit"]
    return {
        "bytes per parameter on the wire": f"{took['bytes'] / LENGTH:.3f}",
        "keystream of a client's masks: the limit": f"{limit:.1f} ms",
        "client: masks applied": _against(took["masks"], limit),
        "client: checked, masked, reduced, packed": _against(took["client"], limit),
        "pack one vector": f"{took['pack']:.2f} ms",
        "add one packed vector": f"{took['add']:.2f} ms",
        "hash one packed vector, to sign it": f"{took['digest']:.2f} ms",
        "keystream of all self masks: the limit": f"{server_limit:.1f} ms",
        "server: all vectors added and unmasked": _against(took["server"], server_limit),
    }


def keystreams(masks: list[Mask], size: int) -> None:
    """The keystreams of these masks and nothing else."""
    buffer = bytearray(CHUNK_BYTES + SLACK_BYTES)
    for mask in masks:
        stream = Keystream(mask.key)
        for start in range(0, size, CHUNK_BYTES):
            stream.fill(buffer, min(CHUNK_BYTES, size - start))


def handshake(size: Size) -> dict[str, str]:
    """The machines themselves: with a short vector what the protocol costs, with a long one what a round does."""
    short = Cohort(size.sites, size.bits, np.zeros(1, np.uint64))
    if size.sites > 128:
        short.step()
        short.step(answering=2)
        return _handshake_rows(short, "", "")
    short.run()
    long = Cohort(size.sites, size.bits, np.zeros(LENGTH, np.uint64)).run()
    return _handshake_rows(
        short, f"{long.client[Phase.MASK]:.1f} ms", f"{long.server:.0f} ms (protocol {short.server:.0f} ms)"
    )


def _handshake_rows(cohort: Cohort, masked: str, server: str) -> dict[str, str]:
    spent, keys = cohort.client, (Phase.SHARE, Phase.MASK)
    accepted = f"{cohort.accepting:.1f} ms" if masked else "not run"
    up, down = cohort.sent, cohort.received
    kb_up = (
        up[Phase.ADVERTISE] + up[Phase.SHARE] + up.get(Phase.MASK, 0)
    ) / 1e3  # the vector is of one element
    kb_down = sum(down.get(phase, 0) for phase in keys) / 1e3
    return {
        "client machine: advertise, whatever the length": f"{spent[Phase.ADVERTISE]:.1f} ms",
        "client machine: share, whatever the length": f"{spent[Phase.SHARE]:.1f} ms",
        "client machine: accept, whatever the length": accepted,
        "client machine: bytes up, but for the vector": f"{kb_up:.1f} kB",
        "client machine: bytes down, adverts and delivery": f"{kb_down:.1f} kB",
        "client machine: mask(), all that it does": masked or "not run",
        "server machine: the whole round": server or "not run",
    }


def sharing() -> Rows:
    """Shamir at (56, 100)."""
    threshold, count = 56, 100
    secret = os.urandom(32)
    shares = shamir.split(secret, threshold, range(count), os.urandom)

    def anew() -> None:
        shamir._weights.cache_clear()
        shamir.rebuild(shares, threshold)

    took = least(
        {
            "deal": lambda: shamir.split(secret, threshold, range(count), os.urandom),
            "rebuild from 100 shares, the first secret of a cohort": anew,
            "rebuild from 100 shares, each other": lambda: shamir.rebuild(shares, threshold),
        },
        seconds=3,
    )
    return {name: [f"{value:.2f} ms"] for name, value in took.items()}


def against_flower(ours: list[float]) -> str:
    """Flower's functions in this process; a whole mask is their cost for one peer, times the peers."""
    took = flower.measure(LENGTH)
    theirs = [took["fixed"] + (size.peers + 1) * took["peer"] for size in SIZES]
    rows = {
        "Flower: a client's vector quantized and masked": [f"{value:,.0f} ms" for value in theirs],
        "ours: the same, without the rounding": [f"{value:.1f} ms" for value in ours],
        "ratio": [f"{their / our:.0f}x" for their, our in zip(theirs, ours, strict=True)],
        "Flower: bytes per parameter": [f"{took['bytes'] / LENGTH:.1f}"] * len(SIZES),
        "Flower: deal one key at (56, 100)": ["", f"{took['shares']:.0f} ms", ""],
    }
    return table([f"Against Flower {installed('flwr')}", *(size.name for size in SIZES)], rows)


def _against(milliseconds: float, limit: float) -> str:
    return f"{milliseconds:.1f} ms ({limit / milliseconds:.0%} of the limit)"


if __name__ == "__main__":
    main()
