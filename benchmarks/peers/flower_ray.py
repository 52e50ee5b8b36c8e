"""A workload by Flower on Ray, in their environment: `python -m benchmarks.peers.flower_ray WORKLOAD ROUNDS`.

Flower's own strategy FedAvg, one client for each virtual node, one core for each: as its documentation has it.
Prints, as JSON, milliseconds of the quickest round by the clock, and seconds until rounds begin.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from time import perf_counter
from typing import Any

os.environ |= {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch.nn import functional

from benchmarks.simulation.workloads import WORKLOADS, Workload, cut, raw_round

client, server = ClientApp(), ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """One client's epoch: plain steps, or Opacus's where the workload is private."""
    torch.set_num_threads(1)
    work = WORKLOADS[os.environ["WORKLOAD"]]
    arrays = message.content["arrays"].to_torch_state_dict()  # type: ignore[union-attr]
    batches = cut(work, work.records_of(int(context.node_config["partition-id"])))
    after = _privately(work, arrays, batches) if work.privately else _plainly(work, arrays, batches)
    content = {"arrays": ArrayRecord(after), "metrics": MetricRecord({"num-examples": work.records})}
    return Message(RecordDict(content), reply_to=message)


def _plainly(work: Workload, arrays: Any, batches: Any) -> Any:
    model = work.model()
    model.load_state_dict(arrays)
    start = [param.detach().clone() for param in model.parameters()]
    raw_round(work, model, start, [batches])
    return model.state_dict()


def _privately(work: Workload, arrays: Any, batches: Any) -> Any:
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    inner = work.model()
    inner.load_state_dict(arrays)
    model = GradSampleModule(inner)
    plain = torch.optim.SGD(model.parameters(), lr=work.rate)
    optimizer = DPOptimizer(plain, noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=work.batch)
    for features, labels in batches:
        optimizer.zero_grad()
        functional.cross_entropy(model(features), labels).backward()
        optimizer.step()
    return inner.state_dict()


class Timed(FedAvg):
    """FedAvg that notes when each round's replies are there."""

    ends: list[float] = []  # noqa: RUF012

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        """As its parent, with the clock."""
        found = super().aggregate_train(server_round, replies)
        self.ends.append(perf_counter())
        return found


@server.main()
def main(grid: Grid, context: Context) -> None:  # noqa: ARG001
    """All rounds."""
    work = WORKLOADS[os.environ["WORKLOAD"]]
    strategy = Timed(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=work.clients)
    arrays = ArrayRecord(work.initial().state_dict())
    strategy.start(grid, arrays, num_rounds=int(os.environ["ROUNDS"]))


if __name__ == "__main__":
    os.environ |= {"WORKLOAD": sys.argv[1], "ROUNDS": sys.argv[2], "OMP_NUM_THREADS": "1"}
    started, work = perf_counter(), WORKLOADS[sys.argv[1]]
    run_simulation(server, client, work.clients, backend_config={"client_resources": {"num_cpus": 1}})
    each = [after - before for before, after in zip(Timed.ends, Timed.ends[1:], strict=False)]
    print(json.dumps({"round": 1e3 * min(each), "start": Timed.ends[0] - started - min(each)}))
