"""Matrix products and fully connected layers on tensors.

The gradients of a product are products, so each of these can be differentiated any number of times.
"""

from __future__ import annotations

from typing import Any

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.functional._bfloat16 import beside, narrowed
from medkern.tensor import Tensor


def _transposed(array: _C.Array) -> _C.Array:
    """A view with the last two axes swapped."""
    *batch, rows, columns = array.shape
    *outer, row, column = array.strides
    return array.with_layout((*batch, columns, rows), (*outer, column, row))


class MatMul(Function):
    """c = op(a) op(b), where op transposes on request."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node, a: Tensor, b: Tensor, *, transpose_a: bool = False, transpose_b: bool = False
    ) -> _C.Array:
        """Transposes are views."""
        ctx.save(a, b)
        ctx.transpose_a, ctx.transpose_b = transpose_a, transpose_b
        return kernels.gemm(
            _transposed(a.array) if transpose_a else a.array,
            _transposed(b.array) if transpose_b else b.array,
        )

    @staticmethod
    def backward(ctx: Node, dc: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """op(a)' = dc op(b)^T and op(b)' = op(a)^T dc; both turned round if op transposes."""
        a, b = ctx.saved
        ta, tb = ctx.transpose_a, ctx.transpose_b
        da = db = None
        if ctx.needs[0]:
            if ta:
                da = MatMul.apply(b, dc, transpose_a=tb, transpose_b=True)
            else:
                da = MatMul.apply(dc, b, transpose_b=not tb)
        if ctx.needs[1]:
            if tb:
                db = MatMul.apply(dc, a, transpose_a=True, transpose_b=ta)
            else:
                db = MatMul.apply(a, dc, transpose_a=not ta)
        return da, db


class Linear(Function):
    """y = x weight^T + bias."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, weight: Tensor, bias: Tensor | None) -> _C.Array:
        """Over the last axis of x."""
        ctx.save(x, weight)
        return kernels.linear(x.array, beside(weight, x), beside(bias, x))

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Products again; the bias gets column sums."""
        x, weight = ctx.saved
        return (
            LinearBackwardInput.apply(dy, weight) if ctx.needs[0] else None,
            LinearBackwardWeight.apply(dy, x, dtype=weight.dtype) if ctx.needs[1] else None,
            BiasBackward.apply(dy, axis=dy.ndim - 1) if ctx.needs[2] else None,
        )


class LinearBackwardInput(Function):
    """dx = dy weight."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, dy: Tensor, weight: Tensor) -> _C.Array:
        """The gradient of `Linear` with respect to x."""
        ctx.save(dy, weight)
        return kernels.linear_backward_input(dy.array, beside(weight, dy))

    @staticmethod
    def backward(ctx: Node, ddx: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """With respect to dy a linear layer, to weight an outer product."""
        dy, weight = ctx.saved
        return (
            Linear.apply(ddx, weight, None) if ctx.needs[0] else None,
            LinearBackwardWeight.apply(dy, ddx, dtype=weight.dtype) if ctx.needs[1] else None,
        )


class LinearBackwardWeight(Function):
    """dweight = dy^T x, in the type of the weight."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, dy: Tensor, x: Tensor, *, dtype: Any) -> _C.Array:
        """The gradient of `Linear` with respect to weight."""
        ctx.save(dy, x)
        if dy.dtype == dtype:
            return kernels.linear_backward_weight(dy.array, x.array)
        # Exact, but for the sums, which are float32 then.
        return kernels.linear_backward_weight(*(kernels.copy(a.array, dtype=dtype) for a in (dy, x)))

    @staticmethod
    def backward(ctx: Node, ddweight: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Linear in both dy and x."""
        dy, x = ctx.saved
        return (
            Linear.apply(x, ddweight, None) if ctx.needs[0] else None,
            LinearBackwardInput.apply(dy, ddweight) if ctx.needs[1] else None,
        )


class BiasBackward(Function):
    """The sum over all axes but one; of bfloat16 in float32."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, dy: Tensor, *, axis: int) -> _C.Array:
        """The gradient of a bias along `axis`."""
        ctx.shape, ctx.axis = dy.shape, axis
        out = _C.empty((dy.shape[axis],), "float32", device=dy.device) if dy.is_bfloat16 else None
        return kernels.bias_backward(dy.array, axis, out=out)

    @staticmethod
    def backward(ctx: Node, ddbias: Tensor) -> Tensor:
        """Every element of dy counts once."""
        return BiasExpand.apply(ddbias, shape=ctx.shape, axis=ctx.axis)


class BiasExpand(Function):
    """A bias repeated along all other axes."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, bias: Tensor, *, shape: tuple[int, ...], axis: int) -> _C.Array:
        """The gradient of `BiasBackward`."""
        ctx.axis = axis
        strides = tuple(bias.array.strides[0] if i == axis else 0 for i in range(len(shape)))
        return bias.array.with_layout(shape, strides).contiguous()

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """The sum it undoes."""
        return BiasBackward.apply(dy, axis=ctx.axis)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product, differentiable: (M, K) by (K, N), or (B, M, K) by (B, K, N).

    Args:
        a: left factor, float32 or float64.
        b: right factor, of the type of a.

    Returns:
        (M, N) or (B, M, N).

    Raises:
        ValueError: the shapes don't fit each other.
        TypeError: a factor is not float32 or float64, or the types differ.

    Example:
        >>> a = medkern.tensor([[1.0, 2.0]])
        >>> medkern.functional.matmul(a, medkern.tensor([[3.0], [4.0]])).numpy()
        array([[11.]], dtype=float32)
    """
    return MatMul.apply(narrowed(a), narrowed(b))


def linear(x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    """Differentiable `medkern.kernels.linear`; the same shapes and errors.

    Args:
        x: (..., I).
        weight: (O, I).
        bias: (O,), or None.

    Returns:
        (..., O).

    Example:
        >>> weight = medkern.tensor([[1.0, -1.0]], requires_grad=True)
        >>> medkern.functional.linear(medkern.tensor([[3.0, 2.0]]), weight).numpy()
        array([[1.]], dtype=float32)
    """
    return Linear.apply(narrowed(x), weight, bias)
