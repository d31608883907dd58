import numpy as np
import pytest

import medkern
from medkern import losses
from medkern.testing import gradcheck


def correlation(x, y, window, eps):
    """Of every window that lies inside, from the definition."""
    values = []
    for corner in np.ndindex(*[n - window + 1 for n in x.shape]):
        part = tuple(slice(c, c + window) for c in corner)
        a, b = x[part] - x[part].mean(), y[part] - y[part].mean()
        values.append((a * b).mean() ** 2 / ((a * a).mean() * (b * b).mean() + eps))
    return np.mean(values)


@pytest.mark.parametrize("shape", [(12, 10), (6, 7, 8)])
def test_ncc(rng, shape):
    x, y = rng.random((2, 1, 1, *shape))
    loss = losses.ncc_loss(medkern.tensor(x), y, window=5).item()
    assert loss == pytest.approx(1 - correlation(x[0, 0], y[0, 0], 5, 1e-6), abs=1e-9)
    assert losses.ncc_loss(medkern.tensor(x), 3 - 0.5 * x, window=5).item() < 1e-3
    gradcheck(lambda x: losses.ncc_loss(x, y, window=5), [x])


@pytest.mark.parametrize("rank", [2, 3])
def test_smoothness(rng, rank):
    field = rng.standard_normal((1, rank, 4, 5, 3)[: 2 + rank])
    expected = np.mean([(np.diff(field, axis=axis) ** 2).mean() for axis in range(2, 2 + rank)])
    assert losses.smoothness_loss(medkern.tensor(field)).item() == pytest.approx(expected)
    gradcheck(losses.smoothness_loss, [field])


def test_both_together(rng):
    output, target = rng.random((2, 3, 12, 12)), rng.random((2, 1, 12, 12))
    loss = losses.RegistrationLoss(weight=0.5, window=5)
    expected = losses.ncc_loss(medkern.tensor(output[:, :1]), target, 5).item()
    expected += 0.5 * losses.smoothness_loss(medkern.tensor(output[:, 1:])).item()
    assert loss(medkern.tensor(output), medkern.tensor(target)).item() == pytest.approx(expected)
    assert "weight=0.5" in repr(loss)


def test_bad_arguments_are_named(rng):
    x = medkern.tensor(rng.random((1, 1, 8, 8)))
    with pytest.raises(ValueError, match="target must have the shape of input"):
        losses.ncc_loss(x, np.zeros((1, 1, 8, 7)))
    with pytest.raises(ValueError, match="images of at least 9 along each axis"):
        losses.ncc_loss(x, x)
    with pytest.raises(ValueError, match="field must have shape"):
        losses.smoothness_loss(medkern.tensor(np.zeros((1, 2))))
