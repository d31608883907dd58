import numpy as np
import pytest

import medkern
from medkern import functional
from medkern.testing import gradcheck


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("padding", ["zeros", "constant", "border", "reflection", "wrap"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_gradients(rng, rank, padding, align_corners):
    sizes = np.array([3, 4, 5][:rank])
    # A quarter from where neighbors change.
    at = rng.integers(-3, 2 * sizes, (1, *(2, 3, 2)[:rank], rank)) + rng.choice([0.25, 0.375, 0.75], rank)
    scale = (sizes - 1) / 2 if align_corners else sizes / 2
    grid = ((at - (sizes - 1) / 2) / scale)[..., ::-1].copy()
    value = 0.5 if padding == "constant" else 0.0
    gradcheck(
        lambda x, grid: functional.grid_sample(
            x, grid, padding_mode=padding, align_corners=align_corners, value=value
        ),
        [rng.standard_normal((1, 2, *sizes)), grid],
    )


def test_a_field_that_follows_itself(rng):
    field = rng.choice([-0.75, -0.25, 0.25, 0.75], (1, 2, 4, 5))
    gradcheck(lambda f: functional.warp(f, f), [field])


def test_the_values_are_those_of_the_kernel(rng):
    x, grid = rng.standard_normal((1, 2, 3, 4)), rng.uniform(-1, 1, (1, 5, 5, 2))
    y = functional.grid_sample(medkern.tensor(x), medkern.tensor(grid), mode="nearest")
    np.testing.assert_array_equal(y.numpy(), medkern.kernels.grid_sample(x, grid, mode="nearest"))
    x = medkern.tensor(x, requires_grad=True)
    functional.grid_sample(x, medkern.tensor(grid)).sum().backward()
    assert x.grad.shape == x.shape
