"""The Merkle tree of RFC 9162, section 2.1: its root, and proofs that a leaf, or an older tree, is in it.

A leaf is hashed after a zero byte and two nodes after a one, so no leaf can pass for a node. The tree of n leaves
is split at the largest power of two below n. Proofs are lists of hashes of 32 bytes, from the leaf up.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes

HASH_BYTES = 32
MAX_PROOF = 64
"""Hashes of the longest proof, for 2^64 leaves; a longer one is no proof."""


def _sha256(*parts: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    for part in parts:
        digest.update(part)
    return digest.finalize()


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's bytes."""
    return _sha256(b"\x00", leaf)


def _node(left: bytes, right: bytes) -> bytes:
    return _sha256(b"\x01", left, right)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over the hashes of leaves, in their order. RFC 9162, section 2.1.1."""
    if not leaves:
        return _sha256()
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return _node(root_of(leaves[:split]), root_of(leaves[split:]))


def inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Proof that the leaf at `index` is in the tree of all of them. RFC 9162, section 2.1.3.1."""
    if not 0 <= index < len(leaves):
        raise ValueError("no such leaf")
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion(leaves[:split], index), root_of(leaves[split:])]
    return [*inclusion(leaves[split:], index - split), root_of(leaves[:split])]


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows the hash of a leaf at `index` in the tree of `size`. RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size or len(proof) > MAX_PROOF:
        return False
    place, last, known = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            known = _node(step, known)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            known = _node(known, step)
        place, last = place >> 1, last >> 1
    return last == 0 and known == root


def consistency(leaves: Sequence[bytes], old: int) -> list[bytes]:
    """Proof that the tree of the first `old` leaves was continued, and nothing of it changed. Section 2.1.4.1."""
    if not 0 <= old <= len(leaves):
        raise ValueError("no such tree")
    return [] if old in (0, len(leaves)) else _continued(leaves, old, is_whole=True)


def _continued(leaves: Sequence[bytes], old: int, *, is_whole: bool) -> list[bytes]:
    if old == len(leaves):
        return [] if is_whole else [root_of(leaves)]
    split = _split(len(leaves))
    if old <= split:
        return [*_continued(leaves[:split], old, is_whole=is_whole), root_of(leaves[split:])]
    return [*_continued(leaves[split:], old - split, is_whole=False), root_of(leaves[:split])]


def is_consistent(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `size` continues that of `old`. RFC 9162, section 2.1.4.2."""
    if not 0 <= old <= size or len(proof) > MAX_PROOF:
        return False
    if old in (0, size):
        return not proof and (old_root == root if old else old_root == root_of(()))
    steps = list(proof) if old & (old - 1) else [old_root, *proof]
    if not steps:
        return False
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = _node(step, before), _node(step, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = _node(after, step)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == root


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
