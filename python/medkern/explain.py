"""Where a network looks: maps over the image of what a result depends on.

All functions take a batch of 2-D or 3-D images, run the model in evaluation mode and put it back into the
mode it was in. `target` says what is explained: a class index (the output's channel of that number, summed
over the pixels of a segmentation), one index per sample, None for each sample's largest, or a function of the
output that gives one number per sample.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from medkern import autograd, functional
from medkern.nn import Module
from medkern.nn.module import device_of
from medkern.tensor import Tensor, tensor

Target = int | Sequence[int] | Callable[[Tensor], Tensor] | None

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def grad_cam(model: Module, x: np.ndarray, layer: Module, target: Target = None) -> np.ndarray:
    """Class activation maps weighted by gradients; Selvaraju et al., 2017.

        relu(sum_k a_k A_k),  a_k = mean over the pixels of d score / d A_k

    where A_k are the channels of what `layer` gives, the last convolution, say. It is interpolated to the
    size of x.

    Args:
        model: the network.
        x: images (N, C, H, W) or (N, C, D, H, W), float32.
        layer: a module inside `model`, called once, whose result is (N, K, ...) with as many axes as x.
        target: what is explained; see above.

    Returns:
        float32 (N, H, W) or (N, D, H, W), each map divided by its largest value, so from 0 to 1.

    Raises:
        ValueError: `layer` isn't called once in `model`, its result has other axes, or the target is wrong.

    Example:
        >>> net = medkern.models.CNN(28, classes=10)
        >>> medkern.explain.grad_cam(net, np.ones((1, 1, 28, 28), np.float32), net.features[2]).shape
        (1, 28, 28)
    """
    x = _expect_images("grad_cam", x)
    seen: list[Tensor] = []
    compute = layer.forward

    def cut(*inputs: Any, **options: Any) -> Tensor:
        # Gradients flow back to here and no further.
        seen.append(Tensor(compute(*inputs, **options).array, requires_grad=True))
        return seen[-1]

    with _evaluating(model):
        vars(layer)["forward"] = cut
        try:
            score = _score("grad_cam", model(tensor(x, device=device_of(model))), target)
        finally:
            del vars(layer)["forward"]
        if len(seen) != 1:
            raise ValueError(f"grad_cam: layer must be called once by the model, was {len(seen)} times")
        features = seen[0]
        if features.ndim != x.ndim:
            raise ValueError(f"grad_cam: layer must give {x.ndim} axes, like x, got {features.shape}")
        (slope,) = autograd.grad(functional.sum(score), [features])
    if slope is None:
        raise ValueError("grad_cam: the score doesn't depend on what layer gives")
    axes = tuple(range(2, x.ndim))
    with autograd.no_grad():
        weights = functional.mean(slope, axes, keepdim=True)
        heat = functional.relu(functional.sum(weights * features, 1, keepdim=True))
        heat = functional.interpolate(heat, size=x.shape[2:], mode=_LINEAR[x.ndim - 2])
    return _to_unit(heat.numpy()[:, 0])


def saliency(model: Module, x: np.ndarray, target: Target = None) -> np.ndarray:
    """The largest |d score / d x| over the channels; Simonyan, Vedaldi and Zisserman, 2014.

    Args:
        model: the network.
        x: images (N, C, H, W) or (N, C, D, H, W), float32.
        target: what is explained; see above.

    Returns:
        float32 (N, H, W) or (N, D, H, W), each map divided by its largest value.
    """
    x = _expect_images("saliency", x)
    with _evaluating(model):
        return _to_unit(np.abs(_gradient("saliency", model, x, target)).max(axis=1))


def smooth_grad(
    model: Module,
    x: np.ndarray,
    target: Target = None,
    *,
    samples: int = 16,
    noise: float = 0.15,
    seed: int = 0,
) -> np.ndarray:
    """`saliency` of the mean gradient at noisy copies of x; Smilkov et al., 2017.

    Args:
        model: the network.
        x: images (N, C, H, W) or (N, C, D, H, W), float32.
        target: what is explained, the same at all copies: None is each sample's largest result without noise.
        samples: the number of copies.
        noise: standard deviation of the noise as a share of each image's range.
        seed: of the noise.

    Returns:
        float32 (N, H, W) or (N, D, H, W), each map divided by its largest value.
    """
    x = _expect_images("smooth_grad", x)
    if samples < 1 or not noise >= 0:
        raise ValueError(f"smooth_grad: needs samples >= 1 and noise >= 0, got {samples} and {noise}")
    rng = np.random.default_rng(seed)
    axes = tuple(range(1, x.ndim))
    spread = noise * (x.max(axis=axes, keepdims=True) - x.min(axis=axes, keepdims=True))
    total = np.zeros(x.shape)
    with _evaluating(model):
        if target is None:
            with autograd.no_grad():
                target = _largest(model(tensor(x, device=device_of(model)))).tolist()
        for _ in range(samples):
            noisy = x + (spread * rng.standard_normal(x.shape)).astype(np.float32)
            total += _gradient("smooth_grad", model, noisy, target)
    return _to_unit(np.abs(total).max(axis=1))


def occlusion(
    model: Module,
    x: np.ndarray,
    target: Target = None,
    *,
    patch: int | Sequence[int] = 16,
    stride: int | Sequence[int] | None = None,
    fill: float = 0.0,
) -> np.ndarray:
    """How much the score falls when a patch is covered; Zeiler and Fergus, 2014.

    Args:
        model: the network.
        x: images (N, C, H, W) or (N, C, D, H, W), float32.
        target: what is explained: None is each sample's largest result without a patch.
        patch: size of the patch along each spatial axis.
        stride: steps of the patch; half of it if None.
        fill: what covers.

    Returns:
        float32 (N, H, W) or (N, D, H, W): for each pixel the mean fall of the score over the patches that
        cover it; below 0 where covering helps, 0 where no patch came.
    """
    x = _expect_images("occlusion", x)
    rank = x.ndim - 2
    sizes = _sizes("patch", patch, rank)
    steps = _sizes("stride", tuple(max(1, s // 2) for s in sizes) if stride is None else stride, rank)
    fall, times = np.zeros((len(x), *x.shape[2:])), np.zeros(x.shape[2:])
    with _evaluating(model), autograd.no_grad():
        output = model(tensor(x, device=device_of(model)))
        if target is None:
            target = _largest(output).tolist()
        before = _score("occlusion", output, target).numpy()
        starts = [
            range(0, max(1, n - s + step), step) for n, s, step in zip(x.shape[2:], sizes, steps, strict=True)
        ]
        for corner in itertools.product(*starts):
            place = tuple(slice(start, start + size) for start, size in zip(corner, sizes, strict=True))
            covered = x.copy()
            for image in covered.reshape(-1, *x.shape[2:]):
                image[place] = fill
            after = _score("occlusion", model(tensor(covered, device=device_of(model))), target).numpy()
            for of_sample, value in zip(fall, before - after, strict=True):
                of_sample[place] += value
            times[place] += 1
    return (fall / np.maximum(times, 1)).astype(np.float32)


@contextlib.contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode, and then for each module the mode it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _expect_images(op: str, x: Any) -> np.ndarray:
    x = np.asarray(x, np.float32)
    if x.ndim not in (4, 5) or 0 in x.shape:
        raise ValueError(f"{op}: x must have shape (N, C, H, W) or (N, C, D, H, W), got {x.shape}")
    return x


def _sizes(name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(sizes) != rank or min(sizes) < 1:
        raise ValueError(f"occlusion: {name} must be a positive int or {rank} of them, got {value}")
    return sizes


def _largest(output: Tensor) -> np.ndarray:
    """Each sample's channel with the largest sum over the pixels (N)."""
    values = output.numpy()
    return values.reshape(*values.shape[:2], -1).sum(axis=2).argmax(axis=1)


def _score(op: str, output: Tensor, target: Target) -> Tensor:
    """One number per sample (N), from the output (N, C, ...)."""
    if callable(target):
        score = target(output)
        if score.shape != output.shape[:1]:
            raise ValueError(f"{op}: target must give one number per sample, got shape {score.shape}")
        return score
    if output.ndim < 2:
        raise ValueError(f"{op}: the model must give (N, C, ...), got {output.shape}")
    count, channels = output.shape[:2]
    chosen = np.broadcast_to(_largest(output) if target is None else np.asarray(target), (count,))
    if chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= channels:
        raise ValueError(f"{op}: target must be from 0 to {channels - 1}, got {target}")
    mask = np.zeros((count, channels, *[1] * (output.ndim - 2)), np.float32)
    mask[np.arange(count), chosen] = 1
    return functional.sum(output * tensor(mask, device=output.device), tuple(range(1, output.ndim)))


def _gradient(op: str, model: Module, x: np.ndarray, target: Target) -> np.ndarray:
    """D score / d x, like x: samples don't depend on each other, so that the sum has each one's gradient."""
    leaf = tensor(x, device=device_of(model), requires_grad=True)
    (slope,) = autograd.grad(functional.sum(_score(op, model(leaf), target)), [leaf])
    if slope is None:
        raise ValueError(f"{op}: the score doesn't depend on x")
    return slope.numpy()


def _to_unit(heat: np.ndarray) -> np.ndarray:
    """Each map divided by its largest value; one of zeros stays."""
    most = heat.max(axis=tuple(range(1, heat.ndim)), keepdims=True)
    return (heat / np.where(most > 0, most, 1)).astype(np.float32)
