"""Steps that train wait for the device only where a value is read, as the emulator counts it."""

import ctypes
import gc
import os

import numpy as np
import pytest

import medkern
from medkern import data, losses, models, nn, optim

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif("MEDKERN_CUDA_EMULATOR" not in os.environ, reason="the emulator counts"),
]


@pytest.fixture
def waits():
    count = ctypes.CDLL(os.environ["MEDKERN_CUDA_EMULATOR"]).medkern_emulator_waits
    count.restype = ctypes.c_uint64
    gc.collect()  # compiled models of other tests, which wait before they go
    return count


def images(rng, spatial_dims):
    size = (8,) * spatial_dims
    x = rng.standard_normal((2, 1, *size), np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: optim.AdamW(p, lr=0.01),
    ],
    ids=["sgd", "adamw"],
)
def test_a_training_step_waits_for_its_loss_alone(rng, waits, make, spatial_dims, norm):
    with medkern.device("cuda"):
        model = models.UNet(1, 2, spatial_dims=spatial_dims, filters=(4, 6), norm=norm, activation=None)
        optimizer, loss_of = make(model.parameters()), losses.DiceCELoss()
        values = []
        for step in range(2):
            x, y = images(rng, spatial_dims)
            before = waits()
            loss = loss_of(model(medkern.tensor(x)), medkern.tensor(y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert waits() == before, step
            values.append(loss.item())
            assert waits() > before
        assert np.isfinite(values).all()


def test_text_waits_for_its_loss_alone(rng, waits):
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.layers = nn.Embedding(7, 3), nn.LSTM(3, 4, num_layers=2, dropout=0.5)
            self.head = nn.Linear(4, 7)

        def forward(self, tokens, lengths):
            return self.head(self.layers(self.embed(tokens), lengths=lengths)[0])

    with medkern.device("cuda"):
        model = Text()
        optimizer = optim.Adam(model.parameters())
        tokens = rng.integers(0, 7, (5, 2))
        before = waits()
        logits = model(medkern.tensor(tokens), np.array([5, 3]))
        loss = losses.cross_entropy(logits.reshape(10, 7), tokens.reshape(10))
        loss.backward()
        optimizer.step()
        assert waits() == before
        assert np.isfinite(loss.item())


@pytest.mark.parametrize("norm_type", [1, 2, np.inf])
def test_clipping_waits_for_nothing(rng, waits, norm_type):
    with medkern.device("cuda"):
        parameters = [nn.Parameter(np.zeros(4, np.float32)), nn.Parameter(np.zeros((2, 3), np.float32))]
        for p in parameters:
            p.grad = medkern.tensor(rng.standard_normal(p.shape).astype(np.float32))
        grads = np.concatenate([p.grad.numpy().ravel() for p in parameters])
        before = waits()
        norm = optim.clip_grad_norm_(parameters, 0.1, norm_type)
        assert waits() == before
        expected = np.linalg.norm(grads, norm_type)
        assert abs(norm.item() - expected) < 1e-5 * expected
        clipped = np.concatenate([p.grad.numpy().ravel() for p in parameters])
        np.testing.assert_allclose(clipped, grads * 0.1 / expected, rtol=1e-4)


def test_a_compiled_model_waits_for_nothing(rng, waits):
    model = models.UNet(1, 2, filters=(4, 6), activation="softmax").to("cuda")
    x, _ = images(rng, 2)
    compiled = medkern.compile(model, x)
    for _ in range(3):
        before = waits()
        y = compiled(x)
        assert waits() == before
        assert np.isfinite(y.numpy()).all()


def test_a_trainer_waits_once_for_each_batch(rng, waits):
    x, y = images(rng, 2)
    model = models.UNet(1, 2, filters=(4, 6), norm="instance", activation=None)
    trainer = medkern.Trainer(model, losses.CrossEntropyLoss(), None, metrics=None, device="cuda")
    trainer.optimizer = optim.SGD(trainer.model.parameters(), lr=0.05)
    loader = data.DataLoader(list(zip(x, y, strict=True)), batch_size=1)
    before = waits()
    trainer.fit(loader, epochs=1, progress=False)
    assert waits() - before <= 4  # a copy and a wait for each of the two losses
