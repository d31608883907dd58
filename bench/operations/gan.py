"""A training step of DCGAN: the discriminator on real and made images, then the generator; Adam for both.

The losses and the discriminator's gradients of the first step are checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..case import Arrays, normal
from ..nets import zoo
from ..nets.backprop import Tape
from ..nets.net import Net
from . import inference, training

TOLERANCE, ROUNDINGS, measure = training.TOLERANCE, training.ROUNDINGS, training.measure
IS_NETWORK = IS_TRAINED = True
_LR, _BETAS = 2e-4, (0.5, 0.999)
_NOISE, _SIZE = 100, 64


@dataclass(frozen=True)
class Sizes:
    """Images in a batch, and filters of the layer next to the image."""

    batch: int
    filters: int = 64
    gradients: bool = True


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """Real images, noise, and the parameters of both networks."""
    arrays = {"x": normal(rng, s.batch, 1, _SIZE, _SIZE, scale=0.5), "z": normal(rng, s.batch, _NOISE, 1, 1)}
    for name, net in (("g", _generator(s)), ("d", zoo.discriminator(s.filters))):
        arrays.update({f"{name}.{key}": value for key, value in net.draw(rng).items()})
    return arrays


def _generator(s: Sizes) -> Net:
    return zoo.generator(_NOISE, s.filters)


def _part(a: dict[str, Any], name: str) -> dict[str, Any]:
    return {key[2:]: value for key, value in a.items() if key.startswith(f"{name}.")}


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """Both losses, and the gradients of the discriminator's own."""
    net, d = zoo.discriminator(s.filters), _part(a, "d")
    fake = Tape(_generator(s), _part(a, "g"), a["z"], True).y
    own, gradients = 0.0, dict.fromkeys(net.parameters(), np.zeros(()))
    for x, target in ((a["x"], 1.0), (fake, 0.0)):
        tape = Tape(net, d, x, True)
        loss, dy = training.loss_of("bce", tape.y, np.full(tape.y.shape, target))
        own += loss
        for name, value in tape.backward(dy)[1].items():
            gradients[name] = gradients[name] + value
    # Adam's first step: g / (|g| + eps).
    moved = {name: d[name] - _LR * g / (np.abs(g) + 1e-8) for name, g in gradients.items()}
    y = Tape(net, {**d, **moved}, fake, True).y
    made = training.loss_of("bce", y, np.ones(y.shape))[0]
    return [np.asarray(own), np.asarray(made), *gradients.values()]


def work(s: Sizes) -> tuple[float, float]:
    """The generator once, the discriminator three times, once of them for the gradient of its input only."""
    g, g_weights = inference.counted(_generator(s), (s.batch, _NOISE, 1, 1))
    d, d_weights = inference.counted(zoo.discriminator(s.filters), (s.batch, 1, _SIZE, _SIZE))
    return 3 * g + 8 * d, 12 * (g_weights + d_weights)


def _step(
    a: dict[str, Any], g: Any, d: Any, adam: Any, loss: Any, ones: Any, zeros: Any
) -> Callable[[], Any]:
    """The step; PyTorch's and medkern's are the same words."""
    trained = list(d.parameters())
    of_g, of_d = adam(g.parameters()), adam(trained)
    x, z = a["x"], a["z"]

    def step() -> list[Any]:
        d.requires_grad_(True)
        of_d.zero_grad()
        fake = g(z)
        real_loss = loss(d(x), ones)
        real_loss.backward()
        fake_loss = loss(d(fake.detach()), zeros)
        fake_loss.backward()
        of_d.step()
        gradients = [p.grad for p in trained]
        d.requires_grad_(False)
        of_g.zero_grad()
        made = loss(d(fake), ones)
        made.backward()
        of_g.step()
        return [(real_loss + fake_loss).detach(), made.detach(), *gradients]

    return step


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """Modules, a loss of `medkern.losses`, `optim.Adam`."""
    import medkern
    from medkern import losses, optim

    from ..nets import modules

    g = modules.by_medkern(_generator(s), _part(a, "g")).train()
    d = modules.by_medkern(zoo.discriminator(s.filters), _part(a, "d")).train()
    tensors = {name: medkern.tensor(a[name]) for name in ("x", "z")}
    ones, zeros = (medkern.tensor(np.full((s.batch, 1), v, np.float32)) for v in (1, 0))

    def adam(parameters: Any) -> Any:
        return optim.Adam(parameters, lr=_LR, betas=_BETAS)

    return _step(tensors, g, d, adam, losses.BCEWithLogitsLoss(), ones, zeros)


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """Modules, and the fused Adam."""
    import torch
    from torch.nn import functional

    from ..libraries.pytorch import format_of
    from ..nets import modules

    device = a["x"].device
    arrays = {name: value.cpu().numpy() for name, value in a.items()}
    g = modules.by_torch(_generator(s), _part(arrays, "g")).train()
    d = modules.by_torch(zoo.discriminator(s.filters), _part(arrays, "d")).train()
    g, d = (model.to(device, memory_format=format_of(4)) for model in (g, d))
    ones, zeros = torch.ones(s.batch, 1, device=device), torch.zeros(s.batch, 1, device=device)

    def adam(parameters: Any) -> Any:
        return torch.optim.Adam(parameters, lr=_LR, betas=_BETAS, fused=True)

    return _step(a, g, d, adam, functional.binary_cross_entropy_with_logits, ones, zeros)
