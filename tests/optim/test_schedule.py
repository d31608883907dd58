import math

import numpy as np
import pytest

from medkern import optim
from medkern.nn import Parameter


def make_optimizer(*rates):
    groups = [{"params": [Parameter(np.ones(2))], "lr": lr} for lr in rates]
    return optim.SGD(groups)


def rates(schedule, steps):
    """The first group's rate at t = 0, 1, ..."""
    result = []
    for _ in range(steps):
        result.append(schedule.get_last_lr()[0])
        schedule.step()
    return result


FORMULAS = [
    (lambda o: optim.StepLR(o, 3, 0.5), lambda t: 0.2 * 0.5 ** (t // 3)),
    (lambda o: optim.MultiStepLR(o, [2, 5], 0.1), lambda t: 0.2 * 0.1 ** ((t >= 2) + (t >= 5))),
    (lambda o: optim.ExponentialLR(o, 0.9), lambda t: 0.2 * 0.9**t),
    (
        lambda o: optim.CosineAnnealingLR(o, 6, 0.02),
        lambda t: 0.02 + 0.18 * (1 + math.cos(math.pi * t / 6)) / 2,
    ),
    (lambda o: optim.PolynomialLR(o, 4, 2.0), lambda t: 0.2 * max(1 - t / 4, 0) ** 2),
    (lambda o: optim.LinearWarmup(o, 4, 0.2), lambda t: 0.2 * min(0.2 + 0.8 * t / 4, 1)),
    (
        lambda o: optim.LinearWarmup(o, 2, 0.5, after=optim.ExponentialLR(o, 0.5)),
        lambda t: 0.2 * (0.5 + 0.25 * t if t < 2 else 0.5 ** (t - 2)),
    ),
]


@pytest.mark.parametrize(("make", "formula"), FORMULAS)
def test_formula(make, formula):
    np.testing.assert_allclose(
        rates(make(make_optimizer(0.2)), 8), [formula(t) for t in range(8)], rtol=1e-12
    )


@pytest.mark.parametrize(("make", "formula"), FORMULAS)
def test_a_saved_schedule_goes_on(make, formula):
    optimizer = make_optimizer(0.2)
    schedule = make(optimizer)
    for _ in range(3):
        schedule.step()
    other = make_optimizer(0.2)
    resumed = make(other)
    other.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    np.testing.assert_allclose(rates(resumed, 4), [formula(t) for t in range(3, 7)], rtol=1e-12)


def test_every_group_keeps_its_own_rate():
    schedule = optim.StepLR(make_optimizer(0.2, 1.0), 1, 0.5)
    schedule.step()
    assert schedule.get_last_lr() == [0.1, 0.5]


def test_plateau():
    optimizer = make_optimizer(1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1, min_lr=0.2)
    seen = []
    for metric in [3, 2, 2, 2, 2, 2, 2, 1, 1, math.nan, 1, 1, 1, 1]:
        schedule.step(metric)
        seen.append(schedule.get_last_lr()[0])
    # Two bad ones, a cooldown and two bad ones, a better one in a cooldown and two bad ones: the lowest.
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2, 0.2]


def test_plateau_thresholds_and_modes():
    for mode, threshold_mode, better, not_better in [
        ("min", "rel", 8.9, 9.1),
        ("max", "rel", 11.1, 10.9),
        ("min", "abs", 9.8, 9.95),
        ("max", "abs", 10.2, 10.05),
    ]:
        schedule = optim.ReduceLROnPlateau(
            make_optimizer(1.0), mode, threshold=0.1, threshold_mode=threshold_mode
        )
        schedule.step(10)
        schedule.step(not_better)
        assert (schedule.best, schedule.num_bad_epochs) == (10, 1)
        schedule.step(better)
        assert (schedule.best, schedule.num_bad_epochs) == (better, 0)


def test_a_saved_plateau_goes_on():
    optimizer = make_optimizer(1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    for metric in (1, 2, 2):
        schedule.step(metric)
    other = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    other.load_state_dict(schedule.state_dict())
    other.step(2)
    assert other.get_last_lr() == [0.5]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: optim.StepLR(o, 0), "StepLR: step_size must be positive, got 0"),
        (lambda o: optim.MultiStepLR(o, [3, 2]), r"MultiStepLR: milestones must ascend, got \[3, 2\]"),
        (lambda o: optim.ExponentialLR(o, -1), "ExponentialLR: gamma must be positive, got -1"),
        (lambda o: optim.CosineAnnealingLR(o, 0), "CosineAnnealingLR: T_max must be positive, got 0"),
        (lambda o: optim.PolynomialLR(o, 0), "PolynomialLR: total_iters must be positive, got 0"),
        (lambda o: optim.LinearWarmup(o, 0), "LinearWarmup: warmup_steps must be positive, got 0"),
        (lambda o: optim.LinearWarmup(o, 1, 2), r"LinearWarmup: start_factor must lie in \(0, 1\], got 2"),
        (
            lambda o: optim.LinearWarmup(o, 1, after=optim.StepLR(make_optimizer(1.0), 1)),
            "LinearWarmup: after must be a schedule of the same optimizer",
        ),
        (lambda o: optim.ReduceLROnPlateau(o, "low"), "ReduceLROnPlateau: mode must be 'min' or 'max'"),
        (
            lambda o: optim.ReduceLROnPlateau(o, factor=1),
            "ReduceLROnPlateau: factor must lie between 0 and 1",
        ),
        (
            lambda o: optim.ReduceLROnPlateau(o, threshold_mode="a"),
            "ReduceLROnPlateau: threshold_mode must be 'rel' or 'abs', got 'a'",
        ),
    ],
)
def test_options_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make(make_optimizer(1.0))
