"""Compiled models that keep bfloat16 between their steps."""

import ctypes
import os

import numpy as np
import pytest

import medkern
from compiled import Apply, draw_statistics, eager, flat, image, poison
from medkern import Trainer, functional, losses, models, nn, optim
from medkern.autograd import widened
from medkern.io.weights import load_model, save_model
from medkern.models.resnet import BasicBlock

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not medkern.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(autouse=True)
def on_cuda(sooner):
    medkern.random.manual_seed(0)
    with medkern.device("cuda"):
        yield
    medkern.cuda.synchronize()


def unet(rank=2, norm="batch", up="transposed", activation="softmax"):
    size = 32 if rank == 2 else 16
    options = {"spatial_dims": rank, "norm": norm, "up": up, "activation": activation}
    return models.UNet(1, 3, filters=(8, 16), **options), (2, 1, *(size,) * rank)


def resnet():
    return (
        nn.Sequential(
            nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(8, activation="relu"),
            nn.MaxPool2d(3, 2, 1),
            BasicBlock(8, 8, 1),
            BasicBlock(8, 16, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
        (4, 3, 32, 32),
    )


NETWORKS = {
    "unet": unet,
    "unet_resized": lambda: unet(norm="group", up="resize", activation="sigmoid"),
    "unet3d": lambda: unet(rank=3, norm="instance"),
    "unet3d_batch": lambda: unet(rank=3, activation=None),
    "segnet": lambda: (models.SegNet(1, 2, filters=(8, 16), convolutions=(2, 2)), (1, 1, 16, 16)),
    "resnet": resnet,
}


def drawn(name, rng):
    """(model, input)."""
    model, shape = NETWORKS[name]()
    draw_statistics(model, rng)
    return model.eval(), image(rng, *shape)


def steps(compiled):
    return [step for program in compiled._programs.values() for step in program._graph.steps]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(rng, name):
    model, x = drawn(name, rng)
    exact = medkern.compile(model, x)
    compiled = medkern.compile(model, x, precision="bf16")
    expected = exact(x).numpy()
    results = []
    for number in range(3):
        poison(compiled)
        results.append(compiled(x))
        (program,) = compiled._programs.values()
        assert program._bound.is_graph == (number > 0)
    assert results[0].dtype == np.float32
    for result in results[1:]:
        np.testing.assert_array_equal(result.numpy(), results[0].numpy())
    with medkern.autocast():
        by_itself = widened(eager(model, x)).numpy()
    for wanted in (expected, by_itself):
        error = np.abs(results[0].numpy() - wanted)
        if name == "segnet":  # where two numbers of a window round to one, the place of the largest differs
            assert np.median(error) < 0.02 * np.abs(wanted).max()
        else:  # each of up to ten layers rounds its result and its weights by 2^-9, of the largest at most
            assert error.max() < 20 * 2.0**-9 * np.abs(wanted).max()
    # Two bytes for four, but for the converted input, and places are rounded up.
    assert 2 * (compiled.nbytes["arena"] - 2 * x.size) <= 1.05 * exact.nbytes["arena"]
    assert exact.nbytes["weights"] > 1.25 * compiled.nbytes["weights"]  # fewer channels are padded in float32


@pytest.mark.parametrize("name", NETWORKS)
def test_only_what_comes_and_goes_is_float32(rng, name):
    model, x = drawn(name, rng)
    compiled = medkern.compile(model, x, precision="bf16")
    found = steps(compiled)
    wide = [step for step in found if any(y.outline.dtype == np.float32 for y in step.outputs)]
    assert all(step.function.__name__ in ("Cast", "Softmax", "Unary") for step in wide)
    assert wide == found[-len(wide) :]
    assert sum(step.function.__name__ == "Cast" for step in found) == 2


@pytest.mark.skipif("MEDKERN_CUDA_EMULATOR" not in os.environ, reason="the emulator counts")
def test_no_kernel_of_float32_runs(rng):
    count = ctypes.CDLL(os.environ["MEDKERN_CUDA_EMULATOR"]).medkern_emulator_launches
    kinds = [
        b"conv_f32",
        b"conv_few",
        b"conv_tf32",
        b"conv_bf16",
        b"conv_arrange_weights",
        b"max_pool_forward_f32",
    ]
    model, x = drawn("unet", rng)
    compiled = medkern.compile(model, x, precision="bf16")
    before = [count(kind) for kind in kinds], count(b"conv_half_bf16")
    compiled(x)
    assert [count(kind) for kind in kinds] == before[0]
    assert count(b"conv_half_bf16") > before[1]


def test_what_the_precision_is_taken_from(rng):
    model, x = drawn("unet", rng)
    narrow = medkern.compile(model, x, precision="bf16")(x).numpy()
    exact = medkern.compile(model, x, precision="float32")(x).numpy()
    assert not np.array_equal(narrow, exact)
    with medkern.autocast():
        np.testing.assert_array_equal(medkern.compile(model, x)(x).numpy(), narrow)
        np.testing.assert_array_equal(medkern.compile(model, x, precision="float32")(x).numpy(), exact)
    np.testing.assert_array_equal(medkern.compile(model, x)(x).numpy(), exact)
    with pytest.raises(
        ValueError, match="compile: precision must be 'float32', 'tf32' or 'bf16', got 'half'"
    ):
        medkern.compile(model, x, precision="half")
    with medkern.device("cpu"):
        model.to("cpu")
        on_cpu = medkern.compile(model, x)(x).numpy()
        np.testing.assert_array_equal(medkern.compile(model, x, precision="bf16")(x).numpy(), on_cpu)


def test_a_graph_multiplies_as_is_set(rng):
    model = nn.Linear(40, 8)
    x = image(rng, 16, 40)
    compiled, rounded = medkern.compile(model, x), medkern.compile(model, x, precision="tf32")
    before = medkern.get_float32_matmul_precision()
    results = {}
    try:
        for precision in ("highest", "high", "highest", "high"):
            medkern.set_float32_matmul_precision(precision)
            for _ in range(3):
                y = compiled(x).numpy()
                np.testing.assert_array_equal(results.setdefault(precision, y), y)
            np.testing.assert_array_equal(rounded(x).numpy(), results.get("high", rounded(x).numpy()))
            assert medkern.get_float32_matmul_precision() == precision
    finally:
        medkern.set_float32_matmul_precision(before)
    assert not np.array_equal(results["highest"], results["high"])


def test_recurrent_layers_are_float32(rng):
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.layers, self.head = nn.Linear(6, 8), nn.LSTM(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            y, state = self.layers(functional.relu(self.into(x)))
            return self.head(y[-1]), state

    model, x = Text(), image(rng, 5, 2, 6)
    compiled = medkern.compile(model, x, precision="bf16")
    kinds = {step.function.__name__: str(step.outputs[0].outline.dtype) for step in steps(compiled)}
    assert kinds["Recurrent"] == "float32" and kinds["Linear"] == "bfloat16"
    for found, wanted in zip(flat(compiled(x)), flat(eager(model, x)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=0.02)


def test_numbers_beside_bfloat16(rng):
    layer = nn.Linear(4, 4)
    model = Apply(lambda x: functional.relu(layer(x)) * 0.1 + 1.5)
    x = image(rng, 3, 4)
    with medkern.autocast():
        expected = widened(eager(model, x)).numpy()
    compiled = medkern.compile(model, x, precision="bf16")
    np.testing.assert_array_equal(compiled(x).numpy(), expected)
    np.testing.assert_array_equal(compiled(x[:2]).numpy(), expected[:2])


def test_inputs_in_bfloat16(rng):
    model, x = drawn("unet", rng)
    narrow = medkern.tensor(x).to("bfloat16")
    expected = medkern.compile(model, x, precision="bf16")(x).numpy()
    np.testing.assert_array_equal(medkern.compile(model, narrow, precision="bf16")(narrow).numpy(), expected)


def test_saved_models_give_the_same_bits(rng, tmp_path):
    model, x = drawn("unet", rng)
    expected = medkern.compile(model, x, precision="bf16")(x).numpy()
    save_model(model, tmp_path / "model.safetensors")
    loaded, _ = load_model(tmp_path / "model.safetensors")
    loaded.to("cuda")
    np.testing.assert_array_equal(medkern.compile(loaded, x, precision="bf16")(x).numpy(), expected)
    medkern.random.manual_seed(1)
    other, _ = NETWORKS["unet"]()
    predict = medkern.inference.Predictor(other, "bf16")
    assert not np.array_equal(predict(x).numpy(), expected)
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(predict(x).numpy(), expected)


def test_a_trainer_predicts_in_its_precision(rng):
    model, x = drawn("unet", rng)
    expected = medkern.compile(model, x, precision="bf16")(x).numpy()
    trainer = Trainer(model, losses.DiceCELoss(), optim.SGD(model.parameters(), lr=0.1), precision="bf16")
    np.testing.assert_array_equal(trainer.predict(x), expected)
    trainer.precision = None
    exact = medkern.compile(model, x)(x).numpy()
    np.testing.assert_array_equal(trainer.predict(x), exact)
    predict = medkern.inference.Predictor(model)
    np.testing.assert_array_equal(predict(x).numpy(), exact)
    with medkern.autocast():
        np.testing.assert_array_equal(predict(x).numpy(), expected)
