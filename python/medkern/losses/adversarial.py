"""Losses of generative adversarial networks: what the discriminator and the generator each minimize."""

from __future__ import annotations

from collections.abc import Callable

from medkern import functional, random
from medkern.autograd import grad
from medkern.tensor import Tensor, tensor

_KINDS = ("bce", "least_squares", "hinge", "wasserstein")


class AdversarialLoss:
    """A pair of losses of the discriminator's outputs D: logits, of any shape.

        kind             discriminator                           generator
        "bce"            softplus(-D(real)) + softplus(D(made))  softplus(-D(made))
        "least_squares"  ((D(real) - 1)^2 + D(made)^2) / 2       (D(made) - 1)^2 / 2
        "hinge"          relu(1 - D(real)) + relu(1 + D(made))   -D(made)
        "wasserstein"    D(made) - D(real)                       -D(made)

    each averaged over all outputs. "bce" is the cross-entropy of "real" against "made", from logits, with the
    generator's loss that doesn't saturate (Goodfellow et al., 2014); the others are by Mao et al., 2017, Lim
    and Ye, 2017, and Arjovsky et al., 2017.

    Args:
        kind: its name.

    Raises:
        ValueError: the name is unknown.

    Example:
        >>> AdversarialLoss("hinge").generator(medkern.tensor([0.5, 1.5])).item()
        -1.0
    """

    def __init__(self, kind: str = "bce"):
        if kind not in _KINDS:
            raise ValueError(f"AdversarialLoss: kind must be one of {', '.join(_KINDS)}, got {kind!r}")
        self.kind = kind

    def discriminator(self, real: Tensor, made: Tensor) -> Tensor:
        """The discriminator's loss, from its outputs for real and for made images."""
        f = functional
        if self.kind == "bce":
            return f.add(f.mean(f.softplus(f.neg(real))), f.mean(f.softplus(made)))
        if self.kind == "least_squares":
            return f.mul(f.add(f.mean(f.square(f.sub(real, 1.0))), f.mean(f.square(made))), 0.5)
        if self.kind == "hinge":
            return f.add(f.mean(f.relu(f.sub(1.0, real))), f.mean(f.relu(f.add(made, 1.0))))
        return f.sub(f.mean(made), f.mean(real))

    def generator(self, made: Tensor) -> Tensor:
        """The generator's loss, from the discriminator's outputs for made images."""
        f = functional
        if self.kind == "bce":
            return f.mean(f.softplus(f.neg(made)))
        if self.kind == "least_squares":
            return f.mul(f.mean(f.square(f.sub(made, 1.0))), 0.5)
        return f.neg(f.mean(made))

    def __repr__(self) -> str:
        return f"AdversarialLoss({self.kind!r})"


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """How steep the discriminator is at real images: mean_n |dD(x_n) / dx_n|^2 / 2; Mescheder et al., 2018.

    Differentiable, by second derivatives of the discriminator.

    Args:
        discriminator: (N, ...) to logits whose first axis is N; each from its own image alone.
        real: images (N, ...).

    Returns:
        A single element.
    """
    return functional.mul(functional.mean(_squared_slopes(discriminator, real)), 0.5)


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, made: Tensor) -> Tensor:
    """How far from 1 the slope of the discriminator is between real and made images; Gulrajani et al., 2017.

        mean_n (|dD(x_n) / dx_n| - 1)^2,   x_n = e_n real_n + (1 - e_n) made_n

    with e_n uniform in [0, 1), drawn from `medkern.random`. Differentiable by the discriminator's parameters;
    the images are constants.

    Args:
        discriminator: as in `r1_penalty`.
        real: images (N, ...).
        made: images of the same shape.

    Returns:
        A single element.

    Raises:
        ValueError: the shapes differ.
    """
    if real.shape != made.shape:
        raise ValueError(f"gradient_penalty: made must have the shape of real {real.shape}, got {made.shape}")
    shares = random.uniform((len(real), *(1,) * (real.ndim - 1)), dtype=real.dtype, device=real.device)
    shares, real, made = shares.detach(), real.detach(), made.detach()
    between = functional.add(made, functional.mul(shares, functional.sub(real, made)))
    # A slope of exactly 0 has no direction; the tiny number keeps its root's gradient finite.
    slopes = functional.sqrt(functional.add(_squared_slopes(discriminator, between), 1e-12))
    return functional.mean(functional.square(functional.sub(slopes, 1.0)))


def _squared_slopes(discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """|dD(x_n) / dx_n|^2 for each image, (N,)."""
    x = tensor(images.detach(), requires_grad=True)
    (slope,) = grad(functional.sum(discriminator(x)), [x], create_graph=True)
    if slope is None:
        raise ValueError("the discriminator's output must depend on its input")
    return functional.sum(functional.square(slope), tuple(range(1, x.ndim)))
