"""A workload by pfl-research, in its environment: `python -m benchmarks.peers.pfl_research WORKLOAD ROUNDS`.

Prints, as JSON, milliseconds of the quickest round, by the clock and on the processor, and seconds until the first.
"""

from __future__ import annotations

import json
import sys
import types
from time import perf_counter, process_time
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.simulation.workloads import WORKLOADS, Workload


class Clock(TrainingProcessCallback):  # type: ignore[misc]
    """When each round ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def on_train_begin(self, *, model: Any) -> Any:  # noqa: ARG002
        """Before the first round."""
        self.ends.append((perf_counter(), process_time()))
        return Metrics()

    def after_central_iteration(self, aggregate_metrics: Any, model: Any, **_: Any) -> tuple[bool, Any]:  # noqa: ARG002
        """After each."""
        self.ends.append((perf_counter(), process_time()))
        return False, Metrics()


def adapted(work: Workload) -> nn.Module:
    """The network with the two methods that the library asks of one."""

    def loss(self: nn.Module, features: Tensor, labels: Tensor, eval: bool = False) -> Tensor:  # noqa: A002
        self.train(not eval)
        return functional.cross_entropy(self(features), labels.squeeze())

    def metrics(self: nn.Module, features: Tensor, labels: Tensor, eval: bool = True) -> Any:  # noqa: A002
        return {"loss": Weighted(float(loss(self, features, labels, eval)), 1)}

    model = work.initial()
    model.loss, model.metrics = types.MethodType(loss, model), types.MethodType(metrics, model)  # type: ignore[assignment]
    return model


def run(work: Workload, rounds: int) -> dict[str, float]:
    """So many rounds, the first of them for caches."""
    started = perf_counter()
    data = {str(client): work.records_of(client) for client in range(work.clients)}
    population = FederatedDataset(
        lambda name: PyTorchTensorDataset(tensors=data[name]), get_user_sampler("minimize_reuse", list(data))
    )
    network = adapted(work)
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), lr=1.0))
    clock = Clock()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=1000,
            train_cohort_size=work.clients,
            val_cohort_size=None,
        ),
        backend=SimulatedBackend(training_data=population, val_data=population),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=work.rate, local_batch_size=work.batch
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=work.batch),
        callbacks=[clock],
    )
    each = list(zip(clock.ends[1:], clock.ends[2:], strict=False))
    return {
        "round": min(1e3 * (after[0] - before[0]) for before, after in each),
        "processor": min(1e3 * (after[1] - before[1]) for before, after in each),
        "start": clock.ends[0][0] - started,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(run(WORKLOADS[sys.argv[1]], int(sys.argv[2]))))
