"""Words that others use for what a plan or a site file says: what a user of Opacus, torch or Flower types first.

Example: `batch_size = 64` is an unknown key here, and the hint says how a plan sets the size of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping

_SAMPLE_RATE = (
    "write training.sample_rate, the share of its records that a site draws for a step: batch / records"
)
_PASSES = "write federation.rounds times training.local_steps: a pass over the data is 1 / sample_rate steps"
_NOISE = "write privacy.epsilon: the noise follows from it, and federation budget PLAN prints it"
_CLIP = "write privacy.clipping_norm"
_ADAPT = "write privacy.clipping_quantile, clipping_bounds, clipping_rate and clipping_noise"
_EPSILON = "write privacy.epsilon"
_DELTA = "write privacy.delta"
_RATE = "write learning_rate: training.learning_rate for a site, server.learning_rate for the server"
_SITES = 'write cohort.size, a number or "all", and cohort.minimum'
_SHARE = "write cohort.sample_rate, the share of the sites that a round invites"
_HOLDOUT = "write evaluation.holdout, the share of its rows that a site keeps to be tested on"
_TARGET = "write task.target, the column to be predicted"
_FEATURES = "write one line a column under [task.features], such as: age = { low = 20, high = 90 }"
_LOW, _HIGH = "write low", "write high"
_VALUES = 'write values = ["1", "2"]'
_MEMORY = "write server.beta1 (first moment) and server.beta2 (second moment)"
_FLOOR = "write server.tau, the floor of a step's denominator"
_FOLDS = "write evaluation.folds; or, in a simulation: federation simulate PLAN --sites DIR --folds 5"
_AVERAGE = "write server.iterate_average, such as 0.95: how much of the average so far a round keeps"
_PERSONAL = "write a table [personal] with steps, learning_rate and, for MR-MTL, pull"
_CODE = 'write task = "package.module:task" for code of your own'
_NONE = (
    "there is no such setting: a site's steps are plain, so that their clipping and noise cover all they do"
)

WORDS: Mapping[str, str] = {
    "batch_size": _SAMPLE_RATE,
    "batchsize": _SAMPLE_RATE,
    "batch": _SAMPLE_RATE,
    "expected_batch_size": _SAMPLE_RATE,
    "lot_size": _SAMPLE_RATE,
    "poisson_rate": _SAMPLE_RATE,
    "sampling_rate": _SAMPLE_RATE,
    "sampling_probability": _SAMPLE_RATE,
    "epoch": _PASSES,
    "epochs": _PASSES,
    "num_epochs": _PASSES,
    "local_epochs": _PASSES,
    "steps": _PASSES,
    "iterations": _PASSES,
    "num_rounds": "write federation.rounds",
    "noise_multiplier": _NOISE,
    "noise_scale": _NOISE,
    "noise_std": _NOISE,
    "sigma": _NOISE,
    "max_grad_norm": _CLIP,
    "max_norm": _CLIP,
    "grad_clip": _CLIP,
    "clip": _CLIP,
    "clip_norm": _CLIP,
    "l2_norm_clip": _CLIP,
    "sensitivity": _CLIP,
    "target_unclipped_quantile": _ADAPT,
    "target_quantile": _ADAPT,
    "clip_norm_lr": _ADAPT,
    "clipped_count_stddev": _ADAPT,
    "target_epsilon": _EPSILON,
    "eps": _EPSILON,
    "privacy_budget": _EPSILON,
    "target_delta": _DELTA,
    "lr": _RATE,
    "eta": _RATE,
    "step_size": _RATE,
    "clients": _SITES,
    "num_clients": _SITES,
    "min_clients": _SITES,
    "min_fit_clients": _SITES,
    "min_available_clients": _SITES,
    "num_sites": _SITES,
    "fraction_fit": _SHARE,
    "fraction_train": _SHARE,
    "client_fraction": _SHARE,
    "test_size": _HOLDOUT,
    "test_split": _HOLDOUT,
    "validation_split": _HOLDOUT,
    "val_size": _HOLDOUT,
    "folds": _FOLDS,
    "cv_folds": _FOLDS,
    "n_splits": _FOLDS,
    "label": _TARGET,
    "labels": _TARGET,
    "label_column": _TARGET,
    "outcome": _TARGET,
    "columns": _FEATURES,
    "inputs": _FEATURES,
    "predictors": _FEATURES,
    "covariates": _FEATURES,
    "min": _LOW,
    "lower": _LOW,
    "max": _HIGH,
    "upper": _HIGH,
    "categories": _VALUES,
    "levels": _VALUES,
    "options": _VALUES,
    "betas": _MEMORY,
    "momentum": _MEMORY,
    "personalization": _PERSONAL,
    "fine_tuning": _PERSONAL,
    "finetune_steps": _PERSONAL,
    "mr_mtl": _PERSONAL,
    "ditto": _PERSONAL,
    "epsilon_adam": _FLOOR,
    "adam_eps": _FLOOR,
    "ema": _AVERAGE,
    "ema_decay": _AVERAGE,
    "polyak": _AVERAGE,
    "swa": _AVERAGE,
    "average_params": _AVERAGE,
    "module": _CODE,
    "weight_decay": 'write training.weight_decay beside training.optimizer = "adamw"',
    "decay": 'write training.weight_decay beside training.optimizer = "adamw"',
    "mu": "write training.proximal, the mu of FedProx",
    "fedprox_mu": "write training.proximal, the mu of FedProx",
    "proximal_mu": "write training.proximal, the mu of FedProx",
    "scheduler": _NONE,
    "lr_scheduler": _NONE,
    "nesterov": _NONE,
    "simulation": "faults are no part of a plan: federation simulate --faults FILE",
    "faults": "faults are no part of a plan: federation simulate --faults FILE",
}


def meant_by(word: str) -> str:
    """How a plan says what `word` means elsewhere; "" for a word that is not known.

    >>> meant_by("Batch-Size").split(",")[0]
    'write training.sample_rate'
    """
    return WORDS.get(word.strip().lower().replace("-", "_"), "")
