"""An ONNX file, tried in onnxruntime before it is handed out: it says of made-up rows what the model says."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from clients.exporting.captured import captured
from clients.exporting.forms import Exported, are_close
from clients.exporting.libraries import library, quietly
from clients.exporting.rows import said_by
from clients.exporting.safetensors_form import tensors_of
from clients.exporting.schema import INPUT, OUTPUT, ROWS
from clients.exporting.stated import Stated
from federation.errors import InputError, TaskError

_LARGEST: Final = 2_000_000_000
"""Bytes of a protocol buffer, with room for the graph."""


def onnx_bytes(model: Exported) -> bytes:
    """The file. InputError without the extra, or for a model too large; TaskError if outputs differ."""
    if sum(part.numel() * part.element_size() for part in tensors_of(model.module).values()) > _LARGEST:
        raise InputError("ONNX holds at most 2 GB in one file", hint="write it as safetensors")
    data: bytes = _graph(model).SerializeToString()
    for count in (1, len(model.rows)):
        rows = model.rows[:count]
        if not are_close(answered(data, rows), said_by(model.module, rows, model.name)):
            raise TaskError(
                f"{model.name}: onnxruntime gives other outputs than the model", hint="write it as torch"
            )
    return data


def restated(data: bytes, stated: Stated) -> bytes:
    """A file that says other things of itself."""
    graph = library("onnx").load_from_string(data)
    named(graph, stated)
    found: bytes = graph.SerializeToString()
    return found


def answered(data: bytes, rows: Tensor) -> Tensor:
    """What onnxruntime makes of rows by a file."""
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUT], {INPUT: rows.numpy()})
    return torch.from_numpy(found)


def named(graph: Any, stated: Stated) -> None:
    """Have a graph say what it is. It keeps no names of files or of functions that made it."""
    graph.producer_name, graph.producer_version, graph.doc_string = "private-federation", "", stated.sentence
    graph.graph.name = "model"
    del graph.metadata_props[:]
    for key, text in stated.texts.items():
        graph.metadata_props.add(key=key, value=text)


def _graph(model: Exported) -> Any:
    library("onnx"), library("onnxscript")
    program = captured(model.module, model.rows, model.name)
    try:
        with quietly():
            made = torch.onnx.export(
                program,
                (),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        reason = f"{model.name}: the model cannot be written as ONNX ({type(error).__name__})"
        raise TaskError(reason, hint="write it as torch or safetensors; see --debug") from error
    assert made is not None  # noqa: S101  # as dynamo gives it
    graph = made.model_proto
    for part in (graph.graph, *graph.functions):
        _strip(part)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = ROWS
    named(graph, model.stated)
    return graph


def _strip(part: Any) -> None:
    """Take out what the exporter notes of each operation; only shapes and names stay."""
    if hasattr(part, "value_info"):
        del part.value_info[:]  # with names of rows that are ours no longer; a runtime infers them
    for thing in (part, *part.node, *getattr(part, "input", ()), *getattr(part, "output", ())):
        if hasattr(thing, "metadata_props"):
            del thing.metadata_props[:]
        if hasattr(thing, "doc_string"):
            thing.doc_string = ""
    for tensor in getattr(part, "initializer", ()):
        tensor.doc_string = ""
        del tensor.metadata_props[:]
