import numpy as np
import pytest

from medkern.data import prepare


def test_intensities(rng):
    x = rng.normal(50, 10, (1, 30, 20)).astype(np.float32)
    y = prepare.rescale(x)
    assert y.dtype == np.float32 and y.min() == 0 and y.max() == 1
    np.testing.assert_array_equal(prepare.rescale(np.full((1, 2, 2), 3)), 0)
    y = prepare.zscore(x)
    assert abs(y.mean()) < 1e-5 and abs(y.std() - 1) < 1e-5
    mask = x > 50
    assert abs(prepare.zscore(x, mask)[mask].mean()) < 1e-5
    np.testing.assert_array_equal(prepare.zscore(np.full((1, 2, 2), 3.0)), 0)
    np.testing.assert_allclose(
        prepare.window(np.array([-200, -160, 40, 240, 999]), 40, 400), [0, 0, 0.5, 1, 1]
    )
    y = prepare.clip(x, 10, 90)
    np.testing.assert_allclose([y.min(), y.max()], np.percentile(x, [10, 90]), rtol=1e-6)


def test_resize_keeps_edges_and_labels(rng):
    ramp = np.broadcast_to(np.arange(12.0), (1, 6, 12))
    np.testing.assert_allclose(
        prepare.resize(ramp, (3, 24))[0, 0, 1:-1], (np.arange(24) + 0.5)[1:-1] / 2 - 0.5, atol=1e-6
    )
    pytest.importorskip("scipy")
    small = prepare.resize(ramp, (3, 4))
    np.testing.assert_allclose(small[0, 1, 1:3], [4, 7], atol=1e-6)
    labels = rng.integers(0, 9, (5, 7, 6))
    np.testing.assert_array_equal(prepare.resize(labels, (10, 14, 12), "nearest")[::2, ::2, ::2], labels)
    assert prepare.resize(labels.astype(np.uint8), (5, 7, 3)).dtype == np.uint8
    np.testing.assert_array_equal(prepare.crop(np.arange(5), (3,)), [1, 2, 3])


def test_filters(rng):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = rng.standard_normal((2, 9, 8)).astype(np.float32)
    expected = np.stack([ndimage.median_filter(c, 3, mode="nearest") for c in x])
    np.testing.assert_array_equal(prepare.median(x), expected)
    expected = np.stack([ndimage.gaussian_filter(c, 1.0, mode="nearest", radius=4) for c in x])
    np.testing.assert_allclose(prepare.gaussian(x, 1.0), expected, atol=1e-6)


def test_histograms_match(rng):
    x, reference = rng.normal(0, 1, (40, 30)), rng.gamma(2, 3, (50, 50))
    y = prepare.match_histogram(x, reference)
    assert (np.argsort(y, None) == np.argsort(x, None)).all()
    shares = np.linspace(1, 99, 20)
    np.testing.assert_allclose(np.percentile(y, shares), np.percentile(reference, shares), rtol=0.02)
    np.testing.assert_array_equal(prepare.match_histogram(x, x), x)


def test_bad_arguments_are_named():
    x = np.zeros((1, 2, 2))
    with pytest.raises(ValueError, match="width must be above 0, got 0"):
        prepare.window(x, 0, 0)
    with pytest.raises(ValueError, match="percentiles must rise"):
        prepare.clip(x, 90, 10)
    with pytest.raises(ValueError, match="mask must have shape"):
        prepare.zscore(x, np.zeros((2, 2)))
