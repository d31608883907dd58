import math

import pytest

from medkern import metrics

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")

# "On the left there is one lesion", and on the right: 7 characters, of which the first differs.
LEFT, RIGHT = (side + "\u4fa7\u6709\u4e00\u4e2a\u75c5\u7076" for side in ("\u5de6", "\u53f3"))


def test_bleu_by_hand():
    # Unigrams 5 of 6, bigrams 3 of 5, trigrams 2 of 4, 4-grams 1 of 3; no brevity penalty.
    found = metrics.bleu(["the lesion is on the left"], [["the lesion lies on the left"]])
    assert found["bleu1"] == pytest.approx(5 / 6)
    assert found["bleu2"] == pytest.approx(math.sqrt(5 / 6 * 3 / 5))
    assert found["bleu4"] == 0  # no 4-gram is right, and nothing is smoothed
    found = metrics.bleu(["a b c d e f"], [["a b c d x f"]])
    precisions = (5 / 6, 3 / 5, 2 / 4, 1 / 3)
    for n in range(1, 5):
        assert found[f"bleu{n}"] == pytest.approx(math.prod(precisions[:n]) ** (1 / n))


def test_bleu_of_texts_that_are_too_short():
    found = metrics.bleu(["a b c d"], [["a b c d e f g h"]])
    assert found["bleu4"] == pytest.approx(math.exp(1 - 8 / 4))


def test_characters_are_words_in_chinese():
    assert metrics.bleu([LEFT], [[LEFT]], "zh")["bleu4"] == 1
    assert metrics.bleu([LEFT], [[RIGHT]], "zh")["bleu1"] == pytest.approx(6 / 7)
    assert metrics.rouge_l([LEFT], [[RIGHT]], "zh") == pytest.approx(6 / 7)


def test_samples_may_have_several_references():
    references = [["small lesion", "a small lesion"], ["no lesion seen here"]]
    assert metrics.bleu(["a small lesion", "no lesion seen here"], references)["bleu1"] == 1
    assert metrics.rouge_l(["a small lesion", "no lesion"], references) == pytest.approx((1 + 4 / 6) / 2)


def test_rouge_l_by_hand():
    # The longest common subsequence has 5 of 6 and of 6 words.
    text, reference = "the lesion is on the left", "the lesion lies on the left"
    assert metrics.rouge_l([text], [[reference]]) == pytest.approx(5 / 6)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="bleu: language must be 'en' or 'zh', got 'fr'"):
        metrics.bleu(["a"], [["a"]], "fr")
    with pytest.raises(ValueError, match="rouge_l: every one of at least one hypothesis needs a list"):
        metrics.rouge_l(["a"], [["a"], ["b"]])
    with pytest.raises(TypeError, match="references a list of lists of texts"):
        metrics.bleu(["a"], ["a"])
