import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import functional
from medkern.testing import gradcheck

KEYS = [
    0,
    -1,
    slice(1, None),
    (slice(None), slice(None, None, 2)),
    (..., 1),
    (None, 0, ..., slice(1, 3)),
    (slice(None), 2, None, slice(-2, None)),
    (),
    slice(3, 1),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("layout", FORMATS)
def test_getitem(rng, key, layout):
    x = layout(rng.standard_normal((2, 4, 3, 5)))
    np.testing.assert_array_equal(functional.getitem(medkern.tensor(x), key).numpy(), x[key])
    gradcheck(lambda t: functional.getitem(t, key), [x], create_graph=True)


@pytest.mark.parametrize(
    "key,error",
    [
        (9, IndexError),
        (-3, IndexError),
        ((0, 0, 0), IndexError),
        ((..., ...), IndexError),
        (slice(None, None, -1), ValueError),
        (np.array([0, 1]), TypeError),
        (True, TypeError),
        (1.5, TypeError),
    ],
)
def test_bad_indices(key, error):
    with pytest.raises(error):
        functional.getitem(medkern.tensor(np.zeros((2, 3))), key)


@pytest.mark.parametrize("layout", FORMATS)
def test_shapes(rng, layout):
    x = layout(rng.standard_normal((2, 3, 4, 5)))
    t = medkern.tensor(x)
    np.testing.assert_array_equal(functional.reshape(t, (6, -1)).numpy(), x.reshape(6, -1))
    np.testing.assert_array_equal(functional.flatten(t, 1, 2).numpy(), x.reshape(2, 12, 5))
    np.testing.assert_array_equal(functional.permute(t, (3, 0, -2, 1)).numpy(), x.transpose(3, 0, 2, 1))
    np.testing.assert_array_equal(functional.transpose(t, 1, -1).numpy(), x.swapaxes(1, 3))
    np.testing.assert_array_equal(functional.unsqueeze(t, -1).numpy(), x[..., None])
    np.testing.assert_array_equal(functional.squeeze(functional.unsqueeze(t, 1)).numpy(), x)
    assert functional.squeeze(t, 1).shape == x.shape
    for function in (
        lambda t: functional.reshape(t, (6, -1)),
        lambda t: functional.permute(t, (3, 0, 2, 1)),
        lambda t: functional.stack([t, functional.contiguous(t)], 1),
        lambda t: functional.squeeze(functional.unsqueeze(t, 2), 2),
    ):
        gradcheck(function, [x[:1, :2, :2, :3]], create_graph=True)


def test_a_scalar_can_be_flattened():
    assert functional.flatten(medkern.tensor(3.0)).shape == (1,)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda t: functional.reshape(t, (4, 2)), r"shape \(4, 2\) does not fit"),
        (lambda t: functional.reshape(t, (-1, -1)), "does not fit"),
        (lambda t: functional.reshape(t, (-1, 4)), "does not fit"),
        (lambda t: functional.reshape(t, (-1, 0)), "does not fit"),
        (lambda t: functional.permute(t, (0, 0)), "name each of 2 axes once"),
        (lambda t: functional.permute(t, (0, 2)), "dim must be from -2 to 1, got 2"),
        (lambda t: functional.flatten(t, 1, 0), "comes after"),
        (lambda t: functional.unsqueeze(t, 4), "dim must be from -3 to 2, got 4"),
    ],
)
def test_bad_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(medkern.tensor(np.zeros((2, 3))))


def test_cat_is_concat():
    assert functional.cat is functional.concat


def test_concat_and_its_gradient(rng):
    arrays = [rng.standard_normal((2, n, 3)) for n in (1, 3, 2)]
    gradcheck(lambda *x: functional.concat(x, dim=1), arrays, create_graph=True)
    x = medkern.tensor(channels_last(rng.standard_normal((1, 3, 4, 4))))
    x = medkern.Tensor(medkern._C.Array(channels_last(x.numpy())))
    assert functional.concat([x, x], 1).array.is_channels_last


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_gradient(rng, mode):
    gradcheck(
        lambda x: functional.pad(x, (1, 2, 2, 1), mode, 0.5),
        [rng.standard_normal((2, 3, 4))],
        create_graph=True,
    )


def test_to(rng):
    x = medkern.tensor(rng.standard_normal((2, 3)), requires_grad=True)
    y = functional.to(x, "float32")
    assert y.dtype == np.float32
    y.backward(medkern.tensor(np.ones((2, 3), np.float32)))
    assert x.grad.dtype == np.float64
    assert functional.to(x, np.float64) is x
    assert not functional.to(x, "int64").requires_grad
