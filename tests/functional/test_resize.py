import numpy as np
import pytest

import medkern
from medkern import functional
from medkern.functional import resize
from medkern.testing import gradcheck

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["nearest", "linear", "align_corners"])
def test_gradients(rng, rank, kind):
    shape = (1, 2) + (3,) * rank
    options = dict(
        size=None,
        scale_factor=1.7,
        mode="nearest" if kind == "nearest" else MODES[rank],
        align_corners=kind == "align_corners",
    )
    gradcheck(lambda x: functional.interpolate(x, **options), [rng.standard_normal(shape)])
    dy = rng.standard_normal((1, 2) + (5,) * rank)
    gradcheck(lambda dy: resize.InterpolateBackward.apply(dy, input_shape=shape, **options), [dy])


def test_the_values_are_those_of_the_kernel(rng):
    x = rng.standard_normal((1, 2, 3, 4))
    y = functional.interpolate(medkern.tensor(x), size=(5, 5), mode="bilinear")
    np.testing.assert_array_equal(y.numpy(), medkern.kernels.interpolate(x, size=(5, 5), mode="bilinear"))
