"""Server optimizers: hand-worked steps, purity, resuming, and torch.optim as an oracle."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from federation.errors import CheckpointError, PlanError
from federation.sums.optimizers import DEFAULT, RULES, TAU, Decay, OptState, build, power

NAMES = sorted(RULES)
DELTAS = [
    torch.tensor([0.5, -0.25, 0.0], dtype=torch.float64),
    torch.tensor([-0.125, 0.3, 2.0], dtype=torch.float64),
    torch.tensor([0.01, 0.02, -1.5], dtype=torch.float64),
]
vectors = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=6)


def params() -> Tensor:
    return torch.tensor([1.0, -2.0, 0.5])


def follow(name: str, learning_rate: float, start: Tensor) -> Tensor:
    optimizer = build(name, learning_rate)
    state, x = optimizer.init(start), start
    for delta in DELTAS:
        state, x = optimizer.step(state, x, delta)
    return x


def descend(oracle: torch.optim.Optimizer, x: Tensor) -> Tensor:
    for delta in DELTAS:
        x.grad = -delta
        oracle.step()
    return x.detach()


def test_the_plan_can_choose_the_decay() -> None:
    # One adam step with b1 = .5, b2 = .75, tau = .1, lr = 1, x = 0, delta = .2:
    #   m = .5 * .2 = .1    v = .75 * .01 + .25 * .04 = .0175    x = .1 / (.13228757 + .1) = .4305009
    optimizer = build("adam", 1.0, Decay(0.5, 0.75, 0.1))
    x = torch.zeros(1, dtype=torch.float64)
    _, x = optimizer.step(optimizer.init(x), x, torch.tensor([0.2], dtype=torch.float64))
    assert x.item() == pytest.approx(0.4305009, abs=1e-7)


def test_two_adam_steps_worked_by_hand() -> None:
    # Algorithm 2 with b1 = .9, b2 = .99, tau = 1e-3, lr = .1, x = 1, deltas .3 and -.1:
    #   m1 = .1 * .3 = .03                 v1 = .99 * 1e-6 + .01 * .09 = 9.0099e-4      sqrt(v1) = .0300164954...
    #   x1 = 1 + .1 * .03 / .0310164954    = 1.0967227117...
    #   m2 = .9 * .03 - .1 * .1 = .017     v2 = .99 * 9.0099e-4 + .01 * .01 = 9.919801e-4
    #   x2 = x1 + .1 * .017 / (.0314957155 + .001) = 1.0967227 + .0523146 = 1.1490373
    optimizer = build("adam", 0.1, Decay(tau=1e-3))
    x = torch.tensor([1.0], dtype=torch.float64)
    state, x = optimizer.step(optimizer.init(x), x, torch.tensor([0.3], dtype=torch.float64))
    assert x.item() == pytest.approx(1.0967227, abs=1e-7)
    state, x = optimizer.step(state, x, torch.tensor([-0.1], dtype=torch.float64))
    assert x.item() == pytest.approx(1.1490373, abs=1e-7)
    assert state.moments["m"].item() == pytest.approx(0.017, abs=1e-15)
    assert state.moments["v"].item() == pytest.approx(9.919801e-4, abs=1e-15)
    assert state.steps == 2


@pytest.mark.parametrize(
    ("delta", "v"),
    [
        (0.3, 1e-6 + 0.01 * 0.09),  # the square is above v: v grows by a hundredth of the square
        (1e-4, 1e-6 - 0.01 * 1e-8),  # the square is below v: v shrinks by a hundredth of the square
    ],
)
def test_a_yogi_step_worked_by_hand(delta: float, v: float) -> None:
    optimizer = build("yogi", 0.1, Decay(tau=1e-3))
    x = torch.tensor([1.0], dtype=torch.float64)
    state, x = optimizer.step(optimizer.init(x), x, torch.tensor([delta], dtype=torch.float64))
    assert state.moments["v"].item() == pytest.approx(v, rel=1e-12)
    assert x.item() == pytest.approx(1 + 0.1 * 0.1 * delta / (math.sqrt(v) + 1e-3), rel=1e-12)


@given(vectors)
def test_averaging_with_rate_one_adds_the_delta(values: list[float]) -> None:
    x, delta = torch.zeros(len(values)), torch.tensor(values, dtype=torch.float64)
    optimizer = build("average", 1.0)
    assert torch.equal(optimizer.step(optimizer.init(x), x, delta)[1], delta.float())


def test_momentum_is_torch_sgd_with_momentum_on_minus_delta() -> None:
    x = params().double().requires_grad_()
    expected = descend(torch.optim.SGD([x], lr=0.3, momentum=0.9), x)
    torch.testing.assert_close(follow("momentum", 0.3, params().double()), expected, rtol=1e-12, atol=0)


def test_adagrad_is_torch_adagrad_that_starts_at_tau_squared() -> None:
    x = params().double().requires_grad_()
    oracle = torch.optim.Adagrad([x], lr=0.3, initial_accumulator_value=TAU**2, eps=TAU)
    torch.testing.assert_close(
        follow("adagrad", 0.3, params().double()), descend(oracle, x), rtol=1e-12, atol=0
    )


def test_adam_is_torch_adam_once_the_bias_correction_is_undone() -> None:
    # torch: x += lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps), v = 0 at the start. For t so large that
    # both corrections are 1 and tau^2 b2^t is nothing, one more step of both is the same.
    delta = torch.tensor([0.4, -0.2], dtype=torch.float64)
    ours, state, x = build("adam", 0.1), None, torch.zeros(2, dtype=torch.float64)
    theirs = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    oracle = torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.99), eps=TAU)
    state = ours.init(x)
    for step in range(4001):
        if step == 4000:
            mine_before, theirs_before = x.clone(), theirs.detach().clone()
        theirs.grad = -delta * math.sin(step)
        oracle.step()
        state, x = ours.step(state, x, delta * math.sin(step))
    torch.testing.assert_close(x - mine_before, theirs.detach() - theirs_before, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_changes_none_of_its_arguments(name: str) -> None:
    optimizer, x, delta = build(name, 0.1), params(), DELTAS[0].clone()
    state, x1 = optimizer.step(optimizer.init(x), x, delta)
    before = {key: value.clone() for key, value in state.to_tensors().items()}
    first, second = optimizer.step(state, x1, delta), optimizer.step(state, x1, delta)
    assert torch.equal(first[1], second[1])
    assert torch.equal(x, params())
    assert torch.equal(delta, DELTAS[0])
    assert all(torch.equal(value, before[key]) for key, value in state.to_tensors().items())


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_went_through_a_file_goes_on_to_the_same_bits(name: str) -> None:
    optimizer, x = build(name, 0.1), params()
    state = optimizer.init(x)
    for delta in DELTAS:
        state = OptState.from_tensors(load(save(state.to_tensors())))
        state, x = optimizer.step(state, x, delta)
    assert torch.equal(x, follow(name, 0.1, params()))
    assert state.steps == len(DELTAS)


@pytest.mark.parametrize("name", NAMES)
def test_params_keep_their_type_and_moments_are_float64(name: str) -> None:
    optimizer = build(name, 0.1)
    state, x = optimizer.step(optimizer.init(params()), params(), DELTAS[0])
    assert x.dtype is torch.float32
    assert all(moment.dtype is torch.float64 for moment in state.moments.values())


@pytest.mark.parametrize("name", NAMES)
def test_no_delta_before_any_other_moves_nothing(name: str) -> None:
    optimizer = build(name, 0.1)
    assert torch.equal(optimizer.step(optimizer.init(params()), params(), torch.zeros(3))[1], params())


def test_an_unknown_name_and_a_state_without_steps_are_refused() -> None:
    with pytest.raises(PlanError, match="one of average, momentum"):
        build("lion", 0.1)
    with pytest.raises(CheckpointError):
        OptState.from_tensors({"m": torch.zeros(1)})


def noise_only(steps: int, size: int, variance: float, seed: int) -> list[torch.Tensor]:
    """Deltas that are nothing but noise."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(steps, size, generator=generator, dtype=torch.float64)
    return list(noise * variance**0.5)


def test_of_pure_noise_nothing_is_left_in_the_corrected_second_moment() -> None:
    """DP-29: v^ - n^ is 0 within five standard errors over 20,000 coordinates; uncorrected it is the noise."""
    variance, size, steps = 0.04, 20_000, 60
    optimizer, x = build("adam-bc", 0.1), torch.zeros(size)
    state = optimizer.init(x)
    for delta in noise_only(steps, size, variance, seed=1):
        state, x = optimizer.step(state, x, delta, variance)
    late = 1 - DEFAULT.beta2**steps
    left = (state.moments["v"] - state.moments["n"]) / late
    weights = torch.tensor(
        [(1 - DEFAULT.beta2) * DEFAULT.beta2 ** (steps - 1 - t) / late for t in range(steps)]
    )
    error = variance * (2 * float(weights.square().sum()) / size) ** 0.5
    assert abs(float(left.mean())) < 5 * error
    assert float((state.moments["v"] / late).mean()) > 100 * error, "the failing control: Adam's own moment"


def test_without_noise_it_is_torch_s_adam() -> None:
    """DP-29."""
    optimizer, x = build("adam-bc", 0.05, Decay(0.9, 0.99, 1e-12)), torch.zeros(3)
    twin = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    foreign = torch.optim.Adam([twin], lr=0.05, betas=(0.9, 0.99), eps=1e-30)
    state = optimizer.init(x.double())
    y = x.double()
    for delta in DELTAS:
        state, y = optimizer.step(state, y, delta, 0.0)
        twin.grad = -delta.double()
        foreign.step()
        assert torch.allclose(y, twin.detach(), rtol=1e-9, atol=1e-12)


def test_a_small_steady_signal_under_noise_is_followed_faster_than_by_adam() -> None:
    """What the correction is for: Adam divides by the size of its noise, which is a hundred times the signal."""
    reached = {}
    for name in ("adam", "adam-bc"):
        optimizer, x = build(name, 0.01, Decay(0.9, 0.99, 0.02)), torch.zeros(4000)
        state = optimizer.init(x)
        for delta in noise_only(100, 4000, 1.0, seed=3):
            state, x = optimizer.step(state, x, delta + 0.01, 1.0)
        reached[name] = float(x.mean())
    assert reached["adam-bc"] > 2 * reached["adam"] > 0


@pytest.mark.parametrize("name", ["adagrad", "adam", "yogi"])
def test_a_step_is_as_long_whatever_the_size_of_the_deltas(name: str) -> None:
    """A model of a hundred times the parameters has deltas of a tenth; it must not be a slow SGD for that."""

    def moved(scale: float) -> Tensor:
        optimizer, x = build(name, 0.1), torch.zeros(3, dtype=torch.float64)
        state = optimizer.init(x)
        for delta in DELTAS:
            state, x = optimizer.step(state, x, scale * delta)
        return x

    torch.testing.assert_close(moved(1e-2), moved(1.0), rtol=2e-3, atol=0)
    slow = build(name, 0.1, Decay(tau=1e-3))
    x = torch.zeros(3, dtype=torch.float64)
    assert slow.step(slow.init(x), x, 1e-5 * DELTAS[0])[1].abs().max() < 0.01, (
        "the failing control: a high floor"
    )


def test_where_only_noise_is_left_the_corrected_step_is_that_of_adam() -> None:
    """Without a tau in the plan, the noise itself is the floor: no coordinate divides by next to nothing."""
    variance, steps = 0.04, 60
    optimizer, x = build("adam-bc", 0.1), torch.zeros(2000, dtype=torch.float64)
    state = optimizer.init(x)
    for delta in noise_only(steps, 2000, variance, seed=5):
        before = x
        state, x = optimizer.step(state, x, delta, variance)
    early = 1 - DEFAULT.beta1**steps
    longest = 0.1 * state.moments["m"].abs() / early / variance**0.5
    assert bool(((x - before).abs() <= longest * (1 + 1e-9)).all())


@given(base=st.floats(0, 1), exponent=st.integers(0, 5000))
def testpowers_are_made_of_multiplications_and_close_to_the_right_ones(base: float, exponent: int) -> None:
    """The C library's power is rounded in its own way, and an auditor's machine may have another library."""
    assert power(base, exponent) == pytest.approx(base**exponent, rel=1e-12, abs=1e-300)
