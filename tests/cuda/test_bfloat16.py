"""What layers do with bfloat16, on CUDA: float32 arithmetic and one rounding."""

import numpy as np
import pytest

import medkern
from arrays import FORMATS
from medkern import _C, kernels
from reference import half

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not medkern.cuda.is_available(), reason="no CUDA device"),
]
UNIT = 2.0**-8


@pytest.fixture(autouse=True)
def on_cuda():
    with medkern.device("cuda"):
        yield
    medkern.cuda.synchronize()


def draw(rng, *shape):
    """Numbers that bfloat16 holds."""
    return half.rounded(rng.standard_normal(shape), "bfloat16")


def narrow(x):
    """In the memory format of x."""
    x = _C.Array(x)
    return kernels.copy(x, dtype="bfloat16", channels_last=x.keeps_channels_last)


def values(y):
    return kernels.copy(y, dtype="float64").numpy()


def check(operation, *images, of=(), exact=False):
    """The operation on bfloat16 images gives what it gives in float64, rounded.

    float64 has tests of its own. Each float32 operation before the rounding may add a unit of 2^-24 of what
    it sums; gradients of normalization cancel most.

    Args:
        operation: takes the images and `of`, gives an array or a tuple of arrays.
        images: hold numbers of bfloat16.
        of: arrays for both, such as parameters, which are float32 beside bfloat16.
        exact: whether nothing is rounded before the result.
    """
    wide = operation(*images, *(np.asarray(a, np.float64) for a in of))
    given = [narrow(x) for x in images], [_C.Array(np.asarray(a, np.float32)) for a in of]
    found = operation(*given[0], *given[1])
    if not isinstance(found, tuple):
        wide, found = (wide,), (found,)
    assert found[0].dtype == medkern.bfloat16
    assert found[0].keeps_channels_last == _C.Array(wide[0]).keeps_channels_last
    for y, expected in zip(found, wide, strict=True):
        assert y.shape == expected.shape
        if y.dtype == medkern.bfloat16 and exact:
            np.testing.assert_array_equal(values(y), half.rounded(expected, "bfloat16"))
            continue
        unit = UNIT if y.dtype == medkern.bfloat16 else 2.0**-18
        slack = 2.0**-18 * np.abs(expected).max(initial=0)
        np.testing.assert_allclose(values(y), expected, rtol=unit, atol=slack)


# Around a vector of 8 channels, and none.
SHAPES = [(2, 16, 6, 7), (1, 24, 5, 9), (2, 3, 8, 6), (2, 1, 4, 33)]
LAYOUTS = pytest.mark.parametrize("layout", FORMATS[:2])


@LAYOUTS
@pytest.mark.parametrize("shape", [(2, 16, 3, 5), (1, 5, 4, 7), (3, 1031)])
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "sigmoid", "tanh"])
def test_activations(rng, name, shape, layout):
    x, dy = layout(draw(rng, *shape)), layout(draw(rng, *shape))
    check(getattr(kernels, name), x)
    if name in ("relu", "sigmoid", "tanh"):
        saved = layout(half.rounded(kernels.copy(getattr(kernels, name)(x)), "bfloat16"))
        check(lambda dy, y: kernels.unary_backward(name, dy, y), dy, saved)
    else:
        check(lambda dy, x: kernels.unary_backward(name, dy, x, 0.25), dy, x)


@LAYOUTS
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum"])
def test_of_two(rng, name, layout):
    a, b = layout(draw(rng, 2, 8, 5, 3)), layout(draw(rng, 2, 8, 5, 3))
    operation = getattr(kernels, name)
    check(operation, a, b, exact=name != "div")
    check(operation, a, layout(draw(rng, 1, 8, 1, 1)), exact=name != "div")
    if name == "add":
        check(lambda a, b: kernels.add(a, b, activation="relu"), a, b, exact=True)


@LAYOUTS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (4, 2, 1)])
def test_max_pool(rng, shape, window, layout):
    x = layout(draw(rng, *shape))
    kernel, stride, padding = window
    for kind in ("uint8", "int64"):

        def forward(x, kind=kind):
            return _C.max_pool(x, 2, kernel, stride, padding, 1, False, kind, None)

        y, indices = (a.numpy() for a in forward(x))
        found, at = forward(narrow(x))
        np.testing.assert_array_equal(values(found), y)
        np.testing.assert_array_equal(at.numpy(), indices)
        dy = layout(draw(rng, *y.shape))
        expected = kernels.max_pool_backward(dy, indices, shape, kernel, stride, padding)
        dx = kernels.max_pool_backward(narrow(dy), at, shape, kernel, stride, padding)
        # With overlapping windows and int64 indices sums are rounded on the way, up to nine times.
        np.testing.assert_allclose(values(dx), expected, rtol=UNIT, atol=0.07 if kind == "int64" else 1e-6)


@LAYOUTS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (4, 3, 1)])
def test_average_pool(rng, shape, window, layout):
    x = layout(draw(rng, *shape))
    check(lambda x: kernels.avg_pool2d(x, *window), x)
    dy = layout(draw(rng, *kernels.avg_pool2d(x, *window).shape))
    check(lambda dy: kernels.avg_pool_backward(dy, shape, *window), dy)


@LAYOUTS
@pytest.mark.parametrize("shape", [*SHAPES, (1, 8, 20, 17), (1, 2, 70, 65)])
@pytest.mark.parametrize("size", [1, (3, 2)])
def test_adaptive_pools(rng, shape, size, layout):
    x = layout(draw(rng, *shape))
    check(lambda x: kernels.adaptive_avg_pool2d(x, size), x)
    y, indices = kernels.adaptive_max_pool2d(x, size, return_indices=True)
    found, at = kernels.adaptive_max_pool2d(narrow(x), size, return_indices=True)
    np.testing.assert_array_equal(values(found), y)
    np.testing.assert_array_equal(at.numpy(), indices)
    dy = layout(draw(rng, *y.shape))
    check(lambda dy: kernels.adaptive_avg_pool_backward(dy, shape), dy)
    dx = kernels.adaptive_max_pool_backward(narrow(dy), at, shape)
    np.testing.assert_allclose(
        values(dx), kernels.adaptive_max_pool_backward(dy, indices, shape), rtol=UNIT, atol=0.03
    )


@LAYOUTS
@pytest.mark.parametrize("shape", SHAPES)
def test_unpool(rng, shape, layout):
    x = layout(draw(rng, *shape))
    y, indices = kernels.max_pool2d(x, 2, return_indices=True)
    spread = kernels.max_unpool2d(y, indices, 2, output_size=shape[2:])
    given = _C.Array(indices)
    found = kernels.max_unpool2d(narrow(y), given, 2, output_size=shape[2:])
    np.testing.assert_array_equal(values(found), spread)
    dx = kernels.max_unpool_backward(narrow(x), given)
    np.testing.assert_array_equal(values(dx), kernels.max_unpool_backward(x, indices))


def norm_gradients(rng, forward, backward, x, weight, bias):
    """Forward and backward of a norm, whose statistics are those of the image it gets."""
    check(lambda x, w, b: forward(x, w, b)[0], x, of=(weight, bias))
    layout = FORMATS[1] if _C.Array(x).keeps_channels_last else FORMATS[0]
    dy = layout(draw(rng, *x.shape))
    _, mean, rstd = forward(x, weight, bias)
    check(lambda dy, x, w, b: backward(dy, x, mean, rstd, w, b), dy, x, of=(weight, bias))


@LAYOUTS
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 8, 33, 40), (2, 512)])
def test_batch_norm(rng, shape, activation, layout):
    x = layout(half.rounded(draw(rng, *shape) * 2 + 1, "bfloat16"))
    weight, bias = (rng.standard_normal(shape[1]).astype(np.float32) for _ in range(2))

    def forward(x, w, b):
        return kernels.batch_norm(
            x, None, None, w, b, training=True, activation=activation, return_stats=True
        )

    def backward(dy, x, mean, rstd, w, b):
        return kernels.batch_norm_backward(dy, x, mean, rstd, w, True, bias=b, activation=activation)

    norm_gradients(rng, forward, backward, x, weight.astype(np.float64), bias.astype(np.float64))


def test_running_statistics_are_float32(rng):
    x = draw(rng, 2, 8, 5, 4)
    expected = [np.zeros(8), np.ones(8)]
    kernels.batch_norm(x, *expected, training=True, momentum=0.5)
    running = [_C.Array(a) for a in (np.zeros(8, np.float32), np.ones(8, np.float32))]
    kernels.batch_norm(narrow(x), *running, training=True, momentum=0.5)
    for found, wide in zip(running, expected, strict=True):
        np.testing.assert_allclose(values(found), wide, rtol=1e-6, atol=1e-7)
    y = kernels.batch_norm(narrow(x), *running)
    np.testing.assert_allclose(values(y), kernels.batch_norm(x, *expected), rtol=UNIT, atol=1e-5)


@LAYOUTS
@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("shape", [(2, 16, 6, 7), (1, 6, 5, 9), (2, 8, 3, 4, 5)])
def test_norms_of_samples(rng, shape, groups, layout):
    x = layout(draw(rng, *shape))
    weight, bias = (rng.standard_normal(shape[1]).astype(np.float32).astype(np.float64) for _ in range(2))
    if groups is None:

        def forward(x, w, b):
            return kernels.instance_norm(x, w, b, return_stats=True)

        def backward(dy, x, mean, rstd, w, b):
            return kernels.instance_norm_backward(dy, x, mean, rstd, w, bias=b)
    else:

        def forward(x, w, b):
            return kernels.group_norm(x, groups, w, b, return_stats=True)

        def backward(dy, x, mean, rstd, w, b):
            return kernels.group_norm_backward(dy, x, groups, mean, rstd, w, bias=b)

    norm_gradients(rng, forward, backward, x, weight, bias)


@pytest.mark.parametrize("shape", [(3, 16), (5, 33), (2, 1040), (2, 1025), (40, 8)])
def test_layer_norm(rng, shape):
    x = draw(rng, *shape)
    weight, bias = (rng.standard_normal(shape[1]).astype(np.float32).astype(np.float64) for _ in range(2))

    def forward(x, w, b):
        return kernels.layer_norm(x, shape[1:], w, b, return_stats=True)

    def backward(dy, x, mean, rstd, w, b):
        return kernels.layer_norm_backward(dy, x, shape[1:], mean, rstd, w)

    norm_gradients(rng, forward, backward, x, weight, bias)


@LAYOUTS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [(12, 14), (4, 5)])
def test_resize(rng, shape, mode, size, layout):
    x, dy = layout(draw(rng, *shape)), layout(draw(rng, *shape[:2], *size))
    check(lambda x: kernels.interpolate(x, size, mode=mode), x)
    check(lambda dy: kernels.interpolate_backward(dy, shape, size, mode=mode), dy)


@LAYOUTS
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad(rng, mode, name, layout):
    x = layout(draw(rng, 2, 8, 5, 6))
    x = layout(np.clip(x, -4, 4))

    def to(x):
        x = _C.Array(x)
        return kernels.copy(x, dtype=name, channels_last=x.keeps_channels_last)

    padding = (2, 1, 3, 2)
    y = kernels.pad(x, padding, mode, 0.5)
    np.testing.assert_array_equal(values(kernels.pad(to(x), padding, mode, 0.5)), half.rounded(y, name))
    dx = kernels.pad_backward(y, x.shape, padding, mode)
    np.testing.assert_allclose(
        values(kernels.pad_backward(to(y), x.shape, padding, mode)), dx, rtol=2 * UNIT, atol=0.02
    )


@LAYOUTS
@pytest.mark.parametrize("shape", [(2, 16, 3, 5), (2, 3, 7, 9), (1, 1, 2, 3)])
def test_dropout(rng, shape, layout):
    x = layout(draw(rng, *shape))
    y, mask = kernels.dropout(x, 0.25, seed=3, offset=5)
    found, kept = kernels.dropout(narrow(x), 0.25, seed=3, offset=5)
    np.testing.assert_array_equal(kept.numpy(), mask)
    np.testing.assert_allclose(values(found), y, rtol=UNIT)
    dy = layout(draw(rng, *shape))
    dx = kernels.dropout_backward(narrow(dy), kept, 0.25)
    np.testing.assert_allclose(values(dx), kernels.dropout_backward(dy, mask, 0.25), rtol=UNIT)


@pytest.mark.parametrize("shape", [(2, 8, 6, 5), (3, 40)])
def test_gradients_of_biases_may_be_float32(rng, shape):
    dy = draw(rng, *shape)
    out = _C.empty((shape[1],), "float32", device="cuda")
    kernels.bias_backward(narrow(dy), out=out)
    np.testing.assert_allclose(values(out), kernels.bias_backward(dy), rtol=1e-5, atol=1e-5)


def test_gradients_of_biases_may_follow_in_memory(rng):
    dy = draw(rng, 2, 8, 6, 5)
    memory = _C.empty((2 * dy.size + 32,), "uint8", device="cuda")
    before = _C.outlining(True)
    try:
        kinds = _C.empty(dy.shape, "bfloat16"), _C.empty((8,), "float32")
    finally:
        _C.outlining(before)
    near, out = memory.placed(kinds[0], 0), memory.placed(kinds[1], 2 * dy.size)
    kernels.copy(narrow(dy), out=near)
    kernels.bias_backward(near, out=out)
    np.testing.assert_allclose(values(out), kernels.bias_backward(dy), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="must not share memory"):
        kernels.bias_backward(near, out=memory.placed(kinds[1], 2 * dy.size - 32))


@pytest.mark.parametrize("shape", [(5,), (4, 8, 3, 3), (1001,)])
@pytest.mark.parametrize("step", ["sgd", "momentum", "adam"])
def test_steps_give_parameters_in_bfloat16_too(rng, step, shape):
    params = [_C.Array(rng.standard_normal(shape).astype(np.float32), "cuda") for _ in range(3)]
    grads, first, second = (
        [_C.Array(rng.standard_normal(shape).astype(np.float32) ** 2, "cuda") for _ in params]
        for _ in range(3)
    )
    alone = [kernels.copy(p) for p in params]
    states = [[kernels.copy(s) for s in state] for state in (first, second)]
    rounded = [narrow(np.zeros(shape, np.float32)), None, narrow(np.zeros(shape, np.float32))]
    for given, into in ((alone, None), (params, rounded)):
        one, two = states if into is None else (first, second)
        if step == "adam":
            kernels.adam_steps(given, grads, one, two, 3, 0.1, rounded=into)
        else:
            buffers, momentum = (one, 0.9) if step == "momentum" else (None, 0.0)
            kernels.sgd_steps(given, grads, buffers, 0.1, momentum, rounded=into)
    for found, expected, low in zip(params, alone, rounded, strict=True):
        np.testing.assert_array_equal(values(found), values(expected))
        if low is not None:
            np.testing.assert_array_equal(values(low), half.rounded(values(found), "bfloat16"))


def test_what_parameters_are_rounded_into_is_checked(rng):
    p, grad = (_C.Array(np.ones(4, np.float32), "cuda") for _ in range(2))
    for wrong, error, text in (
        (_C.empty((5,), "bfloat16", device="cuda"), ValueError, "rounded"),
        (_C.empty((4,), "float32", device="cuda"), TypeError, "rounded"),
    ):
        with pytest.raises(error, match=text):
            kernels.sgd_steps([p], [grad], None, 0.1, rounded=[wrong])
    with pytest.raises(ValueError, match="rounded must have as many arrays as params"):
        kernels.sgd_steps([p], [grad], None, 0.1, rounded=[])
    memory = _C.empty((16,), "uint8", device="cuda")
    before = _C.outlining(True)
    try:
        kinds = _C.empty((4,), "float32"), _C.empty((4,), "bfloat16")
    finally:
        _C.outlining(before)
    with pytest.raises(ValueError, match="rounded must not share memory with param"):
        kernels.sgd_steps(
            [memory.placed(kinds[0], 0)], [grad], None, 0.1, rounded=[memory.placed(kinds[1], 8)]
        )


def test_what_is_not_a_number_or_infinite_passes_through():
    x = np.zeros((1, 8, 4, 4))
    x[0, 3, 1, 1], x[0, 5, 2, 2] = np.nan, np.inf
    x = FORMATS[1](x)
    for operation in (
        kernels.relu,
        lambda x: kernels.max_pool2d(x, 2),
        lambda x: kernels.avg_pool2d(x, 2),
        lambda x: kernels.interpolate(x, (8, 8), mode="bilinear"),
        lambda x: kernels.pad(x, (1, 1)),
    ):
        np.testing.assert_array_equal(values(operation(narrow(x))), operation(x))


def test_what_has_no_kernel_is_refused():
    x = narrow(np.ones((2, 8, 4, 4)))
    for call in (lambda: kernels.exp(x), lambda: kernels.softmax(x, 1), lambda: kernels.sum(x)):
        with pytest.raises(TypeError, match="must be float32 or float64, got bfloat16"):
            call()
    low = kernels.copy(x, dtype="float16")
    for call in (
        lambda: kernels.relu(low),
        lambda: kernels.max_pool2d(low, 2),
        lambda: kernels.add(low, low),
    ):
        with pytest.raises(TypeError, match="must be float32, float64 or bfloat16, got float16"):
            call()
    with pytest.raises(TypeError, match="weight must be float32, got bfloat16"):
        kernels.instance_norm(x, narrow(np.ones(8)))
