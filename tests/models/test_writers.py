import numpy as np
import pytest

import medkern
from medkern import losses, models, optim
from medkern.models import ReportModel, SequenceClassifier, TextModel


def report_model(**options):
    arguments = {"filters": (4, 8), "features": 12, "embedding": 6, "hidden": 10, **options}
    return ReportModel(16, 9, **arguments)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_steps_give_what_all_words_at_once_give(cell, rng):
    model = report_model(cell=cell).eval()
    images = medkern.tensor(rng.standard_normal((3, 1, 16, 16)).astype(np.float32))
    words = rng.integers(0, 9, (3, 5))
    with medkern.no_grad():
        together = model(images, medkern.tensor(words)).numpy()
        assert together.shape == (3, 9, 5)
        state = model.start(images)
        for t in range(5):
            scores, state = model.step(medkern.tensor(words[:, t]), state)
            # The recurrent kernels sum in another order for one step: a few units in the last place.
            np.testing.assert_allclose(scores.numpy(), together[:, :, t], rtol=0, atol=2e-6)


def test_what_follows_a_word_does_not_change_its_scores(rng):
    model, words = TextModel(9, 6, 10).eval(), rng.integers(0, 9, (2, 6))
    later = words.copy()
    later[:, 4:] = (later[:, 4:] + 1) % 9
    with medkern.no_grad():
        a, b = (model(medkern.tensor(w)).numpy() for w in (words, later))
    np.testing.assert_array_equal(a[:, :, :4], b[:, :, :4])
    assert (a[:, :, 4:] != b[:, :, 4:]).any()


def test_the_text_model_of_the_textbook():
    model = TextModel()
    assert model.embedding.weight.shape == (10000, 128) and model.head.weight.shape == (10000, 128)
    assert model.recurrent.weight_hh_l0.shape == (4 * 128, 128)


def test_own_words_are_read_in_place_of_the_true_ones(rng):
    """With a share of 1 all words but the first are the greedy ones; with 0 none is."""
    model = report_model()
    images = medkern.tensor(rng.standard_normal((4, 1, 16, 16)).astype(np.float32))
    words = medkern.tensor(rng.integers(0, 9, (4, 6)))
    state = model.start(images)
    model.sampling = 0.0
    np.testing.assert_array_equal(model._sampled(words, state).numpy(), words.numpy())
    model.sampling = 1.0
    read = model._sampled(words, state).numpy()
    np.testing.assert_array_equal(read[:, 0], words.numpy()[:, 0])
    for t in range(5):
        scores, state = model.step(medkern.tensor(read[:, t]), state)
        np.testing.assert_array_equal(read[:, t + 1], scores.numpy().argmax(axis=1))
    model.sampling = 0.5
    share = np.mean([(model._sampled(words, state).numpy() != words.numpy()).mean() for _ in range(20)])
    assert 0 < share < 0.6
    assert model.eval()(images, words).shape == (4, 9, 6)  # evaluation never samples


def test_a_writer_learns_to_tell_images_apart(rng):
    """Two kinds of images, a sentence each: the loss can fall only if the image is looked at."""
    images = np.zeros((16, 1, 16, 16), np.float32)
    images[::2, :, :8] = 1
    words = np.where(np.arange(16)[:, None] % 2 == 0, [[1, 4, 5]], [[1, 6, 7]])
    targets = np.where(np.arange(16)[:, None] % 2 == 0, [[4, 5, 2]], [[6, 7, 2]])
    medkern.random.manual_seed(0)
    model = report_model()
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        loss = losses.cross_entropy(model(medkern.tensor(images), medkern.tensor(words)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_word_vectors_become_rows(rng):
    model = TextModel(9, 6, 10)
    before = model.embedding.weight.numpy().copy()
    model.load_vectors([4, 7], [np.arange(6), np.ones(6)])
    after = model.embedding.weight.numpy()
    np.testing.assert_array_equal(after[4], np.arange(6))
    np.testing.assert_array_equal(np.delete(after, [4, 7], 0), np.delete(before, [4, 7], 0))
    with pytest.raises(ValueError, match=r"vectors must have shape \(6,\), got \(5,\)"):
        model.load_vectors([4], [np.ones(5)])
    with pytest.raises(ValueError, match="a vector for each number from 0 to 8"):
        model.load_vectors([9], [np.ones(6)])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_has_no_part_in_a_sequence(cell, bidirectional, rng):
    model = SequenceClassifier(classes=3, filters=(4, 8), cell=cell, bidirectional=bidirectional).eval()
    x = rng.standard_normal((2, 6, 1, 8, 8)).astype(np.float32)
    other = x.copy()
    other[1, 4:] = 7
    with medkern.no_grad():
        lengths = medkern.tensor([6, 4])
        a, b = (model(medkern.tensor(v), lengths).numpy() for v in (x, other))
        np.testing.assert_array_equal(a, b)
        alone = model(medkern.tensor(x[1:, :4])).numpy()
        np.testing.assert_allclose(a[1:], alone, rtol=0, atol=1e-6)
        assert (model(medkern.tensor(other)).numpy()[1] != a[1]).any()


def test_networks_are_made_again_from_their_descriptions():
    for model in (
        report_model(cell="gru"),
        TextModel(9, 6, 10),
        SequenceClassifier(2, 3, bidirectional=True),
    ):
        again = models.build(models.config(model))
        assert models.config(again) == models.config(model)
        again.load_state_dict(model.state_dict())


def test_bad_arguments_are_named(rng):
    images = medkern.tensor(np.zeros((2, 1, 16, 16), np.float32))
    with pytest.raises(ValueError, match="ReportModel: cell must be one of"):
        report_model(cell="rnn")
    with pytest.raises(ValueError, match="leaves no pixel after 5 poolings"):
        report_model(filters=(1,) * 5)
    with pytest.raises(ValueError, match=r"images must be \(N, 1, 16, 16\), got \(2, 1, 8, 8\)"):
        report_model()(images[:, :, :8, :8], medkern.tensor([[1], [1]]))
    with pytest.raises(ValueError, match=r"words must be \(2, T\) with T at least 1, got \(3, 1\)"):
        report_model()(images, medkern.tensor([[1]] * 3))
    with pytest.raises(ValueError, match="indices"):
        report_model()(images, medkern.tensor([[9], [1]])).numpy()
    model, x = SequenceClassifier(filters=(4, 8)), np.zeros((2, 6, 1, 8, 8), np.float32)
    with pytest.raises(ValueError, match=r"x must have shape \(N, T, 1, H, W\), H and W at least 4"):
        model(medkern.tensor(x[:, :, :, :2]))
    with pytest.raises(ValueError, match="lengths"):
        model(medkern.tensor(x), medkern.tensor([6, 7])).numpy()
    with pytest.raises(ValueError, match="SequenceClassifier: cell must be one of"):
        SequenceClassifier(cell="rnn")
