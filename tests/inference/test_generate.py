"""Searches against all texts there are, on a model so small that they can be counted."""

import itertools

import numpy as np
import pytest

import medkern
from medkern.inference import beam_search, greedy_search
from medkern.models import ReportModel, TextModel

WORDS, LONGEST, START, END = 4, 4, 1, 2


@pytest.fixture(params=["lstm", "gru"])
def model(request):
    medkern.random.manual_seed(3)
    net = TextModel(WORDS, 3, 5, cell=request.param)
    net.load_state_dict(
        {name: 3 * value.numpy() for name, value in net.state_dict().items()}
    )  # surer of itself
    return net


def log_softmax(x):
    x = x - x.max(axis=0)
    return x - np.log(np.exp(x).sum(axis=0))


def every_text(model, penalty=0.0):
    """(score, words) of every text that ends, and of every one of LONGEST words, the best first."""
    found = []
    for length in range(LONGEST + 1):
        for text in itertools.product([w for w in range(WORDS) if w != END], repeat=length):
            said = list(text) + ([END] if length < LONGEST else [])
            with medkern.no_grad():
                scores = model(medkern.tensor([[START, *said[:-1]]])).numpy()[0].astype(np.float64)
            logs = log_softmax(scores)
            total = sum(logs[word, t] for t, word in enumerate(said))
            found.append((total / len(said) ** penalty, list(text)))
    return sorted(found, key=lambda pair: (-pair[0], pair[1]))


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
def test_a_wide_beam_finds_the_best_of_all_texts(model, penalty):
    truth = every_text(model, penalty)
    (found,) = beam_search(
        model, 1, width=3**LONGEST, start=START, end=END, longest=LONGEST, length_penalty=penalty
    )
    assert len(found) == 3**LONGEST and len(truth) > len(found)
    for (score, text), (best, words) in zip(found, truth, strict=False):
        assert score == pytest.approx(best, abs=1e-5)
        assert text == words


def test_a_narrow_beam_is_never_better_and_its_scores_are_true(model):
    truth = every_text(model)
    by_text = {tuple(text): score for score, text in truth}
    last = -np.inf
    for width in (1, 2, 4, 16, 81):
        (found,) = beam_search(model, 1, width=width, start=START, end=END, longest=LONGEST)
        assert len(found) <= width and found == sorted(found, key=lambda pair: -pair[0])
        for score, text in found:
            assert score == pytest.approx(by_text[tuple(text)], abs=1e-5)
        assert truth[0][0] + 1e-5 >= found[0][0]
        last = found[0][0]
    assert last == pytest.approx(truth[0][0], abs=1e-5)


def test_greedy_takes_the_likeliest_word_at_each_step(model):
    (found,) = greedy_search(model, 1, start=START, end=END, longest=LONGEST)
    words = [START]
    with medkern.no_grad():
        while len(words) <= LONGEST:
            word = int(model(medkern.tensor([words])).numpy()[0, :, -1].argmax())
            if word == END:
                break
            words.append(word)
    assert found == words[1:]


def test_a_batch_gives_what_each_gives_alone(rng):
    medkern.random.manual_seed(1)
    model = ReportModel(16, 7, filters=(4,), features=8, embedding=4, hidden=8)
    images = rng.standard_normal((5, 1, 16, 16)).astype(np.float32)
    model.train()
    model.encoder[1].training = False  # modules keep the mode that each was in
    together = beam_search(model, images, width=3, longest=6)
    greedy = greedy_search(model, images, longest=6)
    for i in range(5):
        assert greedy_search(model, images[i : i + 1], longest=6) == greedy[i : i + 1]
        (alone,) = beam_search(model, images[i : i + 1], width=3, longest=6)
        assert [text for _, text in alone] == [text for _, text in together[i]]
    assert model.training and model.dropout.training and not model.encoder[1].training


def test_texts_end_at_the_longest(model):
    assert all(len(text) <= 2 for _, text in beam_search(model, 3, longest=2)[0])
    assert [len(text) <= 1 for text in greedy_search(model, 2, longest=1)] == [True, True]


def test_bad_arguments_are_named(model):
    with pytest.raises(ValueError, match="greedy_search: longest must be at least 1, got 0"):
        greedy_search(model, 1, longest=0)
    with pytest.raises(ValueError, match="width >= 1"):
        beam_search(model, 1, width=0)
    with pytest.raises(ValueError, match="length_penalty >= 0"):
        beam_search(model, 1, length_penalty=-1)
