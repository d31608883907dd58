import numpy as np
import pytest

from medkern import metrics
from medkern.data import demo


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("nilearn")
    return demo.load(seed=0)


def test_the_parts_are_brains_of_one_size_with_three_classes(data):
    for part in (data.train, data.validation, data.test):
        shape = (len(part.numbers), 192, 160)
        assert part.intensity.shape == part.labels.shape == shape
        assert part.intensity.dtype == np.float32 and part.labels.dtype == np.int64
        shares = np.bincount(part.labels.ravel(), minlength=3) / part.labels.size
        assert shares[0] > 0.3 and shares[1] > 0.05 and shares[2] > 0.03


def test_the_parts_are_at_least_six_millimeters_apart(data):
    parts = [data.train.numbers, data.validation.numbers, data.test.numbers]
    for i, a in enumerate(parts):
        for b in parts[i + 1 :]:
            assert min(abs(x - y) for x in a for y in b) > 6
    assert list(data.test.numbers) == list(range(data.test.numbers[0], data.test.numbers[-1] + 1))


def test_two_thresholds_reach_about_079(data):
    thresholds = demo.best_thresholds(data.train.intensity, data.train.labels)
    found = demo.apply_thresholds(data.test.intensity, thresholds)
    values = metrics.dice(metrics.confusion_matrix(found, data.test.labels, 3))
    np.testing.assert_allclose(values[1:], 0.79, atol=0.03)


def test_a_scan_depends_on_the_seed_and_the_slice_alone(data):
    again = demo.scan(data.test.clean[3], np.random.default_rng((0, data.test.numbers[3])))
    np.testing.assert_array_equal(data.test.intensity[3], again)
    other = demo.scan(data.test.clean[3], np.random.default_rng((1, data.test.numbers[3])))
    assert (other != again).mean() > 0.99


def test_training_sees_a_new_scan_every_time(data):
    x, y = data.train.clean_dataset()[40]
    before = x.copy()
    first, labels = demo.Rescan()(x, y, np.random.default_rng(1))
    second, _ = demo.Rescan()(x, y, np.random.default_rng(2))
    again, _ = demo.Rescan()(x, y, np.random.default_rng(1))
    assert first.shape == x.shape and first.dtype == np.float32 and labels.shape == y.shape
    assert (first != second).mean() > 0.99
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(x, before)


def test_noise_is_rician_with_a_deviation_of_five_percent(rng):
    background = demo.scan(np.zeros((200, 200)), rng)
    # Rician noise on nothing is Rayleigh noise: its mean is s sqrt(pi / 2).
    np.testing.assert_allclose(background.mean(), 0.05 * np.sqrt(np.pi / 2), rtol=0.01)


def test_thresholds_are_the_best_of_all_pairs(rng):
    intensity = rng.random(400).astype(np.float32)
    labels = np.digitize(intensity + rng.normal(0, 0.2, 400), [0.3, 0.7])

    def score(thresholds):
        found = demo.apply_thresholds(intensity, thresholds)
        return metrics.dice(metrics.confusion_matrix(found, labels, 3))[1:].sum()

    best = demo.best_thresholds(intensity, labels, steps=12)
    edges = np.linspace(intensity.min(), intensity.max(), 13)
    assert score(best) == pytest.approx(max(score((a, b)) for a in edges for b in edges if a <= b))
