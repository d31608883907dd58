import numpy as np
import pytest

from medkern.io.files import DataError
from medkern.io.vectors import read_word_vectors


def written(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("header", ["", "3 2\n"])  # GloVe has none, word2vec has one
def test_vectors_are_read(tmp_path, header):
    path = written(tmp_path, f"{header}the 1 -2.5\n\u75c5 3e-1 4 \r\n. . 5 6\nthe 7 8\n")
    found = read_word_vectors(path)
    assert list(found) == ["the", "\u75c5", ". ."]
    np.testing.assert_array_equal(found["the"], np.float32([1, -2.5]))
    np.testing.assert_array_equal(found["\u75c5"], np.float32([0.3, 4]))
    assert found["the"].dtype == np.float32
    assert list(read_word_vectors(path, ["the", "other"])) == ["the"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no vectors"),
        ("2 3\n", "has no vectors"),
        ("the 1 2\na 1\n", "line 2 must have a word"),
        ("the\n", "line 1 must have a word"),
        ("the 1 x\n", "line 1: could not convert"),
        ("the 1 nan\n", "line 1 has a value that is not finite"),
        ("the 1 1e999\n", "line 1 has a value that is not finite"),
        ("5 4097\n", "its header says 4097 numbers a word, at most 4096"),
        ("5 99999999999999999999\n", "its header says"),
        (b"the 1 2\n\xff 1 2\n", "line 2 is not UTF-8"),
        ("the" + " 1" * 4097, "line 1 must have a word and from 1 to 4096"),
        ("a" * 140000, "line 1 is longer than"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"a\.txt: {message}"):
        read_word_vectors(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: can't be read"):
        read_word_vectors(tmp_path / "none.txt")
