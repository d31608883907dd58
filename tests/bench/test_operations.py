"""Every operation of the benchmark, small: medkern's call gives what the benchmark's own oracle says."""

import numpy as np
import pytest
from medkern.bench import accuracy, case, harness, oracle
from medkern.bench.libraries import own, own_cuda, pytorch_cuda
from medkern.bench.nets import zoo
from medkern.bench.nets.backprop import Tape
from medkern.bench.operations import inference

import medkern
from reference import recurrent as recurrent_reference

X2, X3 = (2, 3, 8, 6), (1, 2, 4, 6, 4)
UNET = {"filters": [2, 3, 4], "sigmoid": False}

SMALL = [
    ("conv", {"x": X2, "filters": 5}),
    ("conv", {"x": X3, "filters": 4, "stride": 2}),
    ("conv", {"x": (1, 4, 9, 9), "filters": 4, "groups": 4, "dilation": 2, "padding": 2}),
    ("conv", {"x": X2, "filters": 5, "prepared": False}),
    ("conv", {"x": X3, "filters": 5, "kernel": 2, "stride": 2, "padding": 0, "transposed": True}),
    ("conv_gradients", {"x": X2, "filters": 5, "gradients": True}),
    ("conv_gradients", {"x": X2, "filters": 5, "kernel": 4, "stride": 2, "transposed": True}),
    ("gemm", {"m": 3, "n": 4, "k": 5}),
    ("linear", {"batch": 3, "inputs": 5, "outputs": 4}),
    ("linear", {"batch": 3, "inputs": 5, "outputs": 4, "prepared": False}),
    *[
        ("pool", {"x": x, "kind": kind, "gradients": gradients})
        for x in (X2, X3)
        for kind in ("max", "average", "unpool")
        for gradients in (False, True)
    ],
    *[
        ("resize", {"x": x, "linear": linear, "gradients": gradients})
        for x in (X2, X3)
        for linear in (False, True)
        for gradients in (False, True)
    ],
    *[("resample", {"x": x, "gradients": gradients}) for x in (X2, X3) for gradients in (False, True)],
    *[
        ("norm", {"x": X2, "kind": kind, "gradients": gradients})
        for kind in ("batch", "instance")
        for gradients in (False, True)
    ],
    ("norm", {"x": X3, "kind": "batch_inference"}),
    *[("softmax", {"x": X2, "gradients": gradients}) for gradients in (False, True)],
    *[
        ("pointwise", {"x": X2, "kind": kind, "gradients": gradients})
        for kind in ("relu", "sigmoid", "tanh")
        for gradients in (False, True)
    ],
    ("pointwise", {"x": X2, "kind": "add"}),
    *[
        ("recurrent", {"cell": cell, "batch": 2, "steps": 3, "inputs": 4, "hidden": 5, **more})
        for cell in ("lstm", "gru")
        for more in (
            {},
            {"prepared": False, "bidirectional": True},
            {"gradients": True},
            {"gradients": True, "bidirectional": True},
        )
    ],
    *[("cell", {"cell": cell, "batch": 2, "inputs": 3, "hidden": 4}) for cell in ("lstm", "gru")],
    ("inference", {"net": "unet", "x": (1, 1, 8, 8), "options": {"filters": [2, 3, 4]}}),
    ("inference", {"net": "unet", "x": (1, 1, 8, 8), "options": {"filters": [2, 3, 4], "norm": "batch"}}),
    ("inference", {"net": "unet", "x": (1, 1, 4, 4, 4), "options": {"filters": [2, 3], "rank": 3}}),
    ("inference", {"net": "resnet18", "x": (1, 3, 32, 32)}),
    ("inference", {"net": "small_cnn", "x": (2, 1, 8, 8), "options": {"size": 8}}),
    ("inference", {"net": "text", "x": (2, 3), "options": {"words": 7, "features": 4, "hidden": 5}}),
    ("training", {"net": "unet", "x": (2, 1, 8, 8), "loss": "bce", "options": UNET}),
    ("training", {"net": "unet", "x": (2, 1, 8, 8), "loss": "dice", "options": {**UNET, "norm": "batch"}}),
    ("training", {"net": "small_cnn", "x": (2, 1, 8, 8), "loss": "cross_entropy", "options": {"size": 8}}),
    ("gan", {"batch": 2, "filters": 2}),
]


no_device = pytest.mark.skipif(not medkern.cuda.is_available(), reason="no CUDA device and no emulator")
small = pytest.mark.parametrize(("name", "sizes"), SMALL, ids=[f"{n}{i}" for i, (n, _) in enumerate(SMALL)])


def computed(library, name, sizes, precision="float32"):
    """Checks a library's result; gives the operation, the sizes and the arrays."""
    operation = case.operation_of(name)
    s = operation.Sizes(**sizes)
    arrays = case.draw("a case", operation, s)
    expected = operation.expected(s, arrays)
    call = library.prepare(operation, s, {key: value.copy() for key, value in arrays.items()})
    with library.context(s):
        found = library.arrays(call(), operation, s)
    measure = {"measure": operation.measure} if hasattr(operation, "measure") else {}
    harness.error_of(found, expected, harness.tolerance_of(operation, precision), **measure)
    return operation, s, arrays


@small
@pytest.mark.parametrize("library", [own, pytest.param(own_cuda, marks=[pytest.mark.cuda, no_device])])
def test_medkern_computes_what_the_oracle_says(name, sizes, library):
    operation, s, arrays = computed(library, name, sizes)
    flops, size = operation.work(s)
    assert flops >= 0 and size > 0
    again = case.draw("a case", operation, s)
    assert all(np.array_equal(arrays[key], again[key]) for key in arrays)


NETWORKS = [(name, sizes) for name, sizes in SMALL if name == "inference"]


@pytest.mark.cuda
@no_device
@pytest.mark.parametrize(("name", "sizes"), NETWORKS, ids=[sizes["net"] for _, sizes in NETWORKS])
def test_networks_predict_in_bfloat16(name, sizes, monkeypatch):
    kinds = []
    compile = medkern.compile
    monkeypatch.setattr(medkern, "compile", lambda *given: kinds.append(compile(*given)) or kinds[-1])
    own_cuda.set_precision("bf16")
    try:
        computed(own_cuda, name, sizes, "bf16")
    finally:
        own_cuda.set_precision("float32")
    (program,) = kinds[0]._programs.values()
    assert any(step.outputs[0].outline.dtype == medkern.bfloat16 for step in program._graph.steps)
    assert not medkern.kernels._precision.is_autocast()


@small
@pytest.mark.parametrize("precision", case.PRECISIONS)
def test_pytorch_computes_what_the_oracle_says(name, sizes, precision, monkeypatch):
    # What runs on a GPU elsewhere, on the CPU, which knows no TF32.
    pytest.importorskip("torch")
    monkeypatch.setattr(pytorch_cuda, "DEVICE", "cpu")
    monkeypatch.setattr(pytorch_cuda.pytorch, "_channels_last", False)
    if precision == "bf16" and name not in ("conv", "conv_gradients", "gemm", "inference"):
        pytest.skip("has no case in bf16, or too small a one to be near float64")
    pytorch_cuda.set_precision(precision)
    try:
        computed(pytorch_cuda, name, sizes, precision)
    finally:
        pytorch_cuda.set_precision("float32")


def test_other_cases_draw_other_arrays():
    operation = case.operation_of("gemm")
    s = operation.Sizes(2, 3, 4)
    first, second = (case.draw(name, operation, s) for name in ("one", "two"))
    assert not np.array_equal(first["a"], second["a"])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_quick_recurrent_oracle_is_the_slow_one(cell):
    rng = np.random.default_rng(0)
    rows = {"lstm": 4, "gru": 3}[cell] * 5
    x, dy = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4, 5))
    weights = [rng.standard_normal(shape) for shape in ((rows, 3), (rows, 5), (rows,), (rows,))]
    y, dx, gradients = oracle.recurrent(cell, x, weights, dy)
    expected_y, _, _ = recurrent_reference.layer(cell, x, [weights])
    nothing = np.zeros((1, 2, 5))
    expected = recurrent_reference.layer_backward(cell, dy, nothing, nothing, x, [weights])
    np.testing.assert_allclose(y, expected_y, atol=1e-12)
    np.testing.assert_allclose(dx, expected[0], atol=1e-12)
    for found, known in zip(gradients, expected[3][0], strict=True):
        np.testing.assert_allclose(found, known, atol=1e-12)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (zoo.unet(filters=(2, 3), norm="batch", sigmoid=True), (2, 1, 4, 4)),
        (zoo.resnet18(), (1, 3, 32, 32)),
        (zoo.text(7, 3, 4), (2, 3)),
        (zoo.generator(3, 1), (2, 3, 1, 1)),
        (zoo.discriminator(1), (2, 1, 64, 64)),
    ],
)
def test_gradients_of_networks_by_finite_differences(net, shape):
    rng = np.random.default_rng(0)
    parameters = {name: value.astype(np.float64) for name, value in net.draw(rng).items()}
    x = rng.integers(0, 7, shape) if net.layers[0].kind == "embedding" else rng.standard_normal(shape)
    tape = Tape(net, parameters, x, True)
    dy = rng.standard_normal(tape.y.shape)
    gradients = tape.backward(dy)[1]
    assert list(gradients) != [] and set(gradients) == set(net.parameters())
    step = 1e-6
    way = {name: rng.standard_normal(value.shape) for name, value in gradients.items()}

    def along(sign):
        moved = {name: parameters[name] + sign * step * way[name] for name in way}
        return np.sum(Tape(net, {**parameters, **moved}, x, True).y * dy)

    slope = sum(np.sum(gradients[name] * way[name]) for name in way)
    assert (along(1) - along(-1)) / (2 * step) == pytest.approx(slope, rel=1e-4)


def test_the_work_of_networks_is_counted():
    # 64 filters at 256 x 256, in units of 18 * 64^2 * 256^2: the way down 1/64 + 1, and 1/2 + 1 for each of
    # four levels more, whose pixels are a quarter and weights four times as many; the way up 2 + 1 for each
    # of four; four transposed ones of 2 / 9.
    flops, weights = inference.counted(zoo.unet(), (1, 1, 256, 256))
    unit = 18 * 64**2 * 256**2
    assert flops == pytest.approx(
        unit * (1 / 64 + 1 + 6 + 12 + 8 / 9) + 2 * 64 * 256**2
    ) and weights == pytest.approx(31.0e6, rel=0.01)
    flops, weights = inference.counted(zoo.resnet18(1000), (1, 3, 224, 224))
    assert flops == pytest.approx(3.63e9, rel=0.01) and weights == pytest.approx(11.69e6, rel=0.01)


def test_accuracy_is_in_units_of_the_last_place(monkeypatch):
    small = [
        ("a", "conv", {"x": X2, "filters": 5}),
        ("b", "conv_gradients", {"x": X2, "filters": 5}),
        ("c", "softmax", {"x": X2}),
    ]
    monkeypatch.setattr(accuracy, "CASES", small)
    errors = list(accuracy.measure())
    assert [(e.name, e.result, e.algorithm) for e in errors] == [
        ("a", "y", "automatic"),
        ("a", "y", "direct"),
        ("b", "input", "automatic"),
        ("b", "weight", "automatic"),
        ("b", "input", "direct"),
        ("b", "weight", "direct"),
        ("c", "y", "automatic"),
    ]
    # A rounding of the result alone may cost 1; sums of 27 products stay far below 27.
    assert all(0 < e.error < 10 for e in errors)
    assert len(list(accuracy.lines(errors))) == 1 + len(errors)
    assert sum(line.startswith("| ") for line in accuracy.markdown(errors)) == 1 + len(errors)


def test_every_accuracy_case_fits_its_operation():
    for name, kind, sizes in accuracy.CASES:
        assert name and case.operation_of(kind).Sizes(**sizes)
