"""Learning-rate schedules.

All but `ReduceLROnPlateau` give the learning rate as a formula of the number of steps t and of the rate lr0
that a group began with, so t is all their state.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any

from medkern.optim.optimizer import Optimizer


class Schedule:
    """The base of the schedules that are formulas; a subclass defines `lr`.

    Args:
        optimizer: the optimizer whose groups are set, at once and after every `step`.

    Attributes:
        last_epoch: number of steps taken, t.
    """

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer
        self.last_epoch = 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self._set()

    def lr(self, initial: float, step: int) -> float:
        """The learning rate of a group that began with `initial`, after `step` steps."""
        raise NotImplementedError

    def step(self) -> None:
        """Goes one step on; called after the optimizer's steps of an epoch (or of each batch)."""
        self.last_epoch += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on exactly; a group's initial rate is in the optimizer's state."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a state that `state_dict` gave and sets the learning rates.

        Args:
            state: the state.
        """
        self.last_epoch = int(state["last_epoch"])
        self._set()

    def _set(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(group["initial_lr"], self.last_epoch)

    def _expect_positive(self, **numbers: float) -> None:
        for name, value in numbers.items():
            if not value > 0:
                raise ValueError(f"{type(self).__name__}: {name} must be positive, got {value}")


class StepLR(Schedule):
    """lr0 gamma^floor(t / step_size).

    Args:
        optimizer: the optimizer.
        step_size: steps from one drop to the next.
        gamma: factor of each drop.
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self._expect_positive(step_size=step_size, gamma=gamma)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer)

    def lr(self, initial: float, step: int) -> float:
        """The formula."""
        return initial * self.gamma ** (step // self.step_size)


class MultiStepLR(Schedule):
    """lr0 gamma^(number of milestones <= t).

    Args:
        optimizer: the optimizer.
        milestones: the steps at which the rate drops, ascending.
        gamma: factor of each drop.
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1):
        self._expect_positive(gamma=gamma)
        self.milestones = list(milestones)
        if self.milestones != sorted(self.milestones):
            raise ValueError(f"MultiStepLR: milestones must ascend, got {self.milestones}")
        self.gamma = gamma
        super().__init__(optimizer)

    def lr(self, initial: float, step: int) -> float:
        """The formula."""
        return initial * self.gamma ** bisect_right(self.milestones, step)


class ExponentialLR(Schedule):
    """lr0 gamma^t.

    Args:
        optimizer: the optimizer.
        gamma: factor of each step.
    """

    def __init__(self, optimizer: Optimizer, gamma: float):
        self._expect_positive(gamma=gamma)
        self.gamma = gamma
        super().__init__(optimizer)

    def lr(self, initial: float, step: int) -> float:
        """The formula."""
        return initial * self.gamma**step


class CosineAnnealingLR(Schedule):
    """eta_min + (lr0 - eta_min) (1 + cos(pi t / T_max)) / 2; Loshchilov and Hutter, 2017.

    Args:
        optimizer: the optimizer.
        T_max: steps until `eta_min` is reached; after that the rate rises again.
        eta_min: the lowest rate.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):  # noqa: N803
        self._expect_positive(T_max=T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer)

    def lr(self, initial: float, step: int) -> float:
        """The formula."""
        return self.eta_min + (initial - self.eta_min) * (1 + math.cos(math.pi * step / self.T_max)) / 2


class PolynomialLR(Schedule):
    """lr0 (1 - t / total_iters)^power, 0 from `total_iters` on.

    Args:
        optimizer: the optimizer.
        total_iters: steps until 0 is reached.
        power: the exponent.
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0):
        self._expect_positive(total_iters=total_iters, power=power)
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer)

    def lr(self, initial: float, step: int) -> float:
        """The formula."""
        return initial * (1 - min(step, self.total_iters) / self.total_iters) ** self.power


class LinearWarmup(Schedule):
    """lr0 (start_factor + (1 - start_factor) t / warmup_steps) at first, then another schedule from t = 0.

    Args:
        optimizer: the optimizer.
        warmup_steps: number of steps of the rise.
        start_factor: where it starts, in (0, 1].
        after: the schedule that follows, on the same optimizer and stepped only through this one; None keeps
            lr0.

    Example:
        >>> optimizer = medkern.optim.SGD(medkern.nn.Linear(2, 1).parameters(), lr=0.1)
        >>> schedule = medkern.optim.LinearWarmup(
        ...     optimizer, 5, after=medkern.optim.CosineAnnealingLR(optimizer, 95)
        ... )
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        start_factor: float = 0.1,
        after: Schedule | None = None,
    ):
        self._expect_positive(warmup_steps=warmup_steps)
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearWarmup: start_factor must lie in (0, 1], got {start_factor}")
        if after is not None and after.optimizer is not optimizer:
            raise ValueError("LinearWarmup: after must be a schedule of the same optimizer")
        self.warmup_steps = warmup_steps
        self.start_factor = start_factor
        self.after = after
        super().__init__(optimizer)

    def lr(self, initial: float, step: int) -> float:
        """The formula."""
        if step < self.warmup_steps:
            return initial * (self.start_factor + (1 - self.start_factor) * step / self.warmup_steps)
        return initial if self.after is None else self.after.lr(initial, step - self.warmup_steps)


class ReduceLROnPlateau:
    """Multiplies the rates by `factor` when a metric has not improved for more than `patience` steps.

    Args:
        optimizer: the optimizer.
        mode: "min" if a smaller metric is better, "max" if a larger one is.
        factor: of each reduction, below 1.
        patience: steps without improvement that are borne.
        threshold: how much better than the best the metric must be to count.
        threshold_mode: "rel" (a share of the best) or "abs".
        cooldown: steps after a reduction that aren't counted.
        min_lr: the lowest rate.

    Attributes:
        best: the best metric so far.
        num_bad_epochs: steps since then.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode must be 'min' or 'max', got {mode!r}")
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must lie between 0 and 1, got {factor}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}"
            )
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0

    def step(self, metric: float) -> None:
        """Takes note of a metric and reduces the rates if it is time.

        Args:
            metric: a number; NaN never counts as better.
        """
        if self._better(float(metric)):
            self.best = float(metric)
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group in self.optimizer.param_groups:
                group["lr"] = max(group["lr"] * self.factor, self.min_lr)
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on exactly; the rates are in the optimizer's state."""
        return {
            "best": self.best,
            "num_bad_epochs": self.num_bad_epochs,
            "cooldown_counter": self.cooldown_counter,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a state that `state_dict` gave.

        Args:
            state: the state.
        """
        self.best = float(state["best"])
        self.num_bad_epochs = int(state["num_bad_epochs"])
        self.cooldown_counter = int(state["cooldown_counter"])

    def _better(self, metric: float) -> bool:
        if math.isinf(self.best):
            return metric < self.best if self.mode == "min" else metric > self.best
        margin = self.threshold * (abs(self.best) if self.threshold_mode == "rel" else 1.0)
        return metric < self.best - margin if self.mode == "min" else metric > self.best + margin
