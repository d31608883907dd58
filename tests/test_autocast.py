"""Training in bfloat16 on CUDA: what is kept in what type, and how far it is from float32."""

import numpy as np
import pytest

import medkern
from compiled import image
from medkern import Trainer, functional, losses, models, nn, optim
from medkern.autograd import recording
from medkern.data import ArrayDataset, DataLoader
from medkern.models.resnet import BasicBlock
from reference import half

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


def unet(norm):
    model = models.UNet(1, 3, filters=(8, 16), norm=norm, activation=None)
    return model, (2, 1, 16, 16), lambda rng: rng.integers(0, 3, (2, 16, 16))


def resnet():
    """The blocks of a ResNet, few channels wide."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(8, activation="relu"),
        nn.MaxPool2d(3, 2, 1),
        BasicBlock(8, 8, 1),
        BasicBlock(8, 16, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    return model, (4, 3, 32, 32), lambda rng: rng.integers(0, 3, 4)


NETWORKS = {
    "unet": lambda: unet("batch"),
    "unet_instance": lambda: unet("instance"),
    "resnet": resnet,
}


def step(model, x, y, enabled):
    """(the loss, the output, gradients by name, the types of what each operation gave)."""
    kinds = {}

    def note(function, inputs, options, results):
        kinds.setdefault(function.__name__, set()).add(str(results[0].dtype))

    for p in model.parameters():
        p.grad = None
    with medkern.autocast(enabled), recording(note):
        output = model(medkern.tensor(x))
        loss = losses.cross_entropy(output, y)
    with medkern.autocast(enabled):
        loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    return loss.item(), output, grads, kinds


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_agrees_with_float32(rng, name):
    model, shape, targets = NETWORKS[name]()
    x, y = rng.standard_normal(shape).astype(np.float32), targets(rng)
    loss, output, grads, _ = step(model, x, y, False)
    other, narrow, rough, kinds = step(model, x, y, True)
    assert output.dtype == np.float32 and narrow.dtype == medkern.bfloat16
    for function in (
        "Conv",
        "BatchNorm",
        "InstanceNorm",
        "MaxPool",
        "Concat",
        "ConvTranspose",
        "Linear",
        "Add",
    ):
        assert kinds.get(function, {"bfloat16"}) == {"bfloat16"}, function
    assert kinds["CrossEntropy"] == {"float32"}
    # Each of up to 20 layers rounds its result and its weights by 2^-9.
    assert abs(other - loss) < 0.03 * abs(loss)
    scale = np.abs(output.numpy()).max()
    np.testing.assert_allclose(narrow.to("float32").numpy(), output.numpy(), rtol=0, atol=0.06 * scale)
    whole = sum(float((g.numpy().astype(np.float64) ** 2).sum()) for g in grads.values()) ** 0.5
    apart = 0.0
    for key, grad in grads.items():
        assert rough[key].dtype == np.float32
        apart += float(((rough[key].numpy().astype(np.float64) - grad.numpy()) ** 2).sum())
    assert apart**0.5 < 0.2 * whole  # some of few pixels change sides at a ReLU
    assert all(p.dtype == np.float32 for p in model.parameters())


def test_weights_are_converted_once_until_they_change(rng, monkeypatch):
    made = []
    copy = medkern.kernels.copy
    monkeypatch.setattr(
        medkern.kernels, "copy", lambda x, **options: made.append(x.shape) or copy(x, **options)
    )
    layer = nn.Conv2d(8, 8, 3, padding=1)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    x = medkern.tensor(rng.standard_normal((1, 8, 5, 5)).astype(np.float32))
    with medkern.autocast():
        for _ in range(3):
            for _ in range(2):
                functional.sum(functional.square(layer(layer(x)))).backward()
            assert made.count((8, 8, 3, 3)) == 1
            optimizer.step()  # gives them in bfloat16 as well
            low = layer.weight._bfloat16[2]
            expected = half.rounded(layer.weight.numpy(), "bfloat16")
            np.testing.assert_array_equal(copy(low, dtype="float32").numpy(), expected)
        layer.weight.copy_(layer.weight.numpy() / 2)
        layer(x)
        assert made.count((8, 8, 3, 3)) == 2


def test_backward_may_come_after_the_context(rng):
    layer = nn.Linear(8, 4)
    x = medkern.tensor(rng.standard_normal((3, 8)).astype(np.float32), requires_grad=True)
    with medkern.autocast():
        y = layer(x)
        assert y.dtype == medkern.bfloat16
        with medkern.autocast(False):
            assert layer(x).dtype == np.float32
    functional.sum(functional.softmax(y, 1) * medkern.tensor(np.arange(4, dtype=np.float32))).backward()
    assert x.grad.dtype == layer.weight.grad.dtype == layer.bias.grad.dtype == np.float32


def test_types_that_meet_become_float32():
    a = medkern.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    b = a.to("bfloat16")
    for y in (a + b, b * a, functional.concat([a, b], 1), functional.where(np.ones((2, 3), bool), b, a)):
        assert y.dtype == np.float32
    assert (b + b).dtype == (b * 2.0).dtype == functional.relu(b).dtype == medkern.bfloat16
    for function in (functional.exp, functional.silu, functional.sum, lambda x: functional.softmax(x, 1)):
        y = function(b)
        assert y.dtype == np.float32
        functional.sum(y).backward()
    assert a.grad.dtype == np.float32
    assert losses.mse_loss(b, np.zeros((2, 3), np.float32)).dtype == np.float32


def test_the_cpu_computes_in_float32(rng):
    with medkern.device("cpu"), medkern.autocast():
        layer = nn.Linear(3, 2)
        assert layer(medkern.tensor(rng.standard_normal((4, 3)).astype(np.float32))).dtype == np.float32


def test_models_are_summarized_in_float32(rng):
    model = models.UNet(1, 2, filters=(4, 4), activation=None)
    with medkern.autocast():
        assert "bfloat16" not in str(model.summary((1, 1, 8, 8)))
        assert model(medkern.tensor(image(rng, 1, 1, 8, 8))).dtype == medkern.bfloat16


def test_a_trainer_learns(rng):
    x = rng.standard_normal((24, 1, 8, 8)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    model = models.UNet(1, 2, filters=(8, 8), norm="batch", activation=None)
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x):
            output = self.net(x)
            seen.append(str(output.dtype))
            return output

    net = Watched()
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    trainer = Trainer(net, losses.CrossEntropyLoss(), optimizer, device="cuda", precision="bf16")
    trainer.fit(DataLoader(ArrayDataset(x, y), 8), epochs=6, progress=False)
    assert set(seen) == {"bfloat16"} and not medkern.kernels._precision.is_autocast()
    history = [record["loss"] for record in trainer.history]
    assert history[-1] < 0.5 * history[0]
    assert all(p.dtype == np.float32 for p in net.parameters())
    assert all(b.dtype != medkern.bfloat16 for _, b in net.named_buffers())
    loss = trainer.evaluate([(x, y)])["loss"]
    assert abs(loss - history[-1]) < 0.5 * history[0]
    assert trainer.predict(x[:2]).dtype == np.float32


def test_networks_train_against_each_other(rng):
    generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    discriminator = nn.Sequential(nn.spectral_norm(nn.Linear(2, 8)), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    optimizers = [optim.Adam(net.parameters(), lr=0.01) for net in (generator, discriminator)]
    trainer = medkern.GANTrainer(
        generator, discriminator, *optimizers, latent=4, r1=0.1, device="cuda", precision="bf16"
    )
    x = rng.standard_normal((16, 2)).astype(np.float32)
    trainer.fit(DataLoader(ArrayDataset(x, np.zeros(16, np.int64)), 8), epochs=1, progress=False)
    assert np.isfinite([trainer.history[0]["loss"], trainer.history[0]["generator_loss"]]).all()
    for net in (generator, discriminator):
        assert all(p.dtype == np.float32 and np.isfinite(p.numpy()).all() for p in net.parameters())
