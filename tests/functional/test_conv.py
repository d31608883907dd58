import numpy as np
import pytest

import medkern
from medkern import functional
from medkern.testing import gradcheck

# spatial size, kernel, options
CASES = [
    ((5,), (3,), dict(stride=2, padding=1)),
    ((5, 4), (3, 2), dict(padding=((1, 0), (0, 1)))),
    ((5, 6), (2, 3), dict(stride=(2, 1), dilation=(1, 2))),
    ((4, 4), (3, 3), dict(padding="same", groups=2)),
    ((3, 4, 3), (2, 2, 2), dict(padding=1, stride=2)),
]
CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSE = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@pytest.mark.parametrize("size,kernel,options", CASES)
def test_conv_gradient(rng, size, kernel, options):
    x = rng.standard_normal((2, 2, *size))
    weight = rng.standard_normal((4, 2 // options.get("groups", 1), *kernel))
    conv = CONV[len(size)]
    inputs = [x, weight, rng.standard_normal(4)]
    gradcheck(lambda x, w, b: conv(x, w, b, **options), inputs, create_graph=True)


@pytest.mark.parametrize(
    "size,kernel,options",
    [
        ((3,), (3,), dict(stride=2, padding=1, output_padding=1)),
        ((3, 2), (2, 2), dict(stride=2)),
        ((3, 3), (3, 2), dict(stride=(1, 2), dilation=(2, 1), groups=2)),
        ((2, 2, 2), (2, 2, 2), dict(stride=2, padding=1, output_padding=1)),
    ],
)
def test_conv_transpose_gradient(rng, size, kernel, options):
    groups = options.get("groups", 1)
    x, weight = rng.standard_normal((1, 4, *size)), rng.standard_normal((4, 2, *kernel))
    transpose = TRANSPOSE[len(size)]
    inputs = [x, weight, rng.standard_normal(2 * groups)]
    gradcheck(lambda x, w, b: transpose(x, w, b, **options), inputs, create_graph=True)


def test_gradient_of_a_fused_relu(rng):
    inputs = [rng.standard_normal(shape) for shape in ((2, 2, 5, 4), (3, 2, 3, 3), (3,))]
    gradcheck(
        lambda x, w, b: functional.conv2d(x, w, b, padding=1, activation="relu"), inputs, create_graph=True
    )
    x, weight, bias = (medkern.tensor(a) for a in inputs)
    separate = functional.relu(functional.conv2d(x, weight, bias, padding=1))
    fused = functional.conv2d(x, weight, bias, padding=1, activation="relu")
    np.testing.assert_array_equal(fused.numpy(), separate.numpy())
    with pytest.raises(ValueError, match="conv2d: activation must be None or 'relu', got 'tanh'"):
        functional.conv2d(x, weight, activation="tanh")


def test_results_are_channels_last():
    x = medkern.tensor(np.ones((1, 3, 6, 6), np.float32), requires_grad=True)
    weight = medkern.tensor(np.ones((4, 3, 3, 3), np.float32), requires_grad=True)
    y = functional.conv2d(x, weight)
    assert y.dtype == np.float32 and y.array.is_channels_last and not y.array.is_contiguous
    z = functional.conv_transpose2d(y, medkern.tensor(np.ones((4, 3, 3, 3), np.float32)))
    assert z.array.is_channels_last and not z.array.is_contiguous
    z.backward(medkern.tensor(np.ones(z.shape, np.float32)))
    assert x.grad.shape == x.shape and x.grad.array.is_channels_last
    assert weight.grad.array.is_contiguous


def test_errors_of_the_kernels_pass():
    x, weight = medkern.tensor(np.zeros((1, 2, 4, 4))), medkern.tensor(np.zeros((1, 3, 3, 3)))
    with pytest.raises(ValueError, match="weight expects 3 input channels, got x with 2"):
        functional.conv2d(x, weight)


def test_gradients_of_parts_of_a_concatenation(rng):
    w, v = rng.standard_normal((2, 3, 3, 3)), rng.standard_normal((3, 2, 2, 2))

    def joined(x, w, v):
        sides = functional.conv2d(x, w, padding=1), functional.conv_transpose2d(x, v, stride=2)
        y = functional.concat([functional.avg_pool2d(sides[1], 2), sides[0]], 1)
        return functional.square(y)

    gradcheck(joined, [rng.standard_normal((2, 3, 4, 3)), w, v], create_graph=True)
