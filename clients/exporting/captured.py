"""A model as a graph of operations, by `torch.export`, that stands for any number of rows.

Unlike a trace, the capture refuses a model that chooses its way by the values of a record. What a graph says of
itself would name files of this machine (stack traces): that is taken out before anything is written.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from clients.exporting.libraries import quietly
from clients.exporting.schema import ROWS
from federation.errors import TaskError

_HINT = "write it as safetensors, which holds params alone; see --debug for the reason"


def captured(module: nn.Module, rows: Tensor, name: str) -> ExportedProgram:
    """The graph of a model that takes rows (n, ...). TaskError if there is none that holds for every n."""
    try:
        with quietly(), torch.no_grad():
            program = torch.export.export(module, (rows,), dynamic_shapes=({0: Dim(ROWS)},))
    except Exception as error:
        reason = f"{name}: the model cannot be captured as a graph for any number of rows"
        raise TaskError(f"{reason} ({type(error).__name__})", hint=_HINT) from error
    for graph in program.graph_module.modules():
        if isinstance(graph, torch.fx.GraphModule):
            for node in graph.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program
