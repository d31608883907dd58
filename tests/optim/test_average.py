import numpy as np
import pytest

import medkern
from medkern import nn
from medkern.optim import ExponentialMovingAverage


def make():
    medkern.random.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def floats(model):
    return {name: x.numpy().copy() for name, x in model.state_dict().items() if x.dtype.kind == "f"}


def move(model, step):
    for number, x in enumerate(model.state_dict().values()):
        if x.dtype.kind == "f":
            x.copy_(x.numpy() + np.float32(0.5 * step + number))
        else:
            x.copy_(np.asarray(step))


def test_averages_by_the_formula():
    model = make()
    average = ExponentialMovingAverage(model, decay=0.15)
    expected = {name: x.astype(np.float64) for name, x in floats(model).items()}
    for step in range(5):
        move(model, step)
        average.update()
        d = min(0.15, (1 + step) / (10 + step))  # 0.1, then 0.15
        expected = {
            name: expected[name] + (1 - d) * (x - expected[name]) for name, x in floats(model).items()
        }
    weights = floats(model)
    average.swap()
    assert average.applied
    for name, x in floats(model).items():
        np.testing.assert_allclose(x, expected[name], rtol=1e-5, err_msg=name)
    assert set(expected) == {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert int(model[1].num_batches_tracked.item()) == 4  # a count is not averaged
    average.swap()
    for name, x in floats(model).items():
        np.testing.assert_array_equal(x, weights[name])


def test_state_goes_on_exactly():
    model = make()
    average = ExponentialMovingAverage(model, 0.9)
    for step in range(3):
        move(model, step)
        average.update()
    average.swap()
    state, weights = average.state_dict(), floats(model)
    other = make()
    other.load_state_dict({**{n: x.numpy() for n, x in other.state_dict().items()}, **weights})
    resumed = ExponentialMovingAverage(other, 0.9)
    resumed.load_state_dict(state)
    for part, of in ((model, average), (other, resumed)):
        of.swap()
        move(part, 3)
        of.update()
        of.swap()
    for name, x in floats(model).items():
        np.testing.assert_array_equal(x, floats(other)[name])


def test_bad_use_is_named():
    with pytest.raises(ValueError, match="decay must be from 0 to below 1, got 1"):
        ExponentialMovingAverage(make(), 1)
    average = ExponentialMovingAverage(make())
    average.swap()
    with pytest.raises(RuntimeError, match="swap before update"):
        average.update()
    with pytest.raises(ValueError, match="of another model"):
        average.load_state_dict({**average.state_dict(), "kept": {"weight": np.zeros(2)}})
