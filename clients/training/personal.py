"""A site's personal model: the released one, trained on by the site's own records, after the last round.

It is made of records without clipping and without noise, so it is as sensitive as they are. Nothing of it
may leave: no release, no round and no file of the federation reads it (docs/decisions/0055). With a pull, steps
minimize

    mean loss of the site's records  +  pull / 2 |w - released|^2

which is the personal part of MR-MTL (Liu, Hu, Wu and Smith 2022, "On privacy and personalization in cross-silo
federated learning") around a mean that does not move any more. A large pull stays at the released model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clients.training.isolation import Tally, draws_apart, listening
from clients.training.local import local_delta, plain_gradient
from federation.errors import FederationError, TaskError, TrainingDiverged
from federation.model.params import Layout
from federation.model.task import Dataset, Task
from federation.plan.plan import Plan
from privacy.errors import PrivacyError
from privacy.mechanism.noise import Stream


def personal_params(
    plan: Plan, task: Task, params: Tensor, data: Dataset, stream: Stream, tally: Tally | None = None
) -> Tensor:
    """Params (d,) of a site's own from the released `params`, which are returned where the site has no records.

    `data` is what the site trains on; held-out records stay out. TrainingDiverged where steps end in no number;
    TaskError for what the task's code raised, without its text.
    """
    rules = plan.personal
    if rules is None:
        raise ValueError("the plan has no personal model")
    if len(data) == 0:
        return params.clone()
    training = plan.training.model_copy(
        update={"local_steps": rules.steps, "learning_rate": rules.learning_rate, "proximal": rules.pull}
    )
    try:
        with listening(), draws_apart():
            model = task.model()
            Layout.of(model).load(model, params)
            gradient = plain_gradient(model.train(), task.loss, tally, task.class_weights)
            everyone = Dataset(data.features, data.labels)  # nobody is clipped, so nobody is drawn whole
            delta = local_delta(model, everyone, training, len(data), stream, gradient, lambda total: total)
    except (FederationError, PrivacyError):
        raise
    except (Exception, SystemExit) as error:
        kind = type(error).__name__
        raise TaskError(f"personal training failed with {kind}", hint="try the task's code") from None
    found = (params.to(torch.float64) + delta).to(params.dtype)
    if not bool(found.isfinite().all()):
        hint = "agree on a lower personal.learning_rate; the released model is as it was"
        raise TrainingDiverged("the personal model is not finite", hint=hint)
    return found
