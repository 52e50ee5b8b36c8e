"""Weights as 8-bit whole numbers, by onnxruntime: inputs of a layer are quantized as they come (dynamic)."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from clients.exporting.libraries import library, quietly
from clients.exporting.schema import Json
from federation.errors import InputError

OPERATORS: Final = ("MatMul", "Gemm", "Gather")
"""Those whose whole-number form the CPU has; that of a convolution it has not for signed weights."""


def quantize(data: bytes) -> tuple[bytes, Json]:
    """The file with such weights, and what was done. InputError if no layer has a form in whole numbers."""
    quantization = library("onnxruntime.quantization")
    with TemporaryDirectory(prefix="federation-") as folder:
        before, after = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(data)
        with quietly():
            quantization.quantize_dynamic(
                before,
                after,
                op_types_to_quantize=list(OPERATORS),
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
            )
        made = after.read_bytes()
    onnx = library("onnx")
    tensors = onnx.load_from_string(made).graph.initializer
    held = [one for one in tensors if one.data_type == onnx.TensorProto.INT8]
    many = sum(math.prod(one.dims) for one in held if len(one.dims) > 1)
    if not many:
        raise InputError("no layer of this model has a form in whole numbers", hint="leave --quantize out")
    return made, {"what": "quantized", "to": "int8", "how": "dynamic, per channel", "weights": many}
