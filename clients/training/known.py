"""Which batches are known to be their records, one beside the other: by what the code is, not by what it did.

Made-up records cannot show this. `x / x.abs().max().clamp(min=1)` leaves values in [0, 1) alone, and scales a whole
batch by the one record that has a 40 in it; `torch.where((x > 9).any(), ...)` and a `try` around an assertion are
like it. So code of the user's own sees records one by one, or under `vmap`, where each is a batch of its own. A
batch as such goes through a chain of layers whose formulas we know, and through our own loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from torch import Tensor, nn
from torch.func import vmap

from federation.errors import TaskError
from federation.model.builtin import Intercepts
from federation.model.sequences import Attention, Block, Gru, Last, Positions
from federation.model.task import is_ours

# Each computes every record by itself, whatever its values. Softmax over the records, the one exception that its
# settings allow, shows on any made-up records.
_LAYERS: Final = frozenset({
    nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d,
    nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.RMSNorm,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Softmax,
    nn.LogSoftmax, nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout,
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.ZeroPad1d, nn.ZeroPad2d, nn.Upsample, Intercepts,
    Gru, Positions, Attention, Block, Last,
})  # fmt: skip
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_known(model: nn.Module) -> bool:
    """Whether the model is a layer of torch's, or a chain of them, with nothing of the user's own in it."""
    return all(_is_plain(part) for part in model.modules())


def each(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of every record by itself, (n,), also if the code of `loss` looks at the batch."""
    if is_ours(loss):
        return loss

    def of_one(output: Tensor, label: Tensor) -> Tensor:
        found = loss(output[None], label[None])
        if not isinstance(found, Tensor) or found.shape != (1,):
            raise TaskError("the loss is not one number per record", hint='use reduction="none"')
        return found[0]

    def of_each(outputs: Tensor, labels: Tensor) -> Tensor:
        found: Tensor = vmap(of_one, randomness="different")(outputs, labels)
        return found

    return of_each


def _is_plain(part: nn.Module) -> bool:
    own = vars(part)
    return (type(part) is nn.Sequential or type(part) in _LAYERS) and not (
        "forward" in own or any(own.get(name) for name in _HOOKS)
    )
