"""Recurrent layers: LSTM, GRU and plain RNN, and their cells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from medkern import functional, random
from medkern.nn._checks import expect_positive, expect_probability
from medkern.nn.module import Module, Parameter
from medkern.tensor import Tensor


def _reset(module: Module, hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size)
    for parameter in module.parameters():
        parameter.copy_(random.uniform(parameter.shape, -bound, bound, parameter.dtype))


class _Layers(Module):
    """Parameters and options that LSTM, GRU and RNN share."""

    gates: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
    ):
        super().__init__()
        expect_positive(self, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        expect_probability(self, "dropout", dropout)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        directions = 2 if bidirectional else 1
        rows = self.gates * hidden_size
        for layer, suffix in self._suffixes():
            columns = input_size if layer == 0 else hidden_size * directions
            setattr(self, f"weight_ih_{suffix}", Parameter(np.empty((rows, columns), np.float32)))
            setattr(self, f"weight_hh_{suffix}", Parameter(np.empty((rows, hidden_size), np.float32)))
            if bias:
                setattr(self, f"bias_ih_{suffix}", Parameter(np.empty(rows, np.float32)))
                setattr(self, f"bias_hh_{suffix}", Parameter(np.empty(rows, np.float32)))
        self.reset_parameters()

    def _suffixes(self) -> list[tuple[int, str]]:
        """(layer, name) of each layer and direction, in the order of `functional.lstm`'s weights."""
        ends = ("", "_reverse") if self.bidirectional else ("",)
        return [(layer, f"l{layer}{end}") for layer in range(self.num_layers) for end in ends]

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        _reset(self, self.hidden_size)

    def _arguments(self, lengths: Any) -> dict[str, Any]:
        """What `functional.lstm`, `gru` and `rnn` want besides x and hx."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]
        return dict(
            weights=[[getattr(self, f"{name}_{suffix}") for name in names] for _, suffix in self._suffixes()],
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            batch_first=self.batch_first,
            dropout=self.dropout,
            training=self.training,
            lengths=lengths,
        )

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        shown = [str(self.input_size), str(self.hidden_size)]
        for name, default in [
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0.0),
            ("bidirectional", False),
        ]:
            value = getattr(self, name)
            if value != default:
                shown.append(f"{name}={value}")
        return ", ".join(shown)


class LSTM(_Layers):
    """LSTM over sequences; see `medkern.functional.lstm`.

    All parameters start uniform in +-1 / sqrt(hidden_size).

    Args:
        input_size: size I of each step of x.
        hidden_size: size H of the state.
        num_layers: number of layers, each fed with the results of the one below.
        bias: whether there are biases.
        batch_first: whether x is (N, T, I) instead of (T, N, I).
        dropout: share of each layer's results set to 0 before the next layer, in training.
        bidirectional: whether every layer also runs backwards; its results are 2 H wide then.

    Attributes:
        weight_ih_l0: (4 H, I), gates i, f, g, o; in further layers `_l1`, ... I is H or 2 H. The
            backward direction's names end in `_reverse`.
        weight_hh_l0: (4 H, H).
        bias_ih_l0: (4 H,), if `bias`.
        bias_hh_l0: (4 H,), if `bias`.

    Raises:
        ValueError: a size is not positive, or dropout is out of range.

    Example:
        >>> layer = medkern.nn.LSTM(8, 16, bidirectional=True, batch_first=True)
        >>> y, (h_n, c_n) = layer(medkern.tensor(np.zeros((2, 5, 8), np.float32)))
        >>> y.shape, h_n.shape
        ((2, 5, 32), (2, 2, 16))
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)

    def forward(
        self, x: Tensor, hx: tuple[Tensor | None, Tensor | None] | None = None, lengths: Any = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(T, N, I) or (N, T, I) to (y, (h_n, c_n)); `hx` and `lengths` as in `functional.lstm`."""
        return functional.lstm(x, hx=hx, **self._arguments(lengths))


class GRU(_Layers):
    """GRU over sequences; see `medkern.functional.gru`. As `LSTM`, but the gates are r, z, n (3 H rows)."""

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)

    def forward(self, x: Tensor, hx: Tensor | None = None, lengths: Any = None) -> tuple[Tensor, Tensor]:
        """(T, N, I) or (N, T, I) to (y, h_n)."""
        return functional.gru(x, hx=hx, **self._arguments(lengths))


class RNN(_Layers):
    """Plain RNN over sequences; see `medkern.functional.rnn`. As `LSTM`, but with one gate (H rows).

    Args:
        input_size: see `LSTM`; so are the following.
        hidden_size: see `LSTM`.
        num_layers: see `LSTM`.
        nonlinearity: "tanh" or "relu".
        bias: see `LSTM`.
        batch_first: see `LSTM`.
        dropout: see `LSTM`.
        bidirectional: see `LSTM`.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        self.nonlinearity = nonlinearity

    def forward(self, x: Tensor, hx: Tensor | None = None, lengths: Any = None) -> tuple[Tensor, Tensor]:
        """(T, N, I) or (N, T, I) to (y, h_n)."""
        return functional.rnn(x, hx=hx, nonlinearity=self.nonlinearity, **self._arguments(lengths))


class _Cell(Module):
    """Parameters of one cell."""

    gates: int

    def __init__(self, input_size: int, hidden_size: int, bias: bool):
        super().__init__()
        expect_positive(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        rows = self.gates * hidden_size
        self.weight_ih = Parameter(np.empty((rows, input_size), np.float32))
        self.weight_hh = Parameter(np.empty((rows, hidden_size), np.float32))
        self.bias_ih = Parameter(np.empty(rows, np.float32)) if bias else None
        self.bias_hh = Parameter(np.empty(rows, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        _reset(self, self.hidden_size)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        shown = f"{self.input_size}, {self.hidden_size}"
        return shown if self.bias_ih is not None else f"{shown}, bias=False"


class LSTMCell(_Cell):
    """One step of LSTM; see `medkern.functional.lstm_cell`.

    Args:
        input_size: size I of x.
        hidden_size: size H of the state.
        bias: whether there are biases.

    Attributes:
        weight_ih: (4 H, I), gates i, f, g, o.
        weight_hh: (4 H, H).
        bias_ih: (4 H,) or None.
        bias_hh: (4 H,) or None.
    """

    gates = 4

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True):
        super().__init__(input_size, hidden_size, bias)

    def forward(
        self, x: Tensor, hx: tuple[Tensor | None, Tensor | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """(N, I) and the pair (h, c) to the next (h, c)."""
        return functional.lstm_cell(x, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)


class GRUCell(_Cell):
    """One step of GRU; see `medkern.functional.gru_cell`. As `LSTMCell`, with gates r, z, n (3 H rows)."""

    gates = 3

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True):
        super().__init__(input_size, hidden_size, bias)

    def forward(self, x: Tensor, hx: Tensor | None = None) -> Tensor:
        """(N, I) and h to the next h."""
        return functional.gru_cell(x, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)


class RNNCell(_Cell):
    """One step of a plain RNN; see `medkern.functional.rnn_cell`. As `LSTMCell`, but with one gate (H rows).

    Args:
        input_size: size I of x.
        hidden_size: size H of the state.
        bias: whether there are biases.
        nonlinearity: "tanh" or "relu".
    """

    gates = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"):
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def forward(self, x: Tensor, hx: Tensor | None = None) -> Tensor:
        """(N, I) and h to the next h."""
        return functional.rnn_cell(
            x, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.nonlinearity
        )
