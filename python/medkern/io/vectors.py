"""Word vectors from text files, as word2vec and GloVe write them: a word and its numbers on each line."""

from __future__ import annotations

import os
from collections.abc import Collection

import numpy as np

from medkern.io.files import DataError

_MOST_SIZE = 4096  # of a vector
_MOST_WORDS = 2**20  # that are kept
_LONGEST_LINE = 2**17  # bytes


def read_word_vectors(
    path: str | os.PathLike[str], words: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Reads the vectors of words from a text file in UTF-8.

    A first line of two whole numbers is word2vec's header (how many, how long) and is checked; GloVe's files
    have none. Of a word that comes twice the first vector counts.

    Args:
        path: the file.
        words: those to keep; None for all, 2^20 at most.

    Returns:
        float32 vectors by word, all of one size, in the order of the file; words that it lacks are left out.

    Raises:
        DataError: the file can't be read, or a line has no vector of the size of the first, at most 4096, or
            a value that is no finite number; the message has the line's number.

    Example:
        >>> vectors = read_word_vectors("glove.6B.50d.txt", vocabulary.words)
        >>> vectors["lesion"].shape
        (50,)
    """
    wanted = None if words is None else set(words)
    found: dict[str, np.ndarray] = {}
    size = None
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(line) > _LONGEST_LINE:
                    raise DataError(f"{path}: line {number} is longer than {_LONGEST_LINE} bytes")
                parts = line.decode("utf-8").rstrip("\r\n").rstrip(" ").split(" ")
                if number == 1 and len(parts) == 2 and all(part.isdecimal() for part in parts):
                    size = int(parts[1][:10])
                    if not 1 <= size <= _MOST_SIZE:
                        raise DataError(
                            f"{path}: its header says {size} numbers a word, at most {_MOST_SIZE}"
                        )
                    continue
                if size is None:
                    size = len(parts) - 1
                # Some words of GloVe have spaces in them: the vector is what comes last.
                word = " ".join(parts[:-size])
                if not 1 <= size <= _MOST_SIZE or not word:
                    raise DataError(
                        f"{path}: line {number} must have a word and from 1 to {_MOST_SIZE} numbers, as "
                        f"many as the first, got {len(parts) - 1}"
                    )
                if word in found or (wanted is not None and word not in wanted):
                    continue
                if len(found) == _MOST_WORDS:
                    raise DataError(f"{path}: has more than {_MOST_WORDS} words; name those to keep")
                found[word] = _vector(path, number, parts[-size:])
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: line {number} is not UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from error
    if number == 0 or (wanted is None and not found):
        raise DataError(f"{path}: has no vectors")
    return found


def _vector(path: str | os.PathLike[str], number: int, parts: list[str]) -> np.ndarray:
    try:
        vector = np.array([float(part) for part in parts], np.float32)
    except ValueError as error:
        raise DataError(f"{path}: line {number}: {error}") from error
    if not np.isfinite(vector).all():
        raise DataError(f"{path}: line {number} has a value that is not finite")
    return vector
