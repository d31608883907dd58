"""Words as numbers: splitting English and Chinese text, and a vocabulary."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from medkern.io.files import DataError, write_text

LANGUAGES = ("en", "zh")
PAD, START, END, UNKNOWN = range(4)  # the numbers of the words that stand for no word
_SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
_MOST_WORDS = 2**20
_MOST_BYTES = 2**26  # of a vocabulary's file
_ENGLISH = re.compile(r"\w+(?:[-'.]\w+)*|[^\w\s]")  # words, numbers and single signs
_CHINESE = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?|\S")  # Latin words and numbers stay whole
_BEFORE = re.compile(r" (?=[.,;:!?)])")  # no space comes before these signs


def split_words(text: str, language: str = "en") -> list[str]:
    """The words of a text.

    English in lower case, signs for themselves; Chinese character by character, but for numbers and Latin
    words.

    Raises:
        ValueError: the language is neither "en" nor "zh".

    Example:
        >>> split_words("Two lesions, 3.5 mm.")
        ['two', 'lesions', ',', '3.5', 'mm', '.']
    """
    expect_language("split_words", language)
    return (_ENGLISH.findall(text.lower())) if language == "en" else _CHINESE.findall(text)


def join_words(words: Sequence[str], language: str = "en") -> str:
    """A text of words, as `split_words` would take it apart again."""
    expect_language("join_words", language)
    if language == "zh":
        return "".join(words)
    return _BEFORE.sub("", " ".join(words))


class Vocabulary:
    """The words that a model knows, each with a number.

    Numbers 0 to 3 stand for padding, the start and the end of a text, and any word that is not known; the
    words themselves follow.

    Args:
        words: each once.
        language: "en", or "zh", whose characters count as words.

    Raises:
        ValueError: a word is empty or comes twice, or the language is unknown.

    Example:
        >>> vocabulary = Vocabulary.build(["a small lesion", "a large lesion"])
        >>> vocabulary.encode("a small lesion")
        [1, 4, 7, 5, 2]
    """

    def __init__(self, words: Sequence[str], language: str = "en"):
        expect_language("Vocabulary", language)
        if len(words) > _MOST_WORDS:
            raise ValueError(f"Vocabulary: words must be at most {_MOST_WORDS}, got {len(words)}")
        self.language = language
        self.words = (*_SPECIAL, *words)
        self._numbers: dict[str, int] = {}
        for number, word in enumerate(self.words):
            if not isinstance(word, str) or not word or any(c.isspace() for c in word):
                raise ValueError(f"Vocabulary: words must be texts without spaces, got {word!r}")
            if word in self._numbers:
                raise ValueError(f"Vocabulary: words must differ, got {word!r} twice")
            self._numbers[word] = number

    @classmethod
    def build(
        cls, texts: Iterable[str], language: str = "en", *, most: int = 10000, least_count: int = 1
    ) -> Vocabulary:
        """The most frequent words of texts, those of equal frequency in order.

        Args:
            texts: where the words come from.
            language: see `Vocabulary`.
            most: size of the vocabulary at most, the four special words included.
            least_count: how often a word must occur.

        Raises:
            ValueError: there are no words, or a number is out of range.
        """
        if most <= len(_SPECIAL) or least_count < 1:
            raise ValueError(
                f"Vocabulary: needs most > {len(_SPECIAL)} and least_count >= 1, got {most}, {least_count}"
            )
        if isinstance(texts, str):
            raise TypeError("Vocabulary: texts must be a list of texts, got one text")
        counts = Counter(word for text in texts for word in split_words(text, language))
        frequent = sorted(
            (word for word in counts if counts[word] >= least_count), key=lambda w: (-counts[w], w)
        )
        if not frequent:
            raise ValueError(f"Vocabulary: texts must have words that occur {least_count} times, got none")
        return cls(frequent[: most - len(_SPECIAL)], language)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._numbers

    def number(self, word: str) -> int:
        """The number of a word.

        Raises:
            KeyError: the vocabulary does not have it.
        """
        if word not in self._numbers:
            raise KeyError(f"the vocabulary of {len(self)} words does not have {word!r}")
        return self._numbers[word]

    def encode(self, text: str, *, strict: bool = False) -> list[int]:
        """The numbers of a text's words, between those of start and end.

        Args:
            text: in the vocabulary's language.
            strict: whether a word that is not known is an error instead of `UNKNOWN`.

        Raises:
            ValueError: `strict`, and a word is not known; names it.
        """
        numbers = [START]
        for word in split_words(text, self.language):
            if strict and word not in self._numbers:
                raise ValueError(f"encode: the vocabulary of {len(self)} words does not have {word!r}")
            numbers.append(self._numbers.get(word, UNKNOWN))
        return [*numbers, END]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text up to the first end, without start and padding.

        Raises:
            ValueError: a number is out of range.
        """
        words = []
        for number in numbers:
            if not 0 <= number < len(self):
                raise ValueError(f"decode: numbers must be from 0 to {len(self) - 1}, got {number}")
            if number == END:
                break
            if number not in (PAD, START):
                words.append(self.words[number])
        return join_words(words, self.language)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the words to a JSON file."""
        document = {"language": self.language, "words": self.words[len(_SPECIAL) :]}
        write_text(path, json.dumps(document, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Reads what `save` wrote.

        Raises:
            DataError: the file can't be read or holds no vocabulary.
        """
        try:
            if Path(path).stat().st_size > _MOST_BYTES:
                raise DataError(f"{path}: is larger than {_MOST_BYTES} bytes")
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(document["words"], document["language"])
        except DataError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path}: no vocabulary: {' '.join(str(error).split())}") from error


def teacher_forcing(texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """What a decoder reads and what it is to say: step t reads word t and is to say word t + 1.

    Args:
        texts: numbers from start to end, as `Vocabulary.encode` gives them.

    Returns:
        (inputs, targets), int64 (N, T), T one less than the longest text; `PAD` after a text's end. The
        inputs are the texts without their ends, the targets the texts without their starts.

    Raises:
        ValueError: there are no texts, or one doesn't begin with START or end with END.

    Example:
        >>> teacher_forcing([[1, 7, 8, 2], [1, 9, 2]])[1]
        array([[7, 8, 2],
               [9, 2, 0]])
    """
    if not len(texts):
        raise ValueError("teacher_forcing: needs at least one text, got none")
    for i, text in enumerate(texts):
        if len(text) < 2 or text[0] != START or text[-1] != END:
            raise ValueError(
                f"teacher_forcing: text {i} must go from START ({START}) to END ({END}), got {text}"
            )
    inputs = np.full((len(texts), max(len(text) for text in texts) - 1), PAD, np.int64)
    targets = inputs.copy()
    for row, text in enumerate(texts):
        inputs[row, : len(text) - 1] = text[:-1]
        targets[row, : len(text) - 1] = text[1:]
    return inputs, targets


def expect_language(op: str, language: str) -> None:
    """Raises unless the language is known."""
    if language not in LANGUAGES:
        raise ValueError(f"{op}: language must be one of {LANGUAGES}, got {language!r}")
