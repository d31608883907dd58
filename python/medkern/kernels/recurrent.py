"""Recurrent kernels: LSTM, GRU and plain RNN over whole sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from medkern import _C
from medkern.kernels._kind import like, like_optional
from medkern.kernels._recurrent import check_stack, check_states, gradients_like, pair_of, rnn_cell_name, rows


def recurrent_layer(
    cell: str,
    x: Any,
    weights: Sequence[Sequence[Any]],
    h0: Any = None,
    c0: Any = None,
    lengths: Any = None,
    *,
    save: bool = False,
    out: Any = None,
) -> tuple[Any, Any, Any, Any]:
    """One recurrent layer over whole sequences, with what its backward pass needs.

    Args:
        cell: "lstm", "gru", "rnn_tanh" or "rnn_relu"; formulas in `lstm`, `gru` and `rnn`.
        x: (N, T, I), contiguous, or with the steps varying slowest in memory; anything else is copied.
        weights: one entry per direction, (weight_ih, weight_hh) or (weight_ih, weight_hh, bias_ih,
            bias_hh), of shapes (G H, I), (G H, H), (G H,), (G H,); a bias may be None. A second
            entry runs from each sample's last step to its first.
        h0: (directions, N, H); None means zeros.
        c0: the same, for LSTM only.
        lengths: (N,), int64, from 0 to T; None means T. From a sample's length on, x is not used, y is
            0 and the state stays as it is.
        save: also give what `recurrent_layer_backward` needs.
        out: array for y.

    Returns:
        (y, h_n, c_n, saved): y (N, T, directions H), in the memory order of x, the hidden state after
        every step; h_n and c_n (directions, N, H), the states at each sample's own end, c_n None
        unless the cell is LSTM; saved is None unless asked for.

    Raises:
        ValueError: a shape or length doesn't fit.
        TypeError: a dtype doesn't fit.
    """
    y, h_n, c_n, saved = _C.recurrent_forward(cell, False, x, weights, h0, c0, lengths, save, out)
    return like(x, y), like(x, h_n), like_optional(x, c_n), like_optional(x, saved)


def recurrent_layer_backward(
    cell: str,
    dy: Any,
    dh_n: Any,
    dc_n: Any,
    x: Any,
    weights: Sequence[Sequence[Any]],
    h0: Any,
    c0: Any,
    lengths: Any,
    y: Any,
    saved: Any,
    *,
    input_gradient: bool = True,
    weight_gradients: bool = True,
) -> tuple[Any, Any, Any, list[tuple[Any, ...]]]:
    """The gradients of `recurrent_layer`.

    Args:
        cell: as in the forward pass.
        dy: gradient of y, or None for zeros.
        dh_n: gradient of h_n, or None for zeros.
        dc_n: gradient of c_n, or None for zeros.
        x: as in the forward pass, in the same memory order; so are the following.
        weights: see there.
        h0: see there.
        c0: see there.
        lengths: see there.
        y: what the forward pass gave; so is the following.
        saved: see there.
        input_gradient: whether dx is wanted.
        weight_gradients: whether those of the weights are wanted.

    Returns:
        (dx, dh0, dc0, dweights): dx and dc0 are None where they are not wanted or don't exist;
        dweights holds per direction (dweight_ih, dweight_hh, dbias_ih, dbias_hh), None for a bias that
        is None, and is empty if not wanted.

    Raises:
        ValueError: a shape or length doesn't fit.
        TypeError: a dtype doesn't fit.
    """
    dx, dh0, dc0, dweights = _C.recurrent_backward(
        cell, False, dy, dh_n, dc_n, x, weights, h0, c0, lengths, y, saved, input_gradient, weight_gradients
    )
    return gradients_like(x, dx, dh0, dc0, dweights)


# Runs one layer: (index of the layer, x, h0, c0, out) to the results of `_C.recurrent_forward`.
_RunLayer = Callable[[int, Any, Any, Any, Any], tuple[Any, ...]]


def _run_stack(
    x: Any, states: Sequence[Any], num_layers: int, directions: int, out: Any, run: _RunLayer
) -> tuple[Any, Any, Any]:
    y, h_n, c_n = x, [], []
    for layer in range(num_layers):
        part = slice(layer * directions, (layer + 1) * directions)
        h0, c0 = (rows(s, part) for s in states)
        y, h, c, _ = run(layer, y, h0, c0, out if layer == num_layers - 1 else None)
        h_n.append(h)
        c_n.append(c)
    if num_layers == 1:
        return like(x, y), like(x, h_n[0]), like_optional(x, c_n[0])
    joined = [None if s[0] is None else _C.concat(s, 0, None) for s in (h_n, c_n)]
    return like(x, y), *(like_optional(x, s) for s in joined)


def _states(h0: Any, c0: Any) -> list[Any]:
    return [None if s is None else _C.Array(s) for s in (h0, c0)]


def _stack(
    op: str,
    cell: str,
    x: Any,
    weights: Sequence[Sequence[Any]],
    h0: Any,
    c0: Any,
    lengths: Any,
    num_layers: int,
    bidirectional: bool,
    out: Any,
) -> tuple[Any, Any, Any]:
    directions = 2 if bidirectional else 1
    states = _states(h0, c0)
    check_stack(op, weights, states, num_layers, directions)

    def run(layer: int, y: Any, h0: Any, c0: Any, out: Any) -> tuple[Any, ...]:
        part = weights[layer * directions : (layer + 1) * directions]
        return _C.recurrent_forward(cell, False, y, part, h0, c0, lengths, False, out)

    return _run_stack(x, states, num_layers, directions, out, run)


def lstm(
    x: Any,
    weights: Sequence[Sequence[Any]],
    hx: Any = None,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: Any = None,
    out: Any = None,
) -> tuple[Any, tuple[Any, Any]]:
    """LSTM over whole sequences, any number of layers, one or two directions.

    For each step, with the four blocks of rows of the weights in the order i, f, g, o:

        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)      f, o likewise
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)
        c = f c + i g
        h = o tanh(c)

    Each further layer takes the y of the one below.

    Args:
        x: (N, T, I), float32 or float64, contiguous, or with the steps varying slowest in memory;
            anything else is copied.
        weights: one entry per layer and direction, the directions of a layer next to each other:
            (weight_ih, weight_hh) or (weight_ih, weight_hh, bias_ih, bias_hh), of shapes (4 H, I),
            (4 H, H), (4 H,), (4 H,). In further layers I is directions * H. A bias may be None.
        hx: (h0, c0), each (num_layers directions, N, H); None means zeros.
        num_layers: number of layers.
        bidirectional: whether every layer also runs from each sample's last step to its first.
        lengths: (N,), int64, from 0 to T; None means T. From a sample's length on, x is not used, y is
            0 and the state stays as it is.
        out: array for y.

    Returns:
        (y, (h_n, c_n)): y (N, T, directions H), in the memory order of x; h_n and c_n like h0, the
        states at each sample's own end.

    Raises:
        ValueError: a shape or length doesn't fit.
        TypeError: a dtype doesn't fit.

    Example:
        >>> x = np.zeros((2, 5, 3), np.float32)
        >>> weights = [(np.zeros((16, 3), np.float32), np.zeros((16, 4), np.float32))]
        >>> y, (h_n, c_n) = medkern.kernels.lstm(x, weights)
        >>> y.shape, h_n.shape
        ((2, 5, 4), (1, 2, 4))
    """
    h0, c0 = pair_of("lstm", hx)
    y, h_n, c_n = _stack("lstm", "lstm", x, weights, h0, c0, lengths, num_layers, bidirectional, out)
    return y, (h_n, c_n)


class LSTMPlan:
    """LSTM layers whose weights have been packed; made by `lstm_plan`."""

    def __init__(self, weights: Sequence[Sequence[Any]], num_layers: int, bidirectional: bool) -> None:
        self._stack = _PackedStack("lstm", weights, num_layers, bidirectional)

    def __call__(
        self,
        x: Any,
        hx: tuple[Any, Any] | None = None,
        *,
        lengths: Any = None,
        out: Any = None,
    ) -> tuple[Any, tuple[Any, Any]]:
        """(y, (h_n, c_n)) for x, as `lstm`."""
        y, h_n, c_n = self._stack.run(x, *pair_of("lstm", hx), lengths, out)
        return y, (h_n, c_n)

    @property
    def nbytes(self) -> int:
        """The memory the packed weights take."""
        return self._stack.nbytes


class GRUPlan:
    """GRU layers whose weights have been packed; made by `gru_plan`."""

    def __init__(self, weights: Sequence[Sequence[Any]], num_layers: int, bidirectional: bool) -> None:
        self._stack = _PackedStack("gru", weights, num_layers, bidirectional)

    def __call__(self, x: Any, hx: Any = None, *, lengths: Any = None, out: Any = None) -> tuple[Any, Any]:
        """(y, h_n) for x, as `gru`."""
        return self._stack.run(x, hx, None, lengths, out)[:2]

    @property
    def nbytes(self) -> int:
        """The memory the packed weights take."""
        return self._stack.nbytes


class _PackedStack:
    def __init__(
        self, cell: str, weights: Sequence[Sequence[Any]], num_layers: int, bidirectional: bool
    ) -> None:
        self._cell = cell
        self._directions = 2 if bidirectional else 1
        check_stack(f"{cell}_plan", weights, (), num_layers, self._directions)
        parts = [weights[i : i + self._directions] for i in range(0, len(weights), self._directions)]
        self._layers = [_C.RecurrentPlan(cell, False, part) for part in parts]
        self.nbytes = sum(layer.nbytes for layer in self._layers)

    def run(self, x: Any, h0: Any, c0: Any, lengths: Any, out: Any) -> tuple[Any, Any, Any]:
        states = _states(h0, c0)
        count = len(self._layers)
        check_states(self._cell, states, count * self._directions)

        def run(layer: int, y: Any, h0: Any, c0: Any, out: Any) -> tuple[Any, ...]:
            return self._layers[layer].run(y, h0, c0, lengths, out)

        return _run_stack(x, states, count, self._directions, out, run)


def lstm_plan(
    weights: Sequence[Sequence[Any]], *, num_layers: int = 1, bidirectional: bool = False
) -> LSTMPlan:
    """Prepares LSTM layers for many calls: packs their weights once.

    Args:
        weights: see `lstm`. Later changes of them have no effect.
        num_layers: see `lstm`.
        bidirectional: see `lstm`.

    Returns:
        plan(x, hx=None, *, lengths=None, out=None), which gives the same bits as `lstm`. It serves the
        instruction set in use now.

    Raises:
        ValueError: a shape doesn't fit.
        TypeError: a dtype doesn't fit.

    Example:
        >>> weights = [(np.zeros((16, 3), np.float32), np.zeros((16, 4), np.float32))]
        >>> plan = medkern.kernels.lstm_plan(weights)
        >>> y, (h_n, c_n) = plan(np.zeros((2, 5, 3), np.float32))
        >>> y.shape, h_n.shape
        ((2, 5, 4), (1, 2, 4))
    """
    return LSTMPlan(weights, num_layers, bidirectional)


def gru_plan(
    weights: Sequence[Sequence[Any]], *, num_layers: int = 1, bidirectional: bool = False
) -> GRUPlan:
    """Prepares GRU layers for many calls; as `lstm_plan`, for `gru`.

    Args:
        weights: see `gru`.
        num_layers: see `lstm`.
        bidirectional: see `lstm`.

    Returns:
        plan(x, hx=None, *, lengths=None, out=None), which gives the same bits as `gru`.
    """
    return GRUPlan(weights, num_layers, bidirectional)


def gru(
    x: Any,
    weights: Sequence[Sequence[Any]],
    hx: Any = None,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: Any = None,
    out: Any = None,
) -> tuple[Any, Any]:
    """GRU over whole sequences; arguments as `lstm`, but three gates and one state.

    For each step, with the three blocks of rows of the weights in the order r, z, n:

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)      z likewise
        n = tanh(W_in x + b_in + r (W_hn h + b_hn))
        h = (1 - z) n + z h

    Args:
        x: see `lstm`; so are the following.
        weights: shapes (3 H, I), (3 H, H), (3 H,), (3 H,).
        hx: h0, (num_layers directions, N, H); None means zeros.
        num_layers: see `lstm`.
        bidirectional: see `lstm`.
        lengths: see `lstm`.
        out: array for y.

    Returns:
        (y, h_n), as `lstm` without c_n.
    """
    return _stack("gru", "gru", x, weights, hx, None, lengths, num_layers, bidirectional, out)[:2]


def rnn(
    x: Any,
    weights: Sequence[Sequence[Any]],
    hx: Any = None,
    *,
    num_layers: int = 1,
    nonlinearity: str = "tanh",
    bidirectional: bool = False,
    lengths: Any = None,
    out: Any = None,
) -> tuple[Any, Any]:
    """Plain RNN over whole sequences, h = act(W_ih x + b_ih + W_hh h + b_hh); arguments as `gru`.

    Args:
        x: see `lstm`; so are the following.
        weights: shapes (H, I), (H, H), (H,), (H,).
        hx: see `gru`.
        num_layers: see `lstm`.
        nonlinearity: act, "tanh" or "relu".
        bidirectional: see `lstm`.
        lengths: see `lstm`.
        out: array for y.

    Returns:
        (y, h_n), as `gru`.
    """
    cell = rnn_cell_name("rnn", nonlinearity)
    return _stack("rnn", cell, x, weights, hx, None, lengths, num_layers, bidirectional, out)[:2]
