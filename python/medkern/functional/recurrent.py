"""Recurrent layers on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medkern import _C, random
from medkern.autograd import Function, Node, is_grad_enabled
from medkern.kernels._recurrent import check_stack, pair_of, rnn_cell_name
from medkern.tensor import Tensor

# weight_ih, weight_hh, bias_ih, bias_hh
_PARAMETERS = 4


def _array(x: Tensor | None) -> Any:
    return None if x is None else x.array


def _rows(state: _C.Array | None, part: slice) -> _C.Array | None:
    """The entries of an (L D, N, H) state that belong to one layer."""
    if state is None:
        return None
    step = state.strides[0]
    return state.with_layout((part.stop - part.start, *state.shape[1:]), state.strides, part.start * step)


def _joined(states: list[Any]) -> _C.Array:
    return states[0] if len(states) == 1 else _C.concat(states, 0, None)


def _exchanged(array: Any) -> Any:
    """The same memory with its first two axes exchanged: (T, N, C) as (N, T, C) and back."""
    if array is None or array.ndim != 3:
        return array  # the C API refuses it by name
    (a, b, c), (p, q, r) = array.shape, array.strides
    return array.with_layout((b, a, c), (q, p, r))


class Recurrent(Function):
    """A stack of recurrent layers, each in one or two directions."""

    @staticmethod
    def forward(
        ctx: Node,
        x: Tensor,
        h0: Tensor | None,
        c0: Tensor | None,
        *parameters: Tensor | None,
        cell: str,
        directions: int,
        batch_first: bool,
        dropout: float,
        lengths: Any,
    ) -> tuple[_C.Array, ...]:
        """Keeps what each layer saves, its input and its result."""
        save = is_grad_enabled() and any(ctx.needs)
        ctx.cell, ctx.directions, ctx.batch_first = cell, directions, batch_first
        ctx.dropout, ctx.lengths = dropout, lengths
        ctx.save(x, h0, c0, *parameters)
        ctx.tape = []
        arrays = [_array(p) for p in parameters]
        y = x.array if batch_first else _exchanged(x.array)
        h_n, c_n = [], []
        step = directions * _PARAMETERS
        for layer in range(len(parameters) // step):
            mask = None
            if layer > 0 and dropout > 0:
                y, mask = _dropout(y, dropout)
            part = slice(layer * directions, (layer + 1) * directions)
            weights = _by_direction(arrays, layer, directions)
            below = y
            y, h, c, saved = _C.recurrent_forward(
                cell,
                False,
                below,
                weights,
                _rows(_array(h0), part),
                _rows(_array(c0), part),
                lengths,
                save,
                None,
            )
            if save:
                ctx.tape.append((below, y, saved, mask))
            h_n.append(h)
            c_n.append(c)
        results = [y if batch_first else _exchanged(y), _joined(h_n)]
        return (*results, _joined(c_n)) if cell == "lstm" else tuple(results)

    @staticmethod
    def backward(
        ctx: Node, dy: Tensor | None, dh_n: Tensor | None, dc_n: Tensor | None = None
    ) -> tuple[Tensor | None, ...]:
        """From the last layer to the first; each layer's dx is the dy of the one below."""
        _, h0, c0, *parameters = ctx.saved
        arrays = [_array(p) for p in parameters]
        directions = ctx.directions
        grad = _array(dy) if ctx.batch_first else _exchanged(_array(dy))
        dh0: list[Any] = []
        dc0: list[Any] = []
        dweights: list[Any] = []
        for layer in reversed(range(len(ctx.tape))):
            x, y, saved, mask = ctx.tape[layer]
            part = slice(layer * directions, (layer + 1) * directions)
            first = 3 + layer * directions * _PARAMETERS
            grad, dh, dc, dw = _C.recurrent_backward(
                ctx.cell,
                False,
                grad,
                _rows(_array(dh_n), part),
                _rows(_array(dc_n), part),
                x,
                _by_direction(arrays, layer, directions),
                _rows(_array(h0), part),
                _rows(_array(c0), part),
                ctx.lengths,
                y,
                saved,
                layer > 0 or ctx.needs[0],
                any(ctx.needs[first : first + directions * _PARAMETERS]),
            )
            if mask is not None:
                grad = _dropout_backward(grad, mask, ctx.dropout)
            dh0.insert(0, dh)
            dc0.insert(0, dc)
            dweights[:0] = [w for each in dw for w in each] or [None] * directions * _PARAMETERS
        dx = grad if ctx.batch_first else _exchanged(grad)
        dstates = [None if state is None else _joined(grads) for state, grads in ((h0, dh0), (c0, dc0))]
        return tuple(None if g is None else Tensor(g) for g in (dx, *dstates, *dweights))


def _by_direction(arrays: list[Any], layer: int, directions: int) -> list[tuple[Any, ...]]:
    """The four parameters of each direction of a layer."""
    first = layer * directions
    return [tuple(arrays[d * _PARAMETERS : (d + 1) * _PARAMETERS]) for d in range(first, first + directions)]


def _in_memory_order(array: _C.Array) -> _C.Array:
    """The elements of a dense array, one after the other."""
    return array.with_layout((array.size,), (1,))


def _dropout(y: _C.Array, p: float) -> tuple[_C.Array, _C.Array]:
    """Dropout of y, and its mask in memory order."""
    flat = _in_memory_order(y)
    dropped, mask = random.draw(lambda seed, offset: _C.dropout(flat, p, seed, offset, None))
    return dropped.with_layout(y.shape, y.strides), mask


def _dropout_backward(dy: _C.Array, mask: _C.Array, p: float) -> _C.Array:
    return _C.dropout_backward(_in_memory_order(dy), mask, p, None).with_layout(dy.shape, dy.strides)


class RecurrentCell(Function):
    """One step of one cell."""

    @staticmethod
    def forward(
        ctx: Node,
        x: Tensor,
        h: Tensor | None,
        c: Tensor | None,
        *parameters: Tensor | None,
        cell: str,
    ) -> Any:
        """Keeps the activated gates."""
        ctx.save(x, h, c, *parameters)
        ctx.cell = cell
        _, h_next, c_next, ctx.gates = _C.recurrent_forward(
            cell, True, x.array, [tuple(map(_array, parameters))], _array(h), _array(c), None, True, None
        )
        return (h_next, c_next) if cell == "lstm" else h_next

    @staticmethod
    def backward(ctx: Node, dh: Tensor | None, dc: Tensor | None = None) -> tuple[Tensor | None, ...]:
        """The backward pass of a sequence of one step."""
        x, h, c, *parameters = ctx.saved
        dx, dh, dc, (dweights,) = _C.recurrent_backward(
            ctx.cell,
            True,
            None,
            _array(dh),
            _array(dc),
            _array(x),
            [tuple(map(_array, parameters))],
            _array(h),
            _array(c),
            None,
            None,
            ctx.gates,
            True,
            True,
        )
        grads = (dx, None if h is None else dh, None if c is None else dc, *dweights)
        return tuple(None if g is None else Tensor(g) for g in grads)


def _stack(
    op: str,
    cell: str,
    x: Tensor,
    weights: Sequence[Sequence[Tensor | None]],
    h0: Tensor | None,
    c0: Tensor | None,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    dropout: float,
    training: bool,
    lengths: Any,
) -> tuple[Tensor, ...]:
    directions = 2 if bidirectional else 1
    check_stack(op, weights, (h0, c0), num_layers, directions)
    if not 0 <= dropout <= 1:
        raise ValueError(f"{op}: dropout must be from 0 to 1, got {dropout}")
    parameters: list[Tensor | None] = []
    for each in weights:
        if len(each) not in (2, _PARAMETERS):
            raise TypeError(
                f"{op}: weights must hold (weight_ih, weight_hh) or (weight_ih, weight_hh, bias_ih, bias_hh) "
                f"for each layer and direction, got {len(each)} tensors"
            )
        parameters += [*each, None, None][:_PARAMETERS]
    return Recurrent.apply(
        x,
        h0,
        c0,
        *parameters,
        cell=cell,
        directions=directions,
        batch_first=batch_first,
        dropout=dropout if training else 0.0,
        lengths=_beside(x, lengths),
    )


def _beside(x: Tensor, lengths: Any) -> Any:
    """Lengths where x is; they may come from the host."""
    array = lengths.array if isinstance(lengths, Tensor) else lengths
    if array is None or not x.is_cuda or (isinstance(array, _C.Array) and array.device == x.device):
        return array
    return _C.Array(array, x.device)


def lstm(
    x: Tensor,
    weights: Sequence[Sequence[Tensor | None]],
    hx: tuple[Tensor | None, Tensor | None] | None = None,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    batch_first: bool = False,
    dropout: float = 0.0,
    training: bool = False,
    lengths: Any = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Differentiable `medkern.kernels.lstm`; the same formula, weights, states and errors.

    Args:
        x: (T, N, I), or (N, T, I) with `batch_first`.
        weights: see `medkern.kernels.lstm`; so are `hx`, `num_layers`, `bidirectional` and `lengths`.
        hx: see there.
        num_layers: see there.
        bidirectional: see there.
        batch_first: whether the first axis of x and y is N instead of T.
        dropout: share of y set to 0 between layers, the rest divided by 1 - dropout.
        training: whether `dropout` applies.
        lengths: see there; an integer array or tensor.

    Returns:
        (y, (h_n, c_n)): y (T, N, directions H), or (N, T, directions H) with `batch_first`.

    Raises:
        ValueError: a shape or length doesn't fit.
        TypeError: a dtype doesn't fit.

    Example:
        >>> x = medkern.tensor(np.zeros((5, 2, 3)), requires_grad=True)
        >>> weights = [(medkern.tensor(np.zeros((16, 3))), medkern.tensor(np.zeros((16, 4))))]
        >>> y, (h_n, c_n) = medkern.functional.lstm(x, weights)
        >>> y.shape, h_n.shape
        ((5, 2, 4), (1, 2, 4))
    """
    h0, c0 = pair_of("lstm", hx)
    y, h_n, c_n = _stack(
        "lstm",
        "lstm",
        x,
        weights,
        h0,
        c0,
        num_layers,
        bidirectional,
        batch_first,
        dropout,
        training,
        lengths,
    )
    return y, (h_n, c_n)


def gru(
    x: Tensor,
    weights: Sequence[Sequence[Tensor | None]],
    hx: Tensor | None = None,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    batch_first: bool = False,
    dropout: float = 0.0,
    training: bool = False,
    lengths: Any = None,
) -> tuple[Tensor, Tensor]:
    """Differentiable `medkern.kernels.gru`; arguments as `lstm`, but hx is h0. Returns (y, h_n)."""
    y, h_n = _stack(
        "gru",
        "gru",
        x,
        weights,
        hx,
        None,
        num_layers,
        bidirectional,
        batch_first,
        dropout,
        training,
        lengths,
    )
    return y, h_n


def rnn(
    x: Tensor,
    weights: Sequence[Sequence[Tensor | None]],
    hx: Tensor | None = None,
    *,
    num_layers: int = 1,
    nonlinearity: str = "tanh",
    bidirectional: bool = False,
    batch_first: bool = False,
    dropout: float = 0.0,
    training: bool = False,
    lengths: Any = None,
) -> tuple[Tensor, Tensor]:
    """Differentiable `medkern.kernels.rnn`; arguments as `lstm`, but hx is h0. Returns (y, h_n)."""
    y, h_n = _stack(
        "rnn",
        rnn_cell_name("rnn", nonlinearity),
        x,
        weights,
        hx,
        None,
        num_layers,
        bidirectional,
        batch_first,
        dropout,
        training,
        lengths,
    )
    return y, h_n


def lstm_cell(
    x: Tensor,
    hx: tuple[Tensor | None, Tensor | None] | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Differentiable `medkern.kernels.lstm_cell`; the same arguments, shapes and errors.

    Example:
        >>> x, h, c = (medkern.tensor(np.zeros((2, 4))) for _ in range(3))
        >>> weight = medkern.tensor(np.zeros((16, 4)))
        >>> h, c = medkern.functional.lstm_cell(x, (h, c), weight, weight)
    """
    h, c = pair_of("lstm_cell", hx)
    return RecurrentCell.apply(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, cell="lstm")


def gru_cell(
    x: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
) -> Tensor:
    """Differentiable `medkern.kernels.gru_cell`; the same arguments, shapes and errors."""
    return RecurrentCell.apply(x, hx, None, weight_ih, weight_hh, bias_ih, bias_hh, cell="gru")


def rnn_cell(
    x: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    nonlinearity: str = "tanh",
) -> Tensor:
    """Differentiable `medkern.kernels.rnn_cell`; the same arguments, shapes and errors."""
    cell = rnn_cell_name("rnn_cell", nonlinearity)
    return RecurrentCell.apply(x, hx, None, weight_ih, weight_hh, bias_ih, bias_hh, cell=cell)
