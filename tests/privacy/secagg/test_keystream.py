"""The keystream is AES-256 in counter mode, by NIST's vectors and by an implementation from single blocks."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from privacy.secagg.masks import CHUNK_BYTES, SLACK_BYTES, Keystream


def _blocks(key: bytes, first: int, count: int) -> bytes:
    """Counter mode from the block cipher alone."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(b"".join((first + index).to_bytes(16, "big") for index in range(count)))


def _take(stream: Keystream, size: int) -> bytes:
    buffer = bytearray(size + SLACK_BYTES)
    stream.fill(buffer, size)
    return bytes(buffer[:size])


def test_counter_mode_from_blocks_gives_the_vectors_of_sp_800_38a_section_f_5_5() -> None:
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    plain = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    cipher = bytes.fromhex(
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )
    stream = _blocks(key, int.from_bytes(bytes(range(0xF0, 0x100)), "big"), 4)
    assert bytes(a ^ b for a, b in zip(plain, stream, strict=True)) == cipher


@given(st.binary(min_size=32, max_size=32), st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_a_keystream_is_counter_mode_from_zero_however_it_is_cut(key: bytes, sizes: list[int]) -> None:
    stream = Keystream(key)
    got = b"".join(_take(stream, size) for size in sizes)
    assert got == _blocks(key, 0, -(-len(got) // 16))[: len(got)]


def test_a_keystream_goes_on_over_chunks() -> None:
    key, stream = bytes(range(32)), Keystream(bytes(range(32)))
    got = _take(stream, CHUNK_BYTES) + _take(stream, 100)
    assert got == _blocks(key, 0, CHUNK_BYTES // 16 + 7)[: len(got)]


def test_a_shorter_key_is_refused() -> None:
    for size in (0, 16, 24, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            Keystream(bytes(size))
