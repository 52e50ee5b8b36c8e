"""The average of the params of all rounds so far, newer ones counting more: a run may end with it.

Of the params x_1, ..., x_t that t rounds with a sum made, and a decay b, Adam's correction included:

    a_t = (1 - b) / (1 - b^t) * (b^(t-1) x_1 + ... + b x_(t-1) + x_t)  =  a_(t-1) + w_t (x_t - a_(t-1))
    w_t = (1 - b) / (1 - b^t)

So a_1 = x_1, and b = 0 gives the last params, both exactly. Noise that moves the params to and fro from round to
round is smaller in the average. Like the optimizer, this sees nothing but what the sums released: it is
post-processing, and costs no privacy. Arithmetic is float64, in one order, as an auditor does it again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from federation.sums.optimizers import power


def averaged(average: Tensor, params: Tensor, decay: float, steps: int) -> Tensor:
    """The average (flat float64) after the params of step `steps`, counted from 1, from the one before."""
    weight = (1 - decay) / (1 - power(decay, steps))
    return (1 - weight) * average + weight * params.to(torch.float64)
