import numpy as np
import pytest

from medkern.data.text import (
    END,
    PAD,
    START,
    UNKNOWN,
    Vocabulary,
    join_words,
    split_words,
    teacher_forcing,
)
from medkern.io.files import DataError

CHINESE = "\u5de6\u4fa7\u89c13.5mm\u75c5\u7076\u3002"  # a lesion of 3.5 mm is seen on the left


def test_words_of_english_and_chinese():
    english = "Two medium-sized lesions: 3.5 mm, on the Left."
    words = split_words(english)
    assert words == ["two", "medium-sized", "lesions", ":", "3.5", "mm", ",", "on", "the", "left", "."]
    assert join_words(words) == english.lower()
    chinese = split_words(CHINESE, "zh")
    assert chinese == ["\u5de6", "\u4fa7", "\u89c1", "3.5", "mm", "\u75c5", "\u7076", "\u3002"]
    assert join_words(chinese, "zh") == CHINESE


def test_texts_become_numbers_and_come_back():
    vocabulary = Vocabulary.build(["a small lesion.", "a large lesion.", "a cyst."])
    assert vocabulary.words[:6] == ("<pad>", "<start>", "<end>", "<unknown>", ".", "a")
    assert vocabulary.words[6:] == ("lesion", "cyst", "large", "small")  # by frequency, then in order
    numbers = vocabulary.encode("A large cyst.")
    assert numbers == [START, 5, 8, 7, 4, END]
    assert vocabulary.decode([*numbers, 9, 9]) == "a large cyst."
    assert vocabulary.decode([START, 5, PAD, 9]) == "a small"


def test_an_unknown_word_is_replaced_or_named():
    vocabulary = Vocabulary.build(["a small lesion"])
    assert vocabulary.encode("a huge lesion") == [START, vocabulary.number("a"), UNKNOWN, 5, END]
    assert vocabulary.decode([UNKNOWN, 5]) == "<unknown> lesion"
    with pytest.raises(ValueError, match="encode: the vocabulary of 7 words does not have 'huge'"):
        vocabulary.encode("a huge lesion", strict=True)
    with pytest.raises(KeyError, match="does not have 'huge'"):
        vocabulary.number("huge")
    assert "small" in vocabulary and "huge" not in vocabulary


def test_size_and_frequency_are_limits():
    texts = ["a a a b b c"]
    assert Vocabulary.build(texts, most=6).words[4:] == ("a", "b")
    assert Vocabulary.build(texts, least_count=3).words[4:] == ("a",)


def test_a_vocabulary_is_written_and_read(tmp_path):
    vocabulary = Vocabulary.build([CHINESE], "zh")
    vocabulary.save(tmp_path / "a.json")
    again = Vocabulary.load(tmp_path / "a.json")
    assert again.words == vocabulary.words and again.language == "zh"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"words": ["a"]}', '{"words": ["a", "a"], "language": "en"}', '"a"']
)
def test_a_file_that_holds_no_vocabulary_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json: no vocabulary"):
        Vocabulary.load(tmp_path / "a.json")
    with pytest.raises(DataError, match=r"none\.json"):
        Vocabulary.load(tmp_path / "none.json")


def test_teacher_forcing_shifts_by_one():
    texts = [[START, 7, 8, 9, END], [START, 6, END]]
    inputs, targets = teacher_forcing(texts)
    # Having read <start> the model is to say the first word, having read the last word <end>.
    assert inputs.tolist() == [[START, 7, 8, 9], [START, 6, PAD, PAD]]
    assert targets.tolist() == [[7, 8, 9, END], [6, END, PAD, PAD]]
    assert inputs.dtype == np.int64
    # What is to be said at a step is what is read at the next: never the same, never two ahead.
    for read, said in zip(inputs, targets, strict=True):
        words = (said != PAD).sum()
        np.testing.assert_array_equal(read[1:words], said[: words - 1])


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"language must be one of .*, got 'de'"):
        split_words("a", "de")
    with pytest.raises(ValueError, match="words must differ, got 'a' twice"):
        Vocabulary(["a", "a"])
    with pytest.raises(ValueError, match="words must be texts without spaces, got 'a b'"):
        Vocabulary(["a b"])
    with pytest.raises(TypeError, match="texts must be a list of texts"):
        Vocabulary.build("a b")
    with pytest.raises(ValueError, match="texts must have words that occur 2 times"):
        Vocabulary.build(["a b"], least_count=2)
    with pytest.raises(ValueError, match="decode: numbers must be from 0 to 4, got 5"):
        Vocabulary(["a"]).decode([5])
    with pytest.raises(ValueError, match="text 1 must go from START"):
        teacher_forcing([[START, END], [START, 5]])
