"""A site's personal model: the released one, trained on by the site's own records, after the last round.

It is made of records without clipping and without noise, so it is as sensitive as they are. Nothing of it
may leave: no release, no round and no file of the federation reads it (docs/decisions/0055). With a pull, steps
minimize

    mean loss of the site's records  +  pull / 2 |w - released|^2

which is the personal part of MR-MTL (Liu, Hu, Wu and Smith 2022, "On privacy and personalization in cross-silo
federated learning") around a mean that does not move any more. A large pull stays at the released model.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from clients.training.isolation import Tally, draws_apart, listening
from clients.training.local import local_delta, plain_gradient
from federation.errors import FederationError, TaskError, TrainingDiverged
from federation.model.base import is_of, require_layers, trained
from federation.model.own import Parts, begun_own
from federation.model.params import Layout
from federation.model.task import Dataset, Task, whole
from federation.plan.plan import Plan
from privacy.errors import PrivacyError
from privacy.mechanism.noise import Stream


def personal_params(
    plan: Plan,
    task: Task,
    params: Tensor,
    data: Dataset,
    stream: Stream,
    tally: Tally | None = None,
    own: Tensor | None = None,
) -> Tensor:
    """Params (d,) of a site's own from the released `params`, which are returned where the site has no records.

    Where layers never travel, d counts them, and `own` is what the site kept of them: without, they begin anew.
    `data` is what the site trains on; held-out records stay out. TrainingDiverged where steps end in no number;
    TaskError for what the task's code raised, without its text.
    """
    rules = plan.personal
    if rules is None:
        raise ValueError("the plan has no personal model")
    if plan.kept:
        kept = begun_own(task.model) if own is None else own
        params, task = Parts.of_factory(task.model).united(params, kept), whole(task)
    if len(data) == 0:
        return params.clone()
    training = plan.training.model_copy(
        update={"local_steps": rules.steps, "learning_rate": rules.learning_rate, "proximal": rules.pull}
    )
    try:
        with listening(), draws_apart():
            model = task.model()
            layout = Layout.of(model)
            layout.load(model, params)
            keep_only(model, rules.layers)
            gradient = plain_gradient(model.train(), task.loss, tally, task.class_weights)
            everyone = Dataset(data.features, data.labels)  # nobody is clipped, so nobody is drawn whole
            delta = local_delta(model, everyone, training, len(data), stream, gradient, lambda total: total)
            found = moved(params, model, layout, delta)
    except (FederationError, PrivacyError):
        raise
    except (Exception, SystemExit) as error:
        kind = type(error).__name__
        raise TaskError(f"personal training failed with {kind}", hint="try the task's code") from None
    if not bool(found.isfinite().all()):
        hint = "agree on a lower personal.learning_rate; the released model is as it was"
        raise TrainingDiverged("the personal model is not finite", hint=hint)
    return found


def keep_only(model: nn.Module, layers: Sequence[str] | None) -> None:
    """Freeze what is not of these layers; all is trained for None. TaskError for a layer that the model lacks."""
    if layers is None:
        return
    require_layers(model, layers)
    for name, parameter in trained(model).items():
        parameter.requires_grad_(any(is_of(name, layer) for layer in layers))


def moved(params: Tensor, model: nn.Module, whole: Layout, delta: Tensor) -> Tensor:
    """The params (d,) with `delta` added where `model` is still trained; the others as they were, bit for bit."""
    own, parts, taken = trained(model), list[Tensor](), 0
    sizes = [prod(shape) for shape in whole.shapes]
    for name, part in zip(whole.names, torch.split(params, sizes), strict=True):
        size = part.numel() if name in own else 0
        change = delta[taken : taken + size]
        parts.append((part.to(torch.float64) + change).to(part.dtype) if size else part)
        taken += size
    return torch.cat(parts)
