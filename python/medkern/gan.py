"""`GANTrainer`: a generator and a discriminator that learn from each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkern import functional, losses, optim, random
from medkern.autograd import no_grad, widened
from medkern.kernels._precision import mixed_precision
from medkern.nn import Module
from medkern.tensor import Tensor, tensor
from medkern.trainer import Batches, Losses, Trainer


class GANTrainer(Trainer):
    """Trains a generator against a discriminator, a step of each in turn.

    All of `Trainer` holds: callbacks (whose `trainer.model` is the generator: `AverageWeights` averages it),
    progress, checkpoints, the same bits after a resume. Batches are (x, y) pairs of which y is not looked at.
    There is no validation: a callback may measure what `sample` gives.

    Args:
        generator: random numbers (N, latent) to images.
        discriminator: images to logits (N,), large for real ones.
        optimizer: of the generator.
        discriminator_optimizer: of the discriminator.
        latent: how many random numbers make an image.
        loss: a kind of `medkern.losses.AdversarialLoss`.
        r1: weight of `medkern.losses.r1_penalty`, 0 for none.
        gradient_penalty: weight of `medkern.losses.gradient_penalty`, 0 for none.
        critic_steps: steps of the discriminator, each with a batch of its own, per step of the generator.
        device: as in `Trainer`.
        precision: as in `Trainer`.

    Attributes:
        history: one record per epoch: "epoch", "loss" (the discriminator's, penalties included),
            "generator_loss", "lr" (the generator's), "seconds".

    Raises:
        ValueError: a number is out of range or the loss unknown.

    Example:
        >>> trainer = GANTrainer(generator, discriminator, optimizer, discriminator_optimizer, latent=64)
        >>> trainer.fit(DataLoader(images, 32, shuffle=True), epochs=20, callbacks=[AverageWeights()])
        >>> trainer.sample(16).shape
        (16, 1, 64, 64)
    """

    def __init__(
        self,
        generator: Module,
        discriminator: Module,
        optimizer: optim.Optimizer,
        discriminator_optimizer: optim.Optimizer,
        *,
        latent: int,
        loss: str = "bce",
        r1: float = 0.0,
        gradient_penalty: float = 0.0,
        critic_steps: int = 1,
        device: Any = None,
        precision: str | None = None,
    ):
        for name, value, least in (
            ("latent", latent, 1),
            ("r1", r1, 0),
            ("gradient_penalty", gradient_penalty, 0),
            ("critic_steps", critic_steps, 1),
        ):
            if not value >= least:
                raise ValueError(f"GANTrainer: {name} must be at least {least}, got {value}")
        self.adversarial = losses.AdversarialLoss(loss)
        super().__init__(
            generator,
            lambda made, _: self._generator_loss(made),
            optimizer,
            device=device,
            precision=precision,
        )
        self.discriminator = discriminator if device is None else discriminator.to(device)
        self.discriminator_optimizer = discriminator_optimizer
        self.latent = latent
        self.r1 = r1
        self.gradient_penalty = gradient_penalty
        self.critic_steps = critic_steps

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Images (count, ...) by the generator in evaluation mode; the same random numbers for the same seed.

        Raises:
            ValueError: `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"sample: count must be at least 1, got {count}")
        z = np.random.default_rng(seed).standard_normal((count, self.latent)).astype(np.float32)
        return self.predict(z, batch_size=64)

    def evaluate(self, data: Batches) -> dict[str, float]:
        """There is no loss that says how good the images are."""
        raise ValueError("GANTrainer: has no validation; measure what sample() gives in a callback")

    def _train_epoch(self, batches: Batches, title: str, bar: bool) -> dict[str, float]:
        from tqdm import tqdm

        shown = tqdm(batches, desc=title, unit="batch", leave=False, dynamic_ncols=True, disable=not bar)
        of_discriminator = Losses(title, finite=True)
        of_generator = Losses(title, finite=True)
        self.model.train()
        self.discriminator.train()
        rest = self._rest(shown, of_discriminator, of_generator)
        for number, (x, _) in enumerate(rest, self._epoch.batches + 1):
            with mixed_precision(self.precision):
                z = random.normal((len(x), self.latent), device=self.device)
                real = tensor(x, device=self.device)
                if number % self.critic_steps:
                    with no_grad():
                        made = self.model(z)
                    self._discriminator_step(real, made, of_discriminator)
                    continue
                made = self.model(z)
                self._discriminator_step(real, made.detach(), of_discriminator)
                # The discriminator's own gradients would be dropped: don't compute them.
                self.discriminator.requires_grad_(False)
                loss = self._generator_loss(made)
                self.discriminator.requires_grad_(True)
                of_generator.add(loss, len(x))
                self.optimizer.zero_grad()
                loss.backward()
                self._step()
            self._stepped(self.critic_steps, of_discriminator, of_generator)
        if of_generator.count == 0:
            raise ValueError(f"fit: train must give at least {self.critic_steps} batches")
        return {"loss": of_discriminator.mean(), "generator_loss": of_generator.mean()}

    def _generator_loss(self, made: Tensor) -> Tensor:
        return self.adversarial.generator(widened(self.discriminator(made)))

    def _discriminator_step(self, real: Tensor, made: Tensor, seen: Losses) -> None:
        logits = [widened(self.discriminator(x)) for x in (real, made)]
        loss = self.adversarial.discriminator(*logits)
        for weight, penalty in (
            (self.r1, lambda: losses.r1_penalty(self.discriminator, real)),
            (self.gradient_penalty, lambda: losses.gradient_penalty(self.discriminator, real, made)),
        ):
            if weight:
                loss = functional.add(loss, functional.mul(penalty(), weight))
        seen.add(loss, len(real))
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        self.discriminator_optimizer.step()

    def _stateful(self, train: Batches) -> dict[str, Any]:
        return {
            **super()._stateful(train),
            "discriminator": self.discriminator,
            "discriminator_optimizer": self.discriminator_optimizer,
        }
