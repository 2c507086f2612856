"""Optimizers: how the learning rate and the momentum move, and the factors by layer."""

import math

import keras
import numpy as np
import pytest

from malaria.training.optimizers import Adam, Cycle, Exponential, make_optimizer


def rate_at(optimizer: keras.Optimizer, step: int) -> float:
    optimizer.iterations.assign(step)
    return float(optimizer.learning_rate)


def after(
    optimizer: keras.Optimizer, gradients: list[float], value: float, count: int = 1
) -> list[float]:
    """Return the values of some variables after steps with the same gradient for all."""
    variables = [keras.Variable([value], name=f"v{number}") for number in range(count)]
    for gradient in gradients:
        optimizer.apply([keras.ops.full(v.shape, gradient) for v in variables], variables)
    return [float(variable.numpy()[0]) for variable in variables]


def test_a_constant_rate_stays() -> None:
    optimizer = make_optimizer("adam", "constant", 0.5, steps=10)
    assert {rate_at(optimizer, at) for at in (0, 5, 50)} == {0.5}


def test_linear_decay_falls_to_zero_at_the_last_step() -> None:
    optimizer = make_optimizer("sgd", "linear", 0.1, steps=10)
    rates = [rate_at(optimizer, at) for at in (0, 5, 9, 10, 20)]
    assert rates == pytest.approx([0.1, 0.05, 0.01, 0, 0], abs=1e-8)


def test_one_cycle_rises_and_falls_while_the_momentum_does_the_opposite() -> None:
    optimizer = make_optimizer("adamw", "one_cycle", 1e-3, steps=100)
    seen = [(rate_at(optimizer, at), float(optimizer.beta_1)) for at in (0, 15, 30, 65, 100)]
    # fastai's half cosines: 1/25 of the rate at first, all of it at 30 %, 1/250000 at the end
    assert [rate for rate, _ in seen] == pytest.approx(
        [4e-5, 5.2e-4, 1e-3, 5e-4, 4e-9], rel=1e-3, abs=1e-10
    )
    assert [momentum for _, momentum in seen] == pytest.approx(
        [0.95, 0.90, 0.85, 0.90, 0.95], abs=1e-6
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_cycle_of_few_steps_is_defined(steps: int) -> None:
    cycle = Cycle(0.1, 1, 0.01, steps)
    assert all(math.isfinite(float(cycle(at))) for at in range(steps + 1))


def test_the_momentum_of_the_step_is_the_one_that_is_used() -> None:
    still, moving = make_optimizer("adam", "constant", 0.1, 10), Adam(0.1)
    moving.momentum_schedule = Cycle(0.5, 0.5, 0.5, 10)
    for optimizer, beta in ((still, 0.9), (moving, 0.5)):
        # The mean of the gradients, corrected for its start; each square is 1.
        mean = (beta * (1 - beta) - (1 - beta)) / (1 - beta**2)
        (value,) = after(optimizer, [1.0, -1.0], 1.0)
        assert value == pytest.approx(1 - 0.1 - 0.1 * mean, abs=1e-4)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_each_variable_learns_at_its_share_of_the_rate(name: str) -> None:
    full, shared = (
        1 - np.array(after(make_optimizer(name, "constant", 0.1, 10, shares), [1.0], 1.0, 3))
        for shares in (None, [0.0, 0.25, 1.0])
    )
    assert (full > 0.09).all()
    assert shared == pytest.approx(full * [0, 0.25, 1], rel=1e-4, abs=1e-7)


def test_adamw_shrinks_weights_by_the_rate_of_their_layer() -> None:
    optimizer = make_optimizer("adamw", "constant", 0.5, 10, [1.0, 0.1])
    expected = [2 - 2 * 0.5 * 0.01, 2 - 2 * 0.05 * 0.01]
    assert after(optimizer, [0.0], 2.0, 2) == pytest.approx(expected)
    assert after(make_optimizer("adam", "constant", 0.5, 10), [0.0], 2.0) == [2.0]


def test_sgd_has_momentum() -> None:
    optimizer = make_optimizer("sgd", "constant", 0.1, 10)
    assert after(optimizer, [1.0, 0.0], 1.0) == pytest.approx([1 - 0.1 - 0.09])


def test_an_exponential_rate_grows_by_the_same_factor() -> None:
    rates = [float(Exponential(1e-6, 1.0, 7)(at)) for at in range(7)]
    assert rates == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1], rel=1e-4)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_a_moving_average_of_the_weights_starts_at_the_first_steps(name: str) -> None:
    optimizer = make_optimizer(name, "constant", 0.1, 10, averaging=0.75)
    variable = keras.Variable([1.0])
    average = 0.0
    for step in range(4):
        optimizer.apply([keras.ops.full((1,), 1.0 - step)], [variable])
        value = float(variable.numpy()[0])
        average = 0.75 * average + 0.25 * value if step else value
    optimizer.finalize_variable_values([variable])
    assert float(variable.numpy()[0]) == pytest.approx(average, rel=1e-5)


def test_without_averaging_the_weights_of_the_last_step_stay() -> None:
    optimizer = make_optimizer("sgd", "constant", 0.1, 10)
    variable = keras.Variable([1.0])
    optimizer.apply([keras.ops.ones((1,))], [variable])
    optimizer.finalize_variable_values([variable])
    assert float(variable.numpy()[0]) == pytest.approx(0.9)
