"""A site's own steps are those of torch's optimizers, to the last bit, and load none of torch's compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from clients.training.steps import Steps
from federation.config.tables import Training
from tests import ROOT

OF_TORCH = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("optimizer", "extra"),
    [
        ("sgd", {}),
        ("sgd", {"momentum": 0.9}),
        ("adam", {}),
        ("adamw", {"weight_decay": 0.3}),
        ("rmsprop", {}),
    ],
)
def test_every_step_is_torchs_to_the_last_bit(
    optimizer: str, extra: dict[str, float], dtype: torch.dtype
) -> None:
    training = Training.model_validate(
        {"optimizer": optimizer, "learning_rate": 0.07, "local_steps": 30, "sample_rate": 0.5} | extra
    )
    generator = torch.Generator().manual_seed(3)
    ours = torch.randn(501, generator=generator, dtype=dtype)
    theirs = ours.clone()
    steps = Steps(training, ours)
    optimizer_of_torch = OF_TORCH[optimizer]([theirs], lr=0.07, **extra)
    for scale in 10.0 ** torch.linspace(-6, 3, 30, dtype=torch.float64):
        gradient = (scale * torch.randn(501, generator=generator, dtype=torch.float64)).to(dtype)
        before = gradient.clone()
        steps.step(gradient)
        theirs.grad = before.clone()
        optimizer_of_torch.step()
        assert torch.equal(ours, theirs)
        assert torch.equal(gradient, before), "what was handed in is left as it was"


TRAINS = """
import sys, torch
from clients.training.screening.screen import try_out
from clients.training.work import Trainer, site_stream, worst_case_seconds
from federation.model.task import Dataset, build_task
from federation.model.params import Layout
from federation.round.messages import Member
from federation.round.terms import Terms
from tests.plans import plan_of

data = Dataset(torch.rand(40, 5), torch.arange(40) % 2)
for rules in (
    {"noise": "site", "optimizer": "adamw", "training.weight_decay": 0.1, "local_steps": 2},
    {"evaluation.epsilon": 1.0},
    dict(noise="central", unit="client", optimizer="rmsprop"), dict(noise="none"), dict(model="mlp"),
):
    plan = plan_of(rules)
    task = build_task(plan)
    try_out(task, data, plan, 40)
    members = tuple(Member(name, 40) for name in "abc")
    terms = Terms(plan, bytes(16), 1, 1, members, Layout.of(task.model()).dimension)
    worst_case_seconds(terms, "a", Trainer(task, data, lambda number: site_stream(plan, "a", number)))
print(*sorted({"opacus", "torch._dynamo"} & sys.modules.keys()))
"""


def test_a_built_in_model_is_trained_without_opacus_and_without_the_compiler_of_torch() -> None:
    """They were 146 of the 430 MB that a site took; a model of other layers may need both."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINS], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
