"""Networks that write: an image encoder with a recurrent decoder, and a recurrent model of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medkern import functional, nn, random
from medkern.autograd import no_grad
from medkern.models._network import Network, expect_one_of
from medkern.nn._checks import expect_positive, expect_probability, sizes_of
from medkern.tensor import Tensor, tensor

_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}

State = tuple[Tensor, ...]  # of a decoder: each (N, ...), so that rows can be chosen


class _Writer(Network):
    """What text models share: words to vectors, a recurrent layer, and from its states to scores of words."""

    _cell: str

    def _decoder(self, words: int, embedding: int, hidden: int, cell: str, extra: int) -> None:
        expect_positive(self, words=words, embedding=embedding, hidden=hidden)
        expect_one_of(self, "cell", cell, tuple(_CELLS))
        self.embedding = nn.Embedding(words, embedding)
        self.recurrent = _CELLS[cell](embedding + extra, hidden, batch_first=True)
        self.head = nn.Linear(hidden, words)

    def load_vectors(self, numbers: Sequence[int], vectors: Sequence[np.ndarray]) -> None:
        """Puts word vectors in place of the embedding's rows.

        Args:
            numbers: which rows.
            vectors: one per row, of the embedding's size.

        Raises:
            ValueError: a row doesn't exist, or the vectors don't fit.
        """
        rows, size = self.embedding.weight.shape
        if len(numbers) != len(vectors) or any(not 0 <= number < rows for number in numbers):
            raise ValueError(
                f"load_vectors: needs a vector for each number from 0 to {rows - 1}, got {len(numbers)} "
                f"numbers and {len(vectors)} vectors"
            )
        table = self.embedding.weight.numpy().copy()
        for number, vector in zip(numbers, vectors, strict=True):
            if np.shape(vector) != (size,):
                raise ValueError(f"load_vectors: vectors must have shape ({size},), got {np.shape(vector)}")
            table[number] = vector
        self.embedding.weight.copy_(table)

    def _scores(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (N, T, words) after each of the words (N, T), and the state after the last."""
        *hidden, context = state
        x = self.embedding(words)
        if context.shape[1]:
            repeated = functional.expand(functional.unsqueeze(context, 1), (*x.shape[:2], context.shape[1]))
            x = functional.concat([x, repeated], 2)
        before = [functional.transpose(part, 0, 1) for part in hidden]
        y, after = self.recurrent(x, tuple(before) if len(before) == 2 else before[0])
        parts = after if isinstance(after, tuple) else (after,)
        return self.head(y), (*(functional.transpose(part, 0, 1) for part in parts), context)

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of writing.

        Args:
            words: the last word of each text, integers (N,).
            state: what `start` or the step before gave.

        Returns:
            The logits of the next word, (N, words), and the new state.
        """
        scores, state = self._scores(functional.unsqueeze(words, 1), state)
        return scores[:, 0], state

    def _expect_words(self, words: Tensor, count: int) -> None:
        if words.ndim != 2 or words.shape[0] != count or words.shape[1] < 1:
            raise ValueError(
                f"{type(self).__name__}: words must be ({count}, T) with T at least 1, got {words.shape}"
            )


class TextModel(_Writer):
    """Foretells the next word of a text: Embedding, LSTM or GRU, Linear.

    Args:
        words: size of the vocabulary.
        embedding: size of a word's vector.
        hidden: size of the recurrent state.
        cell: "lstm" or "gru".

    Raises:
        ValueError: a size is not positive, or the cell is unknown.

    Example:
        >>> net = medkern.models.TextModel(50, embedding=8, hidden=16)
        >>> net(medkern.tensor(np.zeros((2, 7), np.int64))).shape
        (2, 50, 7)
    """

    def __init__(self, words: int = 10000, embedding: int = 128, hidden: int = 128, *, cell: str = "lstm"):
        super().__init__({"words": words, "embedding": embedding, "hidden": hidden, "cell": cell})
        self._decoder(words, embedding, hidden, cell, 0)

    def start(self, count: int) -> State:
        """The state of `count` texts before their first word."""
        zero = np.zeros((count, 1, self._config["hidden"]), np.float32)
        states = [tensor(zero, device=self.head.weight.device) for _ in range(_states(self._config["cell"]))]
        return (*states, states[0][:, 0, :0])

    def forward(self, words: Tensor) -> Tensor:
        """Words read (N, T) to logits of the words that follow each (N, words, T)."""
        self._expect_words(words, words.shape[0] if words.ndim else 0)
        return functional.transpose(self._scores(words, self.start(words.shape[0]))[0], 1, 2)


class ReportModel(_Writer):
    """Writes a text about an image: convolutions, and an LSTM or GRU that starts from what they found.

    Each 3x3 convolution has a batch norm, ReLU and 2x2 max pooling; a linear layer, batch norm and ReLU make
    the features. A linear layer with tanh of them is the first state, and each step reads them beside the
    last word.

    Args:
        image_size: (H, W) of the images, or one int for both.
        words: size of the vocabulary.
        in_channels: channels of the images.
        filters: channels of each convolution.
        features: size of what the encoder gives.
        embedding: size of a word's vector.
        hidden: size of the recurrent state.
        cell: "lstm" or "gru".
        dropout: its probability on the features.

    Attributes:
        sampling: the share of words that are read, in training, as the model itself would have written them
            instead of as they are (scheduled sampling; Bengio et al., 2015). 0 is teacher forcing.

    Raises:
        ValueError: an option is out of range, or the images are too small for so many layers.

    Example:
        >>> net = medkern.models.ReportModel(32, 50, filters=(4, 8), features=16, embedding=8, hidden=16)
        >>> images, words = np.zeros((2, 1, 32, 32), np.float32), np.zeros((2, 7), np.int64)
        >>> net(medkern.tensor(images), medkern.tensor(words)).shape
        (2, 50, 7)
    """

    def __init__(
        self,
        image_size: int | Sequence[int],
        words: int,
        *,
        in_channels: int = 1,
        filters: Sequence[int] = (16, 32, 64, 64),
        features: int = 256,
        embedding: int = 128,
        hidden: int = 128,
        cell: str = "lstm",
        dropout: float = 0.0,
    ):
        size = sizes_of(self, "image_size", image_size, 2)
        super().__init__(
            {
                "image_size": list(size),
                "words": words,
                "in_channels": in_channels,
                "filters": list(filters),
                "features": features,
                "embedding": embedding,
                "hidden": hidden,
                "cell": cell,
                "dropout": dropout,
            }
        )
        expect_positive(self, in_channels=in_channels, features=features)
        expect_probability(self, "dropout", dropout)
        self.encoder, channels = pooled_convolutions(self, in_channels, filters)
        grid = [length // 2 ** len(filters) for length in size]
        if min(grid) < 1:
            raise ValueError(
                f"ReportModel: image_size {image_size} leaves no pixel after {len(filters)} poolings"
            )
        # With a norm, since a unit that Adam's first steps drive below 0 for all images would learn no more.
        self.project = nn.Sequential(
            nn.Linear(channels * grid[0] * grid[1], features, bias=False),
            nn.BatchNorm1d(features, activation="relu"),
        )
        self.dropout = nn.Dropout(dropout)
        self.first = nn.Linear(features, hidden * _states(cell))
        self._decoder(words, embedding, hidden, cell, features)
        self.sampling = 0.0

    def start(self, images: Tensor) -> State:
        """The state of a text about each of the images (N, in_channels, H, W) before its first word."""
        expected = (self._config["in_channels"], *self._config["image_size"])
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ValueError(
                f"ReportModel: images must be (N, {', '.join(map(str, expected))}), got {images.shape}"
            )
        found = self.dropout(self.project(functional.flatten(self.encoder(images), 1)))
        states = functional.tanh(self.first(found))
        size = self._config["hidden"]
        parts = [states[:, i * size : (i + 1) * size] for i in range(_states(self._config["cell"]))]
        return (*(functional.unsqueeze(part, 1) for part in parts), found)

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        """Images (N, in_channels, H, W), words read (N, T) to logits of those that follow (N, words, T)."""
        self._expect_words(words, images.shape[0] if images.ndim else 0)
        state = self.start(images)
        if self.training and self.sampling > 0:
            words = self._sampled(words, state)
        return functional.transpose(self._scores(words, state)[0], 1, 2)

    def _sampled(self, words: Tensor, state: State) -> Tensor:
        """The words, a share of them (never the first) as the model would have written them."""
        own = random.uniform(words.shape).numpy() < self.sampling
        read: Any = words.numpy().copy()
        with no_grad():
            state = tuple(part.detach() for part in state)
            for t in range(words.shape[1] - 1):
                scores, state = self.step(tensor(read[:, t], device=words.device), state)
                read[:, t + 1] = np.where(own[:, t + 1], scores.numpy().argmax(axis=1), read[:, t + 1])
        return tensor(read, device=words.device)


def pooled_convolutions(
    network: nn.Module, channels: int, filters: Sequence[int]
) -> tuple[nn.Sequential, int]:
    """3x3 convolutions, each with batch norm, ReLU and 2x2 max pooling, and the channels they end with."""
    layers: list[nn.Module] = []
    for count in filters:
        expect_positive(network, filters=count)
        layers += [
            nn.Conv2d(channels, count, 3, padding=1, bias=False),
            nn.BatchNorm2d(count, activation="relu"),
            nn.MaxPool2d(2),
        ]
        channels = count
    return nn.Sequential(*layers), channels


def _states(cell: str) -> int:
    return 2 if cell == "lstm" else 1
