"""What the tests of compiled models share."""

import numpy as np

import medkern
from medkern import _C, nn


def flat(result):
    if isinstance(result, medkern.Tensor):
        return [result.numpy()]
    parts = result.values() if isinstance(result, dict) else result
    return [array for part in parts if part is not None for array in flat(part)]


def eager(model, *inputs):
    model.eval()
    with medkern.no_grad():
        return model(*(medkern.tensor(x) for x in inputs))


def poison(compiled):
    """Overwrites what the last call left behind: every float becomes NaN."""
    _C.fill(compiled._arena.bytes, 255)


def agree(model, *inputs, tolerance=0.0):
    """Compiles, and compares runs over poisoned memory with the model itself."""
    compiled = medkern.compile(model, inputs if len(inputs) > 1 else inputs[0])
    expected = flat(eager(model, *inputs))
    for _ in range(2):
        poison(compiled)
        results = flat(compiled(*inputs))
        assert len(results) == len(expected)
        for result, wanted in zip(results, expected, strict=True):
            assert result.shape == wanted.shape and result.dtype == wanted.dtype
            if tolerance == 0:
                np.testing.assert_array_equal(result, wanted)
            else:
                np.testing.assert_allclose(result, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
    return compiled


def draw_statistics(model, rng):
    """Running statistics and parameters of norms that are not the identity."""
    for module in model.modules():
        for name, low, high in (("running_mean", -0.5, 0.5), ("running_var", 0.5, 2), ("bias", -0.5, 0.5)):
            value = getattr(module, name, None)
            if isinstance(value, medkern.Tensor):
                value.copy_(rng.uniform(low, high, value.shape))


class Apply(nn.Module):
    """A function as a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def image(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)
