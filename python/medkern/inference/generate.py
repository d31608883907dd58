"""Writing texts word by word: greedy and beam search."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from medkern.autograd import no_grad
from medkern.kernels import log_softmax
from medkern.nn import Module
from medkern.nn.module import device_of
from medkern.tensor import Tensor, tensor

State = tuple[Tensor, ...]


class Writer(Protocol):
    """A model that writes step by step, such as `medkern.models.ReportModel`."""

    def start(self, inputs: Any) -> State:
        """The state before the first word, each part (N, ...)."""
        ...

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """From the last words (N) and the state to the logits (N, words) of the next and the new state."""
        ...


def greedy_search(
    model: Any, inputs: Any, *, start: int = 1, end: int = 2, longest: int = 64
) -> list[list[int]]:
    """Texts, each word the likeliest after those before.

    Args:
        model: a `Writer`; used in evaluation mode.
        inputs: what `model.start` takes: images (N, C, H, W), say, or the number of texts.
        start: the number of the word that begins a text and is not part of it.
        end: the number of the word that ends it, likewise.
        longest: the most words of a text.

    Returns:
        The numbers of the words of each text, without start and end.

    Raises:
        ValueError: `longest` is below 1.

    Example:
        >>> texts = greedy_search(model, images, longest=40)
        >>> vocabulary.decode(texts[0])
        'one small bright lesion on the left.'
    """
    if longest < 1:
        raise ValueError(f"greedy_search: longest must be at least 1, got {longest}")
    with _Steps(model, inputs) as steps:
        words = np.full(steps.count, start, np.int64)
        texts: list[list[int]] = [[] for _ in words]
        open_ = np.ones(len(words), bool)
        for _ in range(longest):
            words = steps.next(words).argmax(axis=1)
            open_ &= words != end
            if not open_.any():
                break
            for i in np.nonzero(open_)[0]:
                texts[i].append(int(words[i]))
    return texts


def beam_search(
    model: Any,
    inputs: Any,
    *,
    width: int = 4,
    start: int = 1,
    end: int = 2,
    longest: int = 64,
    length_penalty: float = 0.0,
) -> list[list[tuple[float, list[int]]]]:
    """The likeliest texts that a search of limited width finds.

    After each step the `width` likeliest texts that have not ended go on; each may also end. A text's score
    is

        sum log p(word | words before) / (words, the end included)^length_penalty

    and one of `longest` words counts as it is, without an end.

    Args:
        model: see `greedy_search`; so are `inputs`, `start`, `end` and `longest`.
        inputs: see there.
        width: how many texts are kept; 1 follows the greedy text and may end earlier or later.
        start: see there.
        end: see there.
        longest: see there.
        length_penalty: 0 compares probabilities, 1 their geometric means, which favors longer texts.

    Returns:
        For each input `width` texts at most with their scores, the best first.

    Raises:
        ValueError: `longest` or `width` is below 1, or `length_penalty` below 0.
    """
    if longest < 1 or width < 1 or not length_penalty >= 0:
        raise ValueError(
            "beam_search: needs longest >= 1, width >= 1 and length_penalty >= 0, got "
            f"{longest}, {width} and {length_penalty}"
        )
    with _Steps(model, inputs) as steps:
        beams: list[list[tuple[float, list[int]]]] = [[(0.0, [])] for _ in range(steps.count)]
        done: list[list[tuple[float, list[int]]]] = [[] for _ in range(steps.count)]
        words = np.full(steps.count, start, np.int64)
        for length in range(1, longest + 1):
            if not len(words):
                break
            logs = log_softmax(steps.next(words).astype(np.float64), 1)
            rows: list[int] = []
            chosen: list[int] = []
            first = 0
            for i, beam in enumerate(beams):
                scores = np.array([score for score, _ in beam])[:, None] + logs[first : first + len(beam)]
                kept: list[tuple[float, list[int]]] = []
                if len(beam):
                    done[i] += [
                        (float(score) / length**length_penalty, text)
                        for score, (_, text) in zip(scores[:, end], beam, strict=True)
                    ]
                    scores[:, end] = -np.inf
                    flat = scores.ravel()
                    for place in np.argsort(-flat, kind="stable")[:width]:
                        if np.isneginf(flat[place]):
                            break
                        row, word = divmod(int(place), scores.shape[1])
                        kept.append((float(flat[place]), [*beam[row][1], word]))
                        rows.append(first + row)
                        chosen.append(word)
                    done[i] = sorted(done[i], key=_order)[:width]
                    if _settled(done[i], kept, width, length_penalty):
                        del rows[len(rows) - len(kept) :], chosen[len(chosen) - len(kept) :]
                        kept = []
                first += len(beam)
                beams[i] = kept
            steps.choose(rows)
            words = np.asarray(chosen, np.int64)
        for found, beam in zip(done, beams, strict=True):
            found += [(score / longest**length_penalty, text) for score, text in beam]
    return [sorted(found, key=_order)[:width] for found in done]


def _order(text: tuple[float, list[int]]) -> tuple[float, list[int]]:
    return -text[0], text[1]


def _settled(
    done: list[tuple[float, list[int]]], kept: list[tuple[float, list[int]]], width: int, penalty: float
) -> bool:
    """Whether no text that goes on can come to be among the best: without a penalty scores only fall."""
    return penalty == 0 and len(done) == width and (not kept or kept[0][0] < done[-1][0])


class _Steps:
    """A model's states while texts are written, in evaluation mode; modules get their mode back after."""

    def __init__(self, model: Any, inputs: Any):
        self._model = model
        self._inputs = inputs

    def __enter__(self) -> _Steps:
        self._modes = [(module, module.training) for module in self._modules()]
        for module, _ in self._modes:
            module.training = False
        self._device = device_of(self._model) if isinstance(self._model, Module) else None
        inputs = self._inputs
        with no_grad():
            given = inputs if isinstance(inputs, (int, Tensor)) else tensor(inputs, device=self._device)
            self._state: State = self._model.start(given)
        self.count = int(self._state[0].shape[0])
        return self

    def __exit__(self, *error: Any) -> None:
        for module, training in self._modes:
            module.training = training

    def next(self, words: np.ndarray) -> np.ndarray:
        """The logits (N, words) after these words (N)."""
        with no_grad():
            scores, self._state = self._model.step(tensor(words, device=self._device), self._state)
        return scores.numpy()

    def choose(self, rows: list[int]) -> None:
        """Goes on with these rows of the state."""
        self._state = tuple(
            tensor(np.ascontiguousarray(part.numpy()[rows]), device=self._device) for part in self._state
        )

    def _modules(self) -> list[Module]:
        return list(self._model.modules()) if isinstance(self._model, Module) else []
