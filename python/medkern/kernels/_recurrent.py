"""The form of recurrent arguments, for `kernels` and `functional`, and that of their gradients.

Their values are checked by the C API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medkern import _C
from medkern.kernels._kind import like, like_optional


def pair_of(op: str, hx: Any) -> tuple[Any, Any]:
    """(h0, c0) of LSTM's `hx`, which may be None."""
    if hx is None:
        return None, None
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise TypeError(f"{op}: hx must be a pair (h0, c0) or None, got {type(hx).__name__}")
    return hx[0], hx[1]


def rnn_cell_name(op: str, nonlinearity: str) -> str:
    """The cell of a plain RNN."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"{op}: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    return f"rnn_{nonlinearity}"


def check_stack(
    op: str, weights: Sequence[Any], states: Sequence[Any], num_layers: int, directions: int
) -> None:
    """Fails unless there are weights and initial states for every layer and direction."""
    if not isinstance(num_layers, int) or num_layers < 1:
        raise ValueError(f"{op}: num_layers must be an int of at least 1, got {num_layers!r}")
    wanted = num_layers * directions
    if len(weights) != wanted:
        raise ValueError(
            f"{op}: weights must hold one entry per layer and direction, {wanted} in all, got {len(weights)}"
        )
    check_states(op, states, wanted)


def check_states(op: str, states: Sequence[Any], wanted: int) -> None:
    """Fails unless each initial state that is there has `wanted` layers and directions."""
    for name, state in zip(("h0", "c0"), states, strict=False):
        if state is not None and (state.ndim != 3 or state.shape[0] != wanted):
            raise ValueError(f"{op}: {name} must have shape ({wanted}, N, H), got {tuple(state.shape)}")


def rows(state: _C.Array | None, part: slice) -> _C.Array | None:
    """Some layers and directions of a state."""
    if state is None:
        return None
    start, stop, _ = part.indices(state.shape[0])
    offset = start * state.strides[0] if state.size > 0 else 0
    return state.with_layout((stop - start, *state.shape[1:]), state.strides, offset)


def gradients_like(x: Any, dx: Any, dh0: Any, dc0: Any, dweights: Any) -> tuple[Any, Any, Any, list[Any]]:
    """What `_C.recurrent_backward` gives, as the kind of array x is."""
    parameters = [tuple(like_optional(x, w) for w in each) for each in dweights]
    return like_optional(x, dx), like(x, dh0), like_optional(x, dc0), parameters
