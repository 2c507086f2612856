"""Optimizers whose learning rate and momentum follow a schedule and differ by layer.

A schedule is a function of the optimizer's step count, so it runs on the device and resumes with
a saved optimizer.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule, PolynomialDecay

SGD_MOMENTUM = 0.9
# fastai's (version 1): AdamW's settings; fit_one_cycle's share of steps on the way up, its first
# and last rate as fractions of the highest, and its momentum at both ends and at the top.
WEIGHT_DECAY = 0.01
BETA_2 = 0.99
RISE = 0.3
FIRST, LAST = 1 / 25, 1 / 25e4
MOMENTUM_ENDS, MOMENTUM_TOP = 0.95, 0.85


def make_optimizer(
    name: str,
    schedule: str,
    rate: float,
    steps: int,
    shares: Sequence[float] | None = None,
    averaging: float = 0,
) -> keras.Optimizer:
    """Return the optimizer `name` for a training of `steps` steps, with `rate` as the highest.

    `shares` are the factors of the rate by trainable variable, in the order of the model's
    trainable_variables; None is 1 for all. With `averaging` it keeps a moving average of the
    weights, each step of which retains that share (B. T. Polyak and A. B. Juditsky 1992, with
    exponential weights); `finalize_variable_values` assigns it.
    """
    rates: Any = rate
    if schedule == "linear":
        rates = PolynomialDecay(rate, steps, end_learning_rate=0.0)
    elif schedule == "one_cycle":
        rates = Cycle(rate * FIRST, rate, rate * LAST, steps)
    if name == "sgd":
        optimizer: keras.Optimizer = Sgd(rates, momentum=SGD_MOMENTUM)
    elif name == "rmsprop":
        optimizer = RmsProp(rates)
    elif name == "adam":
        optimizer = Adam(rates)
    else:
        optimizer = Adam(rates, beta_2=BETA_2)
        optimizer.decay = WEIGHT_DECAY
    optimizer.use_ema, optimizer.ema_momentum = bool(averaging), averaging
    if schedule == "one_cycle":
        optimizer.momentum_schedule = Cycle(MOMENTUM_ENDS, MOMENTUM_TOP, MOMENTUM_ENDS, steps)
    if shares is not None:
        optimizer.shares = [float(share) for share in shares]
    return optimizer


class Cycle(LearningRateSchedule):
    """A value that goes from `start` to `top` and then to `end` along two half cosines.

    L. N. Smith's one-cycle policy (2018) in fastai's form.
    """

    def __init__(self, start: float, top: float, end: float, steps: int) -> None:
        super().__init__()
        self._start, self._top, self._end, self._steps = start, top, end, steps

    def __call__(self, step: Any) -> Any:
        """Return the value at `step`, counted from 0."""
        step = ops.cast(step, "float32")
        rise = max(1.0, RISE * self._steps)
        fall = max(1.0, self._steps - rise)
        return ops.where(
            step < rise,
            _half_cosine(self._start, self._top, step / rise),
            _half_cosine(self._top, self._end, ops.clip((step - rise) / fall, 0, 1)),
        )


class Exponential(LearningRateSchedule):
    """A learning rate that grows from `start` to `end` by the same factor each step."""

    def __init__(self, start: float, end: float, steps: int) -> None:
        super().__init__()
        self._start, self._end, self._steps = start, end, steps

    def __call__(self, step: Any) -> Any:
        """Return the rate at `step`, counted from 0."""
        growth = math.log(self._end / self._start) / max(1, self._steps - 1)
        return self._start * ops.exp(growth * ops.cast(step, "float32"))


def _half_cosine(start: float, end: float, share: Any) -> Any:
    return start + (end - start) * (1 - ops.cos(math.pi * share)) / 2


class _ByLayer:
    """Adds a factor of the learning rate for each variable, and a decay, to an optimizer.

    The decay is decoupled (Loshchilov and Hutter 2019) and uses the variable's rate, as fastai's
    does; Keras' uses one rate for all.
    """

    shares: Sequence[float] | None = None
    decay = 0.0

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self.shares is not None:
            learning_rate = learning_rate * self.shares[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        if self.decay:
            loss = ops.cast(self.decay * learning_rate, variable.dtype) * variable
            self.assign_sub(variable, loss)  # type: ignore[attr-defined]
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]


class Sgd(_ByLayer, keras.optimizers.SGD):
    """Keras' SGD, by layer."""


class RmsProp(_ByLayer, keras.optimizers.RMSprop):
    """Keras' RMSprop, by layer."""


class Adam(_ByLayer, keras.optimizers.Adam):
    """Keras' Adam, by layer, with an optional schedule of the first momentum."""

    momentum_schedule: LearningRateSchedule | None = None

    @property
    def beta_1(self) -> Any:
        """The first momentum at the current step."""
        if self.momentum_schedule is None:
            return self._beta_1
        return self.momentum_schedule(self.iterations)

    @beta_1.setter
    def beta_1(self, value: float) -> None:
        self._beta_1 = value
