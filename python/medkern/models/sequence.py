"""Classifiers of image sequences."""

from __future__ import annotations

from collections.abc import Sequence

from medkern import functional, nn
from medkern.models._network import Network, expect_one_of
from medkern.models.report import pooled_convolutions
from medkern.nn._checks import expect_positive, expect_probability
from medkern.tensor import Tensor


class SequenceClassifier(Network):
    """Convolutions on every frame, an LSTM or GRU over the frames, a linear layer on its last state.

    Each 3x3 convolution has a batch norm, ReLU and 2x2 max pooling; the mean over the pixels and a linear
    layer with ReLU make a frame's features. Frames of padding, from a sequence's length on, have no part in
    the recurrent layer's states; batch norms do see them in training.

    Args:
        in_channels: channels of a frame.
        classes: the number of classes.
        filters: channels of each convolution.
        features: size of a frame's features.
        hidden: size of the recurrent state.
        cell: "lstm" or "gru".
        bidirectional: whether the sequences are also read backwards.
        dropout: its probability before the last layer.

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> net = medkern.models.SequenceClassifier(classes=3, filters=(4, 8), features=16, hidden=16)
        >>> frames = medkern.tensor(np.zeros((2, 5, 1, 16, 16), np.float32))
        >>> net(frames, medkern.tensor([5, 3])).shape
        (2, 3)
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        *,
        filters: Sequence[int] = (8, 16, 32),
        features: int = 32,
        hidden: int = 64,
        cell: str = "gru",
        bidirectional: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__(
            {
                "in_channels": in_channels,
                "classes": classes,
                "filters": list(filters),
                "features": features,
                "hidden": hidden,
                "cell": cell,
                "bidirectional": bidirectional,
                "dropout": dropout,
            }
        )
        expect_positive(self, in_channels=in_channels, classes=classes, features=features, hidden=hidden)
        expect_one_of(self, "cell", cell, ("lstm", "gru"))
        expect_one_of(self, "bidirectional", bidirectional, (False, True))
        expect_probability(self, "dropout", dropout)
        self.encoder, channels = pooled_convolutions(self, in_channels, filters)
        self.project = nn.Linear(channels, features)
        layer = nn.LSTM if cell == "lstm" else nn.GRU
        self.recurrent = layer(features, hidden, batch_first=True, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden * (2 if bidirectional else 1), classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(N, T, in_channels, H, W) and the sequences' lengths (N), T if None, to logits (N, classes)."""
        channels, least = self._config["in_channels"], 2 ** len(self._config["filters"])
        if x.ndim != 5 or x.shape[2] != channels or min(x.shape[3:]) < least:
            raise ValueError(
                f"SequenceClassifier: x must have shape (N, T, {channels}, H, W), H and W at least {least}, "
                f"got {x.shape}"
            )
        count, steps = x.shape[:2]
        frames = self.encoder(functional.reshape(x, (count * steps, *x.shape[2:])))
        found = functional.relu(self.project(functional.mean(frames, (2, 3))))
        _, state = self.recurrent(functional.reshape(found, (count, steps, found.shape[1])), lengths=lengths)
        last = state[0] if isinstance(state, tuple) else state
        parts = [last[i] for i in range(last.shape[0])]
        return self.head(self.dropout(parts[0] if len(parts) == 1 else functional.concat(parts, 1)))
