"""Losses of registration: how alike two images are, and how smooth the field between them is."""

from __future__ import annotations

from typing import Any

from medkern import functional
from medkern.losses._common import like_input
from medkern.nn import Module
from medkern.tensor import Tensor

_POOL = {4: functional.avg_pool2d, 5: functional.avg_pool3d}


def ncc_loss(input: Tensor, target: Any, window: int = 9, eps: float = 1e-6) -> Tensor:
    """One minus the squared local correlation coefficient, over all windows that lie inside the images.

        1 - mean of cov(input, target)^2 / (var(input) var(target) + eps)

    It doesn't see changes of brightness and contrast that are slow against the window.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W).
        target: the same shape.
        window: size of the windows along each axis.
        eps: what keeps windows without structure at 1, for values of about 0 to 1.

    Returns:
        A single element.

    Raises:
        ValueError: shapes differ, or an axis is smaller than the window.

    Example:
        >>> x = np.random.default_rng(0).random((1, 1, 16, 16), np.float32)
        >>> medkern.losses.ncc_loss(medkern.tensor(x), 0.5 - 2 * x).item() < 0.01
        True
    """
    target = like_input("ncc_loss", "target", target, input)
    if input.ndim not in _POOL or min(input.shape[2:]) < window:
        raise ValueError(
            f"ncc_loss: input must be images of at least {window} along each axis, got {input.shape}"
        )
    pool, rank, channels = _POOL[input.ndim], input.ndim - 2, input.shape[1]
    sums = functional.concat(
        [
            input,
            target,
            functional.square(input),
            functional.square(target),
            functional.mul(input, target),
        ],
        1,
    )
    for axis in range(rank):  # a window is a mean along one axis after the other
        sums = pool(sums, tuple(window if a == axis else 1 for a in range(rank)), stride=1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (
        functional.getitem(sums, (slice(None), slice(i * channels, (i + 1) * channels))) for i in range(5)
    )
    cov = mean_xy - mean_x * mean_y
    var = (mean_xx - functional.square(mean_x)) * (mean_yy - functional.square(mean_y))
    return 1 - functional.mean(functional.square(cov) / (var + eps))


def smoothness_loss(field: Tensor) -> Tensor:
    """The mean squared difference of neighbors along each axis of a displacement field (N, axes, spatial)."""
    rank = field.ndim - 2
    total = None
    for axis in range(2, field.ndim):
        before = [slice(None)] * field.ndim
        after = [slice(None)] * field.ndim
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        step = functional.getitem(field, tuple(after)) - functional.getitem(field, tuple(before))
        part = functional.mean(functional.square(step))
        total = part if total is None else total + part
    if total is None:
        raise ValueError(f"smoothness_loss: field must have shape (N, axes, sizes), got {field.shape}")
    return total / rank


class RegistrationLoss(Module):
    """`ncc_loss` of the warped image plus `weight` times `smoothness_loss` of the field.

    Takes what `medkern.models.Registration` gives: the warped channels, as many as the target has, and the
    field behind them.
    """

    def __init__(self, weight: float = 1.0, window: int = 9):
        super().__init__()
        self.weight, self.window = weight, window

    def forward(self, output: Tensor, target: Any) -> Tensor:
        """The loss of (N, C + axes, spatial) against the fixed image (N, C, spatial)."""
        channels = target.shape[1]
        warped = functional.getitem(output, (slice(None), slice(None, channels)))
        field = functional.getitem(output, (slice(None), slice(channels, None)))
        return ncc_loss(warped, target, self.window) + self.weight * smoothness_loss(field)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return f"weight={self.weight}, window={self.window}"
