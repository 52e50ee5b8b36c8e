"""The tree of RFC 9162: its published roots, its worked example, and proofs that hold for nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.tlog.merkle import (
    consistency,
    inclusion,
    is_consistent,
    is_included,
    leaf_hash,
    root_of,
)

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
"""Of 0 to 8 of these leaves: the vectors that implementations of certificate transparency share."""
HASHES = [leaf_hash(leaf) for leaf in LEAVES]
SIZES = st.integers(1, 40)


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size: int) -> None:
    assert root_of(HASHES[:size]).hex() == ROOTS[size]


def test_the_worked_example_of_the_rfc() -> None:
    """RFC 9162, section 2.1.5: seven leaves; a to j are leaves and the nodes above them, from the left."""
    a, b, c, d, e, f, j = HASHES[:7]
    g, h, i = node(a, b), node(c, d), node(e, f)
    k, m = node(g, h), node(i, j)
    assert root_of(HASHES[:7]) == node(k, m)
    assert inclusion(HASHES[:7], 0) == [b, h, m]
    assert inclusion(HASHES[:7], 3) == [c, g, m]
    assert inclusion(HASHES[:7], 4) == [f, j, k]
    assert inclusion(HASHES[:7], 6) == [i, k]
    assert consistency(HASHES[:7], 3) == [c, d, g, m]
    assert consistency(HASHES[:7], 4) == [m]
    assert consistency(HASHES[:7], 6) == [i, j, k]


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree(size: int, salt: int = 0) -> list[bytes]:
    return [leaf_hash(f"{salt}/{number}".encode()) for number in range(size)]


@given(size=SIZES, data=st.data())
def test_an_inclusion_proof_holds_for_its_leaf_place_and_tree_alone(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = tree(size)
    proof, root = inclusion(leaves, index), root_of(leaves)
    assert is_included(leaves[index], index, size, proof, root)
    assert not is_included(leaf_hash(b"another"), index, size, proof, root)
    assert not is_included(leaves[index], index, size, [*proof, bytes(32)], root)
    assert not is_included(leaves[index], index, size, proof, root_of(tree(size, 1)))
    for other in range(size):
        assert is_included(leaves[index], other, size, proof, root) == (other == index)
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        assert not is_included(leaves[index], index, size, [*proof[:place], *proof[place + 1 :]], root)
        assert not is_included(
            leaves[index], index, size, [*proof[:place], bytes(32), *proof[place + 1 :]], root
        )


@given(size=SIZES, data=st.data())
def test_a_consistency_proof_holds_for_a_tree_that_was_continued_alone(
    size: int, data: st.DataObject
) -> None:
    old = data.draw(st.integers(0, size))
    leaves = tree(size)
    before, after, proof = root_of(leaves[:old]), root_of(leaves), consistency(leaves, old)
    assert is_consistent(old, before, size, after, proof)
    assert not is_consistent(old, before, size, after, [*proof, bytes(32)])
    changed = [*leaves]
    changed[data.draw(st.integers(0, max(0, old - 1)))] = leaf_hash(b"another")
    if old:
        assert not is_consistent(old, root_of(changed[:old]), size, after, proof)
        assert not is_consistent(old, before, size, root_of(changed), consistency(changed, old))
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        assert not is_consistent(old, before, size, after, [*proof[:place], bytes(32), *proof[place + 1 :]])
        assert not is_consistent(old, before, size, after, [*proof[:place], *proof[place + 1 :]])


def test_nothing_out_of_range_is_a_proof() -> None:
    leaves = tree(5)
    root = root_of(leaves)
    assert not is_included(leaves[0], 5, 5, [], root)
    assert not is_included(leaves[0], -1, 5, inclusion(leaves, 0), root)
    assert not is_consistent(6, root, 5, root, [])
    assert not is_consistent(3, root_of(leaves[:3]), 5, root, [bytes(32)] * 65)
    with pytest.raises(ValueError, match="no such leaf"):
        inclusion(leaves, 5)
    with pytest.raises(ValueError, match="no such tree"):
        consistency(leaves, 6)
