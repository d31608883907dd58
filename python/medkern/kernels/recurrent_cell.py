"""Recurrent kernels: a single step of LSTM, GRU and plain RNN."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkern import _C
from medkern.kernels._kind import like
from medkern.kernels._recurrent import gradients_like, pair_of, rnn_cell_name


def _step(cell: str, x: Any, h0: Any, c0: Any, weights: tuple[Any, ...], save: bool, out: Any) -> list[Any]:
    """[h, c, saved], without those that are not there."""
    results = _C.recurrent_forward(cell, True, x, [weights], h0, c0, None, save, out)
    return [like(x, result) for result in results if result is not None]


def _step_backward(
    cell: str, dh: Any, dc: Any, saved: Any, x: Any, h0: Any, c0: Any, weights: tuple[Any, ...]
) -> tuple[Any, Any, Any, tuple[Any, ...]]:
    results = _C.recurrent_backward(
        cell, True, None, dh, dc, x, [weights], h0, c0, None, None, saved, True, True
    )
    dx, dh0, dc0, (dweights,) = gradients_like(x, *results)
    return dx, dh0, dc0, dweights


def lstm_cell(
    x: Any,
    hx: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    *,
    save: bool = False,
    out: Any = None,
) -> Any:
    """One step of LSTM; the formula is that of `lstm`.

    Args:
        x: (N, I).
        hx: (h, c), each (N, H); None means zeros.
        weight_ih: (4 H, I).
        weight_hh: (4 H, H).
        bias_ih: (4 H,); None means zeros.
        bias_hh: (4 H,); None means zeros.
        save: also give what `lstm_cell_backward` needs.
        out: array for the new h.

    Returns:
        The new (h, c), or with `save` (h, c, saved).

    Raises:
        ValueError: a shape doesn't fit.
        TypeError: a dtype doesn't fit.
    """
    h, c = pair_of("lstm_cell", hx)
    return tuple(_step("lstm", x, h, c, (weight_ih, weight_hh, bias_ih, bias_hh), save, out))


def lstm_cell_backward(
    dh: Any,
    dc: Any,
    saved: Any,
    x: Any,
    hx: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
) -> tuple[Any, ...]:
    """The gradients of `lstm_cell`.

    Args:
        dh: gradient of the new h, or None for zeros.
        dc: gradient of the new c, or None for zeros.
        saved: what `lstm_cell` gave with `save`.
        x: as in the forward pass; so are the following.
        hx: see there.
        weight_ih: see there.
        weight_hh: see there.
        bias_ih: see there.
        bias_hh: see there.

    Returns:
        (dx, (dh, dc), dweight_ih, dweight_hh, dbias_ih, dbias_hh), the last two None for a bias that
        is None.
    """
    h, c = pair_of("lstm_cell_backward", hx)
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    dx, dh, dc, dweights = _step_backward("lstm", dh, dc, saved, x, h, c, weights)
    return dx, (dh, dc), *dweights


def gru_cell(
    x: Any,
    hx: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    *,
    save: bool = False,
    out: Any = None,
) -> Any:
    """One step of GRU, formula of `gru`; arguments as `lstm_cell`, but hx is h and G is 3.

    Returns:
        The new h (N, H), or with `save` (h, saved).
    """
    results = _step("gru", x, hx, None, (weight_ih, weight_hh, bias_ih, bias_hh), save, out)
    return tuple(results) if save else results[0]


def gru_cell_backward(
    dh: Any,
    saved: Any,
    x: Any,
    hx: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
) -> tuple[Any, ...]:
    """The gradients of `gru_cell`, (dx, dh, dweight_ih, dweight_hh, dbias_ih, dbias_hh)."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    dx, dh, _, dweights = _step_backward("gru", dh, None, saved, x, hx, None, weights)
    return dx, dh, *dweights


def rnn_cell(
    x: Any,
    hx: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    nonlinearity: str = "tanh",
    *,
    save: bool = False,
    out: Any = None,
) -> Any:
    """One step of a plain RNN, formula of `rnn`; arguments as `gru_cell`, but G is 1.

    Returns:
        The new h (N, H), or with `save` (h, saved).
    """
    cell = rnn_cell_name("rnn_cell", nonlinearity)
    results = _step(cell, x, hx, None, (weight_ih, weight_hh, bias_ih, bias_hh), save, out)
    return tuple(results) if save else results[0]


def rnn_cell_backward(
    dh: Any,
    saved: Any,
    x: Any,
    hx: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    nonlinearity: str = "tanh",
) -> tuple[Any, ...]:
    """The gradients of `rnn_cell`, (dx, dh, dweight_ih, dweight_hh, dbias_ih, dbias_hh)."""
    cell = rnn_cell_name("rnn_cell_backward", nonlinearity)
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    dx, dh, _, dweights = _step_backward(cell, dh, None, saved, x, hx, None, weights)
    return dx, dh, *dweights


class LSTMCellPlan:
    """A step of LSTM whose weights have been packed; made by `lstm_cell_plan`."""

    def __init__(self, plan: _C.RecurrentPlan) -> None:
        self._plan = plan

    def __call__(self, x: Any, hx: tuple[Any, Any] | None = None, *, out: Any = None) -> tuple[Any, Any]:
        """The new (h, c) for x, as `lstm_cell`."""
        h0, c0 = pair_of("lstm_cell", hx)
        h, c = self._plan.step(x, h0, c0, out)
        return (h, c) if isinstance(x, np.ndarray) else (like(x, h), like(x, c))

    @property
    def nbytes(self) -> int:
        """The memory the packed weights take."""
        return self._plan.nbytes


class GRUCellPlan:
    """A step of GRU whose weights have been packed; made by `gru_cell_plan`."""

    def __init__(self, plan: _C.RecurrentPlan) -> None:
        self._plan = plan

    def __call__(self, x: Any, hx: Any = None, *, out: Any = None) -> Any:
        """The new h for x, as `gru_cell`."""
        h, _ = self._plan.step(x, hx, None, out)
        return h if isinstance(x, np.ndarray) else like(x, h)

    @property
    def nbytes(self) -> int:
        """The memory the packed weights take."""
        return self._plan.nbytes


def lstm_cell_plan(weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None) -> LSTMCellPlan:
    """Prepares a step of LSTM for many calls: packs its weights once.

    Args:
        weight_ih: see `lstm_cell`. Later changes of it, and of the following, have no effect.
        weight_hh: see there.
        bias_ih: see there.
        bias_hh: see there.

    Returns:
        plan(x, hx=None, *, out=None), which gives the same bits as `lstm_cell`. It serves the instruction
        set in use now.

    Raises:
        ValueError: a shape doesn't fit.
        TypeError: a dtype doesn't fit.

    Example:
        >>> plan = medkern.kernels.lstm_cell_plan(np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
        >>> h, c = plan(np.zeros((3, 2), np.float32))
        >>> h.shape, c.shape
        ((3, 1), (3, 1))
    """
    return LSTMCellPlan(_C.RecurrentPlan("lstm", True, [(weight_ih, weight_hh, bias_ih, bias_hh)]))


def gru_cell_plan(weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None) -> GRUCellPlan:
    """Prepares a step of GRU for many calls; as `lstm_cell_plan`, for `gru_cell`.

    Args:
        weight_ih: see `gru_cell`.
        weight_hh: see there.
        bias_ih: see there.
        bias_hh: see there.

    Returns:
        plan(x, hx=None, *, out=None), which gives the same bits as `gru_cell`.
    """
    return GRUCellPlan(_C.RecurrentPlan("gru", True, [(weight_ih, weight_hh, bias_ih, bias_hh)]))
