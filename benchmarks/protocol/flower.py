"""Flower's own secure aggregation functions, called as its client modifier calls them."""

from __future__ import annotations

import os

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.timing import least


def measure(length: int) -> dict[str, float]:
    """Milliseconds: `fixed` once per vector, `peer` for each mask, `shares` of one private key at (56, 100).

    And `bytes` of the masked vector.
    """
    from flwr.common import ndarray_to_bytes
    from flwr.common.secure_aggregation.crypto.shamir import create_shares
    from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_addition, parameters_mod
    from flwr.common.secure_aggregation.quantization import quantize
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    floats = [np.linspace(-1, 1, length)]
    integers = quantize(floats, 8.0, 2**22)
    masked = parameters_addition(integers, pseudo_rand_gen(os.urandom(32), 2**32, [(length,)]))
    private = ec.generate_private_key(ec.SECP384R1())
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def fixed() -> None:
        quantize(floats, 8.0, 2**22)
        ndarray_to_bytes(parameters_mod(masked, 2**32)[0])

    def peer() -> None:
        parameters_addition(integers, pseudo_rand_gen(os.urandom(32), 2**32, [(length,)]))

    took = least({"fixed": fixed, "peer": peer, "shares": lambda: create_shares(key, 56, 100)}, seconds=8)
    return took | {"bytes": float(len(ndarray_to_bytes(parameters_mod(masked, 2**32)[0])))}
