import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import medkern
from medkern import functional, models, nn, optim
from medkern.callbacks import AverageWeights, Callback
from medkern.data import ArrayDataset, DataLoader
from medkern.io import DataError
from medkern.io.state import load_state
from medkern.metrics import frechet_distance


class Discriminator(nn.Module):
    """Looks at the points themselves."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
        for layer in (self.layers[0], self.layers[2]):
            nn.spectral_norm(layer)

    def forward(self, x):
        return functional.reshape(self.layers(x), (len(x),))


def points(count=256, seed=0):
    """A correlated normal distribution away from the origin."""
    z = np.random.default_rng(seed).standard_normal((count, 2))
    x = z @ np.array([[0.5, 0.2], [0.0, 0.3]]) + np.array([1.5, -1.0])
    return ArrayDataset(x.astype(np.float32), np.zeros(count, np.int64))


def make(seed=0, **options):
    medkern.random.manual_seed(seed)
    generator = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    discriminator = Discriminator()
    trainer = medkern.GANTrainer(
        generator,
        discriminator,
        optim.Adam(generator.parameters(), lr=3e-3, betas=(0.5, 0.999)),
        optim.Adam(discriminator.parameters(), lr=3e-3, betas=(0.5, 0.999)),
        latent=4,
        **options,
    )
    return trainer, DataLoader(points(), 32, shuffle=True, seed=1)


@pytest.mark.parametrize(
    ("options", "share"),
    [
        (dict(loss="bce"), 10),
        (dict(loss="least_squares", r1=0.1), 10),
        (dict(loss="hinge"), 10),
        (dict(loss="wasserstein", gradient_penalty=1.0), 3),  # slow, with all weights of norm 1
    ],
)
def test_made_points_come_to_be_like_real_ones(options, share):
    trainer, loader = make(**options)
    real = points(512, seed=1).x

    def distance():
        return frechet_distance(real, trainer.sample(512, seed=2))

    first = distance()
    history = trainer.fit(loader, epochs=40, callbacks=[AverageWeights(0.9)], progress=False)
    assert distance() < first / share and first > 2
    assert list(history[0]) == ["epoch", "loss", "lr", "generator_loss", "seconds"]


def weights(trainer):
    parts = (("g", trainer.model), ("d", trainer.discriminator))
    return {
        f"{key}.{name}": value.numpy().copy()
        for key, part in parts
        for name, value in part.state_dict().items()
    }


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


class Kill(Callback):
    steps = 0

    def on_step(self, trainer):
        Kill.steps += 1
        if Kill.steps == 20:
            os.kill(os.getpid(), 9)


def run(path, more=(), resume=False, seed=0):
    trainer, loader = make(seed, r1=0.1, critic_steps=2)
    trainer.fit(
        loader,
        epochs=6,
        callbacks=[AverageWeights(0.9), *(more or [Callback()])],
        progress=False,
        checkpoint=path,
        resume=resume,
    )
    return trainer


def test_a_run_that_is_killed_and_resumed_gives_the_same_bits(tmp_path):
    whole = run(tmp_path / "whole.safetensors")
    path = str(tmp_path / "killed.safetensors")
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_gan as t; "
    code += f"t.run({path!r}, [t.Kill()])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    resumed = run(path, resume=True, seed=7)
    assert len(resumed.history) == 6 and same(weights(whole), weights(resumed))
    np.testing.assert_array_equal(whole.sample(3), resumed.sample(3))


class Interrupt(Callback):
    def __init__(self, steps):
        self.left = steps

    def on_step(self, trainer):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_run_resumed_within_an_epoch_gives_the_same_bits(tmp_path):
    def go(path, resume=False, interrupt=0):
        trainer, loader = make(7 if resume else 0, r1=0.1, critic_steps=2)
        trainer.fit(
            loader,
            epochs=3,
            callbacks=[AverageWeights(0.9), Interrupt(interrupt)],
            progress=False,
            checkpoint=path,
            checkpoint_steps=3,
            resume=resume,
        )
        return trainer

    path = tmp_path / "killed.safetensors"
    whole = go(tmp_path / "whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        go(path, interrupt=8)  # the last step of the second epoch
    kept = load_state(path)
    assert kept["epoch"]["batches"] == 6 and kept["epoch"]["steps"] == 3
    resumed = go(path, resume=True)
    assert same(weights(whole), weights(resumed))
    for before, after in zip(whole.history, resumed.history, strict=True):
        assert before["loss"] == after["loss"] and before["generator_loss"] == after["generator_loss"]


def test_a_step_of_the_generator_leaves_the_discriminator_alone():
    trainer, loader = make()
    before = weights(trainer)
    trainer.discriminator_optimizer.param_groups[0]["lr"] = 0.0
    trainer.fit(loader, epochs=1, progress=False)
    after = weights(trainer)
    learnt = {name: not np.array_equal(before[name], after[name]) for name in before}
    assert learnt["g.0.weight"] and not learnt["d.layers.0.weight_original"]
    assert all(p.requires_grad for p in trainer.discriminator.parameters())


def test_samples_depend_on_the_seed_alone():
    trainer, _ = make()
    state = medkern.random.get_state()
    first = trainer.sample(70, seed=3)
    assert first.shape == (70, 2) and medkern.random.get_state() == state
    np.testing.assert_array_equal(first, trainer.sample(70, seed=3))
    assert not np.array_equal(first, trainer.sample(70, seed=4))


def test_dcgan_makes_images_and_judges_them():
    medkern.random.manual_seed(0)
    generator = models.DCGANGenerator(8, channels=2, filters=2)
    images = generator(medkern.random.normal((3, 8)))
    assert images.shape == (3, 2, 64, 64) and np.abs(images.numpy()).max() <= 1
    for norm in ("batch", "instance", "spectral", None):
        net = models.DCGANDiscriminator(2, filters=2, norm=norm)
        assert net(images).shape == (3,)
        again = models.build(models.config(net))
        again.load_state_dict(net.state_dict())
        np.testing.assert_array_equal(again.eval()(images).numpy(), net.eval()(images).numpy())
    assert models.build(models.config(generator)).config["latent"] == 8
    # 4x4 kernels; batch norm's two numbers per channel; biases at the end only.
    f = 64
    counted = 100 * 8 * f * 16 + 8 * f * 4 * f * 16 + 4 * f * 2 * f * 16 + 2 * f * f * 16 + f * 16 + 1
    counted += 2 * (8 + 4 + 2 + 1) * f
    assert sum(p.size for p in models.DCGANGenerator().parameters()) == counted


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="r1 must be at least 0, got -1"):
        make(r1=-1)
    with pytest.raises(ValueError, match="critic_steps must be at least 1, got 0"):
        make(critic_steps=0)
    with pytest.raises(ValueError, match="kind must be one of"):
        make(loss="minimax")
    trainer, loader = make(critic_steps=9)
    with pytest.raises(ValueError, match="at least 9 batches"):
        trainer.fit(loader, epochs=1, progress=False)
    with pytest.raises(ValueError, match="has no validation"):
        make()[0].fit(loader, loader, epochs=1, progress=False)
    with pytest.raises(ValueError, match="count must be at least 1"):
        trainer.sample(0)
    path = tmp_path / "c.safetensors"
    trainer, loader = make()
    trainer.fit(loader, epochs=1, progress=False, checkpoint=path)
    plain = medkern.Trainer(trainer.model, trainer.loss, trainer.optimizer)
    other, _ = make()
    other.discriminator = nn.Linear(2, 1)
    with pytest.raises(DataError, match="doesn't fit this run"):
        other.fit(loader, epochs=2, progress=False, checkpoint=path, resume=True)
    assert plain.history == []
    with pytest.raises(ValueError, match=r"DCGANGenerator: z must have shape \(N, 4\), got \(2, 3\)"):
        models.DCGANGenerator(4, filters=1)(medkern.zeros((2, 3)))
    with pytest.raises(ValueError, match="must be 64 x 64 pixels"):
        models.DCGANDiscriminator(filters=1)(medkern.zeros((2, 1, 64, 80)))
    with pytest.raises(ValueError, match="norm must be one of"):
        models.DCGANDiscriminator(norm="layer")


def test_a_loss_that_is_not_finite_stops_the_run():
    trainer, loader = make()
    loader.dataset.x[3] = np.nan
    with pytest.raises(FloatingPointError, match=r"the loss became nan in batch \d of epoch 1/1"):
        trainer.fit(loader, epochs=1, progress=False)
