import numpy as np
import pytest

import medkern
from arrays import FORMATS
from medkern import _C, kernels
from reference import conv as reference

# x shape, output channels, kernel, options of the convolution
CASES = [
    ((2, 3, 9), 5, [3], {"padding": 1}),
    ((2, 17, 12, 13), 33, [3, 3], {"padding": 1}),
    (
        (1, 4, 9, 10),
        6,
        [3, 2],
        {"stride": (2, 3), "padding": ((2, 1), (1, 1)), "dilation": (2, 3), "groups": 2},
    ),
    ((2, 6, 7, 8), 6, [3, 3], {"padding": 1, "groups": 6}),
    ((1, 2, 5, 6, 7), 17, [3, 3, 3], {"padding": 1}),
]
FORWARD = {1: kernels.conv1d, 2: kernels.conv2d, 3: kernels.conv3d}
TRANSPOSE = {1: kernels.conv_transpose1d, 2: kernels.conv_transpose2d, 3: kernels.conv_transpose3d}


@pytest.fixture(autouse=True)
def keep_algorithm():
    before = medkern.get_algorithm()
    yield
    medkern.set_algorithm(before)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("algorithm", [None, "direct"])
@pytest.mark.parametrize(("shape", "outputs", "kernel", "options"), CASES)
def test_a_plan_gives_the_bits_of_the_plain_call(
    isa, rng, shape, outputs, kernel, options, algorithm, transposed, dtype, layout
):
    groups = options.get("groups", 1)
    inner = (shape[1], outputs // groups) if transposed else (outputs, shape[1] // groups)
    weight = rng.standard_normal((*inner, *kernel)).astype(dtype)
    bias = rng.standard_normal(outputs).astype(dtype)
    plan = kernels.conv_plan(
        weight, bias, transposed=transposed, activation="relu", algorithm=algorithm, **options
    )
    plain = (TRANSPOSE if transposed else FORWARD)[len(kernel)]
    kept = weight.copy()
    weight[...] = 0  # the plan has its own
    # One plan serves every size, also one smaller than the stride.
    for spatial in (shape[2:], tuple(n + 3 for n in shape[2:])):
        x = layout(rng.standard_normal((*shape[:2], *spatial)).astype(dtype))
        y = plan(x)
        expected = plain(x, kept, bias, activation="relu", algorithm=algorithm, **options)
        np.testing.assert_array_equal(y, expected)
        assert y.strides == expected.strides
        out = np.full_like(y, 7)
        assert plan(x, out) is not None
        np.testing.assert_array_equal(out, expected)
    assert plan.nbytes >= kept.nbytes


def test_a_transposed_plan_serves_results_smaller_than_the_stride(rng):
    weight = rng.standard_normal((2, 3, 1, 1)).astype(np.float32)
    plan = kernels.conv_plan(weight, stride=4, transposed=True)
    for size in (1, 2):
        x = rng.standard_normal((1, 2, size, size)).astype(np.float32)
        np.testing.assert_array_equal(plan(x), kernels.conv_transpose2d(x, weight, stride=4))


def test_direct_sums_of_small_integers_are_exact_per_call_and_for_the_process(isa, rng):
    x = rng.integers(-4, 5, (1, 64, 16, 16)).astype(np.float32)
    weight = rng.integers(-4, 5, (64, 64, 3, 3)).astype(np.float32)
    ones = [1, 1]
    expected = reference.conv(x, weight, None, ones, [(1, 1), (1, 1)], ones, 1)
    np.testing.assert_array_equal(kernels.conv2d(x, weight, padding=1, algorithm="direct"), expected)
    np.testing.assert_array_equal(kernels.conv_plan(weight, padding=1, algorithm="direct")(x), expected)
    medkern.set_algorithm("direct")
    assert medkern.get_algorithm() == "direct"
    np.testing.assert_array_equal(kernels.conv2d(x, weight, padding=1), expected)
    np.testing.assert_array_equal(kernels.conv_plan(weight, padding=1)(x), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.conv_plan(np.ones((1, 1, 3, 3), np.float32), stride=0), "stride must be from 1"),
        (lambda: kernels.conv_plan(np.ones((1, 1), np.float32)), "conv"),
        (lambda: kernels.conv_plan(np.ones((1, 1, 3, 3), np.float32), activation="tanh"), "activation"),
        (lambda: kernels.conv_plan(np.ones((1, 1, 3, 3), np.float32), algorithm="fft"), "algorithm must be"),
        (
            lambda: kernels.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), algorithm="fft"),
            "conv2d: algorithm",
        ),
        (lambda: medkern.set_algorithm("fft"), "set_algorithm: algorithm must be"),
        (
            lambda: kernels.conv_plan(np.ones((1, 2, 3, 3), np.float32))(np.ones((1, 3, 4, 4), np.float32)),
            "weight expects 2 input channels, got x with 3",
        ),
        (
            lambda: kernels.conv_plan(np.ones((1, 2, 3, 3), np.float32), np.ones(2, np.float32))(
                np.ones((1, 2, 4, 4), np.float32)
            ),
            "bias must have shape",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("shape", [(16, 16, 3, 3), (8, 3, 3, 3), (6, 1, 5, 3), (160, 160, 3, 3)])
def test_plans_of_other_paddings_share_weights(isa, rng, shape):
    groups = shape[0] if shape[1] == 1 else 1
    weight, bias = rng.standard_normal(shape, np.float32), rng.standard_normal(shape[0], np.float32)
    x = rng.standard_normal((2, groups * shape[1], 12, 11), np.float32)

    def made(padding):
        return _C.ConvPlan(weight, bias, 2, 1, padding, 1, groups, False, 0, 0, 0)

    first = made(1)
    for padding in (((0, 1), (1, 1)), 0, "same", ((2, 2), (0, 1))):
        shared = first.padded(padding)
        assert shared.nbytes < 1024
        expected = made(padding).run(x, False, None)
        np.testing.assert_array_equal(shared.run(x, False, None), expected)
        np.testing.assert_array_equal(shared.padded(1).run(x, False, None), first.run(x, False, None))
    again = made(1).padded(0)  # keeps the weights of the plan that is gone
    np.testing.assert_array_equal(again.run(x, False, None), made(0).run(x, False, None))


def test_what_cannot_share_weights_is_named():
    weight = np.ones((2, 2, 3, 3), np.float32)
    for stride, transposed in ((2, False), (1, True)):
        plan = _C.ConvPlan(weight, None, 2, stride, 1, 1, 1, transposed, 0, 0, 0)
        with pytest.raises(ValueError, match="only weights of stride 1, not transposed"):
            plan.padded(0)
    plan = _C.ConvPlan(weight, None, 2, 1, 1, 1, 1, False, 0, 0, 0)
    with pytest.raises((TypeError, ValueError), match="padding"):
        plan.padded((1, 2, 3))


def test_a_plan_serves_one_instruction_set():
    names = _C.isa_names()
    if len(names) < 2:
        pytest.skip("this processor runs one instruction set")
    before = _C.isa_active()
    try:
        _C.isa_select(names[0])
        plan = kernels.conv_plan(np.ones((1, 1, 3, 3), np.float32))
        _C.isa_select(names[1])
        with pytest.raises(ValueError, match="another instruction set"):
            plan(np.ones((1, 1, 4, 4), np.float32))
    finally:
        _C.isa_select(before)
