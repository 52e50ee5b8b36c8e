"""What others reach on the same rows: pooled models without privacy, and DP-SGD of Opacus at one place."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from federation.plan.settings import Settings

Numbers = NDArray[Any]


def _logistic(_: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=2000)


def _network(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((32,), early_stopping=True, alpha=1e-3, random_state=seed)


def _trees(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(early_stopping=True, random_state=seed)


def _without_privacy(
    made: Callable[[int], Any], inputs: Numbers, labels: Numbers, tested: Numbers, seed: int
) -> Numbers:
    """The scores of the tested rows by a model that is trained on all records at one place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(made(seed).fit(inputs, labels).predict_proba(tested)[:, 1], np.float64)


POOLED: Final[Mapping[str, Callable[[Numbers, Numbers, Numbers, int], Numbers]]] = {
    "logistic": partial(_without_privacy, _logistic),
    "additive": partial(_without_privacy, _logistic),
    "MLP": partial(_without_privacy, _network),
    "boosted trees": partial(_without_privacy, _trees),
}
"""By name; "additive" is logistic regression on the inputs of our additive model."""


class _Rows(torch.utils.data.TensorDataset):
    """Rows of which a loader takes a whole batch at once, and does not stack them one by one."""

    def __getitems__(self, places: list[int]) -> tuple[torch.Tensor, ...]:
        return tuple(tensor[places] for tensor in self.tensors)


def opacus(
    inputs: Numbers, labels: Numbers, tested: Numbers, epsilon: float, delta: float, settings: Settings
) -> Numbers:
    """The scores of a linear model by Opacus, one place, unit record, with the settings of the rule."""
    from opacus import PrivacyEngine
    from torch.utils.data import DataLoader

    rows = _Rows(torch.tensor(inputs), torch.tensor(labels))
    model: Any = nn.Linear(inputs.shape[1], 2)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    size = max(1, round(settings.sample_rate * len(rows)))
    loader: Any = DataLoader(rows, batch_size=size, collate_fn=lambda batch: batch)
    epochs = max(1, round(settings.rounds / len(loader)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, optimizer, loader = PrivacyEngine().make_private_with_epsilon(
            module=model,
            optimizer=torch.optim.Adam(model.parameters(), settings.learning_rate),
            data_loader=loader,
            target_epsilon=epsilon,
            target_delta=delta,
            epochs=epochs,
            max_grad_norm=settings.clipping_norm,
        )
        for _ in range(epochs):
            for features, classes in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(features), classes).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    with torch.no_grad():
        return np.asarray(torch.softmax(model(torch.tensor(tested)).double(), 1)[:, 1])
