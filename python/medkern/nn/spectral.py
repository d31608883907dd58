"""Spectral normalization: a weight divided by its largest singular value."""

from __future__ import annotations

import math

from medkern import functional, random
from medkern.autograd import no_grad
from medkern.kernels._precision import autocast
from medkern.nn.conv import Convolution
from medkern.nn.module import Module, Parameter
from medkern.tensor import Tensor, tensor

_FIRST_ITERATIONS = 15


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Makes a module divide its weight by sigma, the largest singular value; Miyato et al., 2018.

    The weight counts as a matrix W whose rows are its axis `dim`. In training, every use first does

        u = W v / |W v|,   v = W^T u / |W^T u|

    and sigma = u . W v, which the gradient flows through with u and v as constants; in evaluation u and v
    stay as they are.

    Args:
        module: a convolution, a linear layer or any other with that parameter; it is changed.
        name: of the parameter, of two axes or more. What is learnt is kept as `<name>_original`, beside the
            buffers `<name>_u` and `<name>_v`.
        n_power_iterations: how often u and v are improved per use.
        eps: the least norm that is divided by.
        dim: the axis of the rows; None is the one of the output channels.

    Returns:
        The module.

    Raises:
        ValueError: there is no such parameter, it has one axis only, or a number is out of range.

    Example:
        >>> layer = medkern.nn.spectral_norm(medkern.nn.Linear(20, 40))
        >>> float(np.linalg.norm(layer.weight.numpy(), 2)) < 1.05
        True
    """
    weight = vars(module).get(name)
    if not isinstance(weight, Parameter) or weight.ndim < 2:
        found = f"shape {weight.shape}" if isinstance(weight, Parameter) else type(weight).__name__
        raise ValueError(
            f"spectral_norm: {type(module).__name__}.{name} must be a parameter of 2 axes or more, "
            f"got {found}"
        )
    if n_power_iterations < 1:
        raise ValueError(f"spectral_norm: n_power_iterations must be positive, got {n_power_iterations}")
    if dim is None:
        dim = 1 if isinstance(module, Convolution) and module.transposed else 0
    if not 0 <= dim < weight.ndim:
        raise ValueError(f"spectral_norm: dim must be from 0 to {weight.ndim - 1}, got {dim}")
    rows, columns = weight.shape[dim], math.prod(weight.shape) // weight.shape[dim]

    def improve(module: Module, times: int) -> None:
        """Moves u and v towards the first singular vectors."""
        with no_grad():
            matrix = _matrix(getattr(module, f"{name}_original"), dim)
            u, v = getattr(module, f"{name}_u"), getattr(module, f"{name}_v")
            for _ in range(times):
                u.copy_(_unit(functional.matmul(matrix, functional.reshape(v, (columns, 1))), eps))
                v.copy_(_unit(functional.matmul(matrix.T, functional.reshape(u, (rows, 1))), eps))

    @autocast(False)
    def normalized(module: Module) -> Tensor:
        if module.training:
            improve(module, n_power_iterations)
        original = getattr(module, f"{name}_original")
        # Copies, since the next use changes u and v before backward may have come to this one.
        u, v = (functional.add(getattr(module, f"{name}_{key}"), 0.0) for key in "uv")
        image = functional.matmul(_matrix(original, dim), functional.reshape(v, (columns, 1)))
        sigma = functional.sum(functional.mul(functional.reshape(image, (rows,)), u))
        return functional.div(original, sigma)

    del vars(module)[name]
    setattr(module, f"{name}_original", weight)
    for key, size in (("u", rows), ("v", columns)):
        start = random.normal((size, 1), dtype=weight.dtype)
        module.register_buffer(f"{name}_{key}", tensor(_unit(start, eps), device=weight.device))
    original_class = type(module)
    module.__class__ = type(
        f"SpectralNorm{original_class.__name__}", (original_class,), {name: property(normalized)}
    )
    improve(module, _FIRST_ITERATIONS)
    return module


def _matrix(weight: Tensor, dim: int) -> Tensor:
    """With the axis `dim` as rows and all others as columns."""
    order = (dim, *(axis for axis in range(weight.ndim) if axis != dim))
    turned = weight if dim == 0 else functional.permute(weight, order)
    return functional.reshape(turned, (weight.shape[dim], -1))


def _unit(vector: Tensor, eps: float) -> Tensor:
    """A column (n, 1) as a vector (n,) of length 1."""
    norm = functional.sqrt(functional.sum(functional.square(vector)))
    return functional.reshape(functional.div(vector, functional.maximum(norm, eps)), (vector.shape[0],))
