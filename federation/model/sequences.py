"""Models of windows of a series: a recurrent network and a small transformer, made of linear layers.

A window arrives flat, (n, window * width), and is unfolded to (n, window, width). Every layer here works along the
steps and the columns of a window and never along the first dimension: a record is computed by itself, whatever is
in it. All parameters are those of `nn.Linear` and `nn.LayerNorm`, whose gradients per record have formulas
(clients/training/per_example.py). There is no dropout and no buffer.

`Gru` is that of Cho et al. 2014 as `nn.GRU` computes it: with its weights it gives its outputs. `nn.GRU` itself is
one operation that no formula for single records sees into.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from federation.model.shape import ATTENDED, FORWARD, HEADS, RECURRENT


class Gru(nn.Module):
    """(n, steps, inputs) to the state after the last step, (n, hidden); before the first it is zero.

    The weights of the three gates (reset, update, new) lie one below the other, as in `nn.GRU`.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(inputs, 3 * hidden)
        self.states = nn.Linear(hidden, 3 * hidden)

    def forward(self, windows: Tensor) -> Tensor:
        """Step by step."""
        state = windows.new_zeros(windows.shape[0], self.states.in_features)
        for seen in self.inputs(windows).unbind(1):
            reset, update, new = seen.chunk(3, 1)
            own_reset, own_update, own_new = self.states(state).chunk(3, 1)
            kept = torch.sigmoid(update + own_update)
            fresh = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
            state = fresh + kept * (state - fresh)
        return state


class Positions(nn.Module):
    """Adds sines and cosines of the place in a window to each step (Vaswani et al. 2017): (n, steps, width)."""

    def forward(self, windows: Tensor) -> Tensor:
        """The same for every record."""
        steps, width = windows.shape[1], windows.shape[2]
        places = torch.arange(steps, dtype=windows.dtype, device=windows.device)[:, None]
        columns = torch.arange(0, width, 2, dtype=windows.dtype, device=windows.device)
        angles = places * torch.exp(columns * (-math.log(10_000.0) / width))
        waves = torch.stack([torch.sin(angles), torch.cos(angles)], dim=2).reshape(steps, -1)
        return windows + waves[:, :width]


class Attention(nn.Module):
    """Self-attention over the steps of each window, with several heads: (n, steps, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.asked = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)

    def forward(self, windows: Tensor) -> Tensor:
        """Scaled dot products, softmax over the steps."""
        steps, width = windows.shape[1], windows.shape[2]
        own = width // self.heads
        parts = self.asked(windows).reshape(-1, steps, 3, self.heads, own).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        shares = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(own), dim=3)
        mixed: Tensor = self.joined((shares @ value).transpose(1, 2).reshape(-1, steps, width))
        return mixed


class Block(nn.Module):
    """One layer of a transformer, each half normed before it and added to what came in (Xiong et al. 2020).

    Its hidden layer is of tanh, as that of "mlp": bounded activations suit clipped gradients (Papernot et al.).
    """

    def __init__(self, width: int, heads: int, forward: int) -> None:
        super().__init__()
        self.first = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.second = nn.LayerNorm(width)
        self.wide = nn.Linear(width, forward)
        self.narrow = nn.Linear(forward, width)

    def forward(self, windows: Tensor) -> Tensor:
        """(n, steps, width) to the same."""
        mixed = windows + self.attention(self.first(windows))
        found: Tensor = mixed + self.narrow(torch.tanh(self.wide(self.second(mixed))))
        return found


class Last(nn.Module):
    """The last step of each window: (n, steps, width) to (n, width)."""

    def forward(self, windows: Tensor) -> Tensor:
        """What the step before the prediction holds, which has seen all others."""
        return windows[:, -1]


def gru(inputs: int, outputs: int, steps: int) -> nn.Module:
    """A recurrent network of flat windows."""
    unfolded = nn.Unflatten(1, (steps, inputs // steps))
    return nn.Sequential(unfolded, Gru(inputs // steps, RECURRENT), nn.Linear(RECURRENT, outputs))


def transformer(inputs: int, outputs: int, steps: int) -> nn.Module:
    """A transformer of one layer, of flat windows."""
    return nn.Sequential(
        nn.Unflatten(1, (steps, inputs // steps)),
        nn.Linear(inputs // steps, ATTENDED),
        Positions(),
        Block(ATTENDED, HEADS, FORWARD),
        Last(),
        nn.LayerNorm(ATTENDED),
        nn.Linear(ATTENDED, outputs),
    )
