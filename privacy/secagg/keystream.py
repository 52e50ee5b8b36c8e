"""The mask generator: the keystream of AES-256 in counter mode, from a zero block.

A mask is only as secret as its generator is unpredictable; AES-CTR with a fresh 256-bit key is a PRF in counter
mode (NIST SP 800-38A, section 6.5). The zero initial counter is safe because each key makes only one keystream: it
is derived from one-time secrets and from the round's transcript. Lane i of a mask is the i-th little-endian word of
the keystream; its low b bits are uniform because all its bits are. See docs/protocol.md, section 4.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_KEY_BYTES = 32
# Keystream made at a time: bounds the buffer, and keeps it and the vector's window in the cache.
CHUNK_BYTES = 1 << 17
# The cipher may ask for room for all but one byte of another block.
SLACK_BYTES = 15

_ZEROS = memoryview(bytes(CHUNK_BYTES))
_FIRST_COUNTER = bytes(16)


class Keystream:
    """The keystream of one key, read once from its beginning. Keeps no copy of the key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a keystream key has {_KEY_BYTES} bytes")
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(_FIRST_COUNTER)).encryptor()

    def fill(self, buffer: bytearray, size: int) -> None:
        """Write the next `size` <= CHUNK_BYTES bytes to a buffer at least SLACK_BYTES larger."""
        self._encryptor.update_into(_ZEROS[:size], buffer)
